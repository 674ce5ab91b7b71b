/* SPDX-License-Identifier: MIT */
/*
 * The texts of a handle: copies of what was read through it, found by the address that they were made from.
 *
 * Whoever comes here has entered the handle, so that the address means one text. The table is under the
 * handle's lock; a copy that was given out is not moved before the handle is dropped.
 */
#include "reclaim/gate.h"
#include "reclaim/handle.h"

#define FIRST_CAPACITY ((size_t)16)

static size_t
place_of(const void *from, size_t capacity)
{
    return (size_t)(((uint64_t)(uintptr_t)from * UINT64_C(0x9e3779b97f4a7c15)) >> 20) & (capacity - 1);
}

static cop__handle_text *
look_up(cop__handle_text *texts, size_t capacity, const void *from)
{
    size_t at = place_of(from, capacity);
    while (texts[at].from != NULL && texts[at].from != from)
        at = (at + 1) & (capacity - 1);
    return &texts[at];
}

static size_t
bytes_of(size_t length)
{
    return length > 0 ? length : 1;
}

void
cop__handle_texts_free(cop__memory *memory, cop__handle_text *texts, size_t capacity)
{
    for (size_t i = 0; i < capacity; i++)
        if (texts[i].from != NULL)
            cop__memory_free(memory, COP_MEMORY_READERS, texts[i].copy, bytes_of(texts[i].length), 16);
    cop__memory_free(memory, COP_MEMORY_READERS, texts, capacity * sizeof *texts, 16);
}

/* Nothing of the reserve: there may be any number of texts, and what gets a store out of its plight has
 * to be built in it. */
static void *
kept_alloc(cop__memory *memory, size_t bytes)
{
    if (cop__memory_left(memory) < bytes)
        return NULL;
    return cop__memory_alloc(memory, COP_MEMORY_READERS, bytes, 16);
}

/* Keeps a third of the table free. */
static bool
reserve_one(cop__handle *handle, cop__memory *memory)
{
    if (handle->text_count + 1 <= handle->text_capacity / 3 * 2)
        return true;
    size_t capacity = handle->text_capacity > 0 ? handle->text_capacity * 2 : FIRST_CAPACITY;
    cop__handle_text *texts = kept_alloc(memory, capacity * sizeof *texts);
    if (texts == NULL)
        return false;
    memset(texts, 0, capacity * sizeof *texts);
    for (size_t i = 0; i < handle->text_capacity; i++)
        if (handle->texts[i].from != NULL)
            *look_up(texts, capacity, handle->texts[i].from) = handle->texts[i];
    cop__memory_free(memory, COP_MEMORY_READERS, handle->texts,
                     handle->text_capacity * sizeof *texts, 16);
    handle->texts = texts;
    handle->text_capacity = capacity;
    return true;
}

/* Under the handle's lock. NULL: no memory. */
static const char *
copy_of(cop__handle *handle, cop__memory *memory, const char *from, size_t length)
{
    if (!reserve_one(handle, memory))
        return NULL;
    cop__handle_text *text = look_up(handle->texts, handle->text_capacity, from);
    if (text->from != NULL)
        return text->copy;
    char *copy = kept_alloc(memory, bytes_of(length));
    if (copy == NULL)
        return NULL;
    memcpy(copy, from, length);
    *text = (cop__handle_text){from, copy, length};
    handle->text_count++;
    return copy;
}

bool
cop__entered_keep_text(const cop__entered *entered, const char **text, size_t length)
{
    cop__handle *handle = entered->handle;
    pthread_mutex_lock(&handle->lock);
    const char *copy = copy_of(handle, entered->root->store->memory, *text, length);
    pthread_mutex_unlock(&handle->lock);
    if (copy != NULL)
        *text = copy;
    return copy != NULL;
}

bool
cop__entered_keep_value(const cop__entered *entered, cop_value *value)
{
    if (!cop_value_is_text(value) || value->inlined != COP_VALUE_OUTSIDE)
        return true;
    const char *text = cop_value_data(value);
    if (!cop__entered_keep_text(entered, &text, cop_value_length(value)))
        return false;
    memcpy(&value->small.words[1], &text, sizeof text);
    return true;
}

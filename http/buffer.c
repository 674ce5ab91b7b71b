/* SPDX-License-Identifier: MIT */
/* Growable bytes within a shared budget. A buffer belongs to one thread at a time. */
#include "http/buffer.h"

#include <stdlib.h>
#include <string.h>

static bool
budget_take(struct cop__budget *budget, size_t n)
{
    if (!budget)
        return true;
    if (atomic_fetch_add_explicit(&budget->used, n, memory_order_relaxed) + n <= budget->limit)
        return true;
    atomic_fetch_sub_explicit(&budget->used, n, memory_order_relaxed);
    return false;
}

static void
budget_give(struct cop__budget *budget, size_t n)
{
    if (budget)
        atomic_fetch_sub_explicit(&budget->used, n, memory_order_relaxed);
}

bool
cop__buffer_reserve(struct cop__buffer *buffer, size_t n)
{
    if (buffer->capacity - buffer->length >= n)
        return true;
    size_t capacity = buffer->capacity ? buffer->capacity * 2 : 1024;
    while (capacity - buffer->length < n)
        capacity *= 2;
    size_t more = capacity - buffer->capacity;
    if (!budget_take(buffer->budget, more))
        return false;
    char *data = realloc(buffer->data, capacity);
    if (!data) {
        budget_give(buffer->budget, more);
        return false;
    }
    buffer->data = data;
    buffer->capacity = capacity;
    return true;
}

bool
cop__buffer_add(struct cop__buffer *buffer, const char *bytes, size_t n)
{
    if (!cop__buffer_reserve(buffer, n))
        return false;
    if (n)
        memcpy(buffer->data + buffer->length, bytes, n);
    buffer->length += n;
    return true;
}

void
cop__buffer_free(struct cop__buffer *buffer)
{
    budget_give(buffer->budget, buffer->capacity);
    free(buffer->data);
    buffer->data = NULL;
    buffer->length = 0;
    buffer->capacity = 0;
}

int
cop__buffer_sink(void *buffer, const char *bytes, size_t n)
{
    return !cop__buffer_add(buffer, bytes, n);
}

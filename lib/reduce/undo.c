/* SPDX-License-Identifier: MIT */
/* The log: an array that doubles. */
#include "reduce/undo.h"

enum { FIRST_CAPACITY = 16, KEPT_CAPACITY = 256 };

void
cop__reduce_undo_init(cop__reduce_undo *undo, cop__memory *memory)
{
    *undo = (cop__reduce_undo){.memory = memory};
}

void
cop__reduce_undo_end(cop__reduce_undo *undo)
{
    cop__memory_free(undo->memory, COP_MEMORY_GRAPH, undo->entry,
                     undo->capacity * sizeof *undo->entry, 16);
    cop__reduce_undo_init(undo, undo->memory);
}

static bool
grow(cop__reduce_undo *undo)
{
    if (undo->capacity > UINT32_MAX / 2)
        return false;
    uint32_t capacity = undo->capacity ? undo->capacity * 2 : FIRST_CAPACITY;
    cop__reduce_undo_entry *entry =
        cop__memory_realloc(undo->memory, COP_MEMORY_GRAPH, undo->entry,
                            undo->capacity * sizeof *entry, capacity * sizeof *entry);
    if (!entry)
        return false;
    undo->entry = entry;
    undo->capacity = capacity;
    return true;
}

bool
cop__reduce_undo_reserve(cop__reduce_undo *undo)
{
    return !undo->open || undo->count < undo->capacity || grow(undo);
}

void
cop__reduce_undo_note(cop__reduce_undo *undo, cop__reduce_undo_kind kind,
                      const cop__treap_node *child, const cop_value *value, uint32_t group)
{
    if (undo->open)
        undo->entry[undo->count++] = (cop__reduce_undo_entry){.kind = kind,
                                                              .id = child->id,
                                                              .name = child->name,
                                                              .group = group,
                                                              .value = *value};
}

void
cop__reduce_undo_open(cop__reduce_undo *undo)
{
    COP_ASSERT(!undo->open && undo->count == 0);
    undo->open = true;
}

void
cop__reduce_undo_close(cop__reduce_undo *undo)
{
    undo->open = false;
    undo->count = 0;
    if (undo->capacity > KEPT_CAPACITY)
        cop__reduce_undo_end(undo);
}

bool
cop__reduce_undo_back(cop__reduce_undo *undo,
                      void (*take_back)(void *content, const cop__reduce_undo_entry *entry),
                      void *content)
{
    bool any = undo->count != 0;
    while (undo->count != 0)
        take_back(content, &undo->entry[--undo->count]);
    cop__reduce_undo_close(undo);
    return any;
}

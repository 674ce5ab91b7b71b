/* SPDX-License-Identifier: MIT */
/* What a lazy atom's value rests on, for those who have to compare or watch it without running
 * functions: transactions and effects. See lazy.h. */
#include "graph/lazy.h"

typedef struct input_walk {
    const cop_snapshot *snapshot;
    cop__memory *memory;
    cop__lazy **seen; /* a set, by open addressing */
    size_t count, capacity;
    cop__lazy **todo;
    size_t todo_count, todo_capacity;
} input_walk;

static bool
walk_insert(cop__lazy **seen, size_t capacity, cop__lazy *lazy)
{
    size_t i = ((uintptr_t)lazy >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 20 & (capacity - 1);
    for (; seen[i] != NULL; i = (i + 1) & (capacity - 1))
        if (seen[i] == lazy)
            return false;
    seen[i] = lazy;
    return true;
}

static bool
walk_widen(input_walk *walk)
{
    size_t wide = walk->capacity ? walk->capacity * 2 : 16;
    cop__lazy **seen = cop__memory_zalloc(walk->memory, COP_MEMORY_GRAPH, wide * sizeof *seen, 16);
    if (seen == NULL)
        return false;
    for (size_t i = 0; i < walk->capacity; i++)
        if (walk->seen[i] != NULL)
            (void)walk_insert(seen, wide, walk->seen[i]);
    cop__memory_free(walk->memory, COP_MEMORY_GRAPH, walk->seen,
                     walk->capacity * sizeof *walk->seen, 16);
    walk->seen = seen;
    walk->capacity = wide;
    return true;
}

static cop_status
walk_add(input_walk *walk, cop__lazy *lazy)
{
    if (walk->count + 1 > walk->capacity / 4 * 3 && !walk_widen(walk))
        return COP_E_MEMORY;
    if (!walk_insert(walk->seen, walk->capacity, lazy))
        return COP_OK;
    walk->count++;
    if (!cop__memory_grow(walk->memory, COP_MEMORY_GRAPH, &walk->todo, &walk->todo_capacity,
                          walk->todo_count + 1, sizeof *walk->todo))
        return COP_E_MEMORY;
    walk->todo[walk->todo_count++] = lazy;
    return COP_OK;
}

static cop_status
walk_memo(input_walk *walk, const cop__memo *memo, cop__input_function function, void *context)
{
    cop_status status = COP_OK;
    for (uint64_t i = 0; status == COP_OK && i < memo->inputs; i++) {
        const cop__input *input = &memo->input[i];
        uint64_t what = input->what & COP_DEPENDS_WHAT;
        if (what == COP_DEPENDS_PATH)
            status = function(context, what, cop__input_atom(input->word[0]),
                              cop__memo_texts(memo) + input->word[1], input->more);
        else
            status = function(context, what, cop__input_atom(input->what), NULL, 0);
        if (status == COP_OK && what == COP_DEPENDS_VALUE && input->word[0] == COP_SLOT_LAZY) {
            const cop__slot *slot = cop__root_atom(walk->snapshot, cop__input_atom(input->what));
            status = walk_add(walk, (cop__lazy *)(void *)cop__slot_lazy(slot));
        }
    }
    return status;
}

cop_status
cop__lazy_each_input(cop__lazy_head *head, const cop_snapshot *snapshot,
                     cop__input_function function, void *context)
{
    cop__lazy *lazy = (cop__lazy *)(void *)head;
    input_walk walk = {.snapshot = snapshot, .memory = lazy->graph->memory};
    cop_status status = walk_add(&walk, lazy);
    while (status == COP_OK && walk.todo_count > 0) {
        cop__memo *memo = NULL;
        cop_value plain;
        lazy = walk.todo[--walk.todo_count];
        status = cop__lazy_evaluate(lazy, snapshot, &memo, &plain);
        if (status == COP_OK && memo == NULL)
            status = COP_E_MEMORY;
        if (memo != NULL) {
            status = walk_memo(&walk, memo, function, context);
            cop__memo_release(lazy, memo);
        }
    }
    cop__memory_free(walk.memory, COP_MEMORY_GRAPH, walk.seen, walk.capacity * sizeof *walk.seen,
                     16);
    cop__memory_free(walk.memory, COP_MEMORY_GRAPH, walk.todo,
                     walk.todo_capacity * sizeof *walk.todo, 16);
    return status;
}

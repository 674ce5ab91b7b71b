/* SPDX-License-Identifier: MIT */
/*
 * The compact layout: see json_compact.h.
 *
 * The pages of the version are walked with a stack of lists, one for each open branch. What will be
 * needed soon is asked for ahead, since the time goes to cache misses more than to formatting: of
 * the branch that comes next among its siblings the list, and the names on it.
 */
#include "serialize/json_compact.h"

#include "serialize/json_fast.h"

#define INLINE_LEVELS 16

typedef struct level {
    cop__json_list list;
    bool array;
    char separator; /* before the next child: the bracket, later a comma */
} level;

typedef struct walk {
    cop__json_out *out;
    cop__json_reader reader;
    cop__json_reader ahead;
    level *levels;
    uint32_t depth, capacity, deepest;
    level first_levels[INLINE_LEVELS];
} walk;

static bool
room_for_level(walk *w)
{
    if (cop__likely(w->depth < w->capacity))
        return true;
    bool inside = w->levels == w->first_levels;
    level *grown = realloc(inside ? NULL : w->levels, 2 * w->capacity * sizeof *grown);
    if (!grown)
        return false;
    if (inside)
        memcpy(grown, w->first_levels, sizeof w->first_levels);
    w->levels = grown;
    w->capacity *= 2;
    return true;
}

static cop_status
open_branch(walk *w, const cop__slot *slot)
{
    bool array = cop__slot_type(slot) == COP_ARRAY;
    if (cop__unlikely(w->deepest != 0 && w->depth == w->deepest)) {
        cop__json_bytes(w->out, array ? "[]" : "{}", 2);
        return COP_OK;
    }
    if (!room_for_level(w))
        return COP_E_MEMORY;
    w->levels[w->depth++] =
        (level){cop__json_list_of(w->reader.snapshot, slot), array, array ? '[' : '{'};
    return COP_OK;
}

static void
close_branch(walk *w)
{
    const level *l = &w->levels[--w->depth];
    if (l->separator != ',')
        cop__json_char(w->out, l->separator);
    cop__json_char(w->out, l->array ? ']' : '}');
}

static cop_status
put_child(walk *w, level *l, uint32_t id)
{
    const cop__slot *slot = cop__json_slot(&w->reader, id);
    if (cop__unlikely(cop__slot_is_lazy(slot)) && !l->array) {
        l->list.id++;
        return COP_OK;
    }
    cop__json_put_begin(w->out, &w->reader, id, l->array, l->separator);
    l->separator = ',';
    if (cop__slot_is_branch(slot)) {
        cop__json_look_ahead(&w->ahead, &l->list);
        l->list.id++;
        return open_branch(w, slot); /* l may have moved */
    }
    l->list.id++;
    cop__json_put_scalar(w->out, slot);
    return COP_OK;
}

static cop_status
put_children(walk *w)
{
    cop_status status = COP_OK;
    while (!status && w->depth > 0 && cop__likely(!w->out->stopped)) {
        level *l = &w->levels[w->depth - 1];
        if (cop__json_list_more(w->reader.snapshot, &l->list))
            status = put_child(w, l, *l->list.id);
        else
            close_branch(w);
    }
    return status;
}

cop_status
cop__json_compact(cop__json_out *out, const cop_snapshot *snapshot, cop_atom branch, uint32_t depth)
{
    walk w = {.out = out,
              .reader = cop__json_reader_of(snapshot),
              .ahead = cop__json_reader_of(snapshot),
              .capacity = INLINE_LEVELS,
              .deepest = depth};
    w.levels = w.first_levels;
    cop_status status = open_branch(&w, cop__json_slot(&w.reader, branch.id));
    if (!status)
        status = put_children(&w);
    if (w.levels != w.first_levels)
        free(w.levels);
    return status;
}

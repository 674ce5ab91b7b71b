/* SPDX-License-Identifier: MIT */
/*
 * A value with all that is below it, written down flat: an item for each atom, a branch before what is
 * in it. What patches carry, compare and copy.
 */
#ifndef COP_TREE_ITEMS_H
#define COP_TREE_ITEMS_H

#include <coppice/path.h>

#include "tree/list.h"

typedef struct cop__item {
    cop_value value;     /* of a branch: an empty one */
    const char *key;     /* of an object's member, as a segment of a path; else NULL */
    uint32_t key_length;
    uint32_t count;      /* children, which follow with all that is below each of them */
} cop__item;

typedef struct cop__items {
    cop__memory *memory;
    cop__item *item;
    size_t count, capacity;
    char *text; /* keys, and long values */
    size_t text_used, text_capacity;
} cop__items;

/*
 * What an atom of a version or of the draft has; independent of it afterwards. Begin with memory set
 * and all else zero; end it after a failure too. A lazy atom has no value in the tree: as a member of
 * an object it is left out, elsewhere it is null. COP_E_MEMORY, COP_E_LIMIT (more items than that, or deeper than paths lead).
 */
cop_status cop__items_take(cop__items *items, cop__view view, uint32_t id, size_t limit);
void cop__items_end(cop__items *items);

#endif

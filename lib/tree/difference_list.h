/* SPDX-License-Identifier: MIT */
/* The edits of one branch's list of children, for difference.c. What they are: difference.h. */
#ifndef COP_TREE_DIFFERENCE_LIST_H
#define COP_TREE_DIFFERENCE_LIST_H

#include "tree/difference.h"

typedef struct cop__edit_vector {
    void *at;
    size_t count, capacity; /* elements */
} cop__edit_vector;

/* Makes the vector n elements long. NULL: out of memory; what was in it stays. */
void *cop__edit_room(cop__memory *memory, cop__edit_vector *vector, size_t n, size_t element);
void cop__edit_free(cop__memory *memory, cop__edit_vector *vector, size_t element);

enum { COP_EDIT_BEFORE, COP_EDIT_NOW, COP_EDIT_SIDES };

/* Numbers of the list's leaf pages that the other version does not share, in any order. */
typedef struct cop__edit_leaves {
    const uint32_t *number;
    size_t count;
} cop__edit_leaves;

typedef struct cop__edit_list {
    cop__memory *memory;
    cop__diff_pair pair;
    cop__edit_function function;
    void *context;
    uint32_t branch;
    cop__edit_vector
        reborn; /* uint32_t, rising: ids that are another atom's in `now`; not the list's */
    cop__edit_vector child[COP_EDIT_SIDES];
    cop__edit_vector table, run, mover, moved, leaf;
} cop__edit_list;

/* The list begins with memory, pair, function, context and reborn set and all else zero. */
cop_status cop__edit_list_tell(cop__edit_list *list, uint32_t branch,
                               const cop__edit_leaves leaves[COP_EDIT_SIDES]);
void cop__edit_list_end(cop__edit_list *list);

#endif

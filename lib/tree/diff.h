/* SPDX-License-Identifier: MIT */
/*
 * The difference of two versions: which slots are not the same.
 *
 * Both radix trees are walked together; where they share a node or a page there is nothing to see, so
 * the cost follows what was copied between the two versions, not what they hold. Both are held by the
 * caller, immutable, and read with plain loads (tree.h). Nothing is allocated, nothing can fail.
 */
#ifndef COP_TREE_DIFF_H
#define COP_TREE_DIFF_H

#include "tree/tree.h"

/* A page that is not the same one; NULL where a version has none. */
typedef void (*cop__diff_page_function)(void *context, uint32_t number, const void *before,
                                        const void *now);

/* Every page of a space that is another one, in rising order of their numbers. */
void cop__tree_diff_pages(const cop_snapshot *before, const cop_snapshot *now, unsigned space,
                          cop__diff_page_function function, void *context);

/* A slot that is not the same, in either version possibly a dead one. */
typedef void (*cop__diff_function)(void *context, uint32_t id, const cop__slot *before,
                                   const cop__slot *now);

/* Every id whose slots differ in any bit, in rising order. */
void cop__tree_diff(const cop_snapshot *before, const cop_snapshot *now, cop__diff_function function,
                    void *context);

/* What such a difference means to somebody who compares the two versions. In the order in which a
 * reader of changes wants them: what made room, what stayed, what came. */
typedef enum cop__difference {
    COP_DIFF_ERASED,
    COP_DIFF_VALUE,
    COP_DIFF_CREATED,
    COP_DIFF_ELEMENTS, /* an array: the list of its elements is another one */
    COP_DIFFERENCES
} cop__difference;

typedef struct cop__diff_pair {
    const cop_snapshot *before, *now;
} cop__diff_pair;

/* Up to two differences of one id: an atom that went and another one that has its id. The number of
 * those in what[]. A branch is no difference because of what is below it, a lazy atom none because of
 * its value, and bytes that were written anew as they were are none either. */
unsigned cop__diff_meaning(cop__diff_pair pair, const cop__slot *before, const cop__slot *now,
                           cop__difference what[2]);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * The combination of all values of a treap by path, in that order, kept up to date along the paths
 * that changed.
 *
 * Each node keeps the combination of its subtree: left, own value, right. combine need only be
 * associative; were it not (doubles), the result would still be a function of the content, because
 * the shape is. A change marks the nodes above it; cop__fold_result recomputes those that are
 * marked, each once, in O(log n) expected for one change and less for each of many.
 *
 * A combine that fails, or whose result is not what combine_function allows (number, bool, string
 * of at most COP_INLINE_MAX bytes: COP_E_TYPE), makes the result a failure until a change takes it
 * away: the first failure in the order left, own, right.
 */
#ifndef COP_REDUCE_FOLD_H
#define COP_REDUCE_FOLD_H

#include <coppice/reduce.h>

#include "reduce/treap.h"

typedef struct cop__fold_node {
    cop__treap_node node;
    cop_value folded; /* of the subtree; unless dirty. COP_NONE: a failure, see cop__fold_status */
} cop__fold_node;

_Static_assert(sizeof(cop__fold_node) == COP_CACHE_LINE, "a node of a fold is a cache line");

/* True for values that a combine function takes and makes. */
bool cop__fold_takes(const cop_value *value);

/* *into = *into combined with *value; a failure in either, or of this, is kept in *into. */
void cop__fold_combine(cop_combine_function combine, void *context, cop_value *into,
                       const cop_value *value);

/* A failure as a value, and back. */
cop_value cop__fold_failure(cop_status status);
cop_status cop__fold_status(const cop_value *failure);

/* The combination of all; the treap is not empty, folds, is by path, and has cop__fold_nodes. */
cop_value cop__fold_result(const cop__treap *treap, const cop__records *nodes,
                           cop_combine_function combine, void *context);

/* Combine functions: the lesser, the greater; of equal ones the first. Numbers, no NaN. */
cop_status cop__fold_min(void *context, cop_value *accumulator, const cop_value *value);
cop_status cop__fold_max(void *context, cop_value *accumulator, const cop_value *value);

#endif

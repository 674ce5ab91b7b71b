/* SPDX-License-Identifier: MIT */
/*
 * Ordered sets of nodes whose shape is a function of their content alone.
 *
 * THE IDEA (Seidel and Aragon, "Randomized search trees", 1996): a binary tree in the order of the
 * keys that is a heap in the order of priorities is unique when no two priorities are equal. The
 * priority is a hash of the path; equal ones are decided by path and id. So the tree is the same
 * however its content came about, and what is computed along it is too. Depth is O(log n) expected
 * over the hash; the hash is not secret (its seed is a constant, so that every process builds the
 * same tree), so whoever chooses names can choose a deep tree: costs suffer then, results do not,
 * and nothing here recurses. Inserting, removing and going on to the next use loops and parent
 * links.
 *
 * ORDERS. By path: bytes as memcmp, a prefix first; then id (within one wave a path may be there
 * twice, as an old atom and its successor). By number: the greatest first, then by path.
 *
 * NAMES ARE REFERENCED: the caller keeps a name and those above it in place until the node is gone for
 * good. Paths are compared on the way up and not written out; all count from the root.
 *
 * DIRTY NODES (folding trees). Invariant: above a dirty node all are dirty. Whatever lies below a
 * change is left clean, so that a fold is recomputed along the changed paths only, once for all
 * changes of a wave.
 */
#ifndef COP_REDUCE_TREAP_H
#define COP_REDUCE_TREAP_H

#include <coppice/value.h>

#include "reduce/records.h"
#include "tree/name.h"

typedef struct cop__treap_node {
    uint32_t left, right, parent; /* 0: none */
    uint32_t priority;
    uint32_t id;
    uint32_t dirty;
    const cop__name *name;
    cop_value value;
} cop__treap_node;

_Static_assert(sizeof(cop__treap_node) == 48, "what a child costs");

typedef enum cop__treap_order { COP_BY_PATH, COP_BY_NUMBER } cop__treap_order;

typedef struct cop__treap {
    uint32_t root;
    uint8_t order; /* cop__treap_order */
    bool folds;    /* keep dirty bits */
} cop__treap;

static inline cop__treap_node *
cop__treap_node_at(const cop__records *nodes, uint32_t number)
{
    return cop__records_at(nodes, number);
}

/* Fills in name, id and priority. */
void cop__treap_node_name(cop__treap_node *node, uint32_t id, const cop__name *name);

/* Negative when a comes first; 0 for the same node only. */
int cop__treap_node_compare(const cop__treap_node *a, const cop__treap_node *b,
                            cop__treap_order order);

/* A named node that is in no treap. What the order looks at may not change while it is in. O(log n)
 * expected; never fails. */
void cop__treap_insert(cop__treap *treap, const cop__records *nodes, uint32_t number);
void cop__treap_remove(cop__treap *treap, const cop__records *nodes, uint32_t number);
/* The value of a node in a folding tree has changed. */
void cop__treap_mark(const cop__records *nodes, uint32_t number);

/* In order; 0: none. _next is O(1) on average over a walk. */
uint32_t cop__treap_first(const cop__treap *treap, const cop__records *nodes);
uint32_t cop__treap_next(const cop__records *nodes, uint32_t number);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * A reduction: children by id, and what they reduce to under one rule (coppice/reduce.h).
 *
 * The result is a function of the present children (path, value) and the rule, bit for bit. Nothing
 * here knows the tree but its names: the caller says which atoms match, and how they change.
 *
 * COST. insert, change, remove: O(1) for count, sum and mean (while all are numbers); O(log n)
 * expected for min, max, top and custom, but O(1) for a change under a custom rule with an inverse,
 * and for min, max and custom the marking only: combine is called by _result, once for each node
 * above what changed since the last. Insertion is amortised: the table of ids grows by half. Memory
 * for each child: a node of 48 bytes (64 for min, max and custom without inverse) and 9 to 14 bytes
 * of the table. Nodes come in chunks of 64.
 *
 * NAMES ARE REFERENCED, NOT COPIED: a name and those above it stay the caller's and must keep their
 * place until the child is removed and, with a mark open, until _commit or _rollback. One name thus
 * serves all reductions and groups that watch an atom.
 *
 * MEMORY. Each call that returns COP_E_MEMORY has changed nothing that shows. All bytes are of kind
 * COP_MEMORY_GRAPH and given back by _close.
 *
 * UNDO. Between _mark and _commit or _rollback changes are logged (40 bytes each). _rollback puts
 * everything back and cannot fail.
 *
 * Single-threaded: the caller sees to it that one thread at a time is in here.
 */
#ifndef COP_REDUCE_REDUCTION_H
#define COP_REDUCE_REDUCTION_H

#include "reduce/reducer.h"

typedef struct cop__reduction cop__reduction;

/* The rule's context stays the caller's. COP_E_INVALID, COP_E_MEMORY. */
cop_status cop__reduction_open(cop__memory *memory, const cop__reduce_rule *rule,
                               cop__reduction **reduction);
/* NULL is legal. */
void cop__reduction_close(cop__reduction *reduction);

/* Any value; a branch as cop_object or cop_array. COP_E_STATE: the id is there already.
 * COP_E_MEMORY. */
cop_status cop__reduction_insert(cop__reduction *reduction, uint32_t id, const cop__name *name,
                                 const cop_value *value);
/* COP_E_ABSENT: there is no such id. COP_E_MEMORY. */
cop_status cop__reduction_change(cop__reduction *reduction, uint32_t id, const cop_value *value);
/* COP_E_ABSENT; COP_E_MEMORY, with a mark open only. */
cop_status cop__reduction_remove(cop__reduction *reduction, uint32_t id);

bool cop__reduction_has(const cop__reduction *reduction, uint32_t id);
/* Children of any value. */
uint32_t cop__reduction_size(const cop__reduction *reduction);

/* No mark is open. */
void cop__reduction_mark(cop__reduction *reduction);
void cop__reduction_commit(cop__reduction *reduction);
void cop__reduction_rollback(cop__reduction *reduction);

/* See cop__reducer_result. Calls combine; not const because it remembers what that gave. */
void cop__reduction_result(cop__reduction *reduction, char *text, size_t capacity,
                           cop_value *result);
/* The rows of a top: `key`, `key_length`, `value` and `id` of the nodes. */
void cop__reduction_top(const cop__reduction *reduction, cop__top_walk *walk);

#endif

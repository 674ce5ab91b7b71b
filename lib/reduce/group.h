/* SPDX-License-Identifier: MIT */
/*
 * A grouping: objects sorted into groups by the text of a key, and a reduction of their values
 * within each group.
 *
 * All groups share their tables: the nodes of the values, the members by object id, the groups by
 * name. So a group of few members costs few bytes beside them. An object has two nodes: that of its
 * value, in the reducer of its group, and that of the object, in the group's treap by path, whose
 * first is the group's first member. The groups themselves are in a treap by the path of their
 * first member, which is the order of iteration: a function of the content like everything else
 * here.
 *
 * THE TEXT OF A KEY names its group: a string as it is; i64 and f64 as JSON has them (NaN,
 * Infinity, -Infinity for those that it has not); true and false. 1 and "1" are thus one group. An
 * object whose key is anything else (absent, null, a branch, bytes, an error) is in no group, and
 * waits for a key. A group copies its name. An object with a key and without a value is a member
 * that its reducer passes over; a group without members vanishes.
 *
 * COST. insert, remove, change_key: O(log n) expected; change_value: as cop__reduction_change.
 * Memory for each object: 96 bytes (112 for min, max and custom without inverse) and 9 to 14 of the
 * table; for each group 208 bytes, its name, 9 to 14 of the table, and the digits of a sum of
 * doubles (40 or more).
 *
 * Keys, memory, undo and threads: as in reduction.h. Paths are referenced, key texts are not.
 */
#ifndef COP_REDUCE_GROUP_H
#define COP_REDUCE_GROUP_H

#include "reduce/reducer.h"

typedef struct cop__grouping cop__grouping;

/* COP_E_INVALID, COP_E_MEMORY. */
cop_status cop__grouping_open(cop__memory *memory, const cop__reduce_rule *rule,
                              cop__grouping **grouping);
/* NULL is legal. */
void cop__grouping_close(cop__grouping *grouping);

/* An object by its id; COP_NONE stands for an absent key or value. COP_E_STATE: it is there
 * already. COP_E_MEMORY. */
cop_status cop__grouping_insert(cop__grouping *grouping, uint32_t object, const cop__name *name,
                                const cop_value *key, const cop_value *value);
/* COP_E_ABSENT, COP_E_MEMORY. */
cop_status cop__grouping_change_key(cop__grouping *grouping, uint32_t object, const cop_value *key);
cop_status cop__grouping_change_value(cop__grouping *grouping, uint32_t object,
                                      const cop_value *value);
/* COP_E_ABSENT; COP_E_MEMORY, with a mark open only. */
cop_status cop__grouping_remove(cop__grouping *grouping, uint32_t object);

bool cop__grouping_has(const cop__grouping *grouping, uint32_t object);
/* Objects, those without a group included. */
uint32_t cop__grouping_size(const cop__grouping *grouping);

void cop__grouping_mark(cop__grouping *grouping);
void cop__grouping_commit(cop__grouping *grouping);
void cop__grouping_rollback(cop__grouping *grouping);

/* The groups that have members, in order; valid while the grouping does not change. 0: no more. */
uint32_t cop__grouping_first(const cop__grouping *grouping);
uint32_t cop__grouping_next(const cop__grouping *grouping, uint32_t group);

/* Of the groups as they were at the last call (at first: none) none came, went or changed its place in
 * the order, and no others than *first and its successors may have another result; those are valid
 * while the grouping does not change. False: all are to be looked at. O(1). */
bool cop__grouping_changed(cop__grouping *grouping, uint32_t *first);
uint32_t cop__grouping_changed_next(const cop__grouping *grouping, uint32_t group);

/* Of a group: its name, lives as long as the group; members; what they reduce to. */
const char *cop__group_name(const cop__grouping *grouping, uint32_t group, size_t *length);
uint32_t cop__group_size(const cop__grouping *grouping, uint32_t group);
void cop__group_result(cop__grouping *grouping, uint32_t group, char *text, size_t capacity,
                       cop_value *result);
void cop__group_top(const cop__grouping *grouping, uint32_t group, cop__top_walk *walk);

#endif

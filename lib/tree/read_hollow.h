/* SPDX-License-Identifier: MIT */
/*
 * Reading what is hollow: a snapshot's record in which there is no page. It is a handle (reclaim/handle.h),
 * and what is asked is read in the record that it leads to; or a forked child's, which answers so.
 * One function for each in snapshot.h, with its errors and COP_E_EXPIRED, and COP_E_MEMORY where a text has to
 * be copied.
 */
#ifndef COP_TREE_READ_HOLLOW_H
#define COP_TREE_READ_HOLLOW_H

#include "reclaim/handle.h"

cop_status cop__hollow_get(const cop_snapshot *snapshot, cop_atom atom, cop_value *value);
cop_status cop__hollow_get_many(const cop_snapshot *snapshot, const cop_atom *atoms, size_t n, cop_value *values);
cop_status cop__hollow_get_string(const cop_snapshot *snapshot, cop_atom atom, const char **text, size_t *length);
cop_status cop__hollow_find(const cop_snapshot *snapshot, const char *path, size_t length, cop_atom *atom);
cop_status cop__hollow_count(const cop_snapshot *snapshot, cop_atom branch, uint32_t *count);
cop_status cop__hollow_changed(const cop_snapshot *snapshot, cop_atom branch, uint64_t *version);
cop_status cop__hollow_child_at(const cop_snapshot *snapshot, cop_atom branch, uint32_t index, cop_atom *atom);
cop_status cop__hollow_child_named(const cop_snapshot *snapshot, cop_atom branch, const char *key, size_t length, cop_atom *atom);
cop_status cop__hollow_each(const cop_snapshot *snapshot, cop_atom branch, cop_each_function function, void *context, int *stopped);
cop_status cop__hollow_parent(const cop_snapshot *snapshot, cop_atom atom, cop_atom *parent);
cop_status cop__hollow_atom_path(const cop_snapshot *snapshot, cop_atom atom, char *buffer, size_t capacity, size_t *length);
cop_status cop__hollow_scan(const cop_snapshot *snapshot, cop_scan_function function, void *context);
cop_status cop__hollow_cursor_open(const cop_snapshot *snapshot, cop_atom branch, cop_cursor *cursor);
bool cop__hollow_cursor_next(cop_cursor *cursor, cop_child *child);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * Reading through handles. Each call enters the handle, reads in the record that it leads to, copies what has to
 * outlive the version, and leaves. Callbacks run inside: what they are shown lives for the call.
 */
#include "tree/read_hollow.h"

/* The answer of a call in the record, which is `root` in it. */
#define THROUGH(snapshot, call)                                     \
    do {                                                            \
        cop__entered entered;                                       \
        cop_status status = cop__snapshot_enter(snapshot, &entered); \
        if (status == COP_OK) {                                     \
            const cop_snapshot *root = entered.root;                \
            status = (call);                                        \
            cop__snapshot_leave(&entered);                          \
        }                                                           \
        return status;                                              \
    } while (0)

/* ---- what gives texts away ---- */

static cop_status
get_kept(const cop__entered *entered, cop_atom atom, cop_value *value)
{
    cop_status status = cop_get(entered->root, atom, value);
    if (status != COP_OK || cop__entered_keep_value(entered, value))
        return status;
    memset(value, 0, sizeof *value);
    return COP_E_MEMORY;
}

cop_status
cop__hollow_get(const cop_snapshot *snapshot, cop_atom atom, cop_value *value)
{
    cop__entered entered;
    memset(value, 0, sizeof *value);
    cop_status status = cop__snapshot_enter(snapshot, &entered);
    if (status != COP_OK)
        return status;
    status = get_kept(&entered, atom, value);
    cop__snapshot_leave(&entered);
    return status;
}

/* An atom that is gone is the least that can be wrong. */
cop_status
cop__hollow_get_many(const cop_snapshot *snapshot, const cop_atom *atoms, size_t n, cop_value *values)
{
    cop__entered entered;
    memset(values, 0, n * sizeof *values);
    cop_status status = cop__snapshot_enter(snapshot, &entered);
    if (status != COP_OK)
        return status;
    for (size_t i = 0; i < n; i++) {
        cop_status one = get_kept(&entered, atoms[i], &values[i]);
        if (one != COP_OK && (status == COP_OK || status == COP_E_GONE))
            status = one;
    }
    cop__snapshot_leave(&entered);
    return status;
}

cop_status
cop__hollow_get_string(const cop_snapshot *snapshot, cop_atom atom, const char **text, size_t *length)
{
    cop__entered entered;
    const char *found;
    size_t bytes;
    cop_status status = cop__snapshot_enter(snapshot, &entered);
    if (status != COP_OK)
        return status;
    status = cop_get_string(entered.root, atom, &found, &bytes);
    if (status == COP_OK && !cop__entered_keep_text(&entered, &found, bytes))
        status = COP_E_MEMORY;
    cop__snapshot_leave(&entered);
    if (status == COP_OK) {
        *text = found;
        *length = bytes;
    }
    return status;
}

/* ---- cursors: each step enters anew ---- */

cop_status
cop__hollow_cursor_open(const cop_snapshot *snapshot, cop_atom branch, cop_cursor *cursor)
{
    cop__entered entered;
    memset(cursor, 0, sizeof *cursor);
    cop_status status = cop__snapshot_enter(snapshot, &entered);
    if (status == COP_OK) {
        status = cop_cursor_open(entered.root, branch, cursor);
        cop__snapshot_leave(&entered);
    }
    cursor->snapshot = snapshot;
    return status;
}

static bool
child_keep(const cop__entered *entered, cop_child *child)
{
    return cop__entered_keep_value(entered, &child->value) &&
           (child->key == NULL || cop__entered_keep_text(entered, &child->key, child->key_length));
}

/* A step for which there is no memory is as if it had not been made. */
bool
cop__hollow_cursor_next(cop_cursor *cursor, cop_child *child)
{
    cop__entered entered;
    cop_cursor next = *cursor;
    cop_status status = cop__snapshot_enter(cursor->snapshot, &entered);
    bool more = false;
    if (status == COP_OK) {
        next.snapshot = entered.root;
        more = cop_cursor_next(&next, child);
        if (more && !child_keep(&entered, child))
            status = COP_E_MEMORY;
        cop__snapshot_leave(&entered);
    }
    if (status == COP_OK)
        memcpy(cursor->state, next.state, sizeof cursor->state);
    cursor->state[3] = (uint32_t)status;
    return more && status == COP_OK;
}

/* ---- the others ---- */

cop_status
cop__hollow_find(const cop_snapshot *snapshot, const char *path, size_t length, cop_atom *atom)
{
    THROUGH(snapshot, cop_find(root, path, length, atom));
}

cop_status
cop__hollow_count(const cop_snapshot *snapshot, cop_atom branch, uint32_t *count)
{
    THROUGH(snapshot, cop_count(root, branch, count));
}

cop_status
cop__hollow_changed(const cop_snapshot *snapshot, cop_atom branch, uint64_t *version)
{
    THROUGH(snapshot, cop_changed(root, branch, version));
}

cop_status
cop__hollow_child_at(const cop_snapshot *snapshot, cop_atom branch, uint32_t index, cop_atom *atom)
{
    THROUGH(snapshot, cop_child_at(root, branch, index, atom));
}

cop_status
cop__hollow_child_named(const cop_snapshot *snapshot, cop_atom branch, const char *key, size_t length, cop_atom *atom)
{
    THROUGH(snapshot, cop_child_named(root, branch, key, length, atom));
}

cop_status
cop__hollow_each(const cop_snapshot *snapshot, cop_atom branch, cop_each_function function, void *context, int *stopped)
{
    THROUGH(snapshot, cop_each(root, branch, function, context, stopped));
}

cop_status
cop__hollow_parent(const cop_snapshot *snapshot, cop_atom atom, cop_atom *parent)
{
    THROUGH(snapshot, cop_parent(root, atom, parent));
}

cop_status
cop__hollow_atom_path(const cop_snapshot *snapshot, cop_atom atom, char *buffer, size_t capacity, size_t *length)
{
    THROUGH(snapshot, cop_atom_path(root, atom, buffer, capacity, length));
}

cop_status
cop__hollow_scan(const cop_snapshot *snapshot, cop_scan_function function, void *context)
{
    THROUGH(snapshot, cop_scan(root, function, context));
}

/* SPDX-License-Identifier: MIT */
/*
 * What a transaction read, and whether it still holds.
 *
 * The reads of a transaction are of one version, which it holds as a snapshot. A condition names
 * what was read; the commit compares it in that snapshot with the draft, so that a value which went
 * away and came back is no conflict.
 */
#include "commit/txn.h"
#include "graph/lazy.h"
#include "reclaim/gate.h"

static cop_status
condition_add(cop_txn *txn, cop__condition condition, const void *text, size_t length)
{
    cop_status status = cop__txn_building(txn);
    if (status != COP_OK)
        return status;
    if (txn->condition_count == txn->condition_capacity) {
        size_t more = txn->condition_capacity ? txn->condition_capacity * 2 : 8;
        void *grown = cop__memory_realloc(txn->gate->memory, COP_MEMORY_TXN, txn->conditions,
                                          txn->condition_capacity * sizeof *txn->conditions,
                                          more * sizeof *txn->conditions);
        if (grown == NULL)
            return COP_E_MEMORY;
        txn->conditions = grown;
        txn->condition_capacity = more;
    }
    if (text != NULL) {
        char *kept = cop__txn_bytes(txn, length + 1);
        if (kept == NULL)
            return COP_E_MEMORY;
        memcpy(kept, text, length);
        condition.text = kept;
        condition.length = (uint32_t)length;
    }
    txn->conditions[txn->condition_count++] = condition;
    return COP_OK;
}

cop_status
cop_txn_snapshot(cop_txn *txn, const cop_snapshot **snapshot)
{
    cop_status status = cop__txn_building(txn);
    if (status == COP_OK && txn->snapshot == NULL)
        status = cop_snapshot_take(txn->store, &txn->snapshot);
    *snapshot = txn->snapshot;
    return status;
}

cop_status
cop__txn_snapshot_root(cop_txn *txn, const cop_snapshot **snapshot)
{
    COP_ASSERT(txn->snapshot == NULL);
    cop_status status = cop__txn_building(txn);
    if (status == COP_OK)
        status = cop__snapshot_take_root(txn->store, &txn->snapshot);
    *snapshot = txn->snapshot;
    return status;
}

/* ---- reading ---- */

/* What a transaction had read before a read. */
typedef struct had {
    const cop_snapshot *snapshot;
    size_t conditions;
} had;

static had
what_it_had(const cop_txn *txn)
{
    return (had){txn->snapshot, txn->condition_count};
}

/* A read that failed leaves no condition, and does not fix the version that the transaction reads. */
static cop_status
read_failed(cop_txn *txn, had before, cop_status status)
{
    txn->condition_count = before.conditions;
    if (before.snapshot == NULL && txn->snapshot != NULL) {
        cop_snapshot_drop(txn->snapshot);
        txn->snapshot = NULL;
    }
    return status;
}

static bool
same_atom(cop_atom a, cop_atom b)
{
    return a.id == b.id && a.generation == b.generation;
}

/* The transaction's own operations on this handle, in order, on top of what the snapshot says.
 * False when there is none. */
static bool
own_writes(const cop_txn *txn, cop_atom atom, cop_value *value, cop_status *status)
{
    bool any = false;
    for (size_t i = 0; i < txn->op_count; i++) {
        const cop__op *op = &txn->ops[i];
        if (!same_atom(op->target, atom) ||
            (op->code != COP_OP_SET && op->code != COP_OP_ERASE && op->code != COP_OP_ADD &&
             op->code != COP_OP_MAX && op->code != COP_OP_COMPARE_SET))
            continue;
        any = true;
        if (op->code == COP_OP_ERASE) {
            *status = COP_E_GONE;
            memset(value, 0, sizeof *value);
        } else if (*status == COP_OK) {
            *status = cop__op_result(op, value, value);
        }
    }
    return any;
}

/* What an operation of this transaction makes, with what later ones do to it. */
static cop_status
get_provisional(const cop_txn *txn, cop_atom atom, cop_value *value)
{
    cop_status status = cop__txn_building(txn);
    if (status == COP_OK && atom.id >= txn->op_count)
        status = COP_E_INVALID;
    if (status != COP_OK)
        return status;
    *value = txn->ops[atom.id].value;
    (void)own_writes(txn, atom, value, &status);
    return status;
}

/* One thing that a lazy atom's value rests on. */
static cop_status
input_condition(void *context, uint64_t what, cop_atom atom, const char *path, size_t length)
{
    cop__condition condition = {.code = COP_READ_ATOM, .atom = atom};
    if (what == COP_DEPENDS_PATH)
        condition.code = COP_READ_PATH;
    else if (what == COP_DEPENDS_LIST)
        condition.code = COP_READ_LIST;
    return condition_add(context, condition, path, length);
}

/* No function may run under the commit right, so the value of a lazy atom cannot be compared there:
 * all that it rests on is. */
static cop_status
lazy_conditions(cop_txn *txn, const cop_snapshot *snapshot, cop_atom atom)
{
    const cop__slot *slot = cop__root_atom(snapshot, atom);
    if (slot == NULL || !cop__slot_is_lazy(slot))
        return COP_OK;
    return cop__lazy_each_input(cop__slot_lazy(slot), snapshot, input_condition, txn);
}

cop_status
cop_txn_get(cop_txn *txn, cop_atom atom, cop_value *value)
{
    const cop_snapshot *snapshot;
    memset(value, 0, sizeof *value);
    if (atom.generation == COP_PROVISIONAL)
        return get_provisional(txn, atom, value);
    had before = what_it_had(txn);
    cop_status status = cop_txn_snapshot(txn, &snapshot);
    if (status != COP_OK)
        return status;
    cop__entered entered;
    status = cop__snapshot_enter(snapshot, &entered);
    if (status != COP_OK)
        return read_failed(txn, before, status);
    status = cop_get(snapshot, atom, value);
    cop_status added = status == COP_E_GONE ? COP_OK : status;
    if (added == COP_OK)
        added = condition_add(txn, (cop__condition){.code = COP_READ_ATOM, .atom = atom}, NULL, 0);
    if (added == COP_OK)
        added = lazy_conditions(txn, entered.root, atom);
    cop__snapshot_leave(&entered);
    if (added != COP_OK) {
        memset(value, 0, sizeof *value);
        return read_failed(txn, before, added);
    }
    (void)own_writes(txn, atom, value, &status);
    return status;
}

cop_status
cop_txn_find(cop_txn *txn, const char *path, size_t length, cop_atom *atom, cop_error *error)
{
    const cop_snapshot *snapshot;
    *atom = (cop_atom){0, 0};
    had before = what_it_had(txn);
    cop_status status = cop_path_check(path, length, error);
    if (status == COP_OK)
        status = cop_txn_snapshot(txn, &snapshot);
    if (status != COP_OK)
        return status;
    status = cop_find(snapshot, path, length, atom);
    if (status != COP_OK && status != COP_E_ABSENT)
        return status;
    cop_status added = condition_add(
        txn, (cop__condition){.code = COP_READ_PATH, .atom = *atom}, path, length);
    return added == COP_OK ? status : read_failed(txn, before, added);
}

cop_status
cop_txn_each(cop_txn *txn, cop_atom branch, cop_each_function function, void *context, int *stopped)
{
    const cop_snapshot *snapshot;
    had before = what_it_had(txn);
    cop_status status = cop_txn_snapshot(txn, &snapshot);
    if (status != COP_OK)
        return status;
    status = condition_add(txn, (cop__condition){.code = COP_READ_LIST, .atom = branch}, NULL, 0);
    return status == COP_OK ? cop_each(snapshot, branch, function, context, stopped)
                            : read_failed(txn, before, status);
}

cop_status
cop_txn_require_unchanged(cop_txn *txn, cop_atom branch, uint64_t version)
{
    txn->wants_fresh = true; /* branches are marked as changed when a draft is finished */
    return condition_add(
        txn, (cop__condition){.code = COP_IF_UNCHANGED, .atom = branch, .version = version}, NULL,
        0);
}

cop_status
cop_txn_require_value(cop_txn *txn, cop_atom atom, const cop_value *value)
{
    if (value == NULL || value->type == COP_NONE || value->type > COP_ARRAY)
        return COP_E_INVALID;
    cop_value kept = *value;
    bool outside = cop_value_is_text(value) && value->inlined == COP_VALUE_OUTSIDE;
    if (outside) {
        void *bytes = cop__txn_bytes(txn, cop_value_length(value));
        if (bytes == NULL)
            return COP_E_MEMORY;
        memcpy(bytes, cop_value_data(value), cop_value_length(value));
        memcpy(&kept.small.words[1], &bytes, sizeof bytes);
    }
    return condition_add(txn, (cop__condition){.code = COP_IF_VALUE, .atom = atom}, &kept,
                         sizeof kept);
}

cop_status
cop_txn_require_path(cop_txn *txn, const char *path, size_t length, bool present, cop_error *error)
{
    cop_status status = cop_path_check(path, length, error);
    if (status != COP_OK)
        return status;
    return condition_add(
        txn, (cop__condition){.code = present ? COP_IF_PRESENT : COP_IF_ABSENT}, path, length);
}

/* ---- checking, under the commit right ---- */

static bool
atom_holds(const cop_snapshot *read, const cop__condition *condition, const cop__tree *tree)
{
    const cop__slot *now = cop__draft_atom(tree, condition->atom);
    const cop__slot *then = cop__root_atom(read, condition->atom);
    if (now == NULL || then == NULL)
        return now == then;
    if (cop__slot_is_lazy(then)) /* what it reads has conditions of its own */
        return cop__slot_same(now, then);
    cop_value value = cop__slot_value(then);
    return cop__slot_holds(now, &value);
}

static bool
path_holds(const cop__condition *condition, const cop__tree *tree)
{
    cop__found found =
        cop__path_resolve((cop__view){NULL, tree}, condition->text, condition->length);
    if (!found.found)
        return condition->atom.generation == 0;
    return condition->atom.generation == cop__draft_slot(tree, found.id)->reserved &&
           condition->atom.id == found.id;
}

static bool
list_holds(const cop_snapshot *read, const cop__condition *condition, const cop__tree *tree)
{
    const cop__slot *now = cop__draft_atom(tree, condition->atom);
    const cop__slot *then = cop__root_atom(read, condition->atom);
    if (now == NULL || then == NULL)
        return now == then;
    if (!cop__slot_is_branch(now) || cop__slot_type(now) != cop__slot_type(then))
        return cop__slot_type(now) == cop__slot_type(then);
    return cop__list_changed((cop__view){NULL, tree}, now) <= read->version;
}

static bool
condition_holds(const cop_snapshot *read, const cop__condition *condition, const cop__tree *tree)
{
    const cop__slot *now;
    switch ((enum cop__condition_code)condition->code) {
    case COP_READ_ATOM:
        return atom_holds(read, condition, tree);
    case COP_READ_PATH:
        return path_holds(condition, tree);
    case COP_READ_LIST:
        return list_holds(read, condition, tree);
    case COP_IF_UNCHANGED:
        now = cop__draft_atom(tree, condition->atom);
        return now != NULL && cop__slot_is_branch(now) &&
               cop__slot_changed(now) <= condition->version;
    case COP_IF_VALUE:
        now = cop__draft_atom(tree, condition->atom);
        return now != NULL && cop__slot_holds(now, condition->text);
    case COP_IF_PRESENT:
    case COP_IF_ABSENT:
        return cop__path_resolve((cop__view){NULL, tree}, condition->text, condition->length)
                   .found == (condition->code == COP_IF_PRESENT);
    }
    return false;
}

/* Those with a code up to `last`. What a revoked snapshot leads to is let go with the right only. */
static cop_status
conditions_hold(const cop_txn *txn, const cop__tree *tree, enum cop__condition_code last)
{
    const cop_snapshot *read = txn->snapshot;
    if (read != NULL && (read = cop__snapshot_resolve(read)) == NULL)
        return COP_E_EXPIRED;
    for (size_t i = 0; i < txn->condition_count; i++)
        if (txn->conditions[i].code <= last && !condition_holds(read, &txn->conditions[i], tree))
            return COP_E_CONFLICT;
    return COP_OK;
}

cop_status
cop__txn_holds(const cop_txn *txn, const cop__tree *tree)
{
    return conditions_hold(txn, tree, COP_IF_ABSENT);
}

/* Without a pin to take the newest version by, the old one stays. What was required without reading is asked
 * for no version but that in which it is decided: one before it in the same thread may make it so. */
cop_status
cop__txn_read_anew(cop_txn *txn)
{
    const cop_snapshot *read = txn->snapshot, *newest;
    if (read == NULL)
        return COP_OK;
    cop_status status = conditions_hold(txn, &txn->store->tree, COP_READ_LIST);
    if (status == COP_OK && cop__snapshot_take_root(txn->store, &newest) == COP_OK) {
        txn->snapshot = newest;
        cop_snapshot_drop(read);
    }
    return status;
}

/* SPDX-License-Identifier: MIT */
/*
 * Going back: a new version whose source atoms are those of an old one.
 *
 * The edits that lead from the newest version to the old one (tree/difference.h) become operations of
 * one transaction, on the condition that nothing has changed since; a conflict begins anew. So the work
 * is that of the difference, and everybody sees one ordinary commit.
 *
 * COMPUTED ATOMS are left as they are, and derive again; what lives in a branch that one owns is its.
 * They stand among their siblings, so positions in the lists of the two versions do not fit what the
 * transaction finds: a child is placed behind the nearest sibling before it that is a source atom, which
 * is there by then. For an addition that sibling is found by its position in the old version; moves of
 * one branch come by rising position there, so one walk over its list finds those of all of them.
 */
#include "history/use.h"

#include "commit/txn_internal.h"
#include "history/history.h"
#include "reclaim/gate.h"
#include "tree/difference.h"
#include "tree/path.h"

typedef struct restoring {
    cop_store *store;
    const cop_snapshot *old; /* held by the caller */
    const cop_snapshot *newest;
    cop_txn *txn;
    cop_history_restored *told;
    /* of the branch whose additions are being made */
    cop_atom added, provisional; /* the last one, and its handle in the transaction */
    /* of the branch whose moves are being made: a walk over its list in the old version */
    cop_atom walked;
    cop_cursor cursor;
    cop_atom before; /* the last source atom that both have, of those passed; generation 0: none */
} restoring;

static bool
same(cop_atom a, cop_atom b)
{
    return a.id == b.id && a.generation == b.generation;
}

static cop_status
place(restoring *r, cop_atom child, cop_atom after)
{
    return cop__txn_place(r->txn, child, after.generation != 0 ? &after : NULL);
}

/* ---- what is below a new atom ---- */

/* A branch that is being copied: where its list stands, and what it is in the transaction. */
typedef struct level {
    cop_cursor cursor;
    cop_atom made;
} level;

static cop_status
make(restoring *r, cop_atom parent, const cop_child *child, cop_atom *made)
{
    if (child->key == NULL)
        return cop__txn_make_element(r->txn, parent, &child->value, made);
    return cop__txn_make_child(r->txn, parent, child->key, child->key_length, &child->value, made);
}

/* One child and, if it is a branch, its list as the next level. */
static cop_status
copy_child(restoring *r, level *levels, uint32_t *depth, const cop_child *child)
{
    cop_atom made;
    if (!cop__is_source(r->old, child->atom)) {
        r->told->left++;
        return COP_OK;
    }
    cop_status status = make(r, levels[*depth - 1].made, child, &made);
    if (status != COP_OK || child->value.type < COP_OBJECT)
        return status;
    COP_ALWAYS(*depth < COP_DEPTH_MAX); /* paths are no longer */
    levels[*depth].made = made;
    return cop_cursor_open(r->old, child->atom, &levels[(*depth)++].cursor);
}

static cop_status
copy_levels(restoring *r, level *levels)
{
    uint32_t depth = 1;
    cop_child child;
    cop_status status = COP_OK;
    while (depth > 0 && status == COP_OK)
        if (cop_cursor_next(&levels[depth - 1].cursor, &child))
            status = copy_child(r, levels, &depth, &child);
        else
            depth--;
    return status;
}

/* All that is below an atom of the old version, into a branch of the transaction. */
static cop_status
copy_below(restoring *r, cop_atom atom, cop_atom made)
{
    cop__memory *memory = r->store->memory;
    size_t bytes = (COP_DEPTH_MAX + 1) * sizeof(level);
    level *levels = cop__memory_alloc(memory, COP_MEMORY_HISTORY, bytes, 16);
    if (levels == NULL)
        return COP_E_MEMORY;
    levels[0].made = made;
    cop_status status = cop_cursor_open(r->old, atom, &levels[0].cursor);
    if (status == COP_OK)
        status = copy_levels(r, levels);
    cop__memory_free(memory, COP_MEMORY_HISTORY, levels, bytes, 16);
    return status;
}

/* ---- the edits ---- */

/* The nearest source atom before a position of the old version: one that both have, or the last one
 * that was added. */
static cop_atom
before_position(const restoring *r, cop_atom branch, uint32_t position)
{
    while (position-- > 0) {
        cop_atom sibling;
        COP_ALWAYS(cop_child_at(r->old, branch, position, &sibling) == COP_OK);
        if (r->added.generation != 0 && same(sibling, r->added))
            return r->provisional;
        if (cop__is_source(r->old, sibling) && cop__is_source(r->newest, sibling))
            return sibling;
    }
    return (cop_atom){0, 0};
}

/* A computed atom has taken the name since: it stays. */
static bool
name_is_taken(const restoring *r, const cop__edit *edit, const char *segment, size_t length)
{
    cop__named child =
        cop__child_find((cop__view){r->newest, NULL}, edit->branch.id, segment, length);
    return child.name != NULL &&
           !cop__is_source(r->newest,
                           (cop_atom){child.id, cop__root_slot(r->newest, child.id)->reserved});
}

static cop_status
add_made(restoring *r, const cop__edit *edit, cop_atom made)
{
    cop_status status = place(r, made, before_position(r, edit->branch, edit->position));
    r->added = edit->atom;
    r->provisional = made;
    if (status == COP_OK && cop__slot_is_branch(edit->now))
        status = copy_below(r, edit->atom, made);
    return status;
}

static cop_status
add(restoring *r, const cop__edit *edit)
{
    const cop__name *name = cop__info_name(cop__root_info(r->old, edit->atom.id));
    cop_child child = {.atom = edit->atom, .value = cop__slot_value(edit->now)};
    cop_atom made;
    if (name != NULL) {
        child.key = cop__name_segment(name);
        child.key_length = cop__name_length(name);
        if (name_is_taken(r, edit, child.key, child.key_length)) {
            r->told->left++;
            return COP_OK;
        }
    }
    cop_status status = make(r, edit->branch, &child, &made);
    return status == COP_OK ? add_made(r, edit, made) : status;
}

static cop_status
move(restoring *r, const cop__edit *edit)
{
    cop_child child = {.atom = {0, 0}};
    if (r->walked.generation == 0 || !same(r->walked, edit->branch)) {
        r->walked = edit->branch;
        r->before = (cop_atom){0, 0};
        COP_ALWAYS(cop_cursor_open(r->old, edit->branch, &r->cursor) == COP_OK);
    }
    while (cop_cursor_next(&r->cursor, &child) && !same(child.atom, edit->atom))
        if (cop__is_source(r->old, child.atom) && cop__is_source(r->newest, child.atom))
            r->before = child.atom;
    COP_ALWAYS(same(child.atom, edit->atom));
    cop_status status = place(r, edit->atom, r->before);
    r->before = edit->atom;
    return status;
}

static cop_status
replace(restoring *r, const cop__edit *edit)
{
    cop_value value = cop__slot_value(edit->now);
    cop_status status = COP_OK;
    if (cop__slot_is_branch(edit->before))
        status = cop_txn_clear(r->txn, edit->atom);
    if (status == COP_OK)
        status = cop_txn_set(r->txn, edit->atom, &value);
    if (status == COP_OK && cop__slot_is_branch(edit->now))
        status = copy_below(r, edit->atom, edit->atom);
    return status;
}

static bool
is_edit_of_source(const cop__edit *edit)
{
    const cop__slot *slots[2] = {edit->before, edit->now};
    for (unsigned i = 0; i < 2; i++)
        if (slots[i] != NULL &&
            ((slots[i]->type & COP_SLOT_COMPUTED) != 0 || cop__slot_is_lazy(slots[i])))
            return false;
    return true;
}

static cop_status
edit_one(void *context, const cop__edit *edit)
{
    restoring *r = context;
    if (!is_edit_of_source(edit)) {
        r->told->left++;
        return COP_OK;
    }
    r->told->edits++;
    switch (edit->kind) {
    case COP_EDIT_REMOVE:
        return cop_txn_erase(r->txn, edit->atom);
    case COP_EDIT_MOVE:
        return move(r, edit);
    case COP_EDIT_ADD:
        return add(r, edit);
    default:
        return replace(r, edit);
    }
}

/* ---- one try ---- */

static cop_status
restore_once(cop_txn *txn, void *context)
{
    restoring *r = context;
    cop_status status = cop__txn_snapshot_root(txn, &r->newest);
    if (status != COP_OK)
        return status;
    r->txn = txn;
    cop__txn_end_version(txn);
    r->told->edits = r->told->left = 0;
    r->told->from = cop_snapshot_version(r->newest);
    r->added = r->walked = r->before = (cop_atom){0, 0};
    status = cop_txn_require_unchanged(txn, cop_root(), r->told->from);
    if (status != COP_OK)
        return status;
    return cop__tree_edits(r->store->memory, (cop__diff_pair){r->newest, r->old}, cop_root(),
                           edit_one, r);
}

cop_status
cop__history_restore(cop_store *store, const cop_snapshot *old, uint64_t deadline,
                     cop_history_restored *told)
{
    restoring r = {.store = store, .old = old, .told = told};
    return cop_transact(store, restore_once, &r, deadline, &told->version);
}

cop_status
cop_history_restore(cop_store *store, uint64_t version, uint64_t deadline,
                    cop_history_restored *restored, cop_error *error)
{
    const cop_snapshot *old;
    cop_history_restored told = {0};
    cop_status status = cop__store_may_wait(store);
    if (status == COP_OK)
        status = cop__history_hold(store, version, &old);
    if (status == COP_OK) {
        cop__gate_use(store->gate);
        status = cop__history_restore(store, old, deadline, &told);
        cop__history_let_go(old);
        cop__gate_end_use(store->gate);
    }
    if (restored != NULL)
        *restored = told;
    if (status == COP_E_ABSENT)
        return cop__fail(error, status, "version %llu is not kept", (unsigned long long)version);
    return status == COP_OK ? COP_OK : cop__fail(error, status, "%s", cop_status_message(status));
}

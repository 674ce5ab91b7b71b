/* SPDX-License-Identifier: MIT */
/* Background atoms. See background.h. */
#include "commit/background.h"

#include "commit/combiner.h"
#include "commit/txn.h"
#include "graph/lazy.h"
#include "reclaim/gate.h"

#define RESULTS_AN_ATOM 64u

bool
cop__background_any(const cop_store *store)
{
    return cop__load_relaxed(&store->graph.lazies->backgrounds) > 0;
}

void
cop__background_due(cop_store *store)
{
    cop__lazies *all = store->graph.lazies;
    if (all->ask == NULL || cop__swap_seq_cst(&all->asked, 1u) != 0)
        return;
    if (!all->ask(all->ask_context)) {
        (void)cop__swap_seq_cst(&all->asked, 0u);
        cop__fd_signal(store);
    }
}

/* Before it looks at what is due, so that what is published later asks anew. */
void
cop__background_come(cop_store *store)
{
    (void)cop__swap_seq_cst(&store->graph.lazies->asked, 0u);
}

/* ---- whose turn it is ---- */

static bool
is_due(const cop__lazy *lazy, uint64_t stamp)
{
    return !lazy->busy && lazy->looked < stamp && lazy->birth <= stamp && stamp < lazy->death;
}

/* The next record that is not up to this version, taken by the caller; it lives as long as the version
 * is held. */
static cop__lazy *
take_due(cop__lazies *all, uint64_t stamp)
{
    pthread_mutex_lock(&all->lock);
    uint32_t left = cop__load_relaxed(&all->backgrounds);
    cop__lazy *lazy = all->next_background;
    for (; left > 0; left--, lazy = lazy->all_next) {
        if (lazy == NULL)
            lazy = all->background;
        if (is_due(lazy, stamp))
            break;
    }
    if (left > 0) {
        lazy->busy = true;
        all->next_background = lazy->all_next;
    }
    pthread_mutex_unlock(&all->lock);
    return left > 0 ? lazy : NULL;
}

static void
give_back(cop__lazies *all, cop__lazy *lazy, uint64_t looked, uint64_t serial)
{
    pthread_mutex_lock(&all->lock);
    lazy->busy = false;
    lazy->looked = looked;
    lazy->serial = serial;
    pthread_mutex_unlock(&all->lock);
}

/* ---- one result ---- */

static bool
counts_as_same(const cop__lazy *lazy, const cop_snapshot *snapshot, const cop_value *now)
{
    cop_value before;
    if (lazy->equal == NULL || now->type == COP_ERROR ||
        cop_get(snapshot, lazy->atom, &before) != COP_OK || before.type == COP_ERROR)
        return false;
    bool had = cop__evaluating;
    cop__evaluating = true;
    bool same = lazy->equal(lazy->context, &before, now);
    cop__evaluating = had;
    return same;
}

/* COP_E_GONE: the atom was erased meanwhile. */
static cop_status
publish(cop_store *store, const cop__lazy *lazy, const cop_value *value, uint64_t version)
{
    cop_txn *txn;
    cop_status status = cop_txn_begin(store, &txn);
    if (status != COP_OK)
        return status;
    uint64_t *origin = cop__txn_bytes(txn, sizeof *origin);
    status = COP_E_MEMORY;
    if (origin != NULL) {
        *origin = version;
        cop__op op = {.code = COP_OP_RESULT, .target = lazy->atom, .text = origin};
        status = cop__op_add(txn, &op, value);
    }
    if (status == COP_OK)
        return cop_txn_commit(txn, NULL, NULL);
    cop_txn_cancel(txn);
    return status;
}

/* Brings a record that was taken up to a version. */
static cop_status
bring_up(cop_store *store, cop__lazy *lazy, const cop_snapshot *snapshot, bool *told)
{
    cop__memo *memo = NULL;
    cop_value plain;
    uint64_t looked = lazy->looked, serial = lazy->serial;
    cop_status status = cop__lazy_evaluate(lazy, snapshot, &memo, &plain);
    if (status == COP_OK && memo == NULL)
        status = COP_E_MEMORY; /* it would run again and again */
    *told = false;
    if (status == COP_OK && memo->serial != serial) {
        bool first = serial == 0;
        *told = first || !counts_as_same(lazy, snapshot, &memo->value);
        if (*told)
            status = publish(store, lazy, &memo->value, snapshot->version);
        if (status == COP_E_GONE)
            status = COP_OK;
    }
    if (status == COP_OK) {
        looked = snapshot->stamp;
        serial = memo->serial;
    }
    if (memo != NULL)
        cop__memo_release(lazy, memo);
    give_back(store->graph.lazies, lazy, looked, serial);
    return status;
}

static cop_status
run_due(cop_store *store, uint64_t most, uint64_t *results)
{
    cop__lazies *all = store->graph.lazies;
    cop_status status = COP_OK;
    while (status == COP_OK && *results < most) {
        const cop_snapshot *snapshot;
        bool told;
        status = cop__snapshot_take_root(store, &snapshot);
        if (status != COP_OK)
            return status;
        cop__lazy *lazy = take_due(all, snapshot->stamp);
        if (lazy != NULL) {
            status = bring_up(store, lazy, snapshot, &told);
            *results += status == COP_OK && told;
        }
        cop_snapshot_drop(snapshot);
        if (lazy == NULL)
            return COP_OK;
    }
    return status;
}

cop_status
cop__background_run(cop_store *store, uint64_t most, uint64_t *results)
{
    uint64_t unasked;
    results = results != NULL ? results : &unasked;
    *results = 0;
    cop_status status = cop__store_may_wait(store);
    if (status != COP_OK)
        return status;
    struct cop__gate *gate = store->gate;
    cop__gate_use(gate);
    uint64_t atoms = cop__load_relaxed(&store->graph.lazies->backgrounds);
    if (atoms > 0)
        status = run_due(store, most > 0 ? most : RESULTS_AN_ATOM * atoms, results);
    if (status == COP_E_MEMORY || status == COP_E_LIMIT)
        cop__fd_signal(store); /* who polls comes again */
    cop__gate_end_use(gate);
    return status;
}

/* ---- where a value comes from ---- */

static cop_status
origin_in(const cop_snapshot *snapshot, cop_atom atom, uint64_t *version)
{
    const cop__slot *slot = cop__root_atom(snapshot, atom);
    if (slot == NULL)
        return COP_E_GONE;
    if (!(slot->type & COP_SLOT_COMPUTED))
        return COP_E_STATE;
    if (!cop__lazy_origin(&snapshot->store->graph, snapshot, atom, version))
        *version = snapshot->version;
    return COP_OK;
}

cop_status
cop_computed_origin(const cop_snapshot *snapshot, cop_atom atom, uint64_t *version)
{
    cop__entered entered;
    *version = 0;
    cop_status status = cop__snapshot_enter(snapshot, &entered);
    if (status != COP_OK)
        return status;
    status = origin_in(entered.root, atom, version);
    cop__snapshot_leave(&entered);
    return status;
}

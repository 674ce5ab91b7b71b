/* SPDX-License-Identifier: MIT */
/*
 * A batch: transactions are applied to the draft, what is computed is brought up to date, the version
 * is published, and those who wait are told. All of it needs the right; the ordering block is in
 * combiner.c.
 *
 * FAILURE. A transaction one of whose later operations cannot be applied is undone by abandoning the
 * draft, applying and publishing those before it again, and going on behind it. When memory is refused
 * the whole draft is abandoned, and its transactions are taken one by one (scarce.c).
 */
#include "commit/batch.h"

#include <sched.h>

#include "base/probes.h"
#include "commit/background.h"
#include "commit/combiner.h"
#include "commit/scarce.h"
#include "commit/trim.h"
#include "graph/lazy.h"
#include "history/room.h"
#include "monitor/monitor.h"
#include "reclaim/gate.h"
#include "tree/atoms.h"
#include "watch/room.h"

#define SCAN_ITEMS 2048u  /* dead things that make a scan worth its barrier */
#define FREE_AT_LEAST 64u /* dead things freed by each commit at the least */
#define SWEEP_BUCKETS 2u  /* of the directory, swept by each commit while there are stale names, */
#define SWEEP_SHARE 20u   /* and one more for every so many names that it made */
#define PAGES_AHEAD 16u   /* operations between asking for a page and writing it */
#define VALUES_AHEAD 8u

/* ---- deciding ---- */

static void
count_outcome(cop_store *store, cop_status result, bool unchanged)
{
    cop__count_add(&store->count.transactions, 1u);
    if (result == COP_OK && unchanged)
        cop__count_add(&store->count.unchanged, 1u);
    else if (result == COP_E_CONFLICT)
        cop__count_add(&store->count.conflicts, 1u);
    else if (result != COP_OK)
        cop__count_add(&store->count.failed, 1u);
}

void
cop__decide(cop_store *store, cop_txn *txn, cop_status result, uint64_t version, bool unchanged)
{
    txn->result = result;
    txn->version = version;
    count_outcome(store, result, unchanged);
    if (result == COP_OK)
        cop__count_add(&store->count.operations, txn->op_count);
    if (txn->alone)
        return;
    if (cop__unlikely(txn->stalled_until != 0))
        cop__sub_relaxed(&store->stalled.count, UINT64_C(1));
    uint32_t before = cop__swap_seq_cst(&txn->state, (uint32_t)COP_TXN_DONE);
    if (before & COP_TXN_SLEEP)
        cop__futex_wake(&txn->state, 64);
    if (cop__unlikely(cop__load_seq_cst(&txn->call) != NULL))
        cop__ticket_decided(store, txn);
    cop__txn_unref(txn);
}

bool
cop__take(cop_store *store, cop_txn *txn)
{
    uint32_t state = cop__load_acquire(&txn->state);
    for (;;) {
        if ((state & ~(uint32_t)COP_TXN_SLEEP) == COP_TXN_CANCELLED) {
            cop__decide(store, txn, COP_E_CANCELLED, store->tree.root->version, false);
            return false;
        }
        if (cop__cas_seq_cst(&txn->state, &state, COP_TXN_TAKEN | (state & COP_TXN_SLEEP)))
            return true;
    }
}

/* ---- a batch ---- */

static void
batch_decide(cop_store *store, cop__batch *batch, cop_status result, uint64_t version, bool unchanged)
{
    cop_txn *txn = batch->first;
    while (txn != NULL) {
        cop_txn *next = txn->batch_next;
        cop__decide(store, txn, result, version, unchanged);
        txn = next;
    }
    batch->first = batch->last = NULL;
}

/* The word counts events, so that closing is one too. Only the holder of the right writes it. */
void
cop__version_event(cop_store *store)
{
    cop__store_release(&store->version_word, cop__load_relaxed(&store->version_word) + 1);
    if (cop__unlikely(cop__load_relaxed(&store->version_waiters) > 0))
        cop__futex_wake(&store->version_word, INT32_MAX);
}

void
cop__publish(cop_store *store, cop_snapshot *root)
{
    cop__store_release(&store->root, (void *)root);
    cop__draft_published(&store->tree, root);
    if (root->version == cop__load_relaxed(&store->version))
        return;
    cop__store_release(&store->version, root->version);
    COP_PROBE1(publish, root->version);
    struct cop__watch_room *watch = cop__load_relaxed(&store->watching);
    if (cop__unlikely(watch != NULL))
        store->watch_posted |= cop__watch_published(watch);
    struct cop__history *keeping = cop__load_relaxed(&store->keeping);
    if (cop__unlikely(keeping != NULL))
        store->history_posted |= cop__history_published(keeping, root);
    cop__version_event(store);
    cop__count_add(&store->count.commits, 1u);
}

/* The draft and what the graph made of it, as if they had never been. The graph first: reducers refer
 * to names, of which the draft's own go with it. */
static void
draft_abandon(cop_store *store)
{
    cop__graph_abandon(&store->graph);
    cop__draft_abandon(&store->tree);
}

/* The batch counts as the least round of its transactions. */
static void
effects_round(cop_store *store, const cop__batch *batch)
{
    uint32_t round = UINT32_MAX;
    if (cop__graph_idle(&store->graph))
        return;
    for (const cop_txn *txn = batch->first; txn != NULL && round > 0; txn = txn->batch_next)
        round = txn->round < round ? txn->round : round;
    store->effects.round = round;
    if (round == 0)
        store->effects.outside = store->tree.root->version;
}

/* Publishes an unfilled root first, in builds that plant this fault. */
static void
plant_root_before_pages(cop_store *store)
{
    static _Alignas(64) cop_snapshot hollow;
    if (!COP_FAULT(root_before_pages))
        return;
    hollow = *store->tree.root;
    memset(hollow.space, 0, sizeof hollow.space);
    hollow.version = store->tree.version;
    cop__store_release(&store->root, (void *)&hollow);
    sched_yield();
}

/* Atoms that a batch made and erased again were never published, and their ids and generations will
 * be given out again: nobody may learn those handles. */
static void
forget_made(const cop__tree *tree, const cop__batch *batch)
{
    for (const cop_txn *txn = batch->first; txn != NULL; txn = txn->batch_next)
        for (size_t i = 0; i < txn->op_count; i++)
            if (cop__draft_atom(tree, txn->ops[i].made) == NULL)
                txn->ops[i].made = (cop_atom){0, 0};
}

static bool
erases(const cop_txn *txn)
{
    for (size_t i = 0; i < txn->op_count; i++)
        if (txn->ops[i].code >= COP_OP_ERASE && txn->ops[i].code <= COP_OP_CLEAR_AT)
            return true;
    return false;
}

/* Whether this draft, once nobody holds the version before it, leaves less in use than there was; as much
 * will do for one that erases. */
static bool
frees(const cop_store *store, const cop_txn *txn)
{
    const cop__tree *tree = &store->tree;
    uint64_t after = cop__pool_used(&tree->pool) - cop__dead_bytes_since(&tree->dead, tree->limbo_before);
    return erases(txn) ? after <= store->used_before : after < store->used_before;
}

/* A part of a measured commit ends. Whether there is a monitor is known when this is compiled: NULL
 * leaves nothing. */
#define MARK(monitor, part)                                     \
    do {                                                        \
        if ((monitor) != NULL)                                  \
            cop__monitor_mark((monitor), COP_MEASURE_##part); \
    } while (0)

/* Ends the draft: publishes it, or drops it when nothing changed. COP_E_MEMORY: abandoned. */
static inline __attribute__((always_inline)) cop_status
draft_end_as(cop_store *store, cop__batch *batch, cop__monitor *monitor)
{
    cop__tree *tree = &store->tree;
    size_t limbo = tree->limbo_before;
    bool lazies = cop__lazies_any(&store->graph);
    if (lazies)
        cop__lazies_batch(&store->graph);
    MARK(monitor, APPLY);
    bool waved = cop__graph_idle(&store->graph) ||
                 (monitor != NULL && monitor->timing
                      ? cop__graph_wave_timed(&store->graph, &monitor->wave->timing)
                      : cop__graph_wave(&store->graph));
    MARK(monitor, PROPAGATE);
    bool changed = waved && cop__draft_finish(tree);
    if (!changed && tree->failed == COP_OK) {
        cop__graph_published(&store->graph); /* its lists hold for what is published */
        cop__draft_abandon(tree);
        forget_made(tree, batch);
        batch_decide(store, batch, COP_OK, tree->root->version, true);
        MARK(monitor, TELL);
        return COP_OK;
    }
    if (cop__unlikely(store->only_freeing))
        changed = changed && frees(store, batch->first);
    plant_root_before_pages(store);
    if (cop__unlikely(changed && cop__directory_unswept(tree)))
        changed = cop__directory_sweep(
            tree, SWEEP_BUCKETS + (uint32_t)(tree->now.made / SWEEP_SHARE));
    cop_snapshot *root = changed ? cop__draft_root(tree) : NULL;
    if (root == NULL) {
        draft_abandon(store);
        return COP_E_MEMORY;
    }
    cop__publish(store, root);
    MARK(monitor, PUBLISH);
    effects_round(store, batch);
    cop__graph_published(&store->graph);
    if (lazies && cop__background_any(store))
        cop__background_due(store);
    batch_decide(store, batch, COP_OK, root->version, false);
    COP_PROBE1(commit, root->version);
    MARK(monitor, TELL);
    size_t died = tree->dead.limbo_count - limbo;
    /* A scan looks at each held version: it has to be worth that, too. */
    bool scan = tree->dead.limbo_count >=
                    store->limbo_left + SCAN_ITEMS + tree->dead.held_count ||
                (lazies && cop__lazies_scan_due(&store->graph)) ||
                cop__handles_due(&store->handle_due);
    (void)cop__reclaim(store, scan, FREE_AT_LEAST + 2 * died);
    if (cop__unlikely(scan || store->trim.phase != COP_TRIM_IDLE))
        cop__trim_committed(store);
    return COP_OK;
}

static cop_status
draft_end(cop_store *store, cop__batch *batch)
{
    return draft_end_as(store, batch, NULL);
}


/* The memory of later operations is fetched while earlier ones are applied. */
static inline void
look_ahead(const cop__tree *tree, const cop_txn *txn, size_t i, bool page)
{
    if (i >= txn->op_count || txn->ops[i].target.generation == COP_PROVISIONAL)
        return;
    if (page)
        cop__draft_prefetch_page(tree, txn->ops[i].target.id);
    else
        cop__draft_prefetch_value(tree, txn->ops[i].target.id);
}

/* Applies one transaction. *clean: nothing was changed when it fails. */
static cop_status
txn_apply(cop_store *store, cop_txn *txn, bool *clean)
{
    *clean = true;
    if (txn->condition_count > 0) {
        cop_status status = cop__txn_holds(txn, &store->tree);
        if (status != COP_OK)
            return status;
    }
    for (size_t i = 0; i < PAGES_AHEAD && i < txn->op_count; i++)
        look_ahead(&store->tree, txn, i, true);
    for (size_t i = 0; i < txn->op_count; i++) {
        look_ahead(&store->tree, txn, i + PAGES_AHEAD, true);
        look_ahead(&store->tree, txn, i + VALUES_AHEAD, false);
        *clean = *clean && txn->ops[i].code != COP_OP_STEP;
        cop_status status = cop__txn_apply(txn, i, &store->tree);
        if (cop__unlikely(status != COP_OK)) {
            txn->failed_op = (uint32_t)i;
            return status;
        }
        *clean = false;
    }
    return COP_OK;
}

/* Applies what is known to apply once more, after the draft was abandoned. */
static cop_status
apply_again(cop_store *store, const cop__batch *batch)
{
    bool clean;
    cop__draft_begin(&store->tree);
    for (cop_txn *txn = batch->first; txn != NULL; txn = txn->batch_next) {
        cop_status status = txn_apply(store, txn, &clean);
        if (status != COP_OK)
            return status;
    }
    return COP_OK;
}

/* A draft of these was abandoned for want of memory. */
static void
commit_singly(cop_store *store, cop__batch *batch)
{
    cop_txn *txn = batch->first;
    bool tried = batch->first == batch->last;
    batch->first = batch->last = NULL;
    while (txn != NULL) {
        cop_txn *next = txn->batch_next;
        cop__commit_scarce(store, txn, tried);
        txn = next;
    }
}

/* A transaction failed after it had changed the draft. Publishes those before it without it. */
static void
undo_one(cop_store *store, cop__batch *applied)
{
    draft_abandon(store);
    cop_status status = apply_again(store, applied);
    if (status == COP_OK)
        status = draft_end(store, applied);
    else
        draft_abandon(store);
    if (status != COP_OK)
        commit_singly(store, applied);
    cop__draft_begin(&store->tree);
}

bool
cop__batch_single(cop_store *store, cop_txn *txn, cop__attempt attempt)
{
    cop__batch one = {0};
    struct cop__region *region = store->graph.region;
    bool clean, freeing = attempt == COP_ATTEMPT_FREEING, strict = store->tree.strict;
    store->tree.strict = strict && attempt == COP_ATTEMPT;
    if (freeing) { /* the reserve is this thread's, so that the pool cannot help */
        store->only_freeing = true;
        store->used_before = cop__pool_used(&store->tree.pool);
        store->graph.region = NULL;
        cop__memory_spend(store->memory);
    }
    cop__draft_begin(&store->tree);
    cop_status status = txn_apply(store, txn, &clean);
    if (status == COP_OK) {
        cop__batch_add(&one, txn);
        status = draft_end(store, &one);
    } else {
        draft_abandon(store);
        if (status != COP_E_MEMORY)
            cop__decide(store, txn, status, store->tree.root->version, false);
    }
    if (freeing) {
        cop__memory_spend(NULL);
        store->graph.region = region;
        store->only_freeing = false;
    }
    store->tree.strict = strict;
    return status != COP_E_MEMORY;
}

/* It is switched under the right: the answer is the same throughout a batch. */
static inline bool
monitored(cop_store *store)
{
    return cop__load_relaxed(&store->monitor) != NULL;
}

/* Tells the monitor of a batch, which may want it measured. */
static __attribute__((noinline)) void
batch_begin_monitored(cop_store *store, const cop_txn *chain)
{
    cop__monitor *monitor = cop__load_relaxed(&store->monitor);
    cop__monitor_waits waits = {NULL, 0, 0};
    uint64_t transactions = 0, operations = 0;
    for (const cop_txn *txn = chain; txn != NULL; txn = txn->batch_next) {
        transactions++;
        operations += txn->op_count;
        if (!txn->alone)
            cop__monitor_waited(monitor, &waits, txn->queued_ns);
    }
    cop__monitor_waits_end(monitor, &waits);
    cop__monitor_begin(monitor, transactions, operations);
}

#define LOOKED_OPERATIONS 4096u

/* For the warning about atoms that are written again and again: in development. */
static void
batch_tell_writes(cop__monitor *monitor, const cop__batch *applied)
{
#ifdef COP_PRODUCTION
    (void)monitor;
    (void)applied;
#else
    size_t left = LOOKED_OPERATIONS;
    for (const cop_txn *txn = applied->first; txn != NULL && left > 0; txn = txn->batch_next)
        for (size_t i = 0; i < txn->op_count && left > 0; i++, left--)
            if (txn->ops[i].made.generation != 0)
                cop__monitor_wrote(monitor, txn->ops[i].made);
#endif
}

static __attribute__((noinline)) void
batch_end_monitored(cop_store *store, cop__batch *applied)
{
    cop__monitor *monitor = cop__load_relaxed(&store->monitor);
    cop_status status = COP_OK;
    if (monitor->timing)
        batch_tell_writes(monitor, applied);
    if (applied->first == NULL)
        draft_abandon(store);
    else if (monitor->measuring)
        status = draft_end_as(store, applied, monitor);
    else
        status = draft_end(store, applied);
    if (status != COP_OK)
        commit_singly(store, applied);
    cop__monitor_end(monitor, store->tree.root->version, store->tree.root->time_ns);
}

/* Whether what is applied, up to `last`, is to be decided before this one is. A flush that will be stalled is:
 * else what it is behind could be stalled behind it. */
static inline bool
ends_draft(const cop_store *store, const cop_txn *last, const cop_txn *txn)
{
    return txn->wants_fresh || last->ends_version || (txn->op_count == 0 && cop__stalled_any(store));
}

/* Commits a chain of taken transactions. What is published before its end, because of a transaction
 * that had to be undone or wants a fresh draft, counts as applying when it is measured. */
void
cop__batch_commit(cop_store *store, cop_txn *chain)
{
    if (cop__unlikely(monitored(store)))
        batch_begin_monitored(store, chain);
    cop__batch applied = {0};
    cop__tree *tree = &store->tree;
    cop__count_add(&store->count.batches, 1u);
    cop__draft_begin(tree);
    while (chain != NULL) {
        cop_txn *txn = chain;
        chain = txn->batch_next;
        bool clean;
        if (cop__unlikely(applied.first != NULL && ends_draft(store, applied.last, txn))) {
            if (draft_end(store, &applied) != COP_OK)
                commit_singly(store, &applied);
            cop__draft_begin(tree);
        }
        if (cop__stalled_any(store) && cop__stalled_behind(store, txn))
            continue; /* since one of this batch did not fit, perhaps this moment */
        cop_status status = txn_apply(store, txn, &clean);
        if (cop__likely(status == COP_OK)) {
            cop__batch_add(&applied, txn);
        } else if (status == COP_E_MEMORY) {
            draft_abandon(store);
            cop__batch_add(&applied, txn);
            commit_singly(store, &applied);
            cop__draft_begin(tree);
        } else {
            if (!clean)
                undo_one(store, &applied);
            if (cop__stalled_any(store) && cop__stalled_behind(store, txn))
                continue; /* what it failed for may be of one that did not fit */
            cop__decide(store, txn, status, tree->root->version, false);
        }
    }
    if (cop__unlikely(monitored(store)))
        batch_end_monitored(store, &applied);
    else if (applied.first == NULL)
        draft_abandon(store);
    else if (draft_end(store, &applied) != COP_OK)
        commit_singly(store, &applied);
}

void
cop__commit_alone(cop_store *store, cop_txn *txn, bool wait)
{
    txn->batch_next = NULL;
    txn->alone = true;
    txn->may_wait = wait;
    txn->round = cop__effect_round_now();
    cop__batch_commit(store, txn);
    cop__store_release(&txn->state, (uint32_t)COP_TXN_DONE);
}


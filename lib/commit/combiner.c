/* SPDX-License-Identifier: MIT */
/*
 * The combiner.
 *
 * ORDERING. The commit right is a word taken by compare-and-swap (acquire) and given back by a swap
 * (release), so each holder sees all that the one before did to the tree. Publication is the
 * release store of the root in publish(); readers acquire it. A transaction's outcome is written
 * before its state becomes DONE (release) and read after that is seen (acquire).
 *
 * WAITING. Whoever waits for a decision tries to take the right itself, spins and yields a little,
 * and then sleeps on its transaction's state, at most SLEEP_NS at a time: a wake that is missed (the
 * right given back between a waiter's last look and its sleep, a push still under way) costs that
 * much and nothing more. Who waits for the right itself (cop_transact with priority, closing) claims
 * it: until it has had it, nobody else takes it, so no busy committer can starve it. A holder that has served ROUNDS batches wakes a sleeping waiter to go on in
 * its place, so that nobody serves the others for ever.
 *
 * PROGRESS. Committing: blocking (the right). Submitting: wait-free (txn.c, queue.h).
 */
#include "commit/combiner.h"

#include "commit/batch.h"
#include "commit/batch_split.h"
#include "commit/scarce.h"
#include "commit/trim.h"

#include <sched.h>
#include <unistd.h>

#include "history/room.h"
#include "monitor/monitor.h"
#include "reclaim/gate.h"
#include "store/relieve.h"
#include "tree/atoms.h"
#include "watch/room.h"

#define ROUNDS 16u
#define SLEEP_NS UINT64_C(2000000)
#define SPINS 200u
#define YIELDS 30u
#define SWEEP_STEP 400u   /* swept at once when there is nothing to commit */
#define IDLE_STEPS 16u
#define STEPS_MAX 256u    /* of settling, and of giving back, after a snapshot was dropped */
#define STEP_ITEMS 8192u  /* freed between two looks at the queue, when there is nothing to commit */

/* ---- the right ---- */

static bool
right_take(cop_store *store)
{
    uint32_t free = 0;
    return cop__load_seq_cst(&store->right) == 0 && cop__cas_seq_cst(&store->right, &free, 1u);
}

bool
cop__right_try(cop_store *store)
{
    return cop__load_seq_cst(&store->claimants) == 0 && right_take(store);
}

static cop_txn *
txn_of(cop__queue_node *node)
{
    return (cop_txn *)(void *)node;
}

/* Wakes the first sleeping waiter in the queue's finished prefix. Needs the right. */
static void
wake_a_successor(cop_store *store)
{
    cop__queue_node *node = store->queue.head;
    while (node != NULL) {
        if (node != &store->queue.stub) {
            cop_txn *txn = txn_of(node);
            uint32_t state = cop__load_acquire(&txn->state);
            if ((state & COP_TXN_SLEEP) &&
                cop__cas_seq_cst(&txn->state, &state, state & ~(uint32_t)COP_TXN_SLEEP)) {
                cop__futex_wake(&txn->state, 1);
                return;
            }
        }
        node = cop__load_acquire(&node->next);
    }
}

static void
counters_publish(cop_store *store)
{
    const cop__tree *tree = &store->tree;
    cop__store_relaxed(&store->count.atoms, tree->root->atoms);
    cop__store_relaxed(&store->count.pages, tree->pool.pages_used);
    cop__store_relaxed(&store->count.pages_dead, tree->dead.pages_dead);
    cop__store_relaxed(&store->count.value_bytes, tree->pool.values.bytes_used);
    cop__store_relaxed(&store->count.values_dead, tree->dead.blocks_dead);
    cop__store_relaxed(&store->count.names, tree->now.names);
    cop__store_relaxed(&store->count.name_bytes, tree->pool.names.bytes_used);
    cop__store_relaxed(&store->count.names_dead, tree->now.stale);
}

void
cop__disposed_soon(cop_store *store)
{
    if (cop__unlikely(cop__load_seq_cst(&store->graph.disposed)) && cop__right_try(store))
        cop__right_leave(store);
}

void
cop__right_leave(cop_store *store)
{
    COP_ASSERT(cop__load_relaxed(&store->right) != 0);
    do {
        if (cop__load_relaxed(&store->want_reclaim) &&
            cop__swap_seq_cst(&store->want_reclaim, 0u))
            (void)cop__settle(store, STEP_ITEMS);
        if (!cop__manager_calm(&store->manager))
            cop__relieve(store);
        counters_publish(store);
        if (cop__unlikely(cop__load_relaxed(&store->graph.disposed))) { /* from inside an evaluation */
            cop__store_relaxed(&store->graph.disposed, false);
            cop__combine(store, 1);
        }
        if (store->effects.posted != NULL)
            cop__effects_signal(store);
        if (cop__unlikely(cop__load_relaxed(&store->effects.ended) != 0))
            cop__effects_drain(store);
        cop__side *dead = cop__graph_dead(&store->graph);
        if (cop__load_seq_cst(&store->sleepers) > 0)
            wake_a_successor(store);
        bool calls = store->calls.posted;
        if (cop__unlikely(calls))
            store->calls.posted = false;
        bool watch_posted = store->watch_posted;
        if (cop__unlikely(watch_posted))
            store->watch_posted = false;
        bool history_posted = store->history_posted;
        if (cop__unlikely(history_posted))
            store->history_posted = false;
        bool level_posted = store->level_posted;
        if (cop__unlikely(level_posted))
            store->level_posted = false;
        bool purge = store->trim.purge;
        if (cop__unlikely(purge))
            store->trim.purge = false;
        (void)cop__swap_seq_cst(&store->right, 0u);
        if (cop__unlikely(purge))
            cop__memory_purge(store->memory);
        if (cop__unlikely(dead != NULL))
            cop__graph_bury(store->memory, dead);
        if (cop__unlikely(cop__load_acquire(&store->monitor) != NULL))
            cop__monitor_tell(store);
        if (cop__unlikely(cop__load_seq_cst(&store->claimants) > 0))
            cop__futex_wake(&store->right, 1);
        /* The swap orders the versions published before it against this look for who waits. */
        if (cop__unlikely(cop__load_seq_cst(&store->version_waiters) > 0))
            cop__futex_wake(&store->version_word, INT32_MAX);
        if (cop__unlikely(cop__load_seq_cst(&store->queued) > 0) &&
            cop__load_relaxed(&store->batcher.window_ns) == 0)
            cop__fd_signal(store); /* queued while the right was held: the host's loop must look */
        if (cop__unlikely(calls))
            cop__ticket_calls_signal(store);
        if (cop__unlikely(watch_posted))
            cop__watch_signal(cop__load_relaxed(&store->watch));
        if (cop__unlikely(history_posted))
            cop__history_signal(cop__load_acquire(&store->history));
        if (cop__unlikely(level_posted))
            cop__relieve_tell(store);
    } while ((cop__load_seq_cst(&store->want_reclaim) ||
              cop__load_seq_cst(&store->effects.ended) ||
              cop__load_seq_cst(&store->graph.disposed)) &&
             cop__right_try(store));
}

static void
pause_a_little(unsigned turn)
{
    if (turn < SPINS)
        __builtin_ia32_pause();
    else
        sched_yield();
}

cop_status
cop__right_wait(cop_store *store, uint64_t deadline)
{
    cop_status status = COP_OK;
    cop__add_seq_cst(&store->claimants, 1u);
    for (unsigned turn = 0; status == COP_OK && !right_take(store); turn++) {
        uint64_t now = turn > SPINS + YIELDS ? cop__clock_ns() : 0;
        if (now >= deadline)
            status = COP_E_TIMEOUT;
        else if (now == 0)
            pause_a_little(turn);
        else
            cop__futex_wait(&store->right, 1u,
                            deadline - now < SLEEP_NS ? deadline : now + SLEEP_NS);
    }
    cop__sub_acq_rel(&store->claimants, 1u);
    return status;
}

/* ---- housekeeping ---- */

void
cop__housekeep_begin(cop_store *store)
{
    cop__draft_begin(&store->tree);
    store->tree.version = store->tree.root->version;
}

bool
cop__housekeep_end(cop_store *store, bool changed)
{
    cop_snapshot *root = changed ? cop__draft_root(&store->tree) : NULL;
    if (root != NULL)
        cop__publish(store, root);
    else
        cop__draft_abandon(&store->tree);
    return root != NULL;
}

/* Takes names of erased branches out of the directory when no commit does it. */
static bool
housekeep(cop_store *store, uint32_t buckets)
{
    cop__housekeep_begin(store);
    return cop__housekeep_end(store, cop__directory_sweep(&store->tree, buckets));
}

/* Small steps, each followed by a scan: what a step replaced is free again before the next one, and
 * a step that finds no memory is tried again smaller. */
size_t
cop__settle(cop_store *store, size_t quota)
{
    cop__tree *tree = &store->tree;
    if (cop__dead_doomed(&tree->dead) <= quota) /* else free first what there is */
        for (uint32_t step = SWEEP_STEP; step > 0 && tree->now.stale > 0; step /= 4)
            if (housekeep(store, step))
                break;
    (void)cop__reclaim(store, true, quota);
    return cop__dead_doomed(&tree->dead) + tree->now.stale + tree->dead.limbo_count;
}

/* ---- taking ---- */

/* Takes a transaction off the queue; false when it was cancelled first. */
static bool
txn_take(cop_store *store, cop_txn *txn)
{
    cop__sub_acq_rel(&store->queued, UINT64_C(1));
    cop__batcher_unweigh(store, txn);
    if (COP_FAULT(txn_dropped) && (cop__load_relaxed(&store->count.transactions) & 1023) == 1000)
        return false;
    return cop__take(store, txn);
}

/* A flush goes into the batch though it will be stalled: it is behind what is taken before it, and that may be
 * stalled yet. */
static void
take_next(cop_store *store, cop__batch *batch, cop_txn *txn)
{
    if (!txn_take(store, txn) ||
        (cop__stalled_any(store) && txn->op_count > 0 && cop__stalled_behind(store, txn)))
        return;
    cop__batch_add(batch, txn);
    batch->transactions++;
    batch->bytes += cop__txn_weight(txn);
}

/* The oldest ones up to a bound; behind it go those that belong to them, up to twice the bound. */
static void
batch_take(cop_store *store, cop__batch *batch)
{
    const cop_options *options = &store->options;
    uint64_t most = options->batch_updates ? options->batch_max_transactions : 1;
    uint64_t most_bytes = options->batch_max_bytes;
    cop__queue_node *node;
    while (batch->transactions < most && batch->bytes < most_bytes) {
        if ((node = cop__queue_pop(&store->queue)) == NULL)
            return;
        take_next(store, batch, txn_of(node));
    }
    if (cop__likely(cop__queue_peek(&store->queue) == NULL) || !options->batch_updates)
        return;
    cop__overlap overlap;
    cop__overlap_of(&overlap, store, batch->first);
    while (batch->transactions < 2 * most && batch->bytes / 2 < most_bytes &&
           (node = cop__queue_peek(&store->queue)) != NULL &&
           cop__overlap_joins(&overlap, store, txn_of(node)) &&
           (node = cop__queue_pop(&store->queue)) != NULL)
        take_next(store, batch, txn_of(node));
}

void
cop__combine(cop_store *store, unsigned rounds)
{
    bool more = true;
    cop__batcher_close_window(store);
    if (cop__stalled_any(store))
        cop__stalled_retry(store);
    while (more && rounds-- > 0) {
        cop__batch batch = {0};
        batch_take(store, &batch);
        more = batch.first != NULL;
        if (more)
            cop__batch_commit(store, batch.first);
    }
    if (more)
        cop__batcher_left(store);
    cop__batcher_decided(store); /* also when all that was taken had been cancelled */
}

/* ---- waiting ---- */

static bool
is_done(cop_txn *txn)
{
    return cop__load_acquire(&txn->state) == COP_TXN_DONE;
}

/* even_if_free: the right was had and did not help, so its being free is no reason to stay awake. */
static void
sleep_until_decided(cop_txn *txn, uint64_t until, bool even_if_free)
{
    cop_store *store = txn->store;
    uint32_t state = cop__load_acquire(&txn->state);
    cop__add_seq_cst(&store->sleepers, 1u);
    if (state != COP_TXN_DONE &&
        ((state & COP_TXN_SLEEP) || cop__cas_seq_cst(&txn->state, &state, state | COP_TXN_SLEEP)) &&
        (even_if_free || cop__load_seq_cst(&store->right) != 0 ||
         cop__load_seq_cst(&store->claimants) != 0))
        cop__futex_wait(&txn->state, state | COP_TXN_SLEEP, until);
    cop__sub_acq_rel(&store->sleepers, 1u);
}

cop_status
cop__wait_decided(cop_txn *txn, uint64_t deadline)
{
    cop_store *store = txn->store;
    for (unsigned turn = 0; !is_done(txn); turn++) {
        bool had = cop__right_try(store);
        if (had) {
            cop__combine(store, ROUNDS);
            cop__right_leave(store);
            if (is_done(txn))
                break;
            /* Not in the queue's finished prefix: a push before it is still under way. */
        }
        if (turn < SPINS + YIELDS) {
            pause_a_little(turn);
            continue;
        }
        uint64_t now = cop__clock_ns();
        if (now >= deadline)
            return COP_E_TIMEOUT;
        sleep_until_decided(txn, deadline - now < SLEEP_NS ? deadline : now + SLEEP_NS, had);
    }
    return COP_OK;
}

void
cop__settle_all(cop_store *store, unsigned steps, size_t quota)
{
    size_t least = SIZE_MAX;
    unsigned idle = 0; /* steps without progress: the sweep may pass buckets without stale names */
    while (steps-- > 0 && idle < IDLE_STEPS) {
        size_t left = cop__settle(store, quota);
        if (left == 0)
            return;
        idle = left < least ? 0 : idle + 1;
        least = left < least ? left : least;
        if (!cop__batcher_gathering(store))
            cop__combine(store, 1); /* what is queued comes between the steps */
    }
}

void
cop__reclaim_soon(cop_store *store)
{
    cop__store_seq_cst(&store->want_reclaim, 1u);
    if (!cop__right_try(store))
        return;
    cop__store_seq_cst(&store->want_reclaim, 0u);
    cop__settle_all(store, STEPS_MAX, STEP_ITEMS);
    cop__trim_some(store, STEPS_MAX); /* the store may be idle, with nobody else to do it */
    cop__right_leave(store);
}

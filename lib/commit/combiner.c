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
 * FAILURE. A batch that runs out of memory is abandoned before publication, whole, and its
 * transactions are refused. A transaction one of whose later operations cannot be applied is undone
 * by abandoning the draft, applying and publishing those before it again, and going on behind it:
 * each transaction is applied at most twice.
 *
 * PROGRESS. Committing: blocking (the right). Submitting: wait-free (txn.c, queue.h).
 */
#include "commit/combiner.h"

#include "commit/background.h"
#include "commit/batch_split.h"

#include <sched.h>
#include <unistd.h>

#include "base/probes.h"
#include "graph/lazy.h"
#include "history/room.h"
#include "monitor/monitor.h"
#include "reclaim/gate.h"
#include "serialize/serializer.h"
#include "tree/atoms.h"
#include "watch/room.h"

#define ROUNDS 16u
#define SLEEP_NS UINT64_C(2000000)
#define SPINS 200u
#define YIELDS 30u
#define SCAN_ITEMS 2048u  /* dead things that make a scan worth its barrier */
#define FREE_AT_LEAST 64u /* dead things freed by each commit at the least */
#define SWEEP_BUCKETS 4u  /* of the directory, swept by each commit while there are stale names, */
#define SWEEP_SHARE 8u    /* and one more for every so many names that it made */
#define SWEEP_STEP 1024u  /* swept at once when there is nothing to commit */
#define PAGES_AHEAD 16u   /* operations between asking for a page and writing it */
#define VALUES_AHEAD 8u
#define IDLE_STEPS 16u
#define STEPS_MAX 256u    /* of settling after a snapshot was dropped */
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
        (void)cop__swap_seq_cst(&store->right, 0u);
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

/* The outcome is told; the transaction must not be touched afterwards. Until then the queue's
 * reference keeps it. */
static void
decide(cop_store *store, cop_txn *txn, cop_status result, uint64_t version, bool unchanged)
{
    txn->result = result;
    txn->version = version;
    count_outcome(store, result, unchanged);
    if (result == COP_OK)
        cop__count_add(&store->count.operations, txn->op_count);
    if (txn->alone)
        return;
    uint32_t before = cop__swap_seq_cst(&txn->state, (uint32_t)COP_TXN_DONE);
    if (before & COP_TXN_SLEEP)
        cop__futex_wake(&txn->state, 64);
    if (cop__unlikely(cop__load_seq_cst(&txn->call) != NULL))
        cop__ticket_decided(store, txn);
    cop__txn_unref(txn);
}

/* ---- a batch ---- */

static void
batch_add(cop__batch *batch, cop_txn *txn)
{
    txn->batch_next = NULL;
    if (batch->last != NULL)
        batch->last->batch_next = txn;
    else
        batch->first = txn;
    batch->last = txn;
}

static void
batch_decide(cop_store *store, cop__batch *batch, cop_status result, uint64_t version, bool unchanged)
{
    cop_txn *txn = batch->first;
    while (txn != NULL) {
        cop_txn *next = txn->batch_next;
        decide(store, txn, result, version, unchanged);
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

static void
publish(cop_store *store, cop_snapshot *root)
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

/* Takes names of erased branches out of the directory when no commit does it: a publication of the
 * same version. */
static bool
housekeep(cop_store *store, uint32_t buckets)
{
    cop__tree *tree = &store->tree;
    cop__draft_begin(tree);
    tree->version = tree->root->version;
    cop_snapshot *root = cop__directory_sweep(tree, buckets) ? cop__draft_root(tree) : NULL;
    if (root != NULL)
        publish(store, root);
    else
        cop__draft_abandon(tree);
    return root != NULL;
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
    plant_root_before_pages(store);
    if (cop__unlikely(changed && cop__directory_unswept(tree)))
        changed = cop__directory_sweep(
            tree, SWEEP_BUCKETS + (uint32_t)(tree->now.made / SWEEP_SHARE));
    cop_snapshot *root = changed ? cop__draft_root(tree) : NULL;
    if (root == NULL) {
        draft_abandon(store);
        return COP_E_MEMORY;
    }
    publish(store, root);
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
                (lazies && cop__lazies_scan_due(&store->graph));
    (void)cop__reclaim(store, scan, FREE_AT_LEAST + 2 * died);
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
    if (txn->condition_count > 0 && !cop__txn_holds(txn, &store->tree))
        return COP_E_CONFLICT;
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

static void
batch_refuse(cop_store *store, cop__batch *batch, cop_txn *also)
{
    (void)cop__serializer_press(cop__load_acquire(&store->serializer));
    cop__count_add(&store->count.abandoned, 1u);
    uint64_t version = store->tree.root->version;
    batch_decide(store, batch, COP_E_MEMORY, version, false);
    if (also != NULL)
        decide(store, also, COP_E_MEMORY, version, false);
    (void)cop__settle(store, SIZE_MAX);
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
        batch_refuse(store, applied, NULL);
    cop__draft_begin(&store->tree);
}

/* A transaction ran out of memory. Texts that are kept can be written again: they go, and it is tried once
 * more. False: that did not help, and the draft is abandoned. */
static bool
try_without_texts(cop_store *store, const cop__batch *applied, cop_txn *txn)
{
    bool clean;
    draft_abandon(store);
    if (!cop__serializer_press(cop__load_acquire(&store->serializer)))
        return false;
    if (apply_again(store, applied) == COP_OK && txn_apply(store, txn, &clean) == COP_OK)
        return true;
    draft_abandon(store);
    return false;
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
        batch_refuse(store, applied, NULL);
    cop__monitor_end(monitor, store->tree.root->version, store->tree.root->time_ns);
}

/* Commits a chain of taken transactions. What is published before its end, because of a transaction
 * that had to be undone or wants a fresh draft, counts as applying when it is measured. */
static void
batch_commit(cop_store *store, cop_txn *chain)
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
        if (cop__unlikely(applied.first != NULL &&
                          (txn->wants_fresh || applied.last->ends_version))) {
            if (draft_end(store, &applied) != COP_OK)
                batch_refuse(store, &applied, NULL);
            cop__draft_begin(tree);
        }
        cop_status status = txn_apply(store, txn, &clean);
        if (cop__likely(status == COP_OK)) {
            batch_add(&applied, txn);
        } else if (status == COP_E_MEMORY) {
            if (try_without_texts(store, &applied, txn)) {
                batch_add(&applied, txn);
                continue;
            }
            batch_refuse(store, &applied, txn);
            cop__draft_begin(tree);
        } else {
            if (!clean)
                undo_one(store, &applied);
            decide(store, txn, status, tree->root->version, false);
        }
    }
    if (cop__unlikely(monitored(store)))
        batch_end_monitored(store, &applied);
    else if (applied.first == NULL)
        draft_abandon(store);
    else if (draft_end(store, &applied) != COP_OK)
        batch_refuse(store, &applied, NULL);
}

/* Takes a transaction off the queue; false when it was cancelled first. */
static bool
txn_take(cop_store *store, cop_txn *txn)
{
    cop__sub_acq_rel(&store->queued, UINT64_C(1));
    cop__batcher_unweigh(store, txn);
    if (COP_FAULT(txn_dropped) && (cop__load_relaxed(&store->count.transactions) & 1023) == 1000)
        return false;
    uint32_t state = cop__load_acquire(&txn->state);
    for (;;) {
        if ((state & ~(uint32_t)COP_TXN_SLEEP) == COP_TXN_CANCELLED) {
            decide(store, txn, COP_E_CANCELLED, store->tree.root->version, false);
            return false;
        }
        if (cop__cas_seq_cst(&txn->state, &state, COP_TXN_TAKEN | (state & COP_TXN_SLEEP)))
            return true;
    }
}

static void
take_next(cop_store *store, cop__batch *batch, cop_txn *txn)
{
    if (!txn_take(store, txn))
        return;
    batch_add(batch, txn);
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
    while (more && rounds-- > 0) {
        cop__batch batch = {0};
        batch_take(store, &batch);
        more = batch.first != NULL;
        if (more)
            batch_commit(store, batch.first);
    }
    if (more)
        cop__batcher_left(store);
    cop__batcher_decided(store); /* also when all that was taken had been cancelled */
}

void
cop__commit_alone(cop_store *store, cop_txn *txn)
{
    txn->batch_next = NULL;
    txn->alone = true;
    txn->round = cop__effect_round_now();
    batch_commit(store, txn);
    cop__store_release(&txn->state, (uint32_t)COP_TXN_DONE);
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
    cop__right_leave(store);
}

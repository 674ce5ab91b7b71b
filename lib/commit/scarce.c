/* SPDX-License-Identifier: MIT */
/* Committing when memory is scarce: see scarce.h. */
#include "commit/scarce.h"

#include "commit/batch.h"
#include "commit/combiner.h"
#include "store/relieve.h"

#define MS_NS UINT64_C(1000000)
#define RETRY_NS (2 * MS_NS) /* after which stalled ones are tried though nothing was seen to be freed, */
#define REST_SHARE 4u        /* or so many times what the last try took, */
#define FREED_SHARE 64u      /* and before that when so much of the limit was */

/* ---- the list ---- */

static void
stall(cop_store *store, cop_txn *txn)
{
    txn->batch_next = NULL;
    if (store->stalled.last != NULL)
        store->stalled.last->batch_next = txn;
    else
        store->stalled.first = txn;
    store->stalled.last = txn;
}

static cop_txn *
stalled_take_all(cop_store *store)
{
    cop_txn *chain = store->stalled.first;
    store->stalled.first = store->stalled.last = NULL;
    return chain;
}

/* A flush has no operations: it is through when all before it are. */
static bool
is_behind_stalled(const cop_store *store, const cop_txn *txn)
{
    const cop_txn *other = txn->alone ? NULL : store->stalled.first;
    while (other != NULL && txn->op_count > 0 && other->submitter != txn->submitter)
        other = other->batch_next;
    return other != NULL;
}

/* Taken, it can be cancelled no more; stalled, it can be again. */
static void
back_to_queued(cop_txn *txn)
{
    uint32_t state = cop__load_acquire(&txn->state);
    while (!cop__cas_seq_cst(&txn->state, &state, COP_TXN_QUEUED | (state & COP_TXN_SLEEP)))
        ;
}

/* When the next try is due. */
static void
alarm_set(cop_store *store)
{
    uint64_t due = cop__clock_ns() + store->stalled.rest_ns;
    if (store->stalled.first != NULL)
        (void)cop__timer_set(&store->timers, &store->stalled.alarm, due);
}

/* What it read must not hold the version that it waits for: if all of that still holds, it has read the
 * newest one; if not, that is how it will be decided when its turn comes, and it holds none. Not while a
 * draft is under way. */
static void
read_anew(cop_txn *txn)
{
    txn->lost = cop__txn_read_anew(txn);
    if (txn->lost == COP_OK)
        return;
    cop_snapshot_drop(txn->snapshot);
    txn->snapshot = NULL;
}

/* Its time begins when it is stalled for the first time. From then on it counts as waiting until it is decided,
 * while it is being tried again, too: a large one is most of the time. */
static void
stall_until(cop_store *store, cop_txn *txn)
{
    if (txn->stalled_until == 0) {
        txn->stalled_until = cop__clock_ns() + store->options.memory_wait_ms * MS_NS;
        cop__add_relaxed(&store->stalled.count, UINT64_C(1));
    }
    back_to_queued(txn);
    stall(store, txn);
}

/* ---- one transaction ---- */

static void
refuse(cop_store *store, cop_txn *txn)
{
    cop__count_add(&store->count.abandoned, 1u);
    cop__count_add(&store->count.refused_memory, 1u);
    cop__decide(store, txn, COP_E_MEMORY, store->tree.root->version, false);
}

/* False: there is no room, whatever gives way. */
static bool
fits(cop_store *store, cop_txn *txn, bool tried)
{
    cop__relief relief = {0};
    bool done = !tried && cop__batch_single(store, txn, COP_ATTEMPT);
    while (!done && cop__relieve_for_commit(store, &relief))
        done = cop__batch_single(store, txn, COP_ATTEMPT);
    return done || cop__batch_single(store, txn, COP_ATTEMPT_LAST) ||
           cop__batch_single(store, txn, COP_ATTEMPT_FREEING);
}

void
cop__commit_scarce(cop_store *store, cop_txn *txn, bool tried)
{
    if (cop__stalled_any(store) && cop__stalled_behind(store, txn))
        return;
    if (fits(store, txn, tried))
        return;
    cop__relieve_failed(store);
    if (!cop__scarce_waits(store)) {
        refuse(store, txn);
    } else if (txn->alone) {
        if (txn->may_wait)
            txn->result = COP_E_MEMORY; /* its owner queues it */
        else
            refuse(store, txn);
    } else {
        cop__count_add(&store->count.waited_memory, 1u);
        if (store->stalled.first == NULL)
            store->stalled.rest_ns = RETRY_NS;
        read_anew(txn);
        stall_until(store, txn);
        alarm_set(store);
    }
}

bool
cop__stalled_behind(cop_store *store, cop_txn *txn)
{
    if (!is_behind_stalled(store, txn))
        return false;
    stall_until(store, txn);
    return true;
}

/* ---- those that are stalled ---- */

/* last: nothing is stalled again. */
static void
stalled_try(cop_store *store, cop_txn *txn, uint64_t now, bool last)
{
    bool over = last || now >= txn->stalled_until;
    if (!last && is_behind_stalled(store, txn)) {
        if (txn->lost == COP_OK)
            read_anew(txn);
        stall(store, txn);
        return;
    }
    if (!cop__take(store, txn))
        return;
    if (txn->lost != COP_OK) {
        cop__decide(store, txn, txn->lost, store->tree.root->version, false);
        return;
    }
    if (cop__batch_single(store, txn, over ? COP_ATTEMPT_LAST : COP_ATTEMPT) ||
        cop__batch_single(store, txn, COP_ATTEMPT_FREEING))
        return;
    if (over) {
        refuse(store, txn);
        return;
    }
    read_anew(txn);
    stall_until(store, txn);
}

static void
stalled_try_all(cop_store *store, bool last)
{
    uint64_t now = cop__clock_ns();
    cop_txn *txn = stalled_take_all(store);
    while (txn != NULL) {
        cop_txn *next = txn->batch_next;
        stalled_try(store, txn, now, last);
        txn = next;
    }
    uint64_t end = cop__clock_ns(), rest = (end - now) * REST_SHARE;
    store->stalled.rest_ns = rest > RETRY_NS ? rest : RETRY_NS;
    store->stalled.tried_ns = end;
    store->stalled.tried_used = cop__used_bytes(store);
}

void
cop__stalled_retry(cop_store *store)
{
    uint64_t freed = cop__load_relaxed(&store->memory->limit) / FREED_SHARE;
    if (cop__used_bytes(store) + freed >= store->stalled.tried_used &&
        cop__clock_ns() - store->stalled.tried_ns < store->stalled.rest_ns)
        return;
    cop__relief relief = {0};
    (void)cop__relieve_for_commit(store, &relief);
    stalled_try_all(store, false);
    alarm_set(store);
}

void
cop__stalled_close(cop_store *store)
{
    if (cop__stalled_any(store))
        stalled_try_all(store, true);
}

/* By who polls, or a worker. Without the right: who has it commits, and looks at them when it takes more. */
static void
stalled_alarm(void *context)
{
    cop_store *store = context;
    if (cop__right_try(store)) {
        cop__combine(store, 1);
        cop__right_leave(store);
    } else {
        (void)cop__timer_set(&store->timers, &store->stalled.alarm, cop__clock_ns() + RETRY_NS);
    }
}

void
cop__stalled_init(cop_store *store)
{
    store->stalled.alarm = (cop__alarm){.function = stalled_alarm, .context = store};
}

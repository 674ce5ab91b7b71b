/* SPDX-License-Identifier: MIT */
/*
 * How a transaction ends: commit, submit, cancel; tickets; transact; the calls that commit what
 * others submitted. A ticket is the transaction itself under another name.
 */
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "commit/background.h"
#include "commit/batch.h"
#include "commit/combiner.h"
#include "commit/scarce.h"
#include "commit/step.h"
#include "commit/trim.h"
#include "monitor/monitor.h"
#include "reclaim/gate.h"
#include "watch/room.h"

#define CONFLICTS_BEFORE_PRIORITY 8
#define MS_NS UINT64_C(1000000)

/* ---- queueing ---- */

/* From here on the queue has a reference of its own, and any thread may end the last. Wait-free. */
static void
enqueue(cop_txn *txn)
{
    cop_store *store = txn->store;
    if (txn->user != NULL) {
        cop__gate_use(txn->gate);
        cop__use_end(txn->gate, txn->user, cop__reader_known(store));
        txn->user = NULL;
    }
    cop__add_relaxed(&txn->references, 1u);
    cop__add_seq_cst(&store->queued, UINT64_C(1));
    txn->round = cop__effect_round_now();
    txn->submitter = (uintptr_t)&cop__reader_last; /* an address of this thread's */
    cop__monitor *monitor = cop__load_acquire(&store->monitor);
    txn->queued_ns = cop__unlikely(monitor != NULL) ? cop__monitor_queued(monitor) : 0;
    cop__store_release(&txn->state, (uint32_t)COP_TXN_QUEUED);
    cop__queue_push(&store->queue, &txn->node);
}

static const char *const op_names[] = {
    [COP_OP_SET] = "set",
    [COP_OP_SET_AT] = "set_at",
    [COP_OP_SET_CHILD] = "set_child",
    [COP_OP_INSERT] = "insert",
    [COP_OP_CREATE] = "create",
    [COP_OP_ERASE] = "erase",
    [COP_OP_ERASE_AT] = "erase_at",
    [COP_OP_ERASE_CHILD] = "erase_child",
    [COP_OP_CLEAR] = "clear",
    [COP_OP_CLEAR_AT] = "clear_at",
    [COP_OP_ADD] = "add",
    [COP_OP_MAX] = "max",
    [COP_OP_COMPARE_SET] = "compare_set",
    [COP_OP_ELEMENT] = "put element",
    [COP_OP_ARRANGE] = "arrange",
    [COP_OP_AT] = "at",
    [COP_OP_PLACE] = "place",
    [COP_OP_DEFINE] = "define",
    [COP_OP_STEP] = "step",
    [COP_OP_RESULT] = "result",
};

/* The path that an operation was given; NULL: none. */
static const char *
op_path(const cop__op *op, size_t *length)
{
    const cop__definition *definition = op->text;
    *length = op->number;
    if (op->code == COP_OP_DEFINE) {
        *length = definition->length;
        return definition->path;
    }
    return op->code == COP_OP_SET_AT || op->code == COP_OP_ERASE_AT || op->code == COP_OP_CLEAR_AT
               ? op->text
               : NULL;
}

static void
explain_step(const cop__doc_step *step, cop_status status, cop_error *error)
{
    size_t length = step->length < 128 ? step->length : 128;
    const char *why = cop_status_message(status);
    if (status == COP_E_STATE)
        why = "the value is another one";
    (void)cop__fail(error, status, "operation %u of the patch, %s \"%.*s\": %s", step->index,
                    cop__doc_step_name(step->what), (int)length, step->path, why);
}

static void
explain_memory(cop_store *store, cop_error *error)
{
    char text[sizeof error->message];
    size_t length;
    if (error == NULL)
        return;
    cop_status status = cop_memory_explain(store, text, sizeof text - 16, &length);
    (void)cop__fail(error, COP_E_MEMORY, "out of memory: %s",
                    status == COP_OK || status == COP_E_RANGE ? text : "the store is closing");
}

/* Says which operation could not be applied. */
static void
explain(const cop_txn *txn, cop_status status, cop_error *error)
{
    if (status == COP_E_MEMORY) {
        explain_memory(txn->store, error);
        return;
    }
    bool of_operation = status != COP_E_CONFLICT && status != COP_E_CLOSING &&
                        status != COP_E_CANCELLED && txn->failed_op < txn->op_count;
    if (!of_operation) {
        (void)cop__fail(error, status, "%s", cop_status_message(status));
        return;
    }
    const cop__op *op = &txn->ops[txn->failed_op];
    size_t length;
    if (op->code == COP_OP_STEP) {
        explain_step(op->text, status, error);
        return;
    }
    const char *path = op_path(op, &length);
    if (path != NULL)
        (void)cop__fail(error, status, "operation %u, %s %.*s: %s", txn->failed_op,
                        op_names[op->code], (int)(length < 128 ? length : 128), path,
                        cop_status_message(status));
    else
        (void)cop__fail(error, status, "operation %u, %s: %s", txn->failed_op, op_names[op->code],
                        cop_status_message(status));
}

static cop_status
outcome(const cop_txn *txn, uint64_t *version, cop_error *error)
{
    if (version != NULL)
        *version = txn->version;
    if (txn->result != COP_OK)
        explain(txn, txn->result, error);
    return txn->result;
}

/* Commits and waits; the right may be held by the caller already. */
static void
commit_now(cop_txn *txn)
{
    cop_store *store = txn->store;
    if (!cop__right_try(store)) {
        enqueue(txn);
        (void)cop__wait_decided(txn, COP_FOREVER);
        return;
    }
    if (cop__likely(cop__queue_empty(&store->queue) && !cop__stalled_any(store))) {
        cop__commit_alone(store, txn, true); /* nothing of this thread is queued before it */
        if (cop__likely(txn->result != COP_E_MEMORY || !cop__scarce_waits(store))) {
            cop__right_leave(store);
            return;
        }
        txn->alone = false;
    }
    enqueue(txn);
    cop__right_leave(store);
    (void)cop__wait_decided(txn, COP_FOREVER);
}

cop_status
cop_txn_commit(cop_txn *txn, uint64_t *version, cop_error *error)
{
    cop_status status = cop__store_may_wait(txn->store);
    if (cop__unlikely(status != COP_OK)) {
        cop_txn_cancel(txn);
        return cop__fail(error, status, "%s", cop_status_message(status));
    }
    commit_now(txn);
    status = outcome(txn, version, error);
    if (status == COP_OK)
        cop__txn_tell(txn);
    cop__txn_unref(txn);
    return status;
}

void
cop__fd_signal(cop_store *store)
{
    int fd = cop__load_acquire(&store->fd);
    uint64_t one = 1;
    if (fd >= 0 && cop__swap_seq_cst(&store->fd_signalled, 1u) == 0)
        (void)!write(fd, &one, sizeof one); /* a full counter is readable already */
}

cop_status
cop_txn_submit(cop_txn *txn, cop_ticket **ticket)
{
    if (ticket != NULL)
        *ticket = NULL;
    cop_status status = cop__store_may_wait(txn->store);
    if (cop__unlikely(status != COP_OK)) {
        cop_txn_cancel(txn);
        return status;
    }
    struct cop__gate *gate = txn->gate;
    cop__add_relaxed(&gate->references, 1u);
    txn->out_count = 0; /* only a synchronous commit writes to the caller's memory */
    cop__batcher_weigh(txn->store, txn);
    enqueue(txn);
    cop__batcher_submitted(txn->store);
    if (ticket != NULL)
        *ticket = (cop_ticket *)txn;
    else
        cop__txn_unref(txn);
    if (cop__unlikely(cop__gate_closing(gate)))
        cop__store_progress(gate); /* closing may have missed it: it is then refused */
    cop__gate_unref(gate);
    return COP_OK;
}

void
cop_txn_cancel(cop_txn *txn)
{
    if (txn != NULL)
        cop__txn_unref(txn);
}

/* ---- tickets ---- */

static cop_txn *
txn_of_ticket(cop_ticket *ticket)
{
    return (cop_txn *)(void *)ticket;
}

static bool
forked(const cop_txn *txn)
{
    return atomic_load_explicit(txn->store->alive, memory_order_relaxed) == 0;
}

cop_status
cop_ticket_poll(cop_ticket *ticket, uint64_t *version)
{
    cop_txn *txn = txn_of_ticket(ticket);
    if (forked(txn))
        return COP_E_FORKED;
    if (cop__load_acquire(&txn->state) != COP_TXN_DONE)
        return COP_E_PENDING;
    return outcome(txn, version, NULL);
}

cop_status
cop_ticket_wait(cop_ticket *ticket, uint64_t deadline, uint64_t *version, cop_error *error)
{
    cop_txn *txn = txn_of_ticket(ticket);
    bool done = cop__load_acquire(&txn->state) == COP_TXN_DONE;
    cop_status status = COP_OK;
    if (forked(txn))
        status = COP_E_FORKED;
    else if (!done && cop__evaluating)
        status = COP_E_IN_EVALUATION;
    else if (!done)
        status = cop__batcher_wait(txn, deadline);
    if (status != COP_OK)
        return cop__fail(error, status, "%s", cop_status_message(status));
    return outcome(txn, version, error);
}

cop_status
cop_ticket_cancel(cop_ticket *ticket)
{
    cop_txn *txn = txn_of_ticket(ticket);
    uint32_t state = cop__load_acquire(&txn->state);
    if (forked(txn))
        return COP_E_FORKED;
    while ((state & ~(uint32_t)COP_TXN_SLEEP) == COP_TXN_QUEUED)
        if (cop__cas_seq_cst(&txn->state, &state, COP_TXN_CANCELLED | (state & COP_TXN_SLEEP)))
            return COP_OK;
    return COP_E_STATE;
}

cop_status
cop_ticket_atom(cop_ticket *ticket, cop_atom provisional, cop_atom *atom)
{
    cop_txn *txn = txn_of_ticket(ticket);
    *atom = (cop_atom){0, 0};
    if (forked(txn))
        return COP_E_FORKED;
    if (cop__load_acquire(&txn->state) != COP_TXN_DONE || txn->result != COP_OK)
        return COP_E_STATE;
    if (provisional.generation != COP_PROVISIONAL || provisional.id >= txn->op_count)
        return COP_E_INVALID;
    *atom = txn->ops[provisional.id].made;
    return COP_OK;
}

void
cop_ticket_release(cop_ticket *ticket)
{
    if (ticket != NULL)
        cop__txn_unref(txn_of_ticket(ticket));
}

/* ---- transact ---- */

/* One try. *consumed tells whether the transaction was committed (else the function refused). */
static cop_status
try_once(cop_store *store, cop_transact_function function, void *context, bool priority,
         uint64_t *version, bool *refused)
{
    cop_txn *txn;
    cop_status status = cop_txn_begin(store, &txn);
    *refused = true;
    if (status != COP_OK)
        return status;
    cop__evaluating = priority;
    status = function(txn, context);
    cop__evaluating = false;
    if (status != COP_OK) {
        cop_txn_cancel(txn);
        return status;
    }
    *refused = false;
    if (!priority)
        return cop_txn_commit(txn, version, NULL);
    cop__commit_alone(store, txn, false);
    status = outcome(txn, version, NULL);
    if (status == COP_OK)
        cop__txn_tell(txn);
    cop__txn_unref(txn);
    return status;
}

/* With the right held no other commit comes between reading and applying. What was queued, perhaps
 * by this thread, goes before. *waits: it did not fit and may wait for memory, which nobody does
 * with the right. That has an end, *until (0: not known yet), since who waits without it may have
 * conflicts again. */
static cop_status
try_with_priority(cop_store *store, cop_transact_function function, void *context,
                  uint64_t deadline, uint64_t *version, uint64_t *until, bool *waits)
{
    bool refused;
    cop_status status = cop__right_wait(store, deadline);
    if (status != COP_OK)
        return status;
    cop__combine(store, 1);
    status = try_once(store, function, context, true, version, &refused);
    if (status == COP_E_MEMORY && !refused && cop__scarce_waits(store)) {
        uint64_t now = cop__clock_ns();
        if (*until == 0)
            *until = now + store->options.memory_wait_ms * MS_NS;
        *waits = now < *until;
    }
    cop__right_leave(store);
    return status;
}

static cop_status
transact(cop_store *store, cop_transact_function function, void *context, uint64_t deadline,
         uint64_t *version)
{
    uint64_t until = 0;
    for (unsigned conflicts = 0;; conflicts++) {
        bool refused, waits = false;
        cop_status status;
        if (conflicts == CONFLICTS_BEFORE_PRIORITY) {
            status = try_with_priority(store, function, context, deadline, version, &until, &waits);
            if (!waits)
                return status;
            conflicts = 0;
        }
        status = try_once(store, function, context, false, version, &refused);
        if (refused || status != COP_E_CONFLICT)
            return status;
        if (deadline != COP_FOREVER && cop__clock_ns() >= deadline)
            return COP_E_TIMEOUT;
    }
}

cop_status
cop_transact(cop_store *store, cop_transact_function function, void *context, uint64_t deadline,
             uint64_t *version)
{
    cop_status status = cop__store_may_wait(store);
    if (status != COP_OK)
        return status;
    struct cop__gate *gate = store->gate;
    cop__gate_use(gate);
    status = transact(store, function, context, deadline, version);
    cop__gate_end_use(gate);
    return status;
}

/* ---- committing what others submitted ---- */

/* Goes through the queue behind everything submitted before, as a transaction without operations.
 */
cop_status
cop_flush(cop_store *store, uint64_t deadline)
{
    cop_txn *txn;
    cop_status status = cop_txn_begin(store, &txn);
    if (status != COP_OK)
        return status;
    enqueue(txn);
    status = cop__wait_decided(txn, deadline);
    if (status == COP_OK)
        status = txn->result;
    else
        cop__batcher_submitted(store); /* what came behind it may have relied on it to be taken */
    cop__txn_unref(txn);
    return status;
}

static bool
poll_fd_fill(cop_store *store, int both)
{
    struct epoll_event event = {.events = EPOLLIN};
    int timers = cop__timers_fd(&store->timers), fresh = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    int frames = cop__batcher_fd(store);
    if (timers >= 0 && fresh >= 0 && frames >= 0 &&
        epoll_ctl(both, EPOLL_CTL_ADD, fresh, &event) == 0 &&
        epoll_ctl(both, EPOLL_CTL_ADD, timers, &event) == 0 &&
        epoll_ctl(both, EPOLL_CTL_ADD, frames, &event) == 0) {
        cop__store_release(&store->fd, fresh);
        return true;
    }
    if (fresh >= 0)
        (void)close(fresh);
    return false;
}

/* One descriptor for three: what is to be done now, timers, and the end of a frame. Needs the lock
 * of the timers. */
static cop_status
poll_fd_open(cop_store *store)
{
    if (cop__load_acquire(&store->poll_fd) >= 0)
        return COP_OK;
    int both = epoll_create1(EPOLL_CLOEXEC);
    if (both < 0)
        return COP_E_IO;
    if (!poll_fd_fill(store, both)) {
        (void)close(both);
        return COP_E_IO;
    }
    cop__store_release(&store->poll_fd, both);
    return COP_OK;
}

cop_status
cop_store_fd(cop_store *store, int *fd)
{
    cop_status status = cop__store_usable(store);
    *fd = cop__load_acquire(&store->poll_fd);
    if (status != COP_OK || *fd >= 0)
        return status;
    pthread_mutex_lock(&store->timers.lock);
    status = poll_fd_open(store);
    pthread_mutex_unlock(&store->timers.lock);
    *fd = cop__load_acquire(&store->poll_fd);
    if (status == COP_OK && cop__load_seq_cst(&store->queued) > 0 &&
        cop__load_relaxed(&store->batcher.window_ns) == 0)
        cop__fd_signal(store);
    return status;
}

static void
fd_clear(cop_store *store)
{
    int fd = cop__load_acquire(&store->fd);
    uint64_t count;
    if (fd < 0 || cop__load_seq_cst(&store->fd_signalled) == 0)
        return;
    /* Read first: a submission that still sees the flag set was queued before, and is taken by the
     * caller, who looks at the queue next. */
    (void)!read(fd, &count, sizeof count);
    (void)cop__swap_seq_cst(&store->fd_signalled, 0u);
}

#define POLL_ROUNDS 64
#define POLL_FREES 65536
#define POLL_STEPS 8
#define POLL_RESULTS 1024

cop_status
cop_store_poll(cop_store *store)
{
    cop_status status = cop__store_may_wait(store);
    if (status != COP_OK)
        return status;
    struct cop__gate *gate = store->gate;
    cop__gate_use(gate);
    fd_clear(store);
    bool early = cop__batcher_poll_early(store);
    if (cop__right_try(store)) {
        if (!early)
            cop__combine(store, POLL_ROUNDS);
        cop__settle_all(store, POLL_STEPS, POLL_FREES);
        cop__trim_some(store, POLL_STEPS);
        cop__right_leave(store);
    } else if (!early) {
        cop__batcher_poll_missed(store);
    }
    if (cop__background_any(store))
        status = cop__background_run(store, POLL_RESULTS, NULL);
    cop__timers_run(&store->timers, cop__clock_ns());
    cop__watch_poll(cop__load_acquire(&store->watch));
    if (status == COP_E_LIMIT || status == COP_E_CLOSING)
        status = COP_OK;
    cop__gate_end_use(gate);
    return status;
}

cop_status
cop_wait_version(cop_store *store, uint64_t version, uint64_t deadline)
{
    struct cop__gate *gate = store->gate;
    cop_status status = COP_OK;
    if (cop__evaluating)
        return COP_E_IN_EVALUATION;
    cop__gate_use(gate);
    cop__add_seq_cst(&store->version_waiters, 1u);
    for (;;) {
        uint32_t word = cop__load_seq_cst(&store->version_word);
        if (cop__load_acquire(&store->version) >= version)
            break;
        status = cop__store_usable(store);
        if (status == COP_OK && cop__clock_ns() >= deadline)
            status = COP_E_TIMEOUT;
        if (status != COP_OK)
            break;
        cop__futex_wait(&store->version_word, word, deadline);
    }
    cop__sub_acq_rel(&store->version_waiters, 1u);
    cop__gate_end_use(gate);
    return status;
}

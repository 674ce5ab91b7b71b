/* SPDX-License-Identifier: MIT */
/* Gathering what was submitted until a frame ends: see update_batcher.h. */
#include "commit/update_batcher.h"

#include <sys/timerfd.h>
#include <unistd.h>

#include "commit/combiner.h"
#include "monitor/monitor.h"
#include "reclaim/gate.h"

#define MS_NS UINT64_C(1000000)
#define AGAIN_NS MS_NS /* until who found the right taken looks again */
#define FRAME_ROUNDS 64u
#define ASKS 4u /* of a pool that refuses although it has threads: it is closing */

static void frame_task(void *context);
static void frame_ends(void *context);

void
cop__batcher_init(cop_store *store)
{
    cop__update_batcher *b = &store->batcher;
    atomic_init(&b->fd, -1);
    b->task = (cop__task){.function = frame_task, .context = store, .kept = true};
    b->alarm = (cop__alarm){.function = frame_ends, .context = store};
    cop__batcher_configure(store);
}

void
cop__batcher_end(cop_store *store)
{
    int fd = cop__load_relaxed(&store->batcher.fd);
    if (fd >= 0)
        (void)close(fd);
}

void
cop__batcher_configure(cop_store *store)
{
    const cop_options *options = &store->options;
    cop__update_batcher *b = &store->batcher;
    bool gathers = options->batch_updates != 0;
    cop__store_relaxed(&b->most, options->batch_max_transactions);
    cop__store_relaxed(&b->most_bytes, options->batch_max_bytes);
    cop__store_seq_cst(&b->window_ns, gathers ? options->batch_window_ms * MS_NS : 0);
}

/* ---- telling who commits ---- */

/* What is gathered is due at this time: sets the store's timer. */
static void
arm(cop_store *store)
{
    uint64_t due = cop__load_seq_cst(&store->batcher.due);
    if (due != COP_BATCH_NONE)
        (void)cop__timer_set(&store->timers, &store->batcher.alarm, due);
}

/* On a worker of the pool; the use of the gate is the task's. */
static void
frame_task(void *context)
{
    cop_store *store = context;
    struct cop__gate *gate = store->gate;
    cop__store_seq_cst(&store->batcher.direct, false);
    cop__store_seq_cst(&store->batcher.asked, false);
    arm(store);
    cop__gate_end_use(gate);
}

/* Who finds the task asked for relies on who asked: if that was refused, it looks again whether
 * there is a pool by now. */
static void
ask_pool(cop_store *store)
{
    cop__update_batcher *b = &store->batcher;
    for (unsigned tries = 0; tries < ASKS; tries++) {
        if (cop__load_seq_cst(&store->effects.pool) == NULL)
            return;
        if (cop__swap_seq_cst(&b->asked, true)) {
            if (cop__load_seq_cst(&b->direct))
                arm(store);
            return;
        }
        if (cop__effects_submit_kept(store, &b->task))
            return;
        cop__store_seq_cst(&b->asked, false);
        if (cop__effects_threads(store) == 0)
            return; /* it tells when it has some */
    }
}

static void
show_at(cop_store *store, uint64_t time)
{
    int fd = cop__load_seq_cst(&store->batcher.fd);
    if (fd < 0)
        return;
    cop__store_seq_cst(&store->batcher.shown, true);
    cop__timer_descriptor_arm(fd, time);
}

/* Again if it was changed meanwhile: who changed it may have been before, with a sooner time. */
static void
show(cop_store *store)
{
    uint64_t due = cop__load_seq_cst(&store->batcher.due), shown;
    do {
        shown = due;
        show_at(store, shown == COP_BATCH_NONE ? COP_TIMER_NEVER : shown);
        due = cop__load_seq_cst(&store->batcher.due);
    } while (due != shown);
}

static void
wake_waiters(cop__update_batcher *b)
{
    if (cop__load_seq_cst(&b->waiters) == 0)
        return;
    cop__add_seq_cst(&b->event, 1u);
    cop__futex_wake(&b->event, INT32_MAX);
}

static void
frame_tell(cop_store *store, uint64_t due)
{
    show(store);
    if (due == COP_BATCH_NOW)
        wake_waiters(&store->batcher);
    ask_pool(store);
}

static void
due_now(cop_store *store)
{
    if (cop__swap_seq_cst(&store->batcher.due, COP_BATCH_NOW) != COP_BATCH_NOW)
        frame_tell(store, COP_BATCH_NOW);
}

/* ---- submitting ---- */

void
cop__batcher_weigh(cop_store *store, cop_txn *txn)
{
    cop__update_batcher *b = &store->batcher;
    txn->gathered_bytes = 0;
    if (cop__load_relaxed(&b->window_ns) == 0)
        return;
    txn->gathered_bytes = cop__txn_weight(txn);
    cop__add_seq_cst(&b->bytes, txn->gathered_bytes);
}

static uint64_t
frame_end(uint64_t now, uint64_t window)
{
    return (now / window + 1) * window;
}

void
cop__batcher_submitted(cop_store *store)
{
    cop__update_batcher *b = &store->batcher;
    uint64_t window = cop__load_relaxed(&b->window_ns), none = COP_BATCH_NONE;
    if (window == 0) {
        cop__fd_signal(store);
        return;
    }
    uint64_t queued = cop__load_seq_cst(&store->queued);
    if (COP_FAULT(batch_edge) && queued > 1)
        return; /* as if whoever came first had opened a window for this one too */
    bool full = queued >= cop__load_relaxed(&b->most) ||
                cop__load_relaxed(&b->bytes) >= cop__load_relaxed(&b->most_bytes);
    uint64_t due = cop__load_seq_cst(&b->due);
    if (cop__likely(due != COP_BATCH_NONE && (!full || due == COP_BATCH_NOW)))
        return;
    uint64_t now = cop__clock_ns(), end = frame_end(now, window);
    if (due == COP_BATCH_NONE)
        cop__store_relaxed(&b->opened_ns, now);
    if (full) {
        due_now(store);
    } else if (cop__cas_seq_cst(&b->due, &none, end)) {
        frame_tell(store, end);
        if (cop__unlikely(cop__load_seq_cst(&b->window_ns) != window))
            due_now(store); /* the frame was of a window that is no more */
    }
}

/* ---- committing ---- */

/* The window was opened in its last frame at the earliest: a submission that lost the race for
 * opening it may have written an older time. */
static void
note_wait(cop_store *store, uint64_t due)
{
    uint64_t window = cop__load_relaxed(&store->batcher.window_ns), now = cop__clock_ns();
    uint64_t opened = cop__load_relaxed(&store->batcher.opened_ns);
    if (due > window && opened < due - window)
        opened = due - window;
    uint64_t waited = now > opened ? now - opened : 0;
    cop__count_add(&store->count.windows, 1u);
    cop__count_add(&store->count.window_wait, waited);
    if (waited > cop__load_relaxed(&store->count.window_wait_max))
        cop__store_relaxed(&store->count.window_wait_max, waited);
    cop__monitor_record(store, COP_MEASURE_WINDOW_WAIT, waited);
}

void
cop__batcher_close_window(cop_store *store)
{
    cop__update_batcher *b = &store->batcher;
    if (cop__likely(cop__load_seq_cst(&b->due) == COP_BATCH_NONE))
        return;
    note_wait(store, cop__swap_seq_cst(&b->due, COP_BATCH_NONE));
    show(store);
}

void
cop__batcher_unweigh(cop_store *store, const cop_txn *txn)
{
    if (txn->gathered_bytes > 0)
        cop__sub_seq_cst(&store->batcher.bytes, txn->gathered_bytes);
}

void
cop__batcher_left(cop_store *store)
{
    cop__update_batcher *b = &store->batcher;
    if (cop__load_relaxed(&b->window_ns) == 0 || cop__queue_peek(&store->queue) == NULL)
        return;
    cop__store_relaxed(&b->opened_ns, cop__clock_ns());
    due_now(store);
}

void
cop__batcher_decided(cop_store *store)
{
    wake_waiters(&store->batcher);
}

/* The store's timer: on a worker of the pool, or on who polls. */
static void
frame_ends(void *context)
{
    cop_store *store = context;
    uint64_t due = cop__load_seq_cst(&store->batcher.due), now = cop__clock_ns();
    if (due == COP_BATCH_NONE)
        return;
    if (due > now) {
        arm(store); /* it was set for a window that has been taken since */
    } else if (cop__right_try(store)) {
        cop__combine(store, FRAME_ROUNDS);
        cop__right_leave(store);
    } else {
        (void)cop__timer_set(&store->timers, &store->batcher.alarm, now + AGAIN_NS);
    }
}

/* ---- waiting and polling ---- */

bool
cop__batcher_gathering(cop_store *store)
{
    uint64_t due = cop__load_seq_cst(&store->batcher.due);
    return cop__unlikely(due > COP_BATCH_NOW) && due > cop__clock_ns();
}

cop_status
cop__batcher_wait(cop_txn *txn, uint64_t deadline)
{
    cop_store *store = txn->store;
    cop__update_batcher *b = &store->batcher;
    bool early = false, in_time = true;
    cop__add_seq_cst(&b->waiters, 1u);
    do {
        uint32_t event = cop__load_seq_cst(&b->event);
        uint64_t due = cop__load_seq_cst(&b->due), now = cop__clock_ns();
        early = due > now && cop__load_seq_cst(&txn->state) != COP_TXN_DONE;
        in_time = now < deadline;
        if (early && in_time)
            cop__futex_wait(&b->event, event, due < deadline ? due : deadline);
    } while (early && in_time);
    cop__sub_seq_cst(&b->waiters, 1u);
    return early ? COP_E_TIMEOUT : cop__wait_decided(txn, deadline);
}

bool
cop__batcher_poll_early(cop_store *store)
{
    cop__update_batcher *b = &store->batcher;
    uint64_t times;
    /* Read first: whoever sets it from here on has changed `due` before, or will find it read. */
    if (cop__load_relaxed(&b->shown))
        (void)!read(cop__load_relaxed(&b->fd), &times, sizeof times);
    uint64_t due = cop__load_seq_cst(&b->due);
    bool early = due > COP_BATCH_NOW && due > cop__clock_ns();
    if (early)
        show(store);
    return early;
}

void
cop__batcher_poll_missed(cop_store *store)
{
    if (cop__load_seq_cst(&store->batcher.due) != COP_BATCH_NONE)
        show_at(store, cop__clock_ns() + AGAIN_NS);
}

int
cop__batcher_fd(cop_store *store)
{
    cop__update_batcher *b = &store->batcher;
    int fd = cop__load_relaxed(&b->fd);
    if (fd >= 0)
        return fd;
    fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    cop__store_seq_cst(&b->fd, fd);
    show(store);
    return fd;
}

void
cop__batcher_pool_changed(cop_store *store, bool lost)
{
    if (lost && cop__load_seq_cst(&store->batcher.asked))
        cop__store_seq_cst(&store->batcher.direct, true);
    if (cop__load_seq_cst(&store->effects.pool) != NULL)
        arm(store);
}

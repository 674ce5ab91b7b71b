/* SPDX-License-Identifier: MIT */
/*
 * The update batcher: submitted transactions are gathered until a frame ends.
 *
 * Frames are the multiples of batch.window_ms on CLOCK_MONOTONIC, so that all stores of a machine
 * with one window commit together. The first submission into an empty window OPENS it: `due`
 * becomes the end of its frame, and whoever may commit is told: the pool, by a task that sets the
 * store's timer, and who polls, by a timerfd. Who waits on a ticket sleeps until then. A submission
 * that fills a bound makes it due at once. Synchronous commits, cop_flush and closing pay no
 * attention to it: they take what is queued.
 *
 * ORDERING. A submission pushes its transaction and then looks at `due`; who commits makes it NONE
 * and then pops. All are sequentially consistent. So of a submission and a commit either the commit
 * sees the transaction, or the submission sees NONE and opens the next window. A push that is under
 * way keeps those behind it out of the commit's reach; its pusher looks at `due` after it, and
 * opens for all of them.
 *
 * ANOTHER WINDOW. Changing the options stores the window and then takes what is queued; who opens a
 * window looks again at its length afterwards, and makes it due at once when it was opened for a
 * length that is no more.
 *
 * WAITERS. One counts itself, reads `event`, and then looks at `due` and at its transaction's
 * state; who has decided, or makes the window due sooner, does that first and then looks for
 * waiters, to change `event` and wake them.
 *
 * THE POOL is asked by one task, which lies in the store and is in the pool's queue while `asked`.
 * It clears that before it looks at `due`, and who changes `due` looks at `asked` afterwards: so
 * either the task sees the change or it is submitted again. A pool that is taken away may keep the
 * task for as long as it has no thread; until it comes back `direct` is set, and submissions that
 * open a window set the timer themselves, under its short lock.
 *
 * WHO POLLS. Whoever changes `due` sets the timerfd to it afterwards, and again until it has not been
 * changed meanwhile: so who comes last leaves the timerfd as `due` is. Who polls and finds it fired
 * early sets it anew.
 *
 * PROGRESS. Submitting: wait-free, but for waking a worker and setting the timerfd, which are
 * lock-free, with system calls that wait for nobody; only who opens a window or fills a bound does more than look. Waiting:
 * blocking.
 */
#ifndef COP_COMMIT_UPDATE_BATCHER_H
#define COP_COMMIT_UPDATE_BATCHER_H

#include <coppice/store.h>

#include "base/atomic.h"
#include "base/timers.h"
#include "workers/task.h"

#define COP_BATCH_NONE UINT64_C(0) /* no window is open */
#define COP_BATCH_NOW UINT64_C(1)  /* what is gathered is due at once */

typedef struct cop__update_batcher {
    /* changed under the right */
    _Atomic uint64_t window_ns; /* 0: nothing is gathered */
    _Atomic uint64_t most, most_bytes;

    _Alignas(COP_CACHE_LINE) _Atomic uint64_t due; /* when the frame ends, or one of the above */
    _Atomic uint64_t bytes;                        /* gathered */
    _Atomic uint64_t opened_ns;
    _Atomic uint32_t waiters; /* on tickets, until the frame ends */
    _Atomic uint32_t event;   /* on which they sleep */
    _Atomic int fd;           /* timerfd of who polls; -1: nobody does */
    _Atomic bool shown;       /* it has been set to a time */
    _Atomic bool asked, direct;
    cop__task task;
    cop__alarm alarm;
} cop__update_batcher;

struct cop_txn;

void cop__batcher_init(cop_store *store);
void cop__batcher_end(cop_store *store);
/* Takes over the store's options. Needs the right, unless the store is being opened. What was
 * gathered is to be committed afterwards. */
void cop__batcher_configure(cop_store *store);

/* ---- submitting ---- */

/* Before it is pushed. */
void cop__batcher_weigh(cop_store *store, struct cop_txn *txn);
/* After that: opens the window, or ends it. */
void cop__batcher_submitted(cop_store *store);

/* ---- committing; these need the right ---- */

/* Everything queued is about to be taken. */
void cop__batcher_close_window(cop_store *store);
/* A transaction that was weighed has been taken. */
void cop__batcher_unweigh(cop_store *store, const struct cop_txn *txn);
/* What is still queued is due at once. */
void cop__batcher_left(cop_store *store);
/* Transactions were decided. */
void cop__batcher_decided(cop_store *store);

/* ---- waiting and polling ---- */

/* Waits until the frame ends, then as cop__wait_decided. COP_E_TIMEOUT. */
cop_status cop__batcher_wait(struct cop_txn *txn, uint64_t deadline);
/* Whether what is queued is to wait for the end of a frame. */
bool cop__batcher_gathering(cop_store *store);
/* The same for who polls, whose descriptor is set accordingly. */
bool cop__batcher_poll_early(cop_store *store);
/* It came in time, but the right was not to be had: it has to come again. */
void cop__batcher_poll_missed(cop_store *store);
/* Makes the timerfd; -1: the system refused. Needs the lock of the timers. */
int cop__batcher_fd(cop_store *store);
/* The store has another pool, or its pool has threads again. lost: the former pool may keep the
 * task. */
void cop__batcher_pool_changed(cop_store *store, bool lost);

#endif

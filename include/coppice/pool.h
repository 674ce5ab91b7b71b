/* SPDX-License-Identifier: MIT */
/*
 * Worker pools: threads that evaluate independent computed atoms, run effects, and serve the host's
 * own parallel loops and tasks.
 *
 * A pool belongs to nobody: any number of stores may share one, and a host may use it without a
 * store. Its thread count can be changed at any time, up and down, without losing work. A pool of 0
 * threads is legal everywhere: the calling thread then does everything, with the same results.
 *
 * The calling thread of every waiting function works along; nobody spins for a thread that is not
 * running.
 */
#ifndef COPPICE_POOL_H
#define COPPICE_POOL_H

#include <stdbool.h>

#include <coppice/options.h>
#include <coppice/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cop_pool cop_pool;
typedef struct cop_task_group cop_task_group;

#define COP_POOL_AUTO UINT32_MAX /* one less than the CPUs this process may use */
#define COP_POOL_THREADS_MAX 1024u

typedef struct cop_pool_options {
    size_t size;          /* sizeof(cop_pool_options) as the caller compiled it */
    uint32_t threads;     /* COP_POOL_AUTO, or 0 .. COP_POOL_THREADS_MAX */
    bool affinity;        /* bind worker i to the i-th CPU this process may use, from the second on */
    const char *name;     /* threads are called NAME-0, ...; at most 10 bytes; NULL: "coppice" */
    cop_log_function log; /* NULL: nothing is logged; must outlive the pool */
    void *log_context;
} cop_pool_options;

#define COP_POOL_OPTIONS_INIT {sizeof(cop_pool_options), COP_POOL_AUTO, false, NULL, NULL, NULL}

/* Opens a pool and starts its threads (all signals blocked in them). options may be NULL. On failure
 * *pool is NULL. COP_E_INVALID, COP_E_RANGE, COP_E_MEMORY (also when a thread cannot be started).
 * Thread-safe, blocking. */
COP_PUBLIC cop_status cop_pool_open(const cop_pool_options *options, cop_pool **pool,
                                    cop_error *error);
/* Runs what was submitted, ends the threads, frees the pool. No store may use it any more and no
 * other thread may be in a call on it. Not legal on one of its own threads. Legal for NULL and in a
 * forked child, where it does nothing. Blocking. */
COP_PUBLIC void cop_pool_close(cop_pool *pool);

/* The CPUs this process may use: affinity mask and cgroup quota respected; at least 1.
 * Thread-safe, blocking (reads files). */
COP_PUBLIC uint32_t cop_cpus_usable(void);

/* Changes the number of threads; returns once new ones run and leaving ones have ended the task they
 * are in; what they had not begun goes to others, with 0 threads to the caller. COP_E_INVALID,
 * COP_E_RANGE, COP_E_MEMORY (the count is then what could be started), COP_E_STATE on one of the
 * pool's own threads, COP_E_FORKED. Thread-safe, blocking. */
COP_PUBLIC cop_status cop_pool_resize(cop_pool *pool, uint32_t threads);
/* 0 for NULL and in a forked child. Thread-safe, wait-free. */
COP_PUBLIC uint32_t cop_pool_threads(const cop_pool *pool);

typedef void (*cop_task_function)(void *context);

/* Runs function(context) on some worker, once; with 0 threads: within this call, and not at all
 * (COP_E_IN_EVALUATION) where the store is not to be entered again: in a function of a computed atom,
 * or of a transact that holds the commit right. From a worker it goes on that worker's own deque.
 * COP_E_INVALID, COP_E_MEMORY, COP_E_CLOSING, COP_E_FORKED. Thread-safe, lock-free but for malloc. */
COP_PUBLIC cop_status cop_pool_submit(cop_pool *pool, cop_task_function function, void *context);

/* ---- parallel loops ---- */

/* Handles indices begin .. end-1. A negative result stops the loop: no range is begun after it. */
typedef cop_status (*cop_range_function)(void *context, uint64_t begin, uint64_t end);
/* Called on the calling thread every few milliseconds, with done increasing, and a last time with
 * done == total when all was handled; before that, non-zero stops the loop. */
typedef int (*cop_progress_function)(void *context, uint64_t done, uint64_t total);

typedef struct cop_parallel_options {
    size_t size;
    uint64_t chunk; /* indices a call at most; 0: sized from measured cost, about 50 us a call */
    cop_progress_function progress;
    void *progress_context;
    uint64_t deadline; /* absolute; COP_FOREVER: none. Checked between chunks */
} cop_parallel_options;

#define COP_PARALLEL_OPTIONS_INIT {sizeof(cop_parallel_options), 0, NULL, NULL, UINT64_MAX}

/*
 * Calls function on disjoint ranges that together are 0 .. count-1, on the calling thread and on idle
 * workers; returns when all calls have ended. pool NULL: the calling thread only. COP_OK when every
 * index was handled; the first failure (of lowest range) otherwise, COP_E_CANCELLED when progress
 * stopped it, COP_E_TIMEOUT, COP_E_INVALID, COP_E_FORKED. Without memory the calling thread does it
 * all. May be nested. Thread-safe, blocking.
 */
COP_PUBLIC cop_status cop_parallel_for(cop_pool *pool, uint64_t count, cop_range_function function,
                                       void *context, const cop_parallel_options *options);

/* ---- task groups ---- */

/* A task's own function. Long ones look at cop_task_cancelled. *result (starts as null) may hold text
 * only if it is the task's own until the group is closed. */
typedef cop_status (*cop_task_body)(cop_task_group *group, void *context, void **result);

typedef struct cop_task_outcome {
    cop_status status; /* the body's; COP_E_CANCELLED when it was not started, COP_E_PENDING */
    void *result;
} cop_task_outcome;

/* A group of tasks whose outcomes are all collected, in the order of adding. pool NULL, or without
 * threads: tasks run in the wait. Closed before the pool. COP_E_INVALID, COP_E_MEMORY, COP_E_FORKED.
 * Thread-safe. In a forked child the functions below answer COP_E_FORKED or do nothing, if the group
 * has a pool. */
COP_PUBLIC cop_status cop_task_group_open(cop_pool *pool, cop_task_group **group);
/* Adds a task; *index (may be NULL) is its place in the order. destroy (may be NULL) runs on context
 * once: after the body, or when it is cancelled unstarted. COP_E_INVALID, COP_E_MEMORY,
 * COP_E_CANCELLED (the group is); destroy does not run then. Thread-safe. */
COP_PUBLIC cop_status cop_task_group_add(cop_task_group *group, cop_task_body body, void *context,
                                         cop_destructor destroy, size_t *index);
/* Waits until every task has ended, working along: it begins no task after the deadline, but ends
 * the one it is in. COP_OK ("all settled": look at the outcomes), COP_E_TIMEOUT (tasks go on; wait
 * again or cancel), COP_E_INVALID. Thread-safe, blocking. */
COP_PUBLIC cop_status cop_task_group_wait(cop_task_group *group, uint64_t deadline);
/* Tasks not yet started end as COP_E_CANCELLED; running ones see cop_task_cancelled. Idempotent.
 * Thread-safe; a short lock, and the destructors of the tasks not started run in it. */
COP_PUBLIC void cop_task_group_cancel(cop_task_group *group);
/* Whether it was; false for NULL. Thread-safe, wait-free. */
COP_PUBLIC bool cop_task_cancelled(const cop_task_group *group);
/* Tasks added. Thread-safe. */
COP_PUBLIC size_t cop_task_group_count(const cop_task_group *group);
/* COP_E_RANGE, COP_E_INVALID. Thread-safe, wait-free. */
COP_PUBLIC cop_status cop_task_group_outcome(const cop_task_group *group, size_t index,
                                             cop_task_outcome *outcome);
/* Cancels, waits, frees. Legal for NULL, by one thread when no other is in a call on the group. Not inside one of its own tasks. Blocking. */
COP_PUBLIC void cop_task_group_close(cop_task_group *group);

/* ---- statistics ---- */

/* Counted since the pool was opened, but for the first two. */
typedef struct cop_pool_stats {
    uint32_t threads;
    uint32_t parked; /* of them, asleep for want of work */
    uint64_t tasks;  /* begun, by whatever thread */
    uint64_t steals; /* of them, from another worker's deque */
    uint64_t wakes;  /* parked workers woken */
    uint64_t parks;
    uint64_t stalls;            /* times a store's thread went to sleep for a worker's share */
    uint64_t regions;           /* times a store's thread shared work of its own */
    uint64_t chunks_by_workers; /* what workers took over of it */
} cop_pool_stats;

/* All 0 for NULL and in a forked child. Thread-safe, lock-free; numbers that change meanwhile may be
 * of different moments. */
COP_PUBLIC void cop_pool_stats_take(const cop_pool *pool, cop_pool_stats *stats);

#ifdef __cplusplus
}
#endif
#endif

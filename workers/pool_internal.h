/* SPDX-License-Identifier: MIT */
/*
 * What the files of this room share.
 *
 * A worker looks for work in this order: regions (a caller is working beside it), its own deque,
 * the injection queue, the others' deques. Finding none it searches on for a while, if not too many
 * do, and then parks on the pool's event count.
 *
 * Workers, their deques and the regions' slots are made when first needed and freed with the pool,
 * so that whoever found one may look at it whatever has happened since. Nobody is ever without a
 * thread to run his task: see resize in pool.c.
 */
#ifndef COP_WORKERS_POOL_INTERNAL_H
#define COP_WORKERS_POOL_INTERNAL_H

#include <coppice/pool.h>

#include <pthread.h>

#include "base/atomic.h"
#include "base/base.h"
#include "store/log.h"
#include "workers/alarms.h"
#include "workers/deque.h"
#include "workers/event_count.h"
#include "workers/inject.h"
#include "workers/listen.h"
#include "workers/region.h"
#include "workers/task.h"

#define COP_POOL_REGIONS_MAX 64
#define COP_POOL_NAME_MAX 10
#define COP_POOL_SPIN_NS UINT64_C(50000)

/* Written by the worker alone, read by statistics. */
typedef struct cop__worker_counts {
    _Atomic uint64_t tasks, steals, parks, chunks;
} cop__worker_counts;

typedef struct cop__worker {
    cop__deque deque;
    _Alignas(COP_CACHE_LINE) cop_pool *pool;
    uint32_t index;
    uint32_t victim; /* who was stolen from last */
    bool searching;
    uint64_t idle_since; /* 0: has found something since it last looked at the clock */
    pthread_t thread;
    cop__worker_counts counts;
    _Alignas(COP_CACHE_LINE) _Atomic uint32_t running; /* futex: its thread has started */
    _Atomic bool leave;
} cop__worker;

struct cop_pool {
    const _Atomic uint64_t *alive; /* reads 0 in a forked child */
    uint32_t cpus;                 /* that this process may use */
    uint32_t searchers;            /* that may be at once */
    uint64_t spin_ns;
    bool affinity;
    char name[COP_POOL_NAME_MAX + 1];
    cop__log log;
    pthread_mutex_t lock; /* resizing: held until those who leave have ended their tasks */
    pthread_mutex_t regions_lock; /* opening and closing regions, which such a task may do; listeners */
    cop__pool_listener *listeners;
    _Atomic uint32_t threads;
    _Atomic uint32_t workers_made;
    _Atomic uint32_t regions_made;
    _Atomic bool closing;
    _Atomic(cop__region *) regions[COP_POOL_REGIONS_MAX];
    _Atomic(cop__worker *) workers[COP_POOL_THREADS_MAX];
    cop__event_count events;
    cop__timers alarms;
    _Atomic uint32_t keeper; /* a parked worker sleeps until the earliest alarm */
    cop__inject inject;
    _Alignas(COP_CACHE_LINE) _Atomic uint64_t wakes;
    _Atomic uint64_t tasks_by_callers;
    _Atomic uint64_t stalls, runs; /* of regions that have been closed */
};

static inline bool
cop__pool_forked(const cop_pool *pool)
{
    return cop__unlikely(atomic_load_explicit(pool->alive, memory_order_relaxed) == 0);
}

/* The calling thread as a worker of this pool, or NULL. */
cop__worker *cop__worker_here(const cop_pool *pool);

/* A worker without a thread; NULL when out of memory. */
cop__worker *cop__worker_new(cop_pool *pool, uint32_t index);
void cop__worker_free(cop__worker *worker);
/* Starts its thread; false when the system refuses. */
bool cop__worker_start(cop__worker *worker);

/* What the caller has made visible is work for somebody: wakes up to n parked workers; or, post,
 * one unless somebody is searching. */
void cop__pool_notify(cop_pool *pool, uint32_t n);
void cop__pool_post(cop_pool *pool);

/* Submits the same task n times and then wakes as many workers at once; how many were accepted. */
uint32_t cop__pool_submit_many(cop_pool *pool, cop_task_function function, void *context,
                               uint32_t n);

/* As cop_pool_submit, but nothing runs within this call: without threads the task waits for one, or
 * for the pool's closing. */
cop_status cop__pool_submit_apart(cop_pool *pool, cop_task_function function, void *context);

/* The same for a task that is its owner's: nothing is allocated, and nothing waited for. */
cop_status cop__pool_submit_kept(cop_pool *pool, cop__task *task);

/* On the calling thread, which is no worker: runs what is in the injection queue. */
void cop__pool_drain(cop_pool *pool);

/* A counter that the caller alone writes. */
static inline void
cop__count_up(_Atomic uint64_t *counter, uint64_t n)
{
    uint64_t now = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, now + n, memory_order_relaxed);
}

static inline void
cop__pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#endif

/* SPDX-License-Identifier: MIT */
/*
 * Pools: opening, closing, resizing, submitting.
 *
 * NO TASK WITHOUT A THREAD. A task goes into the injection queue when the pool has threads. It may
 * have had its last one taken away meanwhile: submit pushes, then loads `threads`; resize stores 0,
 * and drains when the threads have ended; both in one order with the queue's own accesses. So
 * whichever comes second sees the other, and runs the task itself. With no threads and nothing in
 * between, submit runs it at once. (submit_apart does not: its tasks may wait for a thread.) In an
 * evaluation nothing of others may run: submit refuses there, and when the last thread went in between
 * the task waits for the next thread, for the next who submits elsewhere, or for the closing.
 *
 * `threads` says how many there are to be from now on when it shrinks, and how many there are when
 * it grows. Only who holds the lock changes it.
 */
#include "workers/pool_internal.h"

#include <sched.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "workers/cpus.h"

/* ---- opening ---- */

/* A page that the kernel wipes in a child; NULL when it cannot. */
static _Atomic uint64_t *
alive_page(void)
{
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    void *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return NULL;
    if (madvise(page, size, MADV_WIPEONFORK) != 0) {
        munmap(page, size);
        return NULL;
    }
    _Atomic uint64_t *alive = page;
    atomic_init(alive, 1);
    return alive;
}

static cop_status
options_take(const cop_pool_options *given, cop_pool_options *options, cop_error *error)
{
    *options = (cop_pool_options)COP_POOL_OPTIONS_INIT;
    if (given) {
        if (given->size < sizeof *options)
            return cop__fail(error, COP_E_INVALID,
                             "pool options of %zu bytes; initialise them with "
                             "COP_POOL_OPTIONS_INIT",
                             given->size);
        *options = *given;
    }
    if (!options->name)
        options->name = "coppice";
    if (!*options->name || strlen(options->name) > COP_POOL_NAME_MAX)
        return cop__fail(error, COP_E_RANGE, "a pool's name has 1 to %d bytes, not \"%s\"",
                         COP_POOL_NAME_MAX, options->name);
    if (options->threads != COP_POOL_AUTO && options->threads > COP_POOL_THREADS_MAX)
        return cop__fail(error, COP_E_RANGE, "%u threads; a pool has 0 to %u, or COP_POOL_AUTO",
                         options->threads, COP_POOL_THREADS_MAX);
    return COP_OK;
}

static cop_pool *
pool_new(const cop_pool_options *options)
{
    cop_pool *pool = aligned_alloc(COP_CACHE_LINE, sizeof *pool);
    if (!pool)
        return NULL;
    memset(pool, 0, sizeof *pool);
    pool->alive = alive_page();
    if (!pool->alive) {
        free(pool);
        return NULL;
    }
    pool->cpus = cop_cpus_usable();
    pool->searchers = pool->cpus > 2 ? pool->cpus - 1 : 1;
    pool->spin_ns = pool->cpus > 1 ? COP_POOL_SPIN_NS : 0;
    pool->affinity = options->affinity;
    pool->log = (cop__log){options->log, options->log_context, NULL};
    snprintf(pool->name, sizeof pool->name, "%s", options->name);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_mutex_init(&pool->regions_lock, NULL);
    cop__event_init(&pool->events);
    cop__inject_init(&pool->inject);
    cop__timers_init(&pool->alarms);
    return pool;
}

static void
pool_free(cop_pool *pool)
{
    for (uint32_t i = 0; i < cop__load_relaxed(&pool->workers_made); i++)
        cop__worker_free(cop__load_relaxed(&pool->workers[i]));
    for (uint32_t i = 0; i < cop__load_relaxed(&pool->regions_made); i++)
        cop__region_free(cop__load_relaxed(&pool->regions[i]));
    pthread_mutex_destroy(&pool->lock);
    pthread_mutex_destroy(&pool->regions_lock);
    cop__timers_end(&pool->alarms);
    munmap((void *)(uintptr_t)pool->alive, (size_t)sysconf(_SC_PAGESIZE));
    free(pool);
}

cop_status
cop_pool_open(const cop_pool_options *given, cop_pool **pool, cop_error *error)
{
    cop_pool_options options;
    if (!pool)
        return cop__fail(error, COP_E_INVALID, "no place for the pool");
    *pool = NULL;
    cop_status status = options_take(given, &options, error);
    if (status != COP_OK)
        return status;
    cop_pool *made = pool_new(&options);
    if (!made)
        return cop__fail(error, COP_E_MEMORY, "out of memory for a pool");
    uint32_t threads = options.threads == COP_POOL_AUTO ? made->cpus - 1 : options.threads;
    if (threads > COP_POOL_THREADS_MAX)
        threads = COP_POOL_THREADS_MAX;
    if (cop_pool_resize(made, threads) != COP_OK) {
        uint32_t started = cop_pool_threads(made);
        cop_pool_close(made);
        return cop__fail(error, COP_E_MEMORY, "%u of %u threads could be started", started,
                         threads);
    }
    *pool = made;
    return COP_OK;
}

/* ---- resizing and closing ---- */

/* The worker at a place, made when it is first wanted. */
static cop__worker *
worker_at(cop_pool *pool, uint32_t index)
{
    if (index < cop__load_relaxed(&pool->workers_made))
        return cop__load_relaxed(&pool->workers[index]);
    cop__worker *worker = cop__worker_new(pool, index);
    if (!worker)
        return NULL;
    cop__store_relaxed(&pool->workers[index], worker);
    cop__store_release(&pool->workers_made, index + 1);
    return worker;
}

void
cop__pool_listen(cop_pool *pool, cop__pool_listener *listener)
{
    if (cop__pool_forked(pool))
        return;
    pthread_mutex_lock(&pool->regions_lock);
    listener->next = pool->listeners;
    pool->listeners = listener;
    pthread_mutex_unlock(&pool->regions_lock);
}

void
cop__pool_unlisten(cop_pool *pool, cop__pool_listener *listener)
{
    if (cop__pool_forked(pool))
        return;
    pthread_mutex_lock(&pool->regions_lock);
    cop__pool_listener **link = &pool->listeners;
    while (*link != NULL && *link != listener)
        link = &(*link)->next;
    if (*link != NULL)
        *link = listener->next;
    pthread_mutex_unlock(&pool->regions_lock);
}

/* What was due while there was no thread may have nobody else to tell of it. */
static void
tell_listeners(cop_pool *pool)
{
    pthread_mutex_lock(&pool->regions_lock);
    for (cop__pool_listener *l = pool->listeners; l != NULL; l = l->next)
        l->has_threads(l->context);
    pthread_mutex_unlock(&pool->regions_lock);
}

static cop_status
grow(cop_pool *pool, uint32_t now, uint32_t threads)
{
    for (; now < threads; now++) {
        cop__worker *worker = worker_at(pool, now);
        if (!worker || !cop__worker_start(worker)) {
            cop__log_write(&pool->log, COP_LOG_ERROR, "%s: %u of %u threads could be started",
                           pool->name, now, threads);
            return COP_E_MEMORY;
        }
        cop__store_seq_cst(&pool->threads, now + 1);
    }
    return COP_OK;
}

static void
shrink(cop_pool *pool, uint32_t now, uint32_t threads)
{
    cop__store_seq_cst(&pool->threads, threads);
    for (uint32_t i = threads; i < now; i++)
        cop__store_seq_cst(&cop__load_relaxed(&pool->workers[i])->leave, true);
    cop__event_stir(&pool->events);
    for (uint32_t i = threads; i < now; i++)
        pthread_join(cop__load_relaxed(&pool->workers[i])->thread, NULL);
}

cop_status
cop_pool_resize(cop_pool *pool, uint32_t threads)
{
    cop_status status = COP_OK;
    if (!pool)
        return COP_E_INVALID;
    if (cop__pool_forked(pool))
        return COP_E_FORKED;
    if (threads > COP_POOL_THREADS_MAX)
        return COP_E_RANGE;
    if (cop__worker_here(pool))
        return COP_E_STATE;
    pthread_mutex_lock(&pool->lock);
    uint32_t now = cop__load_relaxed(&pool->threads);
    if (threads > now)
        status = grow(pool, now, threads);
    else if (threads < now)
        shrink(pool, now, threads);
    pthread_mutex_unlock(&pool->lock);
    if (now == 0 && cop__load_seq_cst(&pool->threads) > 0)
        tell_listeners(pool);
    if (threads == 0)
        cop__pool_drain(pool); /* without the lock: tasks may call anything */
    return status;
}

void
cop_pool_close(cop_pool *pool)
{
    if (!pool || cop__pool_forked(pool))
        return;
    COP_ALWAYS(!cop__worker_here(pool)); /* it would wait for itself */
    cop__store_seq_cst(&pool->closing, true);
    (void)cop_pool_resize(pool, 0);
    pool_free(pool);
}

uint32_t
cop_pool_threads(const cop_pool *pool)
{
    return !pool || cop__pool_forked(pool) ? 0 : cop__load_relaxed(&pool->threads);
}

/* ---- waking ---- */

void
cop__pool_notify(cop_pool *pool, uint32_t n)
{
    uint32_t woken = cop__event_notify(&pool->events, n);
    if (woken > 0)
        cop__add_relaxed(&pool->wakes, (uint64_t)woken);
}

void
cop__pool_post(cop_pool *pool)
{
    uint32_t woken = cop__event_post(&pool->events);
    if (woken > 0)
        cop__add_relaxed(&pool->wakes, (uint64_t)woken);
}

/* ---- submitting ---- */

static void
run_here(cop_pool *pool, cop_task_function function, void *context)
{
    cop__add_relaxed(&pool->tasks_by_callers, UINT64_C(1));
    function(context);
}

/* Ends when nothing is pending. What is pending and cannot be taken is in the hands of another
 * thread for some instructions: a push not finished, or somebody else who drains. */
void
cop__pool_drain(cop_pool *pool)
{
    cop__queue_node *node;
    while (cop__inject_pending(&pool->inject) > 0) {
        if (cop__inject_take(&pool->inject, &node, 1) == 0) {
            sched_yield();
            continue;
        }
        cop__task *task = (cop__task *)(void *)node;
        cop_task_function function = task->function;
        void *context = task->context;
        if (!task->kept)
            free(task);
        run_here(pool, function, context);
    }
}

/* Onto the worker's own deque, or into the injection queue. Nobody is notified. */
static cop_status
put(cop_pool *pool, cop__worker *worker, cop_task_function function, void *context)
{
    cop__task *task = malloc(sizeof *task);
    if (!task)
        return COP_E_MEMORY;
    task->function = function;
    task->context = context;
    task->kept = false;
    if (!worker || !cop__deque_push(&worker->deque, task))
        cop__inject_push(&pool->inject, &task->node);
    return COP_OK;
}

/* After a put and its notification: see the top of this file. */
static void
drain_if_alone(cop_pool *pool, const cop__worker *worker)
{
    if (!worker && cop__unlikely(cop__load_seq_cst(&pool->threads) == 0) && !cop__evaluating)
        cop__pool_drain(pool);
}

cop_status
cop_pool_submit(cop_pool *pool, cop_task_function function, void *context)
{
    if (!pool || !function)
        return COP_E_INVALID;
    if (cop__pool_forked(pool))
        return COP_E_FORKED;
    if (cop__unlikely(cop__load_relaxed(&pool->closing)))
        return COP_E_CLOSING;
    cop__worker *worker = cop__worker_here(pool);
    if (!worker && cop__load_relaxed(&pool->threads) == 0) {
        if (cop__evaluating)
            return COP_E_IN_EVALUATION;
        run_here(pool, function, context);
        drain_if_alone(pool, worker);
        return COP_OK;
    }
    cop_status status = put(pool, worker, function, context);
    if (status != COP_OK)
        return status;
    cop__pool_post(pool);
    drain_if_alone(pool, worker);
    return COP_OK;
}

cop_status
cop__pool_submit_apart(cop_pool *pool, cop_task_function function, void *context)
{
    if (cop__pool_forked(pool))
        return COP_E_FORKED;
    if (cop__unlikely(cop__load_relaxed(&pool->closing)))
        return COP_E_CLOSING;
    cop_status status = put(pool, cop__worker_here(pool), function, context);
    if (status == COP_OK)
        cop__pool_post(pool);
    return status;
}

cop_status
cop__pool_submit_kept(cop_pool *pool, cop__task *task)
{
    if (cop__pool_forked(pool))
        return COP_E_FORKED;
    if (cop__unlikely(cop__load_relaxed(&pool->closing)))
        return COP_E_CLOSING;
    cop__inject_push(&pool->inject, &task->node);
    cop__pool_post(pool);
    return COP_OK;
}

uint32_t
cop__pool_submit_many(cop_pool *pool, cop_task_function function, void *context, uint32_t n)
{
    uint32_t accepted = 0;
    cop__worker *worker = cop__worker_here(pool);
    if (cop__load_relaxed(&pool->closing))
        return 0;
    while (accepted < n && put(pool, worker, function, context) == COP_OK)
        accepted++;
    cop__pool_notify(pool, accepted);
    drain_if_alone(pool, worker);
    return accepted;
}

/* ---- statistics ---- */

void
cop_pool_stats_take(const cop_pool *pool, cop_pool_stats *stats)
{
    *stats = (cop_pool_stats){0};
    if (!pool || cop__pool_forked(pool))
        return;
    /* A look only; the parameter is const for the caller's sake. */
    cop_pool *p = (cop_pool *)(uintptr_t)pool;
    stats->threads = cop__load_relaxed(&p->threads);
    stats->parked = cop__event_parked(&p->events);
    stats->tasks = cop__load_relaxed(&p->tasks_by_callers);
    stats->wakes = cop__load_relaxed(&p->wakes);
    stats->stalls = cop__load_relaxed(&p->stalls);
    stats->regions = cop__load_relaxed(&p->runs);
    uint32_t workers = cop__load_acquire(&p->workers_made);
    for (uint32_t i = 0; i < workers; i++) {
        const cop__worker_counts *counts = &cop__load_relaxed(&p->workers[i])->counts;
        stats->tasks += cop__load_relaxed(&counts->tasks);
        stats->steals += cop__load_relaxed(&counts->steals);
        stats->parks += cop__load_relaxed(&counts->parks);
        stats->chunks_by_workers += cop__load_relaxed(&counts->chunks);
    }
    uint32_t regions = cop__load_acquire(&p->regions_made);
    for (uint32_t i = 0; i < regions; i++)
        cop__region_counts(cop__load_relaxed(&p->regions[i]), &stats->regions, &stats->stalls);
}

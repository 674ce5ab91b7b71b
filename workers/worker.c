/* SPDX-License-Identifier: MIT */
/*
 * A worker's life: look for work, search a while, park; and leave when asked to.
 *
 * NOTHING IS LOST. Work is made visible before anybody is notified of it. A worker parks only when
 * it has looked everywhere after it registered (event_count.h). One that finds work and was the
 * last searcher looks whether there is more and posts, because others' posts may have relied on it.
 * One that takes a handful out of the injection queue posts for what is left there and for what it
 * has put on its own deque. One that leaves puts its deque into the injection queue.
 */
#include "workers/pool_internal.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>

#include "workers/cpus.h"

#define HANDFUL 32u
#define CPUS_MAX (COP_POOL_THREADS_MAX + 1) /* that workers are bound to: one is the caller's */
#define LINGER 400u /* looks at a region that has just run out of items */
#define LOOKS_A_TIME 16u /* at everything, between two looks at the clock */

static _Thread_local cop__worker *here;

cop__worker *
cop__worker_here(const cop_pool *pool)
{
    return here && here->pool == pool ? here : NULL;
}

/* What a look found: a chunk of a region, or a task. */
typedef struct found {
    cop__chunk chunk; /* region NULL: a task */
    cop__task *task;
} found;

static unsigned
lane_of(const cop__worker *worker)
{
    return worker->index + 1;
}

/* ---- looking ---- */

static bool
find_chunk(cop__worker *worker, cop__chunk *chunk)
{
    cop_pool *pool = worker->pool;
    uint32_t regions = cop__load_acquire(&pool->regions_made);
    for (uint32_t i = 0; i < regions; i++)
        if (cop__region_claim(cop__load_relaxed(&pool->regions[i]), lane_of(worker), chunk))
            return true;
    return false;
}

/* Puts a task where others find it, whatever happens. */
static void
keep_task(cop__worker *worker, cop__task *task)
{
    if (!cop__deque_push(&worker->deque, task))
        cop__inject_push(&worker->pool->inject, &task->node);
}

/* A handful of submitted tasks: the oldest to run, the others onto the deque, so that they are
 * taken from it in the order they came. */
static cop__task *
find_submitted(cop__worker *worker)
{
    cop_pool *pool = worker->pool;
    cop__queue_node *nodes[HANDFUL];
    uint64_t share = cop__inject_pending(&pool->inject);
    if (share == 0)
        return NULL;
    share = share / (cop__load_relaxed(&pool->threads) + 1) + 1;
    uint32_t n =
        cop__inject_take(&pool->inject, nodes, share < HANDFUL ? (uint32_t)share : HANDFUL);
    for (uint32_t i = n; i-- > 1;)
        keep_task(worker, (cop__task *)(void *)nodes[i]);
    if (n > 1 || (n > 0 && cop__inject_pending(&pool->inject) > 0))
        cop__pool_post(pool);
    return n > 0 ? (cop__task *)(void *)nodes[0] : NULL;
}

static cop__task *
steal(cop__worker *worker)
{
    cop_pool *pool = worker->pool;
    uint32_t made = cop__load_acquire(&pool->workers_made);
    for (uint32_t i = 0; i < made; i++) {
        uint32_t victim = (worker->victim + i) % made;
        cop__worker *other = cop__load_relaxed(&pool->workers[victim]);
        cop__task *task = other == worker ? NULL : cop__deque_steal(&other->deque);
        if (task) {
            worker->victim = victim;
            cop__count_up(&worker->counts.steals, 1);
            return task;
        }
    }
    return NULL;
}

static bool
find(cop__worker *worker, found *f)
{
    f->chunk.region = NULL;
    if (find_chunk(worker, &f->chunk))
        return true;
    f->task = cop__deque_take(&worker->deque);
    if (!f->task)
        f->task = find_submitted(worker);
    if (!f->task)
        f->task = steal(worker);
    return f->task != NULL;
}

static bool
more_work(cop_pool *pool)
{
    uint32_t made = cop__load_acquire(&pool->workers_made);
    if (cop__inject_pending(&pool->inject) > 0)
        return true;
    for (uint32_t i = 0; i < made; i++)
        if (!cop__deque_empty(&cop__load_relaxed(&pool->workers[i])->deque))
            return true;
    return false;
}

/* ---- working ---- */

static void
stop_searching(cop__worker *worker)
{
    if (!worker->searching)
        return;
    worker->searching = false;
    if (cop__event_search_end(&worker->pool->events) && more_work(worker->pool))
        cop__pool_post(worker->pool);
}

static bool
asked_to_leave(cop__worker *worker)
{
    return cop__load_seq_cst(&worker->leave);
}

/* Not while something else is to be done: a region's runs may follow each other without end. */
static bool
may_linger(cop__worker *worker)
{
    return worker->pool->cpus > 1 && !asked_to_leave(worker) &&
           cop__inject_pending(&worker->pool->inject) == 0 && cop__deque_empty(&worker->deque);
}

/* Chunks of a region, and of its next run if that begins within a moment: the levels of a wave follow
 * each other faster than a whole round of looking for work. */
static void
run_chunks(cop__worker *worker, cop__chunk *chunk)
{
    cop__region *region = chunk->region;
    bool more = true;
    while (more) {
        cop__count_up(&worker->counts.chunks, cop__region_work(chunk, lane_of(worker)));
        more = false;
        for (uint32_t i = 0; i < LINGER && !more && may_linger(worker); i++) {
            cop__pause();
            more = cop__region_claim(region, lane_of(worker), chunk);
        }
    }
}

static void
run_task(cop__worker *worker, cop__task *task)
{
    cop_task_function function = task->function;
    void *context = task->context;
    if (!task->kept)
        free(task);
    cop__count_up(&worker->counts.tasks, 1);
    function(context);
}

static void
work(cop__worker *worker, found *f)
{
    stop_searching(worker);
    worker->idle_since = 0;
    if (f->chunk.region)
        run_chunks(worker, &f->chunk);
    else
        run_task(worker, f->task);
}

/* ---- idling ---- */

/* True while it is too early to park. */
static bool
search_on(cop__worker *worker, uint32_t looks)
{
    cop_pool *pool = worker->pool;
    if (pool->spin_ns == 0)
        return false;
    if (!worker->searching)
        worker->searching = cop__event_search_begin(&pool->events, pool->searchers);
    if (!worker->searching)
        return false;
    if (looks % LOOKS_A_TIME != 0)
        return true;
    uint64_t now = cop__clock_ns();
    if (worker->idle_since == 0)
        worker->idle_since = now;
    return now - worker->idle_since < pool->spin_ns;
}

/* True when it is for work. */
static bool
sleep_until_needed(cop__worker *worker, uint32_t epoch)
{
    cop_pool *pool = worker->pool;
    bool keeper = false, token = false, leave = false;
    while (!token && !leave) {
        uint64_t until = cop__pool_alarm_park(pool, &keeper);
        token = cop__event_wait_until(&pool->events, &epoch, until);
        leave = !token && (asked_to_leave(worker) || cop__pool_alarm_due(pool));
    }
    if (leave)
        cop__event_cancel(&pool->events);
    cop__pool_alarm_unpark(pool, keeper);
    return token;
}

static void
park(cop__worker *worker)
{
    found f;
    uint32_t epoch = cop__event_prepare(&worker->pool->events, worker->searching);
    worker->searching = false;
    worker->idle_since = 0;
    if (asked_to_leave(worker)) {
        cop__event_cancel(&worker->pool->events);
    } else if (find(worker, &f)) {
        cop__event_cancel(&worker->pool->events);
        work(worker, &f);
    } else {
        cop__count_up(&worker->counts.parks, 1);
        worker->searching = sleep_until_needed(worker, epoch);
    }
}

/* ---- coming and going ---- */

static void
hand_over(cop__worker *worker)
{
    cop_pool *pool = worker->pool;
    cop__task *task;
    stop_searching(worker);
    while ((task = cop__deque_take(&worker->deque)) != NULL)
        cop__inject_push(&pool->inject, &task->node);
    /* Also when it had none: a token it has used up may have been meant for other work. */
    cop__pool_post(pool);
}

/* Leaving at once is for resizing; a pool that closes has its work done first. */
static bool
may_leave(cop__worker *worker, bool idle)
{
    return asked_to_leave(worker) && (idle || !cop__load_relaxed(&worker->pool->closing));
}

static void *
worker_main(void *argument)
{
    cop__worker *worker = argument;
    found f;
    here = worker;
    cop__store_release(&worker->running, 1u);
    cop__futex_wake(&worker->running, 1);
    for (uint32_t looks = 0;;) {
        if (may_leave(worker, false))
            break;
        cop__pool_alarms_run(worker->pool);
        if (find(worker, &f)) {
            work(worker, &f);
            looks = 0;
        } else if (may_leave(worker, true)) {
            break;
        } else if (search_on(worker, looks++)) {
            cop__pause();
        } else {
            park(worker);
            looks = 0;
        }
    }
    hand_over(worker);
    here = NULL;
    return NULL;
}

cop__worker *
cop__worker_new(cop_pool *pool, uint32_t index)
{
    cop__worker *worker = aligned_alloc(COP_CACHE_LINE, sizeof *worker);
    if (!worker)
        return NULL;
    memset(worker, 0, sizeof *worker);
    worker->pool = pool;
    worker->index = index;
    worker->victim = index;
    if (!cop__deque_init(&worker->deque)) {
        free(worker);
        return NULL;
    }
    return worker;
}

void
cop__worker_free(cop__worker *worker)
{
    cop__deque_end(&worker->deque);
    free(worker);
}

/* The name and the CPU are conveniences: what the system refuses of them is told to the log. */
static void
dress(const cop__worker *worker)
{
    const cop_pool *pool = worker->pool;
    char name[16];
    uint32_t numbers[CPUS_MAX];
    snprintf(name, sizeof name, "%s-%u", pool->name, worker->index % COP_POOL_THREADS_MAX);
    pthread_setname_np(worker->thread, name);
    if (!pool->affinity)
        return;
    uint32_t cpus = cop__cpus_of_mask(numbers, CPUS_MAX);
    if (cpus == 0)
        return;
    uint32_t number = numbers[(worker->index + 1) % cpus], wide = number + 1;
    cpu_set_t *mask = CPU_ALLOC(wide);
    if (!mask)
        return;
    size_t size = CPU_ALLOC_SIZE(wide);
    CPU_ZERO_S(size, mask);
    CPU_SET_S(number, size, mask);
    if (pthread_setaffinity_np(worker->thread, size, mask) != 0)
        cop__log_write(&pool->log, COP_LOG_WARNING, "%s: cannot be bound to CPU %u", name, number);
    CPU_FREE(mask);
}

bool
cop__worker_start(cop__worker *worker)
{
    sigset_t all, before;
    cop__store_relaxed(&worker->leave, false);
    cop__store_relaxed(&worker->running, 0u);
    worker->searching = false;
    worker->idle_since = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&worker->thread, NULL, worker_main, worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed)
        return false;
    dress(worker);
    while (cop__load_acquire(&worker->running) == 0)
        cop__futex_wait(&worker->running, 0, UINT64_MAX);
    return true;
}

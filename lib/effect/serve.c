/* SPDX-License-Identifier: MIT */
/*
 * Who runs effects: queues, the pool's workers, settling.
 *
 * THE POOL may be taken away and closed while another thread is about to submit a task to it. So
 * whoever submits counts itself first and loads the pool's address second; who takes the pool away
 * changes the address first and waits for the count second. A task that is still in the pool then
 * finds the store without it and does nothing. Whoever submits may hold the commit right, so nothing
 * is run within that call, neither this task nor those of others: a pool that loses its last thread
 * meanwhile keeps the task for the next one.
 *
 * A pool without threads is not asked. When it gets some it tells (listen), and is asked then: whoever
 * posts sets a bit and then loads the number of threads, the pool stores the number and then has the
 * bits looked at, all sequentially consistent.
 *
 * REFUSED. A worker that finds no memory or no reader slot has nobody to tell, and what would make
 * either free calls nobody. So it pauses, and comes again behind the pool's other tasks; the log
 * says so once, until one of them gets on again.
 */
#include <sched.h>
#include <time.h>

#include "effect/effects.h"

#include "commit/background.h"
#include "commit/combiner.h"
#include "graph/lazy.h"
#include "reclaim/gate.h"
#include "store/log.h"
#include "workers/pool_internal.h"

#define TASK_RUNS 4096u   /* a worker's task, before it asks for another one */
#define AGAIN_NS 1000000  /* pause of a worker that was refused what it needs */
#define SETTLE_RUNS 1024u /* between two looks at the deadline */

/* ---- the pool ---- */

/* An effect that waits for a pool works along there, and may come by its own queue again: it is
 * left to the search that follows the effect. */
static bool
in_service_of(const cop_effect_queue *queue)
{
    const cop__effect_frame *frame = cop__effect_here;
    while (frame != NULL && frame->queue != queue)
        frame = frame->up;
    return frame != NULL;
}

/* How a worker's service ended. */
static void
serve_ended(cop_store *store, cop_status status)
{
    cop__effects *effects = &store->effects;
    struct timespec pause = {0, AGAIN_NS};
    if (status != COP_E_MEMORY && status != COP_E_LIMIT && status != COP_E_PINS) {
        cop__store_relaxed(&effects->refused, false);
        return;
    }
    if (!cop__swap_acq_rel(&effects->refused, true))
        cop__log_write(&store->log, COP_LOG_WARNING,
                       "effects or background atoms have to wait: %s: %s", cop_status_name(status),
                       cop_status_message(status));
    (void)nanosleep(&pause, NULL);
    cop__effect_queue_signal(&effects->own.queue);
}

static void
serve_task(void *context)
{
    cop_store *store = context;
    struct cop__gate *gate = store->gate;
    cop_effect_queue *queue = &store->effects.own;
    cop__background_come(store);
    if (!cop__evaluating && !in_service_of(queue) &&
        cop__load_seq_cst(&store->effects.pool) != NULL) {
        cop_status background =
            cop__background_any(store) ? cop__background_run(store, TASK_RUNS, NULL) : COP_OK;
        cop_status status = cop__effects_serve(queue, TASK_RUNS, NULL);
        serve_ended(store, status == COP_OK ? background : status);
    } else {
        (void)cop__swap_seq_cst(&queue->queue.asked, 0u);
        if (cop__background_any(store))
            cop__fd_signal(store); /* who polls comes in its place */
    }
    cop__gate_end_use(gate);
}

cop_pool *
cop__effects_borrow_pool(cop_store *store)
{
    if (cop__load_relaxed(&store->effects.pool) == NULL)
        return NULL;
    cop__add_seq_cst(&store->effects.asking, 1u);
    cop_pool *pool = cop__load_seq_cst(&store->effects.pool);
    if (pool == NULL)
        cop__sub_seq_cst(&store->effects.asking, 1u);
    return pool;
}

void
cop__effects_return_pool(cop_store *store)
{
    cop__sub_seq_cst(&store->effects.asking, 1u);
}

/* kept NULL: a task with this function and context is made. */
static bool
submit(cop_store *store, cop__task *kept, cop_task_function function, void *context)
{
    bool asked = false;
    cop_pool *pool = cop__effects_borrow_pool(store);
    if (pool == NULL)
        return false;
    if (!cop__pool_forked(pool) && cop__load_seq_cst(&pool->threads) > 0) {
        cop__gate_use(store->gate);
        asked = (kept != NULL ? cop__pool_submit_kept(pool, kept)
                              : cop__pool_submit_apart(pool, function, context)) == COP_OK;
        if (!asked)
            cop__gate_end_use(store->gate);
    }
    cop__effects_return_pool(store);
    return asked;
}

bool
cop__effects_submit(cop_store *store, cop_task_function task, void *context)
{
    return submit(store, NULL, task, context);
}

bool
cop__effects_submit_kept(cop_store *store, cop__task *task)
{
    return submit(store, task, NULL, NULL);
}

/* On a worker of the pool. The use of the gate is the alarm's. */
static void
alarm_rings(void *context)
{
    cop_store *store = context;
    cop__timers_run(&store->timers, cop__clock_ns());
    cop__effects_alarm(store); /* for those that are left */
    cop__gate_end_use(store->gate);
}

void
cop__effects_alarm(void *context)
{
    cop_store *store = context;
    uint64_t due = cop__timers_earliest(&store->timers);
    cop_pool *pool = due != COP_TIMER_NEVER ? cop__effects_borrow_pool(store) : NULL;
    if (pool == NULL)
        return;
    if (!cop__load_seq_cst(&store->effects.moving)) {
        cop__gate_use(store->gate);
        if (!cop__pool_alarm_set(pool, &store->alarm, due))
            cop__gate_end_use(store->gate);
    }
    cop__effects_return_pool(store);
}

void
cop__effects_alarm_init(cop_store *store)
{
    store->alarm = (cop__alarm){.function = alarm_rings, .context = store};
    store->timers.sooner = cop__effects_alarm;
    store->timers.context = store;
}

uint32_t
cop__effects_threads(cop_store *store)
{
    cop_pool *pool = cop__effects_borrow_pool(store);
    if (pool == NULL)
        return 0;
    uint32_t threads = cop_pool_threads(pool);
    cop__effects_return_pool(store);
    return threads;
}

void
cop__effects_has_threads(cop_store *store)
{
    cop__effect_queue *queue = &store->effects.own.queue;
    (void)cop__swap_seq_cst(&queue->asked, 0u); /* who has set it may be about to be refused */
    if (cop__effect_queue_ready(queue))
        cop__effect_queue_signal(queue);
    cop__background_come(store);
    if (cop__background_any(store))
        cop__background_due(store);
    cop__effects_alarm(store);
}

/* Needs the right. */
static void
listen_to(cop_store *store, cop_pool *had, cop_pool *pool)
{
    cop__pool_listener *listener = &store->effects.listener;
    if (had != NULL)
        cop__pool_unlisten(had, listener);
    if (pool != NULL)
        cop__pool_listen(pool, listener);
}

bool
cop__effects_ask(void *context)
{
    return cop__effects_submit(context, serve_task, context);
}

void
cop__effects_set_pool(cop_store *store, cop_pool *pool)
{
    /* The alarm is one, and each pool has a lock of its own for those set in it: nobody sets it in the
     * next pool before it has been taken back from this one. Who found it moving changed the timers
     * before, and they are looked at last. */
    cop__store_seq_cst(&store->effects.moving, true);
    cop_pool *had = cop__swap_seq_cst(&store->effects.pool, pool);
    listen_to(store, had, pool);
    while (cop__load_seq_cst(&store->effects.asking) > 0)
        sched_yield();
    if (had != NULL && cop__pool_alarm_remove(had, &store->alarm))
        cop__gate_end_use(store->gate);
    cop__store_seq_cst(&store->effects.moving, false);
    cop__effects_alarm(store);
    cop__store_seq_cst(&store->effects.own.queue.nobody, pool == NULL);
    (void)cop__swap_seq_cst(&store->effects.own.queue.asked, 0u); /* nobody may come for it now */
    if (cop__effect_queue_ready(&store->effects.own.queue))
        cop__effect_queue_signal(&store->effects.own.queue);
}

/* ---- queues ---- */

cop_status
cop_effect_queue_open(cop_store *store, cop_effect_queue **queue)
{
    *queue = NULL;
    cop_status status = cop__store_usable(store);
    if (status != COP_OK)
        return status;
    cop_effect_queue *q =
        cop__memory_zalloc(store->memory, COP_MEMORY_GRAPH, sizeof *q, COP_CACHE_LINE);
    if (q == NULL)
        return COP_E_MEMORY;
    cop__gate_use(store->gate);
    q->store = store;
    cop__store_relaxed(&q->references, 1u);
    cop__effect_queue_options options = store->effects.own.queue.options;
    options.serve = NULL;
    cop__effect_queue_init(&q->queue, &store->effects.rest, store->memory, &options);
    *queue = q;
    return COP_OK;
}

void
cop__effect_queue_drop(cop_effect_queue *queue)
{
    if (cop__sub_acq_rel(&queue->references, 1u) != 1)
        return;
    cop_store *store = queue->store;
    struct cop__gate *gate = store->gate;
    cop__effect_queue_end(&queue->queue);
    cop__memory_free(store->memory, COP_MEMORY_GRAPH, queue, sizeof *queue, COP_CACHE_LINE);
    cop__gate_end_use(gate);
}

void
cop_effect_queue_close(cop_effect_queue *queue)
{
    if (queue != NULL && atomic_load_explicit(queue->store->alive, memory_order_relaxed) != 0)
        cop__effect_queue_drop(queue);
}

cop_status
cop_effect_queue_fd(cop_effect_queue *queue, int *fd)
{
    *fd = -1;
    cop_status status = cop__store_usable(queue->store);
    return status == COP_OK ? cop__effect_queue_fd(&queue->queue, fd) : status;
}

/* ---- running ---- */

/* The store's own queue stands for its background atoms too: they come first, so that effects see
 * their results. */
static cop_status
run_queue(cop_store *store, cop_effect_queue *queue, uint64_t most, uint64_t *ran)
{
    uint64_t results = 0, runs = 0;
    cop_status status = COP_OK;
    if (queue != NULL)
        return cop__effects_serve(queue, most, ran);
    if (cop__background_any(store))
        status = cop__background_run(store, most, &results);
    if (status == COP_OK && (most == 0 || results < most))
        status = cop__effects_serve(&store->effects.own, most > 0 ? most - results : 0, &runs);
    if (ran != NULL)
        *ran = results + runs;
    return status;
}

cop_status
cop_effects_run(cop_store *store, cop_effect_queue *queue, uint64_t most, uint64_t *ran)
{
    if (ran != NULL)
        *ran = 0;
    cop_status status = cop__store_may_wait(store);
    if (status == COP_OK && queue != NULL && queue->store != store)
        status = COP_E_INVALID;
    if (status != COP_OK)
        return status;
    struct cop__gate *gate = store->gate;
    cop__gate_use(gate);
    status = run_queue(store, queue, most, ran);
    cop__gate_end_use(gate);
    return status;
}

static bool
in_effect_of(const cop_store *store)
{
    const cop__effect_frame *frame = cop__effect_here;
    while (frame != NULL && frame->store != store)
        frame = frame->up;
    return frame != NULL;
}

static cop_status
settle(cop_store *store, uint64_t deadline)
{
    cop__effects *effects = &store->effects;
    cop_status status = COP_OK;
    while (status == COP_OK &&
           !(cop__effects_at_rest(&effects->rest) && cop__load_seq_cst(&effects->unlinked) == 0)) {
        if (cop__unlikely(cop__load_seq_cst(&effects->unlinked) > 0))
            cop__effects_post_unlinked(store, NULL);
        status = cop__effects_serve(&effects->own, SETTLE_RUNS, NULL);
        if (status != COP_OK || cop__effects_at_rest(&effects->rest))
            continue;
        if (deadline != COP_FOREVER && cop__clock_ns() >= deadline)
            status = COP_E_TIMEOUT;
        else
            status = cop__effects_wait(&effects->rest, &effects->own.queue, true, deadline);
    }
    return status;
}

cop_status
cop_effects_settle(cop_store *store, uint64_t deadline)
{
    cop_status status = cop__store_usable(store);
    if (status == COP_OK && (cop__evaluating || in_effect_of(store)))
        status = COP_E_IN_EVALUATION;
    if (status != COP_OK)
        return status;
    struct cop__gate *gate = store->gate;
    cop__gate_use(gate);
    uint64_t results = 0;
    do {
        status = settle(store, deadline);
        if (status == COP_OK && cop__background_any(store))
            status = cop__background_run(store, 0, &results);
        if (status == COP_OK && results > 0 && deadline != COP_FOREVER &&
            cop__clock_ns() >= deadline)
            status = COP_E_TIMEOUT;
    } while (status == COP_OK && results > 0);
    cop__gate_end_use(gate);
    return status;
}

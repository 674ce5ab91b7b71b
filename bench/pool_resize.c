/* SPDX-License-Identifier: MIT */
/*
 * One thread submits tasks as fast as the pool takes them, another shares runs of items with it, each
 * a unit of work of some microseconds; meanwhile a third changes the number of threads. Every unit is
 * counted when it runs, and must have run once.
 */
#include "bench/pool_resize.h"

#include <coppice/pool.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

#include "base/base.h"
#include "workers/region.h"

#define CHANGES 10u
#define PHASE_NS 200000000 /* before, during and after: as long each */
#define WINDOW 256u        /* tasks submitted and not run, at most */
#define ITEMS 128u         /* of a run */
#define STEPS 2000u        /* multiplications in a unit: some microseconds */

typedef struct load {
    cop_pool *pool;
    cop__region *region;
    atomic_bool stop;
    _Alignas(64) _Atomic uint64_t submitted;
    _Alignas(64) _Atomic uint64_t tasks; /* that ran */
    _Alignas(64) _Atomic uint64_t runs;
    _Alignas(64) _Atomic uint64_t items;
    _Atomic uint32_t times[ITEMS]; /* each item ran */
} load;

static void
unit_of_work(void)
{
    uint64_t x = 1;
    for (unsigned i = 0; i < STEPS; i++) {
        x = x * UINT64_C(6364136223846793005) + 1442695040888963407u;
        __asm__ volatile("" : "+r"(x));
    }
}

static void
task(void *context)
{
    load *l = context;
    unit_of_work();
    atomic_fetch_add_explicit(&l->tasks, 1, memory_order_relaxed);
}

static void *
submit_tasks(void *context)
{
    load *l = context;
    while (!atomic_load(&l->stop)) {
        if (atomic_load(&l->submitted) - atomic_load(&l->tasks) >= WINDOW) {
            sched_yield();
            continue;
        }
        atomic_fetch_add(&l->submitted, 1);
        if (cop_pool_submit(l->pool, task, l) != COP_OK)
            break; /* counts as lost */
    }
    return NULL;
}

static void
run_items(void *context, unsigned lane, uint32_t begin, uint32_t end)
{
    load *l = context;
    (void)lane;
    for (uint32_t i = begin; i < end; i++) {
        unit_of_work();
        atomic_fetch_add_explicit(&l->times[i], 1, memory_order_relaxed);
    }
    atomic_fetch_add_explicit(&l->items, end - begin, memory_order_relaxed);
}

static void *
share_items(void *context)
{
    load *l = context;
    while (!atomic_load(&l->stop)) {
        (void)cop__region_lanes(l->region);
        cop__region_run(l->region, ITEMS, 1, run_items, l);
        atomic_fetch_add(&l->runs, 1);
    }
    return NULL;
}

static uint64_t
units(load *l)
{
    return atomic_load(&l->tasks) + atomic_load(&l->items);
}

static void
sleep_until(uint64_t ns)
{
    struct timespec t = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

/* Changes 0: the number stays as it is. The last change is to `threads`, and not waited for. */
static bool
phase(load *l, unsigned threads, unsigned changes, report_samples *unit_ns, uint64_t *longest)
{
    uint64_t begin = cop__clock_ns(), had = units(l);
    for (unsigned i = 0; i < changes; i++) {
        uint64_t before = cop__clock_ns();
        unsigned to = i + 1 == changes ? threads : i % (threads + 2);
        if (cop_pool_resize(l->pool, to) != COP_OK)
            return false;
        uint64_t took = cop__clock_ns() - before;
        *longest = took > *longest ? took : *longest;
        sleep_until(begin + (uint64_t)PHASE_NS * (i + 1) / changes);
    }
    sleep_until(begin + PHASE_NS);
    report_add(unit_ns, (double)(cop__clock_ns() - begin) / (double)(units(l) - had + 1));
    return true;
}

static uint64_t
lost(load *l)
{
    uint64_t submitted = atomic_load(&l->submitted), ran = atomic_load(&l->tasks), n = 0;
    n += submitted > ran ? submitted - ran : ran - submitted;
    for (unsigned i = 0; i < ITEMS; i++)
        n += atomic_load(&l->times[i]) != atomic_load(&l->runs);
    return n;
}

static bool
under_load(load *l, unsigned threads, resize_figures *figures)
{
    pthread_t submitter, sharer;
    uint64_t longest = 0;
    if (pthread_create(&submitter, NULL, submit_tasks, l) != 0)
        return false;
    bool ok = pthread_create(&sharer, NULL, share_items, l) == 0;
    if (ok) {
        ok = phase(l, threads, 0, &figures->unit_ns[RESIZE_BEFORE], &longest) &&
             phase(l, threads, CHANGES, &figures->unit_ns[RESIZE_DURING], &longest) &&
             phase(l, threads, 0, &figures->unit_ns[RESIZE_AFTER], &longest);
        atomic_store(&l->stop, true);
        pthread_join(sharer, NULL);
    }
    atomic_store(&l->stop, true);
    pthread_join(submitter, NULL);
    report_add(&figures->call_us, (double)longest / 1e3);
    return ok;
}

bool
resize_round(unsigned threads, resize_figures *figures)
{
    static load l;
    cop_pool_options options = COP_POOL_OPTIONS_INIT;
    l = (load){0};
    options.threads = threads;
    if (cop_pool_open(&options, &l.pool, NULL) != COP_OK)
        return false;
    l.region = cop__region_open(l.pool);
    bool ok = under_load(&l, threads, figures);
    cop__region_close(l.region);
    cop_pool_close(l.pool); /* runs what was submitted and has not run yet */
    report_add(&figures->lost, (double)lost(&l));
    return ok;
}

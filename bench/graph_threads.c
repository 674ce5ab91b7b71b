/* SPDX-License-Identifier: MIT */
/*
 * Sweeps by threads. floor_sweep with two threads divides each layer of a grid between them and
 * lets them spin at a barrier after it: quick as long as each has a CPU, and only then.
 * `independent` sweeps as many grids as there are threads, which never meet: what the machine gives
 * to two threads.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "bench/graph_floor.h"
#include "bench/report.h"

#define THREADS_MAX 2
#define SPINS 20000 /* before a thread at the barrier lets others run */

typedef struct sweep {
    floor_graph graph[THREADS_MAX]; /* one only for floor_sweep */
    const graph_shape *shape;
    unsigned threads;
    bool layered, helped;
    pthread_t helper;
    uint64_t from, steps; /* independent */
    _Alignas(64) atomic_uint arrived;
    _Alignas(64) atomic_uint generation;
    atomic_bool stop;
} sweep;

static void
barrier(sweep *s)
{
    unsigned generation = atomic_load_explicit(&s->generation, memory_order_acquire), spins = 0;
    if (atomic_fetch_add_explicit(&s->arrived, 1, memory_order_acq_rel) == s->threads - 1) {
        atomic_store_explicit(&s->arrived, 0, memory_order_relaxed);
        atomic_fetch_add_explicit(&s->generation, 1, memory_order_release);
        return;
    }
    while (atomic_load_explicit(&s->generation, memory_order_acquire) == generation) {
        if (++spins == SPINS) {
            sched_yield();
            spins = 0;
        }
    }
}

static void
sweep_layers(sweep *s, unsigned thread)
{
    uint32_t width = s->shape->width;
    for (uint32_t layer = 1; layer <= s->shape->layers; layer++) {
        floor_sweep(&s->graph[0], layer * width + width * thread / s->threads,
                    layer * width + width * (thread + 1) / s->threads);
        barrier(s);
    }
}

static void
sweep_steps(sweep *s, unsigned thread)
{
    floor_graph *graph = &s->graph[thread];
    for (uint64_t i = 0; i < s->steps; i++) {
        floor_write(graph, s->from + i);
        floor_sweep(graph, s->shape->first_computed, s->shape->nodes);
    }
}

static void *
help(void *context)
{
    sweep *s = context;
    for (;;) {
        barrier(s);
        if (atomic_load(&s->stop))
            return NULL;
        if (s->layered) {
            sweep_layers(s, 1);
        } else {
            sweep_steps(s, 1);
            barrier(s);
        }
    }
}

static void *
sweep_open(const graph_shape *shape, unsigned threads)
{
    sweep *s = aligned_alloc(64, (sizeof *s + 63) / 64 * 64);
    if (!s || threads > THREADS_MAX)
        return NULL;
    *s = (sweep){.shape = shape, .threads = threads};
    return s;
}

static bool
sweep_build_n(sweep *s, unsigned graphs)
{
    for (unsigned i = 0; i < graphs; i++) {
        floor_make(&s->graph[i], s->shape, false);
        floor_sweep(&s->graph[i], 0, s->shape->nodes);
    }
    s->helped = s->threads > 1 && pthread_create(&s->helper, NULL, help, s) == 0;
    return s->threads == 1 || s->helped;
}

static bool
sweep_build(void *self)
{
    sweep *s = self;
    s->layered = true;
    return sweep_build_n(s, 1);
}

static bool
apart_build(void *self)
{
    sweep *s = self;
    return sweep_build_n(s, s->threads);
}

static bool
sweep_step(void *self, uint64_t step)
{
    sweep *s = self;
    floor_write(&s->graph[0], step);
    if (s->threads == 1) {
        floor_sweep(&s->graph[0], s->shape->first_computed, s->shape->nodes);
        return true;
    }
    barrier(s);
    sweep_layers(s, 0);
    return true;
}

static bool
apart_steps(void *self, uint64_t from, uint64_t n)
{
    sweep *s = self;
    s->from = from;
    s->steps = n;
    if (s->threads > 1)
        barrier(s);
    sweep_steps(s, 0);
    if (s->threads > 1)
        barrier(s);
    return true;
}

static bool
sweep_values(void *self, int64_t *values)
{
    sweep *s = self;
    floor_values(&s->graph[s->layered ? 0 : s->threads - 1], values);
    return true;
}

static uint64_t
sweep_bytes(void *self)
{
    sweep *s = self;
    return s->graph[0].bytes;
}

static void
sweep_close(void *self)
{
    sweep *s = self;
    if (s->helped) {
        atomic_store(&s->stop, true);
        barrier(s);
        pthread_join(s->helper, NULL);
    }
    for (unsigned i = 0; i < THREADS_MAX; i++)
        floor_free(&s->graph[i]);
    free(s);
}

const graph_engine graph_floor_sweep = {sweep_open,   sweep_build, sweep_step, NULL,
                                        sweep_values, sweep_bytes, sweep_close};
const graph_engine graph_independent = {sweep_open,   apart_build, NULL,       apart_steps,
                                        sweep_values, sweep_bytes, sweep_close};

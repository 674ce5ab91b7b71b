/* SPDX-License-Identifier: MIT */
/* One engine with one case, round by round, checked after each. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/graph_case.h"
#include "bench/report.h"

#define ROUND_NS 50e6
#define WARM_STEPS 3
#define STEPS_MAX 2000000
#define PARALLEL_STEPS_MIN 5
#define SLICES 10

typedef struct run {
    const graph_engine *engine;
    const graph_case *c;
    graph_shape shape;
    void *self;
    unsigned threads;
    clockid_t clock;
    uint64_t step, steps; /* done; in a round */
    int64_t *expected, *got;
    double *times; /* of single steps (parallel) */
    double mean;
} run;

/* --- checking -------------------------------------------------------------------------------- */

static void
begin_sources(run *r)
{
    for (uint32_t i = 0; i < r->shape.sources; i++)
        r->expected[r->shape.source[i]] = graph_first_value(r->shape.source[i]);
}

/* The sources as step `step` leaves them. */
static void
expect_step(run *r, uint64_t step)
{
    for (uint32_t j = 0; j < r->shape.writes; j++) {
        graph_write write = graph_write_of(&r->shape, step, j);
        r->expected[write.node] = write.value;
    }
}

static bool
values_right(run *r)
{
    graph_shape_evaluate(&r->shape, r->expected);
    if (!r->engine->values(r->self, r->got)) {
        report_note("%s: the values cannot be had", r->c->name);
        return false;
    }
    for (uint32_t i = 0; i < r->shape.nodes; i++) {
        if (r->got[i] != r->expected[i]) {
            report_note("%s: WRONG: node %u is %lld, not %lld", r->c->name, i, (long long)r->got[i],
                        (long long)r->expected[i]);
            return false;
        }
    }
    return true;
}

/* --- measuring ------------------------------------------------------------------------------- */

static bool
open_and_build(run *r, double *took)
{
    double begin;
    r->self = r->engine->open(&r->shape, r->threads);
    if (!r->self)
        return false;
    begin = graph_clock_ns(r->clock);
    if (!r->engine->build(r->self))
        return false;
    *took = graph_clock_ns(r->clock) - begin;
    begin_sources(r);
    return values_right(r);
}

/* n steps, without a look at anything. */
static bool
steps_run(run *r, uint64_t n, double *took)
{
    double begin = graph_clock_ns(r->clock);
    if (r->engine->apart) {
        if (!r->engine->apart(r->self, r->step + 1, n))
            return false;
        r->step += n;
    } else {
        for (uint64_t i = 0; i < n; i++)
            if (!r->engine->step(r->self, ++r->step))
                return false;
    }
    *took = graph_clock_ns(r->clock) - begin;
    for (uint64_t step = r->step - n + 1; step <= r->step; step++)
        expect_step(r, step);
    return true;
}

static int
compare_times(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* The median of single steps (of slices where threads never meet, since they meet there), so that a
 * moment without a CPU does not hide all the others; the mean is kept beside it. */
static bool
steps_one_by_one(run *r, double *value)
{
    uint64_t slice = r->engine->apart ? (r->steps + SLICES - 1) / SLICES : 1;
    uint64_t n = (r->steps + slice - 1) / slice;
    double sum = 0, units = r->shape.units * (double)slice;
    if (r->engine->apart)
        units *= r->threads;
    for (uint64_t i = 0; i < n; i++) {
        if (!steps_run(r, slice, &r->times[i]))
            return false;
        sum += r->times[i];
    }
    qsort(r->times, n, sizeof *r->times, compare_times);
    *value = r->times[n / 2] / units;
    r->mean = sum / (double)n / units;
    return true;
}

/* Warms up, and finds how many steps make a round. */
static bool
calibrate(run *r)
{
    double took = 0;
    uint64_t n = WARM_STEPS;
    for (;;) {
        if (!steps_run(r, n, &took))
            return false;
        if (took > ROUND_NS / 5 || n >= STEPS_MAX)
            break;
        n *= 4;
    }
    r->steps = (uint64_t)((double)n * ROUND_NS / took) + 1;
    if (r->c->parallel && r->steps < PARALLEL_STEPS_MIN)
        r->steps = PARALLEL_STEPS_MIN;
    if (r->steps > STEPS_MAX)
        r->steps = STEPS_MAX;
    r->times = graph_alloc(r->steps * sizeof *r->times);
    return true;
}

static bool
round_of_steps(run *r, double *value)
{
    double took;
    if (!r->self && !(open_and_build(r, &took) && calibrate(r)))
        return false;
    if (r->c->parallel)
        return steps_one_by_one(r, value) && values_right(r);
    if (!steps_run(r, r->steps, &took))
        return false;
    *value = took / (double)r->steps / r->shape.units;
    return values_right(r);
}

static bool
round_of_build(run *r, double *value)
{
    double took;
    if (!open_and_build(r, &took))
        return false;
    if (r->c->measure == GRAPH_BYTES)
        took = (double)r->engine->bytes(r->self);
    r->engine->close(r->self);
    r->self = NULL;
    *value = took / r->shape.units;
    return true;
}

static void
print_row(const run *r, graph_system system, double value)
{
    report_samples samples = {0};
    char fields[128] = "";
    report_row row = {"graph",    r->c->name, graph_system_names[system],
                      r->c->unit, fields,     &samples};
    report_add(&samples, value);
    if (r->c->parallel)
        snprintf(fields, sizeof fields, ",\"threads\":%u,\"body_ns\":%u,\"mean\":%.10g", r->threads,
                 r->c->body_ns, r->mean);
    report_json(&row);
}

int
graph_run(const graph_engine *engine, graph_system system, const graph_case *c, unsigned threads,
          unsigned burn)
{
    run r = {.engine = engine, .c = c, .threads = threads};
    char line[16];
    r.clock = c->parallel ? CLOCK_MONOTONIC : CLOCK_PROCESS_CPUTIME_ID;
    graph_shape_make(&r.shape, c, burn);
    r.expected = graph_alloc(r.shape.nodes * sizeof *r.expected);
    r.got = graph_alloc(r.shape.nodes * sizeof *r.got);
    while (fgets(line, sizeof line, stdin)) {
        double value = 0;
        bool ok =
            c->measure == GRAPH_STEPS ? round_of_steps(&r, &value) : round_of_build(&r, &value);
        if (!ok)
            return 1;
        print_row(&r, system, value);
    }
    return 0;
}

/* SPDX-License-Identifier: MIT */
/*
 * A pool that has nothing else to do: tasks, nested tasks and loops while its number of threads
 * changes. And the effects and background atoms of the small store, and what its monitor has
 * measured. Whatever is given away is waited for without helping, so that a worker that sleeps on
 * is noticed.
 */
#include "tools/stress/load.h"

#include <coppice/effect.h>
#include <coppice/monitor.h>

#include <time.h>

enum {
    WAKES = 24,
    CHILDREN = 6,
    NESTS = 16,
    NESTED = 8,
    GROUP = 16,
    SETTLES = 24,
    SEERS = 6,
    LOOP = 512,
    PAUSE = 6000
};

/* Its tasks may be run by a defect after they were counted: they outlive the thread. */
static struct tasks {
    _Atomic uint32_t ran[NESTS][CHILDREN], looped[LOOP], grouped[GROUP];
    _Atomic uint64_t woken, nested;
    _Atomic uint32_t refused;
} tasks;

struct serve {
    struct stress_thread *self;
    struct side *side;
    cop_atom z, background; /* written by this thread alone; z + 1 */
    struct seer {
        struct serve *serve;
        cop_effect effect;
        _Atomic int64_t seen; /* of z */
        _Atomic uint64_t runs;
    } seers[SEERS];
    uint64_t writes; /* of z */
    int64_t number;
};

/* ---- tasks ---- */

/* Until *count is wanted; does not help. */
static bool
await(struct serve *v, const _Atomic uint64_t *count, uint64_t wanted, const char *what)
{
    static const struct timespec look = {0, 50000};
    uint64_t began_ns = stress_now_ns();
    for (unsigned i = 0; *count < wanted && !stress_is_late(v->self, began_ns); i++)
        if (i > 64)
            nanosleep(&look, NULL);
    return stress_check(v->self, PROMISE_TASK, *count >= wanted,
                        "%llu of %llu %s have run after %g s", (unsigned long long)*count,
                        (unsigned long long)wanted, what,
                        (double)v->self->stress->config->patience_ms / 1e3);
}

static void
wake_task(void *context)
{
    (void)context;
    tasks.woken++;
}

/* A task for a single worker, about when it falls asleep. */
static bool
wake(struct serve *v)
{
    for (unsigned i = 0; i < WAKES; i++) {
        uint64_t began_ns = stress_now_ns(), wanted = tasks.woken + 1;
        for (volatile uint64_t n = stress_random(v->self, PAUSE); n; n--)
            ;
        if (!STRESS_CALL(v->self, cop_pool_submit, v->side->tasks, wake_task, NULL) ||
            !await(v, &tasks.woken, wanted, "tasks"))
            return false;
        stress_done(v->self, OPERATION_TASK, began_ns);
    }
    return true;
}

static void
child_task(void *context)
{
    ++*(_Atomic uint32_t *)context;
    tasks.nested++;
}

/* On a worker, so that its children lie in its own deque, and others steal them. */
static void
parent_task(void *context)
{
    const struct side *side = context;
    static _Atomic unsigned next;
    unsigned row = next++ % NESTS;
    for (unsigned i = 0; i < CHILDREN; i++)
        if (cop_pool_submit(side->tasks, child_task, &tasks.ran[row][i]) != COP_OK)
            tasks.refused++;
}

/* All rows once; none of their tasks has run twice meanwhile. */
static bool
nest(struct serve *v)
{
    tasks.nested = 0;
    for (unsigned i = 0; i < NESTS; i++)
        if (!STRESS_CALL(v->self, cop_pool_submit, v->side->tasks, parent_task, v->side))
            return false;
    if (!await(v, &tasks.nested, NESTS * CHILDREN, "nested tasks"))
        return false;
    bool good = true;
    for (unsigned i = 0; good && i < NESTS * CHILDREN; i++) {
        _Atomic uint32_t *ran = &tasks.ran[i / CHILDREN][i % CHILDREN];
        good = stress_check(v->self, PROMISE_TASK, *ran == 1, "a nested task ran %u times", *ran);
        *ran = 0;
    }
    return good && stress_check(v->self, PROMISE_TASK, tasks.refused == 0, "a task was refused");
}

static cop_status
loop_range(void *context, uint64_t begin, uint64_t end)
{
    (void)context;
    for (; begin < end; begin++)
        tasks.looped[begin]++;
    return COP_OK;
}

static bool
loop(struct serve *v)
{
    bool good = true;
    for (unsigned i = 0; i < LOOP; i++)
        tasks.looped[i] = 0;
    if (!STRESS_CALL(v->self, cop_parallel_for, v->side->tasks, LOOP, loop_range, NULL, NULL))
        return false;
    for (unsigned i = 0; good && i < LOOP; i++)
        good = stress_check(v->self, PROMISE_TASK, tasks.looped[i] == 1,
                            "an index of a loop was handled %u times", tasks.looped[i]);
    return good;
}

static cop_status
grouped_body(cop_task_group *group, void *context, void **result)
{
    (void)group;
    ++*(_Atomic uint32_t *)context;
    *result = context;
    return COP_OK;
}

static bool
check_outcome(struct serve *v, const cop_task_group *tasks_of, unsigned i)
{
    cop_task_outcome outcome = {COP_E_PENDING, NULL};
    return STRESS_CALL(v->self, cop_task_group_outcome, tasks_of, i, &outcome) &&
           stress_check(v->self, PROMISE_TASK,
                        outcome.status == COP_OK && outcome.result == &tasks.grouped[i] &&
                            tasks.grouped[i] == 1,
                        "a task of a group ran %u times: %s", tasks.grouped[i],
                        cop_status_message(outcome.status));
}

static bool
group(struct serve *v)
{
    cop_task_group *all;
    uint64_t deadline = cop_deadline_in_ms(v->self->stress->config->patience_ms);
    if (!STRESS_CALL(v->self, cop_task_group_open, v->side->tasks, &all))
        return false;
    bool good = true;
    for (unsigned i = 0; good && i < GROUP; i++) {
        tasks.grouped[i] = 0;
        good = STRESS_CALL(v->self, cop_task_group_add, all, grouped_body, &tasks.grouped[i], NULL,
                           NULL);
    }
    good = good && STRESS_CALL(v->self, cop_task_group_wait, all, deadline);
    for (unsigned i = 0; good && i < GROUP; i++)
        good = check_outcome(v, all, i);
    if (good) /* one that is stuck could not be waited for */
        cop_task_group_close(all);
    return good;
}

/* ---- effects and background atoms ---- */

static cop_status
effect_function(cop_evaluation *evaluation, void *context)
{
    struct seer *seer = context;
    int64_t z = 0;
    cop_status status = cop_read_i64(evaluation, seer->serve->z, &z);
    for (volatile uint64_t n = (uint64_t)z * 7919 % PAUSE; n; n--)
        ; /* ends now sooner, now later than others look */
    seer->seen = z;
    seer->runs++;
    return status;
}

static cop_status
background_function(cop_evaluation *evaluation, void *context, cop_value *result)
{
    const struct serve *v = context;
    int64_t z;
    cop_status status = cop_read_i64(evaluation, v->z, &z);
    if (status == COP_OK)
        *result = cop_i64(z + 1);
    return status;
}

static void
set_z(struct serve *v)
{
    const cop_value z = cop_i64(++v->number);
    cop_txn *txn;
    if (!STRESS_CALL(v->self, cop_txn_begin, v->side->store, &txn))
        return;
    v->self->transactions++;
    v->writes++;
    STRESS_CALL(v->self, cop_txn_set, txn, v->z, &z);
    STRESS_CALL(v->self, cop_txn_commit, txn, NULL, NULL);
}

static int64_t
read_background(struct serve *v)
{
    int64_t is = 0;
    cop_pin_t pin;
    if (stress_pin(v->self, v->side->store, &pin))
        STRESS_CALL(v->self, cop_get_i64, pin.snapshot, v->background, &is);
    cop_unpin(pin);
    return is;
}

/* A worker may still be at it when all effects have come to rest. */
static void
check_background(struct serve *v)
{
    static const struct timespec look = {0, 100000};
    uint64_t began_ns = stress_now_ns();
    int64_t is;
    while ((is = read_background(v)) != v->number + 1 && !stress_is_late(v->self, began_ns) &&
           v->self->stress->broken < 0)
        nanosleep(&look, NULL);
    stress_check(v->self, PROMISE_EFFECT, is == v->number + 1,
                 "a background atom is %lld, not %lld, %g s after the last change", (long long)is,
                 (long long)v->number + 1, (double)v->self->stress->config->patience_ms / 1e3);
}

static bool
check_seers(struct serve *v)
{
    bool good = true;
    for (unsigned i = 0; good && i < SEERS; i++) {
        const struct seer *seer = &v->seers[i];
        good = stress_check(
            v->self, PROMISE_EFFECT, seer->seen == v->number && seer->runs <= v->writes + 1,
            "at rest after %llu changes an effect has run %llu times, and saw %lld, "
            "not %lld",
            (unsigned long long)v->writes, (unsigned long long)seer->runs, (long long)seer->seen,
            (long long)v->number);
    }
    return good;
}

/* Settling helps, and waits for a worker that is just about to end a run. */
static bool
settle(struct serve *v)
{
    uint64_t began_ns = stress_now_ns(), patience_ms = v->self->stress->config->patience_ms;
    for (uint64_t n = 1 + stress_random(v->self, 2); n; n--)
        set_z(v);
    for (volatile uint64_t n = stress_random(v->self, 4 * PAUSE); n; n--)
        ;
    uint64_t settle_ns = stress_now_ns();
    cop_status status = cop_effects_settle(v->side->store, cop_deadline_in_ms(patience_ms));
    if (!stress_check(v->self, PROMISE_EFFECT,
                      status != COP_E_TIMEOUT && !stress_is_late(v->self, settle_ns),
                      "waiting until all effects are at rest has not ended for %g s",
                      (double)patience_ms / 1e3) ||
        !stress_ok(v->self, status, "cop_effects_settle"))
        return false;
    stress_done(v->self, OPERATION_EFFECT, began_ns);
    check_background(v);
    return check_seers(v);
}

static bool
open_effects(struct serve *v)
{
    cop_computed_options o = COP_COMPUTED_OPTIONS_INIT;
    o.kind = COP_BACKGROUND;
    if (!STRESS_CALL(v->self, cop_atom_at, v->side->store, "z", 1, &v->z, NULL))
        return false;
    set_z(v);
    bool good = STRESS_CALL(v->self, cop_computed_define, v->side->store, NULL, 0,
                            background_function, v, &o, &v->background, NULL);
    for (unsigned i = 0; good && i < SEERS; i++) {
        v->seers[i].serve = v;
        good = STRESS_CALL(v->self, cop_effect_open, v->side->store, effect_function, &v->seers[i],
                           NULL, &v->seers[i].effect, NULL);
    }
    return good;
}

/* Their context is about to end. */
static void
close_effects(struct serve *v)
{
    for (unsigned i = 0; i < SEERS; i++)
        if (v->seers[i].effect.generation)
            cop_effect_close(v->side->store, v->seers[i].effect);
    if (v->background.generation)
        STRESS_CALL(v->self, cop_computed_dispose, v->side->store, v->background);
}

/* ---- the monitor ---- */

/* Of every commit all parts are measured, and the whole. */
static bool
measure(struct serve *v)
{
    cop_measurements *m = NULL;
    cop_distribution commit = COP_DISTRIBUTION_INIT;
    uint64_t deadline = cop_deadline_in_ms(v->self->stress->config->patience_ms), sum = 0;
    bool same = true;
    if (!STRESS_CALL(v->self, cop_monitor_take, v->side->store, deadline, &m))
        return false;
    cop_measurements_of(m, COP_MEASURE_COMMIT, &commit);
    for (unsigned part = 0; part <= COP_MEASURE_RECLAIM; part++) {
        cop_distribution d = COP_DISTRIBUTION_INIT;
        cop_measurements_of(m, (cop_measure)part, &d);
        sum += d.sum;
        same = same && d.count == commit.count;
    }
    cop_measurements_free(m);
    return stress_check(v->self, PROMISE_MEASURED, same && sum == commit.sum,
                        "%llu commits took %llu ns, their parts %llu, %s",
                        (unsigned long long)commit.count, (unsigned long long)commit.sum,
                        (unsigned long long)sum, same ? "each of all" : "some not of all");
}

static bool
resize(struct serve *v, uint32_t threads)
{
    return STRESS_CALL(v->self, cop_pool_resize, v->side->tasks, threads);
}

static bool
serve_round(struct serve *v)
{
    bool good = wake(v) && resize(v, 3);
    for (unsigned i = 0; good && i < NESTED; i++)
        good = nest(v);
    good = good && loop(v) && group(v) && resize(v, 1);
    for (unsigned i = 0; good && i < SETTLES; i++)
        good = settle(v) && measure(v);
    return good;
}

void
stress_serve(struct stress_thread *self)
{
    static const struct timespec rest = {0, 1000000}; /* a check, not a load */
    struct serve v = {.self = self, .side = &self->stress->side};
    bool good = open_effects(&v) && resize(&v, 1);
    while (good && !self->stress->stop) {
        good = serve_round(&v);
        nanosleep(&rest, NULL);
    }
    close_effects(&v);
}

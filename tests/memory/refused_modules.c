/* SPDX-License-Identifier: MIT */
/* Without memory: the worker pool, which knows no store, and the monitor. */
#include "tests/memory/refused.h"

/* --- pools ------------------------------------------------------------------------------- */

static cop_status
open_pool(world *w, uint32_t threads)
{
    cop_pool_options options = COP_POOL_OPTIONS_INIT;

    options.threads = threads;
    return cop_pool_open(&options, (cop_pool **)&w->made, NULL);
}

static cop_status
pool_open(world *w)
{
    cop_status status = open_pool(w, 2);

    REQUIRE((status == COP_OK) == (w->made != NULL));
    return status;
}

static void
ready_pool(world *w)
{
    REQUIRE_OK(pool_open(w));
}

static void
ready_small_pool(world *w)
{
    REQUIRE_OK(open_pool(w, 1));
}

static cop_status
pool_close(world *w)
{
    cop_pool_close(w->made);
    w->made = NULL;
    return COP_OK;
}

static void
done_pool(world *w)
{
    (void)pool_close(w);
}

/* More threads: those that could be started are there. */
static cop_status
pool_resize(world *w)
{
    cop_status status = cop_pool_resize(w->made, 3);

    REQUIRE(status != COP_OK || cop_pool_threads(w->made) == 3);
    return status;
}

static cop_status
pool_figures(world *w)
{
    cop_pool_stats stats;

    cop_pool_stats_take(w->made, &stats);
    REQUIRE(stats.threads == 2 && cop_pool_threads(w->made) == 2);
    return COP_OK;
}

static void
count(void *context)
{
    __atomic_fetch_add((uint64_t *)context, 1, __ATOMIC_SEQ_CST);
}

static cop_status
pool_submit(world *w)
{
    return cop_pool_submit(w->made, count, &w->figure);
}

static void
done_submitted(world *w)
{
    done_pool(w); /* runs what was submitted */
    REQUIRE(w->figure == 1);
}

static cop_status
add_range(void *context, uint64_t begin, uint64_t end)
{
    __atomic_fetch_add((uint64_t *)context, end - begin, __ATOMIC_SEQ_CST);
    return COP_OK;
}

/* Without memory the calling thread does it all. */
static cop_status
parallel_for(world *w)
{
    w->figure = 0;
    REQUIRE_OK(cop_parallel_for(w->made, 1000, add_range, &w->figure, NULL));
    REQUIRE(w->figure == 1000);
    return COP_OK;
}

static void
ready_store_pool(world *w)
{
    cop_pool_options options = COP_POOL_OPTIONS_INIT;

    options.threads = 1;
    REQUIRE_OK(cop_pool_open(&options, &w->pool, NULL));
}

static cop_status
store_set_pool(world *w)
{
    return cop_store_set_pool(w->store, w->pool);
}

/* --- task groups ------------------------------------------------------------------------- */

static cop_status
group_open(world *w)
{
    return cop_task_group_open(NULL, (cop_task_group **)&w->made);
}

static void
ready_group(world *w)
{
    REQUIRE_OK(group_open(w));
}

static cop_status
group_close(world *w)
{
    cop_task_group_close(w->made);
    w->made = NULL;
    return COP_OK;
}

static void
done_group(world *w)
{
    (void)group_close(w);
}

static cop_status
body(cop_task_group *group, void *context, void **result)
{
    REQUIRE(!cop_task_cancelled(group));
    count(context);
    *result = NULL;
    return COP_OK;
}

static cop_status
group_add(world *w)
{
    return cop_task_group_add(w->made, body, &w->figure, NULL, NULL);
}

static void
ready_task(world *w)
{
    ready_group(w);
    REQUIRE_OK(group_add(w));
}

static cop_status
group_wait(world *w)
{
    cop_task_outcome outcome;
    cop_status status = cop_task_group_wait(w->made, COP_FOREVER);

    REQUIRE(cop_task_group_count(w->made) == 1);
    REQUIRE_OK(cop_task_group_outcome(w->made, 0, &outcome));
    REQUIRE(status != COP_OK || (outcome.status == COP_OK && w->figure == 1));
    return status;
}

static void
done_added(world *w)
{
    REQUIRE_OK(group_wait(w));
    done_group(w);
}

static cop_status
group_cancel(world *w)
{
    cop_task_group_cancel(w->made);
    REQUIRE(cop_task_cancelled(w->made));
    return COP_OK;
}

/* --- the monitor ------------------------------------------------------------------------- */

static cop_status
monitor_start(world *w)
{
    return cop_monitor_start(w->store, NULL, NULL);
}

static void
ready_monitor(world *w)
{
    REQUIRE_OK(monitor_start(w));
    for (int64_t n = 0; n < 5; n++)
        world_set(w, n);
}

static cop_status
monitor_stop(world *w)
{
    REQUIRE(cop_monitor_running(w->store));
    return cop_monitor_stop(w->store);
}

static cop_status
monitor_take(world *w)
{
    return cop_monitor_take(w->store, COP_FOREVER, (cop_measurements **)&w->made);
}

static void
ready_measured(world *w)
{
    ready_monitor(w);
    REQUIRE_OK(monitor_take(w));
}

static cop_status
measurements_free(world *w)
{
    cop_measurements_free(w->made);
    w->made = NULL;
    return COP_OK;
}

static void
done_measured(world *w)
{
    (void)measurements_free(w);
}

static cop_status
measurements_uses(world *w)
{
    const cop_measurements *m = w->made;
    cop_distribution distribution = COP_DISTRIBUTION_INIT;
    cop_overrun overrun;
    cop_hot hot;

    REQUIRE_OK(cop_measurements_of(m, COP_MEASURE_COMMIT, &distribution));
    REQUIRE(distribution.count > 0);
    REQUIRE(cop_measurements_quantile(m, COP_MEASURE_COMMIT, 1.0) == distribution.greatest);
    REQUIRE(cop_measurements_at_most(m, COP_MEASURE_COMMIT, UINT64_MAX) == distribution.count);
    REQUIRE(cop_measurements_overruns(m, (cop_overrun_kind)0) < 100);
    (void)cop_measurements_worst(m, (cop_overrun_kind)0, 0, &overrun);
    (void)cop_measurements_hottest(m, 0, &hot);
    return COP_OK;
}

static int
warned(void *context, const cop_warning *warning)
{
    *(uint64_t *)context += warning->figure;
    return 0;
}

static cop_status
warnings_each(world *w)
{
    return cop_warnings_each(w->store, NULL, COP_FOREVER, warned, &w->figure);
}

static cop_status
trace_start(world *w)
{
    return cop_trace_start(w->store, 1000);
}

static void
ready_trace(world *w)
{
    ready_monitor(w);
    REQUIRE_OK(trace_start(w));
    world_set(w, 9);
}

static cop_status
trace_stop(world *w)
{
    return cop_trace_stop(w->store);
}

static void
ready_traced(world *w)
{
    ready_trace(w);
    REQUIRE_OK(trace_stop(w));
}

static cop_status
trace_write(world *w)
{
    return cop_trace_write(w->store, refused_sink, &w->figure);
}

static cop_status
metrics_write(world *w)
{
    return cop_metrics_write(w->store, COP_METRICS_OPENMETRICS, COP_FOREVER, refused_sink,
                             &w->figure);
}

static const refused_call calls[] = {
    {"cop_pool_open", NULL, pool_open, 0, NULL, done_pool, 0},
    {"cop_pool_close", NULL, pool_close, ASKS_NOTHING, ready_pool, NULL, 0},
    {"cop_pool_resize", NULL, pool_resize, 0, ready_small_pool, done_pool, 0},
    {"cop_pool_threads", NULL, pool_figures, ASKS_NOTHING, ready_pool, done_pool, 0},
    {"cop_pool_stats_take", NULL, pool_figures, ASKS_NOTHING, ready_pool, done_pool, 0},
    {"cop_pool_submit", NULL, pool_submit, 0, ready_pool, done_submitted, 0},
    {"cop_parallel_for", NULL, parallel_for, 0, ready_pool, done_pool, 0},
    {"cop_store_set_pool", NULL, store_set_pool, 0, ready_store_pool, NULL, 0},
    {"cop_task_group_open", NULL, group_open, 0, NULL, done_group, 0},
    {"cop_task_group_add", NULL, group_add, 0, ready_group, done_added, 0},
    {"cop_task_group_wait", NULL, group_wait, ASKS_NOTHING, ready_task, done_group, 0},
    {"cop_task_group_count", NULL, group_wait, ASKS_NOTHING, ready_task, done_group, 0},
    {"cop_task_group_outcome", NULL, group_wait, ASKS_NOTHING, ready_task, done_group, 0},
    {"cop_task_group_cancel", NULL, group_cancel, ASKS_NOTHING, ready_task, done_group, 0},
    {"cop_task_cancelled", NULL, group_cancel, ASKS_NOTHING, ready_task, done_group, 0},
    {"cop_task_group_close", NULL, group_close, ASKS_NOTHING, ready_task, NULL, 0},
    {"cop_monitor_start", NULL, monitor_start, 0, NULL, NULL, 0},
    {"cop_monitor_start", "anew", monitor_start, ASKS_NOTHING, ready_monitor, NULL, 0},
    {"cop_monitor_stop", NULL, monitor_stop, ASKS_NOTHING, ready_monitor, NULL, 0},
    {"cop_monitor_running", NULL, monitor_stop, ASKS_NOTHING, ready_monitor, NULL, 0},
    {"cop_monitor_take", NULL, monitor_take, 0, ready_monitor, done_measured, 0},
    {"cop_measurements_free", NULL, measurements_free, ASKS_NOTHING, ready_measured, NULL, 0},
    {"cop_measurements_of", NULL, measurements_uses, ASKS_NOTHING, ready_measured, done_measured,
     0},
    {"cop_measurements_quantile", NULL, measurements_uses, ASKS_NOTHING, ready_measured,
     done_measured, 0},
    {"cop_measurements_at_most", NULL, measurements_uses, ASKS_NOTHING, ready_measured,
     done_measured, 0},
    {"cop_measurements_overruns", NULL, measurements_uses, ASKS_NOTHING, ready_measured,
     done_measured, 0},
    {"cop_measurements_worst", NULL, measurements_uses, ASKS_NOTHING, ready_measured, done_measured,
     0},
    {"cop_measurements_hottest", NULL, measurements_uses, ASKS_NOTHING, ready_measured,
     done_measured, 0},
    {"cop_warnings_each", NULL, warnings_each, 0, ready_monitor, NULL, 0},
    {"cop_trace_start", NULL, trace_start, 0, ready_monitor, NULL, 0},
    {"cop_trace_stop", NULL, trace_stop, ASKS_NOTHING, ready_trace, NULL, 0},
    {"cop_trace_write", NULL, trace_write, ASKS_NOTHING, ready_traced, NULL, 0},
    {"cop_metrics_write", "without the monitor", metrics_write, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_metrics_write", "with the monitor", metrics_write, 0, ready_monitor, NULL, 0},
};

int
main(void)
{
    return refused_main(calls, sizeof calls / sizeof *calls);
}

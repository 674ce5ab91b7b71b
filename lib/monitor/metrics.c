/* SPDX-License-Identifier: MIT */
/*
 * Metrics as text, in the two formats that Prometheus reads. They differ in the name of a counter's
 * family, which carries _total in the one and not in the other, and in how they end.
 */
#include <coppice/graph.h>
#include <coppice/stats.h>

#include <inttypes.h>

#include "monitor/measurements.h"
#include "monitor/text.h"

typedef struct text {
    cop__text out;
    bool open; /* OpenMetrics */
} text;

#define put(t, ...) cop__text_put(&(t)->out, __VA_ARGS__)

/* "count" is the unit of what only grows. */
static void
put_single(text *t, const char *room, const char *name, bool counter, const char *help,
           uint64_t value)
{
    const char *total = counter ? "_total" : "", *family = t->open ? "" : total;
    put(t, "# HELP coppice_%s%s%s %s\n", room, name, family, help);
    put(t, "# TYPE coppice_%s%s%s %s\n", room, name, family, counter ? "counter" : "gauge");
    put(t, "coppice_%s%s%s %" PRIu64 "\n", room, name, total, value);
}

static void
put_stats(text *t, const cop_stats *stats)
{
#define PUT_ROW(name, unit, help) \
    put_single(t, "", #name, strcmp(unit, "count") == 0, help, stats->name);
    COP_STATS_MAP(PUT_ROW)
#undef PUT_ROW
    put(t, "# HELP coppice_memory_bytes bytes held, by what they are for\n"
           "# TYPE coppice_memory_bytes gauge\n");
    for (int kind = 0; kind < COP_MEMORY_KINDS; kind++)
        put(t, "coppice_memory_bytes{kind=\"%s\"} %" PRIu64 "\n",
            cop_memory_kind_name((cop_memory_kind)kind), stats->bytes_by_kind[kind]);
}

static void
put_graph(text *t, const cop_graph_counts *counts)
{
#define PUT_ROW(name, unit, help) \
    put_single(t, "graph_", #name, strcmp(unit, "count") == 0, help, counts->name);
    COP_GRAPH_STATS_MAP(PUT_ROW)
#undef PUT_ROW
}

/* ---- distributions ---- */

static const uint64_t bounds_ns[] = {
    1000,      2500,      5000,       10000,      25000,      50000,       100000,     250000,
    500000,    1000000,   2500000,    5000000,    10000000,   25000000,    50000000,   100000000,
    250000000, 500000000, 1000000000, 2500000000, 5000000000, 10000000000, 30000000000};
static const uint64_t bounds_count[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 65536};

static bool
is_time(cop_measure measure)
{
    return measure != COP_MEASURE_BATCH && measure != COP_MEASURE_OPERATIONS;
}

static void
put_histogram(text *t, const char *family, const char *label, const cop_measurements *m,
              cop_measure measure)
{
    bool time = is_time(measure);
    const uint64_t *bound = time ? bounds_ns : bounds_count;
    size_t n =
        time ? sizeof bounds_ns / sizeof *bounds_ns : sizeof bounds_count / sizeof *bounds_count;
    const cop__measured *measured = &m->of[measure];
    const char *name = cop_measure_name(measure);
    for (size_t i = 0; i < n; i++)
        put(t, "coppice_%s_bucket{%s=\"%s\",le=\"%.10g\"} %" PRIu64 "\n", family, label, name,
            (double)bound[i] / (time ? 1e9 : 1.0), cop_measurements_at_most(m, measure, bound[i]));
    put(t, "coppice_%s_bucket{%s=\"%s\",le=\"+Inf\"} %" PRIu64 "\n", family, label, name,
        measured->count);
    put(t, "coppice_%s_sum{%s=\"%s\"} %.17g\n", family, label, name,
        (double)measured->sum / (time ? 1e9 : 1.0));
    put(t, "coppice_%s_count{%s=\"%s\"} %" PRIu64 "\n", family, label, name, measured->count);
}

static void
put_measurements(text *t, const cop_measurements *m)
{
    put(t, "# HELP coppice_duration_seconds how long a part of a commit, or what is named, took\n"
           "# TYPE coppice_duration_seconds histogram\n");
    if (t->open)
        put(t, "# UNIT coppice_duration_seconds seconds\n");
    for (int i = 0; i < COP_MEASURES; i++)
        if (is_time((cop_measure)i))
            put_histogram(t, "duration_seconds", "of", m, (cop_measure)i);
    static const char *const kinds[] = {"commit", "computed", "notify"};
    const char *total = t->open ? "" : "_total";
    put(t,
        "# HELP coppice_overruns%s what took longer than its budget\n"
        "# TYPE coppice_overruns%s counter\n",
        total, total);
    for (int kind = 0; kind < COP_OVERRUNS; kind++)
        put(t, "coppice_overruns_total{of=\"%s\"} %" PRIu64 "\n", kinds[kind],
            cop_measurements_overruns(m, (cop_overrun_kind)kind));
    put(t, "# HELP coppice_commit_size what one commit took together\n"
           "# TYPE coppice_commit_size histogram\n");
    for (int i = 0; i < COP_MEASURES; i++)
        if (!is_time((cop_measure)i))
            put_histogram(t, "commit_size", "in", m, (cop_measure)i);
}

/* ---- all of it ---- */

/* What is not there is left out; what fails is told. */
static cop_status
put_all(text *t, cop_store *store, uint64_t deadline)
{
    cop_stats stats = COP_STATS_INIT;
    cop_graph_counts counts = COP_GRAPH_COUNTS_INIT;
    cop_measurements *measurements = NULL;
    cop_status status = cop_stats_take(store, &stats);
    if (status != COP_OK)
        return status;
    put_stats(t, &stats);
    if (cop_graph_stats(store, deadline, &counts) == COP_OK)
        put_graph(t, &counts);
    put_single(t, "", "monitor_running", false, "1 when commits are being measured",
               cop_monitor_running(store));
    status = cop_monitor_take(store, deadline, &measurements);
    if (status == COP_E_STATE) /* never started */
        return COP_OK;
    if (status == COP_OK)
        put_measurements(t, measurements);
    cop_measurements_free(measurements);
    return status;
}

cop_status
cop_metrics_write(cop_store *store, cop_metrics_format format, uint64_t deadline,
                  cop_sink_function sink, void *context)
{
    text t;
    if (sink == NULL || (format != COP_METRICS_PROMETHEUS && format != COP_METRICS_OPENMETRICS))
        return COP_E_INVALID;
    if (cop__evaluating)
        return COP_E_IN_EVALUATION;
    cop__text_begin(&t.out, sink, context);
    t.open = format == COP_METRICS_OPENMETRICS;
    cop_status status = put_all(&t, store, deadline);
    if (status == COP_OK && t.open)
        put(&t, "# EOF\n");
    cop_status written = cop__text_end(&t.out);
    return status == COP_OK ? written : status;
}

/* SPDX-License-Identifier: MIT */
#include "bench/graph_table.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* The lines to beat, in the case's own unit. They were set on one machine (2-core Zen 4). */
static const struct {
    const char *name;
    double line;
} lines[] = {
    {"chain_1000", 9},           {"chain_1000000", 13},       {"broad_1000", 15},
    {"broad_100000", 22},        {"grid_1000x11x4_full", 16}, {"grid_1000x11x4_sparse", 19},
    {"grid_1000x4x25_full", 48}, {"grid_5x499x3_full", 15},   {"avoid_1000", 120},
    {"flip_1000", 36},           {"create_1m", 120},          {"create_1m_bytes", 224},
    {"commit_hot", 100},
};

/* What two threads must gain over one, on an idle machine. */
static const struct {
    const char *name;
    unsigned body_ns;
    double speedup;
} gains[] = {
    {"par_1000x11x4", 100, 1.8},
    {"par_120x11x4", 1000, 1.95},
    {"par_10x100x3", 1000, 1.8},
    {"par_30x5x4", 10000, 1.95},
};

/* Everywhere else, and beside a busy process, they must not lose: by the median, and by the mean.
 */
#define SLOWER_MEDIAN 1.02
#define SLOWER_MEAN 1.10

static const graph_system peers[] = {GRAPH_TBB_FLOW, GRAPH_TBB_FOR, GRAPH_ALIEN, GRAPH_PREACT};
static const graph_system floors[] = {GRAPH_FLOOR_SWEEP, GRAPH_FLOOR_BITSET};

static double
median(const graph_result *result, graph_system system, unsigned threads)
{
    return report_median(&result->cell[system][threads - 1].samples);
}

static double
mean(const graph_result *result, graph_system system, unsigned threads)
{
    return report_median(&result->cell[system][threads - 1].means);
}

/* The quickest of some systems, GRAPH_SYSTEMS when none has a figure. */
static graph_system
best(const graph_result *result, const graph_system *of, size_t n, unsigned threads)
{
    graph_system found = GRAPH_SYSTEMS;
    for (size_t i = 0; i < n; i++) {
        double value = median(result, of[i], threads);
        if (value > 0 && (found == GRAPH_SYSTEMS || value < median(result, found, threads)))
            found = of[i];
    }
    return found;
}

static graph_system
best_peer(const graph_result *result, unsigned threads)
{
    return best(result, peers, sizeof peers / sizeof peers[0], threads);
}

/* The floor is the engine that can do what is asked; the sweep, which runs everything, only where
 * there is no other. */
static graph_system
floor_of(const graph_result *result, unsigned threads)
{
    if (median(result, GRAPH_FLOOR_BITSET, threads) > 0)
        return GRAPH_FLOOR_BITSET;
    return best(result, floors, sizeof floors / sizeof floors[0], threads);
}

static double
line_of(const graph_result *result)
{
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        if (strcmp(lines[i].name, result->c->name) == 0)
            return lines[i].line;
    return 0;
}

static double
speedup(const graph_result *result, graph_system system)
{
    double two = median(result, system, 2);
    return two > 0 ? median(result, system, 1) / two : 0;
}

static double
speedup_mean(const graph_result *result, graph_system system)
{
    double two = mean(result, system, 2);
    return two > 0 ? mean(result, system, 1) / two : 0;
}

/* 0: no gain is asked for, only no loss. */
static double
gain_of(const graph_result *result)
{
    for (size_t i = 0; !result->foreign && i < sizeof gains / sizeof gains[0]; i++)
        if (gains[i].body_ns == result->c->body_ns && strcmp(gains[i].name, result->c->name) == 0)
            return gains[i].speedup;
    return 0;
}

static double
speedup_line(const graph_result *result)
{
    double gain = gain_of(result);
    return gain > 0 ? gain : 1 / SLOWER_MEDIAN;
}

static bool
speedup_beats(const graph_result *result)
{
    return speedup(result, GRAPH_COPPICE) >= speedup_line(result) &&
           (gain_of(result) > 0 || speedup_mean(result, GRAPH_COPPICE) >= 1 / SLOWER_MEAN);
}

/* --- JSON ------------------------------------------------------------------------------------ */

typedef struct text {
    char bytes[640];
    size_t used;
} text;

static void __attribute__((format(printf, 2, 3))) append(text *t, const char *format, ...)
{
    va_list arguments;
    int n;
    va_start(arguments, format);
    n = vsnprintf(t->bytes + t->used, sizeof t->bytes - t->used, format, arguments);
    va_end(arguments);
    if (n > 0 && (size_t)n < sizeof t->bytes - t->used)
        t->used += (size_t)n;
}

static void
append_ratio(text *t, const graph_result *result, const char *what, graph_system to,
             unsigned threads)
{
    if (to != GRAPH_SYSTEMS)
        append(t, ",\"%s\":\"%s\",\"ratio_%s\":%.4g", what, graph_system_names[to], what,
               median(result, GRAPH_COPPICE, threads) / median(result, to, threads));
}

static void
append_own(text *t, const graph_result *result, unsigned threads)
{
    append_ratio(t, result, "best_peer", best_peer(result, threads), threads);
    append_ratio(t, result, "floor", floor_of(result, threads), threads);
    if (line_of(result) > 0)
        append(t, ",\"line\":%g,\"beats_line\":%s", line_of(result),
               median(result, GRAPH_COPPICE, 1) <= line_of(result) ? "true" : "false");
    else if (result->c->parallel && speedup(result, GRAPH_COPPICE) > 0 && threads == 2)
        append(t, ",\"line_speedup\":%.3g,\"beats_line\":%s", speedup_line(result),
               speedup_beats(result) ? "true" : "false");
}

static void
append_parallel(text *t, const graph_result *result, graph_system system, unsigned threads)
{
    double independent = speedup(result, GRAPH_INDEPENDENT);
    append(t, ",\"threads\":%u,\"body_ns\":%u,\"foreign\":%s,\"mean\":%.10g", threads,
           result->c->body_ns, result->foreign ? "true" : "false", mean(result, system, threads));
    if (threads == 2 && speedup(result, system) > 0)
        append(t, ",\"speedup\":%.4g,\"speedup_mean\":%.4g", speedup(result, system),
               speedup_mean(result, system));
    if (threads == 2 && independent > 0)
        append(t, ",\"independent_speedup\":%.4g", independent);
}

/* Round by round, as the quotient of figures taken one after the other. */
static void
json_independent(const graph_result *result)
{
    const report_samples *one = &result->cell[GRAPH_INDEPENDENT][0].samples;
    const report_samples *two = &result->cell[GRAPH_INDEPENDENT][1].samples;
    report_samples quotients = {0};
    text t = {.used = 0};
    report_row row = {"graph", "independent_speedup", "independent", "x", t.bytes, &quotients};
    for (unsigned i = 0; i < one->n && i < two->n; i++)
        report_add(&quotients, one->value[i] / two->value[i]);
    append(&t, ",\"of\":\"%s\",\"threads\":2,\"body_ns\":%u,\"foreign\":%s", result->c->name,
           result->c->body_ns, result->foreign ? "true" : "false");
    report_json(&row);
}

static void
json_cell(const graph_result *result, graph_system system, unsigned threads)
{
    text t = {.used = 0};
    report_row row = {"graph",         result->c->name, graph_system_names[system],
                      result->c->unit, t.bytes,         &result->cell[system][threads - 1].samples};
    if (row.samples->n == 0)
        return;
    t.bytes[0] = 0;
    if (result->c->parallel)
        append_parallel(&t, result, system, threads);
    if (system == GRAPH_COPPICE)
        append_own(&t, result, threads);
    report_json(&row);
}

void
graph_result_json(const graph_result *result)
{
    for (graph_system system = 0; system < GRAPH_SYSTEMS; system++)
        for (unsigned threads = 1; threads <= GRAPH_THREADS; threads++)
            json_cell(result, system, threads);
    if (result->c->parallel)
        json_independent(result);
}

/* --- for people ------------------------------------------------------------------------------ */

#define WIDTH_SERIAL 14
#define WIDTH_PARALLEL 22

void
graph_heading_print(bool parallel, unsigned systems)
{
    int width = parallel ? WIDTH_PARALLEL : WIDTH_SERIAL;
    printf("\n%-24s %-13s", "case", parallel ? "body" : "unit");
    for (graph_system system = 0; system < GRAPH_SYSTEMS; system++)
        if (systems & 1u << system)
            printf(" %*s", width, graph_system_names[system]);
    if (systems & 1u << GRAPH_COPPICE)
        printf(parallel ? "  line\n" : " %10s %10s  line\n", "/best peer", "/floor");
    else
        printf("\n");
}

static void
print_serial_cell(const graph_result *result, graph_system system)
{
    const report_samples *samples = &result->cell[system][0].samples;
    char number[32];
    if (samples->n == 0)
        printf(" %*s", WIDTH_SERIAL, "-");
    else
        printf(" %*s ±%3.0f%%", WIDTH_SERIAL - 6,
               report_number(report_median(samples), number, sizeof number),
               report_spread(samples) * 100);
}

static void
print_parallel_cell(const graph_result *result, graph_system system)
{
    char one[32], two[32];
    if (result->cell[system][0].samples.n == 0)
        printf(" %*s", WIDTH_PARALLEL, "-");
    else
        printf(" %6s > %6s %5.2fx", report_number(median(result, system, 1), one, sizeof one),
               report_number(median(result, system, 2), two, sizeof two), speedup(result, system));
}

static void
print_ratio(const graph_result *result, graph_system to)
{
    if (to == GRAPH_SYSTEMS)
        printf(" %10s", "");
    else
        printf(" %9.3fx", median(result, GRAPH_COPPICE, 1) / median(result, to, 1));
}

static void
print_verdict(const graph_result *result)
{
    double line = line_of(result);
    char number[32];
    if (result->c->parallel) {
        printf("  %.2fx %s", speedup_line(result), speedup_beats(result) ? "met" : "MISSED");
        return;
    }
    print_ratio(result, best_peer(result, 1));
    print_ratio(result, floor_of(result, 1));
    if (line > 0)
        printf("  %s %s", report_number(line, number, sizeof number),
               median(result, GRAPH_COPPICE, 1) <= line ? "met" : "MISSED");
}

void
graph_result_print(const graph_result *result, unsigned systems)
{
    char body[32];
    snprintf(body, sizeof body, "%u ns%s", result->c->body_ns, result->foreign ? " busy" : "");
    printf("%-24s %-13s", result->c->name, result->c->parallel ? body : result->c->unit);
    for (graph_system system = 0; system < GRAPH_SYSTEMS; system++) {
        if (!(systems & 1u << system))
            continue;
        if (result->c->parallel)
            print_parallel_cell(result, system);
        else
            print_serial_cell(result, system);
    }
    if (result->cell[GRAPH_COPPICE][0].samples.n)
        print_verdict(result);
    printf("\n");
    fflush(stdout);
}

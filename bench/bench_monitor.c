/* SPDX-License-Identifier: MIT */
/*
 * What the monitor costs: recording one sample, and a commit with the monitor off, as it comes, and
 * measuring each one. Rounds alternate between the three in one process, so that what the machine
 * does meanwhile meets all of them alike; a ratio is taken within a round.
 *
 *     bench_monitor [--json] [--rounds N] [--commits N]
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/clock.h"
#include "bench/report.h"
#include "monitor/monitor.h"

enum { OFF, CHOSEN, EVERY, MODES };
static const char *const mode_names[] = {"off", "chosen", "every"};
static const char *const figures[] = {"mean", "p50", "p99", "p999"};
enum { FIGURES = 4 };

static unsigned rounds = 15, commits = 100000;
static bool json;

static void
need(cop_status status, const char *what)
{
    if (status == COP_OK)
        return;
    report_note("%s: %s", what, cop_status_name(status));
    exit(1);
}

/* The 95 % interval of a median, from ranks: normal approximation of the binomial. */
static void
interval(const report_samples *samples, double *low, double *high)
{
    report_samples sorted = *samples;
    unsigned n = samples->n, rank = (unsigned)((n - 1.96 * sqrt((double)n)) / 2);
    report_sort(sorted.value, n);
    rank = rank < n ? rank : 0; /* too few */
    *low = sorted.value[rank];
    *high = sorted.value[n - 1 - rank];
}

static void
report(const char *name, const char *system, const char *unit, const report_samples *samples)
{
    char number[32];
    char fields[96];
    double low, high;
    interval(samples, &low, &high);
    snprintf(fields, sizeof fields, ",\"ci_low\":%.4g,\"ci_high\":%.4g", low, high);
    const report_row row = {"monitor", name, system, unit, fields, samples};
    if (json)
        report_json(&row);
    else
        printf("%-18s %-7s %8s %-6s [%.4g, %.4g]\n", name, system,
               report_number(report_median(samples), number, sizeof number), unit, low, high);
}

/* ---- a sample ---- */

static void
bench_sample(cop_store *store, report_samples *samples)
{
    enum { N = 1000, RUNS = 500 };
    static double took[RUNS];
    for (unsigned run = 0; run < RUNS; run++) {
        uint64_t began = bench_wall_ns();
        for (uint64_t i = 0; i < N; i++)
            cop__monitor_record(store, COP_MEASURE_NOTIFY, 100 + (i & 4095));
        took[run] = (double)(bench_wall_ns() - began) / N;
    }
    report_sort(took, RUNS); /* the median: not what came between */
    report_add(samples, took[RUNS / 2]);
}

/* ---- a commit ---- */

static int
compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void
mode_set(cop_store *store, unsigned mode)
{
    cop_monitor_options options = COP_MONITOR_OPTIONS_INIT;
    need(cop_monitor_stop(store), "stop");
    options.sample_every = mode == EVERY;
    if (mode != OFF)
        need(cop_monitor_start(store, &options, NULL), "start");
}

/* Each commit is timed from outside, the same in every mode. */
static void
bench_commits(cop_store *store, cop_atom atom, uint32_t *took, double figure[FIGURES])
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < commits; i++) {
        cop_txn *txn = NULL;
        cop_value value = cop_i64((int64_t)i);
        uint64_t began = bench_wall_ns();
        need(cop_txn_begin(store, &txn), "begin");
        need(cop_txn_set(txn, atom, &value), "set");
        need(cop_txn_commit(txn, NULL, NULL), "commit");
        took[i] = (uint32_t)(bench_wall_ns() - began);
        sum += took[i];
    }
    qsort(took, commits, sizeof *took, compare_u32);
    figure[0] = (double)sum / commits;
    figure[1] = took[commits / 2];
    figure[2] = took[(uint64_t)commits * 99 / 100];
    figure[3] = took[(uint64_t)commits * 999 / 1000];
}

static void
arguments(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--json") == 0)
            json = true;
        else if (strcmp(argv[i], "--rounds") == 0 && i + 1 < argc)
            rounds = (unsigned)strtoul(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--commits") == 0 && i + 1 < argc)
            commits = (unsigned)strtoul(argv[++i], NULL, 10);
}

int
main(int argc, char **argv)
{
    static report_samples sample, times[MODES][FIGURES], ratios[MODES][FIGURES];
    cop_store *store = NULL;
    cop_atom atom;
    char name[32];
    arguments(argc, argv);
    if (rounds < 1 || rounds > REPORT_ROUNDS_MAX || commits < 1000) {
        report_note("--rounds 1 to %d, --commits from 1000", REPORT_ROUNDS_MAX);
        return 2;
    }
    uint32_t *took = calloc(commits, sizeof *took);
    need(took != NULL ? COP_OK : COP_E_MEMORY, "memory");
    need(cop_store_open(NULL, &store, NULL), "open");
    need(cop_atom_at(store, "bench/x", 7, &atom, NULL), "atom");
    for (unsigned round = 0; round < rounds; round++) {
        double figure[MODES][FIGURES];
        for (unsigned k = 0; k < MODES; k++) {
            unsigned mode = (k + round) % MODES; /* none always follows the same */
            mode_set(store, mode);
            bench_commits(store, atom, took, figure[mode]);
        }
        mode_set(store, EVERY);
        bench_sample(store, &sample);
        for (unsigned mode = 0; mode < MODES; mode++)
            for (unsigned f = 0; f < FIGURES; f++) {
                report_add(&times[mode][f], figure[mode][f]);
                report_add(&ratios[mode][f], figure[mode][f] / figure[OFF][f]);
            }
    }
    report("sample", "coppice", "ns", &sample);
    for (unsigned f = 0; f < FIGURES; f++)
        for (unsigned mode = 0; mode < MODES; mode++) {
            snprintf(name, sizeof name, "commit_%s", figures[f]);
            report(name, mode_names[mode], "ns", &times[mode][f]);
            snprintf(name, sizeof name, "commit_%s_ratio", figures[f]);
            if (mode != OFF)
                report(name, mode_names[mode], "of off", &ratios[mode][f]);
        }
    cop_store_close(store);
    free(took);
    return 0;
}

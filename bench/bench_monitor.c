/* SPDX-License-Identifier: MIT */
/*
 * What the monitor and watchers cost: recording one sample, and a synchronous commit
 *
 *   off      with neither
 *   chosen   with the monitor, as it comes
 *   every    with the monitor measuring each commit
 *   watched  with ten watchers of what is written, told by a pool
 *   stuck    the same, but the function of one of them never returns
 *
 * Rounds alternate between these in one process, so that what the machine does meanwhile meets all
 * of them alike; a ratio is taken within a round: to off, and of stuck to watched. The pool is
 * there in all of them.
 *
 *     bench_monitor [--json] [--rounds N] [--commits N]
 */
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <coppice/coppice.h>

#include "bench/arguments.h"
#include "bench/clock.h"
#include "bench/need.h"
#include "bench/report.h"
#include "monitor/monitor.h"

enum { OFF, CHOSEN, EVERY, WATCHED, STUCK, MODES };
static const char *const mode_names[] = {"off", "chosen", "every", "watched", "stuck"};
static const char *const figures[] = {"mean", "p50", "p99", "p999"};
enum { FIGURES = 4 };

static unsigned rounds = 15, commits = 100000;
static bool json;

static void
report(const char *name, const char *system, const char *unit, const report_samples *samples)
{
    char number[32];
    char fields[96];
    double low, high;
    report_interval(samples, &low, &high);
    snprintf(fields, sizeof fields, ",\"ci_low\":%.4g,\"ci_high\":%.4g", low, high);
    const report_row row = {"monitor", name, system, unit, fields, samples};
    if (json)
        report_json(&row);
    else
        printf("%-18s %-7s %8s %-10s [%.4g, %.4g]\n", name, system,
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

static void
sleep_ms(long ms)
{
    const struct timespec time = {0, ms * 1000000};
    nanosleep(&time, NULL);
}

static inline void
set_one(cop_store *store, cop_atom atom, int64_t i)
{
    cop_txn *txn = NULL;
    cop_value value = cop_i64(i);
    need(cop_txn_begin(store, &txn), "begin");
    need(cop_txn_set(txn, atom, &value), "set");
    need(cop_txn_commit(txn, NULL, NULL), "commit");
}

static int
compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

enum { WATCHERS = 10 };
#define WINDOW_NS UINT64_C(16000000)
static cop_watch *watchers[WATCHERS];
static atomic_bool stuck, release;

static void
look(void *context, cop_watch *watch, cop_watch_batch *batch)
{
    cop_change change;
    (void)watch;
    while (cop_watch_change(batch, &change))
        ;
    if (context == NULL)
        return;
    atomic_store(&stuck, true);
    while (!atomic_load(&release))
        sleep_ms(1);
}

static void
watchers_open(cop_store *store, bool one_sticks)
{
    cop_watch_options options = COP_WATCH_OPTIONS_INIT;
    options.min_interval_ns = options.max_delay_ns = WINDOW_NS;
    atomic_store(&release, false);
    atomic_store(&stuck, false);
    for (int i = 0; i < WATCHERS; i++)
        need(cop_watch_open(store, "bench", 5, &options, look, one_sticks && i == 0 ? store : NULL,
                            &watchers[i], NULL),
             "watch");
}

/* Goes on when the one that is to stick does. */
static void
watchers_begin(cop_store *store, bool one_sticks, cop_atom atom)
{
    watchers_open(store, one_sticks);
    for (int64_t i = 0; one_sticks && !atomic_load(&stuck); i--) {
        set_one(store, atom, i);
        sleep_ms(1);
    }
}

static void
watchers_close(void)
{
    atomic_store(&release, true);
    for (int i = 0; i < WATCHERS; i++) {
        cop_watch_close(watchers[i]);
        watchers[i] = NULL;
    }
}

static void
mode_set(cop_store *store, unsigned mode, cop_atom atom)
{
    cop_monitor_options options = COP_MONITOR_OPTIONS_INIT;
    need(cop_monitor_stop(store), "stop");
    watchers_close();
    options.sample_every = mode == EVERY;
    if (mode == CHOSEN || mode == EVERY)
        need(cop_monitor_start(store, &options, NULL), "start");
    if (mode == WATCHED || mode == STUCK)
        watchers_begin(store, mode == STUCK, atom);
}

/* Each commit is timed from outside, the same in every mode. */
static void
bench_commits(cop_store *store, cop_atom atom, uint32_t *took, double figure[FIGURES])
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < commits; i++) {
        uint64_t began = bench_wall_ns();
        set_one(store, atom, (int64_t)i);
        took[i] = (uint32_t)(bench_wall_ns() - began);
        sum += took[i];
    }
    qsort(took, commits, sizeof *took, compare_u32);
    figure[0] = (double)sum / commits;
    figure[1] = took[commits / 2];
    figure[2] = took[(uint64_t)commits * 99 / 100];
    figure[3] = took[(uint64_t)commits * 999 / 1000];
}

static report_samples sample, times[MODES][FIGURES], ratios[MODES][FIGURES], sticking[FIGURES];

static void
round_run(cop_store *store, cop_atom atom, uint32_t *took, unsigned round)
{
    double figure[MODES][FIGURES];
    for (unsigned k = 0; k < MODES; k++) {
        unsigned mode = (k + round) % MODES; /* none always follows the same */
        mode_set(store, mode, atom);
        bench_commits(store, atom, took, figure[mode]);
    }
    mode_set(store, EVERY, atom);
    bench_sample(store, &sample);
    for (unsigned f = 0; f < FIGURES; f++) {
        for (unsigned mode = 0; mode < MODES; mode++) {
            report_add(&times[mode][f], figure[mode][f]);
            report_add(&ratios[mode][f], figure[mode][f] / figure[OFF][f]);
        }
        report_add(&sticking[f], figure[STUCK][f] / figure[WATCHED][f]);
    }
}

static void
report_all(void)
{
    char name[32];
    report("sample", "coppice", "ns", &sample);
    for (unsigned f = 0; f < FIGURES; f++) {
        for (unsigned mode = 0; mode < MODES; mode++) {
            snprintf(name, sizeof name, "commit_%s", figures[f]);
            report(name, mode_names[mode], "ns", &times[mode][f]);
            snprintf(name, sizeof name, "commit_%s_ratio", figures[f]);
            if (mode != OFF)
                report(name, mode_names[mode], "of off", &ratios[mode][f]);
        }
        report(name, mode_names[STUCK], "of watched", &sticking[f]);
    }
}

int
main(int argc, char **argv)
{
    cop_pool_options options = COP_POOL_OPTIONS_INIT;
    cop_store *store = NULL;
    cop_pool *pool = NULL;
    cop_atom atom;
    const bench_argument table[] = {BENCH_FLAG("json", json),
                                    BENCH_NUMBER("rounds", rounds, 1, REPORT_ROUNDS_MAX),
                                    BENCH_NUMBER("commits", commits, 1000, UINT32_MAX), BENCH_END};
    bench_arguments(argc, argv, table);
    uint32_t *took = calloc(commits, sizeof *took);
    need(took != NULL ? COP_OK : COP_E_MEMORY, "memory");
    options.threads = 2; /* one of them sticks */
    need(cop_pool_open(&options, &pool, NULL), "pool");
    need(cop_store_open(NULL, &store, NULL), "open");
    need(cop_store_set_pool(store, pool), "set_pool");
    need(cop_atom_at(store, "bench/x", 7, &atom, NULL), "atom");
    for (unsigned round = 0; round < rounds; round++)
        round_run(store, atom, took, round);
    report_all();
    watchers_close();
    cop_store_close(store);
    cop_pool_close(pool);
    free(took);
    return 0;
}

/* SPDX-License-Identifier: MIT */
/*
 * Commits of one thread at full speed, each timed, while another thread reads (the measure),
 * compares two kept versions, shows all kept ones again, goes back to one, or the last three in
 * turn: all without a pause. The five take turns, and ratios are taken within a round, so that what
 * else the machine does falls on all of them. Every version is kept, and all but the last 50 are
 * pruned.
 */
#include "bench/history_beside.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <coppice/coppice.h>

#include "bench/clock.h"
#include "bench/need.h"
#include "bench/report.h"

enum { ATOMS = 10000, COMMITS = 50000, READ = 100 };

enum { READS, COMPARES, REPLAYS, RESTORES, ALL, MODES };
static const char *const mode_names[MODES] = {"reads", "compares", "replays", "restores", "all"};

enum { P50, P99, P999, FIGURES };
static const char *const figure_names[FIGURES] = {"p50", "p99", "p999"};

static cop_store *store;
static cop_atom atom[ATOMS];
static uint32_t took[COMMITS];
static atomic_bool over;

typedef struct other {
    unsigned mode;
    uint64_t random, done;
} other;

static uint64_t
random_below(uint64_t *state, uint64_t n)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state % n;
}

/* ---- the other thread ---- */

/* One of the kept versions; pruned meanwhile, perhaps. */
static uint64_t
some_kept(other *o)
{
    cop_history_entry entry;
    uint64_t newest = cop_store_version(store), back = random_below(&o->random, 50);
    return cop_history_next(store, newest > back ? newest - back : 0, &entry) == COP_OK
               ? entry.version
               : newest;
}

static void
reads(other *o)
{
    cop_value value[READ];
    cop_pin_t pin = cop_pin(store);
    (void)cop_get_many(pin.snapshot, atom + random_below(&o->random, ATOMS - READ), READ, value);
    cop_unpin(pin);
}

static void
compares(other *o)
{
    cop_history_difference difference;
    cop_status status = cop_history_compare(store, some_kept(o), some_kept(o), &difference);
    need(status == COP_E_ABSENT ? COP_OK : status, "compare");
}

static int
show(void *context, const cop_history_entry *entry, cop_watch_batch *batch)
{
    cop_change change;
    (void)context;
    (void)entry;
    while (cop_watch_change(batch, &change))
        ;
    return atomic_load_explicit(&over, memory_order_relaxed);
}

static void
replays(other *o)
{
    cop_history_replay_options options = COP_HISTORY_REPLAY_OPTIONS_INIT;
    cop_replay *replay;
    (void)o;
    options.speed = 0;
    options.to = cop_store_version(store);
    need(cop_history_replay_open(store, &options, &replay, NULL), "replay");
    cop_status status = cop_history_replay_run(replay, COP_FOREVER, show, NULL);
    need(status == COP_E_CANCELLED ? COP_OK : status, "run");
    cop_history_replay_close(replay);
}

static void
restores(other *o)
{
    cop_status status = cop_history_restore(store, some_kept(o), COP_FOREVER, NULL, NULL);
    need(status == COP_E_ABSENT ? COP_OK : status, "restore");
}

static void
all(other *o)
{
    compares(o);
    replays(o);
    restores(o);
}

static void *
other_body(void *context)
{
    static void (*const once[MODES])(other *) = {reads, compares, replays, restores, all};
    other *o = context;
    for (; !atomic_load_explicit(&over, memory_order_relaxed); o->done++)
        once[o->mode](o);
    return NULL;
}

/* ---- the writer ---- */

static void
commit_one(uint32_t i, int64_t number)
{
    const cop_value value = cop_i64(number);
    cop_txn *txn;
    need(cop_txn_begin(store, &txn), "begin");
    need(cop_txn_set(txn, atom[i], &value), "set");
    need(cop_txn_commit(txn, NULL, NULL), "commit");
}

static int
compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* The figures in ns, and how often the other one did what it does, a second. */
static double
measure(unsigned mode, double figure[FIGURES])
{
    uint64_t random = 88172645463325252u;
    other o = {mode, 362436069u, 0};
    pthread_t thread;
    atomic_store(&over, false);
    need(pthread_create(&thread, NULL, other_body, &o) == 0 ? COP_OK : COP_E_STATE, "thread");
    uint64_t began = bench_wall_ns(), last = began;
    for (uint32_t i = 0; i < COMMITS; i++) {
        commit_one((uint32_t)random_below(&random, ATOMS), (int64_t)(random >> 1));
        uint64_t now = bench_wall_ns();
        took[i] = now - last < UINT32_MAX ? (uint32_t)(now - last) : UINT32_MAX;
        last = now;
    }
    atomic_store(&over, true);
    pthread_join(thread, NULL);
    qsort(took, COMMITS, sizeof *took, compare_u32);
    figure[P50] = took[COMMITS / 2];
    figure[P99] = took[(uint64_t)COMMITS * 99 / 100];
    figure[P999] = took[(uint64_t)COMMITS * 999 / 1000];
    return (double)o.done * 1e9 / (double)(last - began);
}

/* ---- rounds ---- */

static report_samples times[MODES][FIGURES], ratios[MODES][FIGURES], rates[MODES];

static void
round_run(unsigned long round)
{
    double figure[MODES][FIGURES];
    for (unsigned k = 0; k < MODES; k++) {
        unsigned mode = (unsigned)((k + round) % MODES); /* none always follows the same */
        report_add(&rates[mode], measure(mode, figure[mode]));
    }
    for (unsigned mode = 0; mode < MODES; mode++)
        for (unsigned f = 0; f < FIGURES; f++) {
            report_add(&times[mode][f], figure[mode][f]);
            report_add(&ratios[mode][f], figure[mode][f] / figure[READS][f]);
        }
}

static void
print(const char *what, const char *mode, const char *unit, const report_samples *samples,
      bool json)
{
    char name[64], number[32], fields[96];
    double low, high;
    snprintf(name, sizeof name, "beside_%s_%s", mode, what);
    report_interval(samples, &low, &high);
    snprintf(fields, sizeof fields, ",\"atoms\":%d,\"ci_low\":%.4g,\"ci_high\":%.4g", ATOMS, low,
             high);
    report_row row = {"history", name, "coppice", unit, fields, samples};
    if (json)
        report_json(&row);
    else
        printf("%-26s %10s %-10s [%.4g, %.4g]\n", name,
               report_number(report_median(samples), number, sizeof number), unit, low, high);
}

static void
open_store(void)
{
    cop_options options = COP_OPTIONS_INIT;
    const cop_value value = cop_i64(0);
    char path[32];
    cop_txn *txn;
    need(cop_options_set(&options, "history.keep", "commit", NULL), "option");
    options.batch_window_ms = 0;
    need(cop_store_open(&options, &store, NULL), "open");
    need(cop_txn_begin(store, &txn), "begin");
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < ATOMS; i++) {
            int n = snprintf(path, sizeof path, "b%d/a%d", i / 100, i % 100);
            need(pass == 0 ? cop_txn_set_at(txn, path, (size_t)n, &value, NULL)
                           : cop_atom_find(store, path, (size_t)n, &atom[i]),
                 "atoms");
        }
        if (pass == 0)
            need(cop_txn_commit(txn, NULL, NULL), "commit");
    }
}

void
history_beside(unsigned long rounds, bool json)
{
    open_store();
    for (unsigned long round = 0; round < rounds; round++)
        round_run(round);
    for (unsigned mode = 0; mode < MODES; mode++) {
        print("rate", mode_names[mode], "/s", &rates[mode], json);
        for (unsigned f = 0; f < FIGURES; f++) {
            char name[32];
            print(figure_names[f], mode_names[mode], "ns", &times[mode][f], json);
            snprintf(name, sizeof name, "%s_ratio", figure_names[f]);
            if (mode != READS)
                print(name, mode_names[mode], "of reads", &ratios[mode][f], json);
        }
    }
    cop_store_close(store);
}

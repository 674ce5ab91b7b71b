/* SPDX-License-Identifier: MIT */
/*
 * ./dev bench history: what kept versions cost. A tree of 1,000,000 atoms (--atoms), of which 50
 * versions are kept, 1,000 random changes from one to the next: their memory, for one and in all,
 * beside as many full copies of the tree, which is what it holds before the first change; the time
 * to drop all of them and free what they held; what keeping costs a commit; and the time to go back
 * by 10 to 100,000 changes.
 *
 * Memory is what the store's own accounts say is in use: pages, long values and names.
 *
 * Behind that, what a writer feels of it: history_beside.c. --beside: that alone.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <coppice/coppice.h>

#include "bench/arguments.h"
#include "bench/clock.h"
#include "bench/history_beside.h"
#include "bench/need.h"
#include "bench/report.h"

enum { VERSIONS = 50, CHANGES = 1000, BRANCH = 1000, COMMITS = 20000 };

enum {
    FULL_COPY,
    PER_VERSION,
    ALL_VERSIONS,
    OF_COPIES,
    DROP_ALL,
    COMMIT_OFF,
    COMMIT_KEPT,
    BACK_10,
    BACK_1000,
    BACK_100000,
    CASES
};
static const struct {
    const char *name, *unit;
} cases[CASES] = {
    {"full_copy", "bytes"},       {"per_version", "bytes"}, {"all_versions", "bytes"},
    {"of_full_copies", "%"},      {"drop_all", "ms"},       {"commit_not_kept", "ns/commit"},
    {"commit_kept", "ns/commit"}, {"restore_10", "us"},     {"restore_1000", "us"},
    {"restore_100000", "us"},
};

static cop_store *store;
static cop_atom *atom;
static uint32_t atoms = 1000000;
static uint64_t random_state = 88172645463325252u;

static uint32_t
random_below(uint32_t n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)((random_state >> 32) * n >> 32);
}

static cop_txn *
begin(void)
{
    cop_txn *txn;
    need(cop_txn_begin(store, &txn), "begin");
    return txn;
}

static void
keep_rule(const char *rule)
{
    cop_options options = COP_OPTIONS_INIT;
    need(cop_store_options(store, &options), "options");
    need(cop_options_set(&options, "history.keep", rule, NULL), "option");
    need(cop_store_reconfigure(store, &options, COP_FOREVER, NULL), "reconfigure");
}

static void
open_store(void)
{
    cop_options options = COP_OPTIONS_INIT;
    char path[32];
    options.history_max_snapshots = VERSIONS;
    options.batch_window_ms = 0;
    need(cop_store_open(&options, &store, NULL), "open");
    cop_txn *txn = begin();
    for (uint32_t i = 0; i < atoms; i++) {
        int n = snprintf(path, sizeof path, "b%u/a%u", i / BRANCH, i % BRANCH);
        const cop_value value = cop_i64(i);
        need(cop_txn_set_at(txn, path, (size_t)n, &value, NULL), "set_at");
    }
    need(cop_txn_commit(txn, NULL, NULL), "commit");
    atom = malloc(atoms * sizeof *atom);
    for (uint32_t i = 0; atom != NULL && i < atoms; i++) {
        int n = snprintf(path, sizeof path, "b%u/a%u", i / BRANCH, i % BRANCH);
        need(cop_atom_find(store, path, (size_t)n, &atom[i]), "find");
    }
    need(atom != NULL ? COP_OK : COP_E_MEMORY, "table");
}

/* All that is due to be freed has been. */
static void
settle(void)
{
    cop_stats stats = COP_STATS_INIT;
    do {
        need(cop_store_poll(store), "poll");
        need(cop_stats_take(store, &stats), "stats");
    } while (stats.pages_dead > 0 && stats.held_versions == 0);
}

static double
used_bytes(void)
{
    cop_stats stats = COP_STATS_INIT;
    need(cop_stats_take(store, &stats), "stats");
    return (double)(stats.pages * 512 + stats.value_bytes + stats.name_bytes);
}

static void
change(uint32_t n)
{
    cop_txn *txn = begin();
    while (n-- > 0) {
        const cop_value value = cop_i64(random_below(1u << 30));
        need(cop_txn_set(txn, atom[random_below(atoms)], &value), "set");
    }
    need(cop_txn_commit(txn, NULL, NULL), "commit");
}

static void
round_memory(report_samples of[CASES])
{
    settle();
    double empty = used_bytes();
    keep_rule("commit");
    need(cop_history_keep(store, NULL, 0, NULL, NULL), "keep"); /* the first of the 50 */
    for (int i = 1; i < VERSIONS; i++)
        change(CHANGES);
    double full = used_bytes() - empty;
    report_add(&of[FULL_COPY], empty);
    report_add(&of[PER_VERSION], full / (VERSIONS - 1));
    report_add(&of[ALL_VERSIONS], full);
    report_add(&of[OF_COPIES], 100.0 * full / (empty * (VERSIONS - 1)));
    keep_rule("label");
    uint64_t began = bench_wall_ns();
    need(cop_history_clear(store, NULL), "clear");
    settle();
    report_add(&of[DROP_ALL], (double)(bench_wall_ns() - began) / 1e6);
}

/* Of small commits, which feel it most. */
static double
commits(void)
{
    uint64_t began = bench_cpu_ns();
    for (int i = 0; i < COMMITS; i++)
        change(1);
    return (double)(bench_cpu_ns() - began) / COMMITS;
}

static void
round_commits(report_samples of[CASES], bool opposite)
{
    for (int i = 0; i < 2; i++) {
        bool kept = (i == 1) != opposite;
        keep_rule(kept ? "commit" : "off");
        report_add(&of[kept ? COMMIT_KEPT : COMMIT_OFF], commits());
    }
    keep_rule("off");
    keep_rule("label");
    settle();
}

static double
restore_after(uint32_t changes)
{
    uint64_t version;
    need(cop_history_keep(store, NULL, 0, &version, NULL), "keep");
    change(changes);
    uint64_t began = bench_wall_ns();
    need(cop_history_restore(store, version, COP_FOREVER, NULL, NULL), "restore");
    uint64_t ended = bench_wall_ns();
    need(cop_history_clear(store, NULL), "clear");
    settle();
    return (double)(ended - began) / 1e3;
}

static void
round_run(report_samples of[CASES], bool opposite)
{
    round_memory(of);
    round_commits(of, opposite);
    report_add(&of[BACK_10], restore_after(10));
    report_add(&of[BACK_1000], restore_after(1000));
    report_add(&of[BACK_100000], restore_after(100000));
}

static void
print(const report_samples of[CASES], bool json)
{
    char number[32], fields[96];
    double low, high;
    for (int i = 0; i < CASES; i++) {
        report_interval(&of[i], &low, &high);
        snprintf(fields, sizeof fields, ",\"atoms\":%u,\"ci_low\":%.4g,\"ci_high\":%.4g", atoms,
                 low, high);
        report_row row = {"history", cases[i].name, "coppice", cases[i].unit, fields, &of[i]};
        if (json)
            report_json(&row);
        else
            printf("%-18s %10s %-10s [%.4g, %.4g]\n", cases[i].name,
                   report_number(report_median(&of[i]), number, sizeof number), cases[i].unit, low,
                   high);
    }
}

static void
bench_store(unsigned long rounds, bool json)
{
    static report_samples of[CASES];
    open_store();
    for (unsigned long i = 0; i < rounds; i++)
        round_run(of, i % 2 == 1);
    print(of, json);
    cop_store_close(store);
    free(atom);
}

int
main(int argc, char **argv)
{
    uint32_t rounds = 15;
    bool json = false, beside = false;
    const bench_argument table[] = {
        BENCH_FLAG("json", json), BENCH_NUMBER("rounds", rounds, 1, REPORT_ROUNDS_MAX),
        BENCH_NUMBER("atoms", atoms, 1000, 10000000), BENCH_FLAG("beside", beside), BENCH_END};
    bench_arguments(argc, argv, table);
    if (!beside)
        bench_store(rounds, json);
    history_beside(rounds, json);
    return 0;
}

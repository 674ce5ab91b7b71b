/* SPDX-License-Identifier: MIT */
/*
 * ./dev bench diff: the difference of two versions that are 1,000 changes apart, for each change,
 * in the CPU time of the thread that asks.
 *
 *   values_*   1,000 values, spread over all atoms, have changed
 *   array_*    1,000 elements, spread over one array of a tenth of the atoms, came
 *   *_json, *_merge, *_binary   the patch, handed to a sink that throws it away
 *
 * Among 1,000,000 atoms, with --large also among 10,000,000: what one change costs should not
 * depend on it but for caches. (A merge patch has the whole array, so there is no array_merge.)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <coppice/coppice.h>

#include "bench/arguments.h"
#include "bench/clock.h"
#include "bench/need.h"
#include "bench/report.h"

enum { CHANGES = 1000, BRANCH = 1000, CASES = 5 };

static const struct what {
    const char *name;
    cop_patch_format format;
    const char *path;
} whats[CASES] = {
    {"values_json", COP_PATCH_JSON, "values"},     {"values_merge", COP_PATCH_MERGE, "values"},
    {"values_binary", COP_PATCH_BINARY, "values"}, {"array_json", COP_PATCH_JSON, "array"},
    {"array_binary", COP_PATCH_BINARY, "array"},
};

static uint64_t bytes;

static int
throw_away(void *context, const char *text, size_t n)
{
    (void)context;
    (void)text;
    bytes += n;
    return 0;
}

static cop_txn *
begin(cop_store *store)
{
    cop_txn *txn;
    need(cop_txn_begin(store, &txn), "begin");
    return txn;
}

static void
fill_branch(cop_store *store, uint32_t branch)
{
    cop_txn *txn = begin(store);
    char path[32];
    for (uint32_t i = 0; i < BRANCH; i++) {
        cop_value value = cop_i64(i);
        int n = snprintf(path, sizeof path, "values/b%u/k%u", branch, i);
        need(cop_txn_set_at(txn, path, (size_t)n, &value, NULL), "set");
    }
    need(cop_txn_commit(txn, NULL, NULL), "commit");
}

static cop_atom
find(cop_store *store, const char *path)
{
    cop_pin_t pin = cop_pin(store);
    cop_atom atom;
    need(cop_find(pin.snapshot, path, strlen(path), &atom), path);
    cop_unpin(pin);
    return atom;
}

static void
fill(cop_store *store, uint32_t atoms)
{
    cop_value array = cop_array();
    for (uint32_t b = 0; b < atoms / BRANCH; b++)
        fill_branch(store, b);
    cop_txn *txn = begin(store);
    need(cop_txn_set_at(txn, "array", 5, &array, NULL), "set");
    need(cop_txn_commit(txn, NULL, NULL), "commit");
    cop_atom atom = find(store, "array");
    txn = begin(store);
    for (uint32_t i = 0; i < atoms / 10; i++) {
        cop_value value = cop_i64(i);
        need(cop_txn_insert(txn, atom, COP_AT_END, &value, NULL), "insert");
    }
    need(cop_txn_commit(txn, NULL, NULL), "commit");
}

static void
change(cop_store *store, uint32_t atoms)
{
    cop_atom array = find(store, "array");
    cop_txn *txn = begin(store);
    char path[32];
    for (uint32_t i = 0; i < CHANGES; i++) {
        cop_value value = cop_i64(-1 - (int64_t)i);
        uint32_t at = (uint32_t)((uint64_t)i * (atoms / CHANGES) + i % BRANCH) % atoms;
        int n = snprintf(path, sizeof path, "values/b%u/k%u", at / BRANCH, at % BRANCH);
        need(cop_txn_set_at(txn, path, (size_t)n, &value, NULL), "set");
        need(cop_txn_insert(txn, array, (uint32_t)((uint64_t)i * (atoms / 10) / CHANGES), &value,
                            NULL),
             "insert");
    }
    need(cop_txn_commit(txn, NULL, NULL), "commit");
}

static void
measure(const cop_snapshot *before, const cop_snapshot *now, unsigned rounds, report_samples *of)
{
    for (unsigned round = 0; round < rounds; round++)
        for (unsigned i = 0; i < CASES; i++) {
            const struct what *what = &whats[round % 2 == 0 ? i : CASES - 1 - i];
            uint64_t began = bench_cpu_ns();
            need(cop_patch_write(before, now, what->path, strlen(what->path), what->format, NULL,
                                 throw_away, NULL, NULL),
                 what->name);
            report_add(&of[what - whats], (double)(bench_cpu_ns() - began) / CHANGES);
        }
}

static void
print(const report_samples *of, uint32_t atoms, bool json)
{
    char fields[64];
    snprintf(fields, sizeof fields, ",\"atoms\":%u", atoms);
    for (unsigned i = 0; i < CASES; i++) {
        const report_row row = {"diff", whats[i].name, "coppice", "ns/change", fields, &of[i]};
        double low, high;
        report_interval(&of[i], &low, &high);
        if (json)
            report_json(&row);
        else
            printf("%9u atoms  %-14s %8.0f ns a change  (%.0f to %.0f)\n", atoms, whats[i].name,
                   report_median(&of[i]), low, high);
    }
}

static void
run(uint32_t atoms, unsigned rounds, bool json)
{
    report_samples of[CASES] = {0};
    const cop_snapshot *before, *now;
    cop_store *store;
    need(cop_store_open(NULL, &store, NULL), "open");
    fill(store, atoms);
    need(cop_snapshot_take(store, &before), "snapshot");
    change(store, atoms);
    need(cop_snapshot_take(store, &now), "snapshot");
    measure(before, now, rounds, of);
    print(of, atoms, json);
    cop_snapshot_drop(before);
    cop_snapshot_drop(now);
    cop_store_close(store);
}

int
main(int argc, char **argv)
{
    uint32_t rounds = 31;
    bool json = false, large = false;
    const bench_argument table[] = {BENCH_FLAG("json", json),
                                    BENCH_NUMBER("rounds", rounds, 1, REPORT_ROUNDS_MAX),
                                    BENCH_FLAG("large", large), BENCH_END};
    bench_arguments(argc, argv, table);
    run(1000000, (unsigned)rounds, json);
    if (large)
        run(10000000, (unsigned)rounds, json);
    return 0;
}

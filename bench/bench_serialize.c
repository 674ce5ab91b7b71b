/* SPDX-License-Identifier: MIT */
/*
 * ./dev bench serialize: what a text costs after a change. Three documents (a small one as of a
 * host, 10 MB of records, a million numbers) are written by the cache (cop_json_rope), whole
 * (cop_json_write) and by jansson, which always writes all. Every text of the cache is compared
 * with what the plain writer says; the program fails when it differs.
 *
 * dirty_N: N of the values changed since the last text, which has been dropped as a server does
 * once it is sent; dirty_1pct_held: a client still holds it. unchanged: nothing has. full_write:
 * nothing is kept.
 */
#include <coppice/coppice.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/arguments.h"
#include "bench/clock.h"
#include "bench/json_document.h"
#include "bench/report.h"
#include "bench/store_work.h"
#include "serialize/serializer.h"
#include "store/store_internal.h"

enum { FULL, D001, D1S, D1C, D1H, D10, UNCHANGED, PARALLEL, CASES };
enum { COPPICE, PLAIN, JANSSON, SYSTEMS };

static const char *const case_names[CASES] = {"full_write",
                                              "dirty_001pct",
                                              "dirty_1pct_scattered",
                                              "dirty_1pct_clustered",
                                              "dirty_1pct_held",
                                              "dirty_10pct",
                                              "unchanged",
                                              "parallel_write"};
static const char *const system_names[SYSTEMS] = {"coppice", "coppice_full", "jansson"};

typedef struct text {
    char *at;
    size_t n, capacity;
} text;

typedef struct world {
    const char *name;
    cop_store *store;
    json_t *peer;
    cop_atom *atom;
    cop_value *value;
    size_t atoms, capacity;
    uint64_t seed;
    text expected, sink;
    cop_rope *last;
    bool compare;
    report_samples samples[SYSTEMS][CASES];
} world;

static void
must(bool good, const char *what)
{
    if (good)
        return;
    report_note("%s failed", what);
    exit(1);
}

static int
sink_write(void *context, const char *bytes, size_t n)
{
    text *t = context;
    if (n > t->capacity - t->n)
        return 1;
    memcpy(t->at + t->n, bytes, n);
    t->n += n;
    return 0;
}

static int
dump_write(const char *bytes, size_t n, void *context)
{
    return sink_write(context, bytes, n);
}

/* ---- documents ---- */

static json_document
document_host(void)
{
    json_document d = {malloc(1 << 20), 0, 1 << 20};
    must(d.text != NULL, "malloc");
    d.length += (size_t)sprintf(d.text, "{\"host\":{\"name\":\"bench\",\"processes\":{");
    for (unsigned i = 0; i < 400; i++)
        d.length += (size_t)sprintf(
            d.text + d.length,
            "%s\"%u\":{\"name\":\"process-%u\",\"state\":\"S\",\"cpu\":%u.5,\"threads\":%u,"
            "\"memory\":{\"resident\":%u,\"virtual\":%u,\"shared\":%u}}",
            i ? "," : "", i + 1000, i, i % 100, i % 30 + 1, i * 4096, i * 16384, i * 512);
    d.length += (size_t)sprintf(d.text + d.length, "}}}");
    return d;
}

static json_document
document_numbers(unsigned atoms)
{
    size_t room = (size_t)atoms * 20 + 100;
    json_document d = {malloc(room), 0, room};
    must(d.text != NULL, "malloc");
    d.text[d.length++] = '{';
    for (unsigned i = 0; i < atoms; i++) {
        if (i % 1000 == 0)
            d.length +=
                (size_t)sprintf(d.text + d.length, "%s\"group-%u\":{", i ? "}," : "", i / 1000);
        d.length += (size_t)sprintf(d.text + d.length, "%s\"n%u\":%u", i % 1000 ? "," : "",
                                    i % 1000, i * 7 % 100000);
    }
    d.length += (size_t)sprintf(d.text + d.length, "}}");
    return d;
}

static int
take_values(void *context, const cop_atom *atoms, const cop_value *values, size_t n)
{
    world *w = context;
    for (size_t i = 0; i < n; i++) {
        if (values[i].type >= COP_OBJECT)
            continue;
        if (w->atoms == w->capacity) {
            w->capacity = w->capacity * 2 + 1024;
            w->atom = realloc(w->atom, w->capacity * sizeof *w->atom);
            must(w->atom != NULL, "realloc");
        }
        w->atom[w->atoms++] = atoms[i];
    }
    return 0;
}

static void
world_open(world *w, const char *name, json_document d)
{
    cop_txn *txn;
    json_error_t error;
    *w = (world){.name = name, .seed = 1};
    must(cop_store_open(NULL, &w->store, NULL) == COP_OK, "cop_store_open");
    must(cop_txn_begin(w->store, &txn) == COP_OK, "cop_txn_begin");
    must(cop_json_read(txn, "", 0, d.text, d.length, NULL, NULL) == COP_OK, "cop_json_read");
    must(cop_txn_commit(txn, NULL, NULL) == COP_OK, "cop_txn_commit");
    w->peer = json_loadb(d.text, d.length, 0, &error);
    must(w->peer != NULL, "json_loadb");
    w->expected.capacity = w->sink.capacity = d.length * 2;
    w->expected.at = malloc(w->expected.capacity);
    w->sink.at = malloc(w->sink.capacity);
    must(w->expected.at && w->sink.at, "malloc");
    memset(w->expected.at, 1, w->expected.capacity);
    memset(w->sink.at, 1, w->sink.capacity);
    cop_pin_t pin = cop_pin(w->store);
    must(cop_scan(pin.snapshot, take_values, w) == COP_OK, "cop_scan");
    cop_unpin(pin);
    free(d.text);
}

static void
world_close(world *w)
{
    cop_rope_drop(w->last);
    cop_store_close(w->store);
    json_decref(w->peer);
    free(w->atom);
    free(w->expected.at);
    free(w->sink.at);
}

/* ---- changes ---- */

/* Another value of the same kind, sometimes longer or shorter. */
static void
change_value(world *w, cop_txn *txn, const cop_snapshot *snapshot, cop_atom atom)
{
    char name[24];
    cop_value value;
    uint64_t r = bench_random(&w->seed);
    must(cop_get(snapshot, atom, &value) == COP_OK, "cop_get");
    switch (value.type) {
    case COP_I64:
        value = cop_i64(cop_value_i64(&value) + 1);
        break;
    case COP_F64:
        value = cop_f64((double)(r % 10000000) / 100);
        break;
    case COP_STRING:
        value = cop_string(name, (size_t)sprintf(name, "user-%u", (unsigned)(r % 1000000)));
        break;
    case COP_BOOL:
        value = cop_bool(!cop_value_bool(&value));
        break;
    default:
        value = value.type == COP_NULL ? cop_bool(true) : cop_null();
        break;
    }
    must(cop_txn_set(txn, atom, &value) == COP_OK, "cop_txn_set");
}

static void
change(world *w, size_t values, bool clustered)
{
    cop_txn *txn;
    cop_pin_t pin = cop_pin(w->store);
    must(cop_txn_begin(w->store, &txn) == COP_OK, "cop_txn_begin");
    size_t first = bench_random(&w->seed) % (w->atoms - values + 1);
    for (size_t i = 0; i < values; i++)
        change_value(w, txn, pin.snapshot,
                     w->atom[clustered ? first + i : bench_random(&w->seed) % w->atoms]);
    cop_unpin(pin);
    must(cop_txn_commit(txn, NULL, NULL) == COP_OK, "cop_txn_commit");
}

/* ---- measuring ---- */

static void
check(world *w, const cop_snapshot *snapshot, const cop_rope *rope)
{
    w->expected.n = 0;
    must(cop_json_write(snapshot, cop_root(), NULL, sink_write, &w->expected) == COP_OK,
         "cop_json_write");
    size_t n = cop_rope_copy(rope, 0, w->sink.at, w->sink.capacity);
    must(n == w->expected.n && memcmp(w->sink.at, w->expected.at, n) == 0, "the comparison");
}

/* Snapshot and text, in microseconds. */
static double
ask(world *w, uint64_t (*clock)(void), bool compare)
{
    const cop_snapshot *snapshot;
    cop_rope *rope;
    uint64_t began = clock();
    must(cop_snapshot_take(w->store, &snapshot) == COP_OK, "cop_snapshot_take");
    must(cop_json_rope(snapshot, cop_root(), &rope) == COP_OK, "cop_json_rope");
    double took = (double)(clock() - began) / 1e3;
    if (compare)
        check(w, snapshot, rope);
    cop_snapshot_drop(snapshot);
    cop_rope_drop(w->last);
    w->last = rope;
    return took;
}

static void
forget_last(world *w)
{
    cop_rope_drop(w->last);
    w->last = NULL;
}

static void
measure_full(world *w)
{
    forget_last(w);
    cop__serializer_press(w->store->serializer);
    report_add(&w->samples[COPPICE][FULL], ask(w, bench_cpu_ns, w->compare));
}

static void
measure_dirty(world *w, unsigned c, double part, bool clustered, bool held)
{
    size_t values = (size_t)((double)w->atoms * part);
    change(w, values ? values : 1, clustered);
    if (!held)
        forget_last(w);
    report_add(&w->samples[COPPICE][c], ask(w, bench_cpu_ns, w->compare));
}

static void
measure_unchanged(world *w)
{
    enum { TIMES = 1000 };
    double sum = 0;
    for (unsigned i = 0; i < TIMES; i++)
        sum += ask(w, bench_cpu_ns, false);
    report_add(&w->samples[COPPICE][UNCHANGED], sum / TIMES);
}

static void
measure_plain(world *w)
{
    cop_pin_t pin = cop_pin(w->store);
    w->sink.n = 0;
    uint64_t began = bench_cpu_ns();
    must(cop_json_write(pin.snapshot, cop_root(), NULL, sink_write, &w->sink) == COP_OK, "write");
    report_add(&w->samples[PLAIN][FULL], (double)(bench_cpu_ns() - began) / 1e3);
    cop_unpin(pin);
}

static void
measure_jansson(world *w)
{
    w->sink.n = 0;
    uint64_t began = bench_cpu_ns();
    must(json_dump_callback(w->peer, dump_write, &w->sink, JSON_COMPACT) == 0, "json_dump");
    report_add(&w->samples[JANSSON][FULL], (double)(bench_cpu_ns() - began) / 1e3);
}

/* By the wall's clock, with one worker beside the caller; alone is coppice_full's place in this
 * row. */
static void
measure_parallel(world *w, cop_pool *pool)
{
    for (int with = 0; with < 2; with++) {
        forget_last(w);
        must(cop_store_set_pool(w->store, with ? pool : NULL) == COP_OK, "cop_store_set_pool");
        cop__serializer_press(w->store->serializer);
        report_add(&w->samples[with ? COPPICE : PLAIN][PARALLEL], ask(w, bench_wall_ns, false));
    }
    must(cop_store_set_pool(w->store, NULL) == COP_OK, "cop_store_set_pool");
}

/* One case alone, for a profiler. False: there is no such one. */
static bool
one_case(world *w, const char *name, cop_pool *pool)
{
    if (strcmp(name, "full_write") == 0)
        measure_full(w);
    else if (strcmp(name, "coppice_full") == 0)
        measure_plain(w);
    else if (strcmp(name, "dirty_1pct_scattered") == 0)
        measure_dirty(w, D1S, 0.01, false, false);
    else if (strcmp(name, "dirty_1pct_clustered") == 0)
        measure_dirty(w, D1C, 0.01, true, false);
    else if (strcmp(name, "dirty_10pct") == 0)
        measure_dirty(w, D10, 0.1, false, false);
    else if (strcmp(name, "parallel_write") == 0)
        measure_parallel(w, pool);
    else
        return false;
    return true;
}

static void
round_of(world *w, cop_pool *pool)
{
    measure_full(w);
    measure_plain(w);
    measure_jansson(w);
    measure_dirty(w, D001, 0.0001, false, false);
    measure_dirty(w, D1S, 0.01, false, false);
    measure_dirty(w, D1C, 0.01, true, false);
    measure_dirty(w, D1H, 0.01, false, true);
    measure_dirty(w, D10, 0.1, false, false);
    measure_unchanged(w);
    measure_parallel(w, pool);
}

/* ---- printing ---- */

static double
ratio(const world *w, unsigned c)
{
    const report_samples *whole = &w->samples[PLAIN][c == PARALLEL ? PARALLEL : FULL];
    double own = report_median(&w->samples[COPPICE][c]);
    return own > 0 ? report_median(whole) / own : 0;
}

static void
print_json(const world *w)
{
    for (unsigned c = 0; c < CASES; c++)
        for (unsigned s = 0; s < SYSTEMS; s++) {
            char fields[160];
            report_row row = {"serialize", case_names[c], system_names[s],
                              "us",        fields,        &w->samples[s][c]};
            if (w->samples[s][c].n == 0)
                continue;
            int n = snprintf(fields, sizeof fields, ",\"document\":\"%s\",\"atoms\":%zu", w->name,
                             w->atoms);
            if (s == COPPICE)
                snprintf(fields + n, sizeof fields - (size_t)n, ",\"speedup_full\":%.4g",
                         ratio(w, c));
            report_json(&row);
        }
}

/* The least is what disturbs least on a machine that others use too. */
static double
least(const report_samples *samples)
{
    report_samples sorted = *samples;
    report_sort(sorted.value, sorted.n);
    return sorted.n > 0 ? sorted.value[0] : 0;
}

static void
print_table(const world *w)
{
    char number[32], low[32];
    printf("%s: %zu values, %zu bytes\n%-22s %12s %10s %11s\n", w->name, w->atoms, w->expected.n,
           "case", "us", "least", "full is");
    for (unsigned c = 0; c < CASES; c++) {
        const report_samples *samples = &w->samples[COPPICE][c];
        if (samples->n > 0)
            printf("%-22s %8s ±%2.0f%% %10s %10.1fx\n", case_names[c],
                   report_number(report_median(samples), number, sizeof number),
                   report_spread(samples) * 100, report_number(least(samples), low, sizeof low),
                   ratio(w, c));
    }
    printf("%-22s %8s %15s\n", "coppice_full",
           report_number(report_median(&w->samples[PLAIN][FULL]), number, sizeof number),
           report_number(least(&w->samples[PLAIN][FULL]), low, sizeof low));
    printf("%-22s %8s %16.1fx\n", "jansson",
           report_number(report_median(&w->samples[JANSSON][FULL]), number, sizeof number),
           report_median(&w->samples[COPPICE][FULL]) / report_median(&w->samples[JANSSON][FULL]));
}

typedef struct settings {
    uint32_t rounds;
    bool json;
    const char *only, *only_case;
} settings;

static void
run(const char *name, json_document document, const settings *wanted, cop_pool *pool)
{
    static world w;
    world_open(&w, name, document);
    (void)ask(&w, bench_cpu_ns, true);
    w.compare = wanted->only_case == NULL;
    for (unsigned round = 0; round < wanted->rounds; round++)
        if (wanted->only_case == NULL)
            round_of(&w, pool);
        else
            must(one_case(&w, wanted->only_case, pool), "--case: no such case");
    (wanted->json ? print_json : print_table)(&w);
    world_close(&w);
}

int
main(int argc, char **argv)
{
    settings taken = {.rounds = 7};
    cop_pool *pool;
    cop_pool_options one = COP_POOL_OPTIONS_INIT;
    const bench_argument table[] = {BENCH_FLAG("json", taken.json),
                                    BENCH_NUMBER("rounds", taken.rounds, 1, REPORT_ROUNDS_MAX),
                                    BENCH_WORD("only", "host|records|numbers", taken.only),
                                    BENCH_WORD("case", "NAME", taken.only_case), BENCH_END};
    bench_arguments(argc, argv, table);
    one.threads = 1;
    must(cop_pool_open(&one, &pool, NULL) == COP_OK, "cop_pool_open");
    if (taken.only == NULL || strcmp(taken.only, "host") == 0)
        run("host", document_host(), &taken, pool);
    if (taken.only == NULL || strcmp(taken.only, "records") == 0)
        run("records", json_document_make(10000000), &taken, pool);
    if (taken.only == NULL || strcmp(taken.only, "numbers") == 0)
        run("numbers", document_numbers(1000000), &taken, pool);
    cop_pool_close(pool);
    return 0;
}

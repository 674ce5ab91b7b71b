/* SPDX-License-Identifier: MIT */
/*
 * ./dev bench json: a 10 MB document read into a store and written back, beside jansson reading it
 * into its own tree and dumping that. What coppice wrote must equal what it read; the program fails
 * when it does not.
 */
#include <coppice/coppice.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/arguments.h"
#include "bench/json_document.h"
#include "bench/report.h"
#include "bench/store_work.h"

enum { READ, COMMIT, LOAD, WRITE, STREAM, BYTES, CASES };
enum { COPPICE, JANSSON, SYSTEMS };

static const char *const case_names[CASES] = {"read",  "commit", "load",
                                              "write", "stream", "bytes_per_atom"};
static const char *const system_names[SYSTEMS] = {"coppice", "jansson"};

typedef struct figures {
    report_samples samples[SYSTEMS][CASES];
    uint64_t atoms;
    bool bytes_equal;
} figures;

typedef struct text_sink {
    char *text;
    size_t length, capacity;
} text_sink;

static bool
good(cop_status status, const cop_error *error, const char *call)
{
    if (status != COP_OK)
        report_note("%s: %s %s", call, cop_status_name(status), error ? error->message : "");
    return status == COP_OK;
}

static double
ms_since(uint64_t begin)
{
    return (double)(bench_cpu_ns() - begin) / 1e6;
}

/* The room is there before the clock starts. */
static int
sink_write(void *context, const char *bytes, size_t n)
{
    text_sink *sink = context;
    if (n > sink->capacity - sink->length)
        return 1;
    memcpy(sink->text + sink->length, bytes, n);
    sink->length += n;
    return 0;
}

static int
dump_write(const char *bytes, size_t n, void *context)
{
    return sink_write(context, bytes, n);
}

static bool
load(cop_store *store, const json_document *document, figures *f)
{
    cop_error error = COP_ERROR_INIT;
    cop_txn *txn;
    uint64_t begin = bench_cpu_ns();
    double read_ms, commit_ms;
    if (!good(cop_txn_begin(store, &txn), NULL, "cop_txn_begin"))
        return false;
    if (!good(cop_json_read(txn, "", 0, document->text, document->length, NULL, &error), &error,
              "cop_json_read")) {
        cop_txn_cancel(txn);
        return false;
    }
    read_ms = ms_since(begin);
    begin = bench_cpu_ns();
    if (!good(cop_txn_commit(txn, NULL, &error), &error, "cop_txn_commit"))
        return false;
    commit_ms = ms_since(begin);
    report_add(&f->samples[COPPICE][READ], read_ms);
    report_add(&f->samples[COPPICE][COMMIT], commit_ms);
    report_add(&f->samples[COPPICE][LOAD], read_ms + commit_ms);
    return true;
}

/* Equal as bytes, which takes order and spelling in; else at least as jansson sees it. */
static bool
same(const json_document *document, const text_sink *sink, figures *f)
{
    json_t *a, *b;
    bool equal;
    f->bytes_equal =
        sink->length == document->length && memcmp(sink->text, document->text, sink->length) == 0;
    if (f->bytes_equal)
        return true;
    a = json_loadb(document->text, document->length, 0, NULL);
    b = json_loadb(sink->text, sink->length, 0, NULL);
    equal = a && b && json_equal(a, b);
    json_decref(a);
    json_decref(b);
    if (!equal)
        report_note("what was written back differs from what was read");
    return equal;
}

/* The same in steps of 64 KiB: its ratio to `write` is what being able to stop costs. */
static bool
stream_back(const cop_snapshot *snapshot, text_sink *sink, figures *f)
{
    enum { STEP = 65536 };
    cop_json_stream *stream;
    bool more = true, ok;
    uint64_t begin = bench_cpu_ns();
    sink->length = 0;
    ok = good(cop_json_stream_open(snapshot, cop_root(), NULL, &stream), NULL,
              "cop_json_stream_open");
    while (ok && more && sink->capacity - sink->length >= STEP) {
        size_t n = 0;
        ok = good(cop_json_stream_next(stream, sink->text + sink->length, STEP, &n, &more), NULL,
                  "cop_json_stream_next");
        sink->length += n;
    }
    cop_json_stream_close(stream);
    report_add(&f->samples[COPPICE][STREAM], ms_since(begin));
    return ok && !more;
}

static bool
write_back(cop_store *store, const json_document *document, text_sink *sink, figures *f)
{
    const cop_snapshot *snapshot;
    bool ok;
    uint64_t begin;
    if (!good(cop_snapshot_take(store, &snapshot), NULL, "cop_snapshot_take"))
        return false;
    f->atoms = cop_snapshot_atoms(snapshot);
    begin = bench_cpu_ns();
    ok = good(cop_json_write(snapshot, cop_root(), NULL, sink_write, sink), NULL, "cop_json_write");
    report_add(&f->samples[COPPICE][WRITE], ms_since(begin));
    ok = ok && same(document, sink, f) && stream_back(snapshot, sink, f) && same(document, sink, f);
    cop_snapshot_drop(snapshot);
    return ok;
}

static bool
round_of_coppice(const json_document *document, text_sink *sink, figures *f)
{
    cop_store *store;
    cop_error error = COP_ERROR_INIT;
    cop_stats stats = COP_STATS_INIT;
    bool ok;
    if (!good(cop_store_open(NULL, &store, &error), &error, "cop_store_open"))
        return false;
    sink->length = 0;
    ok = load(store, document, f) && write_back(store, document, sink, f) &&
         good(cop_stats_take(store, &stats), NULL, "cop_stats_take");
    if (ok)
        report_add(&f->samples[COPPICE][BYTES], (double)stats.bytes_held / (double)f->atoms);
    cop_store_close(store);
    return ok;
}

static bool
round_of_jansson(const json_document *document, text_sink *sink, figures *f)
{
    json_error_t error;
    uint64_t held = bench_malloc_bytes(), begin = bench_cpu_ns();
    json_t *tree = json_loadb(document->text, document->length, 0, &error);
    if (!tree) {
        report_note("jansson: %s", error.text);
        return false;
    }
    report_add(&f->samples[JANSSON][LOAD], ms_since(begin));
    held = bench_malloc_bytes() - held;
    report_add(&f->samples[JANSSON][BYTES], (double)held / (double)f->atoms);
    sink->length = 0;
    begin = bench_cpu_ns();
    if (json_dump_callback(tree, dump_write, sink, JSON_COMPACT) != 0)
        report_note("jansson: the dump failed");
    report_add(&f->samples[JANSSON][WRITE], ms_since(begin));
    json_decref(tree);
    return true;
}

static void
print_json(const figures *f, const json_document *document)
{
    char fields[160];
    for (int c = 0; c < CASES; c++) {
        for (int s = 0; s < SYSTEMS; s++) {
            report_row row = {"json",          case_names[c],
                              system_names[s], c == BYTES ? "bytes/atom" : "ms",
                              fields,          &f->samples[s][c]};
            double own = report_median(&f->samples[COPPICE][c]);
            double peer = report_median(&f->samples[JANSSON][c]);
            int n = snprintf(fields, sizeof fields,
                             ",\"document_bytes\":%zu,\"atoms\":%llu,\"written_back\":\"%s\"",
                             document->length, (unsigned long long)f->atoms,
                             f->bytes_equal ? "same bytes" : "equal");
            if (s == COPPICE && peer > 0)
                snprintf(fields + n, sizeof fields - (size_t)n, ",\"ratio_jansson\":%.4g",
                         own / peer);
            report_json(&row);
        }
    }
}

static void
print_table(const figures *f, const json_document *document)
{
    char a[32], b[32];
    printf("%zu bytes of JSON, %llu atoms; written back: %s\n", document->length,
           (unsigned long long)f->atoms, f->bytes_equal ? "the same bytes" : "equal");
    printf("%-16s %-11s %14s %14s %8s\n", "case", "unit", "coppice", "jansson", "ratio");
    for (int c = 0; c < CASES; c++) {
        const report_samples *own = &f->samples[COPPICE][c], *peer = &f->samples[JANSSON][c];
        printf("%-16s %-11s %8s ±%3.0f%%", case_names[c], c == BYTES ? "bytes/atom" : "ms",
               report_number(report_median(own), a, sizeof a), report_spread(own) * 100);
        if (peer->n)
            printf(" %8s ±%3.0f%% %7.2fx", report_number(report_median(peer), b, sizeof b),
                   report_spread(peer) * 100, report_median(own) / report_median(peer));
        printf("\n");
    }
}

int
main(int argc, char **argv)
{
    static figures f;
    uint32_t rounds = 7, megabytes = 10;
    bool json = false, ok = true;
    json_document document;
    text_sink sink = {NULL, 0, 0};
    const bench_argument table[] = {BENCH_FLAG("json", json),
                                    BENCH_NUMBER("rounds", rounds, 1, REPORT_ROUNDS_MAX),
                                    BENCH_NUMBER("megabytes", megabytes, 1, 200), BENCH_END};
    bench_arguments(argc, argv, table);
    document = json_document_make((size_t)megabytes * 1000000);
    sink.capacity = document.capacity * 2;
    sink.text = calloc(1, sink.capacity);
    if (!document.text || !sink.text) {
        report_note("out of memory");
        return 1;
    }
    memset(sink.text, 1, sink.capacity);
    for (unsigned round = 0; ok && round < rounds; round++)
        ok = round_of_coppice(&document, &sink, &f) && round_of_jansson(&document, &sink, &f);
    if (ok && json)
        print_json(&f, &document);
    else if (ok)
        print_table(&f, &document);
    free(document.text);
    free(sink.text);
    return ok ? 0 : 1;
}

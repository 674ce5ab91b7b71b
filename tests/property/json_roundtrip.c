/* SPDX-License-Identifier: MIT */
/*
 * What json_property.py drives: documents in, what the store then holds out.
 *
 *     request   OP STORE INDENT ASCII LENGTH\n and LENGTH bytes of JSON
 *               OP: load (replace), patch (RFC 7396); STORE: doc (at path "doc"), root
 *     reply     STATUS LINE COLUMN POSITION LENGTH\n and LENGTH bytes: the branch after the request
 *
 * The version before each request is held over it, and must be written as it was.
 *
 * With a file as argument: the best of five times for jansson alone, for reading, committing and
 * writing, and whether what was written equals the file read again.
 */
#include <coppice/coppice.h>

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct text {
    char *bytes;
    size_t length, capacity;
} text;

static void
die(const char *what, cop_status status, const cop_error *error)
{
    fprintf(stderr, "json_roundtrip: %s: %s %s\n", what, cop_status_name(status),
            error ? error->message : "");
    exit(2);
}

static int
append(void *context, const char *bytes, size_t n)
{
    text *t = context;
    if (t->length + n > t->capacity) {
        t->capacity = 2 * (t->length + n);
        t->bytes = realloc(t->bytes, t->capacity);
        if (!t->bytes)
            return 1;
    }
    memcpy(t->bytes + t->length, bytes, n);
    t->length += n;
    return 0;
}

/* --- requests ------------------------------------------------------------------------------ */

static cop_status
read_into(cop_store *store, const char *path, const text *document, bool patch, cop_error *error)
{
    cop_json_read_options options = COP_JSON_READ_OPTIONS_INIT;
    cop_txn *txn;
    cop_error failed = COP_ERROR_INIT;
    options.merge_patch = patch;
    cop_status status = cop_txn_begin(store, &txn);
    if (status)
        die("begin", status, NULL);
    cop_status answer =
        cop_json_read(txn, path, strlen(path), document->bytes, document->length, &options, error);
    /* Committed after a refusal too: nothing was added then. */
    status = cop_txn_commit(txn, NULL, &failed);
    if (status)
        die("commit", status, &failed);
    return answer;
}

static void
write_snapshot(const cop_snapshot *snapshot, const char *path,
               const cop_json_write_options *options, text *out)
{
    cop_atom atom;
    out->length = 0;
    cop_status status = cop_find(snapshot, path, strlen(path), &atom);
    if (!status)
        status = cop_json_write(snapshot, atom, options, append, out);
    if (status && status != COP_E_ABSENT)
        die("write", status, NULL);
}

static void
write_out(cop_store *store, const char *path, const cop_json_write_options *options, text *out)
{
    cop_pin_t pin = cop_pin(store);
    if (!pin.snapshot)
        die("pin", cop_pin_status(), NULL);
    write_snapshot(pin.snapshot, path, options, out);
    cop_unpin(pin);
}

static void
read_bytes(text *t, size_t n)
{
    t->bytes = realloc(t->bytes, n + 1);
    t->length = n;
    if (!t->bytes || fread(t->bytes, 1, n, stdin) != n)
        die("short request", COP_E_IO, NULL);
}

/* Reads a document into the store, holding the version before it meanwhile. */
static cop_status
apply(cop_store *store, const char *path, bool patch, const text *document, cop_error *error)
{
    text before = {0}, after = {0};
    const cop_snapshot *held;
    cop_status status = cop_snapshot_take(store, &held);
    if (status)
        die("snapshot", status, NULL);
    write_snapshot(held, "", NULL, &before);
    status = read_into(store, path, document, patch, error);
    write_snapshot(held, "", NULL, &after);
    if (before.length != after.length || memcmp(before.bytes, after.bytes, after.length) != 0)
        die("a held version has changed", COP_E_STATE, NULL);
    cop_snapshot_drop(held);
    free(before.bytes);
    free(after.bytes);
    return status;
}

static bool
serve_one(cop_store *stores[2])
{
    static text document, out;
    char op[8], where[8];
    unsigned indent, ascii;
    size_t length;
    cop_error error = COP_ERROR_INIT;
    if (scanf("%7s %7s %u %u %zu", op, where, &indent, &ascii, &length) != 5 || getchar() != '\n') {
        free(document.bytes);
        free(out.bytes);
        return false;
    }
    read_bytes(&document, length);
    cop_json_write_options options = COP_JSON_WRITE_OPTIONS_INIT;
    options.indent = indent;
    options.ascii = ascii != 0;
    bool root = strcmp(where, "root") == 0, patch = strcmp(op, "patch") == 0;
    cop_status status = apply(stores[root], root ? "" : "doc", patch, &document, &error);
    write_out(stores[root], root ? "" : "doc", &options, &out);
    printf("%s %" PRIu32 " %" PRIu32 " %zd %zu\n", cop_status_name(status), error.line,
           error.column, (ssize_t)error.position, out.length);
    fwrite(out.bytes, 1, out.length, stdout);
    fflush(stdout);
    return true;
}

static int
serve(void)
{
    cop_store *stores[2];
    for (int i = 0; i < 2; i++) {
        cop_status status = cop_store_open(NULL, &stores[i], NULL);
        if (status)
            die("open", status, NULL);
    }
    while (serve_one(stores))
        ;
    cop_store_close(stores[0]);
    cop_store_close(stores[1]);
    return 0;
}

/* --- timing -------------------------------------------------------------------------------- */

static double
now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void
least(double *best, double began)
{
    double took = now_ms() - began;
    if (*best == 0 || took < *best)
        *best = took;
}

static void
time_once(const text *document, text *out, double best[4])
{
    cop_store *store;
    cop_txn *txn = NULL;
    cop_error error = COP_ERROR_INIT;
    double began = now_ms();
    json_decref(json_loadb(document->bytes, document->length,
                           JSON_DECODE_ANY | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL));
    least(&best[0], began);
    cop_status status = cop_store_open(NULL, &store, &error);
    if (!status)
        status = cop_txn_begin(store, &txn);
    if (status)
        die("open", status, &error);
    began = now_ms();
    status = cop_json_read(txn, "doc", 3, document->bytes, document->length, NULL, &error);
    least(&best[1], began);
    if (status)
        die("read", status, &error);
    began = now_ms();
    status = cop_txn_commit(txn, NULL, &error);
    least(&best[2], began);
    if (status)
        die("commit", status, &error);
    began = now_ms();
    write_out(store, "doc", NULL, out);
    least(&best[3], began);
    cop_store_close(store);
}

static int
time_file(const char *name)
{
    text document = {0}, out = {0};
    char block[65536];
    size_t n;
    double best[4] = {0};
    FILE *file = fopen(name, "rb");
    if (!file)
        die(name, COP_E_IO, NULL);
    while ((n = fread(block, 1, sizeof block, file)) > 0)
        append(&document, block, n);
    fclose(file);
    for (int i = 0; i < 5; i++)
        time_once(&document, &out, best);
    json_t *a = json_loadb(document.bytes, document.length, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    json_t *b = json_loadb(out.bytes, out.length, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    bool equal = a && json_equal(a, b);
    printf("bytes %zu  jansson_ms %.1f  read_ms %.1f  commit_ms %.1f  write_ms %.1f  equal %s\n",
           document.length, best[0], best[1], best[2], best[3], equal ? "yes" : "no");
    json_decref(a);
    json_decref(b);
    free(document.bytes);
    free(out.bytes);
    return equal ? 0 : 1;
}

int
main(int argc, char **argv)
{
    return argc > 1 ? time_file(argv[1]) : serve();
}

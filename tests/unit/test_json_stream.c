/* SPDX-License-Identifier: MIT */
/* JSON in steps of every size: the bytes are those of cop_json_write, and a step has its bounds. */
#include <math.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/store_internal.h"
#include "tests/support/json_test.h"
#include "tests/support/rope_check.h"

typedef cop_json_write_options write_options;

/* ---- comparing ---- */

static cop_json_stream *
open_stream(const cop_snapshot *snapshot, cop_atom atom, const write_options *options)
{
    cop_json_stream *stream = NULL;
    CHECK_OK(cop_json_stream_open(snapshot, atom, options, &stream));
    ck_assert_ptr_nonnull(stream);
    return stream;
}

/* All that is left, in steps of `size` bytes that are full but for the last one, unless `passes`:
 * then lazy members may end them before. In memory of its own size, so that a sanitizer sees what
 * writes beyond. */
static void
drain(cop_json_stream *stream, size_t size, bool passes, x_bytes *text)
{
    char *window = malloc(size);
    size_t written;
    bool more = true;
    while (more) {
        CHECK_OK(cop_json_stream_next(stream, window, size, &written, &more));
        ck_assert_uint_le(written, size);
        ck_assert_msg(written == size || !more || passes, "%zu of %zu bytes", written, size);
        x_take(text, window, written);
    }
    CHECK_OK(cop_json_stream_next(stream, window, size, &written, &more));
    ck_assert_uint_eq(written, 0);
    ck_assert(!more);
    free(window);
}

static void
check_text(const x_bytes *is, const char *expected, size_t n, size_t size)
{
    size_t at = 0;
    if (is->n == n && memcmp(is->at, expected, n) == 0)
        return;
    while (at < n && at < is->n && is->at[at] == expected[at])
        at++;
    ck_assert_msg(is->n == n && at == n,
                  "in steps of %zu: %zu bytes of %zu, different from byte %zu on", size, is->n, n,
                  at);
}

static void
check_stream(const cop_snapshot *snapshot, cop_atom atom, const write_options *options, size_t size,
             const x_bytes *expected)
{
    x_bytes text = {NULL, 0, 0};
    cop_json_stream *stream = open_stream(snapshot, atom, options);
    drain(stream, size, false, &text);
    check_text(&text, expected->at, expected->n, size);
    cop_json_stream_close(stream);
    free(text.at);
}

static const write_options layouts[] = {
    {sizeof(write_options), 0, 0, false, false}, {sizeof(write_options), 2, 0, false, false},
    {sizeof(write_options), 0, 0, true, false},  {sizeof(write_options), 16, 0, true, true},
    {sizeof(write_options), 0, 1, false, false}, {sizeof(write_options), 1, 2, false, false},
    {sizeof(write_options), 0, 0, false, true},
};

#define LAYOUTS (sizeof layouts / sizeof layouts[0])

/* The branch or value in every layout and in steps of 1 to 64 bytes, and of more. */
static void
check_atom(const cop_snapshot *snapshot, cop_atom atom)
{
    for (size_t i = 0; i < LAYOUTS; i++) {
        x_bytes expected = {NULL, 0, 0};
        CHECK_OK(cop_json_write(snapshot, atom, &layouts[i], x_take, &expected));
        for (size_t size = 1; size <= 64; size++)
            check_stream(snapshot, atom, &layouts[i], size, &expected);
        for (size_t size = 65; size < 100000; size += size / 3)
            check_stream(snapshot, atom, &layouts[i], size, &expected);
        check_stream(snapshot, atom, &layouts[i], expected.n, &expected);
        free(expected.at);
    }
}

static void
check_path(cop_store *store, const char *path)
{
    const cop_snapshot *snapshot = t_take(store);
    check_atom(snapshot, t_find(store, path));
    cop_snapshot_drop(snapshot);
}

/* ---- documents ---- */

START_TEST(documents)
{
    static const char *const texts[] = {
        "{}",
        "[]",
        "[[],{},[[]],[{}],{\"\":{}}]",
        "{\"a\":{\"b\":{\"c\":[1,[2,[3,{\"d\":null}]]]}},\"e\":[],\"f\":{}}",
        "[null,true,false,0,-1,9223372036854775807,-9223372036854775808,1.5,-0.0,1e300,5e-324]",
        "{\"\":\"\",\"a/b\":\"~\",\"*\":\"*\",\"~\":\"/\",\"a~b/c*d\":{\"~~~\":1},\"~3\":2}",
        "[\"\\\"\\\\\\b\\f\\n\\r\\t\\u0000\\u001f\\u007f\","
        "\"\\u0001\\u0002\\u0003\\u0004\\u0005\\u0006\"]",
        "[\"\\u00e9\\u20ac\\ud83d\\ude00\","
        "\"\\ud83d\\ude00\\ud83d\\ude00\\ud83d\\ude00\\u20ac\\u00e9x\"]",
        "{\"caf\\u00e9\\n\\\"\":{\"\\u20ac\\ud83d\\ude00\\u007f\":[]}}",
        "{\"b\":[{\"$bytes\":\"\"},{\"$bytes\":\"Zg==\"},{\"$bytes\":\"Zm8=\"},{\"$bytes\":"
        "\"Zm9v\"},"
        "{\"$bytes\":\"Zm9vYmFyYmF6Zm9vYmFyYmF6Zm9vYmFyYmF6Zg==\"}]}",
        "{\"e\":[{\"$error\":\"\"},{\"$error\":\"no \\\"x\\\"\"},{\"$error\":\"\\u20ac and on and "
        "on\"}]}",
        "{\"key that is longer than a window of sixty-four bytes, and then some more of it\":1}",
        "[\"a text that is longer than a window of sixty-four bytes, and then some more of it\"]",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        cop_store *store = t_open();
        j_load(store, "doc", texts[i]);
        check_path(store, "doc");
        check_path(store, "");
        t_close(store);
    }
}
END_TEST

START_TEST(values_at_the_root)
{
    static char text[3000];
    cop_store *store = t_open();
    memset(text, '\n', sizeof text);
    const cop_value values[] = {cop_null(),
                                cop_bool(true),
                                cop_bool(false),
                                cop_i64(INT64_MIN),
                                cop_f64(-DBL_MAX),
                                cop_f64((double)NAN),
                                cop_string("", 0),
                                cop_string("short", 5),
                                cop_string(text, sizeof text),
                                cop_bytes(text, 0),
                                cop_bytes("\xff\xfe", 2),
                                cop_bytes(text, 2999),
                                cop_error_value("why", 3),
                                cop_error_value(text, 1000)};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        t_set_at(store, "value", values[i]);
        check_path(store, "value");
    }
    t_close(store);
}
END_TEST

/* More levels than have room in the stream itself. */
START_TEST(deep_documents)
{
    char path[2 * 400 + 1] = "", text[1024];
    cop_store *store = t_open();
    for (size_t i = 0; i < 400; i++)
        memcpy(path + 2 * i, "d/", 3);
    path[2 * 400 - 1] = '\0';
    t_set_at(store, path, cop_i64(1));
    for (size_t i = 0; i < 500; i++)
        text[i] = '[', text[i + 500] = ']';
    text[1000] = '\0';
    j_load(store, "array", text);
    check_path(store, "d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d");
    const write_options options = COP_JSON_WRITE_OPTIONS_INIT;
    const cop_snapshot *snapshot = t_take(store);
    x_bytes expected = {NULL, 0, 0};
    CHECK_OK(cop_json_write(snapshot, cop_root(), &options, x_take, &expected));
    for (size_t size = 1; size < 4000; size += size)
        check_stream(snapshot, cop_root(), &options, size, &expected);
    free(expected.at);
    cop_snapshot_drop(snapshot);
    t_close(store);
}
END_TEST

static cop_value
random_text(x_world *w, char *text, size_t n)
{
    static const char *const some[] = {"a",
                                       "b",
                                       "\"",
                                       "\\",
                                       "\n",
                                       "\x01",
                                       "\x7f",
                                       "~",
                                       "\xc3\xa9",
                                       "\xe2\x82\xac",
                                       "\xf0\x9f\x98\x80",
                                       "\xf0\x9f",
                                       "\x80",
                                       "\x80\x80\x80\x80\x80",
                                       "\xe2",
                                       "\xff",
                                       "plain text"};
    size_t used = 0;
    uint32_t kinds = 1 + x_below(w, sizeof some / sizeof some[0]);
    while (used < n) {
        const char *next = some[x_below(w, 3) ? x_below(w, kinds) : 0];
        for (; *next && used < n; next++)
            text[used++] = *next;
    }
    return x_below(w, 8)   ? cop_string(text, n)
           : x_below(w, 2) ? cop_bytes(text, n)
                           : cop_error_value(text, n);
}

/* Characters of every length and what is none, cut at every place. */
START_TEST(random_texts)
{
    x_world w = {.seed = 7};
    static char text[5000];
    cop_store *store = t_open();
    for (unsigned i = 0; i < 120; i++) {
        size_t n = x_below(&w, i % 20 == 19 ? sizeof text : 150);
        t_set_at(store, "value", random_text(&w, text, n));
        check_path(store, "value");
    }
    t_close(store);
}
END_TEST

/* Keys of every length that a path has room for. */
START_TEST(long_keys)
{
    static const char *const units[] = {"k", "~0", "\xc3\xa9", "\"", "\xf0\x9f\x98\x80~1"};
    char path[COP_PATH_MAX + 1];
    cop_store *store = t_open();
    for (size_t u = 0; u < sizeof units / sizeof units[0]; u++) {
        size_t unit = strlen(units[u]);
        for (size_t n = 40; n < 3000; n += n) {
            memcpy(path, "keys/", 6);
            for (size_t at = 5; at < n; at += unit)
                memcpy(path + at, units[u], unit + 1);
            t_set_at(store, path, cop_i64((int64_t)n));
        }
    }
    check_path(store, "keys");
    t_close(store);
}
END_TEST

/* Random worlds, in some versions, in steps of random sizes, some of them read long after. */
static void
run_world(uint64_t seed, uint32_t wide, unsigned commits)
{
    static x_world w;
    w = (x_world){.store = t_open(), .seed = seed, .wide = wide};
    for (unsigned i = 0; i < commits; i++) {
        x_commit(&w, 1 + x_below(&w, x_below(&w, 10) ? 5 : 200));
        const cop_snapshot *snapshot = t_take(w.store);
        cop_atom atom = x_below(&w, 2) ? cop_root() : x_branch(&w, snapshot);
        const write_options *options = &layouts[x_below(&w, 3) ? 0 : x_below(&w, LAYOUTS)];
        x_bytes expected = {NULL, 0, 0}, text = {NULL, 0, 0};
        CHECK_OK(cop_json_write(snapshot, atom, options, x_take, &expected));
        cop_json_stream *stream = open_stream(snapshot, atom, options);
        cop_snapshot_drop(snapshot);
        x_commit(&w, 3);
        drain(stream, 1 + x_below(&w, x_below(&w, 2) ? 40 : 9000), false, &text);
        check_text(&text, expected.at, expected.n, 0);
        cop_json_stream_close(stream);
        free(expected.at);
        free(text.at);
    }
    t_close(w.store);
}

START_TEST(random_worlds)
{
    const char *more = getenv("STREAM_COMMITS");
    unsigned commits = more != NULL ? (unsigned)atoi(more) : 50;
    for (uint64_t seed = 1; seed <= 8; seed++)
        run_world(seed, seed % 2 ? 0 : 700, commits);
}
END_TEST

/* ---- lazy atoms ---- */

static cop_status
describe(cop_evaluation *evaluation, void *context, cop_value *out)
{
    cop_value value;
    cop_status status = cop_read_at(evaluation, P("source"), &value);
    *out = cop_value_i64(&value) % 2 ? cop_string("a text that does not fit in a slot", 34) : value;
    return context ? COP_E_FAILED : status;
}

static cop_atom
define_lazy(cop_store *store, const char *path, void *context)
{
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    cop_atom atom;
    options.kind = COP_LAZY;
    CHECK_OK(cop_computed_define(store, P(path), describe, context, &options, &atom, NULL));
    return atom;
}

START_TEST(lazy_atoms)
{
    cop_store *store = t_open();
    t_set_at(store, "source", cop_i64(3));
    define_lazy(store, "o/first", NULL);
    t_set_at(store, "o/value", cop_i64(1));
    define_lazy(store, "o/middle", NULL);
    define_lazy(store, "o/failing", store);
    define_lazy(store, "only/one", NULL);
    for (int64_t source = 3; source < 5; source++) {
        t_set_at(store, "source", cop_i64(source));
        const cop_snapshot *snapshot = t_take(store);
        check_atom(snapshot, t_find(store, "o/first"));
        for (size_t i = 0; i < LAYOUTS; i++) {
            x_bytes expected = {NULL, 0, 0};
            CHECK_OK(cop_json_write(snapshot, cop_root(), &layouts[i], x_take, &expected));
            for (size_t size = 1; size < 200; size++) {
                x_bytes text = {NULL, 0, 0};
                cop_json_stream *stream = open_stream(snapshot, cop_root(), &layouts[i]);
                drain(stream, size, true, &text);
                check_text(&text, expected.at, expected.n, size);
                cop_json_stream_close(stream);
                free(text.at);
            }
            free(expected.at);
        }
        cop_snapshot_drop(snapshot);
    }
    t_close(store);
}
END_TEST

/* A step passes over as many lazy members as it has bytes, no more. */
START_TEST(long_rows_of_lazy_atoms)
{
    enum { MEMBERS = 1000, SIZE = 16 };
    cop_store *store = t_open();
    char path[32], window[SIZE];
    size_t written, steps = 0, empty = 0;
    bool more = true;
    t_set_at(store, "source", cop_i64(3));
    for (unsigned i = 0; i < MEMBERS; i++) {
        snprintf(path, sizeof path, "o/k%u", i);
        define_lazy(store, path, NULL);
    }
    const cop_snapshot *snapshot = t_take(store);
    cop_json_stream *stream = open_stream(snapshot, t_find(store, "o"), NULL);
    for (; more; steps++) {
        CHECK_OK(cop_json_stream_next(stream, window, SIZE, &written, &more));
        empty += more && written == 0;
    }
    ck_assert_uint_eq(steps, MEMBERS / SIZE + 1);
    ck_assert_uint_eq(empty, MEMBERS / SIZE);
    ck_assert_uint_eq(written, 2);
    ck_assert_int_eq(memcmp(window, "{}", 2), 0);
    cop_json_stream_close(stream);
    cop_snapshot_drop(snapshot);
    t_close(store);
}
END_TEST

/* A lazy atom that cannot be evaluated for want of memory is tried again, and nothing is lost. */
START_TEST(lazy_atom_refused)
{
    write_options options = COP_JSON_WRITE_OPTIONS_INIT;
    cop_store *store = t_open();
    char window[200];
    size_t written;
    bool more;
    options.lazy = true;
    t_set_at(store, "o/a", cop_i64(1));
    t_set_at(store, "source", cop_i64(3));
    define_lazy(store, "o/lazy", NULL);
    const cop_snapshot *snapshot = t_take(store);
    cop_json_stream *stream = open_stream(snapshot, t_find(store, "o"), &options);
    fault_alloc_arm(&t_faults, 1, true);
    CHECK_OK(cop_json_stream_next(stream, window, sizeof window, &written, &more));
    ck_assert_uint_eq(written, strlen("{\"a\":1"));
    ck_assert(more);
    CHECK_STATUS(cop_json_stream_next(stream, window, sizeof window, &written, &more),
                 COP_E_MEMORY);
    ck_assert_uint_eq(written, 0);
    ck_assert(more);
    fault_alloc_disarm(&t_faults);
    CHECK_OK(cop_json_stream_next(stream, window, sizeof window, &written, &more));
    window[written] = '\0';
    ck_assert_str_eq(window, ",\"lazy\":\"a text that does not fit in a slot\"}");
    ck_assert(!more);
    cop_json_stream_close(stream);
    cop_snapshot_drop(snapshot);
    t_close(store);
}
END_TEST

/* ---- what is held ---- */

/* A text of 4 MB and 200,000 values: a stream takes what it says, at each step. */
START_TEST(memory_is_bounded)
{
    enum { TEXT = 4 << 20, VALUES = 200000 };
    cop_store *store = t_open();
    char *text = malloc(TEXT), window[1000];
    size_t written;
    bool more = true;
    uint64_t total = 0;
    memset(text, '"', TEXT);
    cop_txn *txn = t_begin(store);
    cop_value value = cop_string(text, TEXT), number = cop_i64(12345678);
    CHECK_OK(cop_txn_set_at(txn, P("a"), &value, NULL));
    value = cop_array();
    CHECK_OK(cop_txn_set_at(txn, P("b"), &value, NULL));
    for (unsigned i = 0; i < VALUES; i++)
        CHECK_OK(cop_txn_set_at(txn, P("b/-"), &number, NULL));
    t_commit(txn);
    const cop_snapshot *snapshot = t_take(store);
    int64_t before = atomic_load(&t_faults.bytes);
    fault_alloc_reset_peak(&t_faults);
    cop_json_stream *stream = open_stream(snapshot, cop_root(), NULL);
    while (more) {
        CHECK_OK(cop_json_stream_next(stream, window, sizeof window, &written, &more));
        total += written;
    }
    ck_assert_int_le(atomic_load(&t_faults.peak) - before, 2048);
    ck_assert_uint_eq(total, strlen("{\"a\":\"\",\"b\":[]}") + 2 * TEXT + 9 * VALUES - 1);
    cop_json_stream_close(stream);
    ck_assert_int_eq(atomic_load(&t_faults.bytes), before);
    cop_snapshot_drop(snapshot);
    free(text);
    t_close(store);
}
END_TEST

static uint64_t
held_snapshots(cop_store *store)
{
    cop_stats stats = COP_STATS_INIT;
    CHECK_OK(cop_stats_take(store, &stats));
    return stats.snapshots;
}

/* It has its version, whatever comes and whoever goes; and it can be ended anywhere. */
START_TEST(holds_its_version)
{
    static const char expected[] = "{\"a\":[1,2,{\"b\":\"text\"}],\"c\":{}}";
    char window[64];
    size_t written;
    bool more;
    for (size_t cut = 0; cut <= strlen(expected); cut++) {
        cop_store *store = t_open();
        j_load(store, "", expected);
        cop_pin_t pin = cop_pin(store);
        cop_json_stream *stream = open_stream(pin.snapshot, cop_root(), NULL);
        cop_unpin(pin);
        j_load(store, "", "{\"other\":1}");
        ck_assert_uint_eq(held_snapshots(store), 1);
        for (size_t at = 0; at < cut; at++) {
            CHECK_OK(cop_json_stream_next(stream, window, 1, &written, &more));
            ck_assert_int_eq(window[0], expected[at]);
        }
        if (cut % 2) {
            cop_store_close(store);
            CHECK_OK(cop_json_stream_next(stream, window, sizeof window, &written, &more));
            ck_assert_uint_eq(written, strlen(expected) - cut);
            ck_assert_int_eq(memcmp(window, expected + cut, written), 0);
            cop_json_stream_close(stream);
            t_all_released();
        } else {
            cop_json_stream_close(stream);
            ck_assert_uint_eq(held_snapshots(store), 0);
            t_close(store);
        }
    }
    cop_json_stream_close(NULL);
}
END_TEST

/* ---- what is refused ---- */

START_TEST(refused)
{
    cop_store *store = t_open();
    cop_json_stream *stream = (cop_json_stream *)1;
    write_options options = COP_JSON_WRITE_OPTIONS_INIT;
    char window[8];
    size_t written = 9;
    bool more;
    t_set_at(store, "a", cop_i64(1));
    cop_atom gone = t_find(store, "a");
    t_erase(store, gone);
    const cop_snapshot *snapshot = t_take(store);
    CHECK_STATUS(cop_json_stream_open(snapshot, cop_root(), NULL, NULL), COP_E_INVALID);
    CHECK_STATUS(cop_json_stream_open(NULL, cop_root(), NULL, &stream), COP_E_INVALID);
    ck_assert_ptr_null(stream);
    CHECK_STATUS(cop_json_stream_open(snapshot, gone, NULL, &stream), COP_E_GONE);
    options.indent = 17;
    CHECK_STATUS(cop_json_stream_open(snapshot, cop_root(), &options, &stream), COP_E_INVALID);
    options.size = 3;
    CHECK_STATUS(cop_json_stream_open(snapshot, cop_root(), &options, &stream), COP_E_INVALID);
    stream = open_stream(snapshot, cop_root(), NULL);
    CHECK_STATUS(cop_json_stream_next(NULL, window, 8, &written, &more), COP_E_INVALID);
    CHECK_STATUS(cop_json_stream_next(stream, NULL, 8, &written, &more), COP_E_INVALID);
    CHECK_STATUS(cop_json_stream_next(stream, window, 0, &written, &more), COP_E_INVALID);
    CHECK_STATUS(cop_json_stream_next(stream, window, 8, NULL, &more), COP_E_INVALID);
    CHECK_STATUS(cop_json_stream_next(stream, window, 8, &written, NULL), COP_E_INVALID);
    CHECK_OK(cop_json_stream_next(stream, window, 8, &written, &more));
    ck_assert_uint_eq(written, 2);
    cop_json_stream_close(stream);
    cop_snapshot_drop(snapshot);
    t_close(store);
}
END_TEST

START_TEST(too_many_snapshots)
{
    cop_options options = COP_OPTIONS_INIT;
    cop_store *store;
    cop_json_stream *stream;
    fault_alloc_init(&t_faults);
    options.allocator = fault_alloc_table(&t_faults);
    options.snapshots_max = 1;
    CHECK_OK(cop_store_open(&options, &store, NULL));
    const cop_snapshot *snapshot = t_take(store);
    CHECK_STATUS(cop_json_stream_open(snapshot, cop_root(), NULL, &stream), COP_E_LIMIT);
    ck_assert_ptr_null(stream);
    cop_snapshot_drop(snapshot);
    t_close(store);
}
END_TEST

/* Each request for memory is refused once: opening says so, and a step can be tried again. */
START_TEST(out_of_memory)
{
    char text[101];
    cop_store *store = t_open();
    for (size_t i = 0; i < 50; i++)
        text[i] = '[', text[i + 50] = ']';
    text[100] = '\0';
    j_load(store, "deep", text);
    const cop_snapshot *snapshot = t_take(store);
    cop_atom deep = t_find(store, "deep");
    for (int64_t k = 1; k <= 3; k++) {
        cop_json_stream *stream;
        char window[7], seen[100];
        size_t written, at = 0, refusals = 0;
        bool more = true;
        fault_alloc_arm(&t_faults, k, false);
        cop_status status = cop_json_stream_open(snapshot, deep, NULL, &stream);
        CHECK_STATUS(status, k == 1 ? COP_E_MEMORY : COP_OK);
        while (status == COP_OK && more) {
            cop_status step = cop_json_stream_next(stream, window, sizeof window, &written, &more);
            ck_assert(step == COP_OK || (step == COP_E_MEMORY && written == 0 && more));
            refusals += step != COP_OK || (written < sizeof window && more);
            memcpy(seen + at, window, written);
            at += written;
        }
        ck_assert(fault_alloc_fired(&t_faults));
        fault_alloc_disarm(&t_faults);
        if (k > 1) {
            ck_assert_uint_eq(refusals, 1);
            ck_assert_uint_eq(at, 100);
            ck_assert_int_eq(memcmp(seen, text, 100), 0);
        }
        cop_json_stream_close(stream);
    }
    cop_snapshot_drop(snapshot);
    t_close(store);
}
END_TEST

static int
statuses_in_child(const cop_snapshot *snapshot, cop_json_stream *stream)
{
    cop_json_stream *another;
    char window[8];
    size_t written;
    bool more;
    if (cop_json_stream_open(snapshot, cop_root(), NULL, &another) != COP_E_FORKED || another)
        return 1;
    if (cop_json_stream_next(stream, window, sizeof window, &written, &more) != COP_E_FORKED)
        return 2;
    cop_json_stream_close(stream);
    return 0;
}

START_TEST(after_a_fork)
{
    int status;
    cop_store *store = t_open();
    j_load(store, "", "{\"a\":[1,2,3]}");
    const cop_snapshot *snapshot = t_take(store);
    cop_json_stream *stream = open_stream(snapshot, cop_root(), NULL);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0)
        t_exit_child(statuses_in_child(snapshot, stream));
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    cop_json_stream_close(stream);
    cop_snapshot_drop(snapshot);
    t_close(store);
}
END_TEST

/* One text is one measurement, in however many steps. */
START_TEST(measured_once)
{
    cop_store *store = t_open();
    cop_measurements *measurements;
    cop_distribution distribution = COP_DISTRIBUTION_INIT;
    x_bytes text = {NULL, 0, 0};
    CHECK_OK(cop_monitor_start(store, NULL, NULL));
    j_load(store, "", "{\"a\":[1,2,3]}");
    const cop_snapshot *snapshot = t_take(store);
    cop_json_stream *stream = open_stream(snapshot, cop_root(), NULL);
    drain(stream, 4, false, &text);
    cop_json_stream_close(stream);
    CHECK_OK(cop_monitor_take(store, UINT64_MAX, &measurements));
    CHECK_OK(cop_measurements_of(measurements, COP_MEASURE_SERIALIZE, &distribution));
    ck_assert_uint_eq(distribution.count, 1);
    cop_measurements_free(measurements);
    cop_snapshot_drop(snapshot);
    free(text.at);
    t_close(store);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_test(tests, documents);
    tcase_add_test(tests, values_at_the_root);
    tcase_add_test(tests, deep_documents);
    tcase_add_test(tests, random_texts);
    tcase_add_test(tests, long_keys);
    tcase_add_test(tests, random_worlds);
    tcase_add_test(tests, lazy_atoms);
    tcase_add_test(tests, long_rows_of_lazy_atoms);
    tcase_add_test(tests, lazy_atom_refused);
    tcase_add_test(tests, memory_is_bounded);
    tcase_add_test(tests, holds_its_version);
    tcase_add_test(tests, refused);
    tcase_add_test(tests, too_many_snapshots);
    tcase_add_test(tests, out_of_memory);
    tcase_add_test(tests, after_a_fork);
    tcase_add_test(tests, measured_once);
}

int
main(void)
{
    return t_run("json_stream", add);
}

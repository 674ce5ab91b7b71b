/* SPDX-License-Identifier: MIT */
/* Snapshots that can be revoked: what is read through them before, meanwhile and after. */
#include <coppice/effect.h>
#include <poll.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "commit/combiner.h"
#include "reclaim/gate.h"
#include "reclaim/handle.h"
#include "store/store_internal.h"
#include "tests/support/store_test.h"

static cop_store *store;
static char last_line[512];
static _Atomic unsigned lines;

#define S(text) cop_string(P(text))
#define LONG_TEXT "a text that is longer than what fits into a value"

static void
keep_line(void *context, cop_log_level level, const char *message)
{
    (void)context;
    (void)level;
    snprintf(last_line, sizeof last_line, "%s", message);
    atomic_fetch_add(&lines, 1);
}

static cop_store *
open_with(uint64_t max_age_ms, bool membarrier)
{
    cop_options options = COP_OPTIONS_INIT;
    cop_store *made = NULL;

    fault_alloc_init(&t_faults);
    atomic_store(&lines, 0);
    options.batch_window_ms = 0;
    options.snapshots_max = 100;
    options.snapshots_max_age_ms = max_age_ms;
    options.readers_membarrier = membarrier;
    options.allocator = fault_alloc_table(&t_faults);
    options.log = keep_line;
    CHECK_OK(cop_store_open(&options, &made, NULL));
    return made;
}

/* So old that only what a test does revokes. */
static void
setup(void)
{
    store = open_with(1000000, true);
}

static void
setup_fenced(void)
{
    store = open_with(1000000, false);
}

static void
teardown(void)
{
    t_close(store);
}

static void
scan(void)
{
    CHECK_OK(cop__right_wait(store, COP_FOREVER));
    (void)cop__reclaim(store, true, SIZE_MAX);
    cop__right_leave(store);
}

static uint64_t
revoke_without_scan(void)
{
    CHECK_OK(cop__right_wait(store, COP_FOREVER));
    uint64_t n = cop__snapshots_revoke(store, 0);
    cop__right_leave(store);
    return n;
}

static void
revoke_all(uint64_t expected)
{
    ck_assert_uint_eq(revoke_without_scan(), expected);
    scan();
}

static cop_stats
stats(void)
{
    cop_stats now = COP_STATS_INIT;

    CHECK_OK(cop_stats_take(store, &now));
    return now;
}

static int
count_calls(void *context, const cop_child *child)
{
    (void)child;
    ++*(unsigned *)context;
    return 0;
}

static int
count_runs(void *context, const cop_atom *atoms, const cop_value *values, size_t n)
{
    (void)atoms;
    (void)values;
    *(size_t *)context += n;
    return 0;
}

static int
count_bytes(void *context, const char *bytes, size_t n)
{
    (void)bytes;
    *(size_t *)context += n;
    return 0;
}

/* --- alive ------------------------------------------------------------------------- */

START_TEST(reads_as_the_version_does)
{
    t_set_at(store, "dir/n", cop_i64(5));
    t_set_at(store, "dir/x", cop_f64(2.5));
    t_set_at(store, "dir/b", cop_bool(true));
    t_set_at(store, "dir/short", S("abc"));
    t_set_at(store, "dir/long", S(LONG_TEXT));
    for (int i = 0; i < 100; i++) {
        char path[32];
        snprintf(path, sizeof path, "many/k%d", i);
        t_set_at(store, path, cop_i64(i));
    }
    t_verify(store);
    const cop_snapshot *s = t_take(store);
    ck_assert(cop__is_handle(s));
    ck_assert(!cop_snapshot_expired(s));
    ck_assert_ptr_eq(cop_snapshot_store(s), store);
    ck_assert_uint_eq(cop_snapshot_version(s), cop_store_version(store));
    cop_pin_t pin = cop_pin(store);
    ck_assert_uint_eq(cop_snapshot_time(s), cop_snapshot_time(pin.snapshot));
    ck_assert_uint_eq(cop_snapshot_atoms(s), cop_snapshot_atoms(pin.snapshot));
    cop_unpin(pin);

    cop_value value;
    bool flag;
    double x;
    int64_t n;
    const char *text, *again;
    size_t length;
    CHECK_OK(cop_get_i64(s, t_find(store, "dir/n"), &n));
    ck_assert_int_eq(n, 5);
    CHECK_OK(cop_get_f64(s, t_find(store, "dir/x"), &x));
    ck_assert(x == 2.5);
    CHECK_OK(cop_get_bool(s, t_find(store, "dir/b"), &flag));
    ck_assert(flag);
    CHECK_STATUS(cop_get_bool(s, t_find(store, "dir/n"), &flag), COP_E_TYPE);
    CHECK_STATUS(cop_get_string(s, t_find(store, "dir/n"), &text, &length), COP_E_TYPE);
    CHECK_OK(cop_get_string(s, t_find(store, "dir/short"), &text, &length));
    ck_assert(length == 3 && memcmp(text, "abc", 3) == 0);
    CHECK_OK(cop_get_at(s, P("dir/long"), &value));
    ck_assert(cop_value_length(&value) == strlen(LONG_TEXT));
    CHECK_OK(cop_get_string(s, t_find(store, "dir/long"), &text, &length));
    ck_assert_ptr_eq(text, cop_value_data(&value)); /* copied once */
    CHECK_OK(cop_get_string(s, t_find(store, "dir/long"), &again, &length));
    ck_assert_ptr_eq(text, again);
    CHECK_STATUS(cop_get(s, (cop_atom){9999, 1}, &value), COP_E_GONE);
    CHECK_STATUS(cop_find(s, P("no/such"), &(cop_atom){0, 0}), COP_E_ABSENT);
    ck_assert_str_eq(t_list(s, t_find(store, "dir")), "n x b short long");
    cop_snapshot_drop(s);
}
END_TEST

START_TEST(many_at_once)
{
    cop_atom atoms[3] = {t_make(store, "a", cop_i64(1)), t_make(store, "b", S(LONG_TEXT)),
                         t_make(store, "c", cop_i64(3))};
    cop_value values[3];
    const cop_snapshot *s = t_take(store);

    CHECK_OK(cop_get_many(s, atoms, 3, values));
    ck_assert_int_eq(cop_value_i64(&values[0]) + cop_value_i64(&values[2]), 4);
    atoms[0].generation++;
    CHECK_STATUS(cop_get_many(s, atoms, 3, values), COP_E_GONE);
    ck_assert_uint_eq(values[0].type, COP_NONE);
    ck_assert_int_eq(cop_value_i64(&values[2]), 3);
    revoke_all(1);
    CHECK_STATUS(cop_get_many(s, atoms, 3, values), COP_E_EXPIRED);
    ck_assert_uint_eq(values[2].type, COP_NONE);
    cop_snapshot_drop(s);
}
END_TEST

/* --- revoked ----------------------------------------------------------------------- */

START_TEST(every_entry_point_answers_expired)
{
    cop_atom dir, list, text = t_make(store, "dir/text", S(LONG_TEXT)), atom;
    dir = t_find(store, "dir");
    t_set_at(store, "dir/list", cop_array());
    list = t_find(store, "dir/list");
    const cop_snapshot *s = t_take(store), *plain_again;
    cop_pin_t newest;
    cop_json_stream *stream = NULL, *open_stream = NULL;
    cop_rope *rope = NULL;
    cop_cursor cursor, begun;
    cop_child child;
    cop_value value;
    cop_error error = COP_ERROR_INIT;
    bool flag, more;
    int64_t n;
    double x;
    uint64_t version;
    uint32_t count;
    size_t length, written;
    const char *bytes;
    char buffer[100];
    unsigned calls = 0;
    size_t runs = 0;

    t_set(store, text, cop_i64(0));
    CHECK_OK(cop_cursor_open(s, dir, &begun));
    CHECK_OK(cop_json_stream_open(s, cop_root(), NULL, &open_stream));
    revoke_all(1);
    ck_assert(cop_snapshot_expired(s));
    CHECK_STATUS(cop_get(s, text, &value), COP_E_EXPIRED);
    ck_assert_uint_eq(value.type, COP_NONE);
    CHECK_STATUS(cop_get_many(s, &text, 1, &value), COP_E_EXPIRED);
    CHECK_STATUS(cop_get_bool(s, text, &flag), COP_E_EXPIRED);
    CHECK_STATUS(cop_get_i64(s, text, &n), COP_E_EXPIRED);
    CHECK_STATUS(cop_get_f64(s, text, &x), COP_E_EXPIRED);
    CHECK_STATUS(cop_get_string(s, text, &bytes, &length), COP_E_EXPIRED);
    CHECK_STATUS(cop_find(s, P("dir"), &atom), COP_E_EXPIRED);
    CHECK_STATUS(cop_get_at(s, P("dir/text"), &value), COP_E_EXPIRED);
    CHECK_STATUS(cop_each(s, dir, count_calls, &calls, NULL), COP_E_EXPIRED);
    CHECK_STATUS(cop_cursor_open(s, dir, &cursor), COP_E_EXPIRED);
    ck_assert(!cop_cursor_next(&begun, &child));
    CHECK_STATUS(cop_cursor_status(&begun), COP_E_EXPIRED);
    CHECK_STATUS(cop_count(s, dir, &count), COP_E_EXPIRED);
    CHECK_STATUS(cop_child_at(s, list, 0, &atom), COP_E_EXPIRED);
    CHECK_STATUS(cop_child_named(s, dir, P("text"), &atom), COP_E_EXPIRED);
    CHECK_STATUS(cop_changed(s, dir, &version), COP_E_EXPIRED);
    CHECK_STATUS(cop_parent(s, text, &atom), COP_E_EXPIRED);
    CHECK_STATUS(cop_atom_path(s, text, buffer, sizeof buffer, &length), COP_E_EXPIRED);
    CHECK_STATUS(cop_scan(s, count_runs, &runs), COP_E_EXPIRED);
    CHECK_STATUS(cop_json_write(s, cop_root(), NULL, count_bytes, &length), COP_E_EXPIRED);
    CHECK_STATUS(cop_json_rope(s, cop_root(), &rope), COP_E_EXPIRED);
    CHECK_STATUS(cop_json_stream_open(s, cop_root(), NULL, &stream), COP_E_EXPIRED);
    CHECK_STATUS(cop_json_stream_next(open_stream, buffer, sizeof buffer, &written, &more),
                 COP_E_EXPIRED);
    ck_assert(written == 0 && more);
    CHECK_STATUS(cop_computed_origin(s, text, &version), COP_E_EXPIRED);
    newest = cop_pin(store);
    CHECK_STATUS(cop_patch_write(s, newest.snapshot, "", 0, COP_PATCH_JSON, NULL, count_bytes,
                                 &length, &error), COP_E_EXPIRED);
    CHECK_STATUS(error.status, COP_E_EXPIRED);
    CHECK_STATUS(cop_patch_write(newest.snapshot, s, "", 0, COP_PATCH_JSON, NULL, count_bytes,
                                 &length, NULL), COP_E_EXPIRED);
    cop_unpin(newest);
    CHECK_STATUS(cop_snapshot_keep(s), COP_E_EXPIRED);
    CHECK_STATUS(cop_snapshot_pin(s, &newest), COP_E_EXPIRED);
    ck_assert_ptr_null(newest.snapshot);
    CHECK_STATUS(cop_snapshot_take_version(store, cop_snapshot_version(s), &plain_again), COP_E_GONE);
    ck_assert_ptr_null(plain_again);
    ck_assert(calls == 0 && runs == 0 && stream == NULL && rope == NULL);
    cop_json_stream_close(open_stream);
    cop_snapshot_drop(s);
    ck_assert_uint_eq(stats().snapshots, 0);
}
END_TEST

/* What the revoked version needed alone is free again, though the snapshot is still held. */
START_TEST(its_memory_is_free)
{
    cop_atom n = t_make(store, "n", cop_i64(0));
    const cop_snapshot *held[10];

    for (int i = 0; i < 10; i++) {
        t_set(store, n, cop_i64(i));
        held[i] = t_take(store);
    }
    t_set(store, n, cop_i64(99));
    ck_assert_uint_eq(stats().held_versions, 10);
    revoke_all(10);
    cop_stats now = stats();
    ck_assert_uint_eq(now.held_versions, 0);
    ck_assert_uint_eq(now.pages_dead + now.values_dead, 0);
    ck_assert_uint_eq(now.snapshots, 10);
    ck_assert_uint_eq(now.snapshots_revoked, 10);
    ck_assert_uint_eq(atomic_load(&lines), 1);
    ck_assert_msg(strncmp(last_line, "10 snapshots revoked; the oldest, of version", 44) == 0, "%s",
                  last_line);
    for (int i = 0; i < 10; i++)
        cop_snapshot_drop(held[(i * 7) % 10]);
    ck_assert_uint_eq(stats().snapshots, 0);
    const cop_snapshot *next = t_take(store); /* in memory that was used before */
    t_is_i64(store, n, 99);
    int64_t value;
    CHECK_OK(cop_get_i64(next, n, &value));
    ck_assert_int_eq(value, 99);
    cop_snapshot_drop(next);
}
END_TEST

START_TEST(texts_live_until_the_drop)
{
    enum { TEXTS = 100 };
    cop_value values[TEXTS];
    const char *keys[TEXTS], *bytes;
    size_t length;
    char path[32], wanted[64];
    cop_cursor cursor;
    cop_child child;
    unsigned n = 0;

    for (unsigned i = 0; i < TEXTS; i++) {
        snprintf(path, sizeof path, "dir/key%u", i);
        snprintf(wanted, sizeof wanted, "%s %u", LONG_TEXT, i);
        t_set_at(store, path, S(wanted));
    }
    cop_atom empty = t_make(store, "empty", S(""));
    const cop_snapshot *s = t_take(store);
    CHECK_OK(cop_cursor_open(s, t_find(store, "dir"), &cursor));
    while (cop_cursor_next(&cursor, &child)) {
        values[n] = child.value;
        keys[n++] = child.key;
    }
    CHECK_STATUS(cop_cursor_status(&cursor), COP_OK);
    ck_assert_uint_eq(n, TEXTS);
    CHECK_OK(cop_get_string(s, empty, &bytes, &length));
    ck_assert_uint_eq(length, 0);
    t_erase_at(store, "dir");
    revoke_all(1);
    t_set_at(store, "other", S("something else that takes the memory which is free now"));
    for (unsigned i = 0; i < TEXTS; i++) {
        snprintf(wanted, sizeof wanted, "%s %u", LONG_TEXT, i);
        ck_assert_uint_eq(cop_value_length(&values[i]), strlen(wanted));
        ck_assert_int_eq(memcmp(cop_value_data(&values[i]), wanted, strlen(wanted)), 0);
        snprintf(wanted, sizeof wanted, "key%u", i);
        ck_assert_int_eq(memcmp(keys[i], wanted, strlen(wanted)), 0);
    }
    cop_snapshot_drop(s);
}
END_TEST

/* --- in use ------------------------------------------------------------------------ */

START_TEST(a_pin_outlives_the_revocation)
{
    cop_atom atom = t_make(store, "n", S(LONG_TEXT));
    const cop_snapshot *s = t_take(store);
    const char *text, *copied;
    size_t length;
    cop_pin_t pin, none;

    CHECK_OK(cop_snapshot_pin(s, &pin));
    ck_assert_ptr_ne(pin.snapshot, s);
    t_erase(store, atom);
    revoke_all(1);
    ck_assert(cop_snapshot_expired(s));
    CHECK_OK(cop_get_string(pin.snapshot, atom, &text, &length));
    ck_assert(length == strlen(LONG_TEXT) && memcmp(text, LONG_TEXT, length) == 0);
    CHECK_OK(cop_get_string(s, atom, &copied, &length)); /* the thread has it pinned */
    ck_assert_ptr_ne(copied, text);
    CHECK_STATUS(cop_snapshot_pin(s, &none), COP_E_EXPIRED);
    cop_unpin(none);
    ck_assert_uint_eq(stats().held_versions, 1);
    cop_unpin(pin);
    ck_assert_uint_eq(stats().held_versions, 0);
    CHECK_STATUS(cop_get_string(s, atom, &text, &length), COP_E_EXPIRED);
    ck_assert_int_eq(memcmp(copied, LONG_TEXT, length), 0);
    cop_snapshot_drop(s);
}
END_TEST

START_TEST(pins_of_other_snapshots)
{
    cop_atom atom = t_make(store, "n", cop_i64(1));
    cop_pin_t pin = cop_pin(store), again, pins[COP_PINS_MAX];
    const cop_snapshot *s = t_take(store);
    int64_t value;

    CHECK_OK(cop_snapshot_pin(pin.snapshot, &again));
    ck_assert_ptr_eq(again.snapshot, pin.snapshot);
    cop_unpin(again);
    cop_unpin(pin);
    for (int i = 0; i < COP_PINS_MAX; i++)
        CHECK_OK(cop_snapshot_pin(s, &pins[i]));
    CHECK_STATUS(cop_snapshot_pin(s, &again), COP_E_PINS);
    for (int i = 0; i < COP_PINS_MAX; i++)
        cop_unpin(pins[i]);
    for (int i = 0; i < COP_PINS_MAX; i++)
        pins[i] = cop_pin(store);
    CHECK_OK(cop_get_i64(s, atom, &value)); /* without a slot */
    ck_assert_int_eq(value, 1);
    revoke_all(1);
    CHECK_STATUS(cop_get_i64(s, atom, &value), COP_E_EXPIRED);
    for (int i = 0; i < COP_PINS_MAX; i++)
        cop_unpin(pins[i]);
    cop_snapshot_drop(s);
}
END_TEST

typedef struct walk {
    const cop_snapshot *snapshot;
    unsigned depth, deepest;
    bool revokes;
    cop_status inner;
} walk;

static int
walk_into(void *context, const cop_child *child)
{
    walk *w = context;

    w->deepest = ++w->depth > w->deepest ? w->depth : w->deepest;
    if (w->revokes && w->depth == 3) {
        w->revokes = false;
        ck_assert_uint_eq(revoke_without_scan(), 1);
        scan();
        scan();
    }
    ck_assert(child->key_length == 1 && child->key[0] == 'd');
    if (child->value.type == COP_OBJECT)
        w->inner = cop_each(w->snapshot, child->atom, walk_into, w, NULL);
    w->depth--;
    return 0;
}

/* Deeper than a reader has pins; and revoked half way: the calls inside are of the outermost one. With all
 * pins in use the walk is counted instead. */
START_TEST(nested_calls)
{
    bool without_slot = _i == 1;
    cop_pin_t pins[COP_PINS_MAX];

    t_set_at(store, "d/d/d/d/d/d/d/d", S(LONG_TEXT));
    const cop_snapshot *s = t_take(store);
    walk w = {.snapshot = s};
    CHECK_OK(cop_each(s, cop_root(), walk_into, &w, NULL));
    ck_assert_uint_eq(w.deepest, 8);
    for (int i = 0; without_slot && i < COP_PINS_MAX; i++)
        pins[i] = cop_pin(store);
    t_erase_at(store, "d");
    w = (walk){.snapshot = s, .revokes = true};
    CHECK_OK(cop_each(s, cop_root(), walk_into, &w, NULL));
    if (without_slot) {
        ck_assert_uint_eq(w.deepest, 3); /* an inner one begins by itself */
        for (int i = 0; i < COP_PINS_MAX; i++)
            cop_unpin(pins[i]);
    } else {
        ck_assert_uint_eq(w.deepest, 8);
        CHECK_OK(w.inner);
    }
    CHECK_STATUS(cop_each(s, cop_root(), walk_into, &w, NULL), COP_E_EXPIRED);
    scan();
    ck_assert_uint_eq(stats().held_versions, 0);
    cop_snapshot_drop(s);
}
END_TEST

START_TEST(streams_end_when_it_is_revoked)
{
    cop_json_stream *stream;
    char buffer[64];
    size_t n;
    bool more;

    t_set_at(store, "text", S("0123456789012345678901234567890123456789"));
    const cop_snapshot *s = t_take(store);
    CHECK_OK(cop_json_stream_open(s, cop_root(), NULL, &stream));
    cop_snapshot_drop(s); /* the stream keeps it */
    CHECK_OK(cop_json_stream_next(stream, buffer, 7, &n, &more));
    ck_assert(n == 7 && more && memcmp(buffer, "{\"text\"", 7) == 0);
    CHECK_OK(cop_json_stream_next(stream, buffer, 7, &n, &more));
    t_erase_at(store, "text");
    revoke_all(1);
    CHECK_STATUS(cop_json_stream_next(stream, buffer, 64, &n, &more), COP_E_EXPIRED);
    ck_assert_uint_eq(stats().snapshots, 1);
    cop_json_stream_close(stream);
    ck_assert_uint_eq(stats().snapshots, 0);
}
END_TEST

START_TEST(transactions_that_read_it_expire)
{
    cop_atom atom = t_make(store, "n", cop_i64(1));
    cop_txn *read = t_begin(store), *reading = t_begin(store), *required = t_begin(store);
    cop_value value, one = cop_i64(1), two = cop_i64(2);
    const cop_snapshot *s;

    CHECK_OK(cop_txn_get(read, atom, &value));
    CHECK_OK(cop_txn_set(read, atom, &two));
    CHECK_OK(cop_txn_snapshot(reading, &s));
    CHECK_OK(cop_txn_require_value(required, atom, &one));
    CHECK_OK(cop_txn_set(required, atom, &one));
    revoke_all(2);
    CHECK_STATUS(cop_txn_get(reading, atom, &value), COP_E_EXPIRED);
    CHECK_STATUS(cop_txn_find(reading, P("n"), &atom, NULL), COP_E_EXPIRED);
    CHECK_STATUS(cop_txn_each(reading, cop_root(), count_calls, NULL, NULL), COP_E_EXPIRED);
    cop_txn_cancel(reading);
    t_commit_fails(store, read, COP_E_EXPIRED);
    t_commit(required);

    read = t_begin(store); /* revoked, and its version still there: read by another thread, say */
    cop_pin_t pin;
    atom = t_find(store, "n");
    CHECK_OK(cop_txn_get(read, atom, &value));
    CHECK_OK(cop_txn_set(read, atom, &two));
    CHECK_OK(cop_txn_snapshot(read, &s));
    CHECK_OK(cop_snapshot_keep(s));
    CHECK_OK(cop_snapshot_pin(s, &pin));
    revoke_all(1);
    t_commit(read);
    t_is_i64(store, atom, 2);
    cop_unpin(pin);
    cop_snapshot_drop(s);
}
END_TEST

/* --- holds ------------------------------------------------------------------------- */

START_TEST(keeping_and_dropping)
{
    t_set_at(store, "n", cop_i64(1));
    const cop_snapshot *s = t_take(store), *other = t_take(store);

    ck_assert_ptr_ne(s, other);
    CHECK_OK(cop_snapshot_keep(s));
    ck_assert_uint_eq(stats().snapshots, 3);
    cop_snapshot_drop(s);
    cop_value value;
    CHECK_OK(cop_get_at(s, P("n"), &value));
    t_set_at(store, "n", cop_i64(2));
    cop_snapshot_drop(other); /* the older ones first and last in the list */
    ck_assert_uint_eq(stats().held_versions, 1);
    CHECK_OK(cop_snapshot_keep(s));
    revoke_all(1);
    cop_snapshot_drop(s);
    CHECK_STATUS(cop_get_at(s, P("n"), &value), COP_E_EXPIRED);
    cop_snapshot_drop(s);
    ck_assert_uint_eq(stats().snapshots, 0);
}
END_TEST

START_TEST(dropped_in_any_order_and_state)
{
    const cop_snapshot *held[90];

    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 90; i++) {
            if (i % 5 == 0)
                t_set_at(store, "n", cop_i64(i));
            held[i] = t_take(store);
            if (i == 30)
                ck_assert_uint_eq(revoke_without_scan(), 31);
            if (i == 60)
                revoke_all(30);
        }
        for (unsigned i = 0; i < 90; i++)
            cop_snapshot_drop(held[(i * 37 + round) % 90]);
        ck_assert_uint_eq(stats().snapshots, 0);
        ck_assert_uint_eq(stats().held_versions, 0);
        if (round == 1) { /* revoked and dropped before a scan has come */
            for (unsigned i = 0; i < 3; i++)
                held[i] = t_take(store);
            ck_assert_uint_eq(revoke_without_scan(), 3);
            for (unsigned i = 0; i < 3; i++)
                cop_snapshot_drop(held[(i + 1) % 3]);
            ck_assert_uint_eq(stats().held_versions, 0);
        }
    }
}
END_TEST

START_TEST(the_limit_counts_them)
{
    const cop_snapshot *held[100], *more;

    for (unsigned i = 0; i < 100; i++)
        held[i] = t_take(store);
    CHECK_STATUS(cop_snapshot_take(store, &more), COP_E_LIMIT);
    ck_assert_ptr_null(more);
    CHECK_STATUS(cop_snapshot_keep(held[0]), COP_E_LIMIT);
    cop_snapshot_drop(held[0]);
    CHECK_OK(cop_snapshot_keep(held[1]));
    cop_snapshot_drop(held[1]);
    for (unsigned i = 1; i < 100; i++)
        cop_snapshot_drop(held[i]);
}
END_TEST

START_TEST(weak_snapshots)
{
    cop_atom n = t_make(store, "n", cop_i64(1));
    const cop_snapshot *s = t_take(store), *again;
    uint64_t version = cop_snapshot_version(s);
    int64_t value;

    CHECK_OK(cop_snapshot_take_version(store, version, &again)); /* the newest */
    cop_snapshot_drop(again);
    t_set(store, n, cop_i64(2));
    CHECK_OK(cop_snapshot_take_version(store, version, &again)); /* held by another */
    cop_snapshot_drop(s);
    CHECK_OK(cop_get_i64(again, n, &value));
    ck_assert_int_eq(value, 1);
    revoke_all(1);
    CHECK_STATUS(cop_snapshot_take_version(store, version, &s), COP_E_GONE);
    CHECK_STATUS(cop_snapshot_take_version(store, version + 100, &s), COP_E_GONE);
    cop_snapshot_drop(again);
    CHECK_OK(cop_history_keep(store, "here", 4, NULL, NULL));
    version = cop_store_version(store);
    t_set(store, n, cop_i64(3));
    CHECK_OK(cop_snapshot_take_version(store, version, &s)); /* the history's */
    CHECK_OK(cop_history_take(store, version, &again));
    ck_assert(cop__is_handle(s) && cop__is_handle(again));
    revoke_all(2);
    CHECK_STATUS(cop_get_i64(s, n, &value), COP_E_EXPIRED);
    cop_snapshot_drop(s);
    cop_snapshot_drop(again);
    CHECK_OK(cop_history_take(store, version, &again)); /* the history has it still */
    CHECK_OK(cop_get_i64(again, n, &value));
    ck_assert_int_eq(value, 2);
    cop_snapshot_drop(again);
}
END_TEST

/* --- ages -------------------------------------------------------------------------- */

static void
sleep_ms(unsigned ms)
{
    (void)poll(NULL, 0, (int)ms);
}

static void
set_age(uint64_t ms)
{
    cop_options options;

    cop_options_init(&options);
    CHECK_OK(cop_store_options(store, &options));
    options.snapshots_max_age_ms = ms;
    CHECK_OK(cop_store_reconfigure(store, &options, COP_FOREVER, NULL));
}

START_TEST(old_ones_are_revoked_young_ones_not)
{
    t_set_at(store, "n", cop_i64(1));
    const cop_snapshot *plain, *old, *young;

    set_age(0);
    plain = t_take(store);
    ck_assert(!cop__is_handle(plain));
    set_age(50);
    old = t_take(store);
    sleep_ms(60);
    young = t_take(store);
    (void)stats();
    ck_assert(cop_snapshot_expired(old));
    ck_assert(!cop_snapshot_expired(plain));
    set_age(1000000);
    ck_assert(!cop_snapshot_expired(young));
    set_age(0); /* never */
    sleep_ms(5);
    (void)stats();
    ck_assert(!cop_snapshot_expired(young));
    set_age(1);
    (void)stats();
    ck_assert(cop_snapshot_expired(young));
    ck_assert(!cop_snapshot_expired(plain));
    cop_snapshot_drop(plain);
    cop_snapshot_drop(old);
    cop_snapshot_drop(young);
}
END_TEST

START_TEST(commits_revoke)
{
    set_age(10);
    t_set_at(store, "n", cop_i64(1));
    const cop_snapshot *s = t_take(store);
    t_set_at(store, "n", cop_i64(2));
    sleep_ms(20);
    t_set_at(store, "n", cop_i64(3));
    ck_assert(cop_snapshot_expired(s));
    cop_snapshot_drop(s);
}
END_TEST

START_TEST(polling_revokes)
{
    int fd;

    CHECK_OK(cop_store_poll(store));
    CHECK_OK(cop_store_fd(store, &fd));
    set_age(30);
    const cop_snapshot *early = t_take(store), *s = t_take(store);
    cop_snapshot_drop(early); /* its alarm rings for the other one */
    for (int i = 0; i < 1000 && !cop_snapshot_expired(s); i++) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        ck_assert_int_eq(poll(&wait, 1, 10000), 1);
        CHECK_OK(cop_store_poll(store));
    }
    ck_assert(cop_snapshot_expired(s));
    cop_snapshot_drop(s);
    s = t_take(store); /* an alarm that rings too early */
    cop__handles_alarm(store);
    ck_assert(!cop_snapshot_expired(s));
    cop_snapshot_drop(s);
}
END_TEST

START_TEST(a_pool_revokes)
{
    cop_pool *pool = NULL;
    cop_pool_options options = COP_POOL_OPTIONS_INIT;

    options.threads = 1;
    CHECK_OK(cop_pool_open(&options, &pool, NULL));
    CHECK_OK(cop_store_set_pool(store, pool));
    set_age(20);
    const cop_snapshot *s = t_take(store);
    for (int i = 0; i < 10000 && !cop_snapshot_expired(s); i++)
        sleep_ms(1);
    ck_assert(cop_snapshot_expired(s));
    cop_snapshot_drop(s);
    CHECK_OK(cop_store_set_pool(store, NULL));
    cop_pool_close(pool);
}
END_TEST

START_TEST(no_pin_to_be_had)
{
    cop_pin_t pins[COP_PINS_MAX], pin;

    t_set_at(store, "n", S(LONG_TEXT));
    const cop_snapshot *s = t_take(store), *none = s;
    for (int i = 0; i < COP_PINS_MAX; i++)
        pins[i] = cop_pin(store);
    CHECK_STATUS(cop_snapshot_pin(s, &pin), COP_E_PINS);
    ck_assert_ptr_null(pin.snapshot);
    CHECK_STATUS(cop_snapshot_take_version(store, cop_store_version(store), &none), COP_E_PINS);
    ck_assert_ptr_null(none);
    for (int i = 0; i < COP_PINS_MAX; i++)
        cop_unpin(pins[i]);
    CHECK_OK(cop_snapshot_pin(s, &pin));
    cop_unpin(pin);
    cop_snapshot_drop(s);
}
END_TEST

/* --- ends -------------------------------------------------------------------------- */

START_TEST(a_forked_child_is_told_so)
{
    cop_atom atom = t_make(store, "n", S(LONG_TEXT));
    const cop_snapshot *s = t_take(store), *revoked = t_take(store);
    cop_value value;
    cop_pin_t pin;
    cop_cursor cursor;
    cop_child child;

    CHECK_OK(cop_cursor_open(s, cop_root(), &cursor));
    CHECK_OK(cop_get(s, atom, &value));
    pid_t pid = fork();
    if (pid == 0) {
        bool right = cop_get(s, atom, &value) == COP_E_FORKED &&
                     cop_snapshot_keep(s) == COP_E_FORKED &&
                     cop_snapshot_pin(s, &pin) == COP_E_FORKED && !cop_snapshot_expired(revoked) &&
                     !cop_cursor_next(&cursor, &child) &&
                     cop_cursor_status(&cursor) == COP_E_FORKED &&
                     cop_snapshot_take_version(store, 1, &revoked) == COP_E_FORKED;
        cop_snapshot_drop(s);
        t_exit_child(right ? 0 : 1);
    }
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    cop_snapshot_drop(s);
    cop_snapshot_drop(revoked);
}
END_TEST

static void *
read_closed(void *snapshot)
{
    cop_value value;
    cop_pin_t pin = {snapshot, NULL};

    CHECK_OK(cop_get_at(snapshot, P("n"), &value));
    CHECK_STATUS(cop_snapshot_pin(snapshot, &pin), COP_E_CLOSING);
    ck_assert_ptr_null(pin.snapshot);
    return NULL;
}

/* Held ones outlive the store, revoked or not; a thread that never read before reads them without a slot. */
START_TEST(closed_with_some_held)
{
    pthread_t thread;
    cop_value value;

    t_set_at(store, "n", S(LONG_TEXT));
    const cop_snapshot *revoked = t_take(store);
    revoke_all(1);
    const cop_snapshot *s = t_take(store);
    cop_store_close(store);
    CHECK_OK(cop_get_at(s, P("n"), &value));
    CHECK_STATUS(cop_get_at(revoked, P("n"), &value), COP_E_EXPIRED);
    CHECK_STATUS(cop_snapshot_take_version(store, 1, &(const cop_snapshot *){NULL}), COP_E_CLOSING);
    ck_assert_int_eq(pthread_create(&thread, NULL, read_closed, (void *)(uintptr_t)s), 0);
    pthread_join(thread, NULL);
    cop_snapshot_drop(s);
    cop_snapshot_drop(revoked);
    t_all_released();
    store = open_with(0, true);
}
END_TEST

START_TEST(without_memory)
{
    cop_atom atom = t_make(store, "dir/key", S(LONG_TEXT)), dir = t_find(store, "dir");
    const cop_snapshot *s, *more;
    const char *text;
    size_t length;
    cop_value value;
    cop_cursor cursor;
    cop_child child;

    CHECK_OK(cop_reader_register(store));
    store->memory->fail_for_ever = true;
    atomic_store(&store->memory->fail_countdown, 0);
    CHECK_STATUS(cop_snapshot_take(store, &s), COP_E_MEMORY);
    CHECK_STATUS(cop_snapshot_take_version(store, cop_store_version(store), &s), COP_E_MEMORY);
    ck_assert_uint_eq(store->holds, 0);
    atomic_store(&store->memory->fail_countdown, -1);
    s = t_take(store);
    CHECK_OK(cop_cursor_open(s, dir, &cursor));
    for (int64_t k = 0; k < 2; k++) { /* no table, then no copy */
        atomic_store(&store->memory->fail_countdown, k);
        CHECK_STATUS(cop_get(s, atom, &value), COP_E_MEMORY);
        ck_assert_uint_eq(value.type, COP_NONE);
        atomic_store(&store->memory->fail_countdown, 0);
        CHECK_STATUS(cop_get_string(s, atom, &text, &length), COP_E_MEMORY);
        CHECK_STATUS(cop_get_many(s, &atom, 1, &value), COP_E_MEMORY);
        ck_assert(!cop_cursor_next(&cursor, &child));
        CHECK_STATUS(cop_cursor_status(&cursor), COP_E_MEMORY);
    }
    atomic_store(&store->memory->fail_countdown, -1);
    ck_assert(cop_cursor_next(&cursor, &child)); /* the step is tried again */
    ck_assert(!cop_cursor_next(&cursor, &child));
    CHECK_STATUS(cop_cursor_status(&cursor), COP_OK);
    CHECK_OK(cop_snapshot_take(store, &more));
    cop_snapshot_drop(more);
    cop_snapshot_drop(s);
}
END_TEST

/* --- who reads meanwhile ------------------------------------------------------------ */

#if defined(COP_PERTURB) || defined(__SANITIZE_THREAD__)
enum { SHARED_READERS = 2, ROUNDS = 20 };
#else
enum { SHARED_READERS = 2, ROUNDS = 100 };
#endif
static const cop_snapshot *_Atomic shared;
static _Atomic unsigned arrived, left_over, rounds;
static _Atomic bool over;
static cop_atom pair[2];

/* Both numbers of a version are the same. */
static void *
read_shared(void *unused)
{
    (void)unused;
    cop_value values[2];
    while (!atomic_load(&over)) {
        unsigned round = atomic_load(&rounds);
        const cop_snapshot *s = atomic_load(&shared);
        if (s == NULL) {
            sched_yield();
            continue;
        }
        atomic_fetch_add(&arrived, 1);
        cop_status status;
        while ((status = cop_get_many(s, pair, 2, values)) == COP_OK)
            ck_assert_int_eq(cop_value_i64(&values[0]), cop_value_i64(&values[1]));
        CHECK_STATUS(status, COP_E_EXPIRED);
        atomic_fetch_add(&left_over, 1);
        while (atomic_load(&rounds) == round)
            sched_yield();
    }
    return NULL;
}

START_TEST(revoked_under_readers)
{
    pthread_t threads[SHARED_READERS];

    pair[0] = t_make(store, "a", cop_i64(0));
    pair[1] = t_make(store, "b", cop_i64(0));
    atomic_store(&over, false);
    for (int i = 0; i < SHARED_READERS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, read_shared, NULL), 0);
    for (int i = 0; i < ROUNDS; i++) {
        cop_txn *txn = t_begin(store);
        cop_value value = cop_i64(i);
        CHECK_OK(cop_txn_set(txn, pair[0], &value));
        CHECK_OK(cop_txn_set(txn, pair[1], &value));
        t_commit(txn);
        atomic_store(&arrived, 0);
        atomic_store(&left_over, 0);
        const cop_snapshot *s = t_take(store);
        atomic_store(&shared, s);
        while (atomic_load(&arrived) < SHARED_READERS)
            sched_yield();
        revoke_all(1);
        while (atomic_load(&left_over) < SHARED_READERS)
            sched_yield();
        atomic_store(&shared, NULL);
        atomic_fetch_add(&rounds, 1);
        scan();
        cop_snapshot_drop(s);
    }
    atomic_store(&over, true);
    for (int i = 0; i < SHARED_READERS; i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_eq(stats().held_versions, 0);
}
END_TEST

static void
add_all(TCase *tests)
{
    tcase_add_test(tests, reads_as_the_version_does);
    tcase_add_test(tests, many_at_once);
    tcase_add_test(tests, every_entry_point_answers_expired);
    tcase_add_test(tests, its_memory_is_free);
    tcase_add_test(tests, texts_live_until_the_drop);
    tcase_add_test(tests, a_pin_outlives_the_revocation);
    tcase_add_test(tests, pins_of_other_snapshots);
    tcase_add_loop_test(tests, nested_calls, 0, 2);
    tcase_add_test(tests, streams_end_when_it_is_revoked);
    tcase_add_test(tests, transactions_that_read_it_expire);
    tcase_add_test(tests, keeping_and_dropping);
    tcase_add_test(tests, dropped_in_any_order_and_state);
    tcase_add_test(tests, the_limit_counts_them);
    tcase_add_test(tests, weak_snapshots);
    tcase_add_test(tests, old_ones_are_revoked_young_ones_not);
    tcase_add_test(tests, commits_revoke);
    tcase_add_test(tests, polling_revokes);
    tcase_add_test(tests, a_pool_revokes);
    tcase_add_test(tests, no_pin_to_be_had);
    tcase_add_test(tests, a_forked_child_is_told_so);
    tcase_add_test(tests, closed_with_some_held);
    tcase_add_test(tests, without_memory);
    tcase_add_test(tests, revoked_under_readers);
}

int
main(void)
{
    Suite *suite = suite_create("revoke");
    TCase *light = tcase_create("light"), *fenced = tcase_create("fenced");
    SRunner *runner;
    int failed;

    tcase_set_timeout(light, 120);
    tcase_set_timeout(fenced, 120);
    tcase_add_checked_fixture(light, setup, teardown);
    tcase_add_checked_fixture(fenced, setup_fenced, teardown);
    add_all(light);
    add_all(fenced);
    suite_add_tcase(suite, light);
    suite_add_tcase(suite, fenced);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

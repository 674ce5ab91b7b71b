/* SPDX-License-Identifier: MIT */
/* Pins, readers, snapshots kept; every reading function. */
#include <pthread.h>
#include <time.h>

#include "tests/support/store_test.h"

static cop_store *store;

static void
setup(void)
{
    store = t_open();
}

static void
teardown(void)
{
    t_close(store);
}

static uint64_t
pins_held(void)
{
    cop_stats stats = COP_STATS_INIT;

    CHECK_OK(cop_stats_take(store, &stats));
    return stats.held_versions;
}

/* --- pins ------------------------------------------------------------------------- */

START_TEST(nested_pins)
{
    cop_atom atom = t_make(store, "n", cop_i64(0));
    cop_pin_t pins[COP_PINS_MAX], more;
    static const int orders[3][COP_PINS_MAX] = {{3, 2, 1, 0}, {0, 1, 2, 3}, {2, 0, 3, 1}};
    int64_t value;

    for (int round = 0; round < 30; round++) {
        for (int i = 0; i < COP_PINS_MAX; i++) {
            t_set(store, atom, cop_i64(round * 10 + i + 1));
            pins[i] = cop_pin(store);
            ck_assert_ptr_nonnull(pins[i].snapshot);
        }
        more = cop_pin(store);
        ck_assert_ptr_null(more.snapshot);
        CHECK_STATUS(cop_pin_status(), COP_E_PINS);
        cop_unpin(more);
        t_set(store, atom, cop_i64(-round));
        for (int i = 0; i < COP_PINS_MAX; i++) {
            int pin = orders[round % 3][i];
            CHECK_OK(cop_get_i64(pins[pin].snapshot, atom, &value));
            ck_assert_int_eq(value, round * 10 + pin + 1);
            cop_unpin(pins[pin]);
        }
    }
    t_set(store, atom, cop_i64(7));
    ck_assert_uint_eq(pins_held(), 0);
}
END_TEST

START_TEST(a_failed_pin_is_plain)
{
    cop_pin_t none = {NULL, NULL};

    cop_unpin(none);
    CHECK_OK(cop_reader_register(store));
    CHECK_OK(cop_reader_register(store));
    cop_unpin(cop_pin(store));
}
END_TEST

START_TEST(explicit_readers)
{
    cop_atom atom = t_make(store, "n", cop_i64(1));
    cop_reader *readers[3];
    cop_pin_t pins[3][COP_PINS_MAX];
    int64_t value;

    for (int i = 0; i < 3; i++) {
        CHECK_OK(cop_reader_open(store, &readers[i]));
        for (int j = 0; j < COP_PINS_MAX; j++) {
            pins[i][j] = cop_reader_pin(readers[i]);
            ck_assert_ptr_nonnull(pins[i][j].snapshot);
        }
        ck_assert_ptr_null(cop_reader_pin(readers[i]).snapshot);
        CHECK_STATUS(cop_pin_status(), COP_E_PINS);
        t_set(store, atom, cop_i64(i + 2));
    }
    for (int i = 0; i < 3; i++) {
        CHECK_OK(cop_get_i64(pins[i][2].snapshot, atom, &value));
        ck_assert_int_eq(value, i + 1);
    }
    cop_unpin(pins[0][0]);
    for (int i = 0; i < 3; i++)
        cop_reader_close(readers[i]); /* releases what it still pins */
    t_set(store, atom, cop_i64(100));
    ck_assert_uint_eq(pins_held(), 0);
}
END_TEST

static void *
use_elsewhere(void *context)
{
    cop_pin_t *pin = context;
    int64_t value = 0;

    if (cop_get_i64(pin->snapshot, t_find(store, "n"), &value) != COP_OK || value != 1)
        abort();
    cop_unpin(*pin);
    return NULL;
}

START_TEST(a_reader_moves_between_threads)
{
    cop_reader *reader;
    cop_pin_t pin;
    pthread_t thread;

    t_set_at(store, "n", cop_i64(1));
    CHECK_OK(cop_reader_open(store, &reader));
    for (int i = 0; i < 50; i++) {
        pin = cop_reader_pin(reader);
        ck_assert_int_eq(pthread_create(&thread, NULL, use_elsewhere, &pin), 0);
        pthread_join(thread, NULL);
    }
    cop_reader_close(reader);
}
END_TEST

START_TEST(readers_max_is_a_limit)
{
    cop_options options = COP_OPTIONS_INIT;
    cop_store *small = NULL;
    cop_reader *readers[4] = {0};
    int opened = 0;
    cop_status status = COP_OK;

    options.readers_max = 3;
    CHECK_OK(cop_store_open(&options, &small, NULL));
    while (opened < 4 && (status = cop_reader_open(small, &readers[opened])) == COP_OK)
        opened++;
    CHECK_STATUS(status, COP_E_LIMIT);
    ck_assert_int_eq(opened, 3);
    ck_assert_ptr_null(cop_pin(small).snapshot);
    CHECK_STATUS(cop_pin_status(), COP_E_LIMIT);
    CHECK_STATUS(cop_reader_register(small), COP_E_LIMIT);
    cop_reader_close(readers[1]);
    CHECK_OK(cop_reader_register(small));
    cop_reader_close(readers[0]);
    cop_reader_close(readers[2]);
    cop_store_close(small);
}
END_TEST

/* --- snapshots ----------------------------------------------------------------------- */

START_TEST(snapshots_max_is_a_limit)
{
    cop_options options = COP_OPTIONS_INIT;
    cop_store *small = NULL;
    const cop_snapshot *held[3], *more = NULL;

    options.snapshots_max = 3;
    CHECK_OK(cop_store_open(&options, &small, NULL));
    for (int i = 0; i < 3; i++) {
        t_set_at(small, "n", cop_i64(i));
        held[i] = t_take(small);
    }
    t_set_at(small, "n", cop_i64(9));
    CHECK_STATUS(cop_snapshot_take(small, &more), COP_E_LIMIT);
    cop_snapshot_drop(held[1]);
    CHECK_OK(cop_snapshot_take(small, &more));
    cop_snapshot_drop(more);
    cop_snapshot_drop(held[0]);
    cop_snapshot_drop(held[2]);
    cop_store_close(small);
}
END_TEST

START_TEST(keep_and_drop)
{
    cop_atom atom = t_make(store, "n", cop_i64(1));
    const cop_snapshot *snapshot;
    cop_pin_t pin = cop_pin(store);
    int64_t value;

    cop_snapshot_drop(NULL);
    CHECK_OK(cop_snapshot_keep(pin.snapshot));
    snapshot = pin.snapshot;
    cop_unpin(pin);
    t_set(store, atom, cop_i64(2));
    for (int i = 0; i < 5; i++)
        CHECK_OK(cop_snapshot_keep(snapshot));
    for (int i = 0; i < 5; i++)
        cop_snapshot_drop(snapshot);
    CHECK_OK(cop_get_i64(snapshot, atom, &value));
    ck_assert_int_eq(value, 1);
    cop_snapshot_drop(snapshot);
    t_set(store, atom, cop_i64(3));
    ck_assert_uint_eq(pins_held(), 0);
}
END_TEST

START_TEST(what_a_snapshot_says_of_itself)
{
    struct timespec now;
    const cop_snapshot *snapshot;
    uint64_t before, after;

    clock_gettime(CLOCK_REALTIME, &now);
    before = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    t_set_at(store, "a/b", cop_i64(1));
    clock_gettime(CLOCK_REALTIME, &now);
    after = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    snapshot = t_take(store);
    ck_assert_uint_eq(cop_snapshot_version(snapshot), 1);
    ck_assert_ptr_eq(cop_snapshot_store(snapshot), store);
    /* The clock of the publication may be a coarse one. */
    ck_assert_uint_ge(cop_snapshot_time(snapshot), before - 20000000u);
    ck_assert_uint_le(cop_snapshot_time(snapshot), after);
    ck_assert_uint_eq(cop_snapshot_atoms(snapshot), 2);
    cop_snapshot_drop(snapshot);
}
END_TEST

static void *
drop_elsewhere(void *context)
{
    cop_snapshot_drop(context);
    return NULL;
}

START_TEST(dropped_by_another_thread)
{
    cop_atom atom = t_make(store, "n", cop_i64(1));
    pthread_t thread;

    for (int i = 0; i < 100; i++) {
        const cop_snapshot *snapshot = t_take(store);
        t_set(store, atom, cop_i64(i + 2));
        ck_assert_int_eq(pthread_create(&thread, NULL, drop_elsewhere, (void *)(uintptr_t)snapshot),
                         0);
        pthread_join(thread, NULL);
    }
    t_set(store, atom, cop_i64(0));
    ck_assert_uint_eq(pins_held(), 0);
}
END_TEST

/* --- reading functions ------------------------------------------------------------------ */

START_TEST(get_many)
{
    enum { ATOMS = 500 };
    cop_atom atoms[ATOMS];
    cop_value values[ATOMS];
    cop_pin_t pin;
    char path[32];

    for (int i = 0; i < ATOMS; i++) {
        snprintf(path, sizeof path, "k%d", i);
        atoms[i] = t_make(store, path, cop_i64(i));
    }
    pin = cop_pin(store);
    CHECK_OK(cop_get_many(pin.snapshot, atoms, 0, values));
    CHECK_OK(cop_get_many(pin.snapshot, atoms, ATOMS, values));
    for (int i = 0; i < ATOMS; i++)
        ck_assert_int_eq(cop_value_i64(&values[i]), i);
    cop_unpin(pin);
    t_erase(store, atoms[123]);
    pin = cop_pin(store);
    CHECK_STATUS(cop_get_many(pin.snapshot, atoms, ATOMS, values), COP_E_GONE);
    for (int i = 0; i < ATOMS; i++)
        ck_assert_int_eq(cop_value_type(&values[i]), i == 123 ? COP_NONE : COP_I64);
    cop_unpin(pin);
}
END_TEST

START_TEST(typed_getters)
{
    cop_atom b = t_make(store, "b", cop_bool(true)), i = t_make(store, "i", cop_i64(5));
    cop_atom f = t_make(store, "f", cop_f64(2.5)), s = t_make(store, "s", cop_string("hi", 2));
    cop_atom gone = t_make(store, "gone", cop_i64(0));
    cop_pin_t pin;
    bool flag = false;
    int64_t integer = 0;
    double number = 0;
    const char *text = NULL;
    size_t length = 0;

    t_erase(store, gone);
    pin = cop_pin(store);
    CHECK_OK(cop_get_bool(pin.snapshot, b, &flag));
    CHECK_OK(cop_get_i64(pin.snapshot, i, &integer));
    CHECK_OK(cop_get_f64(pin.snapshot, f, &number));
    CHECK_OK(cop_get_string(pin.snapshot, s, &text, &length));
    ck_assert(flag);
    ck_assert_int_eq(integer, 5);
    ck_assert_double_eq(number, 2.5);
    ck_assert_uint_eq(length, 2);
    ck_assert_mem_eq(text, "hi", 2);
    CHECK_OK(cop_get_f64(pin.snapshot, i, &number));
    ck_assert_double_eq(number, 5.0);
    CHECK_STATUS(cop_get_bool(pin.snapshot, i, &flag), COP_E_TYPE);
    CHECK_STATUS(cop_get_i64(pin.snapshot, f, &integer), COP_E_TYPE);
    CHECK_STATUS(cop_get_f64(pin.snapshot, s, &number), COP_E_TYPE);
    CHECK_STATUS(cop_get_string(pin.snapshot, b, &text, &length), COP_E_TYPE);
    CHECK_STATUS(cop_get_string(pin.snapshot, cop_root(), &text, &length), COP_E_TYPE);
    CHECK_STATUS(cop_get_bool(pin.snapshot, gone, &flag), COP_E_GONE);
    CHECK_STATUS(cop_get_i64(pin.snapshot, gone, &integer), COP_E_GONE);
    CHECK_STATUS(cop_get_f64(pin.snapshot, gone, &number), COP_E_GONE);
    CHECK_STATUS(cop_get_string(pin.snapshot, gone, &text, &length), COP_E_GONE);
    cop_unpin(pin);
}
END_TEST

static int
stop_at_third(void *context, const cop_child *child)
{
    ++*(int *)context;
    return child->index == 2 ? 17 : 0;
}

START_TEST(each_can_stop)
{
    cop_pin_t pin;
    int seen = 0, stopped = -1;

    for (int i = 0; i < 9; i++) {
        char path[32];
        snprintf(path, sizeof path, "b/%d", i);
        t_set_at(store, path, cop_i64(i));
    }
    pin = cop_pin(store);
    CHECK_OK(cop_each(pin.snapshot, t_find(store, "b"), stop_at_third, &seen, &stopped));
    ck_assert_int_eq(seen, 3);
    ck_assert_int_eq(stopped, 17);
    seen = 0;
    CHECK_OK(cop_each(pin.snapshot, t_find(store, "b"), stop_at_third, &seen, NULL));
    CHECK_OK(cop_each(pin.snapshot, cop_root(), stop_at_third, &seen, &stopped));
    ck_assert_int_eq(stopped, 0);
    cop_unpin(pin);
}
END_TEST

START_TEST(errors_of_branch_functions)
{
    cop_atom leaf = t_make(store, "leaf", cop_i64(1)), gone = t_make(store, "gone/x", cop_i64(1));
    cop_atom branch = t_make(store, "branch", cop_object()), atom;
    cop_cursor cursor;
    cop_child child;
    cop_pin_t pin;
    uint32_t count = 9;
    uint64_t version;

    t_erase_at(store, "gone");
    pin = cop_pin(store);
    CHECK_STATUS(cop_each(pin.snapshot, leaf, stop_at_third, &count, NULL), COP_E_NOT_BRANCH);
    CHECK_STATUS(cop_each(pin.snapshot, gone, stop_at_third, &count, NULL), COP_E_GONE);
    CHECK_STATUS(cop_cursor_open(pin.snapshot, leaf, &cursor), COP_E_NOT_BRANCH);
    CHECK_STATUS(cop_cursor_open(pin.snapshot, gone, &cursor), COP_E_GONE);
    CHECK_STATUS(cop_count(pin.snapshot, leaf, &count), COP_E_NOT_BRANCH);
    CHECK_STATUS(cop_count(pin.snapshot, gone, &count), COP_E_GONE);
    CHECK_STATUS(cop_child_at(pin.snapshot, leaf, 0, &atom), COP_E_NOT_BRANCH);
    CHECK_STATUS(cop_child_at(pin.snapshot, gone, 0, &atom), COP_E_GONE);
    CHECK_STATUS(cop_child_at(pin.snapshot, branch, 0, &atom), COP_E_RANGE);
    CHECK_STATUS(cop_child_named(pin.snapshot, leaf, P("k"), &atom), COP_E_NOT_BRANCH);
    CHECK_STATUS(cop_child_named(pin.snapshot, gone, P("k"), &atom), COP_E_GONE);
    CHECK_STATUS(cop_child_named(pin.snapshot, branch, P("k"), &atom), COP_E_ABSENT);
    CHECK_STATUS(cop_changed(pin.snapshot, leaf, &version), COP_E_NOT_BRANCH);
    CHECK_STATUS(cop_parent(pin.snapshot, cop_root(), &atom), COP_E_ABSENT);
    CHECK_STATUS(cop_parent(pin.snapshot, gone, &atom), COP_E_GONE);
    CHECK_OK(cop_cursor_open(pin.snapshot, branch, &cursor));
    ck_assert(!cop_cursor_next(&cursor, &child));
    ck_assert(!cop_cursor_next(&cursor, &child));
    CHECK_OK(cop_count(pin.snapshot, branch, &count));
    ck_assert_uint_eq(count, 0);
    cop_unpin(pin);
}
END_TEST

START_TEST(paths_of_atoms)
{
    cop_atom deep = t_make(store, "a/b~1c/~3/~2", cop_i64(1)), gone = t_make(store, "g", cop_null());
    const char *path = "a/b~1c/~3/~2";
    cop_pin_t pin;
    char buffer[64];
    size_t length = 0;

    t_erase(store, gone);
    pin = cop_pin(store);
    CHECK_OK(cop_atom_path(pin.snapshot, deep, buffer, sizeof buffer, &length));
    ck_assert_str_eq(buffer, path);
    ck_assert_uint_eq(length, strlen(path));
    CHECK_OK(cop_atom_path(pin.snapshot, deep, buffer, strlen(path) + 1, &length));
    length = 0;
    CHECK_STATUS(cop_atom_path(pin.snapshot, deep, buffer, strlen(path), &length), COP_E_RANGE);
    ck_assert_uint_eq(length, strlen(path));
    CHECK_OK(cop_atom_path(pin.snapshot, cop_root(), buffer, 1, &length));
    ck_assert_uint_eq(length, 0);
    CHECK_STATUS(cop_atom_path(pin.snapshot, gone, buffer, sizeof buffer, &length), COP_E_GONE);
    cop_unpin(pin);
}
END_TEST

static int
stop_scan(void *context, const cop_atom *atoms, const cop_value *values, size_t n)
{
    (void)atoms;
    (void)values;
    ck_assert_uint_le(n, 32);
    ck_assert_uint_ge(n, 1);
    return ++*(int *)context == 3;
}

START_TEST(scan_goes_in_runs)
{
    cop_txn *txn = t_begin(store);
    cop_value value = cop_i64(1);
    cop_pin_t pin;
    int runs = 0;

    for (int i = 0; i < 1000; i++)
        CHECK_OK(cop_txn_create(txn, &value, NULL));
    t_commit(txn);
    pin = cop_pin(store);
    CHECK_OK(cop_scan(pin.snapshot, stop_scan, &runs));
    ck_assert_int_eq(runs, 3);
    runs = 1000;
    CHECK_OK(cop_scan(pin.snapshot, stop_scan, &runs));
    ck_assert_int_ge(runs, 1000 + 1000 / 32);
    cop_unpin(pin);
    t_verify(store);
}
END_TEST

START_TEST(find_and_get_at)
{
    cop_atom atom = t_make(store, "a/b", cop_i64(3)), found;
    char *longest = t_bytes(COP_PATH_MAX + 1, 1);
    cop_pin_t pin = cop_pin(store);
    cop_value value;

    CHECK_OK(cop_find(pin.snapshot, P("a/b"), &found));
    ck_assert(SAME_ATOM(found, atom));
    CHECK_OK(cop_get_at(pin.snapshot, P("a/b"), &value));
    ck_assert_int_eq(cop_value_i64(&value), 3);
    CHECK_STATUS(cop_find(pin.snapshot, P("a/x"), &found), COP_E_ABSENT);
    CHECK_STATUS(cop_get_at(pin.snapshot, P("x"), &value), COP_E_ABSENT);
    CHECK_STATUS(cop_find(pin.snapshot, P("a//x"), &found), COP_E_PATH);
    CHECK_STATUS(cop_get_at(pin.snapshot, P("a/"), &value), COP_E_PATH);
    CHECK_STATUS(cop_find(pin.snapshot, longest, COP_PATH_MAX + 1, &found), COP_E_LIMIT);
    CHECK_STATUS(cop_get_at(pin.snapshot, longest, COP_PATH_MAX + 1, &value), COP_E_LIMIT);
    cop_unpin(pin);
    free(longest);
}
END_TEST

/* A name may fill COP_PATH_MAX; a path through an array may be longer, since each part counts for
 * itself. Also the buffer that the path of such an atom wants. */
START_TEST(names_at_the_limit)
{
    char *key = t_bytes(COP_PATH_MAX + 1, 2), *path = malloc(2 * COP_PATH_MAX);
    static char buffer[COP_PATH_MAX + 1];
    cop_atom atom, found, array;
    cop_value value, list = cop_array(), object = cop_object(), one = cop_i64(1);
    cop_txn *txn = t_begin(store);
    size_t length = 0;

    ck_assert_ptr_nonnull(path);
    sprintf(path, "list/0/%s", key);
    CHECK_OK(cop_txn_set_at(txn, key, COP_PATH_MAX, &one, NULL));
    CHECK_OK(cop_txn_set_child(txn, cop_root(), P("list"), &list, &array));
    CHECK_OK(cop_txn_insert(txn, array, 0, &object, NULL));
    CHECK_OK(cop_txn_set_at(txn, path, 7 + COP_PATH_MAX, &one, NULL));
    t_commit(txn);
    cop_pin_t pin = cop_pin(store);
    for (size_t n = COP_PATH_MAX - 1; n <= COP_PATH_MAX + 1; n++) {
        bool there = n == COP_PATH_MAX;
        cop_status status = there ? COP_OK : n < COP_PATH_MAX ? COP_E_ABSENT : COP_E_LIMIT;
        CHECK_STATUS(cop_find(pin.snapshot, key, n, &found), status);
        CHECK_STATUS(cop_get_at(pin.snapshot, key, n, &value), status);
        CHECK_STATUS(cop_child_named(pin.snapshot, cop_root(), key, n, &atom),
                     there ? COP_OK : COP_E_ABSENT);
        ck_assert(!there || SAME_ATOM(atom, found));
        ck_assert(!there || cop_value_i64(&value) == 1);
    }
    CHECK_OK(cop_find(pin.snapshot, key, COP_PATH_MAX, &atom));
    for (size_t room = COP_PATH_MAX - 1; room <= COP_PATH_MAX + 1; room++) {
        CHECK_STATUS(cop_atom_path(pin.snapshot, atom, buffer, room, &length),
                     room > COP_PATH_MAX ? COP_OK : COP_E_RANGE);
        ck_assert_uint_eq(length, COP_PATH_MAX);
    }
    ck_assert_mem_eq(buffer, key, COP_PATH_MAX);
    CHECK_OK(cop_get_at(pin.snapshot, path, 7 + COP_PATH_MAX, &value));
    ck_assert_int_eq(cop_value_i64(&value), 1);
    CHECK_STATUS(cop_get_at(pin.snapshot, path, 6 + COP_PATH_MAX, &value), COP_E_ABSENT);
    CHECK_STATUS(cop_get_at(pin.snapshot, path, 8 + COP_PATH_MAX, &value), COP_E_LIMIT);
    ck_assert_int_eq(buffer[COP_PATH_MAX], '\0');
    cop_unpin(pin);
    free(path);
    free(key);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, nested_pins);
    tcase_add_test(tests, a_failed_pin_is_plain);
    tcase_add_test(tests, explicit_readers);
    tcase_add_test(tests, a_reader_moves_between_threads);
    tcase_add_test(tests, readers_max_is_a_limit);
    tcase_add_test(tests, snapshots_max_is_a_limit);
    tcase_add_test(tests, keep_and_drop);
    tcase_add_test(tests, what_a_snapshot_says_of_itself);
    tcase_add_test(tests, dropped_by_another_thread);
    tcase_add_test(tests, get_many);
    tcase_add_test(tests, typed_getters);
    tcase_add_test(tests, each_can_stop);
    tcase_add_test(tests, errors_of_branch_functions);
    tcase_add_test(tests, paths_of_atoms);
    tcase_add_test(tests, scan_goes_in_runs);
    tcase_add_test(tests, find_and_get_at);
    tcase_add_test(tests, names_at_the_limit);
}

int
main(void)
{
    return t_run("snapshot", add);
}

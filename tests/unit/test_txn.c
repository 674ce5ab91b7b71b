/* SPDX-License-Identifier: MIT */
/* What a transaction does: order, net change, reading its own writes, refusals, numbers. */
#include <math.h>

#include "tests/support/store_test.h"

static const cop_value one = {.type = COP_I64, .small = {.words = {0, 1, 0}}};

/* --- net change ------------------------------------------------------------------- */

START_TEST(no_net_change_publishes_nothing)
{
    cop_store *store = t_open();
    char *text = t_bytes(4096, 1);
    cop_atom number = t_make(store, "n", cop_i64(1));
    cop_atom string = t_make(store, "s", cop_string(text, 4096));
    uint64_t version = cop_store_version(store);
    cop_value value = cop_i64(2), same = cop_string(text, 4096), object = cop_object();
    cop_atom atom;
    cop_txn *txn = t_begin(store);

    ck_assert_uint_eq(t_commit(txn), version);
    ck_assert_uint_eq(t_set(store, number, cop_i64(1)), version);
    ck_assert_uint_eq(t_set(store, string, same), version);
    txn = t_begin(store); /* there and back */
    CHECK_OK(cop_txn_set(txn, number, &value));
    CHECK_OK(cop_txn_set(txn, number, &one));
    CHECK_OK(cop_txn_set(txn, string, &value));
    CHECK_OK(cop_txn_set(txn, string, &same));
    ck_assert_uint_eq(t_commit(txn), version);
    txn = t_begin(store); /* made and erased */
    CHECK_OK(cop_txn_create(txn, &value, &atom));
    CHECK_OK(cop_txn_erase(txn, atom));
    CHECK_OK(cop_txn_set_child(txn, cop_root(), P("new"), &value, &atom));
    CHECK_OK(cop_txn_erase(txn, atom));
    ck_assert_uint_eq(t_commit(txn), version);
    txn = t_begin(store); /* a branch that is one already */
    CHECK_OK(cop_txn_set(txn, cop_root(), &object));
    CHECK_OK(cop_txn_clear(txn, number));
    ck_assert_uint_eq(t_commit(txn), version);
    ck_assert_uint_eq(cop_store_version(store), version);
    ck_assert_str_eq(t_list_now(store, cop_root()), "n s");
    t_verify(store);
    free(text);
    t_close(store);
}
END_TEST

START_TEST(a_version_for_each_change)
{
    cop_store *store = t_open();
    cop_atom atom = t_make(store, "n", cop_i64(0));

    for (int i = 1; i < 1000; i++) {
        ck_assert_uint_eq(t_set(store, atom, cop_i64(i)), (uint64_t)i + 1);
        ck_assert_uint_eq(cop_store_version(store), (uint64_t)i + 1);
    }
    t_close(store);
}
END_TEST

START_TEST(the_last_write_wins)
{
    cop_store *store = t_open();
    cop_atom atom = t_make(store, "n", cop_i64(0));
    cop_txn *txn = t_begin(store);

    for (int i = 0; i < 100; i++) {
        cop_value value = cop_i64(i);
        CHECK_OK(cop_txn_set(txn, atom, &value));
        CHECK_OK(cop_txn_set_at(txn, P("m"), &value, NULL));
    }
    ck_assert_uint_eq(t_commit(txn), 2);
    t_is_i64(store, atom, 99);
    t_is_i64(store, t_find(store, "m"), 99);
    t_close(store);
}
END_TEST

/* --- whole or not at all ------------------------------------------------------------ */

typedef struct refusal {
    const char *name;
    cop_status status;
    void (*add)(cop_store *, cop_txn *);
} refusal;

static void
add_branch(cop_store *store, cop_txn *txn)
{
    CHECK_OK(cop_txn_set(txn, t_find(store, "branch"), &one));
}

static void
add_other_kind(cop_store *store, cop_txn *txn)
{
    cop_value array = cop_array();
    CHECK_OK(cop_txn_set(txn, t_find(store, "branch"), &array));
}

static void
add_below_value(cop_store *store, cop_txn *txn)
{
    (void)store;
    CHECK_OK(cop_txn_set_at(txn, P("text/below"), &one, NULL));
}

static void
add_child_of_value(cop_store *store, cop_txn *txn)
{
    CHECK_OK(cop_txn_set_child(txn, t_find(store, "text"), P("k"), &one, NULL));
}

static void
add_child_of_array(cop_store *store, cop_txn *txn)
{
    CHECK_OK(cop_txn_set_child(txn, t_find(store, "list"), P("k"), &one, NULL));
}

static void
add_insert_in_object(cop_store *store, cop_txn *txn)
{
    CHECK_OK(cop_txn_insert(txn, t_find(store, "branch"), 0, &one, NULL));
}

static void
add_insert_past_end(cop_store *store, cop_txn *txn)
{
    CHECK_OK(cop_txn_insert(txn, t_find(store, "list"), 3, &one, NULL));
}

static void
add_past_end_by_path(cop_store *store, cop_txn *txn)
{
    (void)store;
    CHECK_OK(cop_txn_set_at(txn, P("list/7"), &one, NULL));
}

static void
add_erase_absent(cop_store *store, cop_txn *txn)
{
    (void)store;
    CHECK_OK(cop_txn_erase_at(txn, P("branch/nothing"), NULL));
}

static void
add_clear_absent(cop_store *store, cop_txn *txn)
{
    (void)store;
    CHECK_OK(cop_txn_clear_at(txn, P("nothing"), NULL));
}

static void
add_to_text(cop_store *store, cop_txn *txn)
{
    CHECK_OK(cop_txn_add(txn, t_find(store, "text"), &one));
}

static void
add_to_branch(cop_store *store, cop_txn *txn)
{
    CHECK_OK(cop_txn_add(txn, t_find(store, "branch"), &one));
}

static void
max_of_text(cop_store *store, cop_txn *txn)
{
    CHECK_OK(cop_txn_max(txn, t_find(store, "text"), &one));
}

static void
add_overflow(cop_store *store, cop_txn *txn)
{
    CHECK_OK(cop_txn_add(txn, t_find(store, "greatest"), &one));
}

static void
add_twice_erased(cop_store *store, cop_txn *txn)
{
    CHECK_OK(cop_txn_erase(txn, t_find(store, "branch")));
    CHECK_OK(cop_txn_set(txn, t_find(store, "branch/a"), &one));
}

static const refusal refusals[] = {
    {"a value over children", COP_E_BRANCH, add_branch},
    {"another kind over children", COP_E_BRANCH, add_other_kind},
    {"a path below a value", COP_E_NOT_BRANCH, add_below_value},
    {"a child of a value", COP_E_NOT_BRANCH, add_child_of_value},
    {"a named child of an array", COP_E_NOT_BRANCH, add_child_of_array},
    {"an insert into an object", COP_E_NOT_BRANCH, add_insert_in_object},
    {"an insert past the end", COP_E_RANGE, add_insert_past_end},
    {"a position past the end", COP_E_RANGE, add_past_end_by_path},
    {"erasing nothing", COP_E_ABSENT, add_erase_absent},
    {"clearing nothing", COP_E_ABSENT, add_clear_absent},
    {"adding to text", COP_E_TYPE, add_to_text},
    {"adding to a branch", COP_E_TYPE, add_to_branch},
    {"the greater of text", COP_E_TYPE, max_of_text},
    {"overflow", COP_E_RANGE, add_overflow},
    {"a write below what it erased", COP_E_GONE, add_twice_erased},
};

START_TEST(one_refused_operation_refuses_all)
{
    const refusal *r = &refusals[_i];
    cop_store *store = t_open();
    cop_value value = cop_i64(8), array = cop_array();
    const cop_snapshot *before, *after;
    char *text_before, *text_after;
    cop_txn *txn = t_begin(store);
    cop_atom list;

    t_set_at(store, "branch/a", cop_i64(1));
    t_set_at(store, "text", cop_string("abc", 3));
    t_set_at(store, "greatest", cop_i64(INT64_MAX));
    CHECK_OK(cop_txn_set_child(txn, cop_root(), P("list"), &array, &list));
    CHECK_OK(cop_txn_insert(txn, list, COP_AT_END, &value, NULL));
    CHECK_OK(cop_txn_insert(txn, list, COP_AT_END, &value, NULL));
    t_commit(txn);
    before = t_take(store);
    text_before = dump_tree(before, DUMP_CHANGED | DUMP_HANDLES);

    txn = t_begin(store);
    CHECK_OK(cop_txn_set_at(txn, P("made/before"), &value, NULL));
    CHECK_OK(cop_txn_insert(txn, t_find(store, "list"), 0, &value, NULL));
    CHECK_OK(cop_txn_erase_at(txn, P("list/1"), NULL));
    CHECK_OK(cop_txn_create(txn, &value, NULL));
    r->add(store, txn);
    CHECK_OK(cop_txn_set_at(txn, P("made/after"), &value, NULL));
    t_commit_fails(store, txn, r->status);

    after = t_take(store);
    text_after = dump_tree(after, DUMP_CHANGED | DUMP_HANDLES);
    ck_assert_msg(strcmp(text_before, text_after) == 0, "%s: %s\n%s", r->name, text_before,
                  text_after);
    t_verify(store);
    free(text_before);
    free(text_after);
    cop_snapshot_drop(before);
    cop_snapshot_drop(after);
    t_close(store);
}
END_TEST

START_TEST(argument_errors_are_answered_at_once)
{
    cop_store *store = t_open();
    cop_txn *txn = t_begin(store);
    cop_error error = COP_ERROR_INIT;
    char *longest = t_bytes(COP_PATH_MAX + 1, 1);
    cop_atom atom;

    CHECK_STATUS(cop_txn_set_at(txn, P("a/"), &one, &error), COP_E_PATH);
    ck_assert_uint_eq(error.position, 1);
    CHECK_STATUS(cop_txn_erase_at(txn, P("~7"), &error), COP_E_PATH);
    CHECK_STATUS(cop_txn_clear_at(txn, P("\xff"), &error), COP_E_PATH);
    CHECK_STATUS(cop_txn_find(txn, P("a//b"), &atom, &error), COP_E_PATH);
    CHECK_STATUS(cop_txn_require_path(txn, P("/"), true, &error), COP_E_PATH);
    CHECK_STATUS(cop_txn_set_at(txn, longest, COP_PATH_MAX + 1, &one, &error), COP_E_LIMIT);
    CHECK_STATUS(cop_txn_erase_at(txn, longest, COP_PATH_MAX + 1, &error), COP_E_LIMIT);
    CHECK_STATUS(cop_txn_erase(txn, cop_root()), COP_E_INVALID);
    CHECK_STATUS(cop_txn_erase_at(txn, P(""), &error), COP_E_INVALID);
    CHECK_OK(cop_txn_set_at(txn, P("fine"), &one, NULL));
    ck_assert_uint_eq(t_commit(txn), 1);
    ck_assert_str_eq(t_list_now(store, cop_root()), "fine");
    free(longest);
    t_close(store);
}
END_TEST

START_TEST(cancelled_has_no_effect)
{
    cop_store *store = t_open();
    cop_txn *txn = t_begin(store);

    cop_txn_cancel(NULL);
    CHECK_OK(cop_txn_set_at(txn, P("a"), &one, NULL));
    cop_txn_cancel(txn);
    CHECK_OK(cop_flush(store, COP_FOREVER));
    ck_assert_uint_eq(cop_store_version(store), 0);
    t_close(store);
}
END_TEST

/* --- reading inside -------------------------------------------------------------------- */

START_TEST(reads_its_own_writes_by_handle)
{
    cop_store *store = t_open();
    cop_atom atom = t_make(store, "a", cop_i64(1)), made;
    char *text = t_bytes(5000, 2);
    cop_value value, string = cop_string(text, 5000);
    cop_txn *txn = t_begin(store);

    CHECK_OK(cop_txn_get(txn, atom, &value));
    ck_assert_int_eq(cop_value_i64(&value), 1);
    CHECK_OK(cop_txn_set(txn, atom, &string));
    CHECK_OK(cop_txn_get(txn, atom, &value));
    ck_assert(cop_value_equal(&value, &string));
    CHECK_OK(cop_txn_create(txn, &one, &made));
    CHECK_OK(cop_txn_get(txn, made, &value));
    ck_assert_int_eq(cop_value_i64(&value), 1);
    CHECK_OK(cop_txn_erase(txn, atom));
    CHECK_STATUS(cop_txn_get(txn, atom, &value), COP_E_GONE);
    ck_assert_uint_eq(t_commit(txn), 2);
    t_is_i64(store, made, 1);
    free(text);
    t_close(store);
}
END_TEST

START_TEST(reads_are_of_one_version)
{
    cop_store *store = t_open();
    cop_atom a = t_make(store, "a", cop_i64(1)), b = t_make(store, "b", cop_i64(1)), found;
    cop_txn *txn = t_begin(store);
    const cop_snapshot *snapshot = NULL;
    cop_value value;

    CHECK_OK(cop_txn_get(txn, a, &value));
    t_set(store, b, cop_i64(2));
    t_set_at(store, "c", cop_i64(3));
    CHECK_OK(cop_txn_get(txn, b, &value));
    ck_assert_int_eq(cop_value_i64(&value), 1);
    CHECK_STATUS(cop_txn_find(txn, P("c"), &found, NULL), COP_E_ABSENT);
    CHECK_OK(cop_txn_find(txn, P("b"), &found, NULL));
    ck_assert(SAME_ATOM(found, b));
    CHECK_OK(cop_txn_snapshot(txn, &snapshot));
    ck_assert_uint_eq(cop_snapshot_version(snapshot), 2);
    ck_assert_uint_eq(cop_snapshot_atoms(snapshot), 2);
    cop_txn_cancel(txn);
    t_close(store);
}
END_TEST

START_TEST(provisional_handles)
{
    cop_store *store = t_open();
    cop_value object = cop_object(), array = cop_array(), value = cop_i64(4);
    cop_atom branch, list, leaf, element, kept;
    cop_txn *txn = t_begin(store);

    CHECK_OK(cop_txn_set_child(txn, cop_root(), P("branch"), &object, &branch));
    CHECK_OK(cop_txn_set_child(txn, branch, P("list"), &array, &list));
    CHECK_OK(cop_txn_insert(txn, list, 0, &one, &element));
    CHECK_OK(cop_txn_set_child(txn, branch, P("leaf"), &one, &leaf));
    CHECK_OK(cop_txn_set(txn, leaf, &value));
    CHECK_OK(cop_txn_add(txn, element, &one));
    kept = leaf;
    ck_assert_uint_eq(t_commit(txn), 1);
    ck_assert(!SAME_ATOM(kept, leaf));
    ck_assert(SAME_ATOM(branch, t_find(store, "branch")));
    ck_assert(SAME_ATOM(list, t_find(store, "branch/list")));
    ck_assert(SAME_ATOM(leaf, t_find(store, "branch/leaf")));
    ck_assert(SAME_ATOM(element, t_find(store, "branch/list/0")));
    t_is_i64(store, leaf, 4);
    t_is_i64(store, element, 2);
    /* Outside its transaction a provisional handle is nobody's. */
    txn = t_begin(store);
    if (cop_txn_set(txn, kept, &one) == COP_OK)
        ck_assert_int_ne(cop_txn_commit(txn, NULL, NULL), COP_OK);
    else
        cop_txn_cancel(txn);
    t_is_i64(store, leaf, 4);
    t_close(store);
}
END_TEST

/* --- numbers ------------------------------------------------------------------------- */

START_TEST(add_and_max)
{
    cop_store *store = t_open();
    cop_atom n = t_make(store, "n", cop_i64(40)), f = t_make(store, "f", cop_f64(1.5));
    cop_value two = cop_i64(2), half = cop_f64(0.5), low = cop_i64(-9), high = cop_i64(100);
    cop_txn *txn = t_begin(store);
    double d;
    cop_pin_t pin;

    CHECK_OK(cop_txn_add(txn, n, &two));
    CHECK_OK(cop_txn_max(txn, n, &low));
    CHECK_OK(cop_txn_add(txn, f, &two));
    CHECK_OK(cop_txn_add(txn, f, &half));
    t_commit(txn);
    t_is_i64(store, n, 42);
    pin = cop_pin(store);
    CHECK_OK(cop_get_f64(pin.snapshot, f, &d));
    ck_assert_double_eq(d, 4.0);
    cop_unpin(pin);

    txn = t_begin(store);
    CHECK_OK(cop_txn_max(txn, n, &high));
    CHECK_OK(cop_txn_max(txn, f, &half));
    t_commit(txn);
    t_is_i64(store, n, 100);

    txn = t_begin(store);
    CHECK_OK(cop_txn_add(txn, n, &half));
    t_commit(txn);
    pin = cop_pin(store);
    CHECK_OK(cop_get_f64(pin.snapshot, n, &d));
    ck_assert_double_eq(d, 100.5);
    cop_unpin(pin);
    t_close(store);
}
END_TEST

START_TEST(compare_set_tells)
{
    cop_store *store = t_open();
    cop_atom n = t_make(store, "n", cop_i64(1));
    cop_value two = cop_i64(2), three = cop_i64(3);
    bool first = false, second = true, third = false;
    cop_txn *txn = t_begin(store);

    CHECK_OK(cop_txn_compare_set(txn, n, &one, &two, &first));
    CHECK_OK(cop_txn_compare_set(txn, n, &one, &three, &second));
    CHECK_OK(cop_txn_compare_set(txn, n, &two, &three, &third));
    ck_assert_uint_eq(t_commit(txn), 2);
    ck_assert(first);
    ck_assert(!second);
    ck_assert(third);
    t_is_i64(store, n, 3);
    txn = t_begin(store);
    first = true;
    CHECK_OK(cop_txn_compare_set(txn, n, &one, &two, &first));
    ck_assert_uint_eq(t_commit(txn), 2);
    ck_assert(!first);
    t_close(store);
}
END_TEST

START_TEST(a_large_transaction)
{
    enum { WRITES = 50000 };
    cop_store *store = t_open();
    cop_txn *txn = t_begin(store);
    char path[64];

    for (int i = 0; i < WRITES; i++) {
        cop_value value = cop_i64(i);
        int n = snprintf(path, sizeof path, "group%d/item%d", i % 100, i);
        CHECK_OK(cop_txn_set_at(txn, path, (size_t)n, &value, NULL));
    }
    ck_assert_uint_eq(t_commit(txn), 1);
    for (int i = 0; i < WRITES; i += 97) {
        snprintf(path, sizeof path, "group%d/item%d", i % 100, i);
        t_is_i64(store, t_find(store, path), i);
    }
    t_verify(store);
    t_close(store);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_test(tests, no_net_change_publishes_nothing);
    tcase_add_test(tests, a_version_for_each_change);
    tcase_add_test(tests, the_last_write_wins);
    tcase_add_loop_test(tests, one_refused_operation_refuses_all, 0,
                        (int)(sizeof refusals / sizeof *refusals));
    tcase_add_test(tests, argument_errors_are_answered_at_once);
    tcase_add_test(tests, cancelled_has_no_effect);
    tcase_add_test(tests, reads_its_own_writes_by_handle);
    tcase_add_test(tests, reads_are_of_one_version);
    tcase_add_test(tests, provisional_handles);
    tcase_add_test(tests, add_and_max);
    tcase_add_test(tests, compare_set_tells);
    tcase_add_test(tests, a_large_transaction);
}

int
main(void)
{
    return t_run("txn", add);
}

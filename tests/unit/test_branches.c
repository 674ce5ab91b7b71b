/* SPDX-License-Identifier: MIT */
/* Objects in creation order, arrays by position, erasing and clearing, what changed when. */
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
    t_verify(store);
    t_close(store);
}

static cop_atom
make_array(const char *key, int n)
{
    cop_txn *txn = t_begin(store);
    cop_value array = cop_array();
    cop_atom list;

    CHECK_OK(cop_txn_set_child(txn, cop_root(), P(key), &array, &list));
    for (int i = 0; i < n; i++) {
        cop_value value = cop_i64(i);
        CHECK_OK(cop_txn_insert(txn, list, COP_AT_END, &value, NULL));
    }
    t_commit(txn);
    return list;
}

static cop_atom
insert(cop_atom list, uint32_t index, int64_t i)
{
    cop_txn *txn = t_begin(store);
    cop_value value = cop_i64(i);
    cop_atom atom;

    CHECK_OK(cop_txn_insert(txn, list, index, &value, &atom));
    t_commit(txn);
    return atom;
}

static uint64_t
changed(const char *path)
{
    cop_pin_t pin = cop_pin(store);
    uint64_t version = 0;

    CHECK_OK(cop_changed(pin.snapshot, t_find(store, path), &version));
    cop_unpin(pin);
    return version;
}

/* --- objects ---------------------------------------------------------------------- */

START_TEST(children_stand_in_creation_order)
{
    t_set_at(store, "zebra", cop_i64(1));
    t_set_at(store, "apple/core", cop_i64(1));
    t_set_at(store, "mango", cop_i64(1));
    t_set_at(store, "apple", cop_object());
    t_set_at(store, "zebra", cop_i64(2));
    ck_assert_str_eq(t_list_now(store, cop_root()), "zebra apple mango");
    t_erase_at(store, "zebra");
    ck_assert_str_eq(t_list_now(store, cop_root()), "apple mango");
    t_set_at(store, "zebra", cop_i64(3));
    ck_assert_str_eq(t_list_now(store, cop_root()), "apple mango zebra");
}
END_TEST

START_TEST(keys_of_all_kinds)
{
    static const struct {
        const char *key;
        const char *segment;
    } keys[] = {{"", "~3"},       {"a/b", "a~1b"},   {"*", "~2"},     {"~", "~0"},
                {"~3", "~03"},    {"0", "0"},        {"-", "-"},      {"\xc3\xa9", "\xc3\xa9"},
                {" ", " "},       {"a b", "a b"},    {"~1", "~01"},   {"1e5", "1e5"}};
    enum { KEYS = sizeof keys / sizeof *keys };
    cop_atom atoms[KEYS], found;
    cop_pin_t pin;
    cop_cursor cursor;
    cop_child child;
    cop_txn *txn = t_begin(store);

    for (int i = 0; i < KEYS; i++) {
        cop_value value = cop_i64(i);
        CHECK_OK(cop_txn_set_child(txn, cop_root(), P(keys[i].key), &value, &atoms[i]));
    }
    t_commit(txn);
    pin = cop_pin(store);
    CHECK_OK(cop_cursor_open(pin.snapshot, cop_root(), &cursor));
    for (int i = 0; i < KEYS; i++) {
        ck_assert(cop_cursor_next(&cursor, &child));
        ck_assert_uint_eq(child.key_length, strlen(keys[i].segment));
        ck_assert_mem_eq(child.key, keys[i].segment, child.key_length);
        CHECK_OK(cop_child_named(pin.snapshot, cop_root(), P(keys[i].key), &found));
        ck_assert(SAME_ATOM(found, atoms[i]));
        CHECK_OK(cop_find(pin.snapshot, P(keys[i].segment), &found));
        ck_assert(SAME_ATOM(found, atoms[i]));
    }
    cop_unpin(pin);
}
END_TEST

START_TEST(refused_keys)
{
    cop_txn *txn = t_begin(store);
    cop_value value = cop_i64(1);

    CHECK_STATUS(cop_txn_set_child(txn, cop_root(), "a\0b", 3, &value, NULL), COP_E_PATH);
    CHECK_STATUS(cop_txn_set_child(txn, cop_root(), P("\xc3"), &value, NULL), COP_E_PATH);
    ck_assert_uint_eq(t_commit(txn), 0);
}
END_TEST

START_TEST(a_value_becomes_a_branch_and_back)
{
    cop_atom atom = t_make(store, "x", cop_i64(1));

    t_set(store, atom, cop_object());
    t_set_at(store, "x/y", cop_i64(1));
    t_erase_at(store, "x/y");
    t_set(store, atom, cop_array());
    t_set_at(store, "x/-", cop_i64(1));
    t_erase_at(store, "x/0");
    t_set(store, atom, cop_string("a longer string", 15));
    ck_assert(SAME_ATOM(atom, t_find(store, "x")));
    t_set(store, atom, cop_object());
    ck_assert_str_eq(t_list_now(store, atom), "");
}
END_TEST

START_TEST(the_root_can_be_an_array)
{
    cop_atom list = cop_root();

    t_set(store, cop_root(), cop_array());
    insert(list, 0, 1);
    insert(list, 0, 0);
    ck_assert_str_eq(t_list_now(store, list), "0 1");
    t_is_i64(store, t_find(store, "1"), 1);
    t_set_at(store, "-", cop_i64(2));
    ck_assert_str_eq(t_list_now(store, list), "0 1 2");
}
END_TEST

/* --- arrays ------------------------------------------------------------------------ */

START_TEST(positions_shift_and_handles_stay)
{
    cop_atom list = make_array("list", 5), third = t_find(store, "list/3"), new;
    char path[32];
    size_t length;
    cop_pin_t pin;

    new = insert(list, 2, 100);
    ck_assert_str_eq(t_list_now(store, list), "0 1 100 2 3 4");
    t_is_i64(store, third, 3);
    ck_assert(SAME_ATOM(third, t_find(store, "list/4")));
    ck_assert(SAME_ATOM(new, t_find(store, "list/2")));
    insert(list, 0, -1);
    insert(list, COP_AT_END, 9);
    insert(list, 8, 10);
    ck_assert_str_eq(t_list_now(store, list), "-1 0 1 100 2 3 4 9 10");
    pin = cop_pin(store);
    CHECK_OK(cop_atom_path(pin.snapshot, third, path, sizeof path, &length));
    ck_assert_str_eq(path, "list/5");
    cop_unpin(pin);
    t_erase_at(store, "list/0");
    t_erase(store, new);
    ck_assert_str_eq(t_list_now(store, list), "0 1 2 3 4 9 10");
    CHECK_STATUS(t_status(store, new), COP_E_GONE);
    t_set_at(store, "list/1", cop_i64(11));
    ck_assert_str_eq(t_list_now(store, list), "0 11 2 3 4 9 10");
}
END_TEST

START_TEST(paths_through_arrays)
{
    cop_atom list = make_array("list", 0), inner, leaf;
    cop_txn *txn = t_begin(store);
    cop_value object = cop_object(), value = cop_i64(1);

    CHECK_OK(cop_txn_insert(txn, list, 0, &object, &inner));
    CHECK_OK(cop_txn_set_child(txn, inner, P("a"), &value, &leaf));
    t_commit(txn);
    ck_assert(SAME_ATOM(leaf, t_find(store, "list/0/a")));
    t_set_at(store, "list/0/b/c", cop_i64(2));
    insert(list, 0, 7);
    ck_assert(SAME_ATOM(leaf, t_find(store, "list/1/a")));
    t_is_i64(store, t_find(store, "list/1/b/c"), 2);
    CHECK_STATUS(cop_atom_find(store, P("list/0/a"), &leaf), COP_E_ABSENT);
    CHECK_STATUS(cop_atom_find(store, P("list/2"), &leaf), COP_E_ABSENT);
    CHECK_STATUS(cop_atom_find(store, P("list/01"), &leaf), COP_E_ABSENT);
    CHECK_STATUS(cop_atom_find(store, P("list/-"), &leaf), COP_E_ABSENT);
    CHECK_STATUS(cop_atom_find(store, P("list/99999999999999999999"), &leaf), COP_E_ABSENT);
    CHECK_STATUS(cop_atom_find(store, P("list/x"), &leaf), COP_E_ABSENT);
    t_erase_at(store, "list/1/b");
    CHECK_STATUS(cop_atom_find(store, P("list/1/b/c"), &leaf), COP_E_ABSENT);
}
END_TEST

START_TEST(arrays_of_arrays)
{
    cop_txn *txn = t_begin(store);
    cop_value array = cop_array(), value;
    cop_atom outer, rows[20];

    CHECK_OK(cop_txn_set_child(txn, cop_root(), P("m"), &array, &outer));
    for (int i = 0; i < 20; i++) {
        CHECK_OK(cop_txn_insert(txn, outer, 0, &array, &rows[i]));
        for (int j = 0; j < 20; j++) {
            value = cop_i64(i * 100 + j);
            CHECK_OK(cop_txn_insert(txn, rows[i], COP_AT_END, &value, NULL));
        }
    }
    t_commit(txn);
    t_is_i64(store, t_find(store, "m/0/3"), 1903);
    t_is_i64(store, t_find(store, "m/19/19"), 19);
    t_erase_at(store, "m/0");
    t_is_i64(store, t_find(store, "m/0/3"), 1803);
}
END_TEST

/* A long array against the simplest of models, with its oldest state held. */
START_TEST(a_long_array)
{
    enum { START = 3000, EDITS = 2000 };
    static int64_t model[START + EDITS];
    uint32_t n = START, count;
    uint64_t random = 12345;
    cop_atom list = make_array("list", START), atom;
    const cop_snapshot *first = t_take(store), *now;
    int64_t value;

    for (uint32_t i = 0; i < n; i++)
        model[i] = i;
    for (int i = 0; i < EDITS; i++) {
        uint32_t at;
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
        at = (uint32_t)(random >> 33) % n;
        if (random >> 60 < 9) {
            insert(list, at, -i);
            memmove(model + at + 1, model + at, (n - at) * sizeof *model);
            model[at] = -i;
            n++;
        } else {
            char path[32];
            snprintf(path, sizeof path, "list/%u", at);
            t_erase_at(store, path);
            n--;
            memmove(model + at, model + at + 1, (n - at) * sizeof *model);
        }
    }
    now = t_take(store);
    CHECK_OK(cop_count(now, list, &count));
    ck_assert_uint_eq(count, n);
    for (uint32_t i = 0; i < n; i++) {
        CHECK_OK(cop_child_at(now, list, i, &atom));
        CHECK_OK(cop_get_i64(now, atom, &value));
        ck_assert_int_eq(value, model[i]);
    }
    CHECK_OK(cop_count(first, list, &count));
    ck_assert_uint_eq(count, START);
    for (uint32_t i = 0; i < START; i++) {
        CHECK_OK(cop_child_at(first, list, i, &atom));
        CHECK_OK(cop_get_i64(first, atom, &value));
        ck_assert_int_eq(value, i);
    }
    ck_assert_ptr_null(dump_disagreement(first));
    cop_snapshot_drop(first);
    cop_snapshot_drop(now);
}
END_TEST

/* --- erasing and clearing --------------------------------------------------------------- */

START_TEST(erasing_a_branch_erases_what_is_below)
{
    cop_atom leaf = t_make(store, "a/b/c/d", cop_i64(1)), middle = t_find(store, "a/b"), atom;
    uint64_t version;

    t_set_at(store, "a/other", cop_i64(1));
    version = t_erase_at(store, "a/b");
    ck_assert_uint_eq(version, 3);
    CHECK_STATUS(t_status(store, leaf), COP_E_GONE);
    CHECK_STATUS(t_status(store, middle), COP_E_GONE);
    CHECK_STATUS(cop_atom_find(store, P("a/b/c/d"), &atom), COP_E_ABSENT);
    ck_assert_str_eq(t_list_now(store, t_find(store, "a")), "other");
    t_set_at(store, "a/b/c/d", cop_i64(2));
    ck_assert_str_eq(t_list_now(store, t_find(store, "a")), "other b");
}
END_TEST

START_TEST(clearing_keeps_the_place)
{
    cop_atom middle, leaf = t_make(store, "a/b/c", cop_i64(1));
    cop_txn *txn = t_begin(store);

    middle = t_find(store, "a/b");
    t_set_at(store, "a/z", cop_i64(1));
    CHECK_OK(cop_txn_clear_at(txn, P("a/b"), NULL));
    t_commit(txn);
    ck_assert(SAME_ATOM(middle, t_find(store, "a/b")));
    ck_assert_str_eq(t_list_now(store, t_find(store, "a")), "b z");
    ck_assert_str_eq(t_list_now(store, middle), "");
    CHECK_STATUS(t_status(store, leaf), COP_E_GONE);
    txn = t_begin(store);
    CHECK_OK(cop_txn_clear(txn, cop_root()));
    t_commit(txn);
    ck_assert_str_eq(t_list_now(store, cop_root()), "");
    CHECK_STATUS(t_status(store, middle), COP_E_GONE);
}
END_TEST

START_TEST(a_branch_of_many)
{
    enum { CHILDREN = 30000 };
    cop_txn *txn = t_begin(store);
    cop_atom branch = COP_ATOM_NONE_INIT, atom;
    cop_value object = cop_object();
    const cop_snapshot *before;
    uint32_t count;
    char key[32];

    CHECK_OK(cop_txn_set_child(txn, cop_root(), P("big"), &object, &branch));
    for (int i = 0; i < CHILDREN; i++) {
        cop_value value = cop_i64(i);
        int n = snprintf(key, sizeof key, "child-%d", i);
        CHECK_OK(cop_txn_set_child(txn, branch, key, (size_t)n, &value, NULL));
    }
    t_commit(txn);
    before = t_take(store);
    CHECK_OK(cop_count(before, branch, &count));
    ck_assert_uint_eq(count, CHILDREN);
    txn = t_begin(store);
    for (int i = 0; i < CHILDREN; i += 3) {
        int n = snprintf(key, sizeof key, "big/child-%d", i);
        CHECK_OK(cop_txn_erase_at(txn, key, (size_t)n, NULL));
    }
    t_commit(txn);
    t_verify(store);
    t_erase(store, branch);
    for (uint32_t i = 0; i < CHILDREN; i += 1001) {
        int64_t value;
        CHECK_OK(cop_child_at(before, branch, i, &atom));
        CHECK_OK(cop_get_i64(before, atom, &value));
        ck_assert_int_eq(value, i);
    }
    ck_assert_ptr_null(dump_disagreement(before));
    cop_snapshot_drop(before);
}
END_TEST

START_TEST(as_deep_as_allowed)
{
    char path[2 * COP_DEPTH_MAX + 8], *p = path;
    cop_error error = COP_ERROR_INIT;
    cop_atom atom;

    for (unsigned i = 0; i < COP_DEPTH_MAX; i++) {
        *p++ = 'a';
        *p++ = '/';
    }
    p[-1] = '\0';
    CHECK_OK(cop_atom_at(store, P(path), &atom, &error));
    t_set(store, atom, cop_i64(1));
    ck_assert_uint_eq(changed("a/a/a"), 2);
    memcpy(p - 1, "/a", 3);
    CHECK_STATUS(cop_atom_at(store, P(path), &atom, &error), COP_E_LIMIT);
    t_verify(store);
    t_erase_at(store, "a/a");
    ck_assert_str_eq(t_list_now(store, cop_root()), "a");
}
END_TEST

START_TEST(changed_is_of_the_branch)
{
    t_set_at(store, "a/b/c", cop_i64(1));           /* 1 */
    t_set_at(store, "x/y", cop_i64(1));             /* 2 */
    ck_assert_uint_eq(changed("a"), 1);
    ck_assert_uint_eq(changed("a/b"), 1);
    ck_assert_uint_eq(changed("x"), 2);
    ck_assert_uint_eq(changed(""), 2);
    t_set_at(store, "a/b/c", cop_i64(2));           /* 3 */
    ck_assert_uint_eq(changed("a"), 3);
    ck_assert_uint_eq(changed("a/b"), 3);
    ck_assert_uint_eq(changed("x"), 2);
    t_set_at(store, "a/d", cop_i64(2));             /* 4 */
    ck_assert_uint_eq(changed("a"), 4);
    ck_assert_uint_eq(changed("a/b"), 3);
    t_erase_at(store, "a/b/c");                     /* 5 */
    ck_assert_uint_eq(changed("a/b"), 5);
    ck_assert_uint_eq(changed("x"), 2);
    ck_assert_uint_eq(changed(""), 5);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, children_stand_in_creation_order);
    tcase_add_test(tests, keys_of_all_kinds);
    tcase_add_test(tests, refused_keys);
    tcase_add_test(tests, a_value_becomes_a_branch_and_back);
    tcase_add_test(tests, the_root_can_be_an_array);
    tcase_add_test(tests, positions_shift_and_handles_stay);
    tcase_add_test(tests, paths_through_arrays);
    tcase_add_test(tests, arrays_of_arrays);
    tcase_add_test(tests, a_long_array);
    tcase_add_test(tests, erasing_a_branch_erases_what_is_below);
    tcase_add_test(tests, clearing_keeps_the_place);
    tcase_add_test(tests, a_branch_of_many);
    tcase_add_test(tests, as_deep_as_allowed);
    tcase_add_test(tests, changed_is_of_the_branch);
}

int
main(void)
{
    return t_run("branches", add);
}

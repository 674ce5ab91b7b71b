/* SPDX-License-Identifier: MIT */
/* Lists of changes and the log of them: their order, what several changes of an atom come to for
 * one who comes back, and how far back the log goes. */
#include "tests/support/watch_world.h"

static cop_watch *keeper;

static void
begin(void)
{
    setup();
    keeper = asked("", 0, 0);
}

static void
end(void)
{
    cop_watch_close(keeper);
    teardown();
}

/* What changed until now is one pass. */
static void
pass_now(void)
{
    (void)told_now(keeper);
}

/* What one who knows a version is told. */
static const char *
since(const char *path, uint64_t version)
{
    cop_watch_options options = COP_WATCH_OPTIONS_INIT;

    options.since = version;
    cop_watch *watch = t_watch_with(store, path, &options);
    const char *told = told_now(watch);
    cop_watch_close(watch);
    return told;
}

/* ---- coming back ---- */

START_TEST(what_an_atom_comes_to)
{
    set("a", 1);
    pass_now(); /* 1 */
    set("a", 2);
    pass_now();
    set("a", 3);
    pass_now();
    ck_assert_str_eq(since("a", 1), "(1,3] =a:?>3");
    t_erase_at(store, "a");
    pass_now(); /* 4 */
    ck_assert_str_eq(since("a", 1), "(1,4] -a:?");
    ck_assert_str_eq(since("a", 0), ""); /* it came and went */
    ck_assert_str_eq(since("a", 4), "");
    set("a", 5);
    pass_now(); /* 5, another atom */
    set("a", 6);
    pass_now();
    ck_assert_str_eq(since("a", 4), "(4,6] +a:6");
    ck_assert_str_eq(since("a", 3), "(3,6] -a:? +a:6");
    ck_assert_str_eq(since("a", 0), "(0,6] +a:6");
    ck_assert_str_eq(since("", 2), "(2,6] -a:? +a:6");
    ck_assert_str_eq(since("a", 7), "(0,6] gap");
}
END_TEST

static cop_atom
insert(const char *array, int64_t n)
{
    cop_txn *txn = t_begin(store);
    cop_value value = cop_i64(n);
    cop_atom made;

    CHECK_OK(cop_txn_insert(txn, t_find(store, array), 0, &value, &made));
    t_commit(txn);
    return made;
}

START_TEST(what_an_array_comes_to)
{
    t_set_at(store, "l", cop_array());
    pass_now(); /* 1 */
    (void)insert("l", 10);
    pass_now();
    (void)insert("l", 20);
    pass_now(); /* 3 */
    ck_assert_str_eq(since("l", 2), "(2,3] +l/0:20 #l");
    ck_assert_str_eq(since("l", 1), "(1,3] +l/1:10 +l/0:20 #l");
    ck_assert_str_eq(since("l", 0), "(0,3] +l:[] +l/1:10 +l/0:20");
    t_set_at(store, "l/0", cop_i64(21));
    pass_now();
    ck_assert_str_eq(since("l", 3), "(3,4] =l/0:?>21");
    ck_assert_str_eq(since("l/0", 2), "(2,4] +l/0:21");
    (void)insert("l", 30);
    pass_now();
    cop_txn *txn = t_begin(store);
    cop_value seven = cop_i64(7);
    for (int i = 0; i < 3; i++)
        CHECK_OK(cop_txn_erase_at(txn, P("l/0"), NULL));
    CHECK_OK(cop_txn_set_at(txn, P("l"), &seven, NULL)); /* no array any more */
    t_commit(txn);
    pass_now(); /* 6: a value after elements */
    ck_assert_str_eq(since("l", 4), "(4,6] -l/2:? -l/1:? =l:?>7");
    t_set_at(store, "l", cop_array());
    pass_now();
    (void)insert("l", 30); /* elements after a value */
    pass_now();
    ck_assert_str_eq(since("l", 6), "(6,8] =l:?>[] +l/0:30");
}
END_TEST

/* Atoms that no path leads to. */
START_TEST(anonymous_ones)
{
    cop_txn *txn = t_begin(store);
    cop_value value = cop_i64(1);
    cop_atom atom;
    cop_watch_options options = COP_WATCH_OPTIONS_INIT;
    cop_watch *watch;

    CHECK_OK(cop_txn_create(txn, &value, &atom));
    t_commit(txn);
    pass_now(); /* 1 */
    t_set(store, atom, cop_i64(2));
    pass_now();
    t_erase(store, atom);
    pass_now();
    ck_assert_str_eq(since("", 1), "");
    options.since = 1;
    options.only_itself = true;
    CHECK_OK(cop_watch_open_atom(store, atom, &options, NULL, NULL, &watch, NULL));
    t_text want = {.used = 0};
    t_print(&want, "(1,3] -(%u):?", atom.id);
    ck_assert_str_eq(told_now(watch), want.text);
    cop_watch_close(watch);
}
END_TEST

/* What one who watches an atom, and knows a version, is told. */
static const char *
since_of(cop_atom atom, uint64_t version, bool only_itself)
{
    cop_watch_options options = COP_WATCH_OPTIONS_INIT;
    cop_watch *watch;

    options.since = version;
    options.only_itself = only_itself;
    CHECK_OK(cop_watch_open_atom(store, atom, &options, NULL, NULL, &watch, NULL));
    const char *told = told_now(watch);
    cop_watch_close(watch);
    return told;
}

/* What was erased below a handle was found by a path that is not kept. */
START_TEST(what_is_below_a_handle)
{
    cop_atom branch, leaf;

    set("b/x", 1);
    branch = t_find(store, "b");
    leaf = t_find(store, "b/x");
    pass_now(); /* 1 */
    set("b/x", 2);
    pass_now();
    ck_assert_str_eq(since_of(branch, 1, false), "(1,2] gap");
    ck_assert_str_eq(since_of(branch, 1, true), "");
    ck_assert_str_eq(since_of(leaf, 1, true), "(1,2] =b/x:?>2");
}
END_TEST

/* An id is used again: what the log has of two atoms is not of one. */
START_TEST(one_id_after_another)
{
    enum { MOST = 1000 };
    set("old", 1);
    cop_atom old = t_find(store, "old"), young = old;
    pass_now(); /* 1 */
    cop_watch_options options = COP_WATCH_OPTIONS_INIT;
    cop_watch *of_old, *of_young;
    options.only_itself = true;
    CHECK_OK(cop_watch_open_atom(store, old, &options, NULL, NULL, &of_old, NULL));
    t_erase_at(store, "old");
    pass_now();
    ck_assert_str_eq(told_now(of_old), "(1,2] -old:1");
    for (int i = 0; i < MOST && (i == 0 || young.id != old.id); i++) {
        if (i > 0)
            t_erase_at(store, "young");
        young = t_make(store, "young", cop_i64(2));
        pass_now();
    }
    ck_assert_uint_eq(young.id, old.id);
    ck_assert_uint_ne(young.generation, old.generation);
    t_text want = {.used = 0};
    uint64_t now = cop_store_version(store);
    t_print(&want, "(1,%" PRIu64 "] -old:?", now);
    ck_assert_str_eq(since_of(old, 1, true), want.text);
    t_print(&want, " +young:2");
    ck_assert_str_eq(since("", 1), want.text);
    CHECK_OK(cop_watch_open_atom(store, young, &options, NULL, NULL, &of_young, NULL));
    t_set(store, young, cop_i64(3));
    ck_assert_str_eq(told_now(of_old), "");
    want.used = 0;
    t_print(&want, "(%" PRIu64 ",%" PRIu64 "] =young:2>3", now, now + 1);
    ck_assert_str_eq(told_now(of_young), want.text);
    cop_watch_close(of_young);
    cop_watch_close(of_old);
}
END_TEST

/* Of many passes and atoms, each atom's. */
START_TEST(many_passes)
{
    for (int64_t i = 1; i <= 30; i++) {
        char path[32];
        for (int64_t k = 1; k <= 9; k++)
            if (i % k == 0) {
                snprintf(path, sizeof path, "n%" PRId64, k);
                set(path, i);
            }
        pass_now();
    }
    uint64_t now = cop_store_version(store);
    t_text want = {.used = 0};
    const cop__watch_segment *from = store->watch->log.oldest;
    for (unsigned i = 1; i < 27; i++) /* after the 27th pass */
        from = from->next;
    t_print(&want,
            "(%" PRIu64 ",%" PRIu64
            "] =n1:?>30 =n2:?>30 =n3:?>30 =n4:?>28 =n5:?>30 =n6:?>30 =n7:?>28",
            from->to, now);
    ck_assert_str_eq(since("", from->to), want.text);
    want.used = 0;
    t_print(&want, "(%" PRIu64 ",%" PRIu64 "] =n4:?>28", from->to, now);
    ck_assert_str_eq(since("n4", from->to), want.text);
    ck_assert_str_eq(since("n8", from->to), "");
}
END_TEST

/* ---- how far back ---- */

static size_t
bytes_of(size_t changes, size_t text)
{
    return sizeof(cop__watch_segment) + changes * sizeof(cop__watch_entry) + text;
}

START_TEST(a_limit)
{
    cop__watch_log *log = &store->watch->log;

    log->limit = 2 * bytes_of(1, 0);
    for (int64_t i = 1; i <= 4; i++) {
        set("a", i);
        pass_now();
    }
    ck_assert_uint_eq(log->bytes, log->limit); /* two of four */
    ck_assert_str_eq(since("a", 2), "(2,4] =a:?>4");
    ck_assert_str_eq(since("a", 1), "(1,4] gap");
    log->limit--;
    set("a", 5);
    pass_now();
    ck_assert_uint_eq(log->bytes, bytes_of(1, 0));
    ck_assert_str_eq(since("a", 4), "(4,5] =a:?>5");
    ck_assert_str_eq(since("a", 3), "(3,5] gap");
}
END_TEST

/* One that is too large takes all before it along. */
START_TEST(too_large)
{
    cop__watch_log *log = &store->watch->log;

    set("a", 1);
    set("b", 1);
    pass_now(); /* 2 */
    log->limit = 3 * bytes_of(1, 0);
    set("a", 2);
    pass_now(); /* 3 */
    log->limit = bytes_of(2, 0);
    set("a", 3);
    set("b", 3);
    pass_now(); /* 5: as large as may be */
    ck_assert_uint_eq(log->bytes, log->limit);
    ck_assert_str_eq(since("a", 3), "(3,5] =a:?>3");
    ck_assert_str_eq(since("a", 2), "(2,5] gap");
    log->limit--;
    set("a", 4);
    set("b", 4);
    pass_now();
    ck_assert_ptr_null(log->oldest);
    ck_assert_uint_eq(log->bytes, 0);
    set("a", 5);
    pass_now();
    ck_assert_str_eq(since("a", 7), "(7,8] =a:?>5");
    ck_assert_str_eq(since("a", 5), "(5,8] gap");
    ck_assert_str_eq(since("a", 3), "(3,8] gap");
}
END_TEST

/* Only what is erased has its path in it. */
START_TEST(paths_of_what_has_gone)
{
    cop__watch_log *log = &store->watch->log;

    set("a", 1);
    set("some/where", 1);
    pass_now();
    ck_assert_uint_eq(log->bytes, bytes_of(3, 0));
    t_erase_at(store, "a");
    pass_now();
    ck_assert_uint_eq(log->bytes, bytes_of(3, 0) + bytes_of(1, 1));
    ck_assert_str_eq(since("", 2), "(2,3] -a:?");
    t_erase_at(store, "some");
    pass_now();
    ck_assert_uint_eq(log->bytes, bytes_of(3, 0) + bytes_of(1, 1) + bytes_of(2, 4 + 10));
    ck_assert_str_eq(since("some", 3), "(3,4] -some/where:? -some:?");
    ck_assert_str_eq(since("", 2), "(2,4] -some/where:? -some:? -a:?");
    cop_watch_close(keeper); /* the last one: nothing is known of any version any more */
    ck_assert_ptr_null(log->oldest);
    keeper = asked("", 0, 0);
    ck_assert_str_eq(since("a", 2), "(2,4] gap");
}
END_TEST

/* A pass collects no more for the log than it can keep. */
START_TEST(collecting)
{
    cop__watch_log *log = &store->watch->log;

    log->limit = sizeof(cop__watch_entry); /* less than any segment */
    for (unsigned n = 1; n <= 4; n++) {
        pass p = {store->watch, NULL, cop__watch_list_new(cop__store_memory(store)), false};
        cop__watch_found one = {
            .atom = {1, 1}, .what = COP_DIFF_VALUE, .path = {"a", 1, false}};
        for (unsigned i = 0; i < n && p.log != NULL; i++)
            log_one(&p, &one);
        ck_assert((p.log != NULL) == (n <= 2));
        cop__watch_list_drop(p.log);
    }
}
END_TEST

/* ---- lists ---- */

static void
list_add(cop__watch_list *list, uint32_t id, cop__difference what, const char *path)
{
    cop__watch_found found = {
        .atom = {id, 1}, .what = what, .path = {path, strlen(path), false}};
    cop__watch_list_add(list, &found, true);
}

static void
is_ordered(cop__watch_list *list, const char *want)
{
    t_text got = {.used = 0};

    cop__watch_list_order(list);
    for (size_t i = 0; i < list->count; i++)
        t_print(&got, "%s%u", i > 0 ? " " : "", list->entry[i].id);
    ck_assert_str_eq(got.text, want);
    cop__watch_list_drop(list);
}

static cop__watch_list *
list_new(void)
{
    return cop__watch_list_new(cop__store_memory(store));
}

START_TEST(an_order)
{
    static char longest[70000];
    cop__watch_list *list = list_new();

    memset(longest, 'x', sizeof longest - 1);
    list_add(list, 1, COP_DIFF_ELEMENTS, "a");
    list_add(list, 2, COP_DIFF_CREATED, "abc");
    list_add(list, 3, COP_DIFF_CREATED, "a");
    list_add(list, 4, COP_DIFF_VALUE, "abcd");
    list_add(list, 5, COP_DIFF_ERASED, "a");
    list_add(list, 6, COP_DIFF_ERASED, "abc");
    list_add(list, 7, COP_DIFF_VALUE, "a");
    list_add(list, 8, COP_DIFF_CREATED, longest + 69000);
    list_add(list, 9, COP_DIFF_ERASED, longest + 69000);
    list_add(list, 10, COP_DIFF_ERASED, "abd");
    list_add(list, 11, COP_DIFF_ELEMENTS, "");
    list_add(list, 12, COP_DIFF_ERASED, longest); /* as long as can be told from others */
    list_add(list, 13, COP_DIFF_CREATED, longest);
    list_add(list, 14, COP_DIFF_CREATED, longest + 300);
    list_add(list, 15, COP_DIFF_CREATED, "x");
    list_add(list, 16, COP_DIFF_ERASED, longest + sizeof longest - 1 - 256);
    ck_assert(list->unordered);
    is_ordered(list, "12 9 16 6 10 5 4 7 3 15 2 8 13 14 1 11");
}
END_TEST

/* What comes in order is left alone. */
START_TEST(in_order_already)
{
    cop__watch_list *list = list_new();

    is_ordered(list_new(), "");
    list_add(list, 1, COP_DIFF_ERASED, "abc");
    list_add(list, 2, COP_DIFF_ERASED, "abd");
    list_add(list, 3, COP_DIFF_VALUE, "abc");
    list_add(list, 4, COP_DIFF_VALUE, "a");
    list_add(list, 5, COP_DIFF_CREATED, "a");
    list_add(list, 6, COP_DIFF_CREATED, "ab");
    list_add(list, 7, COP_DIFF_ELEMENTS, "b");
    ck_assert(!list->unordered);
    const cop__watch_entry *entry = list->entry;
    cop__watch_list_order(list);
    ck_assert_ptr_eq(list->entry, entry);
    is_ordered(list, "1 2 3 4 5 6 7");
}
END_TEST

/* Each digit of the key by itself, so that what one pass moves the next one takes from there. */
START_TEST(orders_by_random)
{
    static char text[600];
    uint64_t x = 88172645463325252u;

    memset(text, 'x', sizeof text - 1);
    for (unsigned round = 0; round < 300; round++) {
        cop__watch_list *list = list_new();
        unsigned n = 1 + round % 40;
        for (uint32_t i = 0; i < n; i++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            list_add(list, i, (cop__difference)(x % COP_DIFFERENCES),
                     text + (round % 3 == 0 ? 590 + x / 8 % 9 : x / 8 % 599));
        }
        cop__watch_list_order(list);
        for (unsigned i = 1; i < n; i++) {
            const cop__watch_entry *a = &list->entry[i - 1], *b = &list->entry[i];
            bool falls = a->what == COP_DIFF_ERASED, rises = a->what == COP_DIFF_CREATED;
            ck_assert_int_le(a->what, b->what);
            if (a->what != b->what)
                continue;
            ck_assert(!falls || a->length >= b->length);
            ck_assert(!rises || a->length <= b->length);
            ck_assert((falls || rises) && a->length != b->length ? true : a->id < b->id);
        }
        cop__watch_list_drop(list);
    }
}
END_TEST

/* Texts lie one behind the other; they are not copied unless they are asked for. */
START_TEST(texts)
{
    cop__watch_list *list = list_new();
    cop__watch_found found = {
        .atom = {1, 1}, .what = COP_DIFF_VALUE, .path = {"ab", 2, false}};

    cop__watch_list_add(list, &found, false);
    ck_assert_uint_eq(list->text_used, 0);
    ck_assert_uint_eq(list->entry[0].text, 0);
    cop__watch_list_add(list, &found, true);
    found.path = (cop__watch_path){"cde", 3, false};
    cop__watch_list_add(list, &found, true);
    ck_assert_uint_eq(list->text_used, 5);
    ck_assert_uint_eq(list->entry[1].text, 1);
    ck_assert_uint_eq(list->entry[2].text, 3);
    ck_assert_mem_eq(list->text, "abcde", 5);
    found.path = (cop__watch_path){NULL, 0, false};
    cop__watch_list_add(list, &found, true);
    ck_assert(list->entry[3].anonymous && list->entry[3].text == 0);
    ck_assert(!list->entry[2].anonymous);
    ck_assert(!list->refused);
    found.path.refused = true;
    cop__watch_list_add(list, &found, true);
    ck_assert(list->refused);
    ck_assert_uint_eq(list->count, 4);
    cop__watch_list_drop(list);
}
END_TEST

START_TEST(growing)
{
    uint32_t *vector = NULL;
    size_t capacity = 0;
    cop__memory *memory = cop__store_memory(store);

    ck_assert(cop__watch_grow(memory, &vector, &capacity, 0, sizeof *vector));
    ck_assert_uint_eq(capacity, 0);
    ck_assert(cop__watch_grow(memory, &vector, &capacity, 1, sizeof *vector));
    ck_assert_uint_eq(capacity, 16);
    for (uint32_t i = 0; i < 16; i++)
        vector[i] = i;
    const uint32_t *had = vector;
    ck_assert(cop__watch_grow(memory, &vector, &capacity, 16, sizeof *vector));
    ck_assert_ptr_eq(vector, had);
    ck_assert(cop__watch_grow(memory, &vector, &capacity, 17, sizeof *vector));
    ck_assert_uint_eq(capacity, 32);
    ck_assert(cop__watch_grow(memory, &vector, &capacity, 200, sizeof *vector));
    ck_assert_uint_eq(capacity, 256);
    for (uint32_t i = 0; i < 16; i++)
        ck_assert_uint_eq(vector[i], i);
    atomic_store(&memory->fail_countdown, 0);
    ck_assert(!cop__watch_grow(memory, &vector, &capacity, 257, sizeof *vector));
    ck_assert_uint_eq(capacity, 256);
    cop__memory_free(memory, COP_MEMORY_WATCH, vector, capacity * sizeof *vector, 16);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_checked_fixture(tests, begin, end);
    tcase_add_test(tests, what_an_atom_comes_to);
    tcase_add_test(tests, what_an_array_comes_to);
    tcase_add_test(tests, anonymous_ones);
    tcase_add_test(tests, what_is_below_a_handle);
    tcase_add_test(tests, one_id_after_another);
    tcase_add_test(tests, many_passes);
    tcase_add_test(tests, a_limit);
    tcase_add_test(tests, too_large);
    tcase_add_test(tests, paths_of_what_has_gone);
    tcase_add_test(tests, collecting);
    tcase_add_test(tests, an_order);
    tcase_add_test(tests, in_order_already);
    tcase_add_test(tests, orders_by_random);
    tcase_add_test(tests, texts);
    tcase_add_test(tests, growing);
}

int
main(void)
{
    return t_run("watchers' log", add);
}

/* SPDX-License-Identifier: MIT */
/* What watchers are told: of atoms, branches, patterns, handles; behind, and coming back. */
#include "tests/support/watch_test.h"
#include "watch/watch.h"

static void
set(cop_store *store, const char *path, int64_t value)
{
    t_set_at(store, path, cop_i64(value));
}

START_TEST(an_atom)
{
    cop_store *store = t_open();
    set(store, "a", 1);
    cop_watch *watch = t_watch(store, "a");

    ck_assert_uint_eq(cop_watch_told(watch), 1);
    ck_assert_str_eq(t_told(watch), "");
    set(store, "a", 2);
    ck_assert_str_eq(t_told(watch), "(1,2] =a:1>2");
    ck_assert_str_eq(t_told(watch), "");
    ck_assert_uint_eq(cop_watch_told(watch), 2);
    set(store, "b", 1); /* another one */
    ck_assert_str_eq(t_told(watch), "");
    set(store, "a", 3);
    set(store, "a", 4);
    ck_assert_str_eq(t_told(watch), "(2,5] =a:2>4");
    set(store, "a", 5);
    set(store, "a", 4); /* as it was */
    ck_assert_str_eq(t_told(watch), "");
    t_erase_at(store, "a");
    ck_assert_str_eq(t_told(watch), "(5,8] -a:4");
    set(store, "a", 6);
    ck_assert_str_eq(t_told(watch), "(8,9] +a:6");
    t_erase_at(store, "a");
    set(store, "a", 7); /* another atom of that name */
    ck_assert_str_eq(t_told(watch), "(9,11] -a:6 +a:7");
    cop_watch_close(watch);
    t_close(store);
}
END_TEST

START_TEST(a_branch)
{
    cop_store *store = t_open();
    cop_watch *watch = t_watch(store, "host"), *all = t_watch(store, "");
    cop_watch_options options = COP_WATCH_OPTIONS_INIT;
    options.only_itself = true;
    cop_watch *itself = t_watch_with(store, "host", &options);
    cop_watch *root = t_watch_with(store, "", &options);

    set(store, "host/mem/free", 1); /* branches first, though ids may say otherwise */
    ck_assert_str_eq(t_told(watch), "(0,1] +host:{} +host/mem:{} +host/mem/free:1");
    ck_assert_str_eq(t_told(all), "(0,1] +host:{} +host/mem:{} +host/mem/free:1");
    ck_assert_str_eq(t_told(itself), "(0,1] +host:{}");
    set(store, "host/mem/free", 2);
    set(store, "hosts", 1); /* a name that begins like it */
    ck_assert_str_eq(t_told(watch), "(1,3] =host/mem/free:1>2");
    ck_assert_str_eq(t_told(itself), "");
    t_erase_at(store, "host");
    ck_assert_str_eq(t_told(watch), "(3,4] -host/mem/free:2 -host/mem:{} -host:{}");
    ck_assert_str_eq(t_told(itself), "(1,4] -host:{}");
    ck_assert_str_eq(t_told(all), "(1,4] -host/mem/free:1 -host/mem:{} -host:{} +hosts:1");
    ck_assert_str_eq(t_told(root), "");
    set(store, "host", 5);
    t_set_at(store, "host", cop_object());
    set(store, "host/x", 6);
    ck_assert_str_eq(t_told(watch), "(4,7] +host:{} +host/x:6");
    t_set_at(store, "host/x", cop_array());
    ck_assert_str_eq(t_told(watch), "(7,8] =host/x:6>[]");
    cop_watch_close(watch);
    cop_watch_close(all);
    cop_watch_close(itself);
    cop_watch_close(root);
    t_close(store);
}
END_TEST

START_TEST(a_pattern)
{
    cop_store *store = t_open();
    cop_watch *rss = t_watch(store, "procs/*/rss"), *any = t_watch(store, "*/1");
    cop_watch_options options = COP_WATCH_OPTIONS_INIT;
    options.only_itself = true;
    cop_watch *one = t_watch_with(store, "procs/*", &options);

    set(store, "procs/1/rss", 10);
    set(store, "procs/1/cpu", 11);
    set(store, "procs/2/rss", 20);
    ck_assert_str_eq(t_told(rss), "(0,3] +procs/1/rss:10 +procs/2/rss:20");
    ck_assert_str_eq(t_told(any), "(0,3] +procs/1:{} +procs/1/rss:10 +procs/1/cpu:11");
    ck_assert_str_eq(t_told(one), "(0,3] +procs/1:{} +procs/2:{}");
    set(store, "procs/2/rss", 21);
    t_erase_at(store, "procs/1");
    ck_assert_str_eq(t_told(rss), "(3,5] -procs/1/rss:10 =procs/2/rss:20>21");
    ck_assert_str_eq(t_told(one), "(3,5] -procs/1:{}");
    cop_watch_close(rss);
    cop_watch_close(any);
    cop_watch_close(one);
    t_close(store);
}
END_TEST

static cop_atom
element(cop_store *store, const char *path, uint32_t place)
{
    const cop_snapshot *snapshot = t_take(store);
    cop_atom array, atom;

    CHECK_OK(cop_find(snapshot, P(path), &array));
    CHECK_OK(cop_child_at(snapshot, array, place, &atom));
    cop_snapshot_drop(snapshot);
    return atom;
}

static void
insert(cop_store *store, const char *path, uint32_t place, cop_value value)
{
    cop_txn *txn = t_begin(store);
    cop_atom made;

    CHECK_OK(cop_txn_insert(txn, t_find(store, path), place, &value, &made));
    t_commit(txn);
}

/* Paths through arrays are put together: those of what is gone from the version where it was. */
START_TEST(an_array)
{
    cop_store *store = t_open();
    t_set_at(store, "a", cop_array());
    cop_watch *watch = t_watch(store, "a");

    insert(store, "a", 0, cop_i64(1));
    ck_assert_str_eq(t_told(watch), "(1,2] +a/0:1 #a");
    insert(store, "a", 0, cop_object());
    set(store, "a/0/x", 5);
    ck_assert_str_eq(t_told(watch), "(2,4] +a/0:{} +a/0/x:5 #a");
    cop_atom first = element(store, "a", 0), second = element(store, "a", 1);
    cop_watch *moved = NULL, *below = NULL;
    CHECK_OK(cop_watch_open_atom(store, second, NULL, NULL, NULL, &moved, NULL));
    CHECK_OK(cop_watch_open_atom(store, first, NULL, NULL, NULL, &below, NULL));
    insert(store, "a", 0, cop_i64(9));
    ck_assert_str_eq(t_told(watch), "(4,5] +a/0:9 #a");
    t_set(store, second, cop_i64(2));
    set(store, "a/1/x", 6);
    ck_assert_str_eq(t_told(moved), "(4,7] =a/2:1>2");
    ck_assert_str_eq(t_told(below), "(4,7] =a/1/x:5>6");
    t_erase(store, first);
    ck_assert_str_eq(t_told(below), "(7,8] -a/1/x:6 -a/1:{}");
    ck_assert_str_eq(t_told(moved), "");
    ck_assert_str_eq(t_told(watch), "(5,8] -a/1/x:5 -a/1:{} =a/1:1>2 #a");
    cop_watch_close(watch);
    cop_watch_close(moved);
    cop_watch_close(below);
    t_close(store);
}
END_TEST

START_TEST(anonymous)
{
    cop_store *store = t_open();
    cop_txn *txn = t_begin(store);
    cop_atom made;
    cop_value one = cop_i64(1);
    CHECK_OK(cop_txn_create(txn, &one, &made));
    t_commit(txn);
    cop_watch *watch = NULL, *all = t_watch(store, "");
    CHECK_OK(cop_watch_open_atom(store, made, NULL, NULL, NULL, &watch, NULL));
    t_set(store, made, cop_i64(2));
    t_text want = {.used = 0};
    t_print(&want, "(1,2] =(%u):1>2", made.id);
    ck_assert_str_eq(t_told(watch), want.text);
    ck_assert_str_eq(t_told(all), ""); /* it has no place in the tree */
    t_erase(store, made);
    want.used = 0;
    t_print(&want, "(2,3] -(%u):2", made.id);
    ck_assert_str_eq(t_told(watch), want.text);
    cop_watch_close(watch);
    cop_watch_close(all);
    t_close(store);
}
END_TEST

START_TEST(the_root)
{
    cop_store *store = t_open();
    cop_watch *watch = t_watch(store, "");

    set(store, "a", 1);
    ck_assert_str_eq(t_told(watch), "(0,1] +a:1");
    cop_txn *txn = t_begin(store);
    cop_value array = cop_array();
    CHECK_OK(cop_txn_clear(txn, cop_root()));
    CHECK_OK(cop_txn_set(txn, cop_root(), &array));
    t_commit(txn);
    ck_assert_str_eq(t_told(watch), "(1,2] -a:1 =:{}>[]");
    cop_watch_close(watch);
    t_close(store);
}
END_TEST

/* Passes in between: a watcher that is told of several is told the net change, or nothing. */
START_TEST(several_passes)
{
    cop_store *store = t_open();
    set(store, "a/x/b", 1);
    cop_watch *keeper = t_watch(store, ""), *path = t_watch(store, "a/x"),
              *stars = t_watch(store, "*/*/b");
    cop_watch_options options = COP_WATCH_OPTIONS_INIT;
    options.only_itself = true;
    cop_watch *handle = NULL, *below = NULL, *twice = NULL,
              *none = t_watch_with(store, "a/*", &options);

    CHECK_OK(cop_watch_open_atom(store, t_find(store, "a"), &options, NULL, NULL, &handle, NULL));
    CHECK_OK(cop_watch_open_atom(store, t_find(store, "a"), NULL, NULL, NULL, &below, NULL));
    CHECK_OK(cop_watch_open_atom(store, t_find(store, "a"), NULL, NULL, NULL, &twice, NULL));
    set(store, "a/x/b", 2);
    ck_assert_str_eq(t_told(keeper), "(1,2] =a/x/b:1>2");
    set(store, "a/x/b", 1);
    ck_assert_str_eq(t_told(keeper), "(2,3] =a/x/b:2>1");
    ck_assert_str_eq(t_told(path), "");
    ck_assert_str_eq(t_told(stars), "");
    set(store, "a/x/b", 3);
    set(store, "a/x/c", 3);
    (void)t_told(keeper);
    set(store, "b", 3);
    (void)t_told(keeper);
    ck_assert_str_eq(t_told(path), "(1,6] =a/x/b:1>3 +a/x/c:3");
    ck_assert_str_eq(t_told(stars), "(1,6] =a/x/b:1>3");
    ck_assert_str_eq(t_told(below), "(1,6] =a/x/b:1>3 +a/x/c:3");
    ck_assert_str_eq(t_told(twice), "(1,6] =a/x/b:1>3 +a/x/c:3");
    ck_assert_str_eq(t_told(handle), "");
    ck_assert_str_eq(t_told(none), "");
    t_erase_at(store, "a/x");
    (void)t_told(keeper);
    set(store, "c", 1);
    (void)t_told(keeper);
    ck_assert_str_eq(t_told(none), "(1,8] -a/x:{}");
    cop_watch_close(keeper);
    cop_watch_close(path);
    cop_watch_close(stars);
    cop_watch_close(handle);
    cop_watch_close(below);
    cop_watch_close(twice);
    cop_watch_close(none);
    t_close(store);
}
END_TEST

/* Asked for a pass though there is nothing new; by a thread that has used up its pins. */
START_TEST(passes_for_nothing)
{
    cop_store *store = t_open();
    cop_watch *watch = t_watch(store, "");
    cop_watch_batch batch;
    cop_pin_t pin[4];

    atomic_store(&store->watch->asked, 1);
    ck_assert_str_eq(t_told(watch), "");
    for (int i = 0; i < 4; i++)
        pin[i] = cop_pin(store);
    set(store, "a", 1);
    CHECK_STATUS(cop_watch_next(watch, COP_FOREVER, &batch), COP_E_PINS);
    for (int i = 0; i < 4; i++)
        cop_unpin(pin[i]);
    CHECK_OK(cop_watch_next(watch, COP_FOREVER, &batch)); /* tried again */
    ck_assert_uint_eq(batch.to, 1);
    cop_watch_batch_end(&batch);
    cop_watch_close(watch);
    t_close(store);
}
END_TEST

START_TEST(values_of_all_kinds)
{
    cop_store *store = t_open();
    cop_watch *watch = t_watch(store, "a");
    char text[100], more[100];
    memset(text, 'x', sizeof text);
    memset(more, 'y', sizeof more);

    t_set_at(store, "a", cop_string(text, 20));
    ck_assert_str_eq(t_told(watch), "(0,1] +a:'xxxxxxxxxxxxxxxxxxxx'");
    t_set_at(store, "a", cop_string(more, 20));
    t_set_at(store, "a", cop_string(text, 20));
    ck_assert_str_eq(t_told(watch), ""); /* the same bytes elsewhere */
    t_set_at(store, "a", cop_string(more, 20));
    ck_assert_str_eq(t_told(watch), "(1,4] =a:'xxxxxxxxxxxxxxxxxxxx'>'yyyyyyyyyyyyyyyyyyyy'");
    cop_watch_close(watch);
    t_close(store);
}
END_TEST

/* A batch leads to both versions, and outlives the watcher and the store. */
START_TEST(a_batch)
{
    cop_store *store = t_open();
    set(store, "a", 1);
    cop_watch *watch = t_watch(store, "");
    cop_watch_batch batch, none;
    cop_change change;
    cop_value value;

    set(store, "a", 2);
    set(store, "b", 3);
    CHECK_OK(cop_watch_next(watch, COP_FOREVER, &batch));
    CHECK_STATUS(cop_watch_next(watch, 0, &none), COP_E_TIMEOUT);
    ck_assert_ptr_null(none.now);
    ck_assert_uint_eq(none.count, 0);
    set(store, "a", 4);
    cop_watch_close(watch);
    ck_assert_uint_eq(batch.count, 2);
    ck_assert(cop_watch_change(&batch, &change));
    ck_assert_int_eq(change.kind, COP_CHANGE_VALUE);
    ck_assert(cop_watch_change(&batch, &change));
    ck_assert(!cop_watch_change(&batch, &change));
    cop_watch_rewind(&batch);
    ck_assert(cop_watch_change(&batch, &change));
    ck_assert_mem_eq(change.path, "a", change.path_length);
    CHECK_OK(cop_get(batch.before, change.atom, &value));
    ck_assert_int_eq(cop_value_i64(&value), 1);
    cop_store_close(store);
    CHECK_OK(cop_get(batch.now, change.atom, &value));
    ck_assert_int_eq(cop_value_i64(&value), 2);
    cop_watch_batch_end(&batch);
    cop_watch_batch_end(&batch); /* zeroed */
    t_all_released();
}
END_TEST

/* ---- falling behind ---- */

START_TEST(overflow)
{
    cop_store *store = t_open();
    cop_watch_options options = COP_WATCH_OPTIONS_INIT;
    options.paused = true;
    cop_watch *net = t_watch_with(store, "", &options);
    options.overflow = COP_WATCH_GAP;
    options.bound = 3;
    cop_watch *gap = t_watch_with(store, "", &options);
    cop_watch *eager = t_watch(store, "");
    cop_watch_batch batch;
    cop_value value;

    for (int i = 1; i <= 3; i++) {
        set(store, "a", i);
        (void)t_told(eager); /* makes a pass */
    }
    cop_watch_resume(gap);
    ck_assert_str_eq(t_told(gap), "(0,3] +a:3");
    cop_watch_pause(gap);
    for (int i = 4; i <= 8; i++) {
        set(store, "a", i);
        (void)t_told(eager);
    }
    cop_watch_resume(gap);
    CHECK_OK(cop_watch_next(gap, 0, &batch));
    ck_assert(batch.gap);
    ck_assert_uint_eq(batch.from, 3);
    ck_assert_uint_eq(batch.to, 8);
    ck_assert_ptr_null(batch.before);
    CHECK_OK(cop_get_at(batch.now, P("a"), &value));
    ck_assert_int_eq(cop_value_i64(&value), 8);
    cop_watch_batch_end(&batch);
    ck_assert_str_eq(t_told(gap), "");
    set(store, "a", 9);
    ck_assert_str_eq(t_told(gap), "(8,9] =a:8>9");
    cop_watch_resume(net);
    ck_assert_str_eq(t_told(net), "(0,9] +a:9");
    cop_watch_close(net);
    cop_watch_close(gap);
    cop_watch_close(eager);
    t_close(store);
}
END_TEST

/* ---- coming back ---- */

static void
resume_writes(cop_store *store, cop_watch *keeper)
{
    set(store, "a/x", 1);
    set(store, "a/y", 1);
    t_set_at(store, "a/l", cop_array());
    (void)t_told(keeper); /* 3 */
    set(store, "a/x", 2);
    set(store, "a/new", 1);
    set(store, "a/short", 1);
    insert(store, "a/l", 0, cop_i64(1));
    (void)t_told(keeper); /* 7 */
    t_erase_at(store, "a/y");
    t_erase_at(store, "a/short");
    set(store, "b", 1);
    (void)t_told(keeper); /* 10 */
}

START_TEST(resuming)
{
    cop_store *store = t_open();
    cop_watch *keeper = t_watch(store, "");

    set(store, "since", 0);
    (void)t_told(keeper);
    resume_writes(store, keeper);
    cop_watch_options options = COP_WATCH_OPTIONS_INIT;
    options.since = 4;
    cop_watch *watch = t_watch_with(store, "a", &options);
    ck_assert_str_eq(t_told(watch), "(4,11] -a/y:? =a/x:?>2 +a/new:1 +a/l/0:1 #a/l");
    set(store, "a/x", 3);
    ck_assert_str_eq(t_told(watch), "(11,12] =a/x:2>3");
    cop_watch_close(watch);
    options.since = 4;
    options.only_itself = true;
    watch = t_watch_with(store, "a/y", &options);
    ck_assert_str_eq(t_told(watch), "(4,12] -a/y:?");
    cop_watch_close(watch);
    watch = t_watch_with(store, "zzz", &options);
    ck_assert_str_eq(t_told(watch), "");
    set(store, "zzz", 1);
    ck_assert_str_eq(t_told(watch), "(4,13] +zzz:1");
    cop_watch_close(watch);
    options.since = 5; /* no boundary of what was told */
    watch = t_watch_with(store, "a/y", &options);
    ck_assert_str_eq(t_told(watch), "(5,13] gap");
    cop_watch_close(watch);
    options.since = 99; /* of another life of the store */
    watch = t_watch_with(store, "a/y", &options);
    ck_assert_str_eq(t_told(watch), "(0,13] gap");
    cop_watch_close(watch);
    options.since = 12;
    CHECK_OK(cop_watch_open_atom(store, t_find(store, "a/x"), &options, NULL, NULL, &watch, NULL));
    ck_assert_str_eq(t_told(watch), "");
    cop_watch_close(watch);
    options.since = 7;
    options.only_itself = false;
    CHECK_OK(cop_watch_open_atom(store, t_find(store, "a"), &options, NULL, NULL, &watch, NULL));
    ck_assert_str_eq(t_told(watch), "(7,13] gap"); /* not known of handles */
    cop_watch_close(watch);
    cop_watch_close(keeper);
    t_close(store);
}
END_TEST

/* What changes before the beginning is told comes after it. */
START_TEST(resuming_late)
{
    cop_store *store = t_open();
    cop_watch *keeper = t_watch(store, "");
    cop_watch_options options = COP_WATCH_OPTIONS_INIT;

    set(store, "a", 1);
    (void)t_told(keeper);
    set(store, "a", 2);
    (void)t_told(keeper);
    options.since = 1;
    cop_watch *watch = t_watch_with(store, "a", &options);
    options.overflow = COP_WATCH_GAP;
    options.paused = true;
    cop_watch *gap = t_watch_with(store, "a", &options);
    set(store, "a", 3);
    (void)t_told(keeper);
    ck_assert_str_eq(t_told(watch), "(1,2] =a:?>2 (2,3] =a:2>3");
    cop_watch_resume(gap);
    ck_assert_str_eq(t_told(gap), "(1,3] gap");
    cop_watch *late = t_watch_with(store, "a", &options);
    cop_watch_close(late); /* with all it was to be told */
    cop_watch_close(watch);
    cop_watch_close(gap);
    cop_watch_close(keeper);
    t_close(store);
}
END_TEST

/* The log is bounded. */
START_TEST(a_long_way_back)
{
    cop_store *store = t_open();
    cop_watch *keeper = t_watch(store, "");
    cop_watch_options options = COP_WATCH_OPTIONS_INIT;

    for (int i = 1; i <= 300; i++) {
        cop_txn *txn = t_begin(store);
        for (int k = 0; k < 300; k++) {
            char path[32];
            snprintf(path, sizeof path, "n/%d", k);
            cop_value value = cop_i64(i);
            CHECK_OK(cop_txn_set_at(txn, P(path), &value, NULL));
        }
        t_commit(txn);
        cop_watch_batch batch;
        CHECK_OK(cop_watch_next(keeper, 0, &batch));
        cop_watch_batch_end(&batch);
    }
    options.since = 10;
    cop_watch *watch = t_watch_with(store, "n/7", &options);
    ck_assert_str_eq(t_told(watch), "(10,300] gap");
    cop_watch_close(watch);
    options.since = 290;
    watch = t_watch_with(store, "n/7", &options);
    ck_assert_str_eq(t_told(watch), "(290,300] =n/7:?>300");
    cop_watch_close(watch);
    cop_watch_close(keeper);
    t_close(store);
}
END_TEST

/* More than a pass lists and the log keeps. */
START_TEST(very_many_changes)
{
    enum { CHANGES = 70000 };
    cop_store *store = t_open();
    cop_watch_options options = COP_WATCH_OPTIONS_INIT;
    cop_watch *all = t_watch(store, ""), *again;
    cop_watch_batch batch;
    cop_change change;
    cop_txn *txn = t_begin(store);
    cop_value one = cop_i64(1);
    size_t n = 0;

    for (int i = 0; i < CHANGES; i++) {
        char path[32];
        snprintf(path, sizeof path, "n/%d", i);
        CHECK_OK(cop_txn_set_at(txn, P(path), &one, NULL));
    }
    t_commit(txn);
    CHECK_OK(cop_watch_next(all, 0, &batch));
    ck_assert_uint_eq(batch.count, CHANGES + 1);
    while (cop_watch_change(&batch, &change))
        ck_assert(change.kind == COP_CHANGE_CREATED && (n++ > 0) == (change.path_length > 1));
    cop_watch_batch_end(&batch);
    options.since = 0;
    again = t_watch_with(store, "n/1", &options);
    ck_assert_str_eq(t_told(again), "(0,1] gap");
    cop_watch_close(all);
    cop_watch_close(again);
    t_close(store);
}
END_TEST

START_TEST(no_log)
{
    cop_options options = COP_OPTIONS_INIT;
    cop_watch_options come_back = COP_WATCH_OPTIONS_INIT;
    cop_store *store;

    options.watch_log_bytes = 0;
    CHECK_OK(cop_store_open(&options, &store, NULL));
    cop_watch *keeper = t_watch(store, "");
    set(store, "a", 1);
    set(store, "a", 2);
    (void)t_told(keeper);
    come_back.since = 0;
    cop_watch *watch = t_watch_with(store, "a", &come_back);
    ck_assert_str_eq(t_told(watch), "(0,2] gap");
    cop_watch_close(watch);
    cop_watch_close(keeper);
    cop_store_close(store);
}
END_TEST

/* The internal holds count against no limit, and idle watchers hold one version together. */
START_TEST(held_versions)
{
    cop_store *store;
    cop_options options = COP_OPTIONS_INIT;
    options.snapshots_max = 1;
    CHECK_OK(cop_store_open(&options, &store, NULL));
    cop_watch_options paused = COP_WATCH_OPTIONS_INIT;
    paused.paused = true;
    cop_watch *watch[40];

    for (int i = 0; i < 40; i++) {
        watch[i] = t_watch_with(store, "", &paused);
        set(store, "a", i);
    }
    const cop_snapshot *snapshot = t_take(store), *more;
    CHECK_STATUS(cop_snapshot_take(store, &more), COP_E_LIMIT);
    cop_snapshot_drop(snapshot);
    for (int i = 0; i < 40; i++) {
        cop_watch_resume(watch[i]);
        cop_watch_batch batch;
        CHECK_OK(cop_watch_next(watch[i], 0, &batch));
        ck_assert_uint_eq(batch.from, (uint64_t)i);
        ck_assert_uint_eq(batch.to, 40);
        cop_watch_batch_end(&batch);
        cop_watch_close(watch[i]);
    }
    cop_watch *again = t_watch(store, "a"); /* after all have gone */
    set(store, "a", 100);
    ck_assert_str_eq(t_told(again), "(40,41] =a:39>100");
    cop_watch_close(again);
    cop_store_close(store);
}
END_TEST

/* Many targets: the tables grow and shrink again. */
START_TEST(many)
{
    cop_store *store = t_open();
    cop_watch *watch[400], *handle[400];

    for (int i = 0; i < 400; i++) {
        char path[32];
        snprintf(path, sizeof path, "n%d/x", i);
        cop_atom atom = t_make(store, path, cop_i64(i));
        watch[i] = t_watch(store, path);
        CHECK_OK(cop_watch_open_atom(store, atom, NULL, NULL, NULL, &handle[i], NULL));
    }
    for (int i = 0; i < 400; i += 3) {
        char path[32];
        snprintf(path, sizeof path, "n%d/x", i);
        set(store, path, i + 1);
        t_text want = {.used = 0};
        uint64_t version = cop_store_version(store);
        t_print(&want, "%" PRIu64 "] =%s:%d>%d", version, path, i, i + 1);
        ck_assert_str_eq(strchr(t_told(watch[i]), ',') + 1, want.text);
        ck_assert_str_eq(strchr(t_told(handle[i]), ',') + 1, want.text);
        ck_assert_str_eq(t_told(watch[i + (i < 399)]), "");
    }
    for (int i = 0; i < 400; i++) {
        cop_watch_close(watch[i]);
        cop_watch_close(handle[399 - i]);
    }
    t_close(store);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("watch");
    TCase *tcase = tcase_create("watch");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, an_atom);
    tcase_add_test(tcase, a_branch);
    tcase_add_test(tcase, a_pattern);
    tcase_add_test(tcase, an_array);
    tcase_add_test(tcase, anonymous);
    tcase_add_test(tcase, values_of_all_kinds);
    tcase_add_test(tcase, a_batch);
    tcase_add_test(tcase, overflow);
    tcase_add_test(tcase, resuming);
    tcase_add_test(tcase, resuming_late);
    tcase_add_test(tcase, a_long_way_back);
    tcase_add_test(tcase, held_versions);
    tcase_add_test(tcase, many);
    tcase_add_test(tcase, the_root);
    tcase_add_test(tcase, several_passes);
    tcase_add_test(tcase, passes_for_nothing);
    tcase_add_test(tcase, no_log);
    tcase_add_test(tcase, very_many_changes);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}

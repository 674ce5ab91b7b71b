/* SPDX-License-Identifier: MIT */
/*
 * Watchers without memory: the k-th request is refused, once and for ever, for every k. What cannot
 * be found out is told later, or as a gap, and never not at all; what cannot be opened leaves
 * nothing. And watchers that give up what they keep when others need it.
 */
#include "commit/combiner.h"
#include "store/store_internal.h"
#include "tests/support/watch_test.h"
#include "watch/room.h"
#include "watch/watch.h"

enum { MOST = 400 };

static cop__memory *memory;
static uint64_t refused; /* requests, in all of a test */

static void
arm(int64_t k, bool for_ever)
{
    atomic_store(&memory->fail_for_ever, for_ever);
    atomic_store(&memory->fail_countdown, k);
}

/* Whether anything was refused. */
static bool
disarm(void)
{
    int64_t left = atomic_exchange(&memory->fail_countdown, -1);
    bool fired = left < 0 || (left == 0 && atomic_load(&memory->fail_for_ever));

    atomic_store(&memory->fail_for_ever, false);
    refused += fired;
    return fired;
}

static cop_store *
scene_open(void)
{
    cop_store *store = t_open();

    memory = cop__store_memory(store);
    t_set_at(store, "host/list", cop_array());
    t_set_at(store, "host/gone", cop_i64(1));
    return store;
}

/* Enough that every vector has to grow. */
static void
changes(cop_store *store)
{
    cop_txn *txn = t_begin(store);
    cop_value value = cop_i64(7);
    cop_atom list = t_find(store, "host/list"), made;

    for (int i = 0; i < 20; i++) {
        char path[64];
        snprintf(path, sizeof path, "host/n%d", i);
        CHECK_OK(cop_txn_set_at(txn, P(path), &value, NULL));
        CHECK_OK(cop_txn_insert(txn, list, 0, &value, &made));
    }
    CHECK_OK(cop_txn_erase_at(txn, P("host/gone"), NULL));
    t_commit(txn);
}

static bool
is_right(const char *told)
{
    static const char first[] = "(2,3] -host/gone:1";

    if (strcmp(told, "(2,3] gap") == 0)
        return true;
    for (int i = 0; i < 20; i++) {
        char change[64];
        snprintf(change, sizeof change, " +host/n%d:7", i);
        if (strstr(told, change) == NULL)
            return false;
        snprintf(change, sizeof change, " +host/list/%d:7", i);
        if (strstr(told, change) == NULL)
            return false;
    }
    return strncmp(told, first, sizeof first - 1) == 0 && strstr(told, " #host/list") != NULL;
}

static void
ask_until_empty(cop_watch *watch, t_text *out)
{
    cop_watch_batch batch;
    cop_status status;

    while ((status = cop_watch_next(watch, 0, &batch)) == COP_OK) {
        t_print_batch(out, &batch);
        cop_watch_batch_end(&batch);
    }
    ck_assert(status == COP_E_TIMEOUT || status == COP_E_MEMORY);
}

/* Two of one target, one of another, one by handle: what one lists another one takes. */
START_TEST(telling)
{
    bool more = true, gaps = false;

    for (int64_t k = 0; more && k < MOST; k++) {
        cop_store *store = scene_open();
        cop_watch *watch[] = {t_watch(store, "host"), t_watch(store, ""), t_watch(store, "host"),
                              NULL};
        t_text out[4];
        memset(out, 0, sizeof out);
        CHECK_OK(
            cop_watch_open_atom(store, t_find(store, "host"), NULL, NULL, NULL, &watch[3], NULL));
        changes(store);
        arm(k, _i != 0);
        for (int i = 0; i < 4; i++)
            ask_until_empty(watch[i], &out[i]);
        more = disarm();
        uint64_t end = cop_deadline_in_ms(20000);
        for (int i = 0; i < 4; i++) {
            while (out[i].used == 0 && cop_deadline_in_ms(0) < end)
                ask_until_empty(watch[i], &out[i]); /* a pass is tried again after some time */
            ck_assert_msg(is_right(out[i].text), "%d: %s", (int)k, out[i].text);
            gaps |= strstr(out[i].text, "gap") != NULL;
            cop_watch_close(watch[i]);
        }
        t_close(store);
    }
    ck_assert(!more);
    ck_assert_uint_gt(refused, 5);
    ck_assert(gaps || _i == 0);
}
END_TEST

/* By time: the pass and the list are refused at different times. */
START_TEST(listing)
{
    bool more = true;
    cop_watch_options options = COP_WATCH_OPTIONS_INIT;

    options.paused = true;
    for (int64_t k = 0; more && k < MOST; k++) {
        cop_store *store = scene_open();
        cop_watch *late = t_watch_with(store, "host", &options), *now = t_watch(store, "host/x");
        t_text out = {.used = 0};
        changes(store);
        ck_assert_str_eq(t_told(now), "");
        t_set_at(store, "other", cop_i64(1));
        t_set_at(store, "host/x", cop_i64(1));
        ck_assert_str_eq(t_told(now), "(2,5] +host/x:1");
        cop_watch_resume(late);
        arm(k, _i != 0);
        ask_until_empty(late, &out);
        more = disarm();
        ck_assert(strcmp(out.text, "(2,5] gap") == 0 || strstr(out.text, " +host/x:1") != NULL);
        cop_watch_close(late);
        cop_watch_close(now);
        t_close(store);
    }
    ck_assert(!more);
}
END_TEST

/* The first one, one by pattern, one by handle, and one that comes back. */
static cop_status
open_one(cop_store *store, int which, cop_watch **watch)
{
    cop_watch_options options = COP_WATCH_OPTIONS_INIT;

    if (which == 2)
        return cop_watch_open_atom(store, t_find(store, "host"), NULL, NULL, NULL, watch, NULL);
    options.since = which == 3 ? 2 : COP_WATCH_NOW;
    return cop_watch_open(store, P(which == 1 ? "a/*/c" : "host"), &options, NULL, NULL, watch,
                          NULL);
}

START_TEST(opening)
{
    for (int which = 0; which < 5; which++) {
        bool more = true;
        for (int64_t k = 0; more && k < MOST; k++) {
            cop_store *store = scene_open();
            cop_watch *keeper = which >= 3 ? t_watch(store, "") : NULL, *watch = NULL;
            if (which >= 3)
                changes(store); /* a pass over them comes before one is opened */
            if (which == 3)
                (void)t_told(keeper);
            arm(k, _i != 0);
            cop_status status = open_one(store, which, &watch);
            more = disarm();
            ck_assert(status == COP_OK || status == COP_E_MEMORY);
            ck_assert((status == COP_OK) == (watch != NULL));
            if (which == 3 && watch != NULL) {
                const char *told = t_told(watch);
                ck_assert(strcmp(told, "(2,3] gap") == 0 || strstr(told, " -host/gone:?") != NULL);
            }
            cop_watch_close(watch);
            cop_watch_close(keeper);
            t_close(store);
        }
        ck_assert(!more);
    }
}
END_TEST

/* The path of an element that has moved is longer than any so far. (A named one's takes room for every path.) */
START_TEST(coming_back)
{
    static const char expected[] = "(2,4] =arrayarraya/0/10:?>8 +arrayarraya/0/0:7";
    bool more = true, refusal = false;

    for (int64_t k = 0; more && k < MOST; k++) {
        cop_store *store = t_open();
        cop_watch_options options = COP_WATCH_OPTIONS_INIT;
        cop_watch *watch = NULL;
        cop_value value = cop_i64(7), array = cop_array();
        cop_atom inner;
        memory = cop__store_memory(store);
        t_set_at(store, "arrayarraya", array);
        cop_txn *txn = t_begin(store);
        CHECK_OK(cop_txn_insert(txn, t_find(store, "arrayarraya"), 0, &array, &inner));
        for (int i = 0; i < 10; i++)
            CHECK_OK(cop_txn_insert(txn, inner, 0, &value, NULL));
        t_commit(txn);
        cop_watch *keeper = t_watch(store, "");
        t_set_at(store, "arrayarraya/0/9", cop_i64(8));
        (void)t_told(keeper);
        txn = t_begin(store);
        CHECK_OK(cop_txn_insert(txn, inner, 0, &value, NULL));
        t_commit(txn);
        (void)t_told(keeper);
        options.since = 2;
        arm(k, _i != 0);
        cop_status status = cop_watch_open(store, P(""), &options, NULL, NULL, &watch, NULL);
        more = disarm();
        const char *told = watch != NULL ? t_told(watch) : "";
        bool gap = strcmp(told, "(2,4] gap") == 0;
        ck_assert_msg(status == COP_E_MEMORY || gap ||
                          strncmp(told, expected, sizeof expected - 1) == 0,
                      "%s", told);
        refusal |= gap;
        cop_watch_close(watch);
        cop_watch_close(keeper);
        t_close(store);
    }
    ck_assert(!more);
    ck_assert(refusal);
}
END_TEST

/* Many in one store, so that each table has to grow when there is no memory. */
START_TEST(growing)
{
    cop_store *store = scene_open();
    cop_watch *watch[300];
    unsigned failed = 0;

    for (int i = 0; i < 300; i++) {
        char path[32];
        snprintf(path, sizeof path, "p%d/q", i);
        for (int64_t k = 0;; k++) {
            arm(k, _i != 0);
            cop_status status =
                i % 2 ? cop_watch_open(store, P(path), NULL, NULL, NULL, &watch[i], NULL)
                      : cop_watch_open_atom(store, (cop_atom){(uint32_t)i, 1}, NULL, NULL, NULL,
                                            &watch[i], NULL);
            (void)disarm();
            if (status == COP_OK)
                break;
            CHECK_STATUS(status, COP_E_MEMORY);
            failed++;
        }
    }
    ck_assert_uint_gt(failed, 300);
    t_set_at(store, "p1/q", cop_i64(1));
    ck_assert_str_eq(t_told(watch[1]), "(2,3] +p1/q:1");
    for (int i = 0; i < 300; i++)
        cop_watch_close(watch[i]);
    t_close(store);
}
END_TEST

/* A function is called in the end, though the pass was refused: a timer asks again. */
START_TEST(by_function)
{
    bool more = true;

    for (int64_t k = 0; more && k < MOST; k++) {
        cop_store *store = scene_open();
        t_text out = {.used = 0};
        cop_watch *watch = t_watch_call(store, "host", NULL, &out);
        changes(store);
        arm(k, _i != 0);
        (void)cop_store_poll(store);
        more = disarm();
        uint64_t end = cop_deadline_in_ms(20000);
        while (out.used == 0 && cop_deadline_in_ms(0) < end)
            CHECK_OK(cop_store_poll(store));
        ck_assert_msg(is_right(out.text), "%d: %s", (int)k, out.text);
        cop_watch_close(watch);
        t_close(store);
    }
    ck_assert(!more);
}
END_TEST

/* ---- giving way ---- */

static uint64_t
give_way(cop_store *store, bool all)
{
    CHECK_OK(cop__right_wait(store, COP_FOREVER));
    uint64_t given = cop__watch_give_way(atomic_load(&store->watch), all);
    cop__right_leave(store);
    return given;
}

static uint64_t
gaps_of(cop_store *store)
{
    cop_stats stats = COP_STATS_INIT;

    CHECK_OK(cop_stats_take(store, &stats));
    return stats.watch_gaps;
}

/* No watcher, none any more, none that is behind; somebody else at it; no memory for the newest version. */
START_TEST(nothing_to_give)
{
    cop_store *store = scene_open();

    ck_assert_uint_eq(give_way(store, true), 0);
    cop_watch *watch = t_watch(store, "host");
    cop__watch_room *room = atomic_load(&store->watch);
    ck_assert_uint_eq(give_way(store, true), 0);
    t_set_at(store, "host/gone", cop_i64(2));
    pthread_mutex_lock(&room->lock);
    ck_assert_uint_eq(give_way(store, true), 0);
    pthread_mutex_unlock(&room->lock);
    arm(0, true);
    ck_assert_uint_eq(give_way(store, true), 0);
    ck_assert(disarm());
    ck_assert_uint_eq(give_way(store, false), 0);
    ck_assert_uint_eq(gaps_of(store), 0);
    ck_assert_str_eq(t_told(watch), "(2,3] =host/gone:1>2");
    cop_watch_close(watch);
    t_set_at(store, "host/gone", cop_i64(3));
    ck_assert_uint_eq(give_way(store, true), 0);
    t_close(store);
}
END_TEST

/* The log goes, and with it what a watcher that comes back could have been told. */
START_TEST(the_log)
{
    cop_store *store = scene_open();
    cop_watch_options options = COP_WATCH_OPTIONS_INIT;
    cop_watch *keeper = t_watch(store, ""), *early, *late;

    t_set_at(store, "host/gone", cop_i64(2));
    ck_assert_str_eq(t_told(keeper), "(2,3] =host/gone:1>2");
    options.since = 2;
    early = t_watch_with(store, "host", &options);
    ck_assert_str_eq(t_told(early), "(2,3] =host/gone:?>2");
    ck_assert_uint_gt(give_way(store, false), 0);
    late = t_watch_with(store, "host", &options);
    ck_assert_str_eq(t_told(late), "(2,3] gap");
    ck_assert_uint_eq(give_way(store, false), 0);
    cop_watch_close(late);
    cop_watch_close(early);
    cop_watch_close(keeper);
    t_close(store);
}
END_TEST

/* Who came back has a list, and a version that it leads to: both go, once. */
START_TEST(who_came_back)
{
    cop_store *store = scene_open();
    cop_watch_options options = COP_WATCH_OPTIONS_INIT;
    cop_watch *keeper = t_watch(store, ""), *back;

    t_set_at(store, "host/gone", cop_i64(2));
    (void)t_told(keeper);
    options.since = 2;
    back = t_watch_with(store, "host", &options);
    (void)give_way(store, false);
    ck_assert_uint_eq(gaps_of(store), 0); /* it is not weak */
    ck_assert_uint_gt(give_way(store, true), 0);
    ck_assert_uint_eq(gaps_of(store), 1);
    ck_assert_uint_eq(give_way(store, true), 0);
    t_set_at(store, "host/gone", cop_i64(3));
    ck_assert_uint_eq(give_way(store, true), 1); /* the base, and the other one has a gap now, too */
    ck_assert_uint_eq(gaps_of(store), 2);
    ck_assert_str_eq(t_told(back), "(2,4] gap");
    ck_assert_str_eq(t_told(keeper), "(3,4] gap");
    t_set_at(store, "host/gone", cop_i64(4));
    ck_assert_str_eq(t_told(back), "(4,5] =host/gone:3>4");
    cop_watch_close(back);
    cop_watch_close(keeper);
    t_close(store);
}
END_TEST

static unsigned calls;

static void
close_and_give_way(void *context, cop_watch *watch, cop_watch_batch *batch)
{
    cop_store *store = context;

    calls++;
    ck_assert(!batch->gap);
    cop_watch_close(watch);
    t_set_at(store, "host/gone", cop_i64(3));
    ck_assert_uint_gt(give_way(store, true), 0);
}

/* One that is closed while it is being told is told nothing more, not even a gap. */
START_TEST(closed_while_told)
{
    cop_store *store = scene_open();
    cop_watch *other = t_watch(store, "host"), *watch;

    calls = 0;
    CHECK_OK(cop_watch_open(store, P("host"), NULL, close_and_give_way, store, &watch, NULL));
    t_set_at(store, "host/gone", cop_i64(2));
    CHECK_OK(cop_store_poll(store));
    CHECK_OK(cop_store_poll(store));
    ck_assert_uint_eq(calls, 1);
    ck_assert_uint_eq(gaps_of(store), 1);
    ck_assert_str_eq(t_told(other), "(2,4] gap");
    cop_watch_close(other);
    t_close(store);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("watch_memory");
    TCase *tcase = tcase_create("watch_memory");

    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, telling, 0, 2);
    tcase_add_loop_test(tcase, listing, 0, 2);
    tcase_add_loop_test(tcase, opening, 0, 2);
    tcase_add_loop_test(tcase, growing, 0, 2);
    tcase_add_loop_test(tcase, by_function, 0, 2);
    tcase_add_loop_test(tcase, coming_back, 0, 2);
    tcase_add_test(tcase, nothing_to_give);
    tcase_add_test(tcase, the_log);
    tcase_add_test(tcase, who_came_back);
    tcase_add_test(tcase, closed_while_told);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}

/* SPDX-License-Identifier: MIT */
/* The history: which versions are kept, found, named, pinned, and pruned. */
#include <pthread.h>
#include <sched.h>
#include <time.h>

#include "history/history.h"
#include "store/store_internal.h"
#include "tests/support/store_test.h"

static cop_store *store;
static _Atomic bool list_held;

/* A store whose history.keep is this; most: history.max_snapshots, 0: the default. */
static cop_store *
open_keeping(const char *keep, uint64_t most)
{
    cop_options options = COP_OPTIONS_INIT;
    cop_store *opened = NULL;

    fault_alloc_init(&t_faults);
    options.batch_window_ms = 0;
    options.allocator = fault_alloc_table(&t_faults);
    options.history_every = 3;
    if (most > 0)
        options.history_max_snapshots = most;
    CHECK_OK(cop_options_set(&options, "history.keep", keep, NULL));
    CHECK_OK(cop_store_open(&options, &opened, NULL));
    return opened;
}

static void
reconfigure(const char *name, const char *text)
{
    cop_options options = COP_OPTIONS_INIT;

    CHECK_OK(cop_store_options(store, &options));
    CHECK_OK(cop_options_set(&options, name, text, NULL));
    CHECK_OK(cop_store_reconfigure(store, &options, COP_FOREVER, NULL));
}

/* The kept versions as "1 2 5"; pinned ones with a !, labels as =label. Static. */
static const char *
kept(void)
{
    static char text[4096];
    size_t used = 0;
    cop_history_entry entry;

    text[0] = '\0';
    for (uint64_t v = 0; cop_history_next(store, v, &entry) == COP_OK; v = entry.version + 1) {
        int n = snprintf(text + used, sizeof text - used, "%s%" PRIu64 "%s%s%s", used ? " " : "",
                         entry.version, entry.pinned ? "!" : "", entry.label_length ? "=" : "",
                         entry.label);
        ck_assert_uint_eq(entry.label_length, strlen(entry.label));
        used += (size_t)n;
        ck_assert_uint_lt(used, sizeof text);
    }
    return text;
}

#define KEPT(expected) ck_assert_str_eq(kept(), expected)

static cop_stats
stats(void)
{
    cop_stats now = COP_STATS_INIT;

    CHECK_OK(cop_stats_take(store, &now));
    return now;
}

static void
commits(int n)
{
    for (int i = 0; i < n; i++)
        t_set_at(store, "n", cop_i64((int64_t)cop_store_version(store) + 1));
}

/* A kept version shows its own number. */
static void
shows(uint64_t version)
{
    const cop_snapshot *snapshot;
    cop_value value;

    CHECK_OK(cop_history_take(store, version, &snapshot));
    ck_assert_uint_eq(cop_snapshot_version(snapshot), version);
    CHECK_OK(cop_get_at(snapshot, P("n"), &value));
    ck_assert_int_eq(cop_value_i64(&value), (int64_t)version);
    cop_snapshot_drop(snapshot);
}

/* --- which are kept --------------------------------------------------------------- */

START_TEST(unused_it_is_nothing)
{
    cop_history_entry entry;
    const cop_snapshot *snapshot;
    cop_history_difference difference;
    uint64_t dropped = 7;

    store = t_open();
    commits(3);
    ck_assert_ptr_null(atomic_load(&store->history));
    KEPT("");
    CHECK_STATUS(cop_history_find(store, 1, &entry), COP_E_ABSENT);
    CHECK_STATUS(cop_history_take(store, 1, &snapshot), COP_E_ABSENT);
    ck_assert_ptr_null(snapshot);
    CHECK_STATUS(cop_history_label(store, 1, P("a"), NULL), COP_E_ABSENT);
    CHECK_STATUS(cop_history_pin(store, 1), COP_E_ABSENT);
    CHECK_STATUS(cop_history_drop(store, 1), COP_E_ABSENT);
    CHECK_STATUS(cop_history_compare(store, 1, 3, &difference), COP_E_ABSENT);
    CHECK_OK(cop_history_clear(store, &dropped));
    ck_assert_uint_eq(dropped, 0);
    ck_assert_uint_eq(cop__history_give_way(atomic_load(&store->history), 1, false), 0);
    ck_assert_ptr_null(atomic_load(&store->history));
    t_close(store);
}
END_TEST

START_TEST(every_commit)
{
    store = open_keeping("commit", 0);
    commits(4);
    KEPT("1 2 3 4");
    for (uint64_t version = 1; version <= 4; version++)
        shows(version);
    cop_txn *txn = t_begin(store); /* no change: no version */
    (void)t_commit(txn);
    KEPT("1 2 3 4");
    commits(60);
    ck_assert_uint_eq(stats().history_versions, 50);
    ck_assert_uint_eq(stats().history_pruned, 14);
    ck_assert_uint_eq(stats().history_lost, 0);
    t_close(store);
}
END_TEST

START_TEST(one_of_some)
{
    store = open_keeping("every", 0);
    commits(10);
    KEPT("3 6 9");
    reconfigure("history.every", "4"); /* one has passed since the last */
    commits(8);
    KEPT("3 6 9 13 17");
    t_close(store);
}
END_TEST

static void
sleep_ms(long ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};

    while (nanosleep(&time, &time) != 0)
        ;
}

START_TEST(at_intervals)
{
    cop_history_entry entry;
    uint64_t before = 0;
    int count = 0;

    store = open_keeping("interval", 0);
    reconfigure("history.interval_ms", "50");
    for (int i = 0; i < 100; i++) {
        commits(1);
        sleep_ms(2);
    }
    for (uint64_t v = 0; cop_history_next(store, v, &entry) == COP_OK; v = entry.version + 1) {
        ck_assert_uint_ge(entry.time_ns - before, 50000000);
        before = entry.time_ns;
        count++;
    }
    ck_assert_int_ge(count, 3);
    CHECK_OK(cop_history_next(store, 0, &entry));
    ck_assert_uint_eq(entry.version, 1);
    t_close(store);
}
END_TEST

START_TEST(only_with_a_label)
{
    uint64_t version = 0;

    store = t_open();
    commits(2);
    CHECK_OK(cop_history_keep(store, P("two"), &version, NULL));
    ck_assert_uint_eq(version, 2);
    CHECK_OK(cop_history_keep(store, NULL, 0, NULL, NULL)); /* keeps the label that it has */
    KEPT("2=two");
    commits(3);
    CHECK_OK(cop_history_keep(store, P("fünf ✓"), NULL, NULL));
    commits(1);
    CHECK_OK(cop_history_keep(store, NULL, 0, NULL, NULL));
    KEPT("2=two 5=fünf ✓ 6");
    CHECK_OK(cop_history_label(store, 6, P("six"), NULL));
    CHECK_OK(cop_history_label(store, 2, NULL, 0, NULL));
    CHECK_OK(cop_history_label(store, 5, P("V"), NULL));
    KEPT("2 5=V 6=six");
    shows(2);
    shows(5);
    t_close(store);
}
END_TEST

START_TEST(refused_labels)
{
    cop_error error = COP_ERROR_INIT;
    char *long_one = t_bytes(COP_HISTORY_LABEL_MAX + 1, 1);
    cop_history_entry entry;

    store = t_open();
    commits(1);
    CHECK_STATUS(cop_history_keep(store, long_one, COP_HISTORY_LABEL_MAX + 1, NULL, &error),
                 COP_E_INVALID);
    ck_assert_ptr_nonnull(strstr(error.message, "255"));
    CHECK_STATUS(cop_history_keep(store, P("a\nb"), NULL, &error), COP_E_INVALID);
    ck_assert_uint_eq(error.position, 1);
    CHECK_STATUS(cop_history_keep(store, P("ab\xff"), NULL, &error), COP_E_INVALID);
    ck_assert_uint_eq(error.position, 2);
    KEPT("");
    CHECK_OK(cop_history_keep(store, long_one, COP_HISTORY_LABEL_MAX, NULL, &error));
    CHECK_STATUS(cop_history_label(store, 1, P("\x7f"), &error), COP_E_INVALID);
    CHECK_STATUS(cop_history_label(store, 2, P("x"), &error), COP_E_ABSENT);
    CHECK_OK(cop_history_find_label(store, long_one, COP_HISTORY_LABEL_MAX, &entry));
    ck_assert_uint_eq(entry.label_length, COP_HISTORY_LABEL_MAX);
    free(long_one);
    t_close(store);
}
END_TEST

START_TEST(off_means_off)
{
    cop_error error = COP_ERROR_INIT;

    store = open_keeping("commit", 0);
    commits(3);
    CHECK_OK(cop_history_pin(store, 2));
    const cop_snapshot *snapshot;
    CHECK_OK(cop_history_take(store, 1, &snapshot));
    reconfigure("history.keep", "off");
    KEPT("");
    commits(2);
    KEPT("");
    CHECK_STATUS(cop_history_keep(store, NULL, 0, NULL, &error), COP_E_STATE);
    ck_assert_ptr_nonnull(strstr(error.message, "history.keep"));
    ck_assert_uint_eq(stats().history_pinned, 0);
    cop_value value;
    CHECK_OK(cop_get_at(snapshot, P("n"), &value)); /* who took it reads on */
    ck_assert_int_eq(cop_value_i64(&value), 1);
    cop_snapshot_drop(snapshot);
    reconfigure("history.keep", "label");
    commits(1);
    KEPT("");
    CHECK_OK(cop_history_keep(store, NULL, 0, NULL, NULL));
    KEPT("6");
    reconfigure("history.keep", "commit");
    commits(1);
    KEPT("6 7");
    t_close(store);
}
END_TEST

/* --- finding ---------------------------------------------------------------------- */

START_TEST(by_version_label_and_time)
{
    cop_history_entry entry, other;

    store = open_keeping("every", 0);
    commits(3);
    sleep_ms(15);
    commits(3);
    sleep_ms(15);
    commits(3);
    CHECK_OK(cop_history_label(store, 3, P("same"), NULL));
    CHECK_OK(cop_history_label(store, 6, P("same"), NULL));
    CHECK_OK(cop_history_find_label(store, P("same"), &entry)); /* the newest one */
    ck_assert_uint_eq(entry.version, 6);
    ck_assert_uint_gt(entry.used_ns, 0);
    CHECK_STATUS(cop_history_find_label(store, P("sam"), &entry), COP_E_ABSENT);
    CHECK_STATUS(cop_history_find_label(store, NULL, 0, &entry), COP_E_ABSENT);
    CHECK_OK(cop_history_find(store, 3, &entry));
    ck_assert_str_eq(entry.label, "same");
    CHECK_STATUS(cop_history_find(store, 4, &entry), COP_E_ABSENT);
    CHECK_OK(cop_history_next(store, 4, &entry));
    ck_assert_uint_eq(entry.version, 6);
    CHECK_OK(cop_history_find_time(store, entry.time_ns, &other));
    ck_assert_uint_eq(other.version, 6);
    CHECK_OK(cop_history_find_time(store, entry.time_ns - 1, &other));
    ck_assert_uint_eq(other.version, 3);
    CHECK_STATUS(cop_history_find_time(store, other.time_ns - 1, &other), COP_E_ABSENT);
    CHECK_OK(cop_history_find_time(store, UINT64_MAX, &other));
    ck_assert_uint_eq(other.version, 9);
    t_close(store);
}
END_TEST

START_TEST(compared)
{
    cop_history_difference d;

    store = open_keeping("commit", 0);
    t_set_at(store, "a", cop_i64(1));
    t_set_at(store, "b", cop_i64(1));
    cop_txn *txn = t_begin(store);
    const cop_value two = cop_i64(2);
    CHECK_OK(cop_txn_set_at(txn, P("a"), &two, NULL));
    CHECK_OK(cop_txn_erase_at(txn, P("b"), NULL));
    CHECK_OK(cop_txn_set_at(txn, P("c/d"), &two, NULL));
    (void)t_commit(txn);
    CHECK_OK(cop_history_compare(store, 2, 3, &d));
    ck_assert_uint_eq(d.created, 2);
    ck_assert_uint_eq(d.changed, 1);
    ck_assert_uint_eq(d.erased, 1);
    ck_assert_uint_eq(d.arrays, 0);
    CHECK_OK(cop_history_compare(store, 3, 2, &d));
    ck_assert_uint_eq(d.created, 1);
    ck_assert_uint_eq(d.erased, 2);
    CHECK_OK(cop_history_compare(store, 3, 3, &d));
    ck_assert_uint_eq(d.created + d.changed + d.erased + d.arrays, 0);
    CHECK_STATUS(cop_history_compare(store, 3, 4, &d), COP_E_ABSENT);
    CHECK_OK(cop_history_clear(store, NULL));
    CHECK_OK(cop_history_compare(store, 3, 3, &d)); /* the newest, though it is not kept */
    CHECK_STATUS(cop_history_compare(store, 2, 3, &d), COP_E_ABSENT);
    t_close(store);
}
END_TEST

/* --- pruning ---------------------------------------------------------------------- */

START_TEST(least_recently_used_first)
{
    cop_history_entry entry;

    store = open_keeping("commit", 4);
    commits(4);
    KEPT("1 2 3 4");
    shows(1);
    CHECK_OK(cop_history_find(store, 2, &entry));
    commits(1);
    KEPT("1 2 4 5"); /* 3 was not looked at */
    CHECK_OK(cop_history_next(store, 4, &entry)); /* is no look */
    commits(1);
    KEPT("1 2 5 6");
    CHECK_OK(cop_history_pin(store, 1));
    CHECK_OK(cop_history_pin(store, 1));
    commits(5);
    KEPT("1! 9 10 11");
    ck_assert_uint_eq(stats().history_pinned, 1);
    CHECK_OK(cop_history_unpin(store, 1));
    CHECK_OK(cop_history_unpin(store, 1));
    ck_assert_uint_eq(stats().history_pinned, 0);
    commits(1);
    KEPT("9 10 11 12");
    ck_assert_uint_eq(stats().history_pruned, 8);
    t_close(store);
}
END_TEST

START_TEST(pinned_ones_stay)
{
    store = open_keeping("commit", 2);
    commits(1);
    CHECK_OK(cop_history_pin(store, 1));
    commits(1);
    CHECK_OK(cop_history_pin(store, 2));
    commits(1);
    KEPT("1! 2! 3"); /* the newest is never pruned */
    commits(1);
    KEPT("1! 2! 4");
    uint64_t dropped;
    CHECK_OK(cop_history_clear(store, &dropped));
    ck_assert_uint_eq(dropped, 1);
    KEPT("1! 2!");
    CHECK_OK(cop_history_drop(store, 1));
    CHECK_STATUS(cop_history_drop(store, 1), COP_E_ABSENT);
    KEPT("2!");
    CHECK_STATUS(cop_history_unpin(store, 1), COP_E_ABSENT);
    t_close(store);
}
END_TEST

START_TEST(fewer_by_another_option)
{
    store = open_keeping("commit", 0);
    commits(9);
    reconfigure("history.max_snapshots", "3");
    KEPT("7 8 9");
    reconfigure("history.max_snapshots", "5");
    commits(3);
    KEPT("8 9 10 11 12");
    t_close(store);
}
END_TEST

/* Every atom gets another long value. */
static void
rewrite(int atoms, int round)
{
    cop_txn *txn = t_begin(store);
    char *bytes = t_bytes(200, (unsigned)round);

    for (int i = 0; i < atoms; i++) {
        char path[32];
        snprintf(path, sizeof path, "many/m%d", i);
        const cop_value value = cop_string(bytes, 200);
        CHECK_OK(cop_txn_set_at(txn, P(path), &value, NULL));
    }
    free(bytes);
    (void)t_commit(txn);
}

START_TEST(bytes_are_weighed_and_bounded)
{
    cop_history_entry entry;

    store = open_keeping("commit", 0);
    for (int round = 0; round < 8; round++)
        rewrite(5000, round);
    cop_stats now = stats(); /* runs a scan */
    ck_assert_uint_eq(now.history_versions, 8);
    ck_assert_uint_gt(now.history_bytes, 7 * 5000 * UINT64_C(200));
    CHECK_OK(cop_history_next(store, 3, &entry));
    ck_assert_uint_gt(entry.bytes, 5000 * UINT64_C(200));
    ck_assert_uint_lt(entry.bytes, now.history_bytes / 6);
    uint64_t used = now.value_bytes;
    reconfigure("history.max_bytes", "3000000");
    CHECK_OK(cop_store_poll(store)); /* frees what the scan after it found */
    now = stats();
    ck_assert_uint_le(now.history_bytes, 3000000);
    ck_assert_uint_gt(now.history_versions, 1);
    ck_assert_uint_lt(now.history_versions, 4);
    ck_assert_uint_lt(now.value_bytes, used / 2);
    /* A version of another holder is not the history's. */
    const cop_snapshot *snapshot;
    CHECK_OK(cop_history_next(store, 0, &entry));
    CHECK_OK(cop_history_take(store, entry.version, &snapshot));
    uint64_t without = stats().history_bytes;
    cop_snapshot_drop(snapshot);
    ck_assert_uint_lt(without, now.history_bytes);
    ck_assert_uint_eq(stats().history_bytes, now.history_bytes);
    t_close(store);
}
END_TEST

START_TEST(bytes_bound_versions_kept_by_hand)
{
    store = t_open();
    rewrite(5000, 0);
    reconfigure("history.max_bytes", "1000000");
    CHECK_OK(cop_history_keep(store, P("first"), NULL, NULL));
    commits(1);
    CHECK_OK(cop_history_keep(store, P("newest"), NULL, NULL));
    CHECK_OK(cop_history_pin(store, 2));
    KEPT("1=first 2!=newest");
    rewrite(5000, 1); /* shared by both: more than may be */
    rewrite(5000, 2);
    KEPT("2!=newest");
    t_close(store);
}
END_TEST

START_TEST(gives_way)
{
    store = open_keeping("commit", 0);
    for (int round = 0; round < 6; round++)
        rewrite(5000, round);
    cop_stats before = stats();
    struct cop__history *history = atomic_load(&store->history);
    uint64_t given = cop__history_give_way(history, 2000000, false);
    ck_assert_uint_ge(given, 2000000);
    ck_assert_uint_lt(given, 3200000);
    KEPT("3 4 5 6");
    cop_stats after = stats();
    ck_assert_uint_le(after.value_bytes + 2000000, before.value_bytes);
    CHECK_OK(cop_history_pin(store, 4));
    (void)cop__history_give_way(history, UINT64_MAX, false);
    KEPT("4! 6");
    t_close(store);
}
END_TEST

static void *
hold_the_list(void *context)
{
    cop__history_lock(context);
    atomic_store(&list_held, true);
    nanosleep(&(struct timespec){0, 100000000}, NULL);
    atomic_store(&list_held, false);
    cop__history_unlock(context);
    return NULL;
}

/* While somebody is at the list: at the soft mark nobody waits for them; who would be refused else does. */
START_TEST(gives_way_while_in_use)
{
    pthread_t thread;

    store = open_keeping("commit", 0);
    commits(5);
    struct cop__history *history = atomic_load(&store->history);
    ck_assert_int_eq(pthread_create(&thread, NULL, hold_the_list, history), 0);
    while (!atomic_load(&list_held))
        sched_yield();
    uint64_t soft = cop__history_give_way(history, UINT64_MAX, false);
    bool at_once = atomic_load(&list_held);
    (void)cop__history_give_way(history, UINT64_MAX, true);
    ck_assert(!atomic_load(&list_held));
    pthread_join(thread, NULL);
    if (at_once)
        ck_assert_uint_eq(soft, 0);
    KEPT("5");
    t_close(store);
}
END_TEST

START_TEST(dropping_frees)
{
    store = open_keeping("commit", 0);
    for (int round = 0; round < 6; round++)
        rewrite(5000, round);
    uint64_t before = stats().value_bytes;
    for (uint64_t version = 1; version <= 3; version++)
        CHECK_OK(cop_history_drop(store, version));
    CHECK_OK(cop_history_clear(store, NULL));
    ck_assert_uint_lt(stats().value_bytes, before / 4);
    ck_assert_uint_eq(stats().held_versions, 0);
    ck_assert_uint_eq(stats().history_bytes, 0);
    t_verify(store);
    t_close(store);
}
END_TEST

/* --- edges ------------------------------------------------------------------------ */

START_TEST(memory_refused_is_counted)
{
    store = open_keeping("commit", 0);
    cop_atom atom = t_make(store, "n", cop_i64(1));
    int64_t lost = 0;
    for (int k = 0; k < 40; k++) {
        const cop_value value = cop_i64(k + 2);
        cop_txn *txn = t_begin(store);
        CHECK_OK(cop_txn_set(txn, atom, &value));
        atomic_store(&store->memory->fail_for_ever, true);
        atomic_store(&store->memory->fail_countdown, k % 20);
        cop_status status = cop_txn_commit(txn, NULL, NULL);
        atomic_store(&store->memory->fail_countdown, -1);
        ck_assert(status == COP_OK || status == COP_E_MEMORY);
        cop_history_entry entry;
        bool is_kept = cop_history_find(store, cop_store_version(store), &entry) == COP_OK;
        lost += !is_kept && status == COP_OK;
    }
    ck_assert_int_gt(lost, 0);
    ck_assert_uint_eq(stats().history_lost, (uint64_t)lost);
    ck_assert_uint_eq(stats().history_versions + (uint64_t)lost + stats().history_pruned,
                      cop_store_version(store));
    t_close(store);
}
END_TEST

START_TEST(refused_calls_change_nothing)
{
    store = t_open();
    commits(1);
    cop_status status = COP_E_MEMORY;
    for (int k = 0; k < 20 && status == COP_E_MEMORY; k++) {
        KEPT("");
        atomic_store(&store->memory->fail_for_ever, true);
        atomic_store(&store->memory->fail_countdown, k);
        status = cop_history_keep(store, P("label"), NULL, NULL);
        atomic_store(&store->memory->fail_countdown, -1);
    }
    CHECK_OK(status);
    KEPT("1=label");
    atomic_store(&store->memory->fail_countdown, 0);
    CHECK_STATUS(cop_history_label(store, 1, P("other"), NULL), COP_E_MEMORY);
    atomic_store(&store->memory->fail_countdown, -1);
    KEPT("1=label");
    cop_options options = COP_OPTIONS_INIT;
    CHECK_OK(cop_store_options(store, &options));
    t_close(store);

    store = t_open();
    CHECK_OK(cop_store_options(store, &options));
    CHECK_OK(cop_options_set(&options, "history.keep", "commit", NULL));
    atomic_store(&store->memory->fail_countdown, 0);
    CHECK_STATUS(cop_store_reconfigure(store, &options, COP_FOREVER, NULL), COP_E_MEMORY);
    atomic_store(&store->memory->fail_countdown, -1);
    commits(1);
    KEPT("");
    CHECK_OK(cop_store_reconfigure(store, &options, COP_FOREVER, NULL));
    commits(1);
    KEPT("2");
    t_close(store);
}
END_TEST

START_TEST(limits_of_the_store)
{
    const cop_snapshot *snapshots[3] = {NULL, NULL, NULL};
    cop_pin_t pins[COP_PINS_MAX];

    store = open_keeping("commit", 0);
    commits(5); /* own holds do not count */
    reconfigure("snapshots.max", "2");
    CHECK_OK(cop_history_take(store, 1, &snapshots[0]));
    CHECK_OK(cop_history_take(store, 2, &snapshots[1]));
    CHECK_STATUS(cop_history_take(store, 3, &snapshots[2]), COP_E_LIMIT);
    ck_assert_ptr_null(snapshots[2]);
    CHECK_STATUS(cop_history_take(store, 9, &snapshots[2]), COP_E_ABSENT);
    cop_snapshot_drop(snapshots[0]);
    cop_snapshot_drop(snapshots[1]);
    for (int i = 0; i < COP_PINS_MAX; i++)
        pins[i] = cop_pin(store);
    cop_history_difference difference;
    CHECK_STATUS(cop_history_keep(store, NULL, 0, NULL, NULL), COP_E_PINS);
    CHECK_STATUS(cop_history_compare(store, 99, 1, &difference), COP_E_PINS);
    for (int i = 0; i < COP_PINS_MAX; i++)
        cop_unpin(pins[i]);
    t_close(store);
}
END_TEST

/* Removing at either end and in the middle; the array grows and moves. */
START_TEST(many_versions_come_and_go)
{
    unsigned random = 7;
    bool there[2001] = {false};
    cop_history_entry entry;

    store = open_keeping("commit", 100000);
    for (uint64_t version = 1; version <= 2000; version++) {
        commits(1);
        there[version] = true;
        random = random * 1103515245 + 12345;
        uint64_t victim = 1 + (random >> 8) % version;
        if (random >> 30 != 0) {
            CHECK_STATUS(cop_history_drop(store, victim), there[victim] ? COP_OK : COP_E_ABSENT);
            there[victim] = false;
        }
    }
    for (uint64_t version = 1; version <= 2000; version++) {
        CHECK_STATUS(cop_history_find(store, version, &entry),
                     there[version] ? COP_OK : COP_E_ABSENT);
        if (there[version])
            shows(version);
    }
    reconfigure("history.max_snapshots", "1");
    ck_assert_uint_eq(stats().history_versions, 1);
    t_close(store);
}
END_TEST

START_TEST(closed_while_it_keeps)
{
    const cop_snapshot *snapshot;

    store = open_keeping("commit", 0);
    commits(3);
    CHECK_OK(cop_history_pin(store, 2));
    CHECK_OK(cop_history_take(store, 2, &snapshot));
    cop_store_close(store);
    cop_value value;
    CHECK_OK(cop_get_at(snapshot, P("n"), &value));
    ck_assert_int_eq(cop_value_i64(&value), 2);
    cop_history_entry entry;
    CHECK_STATUS(cop_history_find(cop_snapshot_store(snapshot), 2, &entry), COP_E_CLOSING);
    CHECK_STATUS(cop_history_keep(cop_snapshot_store(snapshot), NULL, 0, NULL, NULL), COP_E_CLOSING);
    CHECK_STATUS(cop_history_label(cop_snapshot_store(snapshot), 2, NULL, 0, NULL), COP_E_CLOSING);
    CHECK_STATUS(cop_history_clear(cop_snapshot_store(snapshot), NULL), COP_E_CLOSING);
    cop_snapshot_drop(snapshot);
    t_all_released();
}
END_TEST

static cop_status
keep_inside(cop_txn *txn, void *context)
{
    (void)txn;
    (void)context;
    cop__evaluating = true;
    cop_status status = cop_history_keep(store, NULL, 0, NULL, NULL);
    cop__evaluating = false;
    return status;
}

START_TEST(not_inside_an_evaluation)
{
    store = t_open();
    CHECK_STATUS(cop_transact(store, keep_inside, NULL, COP_FOREVER, NULL), COP_E_IN_EVALUATION);
    t_close(store);
}
END_TEST

/* Holders of the lock and committers: none is left pending. */
static _Atomic bool stop;

static void *
lister(void *context)
{
    (void)context;
    while (!atomic_load(&stop)) {
        cop_history_entry entry;
        for (uint64_t v = 0; cop_history_next(store, v, &entry) == COP_OK; v = entry.version + 1)
            ;
    }
    return NULL;
}

START_TEST(none_stays_pending)
{
    pthread_t threads[2];

    store = open_keeping("commit", 20);
    commits(20);
    atomic_store(&stop, false);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, lister, NULL), 0);
    for (int i = 0; i < 500; i++)
        commits(1);
    atomic_store(&stop, true);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    cop_stats now = stats();
    ck_assert_uint_eq(now.history_versions, 20);
    ck_assert_uint_eq(now.history_pruned, 500);
    for (uint64_t version = 501; version <= 520; version++)
        shows(version);
    t_close(store);
}
END_TEST

static void *
pin_the_first(void *context)
{
    (void)context;
    CHECK_OK(cop_history_pin(store, 1));
    return NULL;
}

/* Who finds the lock taken sleeps, and is woken. */
START_TEST(the_lock_is_waited_for)
{
    pthread_t thread;

    store = open_keeping("commit", 0);
    commits(1);
    cop__history *history = cop__load_acquire(&store->history);
    cop__history_lock(history);
    ck_assert_int_eq(pthread_create(&thread, NULL, pin_the_first, NULL), 0);
    while (cop__load_acquire(&history->lock) != 2)
        sched_yield();
    cop__history_unlock(history);
    pthread_join(thread, NULL);
    KEPT("1!");
    t_close(store);
}
END_TEST

static void
tests(TCase *tests)
{
    tcase_add_test(tests, the_lock_is_waited_for);
    tcase_add_test(tests, unused_it_is_nothing);
    tcase_add_test(tests, every_commit);
    tcase_add_test(tests, one_of_some);
    tcase_add_test(tests, at_intervals);
    tcase_add_test(tests, only_with_a_label);
    tcase_add_test(tests, refused_labels);
    tcase_add_test(tests, off_means_off);
    tcase_add_test(tests, by_version_label_and_time);
    tcase_add_test(tests, compared);
    tcase_add_test(tests, least_recently_used_first);
    tcase_add_test(tests, pinned_ones_stay);
    tcase_add_test(tests, fewer_by_another_option);
    tcase_add_test(tests, bytes_are_weighed_and_bounded);
    tcase_add_test(tests, bytes_bound_versions_kept_by_hand);
    tcase_add_test(tests, gives_way);
    tcase_add_test(tests, gives_way_while_in_use);
    tcase_add_test(tests, dropping_frees);
    tcase_add_test(tests, memory_refused_is_counted);
    tcase_add_test(tests, refused_calls_change_nothing);
    tcase_add_test(tests, limits_of_the_store);
    tcase_add_test(tests, many_versions_come_and_go);
    tcase_add_test(tests, closed_while_it_keeps);
    tcase_add_test(tests, not_inside_an_evaluation);
    tcase_add_test(tests, none_stays_pending);
}

int
main(void)
{
    return t_run("history", tests);
}

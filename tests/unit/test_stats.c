/* SPDX-License-Identifier: MIT */
/* Statistics, and the limit on memory that they show. */
#include "tests/support/store_test.h"

#include <coppice/watch.h>
#include <time.h>

static cop_stats
stats_of(cop_store *store)
{
    cop_stats stats = COP_STATS_INIT;

    CHECK_OK(cop_stats_take(store, &stats));
    return stats;
}

START_TEST(stats_count)
{
    cop_store *store = t_open();
    cop_stats stats = COP_STATS_INIT;
    const cop_snapshot *held;
    cop_txn *txn;
    uint64_t sum = 0;

    stats.size = 0;
    CHECK_STATUS(cop_stats_take(store, &stats), COP_E_INVALID);
    t_set_at(store, "a/b", cop_i64(1));
    t_set_at(store, "a/b", cop_i64(1));
    held = t_take(store);
    t_set_at(store, "a/c", cop_i64(1));
    txn = t_begin(store);
    CHECK_OK(cop_txn_require_path(txn, P("a/d"), true, NULL));
    t_commit_fails(store, txn, COP_E_CONFLICT);
    txn = t_begin(store);
    CHECK_OK(cop_txn_erase_at(txn, P("nowhere"), NULL));
    t_commit_fails(store, txn, COP_E_ABSENT);

    stats = stats_of(store);
    ck_assert_uint_eq(stats.version, 2);
    ck_assert_uint_eq(stats.commits, 2);
    ck_assert_uint_eq(stats.atoms, 3);
    ck_assert_uint_eq(stats.transactions, 5);
    ck_assert_uint_eq(stats.transactions_unchanged, 1);
    ck_assert_uint_eq(stats.transactions_conflict, 1);
    ck_assert_uint_eq(stats.transactions_failed, 1);
    ck_assert_uint_eq(stats.queued, 0);
    ck_assert_uint_eq(stats.snapshots, 1);
    ck_assert_uint_eq(stats.oldest_held_version, 1);
    ck_assert_uint_eq(stats.batches_abandoned, 0);
    ck_assert_uint_ge(stats.bytes_peak, stats.bytes_held);
    ck_assert_uint_gt(stats.bytes_limit, 0);
    for (int i = 0; i < COP_MEMORY_KINDS; i++)
        sum += stats.bytes_by_kind[i];
    ck_assert_uint_eq(sum, stats.bytes_held);
    /* Mapped memory is held too, but does not come from the allocator table. */
    ck_assert_uint_ge(stats.bytes_held, (uint64_t)atomic_load(&t_faults.bytes));
    cop_snapshot_drop(held);
    ck_assert_uint_eq(stats_of(store).snapshots, 0);
    t_close(store);
}
END_TEST

static void
wait_ms(long ms)
{
    const struct timespec wait = {ms / 1000, ms % 1000 * 1000000};

    nanosleep(&wait, NULL);
}

/* How old the oldest version held is, by a snapshot and by a pin; clock ticks are of 10 ms at most. */
START_TEST(oldest_held)
{
    cop_store *store = t_open();
    const cop_snapshot *held;
    cop_stats stats;
    cop_pin_t pin;

    t_set_at(store, "a", cop_i64(1));
    held = t_take(store);
    wait_ms(60);
    ck_assert_uint_eq(stats_of(store).oldest_held_age, 0); /* it is the newest */
    t_set_at(store, "a", cop_i64(2));
    pin = cop_pin(store);
    wait_ms(60);
    t_set_at(store, "a", cop_i64(3));
    stats = stats_of(store);
    ck_assert_uint_eq(stats.oldest_held_version, 1);
    ck_assert_uint_ge(stats.oldest_held_age, 100);
    cop_snapshot_drop(held);
    stats = stats_of(store);
    ck_assert_uint_eq(stats.oldest_held_version, 2);
    ck_assert_uint_ge(stats.oldest_held_age, 40);
    cop_unpin(pin);
    stats = stats_of(store);
    ck_assert_uint_eq(stats.oldest_held_version, 3);
    ck_assert_uint_eq(stats.oldest_held_age, 0);
    t_close(store);
}
END_TEST

START_TEST(watchers_count)
{
    cop_watch_options options = COP_WATCH_OPTIONS_INIT;
    cop_store *store = t_open();
    cop_watch_batch batch;
    cop_watch *watch;

    t_set_at(store, "a/x", cop_i64(0));
    ck_assert_uint_eq(stats_of(store).watchers, 0);
    options.bound = 1;
    options.overflow = COP_WATCH_GAP;
    CHECK_OK(cop_watch_open(store, P("a"), &options, NULL, NULL, &watch, NULL));
    for (int i = 1; i <= 2; i++) {
        t_set_at(store, "a/x", cop_i64(i));
        if (i == 2) /* one more than it may have waiting */
            t_set_at(store, "a/y", cop_i64(i));
        CHECK_OK(cop_watch_next(watch, COP_FOREVER, &batch));
        cop_watch_batch_end(&batch);
    }
    cop_stats stats = stats_of(store);
    ck_assert_uint_eq(stats.watchers, 1);
    ck_assert_uint_eq(stats.watch_tellings, 2);
    ck_assert_uint_eq(stats.watch_gaps, 1);
    cop_watch_close(watch);
    options.since = 1000; /* never was: told as a gap, which is what was asked for */
    CHECK_OK(cop_watch_open(store, P("a"), &options, NULL, NULL, &watch, NULL));
    CHECK_OK(cop_watch_next(watch, COP_FOREVER, &batch));
    ck_assert(batch.gap);
    cop_watch_batch_end(&batch);
    cop_watch_close(watch);
    stats = stats_of(store);
    ck_assert_uint_eq(stats.watchers, 0);
    ck_assert_uint_eq(stats.watch_tellings, 3);
    ck_assert_uint_eq(stats.watch_gaps, 1);
    t_close(store);
}
END_TEST

START_TEST(limit_refuses_and_keeps_the_state)
{
    cop_options options = COP_OPTIONS_INIT;
    cop_store *store = NULL;
    char *text = t_bytes(100000, 5);
    cop_value value = cop_string(text, 100000);
    cop_status status = COP_OK;
    cop_stats stats;
    cop_atom atom;
    char path[32];
    int n = 0;

    options.memory_limit_bytes = 16 << 20;
    options.memory_wait_ms = 1;
    CHECK_OK(cop_store_open(&options, &store, NULL));
    while (status == COP_OK && n < 1000) {
        cop_txn *txn = NULL;
        snprintf(path, sizeof path, "fill/%d", n);
        status = cop_txn_begin(store, &txn);
        if (status == COP_OK)
            status = cop_txn_set_at(txn, P(path), &value, NULL);
        if (status == COP_OK)
            status = cop_txn_commit(txn, NULL, NULL);
        else
            cop_txn_cancel(txn);
        n += status == COP_OK;
    }
    CHECK_STATUS(status, COP_E_MEMORY);
    ck_assert_int_gt(n, 50);
    stats = stats_of(store);
    ck_assert_uint_eq(stats.bytes_limit, 16 << 20);
    ck_assert_uint_le(stats.bytes_peak, stats.bytes_limit);
    ck_assert_uint_eq(stats.version, (uint64_t)n);
    CHECK_STATUS(cop_atom_find(store, P(path), &atom), COP_E_ABSENT);
    t_verify(store);
    t_erase_at(store, "fill");
    for (int i = 0; i < 100; i++)
        CHECK_OK(cop_store_poll(store));
    t_set_at(store, "fill/again", value);
    free(text);
    cop_store_close(store);
}
END_TEST

/* Pins are written down nowhere else than with the thread: who asks looks for them. */
START_TEST(pins_are_looked_for)
{
    cop_store *store = t_open();

    t_set_at(store, "a", cop_i64(1));
    t_set_at(store, "a", cop_i64(2));
    cop_pin_t pin = cop_pin(store);
    cop_stats stats = stats_of(store);
    ck_assert_uint_eq(stats.pins, 1);
    ck_assert_uint_eq(stats.held_versions, 1);
    ck_assert_uint_eq(stats.oldest_held_version, 2);
    cop_unpin(pin);
    ck_assert_uint_eq(stats_of(store).pins, 0);
    t_close(store);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_test(tests, stats_count);
    tcase_add_test(tests, oldest_held);
    tcase_add_test(tests, pins_are_looked_for);
    tcase_add_test(tests, watchers_count);
    tcase_add_test(tests, limit_refuses_and_keeps_the_state);
}

int
main(void)
{
    return t_run("stats", add);
}

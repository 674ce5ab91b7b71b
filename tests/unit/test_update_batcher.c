/* SPDX-License-Identifier: MIT */
/*
 * Windows in which submitted transactions are gathered, where full batches are split, and calls of
 * tickets. What must not happen before a frame ends is looked at with the clock read afterwards:
 * only when it has not ended by then does the look count.
 */
#include <poll.h>
#include <pthread.h>
#include <time.h>

#include <coppice/computed.h>
#include <coppice/effect.h>
#include <coppice/monitor.h>
#include <coppice/pool.h>

#include "commit/combiner.h"
#include "tests/support/store_test.h"

#define PATIENCE_MS 10000u
#define TRIES 50u

static cop_store *store;
static uint64_t long_ms; /* a window that does not end within a test */

static uint64_t
left_of_frame(uint64_t ms)
{
    const uint64_t window = ms * 1000000;
    return window - cop__clock_ns() % window;
}

static void
setup(void)
{
    long_ms = 30000;
    for (uint64_t ms = 30000; ms <= 60000; ms += 500)
        if (left_of_frame(ms) > left_of_frame(long_ms))
            long_ms = ms;
}

static void
nap(unsigned ms)
{
    struct timespec time = {ms / 1000, (long)(ms % 1000) * 1000000};
    nanosleep(&time, NULL);
}

static void
reconfigure(uint64_t window_ms, uint64_t most, uint64_t most_bytes, bool updates)
{
    cop_options options = COP_OPTIONS_INIT;
    CHECK_OK(cop_store_options(store, &options));
    options.batch_window_ms = window_ms;
    options.batch_max_transactions = most;
    options.batch_max_bytes = most_bytes;
    options.batch_updates = updates;
    CHECK_OK(cop_store_reconfigure(store, &options, COP_FOREVER, NULL));
}

static cop_ticket *
submit_at(const char *path, int64_t i)
{
    cop_txn *txn = t_begin(store);
    cop_value value = cop_i64(i);
    cop_ticket *ticket = NULL;
    CHECK_OK(cop_txn_set_at(txn, P(path), &value, NULL));
    CHECK_OK(cop_txn_submit(txn, &ticket));
    return ticket;
}

static cop_ticket *
submit_atom(cop_atom atom, int64_t i)
{
    cop_txn *txn = t_begin(store);
    cop_value value = cop_i64(i);
    cop_ticket *ticket = NULL;
    CHECK_OK(cop_txn_set(txn, atom, &value));
    CHECK_OK(cop_txn_submit(txn, &ticket));
    return ticket;
}

/* The version of a decided ticket, which is released. */
static uint64_t
version_of(cop_ticket *ticket)
{
    uint64_t version = 0;
    CHECK_OK(cop_ticket_poll(ticket, &version));
    cop_ticket_release(ticket);
    return version;
}

/* Waits until it is decided without committing it. */
static uint64_t
decided_by_others(cop_ticket *ticket)
{
    for (unsigned i = 0; i < PATIENCE_MS && cop_ticket_poll(ticket, NULL) == COP_E_PENDING; i++)
        nap(1);
    return version_of(ticket);
}

static bool
readable(unsigned ms)
{
    int fd = -1;
    CHECK_OK(cop_store_fd(store, &fd));
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, (int)ms) == 1;
}

static uint64_t
batches(void)
{
    cop_stats stats = COP_STATS_INIT;
    CHECK_OK(cop_stats_take(store, &stats));
    return stats.batches;
}

static cop_pool *
pool_of(uint32_t threads)
{
    cop_pool_options options = COP_POOL_OPTIONS_INIT;
    cop_pool *pool = NULL;
    options.threads = threads;
    CHECK_OK(cop_pool_open(&options, &pool, NULL));
    return pool;
}

/* ---- what is gathered ---- */

START_TEST(the_last_write_to_an_atom_wins)
{
    store = t_open_window(long_ms);
    cop_atom atom = t_make(store, "a", cop_i64(0));
    uint64_t before = cop_store_version(store), first = 0;
    cop_ticket *tickets[5];
    for (int i = 0; i < 5; i++)
        tickets[i] = submit_atom(atom, i + 1);
    CHECK_OK(cop_flush(store, COP_FOREVER));
    t_is_i64(store, atom, 5);
    ck_assert_uint_eq(cop_store_version(store), before + 1);
    for (int i = 0; i < 5; i++) {
        first = version_of(tickets[i]);
        ck_assert_uint_eq(first, before + 1);
    }
    t_close(store);
}
END_TEST

START_TEST(a_write_back_to_the_published_value_vanishes)
{
    store = t_open_window(long_ms);
    cop_atom atom = t_make(store, "a", cop_i64(7));
    uint64_t before = cop_store_version(store);
    cop_ticket *there = submit_atom(atom, 8), *back = submit_atom(atom, 7);
    CHECK_OK(cop_flush(store, COP_FOREVER));
    ck_assert_uint_eq(cop_store_version(store), before);
    ck_assert_uint_eq(version_of(there), before);
    ck_assert_uint_eq(version_of(back), before);
    t_is_i64(store, atom, 7);
    t_close(store);
}
END_TEST

START_TEST(gathered_until_the_frame_ends)
{
    const uint64_t window = UINT64_C(200) * 1000000;
    bool looked = false;
    store = t_open_window(200);
    ck_assert(!readable(0));
    for (unsigned i = 0; i < TRIES && !looked; i++) {
        uint64_t end = (cop__clock_ns() / window + 1) * window;
        cop_ticket *ticket = submit_at("a", i), *other = submit_at("b", i);
        bool early = readable(0);
        CHECK_OK(cop_store_poll(store));
        cop_status status = cop_ticket_poll(ticket, NULL);
        early = readable(0) || early;
        looked = cop__clock_ns() < end;
        if (looked) {
            ck_assert_msg(!early, "readable before the frame ended");
            CHECK_STATUS(status, COP_E_PENDING);
            ck_assert(readable(PATIENCE_MS));
            ck_assert_uint_ge(cop__clock_ns(), end);
        }
        CHECK_OK(cop_store_poll(store));
        CHECK_OK(cop_flush(store, COP_FOREVER));
        ck_assert_uint_eq(version_of(ticket), cop_store_version(store));
        ck_assert_uint_eq(version_of(other), cop_store_version(store));
    }
    ck_assert(looked);
    ck_assert(!readable(0));
    t_close(store);
}
END_TEST

START_TEST(a_descriptor_opened_late_knows_of_it)
{
    store = t_open_window(20);
    cop_ticket *ticket = submit_at("a", 1);
    ck_assert(readable(PATIENCE_MS));
    CHECK_OK(cop_store_poll(store));
    ck_assert_uint_eq(decided_by_others(ticket), 1);
    t_close(store);
}
END_TEST

START_TEST(a_full_count_is_due_at_once)
{
    store = t_open_window(long_ms);
    reconfigure(long_ms, 3, 1 << 20, true);
    ck_assert(!readable(0));
    cop_ticket *a = submit_at("a", 1), *b = submit_at("b", 1);
    ck_assert(!readable(0));
    cop_ticket *c = submit_at("c", 1), *d = submit_at("d", 1);
    ck_assert(readable(PATIENCE_MS));
    CHECK_OK(cop_store_poll(store));
    ck_assert_uint_eq(version_of(a), 1);
    ck_assert_uint_eq(version_of(b), 1);
    ck_assert_uint_eq(version_of(c), 1);
    ck_assert_uint_eq(version_of(d), 2);
    ck_assert(!readable(0));
    t_close(store);
}
END_TEST

START_TEST(full_bytes_are_due_at_once)
{
    store = t_open_window(long_ms);
    reconfigure(long_ms, 1000, 4096, true);
    char *text = t_bytes(4096, 1);
    cop_value value = cop_string(text, 4096);
    cop_ticket *small = submit_at("a", 1), *large = NULL;
    cop_txn *txn = t_begin(store);
    ck_assert(!readable(0));
    CHECK_OK(cop_txn_set_at(txn, P("b"), &value, NULL));
    CHECK_OK(cop_txn_submit(txn, &large));
    ck_assert(readable(PATIENCE_MS));
    CHECK_OK(cop_store_poll(store));
    ck_assert_uint_eq(version_of(small), 1);
    ck_assert_uint_eq(version_of(large), 1);
    small = submit_at("a", 2); /* the bytes were given back */
    ck_assert(!readable(0));
    cop_ticket_release(small);
    free(text);
    t_close(store);
}
END_TEST

START_TEST(a_synchronous_commit_takes_what_is_gathered)
{
    store = t_open_window(long_ms);
    ck_assert(!readable(0));
    cop_ticket *ticket = submit_at("a", 1);
    ck_assert_uint_eq(t_set_at(store, "b", cop_i64(1)), 1);
    ck_assert_uint_eq(version_of(ticket), 1);
    ticket = submit_at("a", 2);
    cop_atom atom;
    CHECK_OK(cop_atom_at(store, P("c"), &atom, NULL));
    ck_assert_uint_eq(version_of(ticket), 2);
    ck_assert(!readable(0));
    t_close(store);
}
END_TEST

static void
note_version(void *context, cop_status outcome, uint64_t version)
{
    *(uint64_t *)context = outcome == COP_OK ? version : UINT64_MAX;
}

START_TEST(a_closing_store_takes_what_is_gathered)
{
    uint64_t version = 0;
    store = t_open_window(long_ms);
    cop_ticket *ticket = submit_at("a", 1), *told = submit_at("b", 1);
    CHECK_OK(cop_ticket_on_done(told, note_version, &version, NULL, COP_FOREVER));
    cop_ticket_release(told);
    cop_store_close(store);
    ck_assert_uint_eq(version, 1);
    CHECK_STATUS(cop_ticket_on_done(ticket, note_version, &version, NULL, 0), COP_E_CLOSING);
    ck_assert_uint_eq(version_of(ticket), 1);
    t_all_released();
}
END_TEST

START_TEST(without_batching_each_is_committed_by_itself)
{
    store = t_open_window(long_ms);
    reconfigure(long_ms, 1024, 1 << 20, false);
    cop_ticket *a = submit_at("a", 1), *b = submit_at("a", 2), *c = submit_at("a", 3);
    ck_assert(readable(PATIENCE_MS)); /* nothing is gathered */
    CHECK_OK(cop_store_poll(store));
    ck_assert_uint_eq(version_of(a), 1);
    ck_assert_uint_eq(version_of(b), 2);
    ck_assert_uint_eq(version_of(c), 3);
    for (int i = 0; i < 100; i++) /* more than a poll takes */
        a = (cop_ticket_release(i > 0 ? a : NULL), submit_at("a", i));
    CHECK_OK(cop_store_poll(store));
    CHECK_STATUS(cop_ticket_poll(a, NULL), COP_E_PENDING);
    ck_assert(readable(PATIENCE_MS));
    CHECK_OK(cop_store_poll(store));
    ck_assert_uint_eq(version_of(a), 103);
    t_close(store);
}
END_TEST

START_TEST(freeing_commits_nothing_that_is_gathered)
{
    enum { N = 30000 };
    const cop_snapshot *held;
    char path[24];
    store = t_open_window(long_ms);
    cop_txn *txn = t_begin(store);
    for (int i = 0; i < N; i++) {
        cop_value value = cop_i64(i);
        snprintf(path, sizeof path, "big/%d", i);
        CHECK_OK(cop_txn_set_at(txn, P(path), &value, NULL));
    }
    t_commit(txn);
    held = t_take(store);
    t_erase_at(store, "big");
    cop_ticket *ticket = submit_at("a", 1);
    cop_snapshot_drop(held);
    CHECK_OK(cop_store_poll(store));
    CHECK_STATUS(cop_ticket_poll(ticket, NULL), COP_E_PENDING);
    CHECK_OK(cop_flush(store, COP_FOREVER));
    ck_assert_uint_eq(version_of(ticket), 3);
    t_close(store);
}
END_TEST

START_TEST(another_window_takes_what_is_gathered)
{
    store = t_open_window(long_ms);
    cop_ticket *ticket = submit_at("a", 1);
    reconfigure(0, 1024, 1 << 20, true);
    ck_assert_uint_eq(version_of(ticket), 1);
    ticket = submit_at("a", 2);
    ck_assert(readable(PATIENCE_MS));
    CHECK_OK(cop_store_poll(store));
    ck_assert_uint_eq(version_of(ticket), 2);
    t_close(store);
}
END_TEST

/* A poll takes 64 batches; what is left is due at once. */
START_TEST(what_a_poll_leaves_is_due_at_once)
{
    enum { N = 200 };
    cop_ticket *tickets[N];
    char path[16];
    store = t_open_window(long_ms);
    ck_assert(!readable(0));
    reconfigure(long_ms, 1, 1 << 20, true);
    for (int i = 0; i < N; i++) {
        snprintf(path, sizeof path, "p/%d", i);
        tickets[i] = submit_at(path, i);
    }
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(cop_ticket_poll(tickets[N - 1], NULL), COP_E_PENDING);
        ck_assert(readable(PATIENCE_MS));
        CHECK_OK(cop_store_poll(store));
    }
    for (int i = 0; i < N; i++)
        ck_assert_uint_gt(version_of(tickets[i]), 0);
    t_close(store);
}
END_TEST

START_TEST(a_poll_that_finds_the_right_taken_comes_again)
{
    store = t_open_window(5);
    ck_assert(!readable(0));
    cop_ticket *ticket = submit_at("a", 1);
    ck_assert(readable(PATIENCE_MS));
    CHECK_OK(cop__right_wait(store, COP_FOREVER));
    CHECK_OK(cop_store_poll(store));
    ck_assert(readable(PATIENCE_MS));
    CHECK_STATUS(cop_ticket_poll(ticket, NULL), COP_E_PENDING);
    cop__right_leave(store);
    CHECK_OK(cop_store_poll(store));
    ck_assert_uint_eq(version_of(ticket), 1);
    CHECK_OK(cop__right_wait(store, COP_FOREVER));
    CHECK_OK(cop_store_poll(store)); /* with nothing gathered */
    cop__right_leave(store);
    t_close(store);
}
END_TEST

START_TEST(the_wait_is_measured)
{
    cop_stats stats = COP_STATS_INIT;
    cop_measurements *m = NULL;
    cop_distribution d = COP_DISTRIBUTION_INIT;
    store = t_open_window(long_ms);
    CHECK_OK(cop_monitor_start(store, NULL, NULL));
    for (int i = 0; i < 2; i++) {
        cop_ticket *ticket = submit_at("a", i);
        nap(3);
        CHECK_OK(cop_flush(store, COP_FOREVER));
        cop_ticket_release(ticket);
    }
    CHECK_OK(cop_stats_take(store, &stats));
    ck_assert_uint_eq(stats.windows, 2);
    ck_assert_uint_ge(stats.window_waited, UINT64_C(6000000));
    ck_assert_uint_ge(stats.window_wait_longest, UINT64_C(3000000));
    ck_assert_uint_le(stats.window_wait_longest, stats.window_waited);
    CHECK_OK(cop_monitor_take(store, COP_FOREVER, &m));
    CHECK_OK(cop_measurements_of(m, COP_MEASURE_WINDOW_WAIT, &d));
    ck_assert_uint_eq(d.count, 2);
    cop_measurements_free(m);
    t_close(store);
}
END_TEST

/* A submission that lost the race for opening may leave a time of before the window's frame. */
START_TEST(a_wait_is_not_longer_than_its_frame)
{
    const uint64_t window = UINT64_C(50) * 1000000;
    cop_stats stats = COP_STATS_INIT;
    store = t_open_window(50);
    cop_ticket *ticket = submit_at("a", 1);
    uint64_t opened = cop__load_relaxed(&store->batcher.due) - window;
    cop__store_relaxed(&store->batcher.opened_ns, UINT64_C(1));
    CHECK_OK(cop_flush(store, COP_FOREVER));
    CHECK_OK(cop_stats_take(store, &stats));
    ck_assert_uint_le(stats.window_waited, cop__clock_ns() - opened);
    cop_ticket_release(ticket);
    t_close(store);
}
END_TEST

/* ---- waiting ---- */

START_TEST(a_wait_lasts_until_the_frame_ends)
{
    const uint64_t window = UINT64_C(100) * 1000000;
    uint64_t version = 0;
    store = t_open_window(100);
    uint64_t end = (cop__clock_ns() / window + 1) * window;
    cop_ticket *ticket = submit_at("a", 1);
    CHECK_OK(cop_ticket_wait(ticket, COP_FOREVER, &version, NULL));
    ck_assert_uint_ge(cop__clock_ns(), end);
    ck_assert_uint_eq(version, 1);
    cop_ticket_release(ticket);
    t_close(store);
}
END_TEST

START_TEST(a_wait_may_be_shorter_than_the_frame)
{
    store = t_open_window(long_ms);
    cop_ticket *ticket = submit_at("a", 1);
    cop_status status = cop_ticket_wait(ticket, cop_deadline_in_ms(5), NULL, NULL);
    ck_assert(status == COP_E_TIMEOUT || cop__clock_ns() >= cop__load_relaxed(&store->batcher.due));
    CHECK_OK(cop_flush(store, COP_FOREVER));
    CHECK_OK(cop_ticket_wait(ticket, 0, NULL, NULL));
    cop_ticket_release(ticket);
    t_close(store);
}
END_TEST

static void *
wait_for(void *ticket)
{
    cop_status status = cop_ticket_wait(ticket, cop_deadline_in_ms(PATIENCE_MS), NULL, NULL);
    cop_ticket_release(ticket);
    return (void *)(intptr_t)status;
}

static void
a_waiter_is_woken_by(void (*action)(void))
{
    pthread_t thread;
    void *status = NULL;
    cop_ticket *ticket = submit_at("a", 1);
    ck_assert_int_eq(pthread_create(&thread, NULL, wait_for, ticket), 0);
    while (cop__load_seq_cst(&store->batcher.waiters) == 0)
        nap(1);
    nap(5);
    action();
    pthread_join(thread, &status);
    ck_assert_int_eq((int)(intptr_t)status, COP_OK);
}

static void
flush(void)
{
    CHECK_OK(cop_flush(store, COP_FOREVER));
}

static void
fill(void)
{
    cop_ticket *ticket = submit_at("b", 1);
    cop_ticket_release(ticket);
}

START_TEST(a_waiter_is_woken_by_who_commits)
{
    store = t_open_window(long_ms);
    a_waiter_is_woken_by(flush);
    t_close(store);
}
END_TEST

START_TEST(a_waiter_is_woken_by_a_full_bound)
{
    store = t_open_window(long_ms);
    reconfigure(long_ms, 2, 1 << 20, true);
    a_waiter_is_woken_by(fill);
    t_close(store);
}
END_TEST

/* A flush that gives up leaves its place in the queue to be taken. */
START_TEST(a_flush_may_give_up)
{
    store = t_open_window(5);
    ck_assert(!readable(0));
    CHECK_OK(cop__right_wait(store, COP_FOREVER));
    CHECK_STATUS(cop_flush(store, 0), COP_E_TIMEOUT);
    cop__right_leave(store);
    ck_assert(readable(PATIENCE_MS));
    CHECK_OK(cop_store_poll(store));
    ck_assert_uint_eq(batches(), 1);
    t_close(store);
}
END_TEST

/* ---- a pool ---- */

START_TEST(a_pool_commits_when_the_frame_ends)
{
    cop_pool *pool = pool_of(1);
    store = t_open_window(5);
    CHECK_OK(cop_store_set_pool(store, pool));
    for (unsigned i = 1; i <= 5; i++)
        ck_assert_uint_eq(decided_by_others(submit_at("a", i)), i);
    cop_store_close(store);
    cop_pool_close(pool);
    t_all_released();
}
END_TEST

START_TEST(a_pool_that_comes_later_commits_too)
{
    cop_pool *pool = pool_of(0), *other = pool_of(1);
    store = t_open_window(5);
    cop_ticket *ticket = submit_at("a", 1);
    CHECK_OK(cop_store_set_pool(store, pool)); /* without threads */
    cop_ticket *second = submit_at("b", 1);
    CHECK_OK(cop_pool_resize(pool, 1));
    uint64_t version = decided_by_others(ticket);
    ck_assert_uint_eq(decided_by_others(second), version);
    CHECK_OK(cop_store_set_pool(store, NULL));
    ticket = submit_at("a", 2);
    CHECK_OK(cop_store_set_pool(store, other));
    ck_assert_uint_eq(decided_by_others(ticket), version + 1);
    cop_store_close(store);
    cop_pool_close(pool);
    cop_pool_close(other);
    t_all_released();
}
END_TEST

/* The alarm of an older window rings in a newer one, or when none is open. */
START_TEST(an_alarm_may_be_too_early)
{
    cop_pool *pool = pool_of(1);
    store = t_open_window(30);
    CHECK_OK(cop_store_set_pool(store, pool));
    cop_ticket *first = submit_at("a", 1);
    CHECK_OK(cop_flush(store, COP_FOREVER));
    ck_assert_uint_eq(version_of(first), 1);
    nap(60); /* rings with nothing to do */
    first = submit_at("a", 2);
    for (unsigned i = 0;
         i < PATIENCE_MS && cop__timers_earliest(&store->timers) == COP_TIMER_NEVER &&
         cop_ticket_poll(first, NULL) == COP_E_PENDING;
         i++)
        nap(1);
    reconfigure(200, 1024, 1 << 20, true);
    cop_ticket *second = submit_at("a", 3);
    ck_assert_uint_eq(version_of(first), 2);
    ck_assert_uint_eq(decided_by_others(second), 3);
    cop_store_close(store);
    cop_pool_close(pool);
    t_all_released();
}
END_TEST

START_TEST(an_alarm_that_finds_the_right_taken_comes_again)
{
    cop_pool *pool = pool_of(1);
    store = t_open_window(2);
    CHECK_OK(cop_store_set_pool(store, pool));
    cop_ticket *ticket = submit_at("a", 1);
    CHECK_OK(cop__right_wait(store, COP_FOREVER));
    nap(40);
    cop__right_leave(store);
    (void)decided_by_others(ticket);
    cop_store_close(store);
    cop_pool_close(pool);
    t_all_released();
}
END_TEST

static _Atomic uint32_t blocked, blocking;

static void
block(void *context)
{
    (void)context;
    cop__store_seq_cst(&blocking, 1u);
    while (cop__load_seq_cst(&blocked) != 0)
        nap(1);
}

/* A pool whose only thread is busy. */
static cop_pool *
busy_pool(void)
{
    cop_pool *pool = pool_of(1);
    cop__store_seq_cst(&blocked, 1u);
    cop__store_seq_cst(&blocking, 0u);
    CHECK_OK(cop_pool_submit(pool, block, NULL));
    while (cop__load_seq_cst(&blocking) == 0)
        nap(1);
    return pool;
}

/* A pool that is taken away keeps the task; the next one commits all the same. */
START_TEST(a_pool_may_be_taken_away_in_between)
{
    cop_pool *busy = busy_pool(), *pool = pool_of(1);
    store = t_open_window(5);
    CHECK_OK(cop_store_set_pool(store, busy));
    cop_ticket *ticket = submit_at("a", 1), *second;
    CHECK_OK(cop_store_set_pool(store, pool));
    (void)decided_by_others(ticket);
    for (int i = 0; i < 3; i++)
        (void)decided_by_others(submit_at("a", i + 2));
    cop__store_seq_cst(&blocked, 0u);
    while (cop__load_seq_cst(&store->batcher.asked))
        nap(1);
    second = submit_at("b", 1);
    (void)decided_by_others(second);
    cop_store_close(store);
    cop_pool_close(busy);
    cop_pool_close(pool);
    t_all_released();
}
END_TEST

static void
nothing(void *context)
{
    (void)context;
}

static void *
close_pool(void *pool)
{
    cop_pool_close(pool);
    return NULL;
}

START_TEST(a_closing_pool_refuses_the_task)
{
    cop_pool *busy = busy_pool();
    pthread_t thread;
    store = t_open_window(long_ms);
    CHECK_OK(cop_store_set_pool(store, busy));
    ck_assert_int_eq(pthread_create(&thread, NULL, close_pool, busy), 0);
    for (unsigned i = 0; i < PATIENCE_MS && cop_pool_submit(busy, nothing, NULL) == COP_OK; i++)
        nap(1);
    cop_ticket *ticket = submit_at("a", 1);
    ck_assert(!cop__load_seq_cst(&store->batcher.asked));
    CHECK_OK(cop_flush(store, COP_FOREVER));
    ck_assert_uint_eq(version_of(ticket), 1);
    CHECK_OK(cop_store_set_pool(store, NULL));
    cop__store_seq_cst(&blocked, 0u);
    pthread_join(thread, NULL);
    t_close(store);
}
END_TEST

/* ---- where a batch is split ---- */

static cop_atom read_by_sum[3];

static cop_status
sum(cop_evaluation *evaluation, void *context, cop_value *result)
{
    int64_t all = 0, one = 0;
    (void)context;
    for (int i = 0; i < 3; i++) {
        cop_status status = cop_read_i64(evaluation, read_by_sum[i], &one);
        if (status != COP_OK)
            return status;
        all += one;
    }
    *result = cop_i64(all);
    return COP_OK;
}

START_TEST(transactions_with_a_common_dependent_stay_together)
{
    cop_atom alone;
    store = t_open_window(long_ms);
    read_by_sum[0] = t_make(store, "x", cop_i64(0));
    read_by_sum[1] = t_make(store, "y", cop_i64(0));
    read_by_sum[2] = t_make(store, "z", cop_i64(0));
    alone = t_make(store, "alone", cop_i64(0));
    CHECK_OK(cop_computed_define(store, P("sum"), sum, NULL, NULL, NULL, NULL));
    reconfigure(long_ms, 2, 1 << 20, true);
    uint64_t v = cop_store_version(store);
    cop_ticket *t[6];
    t[0] = submit_atom(read_by_sum[0], 1);
    t[1] = submit_atom(alone, 1);
    t[2] = submit_atom(read_by_sum[1], 1);
    t[3] = submit_at("z", 1);
    t[4] = submit_atom(read_by_sum[0], 2);
    t[5] = submit_atom(read_by_sum[1], 2);
    CHECK_OK(cop_store_poll(store));
    for (int i = 0; i < 4; i++) /* two and those that belong to them, twice the bound in all */
        ck_assert_uint_eq(version_of(t[i]), v + 1);
    ck_assert_uint_eq(version_of(t[4]), v + 2);
    ck_assert_uint_eq(version_of(t[5]), v + 2);
    t_close(store);
}
END_TEST

START_TEST(the_order_is_kept_where_nothing_is_common)
{
    store = t_open_window(long_ms);
    reconfigure(long_ms, 2, 1 << 20, true);
    cop_ticket *t[5];
    t[0] = submit_at("a", 1);
    t[1] = submit_at("b", 1);
    t[2] = submit_at("c", 1);
    t[3] = submit_at("a", 2);
    t[4] = submit_at("a", 3);
    CHECK_OK(cop_store_poll(store));
    ck_assert_uint_eq(version_of(t[0]),
                      1); /* c has nothing to do with a and b: a has to wait for it */
    ck_assert_uint_eq(version_of(t[1]), 1);
    ck_assert_uint_eq(version_of(t[2]), 2);
    ck_assert_uint_eq(version_of(t[3]), 2);
    ck_assert_uint_eq(version_of(t[4]), 2);
    t_close(store);
}
END_TEST

static cop_ticket *
submit_child(cop_atom branch, const char *key, int64_t i)
{
    cop_txn *txn = t_begin(store);
    cop_value value = cop_i64(i);
    cop_ticket *ticket = NULL;
    CHECK_OK(cop_txn_set_child(txn, branch, P(key), &value, NULL));
    CHECK_OK(cop_txn_submit(txn, &ticket));
    return ticket;
}

static cop_ticket *
submit_new(void)
{
    cop_txn *txn = t_begin(store);
    cop_value value = cop_i64(1), object = cop_object();
    cop_ticket *ticket = NULL;
    cop_atom made, below;
    CHECK_OK(cop_txn_create(txn, &value, &made));
    CHECK_OK(cop_txn_set(txn, made, &value));
    CHECK_OK(cop_txn_set_child(txn, cop_root(), P("new"), &object, &below));
    CHECK_OK(cop_txn_set_child(txn, below, P("in"), &value, NULL));
    CHECK_OK(cop_txn_submit(txn, &ticket));
    return ticket;
}

static cop_ticket *
submit_two(const char *first, const char *second)
{
    cop_txn *txn = t_begin(store);
    cop_value value = cop_i64(1);
    cop_ticket *ticket = NULL;
    CHECK_OK(cop_txn_set_at(txn, P(first), &value, NULL));
    CHECK_OK(cop_txn_set_at(txn, P(second), &value, NULL));
    CHECK_OK(cop_txn_submit(txn, &ticket));
    return ticket;
}

/* The first two fill the batch; whether the third goes along. */
static bool
goes_along(cop_ticket *first, cop_ticket *second, cop_ticket *third)
{
    CHECK_OK(cop_flush(store, COP_FOREVER));
    uint64_t v = version_of(first);
    ck_assert_uint_eq(version_of(second), v);
    return version_of(third) == v;
}

START_TEST(atoms_are_known_by_every_name)
{
    cop_ticket *first, *second, *third;
    store = t_open_window(long_ms);
    cop_atom child = t_make(store, "o/c", cop_i64(0)), o = t_find(store, "o");
    cop_atom gone = t_make(store, "gone/c", cop_i64(0)), branch = t_find(store, "gone");
    t_erase_at(store, "gone");
    reconfigure(long_ms, 2, 1 << 20, true);
    (void)gone;
    first = submit_at("a", 1);
    second = submit_child(o, "c", 1);
    third = submit_atom(child, 2);
    ck_assert(goes_along(first, second, third));
    first = submit_child(o, "d", 1);
    second = submit_at("b", 1);
    third = submit_child(o, "d", 2);
    ck_assert(goes_along(first, second, third));
    first = submit_at("n/1", 1);
    second = submit_at("n/2", 1);
    third = submit_at("n/1", 2);
    ck_assert(goes_along(first, second, third));
    first = submit_at("m/1", 1);
    second = submit_at("m/2", 1);
    third = submit_at("m/3", 2);
    ck_assert(!goes_along(first, second, third));
    first = submit_at("u", 1);
    second = submit_at("v", 1);
    third = submit_two("u", "w");
    ck_assert(goes_along(first, second, third));
    first = submit_at("u", 2);
    second = submit_at("v", 2);
    third = submit_two("w", "v");
    ck_assert(goes_along(first, second, third));
    first = submit_new();
    second = submit_at("q", 1);
    third = submit_at("q", 2);
    ck_assert(goes_along(first, second, third));
    cop_ticket *lost = submit_child(branch, "c", 1), *other = submit_at("r", 1),
               *more = submit_at("s", 1);
    CHECK_OK(cop_flush(store, COP_FOREVER));
    CHECK_STATUS(cop_ticket_poll(lost, NULL), COP_E_GONE);
    ck_assert_uint_lt(version_of(other), version_of(more));
    cop_ticket_release(lost);
    lost = submit_child(child, "c", 1); /* below a number */
    other = submit_at("r1", 1);
    more = submit_at("s1", 1);
    CHECK_OK(cop_flush(store, COP_FOREVER));
    CHECK_STATUS(cop_ticket_poll(lost, NULL), COP_E_NOT_BRANCH);
    ck_assert_uint_lt(version_of(other), version_of(more));
    cop_ticket_release(lost);
    t_close(store);
}
END_TEST

START_TEST(one_that_was_taken_back_takes_no_place)
{
    store = t_open_window(long_ms);
    reconfigure(long_ms, 2, 1 << 20, true);
    cop_ticket *t[4];
    t[0] = submit_at("a", 1);
    t[1] = submit_at("b", 1);
    t[2] = submit_at("c", 1);
    t[3] = submit_at("d", 1);
    CHECK_OK(cop_ticket_cancel(t[0]));
    CHECK_OK(cop_store_poll(store));
    CHECK_STATUS(cop_ticket_poll(t[0], NULL), COP_E_CANCELLED);
    cop_ticket_release(t[0]);
    ck_assert_uint_eq(version_of(t[1]), 1);
    ck_assert_uint_eq(version_of(t[2]), 1);
    ck_assert_uint_eq(version_of(t[3]), 2);
    t_close(store);
}
END_TEST

/* With more to look at than it may, it looks no further and takes nothing along: it ends at an atom
 * whose dependents are still to be looked at. */
START_TEST(the_search_for_what_is_common_is_bounded)
{
    enum { EFFORT = 65536 };
    store = t_open_window(long_ms);
    cop_atom a = t_make(store, "a", cop_i64(0));
    for (int i = 0; i < 3; i++)
        read_by_sum[i] = a;
    CHECK_OK(cop_computed_define(store, P("sum"), sum, NULL, NULL, NULL, NULL));
    cop_atom b = t_make(store, "b", cop_i64(0));
    reconfigure(long_ms, 2, 1 << 30, true);
    cop_txn *txn = t_begin(store);
    cop_value value = cop_i64(1);
    cop_ticket *first = NULL, *second, *third;
    for (int i = 0; i < EFFORT - 1; i++)
        CHECK_OK(cop_txn_set(txn, b, &value));
    CHECK_OK(cop_txn_set(txn, a, &value));
    CHECK_OK(cop_txn_submit(txn, &first));
    second = submit_at("c", 1);
    third = submit_atom(a, 2);
    ck_assert(!goes_along(first, second, third));
    t_close(store);
}
END_TEST

/* ---- calls ---- */

typedef struct call {
    _Atomic unsigned calls, destroyed;
    cop_status outcome;
    uint64_t version;
    pthread_t thread;
} call;

static void
called(void *context, cop_status outcome, uint64_t version)
{
    call *c = context;
    ck_assert_uint_eq(c->destroyed, 0);
    c->outcome = outcome;
    c->version = version;
    c->thread = pthread_self();
    c->calls++;
}

static void
call_destroyed(void *context)
{
    ((call *)context)->destroyed++;
}

static void
was_called(const call *c, cop_status outcome, uint64_t version)
{
    ck_assert_uint_eq(c->calls, 1);
    ck_assert_uint_eq(c->destroyed, 1);
    CHECK_STATUS(c->outcome, outcome);
    ck_assert_uint_eq(c->version, version);
}

START_TEST(a_call_comes_by_who_polls)
{
    call c = {0};
    store = t_open_window(long_ms);
    cop_ticket *ticket = submit_at("a", 1);
    CHECK_OK(cop_ticket_on_done(ticket, called, &c, call_destroyed, COP_FOREVER));
    CHECK_STATUS(cop_ticket_on_done(ticket, called, &c, NULL, COP_FOREVER), COP_E_STATE);
    ck_assert(!readable(0));
    CHECK_OK(cop_flush(store, COP_FOREVER));
    ck_assert_uint_eq(c.calls, 0); /* not within the commit */
    ck_assert(readable(PATIENCE_MS));
    CHECK_OK(cop_store_poll(store));
    was_called(&c, COP_OK, 1);
    cop_ticket_release(ticket);
    t_close(store);
}
END_TEST

START_TEST(a_call_of_a_decided_ticket_comes_too)
{
    call c = {0};
    store = t_open_window(long_ms);
    cop_ticket *ticket = submit_at("a", 1);
    CHECK_STATUS(cop_ticket_on_done(ticket, NULL, &c, call_destroyed, 0), COP_E_INVALID);
    CHECK_OK(cop_ticket_cancel(ticket));
    CHECK_OK(cop_flush(store, COP_FOREVER));
    CHECK_OK(cop_ticket_on_done(ticket, called, &c, call_destroyed, cop_deadline_in_ms(long_ms)));
    cop_ticket_release(ticket);
    ck_assert_uint_eq(c.calls, 0);
    CHECK_OK(cop_store_poll(store));
    was_called(&c, COP_E_CANCELLED, 0);
    t_close(store);
}
END_TEST

START_TEST(a_deadline_is_told_and_the_transaction_goes_on)
{
    call c = {0};
    store = t_open_window(long_ms);
    cop_ticket *ticket = submit_at("a", 1);
    CHECK_OK(cop_ticket_on_done(ticket, called, &c, call_destroyed, cop_deadline_in_ms(2)));
    ck_assert(readable(PATIENCE_MS));
    for (unsigned i = 0; i < PATIENCE_MS && c.calls == 0; i++) {
        CHECK_OK(cop_store_poll(store));
        nap(1);
    }
    was_called(&c, COP_E_TIMEOUT, 0);
    CHECK_OK(cop_flush(store, COP_FOREVER));
    CHECK_OK(cop_store_poll(store));
    was_called(&c, COP_E_TIMEOUT, 0);
    ck_assert_uint_eq(version_of(ticket), 1);
    t_close(store);
}
END_TEST

START_TEST(a_call_comes_by_the_pool)
{
    call c = {0};
    cop_pool *pool = pool_of(1);
    store = t_open_window(5);
    CHECK_OK(cop_store_set_pool(store, pool));
    cop_ticket *ticket = submit_at("a", 1);
    CHECK_OK(cop_ticket_on_done(ticket, called, &c, call_destroyed, cop_deadline_in_ms(long_ms)));
    cop_ticket_release(ticket);
    for (unsigned i = 0; i < PATIENCE_MS && c.destroyed == 0; i++)
        nap(1);
    was_called(&c, COP_OK, 1);
    ck_assert(!pthread_equal(c.thread, pthread_self()));
    cop_store_close(store);
    cop_pool_close(pool);
    t_all_released();
}
END_TEST

START_TEST(a_call_without_memory_is_refused)
{
    call c = {0};
    store = t_open_window(long_ms);
    cop_ticket *ticket = submit_at("a", 1);
    fault_alloc_arm(&t_faults, 1, false);
    CHECK_STATUS(cop_ticket_on_done(ticket, called, &c, call_destroyed, 0), COP_E_MEMORY);
    fault_alloc_disarm(&t_faults);
    CHECK_OK(cop_flush(store, COP_FOREVER));
    CHECK_OK(cop_store_poll(store));
    ck_assert_uint_eq(c.calls + c.destroyed, 0);
    cop_ticket_release(ticket);
    t_close(store);
}
END_TEST

/* A call may do what is allowed where it runs: submit, and ask to be told again. */
static void
submit_again(void *context, cop_status outcome, uint64_t version)
{
    CHECK_OK(outcome);
    ck_assert_uint_eq(version, 1);
    cop_ticket *ticket = submit_at("again", 1);
    CHECK_OK(cop_ticket_on_done(ticket, called, context, call_destroyed, COP_FOREVER));
    cop_ticket_release(ticket);
}

START_TEST(a_call_may_submit)
{
    call c = {0};
    store = t_open_window(long_ms);
    cop_ticket *ticket = submit_at("a", 1);
    CHECK_OK(cop_ticket_on_done(ticket, submit_again, &c, NULL, COP_FOREVER));
    cop_ticket_release(ticket);
    CHECK_OK(cop_flush(store, COP_FOREVER));
    CHECK_OK(cop_store_poll(store));
    CHECK_OK(cop_flush(store, COP_FOREVER));
    CHECK_OK(cop_store_poll(store));
    was_called(&c, COP_OK, 2);
    t_close(store);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_test(tests, the_last_write_to_an_atom_wins);
    tcase_add_test(tests, a_write_back_to_the_published_value_vanishes);
    tcase_add_test(tests, gathered_until_the_frame_ends);
    tcase_add_test(tests, a_descriptor_opened_late_knows_of_it);
    tcase_add_test(tests, a_full_count_is_due_at_once);
    tcase_add_test(tests, full_bytes_are_due_at_once);
    tcase_add_test(tests, a_synchronous_commit_takes_what_is_gathered);
    tcase_add_test(tests, a_closing_store_takes_what_is_gathered);
    tcase_add_test(tests, without_batching_each_is_committed_by_itself);
    tcase_add_test(tests, freeing_commits_nothing_that_is_gathered);
    tcase_add_test(tests, another_window_takes_what_is_gathered);
    tcase_add_test(tests, what_a_poll_leaves_is_due_at_once);
    tcase_add_test(tests, a_poll_that_finds_the_right_taken_comes_again);
    tcase_add_test(tests, the_wait_is_measured);
    tcase_add_test(tests, a_wait_is_not_longer_than_its_frame);
    tcase_add_test(tests, a_wait_lasts_until_the_frame_ends);
    tcase_add_test(tests, a_wait_may_be_shorter_than_the_frame);
    tcase_add_test(tests, a_waiter_is_woken_by_who_commits);
    tcase_add_test(tests, a_waiter_is_woken_by_a_full_bound);
    tcase_add_test(tests, a_flush_may_give_up);
    tcase_add_test(tests, a_pool_commits_when_the_frame_ends);
    tcase_add_test(tests, a_pool_that_comes_later_commits_too);
    tcase_add_test(tests, an_alarm_may_be_too_early);
    tcase_add_test(tests, an_alarm_that_finds_the_right_taken_comes_again);
    tcase_add_test(tests, a_pool_may_be_taken_away_in_between);
    tcase_add_test(tests, a_closing_pool_refuses_the_task);
    tcase_add_test(tests, transactions_with_a_common_dependent_stay_together);
    tcase_add_test(tests, the_order_is_kept_where_nothing_is_common);
    tcase_add_test(tests, atoms_are_known_by_every_name);
    tcase_add_test(tests, one_that_was_taken_back_takes_no_place);
    tcase_add_test(tests, the_search_for_what_is_common_is_bounded);
    tcase_add_test(tests, a_call_comes_by_who_polls);
    tcase_add_test(tests, a_call_of_a_decided_ticket_comes_too);
    tcase_add_test(tests, a_deadline_is_told_and_the_transaction_goes_on);
    tcase_add_test(tests, a_call_comes_by_the_pool);
    tcase_add_test(tests, a_call_without_memory_is_refused);
    tcase_add_test(tests, a_call_may_submit);
}

int
main(void)
{
    return t_run("update_batcher", add);
}

/* SPDX-License-Identifier: MIT */
/* A store at its memory limit: what gives way, who waits, who is refused, who passes, who is told. */
#include <pthread.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <coppice/coppice.h>

#include "commit/combiner.h"
#include "reclaim/gate.h"
#include "tests/support/store_test.h"

#define MIB (UINT64_C(1) << 20)

/* Of a large value: when one is refused, no chunk has room for another. */
enum { LONG = 20000 };

static cop_store *store;

static cop_stats
stats(void)
{
    cop_stats s = COP_STATS_INIT;
    CHECK_OK(cop_stats_take(store, &s));
    ck_assert_uint_le(s.bytes_peak, s.bytes_limit);
    return s;
}

typedef enum on_limit { WAIT, FAIL } on_limit;

static void
open_limited(uint64_t limit, on_limit what, uint64_t wait_ms)
{
    cop_options options = COP_OPTIONS_INIT;
    cop_error error = COP_ERROR_INIT;
    fault_alloc_init(&t_faults);
    options.batch_window_ms = 0;
    options.memory_limit_bytes = limit;
    options.memory_chunk_bytes = 32768;
    options.memory_huge_pages = 0;
    options.memory_on_limit = what;
    options.memory_wait_ms = wait_ms;
    options.allocator = fault_alloc_table(&t_faults);
    ck_assert_msg(cop_store_open(&options, &store, &error) == COP_OK, "%s", error.message);
}

static cop_status
set_bytes(const char *path, size_t n, cop_error *error)
{
    char *bytes = t_bytes(n, 7);
    cop_value value = cop_bytes(bytes, n);
    cop_txn *txn;
    cop_status status = cop_txn_begin(store, &txn);
    if (status == COP_OK)
        status = cop_txn_set_at(txn, path, strlen(path), &value, error);
    if (status == COP_OK)
        status = cop_txn_commit(txn, NULL, error);
    else
        cop_txn_cancel(txn);
    free(bytes);
    return status;
}

static const char *
numbered(const char *format, unsigned i)
{
    static char path[64];
    snprintf(path, sizeof path, format, i);
    return path;
}

/* Until a value of so many bytes is refused; how many there are. */
static unsigned
fill(size_t n)
{
    unsigned i = 0;
    while (set_bytes(numbered("fill/%u", i), n, NULL) == COP_OK)
        ck_assert_uint_lt(++i, 100000);
    return i;
}

static cop_status
erase_one(const char *path)
{
    cop_txn *txn;
    cop_status status = cop_txn_begin(store, &txn);
    if (status == COP_OK)
        status = cop_txn_erase_at(txn, path, strlen(path), NULL);
    if (status == COP_OK)
        return cop_txn_commit(txn, NULL, NULL);
    cop_txn_cancel(txn);
    return status;
}

/* --- refusing, and what passes ------------------------------------------------------- */

START_TEST(refused_with_a_reason)
{
    cop_error error = COP_ERROR_INIT;
    open_limited(4 * MIB, FAIL, 0);
    unsigned n = fill(LONG);
    ck_assert_uint_gt(n, 150);
    uint64_t version = cop_store_version(store);
    CHECK_STATUS(set_bytes("one/more", LONG, &error), COP_E_MEMORY);
    CHECK_STATUS(error.status, COP_E_MEMORY);
    ck_assert_msg(strncmp(error.message, "out of memory: ", 15) == 0, "%s", error.message);
    ck_assert_ptr_nonnull(strstr(error.message, " of 4.0 MiB held: values "));
    ck_assert_uint_eq(cop_store_version(store), version);
    ck_assert_int_eq(cop_memory_level_now(store), COP_MEMORY_FULL);
    cop_stats s = stats();
    ck_assert_uint_eq(s.memory_level, COP_MEMORY_FULL);
    ck_assert_uint_eq(s.memory_refused, 2);
    ck_assert_uint_eq(s.memory_waited, 0);
    ck_assert_uint_eq(s.atoms, n + 1); /* what was refused left nothing behind */
    t_verify(store);
    for (unsigned i = 0; i < n / 2; i++)
        CHECK_OK(erase_one(numbered("fill/%u", i)));
    ck_assert_int_eq(cop_memory_level_now(store), COP_MEMORY_NORMAL);
    CHECK_OK(set_bytes("one/more", LONG, &error));
    t_close(store);
}
END_TEST

START_TEST(the_old_version_is_named)
{
    cop_error error = COP_ERROR_INIT;
    open_limited(4 * MIB, FAIL, 0);
    for (unsigned i = 0; i < 200; i++)
        CHECK_OK(set_bytes(numbered("a/%u", i), 10000, NULL));
    const cop_snapshot *old = t_take(store);
    cop_status status = COP_OK;
    for (unsigned i = 0; i < 250 && status == COP_OK; i++)
        status = set_bytes(numbered("b/%u", i), 9990, &error);
    CHECK_STATUS(status, COP_E_MEMORY);
    char expected[64];
    snprintf(expected, sizeof expected, "the oldest held is %llu",
             (unsigned long long)cop_snapshot_version(old));
    ck_assert_msg(strstr(error.message, expected) != NULL, "%s", error.message);
    cop_snapshot_drop(old);
    CHECK_OK(set_bytes("a/0", 9990, &error));
    t_close(store);
}
END_TEST

/* A reader holds all that was there: erasing frees nothing, and takes what it needs of the reserve until
 * that is used up. */
START_TEST(erasures_pass_as_long_as_the_reserve_lasts)
{
    open_limited(8 * MIB, FAIL, 0);
    unsigned n = fill(700), passed = 0;
    const cop_snapshot *held = t_take(store);
    cop_txn *txn;
    CHECK_STATUS(set_bytes("a", 3000000, NULL), COP_E_MEMORY);
    cop_status status = COP_OK;
    while (passed < n && (status = erase_one(numbered("fill/%u", passed))) == COP_OK)
        passed++;
    ck_assert_msg(passed >= 50, "%u erasures passed", passed);
    CHECK_STATUS(set_bytes("a", 3000000, NULL), COP_E_MEMORY);
    CHECK_OK(cop_txn_begin(store, &txn)); /* can still be built */
    cop_txn_cancel(txn);
    cop_snapshot_drop(held);
    if (passed == n)
        CHECK_OK(set_bytes("a", 3000000, NULL));
    t_verify(store);
    t_close(store);
}
END_TEST

/* So do writes that leave less than there was, and no others. */
START_TEST(what_frees_memory_passes)
{
    open_limited(4 * MIB, FAIL, 0);
    unsigned n = fill(700);
    const cop_snapshot *held = t_take(store);
    CHECK_STATUS(set_bytes("fill/1", 1500000, NULL), COP_E_MEMORY);
    CHECK_OK(set_bytes("fill/1", 30, NULL));
    CHECK_OK(erase_one("fill"));
    ck_assert_uint_eq(stats().atoms, 0);
    CHECK_STATUS(set_bytes("again", 1500000, NULL), COP_E_MEMORY);
    ck_assert_uint_gt(n, 1000);
    cop_snapshot_drop(held);
    CHECK_OK(set_bytes("again", 1500000, NULL));
    t_close(store);
}
END_TEST

START_TEST(an_erasure_beside_a_computed)
{
    open_limited(4 * MIB, FAIL, 0);
    cop_atom total;
    t_set_at(store, "n/a", cop_i64(3));
    t_set_at(store, "n/b", cop_i64(4));
    CHECK_OK(cop_reduce_define(store, "total", 5, "n/*", 3, COP_REDUCE_SUM, NULL, &total, NULL));
    (void)fill(900);
    CHECK_OK(erase_one("n/a"));
    t_is_i64(store, total, 4);
    t_close(store);
}
END_TEST

/* --- waiting ------------------------------------------------------------------------------ */

static void *
erase_soon(void *unused)
{
    (void)unused;
    usleep(30000);
    CHECK_OK(erase_one("fill"));
    return NULL;
}

START_TEST(a_commit_waits_for_memory)
{
    pthread_t thread;
    open_limited(4 * MIB, WAIT, 20000);
    cop_options options = COP_OPTIONS_INIT;
    CHECK_OK(cop_store_options(store, &options));
    options.memory_wait_ms = 0;
    CHECK_OK(cop_store_reconfigure(store, &options, COP_FOREVER, NULL));
    (void)fill(LONG);
    options.memory_wait_ms = 20000;
    CHECK_OK(cop_store_reconfigure(store, &options, COP_FOREVER, NULL));
    ck_assert_int_eq(pthread_create(&thread, NULL, erase_soon, NULL), 0);
    CHECK_OK(set_bytes("late", LONG, NULL));
    pthread_join(thread, NULL);
    cop_stats s = stats();
    ck_assert_uint_eq(s.memory_waited, 1);
    ck_assert_uint_eq(s.memory_waiting, 0);
    t_close(store);
}
END_TEST

START_TEST(a_wait_ends)
{
    cop_error error = COP_ERROR_INIT;
    open_limited(4 * MIB, WAIT, 30);
    (void)fill(LONG);
    uint64_t begun = cop__clock_ns();
    CHECK_STATUS(set_bytes("late", LONG, &error), COP_E_MEMORY);
    uint64_t waited = cop__clock_ns() - begun;
    ck_assert_uint_ge(waited, UINT64_C(15000000));
    ck_assert_uint_lt(waited, UINT64_C(5000000000));
    ck_assert_msg(strstr(error.message, "MiB held") != NULL, "%s", error.message);
    ck_assert_uint_eq(stats().memory_waiting, 0);
    t_close(store);
}
END_TEST

static cop_ticket *
submit_bytes(const char *path, size_t n)
{
    char *bytes = t_bytes(n, 3);
    cop_value value = cop_bytes(bytes, n);
    cop_txn *txn = t_begin(store);
    cop_ticket *ticket;
    if (n > 0)
        CHECK_OK(cop_txn_set_at(txn, path, strlen(path), &value, NULL));
    else
        CHECK_OK(cop_txn_erase_at(txn, path, strlen(path), NULL));
    CHECK_OK(cop_txn_submit(txn, &ticket));
    free(bytes);
    return ticket;
}

static cop_status
decided(cop_ticket *ticket)
{
    cop_status status = cop_ticket_poll(ticket, NULL);
    cop_ticket_release(ticket);
    return status;
}

/* Of one thread the second waits behind the first, though it would fit; another thread's passes. */
START_TEST(one_thread_is_served_in_order)
{
    open_limited(4 * MIB, WAIT, 20000);
    CHECK_OK(set_bytes("small", 20, NULL));
    cop_options options = COP_OPTIONS_INIT;
    CHECK_OK(cop_store_options(store, &options));
    options.memory_on_limit = FAIL;
    CHECK_OK(cop_store_reconfigure(store, &options, COP_FOREVER, NULL));
    (void)fill(LONG);
    options.memory_on_limit = WAIT;
    CHECK_OK(cop_store_reconfigure(store, &options, COP_FOREVER, NULL));
    cop_ticket *first = submit_bytes("late", LONG), *second = submit_bytes("small", 30);
    CHECK_OK(cop_store_poll(store));
    CHECK_STATUS(cop_ticket_poll(first, NULL), COP_E_PENDING);
    CHECK_STATUS(cop_ticket_poll(second, NULL), COP_E_PENDING);
    ck_assert_uint_eq(stats().memory_waiting, 2);
    CHECK_STATUS(cop_flush(store, cop_deadline_in_ms(10)), COP_E_TIMEOUT); /* behind them */
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, erase_soon, NULL), 0);
    CHECK_OK(cop_ticket_wait(second, COP_FOREVER, NULL, NULL));
    CHECK_OK(decided(first)); /* before it */
    cop_ticket_release(second);
    pthread_join(thread, NULL);
    CHECK_OK(cop_flush(store, COP_FOREVER));
    ck_assert_uint_eq(stats().memory_waiting, 0);
    t_close(store);
}
END_TEST

static cop_ticket *
submit_changed(cop_atom branch, const char *path, int64_t n)
{
    cop_value value = cop_i64(n);
    cop_txn *txn = t_begin(store);
    cop_ticket *ticket;
    CHECK_OK(cop_txn_require_unchanged(txn, branch, cop_store_version(store)));
    CHECK_OK(cop_txn_set_at(txn, path, strlen(path), &value, NULL));
    CHECK_OK(cop_txn_submit(txn, &ticket));
    return ticket;
}

/* Whichever request of a batch is refused, and all behind it: nothing is lost, and the order stays. */
START_TEST(a_batch_without_memory_waits_in_order)
{
    bool fired = true;
    unsigned waited = 0;
    open_limited(64 * MIB, WAIT, 20000);
    cop__memory *memory = cop__store_memory(store);
    cop_monitor_options options = COP_MONITOR_OPTIONS_INIT;
    if (_i > 0) {
        options.sample_every = 1;
        CHECK_OK(cop_monitor_start(store, &options, NULL));
    }
    for (int64_t k = 0; fired && k < 400; k++) {
        cop_atom branch = t_make(store, numbered("branch%u/a", (unsigned)k), cop_i64(0));
        branch = t_find(store, numbered("branch%u", (unsigned)k));
        cop_ticket *ticket[3] = {submit_bytes("last", 30), submit_changed(branch, "last", k), NULL};
        ticket[2] = submit_bytes(numbered("fresh/%u", (unsigned)k), LONG);
        atomic_store(&memory->fail_for_ever, true);
        atomic_store(&memory->fail_countdown, k);
        (void)cop_store_poll(store);
        fired = atomic_load(&memory->fail_countdown) <= 0;
        atomic_store(&memory->fail_countdown, -1);
        atomic_store(&memory->fail_for_ever, false);
        bool pending = false;
        for (unsigned i = 0; i < 3; i++) { /* none passes another one */
            cop_status status = cop_ticket_poll(ticket[i], NULL);
            ck_assert(status == COP_E_PENDING || (status == COP_OK && !pending));
            pending |= status == COP_E_PENDING;
        }
        waited += pending;
        for (unsigned i = 0; i < 3; i++) {
            CHECK_OK(cop_ticket_wait(ticket[i], cop_deadline_in_ms(20000), NULL, NULL));
            cop_ticket_release(ticket[i]);
        }
        t_is_i64(store, t_find(store, "last"), k);
    }
    ck_assert(!fired);
    ck_assert_uint_gt(waited, 5);
    ck_assert_uint_eq(stats().memory_waiting, 0);
    t_close(store);
}
END_TEST

typedef struct urgent {
    unsigned calls;
    cop_atom read;
} urgent;

/* Somebody else is always faster, until nobody else may commit. */
static cop_status
always_late(cop_txn *txn, void *context)
{
    urgent *u = context;
    cop_value value;
    char *bytes = t_bytes(LONG, 3);
    u->calls++;
    CHECK_OK(cop_txn_get(txn, u->read, &value));
    value = cop_bytes(bytes, LONG);
    CHECK_OK(cop_txn_set_at(txn, P("late"), &value, NULL));
    free(bytes);
    if (!cop__evaluating)
        t_set(store, u->read, cop_i64(u->calls));
    return COP_OK;
}

/* Who has the right does not wait with it for memory that nobody else could free; and who conflicts whenever it
 * waits without does not go on for ever. */
START_TEST(with_the_right_nobody_waits)
{
    urgent u = {0};
    open_limited(4 * MIB, WAIT, 300);
    u.read = t_make(store, "small", cop_i64(0));
    cop_options options = COP_OPTIONS_INIT;
    CHECK_OK(cop_store_options(store, &options));
    options.memory_on_limit = FAIL;
    CHECK_OK(cop_store_reconfigure(store, &options, COP_FOREVER, NULL));
    (void)fill(LONG);
    options.memory_on_limit = WAIT;
    CHECK_OK(cop_store_reconfigure(store, &options, COP_FOREVER, NULL));
    uint64_t refused = stats().memory_refused, begun = cop__clock_ns();
    CHECK_STATUS(cop_transact(store, always_late, &u, COP_FOREVER, NULL), COP_E_MEMORY);
    ck_assert_uint_ge(cop__clock_ns() - begun, UINT64_C(300000000));
    ck_assert_uint_lt(cop__clock_ns() - begun, UINT64_C(10000000000));
    ck_assert_uint_gt(u.calls, 2);
    ck_assert_uint_gt(stats().memory_refused, refused);
    ck_assert_uint_eq(stats().memory_waiting, 0);
    CHECK_OK(erase_one("fill"));
    u.calls = 0;
    CHECK_OK(cop_transact(store, always_late, &u, COP_FOREVER, NULL));
    t_close(store);
}
END_TEST

/* It has read what is to be erased for it, and something else that stays. */
START_TEST(who_waits_does_not_hold_what_it_waits_for)
{
    int64_t read = 0;
    open_limited(4 * MIB, WAIT, 0);
    t_set_at(store, "stays", cop_i64(7));
    (void)fill(LONG);
    cop_options options = COP_OPTIONS_INIT;
    CHECK_OK(cop_store_options(store, &options));
    options.memory_wait_ms = 20000;
    CHECK_OK(cop_store_reconfigure(store, &options, COP_FOREVER, NULL));
    char *bytes = t_bytes(LONG, 3);
    cop_value value = cop_bytes(bytes, LONG);
    cop_ticket *ticket[2];
    for (int i = 0; i < 2; i++) {
        cop_txn *txn = t_begin(store);
        cop_value had;
        CHECK_OK(cop_txn_get(txn, t_find(store, i == 0 ? "stays" : "fill/0"), &had));
        read += had.type == COP_I64 ? cop_value_i64(&had) : 0;
        CHECK_OK(cop_txn_set_at(txn, P("late"), &value, NULL));
        CHECK_OK(cop_txn_submit(txn, &ticket[i]));
    }
    CHECK_OK(cop_store_poll(store));
    ck_assert_uint_eq(stats().memory_waiting, 2);
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, erase_soon, NULL), 0);
    CHECK_OK(cop_ticket_wait(ticket[0], cop_deadline_in_ms(15000), NULL, NULL));
    CHECK_STATUS(cop_ticket_wait(ticket[1], cop_deadline_in_ms(15000), NULL, NULL), COP_E_CONFLICT);
    pthread_join(thread, NULL);
    ck_assert_int_eq(read, 7);
    for (int i = 0; i < 2; i++)
        cop_ticket_release(ticket[i]);
    free(bytes);
    t_close(store);
}
END_TEST

START_TEST(who_waits_can_be_cancelled)
{
    open_limited(4 * MIB, WAIT, 0);
    (void)fill(LONG);
    cop_options options = COP_OPTIONS_INIT;
    CHECK_OK(cop_store_options(store, &options));
    options.memory_wait_ms = 20000;
    CHECK_OK(cop_store_reconfigure(store, &options, COP_FOREVER, NULL));
    cop_ticket *first = submit_bytes("late", LONG), *second = submit_bytes("later", LONG);
    CHECK_OK(cop_store_poll(store));
    CHECK_OK(cop_ticket_cancel(first));
    CHECK_STATUS(cop_ticket_cancel(first), COP_E_STATE);
    usleep(3000);
    CHECK_OK(cop_store_poll(store));
    CHECK_STATUS(decided(first), COP_E_CANCELLED);
    CHECK_STATUS(cop_ticket_poll(second, NULL), COP_E_PENDING);
    cop_store *closed = store;
    cop_store_close(closed); /* tries once more, then refuses */
    CHECK_STATUS(decided(second), COP_E_MEMORY);
    ck_assert_int_eq(t_faults.blocks, 0);
}
END_TEST

/* Who polls is woken for those that wait, and by it their time ends. */
START_TEST(polling_serves_who_waits)
{
    open_limited(4 * MIB, WAIT, 0);
    int fd;
    CHECK_OK(cop_store_fd(store, &fd));
    (void)fill(LONG);
    cop_options options = COP_OPTIONS_INIT;
    CHECK_OK(cop_store_options(store, &options));
    options.memory_wait_ms = 20;
    CHECK_OK(cop_store_reconfigure(store, &options, COP_FOREVER, NULL));
    cop_ticket *ticket = submit_bytes("late", LONG);
    uint64_t end = cop_deadline_in_ms(10000);
    while (cop_ticket_poll(ticket, NULL) == COP_E_PENDING) {
        CHECK_OK(cop_store_poll(store));
        ck_assert_uint_lt(cop__clock_ns(), end);
        usleep(500);
    }
    CHECK_STATUS(decided(ticket), COP_E_MEMORY);
    t_close(store);
}
END_TEST

/* The alarm comes while somebody has the right: it is set again. */
START_TEST(an_alarm_beside_a_commit)
{
    open_limited(4 * MIB, WAIT, 0);
    (void)fill(LONG);
    cop_options options = COP_OPTIONS_INIT;
    CHECK_OK(cop_store_options(store, &options));
    options.memory_wait_ms = 20000;
    CHECK_OK(cop_store_reconfigure(store, &options, COP_FOREVER, NULL));
    cop_ticket *ticket = submit_bytes("late", LONG);
    CHECK_OK(cop_store_poll(store));
    CHECK_STATUS(cop_ticket_poll(ticket, NULL), COP_E_PENDING);
    CHECK_OK(cop__right_wait(store, COP_FOREVER));
    (void)cop__timer_remove(&store->timers, &store->stalled.alarm);
    store->stalled.alarm.function(store->stalled.alarm.context);
    ck_assert(cop__timer_remove(&store->timers, &store->stalled.alarm));
    CHECK_STATUS(cop_ticket_poll(ticket, NULL), COP_E_PENDING);
    cop__right_leave(store);
    cop_ticket_release(ticket);
    t_close(store);
}
END_TEST

/* --- giving way ------------------------------------------------------------------------- */

/* The history is let go for commits, the pinned version last. */
START_TEST(history_gives_way)
{
    open_limited(8 * MIB, FAIL, 0);
    cop_options options = COP_OPTIONS_INIT;
    CHECK_OK(cop_store_options(store, &options));
    options.history_keep = 2;
    options.history_max_snapshots = 1000;
    options.history_max_bytes = 64 * MIB;
    CHECK_OK(cop_store_reconfigure(store, &options, COP_FOREVER, NULL));
    for (unsigned i = 0; i < 100; i++)
        CHECK_OK(set_bytes(numbered("a/%u", i), 20000, NULL));
    CHECK_OK(cop_history_pin(store, 90));
    for (unsigned round = 0; round < 6; round++)
        for (unsigned i = 0; i < 100; i++)
            CHECK_OK(set_bytes(numbered("a/%u", i), 20000 - round * 8, NULL));
    cop_stats s = stats();
    ck_assert_uint_gt(s.gave_history, 4 * MIB);
    ck_assert_uint_gt(s.history_versions, 1);
    ck_assert_uint_eq(s.history_pinned, 1);
    ck_assert_uint_eq(s.memory_refused, 0);
    ck_assert_uint_gt(s.memory_soft, 0);
    for (unsigned i = 0; i < 200; i++)
        CHECK_OK(set_bytes(numbered("b/%u", i), 20000, NULL)); /* does not fit beside what is pinned */
    ck_assert_uint_eq(stats().history_pinned, 0);
    t_verify(store);
    t_close(store);
}
END_TEST

static cop_watch_batch
next_of(cop_watch *watch)
{
    cop_watch_batch batch;
    CHECK_OK(cop_watch_next(watch, cop_deadline_in_ms(5000), &batch));
    return batch;
}

static cop_watch *
watch_all(bool weak)
{
    cop_watch_options options = COP_WATCH_OPTIONS_INIT;
    cop_watch *watch;
    options.weak = weak;
    CHECK_OK(cop_watch_open(store, "", 0, &options, NULL, NULL, &watch, NULL));
    return watch;
}

/* A weak watcher that is behind loses its version at the soft mark, another one only to a commit. */
START_TEST(watchers_give_way)
{
    open_limited(8 * MIB, FAIL, 0);
    for (unsigned i = 0; i < 150; i++)
        CHECK_OK(set_bytes(numbered("a/%u", i), 20000, NULL));
    cop_watch *strong = watch_all(false), *weak = watch_all(true), *third = watch_all(false);
    CHECK_OK(set_bytes("a/0", 19000, NULL));
    cop_watch_batch batch = next_of(third); /* makes the others dirty */
    ck_assert(!batch.gap);
    cop_watch_batch_end(&batch);
    cop_watch_close(third);
    for (unsigned i = 0; i < 250 && stats().watch_gaps == 0; i++)
        CHECK_OK(set_bytes(numbered("b/%u", i), 20000, NULL));
    ck_assert_uint_eq(stats().watch_gaps, 1);
    ck_assert_uint_gt(stats().bytes_limit * 9 / 10, stats().bytes_held / 2);
    batch = next_of(weak);
    ck_assert(batch.gap);
    cop_watch_batch_end(&batch);
    cop_error error = COP_ERROR_INIT;
    for (unsigned i = 0; i < 150; i++) /* both live trees do not fit */
        ck_assert_msg(set_bytes(numbered("a/%u", i), 19000, &error) == COP_OK, "%u: %s", i, error.message);
    ck_assert_uint_ge(stats().watch_gaps, 2);
    batch = next_of(strong);
    ck_assert(batch.gap);
    ck_assert_uint_eq(batch.to, cop_store_version(store));
    cop_watch_batch_end(&batch);
    ck_assert_uint_eq(stats().memory_refused, 0);
    CHECK_OK(set_bytes("a/0", 100, NULL));
    batch = next_of(strong);
    ck_assert(!batch.gap);
    ck_assert_uint_eq(batch.count, 1);
    cop_watch_batch_end(&batch);
    cop_watch_close(strong);
    cop_watch_close(weak);
    t_close(store);
}
END_TEST

/* Nobody makes passes: the version of the last one is given up too. */
START_TEST(a_watcher_nobody_serves_holds_up_nobody)
{
    open_limited(8 * MIB, FAIL, 0);
    for (unsigned i = 0; i < 250; i++)
        CHECK_OK(set_bytes(numbered("a/%u", i), 20000, NULL));
    cop_watch *watch = watch_all(false);
    for (unsigned round = 1; round < 4; round++)
        for (unsigned i = 0; i < 250; i++)
            CHECK_OK(set_bytes(numbered("a/%u", i), 20000 + round, NULL));
    cop_watch_batch batch = next_of(watch);
    ck_assert(batch.gap);
    cop_watch_batch_end(&batch);
    cop_watch_close(watch);
    t_close(store);
}
END_TEST

static cop_status
doubled(cop_evaluation *evaluation, void *context, cop_value *result)
{
    int64_t n = 0;
    cop_status status = cop_read_i64(evaluation, *(cop_atom *)context, &n);
    *result = cop_i64(2 * n);
    return status;
}

START_TEST(texts_and_memos_give_way)
{
    open_limited(8 * MIB, FAIL, 0);
    enum { LAZIES = 400 };
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    static cop_atom source, lazy[LAZIES];
    options.kind = COP_LAZY;
    source = t_make(store, "source", cop_i64(4));
    for (unsigned i = 0; i < LAZIES; i++)
        CHECK_OK(cop_computed_define(store, numbered("lazy/%u", i), strlen(numbered("lazy/%u", i)),
                                     doubled, &source, &options, &lazy[i], NULL));
    for (unsigned i = 0; i < LAZIES; i++)
        t_is_i64(store, lazy[i], 8);
    for (unsigned i = 0; i < 100; i++)
        CHECK_OK(set_bytes(numbered("a/%u", i), 300, NULL));
    const cop_snapshot *snapshot = t_take(store);
    cop_rope *rope;
    CHECK_OK(cop_json_rope(snapshot, t_find(store, "a"), &rope));
    cop_rope_drop(rope);
    cop_snapshot_drop(snapshot);
    ck_assert_uint_gt(stats().bytes_by_kind[COP_MEMORY_FRAGMENTS], 30000);
    (void)fill(20000);
    cop_stats s = stats();
    ck_assert_uint_gt(s.gave_fragments, 0);
    ck_assert_uint_gt(s.gave_lazy, 0);
    ck_assert_uint_lt(s.bytes_by_kind[COP_MEMORY_FRAGMENTS], 20000);
    for (unsigned i = 0; i < LAZIES; i++)
        t_is_i64(store, lazy[i], 8);
    t_close(store);
}
END_TEST

/* --- who is told ---------------------------------------------------------------------- */

typedef struct ear {
    cop_memory_level last;
    unsigned calls, ended;
    bool resets;
} ear;

static void
ended(void *context)
{
    ((ear *)context)->ended++;
}

static void
hear(void *context, cop_store *of, cop_memory_level level, uint64_t used, uint64_t limit)
{
    ear *e = context;
    ck_assert_ptr_eq(of, store);
    ck_assert_uint_le(used, limit);
    ck_assert_uint_eq(limit, 4 * MIB);
    ck_assert_int_ne(level, e->last);
    e->last = level;
    e->calls++;
    if (e->resets)
        CHECK_OK(cop_memory_tell(of, NULL, NULL, NULL));
    else if (level == COP_MEMORY_FULL)
        CHECK_OK(erase_one("fill")); /* all calls are allowed */
}

START_TEST(levels_are_told)
{
    ear first = {COP_MEMORY_NORMAL, 0, 0, false}, second = {COP_MEMORY_NORMAL, 0, 0, true};
    open_limited(4 * MIB, FAIL, 0);
    CHECK_OK(cop_memory_tell(store, hear, &first, ended));
    (void)fill(10000);
    ck_assert_int_eq(first.last, COP_MEMORY_NORMAL);
    ck_assert_uint_eq(first.calls, 3); /* soft, full, and normal again since it erased */
    CHECK_OK(cop_memory_tell(store, hear, &second, ended));
    ck_assert_uint_eq(first.ended, 1);
    (void)fill(10000);
    ck_assert_uint_eq(second.calls, 1);
    ck_assert_uint_eq(second.ended, 1);
    ear third = {COP_MEMORY_NORMAL, 0, 0, false};
    CHECK_OK(cop_memory_tell(store, hear, &third, ended)); /* told at once what it missed */
    ck_assert_uint_ge(third.calls, 1);
    t_close(store);
    ck_assert_uint_eq(third.ended, 1);
}
END_TEST

typedef struct slow_ear {
    pthread_t thread;
    _Atomic unsigned calls, ended;
    _Atomic bool replaced, in_call;
} slow_ear;

static void *
replace(void *context)
{
    slow_ear *e = context;
    CHECK_OK(cop_memory_tell(store, NULL, NULL, NULL));
    e->replaced = true;
    return NULL;
}

static void
hear_slowly(void *context, cop_store *of, cop_memory_level level, uint64_t used, uint64_t limit)
{
    slow_ear *e = context;
    (void)of, (void)level, (void)used, (void)limit;
    if (e->calls++ > 0)
        return;
    e->in_call = true;
    ck_assert_int_eq(pthread_create(&e->thread, NULL, replace, e), 0);
    usleep(50000);
    ck_assert(!e->replaced);
    ck_assert_uint_eq(e->ended, 0);
    e->in_call = false;
}

static void
slow_ended(void *context)
{
    slow_ear *e = context;
    ck_assert(!e->in_call);
    e->ended++;
}

/* Nobody is replaced, and its context destroyed, while it is being called by another thread. */
START_TEST(who_is_being_told_is_not_replaced)
{
    slow_ear e = {0};
    open_limited(4 * MIB, FAIL, 0);
    CHECK_OK(cop_memory_tell(store, hear_slowly, &e, slow_ended));
    (void)fill(10000);
    ck_assert_uint_ge(e.calls, 1);
    pthread_join(e.thread, NULL);
    ck_assert(e.replaced);
    ck_assert_uint_eq(e.ended, 1);
    cop__evaluating = true;
    CHECK_STATUS(cop_memory_tell(store, hear_slowly, &e, slow_ended), COP_E_IN_EVALUATION);
    cop__evaluating = false;
    t_close(store);
    ck_assert_uint_eq(e.ended, 1);
}
END_TEST

/* In a forked child there is nothing to tell of. */
START_TEST(a_forked_child)
{
    open_limited(4 * MIB, FAIL, 0);
    pid_t pid = fork();
    if (pid == 0) {
        char text[64];
        size_t length = 1;
        bool right = cop_memory_explain(store, text, sizeof text, &length) == COP_E_FORKED &&
                     length == 0 && cop_memory_tell(store, NULL, NULL, NULL) == COP_E_FORKED &&
                     cop_memory_trim(store, NULL) == COP_E_FORKED;
        t_exit_child(right ? 0 : 1);
    }
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    t_close(store);
}
END_TEST

START_TEST(what_holds_the_memory_is_told)
{
    char text[512], little[10];
    size_t length, again;
    open_limited(4 * MIB, FAIL, 0);
    CHECK_OK(cop_memory_explain(store, text, sizeof text, &length));
    ck_assert_uint_eq(strlen(text), length);
    ck_assert_ptr_nonnull(strstr(text, " of 4.0 MiB held: "));
    CHECK_STATUS(cop_memory_explain(store, little, sizeof little, &again), COP_E_RANGE);
    ck_assert_uint_eq(again, length);
    ck_assert_int_eq(strncmp(little, text, sizeof little - 1), 0);
    ck_assert_uint_eq(strlen(little), sizeof little - 1);
    CHECK_STATUS(cop_memory_explain(store, NULL, 0, &again), COP_E_RANGE);
    t_close(store);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_test(tests, refused_with_a_reason);
    tcase_add_test(tests, the_old_version_is_named);
    tcase_add_test(tests, erasures_pass_as_long_as_the_reserve_lasts);
    tcase_add_test(tests, what_frees_memory_passes);
    tcase_add_test(tests, an_erasure_beside_a_computed);
    tcase_add_test(tests, a_commit_waits_for_memory);
    tcase_add_test(tests, a_wait_ends);
    tcase_add_test(tests, one_thread_is_served_in_order);
    tcase_add_loop_test(tests, a_batch_without_memory_waits_in_order, 0, 2);
    tcase_add_test(tests, with_the_right_nobody_waits);
    tcase_add_test(tests, an_alarm_beside_a_commit);
    tcase_add_test(tests, who_waits_does_not_hold_what_it_waits_for);
    tcase_add_test(tests, who_waits_can_be_cancelled);
    tcase_add_test(tests, polling_serves_who_waits);
    tcase_add_test(tests, history_gives_way);
    tcase_add_test(tests, watchers_give_way);
    tcase_add_test(tests, a_watcher_nobody_serves_holds_up_nobody);
    tcase_add_test(tests, texts_and_memos_give_way);
    tcase_add_test(tests, levels_are_told);
    tcase_add_test(tests, who_is_being_told_is_not_replaced);
    tcase_add_test(tests, a_forked_child);
    tcase_add_test(tests, what_holds_the_memory_is_told);
}

int
main(void)
{
    return t_run("memory limit", add);
}

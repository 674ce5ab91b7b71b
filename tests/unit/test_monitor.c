/* SPDX-License-Identifier: MIT */
/* The performance monitor: switching, what commits record. */
#include <pthread.h>
#include <time.h>

#include "monitor/measurements.h"
#include "tests/support/store_test.h"

static cop_store *
open_monitored(uint64_t every)
{
    cop_monitor_options options = COP_MONITOR_OPTIONS_INIT;
    cop_store *store = t_open();
    options.sample_every = every;
    CHECK_OK(cop_monitor_start(store, &options, NULL));
    return store;
}

static cop_measurements *
taken(cop_store *store)
{
    cop_measurements *measurements = NULL;
    CHECK_OK(cop_monitor_take(store, COP_FOREVER, &measurements));
    ck_assert_ptr_nonnull(measurements);
    return measurements;
}

static cop_distribution
distribution(const cop_measurements *measurements, cop_measure measure)
{
    cop_distribution d = COP_DISTRIBUTION_INIT;
    CHECK_OK(cop_measurements_of(measurements, measure, &d));
    return d;
}

static uint64_t
count_now(cop_store *store, cop_measure measure)
{
    cop_measurements *m = taken(store);
    uint64_t count = distribution(m, measure).count;
    cop_measurements_free(m);
    return count;
}

static void
commits(cop_store *store, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        t_set_at(store, "a/b", cop_i64((int64_t)i + (int64_t)cop_store_version(store) * 1000));
}

static void
parts_add_up(const cop_measurements *m)
{
    cop_distribution whole = distribution(m, COP_MEASURE_COMMIT);
    uint64_t sum = 0;
    for (unsigned part = 0; part < COP_MONITOR_PARTS; part++) {
        cop_distribution d = distribution(m, (cop_measure)part);
        ck_assert_uint_eq(d.count, whole.count);
        sum += d.sum;
    }
    ck_assert_uint_eq(sum, whole.sum);
}

START_TEST(off_until_started)
{
    cop_store *store = t_open();
    cop_measurements *m = (cop_measurements *)(uintptr_t)1;
    ck_assert(!cop_monitor_running(store));
    CHECK_STATUS(cop_monitor_take(store, COP_FOREVER, &m), COP_E_STATE);
    ck_assert_ptr_null(m);
    CHECK_OK(cop_monitor_stop(store));
    cop__monitor_record(store, COP_MEASURE_NOTIFY, 1); /* nothing */
    ck_assert_uint_eq(cop__monitor_clock(store), 0);
    cop__monitor_took(store, COP_MEASURE_NOTIFY, 0);
    CHECK_OK(cop_monitor_start(store, NULL, NULL));
    ck_assert(cop_monitor_running(store));
    CHECK_OK(cop_monitor_stop(store));
    ck_assert(!cop_monitor_running(store));
    t_close(store);
}
END_TEST

START_TEST(every_commit_is_measured)
{
    cop_store *store = open_monitored(1);
    commits(store, 100);
    cop_measurements *m = taken(store);
    parts_add_up(m);
    cop_distribution whole = distribution(m, COP_MEASURE_COMMIT);
    ck_assert_uint_eq(whole.count, 100);
    ck_assert_uint_gt(whole.sum, 0);
    ck_assert(whole.p50 <= whole.p90 && whole.p90 <= whole.p99 && whole.p99 <= whole.p999 &&
              whole.p999 <= whole.greatest);
    ck_assert_uint_eq(distribution(m, COP_MEASURE_BATCH).sum, 100);
    ck_assert_uint_eq(distribution(m, COP_MEASURE_BATCH).greatest, 1);
    ck_assert_uint_eq(distribution(m, COP_MEASURE_OPERATIONS).sum, 100);
    ck_assert_uint_eq(distribution(m, COP_MEASURE_QUEUE_WAIT).count, 0);
    ck_assert_uint_eq(distribution(m, COP_MEASURE_NOTIFY).count, 0);
    cop_measurements_free(m);
    t_close(store);
}
END_TEST

/* Measurements are as large as what is in use. */
START_TEST(measurements_are_small)
{
    cop_store *store = open_monitored(1);
    cop__monitor_record(store, COP_MEASURE_SERIALIZE, 5);
    for (uint64_t n = 0; n < 3; n++) {
        cop_measurements *m = taken(store);
        ck_assert_uint_eq(m->of[COP_MEASURE_QUEUE_WAIT].buckets, 0);
        ck_assert_uint_eq(m->of[COP_MEASURE_NOTIFY].buckets, n);
        ck_assert_uint_eq(m->bytes, sizeof *m + (n + 1) * sizeof(cop__used_bucket));
        for (uint32_t i = 0; i < n; i++)
            ck_assert_uint_eq(m->of[COP_MEASURE_NOTIFY].bucket[i].up_to, (i + 1) * (i + 2) / 2);
        cop_measurements_free(m);
        for (uint64_t i = 0; i <= n; i++)
            cop__monitor_record(store, COP_MEASURE_NOTIFY, n * 1000);
    }
    t_close(store);
}
END_TEST

START_TEST(a_commit_that_publishes_nothing_is_whole)
{
    cop_store *store = open_monitored(1);
    cop_atom atom = t_make(store, "x", cop_i64(1));
    t_set(store, atom, cop_i64(1)); /* no net change */
    cop_txn *txn = t_begin(store);
    CHECK_OK(cop_txn_erase(txn, atom));
    CHECK_OK(cop_txn_erase(txn, atom)); /* gone by then: refused */
    t_commit_fails(store, txn, COP_E_GONE);
    cop_measurements *m = taken(store);
    parts_add_up(m);
    ck_assert_uint_eq(distribution(m, COP_MEASURE_COMMIT).count, 3);
    cop_measurements_free(m);
    t_close(store);
}
END_TEST

START_TEST(a_commit_without_memory_is_whole)
{
    cop_store *store = open_monitored(1);
    cop_atom atom = t_make(store, "x", cop_i64(1));
    uint64_t before = count_now(store, COP_MEASURE_COMMIT);
    char *text = t_bytes(3000000, 1);
    for (unsigned k = 1; k < 4; k++) {
        cop_txn *txn = t_begin(store);
        cop_value value = cop_text(COP_STRING, text, 3000000);
        CHECK_OK(cop_txn_set(txn, atom, &value));
        fault_alloc_arm(&t_faults, 1, true);
        t_commit_fails(store, txn, COP_E_MEMORY);
        fault_alloc_disarm(&t_faults);
    }
    free(text);
    cop_measurements *m = taken(store);
    parts_add_up(m);
    ck_assert_uint_eq(distribution(m, COP_MEASURE_COMMIT).count, before + 3);
    cop_measurements_free(m);
    t_close(store);
}
END_TEST

START_TEST(one_in_n_stands_for_n)
{
    cop_store *store = open_monitored(10);
    commits(store, 1000);
    cop_measurements *m = taken(store);
    parts_add_up(m);
    ck_assert_uint_eq(distribution(m, COP_MEASURE_COMMIT).count, 1000);
    ck_assert_uint_eq(distribution(m, COP_MEASURE_OPERATIONS).sum, 1000);
    cop_measurements_free(m);
    commits(store, 9);
    ck_assert_uint_eq(count_now(store, COP_MEASURE_COMMIT), 1000);
    t_close(store);
}
END_TEST

/* How often depends on what measuring costs, which the test sets. */
START_TEST(the_choice_follows_the_cost)
{
    cop_store *store = open_monitored(0);
    cop__monitor *monitor = atomic_load(&store->monitor);
    monitor->cost_ns = 0;
    commits(store, 200);
    ck_assert_uint_eq(count_now(store, COP_MEASURE_COMMIT), 200);
    ck_assert_uint_eq(atomic_load(&monitor->stamp), COP_STAMP_ALL);
    monitor->cost_ns = UINT64_MAX / 64;
    commits(store, 20000);
    ck_assert_uint_eq(atomic_load(&monitor->stamp), COP_STAMP_NEXT);
    cop_measurements *m = taken(store);
    cop_distribution d = distribution(m, COP_MEASURE_COMMIT);
    /* What has come since the last that was measured is not in it: at most one gap. */
    ck_assert_msg(d.count > 20200 - 2048 && d.count <= 20200, "%" PRIu64, d.count);
    parts_add_up(m);
    cop_measurements_free(m);
    t_close(store);
}
END_TEST

START_TEST(waiting_in_the_queue_is_measured)
{
    cop_store *store = open_monitored(1);
    cop_atom atom = t_make(store, "x", cop_i64(1));
    for (unsigned i = 0; i < 10; i++) {
        cop_txn *txn = t_begin(store);
        cop_value one = cop_i64(1);
        CHECK_OK(cop_txn_add(txn, atom, &one));
        CHECK_OK(cop_txn_submit(txn, NULL));
    }
    struct timespec nap = {0, 2000000};
    nanosleep(&nap, NULL);
    CHECK_OK(cop_flush(store, COP_FOREVER));
    cop_measurements *m = taken(store);
    cop_distribution wait = distribution(m, COP_MEASURE_QUEUE_WAIT);
    ck_assert_uint_eq(wait.count, 11); /* a flush is queued too */
    ck_assert_uint_ge(wait.sum, 20000000);
    ck_assert_uint_ge(cop_measurements_quantile(m, COP_MEASURE_QUEUE_WAIT, 0.5), 1990000);
    ck_assert_uint_eq(distribution(m, COP_MEASURE_BATCH).greatest, 11);
    cop_measurements_free(m);
    t_close(store);
}
END_TEST

START_TEST(one_that_waited_stands_for_those_since)
{
    cop_store *store = open_monitored(1000);
    cop_atom atom = t_make(store, "x", cop_i64(1));
    for (unsigned i = 0; i < 3000; i++) {
        cop_txn *txn = t_begin(store);
        cop_value value = cop_i64((int64_t)i);
        CHECK_OK(cop_txn_set(txn, atom, &value));
        CHECK_OK(cop_txn_submit(txn, NULL));
        CHECK_OK(cop_store_poll(store));
    }
    uint64_t told = count_now(store, COP_MEASURE_QUEUE_WAIT);
    ck_assert_msg(told > 1900 && told <= 3000, "%" PRIu64, told);
    ck_assert_uint_eq(count_now(store, COP_MEASURE_COMMIT), 3000);
    t_close(store);
}
END_TEST

static int
swallow(void *context, const char *bytes, size_t n)
{
    (void)context;
    (void)bytes;
    (void)n;
    return 0;
}

START_TEST(others_record_too)
{
    cop_store *store = open_monitored(1);
    t_set_at(store, "a/b", cop_i64(1));
    cop_pin_t pin = cop_pin(store);
    CHECK_OK(cop_json_write(pin.snapshot, t_find(store, "a"), NULL, swallow, NULL));
    cop_unpin(pin);
    ck_assert_uint_eq(count_now(store, COP_MEASURE_SERIALIZE), 1);
    cop__monitor_record(store, COP_MEASURE_NOTIFY, 123);
    cop__monitor_took(store, COP_MEASURE_NOTIFY, cop__monitor_clock(store));
    cop_measurements *m = taken(store);
    ck_assert_uint_eq(distribution(m, COP_MEASURE_NOTIFY).count, 2);
    cop_measurements_free(m);
    t_close(store);
}
END_TEST

START_TEST(starting_again_begins_with_nothing)
{
    cop_store *store = open_monitored(1);
    commits(store, 10);
    CHECK_OK(cop_monitor_stop(store));
    commits(store, 10);
    ck_assert_uint_eq(count_now(store, COP_MEASURE_COMMIT), 10);
    ck_assert_uint_eq(count_now(store, COP_MEASURE_COMMIT), 10);
    CHECK_OK(cop_monitor_start(store, NULL, NULL));
    ck_assert_uint_eq(count_now(store, COP_MEASURE_COMMIT), 0);
    CHECK_OK(cop_monitor_start(store, NULL, NULL)); /* on already */
    t_close(store);
}
END_TEST

static int
compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Percentiles against a sorted array. */
START_TEST(quantiles_are_those_of_the_values)
{
    enum { N = 20000 };
    static uint64_t value[N];
    cop_store *store = open_monitored(1);
    uint64_t state = 7, sum = 0;
    for (unsigned i = 0; i < N; i++) {
        state = state * UINT64_C(6364136223846793005) + 1442695040888963407u;
        value[i] = (state >> 20) >> (2 + (state & 31)); /* all sizes up to 2^42 */
        sum += value[i];
        cop__monitor_record(store, COP_MEASURE_NOTIFY, value[i]);
    }
    qsort(value, N, sizeof *value, compare_u64);
    cop_measurements *m = taken(store);
    static const double parts[] = {0.0001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 0.9999};
    for (unsigned i = 0; i < sizeof parts / sizeof *parts; i++) {
        uint64_t right = value[(unsigned)(parts[i] * N + 0.999999) - 1];
        uint64_t got = cop_measurements_quantile(m, COP_MEASURE_NOTIFY, parts[i]);
        uint64_t off = got > right ? got - right : right - got;
        ck_assert_msg(off * 250 <= right, "%g: %" PRIu64 ", should be %" PRIu64, parts[i], got,
                      right);
        uint64_t below = cop_measurements_at_most(m, COP_MEASURE_NOTIFY, right);
        ck_assert_uint_ge(below, (uint64_t)(parts[i] * N));
        ck_assert_uint_le(below, (uint64_t)(parts[i] * N * 1.02 + 200));
    }
    cop_distribution d = distribution(m, COP_MEASURE_NOTIFY);
    ck_assert_uint_eq(d.sum, sum);
    ck_assert_uint_eq(d.count, N);
    ck_assert_uint_eq(d.greatest, value[N - 1]);
    ck_assert_uint_eq(cop_measurements_quantile(m, COP_MEASURE_NOTIFY, 1), value[N - 1]);
    ck_assert_uint_eq(cop_measurements_quantile(m, COP_MEASURE_NOTIFY, 17), value[N - 1]);
    ck_assert_uint_eq(cop_measurements_quantile(m, COP_MEASURE_NOTIFY, -1),
                      cop_measurements_quantile(m, COP_MEASURE_NOTIFY, 0));
    ck_assert_uint_eq(cop_measurements_quantile(m, COP_MEASURE_QUEUE_WAIT, 0.5), 0);
    cop_measurements_free(m);
    t_close(store);
}
END_TEST

START_TEST(what_is_wrong_is_refused)
{
    cop_store *store = t_open();
    cop_monitor_options options = COP_MONITOR_OPTIONS_INIT;
    cop_error error = COP_ERROR_INIT;
    options.size = 3;
    CHECK_STATUS(cop_monitor_start(store, &options, &error), COP_E_INVALID);
    ck_assert(error.message[0] != '\0');
    CHECK_OK(cop_monitor_start(store, NULL, NULL));
    cop_measurements *m = taken(store);
    cop_distribution d = COP_DISTRIBUTION_INIT;
    CHECK_STATUS(cop_measurements_of(m, COP_MEASURES, &d), COP_E_INVALID);
    CHECK_STATUS(cop_measurements_of(m, COP_MEASURE_APPLY, NULL), COP_E_INVALID);
    d.size = 1;
    CHECK_STATUS(cop_measurements_of(m, COP_MEASURE_APPLY, &d), COP_E_INVALID);
    ck_assert_uint_eq(cop_measurements_quantile(m, COP_MEASURES, 0.5), 0);
    ck_assert_uint_eq(cop_measurements_at_most(m, COP_MEASURES, 5), 0);
    ck_assert_str_eq(cop_measure_name(COP_MEASURE_APPLY), "apply");
    ck_assert_str_eq(cop_measure_name(COP_MEASURES), "unknown");
    cop_measurements_free(m);
    cop_measurements_free(NULL);
    cop__evaluating = true;
    CHECK_STATUS(cop_monitor_start(store, NULL, &error), COP_E_IN_EVALUATION);
    CHECK_STATUS(cop_monitor_stop(store), COP_E_IN_EVALUATION);
    cop__evaluating = false;
    t_close(store);
}
END_TEST

START_TEST(memory_may_be_refused)
{
    cop_store *store = t_open();
    cop__memory *memory = cop__store_memory(store);
    cop_error error = COP_ERROR_INIT;
    atomic_store(&memory->fail_countdown, 0);
    CHECK_STATUS(cop_monitor_start(store, NULL, &error), COP_E_MEMORY);
    atomic_store(&memory->fail_countdown, -1);
    ck_assert(!cop_monitor_running(store));
    CHECK_OK(cop_monitor_start(store, NULL, NULL));
    commits(store, 1);
    cop_measurements *m = (cop_measurements *)(uintptr_t)1;
    fault_alloc_arm(&t_faults, 1, false);
    CHECK_STATUS(cop_monitor_take(store, COP_FOREVER, &m), COP_E_MEMORY);
    ck_assert_ptr_null(m);
    ck_assert_uint_eq(count_now(store, COP_MEASURE_COMMIT), 1); /* nothing was lost */
    t_close(store);
}
END_TEST

/* A thread that was stopped inside a section holds up readers until their deadline, and nothing is
 * lost or counted twice. */
START_TEST(a_reader_gives_up_at_its_deadline)
{
    cop_store *store = open_monitored(1);
    cop__monitor *monitor = atomic_load(&store->monitor);
    cop_measurements *m = NULL;
    commits(store, 3);
    int64_t ticket = cop__phaser_enter(&monitor->phaser);
    cop__monitor_block *block = monitor->block[cop__phaser_side(ticket)];
    CHECK_STATUS(cop_monitor_take(store, cop_deadline_in_ms(5), &m), COP_E_TIMEOUT);
    commits(store, 4); /* commits do not mind */
    CHECK_STATUS(cop_monitor_take(store, cop_deadline_in_ms(5), &m), COP_E_TIMEOUT);
    cop__histogram_add_shared(&block->of[COP_MEASURE_NOTIFY], 5);
    cop__phaser_leave(&monitor->phaser, ticket);
    m = taken(store);
    ck_assert_uint_eq(distribution(m, COP_MEASURE_COMMIT).count, 7);
    ck_assert_uint_eq(distribution(m, COP_MEASURE_NOTIFY).count, 1);
    cop_measurements_free(m);
    CHECK_OK(cop__monitor_lock(monitor, COP_FOREVER)); /* another reader is at it */
    CHECK_STATUS(cop_monitor_take(store, cop_deadline_in_ms(5), &m), COP_E_TIMEOUT);
    pthread_mutex_unlock(&monitor->reader->lock);
    t_close(store);
}
END_TEST

START_TEST(measurements_outlive_the_store)
{
    cop_store *store = open_monitored(1);
    commits(store, 5);
    cop_measurements *m = taken(store);
    cop_store_close(store);
    ck_assert_uint_eq(distribution(m, COP_MEASURE_COMMIT).count, 5);
    cop_measurements_free(m);
    t_all_released();
}
END_TEST

START_TEST(a_closing_store_refuses)
{
    cop_store *store = open_monitored(1);
    const cop_snapshot *held = t_take(store); /* keeps it from going */
    cop_measurements *m = NULL;
    cop_error error = COP_ERROR_INIT;
    cop_store_close(store);
    CHECK_STATUS(cop_monitor_start(store, NULL, &error), COP_E_CLOSING);
    CHECK_STATUS(cop_monitor_stop(store), COP_E_CLOSING);
    CHECK_STATUS(cop_monitor_take(store, COP_FOREVER, &m), COP_E_CLOSING);
    cop_snapshot_drop(held);
    t_all_released();
}
END_TEST

/* Cut to fit, with its end. */
START_TEST(a_path_is_cut)
{
    cop_store *store = t_open();
    char path[COP_OVERRUN_PATH + 8], got[COP_OVERRUN_PATH];
    cop_atom gone = {4000, 1}, none = {0, 0};

    for (size_t n = COP_OVERRUN_PATH - 2; n <= COP_OVERRUN_PATH + 1; n++) {
        memset(path, 'p', n);
        path[n] = '\0';
        cop_atom atom = t_make(store, path, cop_i64(1));
        cop_pin_t pin = cop_pin(store);
        memset(got, 'x', sizeof got);
        cop__monitor_path(pin.snapshot, atom, got);
        path[n < sizeof got ? n : sizeof got - 1] = '\0';
        ck_assert_str_eq(got, path);
        cop__monitor_path(pin.snapshot, gone, got);
        ck_assert_str_eq(got, "");
        got[0] = 'x';
        cop__monitor_path(pin.snapshot, none, got);
        ck_assert_str_eq(got, "");
        got[0] = 'x';
        cop__monitor_path(NULL, atom, got);
        ck_assert_str_eq(got, "");
        cop_unpin(pin);
    }
    t_close(store);
}
END_TEST

/* The budget of the store's options is in milliseconds. */
START_TEST(the_options_budget)
{
    cop_store *store;
    cop_options options = COP_OPTIONS_INIT;

    fault_alloc_init(&t_faults);
    options.allocator = fault_alloc_table(&t_faults);
    options.performance_budget_ms = 7;
    CHECK_OK(cop_store_open(&options, &store, NULL));
    CHECK_OK(cop_monitor_start(store, NULL, NULL));
    cop__monitor *monitor = atomic_load(&store->monitor);
    ck_assert_uint_eq(monitor->budget_ns, 7000000);
    for (unsigned kind = 0; kind < COP_OVERRUNS; kind++)
        ck_assert_uint_eq(monitor->budgets->limit_ns[kind], 7000000);
    t_close(store);
}
END_TEST

START_TEST(the_option_switches_it)
{
    cop_options options = COP_OPTIONS_INIT;
    cop_error error = COP_ERROR_INIT;
    cop_store *store = NULL;
    fault_alloc_init(&t_faults);
    options.allocator = fault_alloc_table(&t_faults);
    options.performance_monitor = 1;
    CHECK_OK(cop_store_open(&options, &store, NULL));
    ck_assert(cop_monitor_running(store));
    cop_options next = COP_OPTIONS_INIT;
    CHECK_OK(cop_store_options(store, &next));
    next.performance_monitor = 0;
    CHECK_OK(cop_store_reconfigure(store, &next, COP_FOREVER, NULL));
    ck_assert(!cop_monitor_running(store));
    next.performance_monitor = 1;
    CHECK_OK(cop_store_reconfigure(store, &next, COP_FOREVER, NULL));
    ck_assert(cop_monitor_running(store));
    t_close(store);
    store = t_open();
    atomic_store(&cop__store_memory(store)->fail_countdown, 0);
    CHECK_OK(cop_store_options(store, &next));
    next.performance_monitor = 1;
    CHECK_STATUS(cop_store_reconfigure(store, &next, COP_FOREVER, &error), COP_E_MEMORY);
    CHECK_OK(cop_store_options(store, &next));
    ck_assert_uint_eq(next.performance_monitor, 0);
    t_close(store);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_test(tests, the_option_switches_it);
    tcase_add_test(tests, the_options_budget);
    tcase_add_test(tests, a_path_is_cut);
    tcase_add_test(tests, off_until_started);
    tcase_add_test(tests, every_commit_is_measured);
    tcase_add_test(tests, measurements_are_small);
    tcase_add_test(tests, a_commit_that_publishes_nothing_is_whole);
    tcase_add_test(tests, a_commit_without_memory_is_whole);
    tcase_add_test(tests, one_in_n_stands_for_n);
    tcase_add_test(tests, the_choice_follows_the_cost);
    tcase_add_test(tests, waiting_in_the_queue_is_measured);
    tcase_add_test(tests, one_that_waited_stands_for_those_since);
    tcase_add_test(tests, others_record_too);
    tcase_add_test(tests, starting_again_begins_with_nothing);
    tcase_add_test(tests, quantiles_are_those_of_the_values);
    tcase_add_test(tests, what_is_wrong_is_refused);
    tcase_add_test(tests, memory_may_be_refused);
    tcase_add_test(tests, a_reader_gives_up_at_its_deadline);
    tcase_add_test(tests, measurements_outlive_the_store);
    tcase_add_test(tests, a_closing_store_refuses);
}

int
main(void)
{
    return t_run("monitor", add);
}

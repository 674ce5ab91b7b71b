/* SPDX-License-Identifier: MIT */
/*
 * The rules of parallel loops one by one, on one thread: how long chunks are, who is called to
 * help, what stops a loop, what is reported when. The code of loops is compiled into this program
 * with a clock, a sleep and a pool that the tests tell what to do; helpers run where a test has
 * them run.
 */
#include <stdio.h>

#include "tests/support/workers_test.h"
#include "workers/pool_internal.h"

/* --- the clock, the pool, sleeping --------------------------------------------------------------
 */

static uint64_t clock_now, slept_until;
static unsigned sleeps, wakes;
static uint32_t pool_threads, asked_for, accepted; /* helpers */
static unsigned calls;                             /* for helpers */
static cop_task_function helper;
static void *helper_context;
static void (*at_sleep)(void);
static bool locked;

static uint64_t
told_clock(void)
{
    return clock_now;
}

static void
told_wait(_Atomic uint32_t *word, uint32_t value, uint64_t deadline)
{
    ck_assert_uint_eq(atomic_load(word), value);
    ck_assert_uint_lt(sleeps++, 10); /* else nobody wakes it */
    slept_until = deadline;
    at_sleep();
}

static void
told_wake(_Atomic uint32_t *word, int n)
{
    (void)word;
    ck_assert_int_eq(n, 1);
    wakes++;
}

static uint32_t
told_threads(const cop_pool *p)
{
    return p ? pool_threads : 0;
}

static uint32_t
told_submit(cop_pool *p, cop_task_function function, void *context, uint32_t n)
{
    (void)p;
    calls++;
    asked_for = n;
    helper = function;
    helper_context = context;
    accepted = accepted < n ? accepted : n;
    return accepted;
}

static int
told_lock(pthread_mutex_t *lock)
{
    ck_assert_int_eq(pthread_mutex_trylock(lock), 0);
    locked = true;
    return 0;
}

static int
told_unlock(pthread_mutex_t *lock)
{
    ck_assert(locked);
    locked = false;
    return pthread_mutex_unlock(lock);
}

#define cop__clock_ns told_clock
#define cop__futex_wait told_wait
#define cop__futex_wake told_wake
#define cop_pool_threads told_threads
#define cop__pool_submit_many told_submit
#define pthread_mutex_lock told_lock
#define pthread_mutex_unlock told_unlock
#include "workers/parallel_for.c" /* NOLINT(bugprone-suspicious-include) */

/* --- a loop that is written down ----------------------------------------------------------------
 */

static cop_pool pool;
static _Atomic uint64_t alive = 1;
static char handled[512]; /* "begin-end" of each range, in order; "!" where it failed */
static uint64_t cost;     /* ns an index */
static uint64_t fails_at, stops_at;
static uint64_t helps_at; /* a helper comes in the range that begins there */
static cop_status failure;
static cop_parallel_options options;

static void
write_down(const char *format, uint64_t a, uint64_t b)
{
    size_t n = strlen(handled);

    n += (size_t)snprintf(handled + n, sizeof handled - n, "%s", n ? " " : "");
    snprintf(handled + n, sizeof handled - n, format, (unsigned long long)a, (unsigned long long)b);
}

static void
help_once(void)
{
    ck_assert_uint_gt(accepted, 0);
    accepted--;
    helper(helper_context);
}

static void
help_all(void)
{
    while (accepted > 0)
        help_once();
}

static cop_status
write_range(void *context, uint64_t begin, uint64_t end)
{
    ck_assert_ptr_eq(context, handled);
    write_down(begin == fails_at ? "%llu-%llu!" : "%llu-%llu", begin, end);
    clock_now += cost * (end - begin);
    if (begin == helps_at)
        help_once();
    return begin == fails_at ? failure : COP_OK;
}

static int
write_progress(void *context, uint64_t done, uint64_t total)
{
    ck_assert_ptr_eq(context, &options);
    write_down("(%llu/%llu)", done, total);
    return done == stops_at;
}

static void
begin(uint32_t n)
{
    memset(&pool, 0, sizeof pool);
    pool.alive = &alive;
    pool_threads = n;
    clock_now = 1000;
    cost = 0;
    fails_at = stops_at = helps_at = UINT64_MAX;
    failure = COP_E_IO;
    sleeps = wakes = calls = asked_for = 0;
    slept_until = 0;
    accepted = UINT32_MAX;
    at_sleep = help_all;
    options = (cop_parallel_options)COP_PARALLEL_OPTIONS_INIT;
}

static void
check_loop(uint64_t count, cop_status status, const char *expected)
{
    handled[0] = '\0';
    CHECK_STATUS(cop_parallel_for(&pool, count, write_range, handled, &options), status);
    ck_assert_str_eq(handled, expected);
    if (asked_for > 0)
        help_all(); /* those that come late find nothing, and the last frees the loop */
    ck_assert_str_eq(handled, expected);
}

/* --- chunks -------------------------------------------------------------------------------------
 */

/* Twice as long each time, until one takes 50 us; then as long as that. */
START_TEST(chunks_by_their_cost)
{
    begin(0);
    options.deadline = UINT64_MAX - 1;
    check_loop(40, COP_OK, "0-1 1-3 3-7 7-15 15-31 31-40");
    cost = 1000;
    check_loop(250, COP_OK, "0-1 1-3 3-7 7-15 15-31 31-63 63-113 113-163 163-213 213-250");
    cost = 12500; /* four take 50 us */
    check_loop(10, COP_OK, "0-1 1-3 3-7 7-10");
    cost = 60000;
    check_loop(3, COP_OK, "0-1 1-2 2-3");
}
END_TEST

/* Alone and asked for nothing there is one; of given chunks all but the last are full. */
START_TEST(chunks_as_given)
{
    begin(0);
    check_loop(40, COP_OK, "0-40");
    check_loop(0, COP_OK, "");
    check_loop(1, COP_OK, "0-1");
    options.chunk = 16;
    check_loop(40, COP_OK, "0-16 16-32 32-40");
    check_loop(32, COP_OK, "0-16 16-32");
    ck_assert_uint_eq(asked_for, 0);
}
END_TEST

/* With others a chunk is no more than a part of what is left. */
START_TEST(chunks_among_some)
{
    begin(1);
    check_loop(16, COP_OK, "0-1 1-3 3-7 7-10 10-12 12-14 14-15 15-16");
    ck_assert_uint_eq(asked_for, 1);
}
END_TEST

/* --- helpers ------------------------------------------------------------------------------------
 */

static void
check_helpers(uint32_t n, uint64_t count, uint64_t chunk, uint32_t helpers)
{
    begin(n);
    options.chunk = chunk;
    handled[0] = '\0';
    CHECK_OK(cop_parallel_for(&pool, count, write_range, handled, &options));
    ck_assert_uint_eq(asked_for, helpers);
    ck_assert_uint_eq(calls, helpers > 0); /* alone a loop asks for none */
    if (asked_for > 0)
        help_all();
}

/* One for each thread, but not more than there are ranges beside the caller's first. */
START_TEST(how_many_help)
{
    check_helpers(3, 100, 0, 3);
    check_helpers(3, 4, 0, 3);
    check_helpers(3, 3, 0, 2);
    check_helpers(3, 2, 0, 1);
    check_helpers(3, 1, 0, 0);
    check_helpers(0, 100, 0, 0);
    check_helpers(9, 30, 10, 2);
    check_helpers(9, 31, 10, 3);
    check_helpers(2, 31, 10, 2);
}
END_TEST

/* The loop lives until the last of those that were accepted has gone, and no longer. */
START_TEST(some_are_refused)
{
    for (uint32_t n = 0; n <= 3; n++) {
        begin(3);
        accepted = n;
        options.chunk = 10;
        check_loop(40, COP_OK, "0-10 10-20 20-30 30-40");
        ck_assert_uint_eq(asked_for, 3);
        ck_assert_uint_eq(accepted, 0);
    }
}
END_TEST

/* --- waiting ------------------------------------------------------------------------------------
 */

static struct loop *of_others;

/* As if another thread had the rest in hand. */
static cop_status
take_the_rest(void *context, uint64_t from, uint64_t to)
{
    (void)context;
    (void)to;
    of_others = helper_context;
    ck_assert_uint_eq(claim_the_rest(of_others), of_others->count - from - 1);
    return COP_OK;
}

static void
end_two(void)
{
    clock_now += 5000000;
    uint32_t before = atomic_load(&of_others->ended);
    end_indices(of_others, 2);
    ck_assert_uint_ne(atomic_load(&of_others->ended), before); /* else a wait could miss it */
}

static void
check_sleep(uint64_t until, unsigned times, const char *expected)
{
    handled[0] = '\0';
    at_sleep = end_two;
    CHECK_OK(cop_parallel_for(&pool, 7, take_the_rest, handled, &options));
    help_all();
    ck_assert_uint_eq(slept_until, until);
    ck_assert_uint_eq(sleeps, times);
    ck_assert_uint_eq(wakes, times);
    ck_assert_str_eq(handled, expected);
}

/* The caller sleeps until the last has ended its range; when it reports, no longer than 5 ms at a
 * time. */
START_TEST(the_caller_sleeps)
{
    begin(2);
    options.chunk = 1;
    check_sleep(UINT64_MAX, 3, "");
    begin(2);
    options.chunk = 1;
    options.progress = write_progress;
    options.progress_context = &options;
    check_sleep(1000 + 10000000 + 5000000, 3, "(3/7) (5/7) (7/7)");
}
END_TEST

/* Nobody is woken who does not sleep. */
START_TEST(who_does_not_sleep_is_not_woken)
{
    begin(2);
    options.chunk = 1;
    helps_at = 0;
    check_loop(4, COP_OK, "0-1 1-2 2-3 3-4");
    ck_assert_uint_eq(sleeps + wakes, 0);
}
END_TEST

/* --- reports ------------------------------------------------------------------------------------
 */

/* Every 5 ms, and at the end. */
START_TEST(reports_by_the_clock)
{
    begin(0);
    options.chunk = 1;
    options.progress = write_progress;
    options.progress_context = &options;
    cost = 2500000;
    check_loop(6, COP_OK, "0-1 1-2 (2/6) 2-3 3-4 (4/6) 4-5 5-6 (6/6)");
    cost = 2499999;
    check_loop(6, COP_OK, "0-1 1-2 2-3 (3/6) 3-4 4-5 5-6 (6/6)");
    cost = 5000000;
    check_loop(2, COP_OK, "0-1 (1/2) 1-2 (2/2)");
    options.chunk = 0; /* begins with one */
    cost = 0;
    check_loop(4, COP_OK, "0-1 1-3 3-4 (4/4)");
}
END_TEST

/* --- stopping -----------------------------------------------------------------------------------
 */

START_TEST(what_stops_a_loop)
{
    begin(0);
    options.chunk = 1;
    fails_at = 2;
    check_loop(6, COP_E_IO, "0-1 1-2 2-3!");
    fails_at = 5; /* the last one counts as well */
    check_loop(6, COP_E_IO, "0-1 1-2 2-3 3-4 4-5 5-6!");
    fails_at = 0;
    check_loop(6, COP_E_IO, "0-1!");
    failure = 1; /* is none */
    check_loop(2, COP_OK, "0-1! 1-2");
    fails_at = UINT64_MAX;
    options.progress = write_progress;
    options.progress_context = &options;
    cost = 5000000;
    stops_at = 2;
    check_loop(6, COP_E_CANCELLED, "0-1 (1/6) 1-2 (2/6)");
    stops_at = 6; /* too late */
    check_loop(6, COP_OK, "0-1 (1/6) 1-2 (2/6) 2-3 (3/6) 3-4 (4/6) 4-5 (5/6) 5-6 (6/6)");
}
END_TEST

START_TEST(deadlines)
{
    begin(0);
    cost = 100;
    options.chunk = 1;
    options.deadline = 1200;
    check_loop(6, COP_E_TIMEOUT, "0-1 1-2");
    options.deadline = clock_now + 201;
    check_loop(6, COP_E_TIMEOUT, "0-1 1-2 2-3");
    options.deadline = clock_now + 600; /* when all is done there is nothing left to stop */
    check_loop(6, COP_OK, "0-1 1-2 2-3 3-4 4-5 5-6");
    options.deadline = clock_now;
    check_loop(6, COP_E_TIMEOUT, "");
}
END_TEST

static cop_status
fail_by_place(void *context, uint64_t from, uint64_t to)
{
    (void)write_range(context, from, to);
    return from == 0 ? COP_E_PATH : COP_E_TYPE;
}

/* Of two failures the lower range's counts, whichever comes first; and one counts more than what
 * else stops a loop. */
START_TEST(the_lower_failure)
{
    loop l;

    begin(2);
    options.chunk = 1;
    helps_at = 0; /* and then fails, after the helper's */
    handled[0] = '\0';
    CHECK_STATUS(cop_parallel_for(&pool, 6, fail_by_place, handled, &options), COP_E_PATH);
    ck_assert_str_eq(handled, "0-1 1-2");
    help_all();
    loop_init(&l, 1, 1, &options);
    stop(&l, COP_E_TIMEOUT, UINT64_MAX);
    stop(&l, COP_E_CANCELLED, UINT64_MAX); /* when nothing is left */
    CHECK_STATUS(l.status, COP_E_TIMEOUT);
    stop(&l, COP_E_IO, 5);
    stop(&l, COP_E_TYPE, 5);
    stop(&l, COP_E_TYPE, 6);
    stop(&l, COP_E_TIMEOUT, UINT64_MAX);
    CHECK_STATUS(l.status, COP_E_IO);
    stop(&l, COP_E_PATH, 4);
    CHECK_STATUS(l.status, COP_E_PATH);
    ck_assert_uint_eq(atomic_load(&l.done), 1);
    pthread_mutex_destroy(&l.lock);
}
END_TEST

/* A deadline that passes while a range fails does not hide the failure, nor one before it. */
START_TEST(a_failure_before_a_deadline)
{
    begin(2);
    options.chunk = 1;
    options.deadline = 1050;
    cost = 100;
    helps_at = 0;
    fails_at = 0;
    check_loop(6, COP_E_IO, "0-1!"); /* the helper finds the time over, then the range fails */
    begin(2);
    options.chunk = 1;
    options.deadline = 1150;
    cost = 100;
    helps_at = 0;
    fails_at = 1;
    check_loop(6, COP_E_IO, "0-1 1-2!");
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_test(tests, chunks_by_their_cost);
    tcase_add_test(tests, chunks_as_given);
    tcase_add_test(tests, chunks_among_some);
    tcase_add_test(tests, how_many_help);
    tcase_add_test(tests, some_are_refused);
    tcase_add_test(tests, the_caller_sleeps);
    tcase_add_test(tests, who_does_not_sleep_is_not_woken);
    tcase_add_test(tests, reports_by_the_clock);
    tcase_add_test(tests, what_stops_a_loop);
    tcase_add_test(tests, deadlines);
    tcase_add_test(tests, the_lower_failure);
    tcase_add_test(tests, a_failure_before_a_deadline);
}

int
main(void)
{
    return run_suite("loop rules", add);
}

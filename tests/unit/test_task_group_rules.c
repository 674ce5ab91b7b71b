/* SPDX-License-Identifier: MIT */
/*
 * The rules of task groups one by one, on one thread: where tasks lie, who starts which, and how
 * one waits. The code of task groups is compiled into this program with a clock, a sleep and a pool
 * that the tests tell what to do; helpers run where a test has them run.
 */
#include "tests/support/workers_test.h"
#include "workers/pool_internal.h"

/* --- the clock, the pool, sleeping --------------------------------------------------------------
 */

static uint64_t clock_now;
static unsigned clock_looks, pauses, sleeps, wakes;
static void (*at_sleep)(void);
static uint32_t pool_threads;
static cop_status submitted; /* what the pool answers */
static cop_task_function helper;
static unsigned helpers;
static int locked;

static uint64_t
told_clock(void)
{
    clock_looks++;
    return clock_now;
}

static void
told_pause(void)
{
    pauses++;
}

static void
told_wait(_Atomic uint32_t *word, uint32_t value, uint64_t deadline)
{
    (void)deadline;
    ck_assert_uint_eq(atomic_load(word), value);
    ck_assert_uint_lt(sleeps++, 10); /* else nobody wakes it */
    at_sleep();
    ck_assert_uint_ne(atomic_load(word), value); /* else a wait could miss it */
}

static void
told_wake(_Atomic uint32_t *word, int n)
{
    (void)word;
    ck_assert_int_eq(n, INT32_MAX);
    wakes++;
}

static uint32_t
told_threads(const cop_pool *p)
{
    return p ? pool_threads : 0;
}

static cop_status
told_submit(cop_pool *p, cop_task_function function, void *context)
{
    (void)p;
    (void)context;
    helper = function;
    helpers += submitted == COP_OK;
    return submitted;
}

static int
told_lock(pthread_mutex_t *lock)
{
    ck_assert_int_eq(pthread_mutex_trylock(lock), 0);
    locked++;
    return 0;
}

static int
told_unlock(pthread_mutex_t *lock)
{
    ck_assert_int_eq(locked--, 1);
    return pthread_mutex_unlock(lock);
}

#define cop__clock_ns told_clock
#define cop__pause told_pause
#define cop__futex_wait told_wait
#define cop__futex_wake told_wake
#define cop_pool_threads told_threads
#define cop_pool_submit told_submit
#define pthread_mutex_lock told_lock
#define pthread_mutex_unlock told_unlock
#include "workers/task_group.c" /* NOLINT(bugprone-suspicious-include) */

/* --- a group of numbered tasks ------------------------------------------------------------------
 */

enum { TASKS = 100 };

static cop_pool pool;
static _Atomic uint64_t alive = 1;
static cop_task_group *group;
static unsigned ran[TASKS], ran_count, gone;
static unsigned numbers[TASKS];

static cop_status
note_run(cop_task_group *of, void *context, void **result)
{
    ck_assert_ptr_eq(of, group);
    ck_assert_ptr_null(*result);
    ran[ran_count++] = *(unsigned *)context;
    *result = context;
    return COP_OK;
}

static void
note_gone(void *context)
{
    gone += *(unsigned *)context > 0;
}

static void
add_tasks(unsigned first, unsigned last)
{
    for (unsigned i = first; i <= last; i++) {
        size_t index;
        numbers[i] = i;
        CHECK_OK(cop_task_group_add(group, note_run, &numbers[i], note_gone, &index));
        ck_assert_uint_eq(index, i - 1);
    }
}

static void
begin(uint32_t n)
{
    memset(&pool, 0, sizeof pool);
    pool.alive = &alive;
    pool_threads = n;
    submitted = COP_OK;
    clock_now = 1000;
    clock_looks = pauses = sleeps = wakes = helpers = ran_count = gone = 0;
    CHECK_OK(cop_task_group_open(&pool, &group));
}

static void
help_once(void)
{
    ck_assert_uint_gt(helpers, 0);
    helpers--;
    helper(group);
}

/* The last helper frees the group. */
static void
end_group(void)
{
    cop_task_group_close(group);
    while (helpers > 0)
        help_once();
}

static void
check_ran(unsigned last)
{
    ck_assert_uint_eq(ran_count, last);
    ck_assert_uint_eq(gone, last);
    for (unsigned i = 0; i < last; i++)
        ck_assert_uint_eq(ran[i], i + 1);
}

/* --- places -------------------------------------------------------------------------------------
 */

/* Blocks of 16, 32, 64 and so on, each full before the next. */
START_TEST(places)
{
    uint64_t index = 0, place;

    for (unsigned block = 0; block < 6; block++)
        for (uint64_t i = 0; i < UINT64_C(16) << block; i++, index++) {
            ck_assert_uint_eq(block_of(index, &place), block);
            ck_assert_uint_eq(place, i);
        }
    ck_assert_uint_eq(block_of((UINT64_C(1) << 63) - 16, &place), 59);
    ck_assert_uint_eq(place, 0);
}
END_TEST

/* --- who starts which ---------------------------------------------------------------------------
 */

/* One helper for each task, which starts the next that is not started, and no other. */
START_TEST(helpers_start_one_each)
{
    begin(2);
    add_tasks(1, 20);
    ck_assert_uint_eq(helpers, 20);
    ck_assert_uint_eq(cop_task_group_count(group), 20);
    for (unsigned i = 1; i <= 3; i++) {
        help_once();
        check_ran(i);
    }
    CHECK_OK(cop_task_group_wait(group, UINT64_MAX)); /* starts the others */
    check_ran(20);
    help_once(); /* finds nothing */
    check_ran(20);
    ck_assert_uint_eq(clock_looks + pauses + sleeps + wakes, 0);
    end_group();
}
END_TEST

/* Without threads there are none, and those who are refused are not waited for. */
START_TEST(without_helpers)
{
    begin(0);
    add_tasks(1, 3);
    ck_assert_uint_eq(helpers, 0);
    end_group(); /* cancels: they are gone and have not run */
    ck_assert_uint_eq(ran_count, 0);
    ck_assert_uint_eq(gone, 3);
    begin(1);
    submitted = COP_E_CLOSING;
    add_tasks(1, 3);
    CHECK_OK(cop_task_group_wait(group, UINT64_MAX));
    check_ran(3);
    end_group();
}
END_TEST

/* --- waiting ------------------------------------------------------------------------------------
 */

/* From its deadline on it begins none, and not before. */
START_TEST(deadlines)
{
    begin(0);
    add_tasks(1, 2);
    CHECK_STATUS(cop_task_group_wait(group, 1000), COP_E_TIMEOUT);
    ck_assert_uint_eq(ran_count, 0);
    CHECK_OK(cop_task_group_wait(group, 1001));
    check_ran(2);
    CHECK_OK(cop_task_group_wait(group, 0)); /* everything has ended */
    end_group();
}
END_TEST

static group_task *of_another; /* a task that another thread is in */

static void
another_ends(void)
{
    cop_task_outcome outcome;

    CHECK_OK(cop_task_group_outcome(group, 0, &outcome));
    CHECK_STATUS(outcome.status, COP_E_PENDING);
    ck_assert_ptr_null(outcome.result);
    of_another->result = &numbers[7];
    end(group, of_another, COP_E_IO);
    CHECK_OK(cop_task_group_outcome(group, 0, &outcome));
    CHECK_STATUS(outcome.status, COP_E_IO);
    ck_assert_ptr_eq(outcome.result, &numbers[7]);
}

/* It starts what there is, spins for what others are in, and then sleeps until one of them ends;
 * and only who sleeps is woken. */
START_TEST(waiting_for_others)
{
    begin(0);
    add_tasks(1, 2);
    of_another = claim(group);
    at_sleep = another_ends;
    CHECK_OK(cop_task_group_wait(group, UINT64_MAX));
    ck_assert_uint_eq(ran_count, 1);
    ck_assert_uint_eq(ran[0], 2);
    ck_assert_uint_eq(gone, 2);
    ck_assert_uint_eq(pauses, SPINS);
    ck_assert_uint_eq(clock_looks, 0);
    ck_assert_uint_eq(sleeps, 1);
    ck_assert_uint_eq(wakes, 1);
    add_tasks(3, 3);
    CHECK_OK(cop_task_group_wait(group, UINT64_MAX));
    ck_assert_uint_eq(wakes, 1);
    ck_assert_int_eq(locked, 0);
    end_group();
}
END_TEST

/* --- cancelling ---------------------------------------------------------------------------------
 */

START_TEST(cancelling)
{
    cop_task_outcome outcome;

    begin(3);
    add_tasks(1, 5);
    help_once();
    cop_task_group_cancel(group);
    ck_assert_uint_eq(ran_count, 1);
    ck_assert_uint_eq(gone, 5);
    ck_assert_uint_eq(sleeps + wakes + clock_looks, 0);
    for (size_t i = 0; i < 5; i++) {
        CHECK_OK(cop_task_group_outcome(group, i, &outcome));
        CHECK_STATUS(outcome.status, i == 0 ? COP_OK : COP_E_CANCELLED);
        ck_assert_ptr_eq(outcome.result, i == 0 ? &numbers[1] : NULL);
    }
    CHECK_STATUS(cop_task_group_outcome(group, 5, &outcome), COP_E_RANGE);
    CHECK_STATUS(cop_task_group_outcome(group, 0, NULL), COP_E_INVALID);
    CHECK_STATUS(cop_task_group_add(group, note_run, NULL, NULL, NULL), COP_E_CANCELLED);
    ck_assert_uint_eq(helpers, 4);
    end_group();
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_test(tests, places);
    tcase_add_test(tests, helpers_start_one_each);
    tcase_add_test(tests, without_helpers);
    tcase_add_test(tests, deadlines);
    tcase_add_test(tests, waiting_for_others);
    tcase_add_test(tests, cancelling);
}

int
main(void)
{
    return run_suite("task group rules", add);
}

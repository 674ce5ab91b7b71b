/* SPDX-License-Identifier: MIT */
/* Parallel loops and task groups: every public function of both. */
#include "tests/support/workers_test.h"

/* --- parallel loops --------------------------------------------------------------------------- */

#define INDICES 20000u

struct range {
    cop_pool *pool;
    _Atomic unsigned char times[INDICES];
    uint64_t longest; /* of one thread at a time */
    uint64_t fails_at;
    _Atomic uint64_t calls;
    uint64_t last_done, reports, stops_at;
    unsigned spin;
};

static cop_status
handle_range(void *context, uint64_t begin, uint64_t end)
{
    struct range *range = context;

    atomic_fetch_add(&range->calls, 1);
    for (uint64_t i = begin; i < end; i++) {
        atomic_fetch_add(&range->times[i], 1);
        for (volatile unsigned k = 0; k < range->spin; k++)
            ;
    }
    if (range->fails_at >= begin && range->fails_at < end)
        return COP_E_IO;
    return COP_OK;
}

static void
check_range(struct range *range, uint64_t begin, uint64_t end, unsigned char times)
{
    for (uint64_t i = begin; i < end; i++)
        ck_assert_uint_eq(atomic_load(&range->times[i]), times);
}

static struct range *
range_new(cop_pool *pool)
{
    struct range *range = calloc(1, sizeof *range);

    range->pool = pool;
    range->fails_at = UINT64_MAX;
    return range;
}

START_TEST(a_loop_handles_each_index_once)
{
    cop_pool *pool = _i < 4 ? open_pool((uint32_t)_i) : NULL;
    struct range *range = range_new(pool);
    cop_parallel_options options = COP_PARALLEL_OPTIONS_INIT;
    unsigned char times = 0;

    for (uint64_t count = 0; count < 40; count++)
        CHECK_OK(cop_parallel_for(pool, count, handle_range, range, NULL));
    check_range(range, 0, 1, 39);
    check_range(range, 38, 39, 1);
    check_range(range, 39, INDICES, 0);
    memset(range->times, 0, sizeof range->times);
    for (; times < 10; times++)
        CHECK_OK(cop_parallel_for(pool, INDICES, handle_range, range, NULL));
    check_range(range, 0, INDICES, times);
    options.chunk = 100;
    atomic_store(&range->calls, 0);
    CHECK_OK(cop_parallel_for(pool, INDICES, handle_range, range, &options));
    check_range(range, 0, INDICES, ++times);
    ck_assert_uint_eq(atomic_load(&range->calls), INDICES / 100);
    options.chunk = UINT64_MAX;
    CHECK_OK(cop_parallel_for(pool, INDICES, handle_range, range, &options));
    check_range(range, 0, INDICES, ++times);
    CHECK_STATUS(cop_parallel_for(pool, 1, NULL, NULL, NULL), COP_E_INVALID);
    options.size = 1;
    CHECK_STATUS(cop_parallel_for(pool, 1, handle_range, range, &options), COP_E_INVALID);
    cop_pool_close(pool);
    free(range);
}
END_TEST

START_TEST(a_failure_ends_a_loop)
{
    cop_pool *pool = _i < 4 ? open_pool((uint32_t)_i) : NULL;
    struct range *range = range_new(pool);
    cop_parallel_options options = COP_PARALLEL_OPTIONS_INIT;
    int tries = 0;

    options.chunk = 10;
    range->fails_at = 55;
    range->spin = 100;
    do { /* who fails may lose its CPU while the others do all the rest */
        ck_assert_int_lt(tries++, 1000);
        memset(range->times, 0, sizeof range->times);
        atomic_store(&range->calls, 0);
        CHECK_STATUS(cop_parallel_for(pool, INDICES, handle_range, range, &options), COP_E_IO);
        check_range(range, 0, 60, 1);
    } while (atomic_load(&range->calls) >= INDICES / 10);
    cop_pool_close(pool);
    free(range);
}
END_TEST

static cop_status
all_fail(void *context, uint64_t begin, uint64_t end)
{
    (void)context;
    if (begin % 2 == 0)
        sleep_us(1000); /* the lower ones later */
    return end - begin == 1 && begin == 0 ? COP_E_PATH : COP_E_TYPE;
}

START_TEST(the_lowest_failure_counts)
{
    cop_pool *pool = open_pool(3);
    cop_parallel_options options = COP_PARALLEL_OPTIONS_INIT;

    options.chunk = 1;
    for (int i = 0; i < 50; i++)
        CHECK_STATUS(cop_parallel_for(pool, 8, all_fail, NULL, &options), COP_E_PATH);
    cop_pool_close(pool);
}
END_TEST

static int
note_progress(void *context, uint64_t done, uint64_t total)
{
    struct range *range = context;

    ck_assert_uint_eq(total, INDICES);
    ck_assert_uint_gt(done, range->last_done);
    range->last_done = done;
    range->reports++;
    return done >= range->stops_at;
}

START_TEST(progress_and_deadlines)
{
    cop_pool *pool = _i < 3 ? open_pool((uint32_t)_i) : NULL;
    struct range *range = range_new(pool);
    cop_parallel_options options = COP_PARALLEL_OPTIONS_INIT;
    uint64_t begin = cop__clock_ns();

    range->spin = 2000;
    range->stops_at = UINT64_MAX;
    options.progress = note_progress;
    options.progress_context = range;
    CHECK_OK(cop_parallel_for(pool, INDICES, handle_range, range, &options));
    check_range(range, 0, INDICES, 1);
    ck_assert_uint_ge(range->reports, 1);
    ck_assert_uint_eq(range->last_done, INDICES);
    range->last_done = 0;
    range->stops_at = 1;
    range->spin = 200000; /* seconds, if it were not stopped */
    CHECK_STATUS(cop_parallel_for(pool, INDICES, handle_range, range, &options), COP_E_CANCELLED);
    ck_assert_uint_eq(atomic_load(&range->times[INDICES - 1]), 1);
    options.progress = NULL;
    options.deadline = cop__clock_ns() + 2000000;
    CHECK_STATUS(cop_parallel_for(pool, INDICES, handle_range, range, &options), COP_E_TIMEOUT);
    ck_assert_uint_eq(atomic_load(&range->times[INDICES - 1]), 1);
    atomic_store(&range->calls, 0);
    options.deadline = begin;
    CHECK_STATUS(cop_parallel_for(pool, INDICES, handle_range, range, &options), COP_E_TIMEOUT);
    ck_assert_uint_eq(atomic_load(&range->calls), 0);
    options.deadline = cop__clock_ns() + UINT64_C(60000000000);
    range->spin = 0;
    memset(range->times, 0, sizeof range->times);
    CHECK_OK(cop_parallel_for(pool, INDICES, handle_range, range, &options));
    check_range(range, 0, INDICES, 1);
    cop_pool_close(pool);
    free(range);
}
END_TEST

static cop_status
loop_in_loop(void *context, uint64_t begin, uint64_t end)
{
    struct range *range = context;

    for (uint64_t i = begin; i < end; i++)
        CHECK_OK(cop_parallel_for(range->pool, INDICES / 10, handle_range, range, NULL));
    return COP_OK;
}

START_TEST(nested_loops)
{
    cop_pool *pool = open_pool((uint32_t)_i);
    struct range *range = range_new(pool);

    CHECK_OK(cop_parallel_for(pool, 100, loop_in_loop, range, NULL));
    check_range(range, 0, INDICES / 10, 100);
    cop_pool_close(pool);
    free(range);
}
END_TEST

/* --- task groups ------------------------------------------------------------------------------ */

struct job {
    unsigned number;
    _Atomic unsigned *runs;
    _Atomic unsigned *destroyed;
    _Atomic unsigned go; /* waited for when it is a patient one */
    bool patient;
    bool saw_cancelled;
};

static cop_status
do_job(cop_task_group *group, void *context, void **result)
{
    struct job *job = context;

    atomic_fetch_add(job->runs, 1);
    while (job->patient && !atomic_load(&job->go) && !job->saw_cancelled) {
        job->saw_cancelled = cop_task_cancelled(group);
        sleep_us(100);
    }
    *result = job;
    return job->number % 3 == 0 ? COP_E_FAILED : COP_OK;
}

static void
destroy_job(void *context)
{
    struct job *job = context;

    atomic_fetch_add(job->destroyed, 1);
}

START_TEST(a_group_collects_every_outcome)
{
    enum { JOBS = 700 };
    cop_pool *pool = _i < 4 ? open_pool((uint32_t)_i) : NULL;
    struct job *jobs = calloc(JOBS, sizeof *jobs);
    _Atomic unsigned runs = 0, destroyed = 0;
    cop_task_outcome outcome;
    cop_task_group *group;
    size_t index;

    CHECK_STATUS(cop_task_group_open(pool, NULL), COP_E_INVALID);
    CHECK_OK(cop_task_group_open(pool, &group));
    CHECK_OK(cop_task_group_wait(group, 0));
    CHECK_STATUS(cop_task_group_add(NULL, do_job, NULL, NULL, NULL), COP_E_INVALID);
    CHECK_STATUS(cop_task_group_add(group, NULL, NULL, NULL, NULL), COP_E_INVALID);
    CHECK_STATUS(cop_task_group_wait(NULL, 0), COP_E_INVALID);
    CHECK_STATUS(cop_task_group_outcome(group, 0, &outcome), COP_E_RANGE);
    CHECK_STATUS(cop_task_group_outcome(NULL, 0, &outcome), COP_E_INVALID);
    for (unsigned i = 0; i < JOBS; i++) {
        jobs[i] = (struct job){.number = i, .runs = &runs, .destroyed = &destroyed};
        CHECK_OK(cop_task_group_add(group, do_job, &jobs[i], i % 2 ? destroy_job : NULL, &index));
        ck_assert_uint_eq(index, i);
    }
    ck_assert_uint_eq(cop_task_group_count(group), JOBS);
    CHECK_OK(cop_task_group_wait(group, UINT64_MAX));
    ck_assert_uint_eq(atomic_load(&runs), JOBS);
    ck_assert_uint_eq(atomic_load(&destroyed), JOBS / 2);
    for (unsigned i = 0; i < JOBS; i++) {
        CHECK_OK(cop_task_group_outcome(group, i, &outcome));
        CHECK_STATUS(outcome.status, i % 3 == 0 ? COP_E_FAILED : COP_OK);
        ck_assert_ptr_eq(outcome.result, &jobs[i]);
    }
    /* A group that was waited for goes on. */
    CHECK_OK(cop_task_group_add(group, do_job, &jobs[0], NULL, NULL));
    CHECK_OK(cop_task_group_wait(group, UINT64_MAX));
    ck_assert_uint_eq(atomic_load(&runs), JOBS + 1);
    ck_assert(!cop_task_cancelled(group));
    cop_task_group_close(group);
    cop_task_group_close(NULL);
    cop_task_group_cancel(NULL);
    ck_assert(!cop_task_cancelled(NULL));
    ck_assert_uint_eq(cop_task_group_count(NULL), 0);
    cop_pool_close(pool);
    free(jobs);
}
END_TEST

START_TEST(cancelling_a_group)
{
    enum { JOBS = 50 };
    cop_pool *pool = open_pool(1);
    struct job jobs[JOBS], late;
    _Atomic unsigned runs = 0, destroyed = 0;
    cop_task_outcome outcome;
    cop_task_group *group;

    CHECK_OK(cop_task_group_open(pool, &group));
    for (unsigned i = 0; i < JOBS; i++) {
        jobs[i] = (struct job){i, &runs, &destroyed, 0, i == 0, false};
        CHECK_OK(cop_task_group_add(group, do_job, &jobs[i], destroy_job, NULL));
        if (i == 0)
            ck_assert(reaches(&runs, 1)); /* the worker is in the first */
    }
    CHECK_OK(cop_task_group_outcome(group, 0, &outcome));
    CHECK_STATUS(outcome.status, COP_E_PENDING);
    cop_task_group_cancel(group);
    cop_task_group_cancel(group);
    ck_assert(cop_task_cancelled(group));
    late = (struct job){1, &runs, &destroyed, 0, false, false};
    CHECK_STATUS(cop_task_group_add(group, do_job, &late, destroy_job, NULL), COP_E_CANCELLED);
    CHECK_OK(cop_task_group_wait(group, UINT64_MAX));
    ck_assert(jobs[0].saw_cancelled);
    ck_assert_uint_eq(atomic_load(&runs), 1);
    ck_assert_uint_eq(atomic_load(&destroyed), JOBS);
    for (unsigned i = 0; i < JOBS; i++) {
        CHECK_OK(cop_task_group_outcome(group, i, &outcome));
        CHECK_STATUS(outcome.status, i == 0 ? COP_E_FAILED : COP_E_CANCELLED);
        ck_assert(i == 0 || outcome.result == NULL);
    }
    cop_task_group_close(group);
    cop_pool_close(pool);
}
END_TEST

START_TEST(waiting_with_a_deadline)
{
    cop_pool *pool = open_pool(1);
    _Atomic unsigned runs = 0, destroyed = 0;
    struct job job = {1, &runs, &destroyed, 0, true, false};
    cop_task_group *group;

    CHECK_OK(cop_task_group_open(pool, &group));
    CHECK_OK(cop_task_group_add(group, do_job, &job, destroy_job, NULL));
    ck_assert(reaches(&runs, 1));
    CHECK_STATUS(cop_task_group_wait(group, 0), COP_E_TIMEOUT);
    CHECK_STATUS(cop_task_group_wait(group, cop__clock_ns() + 20000000), COP_E_TIMEOUT);
    ck_assert_uint_eq(atomic_load(&destroyed), 0);
    atomic_store(&job.go, 1);
    CHECK_OK(cop_task_group_wait(group, cop__clock_ns() + UINT64_C(60000000000)));
    ck_assert_uint_eq(atomic_load(&destroyed), 1);
    ck_assert(!job.saw_cancelled);
    cop_task_group_close(group);
    /* Closing cancels. */
    CHECK_OK(cop_task_group_open(pool, &group));
    atomic_store(&job.go, 0);
    CHECK_OK(cop_task_group_add(group, do_job, &job, destroy_job, NULL));
    ck_assert(reaches(&runs, 2));
    cop_task_group_close(group);
    ck_assert(job.saw_cancelled);
    ck_assert_uint_eq(atomic_load(&destroyed), 2);
    cop_pool_close(pool);
}
END_TEST

struct family {
    cop_pool *pool;
    unsigned depth;
    _Atomic unsigned *leaves;
};

static cop_status
have_children(cop_task_group *group, void *context, void **result)
{
    struct family *family = context, child = *family;
    cop_task_group *children;

    (void)group;
    (void)result;
    if (family->depth == 0) {
        atomic_fetch_add(family->leaves, 1);
        return COP_OK;
    }
    child.depth--;
    CHECK_OK(cop_task_group_open(family->pool, &children));
    for (int i = 0; i < 4; i++)
        CHECK_OK(cop_task_group_add(children, have_children, &child, NULL, NULL));
    CHECK_OK(cop_task_group_wait(children, UINT64_MAX));
    cop_task_group_close(children);
    return COP_OK;
}

START_TEST(nested_groups)
{
    cop_pool *pool = open_pool((uint32_t)_i);
    _Atomic unsigned leaves = 0;
    struct family family = {pool, 5, &leaves};
    cop_task_group *group;

    CHECK_OK(cop_task_group_open(pool, &group));
    CHECK_OK(cop_task_group_add(group, have_children, &family, NULL, NULL));
    CHECK_OK(cop_task_group_wait(group, UINT64_MAX));
    ck_assert_uint_eq(atomic_load(&leaves), 1024);
    cop_task_group_close(group);
    cop_pool_close(pool);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_loop_test(tests, a_loop_handles_each_index_once, 0, 5);
    tcase_add_loop_test(tests, a_failure_ends_a_loop, 0, 5);
    tcase_add_test(tests, the_lowest_failure_counts);
    tcase_add_loop_test(tests, progress_and_deadlines, 0, 4);
    tcase_add_loop_test(tests, nested_loops, 0, 4);
    tcase_add_loop_test(tests, a_group_collects_every_outcome, 0, 5);
    tcase_add_test(tests, cancelling_a_group);
    tcase_add_test(tests, waiting_with_a_deadline);
    tcase_add_loop_test(tests, nested_groups, 0, 4);
}

int
main(void)
{
    return run_suite("parallel", add);
}

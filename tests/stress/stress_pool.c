/* SPDX-License-Identifier: MIT */
/*
 * One pool used by everybody at once: tasks that submit tasks, regions back to back and far apart,
 * nested loops, groups that are cancelled or run out of time, forks; and all the while its number
 * of threads goes up and down, to 0 and back.
 */
#include "tests/stress/common.h"

#include <string.h>
#include <sys/wait.h>

#include "workers/region.h"

enum { BATCH = 400, ITEMS = 2000, JOBS = 60, CHILD_SECONDS = 60, STUCK_S = 60, THREADS_MOST = 5 };

enum {
    TASK_ONCE,
    TASK_IN_TIME,
    RESIZED,
    ITEM_ONCE,
    LANE_ALONE,
    INDEX_ONCE,
    GROUP_SETTLED,
    GROUP_IN_TIME,
    CHILD_TOLD,
    CLOSE_RUNS
};
static const char *const properties[] = {
    "every submitted task runs exactly once",
    "none waits while the pool sleeps",
    "a pool has as many threads as it was told to",
    "a region's run handles each item exactly once",
    "and is on one lane once at a time",
    "a loop handles each index exactly once, also in another loop",
    "every task of a group has one outcome, and its context is destroyed once",
    "a wait ends at its deadline",
    "a forked child is told so, and does not hang",
    "closing runs what was submitted",
};

static cop_pool *pool;

static void
rest(stress_random *r)
{
    if (stress_below(r, 3) == 0)
        stress_sleep_us((unsigned)stress_below(r, 300)); /* long enough to park */
}

/* --- submitted tasks ---------------------------------------------------------------------------
 */

typedef struct batch {
    _Atomic unsigned times[BATCH];
    _Atomic unsigned next, done;
    unsigned roots;
} batch;

static void task(void *context);

static void
submit(batch *b)
{
    stress_need(cop_pool_submit(pool, task, b), "submit");
}

/* Each takes a number; some submit the next ones. */
static void
task(void *context)
{
    batch *b = context;
    unsigned number = atomic_fetch_add(&b->next, 1);

    if (number < BATCH)
        atomic_fetch_add(&b->times[number], 1);
    for (unsigned i = 0; i < 3 && number < (BATCH - b->roots) / 3; i++)
        submit(b);
    atomic_fetch_add(&b->done, 1);
}

static void
wait_for_batch(batch *b, unsigned expected)
{
    uint64_t stuck_at = stress_now_ns() + STUCK_S * UINT64_C(1000000000);

    while (atomic_load(&b->done) < expected) {
        stress_sleep_us(50);
        if (stress_now_ns() < stuck_at)
            continue;
        stress_check(TASK_IN_TIME, false, "%u of %u tasks have run", atomic_load(&b->done),
                     expected);
        _exit(stress_finish() | EXIT_FAILURE); /* nor would the pool close */
    }
    stress_check(TASK_IN_TIME, true, " ");
}

static void
submit_a_batch(stress_random *r)
{
    batch b = {.roots = 1 + (unsigned)stress_below(r, BATCH)};
    unsigned expected = b.roots + (BATCH - b.roots) / 3 * 3;

    for (unsigned i = 0; i < b.roots; i++) {
        submit(&b);
        if (stress_below(r, 40) == 0)
            rest(r);
    }
    wait_for_batch(&b, expected);
    stress_check(TASK_ONCE, atomic_load(&b.next) == expected, "%u runs of %u tasks",
                 atomic_load(&b.next), expected);
    for (unsigned i = 0; i < BATCH && i < expected; i++)
        if (atomic_load(&b.times[i]) != 1)
            stress_check(TASK_ONCE, false, "task %u", i);
    stress_count(expected);
}

/* --- regions ------------------------------------------------------------------------------------
 */

typedef struct shared {
    _Atomic unsigned char times[ITEMS];
    struct {
        _Alignas(64) _Atomic unsigned inside;
    } lanes[THREADS_MOST + 1];
    unsigned spin;
} shared;

static void
spin_for(unsigned rounds)
{
    for (volatile unsigned i = 0; i < rounds; i++)
        ;
}

static void
handle_items(void *context, unsigned lane, uint32_t begin, uint32_t end)
{
    shared *s = context;

    if (lane > THREADS_MOST || atomic_fetch_add(&s->lanes[lane].inside, 1) != 0)
        stress_check(LANE_ALONE, false, "lane %u", lane);
    for (uint32_t i = begin; i < end; i++) {
        atomic_fetch_add_explicit(&s->times[i], 1, memory_order_relaxed);
        spin_for(s->spin);
    }
    atomic_fetch_sub(&s->lanes[lane].inside, 1);
}

static void
run_regions(stress_random *r)
{
    shared s = {.spin = (unsigned)stress_below(r, 60)};
    cop__region *region = cop__region_open(pool);
    unsigned runs = 1 + (unsigned)stress_below(r, 200);
    uint32_t items = (uint32_t)stress_below(r, ITEMS) + 1, least = (uint32_t)stress_below(r, 40);
    bool back_to_back = stress_below(r, 2);

    for (unsigned run = 0; run < runs; run++) {
        uint64_t begin = stress_now_ns();
        if (run % 16 == 0)
            cop__region_lanes(region);
        if (run % 4 == 3 && !cop__region_worth(region, items, 100))
            continue;
        memset(&s.times, 0, items);
        cop__region_run(region, items, least, handle_items, &s);
        cop__region_account(region, items, 100, stress_now_ns() - begin);
        for (uint32_t i = 0; i < items; i++)
            if (atomic_load_explicit(&s.times[i], memory_order_relaxed) != 1)
                stress_check(ITEM_ONCE, false, "item %u of %u", i, items);
        stress_check(ITEM_ONCE, true, " ");
        stress_check(LANE_ALONE, true, " ");
        stress_count(items);
        if (!back_to_back)
            rest(r);
    }
    cop__region_close(region);
}

/* --- loops --------------------------------------------------------------------------------------
 */

static cop_status
handle_indices(void *context, uint64_t begin, uint64_t end)
{
    _Atomic unsigned char *times = context;

    for (uint64_t i = begin; i < end; i++)
        atomic_fetch_add(&times[i], 1);
    return COP_OK;
}

static cop_status
loop_again(void *context, uint64_t begin, uint64_t end)
{
    for (uint64_t i = begin; i < end; i++)
        stress_need(cop_parallel_for(pool, 100, handle_indices, context, NULL), "inner loop");
    return COP_OK;
}

static void
run_loops(stress_random *r)
{
    _Atomic unsigned char times[ITEMS] = {0};
    unsigned outer = (unsigned)stress_below(r, 20);
    cop_parallel_options options = COP_PARALLEL_OPTIONS_INIT;

    options.chunk = stress_below(r, 50);
    stress_need(cop_parallel_for(pool, ITEMS, handle_indices, times, &options), "loop");
    stress_need(cop_parallel_for(pool, outer, loop_again, times, NULL), "outer loop");
    for (unsigned i = 0; i < ITEMS; i++) {
        unsigned expected = i < 100 ? 1 + outer : 1;
        if (atomic_load(&times[i]) != expected)
            stress_check(INDEX_ONCE, false, "index %u: %u times", i, atomic_load(&times[i]));
    }
    stress_check(INDEX_ONCE, true, " ");
    stress_count(ITEMS);
}

/* --- groups -------------------------------------------------------------------------------------
 */

typedef struct job {
    _Atomic unsigned runs, destroyed;
    unsigned spin;
} job;

static cop_status
do_job(cop_task_group *group, void *context, void **result)
{
    job *j = context;

    for (unsigned i = 0; i < 10 && !cop_task_cancelled(group); i++)
        spin_for(j->spin);
    *result = j;
    atomic_fetch_add(&j->runs, 1);
    return COP_OK;
}

static void
destroy_job(void *context)
{
    atomic_fetch_add(&((job *)context)->destroyed, 1);
}

static void
check_jobs(const cop_task_group *group, job *jobs, bool cancelled)
{
    for (unsigned i = 0; i < JOBS; i++) {
        cop_task_outcome outcome = {COP_E_IO, NULL};
        unsigned runs = atomic_load(&jobs[i].runs);
        stress_need(cop_task_group_outcome(group, i, &outcome), "outcome");
        bool ran = outcome.status == COP_OK && runs == 1 && outcome.result == &jobs[i];
        bool not = cancelled && outcome.status == COP_E_CANCELLED && runs == 0;
        stress_check(GROUP_SETTLED, (ran || not ) && atomic_load(&jobs[i].destroyed) == 1,
                     "job %u: %s, %u runs, %u destroyed", i, cop_status_name(outcome.status), runs,
                     atomic_load(&jobs[i].destroyed));
    }
}

static void
run_group(stress_random *r)
{
    job jobs[JOBS] = {0};
    bool cancel = stress_below(r, 2);
    cop_task_group *group = NULL;
    uint64_t deadline;
    cop_status status;

    stress_need(cop_task_group_open(pool, &group), "group");
    for (unsigned i = 0; i < JOBS; i++) {
        jobs[i].spin = (unsigned)stress_below(r, 500);
        stress_need(cop_task_group_add(group, do_job, &jobs[i], destroy_job, NULL), "add");
    }
    deadline = stress_now_ns() + stress_below(r, 300000);
    status = cop_task_group_wait(group, deadline);
    stress_check(GROUP_IN_TIME,
                 status == COP_OK || (status == COP_E_TIMEOUT && stress_now_ns() >= deadline),
                 "%s before the deadline", cop_status_name(status));
    if (cancel)
        cop_task_group_cancel(group);
    stress_need(cop_task_group_wait(group, UINT64_MAX), "wait");
    check_jobs(group, jobs, cancel);
    cop_task_group_close(group);
    stress_count(JOBS);
}

/* --- resizing and forking -----------------------------------------------------------------------
 */

static void
resize(stress_random *r)
{
    uint32_t threads = (uint32_t)stress_below(r, THREADS_MOST + 1);

    stress_need(cop_pool_resize(pool, threads), "resize");
    stress_check(RESIZED, cop_pool_threads(pool) == threads, "%u", threads);
    stress_sleep_us((unsigned)stress_below(r, 20000));
}

static void
fork_one(void)
{
    int status = 0;
    pid_t pid;

    if (STRESS_SANITIZED && !STRESS_TSAN) {
        /* Its allocator takes no care of fork; test_workers asks a child in these builds. */
        stress_check(CHILD_TOLD, true, " ");
        stress_sleep_us(5000);
        return;
    }
    pid = fork();
    if (pid == 0) {
        signal(SIGALRM, SIG_DFL);
        alarm(CHILD_SECONDS);
        bool told = cop_pool_submit(pool, task, NULL) == COP_E_FORKED &&
                    cop_pool_resize(pool, 1) == COP_E_FORKED &&
                    cop_parallel_for(pool, 5, handle_indices, NULL, NULL) == COP_E_FORKED &&
                    cop__region_open(pool) == NULL;
        cop_pool_close(pool);
        _exit(told ? 0 : 1);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        stress_need(COP_E_IO, "fork");
    stress_check(CHILD_TOLD, WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", status);
    stress_sleep_us(5000);
}

/* --- all at once --------------------------------------------------------------------------------
 */

static void *
body(void *context)
{
    uintptr_t index = (uintptr_t)context;
    stress_random r = stress_random_of(index);

    while (!stress_over()) {
        switch (index % 6) {
        case 0:
            resize(&r);
            break;
        case 1:
            submit_a_batch(&r);
            break;
        case 2:
            run_regions(&r);
            break;
        case 3:
            run_group(&r);
            break;
        case 4:
            run_loops(&r);
            break;
        default:
            fork_one();
        }
    }
    return NULL;
}

static void
open_pool(uint32_t threads)
{
    cop_pool_options options = COP_POOL_OPTIONS_INIT;

    options.threads = threads;
    stress_need(cop_pool_open(&options, &pool, NULL), "open");
}

static void
late_task(void *context)
{
    stress_sleep_us(10);
    atomic_fetch_add((_Atomic unsigned *)context, 1);
}

static void
open_and_close(void)
{
    for (unsigned i = 0; i < 100; i++) {
        _Atomic unsigned done = 0;
        open_pool(i % 4);
        for (unsigned k = 0; k < i; k++)
            stress_need(cop_pool_submit(pool, late_task, &done), "submit");
        cop_pool_close(pool);
        stress_check(CLOSE_RUNS, atomic_load(&done) == i, "%u of %u", atomic_load(&done), i);
    }
}

int
main(int argc, char **argv)
{
    stress_start(argc, argv, 6);
    stress_properties(properties, sizeof properties / sizeof *properties);
    open_and_close();
    open_pool(2);
    fflush(NULL);
    stress_run(stress.threads < 6 ? 6 : stress.threads, body);
    cop_pool_close(pool);
    return stress_finish();
}

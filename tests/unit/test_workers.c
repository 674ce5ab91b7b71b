/* SPDX-License-Identifier: MIT */
/* Worker pools: every public function, regions, the CPUs a process may use. */
#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <coppice/coppice.h>

#include "workers/cpus.h"
#include "workers/region.h"

#define CHECK_STATUS(expression, expected)                                   \
    do {                                                                     \
        cop_status got_ = (expression), want_ = (expected);                  \
        ck_assert_msg(got_ == want_, "%s: is %s, should be %s", #expression, \
                      cop_status_name(got_), cop_status_name(want_));        \
    } while (0)
#define CHECK_OK(expression) CHECK_STATUS(expression, COP_OK)

static cop_pool *
open_pool(uint32_t threads)
{
    cop_pool_options options = COP_POOL_OPTIONS_INIT;
    cop_pool *pool = NULL;

    options.threads = threads;
    CHECK_OK(cop_pool_open(&options, &pool, NULL));
    ck_assert_ptr_nonnull(pool);
    ck_assert_uint_eq(cop_pool_threads(pool), threads);
    return pool;
}

static void
sleep_us(unsigned us)
{
    struct timespec t = {us / 1000000u, (long)(us % 1000000u) * 1000};

    nanosleep(&t, NULL);
}

/* True when *counter reaches n within seconds. */
static bool
reaches(_Atomic unsigned *counter, unsigned n)
{
    for (int i = 0; i < 100000; i++) {
        if (atomic_load(counter) >= n)
            return true;
        sleep_us(100);
    }
    return false;
}

static bool
all_parked(const cop_pool *pool)
{
    cop_pool_stats stats;

    for (int i = 0; i < 100000; i++) {
        cop_pool_stats_take(pool, &stats);
        if (stats.parked == stats.threads)
            return true;
        sleep_us(100);
    }
    return false;
}

/* --- opening and closing ---------------------------------------------------------------------- */

START_TEST(options_are_checked)
{
    cop_pool_options options = COP_POOL_OPTIONS_INIT;
    cop_error error = COP_ERROR_INIT;
    cop_pool *pool = (cop_pool *)1;

    CHECK_STATUS(cop_pool_open(NULL, NULL, &error), COP_E_INVALID);
    ck_assert_int_eq(error.status, COP_E_INVALID);
    options.size = 3;
    CHECK_STATUS(cop_pool_open(&options, &pool, &error), COP_E_INVALID);
    ck_assert_ptr_null(pool);
    ck_assert_ptr_nonnull(strstr(error.message, "COP_POOL_OPTIONS_INIT"));
    options = (cop_pool_options)COP_POOL_OPTIONS_INIT;
    options.threads = COP_POOL_THREADS_MAX + 1;
    CHECK_STATUS(cop_pool_open(&options, &pool, &error), COP_E_RANGE);
    options.threads = 0;
    options.name = "elevenbytes";
    CHECK_STATUS(cop_pool_open(&options, &pool, &error), COP_E_RANGE);
    options.name = "";
    CHECK_STATUS(cop_pool_open(&options, &pool, &error), COP_E_RANGE);
    ck_assert_int_eq(error.status, COP_E_RANGE);
    ck_assert_ptr_null(pool);
}
END_TEST

START_TEST(without_options)
{
    cop_pool *pool = NULL;

    CHECK_OK(cop_pool_open(NULL, &pool, NULL));
    ck_assert_uint_eq(cop_pool_threads(pool), cop_cpus_usable() - 1);
    cop_pool_close(pool);
    cop_pool_close(NULL);
    ck_assert_uint_eq(cop_pool_threads(NULL), 0);
}
END_TEST

struct look {
    _Atomic unsigned done;
    char name[16];
    sigset_t blocked;
    cpu_set_t cpus;
};

static void
look_around(void *context)
{
    struct look *look = context;

    pthread_getname_np(pthread_self(), look->name, sizeof look->name);
    pthread_sigmask(SIG_BLOCK, NULL, &look->blocked);
    pthread_getaffinity_np(pthread_self(), sizeof look->cpus, &look->cpus);
    atomic_store(&look->done, 1);
}

START_TEST(threads_are_named_bound_and_undisturbed)
{
    cop_pool_options options = COP_POOL_OPTIONS_INIT;
    struct look look = {0};
    uint32_t numbers[2];
    cop_pool *pool;

    options.threads = 1;
    options.affinity = true;
    options.name = "tenletters";
    CHECK_OK(cop_pool_open(&options, &pool, NULL));
    CHECK_OK(cop_pool_submit(pool, look_around, &look));
    ck_assert(reaches(&look.done, 1));
    ck_assert_str_eq(look.name, "tenletters-0");
    for (int sig = 1; sig < 32; sig++)
        ck_assert(sig == SIGKILL || sig == SIGSTOP || sigismember(&look.blocked, sig) == 1);
    ck_assert_int_eq(CPU_COUNT(&look.cpus), 1);
    if (cop__cpus_of_mask(numbers, 2) >= 2)
        ck_assert(CPU_ISSET(numbers[1], &look.cpus));
    cop_pool_close(pool);
}
END_TEST

/* --- submitting ------------------------------------------------------------------------------- */

static void
count_one(void *context)
{
    atomic_fetch_add((_Atomic unsigned *)context, 1);
}

START_TEST(submitted_tasks_run_once)
{
    cop_pool *pool = open_pool((uint32_t)_i);
    _Atomic unsigned count = 0;
    cop_pool_stats stats;

    CHECK_STATUS(cop_pool_submit(NULL, count_one, &count), COP_E_INVALID);
    CHECK_STATUS(cop_pool_submit(pool, NULL, &count), COP_E_INVALID);
    for (unsigned i = 0; i < 5000; i++)
        CHECK_OK(cop_pool_submit(pool, count_one, &count));
    if (_i == 0)
        ck_assert_uint_eq(atomic_load(&count), 5000);
    ck_assert(reaches(&count, 5000));
    for (int i = 0; i < 20; i++) {
        ck_assert(all_parked(pool));
        CHECK_OK(cop_pool_submit(pool, count_one, &count));
        ck_assert(reaches(&count, 5001 + (unsigned)i));
    }
    cop_pool_stats_take(pool, &stats);
    ck_assert_uint_eq(stats.threads, (unsigned)_i);
    ck_assert_uint_eq(stats.tasks, 5020);
    if (_i > 0) {
        ck_assert_uint_ge(stats.parks, 20);
        ck_assert_uint_ge(stats.wakes, 20);
    }
    for (unsigned i = 0; i < 1000; i++)
        CHECK_OK(cop_pool_submit(pool, count_one, &count));
    cop_pool_close(pool); /* runs what was submitted */
    ck_assert_uint_eq(atomic_load(&count), 6020);
}
END_TEST

struct tree {
    cop_pool *pool;
    _Atomic unsigned leaves;
    _Atomic unsigned refused;
};

struct branch {
    struct tree *tree;
    unsigned depth;
};

static void
grow_tree(void *context)
{
    struct branch *branch = context, *child;

    for (int i = 0; i < 2 && branch->depth > 0; i++) {
        child = malloc(sizeof *child);
        *child = (struct branch){branch->tree, branch->depth - 1};
        if (cop_pool_submit(branch->tree->pool, grow_tree, child) != COP_OK) {
            atomic_fetch_add(&branch->tree->refused, 1);
            free(child);
        }
    }
    if (branch->depth == 0)
        atomic_fetch_add(&branch->tree->leaves, 1);
    free(branch);
}

START_TEST(tasks_submit_tasks)
{
    struct tree tree = {.pool = open_pool((uint32_t)_i)};
    struct branch *root = malloc(sizeof *root);

    *root = (struct branch){&tree, 12};
    CHECK_OK(cop_pool_submit(tree.pool, grow_tree, root));
    ck_assert(reaches(&tree.leaves, 1u << 12));
    cop_pool_close(tree.pool);
    ck_assert_uint_eq(atomic_load(&tree.leaves), 1u << 12);
    ck_assert_uint_eq(atomic_load(&tree.refused), 0);
}
END_TEST

struct closing {
    cop_pool *pool;
    _Atomic unsigned started;
    _Atomic unsigned go;
    cop_status submit, resize;
};

static void
submit_late(void *context)
{
    struct closing *c = context;

    atomic_store(&c->started, 1);
    reaches(&c->go, 1);
    sleep_us(50000); /* the pool is closing by now */
    c->resize = cop_pool_resize(c->pool, 2);
    c->submit = cop_pool_submit(c->pool, count_one, &c->started);
}

START_TEST(a_closing_pool_takes_no_tasks)
{
    struct closing c = {.pool = open_pool(1)};

    CHECK_OK(cop_pool_submit(c.pool, submit_late, &c));
    ck_assert(reaches(&c.started, 1));
    atomic_store(&c.go, 1);
    cop_pool_close(c.pool);
    CHECK_STATUS(c.submit, COP_E_CLOSING);
    CHECK_STATUS(c.resize, COP_E_STATE);
    ck_assert_uint_eq(atomic_load(&c.started), 1);
}
END_TEST

/* --- resizing --------------------------------------------------------------------------------- */

static void
nap(void *context)
{
    sleep_us(100);
    count_one(context);
}

START_TEST(resizing_loses_nothing)
{
    static const uint32_t sizes[] = {3, 0, 8, 1, 2, 0, 5, 4, 1, 0};
    cop_pool *pool = open_pool(2);
    _Atomic unsigned count = 0;
    unsigned submitted = 0;

    CHECK_STATUS(cop_pool_resize(NULL, 1), COP_E_INVALID);
    CHECK_STATUS(cop_pool_resize(pool, COP_POOL_THREADS_MAX + 1), COP_E_RANGE);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (unsigned k = 0; k < 100; k++, submitted++)
            CHECK_OK(cop_pool_submit(pool, nap, &count));
        CHECK_OK(cop_pool_resize(pool, sizes[i]));
        ck_assert_uint_eq(cop_pool_threads(pool), sizes[i]);
        if (sizes[i] == 0)
            ck_assert_uint_eq(atomic_load(&count), submitted);
    }
    CHECK_OK(cop_pool_resize(pool, 0));
    cop_pool_close(pool);
    ck_assert_uint_eq(atomic_load(&count), submitted);
}
END_TEST

/* --- regions ---------------------------------------------------------------------------------- */

#define ITEMS 3000u
#define LANES 8u

struct items {
    _Atomic unsigned char times[ITEMS];
    _Atomic unsigned by_lane[LANES];
    unsigned inside[LANES]; /* of one lane at a time: not atomic */
    unsigned spin;
};

static void
handle(void *context, unsigned lane, uint32_t begin, uint32_t end)
{
    struct items *items = context;

    if (lane >= LANES)
        abort();
    items->inside[lane]++;
    for (uint32_t i = begin; i < end; i++) {
        for (volatile unsigned k = 0; k < items->spin; k++)
            ;
        atomic_fetch_add_explicit(&items->times[i], 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&items->by_lane[lane], 1, memory_order_relaxed);
    }
    items->inside[lane]--;
}

static void
check_items(struct items *items, uint32_t n, unsigned char times)
{
    for (uint32_t i = 0; i < n; i++)
        ck_assert_uint_eq(atomic_load(&items->times[i]), times);
}

START_TEST(a_region_handles_each_item_once)
{
    cop_pool *pool = open_pool((uint32_t)_i);
    cop__region *region = cop__region_open(pool);
    struct items *items = calloc(1, sizeof *items);
    unsigned others = 0, measured = 0;

    ck_assert_ptr_nonnull(region);
    ck_assert_uint_eq(cop__region_lanes(region), (unsigned)_i + 1);
    items->spin = 100;
    for (unsigned char round = 1; round < 200; round++) {
        cop__region_run(region, ITEMS, round % 7, handle, items);
        check_items(items, ITEMS, round);
        measured += cop__region_item_ns(region) > 0;
    }
    for (unsigned lane = 0; lane < LANES; lane++) {
        ck_assert_uint_eq(items->inside[lane], 0);
        if (lane > (unsigned)_i)
            ck_assert_uint_eq(atomic_load(&items->by_lane[lane]), 0);
        else if (lane > 0)
            others += atomic_load(&items->by_lane[lane]);
    }
    if (_i > 0 && cop_cpus_usable() > 1) {
        ck_assert_uint_gt(others, 0);
        ck_assert_uint_gt(measured, 0);
    }
    cop__region_close(region);
    cop_pool_close(pool);
    free(items);
}
END_TEST

START_TEST(small_runs)
{
    cop_pool *pool = open_pool(2);
    cop__region *region = cop__region_open(pool);
    struct items *items = calloc(1, sizeof *items);

    cop__region_run(region, 10, 1, handle, items); /* lanes not asked for yet: the owner's only */
    ck_assert_uint_eq(atomic_load(&items->by_lane[0]), 10);
    check_items(items, 10, 1);
    cop__region_lanes(region);
    cop__region_run(region, 0, 1, handle, items);
    check_items(items, 10, 1);
    cop__region_run(region, 1, 0, handle, items);
    cop__region_run(region, 5, 100, handle, items);
    ck_assert_uint_eq(atomic_load(&items->times[0]), 3);
    for (uint32_t n = 2; n < 60; n++) {
        memset(items, 0, sizeof *items);
        cop__region_run(region, n, 0, handle, items);
        check_items(items, n, 1);
        check_items(items, n, 1);
    }
    cop__region_close(region);
    cop_pool_close(pool);
    free(items);
}
END_TEST

START_TEST(lanes_only_grow)
{
    cop_pool *pool = open_pool(1);
    cop__region *region = cop__region_open(pool);
    struct items *items = calloc(1, sizeof *items);

    ck_assert_uint_eq(cop__region_lanes(region), 2);
    CHECK_OK(cop_pool_resize(pool, 4));
    items->spin = 1000;
    for (int i = 0; i < 20; i++)
        cop__region_run(region, ITEMS, 1, handle, items);
    for (unsigned lane = 2; lane < LANES; lane++)
        ck_assert_uint_eq(atomic_load(&items->by_lane[lane]), 0);
    ck_assert_uint_eq(cop__region_lanes(region), 5);
    CHECK_OK(cop_pool_resize(pool, 0));
    ck_assert_uint_eq(cop__region_lanes(region), 5);
    cop__region_run(region, ITEMS, 1, handle, items);
    check_items(items, ITEMS, 21);
    cop__region_close(region);
    cop_pool_close(pool);
    free(items);
}
END_TEST

START_TEST(many_regions)
{
    enum { MANY = 80 };
    cop_pool *pool = open_pool(1);
    cop__region *regions[MANY], *again;
    struct items *items = calloc(1, sizeof *items);
    cop_pool_stats stats;

    for (int i = 0; i < MANY; i++) {
        regions[i] = cop__region_open(pool);
        ck_assert_ptr_nonnull(regions[i]);
        cop__region_lanes(regions[i]);
        cop__region_run(regions[i], 100, 1, handle, items);
    }
    check_items(items, 100, MANY);
    cop__region_close(regions[3]);
    again = cop__region_open(pool);
    ck_assert_ptr_eq(again, regions[3]);
    for (int i = 0; i < MANY; i++)
        cop__region_close(regions[i]);
    cop_pool_stats_take(pool, &stats);
    if (cop_cpus_usable() > 1)
        ck_assert_uint_eq(stats.regions, 64); /* the others had no workers */
    cop_pool_close(pool);
    free(items);
}
END_TEST

START_TEST(no_region)
{
    struct items *items = calloc(1, sizeof *items);

    ck_assert_ptr_null(cop__region_open(NULL));
    ck_assert_uint_eq(cop__region_lanes(NULL), 1);
    cop__region_run(NULL, 10, 1, handle, items);
    check_items(items, 10, 1);
    ck_assert(!cop__region_worth(NULL, 1000000, 1000));
    ck_assert(cop__region_item_ns(NULL) == 0);
    cop__region_account(NULL, 1, 1, 1);
    cop__region_close(NULL);
    free(items);
}
END_TEST

START_TEST(worth_sharing)
{
    cop_pool *pool = open_pool(1);
    cop__region *region = cop__region_open(pool);

    ck_assert(!cop__region_worth(region, 1000, 1000)); /* one lane */
    cop__region_lanes(region);
    if (cop_cpus_usable() > 1) {
        ck_assert(all_parked(pool));
        ck_assert(!cop__region_worth(region, 1000000, 50)); /* cheap items */
        ck_assert(!cop__region_worth(region, 1, 1e9));
        ck_assert(!cop__region_worth(region, 10, 100));  /* saves too little */
        ck_assert(!cop__region_worth(region, 50, 1000)); /* not worth a wake */
        ck_assert(cop__region_worth(region, 1000, 1000));
        /* Small savings add up. */
        cop__region_close(region);
        region = cop__region_open(pool);
        ck_assert_uint_eq(cop__region_lanes(region), 2);
        ck_assert(!cop__region_worth(region, 50, 1000));
        ck_assert(!cop__region_worth(region, 50, 1000));
        ck_assert(!cop__region_worth(region, 50, 1000));
        ck_assert(cop__region_worth(region, 50, 1000));
        /* A loss switches sharing off, for a while. */
        cop__region_account(region, 1000, 1000, 3100000);
        ck_assert(!cop__region_worth(region, 1000000, 1000));
        sleep_us(3000);
        ck_assert(cop__region_worth(region, 1000000, 1000));
        cop__region_account(region, 1000, 1000, 3100000);
        sleep_us(2000);
        ck_assert(!cop__region_worth(region, 1000000, 1000)); /* 4 ms this time */
        sleep_us(3000);
        for (int i = 0; i < 1000; i++)
            cop__region_account(region, 1000, 1000, 500000);
        ck_assert(cop__region_worth(region, 1000000, 1000));
        CHECK_OK(cop_pool_resize(pool, 0));
        ck_assert(!cop__region_worth(region, 1000000, 1000));
    }
    cop__region_close(region);
    cop_pool_close(pool);
}
END_TEST

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

    options.chunk = 10;
    range->fails_at = 55;
    range->spin = 100;
    CHECK_STATUS(cop_parallel_for(pool, INDICES, handle_range, range, &options), COP_E_IO);
    check_range(range, 0, 60, 1);
    ck_assert_uint_lt(atomic_load(&range->calls), INDICES / 10);
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
    ck_assert_uint_ge(range->reports, 2);
    ck_assert_uint_eq(range->last_done, INDICES);
    range->last_done = 0;
    range->stops_at = 1;
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

/* --- forking ---------------------------------------------------------------------------------- */

/* Threads in the child of a process with threads are more than the thread sanitizer allows. */
#ifdef __has_feature
#if __has_feature(thread_sanitizer)
#define CAN_START_THREADS_IN_A_CHILD 0
#endif
#endif
#ifdef __SANITIZE_THREAD__
#define CAN_START_THREADS_IN_A_CHILD 0
#endif
#ifndef CAN_START_THREADS_IN_A_CHILD
#define CAN_START_THREADS_IN_A_CHILD 1
#endif

static void
child(cop_pool *pool, cop__region *region, cop_task_group *group)
{
    struct items *items = calloc(1, sizeof *items);
    cop_pool_options options = COP_POOL_OPTIONS_INIT;
    cop_pool_stats stats;
    _Atomic unsigned count = 0;
    cop_task_group *own_group = NULL;
    cop_pool *own = NULL;

    alarm(20);
    if (cop_pool_submit(pool, count_one, &count) != COP_E_FORKED ||
        cop_pool_resize(pool, 3) != COP_E_FORKED || cop_pool_threads(pool) != 0)
        _exit(1);
    cop_pool_stats_take(pool, &stats);
    if (stats.threads != 0 || cop__region_open(pool) != NULL)
        _exit(2);
    cop__region_run(region, 100, 1, handle, items);
    if (atomic_load(&items->by_lane[0]) != 100 || cop__region_lanes(region) != 3)
        _exit(3);
    cop__region_close(region);
    if (cop_parallel_for(pool, 1, handle_range, NULL, NULL) != COP_E_FORKED ||
        cop_task_group_add(group, do_job, NULL, NULL, NULL) != COP_E_FORKED ||
        cop_task_group_wait(group, UINT64_MAX) != COP_E_FORKED ||
        cop_task_group_open(pool, &own_group) != COP_E_FORKED)
        _exit(6);
    cop_task_group_cancel(group);
    cop_task_group_close(group);
    cop_pool_close(pool);
    options.threads = CAN_START_THREADS_IN_A_CHILD;
    if (cop_pool_open(&options, &own, NULL) != COP_OK ||
        cop_pool_submit(own, count_one, &count) != COP_OK)
        _exit(4);
    cop_pool_close(own);
    _exit(atomic_load(&count) == 1 ? 0 : 5);
}

START_TEST(a_forked_child_is_told_so)
{
    cop_pool *pool = open_pool(2);
    cop__region *region = cop__region_open(pool);
    _Atomic unsigned count = 0;
    cop_task_group *group;
    int status = 0;
    pid_t pid;

    CHECK_OK(cop_task_group_open(pool, &group));
    cop__region_lanes(region);
    fflush(NULL);
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0)
        child(pool, region, group);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status), "the child ended by signal %d", WTERMSIG(status));
    ck_assert_int_eq(WEXITSTATUS(status), 0);
    CHECK_OK(cop_pool_submit(pool, count_one, &count));
    ck_assert(reaches(&count, 1));
    cop_task_group_close(group);
    cop__region_close(region);
    cop_pool_close(pool);
}
END_TEST

/* --- CPUs ------------------------------------------------------------------------------------- */

static char mount[64];

static void
put_file(const char *directory, const char *name, const char *text)
{
    char file[256], path[256];
    FILE *f;

    snprintf(file, sizeof file, "%s%s", mount, directory);
    for (char *c = file + strlen(mount) + 1; *c; c++) {
        if (*c != '/')
            continue;
        *c = '\0';
        mkdir(file, 0700);
        *c = '/';
    }
    mkdir(file, 0700);
    snprintf(path, sizeof path, "%s%s/%s", mount, directory, name);
    f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
}

static void
remove_mount(void)
{
    char command[128];

    snprintf(command, sizeof command, "rm -rf '%s'", mount);
    ck_assert_int_eq(system(command), 0);
}

START_TEST(quotas_of_control_groups)
{
    strcpy(mount, "/tmp/coppice-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(mount));
    put_file("/a/b", "cpu.max", "150000 100000\n");
    put_file("/a", "cpu.max", "max 100000\n");
    put_file("/c", "cpu.max", "10000 100000\n");
    put_file("/c/d", "cpu.max", "800000 100000\n");
    put_file("/cpu/e", "cpu.cfs_quota_us", "400000\n");
    put_file("/cpu/e", "cpu.cfs_period_us", "100000\n");
    put_file("/cpu/f", "cpu.cfs_quota_us", "-1\n");
    put_file("/cpu/f", "cpu.cfs_period_us", "100000\n");
    ck_assert_uint_eq(cop__cgroup_cpus("0::/a/b\n", mount), 2);
    ck_assert_uint_eq(cop__cgroup_cpus("0::/a\n", mount), UINT32_MAX);
    ck_assert_uint_eq(cop__cgroup_cpus("0::/c/d\n", mount), 1);
    ck_assert_uint_eq(cop__cgroup_cpus("0::/\n", mount), UINT32_MAX);
    ck_assert_uint_eq(cop__cgroup_cpus("4:cpuset:/e\n3:cpu,cpuacct:/e\n", mount), 4);
    ck_assert_uint_eq(cop__cgroup_cpus("3:cpuacct,cpu:/f", mount), UINT32_MAX);
    ck_assert_uint_eq(cop__cgroup_cpus("3:cpu:/e\n0::/a/b", mount), 2);
    ck_assert_uint_eq(cop__cgroup_cpus("nonsense\n\n:\n", mount), UINT32_MAX);
    remove_mount();
}
END_TEST

START_TEST(cpus_of_this_process)
{
    cpu_set_t before, one;
    uint32_t numbers[4096], n = cop__cpus_of_mask(numbers, 4096);

    ck_assert_uint_ge(n, 1);
    ck_assert_uint_ge(cop_cpus_usable(), 1);
    ck_assert_uint_le(cop_cpus_usable(), n);
    ck_assert_int_eq(sched_getaffinity(0, sizeof before, &before), 0);
    CPU_ZERO(&one);
    CPU_SET(numbers[n - 1], &one);
    ck_assert_int_eq(sched_setaffinity(0, sizeof one, &one), 0);
    ck_assert_uint_eq(cop_cpus_usable(), 1);
    ck_assert_uint_eq(cop__cpus_of_mask(numbers, 1), 1);
    ck_assert_int_eq(sched_setaffinity(0, sizeof before, &before), 0);
}
END_TEST

static Suite *
workers_suite(void)
{
    Suite *suite = suite_create("workers");
    TCase *tests = tcase_create("all");

    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, options_are_checked);
    tcase_add_test(tests, without_options);
    tcase_add_test(tests, threads_are_named_bound_and_undisturbed);
    tcase_add_loop_test(tests, submitted_tasks_run_once, 0, 4);
    tcase_add_loop_test(tests, tasks_submit_tasks, 0, 4);
    tcase_add_test(tests, a_closing_pool_takes_no_tasks);
    tcase_add_test(tests, resizing_loses_nothing);
    tcase_add_loop_test(tests, a_region_handles_each_item_once, 0, 4);
    tcase_add_test(tests, small_runs);
    tcase_add_test(tests, lanes_only_grow);
    tcase_add_test(tests, many_regions);
    tcase_add_test(tests, no_region);
    tcase_add_test(tests, worth_sharing);
    tcase_add_loop_test(tests, a_loop_handles_each_index_once, 0, 5);
    tcase_add_loop_test(tests, a_failure_ends_a_loop, 0, 5);
    tcase_add_test(tests, the_lowest_failure_counts);
    tcase_add_loop_test(tests, progress_and_deadlines, 0, 4);
    tcase_add_loop_test(tests, nested_loops, 0, 4);
    tcase_add_loop_test(tests, a_group_collects_every_outcome, 0, 5);
    tcase_add_test(tests, cancelling_a_group);
    tcase_add_test(tests, waiting_with_a_deadline);
    tcase_add_loop_test(tests, nested_groups, 0, 4);
    tcase_add_test(tests, a_forked_child_is_told_so);
    tcase_add_test(tests, quotas_of_control_groups);
    tcase_add_test(tests, cpus_of_this_process);
    suite_add_tcase(suite, tests);
    return suite;
}

int
main(void)
{
    SRunner *runner = srunner_create(workers_suite());
    int failed;

    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

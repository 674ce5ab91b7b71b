/* SPDX-License-Identifier: MIT */
/* Worker pools: every public function, regions, the CPUs a process may use. */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/workers_test.h"
#include "workers/cpus.h"
#include "workers/pool_internal.h"
#include "workers/region.h"

/* Threads in the child of a process with threads are more than the sanitizers of threads and of
 * leaks allow (the latter joins a thread of the parent's that had the same number, for ever), and
 * all sanitizers map more memory than a limit leaves. */
#ifdef __has_feature
#define HAS_FEATURE(feature) __has_feature(feature)
#else
#define HAS_FEATURE(feature) 0
#endif
#if defined(__SANITIZE_THREAD__) || HAS_FEATURE(thread_sanitizer) || defined(COP_LEAK_SANITIZER)
#define THREADS_IN_CHILD 0
#else
#define THREADS_IN_CHILD 1
#endif
#if !THREADS_IN_CHILD || defined(__SANITIZE_ADDRESS__) || HAS_FEATURE(address_sanitizer)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

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
    cop_pool_stats stats;

    CHECK_OK(cop_pool_open(NULL, &pool, NULL));
    ck_assert_uint_eq(cop_pool_threads(pool), cop_cpus_usable() - 1);
    cop_pool_close(pool);
    cop_pool_close(NULL);
    ck_assert_uint_eq(cop_pool_threads(NULL), 0);
    cop_pool_stats_take(NULL, &stats);
    ck_assert_uint_eq(stats.threads, 0);
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
    /* A worker that is about to sleep counts among the parked, and may find the task yet. */
    unsigned rounds = 0;
    do {
        ck_assert(all_parked(pool));
        CHECK_OK(cop_pool_submit(pool, count_one, &count));
        ck_assert(reaches(&count, 5000 + ++rounds));
        cop_pool_stats_take(pool, &stats);
    } while (rounds < 20 || (_i > 0 && stats.parks < 20 && rounds < 10000));
    ck_assert_uint_eq(stats.threads, (unsigned)_i);
    ck_assert_uint_eq(stats.tasks, 5000 + rounds);
    if (_i > 0) {
        ck_assert_uint_ge(stats.parks, 20);
        ck_assert_uint_ge(stats.wakes, 20);
    }
    for (unsigned i = 0; i < 1000; i++)
        CHECK_OK(cop_pool_submit(pool, count_one, &count));
    cop_pool_close(pool); /* runs what was submitted */
    ck_assert_uint_eq(atomic_load(&count), 6000 + rounds);
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
    cop_status submit, resize;
};

static void
submit_late(void *context)
{
    struct closing *c = context;

    atomic_store(&c->started, 1);
    for (int i = 0; i < 100000 && !atomic_load(&c->pool->closing); i++)
        sleep_us(100);
    c->resize = cop_pool_resize(c->pool, 2);
    c->submit = cop_pool_submit(c->pool, count_one, &c->started);
}

START_TEST(a_closing_pool_takes_no_tasks)
{
    struct closing c = {.pool = open_pool(1)};

    CHECK_OK(cop_pool_submit(c.pool, submit_late, &c));
    ck_assert(reaches(&c.started, 1));
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

static void
note_log(void *context, cop_log_level level, const char *message)
{
    if (level == COP_LOG_ERROR && strstr(message, "could be started"))
        atomic_fetch_add((_Atomic unsigned *)context, 1);
}

/* Leaves room for some threads' stacks; what was the limit before. */
static struct rlimit
limit_memory(void)
{
    struct rlimit before, limit;
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");

    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(fscanf(f, "%lu", &pages), 1);
    fclose(f);
    ck_assert_int_eq(getrlimit(RLIMIT_AS, &before), 0);
    limit = before;
    limit.rlim_cur = pages * (rlim_t)sysconf(_SC_PAGESIZE) + (100u << 20);
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
    return before;
}

START_TEST(threads_that_cannot_be_started)
{
    cop_pool_options options = COP_POOL_OPTIONS_INIT;
    cop_error error = COP_ERROR_INIT;
    _Atomic unsigned logged = 0, count = 0;
    cop_pool *pool, *other = (cop_pool *)1;
    struct rlimit before;

    if (SANITIZED)
        return;
    options.threads = 1;
    options.log = note_log;
    options.log_context = (void *)&logged;
    CHECK_OK(cop_pool_open(&options, &pool, NULL));
    before = limit_memory();
    CHECK_STATUS(cop_pool_resize(pool, COP_POOL_THREADS_MAX), COP_E_MEMORY);
    ck_assert_uint_eq(atomic_load(&logged), 1);
    ck_assert_uint_ge(cop_pool_threads(pool), 1);
    ck_assert_uint_lt(cop_pool_threads(pool), COP_POOL_THREADS_MAX);
    options.threads = COP_POOL_THREADS_MAX;
    CHECK_STATUS(cop_pool_open(&options, &other, &error), COP_E_MEMORY);
    ck_assert_ptr_null(other);
    ck_assert_int_eq(error.status, COP_E_MEMORY);
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &before), 0);
    for (unsigned i = 0; i < 100; i++)
        CHECK_OK(cop_pool_submit(pool, count_one, (void *)&count));
    ck_assert(reaches(&count, 100));
    CHECK_OK(cop_pool_resize(pool, 2));
    cop_pool_close(pool);
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
    unsigned others = 0;
    int tries = 0;

    ck_assert_ptr_nonnull(region);
    ck_assert_uint_eq(cop__region_lanes(region), (unsigned)_i + 1);
    items->spin = 100;
    for (unsigned char round = 1; round < 200; round++) {
        cop__region_run(region, ITEMS, round % 7, handle, items);
        check_items(items, ITEMS, round);
    }
    for (unsigned lane = 0; lane < LANES; lane++) {
        ck_assert_uint_eq(items->inside[lane], 0);
        if (lane > (unsigned)_i)
            ck_assert_uint_eq(atomic_load(&items->by_lane[lane]), 0);
        else if (lane > 0)
            others += atomic_load(&items->by_lane[lane]);
    }
    while (_i > 0 && cop_cpus_usable() > 1 && others == 0) { /* the workers have had no CPU yet */
        ck_assert_int_lt(tries++, 100000);
        cop__region_run(region, ITEMS, 1, handle, items);
        for (unsigned lane = 1; lane <= (unsigned)_i; lane++)
            others += atomic_load(&items->by_lane[lane]);
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
        CHECK_OK(cop_pool_resize(pool, 0));
        ck_assert(!cop__region_worth(region, 1000000, 1000));
    }
    cop__region_close(region);
    cop_pool_close(pool);
}
END_TEST

/*
 * The policy goes by the clock, and a test may lose its CPU at any place for longer than the policy
 * remembers. So what has to happen within a time is tried until it did, which the test's own clock
 * tells.
 */
enum { TRIES = 10000 };
#define MS UINT64_C(1000000)

static void
wait_until(uint64_t ns)
{
    while (cop__clock_ns() < ns)
        sleep_us(100);
}

static cop__region *
open_region(cop_pool *pool)
{
    cop__region *region = cop__region_open(pool);
    ck_assert_uint_eq(cop__region_lanes(region), 2);
    return region;
}

/* Each saves 73.5 us, a wake costs 75, and an eighth of the time that passes is forgotten. */
static bool
two_savings_wake(cop_pool *pool)
{
    cop__region *region = open_region(pool);
    uint64_t begin = cop__clock_ns();
    ck_assert(!cop__region_worth(region, 150, 1000));
    bool second = cop__region_worth(region, 150, 1000);
    bool in_time = cop__clock_ns() - begin < MS / 2;
    ck_assert(second || !in_time);
    cop__region_close(region);
    return in_time;
}

START_TEST(small_savings_add_up)
{
    cop_pool *pool = open_pool(1);
    int tries = 0;

    ck_assert(all_parked(pool));
    while (cop_cpus_usable() > 1 && !two_savings_wake(pool))
        ck_assert_int_lt(++tries, TRIES);
    cop_pool_close(pool);
}
END_TEST

/* A loss: off for `ms` from now on, and not for longer. Whether that was seen in time. */
static bool
is_off_for(cop__region *region, uint64_t ms)
{
    uint64_t begin = cop__clock_ns();
    cop__region_account(region, 1000, 1000, 3100000);
    uint64_t end = cop__clock_ns();
    wait_until(begin + (ms - 1) * MS);
    bool on = cop__region_worth(region, 1000000, 1000);
    bool in_time = cop__clock_ns() < begin + ms * MS;
    ck_assert(!on || !in_time);
    wait_until(end + ms * MS);
    ck_assert(cop__region_worth(region, 1000000, 1000));
    return in_time;
}

static bool
losses_switch_off(cop_pool *pool)
{
    cop__region *region = open_region(pool);
    bool in_time = is_off_for(region, 2) && is_off_for(region, 4);
    for (int i = 0; i < 1000; i++)
        cop__region_account(region, 1000, 1000, 500000);
    ck_assert(cop__region_worth(region, 1000000, 1000));
    cop__region_close(region);
    return in_time;
}

START_TEST(a_loss_switches_sharing_off_for_a_while)
{
    cop_pool *pool = open_pool(1);
    int tries = 0;

    ck_assert(all_parked(pool));
    while (cop_cpus_usable() > 1 && !losses_switch_off(pool))
        ck_assert_int_lt(++tries, TRIES);
    cop_pool_close(pool);
}
END_TEST

/* --- forking ---------------------------------------------------------------------------------- */

static cop_status
no_range(void *context, uint64_t begin, uint64_t end)
{
    (void)context;
    (void)begin;
    (void)end;
    abort();
}

static cop_status
no_body(cop_task_group *group, void *context, void **result)
{
    (void)group;
    (void)context;
    (void)result;
    abort();
}

static void
child(cop_pool *pool, cop__region *region, cop_task_group *group)
{
    struct items *items = calloc(1, sizeof *items);
    cop_pool_options options = COP_POOL_OPTIONS_INIT;
    cop_pool_stats stats;
    _Atomic unsigned count = 0;
    cop_task_group *own_group = NULL;
    cop_pool *own = NULL;

    signal(SIGALRM, SIG_DFL); /* Check's handler would end the parent too */
    alarm(60);
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
    if (cop_parallel_for(pool, 1, no_range, NULL, NULL) != COP_E_FORKED ||
        cop_task_group_add(group, no_body, NULL, NULL, NULL) != COP_E_FORKED ||
        cop_task_group_wait(group, UINT64_MAX) != COP_E_FORKED ||
        cop_task_group_open(pool, &own_group) != COP_E_FORKED)
        _exit(6);
    cop_task_group_cancel(group);
    cop_task_group_close(group);
    cop_pool_close(pool);
    options.threads = THREADS_IN_CHILD ? 1 : 0;
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

static void
add(TCase *tests)
{
    tcase_add_test(tests, options_are_checked);
    tcase_add_test(tests, without_options);
    tcase_add_test(tests, threads_are_named_bound_and_undisturbed);
    tcase_add_loop_test(tests, submitted_tasks_run_once, 0, 4);
    tcase_add_loop_test(tests, tasks_submit_tasks, 0, 4);
    tcase_add_test(tests, a_closing_pool_takes_no_tasks);
    tcase_add_test(tests, resizing_loses_nothing);
    tcase_add_test(tests, threads_that_cannot_be_started);
    tcase_add_loop_test(tests, a_region_handles_each_item_once, 0, 4);
    tcase_add_test(tests, small_runs);
    tcase_add_test(tests, lanes_only_grow);
    tcase_add_test(tests, many_regions);
    tcase_add_test(tests, no_region);
    tcase_add_test(tests, worth_sharing);
    tcase_add_test(tests, small_savings_add_up);
    tcase_add_test(tests, a_loss_switches_sharing_off_for_a_while);
    tcase_add_test(tests, a_forked_child_is_told_so);
    tcase_add_test(tests, quotas_of_control_groups);
    tcase_add_test(tests, cpus_of_this_process);
}

int
main(void)
{
    return run_suite("workers", add);
}

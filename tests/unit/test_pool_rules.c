/* SPDX-License-Identifier: MIT */
/* What a worker pool's parts promise one by one: who is woken, whom work is taken from, what stays.
 */
#include <pthread.h>

#include "tests/support/workers_test.h"
#include "workers/pool_internal.h"

/* --- the event count ---------------------------------------------------------------------------
 */

static void
events_begin(cop__event_count *events, unsigned registered)
{
    cop__event_init(events);
    for (unsigned i = 0; i < registered; i++)
        cop__event_prepare(events, false);
    ck_assert_uint_eq(cop__event_parked(events), registered);
}

/* A post wakes nobody while somebody searches, or is about to because a token lies there. */
START_TEST(one_searcher_is_enough)
{
    cop__event_count events;
    uint32_t epoch;

    events_begin(&events, 3);
    ck_assert(cop__event_search_begin(&events, 1));
    ck_assert_uint_eq(cop__event_post(&events), 0);
    ck_assert(cop__event_search_end(&events)); /* the last one: it looks for more work, and posts */
    ck_assert_uint_eq(cop__event_post(&events), 1);
    ck_assert_uint_eq(cop__event_post(&events), 0);
    ck_assert_uint_eq(cop__event_parked(&events), 2);
    ck_assert(!cop__event_search_begin(&events, 1)); /* whoever takes the token will search */
    epoch = cop__event_prepare(&events, false);
    ck_assert(cop__event_wait(&events, &epoch));
    ck_assert_uint_eq(cop__event_post(&events), 0);
    ck_assert_uint_eq(cop__event_notify(&events, 9), 3); /* whoever searches */
    ck_assert(!cop__event_search_end(&events));          /* three others will */
}
END_TEST

START_TEST(who_parks_searches_no_more)
{
    cop__event_count events;

    events_begin(&events, 0);
    ck_assert(cop__event_search_begin(&events, 2));
    ck_assert(cop__event_search_begin(&events, 2));
    ck_assert(!cop__event_search_begin(&events, 2));
    cop__event_prepare(&events, true);
    ck_assert(cop__event_search_begin(&events, 2));
    cop__event_cancel(&events);
    ck_assert_uint_eq(cop__event_parked(&events), 0);
    ck_assert(!cop__event_search_end(&events));
    ck_assert(cop__event_search_end(&events));
}
END_TEST

/* --- stealing ----------------------------------------------------------------------------------
 */

enum { THREADS = 3 };

typedef struct party {
    cop_pool *pool;
    unsigned chosen; /* the worker that will not do its second task itself */
    _Atomic unsigned met, done, ended;
    _Atomic bool stolen;
} party;

static void
second_task(void *context)
{
    atomic_fetch_add(&((party *)context)->done, 1);
}

/* One on each worker. That of the chosen one puts a task into its deque and waits until it was run.
 */
static void
first_task(void *context)
{
    party *p = context;

    atomic_fetch_add(&p->met, 1);
    if (reaches(&p->met, THREADS) && cop__worker_here(p->pool)->index == p->chosen) {
        CHECK_OK(cop_pool_submit(p->pool, second_task, p));
        atomic_store(&p->stolen, reaches(&p->done, 1));
    }
    atomic_fetch_add(&p->ended, 1);
}

START_TEST(any_worker_can_be_stolen_from)
{
    cop_pool *pool = open_pool(THREADS);

    for (unsigned i = 0; i < 4 * THREADS; i++) {
        party p = {.pool = pool, .chosen = i % THREADS};
        for (unsigned k = 0; k < THREADS; k++)
            CHECK_OK(cop_pool_submit(pool, first_task, &p));
        ck_assert(reaches(&p.ended, THREADS));
        ck_assert(reaches(&p.done, 1));
        ck_assert(atomic_load(&p.stolen));
    }
    cop_pool_close(pool);
}
END_TEST

/* --- leaving -----------------------------------------------------------------------------------
 */

static void
count_one(void *context)
{
    atomic_fetch_add((_Atomic unsigned *)context, 1);
}

/* A worker that is told to leave while it searches is no searcher any more: those that stay are
 * woken for the next task. */
START_TEST(who_leaves_searches_no_more)
{
    cop_pool *pool = open_pool(0);
    _Atomic unsigned count = 0;

    pool->spin_ns = UINT64_C(2000000); /* before a thread reads it */
    CHECK_OK(cop_pool_resize(pool, 2));
    for (unsigned i = 1; i <= 15; i++) {
        CHECK_OK(cop_pool_submit(pool, count_one, &count)); /* then somebody searches */
        ck_assert(reaches(&count, 2 * i - 1));
        CHECK_OK(cop_pool_resize(pool, 1));
        ck_assert(all_parked(pool));
        CHECK_OK(cop_pool_submit(pool, count_one, &count));
        ck_assert(reaches(&count, 2 * i));
        CHECK_OK(cop_pool_resize(pool, 2));
    }
    cop_pool_close(pool);
}
END_TEST

/* --- who waits for threads ---------------------------------------------------------------------
 */

static void
check_told(const _Atomic unsigned *told, unsigned first, unsigned second, unsigned third)
{
    ck_assert_uint_eq(told[0], first);
    ck_assert_uint_eq(told[1], second);
    ck_assert_uint_eq(told[2], third);
}

/* Told when a pool without threads has got some, until they listen no more. */
START_TEST(listeners_are_told_of_threads)
{
    cop_pool *pool = open_pool(0);
    _Atomic unsigned told[3] = {0, 0, 0};
    cop__pool_listener listeners[4];

    for (unsigned i = 0; i < 4; i++)
        listeners[i] = (cop__pool_listener){NULL, count_one, (void *)&told[i % 3]};
    for (unsigned i = 0; i < 3; i++)
        cop__pool_listen(pool, &listeners[i]);
    CHECK_OK(cop_pool_resize(pool, 0));
    check_told(told, 0, 0, 0);
    CHECK_OK(cop_pool_resize(pool, 1));
    check_told(told, 1, 1, 1);
    CHECK_OK(cop_pool_resize(pool, 2));
    check_told(told, 1, 1, 1);
    CHECK_OK(cop_pool_resize(pool, 0));
    cop__pool_unlisten(pool, &listeners[3]); /* which is not among them */
    cop__pool_unlisten(pool, &listeners[1]);
    CHECK_OK(cop_pool_resize(pool, 1));
    check_told(told, 2, 1, 2);
    cop__pool_unlisten(pool, &listeners[2]); /* the first that is asked */
    cop__pool_unlisten(pool, &listeners[0]);
    CHECK_OK(cop_pool_resize(pool, 0));
    CHECK_OK(cop_pool_resize(pool, 1));
    check_told(told, 2, 1, 2);
    cop_pool_close(pool);
}
END_TEST

/* --- a region's runs without a gap --------------------------------------------------------------
 */

typedef struct chain {
    cop_pool *pool;
    cop__region *region;
    void (*act)(struct chain *chain); /* in the next run to which the worker comes */
    pthread_t thread;
    _Atomic unsigned came, held, tasks;
} chain;

/* The worker comes, and stays until the owner has acted. */
static void
link_of_chain(void *context, unsigned lane, uint32_t begin, uint32_t end)
{
    chain *c = context;
    uint64_t patience = cop__clock_ns() + 1000000;

    ck_assert_uint_lt(begin, end);
    if (lane > 0)
        atomic_store(&c->came, 1);
    while (lane > 0 && atomic_load(&c->held))
        cop__pause();
    while (lane == 0 && !atomic_load(&c->came) && cop__clock_ns() < patience)
        cop__pause();
    if (lane > 0)
        return;
    if (c->act && atomic_load(&c->came)) {
        c->act(c);
        c->act = NULL;
    }
    atomic_store(&c->held, 0);
}

/* One run; whether the worker came to it. */
static unsigned
run_link(chain *c)
{
    atomic_store(&c->came, 0);
    atomic_store(&c->held, c->act != NULL);
    cop__region_run(c->region, 2, 1, link_of_chain, c);
    return atomic_load(&c->came);
}

static void
act_in_a_run(chain *c, void (*act)(chain *))
{
    c->act = act;
    for (int i = 0; c->act != NULL; i++) {
        ck_assert_int_lt(i, 100000);
        (void)run_link(c);
    }
}

static void
submit_one(chain *c)
{
    CHECK_OK(cop_pool_submit(c->pool, count_one, (void *)&c->tasks));
}

static void *
resize_to_none(void *context)
{
    CHECK_OK(cop_pool_resize(context, 0));
    return NULL;
}

static void
tell_to_leave(chain *c)
{
    ck_assert_int_eq(pthread_create(&c->thread, NULL, resize_to_none, c->pool), 0);
    while (!atomic_load(&c->pool->workers[0]->leave))
        sleep_us(100);
}

/* A worker goes from run to run of a region as long as they follow each other at once; but it
 * leaves when it is told to, and goes and does a task that waits. */
START_TEST(a_region_does_not_keep_a_worker)
{
    chain c = {.pool = open_pool(1)};
    unsigned runs = 0;

    c.region = cop__region_open(c.pool);
    ck_assert_uint_eq(cop__region_lanes(c.region), 2);
    if (c.pool->cpus > 1) {
        act_in_a_run(&c, submit_one);
        while (!atomic_load(&c.tasks)) {
            runs += run_link(&c);
            ck_assert_uint_lt(runs, 1000);
        }
        act_in_a_run(&c, tell_to_leave);
        for (runs = 0; runs < 100; runs++)
            ck_assert(!run_link(&c));
        pthread_join(c.thread, NULL);
    }
    cop__region_close(c.region);
    cop_pool_close(c.pool);
}
END_TEST

/* --- counting and waiting ----------------------------------------------------------------------
 */

typedef struct meeting {
    pthread_t owner;
    cop_pool *pool;
    uint64_t reported;
    uint64_t stalls; /* of the pool, with this one */
    _Atomic unsigned helped, reports;
} meeting;

static bool
stalls(const meeting *m)
{
    cop_pool_stats stats;

    for (int i = 0; i < 100000; i++) {
        cop_pool_stats_take(m->pool, &stats);
        if (stats.stalls >= m->stalls)
            return true;
        sleep_us(100);
    }
    return false;
}

/* The owner's range ends when a helper has begun its own; that one when the owner was seen to wait
 * for it: it was told how far the loop has come, or has gone to sleep. A time would not do, since
 * the owner may lose its CPU for longer. */
static void
meet(meeting *m)
{
    if (pthread_equal(pthread_self(), m->owner)) {
        (void)reaches(&m->helped, 1);
        return;
    }
    atomic_store(&m->helped, 1);
    ck_assert(m->stalls > 0 ? stalls(m) : reaches(&m->reports, 1));
}

static cop_status
meet_in_loop(void *context, uint64_t begin, uint64_t end)
{
    ck_assert_uint_eq(end - begin, 1);
    meet(context);
    return COP_OK;
}

static int
only_more(void *context, uint64_t done, uint64_t total)
{
    meeting *m = context;

    ck_assert_uint_gt(done, m->reported);
    ck_assert_uint_le(done, total);
    m->reported = done;
    atomic_fetch_add(&m->reports, 1);
    return 0;
}

/* While nothing is done nothing is reported; and no helper is called that would find nothing. */
START_TEST(a_loop_of_two_ranges)
{
    cop_pool *pool = open_pool(3);
    cop_parallel_options options = COP_PARALLEL_OPTIONS_INIT;
    cop_pool_stats stats;
    meeting m = {.owner = pthread_self(), .pool = pool};

    options.chunk = (uint64_t)_i;
    options.progress = only_more;
    options.progress_context = &m;
    CHECK_OK(cop_parallel_for(pool, 2, meet_in_loop, &m, &options));
    ck_assert_uint_eq(m.reported, 2);
    ck_assert_uint_eq(atomic_load(&m.reports), 2);
    ck_assert(all_parked(pool));
    cop_pool_stats_take(pool, &stats);
    ck_assert_uint_eq(stats.tasks, 1);
    cop_pool_close(pool);
}
END_TEST

static void
meet_in_region(void *context, unsigned lane, uint32_t begin, uint32_t end)
{
    (void)lane;
    ck_assert_uint_lt(begin, end);
    meet(context);
}

START_TEST(a_stall_counts_once)
{
    cop_pool *pool = open_pool(1);
    cop__region *region = cop__region_open(pool);
    cop_pool_stats stats;

    ck_assert_uint_eq(cop__region_lanes(region), 2);
    for (unsigned i = 1; i <= 3; i++) {
        meeting m = {.owner = pthread_self(), .pool = pool, .stalls = i};
        atomic_store(&m.helped, pool->cpus == 1); /* nobody would come */
        cop__region_run(region, 2, 1, meet_in_region, &m);
        cop_pool_stats_take(pool, &stats);
        ck_assert_uint_eq(stats.regions, pool->cpus > 1 ? i : 0);
        ck_assert_uint_eq(stats.stalls, stats.regions);
    }
    cop__region_close(region);
    cop_pool_stats_take(pool, &stats);
    ck_assert_uint_eq(stats.stalls, stats.regions);
    cop_pool_close(pool);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_test(tests, one_searcher_is_enough);
    tcase_add_test(tests, who_parks_searches_no_more);
    tcase_add_test(tests, any_worker_can_be_stolen_from);
    tcase_add_test(tests, who_leaves_searches_no_more);
    tcase_add_test(tests, listeners_are_told_of_threads);
    tcase_add_test(tests, a_region_does_not_keep_a_worker);
    tcase_add_loop_test(tests, a_loop_of_two_ranges, 0, 2);
    tcase_add_test(tests, a_stall_counts_once);
}

int
main(void)
{
    return run_suite("pool rules", add);
}

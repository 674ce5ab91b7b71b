/* SPDX-License-Identifier: MIT */
/*
 * The rules of regions one by one, on one thread: who claims which items, whom a run wakes, when
 * its owner sleeps, and when sharing is worth it. The code of regions is compiled into this program
 * with a clock, a sleep and a waking of workers that the tests tell what to do and then ask; what
 * other lanes do is done in between by the tests themselves, as a worker would.
 */
#include <stdio.h>

#include "tests/support/workers_test.h"
#include "workers/pool_internal.h"

/* --- the clock, sleeping and waking ------------------------------------------------------------
 */

static uint64_t clock_now, clock_step;
static unsigned clock_looks;
static unsigned sleeps, wakes;                                        /* of the owner */
static void (*at_sleep)(void), (*at_clock)(void), (*at_notify)(void); /* happens there, once */
static unsigned notified;                                             /* calls */
static uint32_t notified_for;                                         /* by the last one */

static bool locked;

static void
happen(void (**act)(void))
{
    void (*now)(void) = *act;

    *act = NULL;
    if (now)
        now();
}

static uint64_t
told_clock(void)
{
    clock_looks++;
    happen(&at_clock);
    return clock_now += clock_step;
}

static void
told_wait(_Atomic uint32_t *word, uint32_t value, uint64_t deadline)
{
    ck_assert_uint_eq(deadline, UINT64_MAX);
    ck_assert_uint_eq(atomic_load(word), value);
    ck_assert_uint_lt(sleeps++, 10); /* else nobody wakes it */
    happen(&at_sleep);
}

static void
told_wake(_Atomic uint32_t *word, int threads)
{
    (void)word;
    ck_assert_int_eq(threads, 1);
    wakes++;
}

/* Opening and closing exclude each other by a lock, which is freed again. */
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

static void *
told_alloc(size_t alignment, size_t bytes)
{
    void *memory = (aligned_alloc)(alignment, bytes);

    ck_assert_ptr_nonnull(memory);
    return memset(memory, 0xff, bytes);
}

static void
told_notify(cop_pool *pool, uint32_t n)
{
    (void)pool;
    notified++;
    notified_for = n;
    happen(&at_notify);
}

#define cop__clock_ns told_clock
#define cop__futex_wait told_wait
#define cop__futex_wake told_wake
#define cop__pool_notify told_notify
#define aligned_alloc told_alloc
#define pthread_mutex_lock told_lock
#define pthread_mutex_unlock told_unlock
#include "workers/region.c" /* NOLINT(bugprone-suspicious-include) */

/* --- a pool without threads that looks as if it had some ----------------------------------------
 */

static cop_pool pool;
static _Atomic uint64_t alive;

static void
pool_begin(uint32_t cpus, uint32_t threads)
{
    memset(&pool, 0, sizeof pool);
    pthread_mutex_init(&pool.regions_lock, NULL);
    atomic_store(&alive, 1);
    pool.alive = &alive;
    pool.cpus = cpus;
    cop__event_init(&pool.events);
    atomic_init(&pool.threads, threads);
    clock_now = 1000000000;
    clock_step = clock_looks = sleeps = wakes = notified = notified_for = 0;
}

static cop__region *
open_lanes(unsigned lanes)
{
    cop__region *region = cop__region_open(&pool);

    ck_assert_ptr_nonnull(region);
    ck_assert_uint_eq(cop__region_lanes(region), lanes);
    return region;
}

static void
pool_end(void)
{
    for (uint32_t i = 0; i < atomic_load(&pool.regions_made); i++)
        cop__region_free(atomic_load(&pool.regions[i]));
    pthread_mutex_destroy(&pool.regions_lock);
}

static void
park(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        cop__event_prepare(&pool.events, false);
}

/* --- what a run hands out -----------------------------------------------------------------------
 */

static char handed[512]; /* "lane:begin-end" of each chunk, in order */

static void
note_chunk(unsigned lane, uint32_t begin, uint32_t end)
{
    size_t n = strlen(handed);

    snprintf(handed + n, sizeof handed - n, "%s%u:%u-%u", n ? " " : "", lane, begin, end);
}

static void
note(void *context, unsigned lane, uint32_t begin, uint32_t end)
{
    ck_assert_ptr_eq(context, handed);
    note_chunk(lane, begin, end);
}

static void
check_run(cop__region *region, uint32_t items, uint32_t least, const char *expected)
{
    handed[0] = '\0';
    cop__region_run(region, items, least, note, handed);
    ck_assert_str_eq(handed, expected);
}

/* A share for each thread that may come. Its home lane takes half of what is left at its beginning,
 * but no less than it may; then it helps the next ones, from their ends. */
START_TEST(shares_and_chunks)
{
    pool_begin(4, 3);
    cop__region *region = open_lanes(4);
    check_run(region, 16, 1,
              "0:0-2 0:2-3 0:3-4 0:6-8 0:5-6 0:4-5 0:10-12 0:9-10 0:8-9 "
              "0:14-16 0:13-14 0:12-13");
    check_run(region, 16, 3, "0:0-3 0:3-4 0:5-8 0:4-5 0:9-12 0:8-9 0:13-16 0:12-13");
    check_run(region, 3, 0, "0:0-1 0:1-2 0:2-3");
    check_run(region, 10, 9, "0:0-2 0:2-5 0:5-7 0:7-10");
    check_run(region, 10, 10, "0:0-10"); /* and not shared */
    check_run(region, 1, 0, "0:0-1");
    check_run(region, 0, 0, "");
    ck_assert_uint_eq(atomic_load(&region->runs), 4);
    cop__region_close(region);
    pool_end();
}
END_TEST

/* No share for a thread that would have no CPU, for one without an item, or for a ninth. */
START_TEST(how_many_shares)
{
    pool_begin(3, 7);
    cop__region *region = open_lanes(8);
    check_run(region, 6, 2, "0:0-2 0:2-4 0:4-6");
    pool_end();
    pool_begin(20, 12);
    region = open_lanes(13);
    check_run(region, 16, 2, "0:0-2 0:2-4 0:4-6 0:6-8 0:8-10 0:10-12 0:12-14 0:14-16");
    atomic_store(&pool.threads, 1);
    check_run(region, 16, 8, "0:0-8 0:8-16");
    pool_end();
    pool_begin(2, 1);
    region = open_lanes(2);
    check_run(region, 2, 1, "0:0-1 0:1-2");
    check_run(region, 20, 4, "0:0-5 0:5-9 0:9-10 0:15-20 0:11-15 0:10-11");
    pool_end();
}
END_TEST

/* --- other lanes --------------------------------------------------------------------------------
 */

enum { COMERS = 4 };

static cop__region *shared;
static cop__chunk kept[COMERS + 1];
static unsigned comers; /* lanes 1 to comers, which come in the owner's first chunk */
static uint32_t chunks_of_others;

static void
others_come(void)
{
    memset(kept, 0, sizeof kept);
    for (unsigned lane = 1; lane <= comers; lane++)
        if (!cop__region_claim(shared, lane, &kept[lane]))
            note_chunk(lane, 0, 0);
}

static void
others_work(void)
{
    for (unsigned lane = 1; lane <= comers; lane++)
        if (kept[lane].region)
            chunks_of_others += cop__region_work(&kept[lane], lane);
    comers = 0;
}

static void
note_and_come(void *context, unsigned lane, uint32_t begin, uint32_t end)
{
    note(context, lane, begin, end);
    if (lane == 0 && begin == 0)
        others_come();
}

static void
run_with(cop__region *region, uint32_t items, unsigned lanes, const char *expected)
{
    shared = region;
    comers = lanes;
    handed[0] = '\0';
    sleeps = wakes = clock_looks = chunks_of_others = 0;
    cop__region_run(region, items, 1, note_and_come, handed);
    ck_assert_str_eq(handed, expected);
    ck_assert_uint_eq(comers, 0);
}

/* Each has its home; a lane beyond the shares has another's; one that was not asked for gets
 * nothing. The owner sleeps until the last of the others has done what it claimed. */
START_TEST(lanes_at_home)
{
    pool_begin(3, 3);
    cop__region *region = open_lanes(4);
    clock_step = 30000;
    at_sleep = others_work;
    run_with(
        region, 15, 4,
        "0:0-2 4:0-0 0:3-4 0:4-5 0:9-10 0:8-9 0:7-8 0:14-15 0:13-14 0:12-13 1:5-7 2:10-12 3:2-3");
    ck_assert_uint_eq(chunks_of_others, 3);
    ck_assert_uint_eq(sleeps, 1);
    ck_assert_uint_eq(wakes, 3);
    ck_assert_uint_eq(atomic_load(&region->stalls), 1);
    pool_end();
}
END_TEST

/* The owner looks at the clock until its last chunk should have ended, and 20 us more. */
static void
check_patience(cop__region *region, uint64_t step, double ns, unsigned looks)
{
    clock_step = step;
    at_sleep = others_work;
    if (ns > 0)
        ck_assert(cop__region_worth(region, 1000, ns));
    run_with(region, 8, 1, "0:0-2 0:2-3 0:3-4 0:7-8 0:6-7 1:4-6");
    ck_assert_uint_eq(clock_looks, looks);
    ck_assert_uint_eq(sleeps, 1);
}

START_TEST(an_owner_waits_a_while_before_it_sleeps)
{
    pool_begin(2, 1);
    cop__region *region = open_lanes(2);
    check_patience(region, 1000, 0, 22);
    check_patience(region, 1000, 5000, 27);
    check_patience(region, 20001, 0, 2);
    check_patience(region, 20000, 0, 3);
    ck_assert(cop__region_worth(region, 1000, 5000));
    cop__region_close(region);
    ck_assert_ptr_eq(region, open_lanes(2));
    check_patience(region, 20001, 0, 2);
    pool_end();
}
END_TEST

/* Nobody is woken who does not sleep, also not when he slept in an earlier run. */
START_TEST(who_does_not_sleep_is_not_woken)
{
    pool_begin(2, 1);
    cop__region *region = open_lanes(2);
    check_patience(region, 1000, 0, 22);
    ck_assert_uint_eq(wakes, 1);
    at_clock = others_work;
    run_with(region, 8, 1, "0:0-2 0:2-3 0:3-4 0:7-8 0:6-7 1:4-6");
    ck_assert_uint_eq(clock_looks, 1);
    ck_assert_uint_eq(sleeps + wakes, 0);
    ck_assert_uint_eq(atomic_load(&region->stalls), 1);
    ck_assert_uint_eq(atomic_load(&region->runs), 2);
    pool_end();
}
END_TEST

/* When workers are notified all items are there: they may take every one, and still have them when
 * the owner finds none left. It then waits as after a chunk of no items. */
START_TEST(others_may_take_it_all)
{
    pool_begin(2, 2);
    cop__region *region = open_lanes(3);
    clock_step = 1000;
    ck_assert(cop__region_worth(region, 1000, 5000));
    region->wake = true;
    at_notify = others_come;
    at_sleep = others_work;
    run_with(region, 2, 2, "1:1-2 2:0-1");
    ck_assert_uint_eq(clock_looks, 22);
    ck_assert_uint_eq(sleeps, 1);
    pool_end();
}
END_TEST

/* --- whom a run wakes ----------------------------------------------------------------------------
 */

static void
check_notified(cop__region *region, uint32_t items, uint32_t least, unsigned calls,
               uint32_t workers)
{
    notified = notified_for = 0;
    cop__region_run(region, items, least, note, handed);
    ck_assert_uint_eq(notified, calls);
    ck_assert_uint_eq(notified_for, workers);
}

/* As many as there are chunks for, and CPUs beside the owner's. */
START_TEST(how_many_are_woken)
{
    pool_begin(8, 3);
    cop__region *region = open_lanes(4);
    check_notified(region, 16, 4, 1, 4);
    check_notified(region, 16, 1, 1, 7);
    check_notified(region, 16, 0, 1, 7);
    check_notified(region, 5, 0, 1, 5);
    check_notified(region, 5, 5, 0, 0);
    pool.cpus = 2;
    check_notified(region, 16, 1, 1, 1);
    pool.cpus = 1; /* nobody beside the owner */
    check_notified(region, 16, 1, 0, 0);
    pool.cpus = 8;
    atomic_store(&alive, 0); /* in a forked child there are no threads */
    check_notified(region, 16, 1, 0, 0);
    ck_assert_uint_eq(atomic_load(&region->runs), 5);
    pool_end();
}
END_TEST

/* A policy that finds those who are awake enough holds for the next run alone. */
START_TEST(whom_policy_wakes)
{
    pool_begin(8, 3);
    cop__region *region = open_lanes(4);
    ck_assert(cop__region_worth(region, 100, 1000));
    check_notified(region, 16, 1, 0, 0);
    check_notified(region, 16, 1, 1, 7);
    park(1);
    ck_assert(cop__region_worth(region, 50, 1000)); /* too little for a wake */
    check_notified(region, 16, 1, 0, 0);
    ck_assert(cop__region_worth(region, 1000, 1000));
    check_notified(region, 16, 1, 1, 7);
    pool_end();
}
END_TEST

/* --- what is worth sharing ----------------------------------------------------------------------
 */

static void
check_worth(uint32_t cpus, uint32_t threads, unsigned parked, uint32_t items, double ns, bool worth)
{
    pool_begin(cpus, 8);
    cop__region *region = open_lanes(9);
    atomic_store(&pool.threads, threads);
    park(parked);
    ck_assert_msg(cop__region_worth(region, items, ns) == worth, "%u items of %f ns", items, ns);
    ck_assert_uint_eq(clock_looks, parked > 0 && worth);
    pool_end();
}

/* Half the time of one thread with one other, two thirds with two, less 10 ns an item; 600 ns are
 * worth it. */
START_TEST(what_sharing_has_to_save)
{
    check_worth(8, 1, 0, 10, 140.0, true);
    check_worth(8, 1, 0, 10, 139.9, false);
    check_worth(8, 2, 0, 10, 105.1, true);
    check_worth(8, 2, 0, 10, 104.9, false);
    check_worth(3, 7, 0, 10, 105.1, true); /* no CPU for a third */
    check_worth(3, 7, 0, 10, 104.9, false);
    check_worth(8, 3, 0, 2, 620.0, true); /* no item for a third */
    check_worth(8, 3, 0, 2, 619.9, false);
    check_worth(8, 3, 2, 10, 140.0, true); /* two of three would have to be woken */
    check_worth(8, 1, 0, 1000000, 60.1, true);
    check_worth(8, 1, 0, 1000000, 60.0, false); /* cheap items never */
    check_worth(8, 1, 0, 1, 1e9, false);
    check_worth(8, 1, 0, 2, 1e9, true);
    check_worth(8, 0, 0, 1000, 1e6, false);
    check_worth(1, 4, 0, 1000, 1e6, false);
}
END_TEST

/* One worker, who is parked: what he could have saved lately must be worth 75 us. */
static cop__region *
open_parked(void)
{
    pool_begin(8, 1);
    park(1);
    return open_lanes(2);
}

/* Saves ns. */
static bool
worth_after(cop__region *region, uint64_t pause, double ns)
{
    clock_now += pause;
    return cop__region_worth(region, 10, ns / 5 + 20);
}

START_TEST(what_a_wake_has_to_save)
{
    cop__region *region = open_parked();
    ck_assert(!worth_after(region, 0, 74999));
    pool_end();
    region = open_parked();
    ck_assert(worth_after(region, 0, 75000));
    pool_end();
    region = open_parked();
    ck_assert(!worth_after(region, 0, 25000)); /* those awake, none, save nothing */
    ck_assert(!worth_after(region, 0, 25000));
    ck_assert(worth_after(region, 0, 25000));
    pool_end();
    pool_begin(8, 3);
    region = open_lanes(4);
    park(2);
    ck_assert(!cop__region_worth(region, 10, 139.9)); /* what the one awake saves is too little */
    pool_end();
}
END_TEST

/* An eighth of the time that passes. */
START_TEST(savings_are_forgotten)
{
    cop__region *region = open_parked();
    ck_assert(!worth_after(region, 0, 50000));
    ck_assert(worth_after(region, 200000, 50000));
    pool_end();
    region = open_parked();
    ck_assert(!worth_after(region, 0, 50000));
    ck_assert(!worth_after(region, 200008, 50000));
    ck_assert(worth_after(region, 0, 1000));
    pool_end();
    region = open_parked();
    ck_assert(!worth_after(region, 0, 50000));
    ck_assert(!worth_after(region, 80000000, 74000)); /* not more than there was */
    ck_assert(worth_after(region, 0, 1000));
    pool_end();
}
END_TEST

/* No more than 300 us are remembered, however much it was. */
START_TEST(savings_have_a_most)
{
    cop__region *region = open_parked();
    ck_assert(worth_after(region, 0, 1000000));
    ck_assert(worth_after(region, 1808000, 1000));
    pool_end();
    region = open_parked();
    ck_assert(worth_after(region, 0, 1000000));
    ck_assert(!worth_after(region, 1808008, 1000));
    pool_end();
}
END_TEST

START_TEST(always_worth_it)
{
    pool_begin(1, 1);
    cop__region *region = cop__region_open(&pool);
    cop__region_always = true;
    ck_assert(!cop__region_worth(NULL, 9, 9));
    ck_assert(!cop__region_worth(region, 2, 0));
    ck_assert_uint_eq(cop__region_lanes(region), 2);
    ck_assert(cop__region_worth(region, 2, 0));
    ck_assert(!cop__region_worth(region, 1, 0));
    pool.cpus = 2;
    check_notified(region, 4, 1, 0, 0);
    ck_assert(cop__region_worth(region, 4, 0));
    check_notified(region, 4, 1, 1, 1);
    cop__region_always = false;
    pool_end();
}
END_TEST

/* --- switching off -------------------------------------------------------------------------------
 */

static void
gain(cop__region *region, double ns)
{
    cop__region_account(region, 1000, (ns + 5e9) / 1000, UINT64_C(5000000000));
}

static bool
is_on(cop__region *region)
{
    return cop__region_worth(region, 1000, 1000);
}

/* A loss of `ns` switches it off for so many milliseconds from now on, to the nanosecond. */
static void
check_off(cop__region *region, double ns, uint64_t ms)
{
    uint64_t begin = clock_now;

    gain(region, -ns);
    ck_assert(!is_on(region));
    clock_now = begin + ms * 1000000 - 1;
    ck_assert(!is_on(region));
    clock_now++;
    ck_assert(is_on(region));
    clock_looks = 0;
    ck_assert(is_on(region));
    ck_assert_uint_eq(clock_looks, 0);
}

static cop__region *
open_awake(void)
{
    pool_begin(8, 1);
    return open_lanes(2);
}

/* A region begins with a credit of 1 ms, and 20 us less than nothing are allowed. */
START_TEST(losses_beyond_the_credit)
{
    cop__region *region = open_awake();
    gain(region, -1020000);
    ck_assert(is_on(region));
    check_off(region, 1, 2);
    gain(region, -20000); /* from nothing */
    ck_assert(is_on(region));
    check_off(region, 1, 4);
    gain(region, 1e9); /* 3 ms are kept of it */
    gain(region, -3020000);
    ck_assert(is_on(region));
    check_off(region, 1, 8);
    pool_end();
}
END_TEST

START_TEST(each_time_twice_as_long)
{
    cop__region *region = open_awake();
    gain(region, -1000000);
    for (unsigned i = 0; i < 10; i++)
        check_off(region, 20001, i < 7 ? UINT64_C(2) << i : 256);
    pool_end();
}
END_TEST

/* What could have been saved while it was off does not count. */
START_TEST(savings_end_with_being_off)
{
    cop__region *region = open_parked();
    ck_assert(worth_after(region, 0, 1000000));
    gain(region, -1020001);
    ck_assert(!worth_after(region, 1999999, 74000));
    ck_assert(!worth_after(region, 1, 74000));
    ck_assert(worth_after(region, 0, 1000));
    pool_end();
}
END_TEST

/* Switched off twice; then some gains of 1 ms; the next time is so long. */
static void
check_forgiven(unsigned gains, unsigned more, uint64_t ms)
{
    cop__region *region = open_awake();
    gain(region, -1000000);
    check_off(region, 20001, 2);
    check_off(region, 20001, 4);
    gain(region, 1000000); /* no more than the credit that a region begins with: not counted */
    gain(region, 0);
    for (unsigned i = 0; i < gains; i++)
        gain(region, 1000000);
    for (unsigned i = 0; i < 9; i++)
        gain(region, 0); /* is none */
    if (more > 0)
        check_off(region, 3020001, 8);
    for (unsigned i = 0; i < more + (more > 0); i++)
        gain(region, 1000000);
    check_off(region, 3020001, ms);
    pool_end();
}

START_TEST(gains_make_it_shorter)
{
    check_forgiven(200, 0, 8);
    check_forgiven(201, 0, 4);
    check_forgiven(401, 0, 4);
    check_forgiven(402, 0, 2);
    check_forgiven(603, 0, 2);    /* not less */
    check_forgiven(200, 200, 16); /* gains before a loss do not count */
    check_forgiven(200, 201, 8);
}
END_TEST

/* --- opening and closing -------------------------------------------------------------------------
 */

/* The sums of a pool are those of its regions, open and closed. */
static void
check_counts(cop__region *region, uint64_t runs, uint64_t stalls)
{
    uint64_t runs_now = atomic_load(&pool.runs), stalls_now = atomic_load(&pool.stalls);

    cop__region_counts(region, &runs_now, &stalls_now);
    ck_assert_uint_eq(runs_now, runs);
    ck_assert_uint_eq(stalls_now, stalls);
}

/* Before its first run it has nothing for anybody. */
START_TEST(a_new_region)
{
    cop__chunk chunk;

    pool_begin(8, 1);
    cop__region *region = open_lanes(2);
    ck_assert(!cop__region_claim(region, 1, &chunk));
    ck_assert_uint_eq(cop__region_lanes(NULL), 1);
    check_counts(region, 0, 0);
    check_run(region, 2, 1, "0:0-1 0:1-2");
    pool_end();
}
END_TEST

static void
open_again(cop__region *region)
{
    cop__region_close(region);
    ck_assert_ptr_eq(open_lanes(2), region);
}

/* One that is opened again has forgotten everything but its lanes. */
START_TEST(a_place_is_used_again)
{
    cop__region *region = open_awake();
    gain(region, -1000000);
    open_again(region);
    gain(region, -1020000);
    ck_assert(is_on(region));
    gain(region, -1);
    ck_assert(!is_on(region));
    open_again(region);
    clock_looks = 0;
    ck_assert(is_on(region));
    ck_assert_uint_eq(clock_looks, 0);
    check_off(region, 1020001, 2);
    ck_assert(is_on(region)); /* and the next run wakes nobody */
    open_again(region);
    check_notified(region, 4, 1, 1, 4);
    pool_end();
    region = open_parked();
    ck_assert(!worth_after(region, 0, 50000));
    open_again(region);
    ck_assert(!worth_after(region, 0, 74999));
    pool_end();
}
END_TEST

START_TEST(runs_and_stalls_are_counted)
{
    pool_begin(2, 1);
    cop__region *region = open_lanes(2);
    clock_step = 30000;
    at_sleep = others_work;
    check_counts(region, 0, 0);
    run_with(region, 2, 1, "0:0-1 1:1-2");
    check_counts(region, 1, 1);
    check_run(region, 2, 1, "0:0-1 0:1-2");
    check_counts(region, 2, 1);
    cop__region_close(region);
    check_counts(region, 2, 1);
    ck_assert_ptr_eq(cop__region_open(&pool), region);
    check_run(region, 2, 1, "0:0-1 0:1-2");
    check_counts(region, 3, 1);
    cop__region_close(region);
    check_counts(region, 3, 1);
    pool_end();
}
END_TEST

/* A pool knows 64. The others have no workers, and are gone when they are closed. */
START_TEST(a_region_too_many)
{
    cop__region *regions[COP_POOL_REGIONS_MAX];

    pool_begin(8, 3);
    for (unsigned i = 0; i < COP_POOL_REGIONS_MAX; i++)
        regions[i] = open_lanes(4);
    cop__region *many = open_lanes(1);
    ck_assert_uint_eq(atomic_load(&pool.regions_made), COP_POOL_REGIONS_MAX);
    check_run(many, 10, 1, "0:0-10");
    check_run(regions[63], 2, 1, "0:0-1 0:1-2");
    cop__region_close(many);
    cop__region_close(regions[17]);
    ck_assert_ptr_eq(open_lanes(4), regions[17]);
    atomic_store(&alive, 0);
    ck_assert_uint_eq(cop__region_lanes(regions[0]), 4);
    atomic_store(&pool.threads, 7);
    ck_assert_uint_eq(cop__region_lanes(regions[0]), 4);
    ck_assert_ptr_null(cop__region_open(&pool));
    cop__region_close(regions[0]);
    ck_assert(regions[0]->open);
    atomic_store(&alive, 1);
    ck_assert_uint_eq(cop__region_lanes(regions[0]), 8);
    atomic_store(&pool.threads, 2);
    ck_assert_uint_eq(cop__region_lanes(regions[0]), 8);
    pool_end();
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_test(tests, shares_and_chunks);
    tcase_add_test(tests, how_many_shares);
    tcase_add_test(tests, lanes_at_home);
    tcase_add_test(tests, an_owner_waits_a_while_before_it_sleeps);
    tcase_add_test(tests, who_does_not_sleep_is_not_woken);
    tcase_add_test(tests, others_may_take_it_all);
    tcase_add_test(tests, how_many_are_woken);
    tcase_add_test(tests, whom_policy_wakes);
    tcase_add_test(tests, what_sharing_has_to_save);
    tcase_add_test(tests, what_a_wake_has_to_save);
    tcase_add_test(tests, savings_are_forgotten);
    tcase_add_test(tests, savings_have_a_most);
    tcase_add_test(tests, always_worth_it);
    tcase_add_test(tests, losses_beyond_the_credit);
    tcase_add_test(tests, each_time_twice_as_long);
    tcase_add_test(tests, savings_end_with_being_off);
    tcase_add_test(tests, gains_make_it_shorter);
    tcase_add_test(tests, a_new_region);
    tcase_add_test(tests, a_place_is_used_again);
    tcase_add_test(tests, runs_and_stalls_are_counted);
    tcase_add_test(tests, a_region_too_many);
}

int
main(void)
{
    return run_suite("region rules", add);
}

/* SPDX-License-Identifier: MIT */
/* Alarms of a pool by a clock that the test sets: who is nudged, who sleeps until when. alarms.c is
 * compiled into this program; the pool has no threads, and its events are counted. */
#include "tests/support/store_test.h"
#include "workers/alarms.h"
#include "workers/pool_internal.h"

static struct {
    uint64_t now;
    unsigned stirs, nudges;
} world;

static uint64_t
world_clock(void)
{
    return world.now;
}

static void
world_stir(cop__event_count *events)
{
    (void)events;
    world.stirs++;
}

static void
world_nudge(cop__event_count *events)
{
    (void)events;
    world.nudges++;
}

#define cop__clock_ns world_clock
#define cop__event_stir world_stir
#define cop__event_nudge world_nudge
#include "workers/alarms.c" /* NOLINT(bugprone-suspicious-include) */

static cop_pool pool;
static unsigned rung;

static void
ring(void *context)
{
    rung += *(unsigned *)context;
}

static unsigned one = 1, ten = 10;
static cop__alarm a, b;

static void
setup(void)
{
    memset(&world, 0, sizeof world);
    memset(&pool, 0, sizeof pool);
    a = (cop__alarm){.function = ring, .context = &one};
    b = (cop__alarm){.function = ring, .context = &ten};
    rung = 0;
    cop__timers_init(&pool.alarms);
}

static void
teardown(void)
{
    cop__timers_end(&pool.alarms);
}

static void
woken(unsigned stirs, unsigned nudges)
{
    ck_assert_uint_eq(world.stirs, stirs);
    ck_assert_uint_eq(world.nudges, nudges);
    world.stirs = world.nudges = 0;
}

/* An earlier alarm than any: one is nudged, or all are stirred when the keeper is asleep. */
START_TEST(setting)
{
    ck_assert(cop__pool_alarm_set(&pool, &a, 100));
    woken(0, 1);
    ck_assert(cop__pool_alarm_set(&pool, &b, 100)); /* not earlier */
    woken(0, 0);
    ck_assert(!cop__pool_alarm_set(&pool, &b, 99));
    woken(0, 1);
    ck_assert(!cop__pool_alarm_set(&pool, &a, 200)); /* the earlier one stands */
    woken(0, 0);
    atomic_store(&pool.keeper, 1);
    ck_assert(!cop__pool_alarm_set(&pool, &a, 98));
    woken(1, 0);
    ck_assert(cop__pool_alarm_remove(&pool, &a));
    ck_assert(!cop__pool_alarm_remove(&pool, &a));
    woken(0, 0);
    ck_assert_uint_eq(cop__timers_earliest(&pool.alarms), 99);
}
END_TEST

START_TEST(ringing)
{
    ck_assert(!cop__pool_alarm_due(&pool));
    world.now = COP_TIMER_NEVER;
    ck_assert(!cop__pool_alarm_due(&pool)); /* there is none, whatever the time */
    cop__pool_alarm_set(&pool, &a, 100);
    cop__pool_alarm_set(&pool, &b, 101);
    world.now = 99;
    ck_assert(!cop__pool_alarm_due(&pool));
    cop__pool_alarms_run(&pool);
    ck_assert_uint_eq(rung, 0);
    world.now = 100;
    ck_assert(cop__pool_alarm_due(&pool));
    cop__pool_alarms_run(&pool);
    ck_assert_uint_eq(rung, 1);
    ck_assert(!cop__pool_alarm_due(&pool));
    world.now = 500;
    cop__pool_alarms_run(&pool);
    ck_assert_uint_eq(rung, 11);
    cop__pool_alarms_run(&pool);
    ck_assert_uint_eq(rung, 11);
}
END_TEST

/* One sleeps until the earliest alarm, the others until they are woken. */
START_TEST(parking)
{
    bool keeper = false, other = false;

    ck_assert_uint_eq(cop__pool_alarm_park(&pool, &keeper), COP_TIMER_NEVER);
    ck_assert(!keeper); /* there is nothing to keep */
    ck_assert_uint_eq(pool.keeper, 0);
    cop__pool_alarm_set(&pool, &a, 100);
    ck_assert_uint_eq(cop__pool_alarm_park(&pool, &keeper), 100);
    ck_assert(keeper);
    ck_assert_uint_eq(pool.keeper, 1);
    ck_assert_uint_eq(cop__pool_alarm_park(&pool, &other), COP_TIMER_NEVER);
    ck_assert(!other);
    cop__pool_alarm_set(&pool, &b, 50);
    ck_assert_uint_eq(cop__pool_alarm_park(&pool, &keeper), 50); /* it keeps its place */
    ck_assert(keeper);
    cop__pool_alarm_remove(&pool, &a);
    cop__pool_alarm_remove(&pool, &b);
    ck_assert_uint_eq(cop__pool_alarm_park(&pool, &keeper), COP_TIMER_NEVER);
    ck_assert(keeper);
    ck_assert_uint_eq(pool.keeper, 1);
}
END_TEST

/* Who goes to work leaves the keeper's place; one of those that are asleep is to take it. */
START_TEST(going_to_work)
{
    bool keeper = false;

    cop__pool_alarm_unpark(&pool, false);
    woken(0, 0);
    cop__pool_alarm_set(&pool, &a, 100);
    woken(0, 1);
    cop__pool_alarm_unpark(&pool, false); /* there is no keeper: the nudge is handed on */
    woken(0, 1);
    (void)cop__pool_alarm_park(&pool, &keeper);
    cop__pool_alarm_unpark(&pool, false);
    woken(0, 0);
    ck_assert_uint_eq(pool.keeper, 1);
    cop__pool_alarm_unpark(&pool, true);
    woken(0, 1);
    ck_assert_uint_eq(pool.keeper, 0);
    (void)cop__pool_alarm_park(&pool, &keeper);
    cop__pool_alarm_remove(&pool, &a);
    cop__pool_alarm_unpark(&pool, true); /* nothing is left to keep */
    woken(0, 0);
    ck_assert_uint_eq(pool.keeper, 0);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, setting);
    tcase_add_test(tests, ringing);
    tcase_add_test(tests, parking);
    tcase_add_test(tests, going_to_work);
}

int
main(void)
{
    return t_run("alarms", add);
}

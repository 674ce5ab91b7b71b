/* SPDX-License-Identifier: MIT */
/*
 * Recording by clocks that the test sets: what a commit is recorded as to the nanosecond, which one
 * is measured next, and which is over its budget.
 *
 * record.c is compiled into this program, and a monitor is put together by hand: there is no store,
 * so nothing is recorded but what the test says.
 */
#include "monitor/monitor.h"
#include "tests/support/store_test.h"

#define MS UINT64_C(1000000)
#define SECOND UINT64_C(1000000000)

static struct {
    uint64_t now, step; /* each reading of the clock takes a step */
    unsigned slow_readings;
    uint64_t slow_step; /* of the first ones */
    uint64_t day;       /* the clock of the day */
    struct timespec coarse;
    long tick;
} world;

static uint64_t
world_clock(void)
{
    world.now += world.slow_readings > 0 ? world.slow_step : world.step;
    world.slow_readings -= world.slow_readings > 0;
    return world.now;
}

static uint64_t
world_day(void)
{
    return world.day;
}

static int
world_coarse(clockid_t clock, struct timespec *t)
{
    ck_assert_int_eq(clock, CLOCK_MONOTONIC_COARSE);
    *t = world.coarse;
    return 0;
}

static int
world_resolution(clockid_t clock, struct timespec *t)
{
    ck_assert_int_eq(clock, CLOCK_MONOTONIC_COARSE);
    *t = (struct timespec){0, world.tick};
    return 0;
}

#define cop__clock_ns world_clock
#define cop__realtime_ns world_day
#define clock_gettime world_coarse
#define clock_getres world_resolution
/* NOLINTBEGIN(bugprone-suspicious-include) */
#include "monitor/record.c"
/* NOLINTEND(bugprone-suspicious-include) */

static cop__monitor monitor;
static cop__monitor_block block[2];
static cop__monitor_wave wave;
static cop__budgets budgets;
static cop__trace trace;
static cop__trace_span span[32];

static const cop_monitor_options options_init = COP_MONITOR_OPTIONS_INIT;

static void
begin_with(cop_monitor_options options, uint64_t default_ns)
{
    options.size = sizeof options;
    cop__budgets_start(&budgets, &options, default_ns);
    cop__monitor_calibrate(&monitor, options.sample_every);
    memset(block, 0, sizeof block); /* as a reader leaves it */
    world.now = 1000;
    world.step = 0;
}

static void
setup(void)
{
    memset(&world, 0, sizeof world);
    memset(&monitor, 0, sizeof monitor);
    memset(block, 0, sizeof block);
    memset(&wave, 0, sizeof wave);
    memset(&budgets, 0, sizeof budgets);
    memset(&trace, 0, sizeof trace);
    world.now = 1000;
    world.step = 10;
    world.day = 500 * MS;
    world.tick = 4 * MS;
    cop__phaser_init(&monitor.phaser);
    monitor.block[0] = &block[0];
    monitor.block[1] = &block[1];
    monitor.wave = &wave;
    monitor.budgets = &budgets;
    monitor.trace = wave.trace = &trace;
    cop__budgets_init(&budgets);
    cop__trace_init(&trace);
}

static void
teardown(void)
{
    cop__budgets_end(&budgets);
    pthread_mutex_destroy(&trace.lock);
}

static void
measure_every(uint64_t every)
{
    cop_monitor_options options = options_init;
    options.sample_every = every;
    begin_with(options, 0);
}

static uint64_t
count_of(cop_measure measure)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < COP_HISTOGRAM_BUCKETS; i++)
        n += atomic_load(&block[0].of[measure].bucket[i]);
    return n;
}

static uint64_t
sum_of(cop_measure measure)
{
    return atomic_load(&block[0].of[measure].sum);
}

static void
is_recorded(cop_measure measure, uint64_t count, uint64_t sum)
{
    ck_assert_msg(count_of(measure) == count && sum_of(measure) == sum,
                  "%s: %" PRIu64 " of %" PRIu64 ", should be %" PRIu64 " of %" PRIu64,
                  cop_measure_name(measure), count_of(measure), sum_of(measure), count, sum);
}

/* A measured commit whose parts take this long. */
static void
commit_of(const uint64_t part_ns[COP_MONITOR_PARTS])
{
    cop__monitor_begin(&monitor, 2, 3);
    ck_assert(monitor.measuring);
    for (unsigned part = 0; part + 1 < COP_MONITOR_PARTS; part++) {
        world.now += part_ns[part];
        cop__monitor_mark(&monitor, (cop_measure)part);
    }
    world.now += part_ns[COP_MONITOR_PARTS - 1];
    cop__monitor_end(&monitor, 77, world.day);
}

static void
commit_taking(uint64_t ns)
{
    const uint64_t part_ns[COP_MONITOR_PARTS] = {ns, 0, 0, 0, 0};
    commit_of(part_ns);
}

/* One that is not measured, by the coarse clock. */
static void
unmeasured(uint64_t ns)
{
    monitor.countdown = 100;
    cop__monitor_begin(&monitor, 2, 3);
    ck_assert(!monitor.measuring);
    world.day += ns;
    world.coarse.tv_nsec += (long)ns;
    cop__monitor_end(&monitor, 77, world.day);
}

/* ---- the beginning ---- */

START_TEST(calibrating)
{
    cop_monitor_options options = options_init;
    uint64_t bits = 0, all = 0;

    options.sample_every = 3;
    options.commit_budget_ns = 1;
    options.overrun = (cop_overrun_function)(void (*)(void))abort;
    world.coarse = (struct timespec){2, 300};
    world.day = 7 * SECOND;
    for (int i = 0; i < 64; i++) {
        monitor.armed = 1u << 30;
        monitor.passed = monitor.taken = monitor.mean_ns = 5;
        world.step = 10;
        world.slow_readings = 40;
        world.slow_step = 1000;
        begin_with(options, 0);
        ck_assert_uint_eq(monitor.cost_ns, 80); /* nine readings, the least of all rounds */
        ck_assert_uint_eq(monitor.tick_ns, 4 * MS);
        ck_assert_uint_eq(monitor.apart_ns, 5 * SECOND - 300);
        ck_assert_uint_eq(monitor.budget_ns, 1);
        ck_assert_uint_eq(monitor.armed, 0);
        ck_assert_uint_eq(monitor.untimed, 256);
        ck_assert_uint_eq(monitor.every, 3);
        ck_assert_uint_eq(monitor.countdown, 3);
        ck_assert_uint_eq(monitor.mean_ns + monitor.passed + monitor.taken, 0);
        ck_assert_uint_eq(budgets.count[COP_OVERRUN_COMMIT], 0); /* its rounds are no commits */
        all += monitor.random & 1;
        bits |= monitor.random;
    }
    ck_assert_uint_eq(all, 64);
    ck_assert_uint_gt(bits, UINT32_MAX);
    budgets.teller.function = NULL;
}
END_TEST

START_TEST(who_says_when_it_was_queued)
{
    measure_every(1);
    ck_assert_uint_eq(monitor.stamp, COP_STAMP_ALL);
    ck_assert_uint_eq(cop__monitor_queued(&monitor), 1000);
    ck_assert_uint_eq(cop__monitor_queued(&monitor), 1000);
    world.step = 10;
    measure_every(2);
    ck_assert_uint_eq(monitor.stamp, COP_STAMP_NEXT);
    ck_assert_uint_eq(cop__monitor_queued(&monitor), 1000);
    ck_assert_uint_eq(monitor.stamp, COP_STAMP_NONE);
    ck_assert_uint_eq(cop__monitor_queued(&monitor), 0);
    ck_assert_uint_eq(monitor.stamp, COP_STAMP_NONE);
    world.step = 10;
    measure_every(0);
    ck_assert_uint_eq(monitor.stamp, COP_STAMP_ALL);
    ck_assert_uint_eq(monitor.countdown, 1);
}
END_TEST

/* ---- what is recorded ---- */

START_TEST(a_commit_and_its_parts)
{
    static const uint64_t parts[COP_MONITOR_PARTS] = {100, 20, 7, 50, 3},
                          again[COP_MONITOR_PARTS] = {1, 2, 3, 4, 5};
    measure_every(1);
    commit_of(parts);
    for (unsigned part = 0; part < COP_MONITOR_PARTS; part++)
        is_recorded((cop_measure)part, 1, parts[part]);
    is_recorded(COP_MEASURE_COMMIT, 1, 180);
    is_recorded(COP_MEASURE_BATCH, 1, 2);
    is_recorded(COP_MEASURE_OPERATIONS, 1, 3);
    is_recorded(COP_MEASURE_QUEUE_WAIT, 0, 0);
    commit_of(again);
    for (unsigned part = 0; part < COP_MONITOR_PARTS; part++)
        is_recorded((cop_measure)part, 2, parts[part] + again[part]);
    is_recorded(COP_MEASURE_COMMIT, 2, 195);
    cop__phaser_flip(&monitor.phaser);
    ck_assert(cop__phaser_is_quiet(&monitor.phaser)); /* each section was left */
}
END_TEST

/* A part may be marked more than once, and one that is not takes no time. */
START_TEST(marks)
{
    measure_every(1);
    cop__monitor_begin(&monitor, 1, 1);
    world.now += 10;
    cop__monitor_mark(&monitor, COP_MEASURE_APPLY);
    world.now += 5;
    cop__monitor_mark(&monitor, COP_MEASURE_TELL);
    world.now += 7;
    cop__monitor_mark(&monitor, COP_MEASURE_APPLY);
    cop__monitor_end(&monitor, 1, 0);
    is_recorded(COP_MEASURE_APPLY, 1, 17);
    is_recorded(COP_MEASURE_TELL, 1, 5);
    is_recorded(COP_MEASURE_PUBLISH, 1, 0);
    is_recorded(COP_MEASURE_RECLAIM, 1, 0);
    is_recorded(COP_MEASURE_COMMIT, 1, 22);
}
END_TEST

START_TEST(one_stands_for_those_before)
{
    measure_every(3);
    for (int round = 1; round <= 3; round++) {
        for (int i = 0; i < 2; i++) {
            cop__monitor_begin(&monitor, 1, 1);
            ck_assert(!monitor.measuring);
            cop__monitor_end(&monitor, 1, 0);
        }
        ck_assert_uint_eq(monitor.countdown, 1);
        commit_taking(10);
        is_recorded(COP_MEASURE_COMMIT, (uint64_t)round * 3, (uint64_t)round * 30);
        is_recorded(COP_MEASURE_BATCH, (uint64_t)round * 3, (uint64_t)round * 6);
        ck_assert_uint_eq(monitor.countdown, 3);
    }
}
END_TEST

START_TEST(waiting)
{
    cop__monitor_waits waits = {NULL, 0, 0}, none = {NULL, 0, 0};
    measure_every(1);
    cop__monitor_waited(&monitor, &waits, 0);
    cop__monitor_waited(&monitor, &waits, 0);
    ck_assert_ptr_null(waits.block);
    cop__monitor_waited(&monitor, &waits, 900); /* for itself and the two */
    is_recorded(COP_MEASURE_QUEUE_WAIT, 3, 300);
    world.now = 5000; /* one reading for a batch */
    cop__monitor_waited(&monitor, &waits, 999);
    is_recorded(COP_MEASURE_QUEUE_WAIT, 4, 301);
    cop__monitor_waited(&monitor, &waits, 1000);
    cop__monitor_waited(&monitor, &waits, 1001); /* submitted after that */
    is_recorded(COP_MEASURE_QUEUE_WAIT, 6, 301);
    cop__phaser_flip(&monitor.phaser);
    ck_assert(!cop__phaser_is_quiet(&monitor.phaser));
    cop__monitor_waits_end(&monitor, &waits);
    ck_assert(cop__phaser_is_quiet(&monitor.phaser));
    cop__monitor_waits_end(&monitor, &none);
    cop__monitor_waited(&monitor, &none, 0);
    cop__monitor_waits_end(&monitor, &none);
    ck_assert(cop__phaser_is_quiet(&monitor.phaser));
}
END_TEST

START_TEST(what_others_record)
{
    measure_every(1);
    cop__monitor_add(&monitor, COP_MEASURE_NOTIFY, 40);
    cop__monitor_add(&monitor, COP_MEASURE_SERIALIZE, 60);
    is_recorded(COP_MEASURE_NOTIFY, 1, 40);
    is_recorded(COP_MEASURE_SERIALIZE, 1, 60);
    cop__phaser_flip(&monitor.phaser);
    ck_assert(cop__phaser_is_quiet(&monitor.phaser));
}
END_TEST

/* ---- which commit is measured next ---- */

START_TEST(the_mean_moves)
{
    measure_every(1);
    commit_taking(1600);
    ck_assert_uint_eq(monitor.mean_ns, 1600); /* of the first one */
    commit_taking(3200);
    ck_assert_uint_eq(monitor.mean_ns, 1700);
    commit_taking(0);
    ck_assert_uint_eq(monitor.mean_ns, 1700 - 106);
}
END_TEST

START_TEST(the_choice_by_cost)
{
    measure_every(0);
    monitor.cost_ns = 50;
    commit_taking(1600);
    ck_assert_uint_eq(monitor.countdown, 1);
    ck_assert_uint_eq(monitor.stamp, COP_STAMP_ALL);
    monitor.mean_ns = 0;
    monitor.random = 88172645463325252u;
    uint64_t x = monitor.random;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    commit_taking(1599);
    ck_assert_uint_eq(monitor.random, x);
    ck_assert_uint_eq(monitor.countdown, 1 + x % 2047);
    ck_assert_uint_eq(monitor.stamp, COP_STAMP_NEXT);
    monitor.countdown = 1;
    monitor.mean_ns = 0;
    monitor.stamp = COP_STAMP_NONE;
    commit_taking(1600); /* and back */
    ck_assert_uint_eq(monitor.countdown, 1);
    ck_assert_uint_eq(monitor.stamp, COP_STAMP_ALL);
}
END_TEST

START_TEST(gaps)
{
    uint64_t sum = 0, least = UINT64_MAX, most = 0;
    measure_every(0);
    for (int i = 0; i < 100000; i++) {
        uint64_t gap = random_gap(&monitor);
        sum += gap;
        least = gap < least ? gap : least;
        most = gap > most ? gap : most;
    }
    ck_assert_uint_eq(least, 1);
    ck_assert_uint_eq(most, 2047);
    ck_assert(sum > UINT64_C(100000) * 1000 && sum < UINT64_C(100000) * 1048);
}
END_TEST

/* ---- whose runs are timed ---- */

START_TEST(one_in_so_many_is_timed)
{
    measure_every(1);
    for (unsigned i = 1; i <= 600; i++) {
        wave.count = 3;
        wave.write[7].count = 9;
        cop__monitor_begin(&monitor, 1, 1);
        ck_assert_uint_eq(wave.count, 0);
        ck_assert_uint_eq(wave.timing.most, COP_TIMED_RUNS);
        ck_assert(monitor.timing == (i % 256 == 0));
        ck_assert_uint_eq(wave.write[7].count, monitor.timing ? 0 : 9);
        cop__monitor_end(&monitor, 1, 0);
    }
    monitor.armed = 2;
    for (unsigned i = 0; i < 3; i++) {
        cop__monitor_begin(&monitor, 1, 1);
        ck_assert(monitor.timing == (i < 2));
        cop__monitor_end(&monitor, 1, 0);
    }
    ck_assert_uint_eq(monitor.armed, 0);
}
END_TEST

static void
run(uint32_t id, uint64_t ns, bool same, bool relisted)
{
    wave.timing.ran(&wave.timing, (cop_atom){id, 1}, ns, same, relisted);
}

START_TEST(runs_are_noted)
{
    measure_every(1);
    monitor.armed = 1;
    cop__monitor_begin(&monitor, 1, 1);
    for (uint32_t i = 0; i < COP_TIMED_RUNS + 5; i++)
        run(1 + i % 2, 10 + i % 2, i % 2 == 0, i % 2 != 0);
    ck_assert_uint_eq(wave.count, COP_TIMED_RUNS);
    cop__monitor_end(&monitor, 1, 0);
    cop__hot hot[3];
    ck_assert_uint_eq(cop__hottest(&budgets, hot, 3), 2);
    ck_assert_uint_eq(hot[0].atom.id, 2);
    ck_assert_uint_eq(hot[0].atom.generation, 1);
    ck_assert_uint_eq(hot[0].runs, COP_TIMED_RUNS / 2);
    ck_assert_uint_eq(hot[0].total_ns, COP_TIMED_RUNS / 2 * 11);
    ck_assert_uint_eq(hot[0].greatest_ns, 11);
    ck_assert_uint_eq(hot[0].same, 0);
    ck_assert_uint_eq(hot[0].relisted, COP_TIMED_RUNS / 2);
    ck_assert_uint_eq(hot[1].same, COP_TIMED_RUNS / 2);
    ck_assert_uint_eq(hot[1].relisted, 0);
}
END_TEST

START_TEST(a_run_over_its_budget)
{
    cop_monitor_options options = options_init;
    options.sample_every = 1;
    options.computed_budget_ns = 20;
    begin_with(options, 0);
    monitor.armed = 1;
    world.day = 12345;
    cop__monitor_begin(&monitor, 1, 1);
    run(5, 20, false, false);
    run(6, 21, false, false);
    run(7, 19, false, false);
    cop__monitor_end(&monitor, 8, 0);
    ck_assert_uint_eq(budgets.count[COP_OVERRUN_COMPUTED], 1);
    ck_assert_uint_eq(budgets.count[COP_OVERRUN_COMMIT], 0);
    const cop_overrun *worst = &budgets.worst[COP_OVERRUN_COMPUTED][0];
    ck_assert_int_eq(worst->kind, COP_OVERRUN_COMPUTED);
    ck_assert_uint_eq(worst->atom.id, 6);
    ck_assert_uint_eq(worst->version, 8);
    ck_assert_uint_eq(worst->took_ns, 21);
    ck_assert_uint_eq(worst->budget_ns, 20);
    ck_assert_uint_eq(worst->time_ns, 12345);
    ck_assert_int_eq(worst->worst_part, COP_MEASURE_PROPAGATE);
}
END_TEST

/* ---- commits over their budget ---- */

static void
budget_of(uint64_t commit_ns, uint64_t every)
{
    cop_monitor_options options = options_init;
    options.sample_every = every;
    options.commit_budget_ns = commit_ns;
    begin_with(options, 0);
}

static const cop_overrun *
longest(void)
{
    return &budgets.worst[COP_OVERRUN_COMMIT][0];
}

START_TEST(a_commit_over_its_budget)
{
    static const uint64_t parts[COP_MONITOR_PARTS] = {10, 20, 31, 31, 9};
    budget_of(100, 1);
    world.day = 4321;
    commit_taking(100);
    ck_assert_uint_eq(budgets.count[COP_OVERRUN_COMMIT], 0);
    commit_of(parts);
    ck_assert_uint_eq(budgets.count[COP_OVERRUN_COMMIT], 1);
    ck_assert_int_eq(longest()->kind, COP_OVERRUN_COMMIT);
    ck_assert_uint_eq(longest()->took_ns, 101);
    ck_assert_uint_eq(longest()->budget_ns, 100);
    ck_assert_uint_eq(longest()->version, 77);
    ck_assert_uint_eq(longest()->time_ns, 4321);
    ck_assert_uint_eq(longest()->transactions, 2);
    ck_assert_uint_eq(longest()->operations, 3);
    ck_assert_mem_eq(longest()->part_ns, parts, sizeof parts);
    ck_assert_int_eq(longest()->worst_part, COP_MEASURE_PUBLISH); /* the first of equals */
    ck_assert_uint_eq(longest()->atom.id, 0);
    ck_assert_uint_eq(monitor.armed, 0); /* its runs are not to blame */
}
END_TEST

START_TEST(the_worst_part)
{
    budget_of(1, 1);
    for (unsigned part = 0; part < COP_MONITOR_PARTS; part++) {
        uint64_t parts[COP_MONITOR_PARTS] = {1, 1, 1, 1, 1};
        parts[part] = 1000 * (part + 1);
        monitor.armed = 0;
        commit_of(parts);
        ck_assert_uint_eq(longest()->worst_part, part);
        ck_assert_uint_eq(monitor.armed, part == COP_MEASURE_PROPAGATE ? 4 : 0);
    }
}
END_TEST

START_TEST(the_slowest_run)
{
    budget_of(1, 1);
    monitor.armed = 1;
    cop__monitor_begin(&monitor, 1, 1);
    run(5, 20, false, false);
    run(6, 30, false, false);
    run(7, 30, false, false);
    run(8, 1, false, false);
    world.now += 100;
    cop__monitor_mark(&monitor, COP_MEASURE_PROPAGATE);
    cop__monitor_end(&monitor, 1, 0);
    ck_assert_uint_eq(longest()->atom.id, 6);
    ck_assert_uint_eq(monitor.armed, 0); /* it is known which one it was */
}
END_TEST

/* One that was not measured may have taken a tick less than it seems. */
START_TEST(an_unmeasured_commit)
{
    const uint64_t budget = 2 * MS, tick = 4 * MS;
    budget_of(budget, 1000);
    unmeasured(tick);
    unmeasured(tick + budget);
    ck_assert_uint_eq(budgets.count[COP_OVERRUN_COMMIT], 0);
    ck_assert_uint_eq(monitor.armed, 0);
    unmeasured(tick + budget + 1);
    ck_assert_uint_eq(budgets.count[COP_OVERRUN_COMMIT], 1);
    ck_assert_uint_eq(longest()->took_ns, tick + budget + 1);
    ck_assert_int_eq(longest()->worst_part, COP_MEASURE_COMMIT);
    for (unsigned part = 0; part < COP_MONITOR_PARTS; part++)
        ck_assert_uint_eq(longest()->part_ns[part], 0);
    ck_assert_uint_eq(longest()->transactions, 2);
    ck_assert_uint_eq(monitor.armed, 4); /* the next ones are looked at */
    ck_assert_uint_eq(monitor.mean_ns, 0);
    monitor.countdown = 100;
    cop__monitor_begin(&monitor, 1, 1);
    world.day += 1000 * MS;
    cop__monitor_end(&monitor, 1, monitor.commit.began - 1); /* it has published nothing */
    ck_assert_uint_eq(budgets.count[COP_OVERRUN_COMMIT], 1);
}
END_TEST

/* With a budget that is less than a tick nothing is told that a tick explains. */
START_TEST(less_than_a_tick)
{
    budget_of(1, 1000);
    unmeasured(4 * MS);
    unmeasured(4 * MS - 1);
    ck_assert_uint_eq(budgets.count[COP_OVERRUN_COMMIT], 0);
    unmeasured(4 * MS + 1);
    ck_assert_uint_eq(budgets.count[COP_OVERRUN_COMMIT], 0);
    unmeasured(4 * MS + 2);
    ck_assert_uint_eq(budgets.count[COP_OVERRUN_COMMIT], 1);
}
END_TEST

/* However long it takes, without a budget or with one of centuries. */
START_TEST(no_budget_to_speak_of)
{
    for (uint64_t less = 0; less < 3; less++) {
        budget_of(less == 2 ? UINT64_MAX : (uint64_t)INT64_MAX - less, 1000);
        unmeasured(1000 * MS);
        unmeasured(0);
        ck_assert_uint_eq(budgets.count[COP_OVERRUN_COMMIT], 0);
        world.step = 10;
    }
}
END_TEST

/* The clock of the day was set: by up to two ticks, as it may seem by chance, or more. */
START_TEST(the_clock_is_set)
{
    const uint64_t tick = 4 * MS;
    budget_of(MS, 1000);
    world.day += 2 * tick;
    unmeasured(100 * MS);
    ck_assert_uint_eq(budgets.count[COP_OVERRUN_COMMIT], 1);
    world.day -= 2 * tick;
    unmeasured(100 * MS);
    ck_assert_uint_eq(budgets.count[COP_OVERRUN_COMMIT], 2);
    world.day += 2 * tick + 1;
    unmeasured(100 * MS);
    ck_assert_uint_eq(budgets.count[COP_OVERRUN_COMMIT], 2);
    unmeasured(100 * MS); /* as it is now */
    ck_assert_uint_eq(budgets.count[COP_OVERRUN_COMMIT], 3);
    world.day -= 2 * tick + 1;
    unmeasured(100 * MS);
    ck_assert_uint_eq(budgets.count[COP_OVERRUN_COMMIT], 3);
}
END_TEST

/* Chosen by cost: commits like this one are worth measuring. */
START_TEST(a_slow_one_is_worth_measuring)
{
    budget_of(MS, 0);
    unmeasured(100 * MS);
    ck_assert_uint_eq(monitor.mean_ns, 100 * MS);
    ck_assert_uint_eq(monitor.countdown, 1);
}
END_TEST

/* ---- writes ---- */

static unsigned
slot_of(uint32_t id)
{
    memset(wave.write, 0, sizeof wave.write);
    cop__monitor_wrote(&monitor, (cop_atom){id, 1});
    for (unsigned i = 0; i < COP_WRITE_SLOTS; i++)
        if (wave.write[i].count > 0)
            return i;
    ck_abort_msg("nowhere");
}

START_TEST(writes_in_one_slot)
{
    bool used[COP_WRITE_SLOTS] = {false};
    unsigned slots = 0;
    measure_every(1);
    for (uint32_t id = 1; id <= 4000; id++) {
        unsigned slot = slot_of(id);
        slots += !used[slot];
        used[slot] = true;
    }
    ck_assert_uint_eq(slots, COP_WRITE_SLOTS);
    uint32_t other = 2;
    while (slot_of(other) != slot_of(1))
        other++;
    memset(wave.write, 0, sizeof wave.write);
    cop_atom a = {1, 1}, again = {1, 2}, b = {other, 1};
    unsigned at = slot_of(1);
    cop__monitor_wrote(&monitor, a);
    cop__monitor_wrote(&monitor, a);
    ck_assert_uint_eq(wave.write[at].count, 3);
    cop__monitor_wrote(&monitor, b);
    ck_assert_uint_eq(wave.write[at].count, 2);
    cop__monitor_wrote(&monitor, again); /* another atom of that id */
    cop__monitor_wrote(&monitor, b);
    ck_assert_uint_eq(wave.write[at].count, 0);
    cop__monitor_wrote(&monitor, b);
    ck_assert_uint_eq(wave.write[at].count, 1);
    ck_assert(SAME_ATOM(wave.write[at].atom, b));
}
END_TEST

START_TEST(who_is_written_twice_is_noted)
{
    measure_every(1);
    monitor.armed = 1;
    cop__monitor_begin(&monitor, 1, 1);
    for (uint32_t id = 1; id <= 3; id++)
        for (uint32_t i = 0; i < id; i++)
            cop__monitor_wrote(&monitor, (cop_atom){id, 1});
    cop__monitor_end(&monitor, 1, 0);
    unsigned found = 0;
    for (unsigned i = 0; i < COP_WRITTEN_MAX; i++)
        if (budgets.written[i].atom.generation != 0) {
            found++;
            ck_assert_uint_gt(budgets.written[i].atom.id, 1);
            ck_assert_uint_eq(budgets.written[i].writes, budgets.written[i].atom.id);
        }
    ck_assert_uint_eq(found, 2);
}
END_TEST

/* ---- traces ---- */

static void
trace_on(void)
{
    trace.span = span;
    trace.capacity = sizeof span / sizeof *span;
    trace.began_ns = 0;
    trace.added = 0;
    atomic_store(&trace.on, true);
}

static void
is_span(unsigned i, int what, uint64_t from, uint64_t to)
{
    ck_assert_int_eq(span[i].what, what);
    ck_assert_uint_eq(span[i].from_ns, from);
    ck_assert_uint_eq(span[i].to_ns, to);
}

/* While one is recorded each commit is measured and its runs are timed. */
START_TEST(a_trace)
{
    static const uint64_t parts[COP_MONITOR_PARTS] = {100, 20, 7, 50, 3};
    measure_every(1000);
    trace_on();
    cop__monitor_begin(&monitor, 1, 1);
    ck_assert(monitor.measuring && monitor.timing);
    world.now = 1030;
    run(9, 30, false, false);
    is_span(0, COP_TRACE_RUN, 1000, 1030);
    ck_assert_uint_eq(span[0].atom.id, 9);
    cop__monitor_end(&monitor, 1, 0);
    is_span(1, COP_MEASURE_RECLAIM, 1000, 1030);
    is_span(2, COP_MEASURE_COMMIT, 1000, 1030);
    commit_of(parts);
    is_span(3, COP_MEASURE_APPLY, 1030, 1130);
    is_span(4, COP_MEASURE_PROPAGATE, 1130, 1150);
    is_span(5, COP_MEASURE_PUBLISH, 1150, 1157);
    is_span(6, COP_MEASURE_TELL, 1157, 1207);
    is_span(7, COP_MEASURE_RECLAIM, 1207, 1210);
    is_span(8, COP_MEASURE_COMMIT, 1030, 1210);
    cop__monitor_add(&monitor, COP_MEASURE_NOTIFY, 10);
    is_span(9, COP_MEASURE_NOTIFY, 1200, 1210);
    ck_assert_uint_eq(trace.added, 10);
}
END_TEST

/* What began before the trace did, or ends before it begins, is not of it. */
START_TEST(what_is_in_a_trace)
{
    const cop_atom none = {0, 0};
    trace_on();
    trace.began_ns = 50;
    cop__trace_add(&trace, 1, none, 49, 60);
    ck_assert_uint_eq(trace.added, 0);
    cop__trace_add(&trace, 2, none, 50, 50);
    ck_assert_uint_eq(trace.added, 1);
    cop__trace_add(&trace, 3, none, 61, 60);
    ck_assert_uint_eq(trace.added, 1);
    atomic_store(&trace.on, false);
    cop__trace_add(&trace, 4, none, 60, 60);
    ck_assert_uint_eq(trace.added, 1);
    is_span(0, 2, 50, 50);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, calibrating);
    tcase_add_test(tests, who_says_when_it_was_queued);
    tcase_add_test(tests, a_commit_and_its_parts);
    tcase_add_test(tests, marks);
    tcase_add_test(tests, one_stands_for_those_before);
    tcase_add_test(tests, waiting);
    tcase_add_test(tests, what_others_record);
    tcase_add_test(tests, the_mean_moves);
    tcase_add_test(tests, the_choice_by_cost);
    tcase_add_test(tests, gaps);
    tcase_add_test(tests, one_in_so_many_is_timed);
    tcase_add_test(tests, runs_are_noted);
    tcase_add_test(tests, a_run_over_its_budget);
    tcase_add_test(tests, a_commit_over_its_budget);
    tcase_add_test(tests, the_worst_part);
    tcase_add_test(tests, the_slowest_run);
    tcase_add_test(tests, an_unmeasured_commit);
    tcase_add_test(tests, less_than_a_tick);
    tcase_add_test(tests, no_budget_to_speak_of);
    tcase_add_test(tests, the_clock_is_set);
    tcase_add_test(tests, a_slow_one_is_worth_measuring);
    tcase_add_test(tests, writes_in_one_slot);
    tcase_add_test(tests, who_is_written_twice_is_noted);
    tcase_add_test(tests, a_trace);
    tcase_add_test(tests, what_is_in_a_trace);
}

int
main(void)
{
    return t_run("monitor record", add);
}

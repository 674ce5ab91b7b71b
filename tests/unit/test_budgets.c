/* SPDX-License-Identifier: MIT */
/*
 * Budgets by a clock that the test sets: how often overruns are told, and which are kept; what
 * makes room in the tables of atoms that run long, or are written often.
 */
#include "monitor/budget.h"
#include "tests/support/store_test.h"

#define MS UINT64_C(1000000)

static uint64_t world_now;

static uint64_t
world_clock(void)
{
    return world_now;
}

#define cop__clock_ns world_clock
#include "monitor/budget.c" /* NOLINT(bugprone-suspicious-include) */

static cop__budgets budgets;
static const cop_monitor_options options_init = COP_MONITOR_OPTIONS_INIT;

static void
setup(void)
{
    memset(&budgets, 0, sizeof budgets);
    world_now = 1000;
    cop__budgets_init(&budgets);
    cop__budgets_start(&budgets, &options_init, 0);
}

static void
teardown(void)
{
    cop__budgets_end(&budgets);
}

/* ---- atoms that are written often ---- */

static void
stop(void)
{
    cop__budgets_retire(&budgets, cop__budgets_take(&budgets));
}

START_TEST(the_least_written_gives_way)
{
    for (uint32_t id = 1; id <= COP_WRITTEN_MAX; id++)
        cop__written_add(&budgets, (cop_atom){id, 1}, 100 - id);
    cop__written_add(&budgets, (cop_atom){3, 1}, 10);
    cop__written_add(&budgets, (cop_atom){3, 1}, 5);
    ck_assert_uint_eq(budgets.written[2].atom.id, 3);
    ck_assert_uint_eq(budgets.written[2].batches, 3);
    ck_assert_uint_eq(budgets.written[2].writes, 112);
    ck_assert_uint_eq(budgets.written[2].greatest, 97);
    cop__written_add(&budgets, (cop_atom){3, 2}, 200); /* another atom of that id */
    ck_assert_uint_eq(budgets.written[2].writes, 112);
    ck_assert_uint_eq(budgets.written[COP_WRITTEN_MAX - 1].atom.generation, 2);
    ck_assert_uint_eq(budgets.written[COP_WRITTEN_MAX - 1].batches, 1);
    ck_assert_uint_eq(budgets.written[COP_WRITTEN_MAX - 1].writes, 200);
    ck_assert_uint_eq(budgets.written[COP_WRITTEN_MAX - 1].greatest, 200);
    cop__written_add(&budgets, (cop_atom){500, 1}, 1);
    ck_assert_uint_eq(budgets.written[COP_WRITTEN_MAX - 2].atom.id, 500);
    cop__written_add(&budgets, (cop_atom){500, 2}, 7); /* in the place of the one it succeeds */
    ck_assert_uint_eq(budgets.written[COP_WRITTEN_MAX - 2].atom.generation, 2);
    ck_assert_uint_eq(budgets.written[COP_WRITTEN_MAX - 2].batches, 1);
    ck_assert_uint_eq(budgets.written[COP_WRITTEN_MAX - 2].writes, 7);
}
END_TEST

/* ---- hot atoms ---- */

/* As many as are looked at, all in the place of the first one. */
static void
neighbours(uint32_t *id, unsigned n)
{
    unsigned at = COP_HOT_SLOTS, found = 0;
    for (uint32_t i = 1; found < n; i++) {
        cop__timed_run one = {{i, 1}, 1, false, false};
        memset(budgets.hot, 0, sizeof budgets.hot);
        cop__hot_add(&budgets, &one, 1);
        for (unsigned k = 0; k < COP_HOT_SLOTS; k++)
            if (budgets.hot[k].runs > 0 && (at == COP_HOT_SLOTS || at == k)) {
                at = k;
                id[found++] = i;
            }
    }
    memset(budgets.hot, 0, sizeof budgets.hot);
}

START_TEST(the_coolest_nearby_gives_way)
{
    uint32_t id[COP_HOT_PROBES + 1];
    cop__hot hot[COP_HOT_PROBES + 2];
    neighbours(id, COP_HOT_PROBES + 1);
    for (unsigned i = 0; i <= COP_HOT_PROBES; i++) {
        cop__timed_run one = {{id[i], 1}, i == 4 ? 5 : 10 + i, false, false};
        for (int round = 0; round < 2; round++)
            cop__hot_add(&budgets, &one, 1);
    }
    ck_assert_uint_eq(cop__hottest(&budgets, hot, COP_HOT_PROBES + 2), COP_HOT_PROBES);
    for (unsigned i = 0, k = COP_HOT_PROBES; i < COP_HOT_PROBES; i++, k--) {
        k -= k == 4;
        ck_assert_uint_eq(hot[i].atom.id, id[k]);
        ck_assert_uint_eq(hot[i].runs, 2);
        ck_assert_uint_eq(hot[i].total_ns, 2 * (10 + k));
    }
    cop__timed_run slow[] = {{{id[0], 2}, 70, false, false}, {{id[0], 2}, 60, true, false}};
    cop__hot_add(&budgets, slow, 2); /* another atom of that id */
    ck_assert_uint_eq(cop__hottest(&budgets, hot, 2), 2);
    ck_assert_uint_eq(hot[0].atom.generation, 2);
    ck_assert_uint_eq(hot[0].total_ns, 130);
    ck_assert_uint_eq(hot[0].greatest_ns, 70);
    ck_assert_uint_eq(hot[1].atom.id, id[COP_HOT_PROBES]);
}
END_TEST

/* All places are used; of the free ones the first that is looked at. */
START_TEST(hot_places)
{
    unsigned used = 0;
    cop__timed_run first = {{7, 1}, 1, false, false};
    cop__hot_add(&budgets, &first, 1);
    ck_assert_uint_eq(budgets.hot[7 * UINT32_C(0x9e3779b1) >> COP_HOT_SHIFT].atom.id, 7);
    for (uint32_t id = 1; id <= 8 * COP_HOT_SLOTS; id++) {
        cop__timed_run one = {{id, 1}, id, false, false};
        cop__hot_add(&budgets, &one, 1);
    }
    for (unsigned i = 0; i < COP_HOT_SLOTS; i++)
        used += budgets.hot[i].runs > 0;
    ck_assert_uint_eq(used, COP_HOT_SLOTS);
}
END_TEST

START_TEST(the_hottest_in_order)
{
    cop__hot hot[3];
    budgets.hot[3] = (cop__hot){.atom = {1, 1}, .runs = 1, .total_ns = 10};
    ck_assert_uint_eq(cop__hottest(&budgets, hot, 3), 1);
    budgets.hot[5] = (cop__hot){.atom = {2, 1}, .runs = 1, .total_ns = 30};
    budgets.hot[6] = (cop__hot){.atom = {3, 1}, .runs = 1, .total_ns = 30};
    budgets.hot[9] = (cop__hot){.atom = {4, 1}, .runs = 1, .total_ns = 20};
    budgets.hot[COP_HOT_SLOTS - 1] = (cop__hot){.atom = {5, 1}, .runs = 1, .total_ns = 20};
    ck_assert_uint_eq(cop__hottest(&budgets, hot, 3), 3);
    ck_assert_uint_eq(hot[0].atom.id, 2);
    ck_assert_uint_eq(hot[1].atom.id, 3);
    ck_assert_uint_eq(hot[2].atom.id, 4);
}
END_TEST

/* ---- telling ---- */

static struct {
    unsigned calls, paths, ended;
    uint64_t untold, took[64];
} heard;

static void
hear(void *context, const cop_overrun *overrun, uint64_t untold)
{
    ck_assert_ptr_eq(context, &heard);
    ck_assert_str_eq(overrun->path, "p");
    heard.took[heard.calls++] = overrun->took_ns;
    heard.untold += untold;
}

static void
hear_end(void *context)
{
    ck_assert_ptr_eq(context, &heard);
    heard.ended++;
}

static void
give_path(void *context, cop_overrun *overrun)
{
    ck_assert_ptr_eq(context, &budgets);
    overrun->path[0] = 'p';
    heard.paths++;
}

static void
hearing(uint32_t rate)
{
    cop_monitor_options options = options_init;
    memset(&heard, 0, sizeof heard);
    options.overrun = hear;
    options.overrun_context = &heard;
    options.overrun_destroy = hear_end;
    options.overruns_per_second = rate;
    cop__budgets_start(&budgets, &options, 0);
}

static void
overruns(unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        cop_overrun overrun = {.kind = COP_OVERRUN_NOTIFY, .took_ns = i + 1};
        cop__overrun(&budgets, &overrun);
    }
}

static unsigned
told_of(unsigned n)
{
    unsigned before = heard.calls;
    overruns(n);
    cop__overruns_tell(&budgets, give_path, &budgets);
    ck_assert_uint_eq(heard.paths, heard.calls);
    return heard.calls - before;
}

START_TEST(a_rate)
{
    hearing(5); /* one in 200 ms */
    ck_assert_uint_eq(told_of(7), 5);
    ck_assert_uint_eq(heard.untold, 2);
    world_now += 200 * MS - 1;
    ck_assert_uint_eq(told_of(1), 0);
    world_now += 1;
    ck_assert_uint_eq(told_of(2), 1);
    ck_assert_uint_eq(heard.untold, 4);
    world_now += 399 * MS;
    ck_assert_uint_eq(told_of(3), 1);
    world_now += 1 * MS;
    ck_assert_uint_eq(told_of(3), 1);
    world_now += 5000 * MS; /* no more than a second's are saved up */
    ck_assert_uint_eq(told_of(7), 5);
    ck_assert_uint_eq(heard.calls + heard.untold + budgets.untold, 7 + 1 + 2 + 3 + 3 + 7);
    hearing(0);
    ck_assert_uint_eq(told_of(12), 10);
}
END_TEST

START_TEST(so_many_are_pending)
{
    hearing(1000);
    for (unsigned round = 1; round <= 3; round++) {
        ck_assert_uint_eq(told_of(COP_PENDING_MAX + 3), COP_PENDING_MAX);
        ck_assert_uint_eq(heard.untold, 3 * round);
        for (unsigned i = 0; i < COP_PENDING_MAX; i++)
            ck_assert_uint_eq(heard.took[i], i + 1);
        ck_assert_uint_eq(told_of(5), 5); /* goes on in the middle of the ring */
        heard.calls = heard.paths = 0;
    }
    overruns(3);
    stop(); /* what is pending is not told any more */
    ck_assert_uint_eq(heard.ended, 1);
    cop__overruns_tell(&budgets, give_path, &budgets);
    ck_assert_uint_eq(heard.calls, 0);
    overruns(1); /* nobody is told */
    ck_assert_uint_eq(atomic_load(&budgets.pending), 0);
    stop();
    ck_assert_uint_eq(heard.ended, 1);
}
END_TEST

START_TEST(the_longest_are_kept)
{
    for (unsigned i = 0; i < COP_WORST_MAX; i++) {
        cop_overrun overrun = {
            .kind = COP_OVERRUN_COMPUTED, .took_ns = 100 + 10 * (i / 2), .version = i};
        cop__overrun(&budgets, &overrun);
        ck_assert_uint_eq(budgets.worst_count[COP_OVERRUN_COMPUTED], i + 1);
    }
    const cop_overrun *worst = budgets.worst[COP_OVERRUN_COMPUTED];
    for (unsigned i = 1; i < COP_WORST_MAX; i++) /* of equals the first is first */
        ck_assert(
            worst[i - 1].took_ns > worst[i].took_ns ||
            (worst[i - 1].took_ns == worst[i].took_ns && worst[i - 1].version < worst[i].version));
    cop_overrun equal = {.kind = COP_OVERRUN_COMPUTED, .took_ns = 100, .version = 50};
    cop__overrun(&budgets, &equal);
    ck_assert_uint_lt(worst[COP_WORST_MAX - 1].version, 50);
    equal.took_ns = 101;
    cop__overrun(&budgets, &equal);
    ck_assert_uint_eq(
        worst[COP_WORST_MAX - 1].version == 50 || worst[COP_WORST_MAX - 2].version == 50, 1);
    ck_assert_uint_eq(budgets.worst_count[COP_OVERRUN_COMPUTED], COP_WORST_MAX);
    ck_assert_uint_eq(budgets.count[COP_OVERRUN_COMPUTED], COP_WORST_MAX + 2);
    ck_assert_uint_eq(budgets.worst_count[COP_OVERRUN_COMMIT], 0);
}
END_TEST

START_TEST(budgets_begin_anew)
{
    cop_monitor_options options = options_init;
    options.computed_budget_ns = 7;
    options.notify_budget_ns = UINT64_MAX;
    overruns(3);
    cop__written_add(&budgets, (cop_atom){1, 1}, 5);
    cop__timed_run one = {{1, 1}, 5, false, false};
    cop__hot_add(&budgets, &one, 1);
    cop__budgets_start(&budgets, &options, 99);
    ck_assert_uint_eq(budgets.limit_ns[COP_OVERRUN_COMMIT], 99);
    ck_assert_uint_eq(budgets.limit_ns[COP_OVERRUN_COMPUTED], 7);
    ck_assert_uint_eq(budgets.limit_ns[COP_OVERRUN_NOTIFY], UINT64_MAX);
    ck_assert_uint_eq(budgets.count[COP_OVERRUN_NOTIFY], 0);
    ck_assert_uint_eq(budgets.worst_count[COP_OVERRUN_NOTIFY], 0);
    ck_assert_uint_eq(budgets.untold, 0);
    ck_assert_uint_eq(budgets.written[0].writes, 0);
    cop__hot hot[1];
    ck_assert_uint_eq(cop__hottest(&budgets, hot, 1), 0);
    cop__budgets_start(&budgets, &options_init, 0);
    ck_assert_uint_eq(budgets.limit_ns[COP_OVERRUN_COMMIT], UINT64_MAX);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, the_least_written_gives_way);
    tcase_add_test(tests, the_coolest_nearby_gives_way);
    tcase_add_test(tests, hot_places);
    tcase_add_test(tests, the_hottest_in_order);
    tcase_add_test(tests, a_rate);
    tcase_add_test(tests, so_many_are_pending);
    tcase_add_test(tests, the_longest_are_kept);
    tcase_add_test(tests, budgets_begin_anew);
}

int
main(void)
{
    return t_run("budgets", add);
}

/* SPDX-License-Identifier: MIT */
/* The memory manager alone: levels with hysteresis, steps in order, what costs nothing. */
#include "reclaim/memory_manager.h"
#include "tests/support/quick_check.h"

#include <stdlib.h>

#define LIMIT (UINT64_C(64) << 20)
#define MIB (UINT64_C(1) << 20)
#define MS UINT64_C(1000000)

typedef struct giver {
    uint64_t has;  /* what it can give */
    uint64_t lost; /* what it gives only when full */
    uint64_t asked_for;
    int asked, place;
} giver;

static giver givers[COP_GAVE_STEPS];
static int turn;
static cop__memory *memory;
static cop__memory_manager manager;

static uint64_t
give(giver *g, uint64_t *from, uint64_t bytes)
{
    uint64_t given = *from < bytes ? *from : bytes;
    g->asked++;
    g->asked_for = bytes;
    g->place = turn++;
    *from -= given;
    return given;
}

static uint64_t
give_soft(void *context, uint64_t bytes)
{
    giver *g = context;
    return give(g, &g->has, bytes);
}

static uint64_t
give_full(void *context, uint64_t bytes)
{
    giver *g = context;
    return give(g, &g->lost, bytes);
}

static void
setup(void)
{
    memory = cop__memory_new(NULL, LIMIT);
    cop__manager_init(&manager, memory, 75);
    memset(givers, 0, sizeof givers);
    turn = 1;
    for (unsigned i = 0; i < COP_GAVE_STEPS; i++)
        manager.step[i] = (cop__give_step){i == COP_GAVE_PAGES ? NULL : give_soft,
                                           i == COP_GAVE_LAZY ? NULL : give_full, &givers[i]};
}

static void
teardown(void)
{
    cop__memory_unref(memory);
}

static cop_memory_level
level(void)
{
    return (cop_memory_level)atomic_load(&manager.level);
}

START_TEST(levels_have_hysteresis)
{
    const uint64_t soft = 48 * MIB, most = 63 * MIB, slack = 2 * MIB, full_slack = most / 32;
    ck_assert_uint_eq(atomic_load(&manager.soft), soft);
    ck_assert(cop__manager_calm(&manager));
    ck_assert(!cop__manager_look(&manager, soft, false));
    ck_assert(cop__manager_look(&manager, soft + 1, false));
    ck_assert_int_eq(level(), COP_MEMORY_SOFT);
    ck_assert(!cop__manager_calm(&manager));
    ck_assert(!cop__manager_look(&manager, soft - slack, false));
    ck_assert(!cop__manager_look(&manager, most, false)); /* full only when a commit was refused */
    ck_assert(cop__manager_look(&manager, most, true));
    ck_assert_int_eq(level(), COP_MEMORY_FULL);
    ck_assert(!cop__manager_look(&manager, most - MIB, true)); /* it ends well below this, too */
    ck_assert(!cop__manager_look(&manager, most - full_slack - 1, false));
    ck_assert(!cop__manager_look(&manager, most, true));
    ck_assert(!cop__manager_look(&manager, most - full_slack, false));
    ck_assert(cop__manager_look(&manager, most - full_slack - 1, false));
    ck_assert_int_eq(level(), COP_MEMORY_SOFT);
    ck_assert(cop__manager_look(&manager, soft - slack - 1, false));
    ck_assert_int_eq(level(), COP_MEMORY_NORMAL);
    ck_assert(cop__manager_calm(&manager));
    ck_assert_uint_eq(atomic_load(&manager.times_soft), 1);
    ck_assert_uint_eq(atomic_load(&manager.times_full), 1);
}
END_TEST

START_TEST(full_falls_to_normal_at_once)
{
    ck_assert(cop__manager_look(&manager, 10 * MIB, true));
    ck_assert_int_eq(level(), COP_MEMORY_FULL);
    ck_assert_uint_eq(atomic_load(&manager.times_soft), 1);
    ck_assert(cop__manager_look(&manager, MIB, false));
    ck_assert_int_eq(level(), COP_MEMORY_NORMAL);
}
END_TEST

/* Also when it was refused below a thirty-second of the limit: by the allocator. */
START_TEST(full_ends_whatever_the_limit)
{
    ck_assert(cop__manager_look(&manager, MIB, true));
    ck_assert(!cop__manager_look(&manager, MIB - MIB / 32, false));
    ck_assert(cop__manager_look(&manager, MIB - MIB / 32 - 1, false));
    ck_assert_int_eq(level(), COP_MEMORY_NORMAL);
    ck_assert(cop__manager_calm(&manager));
}
END_TEST

START_TEST(what_is_wanted)
{
    ck_assert_uint_eq(cop__manager_wants(&manager, 48 * MIB, 0), 0);
    ck_assert_uint_eq(cop__manager_wants(&manager, 49 * MIB, 0), 3 * MIB); /* down to the slack */
}
END_TEST

START_TEST(steps_give_in_order)
{
    givers[COP_GAVE_FRAGMENTS].has = 1 * MIB;
    givers[COP_GAVE_HISTORY].has = 10 * MIB;
    ck_assert_uint_eq(cop__manager_soft(&manager, 3 * MIB), 3 * MIB);
    ck_assert_int_eq(givers[COP_GAVE_FRAGMENTS].place, 1);
    ck_assert_int_eq(givers[COP_GAVE_LAZY].place, 2);
    ck_assert_int_eq(givers[COP_GAVE_HISTORY].place, 3);
    ck_assert_uint_eq(givers[COP_GAVE_HISTORY].asked_for, 2 * MIB);
    ck_assert_int_eq(givers[COP_GAVE_WATCH].asked, 0);
    ck_assert_int_eq(givers[COP_GAVE_PAGES].asked, 0);
    ck_assert_uint_eq(atomic_load(&manager.gave[COP_GAVE_FRAGMENTS]), 1 * MIB);
    ck_assert_uint_eq(atomic_load(&manager.gave[COP_GAVE_HISTORY]), 2 * MIB);
}
END_TEST

/* Who was asked is asked again when more is used, or after a while. */
START_TEST(having_asked_costs_nothing)
{
    uint64_t used = 50 * MIB, now = 1000 * MS;
    ck_assert_uint_gt(cop__manager_wants(&manager, used, now), 0);
    ck_assert_uint_eq(cop__manager_soft(&manager, 4 * MIB), 0);
    ck_assert_int_eq(givers[COP_GAVE_WATCH].asked, 1);
    cop__manager_asked(&manager, used, now);
    ck_assert_uint_eq(cop__manager_wants(&manager, used, now), 0);
    ck_assert_uint_eq(cop__manager_wants(&manager, used + used / 100 - 1, now + 1), 0);
    ck_assert_uint_gt(cop__manager_wants(&manager, used + used / 100, now + 1), 0);
    ck_assert_uint_eq(cop__manager_wants(&manager, used, now + 20 * MS - 1), 0);
    ck_assert_uint_gt(cop__manager_wants(&manager, used, now + 20 * MS), 0);
    ck_assert(cop__manager_look(&manager, used, false)); /* a new level asks again */
    ck_assert_uint_gt(cop__manager_wants(&manager, used, now), 0);
}
END_TEST

START_TEST(full_steps_give_what_can_be_lost)
{
    givers[COP_GAVE_HISTORY] = (giver){.has = 0, .lost = MIB};
    givers[COP_GAVE_LAZY] = (giver){.has = MIB, .lost = 0};
    ck_assert_uint_eq(cop__manager_full(&manager, COP_GAVE_HISTORY, UINT64_MAX), MIB);
    ck_assert_uint_eq(cop__manager_full(&manager, COP_GAVE_LAZY, UINT64_MAX), MIB); /* has one way only */
    manager.step[COP_GAVE_WATCH] = (cop__give_step){NULL, NULL, NULL};
    ck_assert_uint_eq(cop__manager_full(&manager, COP_GAVE_WATCH, UINT64_MAX), 0);
    ck_assert_uint_eq(atomic_load(&manager.gave[COP_GAVE_HISTORY]), MIB);
}
END_TEST

START_TEST(marks_follow_the_limit)
{
    cop__memory_set_limit(memory, 10 * MIB);
    cop__manager_configure(&manager, 50);
    ck_assert_uint_eq(atomic_load(&manager.soft), 5 * MIB);
    cop__manager_configure(&manager, 100); /* never into the reserve */
    ck_assert_uint_eq(atomic_load(&manager.soft), 10 * MIB - 10 * MIB / 64);
    ck_assert(cop__manager_look(&manager, 10 * MIB, false));
    ck_assert_uint_gt(cop__manager_wants(&manager, 10 * MIB, 0), 0);
}
END_TEST

/* Nothing fits where more is used than the limit. */
START_TEST(a_lowered_limit)
{
    ck_assert(!cop__manager_look(&manager, 10 * MIB, false));
    cop__memory_set_limit(memory, 16 * MIB);
    cop__manager_configure(&manager, 75);
    ck_assert(!cop__manager_look(&manager, 10 * MIB, false));
    cop__memory_set_limit(memory, 12 * MIB);
    cop__manager_configure(&manager, 75);
    ck_assert(cop__manager_look(&manager, 10 * MIB, false));
    ck_assert_int_eq(level(), COP_MEMORY_SOFT);
    cop__memory_set_limit(memory, 8 * MIB);
    cop__manager_configure(&manager, 75);
    ck_assert(cop__manager_look(&manager, 10 * MIB, false));
    ck_assert_int_eq(level(), COP_MEMORY_FULL);
    ck_assert(!cop__manager_look(&manager, 9 * MIB, false));
    ck_assert(!cop__manager_look(&manager, 8 * MIB - MIB / 4, false)); /* a thirty-second below the limit */
    ck_assert(cop__manager_look(&manager, 8 * MIB - MIB / 4 - 1, false));
    ck_assert_int_eq(level(), COP_MEMORY_SOFT);
    ck_assert_uint_eq(atomic_load(&manager.times_full), 1);
}
END_TEST

/* Lowered while full, the mark is no higher than the limit. */
START_TEST(a_lowered_limit_when_full)
{
    ck_assert(cop__manager_look(&manager, 60 * MIB, true));
    cop__memory_set_limit(memory, 32 * MIB);
    cop__manager_configure(&manager, 75);
    ck_assert(!cop__manager_look(&manager, 31 * MIB, false));
    ck_assert(cop__manager_look(&manager, 31 * MIB - 1, false));
    ck_assert_int_eq(level(), COP_MEMORY_SOFT);
}
END_TEST

/* A thirty-second of the new limit may be more than all of the old one. */
START_TEST(a_raised_limit)
{
    ck_assert(cop__manager_look(&manager, 63 * MIB, true));
    cop__memory_set_limit(memory, 65 * MIB);
    cop__manager_configure(&manager, 75);
    ck_assert(!cop__manager_look(&manager, 63 * MIB, false)); /* not much is left */
    ck_assert_int_eq(level(), COP_MEMORY_FULL);
    cop__memory_set_limit(memory, 80 * MIB);
    cop__manager_configure(&manager, 75);
    ck_assert(cop__manager_look(&manager, 63 * MIB, false));
    ck_assert_int_eq(level(), COP_MEMORY_SOFT);
    ck_assert(cop__manager_look(&manager, 79 * MIB, true));
    cop__memory_set_limit(memory, UINT64_MAX);
    cop__manager_configure(&manager, 75);
    ck_assert(cop__manager_look(&manager, 79 * MIB, false));
    ck_assert_int_eq(level(), COP_MEMORY_NORMAL);
}
END_TEST

START_TEST(levels_have_names)
{
    ck_assert_str_eq(cop_memory_level_name(COP_MEMORY_NORMAL), "normal");
    ck_assert_str_eq(cop_memory_level_name(COP_MEMORY_SOFT), "soft");
    ck_assert_str_eq(cop_memory_level_name(COP_MEMORY_FULL), "full");
    ck_assert_str_eq(cop_memory_level_name((cop_memory_level)3), "unknown");
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("memory manager");
    TCase *tests = tcase_create("memory manager");
    SRunner *runner = srunner_create(suite);

    suite_add_tcase(suite, tests);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, levels_have_hysteresis);
    tcase_add_test(tests, full_falls_to_normal_at_once);
    tcase_add_test(tests, full_ends_whatever_the_limit);
    tcase_add_test(tests, what_is_wanted);
    tcase_add_test(tests, steps_give_in_order);
    tcase_add_test(tests, having_asked_costs_nothing);
    tcase_add_test(tests, full_steps_give_what_can_be_lost);
    tcase_add_test(tests, marks_follow_the_limit);
    tcase_add_test(tests, a_lowered_limit);
    tcase_add_test(tests, a_lowered_limit_when_full);
    tcase_add_test(tests, a_raised_limit);
    tcase_add_test(tests, levels_have_names);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

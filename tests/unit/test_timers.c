/* SPDX-License-Identifier: MIT */
/* Timers: the heap against a sorted list, and when the functions of alarms are called. */
#include <poll.h>
#include <sched.h>

#include "base/timers.h"
#include "tests/support/store_test.h"
#include "workers/alarms.h"

enum { TIMERS = 200, STEPS = 20000 };

static uint64_t state = 1;

static uint64_t
random_below(uint64_t n)
{
    state = state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (state >> 33) % n;
}

START_TEST(heap)
{
    static cop__timer timer[TIMERS];
    cop__timer *top = NULL;

    ck_assert_uint_eq(cop__timer_heap_due(top), COP_TIMER_NEVER);
    for (int step = 0; step < STEPS; step++) {
        cop__timer *t = &timer[random_below(TIMERS)];
        if (cop__timer_is_set(t))
            cop__timer_heap_remove(&top, t);
        else
            cop__timer_heap_add(&top, t, random_below(50));
        uint64_t least = COP_TIMER_NEVER;
        for (int i = 0; i < TIMERS; i++)
            if (cop__timer_is_set(&timer[i]) && timer[i].due < least)
                least = timer[i].due;
        ck_assert_uint_eq(cop__timer_heap_due(top), least);
    }
    for (uint64_t last = 0; top != NULL;) {
        ck_assert_uint_ge(top->due, last);
        last = top->due;
        cop__timer_heap_remove(&top, top);
    }
    for (int i = 0; i < TIMERS; i++)
        ck_assert(!cop__timer_is_set(&timer[i]));
}
END_TEST

static _Atomic uint64_t fired;

static void
fire(void *context)
{
    atomic_fetch_add(&fired, (uint64_t)(uintptr_t)context);
}

static bool
is_readable(int fd, int ms)
{
    struct pollfd p = {fd, POLLIN, 0};

    return poll(&p, 1, ms) == 1;
}

START_TEST(alarms)
{
    cop__timers timers;
    cop__alarm a = {.function = fire, .context = (void *)1},
               b = {.function = fire, .context = (void *)100};

    cop__timers_init(&timers);
    cop__timers_run(&timers, UINT64_MAX - 1);
    ck_assert(cop__timer_set(&timers, &a, 50));
    ck_assert(cop__timer_set(&timers, &b, 40));
    ck_assert(!cop__timer_set(&timers, &a, 60)); /* the earlier one stands */
    ck_assert_uint_eq(cop__timers_earliest(&timers), 40);
    cop__timers_run(&timers, 39);
    ck_assert_uint_eq(fired, 0);
    cop__timers_run(&timers, 40);
    ck_assert_uint_eq(fired, 100);
    ck_assert(!cop__timer_set(&timers, &a, 45));
    cop__timers_run(&timers, 45);
    ck_assert_uint_eq(fired, 101);
    cop__timers_run(&timers, 1000);
    ck_assert_uint_eq(fired, 101);
    ck_assert(!cop__timer_remove(&timers, &a));
    ck_assert(cop__timer_set(&timers, &a, 5));
    ck_assert(cop__timer_remove(&timers, &a));
    ck_assert_uint_eq(cop__timers_earliest(&timers), COP_TIMER_NEVER);
    cop__timers_end(&timers);
}
END_TEST

static unsigned sooner_calls;

static void
count_sooner(void *context)
{
    ck_assert_ptr_eq(context, &sooner_calls);
    sooner_calls++;
}

/* Whoever asks is told of an earliest alarm that is earlier than before, and of no other. */
START_TEST(sooner)
{
    cop__timers timers;
    cop__alarm a = {.function = fire}, b = {.function = fire};

    cop__timers_init(&timers);
    cop__timer_set(&timers, &a, 70); /* nobody asks */
    timers.sooner = count_sooner;
    timers.context = &sooner_calls;
    sooner_calls = 0;
    cop__timer_set(&timers, &b, 70);
    ck_assert_uint_eq(sooner_calls, 0);
    cop__timer_set(&timers, &b, 69);
    ck_assert_uint_eq(sooner_calls, 1);
    cop__timer_set(&timers, &b, 68); /* moved */
    ck_assert_uint_eq(sooner_calls, 2);
    cop__timer_set(&timers, &a, 69);
    ck_assert_uint_eq(sooner_calls, 2);
    ck_assert_uint_eq(cop__timers_earliest(&timers), 68);
    ck_assert(cop__timer_remove(&timers, &b));
    ck_assert_uint_eq(cop__timers_earliest(&timers), 69);
    ck_assert(cop__timer_remove(&timers, &a));
    ck_assert_uint_eq(cop__timers_earliest(&timers), COP_TIMER_NEVER);
    ck_assert_uint_eq(sooner_calls, 2);
    cop__timers_end(&timers);
}
END_TEST

/* What is due when functions are called is called, what they set for later is not. */
START_TEST(what_is_due_runs)
{
    cop__timers timers;
    cop__alarm alarm[5];

    cop__timers_init(&timers);
    atomic_store(&fired, 0);
    for (uint64_t i = 0; i < 5; i++) {
        alarm[i] = (cop__alarm){.function = fire, .context = (void *)1};
        cop__timer_set(&timers, &alarm[i], 10 * i);
    }
    for (uint64_t i = 0; i < 5; i++) {
        cop__timers_run(&timers, 10 * i + 9);
        ck_assert_uint_eq(fired, i + 1);
        ck_assert_uint_eq(cop__timers_earliest(&timers), i < 4 ? 10 * i + 10 : COP_TIMER_NEVER);
    }
    cop__timers_run(&timers, COP_TIMER_NEVER - 1);
    ck_assert_uint_eq(fired, 5);
    cop__timers_end(&timers);
}
END_TEST

START_TEST(descriptor)
{
    cop__timers timers;
    cop__alarm a = {.function = fire};

    cop__timers_init(&timers);
    int fd = cop__timers_fd(&timers);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(cop__timers_fd(&timers), fd);
    ck_assert(!is_readable(fd, 0));
    cop__timer_set(&timers, &a, 0);
    ck_assert(is_readable(fd, 0));
    cop__timers_run(&timers, 1);
    ck_assert(!is_readable(fd, 0));
    cop__timer_set(&timers, &a, cop_deadline_in_ms(20));
    ck_assert(!is_readable(fd, 0));
    ck_assert(is_readable(fd, 5000));
    ck_assert_uint_ge(cop_deadline_in_ms(0), a.timer.due);
    ck_assert(cop__timer_remove(&timers, &a));
    ck_assert(!is_readable(fd, 0));
    cop__timers_end(&timers);
}
END_TEST

/* Whether the pool's workers are parked or come to be, and with one alarm before the other. */
START_TEST(a_pool_rings)
{
    cop_pool_options options = COP_POOL_OPTIONS_INIT;
    cop__alarm a = {.function = fire, .context = (void *)1},
               b = {.function = fire, .context = (void *)1};
    cop_pool *pool;

    options.threads = (uint32_t)_i;
    CHECK_OK(cop_pool_open(&options, &pool, NULL));
    atomic_store(&fired, 0);
    for (uint64_t i = 1; i <= 20; i++) {
        cop__pool_alarm_set(pool, &a, cop_deadline_in_ms(i % 4 == 0 ? 50 : 5));
        if (i % 3 == 0)
            sched_yield();
        cop__pool_alarm_set(pool, &b, cop_deadline_in_ms(1));
        uint64_t end = cop_deadline_in_ms(20000);
        while (atomic_load(&fired) < 2 * i && cop_deadline_in_ms(0) < end)
            sched_yield();
        ck_assert_uint_eq(atomic_load(&fired), 2 * i);
    }
    cop__pool_alarm_set(pool, &a, cop_deadline_in_ms(1000000));
    ck_assert(cop__pool_alarm_remove(pool, &a));
    CHECK_OK(cop_pool_resize(pool, 0));
    cop_pool_close(pool);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("timers");
    TCase *tcase = tcase_create("timers");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, heap);
    tcase_add_test(tcase, alarms);
    tcase_add_test(tcase, sooner);
    tcase_add_test(tcase, what_is_due_runs);
    tcase_add_test(tcase, descriptor);
    tcase_add_loop_test(tcase, a_pool_rings, 1, 4);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}

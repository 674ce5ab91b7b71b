/* SPDX-License-Identifier: MIT */
/* Short ways to say what the unit tests of worker pools say. For Check programs. */
#ifndef COP_TESTS_WORKERS_TEST_H
#define COP_TESTS_WORKERS_TEST_H

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <coppice/coppice.h>

#include "base/base.h"
#include "tests/support/quick_check.h"

#define CHECK_STATUS(expression, expected)                                   \
    do {                                                                     \
        cop_status got_ = (expression), want_ = (expected);                  \
        ck_assert_msg(got_ == want_, "%s: is %s, should be %s", #expression, \
                      cop_status_name(got_), cop_status_name(want_));        \
    } while (0)
#define CHECK_OK(expression) CHECK_STATUS(expression, COP_OK)

static inline cop_pool *
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

static inline void
sleep_us(unsigned us)
{
    struct timespec t = {us / 1000000u, (long)(us % 1000000u) * 1000};

    nanosleep(&t, NULL);
}

/* True when *counter reaches n within seconds. */
static inline bool
reaches(_Atomic unsigned *counter, unsigned n)
{
    for (int i = 0; i < 100000; i++) {
        if (atomic_load(counter) >= n)
            return true;
        sleep_us(100);
    }
    return false;
}

static inline bool
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

/* Runs the tests that `add` adds; main's result. */
static inline int
run_suite(const char *name, void (*add)(TCase *tests))
{
    Suite *suite = suite_create(name);
    TCase *tests = tcase_create("all");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tests, 120);
    add(tests);
    suite_add_tcase(suite, tests);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif

/* SPDX-License-Identifier: MIT */
/* lib/monitor/histogram.h: buckets over the whole range, and folding. */
#include <check.h>
#include <inttypes.h>
#include <stdlib.h>

#include "monitor/histogram.h"

static cop__histogram one, other;

static uint64_t
next_random(uint64_t *state)
{
    uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static void
check_value(uint64_t value)
{
    uint64_t width, index = cop__histogram_index(value);
    ck_assert_uint_lt(index, COP_HISTOGRAM_BUCKETS);
    uint64_t least = cop__histogram_least((unsigned)index, &width);
    uint64_t shown = cop__histogram_value((unsigned)index);
    uint64_t off = shown > value ? shown - value : value - shown;
    ck_assert_msg(least <= value && value - least < width, "%" PRIu64 " is in bucket %" PRIu64,
                  value, index);
    ck_assert_msg(off * 250 <= value, "%" PRIu64 " is told as %" PRIu64, value, shown);
}

START_TEST(a_value_is_told_within_four_parts_of_a_thousand)
{
    uint64_t state = 42;
    for (uint64_t value = 0; value < 100000; value++)
        check_value(value);
    for (unsigned bit = 0; bit < COP_HISTOGRAM_TOP; bit++) { /* about every power of two */
        uint64_t power = UINT64_C(1) << bit;
        check_value(power);
        check_value(power - 1);
        check_value(power + 1 <= COP_HISTOGRAM_MAX ? power + 1 : power);
    }
    for (unsigned i = 0; i < 300000; i++)
        check_value(next_random(&state) >> (22 + next_random(&state) % 42));
}
END_TEST

START_TEST(buckets_adjoin_and_cover_the_range)
{
    uint64_t next = 0, width;
    for (unsigned i = 0; i < COP_HISTOGRAM_BUCKETS; i++) {
        ck_assert_uint_eq(cop__histogram_least(i, &width), next);
        ck_assert_uint_eq(cop__histogram_index(next), i);
        ck_assert_uint_eq(cop__histogram_index(next + width - 1), i);
        next += width;
    }
    ck_assert_uint_eq(next, COP_HISTOGRAM_MAX + 1);
    ck_assert_uint_eq(cop__histogram_index(UINT64_MAX), COP_HISTOGRAM_BUCKETS - 1);
}
END_TEST

static uint64_t
count_of(const cop__histogram *histogram)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < COP_HISTOGRAM_BUCKETS; i++)
        n += atomic_load(&histogram->bucket[i]);
    return n;
}

START_TEST(adding_counts_sums_and_keeps_the_greatest)
{
    memset(&one, 0, sizeof one);
    cop__histogram_add_owned(&one, 1000, 1);
    cop__histogram_add_owned(&one, 7, 5);
    ck_assert_uint_eq(count_of(&one), 6);
    ck_assert_uint_eq(atomic_load(&one.sum), 1035);
    ck_assert_uint_eq(atomic_load(&one.greatest), 1000);
    memset(&other, 0, sizeof other);
    cop__histogram_add_shared(&other, 9);
    cop__histogram_add_shared(&other, UINT64_MAX / 4);
    cop__histogram_add_shared(&other, 3);
    ck_assert_uint_eq(count_of(&other), 3);
    ck_assert_uint_eq(atomic_load(&other.greatest), UINT64_MAX / 4);
}
END_TEST

START_TEST(folding_moves_everything)
{
    memset(&one, 0, sizeof one);
    memset(&other, 0, sizeof other);
    cop__histogram_add_owned(&one, 100, 2);
    cop__histogram_add_owned(&other, 100, 1);
    cop__histogram_add_owned(&other, 5000, 1);
    cop__histogram_fold(&one, &other);
    ck_assert_uint_eq(count_of(&one), 4);
    ck_assert_uint_eq(atomic_load(&one.bucket[cop__histogram_index(100)]), 3);
    ck_assert_uint_eq(atomic_load(&one.sum), 5300);
    ck_assert_uint_eq(atomic_load(&one.greatest), 5000);
    ck_assert_uint_eq(count_of(&other), 0);
    ck_assert_uint_eq(atomic_load(&other.sum), 0);
    ck_assert_uint_eq(atomic_load(&other.greatest), 0);
    cop__histogram_fold(&one, &other); /* nothing: nothing changes */
    ck_assert_uint_eq(atomic_load(&one.greatest), 5000);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("histogram");
    TCase *tests = tcase_create("histogram");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, a_value_is_told_within_four_parts_of_a_thousand);
    tcase_add_test(tests, buckets_adjoin_and_cover_the_range);
    tcase_add_test(tests, adding_counts_sums_and_keeps_the_greatest);
    tcase_add_test(tests, folding_moves_everything);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

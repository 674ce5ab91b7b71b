/* SPDX-License-Identifier: MIT */
/* The exact accumulator and the exact comparison: every rule of their headers. */
#include <float.h>
#include <math.h>

#include "reduce/exact_sum.h"
#include "reduce/number.h"
#include "tests/support/tree_test.h"

static cop__memory *memory;
static cop__exact_sum sum;

static void
setup(void)
{
    cop_allocator allocator;

    fault_alloc_init(&t_faults);
    allocator = fault_alloc_table(&t_faults);
    memory = cop__memory_new(&allocator, UINT64_MAX);
    ck_assert_ptr_nonnull(memory);
    memset(&sum, 0, sizeof sum);
    tree_random_state = 1;
}

static void
teardown(void)
{
    cop__exact_sum_end(&sum, memory);
    cop__memory_unref(memory);
    t_all_released();
}

static void
add(cop_value v)
{
    ck_assert(cop__exact_sum_reserve(&sum, memory, &v));
    cop__exact_sum_add(&sum, &v);
}

static void
take(cop_value v)
{
    cop__exact_sum_subtract(&sum, &v);
}

static void
same(double got, double want)
{
    uint64_t a, b;

    memcpy(&a, &got, sizeof a);
    memcpy(&b, &want, sizeof b);
    ck_assert_msg(a == b, "%a, should be %a", got, want);
}

#define TOTAL_IS(want) same(cop__exact_sum_total(&sum), want)
#define MEAN_IS(want) same(cop__exact_sum_mean(&sum), want)

/* --- comparing ------------------------------------------------------------------------ */

/* From the least to the greatest; those of one row are equal. */
START_TEST(numbers_in_order)
{
    const cop_value row[][2] = {
        {cop_f64(-INFINITY), cop_f64(-INFINITY)},
        {cop_f64(-0x1.0000000000001p63), cop_f64(-0x1.0000000000001p63)},
        {cop_i64(INT64_MIN), cop_f64(-0x1p63)},
        {cop_i64(INT64_MIN + 1), cop_i64(INT64_MIN + 1)},
        {cop_f64(-0x1.fffffffffffffp62), cop_i64(-INT64_C(0x7ffffffffffffc00))},
        {cop_i64(-9007199254740993), cop_i64(-9007199254740993)},
        {cop_f64(-0x1p53), cop_i64(-9007199254740992)},
        {cop_f64(-1.5), cop_f64(-1.5)},
        {cop_i64(-1), cop_f64(-1.0)},
        {cop_f64(-DBL_TRUE_MIN), cop_f64(-DBL_TRUE_MIN)},
        {cop_i64(0), cop_f64(-0.0)},
        {cop_f64(0.0), cop_f64(-0.0)},
        {cop_f64(DBL_TRUE_MIN), cop_f64(DBL_TRUE_MIN)},
        {cop_i64(1), cop_f64(1.0)},
        {cop_f64(1.5), cop_f64(1.5)},
        {cop_i64(9007199254740992), cop_f64(0x1p53)},
        {cop_i64(9007199254740993), cop_i64(9007199254740993)},
        {cop_f64(0x1.0000000000001p53), cop_i64(9007199254740994)},
        {cop_f64(0x1.fffffffffffffp62), cop_i64(INT64_C(0x7ffffffffffffc00))},
        {cop_i64(INT64_MAX), cop_i64(INT64_MAX)},
        {cop_f64(0x1p63), cop_f64(0x1p63)},
        {cop_f64(INFINITY), cop_f64(INFINITY)},
    };
    int n = (int)(sizeof row / sizeof *row);

    for (int i = 0; i < n; i++) {
        for (int j = 0; j < n; j++) {
            for (int k = 0; k < 4; k++) {
                int order = cop__number_compare(&row[i][k & 1], &row[j][k >> 1]);
                int want = (i > j) - (i < j);
                if ((i == 10 && j == 11) || (i == 11 && j == 10))
                    want = 0; /* zeros of all kinds */
                ck_assert_int_eq((order > 0) - (order < 0), want);
            }
        }
    }
}
END_TEST

START_TEST(kinds_of_numbers)
{
    cop_value i = cop_i64(INT64_C(0x7ff8000000000000)), nan = cop_f64(NAN), f = cop_f64(1);
    cop_value text = cop_string("1", 1);

    ck_assert(cop__number_is(&i) && cop__number_is(&nan) && cop__number_is(&f));
    ck_assert(!cop__number_is(&text));
    ck_assert(cop__number_is_nan(&nan) && !cop__number_is_nan(&i) && !cop__number_is_nan(&f));
}
END_TEST

/* --- sums ------------------------------------------------------------------------------- */

START_TEST(nothing_and_zeros)
{
    TOTAL_IS(0.0);
    add(cop_f64(-0.0));
    add(cop_f64(-0.0));
    TOTAL_IS(-0.0);
    MEAN_IS(-0.0);
    add(cop_f64(0.0));
    TOTAL_IS(0.0);
    take(cop_f64(0.0));
    TOTAL_IS(-0.0);
    add(cop_i64(0));
    TOTAL_IS(0.0);
    take(cop_i64(0));
    add(cop_f64(1.0));
    add(cop_f64(-1.0));
    TOTAL_IS(0.0);
    take(cop_f64(1.0));
    take(cop_f64(-1.0));
    TOTAL_IS(-0.0);
    take(cop_f64(-0.0));
    take(cop_f64(-0.0));
    TOTAL_IS(0.0);
}
END_TEST

START_TEST(cancellation_is_exact)
{
    add(cop_f64(1e308));
    add(cop_f64(1.0));
    add(cop_f64(DBL_TRUE_MIN));
    add(cop_f64(-1e308));
    TOTAL_IS(1.0);
    take(cop_f64(1.0));
    TOTAL_IS(DBL_TRUE_MIN);
    add(cop_f64(-DBL_TRUE_MIN));
    TOTAL_IS(0.0);
    add(cop_f64(-1e308));
    TOTAL_IS(-1e308);
}
END_TEST

START_TEST(rounding_is_to_nearest_even)
{
    add(cop_f64(0x1p53));
    add(cop_f64(1.0));
    TOTAL_IS(0x1p53);
    add(cop_f64(DBL_TRUE_MIN));
    TOTAL_IS(0x1.0000000000001p53);
    take(cop_f64(DBL_TRUE_MIN));
    add(cop_f64(-DBL_TRUE_MIN));
    TOTAL_IS(0x1p53);
    take(cop_f64(-DBL_TRUE_MIN));
    add(cop_i64(2));
    TOTAL_IS(0x1.0000000000002p53); /* 2^53 + 3, a tie */
    add(cop_f64(-0x1p54));
    TOTAL_IS(-0x1.ffffffffffffdp52); /* exact */
}
END_TEST

START_TEST(beyond_the_doubles_and_back)
{
    for (int i = 0; i < 1000; i++)
        add(cop_f64(DBL_MAX));
    TOTAL_IS(INFINITY);
    MEAN_IS(DBL_MAX);
    for (int i = 0; i < 2000; i++)
        add(cop_f64(-DBL_MAX));
    TOTAL_IS(-INFINITY);
    for (int i = 0; i < 999; i++)
        take(cop_f64(-DBL_MAX));
    for (int i = 0; i < 1000; i++)
        take(cop_f64(DBL_MAX));
    for (int i = 0; i < 1000; i++)
        take(cop_f64(-DBL_MAX));
    TOTAL_IS(-DBL_MAX);
    add(cop_f64(-0x1p970)); /* half of the last place: a tie goes to infinity */
    TOTAL_IS(-INFINITY);
    add(cop_f64(DBL_TRUE_MIN));
    TOTAL_IS(-DBL_MAX);
}
END_TEST

START_TEST(nan_and_infinities_leave_no_trace)
{
    add(cop_f64(2.5));
    add(cop_f64(INFINITY));
    TOTAL_IS(INFINITY);
    MEAN_IS(INFINITY);
    add(cop_f64(-INFINITY));
    same(fabs(cop__exact_sum_total(&sum)), NAN);
    take(cop_f64(INFINITY));
    TOTAL_IS(-INFINITY);
    add(cop_f64(-NAN));
    TOTAL_IS(NAN); /* one pattern, whatever came in */
    ck_assert_uint_eq(cop__exact_sum_count(&sum), 3);
    take(cop_f64(-NAN));
    take(cop_f64(-INFINITY));
    TOTAL_IS(2.5);
    ck_assert_uint_eq(cop__exact_sum_f64s(&sum), 1);
}
END_TEST

START_TEST(integers_in_128_bits)
{
    int64_t total;

    for (int i = 0; i < 5; i++)
        add(cop_i64(INT64_MIN));
    ck_assert(!cop__exact_sum_i64(&sum, &total));
    TOTAL_IS(-5 * 0x1p63);
    MEAN_IS(-0x1p63);
    for (int i = 0; i < 5; i++)
        add(cop_i64(INT64_MAX));
    ck_assert(cop__exact_sum_i64(&sum, &total));
    ck_assert_int_eq(total, -5);
    MEAN_IS(-0.5);
    take(cop_i64(INT64_MIN));
    ck_assert(cop__exact_sum_i64(&sum, &total));
    ck_assert_int_eq(total, INT64_MAX - 4);
    take(cop_i64(INT64_MAX));
    add(cop_i64(4));
    ck_assert(cop__exact_sum_i64(&sum, &total));
    ck_assert_int_eq(total, 0);
    TOTAL_IS(0.0);
}
END_TEST

START_TEST(limits_of_i64)
{
    int64_t total;

    add(cop_i64(INT64_MAX));
    ck_assert(cop__exact_sum_i64(&sum, &total) && total == INT64_MAX);
    add(cop_i64(1));
    ck_assert(!cop__exact_sum_i64(&sum, &total));
    add(cop_i64(INT64_MIN));
    add(cop_i64(INT64_MIN));
    ck_assert(cop__exact_sum_i64(&sum, &total) && total == INT64_MIN);
    add(cop_i64(-1));
    ck_assert(!cop__exact_sum_i64(&sum, &total));
}
END_TEST

START_TEST(means_are_rounded_once)
{
    add(cop_i64(1));
    add(cop_i64(0));
    add(cop_i64(0));
    MEAN_IS(1.0 / 3);
    add(cop_f64(0x1p53));
    add(cop_f64(0x1p53));
    add(cop_i64(5));
    MEAN_IS(0x1p54 / 6 + 1); /* (2^54 + 6) / 6, below 2^53: the quotient's own last place is 1/2 */
}
END_TEST

START_TEST(means_of_subnormals)
{
    add(cop_f64(DBL_TRUE_MIN));
    add(cop_f64(0.0));
    MEAN_IS(0.0); /* a half: even */
    add(cop_f64(3 * DBL_TRUE_MIN));
    add(cop_f64(2 * DBL_TRUE_MIN));
    MEAN_IS(2 * DBL_TRUE_MIN); /* 1.5 */
    take(cop_f64(3 * DBL_TRUE_MIN));
    take(cop_f64(2 * DBL_TRUE_MIN));
    take(cop_f64(DBL_TRUE_MIN));
    add(cop_f64(-DBL_TRUE_MIN));
    add(cop_f64(0.0));
    MEAN_IS(-0.0); /* the sum's sign */
    add(cop_f64(DBL_MIN));
    add(cop_f64(DBL_MIN));
    MEAN_IS((2 * DBL_MIN - DBL_TRUE_MIN) / 5);
    take(cop_f64(DBL_MIN));
    take(cop_f64(DBL_MIN));
    for (int i = 0; i < 40000; i++)
        add(cop_f64(0.0));
    MEAN_IS(-0.0); /* below the lowest digit */
}
END_TEST

/* Carries are passed on after 2^30 calls: as if there had been so many. */
START_TEST(digits_do_not_overflow)
{
    const double f[] = {0x1.fffffffffffffp40, 0x1.fffffffffffffp9, -0x1.23456789abcdep-20};

    for (unsigned i = 0; i < 3000; i++) {
        add(cop_f64(f[i % 3]));
        if (i % 7 == 0)
            sum.calls = (UINT32_C(1) << 30) - 1;
    }
    ck_assert_uint_lt(sum.calls, 3000);
    for (unsigned i = 0; i < 2997; i++)
        take(cop_f64(f[i % 3]));
    TOTAL_IS(f[0] + f[1] + f[2]);
}
END_TEST

/* Beside 128-bit integers: their conversion to double is the compiler's. */
START_TEST(against_wide_integers)
{
    for (int round = 0; round < 300; round++) {
        cop__int128 exact = 0;
        cop_value values[40];
        unsigned n = 1 + (unsigned)tree_random(40);
        for (unsigned i = 0; i < n; i++) {
            int64_t mantissa = (int64_t)tree_random(UINT64_C(1) << 54) - (INT64_C(1) << 53);
            int exponent = (int)tree_random(60);
            values[i] = cop_f64(ldexp((double)mantissa, exponent - 30));
            exact += mantissa * ((cop__int128)1 << exponent);
            if (_i && i % 3 == 0) {
                values[i] = cop_i64(mantissa * (INT64_C(1) << tree_random(9)));
                exact += cop_value_i64(&values[i]) * ((cop__int128)1 << 30) -
                         mantissa * ((cop__int128)1 << exponent);
            }
            add(values[i]);
        }
        TOTAL_IS(ldexp((double)exact, -30));
        for (unsigned i = 0; i < n; i++)
            take(values[i]);
        TOTAL_IS(0.0);
    }
}
END_TEST

/* --- memory --------------------------------------------------------------------------------- */

START_TEST(the_window_is_as_wide_as_the_numbers)
{
    cop_value small = cop_f64(DBL_TRUE_MIN), special = cop_f64(INFINITY), zero = cop_f64(0);

    ck_assert(cop__exact_sum_reserve(&sum, memory, &special));
    ck_assert(cop__exact_sum_reserve(&sum, memory, &zero));
    ck_assert_ptr_null(sum.digit);
    add(cop_f64(1.0));
    ck_assert_uint_le(sum.size, 5);
    add(cop_f64(1e10));
    ck_assert_uint_le(sum.size, 6);
    fault_alloc_arm(&t_faults, 1, false);
    ck_assert(!cop__exact_sum_reserve(&sum, memory, &small));
    fault_alloc_disarm(&t_faults);
    TOTAL_IS(1e10 + 1);
    cop__exact_sum_trim(&sum, memory);
    ck_assert_ptr_nonnull(sum.digit);
    add(small);
    take(cop_f64(1e10));
    take(cop_f64(1.0));
    TOTAL_IS(DBL_TRUE_MIN);
    take(small);
    cop__exact_sum_trim(&sum, memory);
    ck_assert_ptr_null(sum.digit);
    TOTAL_IS(0.0);
}
END_TEST

static void
add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, numbers_in_order);
    tcase_add_test(tests, kinds_of_numbers);
    tcase_add_test(tests, nothing_and_zeros);
    tcase_add_test(tests, cancellation_is_exact);
    tcase_add_test(tests, rounding_is_to_nearest_even);
    tcase_add_test(tests, beyond_the_doubles_and_back);
    tcase_add_test(tests, nan_and_infinities_leave_no_trace);
    tcase_add_test(tests, integers_in_128_bits);
    tcase_add_test(tests, limits_of_i64);
    tcase_add_test(tests, means_are_rounded_once);
    tcase_add_test(tests, means_of_subnormals);
    tcase_add_test(tests, digits_do_not_overflow);
    tcase_add_loop_test(tests, against_wide_integers, 0, 2);
    tcase_add_test(tests, the_window_is_as_wide_as_the_numbers);
}

int
main(void)
{
    return t_run("exact_sum", add_tests);
}

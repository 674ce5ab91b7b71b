/* SPDX-License-Identifier: MIT */
/*
 * Comparing i64 with f64 exactly. Converting the integer would round it beyond 2^53, so the double
 * is cut off instead: within [-2^63, 2^63) its integer part is an int64_t without loss, and what
 * was cut off decides between equals. (The same way as CPython's float_richcompare, without its big
 * integers.)
 */
#include "reduce/number.h"

#include "base/base.h"

static int
compare_f64(double a, double b)
{
    return (a > b) - (a < b);
}

static int
compare_i64(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

static int
compare_mixed(int64_t i, double f)
{
    if (f >= 0x1p63)
        return -1;
    if (f < -0x1p63)
        return 1;
    int64_t whole = (int64_t)f;
    /* Exact: whole came out of a double. */
    return i != whole ? compare_i64(i, whole) : compare_f64((double)whole, f);
}

int
cop__number_compare(const cop_value *a, const cop_value *b)
{
    COP_ASSERT(cop__number_is(a) && cop__number_is(b) && !cop__number_is_nan(a) &&
               !cop__number_is_nan(b));
    if (a->type == COP_I64)
        return b->type == COP_I64 ? compare_i64(cop_value_i64(a), cop_value_i64(b))
                                  : compare_mixed(cop_value_i64(a), cop_value_f64(b));
    return b->type == COP_F64 ? compare_f64(cop_value_f64(a), cop_value_f64(b))
                              : -compare_mixed(cop_value_i64(b), cop_value_f64(a));
}

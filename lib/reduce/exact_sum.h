/* SPDX-License-Identifier: MIT */
/*
 * The exact sum of any numbers: a fixed-point accumulator as wide as the doubles reach.
 *
 * THE IDEA (Kulisch's long accumulator; the digits with room for carries are those of R. Neal,
 * "Fast exact summation using small and large superaccumulators", 2015). Every finite double is a
 * whole multiple of 2^-1074 below 2^1024. Digit i of the accumulator stands for 2^(32 i - 1088) and
 * is an int64_t of which 32 bits are used, so a double is added by adding three pieces of its
 * shifted mantissa to three digits, without passing on a carry; subtracting it subtracts the same
 * pieces. Integers are summed apart in 128 bits. Nothing is rounded before the end, where digits
 * and integers are put together and rounded once, to nearest even. So:
 *
 *   1. add and subtract are exactly inverse, and the order of calls cannot show in a result.
 *   2. A digit cannot overflow: a call adds less than 2^32 to it, and after 2^30 calls the carries
 * are passed on, which leaves it in [-2^31, 2^31).
 *   3. Up to 2^32 numbers: |sum| < 2^1056, which ends in digit 67; one digit more takes its carry.
 * The integers stay below 2^95.
 *
 * Only the digits that were needed are there: a window that grows in cop__exact_sum_reserve. Digits
 * are balanced (signed), so that a sum that changes its sign does not fill all digits above it.
 *
 * NaN and the infinities are counted apart and leave no trace when they are taken out. The results:
 *   NaN (one bit pattern, positive and quiet) when there is a NaN, or both infinities; else the
 *   infinity that is there; else the exact sum. An exact sum of zero is +0.0, except that it is
 * -0.0 when there is at least one number and all are -0.0: a rule about what is there, not how it
 * came. A sum beyond the doubles rounds to an infinity. A mean is that of the exact sum, hence
 * finite for finite numbers; one that rounds to zero keeps the sign of the sum.
 *
 * Cost: add, subtract O(1), some ns; results some 100 ns. Not thread-safe.
 */
#ifndef COP_REDUCE_EXACT_SUM_H
#define COP_REDUCE_EXACT_SUM_H

#include <coppice/value.h>

#include "reclaim/memory.h"

__extension__ typedef __int128 cop__int128;
__extension__ typedef unsigned __int128 cop__uint128;

typedef struct cop__exact_sum {
    cop__int128 integers;
    int64_t *digit;       /* the window; NULL: no finite double was ever reserved */
    uint8_t base, size;   /* its first digit and number of digits */
    uint32_t calls;       /* since carries were passed on */
    uint32_t i64s;        /* how many of each are in */
    uint32_t finite;      /* f64, zeros included */
    uint32_t minus_zeros; /* of these */
    uint32_t nans, plus_infinities, minus_infinities;
} cop__exact_sum;

/* A zeroed struct is an empty sum. The window is given back; the sum is empty afterwards. */
void cop__exact_sum_end(cop__exact_sum *sum, cop__memory *memory);

/* Makes room for a number; must have returned true before it is added. False: out of memory, and
 * nothing has changed. Room stays until _end or _trim. */
bool cop__exact_sum_reserve(cop__exact_sum *sum, cop__memory *memory, const cop_value *number);

/* Both take COP_I64 and COP_F64 only. Subtract: of a number that was added. */
void cop__exact_sum_add(cop__exact_sum *sum, const cop_value *number);
void cop__exact_sum_subtract(cop__exact_sum *sum, const cop_value *number);

/* Gives the window back when no finite double is in. */
void cop__exact_sum_trim(cop__exact_sum *sum, cop__memory *memory);

static inline uint32_t
cop__exact_sum_f64s(const cop__exact_sum *sum)
{
    return sum->finite + sum->nans + sum->plus_infinities + sum->minus_infinities;
}

static inline uint64_t
cop__exact_sum_count(const cop__exact_sum *sum)
{
    return (uint64_t)sum->i64s + cop__exact_sum_f64s(sum);
}

/* The sum of the integers alone: false when it is no int64_t. */
bool cop__exact_sum_i64(const cop__exact_sum *sum, int64_t *total);
/* All together. The mean wants at least one number, at most UINT32_MAX. */
double cop__exact_sum_total(const cop__exact_sum *sum);
double cop__exact_sum_mean(const cop__exact_sum *sum);

#endif

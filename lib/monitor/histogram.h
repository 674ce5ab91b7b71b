/* SPDX-License-Identifier: MIT */
/*
 * Log-linear histograms: 128 buckets to each doubling of the value, so that a value is told to
 * within 1/256 of itself (0.4 %), from 0 to 2^42 - 1 (73 minutes in nanoseconds); greater values
 * count as that. Values below 256 are exact. The size is fixed, and adding is a shift and two
 * additions whatever the value.
 *
 * A sample has a weight: what is measured once in N times counts N times, so that counts and sums
 * stay estimates of everything that happened.
 *
 * ADDING. `owned` is for histograms that one thread at a time adds to, ordered by a lock or the
 * commit right: its additions are loads and stores. `shared` is for any number of threads. A
 * histogram is only ever used in one of the two ways. Reading while somebody adds tells nothing
 * whole: the phaser (phaser.h) keeps readers out.
 */
#ifndef COP_MONITOR_HISTOGRAM_H
#define COP_MONITOR_HISTOGRAM_H

#include "base/atomic.h"
#include "base/base.h"

#define COP_HISTOGRAM_BITS 7u
#define COP_HISTOGRAM_TOP 42u
#define COP_HISTOGRAM_MAX ((UINT64_C(1) << COP_HISTOGRAM_TOP) - 1)
#define COP_HISTOGRAM_BUCKETS ((COP_HISTOGRAM_TOP - COP_HISTOGRAM_BITS + 1) << COP_HISTOGRAM_BITS)

typedef struct cop__histogram {
    _Atomic uint64_t sum;
    _Atomic uint64_t greatest;
    _Atomic uint64_t bucket[COP_HISTOGRAM_BUCKETS];
} cop__histogram;

static inline unsigned
cop__histogram_index(uint64_t value)
{
    if (cop__unlikely(value > COP_HISTOGRAM_MAX))
        value = COP_HISTOGRAM_MAX;
    unsigned top = 63u - (unsigned)__builtin_clzll(value | 1u << COP_HISTOGRAM_BITS);
    unsigned shift = top - COP_HISTOGRAM_BITS;
    return (shift << COP_HISTOGRAM_BITS) + (unsigned)(value >> shift);
}

/* The least value of a bucket, and how many values it holds. */
static inline uint64_t
cop__histogram_least(unsigned index, uint64_t *width)
{
    unsigned shift = index < 2u << COP_HISTOGRAM_BITS ? 0 : (index >> COP_HISTOGRAM_BITS) - 1;
    *width = UINT64_C(1) << shift;
    return (uint64_t)(index - (shift << COP_HISTOGRAM_BITS)) << shift;
}

/* The value that stands for all of a bucket: its middle. */
static inline uint64_t
cop__histogram_value(unsigned index)
{
    uint64_t width, least = cop__histogram_least(index, &width);
    return least + width / 2;
}

/* Adds to what only its owner writes. */
#define cop__owned_add(counter, n) cop__store_relaxed((counter), cop__load_relaxed(counter) + (n))

static inline void
cop__histogram_add_owned(cop__histogram *histogram, uint64_t value, uint64_t weight)
{
    cop__owned_add(&histogram->bucket[cop__histogram_index(value)], weight);
    cop__owned_add(&histogram->sum, value * weight);
    if (cop__unlikely(value > cop__load_relaxed(&histogram->greatest)))
        cop__store_relaxed(&histogram->greatest, value);
}

static inline void
cop__histogram_add_shared(cop__histogram *histogram, uint64_t value)
{
    cop__add_relaxed(&histogram->bucket[cop__histogram_index(value)], UINT64_C(1));
    cop__add_relaxed(&histogram->sum, value);
    uint64_t greatest = cop__load_relaxed(&histogram->greatest);
    while (value > greatest && !cop__cas_seq_cst(&histogram->greatest, &greatest, value))
        ;
}

/* Moves everything into `total`, which the caller owns, and leaves `from` empty. Nobody adds to
 * either. */
void cop__histogram_fold(cop__histogram *total, cop__histogram *from);

#endif

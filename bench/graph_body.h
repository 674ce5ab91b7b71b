/* SPDX-License-Identifier: MIT */
/* What graph_tbb.cpp shares with the C part of `bench graph`: the body of a computed, and a clock.
 */
#ifndef COPPICE_BENCH_GRAPH_BODY_H
#define COPPICE_BENCH_GRAPH_BODY_H

#include <stdint.h>
#include <time.h>

/* A body that takes its time: n dependent multiplications, none of which can be left out. */
static inline int64_t
graph_burn(int64_t value, unsigned n)
{
    uint64_t x = (uint64_t)value;
    for (unsigned i = 0; i < n; i++) {
        x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        __asm__ volatile("" : "+r"(x));
    }
    return (int64_t)x;
}

/* Sums wrap: a deep grid multiplies its sources by more than a word holds. */
static inline int64_t
graph_add(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a + (uint64_t)b);
}

/* What step `step` writes to the source with number `source` when all of them are written. */
static inline int64_t
graph_value_of_all(uint64_t step, uint32_t source)
{
    return (int64_t)(step * 7 + source * 3 + 1);
}

static inline double
graph_clock_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

#endif

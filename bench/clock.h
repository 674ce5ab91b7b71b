/* SPDX-License-Identifier: MIT */
/* What benchmarks measure with. */
#ifndef COPPICE_BENCH_CLOCK_H
#define COPPICE_BENCH_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t
bench_clock_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline uint64_t
bench_wall_ns(void)
{
    return bench_clock_ns(CLOCK_MONOTONIC);
}

static inline uint64_t
bench_cpu_ns(void)
{
    return bench_clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

#endif

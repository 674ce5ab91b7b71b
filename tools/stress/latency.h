/* SPDX-License-Identifier: MIT */
/*
 * Latencies of one kind of operation on one thread: 64 buckets to each doubling of nanoseconds, so
 * that a quantile is told to within 1 %. (The library's own histograms are not public.)
 */
#ifndef COP_TOOLS_STRESS_LATENCY_H
#define COP_TOOLS_STRESS_LATENCY_H

#include <stdint.h>

enum {
    LATENCY_BITS = 6,
    LATENCY_TOP = 40,
    LATENCY_BUCKETS = (LATENCY_TOP - LATENCY_BITS + 1) << LATENCY_BITS
};

struct latency {
    uint64_t count, greatest;
    uint64_t bucket[LATENCY_BUCKETS];
};

static inline unsigned
latency_index(uint64_t ns)
{
    const uint64_t most = (UINT64_C(1) << LATENCY_TOP) - 1;
    if (ns > most)
        ns = most;
    unsigned shift = 63u - (unsigned)__builtin_clzll(ns | 1u << LATENCY_BITS) - LATENCY_BITS;
    return (shift << LATENCY_BITS) + (unsigned)(ns >> shift);
}

static inline void
latency_add(struct latency *latency, uint64_t ns)
{
    latency->count++;
    latency->bucket[latency_index(ns)]++;
    if (ns > latency->greatest)
        latency->greatest = ns;
}

static inline void
latency_merge(struct latency *total, const struct latency *from)
{
    total->count += from->count;
    if (from->greatest > total->greatest)
        total->greatest = from->greatest;
    for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
        total->bucket[i] += from->bucket[i];
}

/* The value that `share` (0 .. 1) of the samples do not exceed; 0 without samples. */
static inline uint64_t
latency_quantile(const struct latency *latency, double share)
{
    uint64_t seen = 0, wanted = (uint64_t)(share * (double)latency->count);
    for (unsigned i = 0; i < LATENCY_BUCKETS && latency->count; i++) {
        seen += latency->bucket[i];
        if (seen > wanted || seen == latency->count) {
            unsigned shift = i < 2u << LATENCY_BITS ? 0 : (i >> LATENCY_BITS) - 1;
            uint64_t middle =
                ((uint64_t)(i - (shift << LATENCY_BITS)) << shift) + (UINT64_C(1) << shift) / 2;
            return middle < latency->greatest ? middle : latency->greatest;
        }
    }
    return 0;
}

#endif

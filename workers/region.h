/* SPDX-License-Identifier: MIT */
/*
 * Regions: one thread at a time shares n numbered items with whatever workers are idle, again and
 * again, microseconds apart. The wave engine runs the levels of a wave through one.
 *
 * The owner of a region is the thread that calls these functions on it, one at a time. Every
 * function is legal for NULL, which stands for a region without workers, so that an open that
 * failed needs no further thought. In a forked child a region has no workers either.
 *
 *     uint32_t lanes = cop__region_lanes(region);        have state for that many lanes
 *     if (cop__region_worth(region, n, ns)) {
 *         uint64_t begin = cop__clock_ns();
 *         cop__region_run(region, n, least_chunk, run, context);
 *         cop__region_account(region, n, ns, cop__clock_ns() - begin);
 *     } else ... one after the other
 */
#ifndef COP_WORKERS_REGION_H
#define COP_WORKERS_REGION_H

#include <coppice/pool.h>

#include "base/base.h"

typedef struct cop__region cop__region;

/* Handles items begin .. end-1. lane tells the threads of one run apart: 0 is the owner. No two
 * calls of one run with the same lane overlap. */
typedef void (*cop__region_function)(void *context, unsigned lane, uint32_t begin, uint32_t end);

/* NULL when pool is NULL, in a forked child, and when out of memory. Thread-safe. */
cop__region *cop__region_open(cop_pool *pool);
/* Before the pool is closed. Thread-safe. */
void cop__region_close(cop__region *region);

/* Lanes that runs may use from now on, the owner's included: one more than the pool has threads.
 * Never less than it was before, so state once made for a lane stays of use; runs go on within what
 * was last answered here (at first: the owner alone). Owner. Wait-free. */
unsigned cop__region_lanes(cop__region *region);

/*
 * Calls run on ranges that together are 0 .. items-1, none shorter than least_chunk unless it is
 * the last, on the owner and on workers that come by; what run wrote is visible to the owner
 * afterwards. Returns when every item is done: that is, waits only for workers that have claimed
 * items and have not ended, spinning about as long as a chunk should take, then asleep. Wakes
 * parked workers unless the last cop__region_worth decided against that. Owner. Blocking.
 */
void cop__region_run(cop__region *region, uint32_t items, uint32_t least_chunk,
                     cop__region_function run, void *context);

/*
 * Policy: whether items of about ns_per_item (measured on one thread) are better shared.
 * Never when they are cheap (COP_REGION_ITEM_NS); not while sharing is switched off, because it
 * lost; else when the time saved on workers that are awake is worth the trouble, or what could have
 * been saved lately would have paid for waking some. Reads the clock at most once. Owner.
 */
bool cop__region_worth(cop__region *region, uint32_t items, double ns_per_item);
/* After a run: what it should have cost on one thread, and what it did. When gains and losses sum
 * up to a loss, sharing is switched off for 2 ms, and for twice as long each time, up to 256 ms. */
void cop__region_account(cop__region *region, uint32_t items, double ns_per_item,
                         uint64_t elapsed_ns);

#define COP_REGION_ITEM_NS 60.0

/* Test hook: everything is worth sharing. Set before a region is used. */
extern bool cop__region_always __attribute__((visibility("hidden")));

/* For workers: a range of items. Who has claimed one has to work on it, on its lane. */
typedef struct cop__chunk {
    cop__region *region;
    cop__region_function run;
    void *context;
    uint32_t begin, end;
} cop__chunk;

bool cop__region_claim(cop__region *region, unsigned lane, cop__chunk *chunk);
/* Runs the chunk, and others of the same run until there are none; how many. */
uint32_t cop__region_work(cop__chunk *chunk, unsigned lane);

/* For the pool: frees a region that is closed; adds up what it has counted. */
void cop__region_free(cop__region *region);
void cop__region_counts(const cop__region *region, uint64_t *runs, uint64_t *stalls);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * The memory manager: how full a store is, and what gives way.
 *
 * USED bytes are those held from the allocator, less what lies free in the pools (the caller tells how
 * much that is). The level goes up when used bytes pass a mark, and down again only when they are well
 * below it, so that it does not flutter:
 *
 *   NORMAL --- used > soft ---------------------> SOFT --- a commit was refused ----> FULL
 *   NORMAL <-- used < soft - limit / 32 --------- SOFT <-- used < then - then / 32 -- FULL
 *
 * (then: what was used when it was refused). With another limit the marks are others: more than the limit
 * used is full, too; then moves up with the limit, and is never above it. The steps are asked in the order
 * in which they are named, each for what the ones before did not give. Having been asked, they are not asked
 * again until used bytes have grown by a hundredth, or RETRY_NS have passed: what cannot give way costs a
 * commit no more than this look.
 *
 * It knows nothing of what its steps are. All of it is for the holder of the commit right; figures are
 * read by anyone.
 */
#ifndef COP_RECLAIM_MEMORY_MANAGER_H
#define COP_RECLAIM_MEMORY_MANAGER_H

#include <coppice/pressure.h>

#include "reclaim/memory.h"

/* Frees about so many bytes, or sees to it that the next scan does; UINT64_MAX: all that can be. Returns
 * about how many; 0: none. */
typedef uint64_t (*cop__give_function)(void *context, uint64_t bytes);

typedef struct cop__give_step {
    cop__give_function soft; /* NULL: is not asked before a commit is refused */
    cop__give_function full; /* gives what can be lost; NULL: the same as soft */
    void *context;
} cop__give_step;

typedef struct cop__memory_manager {
    cop__memory *memory;
    _Atomic uint64_t soft; /* the mark, in bytes */
    _Atomic uint32_t level;
    uint64_t limit; /* of which these marks are */
    uint64_t full;  /* the mark: what was used when a commit was refused last, and see above */
    cop__give_step step[COP_GAVE_STEPS];
    uint64_t asked_used, asked_ns; /* what was used when steps were asked last; 0: ask again */
    _Atomic uint64_t gave[COP_GAVE_STEPS]; /* bytes, about */
    _Atomic uint64_t times_soft, times_full;
} cop__memory_manager;

void cop__manager_init(cop__memory_manager *manager, cop__memory *memory, uint64_t soft_percent);
/* The account's limit is another, or the share is. */
void cop__manager_configure(cop__memory_manager *manager, uint64_t soft_percent);

/* Whether there is nothing to look at: what every commit asks. */
static inline bool
cop__manager_calm(cop__memory_manager *manager)
{
    return cop__likely(cop__load_relaxed(&manager->memory->held) <=
                           cop__load_relaxed(&manager->soft) &&
                       cop__load_relaxed(&manager->level) == COP_MEMORY_NORMAL);
}

/* Sets the level by what is used; refused: a commit was, with all that could give way given. True when
 * it changed. */
bool cop__manager_look(cop__memory_manager *manager, uint64_t used, bool refused);
/* How much is to give way now, 0: nothing. now: CLOCK_MONOTONIC. */
uint64_t cop__manager_wants(cop__memory_manager *manager, uint64_t used, uint64_t now);
/* Asks the steps for so many bytes. About how many they gave. */
uint64_t cop__manager_soft(cop__memory_manager *manager, uint64_t bytes);
/* So many bytes gave way without being asked for here. Returns them. */
uint64_t cop__manager_note(cop__memory_manager *manager, cop_gave_step step, uint64_t bytes);
/* What could be done was done, and so much is used now. */
void cop__manager_asked(cop__memory_manager *manager, uint64_t used, uint64_t now);
/* Asks one step for what can be lost too. */
uint64_t cop__manager_full(cop__memory_manager *manager, cop_gave_step step, uint64_t bytes);

#endif

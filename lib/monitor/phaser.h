/* SPDX-License-Identifier: MIT */
/*
 * The writer-reader phaser, after Gil Tene: many writers that never wait, one reader at a time that
 * waits for the writers of the past and for no others.
 *
 * There are two sides of whatever is recorded. The word `begun` counts sections; its sign says
 * which side is being written to. A writer enters with one addition to it, writes to the side that
 * the sign it got names, and leaves with one addition to that side's count of ended sections. A
 * flip gives `begun` the other sign by one swap; what it swapped out is how many sections will have
 * ended on the old side once all have. When that many have, the old side is the reader's until the
 * next flip.
 *
 * WHY THE OLD SIDE IS QUIET.
 *  1. Additions and the swap on `begun` are one order. A section whose addition comes before the
 * swap is counted in what the swap returns, and writes to the old side; one that comes behind got
 * the new sign, and writes to the new side only.
 *  2. `ended` of the old side was set to the sign's beginning before the flip that made that side
 * the written one, and every section of it adds one when it has done its last write. So when it is
 *     equal to what was swapped out, each of those sections has ended.
 *  3. Leaving is a release addition, and additions continue a release sequence: the reader's
 * acquire load that sees the last value synchronises with every leave. So it sees all they wrote,
 * and what it writes afterwards (emptying) is behind all of that.
 *  4. What the reader wrote to a side, and to its `ended`, comes before the swap that opens the
 * side (acquire-release); entering is an acquire addition to the same word, in the release sequence
 * of the swap. So a section finds the side empty.
 *
 * A section is thus whole on one side: a reader sees all of it or nothing.
 *
 * PROGRESS. enter, leave: wait-free, one atomic addition each. flip: wait-free. Waiting for
 * is_quiet is blocking: for the sections under way, which are some ten additions long. A thread
 * that is stopped inside one delays readers, not writers.
 *
 *   may run at the same time   enter/leave   flip, is_quiet
 *   enter/leave                yes           yes
 *   flip, is_quiet             yes           no: the reader's lock
 */
#ifndef COP_MONITOR_PHASER_H
#define COP_MONITOR_PHASER_H

#include "base/atomic.h"
#include "base/base.h"

typedef struct cop__phaser {
    _Alignas(COP_CACHE_LINE) _Atomic int64_t begun;
    _Alignas(COP_CACHE_LINE) _Atomic int64_t ended[2]; /* of the sides 0 (begun >= 0) and 1 */
    int64_t awaited; /* the reader's: ended sections of the old side at which it is quiet */
    unsigned old;    /* the reader's: the side that was written to before the last flip */
} cop__phaser;

/* A section's ticket: its side is the sign. */
static inline unsigned
cop__phaser_side(int64_t ticket)
{
    return ticket < 0;
}

static inline void
cop__phaser_init(cop__phaser *phaser)
{
    atomic_init(&phaser->begun, 0);
    atomic_init(&phaser->ended[0], 0);
    atomic_init(&phaser->ended[1], INT64_MIN);
    phaser->awaited = INT64_MIN;
    phaser->old = 1;
}

static inline int64_t
cop__phaser_enter(cop__phaser *phaser)
{
    return cop__add_acq_rel(&phaser->begun, INT64_C(1));
}

static inline void
cop__phaser_leave(cop__phaser *phaser, int64_t ticket)
{
    cop__add_acq_rel(&phaser->ended[cop__phaser_side(ticket)], INT64_C(1));
}

/* The old side must be quiet, and empty. */
static inline void
cop__phaser_flip(cop__phaser *phaser)
{
    unsigned fresh = phaser->old;
    int64_t first = fresh ? INT64_MIN : 0;
    cop__store_relaxed(&phaser->ended[fresh], first);
    phaser->awaited = cop__swap_acq_rel(&phaser->begun, first);
    phaser->old = !fresh;
}

/* Whether every section of the old side has ended. */
static inline bool
cop__phaser_is_quiet(cop__phaser *phaser)
{
    return cop__load_acquire(&phaser->ended[phaser->old]) == phaser->awaited ||
           COP_FAULT(monitor_torn);
}

#endif

/* SPDX-License-Identifier: MIT */
/*
 * Timers in the order in which they are due: a pairing heap (Fredman et al. 1986), whose nodes lie in
 * what they belong to. Nothing is allocated. Setting is O(1), taking one out O(log n) on average. Not
 * thread-safe; no recursion.
 */
#ifndef COP_BASE_TIMER_HEAP_H
#define COP_BASE_TIMER_HEAP_H

#include "base/base.h"

#define COP_TIMER_NEVER UINT64_MAX

/* Zeroed: not in a heap. */
typedef struct cop__timer {
    uint64_t due;                  /* CLOCK_MONOTONIC nanoseconds */
    struct cop__timer *child;
    struct cop__timer *next;       /* sibling */
    struct cop__timer **reference; /* what leads here; NULL: not in a heap */
} cop__timer;

static inline bool
cop__timer_is_set(const cop__timer *timer)
{
    return timer->reference != NULL;
}

static inline uint64_t
cop__timer_heap_due(const cop__timer *top)
{
    return top != NULL ? top->due : COP_TIMER_NEVER;
}

/* Puts in one that is not in a heap. */
void cop__timer_heap_add(cop__timer **top, cop__timer *timer, uint64_t due);
/* Takes out one that is in this heap. */
void cop__timer_heap_remove(cop__timer **top, cop__timer *timer);

#endif

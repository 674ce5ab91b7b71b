/* SPDX-License-Identifier: MIT */
/*
 * Giving memory back after a peak, in steps that hold commits up a millisecond or so each.
 *
 * A PASS parks the free items of the pool with their chunks (reclaim/slab.h), which gives wholly free ones back;
 * moves what is live in sparse chunks into others (tree/compact.h), a few hundred pages at a time, each
 * step a publication of the same version; and waits for the scans that free the old ones, so that those
 * chunks go, too. A pass is begun when a third and more of the memory is free; behind one that gave
 * nearly nothing back, only when more is free than then, or after some seconds.
 *
 * All functions need the commit right but cop_memory_trim.
 */
#ifndef COP_COMMIT_TRIM_H
#define COP_COMMIT_TRIM_H

#include "store/store_internal.h"

/* Whether a step should be made now, by whoever has just committed or has nothing else to do: a pass is
 * worth beginning, or one is under way and has not had its share of the time. */
bool cop__trim_due(cop_store *store);
/* Makes a step, of a new pass if none is under way. True when there is more to do in this pass. */
bool cop__trim_step(cop_store *store);
/* Behind a commit that scanned for what is held, and behind each while a pass is under way: a step if it is
 * due. */
void cop__trim_committed(cop_store *store);
/* Steps while they are due, so many at the most; what is queued is committed between them. */
void cop__trim_some(cop_store *store, unsigned steps);

#endif

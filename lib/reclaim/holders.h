/* SPDX-License-Identifier: MIT */
/* Who holds versions, for the library itself: see coppice/holders.h. */
#ifndef COP_RECLAIM_HOLDERS_H
#define COP_RECLAIM_HOLDERS_H

#include <coppice/holders.h>

#include "base/base.h"

struct cop_snapshot;

/* The calling thread's number, and the name of a thread of this process ("" when there is none). */
uint32_t cop__thread_id(void);
void cop__thread_name(uint32_t thread, char *name, size_t size);

/* What a scan notes about the oldest version that is held but not for the history's sake alone. */
typedef struct cop__stall {
    const struct cop_snapshot *oldest; /* NULL: none; of the last scan, valid in it */
    uint64_t told_stamp;               /* the last one that was told of */
    uint64_t quiet_until;              /* CLOCK_MONOTONIC: no other one is told of before */
} cop__stall;

/* Behind a scan: tells the log when that version has been held for too long. With the right. */
void cop__stall_look(cop_store *store);

#endif

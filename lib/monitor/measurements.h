/* SPDX-License-Identifier: MIT */
/* The inside of cop_measurements. */
#ifndef COP_MONITOR_MEASUREMENTS_H
#define COP_MONITOR_MEASUREMENTS_H

#include "monitor/monitor.h"

typedef struct cop__used_bucket {
    uint64_t up_to; /* values in this bucket and those before it */
    uint32_t index;
} cop__used_bucket;

typedef struct cop__measured {
    uint64_t count, sum, greatest;
    const cop__used_bucket *bucket; /* in use, ascending */
    uint32_t buckets;
} cop__measured;

struct cop_measurements {
    cop__memory *memory;
    size_t bytes; /* of all of it */
    cop__measured of[COP_MEASURES];
    uint64_t overruns[COP_OVERRUNS];
    uint32_t worst_count[COP_OVERRUNS];
    cop_overrun worst[COP_OVERRUNS][COP_WORST_MAX];
    uint32_t hot_count;
    cop_hot hot[COP_HOTTEST_MAX];
    cop__used_bucket bucket[];
};

#endif

/* SPDX-License-Identifier: MIT */
/* The case `resize` of `bench pool`: the thread count changes ten times under full load. */
#ifndef COPPICE_BENCH_POOL_RESIZE_H
#define COPPICE_BENCH_POOL_RESIZE_H

#include <stdbool.h>

#include "bench/report.h"

enum { RESIZE_BEFORE, RESIZE_DURING, RESIZE_AFTER, RESIZE_PHASES };

typedef struct resize_figures {
    report_samples unit_ns[RESIZE_PHASES]; /* wall time a unit of work, of tasks and items alike */
    report_samples call_us;                /* the longest cop_pool_resize of a round */
    report_samples lost;                   /* units that did not run exactly once; 0 */
} resize_figures;

/* A round with a pool of its own, of `threads` before and after. False: it could not be made. */
bool resize_round(unsigned threads, resize_figures *figures);

#endif

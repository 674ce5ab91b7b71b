/* SPDX-License-Identifier: MIT */
/*
 * A trace: a ring of spans under a lock. It is there for the asking only, so that being measured
 * may cost something then; when it is off, recorders see one flag.
 */
#ifndef COP_MONITOR_TRACE_H
#define COP_MONITOR_TRACE_H

#include <coppice/monitor.h>
#include <pthread.h>

#include "base/atomic.h"
#include "reclaim/memory.h"

#define COP_TRACE_RUN COP_MEASURES /* a span of a computed atom's run; others are cop_measure */

typedef struct cop__trace_span {
    uint64_t from_ns, to_ns;
    cop_atom atom;
    uint32_t thread;
    int what;
} cop__trace_span;

_Static_assert(sizeof(cop__trace_span) == 32, "as the header says");

typedef struct cop__trace {
    _Atomic bool on;
    pthread_mutex_t lock; /* of all below */
    cop__trace_span *span;
    size_t capacity;
    uint64_t added; /* since the start */
    uint64_t began_ns;
} cop__trace;

static inline bool
cop__trace_on(cop__trace *trace)
{
    return cop__load_relaxed(&trace->on);
}

void cop__trace_init(cop__trace *trace);
void cop__trace_end(cop__trace *trace, cop__memory *memory);
/* Adds a span of the calling thread. */
void cop__trace_add(cop__trace *trace, int what, cop_atom atom, uint64_t from_ns, uint64_t to_ns);

#endif

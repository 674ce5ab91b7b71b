/* SPDX-License-Identifier: MIT */
/*
 * Writing down the runs of the few nodes that somebody looks at.
 *
 * A node that is looked at has COP_NODE_LOOKED, which is one of COP_NODE_SPECIAL: it takes
 * cop__node_run, where writing down costs the others nothing. What a run read is copied with it, so
 * that it can be told later, in another version; a record that finds no memory is dropped, and the
 * wave goes on.
 *
 *   open     a run has begun in this draft; a second one in the same draft repeats it
 *   pending  it has given a value; it counts if the draft is published
 *   last     the newest that counts
 *
 * Everything belongs to the holder of the commit right but `references`, `runs` and `gone`, which those
 * who wait for a run read and drop without it. Looks that nobody holds are taken away by the next
 * holder who comes by.
 */
#ifndef COP_GRAPH_LOOK_H
#define COP_GRAPH_LOOK_H

#include <coppice/graph.h>

#include "graph/graph.h"

/* A dependency as a run saw it. Texts stand behind the records. */
typedef struct cop__seen {
    uint64_t dependency;
    uint64_t changed_version;
    cop_value value, before;
    const char *path; /* of COP_DEPENDS_PATH */
    cop_atom atom;
    bool changed;
} cop__seen;

typedef struct cop__seen_list {
    size_t bytes; /* of this block */
    size_t count, total;
    cop__seen seen[];
} cop__seen_list;

typedef struct cop__looked_run {
    uint64_t version, time_ns, duration_ns;
    uint32_t discarded;
    cop_run_cause cause;
    cop_run_outcome outcome;
    cop__seen_list *causes, *read, *values; /* values: before, after */
} cop__looked_run;

typedef struct cop__look {
    struct cop__look *next;
    uint32_t node; /* 0: the node has gone */
    bool armed;    /* by cop_graph_look */
    bool open, pending;
    _Atomic uint32_t references; /* of those who wait */
    _Atomic uint32_t runs;       /* that count; wraps */
    _Atomic bool gone;
    cop__looked_run now, last;
    uint64_t changed; /* graph->count.changed when the run began */
    uint64_t count, cutoffs, total_ns, longest_ns;
} cop__look;

/* The look at a node, made if need be. NULL: no memory, or COP_GRAPH_LOOKS_MAX. */
cop__look *cop__look_at(cop__graph *graph, cop__node *node);
cop__look *cop__look_of(const cop__graph *graph, const cop__node *node);
/* What a node reads, as it is published: no draft is under way. NULL: no memory. */
cop__seen_list *cop__see_published(const cop__graph *graph, const cop__node *node);
/* Takes away looks that nobody holds. */
void cop__look_sweep(cop__graph *graph);

#endif

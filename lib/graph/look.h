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
 * LAZY AND BACKGROUND ATOMS run on threads without the right (lazy_look.c). Their records say that they
 * are looked at; who runs one writes the run down by itself, from what it read and the memo used last, and
 * hands it over under the record's lock. Looks at them come and go with the right and that lock both held.
 *
 * Everything else belongs to the holder of the commit right but `references`, `runs` and `gone`, which
 * those who wait for a run read and drop without it. Looks that nobody holds are taken away by the
 * next holder who comes by.
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
    const char *path; /* of COP_DEPENDS_PATH; terminated once it is kept */
    size_t path_length;
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
    uint32_t node; /* 0: the node has gone, or there is none */
    struct cop__lazy *lazy; /* there is this one; then what a run writes is under its lock */
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
/* A look at nothing yet, and its end. */
cop__look *cop__look_new(cop__graph *graph);
/* What it looked at has gone. */
void cop__look_gone(cop__graph *graph, cop__look *look);
/* Makes a list of n things: calls back with each, perhaps twice; or of those that have changed. NULL: no
 * memory. */
typedef void (*cop__see_function)(const void *context, size_t i, cop__seen *seen);
cop__seen_list *cop__see(cop__memory *memory, cop__see_function function, const void *context, size_t n,
                         bool only_changed);
void cop__looked_run_clear(cop__memory *memory, cop__looked_run *run);
/* A run counts, as part of a version. */
void cop__look_counts(cop__memory *memory, cop__look *look, cop__looked_run *run, uint64_t version);
uint64_t cop__look_time(void);

/* ---- lazy_look.c: with the right ---- */

cop__look *cop__look_at_lazy(cop__graph *graph, struct cop__lazy *lazy);
/* The record knows no look any more. */
void cop__look_leave_lazy(struct cop__lazy *lazy);
/* What it read when it was last needed; under its lock. NULL: no memory. */
cop__seen_list *cop__see_remembered(const cop_snapshot *root, const struct cop__lazy *lazy);
/* What a node reads, as it is published: no draft is under way. NULL: no memory. */
cop__seen_list *cop__see_published(const cop__graph *graph, const cop__node *node);
/* Takes away looks that nobody holds. */
void cop__look_sweep(cop__graph *graph);

#endif

/* SPDX-License-Identifier: MIT */
/* The cases and systems of `bench graph`, and what an engine written in C must offer. */
#ifndef COPPICE_BENCH_GRAPH_CASE_H
#define COPPICE_BENCH_GRAPH_CASE_H

#include "bench/graph_shape.h"

typedef enum graph_system {
    GRAPH_COPPICE,
    GRAPH_FLOOR_SWEEP,
    GRAPH_FLOOR_BITSET,
    GRAPH_TBB_FLOW,
    GRAPH_TBB_FOR,
    GRAPH_ALIEN,
    GRAPH_PREACT,
    GRAPH_INDEPENDENT, /* threads that have nothing to do with each other */
    GRAPH_SYSTEMS
} graph_system;

extern const char *const graph_system_names[GRAPH_SYSTEMS];

typedef enum graph_measure {
    GRAPH_STEPS, /* the time of a step: writes, and all that follows from them */
    GRAPH_BUILD, /* the time of making the graph */
    GRAPH_BYTES  /* what the graph holds then */
} graph_measure;

typedef enum graph_family {
    GRAPH_CHAIN,
    GRAPH_BROAD,
    GRAPH_GRID,
    GRAPH_GRID_SPARSE,
    GRAPH_GRID_BARE, /* all sources written, no effect */
    GRAPH_AVOID,
    GRAPH_DIAMOND,
    GRAPH_MUX,
    GRAPH_FLIP,
    GRAPH_TRIPLES,
    GRAPH_HOT,
    GRAPH_PLAIN,
    GRAPH_REDUCED
} graph_family;

struct graph_case {
    const char *name, *unit;
    graph_family family;
    uint32_t size, layers, inputs;
    graph_measure measure;
    bool parallel;       /* with 1 and 2 threads, by the wall clock */
    unsigned body_ns;    /* parallel only */
    unsigned systems;    /* 1 << graph_system for each that takes part */
    unsigned rounds_max; /* 0: no bound */
};

extern const graph_case graph_cases[];
extern const unsigned graph_case_count;

/* An engine lives in a process of its own, with one case. */
typedef struct graph_engine {
    /* Takes memory that is the benchmark's own; the shape outlives it. NULL: failed. */
    void *(*open)(const graph_shape *shape, unsigned threads);
    /* Makes the graph, with the first run of everything in it. */
    bool (*build)(void *self);
    bool (*step)(void *self, uint64_t step);
    /* Instead of step: each of the threads does steps from .. from + n - 1 on a graph of its own.
     */
    bool (*apart)(void *self, uint64_t from, uint64_t n);
    /* The value of each node, the sum that it saw last for an effect. */
    bool (*values)(void *self, int64_t *values);
    uint64_t (*bytes)(void *self); /* held, by the engine's own count */
    void (*close)(void *self);
} graph_engine;

extern const graph_engine graph_floor_sweep, graph_floor_bitset, graph_independent;
/* NULL when built without. */
extern const graph_engine *const graph_coppice;

/*
 * A round for each line on standard input: one row of JSON on standard output. Returns the status
 * of the process: 1 for wrong values or a failure.
 */
int graph_run(const graph_engine *engine, graph_system system, const graph_case *c,
              unsigned threads, unsigned burn);

#endif

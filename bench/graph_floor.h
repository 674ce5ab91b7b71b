/* SPDX-License-Identifier: MIT */
/*
 * The floor: what a graph costs when it is written by hand, knows its own shape, publishes nothing
 * and fails nowhere. Nodes lie in topological order in one array.
 */
#ifndef COPPICE_BENCH_GRAPH_FLOOR_H
#define COPPICE_BENCH_GRAPH_FLOOR_H

#include "bench/graph_case.h"

typedef struct floor_graph floor_graph;
typedef struct floor_node floor_node;

typedef int64_t (*floor_body)(const floor_graph *graph, const floor_node *node);

struct floor_node {
    int64_t value;
    floor_body body;
    int64_t k;
    uint32_t first_read, reads;
    uint32_t first_reader, readers;
};

/* A dependency that changes: of one GRAPH_SELECT on what it selects, in the ring of that one's
 * readers. Link i belongs to node i: as a reader, and as the head of the ring. */
typedef struct floor_link {
    uint32_t next, before; /* of the reader in the ring that it is in; itself: in none */
    uint32_t first;        /* of this node's own readers; the node itself: none */
} floor_link;

struct floor_graph {
    const graph_shape *shape;
    floor_node *node;
    uint32_t *reader; /* readers of the nodes, in runs */
    uint64_t *dirty;  /* a bit for each node; bitset only */
    uint32_t words;
    floor_link *link; /* NULL without GRAPH_SELECT; bitset only */
    uint64_t bytes;
};

/* Makes the nodes; with readers and dirty bits if wanted. */
void floor_make(floor_graph *graph, const graph_shape *shape, bool bitset);
void floor_free(floor_graph *graph);

/* Runs nodes from .. to - 1, all of them. */
static inline void
floor_sweep(floor_graph *graph, uint32_t from, uint32_t to)
{
    for (uint32_t i = from; i < to; i++)
        graph->node[i].value = graph->node[i].body(graph, &graph->node[i]);
}

/* The writes of a step, with no mark of what they change. */
static inline void
floor_write(floor_graph *graph, uint64_t step)
{
    for (uint32_t j = 0; j < graph->shape->writes; j++) {
        graph_write write = graph_write_of(graph->shape, step, j);
        graph->node[write.node].value = write.value;
    }
}

void floor_values(const floor_graph *graph, int64_t *values);

#endif

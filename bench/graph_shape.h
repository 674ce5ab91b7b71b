/* SPDX-License-Identifier: MIT */
/*
 * The graphs of `bench graph`, described once. Each engine written in C is built from the
 * description, and what it arrives at is compared with a plain evaluation of the description.
 */
#ifndef COPPICE_BENCH_GRAPH_SHAPE_H
#define COPPICE_BENCH_GRAPH_SHAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/graph_body.h"

typedef enum graph_kind {
    GRAPH_SOURCE,
    GRAPH_ADD,    /* what it reads, plus k */
    GRAPH_ZERO,   /* 0, whatever it reads */
    GRAPH_SUM,    /* the sum of all it reads, then the burn */
    GRAPH_SELECT, /* reads a, then b when a is odd, else c */
    GRAPH_FIRST,  /* reads a and b, is a */
    GRAPH_REDUCE, /* the sum of all sources, by a reducer where there is one */
    GRAPH_EFFECT  /* keeps the sum of what it reads, for the check */
} graph_kind;

typedef struct graph_node {
    int64_t k;
    uint32_t first, reads; /* what it reads: read[first .. first + reads - 1] */
    graph_kind kind;
} graph_node;

/* Which sources a step writes, and what. */
typedef enum graph_plan {
    GRAPH_WRITE_ONE,  /* the first: the number of the step */
    GRAPH_WRITE_FLIP, /* the first: 0 and 1 in turn */
    GRAPH_WRITE_ALL,
    GRAPH_WRITE_TURN /* `writes` of them, the next ones with each step */
} graph_plan;

typedef struct graph_shape {
    graph_node *node; /* in topological order; what node i stands for is its index */
    uint32_t nodes;
    uint32_t *read;
    size_t reads;
    uint32_t *source; /* in the order of writing */
    uint32_t sources;
    uint32_t first_computed, effects;
    uint32_t width, layers; /* of a grid, whose nodes are width sources and then layer by layer */
    bool selects;           /* some node is a GRAPH_SELECT */
    bool named;             /* the sources are the children of one branch */
    graph_plan plan;
    uint32_t writes; /* in one step */
    double units;    /* in one step: what a step's time is divided by */
    unsigned burn;
    size_t node_room, read_room, source_room;
} graph_shape;

typedef struct graph_write {
    uint32_t node;
    int64_t value;
} graph_write;

/* The j-th write of a step. Any two steps after each other write different values. */
static inline graph_write
graph_write_of(const graph_shape *shape, uint64_t step, uint32_t j)
{
    switch (shape->plan) {
    case GRAPH_WRITE_ONE:
        return (graph_write){shape->source[0], (int64_t)step};
    case GRAPH_WRITE_FLIP:
        return (graph_write){shape->source[0], (int64_t)(step & 1)};
    case GRAPH_WRITE_ALL:
        return (graph_write){shape->source[j], graph_value_of_all(step, j)};
    default: {
        uint32_t place = (uint32_t)(step * shape->writes % shape->sources) + j;
        return (graph_write){shape->source[place], (int64_t)(step * 7919 & 0xfffff)};
    }
    }
}

typedef struct graph_case graph_case;

/* Builds a case's graph. Out of memory ends the process. */
void graph_shape_make(graph_shape *shape, const graph_case *c, unsigned burn);

/* values[i] of each node from the values of the sources, which are in it already. */
void graph_shape_evaluate(const graph_shape *shape, int64_t *values);

/* The value of a source before the first step. */
static inline int64_t
graph_first_value(uint32_t node)
{
    return -1 - (int64_t)node;
}

/* malloc, or the end of the process. */
void *graph_alloc(size_t bytes);

#endif

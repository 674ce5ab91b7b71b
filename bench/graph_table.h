/* SPDX-License-Identifier: MIT */
/* The figures of one case in all systems, with 1 and 2 threads; ratios, and the lines to beat. */
#ifndef COPPICE_BENCH_GRAPH_TABLE_H
#define COPPICE_BENCH_GRAPH_TABLE_H

#include "bench/graph_case.h"
#include "bench/report.h"

#define GRAPH_THREADS 2

typedef struct graph_cell {
    report_samples samples;
    report_samples means; /* of single steps, where samples are medians of them */
} graph_cell;

typedef struct graph_result {
    const graph_case *c;
    bool foreign; /* another process kept a CPU busy */
    graph_cell cell[GRAPH_SYSTEMS][GRAPH_THREADS];
} graph_result;

/* One JSON line for each system and number of threads. */
void graph_result_json(const graph_result *result);

/* One line for people, after a heading of its kind. */
void graph_heading_print(bool parallel, unsigned systems);
void graph_result_print(const graph_result *result, unsigned systems);

#endif

/* SPDX-License-Identifier: MIT */
/* Processes that measure: a fork for an engine in C, another program for the rest. */
#ifndef COPPICE_BENCH_GRAPH_CHILD_H
#define COPPICE_BENCH_GRAPH_CHILD_H

#include <jansson.h>
#include <stdio.h>
#include <sys/types.h>

#include "bench/graph_case.h"

/* What a program answers when its system cannot do the case; anything else but 0 is a failure. */
#define GRAPH_CANNOT 3

/* Where the other programs are; NULL where they are not. */
typedef struct graph_programs {
    const char *tbb;     /* graph_tbb */
    const char *signals; /* graph_signals.mjs, beside its node_modules */
} graph_programs;

typedef struct graph_child {
    pid_t pid; /* 0: none, or ended */
    FILE *to, *from;
    graph_system system;
    unsigned threads;
} graph_child;

typedef enum graph_answer { GRAPH_ROW, GRAPH_LEFT_OUT, GRAPH_FAILED } graph_answer;

/* Starts a process and leaves it stopped. False: failed, and said why. */
bool graph_child_start(graph_child *child, const graph_programs *programs, graph_system system,
                       const graph_case *c, unsigned threads, unsigned burn);

/* One round; *row is the caller's to json_decref. The process runs during the call only, so that
 * threads of its that spin or collect garbage disturb nobody. */
graph_answer graph_child_round(graph_child *child, json_t **row);

void graph_child_end(graph_child *child);

/* A process that keeps the last CPU busy until it is ended. */
pid_t graph_foreign_start(void);
void graph_foreign_end(pid_t pid);

#endif

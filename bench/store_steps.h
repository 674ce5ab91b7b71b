/* SPDX-License-Identifier: MIT */
/* The measurements themselves: what a child process that holds one loaded system can be told. */
#ifndef COPPICE_BENCH_STORE_STEPS_H
#define COPPICE_BENCH_STORE_STEPS_H

#include "bench/store_case.h"

typedef enum bench_step {
    STEP_LOAD,
    STEP_LOOKUP,
    STEP_PIN_LOOKUP,
    STEP_PIN,
    STEP_SCAN,
    STEP_UPDATE,
    STEP_BESIDE,
    STEP_THREADS,
    STEP_COUNTER,
    STEP_STALL,
    BENCH_STEPS /* also: end the process */
} bench_step;

typedef struct bench_command {
    bench_step step;
    unsigned batch; /* updates in one commit */
    unsigned threads;
    unsigned way; /* of counting: BENCH_ADD, ... */
    double seconds;
} bench_command;

/* What the figures of an answer are, step by step. */
enum { LOOKUP_NS };
enum { LOAD_RSS, LOAD_OWN, LOAD_NS };
enum {
    BESIDE_READ_NS, /* wall clock */
    BESIDE_READ_ALONE_NS,
    BESIDE_WRITE_NS,
    BESIDE_WRITE_ALONE_NS,
    BESIDE_CPU = 4 /* added to each of these: the same in CPU time */
};
enum { THREADS_PER_SECOND, THREADS_NS };
enum { COUNTER_PER_SECOND, COUNTER_LEAST_SHARE };
enum {
    STALL_RSS, /* growth since the load, at the end of the stall */
    STALL_OWN,
    STALL_TREE, /* held after the load: one tree */
    STALL_UPDATES,
    STALL_SECONDS,    /* less than asked for when the growth reached STALL_CAP_BYTES */
    STALL_RELEASE_MS, /* from the end of the stall until all was freed */
    STALL_OWN_AFTER,  /* growth left after that */
    BENCH_FIGURES = 8 /* the most of any step */
};

#define STALL_CAP_BYTES ((double)(2ull << 30))
#define STALL_SAMPLES 25

typedef struct bench_answer {
    bool ok;
    bench_config config;
    double figure[BENCH_FIGURES];
    unsigned kinds;
    bench_kind kind[BENCH_KINDS_MAX];
    unsigned parts;
    uint64_t atoms;
    bench_kind part[BENCH_KINDS_MAX];
    unsigned samples; /* growth by the system's own count, at even intervals of the stall */
    double sample[STALL_SAMPLES];
} bench_answer;

typedef struct bench_child {
    const bench_system *system;
    const bench_work *work;
    bench_reader *reader; /* of the child's first thread */
    bench_config config;
    double rss_loaded, own_loaded;
} bench_child;

/* True when the system has what the command asks for. */
bool bench_step_applies(const bench_system *system, const bench_command *command);

/* Runs one command on the child's first thread. */
bench_answer bench_step_run(bench_child *child, const bench_command *command);

#endif

/* SPDX-License-Identifier: MIT */
/* What a process holds, looked at every 5 ms by a thread of its own. */
#ifndef COPPICE_BENCH_MEMORY_SAMPLE_H
#define COPPICE_BENCH_MEMORY_SAMPLE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { SAMPLE_MS = 5 };

/* The kernel counts pages for each thread and sums up when a few dozen have come: a figure is
 * within about 0.5 MiB of what is so. */
uint64_t memory_resident(void); /* private bytes of this process: not those of files */
uint64_t memory_resident_all(void);

typedef struct memory_sampler {
    uint64_t (*counted)(void *context);  /* bytes by the system's own count */
    uint64_t (*accepted)(void *context); /* transactions until now */
    uint64_t (*resident)(void);          /* one of the two above */
    void *context;
    uint64_t baseline; /* resident before there was anything to measure */
    uint64_t cap;      /* *over is set when more is resident; 0: none */
    atomic_bool *over;
    uint64_t *counted_peak,
        *resident_peak;       /* kept up to date where they are: the end may be sudden */
    uint64_t *longest_gap_ns; /* in which nothing was accepted */
    pthread_t thread;
    atomic_bool stop;
} memory_sampler;

bool memory_sampler_start(memory_sampler *sampler);
void memory_sampler_stop(memory_sampler *sampler);

#endif

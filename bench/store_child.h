/* SPDX-License-Identifier: MIT */
/*
 * A child process for each system, key and value size: memory figures are of that system alone, and
 * one that crashes or runs out of memory ends its own rows only. The parent tells the children one
 * after the other what to measure, so that systems take turns and drift of the machine hits all.
 */
#ifndef COPPICE_BENCH_STORE_CHILD_H
#define COPPICE_BENCH_STORE_CHILD_H

#include <sys/types.h>

#include "bench/store_steps.h"

typedef struct bench_process {
    const bench_system *system; /* NULL: there is none in this place */
    bench_config config;
    pid_t pid; /* 0: ended */
    int command_fd, answer_fd;
} bench_process;

/* Forks and loads; *answer is that of STEP_LOAD. False when it failed: said on standard error. */
bool bench_process_start(bench_process *process, const bench_system *system,
                         const bench_config *config, const bench_work *work, bench_answer *answer);

/* Runs one command and waits for its answer. A child that fails is ended. */
bool bench_process_run(bench_process *process, const bench_command *command, bench_answer *answer);

/* Legal for one that has ended. */
void bench_process_end(bench_process *process);

#endif

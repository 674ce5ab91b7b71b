/* SPDX-License-Identifier: MIT */
/*
 * One run: a scenario at a limit, in a process of its own, so that what is resident is what this
 * one run holds, and a run that is killed ends nothing but itself.
 */
#ifndef COPPICE_BENCH_MEMORY_RUN_H
#define COPPICE_BENCH_MEMORY_RUN_H

#include "bench/memory_load.h"

#define MIB ((uint64_t)1 << 20)

typedef struct memory_case {
    const char *system;   /* "coppice" */
    const char *scenario; /* "pin" */
    unsigned kinds;       /* of trouble */
    uint64_t limit;
    unsigned seconds, writers, live_percent;
    uint32_t max_age_ms; /* snapshots.max_age_ms; 0: they are never revoked */
    bool wait;           /* memory.on_limit=wait */
} memory_case;

/* Shared with the process that runs it: what was found until a sudden end is there. Bytes are what
 * came on top of what the process had before the store was opened. */
typedef struct memory_figures {
    char stage[24]; /* what it is doing, or was */
    bool finished;
    uint64_t baseline; /* resident before: the program and the writers' tables */
    uint64_t live_counted, live_resident, live_atoms; /* when the writers begin */
    uint64_t counted_peak, resident_peak;
    uint64_t counted_after, resident_after; /* one second after the trouble has ended */
    double alone_per_s, with_per_s; /* accepted, before the trouble and in its second half */
    uint64_t longest_gap_ns;
    memory_totals totals;
    memory_verdict verdict;
    bool verified, recovered; /* compared; a transaction was accepted after the trouble */
    bool capped;              /* a peer without a limit: ended at the cap */
    unsigned messages;
    memory_message message[MEMORY_MESSAGES];
    char held[480]; /* who held what when the run ended */
} memory_figures;

/* Seconds before the trouble begins. */
unsigned memory_calm(unsigned seconds);

/* Runs it. False when the process did not end well: *ended says how, in words. */
bool memory_run(const memory_case *c, memory_figures *figures, char ended[64]);

/* Of memory_peers.c: the same for a system without a store. Called in the run's process. */
bool memory_peer_there(const char *system);
bool memory_peer_run(const memory_case *c, memory_figures *figures);
/* False where the system has nothing that the scenario could be done with. */
bool memory_peer_can(const char *system, unsigned kinds);

void memory_stage(memory_figures *figures, const char *stage);
void memory_sleep_ms(uint64_t ms);

#endif

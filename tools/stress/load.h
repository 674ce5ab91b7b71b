/* SPDX-License-Identifier: MIT */
/* What the parts of the load share. */
#ifndef COP_TOOLS_STRESS_LOAD_H
#define COP_TOOLS_STRESS_LOAD_H

#include <coppice/coppice.h>
#include <coppice/pool.h>
#include <coppice/watch.h>

#include "tools/stress/stress.h"

#include <pthread.h>
#include <stdatomic.h>

enum { ACCOUNT_BEGIN = 1000, TEXTS = 32, PATIENCE_MS = 10000 };

/* A computed atom: the weighted sum of what it reads. */
struct node {
    cop_atom *inputs;
    uint64_t count;
    cop_atom atom;
};

struct stress {
    const struct stress_config *config;
    cop_store *store;
    cop_pool *pool;
    cop_atom *accounts;
    cop_atom texts[TEXTS];
    cop_atom churned; /* the branch of what comes and goes */
    struct node *nodes;
    uint64_t node_count;
    double *shares;              /* zipf: cumulated, NULL when even */
    _Atomic bool stop, quiet;    /* quiet: nobody writes any more */
    _Atomic unsigned running;    /* threads */
    _Atomic uint64_t operations; /* for the bar */
    pthread_mutex_t mutex;       /* over broken and detail */
    _Atomic int broken;          /* enum promise, or -1 */
    char detail[160];
};

struct stress_thread {
    struct stress *stress;
    void (*body)(struct stress_thread *self);
    pthread_t thread;
    unsigned number;
    uint64_t random;
    uint64_t version; /* the newest that it has seen */
    uint64_t checks[PROMISES];
    struct latency latency[OPERATIONS];
};

void stress_write(struct stress_thread *self); /* write.c */
void stress_read(struct stress_thread *self);  /* read.c */
void stress_watch(struct stress_thread *self); /* watch.c */
void stress_probe(struct stress_thread *self); /* probe.c */

uint64_t stress_now_ns(void);
uint64_t stress_random(struct stress_thread *self, uint64_t below);
uint64_t stress_pick(struct stress_thread *self); /* an account, by the skew */
void stress_done(struct stress_thread *self, enum operation operation, uint64_t began_ns);

/* Notes that a promise held, or ends the run. */
bool stress_check(struct stress_thread *self, enum promise promise, bool held, const char *format,
                  ...) __attribute__((format(printf, 4, 5)));
bool stress_ok(struct stress_thread *self, cop_status status, const char *call);
/* The newest version that this thread has met is at least as new as all before. */
void stress_saw(struct stress_thread *self, uint64_t version);

cop_status stress_node_function(cop_evaluation *evaluation, void *context, cop_value *result);

#endif

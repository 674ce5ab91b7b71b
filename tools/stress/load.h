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

enum { ACCOUNT_BEGIN = 1000, TEXTS = 32, TEAMS = 3, LAZY_READS = 8 };

/* A computed atom: the weighted sum of what it reads. */
struct node {
    cop_atom *inputs;
    uint64_t count;
    cop_atom atom;
};

/* Two small stores with a pool of their own, and a pool without a store. In the one, x and y are
 * equal in every version; in the other, nobody commits but the end of a window. */
struct side {
    cop_store *store, *windows;
    cop_pool *pool, *tasks;
    cop_atom x, y;
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
    struct derived {
        cop_atom sum, most; /* of all accounts */
        cop_atom members;   /* the branch r: objects with a team and points, that come and go */
        cop_atom teams;     /* the points of each team */
        struct node lazy;
    } derived;
    struct side side;
    struct remote *remote; /* NULL: the load is not on a server */
    struct stress_thread *threads;
    unsigned thread_count;
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
    uint64_t version;              /* the newest that it has seen */
    const char *_Atomic call;      /* of the library, that it is in; NULL: none */
    _Atomic uint64_t calls;        /* begun */
    _Atomic uint64_t transactions; /* begun: the number of the last */
    struct watchdog {              /* the main thread's */
        uint64_t calls, since_ns;
    } watchdog;
    uint64_t checks[PROMISES];
    struct latency latency[OPERATIONS];
};

void stress_write(struct stress_thread *self);  /* write.c */
void stress_read(struct stress_thread *self);   /* read.c */
void stress_watch(struct stress_thread *self);  /* watch.c */
void stress_probe(struct stress_thread *self);  /* probe.c */
void stress_gather(struct stress_thread *self); /* gather.c */
void stress_serve(struct stress_thread *self);  /* serve.c */
void stress_hold(struct stress_thread *self);   /* side.c */
void stress_commit(struct stress_thread *self); /* side.c */

/* remote.c, remote_watch.c: in the place of all these and of what is below, on a server */
void stress_remote_write(struct stress_thread *self);
void stress_remote_read(struct stress_thread *self);
void stress_remote_watch(struct stress_thread *self);
bool stress_remote_open(struct stress *s);
bool stress_remote_end(struct stress *s); /* when nobody writes any more: lets watchers end */
void stress_remote_close(struct stress *s);

bool stress_make_shares(struct stress *s); /* load.c */

/* load.c. False: it has been complained of. close also after a failure. */
bool stress_load_open(struct stress *s);
void stress_load_close(struct stress *s);

/* derived.c: reducers, a group, and a lazy atom, on what load.c has made. */
cop_status stress_derived_define(struct stress *s);
void stress_derived_check(struct stress_thread *self, const cop_snapshot *snapshot, int64_t sum,
                          int64_t most);
/* Puts a member into a team, or takes it out, within a transaction. */
void stress_member_set(struct stress_thread *self, cop_txn *txn, unsigned slot);
void stress_member_erase(struct stress_thread *self, cop_txn *txn, unsigned slot);

/* side.c */
bool stress_side_open(struct stress *s);
void stress_side_close(struct stress *s);

uint64_t stress_now_ns(void);
uint64_t stress_random(struct stress_thread *self, uint64_t below);
uint64_t stress_pick(struct stress_thread *self); /* an account, by the skew */
void stress_done(struct stress_thread *self, enum operation operation, uint64_t began_ns);

/* Notes that a promise held, or ends the run. */
bool stress_check(struct stress_thread *self, enum promise promise, bool held, const char *format,
                  ...) __attribute__((format(printf, 4, 5)));
bool stress_ok(struct stress_thread *self, cop_status status, const char *call);
/* Calls the library so that a call that does not return is told by its name. */
#define STRESS_CALL(self, function, ...) \
    stress_ok((self), (stress_enter((self), #function), function(__VA_ARGS__)), #function)
/* Pins a version of a store, which is to be unpinned in any case. */
bool stress_pin(struct stress_thread *self, cop_store *store, cop_pin_t *pin);

static inline void
stress_enter(struct stress_thread *self, const char *call)
{
    uint64_t calls = atomic_load_explicit(&self->calls, memory_order_relaxed);
    atomic_store_explicit(&self->calls, calls + 1, memory_order_relaxed);
    atomic_store_explicit(&self->call, call, memory_order_relaxed);
}

/* What may not take longer than patience_ms, begun at began_ns. */
static inline bool
stress_is_late(const struct stress_thread *self, uint64_t began_ns)
{
    return stress_now_ns() - began_ns > self->stress->config->patience_ms * 1000000;
}
/* The newest version that this thread has met is at least as new as all before. */
void stress_saw(struct stress_thread *self, uint64_t version);

cop_status stress_node_function(cop_evaluation *evaluation, void *context, cop_value *result);

#endif

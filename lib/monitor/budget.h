/* SPDX-License-Identifier: MIT */
/*
 * Budgets: what took too long is counted, the worst is kept, and somebody may be told; and the
 * computed atoms whose runs were timed.
 *
 * Everything here is under one lock, which is held for some hundred ns at a time and by a reader
 * for the copying of 7 KiB. Commits take it only when they were over their budget, or had their
 * runs timed, which is seldom.
 *
 * TELLING. An overrun is put in a ring of PENDING when the rate allows it (a bucket of tokens),
 * else only counted. The thread that then gives the commit right back takes what is in the ring and
 * calls the function, one call at a time (`telling`), with neither the right nor the lock. Whoever
 * takes the function away waits, without the right, until no call is under way; from inside a call
 * it does not wait, and the function is destroyed when that call has returned.
 */
#ifndef COP_MONITOR_BUDGET_H
#define COP_MONITOR_BUDGET_H

#include <coppice/monitor.h>
#include <pthread.h>

#include "base/atomic.h"
#include "base/base.h"

#define COP_PENDING_MAX 16u
#define COP_HOT_BITS 10u
#define COP_HOT_SLOTS (1u << COP_HOT_BITS)
#define COP_HOT_SHIFT (32u - COP_HOT_BITS) /* of a hash */
#define COP_HOT_PROBES 8u                  /* a power of two */

/* What is told of runs, to be added in one go. */
typedef struct cop__timed_run {
    cop_atom atom;
    uint64_t ns;
    bool same, relisted;
} cop__timed_run;

typedef struct cop__hot {
    cop_atom atom; /* generation 0: free */
    uint64_t runs, same, relisted, total_ns, greatest_ns;
} cop__hot;

/* An atom that batches write more than once. */
typedef struct cop__written {
    cop_atom atom; /* generation 0: free */
    uint64_t batches, writes, greatest;
} cop__written;
#define COP_WRITTEN_MAX 32u

typedef struct cop__teller {
    cop_overrun_function function;
    void *context;
    cop_destructor destroy;
} cop__teller;

typedef struct cop__budgets {
    pthread_mutex_t lock;
    pthread_cond_t told;
    _Atomic uint64_t limit_ns[COP_OVERRUNS]; /* UINT64_MAX: none */
    bool by_default[COP_OVERRUNS];           /* it is the store's option */
    uint64_t count[COP_OVERRUNS];
    uint32_t worst_count[COP_OVERRUNS];
    cop_overrun worst[COP_OVERRUNS][COP_WORST_MAX]; /* longest first */
    cop__hot hot[COP_HOT_SLOTS];
    cop__written written[COP_WRITTEN_MAX];

    _Atomic uint32_t pending; /* in the ring */
    uint32_t first;
    cop_overrun ring[COP_PENDING_MAX];
    uint64_t untold;
    uint64_t rate;      /* tokens a second, and at once */
    uint64_t tokens_ns; /* saved up, in ns of waiting */
    uint64_t filled_ns;
    bool telling;
    pthread_t by;                 /* who calls */
    cop__teller teller, replaced; /* replaced: to be destroyed by who calls */
} cop__budgets;

void cop__budgets_init(cop__budgets *budgets);
/* Begins anew with these. A function to call takes the place of none, and none leaves what is
 * there. */
void cop__budgets_start(cop__budgets *budgets, const cop_monitor_options *options,
                        uint64_t default_ns);
/* The store's option has changed: the limits that are by default follow it. */
void cop__budgets_default(cop__budgets *budgets, uint64_t default_ns);
/* Takes out who is called, with the right: else a start in between would put another in that place, and
 * that one would be taken out. */
cop__teller cop__budgets_take(cop__budgets *budgets);
/* Waits for a call under way, and destroys what was taken out. Not with the right. */
void cop__budgets_retire(cop__budgets *budgets, cop__teller teller);
/* Nobody uses it any more. */
void cop__budgets_end(cop__budgets *budgets);

/* Keeps an overrun, and puts it up for telling. */
void cop__overrun(cop__budgets *budgets, const cop_overrun *overrun);
/* Calls the function for what is pending. path(context, overrun) fills in its path. */
void cop__overruns_tell(cop__budgets *budgets, void (*path)(void *context, cop_overrun *overrun),
                        void *context);
/* Adds runs that were timed. */
void cop__hot_add(cop__budgets *budgets, const cop__timed_run *runs, size_t n);
/* An atom was written that many times in a batch. */
void cop__written_add(cop__budgets *budgets, cop_atom atom, uint64_t writes);
/* The hottest, the first first; how many there are. Needs the lock. */
uint32_t cop__hottest(const cop__budgets *budgets, cop__hot *hottest, uint32_t most);

#endif

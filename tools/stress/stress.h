/* SPDX-License-Identifier: MIT */
/*
 * A load on a store in a process of its own, which checks the library's promises while it runs.
 *
 * Accounts a/0, a/1, ... hold numbers; writers move amounts between them, so their sum never
 * changes. Layers of computed atoms stand on the accounts, and reducers on what comes and goes.
 * Readers, watchers and a prober ask in every version they meet whether what was promised holds;
 * the first thing that does not ends the run. A second, small store with a pool of its own has what
 * the first is too busy for: windows, effects, tasks, the monitor.
 *
 * Or the load is on a running server, over HTTP: transfers, reads, held versions and watchers.
 */
#ifndef COP_TOOLS_STRESS_STRESS_H
#define COP_TOOLS_STRESS_STRESS_H

#include "tools/stress/latency.h"

#include <stdbool.h>
#include <stdint.h>

struct stress_config {
    const char *server; /* NULL: the load is on a store of its own */
    uint64_t atoms, depth, computed, fan_out, writers, readers, watchers;
    uint64_t value_bytes, churn, threads, window_ms, seed;
    uint64_t patience_ms; /* a call or a wait that takes longer is broken */
    double skew, seconds;
    bool load_only; /* nothing but what is measured: no probers, no second store */
    bool progress;  /* a bar on standard error */
};

#define STRESS_CONFIG_INIT                                                         \
    {                                                                              \
        NULL, 1000, 3, 64, 4, 2, 2, 4, 256, 10, 1, 0, 1, 10000, 0, 5, false, false \
    }

/* X(NAME, "name in reports", "the promise") */
#define STRESS_PROMISES(X)                                                                      \
    X(SUM, "sum", "transfers preserve the sum in every version")                                \
    X(VERSION, "version", "versions never go back, and a commit is visible when it returns")    \
    X(PINNED, "pinned", "a version that is pinned or held does not change")                     \
    X(TEXT, "text", "a text is read whole, as it was written")                                  \
    X(APPLIED, "applied", "what was committed is applied, once")                                \
    X(HANDLE, "handle", "a handle reads what was created, and is gone once it was erased")      \
    X(COMPUTED, "computed", "an eager computed atom equals its function on the same version")   \
    X(REDUCED, "reduced", "a reducer or a group equals the fold of its children, same version") \
    X(LAZY, "lazy", "a lazy atom equals its function on the version that it is read in")        \
    X(CUTOFF, "cutoff", "a function does not run when nothing that it reads has changed")       \
    X(TICKET, "ticket", "every transaction that was accepted is decided")                       \
    X(EFFECT, "effect", "effects and background atoms see the last change, and come to rest")   \
    X(TASK, "task", "a task that a pool was given runs, once")                                  \
    X(MEASURED, "measured", "the parts of measured commits add up to the commits")              \
    X(INTERVAL, "interval", "the intervals that a watcher is told adjoin")                      \
    X(MODEL, "model", "what a watcher was told adds up to the version that it was told")        \
    X(TOLD, "told", "a watcher's descriptor becomes readable when there is something to tell")  \
    X(STATUS, "status", "a legal call succeeds")                                                \
    X(PROGRESS, "progress", "every call returns")                                               \
    X(ALIVE, "alive", "the process lives")

enum promise {
#define STRESS_PROMISE_ENUM(name, text, help) PROMISE_##name,
    STRESS_PROMISES(STRESS_PROMISE_ENUM)
#undef STRESS_PROMISE_ENUM
        PROMISES
};

/* X(NAME, "name in reports") */
#define STRESS_OPERATIONS(X)                                                          \
    X(COMMIT, "commit")     /* a transfer, until cop_txn_commit is back */            \
    X(TICKET, "ticket")     /* the same submitted, until it is known to be decided */ \
    X(CHURN, "churn")       /* a commit that creates or erases */                     \
    X(READ, "read")         /* pin, 8 values, unpin */                                \
    X(SCAN, "scan")         /* the sum of all accounts */                             \
    X(DEFINE, "define")     /* of a computed atom */                                  \
    X(TOLD, "told")         /* from a commit's begin until its watcher was told */    \
    X(GATHERED, "gathered") /* from submitting until a window's end decided it */     \
    X(TASK, "task")         /* from giving it to a pool until it runs */              \
    X(EFFECT, "effect")     /* from a commit's begin until its effects are at rest */

enum operation {
#define STRESS_OPERATION_ENUM(name, text) OPERATION_##name,
    STRESS_OPERATIONS(STRESS_OPERATION_ENUM)
#undef STRESS_OPERATION_ENUM
        OPERATIONS
};

extern const char *const stress_promise_names[PROMISES], *const stress_promise_texts[PROMISES];
extern const char *const stress_operation_names[OPERATIONS];

struct stress_result {
    double seconds; /* that the load ran for */
    uint64_t version;
    uint64_t checks[PROMISES]; /* that held */
    int broken;                /* enum promise, or -1 */
    char detail[160];
    struct latency latency[OPERATIONS];
};

/* Forks; to be called while there is one thread. False: the load could not be set up, which has
 * been complained of. */
bool stress_run(const struct stress_config *config, struct stress_result *result);

#endif

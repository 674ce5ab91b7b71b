/* SPDX-License-Identifier: MIT */
/*
 * The performance monitor: how long each part of a commit takes, told as distributions.
 *
 * It is off until cop_monitor_start, and costs a commit one predictable branch then. When on, it
 * measures some commits part by part: every one as long as measuring costs less than about 3 % of
 * what commits take, else one in 1,024, chosen at random, which then counts for all it stands for. So
 * neither the middle nor the 99th percentile of commits is moved by being measured. Commits that are
 * not measured are still timed up to their publication, by the kernel's coarse clock: one that is over its
 * budget by two ticks (of 1 to 10 ms) is seen all the same. cop_monitor_options.sample_every overrides the choice.
 *
 * Distributions are log-linear histograms: a value is told to within 0.4 % of itself, up to 73
 * minutes; recording takes no lock. Taking them gives an immutable object that is whole: a commit is
 * in all of its distributions or in none.
 *
 * Memory: about 1.2 MiB of the store's from the first start until the store is closed, of which only
 * what is touched becomes resident.
 */
#ifndef COPPICE_MONITOR_H
#define COPPICE_MONITOR_H

#include <stdbool.h>

#include <coppice/json.h>
#include <coppice/options.h>
#include <coppice/store.h>

#ifdef __cplusplus
extern "C" {
#endif

/* X(NAME, "name", "unit", "help"). APPLY to RECLAIM adjoin: they add up to COMMIT, in each commit and
 * so in the sums. */
#define COP_MEASURE_MAP(X)                                                                           \
    X(APPLY, "apply", "ns", "applying a batch's operations to the draft")                            \
    X(PROPAGATE, "propagate", "ns", "bringing computed atoms up to date")                            \
    X(PUBLISH, "publish", "ns", "finishing the draft and publishing the version")                    \
    X(TELL, "tell", "ns", "telling those who wait, making effects due")                              \
    X(RECLAIM, "reclaim", "ns", "freeing what no version needs, in the commit")                      \
    X(COMMIT, "commit", "ns", "one batch, from taking it to its end")                                \
    X(BATCH, "batch", "transactions", "transactions of one batch")                                   \
    X(OPERATIONS, "operations", "operations", "operations of one batch")                             \
    X(QUEUE_WAIT, "queue_wait", "ns", "from submitting a transaction to the beginning of its batch") \
    X(NOTIFY, "notify", "ns", "one delivery to a watcher")                                           \
    X(SERIALIZE, "serialize", "ns", "writing one value or branch as JSON")                       \
    X(WINDOW_WAIT, "window_wait", "ns", "from opening a window to taking what it gathered")

typedef enum cop_measure {
#define COP_MEASURE_ENUM(name, text, unit, help) COP_MEASURE_##name,
    COP_MEASURE_MAP(COP_MEASURE_ENUM)
#undef COP_MEASURE_ENUM
        COP_MEASURES
} cop_measure;

/* "apply", ...; "unknown" for a number that is none. Static storage. Thread-safe, wait-free. */
COP_PUBLIC const char *cop_measure_name(cop_measure measure);

/* ---- budgets ---- */

typedef enum cop_overrun_kind {
    COP_OVERRUN_COMMIT,
    COP_OVERRUN_COMPUTED, /* one run of a function */
    COP_OVERRUN_NOTIFY,   /* one delivery to a watcher */
    COP_OVERRUNS
} cop_overrun_kind;

#define COP_OVERRUN_PATH 192u /* bytes; longer paths are cut */
#define COP_OVERRUN_PARTS 5u  /* COP_MEASURE_APPLY to COP_MEASURE_RECLAIM */

/* Something took longer than its budget. */
typedef struct cop_overrun {
    cop_overrun_kind kind;
    cop_atom atom;               /* computed; of a commit: its slowest computed atom, {0, 0}: not known */
    char path[COP_OVERRUN_PATH]; /* of that atom, or of what is watched; "": none, or gone by now */
    uint64_t version;            /* that it made, or that was the newest */
    uint64_t time_ns;            /* CLOCK_REALTIME of its end, to a timer tick */
    uint64_t took_ns, budget_ns;
    /* Of a commit. One that was not measured part by part has zeros, and took_ns to a timer tick. */
    uint64_t part_ns[COP_OVERRUN_PARTS];
    cop_measure worst_part;
    uint64_t transactions, operations;
} cop_overrun;

/* Called on a thread that has just committed (or notified), without the commit right, one call at a
 * time; *overrun lives for the call. untold: how many have not been told since the last call, because
 * they came too fast. All calls on the store are allowed, stopping the monitor included. */
typedef void (*cop_overrun_function)(void *context, const cop_overrun *overrun, uint64_t untold);

typedef struct cop_monitor_options {
    size_t size;           /* sizeof(cop_monitor_options) */
    uint64_t sample_every; /* 0: chosen as said above; n: every n-th commit is measured, 1 all */
    /* 0: the store's option performance.budget_ms, also when it changes (0 there: none); UINT64_MAX: none. */
    uint64_t commit_budget_ns;
    uint64_t computed_budget_ns; /* of a run; see cop_measurements_hottest for which runs are timed */
    uint64_t notify_budget_ns;
    cop_overrun_function overrun; /* NULL: nobody is called */
    void *overrun_context;
    cop_destructor overrun_destroy; /* runs once, when it will not be called again */
    uint32_t overruns_per_second;   /* at most that many calls; 0: 10. As many may come at once */
} cop_monitor_options;

#define COP_MONITOR_OPTIONS_INIT {sizeof(cop_monitor_options), 0, 0, 0, 0, NULL, NULL, NULL, 0}

/* ---- switching ---- */

/* Begins measuring, with everything at nothing; when it is on already, begins anew. options may be
 * NULL. COP_E_INVALID, COP_E_MEMORY, COP_E_CLOSING, COP_E_FORKED, COP_E_IN_EVALUATION: then nothing has
 * changed, and overrun_destroy does not run. Thread-safe. Blocking: it takes the commit right, and
 * waits for a call of the overrun function that it replaces, unless made from inside it. */
COP_PUBLIC cop_status cop_monitor_start(cop_store *store, const cop_monitor_options *options,
                                        cop_error *error);
/* Ends measuring; what was measured can still be taken. Nothing when it is off. COP_E_CLOSING,
 * COP_E_FORKED, COP_E_IN_EVALUATION. Thread-safe. Blocking, as cop_monitor_start. */
COP_PUBLIC cop_status cop_monitor_stop(cop_store *store);
/* Thread-safe, wait-free. */
COP_PUBLIC bool cop_monitor_running(cop_store *store);

/* What was measured from the last start to some moment. Immutable: any thread may read it, and it may
 * outlive the store, whose memory account it keeps open until it is freed. */
typedef struct cop_measurements cop_measurements;

/* Takes everything measured since the start. Waits for recordings under way, each of some 100 ns; no
 * commit waits for it. COP_E_STATE (never started), COP_E_TIMEOUT, COP_E_MEMORY, COP_E_CLOSING,
 * COP_E_FORKED; *measurements is then NULL. Thread-safe. Blocking. O(buckets), about 0.1 ms. */
COP_PUBLIC cop_status cop_monitor_take(cop_store *store, uint64_t deadline,
                                       cop_measurements **measurements);
/* Legal for NULL. */
COP_PUBLIC void cop_measurements_free(cop_measurements *measurements);

typedef struct cop_distribution {
    size_t size;       /* sizeof(cop_distribution) */
    uint64_t count;    /* of what was measured, each for as many as it stands for */
    uint64_t sum;      /* of the values, likewise; exact when everything is measured */
    uint64_t greatest; /* exact */
    uint64_t p50, p90, p99, p999;
} cop_distribution;

/* C only; in C++ zero the struct and set size. */
#define COP_DISTRIBUTION_INIT {.size = sizeof(cop_distribution)}

/* All zero when nothing was measured. COP_E_INVALID. Thread-safe, wait-free. */
COP_PUBLIC cop_status cop_measurements_of(const cop_measurements *measurements, cop_measure measure,
                                          cop_distribution *distribution);
/* The value that `part` of all values (0 to 1) do not exceed, to within 0.4 %: 0.999 is the 99.9th
 * percentile, 1 the exact greatest. 0 when nothing was measured. Thread-safe, wait-free, O(buckets in
 * use). */
COP_PUBLIC uint64_t cop_measurements_quantile(const cop_measurements *measurements,
                                              cop_measure measure, double part);
/* How many values were at most this one; those that cannot be told from it count as at most. */
COP_PUBLIC uint64_t cop_measurements_at_most(const cop_measurements *measurements,
                                             cop_measure measure, uint64_t value);

/* How many have taken longer than their budget since the start. Thread-safe, wait-free. */
COP_PUBLIC uint64_t cop_measurements_overruns(const cop_measurements *measurements,
                                              cop_overrun_kind kind);
/* The worst of them, the longest first; false when there are no more than index, and always from
 * COP_WORST_MAX on. Thread-safe, wait-free. */
#define COP_WORST_MAX 16u
COP_PUBLIC bool cop_measurements_worst(const cop_measurements *measurements, cop_overrun_kind kind,
                                       size_t index, cop_overrun *overrun);

/* A computed atom, as far as its runs were timed: in one of 256 of the commits that are measured, and
 * in those that follow one that went over its budget by propagating. */
typedef struct cop_hot {
    cop_atom atom;
    char path[COP_OVERRUN_PATH]; /* "": none, or gone by now */
    uint64_t runs;               /* timed */
    uint64_t same;               /* of them gave the value that it had */
    uint64_t relisted;           /* of them read something else than the run before */
    uint64_t total_ns, greatest_ns;
} cop_hot;

#define COP_HOTTEST_MAX 64u
/* The computed atoms that took the longest together, the first first; false when there are no more than
 * index, and always from COP_HOTTEST_MAX on. Thread-safe, wait-free. */
COP_PUBLIC bool cop_measurements_hottest(const cop_measurements *measurements, size_t index,
                                         cop_hot *hot);

/* ---- warnings ---- */

/* X(NAME, "name", DEVELOPMENT, "what to do about it"). Development warnings are about how the graph and
 * the writers are made; builds with --enable-production leave them out. */
#define COP_WARNING_MAP(X)                                                                           \
    X(SAME_RESULT, "same result", 1,                                                                 \
      "it runs again and again for the value that it has: let it read less, or put a computed atom " \
      "that rounds or picks between it and what changes")                                            \
    X(FAN_OUT, "wide fan-out", 1,                                                                    \
      "each change runs all that read it: put computed atoms between that pick what their readers "  \
      "need, or use a reducer")                                                                      \
    X(DEPTH, "deep chain", 1,                                                                        \
      "the chain runs one after the other whatever the workers: join steps, or fold with a reducer") \
    X(WRITTEN_OFTEN, "written often in a batch", 1,                                                  \
      "only the last write of a batch counts: write less often, or use cop_txn_add for counters")    \
    X(RELISTED, "dependencies keep changing", 1,                                                     \
      "each run reads other atoms, which costs more than the run: read the same ones in the same "   \
      "order, and pick afterwards")                                                                  \
    X(SNAPSHOT, "snapshot held long", 0,                                                             \
      "it keeps what has been replaced since: drop it, and take a new one when it is needed")        \
    X(BATCHES_FULL, "batches always full", 0,                                                        \
      "more is submitted than one commit takes: commit on a thread of its own, or submit fewer and " \
      "larger transactions")                                                                         \
    X(BATCHES_OF_ONE, "batches of one", 0,                                                           \
      "what is submitted is committed one by one: switch batch.updates on, or submit more before "   \
      "committing")                                                                                  \
    X(MEMORY, "memory near its limit", 0,                                                            \
      "commits will be refused at the limit: raise memory.limit_bytes, drop snapshots, erase what "  \
      "is not needed")                                                                               \
    X(WORKERS, "more workers than CPUs", 0,                                                          \
      "workers beyond the CPUs of this process only take turns: lower workers.threads")              \
    X(WATCHER, "watcher behind", 0,                                                                  \
      "it holds the version that it was told last: let its function return sooner, ask for it more " \
      "often, give it a wider window, or open it with COP_WATCH_GAP")

typedef enum cop_warning_kind {
#define COP_WARNING_ENUM(name, text, development, advice) COP_WARNING_##name,
    COP_WARNING_MAP(COP_WARNING_ENUM)
#undef COP_WARNING_ENUM
        COP_WARNINGS
} cop_warning_kind;

typedef struct cop_warning {
    cop_warning_kind kind;
    const char *name;            /* "wide fan-out"; static storage, as advice */
    const char *advice;          /* what to do about it */
    cop_atom atom;               /* {0, 0}: it is about the store */
    char path[COP_OVERRUN_PATH]; /* of the atom, or of what is watched; "": none */
    uint64_t figure;             /* what is too much, */
    uint64_t limit;              /* and from where it is */
    char text[192];              /* the figures in a sentence */
} cop_warning;

/* From where something is worth a warning. */
typedef struct cop_warning_limits {
    size_t size;             /* sizeof(cop_warning_limits) */
    uint64_t runs;           /* timed, before anything is said of an atom's runs */
    uint64_t same_percent;   /* of them with the same result */
    uint64_t listed_percent; /* of them that read other atoms than before */
    uint64_t fan_out;        /* nodes that read one atom */
    uint64_t depth;          /* computed atoms in a chain */
    uint64_t writes;         /* of an atom in one batch, on average */
    uint64_t snapshot_ms;    /* since the version that is held was replaced, about */
    uint64_t batches;        /* before anything is said of batches */
    uint64_t memory_percent; /* of the limit */
    uint64_t watcher_ms;     /* beyond its windows, something has been waiting for a watcher */
} cop_warning_limits;

#define COP_WARNING_LIMITS_INIT \
    {sizeof(cop_warning_limits), 32, 90, 50, 1000, 1000, 16, 60000, 1000, 90, 10000}

#define COP_WARNINGS_MAX 64u /* told at once; of a kind the worst 8 */

/* *warning lives for the call. Return non-zero to stop. */
typedef int (*cop_warning_function)(void *context, const cop_warning *warning);

/*
 * Looks for what makes the store slower than need be, and tells it, without the commit right. What is
 * told of runs and batches comes from what the monitor has measured; without it only the others are
 * found. limits may be NULL. COP_E_INVALID, COP_E_TIMEOUT, COP_E_MEMORY, COP_E_CLOSING, COP_E_FORKED,
 * COP_E_IN_EVALUATION. Thread-safe. Blocking. Holds up commits for O(atoms with dependents + nodes).
 */
COP_PUBLIC cop_status cop_warnings_each(cop_store *store, const cop_warning_limits *limits,
                                        uint64_t deadline, cop_warning_function function,
                                        void *context);

/* ---- traces ---- */

/*
 * A trace is every commit of an interval with its parts, each run of a computed atom in it (the first 512 of
 * a commit), deliveries and serializations, each with its thread, beginning and duration. While one is
 * recorded every commit is measured and each run timed, whatever that costs.
 */

/* Begins recording, into a ring of `spans` (at 32 bytes; 0: 65,536) that keeps the newest; what was
 * recorded before is forgotten. COP_E_STATE (the monitor is off), COP_E_INVALID (more than 16,777,216),
 * COP_E_MEMORY, COP_E_CLOSING, COP_E_FORKED, COP_E_IN_EVALUATION. Thread-safe. Blocking (allocates). */
COP_PUBLIC cop_status cop_trace_start(cop_store *store, size_t spans);
/* Ends it; what is recorded is kept until the next start. Nothing when none is recorded. COP_E_CLOSING,
 * COP_E_FORKED. Thread-safe. */
COP_PUBLIC cop_status cop_trace_stop(cop_store *store);
/* Writes what was recorded as JSON of the Chrome trace-event format, which the Performance panel
 * of Chromium and Perfetto open. Times count from the start of the trace. COP_E_STATE (none, or it is still being recorded), COP_E_IO
 * (the sink stopped), COP_E_INVALID, COP_E_CLOSING, COP_E_FORKED. Thread-safe; the sink must not call
 * cop_trace_start, _stop or _write. Blocking. O(spans). */
COP_PUBLIC cop_status cop_trace_write(cop_store *store, cop_sink_function sink, void *context);

/* ---- metrics as text ---- */

typedef enum cop_metrics_format {
    COP_METRICS_PROMETHEUS, /* text/plain; version=0.0.4 */
    COP_METRICS_OPENMETRICS /* application/openmetrics-text; version=1.0.0; ends in "# EOF" */
} cop_metrics_format;

/* Writes the store's statistics (COP_STATS_MAP, COP_GRAPH_STATS_MAP, bytes by kind) and, when the
 * monitor was ever started, its distributions as histograms, for Prometheus and its like; all names
 * begin with coppice_. What needs the commit right is left out when that is not to be had until the
 * deadline, which is the deadline for the rest too. COP_E_IO (the sink stopped), COP_E_TIMEOUT,
 * COP_E_MEMORY, COP_E_INVALID, COP_E_CLOSING, COP_E_FORKED, COP_E_IN_EVALUATION. Thread-safe.
 * Blocking. */
COP_PUBLIC cop_status cop_metrics_write(cop_store *store, cop_metrics_format format,
                                        uint64_t deadline, cop_sink_function sink, void *context);

#ifdef __cplusplus
}
#endif
#endif

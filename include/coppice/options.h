/* SPDX-License-Identifier: MIT */
/*
 * Options: one table. The struct below, the defaults, the bounds, the environment variables
 * (COPPICE_BATCH_WINDOW_MS for batch.window_ms), the configuration file and `coppice options` all
 * come from it. Order of precedence: struct < file < environment < command line.
 *
 * Use:
 *     cop_options options = COP_OPTIONS_INIT;      (size only: every field at its default)
 *     cop_options_init(&options);
 *     cop_options_load_file(&options, "coppice.conf", &error);
 *     cop_options_load_environment(&options, &error);
 *
 * Reading the file again while the store is open, as `coppice serve` does for SIGHUP: load `next` as
 * above, take `now` by cop_store_options; what differs and is not live keeps its value, the rest
 * takes effect together.
 *     for (row = cop_options_differ(&now, &next, 0); row < cop_options_count();
 *          row = cop_options_differ(&now, &next, row + 1))
 *         if (!cop_options_info(row)->live)
 *             cop_options_copy(&next, &now, row);      (and say that it needs a restart)
 *     cop_store_reconfigure(store, &next, deadline, &error);
 */
#ifndef COPPICE_OPTIONS_H
#define COPPICE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <coppice/memory.h>
#include <coppice/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* X(field, "name", KIND, default, minimum, maximum, LIVE, "help"); KIND is BOOL, U64 or ENUM. For ENUM
 * minimum is 0 and maximum the last index of the choices below. LIVE 1: can be changed while the store
 * is open (cop_store_reconfigure). */
#define COP_OPTIONS_MAP(X)                                                                         \
    X(batch_updates, "batch.updates", BOOL, 1, 0, 1, 1,                                            \
      "gather submitted transactions; false commits each by itself")                               \
    X(batch_window_ms, "batch.window_ms", U64, 16, 0, 60000, 1,                                    \
      "how long submitted transactions are gathered; 0: natural group commit")                     \
    X(batch_max_transactions, "batch.max_transactions", U64, 1024, 1, 1048576, 1,                  \
      "transactions that end a window, and that one batch takes")                                  \
    X(batch_max_bytes, "batch.max_bytes", U64, 4194304, 1, UINT64_MAX, 1,                          \
      "bytes of submitted operations that end a window, and that one batch takes")                 \
    X(serialization_strategy, "serialization.strategy", ENUM, 0, 0, 2, 0,                          \
      "how JSON of a branch is produced")                                                          \
    X(serialization_cache_bytes, "serialization.cache_bytes", U64, 0, 0, UINT64_MAX, 1,            \
      "bytes that kept texts may hold; 0: an eighth of memory.limit_bytes")                        \
    X(history_keep, "history.keep", ENUM, 1, 0, 4, 1, "which versions the history keeps")          \
    X(history_every, "history.every", U64, 10, 1, UINT64_MAX, 1,                                   \
      "with history.keep=every: one version of so many is kept")                                   \
    X(history_interval_ms, "history.interval_ms", U64, 1000, 1, UINT64_C(1000000000000), 1,        \
      "with history.keep=interval: a version is kept when the last one is so old")                 \
    X(history_max_snapshots, "history.max_snapshots", U64, 50, 1, 100000, 1, "versions kept")      \
    X(history_max_bytes, "history.max_bytes", U64, 0, 0, UINT64_MAX, 1,                            \
      "bytes history may hold; 0: a quarter of memory.limit_bytes")                                \
    X(performance_budget_ms, "performance.budget_ms", U64, 16, 0, 60000, 1,                        \
      "time a commit may take before it is counted as an overrun; 0: any")                               \
    X(performance_monitor, "performance.monitor", BOOL, 0, 0, 1, 1,                                \
      "measure commits: see coppice/monitor.h")                                                    \
    X(effects_rounds, "effects.rounds", U64, 100, 1, 1000000, 0,                                   \
      "times effects may run each other again without rest before they are cut off")               \
    X(workers_threads, "workers.threads", U64, 0, 0, 1024, 1,                                      \
      "worker threads; 0: one less than the CPUs this process may use")                            \
    X(memory_limit_bytes, "memory.limit_bytes", U64, 0, 0, UINT64_MAX, 1,                          \
      "bytes the store may hold; 0: three quarters of what this process may use")                  \
    X(memory_soft_percent, "memory.soft_percent", U64, 85, 1, 100, 1,                              \
      "share of memory.limit_bytes from which on what can be made again gives way")               \
    X(memory_on_limit, "memory.on_limit", ENUM, 0, 0, 1, 1, "what a commit at the limit does")     \
    X(memory_wait_ms, "memory.wait_ms", U64, 100, 0, 60000, 1, "how long a commit at the limit waits") \
    X(memory_huge_pages, "memory.huge_pages", BOOL, 1, 0, 1, 0,                                    \
      "advise the kernel to back page chunks with huge pages")                                     \
    X(memory_chunk_bytes, "memory.chunk_bytes", U64, 2097152, 4096, 1073741824, 0,                 \
      "size of the chunks that pages and values are cut from; the first ones are smaller")         \
    X(memory_stall_ms, "memory.stall_ms", U64, 10000, 0, UINT64_C(1000000000000), 1,               \
      "how long a replaced version may be held before the log says by whom; 0: never")         \
    X(readers_membarrier, "readers.membarrier", BOOL, 1, 0, 1, 0,                                  \
      "use the membarrier system call, so that a pin needs no fence")                              \
    X(readers_max, "readers.max", U64, 4096, 1, 65536, 0, "reader slots: threads that may read at once") \
    X(snapshots_max, "snapshots.max", U64, 4096, 1, 1000000, 1, "snapshots that may be held at once") \
    X(snapshots_max_age_ms, "snapshots.max_age_ms", U64, 0, 0, UINT64_C(1000000000000), 1,         \
      "age at which a snapshot is revoked: its reads answer \"expired\"; 0: never")                \
    X(watch_log_bytes, "watch.log_bytes", U64, 1048576, 0, UINT64_MAX, 0,                          \
      "what may be remembered of past changes, for watchers that come back")

/* X(option field, index, "choice") */
#define COP_CHOICES_MAP(X)                     \
    X(serialization_strategy, 0, "lazy")       \
    X(serialization_strategy, 1, "full")       \
    X(serialization_strategy, 2, "incremental") \
    X(history_keep, 0, "off")                  \
    X(history_keep, 1, "label")                \
    X(history_keep, 2, "commit")               \
    X(history_keep, 3, "every")                \
    X(history_keep, 4, "interval")             \
    X(memory_on_limit, 0, "wait")              \
    X(memory_on_limit, 1, "fail")

typedef enum cop_log_level { COP_LOG_DEBUG, COP_LOG_INFO, COP_LOG_WARNING, COP_LOG_ERROR } cop_log_level;

/* Called from any thread, also from within calls on the store; must not call back into it, nor take a lock
 * that is held during such calls. message is one line without a newline
 * and lives for the call only. */
typedef void (*cop_log_function)(void *context, cop_log_level level, const char *message);

typedef void (*cop_destructor)(void *context);

typedef struct cop_options {
    size_t size; /* sizeof(cop_options) as the caller compiled it */
#define COP_OPTION_FIELD(field, name, kind, def, min, max, live, help) uint64_t field;
    COP_OPTIONS_MAP(COP_OPTION_FIELD)
#undef COP_OPTION_FIELD
    cop_allocator allocator;    /* zeroed: libc */
    cop_log_function log;       /* NULL: nothing is logged */
    void *log_context;
    cop_destructor log_destroy; /* runs once, after the last message of the store */
} cop_options;

#define COP_OPTION_DEFAULT_(field, name, kind, def, min, max, live, help) def,
#define COP_OPTIONS_INIT \
    {sizeof(cop_options), COP_OPTIONS_MAP(COP_OPTION_DEFAULT_) {NULL, NULL, NULL, NULL, NULL}, NULL, NULL, NULL}

typedef enum cop_option_kind { COP_OPTION_BOOL, COP_OPTION_U64, COP_OPTION_ENUM } cop_option_kind;

/* One row of the table. All strings have static storage. */
typedef struct cop_option_info {
    const char *name;        /* "batch.window_ms" */
    const char *environment; /* "COPPICE_BATCH_WINDOW_MS" */
    const char *help;
    cop_option_kind kind;
    uint64_t default_value, minimum, maximum;
    const char *const *choices; /* ENUM: maximum + 1 names; else NULL */
    bool live;                  /* can be changed while the store is open */
} cop_option_info;

/* Rows of the table, 0 .. count-1. Thread-safe, wait-free. */
COP_PUBLIC size_t cop_options_count(void);
/* NULL when index is out of range. Thread-safe, wait-free. */
COP_PUBLIC const cop_option_info *cop_options_info(size_t index);

/* Defaults into *options. Thread-safe for distinct options, as all below. */
COP_PUBLIC void cop_options_init(cop_options *options);

/* Sets one option from text ("batch.window_ms", "8"; true/false/on/off/1/0; choice names; sizes
 * with k, M, G, Ki, Mi, Gi). COP_E_INVALID for an unknown name or malformed text, COP_E_RANGE out
 * of bounds; the message says what was expected; *options is untouched on failure. */
COP_PUBLIC cop_status cop_options_set(cop_options *options, const char *name, const char *text,
                                      cop_error *error);
/* The value as text into buffer (always terminated). COP_E_INVALID for an unknown name, COP_E_RANGE
 * when it does not fit. */
COP_PUBLIC cop_status cop_options_get(const cop_options *options, const char *name, char *buffer,
                                      size_t capacity);

/* Reads a libconfig file; groups nest: batch = { window_ms = 8; };. All or nothing. Every complaint
 * begins "file:line:". Unknown names are refused. COP_E_IO, COP_E_SYNTAX, COP_E_INVALID,
 * COP_E_RANGE, COP_E_MEMORY. Blocking (reads the file). */
COP_PUBLIC cop_status cop_options_load_file(cop_options *options, const char *file, cop_error *error);

/* Reads COPPICE_*; unknown COPPICE_ variables are ignored. All or nothing. COP_E_INVALID, COP_E_RANGE; the
 * message names the variable. Not thread-safe against setenv. */
COP_PUBLIC cop_status cop_options_load_environment(cop_options *options, cop_error *error);

/* The first row from `first` on in which the two differ, or cop_options_count(). Both were initialised.
 * Thread-safe for options that nobody changes meanwhile. */
COP_PUBLIC size_t cop_options_differ(const cop_options *a, const cop_options *b, size_t first);
/* Gives one option the value that it has in `from`. COP_E_INVALID: there is no such row. */
COP_PUBLIC cop_status cop_options_copy(cop_options *to, const cop_options *from, size_t row);

/* COP_OK when every field is within its bounds and the size is known. COP_E_INVALID, COP_E_RANGE: the
 * message names the option. */
COP_PUBLIC cop_status cop_options_check(const cop_options *options, cop_error *error);

#ifdef __cplusplus
}
#endif
#endif

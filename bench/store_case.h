/* SPDX-License-Identifier: MIT */
/*
 * What a system must offer to be measured by `bench store`.
 *
 * A process holds one system, loaded once. The loops over queries are made by store_loops.h inside
 * each system's own file, so that its lookups are inlined and no call through a pointer is timed.
 */
#ifndef COPPICE_BENCH_STORE_CASE_H
#define COPPICE_BENCH_STORE_CASE_H

#include "bench/store_work.h"

/* How coppice is opened; the peers have no such choice. */
typedef struct bench_config {
    bool membarrier;
    bool huge_pages;
} bench_config;

/* One thread's way to read; each system has its own. */
typedef struct bench_reader bench_reader;

/* Ways to add one to a counter. */
enum { BENCH_ADD, BENCH_ADD_SUBMIT, BENCH_TRANSACT, BENCH_COUNTERS };

#define BENCH_KINDS_MAX 16
typedef struct bench_kind {
    char name[16];
    double bytes;
} bench_kind;

typedef struct bench_system {
    const char *name;
    const char *barrier; /* how a reader's pin is ordered: "membarrier", "fence", "lock", "none" */
    bool snapshots;      /* a reader holds one version of everything */

    /* Allocates what belongs to the benchmark, before memory is looked at; may be NULL. */
    bool (*prepare)(const bench_work *work);
    /* Opens and loads. *config is set to what is in force. */
    bool (*load)(const bench_work *work, bench_config *config);

    bench_reader *(*reader_open)(void); /* for the calling thread; NULL: failed */
    void (*reader_close)(bench_reader *reader);

    /* n queries from `from` on inside one pin, with one pin each, n empty pins. The sum of what was
     * read is returned, so that no read can be left out. */
    uint64_t (*lookup)(bench_reader *reader, size_t from, size_t n);
    uint64_t (*pin_lookup)(bench_reader *reader, size_t from, size_t n);
    void (*pin)(bench_reader *reader, size_t n);
    uint64_t (*scan)(bench_reader *reader); /* keys seen */
    void (*hold)(bench_reader *reader);     /* pins and reads one key */
    void (*release)(bench_reader *reader);

    void (*writer_enter)(void); /* on a thread that is going to update; may be NULL */
    void (*writer_leave)(void);
    /* The keys of n queries from `from` on get a new value, together where the system can do so. */
    bool (*update)(size_t from, size_t n, uint64_t stamp);

    void (*drain)(void);                  /* frees all that can be freed now */
    uint64_t (*bytes)(void);              /* held, by the system's own count */
    unsigned (*kinds)(bench_kind *kinds); /* the same by kind; may be NULL */
    /* The same by what it is for, and how many atoms that is for; may be NULL. */
    unsigned (*parts)(bench_kind *parts, uint64_t *atoms);

    /* Each adds to one shared counter and answers how much it added (0: failed); NULL: has none. */
    uint64_t (*count[BENCH_COUNTERS])(void);
    uint64_t (*counter)(void); /* the counter's value */
} bench_system;

/* NULL where the system was not there when this was configured. */
extern const bench_system *const bench_coppice;
extern const bench_system *const bench_urcu;
extern const bench_system *const bench_ck;
extern const bench_system *const bench_lmdb;
extern const bench_system *const bench_rwlock;

#endif

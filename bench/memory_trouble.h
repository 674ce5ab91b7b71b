/* SPDX-License-Identifier: MIT */
/*
 * What makes a store keep what it would free: readers that stop, snapshots that nobody drops,
 * watchers that are stuck or never ask, and a history that keeps every version.
 */
#ifndef COPPICE_BENCH_MEMORY_TROUBLE_H
#define COPPICE_BENCH_MEMORY_TROUBLE_H

#include <pthread.h>
#include <stdatomic.h>

#include <coppice/coppice.h>

enum {
    TROUBLE_PIN = 1,       /* a reader pins and never unpins */
    TROUBLE_PINNING = 2,   /* one is stopped between the two stores of its pin */
    TROUBLE_SNAPSHOTS = 4, /* 100 are taken, 50 ms apart, and forgotten */
    TROUBLE_WATCHER = 8,   /* one is stuck in its function, one is never asked */
    TROUBLE_HISTORY = 16,  /* every version is kept, up to a quarter of the limit */
    TROUBLE_ALL = 31
};

enum { TROUBLE_FORGOTTEN = 100, TROUBLE_APART_MS = 50, TROUBLE_THREADS = 4 };

typedef struct memory_trouble {
    cop_store *store;
    unsigned kinds;
    atomic_bool over;
    pthread_t thread[TROUBLE_THREADS];
    unsigned threads;
    cop_watch *stuck, *unasked;
    const cop_snapshot *forgotten[TROUBLE_FORGOTTEN];
    _Atomic unsigned snapshots, sticking; /* taken; in the function that does not return */
    _Atomic unsigned pins, pinning;       /* 1 once it is so */
    _Atomic unsigned refused;             /* calls of these that were refused */
} memory_trouble;

/* Begins those of `kinds`, each of which goes on until the end, whether or not it is refused
 * memory: what was refused is counted and, but for watchers and the history, tried again. False: no
 * thread. */
bool memory_trouble_begin(memory_trouble *trouble, cop_store *store, unsigned kinds);
/* All that was held is held no more; the history is emptied and keeps nothing new. */
void memory_trouble_end(memory_trouble *trouble);

#endif

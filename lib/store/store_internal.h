/* SPDX-License-Identifier: MIT */
/*
 * The store's inside: the one room that knows all the others.
 *
 * Fields are grouped by who writes them, a cache line and more apart: what readers load on every
 * pin, the queue that submitters write, and what only the holder of the commit right touches.
 */
#ifndef COP_STORE_STORE_INTERNAL_H
#define COP_STORE_STORE_INTERNAL_H

#include <pthread.h>

#include <coppice/coppice.h>

#include "base/queue.h"
#include "commit/ticket_done.h"
#include "commit/update_batcher.h"
#include "effect/effects.h"
#include "graph/graph.h"
#include "reclaim/memory_manager.h"
#include "reclaim/handle.h"
#include "reclaim/holders.h"
#include "reclaim/pin.h"
#include "store/log.h"
#include "base/timers.h"
#include "tree/tree.h"

struct cop__gate;
struct cop__monitor;
struct cop__serializer;

typedef enum cop__trim_phase {
    COP_TRIM_IDLE,
    COP_TRIM_PARK,    /* free items go to their chunks */
    COP_TRIM_COMPACT, /* what is live in sparse chunks moves */
    COP_TRIM_FINISH   /* and what it leaves is freed */
} cop__trim_phase;

typedef struct cop__trim { /* see commit/trim.h */
    cop__trim_phase phase;
    uint64_t steps;   /* that parking may take yet */
    uint32_t walks;   /* of compaction that may follow yet */
    uint64_t next_ns; /* no step before */
    uint64_t left;    /* bytes free when the last pass chose what to move */
    bool gained;      /* it gave back enough to go on with another one */
    uint64_t given_back; /* before the pass */
    uint64_t large;   /* bytes of large blocks, the most since the allocator was last purged */
    bool purge;       /* whoever gives the right back is to do so */
} cop__trim;

struct cop_store {
    /* read by every pin, written by every publication */
    _Alignas(128) _Atomic(void *) root; /* cop_snapshot, the newest published */
    _Atomic uint64_t version;           /* its version; stored after it */
    bool fence;                         /* no membarrier: readers pay for a fence */
    _Atomic(struct cop__watch_room *) watching; /* while there are watchers; written under the right */
    _Atomic(struct cop__history *) keeping; /* while it keeps versions by itself; likewise */
    struct cop__gate *gate;
    const _Atomic uint64_t *alive; /* reads 0 in a forked child */

    /* written by submitters and waiters */
    _Alignas(128) cop__queue queue;
    _Atomic uint32_t right;    /* the commit right: 0 free, 1 held */
    _Atomic uint32_t claimants; /* threads that wait for the right itself: nobody else takes it */
    _Atomic uint32_t sleepers; /* threads asleep until a transaction is decided */
    _Atomic uint32_t closing;
    _Atomic uint32_t want_reclaim; /* a snapshot was dropped while the right was held */
    _Atomic uint32_t fd_signalled;
    _Atomic int fd;      /* eventfd: something is to be done */
    _Atomic int poll_fd; /* readable when that is, or a timer is due */
    _Atomic uint64_t queued;
    _Atomic uint32_t version_word; /* low half of version, for waiting */
    _Atomic uint32_t version_waiters;

    _Alignas(128) cop__update_batcher batcher;

    /* snapshots held, under snapshot_lock */
    _Alignas(128) pthread_mutex_t snapshot_lock;
    cop_snapshot *held_first;
    uint64_t held_records; /* distinct versions */
    uint64_t holds;
    uint64_t own_holds; /* of these, the library's */
    cop__handles handles;

    /* the holder of the commit right's own */
    _Alignas(128) cop__tree tree;
    uint64_t *stamps; /* scratch of a scan */
    size_t stamps_count, stamps_capacity;
    uint64_t oldest_noted, oldest_noted_ns; /* version, and its publication, of a scan */
    size_t limbo_left; /* that the last scan could not file */
    cop__trim trim;
    uint64_t scan;     /* its number */
    cop__stall stall;
    cop__graph graph;
    cop__memory_manager manager;
    bool level_posted; /* who is told of levels is to be, when the right is given back */
    bool only_freeing; /* what is being committed may have the reserve, and must free memory */
    uint64_t used_before; /* then: of the pools, before it */
    uint64_t chunks_given_ns; /* when free chunks were last looked for because much was held */
    struct {
        struct cop_txn *first, *last; /* in the order of submission */
        uint64_t tried_ns, tried_used, rest_ns; /* when they were tried last, what was used then, and how long not again */
        _Atomic uint64_t count;
        cop__alarm alarm;
    } stalled; /* transactions that wait for memory: see commit/scarce.h */
    bool history_posted; /* the history is to be told when the right is given back */
    bool watch_posted; /* published: the watchers' room is to be told when the right is given back */

    _Alignas(128) cop__effects effects;

    cop__timers timers;
    cop__ticket_calls calls;
    cop__alarm alarm; /* of the pool: when the earliest of these is due */
    cop__alarm handle_alarm;
    _Atomic uint64_t handle_due; /* when the next snapshot is to be revoked or let go; UINT64_MAX: none is */
    _Atomic(struct cop__watch_room *) watch; /* NULL until the first watcher is opened */
    _Atomic(struct cop__history *) history;  /* NULL until it is used first */
    _Atomic uint64_t kept_bytes; /* that only the history still needs, as the last scan found */

    /* counters: written under the right, read by anyone */
    struct {
        _Atomic uint64_t commits, transactions, unchanged, conflicts, failed, operations, batches,
            abandoned, scans, pins, resolved, leaked, oldest_pin, oldest_pin_ns, atoms, pages,
            pages_dead, value_bytes, values_dead, names, name_bytes, names_dead, windows,
            window_wait, window_wait_max, refused_memory, waited_memory, revoked;
    } count;

    _Atomic(struct cop__monitor *) monitor; /* while it is on: see monitor/monitor.h */
    _Atomic(struct cop__monitor *) monitor_home; /* from its first start on */

    _Atomic(struct cop__serializer *) serializer; /* NULL until a text is asked for */

    struct {
        pthread_mutex_t lock; /* of all this */
        pthread_cond_t ended; /* a call has */
        cop_memory_function function;
        void *context;
        cop_destructor destroy;
        pthread_t caller; /* while calling */
        bool calling;
        cop_memory_level told;
    } levels;

    cop__memory *memory;
    cop__log log;
    cop_options options;
};

/* For tests and modules. */
cop__memory *cop__store_memory(cop_store *store);

/* Adds to a counter that only the holder of the commit right writes: no atomic addition needed. */
#define cop__count_add(counter, n)                                                     \
    atomic_store_explicit((counter),                                                   \
                          atomic_load_explicit((counter), memory_order_relaxed) + (n), \
                          memory_order_relaxed)

/* COP_OK, COP_E_FORKED or COP_E_CLOSING. */
static inline cop_status
cop__store_usable(cop_store *store)
{
    if (cop__unlikely(atomic_load_explicit(store->alive, memory_order_relaxed) == 0))
        return COP_E_FORKED;
    return cop__unlikely(cop__load_relaxed(&store->closing)) ? COP_E_CLOSING : COP_OK;
}

/* The same for what waits for the commit right or calls functions: COP_E_IN_EVALUATION from inside an evaluation. */
static inline cop_status
cop__store_may_wait(cop_store *store)
{
    cop_status status = cop__store_usable(store);
    return status == COP_OK && cop__evaluating ? COP_E_IN_EVALUATION : status;
}

/* ---- lib/store/store.c ---- */

/* Frees the store if it is closing and nothing holds it any more. */
void cop__store_progress(struct cop__gate *gate);

/* ---- lib/reclaim/snapshot.c ---- */

/* For whom a version is held. */
typedef enum cop__holder_kind {
    COP_HELD_BY_USER,
    COP_HELD_BY_HANDLE, /* likewise a user's */
    COP_HELD_BY_HISTORY, /* what only such ones hold is weighed */
    COP_HELD_BY_WATCHERS,
    COP_HELD_BY_TEXTS,
    COP_HELD_BY_LIBRARY /* all but the first two count against no limit */
} cop__holder_kind;

/* Enters a record in the list of what is held, or counts once more; takes it out again: true when this was
 * the last hold on a version that a scan has seen. Under the snapshot lock; holds of the store are counted
 * by the caller. */
void cop__held_add(cop_store *store, cop_snapshot *snapshot, cop__holder_kind by);
bool cop__held_remove(cop_store *store, cop_snapshot *snapshot, cop__holder_kind by);
/* Who holds a record first is remembered. */
void cop__held_note(const cop_snapshot *snapshot, const void *site);

/* A hold of the library's own, on a version that is pinned, held, or the newest while the caller has the
 * right. */
void cop__snapshot_hold(const cop_snapshot *snapshot, cop__holder_kind by);
/* Ends it as cop_snapshot_drop does; the store may go with it. soon false: what it held is freed by who
 * has the right next, and the caller keeps the store by other means. */
void cop__snapshot_let_go(const cop_snapshot *snapshot, cop__holder_kind by, bool soon);

/* The same for the history. end: what it held is freed by the next scan; true when that may be
 * something, and the caller keeps the store by other means. */
void cop__snapshot_hold_kept(const cop_snapshot *snapshot);
bool cop__snapshot_end_kept(const cop_snapshot *snapshot);
/* After a scan: what each version that the history alone holds would free, and all of them together
 * (kept_bytes). O(held versions and their lists). Needs the right. */
void cop__snapshots_weigh(cop_store *store);

/* ---- lib/store/pool.c ---- */

/* The pool listener of a store. */
void cop__store_pool_has_threads(void *context);

/* ---- lib/reclaim/reader.c ---- */

struct cop__gate *cop__gate_new(cop_store *store);
void cop__gate_unref(struct cop__gate *gate);
/* Finds out what is held and files what died since; then frees up to quota dead things. Returns
 * what is left to free, about. Needs the commit right. */
size_t cop__reclaim(cop_store *store, bool scan, size_t quota);

#endif

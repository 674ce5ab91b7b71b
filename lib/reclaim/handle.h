/* SPDX-License-Identifier: MIT */
/*
 * Handles: snapshots that can be revoked.
 *
 * With snapshots.max_age_ms set, a snapshot that a user takes is a handle and not the root record: a record
 * of its own that begins as a root record does, with no page in it. Every fast path of a read misses there by
 * itself, as in a forked child, and only then does anybody ask what it is ("hollow"): snapshots that cannot
 * be revoked cost nothing. Reading resolves the handle for the length of a call (handle_pin.h) and reads in
 * the record that it leads to.
 *
 * LIFE. A handle is LIVE (in the list of live ones, oldest first, as old as its taking), then REVOKED (in the
 * list of those that a scan has to let go), then EMPTY (`of` is NULL, its version is held no longer). It may be
 * dropped in each of these; its memory goes to a free list then, and is unmapped with the store.
 *
 *   from      to        by
 *   free      LIVE      cop__snapshot_give, snapshot_lock
 *   LIVE      REVOKED   cop__handles_revoke, the right and snapshot_lock
 *   REVOKED   EMPTY     the scan, the right and snapshot_lock
 *   any       free      the last drop, snapshot_lock
 *
 * TEXTS. What is read in a version lives until the snapshot is dropped; a revoked version does not. So a text
 * that is not inside its value, and every key, is copied into the handle once, and lives until the drop,
 * revoked or not. Copies are found by the address they were made from, which means one text as long as the
 * version is held.
 */
#ifndef COP_RECLAIM_HANDLE_H
#define COP_RECLAIM_HANDLE_H

#include <pthread.h>

#include "reclaim/handle_pin.h"
#include "tree/tree.h"

struct cop_reader;

typedef struct cop__handle_text {
    const void *from; /* NULL: free */
    char *copy;
    size_t length;
} cop__handle_text;

typedef enum cop__handle_life { COP_HANDLE_LIVE, COP_HANDLE_REVOKED, COP_HANDLE_EMPTY } cop__handle_life;

typedef struct cop__handle {
    struct cop_snapshot face; /* first; holds and the links are the handle's own */
    _Alignas(COP_CACHE_LINE) struct cop__handle_pins pins;
    _Atomic(cop_snapshot *) of; /* held; NULL once it is let go */
    uint64_t taken_ns;          /* CLOCK_MONOTONIC */
    cop__handle_life life;      /* under the snapshot lock */
    pthread_mutex_t lock;       /* of the texts */
    cop__handle_text *texts;    /* open addressing; capacity a power of two, or 0 */
    size_t text_count, text_capacity;
} cop__handle;

/* In the store, under snapshot_lock. */
typedef struct cop__handles {
    cop__handle *live_first, *live_last; /* oldest first, by face.next_held */
    cop__handle *revoked;                /* in any order */
    cop__handle *free;
    struct cop__handle_slab *slabs;
} cop__handles;

/* A snapshot as it is being read. */
typedef struct cop__entered {
    const cop_snapshot *root;
    struct cop__handle *handle; /* NULL: there was nothing to do */
    struct cop_reader *reader;  /* whose slot names it; NULL with a handle: an outer call, or others */
    unsigned pin;
    bool other;
} cop__entered;

/* Nothing is found in it: a forked child's record, or a handle. */
static inline bool
cop__hollow(const cop_snapshot *snapshot)
{
    return cop__unlikely(snapshot->space[COP_SPACE_VALUES].count == 0);
}

static inline bool
cop__is_handle(const cop_snapshot *snapshot)
{
    return cop__unlikely(snapshot->handle);
}

/* The record to read in until cop__snapshot_leave. COP_E_EXPIRED, COP_E_FORKED; then there is no leave.
 * Wait-free but for a thread's first, which may register it. */
cop_status cop__snapshot_enter_hollow(const cop_snapshot *snapshot, cop__entered *entered);
static inline cop_status
cop__snapshot_enter(const cop_snapshot *snapshot, cop__entered *entered)
{
    *entered = (cop__entered){.root = snapshot};
    return cop__hollow(snapshot) ? cop__snapshot_enter_hollow(snapshot, entered) : COP_OK;
}
void cop__snapshot_leave_handle(cop__entered *entered);
static inline void
cop__snapshot_leave(cop__entered *entered)
{
    if (cop__unlikely(entered->handle != NULL))
        cop__snapshot_leave_handle(entered);
}

/* With the right: the record that a snapshot leads to, NULL when it has been let go. Stays until the right
 * is given back, if the snapshot is held as long. */
const cop_snapshot *cop__snapshot_resolve(const cop_snapshot *snapshot);

/* While entered by a handle: makes what a value or key leads to live until the handle is dropped. False: no memory. */
bool cop__entered_keep_value(const cop__entered *entered, cop_value *value);
bool cop__entered_keep_text(const cop__entered *entered, const char **text, size_t length);

/* One more hold of a user's on a record that is pinned, held or the newest with the right: the record itself,
 * or a handle to it when snapshots can be revoked. COP_E_LIMIT, COP_E_MEMORY. site: who asks. */
cop_status cop__snapshot_give(cop_store *store, const cop_snapshot *root, const void *site,
                              const cop_snapshot **snapshot);
/* The newest version itself, whatever the options: for the library's short uses. */
cop_status cop__snapshot_take_root(cop_store *store, const cop_snapshot **snapshot);

/* Around the looks of a scan, with the right. Before: revokes what is too old. After: lets go what was revoked
 * and nobody reads. */
void cop__handles_before_scan(cop_store *store);
void cop__handles_after_scan(cop_store *store);
/* Revokes all live ones that were taken so long ago or longer; how many. With the right; the versions are let
 * go by the next scan that finds nobody reading them. */
uint64_t cop__snapshots_revoke(cop_store *store, uint64_t older_than_ns);
/* The options changed; with the right. */
void cop__handles_configure(cop_store *store);
/* Whether a scan is due for their age. */
static inline bool
cop__handles_due(const _Atomic uint64_t *due)
{
    uint64_t at = atomic_load_explicit(due, memory_order_relaxed);
    return cop__unlikely(at != UINT64_MAX) && at <= cop__clock_ns();
}
/* One more hold of a user's on a handle. COP_E_EXPIRED, COP_E_LIMIT. */
cop_status cop__handle_keep(const cop_snapshot *snapshot);
/* Ends one. True as for a record (snapshot.c), *of is the address of that then. */
bool cop__handle_unhold(cop_store *store, const cop_snapshot *snapshot, const cop_snapshot **of);
void cop__handles_alarm(void *context);
void cop__handles_init(cop_store *store);
void cop__handles_end(cop_store *store);

/* ---- lib/reclaim/handle_text.c ---- */

void cop__handle_texts_free(cop__memory *memory, cop__handle_text *texts, size_t capacity);

#endif

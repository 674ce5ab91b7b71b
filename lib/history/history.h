/* SPDX-License-Identifier: MIT */
/*
 * The history: the room's inside.
 *
 * THE IDEA. A kept version is a hold on its root record, which costs what its pages have that no other
 * version has. So keeping one is O(1), and the history is a list of holds with labels beside them.
 *
 * KEEPING. Which versions are kept is decided where they are published, under the commit right, by
 * three words (cop__history_published). One that is to be kept is held there, and pushed on `pending`,
 * a list through the root records themselves: nothing is allocated, so none is lost in a commit. After
 * the right was given back, whoever gave it back takes in what is pending, if the lock is free. If it
 * is not, its holder does it: it looks at `pending` after it has given the lock back.
 *
 * WHY NOTHING STAYS PENDING. The publisher pushes, then looks at the lock; a holder gives the lock back,
 * then looks at `pending`. Both are sequentially consistent, so one of the two sees the other.
 *
 * ENTRIES stand in an array by version, and those that may be pruned in a list by last use, so that
 * the next one to go is found at once however many are pinned. They are found, made, changed and
 * taken out under the lock, which nobody holds for longer than a walk over the entries, and under which
 * no user code runs. Whoever looks at a version takes a hold of its own under the lock; from there on it
 * does not matter whether the entry is pruned.
 *
 * PRUNING lets the hold go, after the lock. What only that version needed is freed by the scans that
 * commits make anyway; when more than PRUNED_BYTES wait for one, the next holder of the right makes one.
 *
 * LOCKS. The room's is its own word (a committer must be able to pass by, and see that it need not).
 * snapshot_lock is taken below it. It is taken under the right by cop_store_reconfigure, and for a commit that
 * does not fit; nobody who has it waits for the right.
 *
 *   entries.c   the array, finding, pruning
 *   keep.c      recording, the lock, options, closing
 *   history.c   what the header offers
 */
#ifndef COP_HISTORY_HISTORY_H
#define COP_HISTORY_HISTORY_H

#include <coppice/history.h>

#include "history/room.h"
#include "store/store_internal.h"

enum { COP_KEEP_OFF, COP_KEEP_LABEL, COP_KEEP_COMMIT, COP_KEEP_EVERY, COP_KEEP_INTERVAL };

typedef struct cop__kept {
    const cop_snapshot *snapshot; /* held; NULL once it is in `doomed` */
    uint64_t version;
    uint64_t used_ns;
    uint64_t imported_version, imported_ns; /* 0: not from a file */
    struct cop__kept *before, *after; /* by last use, unless it is pinned */
    uint64_t turn; /* of its last use */
    bool pinned;
    size_t label_length;
    char *label; /* NULL: none */
} cop__kept;

typedef struct cop__history {
    cop_store *store;
    /* the right's */
    uint64_t rule, every, interval_ns;
    uint64_t since;   /* versions published since the last one that was kept */
    uint64_t last_ns; /* publication of that one */

    _Alignas(COP_CACHE_LINE) _Atomic(cop_snapshot *) pending; /* newest first, by next_kept */
    _Atomic uint32_t lock; /* 0 free, 1 held, 2 held and waited for */
    _Atomic uint32_t off;  /* the rule is COP_KEEP_OFF, or the store is closing */
    _Atomic uint64_t max_count, max_bytes;
    _Atomic uint64_t count, pinned, pruned, lost; /* written under the lock */

    /* under the lock */
    cop__kept **entry; /* `count` of them from `first` on, by version */
    size_t first, capacity;
    cop__kept *oldest_use, *newest_use; /* of those that are not pinned */
    uint64_t turns;
    uint64_t bytes;        /* kept_bytes less what was pruned since */
    uint64_t bytes_known;  /* kept_bytes as it was then */
    cop__kept *doomed;     /* to be let go after the lock, by `after` */
    uint64_t doomed_bytes; /* let go since a scan was asked for */
    uint64_t lost_logged;
} cop__history;

/* Whether this version has the atom, with a value that somebody wrote. */
static inline bool
cop__is_source(const cop_snapshot *snapshot, cop_atom atom)
{
    const cop__slot *slot = cop__root_atom(snapshot, atom);
    return slot != NULL && (slot->type & COP_SLOT_COMPUTED) == 0 && !cop__slot_is_lazy(slot);
}

/* ---- keep.c ---- */

void cop__history_lock(cop__history *history);
/* Also lets go what is doomed and takes in what is pending. The caller keeps the store. */
void cop__history_unlock(cop__history *history);
/* The store's, made if need be; NULL: refused, or nothing may be kept. Takes the right if there is none. */
cop_status cop__history_of(cop_store *store, cop__history **history);

/* ---- entries.c: all need the lock ---- */

/* The place of the first entry that is not older than a version. */
size_t cop__kept_place(const cop__history *history, uint64_t version);
cop__kept *cop__kept_at(const cop__history *history, size_t place);
/* NULL: not kept. */
cop__kept *cop__kept_find(const cop__history *history, uint64_t version);
/* It is the last one used now. */
void cop__kept_use(cop__history *history, cop__kept *entry);
/* Pinned or not; idempotent. Unpinning finds its place by last use again: O(n). */
void cop__kept_pin(cop__history *history, cop__kept *entry, bool pinned);
/* Takes over the hold; gives the entry that has this version already, if there is one. NULL: no memory,
 * and the hold is the caller's as before. */
cop__kept *cop__kept_add(cop__history *history, const cop_snapshot *snapshot);
/* Out of the list and doomed. */
void cop__kept_remove(cop__history *history, cop__kept *entry);
/* As far as the bounds want it. */
void cop__kept_bound(cop__history *history);
/* The next one to be pruned; NULL: only pinned ones and the newest are left. */
cop__kept *cop__kept_least_used(const cop__history *history);
void cop__kept_free(cop__history *history, cop__kept *entry);
/* What dropping it would free, as far as the last scan knows. */
uint64_t cop__kept_bytes(const cop__kept *entry);

#endif

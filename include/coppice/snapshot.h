/* SPDX-License-Identifier: MIT */
/*
 * Reading: a reader holds exactly one version and never waits.
 *
 * A pin is short and belongs to the thread (or cop_reader) that made it; a snapshot can be kept
 * for hours and used by any thread. Both give a const cop_snapshot *, which every reading function
 * takes. Values read from it live until the unpin or drop; what a callback is shown, for the call.
 *
 * With snapshots.max_age_ms set, a snapshot that is taken is REVOKED when it has been held for so long: its
 * version is let go, whoever forgot it, and from then on every function that reads it answers COP_E_EXPIRED,
 * or reads right what was there when it began. It is still to be dropped. What was read before lives until
 * that drop: texts and keys are copied once, and counted as "readers"; reading one can answer COP_E_MEMORY. A
 * call that reads finishes, and keeps the version until it does, as does cop_snapshot_pin, after which
 * reading costs what it costs in a pin. Revoked is at commits, by cop_store_poll, by a pool that was given to the
 * store, and by cop_stats_take; not without these. The history's versions, pins, and snapshots made by cop_snapshot_keep of a
 * pin are never revoked, nor are snapshots that were taken while the option was 0.
 *
 * Only the first read of a lazy computed atom in a version may run a function, and wait for another
 * thread that runs it (computed.h).
 *
 * Progress: once a thread has a reader slot, pin, unpin and all functions that take a
 * cop_snapshot are wait-free and write no shared cache line but the reader's own (in a snapshot that
 * can be revoked texts and keys take a lock of the snapshot's); listings and
 * searches take the time their comments say, O(1) where they say nothing.
 *
 * Thread-safety: a snapshot may be read by any number of threads at once; a pin's by the thread that
 * made it. Callbacks run on the calling thread and may read, but not end the hold, nor a pin of it.
 *
 * Every reading function answers COP_E_FORKED in a forked child, and COP_E_EXPIRED for a snapshot that was
 * revoked.
 */
#ifndef COPPICE_SNAPSHOT_H
#define COPPICE_SNAPSHOT_H

#include <coppice/store.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cop_snapshot cop_snapshot;
typedef struct cop_reader cop_reader;

#define COP_PINS_MAX 4 /* nested pins of one reader */

/* A pin. Plain data; `snapshot` is NULL when the pin failed. Not to be copied to another thread. */
typedef struct cop_pin_t {
    const cop_snapshot *snapshot;
    void *slot;
} cop_pin_t;

/* Pins the newest version for the calling thread. The thread's first pin on a store registers it
 * (may allocate); afterwards wait-free. On failure .snapshot is NULL and cop_pin_status() tells
 * why: COP_E_MEMORY, COP_E_LIMIT (readers.max), COP_E_PINS, COP_E_CLOSING, COP_E_FORKED. */
COP_PUBLIC cop_pin_t cop_pin(cop_store *store);
/* Ends a pin, in any order, on the thread that made it. Legal for a failed pin. Wait-free. */
COP_PUBLIC void cop_unpin(cop_pin_t pin);
/* Why the calling thread's last failed cop_pin or cop_reader_pin did. Wait-free. */
COP_PUBLIC cop_status cop_pin_status(void);

/* Registers the calling thread early, so that its first pin is wait-free too. A thread that exits
 * is unregistered by itself; if it still holds pins they are released, logged and counted.
 * COP_E_MEMORY, COP_E_LIMIT, COP_E_CLOSING, COP_E_FORKED. Thread-safe, lock-free but for malloc. */
COP_PUBLIC cop_status cop_reader_register(cop_store *store);

/* An explicit reader, for servers whose tasks change threads: used by one thread at a time, the
 * host orders those uses. Close it before the store's memory can go; its pins are released. Opening:
 * COP_E_MEMORY, COP_E_LIMIT, COP_E_CLOSING, COP_E_FORKED; thread-safe, lock-free but for malloc.
 * cop_reader_pin: as cop_pin, wait-free, the pin ends on whatever thread uses the reader then. Closing is
 * legal for NULL. */
COP_PUBLIC cop_status cop_reader_open(cop_store *store, cop_reader **reader);
COP_PUBLIC cop_pin_t cop_reader_pin(cop_reader *reader);
COP_PUBLIC void cop_reader_close(cop_reader *reader);

/* Takes the newest version as a snapshot to keep. COP_E_LIMIT (snapshots.max), and as cop_pin.
 * Thread-safe; takes a short lock. */
COP_PUBLIC cop_status cop_snapshot_take(cop_store *store, const cop_snapshot **snapshot);
/* Takes a version once more by its number (a weak snapshot): the newest, one of the history, or one that any
 * snapshot still holds. COP_E_GONE: it is kept no longer, or by pins alone; else as cop_snapshot_take. O(held
 * versions), under a short lock. */
COP_PUBLIC cop_status cop_snapshot_take_version(cop_store *store, uint64_t version,
                                                const cop_snapshot **snapshot);
/* One more hold on a version that is pinned or held. Every take and keep needs its own drop. A snapshot that
 * can be revoked grows no younger by it. COP_E_LIMIT, COP_E_EXPIRED, COP_E_FORKED. Thread-safe; takes a
 * short lock. */
COP_PUBLIC cop_status cop_snapshot_keep(const cop_snapshot *snapshot);
/* Pins the version of a snapshot for the calling thread: until cop_unpin it is not let go, and all that is
 * read in pin->snapshot lives, also when the snapshot is revoked meanwhile. The snapshot must stay held (not
 * dropped) as long. COP_E_EXPIRED, COP_E_FORKED, and as cop_pin when it can be revoked; *pin has failed then.
 * Works on every snapshot, a pin's too. Wait-free once the thread has a reader slot. */
COP_PUBLIC cop_status cop_snapshot_pin(const cop_snapshot *snapshot, cop_pin_t *pin);
/* Whether it has been revoked. What it answers may be history the next moment. Wait-free. */
COP_PUBLIC bool cop_snapshot_expired(const cop_snapshot *snapshot);
/* Ends a hold; frees what only this version needed when the commit right is free, else leaves that
 * to its holder. Legal for NULL, from any thread. Takes a short lock; frees by a quota, and gives memory back to
 * the system when much lies free: up to some 0.2 s after a large version, while transactions of other threads
 * are committed in between. */
COP_PUBLIC void cop_snapshot_drop(const cop_snapshot *snapshot);

/* The version that a snapshot holds, and the store it is of. Wait-free. */
COP_PUBLIC uint64_t cop_snapshot_version(const cop_snapshot *snapshot);
COP_PUBLIC cop_store *cop_snapshot_store(const cop_snapshot *snapshot);
/* CLOCK_REALTIME nanoseconds of its publication, to a timer tick (1 to 10 ms). */
COP_PUBLIC uint64_t cop_snapshot_time(const cop_snapshot *snapshot);
/* Atoms in this version, branches and anonymous ones included, the root not. */
COP_PUBLIC uint64_t cop_snapshot_atoms(const cop_snapshot *snapshot);

/*
 * The value of an atom. COP_E_GONE when the atom does not exist in this version (erased, or not yet
 * created); *value is then COP_NONE. A branch reads as COP_OBJECT or COP_ARRAY.
 * Cost: about four dependent loads; no allocation.
 */
COP_PUBLIC cop_status cop_get(const cop_snapshot *snapshot, cop_atom atom, cop_value *value);

/* cop_get for n atoms, overlapping their cache misses. values[i] is COP_NONE where the atom is
 * gone; returns COP_OK, or COP_E_GONE when any was. */
COP_PUBLIC cop_status cop_get_many(const cop_snapshot *snapshot, const cop_atom *atoms, size_t n,
                                   cop_value *values);

/* Typed getters: COP_E_TYPE when the value is of another type, COP_E_GONE. cop_get_f64 accepts an
 * i64 too. *text is not terminated and lives as long as the snapshot is held. */
COP_PUBLIC cop_status cop_get_bool(const cop_snapshot *snapshot, cop_atom atom, bool *out);
COP_PUBLIC cop_status cop_get_i64(const cop_snapshot *snapshot, cop_atom atom, int64_t *out);
COP_PUBLIC cop_status cop_get_f64(const cop_snapshot *snapshot, cop_atom atom, double *out);
COP_PUBLIC cop_status cop_get_string(const cop_snapshot *snapshot, cop_atom atom, const char **text,
                                     size_t *length);

/* The atom at a path in this version. COP_E_ABSENT, COP_E_PATH, COP_E_LIMIT. Cost: one hash lookup,
 * plus one per array on the way. */
COP_PUBLIC cop_status cop_find(const cop_snapshot *snapshot, const char *path, size_t length,
                               cop_atom *atom);
/* cop_find and cop_get in one; their errors. */
COP_PUBLIC cop_status cop_get_at(const cop_snapshot *snapshot, const char *path, size_t length,
                                 cop_value *value);

/* One child of a branch. key is the segment of an object's child as it stands in paths (escaped), NULL in
 * an array; index is its place in order. From a cursor key and value live as long as the snapshot. */
typedef struct cop_child {
    cop_atom atom;
    cop_value value; /* COP_NONE: a lazy atom; cop_get evaluates it */
    const char *key;
    size_t key_length;
    uint32_t index;
} cop_child;

/* Return non-zero to stop. The child lives for the call, its key and value too. */
typedef int (*cop_each_function)(void *context, const cop_child *child);

/* The children of a branch in order. COP_OK when all were seen or the function stopped (its result
 * is then in *stopped, if given), COP_E_GONE, COP_E_NOT_BRANCH. O(children). */
COP_PUBLIC cop_status cop_each(const cop_snapshot *snapshot, cop_atom branch,
                               cop_each_function function, void *context, int *stopped);

/* A position in a branch's children, for callers that cannot use a callback. Caller-owned, on the
 * stack; needs no end; valid while the snapshot is held. */
typedef struct cop_cursor {
    const cop_snapshot *snapshot;
    uint64_t state[4];
} cop_cursor;
/* COP_E_GONE, COP_E_NOT_BRANCH. O(1). */
COP_PUBLIC cop_status cop_cursor_open(const cop_snapshot *snapshot, cop_atom branch, cop_cursor *cursor);
/* True and *child filled, or false at the end. Amortised O(1). */
COP_PUBLIC bool cop_cursor_next(cop_cursor *cursor, cop_child *child);
/* Why cop_cursor_next answered false: COP_OK at the end; COP_E_EXPIRED; COP_E_MEMORY, when the step may be
 * tried again; COP_E_FORKED. Wait-free. */
COP_PUBLIC cop_status cop_cursor_status(const cop_cursor *cursor);

/* Number of children. O(1). COP_E_GONE, COP_E_NOT_BRANCH. */
COP_PUBLIC cop_status cop_count(const cop_snapshot *snapshot, cop_atom branch, uint32_t *count);
/* The child at a place. O(log n). COP_E_RANGE, COP_E_GONE, COP_E_NOT_BRANCH. */
COP_PUBLIC cop_status cop_child_at(const cop_snapshot *snapshot, cop_atom branch, uint32_t index,
                                   cop_atom *atom);
/* The child of an object by its (unescaped) key. COP_E_ABSENT, COP_E_GONE, COP_E_NOT_BRANCH. */
COP_PUBLIC cop_status cop_child_named(const cop_snapshot *snapshot, cop_atom branch,
                                      const char *key, size_t length, cop_atom *atom);

/* The last version in which this branch, or anything below it, changed. COP_E_NOT_BRANCH. O(1). */
COP_PUBLIC cop_status cop_changed(const cop_snapshot *snapshot, cop_atom branch, uint64_t *version);

/* The parent branch; COP_E_ABSENT for the root and for anonymous atoms, COP_E_GONE. */
COP_PUBLIC cop_status cop_parent(const cop_snapshot *snapshot, cop_atom atom, cop_atom *parent);

/* The atom's path into buffer (terminated); *length receives the bytes needed without the
 * terminator. COP_E_RANGE when capacity is too small, COP_E_ABSENT for an anonymous atom,
 * COP_E_GONE. O(depth), and O(n / 100) for each array on the way. */
COP_PUBLIC cop_status cop_atom_path(const cop_snapshot *snapshot, cop_atom atom, char *buffer,
                                    size_t capacity, size_t *length);

/* All atoms of the version in id order (O(atoms)), in runs of up to 32. Return non-zero to stop. The arrays
 * and the values' bytes live for the call. Branches are included. */
typedef int (*cop_scan_function)(void *context, const cop_atom *atoms, const cop_value *values,
                                 size_t n);
COP_PUBLIC cop_status cop_scan(const cop_snapshot *snapshot, cop_scan_function function,
                               void *context);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * History: versions that the store keeps, to be read, compared, shown again, and gone back to.
 *
 * WHICH VERSIONS are kept is the option history.keep: every commit's ("commit"), one of history.every
 * ("every"), the first one that is published when the last one kept is history.interval_ms old
 * ("interval"), only those that somebody asks for ("label", the default: nothing is done until
 * cop_history_keep is called first), or none ("off": all that was kept is dropped). Keeping is decided
 * when a version is published; it costs a commit a short lock and nothing more, and asks for no memory.
 *
 * WHAT IT COSTS. A kept version costs the pages and values that were replaced since, and that no other
 * version has. At most history.max_snapshots are kept, which need at most history.max_bytes, as far as
 * the last scan knows (one runs when 2,048 things were replaced, and one more for each version held).
 * Beyond that those go that were not used for longest; looking at one is a use. The newest one kept
 * never goes, nor does one that is pinned, though it counts. A version that should have been kept and
 * could not for want of memory is counted (history_lost in cop_stats) and logged.
 *
 * A version that is not kept (any more) is COP_E_ABSENT. All may answer COP_E_CLOSING and COP_E_FORKED;
 * those that commit or wait, COP_E_IN_EVALUATION too. All are thread-safe; they take a short lock, which
 * no commit waits for.
 */
#ifndef COPPICE_HISTORY_H
#define COPPICE_HISTORY_H

#include <coppice/json.h>
#include <coppice/snapshot.h>
#include <coppice/watch.h>

#ifdef __cplusplus
extern "C" {
#endif

#define COP_HISTORY_LABEL_MAX 255 /* bytes */

/* What is known of a kept version. Plain data. */
typedef struct cop_history_entry {
    uint64_t version;
    uint64_t time_ns; /* CLOCK_REALTIME of its publication */
    uint64_t used_ns; /* and of its last use; 0: none */
    uint64_t bytes;   /* what dropping it would free, as far as the last scan knows: long values that
                       * went with a large erasure are not counted, nor what other kept versions have
                       * too */
    bool pinned;
    uint64_t imported_version, imported_ns; /* what it was in the file it came from; 0: it came from none */
    size_t label_length;
    char label[COP_HISTORY_LABEL_MAX + 1]; /* terminated; "" none */
} cop_history_entry;

/* Keeps the newest version, under this label if length is not 0: UTF-8 without control characters, at
 * most COP_HISTORY_LABEL_MAX bytes. A label it had goes. *version (may be NULL) says which one it is.
 * COP_E_INVALID (the label), COP_E_MEMORY, COP_E_STATE (history.keep is off). The first one of a store
 * waits for a running commit. */
COP_PUBLIC cop_status cop_history_keep(cop_store *store, const char *label, size_t length,
                                       uint64_t *version, cop_error *error);
/* Gives a kept version this label; length 0: none. COP_E_ABSENT, COP_E_INVALID, COP_E_MEMORY. */
COP_PUBLIC cop_status cop_history_label(cop_store *store, uint64_t version, const char *label,
                                        size_t length, cop_error *error);
/* It is kept until it is unpinned or dropped. Both idempotent. COP_E_ABSENT. */
COP_PUBLIC cop_status cop_history_pin(cop_store *store, uint64_t version);
COP_PUBLIC cop_status cop_history_unpin(cop_store *store, uint64_t version);
/* No longer kept, pinned or not. Who has taken it goes on reading. COP_E_ABSENT. */
COP_PUBLIC cop_status cop_history_drop(cop_store *store, uint64_t version);
/* All that are not pinned; *dropped (may be NULL) says how many. */
COP_PUBLIC cop_status cop_history_clear(cop_store *store, uint64_t *dropped);

/* The first kept version that is `version` or newer; no use. To list all: begin with 0, and go on with
 * entry->version + 1 until COP_E_ABSENT. O(log n). */
COP_PUBLIC cop_status cop_history_next(cop_store *store, uint64_t version, cop_history_entry *entry);
/* These are uses. The version itself; the newest one with this label; the newest one that was published
 * at this time (CLOCK_REALTIME) or before. COP_E_ABSENT. The last two O(n). */
COP_PUBLIC cop_status cop_history_find(cop_store *store, uint64_t version, cop_history_entry *entry);
COP_PUBLIC cop_status cop_history_find_label(cop_store *store, const char *label, size_t length,
                                             cop_history_entry *entry);
COP_PUBLIC cop_status cop_history_find_time(cop_store *store, uint64_t time_ns,
                                            cop_history_entry *entry);
/* Takes a kept version for reading, a use: the caller's to drop with cop_snapshot_drop, whatever becomes
 * of the entry. COP_E_ABSENT, COP_E_LIMIT (snapshots.max). */
COP_PUBLIC cop_status cop_history_take(cop_store *store, uint64_t version,
                                       const cop_snapshot **snapshot);

/* What an atom more or less, or with another value, counts as; computed ones are counted too. */
typedef struct cop_history_difference {
    uint64_t created, changed, erased;
    uint64_t arrays; /* whose elements came, went or moved */
} cop_history_difference;
/* Counts what leads from one version to the other, in time proportional to it; a use of both. `to` may
 * be the older one. COP_E_ABSENT: one is neither kept nor the newest. */
COP_PUBLIC cop_status cop_history_compare(cop_store *store, uint64_t from, uint64_t to,
                                          cop_history_difference *difference);

/* What going back did. */
typedef struct cop_history_restored {
    uint64_t version; /* the new version; `from` if nothing had to change */
    uint64_t from;    /* the newest one, to which the difference was found */
    uint64_t edits;   /* top-most atoms that were erased, made, moved or written */
    uint64_t left;    /* computed atoms that are not as they were: they, and what they own, are left as
                       * they are, a name that one has taken since too */
} cop_history_restored;
/*
 * Makes a new version whose source atoms are those of a kept one, in one commit, and in time
 * proportional to the difference (a branch whose children change their order is walked once). It is a
 * write like any other: watchers and effects see ordinary changes, computed atoms derive again, version
 * numbers go on. Atoms that are still there keep their handles; those that are made again get new ones
 * (and count as others than they were, though they look the same).
 * Anonymous atoms are left as they are. What others commit meanwhile is gone back from too: it is tried
 * again until nothing has changed since the difference was found.
 * restored may be NULL. COP_E_ABSENT, COP_E_TIMEOUT, COP_E_MEMORY, COP_E_LIMIT (too many operations for
 * one transaction). Blocking.
 */
COP_PUBLIC cop_status cop_history_restore(cop_store *store, uint64_t version, uint64_t deadline,
                                          cop_history_restored *restored, cop_error *error);

/* ---- replay: kept versions shown one after the other ---- */

typedef struct cop_replay cop_replay;

typedef struct cop_history_replay_options {
    size_t size;
    uint64_t from, to;    /* the versions to be shown, as far as they are kept when their turn comes */
    double speed;         /* 1: at the pace at which they were published; 2: twice as fast; 0: at once */
    uint64_t interval_ns; /* not 0: this long from one to the next, whatever their times */
} cop_history_replay_options;

#define COP_HISTORY_REPLAY_OPTIONS_INIT \
    {sizeof(cop_history_replay_options), 0, UINT64_MAX, 1.0, 0}

/* Shows one version: what changed since the one shown before, as a watcher of everything is told it; the
 * first one is a gap (read it from batch->now), and so is one for which there is no memory. The batch
 * ends with the call. Non-zero: stop. All calls on the store are allowed but closing the replay. */
typedef int (*cop_history_replay_function)(void *context, const cop_history_entry *entry,
                                           cop_watch_batch *batch);

/* options may be NULL. COP_E_INVALID, COP_E_MEMORY. The store's memory stays until it is closed. */
COP_PUBLIC cop_status cop_history_replay_open(cop_store *store,
                                              const cop_history_replay_options *options,
                                              cop_replay **replay, cop_error *error);
/* Shows what is due until the deadline, on the calling thread: COP_FOREVER for a thread of one's own, 0
 * from an event loop or a task of a pool, at the times that cop_history_replay_due says. COP_OK: all has
 * been shown; COP_E_TIMEOUT: more will be due; COP_E_CANCELLED: it was stopped, by the function (then it
 * can be run on) or cop_history_replay_stop. One thread at a time. Blocking. */
COP_PUBLIC cop_status cop_history_replay_run(cop_replay *replay, uint64_t deadline,
                                             cop_history_replay_function function, void *context);
/* When the next version is to be shown (CLOCK_MONOTONIC; a time that is past: now). COP_E_ABSENT: there
 * is none. Not while it runs. */
COP_PUBLIC cop_status cop_history_replay_due(cop_replay *replay, uint64_t *due_ns);
/* Ends it for good: no step begins after the one under way. Any thread, wait-free but for a system call. */
COP_PUBLIC void cop_history_replay_stop(cop_replay *replay);
/* Not while it runs. Legal for NULL. */
COP_PUBLIC void cop_history_replay_close(cop_replay *replay);

/* ---- export and import ---- */

/* Writes the kept versions into one file: the first one whole, the others as what changed; with labels,
 * pins and times, and checksums. It holds source atoms by their paths; computed ones are left out (an
 * element of an array that is one is null). *versions (may be NULL) says how many. COP_E_IO (the sink
 * answered other than 0), COP_E_MEMORY. What is pruned meanwhile is not in it. */
COP_PUBLIC cop_status cop_history_export(cop_store *store, cop_sink_function sink, void *context,
                                         uint64_t *versions, cop_error *error);

typedef struct cop_history_imported {
    uint64_t versions;    /* that were made */
    uint64_t first, last; /* their numbers */
} cop_history_imported;
/*
 * Makes the versions of a file again, one commit for each, in order, on top of what there is: the first
 * one replaces the source atoms that it finds, computed atoms stay and derive again. Each is kept with
 * its label and pin (as far as history.max_snapshots goes), and says what version and time it was.
 * The file is checked whole first, and played through in a store of its own: COP_E_SYNTAX (the message
 * says where and what) and the memory that takes (COP_E_MEMORY) leave everything as it was. Others must
 * not write meanwhile: COP_E_CONFLICT then, and the versions made so far stay, as they do when the store
 * closes or has no memory for more, or when a computed atom stands where a source atom is to be
 * (COP_E_SYNTAX names the operation). COP_E_STATE (history.keep is off). imported may be NULL. Blocking.
 */
COP_PUBLIC cop_status cop_history_import(cop_store *store, const void *bytes, size_t length,
                                         cop_history_imported *imported, cop_error *error);

#ifdef __cplusplus
}
#endif
#endif

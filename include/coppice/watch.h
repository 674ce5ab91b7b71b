/* SPDX-License-Identifier: MIT */
/*
 * Watchers: told what changed, once, from one version to another.
 *
 * A watcher is told adjoining intervals of versions, (a, b], (b, c], and so on: for each the net
 * change of what it watches, with old and new values; or one gap mark that names the interval. An
 * interval in which nothing of that changed is part of the next one that is told. One that falls
 * behind costs one held version, however many changes it misses, and is told their net effect.
 *
 * WHAT IS WATCHED. A path leads to an atom or a branch, which need not exist yet, and may go and come
 * again; a segment `*` stands for any one name. Everything below is watched too, unless the options
 * say otherwise. A position in an array is followed only as long as its element does not move:
 * watch the array, or the element by its handle (cop_watch_open_atom).
 *
 * WHO DOES IT. No commit waits for a watcher, and none does a watcher's work. Functions are called by
 * the workers of the store's pool (cop_store_set_pool), or by cop_store_poll; cop_store_fd says when.
 * A watcher without a function is asked by cop_watch_next, on the caller's thread, and needs nobody
 * else; its descriptor (cop_watch_fd) fits into any event loop. One that is not asked, or whose
 * function never returns, delays nobody: a function that hangs keeps one worker busy.
 *
 * WHEN. At most max_delay_ns after the first change that is not told yet, and at most once in
 * min_interval_ns, both on a grid that all watchers share: those with the same windows are told
 * together, and what it costs to find out is paid once for all.
 *
 * ERRORS of all that can fail: COP_E_CLOSING, COP_E_FORKED, COP_E_IN_EVALUATION beside what is named.
 */
#ifndef COPPICE_WATCH_H
#define COPPICE_WATCH_H

#include <coppice/effect.h>
#include <coppice/snapshot.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cop_watch cop_watch;

typedef enum cop_change_kind {
    COP_CHANGE_ERASED = 0,  /* the atom is gone; `before` is what it last was */
    COP_CHANGE_VALUE = 1,   /* it has another value, or became a branch, or ceased to be one */
    COP_CHANGE_CREATED = 2, /* it was not there before; `now` is what it is */
    COP_CHANGE_ELEMENTS = 3 /* an array: elements came, went or moved. Those that came and went are told
                             * too, by the paths that they have (had); read the order from batch->now */
} cop_change_kind;

/* One change. All it leads to lives as long as the batch. */
typedef struct cop_change {
    cop_change_kind kind;
    cop_atom atom;
    const char *path; /* not terminated; NULL: an anonymous atom */
    size_t path_length;
    cop_value before; /* COP_NONE: was not there, or is not known (a watcher opened with `since`) */
    cop_value now;    /* COP_NONE: is not there, or a lazy atom, which cop_get of batch->now evaluates */
} cop_change;

/*
 * What a watcher is told at once: the changes of versions after `from` up to and with `to`. Iterated
 * by cop_watch_change in an order that can be applied as it comes: erased (children before their
 * branch), values, created (a branch before its children), elements.
 */
typedef struct cop_watch_batch {
    uint64_t from, to;
    bool gap;     /* what changed is not known: read what is watched from `now` */
    size_t count; /* changes; 0 for a gap */
    const cop_snapshot *now;    /* the version `to` */
    const cop_snapshot *before; /* a version that is like `from` as far as it is watched; NULL if unknown */
    size_t place_;
    void *held_[4];
} cop_watch_batch;

/* Called with each batch, which ends when it returns. Two calls for one watcher never overlap. All
 * calls on the store are allowed, closing, pausing and resuming this watcher included. */
typedef void (*cop_watch_function)(void *context, cop_watch *watch, cop_watch_batch *batch);

typedef enum cop_watch_overflow {
    COP_WATCH_COALESCE = 0, /* the net change of all that it missed, however much */
    COP_WATCH_GAP = 1       /* a gap mark when more than `bound` changes have come: no version is held */
} cop_watch_overflow;

#define COP_WATCH_NOW UINT64_MAX

typedef struct cop_watch_options {
    size_t size;
    uint64_t since; /* the version it knows. COP_WATCH_NOW: the newest, changes from here on. Else told
                     * first is what changed since, if the change log (watch.log_bytes) reaches back,
                     * or a gap mark; so 0
                     * begins with a gap mark that shows the whole. */
    uint64_t min_interval_ns;
    uint64_t max_delay_ns;
    cop_watch_overflow overflow;
    uint64_t bound;
    bool only_itself; /* not what is below */
    bool paused;
    bool close_at_once; /* cop_watch_close does not wait for a call of the function */
    bool weak; /* when memory is short (pressure.h) the version that it holds while it is behind is the
                * first to go: it is told a gap. Without it, only when a commit would be refused */
    cop_destructor destroy; /* runs once on the context, after the last call; not if opening failed */
} cop_watch_options;

#define COP_WATCH_OPTIONS_INIT \
    {sizeof(cop_watch_options), COP_WATCH_NOW, 0, 0, COP_WATCH_COALESCE, 0, false, false, false, false, NULL}

/* Opens a watcher of a path or pattern ("": of everything). function may be NULL: cop_watch_next.
 * options may be NULL. COP_E_PATH, COP_E_LIMIT, COP_E_INVALID, COP_E_MEMORY. Thread-safe, blocking
 * (the first one of a store waits for a running commit). The store's memory stays until it is closed. */
COP_PUBLIC cop_status cop_watch_open(cop_store *store, const char *path, size_t length,
                                     const cop_watch_options *options, cop_watch_function function,
                                     void *context, cop_watch **watch, cop_error *error);
/* The same by handle, for anonymous atoms and elements of arrays; it is not followed once the atom is
 * erased. Its branch is that which it is when something changes. */
COP_PUBLIC cop_status cop_watch_open_atom(cop_store *store, cop_atom atom,
                                          const cop_watch_options *options,
                                          cop_watch_function function, void *context,
                                          cop_watch **watch, cop_error *error);
/* Ends it: no call begins after this returns; waits for one under way, unless called by it or opened
 * with close_at_once. A cop_watch_next that waits returns COP_E_STATE. Legal for NULL, once the
 * store is closed too. Must be called, once; not on one that was put under a scope, which calls it.
 * Inside an evaluation it does nothing. Thread-safe, blocking. */
COP_PUBLIC void cop_watch_close(cop_watch *watch);

/* Not told until resumed: then the net change, or a gap. Both idempotent. A call under way goes on.
 * Thread-safe; take a short lock. */
COP_PUBLIC void cop_watch_pause(cop_watch *watch);
COP_PUBLIC void cop_watch_resume(cop_watch *watch);
/* The version up to which it has been told; 0 until it has been told its beginning, if it has one. */
COP_PUBLIC uint64_t cop_watch_told(cop_watch *watch);

/* Waits until there is something to tell and due, and tells it; the batch must be ended. *batch is zeroed
 * after a failure. COP_E_TIMEOUT, COP_E_STATE (closed meanwhile), COP_E_INVALID (it has a function),
 * COP_E_PINS and COP_E_LIMIT as cop_pin. Thread-safe; blocking until the deadline, and for as long as
 * another thread's call on this watcher finds out what changed. */
COP_PUBLIC cop_status cop_watch_next(cop_watch *watch, uint64_t deadline, cop_watch_batch *batch);
/* A descriptor (timerfd) that is readable when cop_watch_next has something to tell, or some 50 us later when
 * many watchers have; not to be read.
 * Owned by the watcher. It is kept up by the pool; without one, by whoever commits, which costs a
 * commit what it takes to look at what it changed. COP_E_IO, COP_E_INVALID (it has a function). */
COP_PUBLIC cop_status cop_watch_fd(cop_watch *watch, int *fd);

/* The next change of a batch; false at its end. O(1); of one thread at a time. */
COP_PUBLIC bool cop_watch_change(cop_watch_batch *batch, cop_change *change);
/* From its first change again. */
COP_PUBLIC void cop_watch_rewind(cop_watch_batch *batch);
/* Ends a batch that cop_watch_next gave, before or after the watcher is closed; legal for a zeroed
 * one. */
COP_PUBLIC void cop_watch_batch_end(cop_watch_batch *batch);

/* Puts a watcher under a scope: closed when the scope is disposed of or emptied, and by nothing else.
 * COP_E_MEMORY, COP_E_STATE; after a failure it is the caller's as before. Thread-safe. */
COP_PUBLIC cop_status cop_scope_add_watch(cop_scope *scope, cop_watch *watch);

#ifdef __cplusplus
}
#endif
#endif

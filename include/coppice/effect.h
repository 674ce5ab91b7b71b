/* SPDX-License-Identifier: MIT */
/*
 * Effects: functions that run after publication with the version they see, again whenever something
 * they read has changed; and scopes, which dispose of many objects together.
 *
 * An effect never runs inside a commit. Changes that come while it waits to run are run for once, with
 * the newest version; the last one is never missed. Two runs of one effect never overlap. It may
 * write: what it commits is a later version. Effects that keep running each other again are cut off
 * after effects.rounds rounds without rest, reported to the log with the effects involved, and run
 * again when something else changes what they read; so are those that read what these wrote in the
 * last round. One that fails (negative status) is logged and does not stop others.
 *
 * cop_store_close ends the effects that are open, as cop_effect_close does: it waits for runs under
 * way, and their destructors have run when it returns (those of effects that it is called from: when
 * they return).
 */
#ifndef COPPICE_EFFECT_H
#define COPPICE_EFFECT_H

#include <coppice/computed.h>
#include <coppice/pool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A weak handle, like cop_atom. */
typedef struct cop_effect {
    uint32_t id;
    uint32_t generation;
} cop_effect;

typedef struct cop_effect_queue cop_effect_queue;

/* Reads through evaluation: the cop_read family, of one version. All calls on the store are allowed.
 * Lazy atoms can be read by cop_read_untracked only (cop_read: COP_E_UNSUPPORTED). */
typedef cop_status (*cop_effect_function)(cop_evaluation *evaluation, void *context);

typedef struct cop_effect_options {
    size_t size;
    cop_effect_queue *queue; /* who runs it; NULL: the store's own queue */
    const char *label;       /* copied; NULL: none */
    cop_destructor destroy;  /* runs once on the context, after the last run; not if opening failed */
    cop_scope *scope;        /* disposed with it; NULL: none */
} cop_effect_options;

#define COP_EFFECT_OPTIONS_INIT {sizeof(cop_effect_options), NULL, NULL, NULL, NULL}

/* Opens an effect; its first run is due at once on its queue, and may begin before this returns.
 * COP_E_INVALID, COP_E_MEMORY, COP_E_CLOSING, COP_E_IN_EVALUATION, COP_E_STATE (the scope is
 * disposed). Thread-safe, blocking. */
COP_PUBLIC cop_status cop_effect_open(cop_store *store, cop_effect_function function, void *context,
                                      const cop_effect_options *options, cop_effect *effect,
                                      cop_error *error);
/* Ends it: no run begins after this returns; waits for one under way unless called by it. Its cleanups
 * run, its scope is disposed, then destroy; all after its run if called by it. Idempotent. Two
 * effects that close each other while both run wait for ever. Inside an evaluation it does nothing.
 * Thread-safe, blocking. */
COP_PUBLIC void cop_effect_close(cop_store *store, cop_effect effect);

/* ---- inside an effect: only by its function, during the run; wait-free but for malloc ---- */

/* The snapshot that this run reads; held until it returns. NULL in what is no effect. */
COP_PUBLIC const cop_snapshot *cop_effect_snapshot(cop_evaluation *evaluation);
/* Runs before the next run and before the end, last added first. COP_E_MEMORY, COP_E_INVALID. */
COP_PUBLIC cop_status cop_effect_on_cleanup(cop_evaluation *evaluation, cop_destructor function,
                                            void *context);
/* The effect's own scope, emptied before each run and at its end. NULL when out of memory. */
COP_PUBLIC cop_scope *cop_effect_scope(cop_evaluation *evaluation);

/* ---- who runs effects ---- */

/* The store's own queue is served by its pool's workers when it has a pool (cop_store_set_pool) with
 * threads, else by cop_effects_run(store, NULL, ...). A queue opened here is served by whoever calls
 * cop_effects_run on it: an event loop. The store's memory stays as long as the queue is open.
 * COP_E_MEMORY, COP_E_CLOSING, COP_E_FORKED. Thread-safe, blocking (allocates). */
COP_PUBLIC cop_status cop_effect_queue_open(cop_store *store, cop_effect_queue **queue);
/* Its effects must have been closed (cop_store_close does that too), and nobody be in a call on it.
 * Legal for NULL. */
COP_PUBLIC void cop_effect_queue_close(cop_effect_queue *queue);
/* A descriptor (eventfd) that is readable while effects are due; owned by the queue. COP_E_IO,
 * COP_E_CLOSING, COP_E_FORKED. Thread-safe; a system call the first time. */
COP_PUBLIC cop_status cop_effect_queue_fd(cop_effect_queue *queue, int *fd);
/* Runs what is due, and what becomes due meanwhile, up to `most` runs (0: no bound) on the calling
 * thread, which holds a pin meanwhile. *ran (may be NULL) counts them. COP_E_CLOSING, COP_E_FORKED,
 * COP_E_IN_EVALUATION, COP_E_INVALID (another store's queue), COP_E_PINS and COP_E_LIMIT (as cop_pin;
 * nothing has run), COP_E_MEMORY (of some the dependencies are not known: they run again with the
 * next call). Thread-safe, legal inside an effect. */
COP_PUBLIC cop_status cop_effects_run(cop_store *store, cop_effect_queue *queue, uint64_t most,
                                      uint64_t *ran);
/* Waits until no effect of the store is due or running, running them if they are due on the store's
 * own queue (what is due on others is waited for: somebody else has to run it). COP_E_TIMEOUT,
 * COP_E_IN_EVALUATION (in an effect of the store too), else as cop_effects_run. Thread-safe, blocking. */
COP_PUBLIC cop_status cop_effects_settle(cop_store *store, uint64_t deadline);

/* Lets a pool evaluate the store's computed atoms, run its effects, tell its watchers and tickets, and commit
 * what was gathered when a frame ends (store.h); NULL takes it away. The pool
 * must outlive the store or the next such call. COP_E_CLOSING, COP_E_FORKED, COP_E_IN_EVALUATION.
 * Thread-safe, blocking. */
COP_PUBLIC cop_status cop_store_set_pool(cop_store *store, cop_pool *pool);

/* ---- scopes ---- */

/*
 * A scope disposes of many objects together, last added first: each dispose function has returned
 * before the next begins. Scopes are independent of stores. Dispose functions run without any lock
 * held, on the thread that empties or disposes of the scope, and may call everything here on any
 * scope, their own included. Computed atoms, reducers and effects come under a scope by their options.
 * Everything here takes a lock for a few instructions only, and costs O(1) unless it says otherwise.
 *
 * ONE AT A TIME. While a thread disposes of what is in a scope, a call that would do the same (from
 * another thread, or from one of the dispose functions) leaves it to that thread and returns at
 * once: it waits for nothing, so it cannot deadlock, and what it asked for is done when the call
 * that came first returns.
 *
 * LIFE. A scope lives until cop_scope_dispose on it. A nested one ends with the first of that and
 * the emptying or disposal of its parent; it may be named until that call has returned, and by
 * dispose functions of an outermost disposal until that has. Who may be later than that (another
 * thread than the one that disposes of the parent) keeps it: cop_scope_keep.
 *
 *   called on a scope that is    being emptied                     disposed of, or being so
 *   cop_scope_open (below it)    stays                             COP_E_STATE
 *   cop_scope_add                stays                             COP_E_STATE
 *   cop_scope_remove             takes it out if its turn has      the same
 *                                not come
 *   cop_scope_empty              what was added since goes too     does nothing
 *   cop_scope_dispose            the same, and for good            does nothing
 */

/* A scope of anything with a dispose function. parent (may be NULL) disposes of it with its own, at
 * its place among what was added. COP_E_MEMORY, COP_E_STATE (the parent is disposed); *scope is then
 * NULL. Thread-safe. */
COP_PUBLIC cop_status cop_scope_open(cop_scope *parent, cop_scope **scope);
/* Puts an object under the scope: dispose(object) runs when the scope is disposed or emptied. The
 * same may be added more than once. COP_E_INVALID (no dispose function), COP_E_MEMORY, COP_E_STATE;
 * after a failure the object is the caller's as before and nothing is called. Thread-safe. */
COP_PUBLIC cop_status cop_scope_add(cop_scope *scope, cop_destructor dispose, void *object);
/* Takes it out again without disposing, the last added of several: true when it was there, and
 * dispose(object) will then not be called; false when its turn has come, perhaps now on another
 * thread. O(objects). Thread-safe. */
COP_PUBLIC bool cop_scope_remove(cop_scope *scope, cop_destructor dispose, void *object);
/* An atom (cop_computed_dispose) or an effect (cop_effect_close) under a scope: disposed with it.
 * One that is gone already by then is no fault. The store may be closed before; its memory then
 * stays until the scope lets go of it. An atom is disposed of by a commit: while there is no memory for
 * that, the disposal waits, for some 30 ms an atom; then the atom stays, and that is logged. COP_E_MEMORY, COP_E_STATE, COP_E_CLOSING, COP_E_FORKED.
 * Thread-safe. */
COP_PUBLIC cop_status cop_scope_add_atom(cop_scope *scope, cop_store *store, cop_atom atom);
COP_PUBLIC cop_status cop_scope_add_effect(cop_scope *scope, cop_store *store, cop_effect effect);
/* Disposes of what is in it, nested scopes included; the scope stays usable, and what is added while
 * it is emptied stays. Thread-safe, blocking as its dispose functions are. */
COP_PUBLIC void cop_scope_empty(cop_scope *scope);
/* Empties it for good, takes it out of its parent, and frees it once no call is in it and nobody
 * keeps it. Legal for NULL, from inside a dispose function of its own, and again as long as the
 * scope may be named. Thread-safe, blocking as its dispose functions are. */
COP_PUBLIC void cop_scope_dispose(cop_scope *scope);
/* Keeps the scope's memory, not its objects: it may be named, disposed or not, until as many
 * cop_scope_drop. Thread-safe, wait-free. */
COP_PUBLIC void cop_scope_keep(cop_scope *scope);
/* Legal for NULL. Disposes of nothing. Thread-safe, wait-free but for free(). */
COP_PUBLIC void cop_scope_drop(cop_scope *scope);

#ifdef __cplusplus
}
#endif
#endif

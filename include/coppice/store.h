/* SPDX-License-Identifier: MIT */
/*
 * A store: one independent instance of live state. A process may hold many.
 *
 * Submitted transactions are GATHERED for batch.window_ms and committed together: until the end of a
 * frame, a multiple of the window on CLOCK_MONOTONIC, so that stores with one window commit together. Then
 * the store's pool commits them (cop_store_set_pool), or cop_store_poll, whose descriptor is readable from
 * then on, or a wait on a ticket. batch.max_transactions and batch.max_bytes end a window early;
 * cop_txn_commit, cop_flush and cop_store_close take what is gathered at once, and so does changing
 * the options. A batch takes transactions in the order in which they came, up to these bounds, and beyond
 * them, up to twice, those that write the same atoms or atoms that the same computed atoms read.
 *
 * A window of 0 gathers nothing (natural group commit): what was submitted meanwhile is what one commit
 * takes. Then the pool does not commit. batch.updates=false: the same, and each transaction makes a
 * version of its own.
 *
 * A store that has no pool and on which none of these is called HOLDS submitted transactions until one is.
 *
 * After fork, in the child, every call on a store of the parent answers COP_E_FORKED, except
 * cop_store_close, which releases nothing and is legal.
 */
#ifndef COPPICE_STORE_H
#define COPPICE_STORE_H

#include <coppice/options.h>
#include <coppice/status.h>
#include <coppice/value.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cop_store cop_store;

/*
 * A handle to an atom: an id and its generation. Plain data, weak: it keeps nothing alive. Once
 * the atom is erased its handle answers COP_E_GONE for ever, also when the id is used again; in a
 * snapshot taken before the erasure it goes on reading the old value. Handles belong to one store.
 */
typedef struct cop_atom {
    uint32_t id;
    uint32_t generation;
} cop_atom;

#define COP_ATOM_NONE_INIT {0, 0}

/* The root: an object, or an array after its whole document was replaced by one. Never erased. */
static inline cop_atom
cop_root(void)
{
    cop_atom root = {0, 1};
    return root;
}

/* Deadlines are absolute CLOCK_MONOTONIC nanoseconds. 0: do not wait. */
#define COP_FOREVER UINT64_MAX
/* Now plus `milliseconds`, saturating. Thread-safe, wait-free. */
COP_PUBLIC uint64_t cop_deadline_in_ms(uint64_t milliseconds);

/* Opens a store. options may be NULL (defaults). On success *store is set and the log function's
 * and allocator's contexts are the store's to destroy; on failure *store is NULL, nothing is held
 * and no destructor runs. COP_E_INVALID, COP_E_RANGE (options), COP_E_MEMORY. Thread-safe, blocking
 * (allocates; starts no thread). */
COP_PUBLIC cop_status cop_store_open(const cop_options *options, cop_store **store,
                                     cop_error *error);

/*
 * Closes: commits what was submitted, refuses later calls with COP_E_CLOSING, waits for a running
 * commit. Memory is freed when the last pin, snapshot and ticket has ended, by whoever ends it.
 * The store must not be used by other threads for new calls from here on; pins, snapshots and
 * tickets held stay valid. Legal for NULL. Called once, by one thread. Blocking.
 */
COP_PUBLIC void cop_store_close(cop_store *store);

/* The options in force: what was given to cop_store_open, with memory.limit_bytes worked out, and what
 * cop_store_reconfigure changed since. allocator, log and log_destroy are left zero. COP_E_INVALID
 * (options->size must be set), COP_E_CLOSING, COP_E_FORKED. Thread-safe; takes a short lock. */
COP_PUBLIC cop_status cop_store_options(cop_store *store, cop_options *options);

/*
 * Changes the options that are live (cop_option_info); all or nothing. Others must be as they are
 * (COP_E_STATE names one that is not). memory.limit_bytes below what is held refuses commits until
 * enough is free again; what lies free or can be made again goes first. workers.threads is only noted:
 * whoever runs the pool resizes it (cop_pool_resize). COP_E_INVALID, COP_E_RANGE, COP_E_TIMEOUT (the commit right was not to be had by
 * the deadline), COP_E_CLOSING, COP_E_FORKED, COP_E_IN_EVALUATION. Thread-safe, blocking.
 */
COP_PUBLIC cop_status cop_store_reconfigure(cop_store *store, const cop_options *options,
                                            uint64_t deadline, cop_error *error);

/* The newest published version (0: the empty store). Thread-safe, wait-free. Versions seen by one
 * thread never decrease; a version is visible before its commit returns. */
COP_PUBLIC uint64_t cop_store_version(const cop_store *store);

/* Commits everything submitted before the call. COP_E_TIMEOUT when the commit right was not to be
 * had by the deadline. COP_E_CLOSING, COP_E_FORKED, COP_E_IN_EVALUATION. Thread-safe, blocking. */
COP_PUBLIC cop_status cop_flush(cop_store *store, uint64_t deadline);

/* A file descriptor (epoll) that is readable when submitted transactions are due to be committed, or
 * something else is due for cop_store_poll (background atoms, watchers and calls of tickets of a store
 * without a pool); what is still gathered does not make it readable. It may be readable for nothing. Not to be read. Owned by the store, closed with it. COP_E_IO, COP_E_CLOSING, COP_E_FORKED.
 * Thread-safe; system calls the first time, afterwards wait-free. */
COP_PUBLIC cop_status cop_store_fd(cop_store *store, int *fd);

/* Does what is due, without waiting: commits what was submitted, unless it is still gathered, frees what no
 * version needs, runs background atoms that are due, tells watchers and those who are to be told of
 * tickets, and clears the descriptor. COP_OK also when another thread is doing
 * it. COP_E_CLOSING, COP_E_FORKED, COP_E_IN_EVALUATION. Thread-safe; waits for no other thread, but
 * takes as long as the functions that it runs. */
COP_PUBLIC cop_status cop_store_poll(cop_store *store);

/* Waits until cop_store_version() >= version. Commits nothing. COP_E_TIMEOUT, COP_E_CLOSING,
 * COP_E_FORKED. Thread-safe, blocking. */
COP_PUBLIC cop_status cop_wait_version(cop_store *store, uint64_t version, uint64_t deadline);

/* The atom at a path, made with the value null (its missing ancestors as objects) in a commit of
 * its own when there is none. COP_E_PATH, COP_E_LIMIT, COP_E_NOT_BRANCH (an ancestor holds a
 * value), COP_E_RANGE (array position), COP_E_MEMORY, COP_E_CLOSING. Thread-safe, blocking. */
COP_PUBLIC cop_status cop_atom_at(cop_store *store, const char *path, size_t length,
                                  cop_atom *atom, cop_error *error);

/* The atom at a path in the newest version. COP_E_ABSENT, COP_E_PATH, COP_E_LIMIT. Thread-safe;
 * wait-free once the thread has a reader slot. */
COP_PUBLIC cop_status cop_atom_find(cop_store *store, const char *path, size_t length,
                                    cop_atom *atom);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * Transactions: writes, and the reads they rest on, that become visible together or not at all.
 *
 * A transaction is used by one thread at a time and ends in exactly one of cop_txn_commit,
 * cop_txn_submit, cop_txn_cancel (each consumes it). Reads are of one version, fixed at the first
 * read; the commit checks that what was read still holds and answers COP_E_CONFLICT otherwise.
 * Operations are applied in the order they were added; a transaction one of whose operations cannot
 * be applied (a gone atom, a wrong type) fails whole with that status and changes nothing.
 *
 * A refused operation (an argument error, out of memory) is answered at once, is not added, and
 * leaves the transaction as it was.
 *
 * Unless it says otherwise, a function that takes a cop_txn is for the one thread that uses the
 * transaction now; it may allocate, waits for nobody, and costs O(1) amortised and the bytes that it
 * copies. All of them may also answer COP_E_MEMORY, COP_E_STATE (the transaction was submitted),
 * COP_E_FORKED. Texts and values given are copied; pointers for results (out, applied) must stay
 * writable until cop_txn_commit has returned, and are not written after cop_txn_submit.
 *
 * Creation gives a PROVISIONAL handle: usable in later operations of the same transaction only. The
 * real one is written to the same place by cop_txn_commit, or had from cop_ticket_atom.
 */
#ifndef COPPICE_TXN_H
#define COPPICE_TXN_H

#include <coppice/snapshot.h>
#include <coppice/store.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cop_txn cop_txn;
typedef struct cop_ticket cop_ticket;

#define COP_AT_END UINT32_MAX

/* COP_E_MEMORY, COP_E_CLOSING, COP_E_FORKED, COP_E_IN_EVALUATION. Thread-safe, lock-free. */
COP_PUBLIC cop_status cop_txn_begin(cop_store *store, cop_txn **txn);

/*
 * Writes. All copy the value. COP_E_INVALID for a value of type COP_NONE, COP_E_MEMORY.
 *
 * A value of type COP_OBJECT or COP_ARRAY makes the atom an empty branch (no change when it is a
 * branch of that kind already, children stay). Writing anything else to a branch with children
 * fails with COP_E_BRANCH: clear it first.
 */
COP_PUBLIC cop_status cop_txn_set(cop_txn *txn, cop_atom atom, const cop_value *value);
/* By path: creates the atom, and missing ancestors as objects. COP_E_PATH, COP_E_LIMIT at once;
 * COP_E_NOT_BRANCH, COP_E_RANGE at commit. */
COP_PUBLIC cop_status cop_txn_set_at(cop_txn *txn, const char *path, size_t length,
                                     const cop_value *value, cop_error *error);
/* A child of an object by its unescaped key, created at the end of the order if absent. out may be
 * NULL. */
COP_PUBLIC cop_status cop_txn_set_child(cop_txn *txn, cop_atom object, const char *key,
                                        size_t length, const cop_value *value, cop_atom *out);
/* Inserts a new element before position index of an array (COP_AT_END: append). COP_E_RANGE at
 * commit when index exceeds the length. out may be NULL. */
COP_PUBLIC cop_status cop_txn_insert(cop_txn *txn, cop_atom array, uint32_t index,
                                     const cop_value *value, cop_atom *out);
/* A new anonymous atom: no path, listed nowhere but in cop_scan. out may be NULL. It cannot be a
 * branch (COP_E_INVALID). */
COP_PUBLIC cop_status cop_txn_create(cop_txn *txn, const cop_value *value, cop_atom *out);

/* Erases the atom and everything below it. By path: COP_E_ABSENT at commit when there is none. The
 * root cannot be erased (COP_E_INVALID): clear it. */
COP_PUBLIC cop_status cop_txn_erase(cop_txn *txn, cop_atom atom);
COP_PUBLIC cop_status cop_txn_erase_at(cop_txn *txn, const char *path, size_t length,
                                       cop_error *error);
/* Erases what is below a branch and leaves it an empty branch, in its place. No effect on a value. */
COP_PUBLIC cop_status cop_txn_clear(cop_txn *txn, cop_atom branch);
COP_PUBLIC cop_status cop_txn_clear_at(cop_txn *txn, const char *path, size_t length,
                                       cop_error *error);

/*
 * Operations on what is there when they are applied. They read nothing as far as conflicts go: two
 * of them never conflict.
 *   add          number += delta; i64 + i64 stays i64 (COP_E_RANGE at commit on overflow), any f64
 *                makes f64. COP_E_TYPE at commit for what is no number.
 *   max          the greater of both, compared as numbers of one type. COP_E_TYPE.
 *   compare_set  sets `desired` if the value equals `expected`, else leaves it. Not a failure either
 *                way: *applied (may be NULL) tells, written by cop_txn_commit only.
 */
COP_PUBLIC cop_status cop_txn_add(cop_txn *txn, cop_atom atom, const cop_value *delta);
COP_PUBLIC cop_status cop_txn_max(cop_txn *txn, cop_atom atom, const cop_value *candidate);
COP_PUBLIC cop_status cop_txn_compare_set(cop_txn *txn, cop_atom atom, const cop_value *expected,
                                          const cop_value *desired, bool *applied);

/*
 * Reads, kept as conditions of the commit. They see the version fixed by the first read, and this
 * transaction's own earlier writes to the same handle (not those by path or by child). Values live
 * until the transaction ends. Failures to find are conditions too: an absent atom must still be
 * absent. Answers and costs are those of cop_get, cop_find and cop_each; the first read of a transaction
 * takes a snapshot (COP_E_LIMIT, a short lock), and a lazy atom may be evaluated.
 */
COP_PUBLIC cop_status cop_txn_get(cop_txn *txn, cop_atom atom, cop_value *value);
COP_PUBLIC cop_status cop_txn_find(cop_txn *txn, const char *path, size_t length, cop_atom *atom,
                                   cop_error *error);
/* Lists a branch; the condition is that its list of children is the same (their values are not). */
COP_PUBLIC cop_status cop_txn_each(cop_txn *txn, cop_atom branch, cop_each_function function,
                                   void *context, int *stopped);
/* The version that the reads are of, for reading without keeping conditions; lives until the
 * transaction ends, and can be revoked as one of cop_snapshot_take. */
COP_PUBLIC cop_status cop_txn_snapshot(cop_txn *txn, const cop_snapshot **snapshot);
/* Conditions without reading: the branch has not changed since `version` (with anything below it);
 * the value equals; nothing is at the path / something is. Failing one is COP_E_CONFLICT. */
COP_PUBLIC cop_status cop_txn_require_unchanged(cop_txn *txn, cop_atom branch, uint64_t version);
COP_PUBLIC cop_status cop_txn_require_value(cop_txn *txn, cop_atom atom, const cop_value *value);
COP_PUBLIC cop_status cop_txn_require_path(cop_txn *txn, const char *path, size_t length,
                                           bool present, cop_error *error);

/* Commits now and waits for the outcome: COP_OK and the version in *version (may be NULL; without a
 * net change the version it equals), COP_E_CONFLICT, COP_E_EXPIRED (the snapshot that it read in was revoked
 * before its conditions could be checked), COP_E_MEMORY, COP_E_CLOSING, COP_E_IN_EVALUATION,
 * or the status of the operation that could not be applied. Consumes txn in every case. Blocking. */
COP_PUBLIC cop_status cop_txn_commit(cop_txn *txn, uint64_t *version, cop_error *error);

/* Hands the transaction over and returns at once. *ticket (pass NULL to take none) tells the outcome
 * and must be released. Consumes txn. Wait-free; runs no user code; never commits: see store.h for who
 * does, and when. The submission that opens a window or fills a bound also tells who is to commit, by waking a
 * worker or setting a timer descriptor; it waits for nobody. COP_E_CLOSING. */
COP_PUBLIC cop_status cop_txn_submit(cop_txn *txn, cop_ticket **ticket);

/* Ends it without effect. Legal for NULL. Wait-free but for freeing memory. */
COP_PUBLIC void cop_txn_cancel(cop_txn *txn);

/*
 * Tickets are used by one thread at a time.
 */
/* COP_E_PENDING while undecided, else the outcome as cop_txn_commit would answer. Wait-free. */
COP_PUBLIC cop_status cop_ticket_poll(cop_ticket *ticket, uint64_t *version);
/* Waits for the outcome: for the end of the frame in which it was gathered, and then committing what is queued
 * if nobody else does. To have it now, call cop_flush first. COP_E_TIMEOUT leaves the transaction
 * queued. Blocking. */
COP_PUBLIC cop_status cop_ticket_wait(cop_ticket *ticket, uint64_t deadline, uint64_t *version,
                                      cop_error *error);
/*
 * Calls function(context, outcome, version) once: when the transaction is decided, or, when it is not by
 * then, at the deadline with COP_E_TIMEOUT (the transaction goes on). COP_FOREVER: no deadline. destroy (may be NULL) runs after it. Both
 * run on a worker of the store's pool, on who calls cop_store_poll, or on who closes the store; never
 * within a commit, this call, or cop_txn_submit. They may call whatever the store allows there. At most
 * one for a ticket, which may be released before. COP_E_STATE (it has one), COP_E_INVALID (no
 * function), COP_E_MEMORY, COP_E_CLOSING, COP_E_FORKED: then neither ever runs. Takes a short lock.
 */
typedef void (*cop_ticket_function)(void *context, cop_status outcome, uint64_t version);
COP_PUBLIC cop_status cop_ticket_on_done(cop_ticket *ticket, cop_ticket_function function,
                                         void *context, cop_destructor destroy, uint64_t deadline);
/* Tries to take a transaction back: COP_OK when it will end as COP_E_CANCELLED, COP_E_STATE when it
 * is being committed or already decided. Lock-free. */
COP_PUBLIC cop_status cop_ticket_cancel(cop_ticket *ticket);
/* The real handle behind a provisional one, once the ticket's outcome is COP_OK. COP_E_STATE,
 * COP_E_INVALID. Wait-free. */
COP_PUBLIC cop_status cop_ticket_atom(cop_ticket *ticket, cop_atom provisional, cop_atom *atom);
/* Legal for NULL and for an undecided ticket (the transaction goes on). Wait-free but for freeing
 * memory. */
COP_PUBLIC void cop_ticket_release(cop_ticket *ticket);

/*
 * Runs function(txn, context) and commits, again until its reads hold. function may read and write
 * txn but not end it; a non-zero result cancels, and is returned. After 8 conflicts the function
 * runs under the commit right, so that the next try cannot conflict; it must not wait for another
 * writer then. COP_E_TIMEOUT, else as cop_txn_begin and cop_txn_commit; never COP_E_CONFLICT. *version as
 * cop_txn_commit. Thread-safe, blocking.
 */
typedef cop_status (*cop_transact_function)(cop_txn *txn, void *context);
COP_PUBLIC cop_status cop_transact(cop_store *store, cop_transact_function function, void *context,
                                   uint64_t deadline, uint64_t *version);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * The combiner: whoever holds the commit right takes everything queued and commits it in batches
 * (flat combining, Hendler et al. 2010).
 */
#ifndef COP_COMMIT_COMBINER_H
#define COP_COMMIT_COMBINER_H

#include "commit/txn.h"

/* The commit right. try: lock-free. wait: blocking, COP_E_TIMEOUT. leave: hands over to a sleeping
 * waiter if there is one, and does what was left for the holder to see. */
bool cop__right_try(cop_store *store);
cop_status cop__right_wait(cop_store *store, uint64_t deadline);
void cop__right_leave(cop_store *store);

/* Commits what is queued, in at most `rounds` batches. Needs the right. */
void cop__combine(cop_store *store, unsigned rounds);
/* Queues a transaction and waits until it is decided; commits if nobody else does. COP_E_TIMEOUT
 * leaves it queued. */
cop_status cop__wait_decided(cop_txn *txn, uint64_t deadline);

/* A draft that publishes the same version again, and what is done with it: published, when something has
 * changed and there is memory (true), else abandoned. Need the right. */
void cop__housekeep_begin(cop_store *store);
bool cop__housekeep_end(cop_store *store, bool changed);

/* What is due without a commit: a step of sweeping stale names, a scan, and freeing up to quota.
 * Returns what is left to do, about. Needs the right. */
size_t cop__settle(cop_store *store, size_t quota);
/* Settles in steps until nothing is left or a step gets nowhere. Needs the right. */
void cop__settle_all(cop_store *store, unsigned steps, size_t quota);
/* Makes the descriptor of cop_store_fd readable. Wait-free. */
void cop__fd_signal(cop_store *store);
/* Something happened that cop_wait_version waits for. Needs the right. */
void cop__version_event(cop_store *store);
/* Frees what a dropped snapshot held: now if the right is free, else by its holder. */
void cop__reclaim_soon(cop_store *store);
/* The same for what functions disposed of, once they are done. */
void cop__disposed_soon(cop_store *store);

#endif

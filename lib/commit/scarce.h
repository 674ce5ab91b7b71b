/* SPDX-License-Identifier: MIT */
/*
 * Committing when memory is scarce. All of it needs the commit right.
 *
 * A transaction that does not fit is tried again after other things gave way, and once more with the
 * reserve, for the case that it frees memory. If it may wait, it is STALLED: set aside, cancellable as if it
 * were still in the queue, and tried again by whoever commits next, at the latest when its timer comes,
 * until its time is over. Transactions that the same thread submitted later are set aside behind it, and so
 * is a flush behind all, so that those of one thread are decided in order.
 */
#ifndef COP_COMMIT_SCARCE_H
#define COP_COMMIT_SCARCE_H

#include "commit/txn.h"

void cop__stalled_init(cop_store *store);
/* Decides a transaction, taken and not stalled, of which a batch ran out of memory; or stalls it. tried: it
 * was the batch. */
void cop__commit_scarce(cop_store *store, cop_txn *txn, bool tried);
/* Whether a transaction that comes from the queue has to wait behind a stalled one; it is stalled then. */
bool cop__stalled_behind(cop_store *store, cop_txn *txn);
/* Tries those that are stalled, if memory was freed or a time is over. */
void cop__stalled_retry(cop_store *store);
/* The store is closing: each is tried once more and then refused. */
void cop__stalled_close(cop_store *store);

static inline bool
cop__stalled_any(const cop_store *store)
{
    return cop__unlikely(store->stalled.first != NULL);
}

/* Whether what does not fit may wait. */
static inline bool
cop__scarce_waits(cop_store *store)
{
    return store->options.memory_on_limit == 0 && store->options.memory_wait_ms > 0 &&
           !cop__load_relaxed(&store->closing);
}

#endif

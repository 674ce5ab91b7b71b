/* SPDX-License-Identifier: MIT */
/* A batch of transactions, from the draft to those who are told. All of it needs the commit right. */
#ifndef COP_COMMIT_BATCH_H
#define COP_COMMIT_BATCH_H

#include "commit/txn.h"

static inline void
cop__batch_add(cop__batch *batch, cop_txn *txn)
{
    txn->batch_next = NULL;
    if (batch->last != NULL)
        batch->last->batch_next = txn;
    else
        batch->first = txn;
    batch->last = txn;
}

/* Commits a chain of taken transactions. */
void cop__batch_commit(cop_store *store, cop_txn *chain);
/* One that is not in the queue, at once; the queue must hold nothing of the same thread. wait: when it does not
 * fit and may wait for memory, COP_E_MEMORY is set and nothing counted: the caller queues it. */
void cop__commit_alone(cop_store *store, cop_txn *txn, bool wait);
typedef enum cop__attempt {
    COP_ATTEMPT,        /* something may give way yet, when it does not fit */
    COP_ATTEMPT_LAST,   /* computed results that do not fit become error values */
    COP_ATTEMPT_FREEING /* the same with the reserve, and only if it frees memory */
} cop__attempt;

/* One transaction in a version of its own. False: it does not fit, and nothing happened. */
bool cop__batch_single(cop_store *store, cop_txn *txn, cop__attempt attempt);
/* From here on it cannot be cancelled; false: it was, and is decided. */
bool cop__take(cop_store *store, cop_txn *txn);
/* The outcome is told; the transaction must not be touched afterwards. Until then the queue's reference
 * keeps it. */
void cop__decide(cop_store *store, cop_txn *txn, cop_status result, uint64_t version, bool unchanged);
/* Makes a root record what readers see. */
void cop__publish(cop_store *store, cop_snapshot *root);

#endif

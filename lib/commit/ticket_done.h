/* SPDX-License-Identifier: MIT */
/*
 * Who is to be told how a ticket ended (cop_ticket_on_done).
 *
 * A CALL is told once: by the outcome, or by its deadline, whichever takes `told` first; a deadline
 * that finds the transaction decided tells the outcome. It has a
 * reference for each; both end in any case, the deadline's when its alarm fires or is taken back.
 * As long as there is one it keeps its transaction, and so the store.
 *
 * ORDERING. The decider stores DONE and then looks for a call; who sets one stores it and then
 * looks at the state. So at least one sees the other; `posted` makes it one. Whoever posts pushes
 * the call to a queue and then sets an alarm of the store, which is due at once: it is run by the
 * pool, by who polls, or by who closes the store. Takers hold `lock` for one pop, not while they
 * call.
 */
#ifndef COP_COMMIT_TICKET_DONE_H
#define COP_COMMIT_TICKET_DONE_H

#include <coppice/store.h>

#include "base/queue.h"
#include "base/timers.h"

typedef struct cop__ticket_calls {
    cop__queue queue; /* of calls whose outcome is to be told */
    pthread_mutex_t lock;
    cop__alarm alarm;
    bool posted; /* the holder of the commit right's: signal when it is given back */
} cop__ticket_calls;

struct cop_txn;

void cop__ticket_calls_init(cop_store *store);
void cop__ticket_calls_end(cop_store *store);
/* A transaction with a call was decided. Needs the right; wait-free. */
void cop__ticket_decided(cop_store *store, struct cop_txn *txn);
/* Somebody is to run what was posted. Takes short locks. */
void cop__ticket_calls_signal(cop_store *store);
/* Tells what was posted: runs user code. The store must be in use. */
void cop__ticket_calls_run(cop_store *store);

#endif

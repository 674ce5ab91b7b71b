/* SPDX-License-Identifier: MIT */
/*
 * Background atoms: evaluated after publication, in a version that may no longer be the newest; the
 * result enters a later one by a transaction, and says which version it came from.
 *
 * A background atom is a lazy record (graph/lazy.h) whose reader is whoever calls the function below. It
 * takes the newest version; a record that was last brought up to an older one is compared with it, input
 * by input, and runs when one has changed. So versions in between are passed over, and the last one never
 * is: a record is due as long as the newest version is not the one that it was brought up to. One thread
 * at a time has a record; a result is published even if its inputs have changed meanwhile, and the record
 * is due again then.
 *
 * A commit does nothing for background atoms but ask who serves effects: a worker of the pool, else
 * whoever polls the store's descriptor or calls cop_effects_run. Serving a new version
 * costs O(inputs) for each, and a commit for each result that differs from the last.
 */
#ifndef COP_COMMIT_BACKGROUND_H
#define COP_COMMIT_BACKGROUND_H

#include "store/store_internal.h"

/* Brings background atoms up to date until none is due, at most `most` results (0: 64 an atom, so that
 * atoms that feed each other for ever do not keep the thread). *results (may be NULL) counts them.
 * COP_E_CLOSING, COP_E_FORKED, COP_E_IN_EVALUATION, COP_E_MEMORY and COP_E_LIMIT (what was not brought up
 * to date stays due, and the store's descriptor readable). Thread-safe, blocking. */
cop_status cop__background_run(cop_store *store, uint64_t most, uint64_t *results);

/* After a publication: somebody may be asked to serve. Needs the right. */
void cop__background_due(cop_store *store);
/* Who was asked has come. Wait-free. */
void cop__background_come(cop_store *store);
/* Whether there are any. Wait-free. */
bool cop__background_any(const cop_store *store);

#endif

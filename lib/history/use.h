/* SPDX-License-Identifier: MIT */
/* How the parts of the history look at kept versions. */
#ifndef COP_HISTORY_USE_H
#define COP_HISTORY_USE_H

#include "history/history.h"

/* The store is used, its history locked. COP_E_ABSENT: there is none. */
cop_status cop__history_begin(cop_store *store, cop__history **history);
void cop__history_leave(cop_store *store, cop__history *history);
/* What is dropped by the caller's wish is freed soon. Needs the lock. */
void cop__history_drop_soon(cop__history *history);

/* A hold of the library's own on a version that is kept or the newest; a use. COP_E_ABSENT. */
cop_status cop__history_hold(cop_store *store, uint64_t version, const cop_snapshot **snapshot);
/* The same of the first kept one in from .. to, with what is known of it. COP_E_ABSENT. */
cop_status cop__history_hold_next(cop_store *store, uint64_t from, uint64_t to,
                                  cop_history_entry *entry, const cop_snapshot **snapshot);
/* A new version whose source atoms are those of a held one. */
cop_status cop__history_restore(cop_store *store, const cop_snapshot *old, uint64_t deadline,
                                cop_history_restored *told);
/* Keeps the version that an import has just made, with what is in `as`: label_length, pinned, what it was
 * in its file. */
cop_status cop__history_keep_import(cop_store *store, uint64_t version, const char *label, cop__kept *as);
/* NULL is legal. */
void cop__history_let_go(const cop_snapshot *snapshot);

#endif

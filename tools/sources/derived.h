/* SPDX-License-Identifier: MIT */
/*
 * host/derived: what people want to know of a machine, computed from host/ and host/previous by
 * atoms that own branches. docs/coppice.1 lists them.
 *
 * Each function reads one pass over the children of a branch, and emits its own: a sweep runs those
 * whose inputs changed, and of their children only those change whose values do. What goes over all
 * processes is left to reducers, which look at those that changed: groups by state, user and
 * program and the ten greatest, at host/totals.
 */
#ifndef COP_TOOLS_DERIVED_H
#define COP_TOOLS_DERIVED_H

#include <coppice/coppice.h>

/* Defines what is missing below host/derived in a transaction; *defined: how many. `erased`: the same
 * transaction has erased all that was there. */
cop_status derived_define(cop_store *store, cop_txn *txn, bool erased, size_t *defined,
                          cop_error *error);
/* Defines what is missing below host/totals, in commits of its own. */
cop_status derived_totals(cop_store *store, cop_error *error);

#endif

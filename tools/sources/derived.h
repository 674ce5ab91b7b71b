/* SPDX-License-Identifier: MIT */
/*
 * host/derived: what people want to know of a machine, computed from host/ and host/previous by
 * atoms that own branches. docs/coppice.1 lists them.
 *
 * Each function reads one pass over the children of a branch, and emits its own: a sweep runs those
 * whose inputs changed, and of their children only those change whose values do. Reducers would not
 * look at the children that stayed as they are: by user and by program (cop_group_define) and the
 * ten greatest (COP_REDUCE_TOP) are O(processes) a sweep here.
 */
#ifndef COP_TOOLS_DERIVED_H
#define COP_TOOLS_DERIVED_H

#include <coppice/coppice.h>

/* Defines what is missing below host/derived in a transaction; *defined: how many. `erased`: the same
 * transaction has erased all that was there. */
cop_status derived_define(cop_store *store, cop_txn *txn, bool erased, size_t *defined,
                          cop_error *error);

#endif

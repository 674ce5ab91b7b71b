/* SPDX-License-Identifier: MIT */
/* The invariants of a store's graph: what must hold between drafts whatever was done. */
#ifndef COP_TESTS_GRAPH_CHECK_H
#define COP_TESTS_GRAPH_CHECK_H

#include <coppice/store.h>
#include <coppice/txn.h>

/*
 * NULL, or what is wrong (static storage). NULL too where there is nothing to look at: the commit
 * right is somebody's, the store is closed or poisoned, or the graph has more than `most` nodes.
 * Checked are
 *   nodes       each is alive, in one place and done with its draft, or free; all are counted
 *   blocks      what is used and dirty, and who leads to what is dirty; nothing is, if `clean`: a
 *               commit has succeeded since the last one that ran out of memory
 *   edges       dependents are who depends, both ways; nodes stand above what they depend on
 *   arena       each word is in one use, or free
 *   interests   somebody has each; a path leads where it leads in the published version
 *   records     of what is computed or owned, and of nothing else
 *   followers   edges, watches and patterns, counted both ways
 *   lazy ones   records, memos, fronts, and the lists that they are in; what memos take unless `clean`,
 *               since others may be reading
 *   looks       whose they are
 */
const char *graph_check(cop_store *store, size_t most, bool clean);

/* The store of a transaction that has not ended. */
cop_store *graph_check_store(const cop_txn *txn);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * Compaction: what is live in sparse chunks moves to others, so that the sparse ones can be given back.
 *
 * Pages of all spaces, the nodes above them, and long values and child lists in blocks are copied in a
 * draft that publishes the same version; the old ones die by the ordinary rule (dead.h), so that no
 * held version sees any of it. Nothing refers to a page or a block but its slot, its node or its entry
 * in the committer's tables: ids, page numbers and names stay. Names do not move.
 *
 * What a version still sees that was held already when the pass began is not copied: the old one could
 * not be freed, and there would be two.
 *
 * Not thread-safe: for the holder of the commit right, between drafts unless it says otherwise.
 */
#ifndef COP_TREE_COMPACT_H
#define COP_TREE_COMPACT_H

#include "tree/tree.h"

/* Begins a pass: chooses what to evacuate. The free items of the pool should have been parked
 * (cop__pool_trim). False: nothing is worth it, and no pass begins. */
bool cop__compact_begin(cop__tree *tree);
/* One step of the pass, in a draft that has changed nothing else: quota is in pages looked at, one that
 * is copied counts as 16. True when anything was moved: the draft is to be published, without
 * cop__draft_finish. False: it is to be abandoned; tree->failed says whether for want of memory. */
bool cop__compact_step(cop__tree *tree, size_t quota);
/* When the pass has come to its end: begins again, for what commits have put into evacuated chunks meanwhile.
 * False: none is left. */
bool cop__compact_again(cop__tree *tree);
/* Ends the pass; what could not be evacuated is in use as before. Legal without a pass. */
void cop__compact_end(cop__tree *tree);

#endif

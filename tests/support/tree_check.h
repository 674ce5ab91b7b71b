/* SPDX-License-Identifier: MIT */
/*
 * The invariants of a tree, as its committer sees it: what must hold between drafts whatever was
 * done. Also a digest of everything that an abandoned draft must leave as it was.
 */
#ifndef COP_TESTS_TREE_CHECK_H
#define COP_TESTS_TREE_CHECK_H

#include "tree/tree.h"

/*
 * Between drafts: NULL, or what is wrong (static storage). Checked are
 *   spaces     the table and the published radix tree lead to the same pages; nothing beyond
 *   values     atoms counted for each page and in all; generations within their bound; births
 *   info       every named atom has one word, no other has; a name says who, where and under what
 *   lists      blocks and pages are well formed, and list every named atom once
 *   directory  every name stands once where a lookup finds it; stale ones are counted
 *   ids        each id is alive, or free in exactly one place, or used up
 *   pages      each page of the lists space is in one use, or spare
 *   memory     when nothing dead is left: the pool's counters are what the tree holds
 */
const char *tree_check(const cop__tree *tree);

/* Pages, tables, counters, rings and memory in use. */
uint64_t tree_digest(const cop__tree *tree);

#endif

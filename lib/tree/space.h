/* SPDX-License-Identifier: MIT */
/*
 * A space: numbered pages, versioned.
 *
 * A page number is stable; the page behind it is not. Pages of one space hang in a radix tree with a
 * fan-out of 64 from page number to page; a publication has its own root of each space. A commit
 * works on the DRAFT: the first time it edits a page it copies it (path copying, up to the top),
 * later it changes it in place. A page is born at the stamp of the draft that made it and dies at
 * that of the draft which replaced it; stamps are kept in the committer's tables, not in the page,
 * so that pages stay 512 bytes.
 *
 * The committer's table has one entry a page, so that reaching a page of the draft is one load; it
 * shadows the radix tree. The undo log has one record for each page and node that the draft touched
 * first, so that a draft can be abandoned whole.
 *
 * READERS of a published root walk the radix tree and see no table. Everything reachable from a
 * published root is immutable; publication is a release store of the root after the pages were
 * written (tree.h).
 */
#ifndef COP_TREE_SPACE_H
#define COP_TREE_SPACE_H

#include "reclaim/dead.h"

#define COP_FANOUT_BITS 6u
#define COP_FANOUT 64u
#define COP_LEVELS 5u /* 64^5 pages: more than 32-bit ids need */

typedef struct cop__page_entry {
    void *page;   /* in the draft, or as published; NULL: no page */
    void *before; /* while born == draft stamp: the published page, or NULL */
    uint64_t birth;
    uint32_t touched;    /* value pages, in the draft: slots written */
    uint16_t live;       /* value and info pages: atoms in it */
    uint16_t generation; /* value pages: none of its atoms ever had a higher one */
} cop__page_entry;

typedef struct cop__node_entry {
    void **node;
    uint64_t birth;
} cop__node_entry;

/* What a reader needs: one of these a space in each root record. */
typedef struct cop__space_root {
    void *top;
    uint32_t count; /* pages numbered: 0 .. count-1 */
    uint32_t shift; /* of the top node's digit: 6 * (levels - 1) */
} cop__space_root;

typedef struct cop__space {
    cop__page_entry *entry;
    uint32_t capacity;
    uint32_t count; /* pages numbered */
    cop__node_entry *level[COP_LEVELS]; /* level[0]: nodes over pages */
    uint32_t level_capacity[COP_LEVELS];
    uint32_t levels;
    uint32_t count_before, levels_before; /* at the draft's begin, if it has grown since */
} cop__space;

/* The same in a space whose numbers below count all have a page (the value space: where one was
 * taken out stands a page of dead slots). number < root->count. */
static inline void *
cop__space_page_dense(const cop__space_root *root, uint32_t number)
{
    void **node = root->top;
    switch (root->shift) {
    case 24:
        node = node[(number >> 24) & (COP_FANOUT - 1)];
        /* fall through */
    case 18:
        node = node[(number >> 18) & (COP_FANOUT - 1)];
        /* fall through */
    case 12:
        node = node[(number >> 12) & (COP_FANOUT - 1)];
        /* fall through */
    case 6:
        node = node[(number >> 6) & (COP_FANOUT - 1)];
        /* fall through */
    default:
        return node[number & (COP_FANOUT - 1)];
    }
}

/* A reader's way to a page: NULL when there is none. Wait-free, `levels` dependent loads. */
static inline void *
cop__space_page(const cop__space_root *root, uint32_t number)
{
    if (cop__unlikely(number >= root->count))
        return NULL;
    void **node = root->top;
    for (uint32_t shift = root->shift; shift > 0 && node != NULL; shift -= COP_FANOUT_BITS)
        node = node[(number >> shift) & (COP_FANOUT - 1)];
    return node != NULL ? node[number & (COP_FANOUT - 1)] : NULL;
}

/* Asks for the memory in which the page's address stands. number < root->count. */
static inline void
cop__space_prefetch_way(const cop__space_root *root, uint32_t number)
{
    void **node = root->top;
    for (uint32_t shift = root->shift; shift > 0 && node != NULL; shift -= COP_FANOUT_BITS)
        node = node[(number >> shift) & (COP_FANOUT - 1)];
    __builtin_prefetch(node + (number & (COP_FANOUT - 1)));
}

#endif

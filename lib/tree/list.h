/* SPDX-License-Identifier: MIT */
/*
 * Child lists: the ordered ids of a branch's children, versioned.
 *
 * Up to COP_BLOCK_CHILDREN ids stand in one block. Longer lists are a B+ tree of numbered pages with
 * counts, so that a child is found by position, inserted and removed in O(log n). Pages refer to
 * each other by number, and numbers are stable: an edit copies the pages it changes and nothing
 * above them but counts. Each child knows the leaf that lists it (names behind their text, array
 * elements in their info word), so that it can be removed without a search; but for the few whose
 * names are joined (name.h), which were there before the list was pages.
 */
#ifndef COP_TREE_LIST_H
#define COP_TREE_LIST_H

#include "tree/tree.h"

#define COP_LIST_LEAF_IDS 118u
#define COP_LIST_INNER 59u

enum { COP_LIST_IS_LEAF = 1, COP_LIST_IS_INNER = 2, COP_LIST_IS_OVERFLOW = 3 };

typedef struct cop__list_child {
    uint32_t page;
    uint32_t count; /* ids below */
} cop__list_child;

typedef struct cop__list_page {
    uint16_t kind;
    uint16_t count; /* ids or children in this page */
    uint32_t parent; /* page number, 0: this is the root */
    uint32_t owner;  /* root: the branch */
    uint32_t total;  /* root: ids in the list */
    uint64_t changed; /* root: version in which the list last changed */
    cop__run run;    /* root: ids kept for children to come */
    uint32_t previous, next; /* leaf: its neighbours, 0: none */
    union {
        uint32_t id[COP_LIST_LEAF_IDS];
        cop__list_child child[COP_LIST_INNER];
    };
} cop__list_page;

_Static_assert(sizeof(cop__list_page) == COP_PAGE_BYTES, "a list page is a page");

/* Where to read from: a published root, or the draft when root is NULL. */
typedef struct cop__view {
    const cop_snapshot *root;
    const cop__tree *tree;
} cop__view;

static inline void *
cop__view_page(cop__view view, unsigned space, uint32_t number)
{
    return view.root != NULL ? cop__space_page(&view.root->space[space], number)
                             : cop__draft_page(view.tree, space, number);
}

/* Number of children, and the version in which the list last changed (0: never had one). */
uint32_t cop__list_count(cop__view view, const cop__slot *branch);
uint64_t cop__list_changed(cop__view view, const cop__slot *branch);
/* The id at a position below the count. */
uint32_t cop__list_at(cop__view view, const cop__slot *branch, uint32_t position);
/* The leaf page that lists a child, of a list of pages in the draft. O(1), O(pages) for a joined name. */
uint32_t cop__list_leaf(const cop__tree *tree, uint32_t branch, uint32_t id);
/* The position of an id that the leaf page lists. O(pages above it). */
uint32_t cop__list_position(cop__view view, uint32_t leaf, uint32_t id);
/* The position of a leaf page's first id. O(pages above it). */
uint32_t cop__list_leaf_start(cop__view view, uint32_t leaf);
/* The branch whose list has this page. */
uint32_t cop__list_owner(cop__view view, uint32_t page);

/* The parent of an atom, or UINT32_MAX for the root and anonymous atoms. */
uint32_t cop__info_parent(cop__view view, cop__info info);

/* Walks a list. Valid while what it reads does not change. */
typedef struct cop__list_walk {
    const uint32_t *id; /* of the current leaf or block */
    uint32_t place, count;
    uint32_t next_leaf;
} cop__list_walk;
void cop__list_walk_begin(cop__view view, const cop__slot *branch, cop__list_walk *walk);
/* False at the end. */
bool cop__list_walk_next(cop__view view, cop__list_walk *walk, uint32_t *id);

/* ---- draft operations; the branch is alive; false: out of memory ---- */

/* position COP_AT_END appends. Removing a child that was published marks the branch as changed. */
bool cop__list_insert(cop__tree *tree, uint32_t branch, uint32_t position, uint32_t id);
bool cop__list_remove(cop__tree *tree, uint32_t branch, uint32_t id);
/* The branch's list changed: so did the branch, and those above it. */
bool cop__list_touch(cop__tree *tree, uint32_t branch);
/* Takes the whole list away, its children not looked at; unused ids of its run are freed. */
bool cop__list_drop(cop__tree *tree, uint32_t branch);
/* The same for a branch that is about to be erased: its slot is not written. */
bool cop__list_discard(cop__tree *tree, uint32_t branch);
/* Replaces the order: ids is a permutation of the list. */
bool cop__list_reorder(cop__tree *tree, uint32_t branch, const uint32_t *ids, uint32_t n);
/* A child goes behind another one of its siblings; COP_LIST_FIRST: before all. No change when it is
 * there. */
#define COP_LIST_FIRST UINT32_MAX
bool cop__list_place(cop__tree *tree, uint32_t branch, uint32_t id, uint32_t after);
/* The run that new children of the branch take their ids from. */
bool cop__list_take_id(cop__tree *tree, uint32_t branch, uint32_t *id);
/* After an abandoned draft: names listed in this page say so again. */
void cop__list_claim(cop__tree *tree, uint32_t page);

#endif

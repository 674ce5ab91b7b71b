/* SPDX-License-Identifier: MIT */
/*
 * Child lists: changes, in the draft. See list.h.
 *
 * A branch's list is a block until it outgrows COP_BLOCK_CHILDREN, then pages until it is empty.
 * Leaves fill up when children are appended; a leaf split in the middle leaves two halves; a leaf
 * that falls below a quarter joins its neighbour.
 */
#include "tree/atoms.h"

#define LEAF_SPARSE (COP_LIST_LEAF_IDS / 4)
#define LEAF_JOINED (COP_LIST_LEAF_IDS * 3 / 4)

static cop__view
draft_view(const cop__tree *tree)
{
    return (cop__view){NULL, tree};
}

static const cop__list_page *
page_read(const cop__tree *tree, uint32_t number)
{
    return cop__draft_page(tree, COP_SPACE_LISTS, number);
}

static cop__list_page *
page_edit(cop__tree *tree, uint32_t number)
{
    return cop__draft_edit(tree, COP_SPACE_LISTS, number);
}

static const cop__slot *
branch_slot(const cop__tree *tree, uint32_t branch)
{
    return cop__draft_slot(tree, branch);
}

/* ---- who lists a child ---- */

/* The child learns the leaf that lists it; leaf 0 and a branch: a block. */
static bool
leaf_set(cop__tree *tree, uint32_t branch, uint32_t id, uint32_t leaf)
{
    cop__info info = cop__draft_info(tree, id);
    cop__name *name = (cop__name *)(uintptr_t)cop__info_name(info);
    if (name != NULL) {
        cop__name_set_leaf(name, leaf);
        return true;
    }
    return cop__info_edit(tree, id,
                          leaf != 0 ? (cop__info)leaf << 2 | 1 : (cop__info)branch << 2 | 3);
}

/* O(pages): the leaf that lists a child which does not say so. */
static uint32_t
leaf_search(const cop__tree *tree, const cop__slot *branch, uint32_t id)
{
    cop__list_walk walk;
    uint32_t at, leaf = 0;
    cop__list_walk_begin(draft_view(tree), branch, &walk);
    do {
        if (walk.place == walk.count)
            leaf = walk.next_leaf;
    } while (cop__list_walk_next(draft_view(tree), &walk, &at) && at != id);
    return leaf;
}

uint32_t
cop__list_leaf(const cop__tree *tree, uint32_t branch, uint32_t id)
{
    cop__info info = cop__draft_info(tree, id);
    const cop__name *name = cop__info_name(info);
    if (name == NULL)
        return (uint32_t)(info >> 2);
    return cop__name_joined(name) ? leaf_search(tree, branch_slot(tree, branch), id)
                                  : cop__name_leaf(name);
}

void
cop__list_claim(cop__tree *tree, uint32_t number)
{
    const cop__list_page *page = page_read(tree, number);
    if (page == NULL || page->kind != COP_LIST_IS_LEAF)
        return;
    for (unsigned i = 0; i < page->count; i++) {
        cop__name *name =
            (cop__name *)(uintptr_t)cop__info_name(cop__draft_info(tree, page->id[i]));
        if (name != NULL)
            cop__name_set_leaf(name, number);
    }
}

static bool
leaf_claim(cop__tree *tree, uint32_t number)
{
    const cop__list_page *page = page_read(tree, number);
    for (unsigned i = 0; i < page->count; i++)
        if (!leaf_set(tree, 0, page->id[i], number))
            return false;
    return true;
}

/* ---- blocks ---- */

static cop__child_block *
block_new(cop__tree *tree, uint32_t capacity)
{
    cop__child_block *block =
        cop__pool_block(&tree->pool, &tree->pool.values, cop__child_block_bytes(capacity));
    if (block == NULL) {
        tree->failed = COP_E_MEMORY;
        return NULL;
    }
    block->birth = tree->stamp;
    block->count = 0;
    block->capacity = capacity;
    block->changed = tree->version;
    return block;
}

static void
block_free_draft(cop__tree *tree, cop__child_block *block)
{
    if (block != NULL && block->birth == tree->stamp)
        cop__pool_block_free(&tree->pool, &tree->pool.values, block,
                             cop__child_block_bytes(block->capacity));
}

/* A block of the draft with the branch's children and room for `room` more, in the slot. */
static cop__child_block *
block_edit(cop__tree *tree, uint32_t branch, uint32_t room)
{
    const cop__slot *slot = branch_slot(tree, branch);
    cop__child_block *old =
        cop__slot_list(slot) == COP_LIST_BLOCK ? cop__slot_child_block(slot) : NULL;
    uint32_t count = old != NULL ? old->count : 0;
    if (old != NULL && old->birth == tree->stamp && old->capacity >= count + room) {
        old->changed = tree->version;
        return old;
    }
    uint32_t capacity = 2;
    while (capacity < count + room)
        capacity *= 2;
    cop__child_block *block =
        block_new(tree, capacity < COP_BLOCK_CHILDREN ? capacity : COP_BLOCK_CHILDREN);
    if (block == NULL)
        return NULL;
    cop__slot *edit = cop__slot_edit(tree, branch);
    if (edit == NULL) {
        block_free_draft(tree, block);
        return NULL;
    }
    if (count > 0)
        memcpy(block->id, old->id, count * sizeof *block->id);
    block->count = count;
    cop__slot_set_branch_block(edit, block, cop__slot_changed(edit));
    block_free_draft(tree, old);
    return block;
}

static bool
block_insert(cop__tree *tree, uint32_t branch, uint32_t position, uint32_t id)
{
    cop__child_block *block = block_edit(tree, branch, 1);
    if (block == NULL)
        return false;
    if (position > block->count)
        position = block->count;
    memmove(&block->id[position + 1], &block->id[position],
            (block->count - position) * sizeof *block->id);
    block->id[position] = id;
    block->count++;
    return leaf_set(tree, branch, id, 0);
}

static bool
block_remove(cop__tree *tree, uint32_t branch, uint32_t id)
{
    cop__child_block *block = block_edit(tree, branch, 0);
    if (block == NULL)
        return false;
    uint32_t i = 0;
    while (i < block->count && block->id[i] != id)
        i++;
    COP_ALWAYS(i < block->count);
    block->count--;
    memmove(&block->id[i], &block->id[i + 1], (block->count - i) * sizeof *block->id);
    if (block->count > 0)
        return true;
    cop__slot *slot = cop__slot_edit(tree, branch);
    if (slot == NULL)
        return false;
    cop__slot_set_branch_empty(slot, cop__slot_changed(slot));
    block_free_draft(tree, block);
    return true;
}

/* The block becomes the only leaf of a tree of pages. */
static bool
block_to_pages(cop__tree *tree, uint32_t branch)
{
    cop__child_block *block = cop__slot_child_block(branch_slot(tree, branch));
    uint32_t number = cop__draft_new_list_page(tree);
    if (number == 0)
        return false;
    cop__list_page *page = page_edit(tree, number);
    page->kind = COP_LIST_IS_LEAF;
    page->count = (uint16_t)block->count;
    page->owner = branch;
    page->total = block->count;
    memcpy(page->id, block->id, block->count * sizeof *page->id);
    cop__slot *slot = cop__slot_edit(tree, branch);
    if (slot == NULL || !leaf_claim(tree, number))
        return false;
    cop__slot_set_branch_pages(slot, number, cop__slot_changed(slot));
    block_free_draft(tree, block);
    return true;
}

/* ---- pages ---- */

static unsigned
child_place(const cop__list_page *parent, uint32_t number)
{
    unsigned i = 0;
    while (parent->child[i].page != number)
        i++;
    COP_ASSERT(i < parent->count);
    return i;
}

/* Adds delta to the counts of every page above, and to the root's total. */
static bool
counts_add(cop__tree *tree, uint32_t number, int32_t delta)
{
    cop__list_page *page = page_edit(tree, number);
    while (page != NULL && page->parent != 0) {
        cop__list_page *parent = page_edit(tree, page->parent);
        if (parent == NULL)
            return false;
        cop__list_child *child = &parent->child[child_place(parent, number)];
        child->count = (uint32_t)((int32_t)child->count + delta);
        number = page->parent;
        page = parent;
    }
    if (page == NULL)
        return false;
    page->total = (uint32_t)((int32_t)page->total + delta);
    page->changed = tree->version;
    return true;
}

/* A new root above the old one. */
static uint32_t
root_raise(cop__tree *tree, uint32_t old_number)
{
    uint32_t number = cop__draft_new_list_page(tree);
    cop__list_page *old = number != 0 ? page_edit(tree, old_number) : NULL;
    if (old == NULL)
        return 0;
    cop__list_page *root = page_edit(tree, number);
    cop__slot *slot = cop__slot_edit(tree, old->owner);
    if (slot == NULL)
        return 0;
    root->kind = COP_LIST_IS_INNER;
    root->count = 1;
    root->owner = old->owner;
    root->total = old->total;
    root->changed = old->changed;
    root->run = old->run;
    root->child[0] = (cop__list_child){old_number, old->total};
    old->parent = number;
    cop__slot_set_branch_pages(slot, number, cop__slot_changed(slot));
    return number;
}

static uint32_t inner_make_room(cop__tree *tree, uint32_t number);

/* Puts a child page behind `left` in their parent; the counts of the two are given. */
static bool
parent_add(cop__tree *tree, uint32_t left, uint32_t left_count, uint32_t right,
           uint32_t right_count)
{
    uint32_t number = page_read(tree, left)->parent;
    if (number == 0)
        number = root_raise(tree, left);
    if (number == 0)
        return false;
    if (page_read(tree, number)->count == COP_LIST_INNER) {
        if (inner_make_room(tree, number) == 0)
            return false;
        number = page_read(tree, left)->parent;
    }
    cop__list_page *parent = page_edit(tree, number);
    cop__list_page *page = page_edit(tree, right);
    if (parent == NULL || page == NULL)
        return false;
    unsigned at = child_place(parent, left);
    memmove(&parent->child[at + 2], &parent->child[at + 1],
            (parent->count - at - 1) * sizeof *parent->child);
    parent->child[at].count = left_count;
    parent->child[at + 1] = (cop__list_child){right, right_count};
    parent->count++;
    page->parent = number;
    return true;
}

static uint32_t
children_total(const cop__list_page *page)
{
    uint32_t total = 0;
    for (unsigned i = 0; i < page->count; i++)
        total += page->child[i].count;
    return total;
}

/* Splits a full inner page; returns the new right half, 0 when out of memory. The recursion through
 * parent_add goes up one level a step: at most five deep for 2^32 ids. */
static uint32_t
inner_make_room(cop__tree *tree, uint32_t number)
{
    uint32_t right_number = cop__draft_new_list_page(tree);
    cop__list_page *left = right_number != 0 ? page_edit(tree, number) : NULL;
    if (left == NULL)
        return 0;
    cop__list_page *right = page_edit(tree, right_number);
    unsigned keep = COP_LIST_INNER / 2;
    right->kind = COP_LIST_IS_INNER;
    right->count = (uint16_t)(left->count - keep);
    memcpy(right->child, &left->child[keep], right->count * sizeof *right->child);
    left->count = (uint16_t)keep;
    for (unsigned i = 0; i < right->count; i++) {
        cop__list_page *child = page_edit(tree, right->child[i].page);
        if (child == NULL)
            return 0;
        child->parent = right_number;
    }
    bool added =
        parent_add(tree, number, children_total(left), right_number, children_total(right));
    return added ? right_number : 0;
}

/* Splits a full leaf: at the end an empty leaf is added, else the upper half moves. */
static bool
leaf_make_room(cop__tree *tree, uint32_t number, bool at_end)
{
    uint32_t right_number = cop__draft_new_list_page(tree);
    cop__list_page *left = right_number != 0 ? page_edit(tree, number) : NULL;
    if (left == NULL)
        return false;
    cop__list_page *right = page_edit(tree, right_number);
    unsigned keep = at_end ? left->count : left->count / 2u;
    right->kind = COP_LIST_IS_LEAF;
    right->count = (uint16_t)(left->count - keep);
    memcpy(right->id, &left->id[keep], right->count * sizeof *right->id);
    left->count = (uint16_t)keep;
    right->previous = number;
    right->next = left->next;
    if (left->next != 0) {
        cop__list_page *after = page_edit(tree, left->next);
        if (after == NULL)
            return false;
        after->previous = right_number;
    }
    left->next = right_number;
    return leaf_claim(tree, right_number) &&
           parent_add(tree, number, keep, right_number, right->count);
}

/* The leaf and the place in it where a position (at most the total) is inserted. */
static uint32_t
leaf_for(const cop__tree *tree, uint32_t number, uint32_t *position)
{
    const cop__list_page *page = page_read(tree, number);
    while (page->kind == COP_LIST_IS_INNER) {
        unsigned i = 0;
        while (i + 1u < page->count && *position > page->child[i].count)
            *position -= page->child[i++].count;
        number = page->child[i].page;
        page = page_read(tree, number);
    }
    return number;
}

static bool
pages_insert(cop__tree *tree, uint32_t branch, uint32_t position, uint32_t id)
{
    const cop__slot *slot = branch_slot(tree, branch);
    uint32_t total = page_read(tree, slot->small.words[0])->total;
    bool at_end = position >= total;
    uint32_t place = at_end ? total : position;
    uint32_t number = leaf_for(tree, slot->small.words[0], &place);
    if (page_read(tree, number)->count == COP_LIST_LEAF_IDS) {
        if (!leaf_make_room(tree, number, at_end))
            return false;
        place = at_end ? total : position;
        number = leaf_for(tree, branch_slot(tree, branch)->small.words[0], &place);
        if (page_read(tree, number)->count == COP_LIST_LEAF_IDS) { /* full: the empty one is next */
            number = page_read(tree, number)->next;
            place = 0;
        }
    }
    cop__list_page *leaf = page_edit(tree, number);
    if (leaf == NULL)
        return false;
    memmove(&leaf->id[place + 1], &leaf->id[place], (leaf->count - place) * sizeof *leaf->id);
    leaf->id[place] = id;
    leaf->count++;
    return leaf_set(tree, branch, id, number) && counts_add(tree, number, 1);
}

/* ---- removal from pages ---- */

static bool
leaf_unlink(cop__tree *tree, uint32_t number)
{
    const cop__list_page *page = page_read(tree, number);
    uint32_t previous = page->previous, next = page->next;
    if (previous != 0) {
        cop__list_page *p = page_edit(tree, previous);
        if (p == NULL)
            return false;
        p->next = next;
    }
    if (next != 0) {
        cop__list_page *n = page_edit(tree, next);
        if (n == NULL)
            return false;
        n->previous = previous;
    }
    return true;
}

/* The root's only child becomes the root. */
static bool
root_lower(cop__tree *tree, uint32_t number)
{
    const cop__list_page *root = page_read(tree, number);
    uint32_t child_number = root->child[0].page;
    cop__list_page *child = page_edit(tree, child_number);
    cop__slot *slot = child != NULL ? cop__slot_edit(tree, root->owner) : NULL;
    if (slot == NULL)
        return false;
    child->parent = 0;
    child->owner = root->owner;
    child->total = root->total;
    child->changed = root->changed;
    child->run = root->run;
    cop__slot_set_branch_pages(slot, child_number, cop__slot_changed(slot));
    return cop__draft_drop_list_page(tree, number);
}

/* Takes an empty page out of its parent, and parents that become empty with it. The page is not the
 * root. */
static bool
page_remove(cop__tree *tree, uint32_t number)
{
    for (;;) {
        uint32_t parent_number = page_read(tree, number)->parent;
        cop__list_page *parent = page_edit(tree, parent_number);
        if (parent == NULL || !cop__draft_drop_list_page(tree, number))
            return false;
        unsigned at = child_place(parent, number);
        parent->count--;
        memmove(&parent->child[at], &parent->child[at + 1],
                (parent->count - at) * sizeof *parent->child);
        if (parent->count == 0) {
            number = parent_number;
            continue;
        }
        if (parent->parent == 0 && parent->count == 1)
            return root_lower(tree, parent_number);
        return true;
    }
}

/* A sparse leaf takes in its next neighbour under the same parent, if both fit well. */
static bool
leaf_join(cop__tree *tree, uint32_t number)
{
    const cop__list_page *leaf = page_read(tree, number);
    if (leaf->next == 0 || leaf->parent == 0)
        return true;
    const cop__list_page *next = page_read(tree, leaf->next);
    uint32_t next_number = leaf->next;
    if (next->parent != leaf->parent || leaf->count + next->count > LEAF_JOINED)
        return true;
    cop__list_page *edit = page_edit(tree, number);
    cop__list_page *parent = page_edit(tree, leaf->parent);
    if (edit == NULL || parent == NULL)
        return false;
    next = page_read(tree, next_number);
    memcpy(&edit->id[edit->count], next->id, next->count * sizeof *next->id);
    edit->count = (uint16_t)(edit->count + next->count);
    parent->child[child_place(parent, number)].count = edit->count;
    return leaf_claim(tree, number) && leaf_unlink(tree, next_number) &&
           page_remove(tree, next_number);
}

static bool
pages_remove(cop__tree *tree, uint32_t branch, uint32_t id)
{
    uint32_t number = cop__list_leaf(tree, branch, id);
    cop__list_page *leaf = page_edit(tree, number);
    if (leaf == NULL)
        return false;
    unsigned i = 0;
    while (i < leaf->count && leaf->id[i] != id)
        i++;
    COP_ALWAYS(i < leaf->count);
    leaf->count--;
    memmove(&leaf->id[i], &leaf->id[i + 1], (leaf->count - i) * sizeof *leaf->id);
    if (!counts_add(tree, number, -1))
        return false;
    if (page_read(tree, branch_slot(tree, branch)->small.words[0])->total == 0)
        return cop__list_drop(tree, branch);
    if (leaf->count == 0)
        return leaf_unlink(tree, number) && page_remove(tree, number);
    return leaf->count >= LEAF_SPARSE || leaf_join(tree, number);
}

/* ---- what atoms.c calls ---- */

bool
cop__list_touch(cop__tree *tree, uint32_t branch)
{
    tree->now.structure = true;
    cop__slot *slot = cop__slot_edit(tree, branch); /* a change below may have marked it only */
    if (slot == NULL)
        return false;
    if (cop__slot_changed(slot) == tree->version)
        return true;
    cop__slot_set_changed(slot, tree->version);
    return cop__mark_above(tree, branch);
}

bool
cop__list_insert(cop__tree *tree, uint32_t branch, uint32_t position, uint32_t id)
{
    const cop__slot *slot = branch_slot(tree, branch);
    if (cop__slot_list(slot) == COP_LIST_BLOCK &&
        cop__slot_child_block(slot)->count == COP_BLOCK_CHILDREN && !block_to_pages(tree, branch))
        return false;
    bool done = cop__slot_list(branch_slot(tree, branch)) == COP_LIST_PAGES
                    ? pages_insert(tree, branch, position, id)
                    : block_insert(tree, branch, position, id);
    return done; /* finishing the draft marks the branches above what was created */
}

bool
cop__list_remove(cop__tree *tree, uint32_t branch, uint32_t id)
{
    bool done = cop__slot_list(branch_slot(tree, branch)) == COP_LIST_PAGES
                    ? pages_remove(tree, branch, id)
                    : block_remove(tree, branch, id);
    return done && (!cop__atom_published(tree, id) || cop__list_touch(tree, branch));
}

/* Drops a tree of pages leaf by leaf, each time with the parents that it leaves empty. */
static bool
pages_drop(cop__tree *tree, uint32_t root)
{
    if (!cop__id_free_run(tree, page_read(tree, root)->run))
        return false;
    uint32_t stack[16];
    unsigned depth = 0;
    uint32_t place[16] = {0};
    stack[0] = root;
    for (;;) {
        const cop__list_page *page = page_read(tree, stack[depth]);
        if (page->kind == COP_LIST_IS_INNER && place[depth] < page->count) {
            COP_ALWAYS(depth + 1 < sizeof stack / sizeof *stack);
            stack[depth + 1] = page->child[place[depth]++].page;
            place[++depth] = 0;
            continue;
        }
        if (!cop__draft_drop_list_page(tree, stack[depth]))
            return false;
        if (depth-- == 0)
            return true;
    }
}

bool
cop__list_discard(cop__tree *tree, uint32_t branch)
{
    const cop__slot *slot = branch_slot(tree, branch);
    return cop__slot_list(slot) != COP_LIST_PAGES || pages_drop(tree, slot->small.words[0]);
}

bool
cop__list_drop(cop__tree *tree, uint32_t branch)
{
    const cop__slot *slot = branch_slot(tree, branch);
    cop__child_block *block =
        cop__slot_list(slot) == COP_LIST_BLOCK ? cop__slot_child_block(slot) : NULL;
    if (!cop__list_discard(tree, branch))
        return false;
    cop__slot *edit = cop__slot_edit(tree, branch);
    if (edit == NULL)
        return false;
    cop__slot_set_branch_empty(edit, cop__slot_changed(edit));
    block_free_draft(tree, block);
    return true;
}

bool
cop__list_reorder(cop__tree *tree, uint32_t branch, const uint32_t *ids, uint32_t n)
{
    cop__list_walk walk;
    const cop__slot *slot = branch_slot(tree, branch);
    cop__list_walk_begin(draft_view(tree), slot, &walk);
    uint32_t id, i = 0;
    while (i < n && cop__list_walk_next(draft_view(tree), &walk, &id) && id == ids[i])
        i++;
    if (i == n)
        return true;
    if (cop__slot_list(slot) == COP_LIST_BLOCK) {
        cop__child_block *block = block_edit(tree, branch, 0);
        if (block == NULL)
            return false;
        memcpy(block->id, ids, n * sizeof *ids);
        return cop__list_touch(tree, branch);
    }
    uint32_t number = slot->small.words[0];
    cop__list_page *root = page_edit(tree, number);
    if (root == NULL)
        return false;
    root->changed = tree->version;
    while (page_read(tree, number)->kind == COP_LIST_IS_INNER)
        number = page_read(tree, number)->child[0].page;
    for (i = 0; number != 0; number = page_read(tree, number)->next) {
        cop__list_page *leaf = page_edit(tree, number);
        if (leaf == NULL)
            return false;
        memcpy(leaf->id, &ids[i], leaf->count * sizeof *ids);
        i += leaf->count;
        if (!leaf_claim(tree, number))
            return false;
    }
    return cop__list_touch(tree, branch);
}

bool
cop__list_take_id(cop__tree *tree, uint32_t branch, uint32_t *id)
{
    const cop__slot *slot = branch_slot(tree, branch);
    if (cop__slot_list(slot) != COP_LIST_PAGES)
        return cop__id_take(tree, &tree->now.run, id);
    cop__list_page *root = page_edit(tree, slot->small.words[0]);
    return root != NULL && cop__id_take(tree, &root->run, id);
}

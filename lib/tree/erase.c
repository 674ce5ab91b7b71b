/* SPDX-License-Identifier: MIT */
/*
 * Erasing atoms and whole branches.
 *
 * A branch is erased by walking its ids without recursion and collecting them page by page. A value
 * page all of whose atoms go is unlinked whole, its long values dying with it; its info page goes
 * the same way once it is empty, and the names in it are left stale in the directory, to be swept
 * out by later commits. Nothing of such pages is copied.
 */
#include "tree/atoms.h"

typedef struct ids { /* a stack of branches still to be looked into */
    uint32_t *id;
    size_t count, capacity;
} ids;

/* ---- names ---- */

/* Takes one name out of the directory and lets it die. One that this draft made stays until the draft
 * ends: names below it that are still to be taken out lead up to it, and so may what the graph would
 * take back. */
static bool
name_erase(cop__tree *tree, cop__name *name)
{
    if (!cop__directory_remove(tree, name))
        return false;
    if (cop__name_birth(name) != tree->stamp)
        return cop__name_dies(tree, name);
    name->header = (uint64_t)(uintptr_t)tree->names_unborn;
    tree->names_unborn = name;
    return true;
}

static bool
names_of_page_erase(cop__tree *tree, uint32_t number, uint64_t mask)
{
    for (; mask != 0; mask &= mask - 1) {
        uint32_t id = number * COP_INFOS + (uint32_t)__builtin_ctzll(mask);
        cop__name *name = (cop__name *)(uintptr_t)cop__info_name(cop__draft_info(tree, id));
        if (name != NULL && !name_erase(tree, name))
            return false;
        if (!cop__info_edit(tree, id, 0))
            return false;
    }
    return true;
}

static unsigned
names_in(const cop__info *page)
{
    unsigned names = 0;
    for (unsigned i = 0; i < COP_INFOS; i++)
        names += cop__info_name(page[i]) != NULL;
    return names;
}

/* A published info page goes whole, its names becoming stale: if so many go that sweeping them out
 * of the directory bucket by bucket costs less than taking them out one by one. */
static bool
leave_stale(cop__tree *tree, uint32_t number, unsigned names)
{
    if (!cop__draft_drop(tree, COP_SPACE_INFO, number, COP_FATE_DIES))
        return false;
    tree->space[COP_SPACE_INFO].entry[number].live = 0;
    tree->now.stale += names;
    return true;
}

/* Erases the info words of ids in one info page. */
static bool
infos_erase(cop__tree *tree, uint32_t number, uint64_t mask, uint64_t *one_by_one)
{
    const cop__info *page = cop__draft_page(tree, COP_SPACE_INFO, number);
    if (page == NULL)
        return true;
    cop__page_entry *entry = &tree->space[COP_SPACE_INFO].entry[number];
    for (uint64_t left = mask; left != 0; left &= left - 1)
        if (page[__builtin_ctzll(left)] == 0)
            mask &= ~(left & -left);
    bool whole = (unsigned)__builtin_popcountll(mask) == entry->live;
    unsigned names = whole ? names_in(page) : 0;
    if (whole && entry->birth != tree->stamp && *one_by_one < names)
        return leave_stale(tree, number, names);
    *one_by_one -= names < *one_by_one ? names : *one_by_one;
    if (!names_of_page_erase(tree, number, mask))
        return false;
    return !whole || entry->page == NULL || cop__draft_drop(tree, COP_SPACE_INFO, number, COP_FATE_DIES);
}

/* ---- slots ---- */

static void
slot_kill(cop__tree *tree, cop__slot *slot)
{
    size_t bytes;
    uint64_t *block = cop__slot_block(slot, &bytes);
    if (block != NULL && *block == tree->stamp)
        cop__pool_block_free(&tree->pool, &tree->pool.values, block, bytes);
    uint16_t next = (uint16_t)(slot->reserved + 1); /* 0: used up, never created again */
    memset(slot, 0, sizeof *slot);
    slot->reserved = next;
}

/* Erases the atoms of a mask in one value page. */
static bool
slots_erase(cop__tree *tree, uint32_t number, uint32_t mask)
{
    cop__page_entry *entry = &tree->space[COP_SPACE_VALUES].entry[number];
    unsigned n = (unsigned)__builtin_popcount(mask);
    tree->now.atoms -= n;
    if (!cop__id_free(tree, number, mask))
        return false;
    if (n == entry->live && entry->birth != tree->stamp) {
        if (!cop__draft_drop(tree, COP_SPACE_VALUES, number, COP_FATE_DIES_WHOLE))
            return false; /* perhaps before there was a record to restore it by */
        entry->live = 0;
        return true;
    }
    cop__slot *page = cop__draft_edit(tree, COP_SPACE_VALUES, number);
    if (page == NULL)
        return false;
    entry = &tree->space[COP_SPACE_VALUES].entry[number];
    for (uint32_t left = mask; left != 0; left &= left - 1)
        slot_kill(tree, &page[__builtin_ctz(left)]);
    entry->touched |= mask;
    entry->live = (uint16_t)(entry->live - n);
    return entry->live > 0 || cop__draft_drop(tree, COP_SPACE_VALUES, number, COP_FATE_DIES);
}

/* ---- branches ---- */

/* Ids collected until they leave the page that the last ones were in. */
typedef struct sweep {
    cop__tree *tree;
    ids *branches;
    uint32_t info_page;
    uint64_t mask;
    uint64_t one_by_one; /* names still to be taken out of the directory at once */
} sweep;

static bool
sweep_flush(sweep *state)
{
    uint64_t mask = state->mask;
    state->mask = 0;
    if (mask == 0)
        return true;
    uint32_t first = state->info_page * (COP_INFOS / COP_SLOTS);
    return infos_erase(state->tree, state->info_page, mask, &state->one_by_one) &&
           ((uint32_t)mask == 0 || slots_erase(state->tree, first, (uint32_t)mask)) &&
           (mask >> 32 == 0 || slots_erase(state->tree, first + 1, (uint32_t)(mask >> 32)));
}

static bool
ids_push(cop__tree *tree, ids *stack, uint32_t id)
{
    if (!cop__tree_grow(tree, &stack->id, &stack->capacity, stack->count + 1, sizeof *stack->id))
        return false;
    stack->id[stack->count++] = id;
    return true;
}

/* One more atom that goes. */
static bool
sweep_add(sweep *state, uint32_t id)
{
    uint32_t page = id >> COP_INFO_BITS;
    if (page != state->info_page && !sweep_flush(state))
        return false;
    state->info_page = page;
    state->mask |= UINT64_C(1) << (id & (COP_INFOS - 1));
    return true;
}

/* The children of a branch go: those that are branches are remembered for later. */
static bool
sweep_children(sweep *state, uint32_t branch)
{
    cop__view view = {NULL, state->tree};
    cop__list_walk walk;
    uint32_t id;
    cop__list_walk_begin(view, cop__draft_slot(state->tree, branch), &walk);
    while (cop__list_walk_next(view, &walk, &id)) {
        const cop__slot *slot = cop__draft_slot(state->tree, id);
        bool deep = cop__slot_is_branch(slot) && cop__slot_list(slot) != COP_LIST_NONE;
        if (!(deep ? ids_push(state->tree, state->branches, id) : sweep_add(state, id)))
            return false;
    }
    return true;
}

/* How many names an erasure takes out of the directory at once before it leaves them stale. */
static uint64_t
names_at_once(const cop__tree *tree)
{
    return tree->now.names / 256 + 256;
}

/* Room for the records of as many pages as a branch's own children fill, at once: growing step by
 * step would hold old and new room together. */
static bool
reserve_for(cop__tree *tree, uint32_t branch)
{
    size_t n = cop__list_count((cop__view){NULL, tree}, cop__draft_slot(tree, branch));
    if (n < COP_SLOTS * COP_INFOS)
        return true;
    size_t pages = n / COP_SLOTS + n / COP_INFOS + n / COP_LIST_LEAF_IDS;
    pages += 2 * (size_t)names_at_once(tree); /* buckets and names */
    pages += pages / COP_FANOUT * 4;
    if (!cop__dead_reserve(&tree->dead, pages)) {
        tree->failed = COP_E_MEMORY;
        return false;
    }
    return cop__tree_grow(tree, &tree->undo, &tree->undo_capacity, tree->undo_count + pages,
                          sizeof *tree->undo);
}

/* Erases everything below `top`. Its list goes with it (discarded) when `itself` is set, else it is
 * left an empty branch. */
static bool
erase_tree(cop__tree *tree, uint32_t top, bool itself)
{
    ids stack = {0};
    sweep state = {.tree = tree, .branches = &stack, .one_by_one = names_at_once(tree)};
    bool done = reserve_for(tree, top) && sweep_children(&state, top) &&
                (itself ? cop__list_discard(tree, top) && sweep_add(&state, top)
                        : cop__list_drop(tree, top));
    while (done && stack.count > 0) {
        uint32_t id = stack.id[--stack.count];
        done = sweep_children(&state, id) && cop__list_discard(tree, id) && sweep_add(&state, id);
    }
    done = done && sweep_flush(&state);
    cop__memory_table_free(tree->memory, COP_MEMORY_TABLES, stack.id,
                           stack.capacity * sizeof *stack.id);
    return done;
}

static bool
has_published_child(const cop__tree *tree, uint32_t branch)
{
    cop__view view = {NULL, tree};
    cop__list_walk walk;
    uint32_t id;
    cop__list_walk_begin(view, cop__draft_slot(tree, branch), &walk);
    while (cop__list_walk_next(view, &walk, &id))
        if (cop__atom_published(tree, id))
            return true;
    return false;
}

bool
cop__atom_clear(cop__tree *tree, uint32_t id)
{
    const cop__slot *slot = cop__draft_slot(tree, id);
    if (!cop__slot_is_branch(slot) || cop__slot_list(slot) == COP_LIST_NONE)
        return true;
    bool touch = has_published_child(tree, id);
    return erase_tree(tree, id, false) && (!touch || cop__list_touch(tree, id));
}

bool
cop__atom_erase(cop__tree *tree, uint32_t id)
{
    cop__view view = {NULL, tree};
    uint32_t parent = cop__info_parent(view, cop__draft_info(tree, id));
    if (cop__atom_published(tree, id))
        tree->now.structure = true;
    if (parent != UINT32_MAX && !cop__list_remove(tree, parent, id))
        return false;
    return erase_tree(tree, id, true);
}

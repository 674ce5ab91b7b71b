/* SPDX-License-Identifier: MIT */
/* Compaction: the idea is in compact.h. */
#include "tree/compact.h"

#define COST_SLOTS 4u /* looking at the slots of a page */
#define COST_COPY 15u
#define COST_BLOCK 8u
#define COST_BYTES 64u /* of a block: copying them costs one more */

static uint32_t
values_evacuated(const cop__pool *pool)
{
    return pool->values.carver.evacuated + pool->values.middle.evacuated;
}

/* ---- long values and child lists ---- */

/* A bit for each slot whose block is to move. */
static uint32_t
blocks_to_move(cop__tree *tree, const cop__slot *page, uint64_t held)
{
    uint32_t mask = 0;
    for (unsigned i = 0; i < COP_SLOTS; i++) {
        size_t bytes;
        const uint64_t *block = cop__slot_block(&page[i], &bytes);
        if (block != NULL && cop__pool_evacuated(&tree->pool.values, block, bytes) && *block > held)
            mask |= UINT32_C(1) << i;
    }
    return mask;
}

static void
slot_set_block(cop__slot *slot, uint64_t *block)
{
    if (cop__slot_is_long(slot))
        cop__slot_set_word(slot, (uint64_t)(uintptr_t)(block + 1));
    else
        cop__slot_set_branch_block(slot, (cop__child_block *)block, cop__slot_changed(slot));
}

/* Returns what it cost, 0 when refused. */
static size_t
block_move(cop__tree *tree, cop__slot *slot)
{
    size_t bytes = 0;
    uint64_t *old = cop__slot_block(slot, &bytes);
    uint64_t *block = cop__dead_reserve(&tree->dead, 1)
                          ? cop__pool_block(&tree->pool, &tree->pool.values, bytes)
                          : NULL;
    if (block == NULL) {
        tree->failed = COP_E_MEMORY;
        return 0;
    }
    memcpy(block, old, bytes);
    *block = tree->stamp;
    slot_set_block(slot, block);
    cop__dead_block(&tree->dead, old, bytes, tree->stamp);
    return COST_BLOCK + bytes / COST_BYTES;
}

static size_t
blocks_move(cop__tree *tree, uint32_t number, uint32_t mask)
{
    cop__page_entry *entry = &tree->space[COP_SPACE_VALUES].entry[number];
    size_t cost = 0;
    for (uint32_t left = mask; left != 0; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctz(left);
        size_t one = block_move(tree, &((cop__slot *)entry->page)[i]);
        if (one == 0)
            break;
        entry->touched |= UINT32_C(1) << i; /* abandoning the draft frees the new one */
        cost += one;
    }
    return cost;
}

/* ---- pages and nodes ---- */

static size_t
page_move(cop__tree *tree, unsigned space, uint32_t number, uint64_t held)
{
    const cop__page_entry *entry = &tree->space[space].entry[number];
    size_t cost = 1;
    uint32_t mask = 0;
    if (entry->page == NULL || entry->birth <= held)
        return cost;
    if (space == COP_SPACE_VALUES && values_evacuated(&tree->pool) > 0) {
        mask = blocks_to_move(tree, entry->page, held);
        cost += COST_SLOTS;
    }
    if (mask == 0 && !cop__carver_evacuated(&tree->pool.pages, entry->page))
        return cost;
    if (cop__draft_edit(tree, space, number) == NULL)
        return cost;
    tree->compaction.moved = true;
    return cost + COST_COPY + blocks_move(tree, number, mask);
}

static size_t
node_move(cop__tree *tree, unsigned space, unsigned level, uint32_t index, uint64_t held)
{
    const cop__node_entry *entry = &tree->space[space].level[level][index];
    if (entry->node == NULL || entry->birth <= held ||
        !cop__carver_evacuated(&tree->pool.pages, entry->node))
        return 1;
    if (cop__draft_relink(tree, space, index << (COP_FANOUT_BITS * (level + 1))))
        tree->compaction.moved = true;
    return 1 + COST_COPY;
}

/* ---- the pass ---- */

/* How many pages, or nodes of a level, there are. */
static uint32_t
count_of(const cop__space *s, unsigned level)
{
    uint32_t count = s->count;
    for (unsigned k = 0; k < level; k++)
        count = (count + COP_FANOUT - 1) >> COP_FANOUT_BITS;
    return count;
}

/* The next page or node; false at the end of the pass. The pages of a space first, then its nodes, of
 * which most have moved with their pages. */
static bool
cursor_settle(cop__tree *tree)
{
    cop__compaction *c = &tree->compaction;
    while (c->space < COP_SPACES) {
        const cop__space *s = &tree->space[c->space];
        if (c->level <= s->levels && c->number < count_of(s, c->level))
            return true;
        c->number = 0;
        if (++c->level > s->levels) {
            c->level = 0;
            c->space++;
        }
    }
    return false;
}

bool
cop__compact_begin(cop__tree *tree)
{
    cop__compact_end(tree);
    uint32_t chosen = cop__carver_evacuate(&tree->pool.pages);
    chosen += cop__carver_evacuate(&tree->pool.values.carver);
    chosen += cop__carver_evacuate(&tree->pool.values.middle);
    tree->compaction = (cop__compaction){.running = chosen > 0, .began = tree->root->stamp};
    return chosen > 0;
}

bool
cop__compact_step(cop__tree *tree, size_t quota)
{
    cop__compaction *c = &tree->compaction;
    uint64_t held = cop__dead_held_until(&tree->dead, c->began);
    c->moved = false;
    while (quota > 0 && tree->failed == COP_OK) {
        if (!cursor_settle(tree)) {
            c->running = false;
            break;
        }
        size_t cost = c->level == 0 ? page_move(tree, c->space, c->number, held)
                                    : node_move(tree, c->space, c->level - 1, c->number, held);
        c->number++;
        quota -= cost < quota ? cost : quota;
    }
    return c->moved && tree->failed == COP_OK;
}

bool
cop__compact_again(cop__tree *tree)
{
    if (tree->pool.pages.evacuated + values_evacuated(&tree->pool) == 0)
        return false;
    tree->compaction = (cop__compaction){.running = true, .began = tree->compaction.began};
    return true;
}

void
cop__compact_end(cop__tree *tree)
{
    cop__carver_stay(&tree->pool.pages);
    cop__carver_stay(&tree->pool.values.carver);
    cop__carver_stay(&tree->pool.values.middle);
    tree->compaction.running = false;
}

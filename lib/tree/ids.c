/* SPDX-License-Identifier: MIT */
/*
 * Ids: 32 bits, given out in runs of one value page, so that the children of a large branch fill
 * pages of their own and erasing it unlinks them whole.
 *
 * Freed ids wait in a ring, oldest first, as (page, mask). An id may be used again in the next
 * version, because the slot that held its last atom keeps the generation: the next atom has a
 * higher one, and snapshots read the page of their own version. An id whose generation has reached
 * COP_GENERATION_MAX never enters the ring.
 */
#include "tree/atoms.h"

#define FULL_MASK UINT32_MAX

static cop__freed *
ring_at(const cop__tree *tree, uint64_t position)
{
    return &tree->freed[position & (tree->freed_capacity - 1)];
}

/* Room in the ring for everything that the draft frees. */
static bool
ring_reserve(cop__tree *tree, size_t more)
{
    size_t used = (size_t)(tree->freed_tail - tree->before.freed_head);
    if (used + more <= tree->freed_capacity)
        return true;
    size_t capacity = tree->freed_capacity ? tree->freed_capacity * 2 : 64;
    while (capacity < used + more)
        capacity *= 2;
    cop__freed *ring =
        cop__memory_alloc(tree->memory, COP_MEMORY_TABLES, capacity * sizeof *ring, 16);
    if (ring == NULL) {
        tree->failed = COP_E_MEMORY;
        return false;
    }
    for (uint64_t i = tree->before.freed_head; i != tree->freed_tail; i++)
        ring[i & (capacity - 1)] = *ring_at(tree, i);
    cop__memory_free(tree->memory, COP_MEMORY_TABLES, tree->freed,
                     tree->freed_capacity * sizeof *ring, 16);
    tree->freed = ring;
    tree->freed_capacity = capacity;
    return true;
}

/* The oldest freed ids: a whole page becomes the run, else one id. False: there are none. */
static bool
ring_take(cop__tree *tree, cop__run *run, uint32_t *id)
{
    cop__counts *now = &tree->now;
    if (now->freed_head == tree->freed_tail)
        return false;
    cop__freed oldest = *ring_at(tree, now->freed_head);
    uint32_t mask = now->freed_head_mask ? now->freed_head_mask : oldest.mask;
    uint32_t first = oldest.page << COP_SLOT_BITS;
    *id = first + (uint32_t)__builtin_ctz(mask);
    if (mask == FULL_MASK) {
        *run = (cop__run){first + 1, first + COP_SLOTS};
        mask = 0;
    } else {
        mask &= mask - 1;
    }
    now->freed_head_mask = mask;
    if (mask == 0)
        now->freed_head++;
    return true;
}

/* A page number never used before. */
static bool
fresh_run(cop__tree *tree, cop__run *run, uint32_t *id)
{
    uint32_t page = tree->space[COP_SPACE_VALUES].count;
    COP_ALWAYS(page < UINT32_MAX >> COP_SLOT_BITS);
    if (cop__draft_edit(tree, COP_SPACE_VALUES, page) == NULL)
        return false;
    *id = page << COP_SLOT_BITS;
    *run = (cop__run){*id + 1, *id + COP_SLOTS};
    return true;
}

bool
cop__id_take(cop__tree *tree, cop__run *run, uint32_t *id)
{
    for (;;) {
        if (run->next < run->end)
            *id = run->next++;
        else if (!ring_take(tree, run, id) && !fresh_run(tree, run, id))
            return false;
        const cop__slot *page = cop__draft_edit(tree, COP_SPACE_VALUES, *id >> COP_SLOT_BITS);
        if (page == NULL)
            return false;
        if (cop__likely(page[*id & (COP_SLOTS - 1)].reserved != 0)) /* else: retired */
            return true;
    }
}

static uint32_t
without_retired(const cop__tree *tree, uint32_t page, uint32_t mask)
{
    const cop__page_entry *entry = &tree->space[COP_SPACE_VALUES].entry[page];
    if (entry->generation < COP_GENERATION_MAX)
        return mask;
    const cop__slot *slot = entry->page;
    if (slot == NULL)
        return 0;
    for (uint32_t left = mask; left != 0; left &= left - 1)
        if (slot[__builtin_ctz(left)].reserved == COP_GENERATION_MAX)
            mask &= ~(left & -left);
    return mask;
}

bool
cop__id_free(cop__tree *tree, uint32_t page, uint32_t mask)
{
    mask = without_retired(tree, page, mask);
    if (mask == 0)
        return true;
    if (tree->freeing_count > 0 && tree->freeing[tree->freeing_count - 1].page == page) {
        tree->freeing[tree->freeing_count - 1].mask |= mask;
        return true;
    }
    if (!cop__tree_grow(tree, &tree->freeing, &tree->freeing_capacity, tree->freeing_count + 1,
                        sizeof *tree->freeing) ||
        !ring_reserve(tree, tree->freeing_count + 1))
        return false;
    tree->freeing[tree->freeing_count++] = (cop__freed){page, mask};
    return true;
}

bool
cop__id_free_run(cop__tree *tree, cop__run run)
{
    if (run.next >= run.end)
        return true;
    uint32_t count = run.end - run.next;
    uint32_t mask = (count == COP_SLOTS ? FULL_MASK : (UINT32_C(1) << count) - 1)
                    << (run.next & (COP_SLOTS - 1));
    return cop__id_free(tree, run.next >> COP_SLOT_BITS, mask);
}

void
cop__id_publish(cop__tree *tree)
{
    for (size_t i = 0; i < tree->freeing_count; i++)
        *ring_at(tree, tree->freed_tail++) = tree->freeing[i];
}

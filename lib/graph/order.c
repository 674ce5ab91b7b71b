/* SPDX-License-Identifier: MIT */
/* Blocks and heights. See graph.h. */
#include "graph/graph.h"

#define MOVES_FOR_FREE ((size_t)1 << 20) /* bytes from which a table grows without being copied */

bool
cop__graph_grow(cop__graph *graph, void *vector, size_t *capacity, size_t need, size_t element)
{
    void **p = vector;
    if (cop__likely(need <= *capacity))
        return true;
    size_t more = *capacity + (*capacity * element < MOVES_FOR_FREE ? *capacity / 2 : *capacity / 4);
    if (more < need)
        more = need < 16 ? 16 : need;
    void *grown = cop__memory_table(graph->memory, COP_MEMORY_GRAPH, *p, *capacity * element,
                                      more * element);
    if (grown == NULL) {
        graph->tree->failed = COP_E_MEMORY;
        return false;
    }
    *p = grown;
    *capacity = more;
    return true;
}

bool
cop__list_push(cop__graph *graph, cop__list32 *list, uint32_t item)
{
    if (!cop__graph_grow(graph, &list->item, &list->capacity, list->count + 1, sizeof *list->item))
        return false;
    list->item[list->count++] = item;
    return true;
}

/* ---- levels ---- */

static cop__level *
level_of(cop__graph *graph, uint32_t height)
{
    return height >= COP_HEIGHT_EFFECT ? &graph->effect_level : &graph->levels[height];
}

static bool
level_make(cop__graph *graph, uint32_t height)
{
    if (height >= COP_HEIGHT_EFFECT || height < graph->level_count)
        return true;
    if (height >= graph->level_capacity) {
        size_t more = ((size_t)height + 1 + height / 2 + 63) & ~(size_t)63;
        size_t words = graph->level_map_words;
        if (!cop__graph_grow(graph, &graph->level_map, &graph->level_map_words, more / 64,
                             sizeof *graph->level_map))
            return false;
        if (graph->level_map_words > words)
            memset(graph->level_map + words, 0,
                   (graph->level_map_words - words) * sizeof *graph->level_map);
        cop__level *levels =
            cop__memory_table(graph->memory, COP_MEMORY_GRAPH, graph->levels,
                              graph->level_capacity * sizeof *levels, more * sizeof *levels);
        if (levels == NULL) {
            graph->tree->failed = COP_E_MEMORY;
            return false;
        }
        graph->levels = levels;
        graph->level_capacity = more;
    }
    while (graph->level_count <= height)
        graph->levels[graph->level_count++] = (cop__level){COP_NODE_NONE, COP_NODE_NONE, 0};
    return true;
}

void
cop__enqueue(cop__graph *graph, uint32_t block)
{
    cop__block *b = &graph->blocks[block];
    cop__level *level = level_of(graph, b->height);
    b->next = level->dirty;
    level->dirty = block;
    if (b->height >= COP_HEIGHT_EFFECT)
        return;
    graph->level_map[b->height >> 6] |= UINT64_C(1) << (b->height & 63);
    if (b->height < graph->lowest)
        graph->lowest = b->height;
}

bool
cop__next_level(cop__graph *graph, uint32_t *height)
{
    size_t words = ((size_t)graph->level_count + 63) / 64;
    if (graph->lowest == COP_HEIGHT_NONE)
        return false;
    for (size_t w = graph->lowest >> 6; w < words; w++) {
        uint64_t bits = graph->level_map[w];
        if (bits == 0)
            continue;
        *height = (uint32_t)(w * 64 + (unsigned)__builtin_ctzll(bits));
        graph->lowest = *height;
        return true;
    }
    graph->lowest = COP_HEIGHT_NONE;
    return false;
}

/* ---- blocks ---- */

static uint32_t
block_new(cop__graph *graph, uint32_t height)
{
    if (!cop__graph_grow(graph, &graph->blocks, &graph->block_capacity, graph->block_count + 1,
                         sizeof *graph->blocks))
        return COP_NODE_NONE;
    uint32_t slots = cop__arena_take(&graph->arena, graph->memory, 1);
    if (slots == 0) {
        graph->tree->failed = COP_E_MEMORY;
        return COP_NODE_NONE;
    }
    graph->blocks[graph->block_count] =
        (cop__block){.slots = slots, .height = height, .next = COP_NODE_NONE, .capacity = 2};
    return graph->block_count++;
}

/* Two node numbers a word: 2, 8, then 64 slots. */
static bool
block_widen(cop__graph *graph, cop__block *block)
{
    uint32_t wide = block->capacity == 2 ? 8 : 64;
    uint32_t slots = cop__arena_take(&graph->arena, graph->memory, wide / 2);
    if (slots == 0) {
        graph->tree->failed = COP_E_MEMORY;
        return false;
    }
    memcpy(&graph->arena.words[slots], &graph->arena.words[block->slots],
           block->capacity * sizeof(uint32_t));
    cop__arena_give(&graph->arena, block->slots, block->capacity / 2);
    block->slots = slots;
    block->capacity = wide;
    return true;
}

static uint32_t *
block_slots(const cop__graph *graph, const cop__block *block)
{
    return (uint32_t *)(void *)&graph->arena.words[block->slots];
}

bool
cop__place(cop__graph *graph, cop__node *node, uint32_t height)
{
    COP_ASSERT(!(node->flags & COP_NODE_PLACED));
    if (!level_make(graph, height))
        return false;
    cop__level *level = level_of(graph, height);
    uint32_t number = level->roomy;
    if (number == COP_NODE_NONE || graph->blocks[number].used == UINT64_MAX) {
        number = block_new(graph, height == COP_HEIGHT_EFFECT ? height + graph->effect_blocks : height);
        if (number == COP_NODE_NONE)
            return false;
        graph->effect_blocks += height == COP_HEIGHT_EFFECT;
        level_of(graph, height)->roomy = number;
    }
    cop__block *block = &graph->blocks[number];
    unsigned bit = (unsigned)__builtin_ctzll(~block->used);
    if (bit >= block->capacity && !block_widen(graph, block))
        return false;
    block->used |= UINT64_C(1) << bit;
    block_slots(graph, block)[bit] = cop__node_number(graph, node);
    node->place = number << 6 | bit;
    node->height = block->height;
    node->flags |= COP_NODE_PLACED;
    return true;
}

/* A block without dirty bits leaves its level's list. */
static void
dequeue(cop__graph *graph, uint32_t number)
{
    cop__block *block = &graph->blocks[number];
    cop__level *level = level_of(graph, block->height);
    uint32_t *p = &level->dirty;
    while (*p != number)
        p = &graph->blocks[*p].next;
    *p = block->next;
    if (level->dirty == COP_NODE_NONE && block->height < COP_HEIGHT_EFFECT)
        graph->level_map[block->height >> 6] &= ~(UINT64_C(1) << (block->height & 63));
}

bool
cop__unplace(cop__graph *graph, cop__node *node)
{
    uint32_t number = node->place >> 6;
    cop__block *block = &graph->blocks[number];
    uint64_t bit = UINT64_C(1) << (node->place & 63);
    bool dirty = (block->dirty & bit) != 0;
    COP_ASSERT(node->flags & COP_NODE_PLACED);
    block->used &= ~bit;
    block->dirty &= ~bit;
    if (dirty && block->dirty == 0)
        dequeue(graph, number);
    level_of(graph, block->height)->roomy = number;
    node->flags &= ~(uint32_t)COP_NODE_PLACED;
    return dirty;
}

bool
cop__move(cop__graph *graph, cop__node *node, uint32_t height)
{
    cop__unlink_all(graph, node);
    uint32_t before = node->height;
    bool dirty = cop__unplace(graph, node);
    bool placed = cop__place(graph, node, height) || (cop__place(graph, node, before), false);
    COP_ALWAYS(node->flags & COP_NODE_PLACED); /* its own slot was just given up */
    if (dirty)
        cop__mark_node(graph, node);
    return cop__link_all(graph, node) && placed;
}

void
cop__clean_node(cop__graph *graph, const cop__node *node)
{
    cop__block *block = &graph->blocks[node->place >> 6];
    uint64_t bit = UINT64_C(1) << (node->place & 63);
    if (!(block->dirty & bit))
        return;
    block->dirty &= ~bit;
    if (block->dirty == 0)
        dequeue(graph, node->place >> 6);
}

/* ---- heights ---- */

uint32_t
cop__height_above(const cop__graph *graph, const uint64_t *list, size_t count)
{
    uint32_t height = 1;
    for (size_t i = 0; i < count; i++) {
        const cop__node *below = cop__dependency_node(graph, list[i]);
        if (below != NULL && !(below->flags & COP_NODE_CYCLE) && below->height >= height)
            height = below->height + 1;
    }
    return height;
}

/* The same for what a follower follows. */
static uint32_t
height_above_followed(const cop__graph *graph, const cop__node *node)
{
    uint32_t height = 1;
    for (uint32_t i = 0, n = cop__follow_below_count(node); i < n; i++) {
        const cop__node *below = cop__follow_below(graph, node, i);
        if (!(below->flags & COP_NODE_CYCLE) && below->height >= height)
            height = below->height + 1;
    }
    return height;
}

uint32_t
cop__height_over(const cop__graph *graph, const cop__node *node)
{
    if (node->flags & COP_NODE_FOLLOWER)
        return height_above_followed(graph, node);
    return cop__height_above(graph, cop__dependencies(graph, node), cop__dependency_count(node));
}

/* ---- raising ---- */

typedef struct walk {
    cop__graph *graph;
    const cop__node *target;
    uint32_t height; /* of the node whose dependents are being looked at */
    bool found;
} walk;

/* Members of circles and effects bind no heights. */
static bool
binds(const cop__node *node)
{
    return (node->flags & (COP_NODE_EFFECT | COP_NODE_CYCLE)) == 0;
}

/* A dependent of the node at hand that is not high enough. */
static bool
raise_push(void *context, uint32_t number)
{
    walk *w = context;
    const cop__node *node = &w->graph->nodes[number];
    if (!binds(node) || node->height > w->height || (node->flags & COP_NODE_ACTIVE) ||
        !(node->flags & COP_NODE_PLACED))
        return true; /* who is on the stack of settle.c, or has no place yet, is seen to there */
    return cop__list_push(w->graph, &w->graph->stack, number) && cop__list_push(w->graph, &w->graph->stack, w->height + 1);
}

static bool
push_dependents(walk *w, const cop__node *node, bool (*push)(void *context, uint32_t number))
{
    const cop__record *record = cop__record_of(w->graph, node->id);
    w->height = node->height;
    if ((node->flags & COP_NODE_FOLLOWED) && !cop__follow_each(w->graph, node, push, w))
        return false;
    return record == NULL || cop__dependents_each(w->graph, &record->dependents, push, w);
}

/* Until all that was pushed stands as high as it must. */
static bool
raise_pushed(walk *w, size_t bottom, bool fine)
{
    cop__graph *graph = w->graph;
    while (fine && graph->stack.count > bottom) {
        uint32_t height = graph->stack.item[--graph->stack.count];
        cop__node *next = &graph->nodes[graph->stack.item[--graph->stack.count]];
        if (next->height < height) /* else another way led here before */
            fine = cop__move(graph, next, height) && push_dependents(w, next, raise_push);
    }
    graph->stack.count = bottom;
    return fine;
}

bool
cop__raise_dependents(cop__graph *graph, const cop__node *node)
{
    walk w = {.graph = graph};
    size_t bottom = graph->stack.count;
    return raise_pushed(&w, bottom, push_dependents(&w, node, raise_push));
}

bool
cop__raise(cop__graph *graph, cop__node *node, uint32_t above)
{
    if (node->height > above)
        return true;
    graph->count.raised++;
    return cop__move(graph, node, above + 1) && cop__raise_dependents(graph, node);
}

/* A dependent that may lead to the target: heights rise along edges, if they are in order. */
static bool
reach_push(void *context, uint32_t number)
{
    walk *w = context;
    cop__node *node = &w->graph->nodes[number];
    if (node == w->target) {
        w->found = true;
        return false;
    }
    if (!binds(node) || (node->flags & COP_NODE_SEEN) ||
        (node->height >= w->target->height && !w->graph->unordered))
        return true;
    if (!cop__list_push(w->graph, &w->graph->stack, number))
        return false;
    node->flags |= COP_NODE_SEEN; /* taken away again from what was pushed */
    return true;
}

cop_status
cop__reaches(cop__graph *graph, cop__node *node, const cop__node *target)
{
    walk w = {.graph = graph, .target = target};
    size_t bottom = graph->stack.count, next = bottom;
    bool fine = node != target && push_dependents(&w, node, reach_push);
    while (fine && next < graph->stack.count)
        fine = push_dependents(&w, &graph->nodes[graph->stack.item[next++]], reach_push);
    for (size_t i = bottom; i < graph->stack.count; i++)
        graph->nodes[graph->stack.item[i]].flags &= ~(uint32_t)COP_NODE_SEEN;
    graph->stack.count = bottom;
    if (w.found || node == target)
        return COP_E_CYCLE;
    return fine ? COP_OK : COP_E_MEMORY;
}

/* ---- after a wave that failed ---- */

static bool
stands_too_low(const cop__graph *graph, const cop__node *node)
{
    return (node->flags & (COP_NODE_LIVE | COP_NODE_PLACED)) == (COP_NODE_LIVE | COP_NODE_PLACED) &&
           binds(node) && node->height < cop__height_over(graph, node);
}

void
cop__reorder(cop__graph *graph)
{
    graph->unordered = false;
    for (uint32_t i = 1; i < graph->node_count; i++) {
        cop__node *node = &graph->nodes[i];
        if (!stands_too_low(graph, node))
            continue;
        node->flags |= COP_NODE_POISONED;
        cop__mark_node(graph, node);
        graph->unordered = true;
    }
}

#if COP_CHECK_WAVES
#define CHECKED_NODES 4096u /* a larger graph would be looked through at every commit */

void
cop__order_check(const cop__graph *graph)
{
    if (graph->unordered || graph->node_count > CHECKED_NODES)
        return;
    for (uint32_t i = 1; i < graph->node_count; i++)
        COP_ALWAYS(!stands_too_low(graph, &graph->nodes[i]));
}
#endif

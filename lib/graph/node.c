/* SPDX-License-Identifier: MIT */
/* Making and removing nodes, and what a draft's end means to them. See graph.h. */
#include "graph/graph.h"

#include "graph/lazy.h"
#include "workers/region.h"

/* ---- sides ---- */

static size_t
side_bytes(const cop__definition *definition)
{
    return sizeof(cop__side) + definition->label_length + 1;
}

static bool
needs_side(const cop__definition *definition)
{
    return definition->equal != NULL || definition->destroy != NULL || definition->label != NULL;
}

static bool
side_make(cop__graph *graph, cop__node *node, const cop__definition *definition)
{
    uint32_t number = graph->side_count > 0 ? graph->side_count : 1;
    if (!needs_side(definition))
        return true;
    if (graph->sides_free.count > 0)
        number = graph->sides_free.item[graph->sides_free.count - 1];
    if (!cop__graph_grow(graph, &graph->sides, &graph->side_capacity, (size_t)number + 1,
                         sizeof *graph->sides) ||
        !cop__graph_grow(graph, &graph->sides_free.item, &graph->sides_free.capacity,
                         (size_t)number + 1, sizeof(uint32_t)))
        return false;
    cop__side *side = cop__memory_zalloc(graph->memory, COP_MEMORY_GRAPH, side_bytes(definition), 16);
    if (side == NULL ||
        !cop__map_put(graph, &graph->side_of, cop__node_number(graph, node), number)) {
        cop__memory_free(graph->memory, COP_MEMORY_GRAPH, side, side_bytes(definition), 16);
        graph->tree->failed = COP_E_MEMORY;
        return false;
    }
    side->equal = definition->equal;
    side->destroy = definition->destroy;
    side->context = definition->context;
    side->bytes = side_bytes(definition);
    if (definition->label != NULL)
        memcpy(side->label, definition->label, definition->label_length);
    if (graph->sides_free.count > 0)
        graph->sides_free.count--;
    else
        graph->side_count = number + 1;
    graph->sides[number] = side;
    node->flags |= COP_NODE_SIDE | (definition->equal != NULL ? COP_NODE_EQUAL : 0u);
    return true;
}

/* Takes the side off; its destructor runs later, if the node was ever published. */
static void
side_end(cop__graph *graph, const cop__node *node, bool published)
{
    if (!(node->flags & COP_NODE_SIDE))
        return;
    uint32_t key = cop__node_number(graph, node), number = cop__map_get(&graph->side_of, key);
    cop__side *side = graph->sides[number];
    cop__map_remove(&graph->side_of, key);
    graph->sides_free.item[graph->sides_free.count++] = number; /* room was made with the side */
    if (published && side->destroy != NULL) {
        side->next = graph->dead;
        graph->dead = side;
    } else {
        cop__memory_free(graph->memory, COP_MEMORY_GRAPH, side, side->bytes, 16);
    }
}

cop__side *
cop__graph_dead(cop__graph *graph)
{
    cop__side *dead = graph->dead;
    graph->dead = NULL;
    return dead;
}

void
cop__graph_bury(cop__memory *memory, cop__side *dead)
{
    while (dead != NULL) {
        cop__side *next = dead->next;
        dead->destroy(dead->context);
        cop__memory_free(memory, COP_MEMORY_GRAPH, dead, dead->bytes, 16);
        dead = next;
    }
}

/* ---- nodes ---- */

static cop__node *
node_new(cop__graph *graph)
{
    uint32_t number = graph->free_node;
    if (number == 0) {
        number = graph->node_count > 0 ? graph->node_count : 1; /* 0 is none */
        if (!cop__graph_grow(graph, &graph->nodes, &graph->node_capacity, (size_t)number + 1,
                             sizeof *graph->nodes))
            return NULL;
        graph->node_count = number + 1;
    } else {
        graph->free_node = graph->nodes[number].id;
    }
    cop__node *node = &graph->nodes[number];
    memset(node, 0, sizeof *node);
    node->dependencies.few[0] = node->dependencies.few[1] = COP_DEPENDENCY_END;
    node->flags = COP_NODE_LIVE;
    graph->live++;
    graph->count.nodes++;
    return node;
}

static void
node_free(cop__graph *graph, cop__node *node, bool published)
{
    if (node->flags & COP_NODE_LOOKED)
        cop__look_node_gone(graph, node);
    side_end(graph, node, published);
    if (node->flags & COP_NODE_FOLLOWER)
        cop__follow_close(graph, node);
    if (node->flags & COP_NODE_FOLLOWED)
        cop__follow_leave(graph, node);
    cop__dependencies_end(graph, node);
    if (node->flags & COP_NODE_PLACED)
        (void)cop__unplace(graph, node);
    uint32_t number = cop__node_number(graph, node);
    if (!(node->flags & COP_NODE_EFFECT) && graph->records[node->id].node == number)
        graph->records[node->id].node = 0;
    memset(node, 0, sizeof *node);
    node->id = graph->free_node;
    graph->free_node = number;
    graph->live--;
    graph->count.nodes--;
}

bool
cop__graph_define(cop__graph *graph, const cop__definition *definition, uint32_t id)
{
    if (cop__record_make(graph, id) == NULL)
        return false;
    cop__node *node = node_new(graph);
    if (node == NULL)
        return false;
    node->function = definition->function;
    node->context = definition->context;
    node->id = id;
    node->flags |= COP_NODE_FRESH | (definition->branch ? COP_NODE_BRANCH : 0u);
    node->flags |= COP_NODE_RELINKED; /* goes with the draft, list and all */
    graph->records[id].node = cop__node_number(graph, node);
    if (side_make(graph, node, definition) &&
        (definition->reduce == NULL || cop__follow_open(graph, node, definition->reduce)) &&
        cop__list_push(graph, &graph->fresh, cop__node_number(graph, node)))
        return true;
    node_free(graph, node, false);
    return false;
}

bool
cop__graph_dying(cop__graph *graph, uint32_t id)
{
    const cop__record *record = cop__record_of(graph, id);
    if (record == NULL || record->node == 0)
        return true;
    if (record->node & COP_OWNED_CHILD) /* goes with its owner */
        return cop__own_record(graph, id, 0);
    cop__node *node = &graph->nodes[record->node];
    if (node->flags & COP_NODE_DYING)
        return true;
    if (!cop__list_push(graph, &graph->dying, record->node))
        return false;
    node->flags |= COP_NODE_DYING;
    return true;
}

uint32_t
cop__graph_effect_new(cop__graph *graph)
{
    cop__node *node = node_new(graph);
    if (node == NULL)
        return 0;
    node->flags |= COP_NODE_EFFECT;
    if (!cop__place(graph, node, COP_HEIGHT_EFFECT)) {
        node_free(graph, node, false);
        return 0;
    }
    return cop__node_number(graph, node);
}

void
cop__graph_effect_end(cop__graph *graph, uint32_t number)
{
    node_free(graph, &graph->nodes[number], false);
}

/* Takes the dirty words of effects; tells them, or drops them with the draft. */
static void
effects_take(cop__graph *graph, bool tell)
{
    uint32_t number = graph->effect_level.dirty;
    graph->effect_level.dirty = COP_NODE_NONE;
    while (number != COP_NODE_NONE) {
        cop__block *block = &graph->blocks[number];
        uint64_t mask = block->dirty;
        block->dirty = 0;
        number = block->next;
        if (tell && graph->effects_due != NULL)
            graph->effects_due(graph->effects_context, block->height - COP_HEIGHT_EFFECT, mask);
    }
}

/* What this draft defined and erased again was never published, so that no slot tells. Its id may have
 * been given out again. */
bool
cop__graph_stillborn(cop__graph *graph)
{
    for (size_t i = 0; i < graph->fresh.count; i++) {
        uint32_t number = graph->fresh.item[i];
        cop__node *node = &graph->nodes[number];
        cop__record *record = &graph->records[node->id];
        const cop__slot *slot = cop__draft_slot(graph->tree, node->id);
        if ((node->flags & COP_NODE_DYING) ||
            (record->node == number && slot != NULL && cop__slot_alive(slot) &&
             (slot->type & COP_SLOT_COMPUTED)))
            continue;
        if (!cop__list_push(graph, &graph->dying, number))
            return false;
        node->flags |= COP_NODE_DYING;
        if (record->node == number)
            record->node = 0;
    }
    return true;
}

/* ---- the draft's end ---- */

static inline bool
is_logged(const cop__node *node)
{
    return (node->flags & COP_NODE_LIVE) && (node->flags & COP_NODE_RELINKED);
}

/* Published: the lists hold. */
static void
log_end(cop__graph *graph)
{
    for (size_t i = 0; i < graph->relinked.count; i++) {
        cop__node *node = &graph->nodes[graph->relinked.item[i]];
        if (is_logged(node))
            node->flags &= ~(uint32_t)COP_NODE_RELINKED;
    }
    graph->relinked.count = 0;
}

/* Abandoned: the lists are of what was never published, so that nobody may mark these nodes for what they
 * read before. They stay in the log until a wave is published: the next one may be abandoned as well, and
 * find nothing to list anew. */
static void
log_mark(cop__graph *graph)
{
    for (size_t i = 0; i < graph->relinked.count; i++) {
        cop__node *node = &graph->nodes[graph->relinked.item[i]];
        if (is_logged(node) && (node->flags & COP_NODE_PLACED))
            cop__mark_node(graph, node);
    }
}

void
cop__graph_abandon(cop__graph *graph)
{
    cop__lazies_abandon(graph);
    cop__follow_abandon(graph);
    for (size_t i = graph->fresh.count; i-- > 0;)
        node_free(graph, &graph->nodes[graph->fresh.item[i]], false);
    for (size_t i = 0; i < graph->dying.count; i++)
        graph->nodes[graph->dying.item[i]].flags &= ~(uint32_t)COP_NODE_DYING;
    graph->fresh.count = graph->dying.count = 0;
    log_mark(graph);
    cop__interest_abandon(graph);
    cop__own_abandon(graph);
    effects_take(graph, false);
    if (graph->looks != NULL)
        cop__looks_abandoned(graph);
    cop__settle_end(graph);
}

void
cop__graph_published(cop__graph *graph)
{
    if (cop__lazies_any(graph))
        cop__lazies_published(graph);
    if (cop__graph_idle(graph))
        return;
    if (graph->follow.touched != NULL)
        cop__follow_published(graph);
    graph->interests_led = false;
    for (size_t i = 0; i < graph->fresh.count; i++)
        graph->nodes[graph->fresh.item[i]].flags &= ~(uint32_t)(COP_NODE_FRESH | COP_NODE_RELINKED);
    if (graph->relinked.count > 0)
        log_end(graph);
    cop__own_published(graph);
    if (graph->effect_level.dirty != COP_NODE_NONE)
        effects_take(graph, true);
    for (size_t i = 0; i < graph->dying.count; i++)
        node_free(graph, &graph->nodes[graph->dying.item[i]], true);
    graph->fresh.count = graph->dying.count = 0;
    if (cop__unlikely(graph->looks != NULL))
        cop__looks_published(graph);
}

/* ---- life ---- */

void
cop__graph_init(cop__graph *graph, cop__tree *tree)
{
    memset(graph, 0, sizeof *graph);
    graph->tree = tree;
    graph->memory = tree->memory;
    graph->lowest = COP_HEIGHT_NONE;
    graph->effect_level = (cop__level){COP_NODE_NONE, COP_NODE_NONE, 0};
    cop__run_init(&graph->run, graph);
}

static void
free_vector(cop__graph *graph, void *vector, size_t capacity, size_t element)
{
    cop__memory_table_free(graph->memory, COP_MEMORY_GRAPH, vector, capacity * element);
}

static void
free_list(cop__graph *graph, cop__list32 *list)
{
    free_vector(graph, list->item, list->capacity, sizeof *list->item);
}

void
cop__graph_end(cop__graph *graph)
{
    cop__looks_end(graph); /* they clear marks of nodes */
    cop__own_free(graph);
    for (uint32_t i = 1; i < graph->node_count; i++)
        if (graph->nodes[i].flags & COP_NODE_LIVE)
            side_end(graph, &graph->nodes[i], !(graph->nodes[i].flags & COP_NODE_FRESH));
    cop__lazies_end(graph);
    cop__follow_end(graph);
    cop__graph_bury(graph->memory, cop__graph_dead(graph));
    for (uint32_t i = 1; i < graph->interest_count; i++)
        if (graph->interests[i].path != NULL)
            cop__memory_free(graph->memory, COP_MEMORY_GRAPH, graph->interests[i].path,
                             (size_t)graph->interests[i].length + 1, 16);
    free_vector(graph, graph->nodes, graph->node_capacity, sizeof *graph->nodes);
    free_vector(graph, graph->records, graph->record_capacity, sizeof *graph->records);
    free_vector(graph, graph->blocks, graph->block_capacity, sizeof *graph->blocks);
    free_vector(graph, graph->levels, graph->level_capacity, sizeof *graph->levels);
    free_vector(graph, graph->level_map, graph->level_map_words, sizeof *graph->level_map);
    free_vector(graph, graph->interests, graph->interest_capacity, sizeof *graph->interests);
    free_vector(graph, graph->sides, graph->side_capacity, sizeof *graph->sides);
    cop__map_end(graph, &graph->interest_of);
    cop__map_end(graph, &graph->side_of);
#if COP_CHECK_WAVES
    free_vector(graph, graph->completed, graph->completed_capacity, sizeof *graph->completed);
#endif
    free_list(graph, &graph->sides_free);
    free_list(graph, &graph->fresh);
    free_list(graph, &graph->dying);
    free_list(graph, &graph->relinked);
    free_list(graph, &graph->settled);
    free_list(graph, &graph->circular);
    free_list(graph, &graph->stack);
    free_list(graph, &graph->frames);
    cop__region_close(graph->region);
    cop__lanes_end(graph);
    cop__arena_end(&graph->arena, graph->memory);
    cop__run_end(&graph->run);
}

/* ---- checking ---- */

#if COP_CHECK_WAVES
void
cop__node_completes_room(cop__graph *graph)
{
    size_t had = graph->completed_capacity;
    if (!cop__graph_grow(graph, &graph->completed, &graph->completed_capacity, graph->node_count,
                         sizeof *graph->completed))
        return; /* the test hook refuses memory: the wave will be abandoned */
    if (graph->completed_capacity > had)
        memset(graph->completed + had, 0, (graph->completed_capacity - had) * sizeof(uint64_t));
}

void
cop__node_completes_beside(const cop__graph *graph, const cop__node *node)
{
    size_t number = cop__node_number(graph, node);
    if (number >= graph->completed_capacity)
        return;
    COP_ALWAYS(graph->completed[number] != graph->count.waves);
    graph->completed[number] = graph->count.waves;
}

void
cop__node_completes_once(cop__graph *graph, const cop__node *node)
{
    size_t number = cop__node_number(graph, node), had = graph->completed_capacity;
    graph->count.runs++;
    if (number >= had) {
        cop_status failed = graph->tree->failed;
        if (!cop__graph_grow(graph, &graph->completed, &graph->completed_capacity,
                             graph->node_count, sizeof *graph->completed)) {
            graph->tree->failed = failed; /* the test hook refuses memory: not checked then */
            return;
        }
        memset(graph->completed + had, 0, (graph->completed_capacity - had) * sizeof(uint64_t));
    }
    cop__node_completes_beside(graph, node);
}
#endif

/* SPDX-License-Identifier: MIT */
/*
 * Dependents and dependency lists.
 *
 * A set of dependents is a table of (block, mask) pairs, ascending by block: marking is one OR for up
 * to 64 nodes that were made together, and taking one of 100,000 dependents out is a search of 11
 * steps.
 *
 * A list of dependencies is what the last run read, in order, with repetitions, and an end mark. Where
 * a run read in a branch that a node owns, the owner stands in the list too: its atom never changes,
 * but the reader must stand above it.
 */
#include "graph/graph.h"

/* ---- dependents ---- */

static uint64_t *
table_of(const cop__graph *graph, const cop__dependents *set)
{
    return &graph->arena.words[set->at];
}

/* The first pair whose block is not below `block`. */
static uint32_t
table_find(const uint64_t *pair, uint32_t pairs, uint32_t block)
{
    uint32_t low = 0, high = pairs;
    if (pairs > 0 && pair[2 * (size_t)(pairs - 1)] < block)
        return pairs;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (pair[2 * (size_t)middle] < block)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool
table_widen(cop__graph *graph, cop__dependents *set, uint32_t capacity)
{
    uint32_t wide = (cop__arena_size(1 + 2 * (capacity + capacity / 2 + 1)) - 1) / 2;
    uint32_t at = cop__arena_take(&graph->arena, graph->memory, 1 + 2 * wide);
    if (at == 0) {
        graph->tree->failed = COP_E_MEMORY;
        return false;
    }
    uint64_t *table = &graph->arena.words[at];
    table[0] = wide;
    if (capacity > 0) {
        memcpy(table + 1, table_of(graph, set) + 1, (size_t)(set->count - 1) * 16);
        cop__arena_give(&graph->arena, set->at, 1 + 2 * capacity);
    }
    set->at = at;
    return true;
}

static bool
table_add(cop__graph *graph, cop__dependents *set, uint32_t place)
{
    uint64_t *table = table_of(graph, set), bit = UINT64_C(1) << (place & 63);
    uint32_t pairs = set->count - 1, block = place >> 6;
    uint32_t i = table_find(table + 1, pairs, block);
    if (i < pairs && table[1 + 2 * (size_t)i] == block) {
        table[2 + 2 * (size_t)i] |= bit;
        return true;
    }
    if (pairs == (uint32_t)table[0]) {
        if (!table_widen(graph, set, pairs))
            return false;
        table = table_of(graph, set);
    }
    memmove(table + 3 + 2 * (size_t)i, table + 1 + 2 * (size_t)i, (size_t)(pairs - i) * 16);
    table[1 + 2 * (size_t)i] = block;
    table[2 + 2 * (size_t)i] = bit;
    set->count++;
    return true;
}

bool
cop__dependents_add(cop__graph *graph, cop__dependents *set, const cop__node *node)
{
    uint32_t number = cop__node_number(graph, node);
    if (set->count == 0) {
        *set = (cop__dependents){1, number};
        return true;
    }
    if (set->count == 1) {
        if (set->at == number)
            return true;
        cop__dependents table = {1, 0};
        if (!table_widen(graph, &table, 0))
            return false;
        if (!table_add(graph, &table, graph->nodes[set->at].place))
            return false;
        *set = table;
    }
    return table_add(graph, set, node->place);
}

static void
table_end(cop__graph *graph, cop__dependents *set)
{
    cop__arena_give(&graph->arena, set->at, 1 + 2 * (uint32_t)table_of(graph, set)[0]);
    *set = (cop__dependents){0, 0};
}

void
cop__dependents_remove(cop__graph *graph, cop__dependents *set, const cop__node *node)
{
    if (set->count <= 1) {
        if (set->count == 1 && set->at == cop__node_number(graph, node))
            *set = (cop__dependents){0, 0};
        return;
    }
    uint64_t *table = table_of(graph, set);
    uint32_t pairs = set->count - 1, i = table_find(table + 1, pairs, node->place >> 6);
    if (i == pairs || table[1 + 2 * (size_t)i] != node->place >> 6)
        return;
    table[2 + 2 * (size_t)i] &= ~(UINT64_C(1) << (node->place & 63));
    if (table[2 + 2 * (size_t)i] != 0)
        return;
    memmove(table + 1 + 2 * (size_t)i, table + 3 + 2 * (size_t)i, (size_t)(pairs - i - 1) * 16);
    set->count--;
    if (set->count == 1)
        table_end(graph, set);
}

void
cop__dependents_mark(cop__graph *graph, const cop__dependents *set)
{
    if (COP_FAULT(dependent_not_marked) && set->count > 0 && (graph->count.runs & 255) == 77)
        return;
    if (set->count == 1) {
        cop__mark_node(graph, &graph->nodes[set->at]);
        return;
    }
    for (uint32_t i = 0; i + 1 < set->count; i++) {
        const uint64_t *pair = table_of(graph, set) + 1 + 2 * (size_t)i;
        cop__mark_mask(graph, (uint32_t)pair[0], pair[1]);
    }
}

bool
cop__dependents_each(const cop__graph *graph, const cop__dependents *set,
                     bool (*function)(void *context, uint32_t node), void *context)
{
    if (set->count == 1)
        return function(context, set->at);
    for (uint32_t i = 0; i + 1 < set->count; i++) {
        const uint64_t *pair = table_of(graph, set) + 1 + 2 * (size_t)i;
        const cop__block *block = &graph->blocks[pair[0]];
        const uint32_t *slots = (const uint32_t *)(const void *)&graph->arena.words[block->slots];
        for (uint64_t left = pair[1]; left != 0; left &= left - 1)
            if (!function(context, slots[__builtin_ctzll(left)]))
                return false;
    }
    return true;
}

static bool
poison(void *context, uint32_t number)
{
    cop__graph *graph = context;
    graph->nodes[number].flags |= COP_NODE_POISONED;
    return true;
}

void
cop__dependents_poison(cop__graph *graph, const cop__dependents *set)
{
    (void)cop__dependents_each(graph, set, poison, graph);
    cop__dependents_mark(graph, set);
}

/* ---- records ---- */

cop__record *
cop__record_make(cop__graph *graph, uint32_t id)
{
    if (id >= graph->record_count) {
        if (!cop__graph_grow(graph, &graph->records, &graph->record_capacity, (size_t)id + 1,
                             sizeof *graph->records))
            return NULL;
        memset(graph->records + graph->record_count, 0,
               (graph->record_capacity - graph->record_count) * sizeof *graph->records);
        graph->record_count = (uint32_t)graph->record_capacity;
    }
    return &graph->records[id];
}

/* ---- lists ---- */

#define SHORT_LIST 8u

uint32_t
cop__dependency_count(const cop__node *node)
{
    if (node->flags & COP_NODE_MANY)
        return node->dependencies.many.count;
    return node->dependencies.few[0] != COP_DEPENDENCY_END;
}

static cop__interest *
interest_of(const cop__graph *graph, uint64_t dependency)
{
    uint32_t number = (uint32_t)dependency;
    if ((dependency & COP_DEPENDS_WHAT) == COP_DEPENDS_LIST)
        number = cop__map_get(&graph->interest_of, dependency);
    return &graph->interests[number];
}

static bool
is_of_interest(uint64_t dependency)
{
    return (dependency & COP_DEPENDS_WHAT) >= COP_DEPENDS_LIST;
}

/* Where the dependents of a dependency are, and its mark; NULL when there never were any. */
static cop__dependents *
target_of(cop__graph *graph, uint64_t dependency, uint32_t **mark)
{
    if (is_of_interest(dependency)) {
        cop__interest *interest = interest_of(graph, dependency);
        *mark = &interest->mark;
        return &interest->dependents;
    }
    cop__record *record = cop__record_of(graph, (uint32_t)dependency);
    if (record == NULL)
        return NULL;
    *mark = &record->mark;
    return &record->dependents;
}

cop__node *
cop__dependency_node(const cop__graph *graph, uint64_t dependency)
{
    if (is_of_interest(dependency))
        return NULL;
    const cop__record *record = cop__record_of(graph, (uint32_t)dependency);
    if (record == NULL || record->node == 0)
        return NULL;
    return &graph->nodes[record->node & ~COP_OWNED_CHILD];
}

static bool
link_one(cop__graph *graph, const cop__node *node, uint64_t dependency)
{
    uint32_t *mark;
    if (!is_of_interest(dependency) && cop__record_make(graph, (uint32_t)dependency) == NULL)
        return false;
    return cop__dependents_add(graph, target_of(graph, dependency, &mark), node);
}

static void
unlink_one(cop__graph *graph, const cop__node *node, uint64_t dependency)
{
    uint32_t *mark;
    cop__dependents *set = target_of(graph, dependency, &mark);
    if (set != NULL && !COP_FAULT(dependency_kept))
        cop__dependents_remove(graph, set, node);
}

/* An interest that nobody has any more goes. Only once a list is final: moving a node takes its edges
 * away for a moment. */
static void
interest_leave(cop__graph *graph, uint64_t dependency)
{
    if (is_of_interest(dependency) && interest_of(graph, dependency)->dependents.count == 0)
        cop__interest_drop(graph, (uint32_t)(interest_of(graph, dependency) - graph->interests));
}

void
cop__unlink_all(cop__graph *graph, const cop__node *node)
{
    const uint64_t *list = cop__dependencies(graph, node);
    for (uint32_t i = 0, n = cop__dependency_count(node); i < n; i++)
        unlink_one(graph, node, list[i]);
}

static void
list_free(cop__graph *graph, cop__node *node)
{
    if (node->flags & COP_NODE_MANY)
        cop__arena_give(&graph->arena, node->dependencies.many.list,
                        node->dependencies.many.capacity);
    node->flags &= ~(uint32_t)COP_NODE_MANY;
    node->dependencies.few[0] = node->dependencies.few[1] = COP_DEPENDENCY_END;
}

void
cop__dependencies_end(cop__graph *graph, cop__node *node)
{
    for (uint32_t i = 0, n = cop__dependency_count(node); i < n; i++) {
        uint64_t dependency = cop__dependencies(graph, node)[i];
        unlink_one(graph, node, dependency);
        if (is_of_interest(dependency)) { /* the same one may stand in the list again */
            bool again = false;
            for (uint32_t k = i + 1; k < n && !again; k++)
                again = cop__dependencies(graph, node)[k] == dependency;
            if (!again)
                interest_leave(graph, dependency);
        }
    }
    list_free(graph, node);
}

/* Out of memory while linking: the node is left without dependencies, and dirty, so that it will find
 * them anew. */
static bool
link_refused(cop__graph *graph, cop__node *node)
{
    cop__dependencies_end(graph, node);
    if (!(node->flags & COP_NODE_EFFECT))
        cop__mark_node(graph, node);
    node->flags |= COP_NODE_POISONED;
    graph->tree->failed = COP_E_MEMORY;
    return false;
}

bool
cop__link_all(cop__graph *graph, const cop__node *node)
{
    for (uint32_t i = 0, n = cop__dependency_count(node); i < n; i++)
        if (!link_one(graph, node, cop__dependencies(graph, node)[i]))
            return link_refused(graph, &graph->nodes[cop__node_number(graph, node)]);
    return true;
}

/* Room for a list of n words in place of the node's own. What was there is gone. */
static bool
list_room(cop__graph *graph, cop__node *node, uint32_t n)
{
    if (n <= 1) {
        list_free(graph, node);
        return true;
    }
    if ((node->flags & COP_NODE_MANY) && node->dependencies.many.capacity > n &&
        node->dependencies.many.capacity / 4 <= n + 1)
        return true;
    uint32_t at = cop__arena_take(&graph->arena, graph->memory, n + 1);
    if (at == 0)
        return false;
    list_free(graph, node);
    node->flags |= COP_NODE_MANY;
    node->dependencies.many.list = at;
    node->dependencies.many.capacity = cop__arena_size(n + 1);
    node->dependencies.many.unused = 0;
    return true;
}

static void
list_set(cop__graph *graph, cop__node *node, const uint64_t *list, uint32_t n)
{
    if (n <= 1) {
        node->dependencies.few[0] = n == 1 ? list[0] : COP_DEPENDENCY_END;
        node->dependencies.few[1] = COP_DEPENDENCY_END;
        return;
    }
    uint64_t *words = &graph->arena.words[node->dependencies.many.list];
    memcpy(words, list, n * sizeof *words);
    words[n] = COP_DEPENDENCY_END;
    node->dependencies.many.count = n;
}

static bool
note_relinked(cop__graph *graph, cop__node *node)
{
    cop__list32 *log = &graph->relinked;
    if (node->flags & (COP_NODE_RELINKED | COP_NODE_EFFECT))
        return true;
    if (!cop__list_push(graph, log, cop__node_number(graph, node)))
        return false;
    node->flags |= COP_NODE_RELINKED;
    return true;
}

static bool
stands_in(const uint64_t *list, size_t count, uint64_t dependency)
{
    for (size_t i = 0; i < count; i++)
        if (list[i] == dependency)
            return true;
    return false;
}

/* One plain value has taken the place of another; false: that is not all. */
static bool
relink_one(cop__graph *graph, cop__node *node, const uint64_t *list, size_t count, uint32_t same)
{
    bool many = (node->flags & COP_NODE_MANY) != 0;
    uint64_t *old = many ? &graph->arena.words[node->dependencies.many.list]
                         : node->dependencies.few;
    uint64_t gone = old[same], come = list[same];
    if (((gone | come) & COP_DEPENDS_WHAT) != COP_DEPENDS_VALUE || (uint32_t)gone == (uint32_t)come)
        return false;
    for (size_t i = 0; i < count; i++)
        if (i != same && (list[i] != old[i] || (uint32_t)list[i] == (uint32_t)gone))
            return false;
    cop__record *record = cop__record_make(graph, (uint32_t)come);
    if (record == NULL || !cop__dependents_add(graph, &record->dependents, node))
        return false;
    old = many ? &graph->arena.words[node->dependencies.many.list] : node->dependencies.few;
    old[same] = come;
    if (!COP_FAULT(dependency_kept))
        cop__dependents_remove(graph, &graph->records[(uint32_t)gone].dependents, node);
    return true;
}

/* Only the last few entries differ, and all are plain values: compared with each other. */
static bool
relink_few(cop__graph *graph, cop__node *node, const uint64_t *list, size_t count, uint32_t same)
{
    uint32_t had = cop__dependency_count(node);
    uint64_t gone[SHORT_LIST];
    size_t n = 0;
    for (uint32_t i = same; i < had; i++) {
        gone[n] = cop__dependencies(graph, node)[i];
        n += !stands_in(list, count, gone[n]) && !stands_in(gone, n, gone[n]);
    }
    for (size_t i = same; i < count; i++) {
        cop__record *record = cop__record_make(graph, (uint32_t)list[i]);
        if (record == NULL || !cop__dependents_add(graph, &record->dependents, node))
            return false;
    }
    if (!list_room(graph, node, (uint32_t)count))
        return false;
    list_set(graph, node, list, (uint32_t)count);
    for (size_t i = 0; i < n && !COP_FAULT(dependency_kept); i++)
        cop__dependents_remove(graph, &graph->records[(uint32_t)gone[i]].dependents, node);
    return true;
}

/* Whether what differs is plain values of which none has the id of another (an atom and the one that
 * had its id before share their dependents). */
static bool
is_few(const uint64_t *old, uint32_t had, const uint64_t *list, size_t count, uint32_t same)
{
    if (had > SHORT_LIST || count > SHORT_LIST)
        return false;
    for (uint32_t i = same; i < had; i++) {
        if ((old[i] & COP_DEPENDS_WHAT) != COP_DEPENDS_VALUE)
            return false;
        for (size_t k = 0; k < count; k++)
            if ((uint32_t)list[k] == (uint32_t)old[i] && list[k] != old[i])
                return false;
    }
    for (size_t i = same; i < count; i++)
        if ((list[i] & COP_DEPENDS_WHAT) != COP_DEPENDS_VALUE)
            return false;
    return true;
}

/* Links what is new, with a mark on each target; then unlinks what has no mark. */
bool
cop__relink(cop__graph *graph, cop__node *node, const uint64_t *list, size_t count)
{
    uint32_t had = cop__dependency_count(node), same = 0, *mark;
    const uint64_t *old = cop__dependencies(graph, node);
    while (same < had && same < count && old[same] == list[same])
        same++;
    if (same == had && same == count)
        return true;
    if (!note_relinked(graph, node))
        return link_refused(graph, node);
    if (had == 0 && count == 1 && !(node->flags & COP_NODE_MANY)) { /* as most first lists are */
        if (!link_one(graph, node, list[0]))
            goto refused;
        node->dependencies.few[0] = list[0];
        return true;
    }
    if (had == count && relink_one(graph, node, list, count, same))
        return true;
    if (is_few(old, had, list, count, same) && relink_few(graph, node, list, count, same))
        return true;
    uint32_t epoch = ++graph->epoch;
    for (size_t i = 0; i < count; i++) {
        if (i >= same && !link_one(graph, node, list[i]))
            goto refused;
        if (target_of(graph, list[i], &mark) != NULL)
            *mark = epoch;
    }
    for (uint32_t i = same; i < had; i++) {
        uint64_t gone = cop__dependencies(graph, node)[i];
        if (target_of(graph, gone, &mark) == NULL || *mark == epoch)
            continue;
        *mark = epoch; /* it may stand there twice */
        unlink_one(graph, node, gone);
        interest_leave(graph, gone);
    }
    if (!list_room(graph, node, (uint32_t)count)) {
        list_free(graph, node);
        goto refused;
    }
    list_set(graph, node, list, (uint32_t)count);
    return true;
refused:
    for (size_t i = 0; i < count; i++) {
        unlink_one(graph, node, list[i]);
        interest_leave(graph, list[i]);
    }
    return link_refused(graph, node);
}

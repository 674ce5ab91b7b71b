/* SPDX-License-Identifier: MIT */
/* The trie of patterns. See pattern.h. */
#include "graph/graph.h"

#include "store/log.h"
#include "tree/path.h"

/* ---- texts ---- */

bool
cop__pattern_is_star(const char *segment, size_t length)
{
    return length == 1 && segment[0] == '*';
}

/* A pattern is checked as the path that it would be with names in place of its asterisks. */
cop_status
cop__pattern_check(const char *pattern, size_t length, cop_error *error)
{
    char path[COP_PATH_MAX];
    if (length == 0)
        return cop__fail(error, COP_E_PATH, "a pattern has at least one segment");
    if (length > sizeof path)
        return cop__fail(error, COP_E_LIMIT, "a pattern has at most %u bytes", COP_PATH_MAX);
    memcpy(path, pattern, length);
    for (size_t i = 0; i < length; i++)
        if (path[i] == '*' && (i == 0 || path[i - 1] == '/') &&
            (i + 1 == length || path[i + 1] == '/'))
            path[i] = 'x';
    return cop_path_check(path, length, error);
}

/* ---- nodes ---- */

static uint32_t
bucket_of(const cop__graph *graph, uint32_t parent, const char *segment, size_t length)
{
    return (uint32_t)cop__path_hash(graph->tree->hash_seed, parent, segment, length) &
           (graph->patterns.buckets - 1);
}

static uint32_t
child_find(const cop__graph *graph, uint32_t parent, const char *segment, size_t length)
{
    const cop__patterns *p = &graph->patterns;
    if (p->buckets == 0)
        return 0;
    for (uint32_t i = p->bucket[bucket_of(graph, parent, segment, length)]; i != 0;
         i = p->node[i].chain)
        if (p->node[i].parent == parent && p->node[i].length == length &&
            memcmp(p->node[i].segment, segment, length) == 0)
            return i;
    return 0;
}

static void
chain_in(cop__graph *graph, uint32_t number)
{
    cop__patterns *p = &graph->patterns;
    cop__pattern_node *node = &p->node[number];
    uint32_t *head = &p->bucket[bucket_of(graph, node->parent, node->segment, node->length)];
    node->chain = *head;
    *head = number;
}

/* As many buckets as nodes, or more. */
static bool
bucket_room(cop__graph *graph)
{
    cop__patterns *p = &graph->patterns;
    if (p->node_count < p->buckets)
        return true;
    uint32_t had = p->buckets, wide = had != 0 ? had * 2 : 16;
    uint32_t *bucket = cop__memory_zalloc(graph->memory, COP_MEMORY_GRAPH, wide * sizeof *bucket, 16);
    if (bucket == NULL) {
        graph->tree->failed = COP_E_MEMORY;
        return false;
    }
    cop__memory_free(graph->memory, COP_MEMORY_GRAPH, p->bucket, had * sizeof *bucket, 16);
    p->bucket = bucket;
    p->buckets = wide;
    for (uint32_t i = COP_PATTERN_ROOT + 1; i < p->node_count; i++)
        if (p->node[i].segment != NULL && !cop__pattern_is_star(p->node[i].segment, p->node[i].length))
            chain_in(graph, i);
    return true;
}

/* An unused node, not yet counted as used; there is room for it everywhere. 0: out of memory. */
static uint32_t
node_room(cop__graph *graph)
{
    cop__patterns *p = &graph->patterns;
    uint32_t count = p->node_count > COP_PATTERN_ROOT ? p->node_count : COP_PATTERN_ROOT + 1;
    if (!cop__graph_grow(graph, &p->node, &p->node_capacity, (size_t)count + 1, sizeof *p->node) ||
        !cop__graph_grow(graph, &p->set, &p->set_capacity, 2 * p->node_capacity, sizeof *p->set))
        return 0;
    if (p->node_count < count) { /* none, and the root */
        memset(p->node, 0, count * sizeof *p->node);
        p->node_count = count;
    }
    if (!bucket_room(graph))
        return 0;
    return p->node_free != 0 ? p->node_free : p->node_count;
}

static uint32_t
child_make(cop__graph *graph, uint32_t parent, const char *segment, size_t length)
{
    cop__patterns *p = &graph->patterns;
    uint32_t number = node_room(graph);
    char *copy = number != 0
                     ? cop__memory_alloc(graph->memory, COP_MEMORY_GRAPH, length, 1)
                     : NULL;
    if (copy == NULL) {
        graph->tree->failed = COP_E_MEMORY;
        return 0;
    }
    if (number == p->node_free)
        p->node_free = p->node[number].chain;
    else
        p->node_count++;
    memcpy(copy, segment, length);
    cop__pattern_node *node = &p->node[number], *above = &p->node[parent];
    *node = (cop__pattern_node){.segment = copy,
                                .length = (uint32_t)length,
                                .parent = parent,
                                .next = above->first};
    if (above->first != 0)
        p->node[above->first].previous = number;
    above->first = number;
    if (cop__pattern_is_star(segment, length))
        above->star = number;
    else
        chain_in(graph, number);
    return number;
}

static void
chain_out(cop__graph *graph, uint32_t number)
{
    cop__patterns *p = &graph->patterns;
    const cop__pattern_node *node = &p->node[number];
    uint32_t *at = &p->bucket[bucket_of(graph, node->parent, node->segment, node->length)];
    while (*at != number)
        at = &p->node[*at].chain;
    *at = node->chain;
}

static void
child_free(cop__graph *graph, uint32_t number)
{
    cop__patterns *p = &graph->patterns;
    cop__pattern_node *node = &p->node[number], *above = &p->node[node->parent];
    if (above->star == number)
        above->star = 0;
    else
        chain_out(graph, number);
    if (node->previous != 0)
        p->node[node->previous].next = node->next;
    else
        above->first = node->next;
    if (node->next != 0)
        p->node[node->next].previous = node->previous;
    cop__memory_free(graph->memory, COP_MEMORY_GRAPH, node->segment, node->length, 1);
    memset(node, 0, sizeof *node);
    node->chain = p->node_free;
    p->node_free = number;
}

/* Nodes without watches and children go, upwards. */
static void
prune(cop__graph *graph, uint32_t number)
{
    const cop__patterns *p = &graph->patterns;
    while (number > COP_PATTERN_ROOT && p->node[number].first == 0 && p->node[number].watch == 0) {
        uint32_t parent = p->node[number].parent;
        child_free(graph, number);
        number = parent;
    }
}

/* The node where a pattern ends, made if need be; 0: out of memory. */
static uint32_t
descend(cop__graph *graph, const char *pattern, size_t length)
{
    cop__patterns *p = &graph->patterns;
    cop__path_walk walk = cop__path_walk_open(pattern, length);
    const char *segment;
    size_t bytes;
    uint32_t at = COP_PATTERN_ROOT;
    while (cop__segment_next(&walk, &segment, &bytes)) {
        uint32_t next = 0;
        if (p->node_count > 0)
            next = cop__pattern_is_star(segment, bytes) ? p->node[at].star
                                                        : child_find(graph, at, segment, bytes);
        if (next == 0)
            next = child_make(graph, at, segment, bytes);
        if (next == 0) {
            if (p->node_count > 0)
                prune(graph, at);
            return 0;
        }
        at = next;
    }
    return at;
}

/* ---- watches ---- */

uint32_t
cop__pattern_add(cop__graph *graph, const char *pattern, size_t length, uint32_t reader, uint32_t role)
{
    cop__patterns *p = &graph->patterns;
    uint32_t number = p->watch_free != 0 ? p->watch_free : p->watch_count > 0 ? p->watch_count : 1;
    if (!cop__graph_grow(graph, &p->watch, &p->watch_capacity, (size_t)number + 1, sizeof *p->watch))
        return 0;
    uint32_t at = descend(graph, pattern, length);
    if (at == 0)
        return 0;
    if (number == p->watch_free)
        p->watch_free = p->watch[number].next;
    else
        p->watch_count = number + 1;
    p->watch[number] =
        (cop__watch){.reader = reader, .role = role, .at = at, .next = p->node[at].watch};
    p->node[at].watch = number;
    p->live++;
    return number;
}

static void
forget_matched(cop__graph *graph)
{
    cop__patterns *p = &graph->patterns;
    cop__memory_table_free(graph->memory, COP_MEMORY_GRAPH, p->matched,
                           p->matched_capacity * sizeof *p->matched);
    p->matched = NULL;
    p->matched_capacity = 0;
}

void
cop__pattern_remove(cop__graph *graph, uint32_t number)
{
    cop__patterns *p = &graph->patterns;
    if (number == 0)
        return;
    uint32_t at = p->watch[number].at, *link = &p->node[at].watch;
    while (*link != number)
        link = &p->watch[*link].next;
    *link = p->watch[number].next;
    p->watch[number] = (cop__watch){.next = p->watch_free};
    p->watch_free = number;
    prune(graph, at);
    if (--p->live == 0)
        forget_matched(graph);
}

/* ---- matching ---- */

const uint32_t *
cop__pattern_match(cop__graph *graph, const char *path, size_t length, size_t *count)
{
    cop__patterns *p = &graph->patterns;
    cop__path_walk walk = cop__path_walk_open(path, length);
    uint32_t *set = p->set, *other = p->set + p->set_capacity / 2;
    const char *segment;
    size_t bytes, n = 0;
    *count = 0;
    if (p->live == 0)
        return set;
    set[n++] = COP_PATTERN_ROOT;
    while (n > 0 && cop__segment_next(&walk, &segment, &bytes)) {
        size_t more = 0;
        for (size_t i = 0; i < n; i++) {
            const cop__pattern_node *node = &p->node[set[i]];
            uint32_t child = node->first != 0 ? child_find(graph, set[i], segment, bytes) : 0;
            if (child != 0)
                other[more++] = child;
            if (node->star != 0)
                other[more++] = node->star;
        }
        uint32_t *had = set;
        set = other;
        other = had;
        n = more;
    }
    *count = n;
    return set;
}

uint32_t
cop__pattern_below(const cop__patterns *patterns, uint32_t top, uint32_t at)
{
    const cop__pattern_node *node = patterns->node;
    if (node[at].first != 0)
        return node[at].first;
    while (at != top && node[at].next == 0)
        at = node[at].parent;
    return at != top ? node[at].next : 0;
}

bool
cop__pattern_set_matched(cop__graph *graph, uint32_t id)
{
    cop__patterns *p = &graph->patterns;
    size_t had = p->matched_capacity;
    if (id >> 6 >= had) {
        if (!cop__graph_grow(graph, &p->matched, &p->matched_capacity, (size_t)(id >> 6) + 1,
                             sizeof *p->matched))
            return false;
        memset(p->matched + had, 0, (p->matched_capacity - had) * sizeof *p->matched);
    }
    p->matched[id >> 6] |= UINT64_C(1) << (id & 63);
    return true;
}

void
cop__patterns_end(cop__graph *graph)
{
    cop__patterns *p = &graph->patterns;
    for (uint32_t i = COP_PATTERN_ROOT + 1; i < p->node_count; i++)
        if (p->node[i].segment != NULL)
            cop__memory_free(graph->memory, COP_MEMORY_GRAPH, p->node[i].segment, p->node[i].length, 1);
    cop__memory_table_free(graph->memory, COP_MEMORY_GRAPH, p->node,
                           p->node_capacity * sizeof *p->node);
    cop__memory_table_free(graph->memory, COP_MEMORY_GRAPH, p->watch,
                           p->watch_capacity * sizeof *p->watch);
    cop__memory_table_free(graph->memory, COP_MEMORY_GRAPH, p->set, p->set_capacity * sizeof *p->set);
    cop__memory_free(graph->memory, COP_MEMORY_GRAPH, p->bucket, p->buckets * sizeof *p->bucket, 16);
    forget_matched(graph);
    memset(p, 0, sizeof *p);
}

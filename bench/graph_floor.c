/* SPDX-License-Identifier: MIT */
/*
 * floor_sweep runs every node in topological order, whatever changed. floor_bitset marks the
 * readers of what changed in a bitset over that order, and runs what is marked from the lowest bit
 * up; a node whose value stays the same marks nobody.
 */
#include "bench/graph_floor.h"

#include <stdlib.h>
#include <string.h>

/* --- bodies ---------------------------------------------------------------------------------- */

static inline int64_t
read_one(const floor_graph *graph, const floor_node *node, uint32_t which)
{
    return graph->node[graph->shape->read[node->first_read + which]].value;
}

static int64_t
body_source(const floor_graph *graph, const floor_node *node)
{
    (void)graph;
    return node->value;
}

static int64_t
body_add(const floor_graph *graph, const floor_node *node)
{
    return graph_add(read_one(graph, node, 0), node->k);
}

static int64_t
body_zero(const floor_graph *graph, const floor_node *node)
{
    return read_one(graph, node, 0) * 0;
}

static int64_t
body_sum(const floor_graph *graph, const floor_node *node)
{
    const uint32_t *read = graph->shape->read + node->first_read;
    int64_t sum = 0;
    for (uint32_t i = 0; i < node->reads; i++)
        sum = graph_add(sum, graph->node[read[i]].value);
    return sum;
}

static int64_t
body_sum_burn(const floor_graph *graph, const floor_node *node)
{
    return graph_burn(body_sum(graph, node), graph->shape->burn);
}

static int64_t
body_select(const floor_graph *graph, const floor_node *node)
{
    return read_one(graph, node, read_one(graph, node, 0) & 1 ? 1 : 2);
}

static int64_t
body_first(const floor_graph *graph, const floor_node *node)
{
    int64_t value = read_one(graph, node, 0);
    __asm__ volatile("" : : "r"(read_one(graph, node, 1)));
    return value;
}

static floor_body
body_of(const graph_shape *shape, graph_kind kind)
{
    static const floor_body bodies[] = {
        [GRAPH_SOURCE] = body_source, [GRAPH_ADD] = body_add,       [GRAPH_ZERO] = body_zero,
        [GRAPH_SUM] = body_sum,       [GRAPH_SELECT] = body_select, [GRAPH_FIRST] = body_first,
        [GRAPH_REDUCE] = body_sum,    [GRAPH_EFFECT] = body_sum};
    return kind == GRAPH_SUM && shape->burn ? body_sum_burn : bodies[kind];
}

/* --- making ---------------------------------------------------------------------------------- */

static void *
take(floor_graph *graph, size_t bytes)
{
    graph->bytes += bytes;
    return graph_alloc(bytes);
}

/* What a GRAPH_SELECT selects is linked when it runs. */
static uint32_t
fixed_reads(const graph_node *node)
{
    return node->kind == GRAPH_SELECT ? 1 : node->reads;
}

static void
make_readers(floor_graph *graph)
{
    const graph_shape *shape = graph->shape;
    uint32_t first = 0;
    for (uint32_t i = 0; i < shape->nodes; i++)
        for (uint32_t j = 0; j < fixed_reads(&shape->node[i]); j++)
            graph->node[shape->read[shape->node[i].first + j]].readers++;
    for (uint32_t i = 0; i < shape->nodes; i++) {
        graph->node[i].first_reader = first;
        first += graph->node[i].readers;
        graph->node[i].readers = 0;
    }
    graph->reader = take(graph, first * sizeof *graph->reader);
    for (uint32_t i = 0; i < shape->nodes; i++) {
        for (uint32_t j = 0; j < fixed_reads(&shape->node[i]); j++) {
            floor_node *of = &graph->node[shape->read[shape->node[i].first + j]];
            graph->reader[of->first_reader + of->readers++] = i;
        }
    }
}

static void
make_links(floor_graph *graph)
{
    graph->link = take(graph, graph->shape->nodes * sizeof *graph->link);
    for (uint32_t i = 0; i < graph->shape->nodes; i++)
        graph->link[i] = (floor_link){i, i, i};
}

void
floor_make(floor_graph *graph, const graph_shape *shape, bool bitset)
{
    *graph = (floor_graph){.shape = shape, .words = shape->nodes / 64 + 1};
    graph->bytes = shape->reads * sizeof *shape->read;
    graph->node = take(graph, shape->nodes * sizeof *graph->node);
    for (uint32_t i = 0; i < shape->nodes; i++) {
        const graph_node *node = &shape->node[i];
        graph->node[i] = (floor_node){.value = graph_first_value(i),
                                      .body = body_of(shape, node->kind),
                                      .k = node->k,
                                      .first_read = node->first,
                                      .reads = node->reads};
    }
    if (!bitset)
        return;
    make_readers(graph);
    graph->dirty = take(graph, graph->words * sizeof *graph->dirty);
    if (shape->selects)
        make_links(graph);
}

void
floor_free(floor_graph *graph)
{
    free(graph->node);
    free(graph->reader);
    free(graph->dirty);
    free(graph->link);
}

void
floor_values(const floor_graph *graph, int64_t *values)
{
    for (uint32_t i = 0; i < graph->shape->nodes; i++)
        values[i] = graph->node[i].value;
}

/* --- the bitset engine ----------------------------------------------------------------------- */

static inline void
mark(floor_graph *graph, uint32_t node)
{
    graph->dirty[node / 64] |= UINT64_C(1) << (node % 64);
}

static inline void
mark_readers(floor_graph *graph, uint32_t of)
{
    const floor_node *node = &graph->node[of];
    const uint32_t *reader = graph->reader + node->first_reader;
    for (uint32_t i = 0; i < node->readers; i++)
        mark(graph, reader[i]);
    if (graph->link && graph->link[of].first != of) {
        uint32_t first = graph->link[of].first, at = first;
        do {
            mark(graph, at);
            at = graph->link[at].next;
        } while (at != first);
    }
}

static void
unlink_reader(floor_graph *graph, uint32_t reader, uint32_t of)
{
    floor_link *link = &graph->link[reader];
    if (graph->link[of].first == reader)
        graph->link[of].first = link->next == reader ? of : link->next;
    graph->link[link->next].before = link->before;
    graph->link[link->before].next = link->next;
    link->next = link->before = reader;
}

static void
link_reader(floor_graph *graph, uint32_t reader, uint32_t of)
{
    uint32_t first = graph->link[of].first;
    if (first != of) {
        graph->link[reader].next = first;
        graph->link[reader].before = graph->link[first].before;
        graph->link[graph->link[first].before].next = reader;
        graph->link[first].before = reader;
    }
    graph->link[of].first = reader;
}

/* k of a GRAPH_SELECT is what it is linked to, plus 1; 0: nothing yet. */
static void
select_link(floor_graph *graph, uint32_t reader)
{
    floor_node *node = &graph->node[reader];
    uint32_t which = read_one(graph, node, 0) & 1 ? 1 : 2;
    uint32_t of = graph->shape->read[node->first_read + which];
    if (node->k == (int64_t)of + 1)
        return;
    if (node->k)
        unlink_reader(graph, reader, (uint32_t)(node->k - 1));
    link_reader(graph, reader, of);
    node->k = (int64_t)of + 1;
}

static inline void
run_node(floor_graph *graph, uint32_t i)
{
    floor_node *node = &graph->node[i];
    int64_t value;
    if (graph->link && node->body == body_select)
        select_link(graph, i);
    value = node->body(graph, node);
    if (value == node->value)
        return;
    node->value = value;
    mark_readers(graph, i);
}

/* Nobody reads what stands before it: from the first node that was written. */
static void
run_marked(floor_graph *graph, uint32_t from)
{
    for (uint32_t w = from / 64; w < graph->words; w++) {
        uint64_t bits;
        while ((bits = graph->dirty[w])) {
            graph->dirty[w] = bits & (bits - 1);
            run_node(graph, w * 64 + (uint32_t)__builtin_ctzll(bits));
        }
    }
}

/* --- as engines ------------------------------------------------------------------------------ */

static void *
floor_open(const graph_shape *shape, unsigned threads)
{
    floor_graph *graph = graph_alloc(sizeof *graph);
    (void)threads;
    graph->shape = shape;
    return graph;
}

static bool
bitset_build(void *self)
{
    floor_graph *graph = self;
    const graph_shape *shape = graph->shape;
    floor_make(graph, shape, true);
    for (uint32_t i = 0; i < shape->nodes; i++) {
        if (graph->node[i].body == body_select)
            select_link(graph, i);
        graph->node[i].value = graph->node[i].body(graph, &graph->node[i]);
    }
    return true;
}

static bool
bitset_step(void *self, uint64_t step)
{
    floor_graph *graph = self;
    uint32_t from = UINT32_MAX;
    for (uint32_t j = 0; j < graph->shape->writes; j++) {
        graph_write write = graph_write_of(graph->shape, step, j);
        floor_node *node = &graph->node[write.node];
        if (node->value == write.value)
            continue;
        node->value = write.value;
        mark_readers(graph, write.node);
        if (node->readers && write.node < from)
            from = write.node;
    }
    if (from != UINT32_MAX)
        run_marked(graph, from);
    return true;
}

static bool
engine_values(void *self, int64_t *values)
{
    floor_values(self, values);
    return true;
}

static uint64_t
engine_bytes(void *self)
{
    const floor_graph *graph = self;
    return graph->bytes;
}

static void
engine_close(void *self)
{
    floor_free(self);
    free(self);
}

const graph_engine graph_floor_bitset = {floor_open,    bitset_build, bitset_step, NULL,
                                         engine_values, engine_bytes, engine_close};

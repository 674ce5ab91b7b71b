/* SPDX-License-Identifier: MIT */
/* Cases, graphs, and their plain evaluation. */
#include "bench/graph_shape.h"

#include <stdlib.h>
#include <string.h>

#include "bench/graph_case.h"
#include "bench/report.h"

#define WAVE_PARTS 100 /* wave_1pct: one of so many parts of the sources */

const char *const graph_system_names[GRAPH_SYSTEMS] = {
    "coppice", "floor_sweep",   "floor_bitset",   "tbb_flow",
    "tbb_for", "alien_signals", "preact_signals", "independent"};

/* --- cases ----------------------------------------------------------------------------------- */

#define OWN (1u << GRAPH_COPPICE)
#define BITSET (1u << GRAPH_FLOOR_BITSET)
#define SIGNALS (1u << GRAPH_ALIEN | 1u << GRAPH_PREACT)
#define CUT (OWN | BITSET | SIGNALS) /* not the sweep, which runs everything whatever changed */
#define ALL (CUT | 1u << GRAPH_FLOOR_SWEEP)
#define PARALLEL                                                                  \
    (OWN | 1u << GRAPH_FLOOR_SWEEP | 1u << GRAPH_TBB_FLOW | 1u << GRAPH_TBB_FOR | \
     1u << GRAPH_INDEPENDENT)
#define STEP GRAPH_STEPS, false, 0
#define PAR GRAPH_STEPS, true

const graph_case graph_cases[] = {
    {"chain_1000", "ns/node", GRAPH_CHAIN, 1000, 0, 0, STEP, ALL, 0},
    {"chain_10000", "ns/node", GRAPH_CHAIN, 10000, 0, 0, STEP, ALL, 0},
    {"chain_1000000", "ns/node", GRAPH_CHAIN, 1000000, 0, 0, STEP, ALL, 0},
    {"broad_1000", "ns/pair", GRAPH_BROAD, 1000, 0, 0, STEP, ALL, 0},
    {"broad_100000", "ns/pair", GRAPH_BROAD, 100000, 0, 0, STEP, ALL, 0},
    {"grid_1000x11x4_full", "ns/node", GRAPH_GRID, 1000, 11, 4, STEP, ALL, 0},
    {"grid_1000x11x4_sparse", "ns/node run", GRAPH_GRID_SPARSE, 1000, 11, 4, STEP, CUT, 0},
    {"grid_1000x4x25_full", "ns/node", GRAPH_GRID, 1000, 4, 25, STEP, ALL, 0},
    {"grid_5x499x3_full", "ns/node", GRAPH_GRID, 5, 499, 3, STEP, ALL, 0},
    {"avoid_1000", "ns/write", GRAPH_AVOID, 1000, 0, 0, STEP, CUT, 0},
    {"diamond_5", "ns/write", GRAPH_DIAMOND, 5, 0, 0, STEP, ALL, 0},
    {"mux_100", "ns/write", GRAPH_MUX, 100, 0, 0, STEP, CUT, 0},
    {"flip_1000", "ns/rebind", GRAPH_FLIP, 1000, 0, 0, STEP, CUT, 0},
    {"create_1m", "ns/triple", GRAPH_TRIPLES, 1000000, 0, 0, GRAPH_BUILD, false, 0, ALL, 5},
    {"create_1m_bytes", "bytes/triple", GRAPH_TRIPLES, 1000000, 0, 0, GRAPH_BYTES, false, 0, CUT,
     1},
    {"commit_plain", "ns/write", GRAPH_PLAIN, 1000, 0, 0, STEP, OWN | BITSET, 0},
    {"commit_hot", "ns/write", GRAPH_HOT, 1000, 0, 0, STEP, OWN | BITSET, 0},
    {"wave_1pct_of_1m", "ns/pair", GRAPH_TRIPLES, 1000000, 0, 0, STEP, CUT, 0},
    {"reduce_1m", "ns/write", GRAPH_REDUCED, 1000000, 0, 0, STEP, OWN, 0},
    {"par_1000x11x4", "ns/node", GRAPH_GRID_BARE, 1000, 11, 4, PAR, 0, PARALLEL, 0},
    {"par_1000x11x4", "ns/node", GRAPH_GRID_BARE, 1000, 11, 4, PAR, 100, PARALLEL, 0},
    {"par_120x11x4", "ns/node", GRAPH_GRID_BARE, 120, 11, 4, PAR, 1000, PARALLEL, 0},
    {"par_10x100x3", "ns/node", GRAPH_GRID_BARE, 10, 100, 3, PAR, 1000, PARALLEL, 0},
    {"par_30x5x4", "ns/node", GRAPH_GRID_BARE, 30, 5, 4, PAR, 10000, PARALLEL, 0},
};
const unsigned graph_case_count = sizeof graph_cases / sizeof graph_cases[0];

/* --- making ---------------------------------------------------------------------------------- */

void *
graph_alloc(size_t bytes)
{
    void *p = calloc(1, bytes ? bytes : 1);
    if (!p) {
        report_note("out of memory");
        exit(1);
    }
    return p;
}

/* Room for one more in a growing array. */
static void *
grown(void *array, size_t used, size_t *room, size_t size)
{
    if (used < *room)
        return array;
    *room = *room ? *room * 2 : 64;
    array = realloc(array, *room * size);
    if (!array) {
        report_note("out of memory");
        exit(1);
    }
    return array;
}

static uint32_t
add_node(graph_shape *s, graph_kind kind, int64_t k)
{
    s->node = grown(s->node, s->nodes, &s->node_room, sizeof *s->node);
    s->node[s->nodes] = (graph_node){k, (uint32_t)s->reads, 0, kind};
    if (kind == GRAPH_SOURCE) {
        s->source = grown(s->source, s->sources, &s->source_room, sizeof *s->source);
        s->source[s->sources++] = s->nodes;
    } else if (kind == GRAPH_EFFECT) {
        s->effects++;
    } else if (s->first_computed == 0) {
        s->first_computed = s->nodes;
    }
    s->selects = s->selects || kind == GRAPH_SELECT;
    return s->nodes++;
}

/* The newest node reads another one. */
static void
add_read(graph_shape *s, uint32_t node)
{
    s->read = grown(s->read, s->reads, &s->read_room, sizeof *s->read);
    s->read[s->reads++] = node;
    s->node[s->nodes - 1].reads++;
}

static uint32_t
add_reader(graph_shape *s, graph_kind kind, int64_t k, uint32_t of)
{
    uint32_t node = add_node(s, kind, k);
    add_read(s, of);
    return node;
}

static uint32_t
add_reader_of_run(graph_shape *s, graph_kind kind, uint32_t first, uint32_t n)
{
    uint32_t node = add_node(s, kind, 0);
    for (uint32_t i = 0; i < n; i++)
        add_read(s, first + i);
    return node;
}

/* --- the families ---------------------------------------------------------------------------- */

static void
make_chain(graph_shape *s, const graph_case *c)
{
    uint32_t last = add_node(s, GRAPH_SOURCE, 0);
    if (c->family == GRAPH_AVOID)
        last = add_reader(s, GRAPH_ZERO, 0, last);
    for (uint32_t i = 0; i < c->size; i++)
        last = add_reader(s, GRAPH_ADD, 1, last);
    add_reader(s, GRAPH_EFFECT, 0, last);
    s->units = c->family == GRAPH_AVOID ? 1 : c->size;
}

static void
make_broad(graph_shape *s, const graph_case *c)
{
    uint32_t source = add_node(s, GRAPH_SOURCE, 0);
    for (uint32_t i = 0; i < c->size; i++)
        add_reader(s, GRAPH_EFFECT, 0, add_reader(s, GRAPH_ADD, i, source));
    s->units = c->size;
}

/* Node i of a layer reads nodes i, i + 1, ... of the layer before it, going around. */
static void
make_grid(graph_shape *s, const graph_case *c)
{
    uint32_t before = 0;
    s->width = c->size;
    s->layers = c->layers;
    for (uint32_t i = 0; i < c->size; i++)
        add_node(s, GRAPH_SOURCE, 0);
    for (uint32_t layer = 0; layer < c->layers; layer++) {
        uint32_t first = s->nodes;
        for (uint32_t i = 0; i < c->size; i++) {
            add_node(s, GRAPH_SUM, 0);
            for (uint32_t j = 0; j < c->inputs; j++)
                add_read(s, before + (i + j) % c->size);
        }
        before = first;
    }
    s->units = (double)c->size * c->layers;
    s->plan = GRAPH_WRITE_ALL;
    s->writes = c->size;
    if (c->family == GRAPH_GRID) {
        add_reader_of_run(s, GRAPH_EFFECT, before, c->size);
    } else if (c->family == GRAPH_GRID_SPARSE) {
        s->plan = GRAPH_WRITE_TURN;
        s->writes = 1;
        s->units = 0; /* the nodes above one source */
        for (uint32_t layer = 1; layer <= c->layers; layer++)
            s->units += layer * (c->inputs - 1) + 1;
    }
}

static void
make_diamond(graph_shape *s, const graph_case *c)
{
    uint32_t source = add_node(s, GRAPH_SOURCE, 0);
    for (uint32_t i = 0; i < c->size; i++)
        add_reader(s, GRAPH_ADD, 1, source);
    add_reader(s, GRAPH_EFFECT, 0, add_reader_of_run(s, GRAPH_SUM, source + 1, c->size));
}

static void
make_mux(graph_shape *s, const graph_case *c)
{
    uint32_t sum, one;
    for (uint32_t i = 0; i < c->size; i++)
        add_node(s, GRAPH_SOURCE, 0);
    sum = add_reader_of_run(s, GRAPH_SUM, 0, c->size);
    for (uint32_t i = 0; i < c->size; i++) {
        one = add_reader(s, GRAPH_FIRST, 0, i);
        add_read(s, sum);
        add_reader(s, GRAPH_EFFECT, 0, add_reader(s, GRAPH_ADD, 1, one));
    }
    s->plan = GRAPH_WRITE_TURN;
}

static void
make_flip(graph_shape *s, const graph_case *c)
{
    uint32_t selector = add_node(s, GRAPH_SOURCE, 0), one;
    for (uint32_t i = 0; i < 2 * c->size; i++)
        add_node(s, GRAPH_SOURCE, 0);
    for (uint32_t i = 0; i < c->size; i++) {
        one = add_reader(s, GRAPH_SELECT, 0, selector);
        add_read(s, selector + 1 + 2 * i);
        add_read(s, selector + 2 + 2 * i);
        add_reader(s, GRAPH_EFFECT, 0, one);
    }
    s->plan = GRAPH_WRITE_FLIP;
    s->units = c->size;
}

/* A step of the wave writes one part of the sources, drawn at random. */
static void
shuffle_sources(graph_shape *s)
{
    uint64_t seed = 0x9e3779b97f4a7c15ull;
    for (uint32_t i = s->sources - 1; i > 0; i--) {
        seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        uint32_t other = (uint32_t)((seed >> 33) % (i + 1)), kept = s->source[i];
        s->source[i] = s->source[other];
        s->source[other] = kept;
    }
}

static void
make_triples(graph_shape *s, const graph_case *c)
{
    for (uint32_t i = 0; i < c->size; i++)
        add_reader(s, GRAPH_EFFECT, 0, add_reader(s, GRAPH_ADD, 1, add_node(s, GRAPH_SOURCE, 0)));
    shuffle_sources(s);
    s->plan = GRAPH_WRITE_TURN;
    s->writes = c->size / WAVE_PARTS;
    s->units = c->measure == GRAPH_STEPS ? s->writes : c->size;
}

/* The source that is written is read by nobody; all others are (hot), or none is (plain). */
static void
make_hot(graph_shape *s, const graph_case *c)
{
    for (uint32_t i = 0; i < c->size; i++)
        add_node(s, GRAPH_SOURCE, 0);
    for (uint32_t i = 1; c->family == GRAPH_HOT && i < c->size; i++)
        add_reader(s, GRAPH_ADD, 1, i);
}

static void
make_reduced(graph_shape *s, const graph_case *c)
{
    for (uint32_t i = 0; i < c->size; i++)
        add_node(s, GRAPH_SOURCE, 0);
    add_reader_of_run(s, GRAPH_REDUCE, 0, c->size);
    shuffle_sources(s);
    s->named = true;
    s->plan = GRAPH_WRITE_TURN;
}

void
graph_shape_make(graph_shape *shape, const graph_case *c, unsigned burn)
{
    static void (*const make[])(graph_shape *, const graph_case *) = {
        [GRAPH_CHAIN] = make_chain,      [GRAPH_BROAD] = make_broad,    [GRAPH_GRID] = make_grid,
        [GRAPH_GRID_SPARSE] = make_grid, [GRAPH_GRID_BARE] = make_grid, [GRAPH_AVOID] = make_chain,
        [GRAPH_DIAMOND] = make_diamond,  [GRAPH_MUX] = make_mux,        [GRAPH_FLIP] = make_flip,
        [GRAPH_TRIPLES] = make_triples,  [GRAPH_HOT] = make_hot,        [GRAPH_PLAIN] = make_hot,
        [GRAPH_REDUCED] = make_reduced};
    *shape = (graph_shape){.plan = GRAPH_WRITE_ONE, .writes = 1, .units = 1, .burn = burn};
    make[c->family](shape, c);
}

/* --- evaluating ------------------------------------------------------------------------------ */

void
graph_shape_evaluate(const graph_shape *shape, int64_t *values)
{
    for (uint32_t i = 0; i < shape->nodes; i++) {
        const graph_node *node = &shape->node[i];
        const uint32_t *read = shape->read + node->first;
        int64_t sum = 0;
        for (uint32_t j = 0; j < node->reads; j++)
            sum = graph_add(sum, values[read[j]]);
        switch (node->kind) {
        case GRAPH_SOURCE:
            break;
        case GRAPH_ADD:
            values[i] = graph_add(sum, node->k);
            break;
        case GRAPH_ZERO:
            values[i] = 0;
            break;
        case GRAPH_SUM:
            values[i] = graph_burn(sum, shape->burn);
            break;
        case GRAPH_SELECT:
            values[i] = values[read[values[read[0]] & 1 ? 1 : 2]];
            break;
        case GRAPH_FIRST:
            values[i] = values[read[0]];
            break;
        case GRAPH_REDUCE:
        case GRAPH_EFFECT:
            values[i] = sum;
            break;
        }
    }
}

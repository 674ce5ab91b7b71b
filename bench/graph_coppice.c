/* SPDX-License-Identifier: MIT */
/*
 * Coppice through its public API, with its defaults: anonymous atoms, eager computeds; a step is
 * one transaction, and then the effects that are due on the calling thread.
 */
#include "bench/graph_case.h"

#ifndef COP_BENCH_GRAPH_COPPICE

const graph_engine *const graph_coppice = NULL;

#else

#include <coppice/computed.h>
#include <coppice/coppice.h>
#include <coppice/effect.h>
#include <coppice/pool.h>
#include <coppice/reduce.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/report.h"

#define BATCH 10000 /* nodes made in one transaction */
#define BRANCH "items"

/* Contexts. A function with one dependency and no constant has none: the handle is the pointer. */
typedef struct add_context {
    cop_atom of;
    int64_t k;
} add_context;

typedef struct many_context {
    uint32_t n;
    unsigned burn;
    cop_atom of[];
} many_context;

typedef struct effect_context {
    cop_atom of;
    int64_t saw;
} effect_context;

typedef struct wide_context {
    const many_context *of;
    int64_t saw;
} wide_context;

typedef struct own_graph {
    const graph_shape *shape;
    cop_store *store;
    cop_pool *pool;
    unsigned threads;
    cop_atom *atom; /* of each node but the effects */
    void **context; /* of each node; NULL: none. The pointers are not in the timed part's way */
    char *arena, *arena_at;
} own_graph;

static bool
good(cop_status status, const char *call)
{
    if (status != COP_OK)
        report_note("%s: %s", call, cop_status_name(status));
    return status == COP_OK;
}

/* --- functions ------------------------------------------------------------------------------- */

static inline void *
packed(cop_atom atom)
{
    return (void *)(uintptr_t)((uint64_t)atom.generation << 32 | atom.id);
}

static inline cop_atom
unpacked(const void *context)
{
    uint64_t word = (uintptr_t)context;
    return (cop_atom){(uint32_t)word, (uint32_t)(word >> 32)};
}

static cop_status
add_one(cop_evaluation *evaluation, void *context, cop_value *result)
{
    int64_t value;
    cop_status status = cop_read_i64(evaluation, unpacked(context), &value);
    if (status == COP_OK)
        *result = cop_i64(graph_add(value, 1));
    return status;
}

static cop_status
add_constant(cop_evaluation *evaluation, void *context, cop_value *result)
{
    const add_context *c = context;
    int64_t value;
    cop_status status = cop_read_i64(evaluation, c->of, &value);
    if (status == COP_OK)
        *result = cop_i64(graph_add(value, c->k));
    return status;
}

static cop_status
zero(cop_evaluation *evaluation, void *context, cop_value *result)
{
    int64_t value;
    cop_status status = cop_read_i64(evaluation, unpacked(context), &value);
    if (status == COP_OK)
        *result = cop_i64(value * 0);
    return status;
}

static inline cop_status
sum_of(cop_evaluation *evaluation, const many_context *c, int64_t *sum)
{
    int64_t value, total = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        cop_status status = cop_read_i64(evaluation, c->of[i], &value);
        if (status != COP_OK)
            return status;
        total = graph_add(total, value);
    }
    *sum = total;
    return COP_OK;
}

static cop_status
sum(cop_evaluation *evaluation, void *context, cop_value *result)
{
    int64_t value;
    cop_status status = sum_of(evaluation, context, &value);
    if (status == COP_OK)
        *result = cop_i64(value);
    return status;
}

static cop_status
sum_burn(cop_evaluation *evaluation, void *context, cop_value *result)
{
    const many_context *c = context;
    int64_t value;
    cop_status status = sum_of(evaluation, c, &value);
    if (status == COP_OK)
        *result = cop_i64(graph_burn(value, c->burn));
    return status;
}

static cop_status
select_one(cop_evaluation *evaluation, void *context, cop_value *result)
{
    const many_context *c = context;
    int64_t value;
    cop_status status = cop_read_i64(evaluation, c->of[0], &value);
    if (status == COP_OK)
        status = cop_read_i64(evaluation, c->of[value & 1 ? 1 : 2], &value);
    if (status == COP_OK)
        *result = cop_i64(value);
    return status;
}

static cop_status
first_of_two(cop_evaluation *evaluation, void *context, cop_value *result)
{
    const many_context *c = context;
    int64_t value, other;
    cop_status status = cop_read_i64(evaluation, c->of[0], &value);
    if (status == COP_OK)
        status = cop_read_i64(evaluation, c->of[1], &other);
    if (status == COP_OK)
        *result = cop_i64(value);
    return status;
}

static cop_status
watch(cop_evaluation *evaluation, void *context)
{
    effect_context *c = context;
    return cop_read_i64(evaluation, c->of, &c->saw);
}

static cop_status
watch_many(cop_evaluation *evaluation, void *context)
{
    wide_context *c = context;
    return sum_of(evaluation, c->of, &c->saw);
}

static cop_computed_function
function_of(const graph_shape *shape, const graph_node *node)
{
    switch (node->kind) {
    case GRAPH_ADD:
        return node->k == 1 ? add_one : add_constant;
    case GRAPH_ZERO:
        return zero;
    case GRAPH_SUM:
        return shape->burn ? sum_burn : sum;
    case GRAPH_SELECT:
        return select_one;
    default:
        return first_of_two;
    }
}

/* --- making ---------------------------------------------------------------------------------- */

static void *
arena_take(own_graph *g, size_t bytes)
{
    void *p = g->arena_at;
    g->arena_at += (bytes + 15) / 16 * 16;
    return p;
}

static bool
open_pool(own_graph *g)
{
    cop_pool_options options = COP_POOL_OPTIONS_INIT;
    if (g->threads == 1)
        return true;
    options.threads = g->threads - 1; /* the committing thread works along */
    return good(cop_pool_open(&options, &g->pool, NULL), "cop_pool_open");
}

/* All that the contexts need, touched, so that the kernel's zeroing of it is not in the figures. */
static void *
own_open(const graph_shape *shape, unsigned threads)
{
    own_graph *g = graph_alloc(sizeof *g);
    size_t bytes = shape->nodes * 48 + shape->reads * sizeof(cop_atom);
    g->shape = shape;
    g->threads = threads;
    g->atom = graph_alloc(shape->nodes * sizeof *g->atom);
    g->context = graph_alloc(shape->nodes * sizeof *g->context);
    g->arena = g->arena_at = graph_alloc(bytes);
    memset(g->atom, 0xff, shape->nodes * sizeof *g->atom);
    memset(g->context, 0xff, shape->nodes * sizeof *g->context);
    memset(g->arena, 0xff, bytes);
    return g;
}

static many_context *
many(own_graph *g, const graph_node *node)
{
    many_context *c = arena_take(g, sizeof *c + node->reads * sizeof c->of[0]);
    c->n = node->reads;
    c->burn = g->shape->burn;
    for (uint32_t i = 0; i < node->reads; i++)
        c->of[i] = g->atom[g->shape->read[node->first + i]];
    return c;
}

static void *
make_context(own_graph *g, const graph_node *node)
{
    cop_atom of = g->atom[g->shape->read[node->first]];
    if (node->kind == GRAPH_EFFECT && node->reads == 1) {
        effect_context *c = arena_take(g, sizeof *c);
        c->of = of;
        return c;
    }
    if (node->kind == GRAPH_EFFECT) {
        wide_context *c = arena_take(g, sizeof *c);
        c->of = many(g, node);
        return c;
    }
    if (node->kind == GRAPH_ADD && node->k != 1) {
        add_context *c = arena_take(g, sizeof *c);
        *c = (add_context){of, node->k};
        return c;
    }
    return node->kind == GRAPH_ADD || node->kind == GRAPH_ZERO ? packed(of) : many(g, node);
}

static cop_status
create_source(own_graph *g, cop_txn *txn, uint32_t i, const cop_atom *branch)
{
    char name[16];
    cop_value value = cop_i64(graph_first_value(i));
    int n;
    if (!branch)
        return cop_txn_create(txn, &value, &g->atom[i]);
    n = snprintf(name, sizeof name, "%07u", i);
    return cop_txn_set_child(txn, *branch, name, (size_t)n, &value, &g->atom[i]);
}

static bool
create_sources(own_graph *g, uint32_t from, uint32_t to, const cop_atom *branch)
{
    cop_txn *txn = NULL;
    for (uint32_t i = from; i < to; i++) {
        if (g->shape->node[i].kind != GRAPH_SOURCE)
            continue;
        if (!txn && !good(cop_txn_begin(g->store, &txn), "cop_txn_begin"))
            return false;
        if (!good(create_source(g, txn, i, branch), "a source"))
            return false;
    }
    return !txn || good(cop_txn_commit(txn, NULL, NULL), "cop_txn_commit of sources");
}

static bool
define_reducer(own_graph *g, uint32_t i)
{
    return good(cop_reduce_define(g->store, NULL, 0, BRANCH "/*", sizeof BRANCH + 1, COP_REDUCE_SUM,
                                  NULL, &g->atom[i], NULL),
                "cop_reduce_define");
}

static bool
define_computeds(own_graph *g, uint32_t from, uint32_t to)
{
    const graph_shape *shape = g->shape;
    cop_txn *txn = NULL;
    for (uint32_t i = from; i < to; i++) {
        const graph_node *node = &shape->node[i];
        if (node->kind == GRAPH_SOURCE || node->kind == GRAPH_EFFECT)
            continue;
        if (node->kind == GRAPH_REDUCE) {
            if (!define_reducer(g, i))
                return false;
            continue;
        }
        g->context[i] = make_context(g, node);
        if (!txn && !good(cop_txn_begin(g->store, &txn), "cop_txn_begin"))
            return false;
        if (!good(cop_txn_define(txn, NULL, 0, function_of(shape, node), g->context[i], NULL,
                                 &g->atom[i], NULL),
                  "cop_txn_define"))
            return false;
    }
    return !txn || good(cop_txn_commit(txn, NULL, NULL), "cop_txn_commit of computeds");
}

static bool
open_effects(own_graph *g, uint32_t from, uint32_t to)
{
    cop_effect effect;
    for (uint32_t i = from; i < to; i++) {
        const graph_node *node = &g->shape->node[i];
        if (node->kind != GRAPH_EFFECT)
            continue;
        g->context[i] = make_context(g, node);
        if (!good(cop_effect_open(g->store, node->reads == 1 ? watch : watch_many, g->context[i],
                                  NULL, &effect, NULL),
                  "cop_effect_open"))
            return false;
    }
    return g->shape->effects == 0 ||
           good(cop_effects_run(g->store, NULL, 0, NULL), "cop_effects_run");
}

/* The end of a batch that begins at from: no computed in it reads another, because a context holds
 * handles, and those are had from the commit. */
static uint32_t
batch_end(const graph_shape *shape, uint32_t from)
{
    for (uint32_t i = from; i < shape->nodes; i++) {
        const graph_node *node = &shape->node[i];
        if (i - from == BATCH)
            return i;
        if (node->kind == GRAPH_EFFECT)
            continue;
        for (uint32_t j = 0; j < node->reads; j++) {
            uint32_t of = shape->read[node->first + j];
            if (of >= from && shape->node[of].kind != GRAPH_SOURCE)
                return i;
        }
    }
    return shape->nodes;
}

static bool
make_branch(own_graph *g, cop_atom *branch)
{
    cop_value object = cop_object();
    cop_txn *txn;
    return good(cop_txn_begin(g->store, &txn), "cop_txn_begin") &&
           good(cop_txn_set_at(txn, BRANCH, sizeof BRANCH - 1, &object, NULL), "cop_txn_set_at") &&
           good(cop_txn_commit(txn, NULL, NULL), "cop_txn_commit of the branch") &&
           good(cop_atom_find(g->store, BRANCH, sizeof BRANCH - 1, branch), "cop_atom_find");
}

static bool
own_build(void *self)
{
    own_graph *g = self;
    cop_atom branch;
    uint32_t end;
    if (!good(cop_store_open(NULL, &g->store, NULL), "cop_store_open") || !open_pool(g))
        return false;
    if (g->pool && !good(cop_store_set_pool(g->store, g->pool), "cop_store_set_pool"))
        return false;
    if (g->shape->named && !make_branch(g, &branch))
        return false;
    for (uint32_t from = 0; from < g->shape->nodes; from = end) {
        end = batch_end(g->shape, from);
        if (!create_sources(g, from, end, g->shape->named ? &branch : NULL) ||
            !define_computeds(g, from, end) || !open_effects(g, from, end))
            return false;
    }
    return true;
}

/* --- measuring ------------------------------------------------------------------------------- */

static bool
own_step(void *self, uint64_t step)
{
    own_graph *g = self;
    cop_txn *txn;
    if (!good(cop_txn_begin(g->store, &txn), "cop_txn_begin"))
        return false;
    for (uint32_t j = 0; j < g->shape->writes; j++) {
        graph_write write = graph_write_of(g->shape, step, j);
        cop_value value = cop_i64(write.value);
        if (!good(cop_txn_set(txn, g->atom[write.node], &value), "cop_txn_set")) {
            cop_txn_cancel(txn);
            return false;
        }
    }
    if (!good(cop_txn_commit(txn, NULL, NULL), "cop_txn_commit"))
        return false;
    return g->shape->effects == 0 ||
           good(cop_effects_run(g->store, NULL, 0, NULL), "cop_effects_run");
}

static bool
own_values(void *self, int64_t *values)
{
    own_graph *g = self;
    cop_pin_t pin = cop_pin(g->store);
    bool ok = pin.snapshot != NULL;
    for (uint32_t i = 0; ok && i < g->shape->nodes; i++) {
        const graph_node *node = &g->shape->node[i];
        if (node->kind != GRAPH_EFFECT)
            ok = good(cop_get_i64(pin.snapshot, g->atom[i], &values[i]), "cop_get_i64");
        else
            values[i] = node->reads == 1 ? ((effect_context *)g->context[i])->saw
                                         : ((wide_context *)g->context[i])->saw;
    }
    cop_unpin(pin);
    return ok;
}

static uint64_t
own_bytes(void *self)
{
    own_graph *g = self;
    cop_stats stats = COP_STATS_INIT;
    good(cop_stats_take(g->store, &stats), "cop_stats_take");
    return stats.bytes_held;
}

static void
own_close(void *self)
{
    own_graph *g = self;
    cop_store_close(g->store);
    cop_pool_close(g->pool);
    free(g->atom);
    free(g->context);
    free(g->arena);
    free(g);
}

static const graph_engine engine = {own_open,   own_build, own_step, NULL,
                                    own_values, own_bytes, own_close};
const graph_engine *const graph_coppice = &engine;

#endif

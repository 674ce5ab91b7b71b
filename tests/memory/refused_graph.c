/* SPDX-License-Identifier: MIT */
/* Without memory: what is computed, inside and outside of its functions; effects, scopes, reducers,
 * and looking at all that. */
#include "tests/memory/refused.h"

/* --- inside an evaluation: the call is what runs the function ---------------------------- */

typedef enum inside {
    READ_AT,
    READ_FIND,
    READ_EACH,
    READ_COUNT,
    READ_SLOW,
    READ_TYPED,
    READ_UNTRACKED,
    SCRATCH,
    FAIL,
    EMIT
} inside;

static world *probed; /* by the function below */

static int
each(void *context, const cop_child *child)
{
    *(uint64_t *)context += child->index;
    return 0;
}

static cop_status
emit_some(cop_evaluation *evaluation)
{
    cop_status status = COP_OK;

    for (int i = 0; i < 20 && status == COP_OK; i++) {
        char path[32];
        cop_value value = i % 2 ? cop_i64(i) : cop_string(probed->letters, 100);
        snprintf(path, sizeof path, "made/%d/x", i);
        status = cop_emit(evaluation, P(path), &value);
    }
    return status;
}

static cop_status
probe(cop_evaluation *evaluation, void *context, cop_value *result)
{
    inside what = (inside)(intptr_t)context;
    uint64_t sum = 0;
    uint32_t count = 0;
    int64_t n = 0;
    cop_atom atom;
    cop_value value;

    *result = cop_i64(1);
    switch (what) {
    case READ_AT:
        return cop_read_at(evaluation, P("big/item-01/n"), result);
    case READ_FIND:
        return cop_read_find(evaluation, P("big/item-02/n"), &atom);
    case READ_EACH:
        return cop_read_each(evaluation, probed->list, each, &sum, NULL);
    case READ_COUNT:
        return cop_read_count(evaluation, probed->list, &count);
    case READ_SLOW:
        return cop_read_slow_(evaluation, probed->number, result);
    case READ_TYPED:
        return cop_read_typed_(evaluation, probed->number, COP_I64, NULL, (uint64_t *)&n);
    case READ_UNTRACKED:
        return cop_read_untracked(evaluation, probed->number, &value);
    case SCRATCH:
        return cop_scratch(evaluation, 5000) != NULL ? COP_OK : COP_E_MEMORY;
    case FAIL:
        return cop_fail(evaluation, "a message that is too long to lie inside: %d", 7);
    case EMIT:
        return emit_some(evaluation);
    }
    return COP_E_INVALID;
}

static cop_status
define_probe(world *w, inside what)
{
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;

    probed = w;
    options.branch = what == EMIT;
    return cop_computed_define(w->store, P("probe"), probe, (void *)(intptr_t)what, &options,
                               &w->atom, NULL);
}

static cop_status
read_at(world *w)
{
    return define_probe(w, READ_AT);
}
static cop_status
read_find(world *w)
{
    return define_probe(w, READ_FIND);
}
static cop_status
read_each(world *w)
{
    return define_probe(w, READ_EACH);
}
static cop_status
read_count(world *w)
{
    return define_probe(w, READ_COUNT);
}
static cop_status
read_slow(world *w)
{
    return define_probe(w, READ_SLOW);
}
static cop_status
read_typed(world *w)
{
    return define_probe(w, READ_TYPED);
}
static cop_status
read_untracked(world *w)
{
    return define_probe(w, READ_UNTRACKED);
}
static cop_status
scratch(world *w)
{
    return define_probe(w, SCRATCH);
}
static cop_status
fail(world *w)
{
    return define_probe(w, FAIL);
}
static cop_status
emit(world *w)
{
    return define_probe(w, EMIT);
}

/* --- defining ---------------------------------------------------------------------------- */

static cop_status
computed_define(world *w)
{
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;

    probed = w;
    options.label = "a label";
    options.scope = w->scope;
    return cop_computed_define(w->store, P("new/computed"), probe, (void *)(intptr_t)READ_EACH,
                               &options, &w->atom, NULL);
}

static cop_status
define_lazy(world *w)
{
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;

    probed = w;
    options.kind = COP_LAZY;
    return cop_computed_define(w->store, P("new/lazy"), probe, (void *)(intptr_t)READ_AT, &options,
                               &w->atom, NULL);
}

static cop_status
define_background(world *w)
{
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;

    probed = w;
    options.kind = COP_BACKGROUND;
    return cop_computed_define(w->store, P("new/background"), probe, (void *)(intptr_t)READ_SLOW,
                               &options, &w->atom, NULL);
}

static cop_status
txn_define(world *w)
{
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;

    probed = w;
    options.label = "a label that is long enough not to lie anywhere inside";
    options.scope = w->scope;
    return cop_txn_define(w->txn, P("new/computed"), probe, (void *)(intptr_t)READ_EACH, &options,
                          NULL, NULL);
}

static cop_status
dispose(world *w)
{
    return cop_computed_dispose(w->store, w->owned);
}

static cop_status
reduce_define(world *w)
{
    cop_reduce_options top = COP_REDUCE_OPTIONS_INIT;

    top.k = 4;
    return cop_reduce_define(w->store, P("new/top"), P("big/*/n"), COP_REDUCE_TOP, &top, &w->atom,
                             NULL);
}

static cop_status
group_define(world *w)
{
    return cop_group_define(w->store, P("new/groups"), P("big/*"), "k", "n", COP_REDUCE_SUM, NULL,
                            &w->atom, NULL);
}

/* --- effects ----------------------------------------------------------------------------- */

static cop_status
count_runs(cop_evaluation *evaluation, void *context)
{
    world *w = context;
    cop_value value;

    w->figure++;
    return cop_read(evaluation, w->words, &value);
}

static cop_status
effect_open(world *w)
{
    cop_effect_options options = COP_EFFECT_OPTIONS_INIT;

    options.label = "a label";
    options.scope = w->scope;
    return cop_effect_open(w->store, count_runs, w, &options, &w->effect, NULL);
}

static cop_status
effect_close(world *w)
{
    cop_effect_close(w->store, w->effect);
    return COP_OK;
}

static cop_status
effects_run(world *w)
{
    return cop_effects_run(w->store, NULL, 0, NULL);
}

static cop_status
effects_settle(world *w)
{
    return cop_effects_settle(w->store, COP_FOREVER);
}

/* Runs for the first time: its dependencies are to be linked. */
static void
ready_effect(world *w)
{
    REQUIRE_OK(effect_open(w));
}

static void
ignore(void *context)
{
    (void)context;
}

static cop_status
run_inside(cop_evaluation *evaluation, void *context)
{
    world *w = context;
    cop_scope *scope;

    REQUIRE(cop_effect_snapshot(evaluation) != NULL);
    w->inner = cop_effect_on_cleanup(evaluation, ignore, NULL);
    if (w->inner != COP_OK)
        return w->inner;
    scope = cop_effect_scope(evaluation);
    w->inner = scope == NULL ? COP_E_MEMORY : cop_scope_add(scope, ignore, w);
    return w->inner;
}

static void
ready_inside(world *w)
{
    cop_effect_options options = COP_EFFECT_OPTIONS_INIT;

    options.scope = w->scope;
    REQUIRE_OK(cop_effect_open(w->store, run_inside, w, &options, &w->effect, NULL));
}

/* What the function was answered; a function that failed is not run again, so another one is
 * opened. */
static cop_status
effect_inside(world *w)
{
    cop_status status = cop_effects_run(w->store, NULL, 0, NULL);

    return status == COP_OK ? w->inner : status;
}

static cop_status
queue_open(world *w)
{
    return cop_effect_queue_open(w->store, (cop_effect_queue **)&w->made);
}

static void
ready_queue(world *w)
{
    REQUIRE_OK(queue_open(w));
}

static cop_status
queue_close(world *w)
{
    cop_effect_queue_close(w->made);
    w->made = NULL;
    return COP_OK;
}

static void
done_queue(world *w)
{
    (void)queue_close(w);
}

static cop_status
queue_fd(world *w)
{
    int fd;

    return cop_effect_queue_fd(w->made, &fd);
}

/* --- scopes ------------------------------------------------------------------------------ */

static cop_status
scope_open(world *w)
{
    return cop_scope_open(w->scope, (cop_scope **)&w->made);
}

static void
ready_scope(world *w)
{
    REQUIRE_OK(scope_open(w));
}

static void
done_scope(world *w)
{
    cop_scope_dispose(w->made);
    w->made = NULL;
}

static cop_status
scope_add(world *w)
{
    return cop_scope_add(w->made, ignore, w);
}

static cop_status
scope_add_atom(world *w)
{
    return cop_scope_add_atom(w->made, w->store, w->owned);
}

static cop_status
scope_add_effect(world *w)
{
    return cop_scope_add_effect(w->made, w->store, w->effect);
}

static cop_status
scope_uses(world *w)
{
    REQUIRE(!cop_scope_remove(w->made, ignore, NULL));
    cop_scope_keep(w->made);
    cop_scope_drop(w->made);
    return COP_OK;
}

static cop_status
scope_dispose(world *w)
{
    done_scope(w);
    return COP_OK;
}

static cop_status
scope_empty(world *w)
{
    cop_scope_empty(w->made);
    return COP_OK;
}

/* Without an atom: nothing is to be committed. */
static void
ready_full_scope(world *w)
{
    ready_scope(w);
    REQUIRE_OK(scope_add(w));
    REQUIRE_OK(scope_add_effect(w));
}

/* With two: one put there, one defined under it. Again: those that are left are put there. */
static void
ready_scoped_atoms(world *w)
{
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    cop_atom atom;

    if (w->made != NULL) {
        if (cop_atom_find(w->store, P("under"), &atom) == COP_OK)
            REQUIRE_OK(cop_scope_add_atom(w->made, w->store, atom));
        if (cop_atom_find(w->store, P("owned"), &atom) == COP_OK)
            REQUIRE_OK(cop_scope_add_atom(w->made, w->store, atom));
        return;
    }
    ready_scope(w);
    probed = w;
    options.scope = w->made;
    REQUIRE_OK(cop_computed_define(w->store, P("under"), probe, (void *)(intptr_t)READ_AT, &options,
                                   NULL, NULL));
    REQUIRE_OK(scope_add_atom(w));
}

/* How many of the two are there. */
static unsigned
atoms_under(const world *w)
{
    cop_atom atom;

    return (cop_atom_find(w->store, P("under"), &atom) == COP_OK ? 1u : 0u) +
           (cop_atom_find(w->store, P("owned"), &atom) == COP_OK ? 1u : 0u);
}

/* For want of memory that lasts they are still there, and each is logged. */
static cop_status
empty_atoms(world *w)
{
    unsigned after;

    w->logged = 0;
    cop_scope_empty(w->made);
    after = atoms_under(w);
    REQUIRE(w->logged == after);
    return after == 0 ? COP_OK : COP_E_MEMORY;
}

/* --- looking ----------------------------------------------------------------------------- */

static int
tell(void *context, const cop_graph_node *node)
{
    *(uint64_t *)context += node->edge_count;
    return 0;
}

static cop_status
graph_each(world *w)
{
    return cop_graph_each(w->store, NULL, tell, &w->figure, NULL);
}

static cop_status
graph_around(world *w)
{
    cop_graph_query query = COP_GRAPH_QUERY_INIT;

    query.around = &w->number;
    query.depth = 3;
    return cop_graph_each(w->store, &query, tell, &w->figure, NULL);
}

static cop_status
graph_look(world *w)
{
    return cop_graph_look(w->store, w->words, true, COP_FOREVER);
}

static cop_status
graph_explain(world *w)
{
    cop_status status = cop_graph_explain(w->store, w->twice, 0, (cop_explanation **)&w->made);

    return status == COP_E_TIMEOUT && w->made != NULL ? COP_OK : status;
}

static cop_status
explain_lazy(world *w)
{
    cop_status status = cop_graph_explain(w->store, w->lazy, 0, (cop_explanation **)&w->made);

    return status == COP_E_TIMEOUT && w->made != NULL ? COP_OK : status;
}

/* A run was written down. */
static void
ready_looked(world *w)
{
    REQUIRE_OK(graph_look(w));
    REQUIRE_OK(cop_graph_look(w->store, w->twice, true, COP_FOREVER));
    world_set(w, 9);
}

static void
ready_explained(world *w)
{
    REQUIRE_OK(graph_explain(w));
}

static cop_status
explanation_free(world *w)
{
    cop_explanation_free(w->made);
    w->made = NULL;
    return COP_OK;
}

static void
done_explained(world *w)
{
    (void)explanation_free(w);
}

static cop_status
graph_stats(world *w)
{
    cop_graph_counts counts = COP_GRAPH_COUNTS_INIT;

    return cop_graph_stats(w->store, COP_FOREVER, &counts);
}

static const refused_call calls[] = {
    {"cop_computed_define", "eager, in a scope", computed_define, HEALS, NULL, NULL, 0},
    {"cop_computed_define", "lazy", define_lazy, 0, NULL, NULL, 0},
    {"cop_computed_define", "background", define_background, 0, NULL, world_rest, 0},
    {"cop_txn_define", NULL, txn_define, HEALS, ready_txn, done_commit, 0},
    {"cop_computed_dispose", NULL, dispose, 0, NULL, NULL, 0},
    {"cop_read_at", NULL, read_at, HEALS, NULL, NULL, 0},
    {"cop_read_find", NULL, read_find, HEALS, NULL, NULL, 0},
    {"cop_read_each", NULL, read_each, HEALS, NULL, NULL, 0},
    {"cop_read_count", NULL, read_count, HEALS, NULL, NULL, 0},
    {"cop_read_slow_", NULL, read_slow, HEALS, NULL, NULL, 0},
    {"cop_read_typed_", NULL, read_typed, HEALS, NULL, NULL, 0},
    {"cop_read_untracked", NULL, read_untracked, HEALS, NULL, NULL, 0},
    {"cop_scratch", NULL, scratch, HEALS, NULL, NULL, 0},
    {"cop_fail", NULL, fail, HEALS, NULL, NULL, 0},
    {"cop_emit", NULL, emit, HEALS, NULL, NULL, 0},
    {"cop_reduce_define", NULL, reduce_define, HEALS, NULL, NULL, 0},
    {"cop_group_define", NULL, group_define, HEALS, NULL, NULL, 0},
    {"cop_effect_open", NULL, effect_open, 0, NULL, NULL, 0},
    {"cop_effect_close", NULL, effect_close, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_effects_run", "a first run", effects_run, 0, ready_effect, NULL, 0},
    {"cop_effects_settle", NULL, effects_settle, 0, ready_effect, NULL, 0},
    {"cop_effect_snapshot", NULL, effect_inside, READY_AGAIN | OWN_WAY, ready_inside, NULL, 0},
    {"cop_effect_on_cleanup", NULL, effect_inside, READY_AGAIN | OWN_WAY, ready_inside, NULL, 0},
    {"cop_effect_scope", NULL, effect_inside, READY_AGAIN | OWN_WAY, ready_inside, NULL, 0},
    {"cop_effect_queue_open", NULL, queue_open, 0, NULL, done_queue, 0},
    {"cop_effect_queue_close", NULL, queue_close, ASKS_NOTHING, ready_queue, NULL, 0},
    {"cop_effect_queue_fd", NULL, queue_fd, ASKS_NOTHING, ready_queue, done_queue, 0},
    {"cop_scope_open", NULL, scope_open, 0, NULL, done_scope, 0},
    {"cop_scope_add", NULL, scope_add, 0, ready_scope, done_scope, 0},
    {"cop_scope_add_atom", NULL, scope_add_atom, 0, ready_scope, done_scope, 0},
    {"cop_scope_add_effect", NULL, scope_add_effect, 0, ready_scope, done_scope, 0},
    {"cop_scope_remove", NULL, scope_uses, ASKS_NOTHING, ready_scope, done_scope, 0},
    {"cop_scope_keep", NULL, scope_uses, ASKS_NOTHING, ready_scope, done_scope, 0},
    {"cop_scope_drop", NULL, scope_uses, ASKS_NOTHING, ready_scope, done_scope, 0},
    {"cop_scope_empty", NULL, scope_empty, ASKS_NOTHING, ready_full_scope, done_scope, 0},
    {"cop_scope_empty", "of atoms", empty_atoms, BY_PARTS | READY_AGAIN, ready_scoped_atoms,
     done_scope, 0},
    {"cop_scope_dispose", NULL, scope_dispose, ASKS_NOTHING, ready_full_scope, NULL, 0},
    {"cop_graph_each", "all", graph_each, 0, NULL, NULL, 0},
    {"cop_graph_each", "around", graph_around, 0, NULL, NULL, 0},
    {"cop_graph_look", NULL, graph_look, 0, NULL, NULL, 0},
    {"cop_graph_explain", "not looked at", graph_explain, 0, NULL, done_explained, 0},
    {"cop_graph_explain", "looked at", graph_explain, 0, ready_looked, done_explained, 0},
    {"cop_graph_explain", "lazy", explain_lazy, 0, NULL, done_explained, 0},
    {"cop_explanation_free", NULL, explanation_free, ASKS_NOTHING, ready_explained, NULL, 0},
    {"cop_graph_stats", NULL, graph_stats, ASKS_NOTHING, NULL, NULL, 0},
};

int
main(void)
{
    return refused_main(calls, sizeof calls / sizeof *calls);
}

/* SPDX-License-Identifier: MIT */
/*
 * Why a computed atom ran: looks at it until its next run, and copies what look.c wrote down.
 *
 * Who waits sleeps on graph->look_event and reads look->runs without the commit right; the look
 * stays because it is referred to. The right is taken only to begin and to copy.
 */
#include "graph/inspect.h"
#include "graph/lazy.h"

#include <stdlib.h>

#define NEIGHBOURS_MAX 64
#define COPY_NS \
    UINT64_C(100000000) /* how long the right is waited for if there is no waiting otherwise */

const char *
cop_run_cause_name(cop_run_cause cause)
{
    static const char *const names[] = {"defined", "dependency", "repeated"};
    return (unsigned)cause < sizeof names / sizeof *names ? names[cause] : "unknown";
}

const char *
cop_run_outcome_name(cop_run_outcome outcome)
{
    static const char *const names[] = {"none", "changed", "same", "equal"};
    return (unsigned)outcome < sizeof names / sizeof *names ? names[outcome] : "unknown";
}

/* ---- looking ---- */

/* Why there is no look. */
static cop_status
no_look(const cop__graph *graph)
{
    return graph->look_count >= COP_GRAPH_LOOKS_MAX ? COP_E_LIMIT : COP_E_MEMORY;
}

/* What makes an atom: a node, or a lazy record. */
static cop_status
looked_at(cop_store *store, cop_atom atom, cop__node **node, cop__lazy **lazy)
{
    cop_status status = cop__inspect_node(store, atom, node);
    *lazy = status == COP_E_UNSUPPORTED ? cop__lazy_of(&store->graph, atom) : NULL;
    return *lazy != NULL ? COP_OK : status;
}

cop_status
cop_graph_look(cop_store *store, cop_atom atom, bool on, uint64_t deadline)
{
    cop_status status = cop__inspect_begin(store, deadline);
    if (status != COP_OK)
        return status;
    cop__graph *graph = &store->graph;
    cop__node *node;
    cop__lazy *lazy;
    cop__look *look = NULL;
    status = looked_at(store, atom, &node, &lazy);
    if (status == COP_OK && lazy != NULL)
        look = on ? cop__look_at_lazy(graph, lazy) : lazy->look;
    else if (status == COP_OK)
        look = on ? cop__look_at(graph, node) : cop__look_of(graph, node);
    if (status == COP_OK && on && look == NULL)
        status = no_look(graph);
    if (look != NULL)
        look->armed = on;
    cop__look_sweep(graph);
    cop__inspect_end(store);
    return status;
}

/* ---- waiting ---- */

typedef struct inquiry {
    cop_store *store;
    cop__look *look;
    uint32_t runs; /* that counted when it began */
    struct neighbour {
        cop__look *look;
        uint32_t id;
        uint32_t runs;
    } neighbour[NEIGHBOURS_MAX];
    size_t neighbours;
} inquiry;

static cop__look *
look_hold(cop__graph *graph, cop__node *node, cop__lazy *lazy)
{
    cop__look *look = lazy != NULL ? cop__look_at_lazy(graph, lazy) : cop__look_at(graph, node);
    if (look != NULL)
        (void)cop__add_relaxed(&look->references, 1u);
    return look;
}

/* The computed atoms that it reads: so that one which is cut off can be named. */
static void
look_around(inquiry *q, const cop__node *node)
{
    cop__graph *graph = &q->store->graph;
    uint32_t n = cop__dependency_count(node);
    for (uint32_t i = 0; i < n && q->neighbours < NEIGHBOURS_MAX; i++) {
        cop__node *below = cop__dependency_node(graph, cop__dependencies(graph, node)[i]);
        if (below == NULL || (below->flags & COP_NODE_EFFECT))
            continue;
        cop__look *look = look_hold(graph, below, NULL);
        if (look == NULL)
            return;
        q->neighbour[q->neighbours++] =
            (struct neighbour){look, below->id, cop__load_relaxed(&look->runs)};
    }
}

static cop_status
inquiry_begin(inquiry *q, cop_atom *atom)
{
    cop__node *node;
    cop__lazy *lazy;
    cop__graph *graph = &q->store->graph;
    cop_status status = looked_at(q->store, *atom, &node, &lazy);
    if (status != COP_OK)
        return status;
    if (lazy == NULL)
        *atom = cop__atom_of_node(q->store, node);
    q->look = look_hold(graph, node, lazy);
    if (q->look == NULL)
        return no_look(graph);
    q->runs = cop__load_relaxed(&q->look->runs);
    if (lazy == NULL)
        look_around(q, node);
    return COP_OK;
}

/* Whoever holds the right next takes the looks away. */
static void
inquiry_end(inquiry *q)
{
    for (size_t i = 0; i < q->neighbours; i++)
        cop__sub_acq_rel(&q->neighbour[i].look->references, 1u);
    if (q->look != NULL)
        cop__sub_acq_rel(&q->look->references, 1u);
    if (!cop__right_try(q->store))
        return;
    cop__look_sweep(&q->store->graph);
    cop__right_leave(q->store);
}

static cop_status
inquiry_wait(inquiry *q, uint64_t deadline)
{
    cop__graph *graph = &q->store->graph;
    for (;;) {
        uint32_t event = cop__load_acquire(&graph->look_event);
        if (cop__load_acquire(&q->look->runs) != q->runs)
            return COP_OK;
        if (cop__load_acquire(&q->look->gone))
            return COP_E_GONE;
        cop_status status = cop__store_usable(q->store);
        if (status != COP_OK)
            return status;
        if (cop__clock_ns() >= deadline)
            return COP_E_TIMEOUT;
        cop__futex_wait(&graph->look_event, event, deadline);
    }
}

/* ---- copying ---- */

typedef struct explained {
    cop_explanation public; /* first */
    cop__keep keep;
} explained;

/* It has not changed after the branch that it is in. */
static uint64_t
unchanged_since(const cop_store *store, cop_atom atom)
{
    uint64_t version = 0;
    cop_atom parent;
    const cop_snapshot *root = store->tree.root;
    if (atom.generation == 0)
        return 0;
    if (cop_changed(root, atom, &version) == COP_OK)
        return version;
    if (cop_parent(root, atom, &parent) != COP_OK || cop_changed(root, parent, &version) != COP_OK)
        return 0;
    return version;
}

static void
tell_neighbour(const inquiry *q, uint32_t id, cop_explained *to)
{
    const cop__record *record = cop__record_of(&q->store->graph, id);
    uint32_t maker = record != NULL ? record->node & ~COP_OWNED_CHILD : 0;
    to->computed = maker != 0 || cop__lazy_of(&q->store->graph, to->atom) != NULL;
    if (maker == 0)
        return;
    for (size_t i = 0; i < q->neighbours; i++) {
        const struct neighbour *n = &q->neighbour[i];
        if (n->id != q->store->graph.nodes[maker].id ||
            cop__load_relaxed(&n->look->runs) == n->runs)
            continue;
        to->outcome = n->look->last.outcome;
        to->ran_version = n->look->last.version;
    }
}

static void
tell_seen(const inquiry *q, cop__keep *keep, const cop__seen *seen, cop_explained *to)
{
    to->atom = seen->atom;
    to->what = cop__depends_of(seen->dependency);
    to->path = seen->path != NULL ? cop__keep_text(keep, seen->path, strlen(seen->path))
                                  : cop__keep_path(keep, q->store, seen->atom);
    to->changed = seen->changed;
    to->value = cop__keep_value(keep, &seen->value);
    to->before = cop__keep_value(keep, &seen->before);
    to->changed_version = seen->changed_version;
    to->unchanged_since = unchanged_since(q->store, seen->atom);
    tell_neighbour(q, seen->atom.id, to);
}

static const cop_explained *
tell_list(const inquiry *q, cop__keep *keep, const cop__seen_list *list, size_t *count,
          size_t *total)
{
    *count = *total = 0;
    cop_explained *told =
        list != NULL ? cop__keep_room(keep, list->count * sizeof *told) : NULL;
    if (told == NULL)
        return NULL;
    for (size_t i = 0; i < list->count; i++)
        tell_seen(q, keep, &list->seen[i], &told[i]);
    *count = list->count;
    *total = list->total;
    return told;
}

static void
tell_run(const inquiry *q, explained *to)
{
    const cop__looked_run *run = &q->look->last;
    cop_explanation *told = &to->public;
    told->ran = true;
    told->version = run->version;
    told->time_ns = run->time_ns;
    told->duration_ns = run->duration_ns;
    told->discarded = run->discarded;
    told->cause = run->cause;
    told->outcome = run->outcome;
    told->before = cop__keep_value(&to->keep, &run->values->seen[0].before);
    told->after = cop__keep_value(&to->keep, &run->values->seen[0].value);
    told->causes = tell_list(q, &to->keep, run->causes, &told->cause_count, &told->cause_total);
    told->dependencies =
        tell_list(q, &to->keep, run->read, &told->dependency_count, &told->dependency_total);
}

/* What is known without a run. */
static void
tell_idle(const inquiry *q, explained *to, cop__seen_list *read)
{
    cop_explanation *told = &to->public;
    const cop__graph *graph = &q->store->graph;
    told->dependencies =
        tell_list(q, &to->keep, read, &told->dependency_count, &told->dependency_total);
    if (read == NULL)
        to->keep.refused = true;
    else
        cop__memory_free(graph->memory, COP_MEMORY_GRAPH, read, read->bytes, 16);
}

static void
tell_counts(const inquiry *q, cop_explanation *told)
{
    told->runs = q->look->count;
    told->cutoffs = q->look->cutoffs;
    told->total_ns = q->look->total_ns;
    told->longest_ns = q->look->longest_ns;
}

static void
tell_node(const inquiry *q, explained *to, const cop__node *node)
{
    cop_explanation *told = &to->public;
    cop__graph *graph = &q->store->graph;
    cop_value value;
    told->kind = cop__kind_of(node);
    told->label = cop__keep_label(&to->keep, graph, node);
    told->height = node->height;
    told->cycle = (node->flags & COP_NODE_CYCLE) != 0;
    told->dependents = cop__dependents_count(graph, node->id);
    told->value_version = q->store->tree.root->version;
    if (cop_get(q->store->tree.root, told->atom, &value) == COP_OK)
        told->value = cop__keep_value(&to->keep, &value);
    tell_counts(q, told);
    if (cop__load_relaxed(&q->look->runs) == 0)
        tell_idle(q, to, cop__see_published(graph, node));
}

/* Its value is not asked for: that might run it. */
static void
tell_lazy(const inquiry *q, explained *to, cop__lazy *lazy)
{
    cop_explanation *told = &to->public;
    const cop_snapshot *root = q->store->tree.root;
    const cop__memo *memo = lazy->memos;
    told->kind = lazy->kind == COP_BACKGROUND ? COP_GRAPH_BACKGROUND : COP_GRAPH_LAZY;
    told->label = cop__keep_text(&to->keep, lazy->side->label, strlen(lazy->side->label));
    told->dependents = cop__dependents_count(&q->store->graph, lazy->atom.id);
    told->cycle = memo != NULL && memo->circle;
    if (memo != NULL)
        told->value = cop__keep_value(&to->keep, &memo->value);
    told->value_version = q->look->last.version;
    tell_counts(q, told);
    if (cop__load_relaxed(&q->look->runs) == 0)
        tell_idle(q, to, cop__see_remembered(root, lazy));
}

/* Needs the right. NULL: no memory. */
static explained *
explanation_make(const inquiry *q, cop_atom atom)
{
    explained *to = calloc(1, sizeof *to);
    if (to == NULL)
        return NULL;
    to->public.atom = atom;
    to->public.path = cop__keep_path(&to->keep, q->store, atom);
    to->public.label = "";
    cop__lazy *lazy = q->look->lazy; /* it stays as long as the right is held */
    if (lazy != NULL)
        pthread_mutex_lock(&lazy->lock);
    if (lazy != NULL)
        tell_lazy(q, to, lazy);
    else if (q->look->node != 0)
        tell_node(q, to, &q->store->graph.nodes[q->look->node]);
    if (cop__load_relaxed(&q->look->runs) != 0)
        tell_run(q, to);
    if (lazy != NULL)
        pthread_mutex_unlock(&lazy->lock);
    if (!to->keep.refused)
        return to;
    cop_explanation_free(&to->public);
    return NULL;
}

void
cop_explanation_free(cop_explanation *explanation)
{
    explained *e = (explained *)(void *)explanation;
    if (e == NULL)
        return;
    cop__keep_free(&e->keep);
    free(e);
}

/* The deadline for taking the right, which is to be had soon even if there is no waiting. */
static uint64_t
soon_at_least(uint64_t deadline)
{
    uint64_t soon = cop__clock_ns() + COPY_NS;
    return deadline > soon ? deadline : soon;
}

static cop_status
inquiry_copy(const inquiry *q, cop_atom atom, uint64_t deadline, cop_explanation **explanation)
{
    cop_status status = cop__right_wait(q->store, soon_at_least(deadline));
    if (status != COP_OK)
        return status;
    explained *made = explanation_make(q, atom);
    cop__right_leave(q->store);
    if (made == NULL)
        return COP_E_MEMORY;
    *explanation = &made->public;
    return COP_OK;
}

cop_status
cop_graph_explain(cop_store *store, cop_atom atom, uint64_t deadline, cop_explanation **explanation)
{
    inquiry q = {.store = store};
    if (explanation == NULL)
        return COP_E_INVALID;
    *explanation = NULL;
    cop_status status = cop__inspect_begin(store, soon_at_least(deadline));
    if (status != COP_OK)
        return status;
    struct cop__gate *gate = store->gate;
    cop__gate_use(gate);
    status = inquiry_begin(&q, &atom);
    cop__inspect_end(store);
    if (status == COP_OK)
        status = inquiry_wait(&q, deadline);
    if (status == COP_OK || status == COP_E_TIMEOUT) {
        cop_status copied = inquiry_copy(&q, atom, deadline, explanation);
        status = copied == COP_OK ? status : copied;
    }
    inquiry_end(&q);
    cop__gate_end_use(gate);
    return status;
}

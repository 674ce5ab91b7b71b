/* SPDX-License-Identifier: MIT */
/* What the functions that tell people about the graph share; and its counts. */
#include "graph/inspect.h"

#include "graph/lazy.h"

#include <stdlib.h>

/* ---- names ---- */

const char *
cop_graph_kind_name(cop_graph_kind kind)
{
    static const char *const names[] = {"source",     "eager",  "lazy",
                                        "background", "branch", "effect"};
    return (unsigned)kind < sizeof names / sizeof *names ? names[kind] : "unknown";
}

const char *
cop_depends_name(cop_depends what)
{
    static const char *const names[] = {"value", "branch", "children", "path"};
    return (unsigned)what < sizeof names / sizeof *names ? names[what] : "unknown";
}

/* ---- memory ---- */

#define KEPT_BYTES ((size_t)16384)

struct cop__kept {
    _Alignas(16) struct cop__kept *before;
    size_t used, size;
    _Alignas(16) char bytes[];
};

void *
cop__keep_room(cop__keep *keep, size_t size)
{
    size_t rounded = (size + 15) & ~(size_t)15;
    struct cop__kept *last = keep->last;
    if (last == NULL || last->size - last->used < rounded) {
        size_t room = rounded > KEPT_BYTES ? rounded : KEPT_BYTES;
        last = keep->refused ? NULL : calloc(1, sizeof *last + room);
        if (last == NULL) {
            keep->refused = true;
            return NULL;
        }
        last->before = keep->last;
        last->size = room;
        keep->last = last;
    }
    void *p = last->bytes + last->used;
    last->used += rounded;
    return p;
}

void
cop__keep_free(cop__keep *keep)
{
    while (keep->last != NULL) {
        struct cop__kept *before = keep->last->before;
        free(keep->last);
        keep->last = before;
    }
}

const char *
cop__keep_text(cop__keep *keep, const char *text, size_t length)
{
    char *copy = cop__keep_room(keep, length + 1);
    if (copy == NULL)
        return "";
    memcpy(copy, text, length);
    return copy;
}

cop_value
cop__keep_value(cop__keep *keep, const cop_value *value)
{
    if (!cop_value_is_text(value) || value->inlined != COP_VALUE_OUTSIDE)
        return *value;
    size_t n = cop_value_length(value);
    return cop_text((cop_type)value->type, cop__keep_text(keep, cop_value_data(value), n), n);
}

const char *
cop__keep_path(cop__keep *keep, const cop_store *store, cop_atom atom)
{
    char path[512];
    size_t length = 0;
    const cop_snapshot *root = store->tree.root;
    cop_status status = cop_atom_path(root, atom, path, sizeof path, &length);
    if (status == COP_OK)
        return cop__keep_text(keep, path, length);
    char *room = status == COP_E_RANGE ? cop__keep_room(keep, length + 1) : NULL;
    return room != NULL && cop_atom_path(root, atom, room, length + 1, &length) == COP_OK ? room
                                                                                          : "";
}

const char *
cop__keep_label(cop__keep *keep, const cop__graph *graph, const cop__node *node)
{
    if (!(node->flags & COP_NODE_SIDE))
        return "";
    uint32_t number = cop__map_get(&graph->side_of, cop__node_number(graph, node));
    const char *label = graph->sides[number]->label;
    return cop__keep_text(keep, label, strlen(label));
}

/* ---- the right ---- */

cop_status
cop__inspect_begin(cop_store *store, uint64_t deadline)
{
    cop_status status = cop__store_may_wait(store);
    if (status != COP_OK)
        return status;
    cop__gate_use(store->gate);
    status = cop__right_wait(store, deadline);
    if (status == COP_OK)
        cop__look_sweep(&store->graph); /* what its last user left while another held the right */
    else
        cop__gate_end_use(store->gate);
    return status;
}

void
cop__inspect_end(cop_store *store)
{
    struct cop__gate *gate = store->gate;
    cop__right_leave(store);
    cop__gate_end_use(gate);
}

/* ---- nodes ---- */

cop_status
cop__inspect_node(cop_store *store, cop_atom atom, cop__node **node)
{
    *node = NULL;
    if (cop__root_atom(store->tree.root, atom) == NULL)
        return COP_E_GONE;
    const cop__record *record = cop__record_of(&store->graph, atom.id);
    if (record == NULL || record->node == 0)
        return cop__lazy_of(&store->graph, atom) != NULL ? COP_E_UNSUPPORTED : COP_E_STATE;
    *node = &store->graph.nodes[record->node & ~COP_OWNED_CHILD];
    return COP_OK;
}

cop_graph_kind
cop__kind_of(const cop__node *node)
{
    if (node->flags & COP_NODE_EFFECT)
        return COP_GRAPH_EFFECT;
    return node->flags & COP_NODE_BRANCH ? COP_GRAPH_BRANCH : COP_GRAPH_EAGER;
}

cop_atom
cop__atom_of_node(const cop_store *store, const cop__node *node)
{
    if (node->flags & COP_NODE_EFFECT)
        return (cop_atom){0, 0};
    const cop__slot *slot = cop__root_slot(store->tree.root, node->id);
    return (cop_atom){node->id, slot != NULL ? slot->reserved : 0};
}

static bool
count_one(void *context, uint32_t node)
{
    (void)node;
    ++*(uint32_t *)context;
    return true;
}

uint32_t
cop__dependents_count(const cop__graph *graph, uint32_t id)
{
    uint32_t n = 0;
    const cop__record *record = cop__record_of(graph, id);
    if (record != NULL)
        (void)cop__dependents_each(graph, &record->dependents, count_one, &n);
    return n;
}

cop_depends
cop__depends_of(uint64_t dependency)
{
    return (cop_depends)((dependency & COP_DEPENDS_WHAT) >> 62);
}

/* ---- counts ---- */

cop_status
cop_graph_stats(cop_store *store, uint64_t deadline, cop_graph_counts *counts)
{
    if (counts == NULL || counts->size != sizeof *counts)
        return COP_E_INVALID;
    cop_status status = cop__inspect_begin(store, deadline);
    if (status != COP_OK)
        return status;
    const cop__graph *graph = &store->graph;
    counts->nodes = graph->live;
    counts->looked = graph->look_count;
    counts->waves = graph->count.waves;
    counts->runs = graph->count.runs;
    counts->discarded = graph->count.discarded;
    counts->cutoffs = graph->count.cutoffs;
    counts->errors = graph->run.errors;
    counts->cycles = graph->count.cycles;
    counts->raised = graph->count.raised;
    cop__inspect_end(store);
    return COP_OK;
}

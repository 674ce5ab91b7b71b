/* SPDX-License-Identifier: MIT */
/*
 * Telling the graph's nodes and edges. They are collected under the commit right into memory of
 * their own, breadth first from an atom or from every node, and told once the right has been given
 * back.
 */
#include "graph/inspect.h"

#include <stdlib.h>

#include "graph/lazy.h"

/* ---- collecting ---- */

typedef struct item {
    uint32_t id;   /* of the atom */
    uint32_t node; /* 0: a source */
    uint32_t distance;
} item;

typedef struct collection {
    cop_store *store;
    cop__graph *graph;
    const cop_graph_query *query;
    cop__keep keep;
    cop__map seen; /* atoms, and effects by their nodes' numbers */
    item *items;
    size_t count, capacity;
    uint32_t distance; /* of what is being added */
    bool more, refused;
    uint32_t *lists; /* branches whose children the node at hand lists, ascending */
    size_t list_count, list_capacity;
    cop_graph_edge *edges; /* of the node at hand */
    size_t edge_count, edge_capacity;
} collection;

static bool
room(collection *c, void *vector, size_t *capacity, size_t need, size_t element)
{
    void **p = vector;
    if (need <= *capacity)
        return true;
    size_t wide = cop__memory_more(*capacity, need);
    void *grown = realloc(*p, wide * element);
    if (grown == NULL) {
        c->refused = true;
        return false;
    }
    *p = grown;
    *capacity = wide;
    return true;
}

static void
add(collection *c, uint32_t id, uint32_t node)
{
    bool effect = node != 0 && (c->graph->nodes[node].flags & COP_NODE_EFFECT) != 0;
    uint64_t key = effect ? UINT64_C(1) << 32 | node : id;
    if (c->refused || cop__map_get(&c->seen, key) != 0)
        return;
    if (c->count >= c->query->most) {
        c->more = true;
        return;
    }
    if (!room(c, &c->items, &c->capacity, c->count + 1, sizeof *c->items))
        return;
    if (!cop__map_put(c->graph, &c->seen, key, 1)) {
        c->graph->tree->failed = COP_OK; /* no draft's failure */
        c->refused = true;
        return;
    }
    c->items[c->count++] = (item){id, node, c->distance};
}

/* The atom, or the owner of the branch that it is in. */
static void
add_atom(collection *c, uint32_t id)
{
    const cop__record *record = cop__record_of(c->graph, id);
    uint32_t node = record != NULL ? record->node & ~COP_OWNED_CHILD : 0;
    add(c, node != 0 ? c->graph->nodes[node].id : id, node);
}

/* ---- edges ---- */

static int
id_order(const void *left, const void *right)
{
    const uint32_t *a = left, *b = right;
    return (*a > *b) - (*a < *b);
}

/* The highest branch above an atom whose children the node lists, or the atom. */
static uint32_t
fold(const collection *c, uint32_t id)
{
    const cop_snapshot *root = c->store->tree.root;
    cop__view view = {root, NULL};
    uint32_t above = id;
    while (c->list_count > 0) {
        above = cop__info_parent(view, cop__root_info(root, above));
        if (above == UINT32_MAX)
            break;
        if (bsearch(&above, c->lists, c->list_count, sizeof *c->lists, id_order) != NULL)
            id = above;
    }
    return id;
}

static void
edge_add(collection *c, cop_atom atom, const char *path, cop_depends what)
{
    if (room(c, &c->edges, &c->edge_capacity, c->edge_count + 1, sizeof *c->edges))
        c->edges[c->edge_count++] = (cop_graph_edge){atom, path, what, 1};
}

static void
edge_of_path(collection *c, uint64_t dependency)
{
    const cop__interest *interest = &c->graph->interests[(uint32_t)dependency];
    cop_atom atom = {0, 0};
    (void)cop_find(c->store->tree.root, interest->path, interest->length, &atom);
    edge_add(c, atom, cop__keep_text(&c->keep, interest->path, interest->length), COP_ON_PATH);
}

static void
edge_of(collection *c, uint64_t dependency)
{
    cop_depends what = cop__depends_of(dependency);
    if (what == COP_ON_PATH) {
        edge_of_path(c, dependency);
        return;
    }
    uint32_t id = (uint32_t)dependency;
    const cop__record *record = cop__record_of(c->graph, id);
    if (record != NULL && (record->node & COP_OWNED_CHILD))
        id = c->graph->nodes[record->node & ~COP_OWNED_CHILD].id;
    else if (record == NULL || record->node == 0)
        id = fold(c, id);
    if (id != (uint32_t)dependency)
        what = COP_ON_CHILDREN;
    const cop__slot *slot = cop__root_slot(c->store->tree.root, id);
    cop_atom atom = {id, slot != NULL ? slot->reserved : 0};
    if (id == (uint32_t)dependency)
        atom.generation = (uint32_t)(dependency >> 32) & COP_GENERATION_MAX;
    edge_add(c, atom, NULL, what);
}

/* The branches whose children a list of dependencies lists. */
static void
lists_add(collection *c, uint64_t dependency)
{
    if (cop__depends_of(dependency) == COP_ON_CHILDREN &&
        room(c, &c->lists, &c->list_capacity, c->list_count + 1, sizeof *c->lists))
        c->lists[c->list_count++] = (uint32_t)dependency;
}

static void
lists_sort(collection *c)
{
    if (c->list_count > 1)
        qsort(c->lists, c->list_count, sizeof *c->lists, id_order);
}

static int
edge_order(const void *left, const void *right)
{
    const cop_graph_edge *a = left, *b = right;
    if (a->atom.id != b->atom.id)
        return (a->atom.id > b->atom.id) - (a->atom.id < b->atom.id);
    if (a->atom.generation == 0 && a->path != NULL && b->path != NULL)
        return strcmp(a->path, b->path);
    return (int)a->what - (int)b->what;
}

/* Of several edges to one atom the one that says most stays: a value above a branch above a path,
 * and the list of children above all. */
static cop_depends
stronger(cop_depends a, cop_depends b)
{
    static const int rank[] = {
        [COP_ON_VALUE] = 2, [COP_ON_BRANCH] = 1, [COP_ON_CHILDREN] = 3, [COP_ON_PATH] = 0};
    return rank[a] >= rank[b] ? a : b;
}

static void
edges_merge(collection *c)
{
    size_t n = 0;
    if (c->edge_count > 1)
        qsort(c->edges, c->edge_count, sizeof *c->edges, edge_order);
    for (size_t i = 0; i < c->edge_count; i++) {
        cop_graph_edge *to = n > 0 ? &c->edges[n - 1] : NULL;
        const cop_graph_edge *from = &c->edges[i];
        bool nowhere = from->atom.generation == 0 && from->path != NULL;
        if (to != NULL && to->atom.id == from->atom.id &&
            to->atom.generation == from->atom.generation &&
            (!nowhere || strcmp(to->path, from->path) == 0)) {
            to->what = stronger(to->what, from->what);
            to->path = to->what == COP_ON_PATH ? to->path : NULL;
            to->reads += from->reads;
        } else {
            c->edges[n++] = *from;
        }
    }
    c->edge_count = n;
}

static void
edges_collect(collection *c, const cop__node *node)
{
    const uint64_t *list = cop__dependencies(c->graph, node);
    uint32_t n = cop__dependency_count(node);
    c->list_count = c->edge_count = 0;
    for (uint32_t i = 0; i < n; i++)
        lists_add(c, list[i]);
    lists_sort(c);
    for (uint32_t i = 0; i < n && !c->refused; i++)
        edge_of(c, list[i]);
    edges_merge(c);
}

static void
edge_of_input(collection *c, const cop__memo *memo, const cop__input *input)
{
    const char *texts = (const char *)(memo->input + memo->inputs);
    if ((input->what & COP_DEPENDS_WHAT) != COP_DEPENDS_PATH) {
        edge_of(c, input->what);
        return;
    }
    cop_atom atom = {(uint32_t)input->word[0], (uint32_t)(input->word[0] >> 32)};
    edge_add(c, atom, cop__keep_text(&c->keep, texts + input->word[1], input->more), COP_ON_PATH);
}

/* What a lazy or background atom read when it was last needed. Its inputs change under its lock. */
static void
edges_collect_lazy(collection *c, cop__lazy *lazy)
{
    c->list_count = c->edge_count = 0;
    pthread_mutex_lock(&lazy->lock);
    const cop__memo *memo = lazy->memos;
    for (uint64_t i = 0; memo != NULL && i < memo->inputs; i++)
        lists_add(c, memo->input[i].what);
    lists_sort(c);
    for (uint64_t i = 0; memo != NULL && i < memo->inputs && !c->refused; i++)
        edge_of_input(c, memo, &memo->input[i]);
    pthread_mutex_unlock(&lazy->lock);
    edges_merge(c);
}

static cop__lazy *
lazy_of(const collection *c, const item *from)
{
    const cop__slot *slot = cop__root_slot(c->store->tree.root, from->id);
    if (from->node != 0 || slot == NULL)
        return NULL;
    return cop__lazy_of(c->graph, (cop_atom){from->id, slot->reserved});
}

/* ---- breadth first ---- */

static bool
add_dependent(void *context, uint32_t node)
{
    collection *c = context;
    add(c, c->graph->nodes[node].id, node);
    return !c->refused;
}

static void
add_interested(collection *c, uint32_t id)
{
    const cop__slot *slot = cop__root_slot(c->store->tree.root, id);
    if (slot == NULL || !cop__slot_is_branch(slot))
        return;
    uint64_t key = COP_DEPENDS_LIST | (uint64_t)slot->reserved << 32 | id;
    uint32_t number = cop__map_get(&c->graph->interest_of, key);
    if (number != 0)
        (void)cop__dependents_each(c->graph, &c->graph->interests[number].dependents, add_dependent,
                                   c);
}

static void
expand(collection *c, const item *from)
{
    for (size_t i = 0; i < c->edge_count; i++)
        if (c->edges[i].atom.generation != 0)
            add_atom(c, c->edges[i].atom.id);
    if (c->query->around == NULL ||
        (from->node != 0 && (c->graph->nodes[from->node].flags & COP_NODE_EFFECT)))
        return;
    const cop__record *record = cop__record_of(c->graph, from->id);
    if (record != NULL)
        (void)cop__dependents_each(c->graph, &record->dependents, add_dependent, c);
    add_interested(c, from->id);
}

static void
tell_edges(collection *c, cop_graph_node *told)
{
    cop_graph_edge *edges = cop__keep_room(&c->keep, c->edge_count * sizeof *edges);
    if (edges != NULL && c->edge_count > 0)
        memcpy(edges, c->edges, c->edge_count * sizeof *edges);
    told->edges = edges;
    told->edge_count = edges != NULL ? c->edge_count : 0;
}

static void
tell_lazy(collection *c, const cop__lazy *lazy, cop_graph_node *told)
{
    told->kind = lazy->kind == COP_BACKGROUND ? COP_GRAPH_BACKGROUND : COP_GRAPH_LAZY;
    if (lazy->side != NULL)
        told->label = cop__keep_text(&c->keep, lazy->side->label, strlen(lazy->side->label));
    tell_edges(c, told);
}

static cop_graph_node *
tell(collection *c, const item *from, const cop__lazy *lazy)
{
    cop_graph_node *told = cop__keep_room(&c->keep, sizeof *told);
    if (told == NULL)
        return NULL;
    const cop__node *node = from->node != 0 ? &c->graph->nodes[from->node] : NULL;
    const cop__slot *slot = cop__root_slot(c->store->tree.root, from->id);
    told->atom = node != NULL ? cop__atom_of_node(c->store, node)
                              : (cop_atom){from->id, slot != NULL ? slot->reserved : 0};
    told->path = told->label = "";
    if (told->atom.generation != 0)
        told->path = cop__keep_path(&c->keep, c->store, told->atom);
    told->distance = from->distance;
    if (node == NULL || !(node->flags & COP_NODE_EFFECT))
        told->dependents = cop__dependents_count(c->graph, from->id);
    if (lazy != NULL)
        tell_lazy(c, lazy, told);
    if (node == NULL)
        return told;
    told->kind = cop__kind_of(node);
    told->label = cop__keep_label(&c->keep, c->graph, node);
    told->height = told->kind == COP_GRAPH_EFFECT ? 0 : node->height;
    told->cycle = (node->flags & COP_NODE_CYCLE) != 0;
    told->looked = (node->flags & COP_NODE_LOOKED) != 0;
    tell_edges(c, told);
    return told;
}

static void
seed_lazy(collection *c)
{
    const cop__lazies *all = c->graph->lazies;
    for (uint32_t i = 1; all != NULL && i < all->item_count && !c->refused; i++)
        if (all->item[i] != NULL && cop__root_atom(c->store->tree.root, all->item[i]->atom) != NULL)
            add_atom(c, all->item[i]->atom.id);
}

static void
seed(collection *c)
{
    if (c->query->around != NULL) {
        add_atom(c, c->query->around->id);
        return;
    }
    for (uint32_t i = 1; i < c->graph->node_count && !c->refused; i++) {
        const cop__node *node = &c->graph->nodes[i];
        if ((node->flags & COP_NODE_LIVE) &&
            (!(node->flags & COP_NODE_EFFECT) || cop__dependency_count(node) > 0))
            add(c, node->id, i);
    }
    seed_lazy(c);
}

static cop_graph_node **
collect(collection *c)
{
    cop_graph_node **told = NULL;
    size_t capacity = 0;
    seed(c);
    for (size_t i = 0; i < c->count && !c->refused; i++) {
        item from = c->items[i];
        c->edge_count = 0;
        if (from.node != 0)
            edges_collect(c, &c->graph->nodes[from.node]);
        cop__lazy *lazy = lazy_of(c, &from);
        if (lazy != NULL)
            edges_collect_lazy(c, lazy);
        if (!room(c, &told, &capacity, c->count, sizeof *told))
            break;
        told[i] = tell(c, &from, lazy);
        c->distance = c->query->around != NULL ? from.distance + 1 : 0;
        if (c->query->around == NULL || from.distance < c->query->depth)
            expand(c, &from);
    }
    c->refused |= c->keep.refused;
    return told;
}

static const cop_graph_query all = COP_GRAPH_QUERY_INIT;

static cop_status
query_take(const cop_graph_query *given, cop_graph_query *query)
{
    *query = all;
    if (given == NULL)
        return COP_OK;
    if (given->size < sizeof given->size || given->size > sizeof *query)
        return COP_E_INVALID;
    memcpy(query, given, given->size);
    return COP_OK;
}

cop_status
cop_graph_each(cop_store *store, const cop_graph_query *given, cop_graph_function function,
               void *context, int *stopped)
{
    cop_graph_query query;
    int stop = 0;
    if (stopped != NULL)
        *stopped = 0;
    cop_status status = function != NULL ? query_take(given, &query) : COP_E_INVALID;
    if (status == COP_OK)
        status = cop__inspect_begin(store, query.deadline);
    if (status != COP_OK)
        return status;
    collection c = {.store = store, .graph = &store->graph, .query = &query};
    cop_graph_node **told = NULL;
    if (query.around != NULL && cop__root_atom(store->tree.root, *query.around) == NULL)
        status = COP_E_GONE;
    else
        told = collect(&c);
    cop__memory_free(store->memory, COP_MEMORY_GRAPH, c.seen.entry,
                     c.seen.capacity * sizeof *c.seen.entry, 16);
    cop__inspect_end(store);
    if (c.refused)
        status = COP_E_MEMORY;
    for (size_t i = 0; i < c.count && status == COP_OK && stop == 0; i++)
        stop = function(context, told[i]);
    if (stopped != NULL)
        *stopped = stop;
    free(told);
    free(c.items);
    free(c.lists);
    free(c.edges);
    cop__keep_free(&c.keep);
    return status == COP_OK && c.more ? COP_E_LIMIT : status;
}

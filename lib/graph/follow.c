/* SPDX-License-Identifier: MIT */
/* Followers: their life, and what is told to them. See follow.h. */
#include "graph/follow_internal.h"

/* ---- changes ---- */

static void
refused(cop__graph *graph, cop_status status)
{
    if (status == COP_E_MEMORY)
        graph->tree->failed = COP_E_MEMORY;
}

static void
touch(cop__graph *graph, cop__follower *f)
{
    cop__node *node = &graph->nodes[f->node];
    if (!f->touched) {
        f->touched = true;
        f->next_touched = graph->follow.touched;
        graph->follow.touched = f;
        if (!f->born && f->grouping != NULL)
            cop__grouping_mark(f->grouping);
        else if (!f->born)
            cop__reduction_mark(f->reduction);
    }
    if (node->flags & COP_NODE_PLACED)
        cop__mark_node(graph, node);
}

static const cop_value absent; /* COP_NONE */

/* The value of an atom in the draft. That of a lazy one is told once it has one. */
static cop_value
value_of(cop__graph *graph, cop__follower *f, uint32_t id)
{
    const cop__slot *slot = cop__draft_slot(graph->tree, id);
    if (cop__likely(!cop__slot_is_lazy(slot)))
        return cop__slot_value(slot);
    if (cop__graph_grow(graph, &f->lazy, &f->lazy_capacity, f->lazy_count + 1, sizeof *f->lazy))
        f->lazy[f->lazy_count++] = id;
    return absent;
}

void
cop__follow_member_is(cop__graph *graph, cop__follower *f, uint32_t id, const cop__name *name)
{
    cop_value value = value_of(graph, f, id);
    cop_status status = cop__reduction_change(f->reduction, id, &value);
    if (status == COP_E_ABSENT)
        status = cop__reduction_insert(f->reduction, id, name, &value);
    refused(graph, status);
}

/* The value of an object's child in the draft, COP_NONE when there is none. */
static cop_value
child_value(cop__graph *graph, cop__follower *f, uint32_t object, const char *segment,
            size_t length)
{
    cop__named child = {0};
    if (cop__slot_type(cop__draft_slot(graph->tree, object)) == COP_OBJECT)
        child = cop__child_find(cop__follow_view(graph), object, segment, length);
    return child.name != NULL ? value_of(graph, f, child.id) : absent;
}

void
cop__follow_object_is(cop__graph *graph, cop__follower *f, uint32_t id, const cop__name *name)
{
    const char *key_text = f->text + f->pattern_length, *value_text = key_text + f->key_length;
    cop_value key = child_value(graph, f, id, key_text, f->key_length);
    cop_value value = child_value(graph, f, id, value_text, f->value_length);
    refused(graph, cop__grouping_insert(f->grouping, id, name, &key, &value));
}

/* What stands at the place of a child that goes: its successor, if it has one in the draft. */
static cop_value
successor(cop__graph *graph, cop__follower *f, cop__named was)
{
    char path[COP_PATH_MAX];
    size_t length = cop__name_path(was.name, path, sizeof path);
    cop__named now = cop__directory_find(cop__follow_view(graph), 0, path, length);
    return now.name != NULL && now.id != was.id ? value_of(graph, f, now.id) : absent;
}

static void
grouped_is(cop__graph *graph, cop__follower *f, enum cop__follow_role role, cop__named child,
           bool gone)
{
    uint32_t object = child.name->parent;
    if (!cop__grouping_has(f->grouping, object))
        return; /* comes or goes itself */
    cop_value value = gone ? successor(graph, f, child) : value_of(graph, f, child.id);
    refused(graph, role == ROLE_KEY
                       ? cop__grouping_change_key(f->grouping, object, &value)
                       : cop__grouping_change_value(f->grouping, object, &value));
}

/* Something that a watch looks at is new, another, or gone. */
static void
tell(cop__graph *graph, const cop__watch *watch, cop__named it, bool gone)
{
    cop__follower *f = cop__follower_of(graph, watch->reader);
    bool object = watch->role == ROLE_OBJECT;
    if (!f->scanned || cop__follow_maker(graph, it.id) == f->node)
        return;
    if (object && !gone && cop__grouping_has(f->grouping, it.id))
        return; /* its value is nothing to a group, and who computes it may stand above */
    touch(graph, f);
    switch ((enum cop__follow_role)watch->role) {
    case ROLE_MEMBER:
        if (gone)
            refused(graph, cop__reduction_remove(f->reduction, it.id));
        else
            cop__follow_member_is(graph, f, it.id, it.name);
        break;
    case ROLE_OBJECT:
        if (gone)
            refused(graph, cop__grouping_remove(f->grouping, it.id));
        else
            cop__follow_object_is(graph, f, it.id, it.name);
        break;
    default:
        grouped_is(graph, f, (enum cop__follow_role)watch->role, it, gone);
        break;
    }
}

static const uint32_t *
match(cop__graph *graph, const cop__name *name, size_t *count)
{
    char path[COP_PATH_MAX];
    return cop__pattern_match(graph, path, cop__name_path(name, path, sizeof path), count);
}

/* Tells all watches that a name matches; how many there are. */
static uint32_t
tell_all(cop__graph *graph, cop__named it, bool gone)
{
    size_t count;
    uint32_t told = 0;
    const uint32_t *set = match(graph, it.name, &count);
    for (size_t i = 0; i < count; i++)
        for (uint32_t w = graph->patterns.node[set[i]].watch; w != 0;
             w = graph->patterns.watch[w].next, told++)
            tell(graph, &graph->patterns.watch[w], it, gone);
    return told;
}

/* A node that came with its atom gets an edge. The follower is marked, so that the new node cannot
 * take it for final. */
static void
edge_came(cop__graph *graph, uint32_t from, const cop__watch *watch)
{
    cop__follower *f = cop__follower_of(graph, watch->reader);
    if (!f->scanned || from == f->node)
        return;
    if (!cop__follow_edge_make(graph, from, f))
        graph->tree->failed = COP_E_MEMORY;
    touch(graph, f);
}

/* Edges of a computed atom: to what its value, or something in its branch, matters to. */
static void
node_came(cop__graph *graph, uint32_t number, const cop__name *name)
{
    const cop__patterns *p = &graph->patterns;
    size_t count;
    const uint32_t *set = match(graph, name, &count);
    bool owns = (graph->nodes[number].flags & COP_NODE_BRANCH) != 0;
    for (size_t i = 0; i < count; i++) {
        for (uint32_t w = p->node[set[i]].watch; w != 0; w = p->watch[w].next)
            if (p->watch[w].role != ROLE_OBJECT)
                edge_came(graph, number, &p->watch[w]);
        for (uint32_t at = owns ? cop__pattern_below(p, set[i], set[i]) : 0; at != 0;
             at = cop__pattern_below(p, set[i], at))
            for (uint32_t w = p->node[at].watch; w != 0; w = p->watch[w].next)
                edge_came(graph, number, &p->watch[w]);
    }
}

void
cop__follow_promoted(cop__graph *graph, uint32_t id)
{
    if (cop__pattern_matched(&graph->patterns, id))
        node_came(graph, graph->records[id].node, cop__info_name(cop__draft_info(graph->tree, id)));
}

void
cop__follow_came(cop__graph *graph, uint32_t id)
{
    const cop__name *name = cop__info_name(cop__draft_info(graph->tree, id));
    cop__pattern_clear_matched(&graph->patterns, id); /* maybe of its predecessor */
    if (name == NULL || cop__name_anchor(name) != 0)
        return;
    const cop__record *record = cop__record_of(graph, id);
    if (tell_all(graph, (cop__named){name, id}, false) > 0 && !cop__pattern_set_matched(graph, id))
        return;
    if (record != NULL && record->node != 0 && !(record->node & COP_OWNED_CHILD))
        node_came(graph, record->node, name);
}

void
cop__follow_changed_slow(cop__graph *graph, uint32_t id)
{
    const cop__name *name = cop__info_name(cop__draft_info(graph->tree, id));
    if (tell_all(graph, (cop__named){name, id}, false) == 0)
        cop__pattern_clear_matched(&graph->patterns, id);
}

void
cop__follow_went_slow(cop__graph *graph, uint32_t id)
{
    const cop__name *name = cop__info_name(cop__root_info(graph->tree->root, id));
    (void)tell_all(graph, (cop__named){name, id}, true);
}

/* ---- life ---- */

#define TEXT_BYTES (COP_REDUCER_TEXT + 2 * COP_PATH_MAX + 64)

static cop__follower *
follower_new(cop__graph *graph, const cop__reduce_definition *definition)
{
    size_t bytes = sizeof(cop__follower) + definition->length + definition->key_length +
                   definition->value_length;
    cop__follower *f = cop__memory_zalloc(graph->memory, COP_MEMORY_GRAPH, bytes, 16);
    if (f == NULL)
        return NULL;
    f->graph = graph;
    f->bytes = bytes;
    f->born = true;
    f->pattern_length = (uint32_t)definition->length;
    f->key_length = (uint32_t)definition->key_length;
    f->value_length = (uint32_t)definition->value_length;
    memcpy(f->text, definition->pattern, definition->length);
    if (definition->key != NULL) {
        memcpy(f->text + definition->length, definition->key, definition->key_length);
        memcpy(f->text + definition->length + definition->key_length, definition->value,
               definition->value_length);
    }
    return f;
}

/* The watch of pattern/segment. */
static uint32_t
watch_child(cop__graph *graph, const cop__follower *f, const char *segment, size_t length,
            enum cop__follow_role role)
{
    char *path = graph->follow.text;
    memcpy(path, f->text, f->pattern_length);
    path[f->pattern_length] = '/';
    memcpy(path + f->pattern_length + 1, segment, length);
    return cop__pattern_add(graph, path, f->pattern_length + 1 + length, f->node, role);
}

/* tree->failed says when memory ran out. */
static void
watch_all(cop__graph *graph, cop__follower *f)
{
    const char *key = f->text + f->pattern_length;
    bool groups = f->grouping != NULL;
    f->watch[0] = cop__pattern_add(graph, f->text, f->pattern_length, f->node,
                                   groups ? ROLE_OBJECT : ROLE_MEMBER);
    if (!groups)
        return;
    f->watch[1] = watch_child(graph, f, key, f->key_length, ROLE_KEY);
    f->watch[2] = watch_child(graph, f, key + f->key_length, f->value_length, ROLE_VALUE);
}

bool
cop__follow_open(cop__graph *graph, cop__node *node, const cop__reduce_definition *definition)
{
    if (graph->follow.text == NULL)
        graph->follow.text = cop__memory_alloc(graph->memory, COP_MEMORY_GRAPH, TEXT_BYTES, 16);
    cop__follower *f = graph->follow.text != NULL ? follower_new(graph, definition) : NULL;
    if (f == NULL) {
        graph->tree->failed = COP_E_MEMORY;
        return false;
    }
    f->node = cop__node_number(graph, node);
    node->function = cop__follow_run;
    node->context = f;
    node->flags |= COP_NODE_FOLLOWER | COP_NODE_ALONE;
    cop_status status = definition->key != NULL
                            ? cop__grouping_open(graph->memory, &definition->rule, &f->grouping)
                            : cop__reduction_open(graph->memory, &definition->rule, &f->reduction);
    f->touched = true; /* so that the draft's end finds it */
    f->next_touched = graph->follow.touched;
    graph->follow.touched = f;
    refused(graph, status);
    watch_all(graph, f);
    return graph->tree->failed == COP_OK;
}

static void
untouch(cop__graph *graph, cop__follower *f)
{
    cop__follower **link = &graph->follow.touched;
    while (*link != f)
        link = &(*link)->next_touched;
    *link = f->next_touched;
}

static void
follower_free(cop__graph *graph, cop__follower *f)
{
    cop__reduction_close(f->reduction);
    cop__grouping_close(f->grouping);
    cop__memory_table_free(graph->memory, COP_MEMORY_GRAPH, f->edge,
                           f->edge_capacity * sizeof *f->edge);
    cop__memory_table_free(graph->memory, COP_MEMORY_GRAPH, f->lazy,
                           f->lazy_capacity * sizeof *f->lazy);
    cop__memory_free(graph->memory, COP_MEMORY_GRAPH, f, f->bytes, 16);
}

void
cop__follow_close(cop__graph *graph, cop__node *node)
{
    cop__follower *f = node->context;
    for (unsigned i = 0; i < 3; i++)
        cop__pattern_remove(graph, f->watch[i]);
    cop__follow_edges_end(graph, f);
    if (f->touched)
        untouch(graph, f);
    follower_free(graph, f);
    node->flags &= ~(uint32_t)COP_NODE_FOLLOWER;
}

/* Those that the draft defined are left to their nodes' end. */
void
cop__follow_abandon(cop__graph *graph)
{
    for (cop__follower *f = graph->follow.touched, *next; f != NULL; f = next) {
        next = f->next_touched;
        f->touched = false;
        f->lazy_count = 0; /* the draft's */
        if (f->born)
            continue;
        f->whole = true; /* what its run gave is undone too */
        if (f->grouping != NULL)
            cop__grouping_rollback(f->grouping);
        else
            cop__reduction_rollback(f->reduction);
    }
    graph->follow.touched = NULL;
}

void
cop__follow_published(cop__graph *graph)
{
    for (cop__follower *f = graph->follow.touched, *next; f != NULL; f = next) {
        next = f->next_touched;
        f->touched = false;
        if (!f->born && f->grouping != NULL)
            cop__grouping_commit(f->grouping);
        else if (!f->born)
            cop__reduction_commit(f->reduction);
        f->born = false;
    }
    graph->follow.touched = NULL;
}

void
cop__follow_end(cop__graph *graph)
{
    cop__follow *follow = &graph->follow;
    for (uint32_t i = 1; i < graph->node_count; i++)
        if (graph->nodes[i].flags & COP_NODE_FOLLOWER)
            follower_free(graph, graph->nodes[i].context);
    cop__memory_table_free(graph->memory, COP_MEMORY_GRAPH, follow->edge,
                           follow->edge_capacity * sizeof *follow->edge);
    cop__memory_free(graph->memory, COP_MEMORY_GRAPH, follow->text, TEXT_BYTES, 16);
    cop__map_end(graph, &graph->followed);
    cop__patterns_end(graph);
}

/* SPDX-License-Identifier: MIT */
/* Followers: what is told to them, and where they stand. See follow.h. */
#include "graph/graph.h"

#include "tree/path.h"

enum role {
    ROLE_MEMBER, /* its value is reduced */
    ROLE_OBJECT, /* is to be grouped */
    ROLE_KEY,    /* the child of an object that says its group */
    ROLE_VALUE   /* the child of an object that is reduced */
};

static cop__view
draft_view(const cop__graph *graph)
{
    return (cop__view){NULL, graph->tree};
}

static cop__follower *
follower_of(const cop__graph *graph, uint32_t number)
{
    return graph->nodes[number].context;
}

/* The node that makes an atom, or owns the branch that it is in. */
static uint32_t
maker_of(const cop__graph *graph, uint32_t id)
{
    const cop__record *record = cop__record_of(graph, id);
    return record != NULL ? record->node & ~COP_OWNED_CHILD : 0;
}

/* ---- edges ---- */

bool
cop__follow_each(const cop__graph *graph, const cop__node *node,
                 bool (*function)(void *context, uint32_t node), void *context)
{
    for (uint32_t e = cop__map_get(&graph->followed, cop__node_number(graph, node)); e != 0;
         e = graph->follow.edge[e].next)
        if (!function(context, graph->follow.edge[e].to))
            return false;
    return true;
}

uint32_t
cop__follow_below_count(const cop__node *follower)
{
    return (uint32_t)((const cop__follower *)follower->context)->edge_count;
}

cop__node *
cop__follow_below(const cop__graph *graph, const cop__node *follower, uint32_t i)
{
    const cop__follower *f = follower->context;
    return &graph->nodes[graph->follow.edge[f->edge[i]].from];
}

static bool
edge_is_there(const cop__graph *graph, uint32_t first, uint32_t to)
{
    for (uint32_t e = first; e != 0; e = graph->follow.edge[e].next)
        if (graph->follow.edge[e].to == to)
            return true;
    return false;
}

/* An edge from a node, if there is none yet. */
static bool
edge_make(cop__graph *graph, uint32_t from, cop__follower *f)
{
    cop__follow *follow = &graph->follow;
    uint32_t first = cop__map_get(&graph->followed, from);
    uint32_t number = follow->edge_free;
    if (from == f->node || edge_is_there(graph, first, f->node))
        return true;
    if (number == 0)
        number = follow->edge_count > 0 ? follow->edge_count : 1;
    if (!cop__graph_grow(graph, &follow->edge, &follow->edge_capacity, (size_t)number + 1,
                         sizeof *follow->edge) ||
        !cop__graph_grow(graph, &f->edge, &f->edge_capacity, f->edge_count + 1, sizeof *f->edge) ||
        !cop__map_put(graph, &graph->followed, from, number))
        return false;
    if (number == follow->edge_free)
        follow->edge_free = follow->edge[number].next;
    else
        follow->edge_count = number + 1;
    follow->edge[number] = (cop__follow_edge){from, f->node, first, (uint32_t)f->edge_count};
    f->edge[f->edge_count++] = number;
    graph->nodes[from].flags |= COP_NODE_FOLLOWED;
    return true;
}

/* Out of its follower's list, and free. */
static void
edge_free(cop__graph *graph, uint32_t number)
{
    cop__follow *follow = &graph->follow;
    cop__follow_edge *edge = &follow->edge[number];
    cop__follower *f = follower_of(graph, edge->to);
    uint32_t last = f->edge[--f->edge_count];
    f->edge[edge->at] = last;
    follow->edge[last].at = edge->at;
    f->looked = 0;
    *edge = (cop__follow_edge){.next = follow->edge_free};
    follow->edge_free = number;
}

void
cop__follow_leave(cop__graph *graph, cop__node *node)
{
    uint32_t key = cop__node_number(graph, node);
    for (uint32_t e = cop__map_get(&graph->followed, key), next; e != 0; e = next) {
        next = graph->follow.edge[e].next;
        edge_free(graph, e);
    }
    cop__map_remove(&graph->followed, key);
    node->flags &= ~(uint32_t)COP_NODE_FOLLOWED;
}

/* Takes an edge out of its node's chain. */
static void
edge_unchain(cop__graph *graph, uint32_t number)
{
    cop__follow_edge *edge = graph->follow.edge;
    uint32_t from = edge[number].from, first = cop__map_get(&graph->followed, from);
    if (first != number) {
        while (edge[first].next != number)
            first = edge[first].next;
        edge[first].next = edge[number].next;
    } else if (edge[number].next != 0) {
        (void)cop__map_put(graph, &graph->followed, from, edge[number].next); /* it is there already */
    } else {
        cop__map_remove(&graph->followed, from);
        graph->nodes[from].flags &= ~(uint32_t)COP_NODE_FOLLOWED;
    }
}

bool
cop__follow_lift(cop__graph *graph, const cop__node *node)
{
    for (uint32_t e = cop__map_get(&graph->followed, cop__node_number(graph, node)); e != 0;
         e = graph->follow.edge[e].next) {
        cop__node *follower = &graph->nodes[graph->follow.edge[e].to];
        if ((follower->flags & COP_NODE_PLACED) && !(follower->flags & COP_NODE_CYCLE) &&
            !cop__raise(graph, follower, node->height))
            return false;
    }
    return true;
}

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

static void
member_is(cop__graph *graph, cop__follower *f, uint32_t id, const cop__name *name)
{
    cop_value value = value_of(graph, f, id);
    cop_status status = cop__reduction_change(f->reduction, id, &value);
    if (status == COP_E_ABSENT)
        status = cop__reduction_insert(f->reduction, id, name->path, name->length, &value);
    refused(graph, status);
}

/* The value of an object's child in the draft, COP_NONE when there is none. */
static cop_value
child_value(cop__graph *graph, cop__follower *f, uint32_t object, const char *segment, size_t length)
{
    const cop__name *name = NULL;
    if (cop__slot_type(cop__draft_slot(graph->tree, object)) == COP_OBJECT)
        name = cop__child_find(draft_view(graph), object, segment, length);
    return name != NULL ? value_of(graph, f, name->id) : absent;
}

static void
object_is(cop__graph *graph, cop__follower *f, uint32_t id, const cop__name *name)
{
    const char *key_text = f->text + f->pattern_length, *value_text = key_text + f->key_length;
    cop_value key = child_value(graph, f, id, key_text, f->key_length);
    cop_value value = child_value(graph, f, id, value_text, f->value_length);
    refused(graph,
            cop__grouping_insert(f->grouping, id, name->path, name->length, &key, &value));
}

/* What stands at the place of a child that goes: its successor, if it has one in the draft. */
static cop_value
successor(cop__graph *graph, cop__follower *f, const cop__name *name)
{
    const cop__name *now = cop__directory_find(draft_view(graph), 0, name->path, name->length);
    return now != NULL && now->id != name->id ? value_of(graph, f, now->id) : absent;
}

static void
grouped_is(cop__graph *graph, cop__follower *f, enum role role, const cop__name *name, bool gone)
{
    if (!cop__grouping_has(f->grouping, name->parent))
        return; /* comes or goes itself */
    cop_value value = gone ? successor(graph, f, name) : value_of(graph, f, name->id);
    refused(graph, role == ROLE_KEY
                       ? cop__grouping_change_key(f->grouping, name->parent, &value)
                       : cop__grouping_change_value(f->grouping, name->parent, &value));
}

/* Something that a watch looks at is new, another, or gone. */
static void
tell(cop__graph *graph, const cop__watch *watch, const cop__name *name, bool gone)
{
    cop__follower *f = follower_of(graph, watch->reader);
    bool object = watch->role == ROLE_OBJECT;
    if (!f->scanned || maker_of(graph, name->id) == f->node)
        return;
    if (object && !gone && cop__grouping_has(f->grouping, name->id))
        return; /* its value is nothing to a group, and who computes it may stand above */
    touch(graph, f);
    switch ((enum role)watch->role) {
    case ROLE_MEMBER:
        if (gone)
            refused(graph, cop__reduction_remove(f->reduction, name->id));
        else
            member_is(graph, f, name->id, name);
        break;
    case ROLE_OBJECT:
        if (gone)
            refused(graph, cop__grouping_remove(f->grouping, name->id));
        else
            object_is(graph, f, name->id, name);
        break;
    default:
        grouped_is(graph, f, (enum role)watch->role, name, gone);
        break;
    }
}

/* Tells all watches that a name matches; how many there are. */
static uint32_t
tell_all(cop__graph *graph, const cop__name *name, bool gone)
{
    size_t count;
    uint32_t told = 0;
    const uint32_t *set = cop__pattern_match(graph, name->path, name->length, &count);
    for (size_t i = 0; i < count; i++)
        for (uint32_t w = graph->patterns.node[set[i]].watch; w != 0;
             w = graph->patterns.watch[w].next, told++)
            tell(graph, &graph->patterns.watch[w], name, gone);
    return told;
}

/* A node that came with its atom gets an edge. The follower is marked, so that the new node cannot
 * take it for final. */
static void
edge_came(cop__graph *graph, uint32_t from, const cop__watch *watch)
{
    cop__follower *f = follower_of(graph, watch->reader);
    if (!f->scanned || from == f->node)
        return;
    if (!edge_make(graph, from, f))
        graph->tree->failed = COP_E_MEMORY;
    touch(graph, f);
}

/* Edges of a computed atom: to what its value, or something in its branch, matters to. */
static void
node_came(cop__graph *graph, uint32_t number, const cop__name *name)
{
    const cop__patterns *p = &graph->patterns;
    size_t count;
    const uint32_t *set = cop__pattern_match(graph, name->path, name->length, &count);
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
    if (name == NULL || name->anchor != 0)
        return;
    const cop__record *record = cop__record_of(graph, id);
    if (tell_all(graph, name, false) > 0 && !cop__pattern_set_matched(graph, id))
        return;
    if (record != NULL && record->node != 0 && !(record->node & COP_OWNED_CHILD))
        node_came(graph, record->node, name);
}

void
cop__follow_changed_slow(cop__graph *graph, uint32_t id)
{
    const cop__name *name = cop__info_name(cop__draft_info(graph->tree, id));
    if (tell_all(graph, name, false) == 0)
        cop__pattern_clear_matched(&graph->patterns, id);
}

void
cop__follow_went_slow(cop__graph *graph, uint32_t id)
{
    (void)tell_all(graph, cop__info_name(cop__root_info(graph->tree->root, id)), true);
}

/* ---- the first run ---- */

typedef struct scan_level {
    const char *segment;
    size_t length;
    cop__list_walk walk; /* of `*` */
    uint32_t single;     /* of a name; UINT32_MAX: none */
    bool star;
} scan_level;

static void
level_open(const cop__graph *graph, scan_level *level, uint32_t branch)
{
    const cop__slot *slot = cop__draft_slot(graph->tree, branch);
    level->star = cop__pattern_is_star(level->segment, level->length);
    level->single = UINT32_MAX;
    if (cop__slot_type(slot) != COP_OBJECT) {
        level->star = false;
    } else if (level->star) {
        cop__list_walk_begin(draft_view(graph), slot, &level->walk);
    } else {
        const cop__name *name =
            cop__child_find(draft_view(graph), branch, level->segment, level->length);
        if (name != NULL)
            level->single = name->id;
    }
}

static bool
level_next(const cop__graph *graph, scan_level *level, uint32_t *id)
{
    if (level->star)
        return cop__list_walk_next(draft_view(graph), &level->walk, id);
    *id = level->single;
    level->single = UINT32_MAX;
    return *id != UINT32_MAX;
}

/* The child of an object that says its group, or its value. */
static bool
scan_child(cop__graph *graph, cop__follower *f, uint32_t object, const char *segment, size_t length)
{
    const cop__name *name = NULL;
    if (cop__slot_type(cop__draft_slot(graph->tree, object)) == COP_OBJECT)
        name = cop__child_find(draft_view(graph), object, segment, length);
    if (name == NULL)
        return true;
    uint32_t maker = maker_of(graph, name->id);
    return cop__pattern_set_matched(graph, name->id) && (maker == 0 || edge_make(graph, maker, f));
}

static bool
scan_match(cop__graph *graph, cop__follower *f, uint32_t id)
{
    const cop__name *name = cop__info_name(cop__draft_info(graph->tree, id));
    const char *key = f->text + f->pattern_length;
    if (!cop__pattern_set_matched(graph, id))
        return false;
    if (f->grouping == NULL) {
        member_is(graph, f, id, name);
        return graph->tree->failed == COP_OK;
    }
    object_is(graph, f, id, name);
    return graph->tree->failed == COP_OK && scan_child(graph, f, id, key, f->key_length) &&
           scan_child(graph, f, id, key + f->key_length, f->value_length);
}

/* An atom on the way, or at the end of it. *enter: what is below it is to be looked at. */
static bool
scan_atom(cop__graph *graph, cop__follower *f, uint32_t id, bool end, bool *enter)
{
    uint32_t maker = maker_of(graph, id);
    *enter = maker != f->node && !end;
    if (maker == f->node)
        return true;
    bool tells = (end && f->grouping == NULL) || (graph->nodes[maker].flags & COP_NODE_BRANCH);
    if (maker != 0 && tells && !edge_make(graph, maker, f))
        return false;
    return !end || scan_match(graph, f, id);
}

static bool
scan_levels(cop__graph *graph, cop__follower *f, scan_level *level, uint32_t depth)
{
    uint32_t id, at = 0;
    bool enter;
    level_open(graph, &level[0], 0);
    for (;;) {
        if (!level_next(graph, &level[at], &id)) {
            if (at-- == 0)
                return true;
            continue;
        }
        if (!scan_atom(graph, f, id, at + 1 == depth, &enter))
            return false;
        if (enter)
            level_open(graph, &level[++at], id);
    }
}

static bool
scan(cop__graph *graph, cop__follower *f)
{
    cop__path_walk walk = cop__path_walk_open(f->text, f->pattern_length);
    uint32_t depth = 1;
    for (uint32_t i = 0; i < f->pattern_length; i++)
        depth += f->text[i] == '/';
    scan_level *level =
        cop__memory_zalloc(graph->memory, COP_MEMORY_GRAPH, depth * sizeof *level, 16);
    if (level == NULL)
        return false;
    for (uint32_t i = 0; i < depth; i++)
        (void)cop__segment_next(&walk, &level[i].segment, &level[i].length);
    bool fine = scan_levels(graph, f, level, depth);
    cop__memory_free(graph->memory, COP_MEMORY_GRAPH, level, depth * sizeof *level, 16);
    f->scanned = fine;
    return fine;
}

/* ---- running ---- */

/* Whether all that may tell it something is final: a sweep knows by its height, pulling does not (new
 * nodes among them have no true height yet). */
static bool
below_is_final(cop__evaluator *run, cop__follower *f)
{
    cop__graph *graph = run->graph;
    const cop__node *node = run->node;
    if (graph->frames.count == 0 &&
        !(node->flags & (COP_NODE_FRESH | COP_NODE_CYCLE | COP_NODE_POISONED)))
        return true;
    if (f->looked_wave != graph->count.waves)
        f->looked = 0;
    f->looked_wave = graph->count.waves;
    for (; f->looked < f->edge_count; f->looked++) {
        const cop__node *below = &graph->nodes[graph->follow.edge[f->edge[f->looked]].from];
        if (!(below->flags & COP_NODE_DYING) &&
            cop__run_wait_for(run, cop__node_number(graph, below)) != COP_OK)
            return false;
    }
    return true;
}

/* False: the run is stuck until a lazy atom has a node. */
static bool
none_is_lazy(cop__evaluator *run, cop__follower *f)
{
    const cop__graph *graph = run->graph;
    for (; f->lazy_count > 0; f->lazy_count--) {
        uint32_t id = f->lazy[f->lazy_count - 1];
        const cop__slot *slot = cop__draft_slot(graph->tree, id);
        if (slot != NULL && cop__slot_is_lazy(slot) && maker_of(graph, id) == 0) {
            (void)cop__run_promote(run, id);
            return false;
        }
    }
    return true;
}

static cop_status
emit_row(cop__graph *graph, char *path, size_t used, const char *last, const cop_value *value)
{
    size_t n = strlen(last);
    memcpy(path + used, last, n);
    return cop__own_child(graph, path, used + n, value);
}

/* The rows of a top as children 0, 1, ... of what the first `used` bytes of a path name. */
static cop_status
emit_top(cop__graph *graph, cop__top_walk *walk, char *path, size_t used)
{
    const cop__treap_node *row;
    cop_status status = COP_OK;
    for (uint32_t i = 0; status == COP_OK && (row = cop__top_next(walk)) != NULL; i++) {
        char digits[12];
        size_t n = sizeof digits, length = used;
        uint32_t left = i;
        do
            digits[--n] = (char)('0' + left % 10);
        while ((left /= 10) != 0);
        memcpy(path + length, digits + n, sizeof digits - n);
        length += sizeof digits - n;
        cop_value text = cop_string(row->key, row->key_length);
        status = emit_row(graph, path, length, "/path", &text);
        if (status == COP_OK)
            status = emit_row(graph, path, length, "/value", &row->value);
    }
    return status;
}

/* One group, as a child named by its key. */
static cop_status
emit_group(cop__graph *graph, cop__follower *f, uint32_t group, char *path)
{
    const cop_value object = cop_object();
    size_t length, used;
    cop_value value;
    const char *name = cop__group_name(f->grouping, group, &length);
    if (length > COP_PATH_MAX)
        return COP_E_LIMIT;
    cop_status status = cop_path_escape(name, length, path, 2 * COP_PATH_MAX + 2, &used, NULL);
    if (status != COP_OK)
        return status;
    cop__group_result(f->grouping, group, graph->follow.text, COP_REDUCER_TEXT, &value);
    if (value.type != COP_ARRAY)
        return cop__own_child(graph, path, used, &value);
    cop__top_walk walk;
    cop__group_top(f->grouping, group, &walk);
    status = cop__own_child(graph, path, used, &object);
    path[used++] = '/';
    return status == COP_OK ? emit_top(graph, &walk, path, used) : status;
}

static cop_status
emit_failed(cop__evaluator *run, cop_status status, const char *what)
{
    if (status == COP_E_MEMORY)
        run->stuck = status;
    if (status == COP_OK || status == COP_E_MEMORY)
        return status;
    return cop_fail(&run->public, "%s cannot be a child: %s", what, cop_status_message(status));
}

cop_status
cop__follow_run(cop_evaluation *evaluation, void *context, cop_value *result)
{
    cop__evaluator *run = (cop__evaluator *)(void *)evaluation;
    cop__graph *graph = run->graph;
    cop__follower *f = context;
    char *text = graph->follow.text, *path = text + COP_REDUCER_TEXT;
    if (!f->scanned && !scan(graph, f)) {
        run->stuck = COP_E_MEMORY;
        return COP_E_MEMORY;
    }
    if (!none_is_lazy(run, f) || !below_is_final(run, f))
        return run->stuck;
    if (f->grouping == NULL) {
        cop__reduction_result(f->reduction, text, COP_REDUCER_TEXT, result);
        if (result->type != COP_ARRAY)
            return COP_OK;
        cop__top_walk walk;
        cop__reduction_top(f->reduction, &walk);
        return emit_failed(run, emit_top(graph, &walk, path, 0), "a row");
    }
    cop_status status = COP_OK;
    for (uint32_t group = cop__grouping_first(f->grouping); group != 0 && status == COP_OK;
         group = cop__grouping_next(f->grouping, group))
        status = emit_group(graph, f, group, path);
    return emit_failed(run, status, "a group");
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
            enum role role)
{
    char *path = graph->follow.text;
    memcpy(path, f->text, f->pattern_length);
    path[f->pattern_length] = '/';
    memcpy(path + f->pattern_length + 1, segment, length);
    return cop__pattern_add(graph, path, f->pattern_length + 1 + length, f->node, role);
}

static bool
watch_all(cop__graph *graph, cop__follower *f)
{
    const char *key = f->text + f->pattern_length;
    bool groups = f->grouping != NULL;
    f->watch[0] = cop__pattern_add(graph, f->text, f->pattern_length, f->node,
                                   groups ? ROLE_OBJECT : ROLE_MEMBER);
    if (f->watch[0] == 0 || !groups)
        return f->watch[0] != 0;
    f->watch[1] = watch_child(graph, f, key, f->key_length, ROLE_KEY);
    if (f->watch[1] == 0)
        return false;
    f->watch[2] = watch_child(graph, f, key + f->key_length, f->value_length, ROLE_VALUE);
    return f->watch[2] != 0;
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
    cop_status status =
        definition->key != NULL
            ? cop__grouping_open(graph->memory, &definition->rule, &f->grouping)
            : cop__reduction_open(graph->memory, &definition->rule, &f->reduction);
    f->touched = true; /* so that the draft's end finds it */
    f->next_touched = graph->follow.touched;
    graph->follow.touched = f;
    if (status == COP_OK && watch_all(graph, f))
        return true;
    graph->tree->failed = COP_E_MEMORY;
    return false;
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
    while (f->edge_count > 0) {
        uint32_t edge = f->edge[f->edge_count - 1];
        edge_unchain(graph, edge);
        edge_free(graph, edge);
    }
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

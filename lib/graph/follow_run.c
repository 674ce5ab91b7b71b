/* SPDX-License-Identifier: MIT */
/* Runs of followers: the first one, which looks for members, and what each gives. See follow.h. */
#include "graph/follow_internal.h"

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
        cop__list_walk_begin(cop__follow_view(graph), slot, &level->walk);
    } else {
        cop__named child =
            cop__child_find(cop__follow_view(graph), branch, level->segment, level->length);
        if (child.name != NULL)
            level->single = child.id;
    }
}

static bool
level_next(const cop__graph *graph, scan_level *level, uint32_t *id)
{
    if (level->star)
        return cop__list_walk_next(cop__follow_view(graph), &level->walk, id);
    *id = level->single;
    level->single = UINT32_MAX;
    return *id != UINT32_MAX;
}

/* The child of an object that says its group, or its value. */
static bool
scan_child(cop__graph *graph, cop__follower *f, uint32_t object, const char *segment, size_t length)
{
    cop__named child = {0};
    if (cop__slot_type(cop__draft_slot(graph->tree, object)) == COP_OBJECT)
        child = cop__child_find(cop__follow_view(graph), object, segment, length);
    if (child.name == NULL)
        return true;
    uint32_t maker = cop__follow_maker(graph, child.id);
    return cop__pattern_set_matched(graph, child.id) &&
           (maker == 0 || cop__follow_edge_make(graph, maker, f));
}

static bool
scan_match(cop__graph *graph, cop__follower *f, uint32_t id)
{
    const cop__name *name = cop__info_name(cop__draft_info(graph->tree, id));
    const char *key = f->text + f->pattern_length;
    if (!cop__pattern_set_matched(graph, id))
        return false;
    if (f->grouping == NULL) {
        cop__follow_member_is(graph, f, id, name);
        return graph->tree->failed == COP_OK;
    }
    cop__follow_object_is(graph, f, id, name);
    return graph->tree->failed == COP_OK && scan_child(graph, f, id, key, f->key_length) &&
           scan_child(graph, f, id, key + f->key_length, f->value_length);
}

/* An atom on the way, or at the end of it. *enter: what is below it is to be looked at. */
static bool
scan_atom(cop__graph *graph, cop__follower *f, uint32_t id, bool end, bool *enter)
{
    uint32_t maker = cop__follow_maker(graph, id);
    *enter = maker != f->node && !end;
    if (maker == f->node)
        return true;
    bool tells = (end && f->grouping == NULL) || (graph->nodes[maker].flags & COP_NODE_BRANCH);
    if (maker != 0 && tells && !cop__follow_edge_make(graph, maker, f))
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

/* Whether all that may tell it something is final: a sweep knows by its height, pulling does not
 * (new nodes among them have no true height yet). */
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
        if (slot != NULL && cop__slot_is_lazy(slot) && cop__follow_maker(graph, id) == 0) {
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
        char of_row[COP_PATH_MAX];
        cop_value text = cop_string(of_row, cop__name_path(row->name, of_row, sizeof of_row));
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

/* All of them, or those that changed if the others are what they were. */
static cop_status
emit_groups(cop__evaluator *run, cop__follower *f, char *path)
{
    cop__graph *graph = run->graph;
    cop_status status = COP_OK;
    uint32_t group;
    bool part = cop__grouping_changed(f->grouping, &group) && !f->whole &&
                !(run->node->flags & COP_NODE_CYCLE) &&
                cop__slot_is_branch(cop__draft_slot(graph->tree, run->node->id));
    graph->own.partial = part;
    if (!part)
        group = cop__grouping_first(f->grouping);
    while (group != 0 && status == COP_OK) {
        status = emit_group(graph, f, group, path);
        group = part ? cop__grouping_changed_next(f->grouping, group)
                     : cop__grouping_next(f->grouping, group);
    }
    f->whole = status != COP_OK;
    return status;
}

void
cop__follow_again(cop__node *node)
{
    if (node->flags & COP_NODE_FOLLOWER)
        ((cop__follower *)node->context)->whole = true;
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
    return emit_failed(run, emit_groups(run, f, path), "a group");
}

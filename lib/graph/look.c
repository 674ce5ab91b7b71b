/* SPDX-License-Identifier: MIT */
/* Writing down the runs of nodes that somebody looks at. See look.h. */
#include "graph/look.h"

#include <time.h>

#include "tree/list.h"
#include "tree/path.h"

/* ---- what a run read ---- */

static cop__view
draft_view(const cop__graph *graph)
{
    return (cop__view){NULL, graph->tree};
}

static cop__view
root_view(const cop__graph *graph)
{
    return (cop__view){graph->tree->root, NULL};
}

static void
value_of(const cop__slot *slot, cop_value *value)
{
    memset(value, 0, sizeof *value);
    if (slot != NULL)
        cop__slot_read(slot, value);
}

static void
count_of(cop__view view, const cop__slot *slot, cop_value *value)
{
    memset(value, 0, sizeof *value);
    if (slot != NULL && cop__slot_is_branch(slot))
        *value = cop_i64(cop__list_count(view, slot));
}

/* A branch's slot tells of a new child only once the draft is finished, and of much besides: the
 * lists themselves are compared. O(children). */
static bool
list_differs(const cop__graph *graph, const cop__slot *now, const cop__slot *before)
{
    cop__view draft = draft_view(graph), root = root_view(graph);
    cop__list_walk a, b;
    uint32_t x, y;
    if (!cop__slot_is_branch(now) || !cop__slot_is_branch(before))
        return cop__slot_type(now) != cop__slot_type(before);
    if (cop__list_count(draft, now) != cop__list_count(root, before))
        return true;
    cop__list_walk_begin(draft, now, &a);
    cop__list_walk_begin(root, before, &b);
    while (cop__list_walk_next(draft, &a, &x) && cop__list_walk_next(root, &b, &y))
        if (x != y)
            return true;
    return false;
}

/* By path: where it leads in the draft, where it led in the published version. */
static void
see_path(const cop__graph *graph, cop__seen *seen)
{
    const cop__interest *interest = &graph->interests[(uint32_t)seen->dependency];
    cop_atom led = {0, 0};
    seen->path = interest->path;
    seen->path_length = interest->length;
    cop__found now = cop__path_resolve(draft_view(graph), interest->path, interest->length);
    cop__found before = cop__path_resolve(root_view(graph), interest->path, interest->length);
    if (now.found) {
        const cop__slot *slot = cop__draft_slot(graph->tree, now.id);
        seen->atom = (cop_atom){now.id, slot->reserved};
        value_of(slot, &seen->value);
    }
    if (before.found) {
        const cop__slot *slot = cop__root_slot(graph->tree->root, before.id);
        led = (cop_atom){before.id, slot->reserved};
        value_of(slot, &seen->before);
    }
    seen->changed = led.id != seen->atom.id || led.generation != seen->atom.generation;
}

/* Nothing is copied: texts are where the slots have them. */
static void
see(const cop__graph *graph, uint64_t dependency, cop__seen *seen)
{
    memset(seen, 0, sizeof *seen);
    seen->dependency = dependency;
    if ((dependency & COP_DEPENDS_WHAT) == COP_DEPENDS_PATH) {
        see_path(graph, seen);
        return;
    }
    seen->atom =
        (cop_atom){(uint32_t)dependency, (uint32_t)(dependency >> 32) & COP_GENERATION_MAX};
    const cop__slot *now = cop__draft_atom(graph->tree, seen->atom);
    const cop__slot *before = cop__root_atom(graph->tree->root, seen->atom);
    if ((dependency & COP_DEPENDS_WHAT) == COP_DEPENDS_LIST) {
        count_of(draft_view(graph), now, &seen->value);
        count_of(root_view(graph), before, &seen->before);
    } else {
        value_of(now, &seen->value);
        value_of(before, &seen->before);
    }
    if (now == NULL || before == NULL)
        seen->changed = now != before;
    else if ((dependency & COP_DEPENDS_WHAT) == COP_DEPENDS_LIST)
        seen->changed = list_differs(graph, now, before);
    else if ((dependency & COP_DEPENDS_WHAT) == COP_DEPENDS_KIND)
        seen->changed = cop__slot_type(now) != cop__slot_type(before);
    else
        seen->changed = !cop__slot_same(now, before);
}

static size_t
text_bytes(const cop_value *value)
{
    if (!cop_value_is_text(value) || value->inlined != COP_VALUE_OUTSIDE)
        return 0;
    size_t n = cop_value_length(value);
    const char *text = cop_value_data(value);
    if (n <= COP_EXPLAIN_TEXT_MAX)
        return n;
    n = COP_EXPLAIN_TEXT_MAX;
    while (value->type != COP_BYTES && n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
        n--;
    return n;
}

static void
text_keep(cop_value *value, char **to)
{
    size_t n = text_bytes(value);
    if (n == 0)
        return;
    memcpy(*to, cop_value_data(value), n);
    *value = cop_text((cop_type)value->type, *to, n);
    *to += n;
}

static void
path_keep(cop__seen *seen, char **to)
{
    if (seen->path == NULL)
        return;
    memcpy(*to, seen->path, seen->path_length);
    (*to)[seen->path_length] = 0;
    seen->path = *to;
    *to += seen->path_length + 1;
}

cop__seen_list *
cop__see(cop__memory *memory, cop__see_function function, const void *context, size_t n,
         bool only_changed)
{
    size_t count = 0, total = 0, texts = 0;
    cop__seen one;
    for (size_t i = 0; i < n; i++) {
        if (!only_changed && count == COP_EXPLAIN_LIST_MAX) {
            total = n;
            break;
        }
        function(context, i, &one);
        if (only_changed && !one.changed)
            continue;
        if (total++ >= COP_EXPLAIN_LIST_MAX)
            continue;
        count++;
        texts += text_bytes(&one.value) + text_bytes(&one.before);
        texts += one.path != NULL ? one.path_length + 1 : 0;
    }
    size_t bytes = sizeof(cop__seen_list) + count * sizeof(cop__seen) + texts;
    cop__seen_list *seen = cop__memory_alloc(memory, COP_MEMORY_GRAPH, bytes, 16);
    if (seen == NULL)
        return NULL;
    *seen = (cop__seen_list){bytes, 0, total};
    char *text = (char *)(seen->seen + count);
    for (size_t i = 0; i < n && seen->count < count; i++) {
        function(context, i, &one);
        if (only_changed && !one.changed)
            continue;
        text_keep(&one.value, &text);
        text_keep(&one.before, &text);
        path_keep(&one, &text);
        seen->seen[seen->count++] = one;
    }
    return seen;
}

typedef struct node_list {
    const cop__graph *graph;
    const uint64_t *list;
} node_list;

static void
see_one(const void *context, size_t i, cop__seen *seen)
{
    const node_list *list = context;
    see(list->graph, list->list[i], seen);
}

/* The entries of a list, or those that have changed. NULL: no memory. */
static cop__seen_list *
see_list(const cop__graph *graph, const uint64_t *list, size_t n, bool only_changed)
{
    node_list all = {graph, list};
    return cop__see(graph->memory, see_one, &all, n, only_changed);
}

cop__seen_list *
cop__see_published(const cop__graph *graph, const cop__node *node)
{
    return see_list(graph, cop__dependencies(graph, node), cop__dependency_count(node), false);
}

/* ---- looks ---- */

static void
seen_free(cop__memory *memory, cop__seen_list *list)
{
    if (list != NULL)
        cop__memory_free(memory, COP_MEMORY_GRAPH, list, list->bytes, 16);
}

void
cop__looked_run_clear(cop__memory *memory, cop__looked_run *run)
{
    seen_free(memory, run->causes);
    seen_free(memory, run->read);
    seen_free(memory, run->values);
    memset(run, 0, sizeof *run);
}

cop__look *
cop__look_of(const cop__graph *graph, const cop__node *node)
{
    cop__look *look = graph->looks;
    uint32_t number = cop__node_number(graph, node);
    while (look != NULL && look->node != number)
        look = look->next;
    return look;
}

cop__look *
cop__look_new(cop__graph *graph)
{
    if (graph->look_count >= COP_GRAPH_LOOKS_MAX)
        return NULL;
    cop__look *look = cop__memory_zalloc(graph->memory, COP_MEMORY_GRAPH, sizeof *look, 16);
    if (look == NULL)
        return NULL;
    look->next = graph->looks;
    graph->looks = look;
    graph->look_count++;
    return look;
}

cop__look *
cop__look_at(cop__graph *graph, cop__node *node)
{
    cop__look *look = cop__look_of(graph, node);
    if (look == NULL)
        look = cop__look_new(graph);
    if (look == NULL)
        return NULL;
    look->node = cop__node_number(graph, node);
    node->flags |= COP_NODE_LOOKED;
    return look;
}

static void
look_free(cop__graph *graph, cop__look **link)
{
    cop__look *look = *link;
    *link = look->next;
    if (look->node != 0)
        graph->nodes[look->node].flags &= ~(uint32_t)COP_NODE_LOOKED;
    if (look->lazy != NULL)
        cop__look_leave_lazy(look->lazy);
    cop__looked_run_clear(graph->memory, &look->now);
    cop__looked_run_clear(graph->memory, &look->last);
    cop__memory_free(graph->memory, COP_MEMORY_GRAPH, look, sizeof *look, 16);
    graph->look_count--;
}

void
cop__look_sweep(cop__graph *graph)
{
    cop__look **link = &graph->looks;
    while (*link != NULL)
        if (!(*link)->armed && cop__load_acquire(&(*link)->references) == 0)
            look_free(graph, link);
        else
            link = &(*link)->next;
}

void
cop__looks_end(cop__graph *graph)
{
    while (graph->looks != NULL)
        look_free(graph, &graph->looks);
}

void
cop__look_event(cop__graph *graph)
{
    (void)cop__add_relaxed(&graph->look_event, 1u);
    cop__futex_wake(&graph->look_event, INT32_MAX);
}

void
cop__look_node_gone(cop__graph *graph, const cop__node *node)
{
    cop__look *look = cop__look_of(graph, node);
    look->node = 0;
    cop__look_gone(graph, look);
}

void
cop__look_gone(cop__graph *graph, cop__look *look)
{
    look->armed = false;
    cop__store_release(&look->gone, true);
    cop__look_event(graph);
}

/* ---- a run ---- */

/* A reducer runs when something that it follows has changed; what it was is not kept. */
static cop_run_cause
cause_of(const cop__node *node, const cop__looked_run *run)
{
    bool changed = run->causes != NULL && run->causes->total > 0;
    if (node->flags & COP_NODE_FRESH)
        return COP_CAUSE_DEFINED;
    return changed || (node->flags & COP_NODE_FOLLOWER) ? COP_CAUSE_DEPENDENCY
                                                        : COP_CAUSE_REPEATED;
}

uint64_t
cop__look_time(void)
{
    struct timespec wall;
    clock_gettime(CLOCK_REALTIME, &wall);
    return (uint64_t)wall.tv_sec * 1000000000u + (uint64_t)wall.tv_nsec;
}

static void
look_open(cop__graph *graph, cop__look *look, const cop__node *node)
{
    cop__looked_run *run = &look->now;
    cop__looked_run_clear(graph->memory, run);
    look->open = true;
    look->pending = false;
    look->changed = graph->count.changed;
    run->causes =
        see_list(graph, cop__dependencies(graph, node), cop__dependency_count(node), true);
    run->cause = cause_of(node, run);
}

cop_status
cop__look_run(cop__graph *graph, cop__node *node, uint32_t limit, cop_value *result)
{
    cop__look *look = cop__look_of(graph, node);
    if (look->open)
        look->now.discarded++;
    else
        look_open(graph, look, node);
    look->now.time_ns = cop__look_time();
    uint64_t begin = cop__clock_ns();
    cop_status status = cop__run_function(&graph->run, node, limit, result);
    look->now.duration_ns = cop__clock_ns() - begin;
    return status;
}

static cop_run_outcome
outcome_of(const cop__graph *graph, const cop__look *look, const cop__node *node,
           const cop__seen *self, const cop_value *value)
{
    if (self->changed || graph->count.changed != look->changed)
        return COP_RUN_CHANGED;
    const cop__slot *slot = cop__draft_slot(graph->tree, node->id);
    return (node->flags & COP_NODE_EQUAL) && !cop__slot_holds(slot, value) ? COP_RUN_EQUAL
                                                                           : COP_RUN_SAME;
}

void
cop__look_ran(cop__graph *graph, const cop__node *node, const cop_value *value)
{
    cop__look *look = cop__look_of(graph, node);
    if (!look->open)
        return;
    cop__looked_run *run = &look->now;
    cop__seen self;
    const cop__slot *slot = cop__draft_slot(graph->tree, node->id);
    uint64_t own = (uint64_t)slot->reserved << 32 | node->id;
    see(graph, own, &self);
    run->outcome = outcome_of(graph, look, node, &self, value);
    seen_free(graph->memory, run->values);
    seen_free(graph->memory, run->read);
    run->values = see_list(graph, &own, 1, false);
    run->read = see_list(graph, cop__dependencies(graph, node), cop__dependency_count(node), false);
    look->pending = run->values != NULL && run->read != NULL;
}

/* ---- the draft's end ---- */

/* When each dependency last changed: now, or when the run before says. */
static void
note_changes(cop__seen_list *now, const cop__seen_list *had, uint64_t version)
{
    for (size_t i = 0, k = 0; i < now->count; i++) {
        cop__seen *seen = &now->seen[i];
        for (size_t j = k; had != NULL && j < had->count && j < k + 8; j++)
            if (had->seen[j].dependency == seen->dependency) {
                seen->changed_version = had->seen[j].changed_version;
                k = j + 1;
                break;
            }
        if (seen->changed)
            seen->changed_version = version;
    }
}

void
cop__look_counts(cop__memory *memory, cop__look *look, cop__looked_run *run, uint64_t version)
{
    run->version = version;
    note_changes(run->read, look->last.read, version);
    cop__looked_run_clear(memory, &look->last);
    look->last = *run;
    memset(run, 0, sizeof *run);
    look->count++;
    look->cutoffs += look->last.outcome != COP_RUN_CHANGED;
    look->total_ns += look->last.duration_ns;
    if (look->last.duration_ns > look->longest_ns)
        look->longest_ns = look->last.duration_ns;
    cop__store_release(&look->runs, cop__load_relaxed(&look->runs) + 1);
}

void
cop__looks_published(cop__graph *graph)
{
    bool any = false;
    for (cop__look *look = graph->looks; look != NULL; look = look->next) {
        if (look->pending)
            cop__look_counts(graph->memory, look, &look->now, graph->tree->root->version);
        any |= look->pending;
        look->pending = look->open = false;
    }
    cop__look_sweep(graph);
    if (any)
        cop__look_event(graph);
}

void
cop__looks_abandoned(cop__graph *graph)
{
    for (cop__look *look = graph->looks; look != NULL; look = look->next)
        look->pending = look->open = false;
    cop__look_sweep(graph);
}

/* SPDX-License-Identifier: MIT */
/*
 * Bringing single nodes up to date by pulling, where heights do not tell the order: nodes that have
 * never run, and nodes in what may be a circle.
 *
 * A stack of frames stands for the calls that a recursive evaluation would make. The top node runs;
 * a read of something not known to be final discards the run and puts that node on the stack. A node
 * that is not dirty is final once everything it depends on is, looked at in the order of its list; if
 * that makes it dirty, it runs. A read of a node that is on the stack closes a real circle: nothing in
 * it is stale, because whatever might break it was brought up to date on the way. Its members are the
 * frames from that node up; each gets the error that names them all.
 *
 * Which nodes are members does not depend on where the pulling began: a run that cannot go on stops
 * at its first read that leads back, so each node leads to one other, and the members are those that
 * lead back to themselves.
 *
 * Edges may go round before it is known whether a circle is real, and raising along them would not end.
 * So nodes on the stack bind no heights, as members of circles do not; each is raised above what it
 * stands on when it leaves the stack.
 *
 * A member keeps the edges of its last run, so that a change anywhere in the circle makes it dirty; it
 * is always brought up to date here, and its edges do not bind heights. Once it completes it is an
 * ordinary node again and is raised above what it read.
 */
#include "graph/graph.h"

#include <stdio.h>

/* ---- frames: a node's number, and the next entry of its list to look at ---- */

static bool
frame_push(cop__graph *graph, uint32_t number)
{
    if (!cop__list_push(graph, &graph->frames, number) || !cop__list_push(graph, &graph->frames, 0))
        return false;
    graph->nodes[number].flags |= COP_NODE_ACTIVE;
    graph->count.pulled++;
    return true;
}

static void
frame_pop(cop__graph *graph)
{
    graph->frames.count -= 2;
    graph->nodes[graph->frames.item[graph->frames.count]].flags &= ~(uint32_t)COP_NODE_ACTIVE;
}

static bool
settled(cop__graph *graph, cop__node *node)
{
    if (!(node->flags & COP_NODE_SETTLED) &&
        !cop__list_push(graph, &graph->settled, cop__node_number(graph, node)))
        return false;
    node->flags |= COP_NODE_SETTLED;
    return true;
}

/* ---- circles ---- */

static size_t
describe(const cop__graph *graph, uint32_t id, char *text, size_t room)
{
    const cop__name *name = cop__info_name(cop__draft_info(graph->tree, id));
    return cop__name_describe(name, id, text, room);
}

/* "cycle: a -> b -> a", from the least atom on, so that it reads the same wherever it was found. */
static size_t
name_circle(const cop__graph *graph, size_t first, char *text, size_t room)
{
    const uint32_t *frame = graph->frames.item;
    size_t n = (graph->frames.count - first) / 2, least = 0;
    for (size_t i = 1; i < n; i++)
        if (graph->nodes[frame[first + 2 * i]].id < graph->nodes[frame[first + 2 * least]].id)
            least = i;
    size_t used = (size_t)snprintf(text, room, "cycle: ");
    for (size_t i = 0; i <= n; i++) {
        uint32_t id = graph->nodes[frame[first + 2 * ((least + i) % n)]].id;
        if (i > 0)
            used += (size_t)snprintf(text + used, room - used, " -> ");
        if (room - used < 80 && i < n) { /* the rest does not fit */
            used += (size_t)snprintf(text + used, room - used, "... (%zu atoms)", n);
            break;
        }
        /* the rest is for what ends the text */
        used += describe(graph, id, text + used, i < n ? room - used - 40 : room - used);
    }
    return used;
}

static bool
member(cop__graph *graph, cop__node *node, const cop_value *error)
{
    bool placed = (node->flags & COP_NODE_PLACED) || cop__place(graph, node, 1);
    node->flags &= ~(uint32_t)COP_NODE_FRESH;
    if (!(node->flags & COP_NODE_CYCLE) &&
        !cop__list_push(graph, &graph->circular, cop__node_number(graph, node)))
        return false;
    node->flags |= COP_NODE_CYCLE;
    bool fine = placed && cop__node_store(graph, node, error);
    if (fine && (node->flags & COP_NODE_LOOKED))
        cop__look_ran(graph, node, error);
    return fine;
}

/* Frames from `first` up read each other. All of them are decided, and popped. */
static bool
circle(cop__graph *graph, size_t first)
{
    char text[1024];
    cop_value error = cop_error_value(text, name_circle(graph, first, text, sizeof text));
    size_t last = graph->frames.count;
    bool fine = true;
    graph->count.cycles++;
    for (size_t i = first; fine && i < last; i += 2)
        fine = member(graph, &graph->nodes[graph->frames.item[i]], &error);
    /* values first: they mark each other */
    for (size_t i = first; fine && i < last; i += 2) {
        cop__node *node = &graph->nodes[graph->frames.item[i]];
        cop__clean_node(graph, node);
        fine = settled(graph, node);
    }
    while (graph->frames.count > first)
        frame_pop(graph);
    return fine;
}

/* ---- pulling ---- */

static bool
is_final(const cop__graph *graph, const cop__node *node)
{
    if (node->flags & COP_NODE_SETTLED)
        return true;
    return !graph->pull_all && (node->flags & COP_NODE_PLACED) &&
           !(node->flags & (COP_NODE_FRESH | COP_NODE_CYCLE)) && node->height < graph->lowest;
}

/* Something on the stack needs this node. */
static bool
visit(cop__graph *graph, uint32_t number)
{
    if (!(graph->nodes[number].flags & COP_NODE_ACTIVE))
        return frame_push(graph, number);
    size_t first = graph->frames.count;
    while (graph->frames.item[first - 2] != number)
        first -= 2;
    return circle(graph, first - 2);
}

/* A new node whose run was discarded gets a height all the same, to have edges. A follower has all of
 * its edges from the beginning. */
static bool
place_early(cop__graph *graph, cop__node *node)
{
    uint32_t height = node->flags & COP_NODE_FOLLOWER ? cop__height_over(graph, node) : 1;
    return cop__place(graph, node, height) &&
           (!(node->flags & COP_NODE_FOLLOWED) || cop__follow_lift(graph, node));
}

/* The top node has its value. */
static bool
complete(cop__graph *graph, cop__node *node, enum cop__outcome outcome, const cop_value *value)
{
    cop__evaluator *run = &graph->run;
    bool first = (node->flags & COP_NODE_FRESH) != 0, healed = (node->flags & COP_NODE_CYCLE) != 0;
    const uint64_t *list = outcome == COP_RUN_DONE ? cop__dependencies(graph, node) : run->list;
    size_t count = outcome == COP_RUN_DONE ? cop__dependency_count(node) : run->count;
    uint32_t height = node->flags & COP_NODE_FOLLOWER ? cop__height_over(graph, node)
                                                      : cop__height_above(graph, list, count);
    node->flags &= ~(uint32_t)(COP_NODE_FRESH | COP_NODE_POISONED | COP_NODE_CYCLE);
    cop__node_completes(graph, node);
    if ((!(node->flags & COP_NODE_PLACED) && !cop__place(graph, node, height)) ||
        (outcome == COP_RUN_RELISTED && !cop__relink(graph, node, run->list, run->count)))
        return false;
    /* No circle can be met: what it read is final, and does not stand on this node. */
    if (!cop__raise(graph, node, height - 1) || (healed && !cop__raise_dependents(graph, node)) ||
        ((node->flags & COP_NODE_FOLLOWED) && !cop__follow_lift(graph, node)))
        return false;
    cop__clean_node(graph, node);
    /* A new node without readers above needs no mark that it is final: its height says so. */
    bool fine = (first && node->height < graph->lowest) || settled(graph, node);
    return fine && cop__node_store(graph, node, value);
}

/* Its run was discarded: its list is kept, so that a circle has all its edges. */
static bool
stuck(cop__graph *graph, cop__node *node, bool *only_fresh)
{
    cop__evaluator *run = &graph->run;
    uint32_t number = cop__node_number(graph, node), target = cop__run_waits_for(run);
    if (target == 0)
        return false;
    node = &graph->nodes[number];
    cop__node *below = &graph->nodes[target];
    uint32_t flags = below->flags;
    graph->count.discarded++;
    if (!((node->flags & COP_NODE_PLACED) || place_early(graph, node)) ||
        !cop__relink(graph, node, run->list, run->count))
        return false;
    node->flags |= COP_NODE_POISONED;
    cop__mark_node(graph, node);
    cop__run_reset(run);
    if (*only_fresh && (flags & COP_NODE_PLACED) && !(flags & (COP_NODE_FRESH | COP_NODE_CYCLE))) {
        cop_status status = cop__reaches(graph, node, below);
        if (status == COP_OK) { /* the sweep will come to both */
            node->flags &= ~(uint32_t)COP_NODE_FRESH;
            frame_pop(graph);
            return cop__raise(graph, node, cop__height_over(graph, node) - 1);
        }
        if (status == COP_E_MEMORY)
            return false;
        *only_fresh = false; /* this node cannot be left to the sweep, nor what it waits for */
    }
    return visit(graph, target);
}

/* Runs the top node. */
static bool
run_top(cop__graph *graph, cop__node *node, bool *only_fresh)
{
    cop_value value;
    cop__evaluator *run = &graph->run;
    uint32_t limit = graph->pull_all ? 0 : graph->lowest;
    cop_status status = node->flags & COP_NODE_LOOKED ? cop__look_run(graph, node, limit, &value)
                                                      : cop__run_function(run, node, limit, &value);
    enum cop__outcome outcome = cop__run_finish(run, status, &value);
    bool fine;
    if (outcome == COP_RUN_STUCK)
        return stuck(graph, node, only_fresh);
    fine = outcome != COP_RUN_REFUSED && complete(graph, node, outcome, &value);
    if (fine && (node->flags & COP_NODE_LOOKED))
        cop__look_ran(graph, node, &value);
    cop__run_reset(run);
    if (fine)
        frame_pop(graph);
    return fine;
}

/* The top node is not dirty: looks at what it depends on, in order. */
static bool
look_below(cop__graph *graph, cop__node *node, size_t frame)
{
    bool follows = (node->flags & COP_NODE_FOLLOWER) != 0;
    uint32_t n = follows ? cop__follow_below_count(node) : cop__dependency_count(node);
    for (uint32_t i = graph->frames.item[frame + 1]; i < n; i++) {
        const cop__node *below =
            follows ? cop__follow_below(graph, node, i)
                    : cop__dependency_node(graph, cop__dependencies(graph, node)[i]);
        if (below == NULL || is_final(graph, below) || (follows && (below->flags & COP_NODE_DYING)))
            continue;
        graph->frames.item[frame + 1] = i;
        return visit(graph, cop__node_number(graph, below));
    }
    frame_pop(graph);
    if (!(node->flags & COP_NODE_CYCLE) && !cop__raise(graph, node, cop__height_over(graph, node) - 1))
        return false;
    return settled(graph, node);
}

/* Out of memory: a node may stand lower than something that was raised while it was here. Its next
 * run finds that out. */
static void
frame_drop(cop__graph *graph)
{
    frame_pop(graph);
    cop__node *node = &graph->nodes[graph->frames.item[graph->frames.count]];
    node->flags |= COP_NODE_POISONED;
    if (node->flags & COP_NODE_PLACED)
        cop__mark_node(graph, node);
}

/* Until the stack is down to where it was. */
static bool
pull(cop__graph *graph, uint32_t number, bool only_fresh)
{
    size_t bottom = graph->frames.count;
    bool fine = visit(graph, number);
    while (fine && graph->frames.count > bottom) {
        size_t frame = graph->frames.count - 2;
        cop__node *node = &graph->nodes[graph->frames.item[frame]];
        bool dirty = (node->flags & COP_NODE_FRESH) || cop__node_dirty(graph, node);
        /* Who looks below comes back to what it looked at, so nothing may be left to the sweep then. */
        only_fresh &= dirty || (node->flags & COP_NODE_SETTLED);
        if (node->flags & COP_NODE_SETTLED)
            frame_pop(graph);
        else
            fine = dirty ? run_top(graph, node, &only_fresh) : look_below(graph, node, frame);
    }
    while (graph->frames.count > bottom)
        frame_drop(graph);
    return fine;
}

bool
cop__settle_node(cop__graph *graph, uint32_t number)
{
    cop__run_reset(&graph->run);
    return pull(graph, number, false);
}

/* Members of circles first, looking below every node: as long as one of them is undecided, a node's
 * height does not tell that it is final. Those that are none any more leave the list. */
static bool
settle_circular(cop__graph *graph)
{
    cop__list32 *list = &graph->circular;
    size_t kept = 0, n = list->count;
    bool fine = true;
    graph->pull_all = true;
    for (size_t i = 0; fine && i < n; i++) {
        cop__node *node = &graph->nodes[list->item[i]];
        if ((node->flags & COP_NODE_CYCLE) && !(node->flags & COP_NODE_DYING))
            fine = pull(graph, list->item[i], false);
    }
    graph->pull_all = false;
    for (size_t i = 0; i < list->count; i++)
        if (graph->nodes[list->item[i]].flags & COP_NODE_CYCLE)
            list->item[kept++] = list->item[i];
    list->count = kept;
    return fine;
}

/* The first run of a node of which everything that it reads is final; *done is false when it is not. */
static bool
run_first(cop__graph *graph, cop__node *node, bool *done)
{
    cop_value value;
    cop__evaluator *run = &graph->run;
    cop_status status = cop__run_function(run, node, graph->lowest, &value);
    enum cop__outcome outcome = cop__run_finish(run, status, &value);
    *done = outcome == COP_RUN_DONE || outcome == COP_RUN_RELISTED;
    bool fine = *done ? complete(graph, node, outcome, &value) : outcome == COP_RUN_STUCK;
    cop__run_reset(run);
    return fine;
}

static bool
settle_fresh(cop__graph *graph)
{
    uint32_t lowest;
    bool done;
    for (size_t i = 0; i < graph->fresh.count; i++) {
        cop__node *node = &graph->nodes[graph->fresh.item[i]];
        (void)cop__next_level(graph, &lowest); /* makes graph->lowest exact */
        if (!(node->flags & COP_NODE_FRESH) || (node->flags & COP_NODE_DYING))
            continue;
        if (!run_first(graph, node, &done) || (!done && !pull(graph, graph->fresh.item[i], true)))
            return false;
    }
    return true;
}

bool
cop__settle_first(cop__graph *graph)
{
    uint32_t lowest;
    bool work = cop__next_level(graph, &lowest) || graph->fresh.count > 0;
    cop__run_reset(&graph->run);
    return !work || ((graph->circular.count == 0 || settle_circular(graph)) && settle_fresh(graph));
}

void
cop__settle_end(cop__graph *graph)
{
    for (size_t i = 0; i < graph->settled.count; i++)
        graph->nodes[graph->settled.item[i]].flags &= ~(uint32_t)COP_NODE_SETTLED;
    graph->settled.count = 0;
    graph->frames.count = 0;
    graph->to_settle = 0;
    graph->pull_all = false;
}

/* SPDX-License-Identifier: MIT */
/* Where followers stand: edges from the nodes that may tell them something. See follow.h. */
#include "graph/follow_internal.h"

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

bool
cop__follow_edge_make(cop__graph *graph, uint32_t from, cop__follower *f)
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
    cop__follower *f = cop__follower_of(graph, edge->to);
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
        (void)cop__map_put(graph, &graph->followed, from,
                           edge[number].next); /* it is there already */
    } else {
        cop__map_remove(&graph->followed, from);
        graph->nodes[from].flags &= ~(uint32_t)COP_NODE_FOLLOWED;
    }
}

void
cop__follow_edges_end(cop__graph *graph, cop__follower *f)
{
    while (f->edge_count > 0) {
        uint32_t edge = f->edge[f->edge_count - 1];
        edge_unchain(graph, edge);
        edge_free(graph, edge);
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

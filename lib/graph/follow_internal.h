/* SPDX-License-Identifier: MIT */
/* What the files of followers share. See follow.h. */
#ifndef COP_GRAPH_FOLLOW_INTERNAL_H
#define COP_GRAPH_FOLLOW_INTERNAL_H

#include "graph/graph.h"
#include "tree/path.h"

enum cop__follow_role {
    ROLE_MEMBER, /* its value is reduced */
    ROLE_OBJECT, /* is to be grouped */
    ROLE_KEY,    /* the child of an object that says its group */
    ROLE_VALUE   /* the child of an object that is reduced */
};

static inline cop__view
cop__follow_view(const cop__graph *graph)
{
    return (cop__view){NULL, graph->tree};
}

static inline cop__follower *
cop__follower_of(const cop__graph *graph, uint32_t number)
{
    return graph->nodes[number].context;
}

/* The node that makes an atom, or owns the branch that it is in. */
static inline uint32_t
cop__follow_maker(const cop__graph *graph, uint32_t id)
{
    const cop__record *record = cop__record_of(graph, id);
    return record != NULL ? record->node & ~COP_OWNED_CHILD : 0;
}

/* ---- follow_edges.c ---- */

/* An edge from a node, if there is none yet. */
bool cop__follow_edge_make(cop__graph *graph, uint32_t from, cop__follower *f);
void cop__follow_edges_end(cop__graph *graph, cop__follower *f);

/* ---- follow.c ---- */

/* A member, or an object to be grouped, as the draft has it. */
void cop__follow_member_is(cop__graph *graph, cop__follower *f, uint32_t id, const cop__name *name);
void cop__follow_object_is(cop__graph *graph, cop__follower *f, uint32_t id, const cop__name *name);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * Reducers as nodes of the graph: they follow the atoms that match their pattern.
 *
 * A FOLLOWER is what such a node has instead of a list of dependencies: the reduction or grouping
 * (lib/reduce) of all atoms that match, its MEMBERS. Whoever changes, makes or erases an atom tells
 * cop__follow_* in here; the change goes into the reduction at once (the holder of the right is
 * alone, so there is nothing to queue) and the node becomes dirty. Its run takes the result.
 *
 * WHO TELLS. mark_sources, for what the batch did; cop__node_store, for computed members; own.c, for
 * children of owned branches. A computed member carries COP_NODE_FOLLOWED, which keeps it off the
 * short ways of storing: those that nobody follows pay nothing, not even a test. In a level that is
 * shared with a pool its value goes through the lane's log to the holder.
 *
 * HEIGHT. A follower must run after everything that can tell it something in a wave: the nodes that
 * compute members, and those that own a branch in which members may come up, even while there are
 * none (their path is a beginning of the pattern). There is an EDGE from each of these to the
 * follower, apart from dependents, because moving a node links all its dependencies anew and a
 * follower may have a million. Raising and searching for circles go along edges (order.c); pulling
 * looks at the edges where it would look at a list (settle.c). A follower is no member of itself, nor
 * is anything in its branch.
 *
 * THE FIRST RUN scans: it walks the lists of children along the pattern, and takes in all that it
 * finds as the draft has it. What is told before that is not for it.
 *
 * LAZY ATOMS that match become eager, as by any eager reader: the run that finds them waiting is
 * discarded, once for each.
 *
 * UNDO. The first change in a draft puts a mark into the reduction; cop__follow_abandon goes back to
 * it, cop__follow_published drops it. A follower that this draft defined goes with it instead, so its
 * scan is not logged.
 *
 * PATHS ARE NOT COPIED. The reduction refers to the atom's name (cop__name), which lives exactly as
 * long as the atom, as do those above it: a name is never moved or written anew, and an atom that goes
 * is told in the draft that erases it, so the member is gone before the name is retired, and the mark
 * is dropped before what was retired can be freed (cop__reclaim comes after cop__graph_published).
 * Names that a draft made are freed with it, also when it has erased them again: an abandoned draft
 * tells the graph first, and taking back may bring such a member for a moment. A
 * copy would be 16 to 32 bytes more for each child of each reducer.
 */
#ifndef COP_GRAPH_FOLLOW_H
#define COP_GRAPH_FOLLOW_H

#include "graph/pattern.h"
#include "reduce/group.h"
#include "reduce/reduction.h"

struct cop__graph;
struct cop__node;
struct cop__evaluator;

/* What a reducer is to be. Keys are escaped segments; key NULL: no groups. */
typedef struct cop__reduce_definition {
    const char *pattern, *key, *value;
    size_t length, key_length, value_length;
    cop__reduce_rule rule;
} cop__reduce_definition;

typedef struct cop__follower {
    struct cop__graph *graph;
    cop__reduction *reduction; /* one of these two */
    cop__grouping *grouping;
    struct cop__follower *next_touched;
    uint32_t node;
    uint32_t watch[3];
    uint32_t *edge; /* numbers of edges to it */
    size_t edge_count, edge_capacity;
    uint32_t *lazy; /* atoms that are to become eager */
    size_t lazy_count, lazy_capacity;
    uint32_t looked; /* edges of which it is known that they are final in this wave */
    uint64_t looked_wave;
    bool born;    /* defined in this draft */
    bool scanned;
    bool whole;   /* groups: its branch may not be what the last run gave */
    bool touched; /* in the list, with a mark unless it is born */
    uint32_t pattern_length, key_length, value_length;
    size_t bytes;
    char text[]; /* pattern, key, value */
} cop__follower;

/* From a node that may tell to a follower. */
typedef struct cop__follow_edge {
    uint32_t from, to; /* node numbers */
    uint32_t next;     /* from the same node, or free */
    uint32_t at;       /* in the follower's list */
} cop__follow_edge;

typedef struct cop__follow {
    cop__follow_edge *edge; /* number 0 is none */
    size_t edge_capacity;
    uint32_t edge_count, edge_free;
    cop__follower *touched;
    char *text; /* of results; room for a path too */
} cop__follow;

/* ---- life; the node's flags say COP_NODE_FOLLOWER, its context is the follower ---- */

bool cop__follow_open(struct cop__graph *graph, struct cop__node *node,
                      const cop__reduce_definition *definition);
void cop__follow_close(struct cop__graph *graph, struct cop__node *node);
/* A node that has edges goes. */
void cop__follow_leave(struct cop__graph *graph, struct cop__node *node);
void cop__follow_abandon(struct cop__graph *graph);
void cop__follow_published(struct cop__graph *graph);
void cop__follow_end(struct cop__graph *graph);

/* ---- what happened; tree->failed says when memory ran out ---- */

/* An atom that is there in the draft; its name matches, or may match now. */
void cop__follow_came(struct cop__graph *graph, uint32_t id);
/* A lazy atom has got a node. */
void cop__follow_promoted(struct cop__graph *graph, uint32_t id);
/* An atom of the published version is erased, or about to be. */
void cop__follow_went_slow(struct cop__graph *graph, uint32_t id);
void cop__follow_changed_slow(struct cop__graph *graph, uint32_t id);

/* ---- heights ---- */

/* Calls back with every follower that a node has an edge to, until it returns false. */
bool cop__follow_each(const struct cop__graph *graph, const struct cop__node *node,
                      bool (*function)(void *context, uint32_t node), void *context);
/* Raises them above the node, which has just got its height. */
bool cop__follow_lift(struct cop__graph *graph, const struct cop__node *node);
/* What a follower stands on: count, and one of them. */
uint32_t cop__follow_below_count(const struct cop__node *follower);
struct cop__node *cop__follow_below(const struct cop__graph *graph,
                                    const struct cop__node *follower, uint32_t i);

/* The next run of this node, if it is a follower, gives all that it has to give. */
void cop__follow_again(struct cop__node *node);
/* The function of followers. */
cop_status cop__follow_run(cop_evaluation *evaluation, void *context, cop_value *result);

#endif

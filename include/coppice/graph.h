/* SPDX-License-Identifier: MIT */
/*
 * Looking into the graph of computed atoms: what there is, what depends on what, and why a computed
 * atom ran.
 *
 * Nothing is recorded unless somebody looks: cop_graph_look, or cop_graph_explain while it waits,
 * sets a mark on a node, and only runs of marked nodes are written down. A marked node is run by the
 * committing thread, not by the pool.
 *
 * Everything here copies what it tells while it holds the commit right, and calls back and returns
 * without it. The right is waited for until the deadline: COP_E_TIMEOUT when it was not to be had.
 * All functions that take a store are thread-safe and blocking, and answer COP_E_IN_EVALUATION inside an
 * evaluation, COP_E_CLOSING and COP_E_FORKED. Those that give names are thread-safe and wait-free, and
 * what they give has static storage.
 */
#ifndef COPPICE_GRAPH_H
#define COPPICE_GRAPH_H

#include <coppice/computed.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- counts ---- */

/* X(name, "unit", "help"): the first two are of this moment, the others only grow. */
#define COP_GRAPH_STATS_MAP(X)                                                                     \
    X(nodes, "nodes", "computed atoms and effects")                                                \
    X(looked, "nodes", "nodes whose runs are written down")                                        \
    X(waves, "count", "batches that were propagated")                                              \
    X(runs, "count", "runs of functions that gave a value")                                        \
    X(discarded, "count", "runs that read something not ready, and were repeated after it")        \
    X(cutoffs, "count", "runs whose value was the one before: nothing above them ran for it")      \
    X(errors, "count", "runs that gave an error value")                                            \
    X(cycles, "count", "circles found")                                                            \
    X(raised, "count", "nodes moved to a greater height")

typedef struct cop_graph_counts {
    size_t size; /* sizeof(cop_graph_counts) */
#define COP_GRAPH_STATS_FIELD(name, unit, help) uint64_t name;
    COP_GRAPH_STATS_MAP(COP_GRAPH_STATS_FIELD)
#undef COP_GRAPH_STATS_FIELD
} cop_graph_counts;

/* C only; in C++ zero the struct and set size. */
#define COP_GRAPH_COUNTS_INIT {.size = sizeof(cop_graph_counts)}

/* All of one moment. COP_E_INVALID, COP_E_TIMEOUT. */
COP_PUBLIC cop_status cop_graph_stats(cop_store *store, uint64_t deadline, cop_graph_counts *counts);

/* ---- nodes and edges ---- */

typedef enum cop_graph_kind {
    COP_GRAPH_SOURCE, /* not computed: somebody writes it, or it is a branch */
    COP_GRAPH_EAGER,
    COP_GRAPH_LAZY,
    COP_GRAPH_BACKGROUND,
    COP_GRAPH_BRANCH, /* computed, and owns a branch */
    COP_GRAPH_EFFECT
} cop_graph_kind;

/* "source", "eager", ... ; static storage. */
COP_PUBLIC const char *cop_graph_kind_name(cop_graph_kind kind);

/* What of an atom something depends on. */
typedef enum cop_depends {
    COP_ON_VALUE,
    COP_ON_BRANCH,   /* that it is a branch */
    COP_ON_CHILDREN, /* its list of children */
    COP_ON_PATH      /* what a path leads to */
} cop_depends;

/* "value", "branch", "children", "path"; static storage. */
COP_PUBLIC const char *cop_depends_name(cop_depends what);

/* An edge: the node reads this. What it reads below a branch whose children it lists is counted at
 * the highest such branch, and what it reads in a branch that a node owns at that node. */
typedef struct cop_graph_edge {
    cop_atom atom; /* {0, 0}: a path that leads nowhere */
    const char *path; /* with COP_ON_PATH: the path; else NULL */
    cop_depends what;
    uint32_t reads; /* entries of the node's list that are in this edge */
} cop_graph_edge;

typedef struct cop_graph_node {
    cop_atom atom; /* {0, 0} for an effect */
    const char *path;  /* "" when it has none */
    const char *label; /* "" when it has none */
    cop_graph_kind kind;
    uint32_t height;  /* above all that it depends on; 0 for sources */
    uint32_t distance; /* edges between it and `around`; 0 without */
    bool cycle;        /* in a circle: its value says so */
    bool looked;
    const cop_graph_edge *edges;
    size_t edge_count;
    uint32_t dependents; /* nodes that read it */
} cop_graph_node;

/* *node and what it points to live for the call. Return non-zero to stop. */
typedef int (*cop_graph_function)(void *context, const cop_graph_node *node);

typedef struct cop_graph_query {
    size_t size;
    const cop_atom *around; /* NULL: every node, and what they read */
    uint32_t depth;         /* edges from `around`, in both directions; an owned atom means its owner */
    uint32_t most;          /* nodes told, sources included */
    uint64_t deadline;
} cop_graph_query;

#define COP_GRAPH_QUERY_INIT {sizeof(cop_graph_query), NULL, 1, 100000, UINT64_MAX}

/* Tells the nodes of one moment, with their edges; sources behind what reads them. A reducer has no
 * edges, since it follows a pattern: it is told as EAGER or BRANCH. An effect that reads nothing is not
 * told. The edges of a lazy or background atom are what it read when it was last needed; none before,
 * and it is found from itself only, not from what it reads. query may be NULL.
 * COP_E_GONE (around), COP_E_LIMIT: there are more than `most`, and those were told. COP_E_INVALID,
 * COP_E_MEMORY, COP_E_TIMEOUT. Holds up commits for O(nodes told and their lists). */
COP_PUBLIC cop_status cop_graph_each(cop_store *store, const cop_graph_query *query,
                                     cop_graph_function function, void *context, int *stopped);

/* ---- why ---- */

/* Nodes that may be looked at at once. */
#define COP_GRAPH_LOOKS_MAX 1024u

/* Begins or ends writing down the runs of a computed atom; not counted: one end ends it. It ends with
 * the atom, too. COP_E_GONE, COP_E_STATE (not computed), COP_E_LIMIT, COP_E_MEMORY, COP_E_TIMEOUT. */
COP_PUBLIC cop_status cop_graph_look(cop_store *store, cop_atom atom, bool on, uint64_t deadline);

typedef enum cop_run_cause {
    COP_CAUSE_DEFINED,    /* its first run */
    COP_CAUSE_DEPENDENCY, /* what it read last time has changed: see causes. Of a reducer: what it
                             follows has, and causes are not listed */
    COP_CAUSE_REPEATED    /* a commit was abandoned, or it waited for something, or left a circle */
} cop_run_cause;
COP_PUBLIC const char *cop_run_cause_name(cop_run_cause cause); /* "defined", "dependency", "repeated" */

typedef enum cop_run_outcome {
    COP_RUN_NONE,    /* no run is known */
    COP_RUN_CHANGED, /* another value: what reads it ran too */
    COP_RUN_SAME,    /* the value before: cut off, what reads it did not run for it */
    COP_RUN_EQUAL    /* another value that its own equality counts as the same: cut off */
} cop_run_outcome;
COP_PUBLIC const char *cop_run_outcome_name(cop_run_outcome outcome); /* "none", "changed", ... */

#define COP_EXPLAIN_TEXT_MAX 200u  /* longer texts are cut, at a character */
#define COP_EXPLAIN_LIST_MAX 4096u /* entries told; *_total counts all */

typedef struct cop_explained {
    cop_atom atom;
    const char *path; /* "": it has none, or is gone by now */
    cop_depends what;
    bool computed;
    bool changed;    /* in the version of the run */
    cop_value value; /* that the run read; COP_NONE: there was nothing */
    cop_value before; /* in the version before; COP_NONE: there was nothing */
    /* The last change that is known of: exact while the node is looked at, else 0. */
    uint64_t changed_version;
    /* It has not changed after this version; 0: not known. */
    uint64_t unchanged_since;
    /* Of a computed one that ran while cop_graph_explain waited. */
    cop_run_outcome outcome;
    uint64_t ran_version;
} cop_explained;

typedef struct cop_explanation {
    cop_atom atom;
    const char *path;
    const char *label;
    cop_graph_kind kind;
    uint32_t height;
    bool cycle;
    bool ran;         /* a run is told of: all up to `after` */
    uint64_t version; /* that it is part of; one that changed nothing: the version it equals */
    uint64_t time_ns; /* CLOCK_REALTIME of its beginning */
    uint64_t duration_ns; /* of the function alone */
    uint32_t discarded;   /* runs before it in the same wave that had to wait */
    cop_run_cause cause;
    const cop_explained *causes; /* of what it read the time before: what had changed */
    size_t cause_count, cause_total;
    cop_run_outcome outcome;
    cop_value before, after; /* COP_NONE before the first run */
    /* Of the runs written down since somebody looks. */
    uint64_t runs, cutoffs, total_ns, longest_ns;
    /* What it reads, in order of reading, as it is known from its last run. */
    const cop_explained *dependencies;
    size_t dependency_count, dependency_total;
    uint32_t dependents;
    cop_value value;          /* now */
    uint64_t value_version;   /* the version that `value` was read in */
} cop_explanation;

/*
 * Looks at a computed atom and at the computed atoms it reads (up to 64), waits for its next run, and
 * tells about it. COP_E_TIMEOUT when it did not run by the deadline: *explanation then tells of the
 * last run that was written down, if any, and of the dependencies; it is NULL only when the commit
 * right was not to be had. An atom in a branch that a node owns means that node. The atoms are no
 * longer looked at afterwards, unless cop_graph_look says so. COP_E_GONE, COP_E_STATE (not computed),
 * COP_E_LIMIT, COP_E_MEMORY, COP_E_INVALID. Free it with cop_explanation_free.
 *
 * A lazy or background atom runs when it is read or served, in any version; its run is compared with the
 * one that it remembers to have given its last value, and one that remembers none is called `defined`.
 * `before` is not known of long texts and of other lazy atoms. Nothing runs for being asked about: `value`
 * is the last that is remembered. A comparison that finds nothing changed is no run.
 */
COP_PUBLIC cop_status cop_graph_explain(cop_store *store, cop_atom atom, uint64_t deadline,
                                        cop_explanation **explanation);
/* Legal for NULL, and after the store is closed. */
COP_PUBLIC void cop_explanation_free(cop_explanation *explanation);

#ifdef __cplusplus
}
#endif
#endif

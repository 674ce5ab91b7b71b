/* SPDX-License-Identifier: MIT */
/*
 * The graph of computed atoms, and the wave that brings the dirty ones up to date in a draft.
 *
 * A node is a function with the atom that holds its value. Its dependencies are a list of what its
 * last run read, in order; the reverse, a target's dependents, is a set of places. A node's PLACE is
 * a bit of a block of 64 nodes of one HEIGHT, and every node stands higher than what it depends on.
 * A wave marks the dependents of what a batch changed as dirty, and sweeps the dirty words in order
 * of height; a node whose value turns out the same marks nobody (equality cutoff). A last dirty node
 * of a height that has a single dependent goes on with it at once.
 *
 * A run that reads a node at or above its own height is discarded; its node is raised and runs again
 * later in the same wave. Where raising would go round in a circle, settle.c finds out by pulling
 * whether the circle is real.
 *
 *   arena.h      memory of lists and tables
 *   order.c      blocks, heights, raising
 *   edges.c      dependents and dependency lists
 *   interest.c   dependencies on paths and on lists of children
 *   evaluate.c   running one function: what cop_read does
 *   emit.c       what a function emits
 *   own.c        branches that nodes own
 *   pattern.h    patterns of paths, indexed by segment
 *   follow.h     reducers: nodes that follow what matches a pattern
 *   wave.c       marking, sweeping
 *   settle.c     new nodes and circles, by pulling
 *   node.c       making and removing nodes; life of a draft
 *   lazy.h       atoms that are evaluated by their readers, with an argument of its own
 *   look.c       writing down the runs of nodes that somebody looks at
 *   inspect.c    what the next two share, and counts
 *   tell.c       telling nodes and edges
 *   explain.c    telling why a node ran
 *
 * ORDERING. Everything here belongs to the holder of the commit right. The level that a wave runs in
 * parallel is in parallel.c, with an argument of its own.
 *
 * FAILURE. Whatever runs out of memory sets tree->failed; the draft is then abandoned, values come
 * back by its undo, and nodes whose dependency lists changed meanwhile are dirty again: their lists
 * are of an abandoned run. Nodes that were dirty and had not run stay dirty. Only the text of a result is
 * no reason to abandon: in a wave (tree->lenient) the slot gets the error value COP_UNFIT in its place, and
 * every wave begins by marking those that have it (mark_unfit).
 */
#ifndef COP_GRAPH_GRAPH_H
#define COP_GRAPH_GRAPH_H

#include <coppice/computed.h>

#include "graph/arena.h"
#include "graph/follow.h"
#include "graph/own.h"
#include "tree/atoms.h"

struct cop__graph;
struct cop__node;

/* In builds that look for faults: no node completes twice in one wave. */
#if defined(COP_PERTURB) || defined(COP_PLANTED_FAULTS) || defined(COP_EXPENSIVE)
#define COP_CHECK_WAVES 1
#define cop__node_completes(graph, node) cop__node_completes_once(graph, node)
#else
#define COP_CHECK_WAVES 0
#define cop__node_completes(graph, node) ((void)((graph)->count.runs++), (void)(node))
#endif

void cop__node_completes_once(struct cop__graph *graph, const struct cop__node *node);

#define COP_NODE_NONE UINT32_MAX
#define COP_HEIGHT_NONE UINT32_MAX
/* Effects are marked by waves and run after publication. Their blocks are numbered apart: the block of
 * effects 64 * w .. 64 * w + 63 has this height plus w. */
#define COP_HEIGHT_EFFECT 0x80000000u

/* Ends a dependency list; no handle is like it. */
#define COP_DEPENDENCY_END UINT64_C(0xfffffffefffffffe)

/* A dependency: generation << 32 | id, and what of it in the upper two bits. Only COP_DEPENDS_VALUE is
 * what cop_read compares with; the others always take the slow way. */
#define COP_DEPENDS_VALUE (UINT64_C(0) << 62)
#define COP_DEPENDS_KIND (UINT64_C(1) << 62) /* the atom was a branch when it was read */
#define COP_DEPENDS_LIST (UINT64_C(2) << 62) /* the list of children */
#define COP_DEPENDS_PATH (UINT64_C(3) << 62) /* what a path leads to; id: an interest */
#define COP_DEPENDS_WHAT (UINT64_C(3) << 62)

enum {
    COP_NODE_LIVE = 1u,
    COP_NODE_MANY = 2u,      /* its dependencies are a run of the arena */
    COP_NODE_PLACED = 4u,
    COP_NODE_FRESH = 8u,     /* defined in this draft, never run */
    COP_NODE_CYCLE = 16u,    /* in a circle: its value says so */
    COP_NODE_ACTIVE = 32u,   /* on the stack of settle.c */
    COP_NODE_SETTLED = 64u,  /* final in this wave, by settle.c */
    COP_NODE_POISONED = 128u, /* its list must not be compared: something in it is another thing now */
    COP_NODE_DYING = 256u,   /* its atom is erased in this draft */
    COP_NODE_EFFECT = 512u,
    COP_NODE_BRANCH = 1024u, /* owns a branch */
    COP_NODE_RELINKED = 2048u, /* in the log of this draft */
    COP_NODE_EQUAL = 4096u,  /* has an equality of its own */
    COP_NODE_LOOKED = 8192u, /* somebody wants to know why it runs */
    COP_NODE_SIDE = 16384u,  /* has a side record */
    COP_NODE_SEEN = 32768u,  /* scratch of searching */
    COP_NODE_ALONE = 65536u, /* reads by path or lists children: not run beside others */
    COP_NODE_FOLLOWER = 131072u, /* a reducer: its context is a follower */
    COP_NODE_FOLLOWED = 262144u, /* has edges to followers */
    /* what keeps a run off the short way */
    COP_NODE_SPECIAL = COP_NODE_FRESH | COP_NODE_CYCLE | COP_NODE_POISONED | COP_NODE_DYING |
                       COP_NODE_BRANCH | COP_NODE_EQUAL | COP_NODE_LOOKED | COP_NODE_FOLLOWED
};

typedef struct cop__node {
    cop_computed_function function;
    void *context;
    union {
        uint64_t few[2]; /* one dependency or none, and the end */
        struct {
            uint32_t list, count, capacity, unused;
        } many;
    } dependencies;
    uint32_t id;     /* its atom; of an effect: its number in the effects' table */
    uint32_t place;  /* block << 6 | bit */
    uint32_t height;
    uint32_t flags;
} cop__node;

_Static_assert(sizeof(cop__node) == 48, "a node is 48 bytes");

/* A set of nodes: none, one (its number), or a table of (block, mask) pairs in the arena, ascending:
 * a word with the capacity in pairs, then the pairs. */
typedef struct cop__dependents {
    uint32_t count; /* 0, 1, or 1 + pairs */
    uint32_t at;
} cop__dependents;

#define COP_OWNED_CHILD 0x80000000u /* in cop__record.node: the node owns the branch it is in */

/* One an atom. */
typedef struct cop__record {
    uint32_t node; /* that computes it, 0: none */
    uint32_t mark; /* scratch of relinking */
    cop__dependents dependents;
} cop__record;

typedef struct cop__block {
    uint64_t dirty, used;
    uint32_t slots; /* node numbers: a run of the arena */
    uint32_t height;
    uint32_t next; /* in its level's list of dirty blocks */
    uint32_t capacity; /* slots */
} cop__block;

typedef struct cop__level {
    uint32_t dirty; /* first dirty block */
    uint32_t roomy; /* a block that may have room */
    uint32_t cost;  /* ns a node, 1/16; 0: not measured */
} cop__level;

/* What a path leads to, or a branch's list of children, while some node depends on it. */
typedef struct cop__interest {
    cop__dependents dependents;
    uint32_t mark;
    uint32_t length; /* of path; 0: a list */
    char *path;      /* NULL: free; then `atom.id` is the next free one */
    cop_atom atom;   /* the branch, or where the path leads */
    bool loose;      /* a segment looks like a position: any change of structure may move it */
} cop__interest;

/* Open addressing from 64-bit keys to numbers. */
typedef struct cop__map {
    struct cop__map_entry {
        uint64_t key;
        uint32_t value; /* 0: free */
    } *entry;
    uint32_t count, capacity;
} cop__map;

typedef struct cop__list32 {
    uint32_t *item;
    size_t count, capacity;
} cop__list32;

/* What only some nodes have. */
typedef struct cop__side {
    struct cop__side *next; /* of those whose destructor is to run */
    cop_equal_function equal;
    cop_destructor destroy;
    void *context;
    size_t bytes; /* of this record */
    char label[]; /* terminated */
} cop__side;

struct cop__graph;
struct cop__lazies;
struct cop__session;

typedef struct cop__scratch {
    struct cop__scratch *next;
    size_t bytes;
} cop__scratch;

enum cop__outcome {
    COP_RUN_DONE,    /* *result holds, and the node's list is right */
    COP_RUN_RELISTED, /* *result holds; run->list is to be linked */
    COP_RUN_STUCK,    /* discarded: waits for run->waits_for; run->list is to be linked */
    COP_RUN_ALONE,    /* discarded: it needs what runs side by side must not touch */
    COP_RUN_AGAIN,    /* discarded: it read at or above its height while others ran */
    COP_RUN_REFUSED   /* out of memory */
};

/* One run of a function. Each lane of a parallel level has one. */
typedef struct cop__evaluator {
    cop_evaluation public; /* first: what the function is given */
    struct cop__graph *graph;
    cop__node *node;
    uint32_t limit; /* placed nodes below this height are final */
    bool slow;      /* the list is being written down */
    bool shared;    /* other lanes run at the same time */
    bool no_scratch; /* cop_scratch had no memory for this run */
    cop_status stuck; /* what all further reads answer */
    enum cop__outcome apart; /* beside others it cannot go on: ALONE or AGAIN; else DONE */
    uint32_t waits_for; /* the node that is not ready; 0: see promotes */
    uint32_t promotes;  /* stuck, and waits_for 0: this lazy atom is to become eager */
    uint64_t above;     /* the owner of a branch that stands in the list already */
    uint64_t *list;     /* what was read */
    size_t count, capacity;
    const cop_snapshot *snapshot; /* reads go here; NULL: the draft */
    struct cop__executor *effect; /* it is an effect's: effect/read.c does what is read */
    struct cop__session *session; /* of a lazy atom's run: reads go through it */
    cop__scratch *scratch;
    uint64_t errors; /* runs that ended in an error value */
    cop_value failed; /* the error value that was read last */
    char message[256]; /* of cop_fail */
} cop__evaluator;

typedef struct cop__graph_counts {
    uint64_t nodes, effects, waves, runs, discarded, changed, cutoffs, cycles, errors, raised, pulled;
} cop__graph_counts;

/* The level of the wave that was shared last. */
typedef struct cop__shared {
    uint64_t levels; /* shared so far */
    uint64_t begin;
    double ns; /* of a node, on one thread */
    uint32_t items; /* 0: none, or told to the region */
} cop__shared;

typedef struct cop__graph {
    /* what a sweep touches at every node */
    cop__node *nodes;
    cop__record *records;
    cop__block *blocks;
    cop__level *levels;
    uint64_t *level_map; /* a bit a height: it has dirty blocks */
    size_t level_map_words;
    cop__arena arena;
    cop__tree *tree;
    cop__memory *memory;
    uint32_t lowest; /* no dirty level is below it */
    uint32_t record_count;
    uint32_t node_count; /* numbers given out; 0 is none */
    uint32_t block_count, level_count;
    size_t node_capacity, block_capacity, level_capacity, record_capacity;
    cop__level effect_level;
    uint32_t free_node; /* chained through .id */
    uint32_t live;      /* nodes and effects there are */
    uint32_t epoch;     /* of marks in relinking */
    cop__list32 fresh;    /* defined in this draft */
    cop__list32 dying;
    cop__list32 relinked;
    cop__list32 settled;
    cop__list32 circular; /* nodes that are, or lately were, in a circle */
    cop__list32 stack;    /* of raising */
    cop__list32 frames; /* of settling: node, next dependency */
    cop__own own;
    cop__patterns patterns;
    cop__follow follow;
    cop__map followed; /* from a node to its first edge */
    cop__interest *interests;
    size_t interest_capacity;
    uint32_t interest_count, interest_free, interests_live, interests_loose;
    bool interests_led; /* in this draft a path was found to lead elsewhere */
    cop__map interest_of;
    cop__map side_of;
    cop__side **sides; /* number 0 is none */
    size_t side_capacity;
    uint32_t side_count;
    cop__list32 sides_free;
    cop__side *dead; /* destructors that wait for the right to be given back */
    uint32_t effect_blocks;
    /* Told after a publication: of effects 64 * word .. 64 * word + 63 these read what changed. */
    void (*effects_due)(void *context, uint32_t word, uint64_t mask);
    void *effects_context;
    _Atomic bool disposed; /* a function disposed of an atom: a transaction waits in the queue */
    bool structure; /* this batch made, erased or moved atoms */
    bool unordered; /* some node may stand no higher than something that it reads */
    bool pull_all;  /* settling looks below every node, whatever its height */
    uint32_t to_settle; /* a node that the sweep cannot go on with, 0: none */
#if COP_CHECK_WAVES
    uint64_t *completed; /* a node: the wave in which it last completed */
    size_t completed_capacity;
#endif
    cop__graph_counts count;
    struct cop__lazies *lazies; /* records of lazy and background atoms, lazy.h */
    struct cop__look *looks;   /* at nodes; see look.h */
    uint32_t look_count;
    _Atomic uint32_t look_event; /* counts what those wait for who look */
    struct cop__region *region; /* of the pool that helps; NULL: none */
    struct cop__lane **lanes;   /* of the region */
    size_t lane_capacity;
    uint32_t lane_count;
    cop__shared shared;
    void **stash;          /* pages that lanes may copy to */
    size_t stash_count, stash_capacity;
    cop__list32 front; /* the nodes of a level that run side by side */
    cop__list32 rest;  /* and those that run after them */
    cop__list32 front_blocks; /* where they stand */
    _Alignas(128) cop__evaluator run;
} cop__graph;

/* The page that a wave reads: another lane may be replacing it by its copy. */
static inline void *
cop__wave_page(const cop__page_entry *entry)
{
    return __atomic_load_n((void *const *)&entry->page, __ATOMIC_ACQUIRE);
}

#if COP_CHECK_WAVES
void cop__node_completes_room(cop__graph *graph);
void cop__node_completes_beside(const cop__graph *graph, const cop__node *node);
void cop__order_check(const cop__graph *graph);
#endif

/* ---- order.c ---- */

bool cop__graph_grow(cop__graph *graph, void *vector, size_t *capacity, size_t need, size_t element);
bool cop__list_push(cop__graph *graph, cop__list32 *list, uint32_t item);
/* Puts a node that has no place at a height. Its dirty bit is clear. */
bool cop__place(cop__graph *graph, cop__node *node, uint32_t height);
/* Takes its place away; true when it was dirty. */
bool cop__unplace(cop__graph *graph, cop__node *node);
/* Puts a placed node at another height, with its edges and dirty bit. */
bool cop__move(cop__graph *graph, cop__node *node, uint32_t height);
/* One above all that a list has in it. */
uint32_t cop__height_above(const cop__graph *graph, const uint64_t *list, size_t count);
/* One above all that a node's list, or what it follows, has in it now. */
uint32_t cop__height_over(const cop__graph *graph, const cop__node *node);
/* Raises a node above a height, and everything that depends on it above it. There must be no circle. */
bool cop__raise(cop__graph *graph, cop__node *node, uint32_t above);
/* Only what depends on it. */
bool cop__raise_dependents(cop__graph *graph, const cop__node *node);
/* COP_E_CYCLE when `target` depends on `node`, as far as lists of dependencies tell (those of dirty
 * nodes may be out of date). COP_E_MEMORY. */
cop_status cop__reaches(cop__graph *graph, cop__node *node, const cop__node *target);
/* A wave that ran out of memory may have raised a node and not all that depends on it. Those that stand
 * too low are marked, and will ask of all that they read whether it is final. */
void cop__reorder(cop__graph *graph);
/* Takes a placed node's dirty bit away. */
void cop__clean_node(cop__graph *graph, const cop__node *node);
void cop__enqueue(cop__graph *graph, uint32_t block);
/* The lowest dirty height from graph->lowest on; false when nothing is dirty. */
bool cop__next_level(cop__graph *graph, uint32_t *height);

static inline uint32_t
cop__node_number(const cop__graph *graph, const cop__node *node)
{
    return (uint32_t)(node - graph->nodes);
}

static inline void
cop__mark_mask(cop__graph *graph, uint32_t block, uint64_t mask)
{
    cop__block *b = &graph->blocks[block];
    uint64_t dirty = b->dirty;
    b->dirty = dirty | mask;
    if (cop__unlikely(dirty == 0))
        cop__enqueue(graph, block);
}

static inline void
cop__mark_node(cop__graph *graph, const cop__node *node)
{
    cop__mark_mask(graph, node->place >> 6, UINT64_C(1) << (node->place & 63));
}

static inline bool
cop__node_dirty(const cop__graph *graph, const cop__node *node)
{
    return (graph->blocks[node->place >> 6].dirty >> (node->place & 63)) & 1;
}

/* ---- edges.c ---- */

bool cop__dependents_add(cop__graph *graph, cop__dependents *set, const cop__node *node);
void cop__dependents_remove(cop__graph *graph, cop__dependents *set, const cop__node *node);
void cop__dependents_mark(cop__graph *graph, const cop__dependents *set);
/* Marks them, and makes their lists not be compared. */
void cop__dependents_poison(cop__graph *graph, const cop__dependents *set);
/* Calls back with every node of a set until it returns false. */
bool cop__dependents_each(const cop__graph *graph, const cop__dependents *set,
                          bool (*function)(void *context, uint32_t node), void *context);

static inline const uint64_t *
cop__dependencies(const cop__graph *graph, const cop__node *node)
{
    return node->flags & COP_NODE_MANY ? &graph->arena.words[node->dependencies.many.list]
                                       : node->dependencies.few;
}
uint32_t cop__dependency_count(const cop__node *node);
/* The record of an atom, made if need be; NULL when out of memory. */
cop__record *cop__record_make(cop__graph *graph, uint32_t id);
static inline cop__record *
cop__record_of(const cop__graph *graph, uint32_t id)
{
    return id < graph->record_count ? &graph->records[id] : NULL;
}
/* The node that must be up to date before a dependency can be read, or NULL. */
cop__node *cop__dependency_node(const cop__graph *graph, uint64_t dependency);
/* Edges from all that a node depends on to its place, there and away. */
bool cop__link_all(cop__graph *graph, const cop__node *node);
void cop__unlink_all(cop__graph *graph, const cop__node *node);
/* Gives a placed node another list, and its edges. On failure its list is what is linked. */
bool cop__relink(cop__graph *graph, cop__node *node, const uint64_t *list, size_t count);
void cop__dependencies_end(cop__graph *graph, cop__node *node);

/* ---- interest.c ---- */

bool cop__map_put(cop__graph *graph, cop__map *map, uint64_t key, uint32_t value);
uint32_t cop__map_get(const cop__map *map, uint64_t key); /* 0: absent */
void cop__map_remove(cop__map *map, uint64_t key);
void cop__map_end(cop__graph *graph, cop__map *map);

/* The interest in a path, or in the children of a branch; 0 when out of memory. */
uint32_t cop__interest_path(cop__graph *graph, const char *path, size_t length, cop_atom leads_to);
uint32_t cop__interest_list(cop__graph *graph, cop_atom branch);
/* Nobody depends on it any more. */
void cop__interest_drop(cop__graph *graph, uint32_t number);
/* An atom came (in the draft) or went (from the published version); a list of children changed.
 * Followers are told too. */
void cop__interest_came(cop__graph *graph, uint32_t id);
void cop__interest_went(cop__graph *graph, uint32_t id);
void cop__interest_list_changed(cop__graph *graph, uint32_t id);
/* After all changes: paths that may lead elsewhere. */
void cop__interest_moved(cop__graph *graph);
/* The draft is abandoned: paths lead again where they led. The next one may lead them to an atom of the
 * same number, which must not look like no change. O(paths) if any was found to lead elsewhere. */
void cop__interest_abandon(cop__graph *graph);

/* ---- follow.c ---- */

/* An atom has another value. */
static inline void
cop__follow_changed(cop__graph *graph, uint32_t id)
{
    if (cop__unlikely(cop__pattern_matched(&graph->patterns, id)))
        cop__follow_changed_slow(graph, id);
}

static inline void
cop__follow_went(cop__graph *graph, uint32_t id)
{
    if (cop__unlikely(cop__pattern_matched(&graph->patterns, id)))
        cop__follow_went_slow(graph, id);
}

/* ---- evaluate.c ---- */

void cop__run_init(cop__evaluator *run, cop__graph *graph);
void cop__run_end(cop__evaluator *run);
void cop__run_scratch_end(cop__evaluator *run);
/* The node that a stuck run waits for, made if need be; 0: out of memory. Nodes may move. */
uint32_t cop__run_waits_for(cop__evaluator *run);
/* Before the first run and after each that took the slow way. Frees what cop_scratch gave. */
void cop__run_reset(cop__evaluator *run);
/* Calls the function of a node; reads of placed nodes below limit succeed. */
cop_status cop__run_function(cop__evaluator *run, cop__node *node, uint32_t limit, cop_value *result);
/* Makes a run one on a version, of a record of lazy.h. */
void cop__run_on_snapshot(cop__evaluator *run, const cop_snapshot *snapshot,
                          struct cop__session *session);
/* COP_OK when a node is up to date, as far as this run may know; else the run is stuck. */
cop_status cop__run_wait_for(cop__evaluator *run, uint32_t number);
/* A lazy atom that is read becomes an eager one: once the run is discarded, for nodes may move. Stuck. */
cop_status cop__run_promote(cop__evaluator *run, uint32_t id);
/* What has become of a run; *result becomes a value that may be stored. */
enum cop__outcome cop__run_finish(cop__evaluator *run, cop_status status, cop_value *result);

/* ---- wave.c ---- */

/* Brings every eager node up to date in the draft. False: out of memory, abandon the draft. */
bool cop__graph_wave(cop__graph *graph);
/* The same with the runs of nodes timed one by one, up to `most` of them: for the monitor. Nothing runs
 * side by side until then. */
typedef struct cop__wave_timing {
    void (*ran)(struct cop__wave_timing *timing, cop_atom atom, uint64_t ns, bool same, bool relisted);
    uint32_t most;
} cop__wave_timing;
bool cop__graph_wave_timed(cop__graph *graph, cop__wave_timing *timing);
/* Stores a node's value and marks its dependents if it changed; an owner's children likewise. */
bool cop__node_store(cop__graph *graph, cop__node *node, const cop_value *value);
/* Whether a value of this node, to be stored in this slot, is no change. */
bool cop__counts_as_same(const cop__graph *graph, const cop__node *node, const cop__slot *slot,
                         const cop_value *value);

enum cop__step {
    COP_STEP_ON,      /* done; dependents are marked */
    COP_STEP_CHANGED, /* done; dependents are still to be marked */
    COP_STEP_RESTART, /* heights may have changed: look for the lowest dirty one anew */
    COP_STEP_REFUSED  /* out of memory; the node is dirty */
};
/* Ends a run of a node that the short way does not end, by the holder's own run. */
enum cop__step cop__node_finish(cop__graph *graph, cop__node *node, cop_status status,
                                cop_value *value);

/* A discarded run: the node goes above what it waits for, to run again in this wave. */
bool cop__node_wait(cop__graph *graph, cop__node *node, const uint64_t *list, size_t count,
                    uint32_t waits_for);
/* Runs the dirty nodes of a height, and what a last one leads to directly. False: out of memory. */
bool cop__sweep_level(cop__graph *graph, uint32_t height);
/* Runs a node, whose dirty bit has been taken, whatever its flags. */
enum cop__step cop__node_run(cop__graph *graph, cop__node *node);

/* What may be stored as it is: null, bool, i64, finite f64. */
static inline bool
cop__value_plain(uint64_t head, uint64_t tail)
{
    unsigned type = (unsigned)(head & 0xff);
    if (cop__likely(type == COP_I64))
        return true;
    if (type == COP_F64)
        return (~tail & UINT64_C(0x7ff0000000000000)) != 0;
    return type == COP_NULL || type == COP_BOOL;
}

/* ---- parallel.c ---- */

/* Runs the dirty nodes of a height with the pool's help. False: not worth it, nothing was done.
 * *fine: false when out of memory. */
bool cop__sweep_shared(cop__graph *graph, uint32_t height, bool *fine);
/* After a wave. */
void cop__shared_end(cop__graph *graph);
void cop__lanes_end(cop__graph *graph);

/* ---- look.c ---- */

/* cop__run_function of a node that is looked at. */
cop_status cop__look_run(cop__graph *graph, cop__node *node, uint32_t limit, cop_value *result);
/* What it gave has been stored. */
void cop__look_ran(cop__graph *graph, const cop__node *node, const cop_value *value);
/* The draft ends: what was written down counts, or is forgotten. */
void cop__looks_published(cop__graph *graph);
void cop__looks_abandoned(cop__graph *graph);
void cop__look_node_gone(cop__graph *graph, const cop__node *node);
void cop__look_event(cop__graph *graph);
void cop__looks_end(cop__graph *graph);

/* ---- settle.c ---- */

/* Before the sweep: nodes in circles, then nodes that have never run. */
bool cop__settle_first(cop__graph *graph);
/* Brings one node up to date whatever stands above it. */
bool cop__settle_node(cop__graph *graph, uint32_t number);
void cop__settle_end(cop__graph *graph);

/* ---- node.c ---- */

typedef struct cop__definition {
    cop_computed_function function;
    void *context;
    const char *path; /* NULL: anonymous */
    const char *label;
    size_t length, label_length;
    cop_equal_function equal;
    cop_destructor destroy;
    struct cop__scoped *scoped; /* its record in options.scope; NULL: none */
    const cop__reduce_definition *reduce; /* a reducer: function and context are the library's */
    cop_atom *out; /* where the handle is written as soon as there is one; NULL: nowhere */
    uint8_t kind;
    bool branch;
} cop__definition;

void cop__graph_init(cop__graph *graph, cop__tree *tree);
void cop__graph_end(cop__graph *graph);
/* Makes the node of an atom that this draft made. False: out of memory. */
bool cop__graph_define(cop__graph *graph, const cop__definition *definition, uint32_t id);
/* The node of an atom that is being erased will go with the publication. */
bool cop__graph_dying(cop__graph *graph, uint32_t id);
/* Nodes that this draft defined and whose atoms it erased again: they will go too. */
bool cop__graph_stillborn(cop__graph *graph);
void cop__graph_abandon(cop__graph *graph);
void cop__graph_published(cop__graph *graph);
/* A node that is marked like others but never swept: an effect's. 0 when out of memory. */
uint32_t cop__graph_effect_new(cop__graph *graph);
void cop__graph_effect_end(cop__graph *graph, uint32_t number);
/* The effect's number: 64 * word + bit. */
static inline uint32_t
cop__effect_index(const cop__node *node)
{
    return (node->height - COP_HEIGHT_EFFECT) << 6 | (node->place & 63);
}
/* Destructors to run: taken with the right, run without it. */
cop__side *cop__graph_dead(cop__graph *graph);
void cop__graph_bury(cop__memory *memory, cop__side *dead);

static inline bool
cop__graph_idle(const cop__graph *graph)
{
    return graph->live == 0;
}

#endif

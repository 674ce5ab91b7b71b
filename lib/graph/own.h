/* SPDX-License-Identifier: MIT */
/*
 * Branches that computed atoms own.
 *
 * A run says anew what the children are (cop_emit, or cop__own_child for nodes of the library's
 * own). That is only written down, as a tree of ENTRIES found by (parent, segment). When the run
 * has completed, the entries are compared with what the branch has in the draft, and the difference
 * is written: so a discarded run costs nothing but its time, and a child that stays as it is marks
 * nobody.
 *
 *   emit.c   writing down
 *   own.c    comparing and writing
 *
 * What a wave itself writes is not among the sources that it marked at its beginning, so all that
 * depends on what changes here is told here: dependents of values are marked, those of atoms that
 * go or change their kind are poisoned, interests in paths and lists are told. All of these stand
 * above the owner, because whoever reads in the branch waits for it.
 *
 * A child's record names its owner, so that readers find whom to wait for. Records are no part of
 * the draft: their changes are logged, and taken back when it is abandoned.
 *
 * All of this belongs to the holder of the commit right; owners never run beside other nodes.
 */
#ifndef COP_GRAPH_OWN_H
#define COP_GRAPH_OWN_H

#include <coppice/value.h>

struct cop__graph;
struct cop__node;

#define COP_OWN_NEW UINT32_MAX /* an entry without an atom so far */

typedef struct cop__own_entry {
    cop_value value; /* a long text: its offset in `text` stands for its address */
    uint32_t parent;
    uint32_t first, last, next; /* children, in order of emission; 0: none */
    uint32_t count;             /* of children */
    uint32_t segment;           /* offset in `text` */
    uint32_t place;             /* in `table` */
    uint32_t id;                /* its atom, once compared */
    uint32_t rank;              /* its place among the old children that are out of step, from 1 */
    uint16_t length;            /* of the segment */
    bool given;                 /* emitted itself, not only something below it */
    bool stays;                 /* in the list, while others are moved around it */
    bool made;                  /* its atom is new, and has its value */
} cop__own_entry;

/* What the node that runs has emitted; entry 0 is the owner itself. One a graph. */
typedef struct cop__own {
    cop__own_entry *entry;
    size_t entry_count, entry_capacity;
    char *text;
    size_t text_bytes, text_capacity;
    uint32_t *table;       /* open addressing, entries; 0: free */
    size_t table_capacity; /* power of two, or 0 */
    size_t room;           /* bytes that a relative path may have */
    bool partial;   /* children of the owner that were not emitted stay as they are */
    bool moved;     /* atoms came, went, or changed places since cop__own_begin or the last end */
    uint32_t *rest; /* scratch of comparing */
    size_t rest_capacity;
    uint32_t *stack;
    size_t stack_capacity;
    uint32_t *log; /* of records: atom, what stood there */
    size_t log_count, log_capacity;
} cop__own;

/* ---- emit.c ---- */

/* Forgets what was emitted. cop__run_function does it for every node that owns a branch. */
void cop__own_begin(struct cop__graph *graph, const struct cop__node *node);
/* One child. The statuses of cop_emit; after COP_E_MEMORY the run must end as refused. Path and
 * value are copied. */
cop_status cop__own_child(struct cop__graph *graph, const char *path, size_t length,
                          const cop_value *value);
/* The entry of a child, 0: none. */
uint32_t cop__own_find(const struct cop__graph *graph, uint32_t parent, const char *segment,
                       size_t length);
/* Entry 0 is there. False: out of memory. */
bool cop__own_root(struct cop__graph *graph);
cop_value cop__own_value(const cop__own *own, const cop__own_entry *entry);
void cop__own_free(struct cop__graph *graph);

/* ---- own.c: false when out of memory (tree->failed is set; abandon the draft) ---- */

/* The branch becomes what was emitted since cop__own_begin. */
bool cop__own_end(struct cop__graph *graph, struct cop__node *node);
/* The same with own.partial: every emitted child of the owner must be there. */
bool cop__own_patch(struct cop__graph *graph, struct cop__node *node);
/* What became of a run: an error value, or what was emitted. See cop__node_store. */
bool cop__own_store(struct cop__graph *graph, struct cop__node *node, const cop_value *value);

/*
 * Single children, for nodes that know what changed and need not say all: costs do not depend on
 * the number of children. The owner's atom is an object (cop__own_open makes it one). `segment` is
 * one escaped segment; position: where a new child goes, COP_AT_END or at most the count; one that
 * there is stays where it is. The name must fit (cop__name_fits).
 */
bool cop__own_open(struct cop__graph *graph, struct cop__node *node);
bool cop__own_put(struct cop__graph *graph, struct cop__node *node, const char *segment,
                  size_t length, uint32_t position, const cop_value *value);
bool cop__own_remove(struct cop__graph *graph, struct cop__node *node, const char *segment,
                     size_t length);

/* Sets what makes an atom: 0, or an owner's number with COP_OWNED_CHILD. Logged. */
bool cop__own_record(struct cop__graph *graph, uint32_t id, uint32_t node);
void cop__own_abandon(struct cop__graph *graph);
void cop__own_published(struct cop__graph *graph);

#endif

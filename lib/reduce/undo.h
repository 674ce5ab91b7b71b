/* SPDX-License-Identifier: MIT */
/*
 * What was done since a mark, so that it can be taken back, last first.
 *
 * Exact because results depend on content only: putting the old content back is all there is to it.
 * Taking back never needs memory: tables and records keep their room while a log is open, and
 * walking backwards no step needs more room than there was in use when its operation was done.
 */
#ifndef COP_REDUCE_UNDO_H
#define COP_REDUCE_UNDO_H

#include "reduce/treap.h"

typedef enum cop__reduce_undo_kind {
    COP_UNDO_INSERT, /* take it out again */
    COP_UNDO_CHANGE, /* of the value: put back `value` */
    COP_UNDO_GROUP,  /* of the group: put back into `group` */
    COP_UNDO_REMOVE  /* put back all of it */
} cop__reduce_undo_kind;

typedef struct cop__reduce_undo_entry {
    const cop__name *name;
    uint32_t id;
    uint32_t group; /* group.h only; 0: none */
    uint32_t kind;  /* cop__reduce_undo_kind */
    cop_value value;
} cop__reduce_undo_entry;

typedef struct cop__reduce_undo {
    cop__reduce_undo_entry *entry;
    cop__memory *memory;
    uint32_t count, capacity;
    bool open;
} cop__reduce_undo;

void cop__reduce_undo_init(cop__reduce_undo *undo, cop__memory *memory);
void cop__reduce_undo_end(cop__reduce_undo *undo);

/* Room for one more entry; false: out of memory. Needs nothing while no log is open. */
bool cop__reduce_undo_reserve(cop__reduce_undo *undo);
/* What is about to be done to a child, or (of an insertion) was done. Dropped while no log is open. */
void cop__reduce_undo_note(cop__reduce_undo *undo, cop__reduce_undo_kind kind,
                           const cop__treap_node *child, const cop_value *value, uint32_t group);

void cop__reduce_undo_open(cop__reduce_undo *undo);
/* Forgets the entries; a large array is given back. */
void cop__reduce_undo_close(cop__reduce_undo *undo);
/* Takes everything back and closes. False: there was nothing. */
bool cop__reduce_undo_back(cop__reduce_undo *undo,
                           void (*take_back)(void *content, const cop__reduce_undo_entry *entry),
                           void *content);

#endif

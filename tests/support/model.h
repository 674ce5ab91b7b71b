/* SPDX-License-Identifier: MIT */
/*
 * What a store should hold, kept the simple way: a tree of nodes on the heap. A test applies the
 * same operations to both and compares texts (dump.h). One thread.
 *
 * A transaction on the model is: model_begin, operations, then model_commit or model_rollback. An
 * operation answers the status with which the store should refuse the whole transaction.
 */
#ifndef COP_TESTS_MODEL_H
#define COP_TESTS_MODEL_H

#include <coppice/coppice.h>

typedef struct model_node {
    uint64_t uid;    /* never used twice */
    char *key;       /* unescaped; NULL in an array and for anonymous atoms */
    size_t key_length;
    cop_value value; /* owned */
    cop_atom atom;   /* provisional until model_learn; of an anonymous one the test keeps it */
    bool known;      /* atom is the real one */
    uint64_t changed;
    struct model_node *parent;
    struct model_node **children;
    uint32_t count;
    uint32_t capacity;
} model_node;

typedef struct model {
    model_node *root;
    model_node *anonymous; /* a node whose children are the anonymous atoms */
    uint64_t version;
    uint64_t next_uid;
    model_node *saved_root; /* as of model_begin */
    model_node *saved_anonymous;
} model;

void model_init(model *m);
void model_free(model *m);

void model_begin(model *m);
/* True when the transaction is a net change: the version has then grown by one. */
bool model_commit(model *m);
void model_rollback(model *m);

cop_status model_set(model *m, model_node *node, const cop_value *value);
/* Sets or creates a child of an object; *out is that child. */
cop_status model_set_child(model *m, model_node *object, const char *key, size_t length,
                           const cop_value *value, model_node **out);
cop_status model_insert(model *m, model_node *array, uint32_t index, const cop_value *value,
                        model_node **out);
model_node *model_create(model *m, const cop_value *value);
cop_status model_erase(model *m, model_node *node);
cop_status model_clear(model *m, model_node *node);
cop_status model_add(model *m, model_node *node, const cop_value *delta);

/* The child with this key; NULL when there is none. */
model_node *model_child(const model_node *object, const char *key, size_t length);
/* A node below the root, the root itself or (when asked for) an anonymous one, by a random number;
 * every node is as likely. */
model_node *model_pick(model *m, uint64_t random, bool anonymous);
uint64_t model_count(const model *m); /* as cop_snapshot_atoms */

/* Reads from the snapshot (whose text equals the model's) which handle each node has. False when
 * a node that lived before has another handle now. */
bool model_learn(model *m, const cop_snapshot *snapshot);

/* The path of a node, as cop_atom_path. */
void model_path(const model_node *node, char *buffer, size_t capacity);

/* As dump_tree with DUMP_CHANGED, with DUMP_HANDLES too when asked; to be freed. */
char *model_dump(const model *m, unsigned flags);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * A whole version as text, so that two of them, or one and a model, can be compared and their
 * difference read. Also the invariants that hold between the reading functions.
 */
#ifndef COP_TESTS_DUMP_H
#define COP_TESTS_DUMP_H

#include <stdbool.h>
#include <stdio.h>

#include <coppice/coppice.h>

enum {
    DUMP_CHANGED = 1, /* the version in which each branch changed last */
    DUMP_HANDLES = 2, /* id and generation of each atom */
};

/* One line for one atom; used for models too. key is NULL in an array. */
void dump_line(FILE *out, unsigned depth, const char *key, size_t key_length,
               const cop_value *value);

/* What is below the root, one atom a line in listing order, then the anonymous atoms in id order.
 * To be freed; NULL when a reading function failed (said on stderr). */
char *dump_tree(const cop_snapshot *snapshot, unsigned flags);

/* A hash of the same, without the text in between; 0 when a reading function failed. */
uint64_t dump_hash(const cop_snapshot *snapshot);

/* NULL when all reading functions agree with one another about this version: each, cursor, count,
 * child_at, child_named, parent, get, get_at, atom_path, find, scan, atoms. Else what disagrees;
 * static storage. */
const char *dump_disagreement(const cop_snapshot *snapshot);

/* FNV-1a. */
uint64_t dump_fnv(uint64_t hash, const void *bytes, size_t n);
#define DUMP_FNV_INIT UINT64_C(0xcbf29ce484222325)

#endif

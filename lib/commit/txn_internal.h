/* SPDX-License-Identifier: MIT */
/* What other rooms may add to a transaction beyond the public operations. */
#ifndef COP_COMMIT_TXN_INTERNAL_H
#define COP_COMMIT_TXN_INTERNAL_H

#include <coppice/txn.h>

/*
 * Put: make the child exactly this value, whatever is there (a branch with children is cleared when
 * the new value is a scalar or a branch of the other kind; children stay under a branch of the same
 * kind). parent may be provisional. Keys are unescaped. *out is a provisional handle.
 */
cop_status cop__txn_put_child(cop_txn *txn, cop_atom parent, const char *key, size_t length,
                              const cop_value *value, cop_atom *out);
/* cop_txn_set_at, telling the atom as the public creating calls do. */
cop_status cop__txn_set_at(cop_txn *txn, const char *path, size_t length, const cop_value *value,
                           cop_atom *out, cop_error *error);
/* Put at a path (missing ancestors are made); the empty path is the root, which can only be
 * put to an object or an array. */
cop_status cop__txn_put_at(cop_txn *txn, const char *path, size_t length, const cop_value *value,
                           cop_atom *out, cop_error *error);
/* The element at a position of an array, appended when index is its length. */
cop_status cop__txn_put_element(cop_txn *txn, cop_atom array, uint32_t index,
                                const cop_value *value, cop_atom *out);
/* The n children (provisional handles from puts below this branch) become the branch's whole list,
 * in this order; other children are erased. No change when the list is the same already. */
cop_status cop__txn_arrange(cop_txn *txn, cop_atom branch, const cop_atom *children, uint32_t n);
/* A child goes behind this sibling in their branch's list; NULL: before all. Either may be provisional.
 * COP_E_GONE at commit. */
cop_status cop__txn_place(cop_txn *txn, cop_atom child, const cop_atom *after);
/* The version that it makes has nothing of the transactions that come after it. */
void cop__txn_end_version(cop_txn *txn);
/* What is at a path when the operations before have been applied; *atom is a provisional handle.
 * COP_E_ABSENT at commit. */
cop_status cop__txn_at(cop_txn *txn, const char *path, size_t length, cop_atom *atom);
/* cop_txn_set_child by the key as it stands in paths; *out is a provisional handle. */
cop_status cop__txn_make_child(cop_txn *txn, cop_atom parent, const char *segment, size_t length,
                               const cop_value *value, cop_atom *out);
/* The same of a new last element, and of one at a position. */
cop_status cop__txn_make_element(cop_txn *txn, cop_atom array, const cop_value *value,
                                 cop_atom *out);
cop_status cop__txn_make_element_at(cop_txn *txn, cop_atom array, uint32_t index,
                                    const cop_value *value, cop_atom *out);
/* Erases a child of an object by its unescaped key; no effect when there is none. */
cop_status cop__txn_erase_child(cop_txn *txn, cop_atom parent, const char *key, size_t length);

/* A place to come back to: rewinding takes back every operation added since. */
typedef struct cop__txn_mark {
    size_t operations;
    size_t arena_used;
    size_t other[2];
} cop__txn_mark;
cop__txn_mark cop__txn_mark_here(const cop_txn *txn);
void cop__txn_rewind(cop_txn *txn, cop__txn_mark mark);

/* cop_txn_snapshot for a transaction of the library's own that has read nothing: a record, in which it looks
 * itself, and never a handle. */
cop_status cop__txn_snapshot_root(cop_txn *txn, const cop_snapshot **snapshot);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * A branch kept equal to something outside that is read in sweeps. Each sweep tells what it found;
 * what it found unchanged is not written, what it no longer found is erased, and all of it is one
 * transaction.
 *
 * Every node remembers its handle and its last value, so that a sweep looks up no path. Nodes
 * belong to the mirror. A mirror is used by one thread.
 */
#ifndef COP_TOOLS_MIRROR_H
#define COP_TOOLS_MIRROR_H

#include <coppice/coppice.h>

struct mirror;
struct mirror_node;

/* At the root's child `key`; what stands there is replaced. NULL when there is no memory. */
struct mirror *mirror_new(cop_store *store, const char *key);
void mirror_free(struct mirror *mirror);

/* Begins a sweep; its top node, or NULL when there is no memory. */
struct mirror_node *mirror_begin(struct mirror *mirror);
/* Ends it. When it fails, nothing was changed, and the next sweep begins from nothing. */
cop_status mirror_end(struct mirror *mirror, cop_error *error);

/* In this sweep the top is made; what was there goes with the transaction. */
bool mirror_anew(const struct mirror *mirror);

/* For operations of others in the same transaction; the number that were added. */
cop_txn *mirror_txn(struct mirror *mirror);
void mirror_added(struct mirror *mirror, cop_status status, uint64_t operations);

/* Found below parent: a branch, or a value. What was a branch stays one. A node's identity tells
 * apart two things of one name: another one replaces the branch. All legal for a NULL parent. */
struct mirror_node *mirror_branch(struct mirror *mirror, struct mirror_node *parent,
                                  const char *key, uint64_t identity);
void mirror_i64(struct mirror *mirror, struct mirror_node *parent, const char *key, uint64_t value);
void mirror_f64(struct mirror *mirror, struct mirror_node *parent, const char *key, double value);
/* Bytes that are not UTF-8 are told as '?'. */
void mirror_text(struct mirror *mirror, struct mirror_node *parent, const char *key,
                 const char *text, size_t length);

#endif

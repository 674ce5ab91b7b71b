/* SPDX-License-Identifier: MIT */
/* Making definitions: what computed atoms and reducers have in common. */
#ifndef COP_COMMIT_DEFINE_H
#define COP_COMMIT_DEFINE_H

#include "graph/graph.h"

/* A definition in the transaction's arena, without its function; NULL when out of memory. */
cop__definition *cop__definition_make(cop_txn *txn, const char *path, size_t length,
                                      const cop_computed_options *options);
/* A copy in the arena, terminated; NULL when out of memory. */
char *cop__definition_keep(cop_txn *txn, const char *text, size_t length);
/* Adds the operation that defines it, below a scope unless that is NULL. COP_E_STATE, COP_E_LIMIT,
 * COP_E_MEMORY, COP_E_FORKED. */
cop_status cop__definition_add(cop_txn *txn, cop__definition *definition, cop_scope *scope,
                               cop_atom *atom, cop_error *error);

#endif

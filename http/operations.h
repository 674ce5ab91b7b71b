/* SPDX-License-Identifier: MIT */
/* The operations and preconditions of POST /v1/transaction. docs/http.md describes their members.
 */
#ifndef COP_HTTP_OPERATIONS_H
#define COP_HTTP_OPERATIONS_H

#include <coppice/coppice.h>
#include <jansson.h>

#include "http/problem.h"

/* A member that must be a well-formed path. */
bool cop__member_path(const json_t *object, const char *name, const char **path, size_t *length,
                      struct cop__problem *problem);

/* Any JSON value to a scalar of the store; free it with cop_value_free. */
bool cop__scalar_of(const json_t *json, cop_value *value, struct cop__problem *problem);

/* False when the object has a member that is not in `names`, a list that ends with NULL. */
bool cop__members_known(const json_t *object, const char *const *names,
                        struct cop__problem *problem);

/* Adds one operation; *applied is for compare_set. COP_OK, or the problem is filled in. */
cop_status cop__operation_add(cop_txn *txn, const json_t *operation, bool *applied,
                              struct cop__problem *problem);

/* Checks one precondition and keeps it as a condition of the transaction. */
cop_status cop__precondition_add(cop_txn *txn, const json_t *precondition,
                                 struct cop__problem *problem);

#endif

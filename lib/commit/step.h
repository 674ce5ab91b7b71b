/* SPDX-License-Identifier: MIT */
/*
 * Steps: the operations of a patch, as operations of a transaction.
 *
 * A step is resolved when it is applied, in the draft, behind the steps before it. So steps mean what
 * RFC 6902 says whoever else writes, two patches never conflict, and a step that cannot be done fails
 * its transaction whole, like any operation.
 */
#ifndef COP_COMMIT_STEP_H
#define COP_COMMIT_STEP_H

#include <coppice/txn.h>

#include "tree/items.h"

/* Atoms that the copies and moves of one patch may make: a patch that copies a branch into itself
 * doubles it each time, under the commit right. */
#define COP_DOC_COPIED_MAX (UINT64_C(1) << 20)

typedef enum cop__doc_step_what {
    COP_DOC_ADD,     /* items at path: a new element, or a member whatever was there */
    COP_DOC_REMOVE,  /* path */
    COP_DOC_REPLACE, /* items over what is at path */
    COP_DOC_MOVE,    /* from, path (as it is when `from` has been taken out) */
    COP_DOC_COPY,    /* from, path */
    COP_DOC_TEST     /* items equal what is at path: COP_E_STATE */
} cop__doc_step_what;

typedef struct cop__doc_step {
    cop__doc_step_what what;
    uint32_t index;    /* in its patch, from 0 */
    uint32_t position; /* of a new or moved member among its siblings; COP_AT_END: the last */
    const char *path, *from; /* checked (path.h) */
    size_t length, from_length;
    const cop__item *item; /* item[0] and what is below it */
    uint64_t *copied;      /* of the patch; the step with index 0 begins it */
} cop__doc_step;

const char *cop__doc_step_name(cop__doc_step_what what);

/* Adds a step, which is copied; all that it leads to lives as long as the transaction. */
cop_status cop__txn_step(cop_txn *txn, const cop__doc_step *step);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * Patches: what the formats share.
 *
 *   patch.c          the public functions; the document in both versions
 *   write_*.c merge.c  from the edits of two versions (tree/difference.h)
 *   read_*.c         to the steps of a transaction (commit/step.h)
 */
#ifndef COP_PATCH_PATCH_H
#define COP_PATCH_PATCH_H

#include <coppice/patch.h>

#include "commit/step.h"
#include "patch/encode.h"
#include "tree/difference.h"
#include "tree/items.h"

#define COP_PATCH_ITEMS_MAX ((size_t)1 << 24)

/* ---- writing ---- */

typedef struct cop__patch_writer {
    cop__memory *memory;
    cop__diff_pair pair;
    cop_atom before, now; /* the document; generation 0: there is none */
    size_t base;          /* bytes of its path in `now` */
    cop__bytes out;
    cop__bytes path; /* of the atom asked for last */
    cop_error *error;
} cop__patch_writer;

/* The path of an atom of `now`, below the document; *at leads into w->path. */
cop_status cop__patch_path(cop__patch_writer *w, cop_atom atom, const char **at, size_t *length);
/* The segment of an object's member, in a version that has it. */
const char *cop__patch_key(const cop_snapshot *root, uint32_t id, size_t *length);
/* The JSON of an atom of `now`, and of what is below it. */
cop_status cop__patch_put_json(cop__patch_writer *w, cop_atom atom);
/* Whether the two versions have one atom as the document. */
bool cop__patch_same_atom(const cop__patch_writer *w);

cop_status cop__patch_write_json(cop__patch_writer *w);
cop_status cop__patch_write_merge(cop__patch_writer *w);
cop_status cop__patch_write_binary(cop__patch_writer *w);

/* ---- reading ---- */

typedef struct cop__patch_reader {
    cop_txn *txn;
    cop__memory *memory;
    const char *base; /* the document's path */
    size_t base_length;
    const char *text;
    size_t length;
    cop__item *item; /* of the value being read */
    size_t count, capacity;
    cop__bytes path, from; /* of the operation being read */
    uint64_t *copied;
    uint32_t index; /* of the operation */
    cop_error *error;
} cop__patch_reader;

/* Where the next item goes, NULL: out of memory. */
cop__item *cop__patch_item(cop__patch_reader *r);
/* n bytes that live as long as the transaction. */
char *cop__patch_keep(cop__patch_reader *r, const char *text, size_t n);
/* Adds the operation that r->path, r->from and the items make up; position as in a step. */
cop_status cop__patch_step(cop__patch_reader *r, cop__doc_step_what what, uint32_t position);
/* A refusal that names the operation. */
cop_status cop__patch_refuse(cop__patch_reader *r, cop_status status, const char *why);

cop_status cop__patch_read_json(cop__patch_reader *r);
cop_status cop__patch_read_binary(cop__patch_reader *r);

#define COP_PATCH_MAGIC "COPP\1"

#endif

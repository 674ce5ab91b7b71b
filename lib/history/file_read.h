/* SPDX-License-Identifier: MIT */
/*
 * Reading a file of kept versions.
 *
 *   file_read.c    bytes, values, records: what a file says
 *   file_edits.c   the edits of a record, as operations of a transaction
 *   import.c       versions of a store
 */
#ifndef COP_HISTORY_FILE_READ_H
#define COP_HISTORY_FILE_READ_H

#include <coppice/history.h>
#include <coppice/txn.h>

#include "history/file.h"

/* A place in the file. Once something is wrong it stands at the end, and all that is taken is
 * empty. */
typedef struct cop__file_reader {
    const uint8_t *bytes;
    size_t at, end;
    const char *wrong; /* NULL: nothing yet */
    size_t wrong_at;
} cop__file_reader;

typedef struct cop__file_record {
    uint64_t version, time_ns;
    bool pinned;
    const char *label;
    size_t label_length;
    cop__file_reader edits;
} cop__file_record;

/* Bytes of the file. */
typedef struct cop__file_text {
    const char *bytes;
    size_t length;
} cop__file_text;

/* ---- file_read.c ---- */

/* Magic, format, lengths and checksums. COP_E_SYNTAX says where, as all of these do. */
cop_status cop__file_check(cop__file_reader file, cop_error *error);
/* Where the records of a file that was checked begin and end. */
cop__file_reader cop__file_records(cop__file_reader file);
cop_status cop__file_record_take(cop__file_reader *r, cop__file_record *record, cop_error *error);

void cop__file_wrong(cop__file_reader *r, const char *what);
uint8_t cop__file_byte(cop__file_reader *r);
uint64_t cop__file_number(cop__file_reader *r, unsigned bytes);
uint32_t cop__file_position(cop__file_reader *r);
/* An escaped segment of a path. */
cop__file_text cop__file_key(cop__file_reader *r);
cop__file_text cop__file_path(cop__file_reader *r);
/* What is below a branch follows. */
cop_value cop__file_value(cop__file_reader *r);

/* ---- file_edits.c ---- */

/* Reads one edit and adds it. COP_E_SYNTAX: r->wrong says what, if it is not NULL. */
cop_status cop__file_edit_read(cop_txn *txn, cop__file_reader *r);

#endif

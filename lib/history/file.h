/* SPDX-License-Identifier: MIT */
/*
 * The file of a history: what export.c writes and import.c reads.
 *
 *   file     "COPHIST" 0x0a, u32 format (1), records, end
 *   record   "VERS", u64 n, n bytes of payload, u64 XXH3 of the payload
 *   payload  u64 version, u64 publication (CLOCK_REALTIME, ns), u8 pinned, u8 n, n bytes of label,
 *            then edits to the end of the payload
 *   end      "END.", u64 records, u64 XXH3 of everything before it, the two fields included
 *
 * Numbers are little-endian; a size is a LEB128 number (7 bits a byte, least first); a text is a size
 * and its bytes. Paths and keys are as coppice/path.h has them, escaped. An edit is a byte of
 * cop__file_edit and:
 *
 *   REMOVE, ...   path of the branch; key
 *   REMOVE_AT     path of the array; size: position
 *   MOVE          path of the branch; key; before
 *   MOVE_AT       path of the array; size: from; size: position when it has been taken out
 *   ADD           path of the branch; key; before; node
 *   ADD_AT        path of the array; size: position; node
 *   SET           path; node
 *
 * `before` is a byte, 1 with the key of the sibling behind which the member comes, 0: it is the first.
 * A node is a byte of cop_type and: for a bool a byte; i64 and f64 8 bytes; a text; for an object
 * members (1, key, node), for an array elements (1, node), then 0.
 *
 * The first record sets the whole document (SET of the empty path); each other one has the edits that
 * lead from the version before it (tree/difference.h), so they are applied in order. Computed atoms are
 * left out; an element that is one is null, so that positions hold.
 */
#ifndef COP_HISTORY_FILE_H
#define COP_HISTORY_FILE_H

#define COP_FILE_MAGIC "COPHIST\n"
#define COP_FILE_FORMAT 1u
#define COP_FILE_RECORD "VERS"
#define COP_FILE_END "END."
#define COP_FILE_HEAD 12u /* bytes: magic and format */
#define COP_FILE_ENDING 20u

typedef enum cop__file_edit {
    COP_FILE_REMOVE = 1,
    COP_FILE_REMOVE_AT,
    COP_FILE_MOVE,
    COP_FILE_MOVE_AT,
    COP_FILE_ADD,
    COP_FILE_ADD_AT,
    COP_FILE_SET
} cop__file_edit;

#endif

/* SPDX-License-Identifier: MIT */
/*
 * JSON (RFC 8259) in and out. Objects become branches with children in document order, arrays
 * become branches with ordered children, scalars become values. What was read is written back
 * equal: types, key order, array order and numbers (1 and 1.0 stay different).
 */
#ifndef COPPICE_JSON_H
#define COPPICE_JSON_H

#include <stdio.h>

#include <coppice/snapshot.h>
#include <coppice/txn.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Receives bytes in order; return 0, or non-zero to stop (the writer then answers COP_E_IO). */
typedef int (*cop_sink_function)(void *context, const char *bytes, size_t n);

typedef struct cop_json_write_options {
    size_t size;       /* sizeof(cop_json_write_options) */
    uint32_t indent;   /* spaces a level, 0: compact, at most 16 */
    uint32_t depth;    /* levels of children written, 0: all; deeper branches are written {} or [] */
    bool ascii;        /* escape everything outside ASCII */
    bool lazy;         /* evaluate lazy atoms; else members are left out, and elements are null */
} cop_json_write_options;

#define COP_JSON_WRITE_OPTIONS_INIT {sizeof(cop_json_write_options), 0, 0, false, false}

/*
 * Writes the value of an atom, or a branch with what is below it. options may be NULL. Bytes are
 * written as {"$bytes":"<base64>"}, error values as {"$error":"<message>"}, non-finite numbers as
 * null. Streams through a buffer of fixed size; no recursion; memory bounded by depth.
 * COP_E_GONE, COP_E_EXPIRED, COP_E_IO (the sink stopped), COP_E_MEMORY, COP_E_INVALID. Thread-safe; not blocking
 * but for the sink. O(output).
 */
COP_PUBLIC cop_status cop_json_write(const cop_snapshot *snapshot, cop_atom atom,
                                     const cop_json_write_options *options, cop_sink_function sink,
                                     void *context);

/* Writes one value as JSON into buffer (terminated); *length receives the bytes needed.
 * COP_E_RANGE when it does not fit (buffer is then empty), COP_E_INVALID for COP_NONE. A branch is
 * written {} or []. Thread-safe; wait-free, O(length). */
COP_PUBLIC cop_status cop_json_value(const cop_value *value, char *buffer, size_t capacity,
                                     size_t *length);

typedef struct cop_json_read_options {
    size_t size;          /* sizeof(cop_json_read_options) */
    uint32_t max_depth;   /* nesting, default and at most COP_DEPTH_MAX */
    uint64_t max_bytes;   /* text, default 256 MiB */
    uint64_t max_atoms;   /* values and branches made, default 16,777,216 */
    bool merge_patch;     /* RFC 7396: null erases a member, objects merge, all else replaces */
} cop_json_read_options;

#define COP_JSON_READ_OPTIONS_INIT {sizeof(cop_json_read_options), 512, 268435456, 16777216, false}

/*
 * Adds to txn the operations that make the atom at `path` equal to the document (or merge it in).
 * What stands there is replaced, in its place among its siblings; a document equal to what is there
 * makes no change. {"$bytes":...} is read back as bytes. options may be NULL.
 * COP_E_SYNTAX (with line and column; also for an integer beyond i64, a non-finite number, a
 * duplicate key, NUL in a key), COP_E_LIMIT (depth, size, atoms, path length; with line and column
 * where there is one), COP_E_PATH, COP_E_INVALID (options out of bounds, a scalar for the root of the
 * store), COP_E_MEMORY; nothing is added then. A 0 in the options means the default.
 * Not thread-safe on one txn. Blocking (allocates). O(text).
 */
COP_PUBLIC cop_status cop_json_read(cop_txn *txn, const char *path, size_t path_length,
                                    const char *text, size_t length,
                                    const cop_json_read_options *options, cop_error *error);

/* One JSON scalar, object or array to a value: scalars only; COP_E_TYPE for a container. Strings
 * are copied: free with cop_value_free. COP_E_SYNTAX, COP_E_LIMIT, COP_E_MEMORY. Thread-safe, blocking
 * (allocates). */
COP_PUBLIC cop_status cop_json_scalar(const char *text, size_t length, cop_value *value,
                                      cop_error *error);

#ifdef __cplusplus
}
#endif
#endif

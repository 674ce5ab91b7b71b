/* SPDX-License-Identifier: MIT */
/*
 * Patches: the difference of two versions as a document, and applying one.
 *
 *   COP_PATCH_JSON    a JSON Patch (RFC 6902)
 *   COP_PATCH_MERGE   a JSON Merge Patch (RFC 7396), where it can express the change
 *   COP_PATCH_BINARY  compact and exact; docs/patches.md describes it byte by byte
 *
 * A patch is of what stands at a path, the document; paths in it are relative to that path. Applied to
 * a document that equals the one of `before` it gives the one of `now`. A JSON Patch and a merge patch
 * do not tell the order of an object's members, which means nothing in JSON: new ones go to the end.
 * The binary format keeps it. Non-finite numbers are null in the two JSON formats.
 *
 * Lazy atoms are not evaluated: like cop_json_write without its `lazy`, a patch leaves out members that
 * are lazy, and writes null for such elements. Anonymous atoms are no part of a document.
 */
#ifndef COPPICE_PATCH_H
#define COPPICE_PATCH_H

#include <coppice/json.h>
#include <coppice/snapshot.h>
#include <coppice/txn.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum cop_patch_format {
    COP_PATCH_JSON = 0,
    COP_PATCH_MERGE = 1,
    COP_PATCH_BINARY = 2
} cop_patch_format;

typedef struct cop_patch_options {
    size_t size;        /* sizeof(cop_patch_options) */
    uint64_t max_bytes; /* of the patch, 0: any number */
} cop_patch_options;

#define COP_PATCH_OPTIONS_INIT {sizeof(cop_patch_options), 0}

/*
 * Writes the patch from one held version to another one of the same store, which may be an older one.
 * The path may lead somewhere in one of them only: the patch then adds or removes the whole document.
 * options may be NULL. Costs follow what changed between the two versions, not what they hold.
 * COP_E_ABSENT (in neither version), COP_E_UNSUPPORTED (a merge patch cannot say it; the message has
 * the path), COP_E_LIMIT (max_bytes; more than 512 levels below
 * what is new, but in COP_PATCH_JSON), COP_E_IO (the sink stopped), COP_E_MEMORY, COP_E_INVALID,
 * COP_E_PATH, COP_E_FORKED; the sink may have got a beginning by then. Thread-safe; not blocking but
 * for the sink.
 */
COP_PUBLIC cop_status cop_patch_write(const cop_snapshot *before, const cop_snapshot *now,
                                      const char *path, size_t path_length, cop_patch_format format,
                                      const cop_patch_options *options, cop_sink_function sink,
                                      void *context, cop_error *error);

/*
 * Adds a patch of the document at `path` to txn. What is wrong with the patch itself is refused at once,
 * with the operation or the place in *error, and leaves the transaction as it was: COP_E_SYNTAX,
 * COP_E_LIMIT (as cop_json_read), COP_E_PATH, COP_E_INVALID, COP_E_MEMORY. What the state does not allow
 * is found at commit, where operations are applied one after the other, each to what the one before it
 * left, and fails the whole transaction: COP_E_ABSENT, COP_E_NOT_BRANCH, COP_E_RANGE, COP_E_COMPUTED,
 * COP_E_STATE (a test that does not hold), COP_E_LIMIT (a path that would be too long, more than 1,048,576
 * atoms copied); the error of cop_txn_commit names the operation. An element that is moved within its
 * array stays the atom that it is; other moved ones, like all that is copied or replaced by a branch,
 * are new atoms. Not thread-safe on one txn. Blocking (allocates). O(text).
 */
COP_PUBLIC cop_status cop_patch_apply(cop_txn *txn, const char *path, size_t path_length,
                                      cop_patch_format format, const char *text, size_t length,
                                      cop_error *error);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * JSON in steps: the same bytes as cop_json_write's, pulled piece by piece, with a bound on the memory
 * and on the time of each step, however large the document. For event loops, slow readers, and texts
 * larger than memory.
 *
 *     cop_json_stream *stream;
 *     bool more = true;
 *     cop_json_stream_open(snapshot, cop_root(), NULL, &stream);
 *     while (more && cop_json_stream_next(stream, buffer, sizeof buffer, &n, &more) == COP_OK)
 *         (send n bytes)
 *     cop_json_stream_close(stream);
 *
 * A rope (rope.h) is the other way: it has all bytes at once, and shares what did not change with the
 * text of the version before; a stream keeps nothing but its version.
 *
 * Thread-safety: a stream is used by one thread at a time, not always the same one; the host orders
 * those uses.
 */
#ifndef COPPICE_JSON_STREAM_H
#define COPPICE_JSON_STREAM_H

#include <coppice/json.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cop_json_stream cop_json_stream;

/*
 * Begins the text of an atom, or of a branch with what is below it. options are copied and may be NULL;
 * they mean what they mean for cop_json_write. The stream holds the snapshot's version itself
 * (cop_snapshot_keep) until it is closed: the caller's hold or pin may end before. *stream is NULL on
 * failure. Memory, counted as "other": about 1.3 KiB, and 32 bytes for each level of open branches beyond
 * the sixteenth.
 *
 * COP_E_GONE, COP_E_EXPIRED, COP_E_MEMORY, COP_E_LIMIT (snapshots.max), COP_E_INVALID, COP_E_FORKED, and for an atom that is
 * lazy itself, which is evaluated, the errors of cop_get. Thread-safe; takes a short lock; O(1).
 */
COP_PUBLIC cop_status cop_json_stream_open(const cop_snapshot *snapshot, cop_atom atom,
                                           const cop_json_write_options *options,
                                           cop_json_stream **stream);

/*
 * Writes the next bytes of the text, at most `size` of them, at least one, into buffer; a value or a key
 * that is longer goes on in the next step. *written receives how many, *more whether there are more to
 * come; both are set after a failure, too. The end is where *more is false and not where *written is 0: a
 * step also ends when it has passed over `size` lazy members that are left out.
 *
 * COP_E_MEMORY: nothing was written; the step may be tried again. COP_E_EXPIRED: the snapshot was revoked between
 * two steps; the text does not go on. COP_E_INVALID (size 0 or an argument
 * missing), COP_E_FORKED; with options.lazy the errors of cop_get, and the same atom is tried again in the
 * next step.
 * Wait-free but for the allocator, which is asked when more than 16 branches are open; with options.lazy it
 * may evaluate lazy atoms, and waits as cop_get does. O(size).
 */
COP_PUBLIC cop_status cop_json_stream_next(cop_json_stream *stream, char *buffer, size_t size,
                                           size_t *written, bool *more);

/* Ends it, at its end or before, also after the store was closed; its version is let go. Legal for NULL
 * and in a forked child. Takes a short lock; frees by a quota (cop_snapshot_drop). */
COP_PUBLIC void cop_json_stream_close(cop_json_stream *stream);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * JSON as a rope: a text that is kept: the same bytes as cop_json_write's, made of pieces that are shared between
 * one version and the next, so that only what changed is formatted again.
 *
 * A rope is immutable and holds its bytes alone, no version; it may outlive the store. Its pieces are
 * handed out as ranges for writev.
 *
 *     cop_rope *rope;
 *     cop_json_rope(snapshot, cop_root(), &rope);
 *     for (uint64_t at = 0; (n = cop_rope_ranges(rope, at, ranges, 64)) > 0;)
 *         at += (bytes that writev took);
 *     cop_rope_drop(rope);
 *
 * Thread-safety: a rope may be read, kept and dropped by any number of threads at once.
 */
#ifndef COPPICE_ROPE_H
#define COPPICE_ROPE_H

#include <sys/uio.h>

#include <coppice/snapshot.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cop_rope cop_rope;

/*
 * The value of an atom, or a branch with what is below it, as compact JSON with the default options of
 * cop_json_write, byte for byte. *rope is NULL on failure; drop it when done.
 *
 * With serialization.strategy lazy and incremental the store remembers the pieces: a branch that has not
 * changed costs O(1), one that has what changed in it. A version older than the newest one asked for is
 * written whole.
 *
 * COP_E_GONE, COP_E_EXPIRED, COP_E_MEMORY, COP_E_INVALID, COP_E_FORKED. The store may hold the version for its pieces
 * until a newer one is asked for, also when the snapshot is revoked meanwhile. Thread-safe; blocking: one thread at a time
 * writes for a store, and whoever asks meanwhile waits for it.
 */
COP_PUBLIC cop_status cop_json_rope(const cop_snapshot *snapshot, cop_atom atom, cop_rope **rope);

/* Bytes. Wait-free. */
COP_PUBLIC uint64_t cop_rope_length(const cop_rope *rope);
/* Fills up to n ranges with the bytes from `offset` on; returns how many, 0 at the end. They live as long
 * as the rope. Wait-free, O(log pieces + n). */
COP_PUBLIC size_t cop_rope_ranges(const cop_rope *rope, uint64_t offset, struct iovec *ranges, size_t n);
/* Copies up to n bytes from `offset` on; returns how many. Wait-free, O(n). */
COP_PUBLIC size_t cop_rope_copy(const cop_rope *rope, uint64_t offset, char *buffer, size_t n);
/* One more owner; each drops the rope once. Wait-free. */
COP_PUBLIC cop_rope *cop_rope_keep(cop_rope *rope);
/* Legal for NULL. Frees the bytes that no other rope and no store needs. Lock-free, O(pieces) for the last
 * owner. */
COP_PUBLIC void cop_rope_drop(cop_rope *rope);

#ifdef __cplusplus
}
#endif
#endif

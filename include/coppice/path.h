/* SPDX-License-Identifier: MIT */
/*
 * Paths: "host/mem/free". UTF-8 segments separated by '/', no leading or trailing '/'. The empty
 * path is the root. A segment below an array is a position, decimal without leading zeros, or "-"
 * for the place after the last one (writes only).
 *
 * Inside a segment four things are escaped with '~' (the first two as in RFC 6901):
 *     ~0  '~'      ~1  '/'      ~2  '*' (kept free for patterns)      ~3  the empty segment, alone
 *
 * Limits: a path has at most COP_PATH_MAX bytes and COP_DEPTH_MAX segments, no NUL byte, and is
 * valid UTF-8. Below an array element the limit on bytes counts from that element.
 *
 * All functions here are pure, thread-safe and take time proportional to the length.
 */
#ifndef COPPICE_PATH_H
#define COPPICE_PATH_H

#include <coppice/status.h>

#ifdef __cplusplus
extern "C" {
#endif

#define COP_PATH_MAX 4096u
#define COP_DEPTH_MAX 512u

/* COP_OK or COP_E_PATH / COP_E_LIMIT; error->position is the offset of the first faulty byte. */
COP_PUBLIC cop_status cop_path_check(const char *path, size_t length, cop_error *error);

/* Escapes one key to a segment (at most 2 x length + 2 bytes, no terminator) into out.
 * *written receives the bytes needed. COP_E_RANGE when capacity is too small (nothing written),
 * COP_E_PATH when the key has a NUL or is not UTF-8 (error->position says where). */
COP_PUBLIC cop_status cop_path_escape(const char *key, size_t length, char *out, size_t capacity,
                                      size_t *written, cop_error *error);

/* The reverse, for one segment. out needs at most length bytes. COP_E_PATH, COP_E_RANGE. */
COP_PUBLIC cop_status cop_path_unescape(const char *segment, size_t length, char *out,
                                        size_t capacity, size_t *written, cop_error *error);

#ifdef __cplusplus
}
#endif
#endif

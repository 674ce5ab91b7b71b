/* SPDX-License-Identifier: MIT */
/*
 * A branch as JSON, pulled piece by piece: for answers too long to be made in memory. It holds its
 * snapshot, a cursor for each open level, and at most one part of the answer and one value.
 */
#ifndef COP_HTTP_STREAM_H
#define COP_HTTP_STREAM_H

#include <coppice/coppice.h>

struct cop__stream;

/* Keeps the snapshot until it is freed. NULL: no memory or no snapshot to be had. */
struct cop__stream *cop__stream_new(const cop_snapshot *snapshot, cop_atom atom,
                                    const cop_json_write_options *options, bool newline);
void cop__stream_free(struct cop__stream *stream);

/* Up to n bytes; 0 at the end, negative when it failed. */
long long cop__stream_read(struct cop__stream *stream, char *bytes, size_t n);

#endif

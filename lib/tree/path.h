/* SPDX-License-Identifier: MIT */
/*
 * Inside of a path: its segments, positions in arrays, UTF-8.
 *
 * cop_path_check bounds the bytes since the last segment that can be a position, and the number of
 * segments. A path that passes can hence be LONGER than COP_PATH_MAX as a whole: "a/0/b" with a and
 * b of 4,000 bytes each. Whoever finds that "0" is a key of an object, not a position, must check
 * the length of the name again.
 */
#ifndef COP_TREE_PATH_H
#define COP_TREE_PATH_H

#include <coppice/path.h>

#include <stdbool.h>

/* A walk over the segments of a checked path; the empty path has none. Copyable. */
typedef struct cop__path_walk {
    const char *next; /* where the next segment begins; NULL after the last one */
    const char *end;
} cop__path_walk;

static inline cop__path_walk
cop__path_walk_open(const char *path, size_t length)
{
    cop__path_walk walk = {length ? path : NULL, length ? path + length : NULL};
    return walk;
}

/* The next segment (escaped, as it stands in the path), or false at the end. */
bool cop__segment_next(cop__path_walk *walk, const char **segment, size_t *length);

/* True when no segment is left. */
static inline bool
cop__path_walk_ended(const cop__path_walk *walk)
{
    return walk->next == NULL;
}

/* True when a segment is a position in an array: decimal, no sign, no leading zero, below
 * UINT32_MAX (which means "at the end" elsewhere). "-" is none. */
bool cop__segment_index(const char *segment, size_t length, uint32_t *index);

/* True when the bytes are well-formed UTF-8 (RFC 3629: nothing overlong, no surrogates, nothing
 * above U+10FFFF; NUL is a character). Else *fault, if given, is where the first ill-formed
 * sequence begins. */
bool cop__utf8_valid(const char *text, size_t length, size_t *fault);

#endif

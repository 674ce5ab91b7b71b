/* SPDX-License-Identifier: MIT */
/*
 * JSON pointers (RFC 6901) and our paths. A pointer has a '/' before each token and escapes ~ and /
 * in it; a path has one between two segments, and escapes '*' and the empty segment too (path.h).
 */
#ifndef COP_PATCH_POINTER_H
#define COP_PATCH_POINTER_H

#include "patch/encode.h"

/* A segment as a token of a pointer, or as a key, inside a JSON string. */
void cop__pointer_token(cop__bytes *out, const char *segment, size_t length);
void cop__pointer_key(cop__bytes *out, const char *segment, size_t length);
/* A path as a pointer, inside a JSON string. */
void cop__pointer_of(cop__bytes *out, const char *path, size_t length);
/* Appends a pointer to the path that stands in *path. COP_E_PATH for what is no pointer. */
cop_status cop__pointer_append(cop__bytes *path, const char *pointer, size_t length);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * What the JSON reader knows of a text before and beside jansson: its limits, and where in it a
 * fault lies. Offsets are bytes from the beginning; none of these functions recurses or allocates.
 */
#ifndef COP_SERIALIZE_JSON_INTERNAL_H
#define COP_SERIALIZE_JSON_INTERNAL_H

#include <coppice/json.h>

#include <jansson.h>

#include "base/base.h"

/* One scan finds these. */
typedef struct cop__json_counts {
    uint32_t depth; /* containers inside one another, at most */
    size_t longest; /* bytes of the longest string as it stands in the text */
} cop__json_counts;

/*
 * Refuses a text over the limits: COP_E_LIMIT with the place of the first value, container or byte
 * too many. Says nothing about syntax; a malformed text passes unless it breaks a limit too.
 * {"$bytes":"..."} and {"$error":"..."} count as one value and no container. O(length).
 */
cop_status cop__json_scan(const char *text, size_t length, const cop_json_read_options *limits,
                          cop__json_counts *counts, cop_error *error);

/* The text as jansson's tree, or NULL and why not: COP_E_SYNTAX, COP_E_LIMIT, COP_E_MEMORY. */
json_t *cop__json_parse(const char *text, size_t length, const cop_json_read_options *limits,
                        cop__json_counts *counts, cop_status *status, cop_error *error);

/* What the last {"$bytes":...} decoded to; its owner frees `at` with free(). */
typedef struct cop__json_scratch {
    unsigned char *at;
    size_t capacity;
} cop__json_scratch;

/* The value that a node stands for, an empty branch for a container. Texts are borrowed from the node,
 * bytes live until the next call. COP_E_MEMORY, COP_E_LIMIT (longer than a value may be). */
cop_status cop__json_node_value(json_t *node, cop__json_scratch *bytes, cop_value *value);

/* Where the token that holds the byte at `offset` begins; *end receives where it ends. */
size_t cop__json_token_at(const char *text, size_t length, size_t offset, size_t *end);

/* Where a member begins (its key, or the element) in a well-formed text: member index[0] of the
 * outermost container, in it member index[1], and so on. n = 0: the document itself. */
size_t cop__json_member_at(const char *text, size_t length, const uint32_t *index, uint32_t n);

/* Fills *error (NULL is legal) with line, column (in characters) and position of the byte at
 * offset, and returns status. */
cop_status cop__json_fail_at(cop_error *error, cop_status status, const char *text, size_t length,
                             size_t offset, const char *message);

/* Canonical base64 (RFC 4648, padded, no stray bits) into out, which holds length / 4 * 3 bytes.
 * False for everything else, so that only what would be written equal is read as bytes. */
bool cop__json_base64_decode(const char *text, size_t length, unsigned char *out, size_t *written);
/* n <= 3 bytes to 4 characters. */
void cop__json_base64_encode(const unsigned char *bytes, size_t n, char out[4]);

/* Copies a size-prefixed struct over its defaults in *to (whose first member is its size). False
 * when `from` is of no known size, or sets something that this library does not know. */
bool cop__json_options_copy(void *to, size_t to_size, const void *from);

/* The options of a writer, or the default ones for NULL. False when they are of no known size or out of
 * bounds. */
bool cop__json_write_options_take(const cop_json_write_options *options,
                                  cop_json_write_options *taken);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * JSON text into a buffer, and through it to a sink: keys, strings, numbers, values. What all
 * writers of JSON share; none of these functions allocates or recurses, and nothing here is shared
 * between threads.
 */
#ifndef COP_SERIALIZE_JSON_TEXT_H
#define COP_SERIALIZE_JSON_TEXT_H

#include <coppice/json.h>

#include "base/base.h"

enum { COP__JSON_ALWAYS = 1, COP__JSON_ASCII = 2 }; /* see mask */

/* Where text goes: through [start, end) to the sink. */
typedef struct cop__json_out {
    char *at, *start, *end;
    cop_sink_function sink;
    void *context;
    unsigned mask; /* which bytes are escaped: COP__JSON_ALWAYS, and COP__JSON_ASCII if all outside
                      it are */
    bool stopped;  /* the sink said so; what is put from here on is lost */
} cop__json_out;

static inline cop__json_out
cop__json_out_to(char *buffer, size_t n, cop_sink_function sink, void *context)
{
    return (cop__json_out){buffer, buffer, buffer + n, sink, context, COP__JSON_ALWAYS, false};
}

/* Empties the buffer into the sink. */
void cop__json_flush(cop__json_out *out);
void cop__json_bytes(cop__json_out *out, const char *bytes, size_t n);

static inline void
cop__json_char(cop__json_out *out, char c)
{
    if (cop__unlikely(out->at == out->end))
        cop__json_flush(out);
    *out->at++ = c;
}

/* The name of a member (a segment of a path) and what stands before its value; indent 0: compact.
 */
void cop__json_name(cop__json_out *out, const char *segment, size_t n, uint32_t indent);
/* A new line at a level of indentation; nothing when compact. */
void cop__json_line(cop__json_out *out, uint64_t indent, uint64_t level);
/* A value; a branch as an empty one. */
void cop__json_value_text(cop__json_out *out, const cop_value *value, uint32_t indent,
                          uint32_t level);

/* What is between the quotes of a string, of a name and of {"$bytes":"..."}: all of it, or a part that
 * ends where no character, no escape of a segment and no group of three bytes is cut in two; the parts
 * give what the whole does. At most 6 bytes for each. */
void cop__json_text_part(cop__json_out *out, const char *text, size_t n);
void cop__json_name_part(cop__json_out *out, const char *segment, size_t n);
void cop__json_base64_part(cop__json_out *out, const char *text, size_t n);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * Values and keys as JSON text: see json_text.h. Strings are copied in runs between the bytes that
 * need an escape. The layout, escapes and numbers are those of Python's json module, byte for byte.
 */
#include "serialize/json_text.h"

#include <math.h>

#include "serialize/json_internal.h"
#include "serialize/json_number.h"
#include "tree/path.h"

/* --- bytes --------------------------------------------------------------------------------- */

void
cop__json_flush(cop__json_out *out)
{
    if (out->at > out->start && !out->stopped)
        out->stopped = out->sink(out->context, out->start, (size_t)(out->at - out->start)) != 0;
    out->at = out->start;
}

void
cop__json_bytes(cop__json_out *out, const char *bytes, size_t n)
{
    while (n > (size_t)(out->end - out->at)) {
        size_t room = (size_t)(out->end - out->at);
        memcpy(out->at, bytes, room);
        out->at += room;
        bytes += room;
        n -= room;
        cop__json_flush(out);
    }
    memcpy(out->at, bytes, n);
    out->at += n;
}

static void
put_spaces(cop__json_out *out, uint64_t n)
{
    static const char spaces[] = "                                ";
    for (; n > sizeof spaces - 1; n -= sizeof spaces - 1)
        cop__json_bytes(out, spaces, sizeof spaces - 1);
    cop__json_bytes(out, spaces, n);
}

/* --- strings ------------------------------------------------------------------------------- */

enum { ALWAYS = COP__JSON_ALWAYS, IN_ASCII = COP__JSON_ASCII, IN_SEGMENT = 4, IN_BROKEN = 8 };

#define FOUR(x) x, x, x, x
#define SIXTEEN(x) FOUR(x), FOUR(x), FOUR(x), FOUR(x)
#define HIGH (IN_ASCII | IN_BROKEN)

/* When a byte cannot be copied: ever, in a text to be ASCII, in a segment of a path, in a string
 * that is not UTF-8. */
static const unsigned char needs[256] = {
    SIXTEEN(ALWAYS),   SIXTEEN(ALWAYS), ['"'] = ALWAYS, ['\\'] = ALWAYS, ['~'] = IN_SEGMENT,
    [0x7f] = IN_ASCII, SIXTEEN(HIGH),   SIXTEEN(HIGH),  SIXTEEN(HIGH),   SIXTEEN(HIGH),
    SIXTEEN(HIGH),     SIXTEEN(HIGH),   SIXTEEN(HIGH),  SIXTEEN(HIGH),
};

static void
put_unicode_escape(cop__json_out *out, uint32_t unit)
{
    static const char hex[] = "0123456789abcdef";
    char text[6] = {
        '\\', 'u', hex[unit >> 12 & 15], hex[unit >> 8 & 15], hex[unit >> 4 & 15], hex[unit & 15]};
    cop__json_bytes(out, text, sizeof text);
}

static void
put_ascii_escape(cop__json_out *out, unsigned char c)
{
    static const char letters[] = {
        ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    char letter = c == '"' || c == '\\' ? (char)c : c < sizeof letters ? letters[c] : '\0';
    if (letter) {
        cop__json_char(out, '\\');
        cop__json_char(out, letter);
    } else {
        put_unicode_escape(out, c);
    }
}

static void
put_code_point(cop__json_out *out, uint32_t c)
{
    if (c < 0x10000) {
        put_unicode_escape(out, c);
    } else {
        put_unicode_escape(out, 0xd800 + ((c - 0x10000) >> 10));
        put_unicode_escape(out, 0xdc00 + ((c - 0x10000) & 0x3ff));
    }
}

/* One character outside ASCII; U+FFFD for a byte that begins none. Returns the bytes it took. */
static size_t
put_character(cop__json_out *out, const unsigned char *p, size_t left, unsigned mask)
{
    static const unsigned char replacement[] = {0xef, 0xbf, 0xbd};
    size_t n = *p >= 0xf0 ? 4 : *p >= 0xe0 ? 3 : 2, taken = n;
    if (n > left || !cop__utf8_valid((const char *)p, n, NULL)) {
        p = replacement;
        n = sizeof replacement;
        taken = 1;
    }
    if (mask & IN_ASCII) {
        uint32_t c = *p & (0x7fu >> n);
        for (size_t i = 1; i < n; i++)
            c = c << 6 | (p[i] & 0x3fu);
        put_code_point(out, c);
    } else {
        cop__json_bytes(out, (const char *)p, n);
    }
    return taken;
}

/* A '~' and the digit behind it, as the key has it; returns the bytes it took. */
static size_t
put_segment_escape(cop__json_out *out, const unsigned char *p, size_t left)
{
    static const char meant[] = {'~', '/', '*'};
    if (left > 1 && p[1] >= '0' && p[1] <= '2')
        cop__json_char(out, meant[p[1] - '0']);
    return left > 1 ? 2 : 1; /* ~3: the empty key */
}

/* The text without quotes; mask: of the bytes that `needs` names, those to look for. */
static void
put_escaped(cop__json_out *out, const char *text, size_t n, unsigned mask)
{
    const unsigned char *p = (const unsigned char *)text, *end = p + n;
    while (p < end) {
        const unsigned char *run = p;
        while (p < end && !(needs[*p] & mask))
            p++;
        cop__json_bytes(out, (const char *)run, (size_t)(p - run));
        if (p == end)
            break;
        if (*p >= 0x80)
            p += put_character(out, p, (size_t)(end - p), mask);
        else if (*p == '~')
            p += put_segment_escape(out, p, (size_t)(end - p));
        else
            put_ascii_escape(out, *p++);
    }
}

/* A host may have set what is not UTF-8 after all; what leaves here is. */
void
cop__json_text_part(cop__json_out *out, const char *text, size_t n)
{
    bool broken = !cop__utf8_valid(text, n, NULL);
    put_escaped(out, text, n, out->mask | (broken ? IN_BROKEN : 0));
}

void
cop__json_name_part(cop__json_out *out, const char *segment, size_t n)
{
    put_escaped(out, segment, n, out->mask | IN_SEGMENT);
}

static void
put_string(cop__json_out *out, const char *text, size_t n)
{
    cop__json_char(out, '"');
    cop__json_text_part(out, text, n);
    cop__json_char(out, '"');
}

void
cop__json_base64_part(cop__json_out *out, const char *text, size_t n)
{
    const unsigned char *bytes = (const unsigned char *)text;
    for (size_t i = 0; i < n; i += 3) {
        char four[4];
        cop__json_base64_encode(bytes + i, n - i < 3 ? n - i : 3, four);
        cop__json_bytes(out, four, sizeof four);
    }
}

/* --- values -------------------------------------------------------------------------------- */

#define PUT_LITERAL(out, text) cop__json_bytes((out), (text), sizeof(text) - 1)

/* The name of a member (a segment) and what stands before its value; indent 0: compact. */
void
cop__json_name(cop__json_out *out, const char *segment, size_t n, uint32_t indent)
{
    cop__json_char(out, '"');
    cop__json_name_part(out, segment, n);
    cop__json_bytes(out, "\":", 2);
    if (indent)
        cop__json_char(out, ' ');
}

void
cop__json_line(cop__json_out *out, uint64_t indent, uint64_t level)
{
    if (!indent)
        return;
    cop__json_char(out, '\n');
    put_spaces(out, indent * level);
}

/* {"$bytes":"..."} or {"$error":"..."}, laid out as the object it looks like. */
static void
put_tagged(cop__json_out *out, const cop_value *value, uint32_t indent, uint32_t level)
{
    bool bytes = value->type == COP_BYTES;
    cop__json_char(out, '{');
    cop__json_line(out, indent, level + 1);
    cop__json_name(out, bytes ? "$bytes" : "$error", 6, indent);
    if (bytes) {
        cop__json_char(out, '"');
        cop__json_base64_part(out, cop_value_data(value), cop_value_length(value));
        cop__json_char(out, '"');
    } else {
        put_string(out, cop_value_data(value), cop_value_length(value));
    }
    cop__json_line(out, indent, level);
    cop__json_char(out, '}');
}

static void
put_number(cop__json_out *out, const cop_value *value)
{
    char text[COP__JSON_NUMBER_MAX];
    if (value->type == COP_I64)
        cop__json_bytes(out, text, cop__json_i64(text, cop_value_i64(value)));
    else if (isfinite(cop_value_f64(value)))
        cop__json_bytes(out, text, cop__json_f64(text, cop_value_f64(value)));
    else
        PUT_LITERAL(out, "null");
}

/* A value; a branch as an empty one. */
void
cop__json_value_text(cop__json_out *out, const cop_value *value, uint32_t indent, uint32_t level)
{
    switch (cop_value_type(value)) {
    case COP_BOOL:
        if (cop_value_bool(value))
            PUT_LITERAL(out, "true");
        else
            PUT_LITERAL(out, "false");
        break;
    case COP_I64:
    case COP_F64:
        put_number(out, value);
        break;
    case COP_STRING:
        put_string(out, cop_value_data(value), cop_value_length(value));
        break;
    case COP_BYTES:
    case COP_ERROR:
        put_tagged(out, value, indent, level);
        break;
    case COP_OBJECT:
        PUT_LITERAL(out, "{}");
        break;
    case COP_ARRAY:
        PUT_LITERAL(out, "[]");
        break;
    case COP_NONE:
    case COP_NULL:
        PUT_LITERAL(out, "null");
        break;
    }
}

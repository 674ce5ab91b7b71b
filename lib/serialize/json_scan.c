/* SPDX-License-Identifier: MIT */
/*
 * A linear look over a JSON text: limits before jansson parses it, places of faults afterwards.
 *
 * Only quotes, brackets and commas matter here. A container with c commas has c + 1 members unless
 * it is empty, so values are counted without telling keys from strings. Malformed text is jansson's
 * to refuse: the scan only promises that what passes is within the limits as far as jansson reads.
 */
#include "serialize/json_internal.h"

#include "store/log.h"

enum token_class { OTHER, QUOTE, OPEN, CLOSE, COMMA, COLON, SPACE };

static const unsigned char classes[256] = {
    ['"'] = QUOTE, ['{'] = OPEN,  ['['] = OPEN,   ['}'] = CLOSE,  [']'] = CLOSE,  [','] = COMMA,
    [':'] = COLON, [' '] = SPACE, ['\t'] = SPACE, ['\n'] = SPACE, ['\r'] = SPACE,
};

static inline unsigned
class_of(const char *p)
{
    return classes[(unsigned char)*p];
}

static const char *
skip_space(const char *p, const char *end)
{
    while (p < end && class_of(p) == SPACE)
        p++;
    return p;
}

/* p is at the opening quote; answers the byte after the closing one, or end. */
static const char *
skip_string(const char *p, const char *end)
{
    const char *begin = p + 1;
    for (p = begin; (p = memchr(p, '"', (size_t)(end - p))) != NULL; p++) {
        const char *slash = p;
        while (slash > begin && slash[-1] == '\\')
            slash--;
        if ((p - slash) % 2 == 0)
            return p + 1;
    }
    return end;
}

/* p is at a '{': the byte after {"$bytes":"..."} or {"$error":"..."}; NULL for other objects. */
static const char *
skip_tagged(const char *p, const char *end)
{
    p = skip_space(p + 1, end);
    if (end - p < 8 || (memcmp(p, "\"$bytes\"", 8) != 0 && memcmp(p, "\"$error\"", 8) != 0))
        return NULL;
    p = skip_space(p + 8, end);
    if (p == end || *p != ':')
        return NULL;
    p = skip_space(p + 1, end);
    if (p == end || *p != '"')
        return NULL;
    p = skip_space(skip_string(p, end), end);
    return p < end && *p == '}' ? p + 1 : NULL;
}

struct scan {
    const char *p, *text, *end;
    const cop_json_read_options *limits;
    cop__json_counts *counts;
    cop_error *error;
    uint64_t values;
    uint32_t depth;
};

static cop_status
refuse(struct scan *s, const char *at, const char *message)
{
    return cop__json_fail_at(s->error, COP_E_LIMIT, s->text, (size_t)(s->end - s->text),
                             (size_t)(at - s->text), message);
}

static cop_status
one_value_more(struct scan *s)
{
    if (++s->values <= s->limits->max_atoms)
        return COP_OK;
    return refuse(s, skip_space(s->p, s->end), "more values than max_atoms allows");
}

static void
pass_string(struct scan *s, const char *after)
{
    size_t n = (size_t)(after - s->p);
    if (n > s->counts->longest)
        s->counts->longest = n;
    s->p = after;
}

static cop_status
enter(struct scan *s)
{
    const char *after = *s->p == '{' ? skip_tagged(s->p, s->end) : NULL;
    if (after) {
        pass_string(s, after);
        return COP_OK;
    }
    if (s->depth == s->limits->max_depth)
        return refuse(s, s->p, "nested deeper than max_depth allows");
    if (++s->depth > s->counts->depth)
        s->counts->depth = s->depth;
    s->p = skip_space(s->p + 1, s->end);
    bool empty = s->p == s->end || class_of(s->p) == CLOSE;
    return empty ? COP_OK : one_value_more(s);
}

cop_status
cop__json_scan(const char *text, size_t length, const cop_json_read_options *limits,
               cop__json_counts *counts, cop_error *error)
{
    struct scan s = {text, text, text + length, limits, counts, error, 0, 0};
    memset(counts, 0, sizeof *counts);
    if (length > limits->max_bytes)
        return refuse(&s, text + limits->max_bytes, "longer than max_bytes allows");
    cop_status status = one_value_more(&s);
    while (status == COP_OK && s.p < s.end) {
        switch (class_of(s.p)) {
        case QUOTE:
            pass_string(&s, skip_string(s.p, s.end));
            break;
        case OPEN:
            status = enter(&s);
            break;
        case CLOSE:
            if (s.depth == 0)
                return COP_OK; /* malformed: jansson comes no further than this */
            s.depth--;
            s.p++;
            break;
        case COMMA:
            s.p++;
            status = one_value_more(&s);
            break;
        default:
            s.p++;
        }
    }
    return status;
}

static const char *
skip_token(const char *p, const char *end)
{
    if (class_of(p) == QUOTE)
        return skip_string(p, end);
    if (class_of(p) != OTHER)
        return p + 1;
    while (p < end && class_of(p) == OTHER)
        p++;
    return p;
}

size_t
cop__json_token_at(const char *text, size_t length, size_t offset, size_t *token_end)
{
    const char *end = text + length, *p = skip_space(text, end), *after = p;
    for (; p < end; p = skip_space(after, end)) {
        after = skip_token(p, end);
        if (after > text + offset)
            break;
    }
    *token_end = (size_t)(after - text);
    return (size_t)(p - text);
}

size_t
cop__json_member_at(const char *text, size_t length, const uint32_t *index, uint32_t n)
{
    const char *end = text + length, *p = skip_space(text, end);
    uint32_t level = 0; /* containers that p is in */
    uint32_t found = 0; /* of them, those on the way; a count of members runs in the last */
    uint32_t position = 0;
    while (found < n && p < end) {
        bool begins = false;
        if (class_of(p) == OPEN) {
            begins = level++ == found;
            position = begins ? 0 : position;
        } else if (class_of(p) == CLOSE) {
            level--;
        } else if (class_of(p) == COMMA) {
            begins = level == found + 1;
            position += begins;
        }
        p = skip_space(skip_token(p, end), end);
        if (begins && position == index[found])
            found++;
    }
    return (size_t)(p - text);
}

cop_status
cop__json_fail_at(cop_error *error, cop_status status, const char *text, size_t length,
                  size_t offset, const char *message)
{
    uint32_t line = 1, column = 1;
    if (!error)
        return status;
    for (size_t i = 0; i < offset && i < length; i++) {
        if (text[i] == '\n') {
            line++;
            column = 1;
        } else if (((unsigned char)text[i] & 0xc0) != 0x80) {
            column++;
        }
    }
    cop__fail_line(error, status, line, column, "%s", message);
    error->position = offset;
    return status;
}

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void
cop__json_base64_encode(const unsigned char *bytes, size_t n, char out[4])
{
    uint32_t word = (uint32_t)bytes[0] << 16;
    if (n > 1)
        word |= (uint32_t)bytes[1] << 8;
    if (n > 2)
        word |= bytes[2];
    out[0] = alphabet[word >> 18];
    out[1] = alphabet[word >> 12 & 63];
    out[2] = n > 1 ? alphabet[word >> 6 & 63] : '=';
    out[3] = n > 2 ? alphabet[word & 63] : '=';
}

#define NO_DIGIT 64u

/* The six bits of a character, or NO_DIGIT. */
static uint32_t
sextet(char c)
{
    if (c >= 'A' && c <= 'Z')
        return (uint32_t)(c - 'A');
    if (c >= 'a' && c <= 'z')
        return (uint32_t)(c - 'a' + 26);
    if (c >= '0' && c <= '9')
        return (uint32_t)(c - '0' + 52);
    return c == '+' ? 62 : c == '/' ? 63 : NO_DIGIT;
}

/* Four characters that carry `bytes` bytes, 1 to 3; false when malformed. */
static bool
decode_four(const char *text, size_t bytes, unsigned char *out)
{
    uint32_t word = 0, bad = 0;
    for (size_t i = 0; i < 4; i++) {
        uint32_t six = i <= bytes ? sextet(text[i]) : 0;
        bad |= six & NO_DIGIT;
        word = word << 6 | (six & 63);
    }
    for (size_t i = 0; i < bytes; i++)
        out[i] = (unsigned char)(word >> (16 - 8 * i));
    return !bad && (word & (((uint32_t)1 << (24 - 8 * bytes)) - 1)) == 0;
}

bool
cop__json_base64_decode(const char *text, size_t length, unsigned char *out, size_t *written)
{
    *written = 0;
    if (length % 4)
        return false;
    for (size_t i = 0; i < length; i += 4) {
        size_t bytes = 3;
        if (i + 4 == length && text[i + 3] == '=')
            bytes = text[i + 2] == '=' ? 1 : 2;
        if (!decode_four(text + i, bytes, out + *written))
            return false;
        *written += bytes;
    }
    return true;
}

bool
cop__json_options_copy(void *to, size_t to_size, const void *from)
{
    size_t size;
    memcpy(&size, from, sizeof size);
    if (size < sizeof size)
        return false;
    const unsigned char *bytes = from;
    for (size_t i = to_size; i < size; i++) {
        if (bytes[i])
            return false;
    }
    memcpy(to, from, size < to_size ? size : to_size);
    memcpy(to, &to_size, sizeof to_size);
    return true;
}

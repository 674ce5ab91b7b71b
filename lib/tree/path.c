/* SPDX-License-Identifier: MIT */
/* Paths: the check, escaping of keys, and the walk over segments. */
#include "tree/path.h"

#include <string.h>

#include "store/log.h"

/* --- UTF-8 ------------------------------------------------------------------------------------ */

/* The bytes of the well-formed sequence that begins with a byte >= 0x80, or 0. The bounds of the
 * second byte (Unicode, table 3-7) exclude what is overlong, a surrogate or too great. */
static size_t
sequence_length(const unsigned char *p, size_t left)
{
    unsigned char low = 0x80, high = 0xbf;
    size_t n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || left < n)
        return 0;
    if (p[0] == 0xe0)
        low = 0xa0;
    else if (p[0] == 0xed)
        high = 0x9f;
    else if (p[0] == 0xf0)
        low = 0x90;
    else if (p[0] == 0xf4)
        high = 0x8f;
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return n;
}

/* Bytes of ASCII from p on, counted in eights: what is left over is for the caller. */
static size_t
ascii_eights(const unsigned char *p, size_t left)
{
    size_t n = 0;
    while (left - n >= 8) {
        uint64_t word;
        memcpy(&word, p + n, sizeof word);
        if (word & UINT64_C(0x8080808080808080))
            break;
        n += 8;
    }
    return n;
}

bool
cop__utf8_valid(const char *text, size_t length, size_t *fault)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t i = 0;
    while (i < length) {
        i += ascii_eights(p + i, length - i);
        while (i < length && p[i] < 0x80)
            i++;
        if (i == length)
            break;
        size_t n = sequence_length(p + i, length - i);
        if (n == 0) {
            if (fault)
                *fault = i;
            return false;
        }
        i += n;
    }
    return true;
}

/* --- one segment ------------------------------------------------------------------------------ */

/* What a byte of a segment is. */
enum byte_class {
    PLAIN,
    ZERO,
    STAR,
    TILDE,
    SLASH,
    HIGH /* begins a sequence of UTF-8, or nothing */
};

static enum byte_class
classify(unsigned char byte)
{
    if (byte >= 0x80)
        return HIGH;
    switch (byte) {
    case '\0':
        return ZERO;
    case '*':
        return STAR;
    case '~':
        return TILDE;
    case '/':
        return SLASH;
    default:
        return PLAIN;
    }
}

/* The key byte that "~digit" stands for; NUL when it stands for none. "~3" is not asked here. */
static char
escaped_byte(char digit)
{
    switch (digit) {
    case '0':
        return '~';
    case '1':
        return '/';
    case '2':
        return '*';
    default:
        return '\0';
    }
}

static bool
is_empty_key(const char *segment, size_t length)
{
    return length == 2 && segment[0] == '~' && segment[1] == '3';
}

/* What is wrong with a segment at the place of a fault. */
static const char *
fault_text(const char *text, size_t left)
{
    if (left == 0)
        return "an empty segment is written ~3";
    switch (classify((unsigned char)text[0])) {
    case ZERO:
        return "a NUL byte";
    case STAR:
        return "'*' is written ~2";
    case TILDE:
        if (left > 1 && text[1] == '3')
            return "~3 stands alone in its segment";
        return "'~' is followed by 0, 1, 2 or 3";
    case SLASH:
        return "'/' inside a segment is written ~1";
    default:
        return "not UTF-8";
    }
}

/* Reads one segment up to its '/' or the end; *length receives its bytes. False when it is
 * malformed: *length is then the offset of the fault. Only the caller knows whether a '/' may end
 * it, and an empty segment is for the caller too. */
static bool
segment_scan(const char *segment, size_t left, size_t *length)
{
    const unsigned char *p = (const unsigned char *)segment;
    size_t i = 0, n = 1;
    for (; i < left; i += n) {
        enum byte_class byte = classify(p[i]);
        n = 1;
        if (byte == PLAIN)
            continue;
        if (byte == SLASH)
            break;
        if (byte == TILDE)
            n = i + 1 < left && escaped_byte(segment[i + 1]) ? 2 : 0;
        else
            n = byte == HIGH ? sequence_length(p + i, left - i) : 0;
        if (n == 0)
            break;
    }
    *length = i;
    if (n == 0 && i == 0 && left >= 2 && (left == 2 || p[2] == '/') && is_empty_key(segment, 2)) {
        *length = 2;
        return true;
    }
    return n != 0;
}

/* --- a path ----------------------------------------------------------------------------------- */

bool
cop__segment_next(cop__path_walk *walk, const char **segment, size_t *length)
{
    if (!walk->next)
        return false;
    const char *begin = walk->next;
    const char *slash = memchr(begin, '/', (size_t)(walk->end - begin));
    *segment = begin;
    *length = (size_t)((slash ? slash : walk->end) - begin);
    walk->next = slash ? slash + 1 : NULL;
    return true;
}

bool
cop__segment_index(const char *segment, size_t length, uint32_t *index)
{
    uint64_t n = 0;
    if (length == 0 || length > 10 || (length > 1 && segment[0] == '0'))
        return false;
    for (size_t i = 0; i < length; i++) {
        if (segment[i] < '0' || segment[i] > '9')
            return false;
        n = n * 10 + (uint64_t)(segment[i] - '0');
    }
    if (n >= UINT32_MAX)
        return false;
    *index = (uint32_t)n;
    return true;
}

static bool
can_be_position(const char *segment, size_t length)
{
    uint32_t index;
    return (length == 1 && segment[0] == '-') || cop__segment_index(segment, length, &index);
}

static cop_status
fail_path(cop_error *error, const char *path, size_t length, size_t position)
{
    size_t at = position;
    /* Of an empty segment the faulty byte is the '/' that ends it; at the end of the path, the one
     * before it. */
    if (position == length)
        at = position - 1;
    bool empty = path[at] == '/';
    return cop__fail_at(error, COP_E_PATH, at, "malformed path at byte %zu: %s", at,
                        empty ? fault_text(path, 0) : fault_text(path + at, length - at));
}

static cop_status
fail_bytes(cop_error *error, size_t position)
{
    return cop__fail_at(error, COP_E_LIMIT, position, "the path is longer than %u bytes",
                        COP_PATH_MAX);
}

/* A segment that can be a position does not count against the limit, and what follows it counts
 * from its end. */
cop_status
cop_path_check(const char *path, size_t length, cop_error *error)
{
    size_t at = 0, run = 0, segments = 0;
    if (length == 0)
        return COP_OK;
    if (!path)
        return cop__fail_at(error, COP_E_PATH, 0, "the path is NULL");
    for (;; at++) {
        size_t n;
        if (segments++ == COP_DEPTH_MAX)
            return cop__fail_at(error, COP_E_LIMIT, at, "the path has more than %u segments",
                                COP_DEPTH_MAX);
        bool fine = segment_scan(path + at, length - at, &n);
        bool position = fine && can_be_position(path + at, n);
        if (!position && at + n - run > COP_PATH_MAX)
            return fail_bytes(error, run + COP_PATH_MAX);
        if (!fine || n == 0)
            return fail_path(error, path, length, at + n);
        at += n;
        if (at == length)
            return COP_OK;
        if (position)
            run = at + 1;
    }
}

/* --- escaping --------------------------------------------------------------------------------- */

/* Bytes that a key needs as a segment; false at a fault, *needed is then its offset. */
static bool
escaped_length(const char *key, size_t length, size_t *needed)
{
    size_t fault, extra = 0;
    bool valid = cop__utf8_valid(key, length, &fault);
    const char *zero = memchr(key, '\0', valid ? length : fault);
    if (zero || !valid) {
        *needed = zero ? (size_t)(zero - key) : fault;
        return false;
    }
    for (size_t i = 0; i < length; i++)
        extra += key[i] == '~' || key[i] == '/' || key[i] == '*';
    *needed = length + extra;
    return true;
}

static void
escape_bytes(const char *key, size_t length, char *out)
{
    for (size_t i = 0; i < length; i++) {
        if (key[i] != '~' && key[i] != '/' && key[i] != '*') {
            *out++ = key[i];
            continue;
        }
        *out++ = '~';
        *out++ = key[i] == '~' ? '0' : key[i] == '/' ? '1' : '2';
    }
}

static cop_status
fail_room(cop_error *error, size_t needed, size_t capacity)
{
    return cop__fail(error, COP_E_RANGE, "%zu bytes are needed, the buffer has %zu", needed,
                     capacity);
}

cop_status
cop_path_escape(const char *key, size_t length, char *out, size_t capacity, size_t *written,
                cop_error *error)
{
    size_t needed = 2;
    if (length && !escaped_length(key, length, &needed)) {
        if (written)
            *written = 0;
        return cop__fail_at(error, COP_E_PATH, needed, "malformed key at byte %zu: %s", needed,
                            fault_text(key + needed, length - needed));
    }
    if (written)
        *written = needed;
    if (capacity < needed)
        return fail_room(error, needed, capacity);
    if (length)
        escape_bytes(key, length, out);
    else
        memcpy(out, "~3", 2);
    return COP_OK;
}

static size_t
unescaped_length(const char *segment, size_t length)
{
    size_t n = length;
    if (is_empty_key(segment, length))
        return 0;
    for (size_t i = 0; i < length; i++)
        n -= segment[i] == '~';
    return n;
}

static void
unescape_bytes(const char *segment, size_t length, char *out)
{
    for (size_t i = 0; i < length; i++)
        *out++ = segment[i] == '~' ? escaped_byte(segment[++i]) : segment[i];
}

cop_status
cop_path_unescape(const char *segment, size_t length, char *out, size_t capacity, size_t *written,
                  cop_error *error)
{
    size_t n = 0;
    if (written)
        *written = 0;
    if (length == 0 || !segment_scan(segment, length, &n) || n < length)
        return cop__fail_at(error, COP_E_PATH, n, "malformed segment at byte %zu: %s", n,
                            fault_text(segment + n, length - n));
    size_t needed = unescaped_length(segment, length);
    if (written)
        *written = needed;
    if (capacity < needed)
        return fail_room(error, needed, capacity);
    if (needed)
        unescape_bytes(segment, length, out);
    return COP_OK;
}

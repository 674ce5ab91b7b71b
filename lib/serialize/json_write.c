/* SPDX-License-Identifier: MIT */
/*
 * A snapshot, or a branch of it, as JSON text.
 *
 * The tree is walked with a stack of cursors, one for each open branch; the text goes through a
 * buffer of fixed size to the sink. Strings are copied in runs between the bytes that need an
 * escape. The layout, escapes and numbers are those of Python's json module, byte for byte.
 *
 * Thread-safe as far as the snapshot is: nothing here is shared. Not blocking but for the sink.
 */
#include <coppice/json.h>

#include <math.h>

#include "monitor/monitor.h"
#include "serialize/json_internal.h"
#include "serialize/json_number.h"
#include "tree/path.h"

#define BUFFER_BYTES 16384
#define INLINE_FRAMES 16
#define INDENT_MAX 16

/* Where text goes: through [start, end) to the sink. */
struct out {
    char *at, *start, *end;
    cop_sink_function sink;
    void *context;
    unsigned mask; /* which bytes are escaped, see `needs` */
    bool stopped;
};

struct frame {
    cop_cursor cursor;
    bool array;
    bool begun; /* a child has been written */
};

struct writer {
    struct out out;
    const cop_snapshot *snapshot;
    cop_json_write_options options;
    struct frame *frames;
    uint32_t depth, capacity;
    struct frame first_frames[INLINE_FRAMES];
    char buffer[BUFFER_BYTES];
};

/* --- bytes --------------------------------------------------------------------------------- */

static void
flush(struct out *out)
{
    if (out->at > out->start && !out->stopped)
        out->stopped = out->sink(out->context, out->start, (size_t)(out->at - out->start)) != 0;
    out->at = out->start;
}

static void
put_bytes(struct out *out, const char *bytes, size_t n)
{
    while (n > (size_t)(out->end - out->at)) {
        size_t room = (size_t)(out->end - out->at);
        memcpy(out->at, bytes, room);
        out->at += room;
        bytes += room;
        n -= room;
        flush(out);
    }
    memcpy(out->at, bytes, n);
    out->at += n;
}

static inline void
put_char(struct out *out, char c)
{
    if (out->at == out->end)
        flush(out);
    *out->at++ = c;
}

static void
put_spaces(struct out *out, uint64_t n)
{
    static const char spaces[] = "                                ";
    for (; n > sizeof spaces - 1; n -= sizeof spaces - 1)
        put_bytes(out, spaces, sizeof spaces - 1);
    put_bytes(out, spaces, n);
}

/* --- strings ------------------------------------------------------------------------------- */

enum { ALWAYS = 1, IN_ASCII = 2, IN_SEGMENT = 4, IN_BROKEN = 8 };

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
put_unicode_escape(struct out *out, uint32_t unit)
{
    static const char hex[] = "0123456789abcdef";
    char text[6] = {
        '\\', 'u', hex[unit >> 12 & 15], hex[unit >> 8 & 15], hex[unit >> 4 & 15], hex[unit & 15]};
    put_bytes(out, text, sizeof text);
}

static void
put_ascii_escape(struct out *out, unsigned char c)
{
    static const char letters[] = {
        ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    char letter = c == '"' || c == '\\' ? (char)c : c < sizeof letters ? letters[c] : '\0';
    if (letter) {
        put_char(out, '\\');
        put_char(out, letter);
    } else {
        put_unicode_escape(out, c);
    }
}

static void
put_code_point(struct out *out, uint32_t c)
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
put_character(struct out *out, const unsigned char *p, size_t left, unsigned mask)
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
        put_bytes(out, (const char *)p, n);
    }
    return taken;
}

/* A '~' and the digit behind it, as the key has it; returns the bytes it took. */
static size_t
put_segment_escape(struct out *out, const unsigned char *p, size_t left)
{
    static const char meant[] = {'~', '/', '*'};
    if (left > 1 && p[1] >= '0' && p[1] <= '2')
        put_char(out, meant[p[1] - '0']);
    return left > 1 ? 2 : 1; /* ~3: the empty key */
}

/* The text without quotes; mask: of the bytes that `needs` names, those to look for. */
static void
put_escaped(struct out *out, const char *text, size_t n, unsigned mask)
{
    const unsigned char *p = (const unsigned char *)text, *end = p + n;
    while (p < end) {
        const unsigned char *run = p;
        while (p < end && !(needs[*p] & mask))
            p++;
        put_bytes(out, (const char *)run, (size_t)(p - run));
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
static void
put_string(struct out *out, const char *text, size_t n)
{
    bool broken = !cop__utf8_valid(text, n, NULL);
    put_char(out, '"');
    put_escaped(out, text, n, out->mask | (broken ? IN_BROKEN : 0));
    put_char(out, '"');
}

static void
put_base64(struct out *out, const char *text, size_t n)
{
    const unsigned char *bytes = (const unsigned char *)text;
    for (size_t i = 0; i < n; i += 3) {
        char four[4];
        cop__json_base64_encode(bytes + i, n - i < 3 ? n - i : 3, four);
        put_bytes(out, four, sizeof four);
    }
}

/* --- values -------------------------------------------------------------------------------- */

#define PUT_LITERAL(out, text) put_bytes((out), (text), sizeof(text) - 1)

/* The name of a member (a segment) and what stands before its value; indent 0: compact. */
static void
put_name(struct out *out, const char *segment, size_t n, uint32_t indent)
{
    put_char(out, '"');
    put_escaped(out, segment, n, out->mask | IN_SEGMENT);
    put_bytes(out, "\":", 2);
    if (indent)
        put_char(out, ' ');
}

static void
put_line(struct out *out, uint64_t indent, uint64_t level)
{
    if (!indent)
        return;
    put_char(out, '\n');
    put_spaces(out, indent * level);
}

/* {"$bytes":"..."} or {"$error":"..."}, laid out as the object it looks like. */
static void
put_tagged(struct out *out, const cop_value *value, uint32_t indent, uint32_t level)
{
    bool bytes = value->type == COP_BYTES;
    put_char(out, '{');
    put_line(out, indent, level + 1);
    put_name(out, bytes ? "$bytes" : "$error", 6, indent);
    if (bytes) {
        put_char(out, '"');
        put_base64(out, cop_value_data(value), cop_value_length(value));
        put_char(out, '"');
    } else {
        put_string(out, cop_value_data(value), cop_value_length(value));
    }
    put_line(out, indent, level);
    put_char(out, '}');
}

static void
put_number(struct out *out, const cop_value *value)
{
    char text[COP__JSON_NUMBER_MAX];
    if (value->type == COP_I64)
        put_bytes(out, text, cop__json_i64(text, cop_value_i64(value)));
    else if (isfinite(cop_value_f64(value)))
        put_bytes(out, text, cop__json_f64(text, cop_value_f64(value)));
    else
        PUT_LITERAL(out, "null");
}

/* A value; a branch as an empty one. */
static void
put_value(struct out *out, const cop_value *value, uint32_t indent, uint32_t level)
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

/* --- the walk ------------------------------------------------------------------------------ */

static bool
room_for_frame(struct writer *w)
{
    if (w->depth < w->capacity)
        return true;
    bool inside = w->frames == w->first_frames;
    uint32_t capacity = 2 * w->capacity;
    struct frame *grown = realloc(inside ? NULL : w->frames, capacity * sizeof *grown);
    if (!grown)
        return false;
    if (inside)
        memcpy(grown, w->first_frames, sizeof w->first_frames);
    w->frames = grown;
    w->capacity = capacity;
    return true;
}

/* A value, or the beginning of a branch whose children follow. */
static cop_status
put_atom(struct writer *w, cop_atom atom, const cop_value *value)
{
    bool array = value->type == COP_ARRAY;
    bool branch = array || value->type == COP_OBJECT;
    if (!branch || (w->options.depth && w->depth == w->options.depth)) {
        put_value(&w->out, value, w->options.indent, w->depth);
        return COP_OK;
    }
    if (!room_for_frame(w))
        return COP_E_MEMORY;
    struct frame *f = &w->frames[w->depth];
    f->array = array;
    f->begun = false;
    w->depth++;
    put_char(&w->out, array ? '[' : '{');
    return cop_cursor_open(w->snapshot, atom, &f->cursor);
}

static void
close_branch(struct writer *w)
{
    struct frame *f = &w->frames[--w->depth];
    if (f->begun)
        put_line(&w->out, w->options.indent, w->depth);
    put_char(&w->out, f->array ? ']' : '}');
}

static cop_status
put_children(struct writer *w)
{
    cop_child child;
    cop_status status = COP_OK;
    while (!status && w->depth && !w->out.stopped) {
        struct frame *f = &w->frames[w->depth - 1];
        if (!cop_cursor_next(&f->cursor, &child)) {
            close_branch(w);
            continue;
        }
        if (child.value.type == COP_NONE) { /* a lazy one */
            if (w->options.lazy)
                status = cop_get(w->snapshot, child.atom, &child.value);
            if (status || (!w->options.lazy && !f->array))
                continue;
        }
        if (f->begun)
            put_char(&w->out, ',');
        f->begun = true;
        put_line(&w->out, w->options.indent, w->depth);
        if (!f->array)
            put_name(&w->out, child.key, child.key_length, w->options.indent);
        status = put_atom(w, child.atom, &child.value);
    }
    return status;
}

static struct out
out_to(char *buffer, size_t n, cop_sink_function sink, void *context)
{
    return (struct out){buffer, buffer, buffer + n, sink, context, ALWAYS, false};
}

static bool
take_options(const cop_json_write_options *options, cop_json_write_options *taken)
{
    *taken = (cop_json_write_options)COP_JSON_WRITE_OPTIONS_INIT;
    if (options && !cop__json_options_copy(taken, sizeof *taken, options))
        return false;
    return taken->indent <= INDENT_MAX;
}

cop_status
cop_json_write(const cop_snapshot *snapshot, cop_atom atom, const cop_json_write_options *options,
               cop_sink_function sink, void *context)
{
    cop_value value;
    cop_json_write_options taken;
    if (!snapshot || !sink || !take_options(options, &taken))
        return COP_E_INVALID;
    cop_status status = cop_get(snapshot, atom, &value);
    if (status)
        return status;
    cop_store *store = cop_snapshot_store(snapshot);
    uint64_t began = cop__monitor_clock(store);
    struct writer *w = malloc(sizeof *w); /* hosts run this on small stacks too */
    if (!w)
        return COP_E_MEMORY;
    w->out = out_to(w->buffer, sizeof w->buffer, sink, context);
    w->out.mask |= taken.ascii ? IN_ASCII : 0;
    w->snapshot = snapshot;
    w->options = taken;
    w->frames = w->first_frames;
    w->depth = 0;
    w->capacity = INLINE_FRAMES;
    status = put_atom(w, atom, &value);
    if (!status)
        status = put_children(w);
    if (!status)
        flush(&w->out);
    if (!status && w->out.stopped)
        status = COP_E_IO;
    if (w->frames != w->first_frames)
        free(w->frames);
    free(w);
    cop__monitor_took(store, COP_MEASURE_SERIALIZE, began);
    return status;
}

/* A sink that keeps what fits and counts all. */
struct target {
    char *buffer;
    size_t capacity, length;
};

static int
keep(void *context, const char *bytes, size_t n)
{
    struct target *t = context;
    if (t->length < t->capacity)
        memcpy(t->buffer + t->length, bytes,
               n < t->capacity - t->length ? n : t->capacity - t->length);
    t->length += n;
    return 0;
}

cop_status
cop_json_value(const cop_value *value, char *buffer, size_t capacity, size_t *length)
{
    char window[256];
    struct target target = {buffer, capacity, 0};
    if (!value || value->type == COP_NONE || value->type > COP_ARRAY || (!buffer && capacity))
        return COP_E_INVALID;
    struct out out = out_to(window, sizeof window, keep, &target);
    put_value(&out, value, 0, 0);
    flush(&out);
    if (length)
        *length = target.length;
    bool fits = target.length < capacity;
    if (capacity)
        buffer[fits ? target.length : 0] = '\0'; /* what is cut is no JSON: left empty */
    return fits ? COP_OK : COP_E_RANGE;
}

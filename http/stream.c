/* SPDX-License-Identifier: MIT */
/*
 * cop_json_write pushes; libmicrohttpd pulls. So this is a writer of its own for branches, one step
 * a child, with the same output; values and keys go through cop_json_value.
 */
#include "http/stream.h"
#include "http/buffer.h"

#include <stdlib.h>
#include <string.h>

struct level {
    cop_cursor cursor;
    bool array;
    bool any; /* a child has been written */
};

struct cop__stream {
    const cop_snapshot *snapshot;
    cop_json_write_options options;
    cop_atom atom;
    bool newline, started, finished;
    struct level *levels;
    size_t depth, capacity;
    struct cop__buffer piece;
    size_t sent;
};

struct cop__stream *
cop__stream_new(const cop_snapshot *snapshot, cop_atom atom, const cop_json_write_options *options,
                bool newline)
{
    struct cop__stream *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    if (cop_snapshot_keep(snapshot) != COP_OK) {
        free(s);
        return NULL;
    }
    s->snapshot = snapshot;
    s->atom = atom;
    s->options = *options;
    s->newline = newline;
    return s;
}

void
cop__stream_free(struct cop__stream *s)
{
    cop__buffer_free(&s->piece);
    cop_snapshot_drop(s->snapshot);
    free(s->levels);
    free(s);
}

static bool
put(struct cop__stream *s, const char *text)
{
    return cop__buffer_add(&s->piece, text, strlen(text));
}

static bool
put_line(struct cop__stream *s)
{
    size_t spaces = s->depth * s->options.indent;
    if (!s->options.indent)
        return true;
    if (!cop__buffer_reserve(&s->piece, spaces + 1))
        return false;
    s->piece.data[s->piece.length] = '\n';
    memset(s->piece.data + s->piece.length + 1, ' ', spaces);
    s->piece.length += spaces + 1;
    return true;
}

static bool
put_plain(struct cop__stream *s, const cop_value *value)
{
    size_t needed = 0;
    if (!cop__buffer_reserve(&s->piece, 64))
        return false;
    size_t room = s->piece.capacity - s->piece.length;
    cop_status status = cop_json_value(value, s->piece.data + s->piece.length, room, &needed);
    if (status == COP_E_RANGE) {
        if (!cop__buffer_reserve(&s->piece, needed + 1))
            return false;
        room = s->piece.capacity - s->piece.length;
        status = cop_json_value(value, s->piece.data + s->piece.length, room, &needed);
    }
    if (status != COP_OK)
        return false;
    s->piece.length += needed;
    return true;
}

/* {"$bytes":"..."}, laid out as the object it looks like. */
static bool
put_tagged(struct cop__stream *s, const cop_value *value)
{
    const size_t name = sizeof "{\"$bytes\":" - 1; /* as long with $error */
    size_t begin = s->piece.length;
    if (!put_plain(s, value))
        return false;
    size_t content = s->piece.length - begin - name - 1;
    struct cop__buffer text = s->piece;
    s->piece = (struct cop__buffer){0};
    s->depth++;
    bool good = cop__buffer_add(&s->piece, text.data, begin + 1) && put_line(s) &&
                cop__buffer_add(&s->piece, text.data + begin + 1, name - 1) && put(s, " ") &&
                cop__buffer_add(&s->piece, text.data + begin + name, content);
    s->depth--;
    cop__buffer_free(&text);
    return good && put_line(s) && put(s, "}");
}

static bool
put_scalar(struct cop__stream *s, const cop_value *value)
{
    bool tagged = value->type == COP_BYTES || value->type == COP_ERROR;
    return tagged && s->options.indent ? put_tagged(s, value) : put_plain(s, value);
}

static bool
put_key(struct cop__stream *s, const cop_child *child)
{
    char key[COP_PATH_MAX];
    size_t n = 0;
    if (cop_path_unescape(child->key, child->key_length, key, sizeof key, &n, NULL) != COP_OK)
        return false;
    cop_value text = cop_string(key, n);
    return put_plain(s, &text) && put(s, s->options.indent ? ": " : ":");
}

static bool
open_level(struct cop__stream *s, cop_atom atom, bool array)
{
    if (s->depth == s->capacity) {
        size_t capacity = s->capacity ? s->capacity * 2 : 8;
        struct level *levels = realloc(s->levels, capacity * sizeof *levels);
        if (!levels)
            return false;
        s->levels = levels;
        s->capacity = capacity;
    }
    struct level *level = &s->levels[s->depth];
    if (cop_cursor_open(s->snapshot, atom, &level->cursor) != COP_OK)
        return false;
    level->array = array;
    level->any = false;
    s->depth++;
    return put(s, array ? "[" : "{");
}

static bool
put_value(struct cop__stream *s, cop_atom atom, const cop_value *value)
{
    cop_type type = cop_value_type(value);
    bool array = type == COP_ARRAY;
    if (type != COP_OBJECT && !array)
        return put_scalar(s, value);
    if (s->options.depth && s->depth >= s->options.depth)
        return put(s, array ? "[]" : "{}");
    return open_level(s, atom, array);
}

static bool
put_child(struct cop__stream *s, struct level *level, const cop_child *child)
{
    if (level->any && !put(s, ","))
        return false;
    level->any = true;
    return put_line(s) && (level->array || put_key(s, child)) &&
           put_value(s, child->atom, &child->value);
}

static bool
close_level(struct cop__stream *s, bool any, bool array)
{
    s->depth--;
    return (!any || put_line(s)) && put(s, array ? "]" : "}");
}

static bool
start(struct cop__stream *s)
{
    cop_value value;
    s->started = true;
    return cop_get(s->snapshot, s->atom, &value) == COP_OK && put_value(s, s->atom, &value);
}

/* One child, one end of a level, or the end. */
static bool
step(struct cop__stream *s)
{
    cop_child child;
    if (!s->started)
        return start(s);
    if (!s->depth) {
        s->finished = true;
        return !s->newline || put(s, "\n");
    }
    struct level *level = &s->levels[s->depth - 1];
    if (cop_cursor_next(&level->cursor, &child))
        return put_child(s, level, &child);
    return close_level(s, level->any, level->array);
}

long long
cop__stream_read(struct cop__stream *s, char *bytes, size_t n)
{
    if (s->sent == s->piece.length) {
        s->piece.length = 0;
        s->sent = 0;
        while (!s->finished && s->piece.length < n)
            if (!step(s))
                return -1;
    }
    size_t left = s->piece.length - s->sent;
    size_t now = left < n ? left : n;
    memcpy(bytes, s->piece.data + s->sent, now);
    s->sent += now;
    return (long long)now;
}

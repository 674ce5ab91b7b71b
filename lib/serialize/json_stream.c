/* SPDX-License-Identifier: MIT */
/*
 * JSON in steps: see json_stream.h.
 *
 * The walk is that of json_compact.c, with a stack of lists, one for each open branch; between two
 * steps it rests on the stack and in the queue of pieces (json_pieces.h). A child goes straight
 * into the window when the short way of json_fast.h can put it there; else, and with other options
 * than the default ones, by pieces.
 *
 * BOUNDS OF A STEP. Each turn of the loop in `run` writes at least one byte, or passes over a lazy
 * member, of which a step takes as many as its window has bytes. A piece is written by parts that
 * the window has room for, but for the last one (json_pieces.h). What is looked at ahead is at most
 * a block of children for each branch that is opened. So a step is O(size), however long texts and
 * lists are. Memory is one block and the stack; nothing of the document is copied but short texts.
 *
 * ERRORS. The child in work has not been taken from its list when memory or a lazy atom is refused,
 * so the next step begins with it again.
 *
 * Thread-safe as far as the snapshot is, which is held: nothing here is shared. The block is given
 * back before the hold, since the store's account may go with that.
 */
#include <coppice/json_stream.h>

#include "monitor/monitor.h"
#include "serialize/json_fast.h"
#include "serialize/json_internal.h"
#include "serialize/json_pieces.h"

#define INLINE_LEVELS 16u

typedef struct level {
    cop__json_list list;
    bool array;
    char separator; /* before the next child: the bracket, later a comma */
} level;

struct cop_json_stream {
    const cop_snapshot *snapshot; /* kept */
    const cop_snapshot *root; /* that it leads to, while it is entered */
    cop__memory *memory;
    cop_json_write_options options;
    bool fast; /* the short way writes what these options ask for */
    uint64_t spent_ns;
    cop__json_pieces pieces;
    cop__json_reader reader;
    cop__json_reader ahead;
    level *levels;
    uint32_t depth, capacity;
    level first_levels[INLINE_LEVELS];
};

/* ---- levels ---- */

static size_t
levels_size(uint32_t capacity)
{
    return capacity * sizeof(level);
}

static void
free_levels(cop_json_stream *s)
{
    if (s->levels != s->first_levels)
        cop__memory_free(s->memory, COP_MEMORY_OTHER, s->levels, levels_size(s->capacity), 16);
}

static bool
grow_levels(cop_json_stream *s)
{
    uint32_t capacity = 2 * s->capacity;
    level *grown = cop__memory_alloc(s->memory, COP_MEMORY_OTHER, levels_size(capacity), 16);
    if (!grown)
        return false;
    memcpy(grown, s->levels, levels_size(s->depth));
    free_levels(s);
    s->levels = grown;
    s->capacity = capacity;
    return true;
}

/* A branch whose key has been put; there is room for its level. */
static void
open_branch(cop_json_stream *s, const cop__slot *slot)
{
    bool array = cop__slot_type(slot) == COP_ARRAY;
    if (s->options.depth != 0 && s->depth == s->options.depth)
        cop__json_pieces_bytes(&s->pieces, array ? "[]" : "{}", 2);
    else
        s->levels[s->depth++] =
            (level){cop__json_list_of(s->root, slot), array, array ? '[' : '{'};
}

/* The separator as a text that stays. */
static const char *
letter(char separator)
{
    return strchr(",[{", separator);
}

static void
close_branch(cop_json_stream *s)
{
    const level *l = &s->levels[--s->depth];
    if (l->separator != ',')
        cop__json_char(&s->pieces.out, l->separator);
    else
        cop__json_pieces_line(&s->pieces, s->options.indent, s->depth);
    if (s->pieces.count > 0)
        cop__json_pieces_bytes(&s->pieces, l->array ? "]" : "}", 1);
    else
        cop__json_char(&s->pieces.out, l->array ? ']' : '}'); /* may hang over */
}

/* ---- children ---- */

/* What stands before a child, the short way; false: it cannot be put there. */
static inline bool
put_begin(cop_json_stream *s, const level *l, uint32_t id)
{
    cop__json_out *out = &s->pieces.out;
    size_t room = cop__json_pieces_room(&s->pieces);
    if (l->array) {
        *out->at++ = l->separator; /* a step goes on only while there is room */
        return true;
    }
    const cop__name *name = cop__json_member(&s->reader, id);
    size_t n = cop__name_length(name);
    if (cop__unlikely(room < n + COP__JSON_KEY_ROOM))
        return false;
    char *at = cop__json_fast_key(out->at, l->separator, cop__name_segment(name), n);
    if (cop__unlikely(at == NULL))
        return false;
    out->at = at;
    return true;
}

static inline bool
put_scalar(cop_json_stream *s, const cop__slot *slot)
{
    cop__json_out *out = &s->pieces.out;
    size_t room = cop__json_pieces_room(&s->pieces);
    if (cop__unlikely(room < COP__JSON_SCALAR_ROOM))
        return false;
    char *at = cop__json_fast_scalar(out->at, room, slot);
    if (cop__unlikely(at == NULL))
        return false;
    out->at = at;
    return true;
}

static void
add_value(cop_json_stream *s, const cop_value *value)
{
    cop__json_pieces_value(&s->pieces, value, s->options.indent, s->depth);
}

/* A value that the short way does not write; at once, if it fits whatever is escaped in it. */
static void
put_value(cop_json_stream *s, const cop__slot *slot, bool fast)
{
    cop_value value = cop__slot_value(slot);
    size_t most = COP__JSON_SCALAR_ROOM;
    if (cop_value_is_text(&value))
        most += 6 * (size_t)cop_value_length(&value);
    if (fast && most <= cop__json_pieces_room(&s->pieces))
        cop__json_value_text(&s->pieces.out, &value, 0, 0);
    else
        add_value(s, &value);
}

static void
add_begin(cop_json_stream *s, const level *l, uint32_t id)
{
    cop__json_pieces_bytes(&s->pieces, letter(l->separator), 1);
    cop__json_pieces_line(&s->pieces, s->options.indent, s->depth);
    if (l->array)
        return;
    const cop__name *name = cop__json_member(&s->reader, id);
    cop__json_pieces_name(&s->pieces, cop__name_segment(name), cop__name_length(name), s->options.indent);
}

static void
put_child(cop_json_stream *s, level *l, const cop__slot *slot)
{
    uint32_t id = *l->list.id;
    bool fast = s->fast && put_begin(s, l, id);
    if (!fast)
        add_begin(s, l, id);
    l->separator = ',';
    if (cop__slot_is_branch(slot)) {
        cop__json_look_ahead(&s->ahead, &l->list);
        l->list.id++;
        open_branch(s, slot);
        return;
    }
    l->list.id++;
    if (!fast || !put_scalar(s, slot))
        put_value(s, slot, fast);
}

/* A lazy one that is evaluated. */
static cop_status
put_evaluated(cop_json_stream *s, level *l, const cop__slot *slot)
{
    cop_value value;
    uint32_t id = *l->list.id;
    cop_status status = cop_get(s->root, (cop_atom){id, slot->reserved}, &value);
    if (status != COP_OK)
        return status;
    add_begin(s, l, id);
    l->separator = ',';
    l->list.id++;
    add_value(s, &value);
    return COP_OK;
}

/* The next child of the innermost branch, or its end. */
static cop_status
put_next(cop_json_stream *s, size_t *passes)
{
    if (cop__unlikely(s->depth == s->capacity) && !grow_levels(s))
        return COP_E_MEMORY;
    level *l = &s->levels[s->depth - 1];
    if (!cop__json_list_more(s->root, &l->list)) {
        close_branch(s);
        return COP_OK;
    }
    const cop__slot *slot = cop__json_slot(&s->reader, *l->list.id);
    if (cop__unlikely(cop__slot_is_lazy(slot))) {
        if (s->options.lazy)
            return put_evaluated(s, l, slot);
        if (!l->array) {
            l->list.id++;
            --*passes;
            return COP_OK;
        }
    }
    put_child(s, l, slot);
    return COP_OK;
}

/* ---- steps ---- */

/* Something is left to be put; what hangs over is not counted. */
static inline bool
unfinished(const cop_json_stream *s)
{
    return s->depth > 0 || s->pieces.count > 0;
}

static cop_status
run(cop_json_stream *s, size_t passes)
{
    cop_status status = COP_OK;
    while (status == COP_OK && passes > 0 && unfinished(s) &&
           cop__json_pieces_room(&s->pieces) > 0) {
        if (s->pieces.count > 0)
            cop__json_pieces_put(&s->pieces);
        else
            status = put_next(s, &passes);
    }
    return status;
}

cop_status
cop_json_stream_next(cop_json_stream *stream, char *buffer, size_t size, size_t *written,
                     bool *more)
{
    if (!stream || !buffer || !size || !written || !more)
        return COP_E_INVALID;
    cop_store *store = stream->snapshot->store;
    *written = 0;
    *more = true;
    if (!store)
        return COP_E_FORKED;
    uint64_t began = cop__monitor_clock(store);
    cop__entered entered;
    cop_status status = cop__snapshot_enter(stream->snapshot, &entered);
    if (status != COP_OK)
        return status;
    cop__json_pieces_begin(&stream->pieces, buffer, size);
    status = run(stream, size);
    *written = cop__json_pieces_end(&stream->pieces);
    *more = unfinished(stream) || stream->pieces.held > 0;
    cop__snapshot_leave(&entered);
    if (began != 0)
        stream->spent_ns += cop__clock_ns() - began;
    if (!*more && *written > 0 && stream->spent_ns != 0)
        cop__monitor_record(store, COP_MEASURE_SERIALIZE, stream->spent_ns);
    return *written > 0 ? COP_OK : status;
}

/* ---- opening and closing ---- */

static void
begin(cop_json_stream *s, const cop_snapshot *root, cop_atom atom, const cop_value *value)
{
    s->root = root;
    s->fast = !s->options.indent && !s->options.ascii;
    s->spent_ns = 0;
    s->reader = s->ahead = cop__json_reader_of(root);
    s->levels = s->first_levels;
    s->depth = 0;
    s->capacity = INLINE_LEVELS;
    cop__json_pieces_init(&s->pieces, s->options.ascii);
    if (value->type >= COP_OBJECT)
        open_branch(s, cop__json_slot(&s->reader, atom.id));
    else
        add_value(s, value);
}

/* In the record `root`, which `snapshot` leads to. */
static cop_status
stream_new(const cop_snapshot *snapshot, const cop_snapshot *root, cop_atom atom,
           cop_json_write_options taken, cop_json_stream **stream)
{
    cop_value value;
    cop_status status = cop_get(root, atom, &value);
    if (status != COP_OK)
        return status;
    cop__memory *memory = root->store->memory;
    cop_json_stream *s = cop__memory_alloc(memory, COP_MEMORY_OTHER, sizeof *s, 16);
    if (!s)
        return COP_E_MEMORY;
    status = cop_snapshot_keep(snapshot);
    if (status != COP_OK) {
        cop__memory_free(memory, COP_MEMORY_OTHER, s, sizeof *s, 16);
        return status;
    }
    s->memory = memory;
    s->options = taken;
    s->snapshot = snapshot;
    begin(s, root, atom, &value);
    *stream = s;
    return COP_OK;
}

cop_status
cop_json_stream_open(const cop_snapshot *snapshot, cop_atom atom,
                     const cop_json_write_options *options, cop_json_stream **stream)
{
    cop__entered entered;
    cop_json_write_options taken;
    if (!stream)
        return COP_E_INVALID;
    *stream = NULL;
    if (!snapshot || !cop__json_write_options_take(options, &taken))
        return COP_E_INVALID;
    cop_status status = cop__snapshot_enter(snapshot, &entered);
    if (status != COP_OK)
        return status;
    status = stream_new(snapshot, entered.root, atom, taken, stream);
    cop__snapshot_leave(&entered);
    return status;
}

void
cop_json_stream_close(cop_json_stream *stream)
{
    if (!stream)
        return;
    const cop_snapshot *snapshot = stream->snapshot;
    free_levels(stream);
    cop__memory_free(stream->memory, COP_MEMORY_OTHER, stream, sizeof *stream, 16);
    cop_snapshot_drop(snapshot);
}

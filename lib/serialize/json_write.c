/* SPDX-License-Identifier: MIT */
/*
 * A snapshot, or a branch of it, as JSON text.
 *
 * The tree is walked with a stack of cursors, one for each open branch; the text goes through a
 * buffer of fixed size to the sink. The compact layout has a faster walk of its own (json_compact.c);
 * keys and values are put by json_text.c either way.
 *
 * Thread-safe as far as the snapshot is: nothing here is shared. Not blocking but for the sink.
 */
#include <coppice/json.h>

#include "monitor/monitor.h"
#include "serialize/json_compact.h"
#include "serialize/json_internal.h"
#include "serialize/json_text.h"

#define BUFFER_BYTES 16384
#define INLINE_FRAMES 16
#define INDENT_MAX 16

struct frame {
    cop_cursor cursor;
    bool array;
    bool begun; /* a child has been written */
};

struct writer {
    cop__json_out out;
    const cop_snapshot *snapshot;
    cop_json_write_options options;
    struct frame *frames;
    uint32_t depth, capacity;
    struct frame first_frames[INLINE_FRAMES];
    char buffer[BUFFER_BYTES];
};

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
        cop__json_value_text(&w->out, value, w->options.indent, w->depth);
        return COP_OK;
    }
    if (!room_for_frame(w))
        return COP_E_MEMORY;
    struct frame *f = &w->frames[w->depth];
    f->array = array;
    f->begun = false;
    w->depth++;
    cop__json_char(&w->out, array ? '[' : '{');
    return cop_cursor_open(w->snapshot, atom, &f->cursor);
}

static void
close_branch(struct writer *w)
{
    struct frame *f = &w->frames[--w->depth];
    if (f->begun)
        cop__json_line(&w->out, w->options.indent, w->depth);
    cop__json_char(&w->out, f->array ? ']' : '}');
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
            cop__json_char(&w->out, ',');
        f->begun = true;
        cop__json_line(&w->out, w->options.indent, w->depth);
        if (!f->array)
            cop__json_name(&w->out, child.key, child.key_length, w->options.indent);
        status = put_atom(w, child.atom, &child.value);
    }
    return status;
}

bool
cop__json_write_options_take(const cop_json_write_options *options,
                             cop_json_write_options *taken)
{
    *taken = (cop_json_write_options)COP_JSON_WRITE_OPTIONS_INIT;
    if (options && !cop__json_options_copy(taken, sizeof *taken, options))
        return false;
    return taken->indent <= INDENT_MAX;
}

static cop_status
write_text(const cop_snapshot *snapshot, cop_atom atom, cop_json_write_options taken,
           cop_sink_function sink, void *context)
{
    cop_value value;
    cop_status status = cop_get(snapshot, atom, &value);
    if (status)
        return status;
    cop_store *store = cop_snapshot_store(snapshot);
    uint64_t began = cop__monitor_clock(store);
    struct writer *w = malloc(sizeof *w); /* hosts run this on small stacks too */
    if (!w)
        return COP_E_MEMORY;
    w->out = cop__json_out_to(w->buffer, sizeof w->buffer, sink, context);
    w->out.mask |= taken.ascii ? COP__JSON_ASCII : 0;
    w->snapshot = snapshot;
    w->options = taken;
    w->frames = w->first_frames;
    w->depth = 0;
    w->capacity = INLINE_FRAMES;
    if (value.type >= COP_OBJECT && !taken.indent && !taken.lazy && !taken.ascii) {
        status = cop__json_compact(&w->out, snapshot, atom, taken.depth);
    } else {
        status = put_atom(w, atom, &value);
        if (!status)
            status = put_children(w);
    }
    if (!status)
        cop__json_flush(&w->out);
    if (!status && w->out.stopped)
        status = COP_E_IO;
    if (w->frames != w->first_frames)
        free(w->frames);
    free(w);
    cop__monitor_took(store, COP_MEASURE_SERIALIZE, began);
    return status;
}

cop_status
cop_json_write(const cop_snapshot *snapshot, cop_atom atom, const cop_json_write_options *options,
               cop_sink_function sink, void *context)
{
    cop__entered entered;
    cop_json_write_options taken;
    if (!snapshot || !sink || !cop__json_write_options_take(options, &taken))
        return COP_E_INVALID;
    cop_status status = cop__snapshot_enter(snapshot, &entered);
    if (status)
        return status;
    status = write_text(entered.root, atom, taken, sink, context);
    cop__snapshot_leave(&entered);
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
    cop__json_out out = cop__json_out_to(window, sizeof window, keep, &target);
    cop__json_value_text(&out, value, 0, 0);
    cop__json_flush(&out);
    if (length)
        *length = target.length;
    bool fits = target.length < capacity;
    if (capacity)
        buffer[fits ? target.length : 0] = '\0'; /* what is cut is no JSON: left empty */
    return fits ? COP_OK : COP_E_RANGE;
}

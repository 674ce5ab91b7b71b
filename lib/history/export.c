/* SPDX-License-Identifier: MIT */
/* Kept versions into a file: the first one whole, the others as what changed. The format is in file.h. */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "history/use.h"

#include "history/file.h"
#include "reclaim/gate.h"
#include "tree/difference.h"
#include "tree/list.h"

typedef struct writer {
    cop_store *store;
    cop_sink_function sink;
    void *sink_context;
    XXH3_state_t all;
    uint64_t records;
    /* the record that is being made */
    char *bytes;
    size_t used, capacity;
    cop_status failed;
    cop__diff_pair pair; /* before NULL: the first one */
    /* of the branch whose moves are being written, as in restore.c */
    cop_atom walked;
    cop_cursor cursor;
    cop_child before;
    char path[COP_PATH_MAX + 1];
} writer;

/* ---- bytes ---- */

static void
put(writer *w, const void *bytes, size_t n)
{
    if (!cop__memory_grow(w->store->memory, COP_MEMORY_HISTORY, &w->bytes, &w->capacity, w->used + n,
                          sizeof *w->bytes)) {
        w->failed = COP_E_MEMORY;
        return;
    }
    if (n > 0)
        memcpy(w->bytes + w->used, bytes, n);
    w->used += n;
}

static void
put_byte(writer *w, uint8_t byte)
{
    put(w, &byte, 1);
}

static void
put_u64(writer *w, uint64_t n)
{
    uint8_t bytes[8];
    for (unsigned i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(n >> (8 * i));
    put(w, bytes, sizeof bytes);
}

static void
put_size(writer *w, uint64_t n)
{
    for (; n >= 0x80; n >>= 7)
        put_byte(w, (uint8_t)(n | 0x80));
    put_byte(w, (uint8_t)n);
}

static void
put_text(writer *w, const char *text, size_t n)
{
    put_size(w, n);
    put(w, text, n);
}

/* ---- nodes ---- */

static void
put_value(writer *w, const cop_value *value)
{
    put_byte(w, value->type);
    if (value->type == COP_BOOL)
        put_byte(w, cop_value_bool(value));
    else if (value->type == COP_I64)
        put_u64(w, (uint64_t)cop_value_i64(value));
    else if (value->type == COP_F64) {
        double number = cop_value_f64(value);
        uint64_t bits;
        memcpy(&bits, &number, sizeof bits);
        put_u64(w, bits);
    } else if (cop_value_is_text(value))
        put_text(w, cop_value_data(value), cop_value_length(value));
}

/* One child; a branch's own children follow. False: it has none. */
static bool
put_child(writer *w, const cop_child *child)
{
    bool source = cop__is_source(w->pair.now, child->atom);
    const cop_value null = cop_null();
    if (!source && child->key != NULL)
        return false;
    put_byte(w, 1);
    if (child->key != NULL)
        put_text(w, child->key, child->key_length);
    put_value(w, source ? &child->value : &null);
    return source && child->value.type >= COP_OBJECT;
}

/* What is below a branch of the version. */
static cop_status
put_below(writer *w, cop_atom branch)
{
    cop__memory *memory = w->store->memory;
    size_t bytes = (COP_DEPTH_MAX + 1) * sizeof(cop_cursor);
    cop_cursor *cursor = cop__memory_alloc(memory, COP_MEMORY_HISTORY, bytes, 16);
    uint32_t depth = 1;
    cop_child child;
    if (cursor == NULL)
        return COP_E_MEMORY;
    cop_status status = cop_cursor_open(w->pair.now, branch, &cursor[0]);
    while (status == COP_OK && w->failed == COP_OK && depth > 0) {
        if (!cop_cursor_next(&cursor[depth - 1], &child)) {
            put_byte(w, 0);
            depth--;
        } else if (put_child(w, &child)) {
            COP_ALWAYS(depth <= COP_DEPTH_MAX); /* paths are no longer */
            status = cop_cursor_open(w->pair.now, child.atom, &cursor[depth++]);
        }
    }
    cop__memory_free(memory, COP_MEMORY_HISTORY, cursor, bytes, 16);
    return status != COP_OK ? status : w->failed;
}

static cop_status
put_node(writer *w, cop_atom atom, const cop__slot *slot)
{
    cop_value value = cop__slot_value(slot);
    put_value(w, &value);
    return value.type >= COP_OBJECT ? put_below(w, atom) : w->failed;
}

/* ---- edits ---- */

static cop_status
put_path(writer *w, uint8_t edit, cop_atom atom)
{
    size_t length = 0;
    cop_status status = cop_atom_path(w->pair.now, atom, w->path, sizeof w->path, &length);
    put_byte(w, edit);
    put_text(w, w->path, length);
    return status;
}

/* The key by which an object lists an atom; false: an element of an array. */
static bool
key_of(const cop_snapshot *snapshot, cop_atom atom, const char **key, size_t *length)
{
    const cop__name *name = cop__info_name(cop__root_info(snapshot, atom.id));
    if (name == NULL)
        return false;
    *key = cop__name_segment(name);
    *length = cop__name_length(name);
    return true;
}

static void
put_key(writer *w, const cop_snapshot *snapshot, cop_atom atom)
{
    const char *key = "";
    size_t length = 0;
    (void)key_of(snapshot, atom, &key, &length);
    put_text(w, key, length);
}

static void
put_before(writer *w, const cop_atom *sibling)
{
    put_byte(w, sibling != NULL);
    if (sibling != NULL)
        put_key(w, w->pair.now, *sibling);
}

static cop_status
put_remove(writer *w, const cop__edit *edit, bool named)
{
    cop_status status = put_path(w, named ? COP_FILE_REMOVE : COP_FILE_REMOVE_AT, edit->branch);
    if (named)
        put_key(w, w->pair.before, edit->atom);
    else
        put_size(w, edit->from);
    return status;
}

/* Behind the nearest source atom that both versions have: see restore.c. */
static cop_status
put_move_named(writer *w, const cop__edit *edit)
{
    cop_child child = {.atom = {0, 0}};
    cop_status status = COP_OK;
    if (w->walked.generation == 0 || w->walked.id != edit->branch.id) {
        w->walked = edit->branch;
        w->before.atom = (cop_atom){0, 0};
        status = cop_cursor_open(w->pair.now, edit->branch, &w->cursor);
    }
    while (status == COP_OK && cop_cursor_next(&w->cursor, &child) && child.atom.id != edit->atom.id)
        if (cop__is_source(w->pair.now, child.atom) && cop__is_source(w->pair.before, child.atom))
            w->before = child;
    if (status == COP_OK)
        status = put_path(w, COP_FILE_MOVE, edit->branch);
    put_key(w, w->pair.now, edit->atom);
    put_before(w, w->before.atom.generation != 0 ? &w->before.atom : NULL);
    w->before.atom = edit->atom;
    return status;
}

static cop_status
put_move(writer *w, const cop__edit *edit, bool named)
{
    if (named)
        return put_move_named(w, edit);
    cop_status status = put_path(w, COP_FILE_MOVE_AT, edit->branch);
    put_size(w, edit->from);
    put_size(w, edit->position);
    return status;
}

/* All that come before it in the version are there when it is added. */
static cop_status
put_add_named(writer *w, const cop__edit *edit)
{
    cop_atom sibling = {0, 0};
    bool found = false;
    cop_status status = put_path(w, COP_FILE_ADD, edit->branch);
    for (uint32_t at = edit->position; status == COP_OK && at > 0 && !found; at--) {
        status = cop_child_at(w->pair.now, edit->branch, at - 1, &sibling);
        found = status == COP_OK && cop__is_source(w->pair.now, sibling);
    }
    put_key(w, w->pair.now, edit->atom);
    put_before(w, found ? &sibling : NULL);
    return status == COP_OK ? put_node(w, edit->atom, edit->now) : status;
}

static cop_status
put_add(writer *w, const cop__edit *edit, bool named, bool computed)
{
    const cop_value null = cop_null();
    if (named)
        return put_add_named(w, edit);
    cop_status status = put_path(w, COP_FILE_ADD_AT, edit->branch);
    put_size(w, edit->position);
    if (computed)
        put_value(w, &null);
    return status != COP_OK || computed ? status : put_node(w, edit->atom, edit->now);
}

static cop_status
put_edit(void *context, const cop__edit *edit)
{
    writer *w = context;
    const cop__slot *slot = edit->now != NULL ? edit->now : edit->before;
    bool computed = cop__edit_is_computed(edit) || cop__slot_is_lazy(slot);
    const char *key;
    size_t length;
    bool named = key_of(edit->kind == COP_EDIT_REMOVE ? w->pair.before : w->pair.now, edit->atom, &key,
                        &length);
    const cop__slot *branch = cop__root_atom(w->pair.now, edit->branch);
    bool owned = branch != NULL && (branch->type & COP_SLOT_COMPUTED) != 0;
    cop_status status;
    if (owned || (computed && (named || edit->kind == COP_EDIT_REPLACE)))
        return COP_OK;
    switch (edit->kind) {
    case COP_EDIT_REMOVE:
        status = put_remove(w, edit, named);
        break;
    case COP_EDIT_MOVE:
        status = put_move(w, edit, named);
        break;
    case COP_EDIT_ADD:
        status = put_add(w, edit, named, computed);
        break;
    default:
        status = put_path(w, COP_FILE_SET, edit->atom);
        if (status == COP_OK)
            status = put_node(w, edit->atom, edit->now);
    }
    return status != COP_OK ? status : w->failed;
}

/* ---- records ---- */

static cop_status
send(writer *w, const void *bytes, size_t n)
{
    XXH3_64bits_update(&w->all, bytes, n);
    return n == 0 || w->sink(w->sink_context, bytes, n) == 0 ? COP_OK : COP_E_IO;
}

static cop_status
payload_make(writer *w, const cop_history_entry *entry)
{
    w->used = 0;
    w->walked = (cop_atom){0, 0};
    put_u64(w, entry->version);
    put_u64(w, entry->time_ns);
    put_byte(w, entry->pinned);
    put_byte(w, (uint8_t)entry->label_length);
    put(w, entry->label, entry->label_length);
    if (w->pair.before != NULL)
        return cop__tree_edits(w->store->memory, w->pair, cop_root(), put_edit, w);
    cop_status status = put_path(w, COP_FILE_SET, cop_root());
    return status == COP_OK ? put_node(w, cop_root(), cop__root_slot(w->pair.now, 0)) : status;
}

static cop_status
record_write(writer *w, const cop_history_entry *entry)
{
    cop_status status = payload_make(w, entry);
    if (status != COP_OK || w->failed != COP_OK)
        return status != COP_OK ? status : w->failed;
    size_t n = w->used;
    uint64_t sum = XXH3_64bits(w->bytes, n);
    put(w, COP_FILE_RECORD, 4);
    put_u64(w, n);
    put_u64(w, sum);
    if (w->failed != COP_OK)
        return w->failed;
    w->records++;
    status = send(w, w->bytes + n, 12);
    if (status == COP_OK)
        status = send(w, w->bytes, n);
    return status == COP_OK ? send(w, w->bytes + n + 12, 8) : status;
}

/* The versions that are kept when their turn comes. */
static cop_status
versions_write(writer *w)
{
    cop_history_entry entry;
    cop_status status;
    for (uint64_t v = 0; (status = cop__history_hold_next(w->store, v, UINT64_MAX, &entry,
                                                          &w->pair.now)) == COP_OK;
         v = entry.version + 1) {
        status = record_write(w, &entry);
        cop__history_let_go(w->pair.before);
        w->pair.before = w->pair.now;
        if (status != COP_OK)
            break;
    }
    cop__history_let_go(w->pair.before);
    return status == COP_E_ABSENT ? COP_OK : status;
}

static cop_status
file_write(writer *w)
{
    static const uint8_t format[4] = {COP_FILE_FORMAT, 0, 0, 0};
    cop_status status = send(w, COP_FILE_MAGIC, 8);
    if (status == COP_OK)
        status = send(w, format, sizeof format);
    if (status == COP_OK)
        status = versions_write(w);
    if (status != COP_OK)
        return status;
    w->used = 0;
    put(w, COP_FILE_END, 4);
    put_u64(w, w->records);
    if (w->failed != COP_OK)
        return w->failed;
    status = send(w, w->bytes, 12);
    w->used = 0;
    put_u64(w, XXH3_64bits_digest(&w->all));
    return status == COP_OK ? send(w, w->bytes, 8) : status;
}

cop_status
cop_history_export(cop_store *store, cop_sink_function sink, void *context, uint64_t *versions,
                   cop_error *error)
{
    cop_status status = cop__store_usable(store);
    if (versions != NULL)
        *versions = 0;
    if (status != COP_OK)
        return cop__fail(error, status, "%s", cop_status_message(status));
    cop__gate_use(store->gate);
    writer *w = cop__memory_zalloc(store->memory, COP_MEMORY_HISTORY, sizeof *w, 64);
    status = COP_E_MEMORY;
    if (w != NULL) {
        w->store = store;
        w->sink = sink;
        w->sink_context = context;
        XXH3_64bits_reset(&w->all);
        status = file_write(w);
        if (versions != NULL)
            *versions = w->records;
        cop__memory_free(store->memory, COP_MEMORY_HISTORY, w->bytes, w->capacity, 16);
        cop__memory_free(store->memory, COP_MEMORY_HISTORY, w, sizeof *w, 64);
    }
    cop__gate_end_use(store->gate);
    return status == COP_OK ? COP_OK : cop__fail(error, status, "%s", cop_status_message(status));
}

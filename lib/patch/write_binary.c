/* SPDX-License-Identifier: MIT */
/*
 * The binary format, written: docs/patches.md has it byte by byte.
 *
 * Strings come before the operations that name them, so operations are gathered first.
 */
#include "patch/patch.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "tree/path.h"

typedef struct place {
    uint64_t hash; /* 0: free */
    uint32_t number;
    uint32_t length;
    size_t at; /* in `strings` */
} place;

typedef struct binary {
    cop__patch_writer *w;
    cop__bytes strings, ops, last, path; /* last: the path of the last operation */
    place *table;
    size_t table_capacity;
    uint32_t string_count;
    uint64_t count;
    cop__items items;
} binary;

/* ---- strings ---- */

static bool
table_grow(binary *b)
{
    size_t wide = b->table_capacity > 0 ? b->table_capacity * 2 : 64;
    place *table = cop__memory_zalloc(b->w->memory, COP_MEMORY_OTHER, wide * sizeof *table, 16);
    if (table == NULL)
        return false;
    for (size_t i = 0; i < b->table_capacity; i++) {
        size_t at = b->table[i].hash & (wide - 1);
        if (b->table[i].hash == 0)
            continue;
        while (table[at].hash != 0)
            at = (at + 1) & (wide - 1);
        table[at] = b->table[i];
    }
    cop__memory_free(b->w->memory, COP_MEMORY_OTHER, b->table, b->table_capacity * sizeof *table,
                     16);
    b->table = table;
    b->table_capacity = wide;
    return true;
}

/* The number of a string, which is told with its first use. */
static uint32_t
intern(binary *b, const char *text, size_t length)
{
    uint64_t hash = XXH3_64bits(text, length);
    hash += hash == 0;
    if (b->string_count * (size_t)2 >= b->table_capacity && !table_grow(b)) {
        b->ops.status = COP_E_MEMORY;
        return 0;
    }
    size_t mask = b->table_capacity - 1, at = hash & mask;
    for (; b->table[at].hash != 0; at = (at + 1) & mask)
        if (b->table[at].hash == hash && b->table[at].length == length &&
            memcmp(b->strings.at + b->table[at].at, text, length) == 0)
            return b->table[at].number;
    cop__bytes_varint(&b->strings, length);
    size_t begins = b->strings.used;
    cop__bytes_put(&b->strings, text, length);
    if (b->strings.status != COP_OK) /* it is not there to be compared with */
        return 0;
    b->table[at] = (place){hash, b->string_count, (uint32_t)length, begins};
    return b->string_count++;
}

/* ---- paths ---- */

/* A position is a number, wherever it stands: the reader makes the same text of it. */
static void
put_segment(binary *b, const char *segment, size_t length)
{
    uint32_t position;
    if (cop__segment_index(segment, length, &position))
        cop__bytes_varint(&b->ops, (uint64_t)position << 1 | 1);
    else
        cop__bytes_varint(&b->ops, (uint64_t)intern(b, segment, length) << 1);
}

/* The number of segments that two paths begin with, and the bytes of them with the '/' behind. */
static uint32_t
shared_segments(const cop__bytes *a, const cop__bytes *b, size_t *bytes)
{
    uint32_t n = 0;
    *bytes = 0;
    for (size_t i = 0; i <= a->used && i <= b->used; i++) {
        bool a_ends = i == a->used || a->at[i] == '/', b_ends = i == b->used || b->at[i] == '/';
        if (a_ends && b_ends && i > 0) {
            n++;
            *bytes = i < b->used ? i + 1 : i;
        }
        if (i == a->used || i == b->used || a->at[i] != b->at[i])
            break;
    }
    return n;
}

static uint32_t
count_segments(const cop__bytes *path)
{
    uint32_t n = path->used > 0;
    for (size_t i = 0; i < path->used; i++)
        n += path->at[i] == '/';
    return n;
}

/* b->path, as what it shares with the last one and the rest. */
static void
put_path(binary *b)
{
    size_t bytes, end;
    uint32_t n = shared_segments(&b->last, &b->path, &bytes);
    cop__bytes_varint(&b->ops, n);
    cop__bytes_varint(&b->ops, count_segments(&b->path) - n);
    for (size_t at = bytes; at < b->path.used; at = end + 1) {
        const char *slash = memchr(b->path.at + at, '/', b->path.used - at);
        end = slash != NULL ? (size_t)(slash - b->path.at) : b->path.used;
        put_segment(b, b->path.at + at, end - at);
    }
    cop__bytes swap = b->last;
    b->last = b->path;
    b->path = swap;
    b->count++;
}

static cop_status
begin_path(binary *b, cop_atom branch)
{
    const char *path;
    size_t length;
    cop_status status = cop__patch_path(b->w, branch, &path, &length);
    b->path.used = 0;
    if (status == COP_OK)
        cop__bytes_put(&b->path, path, length);
    return status == COP_OK ? b->path.status : status;
}

static void
add_segment(binary *b, const char *segment, size_t length)
{
    if (b->path.used > 0)
        cop__bytes_text(&b->path, "/");
    cop__bytes_put(&b->path, segment, length);
}

/* ---- values ---- */

static void
put_number(binary *b, const cop_value *value)
{
    uint64_t bits = (uint64_t)cop_value_i64(value);
    unsigned char bytes[8];
    if (value->type == COP_I64) {
        cop__bytes_varint(&b->ops, bits << 1 ^ (bits >> 63 ? UINT64_MAX : 0));
        return;
    }
    for (unsigned i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(bits >> 8 * i);
    cop__bytes_put(&b->ops, bytes, sizeof bytes);
}

static void
put_item(binary *b, const cop__item *item)
{
    unsigned char tag = item->value.type;
    if (item->key != NULL)
        cop__bytes_varint(&b->ops, intern(b, item->key, item->key_length));
    if (tag == COP_BOOL && !cop_value_bool(&item->value))
        tag = 0;
    cop__bytes_put(&b->ops, &tag, 1);
    if (tag == COP_I64 || tag == COP_F64)
        put_number(b, &item->value);
    else if (cop_value_is_text(&item->value))
        cop__bytes_varint(&b->ops,
                          intern(b, cop_value_data(&item->value), cop_value_length(&item->value)));
    else if (tag >= COP_OBJECT)
        cop__bytes_varint(&b->ops, item->count);
}

static cop_status
put_value(binary *b, uint32_t id)
{
    cop_status status =
        cop__items_take(&b->items, (cop__view){b->w->pair.now, NULL}, id, COP_PATCH_ITEMS_MAX);
    for (size_t i = 0; status == COP_OK && i < b->items.count; i++)
        put_item(b, &b->items.item[i]);
    return status;
}

/* ---- operations ---- */

static void
put_what(binary *b, cop__doc_step_what what)
{
    unsigned char byte = (unsigned char)what;
    cop__bytes_put(&b->ops, &byte, 1);
}

static cop_status
ended(binary *b, cop_status status)
{
    if (status == COP_OK && b->last.status != COP_OK)
        status = b->last.status;
    if (status == COP_OK && b->strings.status != COP_OK)
        status = b->strings.status;
    return status == COP_OK ? b->ops.status : status;
}

static cop_status
tell_value(binary *b, const cop__edit *edit)
{
    bool member = cop__info_name(cop__root_info(b->w->pair.now, edit->atom.id)) != NULL;
    bool lazy = member && cop__edit_is_lazy(edit->now);
    bool added = member && cop__edit_is_lazy(edit->before);
    cop_status status = begin_path(b, edit->atom);
    if (status != COP_OK)
        return status;
    put_what(b, lazy ? COP_DOC_REMOVE : added ? COP_DOC_ADD : COP_DOC_REPLACE);
    put_path(b);
    if (added && !lazy)
        cop__bytes_varint(&b->ops, 0);
    return ended(b, lazy ? COP_OK : put_value(b, edit->atom.id));
}

static void
add_position(binary *b, uint32_t position)
{
    cop__bytes digits = {.memory = b->w->memory};
    cop__bytes_number(&digits, position);
    add_segment(b, digits.at, digits.used);
    cop__bytes_end(&digits);
}

static cop_status
tell_child(binary *b, const cop__edit *edit, bool array)
{
    static const cop__doc_step_what what[] = {[COP_EDIT_REMOVE] = COP_DOC_REMOVE,
                                              [COP_EDIT_MOVE] = COP_DOC_MOVE,
                                              [COP_EDIT_ADD] = COP_DOC_ADD};
    bool added = edit->kind == COP_EDIT_ADD;
    cop_status status = begin_path(b, edit->branch);
    if (status != COP_OK)
        return status;
    if (array) {
        add_position(b, added ? edit->position : edit->from);
    } else {
        size_t length;
        const cop_snapshot *root = edit->now != NULL ? b->w->pair.now : b->w->pair.before;
        const char *key = cop__patch_key(root, edit->atom.id, &length);
        add_segment(b, key, length);
    }
    put_what(b, what[edit->kind]);
    put_path(b);
    if (edit->kind == COP_EDIT_MOVE)
        cop__bytes_varint(&b->ops, edit->position);
    else if (added)
        cop__bytes_varint(&b->ops, array ? 0 : (uint64_t)edit->position + 1);
    return ended(b, added ? put_value(b, edit->atom.id) : COP_OK);
}

static cop_status
tell(void *context, const cop__edit *edit)
{
    binary *b = context;
    if (edit->kind == COP_EDIT_REPLACE)
        return tell_value(b, edit);
    const cop__slot *branch = cop__root_slot(b->w->pair.now, edit->branch.id);
    bool array = cop__slot_type(branch) == COP_ARRAY;
    bool lazy = cop__edit_is_lazy(edit->now != NULL ? edit->now : edit->before);
    return lazy && !array ? COP_OK : tell_child(b, edit, array);
}

/* The document is another atom, or in one version only. */
static cop_status
tell_whole(binary *b)
{
    const cop_snapshot *before = b->w->pair.before, *now = b->w->pair.now;
    const cop__slot *was = cop__root_atom(before, b->w->before);
    const cop__slot *is = cop__root_atom(now, b->w->now);
    bool had = was != NULL && !cop__slot_is_lazy(was), has = is != NULL && !cop__slot_is_lazy(is);
    if (!had && !has)
        return COP_OK;
    put_what(b, !has ? COP_DOC_REMOVE : had ? COP_DOC_REPLACE : COP_DOC_ADD);
    put_path(b);
    if (has && !had)
        cop__bytes_varint(&b->ops, 0);
    return ended(b, has ? put_value(b, b->w->now.id) : COP_OK);
}

/* ---- the document ---- */

static void
put_sum(cop__bytes *out, uint64_t sum)
{
    unsigned char bytes[8];
    for (unsigned i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(sum >> 8 * i);
    cop__bytes_put(out, bytes, sizeof bytes);
}

static uint64_t
sum_of(const cop__bytes *head, const cop__bytes *ops)
{
    XXH3_state_t state;
    XXH3_64bits_reset(&state);
    XXH3_64bits_update(&state, head->at, head->used);
    XXH3_64bits_update(&state, ops->at, ops->used);
    return XXH3_64bits_digest(&state);
}

static cop_status
put_all(binary *b)
{
    cop__bytes head = {.memory = b->w->memory};
    cop__bytes_put(&head, COP_PATCH_MAGIC, 5);
    cop__bytes_varint(&head, b->w->pair.before->version);
    cop__bytes_varint(&head, b->w->pair.now->version);
    cop__bytes_varint(&head, b->string_count);
    cop__bytes_put(&head, b->strings.at, b->strings.used);
    cop__bytes_varint(&head, b->count);
    uint64_t sum = sum_of(&head, &b->ops);
    cop__bytes *out = &b->w->out;
    cop__bytes_put(out, head.at, head.used);
    cop__bytes_put(out, b->ops.at, b->ops.used);
    put_sum(out, sum);
    cop_status status = head.status != COP_OK ? head.status : out->status;
    cop__bytes_end(&head);
    return status;
}

cop_status
cop__patch_write_binary(cop__patch_writer *w)
{
    binary b = {.w = w};
    b.strings.memory = b.ops.memory = b.last.memory = b.path.memory = b.items.memory = w->memory;
    cop_status status = cop__patch_same_atom(w)
                            ? cop__tree_edits(w->memory, w->pair, w->now, tell, &b)
                            : tell_whole(&b);
    if (status == COP_OK)
        status = put_all(&b);
    cop__memory_free(w->memory, COP_MEMORY_OTHER, b.table, b.table_capacity * sizeof *b.table, 16);
    cop__bytes_end(&b.strings);
    cop__bytes_end(&b.ops);
    cop__bytes_end(&b.last);
    cop__bytes_end(&b.path);
    cop__items_end(&b.items);
    return status;
}

/* SPDX-License-Identifier: MIT */
/*
 * A JSON Merge Patch (RFC 7396) from the edits between two versions.
 *
 * It is a document of what is to be merged in, so edits are first gathered as CHANGES, a path and
 * what becomes of it, then sorted, and written as one tree. An array is replaced whole, the
 * outermost one of several. What a merge patch cannot say: that a member is null (null removes), in
 * what is new too, and that an object gives way to another one (they would be merged).
 */
#include "patch/patch.h"
#include "patch/pointer.h"
#include "store/log.h"

typedef struct change {
    size_t path;
    uint32_t length;
    bool removed;
    bool was_object; /* where it is removed: a new one there would be merged into it */
    cop_atom atom;   /* of `now` */
} change;

typedef struct merge {
    cop__patch_writer *w;
    cop__bytes paths;
    change *change;
    size_t count, capacity;
    cop__items items; /* scratch */
} merge;

static cop_status
cannot(merge *m, const char *path, size_t length, const char *why)
{
    return cop__fail(m->w->error, COP_E_UNSUPPORTED, "a merge patch cannot say at \"%.*s\" %s",
                     (int)(length < 128 ? length : 128), path, why);
}

/* ---- gathering ---- */

/* What JSON writes as an object: bytes and errors are too. */
static bool
is_object(const cop__slot *slot)
{
    cop_type type = slot != NULL ? cop__slot_type(slot) : COP_NONE;
    return type == COP_OBJECT || type == COP_BYTES || type == COP_ERROR;
}

/* Whether one may be merged into the other: both are no objects, or tagged alike. */
static bool
gives_way(const cop__slot *before, const cop__slot *now)
{
    if (!is_object(before) || !is_object(now))
        return true;
    return cop__slot_type(before) == cop__slot_type(now) && !cop__slot_is_branch(now);
}

static cop_status
add_change(merge *m, cop_atom branch, const char *key, size_t key_length, change what)
{
    const char *path;
    size_t length;
    cop_status status = cop__patch_path(m->w, branch, &path, &length);
    if (status != COP_OK)
        return status;
    if (!cop__memory_grow(m->w->memory, COP_MEMORY_OTHER, &m->change, &m->capacity, m->count + 1,
                          sizeof *m->change))
        return COP_E_MEMORY;
    what.path = m->paths.used;
    cop__bytes_put(&m->paths, path, length);
    if (key != NULL && length > 0)
        cop__bytes_text(&m->paths, "/");
    cop__bytes_put(&m->paths, key, key_length);
    what.length = (uint32_t)(m->paths.used - what.path);
    m->change[m->count++] = what;
    return m->paths.status;
}

/* The outermost array at or above a branch, within the document; generation 0: there is none. */
static cop_atom
array_above(const merge *m, uint32_t id)
{
    const cop_snapshot *now = m->w->pair.now;
    cop_atom array = {0, 0};
    for (;; id = cop__info_parent((cop__view){now, NULL}, cop__root_info(now, id))) {
        const cop__slot *slot = cop__root_slot(now, id);
        if (cop__slot_type(slot) == COP_ARRAY)
            array = (cop_atom){id, slot->reserved};
        if (id == m->w->now.id)
            return array;
    }
}

static cop_status
gather_member(merge *m, const cop__edit *edit)
{
    bool removed = edit->kind == COP_EDIT_REMOVE;
    const cop_snapshot *root = removed ? m->w->pair.before : m->w->pair.now;
    size_t length;
    const char *key = cop__patch_key(root, edit->atom.id, &length);
    if (cop__edit_is_lazy(removed ? edit->before : edit->now))
        return COP_OK;
    change what = {.removed = removed, .was_object = is_object(edit->before), .atom = edit->atom};
    return add_change(m, edit->branch, key, length, what);
}

static cop_status
gather_value(merge *m, const cop__edit *edit)
{
    const char *path;
    size_t length;
    change what = {.removed = cop__edit_is_lazy(edit->now), .atom = edit->atom};
    if (!gives_way(edit->before, edit->now)) {
        cop_status status = cop__patch_path(m->w, edit->atom, &path, &length);
        return status == COP_OK ? cannot(m, path, length, "that an object gives way to another")
                                : status;
    }
    return add_change(m, edit->atom, NULL, 0, what);
}

static cop_status
gather(void *context, const cop__edit *edit)
{
    merge *m = context;
    cop_atom array = array_above(m, edit->branch.id);
    bool becomes_array = edit->kind == COP_EDIT_REPLACE && array.id == edit->atom.id;
    if (array.generation != 0 && !becomes_array)
        return add_change(m, array, NULL, 0, (change){.atom = array});
    if (edit->kind == COP_EDIT_MOVE)
        return COP_OK;
    return edit->kind == COP_EDIT_REPLACE ? gather_value(m, edit) : gather_member(m, edit);
}

/* ---- order ---- */

/* As bytes, '/' before all others: what is below a path follows it at once. */
static int
compare_paths(const char *a, size_t n, const char *b, size_t m)
{
    size_t i = 0, least = n < m ? n : m;
    while (i < least && a[i] == b[i])
        i++;
    if (i == least)
        return n < m ? -1 : n > m;
    if (a[i] == '/' || b[i] == '/')
        return a[i] == '/' ? -1 : 1;
    return (unsigned char)a[i] < (unsigned char)b[i] ? -1 : 1;
}

/* Merge sort bottom up, stable: of one path a removal was gathered before an addition. */
static void
merge_runs(const merge *m, const change *from, change *to, size_t left, size_t right, size_t end)
{
    size_t a = left, b = right;
    for (size_t i = left; i < end; i++) {
        bool first = a < right &&
                     (b >= end || compare_paths(m->paths.at + from[a].path, from[a].length,
                                                m->paths.at + from[b].path, from[b].length) <= 0);
        to[i] = first ? from[a++] : from[b++];
    }
}

static cop_status
sort_changes(merge *m)
{
    size_t n = m->count, bytes = m->capacity * sizeof(change);
    if (n < 2)
        return COP_OK;
    change *other = cop__memory_alloc(m->w->memory, COP_MEMORY_OTHER, bytes, 16);
    if (other == NULL)
        return COP_E_MEMORY;
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t left = 0; left < n; left += width * 2) {
            size_t right = left + width < n ? left + width : n;
            size_t end = right + width < n ? right + width : n;
            merge_runs(m, m->change, other, left, right, end);
        }
        change *sorted = other;
        other = m->change;
        m->change = sorted;
    }
    cop__memory_free(m->w->memory, COP_MEMORY_OTHER, other, bytes, 16);
    return COP_OK;
}

/* ---- values ---- */

/* The item behind an item and all that is below it. */
static size_t
behind(const cop__item *item, size_t at)
{
    size_t left = 1;
    for (; left > 0; at++)
        left = left - 1 + item[at].count;
    return at;
}

static bool
is_null(const cop_value *value)
{
    double f = value->type == COP_F64 ? cop_value_f64(value) : 0;
    return value->type == COP_NULL || f - f != 0; /* not finite: null in JSON */
}

/* No member of an object is null; arrays are taken as they are. */
static cop_status
check_value(merge *m, const change *c)
{
    m->items.memory = m->w->memory;
    cop_status status = cop__items_take(&m->items, (cop__view){m->w->pair.now, NULL}, c->atom.id,
                                        COP_PATCH_ITEMS_MAX);
    const cop__item *item = m->items.item;
    for (size_t i = 0; status == COP_OK && i < m->items.count;) {
        if (is_null(&item[i].value))
            return cannot(m, m->paths.at + c->path, c->length, "that a value is null");
        i = item[i].value.type == COP_ARRAY ? behind(item, i) : i + 1;
    }
    return status;
}

static cop_status
put_change(merge *m, const change *c)
{
    cop__bytes *out = &m->w->out;
    if (c->removed) {
        cop__bytes_text(out, "null");
        return out->status;
    }
    cop_status status = check_value(m, c);
    if (status == COP_OK)
        status = cop__patch_put_json(m->w, c->atom);
    return out->status != COP_OK ? out->status : status;
}

/* ---- the tree ---- */

static bool
begins_alike(const merge *m, const change *a, const change *b, size_t n)
{
    return n == 0 || memcmp(m->paths.at + a->path, m->paths.at + b->path, n) == 0;
}

static bool
same_path(const merge *m, const change *a, const change *b)
{
    return a->length == b->length && begins_alike(m, a, b, a->length);
}

/* a is b, or above it. */
static bool
covers(const merge *m, const change *a, const change *b)
{
    if (a->length > b->length || !begins_alike(m, a, b, a->length))
        return false;
    return a->length == 0 || a->length == b->length || m->paths.at[b->path + a->length] == '/';
}

/* Bytes of whole segments that the paths of two changes begin with, of their branches. */
static size_t
shared(const merge *m, const change *a, const change *b)
{
    const char *x = m->paths.at + a->path, *y = m->paths.at + b->path;
    size_t i = 0, whole = 0;
    for (; i < a->length && i < b->length && x[i] == y[i]; i++)
        if (x[i] == '/')
            whole = i + 1;
    return whole;
}

static void
close_objects(merge *m, const change *c, size_t from)
{
    for (size_t i = from; i < c->length; i++)
        if (m->paths.at[c->path + i] == '/')
            cop__bytes_text(&m->w->out, "}");
}

/* The keys of a change's path from an offset on, and the value. */
static cop_status
open_and_put(merge *m, const change *c, size_t from)
{
    const char *path = m->paths.at + c->path;
    while (from < c->length) {
        const char *slash = memchr(path + from, '/', c->length - from);
        size_t end = slash != NULL ? (size_t)(slash - path) : c->length;
        cop__bytes_text(&m->w->out, "\"");
        cop__pointer_key(&m->w->out, path + from, end - from);
        cop__bytes_text(&m->w->out, slash != NULL ? "\":{" : "\":");
        from = end + 1;
    }
    return put_change(m, c);
}

/* Several changes of one path become one; those below a value that is written whole are in it. */
static cop_status
unite(merge *m)
{
    size_t kept = 0;
    for (size_t i = 0; i < m->count; i++) {
        change *last = kept > 0 ? &m->change[kept - 1] : NULL, *c = &m->change[i];
        if (last != NULL && same_path(m, last, c) && last->removed && !c->removed) {
            if (last->was_object && is_object(cop__root_slot(m->w->pair.now, c->atom.id)))
                return cannot(m, m->paths.at + c->path, c->length,
                              "that an object gives way to another");
            *last = *c;
        } else if (last == NULL || !covers(m, last, c)) {
            m->change[kept++] = *c;
        }
    }
    m->count = kept;
    return COP_OK;
}

static cop_status
put_tree(merge *m)
{
    const change *last = NULL;
    cop_status status = COP_OK;
    cop__bytes_text(&m->w->out, "{");
    for (size_t i = 0; i < m->count && status == COP_OK; i++) {
        const change *c = &m->change[i];
        size_t from = last != NULL ? shared(m, last, c) : 0;
        if (last != NULL) {
            close_objects(m, last, from);
            cop__bytes_text(&m->w->out, ",");
        }
        status = open_and_put(m, c, from);
        last = c;
    }
    if (last != NULL)
        close_objects(m, last, 0);
    cop__bytes_text(&m->w->out, "}");
    return status;
}

/* ---- the document ---- */

static cop_status
write_whole(merge *m)
{
    cop__patch_writer *w = m->w;
    const cop__slot *before = cop__root_atom(w->pair.before, w->before);
    const cop__slot *now = cop__root_atom(w->pair.now, w->now);
    change c = {.removed = now == NULL || cop__slot_is_lazy(now), .atom = w->now};
    if (!c.removed && !cop__patch_same_atom(w) && !gives_way(before, now))
        return cannot(m, "", 0, "that an object gives way to another");
    return put_change(m, &c);
}

static cop_status
write_changes(merge *m)
{
    cop_status status = cop__tree_edits(m->w->memory, m->w->pair, m->w->now, gather, m);
    if (status == COP_OK)
        status = sort_changes(m);
    if (status == COP_OK)
        status = unite(m);
    if (status != COP_OK)
        return status;
    bool object = cop__slot_type(cop__root_atom(m->w->pair.now, m->w->now)) == COP_OBJECT;
    bool whole = m->count > 0 ? m->change[0].length == 0 : !object;
    return whole ? write_whole(m) : put_tree(m);
}

cop_status
cop__patch_write_merge(cop__patch_writer *w)
{
    merge m = {.w = w};
    m.paths.memory = m.items.memory = w->memory;
    cop_status status = cop__patch_same_atom(w) ? write_changes(&m) : write_whole(&m);
    cop__memory_free(w->memory, COP_MEMORY_OTHER, m.change, m.capacity * sizeof(change), 16);
    cop__bytes_end(&m.paths);
    cop__items_end(&m.items);
    return status;
}

/* SPDX-License-Identifier: MIT */
/*
 * Reading one version: values, branches, paths. Everything here is reached from a root record that
 * the caller holds, is immutable, and is read with plain loads; nothing is written and nothing
 * waits (the argument is in tree.h).
 *
 * A record in which nothing is found may be hollow: a forked child's, or a handle, through which is read
 * elsewhere (read_hollow.c).
 */
#include <stdio.h>

#include "tree/directory.h"
#include "tree/path.h"
#include "tree/read_hollow.h"
#include "tree/tree.h"

static cop__view
view_of(const cop_snapshot *snapshot)
{
    return (cop__view){snapshot, NULL};
}

uint64_t
cop_snapshot_version(const cop_snapshot *snapshot)
{
    return snapshot->version;
}

cop_store *
cop_snapshot_store(const cop_snapshot *snapshot)
{
    return snapshot->store;
}

uint64_t
cop_snapshot_time(const cop_snapshot *snapshot)
{
    return snapshot->time_ns;
}

uint64_t
cop_snapshot_atoms(const cop_snapshot *snapshot)
{
    return snapshot->atoms;
}

/* ---- values ---- */

/* A slot that is no plain value: a branch, or a lazy atom, whose read is the only one that may run a
 * function. */
static __attribute__((noinline)) cop_status
slot_rare(const cop_snapshot *snapshot, const cop__slot *slot, cop_value *value)
{
    memset(value, 0, sizeof *value);
    if (cop__slot_is_lazy(slot))
        return cop__slot_lazy(slot)->get(cop__slot_lazy(slot), snapshot, value, NULL);
    value->type = (uint8_t)cop__slot_type(slot);
    return COP_OK;
}

/* What is left of cop_get once no living slot was found, or no plain value. */
static __attribute__((noinline)) cop_status
get_rare(const cop_snapshot *snapshot, cop_atom atom, cop_value *value)
{
    const cop__slot *slot = cop__root_atom(snapshot, atom);
    if (slot != NULL)
        return slot_rare(snapshot, slot, value);
    if (cop__hollow(snapshot))
        return cop__hollow_get(snapshot, atom, value);
    memset(value, 0, sizeof *value);
    return COP_E_GONE;
}

/* The slot's words, if it lives and holds a plain value or a text. In a forked child count reads 0. */
static inline bool
get_words(const cop_snapshot *snapshot, cop_atom atom, uint64_t word[2])
{
    const cop__space_root *values = &snapshot->space[COP_SPACE_VALUES];
    uint32_t number = atom.id >> COP_SLOT_BITS;
    if (cop__unlikely(number >= values->count))
        return false;
    const cop__slot *page = cop__space_page_dense(values, number);
    memcpy(word, &page[atom.id & (COP_SLOTS - 1)], 2 * sizeof *word);
    unsigned type = (unsigned)(word[0] & COP_SLOT_TYPE);
    return cop__likely((word[0] >> 16 & UINT16_MAX) == atom.generation &&
                       type - COP_NULL <= COP_ERROR - COP_NULL);
}

/* The hottest read: about 35 instructions, so that the processor overlaps the cache misses of as
 * many lookups as it can. */
cop_status
cop_get(const cop_snapshot *snapshot, cop_atom atom, cop_value *value)
{
    uint64_t word[2];
    if (cop__unlikely(!get_words(snapshot, atom, word)))
        return get_rare(snapshot, atom, value);
    word[0] = cop__slot_public_word(word[0]);
    memcpy(value, word, sizeof word);
    return COP_OK;
}

#define LOOKAHEAD 8

cop_status
cop_get_many(const cop_snapshot *snapshot, const cop_atom *atoms, size_t n, cop_value *values)
{
    cop_status status = COP_OK;
    if (cop__hollow(snapshot))
        return cop__hollow_get_many(snapshot, atoms, n, values);
    for (size_t i = 0; i < n; i++) {
        if (i + LOOKAHEAD < n) {
            const cop__slot *ahead = cop__root_slot(snapshot, atoms[i + LOOKAHEAD].id);
            if (ahead != NULL)
                __builtin_prefetch(ahead);
        }
        cop_status one = cop_get(snapshot, atoms[i], &values[i]);
        if (one != COP_OK)
            status = one;
    }
    return status;
}

/* The payload of a value that is of another type than wanted, or gone, or lazy. An i64 serves as f64. */
static __attribute__((noinline)) cop_status
typed_rare(const cop_snapshot *snapshot, cop_atom atom, cop_type wanted, cop_value *value)
{
    cop_status status = cop_get(snapshot, atom, value);
    if (status == COP_OK && value->type == COP_I64 && wanted == COP_F64)
        *value = cop_f64((double)cop_value_i64(value));
    return status == COP_OK && value->type != wanted ? COP_E_TYPE : status;
}

static __attribute__((noinline)) cop_status
bool_rare(const cop_snapshot *snapshot, cop_atom atom, bool *out)
{
    cop_value value;
    cop_status status = typed_rare(snapshot, atom, COP_BOOL, &value);
    if (status == COP_OK)
        *out = cop_value_bool(&value);
    return status;
}

/* Eight bytes of a number. */
static __attribute__((noinline)) cop_status
number_rare(const cop_snapshot *snapshot, cop_atom atom, cop_type wanted, void *out)
{
    cop_value value;
    cop_status status = typed_rare(snapshot, atom, wanted, &value);
    if (status == COP_OK)
        memcpy(out, &value.small.words[1], sizeof(uint64_t));
    return status;
}

static inline bool
get_typed(const cop_snapshot *snapshot, cop_atom atom, cop_type type, uint64_t *payload)
{
    uint64_t word[2];
    if (cop__unlikely(!get_words(snapshot, atom, word) || (word[0] & COP_SLOT_TYPE) != type))
        return false;
    *payload = word[1];
    return true;
}

cop_status
cop_get_bool(const cop_snapshot *snapshot, cop_atom atom, bool *out)
{
    uint64_t payload;
    if (cop__unlikely(!get_typed(snapshot, atom, COP_BOOL, &payload)))
        return bool_rare(snapshot, atom, out);
    *out = payload != 0;
    return COP_OK;
}

cop_status
cop_get_i64(const cop_snapshot *snapshot, cop_atom atom, int64_t *out)
{
    uint64_t payload;
    if (cop__unlikely(!get_typed(snapshot, atom, COP_I64, &payload)))
        return number_rare(snapshot, atom, COP_I64, out);
    *out = (int64_t)payload;
    return COP_OK;
}

cop_status
cop_get_f64(const cop_snapshot *snapshot, cop_atom atom, double *out)
{
    uint64_t payload;
    if (cop__unlikely(!get_typed(snapshot, atom, COP_F64, &payload)))
        return number_rare(snapshot, atom, COP_F64, out);
    memcpy(out, &payload, sizeof *out);
    return COP_OK;
}

static __attribute__((noinline)) cop_status
lazy_string(const cop_snapshot *snapshot, const cop__slot *slot, const char **text, size_t *length)
{
    cop_value value;
    const cop_value *kept = NULL;
    cop_status status = cop__slot_lazy(slot)->get(cop__slot_lazy(slot), snapshot, &value, &kept);
    if (status != COP_OK)
        return status;
    if (value.type != COP_STRING)
        return COP_E_TYPE;
    *text = cop_value_data(kept);
    *length = cop_value_length(kept);
    return COP_OK;
}

cop_status
cop_get_string(const cop_snapshot *snapshot, cop_atom atom, const char **text, size_t *length)
{
    const cop__slot *slot = cop__root_atom(snapshot, atom);
    if (slot == NULL)
        return cop__hollow(snapshot) ? cop__hollow_get_string(snapshot, atom, text, length)
                                     : COP_E_GONE;
    if (cop__unlikely(cop__slot_is_lazy(slot)))
        return lazy_string(snapshot, slot, text, length);
    if (cop__slot_type(slot) != COP_STRING)
        return COP_E_TYPE;
    *text = cop_value_data(slot); /* leads into the page or the block, not into a copy */
    *length = cop_value_length(slot);
    return COP_OK;
}

/* ---- paths ---- */

static cop_atom
atom_of(const cop_snapshot *snapshot, uint32_t id)
{
    const cop__slot *slot = cop__root_slot(snapshot, id);
    return (cop_atom){id, slot->reserved};
}

/* A path that the directory does not have as it is: malformed, absent, or through an array. */
static __attribute__((noinline)) cop_status
find_rare(const cop_snapshot *snapshot, const char *path, size_t length, cop_atom *atom)
{
    *atom = (cop_atom){0, 0};
    if (cop__hollow(snapshot))
        return cop__hollow_find(snapshot, path, length, atom);
    cop_status status = cop_path_check(path, length, NULL);
    if (status != COP_OK)
        return status;
    cop__found found = cop__path_resolve(view_of(snapshot), path, length);
    if (!found.found)
        return COP_E_ABSENT;
    *atom = atom_of(snapshot, found.id);
    return COP_OK;
}

/* A path that is found is well-formed, since only well-formed ones get in: misses are checked. In a
 * forked child there is no bucket (and none would be indexed by a count of 0). */
static inline cop__named
lookup(const cop_snapshot *snapshot, const char *path, size_t length, const cop__slot **slot)
{
    if (cop__unlikely(length == 0 || length > COP_PATH_MAX || snapshot->buckets == 0))
        return (cop__named){0};
    return cop__directory_lookup(snapshot, path, length, slot);
}

cop_status
cop_find(const cop_snapshot *snapshot, const char *path, size_t length, cop_atom *atom)
{
    const cop__slot *slot;
    cop__named named = lookup(snapshot, path, length, &slot);
    if (cop__unlikely(named.name == NULL))
        return find_rare(snapshot, path, length, atom);
    *atom = (cop_atom){named.id, slot->reserved};
    return COP_OK;
}

cop_status
cop_get_at(const cop_snapshot *snapshot, const char *path, size_t length, cop_value *value)
{
    const cop__slot *slot;
    if (cop__likely(lookup(snapshot, path, length, &slot).name != NULL)) {
        uint64_t word[2];
        memcpy(word, slot, sizeof word);
        if (cop__unlikely((word[0] & COP_SLOT_TYPE) >= COP_OBJECT))
            return slot_rare(snapshot, slot, value);
        word[0] = cop__slot_public_word(word[0]);
        memcpy(value, word, sizeof word);
        return COP_OK;
    }
    cop_atom atom;
    memset(value, 0, sizeof *value);
    cop_status status = find_rare(snapshot, path, length, &atom);
    return status == COP_OK ? cop_get(snapshot, atom, value) : status;
}

/* ---- branches ---- */

static cop_status
branch_slot(const cop_snapshot *snapshot, cop_atom branch, const cop__slot **slot)
{
    *slot = cop__root_atom(snapshot, branch);
    if (*slot == NULL)
        return COP_E_GONE;
    return cop__slot_is_branch(*slot) ? COP_OK : COP_E_NOT_BRANCH;
}

cop_status
cop_count(const cop_snapshot *snapshot, cop_atom branch, uint32_t *count)
{
    const cop__slot *slot;
    if (cop__hollow(snapshot))
        return cop__hollow_count(snapshot, branch, count);
    cop_status status = branch_slot(snapshot, branch, &slot);
    if (status == COP_OK)
        *count = cop__list_count(view_of(snapshot), slot);
    return status;
}

cop_status
cop_changed(const cop_snapshot *snapshot, cop_atom branch, uint64_t *version)
{
    const cop__slot *slot;
    if (cop__hollow(snapshot))
        return cop__hollow_changed(snapshot, branch, version);
    cop_status status = branch_slot(snapshot, branch, &slot);
    if (status == COP_OK)
        *version = cop__slot_changed(slot);
    return status;
}

cop_status
cop_child_at(const cop_snapshot *snapshot, cop_atom branch, uint32_t index, cop_atom *atom)
{
    const cop__slot *slot;
    if (cop__hollow(snapshot))
        return cop__hollow_child_at(snapshot, branch, index, atom);
    cop_status status = branch_slot(snapshot, branch, &slot);
    if (status != COP_OK)
        return status;
    if (index >= cop__list_count(view_of(snapshot), slot))
        return COP_E_RANGE;
    *atom = atom_of(snapshot, cop__list_at(view_of(snapshot), slot, index));
    return COP_OK;
}

cop_status
cop_child_named(const cop_snapshot *snapshot, cop_atom branch, const char *key, size_t length,
                cop_atom *atom)
{
    const cop__slot *slot;
    if (cop__hollow(snapshot))
        return cop__hollow_child_named(snapshot, branch, key, length, atom);
    cop_status status = branch_slot(snapshot, branch, &slot);
    if (status != COP_OK)
        return status;
    if (cop__slot_type(slot) != COP_OBJECT)
        return COP_E_NOT_BRANCH;
    char segment[COP_PATH_MAX];
    size_t written;
    if (cop_path_escape(key, length, segment, sizeof segment, &written, NULL) != COP_OK)
        return COP_E_ABSENT; /* no child can have such a key */
    cop__named child = cop__child_find(view_of(snapshot), branch.id, segment, written);
    if (child.name == NULL)
        return COP_E_ABSENT;
    *atom = (cop_atom){child.id, cop__name_generation(child.name)};
    return COP_OK;
}

/* ---- walking ---- */

/* A cursor's state: ids left of the current leaf (pointer, place and count), next leaf, index; the last
 * word is the status with which it ended early. */
static void
cursor_save(cop_cursor *cursor, const cop__list_walk *walk, uint32_t index)
{
    cursor->state[0] = (uint64_t)(uintptr_t)walk->id;
    cursor->state[1] = (uint64_t)walk->place << 32 | walk->count;
    cursor->state[2] = (uint64_t)walk->next_leaf << 32 | index;
}

cop_status
cop_cursor_open(const cop_snapshot *snapshot, cop_atom branch, cop_cursor *cursor)
{
    const cop__slot *slot;
    cop__list_walk walk = {0};
    if (cop__hollow(snapshot))
        return cop__hollow_cursor_open(snapshot, branch, cursor);
    cop_status status = branch_slot(snapshot, branch, &slot);
    if (status == COP_OK)
        cop__list_walk_begin(view_of(snapshot), slot, &walk);
    cursor->snapshot = snapshot;
    cursor->state[3] = 0;
    cursor_save(cursor, &walk, 0);
    return status;
}

static void
child_fill(const cop_snapshot *snapshot, uint32_t id, uint32_t index, cop_child *child)
{
    const cop__slot *slot = cop__root_slot(snapshot, id);
    const cop__name *name = cop__info_name(cop__root_info(snapshot, id));
    child->atom = (cop_atom){id, slot->reserved};
    child->value = cop__slot_value(slot);
    child->key = name != NULL ? cop__name_segment(name) : NULL;
    child->key_length = name != NULL ? cop__name_length(name) : 0;
    child->index = index;
}

cop_status
cop_cursor_status(const cop_cursor *cursor)
{
    return (cop_status)(int)(uint32_t)cursor->state[3];
}

bool
cop_cursor_next(cop_cursor *cursor, cop_child *child)
{
    if (cop__hollow(cursor->snapshot))
        return cop__hollow_cursor_next(cursor, child);
    cop__list_walk walk = {.id = (const uint32_t *)(uintptr_t)cursor->state[0],
                           .place = (uint32_t)(cursor->state[1] >> 32),
                           .count = (uint32_t)cursor->state[1],
                           .next_leaf = (uint32_t)(cursor->state[2] >> 32)};
    uint32_t index = (uint32_t)cursor->state[2];
    uint32_t id;
    if (!cop__list_walk_next(view_of(cursor->snapshot), &walk, &id))
        return false;
    cursor_save(cursor, &walk, index + 1);
    child_fill(cursor->snapshot, id, index, child);
    return true;
}

cop_status
cop_each(const cop_snapshot *snapshot, cop_atom branch, cop_each_function function, void *context,
         int *stopped)
{
    cop_cursor cursor;
    cop_child child;
    int result = 0;
    if (cop__hollow(snapshot))
        return cop__hollow_each(snapshot, branch, function, context, stopped);
    cop_status status = cop_cursor_open(snapshot, branch, &cursor);
    if (status != COP_OK)
        return status;
    while (result == 0 && cop_cursor_next(&cursor, &child))
        result = function(context, &child);
    if (stopped != NULL)
        *stopped = result;
    return COP_OK;
}

/* ---- upwards ---- */

cop_status
cop_parent(const cop_snapshot *snapshot, cop_atom atom, cop_atom *parent)
{
    if (cop__hollow(snapshot))
        return cop__hollow_parent(snapshot, atom, parent);
    if (cop__root_atom(snapshot, atom) == NULL)
        return COP_E_GONE;
    uint32_t id = cop__info_parent(view_of(snapshot), cop__root_info(snapshot, atom.id));
    if (id == UINT32_MAX)
        return COP_E_ABSENT;
    *parent = atom_of(snapshot, id);
    return COP_OK;
}

/* The position of an array's element. O(pages) in a long array, O(n) in a short one. */
static uint32_t
element_position(const cop_snapshot *snapshot, uint32_t id, cop__info info)
{
    if ((info & 3) == 1)
        return cop__list_position(view_of(snapshot), (uint32_t)(info >> 2), id);
    const cop__slot *array = cop__root_slot(snapshot, (uint32_t)(info >> 2));
    const cop__child_block *block = cop__slot_child_block(array);
    uint32_t position = 0;
    while (block->id[position] != id)
        position++;
    return position;
}

/* A path is written from its end; `need` counts also what no longer fits. */
typedef struct path_writer {
    char *buffer;
    size_t capacity;
    size_t need;
} path_writer;

static void
write_before(path_writer *writer, const char *text, size_t length)
{
    size_t separator = writer->need > 0 ? 1 : 0;
    writer->need += length + separator;
    if (writer->need >= writer->capacity)
        return;
    char *at = writer->buffer + writer->capacity - 1 - writer->need;
    memcpy(at, text, length);
    if (separator)
        at[length] = '/';
}

/* The way up to the anchor, whose id is returned. */
static uint32_t
write_name(path_writer *writer, const cop__name *name)
{
    for (;;) {
        const cop__name *above = cop__name_above(name);
        write_before(writer, name->text, cop__name_text_length(name));
        if (above == NULL)
            return cop__name_own_anchor(name);
        name = above;
    }
}

cop_status
cop_atom_path(const cop_snapshot *snapshot, cop_atom atom, char *buffer, size_t capacity,
              size_t *length)
{
    if (cop__hollow(snapshot))
        return cop__hollow_atom_path(snapshot, atom, buffer, capacity, length);
    if (cop__root_atom(snapshot, atom) == NULL)
        return COP_E_GONE;
    path_writer writer = {buffer, capacity, 0};
    for (uint32_t id = atom.id; id != 0;) {
        cop__info info = cop__root_info(snapshot, id);
        const cop__name *name = cop__info_name(info);
        if (info == 0)
            return COP_E_ABSENT;
        if (name != NULL) {
            id = write_name(&writer, name);
        } else {
            char digits[16];
            int n = snprintf(digits, sizeof digits, "%u", element_position(snapshot, id, info));
            write_before(&writer, digits, (size_t)n);
            id = cop__info_parent(view_of(snapshot), info);
            /* the array's own name goes on from here */
        }
    }
    *length = writer.need;
    if (writer.need >= capacity)
        return COP_E_RANGE;
    memmove(buffer, buffer + capacity - 1 - writer.need, writer.need);
    buffer[writer.need] = '\0';
    return COP_OK;
}

/* ---- everything ---- */

static int
scan_page(const cop__slot *page, uint32_t first_id, cop_scan_function function, void *context)
{
    cop_atom atoms[COP_SLOTS];
    cop_value values[COP_SLOTS];
    size_t n = 0;
    for (uint32_t i = 0; i < COP_SLOTS; i++) {
        if (!cop__slot_alive(&page[i]) || first_id + i == 0)
            continue;
        atoms[n] = (cop_atom){first_id + i, page[i].reserved};
        values[n++] = cop__slot_value(&page[i]);
    }
    return n > 0 ? function(context, atoms, values, n) : 0;
}

cop_status
cop_scan(const cop_snapshot *snapshot, cop_scan_function function, void *context)
{
    const cop__space_root *values = &snapshot->space[COP_SPACE_VALUES];
    if (cop__hollow(snapshot))
        return cop__hollow_scan(snapshot, function, context);
    for (uint32_t number = 0; number < values->count; number++) {
        const cop__slot *page = cop__space_page(values, number);
        if (page != NULL && scan_page(page, number << COP_SLOT_BITS, function, context) != 0)
            break;
    }
    return COP_OK;
}

/* SPDX-License-Identifier: MIT */
/*
 * Lists of changes: finding them between two versions, and the order in which they are told.
 *
 * A list names atoms by id and generation and has no values: those are read from the two versions
 * when a batch is iterated. So one list serves all watchers of a target, and needs 16 bytes a
 * change, and its path: a name has its last segment only, and the text that a batch gives out must
 * stay as long as the batch does.
 */
#include "watch/watch.h"

/* ---- room ---- */

bool
cop__watch_grow(cop__memory *memory, void *vector, size_t *capacity, size_t need, size_t element)
{
    void **p = vector;
    size_t wide = *capacity > 0 ? *capacity : 16;
    if (need <= *capacity)
        return true;
    while (wide < need)
        wide *= 2;
    void *moved =
        cop__memory_realloc(memory, COP_MEMORY_WATCH, *p, *capacity * element, wide * element);
    if (moved == NULL)
        return false;
    *p = moved;
    *capacity = wide;
    return true;
}

cop__watch_list *
cop__watch_list_new(cop__memory *memory)
{
    cop__watch_list *list = cop__memory_zalloc(memory, COP_MEMORY_WATCH, sizeof *list, 16);
    if (list == NULL)
        return NULL;
    list->memory = memory;
    atomic_init(&list->references, 1);
    return list;
}

void
cop__watch_list_drop(cop__watch_list *list)
{
    if (list == NULL || cop__sub_acq_rel(&list->references, 1u) != 1)
        return;
    cop__memory *memory = list->memory;
    cop__memory_free(memory, COP_MEMORY_WATCH, list->entry, list->capacity * sizeof *list->entry,
                     16);
    cop__memory_free(memory, COP_MEMORY_WATCH, list->text, list->text_capacity, 16);
    cop__memory_free(memory, COP_MEMORY_WATCH, list, sizeof *list, 16);
}

static void
text_add(cop__watch_list *list, cop__watch_entry *entry, const cop__watch_path *path)
{
    size_t at = list->text_used;
    if (path->length == 0) /* the root's */
        return;
    if (at + path->length >= UINT32_MAX ||
        !cop__watch_grow(list->memory, &list->text, &list->text_capacity, at + path->length, 1)) {
        list->refused = true;
        return;
    }
    memcpy(list->text + at, path->text, path->length);
    list->text_used += path->length;
    entry->text = (uint32_t)at + 1;
}

/* Erased ones by falling length of their paths, so children before their branch; created ones by
 * rising length. The rest stays as it came, by id. */
static uint32_t
key_of(const cop__watch_entry *entry)
{
    uint32_t length = entry->length < UINT16_MAX ? entry->length : UINT16_MAX;
    if (entry->what == COP_DIFF_ERASED)
        return UINT16_MAX - length;
    return (uint32_t)entry->what << 16 | (entry->what == COP_DIFF_CREATED ? length : 0);
}

void
cop__watch_list_add(cop__watch_list *list, const cop__watch_found *found, bool with_path)
{
    const cop__watch_path *path = &found->path;
    if (path->refused || !cop__watch_grow(list->memory, &list->entry, &list->capacity,
                                          list->count + 1, sizeof *list->entry)) {
        list->refused = true;
        return;
    }
    cop__watch_entry *entry = &list->entry[list->count++];
    *entry = (cop__watch_entry){.id = found->atom.id,
                                .generation = (uint16_t)found->atom.generation,
                                .what = (uint8_t)found->what,
                                .anonymous = path->text == NULL,
                                .length = (uint32_t)path->length};
    if (path->text != NULL && with_path)
        text_add(list, entry, path);
    uint32_t key = key_of(entry);
    list->unordered |= key < list->last_key;
    list->last_key = key;
}

/* ---- order ---- */

static uint8_t
digit_of(const cop__watch_entry *entry, unsigned shift)
{
    return (uint8_t)(key_of(entry) >> shift);
}

/* One pass of a radix sort, stable. False: all have the same digit, nothing was done. */
static bool
sort_by_digit(const cop__watch_entry *from, cop__watch_entry *to, size_t n, unsigned shift)
{
    size_t at[256] = {0}, sum = 0;
    for (size_t i = 0; i < n; i++)
        at[digit_of(&from[i], shift)]++;
    if (at[digit_of(&from[0], shift)] == n)
        return false;
    for (unsigned digit = 0; digit < 256; digit++) {
        size_t count = at[digit];
        at[digit] = sum;
        sum += count;
    }
    for (size_t i = 0; i < n; i++)
        to[at[digit_of(&from[i], shift)]++] = from[i];
    return true;
}

void
cop__watch_list_order(cop__watch_list *list)
{
    size_t bytes = list->capacity * sizeof *list->entry;
    if (list->refused || !list->unordered)
        return;
    cop__watch_entry *other = cop__memory_alloc(list->memory, COP_MEMORY_WATCH, bytes, 16);
    if (other == NULL) {
        list->refused = true;
        return;
    }
    for (unsigned shift = 0; shift <= 16; shift += 8)
        if (sort_by_digit(list->entry, other, list->count, shift)) {
            cop__watch_entry *sorted = other;
            other = list->entry;
            list->entry = sorted;
        }
    cop__memory_free(list->memory, COP_MEMORY_WATCH, other, bytes, 16);
}

/* ---- paths ---- */

static const cop__watch_path no_path;

/* A path through an array, put together. What has a place has a path: anonymous atoms are no
 * branches. */
static cop__watch_path
path_through_arrays(const cop_snapshot *root, cop_atom atom, cop__watch_scratch *scratch)
{
    cop__watch_path path = no_path;
    while (cop_atom_path(root, atom, scratch->text, scratch->capacity, &path.length) != COP_OK)
        if (!cop__watch_grow(scratch->memory, &scratch->text, &scratch->capacity, path.length + 1,
                             1)) {
            path.refused = true;
            return path;
        }
    path.text = scratch->text;
    return path;
}

cop__watch_path
cop__watch_path_of(const cop_snapshot *root, cop_atom atom, cop__watch_scratch *scratch)
{
    if (atom.id == 0)
        return (cop__watch_path){"", 0, false};
    cop__info info = cop__root_info(root, atom.id);
    const cop__name *name = cop__info_name(info);
    if (info == 0)
        return no_path;
    if (name == NULL || cop__name_anchor(name) != 0)
        return path_through_arrays(root, atom, scratch);
    if (!cop__watch_grow(scratch->memory, &scratch->text, &scratch->capacity, COP_PATH_MAX, 1))
        return (cop__watch_path){.refused = true};
    return (cop__watch_path){scratch->text, cop__name_path(name, scratch->text, scratch->capacity),
                             false};
}

void
cop__watch_scratch_end(cop__watch_scratch *scratch)
{
    cop__memory_free(scratch->memory, COP_MEMORY_WATCH, scratch->text, scratch->capacity, 16);
}

/* ---- finding ---- */

typedef struct finder {
    cop__diff_pair pair;
    cop__watch_scratch *scratch;
    cop__watch_find_function function;
    void *context;
} finder;

static void
find_one(void *context, uint32_t id, const cop__slot *before, const cop__slot *now)
{
    finder *f = context;
    cop__difference what[2];
    unsigned n = cop__diff_meaning(f->pair, before, now, what);
    for (unsigned i = 0; i < n; i++) {
        bool gone = what[i] == COP_DIFF_ERASED;
        cop__watch_found found = {.root = gone ? f->pair.before : f->pair.now,
                                  .atom = {id, gone ? before->reserved : now->reserved},
                                  .what = what[i]};
        found.path = cop__watch_path_of(found.root, found.atom, f->scratch);
        f->function(f->context, &found);
    }
}

void
cop__watch_find(cop__diff_pair pair, cop__watch_scratch *scratch, cop__watch_find_function function,
                void *context)
{
    finder f = {pair, scratch, function, context};
    cop__tree_diff(pair.before, pair.now, find_one, &f);
}

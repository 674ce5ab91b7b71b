/* SPDX-License-Identifier: MIT */
/*
 * The short way of writing compact JSON: straight from a version's pages, eight bytes at a time,
 * into a buffer whose room has been looked at before.
 *
 * Each function either writes all of its text at `at` and returns where it ends, or returns NULL
 * and has written nothing that counts: the key or value is then put by the functions of
 * json_text.h, which know every escape. Texts are read with whole-word loads that stay inside the
 * slot or the name they are in.
 *
 * Nothing is shared and nothing waits; the version is held by the caller (tree.h).
 */
#ifndef COP_SERIALIZE_JSON_FAST_H
#define COP_SERIALIZE_JSON_FAST_H

#include "serialize/json_number.h"
#include "serialize/json_text.h"
#include "tree/list.h"
#include "tree/tree.h"

/* Bytes that a scalar takes at most, a separator before it included, but for texts longer than
 * COP_INLINE_MAX; and that a key takes beside its own length. */
#define COP__JSON_SCALAR_ROOM 48u
#define COP__JSON_KEY_ROOM 16u

#define COP__JSON_EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

/* The high bit of each byte that may be one to escape or to look at closely: below 0x20, '"', '\\',
 * from 0x80 on. Exact as to whether there is one. */
static inline uint64_t
cop__json_special(uint64_t w)
{
    uint64_t quote = w ^ COP__JSON_EACH('"'), slash = w ^ COP__JSON_EACH('\\');
    uint64_t below = w - COP__JSON_EACH(0x20);
    return (w | below | (quote - COP__JSON_EACH(1)) | (slash - COP__JSON_EACH(1))) &
           COP__JSON_EACH(0x80);
}

/* The same for a segment of a path, where '~' begins an escape of its own. */
static inline uint64_t
cop__json_special_in_key(uint64_t w)
{
    uint64_t tilde = w ^ COP__JSON_EACH('~');
    return cop__json_special(w) | ((tilde - COP__JSON_EACH(1)) & COP__JSON_EACH(0x80));
}

static inline uint64_t
cop__json_load(const char *p)
{
    uint64_t w;
    memcpy(&w, p, sizeof w);
    return w;
}

/* The first n < 8 bytes of w, the rest blank. */
static inline uint64_t
cop__json_blank_after(uint64_t w, unsigned n)
{
    uint64_t kept = (UINT64_C(1) << (8 * n)) - 1;
    return (w & kept) | (COP__JSON_EACH(' ') & ~kept);
}

/* n >= 8 bytes; writes n. */
static inline char *
cop__json_fast_run(char *at, const char *text, size_t n)
{
    uint64_t special = 0, w;
    for (size_t i = 0; i + 8 < n; i += 8) {
        w = cop__json_load(text + i);
        special |= cop__json_special(w);
        memcpy(at + i, &w, sizeof w);
    }
    w = cop__json_load(text + n - 8);
    special |= cop__json_special(w);
    memcpy(at + n - 8, &w, sizeof w);
    return special ? NULL : at + n;
}

/* A text of at most COP_INLINE_MAX bytes, from the two words of its slot. */
static inline char *
cop__json_fast_inline(char *at, uint64_t low, uint64_t high, unsigned n)
{
    uint64_t first = low >> 32 | high << 32, last = high >> 32;
    uint64_t seen = n < 8 ? cop__json_blank_after(first, n) : first;
    uint64_t more = n > 8 ? cop__json_blank_after(last, n - 8) : COP__JSON_EACH(' ');
    if (cop__unlikely(cop__json_special(seen) | cop__json_special(more)))
        return NULL;
    at[0] = '"';
    memcpy(at + 1, &first, sizeof first);
    memcpy(at + 9, &last, sizeof last);
    at[1 + n] = '"';
    return at + n + 2;
}

/* A string; room: bytes that may be written from `at` on, at least COP__JSON_SCALAR_ROOM. */
static inline char *
cop__json_fast_string(char *at, size_t room, const cop__slot *slot)
{
    uint64_t word[2];
    memcpy(word, slot, sizeof word);
    unsigned n = (unsigned)(word[0] >> 8 & 0xff);
    if (cop__likely(n <= COP_INLINE_MAX))
        return cop__json_fast_inline(at, word[0], word[1], n);
    size_t length = word[0] >> 32;
    if (length < 8 || length > room - 2)
        return NULL;
    char *end = cop__json_fast_run(at + 1, (const char *)(uintptr_t)word[1], length);
    if (cop__unlikely(end == NULL))
        return NULL;
    at[0] = '"';
    *end = '"';
    return end + 1;
}

/* Four bytes of which `used` count. */
static inline char *
cop__json_fast_word(char *at, const char *four, unsigned used)
{
    memcpy(at, four, 4);
    return at + used;
}

/* A scalar; NULL for a branch, a lazy atom, bytes, an error, and texts with something to escape. */
static inline char *
cop__json_fast_scalar(char *at, size_t room, const cop__slot *slot)
{
    double f;
    switch (slot->type & COP_SLOT_TYPE) {
    case COP_STRING:
        return cop__json_fast_string(at, room, slot);
    case COP_I64:
        return at + cop__json_i64(at, (int64_t)cop__slot_word(slot));
    case COP_F64:
        memcpy(&f, &slot->small.words[1], sizeof f);
        return cop__likely(f - f == 0) ? at + cop__json_f64(at, f)
                                       : cop__json_fast_word(at, "null", 4);
    case COP_BOOL:
        if (cop__slot_word(slot) != 0)
            return cop__json_fast_word(at, "true", 4);
        at[4] = 'e';
        return cop__json_fast_word(at, "fals", 4) + 1;
    case COP_NULL:
        return cop__json_fast_word(at, "null", 4);
    default:
        return NULL;
    }
}

/* A separator and a key and its colon: at most COP__JSON_KEY_ROOM more than the segment. */
static inline char *
cop__json_fast_key(char *at, char separator, const char *segment, size_t n)
{
    at[0] = separator;
    at[1] = '"';
    char *end = at + 2 + n;
    if (cop__likely(n < 8)) { /* what stands before a segment is its name's own */
        uint64_t w = cop__json_load(segment + n - 8);
        w = cop__json_blank_after(n > 0 ? w >> (8 * (8 - n)) : 0, (unsigned)n);
        if (cop__unlikely(cop__json_special_in_key(w)))
            return NULL;
        memcpy(at + 2, &w, sizeof w);
    } else {
        uint64_t special = 0, w;
        for (size_t i = 0; i + 8 < n; i += 8) {
            w = cop__json_load(segment + i);
            special |= cop__json_special_in_key(w);
            memcpy(at + 2 + i, &w, sizeof w);
        }
        w = cop__json_load(segment + n - 8);
        if (cop__unlikely(special | cop__json_special_in_key(w)))
            return NULL;
        memcpy(end - 8, &w, sizeof w);
    }
    memcpy(end, "\":", 2);
    return end + 2;
}

_Static_assert(offsetof(cop__name, text) >= 8,
               "eight bytes that end in a segment are the name's own");

/* ---- pages ---- */

/* Reads a version; ids that follow one another mostly lie in the page of the last one. */
typedef struct cop__json_reader {
    const cop_snapshot *snapshot;
    const cop__slot *values;
    const cop__info *infos;
    uint32_t value_page, info_page;
} cop__json_reader;

static inline cop__json_reader
cop__json_reader_of(const cop_snapshot *snapshot)
{
    return (cop__json_reader){snapshot, NULL, NULL, UINT32_MAX, UINT32_MAX};
}

/* The slot of a child that a list of this version names. */
static inline const cop__slot *
cop__json_slot(cop__json_reader *reader, uint32_t id)
{
    uint32_t number = id >> COP_SLOT_BITS;
    if (number != reader->value_page) {
        reader->values = cop__space_page_dense(&reader->snapshot->space[COP_SPACE_VALUES], number);
        reader->value_page = number;
    }
    return &reader->values[id & (COP_SLOTS - 1)];
}

/* Its name; it is a member of an object. */
static inline const cop__name *
cop__json_member(cop__json_reader *reader, uint32_t id)
{
    uint32_t number = id >> COP_INFO_BITS;
    if (number != reader->info_page) {
        reader->infos = cop__space_page(&reader->snapshot->space[COP_SPACE_INFO], number);
        reader->info_page = number;
    }
    return (const cop__name *)(uintptr_t)reader->infos[id & (COP_INFOS - 1)];
}

/* What stands before a child: its separator and, in an object, its key. */
static inline void
cop__json_put_begin(cop__json_out *out, cop__json_reader *reader, uint32_t id, bool array,
                    char separator)
{
    if (array) {
        cop__json_char(out, separator);
        return;
    }
    const cop__name *name = cop__json_member(reader, id);
    const char *segment = cop__name_segment(name);
    size_t n = cop__name_length(name), need = n + COP__JSON_KEY_ROOM;
    if (cop__unlikely((size_t)(out->end - out->at) < need))
        cop__json_flush(out);
    char *at = cop__likely((size_t)(out->end - out->at) >= need)
                   ? cop__json_fast_key(out->at, separator, segment, n)
                   : NULL;
    if (cop__likely(at != NULL)) {
        out->at = at;
    } else {
        cop__json_char(out, separator);
        cop__json_name(out, segment, n, 0);
    }
}

/* A value that is no branch; a lazy one is null. */
static inline void
cop__json_put_scalar(cop__json_out *out, const cop__slot *slot)
{
    if (cop__unlikely((size_t)(out->end - out->at) < COP__JSON_SCALAR_ROOM))
        cop__json_flush(out);
    char *at = cop__json_fast_scalar(out->at, (size_t)(out->end - out->at), slot);
    if (cop__likely(at != NULL)) {
        out->at = at;
    } else {
        cop_value value = cop__slot_value(slot);
        cop__json_value_text(out, &value, 0, 0);
    }
}

/* A walk along the children of a branch. */
typedef struct cop__json_list {
    const uint32_t *id, *end; /* left of this block or page */
    uint32_t next;            /* page, 0: none */
} cop__json_list;

static inline cop__json_list
cop__json_list_of(const cop_snapshot *snapshot, const cop__slot *branch)
{
    if (cop__slot_list(branch) == COP_LIST_BLOCK) {
        const cop__child_block *block = cop__slot_child_block(branch);
        return (cop__json_list){block->id, block->id + block->count, 0};
    }
    cop__list_walk walk;
    cop__list_walk_begin((cop__view){snapshot, NULL}, branch, &walk);
    return (cop__json_list){NULL, NULL, walk.next_leaf};
}

/* Whether there is a child: list->id then points to its id. */
static inline bool
cop__json_list_more(const cop_snapshot *snapshot, cop__json_list *list)
{
    while (cop__unlikely(list->id == list->end)) {
        if (list->next == 0)
            return false;
        const cop__list_page *page = cop__space_page(&snapshot->space[COP_SPACE_LISTS], list->next);
        list->id = page->id;
        list->end = page->id + page->count;
        list->next = page->next;
    }
    return true;
}

/* The siblings of the child at list->id: branches that will be opened soon, their lists and the
 * names on these are asked for. reader: one for this alone. */
static inline void
cop__json_look_ahead(cop__json_reader *reader, const cop__json_list *list)
{
    const uint32_t *id = list->id;
    if (list->end - id <= 2)
        return;
    const cop__slot *later = cop__json_slot(reader, id[2]);
    if (cop__slot_list(later) == COP_LIST_BLOCK && cop__slot_is_branch(later))
        __builtin_prefetch(cop__slot_child_block(later));
    const cop__slot *next = cop__json_slot(reader, id[1]);
    if (cop__slot_list(next) != COP_LIST_BLOCK || cop__slot_type(next) != COP_OBJECT)
        return;
    const cop__child_block *block = cop__slot_child_block(next);
    for (uint32_t i = 0; i < block->count; i++)
        __builtin_prefetch(cop__json_member(reader, block->id[i]));
}

#endif

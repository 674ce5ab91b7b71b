/* SPDX-License-Identifier: MIT */
/*
 * A slot: 16 bytes of a value page, one atom. It is a cop_value with two additions that never leave
 * the library: the generation of the atom (in `reserved`), and flags in the upper bits of `type`.
 *
 *   computed       the graph writes it, and no transaction
 *   lazy           type COP_SLOT_LAZY, which nobody outside ever sees; words[1..2] lead to what reads
 *                  it (cop__lazy_head), which lives as long as a reader can find this slot
 *   dead slot      type COP_NONE; the generation is that of its next atom, so that no handle given
 *                  out so far matches it (0 once generations are used up)
 *   long text      the pointer leads behind an 8-byte block header (the birth stamp)
 *   branch         where its list of children is, and the version in which it last changed:
 *       LIST_NONE   no children         words[1..2] version
 *       LIST_PAGES  a tree of pages     words[0] number of its root page, words[1..2] version
 *       LIST_BLOCK  up to COP_BLOCK_CHILDREN ids in one block
 *                                       words[1..2] low 44 bits block address / 8, high 20 bits the
 *                                       version's low 20 bits; words[0] the version's high 32 bits
 */
#ifndef COP_TREE_SLOT_H
#define COP_TREE_SLOT_H

#include <coppice/value.h>

#include "base/base.h"

typedef cop_value cop__slot;

#define COP_SLOT_TYPE 0x0fu
#define COP_SLOT_NAMED 0x80u /* has an entry in the info space: a name, or a place in an array */
#define COP_SLOT_COMPUTED 0x40u /* a computed atom, or in a branch that one owns */
#define COP_SLOT_LAZY 0x0au /* a type: the value is not in the tree, and is asked for when it is read */
#define COP_LIST_MASK 0x30u
#define COP_LIST_NONE 0x00u
#define COP_LIST_PAGES 0x10u
#define COP_LIST_BLOCK 0x20u

#define COP_GENERATION_MAX UINT16_MAX
#define COP_BLOCK_CHILDREN 30u

struct cop_snapshot;

/* What stands behind a lazy slot, in a room further up. get is cop_get of a version that the caller
 * holds; *kept (unless NULL) receives where the value itself lives as long as the version is held, when
 * it is a text. */
typedef struct cop__lazy_head {
    cop_status (*get)(struct cop__lazy_head *lazy, const struct cop_snapshot *snapshot,
                      cop_value *value, const cop_value **kept);
} cop__lazy_head;

/* A short list of children. Begins with the block header, as every block. */
typedef struct cop__child_block {
    uint64_t birth;
    uint64_t changed; /* version in which the list last changed */
    uint32_t count;
    uint32_t capacity;
    uint32_t id[];
} cop__child_block;

static inline size_t
cop__child_block_bytes(uint32_t capacity)
{
    return sizeof(cop__child_block) + capacity * sizeof(uint32_t);
}

static inline cop_type
cop__slot_type(const cop__slot *slot)
{
    return (cop_type)(slot->type & COP_SLOT_TYPE);
}

static inline bool
cop__slot_alive(const cop__slot *slot)
{
    return (slot->type & COP_SLOT_TYPE) != COP_NONE;
}

static inline bool
cop__slot_is_branch(const cop__slot *slot)
{
    return (slot->type & (COP_SLOT_TYPE - 1)) == COP_OBJECT;
}

_Static_assert(COP_OBJECT == 8 && COP_ARRAY == 9, "one compare tells a branch");

static inline bool
cop__slot_is_lazy(const cop__slot *slot)
{
    return (slot->type & COP_SLOT_TYPE) == COP_SLOT_LAZY;
}

static inline unsigned
cop__slot_list(const cop__slot *slot)
{
    return slot->type & COP_LIST_MASK;
}

static inline uint64_t
cop__slot_word(const cop__slot *slot)
{
    uint64_t w;
    memcpy(&w, &slot->small.words[1], sizeof w);
    return w;
}

static inline void
cop__slot_set_word(cop__slot *slot, uint64_t w)
{
    memcpy(&slot->small.words[1], &w, sizeof w);
}

static inline cop__lazy_head *
cop__slot_lazy(const cop__slot *slot)
{
    return (cop__lazy_head *)(uintptr_t)cop__slot_word(slot);
}

static inline void
cop__slot_set_lazy(cop__slot *slot, const cop__lazy_head *lazy)
{
    slot->type = (uint8_t)((slot->type & ~COP_SLOT_TYPE) | COP_SLOT_LAZY);
    slot->small.words[0] = 0;
    cop__slot_set_word(slot, (uint64_t)(uintptr_t)lazy);
}

static inline uint64_t
cop__slot_changed(const cop__slot *slot)
{
    uint64_t w = cop__slot_word(slot);
    if (cop__slot_list(slot) == COP_LIST_BLOCK)
        return w >> 44 | (uint64_t)slot->small.words[0] << 20;
    return w;
}

static inline cop__child_block *
cop__slot_child_block(const cop__slot *slot)
{
    return (cop__child_block *)(uintptr_t)((cop__slot_word(slot) & ((UINT64_C(1) << 44) - 1)) << 3);
}

static inline void
cop__slot_set_branch_block(cop__slot *slot, const cop__child_block *block, uint64_t changed)
{
    slot->type = (uint8_t)((slot->type & ~COP_LIST_MASK) | COP_LIST_BLOCK);
    slot->small.words[0] = (uint32_t)(changed >> 20);
    cop__slot_set_word(slot, (uint64_t)(uintptr_t)block >> 3 | changed << 44);
}

static inline void
cop__slot_set_branch_pages(cop__slot *slot, uint32_t page, uint64_t changed)
{
    slot->type = (uint8_t)((slot->type & ~COP_LIST_MASK) | COP_LIST_PAGES);
    slot->small.words[0] = page;
    cop__slot_set_word(slot, changed);
}

static inline void
cop__slot_set_branch_empty(cop__slot *slot, uint64_t changed)
{
    slot->type = (uint8_t)(slot->type & ~COP_LIST_MASK);
    slot->small.words[0] = 0;
    cop__slot_set_word(slot, changed);
}

static inline void
cop__slot_set_changed(cop__slot *slot, uint64_t changed)
{
    if (cop__slot_list(slot) == COP_LIST_BLOCK)
        cop__slot_set_branch_block(slot, cop__slot_child_block(slot), changed);
    else
        cop__slot_set_word(slot, changed);
}

static inline bool
cop__slot_is_long(const cop__slot *slot)
{
    unsigned type = slot->type & COP_SLOT_TYPE;
    return type - COP_STRING <= COP_ERROR - COP_STRING && slot->inlined == COP_VALUE_OUTSIDE;
}

/* The block that the slot owns and its bytes as asked for, or NULL. */
static inline void *
cop__slot_block(const cop__slot *slot, size_t *bytes)
{
    if (cop__slot_is_long(slot)) {
        *bytes = sizeof(uint64_t) + slot->small.words[0];
        return (void *)(uintptr_t)(cop__slot_word(slot) - sizeof(uint64_t));
    }
    if (cop__slot_is_branch(slot) && cop__slot_list(slot) == COP_LIST_BLOCK) {
        cop__child_block *block = cop__slot_child_block(slot);
        *bytes = cop__child_block_bytes(block->capacity);
        return block;
    }
    return NULL;
}

static inline bool
cop__slot_same(const cop__slot *a, const cop__slot *b)
{
    uint64_t x[2], y[2];
    memcpy(x, a, sizeof x);
    memcpy(y, b, sizeof y);
    return x[0] == y[0] && x[1] == y[1];
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "slots are read as two 64-bit words");

/* Of a slot's first eight bytes: what is the value's, not flags and not generation. */
#define COP_SLOT_VALUE UINT64_C(0xffffffff0000ff0f)

/* The slot's first eight bytes as a public value has them: no flags, no generation. */
static inline uint64_t
cop__slot_public_word(uint64_t word)
{
    return word & COP_SLOT_VALUE;
}

/*
 * The slot as a public value: flags, generation and a branch's bookkeeping taken off; a lazy one is
 * COP_NONE here. Through two
 * 8-byte words in registers: writing single bytes of a value and then loading it whole would wait
 * for the store buffer, and with it for every cache miss of the lookups before.
 */
static inline void
cop__slot_read(const cop__slot *slot, cop_value *value)
{
    uint64_t word[2];
    memcpy(word, slot, sizeof word);
    word[0] = cop__slot_public_word(word[0]);
    memcpy(value, word, sizeof word);
    if (cop__unlikely(value->type >= COP_OBJECT)) {
        memset(&value->small, 0, sizeof value->small);
        if (value->type > COP_ARRAY)
            value->type = COP_NONE;
    }
}

static inline cop_value
cop__slot_value(const cop__slot *slot)
{
    cop_value value;
    cop__slot_read(slot, &value);
    return value;
}

/* The text of the error value that a computed atom has in place of a result for which there was no
 * memory. Short, so that it needs none itself. */
#define COP_UNFIT "no memory"
_Static_assert(sizeof COP_UNFIT - 1 <= COP_INLINE_MAX, "it lies in the slot");

static inline cop_value
cop__unfit_value(void)
{
    return cop_error_value(COP_UNFIT, sizeof COP_UNFIT - 1);
}

/* Equal as values; a long text by its bytes. */
static inline bool
cop__slot_holds(const cop__slot *slot, const cop_value *value)
{
    if (cop__slot_type(slot) != (cop_type)value->type)
        return false;
    if (cop__slot_is_branch(slot))
        return true;
    if (cop__slot_is_long(slot))
        return value->inlined == COP_VALUE_OUTSIDE &&
               slot->small.words[0] == value->small.words[0] &&
               memcmp(cop_value_data(slot), cop_value_data(value), slot->small.words[0]) == 0;
    return slot->inlined == value->inlined && memcmp(&slot->small, &value->small, sizeof slot->small) == 0;
}

#endif

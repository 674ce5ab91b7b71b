/* SPDX-License-Identifier: MIT */
/* Texts: see rope.h. */
#include "serialize/rope.h"

#include "base/base.h"

/* ---- parts ---- */

static size_t
leaf_size(size_t capacity)
{
    return sizeof(cop__leaf) + capacity;
}

size_t
cop__leaf_size(const cop__leaf *leaf)
{
    return leaf_size(leaf->capacity);
}

cop__leaf *
cop__leaf_new(cop__memory *memory, size_t n, size_t capacity)
{
    if (capacity > UINT32_MAX)
        return NULL;
    cop__leaf *leaf = cop__memory_alloc(memory, COP_MEMORY_FRAGMENTS, leaf_size(capacity), 16);
    if (leaf == NULL)
        return NULL;
    atomic_init(&leaf->part.references, 1);
    leaf->part.leaves = 0;
    leaf->part.bytes = n;
    leaf->capacity = (uint32_t)capacity;
    return leaf;
}

cop__bundle *
cop__bundle_new(cop__memory *memory, cop__leaf *const *leaf, uint32_t leaves)
{
    cop__bundle *bundle = cop__memory_alloc(memory, COP_MEMORY_FRAGMENTS, sizeof *bundle, 16);
    if (bundle == NULL)
        return NULL;
    atomic_init(&bundle->part.references, 1);
    bundle->part.leaves = leaves;
    bundle->part.bytes = 0;
    for (uint32_t i = 0; i < leaves; i++) {
        cop__part_keep(&leaf[i]->part);
        bundle->leaf[i] = leaf[i];
        bundle->part.bytes += leaf[i]->part.bytes;
    }
    return bundle;
}

/* True for the last one. Alone, a reference needs no atomic subtraction: nobody else can touch it.
 */
static inline bool
unref(_Atomic uint32_t *references)
{
    if (cop__load_acquire(references) == 1)
        return true;
    return atomic_fetch_sub_explicit(references, 1, memory_order_acq_rel) == 1;
}

static void
leaf_drop(cop__memory *memory, cop__leaf *leaf)
{
    if (unref(&leaf->part.references))
        cop__memory_free(memory, COP_MEMORY_FRAGMENTS, leaf, cop__leaf_size(leaf), 16);
}

void
cop__part_drop(cop__memory *memory, cop__part *part)
{
    if (part == NULL)
        return;
    if (part->leaves == 0) {
        leaf_drop(memory, (cop__leaf *)part);
        return;
    }
    if (!unref(&part->references))
        return;
    cop__bundle *bundle = (cop__bundle *)part;
    for (uint32_t i = 0; i < part->leaves; i++)
        leaf_drop(memory, bundle->leaf[i]);
    cop__memory_free(memory, COP_MEMORY_FRAGMENTS, bundle, sizeof *bundle, 16);
}

/* ---- texts ---- */

static size_t
rope_size(size_t parts)
{
    return sizeof(cop_rope) + parts * sizeof(cop__rope_entry);
}

cop_rope *
cop__rope_new(cop__memory *memory, cop__part *const *parts, size_t n)
{
    cop_rope *rope =
        n <= UINT32_MAX ? cop__memory_alloc(memory, COP_MEMORY_FRAGMENTS, rope_size(n), 16) : NULL;
    if (rope == NULL) {
        for (size_t i = 0; i < n; i++)
            cop__part_drop(memory, parts[i]);
        return NULL;
    }
    uint64_t end = 0;
    atomic_init(&rope->references, 1);
    rope->parts = (uint32_t)n;
    rope->memory = memory;
    cop__memory_ref(memory);
    for (size_t i = 0; i < n; i++) {
        end += parts[i]->bytes;
        rope->entry[i] = (cop__rope_entry){end, parts[i]};
    }
    return rope;
}

bool
cop__parts_add(cop__parts *parts, cop__part *part)
{
    if (!cop__memory_grow(parts->memory, COP_MEMORY_FRAGMENTS, &parts->part, &parts->capacity,
                          parts->n + 1, sizeof *parts->part))
        return false;
    parts->part[parts->n++] = part;
    return true;
}

cop_rope *
cop__parts_end(cop__parts *parts, bool good)
{
    cop_rope *rope = NULL;
    if (good)
        rope = cop__rope_new(parts->memory, parts->part, parts->n);
    for (size_t i = 0; !good && i < parts->n; i++)
        cop__part_drop(parts->memory, parts->part[i]);
    cop__memory_free(parts->memory, COP_MEMORY_FRAGMENTS, parts->part,
                     parts->capacity * sizeof *parts->part, 16);
    return rope;
}

uint64_t
cop_rope_length(const cop_rope *rope)
{
    return rope->parts > 0 ? rope->entry[rope->parts - 1].end : 0;
}

cop_rope *
cop_rope_keep(cop_rope *rope)
{
    cop__add_relaxed(&rope->references, 1u);
    return rope;
}

void
cop_rope_drop(cop_rope *rope)
{
    if (rope == NULL || !unref(&rope->references))
        return;
    cop__memory *memory = rope->memory;
    for (uint32_t i = 0; i < rope->parts; i++)
        cop__part_drop(memory, rope->entry[i].part);
    cop__memory_free(memory, COP_MEMORY_FRAGMENTS, rope, rope_size(rope->parts), 16);
    cop__memory_unref(memory);
}

/* The first entry that ends behind the offset. */
static uint32_t
entry_at(const cop_rope *rope, uint64_t offset)
{
    uint32_t low = 0, high = rope->parts;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (rope->entry[middle].end <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

typedef struct taker {
    struct iovec *ranges;
    size_t n, room;
    size_t skip; /* bytes before the first range */
} taker;

static bool
take_leaf(taker *t, cop__leaf *leaf)
{
    if (t->skip >= leaf->part.bytes) {
        t->skip -= leaf->part.bytes;
        return true;
    }
    if (t->n == t->room)
        return false;
    t->ranges[t->n++] = (struct iovec){leaf->text + t->skip, leaf->part.bytes - t->skip};
    t->skip = 0;
    return true;
}

static bool
take_part(taker *t, cop__part *part)
{
    if (part->leaves == 0)
        return take_leaf(t, (cop__leaf *)part);
    cop__bundle *bundle = (cop__bundle *)part;
    for (uint32_t i = 0; i < part->leaves; i++)
        if (!take_leaf(t, bundle->leaf[i]))
            return false;
    return true;
}

size_t
cop_rope_ranges(const cop_rope *rope, uint64_t offset, struct iovec *ranges, size_t n)
{
    uint32_t i = entry_at(rope, offset);
    taker t = {ranges, 0, n, 0};
    if (i < rope->parts)
        t.skip = (size_t)(offset - (rope->entry[i].end - rope->entry[i].part->bytes));
    while (i < rope->parts && take_part(&t, rope->entry[i].part))
        i++;
    return t.n;
}

size_t
cop_rope_copy(const cop_rope *rope, uint64_t offset, char *buffer, size_t n)
{
    struct iovec ranges[COP__BUNDLE_LEAVES];
    size_t copied = 0, found;
    while (copied < n &&
           (found = cop_rope_ranges(rope, offset + copied, ranges, COP__BUNDLE_LEAVES)) > 0) {
        for (size_t i = 0; i < found && copied < n; i++) {
            size_t some = ranges[i].iov_len < n - copied ? ranges[i].iov_len : n - copied;
            memcpy(buffer + copied, ranges[i].iov_base, some);
            copied += some;
        }
    }
    return copied;
}

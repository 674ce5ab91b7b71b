/* SPDX-License-Identifier: MIT */
/*
 * Texts, and the parts that they are made of.
 *
 * A text is a list of parts; a part is a leaf (a run of bytes) or a bundle (a list of leaves). Two
 * levels below the text are enough: a text of a million atoms has some hundred bundles, so making
 * one costs less than a hundredth of what formatting it would, and nothing here needs recursion or
 * balancing.
 *
 * OWNERSHIP. Everything is counted by references. A text holds one on each of its parts, a bundle
 * one on each of its leaves, and the serializer one on what it keeps for the next text. Counts only
 * rise from one that the caller holds, so nobody can reach what has fallen to none.
 *
 * IN PLACE. Whoever holds the only reference on a leaf may change its bytes: nobody else can come
 * to hold one, since there is none to take it from. Releasing a reference is a release operation
 * and looking whether it is the only one an acquire load, so that the reads of the thread that gave
 * its own up come before the change (cop__part_unique).
 *
 * PROGRESS. Keep, drop, ranges: no lock, no loop but over parts.
 */
#ifndef COP_SERIALIZE_ROPE_H
#define COP_SERIALIZE_ROPE_H

#include <coppice/rope.h>

#include "base/atomic.h"
#include "reclaim/memory.h"

#define COP__BUNDLE_LEAVES 32u

typedef struct cop__part {
    _Atomic uint32_t references;
    uint32_t leaves; /* of a bundle; 0: a leaf */
    size_t bytes;
} cop__part;

typedef struct cop__leaf {
    cop__part part;
    uint32_t capacity;
    char text[];
} cop__leaf;

typedef struct cop__bundle {
    cop__part part;
    cop__leaf *leaf[COP__BUNDLE_LEAVES];
} cop__bundle;

typedef struct cop__rope_entry {
    uint64_t end; /* offset behind it in the text */
    cop__part *part;
} cop__rope_entry;

struct cop_rope {
    _Atomic uint32_t references;
    uint32_t parts;
    cop__memory *memory; /* counted: a text may outlive its store */
    cop__rope_entry entry[];
};

/* NULL when out of memory; its bytes are for the caller to write, part.bytes is n. */
cop__leaf *cop__leaf_new(cop__memory *memory, size_t n, size_t capacity);
/* Takes its own references. leaves: 1 .. COP__BUNDLE_LEAVES. */
cop__bundle *cop__bundle_new(cop__memory *memory, cop__leaf *const *leaf, uint32_t leaves);
/* NULL is legal. */
void cop__part_drop(cop__memory *memory, cop__part *part);

static inline void
cop__part_keep(cop__part *part)
{
    cop__add_relaxed(&part->references, 1u);
}

static inline bool
cop__part_unique(cop__part *part)
{
    return cop__load_acquire(&part->references) == 1;
}

size_t cop__leaf_size(const cop__leaf *leaf);

/* A text of these parts, each with one reference that the text takes over: also when it fails. */
cop_rope *cop__rope_new(cop__memory *memory, cop__part *const *parts, size_t n);

/* Parts on their way into a text. Begins as {.memory = ...}. */
typedef struct cop__parts {
    cop__memory *memory;
    cop__part **part;
    size_t n, capacity;
} cop__parts;

/* Takes over a reference, unless it fails for want of memory. */
bool cop__parts_add(cop__parts *parts, cop__part *part);
/* The text of all of them, NULL when out of memory; without `good` they are dropped. Ends *parts.
 */
cop_rope *cop__parts_end(cop__parts *parts, bool good);

#endif

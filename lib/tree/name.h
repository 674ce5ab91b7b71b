/* SPDX-License-Identifier: MIT */
/*
 * Names: how the children of objects are called.
 *
 * A name holds its own SEGMENT (escaped, as it stands in a path) and leads to the name of its
 * parent; what is above the segment stands there, once for all siblings. The way up ends at the
 * ANCHOR: the root, or the array element nearest above, since positions are never part of a name.
 *
 * JOINED NAMES. A way up by every branch is a cache miss for every branch that has few children,
 * since nobody else brought its name into the cache. So the first few children of a branch hold its
 * segment in front of their own, if it is short, and lead to what is above the branch:
 * "000123/balance-usd", and up to "users". How often a segment stands there twice is bounded by
 * COP_JOINED_SIBLINGS, whatever the number of children; and a joined name does without the field
 * that says which page lists it.
 *
 * WHY THE WAY UP IS VALID. A name is seen by exactly those versions in which its atom lives, or it
 * is stale (directory.h), and nobody follows a stale one. An atom never changes its parent, nor
 * does it outlive it: erasing a branch erases all below it in the same draft, also when the branch
 * becomes a plain value; becoming a branch again, it is the same atom with the same name, and has
 * new children. So whoever sees a living child in some version sees its parent in the same, and the
 * parent's name is there, and that of the parent's parent, and a segment never changes. What moves
 * within an array keeps its id, which is all that the names below it know of it. In a draft that
 * erases a branch the names may be used, child or parent, until cop__atom_erase.
 */
#ifndef COP_TREE_NAME_H
#define COP_TREE_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define COP_JOINED_SIBLINGS 4u /* a child joins when the branch has fewer */
#define COP_JOINED_PREFIX 24u  /* the longest prefix, with its slash */
#define COP_JOINED_TEXT 255u

/* Immutable while a reader can see it, but for what only the committer uses: the header, and in a
 * plain name the number behind the text, of the page that lists it while the parent's list is
 * pages. */
typedef struct cop__name {
    uint64_t
        header; /* of the block: 48 bits birth stamp, and above it 16 bits of the directory hash */
    uint64_t above;  /* 48 bits way up, 16 bits generation: see below */
    uint32_t parent; /* id */
    uint16_t
        shape;   /* plain: bytes of text; joined: COP_NAME_JOINED | prefix << 8 | bytes of text */
    char text[]; /* not terminated */
} cop__name;

#define COP_NAME_ADDRESS ((UINT64_C(1) << 48) - 1)
#define COP_NAME_JOINED UINT16_C(0x8000)

/* A name and whose it is. */
typedef struct cop__named {
    const cop__name *name; /* NULL: none */
    uint32_t id;
} cop__named;

static inline bool
cop__name_joined(const cop__name *name)
{
    return name->shape & COP_NAME_JOINED;
}

/* Bytes of the text: of the segment, and of the prefix when it is joined. */
static inline size_t
cop__name_text_length(const cop__name *name)
{
    return cop__name_joined(name) ? name->shape & UINT8_MAX : name->shape;
}

static inline size_t
cop__name_prefix(const cop__name *name)
{
    return cop__name_joined(name) ? name->shape >> 8 & INT8_MAX : 0;
}

static inline const char *
cop__name_segment(const cop__name *name)
{
    return name->text + cop__name_prefix(name);
}

static inline size_t
cop__name_length(const cop__name *name)
{
    return cop__name_text_length(name) - cop__name_prefix(name);
}

/* Of the block, for so many bytes of text. */
static inline size_t
cop__name_bytes_for(size_t text, bool joined)
{
    return offsetof(cop__name, text) + text + (joined ? 0 : sizeof(uint32_t));
}

static inline size_t
cop__name_bytes(const cop__name *name)
{
    return cop__name_bytes_for(cop__name_text_length(name), cop__name_joined(name));
}

/* The page that lists it; 0: a block, or it is not known, the name being joined. */
static inline uint32_t
cop__name_leaf(const cop__name *name)
{
    uint32_t leaf = 0;
    if (!cop__name_joined(name))
        memcpy(&leaf, name->text + name->shape, sizeof leaf);
    return leaf;
}

static inline void
cop__name_set_leaf(cop__name *name, uint32_t leaf)
{
    if (!cop__name_joined(name))
        memcpy(name->text + name->shape, &leaf, sizeof leaf);
}

/* The way up is the address of the name that goes on, or 2 * anchor + 1. */
static inline uint64_t
cop__name_way_up(const struct cop__name *above, uint32_t anchor, uint16_t generation)
{
    uint64_t way = above != NULL ? (uint64_t)(uintptr_t)above : (uint64_t)anchor << 1 | 1;
    return way | (uint64_t)generation << 48;
}

static inline uint16_t
cop__name_generation(const cop__name *name)
{
    return (uint16_t)(name->above >> 48);
}

/* The name whose path goes in front of this one's text, with a slash; NULL when that is the anchor.
 */
static inline const cop__name *
cop__name_above(const cop__name *name)
{
    uint64_t way = name->above & COP_NAME_ADDRESS;
    return way & 1 ? NULL : (const cop__name *)(uintptr_t)way;
}

/* The anchor that the text counts from; cop__name_above says NULL. */
static inline uint32_t
cop__name_own_anchor(const cop__name *name)
{
    return (uint32_t)((name->above & COP_NAME_ADDRESS) >> 1);
}

uint32_t cop__name_anchor(const cop__name *name);

static inline uint64_t
cop__name_birth(const cop__name *name)
{
    return name->header & COP_NAME_ADDRESS;
}

/* Bytes of the path from the anchor; at most COP_PATH_MAX. */
size_t cop__name_path_length(const cop__name *name);
/* Writes the path from the anchor, not terminated, if it fits. Returns its length. */
size_t cop__name_path(const cop__name *name, char *buffer, size_t capacity);

/* The same for people, terminated and cut to the room; NULL: the number of the atom. */
size_t cop__name_describe(const cop__name *name, uint32_t id, char *text, size_t room);

/* The order of two paths from one anchor: bytes as memcmp, a prefix first. */
int cop__name_compare(const cop__name *a, const cop__name *b);

#endif

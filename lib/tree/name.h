/* SPDX-License-Identifier: MIT */
/*
 * Names: how the children of objects are called.
 *
 * A name holds its own SEGMENT (escaped, as it stands in a path) and leads to the name of its parent;
 * what is above the segment stands there, once for all siblings. The way up ends at the ANCHOR: the
 * root, or the array element nearest above, since positions are never part of a name.
 *
 * WHY THE WAY UP IS VALID. A name is seen by exactly those versions in which its atom lives, or it is
 * stale (directory.h), and nobody follows a stale one. An atom never changes its parent, nor does it
 * outlive it: erasing a branch erases all below it in the same draft, also when the branch becomes a
 * plain value; becoming a branch again, it is the same atom with the same name, and has new children.
 * So whoever sees a living child in some version sees its parent in the same, and the parent's name
 * is there. What moves within an array keeps its id, which is all that the names below it know of it.
 * In a draft that erases a branch the names may be used, child or parent, until cop__atom_erase.
 */
#ifndef COP_TREE_NAME_H
#define COP_TREE_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Immutable while a reader can see it, but for what only the committer uses: `leaf` and the header. */
typedef struct cop__name {
    uint64_t header; /* of the block: 48 bits birth stamp, and above it 16 bits of the directory hash */
    uint64_t above;  /* 48 bits way up, 16 bits generation: see below */
    uint32_t id;
    uint32_t leaf; /* while the parent's list is pages, the page that lists it */
    uint16_t length;
    char segment[]; /* not terminated */
} cop__name;

#define COP_NAME_ADDRESS ((UINT64_C(1) << 48) - 1)

static inline size_t
cop__name_bytes(size_t length)
{
    return offsetof(cop__name, segment) + length;
}

/* The way up is the address of the parent's name, or 2 * anchor + 1. */
static inline uint64_t
cop__name_way_up(const struct cop__name *parent, uint32_t anchor, uint16_t generation)
{
    uint64_t way = parent != NULL ? (uint64_t)(uintptr_t)parent : (uint64_t)anchor << 1 | 1;
    return way | (uint64_t)generation << 48;
}

static inline uint16_t
cop__name_generation(const cop__name *name)
{
    return (uint16_t)(name->above >> 48);
}

/* The parent's name; NULL when the parent is the anchor. */
static inline const cop__name *
cop__name_above(const cop__name *name)
{
    uint64_t way = name->above & COP_NAME_ADDRESS;
    return way & 1 ? NULL : (const cop__name *)(uintptr_t)way;
}

/* The id of the anchor that is this name's parent; cop__name_above says NULL. */
static inline uint32_t
cop__name_own_anchor(const cop__name *name)
{
    return (uint32_t)((name->above & COP_NAME_ADDRESS) >> 1);
}

static inline uint32_t
cop__name_parent(const cop__name *name)
{
    const cop__name *above = cop__name_above(name);
    return above != NULL ? above->id : cop__name_own_anchor(name);
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

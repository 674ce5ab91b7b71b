/* SPDX-License-Identifier: MIT */
/*
 * The directory: from path to name, as versioned pages.
 *
 * Linear hashing (Litwin 1980): a bucket at a time is split or joined as names come and go, so that
 * no commit pays for a whole rehash. Bucket b is pages 2b and 2b+1 of the names space, sixteen cache
 * lines of five names each: in one page, 40 places, chance would fill some buckets to overflowing long
 * before they are full on average. A name stands in the line that its hash says, or in the first
 * later one with room; every line counts the names that went past it, so a search ends at the first
 * line that none went past, seldom not the first. A name that finds no room in twelve lines goes into
 * a page of the lists space that the bucket overflows into: a bucket whose turn to be split has yet
 * to come holds up to twice as many as others, and is to be searched all the same.
 *
 * A line holds, for each name, a word (16 bits of the hash, 48 bits of the name's address) and the
 * atom's id. Its tags are compared without branches, because a branch that waits for a line from
 * memory and is then mispredicted ends all overlap between lookups; and the id stands beside the
 * word, so that the atom's slot is fetched while the name is.
 *
 * Of the hash 31 bits are used, and none is kept twice: 15 in the word, and what splitting needs
 * below them in the header of the name's block, which no reader looks at. With more than 2^16 buckets
 * (4 million names) the tag's lowest bits become the same in all of a bucket, one for each doubling.
 *
 * A path is compared from its end, name by name on the way up (name.h), once the slot has shown that
 * the atom lives: only then are the names above it sure to be there.
 *
 * Paths count from an ANCHOR: the root, or the array element nearest above, since positions are
 * never part of a name. The hash covers anchor and path.
 *
 * Because the pages are versioned, a snapshot's directory shows exactly its own names, with one
 * exception: names of a large branch erased whole are STALE for a while. They are told by their
 * atom's slot, which is dead or has another generation; every lookup checks it. Later commits sweep
 * the buckets in order and take them out, a few buckets each, so that a bucket is copied once for
 * all its stale names.
 */
#ifndef COP_TREE_DIRECTORY_H
#define COP_TREE_DIRECTORY_H

#include "tree/list.h"
#include "tree/tree.h"

#define COP_LINE_NAMES 5u
#define COP_DIRECTORY_LINES 8u /* a page */
#define COP_DIRECTORY_WORDS (COP_LINE_NAMES * COP_DIRECTORY_LINES)
#define COP_BUCKET_PAGES 2u
#define COP_BUCKET_LINES (COP_BUCKET_PAGES * COP_DIRECTORY_LINES)
#define COP_BUCKET_WORDS (COP_BUCKET_PAGES * COP_DIRECTORY_WORDS)
#define COP_BUCKET_REACH 12u /* lines in which a name may stand, from the one that its hash says on */
#define COP_BUCKET_FILL 62u /* names a bucket, on average, above which one is split */

typedef struct cop__directory_line {
    uint64_t word[COP_LINE_NAMES]; /* 0: empty */
    uint32_t id[COP_LINE_NAMES];
    uint16_t passed; /* names that this line had no room for */
    uint16_t half;   /* lines 0 and 1: low and high half of the overflow page's number */
} cop__directory_line;

typedef struct cop__directory_page {
    cop__directory_line line[COP_DIRECTORY_LINES];
} cop__directory_page;

_Static_assert(sizeof(cop__directory_line) == COP_CACHE_LINE, "a line is a cache line");
_Static_assert(sizeof(cop__directory_page) == COP_PAGE_BYTES, "eight of them are a page");

uint64_t cop__path_hash(uint64_t seed, uint32_t anchor, const char *path, size_t length);

/* The living atom at this path from this anchor, if there is one. Wait-free for readers. */
cop__named cop__directory_find(cop__view view, uint32_t anchor, const char *path, size_t length);
/* The same below the root of a published version, telling the atom's slot too. */
cop__named cop__directory_lookup(const cop_snapshot *root, const char *path, size_t length,
                                 const cop__slot **slot);

/* What a path leads to. */
typedef struct cop__found {
    bool found;
    uint32_t id;
    /* not found: the deepest living ancestor, and what of the path is below it */
    uint32_t ancestor;
    size_t rest; /* offset of the first segment below the ancestor */
} cop__found;

/* Resolves a path, through arrays; "-" leads nowhere. The path has been checked. */
cop__found cop__path_resolve(cop__view view, const char *path, size_t length);
/* The child of a living object by its escaped segment, if there is one. */
cop__named cop__child_find(cop__view view, uint32_t object, const char *segment, size_t length);

/* Where the children of a branch are named: by its name, or from an anchor that it is itself. */
typedef struct cop__prefix {
    const cop__name *name; /* NULL: the segment is the whole path */
    uint32_t anchor;
} cop__prefix;
cop__prefix cop__prefix_of(cop__view view, uint32_t branch);
/* Bytes of a child's path before its segment. */
size_t cop__prefix_length(cop__prefix prefix);

/* A word of a page as a name, NULL when it is empty. */
static inline cop__name *
cop__directory_name(uint64_t word)
{
    return (cop__name *)(uintptr_t)(word & ((UINT64_C(1) << 48) - 1));
}

/* The page that a bucket overflows into, 0: none. Told by its first page, or an overflow page. */
static inline uint32_t
cop__directory_overflow(const void *page)
{
    const cop__directory_page *p = page;
    return p->line[0].half | (uint32_t)p->line[1].half << 16;
}

/* The words of a page, 0 .. COP_DIRECTORY_WORDS - 1. */
static inline uint64_t
cop__directory_word(const void *page, unsigned i)
{
    const cop__directory_page *p = page;
    return p->line[i / COP_LINE_NAMES].word[i % COP_LINE_NAMES];
}

static inline uint32_t
cop__directory_id(const void *page, unsigned i)
{
    const cop__directory_page *p = page;
    return p->line[i / COP_LINE_NAMES].id[i % COP_LINE_NAMES];
}

/* Draft operations; false: out of memory. */
bool cop__directory_add(cop__tree *tree, uint32_t id, cop__name *name);
bool cop__directory_remove(cop__tree *tree, const cop__name *name);
/* Takes the stale names out of the next `buckets` buckets, while there are any. */
bool cop__directory_sweep(cop__tree *tree, uint32_t buckets);
/* Whether that would do anything. */
static inline bool
cop__directory_unswept(const cop__tree *tree)
{
    return tree->now.stale > 0 || (tree->now.buckets > 1 && tree->now.names <
                                   (uint64_t)tree->now.buckets * COP_BUCKET_FILL / 2);
}
/* A published name that is in the directory no more dies. */
bool cop__name_dies(cop__tree *tree, cop__name *name);

#endif

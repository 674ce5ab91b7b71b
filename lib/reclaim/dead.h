/* SPDX-License-Identifier: MIT */
/*
 * Dead lists: what commits replaced and nobody may free yet.
 *
 * THE RULE. A thing born at stamp b and replaced at stamp d is reachable from the publication with
 * stamp v exactly when b <= v < d. It may be freed when no held v lies there. (Stamps count
 * publications; every version is one.)
 *
 * THE STRUCTURE (after the dead lists that file systems with snapshots keep). Held stamps h1 < h2 <
 * ... < hn. A dead thing that exactly hj..hk still see is filed under hk, in the sub-list "oldest =
 * hj". New things wait in the limbo array until the next scan, because their fate is known only
 * then. Dropping hm: (hm, oldest hm) is doomed, to be freed by quota; (hm, oldest hj) is spliced to
 * (hm-1, oldest hj); (hk, oldest hm) for k > m is spliced to (hk, oldest hm+1). A drop thus visits
 * lists, never things that stay; a scan makes all its drops in one pass over what is held, so that it
 * costs O(held + lists of what goes or is renamed), and not that for each drop.
 *
 * WHY A SCAN NEED LOOK AT NEW THINGS ONLY. A reader that begins after a scan reads the root current
 * at that scan or a newer one, and everything filed or doomed by the scan died at or before it. So
 * a newly held stamp never reaches into an old list.
 *
 * MEMORY. A dead block (long value, name, root record) is linked through its own 8-byte header,
 * which readers never touch. A dead page has no header; its record is a node of 16 bytes in a
 * chunk. Every call that may not fail is prepared by one that may: cop__dead_reserve before a draft
 * retires anything; a filing that cannot get a node leaves the thing in limbo.
 *
 * Not thread-safe: for the holder of the commit right.
 */
#ifndef COP_RECLAIM_DEAD_H
#define COP_RECLAIM_DEAD_H

#include "reclaim/pool.h"

/* What a limbo record's upper 16 bits say: a block's size class, or one of these. */
#define COP_DEAD_OF_NAMES 0x200u /* flag beside a class: the block is a name */
#define COP_DEAD_LARGE 0xffffu
#define COP_DEAD_PAGE 0xfffeu
#define COP_DEAD_ROOT 0xfffcu           /* a root record; its own first word is its header */
#define COP_DEAD_PAGE_OF_VALUES 0xfffdu /* a page that dies with the long values in it */
_Static_assert(COP_CLASSES <= COP_DEAD_OF_NAMES, "the flag is not in a class");

typedef struct cop__limbo_item {
    uint64_t tagged; /* address, and in the upper 16 bits the tag above */
    uint64_t birth;
    uint64_t death;
} cop__limbo_item;

struct cop__page_chunk;

typedef struct cop__dead_list {
    uint64_t first_block, last_block; /* addresses; chained through their headers */
    struct cop__page_chunk *first_chunk, *last_chunk;
    uint64_t blocks, pages;
    uint64_t bytes; /* of the blocks */
} cop__dead_list;

typedef struct cop__sub_list {
    uint64_t oldest;
    cop__dead_list list;
} cop__sub_list;

typedef struct cop__held {
    uint64_t stamp;
    uint64_t becomes; /* scratch of a scan: this one, or the next that stays */
    bool kept;        /* scratch of weighing: by the history alone */
    bool left;        /* scratch of a scan: no longer held */
    cop__sub_list *sub; /* ascending by oldest */
    uint32_t subs, capacity;
} cop__held;

/* Calls back with each long value's block in a page: (context, block header, bytes). */
typedef void (*cop__dead_emit)(void *context, void *block, size_t bytes);
typedef void (*cop__dead_open_page)(void *page, cop__dead_emit emit, void *context);

typedef struct cop__dead {
    cop__pool *pool;
    cop__dead_open_page open_page;
    cop__limbo_item *limbo;
    size_t limbo_count, limbo_capacity;
    cop__held *held; /* ascending by stamp */
    size_t held_count, held_capacity;
    cop__dead_list doomed;
    uint64_t blocks_dead, pages_dead; /* in lists, the doomed ones too; limbo not counted */
} cop__dead;

void cop__dead_init(cop__dead *dead, cop__pool *pool, cop__dead_open_page open_page);
/* No reader is left: frees everything. */
void cop__dead_end(cop__dead *dead);

/* Room for n more limbo records; false when refused. */
bool cop__dead_reserve_slow(cop__dead *dead, size_t n);
static inline bool
cop__dead_reserve(cop__dead *dead, size_t n)
{
    return cop__likely(dead->limbo_capacity - dead->limbo_count >= n) ||
           cop__dead_reserve_slow(dead, n);
}

static inline void
cop__dead_push(cop__dead *dead, const void *p, uint64_t tag, uint64_t birth, uint64_t death)
{
    COP_ASSERT(dead->limbo_count < dead->limbo_capacity);
    COP_ASSERT(birth < death);
    dead->limbo[dead->limbo_count++] =
        (cop__limbo_item){(uint64_t)(uintptr_t)p | tag << 48, birth, death};
}

/* Reserved before. A block whose header holds its birth; bytes as it was asked for. */
static inline void
cop__dead_block(cop__dead *dead, void *block, size_t bytes, uint64_t death)
{
    size_t class = cop__pool_class(bytes);
    uint64_t birth;
    memcpy(&birth, block, sizeof birth);
    cop__dead_push(dead, block, class < COP_CLASSES ? class : COP_DEAD_LARGE, birth, death);
}

/* A name's header holds more than its birth. Names are never large. */
static inline void
cop__dead_name(cop__dead *dead, void *name, size_t bytes, uint64_t birth, uint64_t death)
{
    size_t class = cop__pool_class(bytes);
    COP_ASSERT(class < COP_CLASSES);
    cop__dead_push(dead, name, class | COP_DEAD_OF_NAMES, birth, death);
}

static inline void
cop__dead_page(cop__dead *dead, void *page, uint64_t birth, uint64_t death, bool of_values)
{
    cop__dead_push(dead, page, of_values ? COP_DEAD_PAGE_OF_VALUES : COP_DEAD_PAGE, birth, death);
}

static inline void
cop__dead_root(cop__dead *dead, void *root, uint64_t birth, uint64_t death)
{
    cop__dead_push(dead, root, COP_DEAD_ROOT, birth, death);
}

/* An array that a great peak left much too long is cut short. */
void cop__dead_shrink(cop__dead *dead);

/* Takes the held stamps found by a scan (ascending, without duplicates, none newer than the current
 * one): drops what is no longer held, files or dooms the limbo. False when refused for memory:
 * nothing is lost, later scans go on. */
bool cop__dead_scan(cop__dead *dead, const uint64_t *stamps, size_t n);

/* Frees up to quota doomed things (a page of values counts its values); returns how many are left,
 * about. */
size_t cop__dead_free(cop__dead *dead, size_t quota);

/* Marks the held version of a stamp (false: none) as kept by the history alone; all marks go. */
bool cop__dead_mark_kept(cop__dead *dead, uint64_t stamp);
void cop__dead_unmark_kept(cop__dead *dead);
/* What only versions marked kept still see: bytes of it. O(lists). */
uint64_t cop__dead_kept_bytes(const cop__dead *dead);
/* What only the version of this stamp sees: what dropping it would free. Long values that died with
 * their page are not counted: they are found when the page is freed. */
uint64_t cop__dead_alone_bytes(const cop__dead *dead, uint64_t stamp);

/* What died since the limbo had so many records; of values that died with their page, only the page.
 * O(records). */
uint64_t cop__dead_bytes_since(const cop__dead *dead, size_t first);
/* The newest stamp up to this one that is held, as the last scan found; 0: none is. */
uint64_t cop__dead_held_until(const cop__dead *dead, uint64_t stamp);

static inline size_t
cop__dead_doomed(const cop__dead *dead)
{
    return dead->doomed.blocks + dead->doomed.pages;
}

#endif

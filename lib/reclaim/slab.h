/* SPDX-License-Identifier: MIT */
/*
 * Chunks and slabs: where a pool's free items go when they are many, so that memory can be given back.
 *
 * A CHUNK is what the system gives and takes back. It is cut into SLABS of one size of item; a chunk
 * of pages or of root records is one slab. An item that is freed goes to a list of the pool's (HOT) and
 * is taken from there again; no chunk is looked at. Only when much is free, trimming moves items from
 * the hot lists to their slabs (PARKED), which are found by address in the carver's table. A slab that
 * is free to its last item can be cut for another size, and a chunk whose slabs are all free goes back
 * to the system at once.
 *
 * FULL SLABS FIRST. A hot list that runs empty is filled from a slab of that size that has little free,
 * so that those with much free go on to empty. For this the slabs with free items of a size are in
 * four lists, by the quarter of them that is free; what was never cut counts as free. In a fifth list
 * are those that are being EVACUATED: what is used in them is to move elsewhere, and they are taken
 * from only where a chunk would have to be asked for else.
 *
 * Not thread-safe: for the holder of the commit right. No function here takes longer than the items,
 * slabs or chunks it is given or names.
 */
#ifndef COP_RECLAIM_SLAB_H
#define COP_RECLAIM_SLAB_H

#include "reclaim/memory.h"

#define COP_QUARTERS 4u
#define COP_SLAB_LISTS (COP_QUARTERS + 1) /* the last one: of slabs being evacuated */

typedef struct cop__free_item {
    struct cop__free_item *next;
} cop__free_item;

typedef struct cop__slab {
    char *memory;
    cop__free_item *parked;
    struct cop__slab *next, **link; /* link: what leads here, NULL: in no list */
    struct cop__shelf *shelf;       /* of items of its size */
    uint32_t item;                  /* bytes of one; 0: the slab is free */
    uint32_t items;                 /* that it has room for */
    uint32_t cut;                   /* of them, handed out at least once */
    uint32_t free;                  /* parked, or not cut yet */
    uint32_t list;
    bool evacuated;
} cop__slab;

/* Slabs of one size of item that have some free. */
typedef struct cop__shelf {
    cop__slab *list[COP_SLAB_LISTS];
} cop__shelf;

typedef struct cop__pool_chunk {
    char *memory;
    size_t bytes;
    uint32_t slabs, free_slabs;
    uint32_t slab_shift;
    uint64_t live; /* scratch of choosing what to evacuate: bytes that are neither parked nor uncut */
    uint64_t room; /* the same: bytes that are, what is too short for an item left out */
    bool evacuated;
    cop__slab slab[];
} cop__pool_chunk;

typedef enum cop__cutting {
    COP_CUT_WHOLE,       /* a chunk is one slab */
    COP_CUT_WHOLE_WIPED, /* the same, in memory that reads as zero in a forked child */
    COP_CUT_SLABS,
    COP_CUT_LONG_SLABS /* for items that are no longer than COP_MIDDLE_MAX */
} cop__cutting;

typedef struct cop__carver { /* the chunks of one kind */
    cop__memory *memory;
    cop__pool_chunk **chunk; /* ascending by address */
    size_t capacity;
    uint32_t chunks;
    uint32_t found;      /* the place of the one that was asked for last */
    uint32_t first_free; /* no chunk before this place has a free slab to take */
    uint32_t free_slabs; /* in those not being evacuated */
    uint32_t evacuated;  /* chunks being evacuated */
    size_t chunk_bytes;  /* at the most */
    bool huge_pages;
    cop__cutting cutting;
    cop_memory_kind kind;
    /* read by statistics, of any thread */
    _Atomic uint64_t bytes;      /* in chunks */
    _Atomic uint64_t given_back; /* bytes, since the beginning */
    _Atomic uint64_t count;      /* chunks */
} cop__carver;

void cop__carver_init(cop__carver *carver, cop__memory *memory, cop_memory_kind kind,
                      cop__cutting cutting, size_t chunk_bytes, bool huge_pages);
/* Gives every chunk back. */
void cop__carver_end(cop__carver *carver);

/* An item of so many bytes for whom the hot list has none: parked ones go to *hot, all of one slab, or some
 * that are cut; one of them is returned. NULL when a chunk was refused. */
void *cop__carver_item(cop__carver *carver, cop__shelf *shelf, uint32_t bytes, cop__free_item **hot);

/* Moves items from *hot to their slabs until it is empty or quota is used up; returns what is left of
 * quota. A chunk given back costs quota, too. */
size_t cop__carver_park(cop__carver *carver, cop__free_item **hot, size_t quota);

/* ---- evacuation ---- */

/* Chooses sparse chunks whose live items fit into what is free in the others. Returns how many.
 * O(slabs). */
uint32_t cop__carver_evacuate(cop__carver *carver);
/* They are as all others again. O(chunks, and slabs of those evacuated). */
void cop__carver_stay(cop__carver *carver);

/* The chunk that this lies in, or NULL. */
cop__pool_chunk *cop__carver_find(cop__carver *carver, const void *p);

/* Whether this lies in a chunk that is being evacuated. */
static inline bool
cop__carver_evacuated(cop__carver *carver, const void *p)
{
    if (carver->evacuated == 0)
        return false;
    const cop__pool_chunk *chunk = cop__carver_find(carver, p);
    return chunk != NULL && chunk->evacuated;
}

#endif

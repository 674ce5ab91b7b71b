/* SPDX-License-Identifier: MIT */
/*
 * A hash table from 32-bit hashes to record numbers, of 8 bytes a slot.
 *
 * Linear probing with the home of a hash at hash * capacity / 2^32, so that the capacity need be no
 * power of two and can grow by half: 9 to 14 bytes an entry. A removal shifts back what follows
 * (Knuth, The Art of Computer Programming 6.4, algorithm R), so no slot is ever wasted on what was.
 *
 * For ids the hash is a bijection (cop__record_index_mix, the finaliser of MurmurHash3), so equal
 * hashes are equal ids and a lookup touches no record. Other keys go through all entries of their
 * hash.
 *
 * The table shrinks only when it is emptied by cop__record_index_trim: see cop__records.
 */
#ifndef COP_REDUCE_INDEX_H
#define COP_REDUCE_INDEX_H

#include "reclaim/memory.h"

typedef struct cop__record_index_slot {
    uint32_t hash;
    uint32_t record; /* 0: free */
} cop__record_index_slot;

typedef struct cop__record_index {
    cop__record_index_slot *slot;
    cop__memory *memory;
    uint32_t capacity, count;
} cop__record_index;

void cop__record_index_init(cop__record_index *index, cop__memory *memory);
void cop__record_index_end(cop__record_index *index);
/* Gives the slots back when the table is empty. */
void cop__record_index_trim(cop__record_index *index);

/* Makes room for one more entry. False: out of memory. O(1) amortised. */
bool cop__record_index_reserve(cop__record_index *index);
/* Room has been reserved. */
void cop__record_index_insert(cop__record_index *index, uint32_t hash, uint32_t record);
/* The entry is there. */
void cop__record_index_remove(cop__record_index *index, uint32_t hash, uint32_t record);

/* The records of a hash one by one: *place is set to cop__record_index_home first. 0: no more. */
uint32_t cop__record_index_next(const cop__record_index *index, uint32_t hash, uint32_t *place);

static inline uint32_t
cop__record_index_home(const cop__record_index *index, uint32_t hash)
{
    return (uint32_t)((uint64_t)hash * index->capacity >> 32);
}

static inline uint32_t
cop__record_index_mix(uint32_t id)
{
    id = (id ^ id >> 16) * UINT32_C(0x85ebca6b);
    id = (id ^ id >> 13) * UINT32_C(0xc2b2ae35);
    return id ^ id >> 16;
}

/* The record of an id that was inserted under cop__record_index_mix(id); 0: none. */
static inline uint32_t
cop__record_index_find(const cop__record_index *index, uint32_t id)
{
    uint32_t hash = cop__record_index_mix(id), place = cop__record_index_home(index, hash);
    return cop__record_index_next(index, hash, &place);
}

#endif

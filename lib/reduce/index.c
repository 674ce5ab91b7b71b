/* SPDX-License-Identifier: MIT */
/* Linear probing; why it is so is told in the header. */
#include "reduce/index.h"

enum { FIRST_CAPACITY = 16 };

/* At most 7/8 of the slots are used. */
static uint32_t
entries_max(uint32_t capacity)
{
    return capacity - capacity / 8;
}

void
cop__record_index_init(cop__record_index *index, cop__memory *memory)
{
    *index = (cop__record_index){.memory = memory};
}

static void
free_slots(cop__record_index *index)
{
    cop__memory_free(index->memory, COP_MEMORY_GRAPH, index->slot,
                     index->capacity * sizeof *index->slot, 16);
}

void
cop__record_index_end(cop__record_index *index)
{
    free_slots(index);
    cop__record_index_init(index, index->memory);
}

void
cop__record_index_trim(cop__record_index *index)
{
    if (index->count == 0 && index->capacity != 0)
        cop__record_index_end(index);
}

static uint32_t
next_place(const cop__record_index *index, uint32_t place)
{
    return place + 1 == index->capacity ? 0 : place + 1;
}

static void
put(cop__record_index *index, cop__record_index_slot entry)
{
    uint32_t place = cop__record_index_home(index, entry.hash);
    while (index->slot[place].record != 0)
        place = next_place(index, place);
    index->slot[place] = entry;
}

static bool
grow(cop__record_index *index)
{
    cop__record_index larger = *index;
    if (index->capacity > UINT32_MAX / 2)
        return false;
    larger.capacity = index->capacity ? index->capacity + index->capacity / 2 : FIRST_CAPACITY;
    larger.slot = cop__memory_zalloc(index->memory, COP_MEMORY_GRAPH,
                                     larger.capacity * sizeof *larger.slot, 16);
    if (!larger.slot)
        return false;
    for (uint32_t i = 0; i < index->capacity; i++) {
        if (index->slot[i].record != 0)
            put(&larger, index->slot[i]);
    }
    free_slots(index);
    *index = larger;
    return true;
}

bool
cop__record_index_reserve(cop__record_index *index)
{
    return index->count < entries_max(index->capacity) || grow(index);
}

void
cop__record_index_insert(cop__record_index *index, uint32_t hash, uint32_t record)
{
    COP_ASSERT(index->count < entries_max(index->capacity) && record != 0);
    put(index, (cop__record_index_slot){hash, record});
    index->count++;
}

uint32_t
cop__record_index_next(const cop__record_index *index, uint32_t hash, uint32_t *place)
{
    if (index->count == 0)
        return 0;
    for (;;) {
        const cop__record_index_slot *slot = &index->slot[*place];
        if (slot->record == 0)
            return 0;
        *place = next_place(index, *place);
        if (slot->hash == hash)
            return slot->record;
    }
}

/* True when an entry at `place` would no longer be found once `hole`, before it, is free. */
static bool
must_move(const cop__record_index *index, uint32_t hole, uint32_t place)
{
    uint32_t home = cop__record_index_home(index, index->slot[place].hash);
    return hole <= place ? home <= hole || home > place : home <= hole && home > place;
}

void
cop__record_index_remove(cop__record_index *index, uint32_t hash, uint32_t record)
{
    uint32_t hole = cop__record_index_home(index, hash);
    while (index->slot[hole].record != record)
        hole = next_place(index, hole);
    for (uint32_t place = next_place(index, hole); index->slot[place].record != 0;
         place = next_place(index, place)) {
        if (must_move(index, hole, place)) {
            index->slot[hole] = index->slot[place];
            hole = place;
        }
    }
    index->slot[hole].record = 0;
    index->count--;
}

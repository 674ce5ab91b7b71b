/* SPDX-License-Identifier: MIT */
/* Chunks of records and the list of free ones. */
#include "reduce/records.h"

enum { FIRST_CAPACITY = 4 };

static size_t
chunk_bytes(const cop__records *records)
{
    return (size_t)COP_RECORDS_CHUNK * records->record_bytes;
}

void
cop__records_init(cop__records *records, cop__memory *memory, uint32_t record_bytes)
{
    *records = (cop__records){.memory = memory, .record_bytes = record_bytes, .fresh = 1};
}

void
cop__records_end(cop__records *records)
{
    for (uint32_t i = 0; i < records->chunks; i++)
        cop__memory_free(records->memory, COP_MEMORY_GRAPH, records->chunk[i], chunk_bytes(records),
                         COP_CACHE_LINE);
    cop__memory_free(records->memory, COP_MEMORY_GRAPH, records->chunk,
                     records->capacity * sizeof *records->chunk, 16);
    cop__records_init(records, records->memory, records->record_bytes);
}

void
cop__records_trim(cop__records *records)
{
    if (records->in_use == 0 && records->chunks != 0)
        cop__records_end(records);
}

static bool
grow_table(cop__records *records)
{
    uint32_t capacity = records->capacity ? records->capacity * 2 : FIRST_CAPACITY;
    char **chunk = cop__memory_realloc(records->memory, COP_MEMORY_GRAPH, records->chunk,
                                       records->capacity * sizeof *chunk, capacity * sizeof *chunk);
    if (!chunk)
        return false;
    records->chunk = chunk;
    records->capacity = capacity;
    return true;
}

static bool
add_chunk(cop__records *records)
{
    if (records->chunks >= UINT32_MAX >> COP_RECORDS_CHUNK_SHIFT)
        return false;
    if (records->chunks == records->capacity && !grow_table(records))
        return false;
    char *chunk =
        cop__memory_alloc(records->memory, COP_MEMORY_GRAPH, chunk_bytes(records), COP_CACHE_LINE);
    if (!chunk)
        return false;
    records->chunk[records->chunks++] = chunk;
    return true;
}

uint32_t
cop__records_take(cop__records *records)
{
    uint32_t number = records->free;
    if (number != 0) {
        memcpy(&records->free, cop__records_at(records, number), sizeof records->free);
    } else {
        if (records->fresh >> COP_RECORDS_CHUNK_SHIFT == records->chunks && !add_chunk(records))
            return 0;
        number = records->fresh++;
    }
    records->in_use++;
    return number;
}

void
cop__records_give(cop__records *records, uint32_t number)
{
    memcpy(cop__records_at(records, number), &records->free, sizeof records->free);
    records->free = number;
    records->in_use--;
}

/* SPDX-License-Identifier: MIT */
/*
 * Records of one size, found by number: what the nodes of the reducers are kept in.
 *
 * Numbers are dense and stable, 4 bytes in a link where a pointer takes 8. Record 0 is never given
 * out: 0 means "none". Records come in chunks of 64, so growing moves nothing; freed records are
 * used again, last in first out, and all chunks are given back when no record is in use and nothing
 * may be taken back any more (cop__records_trim).
 *
 * Because chunks stay until then, a record can be taken without fail as long as there were more in
 * use at some time since the last trim: what undoing relies on.
 */
#ifndef COP_REDUCE_RECORDS_H
#define COP_REDUCE_RECORDS_H

#include "reclaim/memory.h"

#define COP_RECORDS_CHUNK_SHIFT 6u
#define COP_RECORDS_CHUNK (1u << COP_RECORDS_CHUNK_SHIFT)

typedef struct cop__records {
    char **chunk;
    cop__memory *memory;
    uint32_t chunks, capacity; /* of `chunk`: used, allocated */
    uint32_t record_bytes;
    uint32_t free;  /* the first free record; its first 4 bytes are the next's number */
    uint32_t fresh; /* records from this number on were never used */
    uint32_t in_use;
} cop__records;

void cop__records_init(cop__records *records, cop__memory *memory, uint32_t record_bytes);
/* Gives everything back, whatever is in use. */
void cop__records_end(cop__records *records);

/* A record of undefined content; 0: out of memory. O(1). */
uint32_t cop__records_take(cop__records *records);
void cop__records_give(cop__records *records, uint32_t number);
/* Gives the chunks back when nothing is in use. */
void cop__records_trim(cop__records *records);

static inline void *
cop__records_at(const cop__records *records, uint32_t number)
{
    COP_EXPENSIVE_ASSERT(number != 0 && number < records->fresh);
    return records->chunk[number >> COP_RECORDS_CHUNK_SHIFT] +
           (size_t)(number & (COP_RECORDS_CHUNK - 1)) * records->record_bytes;
}

#endif

/* SPDX-License-Identifier: MIT */
/*
 * Small runs of 8-byte words, named by a 32-bit index: dependency lists, dependents' tables and
 * blocks' node numbers. Runs of up to 16 words have a size class each, larger ones powers of two;
 * freed runs are used again. Growing moves all runs: a pointer into the arena lives until the next
 * cop__arena_take.
 */
#ifndef COP_GRAPH_ARENA_H
#define COP_GRAPH_ARENA_H

#include "reclaim/memory.h"

#define COP_ARENA_EXACT 16u
#define COP_ARENA_CLASSES (COP_ARENA_EXACT + 28u)

typedef struct cop__arena {
    uint64_t *words;
    uint32_t used, capacity; /* word 0 is never given out */
    uint32_t free[COP_ARENA_CLASSES];
    uint64_t words_free; /* on the free lists */
} cop__arena;

/* What a run of n words really has; n is positive everywhere. */
uint32_t cop__arena_size(uint32_t n);
/* The index of a run of at least n words, or 0 when refused. */
uint32_t cop__arena_take(cop__arena *arena, cop__memory *memory, uint32_t n);
/* n as it was asked for. Legal for index 0. */
void cop__arena_give(cop__arena *arena, uint32_t index, uint32_t n);
void cop__arena_end(cop__arena *arena, cop__memory *memory);

#endif

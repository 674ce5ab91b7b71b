/* SPDX-License-Identifier: MIT */
#include "graph/arena.h"

#define MANY_WORDS (UINT32_C(1) << 17) /* a table of that many grows without being copied */

static unsigned
class_of(uint32_t n)
{
    if (n <= COP_ARENA_EXACT)
        return n - 1;
    return COP_ARENA_EXACT + (unsigned)(28 - __builtin_clz(n - 1)) - 1;
}

static uint32_t
class_size(unsigned class)
{
    return class < COP_ARENA_EXACT ? class + 1 : UINT32_C(32) << (class - COP_ARENA_EXACT);
}

uint32_t
cop__arena_size(uint32_t n)
{
    return class_size(class_of(n));
}

static bool
arena_grow(cop__arena *arena, cop__memory *memory, uint32_t need)
{
    uint64_t wanted = arena->capacity + arena->capacity / (arena->capacity < MANY_WORDS ? 1 : 4);
    if (wanted < (uint64_t)arena->used + need)
        wanted = (uint64_t)arena->used + need + 256;
    if (wanted > UINT32_MAX)
        wanted = UINT32_MAX;
    if (wanted < (uint64_t)arena->used + need)
        return false;
    uint64_t *words = cop__memory_table(memory, COP_MEMORY_GRAPH, arena->words,
                                          arena->capacity * sizeof *words, wanted * sizeof *words);
    if (words == NULL)
        return false;
    arena->words = words;
    arena->capacity = (uint32_t)wanted;
    return true;
}

uint32_t
cop__arena_take(cop__arena *arena, cop__memory *memory, uint32_t n)
{
    unsigned class = class_of(n);
    uint32_t index = arena->free[class], size = class_size(class);
    if (!cop__memory_permit(memory))
        return 0;
    if (index != 0) {
        arena->free[class] = (uint32_t)arena->words[index];
        arena->words_free -= size;
        return index;
    }
    if (arena->used == 0)
        arena->used = 1;
    if ((uint64_t)arena->used + size > arena->capacity && !arena_grow(arena, memory, size))
        return 0;
    index = arena->used;
    arena->used += size;
    return index;
}

void
cop__arena_give(cop__arena *arena, uint32_t index, uint32_t n)
{
    if (index == 0)
        return;
    unsigned class = class_of(n);
    arena->words[index] = arena->free[class];
    arena->free[class] = index;
    arena->words_free += class_size(class);
}

void
cop__arena_end(cop__arena *arena, cop__memory *memory)
{
    cop__memory_table_free(memory, COP_MEMORY_GRAPH, arena->words,
                           arena->capacity * sizeof *arena->words);
}

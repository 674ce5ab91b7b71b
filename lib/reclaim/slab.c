/* SPDX-License-Identifier: MIT */
/*
 * Chunks and slabs: the idea is in slab.h.
 *
 * The first chunk of a kind is small and later ones are as large as all before them, up to the option
 * memory.chunk_bytes, so that a small store stays small and a large one gets huge pages. Near the limit none
 * takes more than a quarter of what is left, for other kinds need some too, and one that is refused is asked
 * for again at half its size, down to what one item needs: a store goes up to its limit. Slabs are a
 * sixteenth of their chunk, up to 32 KiB; long ones are of 64 KiB.
 */
#include "reclaim/slab.h"

#include "reclaim/pool.h"

#define FIRST_CHUNK_BYTES ((size_t)32 * 1024)
#define SLAB_SHIFT_LEAST 11u /* an item of COP_CLASS_MAX fits twice */
#define SLAB_SHIFT_MOST 15u
#define LONG_SLAB_SHIFT 16u
#define NO_SHIFT 63u /* of a chunk that is one slab */
#define CHUNK_SLABS_SHIFT 4u /* slabs in a chunk, while they are not longer than the most */
#define CUT_AT_ONCE 16u      /* items, */
#define CUT_BYTES 16384u     /* up to so many bytes */
#define CHUNK_UNIT ((size_t)4096)
#define LEFT_SHARE 4u        /* of the limit, that a chunk may take of what is left */
#define CHUNK_COST_SHIFT 11u /* giving a chunk back takes as long as parking so many items */

_Static_assert(COP_CLASS_MAX << 1 == 1u << SLAB_SHIFT_LEAST, "what a slab has room for");
_Static_assert(COP_MIDDLE_MAX << 2 == 1u << LONG_SLAB_SHIFT, "what a long slab has room for");

void
cop__carver_init(cop__carver *carver, cop__memory *memory, cop_memory_kind kind,
                 cop__cutting cutting, size_t chunk_bytes, bool huge_pages)
{
    memset(carver, 0, sizeof *carver);
    carver->memory = memory;
    carver->kind = kind;
    carver->cutting = cutting;
    carver->chunk_bytes = chunk_bytes;
    carver->huge_pages = huge_pages;
}

/* ---- lists ---- */

static void
list_leave(cop__slab *slab)
{
    if (slab->link == NULL)
        return;
    *slab->link = slab->next;
    if (slab->next != NULL)
        slab->next->link = slab->link;
    slab->link = NULL;
}

static void
list_enter(cop__slab *slab, uint32_t list)
{
    cop__slab **first = &slab->shelf->list[list];
    slab->list = list;
    slab->next = *first;
    slab->link = first;
    if (slab->next != NULL)
        slab->next->link = &slab->next;
    *first = slab;
}

static uint32_t
list_of(const cop__slab *slab)
{
    if (slab->evacuated)
        return COP_QUARTERS;
    uint64_t free = (uint64_t)slab->free * COP_QUARTERS;
    uint32_t list = 0;
    while (list < COP_QUARTERS - 1 && free > (uint64_t)slab->items * (list + 1))
        list++;
    return list;
}

/* What is free in the slab has changed, or whether it is being evacuated. */
static void
list_again(cop__slab *slab)
{
    uint32_t list = list_of(slab);
    if (slab->link != NULL && slab->list == list && slab->free > 0)
        return;
    list_leave(slab);
    if (slab->free > 0)
        list_enter(slab, list);
}

/* ---- chunks ---- */

/* The place of the first chunk that begins behind p. */
static uint32_t
place_behind(const cop__carver *carver, const void *p)
{
    uint32_t low = 0, high = carver->chunks;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if ((uintptr_t)carver->chunk[middle]->memory <= (uintptr_t)p)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool
lies_in(const cop__pool_chunk *chunk, const void *p)
{
    return (uintptr_t)p - (uintptr_t)chunk->memory < chunk->bytes;
}

cop__pool_chunk *
cop__carver_find(cop__carver *carver, const void *p)
{
    if (carver->found < carver->chunks && lies_in(carver->chunk[carver->found], p))
        return carver->chunk[carver->found];
    uint32_t behind = place_behind(carver, p);
    if (behind == 0 || !lies_in(carver->chunk[behind - 1], p))
        return NULL;
    carver->found = behind - 1;
    return carver->chunk[behind - 1];
}

/* As much as there is, rounded down to a power of two. */
static size_t
next_chunk_bytes(const cop__carver *carver)
{
    bool longer = carver->cutting == COP_CUT_LONG_SLABS;
    size_t first = longer ? (size_t)1 << LONG_SLAB_SHIFT : FIRST_CHUNK_BYTES;
    uint64_t all = cop__load_relaxed(&carver->bytes) + first;
    size_t bytes = (size_t)1 << (63 - __builtin_clzll(all));
    if (carver->cutting == COP_CUT_WHOLE_WIPED)
        return COP_ROOT_SLAB_BYTES;
    return bytes < carver->chunk_bytes ? bytes : carver->chunk_bytes;
}

static uint32_t
slab_shift_for(const cop__carver *carver, size_t bytes)
{
    if (carver->cutting == COP_CUT_LONG_SLABS)
        return bytes < (size_t)2 << LONG_SLAB_SHIFT ? NO_SHIFT : LONG_SLAB_SHIFT;
    if (carver->cutting != COP_CUT_SLABS || bytes < (size_t)2 << SLAB_SHIFT_LEAST)
        return NO_SHIFT;
    uint32_t shift = 63 - (uint32_t)__builtin_clzll(bytes) - CHUNK_SLABS_SHIFT;
    if (shift < SLAB_SHIFT_LEAST)
        return SLAB_SHIFT_LEAST;
    return shift < SLAB_SHIFT_MOST ? shift : SLAB_SHIFT_MOST;
}

static char *
chunk_map(const cop__carver *carver, size_t bytes)
{
    if (carver->cutting == COP_CUT_WHOLE_WIPED)
        return cop__memory_map(carver->memory, carver->kind, bytes, true);
    return cop__memory_chunk(carver->memory, carver->kind, bytes, carver->huge_pages);
}

static void
chunk_unmap(const cop__carver *carver, char *memory, size_t bytes)
{
    cop__pool_unpoison(memory, bytes);
    if (carver->cutting == COP_CUT_WHOLE_WIPED)
        cop__memory_unmap(carver->memory, carver->kind, memory, bytes);
    else
        cop__memory_chunk_free(carver->memory, carver->kind, memory, bytes, carver->huge_pages);
}

static size_t
chunk_record_bytes(uint32_t slabs)
{
    return sizeof(cop__pool_chunk) + slabs * sizeof(cop__slab);
}

static void
chunk_record_free(const cop__carver *carver, cop__pool_chunk *chunk)
{
    cop__memory_free(carver->memory, COP_MEMORY_TABLES, chunk, chunk_record_bytes(chunk->slabs), 16);
}

static bool
table_reserve(cop__carver *carver)
{
    return cop__memory_grow(carver->memory, COP_MEMORY_TABLES, &carver->chunk, &carver->capacity,
                            (size_t)carver->chunks + 1, sizeof *carver->chunk);
}

static void
table_insert(cop__carver *carver, cop__pool_chunk *chunk)
{
    uint32_t at = place_behind(carver, chunk->memory);
    memmove(&carver->chunk[at + 1], &carver->chunk[at],
            (carver->chunks - at) * sizeof *carver->chunk);
    carver->chunk[at] = chunk;
    carver->chunks++;
    carver->first_free = at < carver->first_free ? at : carver->first_free;
}

static void
table_remove(cop__carver *carver, const cop__pool_chunk *chunk)
{
    uint32_t at = place_behind(carver, chunk->memory) - 1;
    COP_ALWAYS(carver->chunk[at] == chunk);
    carver->chunks--;
    memmove(&carver->chunk[at], &carver->chunk[at + 1],
            (carver->chunks - at) * sizeof *carver->chunk);
    carver->first_free -= carver->first_free > at;
}

static void
count_chunk(cop__carver *carver, uint64_t bytes, uint64_t one)
{
    cop__store_relaxed(&carver->bytes, cop__load_relaxed(&carver->bytes) + bytes);
    cop__store_relaxed(&carver->count, cop__load_relaxed(&carver->count) + one);
}

/* A chunk of so many bytes, all its slabs free; there is room for it in the table. */
static cop__pool_chunk *
chunk_new(cop__carver *carver, size_t bytes)
{
    uint32_t shift = slab_shift_for(carver, bytes);
    uint32_t slabs = shift == NO_SHIFT ? 1 : (uint32_t)(bytes >> shift);
    cop__pool_chunk *chunk =
        cop__memory_zalloc(carver->memory, COP_MEMORY_TABLES, chunk_record_bytes(slabs), 16);
    if (chunk == NULL)
        return NULL;
    chunk->slabs = chunk->free_slabs = slabs;
    chunk->memory = chunk_map(carver, bytes);
    if (chunk->memory == NULL) {
        chunk_record_free(carver, chunk);
        return NULL;
    }
    COP_ALWAYS(((uintptr_t)chunk->memory + bytes - 1) >> 48 == 0); /* others use the upper bits */
    chunk->bytes = bytes;
    chunk->slab_shift = shift;
    for (uint32_t i = 0; i < slabs; i++)
        chunk->slab[i].memory = chunk->memory + ((size_t)i << shift); /* 0 of one slab */
    table_insert(carver, chunk);
    carver->free_slabs += slabs;
    count_chunk(carver, bytes, 1);
    return chunk;
}

/* The least chunk for an item: of whole pages, or of an eighth of one where the option is less. */
static size_t
least_chunk_bytes(const cop__carver *carver, uint32_t item)
{
    bool short_ones = carver->cutting != COP_CUT_WHOLE_WIPED && carver->chunk_bytes < CHUNK_UNIT;
    size_t unit = short_ones ? COP_PAGE_BYTES : CHUNK_UNIT;
    return (item + unit - 1) & ~(unit - 1);
}

static size_t
half_chunk_bytes(const cop__carver *carver, size_t bytes)
{
    return bytes / 2 & ~(least_chunk_bytes(carver, 1) - 1);
}

static cop__pool_chunk *
chunk_add(cop__carver *carver, uint32_t item)
{
    size_t least = least_chunk_bytes(carver, item), bytes = next_chunk_bytes(carver);
    uint64_t most = cop__memory_left(carver->memory) / LEFT_SHARE;
    cop__pool_chunk *chunk = NULL;
    if (!table_reserve(carver))
        return NULL;
    while (bytes > most && bytes > least)
        bytes = half_chunk_bytes(carver, bytes);
    for (bytes = bytes > least ? bytes : least; chunk == NULL && bytes >= least;
         bytes = half_chunk_bytes(carver, bytes))
        chunk = chunk_new(carver, bytes);
    return chunk;
}

/* All its slabs are free. */
static void
chunk_give_back(cop__carver *carver, cop__pool_chunk *chunk)
{
    table_remove(carver, chunk);
    if (chunk->evacuated)
        carver->evacuated--;
    else
        carver->free_slabs -= chunk->slabs;
    if (!COP_FAULT(count_not_returned))
        count_chunk(carver, -(uint64_t)chunk->bytes, -UINT64_C(1));
    cop__store_relaxed(&carver->given_back, cop__load_relaxed(&carver->given_back) + chunk->bytes);
    chunk_unmap(carver, chunk->memory, chunk->bytes);
    chunk_record_free(carver, chunk);
}

void
cop__carver_end(cop__carver *carver)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < carver->chunks; i++) {
        cop__pool_chunk *chunk = carver->chunk[i];
        bytes += chunk->bytes;
        chunk_unmap(carver, chunk->memory, chunk->bytes);
        chunk_record_free(carver, chunk);
    }
    COP_ALWAYS(bytes == cop__load_relaxed(&carver->bytes)); /* what was counted is what there was */
    cop__memory_free(carver->memory, COP_MEMORY_TABLES, carver->chunk,
                     carver->capacity * sizeof *carver->chunk, 16);
    carver->chunk = NULL;
    carver->chunks = 0;
    carver->capacity = 0;
}

/* ---- taking ---- */

static size_t
slab_bytes(const cop__pool_chunk *chunk)
{
    return chunk->slab_shift == NO_SHIFT ? chunk->bytes : (size_t)1 << chunk->slab_shift;
}

static cop__slab *
slab_cut(cop__carver *carver, cop__pool_chunk *chunk, cop__shelf *shelf, uint32_t item)
{
    cop__slab *slab = chunk->slab;
    while (slab->item != 0)
        slab++;
    *slab = (cop__slab){.memory = slab->memory, .shelf = shelf, .item = item,
                        .items = (uint32_t)(slab_bytes(chunk) / item), .evacuated = chunk->evacuated};
    slab->free = slab->items;
    if (COP_POOL_POISON) /* it may have had items of another size */
        cop__pool_unpoison(slab->memory, slab_bytes(chunk));
    list_enter(slab, list_of(slab));
    chunk->free_slabs--;
    carver->free_slabs -= !chunk->evacuated;
    return slab;
}

/* The first chunk with a free slab, in the order of addresses, so that those behind go on to empty. */
static cop__pool_chunk *
chunk_with_free_slab(cop__carver *carver, bool evacuated)
{
    for (uint32_t i = evacuated ? 0 : carver->first_free; i < carver->chunks; i++) {
        cop__pool_chunk *chunk = carver->chunk[i];
        if (chunk->free_slabs == 0 || chunk->evacuated != evacuated)
            continue;
        carver->first_free = evacuated ? carver->first_free : i;
        return chunk;
    }
    return NULL;
}

/* A slab of this shelf's with something free. */
static cop__slab *
slab_find(cop__carver *carver, cop__shelf *shelf, uint32_t item)
{
    for (uint32_t list = 0; list < COP_QUARTERS; list++)
        if (shelf->list[list] != NULL)
            return shelf->list[list];
    cop__pool_chunk *chunk = carver->free_slabs > 0 ? chunk_with_free_slab(carver, false) : NULL;
    if (chunk == NULL && shelf->list[COP_QUARTERS] != NULL)
        return shelf->list[COP_QUARTERS];
    if (chunk == NULL && carver->evacuated > 0)
        chunk = chunk_with_free_slab(carver, true);
    if (chunk == NULL)
        chunk = chunk_add(carver, item);
    return chunk != NULL ? slab_cut(carver, chunk, shelf, item) : NULL;
}

static uint32_t
least_of(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Some at once: the first is returned, the others go to *hot. */
static void *
cut_some(cop__slab *slab, cop__free_item **hot)
{
    uint32_t n = least_of(slab->items - slab->cut, least_of(CUT_AT_ONCE, CUT_BYTES / slab->item));
    char *first = slab->memory + (size_t)slab->cut * slab->item;
    for (uint32_t i = n - 1; i > 0; i--) {
        cop__free_item *item = (cop__free_item *)(void *)(first + (size_t)i * slab->item);
        item->next = *hot;
        *hot = item;
    }
    slab->cut += n;
    slab->free -= n;
    return first;
}

void *
cop__carver_item(cop__carver *carver, cop__shelf *shelf, uint32_t bytes, cop__free_item **hot)
{
    cop__slab *slab = slab_find(carver, shelf, bytes);
    if (slab == NULL)
        return NULL;
    void *item = slab->parked;
    if (item != NULL) {
        slab->free = slab->items - slab->cut;
        *hot = slab->parked->next;
        slab->parked = NULL;
        if (COP_POOL_POISON)
            cop__pool_unpoison(item, bytes);
    } else {
        item = cut_some(slab, hot);
    }
    list_again(slab);
    return item;
}

/* ---- parking ---- */

static cop__slab *
slab_of(const cop__pool_chunk *chunk, const void *p)
{
    uint64_t offset = (uintptr_t)p - (uintptr_t)chunk->memory;
    return (cop__slab *)(uintptr_t)&chunk->slab[offset >> chunk->slab_shift];
}

/* Returns what giving the chunk back cost, if that was its last slab. */
static size_t
slab_emptied(cop__carver *carver, cop__pool_chunk *chunk, cop__slab *slab)
{
    list_leave(slab);
    slab->item = 0;
    chunk->free_slabs++;
    if (!chunk->evacuated) {
        carver->free_slabs++;
        uint32_t place = carver->found; /* where its item was just looked up */
        carver->first_free = place < carver->first_free ? place : carver->first_free;
    }
    if (chunk->free_slabs < chunk->slabs)
        return 0;
    size_t cost = chunk->bytes >> CHUNK_COST_SHIFT;
    chunk_give_back(carver, chunk);
    return cost;
}

size_t
cop__carver_park(cop__carver *carver, cop__free_item **hot, size_t quota)
{
    while (quota > 0 && *hot != NULL) {
        cop__free_item *item = *hot;
        *hot = item->next;
        __builtin_prefetch(item->next);
        cop__pool_chunk *chunk = cop__carver_find(carver, item);
        COP_ALWAYS(chunk != NULL);
        cop__slab *slab = slab_of(chunk, item);
        item->next = slab->parked;
        slab->parked = item;
        slab->free++;
        quota--;
        if (slab->free < slab->items) {
            list_again(slab);
            continue;
        }
        size_t cost = slab_emptied(carver, chunk, slab);
        quota -= cost < quota ? cost : quota;
    }
    return quota;
}

/* ---- evacuation ---- */

static void
slab_mark(cop__slab *slab, bool evacuated)
{
    slab->evacuated = evacuated;
    if (slab->item != 0)
        list_again(slab);
}

static void
chunk_mark(cop__carver *carver, cop__pool_chunk *chunk, bool evacuated)
{
    chunk->evacuated = evacuated;
    carver->evacuated += evacuated ? 1 : UINT32_MAX;
    carver->free_slabs += evacuated ? -chunk->free_slabs : chunk->free_slabs;
    for (uint32_t i = 0; i < chunk->slabs; i++)
        slab_mark(&chunk->slab[i], evacuated);
}

static void
chunk_weigh(cop__pool_chunk *chunk)
{
    chunk->live = 0;
    chunk->room = chunk->bytes;
    for (uint32_t i = 0; i < chunk->slabs; i++) {
        const cop__slab *slab = &chunk->slab[i];
        if (slab->item == 0)
            continue;
        chunk->live += (uint64_t)(slab->items - slab->free) * slab->item;
        chunk->room -= slab_bytes(chunk) - (uint64_t)slab->free * slab->item;
    }
}

/* The sparsest first, in steps of an eighth; a chunk that is fuller is not worth its copying. A sixteenth
 * of the room in the others is left, for what their slabs have free in other sizes. */
#define EIGHTHS_MOST 6u

uint32_t
cop__carver_evacuate(cop__carver *carver)
{
    uint64_t room = 0, moved = 0;
    uint32_t chosen = 0;
    COP_ASSERT(carver->evacuated == 0);

    for (uint32_t i = 0; i < carver->chunks; i++) {
        cop__pool_chunk *chunk = carver->chunk[i];
        chunk_weigh(chunk);
        room += chunk->room;
    }
    for (uint32_t eighths = 1; eighths <= EIGHTHS_MOST; eighths++)
        for (uint32_t i = 0; i < carver->chunks; i++) {
            cop__pool_chunk *chunk = carver->chunk[i];
            uint64_t left = room - chunk->room;
            if (chunk->evacuated || chunk->live * 8 > chunk->bytes * eighths ||
                moved + chunk->live > left - left / 16)
                continue;
            room = left;
            moved += chunk->live;
            chunk_mark(carver, chunk, true);
            chosen++;
        }
    return chosen;
}

void
cop__carver_stay(cop__carver *carver)
{
    for (uint32_t i = 0; i < carver->chunks && carver->evacuated > 0; i++)
        if (carver->chunk[i]->evacuated)
            chunk_mark(carver, carver->chunk[i], false);
    carver->first_free = 0;
}

/* SPDX-License-Identifier: MIT */
/*
 * The slow side of the pool: chunks and large blocks.
 *
 * The first chunk of each kind is small and each later one twice as large up to the option
 * memory.chunk_bytes, so that a small store stays small and a large one gets huge pages.
 */
#include "reclaim/pool.h"

#include <sys/mman.h>

#if COP_ASAN
#include <sanitizer/asan_interface.h>
#endif

#define FIRST_CHUNK_BYTES ((size_t)32 * 1024)
#define HUGE_BYTES ((size_t)2 * 1024 * 1024)

struct cop__chunk {
    struct cop__chunk *next;
    void *memory;
    size_t bytes;
    size_t alignment;
};

/* A block above the size classes: its size stands before the header. */
typedef struct large_block {
    uint64_t bytes;
    uint64_t header;
} large_block;

/* The freed bytes behind the list link are made unreadable, or overwritten where no sanitizer
 * watches; the link itself stays readable for the pool. */
void
cop__pool_poison(void *p, size_t bytes)
{
    if (bytes <= sizeof(cop__free_item))
        return;
    memset((char *)p + sizeof(cop__free_item), 0xdb, bytes - sizeof(cop__free_item));
#if COP_ASAN
    ASAN_POISON_MEMORY_REGION((char *)p + sizeof(cop__free_item), bytes - sizeof(cop__free_item));
#endif
}

void
cop__pool_unpoison(void *p, size_t bytes)
{
#if COP_ASAN
    ASAN_UNPOISON_MEMORY_REGION(p, bytes);
#else
    (void)p;
    (void)bytes;
#endif
}

void
cop__pool_init(cop__pool *pool, cop__memory *memory, size_t chunk_bytes, bool huge_pages)
{
    memset(pool, 0, sizeof *pool);
    pool->memory = memory;
    pool->chunk_bytes = chunk_bytes / COP_PAGE_BYTES * COP_PAGE_BYTES;
    pool->huge_pages = huge_pages;
    pool->pages.kind = COP_MEMORY_PAGES;
    pool->values.carver.kind = COP_MEMORY_VALUES;
    pool->names.carver.kind = COP_MEMORY_NAMES;
}

static void
carver_end(cop__pool *pool, cop__carver *carver)
{
    struct cop__chunk *chunk = carver->chunks;
    while (chunk != NULL) {
        struct cop__chunk *next = chunk->next;
        cop__pool_unpoison(chunk->memory, chunk->bytes);
        cop__memory_free(pool->memory, carver->kind, chunk->memory, chunk->bytes, chunk->alignment);
        cop__memory_free(pool->memory, COP_MEMORY_TABLES, chunk, sizeof *chunk, 16);
        chunk = next;
    }
    carver->chunks = NULL;
}

/* ---- root records ---- */

#define SLAB_BYTES ((size_t)65536)

struct cop__root_slab { /* stands in the first record of the slab */
    struct cop__root_slab *next;
};

static bool
roots_refill(cop__pool *pool)
{
    struct cop__root_slab *slab =
        cop__memory_map(pool->memory, COP_MEMORY_PAGES, SLAB_BYTES, true);
    if (slab == NULL)
        return false;
    slab->next = pool->root_slabs;
    pool->root_slabs = slab;
    for (size_t at = SLAB_BYTES - COP_ROOT_BYTES; at > 0; at -= COP_ROOT_BYTES)
        cop__pool_root_free(pool, (char *)slab + at);
    return true;
}

void *
cop__pool_root(cop__pool *pool)
{
    if (!cop__pool_permit(pool) || (pool->free_roots == NULL && !roots_refill(pool)))
        return NULL;
    cop__free_item *item = pool->free_roots;
    cop__pool_unpoison(item, COP_ROOT_BYTES);
    pool->free_roots = item->next;
    return item;
}

void
cop__pool_root_free(cop__pool *pool, void *root)
{
    cop__free_item *item = root;
    item->next = pool->free_roots;
    pool->free_roots = item;
    if (COP_POOL_POISON)
        cop__pool_poison(root, COP_ROOT_BYTES);
}

static void
roots_end(cop__pool *pool)
{
    while (pool->root_slabs != NULL) {
        struct cop__root_slab *slab = pool->root_slabs;
        pool->root_slabs = slab->next;
        cop__pool_unpoison(slab, SLAB_BYTES);
        cop__memory_unmap(pool->memory, COP_MEMORY_PAGES, slab, SLAB_BYTES);
    }
}

void
cop__pool_end(cop__pool *pool)
{
    roots_end(pool);
    carver_end(pool, &pool->pages);
    carver_end(pool, &pool->values.carver);
    carver_end(pool, &pool->names.carver);
}

static size_t
next_chunk_bytes(const cop__pool *pool, const cop__carver *carver)
{
    size_t bytes = carver->next_chunk_bytes ? carver->next_chunk_bytes : FIRST_CHUNK_BYTES;
    return bytes < pool->chunk_bytes ? bytes : pool->chunk_bytes;
}

/* What is left of the chunk being cut is too short for the request: to the free lists. */
static void
blocks_keep_rest(cop__blocks *blocks)
{
    cop__carver *carver = &blocks->carver;
    while (carver->left >= COP_CLASS_STEP * 2) {
        size_t bytes = carver->left < COP_CLASS_MAX ? carver->left : COP_CLASS_MAX;
        size_t class = bytes / COP_CLASS_STEP;
        cop__free_item *item = (void *)carver->next;
        item->next = blocks->free[class];
        blocks->free[class] = item;
        carver->next += class * COP_CLASS_STEP;
        carver->left -= class * COP_CLASS_STEP;
    }
}

static bool
carver_refill(cop__pool *pool, cop__carver *carver)
{
    size_t bytes = next_chunk_bytes(pool, carver);
    struct cop__chunk *chunk = cop__memory_alloc(pool->memory, COP_MEMORY_TABLES, sizeof *chunk, 16);
    if (chunk == NULL)
        return false;
    bool huge = pool->huge_pages && bytes % HUGE_BYTES == 0;
    chunk->alignment = huge ? HUGE_BYTES : 4096;
    chunk->bytes = bytes;
    chunk->memory = cop__memory_alloc(pool->memory, carver->kind, bytes, chunk->alignment);
    if (chunk->memory == NULL) {
        cop__memory_free(pool->memory, COP_MEMORY_TABLES, chunk, sizeof *chunk, 16);
        return false;
    }
    if (huge)
        (void)madvise(chunk->memory, bytes, MADV_HUGEPAGE); /* advice: refusal costs speed only */
    chunk->next = carver->chunks;
    carver->chunks = chunk;
    carver->next = chunk->memory;
    carver->left = bytes;
    carver->next_chunk_bytes = bytes * 2;
    return true;
}

static void *
carve(cop__pool *pool, cop__carver *carver, size_t bytes)
{
    if (carver->left < bytes && !carver_refill(pool, carver))
        return NULL;
    void *p = carver->next;
    carver->next += bytes;
    carver->left -= bytes;
    COP_ALWAYS((uintptr_t)p >> 48 == 0); /* the directory and dead lists use the upper bits */
    return p;
}

void *
cop__pool_page_slow(cop__pool *pool)
{
    if (pool->free_pages != NULL || !cop__pool_permit(pool)) /* the test hook refused */
        return NULL;
    void *page = carve(pool, &pool->pages, COP_PAGE_BYTES);
    if (page != NULL)
        pool->pages_used++;
    return page;
}

static void *
large_alloc(cop__pool *pool, cop__blocks *blocks, size_t bytes)
{
    size_t total = bytes + sizeof(uint64_t);
    large_block *large = cop__memory_alloc(pool->memory, blocks->carver.kind, total, 16);
    if (large == NULL)
        return NULL;
    COP_ALWAYS((uintptr_t)large >> 48 == 0);
    large->bytes = total;
    blocks->bytes_used += total;
    return &large->header;
}

void *
cop__pool_block_slow(cop__pool *pool, cop__blocks *blocks, size_t bytes)
{
    size_t class = cop__pool_class(bytes);
    if (class >= COP_CLASSES)
        return large_alloc(pool, blocks, bytes);
    if (blocks->free[class] != NULL || !cop__pool_permit(pool))
        return NULL;
    if (blocks->carver.left < class * COP_CLASS_STEP)
        blocks_keep_rest(blocks);
    void *block = carve(pool, &blocks->carver, class * COP_CLASS_STEP);
    if (block != NULL)
        blocks->bytes_used += class * COP_CLASS_STEP;
    return block;
}

size_t
cop__pool_large_bytes(const void *block)
{
    const large_block *large =
        (const void *)((const char *)block - offsetof(large_block, header));
    return large->bytes;
}

void
cop__pool_large_free(cop__pool *pool, cop__blocks *blocks, void *block)
{
    large_block *large = (void *)((char *)block - offsetof(large_block, header));
    blocks->bytes_used -= large->bytes;
    cop__memory_free(pool->memory, blocks->carver.kind, large, large->bytes, 16);
}

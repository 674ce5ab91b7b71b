/* SPDX-License-Identifier: MIT */
/* The slow side of the pool: empty lists, large blocks, trimming. */
#include "reclaim/pool.h"

#if COP_ASAN
#include <sanitizer/asan_interface.h>
#endif

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
    size_t unit = chunk_bytes < 4096 ? COP_PAGE_BYTES : 4096;
    size_t bytes = chunk_bytes / unit * unit;
    memset(pool, 0, sizeof *pool);
    pool->memory = memory;
    cop__carver_init(&pool->pages, memory, COP_MEMORY_PAGES, COP_CUT_WHOLE, bytes, huge_pages);
    cop__carver_init(&pool->roots, memory, COP_MEMORY_PAGES, COP_CUT_WHOLE_WIPED, 0, false);
    cop__carver_init(&pool->values.carver, memory, COP_MEMORY_VALUES, COP_CUT_SLABS, bytes,
                     huge_pages);
    cop__carver_init(&pool->names.carver, memory, COP_MEMORY_NAMES, COP_CUT_SLABS, bytes,
                     huge_pages);
}

void
cop__pool_end(cop__pool *pool)
{
    cop__carver_end(&pool->roots);
    cop__carver_end(&pool->pages);
    cop__carver_end(&pool->values.carver);
    cop__carver_end(&pool->names.carver);
}

void *
cop__pool_root(cop__pool *pool)
{
    if (!cop__pool_permit(pool))
        return NULL;
    cop__free_item *item = pool->free_roots;
    if (item == NULL)
        return cop__carver_item(&pool->roots, &pool->root_shelf, COP_ROOT_BYTES,
                                &pool->free_roots);
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

void *
cop__pool_page_slow(cop__pool *pool)
{
    if (pool->free_pages != NULL || !cop__pool_permit(pool)) /* the test hook refused */
        return NULL;
    void *page =
        cop__carver_item(&pool->pages, &pool->page_shelf, COP_PAGE_BYTES, &pool->free_pages);
    if (page != NULL)
        pool->pages_used++;
    return page;
}

/* ---- blocks ---- */

static void
count_large(cop__blocks *blocks, uint64_t bytes)
{
    blocks->bytes_used += bytes;
    cop__store_relaxed(&blocks->large_bytes, cop__load_relaxed(&blocks->large_bytes) + bytes);
}

static void *
large_alloc(cop__pool *pool, cop__blocks *blocks, size_t bytes)
{
    size_t total = bytes + sizeof(uint64_t);
    large_block *large = cop__memory_alloc(pool->memory, blocks->carver.kind, total, 16);
    if (large == NULL)
        return NULL;
    COP_ALWAYS((uintptr_t)large >> 48 == 0); /* the dead lists use the upper bits */
    large->bytes = total;
    count_large(blocks, total);
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
    void *block = cop__carver_item(&blocks->carver, &blocks->shelf[class],
                                   (uint32_t)(class * COP_CLASS_STEP), &blocks->free[class]);
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
    count_large(blocks, -large->bytes);
    cop__memory_free(pool->memory, blocks->carver.kind, large, large->bytes, 16);
}

/* ---- giving back ---- */

static size_t
blocks_park(cop__blocks *blocks, size_t quota)
{
    for (size_t class = 1; class < COP_CLASSES && quota > 0; class++)
        if (blocks->free[class] != NULL)
            quota = cop__carver_park(&blocks->carver, &blocks->free[class], quota);
    return quota;
}

bool
cop__pool_trim(cop__pool *pool, size_t quota)
{
    quota = cop__carver_park(&pool->pages, &pool->free_pages, quota);
    quota = cop__carver_park(&pool->roots, &pool->free_roots, quota);
    quota = blocks_park(&pool->values, quota);
    return blocks_park(&pool->names, quota) == 0;
}

uint64_t
cop__pool_bytes(const cop__pool *pool)
{
    return cop__load_relaxed(&pool->pages.bytes) + cop__load_relaxed(&pool->values.carver.bytes) +
           cop__load_relaxed(&pool->names.carver.bytes);
}

static uint64_t
blocks_small(const cop__blocks *blocks)
{
    return blocks->bytes_used - cop__load_relaxed(&blocks->large_bytes);
}

uint64_t
cop__pool_free_bytes(const cop__pool *pool)
{
    return cop__pool_bytes(pool) - pool->pages_used * COP_PAGE_BYTES - blocks_small(&pool->values) -
           blocks_small(&pool->names);
}

uint64_t
cop__pool_given_back(const cop__pool *pool)
{
    return cop__load_relaxed(&pool->pages.given_back) +
           cop__load_relaxed(&pool->roots.given_back) +
           cop__load_relaxed(&pool->values.carver.given_back) +
           cop__load_relaxed(&pool->names.carver.given_back);
}

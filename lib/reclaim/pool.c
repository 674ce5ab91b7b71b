/* SPDX-License-Identifier: MIT */
/* The slow side of the pool: empty lists, large blocks, trimming. */
#include "reclaim/pool.h"

#if COP_ASAN
#include <sanitizer/asan_interface.h>
#endif

#define LARGE_MAPPED ((size_t)65536) /* from here on large blocks are mapped */
#define LARGE_IS_CHUNK (UINT64_C(1) << 63)
#define MAPPING_STEP ((size_t)4096)

_Static_assert(COP_CLASS_MAX << (COP_CLASSES - COP_SMALL_CLASSES) / COP_MIDDLE_STEPS == COP_MIDDLE_MAX,
               "the last class is of the most bytes");

/* A block above the size classes: its size stands before the header, and whether it is a chunk to the
 * account. */
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
    cop__carver_init(&pool->values.middle, memory, COP_MEMORY_VALUES, COP_CUT_LONG_SLABS, bytes, false);
    cop__carver_init(&pool->names.middle, memory, COP_MEMORY_NAMES, COP_CUT_LONG_SLABS, bytes, false);
    cop__carver_init(&pool->names.carver, memory, COP_MEMORY_NAMES, COP_CUT_SLABS, bytes,
                     huge_pages);
}

void
cop__pool_end(cop__pool *pool)
{
    cop__carver_end(&pool->roots);
    cop__carver_end(&pool->pages);
    cop__carver_end(&pool->values.carver);
    cop__carver_end(&pool->values.middle);
    cop__carver_end(&pool->names.carver);
    cop__carver_end(&pool->names.middle);
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
    uint64_t chunk = 0;
    large_block *large = NULL;
    if (total >= LARGE_MAPPED) {
        size_t mapped = (total + MAPPING_STEP - 1) & ~(MAPPING_STEP - 1);
        large = cop__memory_chunk(pool->memory, blocks->carver.kind, mapped, false);
        total = large != NULL ? mapped : total;
        chunk = large != NULL ? LARGE_IS_CHUNK : 0;
    }
    if (large == NULL) /* a process may have so many mappings only */
        large = cop__memory_alloc(pool->memory, blocks->carver.kind, total, 16);
    if (large == NULL)
        return NULL;
    COP_ALWAYS((uintptr_t)large >> 48 == 0); /* the dead lists use the upper bits */
    large->bytes = total | chunk;
    count_large(blocks, total);
    return &large->header;
}

size_t
cop__pool_middle_class(size_t bytes)
{
    if (bytes > COP_MIDDLE_MAX)
        return COP_CLASSES;
    size_t last = (bytes - 1) / COP_CLASS_MAX; /* its highest bit: the doubling */
    size_t doubling = 63 - (size_t)__builtin_clzll(last);
    size_t step = ((bytes - 1) >> doubling) / (COP_CLASS_MAX / COP_MIDDLE_STEPS);
    return COP_SMALL_CLASSES + doubling * COP_MIDDLE_STEPS + step - COP_MIDDLE_STEPS;
}

static cop__carver *
carver_of(cop__blocks *blocks, size_t class)
{
    return class < COP_SMALL_CLASSES ? &blocks->carver : &blocks->middle;
}

void *
cop__pool_block_slow(cop__pool *pool, cop__blocks *blocks, size_t bytes)
{
    size_t class = cop__pool_class(bytes);
    if (class == COP_CLASSES)
        return large_alloc(pool, blocks, bytes);
    bool free = blocks->free[class] != NULL;
    if ((free && class < COP_SMALL_CLASSES) || !cop__pool_permit(pool)) /* the test hook refused */
        return NULL;
    if (free)
        return cop__pool_block_pop(blocks, class);
    size_t item = cop__pool_class_bytes(class);
    void *block = cop__carver_item(carver_of(blocks, class), &blocks->shelf[class], (uint32_t)item,
                                   &blocks->free[class]);
    if (block != NULL)
        blocks->bytes_used += item;
    return block;
}

void
cop__pool_block_free_slow(cop__pool *pool, cop__blocks *blocks, void *block, size_t bytes)
{
    size_t class = cop__pool_middle_class(bytes);
    if (class == COP_CLASSES)
        cop__pool_large_free(pool, blocks, block);
    else
        cop__pool_block_push(blocks, block, class);
}

size_t
cop__pool_large_bytes(const void *block)
{
    const large_block *large =
        (const void *)((const char *)block - offsetof(large_block, header));
    return large->bytes & ~LARGE_IS_CHUNK;
}

void
cop__pool_large_free(cop__pool *pool, cop__blocks *blocks, void *block)
{
    large_block *large = (void *)((char *)block - offsetof(large_block, header));
    uint64_t bytes = large->bytes & ~LARGE_IS_CHUNK;
    count_large(blocks, -bytes);
    if (large->bytes & LARGE_IS_CHUNK)
        cop__memory_chunk_free(pool->memory, blocks->carver.kind, large, bytes, false);
    else
        cop__memory_free(pool->memory, blocks->carver.kind, large, bytes, 16);
}

/* ---- giving back ---- */

static size_t
blocks_park(cop__blocks *blocks, size_t quota)
{
    for (size_t class = 1; class < COP_CLASSES && quota > 0; class++)
        if (blocks->free[class] != NULL)
            quota = cop__carver_park(carver_of(blocks, class), &blocks->free[class], quota);
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

static uint64_t
blocks_bytes(const cop__blocks *blocks)
{
    return cop__load_relaxed(&blocks->carver.bytes) + cop__load_relaxed(&blocks->middle.bytes);
}

uint64_t
cop__pool_bytes(const cop__pool *pool)
{
    return cop__load_relaxed(&pool->pages.bytes) + blocks_bytes(&pool->values) +
           blocks_bytes(&pool->names);
}

static uint64_t
blocks_in_classes(const cop__blocks *blocks)
{
    return blocks->bytes_used - cop__load_relaxed(&blocks->large_bytes);
}

uint64_t
cop__pool_free_bytes(const cop__pool *pool)
{
    return cop__pool_bytes(pool) - pool->pages_used * COP_PAGE_BYTES -
           blocks_in_classes(&pool->values) - blocks_in_classes(&pool->names);
}

static uint64_t
blocks_given_back(const cop__blocks *blocks)
{
    return cop__load_relaxed(&blocks->carver.given_back) +
           cop__load_relaxed(&blocks->middle.given_back);
}

uint64_t
cop__pool_given_back(const cop__pool *pool)
{
    return cop__load_relaxed(&pool->pages.given_back) +
           cop__load_relaxed(&pool->roots.given_back) +
           blocks_given_back(&pool->values) + blocks_given_back(&pool->names);
}

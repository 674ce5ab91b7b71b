/* SPDX-License-Identifier: MIT */
/*
 * Memory for pages and for long values, owned by whoever holds the commit right: nothing here is
 * thread-safe, nothing here blocks but the allocator behind it.
 *
 * Pages are 512 bytes, last in first out, cut from chunks that the kernel is advised to back with
 * huge pages. Blocks (long values, names, small child lists) come from size classes: up to 1 KiB 8 bytes
 * apart, from there on to 16 KiB eight to each doubling (MIDDLE, in chunks with longer slabs). Each begins
 * with an 8-byte header that its owner uses for the birth stamp and, once the block is dead, the dead lists
 * use for their link. What is larger comes one by one: from the allocator, or from 64 KiB on as a mapping
 * of its own, which no other thread's heap keeps when it is freed.
 *
 * Taking and freeing are a pop and a push of a list; where the chunks are and how memory is given back
 * is said in slab.h. Nothing is given back but by cop__pool_trim.
 */
#ifndef COP_RECLAIM_POOL_H
#define COP_RECLAIM_POOL_H

#include "reclaim/slab.h"

#define COP_PAGE_BYTES 512u
#define COP_CLASS_STEP 8u
#define COP_CLASS_MAX 1024u /* the last of the small classes */
#define COP_SMALL_CLASSES (COP_CLASS_MAX / COP_CLASS_STEP + 1)
#define COP_MIDDLE_MAX 16384u
#define COP_MIDDLE_STEPS 8u /* classes to a doubling */
#define COP_CLASSES (COP_SMALL_CLASSES + 4 * COP_MIDDLE_STEPS)

typedef struct cop__blocks { /* blocks of one kind */
    cop__free_item *free[COP_CLASSES];
    uint64_t bytes_used;
    cop__carver carver; /* of the small classes */
    cop__carver middle;
    cop__shelf shelf[COP_CLASSES];
    _Atomic uint64_t large_bytes; /* of bytes_used: in large blocks. Any thread may read it */
} cop__blocks;

typedef struct cop__pool {
    cop__memory *memory;
    cop__free_item *free_pages;
    cop__free_item *free_roots;
    uint64_t pages_used;
    cop__blocks values; /* long values and child lists */
    cop__blocks names;
    cop__carver pages, roots;
    cop__shelf page_shelf, root_shelf;
} cop__pool;

void cop__pool_init(cop__pool *pool, cop__memory *memory, size_t chunk_bytes, bool huge_pages);
/* Gives every chunk back; large blocks must have been freed. */
void cop__pool_end(cop__pool *pool);

/* Moves free items to where chunks that are wholly free are seen, and gives those back to the system: at
 * most `quota` items in one call (a chunk counts as one for each 2 KiB). True when there is more to do;
 * then it is to be called again. Items that are used meanwhile stay where they are. */
bool cop__pool_trim(cop__pool *pool, size_t quota);
/* Bytes of chunks of pages and blocks; those that are free in them; given back since the beginning. */
uint64_t cop__pool_bytes(const cop__pool *pool);
uint64_t cop__pool_free_bytes(const cop__pool *pool);
uint64_t cop__pool_given_back(const cop__pool *pool);

/* Root records: of COP_ROOT_BYTES, aligned to a cache line, in memory that a forked child sees as
 * zero, so that no reading call needs a check of its own to notice a fork. NULL when refused. */
#define COP_ROOT_BYTES ((size_t)256)
#define COP_ROOT_SLAB_BYTES ((size_t)65536)
void *cop__pool_root(cop__pool *pool);
void cop__pool_root_free(cop__pool *pool, void *root);

/* NULL when refused. Not zeroed. */
void *cop__pool_page_slow(cop__pool *pool);
void *cop__pool_block_slow(cop__pool *pool, cop__blocks *blocks, size_t bytes);
void cop__pool_block_free_slow(cop__pool *pool, cop__blocks *blocks, void *block, size_t bytes);
void cop__pool_large_free(cop__pool *pool, cop__blocks *blocks, void *block);
/* What it holds of the allocator, or of a mapping. */
size_t cop__pool_large_bytes(const void *block);
/* Bytes in use: of pages, blocks and large blocks, what is dead but not freed yet among them. Root records
 * are left out. */
static inline uint64_t
cop__pool_used(const cop__pool *pool)
{
    return pool->pages_used * COP_PAGE_BYTES + pool->values.bytes_used + pool->names.bytes_used;
}
void cop__pool_poison(void *p, size_t bytes);
void cop__pool_unpoison(void *p, size_t bytes);

#if defined(__SANITIZE_ADDRESS__)
#define COP_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define COP_ASAN 1
#endif
#endif
#ifndef COP_ASAN
#define COP_ASAN 0
#endif

/* Freed memory is overwritten in builds made for finding faults, so that use after free shows. */
#if COP_ASAN || defined(COP_PERTURB) || defined(COP_PLANTED_FAULTS)
#define COP_POOL_POISON 1
#else
#define COP_POOL_POISON 0
#endif

/* False when the test hook wants this request refused; pools seldom reach the allocator. */
static inline bool
cop__pool_permit(cop__pool *pool)
{
    return cop__likely(atomic_load_explicit(&pool->memory->fail_countdown, memory_order_relaxed) < 0) ||
           cop__memory_permit(pool->memory);
}

static inline void *
cop__pool_page(cop__pool *pool)
{
    cop__free_item *item = pool->free_pages;
    if (cop__unlikely(item == NULL || !cop__pool_permit(pool)))
        return cop__pool_page_slow(pool);
    if (COP_POOL_POISON)
        cop__pool_unpoison(item, COP_PAGE_BYTES);
    pool->free_pages = item->next;
    pool->pages_used++;
    return item;
}

static inline void
cop__pool_page_free(cop__pool *pool, void *page)
{
    cop__free_item *item = page;
    item->next = pool->free_pages;
    pool->free_pages = item;
    pool->pages_used--;
    if (COP_POOL_POISON)
        cop__pool_poison(page, COP_PAGE_BYTES);
}

/* Copies a page. The length is hidden from the compiler, so that it calls the C library, which picks
 * the widest moves of the processor at hand, in place of 16-byte moves of its own. */
static inline void
cop__page_copy(void *to, const void *from)
{
    size_t bytes = COP_PAGE_BYTES;
    __asm__("" : "+r"(bytes));
    memcpy(to, from, bytes);
}

/* The class of a block of so many bytes, above COP_CLASS_MAX; COP_CLASSES: of none, it is large. */
size_t cop__pool_middle_class(size_t bytes);

static inline size_t
cop__pool_small_class(size_t bytes)
{
    return (bytes + COP_CLASS_STEP - 1) / COP_CLASS_STEP;
}

static inline size_t
cop__pool_class(size_t bytes)
{
    size_t class = cop__pool_small_class(bytes);
    return cop__likely(class < COP_SMALL_CLASSES) ? class : cop__pool_middle_class(bytes);
}

/* Bytes of each block of a class. */
static inline size_t
cop__pool_class_bytes(size_t class)
{
    if (cop__likely(class < COP_SMALL_CLASSES))
        return class * COP_CLASS_STEP;
    size_t middle = class - COP_SMALL_CLASSES;
    return (COP_MIDDLE_STEPS + 1 + middle % COP_MIDDLE_STEPS) * (COP_CLASS_MAX / COP_MIDDLE_STEPS)
           << middle / COP_MIDDLE_STEPS;
}

/* Whether a block of so many bytes is in a chunk that is being evacuated. */
static inline bool
cop__pool_evacuated(cop__blocks *blocks, const void *block, size_t bytes)
{
    bool small = bytes <= COP_CLASS_MAX;
    return cop__carver_evacuated(small ? &blocks->carver : &blocks->middle, block);
}

/* From and to the list of a class. */
static inline void *
cop__pool_block_pop(cop__blocks *blocks, size_t class)
{
    cop__free_item *item = blocks->free[class];
    if (COP_POOL_POISON)
        cop__pool_unpoison(item, cop__pool_class_bytes(class));
    blocks->free[class] = item->next;
    blocks->bytes_used += cop__pool_class_bytes(class);
    return item;
}

static inline void
cop__pool_block_push(cop__blocks *blocks, void *block, size_t class)
{
    cop__free_item *item = block;
    item->next = blocks->free[class];
    blocks->free[class] = item;
    blocks->bytes_used -= cop__pool_class_bytes(class);
    if (COP_POOL_POISON)
        cop__pool_poison(block, cop__pool_class_bytes(class));
}

/* A block of at least `bytes`, header included, from pool->values or pool->names. NULL when
 * refused. */
static inline void *
cop__pool_block(cop__pool *pool, cop__blocks *blocks, size_t bytes)
{
    size_t class = cop__pool_small_class(bytes);
    if (cop__unlikely(class >= COP_SMALL_CLASSES || blocks->free[class] == NULL ||
                      !cop__pool_permit(pool)))
        return cop__pool_block_slow(pool, blocks, bytes);
    return cop__pool_block_pop(blocks, class);
}

/* bytes as asked for; a block of COP_MIDDLE_MAX or less goes to its free list. */
static inline void
cop__pool_block_free(cop__pool *pool, cop__blocks *blocks, void *block, size_t bytes)
{
    size_t class = cop__pool_small_class(bytes);
    if (cop__unlikely(class >= COP_SMALL_CLASSES))
        cop__pool_block_free_slow(pool, blocks, block, bytes);
    else
        cop__pool_block_push(blocks, block, class);
}

#endif

/* SPDX-License-Identifier: MIT */
/*
 * Accounting of a store's memory, and the libc allocator.
 *
 * A request is counted first, by a compare-and-swap of `held` that refuses what would pass the limit.
 * So `held` bounds what the allocator gave out at every moment, whatever threads do at once. Counters are
 * relaxed: they order nothing, each is exact by itself. Allocation and release of one block are ordered by
 * whoever hands the block over. The list of stuck mappings is under its lock; its count is read without, by
 * who may see it late.
 *
 * Progress: lock-free but for the allocator, the kernel, and stuck mappings.
 */
#include "reclaim/memory.h"

#include <sys/mman.h>

#include "base/letters.h"

#define ALIGNMENT_MIN 16u
#define PAGE_BYTES ((size_t)4096)
#define STUCK_TRIES 16u /* mappings, that are tried again when another was unmapped */

/* --- libc ------------------------------------------------------------------------------------- */

/* The size becomes a multiple of the alignment: C11 wants it of aligned_alloc, and a host's malloc
 * may align what is smaller than 16 bytes to 8 only (jemalloc does). */
static void *
libc_allocate(void *context, size_t size, size_t alignment)
{
    (void)context;
    if (size > SIZE_MAX - alignment)
        return NULL;
    size = (size + alignment - 1) & ~(alignment - 1);
    return alignment <= _Alignof(max_align_t) ? malloc(size) : aligned_alloc(alignment, size);
}

static void
libc_release(void *context, void *memory, size_t size, size_t alignment)
{
    (void)context;
    (void)size;
    (void)alignment;
    free(memory);
}

cop_allocator
cop_allocator_libc(void)
{
    return (cop_allocator){libc_allocate, libc_release, NULL, NULL, NULL};
}

/* --- the account ------------------------------------------------------------------------------ */

static void
raise_peak(cop__memory *memory, uint64_t held)
{
    uint64_t peak = cop__load_relaxed(&memory->peak);
    while (held > peak &&
           !atomic_compare_exchange_weak_explicit(&memory->peak, &peak, held, memory_order_relaxed,
                                                  memory_order_relaxed))
        ;
}

static _Thread_local const cop__memory *spending;

void
cop__memory_spend(const cop__memory *memory)
{
    spending = memory;
}

void
cop__memory_set_limit(cop__memory *memory, uint64_t limit)
{
    uint64_t reserve = limit / COP_MEMORY_RESERVE_SHARE;
    if (reserve > COP_MEMORY_RESERVE_MOST)
        reserve = COP_MEMORY_RESERVE_MOST;
    cop__store_relaxed(&memory->reserve, reserve);
    cop__store_relaxed(&memory->most, limit - reserve);
    cop__store_relaxed(&memory->limit, limit);
}

/* Whether a request of this kind may have of the reserve what it needs, to hold so much. */
static __attribute__((noinline)) bool
may_reserve(cop__memory *memory, cop_memory_kind kind, uint64_t held)
{
    uint64_t limit = cop__load_relaxed(&memory->limit);
    uint64_t half = cop__load_relaxed(&memory->reserve) / 2;
    if (spending == memory || COP_FAULT(reserve_used))
        return held <= limit;
    return (kind == COP_MEMORY_TXN || kind == COP_MEMORY_READERS) && half <= limit &&
           held <= limit - half;
}

/* held never passes what it may be, not for a moment. */
static bool
count(cop__memory *memory, cop_memory_kind kind, size_t size)
{
    uint64_t held = cop__load_relaxed(&memory->held);
    /* No object is greater than PTRDIFF_MAX; without this the sum could wrap. */
    if (size > PTRDIFF_MAX)
        return false;
    do {
        if (cop__unlikely(held + size > cop__load_relaxed(&memory->most)) &&
            !may_reserve(memory, kind, held + size))
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&memory->held, &held, held + size,
                                                    memory_order_relaxed, memory_order_relaxed));
    cop__add_relaxed(&memory->by_kind[kind], size);
    raise_peak(memory, held + size);
    return true;
}

static void
uncount(cop__memory *memory, cop_memory_kind kind, size_t size)
{
    if (COP_FAULT(count_not_returned))
        return;
    uint64_t of_kind = cop__sub_relaxed(&memory->by_kind[kind], size);
    uint64_t held = cop__sub_relaxed(&memory->held, size);
    COP_ASSERT(of_kind >= size);
    COP_ASSERT(held >= size);
    (void)of_kind;
    (void)held;
}

/* --- mappings that are stuck ------------------------------------------------------------------ */

typedef struct cop__stuck { /* at its beginning */
    struct cop__stuck *next;
    size_t size, counted;
    cop_memory_kind kind;
} cop__stuck;

/* Under the lock, as is the next one. */
static void
stuck_append(cop__memory *memory, cop__stuck *stuck)
{
    stuck->next = NULL;
    *memory->stuck_end = stuck;
    memory->stuck_end = &stuck->next;
    cop__add_relaxed(&memory->stuck_count, 1);
}

static cop__stuck *
stuck_take(cop__memory *memory)
{
    cop__stuck *stuck = memory->stuck;
    memory->stuck = stuck->next;
    if (stuck->next == NULL)
        memory->stuck_end = &memory->stuck;
    cop__sub_relaxed(&memory->stuck_count, 1);
    return stuck;
}

/* Its pages are given back but for the first, or it stays counted whole. */
static __attribute__((noinline)) void
stuck_add(cop__memory *memory, cop_memory_kind kind, void *p, size_t size)
{
    cop__stuck *stuck = p;
    size_t rest = size - PAGE_BYTES;
    if (rest > 0 && madvise((char *)p + PAGE_BYTES, rest, MADV_DONTNEED) != 0)
        rest = 0;
    uncount(memory, kind, rest);
    stuck->size = size;
    stuck->counted = size - rest;
    stuck->kind = kind;
    pthread_mutex_lock(&memory->stuck_lock);
    stuck_append(memory, stuck);
    pthread_mutex_unlock(&memory->stuck_lock);
}

/* The oldest ones; those that stay stuck come last. True when one was unmapped. */
static __attribute__((noinline)) bool
stuck_again(cop__memory *memory, uint64_t tries)
{
    bool any = false;
    pthread_mutex_lock(&memory->stuck_lock);
    uint64_t all = cop__load_relaxed(&memory->stuck_count);
    for (uint64_t n = tries < all ? tries : all; n > 0; n--) {
        cop__stuck *stuck = stuck_take(memory);
        cop_memory_kind kind = stuck->kind;
        size_t counted = stuck->counted;
        if (munmap(stuck, stuck->size) != 0) {
            stuck_append(memory, stuck);
            continue;
        }
        uncount(memory, kind, counted);
        any = true;
    }
    pthread_mutex_unlock(&memory->stuck_lock);
    return any;
}

/* What is stuck to the end stays the process's, as addresses without pages. */
static void
stuck_end(cop__memory *memory)
{
    while (stuck_again(memory, UINT64_MAX))
        ;
    while (memory->stuck != NULL) {
        cop__stuck *stuck = stuck_take(memory);
        uncount(memory, stuck->kind, stuck->counted);
        (void)madvise(stuck, stuck->size, MADV_DONTNEED);
    }
    pthread_mutex_destroy(&memory->stuck_lock);
}

/* --- life of an account ----------------------------------------------------------------------- */

cop__memory *
cop__memory_new(const cop_allocator *allocator, uint64_t limit)
{
    cop_allocator from = allocator && allocator->allocate ? *allocator : cop_allocator_libc();
    cop__memory *memory = from.allocate(from.context, sizeof *memory, ALIGNMENT_MIN);
    if (!memory)
        return NULL;
    memset(memory, 0, sizeof *memory);
    memory->allocator = from;
    cop__memory_set_limit(memory, limit);
    atomic_init(&memory->references, 1);
    atomic_init(&memory->fail_countdown, -1);
    pthread_mutex_init(&memory->stuck_lock, NULL);
    memory->stuck_end = &memory->stuck;
    /* The account's own bytes are a store's too. */
    if (!count(memory, COP_MEMORY_OTHER, sizeof *memory)) {
        pthread_mutex_destroy(&memory->stuck_lock);
        from.release(from.context, memory, sizeof *memory, ALIGNMENT_MIN);
        return NULL;
    }
    return memory;
}

void
cop__memory_ref(cop__memory *memory)
{
    cop__add_relaxed(&memory->references, 1);
}

void
cop__memory_unref(cop__memory *memory)
{
    /* acq_rel: whoever is last sees what the others released. */
    uint32_t before = cop__sub_acq_rel(&memory->references, 1);
    COP_ALWAYS(before > 0);
    if (before > 1)
        return;
    cop_allocator from = memory->allocator;
    stuck_end(memory);
    COP_ASSERT(cop__load_relaxed(&memory->held) == sizeof *memory);
    from.release(from.context, memory, sizeof *memory, ALIGNMENT_MIN);
    if (from.destroy)
        from.destroy(from.context);
}

/* A countdown of k lets k requests pass and refuses the next one. */
bool
cop__memory_permit(cop__memory *memory)
{
    int64_t left = cop__load_relaxed(&memory->fail_countdown);
    while (cop__unlikely(left >= 0)) {
        if (left == 0 && cop__load_relaxed(&memory->fail_for_ever))
            return false;
        if (atomic_compare_exchange_weak_explicit(&memory->fail_countdown, &left, left - 1,
                                                  memory_order_relaxed, memory_order_relaxed))
            return left > 0;
    }
    return true;
}

/* --- requests --------------------------------------------------------------------------------- */

/* Nothing is asked of an allocator for 0 bytes: its answer could be NULL. */
static size_t
request_size(size_t size)
{
    return size ? size : 1;
}

static size_t
request_alignment(size_t alignment)
{
    COP_ASSERT((alignment & (alignment - 1)) == 0);
    return alignment < ALIGNMENT_MIN ? ALIGNMENT_MIN : alignment;
}

void *
cop__memory_alloc(cop__memory *memory, cop_memory_kind kind, size_t size, size_t alignment)
{
    size = request_size(size);
    if (!cop__memory_permit(memory) || !count(memory, kind, size))
        return NULL;
    void *p =
        memory->allocator.allocate(memory->allocator.context, size, request_alignment(alignment));
    if (!p)
        uncount(memory, kind, size);
    return p;
}

void *
cop__memory_zalloc(cop__memory *memory, cop_memory_kind kind, size_t size, size_t alignment)
{
    void *p = cop__memory_alloc(memory, kind, size, alignment);
    if (p)
        memset(p, 0, size);
    return p;
}

/* Given back before it is uncounted, so that `held` is never too low. */
void
cop__memory_free(cop__memory *memory, cop_memory_kind kind, void *p, size_t size, size_t alignment)
{
    if (!p)
        return;
    size = request_size(size);
    memory->allocator.release(memory->allocator.context, p, size, request_alignment(alignment));
    uncount(memory, kind, size);
}

void *
cop__memory_realloc(cop__memory *memory, cop_memory_kind kind, void *p, size_t old_size,
                    size_t new_size)
{
    void *grown = cop__memory_alloc(memory, kind, new_size, ALIGNMENT_MIN);
    if (!grown)
        return NULL;
    if (p) {
        memcpy(grown, p, old_size < new_size ? old_size : new_size);
        cop__memory_free(memory, kind, p, old_size, ALIGNMENT_MIN);
    }
    return grown;
}

/* What cop__memory_more adds may wrap, and so may the product. */
bool
cop__memory_grow_slow(cop__memory *memory, cop_memory_kind kind, void *vector, size_t *capacity,
                      size_t need, size_t element_bytes)
{
    void **p = vector;
    size_t more = cop__memory_more(*capacity, need), bytes;
    if (more < need || __builtin_mul_overflow(more, element_bytes, &bytes))
        return false;
    void *grown = cop__memory_realloc(memory, kind, *p, *capacity * element_bytes, bytes);
    if (grown == NULL)
        return false;
    *p = grown;
    *capacity = more;
    return true;
}

/* ---- tables ---- */

#define TABLE_MAPPED ((size_t)1 << 20)
#define TABLE_HUGE ((size_t)8 << 20)
#define TABLE_STEP ((size_t)1 << 16) /* sizes of mappings are multiples of it */

/* What a table is mapped with, or 0 when it comes from the allocator. */
static size_t
table_mapped(const cop__memory *memory, size_t size)
{
    if (size < TABLE_MAPPED || memory->allocator.allocate != cop_allocator_libc().allocate)
        return 0;
    return (size + TABLE_STEP - 1) & ~(TABLE_STEP - 1);
}

/* Counted for the new size before, and for one size only after. */
static void *
table_remap(cop__memory *memory, cop_memory_kind kind, void *p, size_t old_size, size_t new_size)
{
    if (!cop__memory_permit(memory) || !count(memory, kind, new_size))
        return NULL;
    void *grown = old_size == 0 ? mmap(NULL, new_size, PROT_READ | PROT_WRITE,
                                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
                                : mremap(p, old_size, new_size, MREMAP_MAYMOVE);
    if (grown == MAP_FAILED) {
        uncount(memory, kind, new_size);
        return NULL;
    }
    if (new_size >= TABLE_HUGE)
        (void)madvise(grown, new_size, MADV_HUGEPAGE); /* only a wish */
    uncount(memory, kind, old_size);
    return grown;
}

void *
cop__memory_table(cop__memory *memory, cop_memory_kind kind, void *p, size_t old_size,
                  size_t new_size)
{
    size_t was = table_mapped(memory, old_size), will = table_mapped(memory, new_size);
    if (was == 0 && will == 0)
        return cop__memory_realloc(memory, kind, p, old_size, new_size);
    if (was > 0 && will > 0)
        return table_remap(memory, kind, p, was, will);
    void *other = will > 0 ? table_remap(memory, kind, NULL, 0, will)
                           : cop__memory_alloc(memory, kind, new_size, ALIGNMENT_MIN);
    if (other != NULL && p != NULL)
        memcpy(other, p, old_size < new_size ? old_size : new_size);
    if (other != NULL)
        cop__memory_table_free(memory, kind, p, old_size);
    return other;
}

void
cop__memory_table_free(cop__memory *memory, cop_memory_kind kind, void *p, size_t size)
{
    size_t mapped = table_mapped(memory, size);
    if (mapped > 0)
        cop__memory_unmap(memory, kind, p, mapped);
    else
        cop__memory_free(memory, kind, p, size, ALIGNMENT_MIN);
}

void *
cop__memory_map(cop__memory *memory, cop_memory_kind kind, size_t size, bool wipe_on_fork)
{
    if (!cop__memory_permit(memory) || !count(memory, kind, size))
        return NULL;
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        uncount(memory, kind, size);
        return NULL;
    }
    /* Whoever asks for it relies on it to see a fork: an older kernel's no is a failure. */
    if (wipe_on_fork && madvise(p, size, MADV_WIPEONFORK) != 0) {
        cop__memory_unmap(memory, kind, p, size);
        return NULL;
    }
    return p;
}

void
cop__memory_unmap(cop__memory *memory, cop_memory_kind kind, void *p, size_t size)
{
    if (!p)
        return;
    if (cop__unlikely(munmap(p, size) != 0)) {
        stuck_add(memory, kind, p, size);
        return;
    }
    uncount(memory, kind, size);
    if (cop__unlikely(cop__load_relaxed(&memory->stuck_count) > 0))
        (void)stuck_again(memory, STUCK_TRIES);
}

/* ---- chunks ---- */

#define HUGE_BYTES ((size_t)2 << 20)

static size_t
chunk_alignment(size_t size, bool huge)
{
    return huge && size % HUGE_BYTES == 0 ? HUGE_BYTES : PAGE_BYTES;
}

static bool
chunk_is_mapped(const cop__memory *memory, size_t size)
{
    return size % PAGE_BYTES == 0 && memory->allocator.allocate == libc_allocate;
}

/* What lies before and behind the part that is aligned goes back at once. What the kernel does not take of it
 * is addresses only: there never was a page. */
static void *
map_aligned(size_t size, size_t alignment)
{
    size_t more = alignment > PAGE_BYTES ? alignment : 0;
    char *p = mmap(NULL, size + more, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    size_t before = (size_t)(-(uintptr_t)p & (alignment - 1));
    if (before > 0)
        (void)munmap(p, before);
    if (more > before)
        (void)munmap(p + before + size, more - before);
    return p + before;
}

void *
cop__memory_chunk(cop__memory *memory, cop_memory_kind kind, size_t size, bool huge)
{
    size_t alignment = chunk_alignment(size, huge);
    void *p;
    if (chunk_is_mapped(memory, size)) {
        if (!cop__memory_permit(memory) || !count(memory, kind, size))
            return NULL;
        p = map_aligned(size, alignment);
        if (p == NULL)
            uncount(memory, kind, size);
    } else {
        p = cop__memory_alloc(memory, kind, size, alignment);
    }
    if (p != NULL && alignment == HUGE_BYTES)
        (void)madvise(p, size, MADV_HUGEPAGE); /* advice: refusal costs speed only */
    return p;
}

void
cop__memory_chunk_free(cop__memory *memory, cop_memory_kind kind, void *p, size_t size, bool huge)
{
    if (chunk_is_mapped(memory, size))
        cop__memory_unmap(memory, kind, p, size);
    else
        cop__memory_free(memory, kind, p, size, chunk_alignment(size, huge));
}

void
cop__memory_purge(cop__memory *memory)
{
    if (cop__load_relaxed(&memory->stuck_count) > 0)
        (void)stuck_again(memory, UINT64_MAX);
    if (memory->allocator.purge)
        memory->allocator.purge(memory->allocator.context);
}

/* --- names ------------------------------------------------------------------------------------ */

const char *
cop_memory_kind_name(cop_memory_kind kind)
{
    static const char names[][16] = {
#define KIND_NAME(name, text) {COP_LOWER_16(#name)},
        COP_MEMORY_MAP(KIND_NAME)
#undef KIND_NAME
    };
#define KIND_FITS(name, text) _Static_assert(sizeof #name <= 16, "the name of a kind is too long");
    COP_MEMORY_MAP(KIND_FITS)
#undef KIND_FITS
    if ((unsigned)kind >= COP_MEMORY_KINDS)
        return "unknown";
    return names[kind];
}

/* SPDX-License-Identifier: MIT */
/*
 * Accounting: every byte of a store is counted before it is allocated.
 *
 * THE RESERVE. The last COP_MEMORY_RESERVE_SHARE-th of the limit, 4 MiB at the most, is kept for what
 * gets a store out of its plight: transactions that are being built and reader slots may have the first
 * half of it, commits that free memory (cop__memory_spend) all of it, everything else nothing.
 *
 * STUCK. Unmapping what lies in the middle of a larger mapping splits it, and a process may have so many
 * (vm.max_map_count) only: munmap fails then. Such a mapping gives its pages back all the same, but for the
 * first, which stays counted and links it in a list; without those it is only addresses. If not even that is
 * done, all of it stays counted. Unmapping is tried again whenever something else was unmapped, some at a
 * time, by a purge, and when the account ends.
 *
 * cop__memory is shared by the store and by what may outlive it (reader slabs): it is counted by
 * references itself. All functions are thread-safe and lock-free but for the allocator's own locks, and
 * for a lock while something is stuck.
 */
#ifndef COP_RECLAIM_MEMORY_H
#define COP_RECLAIM_MEMORY_H

#include <pthread.h>

#include <coppice/memory.h>

#include "base/atomic.h"
#include "base/base.h"

typedef struct cop__memory {
    _Atomic uint64_t held; /* bytes from the allocator, all kinds */
    _Atomic uint64_t peak;
    _Atomic uint64_t limit;
    _Atomic uint64_t reserve; /* the last bytes of the limit, see above */
    _Atomic uint64_t most;    /* the limit without them: what a request is compared with first */
    _Atomic uint64_t by_kind[COP_MEMORY_KINDS];
    _Atomic uint32_t references;
    /* Test hook: counts down with each request; at 0 the request is refused, and so are all later
     * ones when fail_for_ever is set. Negative: off. */
    _Atomic int64_t fail_countdown;
    _Atomic bool fail_for_ever;
    cop_allocator allocator;
    pthread_mutex_t stuck_lock;
    struct cop__stuck *stuck, **stuck_end; /* oldest first; under the lock */
    _Atomic uint64_t stuck_count;
} cop__memory;

/* A new account with one reference; allocator zeroed means libc. NULL when out of memory. */
cop__memory *cop__memory_new(const cop_allocator *allocator, uint64_t limit);
void cop__memory_ref(cop__memory *memory);
/* The last one destroys the allocator and asserts that nothing is held. */
void cop__memory_unref(cop__memory *memory);

/* Another limit, and with it another reserve. What is held already may be more. */
#define COP_MEMORY_RESERVE_SHARE 64u
#define COP_MEMORY_RESERVE_MOST (UINT64_C(4) << 20)
void cop__memory_set_limit(cop__memory *memory, uint64_t limit);
/* From here on the calling thread's requests may have all of this account's reserve; NULL: of none.
 * Wait-free. */
void cop__memory_spend(const cop__memory *memory);

/* size bytes aligned to alignment (power of two, raised to 16), counted under kind; NULL when the
 * limit, the test hook or the allocator refuses. Not zeroed. */
void *cop__memory_alloc(cop__memory *memory, cop_memory_kind kind, size_t size, size_t alignment);
void *cop__memory_zalloc(cop__memory *memory, cop_memory_kind kind, size_t size, size_t alignment);
/* NULL is legal. size and alignment are those of the allocation. */
void cop__memory_free(cop__memory *memory, cop_memory_kind kind, void *p, size_t size, size_t alignment);
/* Grows or shrinks; alignment 16; p may be NULL with old_size 0. On refusal returns NULL and p
 * stays valid. */
void *cop__memory_realloc(cop__memory *memory, cop_memory_kind kind, void *p, size_t old_size,
                          size_t new_size);
/* The same for tables that grow large: from TABLE_MAPPED bytes on they are mappings of their own, which
 * the kernel moves without copying and backs with huge pages, if the allocator is libc's. A table is
 * given back with cop__memory_table_free. */
void *cop__memory_table(cop__memory *memory, cop_memory_kind kind, void *p, size_t old_size,
                        size_t new_size);
void cop__memory_table_free(cop__memory *memory, cop_memory_kind kind, void *p, size_t size);
/* Anonymous mapping (zeroed, page aligned), counted likewise; wipe_on_fork: reads as zero in a
 * forked child. size is rounded up to whole pages by the caller. */
void *cop__memory_map(cop__memory *memory, cop_memory_kind kind, size_t size, bool wipe_on_fork);
/* What the kernel does not take back stays counted, see above. */
void cop__memory_unmap(cop__memory *memory, cop_memory_kind kind, void *p, size_t size);

/* A chunk of a pool's: a mapping of its own, given back to the system when it is freed, if the allocator
 * is libc's. Page aligned; huge: one of whole huge pages is aligned to them, and the kernel is advised
 * to use them. */
void *cop__memory_chunk(cop__memory *memory, cop_memory_kind kind, size_t size, bool huge);
void cop__memory_chunk_free(cop__memory *memory, cop_memory_kind kind, void *p, size_t size, bool huge);
/* Asks the allocator to give back to the system what is free in it, and the kernel to take what it did not.
 * Takes what that takes. */
void cop__memory_purge(cop__memory *memory);

/* Asks the test hook alone: false when this request is to fail. For pools, whose requests seldom
 * reach the allocator. */
bool cop__memory_permit(cop__memory *memory);

/* Three quarters of what this process may use: the least of physical memory, cgroup v2/v1 limit and
 * RLIMIT_AS. */
uint64_t cop__memory_default_limit(void);

/* What is left of the limit, the reserve left out. Of another moment when it is read. */
static inline uint64_t
cop__memory_left(const cop__memory *memory)
{
    uint64_t most = cop__load_relaxed(&memory->most), held = cop__load_relaxed(&memory->held);
    return most > held ? most - held : 0;
}

/* How many things to make room for, where there was room for `had` and is to be for `need`. */
static inline size_t
cop__memory_more(size_t had, size_t need)
{
    return had * 2 > need ? had * 2 : need + 16;
}

bool cop__memory_grow_slow(cop__memory *memory, cop_memory_kind kind, void *vector, size_t *capacity,
                           size_t need, size_t element_bytes);

/* Room in a vector for `need` elements, and for some more when it has to grow: *vector moves then, and
 * *capacity is what there is room for. False when memory is refused, or no object is so large: both are as
 * before. A vector is given back with cop__memory_free. */
static inline bool
cop__memory_grow(cop__memory *memory, cop_memory_kind kind, void *vector, size_t *capacity, size_t need,
                 size_t element_bytes)
{
    return cop__likely(need <= *capacity) ||
           cop__memory_grow_slow(memory, kind, vector, capacity, need, element_bytes);
}

#endif

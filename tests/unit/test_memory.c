/* SPDX-License-Identifier: MIT */
/* Memory: accounting by kind, limits, the countdown, mappings, allocators, the default limit. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "reclaim/jemalloc.h"
#include "reclaim/memory.h"
#include "reclaim/memory_limit.h"
#include "tests/support/quick_check.h"

#define OWN sizeof(cop__memory) /* the account counts itself */
#define NO_LIMIT UINT64_MAX

/* --- an allocator that remembers -------------------------------------------------------------- */

typedef struct ledger {
    int blocks;
    int destroyed;
    int calls;
    bool refuse;
    size_t size, alignment; /* of the last request */
} ledger;

static void *
ledger_allocate(void *context, size_t size, size_t alignment)
{
    ledger *l = context;
    l->calls++;
    l->size = size;
    l->alignment = alignment;
    if (l->refuse)
        return NULL;
    l->blocks++;
    return aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
}

static void
ledger_release(void *context, void *memory, size_t size, size_t alignment)
{
    ledger *l = context;
    l->blocks--;
    l->size = size;
    l->alignment = alignment;
    free(memory);
}

static void
ledger_destroy(void *context)
{
    ledger *l = context;
    l->destroyed++;
}

static cop_allocator
ledger_table(ledger *l)
{
    return (cop_allocator){ledger_allocate, ledger_release, ledger_destroy, l, NULL};
}

static uint64_t
held(cop__memory *memory)
{
    return atomic_load(&memory->held);
}

static uint64_t
of_kind(cop__memory *memory, cop_memory_kind kind)
{
    return atomic_load(&memory->by_kind[kind]);
}

/* --- the account ------------------------------------------------------------------------------ */

START_TEST(new_account)
{
    cop__memory *memory = cop__memory_new(NULL, 1 << 20);
    ck_assert_ptr_nonnull(memory);
    ck_assert_uint_eq(held(memory), OWN);
    ck_assert_uint_eq(atomic_load(&memory->peak), OWN);
    ck_assert_uint_eq(atomic_load(&memory->limit), 1 << 20);
    ck_assert_uint_eq(of_kind(memory, COP_MEMORY_OTHER), OWN);
    ck_assert_int_lt(atomic_load(&memory->fail_countdown), 0);
    ck_assert(memory->allocator.allocate == cop_allocator_libc().allocate);
    cop__memory_unref(memory);
    cop_allocator zeroed = {NULL, NULL, NULL, NULL, NULL};
    memory = cop__memory_new(&zeroed, 1 << 20);
    ck_assert_ptr_nonnull(memory);
    ck_assert(memory->allocator.allocate == cop_allocator_libc().allocate);
    cop__memory_unref(memory);
}
END_TEST

START_TEST(new_account_refused)
{
    ledger l = {.refuse = true};
    cop_allocator table = ledger_table(&l);
    ck_assert_ptr_null(cop__memory_new(&table, NO_LIMIT));
    ck_assert_int_eq(l.calls, 1);
    l.refuse = false;
    ck_assert_ptr_null(cop__memory_new(&table, OWN - 1));
    ck_assert_int_eq(l.calls, 2);
    ck_assert_int_eq(l.blocks, 0);
    ck_assert_int_eq(l.destroyed, 0);
}
END_TEST

START_TEST(last_reference_destroys)
{
    ledger l = {0};
    cop_allocator table = ledger_table(&l);
    cop__memory *memory = cop__memory_new(&table, NO_LIMIT);
    cop__memory_ref(memory);
    cop__memory_ref(memory);
    cop__memory_unref(memory);
    cop__memory_unref(memory);
    ck_assert_int_eq(l.destroyed, 0);
    ck_assert_int_eq(l.blocks, 1);
    cop__memory_unref(memory);
    ck_assert_int_eq(l.destroyed, 1);
    ck_assert_int_eq(l.blocks, 0);
}
END_TEST

START_TEST(bytes_are_counted_by_kind)
{
    cop__memory *memory = cop__memory_new(NULL, NO_LIMIT);
    void *p[COP_MEMORY_KINDS];
    uint64_t sum = OWN;
    for (unsigned kind = 0; kind < COP_MEMORY_KINDS; kind++) {
        size_t size = 100 + kind;
        p[kind] = cop__memory_alloc(memory, (cop_memory_kind)kind, size, 16);
        ck_assert_ptr_nonnull(p[kind]);
        sum += size;
        ck_assert_uint_eq(held(memory), sum);
        ck_assert_uint_eq(of_kind(memory, (cop_memory_kind)kind),
                          size + (kind == COP_MEMORY_OTHER ? OWN : 0));
    }
    ck_assert_uint_eq(atomic_load(&memory->peak), sum);
    for (unsigned kind = 0; kind < COP_MEMORY_KINDS; kind++) {
        cop__memory_free(memory, (cop_memory_kind)kind, p[kind], 100 + kind, 16);
        ck_assert_uint_eq(of_kind(memory, (cop_memory_kind)kind),
                          kind == COP_MEMORY_OTHER ? OWN : 0);
    }
    ck_assert_uint_eq(held(memory), OWN);
    ck_assert_uint_eq(atomic_load(&memory->peak), sum);
    cop__memory_unref(memory);
}
END_TEST

START_TEST(sizes_and_alignments_reach_the_allocator)
{
    ledger l = {0};
    cop_allocator table = ledger_table(&l);
    cop__memory *memory = cop__memory_new(&table, NO_LIMIT);
    for (size_t alignment = 1; alignment <= 4096; alignment *= 2) {
        size_t raised = alignment < 16 ? 16 : alignment;
        void *p = cop__memory_alloc(memory, COP_MEMORY_PAGES, 77, alignment);
        ck_assert_uint_eq((uintptr_t)p % raised, 0);
        ck_assert_uint_eq(l.size, 77);
        ck_assert_uint_eq(l.alignment, raised);
        l.size = l.alignment = 0;
        cop__memory_free(memory, COP_MEMORY_PAGES, p, 77, alignment);
        ck_assert_uint_eq(l.size, 77);
        ck_assert_uint_eq(l.alignment, raised);
    }
    cop__memory_free(memory, COP_MEMORY_PAGES, NULL, 77, 16);
    ck_assert_int_eq(l.blocks, 1);
    cop__memory_unref(memory);
}
END_TEST

START_TEST(nothing_is_one_byte)
{
    cop__memory *memory = cop__memory_new(NULL, NO_LIMIT);
    void *p = cop__memory_alloc(memory, COP_MEMORY_TXN, 0, 16);
    ck_assert_ptr_nonnull(p);
    ck_assert_uint_eq(held(memory), OWN + 1);
    cop__memory_free(memory, COP_MEMORY_TXN, p, 0, 16);
    ck_assert_uint_eq(held(memory), OWN);
    cop__memory_unref(memory);
}
END_TEST

START_TEST(zalloc_zeroes)
{
    cop__memory *memory = cop__memory_new(NULL, NO_LIMIT);
    for (int round = 0; round < 10; round++) {
        unsigned char *p = cop__memory_zalloc(memory, COP_MEMORY_TABLES, 300, 64);
        for (int i = 0; i < 300; i++)
            ck_assert_uint_eq(p[i], 0);
        memset(p, 0xa5, 300);
        cop__memory_free(memory, COP_MEMORY_TABLES, p, 300, 64);
    }
    cop__memory_set_limit(memory, OWN);
    ck_assert_ptr_null(cop__memory_zalloc(memory, COP_MEMORY_TABLES, 300, 64));
    cop__memory_unref(memory);
}
END_TEST

/* The limit that leaves so much without its reserve. */
static uint64_t
limit_for(uint64_t bytes)
{
    uint64_t limit = bytes;
    while (limit - limit / COP_MEMORY_RESERVE_SHARE < bytes)
        limit++;
    return limit;
}

/* --- refusals --------------------------------------------------------------------------------- */

START_TEST(limit_refuses)
{
    cop__memory *memory = cop__memory_new(NULL, limit_for(OWN + 1000));
    void *p = cop__memory_alloc(memory, COP_MEMORY_VALUES, 1000, 16);
    ck_assert_ptr_nonnull(p);
    ck_assert_ptr_null(cop__memory_alloc(memory, COP_MEMORY_VALUES, 1, 16));
    ck_assert_uint_eq(held(memory), OWN + 1000);
    ck_assert_uint_eq(of_kind(memory, COP_MEMORY_VALUES), 1000);
    ck_assert_uint_eq(atomic_load(&memory->peak), OWN + 1000);
    /* The limit can be changed while running, in both directions. */
    cop__memory_set_limit(memory, limit_for(OWN + 1001));
    void *q = cop__memory_alloc(memory, COP_MEMORY_VALUES, 1, 16);
    ck_assert_ptr_nonnull(q);
    cop__memory_set_limit(memory, OWN);
    cop__memory_free(memory, COP_MEMORY_VALUES, q, 1, 16);
    ck_assert_ptr_null(cop__memory_alloc(memory, COP_MEMORY_VALUES, 1, 16));
    cop__memory_free(memory, COP_MEMORY_VALUES, p, 1000, 16);
    ck_assert_ptr_null(cop__memory_alloc(memory, COP_MEMORY_VALUES, 1, 16));
    cop__memory_unref(memory);
}
END_TEST

/* The last sixty-fourth is for transactions and readers to a half, and for who frees memory. */
START_TEST(the_reserve_is_kept)
{
    const uint64_t limit = 1 << 20, reserve = limit / 64;
    cop__memory *memory = cop__memory_new(NULL, limit), *other = cop__memory_new(NULL, limit);
    size_t most = (size_t)(limit - reserve - OWN);
    void *all = cop__memory_alloc(memory, COP_MEMORY_PAGES, most, 16);
    ck_assert_ptr_nonnull(all);
    for (unsigned kind = 0; kind < COP_MEMORY_KINDS; kind++) {
        bool may = kind == COP_MEMORY_TXN || kind == COP_MEMORY_READERS;
        void *p = cop__memory_alloc(memory, (cop_memory_kind)kind, reserve / 2, 16);
        ck_assert_int_eq(p != NULL, may);
        ck_assert_ptr_null(cop__memory_alloc(memory, (cop_memory_kind)kind, reserve / 2 + 1, 16));
        cop__memory_free(memory, (cop_memory_kind)kind, p, reserve / 2, 16);
    }
    cop__memory_spend(other);
    ck_assert_ptr_null(cop__memory_alloc(memory, COP_MEMORY_PAGES, 1, 16));
    cop__memory_spend(memory);
    void *last = cop__memory_alloc(memory, COP_MEMORY_PAGES, reserve, 16);
    ck_assert_ptr_nonnull(last);
    ck_assert_uint_eq(held(memory), limit);
    ck_assert_ptr_null(cop__memory_alloc(memory, COP_MEMORY_PAGES, 1, 16));
    cop__memory_spend(NULL);
    cop__memory_free(memory, COP_MEMORY_PAGES, last, reserve, 16);
    ck_assert_ptr_null(cop__memory_alloc(memory, COP_MEMORY_PAGES, 1, 16));
    cop__memory_set_limit(memory, UINT64_C(1) << 40);
    ck_assert_uint_eq(atomic_load(&memory->reserve), COP_MEMORY_RESERVE_MOST);
    cop__memory_free(memory, COP_MEMORY_PAGES, all, most, 16);
    cop__memory_unref(memory);
    cop__memory_unref(other);
}
END_TEST

START_TEST(impossible_sizes_are_refused)
{
    ledger l = {0};
    cop_allocator table = ledger_table(&l);
    cop__memory *memory = cop__memory_new(&table, NO_LIMIT);
    ck_assert_ptr_null(cop__memory_alloc(memory, COP_MEMORY_VALUES, SIZE_MAX, 16));
    ck_assert_ptr_null(cop__memory_alloc(memory, COP_MEMORY_VALUES, SIZE_MAX - OWN + 1, 16));
    ck_assert_ptr_null(cop__memory_alloc(memory, COP_MEMORY_VALUES, (size_t)PTRDIFF_MAX + 1, 16));
    ck_assert_ptr_null(cop__memory_map(memory, COP_MEMORY_PAGES, SIZE_MAX, false));
    ck_assert_int_eq(l.calls, 1);
    ck_assert_uint_eq(held(memory), OWN);
    cop__memory_unref(memory);
}
END_TEST

START_TEST(allocator_refuses)
{
    ledger l = {0};
    cop_allocator table = ledger_table(&l);
    cop__memory *memory = cop__memory_new(&table, NO_LIMIT);
    l.refuse = true;
    ck_assert_ptr_null(cop__memory_alloc(memory, COP_MEMORY_NAMES, 50, 16));
    ck_assert_ptr_null(cop__memory_zalloc(memory, COP_MEMORY_NAMES, 50, 16));
    ck_assert_ptr_null(cop__memory_realloc(memory, COP_MEMORY_NAMES, NULL, 0, 50));
    ck_assert_uint_eq(held(memory), OWN);
    ck_assert_uint_eq(of_kind(memory, COP_MEMORY_NAMES), 0);
    cop__memory_unref(memory);
    ck_assert_int_eq(l.destroyed, 1);
}
END_TEST

START_TEST(countdown_refuses_once)
{
    cop__memory *memory = cop__memory_new(NULL, NO_LIMIT);
    for (int k = 0; k < 5; k++) {
        atomic_store(&memory->fail_countdown, k);
        for (int i = 0; i < 10; i++) {
            void *p = cop__memory_alloc(memory, COP_MEMORY_OTHER, 8, 16);
            ck_assert_int_eq(p == NULL, i == k);
            cop__memory_free(memory, COP_MEMORY_OTHER, p, 8, 16);
        }
        ck_assert_uint_eq(held(memory), OWN);
    }
    cop__memory_unref(memory);
}
END_TEST

START_TEST(countdown_refuses_for_ever)
{
    cop__memory *memory = cop__memory_new(NULL, NO_LIMIT);
    atomic_store(&memory->fail_for_ever, true);
    ck_assert(cop__memory_permit(memory));
    atomic_store(&memory->fail_countdown, 3);
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(cop__memory_permit(memory), i < 3);
    ck_assert_ptr_null(cop__memory_map(memory, COP_MEMORY_PAGES, 4096, false));
    atomic_store(&memory->fail_countdown, -1);
    ck_assert(cop__memory_permit(memory));
    cop__memory_unref(memory);
}
END_TEST

/* --- realloc ---------------------------------------------------------------------------------- */

START_TEST(realloc_grows_and_shrinks)
{
    cop__memory *memory = cop__memory_new(NULL, NO_LIMIT);
    size_t size = 0;
    unsigned char *p = NULL;
    static const size_t sizes[] = {10, 1000, 17, 0, 5, 5};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        size_t kept = size < sizes[s] ? size : sizes[s];
        p = cop__memory_realloc(memory, COP_MEMORY_TXN, p, size, sizes[s]);
        ck_assert_ptr_nonnull(p);
        size = sizes[s];
        for (size_t i = 0; i < kept; i++)
            ck_assert_uint_eq(p[i], (unsigned char)(i * 3));
        for (size_t i = 0; i < size; i++)
            p[i] = (unsigned char)(i * 3);
        ck_assert_uint_eq(of_kind(memory, COP_MEMORY_TXN), size ? size : 1);
    }
    cop__memory_free(memory, COP_MEMORY_TXN, p, size, 16);
    cop__memory_unref(memory);
}
END_TEST

START_TEST(refused_realloc_keeps_the_old)
{
    cop__memory *memory = cop__memory_new(NULL, NO_LIMIT);
    char *p = cop__memory_alloc(memory, COP_MEMORY_TXN, 6, 16);
    memcpy(p, "stays", 6);
    atomic_store(&memory->fail_countdown, 0);
    ck_assert_ptr_null(cop__memory_realloc(memory, COP_MEMORY_TXN, p, 6, 600));
    ck_assert_str_eq(p, "stays");
    ck_assert_uint_eq(of_kind(memory, COP_MEMORY_TXN), 6);
    cop__memory_free(memory, COP_MEMORY_TXN, p, 6, 16);
    cop__memory_unref(memory);
}
END_TEST

START_TEST(vectors_grow)
{
    cop__memory *memory = cop__memory_new(NULL, NO_LIMIT);
    uint32_t *vector = NULL;
    size_t capacity = 0;
    ck_assert(cop__memory_grow(memory, COP_MEMORY_GRAPH, &vector, &capacity, 0, sizeof *vector));
    ck_assert_ptr_null(vector); /* of nothing, nothing is needed */
    for (uint32_t n = 0; n < 3000; n++) {
        const uint32_t *before = vector;
        size_t was = capacity;
        ck_assert(cop__memory_grow(memory, COP_MEMORY_GRAPH, &vector, &capacity, n + 1, sizeof *vector));
        ck_assert_uint_gt(capacity, n);
        if (n < was)
            ck_assert(vector == before && capacity == was);
        ck_assert_uint_eq(of_kind(memory, COP_MEMORY_GRAPH), capacity * sizeof *vector);
        vector[n] = n * 7;
    }
    ck_assert_uint_le(capacity, 6000);
    for (uint32_t n = 0; n < 3000; n++)
        ck_assert_uint_eq(vector[n], n * 7);
    ck_assert(cop__memory_grow(memory, COP_MEMORY_GRAPH, &vector, &capacity, 50000, sizeof *vector));
    ck_assert_uint_eq(capacity, 50016); /* more than twice */
    ck_assert_uint_eq(vector[2999], 2999 * 7);
    cop__memory_free(memory, COP_MEMORY_GRAPH, vector, capacity * sizeof *vector, 16);
    ck_assert_uint_eq(held(memory), OWN);
    cop__memory_unref(memory);
}
END_TEST

/* Refused: by the account, by the countdown, and because no size says it. */
START_TEST(refused_vectors_stay)
{
    cop__memory *memory = cop__memory_new(NULL, limit_for(OWN + 4096));
    uint64_t *vector = NULL;
    size_t capacity = 0;
    static const size_t too_many[] = {SIZE_MAX, SIZE_MAX - 15, SIZE_MAX / 8, SIZE_MAX / 8 - 15,
                                      ((size_t)PTRDIFF_MAX + 1) / 8, 4096 / 8 + 1};
    ck_assert(!cop__memory_grow(memory, COP_MEMORY_TXN, &vector, &capacity, SIZE_MAX, 8));
    ck_assert(vector == NULL && capacity == 0);
    ck_assert(cop__memory_grow(memory, COP_MEMORY_TXN, &vector, &capacity, 20, 8));
    ck_assert_uint_eq(capacity, 36);
    for (size_t i = 0; i < 36; i++)
        vector[i] = i;
    uint64_t *before = vector;
    for (size_t i = 0; i < sizeof too_many / sizeof *too_many; i++)
        ck_assert(!cop__memory_grow(memory, COP_MEMORY_TXN, &vector, &capacity, too_many[i], 8));
    ck_assert(!cop__memory_grow(memory, COP_MEMORY_TXN, &vector, &capacity, SIZE_MAX - 5, 1));
    atomic_store(&memory->fail_countdown, 0);
    ck_assert(!cop__memory_grow(memory, COP_MEMORY_TXN, &vector, &capacity, 37, 8));
    ck_assert(vector == before && capacity == 36);
    for (size_t i = 0; i < 36; i++)
        ck_assert_uint_eq(vector[i], i);
    ck_assert_uint_eq(of_kind(memory, COP_MEMORY_TXN), 36 * 8);
    ck_assert(cop__memory_grow(memory, COP_MEMORY_TXN, &vector, &capacity, 37, 8));
    ck_assert_uint_eq(capacity, 72);
    cop__memory_free(memory, COP_MEMORY_TXN, vector, 72 * 8, 16);
    cop__memory_unref(memory);
}
END_TEST

/* --- mappings --------------------------------------------------------------------------------- */

static bool advice_fails;

/* In the place of libc's: an older kernel does not know MADV_WIPEONFORK. */
int
madvise(void *p, size_t size, int advice)
{
    if (advice_fails) {
        errno = EINVAL;
        return -1;
    }
    return (int)syscall(SYS_madvise, p, size, advice);
}

static unsigned unmap_failures; /* so many times from here on */

/* The same: a process may have so many mappings only, and unmapping the middle of one makes two of it. */
int
munmap(void *p, size_t size)
{
    if (unmap_failures > 0) {
        unmap_failures--;
        errno = ENOMEM;
        return -1;
    }
    return (int)syscall(SYS_munmap, p, size);
}

START_TEST(map_counts)
{
    cop__memory *memory = cop__memory_new(NULL, NO_LIMIT);
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    unsigned char *p = cop__memory_map(memory, COP_MEMORY_PAGES, 3 * page, false);
    ck_assert_ptr_nonnull(p);
    ck_assert_uint_eq((uintptr_t)p % page, 0);
    ck_assert_uint_eq(of_kind(memory, COP_MEMORY_PAGES), 3 * page);
    for (size_t i = 0; i < 3 * page; i += 64)
        p[i] = (unsigned char)(p[i] + 1);
    cop__memory_unmap(memory, COP_MEMORY_PAGES, p, 3 * page);
    cop__memory_unmap(memory, COP_MEMORY_PAGES, NULL, page);
    ck_assert_uint_eq(held(memory), OWN);
    cop__memory_set_limit(memory, limit_for(OWN + page - 1));
    ck_assert_ptr_null(cop__memory_map(memory, COP_MEMORY_PAGES, page, false));
    cop__memory_unref(memory);
}
END_TEST

START_TEST(map_without_room)
{
    cop__memory *memory = cop__memory_new(NULL, NO_LIMIT);
    /* More than any address space has. */
    ck_assert_ptr_null(cop__memory_map(memory, COP_MEMORY_PAGES, (size_t)1 << 62, false));
    ck_assert_uint_eq(held(memory), OWN);
    cop__memory_unref(memory);
}
END_TEST

START_TEST(map_wiped_on_fork)
{
    cop__memory *memory = cop__memory_new(NULL, NO_LIMIT);
    int status;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *wiped = cop__memory_map(memory, COP_MEMORY_READERS, page, true);
    char *kept = cop__memory_map(memory, COP_MEMORY_READERS, page, false);
    ck_assert(wiped && kept);
    *wiped = *kept = 1;
    pid_t child = fork();
    if (child == 0)
        _exit(*wiped == 0 && *kept == 1 ? 0 : 1);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(*wiped, 1);
    cop__memory_unmap(memory, COP_MEMORY_READERS, wiped, page);
    cop__memory_unmap(memory, COP_MEMORY_READERS, kept, page);
    cop__memory_unref(memory);
}
END_TEST

START_TEST(map_that_cannot_be_wiped)
{
    cop__memory *memory = cop__memory_new(NULL, NO_LIMIT);
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    advice_fails = true;
    void *p = cop__memory_map(memory, COP_MEMORY_READERS, page, true);
    advice_fails = false;
    ck_assert_ptr_null(p);
    ck_assert_uint_eq(held(memory), OWN);
    cop__memory_unref(memory);
}
END_TEST

static bool
is_mapped(void *p)
{
    return msync(p, (size_t)sysconf(_SC_PAGESIZE), MS_ASYNC) == 0;
}

/* Its pages go back; the first is still there, so it is still counted. */
START_TEST(stuck_mappings_stay_counted)
{
    enum { MANY = 40, BYTES = 1 << 16, PAGE = 4096 };
    cop__memory *memory = cop__memory_new(NULL, NO_LIMIT);
    char *p[MANY];
    for (unsigned i = 0; i < MANY; i++) {
        p[i] = cop__memory_map(memory, COP_MEMORY_VALUES, BYTES, false);
        ck_assert_ptr_nonnull(p[i]);
        memset(p[i], 1, BYTES);
    }
    unmap_failures = MANY - 1;
    for (unsigned i = 0; i < MANY - 1; i++)
        cop__memory_unmap(memory, COP_MEMORY_VALUES, p[i], BYTES);
    ck_assert_uint_eq(unmap_failures, 0);
    ck_assert_uint_eq(of_kind(memory, COP_MEMORY_VALUES), BYTES + (MANY - 1) * PAGE);
    ck_assert_uint_eq(held(memory), OWN + BYTES + (MANY - 1) * PAGE);
    for (unsigned i = 0; i < MANY - 1; i++) {
        unsigned char resident[BYTES / PAGE];
        ck_assert_int_eq(mincore(p[i], BYTES, resident), 0);
        for (unsigned page = 0; page < BYTES / PAGE; page++)
            ck_assert_int_eq(resident[page] & 1, page == 0);
    }
    /* With the last one go the sixteen oldest, and with the next one those after them. */
    cop__memory_unmap(memory, COP_MEMORY_VALUES, p[MANY - 1], BYTES);
    ck_assert_uint_eq(of_kind(memory, COP_MEMORY_VALUES), (MANY - 17) * PAGE);
    for (unsigned i = 0; i < MANY - 1; i++)
        ck_assert_int_eq(is_mapped(p[i]), i >= 16);
    void *q = cop__memory_map(memory, COP_MEMORY_READERS, BYTES / 2, true);
    cop__memory_unmap(memory, COP_MEMORY_READERS, q, BYTES / 2);
    ck_assert_uint_eq(held(memory), OWN + (MANY - 33) * PAGE);
    cop__memory_purge(memory);
    ck_assert_uint_eq(held(memory), OWN);
    ck_assert(!is_mapped(p[MANY - 2]));
    cop__memory_unref(memory);
}
END_TEST

/* One that is stuck again comes last, so that others are tried. */
START_TEST(stuck_mappings_take_turns)
{
    cop__memory *memory = cop__memory_new(NULL, NO_LIMIT);
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *p[3];
    for (unsigned i = 0; i < 3; i++)
        p[i] = cop__memory_map(memory, COP_MEMORY_PAGES, (i + 1) * page, false);
    unmap_failures = 3;
    advice_fails = true; /* what holds its pages is counted whole */
    for (unsigned i = 0; i < 3; i++)
        cop__memory_unmap(memory, COP_MEMORY_PAGES, p[i], (i + 1) * page);
    advice_fails = false;
    ck_assert_uint_eq(of_kind(memory, COP_MEMORY_PAGES), 6 * page);
    unmap_failures = 2;
    cop__memory_purge(memory);
    ck_assert(is_mapped(p[0]) && is_mapped(p[1]) && !is_mapped(p[2]));
    ck_assert_uint_eq(of_kind(memory, COP_MEMORY_PAGES), 3 * page);
    unmap_failures = 1;
    cop__memory_purge(memory);
    ck_assert(is_mapped(p[0]) && !is_mapped(p[1]));
    ck_assert_uint_eq(of_kind(memory, COP_MEMORY_PAGES), page);
    cop__memory_purge(memory);
    ck_assert(!is_mapped(p[0]));
    ck_assert_uint_eq(held(memory), OWN);
    cop__memory_unref(memory);
}
END_TEST

/* The account ends: what can be unmapped is, as long as one makes room for another. */
START_TEST(stuck_until_the_end)
{
    cop__memory *memory = cop__memory_new(NULL, NO_LIMIT);
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *p = cop__memory_map(memory, COP_MEMORY_PAGES, page, false);
    char *q = cop__memory_map(memory, COP_MEMORY_PAGES, page, false);
    unmap_failures = 2 + 1; /* and p once more */
    cop__memory_unmap(memory, COP_MEMORY_PAGES, p, page);
    cop__memory_unmap(memory, COP_MEMORY_PAGES, q, page);
    ck_assert_uint_eq(held(memory), OWN + 2 * page);
    cop__memory_unref(memory);
    ck_assert_uint_eq(unmap_failures, 0);
    ck_assert(!is_mapped(p) && !is_mapped(q));
}
END_TEST

START_TEST(stuck_for_good)
{
    ledger l = {0};
    cop_allocator table = ledger_table(&l);
    cop__memory *memory = cop__memory_new(&table, NO_LIMIT);
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *p = cop__memory_map(memory, COP_MEMORY_PAGES, page, false);
    unsigned char resident = 1;
    unmap_failures = UINT32_MAX;
    cop__memory_unmap(memory, COP_MEMORY_PAGES, p, page);
    cop__memory_unref(memory);
    unmap_failures = 0;
    ck_assert_int_eq(l.blocks, 0);
    ck_assert_int_eq(mincore(p, page, &resident), 0); /* addresses without a page */
    ck_assert_int_eq(resident & 1, 0);
    ck_assert_int_eq(munmap(p, page), 0);
}
END_TEST

/* --- tables ----------------------------------------------------------------------------------- */

#define MIB ((size_t)1 << 20)
#define STEP ((size_t)65536) /* of mapped tables */

/* Fills what is new of a table of bytes, and looks at what it had. */
static void
table_is(unsigned char *table, size_t had, size_t size)
{
    for (size_t i = 0; i < size; i += 509) {
        if (i < had)
            ck_assert_uint_eq(table[i], (unsigned char)(i / 509));
        table[i] = (unsigned char)(i / 509);
    }
}

/* From the allocator while they are small, mapped from a mebibyte on; what they hold comes along. */
START_TEST(tables_grow_and_shrink)
{
    static const struct {
        size_t size, counted;
    } row[] = {{1000, 1000},
               {MIB - 1, MIB - 1},
               {MIB, MIB},
               {MIB + 1, MIB + STEP},
               {9 * MIB + 7, 9 * MIB + STEP},
               {2 * MIB, 2 * MIB},
               {5000, 5000},
               {3 * MIB, 3 * MIB}};
    cop__memory *memory = cop__memory_new(NULL, NO_LIMIT);
    unsigned char *table = NULL;
    size_t had = 0;

    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        size_t size = row[i].size;
        table = cop__memory_table(memory, COP_MEMORY_TABLES, table, had, size);
        ck_assert_ptr_nonnull(table);
        table_is(table, had < size ? had : size, size);
        ck_assert_uint_eq(of_kind(memory, COP_MEMORY_TABLES), row[i].counted);
        ck_assert_uint_eq(held(memory), OWN + row[i].counted);
        had = size;
    }
    cop__memory_table_free(memory, COP_MEMORY_TABLES, table, had);
    ck_assert_uint_eq(held(memory), OWN);
    table = cop__memory_table(memory, COP_MEMORY_TABLES, NULL, 0, MIB + 1);
    ck_assert_ptr_nonnull(table);
    for (size_t i = 0; i <= MIB; i += 4096)
        ck_assert_uint_eq(table[i], 0); /* fresh from the system */
    cop__memory_table_free(memory, COP_MEMORY_TABLES, table, MIB + 1);
    ck_assert_uint_eq(held(memory), OWN);
    cop__memory_unref(memory);
}
END_TEST

/* By the limit, by the countdown, by the system: the table stays as it was. */
START_TEST(refused_tables)
{
    cop__memory *memory = cop__memory_new(NULL, NO_LIMIT);
    size_t sizes[] = {1000, 2 * MIB};

    for (unsigned i = 0; i < 2; i++) {
        size_t size = sizes[i];
        unsigned char *table = cop__memory_table(memory, COP_MEMORY_TABLES, NULL, 0, size);
        table_is(table, 0, size);
        atomic_store(&memory->fail_countdown, 0);
        ck_assert_ptr_null(cop__memory_table(memory, COP_MEMORY_TABLES, table, size, 3 * MIB));
        cop__memory_set_limit(memory, limit_for(OWN + size + 3 * MIB - 1)); /* both at once */
        ck_assert_ptr_null(cop__memory_table(memory, COP_MEMORY_TABLES, table, size, 3 * MIB));
        cop__memory_set_limit(memory, NO_LIMIT);
        ck_assert_ptr_null(cop__memory_table(memory, COP_MEMORY_TABLES, table, size, (size_t)1 << 62));
        ck_assert_uint_eq(held(memory), OWN + size);
        table_is(table, size, size);
        cop__memory_table_free(memory, COP_MEMORY_TABLES, table, size);
    }
    ck_assert_ptr_null(cop__memory_chunk(memory, COP_MEMORY_PAGES, (size_t)1 << 62, false));
    ck_assert_ptr_null(cop__memory_chunk(memory, COP_MEMORY_PAGES, (size_t)1 << 62, true));
    ck_assert_uint_eq(held(memory), OWN);
    cop__memory_unref(memory);
}
END_TEST

/* Whose allocator it is gets every request. */
START_TEST(tables_of_another_allocator)
{
    ledger l = {0};
    cop_allocator a = ledger_table(&l);
    cop__memory *memory = cop__memory_new(&a, NO_LIMIT);
    int own = l.blocks;

    unsigned char *table = cop__memory_table(memory, COP_MEMORY_TABLES, NULL, 0, 2 * MIB);
    ck_assert_int_eq(l.blocks, own + 1);
    ck_assert_uint_eq(l.size, 2 * MIB);
    table_is(table, 0, 2 * MIB);
    table = cop__memory_table(memory, COP_MEMORY_TABLES, table, 2 * MIB, 4 * MIB);
    table_is(table, 2 * MIB, 4 * MIB);
    ck_assert_uint_eq(of_kind(memory, COP_MEMORY_TABLES), 4 * MIB);
    cop__memory_table_free(memory, COP_MEMORY_TABLES, table, 4 * MIB);
    ck_assert_int_eq(l.blocks, own);
    cop__memory_unref(memory);
}
END_TEST

/* --- many threads ----------------------------------------------------------------------------- */

#define CROWD 4
#define CROWD_LIMIT (OWN + 64 * 100)

static _Atomic bool overdrawn;

static void *
take_and_give(void *account)
{
    cop__memory *memory = account;
    void *mine[32] = {0};
    for (unsigned round = 0; round < 20000; round++) {
        unsigned i = round * 7 % 32;
        if (mine[i]) {
            cop__memory_free(memory, COP_MEMORY_VALUES, mine[i], 64, 16);
            mine[i] = NULL;
        } else {
            mine[i] = cop__memory_alloc(memory, COP_MEMORY_VALUES, 64, 16);
        }
        /* by_kind counts only what was granted, and is counted before it is had. */
        if (of_kind(memory, COP_MEMORY_VALUES) > CROWD_LIMIT - OWN)
            atomic_store(&overdrawn, true);
    }
    for (unsigned i = 0; i < 32; i++)
        cop__memory_free(memory, COP_MEMORY_VALUES, mine[i], 64, 16);
    cop__memory_unref(memory);
    return NULL;
}

START_TEST(many_threads_stay_below_the_limit)
{
    cop__memory *memory = cop__memory_new(NULL, CROWD_LIMIT);
    pthread_t threads[CROWD];
    for (int i = 0; i < CROWD; i++) {
        cop__memory_ref(memory);
        ck_assert_int_eq(pthread_create(&threads[i], NULL, take_and_give, memory), 0);
    }
    for (int i = 0; i < CROWD; i++)
        pthread_join(threads[i], NULL);
    ck_assert(!atomic_load(&overdrawn));
    ck_assert_uint_eq(held(memory), OWN);
    ck_assert_uint_eq(of_kind(memory, COP_MEMORY_VALUES), 0);
    ck_assert_uint_le(atomic_load(&memory->peak), CROWD_LIMIT);
    ck_assert_uint_gt(atomic_load(&memory->peak), OWN);
    cop__memory_unref(memory);
}
END_TEST

/* --- names ------------------------------------------------------------------------------------ */

START_TEST(kind_names)
{
    ck_assert_str_eq(cop_memory_kind_name(COP_MEMORY_PAGES), "pages");
    ck_assert_str_eq(cop_memory_kind_name(COP_MEMORY_FRAGMENTS), "fragments");
    ck_assert_str_eq(cop_memory_kind_name(COP_MEMORY_OTHER), "other");
    ck_assert_str_eq(cop_memory_kind_name(COP_MEMORY_KINDS), "unknown");
    ck_assert_str_eq(cop_memory_kind_name((cop_memory_kind)-1), "unknown");
    for (unsigned kind = 0; kind < COP_MEMORY_KINDS; kind++) {
        const char *name = cop_memory_kind_name((cop_memory_kind)kind);
        ck_assert_uint_gt(strlen(name), 0);
        for (; *name; name++)
            ck_assert(*name >= 'a' && *name <= 'z');
    }
}
END_TEST

/* --- allocators ------------------------------------------------------------------------------- */

static void
check_allocator(cop_allocator a)
{
    for (size_t alignment = 16; alignment <= 65536; alignment *= 2) {
        for (size_t size = 1; size <= 100000; size = size * 3 + 1) {
            unsigned char *p = a.allocate(a.context, size, alignment);
            ck_assert_ptr_nonnull(p);
            ck_assert_uint_eq((uintptr_t)p % alignment, 0);
            memset(p, 0x5a, size);
            a.release(a.context, p, size, alignment);
        }
    }
}

START_TEST(libc_allocator)
{
    cop_allocator a = cop_allocator_libc();
    ck_assert(a.destroy == NULL);
    check_allocator(a);
    ck_assert_ptr_null(a.allocate(a.context, SIZE_MAX - 10, 4096));
}
END_TEST

START_TEST(jemalloc_allocator)
{
    cop_allocator a;
    cop_status status = cop_allocator_jemalloc(&a);
    if (status == COP_E_UNSUPPORTED) {
        ck_assert(a.allocate == NULL && a.release == NULL && a.destroy == NULL);
        return;
    }
    ck_assert_int_eq(status, COP_OK);
    check_allocator(a);
    cop__memory *memory = cop__memory_new(&a, NO_LIMIT);
    ck_assert_ptr_nonnull(memory);
    char *p = cop__memory_alloc(memory, COP_MEMORY_PAGES, 1 << 21, 4096);
    memset(p, 1, 1 << 21);
    cop__memory_free(memory, COP_MEMORY_PAGES, p, 1 << 21, 4096);
    cop__memory_unref(memory);
}
END_TEST

START_TEST(jemalloc_arenas_are_given_back)
{
    cop_allocator a;
    /* More than jemalloc can have at once (4,094). */
    for (int i = 0; i < 5000; i++) {
        cop_status status = cop_allocator_jemalloc(&a);
        if (status == COP_E_UNSUPPORTED && i == 0)
            return;
        ck_assert_int_eq(status, COP_OK);
        void *p = a.allocate(a.context, 1000, 64);
        ck_assert_ptr_nonnull(p);
        a.release(a.context, p, 1000, 64);
        a.destroy(a.context);
    }
}
END_TEST

/* jemalloc's interface, played. */
static struct {
    bool no_arena, no_memory;
    int blocks, flags;
    char destroyed[40];
} played;

static void *
played_allocate(size_t size, int flags)
{
    played.flags = flags;
    if (played.no_memory)
        return NULL;
    played.blocks++;
    return malloc(size);
}

static void
played_release(void *memory, size_t size, int flags)
{
    (void)size;
    played.flags = flags;
    played.blocks--;
    free(memory);
}

static int
played_control(const char *name, void *old_value, size_t *old_size, void *new_value,
               size_t new_size)
{
    unsigned index = 5;
    (void)new_value;
    (void)new_size;
    if (strcmp(name, "arenas.create") != 0) {
        snprintf(played.destroyed, sizeof played.destroyed, "%s", name);
        return 0;
    }
    ck_assert_uint_eq(*old_size, sizeof index);
    memcpy(old_value, &index, sizeof index);
    return played.no_arena ? EAGAIN : 0;
}

static const cop__jemalloc played_jemalloc = {played_allocate, played_release, played_control};

START_TEST(arena_flags)
{
    cop_allocator a;
    memset(&played, 0, sizeof played);
    ck_assert_int_eq(cop__allocator_arena(&played_jemalloc, &a), COP_OK);
    void *p = a.allocate(a.context, 100, 64);
    /* MALLOCX_ARENA(5) | MALLOCX_TCACHE_NONE | MALLOCX_ALIGN(64) */
    ck_assert_int_eq(played.flags, 6 << 20 | 1 << 8 | 6);
    a.release(a.context, p, 100, 4096);
    ck_assert_int_eq(played.flags, 6 << 20 | 1 << 8 | 12);
    ck_assert_str_eq(played.destroyed, "");
    a.purge(a.context);
    ck_assert_str_eq(played.destroyed, "arena.5.purge");
    a.destroy(a.context);
    ck_assert_str_eq(played.destroyed, "arena.5.destroy");
    ck_assert_int_eq(played.blocks, 0);
}
END_TEST

START_TEST(arena_failures)
{
    cop_allocator a;
    for (int missing = 0; missing < 3; missing++) {
        cop__jemalloc partial = played_jemalloc;
        if (missing == 0)
            partial.allocate = NULL;
        else if (missing == 1)
            partial.release = NULL;
        else
            partial.control = NULL;
        memset(&a, 0xff, sizeof a);
        ck_assert_int_eq(cop__allocator_arena(&partial, &a), COP_E_UNSUPPORTED);
        ck_assert(a.allocate == NULL && a.destroy == NULL && a.context == NULL);
    }
    memset(&played, 0, sizeof played);
    played.no_arena = true;
    ck_assert_int_eq(cop__allocator_arena(&played_jemalloc, &a), COP_E_UNSUPPORTED);
    ck_assert_str_eq(played.destroyed, "");
    played.no_arena = false;
    played.no_memory = true;
    ck_assert_int_eq(cop__allocator_arena(&played_jemalloc, &a), COP_E_MEMORY);
    ck_assert_str_eq(played.destroyed, "arena.5.destroy");
    ck_assert(a.allocate == NULL);
}
END_TEST

/* --- the default limit ------------------------------------------------------------------------ */

static char mount_point[64];

/* Writes a file below the mount, making its directories. */
static void
put(const char *name, const char *text)
{
    char file[256];
    snprintf(file, sizeof file, "%s/%s", mount_point, name);
    for (char *slash = strchr(file + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(file, 0700);
        *slash = '/';
    }
    FILE *out = fopen(file, "w");
    ck_assert_ptr_nonnull(out);
    fputs(text, out);
    fclose(out);
}

static void
make_mount(void)
{
    strcpy(mount_point, "/tmp/coppice-cgroup-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(mount_point));
}

static void
drop_mount(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", mount_point);
    ck_assert_int_eq(system(command), 0);
}

static uint64_t
limit_of(const char *membership)
{
    return cop__cgroup_memory_limit(membership, mount_point);
}

START_TEST(cgroup_version_2)
{
    put("a/b/memory.max", "5000000\n");
    put("a/memory.max", "max\n");
    ck_assert_uint_eq(limit_of("0::/a/b\n"), 5000000);
    ck_assert_uint_eq(limit_of("0::/a/b"), 5000000);
    ck_assert_uint_eq(limit_of("0::/a\n"), UINT64_MAX);
    /* What is above binds too. */
    put("a/memory.max", "4000000\n");
    ck_assert_uint_eq(limit_of("0::/a/b\n"), 4000000);
    put("memory.max", "3000000\n");
    ck_assert_uint_eq(limit_of("0::/a/b\n"), 3000000);
    ck_assert_uint_eq(limit_of("0::/\n"), 3000000);
    ck_assert_uint_eq(limit_of("0::/../elsewhere\n"), 3000000);
}
END_TEST

START_TEST(cgroup_version_1)
{
    put("memory/job/memory.limit_in_bytes", "7000000\n");
    put("memory/memory.limit_in_bytes", "9223372036854771712\n");
    put("job/memory.max", "1\n"); /* not of this hierarchy */
    ck_assert_uint_eq(limit_of("4:memory:/job\n"), 7000000);
    ck_assert_uint_eq(limit_of("5:cpu,cpuacct:/job\n4:hugetlb,memory,pids:/job\n"), 7000000);
    ck_assert_uint_eq(limit_of("4:memory:/other\n"), UINT64_C(9223372036854771712));
    ck_assert_uint_eq(limit_of("4:memoryx:/job\n5:xmemory:/job\n6:name=memory:/job\n"), UINT64_MAX);
    ck_assert_uint_eq(limit_of("4:memory:/job\n0::/job\n"), 1);
}
END_TEST

START_TEST(cgroup_nonsense)
{
    static char longest[6000];
    ck_assert_uint_eq(limit_of(""), UINT64_MAX);
    ck_assert_uint_eq(limit_of("\n\n:\nno colon\n0:\n"), UINT64_MAX);
    put("memory.max", "");
    ck_assert_uint_eq(limit_of("0::/\n"), UINT64_MAX);
    put("memory.max", "-5\n");
    ck_assert_uint_eq(limit_of("0::/\n"), UINT64_MAX);
    memset(longest, '1', 100);
    put("memory.max", longest); /* no number is this long */
    ck_assert_uint_eq(limit_of("0::/\n"), UINT64_MAX);
    put("memory.max", "1000\n");
    memset(longest, 'x', sizeof longest - 1);
    memcpy(longest, "0::/", 4);
    ck_assert_uint_eq(limit_of(longest), UINT64_MAX);
    ck_assert_uint_eq(cop__cgroup_memory_limit("0::/\n", longest), UINT64_MAX);
}
END_TEST

START_TEST(default_limit)
{
    uint64_t physical = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE), limit,
             tight;
    struct rlimit before, space;
    limit = cop__memory_default_limit();
    ck_assert_uint_gt(limit, 0);
    ck_assert_uint_le(limit, physical / 4 * 3);
    ck_assert_int_eq(getrlimit(RLIMIT_AS, &before), 0);
    space = before;
    space.rlim_cur = limit / 2;
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &space), 0);
    tight = cop__memory_default_limit();
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &before), 0);
    ck_assert_uint_eq(tight, space.rlim_cur / 4 * 3);
}
END_TEST

static TCase *
account_tests(void)
{
    TCase *account = tcase_create("account");
    tcase_add_test(account, new_account);
    tcase_add_test(account, new_account_refused);
    tcase_add_test(account, last_reference_destroys);
    tcase_add_test(account, bytes_are_counted_by_kind);
    tcase_add_test(account, sizes_and_alignments_reach_the_allocator);
    tcase_add_test(account, nothing_is_one_byte);
    tcase_add_test(account, zalloc_zeroes);
    tcase_add_test(account, limit_refuses);
    tcase_add_test(account, the_reserve_is_kept);
    tcase_add_test(account, impossible_sizes_are_refused);
    tcase_add_test(account, allocator_refuses);
    tcase_add_test(account, countdown_refuses_once);
    tcase_add_test(account, countdown_refuses_for_ever);
    tcase_add_test(account, realloc_grows_and_shrinks);
    tcase_add_test(account, refused_realloc_keeps_the_old);
    tcase_add_test(account, vectors_grow);
    tcase_add_test(account, refused_vectors_stay);
    tcase_add_test(account, map_counts);
    tcase_add_test(account, map_without_room);
    tcase_add_test(account, map_wiped_on_fork);
    tcase_add_test(account, map_that_cannot_be_wiped);
    tcase_add_test(account, tables_grow_and_shrink);
    tcase_add_test(account, refused_tables);
    tcase_add_test(account, tables_of_another_allocator);
    tcase_add_test(account, stuck_mappings_stay_counted);
    tcase_add_test(account, stuck_mappings_take_turns);
    tcase_add_test(account, stuck_until_the_end);
    tcase_add_test(account, stuck_for_good);
    tcase_add_test(account, many_threads_stay_below_the_limit);
    tcase_add_test(account, kind_names);
    tcase_set_timeout(account, 60);
    return account;
}

static Suite *
memory_suite(void)
{
    Suite *suite = suite_create("memory");
    TCase *allocators = tcase_create("allocators"), *limit = tcase_create("limit");
    tcase_set_timeout(allocators, 60);
    tcase_add_test(allocators, libc_allocator);
    tcase_add_test(allocators, jemalloc_allocator);
    tcase_add_test(allocators, jemalloc_arenas_are_given_back);
    tcase_add_test(allocators, arena_flags);
    tcase_add_test(allocators, arena_failures);
    tcase_add_checked_fixture(limit, make_mount, drop_mount);
    tcase_add_test(limit, cgroup_version_2);
    tcase_add_test(limit, cgroup_version_1);
    tcase_add_test(limit, cgroup_nonsense);
    tcase_add_test(limit, default_limit);
    suite_add_tcase(suite, account_tests());
    suite_add_tcase(suite, allocators);
    suite_add_tcase(suite, limit);
    return suite;
}

int
main(void)
{
    SRunner *runner = srunner_create(memory_suite());
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

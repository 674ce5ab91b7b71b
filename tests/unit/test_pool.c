/* SPDX-License-Identifier: MIT */
/* The pool: pages, blocks by size class, large blocks, root records; what is counted and kept. */
#include "tests/support/pool_bytes.h"
#include "tests/support/resident.h"
#include "tests/support/tree_test.h"

enum { FIRST_CHUNK = 32 * 1024, CHUNK = 128 * 1024 };

static cop__pool pool;
static cop__memory *memory;

static void
open_pool(size_t chunk_bytes, bool huge)
{
    cop_allocator allocator;

    fault_alloc_init(&t_faults);
    allocator = fault_alloc_table(&t_faults);
    memory = cop__memory_new(&allocator, UINT64_MAX);
    ck_assert_ptr_nonnull(memory);
    cop__pool_init(&pool, memory, chunk_bytes, huge);
}

static void
setup(void)
{
    open_pool(CHUNK, false);
}

static void
teardown(void)
{
    cop__pool_end(&pool);
    cop__memory_unref(memory);
    t_all_released();
}

static uint64_t
held(cop_memory_kind kind)
{
    return atomic_load(&memory->by_kind[kind]);
}

static void
refuse(int64_t k)
{
    atomic_store(&memory->fail_countdown, k);
}

/* And all that follow. */
static void
refuse_from(int64_t k)
{
    atomic_store(&memory->fail_for_ever, true);
    refuse(k);
}

START_TEST(chunks_double_up_to_the_option)
{
    static const size_t total[] = {32, 96, 224, 352, 480};
    size_t pages = 0;

    for (size_t i = 0; i < sizeof total / sizeof *total; i++) {
        for (; pages < total[i] * 1024 / COP_PAGE_BYTES; pages++) {
            char *page = cop__pool_page(&pool);
            ck_assert_ptr_nonnull(page);
            ck_assert_uint_eq((uintptr_t)page % COP_PAGE_BYTES, 0);
            memset(page, 1, COP_PAGE_BYTES);
            ck_assert_uint_eq(held(COP_MEMORY_PAGES), total[i] * 1024);
        }
        ck_assert_uint_eq(pool.pages_used, pages);
    }
    ck_assert_uint_eq(held(COP_MEMORY_VALUES), 0);
}
END_TEST

START_TEST(a_small_option_is_the_size_of_every_chunk)
{
    teardown();
    open_pool(3 * COP_PAGE_BYTES + 100, false);
    for (size_t i = 1; i <= 30; i++) {
        ck_assert_ptr_nonnull(cop__pool_page(&pool));
        ck_assert_uint_eq(held(COP_MEMORY_PAGES), (i + 2) / 3 * 3 * COP_PAGE_BYTES);
    }
}
END_TEST

START_TEST(huge_chunks_are_aligned)
{
    const size_t huge = 2 * 1024 * 1024;
    size_t aligned = 0;

    teardown();
    open_pool(2 * huge, true);
    for (size_t i = 0; i < 4 * huge / COP_PAGE_BYTES; i++) {
        char *page = cop__pool_page(&pool);
        ck_assert_ptr_nonnull(page);
        aligned += (uintptr_t)page % huge == 0;
    }
    ck_assert_uint_ge(aligned, 3); /* a chunk of 2 and one of 4 MiB at the least */
}
END_TEST

/* Whose chunk an address is in: nobody's, when it is in none. */
START_TEST(addresses_outside)
{
    char outside = 0;

    ck_assert_ptr_null(cop__carver_find(&pool.pages, &outside));
    char *page = cop__pool_page(&pool);
    const cop__pool_chunk *chunk = cop__carver_find(&pool.pages, page);
    ck_assert_ptr_nonnull(chunk);
    ck_assert_ptr_null(cop__carver_find(&pool.pages, &outside));
    ck_assert_ptr_null(cop__carver_find(&pool.pages, (void *)16));
    ck_assert_ptr_null(cop__carver_find(&pool.pages, chunk->memory + chunk->bytes));
    ck_assert_ptr_eq(cop__carver_find(&pool.pages, chunk->memory + chunk->bytes - 1), chunk);
    cop__pool_page_free(&pool, page);
}
END_TEST

START_TEST(freed_pages_come_back_last_first)
{
    void *a = cop__pool_page(&pool), *b = cop__pool_page(&pool);
    uint64_t bytes = held(COP_MEMORY_PAGES);

    cop__pool_page_free(&pool, a);
    cop__pool_page_free(&pool, b);
    ck_assert_uint_eq(pool.pages_used, 0);
    ck_assert_ptr_eq(cop__pool_page(&pool), b);
    ck_assert_ptr_eq(cop__pool_page(&pool), a);
    ck_assert_uint_eq(pool.pages_used, 2);
    ck_assert_uint_eq(held(COP_MEMORY_PAGES), bytes);
}
END_TEST

/* Blocks of every size: as large as asked for, not overlapping, counted by class, reused. */
START_TEST(blocks_of_all_sizes)
{
    cop__blocks *blocks = _i == 0 ? &pool.values : &pool.names;
    cop__blocks *others = _i == 0 ? &pool.names : &pool.values;
    char *block[1100];
    uint64_t used = 0;

    for (size_t n = 8; n < 1100; n++) {
        block[n] = cop__pool_block(&pool, blocks, n);
        ck_assert_ptr_nonnull(block[n]);
        ck_assert_uint_eq((uintptr_t)block[n] % 8, 0);
        memset(block[n], (int)(n & 255), n);
        used += pool_block_bytes(n);
        ck_assert_uint_eq(blocks->bytes_used, used);
    }
    ck_assert_uint_eq(others->bytes_used, 0);
    for (size_t n = 8; n < 1100; n++)
        for (size_t i = 0; i < n; i++)
            ck_assert_int_eq((unsigned char)block[n][i], (int)(n & 255));
    for (size_t n = 8; n < 1100; n++)
        cop__pool_block_free(&pool, blocks, block[n], n);
    ck_assert_uint_eq(blocks->bytes_used, 0);
    for (size_t n = COP_CLASS_MAX; n >= 8; n -= 8) { /* eight sizes a class, last in first out */
        for (size_t k = 0; k < (n == 8 ? 1 : 8); k++)
            ck_assert_ptr_eq(cop__pool_block(&pool, blocks, n), block[n - k]);
        ck_assert_ptr_ne(cop__pool_block(&pool, others, n), block[n]);
    }
}
END_TEST

/* A large block is the allocator's business at once. */
START_TEST(large_blocks_are_given_back)
{
    void *a = cop__pool_block(&pool, &pool.values, COP_MIDDLE_MAX + 1);
    uint64_t bytes = held(COP_MEMORY_VALUES);
    void *b = cop__pool_block(&pool, &pool.values, 100000);

    ck_assert_uint_eq(held(COP_MEMORY_VALUES), bytes + 102400); /* whole pages */
    ck_assert_uint_eq(pool.values.bytes_used, COP_MIDDLE_MAX + 9 + 102400);
    ck_assert_uint_eq(cop__pool_large_bytes(b), 102400);
    cop__pool_block_free(&pool, &pool.values, b, 100000);
    ck_assert_uint_eq(held(COP_MEMORY_VALUES), bytes);
    cop__pool_block_free(&pool, &pool.values, a, COP_MIDDLE_MAX + 1);
    ck_assert_uint_eq(held(COP_MEMORY_VALUES), 0);
    ck_assert_uint_eq(pool.values.bytes_used, 0);
}
END_TEST

/* A process may have so many mappings only: what cannot be mapped comes from the allocator. */
START_TEST(a_large_block_that_is_not_mapped)
{
    void *a;

    refuse(0);
    a = cop__pool_block(&pool, &pool.names, 100000);
    ck_assert_ptr_nonnull(a);
    ck_assert_uint_eq(held(COP_MEMORY_NAMES), 100008);
    ck_assert_uint_eq(cop__pool_large_bytes(a), 100008);
    memset(a, 1, 100000);
    cop__pool_block_free(&pool, &pool.names, a, 100000);
    ck_assert_uint_eq(held(COP_MEMORY_NAMES), 0);
    ck_assert_uint_eq(pool.names.bytes_used, 0);
}
END_TEST

/* What is freed between others is no longer resident, whatever the C library would have kept. */
START_TEST(large_blocks_are_mapped)
{
    enum { MANY = 200, BYTES = 200000 };
    void *block[MANY], *volatile raises = malloc(4 << 20);
    uint64_t before, peak, after;

    free(raises); /* the C library takes what is shorter from its heap, from here on */
    teardown();
    memory = cop__memory_new(NULL, UINT64_MAX);
    ck_assert_ptr_nonnull(memory);
    cop__pool_init(&pool, memory, CHUNK, false);
    before = resident_bytes();
    for (unsigned i = 0; i < MANY; i++) {
        ck_assert_ptr_nonnull(block[i] = cop__pool_block(&pool, &pool.values, BYTES));
        memset(block[i], 1, BYTES);
    }
    peak = resident_bytes();
    for (unsigned i = 0; i < MANY; i++)
        if (i % 10 != 9)
            cop__pool_block_free(&pool, &pool.values, block[i], BYTES);
    after = resident_bytes();
    for (unsigned i = 9; i < MANY; i += 10)
        cop__pool_block_free(&pool, &pool.values, block[i], BYTES);
    ck_assert_uint_gt(peak - before, (uint64_t)MANY * BYTES / 10 * 9);
    ck_assert_uint_lt(after - before, (peak - before) / 5);
}
END_TEST

/* ---- middle classes ---- */

START_TEST(middle_classes)
{
    size_t last = COP_SMALL_CLASSES - 1;

    for (size_t n = COP_CLASS_MAX + 1; n <= COP_MIDDLE_MAX; n++) {
        size_t class = cop__pool_class(n);
        ck_assert(class == last || class == last + 1);
        ck_assert_uint_eq(cop__pool_class_bytes(class), pool_block_bytes(n));
        ck_assert_uint_le(cop__pool_class_bytes(class), n + n / 8);
        last = class;
    }
    ck_assert_uint_eq(last, COP_CLASSES - 1);
    ck_assert_uint_eq(cop__pool_class(COP_MIDDLE_MAX + 1), COP_CLASSES);
    ck_assert_uint_eq(cop__pool_class((size_t)1 << 40), COP_CLASSES);
}
END_TEST

/* As large as asked for, not overlapping, counted by class, reused last in first out. */
START_TEST(middle_blocks)
{
    enum { MANY = 400, STEP = 38 };
    cop__blocks *blocks = _i == 0 ? &pool.values : &pool.names;
    unsigned char *block[MANY];
    uint64_t used = 0;

    for (size_t i = 0; i < MANY; i++) {
        size_t n = COP_CLASS_MAX + 1 + i * STEP;
        block[i] = cop__pool_block(&pool, blocks, n);
        ck_assert_ptr_nonnull(block[i]);
        ck_assert_uint_eq((uintptr_t)block[i] % 16, 0);
        memset(block[i], (int)(i & 255), n);
        used += pool_block_bytes(n);
        ck_assert_uint_eq(blocks->bytes_used, used);
    }
    ck_assert_uint_eq(held(blocks->carver.kind), blocks->middle.bytes);
    ck_assert_uint_eq(blocks->large_bytes, 0);
    for (size_t i = 0; i < MANY; i++)
        for (size_t k = 0; k < COP_CLASS_MAX + 1 + i * STEP; k++)
            ck_assert_int_eq(block[i][k], (int)(i & 255));
    for (size_t i = 0; i < MANY; i++)
        cop__pool_block_free(&pool, blocks, block[i], COP_CLASS_MAX + 1 + i * STEP);
    ck_assert_uint_eq(blocks->bytes_used, 0);
    ck_assert_ptr_eq(cop__pool_block(&pool, blocks, COP_CLASS_MAX + 1 + (MANY - 1) * STEP),
                     block[MANY - 1]);
    ck_assert_uint_eq(blocks->bytes_used, pool_block_bytes(COP_CLASS_MAX + 1 + (MANY - 1) * STEP));
}
END_TEST

/* A slab of 64 KiB for each class, and no more of it cut than is soon used. */
START_TEST(long_slabs)
{
    enum { SLAB = 65536 };
    char *a = cop__pool_block(&pool, &pool.values, 4096), *b;
    size_t cut = 1;

    ck_assert_uint_eq(held(COP_MEMORY_VALUES), SLAB);
    for (const cop__free_item *item = pool.values.free[cop__pool_class(4096)]; item != NULL; cut++)
        item = item->next;
    ck_assert_uint_eq(cut, 4);
    for (size_t i = 1; i < SLAB / 4096; i++)
        ck_assert_ptr_eq(cop__pool_block(&pool, &pool.values, 4000), a + i * 4096);
    b = cop__pool_block(&pool, &pool.values, 16384); /* a chunk of two slabs */
    ck_assert_uint_eq(held(COP_MEMORY_VALUES), 3 * SLAB);
    ck_assert_ptr_eq(cop__pool_block(&pool, &pool.values, 16383), b + 16384);
    ck_assert_ptr_eq(cop__pool_block(&pool, &pool.values, 1025), b + SLAB);
    ck_assert_uint_eq(held(COP_MEMORY_VALUES), 3 * SLAB);
}
END_TEST

/* Where an item is longer than chunks are to be, chunks are as long as one. */
START_TEST(a_chunk_holds_one_item_at_the_least)
{
    teardown();
    open_pool(4096, false);
    for (unsigned i = 1; i < 4; i++) {
        ck_assert_ptr_nonnull(cop__pool_block(&pool, &pool.values, 13000));
        ck_assert_uint_eq(held(COP_MEMORY_VALUES), i * 16384);
    }
}
END_TEST

/* ---- sizes of chunks that are no power of two ---- */

enum { KINDS = 6, MANY_ITEMS = 6000 };

static size_t
odd_bytes(size_t i)
{
    static const size_t sizes[KINDS] = {COP_PAGE_BYTES, COP_ROOT_BYTES, 24, 1000, 7000, 40000};
    return i % KINDS < 2 ? sizes[i % KINDS] : sizes[i % KINDS] + i % 300 * 8;
}

static void *
odd_take(size_t i)
{
    if (i % KINDS == 0)
        return cop__pool_page(&pool);
    if (i % KINDS == 1)
        return cop__pool_root(&pool);
    return cop__pool_block(&pool, i % 4 < 2 ? &pool.values : &pool.names, odd_bytes(i));
}

static void
odd_give(size_t i, void *p)
{
    if (i % KINDS == 0)
        cop__pool_page_free(&pool, p);
    else if (i % KINDS == 1)
        cop__pool_root_free(&pool, p);
    else
        cop__pool_block_free(&pool, i % 4 < 2 ? &pool.values : &pool.names, p, odd_bytes(i));
}

static uint64_t
in_pool(void)
{
    return held(COP_MEMORY_PAGES) + held(COP_MEMORY_VALUES) + held(COP_MEMORY_NAMES);
}

/* Up to a limit and back, twice: nothing overlaps, nothing is above the limit, nothing is lost. */
START_TEST(odd_chunks)
{
    static const size_t sizes[] = {512, 1536, 4097, 5000, 12288, 20480, 65535, 69632, 100000, 1052672};
    static char *item[MANY_ITEMS];
    const uint64_t limit = 12 << 20;

    teardown();
    open_pool(sizes[_i], false);
    cop__memory_set_limit(memory, limit);
    uint64_t most = atomic_load(&memory->most);
    for (int round = 0; round < 2; round++) {
        size_t n = 0;
        uint64_t used = 0;
        for (; n < MANY_ITEMS && (item[n] = odd_take(n)) != NULL; n++) {
            memset(item[n], (int)(n % 251), odd_bytes(n));
            used += odd_bytes(n);
            ck_assert_uint_le(atomic_load(&memory->held), most);
        }
        ck_assert_uint_lt(n, MANY_ITEMS);
        ck_assert_uint_gt(used, limit / 3 * 2); /* little is left */
        ck_assert_uint_eq(in_pool(), cop__pool_bytes(&pool) + atomic_load(&pool.roots.bytes) +
                                         atomic_load(&pool.values.large_bytes) +
                                         atomic_load(&pool.names.large_bytes));
        for (size_t i = 0; i < n; i++) {
            for (size_t at = 0; at < odd_bytes(i); at++)
                ck_assert(item[i][at] == (char)(i % 251));
            odd_give(i, item[i]);
        }
        ck_assert_uint_eq(cop__pool_used(&pool), 0);
        for (unsigned i = 0; round == 1 && cop__pool_trim(&pool, 1000); i++)
            ck_assert_uint_lt(i, 1000);
    }
    ck_assert_uint_eq(in_pool(), 0);
}
END_TEST

/* ---- what does not fit ---- */

static void *
take(unsigned what)
{
    switch (what) {
    case 0:
        return cop__pool_page(&pool);
    case 1:
        return cop__pool_block(&pool, &pool.values, 1000);
    case 2:
        return cop__pool_block(&pool, &pool.names, 5000);
    default:
        return cop__pool_root(&pool);
    }
}

/* A chunk that does not fit the limit is asked for at half its size, and so on: what is left of the limit is
 * used up to what an item needs. */
START_TEST(chunks_that_fit)
{
    enum { MORE = 45000, RECORDS = 1500 }; /* RECORDS: of the small chunks, a few in number */
    static const uint32_t needs[] = {4096, 4096, 8192, 4096};
    uint64_t limit;

    teardown();
    open_pool(1 << 20, false);
    for (size_t i = 0; i < 1000; i++) /* the next chunk is one of 64 KiB or more */
        ck_assert_ptr_nonnull(take((unsigned)_i));
    limit = atomic_load(&memory->held) + MORE;
    cop__memory_set_limit(memory, limit + limit / 63); /* behind it is the reserve */
    for (size_t n = 0; take((unsigned)_i) != NULL; n++)
        ck_assert_uint_lt(n, 10000);
    ck_assert_uint_gt(atomic_load(&memory->held) + needs[_i] + RECORDS, limit);
    ck_assert_uint_le(atomic_load(&memory->held), limit);
    cop__memory_set_limit(memory, UINT64_MAX);
    ck_assert_ptr_nonnull(take((unsigned)_i));
}
END_TEST

/* A slab is of one class; its chunk serves as many classes as it has slabs. */
START_TEST(a_chunk_serves_many_classes)
{
    enum { SLABS = 16, SLAB = FIRST_CHUNK / SLABS };
    char *first[SLABS];

    for (size_t i = 0; i < SLABS; i++) {
        first[i] = cop__pool_block(&pool, &pool.values, 16 + 8 * i);
        ck_assert_ptr_nonnull(first[i]);
        for (size_t n = 1; n < SLAB / (16 + 8 * i); n++) {
            char *block = cop__pool_block(&pool, &pool.values, 16 + 8 * i);
            ck_assert_ptr_eq(block, first[i] + n * (16 + 8 * i));
        }
    }
    ck_assert_uint_eq(held(COP_MEMORY_VALUES), FIRST_CHUNK);
    ck_assert_ptr_nonnull(cop__pool_block(&pool, &pool.values, 16));
    ck_assert_uint_eq(held(COP_MEMORY_VALUES), 3 * FIRST_CHUNK);
}
END_TEST

/* Chunks too short for slabs are one. */
START_TEST(short_chunks_are_of_one_class)
{
    teardown();
    open_pool(2048, false);
    for (unsigned i = 0; i < 6; i++) {
        ck_assert_ptr_nonnull(cop__pool_block(&pool, &pool.values, 640));
        ck_assert_uint_eq(held(COP_MEMORY_VALUES), 2048 * (i / 3 + 1));
    }
    ck_assert_ptr_nonnull(cop__pool_block(&pool, &pool.values, 16));
    ck_assert_uint_eq(held(COP_MEMORY_VALUES), 3 * 2048);
}
END_TEST

START_TEST(root_records)
{
    enum { ROOTS = 600 };
    static void *roots[ROOTS];

    for (unsigned i = 0; i < ROOTS; i++) {
        roots[i] = cop__pool_root(&pool);
        ck_assert_ptr_nonnull(roots[i]);
        ck_assert_uint_eq((uintptr_t)roots[i] % COP_CACHE_LINE, 0);
        memset(roots[i], (int)i, COP_ROOT_BYTES);
    }
    for (unsigned i = 0; i < ROOTS; i++)
        for (size_t k = 0; k < COP_ROOT_BYTES; k++)
            ck_assert_uint_eq(((unsigned char *)roots[i])[k], i & 255);
    ck_assert_uint_eq(held(COP_MEMORY_PAGES), 3 * COP_ROOT_SLAB_BYTES);
    cop__pool_root_free(&pool, roots[3]);
    ck_assert_ptr_eq(cop__pool_root(&pool), roots[3]);
}
END_TEST

/* Each way to memory refused, fresh and from a free list; nothing is counted then. */
START_TEST(refusals)
{
    void *page = cop__pool_page(&pool), *block = cop__pool_block(&pool, &pool.values, 64);
    void *root, *middle = cop__pool_block(&pool, &pool.values, 6400);
    uint64_t used = 64 + pool_block_bytes(6400);

    ck_assert(page != NULL && block != NULL && middle != NULL);
    for (int part = 0; part < 2; part++) {
        uint64_t total = atomic_load(&memory->held);
        refuse(0);
        ck_assert_ptr_null(cop__pool_page(&pool));
        refuse(0);
        ck_assert_ptr_null(cop__pool_block(&pool, &pool.values, 64));
        refuse(0);
        ck_assert_ptr_null(cop__pool_block(&pool, &pool.values, 640));
        refuse(0);
        ck_assert_ptr_null(cop__pool_block(&pool, &pool.values, 6400));
        refuse(0);
        ck_assert_ptr_null(cop__pool_block(&pool, &pool.values, 20000));
        refuse(0);
        ck_assert_ptr_null(cop__pool_root(&pool));
        refuse(-1);
        ck_assert_uint_eq(pool.pages_used, part == 0);
        ck_assert_uint_eq(pool.values.bytes_used, part == 0 ? used : 0);
        ck_assert_uint_eq(atomic_load(&memory->held), total);
        if (part == 0) {
            cop__pool_page_free(&pool, page);
            cop__pool_block_free(&pool, &pool.values, block, 64);
            cop__pool_block_free(&pool, &pool.values, middle, 6400);
            root = cop__pool_root(&pool);
            ck_assert_ptr_nonnull(root);
            cop__pool_root_free(&pool, root);
        }
    }
}
END_TEST

/* The table, the chunk's record and the chunk are three requests. */
START_TEST(refused_chunks_leave_nothing)
{
    for (int64_t k = 1; k < 4; k++) {
        refuse_from(k);
        ck_assert_ptr_null(cop__pool_page(&pool));
        refuse_from(k);
        ck_assert_ptr_null(cop__pool_block(&pool, &pool.names, 64));
        refuse_from(k);
        ck_assert_ptr_null(cop__pool_block(&pool, &pool.values, 6400));
        refuse_from(k);
        ck_assert_ptr_null(cop__pool_root(&pool));
        refuse(-1);
        ck_assert_uint_eq(held(COP_MEMORY_PAGES) + held(COP_MEMORY_VALUES) + held(COP_MEMORY_NAMES),
                          0);
        ck_assert_uint_eq(pool.pages_used + pool.names.bytes_used + cop__pool_bytes(&pool), 0);
        teardown(); /* the tables were made by now */
        setup();
    }
    ck_assert_ptr_nonnull(cop__pool_page(&pool));
}
END_TEST

/* Where freed memory is overwritten, all of it is but the link. */
START_TEST(freed_memory_is_overwritten)
{
    unsigned char *page = cop__pool_page(&pool), *root = cop__pool_root(&pool);
    unsigned char *block = cop__pool_block(&pool, &pool.values, 100);
    unsigned char *middle = cop__pool_block(&pool, &pool.values, 4000);

    if (!COP_POOL_POISON || COP_ASAN) /* the address sanitizer forbids to look */
        return;
    cop__pool_page_free(&pool, page);
    cop__pool_root_free(&pool, root);
    cop__pool_block_free(&pool, &pool.values, block, 100);
    cop__pool_block_free(&pool, &pool.values, middle, 4000);
    for (size_t i = sizeof(cop__free_item); i < 4096; i++)
        ck_assert_int_eq(middle[i], 0xdb);
    for (size_t i = sizeof(cop__free_item); i < COP_PAGE_BYTES; i++) {
        ck_assert_int_eq(page[i], 0xdb);
        ck_assert(i >= COP_ROOT_BYTES || root[i] == 0xdb);
        ck_assert(i >= 104 || block[i] == 0xdb);
    }
}
END_TEST

/* The function by itself, which most builds do not call. */
START_TEST(the_link_is_not_overwritten)
{
    static _Alignas(16) unsigned char bytes[64];

    memset(bytes, 1, sizeof bytes);
    cop__pool_poison(bytes, sizeof(cop__free_item)); /* nothing but the link */
    ck_assert_int_eq(bytes[0], 1);
    cop__pool_poison(bytes, 32);
    cop__pool_unpoison(bytes, 32);
    for (size_t i = 0; i < sizeof bytes; i++)
        ck_assert_int_eq(bytes[i], i < sizeof(cop__free_item) || i >= 32 ? 1 : 0xdb);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, chunks_double_up_to_the_option);
    tcase_add_test(tests, a_small_option_is_the_size_of_every_chunk);
    tcase_add_test(tests, huge_chunks_are_aligned);
    tcase_add_test(tests, addresses_outside);
    tcase_add_test(tests, freed_pages_come_back_last_first);
    tcase_add_loop_test(tests, blocks_of_all_sizes, 0, 2);
    tcase_add_test(tests, large_blocks_are_given_back);
    tcase_add_test(tests, a_large_block_that_is_not_mapped);
    tcase_add_test(tests, large_blocks_are_mapped);
    tcase_add_loop_test(tests, odd_chunks, 0, 10);
    tcase_add_test(tests, middle_classes);
    tcase_add_loop_test(tests, middle_blocks, 0, 2);
    tcase_add_test(tests, long_slabs);
    tcase_add_test(tests, a_chunk_holds_one_item_at_the_least);
    tcase_add_loop_test(tests, chunks_that_fit, 0, 4);
    tcase_add_test(tests, a_chunk_serves_many_classes);
    tcase_add_test(tests, short_chunks_are_of_one_class);
    tcase_add_test(tests, root_records);
    tcase_add_test(tests, freed_memory_is_overwritten);
    tcase_add_test(tests, the_link_is_not_overwritten);
    tcase_add_test(tests, refusals);
    tcase_add_test(tests, refused_chunks_leave_nothing);
}

int
main(void)
{
    return t_run("pool", add);
}

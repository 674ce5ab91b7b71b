/* SPDX-License-Identifier: MIT */
/* The pool: pages, blocks by size class, large blocks, root records; what is counted and kept. */
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
        used += n <= COP_CLASS_MAX ? (n + 7) / 8 * 8 : n + 8;
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
    void *a = cop__pool_block(&pool, &pool.values, COP_CLASS_MAX + 1);
    uint64_t bytes = held(COP_MEMORY_VALUES);
    void *b = cop__pool_block(&pool, &pool.values, 100000);

    ck_assert_uint_eq(held(COP_MEMORY_VALUES), bytes + 100008);
    ck_assert_uint_eq(pool.values.bytes_used, COP_CLASS_MAX + 9 + 100008);
    cop__pool_block_free(&pool, &pool.values, b, 100000);
    ck_assert_uint_eq(held(COP_MEMORY_VALUES), bytes);
    cop__pool_block_free(&pool, &pool.values, a, COP_CLASS_MAX + 1);
    ck_assert_uint_eq(held(COP_MEMORY_VALUES), 0);
    ck_assert_uint_eq(pool.values.bytes_used, 0);
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
    void *root;

    ck_assert(page != NULL && block != NULL);
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
        ck_assert_ptr_null(cop__pool_root(&pool));
        refuse(-1);
        ck_assert_uint_eq(pool.pages_used, part == 0);
        ck_assert_uint_eq(pool.values.bytes_used, part == 0 ? 64 : 0);
        ck_assert_uint_eq(atomic_load(&memory->held), total);
        if (part == 0) {
            cop__pool_page_free(&pool, page);
            cop__pool_block_free(&pool, &pool.values, block, 64);
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
        refuse(k);
        ck_assert_ptr_null(cop__pool_page(&pool));
        refuse(k);
        ck_assert_ptr_null(cop__pool_block(&pool, &pool.names, 64));
        refuse(k);
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

    if (!COP_POOL_POISON || COP_ASAN) /* the address sanitizer forbids to look */
        return;
    cop__pool_page_free(&pool, page);
    cop__pool_root_free(&pool, root);
    cop__pool_block_free(&pool, &pool.values, block, 100);
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
    tcase_add_test(tests, freed_pages_come_back_last_first);
    tcase_add_loop_test(tests, blocks_of_all_sizes, 0, 2);
    tcase_add_test(tests, large_blocks_are_given_back);
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

/* SPDX-License-Identifier: MIT */
/*
 * The pool's memory given back: what is wholly free goes, what is full is used first, and what is being
 * evacuated last.
 */
#include "tests/support/resident.h"
#include "tests/support/tree_test.h"

enum { CHUNK = 128 * 1024, FIRST_CHUNK = 32 * 1024, PAGES = CHUNK / COP_PAGE_BYTES };

static cop__pool pool;
static cop__memory *memory;

static void
setup(void)
{
    cop_allocator allocator;

    fault_alloc_init(&t_faults);
    allocator = fault_alloc_table(&t_faults);
    memory = cop__memory_new(&allocator, UINT64_MAX);
    ck_assert_ptr_nonnull(memory);
    cop__pool_init(&pool, memory, CHUNK, false);
    tree_random_state = 1;
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
trim(void)
{
    unsigned calls = 0;

    while (cop__pool_trim(&pool, 1000))
        ck_assert_uint_lt(++calls, 100000);
}

/* The chunks' own counters agree with the account. */
static void
check_counts(uint64_t used)
{
    ck_assert_uint_eq(held(COP_MEMORY_PAGES) + held(COP_MEMORY_VALUES) + held(COP_MEMORY_NAMES),
                      cop__pool_bytes(&pool) + atomic_load(&pool.roots.bytes));
    ck_assert_uint_eq(cop__pool_bytes(&pool) - cop__pool_free_bytes(&pool), used);
    ck_assert_uint_eq(atomic_load(&pool.pages.count), pool.pages.chunks);
}

static void
take_pages(void **page, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        page[i] = cop__pool_page(&pool);
        ck_assert_ptr_nonnull(page[i]);
        memset(page[i], (int)i, COP_PAGE_BYTES);
    }
}

static void
free_pages(void **page, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        cop__pool_page_free(&pool, page[i]);
}

static size_t
in_chunk(const cop__pool_chunk *chunk, void **page, size_t n)
{
    size_t count = 0;

    for (size_t i = 0; i < n; i++)
        count += (uintptr_t)page[i] - (uintptr_t)chunk->memory < chunk->bytes;
    return count;
}

START_TEST(all_that_is_free_goes_back)
{
    static void *page[4 * PAGES], *root[600], *block[2][3000];
    uint64_t most;

    take_pages(page, 4 * PAGES);
    for (unsigned i = 0; i < 600; i++)
        ck_assert_ptr_nonnull(root[i] = cop__pool_root(&pool));
    for (unsigned i = 0; i < 3000; i++) {
        ck_assert_ptr_nonnull(block[0][i] = cop__pool_block(&pool, &pool.values, 16 + i % 1000));
        ck_assert_ptr_nonnull(block[1][i] = cop__pool_block(&pool, &pool.names, 16 + i % 500));
    }
    trim();
    ck_assert_uint_eq(cop__pool_given_back(&pool), 0);
    most = cop__pool_bytes(&pool) + atomic_load(&pool.roots.bytes);
    free_pages(page, 0, 4 * PAGES);
    for (unsigned i = 0; i < 600; i++)
        cop__pool_root_free(&pool, root[i]);
    for (unsigned i = 0; i < 3000; i++) {
        cop__pool_block_free(&pool, &pool.values, block[0][i], 16 + i % 1000);
        cop__pool_block_free(&pool, &pool.names, block[1][i], 16 + i % 500);
    }
    ck_assert_uint_eq(cop__pool_free_bytes(&pool), cop__pool_bytes(&pool));
    trim();
    ck_assert_uint_eq(cop__pool_given_back(&pool), most);
    check_counts(0);
    ck_assert_uint_eq(cop__pool_bytes(&pool), 0);
    take_pages(page, 1); /* and it begins small again */
    ck_assert_uint_eq(held(COP_MEMORY_PAGES), FIRST_CHUNK);
    check_counts(COP_PAGE_BYTES);
}
END_TEST

START_TEST(no_more_than_the_quota)
{
    static void *page[4 * PAGES];
    size_t parked = 0, calls = 0;

    take_pages(page, 4 * PAGES);
    free_pages(page, 0, 4 * PAGES);
    for (bool more = true; more; calls++) {
        size_t left = 0;
        more = cop__pool_trim(&pool, 100);
        for (const cop__free_item *item = pool.free_pages; item != NULL; item = item->next)
            left++;
        ck_assert_uint_le(4 * PAGES - left - parked, 100);
        parked = 4 * PAGES - left;
    }
    /* A chunk counts as one item for each 2 KiB: some calls were shorter. */
    ck_assert_uint_gt(calls, 4 * PAGES / 100 + 1);
    ck_assert_uint_eq(pool.pages.chunks, 0);
}
END_TEST

/* One page in each chunk stays, and its bytes with it. */
START_TEST(a_chunk_in_use_stays)
{
    static void *page[8 * PAGES], *again[8 * PAGES];
    uint64_t bytes;

    take_pages(page, 8 * PAGES);
    bytes = held(COP_MEMORY_PAGES);
    for (size_t i = 0; i < 8 * PAGES; i++)
        if (i % 64 != 0)
            cop__pool_page_free(&pool, page[i]);
    trim();
    ck_assert_ptr_null(pool.free_pages);
    ck_assert_uint_eq(held(COP_MEMORY_PAGES), bytes);
    for (size_t i = 0; i < 8 * PAGES; i += 64)
        for (size_t k = 0; k < COP_PAGE_BYTES; k++)
            ck_assert_uint_eq(((unsigned char *)page[i])[k], i & 255);
    take_pages(again, 8 * PAGES - 8 * PAGES / 64); /* what is parked is used, before a chunk more */
    ck_assert_uint_eq(held(COP_MEMORY_PAGES), bytes);
    check_counts(8 * (uint64_t)CHUNK);
}
END_TEST

/* The sparse chunk is left alone as long as there is room in the others. */
START_TEST(full_chunks_first)
{
    enum { ALL = 6 * PAGES + (FIRST_CHUNK * 3) / COP_PAGE_BYTES }; /* chunks to the last page */
    static void *page[ALL], *again[PAGES];
    size_t kept = 0, n = 0;

    take_pages(page, ALL);
    cop__pool_chunk *sparse = cop__carver_find(&pool.pages, page[3 * PAGES]);
    for (size_t i = 0; i < ALL; i++) {
        bool here = in_chunk(sparse, &page[i], 1) == 1;
        if (here ? kept++ > 5 : i % 8 == 0)
            cop__pool_page_free(&pool, page[i]);
        n += !here && i % 8 == 0;
    }
    trim();
    ck_assert_uint_gt(n, PAGES / 2);
    for (size_t i = 0; i < n; i++) {
        again[i] = cop__pool_page(&pool);
        ck_assert_uint_eq(in_chunk(sparse, &again[i], 1), 0);
    }
    again[0] = cop__pool_page(&pool);
    ck_assert_uint_eq(in_chunk(sparse, again, 1), 1);
}
END_TEST

/* What was of one class serves others once it is free. */
START_TEST(slabs_change_their_class)
{
    static void *block[4000];
    uint64_t bytes;

    for (unsigned i = 0; i < 4000; i++)
        ck_assert_ptr_nonnull(block[i] = cop__pool_block(&pool, &pool.values, 80));
    bytes = held(COP_MEMORY_VALUES);
    for (unsigned i = 0; i < 4000; i++)
        if (i % 1000 != 0)
            cop__pool_block_free(&pool, &pool.values, block[i], 80);
    trim();
    bytes = held(COP_MEMORY_VALUES); /* some of the chunks may have gone */
    for (unsigned i = 0; i < bytes / 2 / 200; i++)
        ck_assert_ptr_nonnull(cop__pool_block(&pool, &pool.values, 200));
    ck_assert_uint_eq(held(COP_MEMORY_VALUES), bytes);
}
END_TEST

/* ---- evacuation ---- */

/* Leaves each `every`-th page, so that all chunks are alike. */
static size_t
leave_some(void **page, size_t n, size_t every)
{
    size_t left = 0;

    for (size_t i = 0; i < n; i++)
        if (i % every == 0)
            page[left++] = page[i];
        else
            cop__pool_page_free(&pool, page[i]);
    trim();
    return left;
}

START_TEST(nothing_worth_evacuating)
{
    static void *page[4 * PAGES];

    ck_assert_uint_eq(cop__carver_evacuate(&pool.pages), 0);
    take_pages(page, 4 * PAGES);
    trim();
    ck_assert_uint_eq(cop__carver_evacuate(&pool.pages), 0);
    leave_some(page, 100, 50); /* of the first chunks: no room for others */
    ck_assert_uint_le(cop__carver_evacuate(&pool.pages), 2);
    cop__carver_stay(&pool.pages);
    ck_assert_uint_eq(pool.pages.evacuated, 0);
    ck_assert(!cop__carver_evacuated(&pool.pages, page[0]));
}
END_TEST

/* Moves what is chosen by hand: all of it fits in the rest, and the chunks go. */
START_TEST(evacuated_chunks_go)
{
    static void *page[16 * PAGES];
    size_t left, moved = 0;
    uint32_t chunks, chosen;

    take_pages(page, 16 * PAGES);
    left = leave_some(page, 16 * PAGES, 8);
    chunks = pool.pages.chunks;
    chosen = cop__carver_evacuate(&pool.pages);
    ck_assert_uint_ge(chosen, chunks * 3 / 4);
    for (size_t i = 0; i < left; i++) {
        if (!cop__carver_evacuated(&pool.pages, page[i]))
            continue;
        void *to = cop__pool_page(&pool);
        ck_assert(!cop__carver_evacuated(&pool.pages, to));
        cop__page_copy(to, page[i]);
        cop__pool_page_free(&pool, page[i]);
        page[i] = to;
        trim();
        moved++;
    }
    ck_assert_uint_gt(moved, left / 2);
    ck_assert_uint_eq(pool.pages.evacuated, 0);
    ck_assert_uint_eq(pool.pages.chunks, chunks - chosen);
    for (size_t i = 0; i < left; i++)
        for (size_t k = 0; k < COP_PAGE_BYTES; k++)
            ck_assert_uint_eq(((unsigned char *)page[i])[k], (i * 8) & 255);
    check_counts(left * COP_PAGE_BYTES);
}
END_TEST

/* Who needs more than the others have gets what is being evacuated, and no new chunk. */
START_TEST(evacuated_ones_before_new_chunks)
{
    static void *page[16 * PAGES], *block[4000];
    uint64_t bytes;
    size_t left;

    take_pages(page, 16 * PAGES);
    bytes = held(COP_MEMORY_PAGES);
    left = leave_some(page, 16 * PAGES, 8);
    ck_assert_uint_gt(cop__carver_evacuate(&pool.pages), 0);
    take_pages(page + left, 16 * PAGES - left);
    ck_assert_uint_eq(held(COP_MEMORY_PAGES), bytes);
    cop__carver_stay(&pool.pages);
    check_counts(16 * (uint64_t)CHUNK);

    for (unsigned i = 0; i < 4000; i++) /* blocks: whole slabs of chunks that are evacuated */
        ck_assert_ptr_nonnull(block[i] = cop__pool_block(&pool, &pool.values, 80));
    for (unsigned i = 0; i < 4000; i++)
        if (i % 900 != 0)
            cop__pool_block_free(&pool, &pool.values, block[i], 80);
    trim();
    bytes = held(COP_MEMORY_VALUES);
    ck_assert_uint_gt(cop__carver_evacuate(&pool.values.carver), 0);
    for (unsigned i = 0; i < bytes * 3 / 4 / 200; i++)
        ck_assert_ptr_nonnull(cop__pool_block(&pool, &pool.values, 200));
    ck_assert_uint_eq(held(COP_MEMORY_VALUES), bytes);
}
END_TEST

/* Middle blocks go by the same way: what is moved by hand fits in the rest. */
START_TEST(evacuated_middle_blocks)
{
    enum { BLOCKS = 1000, BYTES = 5000 };
    static unsigned char *block[BLOCKS];
    uint64_t bytes;
    size_t left = 0;

    for (unsigned i = 0; i < BLOCKS; i++) {
        ck_assert_ptr_nonnull(block[i] = cop__pool_block(&pool, &pool.values, BYTES));
        memset(block[i], (int)i, BYTES);
    }
    bytes = held(COP_MEMORY_VALUES);
    for (unsigned i = 0; i < BLOCKS; i++)
        if (i % 10 == 0)
            block[left++] = block[i];
        else
            cop__pool_block_free(&pool, &pool.values, block[i], BYTES);
    trim();
    ck_assert_uint_gt(cop__carver_evacuate(&pool.values.middle), 0);
    for (size_t i = 0; i < left; i++) {
        if (!cop__pool_evacuated(&pool.values, block[i], BYTES))
            continue;
        void *to = cop__pool_block(&pool, &pool.values, BYTES);
        ck_assert(!cop__pool_evacuated(&pool.values, to, BYTES));
        memcpy(to, block[i], BYTES);
        cop__pool_block_free(&pool, &pool.values, block[i], BYTES);
        block[i] = to;
        trim();
    }
    ck_assert_uint_eq(pool.values.middle.evacuated, 0);
    ck_assert_uint_lt(held(COP_MEMORY_VALUES), bytes / 5);
    for (size_t i = 0; i < left; i++)
        for (size_t k = 0; k < BYTES; k++)
            ck_assert_int_eq(block[i][k], (int)(i * 10 & 255));
    check_counts(pool.values.bytes_used);
}
END_TEST

/* ---- at random ---- */

typedef struct thing {
    unsigned char *memory;
    size_t bytes; /* 0: a page */
    unsigned kind; /* 0 page, 1 value, 2 name */
    unsigned char mark;
} thing;

enum { THINGS = 6000 };

static void
thing_make(thing *t, unsigned long n)
{
    t->kind = (unsigned)(n % 3);
    t->bytes = t->kind == 0 ? COP_PAGE_BYTES : 9 + tree_random(n % 40 == 0 ? 20000 : 120);
    t->mark = (unsigned char)n;
    t->memory = t->kind == 0 ? cop__pool_page(&pool)
                             : cop__pool_block(&pool, t->kind == 1 ? &pool.values : &pool.names, t->bytes);
    ck_assert_ptr_nonnull(t->memory);
    memset(t->memory, t->mark, t->bytes);
}

static void
thing_end(thing *t)
{
    for (size_t i = 0; i < t->bytes; i++)
        ck_assert_int_eq(t->memory[i], t->mark);
    if (t->kind == 0)
        cop__pool_page_free(&pool, t->memory);
    else
        cop__pool_block_free(&pool, t->kind == 1 ? &pool.values : &pool.names, t->memory, t->bytes);
    t->memory = NULL;
}

static uint64_t
used_in_chunks(void)
{
    return pool.pages_used * COP_PAGE_BYTES + pool.values.bytes_used + pool.names.bytes_used -
           pool.values.large_bytes - pool.names.large_bytes;
}

/* Growing and shrinking, trimmed a little now and then, with chunks evacuated and not. */
START_TEST(random_use)
{
    static thing things[THINGS];
    uint64_t bytes;

    memset(things, 0, sizeof things);
    for (unsigned long n = 0; n < 400000; n++) {
        thing *t = &things[tree_random(n / 50000 % 2 ? THINGS / 12 : THINGS)];
        if (t->memory == NULL)
            thing_make(t, n);
        else
            thing_end(t);
        if (n % 997 == 0)
            (void)cop__pool_trim(&pool, tree_random(3000));
        if (n % 30011 == 0 && pool.pages.evacuated + pool.values.carver.evacuated +
                                  pool.values.middle.evacuated == 0) {
            (void)cop__carver_evacuate(&pool.pages);
            (void)cop__carver_evacuate(&pool.values.carver);
            (void)cop__carver_evacuate(&pool.values.middle);
        } else if (n % 50021 == 0) {
            cop__carver_stay(&pool.pages);
            cop__carver_stay(&pool.values.carver);
            cop__carver_stay(&pool.values.middle);
        }
        if (n % 10007 == 0)
            ck_assert_uint_eq(cop__pool_bytes(&pool) - cop__pool_free_bytes(&pool), used_in_chunks());
    }
    bytes = cop__pool_bytes(&pool);
    for (unsigned i = 0; i < THINGS; i++)
        if (things[i].memory != NULL)
            thing_end(&things[i]);
    trim();
    ck_assert_uint_gt(bytes, 0);
    check_counts(0);
    ck_assert_uint_eq(cop__pool_bytes(&pool), 0);
}
END_TEST

/* A pool on the C library's allocator has mappings of its own: given back, they are no longer resident. */
START_TEST(mapped_chunks)
{
    enum { MANY = 64 * 1024 };
    static void *page[MANY];
    uint64_t before, peak, after;

    teardown();
    memory = cop__memory_new(NULL, UINT64_MAX);
    ck_assert_ptr_nonnull(memory);
    cop__pool_init(&pool, memory, _i == 0 ? 2 << 20 : 96 << 10, _i == 0);
    before = resident_bytes();
    take_pages(page, MANY);
    peak = resident_bytes();
    free_pages(page, 0, MANY);
    trim();
    after = resident_bytes();
    ck_assert_uint_gt(peak - before, 30 << 20);
    ck_assert_uint_lt(after, before + ((COP_ASAN ? 12 : 4) << 20)); /* a sanitizer keeps notes */
    ck_assert_uint_eq(held(COP_MEMORY_PAGES), 0);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_set_timeout(tests, 120);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, all_that_is_free_goes_back);
    tcase_add_test(tests, no_more_than_the_quota);
    tcase_add_test(tests, a_chunk_in_use_stays);
    tcase_add_test(tests, full_chunks_first);
    tcase_add_test(tests, slabs_change_their_class);
    tcase_add_test(tests, nothing_worth_evacuating);
    tcase_add_test(tests, evacuated_chunks_go);
    tcase_add_test(tests, evacuated_ones_before_new_chunks);
    tcase_add_test(tests, evacuated_middle_blocks);
    tcase_add_test(tests, random_use);
    tcase_add_loop_test(tests, mapped_chunks, 0, 2);
}

int
main(void)
{
    return t_run("pool_trim", add);
}

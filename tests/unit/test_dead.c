/* SPDX-License-Identifier: MIT */
/*
 * The dead lists against the rule itself: what was born at b and died at d may be freed exactly
 * when no held stamp v has b <= v < d. What is freed is seen in the pool's counters and free lists.
 */
#include "tests/support/pool_bytes.h"
#include "tests/support/tree_test.h"

enum { THINGS = 4000, HELD = 12, IN_A_PAGE = 4 };

typedef enum kind { BLOCK, LARGE, PAGE, ROOT, PAGE_OF_VALUES } kind;

typedef struct thing {
    void *memory;
    uint64_t birth, death; /* death 0: in use */
    size_t bytes;
    kind kind;
    struct thing *page; /* a value that dies with a page */
} thing;

static cop__pool pool;
static cop__dead dead;
static cop__memory *memory;
static thing things[THINGS];
static unsigned count;
static uint64_t now; /* the published stamp */
static uint64_t held[HELD];
static unsigned held_count;
static uint64_t last_scan;

/* A page of values here is a list of its blocks. */
typedef struct value_page {
    struct {
        void *block;
        size_t bytes;
    } value[IN_A_PAGE];
} value_page;

static void
open_page(void *page, cop__dead_emit emit, void *context)
{
    const value_page *values = page;

    for (unsigned i = 0; i < IN_A_PAGE; i++)
        if (values->value[i].block != NULL)
            emit(context, values->value[i].block, values->value[i].bytes);
}

static void
setup(void)
{
    cop_allocator allocator;

    fault_alloc_init(&t_faults);
    allocator = fault_alloc_table(&t_faults);
    memory = cop__memory_new(&allocator, UINT64_MAX);
    ck_assert_ptr_nonnull(memory);
    cop__pool_init(&pool, memory, 1 << 20, false);
    cop__dead_init(&dead, &pool, open_page);
    count = held_count = 0;
    now = last_scan = 1;
    tree_random_state = 1;
}

/* Gives back what is in use and ends all. */
static void
teardown(void)
{
    for (unsigned i = 0; i < count; i++)
        if (things[i].death == 0 && things[i].kind == LARGE)
            cop__pool_block_free(&pool, &pool.values, things[i].memory, things[i].bytes);
    cop__dead_end(&dead);
    cop__pool_end(&pool);
    cop__memory_unref(memory);
    t_all_released();
}

/* --- making and retiring ---------------------------------------------------------- */

static thing *
make(kind what, size_t bytes)
{
    thing *t = &things[count++];

    ck_assert_uint_le(count, THINGS);
    *t = (thing){.birth = now, .kind = what, .bytes = bytes};
    if (what == PAGE || what == PAGE_OF_VALUES)
        t->memory = cop__pool_page(&pool);
    else if (what == ROOT)
        t->memory = cop__pool_root(&pool);
    else
        t->memory = cop__pool_block(&pool, &pool.values, bytes);
    ck_assert_ptr_nonnull(t->memory);
    memset(t->memory, 0, what == ROOT ? COP_ROOT_BYTES : what >= PAGE ? COP_PAGE_BYTES : bytes);
    if (what == BLOCK || what == LARGE)
        memcpy(t->memory, &t->birth, sizeof t->birth);
    return t;
}

static void
retire(thing *t)
{
    ck_assert(cop__dead_reserve(&dead, 1));
    t->death = now;
    switch (t->kind) {
    case BLOCK:
    case LARGE:
        cop__dead_block(&dead, t->memory, t->bytes, now);
        break;
    case ROOT:
        cop__dead_root(&dead, t->memory, t->birth, now);
        break;
    default:
        cop__dead_page(&dead, t->memory, t->birth, now, t->kind == PAGE_OF_VALUES);
        break;
    }
}

/* A page of values, some of which were born before the page was last copied; all die with it. */
static void
page_of_values(void)
{
    thing *page = make(PAGE_OF_VALUES, COP_PAGE_BYTES);
    value_page *values = page->memory;

    page->birth = now;
    for (unsigned i = 0; i < IN_A_PAGE; i++) {
        bool large = tree_random(6) == 0;
        thing *value;
        uint64_t birth = 1 + tree_random(now);
        if (tree_random(4) == 0)
            continue;
        value = make(large ? LARGE : BLOCK, large ? 17000 : 9 + tree_random(1000));
        value->birth = birth;
        memcpy(value->memory, &birth, sizeof birth);
        value->page = page;
        values->value[i].block = value->memory;
        values->value[i].bytes = value->bytes;
    }
}

/* The values die when their page does. */
static void
retire_any(thing *t)
{
    if (t->page != NULL)
        t = t->page;
    if (t->death != 0 || t->birth >= now)
        return;
    for (unsigned i = 0; i < count; i++)
        if (things[i].page == t)
            things[i].death = now;
    retire(t);
}

/* --- what is free
 * ---------------------------------------------------------------------------------- */

static const void *freed[1 << 16]; /* sorted addresses */
static size_t freed_count;

static void
note_free(const cop__free_item *item)
{
    for (; item != NULL; item = item->next) {
        ck_assert_uint_lt(freed_count, sizeof freed / sizeof *freed);
        freed[freed_count++] = item;
    }
}

static int
by_address(const void *a, const void *b)
{
    uintptr_t x = (uintptr_t) * (const void *const *)a, y = (uintptr_t) * (const void *const *)b;

    return x < y ? -1 : x > y;
}

static void
note_all_free(void)
{
    freed_count = 0;
    note_free(pool.free_pages);
    note_free(pool.free_roots);
    for (unsigned i = 0; i < COP_CLASSES; i++)
        note_free(pool.values.free[i]);
    qsort(freed, freed_count, sizeof *freed, by_address);
}

/* Noted as free; large blocks never are. */
static bool
is_free(const thing *t)
{
    return bsearch(&t->memory, freed, freed_count, sizeof *freed, by_address) != NULL;
}

static bool
is_held(const thing *t)
{
    for (unsigned i = 0; i < held_count; i++)
        if (t->birth <= held[i] && held[i] < t->death)
            return true;
    return false;
}

static void
held_things_are_there(void)
{
    note_all_free();
    for (unsigned i = 0; i < count; i++)
        if (things[i].death == 0 || is_held(&things[i]))
            ck_assert_msg(!is_free(&things[i]), "thing %u (%d), %" PRIu64 "..%" PRIu64 " was freed",
                          i, things[i].kind, things[i].birth, things[i].death);
}

/* Pages that hold the records of dead pages; each begins with the address of the next. */
static uint64_t
record_pages(const cop__dead_list *list)
{
    uint64_t n = 0;

    for (const void *chunk = list->first_chunk; chunk != NULL; n++)
        memcpy(&chunk, chunk, sizeof chunk);
    return n;
}

/* After a scan and without a quota. */
static void
all_others_are_free(void)
{
    uint64_t pages = record_pages(&dead.doomed), bytes = 0;

    for (unsigned i = 0; i < count; i++) {
        const thing *t = &things[i];
        bool kept = t->death == 0 || is_held(t) || (t->page != NULL && is_held(t->page));
        if (!kept || t->kind == ROOT)
            continue;
        if (t->kind == PAGE || t->kind == PAGE_OF_VALUES)
            pages++;
        else
            bytes += pool_block_bytes(t->bytes);
    }
    for (size_t i = 0; i < dead.held_count; i++)
        for (uint32_t k = 0; k < dead.held[i].subs; k++)
            pages += record_pages(&dead.held[i].sub[k].list);
    ck_assert_uint_eq(pool.values.bytes_used, bytes);
    ck_assert_uint_eq(pool.pages_used, pages);
    ck_assert_uint_eq(cop__dead_doomed(&dead), 0);
}

/* Forgets what was freed: its memory may be given out again. */
static void
forget_freed(void)
{
    unsigned kept = 0;
    static thing *moved[THINGS];

    for (unsigned i = 0; i < count; i++) {
        const thing *t = &things[i];
        moved[i] = NULL;
        if (t->death != 0 && !is_held(t) && !(t->page != NULL && is_held(t->page)))
            continue;
        moved[i] = &things[kept];
        things[kept] = *t;
        if (t->page != NULL)
            things[kept].page = moved[t->page - things]; /* NULL: the page is gone, it is held */
        kept++;
    }
    count = kept;
}

/* --- scans
 * ------------------------------------------------------------------------------------------ */

static bool
scan(void)
{
    uint64_t stamps[HELD + 1];

    memcpy(stamps, held, held_count * sizeof *held);
    last_scan = now;
    return cop__dead_scan(&dead, stamps, held_count);
}

/* Lets versions go and takes new ones, none older than the last scan's newest. */
static void
holds_change(void)
{
    for (unsigned i = held_count; i-- > 0;)
        if (tree_random(4) == 0) {
            held_count--;
            memmove(&held[i], &held[i + 1], (held_count - i) * sizeof *held);
        }
    for (uint64_t stamp = last_scan; stamp <= now; stamp++)
        if (held_count < HELD && tree_random(3) == 0 &&
            (held_count == 0 || held[held_count - 1] < stamp))
            held[held_count++] = stamp;
}

static void
publish(unsigned made)
{
    now++;
    for (unsigned i = 0; i < made && count + 8 < THINGS; i++) {
        switch (tree_random(7)) {
        case 0:
            page_of_values();
            break;
        case 1:
            make(LARGE, COP_MIDDLE_MAX + 1 + tree_random(100));
            break;
        case 2:
            make(ROOT, COP_ROOT_BYTES);
            break;
        case 3:
        case 4:
            make(PAGE, COP_PAGE_BYTES);
            break;
        default:
            make(BLOCK, 9 + tree_random(tree_random(3) == 0 ? COP_MIDDLE_MAX - 8 : COP_CLASS_MAX - 8));
            break;
        }
    }
    for (unsigned i = 0; i < made && count > 0; i++)
        retire_any(&things[tree_random(count)]);
}

START_TEST(what_is_held_is_kept_and_all_else_freed)
{
    tree_random_state = (uint64_t)_i;
    for (unsigned round = 0; round < 100; round++) {
        for (uint64_t n = tree_random(5); n-- > 0;)
            publish(1 + (unsigned)tree_random(_i % 3 == 0 ? 60 : 12));
        holds_change();
        ck_assert(scan());
        held_things_are_there();
        if (tree_random(3) == 0)
            continue;
        while (cop__dead_free(&dead, 1 + tree_random(50)) > 0)
            continue;
        held_things_are_there();
        all_others_are_free();
        forget_freed();
    }
    held_count = 0;
    now++;
    for (unsigned i = 0; i < count; i++)
        retire_any(&things[i]);
    ck_assert(scan());
    cop__dead_free(&dead, SIZE_MAX);
    all_others_are_free();
    ck_assert_uint_eq(dead.blocks_dead + dead.pages_dead, 0);
    ck_assert_uint_eq(pool.pages_used + pool.values.bytes_used, 0);
    count = 0;
}
END_TEST

/* Memory is refused at random: a scan may fail, but nothing is lost and nothing freed too early. */
START_TEST(refused_scans_lose_nothing)
{
    unsigned failed = 0;

    tree_random_state = (uint64_t)_i + 99;
    for (unsigned round = 0; round < 150; round++) {
        bool whole;
        for (uint64_t n = tree_random(5); n-- > 0;)
            publish(1 + (unsigned)tree_random(15));
        holds_change();
        atomic_store(&memory->fail_countdown, (int64_t)tree_random(6));
        atomic_store(&memory->fail_for_ever, tree_random(2) != 0);
        whole = scan();
        cop__dead_free(&dead, tree_random(200));
        atomic_store(&memory->fail_countdown, -1);
        failed += !whole;
        held_things_are_there();
        if (tree_random(8) != 0)
            continue;
        ck_assert(scan());
        cop__dead_free(&dead, SIZE_MAX);
        held_things_are_there();
        all_others_are_free();
        forget_freed();
    }
    ck_assert_uint_gt(failed, 10);
    held_count = 0;
    ck_assert(scan());
    cop__dead_free(&dead, SIZE_MAX);
    all_others_are_free();
    forget_freed();
}
END_TEST

/* --- the end
 * ------------------------------------------------------------------------------------------ */

/* Whatever is in the lists, in limbo or doomed is freed at the end, pages' values too; the fixture
 * sees that nothing is left with the allocator. */
START_TEST(the_end_frees_everything)
{
    tree_random_state = (uint64_t)_i + 7;
    for (unsigned round = 0; round < 20; round++) {
        publish(20);
        holds_change();
        if (tree_random(3) != 0)
            ck_assert(scan());
    }
    now++;
    for (unsigned i = 0; i < count; i++)
        retire_any(&things[i]);
    cop__dead_end(&dead);
    ck_assert_uint_eq(pool.pages_used + pool.values.bytes_used, 0);
    cop__dead_init(&dead, &pool, open_page);
    count = 0;
}
END_TEST

/* --- quotas
 * -------------------------------------------------------------------------------------------- */

/* The newest one held that is no newer than the version asked about. */
START_TEST(the_last_one_held_until)
{
    static const uint64_t asked[][2] = {{0, 0}, {4, 0}, {5, 5}, {6, 5}, {8, 5}, {9, 9}, {10, 9}, {99, 9}};

    now = 9;
    ck_assert_uint_eq(cop__dead_held_until(&dead, 9), 0);
    held[0] = 5;
    held[1] = 9;
    held_count = 2;
    ck_assert(scan());
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++)
        ck_assert_uint_eq(cop__dead_held_until(&dead, asked[i][0]), asked[i][1]);
    held_count = 0;
    ck_assert(scan());
}
END_TEST

START_TEST(no_more_is_freed_than_the_quota)
{
    now = 2;
    held[0] = 2;
    held_count = 1;
    for (unsigned i = 0; i < 100; i++) {
        make(BLOCK, 64);
        make(PAGE, COP_PAGE_BYTES);
    }
    ck_assert(scan());
    now = 3;
    for (unsigned i = 0; i < count; i++)
        retire(&things[i]);
    ck_assert(scan());
    ck_assert_uint_eq(dead.blocks_dead, 100);
    ck_assert_uint_eq(dead.pages_dead, 100);
    held_count = 0;
    ck_assert(scan());
    ck_assert_uint_eq(cop__dead_doomed(&dead), 200);
    ck_assert_uint_eq(cop__dead_free(&dead, 0), 200);
    ck_assert_uint_eq(cop__dead_free(&dead, 1), 199);
    ck_assert_uint_eq(cop__dead_free(&dead, 99), 100);
    ck_assert_uint_eq(cop__dead_free(&dead, 10), 90);
    ck_assert_uint_eq(dead.blocks_dead, 90);
    ck_assert_uint_eq(cop__dead_free(&dead, 90), 0);
    ck_assert_uint_eq(dead.blocks_dead + dead.pages_dead, 0);
    count = 0;
}
END_TEST

/* A page of values counts its values. */
START_TEST(a_page_of_values_costs_more_of_the_quota)
{
    now = 2;
    held[0] = 2;
    held_count = 1;
    for (unsigned i = 0; i < 10; i++)
        make(PAGE_OF_VALUES, COP_PAGE_BYTES);
    ck_assert(scan());
    now = 3;
    for (unsigned i = 0; i < count; i++)
        retire(&things[i]);
    ck_assert(scan());
    held_count = 0;
    ck_assert(scan());
    ck_assert_uint_eq(cop__dead_free(&dead, 33), 9);
    ck_assert_uint_eq(cop__dead_free(&dead, 34), 7);
    ck_assert_uint_eq(cop__dead_free(&dead, 1), 6);
    ck_assert_uint_eq(cop__dead_free(&dead, 33 * 6), 0);
    count = 0;
}
END_TEST

/* What died in large numbers at once is not freed by the scan but by quota. */
START_TEST(many_things_at_once_wait_for_their_quota)
{
    void *blocks[9000];

    for (unsigned part = 0; part < 2; part++) {
        unsigned n = part == 0 ? 8192 : 8193;
        for (unsigned i = 0; i < n; i++) {
            blocks[i] = cop__pool_block(&pool, &pool.values, 32);
            ck_assert_ptr_nonnull(blocks[i]);
            memcpy(blocks[i], &now, sizeof now);
        }
        now++;
        ck_assert(cop__dead_reserve(&dead, n));
        for (unsigned i = 0; i < n; i++)
            cop__dead_block(&dead, blocks[i], 32, now);
        ck_assert(scan());
        ck_assert_uint_eq(cop__dead_doomed(&dead), part == 0 ? 0 : n);
        cop__dead_free(&dead, SIZE_MAX);
        ck_assert_uint_eq(pool.values.bytes_used, 0);
    }
}
END_TEST

START_TEST(only_what_is_held_is_marked)
{
    held[held_count++] = now;
    ck_assert(scan());
    ck_assert(cop__dead_mark_kept(&dead, now));
    ck_assert(!cop__dead_mark_kept(&dead, now - 1));
    ck_assert(!cop__dead_mark_kept(&dead, now + 1));
    held_count = 0;
    ck_assert(scan());
    ck_assert(!cop__dead_mark_kept(&dead, now));
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, what_is_held_is_kept_and_all_else_freed, 0, 6);
    tcase_add_loop_test(tests, refused_scans_lose_nothing, 0, 3);
    tcase_add_loop_test(tests, the_end_frees_everything, 0, 4);
    tcase_add_test(tests, no_more_is_freed_than_the_quota);
    tcase_add_test(tests, a_page_of_values_costs_more_of_the_quota);
    tcase_add_test(tests, many_things_at_once_wait_for_their_quota);
    tcase_add_test(tests, only_what_is_held_is_marked);
    tcase_add_test(tests, the_last_one_held_until);
}

int
main(void)
{
    return t_run("dead lists", add);
}

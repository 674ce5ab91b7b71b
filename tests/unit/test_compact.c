/* SPDX-License-Identifier: MIT */
/*
 * Compaction of a tree: what is live moves out of sparse chunks, which go; nothing that a version shows
 * changes, whatever is held and whichever request is refused.
 */
#include "tests/support/tree_test.h"
#include "tree/compact.h"
#include "tree/directory.h"
#include "tree/list.h"

enum { CHUNK = 32 * 1024, OBJECTS = 60, CHILDREN = 40, ELEMENTS = 2000, VERSIONS = 250 };

static uint32_t object[OBJECTS], child[OBJECTS][CHILDREN], array, element[ELEMENTS];
static unsigned length[OBJECTS][CHILDREN], round_of[OBJECTS][CHILDREN];

static void
setup(void)
{
    cop_allocator allocator;

    fault_alloc_init(&t_faults);
    allocator = fault_alloc_table(&t_faults);
    tree_memory = cop__memory_new(&allocator, UINT64_MAX);
    ck_assert_ptr_nonnull(tree_memory);
    CHECK_OK(cop__tree_init(&tree, tree_memory, CHUNK, false, tree_no_store()));
    tree_random_state = 1;
}

static void
write_text(unsigned i, unsigned k, unsigned n, unsigned round)
{
    char *text = t_bytes(n, round);
    cop_value value = cop_string(text, n);

    ck_assert(cop__atom_write(&tree, child[i][k], &value));
    length[i][k] = n;
    round_of[i][k] = round;
    free(text);
}

static void
check_texts(void)
{
    for (unsigned i = 0; i < OBJECTS; i++)
        for (unsigned k = 0; k < CHILDREN; k++) {
            char *text = t_bytes(length[i][k], round_of[i][k]);
            cop_value value = cop_string(text, length[i][k]);
            ck_assert(cop__slot_holds(cop__draft_slot(&tree, child[i][k]), &value));
            free(text);
        }
    for (unsigned i = 0; i < OBJECTS; i++)
        for (unsigned k = 0; k < tree_count(object[i]); k++)
            ck_assert_uint_eq(cop__list_at(tree_view(), cop__draft_slot(&tree, object[i]), k),
                              child[i][k]);
    ck_assert_uint_eq(tree_count(array), ELEMENTS);
    for (unsigned i = 0; i < ELEMENTS; i++)
        ck_assert_uint_eq(cop__list_at(tree_view(), cop__draft_slot(&tree, array), i), element[i]);
}

static void
reclaim(const uint64_t *held, size_t n)
{
    ck_assert(cop__dead_scan(&tree.dead, held, n));
    (void)cop__dead_free(&tree.dead, SIZE_MAX);
}

static void
trim(void)
{
    while (cop__pool_trim(&tree.pool, 4096))
        ;
}

static void
make_all(void)
{
    char name[16];

    cop__draft_begin(&tree);
    for (unsigned i = 0; i < OBJECTS; i++) {
        snprintf(name, sizeof name, "object%u", i);
        object[i] = tree_child(0, name, cop_object());
        for (unsigned k = 0; k < CHILDREN - i % 30; k++) { /* in blocks, and in pages */
            snprintf(name, sizeof name, "child%u", k);
            child[i][k] = tree_child(object[i], name, cop_null());
            write_text(i, k, 20 + k * 3, 0);
        }
        for (unsigned k = CHILDREN - i % 30; k < CHILDREN; k++) {
            ck_assert(cop__atom_create(&tree, &(cop_value){.type = COP_NULL}, &child[i][k]));
            write_text(i, k, k % 8 == 0 ? 20000 : 1200, 0); /* above the classes, and of the middle ones */
        }
    }
    array = tree_child(0, "array", cop_array());
    for (unsigned i = 0; i < ELEMENTS; i++)
        element[i] = tree_insert(array, COP_AT_END, cop_i64((int64_t)i));
    tree_commit();
}

/* A peak: all is written in many versions that are held, and let go at once; between them there is a little
 * that stays. What is live is scattered then, one page or text here and there. */
static void
scatter(unsigned round)
{
    static uint64_t held[VERSIONS];

    for (unsigned n = 0; n < VERSIONS; n++) {
        cop__draft_begin(&tree);
        for (unsigned i = 0; i < OBJECTS; i++) {
            unsigned k = (unsigned)tree_random(CHILDREN);
            write_text(i, k, length[i][k], round * VERSIONS + n + 1);
        }
        for (unsigned i = 0; i < 40; i++) {
            cop_value value = cop_i64((int64_t)(round * 1000 + n));
            ck_assert(cop__atom_write(&tree, element[tree_random(ELEMENTS)], &value));
        }
        ck_assert(tree_publish());
        held[n] = tree.root->stamp;
        reclaim(held, n + 1);
    }
    reclaim(NULL, 0);
    tree_is_right();
    trim();
}

/* One step; true when it published. */
static bool
step(size_t quota)
{
    cop_snapshot *root = NULL;

    cop__draft_begin(&tree);
    tree.version = tree.root->version;
    if (cop__compact_step(&tree, quota))
        root = cop__draft_root(&tree);
    if (root != NULL)
        cop__draft_published(&tree, root);
    else
        cop__draft_abandon(&tree);
    return root != NULL;
}

/* Returns the steps that moved something. */
static unsigned
compact(size_t quota, const uint64_t *held, size_t n)
{
    unsigned moves = 0, steps = 0;

    while (tree.compaction.running) {
        moves += step(quota);
        ck_assert_int_eq(tree.failed, COP_OK);
        tree_is_right();
        reclaim(held, n);
        trim();
        ck_assert_uint_lt(++steps, 100000);
    }
    cop__compact_end(&tree);
    return moves;
}

static uint64_t
bytes_of(cop_memory_kind kind)
{
    return atomic_load(&tree_memory->by_kind[kind]);
}

/* Quotas of a step: each thing by itself, some, all. */
static const size_t quotas[] = {1, 300, 1000000};

START_TEST(sparse_chunks_go)
{
    uint64_t pages, values, middle, version, least, least_values;

    make_all();
    trim();
    least = cop__pool_bytes(&tree.pool);
    least_values = tree.pool.values.carver.bytes; /* without the large ones */
    scatter(0);
    pages = bytes_of(COP_MEMORY_PAGES);
    values = tree.pool.values.carver.bytes;
    middle = tree.pool.values.middle.bytes;
    version = tree.root->version;
    ck_assert_uint_gt(cop__pool_bytes(&tree.pool), least * 2);
    ck_assert(cop__compact_begin(&tree));
    ck_assert_uint_gt(compact(quotas[_i], NULL, 0), 0);
    trim();
    ck_assert_uint_lt(bytes_of(COP_MEMORY_PAGES), pages / 2);
    ck_assert_uint_gt(values, least_values * 2);
    /* Slabs are of 60 classes; how many chunks they keep depends on the order of addresses. */
    ck_assert_uint_le(tree.pool.values.carver.bytes, values * 4 / 5);
    ck_assert_uint_lt(tree.pool.values.middle.bytes, middle / 2);
    ck_assert_uint_lt(cop__pool_bytes(&tree.pool), least * 3 / 2);
    ck_assert_uint_eq(tree.root->version, version);
    ck_assert_uint_eq(tree.pool.pages.evacuated + tree.pool.values.carver.evacuated +
                          tree.pool.values.middle.evacuated,
                      0);
    check_texts();
}
END_TEST

/* What a held version sees stays where it is, and is not copied. */
START_TEST(held_versions_are_left_alone)
{
    uint64_t stamp, used;
    const cop_snapshot *root;
    const cop__slot *slot;
    cop_value value;

    make_all();
    scatter(0);
    root = tree.root;
    stamp = root->stamp;
    slot = cop__root_slot(root, child[3][7]);
    value = cop__slot_value(slot);
    cop__draft_begin(&tree);
    write_text(3, 7, 99, 5000);
    ck_assert(tree_publish());
    reclaim(&stamp, 1);
    trim();
    used = tree.pool.pages_used;
    ck_assert(cop__compact_begin(&tree));
    (void)compact(1000, &stamp, 1);
    ck_assert_uint_le(tree.pool.pages_used, used + 8); /* the few pages that are newer */
    ck_assert_ptr_eq(cop__root_slot(root, child[3][7]), slot);
    ck_assert(cop__slot_holds(slot, &value));
    reclaim(NULL, 0);
    tree_is_right();
    check_texts();
}
END_TEST

/* Each request of a step refused in turn: the draft is abandoned, and all is as before. */
START_TEST(refused_steps_change_nothing)
{
    bool published = false;
    unsigned refused = 0;

    make_all();
    scatter(0);
    ck_assert(cop__compact_begin(&tree));
    for (int64_t k = 0; !published; k += 1 + k / 16) {
        uint64_t dead = tree.dead.limbo_count, pages = tree.pool.pages_used;
        uint64_t bytes = tree.pool.values.bytes_used;
        cop__compaction before = tree.compaction;
        atomic_store(&tree_memory->fail_countdown, k);
        published = step(20000);
        bool over = atomic_load(&tree_memory->fail_countdown) >= 0;
        atomic_store(&tree_memory->fail_countdown, -1);
        ck_assert(published == over);
        if (published)
            break;
        refused++;
        ck_assert_uint_eq(tree.dead.limbo_count, dead);
        ck_assert_uint_eq(tree.pool.pages_used, pages);
        ck_assert_uint_eq(tree.pool.values.bytes_used, bytes);
        tree_is_right();
        tree.compaction = before;
    }
    ck_assert_uint_gt(refused, 20);
    check_texts();
    cop__compact_end(&tree);
}
END_TEST

START_TEST(nothing_to_do)
{
    make_all();
    trim();
    while (cop__compact_begin(&tree)) /* a chunk or two may be worth it */
        if (compact(1000, NULL, 0) == 0)
            break;
    ck_assert(!tree.compaction.running);
    cop__compact_end(&tree);
    check_texts();
}
END_TEST

/* Spaces grow and shrink while a pass is under way. */
START_TEST(commits_between_the_steps)
{
    make_all();
    for (unsigned round = 0; round < 3; round++) {
        scatter(round);
        ck_assert(cop__compact_begin(&tree));
        for (unsigned n = 0; tree.compaction.running; n++) {
            uint32_t id = UINT32_MAX;
            (void)step(200);
            cop__draft_begin(&tree);
            write_text(n % OBJECTS, n % CHILDREN, 30 + n % 90, 10000 + n);
            ck_assert(cop__atom_create(&tree, &(cop_value){.type = COP_NULL}, &id));
            ck_assert(tree_publish());
            reclaim(NULL, 0);
            if (n % 3 == 0)
                trim();
            tree_is_right();
        }
        cop__compact_end(&tree);
        trim();
        tree_is_right();
        check_texts();
    }
}
END_TEST

/* What a large draft made long is cut short; what is in it stays. */
START_TEST(long_vectors_are_cut)
{
    enum { MANY = 200000 };
    static uint32_t id[MANY];
    size_t undo, limbo;

    make_all();
    cop__draft_begin(&tree);
    for (unsigned i = 0; i < MANY; i++)
        ck_assert(cop__atom_create(&tree, &(cop_value){.type = COP_NULL}, &id[i]));
    ck_assert(tree_publish());
    ck_assert(cop__dead_reserve(&tree.dead, 100000));
    undo = tree.undo_capacity;
    limbo = tree.dead.limbo_capacity;
    cop__tree_shrink(&tree);
    ck_assert_uint_lt(tree.undo_capacity, undo / 2);
    ck_assert_uint_lt(tree.dead.limbo_capacity, limbo / 2);
    undo = tree.undo_capacity;
    limbo = tree.dead.limbo_capacity;
    cop__tree_shrink(&tree); /* once is enough */
    ck_assert_uint_eq(tree.undo_capacity, undo);
    ck_assert_uint_eq(tree.dead.limbo_capacity, limbo);
    ck_assert(cop__dead_reserve(&tree.dead, 100000));
    atomic_store(&tree_memory->fail_countdown, 0);
    atomic_store(&tree_memory->fail_for_ever, true);
    cop__tree_shrink(&tree); /* refused: it stays long */
    atomic_store(&tree_memory->fail_countdown, -1);
    ck_assert_uint_ge(tree.dead.limbo_capacity, 100000);
    tree_reclaim();
    check_texts();
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, tree_teardown);
    tcase_add_loop_test(tests, sparse_chunks_go, 0, sizeof quotas / sizeof *quotas);
    tcase_add_test(tests, held_versions_are_left_alone);
    tcase_add_test(tests, refused_steps_change_nothing);
    tcase_add_test(tests, nothing_to_do);
    tcase_add_test(tests, commits_between_the_steps);
    tcase_add_test(tests, long_vectors_are_cut);
}

int
main(void)
{
    return t_run("compact", add);
}

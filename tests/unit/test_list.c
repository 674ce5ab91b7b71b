/* SPDX-License-Identifier: MIT */
/* Child lists against a plain array: blocks, leaves, three levels of pages, joins, reordering. */
#include "tests/support/tree_test.h"

enum { LEAF = COP_LIST_LEAF_IDS, INNER = COP_LIST_INNER, MOST = 2 * LEAF * INNER };

static uint32_t expected[MOST];
static uint32_t expected_count;
static uint32_t array;

static void
setup(void)
{
    tree_setup();
    expected_count = 0;
    cop__draft_begin(&tree);
    array = tree_child(0, "array", cop_array());
    tree_commit();
}

static const cop__slot *
slot(void)
{
    return cop__draft_slot(&tree, array);
}

/* Levels of pages; 0: a block or nothing. */
static unsigned
levels(void)
{
    const cop__list_page *page;
    unsigned n = 1;

    if (cop__slot_list(slot()) != COP_LIST_PAGES)
        return 0;
    page = cop__draft_page(&tree, COP_SPACE_LISTS, slot()->small.words[0]);
    for (; page->kind == COP_LIST_IS_INNER; n++)
        page = cop__draft_page(&tree, COP_SPACE_LISTS, page->child[0].page);
    return n;
}

static unsigned
leaves(void)
{
    const cop__list_page *page;
    unsigned n = 1;

    if (cop__slot_list(slot()) != COP_LIST_PAGES)
        return 0;
    page = cop__draft_page(&tree, COP_SPACE_LISTS, slot()->small.words[0]);
    while (page->kind == COP_LIST_IS_INNER)
        page = cop__draft_page(&tree, COP_SPACE_LISTS, page->child[0].page);
    for (; page->next != 0; n++)
        page = cop__draft_page(&tree, COP_SPACE_LISTS, page->next);
    return n;
}

static void
insert(uint32_t position)
{
    uint32_t id = tree_insert(array, position, cop_null());

    ck_assert_uint_lt(expected_count, MOST);
    if (position > expected_count)
        position = expected_count;
    memmove(&expected[position + 1], &expected[position],
            (expected_count - position) * sizeof *expected);
    expected[position] = id;
    expected_count++;
}

static void
take(uint32_t position)
{
    ck_assert(cop__atom_erase(&tree, expected[position]));
    expected_count--;
    memmove(&expected[position], &expected[position + 1],
            (expected_count - position) * sizeof *expected);
}

/* The list is what is expected, in all ways of reading it. */
static void
list_is_right(void)
{
    cop__list_walk walk;
    uint32_t id, i = 0;

    ck_assert_uint_eq(tree_count(array), expected_count);
    cop__list_walk_begin(tree_view(), slot(), &walk);
    for (; cop__list_walk_next(tree_view(), &walk, &id); i++)
        ck_assert_uint_eq(id, expected[i]);
    ck_assert_uint_eq(i, expected_count);
    for (i = 0; i < expected_count; i += 1 + i / 97) {
        cop__info info = cop__draft_info(&tree, expected[i]);
        ck_assert_uint_eq(cop__list_at(tree_view(), slot(), i), expected[i]);
        ck_assert_uint_eq(cop__info_parent(tree_view(), info), array);
        if ((info & 3) == 1)
            ck_assert_uint_eq(cop__list_position(tree_view(), (uint32_t)(info >> 2), expected[i]),
                              i);
    }
}

static void
commit(void)
{
    list_is_right();
    tree_commit();
}

static void
append(uint32_t n)
{
    cop__draft_begin(&tree);
    while (n-- > 0)
        insert(COP_AT_END);
    commit();
}

/* --- shapes
 * --------------------------------------------------------------------------------------- */

START_TEST(a_block_becomes_a_leaf_when_it_is_full)
{
    append(COP_BLOCK_CHILDREN);
    ck_assert_uint_eq(cop__slot_list(slot()), COP_LIST_BLOCK);
    append(1);
    ck_assert_uint_eq(levels(), 1);
}
END_TEST

/* Blocks are given room by powers of two, and no more than they can use. */
START_TEST(blocks_grow_as_needed)
{
    static const struct {
        uint32_t children, capacity;
    } sizes[] = {{1, 2}, {2, 2}, {3, 4}, {4, 4}, {5, 8}, {9, 16}, {16, 16}, {17, 30}, {30, 30}};

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        append(sizes[i].children - expected_count);
        ck_assert_uint_eq(cop__slot_child_block(slot())->capacity, sizes[i].capacity);
    }
}
END_TEST

START_TEST(appending_fills_the_leaves)
{
    append(LEAF);
    ck_assert_uint_eq(levels(), 1);
    append(1);
    ck_assert_uint_eq(levels(), 2);
    append(LEAF * INNER - LEAF - 1);
    ck_assert_uint_eq(leaves(), INNER);
    ck_assert_uint_eq(levels(), 2);
    append(1);
    ck_assert_uint_eq(levels(), 3);
    ck_assert_uint_eq(leaves(), INNER + 1);
}
END_TEST

START_TEST(a_leaf_split_in_the_middle_leaves_two_halves)
{
    const cop__list_page *root, *leaf;

    append(LEAF);
    cop__draft_begin(&tree);
    insert(10);
    commit();
    root = cop__draft_page(&tree, COP_SPACE_LISTS, slot()->small.words[0]);
    ck_assert_uint_eq(root->count, 2);
    leaf = cop__draft_page(&tree, COP_SPACE_LISTS, root->child[0].page);
    ck_assert_uint_eq(leaf->count, LEAF / 2 + 1);
    leaf = cop__draft_page(&tree, COP_SPACE_LISTS, root->child[1].page);
    ck_assert_uint_eq(leaf->count, LEAF / 2);
}
END_TEST

/* Inner pages split, too, when the insertions are spread. */
START_TEST(inserting_everywhere)
{
    uint32_t n = LEAF * INNER * 3 / 4;

    tree_random_state = (uint64_t)_i;
    while (expected_count < n) {
        cop__draft_begin(&tree);
        for (unsigned i = 0; i < 500; i++)
            insert((uint32_t)tree_random(_i % 2 ? expected_count + 1 : expected_count / 2 + 1));
        commit();
    }
    ck_assert_uint_ge(levels(), 2);
    if (_i % 2 == 0)
        ck_assert_uint_eq(levels(), 3);
    while (expected_count > 0) {
        cop__draft_begin(&tree);
        for (unsigned i = 0; i < 500 && expected_count > 0; i++)
            take((uint32_t)tree_random(expected_count));
        commit();
    }
    ck_assert_uint_eq(cop__slot_list(slot()), COP_LIST_NONE);
}
END_TEST

/* --- removal
 * --------------------------------------------------------------------------------------- */

START_TEST(sparse_leaves_join_their_neighbours)
{
    append(LEAF * 3);
    cop__draft_begin(&tree);
    while (expected_count >
           LEAF * 2 + LEAF / 4 + 1) /* down to where the first leaf is not sparse */
        take(0);
    commit();
    ck_assert_uint_eq(leaves(), 3);
    cop__draft_begin(&tree);
    take(0);
    take(0); /* sparse now, but the next leaf is full */
    commit();
    ck_assert_uint_eq(leaves(), 3);
    cop__draft_begin(&tree);
    for (unsigned i = 0; i < 56; i++) /* the next leaf has 62 left, the first 28 */
        take(LEAF / 4 + 4);
    take(0);
    commit();
    ck_assert_uint_eq(leaves(), 3);
    cop__draft_begin(&tree);
    take(0); /* now both fill three quarters of one */
    commit();
    ck_assert_uint_eq(leaves(), 2);
}
END_TEST

/* The tree loses levels from the front and from the back. */
START_TEST(emptied_from_one_end)
{
    append(LEAF * INNER + LEAF);
    ck_assert_uint_eq(levels(), 3);
    while (expected_count > 0) {
        cop__draft_begin(&tree);
        for (unsigned i = 0; i < 300 && expected_count > 0; i++)
            take(_i == 0 ? 0 : _i == 1 ? expected_count - 1 : expected_count / 2);
        commit();
        if (expected_count > 0 && expected_count < LEAF / 2)
            ck_assert_uint_eq(levels(), 1);
    }
    append(40);
}
END_TEST

/* Within one draft: what was made in it goes without a trace. */
START_TEST(filled_and_emptied_in_one_draft)
{
    cop__draft_begin(&tree);
    for (unsigned i = 0; i < LEAF * 3; i++)
        insert((uint32_t)tree_random(expected_count + 1));
    while (expected_count > 0)
        take((uint32_t)tree_random(expected_count));
    list_is_right();
    ck_assert(!tree_publish());
    tree_is_right();
}
END_TEST

START_TEST(a_whole_list_is_dropped)
{
    uint32_t lists = 0;

    for (unsigned round = 0; round < 3; round++) {
        append(LEAF * INNER + 10);
        if (round == 0)
            lists = tree.space[COP_SPACE_LISTS].count;
        cop__draft_begin(&tree);
        ck_assert(cop__atom_clear(&tree, array));
        expected_count = 0;
        commit();
        ck_assert_uint_eq(tree.now.spare_lists, lists - 1); /* all but page 0 */
    }
    ck_assert_uint_eq(tree.space[COP_SPACE_LISTS].count, lists);
}
END_TEST

/* The children of an object know their leaf by their names, which an abandoned draft changed. */
START_TEST(names_know_their_leaves_again)
{
    uint32_t object, ids[LEAF * 4];

    cop__draft_begin(&tree);
    object = tree_child(0, "object", cop_object());
    for (unsigned i = 0; i < LEAF * 4; i++) {
        char segment[12];
        snprintf(segment, sizeof segment, "%u", i);
        ids[i] = tree_child(object, segment, cop_null());
    }
    commit();
    for (unsigned round = 0; round < 2; round++) {
        uint64_t digest;
        cop__draft_begin(&tree);
        digest = tree_digest(&tree);
        if (round == 0) { /* sparse leaves join */
            for (unsigned i = 0; i < LEAF * 2; i++)
                if (i % LEAF > LEAF / 5)
                    ck_assert(cop__atom_erase(&tree, ids[i]));
        } else {
            uint32_t kept = ids[0];
            ids[0] = ids[LEAF * 4 - 1];
            ids[LEAF * 4 - 1] = kept;
            ck_assert(cop__list_reorder(&tree, object, ids, LEAF * 4));
        }
        cop__draft_abandon(&tree);
        ck_assert_uint_eq(tree_digest(&tree), digest);
        tree_is_right();
    }
    cop__draft_begin(&tree);
    ck_assert(cop__atom_erase(&tree, ids[0]));
    tree_commit();
}
END_TEST

/* --- order
 * ----------------------------------------------------------------------------------------- */

static void
shuffle(void)
{
    for (uint32_t i = 0; i + 1 < expected_count; i++) {
        uint32_t k = i + (uint32_t)tree_random(expected_count - i), kept = expected[i];
        expected[i] = expected[k];
        expected[k] = kept;
    }
}

START_TEST(reordering)
{
    static const uint32_t sizes[] = {2, 30, 31, LEAF, LEAF + 1, LEAF * 5};

    append(sizes[_i]);
    for (unsigned round = 0; round < 3; round++) {
        uint64_t changed = cop__list_changed(tree_view(), slot()), version;
        cop__draft_begin(&tree);
        ck_assert(cop__list_reorder(&tree, array, expected, expected_count)); /* as it is */
        ck_assert(!tree_publish());
        ck_assert_uint_eq(cop__list_changed(tree_view(), slot()), changed);
        cop__draft_begin(&tree);
        version = tree.version;
        do {
            uint32_t first = expected[0];
            shuffle();
            if (expected[0] != first)
                break;
        } while (true);
        ck_assert(cop__list_reorder(&tree, array, expected, expected_count));
        commit();
        ck_assert_uint_eq(cop__list_changed(tree_view(), slot()), version);
        ck_assert_uint_eq(cop__slot_changed(slot()), version);
        ck_assert_uint_eq(cop__slot_changed(cop__draft_slot(&tree, 0)), version);
        cop__draft_begin(&tree);
        take(expected_count / 2);
        insert(0);
        commit();
    }
}
END_TEST

/* The last place alone differs. */
START_TEST(reordering_the_end)
{
    uint32_t kept;

    append(LEAF * 2);
    kept = expected[LEAF * 2 - 1];
    expected[LEAF * 2 - 1] = expected[LEAF * 2 - 2];
    expected[LEAF * 2 - 2] = kept;
    cop__draft_begin(&tree);
    ck_assert(cop__list_reorder(&tree, array, expected, expected_count));
    commit();
}
END_TEST

/* --- when a list changed
 * ------------------------------------------------------------------------------ */

START_TEST(a_list_changes_with_its_children)
{
    static const uint32_t sizes[] = {3, COP_BLOCK_CHILDREN, LEAF, LEAF * 2 + 5};
    cop_value value = cop_i64(7);

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint64_t version;
        append(sizes[i] - expected_count);
        version = tree.root->version;
        ck_assert_uint_eq(cop__list_changed(tree_view(), slot()), version);
        cop__draft_begin(&tree);
        ck_assert(cop__atom_write(&tree, expected[1], &value));
        value = cop_i64((int64_t)i);
        commit();
        ck_assert_uint_eq(cop__list_changed(tree_view(), slot()), version);
        ck_assert_uint_eq(cop__slot_changed(slot()), version + 1);
        cop__draft_begin(&tree);
        take(0);
        commit();
        ck_assert_uint_eq(cop__list_changed(tree_view(), slot()), version + 2);
    }
}
END_TEST

/* Children of a large branch take their ids from a run of its own, whose rest is given back. */
START_TEST(large_branches_keep_runs_of_ids)
{
    uint32_t other, id, before;

    append(LEAF);
    cop__draft_begin(&tree);
    other = tree_child(0, "other", cop_array());
    for (unsigned i = 0; i < 40; i++)
        tree_insert(other, COP_AT_END, cop_null());
    commit();
    cop__draft_begin(&tree);
    insert(COP_AT_END);
    id = tree_insert(other, 0, cop_null());
    insert(COP_AT_END);
    ck_assert_uint_eq(expected[expected_count - 1], expected[expected_count - 2] + 1);
    ck_assert_uint_ne(id >> COP_SLOT_BITS, expected[expected_count - 1] >> COP_SLOT_BITS);
    commit();
    before = tree.space[COP_SPACE_VALUES].count;
    for (unsigned round = 0; round < 10; round++) {
        cop__draft_begin(&tree);
        ck_assert(cop__atom_erase(&tree, other));
        tree_commit();
        cop__draft_begin(&tree);
        other = tree_child(0, "other", cop_array());
        for (unsigned i = 0; i < 41; i++)
            tree_insert(other, COP_AT_END, cop_null());
        tree_commit();
    }
    ck_assert_uint_le(tree.space[COP_SPACE_VALUES].count, before + 3);
}
END_TEST

/* Memory refused at each request of a draft that splits, joins, reorders and drops. */
START_TEST(out_of_memory)
{
    static const uint32_t sizes[] = {COP_BLOCK_CHILDREN, LEAF, LEAF * INNER};
    uint32_t n = sizes[_i];

    append(n);
    for (int64_t k = 0;; k++) {
        uint64_t digest;
        uint32_t *ids = malloc((n + 8) * sizeof *ids);
        bool done = true;
        cop__draft_begin(&tree);
        digest = tree_digest(&tree);
        atomic_store(&tree_memory->fail_countdown, k);
        for (uint32_t i = 0, id; i < 3 && done; i++)
            done = cop__atom_insert(&tree, array, i == 0 ? COP_AT_END : n / 2,
                                    &(cop_value){.type = COP_NULL}, &id);
        for (uint32_t i = 0; i < 90 && i + 2 < n && done; i++)
            done = cop__atom_erase(&tree, expected[i]);
        if (done) {
            uint32_t count = tree_count(array);
            for (uint32_t i = 0; i < count; i++)
                ids[i] = cop__list_at(tree_view(), slot(), count - 1 - i);
            done = cop__list_reorder(&tree, array, ids, count);
        }
        done = done && cop__atom_clear(&tree, array) && cop__draft_finish(&tree);
        atomic_store(&tree_memory->fail_countdown, -1);
        ck_assert_int_eq(tree.failed, done ? COP_OK : COP_E_MEMORY);
        cop__draft_abandon(&tree);
        ck_assert_uint_eq(tree_digest(&tree), digest);
        if (k % 10 == 0 || done) {
            list_is_right();
            tree_is_right();
        }
        free(ids);
        if (done)
            break;
        if (_i == 2 && k > 40) /* early and late refusals of the largest */
            k += (int64_t)tree_random(20);
    }
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, tree_teardown);
    tcase_add_test(tests, a_block_becomes_a_leaf_when_it_is_full);
    tcase_add_test(tests, blocks_grow_as_needed);
    tcase_add_test(tests, appending_fills_the_leaves);
    tcase_add_test(tests, a_leaf_split_in_the_middle_leaves_two_halves);
    tcase_add_loop_test(tests, inserting_everywhere, 0, 2);
    tcase_add_test(tests, sparse_leaves_join_their_neighbours);
    tcase_add_loop_test(tests, emptied_from_one_end, 0, 3);
    tcase_add_test(tests, filled_and_emptied_in_one_draft);
    tcase_add_test(tests, a_whole_list_is_dropped);
    tcase_add_test(tests, names_know_their_leaves_again);
    tcase_add_loop_test(tests, reordering, 0, 6);
    tcase_add_test(tests, reordering_the_end);
    tcase_add_test(tests, a_list_changes_with_its_children);
    tcase_add_test(tests, large_branches_keep_runs_of_ids);
    tcase_add_loop_test(tests, out_of_memory, 0, 3);
}

int
main(void)
{
    return t_run("lists", add);
}

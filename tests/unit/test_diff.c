/* SPDX-License-Identifier: MIT */
/*
 * The difference of two versions, compared with what looking at every slot of both finds; and what
 * each kind of change means.
 */
#include "tests/support/tree_test.h"
#include "tree/diff.h"

enum { VERSIONS = 8, SEEN = 1 << 16 };

static uint32_t seen[SEEN];
static size_t seen_count;
static cop__diff_pair pair;

static void
see(void *context, uint32_t id, const cop__slot *before, const cop__slot *now)
{
    ck_assert_ptr_eq(context, seen);
    ck_assert(!cop__slot_same(before, now));
    ck_assert(seen_count == 0 || seen[seen_count - 1] < id);
    ck_assert_uint_lt(seen_count, SEEN);
    seen[seen_count++] = id;
}

static cop__slot
slot_or_nothing(const cop_snapshot *root, uint32_t id)
{
    const cop__slot *slot = cop__root_slot(root, id);
    cop__slot nothing;

    memset(&nothing, 0, sizeof nothing);
    return slot != NULL ? *slot : nothing;
}

/* Every slot of both, one by one. */
static void
check_diff(const cop_snapshot *before, const cop_snapshot *now)
{
    uint32_t b = before->space[COP_SPACE_VALUES].count, n = now->space[COP_SPACE_VALUES].count;
    uint32_t ids = (b > n ? b : n) * COP_SLOTS;
    size_t at = 0;

    seen_count = 0;
    cop__tree_diff(before, now, see, seen);
    for (uint32_t id = 0; id < ids; id++) {
        cop__slot was = slot_or_nothing(before, id), is = slot_or_nothing(now, id);
        bool told = at < seen_count && seen[at] == id;
        ck_assert_msg(told == !cop__slot_same(&was, &is), "id %u: told %d", id, told);
        at += told;
    }
    ck_assert_uint_eq(at, seen_count);
}

static void
some_changes(void)
{
    char name[16];

    for (unsigned i = 0; i < 1 + tree_random(300); i++) {
        int n = snprintf(name, sizeof name, "n%u", (unsigned)tree_random(4000));
        cop__named there = cop__child_find(tree_view(), 0, name, (size_t)n);
        if (there.name == NULL)
            (void)tree_child(0, name, cop_i64((int64_t)i));
        else if (tree_random(3) == 0)
            ck_assert(cop__atom_erase(&tree, there.id));
        else {
            cop_value value = cop_i64((int64_t)tree_random(1000));
            ck_assert(cop__atom_write(&tree, there.id, &value));
        }
    }
}

/* From an empty tree to one whose radix tree has grown by a level and more, and between all
 * versions on the way, in both directions. */
START_TEST(all_pairs)
{
    const cop_snapshot *root[VERSIONS];

    tree_setup();
    tree_random_state = (uint64_t)_i + 1;
    root[0] = tree.root;
    for (int v = 1; v < VERSIONS; v++) {
        do {
            cop__draft_begin(&tree);
            some_changes();
        } while (!tree_publish());
        root[v] = tree.root;
    }
    for (int i = 0; i < VERSIONS; i++)
        for (int k = 0; k < VERSIONS; k++)
            check_diff(root[i], root[k]);
    tree_reclaim();
    tree_teardown();
}
END_TEST

START_TEST(levels)
{
    const cop_snapshot *small, *large, *more;
    uint32_t many, few;
    char name[16];

    tree_setup();
    cop__draft_begin(&tree);
    few = tree_child(0, "few", cop_i64(1));
    ck_assert(tree_publish());
    small = tree.root;
    cop__draft_begin(&tree);
    many = tree_child(0, "many", cop_object());
    for (unsigned i = 0; i < COP_SLOTS * COP_FANOUT * 2; i++) {
        int n = snprintf(name, sizeof name, "%u", i);
        cop_value value = cop_i64((int64_t)i);
        uint32_t id;
        ck_assert(cop__atom_create_child(&tree, many, name, (size_t)n, &value, &id));
    }
    ck_assert(tree_publish());
    large = tree.root;
    ck_assert_uint_gt(large->space[COP_SPACE_VALUES].shift, small->space[COP_SPACE_VALUES].shift);
    check_diff(small, large);
    check_diff(large, small);
    check_diff(large, large);
    cop__draft_begin(&tree);
    cop_value value = cop_i64(2);
    ck_assert(cop__atom_write(&tree, few, &value));
    ck_assert(tree_publish());
    more = tree.root;
    check_diff(large, more);
    ck_assert_uint_eq(seen_count, 2); /* it and the root, of 4,096 */
    tree_reclaim();
    tree_teardown();
}
END_TEST

/* ---- meaning ---- */

static unsigned got[COP_DIFFERENCES];

static void
mean(void *context, uint32_t id, const cop__slot *before, const cop__slot *now)
{
    cop__difference what[2];
    unsigned n = cop__diff_meaning(pair, before, now, what);

    (void)context;
    (void)id;
    for (unsigned i = 0; i < n; i++)
        got[what[i]]++;
    ck_assert(n < 2 || what[0] < what[1]);
}

static void
check_meaning(const cop_snapshot *before, unsigned erased, unsigned value, unsigned created,
              unsigned elements)
{
    memset(got, 0, sizeof got);
    pair = (cop__diff_pair){before, tree.root};
    cop__tree_diff(before, tree.root, mean, NULL);
    ck_assert_uint_eq(got[COP_DIFF_ERASED], erased);
    ck_assert_uint_eq(got[COP_DIFF_VALUE], value);
    ck_assert_uint_eq(got[COP_DIFF_CREATED], created);
    ck_assert_uint_eq(got[COP_DIFF_ELEMENTS], elements);
}

static const cop_snapshot *
write_one(uint32_t id, cop_value value)
{
    const cop_snapshot *before = tree.root;

    cop__draft_begin(&tree);
    ck_assert(cop__atom_write(&tree, id, &value));
    ck_assert(tree_publish());
    return before;
}

START_TEST(values)
{
    static const char text[64] = "a text that is longer than what fits inside a value";
    const cop_snapshot *start, *texts;
    uint32_t id;

    tree_setup();
    start = tree.root;
    cop__draft_begin(&tree);
    id = tree_child(0, "a", cop_i64(1));
    ck_assert(tree_publish());
    check_meaning(start, 0, 0, 1, 0); /* and the root is no difference */
    check_meaning(write_one(id, cop_i64(2)), 0, 1, 0, 0);
    check_meaning(write_one(id, cop_string(text, 40)), 0, 1, 0, 0);
    texts = tree.root;
    check_meaning(write_one(id, cop_string(text + 1, 40)), 0, 1, 0, 0);
    check_meaning(write_one(id, cop_string(text + 1, 41)), 0, 1, 0, 0);
    check_meaning(write_one(id, cop_string("short", 5)), 0, 1, 0, 0);
    check_meaning(write_one(id, cop_string("shorter", 7)), 0, 1, 0, 0);
    (void)write_one(id, cop_string(text, 40));
    check_meaning(texts, 0, 0, 0, 0); /* another block, the same bytes */
    check_meaning(write_one(id, cop_object()), 0, 1, 0, 0);
    check_meaning(write_one(id, cop_array()), 0, 1, 0, 0);
    tree_reclaim();
    tree_teardown();
}
END_TEST

START_TEST(coming_and_going)
{
    const cop_snapshot *before;
    uint32_t id, next;

    tree_setup();
    cop__draft_begin(&tree);
    id = tree_child(0, "a", cop_i64(1));
    ck_assert(tree_publish());
    before = tree.root;
    cop__draft_begin(&tree);
    ck_assert(cop__atom_erase(&tree, id));
    ck_assert(tree_publish());
    check_meaning(before, 1, 0, 0, 0);
    /* until its id is used again: another atom, so both */
    cop__draft_begin(&tree);
    next = 0;
    for (unsigned i = 0; i < 2000 && next != id; i++) {
        char name[16];
        snprintf(name, sizeof name, "%u", i);
        next = tree_child(0, name, cop_i64(1));
    }
    ck_assert_uint_eq(next, id);
    ck_assert(tree_publish());
    check_meaning(before, 1, 0, (unsigned)tree.root->atoms, 0);
    tree_reclaim();
    tree_teardown();
}
END_TEST

START_TEST(elements)
{
    const cop_snapshot *before, *first;
    uint32_t array, ids[100];

    tree_setup();
    cop__draft_begin(&tree);
    array = tree_child(0, "a", cop_array());
    for (unsigned i = 0; i < 100; i++)
        ids[i] = tree_insert(array, COP_AT_END, cop_i64((int64_t)i));
    ck_assert(tree_publish());
    first = before = tree.root;
    cop__draft_begin(&tree);
    (void)tree_insert(array, 50, cop_i64(7));
    ck_assert(tree_publish());
    check_meaning(before, 0, 0, 1, 1);
    before = tree.root;
    cop__draft_begin(&tree);
    ck_assert(cop__atom_erase(&tree, cop__list_at(tree_view(), cop__draft_slot(&tree, array), 50)));
    ck_assert(tree_publish());
    check_meaning(before, 1, 0, 0, 1);
    check_meaning(first, 0, 0, 0, 0); /* as it was */
    uint32_t swap = ids[0];
    ids[0] = ids[99];
    ids[99] = swap;
    before = tree.root;
    cop__draft_begin(&tree);
    ck_assert(cop__list_reorder(&tree, array, ids, 100));
    ck_assert(tree_publish());
    check_meaning(before, 0, 0, 0, 1);
    check_meaning(write_one(ids[5], cop_i64(-1)), 0, 1, 0, 0);
    tree_reclaim();
    tree_teardown();
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("diff");
    TCase *tcase = tcase_create("diff");

    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, all_pairs, 0, 4);
    tcase_add_test(tcase, levels);
    tcase_add_test(tcase, values);
    tcase_add_test(tcase, coming_and_going);
    tcase_add_test(tcase, elements);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}

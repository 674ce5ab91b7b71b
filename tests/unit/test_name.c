/* SPDX-License-Identifier: MIT */
/* Joined names: who joins, what they lead to, how they are ordered, and which page lists them. */
#include "tests/support/tree_test.h"

static const cop__name *
name_of(uint32_t id)
{
    return cop__info_name(cop__draft_info(&tree, id));
}

static void
says(uint32_t id, const char *text)
{
    const cop__name *name = name_of(id);

    ck_assert_uint_eq(cop__name_text_length(name), strlen(text));
    ck_assert_mem_eq(name->text, text, strlen(text));
}

static void
has_path(uint32_t id, const char *path)
{
    const cop__name *name = name_of(id);
    char room[COP_PATH_MAX];
    size_t length = cop__name_path(name, room, sizeof room);

    ck_assert_uint_eq(length, strlen(path));
    ck_assert_mem_eq(room, path, length);
    ck_assert_uint_eq(cop__directory_find(tree_view(), cop__name_anchor(name), P(path)).id, id);
}

START_TEST(the_first_children_join)
{
    char segment[8];
    uint32_t users, user, child;

    cop__draft_begin(&tree);
    users = tree_child(0, "users", cop_object());
    says(users, "users");
    user = tree_child(users, "000123", cop_object());
    says(user, "users/000123");
    ck_assert_ptr_null(cop__name_above(name_of(user)));
    for (unsigned i = 0; i < COP_JOINED_SIBLINGS + 2; i++) {
        snprintf(segment, sizeof segment, "f%u", i);
        child = tree_child(user, segment, cop_i64(1));
        ck_assert_int_eq(cop__name_joined(name_of(child)), i < COP_JOINED_SIBLINGS);
        ck_assert_ptr_eq(cop__name_above(name_of(child)),
                         name_of(i < COP_JOINED_SIBLINGS ? users : user));
        ck_assert_uint_eq(name_of(child)->parent, user);
        ck_assert_uint_eq(cop__name_length(name_of(child)), strlen(segment));
        ck_assert_mem_eq(cop__name_segment(name_of(child)), segment, strlen(segment));
    }
    child = cop__child_find(tree_view(), user, P("f0")).id;
    says(child, "000123/f0");
    has_path(child, "users/000123/f0");
    /* below a joined name: its own segment only, not all of its text */
    ck_assert(cop__atom_erase(&tree, child));
    child = tree_child(user, "f0", cop_object());
    ck_assert(!cop__name_joined(name_of(child))); /* there are others */
    child = tree_child(child, "deep", cop_object());
    says(child, "f0/deep");
    child = tree_child(child, "deeper", cop_i64(1));
    says(child, "deep/deeper");
    has_path(child, "users/000123/f0/deep/deeper");
    tree_commit();
}
END_TEST

START_TEST(what_is_too_long_does_not_join)
{
    static const struct {
        size_t parent, child;
        bool joins;
    } cases[] = {
        {COP_JOINED_PREFIX - 1, 1, true},
        {COP_JOINED_PREFIX, 1, false},
        {COP_JOINED_PREFIX - 1, COP_JOINED_TEXT - COP_JOINED_PREFIX, true},
        {COP_JOINED_PREFIX - 1, COP_JOINED_TEXT - COP_JOINED_PREFIX + 1, false},
        {1, COP_PATH_MAX - 2, false},
    };
    char path[2 * COP_PATH_MAX], parent[COP_PATH_MAX], child[COP_PATH_MAX];

    cop__draft_begin(&tree);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        memset(parent, 'a' + (int)i, sizeof parent);
        memset(child, 'z', sizeof child);
        parent[cases[i].parent] = child[cases[i].child] = '\0';
        uint32_t branch = tree_child(0, parent, cop_object());
        uint32_t id = tree_child(branch, child, cop_i64(1));
        ck_assert_int_eq(cop__name_joined(name_of(id)), cases[i].joins);
        snprintf(path, sizeof path, "%s/%s", parent, child);
        has_path(id, path);
    }
    tree_commit();
}
END_TEST

/* An element of an array has no name: what is in it counts from there. */
START_TEST(elements_are_anchors)
{
    cop_value object = cop_object();
    uint32_t array, element, child;

    cop__draft_begin(&tree);
    array = tree_child(0, "list", cop_array());
    ck_assert(cop__atom_insert(&tree, array, COP_AT_END, &object, &element));
    child = tree_child(element, "name", cop_object());
    says(child, "name");
    ck_assert_uint_eq(cop__name_anchor(name_of(child)), element);
    child = tree_child(child, "first", cop_i64(1));
    says(child, "name/first");
    ck_assert_uint_eq(cop__name_anchor(name_of(child)), element);
    has_path(child, "name/first");
    tree_commit();
}
END_TEST

/* Joined and plain names, of siblings, cousins and ancestors, in the order of their paths. */
START_TEST(joined_names_are_ordered_as_their_paths)
{
    enum { NAMES = 160 };
    static const char *const segments[] = {"a", "a-", "a0", "b", "ab", "users", "c", "a!"};
    uint32_t id[NAMES];
    char path[2][COP_PATH_MAX];

    cop__draft_begin(&tree);
    for (unsigned n = 0; n < NAMES; n++) {
        char segment[16];
        uint32_t above = n == 0 ? 0 : id[tree_random(n)];
        snprintf(segment, sizeof segment, "%s%s", segments[tree_random(8)],
                 segments[tree_random(8)]);
        if (cop__child_find(tree_view(), above, P(segment)).name != NULL)
            n--;
        else
            id[n] = tree_child(above, segment, cop_object());
    }
    for (unsigned i = 0; i < NAMES; i++)
        for (unsigned k = 0; k < NAMES; k++) {
            const cop__name *a = name_of(id[i]), *b = name_of(id[k]);
            path[0][cop__name_path(a, path[0], COP_PATH_MAX - 1)] = '\0';
            path[1][cop__name_path(b, path[1], COP_PATH_MAX - 1)] = '\0';
            int want = strcmp(path[0], path[1]), got = cop__name_compare(a, b);
            ck_assert_msg((got < 0) == (want < 0) && (got > 0) == (want > 0), "%s and %s: %d",
                          path[0], path[1], got);
        }
    tree_commit();
}
END_TEST

/* Deeper than what comparing looks for a common way up: two leaves below one branch, and the
 * branch. */
START_TEST(deep_names_are_ordered)
{
    uint32_t at = 0, a, b;

    cop__draft_begin(&tree);
    for (unsigned i = 0; i < 60; i++)
        at = tree_child(at, "d", cop_object());
    a = tree_child(tree_child(at, "x", cop_object()), "leaf", cop_i64(1));
    b = tree_child(tree_child(at, "y", cop_object()), "leaf", cop_i64(1));
    ck_assert_int_lt(cop__name_compare(name_of(a), name_of(b)), 0);
    ck_assert_int_gt(cop__name_compare(name_of(b), name_of(a)), 0);
    ck_assert_int_gt(cop__name_compare(name_of(a), name_of(at)), 0);
    ck_assert_int_eq(cop__name_compare(name_of(a), name_of(a)), 0);
    tree_commit();
}
END_TEST

/* Those that joined before the list was pages do not say which page: they are found all the same,
 * moved and erased, from the first page (0), the last one (1), and from between (2). */
START_TEST(joined_children_of_a_long_list)
{
    enum { MOST = 4 * COP_LIST_LEAF_IDS };
    uint32_t branch, joined[COP_JOINED_SIBLINGS];
    uint64_t position;
    char segment[16];

    cop__draft_begin(&tree);
    branch = tree_child(tree_child(0, "top", cop_object()), "long", cop_object());
    for (unsigned i = 0; i < MOST; i++) {
        uint32_t id;
        cop_value value = cop_i64((int64_t)i);
        snprintf(segment, sizeof segment, "c%u", i);
        position = i < COP_JOINED_SIBLINGS || _i == 0 ? COP_AT_END
                   : _i == 1                          ? 0
                                                      : tree_random(i + 1);
        ck_assert(
            cop__atom_create_child_at(&tree, branch, (uint32_t)position, P(segment), &value, &id));
        if (i < COP_JOINED_SIBLINGS)
            joined[i] = id;
    }
    tree_commit();
    tree_is_right();
    cop__draft_begin(&tree);
    for (unsigned i = 0; i < COP_JOINED_SIBLINGS; i++) {
        const cop__list_page *leaf =
            cop__draft_page(&tree, COP_SPACE_LISTS, cop__list_leaf(&tree, branch, joined[i]));
        bool there = false;
        ck_assert(cop__name_joined(name_of(joined[i])));
        for (unsigned k = 0; k < leaf->count; k++)
            there |= leaf->id[k] == joined[i];
        ck_assert(leaf->kind == COP_LIST_IS_LEAF && there);
    }
    ck_assert(cop__list_place(&tree, branch, joined[0], joined[3]));
    ck_assert(cop__list_place(&tree, branch, joined[1], COP_LIST_FIRST));
    ck_assert_uint_eq(cop__list_at(tree_view(), cop__draft_slot(&tree, branch), 0), joined[1]);
    for (unsigned i = 0; i < COP_JOINED_SIBLINGS; i++)
        ck_assert(cop__atom_erase(&tree, joined[i]));
    tree_commit();
    ck_assert_uint_eq(cop__list_count(tree_view(), cop__draft_slot(&tree, branch)),
                      MOST - COP_JOINED_SIBLINGS);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_checked_fixture(tests, tree_setup, tree_teardown);
    tcase_add_test(tests, the_first_children_join);
    tcase_add_test(tests, what_is_too_long_does_not_join);
    tcase_add_test(tests, elements_are_anchors);
    tcase_add_test(tests, joined_names_are_ordered_as_their_paths);
    tcase_add_test(tests, deep_names_are_ordered);
    tcase_add_loop_test(tests, joined_children_of_a_long_list, 0, 3);
}

int
main(void)
{
    return t_run("name", add);
}

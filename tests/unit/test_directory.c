/* SPDX-License-Identifier: MIT */
/* The directory: names that crowd one bucket, growth and shrinking, stale names and their sweep. */
#include "tests/support/path_names.h"
#include "tests/support/tree_test.h"

/* The i-th segment of a series; those of a crowd have the lower 12 bits of their hashes equal. */
static const char *
segment(unsigned i, bool crowd)
{
    static unsigned last_i, n;
    static uint32_t low;
    static char text[24];

    if (!crowd) {
        snprintf(text, sizeof text, "s%u", i);
        return text;
    }
    if (i == 0)
        n = 0;
    else
        ck_assert_uint_eq(i, last_i + 1);
    for (last_i = i;; n++) {
        int length = snprintf(text, sizeof text, "c%u", n);
        uint32_t hash = (uint32_t)cop__path_hash(tree.hash_seed, 0, text, (size_t)length) & 4095;
        if (n == 0)
            low = hash;
        if (hash == low)
            break;
    }
    n++;
    return text;
}

static cop__named
find_named(const char *path)
{
    return cop__directory_find(tree_view(), 0, P(path));
}

static const cop__name *
find(const char *path)
{
    return find_named(path).name;
}

/* As readers of the published version see it. */
static bool
published(const char *path)
{
    cop__named named = cop__directory_find((cop__view){tree.root, NULL}, 0, P(path));
    cop__found found = cop__path_resolve((cop__view){tree.root, NULL}, P(path));

    ck_assert(found.found == (named.name != NULL));
    ck_assert(named.name == NULL || found.id == named.id);
    return named.name != NULL;
}

static void
fill(unsigned n, bool crowd, uint32_t *ids)
{
    cop__draft_begin(&tree);
    for (unsigned i = 0; i < n; i++)
        ids[i] = tree_child(0, segment(i, crowd), cop_i64(i));
    tree_commit();
}

START_TEST(names_are_found_while_the_directory_grows_and_shrinks)
{
    enum { NAMES = 3000 };
    static uint32_t ids[NAMES];
    uint32_t most;

    fill(NAMES, false, ids);
    most = tree.now.buckets;
    ck_assert_uint_eq(most, (NAMES + COP_BUCKET_FILL - 1) / COP_BUCKET_FILL);
    for (unsigned i = 0; i < NAMES; i++)
        ck_assert_uint_eq(find_named(segment(i, false)).id, ids[i]);
    ck_assert(!published("s3000"));
    for (unsigned from = 0; from < NAMES; from += 100) {
        cop__draft_begin(&tree);
        for (unsigned i = from; i < from + 100; i++)
            ck_assert(cop__atom_erase(&tree, ids[i]));
        ck_assert_ptr_null(find(segment(from, false)));
        ck_assert(published(segment(from, false)));
        tree_commit();
        ck_assert(!published(segment(from, false)));
        ck_assert_uint_ge(tree.now.names + COP_BUCKET_FILL,
                          (uint64_t)(tree.now.buckets - 1) * COP_BUCKET_FILL / 4);
        for (unsigned i = from + 100; i < NAMES; i += 61)
            ck_assert(published(segment(i, false)));
    }
    ck_assert_uint_eq(tree.now.buckets, 1);
    ck_assert_uint_eq(tree.now.names, 0);
}
END_TEST

/* More names in a bucket than a page has room for: they go on in other pages, which go again. */
START_TEST(a_crowded_bucket_overflows)
{
    enum { NAMES = 4 * COP_BUCKET_WORDS };
    uint32_t ids[NAMES];
    uint32_t spare;

    fill(NAMES, true, ids);
    ck_assert_uint_ge(tree.space[COP_SPACE_LISTS].count - 1, 3 + 1); /* and the root's list */
    for (unsigned i = 0; i < NAMES; i++) {
        cop__named named = find_named(segment(i, true));
        ck_assert_ptr_nonnull(named.name);
        ck_assert_uint_eq(named.id, ids[i]);
    }
    spare = tree.now.spare_lists;
    for (unsigned k = 0; k < 4; k++) {
        cop__draft_begin(&tree);
        for (unsigned i = k; i < NAMES; i += 4)
            ck_assert(cop__atom_erase(&tree, ids[i]));
        tree_commit();
        for (unsigned i = 0; i < NAMES; i++)
            ck_assert(published(segment(i, true)) == (i % 4 > k));
    }
    ck_assert_uint_gt(tree.now.spare_lists, spare);
    ck_assert_uint_eq(tree.now.names, 0);
    fill(NAMES, true, ids);
}
END_TEST

/* --- names ----------------------------------------------------------------------------------
 */

/* As memcmp of the paths, a prefix first: also where a segment goes on with less than a slash,
 * where one path ends in the other, and where the names above are others of the same text. */
START_TEST(names_are_ordered_as_their_paths)
{
    static const char *const paths[] = {
        "a",  "a/b",  "a-/b",   "a/b/c", "a!",   "a0/b",      "ab",      "b",        "",
        "a/", "a//b", "a/b!/c", "a/b/c", "a/b0", "users/1/x", "users/1", "users/10", "a/\xff"};
    enum { PATHS = sizeof paths / sizeof *paths };
    const cop__name *name[2 * PATHS];
    char path[COP_PATH_MAX];

    for (unsigned i = 0; i < 2 * PATHS; i++) {
        const char *text = paths[i % PATHS];
        if (i == PATHS)
            path_names_forget();
        name[i] = path_name(text, strlen(text));
        ck_assert_uint_eq(cop__name_path_length(name[i]), strlen(text));
        ck_assert_uint_eq(cop__name_path(name[i], path, sizeof path), strlen(text));
        ck_assert_mem_eq(path, text, strlen(text));
    }
    for (unsigned i = 0; i < 2 * PATHS; i++)
        for (unsigned k = 0; k < 2 * PATHS; k++) {
            int want = strcmp(paths[i % PATHS], paths[k % PATHS]);
            int got = cop__name_compare(name[i], name[k]);
            ck_assert_msg((got < 0) == (want < 0) && (got > 0) == (want > 0), "%s and %s: %d",
                          paths[i % PATHS], paths[k % PATHS], got);
        }
    path_names_free();
}
END_TEST

START_TEST(names_that_do_not_fit_are_not_written)
{
    const cop__name *name = path_name("ab/cd", 5);
    char room[8] = "-------";

    ck_assert_uint_eq(cop__name_path(name, room, 4), 5);
    ck_assert_str_eq(room, "-------");
    ck_assert_uint_eq(cop__name_describe(name, 7, room, 4), 3);
    ck_assert_str_eq(room, "ab/");
    ck_assert_uint_eq(cop__name_describe(name, 7, room, sizeof room), 5);
    ck_assert_str_eq(room, "ab/cd");
    ck_assert_uint_eq(cop__name_describe(NULL, 7, room, sizeof room), 2);
    ck_assert_str_eq(room, "#7");
    path_names_free();
}
END_TEST

/* Names that a draft makes and takes out again stay while names below lead to them, and go with the
 * draft: abandoned (0) or published (1). */
START_TEST(names_that_came_and_went)
{
    uint32_t top, branch;
    uint64_t bytes;

    cop__draft_begin(&tree);
    tree_child(0, "stays", cop_i64(1));
    tree_commit();
    bytes = tree.pool.names.bytes_used;
    cop__draft_begin(&tree);
    top = branch = tree_child(0, "goes", cop_object());
    for (unsigned i = 0; i < 40; i++) {
        tree_child(branch, "leaf", cop_i64(i));
        branch = tree_child(branch, segment(i, false), cop_object());
    }
    ck_assert(cop__atom_erase(&tree, top));
    ck_assert_ptr_null(find("goes/leaf"));
    ck_assert_ptr_null(find("goes"));
    ck_assert_ptr_nonnull(tree.names_unborn);
    if (_i == 1) {
        tree_child(0, "comes", cop_i64(1));
        tree_commit();
        bytes += 32;
        ck_assert(published("comes"));
    } else {
        cop__draft_abandon(&tree);
    }
    ck_assert_ptr_null(tree.names_unborn);
    ck_assert_uint_eq(tree.pool.names.bytes_used, bytes);
    ck_assert(published("stays"));
}
END_TEST

/* Short and long segments and paths: what a comparison reads by words. */
START_TEST(segments_of_all_lengths_are_found)
{
    char path[80], other[80];

    cop__draft_begin(&tree);
    for (unsigned above = 1; above <= 18; above++) {
        uint32_t branch;
        memset(path, 'x', sizeof path);
        path[above] = 0;
        branch = tree_child(0, path, cop_object());
        for (unsigned n = 0; n <= 18; n++) {
            memset(path, 'y', n);
            path[n] = 0;
            tree_child(branch, path, cop_i64(n));
        }
    }
    tree_commit();
    for (unsigned above = 1; above <= 18; above++)
        for (unsigned n = 0; n <= 18; n++) {
            snprintf(path, sizeof path, "%.*s/%.*s", (int)above, "xxxxxxxxxxxxxxxxxx", (int)n,
                     "yyyyyyyyyyyyyyyyyy");
            ck_assert_msg(published(path), "%s", path);
            for (unsigned i = 0; i < above + 1 + n; i++) {
                strcpy(other, path);
                other[i] = '~';
                ck_assert_ptr_null(
                    cop__directory_find((cop__view){tree.root, NULL}, 0, P(other)).name);
            }
        }
}
END_TEST

/* --- stale names --------------------------------------------------------------------------------
 */

static uint32_t
large_branch(const char *name, unsigned n)
{
    uint32_t branch;

    cop__draft_begin(&tree);
    branch = tree_child(0, name, cop_object());
    for (unsigned i = 0; i < n; i++)
        tree_child(branch, segment(i, false), cop_i64(i));
    tree_commit();
    return branch;
}

START_TEST(a_large_branch_leaves_stale_names_that_are_swept)
{
    enum { NAMES = 4000 };
    uint32_t branch = large_branch("large", NAMES), sweeps = 0;
    uint64_t before;

    cop__draft_begin(&tree);
    ck_assert(cop__atom_erase(&tree, branch));
    tree_commit();
    ck_assert_uint_gt(tree.now.stale, NAMES / 2);
    ck_assert(!published("large/s7"));
    ck_assert_uint_eq(tree.now.atoms, 0);
    for (before = tree.now.stale; before > 0; before = tree.now.stale) {
        cop__draft_begin(&tree);
        tree_child(0, segment(sweeps, false), cop_null());
        ck_assert(cop__draft_finish(&tree) && cop__directory_sweep(&tree, 4));
        cop__draft_published(&tree, cop__draft_root(&tree));
        tree_reclaim();
        tree_is_right();
        sweeps++;
        ck_assert_uint_le(before - tree.now.stale, 4 * 4 * COP_BUCKET_WORDS);
        ck_assert_uint_le(sweeps, NAMES);
    }
    ck_assert_uint_gt(sweeps, 10);
    ck_assert_uint_eq(tree.now.names, sweeps);
    for (unsigned i = 0; i < sweeps; i++)
        ck_assert(published(segment(i, false)));
}
END_TEST

/* A name that is stale stands beside its successor of the same path. */
START_TEST(stale_names_hide_nothing)
{
    enum { NAMES = 2000 };
    uint32_t branch = large_branch("x", NAMES);
    const cop_snapshot *old;
    uint64_t stamps[2];

    old = tree.root;
    stamps[0] = old->stamp;
    cop__draft_begin(&tree);
    ck_assert(cop__atom_erase(&tree, branch));
    ck_assert(tree_publish());
    stamps[1] = tree.root->stamp;
    ck_assert(cop__dead_scan(&tree.dead, stamps, 2));
    cop__dead_free(&tree.dead, SIZE_MAX);
    ck_assert_ptr_nonnull(cop__directory_find((cop__view){old, NULL}, 0, P("x/s99")).name);
    ck_assert(!published("x/s99"));
    cop__draft_begin(&tree);
    branch = tree_child(0, "x", cop_object());
    for (unsigned i = 0; i < NAMES; i += 3)
        tree_child(branch, segment(i, false), cop_bool(true));
    ck_assert(tree_publish());
    for (unsigned i = 0; i < NAMES; i++) {
        char path[24];
        snprintf(path, sizeof path, "x/%s", segment(i, false));
        ck_assert(published(path) == (i % 3 == 0));
        ck_assert_ptr_nonnull(cop__directory_find((cop__view){old, NULL}, 0, P(path)).name);
    }
    cop__draft_begin(&tree);
    ck_assert(cop__directory_sweep(&tree, UINT32_MAX));
    ck_assert_uint_eq(tree.now.stale, 0);
    tree_child(0, "y", cop_null());
    tree_commit();
    ck_assert_uint_eq(tree.now.names, 2 + (NAMES + 2) / 3);
}
END_TEST

/* A child of the branch whose name comes into the bucket of the crowd, or into another one. */
static void
child_beside_crowd(uint32_t branch, bool crowd, unsigned *n)
{
    uint32_t low = (uint32_t)cop__path_hash(tree.hash_seed, 0, "c0", 2);
    uint32_t mask = crowd ? 4095 : 7, hash;
    char text[24];

    do {
        int length = snprintf(text, sizeof text, "b%u", (*n)++);
        hash = (uint32_t)cop__path_hash(tree.hash_seed, branch, text, (size_t)length);
    } while (((hash & mask) == (low & mask)) != crowd);
    tree_child(branch, text, cop_i64(0));
}

/* Those in the bucket are in use, those in the pages behind it are stale. */
START_TEST(an_overflow_is_swept)
{
    enum { CROWD = 2 * COP_BUCKET_WORDS };
    uint32_t ids[CROWD], branch = large_branch("large", 0);
    unsigned n = 0;

    fill(CROWD, true, ids);
    cop__draft_begin(&tree);
    for (unsigned i = 0; i < 1000; i++)
        child_beside_crowd(branch, i >= 1000 - 3 * COP_INFOS, &n);
    tree_commit();
    ck_assert_uint_ge(tree.now.buckets, 8);
    cop__draft_begin(&tree);
    ck_assert(cop__atom_erase(&tree, branch));
    tree_commit();
    ck_assert_uint_gt(tree.now.stale, COP_INFOS);
    cop__draft_begin(&tree);
    ck_assert(cop__directory_sweep(&tree, tree.now.buckets));
    ck_assert_uint_eq(tree.now.stale, 0);
    tree_child(0, "y", cop_null());
    tree_commit();
    ck_assert_uint_eq(tree.now.names, CROWD + 1);
    for (unsigned i = 0; i < CROWD; i++)
        ck_assert(published(segment(i, true)));
}
END_TEST

/* Sweeping goes round: buckets behind the place where it stands get their turn. */
START_TEST(sweeping_goes_round)
{
    uint32_t a = large_branch("a", 3000), b = large_branch("b", 3000);

    cop__draft_begin(&tree);
    ck_assert(cop__atom_erase(&tree, a));
    ck_assert(cop__draft_finish(&tree) && cop__directory_sweep(&tree, tree.now.buckets * 2 / 3));
    cop__draft_published(&tree, cop__draft_root(&tree));
    ck_assert_uint_gt(tree.now.sweep, 0);
    cop__draft_begin(&tree);
    ck_assert(cop__atom_erase(&tree, b));
    ck_assert(tree_publish());
    cop__draft_begin(&tree);
    tree_child(0, "c", cop_null());
    ck_assert(cop__directory_sweep(&tree, tree.now.buckets * 2));
    ck_assert_uint_eq(tree.now.stale, 0);
    tree_commit();
    ck_assert_uint_eq(tree.now.names, 1);
}
END_TEST

/* --- paths
 * ---------------------------------------------------------------------------------------- */

START_TEST(paths_through_arrays)
{
    static const struct {
        const char *path;
        bool found;
        const char *rest; /* below the deepest ancestor that lives */
    } cases[] = {{"a", true, ""},         {"a/0", true, ""},       {"a/0/k", true, ""},
                 {"a/0/x", false, "x"},   {"a/2", false, "2"},     {"a/-", false, "-"},
                 {"a/1/k", false, "k"},   {"a/00", false, "00"},   {"x/y", false, "x/y"},
                 {"a/0/k/d", false, "d"}, {"a/2/k", false, "2/k"}, {"", true, ""}};
    uint32_t array, object;

    cop__draft_begin(&tree);
    array = tree_child(0, "a", cop_array());
    object = tree_insert(array, 0, cop_object());
    tree_insert(array, 1, cop_i64(1));
    tree_child(object, "k", cop_i64(2));
    tree_commit();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *path = cases[i].path;
        cop__found found = cop__path_resolve((cop__view){tree.root, NULL}, P(path));
        ck_assert_msg(found.found == cases[i].found, "%s", path);
        if (!found.found)
            ck_assert_str_eq(path + found.rest, cases[i].rest);
        if (!found.found && strcmp(cases[i].rest, "x/y") == 0)
            ck_assert_uint_eq(found.ancestor, 0);
    }
}
END_TEST

/* A name may fill COP_PATH_MAX and not be longer. */
START_TEST(the_longest_names)
{
    static char long_one[COP_PATH_MAX + 2];
    uint32_t object;
    size_t room;

    memset(long_one, 'n', sizeof long_one - 1);
    cop__draft_begin(&tree);
    ck_assert(cop__name_fits(&tree, 0, COP_PATH_MAX));
    ck_assert(!cop__name_fits(&tree, 0, COP_PATH_MAX + 1));
    long_one[100] = '\0';
    object = tree_child(0, long_one, cop_object());
    long_one[100] = 'n';
    room = COP_PATH_MAX - 101;
    ck_assert(cop__name_fits(&tree, object, room));
    ck_assert(!cop__name_fits(&tree, object, room + 1));
    long_one[room] = '\0';
    ck_assert_ptr_null(cop__child_find(tree_view(), object, P(long_one)).name);
    tree_child(object, long_one, cop_i64(1));
    ck_assert_ptr_nonnull(cop__child_find(tree_view(), object, P(long_one)).name);
    long_one[room] = 'n';
    long_one[room + 1] = '\0';
    ck_assert_ptr_null(cop__child_find(tree_view(), object, P(long_one)).name);
    long_one[room + 1] = 'n';
    long_one[COP_PATH_MAX] = '\0';
    tree_child(0, long_one, cop_i64(2));
    ck_assert_ptr_nonnull(cop__child_find(tree_view(), 0, P(long_one)).name);
    long_one[COP_PATH_MAX] = 'n';
    ck_assert_ptr_null(cop__child_find(tree_view(), 0, P(long_one)).name);
    tree_commit();
    cop__draft_begin(&tree);
    ck_assert(cop__atom_clear(&tree, 0));
    tree_commit();
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_checked_fixture(tests, tree_setup, tree_teardown);
    tcase_add_test(tests, names_are_found_while_the_directory_grows_and_shrinks);
    tcase_add_test(tests, a_crowded_bucket_overflows);
    tcase_add_test(tests, names_are_ordered_as_their_paths);
    tcase_add_test(tests, names_that_do_not_fit_are_not_written);
    tcase_add_loop_test(tests, names_that_came_and_went, 0, 2);
    tcase_add_test(tests, segments_of_all_lengths_are_found);
    tcase_add_test(tests, a_large_branch_leaves_stale_names_that_are_swept);
    tcase_add_test(tests, stale_names_hide_nothing);
    tcase_add_test(tests, an_overflow_is_swept);
    tcase_add_test(tests, sweeping_goes_round);
    tcase_add_test(tests, paths_through_arrays);
    tcase_add_test(tests, the_longest_names);
}

int
main(void)
{
    return t_run("directory", add);
}

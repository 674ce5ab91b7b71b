/* SPDX-License-Identifier: MIT */
/* From a changed atom to those who watch it: every pattern of some names against every path,
 * compared with a matcher that takes both apart; and what the tables hold as watchers come and go.
 */
#include "tests/support/watch_world.h"

enum { NAMES = 3, PATHS = 39, PATTERNS = 85, MANY = 255 };

static const char *const names[NAMES + 1] = {"a", "b", "ab", "*"};

/* All of up to three names out of the first n, "a" to "ab/ab/ab"; how many. */
static unsigned
all_paths(char (*path)[16], unsigned n)
{
    unsigned count = 0;

    for (unsigned i = 0; i < n; i++) {
        snprintf(path[count++], 16, "%s", names[i]);
        for (unsigned k = 0; k < n; k++) {
            snprintf(path[count++], 16, "%s/%s", names[i], names[k]);
            for (unsigned m = 0; m < n; m++)
                snprintf(path[count++], 16, "%s/%s/%s", names[i], names[k], names[m]);
        }
    }
    return count;
}

/* Segment by segment, as the header says. */
static bool
fits(const char *pattern, const char *path, bool below)
{
    while (*pattern != '\0' && *path != '\0') {
        size_t n = strcspn(pattern, "/"), m = strcspn(path, "/");
        if (*pattern != '*' && (n != m || memcmp(pattern, path, n) != 0))
            return false;
        pattern += n + (pattern[n] == '/');
        path += m + (path[m] == '/');
    }
    return *pattern == '\0' && (below || *path == '\0');
}

static char path[PATHS][16], pattern[PATTERNS][16];
static cop_watch *watch[PATTERNS][2];

/* Of the paths with these numbers each is told to whom it concerns, with this sign, and no other.
 */
static void
check_told(const char *told, const char *wanted, bool below, char sign, const bool *changed)
{
    unsigned want = 0, got = 0;

    for (unsigned i = 0; i < PATHS; i++) {
        char change[32];
        snprintf(change, sizeof change, " %c%.15s:", sign, path[i]);
        bool is_told = strstr(told, change) != NULL;
        bool right = changed[i] && fits(wanted, path[i], below);
        ck_assert_msg(is_told == right, "%s of '%s': %s", path[i], wanted, told);
        want += right;
    }
    for (const char *at = told; (at = strchr(at, ' ')) != NULL; at++)
        got += at[1] == sign && at[2] != 'e'; /* not "elsewhere" */
    ck_assert_uint_eq(got, want);
}

/* By index in a pass, or (late) by looking at each change for one target. */
static void
check_all(bool late, cop_watch *keeper, char sign, const bool *changed)
{
    if (late) {
        (void)told_now(keeper);
        set("elsewhere", (int64_t)cop_store_version(store));
    }
    for (unsigned i = 0; i < PATTERNS; i++)
        for (unsigned below = 0; below < 2; below++)
            check_told(told_now(watch[i][below]), pattern[i], below, sign, changed);
    (void)told_now(keeper);
}

static bool
is_leaf(const char *text)
{
    const char *slash = strchr(text, '/');
    return slash != NULL && strchr(slash + 1, '/') != NULL;
}

static void
set_leaves(int64_t value, bool *changed, unsigned step)
{
    cop_txn *txn = t_begin(store);

    for (unsigned i = 0; i < PATHS; i++) {
        cop_value v = cop_i64(value);
        changed[i] = is_leaf(path[i]) && i % step == 0;
        if (changed[i])
            CHECK_OK(cop_txn_set_at(txn, P(path[i]), &v, NULL));
    }
    t_commit(txn);
}

START_TEST(all_patterns_and_paths)
{
    bool changed[PATHS], all[PATHS], of_a[PATHS];
    cop_watch_options options = COP_WATCH_OPTIONS_INIT;
    cop_watch *keeper = asked("", 0, 0);

    ck_assert_uint_eq(all_paths(path, NAMES), PATHS);
    ck_assert_uint_eq(all_paths(pattern, NAMES + 1) + 1, PATTERNS);
    pattern[PATTERNS - 1][0] = '\0';
    for (unsigned i = 0; i < PATTERNS; i++)
        for (unsigned below = 0; below < 2; below++) {
            options.only_itself = !below;
            watch[i][below] = t_watch_with(store, pattern[i], &options);
        }
    check_room();
    for (unsigned i = 0; i < PATHS; i++) {
        all[i] = true;
        of_a[i] = fits("a", path[i], true);
    }
    set_leaves(1, changed, 1);
    check_all(_i, keeper, '+', all);
    for (unsigned step = 1; step < 6; step++) {
        set_leaves((int64_t)step + 1, changed, step);
        check_all(_i, keeper, '=', changed);
    }
    t_erase_at(store, "a");
    check_all(_i, keeper, '-', of_a);
    for (unsigned i = 0; i < PATTERNS; i++)
        for (unsigned below = 0; below < 2; below++) {
            cop_watch_close(watch[(i * 37) % PATTERNS][below]);
            check_room();
        }
    ck_assert_uint_eq(store->watch->index.nodes, 1); /* the root, for the last one */
    cop_watch_close(keeper);
}
END_TEST

/* By handle alone: no path is looked up. */
START_TEST(handles_alone)
{
    cop_atom branch, leaf;
    cop_watch *itself, *below, *of_leaf;
    cop_watch_options options = COP_WATCH_OPTIONS_INIT;

    set("x/y/z", 1);
    branch = t_find(store, "x");
    leaf = t_find(store, "x/y/z");
    options.only_itself = true;
    CHECK_OK(cop_watch_open_atom(store, leaf, &options, NULL, NULL, &of_leaf, NULL));
    ck_assert_uint_eq(store->watch->index.branches, 0);
    CHECK_OK(cop_watch_open_atom(store, branch, NULL, NULL, NULL, &below, NULL));
    ck_assert_uint_eq(store->watch->index.branches, 1);
    CHECK_OK(cop_watch_open_atom(store, branch, &options, NULL, NULL, &itself, NULL));
    check_room();
    ck_assert_uint_eq(store->watch->index.nodes, 0);
    set("x/y/z", 2);
    ck_assert_str_eq(told_now(of_leaf), "(1,2] =x/y/z:1>2");
    ck_assert_str_eq(told_now(below), "(1,2] =x/y/z:1>2");
    ck_assert_str_eq(told_now(itself), "");
    cop_watch_close(below);
    check_room();
    set("x/y/z", 3);
    ck_assert_str_eq(told_now(of_leaf), "(2,3] =x/y/z:2>3");
    t_erase_at(store, "x");
    ck_assert_str_eq(told_now(of_leaf), "(3,4] -x/y/z:3");
    ck_assert_str_eq(told_now(itself), "(1,4] -x:{}");
    set("x/y/z", 4); /* other atoms */
    ck_assert_str_eq(told_now(of_leaf), "");
    ck_assert_str_eq(told_now(itself), "");
    cop_watch_close(of_leaf);
    cop_watch_close(itself);
    ck_assert_uint_eq(store->watch->index.handles, 0);
}
END_TEST

/* Two watchers of one thing share a target; another generation of an id is another thing. */
START_TEST(targets_are_shared)
{
    cop_watch *one = asked("a/*", 0, 0), *two = asked("a/*", 0, 0), *three, *four, *five;
    cop_watch_options options = COP_WATCH_OPTIONS_INIT;

    ck_assert_ptr_eq(one->target, two->target);
    ck_assert(one->target->stars);
    CHECK_OK(cop_watch_open_atom(store, (cop_atom){7, 1}, NULL, NULL, NULL, &three, NULL));
    CHECK_OK(cop_watch_open_atom(store, (cop_atom){7, 2}, NULL, NULL, NULL, &four, NULL));
    CHECK_OK(cop_watch_open_atom(store, (cop_atom){7, 1}, NULL, NULL, NULL, &five, NULL));
    ck_assert_ptr_ne(three->target, four->target);
    ck_assert_ptr_eq(three->target, five->target);
    check_room();
    ck_assert_uint_eq(store->watch->index.handles, 2);
    cop_watch_close(three);
    cop_watch_close(one);
    check_room();
    options.only_itself = true;
    one = t_watch_with(store, "a/*", &options);
    ck_assert_ptr_ne(one->target, two->target);
    ck_assert_ptr_eq(one->target->node, two->target->node);
    cop_watch_close(five);
    cop_watch_close(four);
    cop_watch_close(one);
    cop_watch_close(two);
}
END_TEST

static size_t
used(void *const *bucket, size_t n)
{
    size_t count = 0;

    for (size_t i = 0; i < n; i++)
        count += bucket[i] != NULL;
    return count;
}

/* Tables that are nearly full use most of their buckets: 63 in 100 by chance. */
START_TEST(buckets)
{
    cop__watch_index index;
    cop__watch_target *target[2 * MANY];
    char text[16];

    cop__watch_index_init(&index, cop__store_memory(store), 12345);
    for (unsigned i = 0; i < MANY; i++) {
        int n = snprintf(text, sizeof text, "p%u", i);
        target[2 * i] = cop__watch_target_at(&index, text, (size_t)n, i % 2);
        target[2 * i + 1] = cop__watch_target_of(&index, (cop_atom){i, 1}, i % 2);
        ck_assert(target[2 * i] != NULL && target[2 * i + 1] != NULL);
        if (i % 16 == 0)
            check_index(&index);
    }
    check_index(&index);
    ck_assert_uint_eq(index.buckets, 256);
    ck_assert_uint_eq(index.handle_buckets, 256);
    ck_assert_uint_gt(used((void **)index.bucket, 256), 140);
    ck_assert_uint_gt(used((void **)index.handle, 256), 140);
    for (unsigned i = 0; i < 2 * MANY; i++) {
        cop__watch_target_free(&index, target[i * 77 % (2 * MANY)]);
        if (i % 16 == 0)
            check_index(&index);
    }
    ck_assert_uint_eq(index.nodes, 1);
    ck_assert_uint_eq(index.handles, 0);
    ck_assert_uint_eq(index.branches, 0);
    cop__watch_index_end(&index);
}
END_TEST

/* With another seed names lie elsewhere: nobody can choose names that all lie in one bucket. */
START_TEST(seeds)
{
    size_t at[2][32];
    char text[16];

    for (unsigned seed = 0; seed < 2; seed++) {
        cop__watch_index index;
        cop__watch_target *target[32];
        cop__watch_index_init(&index, cop__store_memory(store), seed);
        for (unsigned i = 0; i < 32; i++) {
            int n = snprintf(text, sizeof text, "p%u", i);
            target[i] = cop__watch_target_at(&index, text, (size_t)n, true);
            at[seed][i] = (size_t)(bucket_of(&index, index.root, text, (size_t)n) - index.bucket);
        }
        for (unsigned i = 0; i < 32; i++)
            cop__watch_target_free(&index, target[i]);
        cop__watch_index_end(&index);
    }
    ck_assert_mem_ne(at[0], at[1], sizeof at[0]);
}
END_TEST

/* More than a pass lists for one target is listed when it is told; and the same it is. */
START_TEST(a_pass_lists_so_much)
{
    for (unsigned n = COP_WATCH_PASS_LIST - 1; n <= COP_WATCH_PASS_LIST + 1; n++) {
        cop_watch *keeper = asked("elsewhere", 0, 0), *all = asked("n", 0, 0);
        cop_txn *txn = t_begin(store);
        cop_value value = cop_i64(n);
        cop_watch_batch batch;
        char text[16];
        for (unsigned i = 1; i < n; i++) {
            snprintf(text, sizeof text, "n/%u", i);
            CHECK_OK(cop_txn_set_at(txn, P(text), &value, NULL));
        }
        t_commit(txn);
        ck_assert_str_eq(told_now(keeper), "");
        ck_assert_uint_eq(all->target->changes, n);
        ck_assert((all->target->list != NULL) == (n <= COP_WATCH_PASS_LIST));
        if (all->target->list != NULL)
            ck_assert_uint_eq(all->target->list->count, n);
        CHECK_OK(cop_watch_next(all, 0, &batch));
        ck_assert_uint_eq(batch.count, n);
        cop_watch_batch_end(&batch);
        t_erase_at(store, "n");
        cop_watch_close(all);
        cop_watch_close(keeper);
    }
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, all_patterns_and_paths, 0, 2);
    tcase_add_test(tests, handles_alone);
    tcase_add_test(tests, targets_are_shared);
    tcase_add_test(tests, buckets);
    tcase_add_test(tests, seeds);
    tcase_add_test(tests, a_pass_lists_so_much);
}

int
main(void)
{
    return t_run("watchers' index", add);
}

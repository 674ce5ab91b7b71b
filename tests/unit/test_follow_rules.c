/* SPDX-License-Identifier: MIT */
/* Reducers and what they follow: many patterns, owners and reducers in every order of coming and
 * going. After each commit the sums are those of a walk over the tree, and no node has run twice.
 */
#include <coppice/computed.h>
#include <coppice/graph.h>
#include <coppice/reduce.h>

#include "store/store_internal.h"
#include "tests/support/store_test.h"

static cop_store *store;
static cop_atom source;
static uint32_t draws;

static void
setup(void)
{
    store = t_open();
    source = t_make(store, "source", cop_i64(1));
}

static void
teardown(void)
{
    t_close(store);
}

static uint32_t
draw(uint32_t below)
{
    draws = draws * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)draws * below) >> 32);
}

/* --- patterns ----------------------------------------------------------------------------------
 */

/* More than there is room for at first; taken away in another order. */
START_TEST(many_patterns)
{
    enum { MANY = 120 };
    static cop_atom sum[MANY];
    char pattern[40], path[40];

    for (int i = 0; i < MANY; i++) {
        snprintf(pattern, sizeof pattern, "%s%d/%s", i % 2 ? "in" : "other/", i / 3,
                 i % 3 ? "*" : "x/*");
        CHECK_OK(
            cop_reduce_define(store, NULL, 0, P(pattern), COP_REDUCE_SUM, NULL, &sum[i], NULL));
        t_graph_holds(store, 1000, true);
    }
    for (int i = 0; i < MANY; i++) {
        snprintf(path, sizeof path, "%s%d/%s", i % 2 ? "in" : "other/", i / 3, i % 3 ? "a" : "x/b");
        t_set_at(store, path, cop_i64(i / 3 + 1));
    }
    for (int i = 0; i < MANY; i++)
        t_is_i64(store, sum[i], i / 3 + 1);
    for (int i = 0; i < MANY; i++) {
        CHECK_OK(cop_computed_dispose(store, sum[i * 7 % MANY]));
        t_graph_holds(store, 1000, true);
    }
    ck_assert_uint_eq(store->graph.patterns.live, 0);
    ck_assert_ptr_null(store->graph.patterns.matched);
}
END_TEST

/* --- owners, computed members and reducers at random --------------------------------------------
 */

enum { OWNERS = 3, MEMBERS = 3, REDUCERS = 7 };

static const char *const owner_path[OWNERS] = {"in", "in/b", "out/deep/own"};
static const char *const member_path[MEMBERS] = {"in/a", "in/c/x", "out/deep/m"};
static const char *const reducer_pattern[REDUCERS] = {
    "in/*", "in/*/x", "*/b/*", "out/deep/*/*", "out/*/m", "*/*", "in/b/x",
};
static cop_atom owner[OWNERS], member[MEMBERS], reducer[REDUCERS];

/* Emits "x" and, as the source says, "y" and "z/x". */
static cop_status
emits(cop_evaluation *evaluation, void *context, cop_value *result)
{
    int64_t n;
    cop_status status = cop_read_i64(evaluation, source, &n);
    cop_value value = cop_i64(n + 1);

    (void)context;
    (void)result;
    if (status == COP_OK)
        status = cop_emit(evaluation, P("x"), &value);
    if (status == COP_OK && n % 2)
        status = cop_emit(evaluation, P("y"), &value);
    if (status == COP_OK && n % 3)
        status = cop_emit(evaluation, P("z/x"), &value);
    return status;
}

static cop_status
computes(cop_evaluation *evaluation, void *context, cop_value *result)
{
    int64_t n;
    cop_status status = cop_read_i64(evaluation, source, &n);

    *result = cop_i64(10 * n + (context != NULL));
    return status;
}

static bool
segment_matches(const char **pattern, const char **path)
{
    size_t m = strcspn(*pattern, "/"), n = strcspn(*path, "/");
    bool same = (m == 1 && **pattern == '*') || (m == n && memcmp(*pattern, *path, n) == 0);

    *pattern += m + ((*pattern)[m] == '/');
    *path += n + ((*path)[n] == '/');
    return same;
}

static bool
matches(const char *pattern, const char *path)
{
    bool same = true;

    while (same && *pattern != '\0' && *path != '\0')
        same = segment_matches(&pattern, &path);
    return same && *pattern == '\0' && *path == '\0';
}

typedef struct walk {
    const cop_snapshot *snapshot;
    const char *pattern;
    int64_t sum;
} walk;

static int
add_up(void *context, const cop_child *child)
{
    walk *w = context;
    char path[64];
    size_t length;

    CHECK_OK(cop_atom_path(w->snapshot, child->atom, path, sizeof path - 1, &length));
    path[length] = '\0';
    if (child->value.type == COP_I64 && matches(w->pattern, path))
        w->sum += cop_value_i64(&child->value);
    if (child->value.type == COP_OBJECT)
        CHECK_OK(cop_each(w->snapshot, child->atom, add_up, w, NULL));
    return 0;
}

static void
sums_are_right(void)
{
    const cop_snapshot *snapshot = t_take(store);
    cop_atom root;

    CHECK_OK(cop_find(snapshot, "", 0, &root));
    for (int i = 0; i < REDUCERS; i++) {
        walk w = {snapshot, reducer_pattern[i], 0};
        int64_t sum;
        if (reducer[i].generation == 0)
            continue;
        CHECK_OK(cop_each(snapshot, root, add_up, &w, NULL));
        CHECK_OK(cop_get_i64(snapshot, reducer[i], &sum));
        ck_assert_msg(sum == w.sum, "%s is %" PRId64 ", not %" PRId64, w.pattern, sum, w.sum);
    }
    cop_snapshot_drop(snapshot);
    t_graph_holds(store, 1000, true);
}

static void
come_or_go(cop_txn *txn)
{
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    cop_value value = cop_i64(draw(9));
    static const char *const plain[] = {"in/d", "in/c/y", "out/deep/m2", "top/b/k", "in/e/x"};
    uint32_t i;

    switch (draw(5)) {
    case 0:
        options.branch = true;
        i = draw(OWNERS);
        if (owner[i].generation == 0)
            (void)cop_txn_define(txn, P(owner_path[i]), emits, NULL, &options, NULL, NULL);
        else
            (void)cop_txn_erase(txn, owner[i]);
        break;
    case 1:
        i = draw(MEMBERS);
        options.kind = draw(2) ? COP_LAZY : COP_EAGER;
        if (member[i].generation == 0)
            (void)cop_txn_define(txn, P(member_path[i]), computes, i ? &source : NULL, &options,
                                 NULL, NULL);
        else
            (void)cop_txn_erase(txn, member[i]);
        break;
    case 2:
        (void)cop_txn_set_at(txn, P(plain[draw(5)]), &value, NULL);
        break;
    case 3:
        (void)cop_txn_erase_at(txn, P(plain[draw(5)]), NULL);
        break;
    default:
        (void)cop_txn_set(txn, source, &value);
        break;
    }
}

static void
find_all(void)
{
    const cop_snapshot *snapshot = t_take(store);

    for (int i = 0; i < OWNERS; i++)
        if (cop_find(snapshot, P(owner_path[i]), &owner[i]) != COP_OK)
            owner[i] = (cop_atom){0, 0};
    for (int i = 0; i < MEMBERS; i++)
        if (cop_find(snapshot, P(member_path[i]), &member[i]) != COP_OK)
            member[i] = (cop_atom){0, 0};
    cop_snapshot_drop(snapshot);
}

START_TEST(at_random)
{
    draws = (uint32_t)_i;
    memset(reducer, 0, sizeof reducer);
    for (int round = 0; round < 150; round++) {
        uint32_t i = draw(REDUCERS);
        find_all();
        if (draw(3) == 0 && reducer[i].generation == 0) {
            CHECK_OK(cop_reduce_define(store, NULL, 0, P(reducer_pattern[i]), COP_REDUCE_SUM, NULL,
                                       &reducer[i], NULL));
        } else if (draw(6) == 0 && reducer[i].generation != 0) {
            CHECK_OK(cop_computed_dispose(store, reducer[i]));
            reducer[i] = (cop_atom){0, 0};
        } else {
            cop_txn *txn = t_begin(store);
            for (uint32_t n = 1 + draw(3); n > 0; n--)
                come_or_go(txn);
            fault_alloc_arm(&t_faults, draw(2) ? FAULT_NEVER : 1 + draw(15), draw(2));
            (void)cop_txn_commit(txn, NULL, NULL);
            fault_alloc_disarm(&t_faults);
            t_graph_holds(store, 1000, false);
            t_set(store, source, cop_i64(draw(1000)));
        }
        sums_are_right();
    }
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, many_patterns);
    tcase_add_loop_test(tests, at_random, 1, 30);
}

int
main(void)
{
    return t_run("follow rules", add);
}

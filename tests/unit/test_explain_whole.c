/* SPDX-License-Identifier: MIT */
/* Explanations and nodes as texts, every field of them but the times, for runs of every kind. */
#include <coppice/effect.h>

#include "tests/support/explain_test.h"

/* --- eager ones ------------------------------------------------------------------------------- */

START_TEST(an_eager_one)
{
    reader r = {.words = {"v:a", "v:b", "v:t"}, .below = 5}, up = {.words = {"v:sum"}};
    cop_atom sum, top;

    t_set_at(store, "a", cop_i64(1));
    t_set_at(store, "b", cop_i64(2));
    t_set_at(store, "t", cop_string(P("a text too long for a slot")));
    sum = define("sum", "of both", COP_EAGER, &r);
    top = define(NULL, NULL, COP_EAGER, &up);
    (void)define("top", NULL, COP_EAGER, &up);
    look(sum);
    look(top);
    explains(sum, "sum[of both] eager 1 = 103 in 6, 2 above, ran 0, 0 cut off\n"
                  " reads value of a 1 > 1 in 0, since 6\n"
                  " reads value of b 2 > 2 in 0, since 6\n"
                  " reads value of t 'a text too long for a slot' > 'a text too long for a slot' "
                  "in 0, since 6");
    t_set_at(store, "a", cop_i64(3));
    explains(sum, "sum[of both] eager 1 = 105 in 7, 2 above, ran 1, 0 cut off\n"
                  " changed in 7 after 0 for dependency: 103 > 105\n"
                  " for value of a changed 1 > 3 in 0, since 7\n"
                  " reads value of a changed 1 > 3 in 7, since 7\n"
                  " reads value of b 2 > 2 in 0, since 7\n"
                  " reads value of t 'a text too long for a slot' > 'a text too long for a slot' "
                  "in 0, since 7");
    t_set_at(store, "t", cop_string(P("another text too long for a slot")));
    explains(sum, "sum[of both] eager 1 = 105 in 8, 2 above, ran 2, 1 cut off\n"
                  " same in 8 after 0 for dependency: 105 > 105\n"
                  " for value of t changed 'a text too long for a slot' > 'another text too long "
                  "for a slot' in 0, since 8\n"
                  " reads value of a 3 > 3 in 7, since 8\n"
                  " reads value of b 2 > 2 in 0, since 8\n"
                  " reads value of t changed 'a text too long for a slot' > 'another text too "
                  "long for a slot' in 8, since 8");
    t_set_at(store, "t", cop_string(P("short")));
    explains(sum, "sum[of both] eager 1 = 5 in 9, 2 above, ran 3, 1 cut off\n"
                  " changed in 9 after 0 for dependency: 105 > 5\n"
                  " for value of t changed 'another text too long for a slot' > 'short' in 0, "
                  "since 9\n"
                  " reads value of a 3 > 3 in 7, since 9\n"
                  " reads value of b 2 > 2 in 0, since 9\n"
                  " reads value of t changed 'another text too long for a slot' > 'short' in 9, "
                  "since 9");
    explains(top, "[] eager 2 = 5 in 9, 0 above, ran 2, 0 cut off\n"
                  " changed in 9 after 0 for dependency: 105 > 5\n"
                  " for value of sum (computed) changed 105 > 5 in 0, since 9\n"
                  " reads value of sum (computed) changed 105 > 5 in 9, since 9");
    t_set_at(store, "b", cop_i64(-9));
    t_erase_at(store, "b");
    explains(sum, "sum[of both] eager 1 = 5 in 11, 2 above, ran 5, 3 cut off\n"
                  " same in 11 after 0 for dependency: 5 > 5\n"
                  " for value of  changed -9 > - in 0, since 0\n"
                  " reads value of a 3 > 3 in 7, since 11\n"
                  " reads value of t 'short' > 'short' in 9, since 11");
}
END_TEST

START_TEST(paths_lists_and_branches)
{
    reader r = {.words = {"p:no/where", "l:list", "v:list", "p:a"}};
    cop_atom sum;

    t_set_at(store, "a", cop_i64(1));
    t_set_at(store, "list/x", cop_i64(2));
    sum = define("sum", NULL, COP_EAGER, &r);
    look(sum);
    t_set_at(store, "a", cop_i64(2));
    explains(sum, "sum[] eager 1 = 3 in 4, 0 above, ran 1, 0 cut off\n"
                  " changed in 4 after 0 for dependency: 2 > 3\n"
                  " for value of a changed 1 > 2 in 0, since 4\n"
                  " reads path of no/where - > - in 0, since 0\n"
                  " reads branch of list object > object in 0, since 2\n"
                  " reads children of list 1 > 1 in 0, since 2\n"
                  " reads value of list/x 2 > 2 in 0, since 2\n"
                  " reads branch of list object > object in 0, since 2\n"
                  " reads path of a 1 > 2 in 0, since 4\n"
                  " reads value of a changed 1 > 2 in 4, since 4");
    t_set_at(store, "list/y", cop_i64(2));
    explains(sum, "sum[] eager 1 = 4 in 5, 0 above, ran 2, 0 cut off\n"
                  " changed in 5 after 0 for dependency: 3 > 4\n"
                  " for children of list changed 1 > 2 in 0, since 5\n"
                  " reads path of no/where - > - in 0, since 0\n"
                  " reads branch of list object > object in 0, since 5\n"
                  " reads children of list changed 1 > 2 in 5, since 5\n"
                  " reads value of list/x 2 > 2 in 0, since 5\n"
                  " reads value of list/y changed - > 2 in 5, since 5\n"
                  " reads branch of list object > object in 0, since 5\n"
                  " reads path of a 2 > 2 in 0, since 5\n"
                  " reads value of a 2 > 2 in 4, since 5");
    t_set_at(store, "no/where", cop_i64(20));
    explains(sum, "sum[] eager 1 = 24 in 6, 0 above, ran 3, 0 cut off\n"
                  " changed in 6 after 0 for dependency: 4 > 24\n"
                  " for path of no/where changed - > 20 in 0, since 6\n"
                  " reads path of no/where changed - > 20 in 6, since 6\n"
                  " reads value of no/where changed - > 20 in 6, since 6\n"
                  " reads branch of list object > object in 0, since 5\n"
                  " reads children of list 2 > 2 in 5, since 5\n"
                  " reads value of list/x 2 > 2 in 0, since 5\n"
                  " reads value of list/y 2 > 2 in 5, since 5\n"
                  " reads branch of list object > object in 0, since 5\n"
                  " reads path of a 2 > 2 in 0, since 6\n"
                  " reads value of a 2 > 2 in 4, since 6");
    t_erase_at(store, "no");
    explains(sum, "sum[] eager 1 = 4 in 7, 0 above, ran 4, 0 cut off\n"
                  " changed in 7 after 0 for dependency: 24 > 4\n"
                  " for path of no/where changed 20 > - in 0, since 0\n"
                  " for value of  changed 20 > - in 0, since 0\n"
                  " reads path of no/where changed 20 > - in 7, since 0\n"
                  " reads branch of list object > object in 0, since 5\n"
                  " reads children of list 2 > 2 in 5, since 5\n"
                  " reads value of list/x 2 > 2 in 0, since 5\n"
                  " reads value of list/y 2 > 2 in 5, since 5\n"
                  " reads branch of list object > object in 0, since 5\n"
                  " reads path of a 2 > 2 in 0, since 7\n"
                  " reads value of a 2 > 2 in 4, since 7");
}
END_TEST

/* --- lazy ones -------------------------------------------------------------------------------- */

START_TEST(a_lazy_one)
{
    reader below = {.words = {"v:a"}},
           r = {.words = {"v:t", "v:below", "l:list", "v:list", "p:a", "p:no"}};
    cop_atom lazy;

    t_set_at(store, "a", cop_i64(1));
    t_set_at(store, "list/x", cop_i64(2));
    t_set_at(store, "t", cop_string(P("a text too long for a slot")));
    (void)define("below", "under it", COP_LAZY, &below);
    lazy = define("lazy", "above", COP_LAZY, &r);
    look(lazy);
    explains(lazy, "lazy[above] lazy 0 = - in 0, 0 above, ran 0, 0 cut off");
    t_is_i64(store, lazy, 103);
    explains(lazy, "lazy[above] lazy 0 = 103 in 5, 0 above, ran 1, 0 cut off\n"
                   " changed in 5 after 1 for defined: - > 103\n"
                   " reads value of t - > 'a text too long for a slot' in 0, since 5\n"
                   " reads value of below (computed) - > 1 in 0, since 5\n"
                   " reads branch of list - > object in 0, since 2\n"
                   " reads children of list - > 1 in 0, since 2\n"
                   " reads value of list/x - > 2 in 0, since 2\n"
                   " reads branch of list - > object in 0, since 2\n"
                   " reads path of a - > 1 in 0, since 5\n"
                   " reads value of a - > 1 in 0, since 5\n"
                   " reads path of no - > - in 0, since 0");
    t_set_at(store, "a", cop_i64(4));
    t_is_i64(store, lazy, 109);
    explains(lazy, "lazy[above] lazy 0 = 109 in 6, 0 above, ran 2, 0 cut off\n"
                   " changed in 6 after 0 for dependency: 103 > 109\n"
                   " for value of below (computed) changed - > 4 in 0, since 6\n"
                   " for value of a changed 1 > 4 in 0, since 6\n"
                   " reads value of t - > 'a text too long for a slot' in 0, since 6\n"
                   " reads value of below (computed) changed - > 4 in 6, since 6\n"
                   " reads branch of list - > object in 0, since 2\n"
                   " reads children of list 1 > 1 in 0, since 2\n"
                   " reads value of list/x 2 > 2 in 0, since 2\n"
                   " reads branch of list - > object in 0, since 2\n"
                   " reads path of a - > 4 in 0, since 6\n"
                   " reads value of a changed 1 > 4 in 6, since 6\n"
                   " reads path of no - > - in 0, since 0");
    t_set_at(store, "t", cop_string(P("short")));
    t_is_i64(store, lazy, 9);
    explains(lazy, "lazy[above] lazy 0 = 9 in 7, 0 above, ran 3, 0 cut off\n"
                   " changed in 7 after 1 for dependency: 109 > 9\n"
                   " for value of t changed - > 'short' in 0, since 7\n"
                   " reads value of t changed - > 'short' in 7, since 7\n"
                   " reads value of below (computed) - > 4 in 6, since 7\n"
                   " reads branch of list - > object in 0, since 2\n"
                   " reads children of list 1 > 1 in 0, since 2\n"
                   " reads value of list/x 2 > 2 in 0, since 2\n"
                   " reads branch of list - > object in 0, since 2\n"
                   " reads path of a - > 4 in 0, since 7\n"
                   " reads value of a 4 > 4 in 6, since 7\n"
                   " reads path of no - > - in 0, since 0");
    t_set_at(store, "t", cop_string(P("brief")));
    t_is_i64(store, lazy, 9);
    explains(lazy, "lazy[above] lazy 0 = 9 in 8, 0 above, ran 4, 1 cut off\n"
                   " same in 8 after 1 for dependency: 9 > 9\n"
                   " for value of t changed 'short' > 'brief' in 0, since 8\n"
                   " reads value of t changed 'short' > 'brief' in 8, since 8\n"
                   " reads value of below (computed) - > 4 in 6, since 8\n"
                   " reads branch of list - > object in 0, since 2\n"
                   " reads children of list 1 > 1 in 0, since 2\n"
                   " reads value of list/x 2 > 2 in 0, since 2\n"
                   " reads branch of list - > object in 0, since 2\n"
                   " reads path of a - > 4 in 0, since 8\n"
                   " reads value of a 4 > 4 in 6, since 8\n"
                   " reads path of no - > - in 0, since 0");
    t_set_at(store, "list/y", cop_i64(2));
    t_set_at(store, "no", cop_i64(2));
    t_is_i64(store, lazy, 12);
    explains(lazy, "lazy[above] lazy 0 = 12 in 10, 0 above, ran 5, 1 cut off\n"
                   " changed in 10 after 0 for dependency: 9 > 12\n"
                   " for children of list changed 1 > 2 in 0, since 9\n"
                   " for path of no changed - > 2 in 0, since 10\n"
                   " reads value of t 'brief' > 'brief' in 8, since 10\n"
                   " reads value of below (computed) - > 4 in 6, since 10\n"
                   " reads branch of list - > object in 0, since 9\n"
                   " reads children of list changed 1 > 2 in 10, since 9\n"
                   " reads value of list/x 2 > 2 in 0, since 9\n"
                   " reads value of list/y - > 2 in 0, since 9\n"
                   " reads branch of list - > object in 0, since 9\n"
                   " reads path of a - > 4 in 0, since 10\n"
                   " reads value of a 4 > 4 in 6, since 10\n"
                   " reads path of no changed - > 2 in 10, since 10\n"
                   " reads value of no - > 2 in 0, since 10");
}
END_TEST

START_TEST(a_looked_at_lazy_one_goes)
{
    reader r = {.words = {"v:a"}};
    cop_graph_counts counts = COP_GRAPH_COUNTS_INIT;

    t_set_at(store, "a", cop_i64(1));
    cop_atom lazy = define("lazy", NULL, COP_LAZY, &r);
    look(lazy);
    CHECK_OK(cop_computed_dispose(store, lazy));
    CHECK_OK(cop_graph_stats(store, COP_FOREVER, &counts));
    ck_assert_uint_eq(counts.looked, 0);
}
END_TEST

/* --- owned branches, circles, commits without memory -------------------------------------------
 */

/* Emits "x" while the source is not negative; below 10 its value and "y" too. */
static cop_status
emits(cop_evaluation *evaluation, void *context, cop_value *result)
{
    int64_t x;
    cop_status status = cop_read_i64(evaluation, *(const cop_atom *)context, &x);
    cop_value value = cop_i64(x);

    (void)result;
    if (status == COP_OK && x < 0)
        return cop_fail(evaluation, "negative");
    if (status == COP_OK && x < 10)
        status = cop_emit(evaluation, P("y"), &value);
    value = cop_i64(7);
    return status == COP_OK ? cop_emit(evaluation, P("x"), &value) : status;
}

START_TEST(an_owned_branch)
{
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    cop_atom a = t_make(store, "a", cop_i64(1)), own, top;
    reader r = {.words = {"v:own/y", "v:own", "p:own/x"}};

    options.branch = true;
    options.label = "owner";
    CHECK_OK(cop_computed_define(store, P("own"), emits, &a, &options, &own, NULL));
    top = define("top", NULL, COP_EAGER, &r);
    look(own);
    look(top);
    t_set(store, a, cop_i64(2));
    explains(t_find(store, "own/x"),
             "own[owner] branch 1 = object in 4, 1 above, ran 1, 0 cut off\n"
             " changed in 4 after 0 for dependency: object > object\n"
             " for value of a changed 1 > 2 in 0, since 4\n"
             " reads value of a changed 1 > 2 in 4, since 4");
    explains(top, "top[] eager 2 = 9 in 4, 0 above, ran 1, 0 cut off\n"
                  " changed in 4 after 0 for dependency: 8 > 9\n"
                  " for value of own/y (computed) changed 1 > 2 in 0, since 4\n"
                  " reads branch of own (computed) object > object in 0, since 4\n"
                  " reads value of own/y (computed) changed 1 > 2 in 4, since 4\n"
                  " reads branch of own (computed) object > object in 0, since 4\n"
                  " reads path of own/x (computed) 7 > 7 in 0, since 4\n"
                  " reads value of own/x (computed) 7 > 7 in 0, since 4");
    t_set(store, a, cop_i64(11));
    explains(own, "own[owner] branch 1 = object in 5, 1 above, ran 2, 0 cut off\n"
                  " changed in 5 after 0 for dependency: object > object\n"
                  " for value of a changed 2 > 11 in 0, since 5\n"
                  " reads value of a changed 2 > 11 in 5, since 5");
    explains(top, "top[] eager 2 = 7 in 5, 0 above, ran 2, 0 cut off\n"
                  " changed in 5 after 0 for dependency: 9 > 7\n"
                  " for value of  changed 2 > - in 0, since 0\n"
                  " reads branch of own (computed) object > object in 0, since 5\n"
                  " reads branch of own (computed) object > object in 0, since 5\n"
                  " reads path of own/x (computed) 7 > 7 in 0, since 5\n"
                  " reads value of own/x (computed) 7 > 7 in 0, since 5");
    t_set(store, a, cop_i64(-1));
    explains(own, "own[owner] branch 1 = !'negative' in 6, 1 above, ran 3, 0 cut off\n"
                  " changed in 6 after 0 for dependency: object > !'negative'\n"
                  " for value of a changed 11 > -1 in 0, since 6\n"
                  " reads value of a changed 11 > -1 in 6, since 6");
    explains(top, "top[] eager 2 = 0 in 6, 0 above, ran 3, 0 cut off\n"
                  " changed in 6 after 0 for dependency: 7 > 0\n"
                  " for branch of own (computed) changed object > !'negative' in 0, since 6\n"
                  " for branch of own (computed) changed object > !'negative' in 0, since 6\n"
                  " for path of own/x changed 7 > - in 0, since 0\n"
                  " for value of  changed 7 > - in 0, since 0\n"
                  " reads value of own (computed) changed object > !'negative' in 6, since 6\n"
                  " reads branch of own (computed) changed object > !'negative' in 6, since 6\n"
                  " reads path of own/x changed 7 > - in 6, since 0");
}
END_TEST

START_TEST(a_circle)
{
    reader r = {.words = {"v:a", "p:q"}}, q = {.words = {"v:p"}};

    t_set_at(store, "a", cop_i64(1));
    cop_atom p = define("p", NULL, COP_EAGER, &r), other = define("q", NULL, COP_EAGER, &q);
    look(p);
    t_set_at(store, "a", cop_i64(2));
    explains(p, "p[] eager 1 circle = !'cycle: p -> q -> p' in 4, 1 above, ran 1, 1 cut off\n"
                " same in 4 after 0 for dependency: !'cycle: p -> q -> p' > !'cycle: p -> q -> "
                "p'\n"
                " for value of a changed 1 > 2 in 0, since 4\n"
                " reads value of a changed 1 > 2 in 4, since 4\n"
                " reads path of q (computed) !'cycle: p -> q -> p' > !'cycle: p -> q -> p' in "
                "0, since 4\n"
                " reads value of q (computed) !'cycle: p -> q -> p' > !'cycle: p -> q -> p' in "
                "0, since 4");
    explains(other, "q[] eager 2 circle = !'cycle: p -> q -> p' in 4, 1 above, ran 0, 0 cut off\n"
                    " reads value of p (computed) !'cycle: p -> q -> p' > !'cycle: p -> q -> p' in "
                    "0, since 4");
    CHECK_OK(cop_computed_dispose(store, other));
    explains(p, "p[] eager 1 = 2 in 5, 0 above, ran 2, 1 cut off\n"
                " changed in 5 after 0 for dependency: !'cycle: p -> q -> p' > 2\n"
                " for path of q changed !'cycle: p -> q -> p' > - in 0, since 0\n"
                " for value of  changed !'cycle: p -> q -> p' > - in 0, since 0\n"
                " reads value of a 2 > 2 in 4, since 5\n"
                " reads path of q changed !'cycle: p -> q -> p' > - in 5, since 0");
}
END_TEST

START_TEST(a_commit_without_memory)
{
    reader r = {.words = {"v:a", "p:b"}};
    cop_value one = cop_i64(2);

    t_set_at(store, "a", cop_i64(1));
    cop_atom sum = define("sum", NULL, COP_EAGER, &r);
    look(sum);
    for (int64_t k = 1;; k++) {
        cop_txn *txn = t_begin(store);
        CHECK_OK(cop_txn_set_at(txn, P("a"), &one, NULL));
        CHECK_OK(cop_txn_set_at(txn, P("b"), &one, NULL));
        fault_alloc_arm(&t_faults, k, true);
        cop_status status = cop_txn_commit(txn, NULL, NULL);
        fault_alloc_disarm(&t_faults);
        if (status == COP_OK)
            break;
        CHECK_STATUS(status, COP_E_MEMORY);
    }
    t_set_at(store, "a", cop_i64(3));
    explains(sum, "sum[] eager 1 = 5 in 4, 0 above, ran 1, 0 cut off\n"
                  " changed in 4 after 0 for dependency: 4 > 5\n"
                  " for value of a changed 2 > 3 in 0, since 4\n"
                  " reads value of a changed 2 > 3 in 4, since 4\n"
                  " reads path of b 2 > 2 in 0, since 4\n"
                  " reads value of b 2 > 2 in 0, since 4");
}
END_TEST

/* --- nodes --------------------------------------------------------------------------------------
 */

static cop_status
effect_reads(cop_evaluation *evaluation, void *context)
{
    int64_t x;

    return cop_read_i64(evaluation, *(const cop_atom *)context, &x);
}

START_TEST(all_nodes)
{
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    cop_effect_options looks = COP_EFFECT_OPTIONS_INIT;
    cop_graph_query query = COP_GRAPH_QUERY_INIT;
    cop_atom a = t_make(store, "a", cop_i64(1)), own;
    reader lists = {.words = {"l:l3", "l:l1/m", "v:l1/m/k", "l:l2", "l:l1", "v:l2/x", "v:l3/x"}};
    reader paths = {.words = {"p:no/b", "p:no/a", "p:no/b", "p:a", "v:a"}};
    reader child = {.words = {"v:own/y", "v:own", "v:own/x"}},
           lazy = {.words = {"v:child", "p:no/c"}};
    cop_effect effect;

    t_set_at(store, "l1/m/k", cop_i64(1));
    t_set_at(store, "l2/x", cop_i64(1));
    t_set_at(store, "l3/x", cop_i64(1));
    options.branch = true;
    options.label = "owner";
    CHECK_OK(cop_computed_define(store, P("own"), emits, &a, &options, &own, NULL));
    cop_atom read_child = define("child", NULL, COP_EAGER, &child);
    (void)define("lists", "three", COP_EAGER, &lists);
    look(define("paths", NULL, COP_EAGER, &paths));
    cop_atom later = define("later", "on demand", COP_LAZY, &lazy);
    CHECK_OK(t_status(store, later));
    looks.label = "the effect";
    CHECK_OK(cop_effect_open(store, effect_reads, &read_child, &looks, &effect, NULL));
    CHECK_OK(cop_effects_run(store, NULL, UINT64_MAX, NULL));
    nodes_are(NULL, "own[owner] branch 1 at 0, 1 above, 1 value a\n"
                    "child[] eager 2 at 0, 1 above, 4 children own\n"
                    "lists[three] eager 1 at 0, 0 above, 7 children l1, 4 children l2, 4 children "
                    "l3\n"
                    "paths[] eager 1 at 0 looked, 0 above, 1 path ? by no/a, 2 path ? by no/b, 3 "
                    "value a\n"
                    "[] effect 0 at 0, 0 above, 1 value child\n"
                    "later[on demand] lazy 0 at 0, 0 above, 1 path ? by no/c, 1 value child\n"
                    "a[] source 0 at 0, 2 above\n"
                    "l1[] source 0 at 0, 1 above\n"
                    "l2[] source 0 at 0, 1 above\n"
                    "l3[] source 0 at 0, 1 above");
    query.around = &a;
    nodes_are(&query, "a[] source 0 at 0, 2 above\n"
                      "own[owner] branch 1 at 1, 1 above, 1 value a\n"
                      "paths[] eager 1 at 1 looked, 0 above, 1 path ? by no/a, 2 path ? by no/b, 3 "
                      "value a");
    query.depth = 2;
    nodes_are(&query, "a[] source 0 at 0, 2 above\n"
                      "own[owner] branch 1 at 1, 1 above, 1 value a\n"
                      "paths[] eager 1 at 1 looked, 0 above, 1 path ? by no/a, 2 path ? by no/b, 3 "
                      "value a\n"
                      "child[] eager 2 at 2, 1 above, 4 children own");
    query.depth = 0;
    nodes_are(&query, "a[] source 0 at 0, 2 above");
    cop_atom inside = t_find(store, "own/x"), list = t_find(store, "l1");
    query.depth = 1;
    query.around = &inside;
    nodes_are(&query, "own[owner] branch 1 at 0, 1 above, 1 value a\n"
                      "a[] source 0 at 1, 2 above\n"
                      "child[] eager 2 at 1, 1 above, 4 children own");
    query.around = &list;
    nodes_are(&query,
              "l1[] source 0 at 0, 1 above\n"
              "lists[three] eager 1 at 1, 0 above, 7 children l1, 4 children l2, 4 children l3");
    query.around = &later;
    query.depth = 3;
    nodes_are(&query, "later[on demand] lazy 0 at 0, 0 above, 1 path ? by no/c, 1 value child\n"
                      "child[] eager 2 at 1, 1 above, 4 children own\n"
                      "own[owner] branch 1 at 2, 1 above, 1 value a\n"
                      "[] effect 0 at 2, 0 above, 1 value child\n"
                      "a[] source 0 at 3, 2 above");
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, an_eager_one);
    tcase_add_test(tests, paths_lists_and_branches);
    tcase_add_test(tests, a_lazy_one);
    tcase_add_test(tests, a_looked_at_lazy_one_goes);
    tcase_add_test(tests, an_owned_branch);
    tcase_add_test(tests, a_circle);
    tcase_add_test(tests, a_commit_without_memory);
    tcase_add_test(tests, all_nodes);
}

int
main(void)
{
    return t_run("whole explanations", add);
}

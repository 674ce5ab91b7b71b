/* SPDX-License-Identifier: MIT */
/* Explanations at their limits: long lists and paths, many looks, no memory, no right. */
#include "commit/combiner.h"
#include "tests/support/explain_test.h"

/* --- limits ------------------------------------------------------------------------------------
 */

enum { MANY = COP_EXPLAIN_LIST_MAX + 10 };

static cop_atom many[MANY];

static cop_status
read_many(cop_evaluation *evaluation, void *context, cop_value *result)
{
    int64_t x = 0, sum = 0;

    (void)context;
    for (int i = 0; i < MANY; i++) {
        cop_status status = cop_read_i64(evaluation, many[i], &x);
        if (status != COP_OK)
            return status;
        sum += x;
    }
    *result = cop_i64(sum);
    return COP_OK;
}

START_TEST(a_long_list)
{
    cop_explanation *e = NULL;
    cop_atom all;
    char path[16];

    for (int round = 0; round < 2; round++) {
        cop_txn *txn = t_begin(store);
        cop_value value = cop_i64(round);
        for (int i = 0; i < MANY; i++) {
            snprintf(path, sizeof path, "in/%d", i);
            CHECK_OK(cop_txn_set_at(txn, P(path), &value, NULL));
        }
        t_commit(txn);
        for (int i = 0; round == 0 && i < MANY; i++) {
            snprintf(path, sizeof path, "in/%d", i);
            many[i] = t_find(store, path);
        }
        if (round == 0) {
            CHECK_OK(cop_computed_define(store, NULL, 0, read_many, NULL, NULL, &all, NULL));
            look(all);
        }
    }
    CHECK_STATUS(cop_graph_explain(store, all, 0, &e), COP_E_TIMEOUT);
    ck_assert_uint_eq(e->cause_count, COP_EXPLAIN_LIST_MAX);
    ck_assert_uint_eq(e->cause_total, MANY);
    ck_assert_uint_eq(e->dependency_count, COP_EXPLAIN_LIST_MAX);
    ck_assert_uint_eq(e->dependency_total, MANY);
    ck_assert_str_eq(e->causes[COP_EXPLAIN_LIST_MAX - 1].path, "in/4095");
    cop_explanation_free(e);
}
END_TEST

START_TEST(a_long_path)
{
    reader r = {.words = {"v:a"}};
    cop_explanation *e = NULL;
    char path[COP_PATH_MAX];

    t_set_at(store, "a", cop_i64(1));
    memset(path, 'x', sizeof path);
    for (size_t i = 40; i < sizeof path; i += 51)
        path[i] = '/';
    for (size_t length = 505; length < 520; length++) {
        path[length] = '\0';
        cop_atom atom = define(path, NULL, COP_EAGER, &r);
        CHECK_STATUS(cop_graph_explain(store, atom, 0, &e), COP_E_TIMEOUT);
        ck_assert_str_eq(e->path, path);
        cop_explanation_free(e);
        CHECK_OK(cop_computed_dispose(store, atom));
        path[length] = 'x';
    }
}
END_TEST

START_TEST(as_many_looks_as_may_be)
{
    static cop_atom atom[COP_GRAPH_LOOKS_MAX + 1];
    reader r = {.words = {"v:a"}};
    cop_explanation *e = NULL;

    t_set_at(store, "a", cop_i64(1));
    for (unsigned i = 0; i <= COP_GRAPH_LOOKS_MAX; i++) {
        atom[i] = define(NULL, NULL, i == 0 ? COP_LAZY : COP_EAGER, &r);
        CHECK_STATUS(cop_graph_look(store, atom[i], true, COP_FOREVER),
                     i < COP_GRAPH_LOOKS_MAX ? COP_OK : COP_E_LIMIT);
    }
    CHECK_STATUS(cop_graph_explain(store, atom[COP_GRAPH_LOOKS_MAX], 0, &e), COP_E_LIMIT);
    ck_assert_ptr_null(e);
    CHECK_OK(cop_graph_look(store, atom[0], false, COP_FOREVER));
    CHECK_STATUS(cop_graph_explain(store, atom[COP_GRAPH_LOOKS_MAX], 0, &e), COP_E_TIMEOUT);
    cop_explanation_free(e);
}
END_TEST

/* The clock has moved on while a function ran. */
START_TEST(what_a_run_takes)
{
    reader r = {.words = {"v:a"}, .busy_ns = 20000};
    cop_explanation *e = NULL;

    t_set_at(store, "a", cop_i64(1));
    cop_atom atom = define(NULL, NULL, _i ? COP_LAZY : COP_EAGER, &r);
    look(atom);
    for (int64_t i = 1; i < 4; i++) {
        t_set_at(store, "a", cop_i64(10 + i));
        t_is_i64(store, atom, 10 + i);
        CHECK_STATUS(cop_graph_explain(store, atom, 0, &e), COP_E_TIMEOUT);
        ck_assert_uint_eq(e->runs, (uint64_t)i);
        ck_assert(e->duration_ns >= 20000 && e->duration_ns < cop__clock_ns());
        ck_assert_uint_ge(e->longest_ns, e->duration_ns);
        ck_assert_uint_ge(e->total_ns, (uint64_t)i * 20000);
        ck_assert_uint_gt(e->time_ns, UINT64_C(1600000000000000000));
        cop_explanation_free(e);
    }
}
END_TEST

/* Another has the right: nobody waits longer than he says. */
START_TEST(while_the_right_is_not_to_be_had)
{
    cop_graph_counts counts = COP_GRAPH_COUNTS_INIT;
    cop_graph_query query = COP_GRAPH_QUERY_INIT;
    cop_explanation *e = NULL;
    reader r = {.words = {"v:a"}};

    t_set_at(store, "a", cop_i64(1));
    cop_atom atom = define(NULL, NULL, COP_EAGER, &r);
    query.deadline = 1;
    ck_assert(cop__right_try(store));
    CHECK_STATUS(cop_graph_stats(store, 1, &counts), COP_E_TIMEOUT);
    CHECK_STATUS(cop_graph_look(store, atom, true, 1), COP_E_TIMEOUT);
    CHECK_STATUS(cop_graph_each(store, &query, say_node, NULL, NULL), COP_E_TIMEOUT);
    CHECK_STATUS(cop_graph_explain(store, atom, 1, &e), COP_E_TIMEOUT);
    ck_assert_ptr_null(e);
    cop__right_leave(store);
    explains(atom, "[] eager 1 = 1 in 2, 0 above, ran 0, 0 cut off\n"
                   " reads value of a 1 > 1 in 0, since 1");
}
END_TEST

/* Every request refused, once and for ever: what is told is whole, or refused as such. */
START_TEST(explanations_without_memory)
{
    reader r = {.words = {"v:a", "p:no", "l:list"}};
    bool fired = true;

    t_set_at(store, "a", cop_i64(1));
    t_set_at(store, "list/x", cop_string(P("a text too long for a slot")));
    cop_atom atom[2] = {define("e", "label", COP_EAGER, &r), define("l", "label", COP_LAZY, &r)};
    CHECK_OK(t_status(store, atom[1]));
    for (int64_t k = 1; fired; k++) {
        fired = false;
        for (int i = 0; i < 4; i++) {
            cop_explanation *e = NULL;
            fault_alloc_arm(&t_faults, k, i >= 2);
            cop_status status = cop_graph_explain(store, atom[i % 2], 0, &e);
            bool refused = fault_alloc_fired(&t_faults);
            fault_alloc_disarm(&t_faults);
            fired |= refused;
            ck_assert_int_eq(status, refused ? COP_E_MEMORY : COP_E_TIMEOUT);
            ck_assert((e == NULL) == refused);
            cop_explanation_free(e);
        }
    }
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, a_long_list);
    tcase_add_test(tests, a_long_path);
    tcase_add_test(tests, as_many_looks_as_may_be);
    tcase_add_loop_test(tests, what_a_run_takes, 0, 2);
    tcase_add_test(tests, while_the_right_is_not_to_be_had);
    tcase_add_test(tests, explanations_without_memory);
}

int
main(void)
{
    return t_run("limits of explanations", add);
}

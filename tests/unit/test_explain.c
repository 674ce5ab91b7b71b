/* SPDX-License-Identifier: MIT */
/* Looking into the graph: counts, nodes and edges, why a computed atom ran. */
#include <pthread.h>
#include <time.h>

#include <coppice/effect.h>
#include <coppice/graph.h>
#include <coppice/reduce.h>

#include "base/base.h"
#include "tests/support/store_test.h"

typedef struct sum {
    cop_atom a, b;
} sum;

static cop_status
add_two(cop_evaluation *evaluation, void *context, cop_value *result)
{
    const sum *s = context;
    int64_t a = 0, b = 0;
    cop_status status = cop_read_i64(evaluation, s->a, &a);
    if (status == COP_OK)
        status = cop_read_i64(evaluation, s->b, &b);
    *result = cop_i64(a + b);
    return status;
}

/* 1 when positive: cuts off most changes. */
static cop_status
sign(cop_evaluation *evaluation, void *context, cop_value *result)
{
    int64_t a = 0;
    cop_status status = cop_read_i64(evaluation, *(const cop_atom *)context, &a);
    *result = cop_i64(a > 0);
    return status;
}

static int
read_child(void *context, const cop_child *child)
{
    *(int64_t *)context += child->value.type == COP_I64 ? cop_value_i64(&child->value) : 0;
    return 0;
}

static cop_status
add_children(cop_evaluation *evaluation, void *context, cop_value *result)
{
    int64_t total = 0;
    cop_status status =
        cop_read_each(evaluation, *(const cop_atom *)context, read_child, &total, NULL);
    *result = cop_i64(total);
    return status;
}

static cop_status
by_path(cop_evaluation *evaluation, void *context, cop_value *result)
{
    cop_value value;
    cop_status status = cop_read_at(evaluation, context, strlen(context), &value);
    *result = cop_bool(status == COP_OK);
    return status == COP_E_ABSENT ? COP_OK : status;
}

static bool
about_equal(void *context, const cop_value *before, const cop_value *now)
{
    (void)context;
    return cop_value_i64(before) / 10 == cop_value_i64(now) / 10;
}

static cop_atom
define(cop_store *store, const char *path, cop_computed_function function, void *context,
       const cop_computed_options *options)
{
    cop_atom atom;
    cop_error error = COP_ERROR_INIT;
    cop_status status = cop_computed_define(store, path, path ? strlen(path) : 0, function, context,
                                            options, &atom, &error);
    ck_assert_msg(status == COP_OK, "define: %s", error.message);
    return atom;
}

/* Commits the integers first, first + 1, ... to an atom, one a millisecond, until told to end. */
typedef struct writer {
    cop_store *store;
    cop_atom atom;
    int64_t first;
    _Atomic bool stop;
    pthread_t thread;
} writer;

static void
pause_ms(long ms)
{
    const struct timespec pause = {0, ms * 1000000};
    nanosleep(&pause, NULL);
}

static void *
write_on(void *context)
{
    writer *w = context;
    for (int64_t n = w->first; !atomic_load(&w->stop); n++) {
        const cop_value value = cop_i64(n);
        cop_txn *txn;
        if (cop_txn_begin(w->store, &txn) != COP_OK)
            break;
        if (cop_txn_set(txn, w->atom, &value) != COP_OK ||
            cop_txn_commit(txn, NULL, NULL) != COP_OK)
            break;
        pause_ms(1);
    }
    return NULL;
}

static void
writer_begin(writer *w, cop_store *store, cop_atom atom, int64_t first)
{
    w->store = store;
    w->atom = atom;
    w->first = first;
    atomic_init(&w->stop, false);
    ck_assert_int_eq(pthread_create(&w->thread, NULL, write_on, w), 0);
}

static void
writer_end(writer *w)
{
    atomic_store(&w->stop, true);
    pthread_join(w->thread, NULL);
}

static uint64_t
looked(cop_store *store)
{
    cop_graph_counts counts = COP_GRAPH_COUNTS_INIT;
    CHECK_OK(cop_graph_stats(store, COP_FOREVER, &counts));
    return counts.looked;
}

START_TEST(names_are_told)
{
    static const char *const kinds[] = {"source", "eager", "lazy", "background", "branch", "effect", "unknown"};
    static const char *const whats[] = {"value", "branch", "children", "path", "unknown"};
    static const char *const causes[] = {"defined", "dependency", "repeated", "unknown"};
    static const char *const outcomes[] = {"none", "changed", "same", "equal", "unknown"};

    for (unsigned i = 0; i < 7; i++)
        ck_assert_str_eq(cop_graph_kind_name((cop_graph_kind)i), kinds[i]);
    for (unsigned i = 0; i < 5; i++)
        ck_assert_str_eq(cop_depends_name((cop_depends)i), whats[i]);
    for (unsigned i = 0; i < 4; i++)
        ck_assert_str_eq(cop_run_cause_name((cop_run_cause)i), causes[i]);
    for (unsigned i = 0; i < 5; i++)
        ck_assert_str_eq(cop_run_outcome_name((cop_run_outcome)i), outcomes[i]);
}
END_TEST

START_TEST(counts_are_told)
{
    cop_store *store = t_open();
    cop_graph_counts counts = COP_GRAPH_COUNTS_INIT;
    cop_atom x = t_make(store, "x", cop_i64(1));
    cop_atom s;

    CHECK_STATUS(cop_graph_stats(store, COP_FOREVER, NULL), COP_E_INVALID);
    s = define(store, "s", sign, &x, NULL);
    define(store, "t", sign, &s, NULL);
    t_set(store, x, cop_i64(2));  /* s runs, and is cut off */
    t_set(store, x, cop_i64(-1)); /* both run */
    CHECK_OK(cop_graph_stats(store, COP_FOREVER, &counts));
    ck_assert_uint_eq(counts.nodes, 2);
    ck_assert_uint_eq(counts.looked, 0);
    ck_assert_uint_eq(counts.runs, 5);
    ck_assert_uint_eq(counts.cutoffs, 1);
    ck_assert_uint_eq(counts.errors, 0);
    ck_assert_uint_eq(counts.cycles, 0);
    counts.size--;
    CHECK_STATUS(cop_graph_stats(store, COP_FOREVER, &counts), COP_E_INVALID);
    t_close(store);
}
END_TEST

START_TEST(a_run_is_explained)
{
    cop_store *store = t_open();
    sum s = {t_make(store, "in/a", cop_i64(1)), t_make(store, "in/b", cop_i64(2))};
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    cop_explanation *e = NULL;
    writer w;
    cop_atom total;

    options.label = "a and b";
    total = define(store, "out/total", add_two, &s, &options);
    define(store, NULL, sign, &total, NULL);
    writer_begin(&w, store, s.b, 100);
    CHECK_OK(cop_graph_explain(store, total, cop_deadline_in_ms(60000), &e));
    writer_end(&w);
    ck_assert(e->ran && SAME_ATOM(e->atom, total));
    ck_assert_str_eq(e->path, "out/total");
    ck_assert_str_eq(e->label, "a and b");
    ck_assert_int_eq(e->kind, COP_GRAPH_EAGER);
    ck_assert_uint_eq(e->height, 1);
    ck_assert_uint_eq(e->dependents, 1);
    ck_assert(!e->cycle);
    ck_assert_uint_ge(e->version, 4);
    ck_assert_uint_gt(e->time_ns, UINT64_C(1600000000000000000));
    ck_assert_uint_ge(e->runs, 1);
    ck_assert_uint_le(e->duration_ns, e->longest_ns);
    ck_assert_int_eq(e->cause, COP_CAUSE_DEPENDENCY);
    ck_assert_int_eq(e->outcome, COP_RUN_CHANGED);
    ck_assert_uint_eq(e->cause_count, 1);
    ck_assert_uint_eq(e->cause_total, 1);
    ck_assert_str_eq(e->causes[0].path, "in/b");
    ck_assert_int_gt(cop_value_i64(&e->causes[0].value), cop_value_i64(&e->causes[0].before));
    ck_assert_uint_eq(e->dependency_count, 2);
    ck_assert_str_eq(e->dependencies[0].path, "in/a");
    ck_assert_int_eq(e->dependencies[0].what, COP_ON_VALUE);
    ck_assert(!e->dependencies[0].changed && e->dependencies[1].changed);
    ck_assert_uint_eq(e->dependencies[0].changed_version, 0);
    ck_assert_uint_eq(e->dependencies[1].changed_version, e->version);
    ck_assert_uint_ge(e->dependencies[1].unchanged_since, e->version);
    ck_assert_int_eq(cop_value_i64(&e->dependencies[0].value), 1);
    ck_assert_int_eq(cop_value_i64(&e->after), 1 + cop_value_i64(&e->dependencies[1].value));
    ck_assert_int_eq(cop_value_i64(&e->before), 1 + cop_value_i64(&e->dependencies[1].before));
    ck_assert_uint_ge(e->value_version, e->version);
    cop_explanation_free(e);
    cop_explanation_free(NULL);
    ck_assert_uint_eq(looked(store), 0);
    t_close(store);
}
END_TEST

START_TEST(what_cut_it_off)
{
    cop_store *store = t_open();
    cop_atom x = t_make(store, "x", cop_i64(1)), s, t;
    cop_explanation *e = NULL;
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    writer w;

    s = define(store, "s", sign, &x, NULL);
    t = define(store, "t", sign, &s, NULL);
    writer_begin(&w, store, x, 2);
    /* s runs and gives the value before, so t does not run. */
    CHECK_OK(cop_graph_explain(store, s, cop_deadline_in_ms(60000), &e));
    ck_assert_int_eq(e->outcome, COP_RUN_SAME);
    ck_assert_uint_eq(e->cutoffs, e->runs);
    ck_assert_int_eq(cop_value_i64(&e->before), 1);
    ck_assert_int_eq(cop_value_i64(&e->after), 1);
    cop_explanation_free(e);
    /* Until the writer, which may have no time for it, has let s run while t was looked at. */
    for (int tries = 0; tries < 300; tries++) {
        CHECK_STATUS(cop_graph_explain(store, t, cop_deadline_in_ms(200), &e), COP_E_TIMEOUT);
        if (e != NULL && e->dependencies[0].ran_version > 0)
            break;
        cop_explanation_free(e);
        e = NULL;
    }
    writer_end(&w);
    ck_assert_ptr_nonnull(e);
    ck_assert(!e->ran);
    ck_assert_uint_eq(e->dependency_count, 1);
    ck_assert_str_eq(e->dependencies[0].path, "s");
    ck_assert(e->dependencies[0].computed);
    ck_assert_int_eq(e->dependencies[0].outcome, COP_RUN_SAME);
    ck_assert_uint_gt(e->dependencies[0].ran_version, 0);
    ck_assert_int_eq(cop_value_i64(&e->value), 1);
    cop_explanation_free(e);

    /* An equality of its own. */
    options.equal = about_equal;
    sum d = {x, x};
    cop_atom u = define(store, "u", add_two, &d, &options);
    t_set(store, x, cop_i64(1000));
    CHECK_OK(cop_graph_look(store, u, true, COP_FOREVER));
    t_set(store, x, cop_i64(1001));
    CHECK_STATUS(cop_graph_explain(store, u, 0, &e), COP_E_TIMEOUT);
    ck_assert(e->ran);
    ck_assert_int_eq(e->outcome, COP_RUN_EQUAL);
    ck_assert_int_eq(cop_value_i64(&e->after), 2000);
    cop_explanation_free(e);
    t_close(store);
}
END_TEST

START_TEST(looking_begins_and_ends)
{
    cop_store *store = t_open();
    cop_atom x = t_make(store, "x", cop_i64(1)), gone = {5000, 1}, s;
    cop_explanation *e = NULL;

    s = define(store, "s", sign, &x, NULL);
    CHECK_STATUS(cop_graph_look(store, x, true, COP_FOREVER), COP_E_STATE);
    CHECK_STATUS(cop_graph_look(store, gone, true, COP_FOREVER), COP_E_GONE);
    CHECK_OK(cop_graph_look(store, s, false, COP_FOREVER));
    CHECK_OK(cop_graph_look(store, s, true, COP_FOREVER));
    CHECK_OK(cop_graph_look(store, s, true, COP_FOREVER));
    ck_assert_uint_eq(looked(store), 1);
    t_set(store, x, cop_i64(0));
    t_set(store, x, cop_i64(5));
    t_set(store, x, cop_i64(6));
    CHECK_STATUS(cop_graph_explain(store, s, 0, &e), COP_E_TIMEOUT);
    ck_assert(e->ran);
    ck_assert_uint_eq(e->runs, 3);
    ck_assert_uint_eq(e->cutoffs, 1);
    ck_assert_int_eq(e->outcome, COP_RUN_SAME);
    ck_assert_uint_eq(e->dependencies[0].changed_version, cop_store_version(store));
    cop_explanation_free(e);
    ck_assert_uint_eq(looked(store), 1);
    /* A transaction that changes nothing publishes nothing, and what ran in it is of that version.
     */
    CHECK_OK(cop_graph_look(store, s, false, COP_FOREVER));
    ck_assert_uint_eq(looked(store), 0);
    CHECK_OK(cop_graph_look(store, s, true, COP_FOREVER));
    CHECK_OK(cop_computed_dispose(store, s));
    ck_assert_uint_eq(looked(store), 0);
    CHECK_STATUS(cop_graph_look(store, s, true, COP_FOREVER), COP_E_GONE);
    t_close(store);
}
END_TEST

START_TEST(refusals)
{
    cop_store *store = t_open();
    cop_atom x = t_make(store, "x", cop_i64(1)), gone = {5000, 1};
    cop_explanation *e = NULL;
    cop_graph_query query = COP_GRAPH_QUERY_INIT;

    CHECK_STATUS(cop_graph_explain(store, x, 0, NULL), COP_E_INVALID);
    CHECK_STATUS(cop_graph_explain(store, x, 0, &e), COP_E_STATE);
    ck_assert_ptr_null(e);
    CHECK_STATUS(cop_graph_explain(store, gone, 0, &e), COP_E_GONE);
    CHECK_STATUS(cop_graph_each(store, NULL, NULL, NULL, NULL), COP_E_INVALID);
    query.size = 1000;
    CHECK_STATUS(cop_graph_each(store, &query, (cop_graph_function)(void *)t_find, NULL, NULL),
                 COP_E_INVALID);
    t_close(store);
}
END_TEST

/* ---- the atom goes while somebody waits; the store closes ---- */

typedef struct waiter {
    cop_store *store;
    cop_atom atom;
    cop_status status;
    pthread_t thread;
} waiter;

static void *
wait_for_run(void *context)
{
    waiter *w = context;
    cop_explanation *e;
    w->status = cop_graph_explain(w->store, w->atom, COP_FOREVER, &e);
    cop_explanation_free(e);
    return NULL;
}

START_TEST(waiting_ends_with_the_atom)
{
    cop_store *store = t_open();
    cop_atom x = t_make(store, "x", cop_i64(1)), s = define(store, "s", sign, &x, NULL);
    waiter w = {.store = store, .atom = s};

    ck_assert_int_eq(pthread_create(&w.thread, NULL, wait_for_run, &w), 0);
    while (looked(store) == 0)
        pause_ms(1);
    CHECK_OK(cop_computed_dispose(store, s));
    pthread_join(w.thread, NULL);
    CHECK_STATUS(w.status, COP_E_GONE);
    ck_assert_uint_eq(looked(store), 0);
    w.atom = define(store, "t", sign, &x, NULL);
    ck_assert_int_eq(pthread_create(&w.thread, NULL, wait_for_run, &w), 0);
    while (looked(store) == 0)
        pause_ms(1);
    cop_store_close(store);
    pthread_join(w.thread, NULL);
    CHECK_STATUS(w.status, COP_E_CLOSING);
    t_all_released();
}
END_TEST

/* ---- causes other than values ---- */

START_TEST(lists_and_paths)
{
    cop_store *store = t_open();
    t_set_at(store, "in/a", cop_i64(1));
    cop_atom in = t_find(store, "in"), all, there;
    cop_explanation *e = NULL;
    char text[1000];

    all = define(store, "all", add_children, &in, NULL);
    there = define(store, "there", by_path, (void *)(uintptr_t) "maybe/x", NULL);
    CHECK_OK(cop_graph_look(store, all, true, COP_FOREVER));
    CHECK_OK(cop_graph_look(store, there, true, COP_FOREVER));
    t_set_at(store, "in/b", cop_i64(10));
    CHECK_STATUS(cop_graph_explain(store, all, 0, &e), COP_E_TIMEOUT);
    ck_assert(e->ran);
    ck_assert_int_eq(e->cause, COP_CAUSE_DEPENDENCY);
    ck_assert_uint_eq(e->cause_count, 1);
    ck_assert_int_eq(e->causes[0].what, COP_ON_CHILDREN);
    ck_assert_str_eq(e->causes[0].path, "in");
    ck_assert_int_eq(cop_value_i64(&e->causes[0].before), 1);
    ck_assert_int_eq(cop_value_i64(&e->causes[0].value), 2);
    cop_explanation_free(e);
    /* A value below does not change the list. */
    t_set_at(store, "in/b", cop_i64(11));
    CHECK_STATUS(cop_graph_explain(store, all, 0, &e), COP_E_TIMEOUT);
    ck_assert_uint_eq(e->cause_count, 1);
    ck_assert_int_eq(e->causes[0].what, COP_ON_VALUE);
    ck_assert_str_eq(e->causes[0].path, "in/b");
    cop_explanation_free(e);

    CHECK_STATUS(cop_graph_explain(store, there, 0, &e), COP_E_TIMEOUT);
    ck_assert(!e->ran);
    ck_assert_uint_eq(e->dependency_count, 1);
    ck_assert_str_eq(e->dependencies[0].path, "maybe/x");
    ck_assert_int_eq(e->dependencies[0].what, COP_ON_PATH);
    ck_assert_int_eq(e->dependencies[0].value.type, COP_NONE);
    cop_explanation_free(e);
    memset(text, 'z', sizeof text);
    memcpy(text + COP_EXPLAIN_TEXT_MAX - 1, "\xc3\xbc", 2); /* the cut would go through it */
    t_set_at(store, "maybe/x", cop_string(text, sizeof text));
    CHECK_STATUS(cop_graph_explain(store, there, 0, &e), COP_E_TIMEOUT);
    ck_assert(e->ran);
    ck_assert_int_eq(e->causes[0].what, COP_ON_PATH);
    ck_assert_uint_eq(cop_value_length(&e->causes[0].value), COP_EXPLAIN_TEXT_MAX - 1);
    ck_assert_uint_eq(e->dependency_count, 2);
    cop_explanation_free(e);
    t_erase_at(store, "maybe");
    CHECK_STATUS(cop_graph_explain(store, there, 0, &e), COP_E_TIMEOUT);
    ck_assert_uint_ge(e->cause_count, 1);
    ck_assert_int_eq(cop_value_bool(&e->after), false);
    cop_explanation_free(e);
    t_close(store);
}
END_TEST

START_TEST(reducers_are_told)
{
    cop_store *store = t_open();
    cop_explanation *e = NULL;
    cop_atom reducer;

    t_set_at(store, "in/a", cop_i64(1));
    CHECK_OK(cop_reduce_define(store, P("sum"), P("in/*"), COP_REDUCE_SUM, NULL, &reducer, NULL));
    CHECK_OK(cop_graph_look(store, reducer, true, COP_FOREVER));
    t_set_at(store, "in/b", cop_i64(10));
    CHECK_STATUS(cop_graph_explain(store, reducer, 0, &e), COP_E_TIMEOUT);
    ck_assert(e->ran);
    ck_assert_int_eq(e->cause, COP_CAUSE_DEPENDENCY);
    ck_assert_uint_eq(e->cause_total, 0);
    ck_assert_int_eq(cop_value_i64(&e->before), 1);
    ck_assert_int_eq(cop_value_i64(&e->after), 11);
    cop_explanation_free(e);
    t_close(store);
}
END_TEST

START_TEST(circles_and_waiting)
{
    cop_store *store = t_open();
    cop_atom x = t_make(store, "x", cop_i64(0));
    sum late = {x, x};
    cop_atom first, second, p, q;
    cop_explanation *e = NULL;
    cop_txn *txn = t_begin(store);
    static cop_atom circle[2];

    CHECK_OK(cop_txn_define(txn, P("p"), sign, &circle[1], NULL, &circle[0], NULL));
    CHECK_OK(cop_txn_define(txn, P("q"), sign, &circle[0], NULL, &circle[1], NULL));
    t_commit(txn);
    p = t_find(store, "p");
    q = t_find(store, "q");
    CHECK_STATUS(cop_graph_explain(store, p, 0, &e), COP_E_TIMEOUT);
    ck_assert(e->cycle);
    ck_assert_int_eq(e->value.type, COP_ERROR);
    cop_explanation_free(e);
    ck_assert_uint_eq(looked(store), 0);
    (void)q;
    first = define(store, "first", sign, &x, NULL);
    late.b = first;
    second = define(store, "second", add_two, &late, NULL);
    CHECK_OK(cop_graph_look(store, second, true, COP_FOREVER));
    t_set(store, x, cop_i64(3));
    CHECK_STATUS(cop_graph_explain(store, second, 0, &e), COP_E_TIMEOUT);
    ck_assert_uint_eq(e->cause_count, 2);
    ck_assert_uint_eq(e->height, 2);
    ck_assert_int_eq(cop_value_i64(&e->after), 4);
    cop_explanation_free(e);
    t_close(store);
}
END_TEST

/* ---- nodes and edges ---- */

typedef struct tally {
    char text[4096];
    size_t used, nodes, edges, stop_at;
} tally;

static int
tally_node(void *context, const cop_graph_node *node)
{
    tally *t = context;
    t->used += (size_t)snprintf(t->text + t->used, sizeof t->text - t->used, "%s%s:%s",
                                t->used ? " " : "", node->path, cop_graph_kind_name(node->kind));
    for (size_t i = 0; i < node->edge_count; i++)
        t->used +=
            (size_t)snprintf(t->text + t->used, sizeof t->text - t->used, "<%s%s%s*%u",
                             cop_depends_name(node->edges[i].what), node->edges[i].path ? "=" : "",
                             node->edges[i].path ? node->edges[i].path : "", node->edges[i].reads);
    t->edges += node->edge_count;
    return ++t->nodes == t->stop_at ? 7 : 0;
}

START_TEST(nodes_are_told)
{
    cop_store *store = t_open();
    sum s = {t_make(store, "in/a", cop_i64(1)), t_make(store, "in/b", cop_i64(2))};
    cop_atom in = t_find(store, "in"), out, far;
    cop_graph_query query = COP_GRAPH_QUERY_INIT;
    tally t = {0};
    int stopped = 5;

    out = define(store, "out", add_two, &s, NULL);
    define(store, "sum", add_children, &in, NULL);
    far = define(store, "far", sign, &out, NULL);
    define(store, "path", by_path, (void *)(uintptr_t) "no/where", NULL);
    CHECK_OK(cop_graph_each(store, NULL, tally_node, &t, &stopped));
    ck_assert_int_eq(stopped, 0);
    ck_assert_str_eq(t.text, "out:eager<value*1<value*1 sum:eager<children*4 far:eager<value*1 "
                             "path:eager<path=no/where*1 in/a:source in/b:source in:source");
    memset(&t, 0, sizeof t);
    query.around = &far;
    CHECK_OK(cop_graph_each(store, &query, tally_node, &t, NULL));
    ck_assert_str_eq(t.text, "far:eager<value*1 out:eager<value*1<value*1");
    memset(&t, 0, sizeof t);
    query.depth = 2;
    CHECK_OK(cop_graph_each(store, &query, tally_node, &t, NULL));
    ck_assert_str_eq(t.text, "far:eager<value*1 out:eager<value*1<value*1 in/a:source in/b:source");
    memset(&t, 0, sizeof t);
    query.depth = 1;
    query.around = &in; /* a source: what reads it */
    CHECK_OK(cop_graph_each(store, &query, tally_node, &t, NULL));
    ck_assert_str_eq(t.text, "in:source sum:eager<children*4");
    memset(&t, 0, sizeof t);
    query.around = NULL;
    query.most = 2;
    CHECK_STATUS(cop_graph_each(store, &query, tally_node, &t, NULL), COP_E_LIMIT);
    ck_assert_uint_eq(t.nodes, 2);
    memset(&t, 0, sizeof t);
    t.stop_at = 1;
    query.most = 100;
    CHECK_OK(cop_graph_each(store, &query, tally_node, &t, &stopped));
    ck_assert_int_eq(stopped, 7);
    ck_assert_uint_eq(t.nodes, 1);
    t_erase_at(store, "far");
    query.around = &far;
    CHECK_STATUS(cop_graph_each(store, &query, tally_node, &t, NULL), COP_E_GONE);
    t_close(store);
}
END_TEST

START_TEST(lazy_ones_are_told)
{
    cop_store *store = t_open();
    sum s = {t_make(store, "in/a", cop_i64(1)), t_make(store, "in/b", cop_i64(2))};
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    cop_explanation *e;
    tally t = {0};

    options.kind = COP_LAZY;
    options.label = "later";
    cop_atom out = define(store, "out", add_two, &s, &options);
    cop_atom path = define(store, "path", by_path, (void *)(uintptr_t) "in/a", &options);
    CHECK_OK(cop_graph_each(store, NULL, tally_node, &t, NULL));
    ck_assert_str_eq(t.text, "out:lazy path:lazy");
    t_is_i64(store, out, 3);
    CHECK_OK(t_status(store, path));
    memset(&t, 0, sizeof t);
    CHECK_OK(cop_graph_each(store, NULL, tally_node, &t, NULL));
    ck_assert_str_eq(t.text, "out:lazy<value*1<value*1 path:lazy<value*2 in/a:source in/b:source");
    CHECK_STATUS(cop_graph_explain(store, out, 0, &e), COP_E_TIMEOUT);
    ck_assert_int_eq(e->kind, COP_GRAPH_LAZY);
    ck_assert_str_eq(e->label, "later");
    ck_assert_int_eq(cop_value_i64(&e->value), 3);
    ck_assert(!e->ran);
    ck_assert_uint_eq(e->dependency_count, 2);
    ck_assert_str_eq(e->dependencies[1].path, "in/b");
    cop_explanation_free(e);
    ck_assert_uint_eq(looked(store), 0);
    t_close(store);
}
END_TEST

/* Serves a lazy or background atom until told to end. */
static void *
read_on(void *context)
{
    writer *w = context;
    while (!atomic_load(&w->stop)) {
        cop_value value;
        cop_pin_t pin = cop_pin(w->store);
        (void)cop_get(pin.snapshot, w->atom, &value);
        cop_unpin(pin);
        CHECK_OK(cop_store_poll(w->store));
        pause_ms(1);
    }
    return NULL;
}

START_TEST(runs_outside_of_commits_are_explained)
{
    cop_store *store = t_open();
    sum s = {t_make(store, "in/a", cop_i64(1)), t_make(store, "in/b", cop_i64(2))};
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    cop_explanation *e = NULL;
    writer write, read = {.store = store};
    int64_t left = 1000;

    options.kind = _i ? COP_BACKGROUND : COP_LAZY;
    cop_atom out = define(store, "out", add_two, &s, &options);
    read.atom = out;
    writer_begin(&write, store, s.a, 5);
    ck_assert_int_eq(pthread_create(&read.thread, NULL, read_on, &read), 0);
    do { /* until it has run before, too */
        cop_explanation_free(e);
        CHECK_OK(cop_graph_explain(store, out, cop__clock_ns() + 20000000000u, &e));
    } while (e->cause == COP_CAUSE_DEFINED && left-- > 0);
    writer_end(&read);
    writer_end(&write);
    ck_assert(e->ran);
    ck_assert_int_eq(e->kind, _i ? COP_GRAPH_BACKGROUND : COP_GRAPH_LAZY);
    ck_assert_int_eq(e->cause, COP_CAUSE_DEPENDENCY);
    ck_assert_int_eq(e->outcome, COP_RUN_CHANGED);
    ck_assert_uint_eq(e->cause_count, 1);
    ck_assert_str_eq(e->causes[0].path, "in/a");
    int64_t a = cop_value_i64(&e->causes[0].value);
    ck_assert_int_lt(cop_value_i64(&e->causes[0].before), a);
    ck_assert_int_eq(cop_value_i64(&e->after), a + 2);
    ck_assert_int_lt(cop_value_i64(&e->before), a + 2);
    ck_assert_uint_eq(e->dependency_count, 2);
    ck_assert(!e->dependencies[1].changed);
    ck_assert_int_eq(cop_value_i64(&e->dependencies[1].value), 2);
    ck_assert_uint_gt(e->version, 0);
    cop_explanation_free(e);
    ck_assert_uint_eq(looked(store), 0);
    t_close(store);
}
END_TEST

START_TEST(a_lazy_one_that_is_looked_at)
{
    cop_store *store = t_open();
    sum s = {t_make(store, "in/a", cop_i64(1)), t_make(store, "in/b", cop_i64(2))};
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    cop_explanation *e;

    options.kind = COP_LAZY;
    cop_atom out = define(store, "out", add_two, &s, &options), path;
    path = define(store, "path", by_path, (void *)(uintptr_t) "in/c", &options);
    CHECK_OK(cop_graph_look(store, out, true, COP_FOREVER));
    CHECK_OK(cop_graph_look(store, out, true, COP_FOREVER));
    CHECK_OK(cop_graph_look(store, path, true, COP_FOREVER));
    ck_assert_uint_eq(looked(store), 2);
    for (int i = 0; i < 3; i++) {
        t_is_i64(store, out, i > 0 ? 4 : 3);
        CHECK_OK(t_status(store, path));
        t_set(store, s.a, cop_i64(2));
    }
    CHECK_STATUS(cop_graph_explain(store, out, 0, &e), COP_E_TIMEOUT);
    ck_assert(e->ran);
    ck_assert_uint_eq(e->runs, 2);
    cop_explanation_free(e);
    t_set_at(store, "in/c", cop_i64(1));
    CHECK_OK(t_status(store, path));
    CHECK_STATUS(cop_graph_explain(store, path, 0, &e), COP_E_TIMEOUT);
    ck_assert_uint_eq(e->runs, 2);
    ck_assert_int_eq(e->causes[0].what, COP_ON_PATH);
    ck_assert_str_eq(e->causes[0].path, "in/c");
    cop_explanation_free(e);
    sum above = {out, out}; /* makes it eager, and it is looked at on */
    cop_atom eager = define(store, "eager", add_two, &above, NULL);
    t_set(store, s.a, cop_i64(7));
    CHECK_STATUS(cop_graph_explain(store, out, 0, &e), COP_E_TIMEOUT);
    ck_assert_int_eq(e->kind, COP_GRAPH_EAGER);
    ck_assert_int_eq(cop_value_i64(&e->after), 9);
    cop_explanation_free(e);
    CHECK_OK(cop_computed_dispose(store, eager));
    CHECK_OK(cop_computed_dispose(store, out)); /* its look goes with it */
    ck_assert_uint_eq(looked(store), 1);
    CHECK_STATUS(cop_graph_explain(store, out, 0, &e), COP_E_GONE);
    CHECK_OK(cop_graph_look(store, path, false, COP_FOREVER));
    ck_assert_uint_eq(looked(store), 0);
    t_close(store);
}
END_TEST

/* ---- no memory, and inside an evaluation ---- */

static cop_store *inner_store;
static cop_atom inner_atom;
static cop_status inner[3];

static cop_status
call_back(cop_evaluation *evaluation, void *context, cop_value *result)
{
    cop_graph_counts counts = COP_GRAPH_COUNTS_INIT;
    cop_explanation *e;
    (void)evaluation;
    (void)context;
    inner[0] = cop_graph_stats(inner_store, COP_FOREVER, &counts);
    inner[1] = cop_graph_look(inner_store, inner_atom, true, COP_FOREVER);
    inner[2] = cop_graph_explain(inner_store, inner_atom, COP_FOREVER, &e);
    *result = cop_i64(1);
    return COP_OK;
}

START_TEST(inside_an_evaluation)
{
    inner_store = t_open();
    inner_atom = t_make(inner_store, "x", cop_i64(1));
    define(inner_store, "s", call_back, NULL, NULL);
    for (size_t i = 0; i < 3; i++)
        CHECK_STATUS(inner[i], COP_E_IN_EVALUATION);
    t_close(inner_store);
}
END_TEST

/* Refuses the nth allocation: a wave goes on without what it would have written down. */
START_TEST(without_memory)
{
    for (int n = 0; n < 12; n++) {
        cop_store *store = t_open();
        cop_atom x = t_make(store, "x", cop_i64(1)), s = define(store, "s", sign, &x, NULL);
        cop_graph_query query = COP_GRAPH_QUERY_INIT;
        tally t = {0};
        cop_status status;

        fault_alloc_arm(&t_faults, n + 1, true);
        status = cop_graph_look(store, s, true, COP_FOREVER);
        ck_assert(status == COP_OK || status == COP_E_MEMORY);
        status = cop_graph_each(store, &query, tally_node, &t, NULL);
        ck_assert(status == COP_OK || status == COP_E_MEMORY);
        fault_alloc_disarm(&t_faults);
        t_set(store, x, cop_i64(-1));
        t_is_i64(store, s, 0);
        t_close(store);
    }
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_test(tests, names_are_told);
    tcase_add_test(tests, counts_are_told);
    tcase_add_test(tests, a_run_is_explained);
    tcase_add_test(tests, what_cut_it_off);
    tcase_add_test(tests, looking_begins_and_ends);
    tcase_add_test(tests, refusals);
    tcase_add_test(tests, waiting_ends_with_the_atom);
    tcase_add_test(tests, lists_and_paths);
    tcase_add_test(tests, reducers_are_told);
    tcase_add_test(tests, circles_and_waiting);
    tcase_add_test(tests, nodes_are_told);
    tcase_add_test(tests, lazy_ones_are_told);
    tcase_add_loop_test(tests, runs_outside_of_commits_are_explained, 0, 2);
    tcase_add_test(tests, a_lazy_one_that_is_looked_at);
    tcase_add_test(tests, inside_an_evaluation);
    tcase_add_test(tests, without_memory);
}

int
main(void)
{
    return t_run("explain", add);
}

/* SPDX-License-Identifier: MIT */
/* Rules of the graph that its values alone do not show: which nodes are looked at first, what is
 * counted, what is watched, what an evaluation is told when memory runs out. */
#include <coppice/computed.h>
#include <coppice/graph.h>
#include <coppice/reduce.h>

#include "store/store_internal.h"
#include "tests/support/store_test.h"

static cop_store *store;
static cop_atom source;

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

static cop_atom
define(const char *path, cop_computed_function function, void *context)
{
    cop_atom atom;

    CHECK_OK(cop_computed_define(store, P(path), function, context, NULL, &atom, NULL));
    return atom;
}

static cop_graph_counts
counts(void)
{
    cop_graph_counts now = COP_GRAPH_COUNTS_INIT;

    CHECK_OK(cop_graph_stats(store, COP_FOREVER, &now));
    return now;
}

/* --- circles ------------------------------------------------------------------------------------
 */

/* What the path leads to while the source is positive, else the source. */
static cop_status
by_turns(cop_evaluation *evaluation, void *context, cop_value *result)
{
    int64_t way;
    cop_status status = cop_read_i64(evaluation, source, &way);

    if (status != COP_OK)
        return status;
    *result = cop_i64(way);
    return way > 0 ? cop_read_at(evaluation, P((const char *)context), result) : COP_OK;
}

static cop_type
type_of(cop_atom atom)
{
    const cop_snapshot *snapshot = t_take(store);
    cop_value value;

    CHECK_OK(cop_get(snapshot, atom, &value));
    cop_snapshot_drop(snapshot);
    return (cop_type)value.type;
}

/* Every wave looks at them first. */
START_TEST(circles_are_listed_for_as_long_as_they_are_circles)
{
    const cop__list32 *circular = &store->graph.circular;
    char to_a[] = "a", to_b[] = "b";
    cop_atom a = define("a", by_turns, to_b), b = define("b", by_turns, to_a);

    for (int round = 0; round < 3; round++) {
        ck_assert_int_eq(type_of(a), COP_ERROR);
        ck_assert_int_eq(type_of(b), COP_ERROR);
        ck_assert_uint_eq(circular->count, 2);
        t_set(store, source, cop_i64(2 + round)); /* a wave that leaves them circular */
        ck_assert_uint_eq(circular->count, 2);
        t_set(store, source, cop_i64(-1 - round));
        t_is_i64(store, a, -1 - round);
        t_is_i64(store, b, -1 - round);
        t_set(store, source, cop_i64(-9)); /* that they are none is seen by the next wave */
        ck_assert_uint_eq(circular->count, 0);
        t_set(store, source, cop_i64(1));
    }
}
END_TEST

/* --- owned branches -----------------------------------------------------------------------------
 */

/* Emits the sign of the source. */
static cop_status
sign(cop_evaluation *evaluation, void *context, cop_value *result)
{
    int64_t x;
    cop_status status = cop_read_i64(evaluation, source, &x);
    cop_value value = cop_bool(status == COP_OK && x > 0);

    (void)context;
    (void)result;
    return status == COP_OK ? cop_emit(evaluation, P("positive"), &value) : status;
}

START_TEST(a_branch_that_stays_is_a_cutoff)
{
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    cop_graph_counts before, after;

    options.branch = true;
    CHECK_OK(cop_computed_define(store, P("own"), sign, NULL, &options, NULL, NULL));
    before = counts();
    t_set(store, source, cop_i64(2));
    after = counts();
    ck_assert_uint_eq(after.runs, before.runs + 1);
    ck_assert_uint_eq(after.cutoffs, before.cutoffs + 1);
    t_set(store, source, cop_i64(-2));
    before = counts();
    ck_assert_uint_eq(before.runs, after.runs + 1);
    ck_assert_uint_eq(before.cutoffs, after.cutoffs);
}
END_TEST

/* --- definitions --------------------------------------------------------------------------------
 */

/* The source and the context's number. */
static cop_status
above(cop_evaluation *evaluation, void *context, cop_value *result)
{
    int64_t x = 0;
    cop_status status = cop_read_i64(evaluation, source, &x);

    *result = cop_i64(x + *(const int *)context);
    return status;
}

/* The id of one that never was published is another's in the same draft. */
START_TEST(an_id_twice_in_a_draft)
{
    static int first = 100, second = 200;
    cop_txn *txn = t_begin(store);
    cop_atom atom;

    CHECK_OK(cop_txn_define(txn, P("x"), above, &first, NULL, NULL, NULL));
    CHECK_OK(cop_txn_erase_at(txn, P("x"), NULL));
    CHECK_OK(cop_txn_define(txn, P("x"), above, &second, NULL, NULL, NULL));
    t_commit(txn);
    atom = t_find(store, "x");
    t_is_i64(store, atom, 201);
    t_set(store, source, cop_i64(5));
    t_is_i64(store, atom, 205);
    ck_assert_uint_eq(counts().nodes, 1);
    t_erase(store, atom);
    ck_assert_uint_eq(counts().nodes, 0);
}
END_TEST

START_TEST(only_groups_watch_keys_and_values)
{
    CHECK_OK(cop_reduce_define(store, P("sum"), P("in/*/value"), COP_REDUCE_SUM, NULL, NULL, NULL));
    ck_assert_uint_eq(store->graph.patterns.live, 1);
    CHECK_OK(cop_group_define(store, P("groups"), P("in/*"), "key", "value", COP_REDUCE_SUM, NULL,
                              NULL, NULL));
    ck_assert_uint_eq(store->graph.patterns.live, 4);
    t_erase_at(store, "sum");
    ck_assert_uint_eq(store->graph.patterns.live, 3);
    t_erase_at(store, "groups");
    ck_assert_uint_eq(store->graph.patterns.live, 0);
}
END_TEST

/* Also right after the last pattern went. */
START_TEST(nothing_matches_no_pattern)
{
    size_t count = 9;

    (void)cop__pattern_match(&store->graph, P("in"), &count);
    ck_assert_uint_eq(count, 0);
    CHECK_OK(cop_reduce_define(store, P("sum"), P("in"), COP_REDUCE_SUM, NULL, NULL, NULL));
    (void)cop__pattern_match(&store->graph, P("in"), &count);
    ck_assert_uint_eq(count, 1);
    t_erase_at(store, "sum");
    (void)cop__pattern_match(&store->graph, P("in"), &count);
    ck_assert_uint_eq(count, 0);
}
END_TEST

/* --- lists in the arena ------------------------------------------------------------------------- */

START_TEST(what_is_given_back_is_counted_and_taken_again)
{
    cop__memory *memory = cop__store_memory(store);
    cop__arena arena = {0};

    for (uint32_t n = 1; n < 300; n = n * 2 + 1) {
        uint32_t first = cop__arena_take(&arena, memory, n);
        ck_assert_uint_ne(first, 0);
        cop__arena_give(&arena, first, n);
        ck_assert_uint_eq(arena.words_free, cop__arena_size(n));
        ck_assert_uint_eq(cop__arena_take(&arena, memory, n), first);
        ck_assert_uint_eq(arena.words_free, 0);
    }
    cop__arena_end(&arena, memory);
}
END_TEST

/* --- memory that runs out in a function ---------------------------------------------------------
 */

static cop_atom branch, leaf;
static int way;            /* of reading */
static int64_t refused_at; /* the request of the read that is refused; 0: it does not read */
static bool was_refused;

static int
pass(void *context, const cop_child *child)
{
    (void)context;
    (void)child;
    return 0;
}

enum { BY_FIND, BY_AT, BY_EACH, BY_COUNT, BY_VALUE, WAYS };

static cop_status
read_it(cop_evaluation *evaluation)
{
    cop_value value;
    cop_atom atom;
    uint32_t count;

    switch (way) {
    case BY_FIND:
        return cop_read_find(evaluation, P("branch/a"), &atom);
    case BY_AT:
        return cop_read_at(evaluation, P("branch/a"), &value);
    case BY_EACH:
        return cop_read_each(evaluation, branch, pass, NULL, NULL);
    case BY_COUNT:
        return cop_read_count(evaluation, branch, &count);
    default:
        return cop_read(evaluation, leaf, &value);
    }
}

/* A read that ran out of memory says so, and so do all reads after it. */
static cop_status
reads_short_of_memory(cop_evaluation *evaluation)
{
    cop__memory *memory = cop__store_memory(store);
    cop_status status;

    atomic_store(&memory->fail_countdown, refused_at - 1);
    status = read_it(evaluation);
    was_refused = atomic_exchange(&memory->fail_countdown, -1) < 0;
    CHECK_STATUS(status, was_refused ? COP_E_MEMORY : COP_OK);
    CHECK_STATUS(read_it(evaluation), was_refused ? COP_E_MEMORY : COP_OK);
    return status;
}

/* Twice the source. */
static cop_status
reads(cop_evaluation *evaluation, void *context, cop_value *result)
{
    int64_t x = 0;
    cop_status status = cop_read_i64(evaluation, source, &x);

    (void)context;
    *result = cop_i64(2 * x);
    return status == COP_OK && refused_at != 0 ? reads_short_of_memory(evaluation) : status;
}

static cop_status
set_source(int64_t x)
{
    cop_txn *txn = t_begin(store);
    cop_value value = cop_i64(x);

    CHECK_OK(cop_txn_set(txn, source, &value));
    return cop_txn_commit(txn, NULL, NULL);
}

static void
open_reads(void)
{
    leaf = t_make(store, "branch/a", cop_i64(1));
    branch = t_find(store, "branch");
    refused_at = 0;
}

START_TEST(a_first_read_without_memory_says_so)
{
    cop_status status;
    cop_atom atom;

    open_reads();
    way = _i;
    do {
        ck_assert_int_lt(++refused_at, 50);
        status = cop_computed_define(store, P("x"), reads, NULL, NULL, &atom, NULL);
        CHECK_STATUS(status, was_refused ? COP_E_MEMORY : COP_OK);
    } while (was_refused);
    t_is_i64(store, atom, 2);
    refused_at = 0;
}
END_TEST

/* What was read before it, in the run before and in this one, is not forgotten. */
START_TEST(a_new_read_without_memory_says_so)
{
    cop_atom atom;

    open_reads();
    way = _i;
    atom = define("x", reads, NULL);
    do {
        ck_assert_int_lt(++refused_at, 50);
        cop_status status = set_source(10 + refused_at);
        CHECK_STATUS(status, was_refused ? COP_E_MEMORY : COP_OK);
        t_is_i64(store, atom, was_refused ? 2 : 20 + 2 * refused_at);
    } while (was_refused);
    ck_assert(refused_at > 1 || way == BY_VALUE); /* for which there is room */
    refused_at = 0;
    CHECK_OK(set_source(3));
    t_is_i64(store, atom, 6);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, circles_are_listed_for_as_long_as_they_are_circles);
    tcase_add_test(tests, a_branch_that_stays_is_a_cutoff);
    tcase_add_test(tests, an_id_twice_in_a_draft);
    tcase_add_test(tests, only_groups_watch_keys_and_values);
    tcase_add_test(tests, nothing_matches_no_pattern);
    tcase_add_test(tests, what_is_given_back_is_counted_and_taken_again);
    tcase_add_loop_test(tests, a_first_read_without_memory_says_so, 0, WAYS);
    tcase_add_loop_test(tests, a_new_read_without_memory_says_so, 0, WAYS);
}

int
main(void)
{
    return t_run("graph rules", add);
}

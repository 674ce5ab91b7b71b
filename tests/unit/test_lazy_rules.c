/* SPDX-License-Identifier: MIT */
/* Lazy atoms and the graph they are in: what leaves is forgotten, what was seen is not walked
 * again, which error is handed on, what is counted. */
#include "graph/lazy.h"
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
define(cop_computed_kind kind, cop_computed_function function, void *context)
{
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    cop_atom atom;

    options.kind = kind;
    CHECK_OK(cop_computed_define(store, NULL, 0, function, context, &options, &atom, NULL));
    return atom;
}

/* Twice the value of what the context says. */
static cop_status
doubled(cop_evaluation *evaluation, void *context, cop_value *result)
{
    int64_t x, y;
    cop_status status = cop_read_i64(evaluation, *(const cop_atom *)context, &x);

    if (status == COP_OK)
        status = cop_read_i64(evaluation, *(const cop_atom *)context, &y);
    *result = cop_i64(status == COP_OK ? (x + y) % 1000 : 0);
    return status;
}

static int64_t
now(cop_atom atom)
{
    const cop_snapshot *snapshot = t_take(store);
    int64_t value = -1;

    CHECK_OK(cop_get_i64(snapshot, atom, &value));
    cop_snapshot_drop(snapshot);
    return value;
}

/* --- memos --------------------------------------------------------------------------------------
 */

/* The first one whose memo is looked at when room is needed ends: the next one takes its place. */
START_TEST(the_hand_leaves_who_leaves)
{
    cop_atom first = define(COP_LAZY, doubled, &source), others[3];

    ck_assert_int_eq(now(first), 2);
    for (int round = 0; round < 2; round++) {
        CHECK_OK(cop_computed_dispose(store, first));
        CHECK_OK(cop_flush(store, COP_FOREVER));
        for (int i = 0; i < 3; i++) {
            others[i] = define(COP_LAZY, doubled, &source);
            ck_assert_int_eq(now(others[i]), 2);
        }
        for (int i = 0; i < 3; i++)
            cop__lazies_evict(&store->graph, 0);
        ck_assert_uint_eq(atomic_load(&store->graph.lazies->bytes), 0);
        first = others[0];
        CHECK_OK(cop_computed_dispose(store, others[1]));
        CHECK_OK(cop_computed_dispose(store, others[2]));
    }
}
END_TEST

/* --- transactions -------------------------------------------------------------------------------
 */

/* Each reads the one below it twice; the ways down from the top are 2 to the 40th. */
START_TEST(a_ladder_is_walked_once)
{
    enum { HEIGHT = 40 };
    static cop_atom rung[HEIGHT + 1];
    cop_value value;

    rung[0] = source;
    for (int i = 0; i < HEIGHT; i++)
        rung[i + 1] = define(COP_LAZY, doubled, &rung[i]);
    for (int conflict = 0; conflict < 2; conflict++) {
        cop_txn *txn = t_begin(store);
        CHECK_OK(cop_txn_get(txn, rung[HEIGHT], &value));
        t_set_at(store, conflict ? "source" : "other", cop_i64(5));
        CHECK_OK(cop_txn_set_at(txn, P("seen"), &value, NULL));
        if (conflict)
            t_commit_fails(store, txn, COP_E_CONFLICT);
        else
            t_commit(txn);
    }
}
END_TEST

/* --- errors -------------------------------------------------------------------------------------
 */

static cop_status
breaks(cop_evaluation *evaluation, void *context, cop_value *result)
{
    int64_t x;
    cop_status status = cop_read_i64(evaluation, *(const cop_atom *)context, &x);

    if (status == COP_OK && x < 0)
        return cop_fail(evaluation, "broken by %d", (int)x);
    *result = cop_i64(x);
    return status;
}

/* Reads the source, then an error, and hands that on. */
static cop_status
hands_on(cop_evaluation *evaluation, void *context, cop_value *result)
{
    cop_value any;
    int64_t x;
    cop_status status = cop_read(evaluation, source, &any);

    if (status == COP_OK)
        status = cop_read_i64(evaluation, *(const cop_atom *)context, &x);
    *result = cop_i64(0);
    return status;
}

static void
is_error(cop_atom atom, const char *message)
{
    const cop_snapshot *snapshot = t_take(store);
    cop_value value;

    CHECK_OK(cop_get(snapshot, atom, &value));
    ck_assert_int_eq(value.type, COP_ERROR);
    ck_assert_uint_eq(cop_value_length(&value), strlen(message));
    ck_assert_mem_eq(cop_value_data(&value), message, strlen(message));
    cop_snapshot_drop(snapshot);
}

START_TEST(the_error_that_was_read_is_handed_on)
{
    static const cop_computed_kind kinds[] = {COP_EAGER, COP_LAZY};
    cop_atom below = define(kinds[_i / 2], breaks, &source);
    cop_atom above = define(kinds[_i % 2], hands_on, &below);

    ck_assert_int_eq(now(above), 0);
    t_set(store, source, cop_i64(-7));
    is_error(below, "broken by -7");
    is_error(above, "broken by -7");
    t_set(store, source, cop_i64(7));
    ck_assert_int_eq(now(above), 0);
}
END_TEST

/* --- circles ------------------------------------------------------------------------------------
 */

enum { MEMBERS = 5, NAME_MOST = 250 };

static cop_atom member[MEMBERS];

static cop_status
next_member(cop_evaluation *evaluation, void *context, cop_value *result)
{
    const cop_atom *next = (const cop_atom *)context == &member[MEMBERS - 1]
                               ? &member[0]
                               : (const cop_atom *)context + 1;
    int64_t x = 0;
    cop_status status = cop_read_i64(evaluation, source, &x);

    if (status == COP_OK && x > 0) /* a circle from then on */
        status = cop_read_i64(evaluation, *next, &x);
    *result = cop_i64(x);
    return status;
}

/* The names of a circle follow each other, from the least atom on; where they do not fit, the
 * number of atoms stands for the rest, or the last name is cut, whatever the length of the names.
 */
static void
circle_is_named(cop_computed_kind kind, size_t length)
{
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    char path[MEMBERS][NAME_MOST + 1], whole[(MEMBERS + 1) * (NAME_MOST + 8)] = "cycle: ";
    const char *cut = "... (5 atoms)";
    const cop_snapshot *snapshot;
    cop_value value;
    int least = 0;

    options.kind = kind;
    t_set(store, source, cop_i64(0));
    for (int i = 0; i < MEMBERS; i++) {
        memset(path[i], 'a' + i, length);
        path[i][length] = '\0';
        CHECK_OK(cop_computed_define(store, path[i], length, next_member, &member[i], &options,
                                     &member[i], NULL));
    }
    for (int i = 1; i < MEMBERS; i++)
        if (member[i].id < member[least].id)
            least = i;
    for (int i = 0; i <= MEMBERS; i++)
        snprintf(whole + strlen(whole), sizeof whole - strlen(whole), "%s%s", i > 0 ? " -> " : "",
                 path[(least + i) % MEMBERS]);
    t_set(store, source, cop_i64(1));
    snapshot = t_take(store);
    CHECK_OK(cop_get(snapshot, member[1], &value));
    ck_assert_int_eq(value.type, COP_ERROR);
    const char *text = cop_value_data(&value);
    size_t n = cop_value_length(&value);
    ck_assert_uint_ge(n, strlen(whole) < 900 ? strlen(whole) : 900); /* is not cut for nothing */
    ck_assert_mem_eq(text, whole, n < 900 ? n : 900);
    if (length == NAME_MOST)
        ck_assert_mem_eq(text + n - strlen(cut), cut, strlen(cut));
    cop_snapshot_drop(snapshot);
    for (int i = 0; i < MEMBERS; i++)
        CHECK_OK(cop_computed_dispose(store, member[i]));
    CHECK_OK(cop_flush(store, COP_FOREVER));
}

START_TEST(circles_are_named)
{
    for (size_t length = 1; length <= NAME_MOST; length++)
        circle_is_named(_i ? COP_LAZY : COP_EAGER, length);
}
END_TEST

/* --- paths on the way to another ------------------------------------------------------------------ */

typedef struct route {
    const char *path[3];
    const cop_atom *below; /* read between the first and the second path; NULL: nothing */
} route;

static cop_status
goes(cop_evaluation *evaluation, void *context, cop_value *result)
{
    const route *r = context;
    int64_t sum = 0;

    for (int i = 0; i < 3; i++) {
        cop_value value;
        cop_status status = cop_read_at(evaluation, P(r->path[i]), &value);
        if (status == COP_OK && value.type == COP_I64)
            sum = 10 * sum + cop_value_i64(&value);
        else if (status != COP_OK && status != COP_E_ABSENT)
            return status;
        if (i == 0 && r->below != NULL)
            status = cop_read(evaluation, *r->below, &value);
        if (status == COP_E_PENDING || status == COP_E_CYCLE)
            return status;
        if (i == 0 && r->below != NULL)
            sum = 1000 * sum + cop_value_i64(&value);
    }
    *result = cop_i64(sum);
    return COP_OK;
}

/* Where each path leads is looked at in every version, however the runs were nested in which it was
 * noted. */
START_TEST(paths_in_nested_runs)
{
    static const char *const paths[] = {"p/one", "path/two/of/this", "q", "longer/one/of/them", "r/r", "s"};
    cop_atom low, high;
    route below = {.path = {paths[0], paths[1], paths[2]}};
    route above = {.path = {paths[3], paths[4], paths[5]}, .below = &low};
    int64_t digit[6] = {0};

    low = define(COP_LAZY, goes, &below);
    high = define(COP_LAZY, goes, &above);
    for (int i = 0; i < 40; i++) {
        int k = i * 5 % 6;
        if (digit[k] != 0 && i % 3 == 0) {
            t_erase_at(store, paths[k]);
            digit[k] = 0;
        } else {
            digit[k] = 1 + i % 9;
            t_set_at(store, paths[k], cop_i64(digit[k]));
        }
        int64_t sum = 0, sums[2];
        for (int j = 0; j < 2; j++) {
            sum = digit[3 * j];
            if (j == 1)
                sum = 1000 * sum + sums[0];
            for (int l = 1; l < 3; l++)
                sum = digit[3 * j + l] != 0 ? 10 * sum + digit[3 * j + l] : sum;
            sums[j] = sum;
        }
        ck_assert_int_eq(now(high), sums[1]);
        ck_assert_int_eq(now(low), sums[0]);
        t_graph_holds(store, 100, true);
    }
}
END_TEST

/* What is read without depending is of the version; a change of it alone runs nothing. */
static int untracked_runs;

static cop_status
half_tracked(cop_evaluation *evaluation, void *context, cop_value *result)
{
    const cop_atom *atom = context;
    cop_value value, gone;
    int64_t x;
    cop_status status = cop_read_i64(evaluation, source, &x);

    untracked_runs++;
    if (status == COP_OK)
        status = cop_read_untracked(evaluation, atom[0], &value);
    if (status == COP_OK && cop_read_untracked(evaluation, atom[1], &gone) != COP_E_GONE)
        status = COP_E_STATE;
    *result = cop_i64(status == COP_OK ? x + 100 * cop_value_i64(&value) : 0);
    return status;
}

START_TEST(untracked_reads)
{
    cop_atom atom[2] = {t_make(store, "beside", cop_i64(1)), t_make(store, "gone", cop_i64(1))};

    t_erase(store, atom[1]);
    untracked_runs = 0;
    cop_atom half = define(_i ? COP_LAZY : COP_EAGER, half_tracked, atom);
    ck_assert_int_eq(now(half), 101);
    t_set(store, atom[0], cop_i64(5));
    ck_assert_int_eq(now(half), 101);
    ck_assert_int_eq(untracked_runs, 1);
    t_set(store, source, cop_i64(2));
    ck_assert_int_eq(now(half), 502);
    ck_assert_int_eq(untracked_runs, 2);
}
END_TEST

/* --- a circle that is found by comparing ---------------------------------------------------------- */

static cop_atom ring[2], gate;

/* The source, and if the gate is open the other one. */
static cop_status
through_the_gate(cop_evaluation *evaluation, void *context, cop_value *result)
{
    int64_t x, open, other = 0;
    cop_status status = cop_read_i64(evaluation, source, &x);

    if (status == COP_OK)
        status = cop_read_i64(evaluation, context == NULL ? gate : source, &open);
    if (status == COP_OK && (context == NULL ? open : x) > 0)
        status = cop_read_i64(evaluation, ring[context == NULL], &other);
    *result = cop_i64(x + other);
    return status;
}

/* Member 1 has read the source and member 0 before: it compares them, and comes round. A transaction
 * rests on all that was compared: a change of the source is a conflict. */
START_TEST(a_circle_found_by_comparing)
{
    cop_value value;

    gate = t_make(store, "gate", cop_i64(0));
    ring[0] = define(COP_LAZY, through_the_gate, NULL);
    ring[1] = define(COP_LAZY, through_the_gate, &gate);
    ck_assert_int_eq(now(ring[1]), 2);
    t_set(store, gate, cop_i64(1));
    cop_txn *txn = t_begin(store);
    CHECK_OK(cop_txn_get(txn, ring[_i], &value));
    ck_assert_int_eq(value.type, COP_ERROR);
    t_set_at(store, "other", cop_i64(1));
    t_set(store, _i < 2 ? source : gate, cop_i64(-1));
    CHECK_OK(cop_txn_set_at(txn, P("seen"), &value, NULL));
    t_commit_fails(store, txn, COP_E_CONFLICT);
    ck_assert_int_eq(now(ring[0]), -1 + (_i < 2 ? -1 : 0));
}
END_TEST

/* --- counts -------------------------------------------------------------------------------------
 */

static cop_graph_counts
counts(void)
{
    cop_graph_counts c = COP_GRAPH_COUNTS_INIT;

    CHECK_OK(cop_graph_stats(store, COP_FOREVER, &c));
    return c;
}

START_TEST(each_kind_of_run_is_counted)
{
    cop_atom below = define(COP_EAGER, breaks, &source);
    cop_graph_counts before, after;

    (void)define(COP_EAGER, hands_on, &below);
    before = counts();
    ck_assert_uint_eq(before.nodes, 2);
    t_set(store, source, cop_i64(-1));
    after = counts();
    ck_assert_uint_eq(after.waves, before.waves + 1);
    ck_assert_uint_eq(after.errors, before.errors + 2);
    ck_assert_uint_eq(after.cutoffs, before.cutoffs);
    t_set(store, source, cop_i64(8));
    before = counts();
    t_set(store, source, cop_i64(9)); /* the upper one gives 0 as before */
    after = counts();
    ck_assert_uint_eq(after.errors, before.errors);
    ck_assert_uint_eq(after.runs, before.runs + 2);
    ck_assert_uint_eq(after.cutoffs, before.cutoffs + 1);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, the_hand_leaves_who_leaves);
    tcase_add_test(tests, a_ladder_is_walked_once);
    tcase_add_loop_test(tests, the_error_that_was_read_is_handed_on, 0, 4);
    tcase_add_loop_test(tests, circles_are_named, 0, 2);
    tcase_add_test(tests, paths_in_nested_runs);
    tcase_add_loop_test(tests, untracked_reads, 0, 2);
    tcase_add_loop_test(tests, a_circle_found_by_comparing, 0, 2);
    tcase_add_test(tests, each_kind_of_run_is_counted);
}

int
main(void)
{
    return t_run("lazy rules", add);
}

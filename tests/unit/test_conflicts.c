/* SPDX-License-Identifier: MIT */
/* What a transaction has read must still hold when it commits; cop_transact tries again. */
#include <pthread.h>
#include <unistd.h>

#include "tests/support/store_test.h"

static cop_store *store;
static cop_atom a, b, branch;

static void
setup(void)
{
    cop_txn *txn;
    cop_value array = cop_array(), value = cop_i64(1);
    cop_atom list;

    store = t_open();
    a = t_make(store, "a", cop_i64(1));
    b = t_make(store, "b", cop_i64(1));
    t_set_at(store, "branch/x/deep", cop_i64(1));
    t_set_at(store, "branch/y", cop_i64(1));
    branch = t_find(store, "branch");
    txn = t_begin(store);
    CHECK_OK(cop_txn_set_child(txn, cop_root(), P("list"), &array, &list));
    CHECK_OK(cop_txn_insert(txn, list, COP_AT_END, &value, NULL));
    t_commit(txn);
}

static void
teardown(void)
{
    t_close(store);
}

/* --- what is read, and what others do meanwhile --------------------------------------- */

static void
read_a(cop_txn *txn)
{
    cop_value value;
    CHECK_OK(cop_txn_get(txn, a, &value));
}

static void
read_deep(cop_txn *txn)
{
    cop_value value;
    CHECK_OK(cop_txn_get(txn, t_find(store, "branch/x/deep"), &value));
}

static void
find_absent(cop_txn *txn)
{
    cop_atom atom;
    CHECK_STATUS(cop_txn_find(txn, P("branch/new"), &atom, NULL), COP_E_ABSENT);
}

static void
find_a(cop_txn *txn)
{
    cop_atom atom;
    CHECK_OK(cop_txn_find(txn, P("a"), &atom, NULL));
}

static int
count_child(void *context, const cop_child *child)
{
    (void)child;
    ++*(int *)context;
    return 0;
}

static void
list_branch(cop_txn *txn)
{
    int n = 0;
    CHECK_OK(cop_txn_each(txn, branch, count_child, &n, NULL));
    ck_assert_int_eq(n, 2);
}

static void
list_list(cop_txn *txn)
{
    int n = 0;
    CHECK_OK(cop_txn_each(txn, t_find(store, "list"), count_child, &n, NULL));
    ck_assert_int_eq(n, 1);
}

static void
look_at_snapshot(cop_txn *txn)
{
    const cop_snapshot *snapshot;
    int64_t i;
    CHECK_OK(cop_txn_snapshot(txn, &snapshot));
    CHECK_OK(cop_get_i64(snapshot, a, &i));
}

static void
require_unchanged(cop_txn *txn)
{
    CHECK_OK(cop_txn_require_unchanged(txn, branch, cop_store_version(store)));
}

static void
require_value(cop_txn *txn)
{
    cop_value value = cop_i64(1);
    CHECK_OK(cop_txn_require_value(txn, a, &value));
}

static void
require_absent(cop_txn *txn)
{
    CHECK_OK(cop_txn_require_path(txn, P("branch/new"), false, NULL));
}

static void
require_present(cop_txn *txn)
{
    CHECK_OK(cop_txn_require_path(txn, P("branch/y"), true, NULL));
}

static void
others_nothing(void)
{
}

static void
others_set_a(void)
{
    t_set(store, a, cop_i64(2));
}

static void
others_set_a_and_back(void)
{
    t_set(store, a, cop_i64(2));
    t_set(store, a, cop_i64(1));
}

static void
others_set_b(void)
{
    t_set(store, b, cop_i64(2));
}

static void
others_erase_a(void)
{
    t_erase(store, a);
}

static void
others_make_a_again(void)
{
    t_erase(store, a);
    t_set_at(store, "a", cop_i64(1));
}

static void
others_add_child(void)
{
    t_set_at(store, "branch/new", cop_i64(1));
}

static void
others_erase_child(void)
{
    t_erase_at(store, "branch/y");
}

static void
others_erase_branch(void)
{
    t_erase_at(store, "branch");
}

static void
others_set_child(void)
{
    t_set_at(store, "branch/y", cop_i64(7));
}

static void
others_set_deep(void)
{
    t_set_at(store, "branch/x/deep", cop_i64(7));
}

static void
others_append(void)
{
    t_set_at(store, "list/-", cop_i64(7));
}

typedef struct meeting {
    void (*read)(cop_txn *);
    void (*others)(void);
    cop_status status;
} meeting;

static const meeting meetings[] = {
    {read_a, others_nothing, COP_OK},
    {read_a, others_set_a, COP_E_CONFLICT},
    {read_a, others_set_b, COP_OK},
    {read_a, others_erase_a, COP_E_CONFLICT},
    {read_a, others_make_a_again, COP_E_CONFLICT},
    {read_deep, others_set_deep, COP_E_CONFLICT},
    {read_deep, others_set_child, COP_OK},
    {read_deep, others_erase_branch, COP_E_CONFLICT},
    {find_absent, others_add_child, COP_E_CONFLICT},
    {find_absent, others_erase_child, COP_OK},
    {find_absent, others_erase_branch, COP_OK},
    {find_a, others_set_a, COP_OK},
    {find_a, others_erase_a, COP_E_CONFLICT},
    {find_a, others_make_a_again, COP_E_CONFLICT},
    {list_branch, others_add_child, COP_E_CONFLICT},
    {list_branch, others_erase_child, COP_E_CONFLICT},
    {list_branch, others_erase_branch, COP_E_CONFLICT},
    {list_branch, others_set_child, COP_OK},
    {list_branch, others_set_deep, COP_OK},
    {list_list, others_append, COP_E_CONFLICT},
    {list_list, others_add_child, COP_OK},
    {look_at_snapshot, others_set_a, COP_OK},
    {require_unchanged, others_nothing, COP_OK},
    {require_unchanged, others_set_deep, COP_E_CONFLICT},
    {require_unchanged, others_set_child, COP_E_CONFLICT},
    {require_unchanged, others_add_child, COP_E_CONFLICT},
    {require_unchanged, others_erase_branch, COP_E_CONFLICT},
    {require_unchanged, others_set_a, COP_OK},
    {require_value, others_set_a, COP_E_CONFLICT},
    {require_value, others_erase_a, COP_E_CONFLICT},
    {require_value, others_set_b, COP_OK},
    {require_value, others_set_a_and_back, COP_OK},
    {require_absent, others_add_child, COP_E_CONFLICT},
    {require_absent, others_set_child, COP_OK},
    {require_present, others_erase_child, COP_E_CONFLICT},
    {require_present, others_set_child, COP_OK},
};

/* The meeting decides the outcome; when it is a conflict nothing of the writes is there. */
START_TEST(reads_must_hold)
{
    const meeting *m = &meetings[_i];
    cop_txn *txn = t_begin(store);
    cop_value value = cop_i64(99);
    cop_atom atom;

    m->read(txn);
    CHECK_OK(cop_txn_set_at(txn, P("result"), &value, NULL));
    m->others();
    if (m->status == COP_OK)
        t_commit(txn);
    else
        t_commit_fails(store, txn, m->status);
    CHECK_STATUS(cop_atom_find(store, P("result"), &atom),
                 m->status == COP_OK ? COP_OK : COP_E_ABSENT);
    t_verify(store);
}
END_TEST

/* Two that read what the other writes: whichever is first wins, the second must not. */
START_TEST(write_skew_is_refused)
{
    cop_txn *first = t_begin(store), *second = t_begin(store);
    cop_value value, zero = cop_i64(0);

    CHECK_OK(cop_txn_get(first, a, &value));
    CHECK_OK(cop_txn_set(first, b, &zero));
    CHECK_OK(cop_txn_get(second, b, &value));
    CHECK_OK(cop_txn_set(second, a, &zero));
    t_commit(first);
    t_commit_fails(store, second, COP_E_CONFLICT);
}
END_TEST

/* The same when both stand in one batch. */
START_TEST(write_skew_in_one_batch)
{
    cop_txn *first = t_begin(store), *second = t_begin(store);
    cop_value value, zero = cop_i64(0);
    cop_ticket *tickets[2];
    cop_status x, y;

    CHECK_OK(cop_txn_get(first, a, &value));
    CHECK_OK(cop_txn_set(first, b, &zero));
    CHECK_OK(cop_txn_get(second, b, &value));
    CHECK_OK(cop_txn_set(second, a, &zero));
    CHECK_OK(cop_txn_submit(first, &tickets[0]));
    CHECK_OK(cop_txn_submit(second, &tickets[1]));
    CHECK_OK(cop_flush(store, COP_FOREVER));
    x = cop_ticket_poll(tickets[0], NULL);
    y = cop_ticket_poll(tickets[1], NULL);
    CHECK_STATUS(x, COP_OK);
    CHECK_STATUS(y, COP_E_CONFLICT);
    cop_ticket_release(tickets[0]);
    cop_ticket_release(tickets[1]);
    t_is_i64(store, a, 1);
    t_is_i64(store, b, 0);
}
END_TEST

START_TEST(additions_never_conflict)
{
    cop_txn *txns[20];
    cop_value value = cop_i64(1), large = cop_i64(1000);

    for (int i = 0; i < 20; i++) {
        txns[i] = t_begin(store);
        CHECK_OK(cop_txn_add(txns[i], a, &value));
        CHECK_OK(cop_txn_max(txns[i], b, i % 2 ? &large : &value));
    }
    for (int i = 0; i < 20; i++)
        t_commit(txns[i]);
    t_is_i64(store, a, 21);
    t_is_i64(store, b, 1000);
}
END_TEST

START_TEST(an_addition_conflicts_with_a_reader)
{
    cop_txn *txn = t_begin(store), *adder = t_begin(store);
    cop_value value;

    CHECK_OK(cop_txn_get(txn, a, &value));
    CHECK_OK(cop_txn_set(txn, b, &value));
    value = cop_i64(1);
    CHECK_OK(cop_txn_add(adder, a, &value));
    t_commit(adder);
    t_commit_fails(store, txn, COP_E_CONFLICT);
}
END_TEST

/* --- cop_transact ------------------------------------------------------------------------- */

typedef struct attempt {
    int runs;
    int disturbances; /* times that another commit comes between */
    cop_status give_up;
} attempt;

static cop_status
increment(cop_txn *txn, void *context)
{
    attempt *t = context;
    cop_value value;
    cop_status status = cop_txn_get(txn, a, &value);

    if (status != COP_OK)
        return status;
    t->runs++;
    if (t->runs <= t->disturbances)
        t_set(store, a, cop_i64(cop_value_i64(&value) + 100));
    if (t->give_up != COP_OK)
        return t->give_up;
    value = cop_i64(cop_value_i64(&value) + 1);
    return cop_txn_set(txn, a, &value);
}

START_TEST(transact_tries_again)
{
    attempt t = {.disturbances = _i};
    uint64_t version = 0;

    CHECK_OK(cop_transact(store, increment, &t, COP_FOREVER, &version));
    ck_assert_int_eq(t.runs, _i + 1);
    ck_assert_uint_eq(version, cop_store_version(store));
    t_is_i64(store, a, 1 + 100 * _i + 1);
}
END_TEST

START_TEST(transact_gives_back_what_the_function_says)
{
    attempt t = {.give_up = COP_E_RANGE};
    uint64_t version = cop_store_version(store);

    CHECK_STATUS(cop_transact(store, increment, &t, COP_FOREVER, NULL), COP_E_RANGE);
    ck_assert_int_eq(t.runs, 1);
    ck_assert_uint_eq(cop_store_version(store), version);
    t_is_i64(store, a, 1);
}
END_TEST

static cop_status
overflow(cop_txn *txn, void *context)
{
    cop_value most = cop_i64(INT64_MAX);

    (void)context;
    return cop_txn_add(txn, a, &most);
}

START_TEST(transact_does_not_retry_a_failure)
{
    CHECK_STATUS(cop_transact(store, overflow, NULL, COP_FOREVER, NULL), COP_E_RANGE);
    t_is_i64(store, a, 1);
}
END_TEST

static cop_status
too_slow(cop_txn *txn, void *context)
{
    cop_value value;
    cop_status status = cop_txn_get(txn, a, &value);

    (void)context;
    if (status != COP_OK)
        return status;
    t_set(store, a, cop_i64(cop_value_i64(&value) + 1));
    usleep(20000);
    return cop_txn_set_at(txn, P("never"), &value, NULL);
}

START_TEST(transact_has_a_deadline)
{
    cop_atom atom;

    CHECK_STATUS(cop_transact(store, too_slow, NULL, cop_deadline_in_ms(50), NULL), COP_E_TIMEOUT);
    CHECK_STATUS(cop_atom_find(store, P("never"), &atom), COP_E_ABSENT);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, reads_must_hold, 0, (int)(sizeof meetings / sizeof *meetings));
    tcase_add_test(tests, write_skew_is_refused);
    tcase_add_test(tests, write_skew_in_one_batch);
    tcase_add_test(tests, additions_never_conflict);
    tcase_add_test(tests, an_addition_conflicts_with_a_reader);
    tcase_add_loop_test(tests, transact_tries_again, 0, 8);
    tcase_add_test(tests, transact_gives_back_what_the_function_says);
    tcase_add_test(tests, transact_does_not_retry_a_failure);
    tcase_add_test(tests, transact_has_a_deadline);
}

int
main(void)
{
    return t_run("conflicts", add);
}

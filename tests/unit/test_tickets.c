/* SPDX-License-Identifier: MIT */
/* Transactions handed over: their tickets, order, taking back, waiting. */
#include <pthread.h>

#include "tests/support/store_test.h"

static cop_store *store;

static void
setup(void)
{
    store = t_open();
}

static void
teardown(void)
{
    t_close(store);
}

static cop_ticket *
submit_set(const char *path, int64_t i)
{
    cop_txn *txn = t_begin(store);
    cop_value value = cop_i64(i);
    cop_ticket *ticket = NULL;

    CHECK_OK(cop_txn_set_at(txn, P(path), &value, NULL));
    CHECK_OK(cop_txn_submit(txn, &ticket));
    ck_assert_ptr_nonnull(ticket);
    return ticket;
}

START_TEST(submitted_waits_to_be_committed)
{
    cop_ticket *ticket = submit_set("a", 1);
    uint64_t version = 99;
    cop_stats stats = COP_STATS_INIT;

    CHECK_STATUS(cop_ticket_poll(ticket, &version), COP_E_PENDING);
    ck_assert_uint_eq(cop_store_version(store), 0);
    CHECK_OK(cop_stats_take(store, &stats));
    ck_assert_uint_eq(stats.queued, 1);
    CHECK_OK(cop_flush(store, COP_FOREVER));
    CHECK_OK(cop_ticket_poll(ticket, &version));
    ck_assert_uint_eq(version, 1);
    CHECK_OK(cop_ticket_poll(ticket, NULL));
    CHECK_OK(cop_ticket_wait(ticket, 0, &version, NULL));
    ck_assert_uint_eq(version, 1);
    cop_ticket_release(ticket);
}
END_TEST

START_TEST(a_wait_commits)
{
    cop_ticket *ticket = submit_set("a", 1);
    uint64_t version = 0;

    CHECK_OK(cop_ticket_wait(ticket, COP_FOREVER, &version, NULL));
    ck_assert_uint_eq(version, 1);
    ck_assert_uint_eq(cop_store_version(store), 1);
    cop_ticket_release(ticket);
}
END_TEST

START_TEST(commit_takes_what_was_submitted_before)
{
    cop_ticket *ticket = submit_set("a", 1);
    uint64_t version = 0;

    t_set_at(store, "b", cop_i64(1));
    CHECK_OK(cop_ticket_poll(ticket, &version));
    ck_assert_uint_le(version, cop_store_version(store));
    cop_ticket_release(ticket);
}
END_TEST

START_TEST(in_submission_order)
{
    enum { TICKETS = 500 };
    static cop_ticket *tickets[TICKETS];
    uint64_t last = 0, version = 0;

    for (int i = 0; i < TICKETS; i++) {
        tickets[i] = submit_set("a", i);
        if (i % 50 == 49)
            CHECK_OK(cop_store_poll(store));
    }
    CHECK_OK(cop_flush(store, COP_FOREVER));
    for (int i = 0; i < TICKETS; i++) {
        CHECK_OK(cop_ticket_poll(tickets[i], &version));
        ck_assert_uint_ge(version, last);
        last = version;
        cop_ticket_release(tickets[i]);
    }
    t_is_i64(store, t_find(store, "a"), TICKETS - 1);
}
END_TEST

START_TEST(taken_back)
{
    cop_ticket *first = submit_set("a", 1), *second = submit_set("a", 2), *third;

    CHECK_OK(cop_ticket_cancel(first));
    CHECK_OK(cop_flush(store, COP_FOREVER));
    CHECK_STATUS(cop_ticket_poll(first, NULL), COP_E_CANCELLED);
    CHECK_STATUS(cop_ticket_wait(first, COP_FOREVER, NULL, NULL), COP_E_CANCELLED);
    CHECK_OK(cop_ticket_poll(second, NULL));
    CHECK_STATUS(cop_ticket_cancel(second), COP_E_STATE);
    CHECK_OK(cop_ticket_poll(second, NULL));
    t_is_i64(store, t_find(store, "a"), 2);
    ck_assert_uint_eq(cop_store_version(store), 1);
    third = submit_set("a", 3);
    CHECK_OK(cop_ticket_cancel(third));
    cop_ticket_release(third);
    CHECK_OK(cop_flush(store, COP_FOREVER));
    t_is_i64(store, t_find(store, "a"), 2);
    cop_ticket_release(first);
    cop_ticket_release(second);
}
END_TEST

START_TEST(released_early)
{
    cop_ticket_release(NULL);
    cop_ticket_release(submit_set("a", 1));
    CHECK_OK(cop_flush(store, COP_FOREVER));
    t_is_i64(store, t_find(store, "a"), 1);
    cop_ticket_release(submit_set("a", 2)); /* left to close */
}
END_TEST

START_TEST(a_wait_has_a_deadline)
{
    cop_ticket *ticket = submit_set("a", 1);
    cop_status status = cop_ticket_wait(ticket, 0, NULL, NULL);

    /* With nobody else committing even a wait without time may commit; either is told. */
    ck_assert_msg(status == COP_OK || status == COP_E_TIMEOUT, "%s", cop_status_name(status));
    CHECK_STATUS(cop_ticket_poll(ticket, NULL), status == COP_OK ? COP_OK : COP_E_PENDING);
    CHECK_OK(cop_ticket_wait(ticket, COP_FOREVER, NULL, NULL));
    cop_ticket_release(ticket);
}
END_TEST

START_TEST(outcomes_are_told)
{
    cop_atom number = t_make(store, "n", cop_i64(INT64_MAX));
    cop_value one = cop_i64(1), value;
    cop_txn *overflow = t_begin(store), *conflict = t_begin(store), *same = t_begin(store);
    cop_ticket *tickets[3];
    cop_error error = COP_ERROR_INIT;
    uint64_t version = 99;

    CHECK_OK(cop_txn_get(conflict, number, &value));
    CHECK_OK(cop_txn_set_at(conflict, P("c"), &one, NULL));
    t_set(store, number, cop_i64(INT64_MAX - 1));
    t_set(store, number, cop_i64(INT64_MAX));
    CHECK_OK(cop_txn_require_unchanged(conflict, cop_root(), 1));
    CHECK_OK(cop_txn_add(overflow, number, &one));
    value = cop_i64(INT64_MAX);
    CHECK_OK(cop_txn_set(same, number, &value));
    CHECK_OK(cop_txn_submit(overflow, &tickets[0]));
    CHECK_OK(cop_txn_submit(conflict, &tickets[1]));
    CHECK_OK(cop_txn_submit(same, &tickets[2]));
    CHECK_STATUS(cop_ticket_wait(tickets[0], COP_FOREVER, &version, &error), COP_E_RANGE);
    CHECK_STATUS(error.status, COP_E_RANGE);
    ck_assert_msg(error.message[0] != '\0', "a failure without a message");
    CHECK_STATUS(cop_ticket_wait(tickets[1], COP_FOREVER, NULL, &error), COP_E_CONFLICT);
    CHECK_OK(cop_ticket_wait(tickets[2], COP_FOREVER, &version, &error));
    ck_assert_uint_eq(version, 3);
    for (int i = 0; i < 3; i++)
        cop_ticket_release(tickets[i]);
}
END_TEST

START_TEST(real_handles_from_a_ticket)
{
    cop_txn *txn = t_begin(store);
    cop_value value = cop_i64(1), array = cop_array();
    cop_atom provisional[3], real, strange = {12345, 1};
    cop_ticket *ticket, *failed;

    CHECK_OK(cop_txn_create(txn, &value, &provisional[0]));
    CHECK_OK(cop_txn_set_child(txn, cop_root(), P("list"), &array, &provisional[1]));
    CHECK_OK(cop_txn_insert(txn, provisional[1], 0, &value, &provisional[2]));
    CHECK_OK(cop_txn_submit(txn, &ticket));
    CHECK_STATUS(cop_ticket_atom(ticket, provisional[0], &real), COP_E_STATE);
    CHECK_OK(cop_ticket_wait(ticket, COP_FOREVER, NULL, NULL));
    CHECK_OK(cop_ticket_atom(ticket, provisional[0], &real));
    t_is_i64(store, real, 1);
    CHECK_OK(cop_ticket_atom(ticket, provisional[1], &real));
    ck_assert(SAME_ATOM(real, t_find(store, "list")));
    CHECK_OK(cop_ticket_atom(ticket, provisional[2], &real));
    ck_assert(SAME_ATOM(real, t_find(store, "list/0")));
    CHECK_STATUS(cop_ticket_atom(ticket, strange, &real), COP_E_INVALID);
    cop_ticket_release(ticket);

    txn = t_begin(store);
    CHECK_OK(cop_txn_create(txn, &value, &provisional[0]));
    CHECK_OK(cop_txn_erase_at(txn, P("nothing"), NULL));
    CHECK_OK(cop_txn_submit(txn, &failed));
    CHECK_STATUS(cop_ticket_wait(failed, COP_FOREVER, NULL, NULL), COP_E_ABSENT);
    CHECK_STATUS(cop_ticket_atom(failed, provisional[0], &real), COP_E_STATE);
    cop_ticket_release(failed);
}
END_TEST

/* The caller's variables need not outlive a submit: only cop_txn_commit writes to them. */
START_TEST(submit_writes_to_nobody)
{
    cop_txn *txn = t_begin(store);
    cop_value one = cop_i64(1), two = cop_i64(2);
    cop_atom *out = malloc(sizeof *out), atom = t_make(store, "n", one);
    bool *applied = malloc(sizeof *applied);

    CHECK_OK(cop_txn_create(txn, &one, out));
    CHECK_OK(cop_txn_compare_set(txn, atom, &one, &two, applied));
    CHECK_OK(cop_txn_submit(txn, NULL));
    free(out);
    free(applied);
    CHECK_OK(cop_flush(store, COP_FOREVER));
    t_is_i64(store, atom, 2);
}
END_TEST

static void *
wait_for(void *context)
{
    return (void *)(intptr_t)cop_ticket_wait(context, COP_FOREVER, NULL, NULL);
}

START_TEST(many_wait_for_one_ticket_each)
{
    enum { THREADS = 8 };
    pthread_t threads[THREADS];
    cop_ticket *tickets[THREADS];
    void *status;

    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < THREADS; i++)
            tickets[i] = submit_set("a", round * THREADS + i);
        for (int i = 0; i < THREADS; i++)
            ck_assert_int_eq(pthread_create(&threads[i], NULL, wait_for, tickets[i]), 0);
        for (int i = 0; i < THREADS; i++) {
            pthread_join(threads[i], &status);
            CHECK_STATUS((cop_status)(intptr_t)status, COP_OK);
            cop_ticket_release(tickets[i]);
        }
        t_is_i64(store, t_find(store, "a"), round * THREADS + THREADS - 1);
    }
}
END_TEST

START_TEST(batches_apart_on_request)
{
    cop_options options = COP_OPTIONS_INIT;
    cop_store *own = NULL, *shared = store;
    cop_ticket *tickets[5];
    uint64_t version = 0;

    options.batch_updates = false;
    CHECK_OK(cop_store_open(&options, &own, NULL));
    store = own;
    for (int i = 0; i < 5; i++)
        tickets[i] = submit_set("a", i);
    CHECK_OK(cop_flush(own, COP_FOREVER));
    for (int i = 0; i < 5; i++) {
        CHECK_OK(cop_ticket_poll(tickets[i], &version));
        ck_assert_uint_eq(version, (uint64_t)i + 1);
        cop_ticket_release(tickets[i]);
    }
    cop_store_close(own);
    store = shared;
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, submitted_waits_to_be_committed);
    tcase_add_test(tests, a_wait_commits);
    tcase_add_test(tests, commit_takes_what_was_submitted_before);
    tcase_add_test(tests, in_submission_order);
    tcase_add_test(tests, taken_back);
    tcase_add_test(tests, released_early);
    tcase_add_test(tests, a_wait_has_a_deadline);
    tcase_add_test(tests, outcomes_are_told);
    tcase_add_test(tests, real_handles_from_a_ticket);
    tcase_add_test(tests, submit_writes_to_nobody);
    tcase_add_test(tests, many_wait_for_one_ticket_each);
    tcase_add_test(tests, batches_apart_on_request);
}

int
main(void)
{
    return t_run("tickets", add);
}

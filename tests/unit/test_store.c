/* SPDX-License-Identifier: MIT */
/* Opening, closing, waiting, the descriptor. */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include "tests/support/store_test.h"

/* --- open and close ------------------------------------------------------------ */

static unsigned log_destroyed;

static void
destroy_log(void *context)
{
    (void)context;
    log_destroyed++;
}

static void
log_nothing(void *context, cop_log_level level, const char *message)
{
    (void)context;
    (void)level;
    ck_assert_ptr_nonnull(message);
}

START_TEST(open_with_defaults)
{
    cop_store *store = NULL;

    CHECK_OK(cop_store_open(NULL, &store, NULL));
    ck_assert_ptr_nonnull(store);
    ck_assert_uint_eq(cop_store_version(store), 0);
    cop_store_close(store);
    cop_store_close(NULL);
}
END_TEST

START_TEST(open_refuses_bad_options)
{
    cop_options options = COP_OPTIONS_INIT;
    cop_error error = COP_ERROR_INIT;
    cop_store *store = (cop_store *)&options;

    fault_alloc_init(&t_faults);
    options.allocator = fault_alloc_table(&t_faults);
    options.log = log_nothing;
    options.log_destroy = destroy_log;
    options.readers_max = 0;
    CHECK_STATUS(cop_store_open(&options, &store, &error), COP_E_RANGE);
    ck_assert_ptr_null(store);
    ck_assert_int_eq(error.status, COP_E_RANGE);
    ck_assert_msg(strstr(error.message, "readers.max") != NULL, "message: %s", error.message);

    options.readers_max = 1;
    options.size = 3;
    store = (cop_store *)&options;
    CHECK_STATUS(cop_store_open(&options, &store, &error), COP_E_INVALID);
    ck_assert_ptr_null(store);
    ck_assert_uint_eq(log_destroyed, 0);
    ck_assert_uint_eq(atomic_load(&t_faults.destroyed), 0);
    ck_assert_int_eq(atomic_load(&t_faults.blocks), 0);
}
END_TEST

START_TEST(destructors_run_once_and_last)
{
    cop_options options = COP_OPTIONS_INIT;
    const cop_snapshot *held;
    cop_store *store = NULL;

    log_destroyed = 0;
    fault_alloc_init(&t_faults);
    options.allocator = fault_alloc_table(&t_faults);
    options.log = log_nothing;
    options.log_destroy = destroy_log;
    CHECK_OK(cop_store_open(&options, &store, NULL));
    t_set_at(store, "a", cop_i64(1));
    held = t_take(store);
    cop_store_close(store);
    ck_assert_uint_eq(log_destroyed, 0);
    ck_assert_uint_eq(atomic_load(&t_faults.destroyed), 0);
    cop_snapshot_drop(held);
    ck_assert_uint_eq(log_destroyed, 1);
    t_all_released();
}
END_TEST

START_TEST(stores_are_independent)
{
    cop_store *a = NULL, *b = NULL;
    cop_atom atom;

    CHECK_OK(cop_store_open(NULL, &a, NULL));
    CHECK_OK(cop_store_open(NULL, &b, NULL));
    atom = t_make(a, "x", cop_i64(7));
    ck_assert_uint_eq(cop_store_version(b), 0);
    CHECK_STATUS(cop_atom_find(b, P("x"), &atom), COP_E_ABSENT);
    cop_store_close(a);
    t_set_at(b, "y", cop_i64(8));
    t_is_i64(b, t_find(b, "y"), 8);
    cop_store_close(b);
}
END_TEST

START_TEST(open_and_close_many_times)
{
    for (int i = 0; i < 200; i++) {
        cop_store *store = t_open();
        t_set_at(store, "a/b", cop_i64(i));
        t_is_i64(store, t_find(store, "a/b"), i);
        t_close(store);
    }
}
END_TEST

START_TEST(close_commits_what_was_submitted)
{
    cop_store *store = t_open();
    cop_txn *txn = t_begin(store);
    cop_value value = cop_i64(3);
    cop_ticket *ticket = NULL;
    const cop_snapshot *before = t_take(store);
    uint64_t version = 0;

    CHECK_OK(cop_txn_set_at(txn, P("late"), &value, NULL));
    CHECK_OK(cop_txn_submit(txn, &ticket));
    cop_store_close(store);
    CHECK_OK(cop_ticket_poll(ticket, &version));
    ck_assert_uint_eq(version, 1);
    cop_ticket_release(ticket);
    cop_snapshot_drop(before);
    t_all_released();
}
END_TEST

START_TEST(calls_after_close_answer_closing)
{
    cop_store *store = t_open();
    const cop_snapshot *held, *other = NULL;
    cop_reader *reader = NULL;
    cop_txn *txn = NULL;
    cop_stats stats = COP_STATS_INIT;
    cop_atom atom = t_make(store, "a", cop_i64(1));
    int fd = 0;

    held = t_take(store);
    cop_store_close(store);
    ck_assert_ptr_null(cop_pin(store).snapshot);
    CHECK_STATUS(cop_pin_status(), COP_E_CLOSING);
    CHECK_STATUS(cop_snapshot_take(store, &other), COP_E_CLOSING);
    CHECK_STATUS(cop_txn_begin(store, &txn), COP_E_CLOSING);
    CHECK_STATUS(cop_atom_at(store, P("b"), &atom, NULL), COP_E_CLOSING);
    CHECK_STATUS(cop_flush(store, 0), COP_E_CLOSING);
    CHECK_STATUS(cop_wait_version(store, 9, 0), COP_E_CLOSING);
    CHECK_STATUS(cop_stats_take(store, &stats), COP_E_CLOSING);
    CHECK_STATUS(cop_reader_open(store, &reader), COP_E_CLOSING);
    CHECK_STATUS(cop_reader_register(store), COP_E_CLOSING);
    CHECK_STATUS(cop_store_fd(store, &fd), COP_E_CLOSING);
    ck_assert_int_eq(fd, -1);
    CHECK_OK(cop_snapshot_keep(held));
    cop_snapshot_drop(held);
    cop_snapshot_drop(held);
    t_all_released();
}
END_TEST

START_TEST(held_past_close)
{
    cop_store *store = t_open();
    char *text = t_bytes(4096, 1);
    cop_atom atom = t_make(store, "deep/er/x", cop_string(text, 4096));
    const cop_snapshot *first = t_take(store), *second;
    cop_pin_t pin;
    cop_txn *open_txn;
    cop_value value;
    char *dump;

    t_set(store, atom, cop_i64(2));
    second = t_take(store);
    t_erase_at(store, "deep");
    pin = cop_pin(store);
    open_txn = t_begin(store);
    CHECK_OK(cop_txn_set_at(open_txn, P("never"), &(cop_value){.type = COP_NULL}, NULL));
    cop_store_close(store);

    CHECK_OK(cop_get(first, atom, &value));
    ck_assert_uint_eq(cop_value_length(&value), 4096);
    ck_assert_mem_eq(cop_value_data(&value), text, 4096);
    CHECK_OK(cop_get(second, atom, &value));
    ck_assert_int_eq(cop_value_i64(&value), 2);
    CHECK_STATUS(cop_get(pin.snapshot, atom, &value), COP_E_GONE);
    CHECK_STATUS(cop_txn_commit(open_txn, NULL, NULL), COP_E_CLOSING);
    dump = dump_tree(first, 0);
    ck_assert_ptr_nonnull(dump);
    free(dump);

    cop_snapshot_drop(second);
    cop_unpin(pin);
    ck_assert_uint_eq(atomic_load(&t_faults.destroyed), 0);
    cop_snapshot_drop(first);
    t_all_released();
    free(text);
}
END_TEST

/* A transaction keeps a store that was closed, whichever thread began it, and whichever ends it. */

static cop_txn *passed;

static void *
begins(void *store)
{
    cop_txn_cancel(t_begin(store)); /* from now on the thread is known */
    passed = t_begin(store);
    return NULL;
}

static void *
ends(void *closed)
{
    (void)closed;
    CHECK_STATUS(cop_txn_commit(passed, NULL, NULL), COP_E_CLOSING);
    return NULL;
}

static void
on(bool another, void *(*step)(void *), cop_store *store)
{
    pthread_t thread;
    if (!another) {
        (void)step(store);
        return;
    }
    ck_assert_int_eq(pthread_create(&thread, NULL, step, store), 0);
    pthread_join(thread, NULL);
}

START_TEST(a_transaction_outlives_close)
{
    cop_store *store = t_open();
    on((_i & 1) != 0, begins, store);
    cop_store_close(store);
    ck_assert_uint_eq(atomic_load(&t_faults.destroyed), 0);
    on((_i & 2) != 0, ends, store);
    t_all_released();
}
END_TEST

/* --- atoms by path ----------------------------------------------------------------- */

START_TEST(atom_at_makes_once)
{
    cop_store *store = t_open();
    cop_atom a = COP_ATOM_NONE_INIT, b = COP_ATOM_NONE_INIT;
    cop_pin_t pin;
    cop_value value;

    CHECK_OK(cop_atom_at(store, P("host/mem/free"), &a, NULL));
    ck_assert_uint_eq(cop_store_version(store), 1);
    CHECK_OK(cop_atom_at(store, P("host/mem/free"), &b, NULL));
    ck_assert_uint_eq(cop_store_version(store), 1);
    ck_assert(SAME_ATOM(a, b));
    pin = cop_pin(store);
    CHECK_OK(cop_get(pin.snapshot, a, &value));
    ck_assert_int_eq(cop_value_type(&value), COP_NULL);
    CHECK_OK(cop_get_at(pin.snapshot, P("host/mem"), &value));
    ck_assert_int_eq(cop_value_type(&value), COP_OBJECT);
    cop_unpin(pin);
    CHECK_OK(cop_atom_at(store, P(""), &a, NULL));
    ck_assert(SAME_ATOM(a, cop_root()));
    t_verify(store);
    t_close(store);
}
END_TEST

START_TEST(atom_at_refuses)
{
    cop_store *store = t_open();
    cop_error error = COP_ERROR_INIT;
    cop_atom atom;
    char *longest = t_bytes(COP_PATH_MAX + 1, 3);

    CHECK_STATUS(cop_atom_at(store, P("a//b"), &atom, &error), COP_E_PATH);
    ck_assert_uint_eq(error.position, 2);
    CHECK_STATUS(cop_atom_at(store, P("/a"), &atom, &error), COP_E_PATH);
    ck_assert_uint_eq(error.position, 0);
    CHECK_STATUS(cop_atom_at(store, P("a~9"), &atom, &error), COP_E_PATH);
    CHECK_STATUS(cop_atom_at(store, longest, COP_PATH_MAX + 1, &atom, &error), COP_E_LIMIT);
    CHECK_OK(cop_atom_at(store, longest, COP_PATH_MAX, &atom, &error));
    t_set_at(store, "leaf", cop_i64(1));
    CHECK_STATUS(cop_atom_at(store, P("leaf/below"), &atom, &error), COP_E_NOT_BRANCH);
    ck_assert_msg(error.message[0] != '\0', "no message");
    t_set_at(store, "list", cop_array());
    CHECK_STATUS(cop_atom_at(store, P("list/5"), &atom, &error), COP_E_RANGE);
    CHECK_OK(cop_atom_at(store, P("list/-"), &atom, &error));
    CHECK_OK(cop_atom_at(store, P("list/0"), &atom, &error));
    free(longest);
    t_close(store);
}
END_TEST

START_TEST(atom_find_refuses)
{
    cop_store *store = t_open();
    char *longest = t_bytes(COP_PATH_MAX + 1, 3);
    cop_atom atom = t_make(store, "a/b", cop_i64(1));

    CHECK_STATUS(cop_atom_find(store, P("a/c"), &atom), COP_E_ABSENT);
    CHECK_STATUS(cop_atom_find(store, P("a/b/c"), &atom), COP_E_ABSENT);
    CHECK_STATUS(cop_atom_find(store, P("a/"), &atom), COP_E_PATH);
    CHECK_STATUS(cop_atom_find(store, longest, COP_PATH_MAX + 1, &atom), COP_E_LIMIT);
    CHECK_OK(cop_atom_find(store, P("a"), &atom));
    CHECK_OK(cop_atom_find(store, P(""), &atom));
    ck_assert(SAME_ATOM(atom, cop_root()));
    free(longest);
    t_close(store);
}
END_TEST

/* --- how readers are seen ----------------------------------------------------------- */

START_TEST(membarrier_can_be_switched_off)
{
    cop_stats stats = COP_STATS_INIT;
    cop_options options = COP_OPTIONS_INIT;
    cop_store *store;

    options.readers_membarrier = 0;
    CHECK_OK(cop_store_open(&options, &store, NULL));
    CHECK_OK(cop_stats_take(store, &stats));
    ck_assert_uint_eq(stats.membarrier, 0);
    cop_store_close(store);
}
END_TEST

/* --- waiting ------------------------------------------------------------------------ */

static void *
commit_soon(void *context)
{
    usleep(30000);
    t_set_at(context, "soon", cop_i64(1));
    return NULL;
}

START_TEST(wait_version_waits)
{
    cop_store *store = t_open();
    pthread_t thread;
    uint64_t start = cop_deadline_in_ms(0);

    CHECK_OK(cop_wait_version(store, 0, 0));
    CHECK_STATUS(cop_wait_version(store, 1, 0), COP_E_TIMEOUT);
    CHECK_STATUS(cop_wait_version(store, 1, cop_deadline_in_ms(30)), COP_E_TIMEOUT);
    ck_assert_uint_ge(cop_deadline_in_ms(0), start + 30000000);
    ck_assert_int_eq(pthread_create(&thread, NULL, commit_soon, store), 0);
    CHECK_OK(cop_wait_version(store, 1, COP_FOREVER));
    ck_assert_uint_eq(cop_store_version(store), 1);
    pthread_join(thread, NULL);
    t_close(store);
}
END_TEST

START_TEST(deadlines)
{
    uint64_t now = cop_deadline_in_ms(0), later = cop_deadline_in_ms(1000);

    ck_assert_uint_ge(later, now + UINT64_C(1000000000));
    ck_assert_uint_lt(later, now + UINT64_C(61000000000));
    ck_assert_uint_eq(cop_deadline_in_ms(UINT64_MAX), COP_FOREVER);
    ck_assert_uint_eq(cop_deadline_in_ms(UINT64_MAX / 1000000), COP_FOREVER);
}
END_TEST

static void
submit_set(cop_store *store, const char *path, int64_t i)
{
    cop_txn *txn = t_begin(store);
    cop_value value = cop_i64(i);

    CHECK_OK(cop_txn_set_at(txn, P(path), &value, NULL));
    CHECK_OK(cop_txn_submit(txn, NULL));
}

static bool
readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, 0) == 1 && (p.revents & POLLIN);
}

START_TEST(flush_commits_what_waits)
{
    cop_store *store = t_open();

    CHECK_OK(cop_flush(store, COP_FOREVER));
    ck_assert_uint_eq(cop_store_version(store), 0);
    submit_set(store, "a", 1);
    submit_set(store, "b", 2);
    ck_assert_uint_eq(cop_store_version(store), 0);
    CHECK_OK(cop_flush(store, cop_deadline_in_ms(10000)));
    ck_assert_uint_ge(cop_store_version(store), 1);
    t_is_i64(store, t_find(store, "a"), 1);
    t_is_i64(store, t_find(store, "b"), 2);
    t_close(store);
}
END_TEST

START_TEST(descriptor_tells_of_work)
{
    cop_store *store = t_open();
    int fd = -1, again = -1;

    CHECK_OK(cop_store_fd(store, &fd));
    CHECK_OK(cop_store_fd(store, &again));
    ck_assert_int_eq(fd, again);
    CHECK_OK(cop_store_poll(store));
    ck_assert(!readable(fd));
    for (int i = 1; i <= 3; i++) {
        submit_set(store, "a", i);
        ck_assert(readable(fd));
        CHECK_OK(cop_store_poll(store));
        ck_assert(!readable(fd));
        t_is_i64(store, t_find(store, "a"), i);
    }
    submit_set(store, "a", 9);
    CHECK_OK(cop_flush(store, COP_FOREVER));
    CHECK_OK(cop_store_poll(store));
    ck_assert(!readable(fd));
    t_close(store);
}
END_TEST

START_TEST(descriptor_made_after_submit)
{
    cop_store *store = t_open();
    int fd = -1;

    submit_set(store, "a", 1);
    CHECK_OK(cop_store_fd(store, &fd));
    ck_assert(readable(fd));
    CHECK_OK(cop_store_poll(store));
    t_is_i64(store, t_find(store, "a"), 1);
    t_close(store);
}
END_TEST

/* A host without standard input gets 0, which is as good as any. */
START_TEST(descriptor_zero)
{
    int input = dup(STDIN_FILENO), fd = -1, again = -1;
    cop_store *store = t_open();

    (void)close(STDIN_FILENO);
    submit_set(store, "a", 1);
    CHECK_OK(cop_store_fd(store, &fd));
    CHECK_OK(cop_store_fd(store, &again));
    ck_assert_int_eq(fd, 0);
    ck_assert_int_eq(again, 0);
    for (int i = 1; i <= 3; i++) {
        ck_assert(readable(fd));
        CHECK_OK(cop_store_poll(store));
        ck_assert(!readable(fd));
        submit_set(store, "a", i);
    }
    t_close(store);
    ck_assert_int_eq(fcntl(0, F_GETFD), -1);
    if (input >= 0) {
        ck_assert_int_eq(dup2(input, STDIN_FILENO), STDIN_FILENO);
        (void)close(input);
    }
}
END_TEST

/* What is refused leaves no ticket. */
START_TEST(a_refused_submission_has_no_ticket)
{
    cop_store *store = t_open();
    cop_txn *first, *second;
    cop_ticket *ticket = (cop_ticket *)(void *)&store;

    CHECK_OK(cop_txn_begin(store, &first));
    CHECK_OK(cop_txn_begin(store, &second));
    cop_store_close(store);
    CHECK_STATUS(cop_txn_submit(first, &ticket), COP_E_CLOSING);
    ck_assert_ptr_null(ticket);
    CHECK_STATUS(cop_txn_submit(second, NULL), COP_E_CLOSING);
    t_all_released();
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_test(tests, open_with_defaults);
    tcase_add_test(tests, open_refuses_bad_options);
    tcase_add_test(tests, destructors_run_once_and_last);
    tcase_add_test(tests, stores_are_independent);
    tcase_add_test(tests, open_and_close_many_times);
    tcase_add_test(tests, close_commits_what_was_submitted);
    tcase_add_test(tests, calls_after_close_answer_closing);
    tcase_add_test(tests, held_past_close);
    tcase_add_loop_test(tests, a_transaction_outlives_close, 0, 4);
    tcase_add_test(tests, atom_at_makes_once);
    tcase_add_test(tests, atom_at_refuses);
    tcase_add_test(tests, atom_find_refuses);
    tcase_add_test(tests, membarrier_can_be_switched_off);
    tcase_add_test(tests, wait_version_waits);
    tcase_add_test(tests, deadlines);
    tcase_add_test(tests, flush_commits_what_waits);
    tcase_add_test(tests, descriptor_tells_of_work);
    tcase_add_test(tests, descriptor_made_after_submit);
    tcase_add_test(tests, descriptor_zero);
    tcase_add_test(tests, a_refused_submission_has_no_ticket);
}

int
main(void)
{
    return t_run("store", add);
}

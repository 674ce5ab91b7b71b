/* SPDX-License-Identifier: MIT */
/* A forked child is answered COP_E_FORKED; a thread that exits while pinning is cleaned up after. */
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/store_test.h"

/* --- fork ----------------------------------------------------------------------------- */

typedef struct kept {
    cop_store *store;
    cop_atom atom;
    cop_pin_t pin;
    const cop_snapshot *snapshot;
    cop_reader *reader;
    cop_txn *txn;
    cop_ticket *ticket;
} kept;

static int wrong_answers;

#define FORKED(expression)                                                          \
    do {                                                                            \
        cop_status got_ = (expression);                                             \
        if (got_ != COP_E_FORKED) {                                                 \
            fprintf(stderr, "child: %s: %s\n", #expression, cop_status_name(got_)); \
            wrong_answers++;                                                        \
        }                                                                           \
    } while (0)

static int
no_child(void *context, const cop_child *child)
{
    (void)context;
    (void)child;
    wrong_answers++;
    return 0;
}

static int
no_run(void *context, const cop_atom *atoms, const cop_value *values, size_t n)
{
    (void)context;
    (void)atoms;
    (void)values;
    (void)n;
    wrong_answers++;
    return 0;
}

static cop_status
no_function(cop_txn *txn, void *context)
{
    (void)txn;
    (void)context;
    wrong_answers++;
    return COP_OK;
}

static void
child_asks_the_store(const kept *k)
{
    cop_atom atom;
    cop_stats stats = COP_STATS_INIT;
    cop_txn *txn = NULL;
    cop_reader *reader = NULL;
    const cop_snapshot *snapshot = NULL;
    int fd;

    FORKED(cop_pin(k->store).snapshot == NULL ? cop_pin_status() : COP_OK);
    FORKED(cop_reader_pin(k->reader).snapshot == NULL ? cop_pin_status() : COP_OK);
    FORKED(cop_reader_register(k->store));
    FORKED(cop_reader_open(k->store, &reader));
    FORKED(cop_snapshot_take(k->store, &snapshot));
    FORKED(cop_flush(k->store, COP_FOREVER));
    FORKED(cop_store_fd(k->store, &fd));
    FORKED(cop_store_poll(k->store));
    FORKED(cop_wait_version(k->store, 99, COP_FOREVER));
    FORKED(cop_atom_at(k->store, P("a"), &atom, NULL));
    FORKED(cop_atom_find(k->store, P("a"), &atom));
    FORKED(cop_stats_take(k->store, &stats));
    FORKED(cop_txn_begin(k->store, &txn));
    FORKED(cop_transact(k->store, no_function, NULL, COP_FOREVER, NULL));
}

static void
child_reads(const kept *k, const cop_snapshot *snapshot)
{
    cop_rope *rope;
    cop_value value;
    cop_atom atom = k->atom;
    cop_cursor cursor;
    uint32_t count;
    uint64_t version;
    char path[16];
    size_t length;
    int64_t integer;

    FORKED(cop_get(snapshot, k->atom, &value));
    FORKED(cop_get_many(snapshot, &atom, 1, &value));
    FORKED(cop_get_i64(snapshot, k->atom, &integer));
    FORKED(cop_find(snapshot, P("a"), &atom));
    FORKED(cop_get_at(snapshot, P("a"), &value));
    FORKED(cop_each(snapshot, cop_root(), no_child, NULL, NULL));
    FORKED(cop_cursor_open(snapshot, cop_root(), &cursor));
    FORKED(cop_count(snapshot, cop_root(), &count));
    FORKED(cop_child_at(snapshot, cop_root(), 0, &atom));
    FORKED(cop_child_named(snapshot, cop_root(), P("a"), &atom));
    FORKED(cop_changed(snapshot, cop_root(), &version));
    FORKED(cop_parent(snapshot, k->atom, &atom));
    FORKED(cop_atom_path(snapshot, k->atom, path, sizeof path, &length));
    FORKED(cop_scan(snapshot, no_run, NULL));
    FORKED(cop_json_rope(snapshot, cop_root(), &rope));
    FORKED(cop_snapshot_keep(snapshot));
}

static void
child_goes_on_with_transactions(const kept *k)
{
    cop_value value = cop_i64(1);

    FORKED(cop_txn_set(k->txn, k->atom, &value));
    FORKED(cop_txn_get(k->txn, k->atom, &value));
    FORKED(cop_txn_commit(k->txn, NULL, NULL));
    FORKED(cop_ticket_poll(k->ticket, NULL));
    FORKED(cop_ticket_wait(k->ticket, COP_FOREVER, NULL, NULL));
    FORKED(cop_ticket_cancel(k->ticket));
}

static void
child(const kept *k)
{
    alarm(20);
    child_asks_the_store(k);
    child_reads(k, k->pin.snapshot);
    child_reads(k, k->snapshot);
    child_goes_on_with_transactions(k);
    cop_unpin(k->pin);
    cop_snapshot_drop(k->snapshot);
    cop_reader_close(k->reader);
    cop_ticket_release(k->ticket);
    cop_store_close(k->store);
    t_exit_child(wrong_answers == 0 ? 0 : 1);
}

static kept
keep_everything(void)
{
    kept k = {.store = t_open()};
    cop_value value = cop_i64(2);
    cop_txn *txn;

    k.atom = t_make(k.store, "a", cop_i64(1));
    k.pin = cop_pin(k.store);
    k.snapshot = t_take(k.store);
    CHECK_OK(cop_reader_open(k.store, &k.reader));
    txn = t_begin(k.store);
    CHECK_OK(cop_txn_set(txn, k.atom, &value));
    CHECK_OK(cop_txn_submit(txn, &k.ticket));
    k.txn = t_begin(k.store);
    return k;
}

static void
wait_for_child(pid_t pid)
{
    int status = 0;

    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status), "the child ended by signal %d", WTERMSIG(status));
    ck_assert_int_eq(WEXITSTATUS(status), 0);
}

START_TEST(a_forked_child_is_told_so)
{
    kept k = keep_everything();
    int64_t value;
    pid_t pid;

    fflush(NULL);
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0)
        child(&k);
    wait_for_child(pid);
    /* The parent goes on as if nothing had been. */
    CHECK_STATUS(cop_ticket_poll(k.ticket, NULL), COP_E_PENDING);
    CHECK_OK(cop_ticket_wait(k.ticket, COP_FOREVER, NULL, NULL));
    CHECK_OK(cop_get_i64(k.pin.snapshot, k.atom, &value));
    ck_assert_int_eq(value, 1);
    CHECK_OK(cop_get_i64(k.snapshot, k.atom, &value));
    ck_assert_int_eq(value, 1);
    t_is_i64(k.store, k.atom, 2);
    cop_txn_cancel(k.txn);
    cop_ticket_release(k.ticket);
    cop_unpin(k.pin);
    cop_snapshot_drop(k.snapshot);
    cop_reader_close(k.reader);
    t_close(k.store);
}
END_TEST

START_TEST(a_child_may_open_its_own)
{
    cop_store *store = t_open();
    pid_t pid;

    t_set_at(store, "a", cop_i64(1));
    fflush(NULL);
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        cop_store *own = NULL;
        cop_atom atom;
        alarm(20);
        if (cop_store_open(NULL, &own, NULL) != COP_OK ||
            cop_atom_at(own, P("mine"), &atom, NULL) != COP_OK || cop_store_version(own) != 1 ||
            cop_pin(own).snapshot == NULL)
            _exit(1);
        cop_store_close(store);
        _exit(0);
    }
    wait_for_child(pid);
    t_is_i64(store, t_find(store, "a"), 1);
    t_close(store);
}
END_TEST

/* --- threads that exit ------------------------------------------------------------------- */

static _Atomic unsigned warnings;

static void
count_warnings(void *context, cop_log_level level, const char *message)
{
    (void)context;
    if (level >= COP_LOG_WARNING && strchr(message, '\n') == NULL)
        atomic_fetch_add(&warnings, 1);
}

typedef struct visitor {
    cop_store *store;
    int pins, unpins;
} visitor;

static void *
visit(void *context)
{
    visitor *v = context;
    cop_pin_t pins[COP_PINS_MAX];

    for (int i = 0; i < v->pins; i++) {
        pins[i] = cop_pin(v->store);
        if (pins[i].snapshot == NULL)
            abort();
    }
    for (int i = 0; i < v->unpins; i++)
        cop_unpin(pins[i]);
    return NULL;
}

static void
run_visitor(cop_store *store, int pins, int unpins)
{
    visitor v = {store, pins, unpins};
    pthread_t thread;

    ck_assert_int_eq(pthread_create(&thread, NULL, visit, &v), 0);
    pthread_join(thread, NULL);
}

static cop_store *
open_logging(void)
{
    cop_options options = COP_OPTIONS_INIT;
    cop_store *store = NULL;

    atomic_store(&warnings, 0);
    fault_alloc_init(&t_faults);
    options.allocator = fault_alloc_table(&t_faults);
    options.log = count_warnings;
    options.readers_max = 8;
    CHECK_OK(cop_store_open(&options, &store, NULL));
    return store;
}

START_TEST(an_exit_while_pinning_is_counted)
{
    cop_store *store = open_logging();
    cop_stats stats = COP_STATS_INIT;
    cop_atom atom = t_make(store, "a", cop_i64(1));

    run_visitor(store, 3, 3);
    CHECK_OK(cop_stats_take(store, &stats));
    ck_assert_uint_eq(stats.pins_leaked, 0);
    ck_assert_uint_eq(atomic_load(&warnings), 0);
    run_visitor(store, 3, 1);
    CHECK_OK(cop_stats_take(store, &stats));
    ck_assert_uint_eq(stats.pins_leaked, 2);
    ck_assert_uint_ge(atomic_load(&warnings), 1);
    t_set(store, atom, cop_i64(2));
    t_set(store, atom, cop_i64(3));
    CHECK_OK(cop_stats_take(store, &stats));
    ck_assert_uint_eq(stats.held_versions, 0);
    t_close(store);
}
END_TEST

START_TEST(slots_come_back)
{
    cop_store *store = open_logging();
    cop_stats stats = COP_STATS_INIT;

    for (int i = 0; i < 500; i++)
        run_visitor(store, i % 5, i % 7 == 0 ? 0 : i % 5);
    CHECK_OK(cop_stats_take(store, &stats));
    ck_assert_uint_le(stats.readers, 1);
    ck_assert_uint_gt(stats.pins_leaked, 0);
    t_close(store);
}
END_TEST

static void *
leave_open(void *context)
{
    cop_pin_t *pin = context;

    cop_unpin(*pin);
    return NULL;
}

/* A store closed while another thread is registered is freed no later than that thread's end. */
START_TEST(closed_while_others_are_registered)
{
    for (int i = 0; i < 100; i++) {
        cop_store *store = open_logging();
        pthread_t thread;
        cop_reader *reader;
        cop_pin_t pin;
        t_set_at(store, "a", cop_i64(i));
        CHECK_OK(cop_reader_open(store, &reader));
        pin = cop_reader_pin(reader);
        run_visitor(store, 1, 1);
        cop_store_close(store);
        ck_assert_int_eq(pthread_create(&thread, NULL, leave_open, &pin), 0);
        pthread_join(thread, NULL);
        cop_reader_close(reader);
        t_all_released();
    }
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_test(tests, a_forked_child_is_told_so);
    tcase_add_test(tests, a_child_may_open_its_own);
    tcase_add_test(tests, an_exit_while_pinning_is_counted);
    tcase_add_test(tests, slots_come_back);
    tcase_add_test(tests, closed_while_others_are_registered);
}

int
main(void)
{
    return t_run("fork_exit", add);
}

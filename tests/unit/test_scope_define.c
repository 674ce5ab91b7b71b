/* SPDX-License-Identifier: MIT */
/* options.scope of computed atoms, reducers and groups: they are disposed of with the scope. */
#include "tests/support/store_test.h"

#include <coppice/effect.h>
#include <coppice/reduce.h>

#include <pthread.h>
#include <stdatomic.h>

static _Atomic unsigned destroyed;

static void
count_destroyed(void *context)
{
    (void)context;
    destroyed++;
}

static cop_status
read_source(cop_evaluation *e, void *context, cop_value *result)
{
    (void)context;
    return cop_read_at(e, "n", 1, result);
}

static cop_status
emit_one(cop_evaluation *e, void *context, cop_value *result)
{
    const cop_value one = cop_i64(1);
    (void)context;
    (void)result;
    return cop_emit(e, "one", 3, &one);
}

static cop_scope *
open_scope(cop_scope *parent)
{
    cop_scope *scope;
    CHECK_OK(cop_scope_open(parent, &scope));
    return scope;
}

static cop_computed_options
under(cop_scope *scope)
{
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    options.scope = scope;
    options.destroy = count_destroyed;
    return options;
}

static cop_status
define(cop_store *store, const char *path, cop_scope *scope, cop_error *error)
{
    cop_computed_options options = under(scope);
    return cop_computed_define(store, P(path), read_source, NULL, &options, NULL, error);
}

static uint32_t
children(cop_store *store, const char *path)
{
    uint32_t count = 0;
    cop_pin_t pin = cop_pin(store);
    cop_atom branch;
    CHECK_OK(cop_find(pin.snapshot, P(path), &branch));
    CHECK_OK(cop_count(pin.snapshot, branch, &count));
    cop_unpin(pin);
    return count;
}

static cop_store *
open_store(void)
{
    cop_store *store = t_open();
    t_set_at(store, "n", cop_i64(1));
    t_set_at(store, "s", cop_object());
    destroyed = 0;
    return store;
}

START_TEST(every_kind_goes_with_its_scope)
{
    cop_store *store = open_store();
    cop_scope *outer = open_scope(NULL), *scope = open_scope(outer);
    cop_computed_options options = under(scope);
    cop_reduce_options reduce = COP_REDUCE_OPTIONS_INIT;
    reduce.scope = scope;
    reduce.destroy = count_destroyed;

    CHECK_OK(define(store, "s/eager", scope, NULL));
    options.kind = COP_LAZY;
    CHECK_OK(cop_computed_define(store, P("s/lazy"), read_source, NULL, &options, NULL, NULL));
    options.kind = COP_BACKGROUND;
    CHECK_OK(
        cop_computed_define(store, P("s/background"), read_source, NULL, &options, NULL, NULL));
    options.kind = COP_EAGER;
    options.branch = true;
    CHECK_OK(cop_computed_define(store, P("s/branch"), emit_one, NULL, &options, NULL, NULL));
    CHECK_OK(cop_reduce_define(store, P("s/sum"), P("x/*"), COP_REDUCE_SUM, &reduce, NULL, NULL));
    CHECK_OK(cop_group_define(store, P("s/group"), P("x/*"), "key", "value", COP_REDUCE_SUM,
                              &reduce, NULL, NULL));
    ck_assert_uint_eq(children(store, "s"), 6);
    cop_scope_dispose(outer);
    ck_assert_uint_eq(children(store, "s"), 0);
    CHECK_OK(cop_effects_settle(store, cop_deadline_in_ms(10000)));
    t_set_at(store, "n", cop_i64(2));
    ck_assert_uint_eq(destroyed, 6);
    t_close(store);
}
END_TEST

START_TEST(a_disposed_scope_refuses)
{
    cop_store *store = open_store();
    cop_scope *scope = open_scope(NULL);
    cop_error error = COP_ERROR_INIT;

    cop_scope_keep(scope);
    cop_scope_dispose(scope);
    CHECK_STATUS(define(store, "s/x", scope, &error), COP_E_STATE);
    ck_assert_str_eq(error.message, "options.scope: it is disposed");
    cop_scope_drop(scope);
    ck_assert_uint_eq(children(store, "s"), 0);
    ck_assert_uint_eq(destroyed, 0);
    t_close(store);
}
END_TEST

/* What a transaction did not define is not the scope's, though somebody else defines it. */
START_TEST(what_was_not_defined_is_left_alone)
{
    cop_store *store = open_store();
    cop_scope *scope = open_scope(NULL);
    cop_computed_options options = under(scope);
    cop_error error = COP_ERROR_INIT;
    cop_txn *txn = t_begin(store);

    CHECK_OK(cop_txn_define(txn, P("s/cancelled"), read_source, NULL, &options, NULL, NULL));
    cop_txn_cancel(txn);
    txn = t_begin(store);
    CHECK_OK(cop_txn_define(txn, P("s/failed"), read_source, NULL, &options, NULL, NULL));
    CHECK_OK(cop_txn_erase_at(txn, P("nothing"), NULL));
    t_commit_fails(store, txn, COP_E_ABSENT);
    CHECK_OK(define(store, "s/cancelled", NULL, NULL));
    CHECK_OK(define(store, "s/failed", NULL, NULL));
    CHECK_STATUS(define(store, "s/failed", scope, &error), COP_E_STATE);
    ck_assert_str_eq(
        error.message,
        "operation 0, define s/failed: the object is not in a state that allows this call");
    cop_scope_dispose(scope);
    ck_assert_uint_eq(children(store, "s"), 2);
    ck_assert_uint_eq(destroyed, 0);
    t_close(store);
}
END_TEST

START_TEST(disposed_before_the_commit)
{
    cop_store *store = open_store();
    cop_scope *scope = open_scope(NULL);
    cop_computed_options options = under(scope);
    cop_value two = cop_i64(2);
    cop_txn *txn = t_begin(store);
    cop_ticket *ticket;

    CHECK_OK(cop_txn_set_at(txn, P("n"), &two, NULL));
    CHECK_OK(cop_txn_define(txn, P("s/x"), read_source, NULL, &options, NULL, NULL));
    CHECK_OK(cop_txn_submit(txn, &ticket));
    cop_scope_dispose(scope);
    CHECK_STATUS(cop_ticket_wait(ticket, COP_FOREVER, NULL, NULL), COP_E_STATE);
    cop_ticket_release(ticket);
    ck_assert_uint_eq(children(store, "s"), 0);
    t_is_i64(store, t_find(store, "n"), 1);
    t_close(store);
}
END_TEST

/* A draft that is abandoned after the definition was applied gives it another handle. */
START_TEST(applied_twice)
{
    cop_store *store = open_store();
    cop_scope *scope = open_scope(NULL);
    cop_computed_options options = under(scope);
    cop_txn *first = t_begin(store), *second = t_begin(store), *last = t_begin(store);

    CHECK_OK(cop_txn_define(first, P("s/x"), read_source, NULL, &options, NULL, NULL));
    CHECK_OK(cop_txn_submit(first, NULL));
    CHECK_OK(cop_txn_define(second, P("s/y"), read_source, NULL, &options, NULL, NULL));
    CHECK_OK(cop_txn_erase_at(second, P("nothing"), NULL));
    CHECK_OK(cop_txn_submit(second, NULL));
    CHECK_OK(cop_txn_define(last, P("s/z"), read_source, NULL, &options, NULL, NULL));
    CHECK_OK(cop_txn_submit(last, NULL));
    CHECK_OK(cop_flush(store, COP_FOREVER));
    ck_assert_uint_eq(children(store, "s"), 2);
    cop_scope_dispose(scope);
    ck_assert_uint_eq(children(store, "s"), 0);
    ck_assert_uint_eq(destroyed, 2);
    t_close(store);
}
END_TEST

START_TEST(a_scope_may_outlive_the_store)
{
    cop_store *store = open_store();
    cop_scope *scope = open_scope(NULL);

    CHECK_OK(define(store, "s/x", scope, NULL));
    cop_store_close(store);
    cop_scope_dispose(scope);
    ck_assert_uint_eq(destroyed, 1);
    t_all_released();
}
END_TEST

enum { ROUNDS = 400 };

static cop_scope *shared;
static pthread_barrier_t barrier;

static void *
disposer(void *context)
{
    for (unsigned i = 0; i < ROUNDS; i++) {
        pthread_barrier_wait(&barrier);
        for (unsigned volatile spin = 0; spin < i * 37 % 4001; spin++)
            ;
        cop_scope_dispose(shared);
        pthread_barrier_wait(&barrier);
    }
    return context;
}

/* One defines while another disposes of the scope: in any order nothing is left. */
START_TEST(defined_and_disposed_at_once)
{
    cop_store *store = open_store();
    pthread_t thread;
    unsigned defined = 0, refused = 0;

    pthread_barrier_init(&barrier, NULL, 2);
    ck_assert_int_eq(pthread_create(&thread, NULL, disposer, NULL), 0);
    for (unsigned i = 0; i < ROUNDS; i++) {
        shared = open_scope(NULL);
        cop_scope_keep(shared);
        pthread_barrier_wait(&barrier);
        cop_status status = define(store, "s/x", shared, NULL);
        ck_assert(status == COP_OK || status == COP_E_STATE);
        defined += status == COP_OK;
        refused += status == COP_E_STATE;
        pthread_barrier_wait(&barrier);
        cop_scope_drop(shared);
        ck_assert_uint_eq(children(store, "s"), 0);
    }
    pthread_join(thread, NULL);
    pthread_barrier_destroy(&barrier);
    ck_assert_uint_eq(defined + refused, ROUNDS);
    t_set_at(store, "n", cop_i64(2));
    ck_assert_uint_eq(destroyed, defined);
    t_close(store);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_test(tests, every_kind_goes_with_its_scope);
    tcase_add_test(tests, a_disposed_scope_refuses);
    tcase_add_test(tests, what_was_not_defined_is_left_alone);
    tcase_add_test(tests, disposed_before_the_commit);
    tcase_add_test(tests, applied_twice);
    tcase_add_test(tests, a_scope_may_outlive_the_store);
    tcase_add_test(tests, defined_and_disposed_at_once);
}

int
main(void)
{
    return t_run("scope_define", add);
}

/* SPDX-License-Identifier: MIT */
/* Background atoms: evaluated after publication, published later, saying from which version. */
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include <coppice/effect.h>

#include "commit/background.h"
#include "graph/lazy.h"
#include "tests/support/store_test.h"

static cop_store *store;
static cop_atom a;
static _Atomic int runs, destroyed, inside, overlapped;

static void
setup(void)
{
    store = t_open();
    a = t_make(store, "a", cop_i64(1));
    atomic_store(&runs, 0);
    atomic_store(&destroyed, 0);
    atomic_store(&overlapped, 0);
}

static void
teardown(void)
{
    t_close(store);
}

static void
count_destroyed(void *context)
{
    (void)context;
    atomic_fetch_add(&destroyed, 1);
}

static cop_atom
define_with(const char *path, cop_computed_function function, void *context,
            cop_computed_options options)
{
    cop_error error = COP_ERROR_INIT;
    cop_atom atom;
    options.destroy = count_destroyed;
    cop_status status = cop_computed_define(store, path, path != NULL ? strlen(path) : 0, function,
                                            context, &options, &atom, &error);
    ck_assert_msg(status == COP_OK, "define: %s: %s", cop_status_name(status), error.message);
    return atom;
}

static cop_atom
background(const char *path, cop_computed_function function, void *context)
{
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    options.kind = COP_BACKGROUND;
    return define_with(path, function, context, options);
}

static cop_status
twice(cop_evaluation *evaluation, void *context, cop_value *result)
{
    int64_t value;
    atomic_fetch_add(&runs, 1);
    cop_status status = cop_read_i64(evaluation, *(cop_atom *)context, &value);
    *result = cop_i64(2 * value);
    return status;
}

static uint64_t
serve(void)
{
    uint64_t results;
    CHECK_OK(cop__background_run(store, 0, &results));
    return results;
}

static void
check_now(cop_atom atom, int64_t value, uint64_t origin)
{
    const cop_snapshot *snapshot = t_take(store);
    int64_t got;
    uint64_t from;
    CHECK_OK(cop_get_i64(snapshot, atom, &got));
    ck_assert_int_eq(got, value);
    CHECK_OK(cop_computed_origin(snapshot, atom, &from));
    ck_assert_uint_eq(from, origin);
    cop_snapshot_drop(snapshot);
}

/* --- when it runs, and what it says --------------------------------------------------------- */

START_TEST(it_is_null_and_of_no_version_until_its_first_result)
{
    cop_atom d = background("d", twice, &a);
    const cop_snapshot *snapshot = t_take(store);
    cop_value value;
    uint64_t origin = 7;
    CHECK_OK(cop_get(snapshot, d, &value));
    ck_assert_int_eq(value.type, COP_NULL);
    CHECK_OK(cop_computed_origin(snapshot, d, &origin));
    ck_assert_uint_eq(origin, 0);
    ck_assert_int_eq(runs, 0);
    uint64_t version = cop_store_version(store);
    ck_assert_uint_eq(serve(), 1);
    ck_assert_uint_eq(cop_store_version(store), version + 1);
    check_now(d, 2, version);
    CHECK_OK(cop_computed_origin(snapshot, d, &origin));
    ck_assert_uint_eq(origin, 0); /* an old version says what it said */
    cop_snapshot_drop(snapshot);
}
END_TEST

START_TEST(a_commit_does_not_run_it_and_polling_does)
{
    cop_atom d = background("d", twice, &a);
    t_set(store, a, cop_i64(3));
    ck_assert_int_eq(runs, 0);
    CHECK_OK(cop_store_poll(store));
    ck_assert_int_eq(runs, 1);
    t_is_i64(store, d, 6);
}
END_TEST

START_TEST(the_descriptor_says_that_something_is_due)
{
    int fd;
    CHECK_OK(cop_store_fd(store, &fd));
    background("d", twice, &a);
    for (int round = 0; round < 3; round++) {
        struct pollfd ready = {fd, POLLIN, 0};
        t_set(store, a, cop_i64(round + 10));
        ck_assert_int_eq(poll(&ready, 1, 0), 1);
        int polls = 0;
        while (poll(&ready, 1, 0) == 1) {
            CHECK_OK(cop_store_poll(store));
            ck_assert_int_lt(polls++, 10);
        }
    }
    ck_assert_int_eq(runs, 3);
}
END_TEST

START_TEST(versions_in_between_may_be_passed_over_the_last_never)
{
    cop_atom d = background("d", twice, &a);
    uint64_t version = 0;
    for (int i = 0; i < 100; i++)
        version = t_set(store, a, cop_i64(i));
    ck_assert_uint_eq(serve(), 1);
    ck_assert_int_eq(runs, 1);
    check_now(d, 198, version);
}
END_TEST

START_TEST(nothing_runs_when_its_inputs_are_unchanged)
{
    cop_atom d = background("d", twice, &a), other = t_make(store, "other", cop_i64(0));
    serve();
    uint64_t version = cop_store_version(store);
    for (int i = 1; i < 20; i++) {
        t_set(store, other, cop_i64(i));
        ck_assert_uint_eq(serve(), 0);
    }
    ck_assert_int_eq(runs, 1);
    check_now(d, 2, version - 1);
}
END_TEST

static cop_status
parity(cop_evaluation *evaluation, void *context, cop_value *result)
{
    int64_t value;
    (void)context;
    atomic_fetch_add(&runs, 1);
    cop_status status = cop_read_i64(evaluation, a, &value);
    *result = cop_i64(value & 1);
    return status;
}

START_TEST(an_equal_result_makes_no_version)
{
    cop_atom p = background("p", parity, NULL);
    serve();
    uint64_t first = cop_store_version(store) - 1, version = t_set(store, a, cop_i64(3));
    ck_assert_uint_eq(serve(), 0);
    ck_assert_int_eq(runs, 2);
    ck_assert_uint_eq(cop_store_version(store), version);
    check_now(p, 1, first);
}
END_TEST

static bool
close_enough(void *context, const cop_value *before, const cop_value *value)
{
    (void)context;
    return llabs((long long)(cop_value_i64(before) - cop_value_i64(value))) < 10;
}

START_TEST(an_equality_of_its_own_counts)
{
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    options.kind = COP_BACKGROUND;
    options.equal = close_enough;
    cop_atom d = define_with("d", twice, &a, options);
    ck_assert_uint_eq(serve(), 1);
    t_set(store, a, cop_i64(4));
    ck_assert_uint_eq(serve(), 0);
    t_is_i64(store, d, 2);
    t_set(store, a, cop_i64(6));
    ck_assert_uint_eq(serve(), 1);
    t_is_i64(store, d, 12);
}
END_TEST

static cop_status
nothing(cop_evaluation *evaluation, void *context, cop_value *result)
{
    cop_value value;
    (void)context;
    *result = cop_null();
    return cop_read(evaluation, a, &value);
}

START_TEST(null_is_a_result_too)
{
    cop_atom n = background("n", nothing, NULL);
    uint64_t version = cop_store_version(store), origin;
    ck_assert_uint_eq(serve(), 1);
    ck_assert_uint_eq(cop_store_version(store), version + 1);
    const cop_snapshot *snapshot = t_take(store);
    CHECK_OK(cop_computed_origin(snapshot, n, &origin));
    ck_assert_uint_eq(origin, version);
    cop_snapshot_drop(snapshot);
    ck_assert_uint_eq(serve(), 0);
}
END_TEST

static cop_status
fails(cop_evaluation *evaluation, void *context, cop_value *result)
{
    int64_t value;
    (void)context;
    cop_status status = cop_read_i64(evaluation, a, &value);
    if (status == COP_OK && value < 0)
        return cop_fail(evaluation, "negative, which is more than it can bear");
    *result = cop_i64(value);
    return status;
}

START_TEST(errors_are_values)
{
    cop_atom f = background("f", fails, NULL);
    cop_value value;
    t_set(store, a, cop_i64(-1));
    serve();
    cop_pin_t pin = cop_pin(store);
    CHECK_OK(cop_get(pin.snapshot, f, &value));
    ck_assert_int_eq(value.type, COP_ERROR);
    ck_assert_int_eq(memcmp(cop_value_data(&value), "negative, which", 15), 0);
    cop_unpin(pin);
    t_set(store, a, cop_i64(2));
    serve();
    t_is_i64(store, f, 2);
}
END_TEST

/* --- what changes while it runs ------------------------------------------------------------- */

static pthread_barrier_t barrier;

static cop_status
slow_twice(cop_evaluation *evaluation, void *context, cop_value *result)
{
    cop_status status = twice(evaluation, context, result);
    if (runs == 1) {
        pthread_barrier_wait(&barrier); /* the other thread commits now */
        pthread_barrier_wait(&barrier);
    }
    return status;
}

static void *
serve_in_thread(void *context)
{
    CHECK_OK(cop__background_run(store, (uint64_t)(uintptr_t)context, NULL));
    return NULL;
}

START_TEST(a_result_of_inputs_that_have_changed_is_published_and_it_runs_again)
{
    pthread_t thread;
    cop_atom d = background("d", slow_twice, &a);
    uint64_t saw = cop_store_version(store);
    pthread_barrier_init(&barrier, NULL, 2);
    pthread_create(&thread, NULL, serve_in_thread, (void *)(uintptr_t)1);
    pthread_barrier_wait(&barrier);
    uint64_t changed = t_set(store, a, cop_i64(50)); /* commits are not held up */
    pthread_barrier_wait(&barrier);
    pthread_join(thread, NULL);
    check_now(d, 2, saw);
    ck_assert_uint_eq(serve(), 1);
    check_now(d, 100, changed + 1);
    pthread_barrier_destroy(&barrier);
}
END_TEST

START_TEST(disposed_of_while_it_runs)
{
    pthread_t thread;
    cop_atom d = background("d", slow_twice, &a);
    pthread_barrier_init(&barrier, NULL, 2);
    pthread_create(&thread, NULL, serve_in_thread, NULL);
    pthread_barrier_wait(&barrier);
    CHECK_OK(cop_computed_dispose(store, d));
    ck_assert_int_eq(destroyed, 0); /* its function is running */
    pthread_barrier_wait(&barrier);
    pthread_join(thread, NULL);
    CHECK_STATUS(t_status(store, d), COP_E_GONE);
    t_set(store, a, cop_i64(9));
    ck_assert_int_eq(destroyed, 1);
    pthread_barrier_destroy(&barrier);
}
END_TEST

static cop_status
never_twice_at_once(cop_evaluation *evaluation, void *context, cop_value *result)
{
    if (atomic_fetch_add(&inside, 1) > 0)
        atomic_store(&overlapped, 1);
    usleep(100);
    cop_status status = twice(evaluation, context, result);
    atomic_fetch_sub(&inside, 1);
    return status;
}

static void *
serve_often(void *context)
{
    (void)context;
    for (int i = 0; i < 200; i++)
        CHECK_OK(cop__background_run(store, 0, NULL));
    return NULL;
}

START_TEST(threads_that_serve_do_not_run_one_twice_at_once)
{
    pthread_t thread[3];
    cop_atom d = background("d", never_twice_at_once, &a);
    for (int i = 0; i < 3; i++)
        pthread_create(&thread[i], NULL, serve_often, NULL);
    for (int i = 0; i < 200; i++)
        t_set(store, a, cop_i64(i));
    for (int i = 0; i < 3; i++)
        pthread_join(thread[i], NULL);
    serve();
    t_is_i64(store, d, 398);
    ck_assert_int_eq(overlapped, 0);
}
END_TEST

/* --- with others ---------------------------------------------------------------------------- */

START_TEST(others_read_it_as_any_atom)
{
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    cop_atom d = background("d", twice, &a);
    cop_atom e = define_with("e", twice, &d, options);
    options.kind = COP_LAZY;
    cop_atom l = define_with("l", twice, &d, options), above = background("above", twice, &l);
    ck_assert_uint_eq(serve(), 3); /* above began with an error: d was null */
    t_is_i64(store, e, 4);
    t_is_i64(store, l, 4);
    t_is_i64(store, above, 8);
    uint64_t origin;
    const cop_snapshot *snapshot = t_take(store);
    CHECK_OK(cop_computed_origin(snapshot, e, &origin));
    ck_assert_uint_eq(origin, cop_snapshot_version(snapshot));
    CHECK_OK(cop_computed_origin(snapshot, l, &origin));
    ck_assert_uint_eq(origin, cop_snapshot_version(snapshot));
    CHECK_STATUS(cop_computed_origin(snapshot, a, &origin), COP_E_STATE);
    CHECK_STATUS(cop_computed_origin(snapshot, (cop_atom){99999, 1}, &origin), COP_E_GONE);
    cop_snapshot_drop(snapshot);
}
END_TEST

START_TEST(nobody_else_may_write_it)
{
    cop_atom d = background("d", twice, &a);
    cop_txn *txn = t_begin(store);
    cop_value value = cop_i64(0);
    CHECK_OK(cop_txn_set(txn, d, &value));
    t_commit_fails(store, txn, COP_E_COMPUTED);
}
END_TEST

static cop_atom fed;

static cop_status
feeds_itself(cop_evaluation *evaluation, void *context, cop_value *result)
{
    cop_value value;
    (void)context;
    cop_status status = cop_read(evaluation, fed, &value);
    *result = cop_i64(value.type == COP_I64 ? cop_value_i64(&value) + 1 : 0);
    return status;
}

START_TEST(one_that_feeds_itself_does_not_keep_the_thread)
{
    fed = background("fed", feeds_itself, NULL);
    ck_assert_uint_eq(serve(), 64);
    uint64_t results;
    CHECK_OK(cop__background_run(store, 5, &results));
    ck_assert_uint_eq(results, 5);
}
END_TEST

static cop_status
serves(cop_evaluation *evaluation, void *context, cop_value *result)
{
    (void)evaluation;
    (void)context;
    *result = cop_i64(cop__background_run(store, 0, NULL));
    return COP_OK;
}

START_TEST(serving_is_refused_inside_a_function)
{
    cop_atom s = background("s", serves, NULL);
    serve();
    t_is_i64(store, s, COP_E_IN_EVALUATION);
}
END_TEST

START_TEST(it_owns_no_branch)
{
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    options.branch = true;
    for (int kind = COP_LAZY; kind <= COP_BACKGROUND; kind++) {
        options.kind = (cop_computed_kind)kind;
        CHECK_STATUS(cop_computed_define(store, P("x"), twice, &a, &options, NULL, NULL),
                     COP_E_INVALID);
    }
}
END_TEST

static int64_t effect_saw;

static cop_status
look(cop_evaluation *evaluation, void *context)
{
    return cop_read_i64(evaluation, *(cop_atom *)context, &effect_saw);
}

START_TEST(who_runs_effects_serves_it_and_effects_see_the_result)
{
    cop_atom d = background("d", twice, &a);
    cop_effect effect;
    uint64_t ran;
    CHECK_OK(cop_effect_open(store, look, &d, NULL, &effect, NULL));
    CHECK_OK(cop_effects_run(store, NULL, 0, &ran));
    ck_assert_uint_eq(ran, 2);
    ck_assert_int_eq(effect_saw, 2);
    t_set(store, a, cop_i64(8));
    CHECK_OK(cop_effects_settle(store, COP_FOREVER));
    ck_assert_int_eq(effect_saw, 16);
    cop_effect_close(store, effect);
}
END_TEST

START_TEST(workers_of_a_pool_serve_it)
{
    cop_pool *pool;
    cop_pool_options options = COP_POOL_OPTIONS_INIT;
    options.threads = 2;
    CHECK_OK(cop_pool_open(&options, &pool, NULL));
    CHECK_OK(cop_store_set_pool(store, pool));
    cop_atom d = background("d", twice, &a);
    for (int i = 0; i < 50; i++) {
        t_set(store, a, cop_i64(i));
        for (int waits = 0;; waits++) {
            cop_pin_t pin = cop_pin(store);
            cop_value value;
            CHECK_OK(cop_get(pin.snapshot, d, &value));
            cop_unpin(pin);
            if (value.type == COP_I64 && cop_value_i64(&value) == 2 * i)
                break;
            ck_assert_int_lt(waits, 20000);
            usleep(500);
        }
    }
    CHECK_OK(cop_store_set_pool(store, NULL));
    cop_pool_close(pool);
}
END_TEST

/* --- many versions, the end, memory --------------------------------------------------------- */

START_TEST(each_held_version_says_where_its_value_came_from)
{
    cop_atom d = background("d", twice, &a);
    const cop_snapshot *held[10];
    uint64_t origin, from[10];
    for (int i = 0; i < 10; i++) {
        from[i] = t_set(store, a, cop_i64(i + 100));
        serve();
        held[i] = t_take(store);
    }
    for (int i = 0; i < 3000; i++) { /* scans come between */
        t_set(store, a, cop_i64(i));
        serve();
    }
    for (int i = 0; i < 10; i++) {
        CHECK_OK(cop_computed_origin(held[i], d, &origin));
        ck_assert_uint_eq(origin, from[i]);
        cop_snapshot_drop(held[i]);
    }
    const cop__lazies *all = store->graph.lazies;
    ck_assert_uint_lt(all->background->origin_count, 3000);
}
END_TEST

START_TEST(it_ends_like_any_atom)
{
    cop_atom d = background("d", twice, &a);
    serve();
    const cop_snapshot *held = t_take(store);
    CHECK_OK(cop_computed_dispose(store, d));
    ck_assert_uint_eq(serve(), 0);
    uint64_t origin;
    CHECK_OK(cop_computed_origin(held, d, &origin));
    ck_assert_uint_gt(origin, 0);
    ck_assert_int_eq(destroyed, 0);
    cop_snapshot_drop(held);
    ck_assert_int_eq(destroyed, 1);
    background(NULL, twice, &a);
    cop_store_close(store);
    ck_assert_int_eq(destroyed, 2);
    store = t_open();
}
END_TEST

START_TEST(they_end_in_any_order)
{
    static const int order[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    cop_atom d[3];
    for (int i = 0; i < 3; i++)
        d[i] = background(NULL, twice, &a);
    for (int gone = 0; gone < 3; gone++) {
        runs = 0;
        t_set(store, a, cop_i64(10 + gone));
        serve();
        ck_assert_int_eq(runs, 3 - gone);
        CHECK_OK(cop_computed_dispose(store, d[order[_i][gone]]));
        CHECK_OK(cop_flush(store, COP_FOREVER));
        ck_assert_int_eq(destroyed, gone + 1);
    }
}
END_TEST

START_TEST(without_memory_it_stays_due)
{
    cop_atom d = background("d", twice, &a);
    bool refused = false;
    for (int k = 0, done = 0; !done; k++) {
        ck_assert_int_lt(k, 200);
        t_set(store, a, cop_i64(k + 1000));
        atomic_store(&store->memory->fail_countdown, k);
        cop_status status = cop__background_run(store, 0, NULL);
        done = atomic_load(&store->memory->fail_countdown) > 0;
        atomic_store(&store->memory->fail_countdown, -1);
        if (status != COP_OK)
            CHECK_STATUS(status, COP_E_MEMORY);
        refused |= status != COP_OK;
        t_graph_holds(store, 100, false);
        serve();
        t_is_i64(store, d, 2 * (k + 1000));
    }
    ck_assert(refused);
}
END_TEST

static void
memory_gone(bool gone)
{
    atomic_store(&store->memory->fail_for_ever, gone);
    atomic_store(&store->memory->fail_countdown, gone ? 0 : -1);
}

/* The first run leaves no memory for its result. */
static cop_status
twice_without_memory(cop_evaluation *evaluation, void *context, cop_value *result)
{
    cop_status status = twice(evaluation, context, result);
    if (atomic_load(&runs) == 1)
        memory_gone(true);
    return status;
}

START_TEST(without_memory_the_descriptor_stays_readable)
{
    struct pollfd ready = {.events = POLLIN};
    CHECK_OK(cop_store_fd(store, &ready.fd));
    cop_atom d = background("d", twice_without_memory, &a);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(poll(&ready, 1, 0), 1);
        CHECK_STATUS(cop_store_poll(store), COP_E_MEMORY);
    }
    memory_gone(false);
    ck_assert_int_eq(poll(&ready, 1, 0), 1);
    CHECK_OK(cop_store_poll(store));
    t_is_i64(store, d, 2);
}
END_TEST

START_TEST(workers_without_memory_come_again)
{
    cop_pool *pool;
    cop_pool_options options = COP_POOL_OPTIONS_INIT;
    cop_value value = cop_null();
    options.threads = 1;
    CHECK_OK(cop_pool_open(&options, &pool, NULL));
    CHECK_OK(cop_store_set_pool(store, pool));
    cop_atom d = background("d", twice_without_memory, &a);
    usleep(30000);
    memory_gone(false);
    for (int waits = 0; value.type == COP_NULL; waits++) {
        cop_pin_t pin = cop_pin(store);
        CHECK_OK(cop_get(pin.snapshot, d, &value));
        cop_unpin(pin);
        ck_assert_int_lt(waits, 20000);
        usleep(500);
    }
    ck_assert_int_eq(cop_value_i64(&value), 2);
    CHECK_OK(cop_store_set_pool(store, NULL));
    cop_pool_close(pool);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, it_is_null_and_of_no_version_until_its_first_result);
    tcase_add_test(tests, a_commit_does_not_run_it_and_polling_does);
    tcase_add_test(tests, the_descriptor_says_that_something_is_due);
    tcase_add_test(tests, versions_in_between_may_be_passed_over_the_last_never);
    tcase_add_test(tests, nothing_runs_when_its_inputs_are_unchanged);
    tcase_add_test(tests, an_equal_result_makes_no_version);
    tcase_add_test(tests, an_equality_of_its_own_counts);
    tcase_add_test(tests, null_is_a_result_too);
    tcase_add_test(tests, errors_are_values);
    tcase_add_test(tests, a_result_of_inputs_that_have_changed_is_published_and_it_runs_again);
    tcase_add_test(tests, disposed_of_while_it_runs);
    tcase_add_test(tests, threads_that_serve_do_not_run_one_twice_at_once);
    tcase_add_test(tests, others_read_it_as_any_atom);
    tcase_add_test(tests, nobody_else_may_write_it);
    tcase_add_test(tests, one_that_feeds_itself_does_not_keep_the_thread);
    tcase_add_test(tests, serving_is_refused_inside_a_function);
    tcase_add_test(tests, it_owns_no_branch);
    tcase_add_test(tests, who_runs_effects_serves_it_and_effects_see_the_result);
    tcase_add_test(tests, workers_of_a_pool_serve_it);
    tcase_add_test(tests, each_held_version_says_where_its_value_came_from);
    tcase_add_test(tests, it_ends_like_any_atom);
    tcase_add_loop_test(tests, they_end_in_any_order, 0, 6);
    tcase_add_test(tests, without_memory_the_descriptor_stays_readable);
    tcase_add_test(tests, workers_without_memory_come_again);
    tcase_add_test(tests, without_memory_it_stays_due);
}

int
main(void)
{
    return t_run("background", add);
}

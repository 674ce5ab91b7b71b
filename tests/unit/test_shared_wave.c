/* SPDX-License-Identifier: MIT */
/* Levels that are shared with a pool: the same results as on one thread, also without memory. */
#include <time.h>

#include <coppice/effect.h>

#include "base/base.h"
#include "tests/support/store_test.h"
#include "workers/region.h"

#define NODES 192
#define TRIES 400 /* waves, until some are shared */

static cop_store *store;
static cop_pool *pool;
static cop_atom selector, source[2], node[NODES], above[NODES];
static uint32_t draws;

static uint32_t
draw(uint32_t n)
{
    draws = draws * 1664525u + 1013904223u;
    return (draws >> 8) % n;
}

/* Dear enough to be shared. */
static void
spend_time(void)
{
    uint64_t begin = cop__clock_ns();

    while (cop__clock_ns() - begin < 2000)
        ;
}

static uint64_t
regions(void)
{
    cop_pool_stats stats;

    cop_pool_stats_take(pool, &stats);
    return stats.regions;
}

static cop_status
set(cop_atom atom, int64_t number)
{
    cop_value value = cop_i64(number);
    cop_txn *txn;
    cop_status status = cop_txn_begin(store, &txn);

    if (status != COP_OK)
        return status;
    status = cop_txn_set(txn, atom, &value);
    if (status == COP_OK)
        return cop_txn_commit(txn, NULL, NULL);
    cop_txn_cancel(txn);
    return status;
}

static void
open_all(void)
{
    cop_pool_options options = COP_POOL_OPTIONS_INIT;

    store = t_open();
    options.threads = 2;
    CHECK_OK(cop_pool_open(&options, &pool, NULL));
    CHECK_OK(cop_atom_at(store, P("selector"), &selector, NULL));
    CHECK_OK(cop_atom_at(store, P("a"), &source[0], NULL));
    CHECK_OK(cop_atom_at(store, P("b"), &source[1], NULL));
    CHECK_OK(set(selector, 0));
    CHECK_OK(set(source[0], 1));
    CHECK_OK(set(source[1], 2));
    CHECK_OK(cop_store_set_pool(store, pool));
}

static void
close_all(void)
{
    t_close(store);
    cop_pool_close(pool);
}

static int64_t
number_of(const cop_snapshot *snapshot, cop_atom atom)
{
    cop_value value;

    CHECK_OK(cop_get(snapshot, atom, &value));
    ck_assert_uint_eq(value.type, COP_I64);
    return cop_value_i64(&value);
}

/* --- a function that is sent away ----------------------------------------------------------------- */

/* Whatever keeps it from finding the path, but what has to be handed on, counts as absence. */
static cop_status
read_on(cop_evaluation *evaluation, void *context, cop_value *result)
{
    int64_t number;
    cop_value value;
    cop_status status = cop_read_i64(evaluation, selector, &number);

    (void)context;
    if (status != COP_OK)
        return status;
    spend_time();
    *result = cop_i64(number);
    if (number % 2 == 0)
        return COP_OK;
    status = cop_read_at(evaluation, P("b"), &value);
    if (status == COP_E_PENDING || status == COP_E_CYCLE)
        return status;
    *result = cop_i64(status == COP_OK ? cop_value_i64(&value) : -1);
    return COP_OK;
}

START_TEST(who_reads_by_path_for_the_first_time_runs_alone)
{
    unsigned shared = 0;
    const cop_snapshot *snapshot;

    open_all();
    for (int i = 0; i < NODES; i++)
        CHECK_OK(cop_computed_define(store, NULL, 0, read_on, NULL, NULL, &node[i], NULL));
    for (int64_t i = 2; i < 2 * TRIES && shared < 3; i += 2) {
        uint64_t before = regions();
        CHECK_OK(set(selector, i));
        shared = regions() > before ? shared + 1 : 0;
    }
    CHECK_OK(set(selector, 2 * TRIES + 1));
    CHECK_OK(cop_snapshot_take(store, &snapshot));
    for (int i = 0; i < NODES; i++)
        ck_assert_int_eq(number_of(snapshot, node[i]), 2);
    cop_snapshot_drop(snapshot);
    close_all();
}
END_TEST

/* --- circles -------------------------------------------------------------------------------------- */

/* By the selector alone, or by its neighbour of the same height, which reads it. */
static cop_status
read_neighbour(cop_evaluation *evaluation, void *context, cop_value *result)
{
    int64_t number;
    size_t i = (size_t)((cop_atom *)context - node);
    cop_status status = cop_read_i64(evaluation, selector, &number);

    if (status == COP_OK && number % 2 != 0)
        status = cop_read_i64(evaluation, node[i ^ 1], &number);
    *result = cop_i64(number);
    return status;
}

/* Each pair comes to be a circle in the same level of the same wave. */
START_TEST(all_circles_of_a_level_are_settled)
{
    cop_value value;
    const cop_snapshot *snapshot;

    open_all();
    cop__region_always = true;
    for (int i = 0; i < NODES; i++)
        CHECK_OK(cop_computed_define(store, NULL, 0, read_neighbour, &node[i], NULL, &node[i], NULL));
    for (int64_t number = 1; number < 9; number++) {
        CHECK_OK(set(selector, number));
        CHECK_OK(cop_snapshot_take(store, &snapshot));
        for (int i = 0; i < NODES; i++) {
            CHECK_OK(cop_get(snapshot, node[i], &value));
            ck_assert_int_eq(value.type, number % 2 != 0 ? COP_ERROR : COP_I64);
        }
        cop_snapshot_drop(snapshot);
    }
    cop__region_always = false;
    ck_assert_uint_gt(regions(), 0);
    close_all();
}
END_TEST

/* --- out of memory -------------------------------------------------------------------------------- */

/* Each follows a source of its own choice. */
static int64_t
expected(int64_t chosen, const int64_t *numbers, int i)
{
    return 1000 * numbers[chosen >> (i % 7) & 1] + i;
}

static cop_status
follow(cop_evaluation *evaluation, void *context, cop_value *result)
{
    int i = (int)((cop_atom *)context - node);
    int64_t chosen, numbers[2];
    cop_status status = cop_read_i64(evaluation, selector, &chosen);

    if (status != COP_OK)
        return status;
    spend_time();
    unsigned k = (unsigned)(chosen >> (i % 7) & 1);
    status = cop_read_i64(evaluation, source[k], &numbers[k]);
    if (status == COP_OK)
        *result = cop_i64(expected(chosen, numbers, i));
    return status;
}

static cop_status
add_one(cop_evaluation *evaluation, void *context, cop_value *result)
{
    int64_t number;
    cop_status status = cop_read_i64(evaluation, *(cop_atom *)context, &number);

    if (status == COP_OK)
        *result = cop_i64(number + 1);
    return status;
}

static void
check_all(void)
{
    const cop_snapshot *snapshot;

    CHECK_OK(cop_snapshot_take(store, &snapshot));
    int64_t chosen = number_of(snapshot, selector);
    int64_t numbers[2] = {number_of(snapshot, source[0]), number_of(snapshot, source[1])};
    for (int i = 0; i < NODES; i++) {
        ck_assert_int_eq(number_of(snapshot, node[i]), expected(chosen, numbers, i));
        ck_assert_int_eq(number_of(snapshot, above[i]), expected(chosen, numbers, i) + 1);
    }
    cop_snapshot_drop(snapshot);
    t_graph_holds(store, 5000, false);
}

START_TEST(nothing_is_missed_after_a_wave_without_memory)
{
    draws = 1 + (uint32_t)_i;
    open_all();
    for (int i = 0; i < NODES; i++)
        CHECK_OK(cop_computed_define(store, NULL, 0, follow, &node[i], NULL, &node[i], NULL));
    for (int i = 0; i < NODES; i++)
        CHECK_OK(cop_computed_define(store, NULL, 0, add_one, &node[i], NULL, &above[i], NULL));
    for (int i = 0; i < 40; i++) {
        if (i == 1) /* the first that may be shared: each of its requests in turn */
            fault_alloc_arm(&t_faults, 1 + _i, false);
        else if (i > 1 && draw(2))
            fault_alloc_arm(&t_faults, 1 + draw(draw(2) ? 12 : 300), draw(2));
        uint32_t what = draw(3);
        cop_status status = set(what < 2 ? source[what] : selector, draw(2048));
        fault_alloc_disarm(&t_faults);
        ck_assert(status == COP_OK || status == COP_E_MEMORY);
        check_all();
    }
    close_all();
}
END_TEST

/* --- what lanes change -------------------------------------------------------------------------- */

enum { BRANCHES = NODES };

static int64_t
bit_of(int64_t chosen, int64_t i)
{
    return chosen >> (i % 11) & 1;
}

/* One bit of the selector; of every seventh, a text in place of 1. */
static cop_status
one_bit(cop_evaluation *evaluation, void *context, cop_value *result)
{
    int64_t chosen, i = (int64_t)((cop_atom *)context - above);
    cop_status status = cop_read_i64(evaluation, selector, &chosen);

    spend_time();
    if (status == COP_OK)
        *result = i % 7 == 0 && bit_of(chosen, i) ? cop_string(P("a text too long for a slot"))
                                                  : cop_i64(bit_of(chosen, i));
    return status;
}

/* Each node stands in a branch of its own, which has changed in the versions in which the node has. */
START_TEST(branches_know_what_lanes_have_changed)
{
    static cop_atom branch[BRANCHES];
    uint64_t changed[BRANCHES], version;
    int64_t before = 0;
    char path[32];

    open_all();
    cop__region_always = true;
    for (int i = 0; i < BRANCHES; i++) {
        snprintf(path, sizeof path, "n/%d/v", i);
        CHECK_OK(cop_computed_define(store, P(path), one_bit, &above[i], NULL, &node[i], NULL));
        path[strlen(path) - 2] = '\0';
        branch[i] = t_find(store, path);
    }
    for (int i = 0; i < BRANCHES; i++)
        changed[i] = 0;
    for (int round = 0; round < 25; round++) {
        uint64_t shared = regions();
        int64_t chosen = draw(2048);
        CHECK_OK(set(selector, chosen));
        version = cop_store_version(store);
        const cop_snapshot *snapshot = t_take(store);
        for (int i = 0; i < BRANCHES; i++) {
            uint64_t at = 0;
            bool differs = bit_of(chosen, i) != bit_of(before, i);
            CHECK_OK(cop_changed(snapshot, branch[i], &at));
            if (differs)
                ck_assert_uint_eq(at, version);
            else if (changed[i] != 0)
                ck_assert_uint_eq(at, changed[i]);
            changed[i] = at;
        }
        cop_snapshot_drop(snapshot);
        if (round > 0 && chosen != before)
            ck_assert_uint_gt(regions(), shared);
        before = chosen;
        t_graph_holds(store, 5000, true);
    }
    cop__region_always = false;
    close_all();
}
END_TEST

/* --- a pool without threads ----------------------------------------------------------------------- */

static void
open_without_threads(void)
{
    cop_pool_options options = COP_POOL_OPTIONS_INIT;

    store = t_open();
    options.threads = 0;
    CHECK_OK(cop_pool_open(&options, &pool, NULL));
    CHECK_OK(cop_atom_at(store, P("a"), &source[0], NULL));
    CHECK_OK(set(source[0], 1));
    CHECK_OK(cop_store_set_pool(store, pool));
}

static cop_status
note(cop_evaluation *evaluation, void *context)
{
    int64_t number;
    cop_status status = cop_read_i64(evaluation, source[0], &number);

    if (status == COP_OK)
        atomic_store((_Atomic int64_t *)context, number);
    return status;
}

static void
wait_for(_Atomic int64_t *saw, int64_t number)
{
    uint64_t end = cop__clock_ns() + UINT64_C(60000000000);

    while (atomic_load(saw) != number && cop__clock_ns() < end)
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    ck_assert_int_eq(atomic_load(saw), number);
}

START_TEST(what_was_due_without_threads_is_served_by_the_first)
{
    _Atomic int64_t saw = 0;
    cop_effect effect;

    open_without_threads();
    CHECK_OK(cop_effect_open(store, note, &saw, NULL, &effect, NULL));
    CHECK_OK(cop_effects_run(store, NULL, 0, NULL));
    ck_assert_int_eq(atomic_load(&saw), 1);
    for (int64_t i = 2; i < 6; i++) {
        CHECK_OK(set(source[0], i));
        ck_assert_int_eq(atomic_load(&saw), i - 1); /* nobody has come */
        CHECK_OK(cop_pool_resize(pool, 1 + (uint32_t)i % 2));
        wait_for(&saw, i);
        CHECK_OK(cop_pool_resize(pool, 0));
    }
    CHECK_OK(cop_store_set_pool(store, NULL));
    CHECK_OK(set(source[0], 9));
    CHECK_OK(cop_pool_resize(pool, 1)); /* a pool that it has left */
    ck_assert_int_eq(atomic_load(&saw), 5);
    CHECK_OK(cop_pool_resize(pool, 0));
    close_all();
}
END_TEST

static cop_status
twice(cop_evaluation *evaluation, void *context, cop_value *result)
{
    int64_t number;
    cop_status status = cop_read_i64(evaluation, source[0], &number);

    (void)context;
    if (status == COP_OK)
        *result = cop_i64(2 * number);
    return status;
}

START_TEST(a_background_atom_is_served_by_the_first_thread)
{
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    _Atomic int64_t now = 0;
    int64_t number;

    open_without_threads();
    options.kind = COP_BACKGROUND;
    CHECK_OK(cop_computed_define(store, P("twice"), twice, NULL, &options, &node[0], NULL));
    CHECK_OK(set(source[0], 21));
    CHECK_OK(cop_pool_resize(pool, 1));
    for (int i = 0; i < 60000 && atomic_load(&now) != 42; i++) {
        cop_pin_t pin = cop_pin(store);
        if (cop_get_i64(pin.snapshot, node[0], &number) == COP_OK)
            atomic_store(&now, number);
        cop_unpin(pin);
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
    ck_assert_int_eq(atomic_load(&now), 42);
    CHECK_OK(cop_pool_resize(pool, 0)); /* and nobody is in the store any more */
    close_all();
}
END_TEST

static _Atomic int64_t tasks_run;

static void
count_task(void *context)
{
    (void)context;
    atomic_fetch_add(&tasks_run, 1);
}

static cop_status
submit_within(cop_evaluation *evaluation, void *context, cop_value *result)
{
    int64_t number;
    cop_status status = cop_read_i64(evaluation, source[0], &number);

    (void)context;
    if (status != COP_OK)
        return status;
    *result = cop_i64(cop_pool_submit(pool, count_task, NULL));
    return COP_OK;
}

static int64_t
value_now(cop_atom atom)
{
    cop_pin_t pin = cop_pin(store);
    int64_t number = number_of(pin.snapshot, atom);
    cop_unpin(pin);
    return number;
}

START_TEST(no_task_runs_within_an_evaluation)
{
    open_without_threads();
    atomic_store(&tasks_run, 0);
    CHECK_OK(cop_computed_define(store, NULL, 0, submit_within, NULL, NULL, &node[0], NULL));
    ck_assert_int_eq(value_now(node[0]), COP_E_IN_EVALUATION);
    ck_assert_int_eq(atomic_load(&tasks_run), 0);
    CHECK_OK(cop_pool_submit(pool, count_task, NULL)); /* elsewhere it does, within the call */
    ck_assert_int_eq(atomic_load(&tasks_run), 1);
    CHECK_OK(cop_pool_resize(pool, 1)); /* with threads it may be submitted */
    CHECK_OK(set(source[0], 2));
    ck_assert_int_eq(value_now(node[0]), COP_OK);
    wait_for(&tasks_run, 2);
    CHECK_OK(cop_pool_resize(pool, 0));
    close_all();
}
END_TEST

static void
add_tests(TCase *tests)
{
    tcase_add_test(tests, what_was_due_without_threads_is_served_by_the_first);
    tcase_add_test(tests, a_background_atom_is_served_by_the_first_thread);
    tcase_add_test(tests, no_task_runs_within_an_evaluation);
    tcase_add_test(tests, who_reads_by_path_for_the_first_time_runs_alone);
    tcase_add_test(tests, all_circles_of_a_level_are_settled);
    tcase_add_loop_test(tests, nothing_is_missed_after_a_wave_without_memory, 0, 24);
    tcase_add_test(tests, branches_know_what_lanes_have_changed);
}

int
main(void)
{
    return t_run("shared waves", add_tests);
}

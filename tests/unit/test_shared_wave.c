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

static void
add_tests(TCase *tests)
{
    tcase_add_test(tests, who_reads_by_path_for_the_first_time_runs_alone);
    tcase_add_test(tests, all_circles_of_a_level_are_settled);
    tcase_add_loop_test(tests, nothing_is_missed_after_a_wave_without_memory, 0, 24);
}

int
main(void)
{
    return t_run("shared waves", add_tests);
}

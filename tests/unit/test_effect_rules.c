/* SPDX-License-Identifier: MIT */
/* Effects: what a bound on runs counts, and which effect a handle stands for. */
#include <coppice/effect.h>

#include "tests/support/store_test.h"

static cop_store *store;
static cop_atom source;
static unsigned runs;

static void
setup(void)
{
    store = t_open();
    source = t_make(store, "source", cop_i64(1));
    runs = 0;
}

static void
teardown(void)
{
    t_close(store);
}

static cop_status
look(cop_evaluation *evaluation, void *context)
{
    int64_t x;

    (void)context;
    runs++;
    return cop_read_i64(evaluation, source, &x);
}

static cop_status
copy(cop_evaluation *evaluation, void *context, cop_value *result)
{
    (void)context;
    return cop_read(evaluation, source, result);
}

static uint64_t
run(uint64_t most)
{
    uint64_t ran = 99;

    CHECK_OK(cop_effects_run(store, NULL, most, &ran));
    return ran;
}

/* Background atoms come first, and what they take of the bound is not the effects'. */
START_TEST(a_bound_is_for_both)
{
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    cop_effect effect;
    cop_atom atom;

    options.kind = COP_BACKGROUND;
    CHECK_OK(cop_computed_define(store, P("copy"), copy, NULL, &options, &atom, NULL));
    CHECK_OK(cop_effect_open(store, look, NULL, NULL, &effect, NULL));
    (void)run(0);
    ck_assert_uint_eq(runs, 1);
    for (int i = 2; i < 5; i++) {
        t_set(store, source, cop_i64(i));
        ck_assert_uint_eq(run(1), 1);
        ck_assert_uint_eq(runs, (unsigned)i - 1);
        t_is_i64(store, atom, i);
        ck_assert_uint_eq(run(1), 1);
        ck_assert_uint_eq(runs, (unsigned)i);
        ck_assert_uint_eq(run(1), 0);
        t_set(store, source, cop_i64(-i));
        ck_assert_uint_eq(run(2), 2);
        t_set(store, source, cop_i64(i));
        ck_assert_uint_eq(run(0), 2);
        runs -= 2;
    }
    cop_effect_close(store, effect);
}
END_TEST

/* The place of a closed effect is given to another; the handle is not. */
START_TEST(a_handle_is_of_one_effect)
{
    cop_effect old = {0, 0}, effect;

    for (unsigned i = 0; i < 6; i++) {
        CHECK_OK(cop_effect_open(store, look, NULL, NULL, &effect, NULL));
        ck_assert_uint_ne(effect.generation, 0);
        if (i > 0) {
            ck_assert_uint_eq(effect.id, old.id);
            ck_assert_uint_ne(effect.generation, old.generation);
            cop_effect_close(store, old); /* nothing */
        }
        ck_assert_uint_eq(run(0), 1);
        t_set(store, source, cop_i64(i + 10));
        ck_assert_uint_eq(run(0), 1);
        cop_effect_close(store, effect);
        t_set(store, source, cop_i64(i + 20));
        ck_assert_uint_eq(run(0), 0);
        old = effect;
    }
}
END_TEST

/* More effects than one word of bits has room for, on queues of their own: each runs where it
 * belongs. */
START_TEST(many_on_two_queues)
{
    enum { MANY = 150 };
    cop_effect_options options = COP_EFFECT_OPTIONS_INIT;
    cop_effect effect[MANY];
    uint64_t ran;

    CHECK_OK(cop_effect_queue_open(store, &options.queue));
    for (int i = 0; i < MANY; i++)
        CHECK_OK(
            cop_effect_open(store, look, NULL, i % 3 == 0 ? &options : NULL, &effect[i], NULL));
    for (int round = 0; round < 3; round++) {
        ck_assert_uint_eq(run(0), MANY - MANY / 3);
        CHECK_OK(cop_effects_run(store, options.queue, 0, &ran));
        ck_assert_uint_eq(ran, MANY / 3);
        t_set(store, source, cop_i64(round + 30));
    }
    for (int i = 0; i < MANY; i++)
        cop_effect_close(store, effect[i]);
    cop_effect_queue_close(options.queue);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, a_bound_is_for_both);
    tcase_add_test(tests, a_handle_is_of_one_effect);
    tcase_add_test(tests, many_on_two_queues);
}

int
main(void)
{
    return t_run("effect rules", add);
}

/* SPDX-License-Identifier: MIT */
/* Effects: what a bound on runs counts, and which effect a handle stands for. */
#include <coppice/effect.h>

#include "store/store_internal.h"
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

/* --- what is read in another version than the newest --------------------------------------------- */

typedef struct meddler {
    cop_atom atom, made;
    unsigned runs;
    int what; /* it commits in its first run */
    cop_status status;
} meddler;

static void
meddle(meddler *m)
{
    cop_value value = cop_i64(5);
    cop_txn *txn;

    switch (m->what) {
    case 0: /* an atom that the version of the run does not have */
        txn = t_begin(store);
        CHECK_OK(cop_txn_create(txn, &value, &m->made));
        (void)t_commit(txn);
        m->atom = m->made;
        break;
    case 1: /* what was read goes */
        t_erase(store, m->atom);
        break;
    case 2: /* something else changes */
        t_set(store, source, cop_i64(17));
        break;
    default: /* it changes */
        t_set(store, m->atom, cop_i64(17));
        break;
    }
}

static cop_status
meddles(cop_evaluation *evaluation, void *context)
{
    meddler *m = context;
    cop_value value;

    if (++m->runs == 1 && m->what == 0)
        meddle(m);
    m->status = cop_read(evaluation, m->atom, &value);
    if (m->runs == 1 && m->what != 0)
        meddle(m);
    return COP_OK;
}

/* What was committed in a run is looked at when it is linked: it runs again if it saw something else. */
START_TEST(a_version_behind)
{
    static const unsigned expected[] = {2, 2, 1, 2, 1};
    static const cop_status status[] = {COP_OK, COP_E_GONE, COP_OK, COP_OK, COP_E_GONE};
    meddler m = {.what = _i < 4 ? _i : 2};
    cop_effect effect;

    m.atom = t_make(store, "read", cop_i64(1));
    if (_i == 4) /* gone before it is read, and stays so */
        t_erase(store, m.atom);
    CHECK_OK(cop_effect_open(store, meddles, &m, NULL, &effect, NULL));
    ck_assert_uint_eq(run(0), expected[_i]);
    ck_assert_uint_eq(m.runs, expected[_i]);
    CHECK_STATUS(m.status, status[_i]);
    t_set(store, source, cop_i64(99));
    ck_assert_uint_eq(run(0), 0);
}
END_TEST

/* --- lists of one entry, lazy atoms whose inputs are gone, errors --------------------------------- */

static cop_atom looked_for;

static cop_status
finds(cop_evaluation *evaluation, void *context)
{
    runs++;
    (void)cop_read_find(evaluation, P((const char *)context), &looked_for);
    return COP_OK;
}

/* A path alone is a list of one entry that is no value. */
START_TEST(a_path_alone)
{
    char path[] = "not/there";
    cop_effect effect;

    CHECK_OK(cop_effect_open(store, finds, path, NULL, &effect, NULL));
    ck_assert_uint_eq(run(0), 1);
    ck_assert_uint_eq(looked_for.generation, 0);
    for (int i = 0; i < 3; i++) {
        t_set_at(store, path, cop_i64(i));
        ck_assert_uint_eq(run(0), 1);
        ck_assert_uint_ne(looked_for.generation, 0);
        t_set_at(store, path, cop_i64(i + 10)); /* it leads where it led */
        ck_assert_uint_eq(run(0), 0);
        t_erase_at(store, "not");
        ck_assert_uint_eq(run(0), 1);
        ck_assert_uint_eq(looked_for.generation, 0);
    }
    cop_effect_close(store, effect);
}
END_TEST

static cop_status
copy_of(cop_evaluation *evaluation, void *context, cop_value *result)
{
    int64_t x;
    cop_status status = cop_read_i64(evaluation, source, &x);

    *result = cop_i64(x);
    if (status == COP_OK && cop_read(evaluation, *(const cop_atom *)context, result) == COP_E_GONE)
        *result = cop_i64(-x);
    return status;
}

START_TEST(a_lazy_one_whose_input_is_gone)
{
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    cop_atom gone = t_make(store, "gone", cop_i64(1)), lazy;
    meddler m = {.what = 2};
    cop_effect effect;

    options.kind = COP_LAZY;
    CHECK_OK(cop_computed_define(store, NULL, 0, copy_of, &gone, &options, &lazy, NULL));
    m.atom = lazy;
    m.runs = 10;
    CHECK_OK(cop_effect_open(store, meddles, &m, NULL, &effect, NULL));
    ck_assert_uint_eq(run(0), 1);
    t_erase(store, gone);
    ck_assert_uint_eq(run(0), 1);
    t_is_i64(store, lazy, -1);
    t_set_at(store, "other", cop_i64(3));
    ck_assert_uint_eq(run(0), 0);
    t_set(store, source, cop_i64(4));
    ck_assert_uint_eq(run(0), 1);
    CHECK_STATUS(m.status, COP_OK);
    cop_effect_close(store, effect);
}
END_TEST

/* --- without memory to link ------------------------------------------------------------------------ */

static cop_status
reads_two(cop_evaluation *evaluation, void *context)
{
    int64_t x;

    runs++;
    (void)cop_read_i64(evaluation, source, &x);
    return cop_read_i64(evaluation, *(const cop_atom *)context, &x);
}

/* More than one word of bits has room for; on two queues, each of which has its own again. */
START_TEST(all_that_was_not_linked_comes_again)
{
    enum { MANY = 200 };
    cop_effect_options options = COP_EFFECT_OPTIONS_INIT;
    cop_atom other = t_make(store, "other", cop_i64(1));
    cop_effect effect[MANY];
    uint64_t ran;

    CHECK_OK(cop_effect_queue_open(store, &options.queue));
    for (int i = 0; i < MANY; i++)
        CHECK_OK(cop_effect_open(store, reads_two, &other, i % 4 == 0 ? &options : NULL, &effect[i],
                                 NULL));
    for (int64_t k = 0; k < 40; k++) {
        for (int queue = 0; queue < 2; queue++) {
            atomic_store(&store->memory->fail_for_ever, k % 2 == 0);
            atomic_store(&store->memory->fail_countdown, k / 2);
            cop_status status = cop_effects_run(store, queue ? options.queue : NULL, 0, &ran);
            atomic_store(&store->memory->fail_countdown, -1);
            atomic_store(&store->memory->fail_for_ever, false);
            ck_assert(status == COP_OK || status == COP_E_MEMORY);
            t_graph_holds(store, 1000, false);
        }
        for (int queue = 0; queue < 2; queue++)
            CHECK_OK(cop_effects_run(store, queue ? options.queue : NULL, 0, &ran));
        ck_assert_uint_eq(atomic_load(&store->effects.unlinked), 0);
        runs = 0;
        t_set(store, k % 3 == 0 ? other : source, cop_i64(100 + k));
        for (int queue = 0; queue < 2; queue++) {
            CHECK_OK(cop_effects_run(store, queue ? options.queue : NULL, 0, &ran));
            ck_assert_uint_eq(ran, queue ? MANY / 4 : MANY - MANY / 4);
        }
        ck_assert_uint_eq(runs, MANY);
        if (k % 4 == 3) { /* other lists, which have to be linked again */
            int i = (int)(k * 5 % MANY);
            cop_effect_close(store, effect[i]);
            CHECK_OK(cop_effect_open(store, reads_two, &other, i % 4 == 0 ? &options : NULL,
                                     &effect[i], NULL));
        }
        atomic_store(&store->memory->fail_for_ever, false);
    }
    for (int i = 0; i < MANY; i++)
        cop_effect_close(store, effect[i]);
    cop_effect_queue_close(options.queue);
}
END_TEST

/* --- effects of two stores -------------------------------------------------------------------------- */

static cop_store *other_store;
static cop_status settled[3];

static cop_status
inner(cop_evaluation *evaluation, void *context)
{
    (void)evaluation;
    (void)context;
    settled[1] = cop_effects_settle(store, COP_FOREVER);
    settled[2] = cop_effects_settle(other_store, COP_FOREVER);
    return COP_OK;
}

static cop_status
outer(cop_evaluation *evaluation, void *context)
{
    (void)evaluation;
    (void)context;
    settled[0] = cop_effects_settle(other_store, COP_FOREVER);
    return COP_OK;
}

/* An effect waits for those of another store, but not for those that it is among, however deep. */
START_TEST(settling_in_an_effect)
{
    cop_effect effect;

    CHECK_OK(cop_store_open(NULL, &other_store, NULL));
    settled[0] = settled[1] = settled[2] = COP_E_MEMORY;
    CHECK_OK(cop_effect_open(other_store, inner, NULL, NULL, &effect, NULL));
    CHECK_OK(cop_effect_open(store, outer, NULL, NULL, &effect, NULL));
    CHECK_OK(cop_effects_run(store, NULL, 0, NULL));
    CHECK_STATUS(settled[0], COP_OK);
    CHECK_STATUS(settled[1], COP_E_IN_EVALUATION);
    CHECK_STATUS(settled[2], COP_E_IN_EVALUATION);
    cop_store_close(other_store);
}
END_TEST

/* --- what the log is told ------------------------------------------------------------------------ */

static unsigned reasons, named_ones, other_lines;

static void
keep_line(void *context, cop_log_level level, const char *message)
{
    (void)context;
    (void)level;
    if (strcmp(message, "effect 0 failed: COP_E_FAILED: the reason") == 0)
        reasons++;
    else if (strcmp(message, "effect \"named\" failed: COP_E_TYPE") == 0)
        named_ones++;
    else
        other_lines++;
}

typedef struct failure {
    cop_store *store;
    cop_atom atom;
    const char *message;
    cop_status status;
} failure;

static cop_status
fails(cop_evaluation *evaluation, void *context)
{
    const failure *f = context;
    int64_t x;

    (void)cop_read_i64(evaluation, f->atom, &x);
    if (f->message != NULL)
        (void)cop_fail(evaluation, "%s", f->message);
    return f->status;
}

START_TEST(failures_are_told_one_by_one)
{
    cop_options options = COP_OPTIONS_INIT;
    cop_effect_options named = COP_EFFECT_OPTIONS_INIT;
    cop_store *told;
    cop_effect effect[3];
    failure f[3] = {{.message = "the reason", .status = COP_E_FAILED},
                    {.status = COP_E_TYPE},
                    {.message = "not told", .status = COP_OK}};

    options.log = keep_line;
    CHECK_OK(cop_store_open(&options, &told, NULL));
    named.label = "named";
    for (int i = 0; i < 3; i++) {
        f[i].atom = t_make(told, "x", cop_i64(0));
        CHECK_OK(cop_effect_open(told, fails, &f[i], i == 1 ? &named : NULL, &effect[i], NULL));
    }
    ck_assert_uint_eq(effect[0].id, 0);
    reasons = named_ones = other_lines = 0;
    for (unsigned i = 1; i < 20; i++) {
        CHECK_OK(cop_effects_run(told, NULL, 0, NULL));
        ck_assert_uint_eq(reasons, i);
        ck_assert_uint_eq(named_ones, i);
        ck_assert_uint_eq(other_lines, 0);
        t_set_at(told, "x", cop_i64(i));
    }
    cop_store_close(told);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, a_bound_is_for_both);
    tcase_add_test(tests, a_handle_is_of_one_effect);
    tcase_add_test(tests, many_on_two_queues);
    tcase_add_loop_test(tests, a_version_behind, 0, 5);
    tcase_add_test(tests, a_path_alone);
    tcase_add_test(tests, a_lazy_one_whose_input_is_gone);
    tcase_add_test(tests, all_that_was_not_linked_comes_again);
    tcase_add_test(tests, settling_in_an_effect);
    tcase_add_test(tests, failures_are_told_one_by_one);
}

int
main(void)
{
    return t_run("effect rules", add);
}

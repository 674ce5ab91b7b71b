/* SPDX-License-Identifier: MIT */
/* The queue of due effects, one thread at a time; what threads do to it is stress_effect_queue's. */
#include <poll.h>
#include <pthread.h>

#include "effect/queue.h"
#include "tests/support/store_test.h"

enum { BOUND = 5, MOST_EFFECTS = 20000 };

static cop__memory *memory;
static cop__effect_rest rest;
static cop__effect_queue queue;
static unsigned runs[MOST_EFFECTS], cuts[MOST_EFFECTS];
static uint32_t last_index, last_round;
static void (*while_running)(uint32_t index, uint32_t round);
static void (*when_cut)(uint32_t index, uint32_t round);
static unsigned served;
static bool serve_refuses;

static void
run(void *context, uint32_t index, uint32_t round)
{
    ck_assert_ptr_eq(context, &queue);
    ck_assert(!cop__effects_at_rest(&rest));
    runs[index]++;
    last_index = index;
    last_round = round;
    if (while_running != NULL)
        while_running(index, round);
}

static void
cut(void *context, uint32_t index, uint32_t round)
{
    ck_assert_ptr_eq(context, &queue);
    ck_assert_uint_ge(round, BOUND);
    cuts[index]++;
    if (when_cut != NULL)
        when_cut(index, round);
}

static bool
serve(void *context)
{
    ck_assert_ptr_eq(context, &queue);
    served++;
    return !serve_refuses;
}

static void
setup(void)
{
    cop__effect_queue_options options = {BOUND, run, cut, NULL, &queue};
    cop_allocator allocator;

    fault_alloc_init(&t_faults);
    allocator = fault_alloc_table(&t_faults);
    memory = cop__memory_new(&allocator, UINT64_MAX);
    ck_assert_ptr_nonnull(memory);
    memset(&rest, 0, sizeof rest);
    memset(runs, 0, sizeof runs);
    memset(cuts, 0, sizeof cuts);
    while_running = NULL;
    when_cut = NULL;
    served = 0;
    serve_refuses = false;
    cop__effect_queue_init(&queue, &rest, memory, &options);
}

static void
teardown(void)
{
    cop__effect_queue_end(&queue);
    ck_assert(cop__effects_at_rest(&rest));
    ck_assert_uint_eq(rest.sleepers, 0);
    ck_assert_uint_eq(rest.closers, 0);
    cop__memory_unref(memory);
    t_all_released();
}

static void
admit(uint32_t from, uint32_t to)
{
    for (uint32_t i = from; i < to; i++)
        CHECK_OK(cop__effect_queue_admit(&queue, i));
}

static void
post(uint32_t index, uint32_t round)
{
    cop__effect_queue_post(&queue, index / 64, UINT64_C(1) << (index % 64), round);
    cop__effect_queue_signal(&queue);
}

static bool
readable(int fd)
{
    struct pollfd p = {fd, POLLIN, 0};

    return poll(&p, 1, 0) == 1;
}

/* --- due and run -------------------------------------------------------------------------------- */

START_TEST(nothing_is_due_at_first)
{
    ck_assert(!cop__effect_queue_ready(&queue));
    ck_assert_uint_eq(cop__effect_queue_run(&queue, 0), 0);
    admit(0, 3);
    ck_assert(cop__effects_at_rest(&rest));
    ck_assert_uint_eq(cop__effect_queue_run(&queue, 0), 0);
}
END_TEST

START_TEST(what_is_posted_runs_once)
{
    admit(0, 300);
    post(0, 0);
    post(63, 0);
    post(64, 0);
    post(299, 0);
    ck_assert(!cop__effects_at_rest(&rest));
    ck_assert(cop__effect_queue_ready(&queue));
    ck_assert_uint_eq(cop__effect_queue_run(&queue, 0), 4);
    ck_assert(cop__effects_at_rest(&rest));
    ck_assert(runs[0] == 1 && runs[63] == 1 && runs[64] == 1 && runs[299] == 1);
    ck_assert_uint_eq(cop__effect_queue_run(&queue, 0), 0);
}
END_TEST

START_TEST(a_word_at_once)
{
    admit(0, 128);
    cop__effect_queue_post(&queue, 1, UINT64_MAX, 0);
    ck_assert_uint_eq(rest.pending, 64);
    ck_assert_uint_eq(cop__effect_queue_run(&queue, 0), 64);
    for (unsigned i = 0; i < 128; i++)
        ck_assert_uint_eq(runs[i], i >= 64);
}
END_TEST

START_TEST(changes_are_conflated)
{
    admit(0, 2);
    for (int i = 0; i < 10; i++)
        post(1, 0);
    ck_assert_uint_eq(rest.pending, 1);
    ck_assert_uint_eq(cop__effect_queue_run(&queue, 0), 1);
}
END_TEST

static void
post_twice_more(uint32_t index, uint32_t round)
{
    (void)round;
    while_running = NULL;
    post(index, 0);
    post(index, 0);
    ck_assert(!cop__effect_queue_ready(&queue)); /* due, but running */
    ck_assert_uint_eq(cop__effect_queue_run(&queue, 0), 0);
    ck_assert_uint_eq(runs[index], 1);
}

START_TEST(due_while_running_runs_again_after)
{
    admit(0, 1);
    while_running = post_twice_more;
    post(0, 0);
    ck_assert_uint_eq(cop__effect_queue_run(&queue, 0), 2);
    ck_assert_uint_eq(runs[0], 2);
}
END_TEST

static void
run_others(uint32_t index, uint32_t round)
{
    (void)round;
    while_running = NULL;
    ck_assert_uint_eq(index, 3);
    ck_assert_uint_eq(cop__effect_queue_run(&queue, 0), 2);
}

START_TEST(a_run_may_serve_the_queue)
{
    admit(0, 10);
    post(3, 0);
    post(5, 0);
    post(9, 0);
    while_running = run_others;
    ck_assert_uint_eq(cop__effect_queue_run(&queue, 0), 1);
    ck_assert(runs[3] == 1 && runs[5] == 1 && runs[9] == 1);
}
END_TEST

static void
post_itself(uint32_t index, uint32_t round)
{
    (void)round;
    if (index == 1)
        post(1, 0);
}

START_TEST(a_bound_is_kept_and_all_get_their_turn)
{
    admit(0, 200);
    while_running = post_itself; /* 1 is always due again: it does not keep others from running */
    post(1, 0);
    post(0, 0);
    post(2, 0);
    post(150, 0);
    for (int i = 0; i < 4; i++)
        ck_assert_uint_eq(cop__effect_queue_run(&queue, 1), 1);
    ck_assert(runs[0] == 1 && runs[1] == 1 && runs[2] == 1 && runs[150] == 1);
    ck_assert_uint_eq(cop__effect_queue_run(&queue, 7), 7);
    while_running = NULL;
    ck_assert_uint_eq(cop__effect_queue_run(&queue, 0), 1);
}
END_TEST

/* --- rounds --------------------------------------------------------------------------------------- */

START_TEST(the_least_round_counts)
{
    admit(0, 2);
    post(0, 3);
    post(0, 2);
    post(0, 4);
    cop__effect_queue_run(&queue, 0);
    ck_assert_uint_eq(last_round, 2);
    post(0, 4);
    post(0, 0);
    cop__effect_queue_run(&queue, 0);
    ck_assert_uint_eq(last_round, 0);
    post(0, 4);
    cop__effect_queue_run(&queue, 0);
    ck_assert_uint_eq(last_round, 4);
}
END_TEST

/* 0 and 1 make each other due, 2 comes once. */
static void
post_the_other(uint32_t index, uint32_t round)
{
    if (index < 2)
        post(1 - index, round + 1);
}

START_TEST(effects_that_run_each_other_are_cut_off)
{
    admit(0, 3);
    while_running = post_the_other;
    post(0, 0);
    post(2, 0);
    ck_assert_uint_eq(cop__effect_queue_run(&queue, 0), BOUND + 1);
    ck_assert(runs[0] == 3 && runs[1] == 2 && runs[2] == 1);
    ck_assert(cuts[0] == 0 && cuts[1] == 1);
    ck_assert(cop__effects_at_rest(&rest));
    post(1, 0); /* something else changed */
    ck_assert_uint_eq(cop__effect_queue_run(&queue, 0), BOUND);
    ck_assert(runs[0] == 5 && runs[1] == 5 && cuts[0] == 1 && cuts[1] == 1);
}
END_TEST

static void
post_the_last(uint32_t index, uint32_t round)
{
    if (index < 100)
        post(100, round + 1);
}

START_TEST(one_that_many_others_run_is_not_cut_off)
{
    admit(0, 101);
    while_running = post_the_last;
    for (uint32_t i = 0; i < 100; i++) {
        post(i, 0);
        cop__effect_queue_run(&queue, 0);
    }
    ck_assert_uint_eq(runs[100], 100);
    ck_assert_uint_eq(cuts[100], 0);
}
END_TEST

/* --- the descriptor ---------------------------------------------------------------------------------- */

START_TEST(the_descriptor_is_readable_while_effects_are_due)
{
    int fd, same;

    admit(0, 100);
    CHECK_OK(cop__effect_queue_fd(&queue, &fd));
    CHECK_OK(cop__effect_queue_fd(&queue, &same));
    ck_assert_int_eq(fd, same);
    ck_assert(!readable(fd));
    post(7, 0);
    ck_assert(readable(fd));
    post(8, 0);
    ck_assert_uint_eq(cop__effect_queue_run(&queue, 1), 1);
    ck_assert(readable(fd));
    ck_assert_uint_eq(cop__effect_queue_run(&queue, 1), 1);
    ck_assert(!readable(fd));
    post(7, 0);
    ck_assert(readable(fd));
    cop__effect_queue_run(&queue, 0);
    ck_assert(!readable(fd));
}
END_TEST

START_TEST(a_late_descriptor_knows_what_is_due)
{
    int fd;

    admit(0, 1);
    post(0, 0);
    CHECK_OK(cop__effect_queue_fd(&queue, &fd));
    ck_assert(readable(fd));
}
END_TEST

/* --- asking for threads --------------------------------------------------------------------------------- */

START_TEST(a_thread_is_asked_for_once)
{
    queue.options.serve = serve;
    admit(0, 10);
    post(0, 0);
    post(1, 0);
    post(2, 0);
    ck_assert_uint_eq(served, 1);
    cop__effect_queue_run(&queue, 0); /* asks for another one: two more were due */
    ck_assert_uint_eq(served, 2);
    cop__effect_queue_run(&queue, 0);
    post(3, 0);
    ck_assert_uint_eq(served, 3);
    cop__effect_queue_run(&queue, 1); /* one is enough for one */
    ck_assert_uint_eq(served, 3);
    post(3, 0);
    post(4, 0);
    ck_assert_uint_eq(served, 4);
    cop__effect_queue_run(&queue, 1); /* leaves one behind, and has asked for it */
    ck_assert_uint_eq(served, 5);
    cop__effect_queue_run(&queue, 0);
}
END_TEST

START_TEST(a_refused_thread_is_asked_for_again)
{
    queue.options.serve = serve;
    serve_refuses = true;
    admit(0, 1);
    post(0, 0);
    post(0, 0);
    ck_assert_uint_eq(served, 2);
    cop__effect_queue_run(&queue, 0);
}
END_TEST

/* --- admitting and retiring ------------------------------------------------------------------------------ */

START_TEST(retired_effects_do_not_run)
{
    admit(0, 3);
    post(0, 0);
    post(1, 0);
    cop__effect_queue_retire(&queue, 0, false);
    ck_assert_uint_eq(rest.pending, 1);
    cop__effect_queue_retire(&queue, 0, false);
    post(0, 0);
    post(0, 3);
    ck_assert_uint_eq(rest.pending, 1);
    cop__effect_queue_run(&queue, 0);
    ck_assert(runs[0] == 0 && runs[1] == 1);
    ck_assert(cop__effects_at_rest(&rest));
    cop__effect_queue_retire(&queue, 5000, false); /* that never was */
}
END_TEST

START_TEST(an_index_is_used_again)
{
    admit(0, 1);
    post(0, 4);
    cop__effect_queue_run(&queue, 0);
    cop__effect_queue_retire(&queue, 0, false);
    post(0, 3); /* late */
    admit(0, 1);
    ck_assert(!cop__effect_queue_ready(&queue));
    post(0, 4);
    cop__effect_queue_run(&queue, 0);
    ck_assert_uint_eq(last_round, 4); /* and nothing of its life before */
    ck_assert_uint_eq(runs[0], 2);
}
END_TEST

static void
retire_itself(uint32_t index, uint32_t round)
{
    (void)round;
    post(index, 0);
    cop__effect_queue_retire(&queue, index, true);
    post(index, 0);
}

START_TEST(an_effect_may_retire_itself)
{
    admit(0, 2);
    while_running = retire_itself;
    post(1, 0);
    ck_assert_uint_eq(cop__effect_queue_run(&queue, 0), 1);
    ck_assert(cop__effects_at_rest(&rest));
    while_running = NULL;
    admit(1, 2);
    post(1, 0);
    ck_assert_uint_eq(cop__effect_queue_run(&queue, 0), 1);
}
END_TEST

START_TEST(many_effects)
{
    admit(MOST_EFFECTS - 1, MOST_EFFECTS);
    admit(0, MOST_EFFECTS);
    for (uint32_t i = 0; i < MOST_EFFECTS; i++)
        cop__effect_queue_post(&queue, i / 64, UINT64_C(1) << (i % 64), 0);
    ck_assert_uint_eq(cop__effect_queue_run(&queue, 0), MOST_EFFECTS);
    for (unsigned i = 0; i < MOST_EFFECTS; i++)
        ck_assert_uint_eq(runs[i], 1);
}
END_TEST

START_TEST(admitting_needs_memory)
{
    admit(0, 256);
    for (int64_t k = 1; k <= 2; k++) {
        fault_alloc_arm(&t_faults, k, false);
        CHECK_STATUS(cop__effect_queue_admit(&queue, 256), COP_E_MEMORY);
    }
    fault_alloc_disarm(&t_faults);
    post(255, 0);
    ck_assert_uint_eq(cop__effect_queue_run(&queue, 0), 1);
    admit(256, 257);
}
END_TEST

START_TEST(ending_drops_what_is_due)
{
    admit(0, 3); /* teardown looks */
    post(1, 0);
    post(2, 0);
}
END_TEST

/* --- rest and waiting -------------------------------------------------------------------------------------- */

/* --- beside a model ------------------------------------------------------------------------------- */

enum { MODEL = 330 };

typedef struct model {
    bool open, due;
    uint32_t round; /* the least since it last ran */
    unsigned runs, cuts;
} model;

static model expected[MODEL];
static uint32_t draws;

static uint32_t
draw(uint32_t below)
{
    draws = draws * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)draws * below) >> 32);
}

static void
model_post(uint32_t index, uint32_t round)
{
    model *m = &expected[index];

    if (!m->open)
        return;
    m->round = m->due && m->round < round ? m->round : round;
    m->due = true;
}

static void
model_admit(uint32_t index)
{
    if (expected[index].open)
        return;
    expected[index].open = true;
    CHECK_OK(cop__effect_queue_admit(&queue, index));
}

static void
model_retire(uint32_t index, bool inside)
{
    expected[index].open = expected[index].due = false;
    cop__effect_queue_retire(&queue, index, inside);
}

/* What runs was due, and since the round that the model has; it may post and retire others. */
static void
model_run(uint32_t index, uint32_t round)
{
    model *m = &expected[index];

    ck_assert(m->open && m->due);
    ck_assert_uint_eq(round, m->round);
    ck_assert_uint_lt(round, BOUND);
    m->due = false;
    m->runs++;
    if (draw(6) == 0) {
        uint32_t other = draw(3) == 0 ? index : draw(MODEL);
        model_post(other, round + 1);
        post(other, round + 1);
    }
    if (draw(20) == 0) {
        uint32_t near = index / 64 * 64 + draw(64);
        uint32_t other = near < MODEL ? near : index;
        model_retire(other, other == index);
    }
}

static unsigned
model_due(void)
{
    unsigned due = 0;

    for (unsigned i = 0; i < MODEL; i++)
        due += expected[i].due;
    return due;
}

static void
model_agrees(int fd, bool has_run)
{
    unsigned due = model_due();

    ck_assert_uint_eq(rest.pending, due);
    ck_assert_uint_eq(cop__effect_queue_ready(&queue), due > 0);
    ck_assert(due == 0 || readable(fd)); /* what is due may be retired: then it is so for nothing */
    ck_assert(due > 0 || !has_run || !readable(fd));
    for (unsigned i = 0; i < MODEL; i++)
        ck_assert(runs[i] == expected[i].runs && cuts[i] == expected[i].cuts);
}

/* Who is due in a round too far does not run: it is cut off. */
static void
model_cut(uint32_t index, uint32_t round)
{
    model *m = &expected[index];

    ck_assert(m->open && m->due);
    ck_assert_uint_eq(round, m->round);
    m->due = false;
    m->cuts++;
}

START_TEST(beside_a_model)
{
    int fd;

    draws = (uint32_t)_i;
    memset(expected, 0, sizeof expected);
    CHECK_OK(cop__effect_queue_fd(&queue, &fd));
    while_running = model_run;
    when_cut = model_cut;
    for (uint32_t i = 0; i < MODEL; i++)
        model_admit(i);
    for (int round = 0; round < 200; round++) {
        for (uint32_t n = draw(40); n > 0; n--) {
            uint32_t index = draw(MODEL), since = draw(3) ? 0 : draw(BOUND + 1);
            if (draw(12) == 0) {
                model_retire(index, false);
            } else if (draw(4) == 0) {
                model_admit(index);
            } else {
                model_post(index, since);
                post(index, since);
            }
        }
        model_agrees(fd, false);
        uint64_t most = draw(2) ? draw(10) : 0;
        uint64_t ran = cop__effect_queue_run(&queue, most);
        ck_assert(most == 0 ? model_due() == 0 : ran <= most);
        ck_assert(ran == most || model_due() == 0);
        model_agrees(fd, true);
    }
}
END_TEST

START_TEST(queues_share_their_rest)
{
    cop__effect_queue other;
    cop__effect_queue_options options = {BOUND, run, cut, NULL, &queue};

    cop__effect_queue_init(&other, &rest, memory, &options);
    CHECK_OK(cop__effect_queue_admit(&other, 0));
    cop__effect_queue_post(&other, 0, 1, 0);
    ck_assert(!cop__effect_queue_ready(&queue));
    ck_assert(!cop__effects_at_rest(&rest));
    CHECK_STATUS(cop__effects_wait(&rest, &queue, true, cop_deadline_in_ms(5)), COP_E_TIMEOUT);
    CHECK_OK(cop__effects_wait(&rest, &other, true, 0));
    ck_assert_uint_eq(cop__effect_queue_run(&other, 0), 1);
    CHECK_OK(cop__effects_wait(&rest, &queue, true, 0));
    cop__effect_queue_end(&other);
}
END_TEST

START_TEST(waiting_has_a_deadline)
{
    admit(0, 1);
    CHECK_OK(cop__effects_wait(&rest, NULL, true, 0));
    CHECK_STATUS(cop__effects_wait(&rest, &queue, false, 0), COP_E_TIMEOUT);
    CHECK_STATUS(cop__effects_wait(&rest, &queue, false, cop_deadline_in_ms(5)), COP_E_TIMEOUT);
    post(0, 0);
    CHECK_OK(cop__effects_wait(&rest, &queue, false, 0));
    CHECK_STATUS(cop__effects_wait(&rest, NULL, true, 0), COP_E_TIMEOUT);
}
END_TEST

static void *
waits_then_runs(void *unused)
{
    (void)unused;
    CHECK_OK(cop__effects_wait(&rest, &queue, false, COP_FOREVER));
    cop__effect_queue_run(&queue, 0);
    return NULL;
}

START_TEST(sleepers_are_woken)
{
    pthread_t thread;

    admit(0, 1);
    ck_assert_int_eq(pthread_create(&thread, NULL, waits_then_runs, NULL), 0);
    while (cop__load_seq_cst(&rest.sleepers) == 0)
        sched_yield();
    post(0, 0);
    CHECK_OK(cop__effects_wait(&rest, NULL, true, COP_FOREVER)); /* by the end of the run */
    ck_assert_uint_eq(runs[0], 1);
    pthread_join(thread, NULL);
}
END_TEST

static _Atomic bool inside, let_go;

static void
stay(uint32_t index, uint32_t round)
{
    (void)index;
    (void)round;
    atomic_store(&inside, true);
    while (!atomic_load(&let_go))
        sched_yield();
}

static void *
retires(void *unused)
{
    (void)unused;
    cop__effect_queue_retire(&queue, 0, false);
    ck_assert(atomic_load(&let_go)); /* waited */
    return NULL;
}

START_TEST(retiring_waits_for_a_run)
{
    pthread_t runner, retirer;

    atomic_store(&inside, false);
    atomic_store(&let_go, false);
    admit(0, 1);
    while_running = stay;
    post(0, 0);
    ck_assert_int_eq(pthread_create(&runner, NULL, waits_then_runs, NULL), 0);
    while (!atomic_load(&inside))
        sched_yield();
    ck_assert_int_eq(pthread_create(&retirer, NULL, retires, NULL), 0);
    while (cop__load_seq_cst(&rest.closers) == 0)
        sched_yield();
    atomic_store(&let_go, true);
    pthread_join(retirer, NULL);
    pthread_join(runner, NULL);
    ck_assert_uint_eq(runs[0], 1);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, nothing_is_due_at_first);
    tcase_add_test(tests, what_is_posted_runs_once);
    tcase_add_test(tests, a_word_at_once);
    tcase_add_test(tests, changes_are_conflated);
    tcase_add_test(tests, due_while_running_runs_again_after);
    tcase_add_test(tests, a_run_may_serve_the_queue);
    tcase_add_test(tests, a_bound_is_kept_and_all_get_their_turn);
    tcase_add_test(tests, the_least_round_counts);
    tcase_add_test(tests, effects_that_run_each_other_are_cut_off);
    tcase_add_test(tests, one_that_many_others_run_is_not_cut_off);
    tcase_add_test(tests, the_descriptor_is_readable_while_effects_are_due);
    tcase_add_test(tests, a_late_descriptor_knows_what_is_due);
    tcase_add_test(tests, a_thread_is_asked_for_once);
    tcase_add_test(tests, a_refused_thread_is_asked_for_again);
    tcase_add_test(tests, retired_effects_do_not_run);
    tcase_add_test(tests, an_index_is_used_again);
    tcase_add_test(tests, an_effect_may_retire_itself);
    tcase_add_test(tests, many_effects);
    tcase_add_test(tests, admitting_needs_memory);
    tcase_add_test(tests, ending_drops_what_is_due);
    tcase_add_loop_test(tests, beside_a_model, 1, 20);
    tcase_add_test(tests, queues_share_their_rest);
    tcase_add_test(tests, waiting_has_a_deadline);
    tcase_add_test(tests, sleepers_are_woken);
    tcase_add_test(tests, retiring_waits_for_a_run);
}

int
main(void)
{
    return t_run("effect queue", add);
}

/* SPDX-License-Identifier: MIT */
/* Effects: every rule of the effect part of effect.h by its name. */
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "reclaim/gate.h"
#include "reclaim/memory.h"
#include "store/store_internal.h"
#include "tests/support/store_test.h"

typedef struct watcher watcher;
struct watcher {
    cop_store *store;
    cop_effect effect;
    cop_atom atom[3];
    const char *path;
    int64_t saw;
    uint64_t version;
    unsigned runs, cleanups, destroyed;
    cop_status status, answer;
    void (*inside)(watcher *w, cop_evaluation *evaluation);
    cop_effect_queue *queue;
    cop_scope *scope;
};

static char logged[8][400];
static atomic_uint log_lines; /* a worker's too */

static void
keep_log(void *context, cop_log_level level, const char *message)
{
    (void)context;
    (void)level;
    snprintf(logged[log_lines % 8], sizeof logged[0], "%s", message);
    log_lines++;
}

static cop_store *
open_store(uint64_t rounds)
{
    cop_options options = COP_OPTIONS_INIT;
    cop_store *store;

    fault_alloc_init(&t_faults);
    options.allocator = fault_alloc_table(&t_faults);
    options.effects_rounds = rounds;
    options.log = keep_log;
    log_lines = 0;
    CHECK_OK(cop_store_open(&options, &store, NULL));
    return store;
}

static cop_status
watch(cop_evaluation *evaluation, void *context)
{
    watcher *w = context;

    w->runs++;
    w->version = cop_snapshot_version(cop_effect_snapshot(evaluation));
    w->status = cop_read_i64(evaluation, w->atom[0], &w->saw);
    if (w->inside != NULL)
        w->inside(w, evaluation);
    return w->answer;
}

static void
destroyed(void *context)
{
    ((watcher *)context)->destroyed++;
}

static void
cleaned(void *context)
{
    ((watcher *)context)->cleanups++;
}

static cop_atom
make(cop_store *store, int64_t value)
{
    cop_atom atom;
    cop_value v = cop_i64(value);
    cop_txn *txn = t_begin(store);

    CHECK_OK(cop_txn_create(txn, &v, &atom));
    (void)t_commit(txn);
    return atom;
}

static void
set(cop_store *store, cop_atom atom, int64_t value)
{
    (void)t_set(store, atom, cop_i64(value));
}

static cop_effect
open_with(cop_store *store, watcher *w, const cop_effect_options *options)
{
    w->store = store;
    CHECK_OK(cop_effect_open(store, watch, w, options, &w->effect, NULL));
    return w->effect;
}

static uint64_t
run(cop_store *store, cop_effect_queue *queue)
{
    uint64_t ran = 99;

    CHECK_OK(cop_effects_run(store, queue, 0, &ran));
    return ran;
}

static cop_status
double_it(cop_evaluation *evaluation, void *context, cop_value *result)
{
    int64_t value;
    cop_status status = cop_read_i64(evaluation, *(cop_atom *)context, &value);

    if (status == COP_OK)
        *result = cop_i64(2 * value);
    return status;
}

/* --- running ------------------------------------------------------------------------------------ */

START_TEST(the_first_run_is_due_at_once)
{
    cop_store *store = t_open();
    watcher w = {.atom = {make(store, 7)}};

    open_with(store, &w, NULL);
    ck_assert_uint_eq(w.runs, 0);
    ck_assert_uint_eq(run(store, NULL), 1);
    ck_assert_uint_eq(w.runs, 1);
    ck_assert_int_eq(w.saw, 7);
    ck_assert_uint_eq(w.version, cop_store_version(store));
    ck_assert_uint_eq(run(store, NULL), 0);
    t_close(store);
}
END_TEST

START_TEST(runs_again_when_something_it_read_has_changed)
{
    cop_store *store = t_open();
    cop_atom other = make(store, 1);
    watcher w = {.atom = {make(store, 7)}};

    open_with(store, &w, NULL);
    (void)run(store, NULL);
    set(store, other, 2);
    ck_assert_uint_eq(run(store, NULL), 0);
    set(store, w.atom[0], 8);
    ck_assert_uint_eq(w.runs, 1); /* never in the commit */
    ck_assert_uint_eq(run(store, NULL), 1);
    ck_assert_int_eq(w.saw, 8);
    set(store, w.atom[0], 8);
    ck_assert_uint_eq(run(store, NULL), 0);
    t_close(store);
}
END_TEST

START_TEST(changes_while_it_waits_are_run_for_once_with_the_newest)
{
    cop_store *store = t_open();
    watcher w = {.atom = {make(store, 0)}};

    open_with(store, &w, NULL);
    for (int i = 1; i <= 10; i++)
        set(store, w.atom[0], i);
    ck_assert_uint_eq(run(store, NULL), 1);
    ck_assert_int_eq(w.saw, 10);
    for (int i = 11; i <= 20; i++)
        set(store, w.atom[0], i);
    ck_assert_uint_eq(run(store, NULL), 1);
    ck_assert_int_eq(w.saw, 20);
    t_close(store);
}
END_TEST

START_TEST(reads_computed_atoms_of_its_version)
{
    cop_store *store = t_open();
    cop_atom source = make(store, 3), twice;
    watcher w = {.atom = {{0, 0}}};

    CHECK_OK(cop_computed_define(store, NULL, 0, double_it, &source, NULL, &twice, NULL));
    w.atom[0] = twice;
    open_with(store, &w, NULL);
    (void)run(store, NULL);
    ck_assert_int_eq(w.saw, 6);
    set(store, source, 5);
    ck_assert_uint_eq(run(store, NULL), 1);
    ck_assert_int_eq(w.saw, 10);
    t_close(store);
}
END_TEST

static void
read_selected(watcher *w, cop_evaluation *evaluation)
{
    int64_t which = w->saw;

    CHECK_OK(cop_read_i64(evaluation, w->atom[which ? 1 : 2], &w->saw));
}

START_TEST(dependencies_are_found_anew_by_each_run)
{
    cop_store *store = t_open();
    watcher w = {.inside = read_selected};

    for (int i = 0; i < 3; i++)
        w.atom[i] = make(store, i == 0 ? 1 : 10 * i);
    open_with(store, &w, NULL);
    (void)run(store, NULL);
    ck_assert_int_eq(w.saw, 10);
    set(store, w.atom[2], 21);
    ck_assert_uint_eq(run(store, NULL), 0);
    set(store, w.atom[0], 0);
    ck_assert_uint_eq(run(store, NULL), 1);
    ck_assert_int_eq(w.saw, 21);
    set(store, w.atom[1], 11);
    ck_assert_uint_eq(run(store, NULL), 0);
    set(store, w.atom[2], 22);
    ck_assert_uint_eq(run(store, NULL), 1);
    ck_assert_int_eq(w.saw, 22);
    t_close(store);
}
END_TEST

START_TEST(a_list_that_becomes_shorter_or_empty_is_noticed)
{
    cop_store *store = t_open();
    watcher w = {.inside = read_selected};

    for (int i = 0; i < 3; i++)
        w.atom[i] = make(store, i == 0 ? 1 : 10 * i);
    open_with(store, &w, NULL);
    (void)run(store, NULL);
    w.inside = NULL;
    set(store, w.atom[0], 2);
    ck_assert_uint_eq(run(store, NULL), 1);
    set(store, w.atom[1], 5);
    ck_assert_uint_eq(run(store, NULL), 0);
    set(store, w.atom[0], 3);
    ck_assert_uint_eq(run(store, NULL), 1);
    t_close(store);
}
END_TEST

static void
read_path(watcher *w, cop_evaluation *evaluation)
{
    cop_value value;

    w->status = cop_read_at(evaluation, P(w->path), &value);
    w->saw = w->status == COP_OK ? cop_value_i64(&value) : -1;
}

START_TEST(a_path_is_a_dependency_also_while_nothing_is_there)
{
    cop_store *store = t_open();
    watcher w = {.atom = {make(store, 0)}, .inside = read_path, .path = "a/b"};

    open_with(store, &w, NULL);
    (void)run(store, NULL);
    CHECK_STATUS(w.status, COP_E_ABSENT);
    t_set_at(store, "a/c", cop_i64(1));
    ck_assert_uint_eq(run(store, NULL), 0);
    t_set_at(store, "a/b", cop_i64(2));
    ck_assert_uint_eq(run(store, NULL), 1);
    ck_assert_int_eq(w.saw, 2);
    t_set_at(store, "a/b", cop_i64(3));
    ck_assert_uint_eq(run(store, NULL), 1);
    ck_assert_int_eq(w.saw, 3);
    t_erase_at(store, "a/b");
    ck_assert_uint_eq(run(store, NULL), 1);
    CHECK_STATUS(w.status, COP_E_ABSENT);
    t_set_at(store, "a/b", cop_i64(4));
    ck_assert_uint_eq(run(store, NULL), 1);
    ck_assert_int_eq(w.saw, 4);
    w.path = "a/c";
    set(store, w.atom[0], 1);
    ck_assert_uint_eq(run(store, NULL), 1);
    ck_assert_int_eq(w.saw, 1);
    t_set_at(store, "a/b", cop_i64(5));
    ck_assert_uint_eq(run(store, NULL), 0);
    w.path = "a//b"; /* no path */
    set(store, w.atom[0], 2);
    (void)run(store, NULL);
    ck_assert_int_lt(w.status, 0);
    t_close(store);
}
END_TEST

static int
add_child(void *context, const cop_child *child)
{
    *(int64_t *)context += cop_value_i64(&child->value);
    return 0;
}

static void
read_children(watcher *w, cop_evaluation *evaluation)
{
    uint32_t count = 0;

    w->saw = 0;
    w->status = cop_read_each(evaluation, w->atom[1], add_child, &w->saw, NULL);
    if (w->status == COP_OK) {
        CHECK_OK(cop_read_count(evaluation, w->atom[1], &count));
        w->saw += 1000 * (int64_t)count;
    }
}

START_TEST(a_list_of_children_is_a_dependency)
{
    cop_store *store = t_open();
    watcher w = {.atom = {make(store, 0)}, .inside = read_children};

    t_set_at(store, "list/a", cop_i64(1));
    w.atom[1] = t_find(store, "list");
    open_with(store, &w, NULL);
    (void)run(store, NULL);
    ck_assert_int_eq(w.saw, 1001);
    t_set_at(store, "list/b", cop_i64(2));
    (void)run(store, NULL);
    ck_assert_int_eq(w.saw, 2003);
    t_set_at(store, "list/b", cop_i64(5));
    (void)run(store, NULL);
    ck_assert_int_eq(w.saw, 2006);
    t_erase_at(store, "list/a");
    (void)run(store, NULL);
    ck_assert_int_eq(w.saw, 1005);
    t_erase_at(store, "list");
    ck_assert_uint_eq(run(store, NULL), 1);
    CHECK_STATUS(w.status, COP_E_GONE);
    w.atom[1] = w.atom[0];
    set(store, w.atom[0], 1);
    (void)run(store, NULL);
    CHECK_STATUS(w.status, COP_E_NOT_BRANCH);
    t_close(store);
}
END_TEST

START_TEST(an_erased_atom_reads_as_gone)
{
    cop_store *store = t_open();
    watcher w = {.atom = {make(store, 7)}};

    open_with(store, &w, NULL);
    (void)run(store, NULL);
    t_erase(store, w.atom[0]);
    ck_assert_uint_eq(run(store, NULL), 1);
    CHECK_STATUS(w.status, COP_E_GONE);
    w.atom[0] = make(store, 1); /* perhaps the same id */
    ck_assert_uint_eq(run(store, NULL), 0);
    t_close(store);
}
END_TEST

static void
change_while_running(watcher *w, cop_evaluation *evaluation)
{
    int64_t value;

    if (w->runs == 1)
        set(w->store, w->atom[1], 100);
    CHECK_OK(cop_read_i64(evaluation, w->atom[1], &value));
    w->saw = value;
    if (w->runs == 1)
        ck_assert_int_eq(value, 1); /* of the version that it has pinned */
}

START_TEST(a_change_before_its_dependency_is_known_is_not_missed)
{
    cop_store *store = t_open();
    watcher w = {.inside = change_while_running};

    w.atom[0] = make(store, 0);
    w.atom[1] = make(store, 1);
    open_with(store, &w, NULL);
    ck_assert_uint_eq(run(store, NULL), 2);
    ck_assert_int_eq(w.saw, 100);
    t_close(store);
}
END_TEST

static void
change_structure_while_running(watcher *w, cop_evaluation *evaluation)
{
    if (w->runs == 1) {
        t_set_at(w->store, "x/late", cop_i64(5));
        t_set_at(w->store, "list/c", cop_i64(5));
    }
    read_children(w, evaluation);
    int64_t children = w->saw;
    read_path(w, evaluation);
    w->saw = w->saw * 10000 + children;
}

START_TEST(nor_is_a_path_or_list_that_changes_before_it_is_known)
{
    cop_store *store = t_open();
    watcher w = {.atom = {make(store, 0)}, .inside = change_structure_while_running, .path = "x/late"};

    t_set_at(store, "list/a", cop_i64(1));
    w.atom[1] = t_find(store, "list");
    open_with(store, &w, NULL);
    ck_assert_uint_eq(run(store, NULL), 2);
    ck_assert_int_eq(w.saw, 52006);
    t_close(store);
}
END_TEST

static void
read_untracked(watcher *w, cop_evaluation *evaluation)
{
    cop_value value;

    CHECK_OK(cop_read_untracked(evaluation, w->atom[1], &value));
    ck_assert_ptr_nonnull(cop_scratch(evaluation, 100));
}

START_TEST(an_untracked_read_is_no_dependency)
{
    cop_store *store = t_open();
    watcher w = {.inside = read_untracked};

    w.atom[0] = make(store, 0);
    w.atom[1] = make(store, 1);
    open_with(store, &w, NULL);
    (void)run(store, NULL);
    set(store, w.atom[1], 2);
    ck_assert_uint_eq(run(store, NULL), 0);
    t_close(store);
}
END_TEST

static cop_status
read_text(cop_evaluation *evaluation, void *context)
{
    watcher *w = context;
    cop_value value;

    w->runs++;
    w->status = cop_read(evaluation, w->atom[0], &value);
    w->saw = (int64_t)cop_value_length(&value);
    if (cop_read_i64(evaluation, w->atom[0], &w->saw) != COP_E_TYPE)
        return COP_E_INVALID;
    w->saw = (int64_t)cop_value_length(&value);
    return COP_OK;
}

static void
read_lazy(watcher *w, cop_evaluation *evaluation)
{
    cop_value value;

    CHECK_OK(cop_read_untracked(evaluation, w->atom[1], &value));
    ck_assert_int_eq(cop_value_i64(&value), 2 * w->saw);
    CHECK_OK(cop_read(evaluation, w->atom[1], &value));
    ck_assert_int_eq(cop_value_i64(&value), 2 * w->saw);
}

START_TEST(lazy_atoms_are_read_with_what_they_rest_on)
{
    cop_store *store = t_open();
    watcher w = {.atom = {make(store, 4)}, .inside = read_lazy};
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;

    options.kind = COP_LAZY;
    CHECK_OK(cop_computed_define(store, NULL, 0, double_it, &w.atom[0], &options, &w.atom[1], NULL));
    open_with(store, &w, NULL);
    (void)run(store, NULL);
    set(store, w.atom[0], 5);
    ck_assert_uint_eq(run(store, NULL), 1);
    t_close(store);
}
END_TEST

START_TEST(text_and_wrong_types_are_read_as_anywhere)
{
    cop_store *store = t_open();
    char *text = t_bytes(5000, 1);
    watcher w = {.atom = {t_make(store, "text", cop_string(text, 5000))}};

    CHECK_OK(cop_effect_open(store, read_text, &w, NULL, &w.effect, NULL));
    (void)run(store, NULL);
    ck_assert_int_eq(w.saw, 5000);
    t_set_at(store, "text", cop_string(text, 4000));
    ck_assert_uint_eq(run(store, NULL), 1);
    ck_assert_int_eq(w.saw, 4000);
    ck_assert_uint_eq(run(store, NULL), 0);
    free(text);
    t_close(store);
}
END_TEST

START_TEST(most_bounds_the_runs)
{
    cop_store *store = t_open();
    watcher w[100];
    uint64_t ran;

    memset(w, 0, sizeof w);
    for (int i = 0; i < 100; i++) {
        w[i].atom[0] = make(store, i);
        open_with(store, &w[i], NULL);
    }
    CHECK_OK(cop_effects_run(store, NULL, 30, &ran));
    ck_assert_uint_eq(ran, 30);
    CHECK_OK(cop_effects_run(store, NULL, 70, &ran));
    ck_assert_uint_eq(ran, 70);
    ck_assert_uint_eq(run(store, NULL), 0);
    for (int i = 0; i < 100; i++)
        ck_assert_uint_eq(w[i].runs, 1);
    t_close(store);
}
END_TEST

/* --- writing ------------------------------------------------------------------------------------ */

static void
write_other(watcher *w, cop_evaluation *evaluation)
{
    (void)evaluation;
    set(w->store, w->atom[1], w->saw + 1);
}

START_TEST(what_it_commits_is_a_later_version)
{
    cop_store *store = t_open();
    watcher a = {.inside = write_other}, b = {.runs = 0};

    a.atom[0] = make(store, 1);
    a.atom[1] = b.atom[0] = make(store, 0);
    open_with(store, &a, NULL);
    open_with(store, &b, NULL);
    CHECK_OK(cop_effects_settle(store, COP_FOREVER));
    ck_assert_int_eq(b.saw, 2);
    ck_assert_uint_lt(a.version, cop_store_version(store));
    set(store, a.atom[0], 10);
    (void)run(store, NULL);
    ck_assert_int_eq(b.saw, 11);
    ck_assert_uint_eq(b.version, cop_store_version(store));
    t_close(store);
}
END_TEST

static void
count_up(watcher *w, cop_evaluation *evaluation)
{
    (void)evaluation;
    set(w->store, w->atom[0], w->saw + 1);
}

START_TEST(effects_without_rest_are_cut_off_and_told)
{
    cop_store *store = open_store(10);
    watcher w = {.inside = count_up}, other = {.runs = 0};
    cop_effect_options options = COP_EFFECT_OPTIONS_INIT;

    w.atom[0] = other.atom[0] = make(store, 0);
    options.label = "counter";
    open_with(store, &w, &options);
    open_with(store, &other, NULL);
    (void)run(store, NULL);
    ck_assert_uint_eq(w.runs, 10);
    ck_assert_uint_ge(log_lines, 1);
    ck_assert_ptr_nonnull(strstr(logged[0], "without rest"));
    ck_assert_ptr_nonnull(strstr(logged[0], "\"counter\""));
    ck_assert_uint_eq(run(store, NULL), 0);
    CHECK_OK(cop_effects_settle(store, 0));
    set(store, w.atom[0], 1000); /* runs again when something else changes */
    (void)run(store, NULL);
    ck_assert_uint_eq(w.runs, 20);
    ck_assert_int_eq(w.saw, 1009);
    t_close(store);
}
END_TEST

static void
ping(watcher *w, cop_evaluation *evaluation)
{
    int64_t value;

    if (w->saw < 40) {
        value = w->saw + 1;
        set(w->store, w->atom[1], value);
    }
    (void)evaluation;
}

START_TEST(effects_that_come_to_rest_are_not_cut_off)
{
    cop_store *store = open_store(60);
    watcher a = {.inside = ping}, b = {.inside = ping};

    a.atom[0] = b.atom[1] = make(store, 0);
    a.atom[1] = b.atom[0] = make(store, 0);
    open_with(store, &a, NULL);
    open_with(store, &b, NULL);
    CHECK_OK(cop_effects_settle(store, COP_FOREVER));
    ck_assert_int_eq(a.saw > b.saw ? a.saw : b.saw, 40);
    ck_assert_uint_eq(log_lines, 0);
    t_close(store);
}
END_TEST

START_TEST(one_that_fails_is_logged_and_does_not_stop_others)
{
    cop_store *store = open_store(100);
    cop_stats stats = COP_STATS_INIT;
    watcher a = {.answer = COP_E_RANGE}, b = {.runs = 0};
    cop_effect_options options = COP_EFFECT_OPTIONS_INIT;

    a.atom[0] = b.atom[0] = make(store, 0);
    options.label = "bad one";
    open_with(store, &a, &options);
    open_with(store, &b, NULL);
    ck_assert_uint_eq(run(store, NULL), 2);
    ck_assert_uint_eq(log_lines, 1);
    ck_assert_ptr_nonnull(strstr(logged[0], "\"bad one\""));
    ck_assert_ptr_nonnull(strstr(logged[0], cop_status_name(COP_E_RANGE)));
    set(store, a.atom[0], 1);
    ck_assert_uint_eq(run(store, NULL), 2); /* and runs again */
    ck_assert_uint_eq(log_lines, 2);
    CHECK_OK(cop_stats_take(store, &stats));
    ck_assert_uint_eq(stats.effects_failed, 2);
    ck_assert_uint_eq(stats.effects_cut, 0);
    t_close(store);
}
END_TEST

/* --- opening and closing ------------------------------------------------------------------------ */

START_TEST(what_cannot_be_opened)
{
    cop_store *store = t_open();
    cop_effect_options options = COP_EFFECT_OPTIONS_INIT;
    cop_effect_queue *queue;
    cop_store *other;
    cop_effect effect;
    cop_error error = COP_ERROR_INIT;
    watcher w = {.runs = 0};

    CHECK_STATUS(cop_effect_open(store, NULL, &w, NULL, &effect, &error), COP_E_INVALID);
    ck_assert_uint_gt(strlen(error.message), 0);
    options.size = sizeof options + 8;
    CHECK_STATUS(cop_effect_open(store, watch, &w, &options, &effect, NULL), COP_E_INVALID);
    options.size = 1;
    CHECK_STATUS(cop_effect_open(store, watch, &w, &options, &effect, NULL), COP_E_INVALID);
    CHECK_OK(cop_store_open(NULL, &other, NULL));
    CHECK_OK(cop_effect_queue_open(other, &queue));
    options = (cop_effect_options)COP_EFFECT_OPTIONS_INIT;
    options.queue = queue;
    CHECK_STATUS(cop_effect_open(store, watch, &w, &options, &effect, NULL), COP_E_INVALID);
    CHECK_STATUS(cop_effects_run(store, queue, 0, NULL), COP_E_INVALID);
    cop_effect_queue_close(queue);
    cop_effect_queue_close(NULL);
    cop_store_close(other);
    t_close(store);
}
END_TEST

static cop_status
call_back(cop_evaluation *evaluation, void *context, cop_value *result)
{
    watcher *w = context;
    cop_effect effect;

    ck_assert_ptr_null(cop_effect_snapshot(evaluation));
    ck_assert_ptr_null(cop_effect_scope(evaluation));
    CHECK_STATUS(cop_effect_on_cleanup(evaluation, cleaned, w), COP_E_INVALID);
    CHECK_STATUS(cop_effect_open(w->store, watch, w, NULL, &effect, NULL), COP_E_IN_EVALUATION);
    CHECK_STATUS(cop_effects_run(w->store, NULL, 0, NULL), COP_E_IN_EVALUATION);
    CHECK_STATUS(cop_effects_settle(w->store, 0), COP_E_IN_EVALUATION);
    CHECK_STATUS(cop_store_set_pool(w->store, NULL), COP_E_IN_EVALUATION);
    *result = cop_i64(1);
    return COP_OK;
}

START_TEST(nothing_of_it_is_legal_in_an_evaluation)
{
    cop_store *store = t_open();
    watcher w = {.store = store, .atom = {make(store, 1)}};
    cop_atom atom;

    CHECK_OK(cop_computed_define(store, NULL, 0, call_back, &w, NULL, &atom, NULL));
    t_is_i64(store, atom, 1);
    t_close(store);
}
END_TEST

START_TEST(closing_ends_it_once)
{
    cop_store *store = t_open();
    cop_effect_options options = COP_EFFECT_OPTIONS_INIT;
    watcher w = {.atom = {make(store, 1)}};

    options.destroy = destroyed;
    open_with(store, &w, &options);
    (void)run(store, NULL);
    set(store, w.atom[0], 2);
    cop_effect_close(store, w.effect);
    ck_assert_uint_eq(w.destroyed, 1);
    ck_assert_uint_eq(run(store, NULL), 0);
    cop_effect_close(store, w.effect);
    cop_effect_close(store, (cop_effect){0, 0});
    cop_effect_close(store, (cop_effect){123456, 1});
    ck_assert_uint_eq(w.destroyed, 1);
    t_close(store);
}
END_TEST

START_TEST(a_handle_does_not_reach_the_next_effect_of_its_number)
{
    cop_store *store = t_open();
    watcher a = {.atom = {make(store, 1)}}, b = a;

    open_with(store, &a, NULL);
    cop_effect_close(store, a.effect);
    open_with(store, &b, NULL);
    ck_assert_uint_eq(a.effect.id, b.effect.id);
    ck_assert_uint_ne(a.effect.generation, b.effect.generation);
    cop_effect_close(store, a.effect);
    ck_assert_uint_eq(run(store, NULL), 1);
    ck_assert_uint_eq(b.runs, 1);
    ck_assert_uint_eq(a.runs, 0);
    t_close(store);
}
END_TEST

static void
close_itself(watcher *w, cop_evaluation *evaluation)
{
    CHECK_OK(cop_effect_on_cleanup(evaluation, cleaned, w));
    cop_effect_close(w->store, w->effect);
    cop_effect_close(w->store, w->effect);
    ck_assert_uint_eq(w->destroyed, 0); /* it is still running */
    ck_assert_uint_eq(w->cleanups, 0);
    set(w->store, w->atom[0], w->saw + 1);
}

START_TEST(it_may_close_itself)
{
    cop_store *store = t_open();
    cop_effect_options options = COP_EFFECT_OPTIONS_INIT;
    watcher w = {.atom = {make(store, 1)}, .inside = close_itself}, next = w;

    options.destroy = destroyed;
    open_with(store, &w, &options);
    ck_assert_uint_eq(run(store, NULL), 1);
    ck_assert_uint_eq(w.destroyed, 1);
    ck_assert_uint_eq(w.cleanups, 1);
    set(store, w.atom[0], 9);
    ck_assert_uint_eq(run(store, NULL), 0);
    next.inside = NULL;
    open_with(store, &next, NULL);
    ck_assert_uint_eq(next.effect.id, w.effect.id); /* the number is free again */
    t_close(store);
}
END_TEST

static watcher *victim;

static void
close_victim(watcher *w, cop_evaluation *evaluation)
{
    (void)evaluation;
    cop_effect_close(w->store, victim->effect);
    ck_assert_uint_eq(victim->destroyed, 1);
}

START_TEST(one_may_close_another_that_is_due_beside_it)
{
    cop_store *store = t_open();
    cop_effect_options options = COP_EFFECT_OPTIONS_INIT;
    watcher a = {.atom = {make(store, 1)}, .inside = close_victim}, b = {.atom = {a.atom[0]}};

    options.destroy = destroyed;
    victim = &b;
    open_with(store, &a, NULL);
    open_with(store, &b, &options);
    ck_assert_uint_eq(run(store, NULL), 1);
    ck_assert_uint_eq(b.runs, 0);
    ck_assert_uint_eq(b.destroyed, 1);
    CHECK_OK(cop_effects_settle(store, 0));
    t_close(store);
}
END_TEST

START_TEST(closing_the_store_ends_its_effects)
{
    cop_store *store = t_open();
    cop_effect_options options = COP_EFFECT_OPTIONS_INIT;
    watcher w[70];

    memset(w, 0, sizeof w);
    options.destroy = destroyed;
    for (int i = 0; i < 70; i++) {
        w[i].atom[0] = make(store, i);
        open_with(store, &w[i], i % 2 ? &options : NULL);
    }
    CHECK_OK(cop_effects_run(store, NULL, 10, NULL));
    t_close(store);
    for (int i = 0; i < 70; i++) {
        ck_assert_uint_eq(w[i].destroyed, i % 2 ? 1u : 0u);
        ck_assert_uint_le(w[i].runs, 1);
    }
}
END_TEST

static void
close_store(watcher *w, cop_evaluation *evaluation)
{
    cop_effect effect;

    (void)evaluation;
    cop_store_close(w->store);
    ck_assert_uint_eq(w->destroyed, 0);
    CHECK_STATUS(cop_effect_open(w->store, watch, w, NULL, &effect, NULL), COP_E_CLOSING);
}

START_TEST(the_store_may_be_closed_inside_an_effect)
{
    cop_store *store = t_open();
    cop_effect_options options = COP_EFFECT_OPTIONS_INIT;
    watcher w = {.atom = {make(store, 1)}, .inside = close_store}, other = {.atom = {w.atom[0]}};

    options.destroy = destroyed;
    open_with(store, &w, &options);
    open_with(store, &other, &options);
    (void)cop_effects_run(store, NULL, 0, NULL);
    ck_assert_uint_eq(w.destroyed, 1);
    ck_assert_uint_eq(other.destroyed, 1);
    ck_assert_uint_eq(other.runs, 0);
    t_all_released();
}
END_TEST

/* --- cleanups and scopes ------------------------------------------------------------------------ */

static char order[64];

static void
letter(void *context)
{
    strcat(order, context);
}

static void
clean_three(watcher *w, cop_evaluation *evaluation)
{
    strcat(order, "r");
    CHECK_OK(cop_effect_on_cleanup(evaluation, letter, (void *)(uintptr_t) "a"));
    CHECK_OK(cop_effect_on_cleanup(evaluation, letter, (void *)(uintptr_t) "b"));
    CHECK_STATUS(cop_effect_on_cleanup(evaluation, NULL, NULL), COP_E_INVALID);
    cop_scope *scope = cop_effect_scope(evaluation);
    ck_assert_ptr_nonnull(scope);
    ck_assert_ptr_eq(scope, cop_effect_scope(evaluation));
    CHECK_OK(cop_scope_add(scope, letter, (void *)(uintptr_t) "s"));
    (void)w;
}

static void
letter_d(void *context)
{
    (void)context;
    strcat(order, "d");
}

START_TEST(cleanups_run_before_the_next_run_and_the_end_last_added_first)
{
    cop_store *store = t_open();
    cop_effect_options options = COP_EFFECT_OPTIONS_INIT;
    watcher w = {.atom = {make(store, 1)}, .inside = clean_three};

    order[0] = 0;
    options.destroy = letter_d;
    open_with(store, &w, &options);
    (void)run(store, NULL);
    ck_assert_str_eq(order, "r");
    set(store, w.atom[0], 2);
    ck_assert_str_eq(order, "r");
    (void)run(store, NULL);
    ck_assert_str_eq(order, "rbasr");
    cop_effect_close(store, w.effect);
    ck_assert_str_eq(order, "rbasrbasd");
    t_close(store);
}
END_TEST

START_TEST(an_effect_under_a_scope_goes_with_it)
{
    cop_store *store = t_open();
    cop_effect_options options = COP_EFFECT_OPTIONS_INIT;
    watcher w = {.atom = {make(store, 1)}};
    cop_scope *scope;
    cop_effect effect;

    CHECK_OK(cop_scope_open(NULL, &scope));
    options.destroy = destroyed;
    options.scope = scope;
    open_with(store, &w, &options);
    (void)run(store, NULL);
    cop_scope_keep(scope);
    cop_scope_dispose(scope);
    ck_assert_uint_eq(w.destroyed, 1);
    CHECK_STATUS(cop_effect_open(store, watch, &w, &options, &effect, NULL), COP_E_STATE);
    ck_assert_uint_eq(w.destroyed, 1); /* a failure destroys nothing */
    ck_assert_uint_eq(run(store, NULL), 0);
    cop_scope_drop(scope);
    t_close(store);
}
END_TEST

static void
open_child(watcher *w, cop_evaluation *evaluation)
{
    cop_effect_options options = COP_EFFECT_OPTIONS_INIT;

    options.scope = cop_effect_scope(evaluation);
    options.destroy = destroyed;
    victim->destroyed = 0;
    CHECK_OK(cop_effect_open(w->store, watch, victim, &options, &victim->effect, NULL));
}

START_TEST(effects_may_open_effects_in_their_scope)
{
    cop_store *store = t_open();
    watcher w = {.atom = {make(store, 1)}, .inside = open_child}, child = {.atom = {make(store, 5)}};

    victim = &child;
    open_with(store, &w, NULL);
    (void)run(store, NULL);
    ck_assert_uint_eq(child.runs, 1);
    set(store, w.atom[0], 2);
    (void)run(store, NULL);
    ck_assert_uint_eq(child.runs, 2);
    ck_assert_uint_eq(child.destroyed, 0);
    cop_effect_close(store, w.effect);
    ck_assert_uint_eq(child.destroyed, 1);
    set(store, child.atom[0], 6);
    ck_assert_uint_eq(run(store, NULL), 0);
    t_close(store);
}
END_TEST

/* --- queues ------------------------------------------------------------------------------------- */

START_TEST(a_queue_is_served_by_whoever_runs_it)
{
    cop_store *store = t_open();
    cop_effect_options options = COP_EFFECT_OPTIONS_INIT;
    watcher a = {.atom = {make(store, 1)}}, b = {.atom = {a.atom[0]}};
    cop_effect_queue *queue;
    struct pollfd p = {.events = POLLIN};

    CHECK_OK(cop_effect_queue_open(store, &queue));
    CHECK_OK(cop_effect_queue_fd(queue, &p.fd));
    ck_assert_int_eq(poll(&p, 1, 0), 0);
    options.queue = queue;
    open_with(store, &a, &options);
    open_with(store, &b, NULL);
    ck_assert_int_eq(poll(&p, 1, 0), 1);
    ck_assert_uint_eq(run(store, NULL), 1);
    ck_assert_uint_eq(b.runs, 1);
    CHECK_STATUS(cop_effects_settle(store, 1), COP_E_TIMEOUT);
    ck_assert_uint_eq(run(store, queue), 1);
    ck_assert_int_eq(poll(&p, 1, 0), 0);
    CHECK_OK(cop_effects_settle(store, 0));
    set(store, a.atom[0], 2);
    ck_assert_int_eq(poll(&p, 1, 0), 1);
    ck_assert_uint_eq(run(store, queue), 1);
    ck_assert_uint_eq(run(store, NULL), 1);
    ck_assert_int_eq(a.saw, 2);
    cop_effect_close(store, a.effect);
    cop_effect_queue_close(queue);
    open_with(store, &a, NULL); /* the number is on the store's own queue now */
    ck_assert_uint_eq(run(store, NULL), 1);
    t_close(store);
}
END_TEST

START_TEST(a_queue_may_be_closed_after_the_store)
{
    cop_store *store = t_open();
    cop_effect_options options = COP_EFFECT_OPTIONS_INIT;
    watcher a = {.atom = {make(store, 1)}};
    cop_effect_queue *queue;
    int fd;

    CHECK_OK(cop_effect_queue_open(store, &queue));
    options.queue = queue;
    options.destroy = destroyed;
    open_with(store, &a, &options);
    cop_store_close(store);
    ck_assert_uint_eq(a.destroyed, 1);
    CHECK_STATUS(cop_effects_run(store, queue, 0, NULL), COP_E_CLOSING);
    CHECK_STATUS(cop_effects_settle(store, 0), COP_E_CLOSING);
    CHECK_STATUS(cop_effect_queue_fd(queue, &fd), COP_E_CLOSING);
    cop_effect_queue_close(queue);
    t_all_released();
}
END_TEST

static void
nested(watcher *w, cop_evaluation *evaluation)
{
    uint64_t ran;

    (void)evaluation;
    if (w->runs == 1)
        set(w->store, w->atom[1], 5);
    CHECK_STATUS(cop_effects_settle(w->store, 0), COP_E_IN_EVALUATION);
    CHECK_OK(cop_effects_run(w->store, w->queue, 0, &ran));
    ck_assert_uint_eq(victim->runs, 1);
}

START_TEST(an_effect_may_serve_another_queue)
{
    cop_store *store = t_open();
    cop_effect_options options = COP_EFFECT_OPTIONS_INIT;
    watcher a = {.inside = nested}, b = {.runs = 0};

    victim = &b;
    a.atom[0] = make(store, 1);
    a.atom[1] = b.atom[0] = make(store, 1);
    CHECK_OK(cop_effect_queue_open(store, &a.queue));
    options.queue = a.queue;
    open_with(store, &a, NULL);
    open_with(store, &b, &options);
    ck_assert_uint_eq(run(store, NULL), 1);
    ck_assert_int_eq(b.saw, 5);
    cop_effect_close(store, b.effect);
    cop_effect_queue_close(a.queue);
    t_close(store);
}
END_TEST

/* --- pools -------------------------------------------------------------------------------------- */

START_TEST(a_pool_runs_the_stores_own_queue)
{
    cop_store *store = t_open();
    cop_pool_options options = COP_POOL_OPTIONS_INIT;
    cop_pool *pool;
    watcher w[100];

    options.threads = 2;
    CHECK_OK(cop_pool_open(&options, &pool, NULL));
    memset(w, 0, sizeof w);
    cop_atom atom = make(store, 1);
    for (int i = 0; i < 100; i++) {
        w[i].atom[0] = atom;
        open_with(store, &w[i], NULL);
    }
    CHECK_OK(cop_store_set_pool(store, pool)); /* what is due is run */
    while (!cop__effects_at_rest(&store->effects.rest))
        sched_yield();
    for (int i = 2; i < 50; i++)
        set(store, atom, i);
    while (!cop__effects_at_rest(&store->effects.rest))
        sched_yield();
    for (int i = 0; i < 100; i++)
        ck_assert_int_eq(w[i].saw, 49);
    CHECK_OK(cop_pool_resize(pool, 0));
    set(store, atom, 50);
    CHECK_OK(cop_effects_settle(store, COP_FOREVER));
    ck_assert_int_eq(w[99].saw, 50);
    CHECK_OK(cop_store_set_pool(store, NULL));
    cop_pool_close(pool);
    set(store, atom, 51);
    ck_assert_uint_eq(run(store, NULL), 100);
    t_close(store);
}
END_TEST

static cop_pool *
serve_by_pool(cop_store *store)
{
    cop_pool_options options = COP_POOL_OPTIONS_INIT;
    cop_pool *pool;

    options.threads = 2;
    CHECK_OK(cop_pool_open(&options, &pool, NULL));
    CHECK_OK(cop_store_set_pool(store, pool));
    return pool;
}

/* Until effects are at rest, and all their dependencies known: nobody else does anything. */
static void
wait_for_rest(cop_store *store)
{
    for (int waits = 0; !cop__effects_at_rest(&store->effects.rest) ||
                        cop__load_seq_cst(&store->effects.unlinked) > 0;
         waits++) {
        ck_assert_int_lt(waits, 20000);
        usleep(500);
    }
}

/* Until it is logged that workers cannot serve. */
static void
wait_for_log(void)
{
    for (int waits = 0; log_lines == 0; waits++) {
        ck_assert_int_lt(waits, 20000);
        usleep(500);
    }
}

static void
readers_most(cop_store *store, size_t n)
{
    pthread_mutex_lock(&store->gate->lock);
    store->gate->owned_max = n;
    pthread_mutex_unlock(&store->gate->lock);
}

START_TEST(workers_without_a_reader_slot_come_again)
{
    cop_store *store = open_store(100);
    watcher w = {.atom = {make(store, 1)}};
    size_t most = store->gate->owned_max;

    readers_most(store, 0);
    cop_pool *pool = serve_by_pool(store);
    open_with(store, &w, NULL);
    wait_for_log();
    usleep(5000);
    ck_assert_uint_eq(w.runs, 0);
    readers_most(store, most);
    wait_for_rest(store);
    ck_assert_int_eq(w.saw, 1);
    CHECK_OK(cop_store_set_pool(store, NULL));
    cop_pool_close(pool);
    t_close(store);
    ck_assert_uint_eq(log_lines, 1); /* once, however often they come */
    ck_assert_ptr_nonnull(strstr(logged[0], "COP_E_LIMIT"));
}
END_TEST

static void
memory_gone(cop_store *store, bool gone)
{
    atomic_store(&store->memory->fail_for_ever, gone);
    atomic_store(&store->memory->fail_countdown, gone ? 0 : -1);
}

/* The first run leaves no memory to tell the graph what it read. */
static void
take_memory(watcher *w, cop_evaluation *evaluation)
{
    (void)evaluation;
    if (w->runs == 1)
        memory_gone(w->store, true);
}

START_TEST(workers_without_memory_come_again)
{
    cop_store *store = open_store(100);
    watcher w = {.atom = {make(store, 1)}, .inside = take_memory};
    cop_pool *pool = serve_by_pool(store);

    open_with(store, &w, NULL);
    wait_for_log();
    memory_gone(store, false);
    wait_for_rest(store);
    ck_assert_uint_ge(w.runs, 2);
    set(store, w.atom[0], 2);
    wait_for_rest(store);
    ck_assert_int_eq(w.saw, 2);
    CHECK_OK(cop_store_set_pool(store, NULL));
    cop_pool_close(pool);
    t_close(store);
}
END_TEST

START_TEST(a_queue_that_cannot_be_served_stays_readable)
{
    cop_store *store = open_store(100);
    watcher w = {.store = store, .atom = {make(store, 1)}, .inside = take_memory};
    struct pollfd ready = {.events = POLLIN};
    uint64_t ran;

    CHECK_OK(cop_effect_queue_open(store, &w.queue));
    CHECK_OK(cop_effect_queue_fd(w.queue, &ready.fd));
    open_with(store, &w, &(cop_effect_options){.size = sizeof(cop_effect_options), .queue = w.queue});
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(poll(&ready, 1, 0), 1);
        CHECK_STATUS(cop_effects_run(store, w.queue, 0, &ran), COP_E_MEMORY);
        ck_assert_uint_eq(ran, i == 0);
    }
    memory_gone(store, false);
    ck_assert_int_eq(poll(&ready, 1, 0), 1);
    ck_assert_uint_eq(run(store, w.queue), 1);
    ck_assert_int_eq(poll(&ready, 1, 0), 0);
    cop_effect_close(store, w.effect);
    cop_effect_queue_close(w.queue);
    t_close(store);
}
END_TEST

/* --- out of memory ------------------------------------------------------------------------------ */

static void
read_much(watcher *w, cop_evaluation *evaluation)
{
    cop_value value;
    uint32_t count;

    if (cop_read_at(evaluation, P("list/a"), &value) == COP_OK &&
        cop_read_count(evaluation, w->atom[1], &count) == COP_OK)
        w->status = cop_read_i64(evaluation, w->atom[2], &w->saw);
    (void)cop_effect_on_cleanup(evaluation, cleaned, w);
}

START_TEST(without_memory_nothing_is_lost)
{
    for (int64_t k = 0; k < 60; k++) {
        cop_store *store = t_open();
        watcher w = {.inside = read_much}, plain = {.runs = 0};
        cop_effect_options options = COP_EFFECT_OPTIONS_INIT;
        cop_status status;

        t_set_at(store, "list/a", cop_i64(1));
        w.store = plain.store = store;
        w.atom[0] = plain.atom[0] = make(store, 1);
        w.atom[1] = t_find(store, "list");
        w.atom[2] = make(store, 1);
        options.label = "label";
        options.destroy = destroyed;
        for (int ever = 0; ever < 2; ever++) {
            atomic_store(&store->memory->fail_for_ever, ever);
            atomic_store(&store->memory->fail_countdown, k);
            status = cop_effect_open(store, watch, &w, &options, &w.effect, NULL);
            if (status == COP_OK)
                break;
            CHECK_STATUS(status, COP_E_MEMORY);
            ck_assert_uint_eq(w.destroyed, 0);
        }
        atomic_store(&store->memory->fail_countdown, -1);
        atomic_store(&store->memory->fail_for_ever, false);
        if (status != COP_OK)
            CHECK_OK(cop_effect_open(store, watch, &w, &options, &w.effect, NULL));
        CHECK_OK(cop_effect_open(store, watch, &plain, NULL, &plain.effect, NULL));
        atomic_store(&store->memory->fail_for_ever, k % 2);
        atomic_store(&store->memory->fail_countdown, k / 2);
        status = cop_effects_run(store, NULL, 0, NULL);
        ck_assert(status == COP_OK || status == COP_E_MEMORY);
        atomic_store(&store->memory->fail_countdown, -1);
        atomic_store(&store->memory->fail_for_ever, false);
        t_graph_holds(store, 1000, false);
        set(store, w.atom[2], 10 + k);
        CHECK_OK(cop_effects_settle(store, COP_FOREVER));
        ck_assert_int_eq(w.saw, 10 + k);
        ck_assert_int_eq(plain.saw, 1);
        set(store, w.atom[2], 100 + k);
        set(store, plain.atom[0], 5);
        CHECK_OK(cop_effects_settle(store, COP_FOREVER));
        ck_assert_int_eq(w.saw, 100 + k);
        ck_assert_int_eq(plain.saw, 5);
        atomic_store(&store->memory->fail_for_ever, true);
        atomic_store(&store->memory->fail_countdown, 0);
        cop_effect_close(store, w.effect);
        ck_assert_uint_eq(w.destroyed, 1);
        atomic_store(&store->memory->fail_countdown, -1);
        atomic_store(&store->memory->fail_for_ever, false);
        t_close(store);
    }
}
END_TEST

START_TEST(many_effects_cost_little_memory)
{
    cop_store *store = t_open();
    enum { MANY = 1 << 16 };
    watcher w = {.atom = {make(store, 1)}};
    cop_stats before = COP_STATS_INIT, after = COP_STATS_INIT;

    CHECK_OK(cop_stats_take(store, &before));
    for (int i = 0; i < MANY; i++)
        open_with(store, &w, NULL);
    ck_assert_uint_eq(run(store, NULL), MANY);
    CHECK_OK(cop_stats_take(store, &after));
    ck_assert_uint_le((after.bytes_held - before.bytes_held) / MANY, 200);
    set(store, w.atom[0], 2);
    ck_assert_uint_eq(run(store, NULL), MANY);
    t_close(store);
}
END_TEST

static void
add_tests(TCase *tests)
{
    tcase_add_test(tests, the_first_run_is_due_at_once);
    tcase_add_test(tests, runs_again_when_something_it_read_has_changed);
    tcase_add_test(tests, changes_while_it_waits_are_run_for_once_with_the_newest);
    tcase_add_test(tests, reads_computed_atoms_of_its_version);
    tcase_add_test(tests, dependencies_are_found_anew_by_each_run);
    tcase_add_test(tests, a_list_that_becomes_shorter_or_empty_is_noticed);
    tcase_add_test(tests, a_path_is_a_dependency_also_while_nothing_is_there);
    tcase_add_test(tests, a_list_of_children_is_a_dependency);
    tcase_add_test(tests, an_erased_atom_reads_as_gone);
    tcase_add_test(tests, a_change_before_its_dependency_is_known_is_not_missed);
    tcase_add_test(tests, nor_is_a_path_or_list_that_changes_before_it_is_known);
    tcase_add_test(tests, an_untracked_read_is_no_dependency);
    tcase_add_test(tests, lazy_atoms_are_read_with_what_they_rest_on);
    tcase_add_test(tests, text_and_wrong_types_are_read_as_anywhere);
    tcase_add_test(tests, most_bounds_the_runs);
    tcase_add_test(tests, what_it_commits_is_a_later_version);
    tcase_add_test(tests, effects_without_rest_are_cut_off_and_told);
    tcase_add_test(tests, effects_that_come_to_rest_are_not_cut_off);
    tcase_add_test(tests, one_that_fails_is_logged_and_does_not_stop_others);
    tcase_add_test(tests, what_cannot_be_opened);
    tcase_add_test(tests, nothing_of_it_is_legal_in_an_evaluation);
    tcase_add_test(tests, closing_ends_it_once);
    tcase_add_test(tests, a_handle_does_not_reach_the_next_effect_of_its_number);
    tcase_add_test(tests, it_may_close_itself);
    tcase_add_test(tests, one_may_close_another_that_is_due_beside_it);
    tcase_add_test(tests, closing_the_store_ends_its_effects);
    tcase_add_test(tests, the_store_may_be_closed_inside_an_effect);
    tcase_add_test(tests, cleanups_run_before_the_next_run_and_the_end_last_added_first);
    tcase_add_test(tests, an_effect_under_a_scope_goes_with_it);
    tcase_add_test(tests, effects_may_open_effects_in_their_scope);
    tcase_add_test(tests, a_queue_is_served_by_whoever_runs_it);
    tcase_add_test(tests, a_queue_may_be_closed_after_the_store);
    tcase_add_test(tests, an_effect_may_serve_another_queue);
    tcase_add_test(tests, a_pool_runs_the_stores_own_queue);
    tcase_add_test(tests, workers_without_a_reader_slot_come_again);
    tcase_add_test(tests, workers_without_memory_come_again);
    tcase_add_test(tests, a_queue_that_cannot_be_served_stays_readable);
    tcase_add_test(tests, without_memory_nothing_is_lost);
    tcase_add_test(tests, many_effects_cost_little_memory);
}

int
main(void)
{
    return t_run("effects", add_tests);
}

/* SPDX-License-Identifier: MIT */
/* Going back to kept versions: trees that change at random, the order of children, computed atoms. */
#include <coppice/computed.h>

#include "tests/support/history_test.h"

static cop_history_restored
restore(uint64_t version)
{
    cop_history_restored restored;
    cop_error error = COP_ERROR_INIT;
    cop_status status = cop_history_restore(store, version, COP_FOREVER, &restored, &error);

    ck_assert_msg(status == COP_OK, "restore %" PRIu64 ": %s", version, error.message);
    ck_assert_uint_eq(restored.version, cop_store_version(store));
    return restored;
}

static void
restored_equals(uint64_t version)
{
    char *want = document_of(version);

    (void)restore(version);
    char *got = document_of(cop_store_version(store));
    ck_assert_str_eq(got, want);
    free(want);
    free(got);
}

/* --- rules ------------------------------------------------------------------------ */

START_TEST(values_and_handles)
{
    open_keeping();
    json("", "{\"a\":1,\"b\":{\"c\":\"text that is long enough to be a block\",\"d\":null}}");
    cop_atom a = t_find(store, "a"), c = t_find(store, "b/c");
    t_set_at(store, "a", cop_f64(2.5));
    t_erase_at(store, "b");
    t_set_at(store, "e", cop_bool(true));
    cop_history_restored restored = restore(1);
    ck_assert_uint_eq(restored.from, 4);
    ck_assert_uint_eq(restored.version, 5); /* numbers go on */
    ck_assert_uint_eq(restored.edits, 3);
    ck_assert_uint_eq(restored.left, 0);
    json_is("{\"a\":1,\"b\":{\"c\":\"text that is long enough to be a block\",\"d\":null}}");
    t_is_i64(store, a, 1);
    CHECK_STATUS(t_status(store, c), COP_E_GONE);
    ck_assert(!SAME_ATOM(c, t_find(store, "b/c")));
    restored = restore(5); /* nothing to do */
    ck_assert_uint_eq(restored.version, 5);
    ck_assert_uint_eq(restored.edits, 0);
    restored = restore(1); /* b is another atom than it was then */
    ck_assert_uint_eq(restored.version, 6);
    ck_assert_uint_eq(restored.edits, 2);
    restored = restore(4); /* forth again */
    json_is("{\"a\":2.5,\"e\":true}");
    cop_error error = COP_ERROR_INIT;
    CHECK_STATUS(cop_history_restore(store, 77, COP_FOREVER, NULL, &error), COP_E_ABSENT);
    ck_assert_ptr_nonnull(strstr(error.message, "77"));
    t_verify(store);
    t_close(store);
}
END_TEST

START_TEST(kinds_change)
{
    static const char *const documents[] = {
        "{\"x\":1}", "{\"x\":{\"y\":[1,2,{\"z\":3}]}}", "{\"x\":[1,2,[3,4]]}", "{\"x\":\"s\"}",
        "[1,{\"x\":2},3]", "{}", "[]", "{\"x\":{},\"y\":[]}", "{\"y\":[],\"x\":{}}"};
    enum { N = sizeof documents / sizeof *documents };

    open_keeping();
    for (unsigned i = 0; i < N; i++)
        json("", documents[i]);
    uint64_t version[N], v = 1;
    for (unsigned i = 0; i < N; i++)
        version[i] = v++;
    for (unsigned i = 0; i < N; i++)
        for (unsigned j = 0; j < N; j++) {
            (void)restore(version[i]);
            json_is(documents[i]);
            (void)restore(version[j]);
            json_is(documents[j]);
        }
    t_verify(store);
    t_close(store);
}
END_TEST

START_TEST(order_comes_back)
{
    open_keeping();
    json("", "{\"a\":1,\"b\":2,\"c\":3,\"d\":4,\"l\":[1,2,3,4,5,6]}");
    json("", "{\"d\":4,\"l\":[6,1],\"b\":2,\"x\":0,\"a\":1}");
    json("", "{\"l\":[9,1,8,6,7],\"a\":1,\"c\":5}");
    json_is("{\"l\":[9,1,8,6,7],\"a\":1,\"c\":5}");
    restored_equals(1);
    restored_equals(2);
    restored_equals(3);
    restored_equals(1);
    t_verify(store);
    t_close(store);
}
END_TEST

/* --- at random -------------------------------------------------------------------- */

START_TEST(any_two_versions)
{
    seed = (unsigned long long)_i * 7919 + 5;
    open_keeping();
    for (int round = 0; round < 60; round++) {
        for (unsigned i = random_below(60) + 1; i > 0; i--)
            random_change();
        uint64_t newest = cop_store_version(store);
        if (newest < 2)
            continue;
        restored_equals(1 + random_below((unsigned)newest));
        uint64_t recent = newest > 20 ? newest - 20 : 1;
        restored_equals(recent + random_below((unsigned)(newest - recent + 1)));
    }
    t_verify(store);
    t_close(store);
}
END_TEST

/* Long lists: what moved, came and went in the middle of pages. */
START_TEST(long_lists)
{
    enum { N = 3000 };
    char *bytes = malloc(N * 16);
    size_t used;

    ck_assert_ptr_nonnull(bytes);
    seed = 99;
    open_keeping();
    for (int version = 0; version < 6; version++) {
        unsigned step = (unsigned[]){1, 7, 11, 1, 13, 1}[version], drop = 3 + (unsigned)version;
        used = (size_t)sprintf(bytes, "{");
        for (unsigned i = 0; i < N; i++) {
            unsigned k = i * step % N;
            if (k % drop != 0)
                used += (size_t)sprintf(bytes + used, "%s\"k%u\":%u", used > 1 ? "," : "", k, k);
        }
        sprintf(bytes + used, "}");
        json("", bytes);
    }
    for (int i = 0; i < 20; i++)
        restored_equals(1 + random_below(6));
    t_verify(store);
    free(bytes);
    t_close(store);
}
END_TEST

/* --- computed atoms --------------------------------------------------------------- */

static cop_status
emits(cop_evaluation *evaluation, void *context, cop_value *result)
{
    cop_value value;
    cop_status status = cop_read_at(evaluation, P("a"), &value);

    (void)context;
    (void)result;
    for (int64_t i = 0; status == COP_OK && i < cop_value_i64(&value); i++) {
        char key[24];
        const cop_value one = cop_i64(i);
        snprintf(key, sizeof key, "e%" PRId64, i);
        status = cop_emit(evaluation, P(key), &one);
    }
    return status;
}

static void
define(const char *path, cop_computed_function function, cop_computed_kind kind, bool branch)
{
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    cop_error error = COP_ERROR_INIT;

    options.kind = kind;
    options.branch = branch;
    ck_assert_msg(cop_computed_define(store, P(path), function, NULL, &options, NULL, &error) ==
                      COP_OK,
                  "%s", error.message);
}

START_TEST(computed_atoms_derive_again)
{
    open_keeping();
    json("", "{\"a\":1,\"x\":{\"m\":1,\"n\":2}}");
    define("twice", twice_a, COP_EAGER, false);
    define("lazy", twice_a, COP_LAZY, false);
    define("owned", emits, COP_EAGER, true);
    uint64_t version = cop_store_version(store);
    char *want = document_of(version);
    t_set_at(store, "a", cop_i64(3));
    t_erase_at(store, "x/m");
    t_set_at(store, "z", cop_i64(1));
    json_is("{\"a\":3,\"x\":{\"n\":2},\"twice\":6,"
            "\"owned\":{\"e0\":0,\"e1\":1,\"e2\":2},\"z\":1}");
    cop_history_restored restored = restore(version);
    json_is(want);
    ck_assert_uint_eq(restored.edits, 3);
    ck_assert_uint_ge(restored.left, 1);
    free(want);
    t_close(store);
}
END_TEST

/* One that came since stays, with the sources around it in the right order; so does its name. */
START_TEST(computed_atoms_that_came_and_went)
{
    open_keeping();
    json("", "{\"b\":1,\"a\":2,\"c\":3}");
    t_erase_at(store, "c");
    define("c", twice_a, COP_EAGER, false);
    t_erase_at(store, "b");
    define("d", twice_a, COP_EAGER, false);
    t_set_at(store, "b", cop_i64(5));
    json_is("{\"a\":2,\"c\":4,\"d\":4,\"b\":5}");
    uint64_t before = cop_store_version(store);
    cop_history_restored restored = restore(1);
    json_is("{\"b\":1,\"a\":2,\"c\":4,\"d\":4}");
    ck_assert_uint_eq(restored.left, 3); /* c and d stay, and the old c is not made */
    CHECK_OK(cop_computed_dispose(store, t_find(store, "c")));
    CHECK_OK(cop_computed_dispose(store, t_find(store, "d")));
    (void)restore(before); /* what went is not made again, functions are not kept */
    json_is("{\"a\":2,\"b\":5}");
    (void)restore(1);
    json_is("{\"b\":1,\"a\":2,\"c\":3}");
    t_verify(store);
    t_close(store);
}
END_TEST

/* A branch is made again without what was computed in it. */
START_TEST(computed_atoms_in_a_branch_that_went)
{
    open_keeping();
    json("", "{\"a\":1,\"x\":{\"m\":1}}");
    define("x/twice", twice_a, COP_EAGER, false);
    uint64_t version = cop_store_version(store);
    json_is("{\"a\":1,\"x\":{\"m\":1,\"twice\":2}}");
    t_erase_at(store, "x");
    cop_history_restored restored = restore(version);
    ck_assert_uint_eq(restored.edits, 1);
    ck_assert_uint_eq(restored.left, 1);
    json_is("{\"a\":1,\"x\":{\"m\":1}}");
    t_verify(store);
    t_close(store);
}
END_TEST

/* --- others at the same time; memory; edges ---------------------------------------- */

typedef struct change_log {
    unsigned told;
    uint64_t to;
} change_log;

static void
told(void *context, cop_watch *watch, cop_watch_batch *batch)
{
    change_log *log = context;

    (void)watch;
    log->told += (unsigned)batch->count;
    log->to = batch->to;
}

START_TEST(watchers_see_changes)
{
    change_log log = {0, 0};
    cop_watch *watch;

    open_keeping();
    json("", "{\"a\":1,\"b\":2}");
    t_set_at(store, "a", cop_i64(5));
    t_erase_at(store, "b");
    CHECK_OK(cop_watch_open(store, "", 0, NULL, told, &log, &watch, NULL));
    (void)restore(1);
    CHECK_OK(cop_store_poll(store));
    ck_assert_uint_eq(log.told, 2);
    ck_assert_uint_eq(log.to, 4);
    cop_watch_close(watch);
    t_close(store);
}
END_TEST

static void
open_two_documents(void)
{
    open_keeping();
    json("", "{\"a\":1,\"b\":{\"c\":[1,2,3,{\"d\":\"a text that is not inlined anywhere\"}]},\"e\":5}");
    json("", "{\"f\":1,\"e\":2,\"a\":1}");
}

/* What the history keeps gives way when a commit finds no memory: it is kept anew for each try. */
START_TEST(memory_refused)
{
    open_two_documents();
    char *want = document_of(1), *was = document_of(2);
    cop_status status = COP_E_MEMORY;
    for (int k = 0; k < 2000 && status == COP_E_MEMORY; k++) {
        atomic_store(&store->memory->fail_for_ever, k % 2 == 0);
        atomic_store(&store->memory->fail_countdown, k / 2);
        status = cop_history_restore(store, 1, COP_FOREVER, NULL, NULL);
        atomic_store(&store->memory->fail_countdown, -1);
        if (status == COP_OK)
            break;
        json_is(was);
        t_verify(store);
        t_close(store);
        open_two_documents();
    }
    CHECK_OK(status);
    json_is(want);
    free(want);
    free(was);
    t_verify(store);
    t_close(store);
}
END_TEST

START_TEST(no_more_snapshots_than_may_be)
{
    const cop_snapshot *snapshot;
    cop_options options = COP_OPTIONS_INIT;
    cop_error error = COP_ERROR_INIT;

    open_keeping();
    json("", "{\"a\":1}");
    json("", "{\"a\":2}");
    CHECK_OK(cop_store_options(store, &options));
    options.snapshots_max = 1;
    CHECK_OK(cop_store_reconfigure(store, &options, COP_FOREVER, NULL));
    CHECK_OK(cop_snapshot_take(store, &snapshot));
    CHECK_STATUS(cop_history_restore(store, 1, COP_FOREVER, NULL, &error), COP_E_LIMIT);
    ck_assert_uint_eq(cop_store_version(store), 2);
    cop_snapshot_drop(snapshot);
    (void)restore(1);
    t_close(store);
}
END_TEST

START_TEST(not_when_closing)
{
    const cop_snapshot *snapshot;
    cop_error error = COP_ERROR_INIT;

    open_keeping();
    t_set_at(store, "a", cop_i64(1));
    CHECK_OK(cop_history_take(store, 1, &snapshot));
    cop__evaluating = true;
    CHECK_STATUS(cop_history_restore(store, 1, COP_FOREVER, NULL, &error), COP_E_IN_EVALUATION);
    cop__evaluating = false;
    cop_store_close(store);
    CHECK_STATUS(cop_history_restore(store, 1, COP_FOREVER, NULL, &error), COP_E_CLOSING);
    cop_snapshot_drop(snapshot);
    t_all_released();
}
END_TEST

static void
tests(TCase *tests)
{
    tcase_add_test(tests, values_and_handles);
    tcase_add_test(tests, kinds_change);
    tcase_add_test(tests, order_comes_back);
    tcase_add_loop_test(tests, any_two_versions, 0, 12);
    tcase_add_test(tests, long_lists);
    tcase_add_test(tests, computed_atoms_derive_again);
    tcase_add_test(tests, computed_atoms_that_came_and_went);
    tcase_add_test(tests, watchers_see_changes);
    tcase_add_test(tests, memory_refused);
    tcase_add_test(tests, computed_atoms_in_a_branch_that_went);
    tcase_add_test(tests, no_more_snapshots_than_may_be);
    tcase_add_test(tests, not_when_closing);
}

int
main(void)
{
    return t_run("history restore", tests);
}

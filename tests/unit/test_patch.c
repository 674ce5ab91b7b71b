/* SPDX-License-Identifier: MIT */
/* Patches: what is written for each kind of change, what is applied, and what is refused and why.
 */
#include "store/store_internal.h"
#include "tests/support/patch_test.h"

/* ---- writing ---- */

typedef struct change {
    const char *before, *now, *json, *merge; /* merge NULL: it cannot say it */
} change;

static const change changes[] = {
    {"{}", "{}", "[]", "{}"},
    {"{\"a\":1}", "{\"a\":2}", "[{\"op\":\"replace\",\"path\":\"/a\",\"value\":2}]", "{\"a\":2}"},
    {"{\"a\":1}", "{}", "[{\"op\":\"remove\",\"path\":\"/a\"}]", "{\"a\":null}"},
    {"{}", "{\"a\":{\"b\":[1,null]}}",
     "[{\"op\":\"add\",\"path\":\"/a\",\"value\":{\"b\":[1,null]}}]", "{\"a\":{\"b\":[1,null]}}"},
    {"{\"a\":1}", "{\"a\":null}", "[{\"op\":\"replace\",\"path\":\"/a\",\"value\":null}]", NULL},
    {"{}", "{\"a\":{\"b\":null}}", "[{\"op\":\"add\",\"path\":\"/a\",\"value\":{\"b\":null}}]",
     NULL},
    {"{\"a\":{\"b\":1}}", "{\"a\":[1]}", "[{\"op\":\"replace\",\"path\":\"/a\",\"value\":[1]}]",
     "{\"a\":[1]}"},
    {"{\"a\":[1,2,3]}", "{\"a\":[1,2]}", "[{\"op\":\"remove\",\"path\":\"/a/2\"}]",
     "{\"a\":[1,2]}"},
    {"{\"a\":[[1],2]}", "{\"a\":[[3],2]}", "[{\"op\":\"replace\",\"path\":\"/a/0/0\",\"value\":3}]",
     "{\"a\":[[3],2]}"},
    {"{\"a\":{\"x\":1,\"y\":{\"z\":2}},\"b\":3}", "{\"a\":{\"x\":4,\"y\":{\"z\":5}},\"b\":6}", NULL,
     "{\"a\":{\"x\":4,\"y\":{\"z\":5}},\"b\":6}"},
    {"{\"~/*\":{\"\":1}}", "{\"~/*\":{\"\":2,\"\\\"\\n\":3}}",
     "[{\"op\":\"add\",\"path\":\"/~0~1*/\\\"\\u000a\",\"value\":3},"
     "{\"op\":\"replace\",\"path\":\"/~0~1*/\",\"value\":2}]",
     "{\"~/*\":{\"\\\"\\u000a\":3,\"\":2}}"},
    {"{\"a\":{\"$bytes\":\"AA==\"}}", "{\"a\":{\"$bytes\":\"AQ==\"}}",
     "[{\"op\":\"replace\",\"path\":\"/a\",\"value\":{\"$bytes\":\"AQ==\"}}]",
     "{\"a\":{\"$bytes\":\"AQ==\"}}"},
    {"{\"a\":{\"$bytes\":\"AA==\"}}", "{\"a\":{\"b\":1}}",
     "[{\"op\":\"replace\",\"path\":\"/a\",\"value\":{\"b\":1}}]", NULL},
    {"[1,2]", "[2]", NULL, "[2]"},
    {"[1]", "[1]", "[]", "[1]"},
    {"1", "1", "[]", "1"},
    {"1", "\"x\"", "[{\"op\":\"replace\",\"path\":\"\",\"value\":\"x\"}]", "\"x\""},
    {"{\"b\":1,\"a\":1}", "{\"a\":2,\"b\":1}", "[{\"op\":\"replace\",\"path\":\"/a\",\"value\":2}]",
     "{\"a\":2}"},
};

static void
check_merge(const cop_snapshot *before, const cop_snapshot *now, const char *wanted)
{
    t_text text = {NULL, 0};
    cop_error error = COP_ERROR_INIT;
    cop_status status =
        cop_patch_write(before, now, P("doc"), COP_PATCH_MERGE, NULL, t_text_sink, &text, &error);

    if (wanted == NULL) {
        CHECK_STATUS(status, COP_E_UNSUPPORTED);
        ck_assert_ptr_nonnull(strstr(error.message, "\"a"));
    } else {
        CHECK_OK(status);
        ck_assert_str_eq(text.at, wanted);
        t_check_patch(before, now, COP_PATCH_MERGE);
    }
    free(text.at);
}

START_TEST(written)
{
    const change *c = &changes[_i];
    cop_store *store = t_open();

    t_put(store, "doc", c->before);
    const cop_snapshot *before = t_snapshot(store);
    t_put(store, "doc", c->now);
    const cop_snapshot *now = t_snapshot(store);
    t_text json = t_patch(before, now, "doc", COP_PATCH_JSON);
    if (c->json != NULL)
        ck_assert_str_eq(json.at, c->json);
    free(json.at);
    t_check_patch(before, now, COP_PATCH_JSON);
    t_check_patch(now, before, COP_PATCH_JSON);
    t_check_patch(before, now, COP_PATCH_BINARY);
    t_check_patch(now, before, COP_PATCH_BINARY);
    check_merge(before, now, c->merge);
    cop_snapshot_drop(before);
    cop_snapshot_drop(now);
    t_close(store);
}
END_TEST

/* The document is in one version only, or another atom. */
START_TEST(whole)
{
    cop_store *store = t_open();
    cop_txn *txn;

    t_put(store, "", "{\"a\":{\"b\":1}}");
    const cop_snapshot *first = t_snapshot(store);
    CHECK_OK(cop_txn_begin(store, &txn));
    CHECK_OK(cop_txn_erase_at(txn, P("a"), NULL));
    CHECK_OK(cop_txn_commit(txn, NULL, NULL));
    const cop_snapshot *without = t_snapshot(store);
    t_put(store, "a", "{\"c\":2}");
    const cop_snapshot *again = t_snapshot(store);
    static const char *const wanted[][2] = {
        {"[{\"op\":\"remove\",\"path\":\"\"}]", "null"},
        {"[{\"op\":\"add\",\"path\":\"\",\"value\":{\"c\":2}}]", "{\"c\":2}"},
        {"[{\"op\":\"replace\",\"path\":\"\",\"value\":{\"c\":2}}]", NULL}};
    const cop_snapshot *pairs[][2] = {{first, without}, {without, again}, {first, again}};
    for (int i = 0; i < 3; i++)
        for (int format = 0; format < 2; format++) {
            t_text text = {NULL, 0};
            cop_status status =
                cop_patch_write(pairs[i][0], pairs[i][1], P("a"), (cop_patch_format)format, NULL,
                                t_text_sink, &text, NULL);
            CHECK_STATUS(status, wanted[i][format] != NULL ? COP_OK : COP_E_UNSUPPORTED);
            if (wanted[i][format] != NULL)
                ck_assert_str_eq(text.at, wanted[i][format]);
            free(text.at);
        }
    t_text text = {NULL, 0};
    CHECK_STATUS(
        cop_patch_write(first, again, P("x"), COP_PATCH_JSON, NULL, t_text_sink, &text, NULL),
        COP_E_ABSENT);
    for (int i = 0; i < 3; i++) { /* binary: onto what is there, forwards */
        cop_error error;
        t_put(store, "", i == 1 ? "{}" : "{\"a\":{\"b\":1}}");
        t_text patch = t_patch(pairs[i][0], pairs[i][1], "a", COP_PATCH_BINARY);
        CHECK_OK(t_apply(store, "a", COP_PATCH_BINARY, patch, &error));
        const cop_snapshot *made = t_snapshot(store);
        t_text got = t_json(made, "");
        ck_assert_str_eq(got.at, i == 0 ? "{}" : "{\"a\":{\"c\":2}}");
        cop_snapshot_drop(made);
        free(got.at);
        free(patch.at);
    }
    cop_snapshot_drop(first);
    cop_snapshot_drop(without);
    cop_snapshot_drop(again);
    t_close(store);
}
END_TEST

static void
define_lazy(cop_store *store, const char *path, cop_atom *atom)
{
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;

    options.kind = COP_LAZY;
    CHECK_OK(cop_computed_define(store, P(path), t_seven, NULL, &options, atom, NULL));
}

/* What is lazy is left out of objects, and null in arrays, as cop_json_write does it. */
START_TEST(lazy)
{
    enum { STATES = 5 };
    static const char *const wanted[STATES] = {"{\"a\":[1]}", "{\"a\":[1]}", "{\"a\":[1,null]}",
                                               "{\"a\":[1,null]}", "{\"a\":[1]}"};
    const cop_snapshot *state[STATES];
    cop_store *store = t_open();
    cop_atom member, element;

    t_put(store, "doc", "{\"a\":[1]}");
    state[0] = t_snapshot(store);
    define_lazy(store, "doc/l", &member);
    state[1] = t_snapshot(store);
    define_lazy(store, "doc/a/-", &element);
    state[2] = t_snapshot(store);
    CHECK_OK(cop_computed_dispose(store, member));
    state[3] = t_snapshot(store);
    CHECK_OK(cop_computed_dispose(store, element));
    state[4] = t_snapshot(store);
    for (int i = 0; i < STATES; i++) {
        t_text text = t_json(state[i], "doc");
        ck_assert_str_eq(text.at, wanted[i]);
        free(text.at);
        for (int k = 0; k < STATES; k++)
            for (int format = 0; format < 3; format += 2)
                t_check_patch(state[i], state[k], (cop_patch_format)format);
    }
    t_text none = t_patch(state[0], state[1], "doc", COP_PATCH_JSON);
    ck_assert_str_eq(none.at, "[]");
    free(none.at);
    t_text alone = t_patch(state[0], state[1], "doc/l", COP_PATCH_JSON);
    ck_assert_str_eq(alone.at, "[]");
    free(alone.at);
    alone = t_patch(state[0], state[1], "doc/l", COP_PATCH_BINARY);
    free(alone.at);
    for (int i = 0; i < STATES; i++)
        cop_snapshot_drop(state[i]);
    t_close(store);
}
END_TEST

static cop_status
reads_lazy(cop_evaluation *evaluation, void *context, cop_value *value)
{
    const cop_atom *atom = context;

    return cop_read(evaluation, *atom, value);
}

/* An atom that is read by an eager one is lazy no more; and a lazy one in what is new is left out.
 */
START_TEST(lazy_no_more)
{
    cop_store *store = t_open();
    cop_atom member, element, reader;

    t_put(store, "doc", "{\"a\":[1]}");
    const cop_snapshot *empty = t_snapshot(store);
    define_lazy(store, "doc/new/l", &member);
    define_lazy(store, "doc/a/-", &element);
    const cop_snapshot *before = t_snapshot(store);
    CHECK_OK(cop_computed_define(store, P("r"), reads_lazy, &member, NULL, &reader, NULL));
    CHECK_OK(cop_computed_define(store, P("s"), reads_lazy, &element, NULL, &reader, NULL));
    const cop_snapshot *now = t_snapshot(store);
    t_text text = t_json(now, "doc");
    ck_assert_str_eq(text.at, "{\"a\":[1,7],\"new\":{\"l\":7}}");
    free(text.at);
    text = t_patch(before, now, "doc", COP_PATCH_JSON);
    ck_assert_ptr_nonnull(strstr(text.at, "{\"op\":\"add\",\"path\":\"/new/l\",\"value\":7}"));
    ck_assert_ptr_nonnull(strstr(text.at, "{\"op\":\"replace\",\"path\":\"/a/1\",\"value\":7}"));
    free(text.at);
    const cop_snapshot *all[] = {empty, before, now};
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 3; k++)
            for (int format = 0; format < 3; format += 2)
                t_check_patch(all[i], all[k], (cop_patch_format)format);
    text = t_patch(before, now, "doc/new", COP_PATCH_MERGE);
    ck_assert_str_eq(text.at, "{\"l\":7}");
    free(text.at);
    text = t_patch(now, before, "doc/new", COP_PATCH_MERGE);
    ck_assert_str_eq(text.at, "{\"l\":null}");
    free(text.at);
    for (int i = 0; i < 3; i++)
        cop_snapshot_drop(all[i]);
    t_close(store);
}
END_TEST

/* A merge patch has nothing to say of lazy members that come and go. */
START_TEST(lazy_and_merge)
{
    cop_store *store = t_open();
    cop_atom member;

    t_put(store, "doc", "{\"a\":1}");
    const cop_snapshot *before = t_snapshot(store);
    define_lazy(store, "doc/l", &member);
    const cop_snapshot *now = t_snapshot(store);
    t_text text = t_patch(before, now, "doc", COP_PATCH_MERGE);
    ck_assert_str_eq(text.at, "{}");
    free(text.at);
    text = t_patch(now, before, "doc", COP_PATCH_MERGE);
    ck_assert_str_eq(text.at, "{}");
    free(text.at);
    cop_snapshot_drop(before);
    cop_snapshot_drop(now);
    t_close(store);
}
END_TEST

/* Names so long that room must be made for them anew, at each step: memory that is refused ends it,
 * whichever it is. */
START_TEST(refused_names)
{
    static const char *const documents[][2] = {
        {"{\"%s\":{\"%s\":1}}", "{\"%s\":{\"%s\":2}}"},
        {"{\"%s\":{\"%s\":1}}", "{\"%s\":{\"%s\":1,\"new\":2}}"},
        {"{\"%s\":{\"x\":1}}", "{\"%s\":{\"%s\":[3],\"x\":1}}"}};
    cop_store *store = t_open();
    cop__memory *memory = cop__store_memory(store);
    char key[600], text[2000];
    unsigned refusals = 0;

    memset(key, 'k', sizeof key - 1);
    key[sizeof key - 1] = '\0';
    snprintf(text, sizeof text, documents[_i][0], key, key);
    t_put(store, "", text);
    const cop_snapshot *before = t_snapshot(store);
    snprintf(text, sizeof text, documents[_i][1], key, key);
    t_put(store, "", text);
    const cop_snapshot *now = t_snapshot(store);
    for (int format = 0; format < 3; format++)
        for (int64_t k = 0; k < 40; k++) {
            t_text patch = {NULL, 0};
            atomic_store(&memory->fail_countdown, k);
            cop_status status = cop_patch_write(before, now, P(""), (cop_patch_format)format, NULL,
                                                t_text_sink, &patch, NULL);
            atomic_store(&memory->fail_countdown, -1);
            free(patch.at);
            ck_assert(status == COP_OK || status == COP_E_MEMORY);
            refusals += status != COP_OK;
        }
    ck_assert_uint_gt(refusals, 9);
    cop_snapshot_drop(before);
    cop_snapshot_drop(now);
    t_close(store);
}
END_TEST

/* More than is handed out at once. */
START_TEST(long_patches)
{
    cop_store *store = t_open();
    char path[32];
    cop_txn *txn;

    t_put(store, "doc", "{}");
    const cop_snapshot *before = t_snapshot(store);
    CHECK_OK(cop_txn_begin(store, &txn));
    for (int i = 0; i < 3000; i++) {
        cop_value value = cop_i64(i);
        int n = snprintf(path, sizeof path, "doc/b%d/k%d", i % 7, i);
        CHECK_OK(cop_txn_set_at(txn, path, (size_t)n, &value, NULL));
    }
    CHECK_OK(cop_txn_commit(txn, NULL, NULL));
    const cop_snapshot *now = t_snapshot(store);
    for (int format = 0; format < 3; format++)
        t_check_patch(before, now, (cop_patch_format)format);
    t_check_patch(now, before, COP_PATCH_JSON);
    cop_snapshot_drop(before);
    cop_snapshot_drop(now);
    t_close(store);
}
END_TEST

static int
stop(void *context, const char *bytes, size_t n)
{
    (void)context;
    (void)bytes;
    (void)n;
    return 1;
}

START_TEST(arguments)
{
    cop_store *store = t_open(), *other;
    cop_patch_options options = COP_PATCH_OPTIONS_INIT;
    cop_error error = COP_ERROR_INIT;
    t_text text = {NULL, 0};
    cop_txn *txn;

    t_put(store, "", "{\"a\":1}");
    const cop_snapshot *a = t_snapshot(store);
    t_put(store, "", "{\"a\":2}");
    const cop_snapshot *b = t_snapshot(store);
    CHECK_OK(cop_store_open(NULL, &other, NULL));
    const cop_snapshot *foreign = t_snapshot(other);
    CHECK_STATUS(cop_patch_write(NULL, b, P(""), COP_PATCH_JSON, NULL, stop, NULL, &error),
                 COP_E_INVALID);
    CHECK_STATUS(cop_patch_write(a, foreign, P(""), COP_PATCH_JSON, NULL, stop, NULL, &error),
                 COP_E_INVALID);
    CHECK_STATUS(cop_patch_write(a, b, P(""), (cop_patch_format)9, NULL, stop, NULL, &error),
                 COP_E_INVALID);
    CHECK_STATUS(cop_patch_write(a, b, P("a//b"), COP_PATCH_JSON, NULL, stop, NULL, &error),
                 COP_E_PATH);
    for (int format = 0; format < 3; format++) {
        options.max_bytes = 0;
        CHECK_STATUS(
            cop_patch_write(a, b, P(""), (cop_patch_format)format, &options, stop, NULL, &error),
            COP_E_IO);
        options.max_bytes = 5;
        CHECK_STATUS(cop_patch_write(a, b, P(""), (cop_patch_format)format, &options, t_text_sink,
                                     &text, &error),
                     COP_E_LIMIT);
    }
    options.size = 1;
    CHECK_STATUS(cop_patch_write(a, b, P(""), COP_PATCH_JSON, &options, stop, NULL, &error),
                 COP_E_INVALID);
    CHECK_STATUS(cop_patch_apply(NULL, P(""), COP_PATCH_JSON, P("[]"), &error), COP_E_INVALID);
    CHECK_OK(cop_txn_begin(store, &txn));
    CHECK_STATUS(cop_patch_apply(txn, P("a//"), COP_PATCH_JSON, P("[]"), &error), COP_E_PATH);
    CHECK_STATUS(cop_patch_apply(txn, P(""), (cop_patch_format)7, P("[]"), &error), COP_E_INVALID);
    cop_txn_cancel(txn);
    free(text.at);
    cop_snapshot_drop(foreign);
    cop_store_close(other);
    cop_snapshot_drop(a);
    cop_snapshot_drop(b);
    t_close(store);
}
END_TEST

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

int
main(void)
{
    Suite *suite = suite_create("patch");
    TCase *tcase = tcase_create("patch");

    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, written, 0, COUNT(changes));
    tcase_add_test(tcase, whole);
    tcase_add_test(tcase, lazy);
    tcase_add_test(tcase, lazy_no_more);
    tcase_add_test(tcase, lazy_and_merge);
    tcase_add_loop_test(tcase, refused_names, 0, 3);
    tcase_add_test(tcase, long_patches);
    tcase_add_test(tcase, arguments);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}

/* SPDX-License-Identifier: MIT */
/* Patches: what is written for each kind of change, what is applied, and what is refused and why. */
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
check_applied(const cop_snapshot *before, const cop_snapshot *now, cop_patch_format format)
{
    cop_store *other;
    cop_error error;
    t_text old = t_json(before, "doc"), wanted = t_json(now, "doc");
    t_text patch = t_patch(before, now, "doc", format);

    CHECK_OK(cop_store_open(NULL, &other, NULL));
    t_put(other, "in/doc", old.at);
    cop_status status = t_apply(other, "in/doc", format, patch, &error);
    ck_assert_msg(status == COP_OK, "%s: %s", patch.at, error.message);
    const cop_snapshot *made = t_snapshot(other);
    t_text got = t_json(made, "in/doc");
    if (format == COP_PATCH_BINARY)
        ck_assert_str_eq(got.at, wanted.at);
    ck_assert(t_same_json(got.at, wanted.at));
    cop_snapshot_drop(made);
    free(old.at);
    free(wanted.at);
    free(patch.at);
    free(got.at);
    cop_store_close(other);
}

static void
check_merge(const cop_snapshot *before, const cop_snapshot *now, const char *wanted)
{
    t_text text = {NULL, 0};
    cop_error error = COP_ERROR_INIT;
    cop_status status = cop_patch_write(before, now, P("doc"), COP_PATCH_MERGE, NULL, t_text_sink,
                                        &text, &error);

    if (wanted == NULL) {
        CHECK_STATUS(status, COP_E_UNSUPPORTED);
        ck_assert_ptr_nonnull(strstr(error.message, "\"a"));
    } else {
        CHECK_OK(status);
        ck_assert_str_eq(text.at, wanted);
        check_applied(before, now, COP_PATCH_MERGE);
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
    check_applied(before, now, COP_PATCH_JSON);
    check_applied(now, before, COP_PATCH_JSON);
    check_applied(before, now, COP_PATCH_BINARY);
    check_applied(now, before, COP_PATCH_BINARY);
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
    CHECK_STATUS(cop_patch_write(first, again, P("x"), COP_PATCH_JSON, NULL, t_text_sink, &text,
                                 NULL),
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

static cop_status
seven(cop_evaluation *evaluation, void *context, cop_value *value)
{
    (void)evaluation;
    (void)context;
    *value = cop_i64(7);
    return COP_OK;
}

/* ---- applying JSON patches ---- */

typedef struct application {
    const char *document, *patch, *result; /* result NULL: refused */
    cop_status status;
    const char *why; /* in the message */
} application;

#define OP(op, rest) "{\"op\":\"" op "\"," rest "}"

static const application applications[] = {
    /* RFC 6902, appendix A */
    {"{\"foo\":\"bar\"}", "[" OP("add", "\"path\":\"/baz\",\"value\":\"qux\"") "]",
     "{\"foo\":\"bar\",\"baz\":\"qux\"}", COP_OK, NULL},
    {"{\"foo\":[\"bar\",\"baz\"]}", "[" OP("add", "\"path\":\"/foo/1\",\"value\":\"qux\"") "]",
     "{\"foo\":[\"bar\",\"qux\",\"baz\"]}", COP_OK, NULL},
    {"{\"baz\":\"qux\",\"foo\":\"bar\"}", "[" OP("remove", "\"path\":\"/baz\"") "]",
     "{\"foo\":\"bar\"}", COP_OK, NULL},
    {"{\"foo\":[\"bar\",\"qux\",\"baz\"]}", "[" OP("remove", "\"path\":\"/foo/1\"") "]",
     "{\"foo\":[\"bar\",\"baz\"]}", COP_OK, NULL},
    {"{\"baz\":\"qux\",\"foo\":\"bar\"}", "[" OP("replace", "\"path\":\"/baz\",\"value\":\"boo\"") "]",
     "{\"baz\":\"boo\",\"foo\":\"bar\"}", COP_OK, NULL},
    {"{\"foo\":{\"bar\":\"baz\",\"waldo\":\"fred\"},\"qux\":{\"corge\":\"grault\"}}",
     "[" OP("move", "\"from\":\"/foo/waldo\",\"path\":\"/qux/thud\"") "]",
     "{\"foo\":{\"bar\":\"baz\"},\"qux\":{\"corge\":\"grault\",\"thud\":\"fred\"}}", COP_OK, NULL},
    {"{\"foo\":[\"all\",\"grass\",\"cows\",\"eat\"]}",
     "[" OP("move", "\"from\":\"/foo/1\",\"path\":\"/foo/3\"") "]",
     "{\"foo\":[\"all\",\"cows\",\"eat\",\"grass\"]}", COP_OK, NULL},
    {"{\"baz\":\"qux\",\"foo\":[\"a\",2,\"c\"]}",
     "[" OP("test", "\"path\":\"/baz\",\"value\":\"qux\"") "," OP("test", "\"path\":\"/foo/1\",\"value\":2") "]",
     "{\"baz\":\"qux\",\"foo\":[\"a\",2,\"c\"]}", COP_OK, NULL},
    {"{\"baz\":\"qux\"}", "[" OP("test", "\"path\":\"/baz\",\"value\":\"bar\"") "]", NULL, COP_E_STATE,
     "operation 0"},
    {"{\"foo\":\"bar\"}", "[" OP("add", "\"path\":\"/child\",\"value\":{\"grandchild\":{}}") "]",
     "{\"foo\":\"bar\",\"child\":{\"grandchild\":{}}}", COP_OK, NULL},
    {"{\"foo\":\"bar\"}", "[" OP("add", "\"path\":\"/baz\",\"value\":\"qux\",\"xyz\":123") "]",
     "{\"foo\":\"bar\",\"baz\":\"qux\"}", COP_OK, NULL},
    {"{\"foo\":\"bar\"}", "[" OP("add", "\"path\":\"/baz/bat\",\"value\":\"qux\"") "]", NULL,
     COP_E_ABSENT, "operation 0"},
    {"{\"/\":9,\"~1\":10}", "[" OP("test", "\"path\":\"/~01\",\"value\":10") "]",
     "{\"/\":9,\"~1\":10}", COP_OK, NULL},
    {"{\"/\":9,\"~1\":10}", "[" OP("test", "\"path\":\"/~01\",\"value\":\"10\"") "]", NULL,
     COP_E_STATE, "test"},
    {"{\"foo\":[\"bar\"]}", "[" OP("add", "\"path\":\"/foo/-\",\"value\":[\"abc\",\"def\"]") "]",
     "{\"foo\":[\"bar\",[\"abc\",\"def\"]]}", COP_OK, NULL},
    /* later operations see earlier ones */
    {"{}", "[" OP("add", "\"path\":\"/a\",\"value\":[{}]") "," OP("add", "\"path\":\"/a/0/b\",\"value\":1")
     "," OP("copy", "\"from\":\"/a\",\"path\":\"/a/-\"") "," OP("move", "\"from\":\"/a/1/0\",\"path\":\"/c\"")
     "," OP("test", "\"path\":\"\",\"value\":{\"c\":{\"b\":1},\"a\":[{\"b\":1.0},[]]}") "]",
     "{\"a\":[{\"b\":1},[]],\"c\":{\"b\":1}}", COP_OK, NULL},
    {"{\"a\":1}", "[" OP("copy", "\"from\":\"\",\"path\":\"/a\"") "]", "{\"a\":{\"a\":1}}", COP_OK, NULL},
    {"{\"a\":{\"b\":1}}", "[" OP("move", "\"from\":\"/a/b\",\"path\":\"/a\"") "]", "{\"a\":1}", COP_OK,
     NULL},
    {"{\"a\":1}", "[" OP("move", "\"from\":\"/a\",\"path\":\"/a\"") "]", "{\"a\":1}", COP_OK, NULL},
    {"{\"a\":[1]}", "[" OP("move", "\"from\":\"/a/0\",\"path\":\"/a/-\"") "]", "{\"a\":[1]}", COP_OK,
     NULL},
    {"{\"a\":[1,2,3]}", "[" OP("move", "\"from\":\"/a/0\",\"path\":\"/a/-\"") "]", "{\"a\":[2,3,1]}",
     COP_OK, NULL},
    {"[[7],2]", "[" OP("move", "\"from\":\"/0\",\"path\":\"\"") "]", "[7]", COP_OK, NULL},
    {"{\"a\":{\"x\":[1,2]}}", "[" OP("replace", "\"path\":\"/a\",\"value\":{\"y\":{}}") "]",
     "{\"a\":{\"y\":{}}}", COP_OK, NULL},
    {"{\"a\":{\"x\":[1,2]}}", "[" OP("replace", "\"path\":\"/a\",\"value\":\"a long text, too long for inside\"") "]",
     "{\"a\":\"a long text, too long for inside\"}", COP_OK, NULL},
    {"{\"a\":1}", "[" OP("replace", "\"path\":\"\",\"value\":[1]") "]", "[1]", COP_OK, NULL},
    {"{\"a\":1}", "[" OP("add", "\"path\":\"/a\",\"value\":2") "]", "{\"a\":2}", COP_OK, NULL},
    {"{\"*\":1}", "[" OP("add", "\"path\":\"/\",\"value\":{\"\":0}") "," OP("remove", "\"path\":\"/*\"") "]",
     "{\"\":{\"\":0}}", COP_OK, NULL},
    {"{\"a\":{\"$bytes\":\"AAECAwQFBgcICQoLDA0ODw==\"}}",
     "[" OP("test", "\"path\":\"/a\",\"value\":{\"$bytes\":\"AAECAwQFBgcICQoLDA0ODw==\"}") "]",
     "{\"a\":{\"$bytes\":\"AAECAwQFBgcICQoLDA0ODw==\"}}", COP_OK, NULL},
    /* refused by the state */
    {"{\"a\":[1]}", "[" OP("test", "\"path\":\"/a/0\",\"value\":1") "," OP("add", "\"path\":\"/a/2\",\"value\":1") "]",
     NULL, COP_E_RANGE, "operation 1"},
    {"{\"a\":[1]}", "[" OP("add", "\"path\":\"/a/00\",\"value\":1") "]", NULL, COP_E_RANGE, "operation 0"},
    {"{\"a\":[1]}", "[" OP("add", "\"path\":\"/a/x\",\"value\":1") "]", NULL, COP_E_RANGE, "operation 0"},
    {"{\"a\":[1]}", "[" OP("remove", "\"path\":\"/a/-\"") "]", NULL, COP_E_ABSENT, "remove"},
    {"{\"a\":[1]}", "[" OP("replace", "\"path\":\"/a/1\",\"value\":1") "]", NULL, COP_E_ABSENT, "replace"},
    {"{\"a\":[1,2]}", "[" OP("move", "\"from\":\"/a/0\",\"path\":\"/a/2\"") "]", NULL, COP_E_RANGE, "move"},
    {"{\"a\":[1,2]}", "[" OP("move", "\"from\":\"/a/7\",\"path\":\"/a/0\"") "]", NULL, COP_E_ABSENT, "move"},
    {"{\"a\":1}", "[" OP("copy", "\"from\":\"/b\",\"path\":\"/a\"") "]", NULL, COP_E_ABSENT, "copy"},
    {"{\"a\":1}", "[" OP("add", "\"path\":\"/a/b\",\"value\":1") "]", NULL, COP_E_NOT_BRANCH, "add"},
    {"{\"a\":1}", "[" OP("test", "\"path\":\"/b\",\"value\":1") "]", NULL, COP_E_ABSENT, "test"},
    {"{\"a\":[1,2]}", "[" OP("test", "\"path\":\"/a\",\"value\":[1]") "]", NULL, COP_E_STATE, "test"},
    {"{\"a\":[1,2]}", "[" OP("test", "\"path\":\"/a\",\"value\":[1,3]") "]", NULL, COP_E_STATE, "test"},
    {"{\"a\":{\"b\":1}}", "[" OP("test", "\"path\":\"/a\",\"value\":{\"c\":1}") "]", NULL, COP_E_STATE, "test"},
    {"{\"a\":1.5}", "[" OP("test", "\"path\":\"/a\",\"value\":1") "]", NULL, COP_E_STATE, "test"},
    {"{\"a\":1}", "[" OP("move", "\"from\":\"/a\",\"path\":\"/b/c\"") "]", NULL, COP_E_ABSENT, "move"},
    /* refused at once */
    {"{}", "{}", NULL, COP_E_INVALID, "array"},
    {"{}", "[", NULL, COP_E_SYNTAX, "JSON"},
    {"{}", "[1]", NULL, COP_E_INVALID, "operation 0"},
    {"{}", "[" OP("add", "\"path\":\"/a\",\"value\":1") "," OP("grow", "\"path\":\"/a\"") "]", NULL,
     COP_E_INVALID, "operation 1"},
    {"{}", "[" OP("add", "\"path\":\"a\",\"value\":1") "]", NULL, COP_E_PATH, "pointer"},
    {"{}", "[" OP("add", "\"path\":\"/a~\",\"value\":1") "]", NULL, COP_E_PATH, "pointer"},
    {"{}", "[" OP("add", "\"path\":\"/a~2\",\"value\":1") "]", NULL, COP_E_PATH, "pointer"},
    {"{}", "[" OP("add", "\"path\":\"/a\\u0000\",\"value\":1") "]", NULL, COP_E_PATH, "operation 0"},
    {"{}", "[" OP("add", "\"value\":1") "]", NULL, COP_E_INVALID, "\"path\""},
    {"{}", "[" OP("add", "\"path\":\"/a\"") "]", NULL, COP_E_INVALID, "\"value\""},
    {"{}", "[" OP("move", "\"path\":\"/a\"") "]", NULL, COP_E_INVALID, "\"from\""},
    {"{\"a\":{}}", "[" OP("move", "\"from\":\"/a\",\"path\":\"/a/b\"") "]", NULL, COP_E_INVALID, "itself"},
    {"{}", "[" OP("add", "\"path\":\"/a\",\"value\":{\"b\\u0000\":1}") "]", NULL, COP_E_SYNTAX, ""},
};

static void
check_application(cop_store *store, const char *path, const application *a)
{
    cop_error error;
    t_text patch = {(char *)(uintptr_t)a->patch, strlen(a->patch)};

    t_put(store, path, a->document);
    const cop_snapshot *before = t_snapshot(store);
    cop_status status = t_apply(store, path, COP_PATCH_JSON, patch, &error);
    const cop_snapshot *after = t_snapshot(store);
    t_text got = t_json(after, path);
    ck_assert_msg(status == a->status, "%s: %s %s", a->patch, cop_status_name(status),
                  error.message);
    ck_assert_str_eq(got.at, a->result != NULL ? a->result : a->document);
    if (a->result == NULL) {
        ck_assert_msg(strstr(error.message, a->why) != NULL, "%s: %s", a->patch, error.message);
        ck_assert_uint_eq(cop_snapshot_version(before), cop_snapshot_version(after));
    }
    free(got.at);
    cop_snapshot_drop(before);
    cop_snapshot_drop(after);
}

START_TEST(applied)
{
    cop_store *store = t_open();

    t_put(store, "", "{\"in\":[0,{}]}");
    check_application(store, "", &applications[_i]);
    t_put(store, "", "{\"in\":[0,{}]}");
    check_application(store, "in/1", &applications[_i]);
    t_close(store);
}
END_TEST

/* The root is no value, and cannot go. */
START_TEST(the_root)
{
    static const application refused[] = {
        {"{}", "[" OP("replace", "\"path\":\"\",\"value\":1") "]", NULL, COP_E_INVALID, "root"},
        {"{}", "[" OP("remove", "\"path\":\"\"") "]", NULL, COP_E_INVALID, "root"},
        {"{\"a\":1}", "[" OP("move", "\"from\":\"\",\"path\":\"/a\"") "]", NULL, COP_E_INVALID, "root"},
        {"{\"a\":1}", "[" OP("copy", "\"from\":\"/a\",\"path\":\"\"") "]", NULL, COP_E_INVALID, "copy"},
    };
    cop_store *store = t_open();

    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        check_application(store, "", &refused[i]);
    t_close(store);
}
END_TEST

/* What a computed atom makes is not written, but tested and copied. */
START_TEST(computed)
{
    static const application some[] = {
        {"{}", "[" OP("replace", "\"path\":\"/c\",\"value\":1") "]", NULL, COP_E_COMPUTED, "replace"},
        {"{}", "[" OP("add", "\"path\":\"/c\",\"value\":1") "]", NULL, COP_E_COMPUTED, "add"},
    };
    cop_store *store = t_open();
    cop_error error;
    cop_atom atom;

    CHECK_OK(cop_computed_define(store, P("c"), seven, NULL, NULL, &atom, NULL));
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
        t_text patch = {(char *)(uintptr_t)some[i].patch, strlen(some[i].patch)};
        CHECK_STATUS(t_apply(store, "", COP_PATCH_JSON, patch, &error), some[i].status);
    }
    t_text good = {(char *)(uintptr_t) "[" OP("test", "\"path\":\"/c\",\"value\":7") "," OP(
                       "copy", "\"from\":\"/c\",\"path\":\"/d\"") "]",
                   0};
    good.length = strlen(good.at);
    CHECK_OK(t_apply(store, "", COP_PATCH_JSON, good, &error));
    t_close(store);
}
END_TEST

static void
define_lazy(cop_store *store, const char *path, cop_atom *atom)
{
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;

    options.kind = COP_LAZY;
    CHECK_OK(cop_computed_define(store, P(path), seven, NULL, &options, atom, NULL));
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
                check_applied(state[i], state[k], (cop_patch_format)format);
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

/* An atom that is read by an eager one is lazy no more; and a lazy one in what is new is left out. */
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
                check_applied(all[i], all[k], (cop_patch_format)format);
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
        check_applied(before, now, (cop_patch_format)format);
    check_applied(now, before, COP_PATCH_JSON);
    cop_snapshot_drop(before);
    cop_snapshot_drop(now);
    t_close(store);
}
END_TEST

/* By handles a tree can be deeper than paths lead: what walks it refuses, and does not overrun. */
START_TEST(deep)
{
    cop_store *store = t_open();
    const cop_value array = cop_array();
    t_text text = {NULL, 0};
    cop_atom at;
    cop_txn *txn;

    t_put(store, "a", "[]");
    const cop_snapshot *before = t_snapshot(store);
    CHECK_OK(cop_find(before, P("a"), &at));
    CHECK_OK(cop_txn_begin(store, &txn));
    for (unsigned i = 0; i < 2 * COP_DEPTH_MAX; i++)
        CHECK_OK(cop_txn_insert(txn, at, COP_AT_END, &array, &at));
    CHECK_OK(cop_txn_commit(txn, NULL, NULL));
    const cop_snapshot *now = t_snapshot(store);
    CHECK_OK(cop_patch_write(before, now, P(""), COP_PATCH_JSON, NULL, t_text_sink, &text, NULL));
    CHECK_STATUS(cop_patch_write(before, now, P(""), COP_PATCH_BINARY, NULL, t_text_sink, &text,
                                 NULL),
                 COP_E_LIMIT);
    CHECK_STATUS(cop_patch_write(before, now, P(""), COP_PATCH_MERGE, NULL, t_text_sink, &text,
                                 NULL),
                 COP_E_LIMIT);
    CHECK_OK(cop_txn_begin(store, &txn));
    CHECK_OK(cop_patch_apply(txn, P(""), COP_PATCH_JSON,
                             P("[" OP("copy", "\"from\":\"/a\",\"path\":\"/b\"") "]"), NULL));
    CHECK_STATUS(cop_txn_commit(txn, NULL, NULL), COP_E_LIMIT);
    free(text.at);
    cop_snapshot_drop(before);
    cop_snapshot_drop(now);
    t_close(store);
}
END_TEST

/* Memory that is refused, whichever it is: no patch, or no change. */
START_TEST(refused_memory)
{
    cop_store *store = t_open();
    const char *patch = "[" OP("copy", "\"from\":\"/a\",\"path\":\"/c\"") "," OP(
        "move", "\"from\":\"/b\",\"path\":\"/d\"") "," OP("add", "\"path\":\"/e\",\"value\":[1,{\"f\":2}]") "]";
    cop__memory *memory = cop__store_memory(store);
    unsigned refusals = 0;
    cop_status status;

    t_put(store, "", "{\"a\":[1,2,\"a text that is longer than twelve\"],\"b\":{\"x\":1}}");
    const cop_snapshot *before = t_snapshot(store);
    t_put(store, "", "{\"a\":[2,1,\"a text that is longer than this\"],\"b\":{\"y\":[]}}");
    const cop_snapshot *now = t_snapshot(store);
    for (int format = 0; format < 3; format++)
        for (long k = 0; k < 60; k++) {
            t_text text = {NULL, 0};
            atomic_store(&memory->fail_countdown, k);
            status = cop_patch_write(before, now, P(""), (cop_patch_format)format, NULL,
                                     t_text_sink, &text, NULL);
            atomic_store(&memory->fail_countdown, -1);
            free(text.at);
            ck_assert(status == COP_OK || status == COP_E_MEMORY);
            refusals += status != COP_OK;
        }
    for (long k = 0; k < 60; k++) {
        cop_txn *txn;
        cop_error error = COP_ERROR_INIT;
        CHECK_OK(cop_txn_begin(store, &txn));
        atomic_store(&memory->fail_countdown, k);
        status = cop_patch_apply(txn, P(""), COP_PATCH_JSON, P(patch), &error);
        atomic_store(&memory->fail_countdown, -1);
        ck_assert(status == COP_OK || status == COP_E_MEMORY);
        refusals += status != COP_OK;
        if (status == COP_OK && k % 2 == 0) {
            atomic_store(&memory->fail_countdown, k / 2);
            status = cop_txn_commit(txn, NULL, &error);
            atomic_store(&memory->fail_countdown, -1);
            ck_assert(status == COP_OK || status == COP_E_MEMORY);
            refusals += status != COP_OK;
            t_put(store, "", "{\"a\":[2,1,\"a text that is longer than this\"],\"b\":{\"y\":[]}}");
        } else {
            cop_txn_cancel(txn);
        }
    }
    t_text binary = t_patch(before, now, "", COP_PATCH_BINARY);
    for (long k = 0; k < 30; k++) {
        cop_txn *txn;
        CHECK_OK(cop_txn_begin(store, &txn));
        atomic_store(&memory->fail_countdown, k);
        status = cop_patch_apply(txn, P(""), COP_PATCH_BINARY, binary.at, binary.length, NULL);
        atomic_store(&memory->fail_countdown, -1);
        ck_assert(status == COP_OK || status == COP_E_MEMORY);
        refusals += status != COP_OK;
        cop_txn_cancel(txn);
    }
    free(binary.at);
    ck_assert_uint_gt(refusals, 10);
    cop_snapshot_drop(before);
    cop_snapshot_drop(now);
    t_close(store);
}
END_TEST

/* An element that is moved stays the atom that it is. */
START_TEST(identity)
{
    cop_store *store = t_open();
    cop_atom was, is;
    cop_error error;
    t_text patch = {(char *)(uintptr_t) "[" OP("move", "\"from\":\"/0\",\"path\":\"/2\"") "]", 0};

    patch.length = strlen(patch.at);
    t_put(store, "a", "[1,2,3]");
    const cop_snapshot *before = t_snapshot(store);
    CHECK_OK(t_apply(store, "a", COP_PATCH_JSON, patch, &error));
    const cop_snapshot *after = t_snapshot(store);
    CHECK_OK(cop_find(before, P("a/0"), &was));
    CHECK_OK(cop_find(after, P("a/2"), &is));
    ck_assert(SAME_ATOM(was, is));
    t_text json = t_patch(before, after, "", COP_PATCH_JSON);
    ck_assert_str_eq(json.at, "[{\"op\":\"move\",\"from\":\"/a/0\",\"path\":\"/a/2\"}]");
    free(json.at);
    cop_snapshot_drop(before);
    cop_snapshot_drop(after);
    t_close(store);
}
END_TEST

/* ---- limits ---- */

START_TEST(copies_are_bounded)
{
    cop_store *store = t_open();
    cop_error error;
    char text[4096] = "[";

    t_put(store, "", "{\"a\":{\"b\":[1,2,3,4,5,6,7]}}");
    for (int i = 0; i < 40; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s" OP("copy", "\"from\":\"/a\",\"path\":\"/a/k%d\""),
                 i > 0 ? "," : "", i);
    strcat(text, "]");
    t_text patch = {text, strlen(text)};
    CHECK_STATUS(t_apply(store, "", COP_PATCH_JSON, patch, &error), COP_E_LIMIT);
    ck_assert_ptr_nonnull(strstr(error.message, "copy"));
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
        CHECK_STATUS(cop_patch_write(a, b, P(""), (cop_patch_format)format, &options, stop, NULL,
                                     &error),
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

/* ---- damaged binary patches ---- */

static void
seal(t_text *patch)
{
    uint64_t sum = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i + 8 < patch->length; i++)
        sum = (sum ^ (unsigned char)patch->at[i]) * UINT64_C(0x100000001b3);
    for (unsigned i = 0; i < 8; i++)
        patch->at[patch->length - 8 + i] = (char)(sum >> 8 * i);
}

/* Every byte is every other one, with the sum as it was and put right: it is refused, or means
 * something, and never more than that. */
START_TEST(damaged)
{
    cop_store *store = t_open();
    cop_error error;
    unsigned refused = 0, taken = 0;

    t_put(store, "", "{\"a\":[1,2,{\"b\":\"some longer text than that\"}],\"c\":{\"d\":1.5}}");
    const cop_snapshot *before = t_snapshot(store);
    t_put(store, "",
          "{\"a\":[2,{\"b\":\"some other longer text\"},-3],\"c\":{\"d\":true,\"e\":{\"f\":[null]}}}");
    const cop_snapshot *now = t_snapshot(store);
    t_text patch = t_patch(before, now, "", COP_PATCH_BINARY);
    t_text copy = {malloc(patch.length), patch.length};
    ck_assert_ptr_nonnull(copy.at);
    for (size_t i = 0; i < patch.length; i++)
        for (unsigned byte = 0; byte < 256; byte += 5) {
            memcpy(copy.at, patch.at, patch.length);
            copy.at[i] = (char)byte;
            if (patch.at[i] == copy.at[i])
                continue;
            CHECK_STATUS(t_apply(store, "", COP_PATCH_BINARY, copy, &error), COP_E_SYNTAX);
            if (i + 8 >= patch.length)
                continue;
            seal(&copy);
            cop_status status = t_apply(store, "", COP_PATCH_BINARY, copy, &error);
            refused += status != COP_OK;
            taken += status == COP_OK;
        }
    for (size_t length = 0; length < patch.length; length++) {
        t_text cut = {patch.at, length};
        CHECK_STATUS(t_apply(store, "", COP_PATCH_BINARY, cut, &error), COP_E_SYNTAX);
        if (length < 13)
            continue;
        cut.at = copy.at;
        memcpy(copy.at, patch.at, length);
        seal(&cut);
        CHECK_STATUS(t_apply(store, "", COP_PATCH_BINARY, cut, &error), COP_E_SYNTAX);
        ck_assert_uint_le(error.position, length);
    }
    ck_assert_uint_gt(refused, taken);
    ck_assert_uint_gt(taken, 0);
    free(copy.at);
    free(patch.at);
    cop_snapshot_drop(before);
    cop_snapshot_drop(now);
    t_close(store);
}
END_TEST

/* One operation, which is not what a writer would write. */
typedef struct made {
    const char *bytes; /* from the strings on, without the sum */
    size_t length;
    cop_status status;
    const char *why;
} made;

#define BYTES(text) text, sizeof text - 1

static const made mades[] = {
    {BYTES("\x01\x01" "a\x01\x00\x00\x01\x00\x00\x03\x02"), COP_OK, ""},
    {BYTES("\x01\x01" "a\x01\x00\x00\x01\x00\x00\x08\x02\x00\x01\x00\x01"), COP_E_INVALID, "add"},
    {BYTES("\x01\x01" "a\x01\x00\x05\x01\x00\x00\x03\x02"), COP_E_SYNTAX, "fewer"},
    {BYTES("\x01\x03" "a/b\x01\x00\x00\x01\x00\x00\x03\x02"), COP_E_PATH, "segment"},
    {BYTES("\x01\x00\x01\x00\x00\x01\x00\x00\x03\x02"), COP_E_PATH, "segment"},
    {BYTES("\x01\x02~9\x01\x00\x00\x01\x00\x00\x03\x02"), COP_E_PATH, "segment"},
    {BYTES("\x02\x01" "a\x01/\x01\x00\x00\x01\x00\x00\x08\x01\x01\x01"), COP_E_PATH, "key"},
    {BYTES("\x02\x01" "a\x01\xff\x01\x00\x00\x01\x00\x00\x05\x01"), COP_E_SYNTAX, "UTF-8"},
    {BYTES("\x01\x01" "a\x01\x00\x00\x01\x00\x00\x0b"), COP_E_SYNTAX, "value"},
    {BYTES("\x01\x01" "a\x01\x09\x00\x01\x00"), COP_E_SYNTAX, "operation"},
    {BYTES("\x01\x01" "a\x01\x03\x00\x01\x00\xff\xff\xff\xff\x0f"), COP_E_SYNTAX, "position"},
    {BYTES("\x01\x01" "a\x01\x03\x00\x01\x00"), COP_E_SYNTAX, "number"},
    {BYTES("\x01\x01" "a\x01\x00\x00\x01\x00\x00\x03\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f"),
     COP_E_SYNTAX, "number"},
    {BYTES("\x01\x7f" "a"), COP_E_SYNTAX, "announced"},
    {BYTES("\x7f"), COP_E_SYNTAX, "announced"},
    {BYTES("\x00\x01\x01\x00\x00"), COP_E_INVALID, "root"},
    {BYTES("\x00\x01\x01\x00\x01\x04"), COP_E_SYNTAX, "string"},
    {BYTES("\x00\x00\x00"), COP_E_SYNTAX, "follows"},
};

static t_text
binary_of(const char *bytes, size_t length)
{
    t_text patch = {malloc(7 + length + 8), 7 + length + 8};

    ck_assert_ptr_nonnull(patch.at);
    memcpy(patch.at, "COPP\1\0\0", 7);
    memcpy(patch.at + 7, bytes, length);
    memset(patch.at + 7 + length, 0, 8);
    seal(&patch);
    return patch;
}

START_TEST(hand_made)
{
    cop_store *store = t_open();
    t_text patch = binary_of(mades[_i].bytes, mades[_i].length);
    cop_error error;
    cop_status status = t_apply(store, "", COP_PATCH_BINARY, patch, &error);

    ck_assert_msg(status == mades[_i].status, "%d: %s", _i, error.message);
    ck_assert_msg(strstr(error.message, mades[_i].why) != NULL, "%d: %s", _i, error.message);
    free(patch.at);
    t_close(store);
}
END_TEST

/* Arrays in one another, in both formats, and below a place that is deep already. */
START_TEST(nested_too_deep)
{
    enum { LEVELS = 600 };
    cop_store *store = t_open();
    char bytes[2 * LEVELS + 16] = "\x01\x01" "a\x01\x00\x00\x01\x00\x00", text[2 * LEVELS + 64];
    size_t length = 9;
    cop_error error;

    for (int i = 0; i < LEVELS; i++) {
        bytes[length++] = COP_ARRAY;
        bytes[length++] = 1;
    }
    bytes[length++] = 1;
    t_text patch = binary_of(bytes, length);
    CHECK_STATUS(t_apply(store, "", COP_PATCH_BINARY, patch, &error), COP_E_LIMIT);
    free(patch.at);
    t_put(store, "a", "[[[[[[[[[[]]]]]]]]]]");
    strcpy(text, "[{\"op\":\"add\",\"path\":\"/a/0/0/0/0/0/0/0/0/0/0\",\"value\":");
    length = strlen(text);
    memset(text + length, '[', 505);
    memset(text + length + 505, ']', 505);
    strcpy(text + length + 1010, "}]");
    patch = (t_text){text, strlen(text)};
    CHECK_STATUS(t_apply(store, "", COP_PATCH_JSON, patch, &error), COP_E_LIMIT);
    ck_assert_ptr_nonnull(strstr(error.message, "operation 0"));
    t_close(store);
}
END_TEST

/* Names, alone and all of a path together. */
START_TEST(names_too_long)
{
    enum { KEY = 2500 };
    cop_store *store = t_open();
    char key[KEY + 1], text[4 * KEY];
    cop_error error;

    memset(key, 'k', KEY);
    key[KEY] = '\0';
    snprintf(text, sizeof text, "[{\"op\":\"add\",\"path\":\"/a\",\"value\":{\"%s%s\":1}}]", key, key);
    t_text patch = {text, strlen(text)};
    CHECK_STATUS(t_apply(store, "", COP_PATCH_JSON, patch, &error), COP_E_LIMIT);
    snprintf(text, sizeof text, "[{\"op\":\"add\",\"path\":\"/a\",\"value\":{\"%s\":{\"%s\":1}}}]", key, key);
    patch.length = strlen(text);
    CHECK_STATUS(t_apply(store, "", COP_PATCH_JSON, patch, &error), COP_E_LIMIT);
    snprintf(text, sizeof text,
             "[{\"op\":\"add\",\"path\":\"/%s\",\"value\":{\"0\":{}}},{\"op\":\"add\",\"path\":\"/%s/0/%s\",\"value\":1}]",
             key, key, key);
    patch.length = strlen(text);
    CHECK_STATUS(t_apply(store, "", COP_PATCH_JSON, patch, &error), COP_E_LIMIT);
    ck_assert_ptr_nonnull(strstr(error.message, "operation 1"));
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
    tcase_add_loop_test(tcase, applied, 0, COUNT(applications));
    tcase_add_test(tcase, the_root);
    tcase_add_test(tcase, computed);
    tcase_add_test(tcase, lazy);
    tcase_add_test(tcase, lazy_no_more);
    tcase_add_test(tcase, long_patches);
    tcase_add_loop_test(tcase, hand_made, 0, COUNT(mades));
    tcase_add_test(tcase, nested_too_deep);
    tcase_add_test(tcase, names_too_long);
    tcase_add_test(tcase, deep);
    tcase_add_test(tcase, refused_memory);
    tcase_add_test(tcase, identity);
    tcase_add_test(tcase, copies_are_bounded);
    tcase_add_test(tcase, arguments);
    tcase_add_test(tcase, damaged);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}

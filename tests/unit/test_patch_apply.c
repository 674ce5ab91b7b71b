/* SPDX-License-Identifier: MIT */
/* Applying patches: what each operation does, and what the state does not allow, and why. */
#include "tests/support/patch_test.h"

#define OP(op, rest) "{\"op\":\"" op "\"," rest "}"

/* ---- applying JSON patches ---- */

typedef struct application {
    const char *document, *patch, *result; /* result NULL: refused */
    cop_status status;
    const char *why; /* in the message */
} application;

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
    {"{\"baz\":\"qux\",\"foo\":\"bar\"}",
     "[" OP("replace", "\"path\":\"/baz\",\"value\":\"boo\"") "]",
     "{\"baz\":\"boo\",\"foo\":\"bar\"}", COP_OK, NULL},
    {"{\"foo\":{\"bar\":\"baz\",\"waldo\":\"fred\"},\"qux\":{\"corge\":\"grault\"}}",
     "[" OP("move", "\"from\":\"/foo/waldo\",\"path\":\"/qux/thud\"") "]",
     "{\"foo\":{\"bar\":\"baz\"},\"qux\":{\"corge\":\"grault\",\"thud\":\"fred\"}}", COP_OK, NULL},
    {"{\"foo\":[\"all\",\"grass\",\"cows\",\"eat\"]}",
     "[" OP("move", "\"from\":\"/foo/1\",\"path\":\"/foo/3\"") "]",
     "{\"foo\":[\"all\",\"cows\",\"eat\",\"grass\"]}", COP_OK, NULL},
    {"{\"baz\":\"qux\",\"foo\":[\"a\",2,\"c\"]}",
     "[" OP("test", "\"path\":\"/baz\",\"value\":\"qux\"") "," OP(
         "test", "\"path\":\"/foo/1\",\"value\":2") "]",
     "{\"baz\":\"qux\",\"foo\":[\"a\",2,\"c\"]}", COP_OK, NULL},
    {"{\"baz\":\"qux\"}", "[" OP("test", "\"path\":\"/baz\",\"value\":\"bar\"") "]", NULL,
     COP_E_STATE, "operation 0"},
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
    {"{}",
     "[" OP("add", "\"path\":\"/a\",\"value\":[{}]") "," OP(
         "add",
         "\"path\":\"/a/0/"
         "b\",\"value\":1") "," OP("copy",
                                   "\"from\":\"/a\",\"path\":\"/a/-\"") "," OP("move",
                                                                               "\"from\":\"/a/1/"
                                                                               "0\",\"path\":\"/"
                                                                               "c\"") "," OP("test",
                                                                                             "\"pat"
                                                                                             "h\":"
                                                                                             "\"\","
                                                                                             "\"val"
                                                                                             "ue\":"
                                                                                             "{"
                                                                                             "\"c\""
                                                                                             ":{"
                                                                                             "\"b\""
                                                                                             ":1},"
                                                                                             "\"a\""
                                                                                             ":[{"
                                                                                             "\"b\""
                                                                                             ":1.0}"
                                                                                             ",["
                                                                                             "]]}") "]",
     "{\"a\":[{\"b\":1},[]],\"c\":{\"b\":1}}", COP_OK, NULL},
    {"{\"a\":1}", "[" OP("copy", "\"from\":\"\",\"path\":\"/a\"") "]", "{\"a\":{\"a\":1}}", COP_OK,
     NULL},
    {"{\"a\":{\"b\":1}}", "[" OP("move", "\"from\":\"/a/b\",\"path\":\"/a\"") "]", "{\"a\":1}",
     COP_OK, NULL},
    {"{\"a\":1}", "[" OP("move", "\"from\":\"/a\",\"path\":\"/a\"") "]", "{\"a\":1}", COP_OK, NULL},
    {"{\"a\":[1]}", "[" OP("move", "\"from\":\"/a/0\",\"path\":\"/a/-\"") "]", "{\"a\":[1]}",
     COP_OK, NULL},
    {"{\"a\":[1,2,3]}", "[" OP("move", "\"from\":\"/a/0\",\"path\":\"/a/-\"") "]",
     "{\"a\":[2,3,1]}", COP_OK, NULL},
    {"[[7],2]", "[" OP("move", "\"from\":\"/0\",\"path\":\"\"") "]", "[7]", COP_OK, NULL},
    {"{\"a\":{\"x\":[1,2]}}", "[" OP("replace", "\"path\":\"/a\",\"value\":{\"y\":{}}") "]",
     "{\"a\":{\"y\":{}}}", COP_OK, NULL},
    {"{\"a\":{\"x\":[1,2]}}",
     "[" OP("replace", "\"path\":\"/a\",\"value\":\"a long text, too long for inside\"") "]",
     "{\"a\":\"a long text, too long for inside\"}", COP_OK, NULL},
    {"{\"a\":1}", "[" OP("replace", "\"path\":\"\",\"value\":[1]") "]", "[1]", COP_OK, NULL},
    {"{\"a\":1}", "[" OP("add", "\"path\":\"/a\",\"value\":2") "]", "{\"a\":2}", COP_OK, NULL},
    {"{\"*\":1}",
     "[" OP("add", "\"path\":\"/\",\"value\":{\"\":0}") "," OP("remove", "\"path\":\"/*\"") "]",
     "{\"\":{\"\":0}}", COP_OK, NULL},
    {"{\"a\":{\"$bytes\":\"AAECAwQFBgcICQoLDA0ODw==\"}}",
     "[" OP("test", "\"path\":\"/a\",\"value\":{\"$bytes\":\"AAECAwQFBgcICQoLDA0ODw==\"}") "]",
     "{\"a\":{\"$bytes\":\"AAECAwQFBgcICQoLDA0ODw==\"}}", COP_OK, NULL},
    /* refused by the state */
    {"{\"a\":[1]}",
     "[" OP("test", "\"path\":\"/a/0\",\"value\":1") "," OP("add",
                                                            "\"path\":\"/a/2\",\"value\":1") "]",
     NULL, COP_E_RANGE, "operation 1"},
    {"{\"a\":[1]}", "[" OP("add", "\"path\":\"/a/00\",\"value\":1") "]", NULL, COP_E_RANGE,
     "operation 0"},
    {"{\"a\":[1]}", "[" OP("add", "\"path\":\"/a/x\",\"value\":1") "]", NULL, COP_E_RANGE,
     "operation 0"},
    {"{\"a\":[1]}", "[" OP("remove", "\"path\":\"/a/-\"") "]", NULL, COP_E_ABSENT, "remove"},
    {"{\"a\":[1]}", "[" OP("replace", "\"path\":\"/a/1\",\"value\":1") "]", NULL, COP_E_ABSENT,
     "replace"},
    {"{\"a\":[1,2]}", "[" OP("move", "\"from\":\"/a/0\",\"path\":\"/a/2\"") "]", NULL, COP_E_RANGE,
     "move"},
    {"{\"a\":[1,2]}", "[" OP("move", "\"from\":\"/a/7\",\"path\":\"/a/0\"") "]", NULL, COP_E_ABSENT,
     "move"},
    {"{\"a\":1}", "[" OP("copy", "\"from\":\"/b\",\"path\":\"/a\"") "]", NULL, COP_E_ABSENT,
     "copy"},
    {"{\"a\":1}", "[" OP("add", "\"path\":\"/a/b\",\"value\":1") "]", NULL, COP_E_NOT_BRANCH,
     "add"},
    {"{\"a\":1}", "[" OP("test", "\"path\":\"/b\",\"value\":1") "]", NULL, COP_E_ABSENT, "test"},
    {"{\"a\":[1,2]}", "[" OP("test", "\"path\":\"/a\",\"value\":[1]") "]", NULL, COP_E_STATE,
     "test"},
    {"{\"a\":[1,2]}", "[" OP("test", "\"path\":\"/a\",\"value\":[1,3]") "]", NULL, COP_E_STATE,
     "test"},
    {"{\"a\":{\"b\":1}}", "[" OP("test", "\"path\":\"/a\",\"value\":{\"c\":1}") "]", NULL,
     COP_E_STATE, "test"},
    {"{\"a\":1.5}", "[" OP("test", "\"path\":\"/a\",\"value\":1") "]", NULL, COP_E_STATE, "test"},
    {"{\"a\":1}", "[" OP("move", "\"from\":\"/a\",\"path\":\"/b/c\"") "]", NULL, COP_E_ABSENT,
     "move"},
    /* refused at once */
    {"{}", "{}", NULL, COP_E_INVALID, "array"},
    {"{}", "[", NULL, COP_E_SYNTAX, "JSON"},
    {"{}", "[1]", NULL, COP_E_INVALID, "operation 0"},
    {"{}", "[" OP("add", "\"path\":\"/a\",\"value\":1") "," OP("grow", "\"path\":\"/a\"") "]", NULL,
     COP_E_INVALID, "operation 1"},
    {"{}", "[" OP("add", "\"path\":\"a\",\"value\":1") "]", NULL, COP_E_PATH, "pointer"},
    {"{}", "[" OP("add", "\"path\":\"/a~\",\"value\":1") "]", NULL, COP_E_PATH, "pointer"},
    {"{}", "[" OP("add", "\"path\":\"/a~2\",\"value\":1") "]", NULL, COP_E_PATH, "pointer"},
    {"{}", "[" OP("add", "\"path\":\"/a\\u0000\",\"value\":1") "]", NULL, COP_E_PATH,
     "operation 0"},
    {"{}", "[" OP("add", "\"value\":1") "]", NULL, COP_E_INVALID, "\"path\""},
    {"{}", "[" OP("add", "\"path\":\"/a\"") "]", NULL, COP_E_INVALID, "\"value\""},
    {"{}", "[" OP("move", "\"path\":\"/a\"") "]", NULL, COP_E_INVALID, "\"from\""},
    {"{\"a\":{}}", "[" OP("move", "\"from\":\"/a\",\"path\":\"/a/b\"") "]", NULL, COP_E_INVALID,
     "itself"},
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
        {"{\"a\":1}", "[" OP("move", "\"from\":\"\",\"path\":\"/a\"") "]", NULL, COP_E_INVALID,
         "root"},
        {"{\"a\":1}", "[" OP("copy", "\"from\":\"/a\",\"path\":\"\"") "]", NULL, COP_E_INVALID,
         "copy"},
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
        {"{}", "[" OP("replace", "\"path\":\"/c\",\"value\":1") "]", NULL, COP_E_COMPUTED,
         "replace"},
        {"{}", "[" OP("add", "\"path\":\"/c\",\"value\":1") "]", NULL, COP_E_COMPUTED, "add"},
    };
    cop_store *store = t_open();
    cop_error error;
    cop_atom atom;

    CHECK_OK(cop_computed_define(store, P("c"), t_seven, NULL, NULL, &atom, NULL));
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

/* What has no value in the version equals nothing. */
START_TEST(lazy_is_no_value)
{
    static char text[] = "[" OP("test", "\"path\":\"/l\",\"value\":7") "]";
    t_text patch = {text, sizeof text - 1};
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    cop_store *store = t_open();
    cop_error error;
    cop_atom atom;

    options.kind = COP_LAZY;
    CHECK_OK(cop_computed_define(store, P("l"), t_seven, NULL, &options, &atom, NULL));
    CHECK_STATUS(t_apply(store, "", COP_PATCH_JSON, patch, &error), COP_E_STATE);
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

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

int
main(void)
{
    Suite *suite = suite_create("patch_apply");
    TCase *tcase = tcase_create("patch_apply");

    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, applied, 0, COUNT(applications));
    tcase_add_test(tcase, the_root);
    tcase_add_test(tcase, computed);
    tcase_add_test(tcase, lazy_is_no_value);
    tcase_add_test(tcase, identity);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}

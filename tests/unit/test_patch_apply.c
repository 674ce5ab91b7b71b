/* SPDX-License-Identifier: MIT */
/* Applying patches: what each operation does, and what is refused, when, and why. */
#include "store/store_internal.h"
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
        snprintf(text + strlen(text), sizeof text - strlen(text),
                 "%s" OP("copy", "\"from\":\"/a\",\"path\":\"/a/k%d\""), i > 0 ? "," : "", i);
    strcat(text, "]");
    t_text patch = {text, strlen(text)};
    CHECK_STATUS(t_apply(store, "", COP_PATCH_JSON, patch, &error), COP_E_LIMIT);
    ck_assert_ptr_nonnull(strstr(error.message, "copy"));
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
    CHECK_STATUS(
        cop_patch_write(before, now, P(""), COP_PATCH_BINARY, NULL, t_text_sink, &text, NULL),
        COP_E_LIMIT);
    CHECK_STATUS(
        cop_patch_write(before, now, P(""), COP_PATCH_MERGE, NULL, t_text_sink, &text, NULL),
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
        "move",
        "\"from\":\"/b\",\"path\":\"/d\"") "," OP("add",
                                                  "\"path\":\"/e\",\"value\":[1,{\"f\":2}]") "]";
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
          "{\"a\":[2,{\"b\":\"some other longer "
          "text\"},-3],\"c\":{\"d\":true,\"e\":{\"f\":[null]}}}");
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
    {BYTES("\x01\x01"
           "a\x01\x00\x00\x01\x00\x00\x03\x02"),
     COP_OK, ""},
    {BYTES("\x01\x01"
           "a\x01\x00\x00\x01\x00\x00\x08\x02\x00\x01\x00\x01"),
     COP_E_INVALID, "add"},
    {BYTES("\x01\x01"
           "a\x01\x00\x05\x01\x00\x00\x03\x02"),
     COP_E_SYNTAX, "fewer"},
    {BYTES("\x01\x03"
           "a/b\x01\x00\x00\x01\x00\x00\x03\x02"),
     COP_E_PATH, "segment"},
    {BYTES("\x01\x00\x01\x00\x00\x01\x00\x00\x03\x02"), COP_E_PATH, "segment"},
    {BYTES("\x01\x02~9\x01\x00\x00\x01\x00\x00\x03\x02"), COP_E_PATH, "segment"},
    {BYTES("\x02\x01"
           "a\x01/\x01\x00\x00\x01\x00\x00\x08\x01\x01\x01"),
     COP_E_PATH, "key"},
    {BYTES("\x02\x01"
           "a\x01\xff\x01\x00\x00\x01\x00\x00\x05\x01"),
     COP_E_SYNTAX, "UTF-8"},
    {BYTES("\x01\x01"
           "a\x01\x00\x00\x01\x00\x00\x0b"),
     COP_E_SYNTAX, "value"},
    {BYTES("\x01\x01"
           "a\x01\x09\x00\x01\x00"),
     COP_E_SYNTAX, "operation"},
    {BYTES("\x01\x01"
           "a\x01\x03\x00\x01\x00\xff\xff\xff\xff\x0f"),
     COP_E_SYNTAX, "position"},
    {BYTES("\x01\x01"
           "a\x01\x03\x00\x01\x00"),
     COP_E_SYNTAX, "number"},
    {BYTES("\x01\x01"
           "a\x01\x00\x00\x01\x00\x00\x03\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f"),
     COP_E_SYNTAX, "number"},
    {BYTES("\x01\x7f"
           "a"),
     COP_E_SYNTAX, "announced"},
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
    char bytes[2 * LEVELS + 16] = "\x01\x01"
                                  "a\x01\x00\x00\x01\x00\x00",
                            text[2 * LEVELS + 64];
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
    snprintf(text, sizeof text, "[{\"op\":\"add\",\"path\":\"/a\",\"value\":{\"%s%s\":1}}]", key,
             key);
    t_text patch = {text, strlen(text)};
    CHECK_STATUS(t_apply(store, "", COP_PATCH_JSON, patch, &error), COP_E_LIMIT);
    snprintf(text, sizeof text, "[{\"op\":\"add\",\"path\":\"/a\",\"value\":{\"%s\":{\"%s\":1}}}]",
             key, key);
    patch.length = strlen(text);
    CHECK_STATUS(t_apply(store, "", COP_PATCH_JSON, patch, &error), COP_E_LIMIT);
    snprintf(text, sizeof text,
             "[{\"op\":\"add\",\"path\":\"/%s\",\"value\":{\"0\":{}}},{\"op\":\"add\",\"path\":\"/"
             "%s/0/%s\",\"value\":1}]",
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
    Suite *suite = suite_create("patch_apply");
    TCase *tcase = tcase_create("patch_apply");

    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, applied, 0, COUNT(applications));
    tcase_add_test(tcase, the_root);
    tcase_add_test(tcase, computed);
    tcase_add_loop_test(tcase, hand_made, 0, COUNT(mades));
    tcase_add_test(tcase, nested_too_deep);
    tcase_add_test(tcase, names_too_long);
    tcase_add_test(tcase, deep);
    tcase_add_test(tcase, refused_memory);
    tcase_add_test(tcase, identity);
    tcase_add_test(tcase, copies_are_bounded);
    tcase_add_test(tcase, damaged);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}

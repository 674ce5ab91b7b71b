/* SPDX-License-Identifier: MIT */
/* JSON in: places of faults, limits, replacing, merging, running out of memory. */
#include "serialize/json_internal.h"
#include "tests/support/json_test.h"

/* --- faults -------------------------------------------------------------------------------- */

struct fault {
    const char *text;
    uint32_t line, column;
};

static void
check_refused(cop_store *store, const char *path, const char *text, size_t length,
              const cop_json_read_options *options, cop_status expected, struct fault place)
{
    cop_error error = COP_ERROR_INIT;
    cop_status status = j_read(store, path, text, length, options, &error);
    ck_assert_msg(status == expected, "%s: %s, should be %s", text, cop_status_name(status),
                  cop_status_name(expected));
    ck_assert_int_eq(error.status, expected);
    ck_assert_msg(error.line == place.line && error.column == place.column,
                  "%s: line %u column %u, should be %u %u (%s)", text, error.line, error.column,
                  place.line, place.column, error.message);
    CHECK_STATUS(j_read(store, path, text, length, options, NULL), expected);
}

START_TEST(syntax_with_line_and_column)
{
    static const struct fault faults[] = {
        {"", 1, 1},
        {" \n ", 2, 2},
        {"[1,\n 2,,3]", 2, 4},
        {"[1,]", 1, 4},
        {"[1}", 1, 3},
        {"]", 1, 1},
        {"[1", 1, 3},
        {"[1 2]", 1, 4},
        {"{\"a\"}", 1, 5},
        {"{\"a\":}", 1, 6},
        {"{\"a\":1,}", 1, 8},
        {"{a:1}", 1, 2},
        {"{\"a\":1", 1, 7},
        {"[1] 2", 1, 5},
        {"{}}", 1, 3},
        {"nul", 1, 1},
        {"[\"\xc3\xa9\xf0\x9f\x98\x80\", True]", 1, 8},
        {"[NaN]", 1, 2},
        {"[-Infinity]", 1, 2},
        {"[01]", 1, 2},
        {"[ .5]", 1, 3},
        {"[1.]", 1, 2},
        {"[1e]", 1, 2},
        {"[-]", 1, 2},
        {"\"abc", 1, 5},
        {"\"a\nb\"", 1, 3},
        {"[\"a\\x\"]", 1, 5},
        {"\"\\u12x4\"", 1, 6},
        {"[1, \"\\ud800\"]", 1, 5},
        {"[1, \"\\ud800\\u0041\"]", 1, 5},
        {"[\"a\x01\"]", 1, 4},
        {"[\"a\xff\"]", 1, 4},
        {"[\"\xed\xa0\x80\"]", 1, 3},
        {"\xef\xbb\xbf[]", 1, 1},
        {"\r\n\t[\r\n\t@]", 3, 2},
        {"{\"a\":1,\"b\":2,\"a\":3}", 1, 14},
        {"{\"\\u0061\":1,\n\n  \"a\":2}", 3, 3},
        {"{\"x\":{\"\":1,\"\":2}}", 1, 12},
        {"[0,9223372036854775808]", 1, 4},
        {"-9223372036854775809", 1, 1},
        {"[\n1e309]", 2, 1},
        {"[-1e999]", 1, 2},
        {"{\"b\":1,\"a\\u0000\":1}", 1, 8},
    };
    cop_store *store = t_open();
    j_load(store, "d", "[1]");
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        const char *text = faults[i].text;
        check_refused(store, "d", text, strlen(text), NULL, COP_E_SYNTAX, faults[i]);
    }
    check_refused(store, "d", "[\0]", 3, NULL, COP_E_SYNTAX, (struct fault){"", 1, 2});
    check_refused(store, "d", "\"a\0\"", 4, NULL, COP_E_SYNTAX, (struct fault){"", 1, 3});
    ck_assert_str_eq(j_text(store, "", NULL), "{\"d\":[1]}");
    t_close(store);
}
END_TEST

/* A place behind the last token is the end. */
START_TEST(no_token_at_the_end)
{
    size_t end = 0;
    ck_assert_uint_eq(cop__json_token_at("[1 ] x", 4, 2, &end), 3);
    ck_assert_uint_eq(end, 4);
    ck_assert_uint_eq(cop__json_token_at("[1 ] x", 4, 4, &end), 4);
    ck_assert_uint_eq(end, 4);
}
END_TEST

START_TEST(position_and_message)
{
    cop_error error = COP_ERROR_INIT;
    cop_store *store = t_open();
    CHECK_STATUS(j_read(store, "d", P("[\"\xc3\xa9\",\n\"a\",nul]"), NULL, &error), COP_E_SYNTAX);
    ck_assert_uint_eq(error.position, 11);
    ck_assert_uint_eq(error.line, 2);
    ck_assert_uint_eq(error.column, 5);
    ck_assert_ptr_nonnull(strstr(error.message, "nul"));
    t_close(store);
}
END_TEST

/* --- limits -------------------------------------------------------------------------------- */

START_TEST(max_depth)
{
    cop_json_read_options options = COP_JSON_READ_OPTIONS_INIT;
    cop_store *store = t_open();
    options.max_depth = 2;
    CHECK_OK(j_read(store, "d", P("[[1],{},[\"[[\\\"[[\"]]"), &options, NULL));
    CHECK_OK(j_read(store, "d", P("[{\"a\":{ \"$bytes\" : \"\" } } , {\"$error\":\"x\"}]"),
                    &options, NULL));
    check_refused(store, "d", P("[[[]]]"), &options, COP_E_LIMIT, (struct fault){"", 1, 3});
    check_refused(store, "d", P("[[],[\n {}]]"), &options, COP_E_LIMIT, (struct fault){"", 2, 2});
    check_refused(store, "d", P("[[{\"$bytes\":\"\",\"a\":1}]]"), &options, COP_E_LIMIT,
                  (struct fault){"", 1, 3});
    check_refused(store, "d", P("[[{\"$bytes\":1}]]"), &options, COP_E_LIMIT,
                  (struct fault){"", 1, 3});
    check_refused(store, "d", P("[[{\"$bytes\" 1}]]"), &options, COP_E_LIMIT,
                  (struct fault){"", 1, 3});
    t_close(store);
}
END_TEST

START_TEST(max_bytes)
{
    cop_json_read_options options = COP_JSON_READ_OPTIONS_INIT;
    cop_store *store = t_open();
    options.max_bytes = 4;
    CHECK_OK(j_read(store, "d", P("[12]"), &options, NULL));
    check_refused(store, "d", P("[12]\n"), &options, COP_E_LIMIT, (struct fault){"", 1, 5});
    t_close(store);
}
END_TEST

START_TEST(max_atoms)
{
    cop_json_read_options options = COP_JSON_READ_OPTIONS_INIT;
    cop_store *store = t_open();
    options.max_atoms = 3;
    CHECK_OK(j_read(store, "d", P("[1,2]"), &options, NULL));
    CHECK_OK(j_read(store, "d", P("{\"a\":{\"b\":[]}}"), &options, NULL));
    CHECK_OK(j_read(store, "d", P("[{\"$bytes\":\"\"},{\"$error\":\",,\"}]"), &options, NULL));
    check_refused(store, "d", P("[1,2,3]"), &options, COP_E_LIMIT, (struct fault){"", 1, 6});
    check_refused(store, "d", P("[[],[],\n  []]"), &options, COP_E_LIMIT, (struct fault){"", 2, 3});
    check_refused(store, "d", P("{\"a\":{\"b\":[ 1]}}"), &options, COP_E_LIMIT,
                  (struct fault){"", 1, 13});
    options.max_atoms = UINT64_MAX;
    CHECK_OK(j_read(store, "d", P("[1,2,3]"), &options, NULL));
    t_close(store);
}
END_TEST

/* depth arrays around text. To be freed. */
static char *
nested(size_t depth, const char *text)
{
    size_t n = strlen(text);
    char *all = malloc(2 * depth + n + 1);
    ck_assert_ptr_nonnull(all);
    memset(all, '[', depth);
    memcpy(all + depth, text, n);
    memset(all + depth + n, ']', depth);
    all[2 * depth + n] = '\0';
    return all;
}

/* What is decoded has a place of its own that is long enough: beyond a large one nothing is mapped.
 */
START_TEST(long_bytes)
{
    enum { LENGTH = 1 << 20 };
    static char text[LENGTH + 32];
    cop_store *store = t_open();
    const cop_snapshot *snapshot;
    cop_value value;
    size_t n = (size_t)snprintf(text, sizeof text, "[{\"$bytes\":\"");

    memset(text + n, '/', LENGTH);
    strcpy(text + n + LENGTH, "\"}]");
    CHECK_OK(j_read(store, "d", P(text), NULL, NULL));
    snapshot = t_take(store);
    CHECK_OK(cop_get(snapshot, t_find(store, "d/0"), &value));
    ck_assert_int_eq(value.type, COP_BYTES);
    ck_assert_uint_eq(cop_value_length(&value), LENGTH / 4 * 3);
    for (size_t i = 0; i < LENGTH / 4 * 3; i++)
        ck_assert_int_eq((unsigned char)cop_value_data(&value)[i], 0xff);
    cop_snapshot_drop(snapshot);
    t_close(store);
}
END_TEST

START_TEST(depth_of_paths)
{
    cop_store *store = t_open();
    char *empty = nested(512, ""), *full = nested(512, "1"), *over = nested(513, "");
    char *tagged = nested(511, "{\"$bytes\":\"?\"}");
    CHECK_OK(j_read(store, "", P(full), NULL, NULL));
    CHECK_OK(j_read(store, "", P("{}"), NULL, NULL));
    CHECK_OK(j_read(store, "d", P(empty), NULL, NULL));
    check_refused(store, "d", P(full), NULL, COP_E_LIMIT, (struct fault){"", 1, 513});
    check_refused(store, "", P(over), NULL, COP_E_LIMIT, (struct fault){"", 1, 513});
    /* Not base64, hence an object, whose member stands one segment too deep. */
    check_refused(store, "d", P(tagged), NULL, COP_E_LIMIT, (struct fault){"", 1, 513});
    ck_assert_str_eq(j_text(store, "d", NULL), empty);
    free(empty);
    free(full);
    free(over);
    free(tagged);
    t_close(store);
}
END_TEST

/* {"a":1,"<n bytes>":<rest>} at path. */
static cop_status
read_key(cop_store *store, const char *path, size_t n, const char *rest, cop_error *error)
{
    char *key = t_bytes(n, 0);
    char *text = malloc(n + strlen(rest) + 32);
    ck_assert_ptr_nonnull(text);
    sprintf(text, "{\"a\":[[1]],\n\"%s\":%s}", key, rest);
    cop_status status = j_read(store, path, P(text), NULL, error);
    free(key);
    free(text);
    return status;
}

START_TEST(length_of_paths)
{
    cop_error error = COP_ERROR_INIT;
    cop_store *store = t_open();
    CHECK_OK(read_key(store, "", 4096, "1", NULL));
    CHECK_OK(read_key(store, "", 4094, "{\"b\":1}", NULL));
    CHECK_STATUS(read_key(store, "", 4097, "1", &error), COP_E_LIMIT);
    ck_assert_uint_eq(error.line, 2);
    ck_assert_uint_eq(error.column, 1);
    CHECK_STATUS(read_key(store, "", 4094, "[{\"b\":1}]", NULL), COP_OK);
    CHECK_STATUS(read_key(store, "", 4094, "{\"a\":[],\"/\":1}", &error), COP_E_LIMIT);
    ck_assert_uint_eq(error.line, 2);
    ck_assert_uint_eq(error.column, 4094 + 12);
    CHECK_STATUS(read_key(store, "", 4094, "{\"\":1}", NULL), COP_E_LIMIT);
    CHECK_OK(read_key(store, "", 4089, "{\"~/*\":1}", NULL)); /* two bytes for each of them */
    CHECK_STATUS(read_key(store, "", 4090, "{\"~/*\":1}", NULL), COP_E_LIMIT);
    CHECK_STATUS(read_key(store, "dd", 4094, "1", NULL), COP_E_LIMIT);
    CHECK_OK(read_key(store, "dd", 4093, "1", NULL));
    j_load(store, "list", "[{}]");
    CHECK_OK(read_key(store, "list/0", 4096, "1", NULL)); /* counts from the element */
    CHECK_OK(read_key(store, "list/-/x", 4094, "1", NULL));
    CHECK_STATUS(read_key(store, "list/-/x", 4095, "1", NULL), COP_E_LIMIT);
    t_close(store);
}
END_TEST

START_TEST(arguments)
{
    cop_json_read_options options = COP_JSON_READ_OPTIONS_INIT;
    cop_error error = COP_ERROR_INIT;
    cop_store *store = t_open();
    cop_txn *txn = t_begin(store);
    CHECK_STATUS(cop_json_read(NULL, "d", 1, "1", 1, NULL, &error), COP_E_INVALID);
    CHECK_STATUS(cop_json_read(txn, NULL, 1, "1", 1, NULL, &error), COP_E_INVALID);
    CHECK_STATUS(cop_json_read(txn, "d", 1, NULL, 1, NULL, &error), COP_E_INVALID);
    CHECK_STATUS(cop_json_read(txn, "d", 1, NULL, 0, NULL, &error), COP_E_SYNTAX);
    CHECK_STATUS(cop_json_read(txn, "a//b", 4, "1", 1, NULL, &error), COP_E_PATH);
    ck_assert_uint_eq(error.position, 2);
    options.size = 3;
    CHECK_STATUS(cop_json_read(txn, "d", 1, "1", 1, &options, &error), COP_E_INVALID);
    options = (cop_json_read_options){.size = sizeof options, .max_depth = COP_DEPTH_MAX + 1};
    CHECK_STATUS(cop_json_read(txn, "d", 1, "1", 1, &options, &error), COP_E_INVALID);
    options = (cop_json_read_options){.size = sizeof options}; /* 0: the default */
    CHECK_OK(cop_json_read(txn, "d", 1, "[[1]]", 5, &options, &error));
    options.size = sizeof options.size; /* an older library's */
    CHECK_OK(cop_json_read(txn, NULL, 0, "{\"a\":1}", 7, &options, &error));
    t_commit(txn);
    ck_assert_str_eq(j_text(store, "", NULL), "{\"a\":1}");
    t_close(store);
}
END_TEST

/* --- replacing ----------------------------------------------------------------------------- */

START_TEST(replaces_what_is_there)
{
    static const char *const documents[] = {
        "{\"a\":1,\"b\":{\"c\":[1,2,3]},\"d\":4}",
        "{\"d\":4,\"b\":{\"c\":[3]},\"a\":1}",
        "{\"b\":{\"c\":{\"0\":3}},\"e\":{}}",
        "[1,2,3,[4,{\"x\":5}]]",
        "[[4,{\"y\":5,\"x\":6}],1]",
        "[]",
        "\"scalar\"",
        "{\"a\":{\"a\":{\"a\":{}}}}",
        "{}",
        "[[[],[]],[{}]]",
    };
    size_t n = sizeof documents / sizeof documents[0];
    cop_store *store = t_open();
    j_load(store, "before", "1");
    for (size_t i = 0; i < n * n; i++) { /* each after each */
        j_load(store, "d", documents[i / n]);
        j_load(store, "d", documents[i % n]);
        ck_assert_str_eq(j_text(store, "d", NULL), documents[i % n]);
        if (i == 0)
            j_load(store, "z", "2");
    }
    j_load(store, "d", "0");
    ck_assert_str_eq(j_text(store, "", NULL), "{\"before\":1,\"d\":0,\"z\":2}");
    t_close(store);
}
END_TEST

START_TEST(equal_document_is_no_change)
{
    static const char text[] = "{\"a\":[1,{\"b\":\"longer than twelve bytes\"}],\"\":{\"c\":1.5}}";
    cop_store *store = t_open();
    j_load(store, "d", text);
    uint64_t version = cop_store_version(store);
    cop_atom atom = t_find(store, "d/a/1/b");
    j_load(store, "d", text);
    ck_assert_uint_eq(cop_store_version(store), version);
    j_load(store, "d", "{\"x\":0,\"a\":[1,{\"b\":2}]}");
    ck_assert_uint_eq(cop_store_version(store), version + 1);
    ck_assert(SAME_ATOM(atom, t_find(store, "d/a/1/b"))); /* changed, not made anew */
    t_close(store);
}
END_TEST

START_TEST(root_is_a_branch)
{
    cop_error error = COP_ERROR_INIT;
    cop_store *store = t_open();
    j_load(store, "", "[1,{\"a\":2}]");
    ck_assert_str_eq(j_text(store, "", NULL), "[1,{\"a\":2}]");
    j_load(store, "1/a", "[3]");
    j_load(store, "-", "true");
    ck_assert_str_eq(j_text(store, "", NULL), "[1,{\"a\":[3]},true]");
    CHECK_STATUS(j_read(store, "", P("1"), NULL, &error), COP_E_INVALID);
    CHECK_STATUS(j_read(store, "", P(" {\"$bytes\":\"\"}"), NULL, &error), COP_E_INVALID);
    ck_assert_uint_eq(error.column, 2);
    t_close(store);
}
END_TEST

/* What else the transaction does stays when the document is refused, and the other way round. */
START_TEST(refusal_leaves_the_transaction)
{
    cop_value one = cop_i64(1);
    cop_store *store = t_open();
    cop_txn *txn = t_begin(store);
    char *deep = nested(512, "1");
    CHECK_OK(cop_txn_set_at(txn, P("a"), &one, NULL));
    CHECK_OK(cop_json_read(txn, P("b"), P("{\"x\":[]}"), NULL, NULL));
    CHECK_STATUS(cop_json_read(txn, P("c"), P(deep), NULL, NULL), COP_E_LIMIT);
    CHECK_STATUS(cop_json_read(txn, P("b"), P("[1,2,"), NULL, NULL), COP_E_SYNTAX);
    CHECK_OK(cop_txn_set_at(txn, P("b/y"), &one, NULL));
    t_commit(txn);
    ck_assert_str_eq(j_text(store, "", NULL), "{\"a\":1,\"b\":{\"x\":[],\"y\":1}}");
    free(deep);
    t_close(store);
}
END_TEST

/* --- merging ------------------------------------------------------------------------------- */

START_TEST(merge_patch)
{
    static const char *const cases[][3] = {
        /* RFC 7396, appendix A */
        {"{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}"},
        {"{\"a\":\"b\"}", "{\"a\":null}", "{}"},
        {"{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}"},
        {"{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}"},
        {"{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}", "{\"a\":{\"b\":\"d\"}}"},
        {"{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}"},
        {"[\"a\",\"b\"]", "[\"c\",\"d\"]", "[\"c\",\"d\"]"},
        {"{\"a\":\"b\"}", "[\"c\"]", "[\"c\"]"},
        {"{\"a\":\"foo\"}", "\"bar\"", "\"bar\""},
        {"{\"e\":null}", "{\"a\":1}", "{\"e\":null,\"a\":1}"},
        {"[1,2]", "{\"a\":\"b\",\"c\":null}", "{\"a\":\"b\"}"},
        {"{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}"},
        /* null erases members of objects only */
        {"{}", "{\"a\":[null,{\"b\":null}]}", "{\"a\":[null,{\"b\":null}]}"},
        {"{\"a\":[{\"x\":1},2]}", "{\"a\":[{\"y\":null}]}", "{\"a\":[{\"y\":null}]}"},
        {"{\"\":{\"/\":1,\"*\":2}}", "{\"\":{\"*\":null,\"~\":3}}", "{\"\":{\"/\":1,\"~\":3}}"},
        {"{\"a\":{\"b\":1}}", "{\"a\":{\"$bytes\":\"AA==\"}}", "{\"a\":{\"$bytes\":\"AA==\"}}"},
        {"{\"a\":{\"$bytes\":\"AA==\"}}", "{\"a\":{\"b\":1}}", "{\"a\":{\"b\":1}}"},
        {"{\"a\":1,\"b\":2}", "{\"b\":{\"c\":null},\"a\":3}", "{\"a\":3,\"b\":{}}"},
        {"{\"a\":1}", "{}", "{\"a\":1}"},
        {"1", "{}", "{}"},
    };
    cop_store *store = t_open();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        j_load(store, "d", cases[i][0]);
        j_patch(store, "d", cases[i][1]);
        ck_assert_str_eq(j_text(store, "d", NULL), cases[i][2]);
    }
    j_patch(store, "new/place", "{\"a\":null,\"b\":{\"c\":1}}");
    ck_assert_str_eq(j_text(store, "new", NULL), "{\"place\":{\"b\":{\"c\":1}}}");
    t_close(store);
}
END_TEST

START_TEST(merge_patch_null)
{
    cop_json_read_options options = COP_JSON_READ_OPTIONS_INIT;
    cop_store *store = t_open();
    j_load(store, "d", "1");
    j_patch(store, "d", "null");
    ck_assert_str_eq(j_text(store, "d", NULL), "absent");
    options.merge_patch = true;
    CHECK_STATUS(j_read(store, "", P("null"), &options, NULL), COP_E_INVALID);
    t_close(store);
}
END_TEST

/* --- memory -------------------------------------------------------------------------------- */

/* No token is longer than jansson's first token buffer: it does not notice when that cannot grow.
 */
static const char small_document[] = "{\"a\":[1,2.5,\"x\",[],{\"b\":null}],\"c\":{\"$bytes\":"
                                     "\"AAEC\"},\"d\":[[{}]],\"e\":true,\"f\":[0]}";

#ifndef J_MALLOC_IS_TAKEN
/* Reads with the k-th request refused, for each k; answers how many there were. */
static long
fail_each(const char *document)
{
    cop_store *store = t_open();
    cop_status status = COP_E_MEMORY;
    long k = 0;
    j_load(store, "d", "1");
    while (status) {
        cop_error error = COP_ERROR_INIT;
        cop_txn *txn = t_begin(store);
        j_fails_in = ++k;
        status = cop_json_read(txn, P("d"), P(document), NULL, &error);
        bool fired = j_fails_in == 0;
        j_fails_in = 0;
        ck_assert_msg(status == (fired ? COP_E_MEMORY : COP_OK), "%ld: %s", k, error.message);
        ck_assert_int_eq(error.status, status);
        t_commit(txn);
        ck_assert_str_eq(j_text(store, "d", NULL), status ? "1" : document);
    }
    t_close(store);
    return k;
}

START_TEST(each_allocation_fails)
{
    ck_assert_int_gt(fail_each(small_document), 30);
    ck_assert_int_gt(fail_each("{\"$bytes\":\"AAEC\"}"), 5);
}
END_TEST

START_TEST(long_string_without_memory)
{
    cop_error error = COP_ERROR_INIT;
    cop_value value;
    size_t n = 100000;
    char *text = t_bytes(n, 3);
    text[0] = text[n - 1] = '"';
    j_fails_from = 300000;
    cop_status status = cop_json_scalar(text, n, &value, &error);
    j_fails_from = 0;
    CHECK_STATUS(status, COP_E_MEMORY);
    CHECK_OK(cop_json_scalar(text, n, &value, &error));
    ck_assert_uint_eq(cop_value_length(&value), n - 2);
    cop_value_free(&value);
    free(text);
}
END_TEST
#endif

START_TEST(each_allocation_of_the_store_fails)
{
    for (int64_t k = 1;; k++) {
        cop_error error = COP_ERROR_INIT;
        cop_txn *txn;
        cop_store *store = t_open();
        j_load(store, "d", "{\"old\":[1,2]}");
        fault_alloc_arm(&t_faults, k, false);
        cop_status status = cop_txn_begin(store, &txn);
        if (!status) {
            status = cop_json_read(txn, P("d"), P(small_document), NULL, &error);
            if (status)
                cop_txn_cancel(txn);
            else
                status = cop_txn_commit(txn, NULL, &error);
        }
        bool fired = fault_alloc_fired(&t_faults);
        fault_alloc_disarm(&t_faults);
        ck_assert_msg(status == COP_OK || status == COP_E_MEMORY, "%s", cop_status_name(status));
        ck_assert_str_eq(j_text(store, "d", NULL), status ? "{\"old\":[1,2]}" : small_document);
        t_close(store);
        if (!fired)
            break;
    }
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_test(tests, syntax_with_line_and_column);
    tcase_add_test(tests, no_token_at_the_end);
    tcase_add_test(tests, position_and_message);
    tcase_add_test(tests, max_depth);
    tcase_add_test(tests, max_bytes);
    tcase_add_test(tests, max_atoms);
    tcase_add_test(tests, long_bytes);
    tcase_add_test(tests, depth_of_paths);
    tcase_add_test(tests, length_of_paths);
    tcase_add_test(tests, arguments);
    tcase_add_test(tests, replaces_what_is_there);
    tcase_add_test(tests, equal_document_is_no_change);
    tcase_add_test(tests, root_is_a_branch);
    tcase_add_test(tests, refusal_leaves_the_transaction);
    tcase_add_test(tests, merge_patch);
    tcase_add_test(tests, merge_patch_null);
#ifndef J_MALLOC_IS_TAKEN
    tcase_add_test(tests, each_allocation_fails);
    tcase_add_test(tests, long_string_without_memory);
#endif
    tcase_add_test(tests, each_allocation_of_the_store_fails);
}

int
main(void)
{
    return t_run("json", add);
}

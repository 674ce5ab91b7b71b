/* SPDX-License-Identifier: MIT */
/* Patches that are refused: too large, too deep, damaged, without memory for them, after a fork. */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <sys/wait.h>

#include "commit/txn.h"
#include "tests/support/patch_test.h"

#define OP(op, rest) "{\"op\":\"" op "\"," rest "}"

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

/* For ever: what the transaction is built of is asked for again when it was refused once. */
static cop_status
apply_refusing(cop_txn *txn, cop_patch_format format, t_text patch, int64_t k, bool for_ever)
{
    cop__memory *memory = cop__store_memory(txn->store);
    cop_error error = COP_ERROR_INIT;

    atomic_store(&memory->fail_for_ever, for_ever);
    atomic_store(&memory->fail_countdown, k);
    cop_status status = cop_patch_apply(txn, P(""), format, patch.at, patch.length, &error);
    atomic_store(&memory->fail_countdown, -1);
    atomic_store(&memory->fail_for_ever, false);
    ck_assert_msg(status == COP_OK || status == COP_E_MEMORY, "%s", error.message);
    ck_assert(status == COP_OK || error.message[0] != '\0');
    return status;
}

/* What is kept with the transaction, too, whichever is the first that no longer fits in it. */
static void
refuse_what_is_kept(cop_store *store, cop_patch_format format, t_text patch)
{
    unsigned refusals = 0;

    for (size_t left = 0; left <= COP_TXN_ARENA; left += 8)
        for (int64_t k = 0; k < 16; k++) {
            cop_txn *txn;
            CHECK_OK(cop_txn_begin(store, &txn));
            ck_assert_ptr_nonnull(cop__txn_bytes(txn, COP_TXN_ARENA - left));
            cop_status status = apply_refusing(txn, format, patch, k / 2, k % 2 != 0);
            ck_assert_uint_eq(txn->op_count, status == COP_OK);
            refusals += status != COP_OK;
            cop_txn_cancel(txn);
        }
    ck_assert_uint_gt(refusals, 100);
}

START_TEST(refused_keeping)
{
    static char text[] = "[" OP("add", "\"path\":\"/a\",\"value\":{\"b\":\"more than twelve "
                                       "bytes\"}") "]";
    t_text patch = {text, sizeof text - 1};
    cop_store *store = t_open();

    const cop_snapshot *before = t_snapshot(store);
    t_put(store, "", "{\"a\":{\"b\":\"more than twelve bytes\"}}");
    const cop_snapshot *now = t_snapshot(store);
    refuse_what_is_kept(store, COP_PATCH_JSON, patch);
    patch = t_patch(before, now, "", COP_PATCH_BINARY);
    refuse_what_is_kept(store, COP_PATCH_BINARY, patch);
    free(patch.at);
    cop_snapshot_drop(before);
    cop_snapshot_drop(now);
    t_close(store);
}
END_TEST

/* At commit: it fails, and nothing has changed. */
START_TEST(refused_at_commit)
{
    static const char document[] = "{\"a\":{\"b\":[1,2]},\"c\":1,\"d\":[1,2,3]}";
    static char text[] =
        "[" OP("replace", "\"path\":\"/a\",\"value\":\"more than twelve bytes\"") "," OP(
            "replace",
            "\"path\":\"/c\",\"value\":{\"x\":[1]}") "," OP("move", "\"from\":\"/d/0\",\"path\":\"/"
                                                                    "d/2\"") "," OP("copy",
                                                                                    "\"from\":\"/"
                                                                                    "d\",\"path\":"
                                                                                    "\"/e\"") "]";
    t_text patch = {text, sizeof text - 1};
    unsigned refusals = 0;

    for (int64_t k = 0; k < 100; k++) {
        cop_store *store = t_open();
        cop__memory *memory = cop__store_memory(store);
        cop_txn *txn;
        t_put(store, "", document);
        CHECK_OK(cop_txn_begin(store, &txn));
        CHECK_OK(cop_patch_apply(txn, P(""), COP_PATCH_JSON, patch.at, patch.length, NULL));
        atomic_store(&memory->fail_for_ever, true); /* once is made good by another try */
        atomic_store(&memory->fail_countdown, k);
        cop_status status = cop_txn_commit(txn, NULL, NULL);
        atomic_store(&memory->fail_countdown, -1);
        ck_assert(status == COP_OK || status == COP_E_MEMORY);
        refusals += status != COP_OK;
        const cop_snapshot *now = t_snapshot(store);
        t_text is = t_json(now, "");
        ck_assert_str_eq(is.at, status != COP_OK
                                    ? document
                                    : "{\"a\":\"more than twelve bytes\",\"c\":{\"x\":[1]},"
                                      "\"d\":[2,3,1],\"e\":[2,3,1]}");
        free(is.at);
        cop_snapshot_drop(now);
        t_close(store);
    }
    ck_assert_uint_gt(refusals, 5);
    ck_assert_uint_lt(refusals, 100);
}
END_TEST

/* A child that was forked is told so, of snapshots and of transactions. */
START_TEST(forked)
{
    cop_store *store = t_open();
    t_text text = {NULL, 0};
    cop_txn *txn;
    int ended;

    t_put(store, "", "{\"a\":1}");
    const cop_snapshot *before = t_snapshot(store);
    CHECK_OK(cop_txn_begin(store, &txn));
    pid_t child = fork();
    if (child == 0) {
        bool told = cop_patch_write(before, before, P(""), COP_PATCH_JSON, NULL, t_text_sink, &text,
                                    NULL) == COP_E_FORKED &&
                    cop_patch_apply(txn, P(""), COP_PATCH_JSON, P("[]"), NULL) == COP_E_FORKED;
        t_exit_child(told ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(child, &ended, 0), child);
    ck_assert_int_eq(ended, 0);
    cop_txn_cancel(txn);
    cop_snapshot_drop(before);
    t_close(store);
}
END_TEST

/* ---- damaged binary patches ---- */

static void
seal(t_text *patch)
{
    uint64_t sum = XXH3_64bits(patch->at, patch->length - 8);

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

/* A path of a long name again and again is refused before there is room for all of it. */
START_TEST(path_too_long)
{
    enum { KEY = 4000, TIMES = 30000 };
    cop_store *store = t_open();
    cop_stats stats = COP_STATS_INIT;
    char *bytes = calloc(1, KEY + TIMES + 16);
    cop_error error;

    ck_assert_ptr_nonnull(bytes);
    memcpy(bytes, "\x01\xa0\x1f", 3); /* one string of 4,000 bytes */
    memset(bytes + 3, 'k', KEY);
    memcpy(bytes + 3 + KEY, "\x01\x01\x00\xb0\xea\x01", 6); /* remove, 30,000 segments */
    t_text patch = binary_of(bytes, KEY + TIMES + 9);
    CHECK_STATUS(t_apply(store, "", COP_PATCH_BINARY, patch, &error), COP_E_LIMIT);
    ck_assert_ptr_nonnull(strstr(error.message, "path is too long"));
    CHECK_OK(cop_stats_take(store, &stats));
    ck_assert_uint_lt(stats.bytes_peak, 16 << 20);
    free(patch.at);
    free(bytes);
    t_close(store);
}
END_TEST

/* So are more bytes than a patch may have, before any of them is looked at. */
START_TEST(patch_too_long)
{
    cop_store *store = t_open();
    t_text patch = {(char *)(uintptr_t) "COPP\1", (size_t)COP_VALUE_MAX + 1};
    cop_error error;

    CHECK_STATUS(t_apply(store, "", COP_PATCH_BINARY, patch, &error), COP_E_LIMIT);
    ck_assert_ptr_nonnull(strstr(error.message, "1073741824 bytes"));
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
    Suite *suite = suite_create("patch_refused");
    TCase *tcase = tcase_create("patch_refused");

    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, hand_made, 0, COUNT(mades));
    tcase_add_test(tcase, nested_too_deep);
    tcase_add_test(tcase, names_too_long);
    tcase_add_test(tcase, path_too_long);
    tcase_add_test(tcase, patch_too_long);
    tcase_add_test(tcase, refused_keeping);
    tcase_add_test(tcase, refused_at_commit);
    tcase_add_test(tcase, forked);
    tcase_add_test(tcase, deep);
    tcase_add_test(tcase, refused_memory);
    tcase_add_test(tcase, copies_are_bounded);
    tcase_add_test(tcase, damaged);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}

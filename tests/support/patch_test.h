/* SPDX-License-Identifier: MIT */
/* Patches between versions of one store, and what they make of another one's document. */
#ifndef COP_TESTS_PATCH_TEST_H
#define COP_TESTS_PATCH_TEST_H

#include <jansson.h>

#include "tests/support/store_test.h"

/* Grows; freed by whoever has it. */
typedef struct t_text {
    char *at;
    size_t length;
} t_text;

static inline int
t_text_sink(void *context, const char *bytes, size_t n)
{
    t_text *text = context;

    text->at = realloc(text->at, text->length + n + 1);
    ck_assert_ptr_nonnull(text->at);
    memcpy(text->at + text->length, bytes, n);
    text->length += n;
    text->at[text->length] = '\0';
    return 0;
}

static inline t_text
t_json(const cop_snapshot *snapshot, const char *path)
{
    t_text text = {NULL, 0};
    cop_atom atom;

    CHECK_OK(cop_find(snapshot, P(path), &atom));
    CHECK_OK(cop_json_write(snapshot, atom, NULL, t_text_sink, &text));
    return text;
}

static inline const cop_snapshot *
t_snapshot(cop_store *store)
{
    const cop_snapshot *snapshot;

    CHECK_OK(cop_snapshot_take(store, &snapshot));
    return snapshot;
}

static inline void
t_put(cop_store *store, const char *path, const char *json)
{
    cop_error error = COP_ERROR_INIT;
    cop_txn *txn;

    CHECK_OK(cop_txn_begin(store, &txn));
    cop_status status = cop_json_read(txn, P(path), json, strlen(json), NULL, &error);
    ck_assert_msg(status == COP_OK, "%s: %s", json, error.message);
    status = cop_txn_commit(txn, NULL, &error);
    ck_assert_msg(status == COP_OK, "%s: %s", json, error.message);
}

static inline t_text
t_patch(const cop_snapshot *before, const cop_snapshot *now, const char *path,
        cop_patch_format format)
{
    cop_error error = COP_ERROR_INIT;
    t_text text = {NULL, 0};
    cop_status status =
        cop_patch_write(before, now, P(path), format, NULL, t_text_sink, &text, &error);

    ck_assert_msg(status == COP_OK, "%s", error.message);
    return text;
}

/* What becomes of a patch in one transaction. */
static inline cop_status
t_apply(cop_store *store, const char *path, cop_patch_format format, t_text patch, cop_error *error)
{
    cop_txn *txn;

    *error = (cop_error)COP_ERROR_INIT;
    CHECK_OK(cop_txn_begin(store, &txn));
    cop_status status = cop_patch_apply(txn, P(path), format, patch.at, patch.length, error);
    if (status == COP_OK)
        return cop_txn_commit(txn, NULL, error);
    ck_assert(error->message[0] != '\0');
    cop_txn_cancel(txn);
    return status;
}

static inline bool
t_same_json(const char *a, const char *b)
{
    json_t *x = json_loads(a, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    json_t *y = json_loads(b, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    bool same = json_equal(x, y);

    ck_assert_ptr_nonnull(x);
    ck_assert_ptr_nonnull(y);
    json_decref(x);
    json_decref(y);
    return same;
}

/* Makes of one version's "doc" another one's, in a store of its own. */
static inline void
t_check_patch(const cop_snapshot *before, const cop_snapshot *now, cop_patch_format format)
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

/* A computed atom's function. */
static inline cop_status
t_seven(cop_evaluation *evaluation, void *context, cop_value *value)
{
    (void)evaluation;
    (void)context;
    *value = cop_i64(7);
    return COP_OK;
}

#endif

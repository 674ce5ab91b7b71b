/* SPDX-License-Identifier: MIT */
/*
 * Patches applied to a document, and the patch that leads there. The first byte chooses the format
 * and where the document stands; a binary patch is given its magic and the sum that it should have.
 *
 * One that is refused leaves the state as it was and says where. One that is taken leads to a state
 * whose own patches, in each format that can express it, make the same of the first document
 * elsewhere.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "tests/fuzz/fuzz.h"

#include <jansson.h>

#include "patch/patch.h"

#define START                                                              \
    "{\"a\":1,\"b\":{\"c\":[1,{\"d\":null,\"x\":{}},\"\",[2,3]],\"~\":\"/" \
    "\"},\"e\":\"text\",\"\":{\"f\":[]}}"

static bool
same_json(const fuzz_text *a, const fuzz_text *b)
{
    json_t *x = json_loadb(a->bytes, a->length, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    json_t *y = json_loadb(b->bytes, b->length, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    FUZZ_CHECK(x != NULL && y != NULL);
    bool same = json_equal(x, y);
    json_decref(x);
    json_decref(y);
    return same;
}

static cop_status
apply(cop_store *store, const char *path, cop_patch_format format, const char *text, size_t length,
      cop_error *error)
{
    cop_txn *txn;
    FUZZ_CHECK(cop_txn_begin(store, &txn) == COP_OK);
    cop_status status = cop_patch_apply(txn, path, strlen(path), format, text, length, error);
    if (status != COP_OK) {
        FUZZ_CHECK(error->position <= length || error->position == SIZE_MAX);
        cop_txn_cancel(txn);
        return status;
    }
    return cop_txn_commit(txn, NULL, error);
}

static void
start(cop_store *store)
{
    FUZZ_CHECK(fuzz_read(store, "", START, strlen(START), false, NULL) == COP_OK);
}

/* What was made of the document by any patch is made of it by the store's own patch. */
static void
check_own(const cop_snapshot *before, const cop_snapshot *now, cop_patch_format format,
          const fuzz_text *wanted)
{
    cop_store *second = fuzz_store(1);
    cop_error error = COP_ERROR_INIT;
    fuzz_text patch = {NULL, 0, 0}, made = {NULL, 0, 0};
    cop_status status =
        cop_patch_write(before, now, "", 0, format, NULL, fuzz_append, &patch, &error);
    FUZZ_CHECK(status == COP_OK || (status == COP_E_UNSUPPORTED && format == COP_PATCH_MERGE));
    if (status == COP_OK) {
        start(second);
        FUZZ_CHECK(apply(second, "", format, patch.bytes, patch.length, &error) == COP_OK);
        fuzz_write(second, &made);
        FUZZ_CHECK(format == COP_PATCH_BINARY ? fuzz_same(wanted, &made)
                                              : same_json(wanted, &made));
    }
    free(patch.bytes);
    free(made.bytes);
}

/* The bytes with the magic before them and their sum behind. */
static void
wrap(fuzz_text *text, const char *bytes, size_t length)
{
    text->length = 0;
    fuzz_append(text, COP_PATCH_MAGIC, 5);
    fuzz_append(text, bytes, length);
    uint64_t sum = XXH3_64bits(text->bytes, text->length);
    for (unsigned i = 0; i < 8; i++) {
        char byte = (char)(sum >> 8 * i);
        fuzz_append(text, &byte, 1);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cop_store *store = fuzz_store(0);
    const cop_snapshot *before, *now;
    fuzz_text had = {NULL, 0, 0}, has = {NULL, 0, 0}, patch = {NULL, 0, 0};
    cop_error error = COP_ERROR_INIT;
    if (size == 0)
        return 0;
    cop_patch_format format = (cop_patch_format)(data[0] % 3);
    if (format == COP_PATCH_BINARY)
        wrap(&patch, (const char *)data + 1, size - 1);
    else
        fuzz_append(&patch, (const char *)data + 1, size - 1);

    start(store);
    FUZZ_CHECK(cop_snapshot_take(store, &before) == COP_OK);
    fuzz_write(store, &had);
    cop_status status =
        apply(store, data[0] & 4 ? "b" : "", format, patch.bytes, patch.length, &error);
    FUZZ_CHECK(cop_snapshot_take(store, &now) == COP_OK);
    fuzz_write(store, &has);
    if (status != COP_OK)
        FUZZ_CHECK(fuzz_same(&had, &has));
    else
        for (cop_patch_format own = COP_PATCH_JSON; own <= COP_PATCH_BINARY; own++)
            check_own(before, now, own, &has);
    cop_snapshot_drop(before);
    cop_snapshot_drop(now);
    free(had.bytes);
    free(has.bytes);
    free(patch.bytes);
    return 0;
}

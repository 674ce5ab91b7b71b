/* SPDX-License-Identifier: MIT */
/*
 * JSON into a store and out again. The first byte chooses between a document and a merge patch.
 *
 * A text that is refused leaves the state as it was and is told with a place inside it. One that is
 * taken is written as a text that reads back as the same state; jansson takes it too.
 */
#include "tests/fuzz/fuzz.h"

#include <jansson.h>

#define START "{\"a\":1,\"b\":{\"c\":[1,{\"d\":null},\"\"]},\"e\":\"text\"}"

static void
check_refusal(const cop_error *error, cop_status status, size_t length)
{
    FUZZ_CHECK(status == COP_E_SYNTAX || status == COP_E_LIMIT || status == COP_E_PATH);
    FUZZ_CHECK(error->position <= length);
    FUZZ_CHECK(strlen(error->message) < sizeof error->message);
}

/* What was written is read and written once more, elsewhere. */
static void
check_round_trip(const fuzz_text *written)
{
    cop_store *second = fuzz_store(1);
    fuzz_text again = {NULL, 0, 0};
    FUZZ_CHECK(fuzz_read(second, "", written->bytes, written->length, false, NULL) == COP_OK);
    fuzz_write(second, &again);
    FUZZ_CHECK(fuzz_same(written, &again));
    free(again.bytes);
}

static void
check_scalar(const char *text, size_t length)
{
    cop_value value = cop_null(), again = cop_null();
    cop_error error = COP_ERROR_INIT;
    char buffer[4096];
    size_t need;
    cop_status status = cop_json_scalar(text, length, &value, &error);
    if (status != COP_OK) {
        FUZZ_CHECK(error.position <= length);
        return;
    }
    status = cop_json_value(&value, buffer, sizeof buffer, &need);
    FUZZ_CHECK(status == COP_OK || (status == COP_E_RANGE && need >= sizeof buffer));
    if (status == COP_OK) {
        FUZZ_CHECK(cop_json_scalar(buffer, need, &again, NULL) == COP_OK);
        FUZZ_CHECK(cop_value_type(&again) == cop_value_type(&value));
        cop_value_free(&again);
    }
    cop_value_free(&value);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cop_store *store = fuzz_store(0);
    fuzz_text before = {NULL, 0, 0}, after = {NULL, 0, 0};
    cop_error error = COP_ERROR_INIT;
    if (size == 0)
        return 0;
    bool merge = data[0] & 1;
    const char *text = (const char *)data + 1;
    size_t length = size - 1;

    FUZZ_CHECK(fuzz_read(store, "", START, strlen(START), false, NULL) == COP_OK);
    fuzz_write(store, &before);
    cop_status status = fuzz_read(store, data[0] & 2 ? "b" : "", text, length, merge, &error);
    fuzz_write(store, &after);
    if (status == COP_OK) {
        json_t *document = json_loadb(text, length, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        FUZZ_CHECK(document != NULL);
        json_decref(document);
        check_round_trip(&after);
    } else if (status != COP_E_INVALID) { /* a scalar for the root */
        check_refusal(&error, status, length);
        FUZZ_CHECK(fuzz_same(&before, &after));
    }
    check_scalar(text, length);
    free(before.bytes);
    free(after.bytes);
    return 0;
}

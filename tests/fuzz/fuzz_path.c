/* SPDX-License-Identifier: MIT */
/*
 * Paths and keys. The first byte chooses: a path, a key, a segment; from 0xf0 on a JSON pointer.
 *
 * A path that passes the check can be made, is found, and is told as it was given; one that does not
 * is refused by every call with the same place. A key comes back from its segment, and a segment
 * from its key when it is written as we write it. A pointer that is taken comes back from its path.
 */
#include "tests/fuzz/fuzz.h"

#include "patch/pointer.h"
#include "store/store_internal.h"

static void
check_path(const char *path, size_t length)
{
    cop_store *store = fuzz_store(0);
    cop_error error = COP_ERROR_INIT, second = COP_ERROR_INIT;
    cop_atom atom, found;
    char told[COP_PATH_MAX + 1];
    size_t written;
    cop_status checked = cop_path_check(path, length, &error);
    cop_status status = cop_atom_at(store, path, length, &atom, &second);
    if (checked != COP_OK) {
        FUZZ_CHECK(status == checked && second.position == error.position);
        FUZZ_CHECK(error.position <= length);
        return;
    }
    if (status != COP_OK) { /* "-" is no name in a path */
        FUZZ_CHECK(status == COP_E_PATH || status == COP_E_ABSENT || status == COP_E_NOT_BRANCH);
        return;
    }
    cop_pin_t pin = cop_pin(store);
    FUZZ_CHECK(cop_find(pin.snapshot, path, length, &found) == COP_OK);
    FUZZ_CHECK(found.id == atom.id && found.generation == atom.generation);
    FUZZ_CHECK(cop_atom_path(pin.snapshot, atom, told, sizeof told, &written) == COP_OK);
    FUZZ_CHECK(written == length && memcmp(told, path, length) == 0);
    cop_unpin(pin);
    FUZZ_CHECK(fuzz_read(store, "", "{}", 2, false, NULL) == COP_OK);
}

static void
check_key(const char *key, size_t length)
{
    size_t capacity = 2 * length + 2, written, back;
    char *segment = malloc(capacity), *again = malloc(capacity);
    cop_error error = COP_ERROR_INIT;
    FUZZ_CHECK(segment != NULL && again != NULL);
    cop_status status = cop_path_escape(key, length, segment, capacity, &written, &error);
    if (status == COP_OK) {
        FUZZ_CHECK(written <= capacity);
        FUZZ_CHECK(memchr(segment, '/', written) == NULL);
        FUZZ_CHECK(cop_path_unescape(segment, written, again, capacity, &back, NULL) == COP_OK);
        FUZZ_CHECK(back == length && (length == 0 || memcmp(again, key, length) == 0));
    } else {
        FUZZ_CHECK(status == COP_E_PATH && error.position <= length);
    }
    free(segment);
    free(again);
}

static void
check_segment(const char *segment, size_t length)
{
    char *key = malloc(length + 1);
    cop_error error = COP_ERROR_INIT;
    size_t written;
    FUZZ_CHECK(key != NULL);
    cop_status status = cop_path_unescape(segment, length, key, length, &written, &error);
    if (status == COP_OK) {
        FUZZ_CHECK(written <= length);
        check_key(key, written);
    } else {
        FUZZ_CHECK(error.position <= length);
    }
    free(key);
}

/* What is written for a pointer's path, as the JSON string that it is put into, reads as the pointer. */
static void
check_written(const cop__bytes *path, const char *pointer, size_t length)
{
    cop__bytes text = {.memory = path->memory};
    cop_value value;
    cop__bytes_text(&text, "\"");
    cop__pointer_of(&text, path->at, path->used);
    cop__bytes_text(&text, "\"");
    FUZZ_CHECK(text.status == COP_OK);
    if (cop_json_scalar(text.at, text.used, &value, NULL) == COP_OK) {
        FUZZ_CHECK(cop_value_length(&value) == length);
        FUZZ_CHECK(length == 0 || memcmp(cop_value_data(&value), pointer, length) == 0);
        cop_value_free(&value);
    } else {
        FUZZ_CHECK(cop_path_check(path->at, path->used, NULL) != COP_OK); /* it is not UTF-8 */
    }
    cop__bytes_end(&text);
}

static void
check_pointer(const char *pointer, size_t length)
{
    cop__bytes path = {.memory = cop__store_memory(fuzz_store(0))};
    cop_status status = cop__pointer_append(&path, pointer, length);
    FUZZ_CHECK(status == COP_OK || status == COP_E_PATH);
    if (status == COP_OK && path.used > 0)
        check_written(&path, pointer, length);
    else
        FUZZ_CHECK(status == COP_E_PATH || length == 0);
    cop__bytes_end(&path);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const check[])(const char *, size_t) = {check_path, check_key, check_segment};
    if (size > 0)
        (data[0] >= 0xf0 ? check_pointer : check[data[0] % 3])((const char *)data + 1, size - 1);
    return 0;
}

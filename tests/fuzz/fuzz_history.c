/* SPDX-License-Identifier: MIT */
/*
 * Files of a history, imported. The lowest bit of the first byte says what the rest is: 0, records, each two
 * bytes of length, a byte (label's length, pinned in its highest bit), the label and edits, which are given
 * the frame and the sums that they should have; 1, a whole file, whose sums are mended.
 *
 * One that is refused leaves the state and the history as they were and says why. Of one that is taken every
 * version is listed and can be read, and its export is taken elsewhere and makes the same versions again.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "tests/fuzz/fuzz.h"

#include "history/file.h"

#define START "{\"a\":1,\"b\":{\"c\":[1,{\"d\":null},\"\"]},\"\":{\"f\":[]}}"

static void
put_number(fuzz_text *file, uint64_t n, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        char byte = (char)(n >> 8 * i);
        fuzz_append(file, &byte, 1);
    }
}

static uint64_t
number_at(const uint8_t *p, unsigned bytes)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < bytes; i++)
        n |= (uint64_t)p[i] << 8 * i;
    return n;
}

static void
put_sum(fuzz_text *file, size_t from)
{
    put_number(file, XXH3_64bits(file->bytes + from, file->length - from), 8);
}

/* ---- records, framed ---- */

static void
put_record(fuzz_text *file, uint64_t number, const uint8_t *data, size_t size)
{
    uint8_t flags = size > 0 ? data[0] : 0;
    size_t left = size > 0 ? size - 1 : 0, label = flags & 0x7f;
    label = label < left ? label : left;
    fuzz_append(file, COP_FILE_RECORD, 4);
    put_number(file, 8 + 8 + 1 + 1 + left, 8);
    size_t from = file->length;
    put_number(file, number, 8);
    put_number(file, number * 1000000000u, 8);
    put_number(file, flags >> 7, 1);
    put_number(file, label, 1);
    if (left > 0)
        fuzz_append(file, (const char *)data + 1, left);
    put_sum(file, from);
}

static void
frame(fuzz_text *file, const uint8_t *data, size_t size)
{
    uint64_t records = 0;
    size_t at = 0;
    fuzz_append(file, COP_FILE_MAGIC, 8);
    put_number(file, COP_FILE_FORMAT, 4);
    while (size - at >= 2) {
        size_t n = (size_t)number_at(data + at, 2);
        at += 2;
        n = n < size - at ? n : size - at;
        put_record(file, ++records, data + at, n);
        at += n;
    }
    fuzz_append(file, COP_FILE_END, 4);
    put_number(file, records, 8);
    put_sum(file, 0);
}

/* ---- a file, mended ---- */

static void
mend_sum(fuzz_text *file, size_t from, size_t to)
{
    uint64_t sum = XXH3_64bits(file->bytes + from, to - from);
    for (unsigned i = 0; i < 8; i++)
        file->bytes[to + i] = (char)(sum >> 8 * i);
}

/* Of the records as far as their lengths make sense, and of all. */
static void
mend(fuzz_text *file, const uint8_t *data, size_t size)
{
    if (size > 0)
        fuzz_append(file, (const char *)data, size);
    size_t at = COP_FILE_HEAD;
    while (at + 12 + 8 + COP_FILE_ENDING <= size) {
        uint64_t n = number_at(data + at + 4, 8);
        if (n > size - at - 12 - 8 - COP_FILE_ENDING)
            break;
        mend_sum(file, at + 12, at + 12 + (size_t)n);
        at += 12 + (size_t)n + 8;
    }
    if (size >= COP_FILE_HEAD + COP_FILE_ENDING)
        mend_sum(file, 0, size - 8);
}

/* ---- stores ---- */

/* One kept version of a known document, and nothing else. */
static uint64_t
start(cop_store *store)
{
    cop_history_entry entry;
    uint64_t version;
    FUZZ_CHECK(fuzz_read(store, "", START, strlen(START), false, NULL) == COP_OK);
    while (cop_history_next(store, 0, &entry) == COP_OK)
        FUZZ_CHECK(cop_history_drop(store, entry.version) == COP_OK);
    FUZZ_CHECK(cop_history_keep(store, "start", 5, &version, NULL) == COP_OK);
    return version;
}

/* The version that the import found goes, unless the first one of the file is the same. */
static void
drop_start(cop_store *store, uint64_t started, const cop_history_imported *told)
{
    if (told->versions == 0 || told->first != started)
        FUZZ_CHECK(cop_history_drop(store, started) == COP_OK);
}

/* Every kept version as text, one behind the other; how many. */
static uint64_t
read_versions(cop_store *store, fuzz_text *texts)
{
    cop_history_entry entry;
    uint64_t count = 0;
    for (uint64_t v = 0; cop_history_next(store, v, &entry) == COP_OK; v = entry.version + 1) {
        const cop_snapshot *snapshot;
        FUZZ_CHECK(cop_history_take(store, entry.version, &snapshot) == COP_OK);
        FUZZ_CHECK(cop_json_write(snapshot, cop_root(), NULL, fuzz_append, texts) == COP_OK);
        cop_snapshot_drop(snapshot);
        count++;
    }
    return count;
}

static void
check_refused(cop_store *store, uint64_t version, const fuzz_text *had, cop_status status,
              const cop_error *error)
{
    cop_history_entry entry;
    fuzz_text has = {NULL, 0, 0};
    FUZZ_CHECK(status == COP_E_SYNTAX && error->message[0] != '\0');
    FUZZ_CHECK(cop_store_version(store) == version);
    FUZZ_CHECK(read_versions(store, &has) == 1 && fuzz_same(had, &has));
    FUZZ_CHECK(cop_history_find(store, version, &entry) == COP_OK);
    free(has.bytes);
}

/* What was imported goes out and in again. */
static void
check_taken(cop_store *store, uint64_t started, const cop_history_imported *told)
{
    cop_store *second = fuzz_store(1);
    cop_error error = COP_ERROR_INIT;
    cop_history_imported again;
    fuzz_text texts = {NULL, 0, 0}, same = {NULL, 0, 0}, file = {NULL, 0, 0};
    uint64_t exported;
    drop_start(store, started, told);
    uint64_t count = read_versions(store, &texts);
    FUZZ_CHECK(count <= told->versions && (count > 0) == (told->versions > 0));
    FUZZ_CHECK(cop_history_export(store, fuzz_append, &file, &exported, &error) == COP_OK);
    FUZZ_CHECK(exported == count);
    started = start(second);
    cop_status status = cop_history_import(second, file.bytes, file.length, &again, &error);
    if (status != COP_OK)
        fprintf(stderr, "%s\n", error.message);
    FUZZ_CHECK(status == COP_OK && again.versions == count);
    drop_start(second, started, &again);
    read_versions(second, &same);
    FUZZ_CHECK(fuzz_same(&texts, &same));
    free(texts.bytes);
    free(same.bytes);
    free(file.bytes);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cop_store *store = fuzz_store(0);
    cop_history_imported told;
    fuzz_text file = {NULL, 0, 0}, had = {NULL, 0, 0};
    cop_error error = COP_ERROR_INIT;
    if (size == 0)
        return 0;
    (data[0] & 1 ? mend : frame)(&file, data + 1, size - 1);
    uint64_t version = start(store);
    FUZZ_CHECK(read_versions(store, &had) == 1);
    cop_status status = cop_history_import(store, file.bytes, file.length, &told, &error);
    if (status != COP_OK)
        check_refused(store, version, &had, status, &error);
    else
        check_taken(store, version, &told);
    free(file.bytes);
    free(had.bytes);
    return 0;
}

/* SPDX-License-Identifier: MIT */
/* A file of kept versions, read: bytes, values, records. The format is in file.h. */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "history/file_read.h"

#include "store/log.h"
#include "tree/path.h"

/* ---- bytes ---- */

void
cop__file_wrong(cop__file_reader *r, const char *what)
{
    if (r->wrong == NULL) {
        r->wrong = what;
        r->wrong_at = r->at;
    }
    r->at = r->end;
}

/* n bytes, or NULL. */
static const uint8_t *
take(cop__file_reader *r, uint64_t n)
{
    if (n > r->end - r->at || r->wrong != NULL) {
        cop__file_wrong(r, "it ends in the middle");
        return NULL;
    }
    const uint8_t *p = r->bytes + r->at;
    r->at += (size_t)n;
    return p;
}

uint8_t
cop__file_byte(cop__file_reader *r)
{
    const uint8_t *p = take(r, 1);
    return p != NULL ? *p : 0;
}

uint64_t
cop__file_number(cop__file_reader *r, unsigned bytes)
{
    const uint8_t *p = take(r, bytes);
    uint64_t n = 0;
    for (unsigned i = 0; p != NULL && i < bytes; i++)
        n |= (uint64_t)p[i] << (8 * i);
    return n;
}

static uint64_t
take_size(cop__file_reader *r)
{
    uint64_t n = 0;
    for (unsigned shift = 0; shift < 63; shift += 7) {
        uint8_t byte = cop__file_byte(r);
        n |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0)
            return n;
    }
    cop__file_wrong(r, "a size is too long");
    return 0;
}

uint32_t
cop__file_position(cop__file_reader *r)
{
    uint64_t n = take_size(r);
    if (n >= UINT32_MAX)
        cop__file_wrong(r, "a position is too large");
    return n < UINT32_MAX ? (uint32_t)n : 0;
}

static cop__file_text
take_text(cop__file_reader *r)
{
    uint64_t n = take_size(r);
    const uint8_t *p = take(r, n);
    return (cop__file_text){p != NULL ? (const char *)p : "", p != NULL ? (size_t)n : 0};
}

cop__file_text
cop__file_key(cop__file_reader *r)
{
    cop__file_text key = take_text(r);
    if (memchr(key.bytes, '/', key.length) != NULL ||
        cop_path_check(key.bytes, key.length, NULL) != COP_OK || key.length == 0)
        cop__file_wrong(r, "a key is malformed");
    return key;
}

cop__file_text
cop__file_path(cop__file_reader *r)
{
    cop__file_text path = take_text(r);
    if (path.length > 0 && cop_path_check(path.bytes, path.length, NULL) != COP_OK)
        cop__file_wrong(r, "a path is malformed");
    return path;
}

static cop_value
take_text_value(cop__file_reader *r, cop_type type)
{
    cop__file_text t = take_text(r);
    size_t fault;
    if (type != COP_BYTES && !cop__utf8_valid(t.bytes, t.length, &fault))
        cop__file_wrong(r, "a text is not UTF-8");
    return r->wrong == NULL ? cop_text(type, t.bytes, t.length) : cop_null();
}

cop_value
cop__file_value(cop__file_reader *r)
{
    uint8_t type = cop__file_byte(r);
    uint64_t bits;
    double number;
    switch (type) {
    case COP_NULL:
        return cop_null();
    case COP_BOOL:
        return cop_bool(cop__file_byte(r) != 0);
    case COP_I64:
        return cop_i64((int64_t)cop__file_number(r, 8));
    case COP_F64:
        bits = cop__file_number(r, 8);
        memcpy(&number, &bits, sizeof number);
        return cop_f64(number);
    case COP_STRING:
    case COP_BYTES:
    case COP_ERROR:
        return take_text_value(r, (cop_type)type);
    case COP_OBJECT:
        return cop_object();
    case COP_ARRAY:
        return cop_array();
    default:
        cop__file_wrong(r, "there is no such type");
        return cop_null();
    }
}

/* ---- records ---- */

static cop_status
fail_file(cop_error *error, size_t at, const char *what)
{
    return cop__fail_at(error, COP_E_SYNTAX, at, "byte %zu: %s", at, what);
}

cop_status
cop__file_record_take(cop__file_reader *r, cop__file_record *record, cop_error *error)
{
    size_t begins = r->at;
    const uint8_t *magic = take(r, 4);
    uint64_t n = cop__file_number(r, 8);
    size_t from = r->at;
    const uint8_t *payload = take(r, n);
    uint64_t sum = cop__file_number(r, 8);
    if (r->wrong != NULL)
        return fail_file(error, begins, "the record that begins here is cut off");
    if (memcmp(magic, COP_FILE_RECORD, 4) != 0)
        return fail_file(error, begins, "no record begins here");
    if (XXH3_64bits(payload, (size_t)n) != sum)
        return fail_file(error, begins,
                         "the record that begins here is damaged: its checksum differs");
    *record = (cop__file_record){.edits = {r->bytes, from, from + (size_t)n, NULL, 0}};
    cop__file_reader *p = &record->edits;
    record->version = cop__file_number(p, 8);
    record->time_ns = cop__file_number(p, 8);
    record->pinned = cop__file_byte(p) != 0;
    record->label_length = cop__file_byte(p);
    record->label = (const char *)take(p, record->label_length);
    if (p->wrong != NULL)
        return fail_file(error, p->wrong_at, "the record is too short");
    return COP_OK;
}

/* Lengths and checksums of the records, and how many there are. */
static cop_status
records_check(cop__file_reader file, cop_error *error)
{
    cop__file_reader r = cop__file_records(file);
    cop_status status = COP_OK;
    uint64_t n = 0;
    for (; status == COP_OK && r.at < r.end; n++) {
        cop__file_record record;
        status = cop__file_record_take(&r, &record, error);
    }
    cop__file_reader ending = {file.bytes, r.end + 4, file.end, NULL, 0};
    if (status == COP_OK && cop__file_number(&ending, 8) != n)
        return fail_file(error, r.end, "the number of records is another one");
    return status;
}

cop__file_reader
cop__file_records(cop__file_reader file)
{
    return (cop__file_reader){file.bytes, COP_FILE_HEAD, file.end - COP_FILE_ENDING, NULL, 0};
}

cop_status
cop__file_check(cop__file_reader file, cop_error *error)
{
    if (file.end < COP_FILE_HEAD + COP_FILE_ENDING || memcmp(file.bytes, COP_FILE_MAGIC, 8) != 0)
        return fail_file(error, 0, "this is no file of a history");
    cop__file_reader head = {file.bytes, 8, COP_FILE_HEAD, NULL, 0};
    if (cop__file_number(&head, 4) != COP_FILE_FORMAT)
        return fail_file(error, 8, "the file is of a format that this version does not know");
    cop_status status = records_check(file, error); /* says where, so it comes first */
    size_t at = file.end - COP_FILE_ENDING;
    if (status != COP_OK)
        return status;
    if (memcmp(file.bytes + at, COP_FILE_END, 4) != 0)
        return fail_file(error, at, "the end of the file is missing");
    cop__file_reader sum = {file.bytes, at + 12, file.end, NULL, 0};
    if (cop__file_number(&sum, 8) != XXH3_64bits(file.bytes, at + 12))
        return fail_file(error, at + 12, "the file is damaged: its checksum differs");
    return COP_OK;
}

/* SPDX-License-Identifier: MIT */
/*
 * The binary format, read into steps: docs/patches.md has it byte by byte.
 *
 * Nothing in it is trusted: every count is compared with the bytes that are left before room is
 * made for what it counts, and the checksum guards against accidents only.
 */
#include "patch/patch.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "store/log.h"
#include "tree/path.h"

typedef struct string {
    const char *text;
    size_t length;
} string;

typedef struct source {
    cop__patch_reader *r;
    const unsigned char *at, *end;
    string *string;
    uint64_t strings;
    cop_status status; /* the first failure */
} source;

static cop_status
refuse(source *s, cop_status status, const char *why)
{
    const char *begin = s->r->text;
    if (s->status == COP_OK)
        s->status = cop__fail_at(s->r->error, status, (size_t)((const char *)s->at - begin),
                                 "operation %u of the patch: %s", s->r->index, why);
    return s->status;
}

/* 0 after a failure. */
static uint64_t
read_varint(source *s)
{
    uint64_t n = 0;
    for (unsigned shift = 0; shift < 64 && s->at < s->end; shift += 7) {
        unsigned char byte = *s->at++;
        n |= (uint64_t)(byte & 0x7f) << shift;
        if (shift == 63 && byte > 1)
            break;
        if (byte < 0x80)
            return n;
    }
    (void)refuse(s, COP_E_SYNTAX, "a number that ends too late");
    return 0;
}

/* A count of things that take at least one byte each. */
static uint64_t
read_count(source *s)
{
    uint64_t n = read_varint(s);
    if (n <= (uint64_t)(s->end - s->at))
        return n;
    (void)refuse(s, COP_E_SYNTAX, "more is announced than there is");
    return 0;
}

static unsigned char
read_byte(source *s)
{
    if (s->at < s->end)
        return *s->at++;
    (void)refuse(s, COP_E_SYNTAX, "the patch is cut off");
    return 0;
}

static const string *
read_string(source *s, uint64_t number)
{
    static const string none = {"", 0};
    if (s->status == COP_OK && number < s->strings)
        return &s->string[number];
    (void)refuse(s, COP_E_SYNTAX, "no string has this number");
    return &none;
}

/* ---- strings ---- */

static void
read_strings(source *s)
{
    uint64_t n = read_count(s);
    if (n == 0)
        return;
    s->string = cop__memory_alloc(s->r->memory, COP_MEMORY_OTHER, n * sizeof *s->string, 16);
    if (s->string == NULL) {
        (void)refuse(s, COP_E_MEMORY, "out of memory");
        return;
    }
    s->strings = n;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t length = read_count(s);
        s->string[i] = (string){(const char *)s->at, length};
        s->at += length;
    }
}

/* ---- paths ---- */

static bool
is_segment(const string *text)
{
    return text->length > 0 && memchr(text->text, '/', text->length) == NULL &&
           cop_path_check(text->text, text->length, NULL) == COP_OK;
}

static void
read_segment(source *s)
{
    cop__bytes *path = &s->r->path;
    uint64_t n = read_varint(s);
    if (path->used > 0)
        cop__bytes_text(path, "/");
    if (n & 1) {
        cop__bytes_number(path, n >> 1);
        return;
    }
    const string *text = read_string(s, n >> 1);
    if (s->status == COP_OK && !is_segment(text))
        (void)refuse(s, COP_E_PATH, "a segment of a path is malformed");
    cop__bytes_put(path, text->text, text->length);
    if (path->used > (size_t)COP_PATH_MAX * COP_DEPTH_MAX)
        (void)refuse(s, COP_E_LIMIT, "the path is too long");
}

/* Keeps so many segments of the last operation's path below the document's. */
static void
cut_path(source *s, uint64_t keep)
{
    cop__bytes *path = &s->r->path;
    size_t at = s->r->base_length;
    for (; keep > 0 && at < path->used; keep--) {
        size_t from = at + (at > 0); /* behind the '/' before this segment */
        const char *slash = memchr(path->at + from, '/', path->used - from);
        at = slash != NULL ? (size_t)(slash - path->at) : path->used;
    }
    if (keep > 0)
        (void)refuse(s, COP_E_SYNTAX, "the last path has fewer segments");
    path->used = at;
}

static void
read_path(source *s)
{
    cut_path(s, read_varint(s));
    for (uint64_t n = read_count(s); n > 0 && s->status == COP_OK; n--)
        read_segment(s);
}

/* ---- values ---- */

static cop_value
read_text(source *s, cop_type type)
{
    const string *text = read_string(s, read_varint(s));
    if (type != COP_BYTES && !cop__utf8_valid(text->text, text->length, NULL))
        (void)refuse(s, COP_E_SYNTAX, "a text is not UTF-8");
    return cop_text(type, text->text, text->length);
}

static cop_value
read_real(source *s)
{
    uint64_t bits = 0;
    for (unsigned i = 0; i < 8; i++)
        bits |= (uint64_t)read_byte(s) << 8 * i;
    return cop_value_of(COP_F64, bits);
}

static cop_value
read_whole(source *s)
{
    uint64_t n = read_varint(s);
    return cop_value_of(COP_I64, n >> 1 ^ (n & 1 ? UINT64_MAX : 0));
}

static cop_value
read_scalar(source *s, unsigned char tag)
{
    switch (tag) {
    case 0:
    case COP_BOOL:
        return cop_bool(tag != 0);
    case COP_NULL:
        return cop_null();
    case COP_I64:
        return read_whole(s);
    case COP_F64:
        return read_real(s);
    case COP_STRING:
    case COP_BYTES:
    case COP_ERROR:
        return read_text(s, (cop_type)tag);
    default:
        (void)refuse(s, COP_E_SYNTAX, "no value begins like this");
        return cop_null();
    }
}

/* One item, a member with its key. The number of its children. */
static uint32_t
read_item(source *s, bool member)
{
    cop__item *item = s->r->count < COP_PATCH_ITEMS_MAX ? cop__patch_item(s->r) : NULL;
    if (item == NULL) {
        (void)refuse(s, COP_E_MEMORY, "out of memory, or too many values");
        return 0;
    }
    *item = (cop__item){.count = 0};
    if (member) {
        const string *key = read_string(s, read_varint(s));
        if (s->status == COP_OK && !is_segment(key))
            (void)refuse(s, COP_E_PATH, "a key is malformed");
        item->key = key->text;
        item->key_length = (uint32_t)key->length;
    }
    unsigned char tag = read_byte(s);
    if (tag != COP_OBJECT && tag != COP_ARRAY) {
        item->value = read_scalar(s, tag);
        return 0;
    }
    item->value = tag == COP_OBJECT ? cop_object() : cop_array();
    item->count = (uint32_t)read_count(s);
    return item->count;
}

static void
read_value(source *s)
{
    struct {
        uint32_t left;
        bool object;
    } level[COP_DEPTH_MAX + 1];
    uint32_t depth = 0;
    uint32_t n = read_item(s, false);
    for (;;) {
        if (n > 0 && depth > COP_DEPTH_MAX)
            (void)refuse(s, COP_E_LIMIT, "values are nested too deep");
        if (s->status != COP_OK)
            return;
        if (n > 0) {
            level[depth].left = n;
            level[depth++].object = s->r->item[s->r->count - 1].value.type == COP_OBJECT;
        }
        while (depth > 0 && level[depth - 1].left == 0)
            depth--;
        if (depth == 0)
            return;
        level[depth - 1].left--;
        n = read_item(s, level[depth - 1].object);
    }
}

/* ---- operations ---- */

/* Among its siblings: from and path are one. */
static cop_status
read_move(source *s)
{
    cop__patch_reader *r = s->r;
    uint64_t position = read_varint(s);
    if (s->status != COP_OK)
        return s->status;
    if (position >= COP_AT_END)
        return refuse(s, COP_E_SYNTAX, "the position is too large");
    r->from.used = 0;
    cop__bytes_put(&r->from, r->path.at, r->path.used);
    return cop__patch_step(r, COP_DOC_MOVE, (uint32_t)position);
}

static cop_status
read_operation(source *s)
{
    cop__patch_reader *r = s->r;
    unsigned char what = read_byte(s);
    uint64_t position = 0;
    r->count = 0;
    read_path(s);
    if (s->status != COP_OK)
        return s->status;
    switch (what) {
    case COP_DOC_REMOVE:
        return cop__patch_step(r, COP_DOC_REMOVE, COP_AT_END);
    case COP_DOC_MOVE:
        return read_move(s);
    case COP_DOC_ADD:
        position = read_varint(s);
        /* fall through */
    case COP_DOC_REPLACE:
        read_value(s);
        break;
    default:
        return refuse(s, COP_E_SYNTAX, "no operation has this number");
    }
    if (s->status != COP_OK)
        return s->status;
    bool placed = position > 0 && position <= COP_AT_END;
    return cop__patch_step(r, (cop__doc_step_what)what,
                           placed ? (uint32_t)(position - 1) : COP_AT_END);
}

/* The magic and the sum; what is between them is then read. */
static cop_status
open_source(source *s)
{
    cop__patch_reader *r = s->r;
    const unsigned char *text = (const unsigned char *)r->text;
    uint64_t sum = 0;
    s->at = s->end = text;
    if (r->length < 5 + 8 || memcmp(text, COP_PATCH_MAGIC, 5) != 0)
        return cop__fail_at(r->error, COP_E_SYNTAX, 0, "no binary patch of version 1");
    s->end = text + r->length - 8;
    for (unsigned i = 0; i < 8; i++)
        sum |= (uint64_t)s->end[i] << 8 * i;
    if (sum != XXH3_64bits(text, r->length - 8))
        return cop__fail_at(r->error, COP_E_SYNTAX, r->length - 8, "the checksum is another one");
    s->at = text + 5;
    (void)read_varint(s); /* the versions are for whoever has the patch */
    (void)read_varint(s);
    read_strings(s);
    return s->status;
}

cop_status
cop__patch_read_binary(cop__patch_reader *r)
{
    source s = {.r = r};
    const char *text = r->text;
    if (r->length > COP_VALUE_MAX) /* so no text in it is too long */
        return cop__fail(r->error, COP_E_LIMIT, "a binary patch has at most %u bytes",
                         COP_VALUE_MAX);
    r->text = cop__patch_keep(r, text, r->length); /* values and keys lead into it */
    if (r->text == NULL)
        return cop__fail(r->error, COP_E_MEMORY, "out of memory");
    cop_status status = open_source(&s);
    cop__bytes_put(&r->path, r->base, r->base_length);
    for (uint64_t n = status == COP_OK ? read_count(&s) : 0; n > 0 && status == COP_OK; n--)
        status = read_operation(&s);
    if (status == COP_OK)
        status = s.status;
    if (status == COP_OK && s.at != s.end)
        status = refuse(&s, COP_E_SYNTAX, "something follows the last operation");
    if (s.strings > 0)
        cop__memory_free(r->memory, COP_MEMORY_OTHER, s.string, s.strings * sizeof *s.string, 16);
    return status;
}

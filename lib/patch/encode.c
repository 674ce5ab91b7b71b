/* SPDX-License-Identifier: MIT */
/* Bytes on their way out: see encode.h. */
#include "patch/encode.h"

#include <inttypes.h>
#include <stdio.h>

#define PORTION 16384u

static bool
make_room(cop__bytes *b, size_t n)
{
    if (cop__memory_grow(b->memory, COP_MEMORY_OTHER, &b->at, &b->capacity, b->used + n, 1))
        return true;
    b->status = COP_E_MEMORY;
    return false;
}

cop_status
cop__bytes_flush(cop__bytes *b)
{
    if (b->status == COP_OK && b->limit > 0 && b->told + b->used > b->limit)
        b->status = COP_E_LIMIT;
    if (b->status != COP_OK || b->used == 0)
        return b->status;
    if (b->sink(b->context, b->at, b->used) != 0)
        b->status = COP_E_IO;
    b->told += b->used;
    b->used = 0;
    return b->status;
}

void
cop__bytes_put(cop__bytes *b, const void *bytes, size_t n)
{
    if (b->status != COP_OK || n == 0 || !make_room(b, n))
        return;
    memcpy(b->at + b->used, bytes, n);
    b->used += n;
    if (b->sink != NULL && b->used >= PORTION)
        (void)cop__bytes_flush(b);
}

void
cop__bytes_text(cop__bytes *b, const char *text)
{
    cop__bytes_put(b, text, strlen(text));
}

void
cop__bytes_number(cop__bytes *b, uint64_t n)
{
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%" PRIu64, n);
    cop__bytes_put(b, digits, (size_t)length);
}

void
cop__bytes_varint(cop__bytes *b, uint64_t n)
{
    unsigned char bytes[10];
    size_t used = 0;
    for (; n >= 0x80; n >>= 7)
        bytes[used++] = (unsigned char)(n | 0x80);
    bytes[used++] = (unsigned char)n;
    cop__bytes_put(b, bytes, used);
}

void
cop__bytes_end(cop__bytes *b)
{
    cop__memory_free(b->memory, COP_MEMORY_OTHER, b->at, b->capacity, 16);
}

int
cop__bytes_sink(void *context, const char *bytes, size_t n)
{
    cop__bytes *b = context;
    cop__bytes_put(b, bytes, n);
    return b->status != COP_OK;
}

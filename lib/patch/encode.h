/* SPDX-License-Identifier: MIT */
/* Bytes on their way out: gathered, and handed to a sink when there are many. A failure stays. */
#ifndef COP_PATCH_ENCODE_H
#define COP_PATCH_ENCODE_H

#include <coppice/json.h>

#include "reclaim/memory.h"

typedef struct cop__bytes {
    cop__memory *memory;
    char *at;
    size_t used, capacity;
    cop_sink_function sink; /* NULL: they stay */
    void *context;
    uint64_t told, limit; /* bytes handed out, and how many may be; 0: any number */
    cop_status status;
} cop__bytes;

void cop__bytes_put(cop__bytes *b, const void *bytes, size_t n);
void cop__bytes_text(cop__bytes *b, const char *text);
void cop__bytes_number(cop__bytes *b, uint64_t n); /* in decimal */
void cop__bytes_varint(cop__bytes *b, uint64_t n); /* LEB128 */
/* Hands over what is left. */
cop_status cop__bytes_flush(cop__bytes *b);
void cop__bytes_end(cop__bytes *b);
/* A cop_sink_function; the context is a cop__bytes. */
int cop__bytes_sink(void *context, const char *bytes, size_t n);

#endif

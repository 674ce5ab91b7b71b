/* SPDX-License-Identifier: MIT */
/*
 * Bytes in memory, counted against a budget that all requests share, so that many large bodies at
 * once cannot take the machine's memory.
 */
#ifndef COP_HTTP_BUFFER_H
#define COP_HTTP_BUFFER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cop__budget {
    _Atomic uint64_t used;
    uint64_t limit;
};

struct cop__buffer {
    char *data;
    size_t length;
    size_t capacity;
    struct cop__budget *budget; /* NULL: not counted */
};

/* Room for n more bytes. False: no memory, or over the budget; the buffer is as before. */
bool cop__buffer_reserve(struct cop__buffer *buffer, size_t n);
bool cop__buffer_add(struct cop__buffer *buffer, const char *bytes, size_t n);
void cop__buffer_free(struct cop__buffer *buffer);

/* Adds, as a cop_sink_function: of a struct cop__buffer. */
int cop__buffer_sink(void *buffer, const char *bytes, size_t n);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * A generated document of records, always the same for one size: objects in arrays, integers,
 * fractions, booleans, nulls, escapes and text outside ASCII. It is written as the shortest form of
 * each number without white space, so that a writer that keeps everything gives the same bytes.
 */
#ifndef COPPICE_BENCH_JSON_DOCUMENT_H
#define COPPICE_BENCH_JSON_DOCUMENT_H

#include <stddef.h>

typedef struct json_document {
    char *text;
    size_t length, capacity;
} json_document;

/* At least `bytes` long. text is NULL when out of memory; free it with free(). */
json_document json_document_make(size_t bytes);

#endif

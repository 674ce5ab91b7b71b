/* SPDX-License-Identifier: MIT */
#include "bench/json_document.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/store_work.h"

#define RECORD_MAX 1024

static void __attribute__((format(printf, 2, 3)))
append(json_document *document, const char *format, ...)
{
    va_list arguments;
    int n;
    va_start(arguments, format);
    n = vsnprintf(document->text + document->length, document->capacity - document->length, format,
                  arguments);
    va_end(arguments);
    document->length += (size_t)n;
}

/* Hundredths, without trailing zeros but for the one that says "not an integer". */
static void
append_fraction(json_document *document, uint64_t hundredths)
{
    unsigned cents = (unsigned)(hundredths % 100);
    append(document, "%llu", (unsigned long long)(hundredths / 100));
    append(document, cents % 10 ? ".%02u" : ".%u", cents % 10 ? cents : cents / 10);
}

static void
append_record(json_document *document, unsigned id, uint64_t *seed)
{
    static const char *const cities[] = {"Zürich", "Łódź", "東京", "Rome", "a \\\"quoted\\\" town"};
    static const char *const tags[] = {"new", "vip", "trial", "blocked", "a\\nb"};
    uint64_t r = bench_random(seed);
    append(document, "{\"id\":%u,\"name\":\"user-%06u\",\"active\":%s,\"balance\":", id, id,
           r & 1 ? "true" : "false");
    append_fraction(document, (r >> 8) % 100000000);
    append(document, ",\"address\":{\"city\":\"%s\",\"zip\":\"%05u\",\"lines\":[\"%u Long Road\"]}",
           cities[r % 5], (unsigned)(r >> 16) % 100000, (unsigned)(r >> 24) % 1000);
    append(document,
           ",\"tags\":[\"%s\",\"%s\"],\"scores\":[%d,%lld,%u],\"manager\":null,\"extra\":{}}",
           tags[(r >> 3) % 5], tags[(r >> 5) % 5], (int)(r % 2001) - 1000,
           (long long)(bench_random(seed) >> 2), (unsigned)(r >> 40) % 7);
}

json_document
json_document_make(size_t bytes)
{
    json_document document = {NULL, 0, bytes + 2 * RECORD_MAX};
    uint64_t seed = 0x9e3779b97f4a7c15ull;
    document.text = malloc(document.capacity);
    if (!document.text)
        return document;
    append(&document, "{\"records\":[");
    for (unsigned id = 0; document.length < bytes; id++) {
        append(&document, id ? "," : "");
        append_record(&document, id, &seed);
    }
    append(&document, "],\"end\":true}");
    return document;
}

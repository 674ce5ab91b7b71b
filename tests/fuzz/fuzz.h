/* SPDX-License-Identifier: MIT */
/*
 * Fuzzing: one function a program that takes any bytes and aborts when something that must hold of
 * them does not. libFuzzer calls it with inputs that it makes up (--enable-fuzz, with clang);
 * replay.c calls it with those that are kept in tests/fuzz/corpus, in every build.
 */
#ifndef COP_TESTS_FUZZ_H
#define COP_TESTS_FUZZ_H

#include <coppice/coppice.h>

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_CHECK(condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);         \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* Bytes that are collected. */
typedef struct fuzz_text {
    char *bytes;
    size_t length, capacity;
} fuzz_text;

static inline int
fuzz_append(void *context, const char *bytes, size_t n)
{
    fuzz_text *t = context;
    if (t->length + n >= t->capacity) {
        t->capacity = 2 * (t->length + n) + 1;
        t->bytes = realloc(t->bytes, t->capacity);
        FUZZ_CHECK(t->bytes != NULL);
    }
    if (n > 0)
        memcpy(t->bytes + t->length, bytes, n);
    t->length += n;
    return 0;
}

static inline bool
fuzz_same(const fuzz_text *a, const fuzz_text *b)
{
    return a->length == b->length && (a->length == 0 || memcmp(a->bytes, b->bytes, a->length) == 0);
}

/* One pair of stores for all inputs: what is made of one is erased before the next. */
static cop_store *fuzz_stores[2];

static inline void
fuzz_close(void)
{
    cop_store_close(fuzz_stores[0]);
    cop_store_close(fuzz_stores[1]);
}

static inline cop_store *
fuzz_store(unsigned i)
{
    if (fuzz_stores[0] == NULL) {
        for (unsigned k = 0; k < 2; k++)
            FUZZ_CHECK(cop_store_open(NULL, &fuzz_stores[k], NULL) == COP_OK);
        atexit(fuzz_close);
    }
    return fuzz_stores[i];
}

/* The newest version as text; each writing replaces what the text held. */
static inline void
fuzz_write(cop_store *store, fuzz_text *text)
{
    cop_pin_t pin = cop_pin(store);
    FUZZ_CHECK(pin.snapshot != NULL);
    text->length = 0;
    FUZZ_CHECK(cop_json_write(pin.snapshot, cop_root(), NULL, fuzz_append, text) == COP_OK);
    cop_unpin(pin);
}

/* Makes `path` equal to a document in one commit. */
static inline cop_status
fuzz_read(cop_store *store, const char *path, const char *text, size_t length, bool merge,
          cop_error *error)
{
    cop_json_read_options options = COP_JSON_READ_OPTIONS_INIT;
    cop_txn *txn;
    options.merge_patch = merge;
    FUZZ_CHECK(cop_txn_begin(store, &txn) == COP_OK);
    cop_status status =
        cop_json_read(txn, path, strlen(path), text, length, &options, error);
    if (status != COP_OK) {
        cop_txn_cancel(txn);
        return status;
    }
    FUZZ_CHECK(cop_txn_commit(txn, NULL, NULL) == COP_OK);
    return COP_OK;
}

#endif

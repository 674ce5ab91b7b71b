/* SPDX-License-Identifier: MIT */
/*
 * Documents into a store and back as text, for the unit tests of JSON. One store at a time.
 *
 * Where no sanitizer has its own malloc, this program's malloc and realloc can be told to fail: the
 * reader and jansson use them, the store does not.
 */
#ifndef COP_TESTS_JSON_TEST_H
#define COP_TESTS_JSON_TEST_H

#include <dlfcn.h>

#include "tests/support/store_test.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define J_MALLOC_IS_TAKEN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define J_MALLOC_IS_TAKEN 1
#endif

/* --- running out of memory ----------------------------------------------------------------- */

static long j_fails_in;     /* the k-th request from now fails; 0: none */
static size_t j_fails_from; /* requests of so many bytes fail; 0: none */

static inline bool
j_fails(size_t n)
{
    return (j_fails_in > 0 && --j_fails_in == 0) || (j_fails_from && n >= j_fails_from);
}

#ifndef J_MALLOC_IS_TAKEN
/* What would be called if this program did not define the function itself. */
static void
j_next(const char *name, void *function)
{
    void *symbol = dlsym(RTLD_NEXT, name);
    memcpy(function, &symbol, sizeof symbol);
}

__attribute__((visibility("default"))) void *
malloc(size_t n)
{
    static void *(*next)(size_t);
    if (!next)
        j_next("malloc", &next);
    return j_fails(n) ? NULL : next(n);
}

__attribute__((visibility("default"))) void *
realloc(void *old, size_t n)
{
    static void *(*next)(void *, size_t);
    if (!next)
        j_next("realloc", &next);
    return j_fails(n) ? NULL : next(old, n);
}
#endif

/* --- texts --------------------------------------------------------------------------------- */

/* What the last write sent to the sink, and how; the sink stops at call `stops_at` (0: never). */
static struct {
    char text[1 << 21];
    size_t length, calls, largest, stops_at;
} j_sink;

static inline int
j_take(void *context, const char *bytes, size_t n)
{
    ck_assert_ptr_eq(context, &j_sink);
    j_sink.calls++;
    j_sink.largest = n > j_sink.largest ? n : j_sink.largest;
    ck_assert_uint_lt(j_sink.length + n, sizeof j_sink.text);
    memcpy(j_sink.text + j_sink.length, bytes, n);
    j_sink.length += n;
    j_sink.text[j_sink.length] = '\0';
    return j_sink.calls == j_sink.stops_at ? 7 : 0;
}

static inline cop_status
j_write(const cop_snapshot *snapshot, cop_atom atom, const cop_json_write_options *options)
{
    j_sink.length = j_sink.calls = j_sink.largest = 0;
    j_sink.text[0] = '\0';
    return cop_json_write(snapshot, atom, options, j_take, &j_sink);
}

/* The branch or value at a path as text, "absent" when there is none. Until the next write. */
static inline const char *
j_text(cop_store *store, const char *path, const cop_json_write_options *options)
{
    cop_atom atom;
    cop_pin_t pin = cop_pin(store);
    ck_assert_ptr_nonnull(pin.snapshot);
    cop_status status = cop_find(pin.snapshot, P(path), &atom);
    if (!status)
        CHECK_OK(j_write(pin.snapshot, atom, options));
    cop_unpin(pin);
    return status ? "absent" : j_sink.text;
}

/* Reads in a transaction of its own, which is committed after a refusal too: it must be empty. */
static inline cop_status
j_read(cop_store *store, const char *path, const char *text, size_t length,
       const cop_json_read_options *options, cop_error *error)
{
    cop_txn *txn = t_begin(store);
    cop_status status = cop_json_read(txn, P(path), text, length, options, error);
    uint64_t before = cop_store_version(store), after = t_commit(txn);
    if (status)
        ck_assert_uint_eq(after, before);
    return status;
}

static inline void
j_load(cop_store *store, const char *path, const char *text)
{
    cop_error error = COP_ERROR_INIT;
    cop_status status = j_read(store, path, P(text), NULL, &error);
    ck_assert_msg(status == COP_OK, "%s: %s", text, error.message);
}

static inline void
j_patch(cop_store *store, const char *path, const char *text)
{
    cop_json_read_options options = COP_JSON_READ_OPTIONS_INIT;
    options.merge_patch = true;
    CHECK_OK(j_read(store, path, P(text), &options, NULL));
}

/* The rope of what is at a path in the newest version. */
static inline cop_rope *
rope_of(cop_store *store, const char *path)
{
    cop_rope *rope;
    cop_atom atom;
    cop_pin_t pin = cop_pin(store);
    CHECK_OK(cop_find(pin.snapshot, P(path), &atom));
    CHECK_OK(cop_json_rope(pin.snapshot, atom, &rope));
    cop_unpin(pin);
    return rope;
}

#endif

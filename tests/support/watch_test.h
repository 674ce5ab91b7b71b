/* SPDX-License-Identifier: MIT */
/* What a watcher is told, as text: "(1,3] -gone:1 =a/b:1>2 +c:5 #array". For Check programs. */
#ifndef COP_TESTS_WATCH_TEST_H
#define COP_TESTS_WATCH_TEST_H

#include <stdarg.h>

#include "tests/support/store_test.h"

typedef struct t_text {
    char text[4096];
    size_t used;
} t_text;

__attribute__((format(printf, 2, 3))) static inline void
t_print(t_text *out, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    int n = vsnprintf(out->text + out->used, sizeof out->text - out->used, format, args);
    va_end(args);
    ck_assert_int_ge(n, 0);
    ck_assert_uint_lt(out->used + (size_t)n, sizeof out->text);
    out->used += (size_t)n;
}

static inline void
t_print_value(t_text *out, const cop_value *value)
{
    switch (value->type) {
    case COP_NONE:
        t_print(out, "?");
        break;
    case COP_I64:
        t_print(out, "%" PRId64, cop_value_i64(value));
        break;
    case COP_STRING:
        t_print(out, "'%.*s'", (int)cop_value_length(value), cop_value_data(value));
        break;
    case COP_OBJECT:
        t_print(out, "{}");
        break;
    case COP_ARRAY:
        t_print(out, "[]");
        break;
    default:
        t_print(out, "type %u", value->type);
    }
}

static inline void
t_print_change(t_text *out, const cop_change *change)
{
    static const char sign[] = {[COP_CHANGE_ERASED] = '-',
                                [COP_CHANGE_VALUE] = '=',
                                [COP_CHANGE_CREATED] = '+',
                                [COP_CHANGE_ELEMENTS] = '#'};

    t_print(out, " %c", sign[change->kind]);
    if (change->path == NULL)
        t_print(out, "(%u)", change->atom.id);
    else
        t_print(out, "%.*s", (int)change->path_length, change->path);
    if (change->kind == COP_CHANGE_ELEMENTS)
        return;
    t_print(out, ":");
    if (change->kind != COP_CHANGE_CREATED)
        t_print_value(out, &change->before);
    if (change->kind == COP_CHANGE_VALUE)
        t_print(out, ">");
    if (change->kind != COP_CHANGE_ERASED)
        t_print_value(out, &change->now);
}

static inline void
t_print_batch(t_text *out, cop_watch_batch *batch)
{
    cop_change change;
    size_t n = 0;

    t_print(out, "%s(%" PRIu64 ",%" PRIu64 "]", out->used > 0 ? " " : "", batch->from, batch->to);
    ck_assert_ptr_nonnull(batch->now);
    ck_assert_uint_eq(cop_snapshot_version(batch->now), batch->to);
    if (batch->gap)
        t_print(out, " gap");
    for (; cop_watch_change(batch, &change); n++)
        t_print_change(out, &change);
    ck_assert_uint_eq(n, batch->count);
    ck_assert(batch->gap == (n == 0));
}

/* All that a watcher without a function has to be told now. */
static inline const char *
t_told(cop_watch *watch)
{
    static t_text out;
    cop_watch_batch batch;
    cop_status status;

    out.used = 0;
    out.text[0] = '\0';
    while ((status = cop_watch_next(watch, 0, &batch)) == COP_OK) {
        t_print_batch(&out, &batch);
        cop_watch_batch_end(&batch);
    }
    CHECK_STATUS(status, COP_E_TIMEOUT);
    return out.text;
}

static inline cop_watch *
t_watch(cop_store *store, const char *path)
{
    cop_watch *watch = NULL;
    cop_error error = COP_ERROR_INIT;
    cop_status status = cop_watch_open(store, P(path), NULL, NULL, NULL, &watch, &error);

    ck_assert_msg(status == COP_OK, "watch %s: %s", path, error.message);
    return watch;
}

static inline cop_watch *
t_watch_with(cop_store *store, const char *path, const cop_watch_options *options)
{
    cop_watch *watch = NULL;

    CHECK_OK(cop_watch_open(store, P(path), options, NULL, NULL, &watch, NULL));
    return watch;
}

/* A function that keeps what it is told. */
static inline void
t_listen(void *context, cop_watch *watch, cop_watch_batch *batch)
{
    (void)watch;
    t_print_batch(context, batch);
}

static inline cop_watch *
t_watch_call(cop_store *store, const char *path, const cop_watch_options *options, t_text *out)
{
    cop_watch *watch = NULL;

    out->used = 0;
    out->text[0] = '\0';
    CHECK_OK(cop_watch_open(store, P(path), options, t_listen, out, &watch, NULL));
    return watch;
}

/* What was heard since the last time. */
static inline const char *
t_heard(t_text *out)
{
    out->used = 0;
    return out->text;
}

#endif

/* SPDX-License-Identifier: MIT */
/* A store that keeps every version, documents as text, and trees that change at random. */
#ifndef COP_TESTS_HISTORY_TEST_H
#define COP_TESTS_HISTORY_TEST_H

#include "store/store_internal.h"
#include "tests/support/store_test.h"

static cop_store *store;
static unsigned long long seed;

static inline unsigned
random_below(unsigned n)
{
    seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)(seed >> 33) % n;
}

static inline void
open_keeping(void)
{
    cop_options options = COP_OPTIONS_INIT;

    fault_alloc_init(&t_faults);
    options.batch_window_ms = 0;
    options.history_max_snapshots = 100000;
    options.allocator = fault_alloc_table(&t_faults);
    CHECK_OK(cop_options_set(&options, "history.keep", "commit", NULL));
    CHECK_OK(cop_store_open(&options, &store, NULL));
}

typedef struct text {
    char *bytes;
    size_t length, capacity;
} text;

static inline int
take(void *context, const char *bytes, size_t n)
{
    text *t = context;

    if (t->length + n + 1 > t->capacity) {
        t->capacity = (t->length + n + 1) * 2;
        t->bytes = realloc(t->bytes, t->capacity);
        ck_assert_ptr_nonnull(t->bytes);
    }
    memcpy(t->bytes + t->length, bytes, n);
    t->length += n;
    t->bytes[t->length] = '\0';
    return 0;
}

/* A whole version as JSON, in order. To be freed. */
static inline char *
document(const cop_snapshot *snapshot)
{
    cop_json_write_options options = COP_JSON_WRITE_OPTIONS_INIT;
    text t = {NULL, 0, 0};

    CHECK_OK(cop_json_write(snapshot, cop_root(), &options, take, &t));
    return t.bytes;
}

static inline char *
document_of(uint64_t version)
{
    const cop_snapshot *snapshot;

    CHECK_OK(cop_history_take(store, version, &snapshot));
    char *bytes = document(snapshot);
    cop_snapshot_drop(snapshot);
    return bytes;
}

static inline void
json(const char *path, const char *document_text)
{
    cop_txn *txn = t_begin(store);
    cop_error error = COP_ERROR_INIT;

    ck_assert_msg(cop_json_read(txn, P(path), P(document_text), NULL, &error) == COP_OK, "%s",
                  error.message);
    (void)t_commit(txn);
}

static inline void
json_is(const char *expected)
{
    const cop_snapshot *snapshot = t_take(store);
    char *bytes = document(snapshot);

    ck_assert_str_eq(bytes, expected);
    free(bytes);
    cop_snapshot_drop(snapshot);
}

static inline const char *
random_path(char *path)
{
    unsigned depth = 1 + random_below(3);
    size_t used = 0;

    for (unsigned i = 0; i < depth; i++)
        used += (size_t)sprintf(path + used, "%s%c%u", i ? "/" : "", "abcdefgh"[random_below(8)],
                                random_below(4));
    return path;
}

static inline cop_value
random_value(char *bytes)
{
    switch (random_below(6)) {
    case 0:
        return cop_null();
    case 1:
        return cop_bool(random_below(2));
    case 2:
        return cop_f64(random_below(1000) / 8.0);
    case 3:
        memset(bytes, 'a' + (int)random_below(26), 60);
        return cop_string(bytes, random_below(60));
    case 4:
        return cop_array();
    default:
        return cop_i64(random_below(100));
    }
}

/* One operation that may be refused, as it may not fit what is there. */
static inline void
random_change(void)
{
    char path[64], bytes[64];
    cop_txn *txn = t_begin(store);
    cop_value value = random_value(bytes);
    cop_atom atom;
    const cop_snapshot *newest;

    random_path(path);
    CHECK_OK(cop_txn_snapshot(txn, &newest));
    bool there = cop_find(newest, P(path), &atom) == COP_OK;
    uint32_t count = 0;
    cop_value now = cop_null();
    if (there && cop_get(newest, atom, &now) == COP_OK && now.type >= COP_OBJECT)
        (void)cop_count(newest, atom, &count);
    cop_status status = COP_OK;
    if (there && now.type == COP_ARRAY && random_below(4) != 0) {
        unsigned n = 1 + random_below(random_below(10) == 0 ? 200 : 5);
        for (unsigned i = 0; i < n && status == COP_OK; i++)
            status = cop_txn_insert(txn, atom, random_below(count + 1), &value, NULL);
        cop_atom element;
        if (count > 0 && cop_child_at(newest, atom, random_below(count), &element) == COP_OK)
            status = cop_txn_erase(txn, element);
    } else if (random_below(4) == 0 && there) {
        status = cop_txn_erase(txn, atom);
    } else if (random_below(10) == 0) {
        char members[1024] = "{";
        size_t used = 1;
        unsigned start = random_below(8);
        for (unsigned i = 0; i < 8; i++) /* the same names in another order */
            used += (size_t)snprintf(members + used, sizeof members - used, "%s\"%c%u\":%u",
                                     i ? "," : "", "abcdefgh"[(start + i * 3) % 8],
                                     random_below(4), random_below(5));
        snprintf(members + used, sizeof members - used, "}");
        status = cop_json_read(txn, P(path), P(members), NULL, NULL);
    } else {
        if (there && now.type >= COP_OBJECT)
            status = cop_txn_clear(txn, atom);
        if (status == COP_OK)
            status = cop_txn_set_at(txn, P(path), &value, NULL);
    }
    if (status != COP_OK) {
        cop_txn_cancel(txn);
        return;
    }
    (void)cop_txn_commit(txn, NULL, NULL);
}

/* Computed: twice what is at "a". */
static inline cop_status
twice_a(cop_evaluation *evaluation, void *context, cop_value *result)
{
    cop_value value;
    cop_status status = cop_read_at(evaluation, P("a"), &value);

    (void)context;
    if (status == COP_OK)
        *result = cop_i64(2 * cop_value_i64(&value));
    return status;
}

#endif

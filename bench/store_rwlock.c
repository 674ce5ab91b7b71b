/* SPDX-License-Identifier: MIT */
/*
 * Peer: a GLib hash table under one pthread read-write lock, the way most programs do it. Values
 * are changed in place; a reader that holds the lock stops the writer.
 */
#include "bench/store_case.h"

#ifdef COP_BENCH_GLIB

#include <glib.h>
#include <pthread.h>
#include <stdlib.h>

struct bench_reader {
    char none;
};

static const bench_work *work;
static GHashTable *table; /* key words -> the same block, the value behind the key */
static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;

static guint
hash_id(gconstpointer key)
{
    return (guint)bench_key_hash(key, false);
}

static guint
hash_name(gconstpointer key)
{
    return (guint)bench_key_hash(key, true);
}

static gboolean
same_id(gconstpointer a, gconstpointer b)
{
    return bench_key_equal(a, b, false);
}

static gboolean
same_name(gconstpointer a, gconstpointer b)
{
    return bench_key_equal(a, b, true);
}

typedef bench_reader *sys_held;

static inline sys_held
sys_pin(bench_reader *reader)
{
    pthread_rwlock_rdlock(&lock);
    return reader;
}

static inline void
sys_unpin(bench_reader *reader, sys_held held)
{
    (void)held;
    (void)reader;
    pthread_rwlock_unlock(&lock);
}

static inline uint64_t
sys_get(sys_held held, size_t query, bool by_name)
{
    const uint64_t *found = g_hash_table_lookup(table, bench_query(work, query, by_name));
    (void)held;
    return found ? found[bench_key_words(by_name)] : 0;
}

#include "bench/store_loops.h"

static bool
update(size_t from, size_t n, uint64_t stamp)
{
    size_t words = bench_key_words(work->by_name);
    bool ok = true;
    pthread_rwlock_wrlock(&lock);
    for (size_t i = from; ok && i < from + n; i++) {
        uint64_t *found = g_hash_table_lookup(table, bench_query(work, i, work->by_name));
        ok = found != NULL;
        if (ok)
            bench_value_make(found + words, work->value_bytes, stamp);
    }
    pthread_rwlock_unlock(&lock);
    return ok;
}

static bool
load(const bench_work *w, bench_config *config)
{
    size_t words = bench_key_words(w->by_name);
    (void)config;
    work = w;
    table = g_hash_table_new(w->by_name ? hash_name : hash_id, w->by_name ? same_name : same_id);
    for (uint32_t id = 0; id < work->keys; id++) {
        uint64_t *block = malloc(words * sizeof *block + work->value_bytes);
        if (!block)
            return false;
        bench_key_make(block, id, work->by_name);
        bench_value_make(block + words, work->value_bytes, id);
        g_hash_table_insert(table, block, block);
    }
    return true;
}

static bench_reader *
reader_open(void)
{
    static bench_reader one; /* the state is the lock */
    return &one;
}

static void
reader_close(bench_reader *reader)
{
    (void)reader;
}

static uint64_t
scan(bench_reader *reader)
{
    GHashTableIter iter;
    gpointer block;
    size_t words = bench_key_words(work->by_name);
    uint64_t n = 0, sum = 0;
    sys_held held = sys_pin(reader);
    g_hash_table_iter_init(&iter, table);
    while (g_hash_table_iter_next(&iter, NULL, &block)) {
        sum += ((const uint64_t *)block)[words];
        n++;
    }
    sys_unpin(reader, held);
    return sum ? n : 0;
}

/* Nothing is ever put off. */
static void
drain(void)
{
}

static uint64_t count_value;

static uint64_t
count(void)
{
    pthread_rwlock_wrlock(&lock);
    count_value++;
    pthread_rwlock_unlock(&lock);
    return 1;
}

static uint64_t
counter(void)
{
    return count_value;
}

static const bench_system system_rwlock = {
    .name = "rwlock_hash",
    .barrier = "lock",
    .load = load,
    .reader_open = reader_open,
    .reader_close = reader_close,
    .lookup = loop_lookup,
    .pin_lookup = loop_pin_lookup,
    .pin = loop_pin,
    .scan = scan,
    .hold = loop_hold,
    .release = loop_release,
    .update = update,
    .drain = drain,
    .bytes = bench_malloc_bytes,
    .count = {[BENCH_ADD] = count},
    .counter = counter,
};
const bench_system *const bench_rwlock = &system_rwlock;

#else

const bench_system *const bench_rwlock = NULL;

#endif

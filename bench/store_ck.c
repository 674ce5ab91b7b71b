/* SPDX-License-Identifier: MIT */
/*
 * Peer: concurrencykit's hash set (one writer, many readers) with its epochs: one node a key,
 * replaced at each update and freed through ck_epoch_call. The writer polls the epoch once for
 * every 64 nodes that wait, which suits it better than once an update. No snapshots. On weakly
 * ordered CPUs Debian's ck_epoch 0.7.1 is unsafe.
 */
#include "bench/store_case.h"

#ifdef COP_BENCH_CK

#include <ck_epoch.h>
#include <ck_hs.h>
#include <stdlib.h>

#define POLL_EVERY 64

typedef struct entry {
    ck_epoch_entry_t epoch;
    uint64_t words[]; /* key, value; the set points at the key */
} entry;

struct bench_reader {
    ck_epoch_record_t record;
};

static const bench_work *work;
static ck_hs_t set;
static ck_epoch_t epoch;
static ck_epoch_record_t writer; /* one thread at a time updates */

static entry *
entry_of(const void *key)
{
    return (entry *)((uintptr_t)key - offsetof(entry, words));
}

static void
entry_free(ck_epoch_entry_t *e)
{
    free(e);
}

/* The set's own tables: one that readers may still use waits for them, like a node. */
static void *
table_malloc(size_t size)
{
    char *memory = malloc(size + sizeof(entry));
    return memory ? memory + sizeof(entry) : NULL;
}

static void
table_free(void *memory, size_t size, bool defer)
{
    (void)size;
    if (memory && defer)
        ck_epoch_call(&writer, &entry_of(memory)->epoch, entry_free);
    else if (memory)
        free(entry_of(memory));
}

static struct ck_malloc allocator = {.malloc = table_malloc, .free = table_free};

static unsigned long
hash(const void *key, unsigned long seed)
{
    (void)seed;
    return bench_key_hash(key, work->by_name);
}

static bool
same_id(const void *a, const void *b)
{
    return bench_key_equal(a, b, false);
}

static bool
same_name(const void *a, const void *b)
{
    return bench_key_equal(a, b, true);
}

typedef bench_reader *sys_held;

static inline sys_held
sys_pin(bench_reader *reader)
{
    ck_epoch_begin(&reader->record, NULL);
    return reader;
}

static inline void
sys_unpin(bench_reader *reader, sys_held held)
{
    (void)held;
    ck_epoch_end(&reader->record, NULL);
}

static inline uint64_t
sys_get(sys_held held, size_t query, bool by_name)
{
    const uint64_t *key = bench_query(work, query, by_name);
    const uint64_t *found = ck_hs_get(&set, bench_key_hash(key, by_name), key);
    (void)held;
    return found ? found[bench_key_words(by_name)] : 0;
}

#include "bench/store_loops.h"

static bool
replace(const uint64_t *key, uint64_t stamp)
{
    size_t words = bench_key_words(work->by_name);
    entry *e = malloc(sizeof *e + words * sizeof *key + work->value_bytes);
    void *old = NULL;
    if (!e)
        return false;
    memcpy(e->words, key, words * sizeof *key);
    bench_value_make(e->words + words, work->value_bytes, stamp);
    if (!ck_hs_set(&set, bench_key_hash(key, work->by_name), e->words, &old)) {
        free(e);
        return false;
    }
    if (old)
        ck_epoch_call(&writer, &entry_of(old)->epoch, entry_free);
    return true;
}

static bool
update(size_t from, size_t n, uint64_t stamp)
{
    static size_t waiting;
    bool ok = true;
    for (size_t i = from; ok && i < from + n; i++)
        ok = replace(bench_query(work, i, work->by_name), stamp);
    waiting += n;
    if (waiting >= POLL_EVERY) {
        ck_epoch_poll(&writer);
        waiting = 0;
    }
    return ok;
}

static bool
load(const bench_work *w, bench_config *config)
{
    uint64_t key[BENCH_NAME_WORDS];
    bool ok = true;
    (void)config;
    work = w;
    ck_epoch_init(&epoch);
    ck_epoch_register(&epoch, &writer, NULL);
    if (!ck_hs_init(&set, CK_HS_MODE_SPMC | CK_HS_MODE_OBJECT, hash,
                    work->by_name ? same_name : same_id, &allocator, work->keys, 1))
        return false;
    for (uint32_t id = 0; ok && id < work->keys; id++) {
        bench_key_make(key, id, work->by_name);
        ok = replace(key, id);
    }
    ck_epoch_barrier(&writer);
    return ok;
}

static bench_reader *
reader_open(void)
{
    bench_reader *reader = aligned_alloc(64, (sizeof *reader + 63) / 64 * 64);
    if (reader)
        ck_epoch_register(&epoch, &reader->record, NULL);
    return reader;
}

/* The record stays in the list of its epoch, free for reuse, so it must not be freed. */
static void
reader_close(bench_reader *reader)
{
    ck_epoch_unregister(&reader->record);
}

static uint64_t
scan(bench_reader *reader)
{
    ck_hs_iterator_t iter = CK_HS_ITERATOR_INITIALIZER;
    size_t words = bench_key_words(work->by_name);
    void *key = NULL;
    uint64_t n = 0, sum = 0;
    sys_held held = sys_pin(reader);
    while (ck_hs_next(&set, &iter, &key)) {
        sum += ((const uint64_t *)key)[words];
        n++;
    }
    sys_unpin(reader, held);
    return sum ? n : 0;
}

static void
drain(void)
{
    ck_epoch_barrier(&writer);
}

static const bench_system system_ck = {
    .name = "ck_epoch",
    .barrier = "fence",
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
};
const bench_system *const bench_ck = &system_ck;

#else

const bench_system *const bench_ck = NULL;

#endif

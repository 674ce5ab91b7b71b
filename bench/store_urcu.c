/* SPDX-License-Identifier: MIT */
/*
 * Peer: liburcu's lock-free hash table (memb flavour), one node a key, replaced at each update and
 * freed by call_rcu. A fixed number of buckets, as many as keys, so that nothing is resized while
 * it is measured. No snapshots: a reader sees each key's newest value.
 */
#include "bench/store_case.h"

#ifdef COP_BENCH_URCU

/* Inlines rcu_read_lock; without it every read section costs a call. */
#define _LGPL_SOURCE
#include <stdlib.h>
#include <urcu/urcu-memb.h>

#include <urcu/rculfhash.h>

typedef struct entry {
    struct cds_lfht_node node;
    struct rcu_head rcu;
    uint64_t words[]; /* key, value */
} entry;

struct bench_reader {
    char none;
};

static const bench_work *work;
static struct cds_lfht *table;

static entry *
entry_new(const uint64_t *key, uint64_t stamp)
{
    size_t words = bench_key_words(work->by_name);
    entry *e = malloc(sizeof *e + words * sizeof *key + work->value_bytes);
    if (!e)
        return NULL;
    cds_lfht_node_init(&e->node);
    memcpy(e->words, key, words * sizeof *key);
    bench_value_make(e->words + words, work->value_bytes, stamp);
    return e;
}

static void
entry_free(struct rcu_head *head)
{
    free(caa_container_of(head, entry, rcu));
}

static int
match_id(struct cds_lfht_node *node, const void *key)
{
    return bench_key_equal(caa_container_of(node, entry, node)->words, key, false);
}

static int
match_name(struct cds_lfht_node *node, const void *key)
{
    return bench_key_equal(caa_container_of(node, entry, node)->words, key, true);
}

typedef bench_reader *sys_held;

static inline sys_held
sys_pin(bench_reader *reader)
{
    urcu_memb_read_lock();
    return reader;
}

static inline void
sys_unpin(bench_reader *reader, sys_held held)
{
    (void)held;
    (void)reader;
    urcu_memb_read_unlock();
}

static inline uint64_t
sys_get(sys_held held, size_t query, bool by_name)
{
    const uint64_t *key = bench_query(work, query, by_name);
    struct cds_lfht_iter iter;
    struct cds_lfht_node *node;
    (void)held;
    cds_lfht_lookup(table, bench_key_hash(key, by_name), by_name ? match_name : match_id, key,
                    &iter);
    node = cds_lfht_iter_get_node(&iter);
    return node ? caa_container_of(node, entry, node)->words[bench_key_words(by_name)] : 0;
}

#include "bench/store_loops.h"

static bool
replace(const uint64_t *key, uint64_t stamp)
{
    entry *e = entry_new(key, stamp);
    struct cds_lfht_node *old;
    if (!e)
        return false;
    old = cds_lfht_add_replace(table, bench_key_hash(key, work->by_name),
                               work->by_name ? match_name : match_id, key, &e->node);
    if (old)
        urcu_memb_call_rcu(&caa_container_of(old, entry, node)->rcu, entry_free);
    return true;
}

static bool
update(size_t from, size_t n, uint64_t stamp)
{
    bool ok = true;
    urcu_memb_read_lock();
    for (size_t i = from; ok && i < from + n; i++)
        ok = replace(bench_query(work, i, work->by_name), stamp);
    urcu_memb_read_unlock();
    return ok;
}

static bool
load(const bench_work *w, bench_config *config)
{
    unsigned long buckets = 1;
    uint64_t key[BENCH_NAME_WORDS];
    bool ok = true;
    (void)config;
    work = w;
    while (buckets < work->keys)
        buckets *= 2;
    table = cds_lfht_new_flavor(buckets, buckets, buckets, 0, &urcu_memb_flavor, NULL);
    /* Its thread is made now, so that it does not inherit the place of a thread tied to a CPU. */
    if (!table || !urcu_memb_get_default_call_rcu_data())
        return false;
    urcu_memb_register_thread();
    for (uint32_t id = 0; ok && id < work->keys; id++) {
        bench_key_make(key, id, work->by_name);
        urcu_memb_read_lock();
        ok = replace(key, id);
        urcu_memb_read_unlock();
    }
    urcu_memb_unregister_thread();
    return ok;
}

static bench_reader *
reader_open(void)
{
    static bench_reader one; /* the state is liburcu's, in the thread */
    urcu_memb_register_thread();
    return &one;
}

static void
reader_close(bench_reader *reader)
{
    (void)reader;
    urcu_memb_unregister_thread();
}

static uint64_t
scan(bench_reader *reader)
{
    struct cds_lfht_iter iter;
    struct cds_lfht_node *node;
    size_t words = bench_key_words(work->by_name);
    uint64_t n = 0, sum = 0;
    sys_held held = sys_pin(reader);
    for (cds_lfht_first(table, &iter); (node = cds_lfht_iter_get_node(&iter));
         cds_lfht_next(table, &iter)) {
        sum += caa_container_of(node, entry, node)->words[words];
        n++;
    }
    sys_unpin(reader, held);
    return sum ? n : 0;
}

static void
drain(void)
{
    urcu_memb_barrier();
}

static const bench_system system_urcu = {
    .name = "urcu_lfht",
    .barrier = "membarrier",
    .load = load,
    .reader_open = reader_open,
    .reader_close = reader_close,
    .lookup = loop_lookup,
    .pin_lookup = loop_pin_lookup,
    .pin = loop_pin,
    .scan = scan,
    .hold = loop_hold,
    .release = loop_release,
    .writer_enter = urcu_memb_register_thread,
    .writer_leave = urcu_memb_unregister_thread,
    .update = update,
    .drain = drain,
    .bytes = bench_malloc_bytes,
};
const bench_system *const bench_urcu = &system_urcu;

#else

const bench_system *const bench_urcu = NULL;

#endif

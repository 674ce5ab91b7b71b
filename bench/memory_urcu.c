/* SPDX-License-Identifier: MIT */
/*
 * Peer: liburcu's hash table, whose replaced nodes are freed by call_rcu once no reader can see
 * them. It has no limit: with a reader that stops, what is queued grows with every write.
 */
#include "bench/memory_peer.h"

#ifdef COP_BENCH_URCU

#define _LGPL_SOURCE
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <urcu/urcu-memb.h>

#include <urcu/rculfhash.h>

#include "bench/memory_load.h"
#include "bench/memory_sample.h"

typedef struct entry {
    struct cds_lfht_node node;
    struct rcu_head rcu;
    uint64_t key;
    uint64_t words[];
} entry;

static struct cds_lfht *table;

static void
entry_free(struct rcu_head *head)
{
    free(caa_container_of(head, entry, rcu));
}

static int
match(struct cds_lfht_node *node, const void *key)
{
    return caa_container_of(node, entry, node)->key == *(const uint32_t *)key;
}

static bool
replace(uint32_t key, uint32_t stamp)
{
    uint64_t words[MEMORY_VALUE_BYTES / 8];
    size_t n = memory_peer_value(words, key, stamp) * sizeof *words;
    entry *e = malloc(sizeof *e + n);
    if (e == NULL)
        return false;
    cds_lfht_node_init(&e->node);
    e->key = key;
    memcpy(e->words, words, n);
    struct cds_lfht_node *old =
        cds_lfht_add_replace(table, key * 2654435761ul, match, &key, &e->node);
    if (old != NULL)
        urcu_memb_call_rcu(&caa_container_of(old, entry, node)->rcu, entry_free);
    return true;
}

static bool
write_keys(const uint32_t *keys, unsigned n, uint32_t stamp)
{
    bool ok = true;
    urcu_memb_read_lock();
    for (unsigned i = 0; i < n; i++)
        ok = replace(keys[i], stamp) && ok;
    urcu_memb_read_unlock();
    return ok;
}

static bool
open_table(uint64_t limit, uint32_t keys_max)
{
    unsigned long buckets = 1;
    (void)limit;
    while (buckets < keys_max)
        buckets *= 2;
    table = cds_lfht_new_flavor(1024, 1024, buckets, CDS_LFHT_AUTO_RESIZE, &urcu_memb_flavor, NULL);
    return table != NULL && urcu_memb_get_default_call_rcu_data() != NULL;
}

static uint64_t
bytes(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

static void *
hold(void)
{
    urcu_memb_read_lock();
    return &table;
}

static void
release(void *held)
{
    (void)held;
    urcu_memb_read_unlock();
}

static const char *
message(void)
{
    return "malloc";
}

static const memory_peer peer = {
    .name = "urcu_call_rcu",
    .open = open_table,
    .enter = urcu_memb_register_thread,
    .leave = urcu_memb_unregister_thread,
    .write = write_keys,
    .bytes = bytes,
    .resident = memory_resident,
    .hold = hold,
    .release = release,
    .message = message,
};
const memory_peer *const memory_urcu = &peer;

#else

const memory_peer *const memory_urcu = NULL;

#endif

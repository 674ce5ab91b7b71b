/* SPDX-License-Identifier: MIT */
/*
 * Peer: LMDB in memory: a file in /dev/shm, written through the map and never synced. The file is
 * unlinked as soon as it is open, so that nothing stays behind. Readers have snapshots.
 */
#include "bench/store_case.h"

#ifdef COP_BENCH_LMDB

#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MAP_BYTES ((size_t)16 << 30) /* of address space: the file is sparse */

struct bench_reader {
    MDB_txn *txn;
};

static const bench_work *work;
static MDB_env *env;
static MDB_dbi dbi;

static MDB_val
key_val(const uint64_t *key, bool by_name)
{
    MDB_val v = {bench_key_words(by_name) * sizeof *key, (void *)(uintptr_t)key};
    return v;
}

typedef bench_reader *sys_held;

static inline sys_held
sys_pin(bench_reader *reader)
{
    (void)mdb_txn_renew(reader->txn);
    return reader;
}

static inline void
sys_unpin(bench_reader *reader, sys_held held)
{
    (void)held;
    mdb_txn_reset(reader->txn);
}

static inline uint64_t
sys_get(sys_held held, size_t query, bool by_name)
{
    MDB_val key = key_val(bench_query(work, query, by_name), by_name), value;
    uint64_t word;
    if (mdb_get(held->txn, dbi, &key, &value) != MDB_SUCCESS)
        return 0;
    memcpy(&word, value.mv_data, sizeof word);
    return word;
}

#include "bench/store_loops.h"

static bool
put(MDB_txn *txn, const uint64_t *key, uint64_t stamp, unsigned flags)
{
    uint64_t words[BENCH_VALUE_WORDS];
    MDB_val k = key_val(key, work->by_name), v = {work->value_bytes, words};
    bench_value_make(words, work->value_bytes, stamp);
    return mdb_put(txn, dbi, &k, &v, flags) == MDB_SUCCESS;
}

static bool
update(size_t from, size_t n, uint64_t stamp)
{
    MDB_txn *txn;
    bool ok = true;
    if (mdb_txn_begin(env, NULL, 0, &txn) != MDB_SUCCESS)
        return false;
    for (size_t i = from; ok && i < from + n; i++)
        ok = put(txn, bench_query(work, i, work->by_name), stamp, 0);
    if (ok)
        return mdb_txn_commit(txn) == MDB_SUCCESS;
    mdb_txn_abort(txn);
    return false;
}

static bool
open_environment(void)
{
    char file[64], lock[80];
    unsigned flags = MDB_NOSYNC | MDB_NOMETASYNC | MDB_WRITEMAP | MDB_NOTLS | MDB_NOSUBDIR;
    int status;
    snprintf(file, sizeof file, "/dev/shm/coppice-bench-%ld", (long)getpid());
    snprintf(lock, sizeof lock, "%s-lock", file);
    if (mdb_env_create(&env) != MDB_SUCCESS || mdb_env_set_mapsize(env, MAP_BYTES) != MDB_SUCCESS)
        return false;
    status = mdb_env_open(env, file, flags, 0600);
    unlink(file);
    unlink(lock);
    return status == MDB_SUCCESS;
}

/* Keys come in order, so MDB_APPEND fills its pages: the best case for its memory. */
static bool
load(const bench_work *w, bench_config *config)
{
    uint64_t key[BENCH_NAME_WORDS];
    MDB_txn *txn;
    bool ok;
    (void)config;
    work = w;
    if (!open_environment() || mdb_txn_begin(env, NULL, 0, &txn) != MDB_SUCCESS)
        return false;
    ok = mdb_dbi_open(txn, NULL, work->by_name ? 0 : MDB_INTEGERKEY, &dbi) == MDB_SUCCESS;
    for (uint32_t id = 0; ok && id < work->keys; id++) {
        bench_key_make(key, id, work->by_name);
        ok = put(txn, key, id, MDB_APPEND);
    }
    return ok && mdb_txn_commit(txn) == MDB_SUCCESS;
}

static bench_reader *
reader_open(void)
{
    bench_reader *reader = malloc(sizeof *reader);
    if (reader && mdb_txn_begin(env, NULL, MDB_RDONLY, &reader->txn) != MDB_SUCCESS) {
        free(reader);
        return NULL;
    }
    if (reader)
        mdb_txn_reset(reader->txn);
    return reader;
}

static void
reader_close(bench_reader *reader)
{
    mdb_txn_abort(reader->txn);
    free(reader);
}

static uint64_t
scan(bench_reader *reader)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    uint64_t n = 0, sum = 0, word;
    sys_held held = sys_pin(reader);
    if (mdb_cursor_open(reader->txn, dbi, &cursor) == MDB_SUCCESS) {
        while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == MDB_SUCCESS) {
            memcpy(&word, value.mv_data, sizeof word);
            sum += word;
            n++;
        }
        mdb_cursor_close(cursor);
    }
    sys_unpin(reader, held);
    return sum ? n : 0;
}

/* Freed pages stay in the file, to be used again. */
static void
drain(void)
{
}

static uint64_t
bytes(void)
{
    MDB_envinfo info;
    MDB_stat stat;
    if (mdb_env_info(env, &info) != MDB_SUCCESS || mdb_env_stat(env, &stat) != MDB_SUCCESS)
        return 0;
    return (info.me_last_pgno + 1) * (uint64_t)stat.ms_psize;
}

static uint64_t counter_key[BENCH_NAME_WORDS] = {0x7265746e756f6300ull, 0, 0};

static uint64_t
counter_read(MDB_txn *txn)
{
    MDB_val key = key_val(counter_key, work->by_name), value;
    uint64_t n = 0;
    if (mdb_get(txn, dbi, &key, &value) == MDB_SUCCESS)
        memcpy(&n, value.mv_data, sizeof n);
    return n;
}

static uint64_t
count(void)
{
    MDB_txn *txn;
    MDB_val key = key_val(counter_key, work->by_name), value;
    uint64_t n;
    if (mdb_txn_begin(env, NULL, 0, &txn) != MDB_SUCCESS)
        return 0;
    n = counter_read(txn) + 1;
    value = (MDB_val){sizeof n, &n};
    if (mdb_put(txn, dbi, &key, &value, 0) != MDB_SUCCESS) {
        mdb_txn_abort(txn);
        return 0;
    }
    return mdb_txn_commit(txn) == MDB_SUCCESS ? 1 : 0;
}

static uint64_t
counter(void)
{
    MDB_txn *txn;
    uint64_t n;
    if (mdb_txn_begin(env, NULL, MDB_RDONLY, &txn) != MDB_SUCCESS)
        return 0;
    n = counter_read(txn);
    mdb_txn_abort(txn);
    return n;
}

static const bench_system system_lmdb = {
    .name = "lmdb",
    .barrier = "none",
    .snapshots = true,
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
    .bytes = bytes,
    .count = {[BENCH_TRANSACT] = count},
    .counter = counter,
};
const bench_system *const bench_lmdb = &system_lmdb;

#else

const bench_system *const bench_lmdb = NULL;

#endif

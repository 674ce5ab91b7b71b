/* SPDX-License-Identifier: MIT */
/*
 * Peer: LMDB in memory, a file in /dev/shm that is never synced, with a map of the limit's size. A
 * reader's snapshot keeps all pages that were freed after it: once the map is full of these, every
 * write is refused, with MDB_MAP_FULL. The file is unlinked as soon as it is open.
 */
#include "bench/memory_peer.h"

#ifdef COP_BENCH_LMDB

#include <lmdb.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "bench/memory_load.h"
#include "bench/memory_sample.h"

static MDB_env *env;
static MDB_dbi dbi;
static _Atomic int last_error;

static bool
refused(int status)
{
    if (status != MDB_SUCCESS)
        atomic_store(&last_error, status);
    return status != MDB_SUCCESS;
}

static bool
write_keys(const uint32_t *keys, unsigned n, uint32_t stamp)
{
    uint64_t words[MEMORY_VALUE_BYTES / 8];
    MDB_txn *txn;
    if (refused(mdb_txn_begin(env, NULL, 0, &txn)))
        return false;
    for (unsigned i = 0; i < n; i++) {
        uint32_t key = keys[i];
        MDB_val k = {sizeof key, &key}, v = {memory_peer_value(words, key, stamp) * 8, words};
        if (refused(mdb_put(txn, dbi, &k, &v, 0))) {
            mdb_txn_abort(txn);
            return false;
        }
    }
    return !refused(mdb_txn_commit(txn));
}

static bool
open_environment(uint64_t limit, uint32_t keys_max)
{
    char file[64], lock[80];
    unsigned flags = MDB_NOSYNC | MDB_NOMETASYNC | MDB_WRITEMAP | MDB_NOTLS | MDB_NOSUBDIR;
    MDB_txn *txn;
    (void)keys_max;
    (void)snprintf(file, sizeof file, "/dev/shm/coppice-bench-%ld", (long)getpid());
    (void)snprintf(lock, sizeof lock, "%s-lock", file);
    if (mdb_env_create(&env) != MDB_SUCCESS || mdb_env_set_mapsize(env, limit) != MDB_SUCCESS)
        return false;
    int status = mdb_env_open(env, file, flags, 0600);
    unlink(file);
    unlink(lock);
    return status == MDB_SUCCESS && mdb_txn_begin(env, NULL, 0, &txn) == MDB_SUCCESS &&
           mdb_dbi_open(txn, NULL, MDB_INTEGERKEY, &dbi) == MDB_SUCCESS &&
           mdb_txn_commit(txn) == MDB_SUCCESS;
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

static void *
hold(void)
{
    MDB_txn *txn;
    return mdb_txn_begin(env, NULL, MDB_RDONLY, &txn) == MDB_SUCCESS ? txn : NULL;
}

static void
release(void *held)
{
    mdb_txn_abort(held);
}

static const char *
message(void)
{
    return mdb_strerror(atomic_load(&last_error));
}

static const memory_peer peer = {
    .name = "lmdb",
    .limited = true,
    .snapshots = true,
    .open = open_environment,
    .write = write_keys,
    .bytes = bytes,
    .resident = memory_resident_all,
    .hold = hold,
    .release = release,
    .message = message,
};
const memory_peer *const memory_lmdb = &peer;

#else

const memory_peer *const memory_lmdb = NULL;

#endif

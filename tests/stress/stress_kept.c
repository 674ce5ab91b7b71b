/* SPDX-License-Identifier: MIT */
/*
 * The history beside writers and readers, all at full speed: every commit's version is kept and soon
 * pruned, while others take kept versions and read them, go back to them, compare them, show them again,
 * and label, pin and drop them.
 *
 * Every version has a sum that is whole and a list whose length stands beside it. The text of each
 * version is remembered by its hash when it is read first; it must be the same whenever it is read. The
 * difference of any two is applied to the older one's text in a store of its own.
 */
#include <string.h>

#include "tests/stress/common.h"

enum { ACCOUNTS = 200, START = 1000, ITEMS = 60, KEPT = 24, REMEMBERED = 1 << 16 };

enum { WHOLE, SAME, GONE_BACK, FORWARD, SHOWN, COMPARED, BOUNDED, NO_SURPRISE, PATCHED,
       FORTH, ALL_KEPT };
static const char *const properties[] = {
    "a kept version is whole",
    "a kept version reads the same whenever it is read",
    "a version that was gone back to is as the old one was",
    "going back makes a newer version",
    "a replay shows whole versions in order, each from the one before",
    "a comparison backwards is the one forwards, turned round",
    "no more versions are kept than may be, but for pinned ones",
    "a call does what it may, nothing else",
    "the difference of two kept versions makes one of the other",
    "the newest version is whole and never older than the one seen before",
    "no version was lost, and each was kept once",
};

static cop_store *store;
static cop_atom accounts[ACCOUNTS];
static _Atomic uint64_t remembered[REMEMBERED]; /* by version: the hash, its upper half; version + 1 */
static _Atomic uint64_t restores, taken, shows, patches;

/* --- reading a version ----------------------------------------------------------------------- */

static int
hash_bytes(void *context, const char *bytes, size_t n)
{
    uint64_t *hash = context;

    for (size_t i = 0; i < n; i++)
        *hash = (*hash ^ (unsigned char)bytes[i]) * UINT64_C(0x100000001b3);
    return 0;
}

static uint64_t
hash_of(const cop_snapshot *snapshot)
{
    cop_json_write_options options = COP_JSON_WRITE_OPTIONS_INIT;
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    stress_need(cop_json_write(snapshot, cop_root(), &options, hash_bytes, &hash), "write");
    return hash;
}

static void
check_whole(unsigned property, const cop_snapshot *snapshot)
{
    cop_value values[ACCOUNTS], count = cop_null();
    cop_atom list;
    int64_t sum = 0;
    uint32_t n = UINT32_MAX;

    (void)cop_get_many(snapshot, accounts, ACCOUNTS, values);
    for (unsigned i = 0; i < ACCOUNTS; i++)
        sum += cop_value_i64(&values[i]);
    bool has = cop_find(snapshot, "items/list", 10, &list) == COP_OK &&
               cop_count(snapshot, list, &n) == COP_OK &&
               cop_get_at(snapshot, "items/count", 11, &count) == COP_OK;
    stress_check(property,
                 sum == (int64_t)ACCOUNTS * START && has && cop_value_i64(&count) == (int64_t)n,
                 "version %" PRIu64 ": sum %" PRId64 ", %" PRIu32 " items, count %" PRId64,
                 cop_snapshot_version(snapshot), sum, n, cop_value_i64(&count));
}

/* 40 bits of the hash, 24 of the version. */
static void
check_same(uint64_t version, uint64_t hash)
{
    uint64_t mine = hash << 24 | (version & 0xffffff), none = 0;
    _Atomic uint64_t *place = &remembered[version % REMEMBERED];

    if (atomic_compare_exchange_strong(place, &none, mine))
        return;
    if ((none & 0xffffff) == (version & 0xffffff))
        stress_check(SAME, none == mine, "version %" PRIu64, version);
    else
        atomic_store(place, mine);
}

static uint64_t
read_whole(const cop_snapshot *snapshot)
{
    uint64_t hash = hash_of(snapshot);

    check_whole(WHOLE, snapshot);
    check_same(cop_snapshot_version(snapshot), hash);
    atomic_fetch_add(&taken, 1);
    return hash;
}

/* A kept version, about evenly from old to new; 0: none. */
static uint64_t
random_kept(stress_random *r)
{
    uint64_t newest = cop_store_version(store), back = stress_below(r, KEPT * 2);
    cop_history_entry entry;

    if (newest <= back || cop_history_next(store, newest - back, &entry) != COP_OK)
        return 0;
    return entry.version;
}

/* --- writers ------------------------------------------------------------------------------- */

static cop_status
change(cop_txn *txn, void *context)
{
    stress_random *r = context;
    unsigned from = (unsigned)stress_below(r, ACCOUNTS), to = (unsigned)stress_below(r, ACCOUNTS);
    cop_value out = cop_i64(-1), in = cop_i64(1), value = cop_i64((int64_t)stress_below(r, 1000));
    char path[32];
    int n = snprintf(path, sizeof path, "items/list/i%u", (unsigned)stress_below(r, ITEMS));
    cop_atom item, list, count;
    cop_status status = cop_txn_add(txn, accounts[from], &out);

    if (status == COP_OK)
        status = cop_txn_add(txn, accounts[to], &in);
    if (status == COP_OK)
        status = cop_txn_find(txn, "items/list", 10, &list, NULL);
    if (status == COP_OK)
        status = cop_txn_find(txn, "items/count", 11, &count, NULL);
    if (status != COP_OK)
        return status;
    bool there = cop_txn_find(txn, path, (size_t)n, &item, NULL) == COP_OK;
    bool erase = there && stress_below(r, 2) == 0;
    if (erase)
        status = cop_txn_erase(txn, item);
    else
        status = cop_txn_set_at(txn, path, (size_t)n, &value, NULL);
    out = cop_i64(erase ? -1 : !there);
    return status == COP_OK ? cop_txn_add(txn, count, &out) : status;
}

static void
writer(stress_random *r)
{
    uint64_t n = 0;

    for (; !stress_over(); n++) {
        cop_status status = cop_transact(store, change, r, COP_FOREVER, NULL);
        stress_check(NO_SURPRISE, status == COP_OK || status == COP_E_GONE, "transact: %s",
                     cop_status_name(status)); /* gone: what was read went before the add */
    }
    stress_count(n);
}

/* --- readers -------------------------------------------------------------------------------- */

static uint64_t
read_newest(uint64_t before)
{
    cop_pin_t pin = cop_pin(store);
    uint64_t version = cop_snapshot_version(pin.snapshot);

    check_whole(FORTH, pin.snapshot);
    stress_check(FORTH, version >= before, "%" PRIu64 " after %" PRIu64, version, before);
    cop_unpin(pin);
    return version;
}

static void
reader(stress_random *r)
{
    const cop_snapshot *held[4] = {NULL, NULL, NULL, NULL};
    uint64_t hash[4] = {0, 0, 0, 0}, newest = 0;

    while (!stress_over()) {
        newest = read_newest(newest);
        unsigned i = (unsigned)stress_below(r, 4);
        if (held[i] != NULL) { /* long after it was pruned */
            stress_check(SAME, hash_of(held[i]) == hash[i], "version %" PRIu64 " while it is held",
                         cop_snapshot_version(held[i]));
            cop_snapshot_drop(held[i]);
            held[i] = NULL;
        }
        uint64_t version = random_kept(r);
        cop_status status = cop_history_take(store, version, &held[i]);
        stress_check(NO_SURPRISE, status == COP_OK || status == COP_E_ABSENT, "take: %s",
                     cop_status_name(status));
        if (status == COP_OK)
            hash[i] = read_whole(held[i]);
    }
    for (unsigned i = 0; i < 4; i++)
        cop_snapshot_drop(held[i]);
}

/* --- going back ------------------------------------------------------------------------------ */

static void
go_back(uint64_t version)
{
    cop_history_restored told;
    const cop_snapshot *old, *made;
    cop_error error = COP_ERROR_INIT;

    if (cop_history_take(store, version, &old) != COP_OK)
        return;
    cop_status status = cop_history_restore(store, version, COP_FOREVER, &told, &error);
    stress_check(NO_SURPRISE, status == COP_OK || status == COP_E_ABSENT, "restore: %s",
                 error.message);
    if (status == COP_OK) {
        atomic_fetch_add(&restores, 1);
        stress_check(FORWARD, told.version > version || told.edits == 0,
                     "%" PRIu64 " as %" PRIu64, told.version, version);
        if (cop_history_take(store, told.version, &made) == COP_OK) {
            stress_check(GONE_BACK, read_whole(made) == read_whole(old),
                         "%" PRIu64 " as %" PRIu64 ", from %" PRIu64, told.version, version,
                         told.from);
            cop_snapshot_drop(made);
        }
    }
    cop_snapshot_drop(old);
}

static void
restorer(stress_random *r)
{
    for (uint64_t n = 0; !stress_over(); n++) {
        go_back(random_kept(r));
        if (n >> 6 & 1) /* without a pause by turns, so that much is written between some */
            stress_sleep_us((unsigned)stress_below(r, 3000));
    }
}

/* --- showing again, comparing, labels --------------------------------------------------------- */

static int
show(void *context, const cop_history_entry *entry, cop_watch_batch *batch)
{
    uint64_t *last = context;
    cop_change one;
    uint64_t changes = 0;

    while (cop_watch_change(batch, &one))
        changes++;
    stress_check(SHOWN, batch->to == entry->version && batch->from == *last && batch->to > *last &&
                            changes == batch->count && batch->gap == (*last == 0),
                 "from %" PRIu64 " to %" PRIu64 " after %" PRIu64, batch->from, batch->to, *last);
    check_whole(SHOWN, batch->now);
    *last = batch->to;
    atomic_fetch_add(&shows, 1);
    return 0;
}

static void
replay(void)
{
    cop_history_replay_options options = COP_HISTORY_REPLAY_OPTIONS_INIT;
    cop_replay *shown;
    uint64_t last = 0;

    options.speed = 0;
    options.to = cop_store_version(store);
    stress_need(cop_history_replay_open(store, &options, &shown, NULL), "replay");
    stress_need(cop_history_replay_run(shown, COP_FOREVER, show, &last), "run");
    cop_history_replay_close(shown);
}

static void
compare(stress_random *r)
{
    uint64_t a = random_kept(r), b = random_kept(r);
    cop_history_difference there, back;

    if (cop_history_compare(store, a, b, &there) == COP_OK &&
        cop_history_compare(store, b, a, &back) == COP_OK)
        stress_check(COMPARED,
                     there.created == back.erased && there.erased == back.created &&
                         there.changed == back.changed,
                     "%" PRIu64 " and %" PRIu64, a, b);
}

typedef struct text {
    char *bytes;
    size_t length, capacity;
} text;

static int
text_add(void *context, const char *bytes, size_t n)
{
    text *t = context;

    if (t->capacity - t->length < n) {
        t->capacity = (t->length + n) * 2;
        t->bytes = realloc(t->bytes, t->capacity);
        if (t->bytes == NULL)
            abort();
    }
    memcpy(t->bytes + t->length, bytes, n);
    t->length += n;
    return 0;
}

/* The first version's text, then the difference: the newest version of the other store. */
static void
make_there(cop_store *other, const text *whole, const text *patch)
{
    cop_txn *txn = NULL;

    stress_need(cop_txn_begin(other, &txn), "begin");
    stress_need(cop_json_read(txn, "", 0, whole->bytes, whole->length, NULL, NULL), "read");
    stress_need(cop_txn_commit(txn, NULL, NULL), "commit");
    stress_need(cop_txn_begin(other, &txn), "begin");
    stress_need(cop_patch_apply(txn, "", 0, COP_PATCH_BINARY, patch->bytes, patch->length, NULL), "apply");
    stress_need(cop_txn_commit(txn, NULL, NULL), "commit");
}

static void
check_patch(cop_store *other, const cop_snapshot *a, const cop_snapshot *b)
{
    cop_json_write_options options = COP_JSON_WRITE_OPTIONS_INIT;
    const cop_snapshot *made = NULL;
    text whole = {NULL, 0, 0}, patch = {NULL, 0, 0};

    stress_need(cop_json_write(a, cop_root(), &options, text_add, &whole), "write");
    stress_need(cop_patch_write(a, b, "", 0, COP_PATCH_BINARY, NULL, text_add, &patch, NULL), "diff");
    make_there(other, &whole, &patch);
    stress_need(cop_snapshot_take(other, &made), "take");
    stress_check(PATCHED, hash_of(made) == hash_of(b), "from %" PRIu64 " to %" PRIu64,
                 cop_snapshot_version(a), cop_snapshot_version(b));
    cop_snapshot_drop(made);
    free(whole.bytes);
    free(patch.bytes);
    atomic_fetch_add(&patches, 1);
}

/* Of any two. */
static void
patch_two(stress_random *r, cop_store *other)
{
    const cop_snapshot *a = NULL, *b = NULL;

    if (cop_history_take(store, random_kept(r), &a) == COP_OK &&
        cop_history_take(store, random_kept(r), &b) == COP_OK)
        check_patch(other, a, b);
    cop_snapshot_drop(a);
    cop_snapshot_drop(b);
}

static void
keeper(stress_random *r)
{
    uint64_t pinned = 0;
    cop_store *other = NULL;

    stress_need(cop_store_open(NULL, &other, NULL), "open");

    while (!stress_over()) {
        cop_history_entry entry;
        uint64_t version = random_kept(r);
        if (pinned != 0)
            (void)cop_history_unpin(store, pinned);
        pinned = cop_history_pin(store, version) == COP_OK ? version : 0;
        if (cop_history_label(store, version, "marked", 6, NULL) == COP_OK &&
            cop_history_find_label(store, "marked", 6, &entry) == COP_OK)
            stress_check(NO_SURPRISE, strcmp(entry.label, "marked") == 0, "%s", entry.label);
        if (stress_below(r, 50) == 0)
            (void)cop_history_drop(store, random_kept(r));
        compare(r);
        patch_two(r, other);
        replay();
        cop_stats stats = COP_STATS_INIT;
        stress_need(cop_stats_take(store, &stats), "stats");
        stress_check(BOUNDED, stats.history_versions <= KEPT + 1, "%" PRIu64, stats.history_versions);
    }
    (void)cop_history_unpin(store, pinned);
    cop_store_close(other);
}

/* --- all of them ------------------------------------------------------------------------------ */

static void *
body(void *thread)
{
    stress_random r = stress_random_of((uintptr_t)thread);

    switch ((uintptr_t)thread % 5) {
    case 0:
        writer(&r);
        break;
    case 1:
        restorer(&r);
        break;
    case 2:
        keeper(&r);
        break;
    default:
        reader(&r);
    }
    return NULL;
}

static void
open_store(void)
{
    cop_options options = COP_OPTIONS_INIT;
    cop_txn *txn = NULL;
    cop_value value = cop_i64(START), none = cop_i64(0), object = cop_object();
    char path[64];

    stress_need(cop_options_set(&options, "history.keep", "commit", NULL), "option");
    options.history_max_snapshots = KEPT;
    stress_need(cop_store_open(&options, &store, NULL), "open");
    stress_need(cop_txn_begin(store, &txn), "begin");
    stress_need(cop_txn_set_at(txn, "items/list", 10, &object, NULL), "set_at");
    stress_need(cop_txn_set_at(txn, "items/count", 11, &none, NULL), "set_at");
    for (int i = 0; i < ACCOUNTS; i++) {
        int n = snprintf(path, sizeof path, "accounts/%d", i);
        stress_need(cop_txn_set_at(txn, path, (size_t)n, &value, NULL), "set_at");
    }
    stress_need(cop_txn_commit(txn, NULL, NULL), "commit");
    for (int i = 0; i < ACCOUNTS; i++) {
        int n = snprintf(path, sizeof path, "accounts/%d", i);
        stress_need(cop_atom_find(store, path, (size_t)n, &accounts[i]), "find");
    }
}

int
main(int argc, char **argv)
{
    cop_stats stats = COP_STATS_INIT;
    uint64_t dropped = 0;

    stress_start(argc, argv, 5);
    stress_properties(properties, sizeof properties / sizeof *properties);
    stress_at_end(ALL_KEPT);
    open_store();
    stress_run(stress.threads < 5 ? 5 : stress.threads, body);
    stress_need(cop_stats_take(store, &stats), "stats");
    stress_check(ALL_KEPT, stats.history_lost == 0 && stats.history_pruned + stats.history_versions <=
                                                          stats.commits,
                 "%" PRIu64 " commits, %" PRIu64 " pruned, %" PRIu64 " kept, %" PRIu64 " lost",
                 stats.commits, stats.history_pruned, stats.history_versions, stats.history_lost);
    for (uint64_t v = 0;; v++) {
        cop_history_entry entry;
        const cop_snapshot *snapshot;
        if (cop_history_next(store, v, &entry) != COP_OK)
            break;
        v = entry.version;
        stress_need(cop_history_take(store, v, &snapshot), "take");
        (void)read_whole(snapshot);
        cop_snapshot_drop(snapshot);
    }
    stress_need(cop_history_clear(store, &dropped), "clear");
    stress_check(ALL_KEPT, dropped == stats.history_versions, "%" PRIu64 " of %" PRIu64, dropped,
                 stats.history_versions);
    printf("%" PRIu64 " versions, %" PRIu64 " taken, %" PRIu64 " restores, %" PRIu64 " shown, %" PRIu64
           " differences\n",
           stats.commits, atomic_load(&taken), atomic_load(&restores), atomic_load(&shows),
           atomic_load(&patches));
    cop_store_close(store);
    return stress_finish();
}

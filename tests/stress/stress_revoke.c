/* SPDX-License-Identifier: MIT */
/*
 * Snapshots that are revoked while others read them: shared ones, read by every thread at once in every way
 * there is; a revoker and writers at full speed.
 *
 * Each version has accounts whose sum is whole, and a text and a branch that say its round. A read answers
 * "expired", or right; and what was read before stays right until the drop.
 */
#include <string.h>

#include "commit/combiner.h"
#include "reclaim/gate.h"
#include "reclaim/handle.h"
#include "store/store_internal.h"
#include "tests/stress/common.h"

enum { ACCOUNTS = 64, START = 1000, SHARED = 8, TEXT = 200 };

enum { SUM, TEXTS, WALKED, PINNED, WRITTEN, STAYS, NO_SURPRISE, REVOKED, NONE_HELD };
static const char *const properties[] = {
    "the accounts of a version have the sum that they always have, or it has expired",
    "a text is the one of its version",
    "a walk sees the whole branch, or ends with \"expired\"",
    "a pinned version stays right when it is revoked",
    "the JSON of a version is the same whenever it is written",
    "a text that was read lives until the snapshot is dropped",
    "a call answers right or \"expired\", nothing else",
    "snapshots are revoked",
    "nothing but the newest version is held when all have let go",
};

static cop_store *store;
static cop_atom accounts[ACCOUNTS], text, branch;
static _Atomic uint64_t rounds;

/* A snapshot for all, with the number of threads that use it. */
static struct place {
    pthread_mutex_t lock;
    const cop_snapshot *snapshot;
} places[SHARED];

/* --- reading ------------------------------------------------------------------------------- */

static bool
is_right(cop_status status)
{
    stress_check(NO_SURPRISE, status == COP_OK || status == COP_E_EXPIRED, "%s",
                 cop_status_name(status));
    return status == COP_OK;
}

static bool
is_text(const char *bytes, size_t length)
{
    for (size_t i = 1; i < length; i++)
        if (bytes[i] != bytes[0])
            return false;
    return length == TEXT && bytes[0] >= 'a' && bytes[0] <= 'z';
}

static void
read_sum(unsigned property, const cop_snapshot *s)
{
    cop_value values[ACCOUNTS];
    int64_t sum = 0;

    if (!is_right(cop_get_many(s, accounts, ACCOUNTS, values)))
        return;
    for (unsigned i = 0; i < ACCOUNTS; i++)
        sum += cop_value_i64(&values[i]);
    stress_check(property, sum == ACCOUNTS * START, "version %" PRIu64 ": sum %" PRId64,
                 cop_snapshot_version(s), sum);
}

typedef struct walk {
    unsigned children;
    char letter;
    bool right;
} walk;

static void
look_at(walk *w, const cop_child *child)
{
    const char *bytes = cop_value_data(&child->value);

    w->children++;
    w->right = w->right && child->key_length == 2 && child->key[0] == 'k' &&
               is_text(bytes, cop_value_length(&child->value)) &&
               (w->letter == 0 || w->letter == bytes[0]);
    w->letter = bytes[0];
}

static int
visit(void *context, const cop_child *child)
{
    look_at(context, child);
    return 0;
}

static void
read_branch(const cop_snapshot *s, bool by_cursor)
{
    walk w = {.right = true};
    cop_cursor cursor;
    cop_child child;

    if (by_cursor) {
        if (!is_right(cop_cursor_open(s, branch, &cursor)))
            return;
        while (cop_cursor_next(&cursor, &child))
            look_at(&w, &child);
        if (!is_right(cop_cursor_status(&cursor))) {
            stress_check(WALKED, w.right, "wrong before it expired");
            return;
        }
    } else if (!is_right(cop_each(s, branch, visit, &w, NULL))) {
        return;
    }
    stress_check(WALKED, w.right && w.children == 4, "%u children, right %d", w.children, w.right);
}

static int
hash_bytes(void *context, const char *bytes, size_t n)
{
    uint64_t *hash = context;

    for (size_t i = 0; i < n; i++)
        *hash = (*hash ^ (unsigned char)bytes[i]) * UINT64_C(0x100000001b3);
    return 0;
}

static void
read_json(const cop_snapshot *s)
{
    uint64_t first = 1, again = 1;

    if (is_right(cop_json_write(s, cop_root(), NULL, hash_bytes, &first)) &&
        is_right(cop_json_write(s, cop_root(), NULL, hash_bytes, &again)))
        stress_check(WRITTEN, first == again, "%" PRIx64 " and %" PRIx64, first, again);
}

static void
read_pinned(const cop_snapshot *s)
{
    cop_pin_t pin;

    if (!is_right(cop_snapshot_pin(s, &pin)))
        return;
    for (unsigned i = 0; i < 20; i++)
        read_sum(PINNED, pin.snapshot);
    read_sum(PINNED, s);
    cop_unpin(pin);
}

static void
read_one(stress_random *r, const cop_snapshot *s)
{
    const char *bytes = NULL;
    size_t length = 0;
    bool has = is_right(cop_get_string(s, text, &bytes, &length));

    if (has)
        stress_check(TEXTS, is_text(bytes, length), "\"%.10s\"", bytes);
    for (unsigned i = 0; i < 4; i++)
        switch (stress_below(r, 5)) {
        case 0:
            read_branch(s, true);
            break;
        case 1:
            read_branch(s, false);
            break;
        case 2:
            read_json(s);
            break;
        case 3:
            read_pinned(s);
            break;
        default:
            read_sum(SUM, s);
        }
    if (has)
        stress_check(STAYS, is_text(bytes, length), "\"%.10s\"", bytes);
}

/* A keep of its own, so that the snapshot may be replaced meanwhile. */
static const cop_snapshot *
share(struct place *place)
{
    pthread_mutex_lock(&place->lock);
    const cop_snapshot *s = place->snapshot;
    if (s != NULL && !is_right(cop_snapshot_keep(s)))
        s = NULL;
    pthread_mutex_unlock(&place->lock);
    return s;
}

static void
put(struct place *place, const cop_snapshot *s)
{
    pthread_mutex_lock(&place->lock);
    const cop_snapshot *had = place->snapshot;
    place->snapshot = s;
    pthread_mutex_unlock(&place->lock);
    cop_snapshot_drop(had);
}

static void
reader(stress_random *r)
{
    const cop_snapshot *s = share(&places[stress_below(r, SHARED)]);

    if (s == NULL)
        return;
    read_one(r, s);
    cop_snapshot_drop(s);
}

/* --- writing, taking, revoking --------------------------------------------------------------- */

static cop_status
change(cop_txn *txn, void *context)
{
    stress_random *r = context;
    cop_value out = cop_i64(-1), in = cop_i64(1);
    char bytes[TEXT], path[16];
    uint64_t round = atomic_fetch_add(&rounds, 1);

    memset(bytes, 'a' + (int)(round % 26), sizeof bytes);
    cop_value value = cop_string(bytes, sizeof bytes);
    cop_status status = cop_txn_add(txn, accounts[stress_below(r, ACCOUNTS)], &out);
    if (status == COP_OK)
        status = cop_txn_add(txn, accounts[stress_below(r, ACCOUNTS)], &in);
    if (status == COP_OK)
        status = cop_txn_set(txn, text, &value);
    for (unsigned i = 0; status == COP_OK && i < 4; i++) {
        int n = snprintf(path, sizeof path, "branch/k%u", i);
        status = cop_txn_set_at(txn, path, (size_t)n, &value, NULL);
    }
    return status;
}

static void
writer(stress_random *r)
{
    cop_txn *txn;

    stress_need(cop_txn_begin(store, &txn), "begin");
    stress_need(change(txn, r), "change");
    stress_need(cop_txn_commit(txn, NULL, NULL), "commit");
}

static void
taker(stress_random *r)
{
    const cop_snapshot *s;

    if (stress_below(r, 4) == 0) { /* one of another's version, if that is there still */
        const cop_snapshot *other = share(&places[stress_below(r, SHARED)]);
        uint64_t version = other != NULL ? cop_snapshot_version(other) : 1;
        cop_status status = cop_snapshot_take_version(store, version, &s);
        stress_check(NO_SURPRISE, status == COP_OK || status == COP_E_GONE, "%s",
                     cop_status_name(status));
        cop_snapshot_drop(other);
        if (status != COP_OK)
            return;
    } else {
        stress_need(cop_snapshot_take(store, &s), "take");
    }
    put(&places[stress_below(r, SHARED)], s);
}

static void
revoker(stress_random *r)
{
    stress_need(cop__right_wait(store, COP_FOREVER), "right");
    uint64_t n = cop__snapshots_revoke(store, stress_below(r, 3) * 200000);
    if (stress_below(r, 4) != 0)
        (void)cop__reclaim(store, true, SIZE_MAX);
    cop__right_leave(store);
    if (n > 0)
        stress_check(REVOKED, true, "%s", "");
    stress_sleep_us((unsigned)stress_below(r, 50));
}

static int
count_holder(void *context, const cop_holder *holder)
{
    *(uint64_t *)context += holder->holds;
    return 0;
}

static void
watcher_of_holders(stress_random *r)
{
    uint64_t holds = 0;

    stress_need(cop_holders_each(store, COP_FOREVER, count_holder, &holds), "holders");
    stress_sleep_us((unsigned)stress_below(r, 5000));
}

static void *
worker(void *number)
{
    unsigned own = (unsigned)(uintptr_t)number;
    stress_random r = stress_random_of(own);

    while (!stress_over()) {
        if (own == 0)
            writer(&r);
        else if (own == 1)
            revoker(&r);
        else if (own == 2)
            stress_below(&r, 20) == 0 ? watcher_of_holders(&r) : taker(&r);
        else
            reader(&r);
        stress_count(1);
    }
    return NULL;
}

static void
fill(void)
{
    stress_random r = stress_random_of(1000);
    cop_value start = cop_i64(START), object = cop_object();
    cop_txn *txn;

    stress_need(cop_txn_begin(store, &txn), "begin");
    stress_need(cop_txn_set_at(txn, "branch", 6, &object, NULL), "branch");
    stress_need(cop_txn_set_at(txn, "text", 4, &start, NULL), "text");
    for (unsigned i = 0; i < ACCOUNTS; i++)
        stress_need(cop_txn_create(txn, &start, &accounts[i]), "account");
    stress_need(cop_txn_commit(txn, NULL, NULL), "fill");
    stress_need(cop_atom_find(store, "branch", 6, &branch), "find");
    stress_need(cop_atom_find(store, "text", 4, &text), "find");
    writer(&r);
}

int
main(int argc, char **argv)
{
    cop_options options = COP_OPTIONS_INIT;
    cop_stats stats = COP_STATS_INIT;

    stress_start(argc, argv, 6);
    stress_properties(properties, sizeof properties / sizeof *properties);
    stress_at_end(NONE_HELD);
    options.batch_window_ms = 0;
    options.snapshots_max_age_ms = 20;
    options.readers_membarrier = stress.seed % 4 != 3;
    stress_need(cop_store_open(&options, &store, NULL), "open");
    fill();
    for (unsigned i = 0; i < SHARED; i++)
        pthread_mutex_init(&places[i].lock, NULL);
    stress_run(stress.threads < 4 ? 4 : stress.threads, worker);
    for (unsigned i = 0; i < SHARED; i++)
        put(&places[i], NULL);
    stress_need(cop_stats_take(store, &stats), "stats");
    stress_check(NONE_HELD, stats.held_versions == 0 && stats.snapshots == 0,
                 "%" PRIu64 " versions, %" PRIu64 " snapshots", stats.held_versions, stats.snapshots);
    cop_store_close(store);
    return stress_finish();
}

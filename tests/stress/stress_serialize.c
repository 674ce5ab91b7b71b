/* SPDX-License-Identifier: MIT */
/*
 * Ropes. One thread commits random changes of every kind and compares the rope of each version with
 * what cop_json_write says of it; others ask for branches of the versions they find, older ones
 * among them, and keep ropes for a while, which must stay as they are. Meanwhile the bound changes,
 * and a pool comes and goes.
 *
 * --seed and --seconds as everywhere; 100,000 versions take about a minute.
 */
#include "tests/stress/common.h"
#include "tests/support/rope_check.h"

enum { EVERY_VERSION, ANY_BRANCH, STAYS };
static const char *const properties[] = {
    "the rope of every version is what cop_json_write writes",
    "so is that of any branch of a version that is held, by whomever",
    "a rope that is kept stays as it is",
};

enum { HELD = 8, ATOMS_MOST = 3000 };

static cop_store *store;
static cop_pool *pool;
static _Atomic bool finished;

static void
check(x_world *w, unsigned property, const cop_snapshot *snapshot, cop_atom atom)
{
    stress_check(property, x_same(w, snapshot, atom), "atom %u of version %" PRIu64, atom.id,
                 cop_snapshot_version(snapshot));
    stress_count(1);
}

/* The world does not grow for ever. */
static void
keep_small(x_world *w)
{
    cop_txn *txn;
    cop_pin_t pin = cop_pin(store);
    uint64_t atoms = cop_snapshot_atoms(pin.snapshot);
    cop_unpin(pin);
    if (atoms < ATOMS_MOST || x_below(w, 4) > 0)
        return;
    stress_need(cop_txn_begin(store, &txn), "begin");
    stress_need(cop_txn_clear(txn, cop_root()), "clear");
    stress_need(cop_txn_commit(txn, NULL, NULL), "commit");
}

static void
commit_and_compare(void)
{
    static x_world w;
    const cop_snapshot *snapshot;
    w.store = store;
    w.seed = stress_mix(stress.seed);
    w.wide = 400;
    while (!stress_over()) {
        x_commit(&w, 1 + x_below(&w, x_below(&w, 10) ? 4 : 60));
        stress_need(cop_snapshot_take(store, &snapshot), "take");
        check(&w, EVERY_VERSION, snapshot, cop_root());
        cop_snapshot_drop(snapshot);
        keep_small(&w);
    }
}

/* A branch on the way down from the root. */
static cop_atom
any_branch(x_world *w, const cop_snapshot *snapshot)
{
    cop_atom atom = cop_root();
    for (uint32_t depth = x_below(w, 4); depth > 0; depth--) {
        uint32_t n;
        cop_atom child;
        cop_value value;
        if (cop_count(snapshot, atom, &n) != COP_OK || n == 0 ||
            cop_child_at(snapshot, atom, x_below(w, n), &child) != COP_OK ||
            cop_get(snapshot, child, &value) != COP_OK || value.type < COP_OBJECT)
            break;
        atom = child;
    }
    return atom;
}

typedef struct held {
    const cop_snapshot *snapshot;
    cop_rope *rope;
    x_bytes bytes;
} held;

static void
hold(x_world *w, held *h)
{
    if (h->rope != NULL)
        stress_check(STAYS, x_rope_is(w, h->rope, &h->bytes), "of version %" PRIu64,
                     cop_snapshot_version(h->snapshot));
    cop_rope_drop(h->rope);
    cop_snapshot_drop(h->snapshot);
    h->bytes.n = 0;
    stress_need(cop_snapshot_take(store, &h->snapshot), "take");
    cop_atom atom = any_branch(w, h->snapshot);
    stress_need(cop_json_rope(h->snapshot, atom, &h->rope), "rope");
    stress_need(cop_json_write(h->snapshot, atom, NULL, x_take, &h->bytes), "write");
    stress_check(ANY_BRANCH, x_rope_is(w, h->rope, &h->bytes), "atom %u of version %" PRIu64,
                 atom.id, cop_snapshot_version(h->snapshot));
}

static void
ask(unsigned index)
{
    x_world *w = calloc(1, sizeof *w);
    held all[HELD] = {{NULL, NULL, {NULL, 0, 0}}};
    w->store = store;
    w->seed = stress_mix(stress.seed + index);
    while (!stress_over()) {
        hold(w, &all[x_below(w, HELD)]);
        const cop_snapshot *older = all[x_below(w, HELD)].snapshot;
        if (older != NULL && x_below(w, 3) == 0)
            check(w, ANY_BRANCH, older, any_branch(w, older));
        stress_sleep_us(x_below(w, 2000));
    }
    for (unsigned i = 0; i < HELD; i++) {
        cop_rope_drop(all[i].rope);
        cop_snapshot_drop(all[i].snapshot);
        free(all[i].bytes.at);
    }
    free(w);
}

static void *
body(void *argument)
{
    unsigned index = (unsigned)(uintptr_t)argument;
    if (index == 0)
        commit_and_compare();
    else
        ask(index);
    return NULL;
}

static void *
change(void *unused)
{
    stress_random random = stress_random_of(99);
    cop_options options = COP_OPTIONS_INIT;
    (void)unused;
    stress_need(cop_store_options(store, &options), "options");
    for (unsigned n = 0; !atomic_load(&finished); n++) {
        stress_sleep_us(5000);
        options.serialization_cache_bytes =
            stress_below(&random, 4) ? 0 : stress_below(&random, 200000);
        stress_need(cop_store_reconfigure(store, &options, COP_FOREVER, NULL), "reconfigure");
        stress_need(cop_store_set_pool(store, n % 3 ? pool : NULL), "set_pool");
    }
    return NULL;
}

int
main(int argc, char **argv)
{
    pthread_t changer;
    cop_pool_options options = COP_POOL_OPTIONS_INIT;
    cop_stats stats = COP_STATS_INIT;

    stress_start(argc, argv, 3);
    stress_properties(properties, sizeof properties / sizeof *properties);
    stress_open(&store, 0);
    options.threads = 2;
    stress_need(cop_pool_open(&options, &pool, NULL), "pool");
    if (pthread_create(&changer, NULL, change, NULL) != 0)
        return 1;
    stress_run(stress.threads, body);
    atomic_store(&finished, true);
    pthread_join(changer, NULL);
    stress_need(cop_stats_take(store, &stats), "stats");
    printf("%" PRIu64 " versions; %" PRIu64 " hits, %" PRIu64 " writes, %" PRIu64 " plain, %" PRIu64
           " spliced, %" PRIu64 " formatted, %" PRIu64 " evicted\n",
           stats.commits, stats.fragments_hits, stats.fragments_writes, stats.fragments_plain,
           stats.fragments_spliced, stats.fragments_formatted, stats.fragments_evicted);
    cop_store_close(store);
    cop_pool_close(pool);
    return stress_finish();
}

/* SPDX-License-Identifier: MIT */
/*
 * Ropes. One thread commits random changes of every kind and compares the rope of each version with
 * what cop_json_write says of it; others ask for branches of the versions they find, older ones
 * among them, and keep ropes for a while, which must stay as they are. Meanwhile the bound changes,
 * and a pool comes and goes.
 *
 *   --versions N   ends when N versions have been compared, each of them; it has failed when
 *                  --seconds do not suffice for that
 *
 * --seed and --seconds as everywhere.
 */
#include "store/store_internal.h"
#include "tests/stress/common.h"
#include "tests/support/rope_check.h"
#include "tree/difference.h"

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
static uint64_t wanted; /* versions; 0: as many as the seconds allow */
static uint64_t compared, told[2][COP_EDIT_REPLACE + 1]; /* edits, of objects and of arrays */

static void
check(x_world *w, unsigned property, const cop_snapshot *snapshot, cop_atom atom)
{
    stress_check(property, x_same(w, snapshot, atom), "atom %u of version %" PRIu64, atom.id,
                 cop_snapshot_version(snapshot));
    stress_count(1);
}

/* ---- one commits ---- */

static cop_status
count_edit(void *context, const cop__edit *edit)
{
    const cop_snapshot *now = context;
    const cop__slot *branch = cop__root_slot(now, edit->branch.id);
    told[cop__slot_type(branch) == COP_ARRAY][edit->kind]++;
    return COP_OK;
}

/* Versions are dense: the newest is the one that was compared last, or the next. */
static const cop_snapshot *
compare_newest(x_world *w, const cop_snapshot *last)
{
    const cop_snapshot *now;
    stress_need(cop_snapshot_take(store, &now), "take");
    uint64_t came = cop_snapshot_version(now) - cop_snapshot_version(last);
    stress_check(EVERY_VERSION, came <= 1, "%" PRIu64 " versions came at once", came);
    check(w, EVERY_VERSION, now, cop_root());
    compared += came;
    stress_need(cop__tree_edits(cop__store_memory(store), (cop__diff_pair){last, now}, cop_root(),
                                count_edit, (void *)(uintptr_t)now),
                "edits");
    cop_snapshot_drop(last);
    return now;
}

/* An element of an array goes to another place of it, and stays the atom that it is. */
static void
move_element(x_world *w, const cop_snapshot *snapshot)
{
    cop_atom array = x_branch(w, snapshot);
    char path[COP_PATH_MAX], patch[80];
    cop_value value;
    uint32_t count;
    size_t length;
    cop_txn *txn;
    if (cop_get(snapshot, array, &value) != COP_OK || value.type != COP_ARRAY ||
        cop_count(snapshot, array, &count) != COP_OK || count < 2 ||
        cop_atom_path(snapshot, array, path, sizeof path, &length) != COP_OK)
        return;
    int n = snprintf(patch, sizeof patch, "[{\"op\":\"move\",\"from\":\"/%u\",\"path\":\"/%u\"}]",
                     x_below(w, count), x_below(w, count));
    stress_need(cop_txn_begin(store, &txn), "begin");
    stress_need(cop_patch_apply(txn, path, length, COP_PATCH_JSON, patch, (size_t)n, NULL), "move");
    stress_need(cop_txn_commit(txn, NULL, NULL), "commit");
}

/* Children of one branch come and go. */
static void
edit_children(x_world *w, const cop_snapshot *snapshot)
{
    cop_atom branch = x_branch(w, snapshot), child;
    uint32_t count;
    cop_txn *txn;
    w->mades = 0;
    stress_need(cop_txn_begin(store, &txn), "begin");
    for (uint32_t n = x_below(w, 4); n > 0; n--) {
        cop_value value = x_any(w);
        x_add_child(w, txn, branch, &value);
    }
    stress_need(cop_count(snapshot, branch, &count), "count");
    for (uint32_t n = x_below(w, 4); n > 0 && count > 0; n--) {
        stress_need(cop_child_at(snapshot, branch, x_below(w, count), &child), "child");
        (void)cop_txn_erase(txn, child); /* or it has gone already */
    }
    (void)cop_txn_commit(txn, NULL, NULL); /* refused: changes nothing */
}

/* The world does not grow for ever. */
static void
clear(void)
{
    cop_txn *txn;
    stress_need(cop_txn_begin(store, &txn), "begin");
    stress_need(cop_txn_clear(txn, cop_root()), "clear");
    stress_need(cop_txn_commit(txn, NULL, NULL), "commit");
}

static void
change_something(x_world *w, const cop_snapshot *now)
{
    if (cop_snapshot_atoms(now) >= ATOMS_MOST && x_below(w, 4) == 0)
        clear();
    else if (x_below(w, 3) == 0)
        edit_children(w, now);
    else if (x_below(w, 8) == 0)
        move_element(w, now);
    else
        x_commit(w, 1 + x_below(w, x_below(w, 10) ? 4 : 60));
}

static void
commit_and_compare(void)
{
    static x_world w;
    const cop_snapshot *now;
    w.store = store;
    w.seed = stress_mix(stress.seed);
    w.wide = 400;
    stress_need(cop_snapshot_take(store, &now), "take");
    while (!stress_over() && (wanted == 0 || compared < wanted)) {
        change_something(&w, now);
        now = compare_newest(&w, now);
    }
    cop_snapshot_drop(now);
    if (wanted > 0)
        atomic_store(&stress.stop, true);
}

/* ---- others read ---- */

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

/* Takes --versions out of the arguments. */
static int
own_arguments(int argc, char **argv)
{
    int left = 1;
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--versions") == 0)
            wanted = stress_argument("--versions", i + 1 < argc ? argv[++i] : NULL);
        else
            argv[left++] = argv[i];
    return left;
}

static void
print_counts(void)
{
    static const char *const branch[] = {"members", "elements"};
    cop_stats stats = COP_STATS_INIT;
    printf("%" PRIu64 " versions, each compared", compared);
    for (unsigned array = 0; array < 2; array++)
        printf("; %s: %" PRIu64 " came, %" PRIu64 " went, %" PRIu64 " moved", branch[array],
               told[array][COP_EDIT_ADD], told[array][COP_EDIT_REMOVE], told[array][COP_EDIT_MOVE]);
    printf("; %" PRIu64 " values replaced\n",
           told[0][COP_EDIT_REPLACE] + told[1][COP_EDIT_REPLACE]);
    stress_need(cop_stats_take(store, &stats), "stats");
    printf("%" PRIu64 " commits; %" PRIu64 " hits, %" PRIu64 " writes, %" PRIu64 " plain, %" PRIu64
           " spliced, %" PRIu64 " formatted, %" PRIu64 " evicted\n",
           stats.commits, stats.fragments_hits, stats.fragments_writes, stats.fragments_plain,
           stats.fragments_spliced, stats.fragments_formatted, stats.fragments_evicted);
    stress_check(EVERY_VERSION, compared >= wanted, "there were only %" PRIu64, compared);
}

int
main(int argc, char **argv)
{
    pthread_t changer;
    cop_pool_options options = COP_POOL_OPTIONS_INIT;

    stress.name = "stress_serialize";
    argc = own_arguments(argc, argv);
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
    print_counts();
    cop_store_close(store);
    cop_pool_close(pool);
    return stress_finish();
}

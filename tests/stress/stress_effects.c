/* SPDX-License-Identifier: MIT */
/*
 * Effects under threads. Writers change atoms and paths; effects read some of them, others in every
 * version, and are run by a pool that comes and goes and by the threads themselves; they are opened
 * and closed at random, also by themselves, also while they run; some write, and some write what they
 * read. Now and then everybody stands still, and each effect must have seen the newest version.
 */
#include <sched.h>
#include <string.h>

#include "tests/stress/common.h"

enum { ATOMS = 48, PATHS = 8, SLOTS = 24, PATIENCE_MS = 10000, ROUNDS = 20, DEPTH = 4, WRITTEN = 4 };

enum { OVERLAP, VERSIONS, LAST_SEEN, AFTER_CLOSE, ONE_END, AT_REST, CUT_OFF, OF_ONE_VERSION };
static const char *const properties[] = {
    "no two runs of an effect overlap",
    "versions that an effect sees never decrease",
    "at rest each effect has seen what there is now",
    "nothing runs after it was closed",
    "what was closed is destroyed once, within 10 s",
    "without writers all comes to rest within 10 s",
    "effects that run themselves again for ever are cut off and told",
    "a run reads one version",
};

enum { BY_PATH = 1, LISTS = 2, WRITES = 4, WRITES_OWN = 8, CLOSES_ITSELF = 16, ON_QUEUE = 32 };

typedef struct effect {
    unsigned kind;
    uint64_t seed;
    cop_atom own; /* that it writes */
    cop_effect handle;
    _Atomic uint64_t known; /* the handle, once it is known */
    _Atomic bool running, closed;
    _Atomic unsigned destroyed, cleanups;
    uint64_t version, digest;
    bool fresh; /* it has run */
} effect;

static cop_store *store;
static cop_pool *pool;
static cop_effect_queue *queue;
static cop_atom atoms[ATOMS], branch, pair[2];
static effect *slots[STRESS_THREADS][SLOTS];
static pthread_rwlock_t still = PTHREAD_RWLOCK_INITIALIZER;

static void
keep_log(void *context, cop_log_level level, const char *message)
{
    (void)context;
    (void)level;
    if (strstr(message, "without rest") != NULL)
        stress_check(CUT_OFF, true, " ");
}

/* --- what an effect reads, by itself or looked at from outside ---------------------------------- */

typedef struct source {
    cop_evaluation *evaluation;
    const cop_snapshot *snapshot;
} source;

static int64_t
value_of(source from, cop_atom atom)
{
    int64_t value = -1;
    cop_status status = from.evaluation != NULL ? cop_read_i64(from.evaluation, atom, &value)
                                                : cop_get_i64(from.snapshot, atom, &value);
    return status == COP_OK ? value : (int64_t)status;
}

static int64_t
value_at(source from, const char *path)
{
    cop_value value;
    cop_status status = from.evaluation != NULL
                            ? cop_read_at(from.evaluation, path, strlen(path), &value)
                            : cop_get_at(from.snapshot, path, strlen(path), &value);
    return status == COP_OK ? cop_value_i64(&value) : (int64_t)status;
}

static int64_t
children_of(source from, cop_atom atom)
{
    uint32_t count = 0;
    cop_status status = from.evaluation != NULL ? cop_read_count(from.evaluation, atom, &count)
                                                : cop_count(from.snapshot, atom, &count);
    return status == COP_OK ? (int64_t)count : (int64_t)status;
}

static uint64_t
look(source from, const effect *e)
{
    uint64_t digest = 0, n = e->kind & WRITES ? ATOMS - WRITTEN : ATOMS, at = e->seed % n;

    if (e->kind & WRITES_OWN)
        return (uint64_t)value_of(from, e->own);
    for (int i = 0; i < DEPTH; i++) {
        int64_t value = value_of(from, atoms[at]);
        digest = stress_mix(digest + (uint64_t)value + 1);
        at = (at + (uint64_t)value) % n;
    }
    if (e->kind & BY_PATH) {
        char path[32];
        snprintf(path, sizeof path, "paths/%u", (unsigned)(digest % PATHS));
        digest = stress_mix(digest + (uint64_t)value_at(from, path) + 3);
    }
    if (e->kind & LISTS)
        digest = stress_mix(digest + (uint64_t)children_of(from, branch) + 5);
    return digest;
}

/* --- effects ------------------------------------------------------------------------------------ */

static void
write_atom(cop_atom atom, int64_t value)
{
    cop_txn *txn;
    cop_value v = cop_i64(value);

    if (cop_txn_begin(store, &txn) != COP_OK)
        return; /* the store is closing */
    stress_need(cop_txn_set(txn, atom, &v), "set");
    (void)cop_txn_commit(txn, NULL, NULL);
}

static void
cleanup(void *context)
{
    effect *e = context;

    atomic_fetch_add(&e->cleanups, 1);
}

static cop_status
run(cop_evaluation *evaluation, void *context)
{
    effect *e = context;
    const cop_snapshot *snapshot = cop_effect_snapshot(evaluation);
    uint64_t version = cop_snapshot_version(snapshot);
    int64_t a = 0, b = 0;

    stress_check(OVERLAP, !atomic_exchange(&e->running, true), "two runs");
    stress_check(AFTER_CLOSE, !atomic_load(&e->closed) && !atomic_load(&e->destroyed), "a late run");
    stress_check(VERSIONS, version >= e->version, "%" PRIu64 " after %" PRIu64, version, e->version);
    e->version = version;
    e->digest = look((source){evaluation, NULL}, e);
    e->fresh = true;
    (void)cop_read_untracked(evaluation, pair[0], &(cop_value){0});
    stress_need(cop_get_i64(snapshot, pair[0], &a), "get");
    stress_need(cop_get_i64(snapshot, pair[1], &b), "get");
    stress_check(OF_ONE_VERSION, a == b, "%" PRId64 " and %" PRId64, a, b);
    if (e->seed & 64)
        (void)cop_effect_on_cleanup(evaluation, cleanup, e);
    if (e->kind & WRITES)
        write_atom(e->own, (int64_t)(e->digest % 8));
    if (e->kind & WRITES_OWN)
        write_atom(e->own, (int64_t)e->digest + 1);
    uint64_t known = atomic_load(&e->known);
    if ((e->kind & CLOSES_ITSELF) && known != 0 && e->digest % 16 == 0)
        cop_effect_close(store, (cop_effect){(uint32_t)known, (uint32_t)(known >> 32)});
    atomic_store(&e->running, false);
    return COP_OK;
}

static void
destroyed(void *context)
{
    effect *e = context;

    atomic_fetch_add(&e->destroyed, 1);
}

static effect *
open_one(stress_random *random)
{
    effect *e = calloc(1, sizeof *e);
    cop_effect_options options = COP_EFFECT_OPTIONS_INIT;
    cop_value zero = cop_i64(0);
    cop_txn *txn;

    e->kind = (unsigned)stress_below(random, 64);
    if (e->kind & WRITES_OWN)
        e->kind = stress_below(random, 8) == 0 ? WRITES_OWN : e->kind & ~(unsigned)WRITES_OWN;
    e->seed = stress_next(random);
    if (e->kind & WRITES) {
        e->own = atoms[ATOMS - 1 - stress_below(random, WRITTEN)]; /* which it does not read */
        if (e->seed & 1)
            e->kind &= ~(unsigned)WRITES;
    }
    if (e->kind & WRITES_OWN) {
        stress_need(cop_txn_begin(store, &txn), "begin");
        stress_need(cop_txn_create(txn, &zero, &e->own), "create");
        stress_need(cop_txn_commit(txn, NULL, NULL), "commit");
    }
    options.destroy = destroyed;
    options.queue = e->kind & ON_QUEUE ? queue : NULL;
    options.label = e->kind & WRITES_OWN ? "for ever" : NULL;
    stress_need(cop_effect_open(store, run, e, &options, &e->handle, NULL), "effect_open");
    atomic_store(&e->known, (uint64_t)e->handle.generation << 32 | e->handle.id);
    return e;
}

static void
close_one(effect *e)
{
    cop_effect_close(store, e->handle);
    uint64_t end = stress_now_ns() + PATIENCE_MS * UINT64_C(1000000);
    while (atomic_load(&e->destroyed) == 0 && stress_now_ns() < end)
        sched_yield(); /* it is closing itself just now */
    stress_check(ONE_END, atomic_load(&e->destroyed) == 1, "destroyed %u times",
                 atomic_load(&e->destroyed));
    atomic_store(&e->closed, true);
    if (e->kind & WRITES_OWN) {
        cop_txn *txn;
        stress_need(cop_txn_begin(store, &txn), "begin");
        stress_need(cop_txn_erase(txn, e->own), "erase");
        stress_need(cop_txn_commit(txn, NULL, NULL), "commit");
    }
    free(e);
}

/* --- threads ------------------------------------------------------------------------------------ */

static void
change(stress_random *random)
{
    cop_txn *txn;
    char path[32];
    int64_t same = (int64_t)stress_below(random, 1000);
    cop_value value = cop_i64((int64_t)stress_below(random, 8)), twin = cop_i64(same);

    stress_need(cop_txn_begin(store, &txn), "begin");
    stress_need(cop_txn_set(txn, atoms[stress_below(random, ATOMS)], &value), "set");
    stress_need(cop_txn_set(txn, pair[0], &twin), "set");
    stress_need(cop_txn_set(txn, pair[1], &twin), "set");
    snprintf(path, sizeof path, "paths/%u", (unsigned)stress_below(random, PATHS));
    if (stress_below(random, 4) == 0)
        stress_need(cop_txn_set_at(txn, path, strlen(path), &value, NULL), "set_at");
    else if (stress_below(random, 8) == 0)
        (void)cop_txn_erase_at(txn, path, strlen(path), NULL);
    (void)cop_txn_commit(txn, NULL, NULL); /* the path may not be there */
}

static void
step(unsigned thread, stress_random *random)
{
    effect **slot = &slots[thread][stress_below(random, SLOTS)];

    switch (stress_below(random, 12)) {
    case 0:
    case 1:
        if (*slot == NULL) {
            *slot = open_one(random);
        } else {
            close_one(*slot);
            *slot = NULL;
        }
        break;
    case 2:
        (void)cop_effects_run(store, NULL, 1 + stress_below(random, 100), NULL);
        break;
    case 3:
        (void)cop_effects_run(store, queue, stress_below(random, 100), NULL);
        break;
    case 4:
        if (stress_below(random, 64) == 0)
            stress_need(cop_store_set_pool(store, stress_below(random, 2) ? pool : NULL), "set_pool");
        break;
    default:
        change(random);
    }
}

/* Everybody stands still. */
static void
look_at_all(void)
{
    uint64_t deadline = cop_deadline_in_ms(PATIENCE_MS);
    cop_status status = COP_E_TIMEOUT;

    while (status == COP_E_TIMEOUT && stress_now_ns() < deadline) {
        (void)cop_effects_run(store, queue, 0, NULL);
        status = cop_effects_settle(store, cop_deadline_in_ms(1));
    }
    stress_check(AT_REST, status == COP_OK, "%s", cop_status_name(status));
    if (status != COP_OK)
        return;
    cop_pin_t pin = cop_pin(store);
    for (unsigned t = 0; t < stress.threads; t++)
        for (unsigned i = 0; i < SLOTS; i++) {
            const effect *e = slots[t][i];
            if (e == NULL || (e->kind & WRITES_OWN) || atomic_load(&e->destroyed))
                continue;
            uint64_t now = look((source){NULL, pin.snapshot}, e);
            stress_check(LAST_SEEN, e->fresh && e->digest == now,
                         "kind %u: %" PRIx64 ", not %" PRIx64 ", version %" PRIu64 " of %" PRIu64,
                         e->kind, e->digest, now, e->version, cop_snapshot_version(pin.snapshot));
        }
    cop_unpin(pin);
}

static void *
body(void *argument)
{
    unsigned thread = (unsigned)(uintptr_t)argument;
    stress_random random = stress_random_of(thread);

    while (!stress_over()) {
        bool alone = stress_below(&random, 400) == 0;
        if (alone)
            pthread_rwlock_wrlock(&still);
        else
            pthread_rwlock_rdlock(&still);
        if (alone)
            look_at_all();
        for (int i = 0; !alone && i < 4; i++)
            step(thread, &random);
        pthread_rwlock_unlock(&still);
        atomic_fetch_add_explicit(&stress.operations, 1, memory_order_relaxed);
    }
    return NULL;
}

/* --- main --------------------------------------------------------------------------------------- */

static cop_atom
make(int64_t value)
{
    cop_txn *txn;
    cop_atom atom;
    cop_value v = cop_i64(value);

    stress_need(cop_txn_begin(store, &txn), "begin");
    stress_need(cop_txn_create(txn, &v, &atom), "create");
    stress_need(cop_txn_commit(txn, NULL, NULL), "commit");
    return atom;
}

static void
make_all(void)
{
    cop_value object = cop_object();
    cop_txn *txn;

    for (unsigned i = 0; i < ATOMS; i++)
        atoms[i] = make(i);
    pair[0] = make(0);
    pair[1] = make(0);
    stress_need(cop_txn_begin(store, &txn), "begin");
    stress_need(cop_txn_set_at(txn, "paths", 5, &object, NULL), "set_at");
    stress_need(cop_txn_commit(txn, NULL, NULL), "commit");
    stress_need(cop_atom_find(store, "paths", 5, &branch), "find");
}

int
main(int argc, char **argv)
{
    cop_options options = COP_OPTIONS_INIT;
    cop_pool_options threads = COP_POOL_OPTIONS_INIT;

    stress_start(argc, argv, 4);
    stress_properties(properties, sizeof properties / sizeof *properties);
    stress_at_end(AT_REST);
    options.effects_rounds = ROUNDS;
    options.log = keep_log;
    threads.threads = 2;
    stress_need(cop_store_open(&options, &store, NULL), "open");
    stress_need(cop_pool_open(&threads, &pool, NULL), "pool_open");
    stress_need(cop_store_set_pool(store, pool), "set_pool");
    stress_need(cop_effect_queue_open(store, &queue), "queue_open");
    make_all();
    stress_run(stress.threads, body);
    look_at_all();
    cop_store_close(store);
    cop_effect_queue_close(queue);
    cop_pool_close(pool);
    for (unsigned t = 0; t < stress.threads; t++)
        for (unsigned i = 0; i < SLOTS; i++)
            if (slots[t][i] != NULL) {
                stress_check(ONE_END, atomic_load(&slots[t][i]->destroyed) == 1, "not by the store");
                free(slots[t][i]);
            }
    return stress_finish();
}

/* SPDX-License-Identifier: MIT */
/*
 * Reclamation. One writer overwrites long values and creates and erases branches in a pattern from
 * which follows what any version holds, to the byte; readers, kept snapshots and stalled readers
 * check that theirs goes on holding just that. So a page or value that is freed or changed too
 * early, or published too late, is seen. Memory must stay bounded meanwhile, and come back.
 */
#include "tests/stress/reclaim_pattern.h"
#include "tests/support/dump.h"

enum { HELD = 6, PATIENCE_MS = 10000, STALLERS = 2 };

static _Atomic bool writing_over;
static const cop_snapshot *_Atomic handed; /* a kept version that another thread may drop */

/* --- the writer ----------------------------------------------------------------------------- */

static void
set_bytes(cop_txn *txn, cop_atom atom, uint64_t owner, uint64_t version)
{
    unsigned char bytes[VALUE_MIN + VALUE_SPAN];
    size_t n = length_of(owner, version);
    cop_value value;

    stress_fill(bytes, n, owner, version);
    value = cop_bytes(bytes, n);
    stress_need(cop_txn_set(txn, atom, &value), "set");
}

static void
make_branch(cop_txn *txn, uint64_t version)
{
    unsigned char bytes[VALUE_MIN + VALUE_SPAN];
    char path[64];
    cop_value value;

    for (unsigned leaf = 0; leaf < LEAVES; leaf++) {
        size_t n = length_of(leaf_owner(leaf), version);
        int used = branch_path(path, version);
        used += snprintf(path + used, sizeof path - (size_t)used, "/leaf%u", leaf);
        stress_fill(bytes, n, leaf_owner(leaf), version);
        value = cop_bytes(bytes, n);
        stress_need(cop_txn_set_at(txn, path, (size_t)used, &value, NULL), "set_at");
    }
}

static void
erase_branch(cop_txn *txn, uint64_t version)
{
    char path[64];
    int n = branch_path(path, version);

    stress_need(cop_txn_erase_at(txn, path, (size_t)n, NULL), "erase_at");
}

static cop_txn *
next_version(uint64_t v)
{
    cop_value stamp = cop_i64((int64_t)v);
    unsigned first = (unsigned)(v % TURNS) * TURN;
    cop_txn *txn = NULL;

    stress_need(cop_txn_begin(store, &txn), "begin");
    stress_need(cop_txn_set(txn, stamp_last, &stamp), "set");
    for (unsigned i = 0; i < TURN; i++)
        set_bytes(txn, cells[first + i], first + i, v);
    make_branch(txn, v);
    if (v >= base + LIVE)
        erase_branch(txn, v - LIVE);
    stress_need(cop_txn_set(txn, stamp_first, &stamp), "set");
    return txn;
}

static void
write_next(uint64_t v)
{
    cop_txn *txn = next_version(v);
    cop_ticket *ticket = NULL;
    uint64_t got = 0;
    cop_status status;

    stress_need(cop_txn_submit(txn, &ticket), "submit");
    status = cop_ticket_wait(ticket, cop_deadline_in_ms(PATIENCE_MS), &got, NULL);
    stress_check(DECIDED, status == COP_OK, "%s", cop_status_name(status));
    stress_check(DENSE, got == v, "version %" PRIu64 ", should be %" PRIu64, got, v);
    if (status != COP_OK || got != v) { /* all that follows rests on it */
        stress_finish();
        _exit(1);
    }
    cop_ticket_release(ticket);
}

static void *
writer(void *context)
{
    uint64_t v = cop_store_version(store) + 1;

    (void)context;
    for (; !atomic_load(&writing_over); v++) {
        write_next(v);
        stress_count(1);
    }
    return NULL;
}

/* --- readers -------------------------------------------------------------------------------------- */

/* An atom of a branch that will be erased, remembered with the version that branch is of. */
typedef struct memory {
    cop_atom atom;
    uint64_t version;
    unsigned leaf;
} memory;

static void
remember(const cop_snapshot *s, stress_random *r, memory *m)
{
    char path[64];
    int n;

    m->version = cop_snapshot_version(s);
    m->leaf = (unsigned)stress_below(r, LEAVES);
    n = branch_path(path, m->version);
    n += snprintf(path + n, sizeof path - (size_t)n, "/leaf%u", m->leaf);
    if (cop_find(s, path, (size_t)n, &m->atom) != COP_OK)
        m->version = 0;
}

static void
recall(const cop_snapshot *s, const memory *m)
{
    uint64_t v = cop_snapshot_version(s);
    cop_value value;
    cop_status status;

    if (m->version == 0)
        return;
    status = cop_get(s, m->atom, &value);
    if (v >= m->version && v < m->version + LIVE) {
        stress_check(GONE, status == COP_OK, "an atom that is there: %s", cop_status_name(status));
        if (status == COP_OK)
            check_bytes(GONE, s, &value, leaf_owner(m->leaf), m->version);
    } else {
        stress_check(GONE, status == COP_E_GONE && cop_value_type(&value) == COP_NONE,
                     "version %" PRIu64 ", atom of %" PRIu64 ": %s", v, m->version,
                     cop_status_name(status));
    }
}

static cop_pin_t
pin_one(void)
{
    cop_pin_t pin = cop_pin(store);

    if (pin.snapshot == NULL)
        stress_need(cop_pin_status(), "pin");
    return pin;
}

/* Two pins of different versions, ended in either order. */
static cop_pin_t
nest(cop_pin_t outer, stress_random *r, const memory *m)
{
    cop_pin_t inner;

    stress_sleep_us((unsigned)stress_below(r, 3000));
    inner = pin_one();
    check_some(inner.snapshot, r);
    recall(inner.snapshot, m);
    check_some(outer.snapshot, r);
    if (stress_below(r, 2)) {
        cop_unpin(inner);
        return outer;
    }
    cop_unpin(outer);
    return inner;
}

static void *
reader(void *context)
{
    enum { MEMORIES = 32 };
    stress_random r = stress_random_of((uintptr_t)context);
    memory memories[MEMORIES] = {{{0, 0}, 0, 0}};
    uint64_t n = 0;

    for (; !stress_over(); n++) {
        cop_pin_t pin = pin_one();
        memory *m = &memories[stress_below(&r, MEMORIES)];
        check_some(pin.snapshot, &r);
        recall(pin.snapshot, m);
        if (stress_below(&r, 4) == 0)
            remember(pin.snapshot, &r, m);
        if (stress_below(&r, 8) == 0)
            pin = nest(pin, &r, m);
        check_stamps(pin.snapshot);
        cop_unpin(pin);
        cop_snapshot_drop(atomic_exchange(&handed, NULL));
    }
    stress_count(n);
    return NULL;
}

/* Pins as often as it can: the pin itself is what it tests. */
static void *
fast_reader(void *context)
{
    stress_random r = stress_random_of((uintptr_t)context);
    uint64_t n = 0;

    for (; !stress_over(); n++) {
        cop_pin_t pin = pin_one();
        check_stamps(pin.snapshot);
        check_cell(BYTES, pin.snapshot, (unsigned)stress_below(&r, CELLS));
        cop_unpin(pin);
    }
    stress_count(n);
    return NULL;
}

/* Stops in a pin, for up to a quarter of the run. */
static void *
staller(void *context)
{
    stress_random r = stress_random_of((uintptr_t)context);

    while (!stress_over()) {
        cop_pin_t pin = pin_one();
        uint64_t end = stress_now_ns() + stress_below(&r, stress.seconds * 250000000u + 1);
        check_all(STALLED, pin.snapshot);
        while (stress_now_ns() < end && !stress_over())
            stress_sleep_us(5000);
        check_all(STALLED, pin.snapshot);
        cop_unpin(pin);
        stress_count(1);
    }
    return NULL;
}

typedef struct kept {
    const cop_snapshot *snapshot;
    uint64_t hash;
} kept;

static void
look_again(const kept *k, stress_random *r)
{
    uint64_t hash = dump_hash(k->snapshot);

    stress_check(HELD_SAME, hash != 0 && hash == k->hash, "version %" PRIu64,
                 cop_snapshot_version(k->snapshot));
    check_some(k->snapshot, r);
    if (stress_below(r, 8) == 0)
        check_all(HELD_SAME, k->snapshot);
}

/* Keeps versions, some for the whole run, across thousands of erasures. */
static void *
keeper(void *context)
{
    stress_random r = stress_random_of((uintptr_t)context);
    kept keep[HELD] = {{NULL, 0}};

    while (!stress_over()) {
        kept *k = &keep[stress_below(&r, HELD)];
        if (k->snapshot != NULL && (k == keep || stress_below(&r, 4) != 0)) {
            look_again(k, &r);
            stress_count(1);
            continue;
        }
        if (k->snapshot != NULL) /* let another thread drop it, perhaps */
            cop_snapshot_drop(atomic_exchange(&handed, k->snapshot));
        k->snapshot = NULL;
        stress_need(cop_snapshot_take(store, &k->snapshot), "snapshot");
        k->hash = dump_hash(k->snapshot);
    }
    for (unsigned i = 0; i < HELD; i++)
        cop_snapshot_drop(keep[i].snapshot);
    return NULL;
}

/* --- memory ----------------------------------------------------------------------------------- */

static cop_stats
stats_now(void)
{
    cop_stats stats = COP_STATS_INIT;

    stress_need(cop_stats_take(store, &stats), "stats");
    return stats;
}

/* A held version keeps at most one tree more alive; what is freed by quota lags a little. */
static void
watch_memory(uint64_t alone, unsigned readers)
{
    uint64_t held = 2 * readers + STALLERS + HELD + 2, limit = alone * (2 + held) + (8u << 20);
    uint64_t most = 0;

    while (!stress_over()) {
        uint64_t now = stats_now().bytes_held;
        most = now > most ? now : most;
        stress_check(BOUNDED, now <= limit, "%" PRIu64 " bytes, at most %" PRIu64, now, limit);
        stress_sleep_us(20000);
    }
    printf("bytes: %" PRIu64 " alone, %" PRIu64 " at most beside %u readers (limit %" PRIu64 ")\n",
           alone, most, readers, limit);
}

static void
check_nothing_left(void)
{
    cop_stats stats = stats_now();
    uint64_t left = 1, deadline = stress_now_ns() + UINT64_C(30000000000);

    while (left != 0 && stress_now_ns() < deadline) {
        stress_need(cop_store_poll(store), "poll");
        stats = stats_now();
        left = stats.pages_dead + stats.values_dead + stats.names_dead + stats.held_versions;
    }
    stress_check(COMES_BACK, left == 0,
                 "%" PRIu64 " pages, %" PRIu64 " values, %" PRIu64 " names, %" PRIu64
                 " held versions left",
                 stats.pages_dead, stats.values_dead, stats.names_dead, stats.held_versions);
    stress_check(COMES_BACK, stats.atoms == 5 + CELLS + LIVE * (LEAVES + 1),
                 "%" PRIu64 " atoms", stats.atoms);
}

/* --- the run ------------------------------------------------------------------------------------- */

static cop_atom
make(const char *path, size_t n)
{
    cop_atom atom;

    stress_need(cop_atom_at(store, path, n, &atom, NULL), "atom_at");
    return atom;
}

static void
open_store(void)
{
    cop_options options = COP_OPTIONS_INIT;
    options.batch_window_ms = 0; /* group commit */
    char path[64];

    /* Small chunks go back to the allocator and come again; large ones stay in pools. */
    if (stress.seed & 1)
        options.memory_chunk_bytes = 16384;
    stress_need(cop_store_open(&options, &store, NULL), "open");
    stamp_first = make("stamp/first", 11);
    for (unsigned i = 0; i < CELLS; i++) {
        int n = snprintf(path, sizeof path, "cells/%u", i);
        cells[i] = make(path, (size_t)n);
    }
    stamp_last = make("stamp/last", 10);
}

/* The first version of the pattern writes everything, the next ones bring it into full swing. */
static void
start_pattern(void)
{
    cop_value stamp;
    cop_txn *txn = NULL;
    uint64_t got = 0;

    base = cop_store_version(store) + 1;
    stamp = cop_i64((int64_t)base);
    stress_need(cop_txn_begin(store, &txn), "begin");
    stress_need(cop_txn_set(txn, stamp_first, &stamp), "set");
    stress_need(cop_txn_set(txn, stamp_last, &stamp), "set");
    for (unsigned i = 0; i < CELLS; i++)
        set_bytes(txn, cells[i], i, base);
    make_branch(txn, base);
    stress_need(cop_txn_commit(txn, &got, NULL), "commit");
    for (uint64_t v = base + 1; v <= base + 3 * TURNS; v++)
        write_next(v);
}

static pthread_t
start(void *(*run)(void *), uintptr_t index)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, run, (void *)index) != 0)
        stress_need(COP_E_LIMIT, "pthread_create");
    return thread;
}

int
main(int argc, char **argv)
{
    pthread_t threads[STRESS_THREADS + STALLERS + 1], write_thread;
    unsigned n = 0, readers;
    uint64_t alone;

    stress_start(argc, argv, 4);
    stress_properties(properties, sizeof properties / sizeof *properties);
    stress_at_end(COMES_BACK);
    readers = stress.threads;
    open_store();
    start_pattern();
    alone = stats_now().bytes_held;
    write_thread = start(writer, 1000);
    for (unsigned i = 0; i < readers; i++, n++)
        threads[n] = start(i % 2 ? fast_reader : reader, n);
    for (unsigned i = 0; i < STALLERS; i++, n++)
        threads[n] = start(staller, n);
    threads[n] = start(keeper, n);
    n++;
    watch_memory(alone, readers);
    for (unsigned i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    atomic_store(&writing_over, true);
    pthread_join(write_thread, NULL);
    cop_snapshot_drop(atomic_exchange(&handed, NULL));
    check_nothing_left();
    printf("%" PRIu64 " versions\n", cop_store_version(store) - base);
    cop_store_close(store);
    return stress_finish();
}

/* SPDX-License-Identifier: MIT */
/*
 * Threads coming and going by the thousand while a writer commits. Each pins, reads and mostly
 * unpins; some exit pinning, some hand an explicit reader or a snapshot to the next one. Slots must
 * come back, and what exits took with them must be released, counted and logged.
 */
#include "tests/stress/common.h"

enum { CELLS = 256, SPAWNERS_MAX = 16, READERS_MAX = 64 };

enum {
    ONE_VERSION,
    HANDED_ON,
    LEAKS_COUNTED,
    LEAKS_LOGGED,
    SLOTS_BACK,
    NOTHING_HELD,
};
static const char *const properties[] = {
    "all cells of a pin are of one version",
    "what is handed on goes on reading its version",
    "pins lost by exits are counted exactly",
    "threads that exit pinning are logged",
    "slots come back when threads go",
    "nothing is held when all have gone",
};

static cop_store *store;
static cop_atom cells[CELLS];
static _Atomic uint64_t lost_pins, warnings, visits;
static _Atomic bool writing_over;

static void
log_line(void *context, cop_log_level level, const char *message)
{
    (void)context;
    (void)message;
    if (level >= COP_LOG_WARNING)
        atomic_fetch_add(&warnings, 1);
}

/* --- the writer: all cells hold the version's number -------------------------------------- */

static void
write_all(int64_t i)
{
    cop_value value = cop_i64(i);
    cop_txn *txn = NULL;

    stress_need(cop_txn_begin(store, &txn), "begin");
    for (int c = 0; c < CELLS; c++)
        stress_need(cop_txn_set(txn, cells[c], &value), "set");
    stress_need(cop_txn_commit(txn, NULL, NULL), "commit");
}

static void *
writer(void *context)
{
    (void)context;
    for (int64_t i = 1; !atomic_load(&writing_over); i++)
        write_all(i);
    return NULL;
}

/* --- visitors ---------------------------------------------------------------------------------- */

typedef struct visit {
    uint64_t kind;
    cop_pin_t pin; /* of a reader, used on another thread */
    const cop_snapshot *snapshot;
    int64_t expected; /* what cells of the snapshot hold */
} visit;

static int64_t
check_cells(unsigned property, const cop_snapshot *snapshot, const int64_t *expected)
{
    cop_value values[CELLS];
    int64_t first;
    bool same = true;

    stress_need(cop_get_many(snapshot, cells, CELLS, values), "get_many");
    first = cop_value_i64(&values[0]);
    for (int c = 1; c < CELLS; c++)
        same = same && cop_value_i64(&values[c]) == first;
    same = same && (expected == NULL || *expected == first);
    stress_check(property, same, "cells of version %" PRIu64 " differ",
                 cop_snapshot_version(snapshot));
    return first;
}

static bool
exits_pinning(uint64_t kind)
{
    return kind % 16 == 7;
}

static void
pin_some(uint64_t kind)
{
    cop_pin_t pins[COP_PINS_MAX];
    unsigned n = 1 + kind % COP_PINS_MAX;

    for (unsigned i = 0; i < n; i++) {
        pins[i] = cop_pin(store);
        if (pins[i].snapshot == NULL)
            stress_need(cop_pin_status(), "pin");
        check_cells(ONE_VERSION, pins[i].snapshot, NULL);
    }
    if (exits_pinning(kind)) {
        atomic_fetch_add(&lost_pins, n);
        return;
    }
    for (unsigned i = 0; i < n; i++)
        cop_unpin(pins[(i + kind) % n]);
}

static void *
visitor(void *context)
{
    visit *v = context;

    if (v->kind % 5 == 0)
        stress_need(cop_reader_register(store), "register");
    if (v->pin.snapshot != NULL) {
        check_cells(HANDED_ON, v->pin.snapshot, NULL);
        cop_unpin(v->pin);
    }
    if (v->snapshot != NULL) {
        check_cells(HANDED_ON, v->snapshot, &v->expected);
        cop_snapshot_drop(v->snapshot);
        v->snapshot = NULL;
    }
    if (v->kind % 8 != 5)
        pin_some(v->kind);
    if (v->kind % 3 == 0 && !exits_pinning(v->kind)) { /* four lost pins leave none for it */
        stress_need(cop_snapshot_take(store, &v->snapshot), "snapshot");
        v->expected = check_cells(ONE_VERSION, v->snapshot, NULL);
    }
    atomic_fetch_add(&visits, 1);
    return NULL;
}

/* Starts visitors one after the other, a few at a time. */
static void *
spawner(void *context)
{
    enum { AT_ONCE = 4 };
    stress_random r = stress_random_of((uintptr_t)context);
    visit v[AT_ONCE] = {0};
    pthread_t threads[AT_ONCE];
    cop_reader *readers[AT_ONCE];

    for (unsigned i = 0; i < AT_ONCE; i++)
        stress_need(cop_reader_open(store, &readers[i]), "reader_open");
    while (!stress_over()) {
        for (unsigned i = 0; i < AT_ONCE; i++) {
            v[i].kind = stress_next(&r) >> 8;
            v[i].pin = v[i].kind & 64 ? cop_reader_pin(readers[i]) : (cop_pin_t){NULL, NULL};
            if (pthread_create(&threads[i], NULL, visitor, &v[i]) != 0)
                stress_need(COP_E_LIMIT, "pthread_create");
        }
        for (unsigned i = 0; i < AT_ONCE; i++)
            pthread_join(threads[i], NULL);
        stress_count(AT_ONCE);
    }
    for (unsigned i = 0; i < AT_ONCE; i++) {
        cop_snapshot_drop(v[i].snapshot);
        cop_reader_close(readers[i]);
    }
    return NULL;
}

static void
open_store(void)
{
    cop_options options = COP_OPTIONS_INIT;
    char path[32];

    options.log = log_line;
    options.readers_max = READERS_MAX + 8 * SPAWNERS_MAX;
    stress_need(cop_store_open(&options, &store, NULL), "open");
    for (int c = 0; c < CELLS; c++) {
        int n = snprintf(path, sizeof path, "cells/%d/value", c);
        stress_need(cop_atom_at(store, path, (size_t)n, &cells[c], NULL), "atom_at");
    }
    write_all(0);
}

static void
check_the_end(void)
{
    cop_stats stats = COP_STATS_INIT;

    write_all(-1);
    write_all(-2);
    stress_need(cop_stats_take(store, &stats), "stats");
    stress_check(LEAKS_COUNTED, stats.pins_leaked == atomic_load(&lost_pins),
                 "%" PRIu64 ", should be %" PRIu64, stats.pins_leaked, atomic_load(&lost_pins));
    stress_check(LEAKS_LOGGED, (atomic_load(&warnings) > 0) == (atomic_load(&lost_pins) > 0),
                 "%" PRIu64 " warnings, %" PRIu64 " pins", atomic_load(&warnings),
                 atomic_load(&lost_pins));
    stress_check(SLOTS_BACK, stats.readers <= 1, "%" PRIu64 " registered", stats.readers);
    stress_check(NOTHING_HELD, stats.held_versions == 0 && stats.snapshots == 0,
                 "%" PRIu64 " versions, %" PRIu64 " snapshots", stats.held_versions,
                 stats.snapshots);
    printf("%" PRIu64 " threads came and went, %" PRIu64 " pins lost, %" PRIu64 " versions\n",
           atomic_load(&visits), atomic_load(&lost_pins), stats.version);
}

int
main(int argc, char **argv)
{
    pthread_t write_thread;

    stress_start(argc, argv, 3);
    stress_properties(properties, sizeof properties / sizeof *properties);
    stress_at_end(LEAKS_COUNTED);
    stress_at_end(LEAKS_LOGGED);
    stress_at_end(SLOTS_BACK);
    stress_at_end(NOTHING_HELD);
    if (stress.threads > SPAWNERS_MAX)
        stress.threads = SPAWNERS_MAX;
    open_store();
    if (pthread_create(&write_thread, NULL, writer, NULL) != 0)
        return 1;
    stress_run(stress.threads, spawner);
    atomic_store(&writing_over, true);
    pthread_join(write_thread, NULL);
    check_the_end();
    cop_store_close(store);
    return stress_finish();
}

/* SPDX-License-Identifier: MIT */
/* Starting and stopping a store's monitor, and taking what it recorded: see monitor.h. */
#include "monitor/monitor.h"

#include <time.h>

#include "commit/combiner.h"
#include "reclaim/gate.h"

#define NAP_NS 50000

/* ---- memory: one mapping with the monitor, its reader and three blocks ---- */

typedef struct monitor_room {
    cop__monitor monitor;
    cop__monitor_reader reader;
    cop__monitor_wave wave;
    cop__budgets budgets;
    cop__trace trace;
    cop__monitor_block block[3];
} monitor_room;

static cop__monitor *
monitor_new(cop__memory *memory)
{
    monitor_room *room = cop__memory_map(memory, COP_MEMORY_MONITOR, sizeof *room, false);
    if (room == NULL)
        return NULL;
    cop__phaser_init(&room->monitor.phaser);
    room->monitor.block[0] = &room->block[0];
    room->monitor.block[1] = &room->block[1];
    room->monitor.reader = &room->reader;
    room->reader.total = &room->block[2];
    room->monitor.wave = &room->wave;
    room->monitor.budgets = &room->budgets;
    pthread_mutex_init(&room->reader.lock, NULL);
    cop__budgets_init(&room->budgets);
    room->monitor.trace = room->wave.trace = &room->trace;
    cop__trace_init(&room->trace);
    return &room->monitor;
}

void
cop__monitor_free(cop_store *store)
{
    cop__monitor *monitor = cop__load_relaxed(&store->monitor_home);
    if (monitor == NULL)
        return;
    pthread_mutex_destroy(&monitor->reader->lock);
    cop__budgets_end(monitor->budgets);
    cop__trace_end(monitor->trace, store->memory);
    cop__memory_unmap(store->memory, COP_MEMORY_MONITOR, monitor, sizeof(monitor_room));
}

/* ---- reading ---- */

/* False when the deadline has passed. */
static bool
wait_a_little(uint64_t deadline)
{
    const struct timespec nap = {0, NAP_NS};
    if (cop__clock_ns() >= deadline)
        return false;
    nanosleep(&nap, NULL);
    return true;
}

cop_status
cop__monitor_lock(cop__monitor *monitor, uint64_t deadline)
{
    while (pthread_mutex_trylock(&monitor->reader->lock) != 0)
        if (!wait_a_little(deadline))
            return COP_E_TIMEOUT;
    return COP_OK;
}

/* Waits until the old block is nobody's, and empties it into the totals. */
static cop_status
old_fold(cop__monitor *monitor, uint64_t deadline)
{
    while (!cop__phaser_is_quiet(&monitor->phaser))
        if (!wait_a_little(deadline))
            return COP_E_TIMEOUT;
    cop__monitor_block *old = monitor->block[monitor->phaser.old];
    for (unsigned i = 0; i < COP_MEASURES; i++)
        cop__histogram_fold(&monitor->reader->total->of[i], &old->of[i]);
    return COP_OK;
}

cop_status
cop__monitor_collect(cop__monitor *monitor, uint64_t deadline)
{
    cop_status status = old_fold(monitor, deadline); /* what a reader left that gave up */
    if (status != COP_OK)
        return status;
    cop__phaser_flip(&monitor->phaser);
    return old_fold(monitor, deadline);
}

/* ---- telling ---- */

void
cop__monitor_path(const cop_snapshot *snapshot, cop_atom atom, char path[COP_OVERRUN_PATH])
{
    char whole[COP_PATH_MAX + 1];
    size_t length = 0;
    path[0] = '\0';
    if (snapshot == NULL || atom.generation == 0 ||
        cop_atom_path(snapshot, atom, whole, sizeof whole, &length) != COP_OK)
        return;
    length = length < COP_OVERRUN_PATH ? length : COP_OVERRUN_PATH - 1;
    memcpy(path, whole, length);
    path[length] = '\0';
}

static void
overrun_path(void *context, cop_overrun *overrun)
{
    if (overrun->kind == COP_OVERRUN_NOTIFY)
        return; /* has it */
    cop_pin_t pin = cop_pin(context);
    cop__monitor_path(pin.snapshot, overrun->atom, overrun->path);
    cop_unpin(pin);
}

void
cop__monitor_tell(cop_store *store)
{
    cop__monitor *monitor = cop__load_acquire(&store->monitor_home);
    cop__overruns_tell(monitor->budgets, overrun_path, store);
}

void
cop__monitor_notified(cop_store *store, const char *path, size_t length, uint64_t ns)
{
    cop__monitor *monitor = cop__load_acquire(&store->monitor);
    if (monitor == NULL)
        return;
    cop__monitor_add(monitor, COP_MEASURE_NOTIFY, ns);
    uint64_t limit = cop__load_relaxed(&monitor->budgets->limit_ns[COP_OVERRUN_NOTIFY]);
    if (cop__likely(ns <= limit))
        return;
    cop_overrun overrun = {.kind = COP_OVERRUN_NOTIFY, .worst_part = COP_MEASURE_NOTIFY};
    length = length < sizeof overrun.path ? length : sizeof overrun.path - 1;
    memcpy(overrun.path, path, length);
    overrun.version = cop__load_relaxed(&store->version);
    overrun.time_ns = cop__realtime_ns();
    overrun.took_ns = ns;
    overrun.budget_ns = limit;
    cop__overrun(monitor->budgets, &overrun);
    cop__monitor_tell(store);
}

/* ---- starting and stopping ---- */

/* Nobody records but those who found the monitor live before it was stopped. */
static void
monitor_restart(cop__monitor *monitor, const cop_monitor_options *options, uint64_t budget_ns)
{
    cop__budgets_start(monitor->budgets, options, budget_ns);
    cop__monitor_calibrate(monitor, options->sample_every);
    (void)cop__monitor_lock(monitor, COP_FOREVER);
    (void)cop__monitor_collect(monitor, COP_FOREVER);
    memset(monitor->reader->total, 0, sizeof *monitor->reader->total);
    pthread_mutex_unlock(&monitor->reader->lock);
}

static uint64_t
budget_ns(const cop_store *store)
{
    return store->options.performance_budget_ms * 1000000u;
}

void
cop__monitor_budget(cop_store *store)
{
    cop__monitor *monitor = cop__load_relaxed(&store->monitor_home);
    if (monitor == NULL)
        return;
    cop__budgets_default(monitor->budgets, budget_ns(store));
    monitor->budget_ns = cop__load_relaxed(&monitor->budgets->limit_ns[COP_OVERRUN_COMMIT]);
}

/* Needs the right. */
static cop_status
monitor_start(cop_store *store, const cop_monitor_options *options)
{
    cop__store_release(&store->monitor, (cop__monitor *)NULL);
    cop__monitor *monitor = cop__load_relaxed(&store->monitor_home);
    if (monitor == NULL)
        monitor = monitor_new(store->memory);
    if (monitor == NULL)
        return COP_E_MEMORY;
    monitor_restart(monitor, options, budget_ns(store));
    cop__store_release(&store->monitor_home, monitor);
    cop__store_release(&store->monitor, monitor);
    return COP_OK;
}

cop_status
cop__monitor_switch(cop_store *store, bool on)
{
    const cop_monitor_options options = COP_MONITOR_OPTIONS_INIT;
    if (on)
        return monitor_start(store, &options);
    cop__store_release(&store->monitor, (cop__monitor *)NULL);
    return COP_OK;
}

/* Measures no more, and nobody is called any more. Who was is taken out with the right: whoever starts
 * next puts another in that place. */
static void
monitor_quiet(cop_store *store)
{
    cop__teller teller = {NULL, NULL, NULL};
    (void)cop__right_wait(store, COP_FOREVER);
    (void)cop__monitor_switch(store, false);
    cop__monitor *monitor = cop__load_relaxed(&store->monitor_home);
    if (monitor != NULL)
        teller = cop__budgets_take(monitor->budgets);
    cop__right_leave(store);
    if (monitor != NULL)
        cop__budgets_retire(monitor->budgets, teller);
}

/* COP_E_STATE: another thread has started it meanwhile. */
static cop_status
start_quiet(cop_store *store, const cop_monitor_options *options)
{
    (void)cop__right_wait(store, COP_FOREVER);
    cop_status status = cop__store_usable(store); /* else it is about to end */
    if (status == COP_OK && cop__load_relaxed(&store->monitor) != NULL)
        status = COP_E_STATE;
    if (status == COP_OK)
        status = monitor_start(store, options);
    cop__right_leave(store);
    return status;
}

static cop_status
options_take(const cop_monitor_options *given, cop_monitor_options *options, cop_error *error)
{
    const cop_monitor_options defaults = COP_MONITOR_OPTIONS_INIT;
    *options = defaults;
    if (given == NULL)
        return COP_OK;
    if (given->size != sizeof *options)
        return cop__fail(error, COP_E_INVALID,
                         "the options are %zu bytes, this library knows %zu: use "
                         "COP_MONITOR_OPTIONS_INIT",
                         given->size, sizeof *options);
    if (given->overrun == NULL && given->overrun_destroy != NULL)
        return cop__fail(error, COP_E_INVALID, "overrun_destroy without overrun");
    *options = *given;
    return COP_OK;
}

cop_status
cop_monitor_start(cop_store *store, const cop_monitor_options *given, cop_error *error)
{
    cop_monitor_options options;
    cop_status status = options_take(given, &options, error);
    if (status != COP_OK)
        return status;
    status = cop__store_may_wait(store);
    if (status != COP_OK)
        return cop__fail(error, status, "%s", cop_status_message(status));
    struct cop__gate *gate = store->gate;
    cop__gate_use(gate);
    do {
        monitor_quiet(store);
        status = start_quiet(store, &options);
    } while (status == COP_E_STATE);
    cop__gate_end_use(gate);
    return status == COP_OK ? COP_OK : cop__fail(error, status, "%s", cop_status_message(status));
}

cop_status
cop_monitor_stop(cop_store *store)
{
    cop_status status = cop__store_may_wait(store);
    if (status != COP_OK)
        return status;
    struct cop__gate *gate = store->gate;
    cop__gate_use(gate);
    monitor_quiet(store);
    cop__gate_end_use(gate);
    return COP_OK;
}

bool
cop_monitor_running(cop_store *store)
{
    return cop__load_acquire(&store->monitor) != NULL;
}

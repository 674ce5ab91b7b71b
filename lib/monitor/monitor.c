/* SPDX-License-Identifier: MIT */
/* Starting and stopping a store's monitor, and taking what it recorded: see monitor.h. */
#include "monitor/monitor.h"

#include <sched.h>
#include <time.h>

#include "commit/combiner.h"
#include "reclaim/gate.h"

#define YIELDS 64u
#define NAP_NS 50000

/* ---- memory: one mapping with the monitor, its reader and three blocks ---- */

typedef struct monitor_room {
    cop__monitor monitor;
    cop__monitor_reader reader;
    cop__monitor_block block[3];
} monitor_room;

static size_t
room_bytes(void)
{
    size_t page = 4096;
    return (sizeof(monitor_room) + page - 1) & ~(page - 1);
}

static cop__monitor *
monitor_new(cop__memory *memory)
{
    monitor_room *room = cop__memory_map(memory, COP_MEMORY_MONITOR, room_bytes(), false);
    if (room == NULL)
        return NULL;
    cop__phaser_init(&room->monitor.phaser);
    room->monitor.block[0] = &room->block[0];
    room->monitor.block[1] = &room->block[1];
    room->monitor.reader = &room->reader;
    room->reader.total = &room->block[2];
    pthread_mutex_init(&room->reader.lock, NULL);
    return &room->monitor;
}

void
cop__monitor_free(cop_store *store)
{
    cop__monitor *monitor = cop__load_relaxed(&store->monitor_home);
    if (monitor == NULL)
        return;
    pthread_mutex_destroy(&monitor->reader->lock);
    cop__memory_unmap(store->memory, COP_MEMORY_MONITOR, monitor, room_bytes());
}

/* ---- reading ---- */

/* One turn of waiting; false when the deadline has passed. */
static bool
wait_a_little(unsigned *turn, uint64_t deadline)
{
    if ((*turn)++ < YIELDS) {
        sched_yield();
        return true;
    }
    struct timespec nap = {0, NAP_NS};
    if (cop__clock_ns() >= deadline)
        return false;
    nanosleep(&nap, NULL);
    return true;
}

cop_status
cop__monitor_lock(cop__monitor *monitor, uint64_t deadline)
{
    unsigned turn = 0;
    while (pthread_mutex_trylock(&monitor->reader->lock) != 0)
        if (!wait_a_little(&turn, deadline))
            return COP_E_TIMEOUT;
    return COP_OK;
}

/* Waits until the old block is nobody's, and empties it into the totals. */
static cop_status
old_fold(cop__monitor *monitor, uint64_t deadline)
{
    unsigned turn = 0;
    while (!cop__phaser_is_quiet(&monitor->phaser))
        if (!wait_a_little(&turn, deadline))
            return COP_E_TIMEOUT;
    cop__monitor_block *old = monitor->block[monitor->phaser.old];
    for (unsigned i = 0; i < COP_MEASURES; i++)
        cop__histogram_fold(&monitor->reader->total->of[i], &old->of[i]);
    monitor->reader->unfolded = false;
    return COP_OK;
}

cop_status
cop__monitor_collect(cop__monitor *monitor, uint64_t deadline)
{
    cop_status status = monitor->reader->unfolded ? old_fold(monitor, deadline) : COP_OK;
    if (status != COP_OK)
        return status;
    cop__phaser_flip(&monitor->phaser);
    monitor->reader->unfolded = true;
    return old_fold(monitor, deadline);
}

/* ---- starting and stopping ---- */

/* Nobody records but those who found the monitor live before it was stopped. */
static void
monitor_restart(cop__monitor *monitor, const cop_monitor_options *options)
{
    cop__monitor_calibrate(monitor, options->sample_every);
    (void)cop__monitor_lock(monitor, COP_FOREVER);
    (void)cop__monitor_collect(monitor, COP_FOREVER);
    memset(monitor->reader->total, 0, sizeof *monitor->reader->total);
    monitor->reader->since_ns = cop__realtime_ns();
    pthread_mutex_unlock(&monitor->reader->lock);
}

static cop_status
can_call(cop_store *store)
{
    cop_status status = cop__store_usable(store);
    return status == COP_OK && cop__evaluating ? COP_E_IN_EVALUATION : status;
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
    monitor_restart(monitor, options);
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

cop_status
cop_monitor_start(cop_store *store, const cop_monitor_options *given, cop_error *error)
{
    cop_monitor_options options = COP_MONITOR_OPTIONS_INIT;
    if (given != NULL && given->size != sizeof options)
        return cop__fail(error, COP_E_INVALID,
                         "the options are %zu bytes, this library knows %zu: use "
                         "COP_MONITOR_OPTIONS_INIT",
                         given->size, sizeof options);
    if (given != NULL)
        options = *given;
    cop_status status = can_call(store);
    if (status != COP_OK)
        return cop__fail(error, status, "%s", cop_status_message(status));
    struct cop__gate *gate = store->gate;
    cop__gate_use(gate);
    (void)cop__right_wait(store, COP_FOREVER);
    status = cop__store_usable(store); /* else it is about to end */
    if (status == COP_OK)
        status = monitor_start(store, &options);
    cop__right_leave(store);
    cop__gate_end_use(gate);
    return status == COP_OK ? COP_OK : cop__fail(error, status, "%s", cop_status_message(status));
}

cop_status
cop_monitor_stop(cop_store *store)
{
    cop_status status = can_call(store);
    if (status != COP_OK)
        return status;
    struct cop__gate *gate = store->gate;
    cop__gate_use(gate);
    (void)cop__right_wait(store, COP_FOREVER);
    (void)cop__monitor_switch(store, false);
    cop__right_leave(store);
    cop__gate_end_use(gate);
    return COP_OK;
}

bool
cop_monitor_running(cop_store *store)
{
    return cop__load_acquire(&store->monitor) != NULL;
}

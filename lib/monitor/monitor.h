/* SPDX-License-Identifier: MIT */
/*
 * A store's monitor: what other rooms call, and what reads it.
 *
 * LIFE. The monitor is made by the first start and kept until the store ends, so that who found it
 * live a moment ago may go on writing to it. store->monitor is it while it is live, else NULL;
 * store->monitor_home is it for good. Both change under the commit right. Who loads store->monitor
 * acquires what start wrote.
 *
 * READING. One reader at a time, under reader->lock: it makes sure that the old block is empty,
 * flips, waits for the sections of what is now old, and folds that into the totals. When the
 * deadline passes meanwhile, the old block is left as it is, and the next reader begins with it.
 */
#ifndef COP_MONITOR_MONITOR_H
#define COP_MONITOR_MONITOR_H

#include "monitor/record.h"
#include "store/store_internal.h"

typedef struct cop__monitor_reader {
    pthread_mutex_t lock;
    cop__monitor_block *total;
} cop__monitor_reader;

/* Calls the host's function for what went over its budget. Without the right, or any lock. */
void cop__monitor_tell(cop_store *store);
/* The path of an atom in a version, cut to fit; "" when it has none there. snapshot may be NULL. */
void cop__monitor_path(const cop_snapshot *snapshot, cop_atom atom, char path[COP_OVERRUN_PATH]);
/* Switches it as the options performance.monitor say. Needs the right. COP_E_MEMORY. */
cop_status cop__monitor_switch(cop_store *store, bool on);
/* Folds all that is recorded into the totals. Needs the reader's lock. COP_E_TIMEOUT. */
cop_status cop__monitor_collect(cop__monitor *monitor, uint64_t deadline);
/* COP_E_TIMEOUT. */
cop_status cop__monitor_lock(cop__monitor *monitor, uint64_t deadline);
/* Gives the memory back; the store is ending. NULL is legal. */
void cop__monitor_free(cop_store *store);

/* A delivery to a watcher has taken so long: COP_MEASURE_NOTIFY, and its budget. path: what is
 * watched. Without the right or any lock, because the host may be told. Nothing when the monitor is
 * off. */
void cop__monitor_notified(cop_store *store, const char *path, size_t length, uint64_t ns);

/* Records how long something took that is not of a commit: COP_MEASURE_NOTIFY,
 * COP_MEASURE_SERIALIZE, COP_MEASURE_WINDOW_WAIT. Nothing when the monitor is off. Lock-free. Any thread that uses the
 * store. */
static inline void
cop__monitor_record(cop_store *store, cop_measure measure, uint64_t ns)
{
    cop__monitor *monitor = cop__load_acquire(&store->monitor);
    if (cop__unlikely(monitor != NULL))
        cop__monitor_add(monitor, measure, ns);
}

/* The time to hand to cop__monitor_took later, or 0 when the monitor is off. */
static inline uint64_t
cop__monitor_clock(cop_store *store)
{
    return cop__unlikely(cop__load_relaxed(&store->monitor) != NULL) ? cop__clock_ns() : 0;
}

static inline void
cop__monitor_took(cop_store *store, cop_measure measure, uint64_t since_ns)
{
    if (cop__unlikely(since_ns != 0))
        cop__monitor_record(store, measure, cop__clock_ns() - since_ns);
}

#endif

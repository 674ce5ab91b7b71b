/* SPDX-License-Identifier: MIT */
/* Statistics: a copy of the counters. Each is exact at some moment during the call. */
#include "commit/combiner.h"
#include "history/room.h"
#include "reclaim/gate.h"
#include "serialize/serializer.h"
#include "store/store_internal.h"
#include "watch/room.h"

static void
fill_counts(cop_store *store, cop_stats *stats)
{
    stats->commits = cop__load_relaxed(&store->count.commits);
    stats->transactions = cop__load_relaxed(&store->count.transactions);
    stats->transactions_unchanged = cop__load_relaxed(&store->count.unchanged);
    stats->transactions_conflict = cop__load_relaxed(&store->count.conflicts);
    stats->transactions_failed = cop__load_relaxed(&store->count.failed);
    stats->operations = cop__load_relaxed(&store->count.operations);
    stats->batches = cop__load_relaxed(&store->count.batches);
    stats->batches_abandoned = cop__load_relaxed(&store->count.abandoned);
    stats->windows = cop__load_relaxed(&store->count.windows);
    stats->window_waited = cop__load_relaxed(&store->count.window_wait);
    stats->window_wait_longest = cop__load_relaxed(&store->count.window_wait_max);
    stats->effects_failed = cop__load_relaxed(&store->effects.failed);
    stats->effects_cut = cop__load_relaxed(&store->effects.cut);
    stats->queued = cop__load_relaxed(&store->queued);
    stats->pins = cop__load_relaxed(&store->count.pins);
    stats->pins_resolved = cop__load_relaxed(&store->count.resolved);
    stats->pins_leaked = cop__load_relaxed(&store->count.leaked);
    stats->scans = cop__load_relaxed(&store->count.scans);
    stats->snapshots_revoked = cop__load_relaxed(&store->count.revoked);
}

/* A version and its time are taken from one scan or of two that follow each other: near enough. */
static void
note_oldest(cop_stats *stats, uint64_t version, uint64_t time_ns, uint64_t now)
{
    if (version >= stats->oldest_held_version)
        return;
    stats->oldest_held_version = version;
    stats->oldest_held_age = now > time_ns ? (now - time_ns) / 1000000 : 0;
}

static void
fill_held(cop_store *store, cop_stats *stats)
{
    uint64_t now = cop__realtime_ns();
    pthread_mutex_lock(&store->gate->lock);
    stats->readers = store->gate->owned;
    pthread_mutex_unlock(&store->gate->lock);
    pthread_mutex_lock(&store->snapshot_lock);
    stats->snapshots = store->holds;
    stats->held_versions = store->held_records + stats->pins;
    stats->oldest_held_version = stats->version;
    stats->oldest_held_age = 0;
    for (const cop_snapshot *s = store->held_first; s != NULL; s = s->next_held)
        note_oldest(stats, s->version, s->time_ns, now);
    pthread_mutex_unlock(&store->snapshot_lock);
    if (stats->pins > 0)
        note_oldest(stats, cop__load_relaxed(&store->count.oldest_pin),
                    cop__load_relaxed(&store->count.oldest_pin_ns), now);
}

/* Pins are known from scans only: runs one, unless a commit is under way. */
static void
pins_refresh(cop_store *store)
{
    if (!cop__right_try(store))
        return;
    (void)cop__reclaim(store, true, 0);
    cop__right_leave(store);
}

/* The parts are of different moments: what is free may come out as less than nothing. */
static void
fill_chunks(cop_store *store, cop_stats *stats)
{
    const cop__pool *pool = &store->tree.pool;
    uint64_t used = stats->pages * COP_PAGE_BYTES + stats->value_bytes + stats->name_bytes -
                    cop__load_relaxed(&pool->values.large_bytes) -
                    cop__load_relaxed(&pool->names.large_bytes);
    stats->chunks = cop__load_relaxed(&pool->pages.count) +
                    cop__load_relaxed(&pool->values.carver.count) +
                    cop__load_relaxed(&pool->values.middle.count) +
                    cop__load_relaxed(&pool->names.carver.count) +
                    cop__load_relaxed(&pool->names.middle.count);
    stats->chunk_bytes = cop__pool_bytes(pool);
    stats->chunk_free = stats->chunk_bytes > used ? stats->chunk_bytes - used : 0;
    stats->chunk_given_back = cop__pool_given_back(pool);
}

static void
fill_pressure(cop_store *store, cop_stats *stats)
{
    cop__memory_manager *manager = &store->manager;
    stats->bytes_soft = cop__load_relaxed(&manager->soft);
    stats->bytes_reserve = cop__load_relaxed(&store->memory->reserve);
    stats->memory_level = cop__load_relaxed(&manager->level);
    stats->memory_soft = cop__load_relaxed(&manager->times_soft);
    stats->memory_full = cop__load_relaxed(&manager->times_full);
    stats->memory_waited = cop__load_relaxed(&store->count.waited_memory);
    stats->memory_waiting = cop__load_relaxed(&store->stalled.count);
    stats->memory_refused = cop__load_relaxed(&store->count.refused_memory);
    stats->gave_fragments = cop__load_relaxed(&manager->gave[COP_GAVE_FRAGMENTS]);
    stats->gave_lazy = cop__load_relaxed(&manager->gave[COP_GAVE_LAZY]);
    stats->gave_history = cop__load_relaxed(&manager->gave[COP_GAVE_HISTORY]);
    stats->gave_pages = cop__load_relaxed(&manager->gave[COP_GAVE_PAGES]);
    stats->gave_watch = cop__load_relaxed(&manager->gave[COP_GAVE_WATCH]);
}

static void
fill_memory(cop_store *store, cop_stats *stats)
{
    cop__memory *memory = store->memory;
    stats->pages = cop__load_relaxed(&store->count.pages);
    stats->pages_dead = cop__load_relaxed(&store->count.pages_dead);
    stats->value_bytes = cop__load_relaxed(&store->count.value_bytes);
    stats->values_dead = cop__load_relaxed(&store->count.values_dead);
    stats->names = cop__load_relaxed(&store->count.names);
    stats->name_bytes = cop__load_relaxed(&store->count.name_bytes);
    stats->names_dead = cop__load_relaxed(&store->count.names_dead);
    fill_chunks(store, stats);
    stats->bytes_held = cop__load_relaxed(&memory->held);
    stats->bytes_peak = cop__load_relaxed(&memory->peak);
    stats->bytes_limit = cop__load_relaxed(&memory->limit);
    fill_pressure(store, stats);
    for (unsigned i = 0; i < COP_MEMORY_KINDS; i++)
        stats->bytes_by_kind[i] = cop__load_relaxed(&memory->by_kind[i]);
}

cop_status
cop_stats_take(cop_store *store, cop_stats *stats)
{
    if (stats == NULL || stats->size != sizeof *stats)
        return COP_E_INVALID;
    cop_status status = cop__store_usable(store);
    if (status != COP_OK)
        return status;
    cop__gate_use(store->gate);
    pins_refresh(store);
    stats->version = cop__load_acquire(&store->version);
    stats->atoms = cop__load_relaxed(&store->count.atoms);
    fill_counts(store, stats);
    fill_held(store, stats);
    cop__watch_counts(cop__load_acquire(&store->watch), stats);
    cop__history_counts(store, stats);
    cop__serializer_counts(cop__load_acquire(&store->serializer), stats);
    fill_memory(store, stats);
    stats->membarrier = !store->fence;
    stats->huge_pages = store->options.memory_huge_pages;
    cop__gate_end_use(store->gate);
    return COP_OK;
}

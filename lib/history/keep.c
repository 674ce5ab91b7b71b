/* SPDX-License-Identifier: MIT */
/* Recording, the lock, options, closing. The argument is in history.h. */
#include "commit/combiner.h"
#include "history/use.h"
#include "reclaim/gate.h"

#define WAIT_NS UINT64_C(2000000)
#define PRUNED_BYTES ((uint64_t)1 << 20) /* let go, that are worth a scan of their own */

/* ---- what is published ---- */

static bool
wanted(cop__history *history, const cop_snapshot *root)
{
    history->since++;
    switch (history->rule) {
    case COP_KEEP_EVERY:
        return history->since >= history->every;
    case COP_KEEP_INTERVAL: /* a clock that was set back counts as a long time */
        return root->time_ns - history->last_ns >= history->interval_ns;
    default:
        return true;
    }
}

bool
cop__history_published(cop__history *history, const cop_snapshot *root)
{
    cop_snapshot *record = (cop_snapshot *)(uintptr_t)root;
    if (!wanted(history, root))
        return false;
    history->since = 0;
    history->last_ns = root->time_ns;
    cop__snapshot_hold_kept(root);
    /* One pusher at a time; who takes all of them leaves NULL. */
    cop_snapshot *head = cop__load_relaxed(&history->pending);
    do {
        record->next_kept = head;
    } while (!cop__cas_seq_cst(&history->pending, &head, record));
    return true;
}

static void
lost(cop__history *history, const cop_snapshot *snapshot)
{
    (void)cop__snapshot_end_kept(snapshot);
    cop__store_relaxed(&history->lost, cop__load_relaxed(&history->lost) + 1);
}

/* Oldest first, so that pruning goes in order. Needs the lock. */
static void
take_in(cop__history *history)
{
    cop_snapshot *snapshot = cop__swap_seq_cst(&history->pending, (cop_snapshot *)NULL);
    cop_snapshot *oldest = NULL;
    while (snapshot != NULL) {
        cop_snapshot *next = snapshot->next_kept;
        snapshot->next_kept = oldest;
        oldest = snapshot;
        snapshot = next;
    }
    while (oldest != NULL) {
        cop_snapshot *next = oldest->next_kept;
        if (cop__kept_add(history, oldest) == NULL)
            lost(history, oldest);
        cop__kept_bound(history);
        oldest = next;
    }
}

/* ---- the lock ---- */

static bool
lock_try(cop__history *history)
{
    uint32_t free = 0;
    return cop__load_seq_cst(&history->lock) == 0 && cop__cas_seq_cst(&history->lock, &free, 1u);
}

void
cop__history_lock(cop__history *history)
{
    if (!lock_try(history))
        while (cop__swap_seq_cst(&history->lock, 2u) != 0)
            cop__futex_wait(&history->lock, 2u, cop__clock_ns() + WAIT_NS);
    take_in(history); /* who has seen a version committed finds it */
}

static void
lock_leave(cop__history *history)
{
    if (cop__swap_seq_cst(&history->lock, 0u) == 2)
        cop__futex_wake(&history->lock, 1);
}

static void
drop_all(cop__history *history)
{
    cop__kept *entry;
    while ((entry = cop__kept_at(history, 0)) != NULL)
        cop__kept_remove(history, entry);
}

static void
let_go(cop__history *history, cop__kept *entry)
{
    while (entry != NULL) {
        cop__kept *next = entry->after;
        (void)cop__snapshot_end_kept(entry->snapshot);
        cop__kept_free(history, entry);
        entry = next;
    }
}

/* Brings the list up to date and gives the lock back. */
static void
settle(cop__history *history)
{
    cop_store *store = history->store;
    take_in(history);
    if (cop__load_seq_cst(&history->off) != 0)
        drop_all(history);
    else
        cop__kept_bound(history);
    cop__kept *doomed = history->doomed;
    bool scan = history->doomed_bytes > PRUNED_BYTES;
    uint64_t missing = cop__load_relaxed(&history->lost) - history->lost_logged;
    history->doomed = NULL;
    history->lost_logged += missing;
    if (scan)
        history->doomed_bytes = 0;
    lock_leave(history);
    let_go(history, doomed);
    if (scan)
        cop__store_seq_cst(&store->want_reclaim, 1u);
    if (missing > 0)
        cop__log_write(&store->log, COP_LOG_WARNING,
                       "history: no memory to keep %llu versions", (unsigned long long)missing);
}

void
cop__history_unlock(cop__history *history)
{
    do
        settle(history);
    while (cop__load_seq_cst(&history->pending) != NULL && lock_try(history));
}

void
cop__history_signal(cop__history *history)
{
    if (lock_try(history))
        cop__history_unlock(history);
}

void
cop__history_drop_soon(cop__history *history)
{
    if (history->doomed != NULL)
        history->doomed_bytes += PRUNED_BYTES + 1;
}

/* ---- making it, and its options ---- */

static cop__history *
history_new(cop_store *store)
{
    cop__history *history =
        cop__memory_zalloc(store->memory, COP_MEMORY_HISTORY, sizeof *history, COP_CACHE_LINE);
    if (history != NULL)
        history->store = store;
    return history;
}

static void
rule_take(cop__history *history, const cop_options *options)
{
    history->rule = options->history_keep;
    history->every = options->history_every;
    history->interval_ns = options->history_interval_ms * UINT64_C(1000000);
    cop__store_relaxed(&history->max_count, options->history_max_snapshots);
    cop__store_relaxed(&history->max_bytes, options->history_max_bytes != 0
                                                ? options->history_max_bytes
                                                : options->memory_limit_bytes / 4);
    cop__store_seq_cst(&history->off, (uint32_t)(history->rule == COP_KEEP_OFF));
}

cop_status
cop__history_configure(cop_store *store, const cop_options *options)
{
    cop__history *history = cop__load_relaxed(&store->history);
    bool keeps = options->history_keep > COP_KEEP_LABEL;
    if (history == NULL && !keeps)
        return COP_OK;
    if (history == NULL) {
        history = history_new(store);
        if (history == NULL)
            return COP_E_MEMORY;
        cop__store_release(&store->history, history);
    }
    rule_take(history, options);
    cop__store_relaxed(&store->keeping, keeps ? history : NULL);
    store->history_posted = true; /* the bounds may be others */
    return COP_OK;
}

static cop_status
history_first(cop_store *store)
{
    cop_status status = COP_OK;
    (void)cop__right_wait(store, COP_FOREVER);
    if (cop__load_relaxed(&store->history) == NULL) {
        cop__history *history = history_new(store);
        if (history == NULL)
            status = COP_E_MEMORY;
        else
            rule_take(history, &store->options);
        cop__store_release(&store->history, history);
    }
    cop__right_leave(store);
    return status;
}

cop_status
cop__history_of(cop_store *store, cop__history **history)
{
    cop_status status = COP_OK;
    *history = cop__load_acquire(&store->history);
    if (*history == NULL)
        status = history_first(store);
    if (status == COP_OK)
        *history = cop__load_acquire(&store->history);
    return status;
}

/* ---- closing, and other rooms' questions ---- */

bool
cop__history_heavy(cop_store *store)
{
    cop__history *history = cop__load_relaxed(&store->history);
    return cop__load_relaxed(&store->kept_bytes) > cop__load_relaxed(&history->max_bytes);
}

/* At least its share: what two versions see goes with the second one. */
static uint64_t
thought_to_go(cop__history *history, const cop__kept *entry)
{
    uint64_t own = cop__kept_bytes(entry);
    uint64_t share = history->bytes / cop__load_relaxed(&history->count);
    return own > share ? own : share;
}

static cop__kept *
next_to_give(cop__history *history, bool pinned_too)
{
    cop__kept *entry = cop__kept_least_used(history);
    if (entry == NULL && pinned_too && cop__load_relaxed(&history->pinned) > 0)
        for (size_t i = 0; entry == NULL || !entry->pinned; i++)
            entry = cop__kept_at(history, i);
    return entry;
}

uint64_t
cop__history_give_way(cop__history *history, uint64_t bytes, bool pinned_too)
{
    uint64_t given = 0;
    cop__kept *entry;
    if (history == NULL)
        return 0;
    if (pinned_too)
        cop__history_lock(history);
    else if (lock_try(history))
        take_in(history);
    else
        return 0;
    while (given < bytes && (entry = next_to_give(history, pinned_too)) != NULL) {
        given += thought_to_go(history, entry);
        cop__kept_remove(history, entry);
        cop__store_relaxed(&history->pruned, cop__load_relaxed(&history->pruned) + 1);
    }
    cop__history_drop_soon(history);
    cop__history_unlock(history);
    return given;
}

void
cop__history_counts(cop_store *store, cop_stats *stats)
{
    cop__history *history = cop__load_acquire(&store->history);
    stats->history_bytes = cop__load_relaxed(&store->kept_bytes);
    stats->history_versions = history != NULL ? cop__load_relaxed(&history->count) : 0;
    stats->history_pinned = history != NULL ? cop__load_relaxed(&history->pinned) : 0;
    stats->history_pruned = history != NULL ? cop__load_relaxed(&history->pruned) : 0;
    stats->history_lost = history != NULL ? cop__load_relaxed(&history->lost) : 0;
}

void
cop__history_stop(cop_store *store)
{
    cop__history *history = cop__load_relaxed(&store->history);
    cop__store_relaxed(&store->keeping, (struct cop__history *)NULL);
    if (history != NULL)
        cop__store_seq_cst(&history->off, 1u);
}

void
cop__history_closing(cop__history *history)
{
    if (history == NULL)
        return;
    cop__history_lock(history);
    cop__history_unlock(history);
}

void
cop__history_end(cop__history *history)
{
    if (history == NULL)
        return;
    cop__memory *memory = history->store->memory;
    cop__memory_free(memory, COP_MEMORY_HISTORY, history->entry,
                     history->capacity * sizeof *history->entry, 16);
    cop__memory_free(memory, COP_MEMORY_HISTORY, history, sizeof *history, COP_CACHE_LINE);
}

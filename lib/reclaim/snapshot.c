/* SPDX-License-Identifier: MIT */
/*
 * Snapshots: holds on versions that outlive a pin and go from thread to thread.
 *
 * A root record that is held stands in the store's list, under snapshot_lock. It is entered while
 * it is still pinned (or held already), so the scan, which looks at pins first and at the list
 * second, never misses it.
 *
 * With snapshots.max_age_ms a user's snapshot is a handle that holds the record (handle.h).
 *
 * PROGRESS. take, keep, drop: a short lock. drop also frees what only this version needed, if the
 * commit right is free; if it is not, its holder is told (want_reclaim) and does it.
 */
#include "commit/combiner.h"
#include "reclaim/gate.h"
#include "reclaim/holders.h"

/* Which of a record's counts a hold is in besides; NULL: a plain one of a user's. */
static uint32_t *
count_of(cop_snapshot *snapshot, cop__holder_kind by)
{
    switch (by) {
    case COP_HELD_BY_HANDLE:
        return &snapshot->for_handles;
    case COP_HELD_BY_HISTORY:
        return &snapshot->kept;
    case COP_HELD_BY_WATCHERS:
        return &snapshot->for_watchers;
    case COP_HELD_BY_TEXTS:
        return &snapshot->for_texts;
    case COP_HELD_BY_LIBRARY:
        return &snapshot->for_library;
    case COP_HELD_BY_USER:
        break;
    }
    return NULL;
}

void
cop__held_add(cop_store *store, cop_snapshot *snapshot, cop__holder_kind by)
{
    uint32_t *count = count_of(snapshot, by);
    if (count != NULL)
        ++*count;
    if (snapshot->holds++ > 0)
        return;
    snapshot->previous_held = NULL;
    snapshot->next_held = store->held_first;
    if (store->held_first != NULL)
        store->held_first->previous_held = snapshot;
    store->held_first = snapshot;
    store->held_records++;
}

/* What died under a version that no scan has seen is in limbo, as if it had not been held; a scan for
 * every short hold would cost more than the commits between. */
bool
cop__held_remove(cop_store *store, cop_snapshot *snapshot, cop__holder_kind by)
{
    uint32_t *count = count_of(snapshot, by);
    COP_ALWAYS(snapshot->holds > 0);
    if (count != NULL)
        --*count;
    if (--snapshot->holds > 0)
        return false;
    if (snapshot->previous_held != NULL)
        snapshot->previous_held->next_held = snapshot->next_held;
    else
        store->held_first = snapshot->next_held;
    if (snapshot->next_held != NULL)
        snapshot->next_held->previous_held = snapshot->previous_held;
    store->held_records--;
    snapshot->held_ns = 0;
    return snapshot->seen;
}

void
cop__held_note(const cop_snapshot *snapshot, const void *site)
{
    cop_snapshot *record = (cop_snapshot *)(uintptr_t)snapshot;
    if (record->held_ns != 0)
        return;
    record->held_ns = cop__clock_ns();
    record->held_thread = cop__thread_id();
    record->held_site = site;
}

void
cop__snapshot_hold(const cop_snapshot *snapshot, cop__holder_kind by)
{
    cop_store *store = snapshot->store;
    pthread_mutex_lock(&store->snapshot_lock);
    store->holds++;
    store->own_holds++;
    cop__held_add(store, (cop_snapshot *)(uintptr_t)snapshot, by);
    pthread_mutex_unlock(&store->snapshot_lock);
}

static cop_status
take(cop_store *store, const void *site, bool root, const cop_snapshot **snapshot)
{
    *snapshot = NULL;
    cop_status status = cop__store_usable(store);
    if (status != COP_OK)
        return status;
    cop_pin_t pin = cop_pin(store);
    if (pin.snapshot == NULL)
        return cop_pin_status();
    status = root ? cop_snapshot_keep(pin.snapshot)
                  : cop__snapshot_give(store, pin.snapshot, site, snapshot);
    if (root && status == COP_OK)
        *snapshot = pin.snapshot;
    cop_unpin(pin);
    return status;
}

cop_status
cop_snapshot_take(cop_store *store, const cop_snapshot **snapshot)
{
    return take(store, __builtin_return_address(0), false, snapshot);
}

cop_status
cop__snapshot_take_root(cop_store *store, const cop_snapshot **snapshot)
{
    return take(store, NULL, true, snapshot);
}

cop_status
cop_snapshot_keep(const cop_snapshot *snapshot)
{
    cop_store *store = snapshot->store;
    cop_status status = COP_OK;
    if (store == NULL)
        return COP_E_FORKED;
    if (cop__is_handle(snapshot))
        return cop__handle_keep(snapshot);
    pthread_mutex_lock(&store->snapshot_lock);
    if (store->holds - store->own_holds >= store->options.snapshots_max) {
        status = COP_E_LIMIT;
    } else {
        store->holds++;
        cop__held_add(store, (cop_snapshot *)(uintptr_t)snapshot, COP_HELD_BY_USER);
        cop__held_note(snapshot, __builtin_return_address(0));
    }
    pthread_mutex_unlock(&store->snapshot_lock);
    return status;
}

static bool
unhold(cop_store *store, cop_snapshot *snapshot, cop__holder_kind by)
{
    pthread_mutex_lock(&store->snapshot_lock);
    store->holds--;
    store->own_holds -= by != COP_HELD_BY_USER;
    bool due = cop__held_remove(store, snapshot, by);
    pthread_mutex_unlock(&store->snapshot_lock);
    return due;
}

static void
drop(const cop_snapshot *snapshot, cop__holder_kind by)
{
    cop_store *store = snapshot->store;
    cop__gate *gate = store->gate;
    const cop_snapshot *root = snapshot; /* an address only: it may be gone */
    cop__add_relaxed(&gate->references, 1u); /* the store may go with this hold */
    cop__gate_use(gate);
    bool due = cop__is_handle(snapshot) ? cop__handle_unhold(store, snapshot, &root)
                                        : unhold(store, (cop_snapshot *)(uintptr_t)snapshot, by);
    if (due && cop__load_seq_cst(&store->root) != root)
        cop__reclaim_soon(store);
    cop__gate_end_use(gate);
    cop__gate_unref(gate);
}

void
cop_snapshot_drop(const cop_snapshot *snapshot)
{
    if (snapshot != NULL && snapshot->store != NULL) /* the latter in a forked child */
        drop(snapshot, COP_HELD_BY_USER);
}

void
cop__snapshot_let_go(const cop_snapshot *snapshot, cop__holder_kind by, bool soon)
{
    if (soon)
        drop(snapshot, by);
    else if (unhold(snapshot->store, (cop_snapshot *)(uintptr_t)snapshot, by))
        cop__store_seq_cst(&snapshot->store->want_reclaim, 1u);
}

void
cop__snapshot_hold_kept(const cop_snapshot *snapshot)
{
    cop__snapshot_hold(snapshot, COP_HELD_BY_HISTORY);
}

bool
cop__snapshot_end_kept(const cop_snapshot *snapshot)
{
    return unhold(snapshot->store, (cop_snapshot *)(uintptr_t)snapshot, COP_HELD_BY_HISTORY);
}

/* Who holds a version beside the history would keep what is counted as the history's, or the other
 * way round; pins are left out, they are short. */
void
cop__snapshots_weigh(cop_store *store)
{
    cop__dead *dead = &store->tree.dead;
    cop__dead_unmark_kept(dead);
    pthread_mutex_lock(&store->snapshot_lock);
    for (cop_snapshot *s = store->held_first; s != NULL; s = s->next_held) {
        uint64_t alone = 0;
        if (s->kept == s->holds && cop__dead_mark_kept(dead, s->stamp))
            alone = cop__dead_alone_bytes(dead, s->stamp);
        cop__store_relaxed(&s->alone, alone);
    }
    pthread_mutex_unlock(&store->snapshot_lock);
    cop__store_relaxed(&store->kept_bytes, cop__dead_kept_bytes(dead));
}

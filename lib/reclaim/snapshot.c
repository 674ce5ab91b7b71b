/* SPDX-License-Identifier: MIT */
/*
 * Snapshots: holds on versions that outlive a pin and go from thread to thread.
 *
 * A root record that is held stands in the store's list, under snapshot_lock. It is entered while
 * it is still pinned (or held already), so the scan, which looks at pins first and at the list
 * second, never misses it.
 *
 * PROGRESS. take, keep, drop: a short lock. drop also frees what only this version needed, if the
 * commit right is free; if it is not, its holder is told (want_reclaim) and does it.
 */
#include "commit/combiner.h"
#include "reclaim/gate.h"

typedef enum holder {
    BY_USER,
    BY_LIBRARY, /* counts against no limit */
    BY_HISTORY  /* neither; what only such ones hold is weighed */
} holder;

static cop_status
hold(cop_store *store, cop_snapshot *snapshot, holder by)
{
    cop_status status = COP_OK;
    bool own = by != BY_USER;
    pthread_mutex_lock(&store->snapshot_lock);
    if (!own && store->holds - store->own_holds >= store->options.snapshots_max) {
        status = COP_E_LIMIT;
    } else {
        store->holds++;
        store->own_holds += own;
        snapshot->kept += by == BY_HISTORY;
        if (snapshot->holds++ == 0) {
            snapshot->previous_held = NULL;
            snapshot->next_held = store->held_first;
            if (store->held_first != NULL)
                store->held_first->previous_held = snapshot;
            store->held_first = snapshot;
            store->held_records++;
        }
    }
    pthread_mutex_unlock(&store->snapshot_lock);
    return status;
}

cop_status
cop_snapshot_take(cop_store *store, const cop_snapshot **snapshot)
{
    *snapshot = NULL;
    cop_status status = cop__store_usable(store);
    if (status != COP_OK)
        return status;
    cop_pin_t pin = cop_pin(store);
    if (pin.snapshot == NULL)
        return cop_pin_status();
    status = hold(store, (cop_snapshot *)(uintptr_t)pin.snapshot, BY_USER);
    if (status == COP_OK)
        *snapshot = pin.snapshot;
    cop_unpin(pin);
    return status;
}

cop_status
cop_snapshot_keep(const cop_snapshot *snapshot)
{
    if (snapshot->store == NULL)
        return COP_E_FORKED;
    return hold(snapshot->store, (cop_snapshot *)(uintptr_t)snapshot, BY_USER);
}

/* True when this was the last hold on a version that a scan has seen: something may be filed under
 * it. What died under one that no scan has seen is in limbo, as if it had not been held; a scan for
 * every short hold would cost more than the commits between. */
static bool
unhold(cop_store *store, cop_snapshot *snapshot, holder by)
{
    pthread_mutex_lock(&store->snapshot_lock);
    COP_ALWAYS(snapshot->holds > 0);
    store->holds--;
    store->own_holds -= by != BY_USER;
    snapshot->kept -= by == BY_HISTORY;
    bool last = --snapshot->holds == 0;
    if (last) {
        if (snapshot->previous_held != NULL)
            snapshot->previous_held->next_held = snapshot->next_held;
        else
            store->held_first = snapshot->next_held;
        if (snapshot->next_held != NULL)
            snapshot->next_held->previous_held = snapshot->previous_held;
        store->held_records--;
    }
    bool seen = snapshot->seen;
    pthread_mutex_unlock(&store->snapshot_lock);
    return last && seen;
}

static void
drop(const cop_snapshot *snapshot, holder by)
{
    cop_store *store = snapshot->store;
    cop__gate *gate = store->gate;
    cop__add_relaxed(&gate->references, 1u); /* the store may go with this hold */
    cop__gate_use(gate);
    if (unhold(store, (cop_snapshot *)(uintptr_t)snapshot, by) &&
        cop__load_seq_cst(&store->root) != snapshot) /* an address only: it may be gone */
        cop__reclaim_soon(store);
    cop__gate_end_use(gate);
    cop__gate_unref(gate);
}

void
cop_snapshot_drop(const cop_snapshot *snapshot)
{
    if (snapshot != NULL && snapshot->store != NULL) /* the latter in a forked child */
        drop(snapshot, BY_USER);
}

void
cop__snapshot_hold(const cop_snapshot *snapshot)
{
    (void)hold(snapshot->store, (cop_snapshot *)(uintptr_t)snapshot, BY_LIBRARY);
}

void
cop__snapshot_let_go(const cop_snapshot *snapshot, bool soon)
{
    if (soon)
        drop(snapshot, BY_LIBRARY);
    else if (unhold(snapshot->store, (cop_snapshot *)(uintptr_t)snapshot, BY_LIBRARY))
        cop__store_seq_cst(&snapshot->store->want_reclaim, 1u);
}

void
cop__snapshot_hold_kept(const cop_snapshot *snapshot)
{
    (void)hold(snapshot->store, (cop_snapshot *)(uintptr_t)snapshot, BY_HISTORY);
}

bool
cop__snapshot_end_kept(const cop_snapshot *snapshot)
{
    return unhold(snapshot->store, (cop_snapshot *)(uintptr_t)snapshot, BY_HISTORY);
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

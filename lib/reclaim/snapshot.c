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

/* own: the library's, which count against no limit. */
static cop_status
hold(cop_store *store, cop_snapshot *snapshot, bool own)
{
    cop_status status = COP_OK;
    pthread_mutex_lock(&store->snapshot_lock);
    if (!own && store->holds - store->own_holds >= store->options.snapshots_max) {
        status = COP_E_LIMIT;
    } else {
        store->holds++;
        store->own_holds += own;
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
    status = hold(store, (cop_snapshot *)(uintptr_t)pin.snapshot, false);
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
    return hold(snapshot->store, (cop_snapshot *)(uintptr_t)snapshot, false);
}

/* True when this was the last hold on a version that a scan has seen: something may be filed under
 * it. What died under one that no scan has seen is in limbo, as if it had not been held; a scan for
 * every short hold would cost more than the commits between. */
static bool
unhold(cop_store *store, cop_snapshot *snapshot, bool own)
{
    pthread_mutex_lock(&store->snapshot_lock);
    COP_ALWAYS(snapshot->holds > 0);
    store->holds--;
    store->own_holds -= own;
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
drop(const cop_snapshot *snapshot, bool own)
{
    cop_store *store = snapshot->store;
    cop__gate *gate = store->gate;
    cop__add_relaxed(&gate->references, 1u); /* the store may go with this hold */
    cop__gate_use(gate);
    if (unhold(store, (cop_snapshot *)(uintptr_t)snapshot, own) &&
        cop__load_seq_cst(&store->root) != snapshot) /* an address only: it may be gone */
        cop__reclaim_soon(store);
    cop__gate_end_use(gate);
    cop__gate_unref(gate);
}

void
cop_snapshot_drop(const cop_snapshot *snapshot)
{
    if (snapshot != NULL && snapshot->store != NULL) /* the latter in a forked child */
        drop(snapshot, false);
}

void
cop__snapshot_hold(const cop_snapshot *snapshot)
{
    (void)hold(snapshot->store, (cop_snapshot *)(uintptr_t)snapshot, true);
}

void
cop__snapshot_let_go(const cop_snapshot *snapshot, bool soon)
{
    if (soon)
        drop(snapshot, true);
    else if (unhold(snapshot->store, (cop_snapshot *)(uintptr_t)snapshot, true))
        cop__store_seq_cst(&snapshot->store->want_reclaim, 1u);
}

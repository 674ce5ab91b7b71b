/* SPDX-License-Identifier: MIT */
/* The second store: its pool, its monitor, and two atoms that are equal in every version. */
#include "tools/stress/load.h"

#include "tools/args.h"

#include <coppice/monitor.h>

enum { WINDOW_MS = 2, THREADS = 2, PINS = 4 };

static cop_status
fill(struct side *side)
{
    const cop_value zero = cop_i64(0);
    cop_txn *txn;
    cop_status status = cop_txn_begin(side->store, &txn);
    if (status != COP_OK)
        return status;
    status = cop_txn_set_at(txn, "x", 1, &zero, NULL);
    if (status == COP_OK)
        status = cop_txn_set_at(txn, "y", 1, &zero, NULL);
    if (status == COP_OK)
        status = cop_txn_set_at(txn, "total", 5, &zero, NULL);
    if (status == COP_OK)
        return cop_txn_commit(txn, NULL, NULL);
    cop_txn_cancel(txn);
    return status;
}

static cop_status
find(struct side *side)
{
    cop_status status = cop_atom_find(side->store, "x", 1, &side->x);
    if (status == COP_OK)
        status = cop_atom_find(side->store, "y", 1, &side->y);
    return status == COP_OK ? cop_atom_find(side->store, "total", 5, &side->total) : status;
}

bool
stress_side_open(struct stress *s)
{
    struct side *side = &s->side;
    cop_pool_options pool = COP_POOL_OPTIONS_INIT;
    cop_monitor_options monitor = COP_MONITOR_OPTIONS_INIT;
    cop_options o;
    cop_options_init(&o);
    o.batch_window_ms = WINDOW_MS;
    pool.threads = THREADS;
    monitor.sample_every = 1;
    cop_status status = cop_store_open(&o, &side->store, NULL);
    if (status == COP_OK)
        status = cop_pool_open(&pool, &side->pool, NULL);
    if (status == COP_OK)
        status = cop_store_set_pool(side->store, side->pool);
    if (status == COP_OK)
        status = cop_monitor_start(side->store, &monitor, NULL);
    if (status == COP_OK)
        status = fill(side);
    if (status == COP_OK)
        status = find(side);
    if (status != COP_OK)
        complain("the second store cannot be opened: %s", cop_status_message(status));
    return status == COP_OK;
}

void
stress_side_close(struct stress *s)
{
    if (s->side.store && s->side.pool)
        (void)cop_store_set_pool(s->side.store, NULL);
    cop_store_close(s->side.store);
    cop_pool_close(s->side.pool);
}

/* Short pins of a store with next to nothing in it: what a pin holds is looked at while the
 * committer decides what to free. */
static void
check_pair(struct stress_thread *self, const struct side *side)
{
    int64_t x = 0, y = 0;
    cop_pin_t pin;
    if (stress_pin(self, side->store, &pin)) {
        uint64_t version = cop_snapshot_version(pin.snapshot);
        STRESS_CALL(self, cop_get_i64, pin.snapshot, side->x, &x);
        STRESS_CALL(self, cop_get_i64, pin.snapshot, side->y, &y);
        uint64_t after = cop_snapshot_version(pin.snapshot);
        stress_check(self, PROMISE_PINNED, x == y && version == after,
                     "two atoms that are written together are %lld and %lld in version %llu, which "
                     "is %llu then",
                     (long long)x, (long long)y, (unsigned long long)version,
                     (unsigned long long)after);
    }
    cop_unpin(pin);
}

void
stress_side_check(struct stress_thread *self)
{
    for (unsigned i = 0; self->stress->side.store && i < PINS; i++)
        check_pair(self, &self->stress->side);
}

/* SPDX-License-Identifier: MIT */
/* The small stores; who writes to the first, and who holds its versions. */
#include "tools/stress/load.h"

#include "tools/args.h"

#include <coppice/monitor.h>

#include <time.h>

enum { WINDOW_MS = 1, THREADS = 2, COMMITS = 256, PINS = 2000, COMMITS_BETWEEN = 4 };

static cop_status
open_windows(struct side *side)
{
    cop_options o;
    cop_options_init(&o);
    o.batch_window_ms = WINDOW_MS;
    cop_status status = cop_store_open(&o, &side->windows, NULL);
    return status == COP_OK ? cop_store_set_pool(side->windows, side->pool) : status;
}

static cop_status
open_store(struct side *side)
{
    cop_monitor_options monitor = COP_MONITOR_OPTIONS_INIT;
    monitor.sample_every = 1;
    cop_status status = cop_store_open(NULL, &side->store, NULL);
    if (status == COP_OK)
        status = cop_store_set_pool(side->store, side->pool);
    if (status == COP_OK)
        status = cop_monitor_start(side->store, &monitor, NULL);
    if (status == COP_OK)
        status = cop_atom_at(side->store, "x", 1, &side->x, NULL);
    return status == COP_OK ? cop_atom_at(side->store, "y", 1, &side->y, NULL) : status;
}

bool
stress_side_open(struct stress *s)
{
    struct side *side = &s->side;
    cop_pool_options pool = COP_POOL_OPTIONS_INIT;
    pool.threads = THREADS;
    cop_status status = cop_pool_open(&pool, &side->pool, NULL);
    if (status == COP_OK)
        status = cop_pool_open(&pool, &side->tasks, NULL);
    if (status == COP_OK)
        status = open_windows(side);
    if (status == COP_OK)
        status = open_store(side);
    if (status != COP_OK)
        complain("the second store cannot be opened: %s", cop_status_message(status));
    return status == COP_OK;
}

static void
close_store(cop_store *store)
{
    if (store)
        (void)cop_store_set_pool(store, NULL);
    cop_store_close(store);
}

void
stress_side_close(struct stress *s)
{
    close_store(s->side.store);
    close_store(s->side.windows);
    cop_pool_close(s->side.pool);
    cop_pool_close(s->side.tasks);
}

/* ---- held versions ---- */

struct held {
    cop_pin_t pin;
    uint64_t version;
    int64_t x;
};

static void
check_held(struct stress_thread *self, const struct held *held)
{
    const struct side *side = &self->stress->side;
    int64_t x = 0, y = 0;
    uint64_t version = cop_snapshot_version(held->pin.snapshot);
    (void)cop_get_i64(held->pin.snapshot, side->y, &y);
    (void)cop_get_i64(held->pin.snapshot, side->x, &x);
    stress_check(self, PROMISE_PINNED, x == y && x == held->x && version == held->version,
                 "an atom was %lld in version %llu, then %lld in version %llu, and one that is "
                 "written with it %lld",
                 (long long)held->x, (unsigned long long)held->version, (long long)x,
                 (unsigned long long)version, (long long)y);
}

/* Until the committer has several times decided what to free. */
static void
let_commit(const struct stress *s, uint64_t version)
{
    static const struct timespec look = {0, 20000};
    while (!s->stop && cop_store_version(s->side.store) < version + COMMITS_BETWEEN)
        nanosleep(&look, NULL);
}

/* Whether others have committed since the pin began, so that its protocol was put to the test; what
 * it holds is looked at again when they have done so several times more. */
static void
pin_once(struct stress_thread *self)
{
    const struct side *side = &self->stress->side;
    struct held held = {.x = 0};
    if (stress_pin(self, side->store, &held.pin)) {
        held.version = cop_snapshot_version(held.pin.snapshot);
        stress_saw(self, held.version);
        if (cop_store_version(side->store) > held.version) {
            (void)cop_get_i64(held.pin.snapshot, side->x, &held.x); /* null at first */
            let_commit(self->stress, held.version);
            check_held(self, &held);
        }
    }
    cop_unpin(held.pin);
}

/* Again and again: a reader that is stopped while it pins is what the protocol is for. */
void
stress_hold(struct stress_thread *self)
{
    static const struct timespec rest = {0, 500000};
    for (unsigned i = 1; !self->stress->stop; i++) {
        pin_once(self);
        if (i % PINS == 0)
            nanosleep(&rest, NULL);
    }
}

static void
set_both(struct stress_thread *self, int64_t n)
{
    const struct side *side = &self->stress->side;
    const cop_value number = cop_i64(n);
    cop_txn *txn;
    if (!STRESS_CALL(self, cop_txn_begin, side->store, &txn))
        return;
    self->transactions++;
    STRESS_CALL(self, cop_txn_set, txn, side->x, &number);
    STRESS_CALL(self, cop_txn_set, txn, side->y, &number);
    STRESS_CALL(self, cop_txn_commit, txn, NULL, NULL);
}

/* The version before the last one is as it was, and may be freed now. */
static void
drop_held(struct stress_thread *self, const cop_snapshot *snapshot, int64_t n)
{
    int64_t x = 0, y = 0;
    if (!snapshot)
        return;
    (void)cop_get_i64(snapshot, self->stress->side.y, &y);
    (void)cop_get_i64(snapshot, self->stress->side.x, &x);
    stress_check(self, PROMISE_PINNED, x == n && y == n,
                 "two atoms are %lld and %lld in held version %llu, where both were %lld",
                 (long long)x, (long long)y, (unsigned long long)cop_snapshot_version(snapshot),
                 (long long)n);
    cop_snapshot_drop(snapshot);
}

/* Many small commits at once, then a rest. Of each the version is held until the next one is there,
 * so that the committer decides what to free after each of them, and not now and then. */
void
stress_commit(struct stress_thread *self)
{
    static const struct timespec rest = {0, 1000000}; /* a check, not a load */
    const cop_snapshot *before = NULL, *now;
    int64_t n = 1;
    for (; !self->stress->stop; n++) {
        set_both(self, n);
        if (!STRESS_CALL(self, cop_snapshot_take, self->stress->side.store, &now))
            break;
        drop_held(self, before, n - 1);
        before = now;
        if (n % COMMITS == 0)
            nanosleep(&rest, NULL);
    }
    drop_held(self, before, n - 1);
}

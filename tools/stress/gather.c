/* SPDX-License-Identifier: MIT */
/*
 * The second store's writer. It submits, and then only looks at its tickets: it neither commits nor
 * flushes nor waits, so that whatever the end of a window does not decide stays undecided. Between,
 * it commits many small transactions at once, which is what pins and the monitor are checked
 * against.
 */
#include "tools/stress/load.h"

#include <coppice/monitor.h>

#include <time.h>

enum { FLIGHT = 16, STREAM = 96, COMMITS = 64, PAUSE = 4000 };

struct flight {
    cop_ticket *ticket;
    uint64_t number, began_ns;
};

struct gather {
    struct stress_thread *self;
    struct flight flight[FLIGHT];
    int64_t number; /* of x and y; as many transactions there have been */
};

/* x, y: the number of the transaction. total: counted. */
static cop_txn *
make(struct gather *g)
{
    struct stress_thread *self = g->self;
    const struct side *side = &self->stress->side;
    cop_txn *txn;
    if (!STRESS_CALL(self, cop_txn_begin, side->store, &txn))
        return NULL;
    const cop_value number = cop_i64(++g->number), one = cop_i64(1);
    self->transactions++;
    STRESS_CALL(self, cop_txn_set, txn, side->x, &number);
    STRESS_CALL(self, cop_txn_set, txn, side->y, &number);
    STRESS_CALL(self, cop_txn_add, txn, side->total, &one);
    return txn;
}

/* Looks again and again, as a poll loop would. */
static void
await(struct gather *g, struct flight *f)
{
    static const struct timespec look = {0, 100000};
    cop_status status;
    if (!f->ticket)
        return;
    while ((status = cop_ticket_poll(f->ticket, NULL)) == COP_E_PENDING &&
           !stress_is_late(g->self, f->began_ns) && g->self->stress->broken < 0)
        nanosleep(&look, NULL);
    if (stress_check(g->self, PROMISE_TICKET, status != COP_E_PENDING,
                     "transaction %llu of the second store was accepted for a window, and its "
                     "ticket never came (%llu s)",
                     (unsigned long long)f->number,
                     (unsigned long long)g->self->stress->config->patience_ms / 1000) &&
        stress_ok(g->self, status, "cop_ticket_poll"))
        stress_done(g->self, OPERATION_GATHERED, f->began_ns);
    cop_ticket_release(f->ticket);
    f->ticket = NULL;
}

/* For longer than a window, so that some come while one ends. */
static void
stream(struct gather *g)
{
    for (unsigned i = 0; i < STREAM && g->self->stress->broken < 0; i++) {
        struct flight *f = &g->flight[i % FLIGHT];
        await(g, f);
        f->began_ns = stress_now_ns();
        cop_txn *txn = make(g);
        f->number = g->self->transactions;
        if (txn)
            STRESS_CALL(g->self, cop_txn_submit, txn, &f->ticket);
        for (volatile uint64_t n = stress_random(g->self, PAUSE); n; n--)
            ;
    }
    for (unsigned i = 0; i < FLIGHT; i++)
        await(g, &g->flight[i]);
}

static void
commit(struct gather *g)
{
    cop_txn *txn = make(g);
    if (txn)
        STRESS_CALL(g->self, cop_txn_commit, txn, NULL, NULL);
}

/* All that was begun has been decided. */
static void
check_total(struct gather *g)
{
    struct stress_thread *self = g->self;
    const struct side *side = &self->stress->side;
    int64_t total = 0, x = 0;
    cop_pin_t pin;
    if (stress_pin(self, side->store, &pin)) {
        STRESS_CALL(self, cop_get_i64, pin.snapshot, side->total, &total);
        STRESS_CALL(self, cop_get_i64, pin.snapshot, side->x, &x);
        stress_check(
            self, PROMISE_APPLIED, total == g->number && x == g->number,
            "of %lld transactions of the second store %lld were applied, the last that was "
            "is %lld",
            (long long)g->number, (long long)total, (long long)x);
    }
    cop_unpin(pin);
}

void
stress_gather(struct stress_thread *self)
{
    static const struct timespec rest = {0, 1000000}; /* a check, not a load */
    struct gather g = {.self = self};
    while (!self->stress->stop) {
        stream(&g);
        if (self->stress->broken < 0)
            check_total(&g);
        for (unsigned i = 0; i < COMMITS && !self->stress->stop; i++)
            commit(&g);
        nanosleep(&rest, NULL);
    }
}

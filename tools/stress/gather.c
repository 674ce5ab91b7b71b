/* SPDX-License-Identifier: MIT */
/*
 * The second store's writer. It submits, and then only looks at its tickets: it neither commits nor
 * flushes nor waits, so that whatever the end of a window does not decide stays undecided. Between,
 * it commits many small transactions at once, which is what pins and the monitor are checked
 * against.
 */
#include "tools/stress/load.h"

#include <stdio.h>
#include <time.h>

enum { FLIGHT = 64, PAUSE = 40000 };

struct flight {
    cop_ticket *ticket;
    uint64_t number, began_ns;
};

struct gather {
    struct stress_thread *self;
    cop_store *store;
    cop_atom counter; /* of its transactions, known from the first decided one on */
    struct flight flight[FLIGHT];
};

/* Counts. The counter's first value is a set, since there is nothing to add to. */
static cop_txn *
make(struct gather *g)
{
    struct stress_thread *self = g->self;
    const cop_value one = cop_i64(1);
    char path[24];
    int n = snprintf(path, sizeof path, "%u", self->number);
    cop_txn *txn;
    if (!STRESS_CALL(self, cop_txn_begin, g->store, &txn))
        return NULL;
    if (self->transactions++ == 0)
        STRESS_CALL(self, cop_txn_set_at, txn, path, (size_t)n, &one, NULL);
    else
        STRESS_CALL(self, cop_txn_add, txn, g->counter, &one);
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
    if (stress_check(
            g->self, PROMISE_TICKET, status != COP_E_PENDING,
            "transaction %llu of thread %u was accepted into a window, and its ticket never "
            "came (%g s)",
            (unsigned long long)f->number, g->self->number,
            (double)g->self->stress->config->patience_ms / 1e3) &&
        stress_ok(g->self, status, "cop_ticket_poll"))
        stress_done(g->self, OPERATION_GATHERED, f->began_ns);
    cop_ticket_release(f->ticket);
    f->ticket = NULL;
}

static void
submit(struct gather *g, struct flight *f)
{
    f->began_ns = stress_now_ns();
    cop_txn *txn = make(g);
    f->number = g->self->transactions;
    if (txn)
        STRESS_CALL(g->self, cop_txn_submit, txn, &f->ticket);
}

/* A few at once, about when the other thread does, or so many that some come while a window ends.
 */
static void
stream(struct gather *g)
{
    uint64_t count = stress_random(g->self, 8) ? 1 + stress_random(g->self, 3) : FLIGHT;
    for (uint64_t i = 0; i < count && !g->self->stress->stop; i++) {
        submit(g, &g->flight[i]);
        for (volatile uint64_t n = count == FLIGHT ? stress_random(g->self, PAUSE) : 0; n; n--)
            ;
    }
    for (uint64_t i = 0; i < count; i++)
        await(g, &g->flight[i]);
}

/* All that was begun has been decided. */
static void
check_count(struct gather *g)
{
    struct stress_thread *self = g->self;
    int64_t count = 0;
    cop_pin_t pin;
    if (stress_pin(self, g->store, &pin)) {
        STRESS_CALL(self, cop_get_i64, pin.snapshot, g->counter, &count);
        stress_check(self, PROMISE_APPLIED, count == (int64_t)self->transactions,
                     "of %llu transactions gathered in windows %lld were applied",
                     (unsigned long long)self->transactions, (long long)count);
    }
    cop_unpin(pin);
}

static bool
begin(struct gather *g)
{
    char path[24];
    int n = snprintf(path, sizeof path, "%u", g->self->number);
    submit(g, &g->flight[0]);
    await(g, &g->flight[0]);
    return g->self->stress->broken < 0 &&
           STRESS_CALL(g->self, cop_atom_find, g->store, path, (size_t)n, &g->counter);
}

void
stress_gather(struct stress_thread *self)
{
    struct gather g = {.self = self, .store = self->stress->side.windows};
    bool good = begin(&g);
    while (good && !self->stress->stop) {
        stream(&g);
        if (self->stress->broken < 0)
            check_count(&g);
    }
}

/* SPDX-License-Identifier: MIT */
/*
 * The prober: a computed atom that changes what it reads, defined and disposed of over and over,
 * and a watcher. Nobody else writes what it reads, so that it is known when it may run and what it
 * is.
 */
#include "tools/stress/load.h"

#include <poll.h>
#include <time.h>

enum { CHAIN = 3, READS_X = 0, READS_Y = 1, READS_CHAIN = 2 };

struct probe {
    struct stress_thread *self;
    cop_atom which, x, y, c; /* written by the prober alone */
    cop_atom chain[CHAIN];
    cop_atom chooser;
    _Atomic uint64_t runs; /* of the chooser's function */
    cop_watch *watch;
    int fd;
    int64_t number;
};

static cop_status
link_function(cop_evaluation *evaluation, void *context, cop_value *result)
{
    int64_t n;
    const cop_atom *from = context;
    cop_status status = cop_read_i64(evaluation, *from, &n);
    if (status == COP_OK)
        *result = cop_i64(n + 1);
    return status;
}

static cop_status
chooser_function(cop_evaluation *evaluation, void *context, cop_value *result)
{
    struct probe *p = context;
    int64_t which = 0;
    p->runs++;
    cop_status status = cop_read_i64(evaluation, p->which, &which);
    if (status != COP_OK)
        return status;
    return cop_read(evaluation,
                    which == READS_X   ? p->x
                    : which == READS_Y ? p->y
                                       : p->chain[CHAIN - 1],
                    result);
}

/* Sets `which` and one more atom in one transaction. */
static uint64_t
set_two(struct probe *p, int64_t which, cop_atom atom, int64_t n)
{
    uint64_t version = 0;
    const cop_value first = cop_i64(which), second = cop_i64(n);
    cop_txn *txn;
    if (STRESS_CALL(p->self, cop_txn_begin, p->self->stress->store, &txn)) {
        STRESS_CALL(p->self, cop_txn_set, txn, p->which, &first);
        STRESS_CALL(p->self, cop_txn_set, txn, atom, &second);
        STRESS_CALL(p->self, cop_txn_commit, txn, &version, NULL);
    }
    return version;
}

static void
expect(struct probe *p, int64_t wanted, const char *what)
{
    int64_t is = 0;
    cop_pin_t pin;
    if (stress_pin(p->self, p->self->stress->store, &pin)) {
        cop_status status = cop_get_i64(pin.snapshot, p->chooser, &is);
        stress_check(p->self, PROMISE_COMPUTED, status == COP_OK && is == wanted,
                     "%s: it is %lld (%s), not %lld", what, (long long)is,
                     cop_status_message(status), (long long)wanted);
    }
    cop_unpin(pin);
}

/* It no longer reads x: a new x is nothing to it. */
static void
change_unread(struct probe *p)
{
    uint64_t runs = p->runs;
    set_two(p, READS_Y, p->x, ++p->number);
    stress_check(p->self, PROMISE_CUTOFF, p->runs == runs,
                 "it ran %llu times for an atom that it read once",
                 (unsigned long long)(p->runs - runs));
}

static void
choose(struct probe *p)
{
    cop_store *store = p->self->stress->store;
    uint64_t began_ns = stress_now_ns();
    if (!STRESS_CALL(p->self, cop_computed_define, store, NULL, 0, chooser_function, p, NULL,
                     &p->chooser, NULL))
        return;
    stress_done(p->self, OPERATION_DEFINE, began_ns);
    set_two(p, READS_X, p->x, ++p->number);
    expect(p, p->number, "an atom was written");
    set_two(p, READS_Y, p->y, ++p->number);
    expect(p, p->number, "another atom is read");
    change_unread(p);
    expect(p, p->number - 1, "an atom that is no longer read was written");
    set_two(p, READS_CHAIN, p->c, ++p->number);
    expect(p, p->number + CHAIN, "the end of a chain is read now, whose beginning was written");
    STRESS_CALL(p->self, cop_computed_dispose, store, p->chooser);
    set_two(p, READS_X, p->x, p->number);
}

/* A write, and its watcher's descriptor. */
static void
wake(struct probe *p)
{
    uint64_t began_ns = stress_now_ns(), version = set_two(p, READS_X, p->y, ++p->number);
    uint64_t told = cop_watch_told(p->watch);
    int patience = (int)p->self->stress->config->patience_ms;
    struct pollfd fd = {.fd = p->fd, .events = POLLIN};
    cop_watch_batch batch;
    while (told < version && p->self->stress->broken < 0) {
        if (!stress_check(p->self, PROMISE_TOLD, poll(&fd, 1, patience) > 0,
                          "it did not for %g s after version %llu", patience / 1e3,
                          (unsigned long long)version))
            return;
        cop_status status = cop_watch_next(p->watch, 0, &batch);
        if (status != COP_E_TIMEOUT && !stress_ok(p->self, status, "cop_watch_next"))
            return;
        if (status == COP_OK)
            told = batch.to;
        cop_watch_batch_end(&batch); /* legal after a failure */
    }
    stress_done(p->self, OPERATION_TOLD, began_ns);
}

static bool
open_atom(struct probe *p, const char *path, size_t n, cop_atom *atom)
{
    return STRESS_CALL(p->self, cop_atom_at, p->self->stress->store, path, n, atom, NULL);
}

static bool
open_probe(struct probe *p)
{
    cop_store *store = p->self->stress->store;
    if (!open_atom(p, "probe/which", 11, &p->which) || !open_atom(p, "probe/x", 7, &p->x) ||
        !open_atom(p, "probe/y", 7, &p->y) || !open_atom(p, "probe/c", 7, &p->c))
        return false;
    set_two(p, READS_X, p->x, 0);
    set_two(p, READS_X, p->y, 0);
    set_two(p, READS_X, p->c, 0);
    for (unsigned i = 0; i < CHAIN; i++) {
        cop_atom *from = i ? &p->chain[i - 1] : &p->c;
        if (!STRESS_CALL(p->self, cop_computed_define, store, NULL, 0, link_function, from, NULL,
                         &p->chain[i], NULL))
            return false;
    }
    return STRESS_CALL(p->self, cop_watch_open, store, "probe/y", 7, NULL, NULL, NULL, &p->watch,
                       NULL) &&
           STRESS_CALL(p->self, cop_watch_fd, p->watch, &p->fd);
}

void
stress_probe(struct stress_thread *self)
{
    static const struct timespec rest = {0, 2000000}; /* a check, not a load */
    struct probe p = {.self = self};
    cop_watch_batch batch;
    bool good = open_probe(&p);
    while (good && !self->stress->stop) {
        choose(&p);
        (void)cop_watch_next(p.watch, 0, &batch); /* what choose wrote */
        cop_watch_batch_end(&batch);
        wake(&p);
        nanosleep(&rest, NULL);
    }
    cop_watch_close(p.watch);
    for (unsigned i = 0; i < CHAIN; i++) /* their contexts end here */
        if (p.chain[i].generation)
            STRESS_CALL(self, cop_computed_dispose, self->stress->store, p.chain[i]);
}

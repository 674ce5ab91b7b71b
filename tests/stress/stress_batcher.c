/* SPDX-License-Identifier: MIT */
/*
 * Windows. Threads hand over increments and never commit, flush or wait: a pool takes what was
 * gathered when a frame ends, while bounds are filled, the window changes, and the pool comes and
 * goes. Every ticket must be told once within ten seconds, and nothing may be lost.
 */
#include <coppice/effect.h>
#include <coppice/pool.h>

#include "tests/stress/common.h"

enum { HELD = 64, PATIENCE_MS = 10000 };

enum { TOLD, TOLD_ONCE, IN_ORDER, IN_TIME, NOTHING_LOST, LAST_WINS, EMPTY_QUEUE };
static const char *const properties[] = {
    "every ticket ends within 10 s although nobody waits for it",
    "a ticket's function is called once",
    "tickets of a thread are decided in its order",
    "who did not set a deadline is not told of one",
    "no increment is lost or done twice",
    "the last write of a thread is what stands",
    "nothing is queued at the end",
};

static cop_store *store;
static cop_atom counter, own[STRESS_THREADS];
static _Atomic int64_t added;

typedef struct call {
    _Atomic unsigned calls, destroyed;
    _Atomic bool timed_out, may_time_out;
} call;

typedef struct caller {
    unsigned index;
    stress_random random;
    cop_ticket *tickets[HELD];
    call calls[HELD];
    unsigned count;
    int64_t sequence;
    uint64_t last;
} caller;

static void
called(void *context, cop_status outcome, uint64_t version)
{
    call *c = context;

    (void)version;
    atomic_store(&c->timed_out, outcome == COP_E_TIMEOUT);
    atomic_fetch_add(&c->calls, 1);
}

static void
call_destroyed(void *context)
{
    atomic_fetch_add(&((call *)context)->destroyed, 1);
}

static void
submit_one(caller *c)
{
    cop_value one = cop_i64(1), sequence = cop_i64(++c->sequence);
    unsigned kind = (unsigned)stress_below(&c->random, 8);
    cop_txn *txn = NULL;
    call *told = &c->calls[c->count];
    cop_ticket **ticket = &c->tickets[c->count++];

    stress_need(cop_txn_begin(store, &txn), "begin");
    stress_need(cop_txn_add(txn, counter, &one), "add");
    stress_need(cop_txn_set(txn, own[c->index], &sequence), "set");
    stress_need(cop_txn_submit(txn, ticket), "submit");
    atomic_fetch_add(&added, 1);
    atomic_store(&told->calls, 0);
    atomic_store(&told->timed_out, false);
    atomic_store(&told->may_time_out, kind < 2);
    atomic_store(&told->destroyed, kind < 4 ? 0 : 1);
    if (kind < 4)
        stress_need(cop_ticket_on_done(*ticket, called, told, call_destroyed,
                                       kind == 0   ? cop_deadline_in_ms(1)
                                       : kind == 1 ? cop_deadline_in_ms(PATIENCE_MS)
                                                   : COP_FOREVER),
                    "on_done");
    else
        atomic_store(&told->calls, 1);
}

/* True when it came true before the patience ended. */
static bool
comes(caller *c, unsigned i)
{
    uint64_t end = stress_now_ns() + UINT64_C(1000000) * PATIENCE_MS;

    while (cop_ticket_poll(c->tickets[i], NULL) == COP_E_PENDING ||
           atomic_load(&c->calls[i].destroyed) == 0) {
        if (stress_now_ns() > end)
            return false;
        stress_sleep_us(100);
    }
    return true;
}

static bool
settle(caller *c)
{
    uint64_t version = 0;

    for (unsigned i = 0; i < c->count; i++) {
        bool came = comes(c, i);
        stress_check(TOLD, came, "thread %u, ticket %u of %u", c->index, i, c->count);
        if (!came)
            return false;
        stress_check(TOLD_ONCE, atomic_load(&c->calls[i].calls) == 1, "%u calls",
                     atomic_load(&c->calls[i].calls));
        stress_check(IN_TIME,
                     atomic_load(&c->calls[i].may_time_out) || !atomic_load(&c->calls[i].timed_out),
                     "thread %u, ticket %u", c->index, i);
        stress_need(cop_ticket_poll(c->tickets[i], &version), "poll");
        stress_check(IN_ORDER, version >= c->last, "%" PRIu64 " after %" PRIu64, version, c->last);
        c->last = version;
        cop_ticket_release(c->tickets[i]);
    }
    c->count = 0;
    return true;
}

static void *
body(void *context)
{
    caller c = {.index = (unsigned)(uintptr_t)context};
    int64_t got = -1;
    uint64_t n = 0;

    c.random = stress_random_of(c.index);
    for (bool on = true; on && !stress_over(); n++) {
        uint64_t burst = 1 + stress_below(&c.random, HELD);
        for (uint64_t i = 0; i < burst; i++) {
            submit_one(&c);
            if (stress_below(&c.random, 8) == 0)
                stress_sleep_us((unsigned)stress_below(&c.random, 1500));
        }
        on = settle(&c);
        cop_pin_t pin = cop_pin(store);
        stress_need(cop_get_i64(pin.snapshot, own[c.index], &got), "get");
        cop_unpin(pin);
        if (on)
            stress_check(LAST_WINS, got == c.sequence, "%" PRId64 ", should be %" PRId64, got,
                         c.sequence);
        else
            atomic_store(&stress.stop, true);
    }
    stress_count(n);
    return NULL;
}

/* Changes the window and the bounds, and takes the pool away now and then: in the first half of the
 * time, because that commits what was forgotten. */
static _Atomic bool finished;
static cop_pool *pools[2];

static void *
change(void *context)
{
    stress_random random = stress_random_of(1000);

    (void)context;
    uint64_t end = stress_now_ns() + stress.seconds * UINT64_C(500000000);
    for (unsigned n = 0; !atomic_load(&finished) && stress_now_ns() < end; n++) {
        cop_options options = COP_OPTIONS_INIT;
        stress_sleep_us(5000);
        stress_need(cop_store_options(store, &options), "options");
        options.batch_window_ms = 1 + stress_below(&random, 3);
        options.batch_max_transactions =
            stress_below(&random, 3) == 0 ? 1024 : 1 + stress_below(&random, 40);
        if (n % 50 == 49)
            stress_need(cop_store_reconfigure(store, &options, COP_FOREVER, NULL), "reconfigure");
        if (n % 50 == 24)
            stress_need(cop_store_set_pool(store, pools[n / 50 % 2]), "set_pool");
        if (n % 100 == 74)
            stress_need(cop_pool_resize(pools[0], (uint32_t)stress_below(&random, 3)), "resize");
    }
    stress_need(cop_store_set_pool(store, pools[1]), "set_pool"); /* has threads */
    return NULL;
}

static cop_atom
make(const char *path)
{
    cop_atom atom;

    stress_need(cop_atom_at(store, path, strlen(path), &atom, NULL), "atom_at");
    cop_txn *txn = NULL;
    cop_value zero = cop_i64(0);
    stress_need(cop_txn_begin(store, &txn), "begin");
    stress_need(cop_txn_set(txn, atom, &zero), "set");
    stress_need(cop_txn_commit(txn, NULL, NULL), "commit");
    return atom;
}

static void
at_end(void)
{
    cop_stats stats = COP_STATS_INIT;
    cop_pin_t pin = cop_pin(store);
    int64_t got = -1;

    stress_need(cop_get_i64(pin.snapshot, counter, &got), "get");
    cop_unpin(pin);
    stress_check(NOTHING_LOST, got == atomic_load(&added), "%" PRId64 ", should be %" PRId64, got,
                 atomic_load(&added));
    stress_need(cop_stats_take(store, &stats), "stats");
    stress_check(EMPTY_QUEUE, stats.queued == 0, "%" PRIu64 " queued", stats.queued);
    printf("%" PRIu64 " transactions in %" PRIu64 " batches of %" PRIu64 " windows\n",
           stats.transactions, stats.batches, stats.windows);
}

int
main(int argc, char **argv)
{
    pthread_t changer;
    char path[32];

    stress_start(argc, argv, 4);
    stress_properties(properties, sizeof properties / sizeof *properties);
    stress_at_end(NOTHING_LOST);
    stress_at_end(EMPTY_QUEUE);
    stress_open(&store, 1);
    counter = make("counter");
    for (unsigned i = 0; i < stress.threads; i++) {
        snprintf(path, sizeof path, "own/%u", i);
        own[i] = make(path);
    }
    for (unsigned i = 0; i < 2; i++) {
        cop_pool_options options = COP_POOL_OPTIONS_INIT;
        options.threads = 1 + i;
        stress_need(cop_pool_open(&options, &pools[i], NULL), "pool");
    }
    stress_need(cop_store_set_pool(store, pools[1]), "set_pool");
    if (pthread_create(&changer, NULL, change, NULL) != 0)
        return 1;
    stress_run(stress.threads, body);
    atomic_store(&finished, true);
    pthread_join(changer, NULL);
    if (atomic_load(&stress.stop)) {
        stress_finish();
        _exit(1);
    }
    at_end();
    cop_store_close(store);
    cop_pool_close(pools[0]);
    cop_pool_close(pools[1]);
    return stress_finish();
}

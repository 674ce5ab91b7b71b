/* SPDX-License-Identifier: MIT */
/*
 * Counters. Threads increment them by cop_transact, cop_txn_add, cop_txn_compare_set and by tickets,
 * some taken back; nothing may be lost or done twice. Versions must grow with real time, and every
 * ticket must end in exactly one outcome, within ten seconds.
 */
#include "tests/stress/common.h"

enum { BURST = 16, PATIENCE_MS = 10000, CALLERS = STRESS_THREADS };

enum {
    TRANSACT_LOST,
    ADD_LOST,
    COMPARE_LOST,
    MAX_KEPT,
    ONE_OUTCOME,
    CANCEL_TOLD,
    IN_ORDER,
    LAST_WINS,
    VISIBLE,
    REAL_TIME,
    MONOTONIC,
    EMPTY_QUEUE,
    COMES_BACK,
};
static const char *const properties[] = {
    "no increment by cop_transact is lost or done twice",
    "no addition is lost or done twice",
    "cop_txn_compare_set tells the truth",
    "the greatest candidate stays",
    "a ticket ends within 10 s, in one outcome",
    "what could be taken back has no effect, what could not has one",
    "tickets of a thread are decided in its order",
    "the last write of a thread is what stands",
    "a version is visible when its commit returns",
    "a commit has a later version than all that was seen before it began",
    "versions seen by a thread never decrease",
    "nothing is queued at the end",
    "every call comes back within 10 s",
};

static cop_store *store;
static cop_atom by_transact, by_add, by_compare, by_max, own[CALLERS];
static _Atomic int64_t transacts, additions, compares, greatest;
static _Atomic uint64_t latest;          /* the greatest version that anybody has seen */
static _Atomic uint64_t begun[CALLERS];  /* when each thread's call began, 0: none runs */
static _Atomic bool finished;

typedef struct caller {
    unsigned index;
    stress_random random;
    uint64_t last_seen;
    int64_t sequence; /* of the writes to the thread's own atom */
} caller;

static void
raise_u64(_Atomic uint64_t *to, uint64_t value)
{
    uint64_t now = atomic_load(to);

    while (now < value && !atomic_compare_exchange_weak(to, &now, value))
        continue;
}

static void
saw_version(caller *c, uint64_t version, uint64_t before)
{
    stress_check(MONOTONIC, version >= c->last_seen && version >= before,
                 "thread %u: %" PRIu64 " after %" PRIu64 " and %" PRIu64, c->index, version,
                 c->last_seen, before);
    c->last_seen = version;
    raise_u64(&latest, version);
}

/* A commit with a net change that began when `before` had been seen gave this version. */
static void
committed(caller *c, uint64_t version, uint64_t before)
{
    stress_check(REAL_TIME, version > before, "thread %u: %" PRIu64 " after %" PRIu64, c->index,
                 version, before);
    stress_check(VISIBLE, cop_store_version(store) >= version, "version %" PRIu64, version);
    saw_version(c, cop_store_version(store), version);
}

static cop_txn *
begin(void)
{
    cop_txn *txn = NULL;

    stress_need(cop_txn_begin(store, &txn), "begin");
    return txn;
}

/* --- what threads do ----------------------------------------------------------------------- */

static cop_status
increment(cop_txn *txn, void *context)
{
    cop_value value;
    cop_status status = cop_txn_get(txn, by_transact, &value);

    (void)context;
    if (status != COP_OK)
        return status;
    value = cop_i64(cop_value_i64(&value) + 1);
    return cop_txn_set(txn, by_transact, &value);
}

static void
do_transact(caller *c)
{
    uint64_t before = atomic_load(&latest), version = 0;

    stress_need(cop_transact(store, increment, NULL, cop_deadline_in_ms(PATIENCE_MS), &version),
                "transact");
    atomic_fetch_add(&transacts, 1);
    committed(c, version, before);
}

static void
do_add(caller *c)
{
    uint64_t before = atomic_load(&latest), version = 0;
    cop_value one = cop_i64(1);
    cop_txn *txn = begin();

    stress_need(cop_txn_add(txn, by_add, &one), "add");
    stress_need(cop_txn_commit(txn, &version, NULL), "commit");
    atomic_fetch_add(&additions, 1);
    committed(c, version, before);
}

/* Handed over and forgotten: accepted means published. */
static void
do_add_without_ticket(caller *c)
{
    cop_value one = cop_i64(1);
    cop_txn *txn = begin();

    (void)c;
    stress_need(cop_txn_add(txn, by_add, &one), "add");
    stress_need(cop_txn_submit(txn, NULL), "submit");
    atomic_fetch_add(&additions, 1);
}

static void
do_compare(caller *c)
{
    cop_pin_t pin = cop_pin(store);
    cop_value was, next;
    bool applied = false;
    uint64_t version = 0;
    cop_txn *txn;

    stress_need(cop_get(pin.snapshot, by_compare, &was), "get");
    cop_unpin(pin);
    next = cop_i64(cop_value_i64(&was) + 1);
    txn = begin();
    stress_need(cop_txn_compare_set(txn, by_compare, &was, &next, &applied), "compare_set");
    stress_need(cop_txn_commit(txn, &version, NULL), "commit");
    if (applied)
        atomic_fetch_add(&compares, 1);
    saw_version(c, cop_store_version(store), version);
}

static void
do_max(caller *c)
{
    int64_t candidate = (int64_t)stress_below(&c->random, UINT64_C(1) << 40);
    int64_t now = atomic_load(&greatest);
    cop_value value = cop_i64(candidate);
    cop_txn *txn = begin();

    stress_need(cop_txn_max(txn, by_max, &value), "max");
    stress_need(cop_txn_commit(txn, NULL, NULL), "commit");
    while (now < candidate && !atomic_compare_exchange_weak(&greatest, &now, candidate))
        continue;
}

static void
do_look(caller *c)
{
    uint64_t before = atomic_load(&latest);
    cop_pin_t pin = cop_pin(store);

    saw_version(c, cop_snapshot_version(pin.snapshot), before);
    cop_unpin(pin);
    if (stress_below(&c->random, 2))
        stress_need(cop_store_poll(store), "poll");
    else
        stress_need(cop_flush(store, COP_FOREVER), "flush");
}

static cop_ticket *
submit_one(caller *c)
{
    cop_value one = cop_i64(1), sequence = cop_i64(++c->sequence);
    cop_ticket *ticket = NULL;
    cop_txn *txn = begin();

    stress_need(cop_txn_add(txn, by_add, &one), "add");
    stress_need(cop_txn_set(txn, own[c->index], &sequence), "set");
    stress_need(cop_txn_submit(txn, &ticket), "submit");
    return ticket;
}

/* Waits for one ticket and checks its outcome; true when it was committed. */
static bool
settle(caller *c, cop_ticket *ticket, bool taken_back, uint64_t *version)
{
    cop_status expected = taken_back ? COP_E_CANCELLED : COP_OK, again;
    cop_status status =
        cop_ticket_wait(ticket, cop_deadline_in_ms(PATIENCE_MS), version, NULL);

    again = cop_ticket_poll(ticket, NULL);
    stress_check(ONE_OUTCOME, status != COP_E_TIMEOUT && again == status, "thread %u: %s, then %s",
                 c->index, cop_status_name(status), cop_status_name(again));
    stress_check(CANCEL_TOLD, status == expected, "thread %u: %s, should be %s", c->index,
                 cop_status_name(status), cop_status_name(expected));
    if (status != expected)
        atomic_store(&stress.stop, true);
    cop_ticket_release(ticket);
    return status == COP_OK;
}

static void
do_tickets(caller *c)
{
    cop_ticket *tickets[BURST];
    bool taken_back[BURST];
    unsigned n = 1 + (unsigned)stress_below(&c->random, BURST);
    uint64_t before = atomic_load(&latest), last = 0, version = 0;
    int64_t stands = c->sequence, first = c->sequence + 1, got = 0;
    cop_pin_t pin;

    for (unsigned i = 0; i < n; i++) {
        tickets[i] = submit_one(c);
        taken_back[i] = stress_below(&c->random, 8) == 0 &&
                        cop_ticket_cancel(tickets[i]) == COP_OK;
    }
    for (unsigned i = 0; i < n; i++) {
        if (!settle(c, tickets[i], taken_back[i], &version))
            continue;
        atomic_fetch_add(&additions, 1);
        stress_check(IN_ORDER, version >= last, "thread %u: %" PRIu64 " after %" PRIu64, c->index,
                     version, last);
        last = version;
        stands = first + i;
        committed(c, version, before);
    }
    if (stands < first) { /* all were taken back: what stood before still does */
        c->sequence = stands;
        return;
    }
    pin = cop_pin(store);
    stress_need(cop_get_i64(pin.snapshot, own[c->index], &got), "get");
    cop_unpin(pin);
    stress_check(LAST_WINS, got == stands, "thread %u: %" PRId64 ", should be %" PRId64, c->index,
                 got, stands);
}

static void
one_call(caller *c)
{
    static void (*const calls[])(caller *) = {do_transact, do_transact, do_add,     do_add,
                                              do_compare,  do_max,      do_tickets, do_tickets,
                                              do_look,     do_add_without_ticket};

    calls[stress_below(&c->random, sizeof calls / sizeof *calls)](c);
}

static void *
body(void *context)
{
    caller c = {.index = (unsigned)(uintptr_t)context};
    uint64_t n = 0;

    c.random = stress_random_of(c.index);
    for (; !stress_over(); n++) {
        atomic_store(&begun[c.index], stress_now_ns());
        one_call(&c);
        atomic_store(&begun[c.index], 0);
    }
    stress_count(n);
    return NULL;
}

/* Ends the program when a call does not come back: nothing can be waited for then. */
static void *
watch_calls(void *context)
{
    (void)context;
    while (!atomic_load(&finished)) {
        stress_sleep_us(100000);
        for (unsigned i = 0; i < stress.threads; i++) {
            uint64_t start = atomic_load(&begun[i]), now = stress_now_ns();
            bool back = start == 0 || now < start ||
                        now - start < UINT64_C(1000000) * (PATIENCE_MS + 2000);
            stress_check(COMES_BACK, back, "thread %u waits", i);
            if (!back) {
                stress_finish();
                _exit(1);
            }
        }
    }
    return NULL;
}

/* --- before and after ------------------------------------------------------------------------ */

static cop_atom
make(const char *path)
{
    cop_atom atom;
    cop_value zero = cop_i64(0);
    cop_txn *txn = begin();

    stress_need(cop_txn_set_at(txn, path, strlen(path), &zero, NULL), "set_at");
    stress_need(cop_txn_commit(txn, NULL, NULL), "commit");
    stress_need(cop_atom_find(store, path, strlen(path), &atom), "find");
    return atom;
}

static void
check_counter(unsigned property, cop_atom atom, int64_t expected)
{
    cop_pin_t pin = cop_pin(store);
    int64_t got = -1;

    stress_need(cop_get_i64(pin.snapshot, atom, &got), "get");
    cop_unpin(pin);
    stress_check(property, got == expected, "%" PRId64 ", should be %" PRId64, got, expected);
}

int
main(int argc, char **argv)
{
    cop_stats stats = COP_STATS_INIT;
    pthread_t watch;
    char path[32];

    stress_start(argc, argv, 6);
    stress_properties(properties, sizeof properties / sizeof *properties);
    stress_at_end(TRANSACT_LOST);
    stress_at_end(ADD_LOST);
    stress_at_end(COMPARE_LOST);
    stress_at_end(MAX_KEPT);
    stress_at_end(EMPTY_QUEUE);
    stress_open(&store, 0);
    by_transact = make("counter/transact");
    by_add = make("counter/add");
    by_compare = make("counter/compare");
    by_max = make("counter/max");
    for (unsigned i = 0; i < stress.threads; i++) {
        snprintf(path, sizeof path, "own/%u", i);
        own[i] = make(path);
    }
    if (pthread_create(&watch, NULL, watch_calls, NULL) != 0)
        return 1;
    stress_run(stress.threads, body);
    if (atomic_load(&stress.stop)) { /* a ticket without an outcome: close would wait for it */
        stress_finish();
        _exit(1);
    }
    stress_need(cop_flush(store, cop_deadline_in_ms(PATIENCE_MS)), "flush");
    check_counter(TRANSACT_LOST, by_transact, atomic_load(&transacts));
    check_counter(ADD_LOST, by_add, atomic_load(&additions));
    check_counter(COMPARE_LOST, by_compare, atomic_load(&compares));
    check_counter(MAX_KEPT, by_max, atomic_load(&greatest));
    stress_need(cop_stats_take(store, &stats), "stats");
    stress_check(EMPTY_QUEUE, stats.queued == 0, "%" PRIu64 " queued", stats.queued);
    atomic_store(&finished, true);
    pthread_join(watch, NULL);
    printf("%" PRIu64 " versions, %" PRIu64 " transactions, %" PRIu64 " conflicts, %" PRIu64
           " batches\n",
           stats.version, stats.transactions, stats.transactions_conflict, stats.batches);
    cop_store_close(store);
    return stress_finish();
}

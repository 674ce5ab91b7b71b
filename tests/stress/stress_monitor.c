/* SPDX-License-Identifier: MIT */
/*
 * Measurements are whole: while threads commit, submit and record, others take measurements, and in
 * each the parts of commits add up to the commits, nothing that was there before is missing, and at
 * the end everything is there once. Of a second store the monitor is switched on and off, traced, and
 * tells of overruns meanwhile.
 */
#include "tests/stress/common.h"

#include "monitor/monitor.h"

enum { ADD_UP, SAME_COUNT, GROWS, BOUNDED, COMPLETE, NOTIFIED, ENDED };
static const char *const properties[] = {
    "the sums of the parts are the sum of the commits",
    "every part, batch and size has as many samples as there are commits",
    "nothing that was measured is missing later",
    "no more is measured than was done",
    "at the end every commit has been measured once",
    "at the end everything recorded from outside is there once",
    "each function to call is destroyed once, and not called afterwards",
};

enum { TAKERS = 2 };
static cop_store *store;
static cop_store *switched; /* its monitor is started, stopped and traced all the time */
static cop_atom atoms[STRESS_THREADS];
static _Atomic uint64_t recorded, recorded_sum, taken_times;

static cop_distribution
of(const cop_measurements *m, cop_measure measure)
{
    cop_distribution d = COP_DISTRIBUTION_INIT;
    stress_need(cop_measurements_of(m, measure, &d), "distribution");
    return d;
}

static void
check_whole(const cop_measurements *m)
{
    cop_distribution commit = of(m, COP_MEASURE_COMMIT);
    uint64_t sum = 0;
    bool same = of(m, COP_MEASURE_BATCH).count == commit.count &&
                of(m, COP_MEASURE_OPERATIONS).count == commit.count;
    for (unsigned part = 0; part < COP_MONITOR_PARTS; part++) {
        cop_distribution d = of(m, (cop_measure)part);
        sum += d.sum;
        same = same && d.count == commit.count;
    }
    stress_check(ADD_UP, sum == commit.sum, "%" PRIu64 " and %" PRIu64, sum, commit.sum);
    stress_check(SAME_COUNT, same, "%" PRIu64 " commits", commit.count);
}

static void
take(uint64_t *before)
{
    cop_measurements *m = NULL;
    stress_need(cop_monitor_take(store, COP_FOREVER, &m), "take");
    uint64_t after = atomic_load(&recorded);
    check_whole(m);
    uint64_t notified = of(m, COP_MEASURE_NOTIFY).count;
    for (unsigned i = 0; i < COP_MEASURES; i++) {
        uint64_t now = of(m, (cop_measure)i).count;
        stress_check(GROWS, now >= before[i], "%s: %" PRIu64 " after %" PRIu64,
                     cop_measure_name((cop_measure)i), now, before[i]);
        before[i] = now;
    }
    stress_check(BOUNDED, notified <= after, "%" PRIu64 " of %" PRIu64, notified, after);
    cop_measurements_free(m);
    atomic_fetch_add(&taken_times, 1);
}

static void
write_one(unsigned index, stress_random *random)
{
    cop_txn *txn = NULL;
    cop_value value = cop_i64((int64_t)(stress_next(random) >> 8));
    stress_need(cop_txn_begin(store, &txn), "begin");
    stress_need(cop_txn_set(txn, atoms[index], &value), "set");
    if (stress_below(random, 4) == 0)
        stress_need(cop_txn_submit(txn, NULL), "submit");
    else
        stress_need(cop_txn_commit(txn, NULL, NULL), "commit");
}

static void
record_one(stress_random *random)
{
    uint64_t ns = stress_next(random) >> (20 + stress_below(random, 40));
    atomic_fetch_add(&recorded, 1); /* before: what is taken is never more */
    atomic_fetch_add(&recorded_sum, ns);
    cop__monitor_record(store, COP_MEASURE_NOTIFY, ns);
}

/* ---- the store whose monitor is switched ---- */

typedef struct callee {
    _Atomic uint32_t ended;
    struct callee *next;
} callee;
static _Atomic(callee *) callees;

static void
on_overrun(void *context, const cop_overrun *overrun, uint64_t untold)
{
    (void)overrun;
    (void)untold;
    stress_check(ENDED, atomic_load(&((callee *)context)->ended) == 0, "called after its end");
}

static void
on_end(void *context)
{
    atomic_fetch_add(&((callee *)context)->ended, 1);
}

static void
start_switched(void)
{
    cop_monitor_options options = COP_MONITOR_OPTIONS_INIT;
    callee *c = calloc(1, sizeof *c);
    if (c == NULL)
        _exit(1);
    options.sample_every = 1;
    options.commit_budget_ns = options.notify_budget_ns = 1;
    options.overrun = on_overrun;
    options.overrun_context = c;
    options.overrun_destroy = on_end;
    options.overruns_per_second = 1000000;
    stress_need(cop_monitor_start(switched, &options, NULL), "start");
    c->next = atomic_load(&callees);
    while (!atomic_compare_exchange_weak(&callees, &c->next, c))
        ;
}

static int
swallow(void *context, const char *bytes, size_t n)
{
    (void)context;
    (void)bytes;
    (void)n;
    return 0;
}

static void
switch_something(stress_random *random)
{
    switch (stress_below(random, 5)) {
    case 0:
        stress_need(cop_monitor_stop(switched), "stop");
        break;
    case 1:
        (void)cop_trace_start(switched, 500); /* or the monitor is off */
        break;
    case 2:
        stress_need(cop_trace_stop(switched), "trace_stop");
        (void)cop_trace_write(switched, swallow, NULL); /* or another has started one */
        break;
    default:
        start_switched();
    }
}

static void
use_switched(stress_random *random)
{
    uint64_t dice = stress_below(random, 64);
    cop_txn *txn = NULL;
    cop_value value = cop_i64((int64_t)dice);
    if (dice == 0) {
        switch_something(random);
        return;
    }
    if (dice < 20) {
        cop__monitor_notified(switched, "w", 1, stress_next(random) >> 40);
        return;
    }
    stress_need(cop_txn_begin(switched, &txn), "begin");
    stress_need(cop_txn_set_at(txn, "x", 1, &value, NULL), "set_at");
    stress_need(cop_txn_commit(txn, NULL, NULL), "commit");
}

static void
take_switched(void)
{
    cop_measurements *m = NULL;
    stress_need(cop_monitor_take(switched, COP_FOREVER, &m), "take");
    check_whole(m);
    cop_measurements_free(m);
}

static void
end_switched(void)
{
    cop_store_close(switched);
    for (callee *c = atomic_load(&callees), *next; c != NULL; c = next) {
        uint32_t ended = atomic_load(&c->ended);
        next = c->next;
        stress_check(ENDED, ended == 1, "ended %" PRIu32 " times", ended);
        free(c);
    }
}

static void *
body(void *context)
{
    unsigned index = (unsigned)(uintptr_t)context;
    stress_random random = stress_random_of(index);
    uint64_t before[COP_MEASURES] = {0}, n = 0;
    for (; !stress_over(); n++) {
        if (index < TAKERS && n % 4 == 3)
            take_switched();
        else if (index < TAKERS)
            take(before);
        else if (stress_below(&random, 4) == 0)
            use_switched(&random);
        else if (stress_below(&random, 2) == 0)
            record_one(&random);
        else
            write_one(index, &random);
    }
    stress_count(n);
    return NULL;
}

static void
check_end(void)
{
    cop_measurements *m = NULL;
    cop_stats stats = COP_STATS_INIT;
    stress_need(cop_flush(store, cop_deadline_in_ms(10000)), "flush");
    stress_need(cop_stats_take(store, &stats), "stats");
    stress_need(cop_monitor_take(store, COP_FOREVER, &m), "take");
    check_whole(m);
    cop_distribution commit = of(m, COP_MEASURE_COMMIT), notify = of(m, COP_MEASURE_NOTIFY);
    stress_check(COMPLETE,
                 commit.count == stats.batches &&
                     of(m, COP_MEASURE_BATCH).sum == stats.transactions,
                 "%" PRIu64 " commits measured of %" PRIu64, commit.count, stats.batches);
    stress_check(NOTIFIED,
                 notify.count == atomic_load(&recorded) && notify.sum == atomic_load(&recorded_sum),
                 "%" PRIu64 " of %" PRIu64, notify.count, atomic_load(&recorded));
    printf("%" PRIu64 " commits, %" PRIu64 " recordings, taken %" PRIu64 " times\n", commit.count,
           notify.count, atomic_load(&taken_times));
    cop_measurements_free(m);
}

int
main(int argc, char **argv)
{
    cop_monitor_options options = COP_MONITOR_OPTIONS_INIT;
    char path[32];
    stress_start(argc, argv, 6);
    stress_properties(properties, sizeof properties / sizeof *properties);
    stress_at_end(COMPLETE);
    stress_at_end(NOTIFIED);
    stress_open(&store, 0);
    options.sample_every = 1;
    stress_need(cop_monitor_start(store, &options, NULL), "start");
    for (unsigned i = 0; i < stress.threads; i++) {
        int n = snprintf(path, sizeof path, "own/%u", i);
        stress_need(cop_atom_at(store, path, (size_t)n, &atoms[i], NULL), "atom");
    }
    stress_open(&switched, 0);
    start_switched();
    stress_run(stress.threads, body);
    check_end();
    cop_store_close(store);
    end_switched();
    return stress_finish();
}

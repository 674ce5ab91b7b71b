/* SPDX-License-Identifier: MIT */
/* Budgets of the monitor: what is counted, kept and told; which computed atoms are hot. */
#include <pthread.h>
#include <time.h>

#include "monitor/monitor.h"
#include "tests/support/store_test.h"

#define MS UINT64_C(1000000)
#define BUDGET (40 * MS) /* longer than a busy machine keeps a quick commit waiting */
#define OVER (BUDGET + MS)

static void
nap(unsigned ms)
{
    struct timespec t = {0, (long)ms * 1000000};
    nanosleep(&t, NULL);
}

/* ---- computed atoms that take their time ---- */

typedef struct slow {
    cop_atom source, other;
    unsigned ms;
    bool constant, wanders;
} slow;

static cop_status
slow_run(cop_evaluation *evaluation, void *context, cop_value *result)
{
    const slow *s = context;
    cop_value value;
    cop_status status = cop_read(evaluation, s->source, &value);
    if (status == COP_OK && s->wanders && cop_value_i64(&value) % 2 == 0)
        status = cop_read(evaluation, s->other, &value);
    nap(s->ms);
    *result = s->constant ? cop_i64(7) : value;
    return status;
}

static cop_atom
define(cop_store *store, const char *path, slow *s)
{
    cop_atom atom;
    cop_error error = COP_ERROR_INIT;
    ck_assert_msg(cop_computed_define(store, P(path), slow_run, s, NULL, &atom, &error) == COP_OK,
                  "%s: %s", path, error.message);
    return atom;
}

/* ---- who is told ---- */

typedef struct told {
    cop_store *store;
    unsigned calls, destroyed;
    uint64_t untold;
    cop_overrun last;
    bool stops, commits, restarts;
    _Atomic bool inside, leave;
    bool lingers;
} told;

static void on_overrun(void *context, const cop_overrun *overrun, uint64_t untold);

static void
on_destroy(void *context)
{
    ((told *)context)->destroyed++;
}

static cop_monitor_options
options_to(told *t)
{
    cop_monitor_options options = COP_MONITOR_OPTIONS_INIT;
    options.sample_every = 1;
    options.commit_budget_ns = options.computed_budget_ns = options.notify_budget_ns = BUDGET;
    options.overrun = on_overrun;
    options.overrun_context = t;
    options.overrun_destroy = on_destroy;
    options.overruns_per_second = 1000;
    return options;
}

static void
on_overrun(void *context, const cop_overrun *overrun, uint64_t untold)
{
    told *t = context;
    t->calls++;
    t->untold += untold;
    t->last = *overrun;
    if (t->commits)
        t_set_at(t->store, "by/callback", cop_i64((int64_t)t->calls));
    if (t->stops) {
        CHECK_OK(cop_monitor_stop(t->store));
        CHECK_OK(cop_monitor_stop(t->store));
        ck_assert_uint_eq(t->destroyed, 0); /* it is still running */
    }
    if (t->restarts) {
        cop_monitor_options options = options_to(t);
        CHECK_OK(cop_monitor_start(t->store, &options, NULL));
        CHECK_OK(cop_monitor_start(t->store, &options, NULL));
        ck_assert_uint_eq(t->destroyed, 1); /* the one that never ran */
    }
    atomic_store(&t->inside, true);
    while (t->lingers && !atomic_load(&t->leave))
        nap(1);
}

static void
start(cop_store *store, told *t)
{
    cop_monitor_options options = options_to(t);
    t->store = store;
    CHECK_OK(cop_monitor_start(store, &options, NULL));
}

static cop_measurements *
taken(cop_store *store)
{
    cop_measurements *m = NULL;
    CHECK_OK(cop_monitor_take(store, COP_FOREVER, &m));
    return m;
}

START_TEST(a_slow_commit_is_told_with_its_cause)
{
    told t = {.commits = true};
    cop_store *store = t_open();
    cop_atom x = t_make(store, "x", cop_i64(1));
    slow s = {.source = x, .ms = 60}, quick = {.source = x};
    define(store, "slow/one", &s);
    define(store, "quick", &quick);
    start(store, &t);
    t_set(store, x, cop_i64(2)); /* the first is slow: what follows is looked at more closely */
    ck_assert_uint_eq(t.calls, 1);
    ck_assert_int_eq(t.last.kind, COP_OVERRUN_COMMIT);
    ck_assert_int_eq(t.last.worst_part, COP_MEASURE_PROPAGATE);
    ck_assert_uint_ge(t.last.took_ns, 60 * MS);
    ck_assert_uint_eq(t.last.budget_ns, BUDGET);
    ck_assert_uint_eq(t.last.version,
                      cop_store_version(store) - 1); /* and then it committed itself */
    ck_assert_uint_eq(t.last.operations, 1);
    ck_assert_str_eq(t.last.path, "");
    uint64_t sum = 0;
    for (unsigned i = 0; i < COP_OVERRUN_PARTS; i++)
        sum += t.last.part_ns[i];
    ck_assert_uint_eq(sum, t.last.took_ns);
    t_set(store, x, cop_i64(3));
    ck_assert_uint_eq(t.calls, 3); /* the run, and the commit */
    ck_assert_int_eq(t.last.kind, COP_OVERRUN_COMMIT);
    ck_assert_str_eq(t.last.path, "slow/one");
    cop_measurements *m = taken(store);
    cop_overrun worst;
    ck_assert_uint_eq(cop_measurements_overruns(m, COP_OVERRUN_COMMIT), 2);
    ck_assert_uint_eq(cop_measurements_overruns(m, COP_OVERRUN_COMPUTED), 1);
    ck_assert_uint_eq(cop_measurements_overruns(m, COP_OVERRUNS), 0);
    ck_assert(cop_measurements_worst(m, COP_OVERRUN_COMPUTED, 0, &worst));
    ck_assert_str_eq(worst.path, "slow/one");
    ck_assert(!cop_measurements_worst(m, COP_OVERRUN_COMPUTED, 1, &worst));
    ck_assert(!cop_measurements_worst(m, COP_OVERRUNS, 0, &worst));
    cop_hot hot;
    ck_assert(cop_measurements_hottest(m, 0, &hot));
    ck_assert_str_eq(hot.path, "slow/one");
    ck_assert(cop_measurements_hottest(m, 1, &hot));
    ck_assert_str_eq(hot.path, "quick");
    ck_assert(!cop_measurements_hottest(m, 2, &hot));
    cop_measurements_free(m);
    t_close(store);
    ck_assert_uint_eq(t.destroyed, 1);
}
END_TEST

START_TEST(an_unmeasured_commit_is_seen_too)
{
    told t = {0};
    cop_store *store = t_open();
    cop_atom x = t_make(store, "x", cop_i64(1));
    slow s = {.source = x, .ms = 60};
    define(store, "slow", &s);
    cop_monitor_options options = options_to(&t);
    options.sample_every = 1000;
    CHECK_OK(cop_monitor_start(store, &options, NULL));
    t.store = store;
    t_set(store, x, cop_i64(2));
    ck_assert_uint_eq(t.calls, 1);
    ck_assert_int_eq(t.last.worst_part, COP_MEASURE_COMMIT);
    ck_assert_uint_ge(t.last.took_ns, 20 * MS);
    atomic_load(&store->monitor)->apart_ns += 1000 * MS; /* as if somebody had set the clock */
    t_set(store, x, cop_i64(5));
    ck_assert_uint_eq(t.calls, 1);
    t_set(store, x, cop_i64(6));
    ck_assert_uint_eq(t.calls, 2);
    t_set(store, x, cop_i64(6)); /* publishes nothing */
    ck_assert_uint_eq(t.calls, 2);
    options.sample_every = 0; /* chosen by cost: none is, until one was slow */
    CHECK_OK(cop_monitor_start(store, &options, NULL));
    cop__monitor *monitor = atomic_load(&store->monitor);
    monitor->countdown = 100;
    t_set(store, x, cop_i64(3));
    ck_assert_uint_eq(monitor->countdown, 1);
    t_set(store, x, cop_i64(4));
    ck_assert_str_eq(t.last.path, "slow");
    t_close(store);
}
END_TEST

START_TEST(a_slow_delivery_is_told)
{
    told t = {0};
    cop_store *store = t_open();
    char *path = t_bytes(400, 1);
    uint64_t began = cop__realtime_ns();
    t_set_at(store, "x", cop_i64(1));
    cop__monitor_notified(store, P("a/b"), OVER); /* off: nothing */
    start(store, &t);
    cop__monitor_notified(store, P("a/b"), BUDGET);
    ck_assert_uint_eq(t.calls, 0);
    cop__monitor_notified(store, P("a/b"), BUDGET + 1);
    ck_assert_uint_eq(t.calls, 1);
    ck_assert_str_eq(t.last.path, "a/b");
    ck_assert_int_eq(t.last.kind, COP_OVERRUN_NOTIFY);
    ck_assert_int_eq(t.last.worst_part, COP_MEASURE_NOTIFY);
    ck_assert_uint_eq(t.last.version, cop_store_version(store));
    ck_assert_uint_eq(t.last.took_ns, BUDGET + 1);
    ck_assert_uint_eq(t.last.budget_ns, BUDGET);
    ck_assert(t.last.time_ns >= began && t.last.time_ns <= cop__realtime_ns());
    cop__monitor_notified(store, P(path), OVER);
    ck_assert_uint_eq(strlen(t.last.path), COP_OVERRUN_PATH - 1);
    cop__monitor_notified(store, path, COP_OVERRUN_PATH - 1, OVER);
    ck_assert_uint_eq(strlen(t.last.path), COP_OVERRUN_PATH - 1);
    cop__monitor_notified(store, path, COP_OVERRUN_PATH - 2, OVER);
    ck_assert_uint_eq(strlen(t.last.path), COP_OVERRUN_PATH - 2);
    cop_measurements *m = taken(store);
    ck_assert_uint_eq(cop_measurements_overruns(m, COP_OVERRUN_NOTIFY), 4);
    cop_measurements_free(m);
    free(path);
    t_close(store);
}
END_TEST

typedef struct slow_watcher {
    cop_watch *watch;
    unsigned told, overruns;
    char path[COP_OVERRUN_PATH];
} slow_watcher;

static void
take_long(void *context, cop_watch *watch, cop_watch_batch *batch)
{
    (void)watch, (void)batch;
    if (++((slow_watcher *)context)->told > 1)
        nap(5);
}

static void
close_it(void *context, const cop_overrun *overrun, uint64_t untold)
{
    slow_watcher *w = context;
    (void)untold;
    ck_assert_int_eq(overrun->kind, COP_OVERRUN_NOTIFY);
    memcpy(w->path, overrun->path, sizeof w->path);
    w->overruns++;
    cop_watch_close(w->watch); /* it is inside the function's call, so this does not wait */
}

START_TEST(deliveries_are_measured)
{
    slow_watcher w = {0};
    cop_store *store = t_open();
    cop_monitor_options options = COP_MONITOR_OPTIONS_INIT;
    options.notify_budget_ns = UINT64_MAX;
    CHECK_OK(cop_watch_open(store, P("a/*"), NULL, take_long, &w, &w.watch, NULL));
    t_set_at(store, "a/b", cop_i64(1));
    CHECK_OK(cop_store_poll(store)); /* off: nothing is recorded */
    CHECK_OK(cop_monitor_start(store, &options, NULL));
    t_set_at(store, "a/b", cop_i64(2));
    CHECK_OK(cop_store_poll(store));
    t_set_at(store, "b", cop_i64(2));
    CHECK_OK(cop_store_poll(store)); /* nothing is delivered */
    cop_measurements *m = taken(store);
    cop_distribution notify = COP_DISTRIBUTION_INIT;
    CHECK_OK(cop_measurements_of(m, COP_MEASURE_NOTIFY, &notify));
    ck_assert_uint_eq(notify.count, 1);
    ck_assert_uint_ge(notify.greatest, 5 * MS);
    cop_measurements_free(m);
    options.notify_budget_ns = 2 * MS;
    options.overrun = close_it;
    options.overrun_context = &w;
    CHECK_OK(cop_monitor_start(store, &options, NULL));
    t_set_at(store, "a/b", cop_i64(3));
    CHECK_OK(cop_store_poll(store));
    ck_assert_uint_eq(w.overruns, 1);
    ck_assert_str_eq(w.path, "a/*");
    t_set_at(store, "a/b", cop_i64(4));
    CHECK_OK(cop_store_poll(store));
    ck_assert_uint_eq(w.told, 3);
    t_close(store);
}
END_TEST

START_TEST(the_rate_of_telling_is_bounded)
{
    told t = {0};
    cop_store *store = t_open();
    cop_monitor_options options = options_to(&t);
    options.overruns_per_second = 5;
    CHECK_OK(cop_monitor_start(store, &options, NULL));
    uint64_t began = cop__clock_ns();
    for (unsigned i = 0; i < 1000; i++)
        cop__monitor_notified(store, P("w"), OVER);
    uint64_t took = cop__clock_ns() - began;
    ck_assert_uint_ge(t.calls, 5);
    ck_assert_uint_le(t.calls, 6 + took / (200 * MS));
    nap(250);
    cop__monitor_notified(store, P("w"), OVER);
    ck_assert_uint_eq(t.calls + t.untold, 1001); /* each is told or counted */
    cop_measurements *m = taken(store);
    ck_assert_uint_eq(cop_measurements_overruns(m, COP_OVERRUN_NOTIFY), 1001);
    cop_measurements_free(m);
    t_close(store);
}
END_TEST

START_TEST(the_worst_are_kept_in_order)
{
    cop_store *store = t_open();
    cop_monitor_options options = COP_MONITOR_OPTIONS_INIT;
    options.notify_budget_ns = 1;
    CHECK_OK(cop_monitor_start(store, &options, NULL));
    for (unsigned i = 0; i < 100; i++) /* 37 is prime to 101: every one once */
        cop__monitor_notified(store, P("w"), 2 + (i * 37 + 5) % 101);
    cop_measurements *m = taken(store);
    cop_overrun overrun;
    for (unsigned i = 0; i < COP_WORST_MAX; i++) {
        ck_assert(cop_measurements_worst(m, COP_OVERRUN_NOTIFY, i, &overrun));
        ck_assert_uint_eq(overrun.took_ns, 102 - i);
    }
    ck_assert(!cop_measurements_worst(m, COP_OVERRUN_NOTIFY, COP_WORST_MAX, &overrun));
    cop_measurements_free(m);
    t_close(store);
}
END_TEST

START_TEST(nobody_need_be_told)
{
    cop_store *store = t_open();
    cop_atom x = t_make(store, "x", cop_i64(1));
    slow s = {.source = x, .ms = 20};
    define(store, "slow", &s);
    CHECK_OK(cop_monitor_start(store, NULL, NULL)); /* 16 ms: performance.budget_ms */
    t_set(store, x, cop_i64(2));
    cop_measurements *m = taken(store);
    ck_assert_uint_eq(cop_measurements_overruns(m, COP_OVERRUN_COMMIT), 1);
    cop_measurements_free(m);
    cop_monitor_options options = COP_MONITOR_OPTIONS_INIT;
    options.overrun_destroy = on_destroy;
    cop_error error = COP_ERROR_INIT;
    CHECK_STATUS(cop_monitor_start(store, &options, &error), COP_E_INVALID);
    t_close(store);
    cop_options none = COP_OPTIONS_INIT; /* no budget at all */
    none.performance_budget_ms = 0;
    CHECK_OK(cop_store_open(&none, &store, NULL));
    CHECK_OK(cop_monitor_start(store, NULL, NULL));
    cop__monitor_notified(store, P("w"), UINT64_MAX / 2);
    m = taken(store);
    ck_assert_uint_eq(cop_measurements_overruns(m, COP_OVERRUN_NOTIFY), 0);
    cop_measurements_free(m);
    cop_store_close(store);
}
END_TEST

/* Reconfiguring changes the budgets that are the store's option, and no others. */
START_TEST(the_option_changes)
{
    cop_store *store = t_open();
    cop_atom x = t_make(store, "x", cop_i64(1));
    slow s = {.source = x, .ms = 20};
    cop_options store_options = COP_OPTIONS_INIT;
    cop_monitor_options options = COP_MONITOR_OPTIONS_INIT;
    define(store, "slow", &s);
    CHECK_OK(cop_store_options(store, &store_options));
    store_options.performance_budget_ms = 10000; /* while there is no monitor */
    CHECK_OK(cop_store_reconfigure(store, &store_options, COP_FOREVER, NULL));
    options.notify_budget_ns = 3 * MS;
    options.sample_every = 1;
    CHECK_OK(cop_monitor_start(store, &options, NULL));
    t_set(store, x, cop_i64(2));
    store_options.performance_budget_ms = 5;
    CHECK_OK(cop_store_reconfigure(store, &store_options, COP_FOREVER, NULL));
    t_set(store, x, cop_i64(3));
    cop__monitor_notified(store, P("w"), 4 * MS);
    cop__monitor_notified(store, P("w"), 2 * MS);
    store_options.performance_budget_ms = 0;
    CHECK_OK(cop_store_reconfigure(store, &store_options, COP_FOREVER, NULL));
    t_set(store, x, cop_i64(4));
    cop_measurements *m = taken(store);
    cop_overrun overrun;
    ck_assert_uint_eq(cop_measurements_overruns(m, COP_OVERRUN_COMMIT), 1);
    ck_assert_uint_eq(cop_measurements_overruns(m, COP_OVERRUN_NOTIFY), 1);
    ck_assert(cop_measurements_worst(m, COP_OVERRUN_COMMIT, 0, &overrun));
    ck_assert_uint_eq(overrun.budget_ns, 5 * MS);
    cop_measurements_free(m);
    t_close(store);
}
END_TEST

START_TEST(stopping_inside_a_call)
{
    told t = {.stops = true};
    cop_store *store = t_open();
    start(store, &t);
    cop__monitor_notified(store, P("w"), OVER);
    ck_assert_uint_eq(t.calls, 1);
    ck_assert_uint_eq(t.destroyed, 1);
    cop__monitor_notified(store, P("w"), OVER);
    ck_assert_uint_eq(t.calls, 1);
    t_close(store);
    ck_assert_uint_eq(t.destroyed, 1);
}
END_TEST

START_TEST(starting_inside_a_call)
{
    told t = {.restarts = true};
    cop_store *store = t_open();
    start(store, &t);
    cop__monitor_notified(store, P("w"), OVER);
    ck_assert_uint_eq(t.calls, 1);
    ck_assert_uint_eq(t.destroyed, 2);
    t_close(store);
    ck_assert_uint_eq(t.destroyed, 3);
}
END_TEST

static void *
notify_slowly(void *context)
{
    told *t = context;
    cop__monitor_notified(t->store, P("w"), OVER);
    return NULL;
}

static void *
leave_soon(void *context)
{
    told *t = context;
    nap(20);
    cop__monitor_notified(t->store, P("w"), OVER); /* off by now, or the other one calls: nothing */
    atomic_store(&t->leave, true);
    return NULL;
}

START_TEST(stopping_waits_for_a_call)
{
    told t = {.lingers = true};
    pthread_t caller, helper;
    cop_store *store = t_open();
    start(store, &t);
    ck_assert_int_eq(pthread_create(&caller, NULL, notify_slowly, &t), 0);
    while (!atomic_load(&t.inside))
        nap(1);
    cop__monitor_notified(store, P("w"), OVER); /* one call at a time: left to the one inside */
    ck_assert_uint_eq(t.calls, 1);
    ck_assert_int_eq(pthread_create(&helper, NULL, leave_soon, &t), 0);
    CHECK_OK(cop_monitor_stop(store));
    ck_assert(atomic_load(&t.leave));
    ck_assert_uint_eq(t.destroyed, 1);
    pthread_join(caller, NULL);
    pthread_join(helper, NULL);
    ck_assert_uint_eq(t.calls, 1);
    t_close(store);
}
END_TEST

static cop_hot
hot_of(const cop_measurements *m, const char *path)
{
    cop_hot hot, other;
    ck_assert(cop_measurements_hottest(m, 0, &hot) && cop_measurements_hottest(m, 1, &other));
    ck_assert_uint_ge(hot.total_ns, other.total_ns);
    hot = strcmp(hot.path, path) == 0 ? hot : other;
    ck_assert_str_eq(hot.path, path);
    return hot;
}

START_TEST(hot_atoms_tell_what_their_runs_did)
{
    cop_store *store = t_open();
    cop_atom x = t_make(store, "x", cop_i64(1)), y = t_make(store, "y", cop_i64(1));
    slow same = {.source = x, .constant = true, .ms = 3};
    slow wanders = {.source = x, .other = y, .wanders = true, .ms = 1};
    define(store, "same", &same);
    define(store, "wanders", &wanders);
    cop_monitor_options options = COP_MONITOR_OPTIONS_INIT;
    options.sample_every = 1;
    CHECK_OK(cop_monitor_start(store, &options, NULL));
    atomic_load(&store->monitor)->armed = 1000000;
    for (unsigned i = 2; i < 12; i++)
        t_set(store, x, cop_i64((int64_t)i));
    cop_measurements *m = taken(store);
    cop_hot hot = hot_of(m, "same");
    ck_assert_uint_eq(hot.runs, 10);
    ck_assert_uint_eq(hot.same, 10);
    ck_assert_uint_eq(hot.relisted, 0);
    ck_assert_uint_ge(hot.total_ns, 30 * MS);
    ck_assert_uint_ge(hot.greatest_ns, 3 * MS);
    hot = hot_of(m, "wanders");
    ck_assert_uint_eq(hot.runs, 10);
    ck_assert_uint_lt(hot.same, 10);
    ck_assert_uint_ge(hot.relisted, 9);
    ck_assert(!cop_measurements_hottest(m, 2, &hot));
    cop_measurements_free(m);
    t_close(store);
}
END_TEST

/* Waves whose runs are timed come to what the others come to, with more nodes than are timed. */
START_TEST(timed_waves_are_right)
{
    enum { N = 1500 };
    static slow each[N];
    static cop_atom atom[N];
    char path[32];
    cop_store *store = t_open();
    cop_atom x = t_make(store, "x", cop_i64(1));
    for (unsigned i = 0; i < N; i++) {
        each[i] = (slow){.source = i % 3 == 0 ? x : atom[i - 1]};
        snprintf(path, sizeof path, "n/%u", i);
        atom[i] = define(store, path, &each[i]);
    }
    cop_monitor_options options = COP_MONITOR_OPTIONS_INIT;
    options.sample_every = 1;
    CHECK_OK(cop_monitor_start(store, &options, NULL));
    atomic_load(&store->monitor)->armed = 3;
    for (int64_t v = 2; v < 8; v++) {
        t_set(store, x, cop_i64(v));
        for (unsigned i = 0; i < N; i += 7)
            t_is_i64(store, atom[i], v);
    }
    t_close(store);
}
END_TEST

START_TEST(the_hottest_stay)
{
    static cop__budgets budgets;
    cop__hot hottest[COP_HOTTEST_MAX];
    cop__budgets_init(&budgets);
    for (uint32_t round = 0; round < 3; round++)
        for (uint32_t id = 1; id <= 5000; id++) {
            cop__timed_run run = {{id, 1}, id % 100 == 0 ? 1000000 + id : 10, false, false};
            cop__hot_add(&budgets, &run, 1);
        }
    uint32_t n = cop__hottest(&budgets, hottest, COP_HOTTEST_MAX);
    ck_assert_uint_eq(n, COP_HOTTEST_MAX);
    for (uint32_t i = 0; i < 50; i++) {
        ck_assert_uint_eq(hottest[i].atom.id, 5000 - 100 * i);
        ck_assert_uint_eq(hottest[i].runs, 3);
    }
    cop__budgets_end(&budgets);
}
END_TEST

START_TEST(what_is_written_most_stays)
{
    static cop__budgets budgets;
    unsigned found = 0;
    cop__budgets_init(&budgets);
    for (uint32_t round = 0; round < 4; round++)
        for (uint32_t id = 1; id <= 100; id++)
            cop__written_add(&budgets, (cop_atom){id, 1}, id <= 5 ? 1000 + id : 2);
    for (unsigned i = 0; i < COP_WRITTEN_MAX; i++)
        if (budgets.written[i].atom.id <= 5) {
            found++;
            ck_assert_uint_eq(budgets.written[i].batches, 4);
            ck_assert_uint_eq(budgets.written[i].writes, 4 * (1000 + budgets.written[i].atom.id));
        }
    ck_assert_uint_eq(found, 5);
    cop__budgets_end(&budgets);
}
END_TEST

/* Of the commits that are measured, the runs of some are timed without any cause. */
START_TEST(now_and_then_runs_are_timed)
{
    cop_store *store = t_open();
    cop_atom x = t_make(store, "x", cop_i64(1));
    slow s = {.source = x};
    define(store, "c", &s);
    cop_monitor_options options = COP_MONITOR_OPTIONS_INIT;
    options.sample_every = 1;
    options.commit_budget_ns = UINT64_MAX;
    CHECK_OK(cop_monitor_start(store, &options, NULL));
    for (int64_t i = 2; i < 1002; i++)
        t_set(store, x, cop_i64(i));
    cop_measurements *m = taken(store);
    cop_hot hot;
    ck_assert(cop_measurements_hottest(m, 0, &hot));
    ck_assert_uint_eq(hot.runs, 3); /* one in 256 */
    cop_measurements_free(m);
    t_close(store);
}
END_TEST

#ifndef COP_PRODUCTION
/* More atoms than there is room for: those written more often are told of. */
START_TEST(writes_are_counted_by_atom)
{
    static cop_atom atom[600];
    char path[32];
    cop_store *store = t_open();
    for (unsigned i = 0; i < 600; i++) {
        snprintf(path, sizeof path, "a/%u", i);
        atom[i] = t_make(store, path, cop_i64(0));
    }
    cop_monitor_options options = COP_MONITOR_OPTIONS_INIT;
    options.sample_every = 1;
    CHECK_OK(cop_monitor_start(store, &options, NULL));
    atomic_load(&store->monitor)->armed = 1;
    cop_txn *txn = t_begin(store);
    for (unsigned i = 0; i < 1200; i++) {
        cop_value value = cop_i64((int64_t)i + 1);
        CHECK_OK(cop_txn_set(txn, atom[i % 2 == 0 ? 7 : i / 2], &value));
    }
    t_commit(txn);
    const cop__written *most = &atomic_load(&store->monitor)->budgets->written[0];
    for (unsigned i = 1; i < COP_WRITTEN_MAX; i++)
        if (most[0].greatest < atomic_load(&store->monitor)->budgets->written[i].greatest)
            most = &atomic_load(&store->monitor)->budgets->written[i];
    ck_assert(SAME_ATOM(most->atom, atom[7]));
    ck_assert_uint_ge(most->greatest, 590);
    t_close(store);
}
END_TEST
#endif

static void
start_another(void *context)
{
    told *t = context;
    t->destroyed++;
    CHECK_OK(cop_monitor_start(t->store, NULL, NULL));
}

START_TEST(two_that_start_at_once)
{
    told t = {0};
    cop_store *store = t_open();
    cop_monitor_options options = options_to(&t);
    options.overrun_destroy = start_another;
    t.store = store;
    CHECK_OK(cop_monitor_start(store, &options, NULL));
    CHECK_OK(cop_monitor_start(store, NULL, NULL)); /* finds it started by the other's end */
    ck_assert_uint_eq(t.destroyed, 1);
    ck_assert(cop_monitor_running(store));
    t_close(store);
}
END_TEST

static void
close_inside(void *context)
{
    told *t = context;
    t->destroyed++;
    cop_store_close(t->store);
}

/* Who starts again ends who was told before, and that one closes the store. */
START_TEST(starting_in_a_store_that_closes)
{
    told t = {0};
    cop_store *store = t_open();
    cop_monitor_options options = options_to(&t);
    cop_error error = COP_ERROR_INIT;
    options.overrun_destroy = close_inside;
    t.store = store;
    CHECK_OK(cop_monitor_start(store, &options, NULL));
    CHECK_STATUS(cop_monitor_start(store, NULL, &error), COP_E_CLOSING);
    ck_assert_str_eq(error.message, cop_status_message(COP_E_CLOSING));
    ck_assert_uint_eq(t.destroyed, 1);
    t_all_released();
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_test(tests, what_is_written_most_stays);
    tcase_add_test(tests, now_and_then_runs_are_timed);
#ifndef COP_PRODUCTION
    tcase_add_test(tests, writes_are_counted_by_atom);
#endif
    tcase_add_test(tests, two_that_start_at_once);
    tcase_add_test(tests, a_slow_commit_is_told_with_its_cause);
    tcase_add_test(tests, an_unmeasured_commit_is_seen_too);
    tcase_add_test(tests, a_slow_delivery_is_told);
    tcase_add_test(tests, deliveries_are_measured);
    tcase_add_test(tests, the_rate_of_telling_is_bounded);
    tcase_add_test(tests, the_worst_are_kept_in_order);
    tcase_add_test(tests, nobody_need_be_told);
    tcase_add_test(tests, the_option_changes);
    tcase_add_test(tests, stopping_inside_a_call);
    tcase_add_test(tests, starting_inside_a_call);
    tcase_add_test(tests, stopping_waits_for_a_call);
    tcase_add_test(tests, hot_atoms_tell_what_their_runs_did);
    tcase_add_test(tests, timed_waves_are_right);
    tcase_add_test(tests, the_hottest_stay);
    tcase_add_test(tests, starting_in_a_store_that_closes);
}

int
main(void)
{
    return t_run("monitor budget", add);
}

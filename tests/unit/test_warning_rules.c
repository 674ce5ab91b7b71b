/* SPDX-License-Identifier: MIT */
/*
 * The rules of warnings one by one: exactly from which figure on they speak, what they say, and
 * which of too many are told.
 *
 * warnings.c is compiled into this program, with a clock, CPUs and workers that the test sets.
 * Measurements are put together by hand.
 */
#include "graph/inspect.h"
#include "monitor/measurements.h"
#include "tests/support/store_test.h"
#include "workers/cpus.h"
#include "workers/region.h"

#define MS UINT64_C(1000000)

static struct {
    uint64_t day;
    uint32_t cpus, lanes;
} world;

static uint64_t
world_day(void)
{
    return world.day;
}

static uint32_t
world_cpus(uint32_t *cpu, uint32_t most)
{
    ck_assert(cpu == NULL && most == 0);
    return world.cpus;
}

static uint32_t
world_lanes(const cop__region *region)
{
    (void)region;
    return world.lanes;
}

#define cop__realtime_ns world_day
#define cop__cpus_of_mask world_cpus
#define cop__region_lanes world_lanes
#include "monitor/warnings.c" /* NOLINT(bugprone-suspicious-include) */

static findings found;
static cop_measurements *measured; /* with room for 8 buckets */

static void
setup(void)
{
    const cop_warning_limits limits = COP_WARNING_LIMITS_INIT;

    memset(&world, 0, sizeof world);
    world.lanes = 1;
    memset(&found, 0, sizeof found);
    found.limits = limits;
    measured = calloc(1, sizeof *measured + 8 * sizeof(cop__used_bucket));
    ck_assert_ptr_nonnull(measured);
    found.measured = measured;
}

static void
teardown(void)
{
    free(measured);
}

/* What was noted since the last time, as one text: "kind atom figure/limit: text|..." */
static const char *
noted(void)
{
    static char text[4096];
    size_t used = 0;

    text[0] = '\0';
    for (uint32_t i = 0; i < found.count; i++) {
        const cop_warning *w = &found.warning[i];
        used +=
            (size_t)snprintf(text + used, sizeof text - used,
                             "%s%u %u.%u %" PRIu64 "/%" PRIu64 ": %s", i > 0 ? "|" : "", w->kind,
                             w->atom.id, w->atom.generation, w->figure, w->limit, w->text);
        ck_assert_uint_lt(used, sizeof text);
    }
    found.count = 0;
    return text;
}

#define SAYS(kind, rest) ck_assert_str_eq(noted(), said((kind), (rest)))

static const char *
said(cop_warning_kind kind, const char *rest)
{
    static char text[512];
    snprintf(text, sizeof text, "%u %s", kind, rest);
    return text;
}

/* ---- noting ---- */

START_TEST(the_worst_of_a_kind)
{
    const cop_atom none = {0, 0};

    for (uint32_t i = 0; i < EACH_MAX; i++)
        ck_assert_ptr_eq(note(&found, COP_WARNING_MEMORY, none, 10 + i, 5), &found.warning[i]);
    ck_assert_ptr_null(note(&found, COP_WARNING_MEMORY, none, 10, 5)); /* the least is as much */
    ck_assert_ptr_eq(note(&found, COP_WARNING_MEMORY, (cop_atom){3, 1}, 11, 6), &found.warning[0]);
    ck_assert_uint_eq(found.warning[0].figure, 11);
    ck_assert_uint_eq(found.warning[0].limit, 6);
    ck_assert_uint_eq(found.warning[0].atom.id, 3);
    ck_assert_str_eq(found.warning[0].text, "");
    ck_assert_ptr_eq(note(&found, COP_WARNING_MEMORY, none, 50, 5), &found.warning[0]);
    ck_assert_ptr_eq(note(&found, COP_WARNING_MEMORY, none, 50, 5), &found.warning[1]);
    ck_assert_uint_eq(found.count, EACH_MAX);
    ck_assert_ptr_eq(note(&found, COP_WARNING_DEPTH, none, 1, 1), &found.warning[EACH_MAX]);
    ck_assert_uint_eq(found.count, EACH_MAX + 1);
}
END_TEST

/* There is room for eight of eight kinds; of others none is told. */
START_TEST(all_the_room)
{
    const cop_atom none = {0, 0};

    for (unsigned kind = 0; kind < COP_WARNINGS_MAX / EACH_MAX; kind++)
        for (uint32_t i = 0; i < EACH_MAX; i++)
            ck_assert_ptr_nonnull(note(&found, (cop_warning_kind)kind, none, 10, 5));
    ck_assert_uint_eq(found.count, COP_WARNINGS_MAX);
    ck_assert_ptr_null(note(&found, COP_WARNING_WORKERS, none, 100, 5));
    ck_assert_uint_eq(found.count, COP_WARNINGS_MAX);
    ck_assert_ptr_nonnull(note(&found, (cop_warning_kind)0, none, 100, 5));
}
END_TEST

/* ---- runs ---- */

#ifndef COP_PRODUCTION

static void
runs(uint64_t n, uint64_t same, uint64_t relisted)
{
    cop_hot *hot = &measured->hot[measured->hot_count++];
    hot->atom = (cop_atom){measured->hot_count, 1};
    hot->runs = n;
    hot->same = same;
    hot->relisted = relisted;
    hot->total_ns = 7 * n + 3;
}

START_TEST(runs_with_the_same_result)
{
    runs(31, 31, 31); /* too few to say anything of */
    rule_runs(&found);
    ck_assert_str_eq(noted(), "");
    runs(1000, 899, 499);
    rule_runs(&found);
    ck_assert_str_eq(noted(), "");
    runs(1000, 900, 0);
    rule_runs(&found);
    SAYS(COP_WARNING_SAME_RESULT,
         "3.1 90/90: 900 of 1000 runs gave the value it had, in 7 ns each");
    measured->hot_count = 0;
    runs(32, 29, 0); /* 90.6 % */
    rule_runs(&found);
    SAYS(COP_WARNING_SAME_RESULT, "1.1 90/90: 29 of 32 runs gave the value it had, in 7 ns each");
    found.limits.same_percent = 91;
    rule_runs(&found);
    ck_assert_str_eq(noted(), "");
    found.measured = NULL;
    found.limits.same_percent = 0;
    rule_runs(&found);
    ck_assert_str_eq(noted(), "");
}
END_TEST

START_TEST(runs_that_read_others)
{
    runs(1000, 0, 499);
    rule_runs(&found);
    ck_assert_str_eq(noted(), "");
    runs(1000, 0, 500);
    rule_runs(&found);
    SAYS(COP_WARNING_RELISTED, "2.1 50/50: 500 of 1000 runs read other atoms than the one before");
    measured->hot_count = 0;
    runs(100, 100, 100);
    runs(100, 0, 51);
    rule_runs(&found);
    ck_assert_uint_eq(found.count, 3);
    ck_assert_uint_eq(found.warning[2].figure, 51);
    ck_assert_uint_eq(found.warning[2].atom.id, 2);
}
END_TEST

/* Of nine the one that has least is left out, whichever rule finds them. */
START_TEST(the_least_run_is_left_out)
{
    for (uint64_t i = 0; i <= EACH_MAX; i++)
        runs(100, 99 - i, 99 - i);
    rule_runs(&found);
    ck_assert_uint_eq(found.count, 2 * EACH_MAX);
    for (uint32_t i = 0; i < found.count; i++)
        ck_assert_uint_eq(found.warning[i].figure, 99 - i / 2);
    ck_assert_uint_eq(found.warning[found.count - 1].atom.id, EACH_MAX);
}
END_TEST

START_TEST(the_least_written_is_left_out)
{
    cop_store *store = t_open();
    found.store = store;
    CHECK_OK(cop_monitor_start(store, NULL, NULL));
    for (uint32_t id = 1; id <= EACH_MAX + 1; id++)
        cop__written_add(atomic_load(&store->monitor)->budgets, (cop_atom){id, 1}, 100 - id);
    rule_written(&found);
    ck_assert_uint_eq(found.count, EACH_MAX);
    for (uint32_t i = 0; i < found.count; i++)
        ck_assert_uint_eq(found.warning[i].figure, 99 - i);
    t_close(store);
}
END_TEST

START_TEST(atoms_that_are_written_often)
{
    cop_store *store = t_open();
    found.store = store;
    rule_written(&found); /* never measured */
    ck_assert_str_eq(noted(), "");
    CHECK_OK(cop_monitor_start(store, NULL, NULL));
    cop__budgets *budgets = atomic_load(&store->monitor)->budgets;
    for (unsigned i = 0; i < 10; i++)
        cop__written_add(budgets, (cop_atom){1, 1}, i == 0 ? 15 : 16); /* 15.9 */
    rule_written(&found);
    ck_assert_str_eq(noted(), "");
    for (unsigned i = 0; i < 10; i++)
        cop__written_add(budgets, (cop_atom){2, 1}, i == 0 ? 15 : i == 1 ? 17 : 16);
    rule_written(&found);
    SAYS(COP_WARNING_WRITTEN_OFTEN, "2.1 16/16: 160 writes in 10 batches, up to 17 in one");
    for (uint32_t id = 3; id <= COP_WRITTEN_MAX; id++)
        cop__written_add(budgets, (cop_atom){id, 1}, 2);
    cop__written_add(budgets, (cop_atom){COP_WRITTEN_MAX, 1}, 99); /* the last place */
    rule_written(&found);
    ck_assert_uint_eq(found.count, 2);
    ck_assert_uint_eq(found.warning[1].atom.id, COP_WRITTEN_MAX);
    t_close(store);
}
END_TEST

/* ---- the graph ---- */

static cop_status
copy(cop_evaluation *evaluation, void *context, cop_value *result)
{
    return cop_read(evaluation, *(const cop_atom *)context, result);
}

static cop_atom
copy_of(cop_store *store, const char *path, const cop_atom *source)
{
    cop_atom atom;

    CHECK_OK(
        cop_computed_define(store, P(path), copy, (void *)(uintptr_t)source, NULL, &atom, NULL));
    return atom;
}

START_TEST(wide_ones)
{
    static cop_atom x, y;
    char path[32], want[128];
    cop_store *store = t_open();
    found.store = store;
    found.limits.fan_out = 70;
    x = t_make(store, "x", cop_i64(1));
    y = t_make(store, "y", cop_i64(1));
    for (unsigned i = 0; i < 69; i++) {
        snprintf(path, sizeof path, "c/%u", i);
        (void)copy_of(store, path, &x);
    }
    (void)copy_of(store, "one", &y);
    rule_fan_out(&found);
    ck_assert_str_eq(noted(), "");
    (void)copy_of(store, "c/69", &x);
    rule_fan_out(&found);
    snprintf(want, sizeof want, "%u.%u 70/70: 70 computed atoms and effects read it", x.id,
             x.generation);
    SAYS(COP_WARNING_FAN_OUT, want);
    found.limits.fan_out = 0; /* none is read by nobody */
    rule_fan_out(&found);
    ck_assert_uint_eq(found.count, 2);
    found.count = 0;
    found.limits.fan_out = 1;
    rule_fan_out(&found);
    ck_assert_uint_eq(found.count, 2);
    t_close(store);
}
END_TEST

/* Of nine as wide, eight are told. */
START_TEST(one_more_that_is_wide)
{
    static cop_atom x[EACH_MAX + 1];
    char path[32];
    cop_store *store = t_open();
    found.store = store;
    found.limits.fan_out = 1;
    for (uint32_t i = 0; i <= EACH_MAX; i++) {
        snprintf(path, sizeof path, "x%u", i);
        x[i] = t_make(store, path, cop_i64(1));
        snprintf(path, sizeof path, "c%u", i);
        (void)copy_of(store, path, &x[i]);
    }
    rule_fan_out(&found);
    ck_assert_uint_eq(found.count, EACH_MAX);
    for (uint32_t i = 0; i < EACH_MAX; i++)
        ck_assert_uint_eq(found.warning[i].atom.id, x[i].id);
    t_close(store);
}
END_TEST

static cop_status
look(cop_evaluation *evaluation, void *context)
{
    cop_value value;
    return cop_read(evaluation, *(const cop_atom *)context, &value);
}

START_TEST(deep_ones)
{
    static cop_atom chain[6];
    char path[32], want[128];
    cop_store *store = t_open();
    cop_effect effect;
    found.store = store;
    found.limits.depth = 1;
    chain[0] = t_make(store, "x", cop_i64(1));
    rule_depth(&found);
    ck_assert_str_eq(noted(), "");
    for (unsigned i = 1; i <= 4; i++) {
        snprintf(path, sizeof path, "c%u", i);
        chain[i] = copy_of(store, path, &chain[i - 1]);
    }
    CHECK_OK(cop_effect_open(store, look, &chain[4], NULL, &effect, NULL)); /* not of the chain */
    CHECK_OK(cop_effects_run(store, NULL, 0, NULL));
    (void)copy_of(store, "shallow", &chain[0]);
    found.limits.depth = 5;
    rule_depth(&found);
    ck_assert_str_eq(noted(), "");
    found.limits.depth = 4;
    rule_depth(&found);
    snprintf(want, sizeof want, "%u.%u 4/4: it ends a chain of 4 computed atoms", chain[4].id,
             chain[4].generation);
    SAYS(COP_WARNING_DEPTH, want);
    t_erase_at(store, "c4");
    rule_depth(&found);
    ck_assert_str_eq(noted(), "");
    cop_effect_close(store, effect);
    t_close(store);
}
END_TEST

#endif

/* ---- the store ---- */

START_TEST(snapshots_held_long)
{
    cop_store *store = t_open();
    const cop_snapshot *held, *newest;
    found.store = store;
    found.limits.snapshot_ms = 60;
    t_set_at(store, "x", cop_i64(1));
    held = t_take(store);
    for (int64_t i = 2; i <= 4; i++) {
        t_set_at(store, "x", cop_i64(i));
        CHECK_OK(cop_history_keep(store, NULL, 0, NULL, NULL)); /* these do not count */
    }
    newest = t_take(store);
    world.day = held->time_ns + 60 * MS - 1;
    rule_snapshots(&found);
    ck_assert_str_eq(noted(), "");
    world.day++;
    rule_snapshots(&found);
    SAYS(COP_WARNING_SNAPSHOT, "0.0 60/60: version 1 of 60 ms ago is held, 3 versions behind");
    world.day = newest->time_ns + 5000 * MS; /* the newest may be held for ever */
    rule_snapshots(&found);
    ck_assert_uint_eq(found.count, 1);
    found.count = 0;
    found.limits.snapshot_ms = 1;
    world.day = held->time_ns; /* just now */
    rule_snapshots(&found);
    ck_assert_str_eq(noted(), "");
    world.day = held->time_ns - 1; /* the clock was set back */
    rule_snapshots(&found);
    ck_assert_str_eq(noted(), "");
    found.limits.snapshot_ms = 0;
    rule_snapshots(&found);
    SAYS(COP_WARNING_SNAPSHOT, "0.0 0/0: version 1 of 0 ms ago is held, 3 versions behind");
    cop_snapshot_drop(held);
    cop_snapshot_drop(newest);
    t_close(store);
}
END_TEST

/* ---- batches ---- */

/* So many batches of that size, in rising order of sizes; zero begins anew. */
static void
batches(uint64_t size, uint64_t n)
{
    cop__measured *m = &measured->of[COP_MEASURE_BATCH];
    if (size == 0) {
        memset(m, 0, sizeof *m);
        return;
    }
    m->bucket = measured->bucket;
    m->count += n;
    m->sum += n * size;
    m->greatest = size;
    measured->bucket[m->buckets++] = (cop__used_bucket){m->count, cop__histogram_index(size)};
}

static void
submitted(uint64_t n)
{
    static cop__used_bucket bucket[1];
    bucket[0] = (cop__used_bucket){n, 5};
    measured->of[COP_MEASURE_QUEUE_WAIT] = (cop__measured){n, 5 * n, 5, bucket, 1};
}

START_TEST(full_batches)
{
    enum { MOST = 1000 };
    cop_store *store = t_open();
    found.store = store;
    cop__store_relaxed(&store->batcher.most, (uint64_t)MOST);
    batches(MOST, 999);
    rule_batches(&found);
    ck_assert_str_eq(noted(), ""); /* too few */
    batches(0, 0);
    batches(10, 100);
    batches(MOST, 901);
    rule_batches(&found);
    SAYS(COP_WARNING_BATCHES_FULL, "0.0 1000/1000: nine of ten of 1001 batches had the 1000 "
                                   "transactions that fill one");
    batches(0, 0);
    batches(10, 102);
    batches(MOST, 900); /* the tenth part is not full */
    rule_batches(&found);
    ck_assert_str_eq(noted(), "");
    batches(0, 0);
    batches(MOST * 98 / 100, 1000); /* nearly, but not full */
    rule_batches(&found);
    ck_assert_str_eq(noted(), "");
    found.measured = NULL;
    rule_batches(&found);
    ck_assert_str_eq(noted(), "");
    found.store = NULL;
    t_close(store);
}
END_TEST

START_TEST(batches_with_one)
{
    cop_store *store = t_open();
    found.store = store;
    batches(1, 1000);
    submitted(899);
    rule_batches(&found);
    ck_assert_str_eq(noted(), ""); /* most were committed, not submitted */
    submitted(900);
    rule_batches(&found);
    SAYS(COP_WARNING_BATCHES_OF_ONE,
         "0.0 1000/1000: 1000 batches, and 900 transactions were submitted");
    found.limits.batches = 1001;
    rule_batches(&found);
    ck_assert_str_eq(noted(), "");
    found.limits.batches = 1000;
    batches(2, 1);
    submitted(5000);
    rule_batches(&found);
    ck_assert_str_eq(noted(), "");
    found.store = NULL;
    t_close(store);
}
END_TEST

/* ---- watchers ---- */

/* Of each kind eight are kept, those with the greatest figures. */
START_TEST(one_watcher_more_that_is_behind)
{
    for (uint64_t ms = 20; ms > 10; ms--)
        note_behind(&found, "a/b", 3, ms * 1000000);
    ck_assert_uint_eq(found.count, 8);
    for (uint32_t i = 0; i < found.count; i++) {
        ck_assert_uint_eq(found.warning[i].figure, 20 - i);
        ck_assert_str_eq(found.warning[i].path, "a/b");
    }
    found.count = 0;
}
END_TEST

/* ---- memory, workers ---- */

START_TEST(memory_near_its_limit)
{
    cop__memory memory;
    cop_store store;
    memset(&memory, 0, sizeof memory);
    memset(&store, 0, sizeof store);
    found.store = &store;
    store.memory = &memory;
    atomic_store(&memory.held, 899);
    rule_memory(&found); /* there is no limit */
    ck_assert_str_eq(noted(), "");
    atomic_store(&memory.limit, 1000);
    rule_memory(&found);
    ck_assert_str_eq(noted(), "");
    atomic_store(&memory.held, 900);
    rule_memory(&found);
    SAYS(COP_WARNING_MEMORY, "0.0 90/90: 900 of 1000 bytes are held, 90 %");
    atomic_store(&memory.limit, 1);
    atomic_store(&memory.held, 1);
    rule_memory(&found);
    SAYS(COP_WARNING_MEMORY, "0.0 100/90: 1 of 1 bytes are held, 100 %");
    atomic_store(&memory.limit, 0);
    found.limits.memory_percent = 0;
    rule_memory(&found);
    SAYS(COP_WARNING_MEMORY, "0.0 0/0: 1 of 0 bytes are held, 0 %");
}
END_TEST

START_TEST(more_workers_than_cpus)
{
    cop_store store;
    memset(&store, 0, sizeof store);
    found.store = &store;
    world.cpus = 1;
    world.lanes = 2;
    rule_workers(&found);
    ck_assert_str_eq(noted(), "");
    world.lanes = 3;
    rule_workers(&found);
    SAYS(COP_WARNING_WORKERS, "0.0 2/1: 2 worker threads on 1 CPUs");
    world.cpus = 0; /* not known */
    rule_workers(&found);
    ck_assert_str_eq(noted(), "");
}
END_TEST

/* ---- telling ---- */

typedef struct told {
    unsigned n, until;
    cop_warning last;
} told;

static int
hear(void *context, const cop_warning *warning)
{
    told *t = context;
    t->last = *warning;
    return ++t->n == t->until ? 5 : 0;
}

START_TEST(each_is_told)
{
    cop_store *store = t_open();
    told t = {0};
    cop_atom x = t_make(store, "x/y", cop_i64(1));
    found.store = store;
    (void)note(&found, COP_WARNING_DEPTH, x, 3, 2);
    (void)note(&found, COP_WARNING_MEMORY, the_store, 4, 2);
    tell(&found, hear, &t);
    ck_assert_uint_eq(t.n, 2);
    ck_assert_str_eq(t.last.name, "memory near its limit");
    ck_assert_int_eq(strncmp(t.last.advice, "commits will be refused", 23), 0);
    ck_assert_str_eq(t.last.path, "");
    t = (told){.until = 1};
    tell(&found, hear, &t);
    ck_assert_uint_eq(t.n, 1);
    ck_assert_str_eq(t.last.path, "x/y");
    ck_assert_str_eq(t.last.name, "deep chain");
    t_close(store);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, the_worst_of_a_kind);
    tcase_add_test(tests, all_the_room);
#ifndef COP_PRODUCTION
    tcase_add_test(tests, runs_with_the_same_result);
    tcase_add_test(tests, runs_that_read_others);
    tcase_add_test(tests, the_least_run_is_left_out);
    tcase_add_test(tests, the_least_written_is_left_out);
    tcase_add_test(tests, atoms_that_are_written_often);
    tcase_add_test(tests, wide_ones);
    tcase_add_test(tests, one_more_that_is_wide);
    tcase_add_test(tests, deep_ones);
#endif
    tcase_add_test(tests, snapshots_held_long);
    tcase_add_test(tests, full_batches);
    tcase_add_test(tests, batches_with_one);
    tcase_add_test(tests, one_watcher_more_that_is_behind);
    tcase_add_test(tests, memory_near_its_limit);
    tcase_add_test(tests, more_workers_than_cpus);
    tcase_add_test(tests, each_is_told);
}

int
main(void)
{
    return t_run("warning rules", add);
}

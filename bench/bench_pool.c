/* SPDX-License-Identifier: MIT */
/*
 * ./dev bench pool: what sharing a run of items with workers gains and costs, beside the same loop
 * on one thread and on as many threads that have nothing to do with each other; with the machine to
 * itself, and with a foreign process that keeps one CPU busy. The cost of a submitted task. And
 * what changing the number of threads does to work that goes on.
 */
#include <coppice/coppice.h>

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "bench/arguments.h"
#include "bench/pool_resize.h"
#include "bench/report.h"
#include "workers/region.h"

#define WAVES_MAX 20000u
#define WAVE_NS_ALL 60000000.0 /* how long a round of one system takes, about */
#define TASKS 100000u
#define INDICES 10000000u
#define LANES_MAX 64u

typedef struct body {
    const char *name;
    double ns;
    uint32_t items;
    unsigned steps; /* calibrated */
} body;

static body bodies[] = {{"trivial_1000", 2, 1000, 0},
                        {"100ns_1000", 100, 1000, 0},
                        {"1us_1000", 1000, 1000, 0},
                        {"1us_100", 1000, 100, 0},
                        {"1us_10", 1000, 10, 0}};
enum { BODIES = sizeof bodies / sizeof bodies[0] };

enum { ONE_THREAD, REGION, INDEPENDENT, SYSTEMS };
static const char *const system_names[SYSTEMS] = {"one thread", "region", "independent threads"};

typedef struct figures {
    report_samples median[SYSTEMS], mean[SYSTEMS]; /* ns an item */
} figures;

static struct {
    _Alignas(64) uint64_t sum;
} lanes[LANES_MAX];
static cop_pool *pool;
static cop__region *region;
static unsigned threads;

/* ---- items ---- */

static uint64_t
work(uint64_t x, unsigned steps)
{
    for (unsigned i = 0; i < steps; i++)
        x = x * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return x;
}

static void
run_items(void *context, unsigned lane, uint32_t begin, uint32_t end)
{
    const body *b = context;
    uint64_t sum = 0;
    for (uint32_t i = begin; i < end; i++)
        sum = work(sum + i, b->steps); /* one after the other, so that a step costs what it costs */
    lanes[lane].sum += sum;
}

static double
ns_an_item(body *b)
{
    uint64_t begin = cop__clock_ns();
    unsigned waves = (unsigned)(5e6 / (b->ns * b->items)) + 1;
    for (unsigned i = 0; i < waves; i++)
        run_items(b, 0, 0, b->items);
    return (double)(cop__clock_ns() - begin) / waves / b->items;
}

static void
calibrate(body *b)
{
    b->steps = 1;
    if (b->ns < 10)
        return;
    b->steps = 1000;
    double least = ns_an_item(b);
    for (int i = 0; i < 10; i++) {
        double ns = ns_an_item(b);
        least = ns < least ? ns : least;
    }
    b->steps = (unsigned)(1000 * b->ns / least);
}

/* ---- waves ---- */

static double wave_ns[WAVES_MAX];

static void
wave(body *b, int system)
{
    if (system == REGION && cop__region_worth(region, b->items, b->ns)) {
        uint64_t begin = cop__clock_ns();
        uint32_t least = (uint32_t)(400 / b->ns);
        cop__region_run(region, b->items, least ? least : 1, run_items, b);
        cop__region_account(region, b->items, b->ns, cop__clock_ns() - begin);
    } else {
        run_items(b, 0, 0, b->items);
    }
}

static int
compare(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void
round_of_waves(body *b, int system, figures *f)
{
    unsigned n = (unsigned)(WAVE_NS_ALL / (b->ns * b->items));
    double sum = 0;
    n = n < WAVES_MAX ? n : WAVES_MAX;
    for (unsigned i = 0; i < n; i++) {
        uint64_t begin = cop__clock_ns();
        wave(b, system);
        wave_ns[i] = (double)(cop__clock_ns() - begin) / b->items;
        sum += wave_ns[i];
    }
    qsort(wave_ns, n, sizeof wave_ns[0], compare);
    report_add(&f->median[system], wave_ns[n / 2]);
    report_add(&f->mean[system], sum / n);
}

/* ---- threads of their own ---- */

static void *
alone(void *context)
{
    body *b = context;
    unsigned n = (unsigned)(WAVE_NS_ALL / (b->ns * b->items));
    for (unsigned i = 0; i < n; i++) {
        uint64_t sum = 0;
        for (uint32_t k = 0; k < b->items; k++)
            sum = work(sum + k, b->steps);
        __asm__ volatile("" : : "r"(sum));
    }
    return NULL;
}

/* Wall time for the waves of all of them: what no way of sharing can beat. */
static void
round_of_independent(body *b, figures *f)
{
    pthread_t others[LANES_MAX];
    unsigned n = (unsigned)(WAVE_NS_ALL / (b->ns * b->items)), started = 0;
    uint64_t begin = cop__clock_ns();
    while (started < threads && pthread_create(&others[started], NULL, alone, b) == 0)
        started++;
    alone(b);
    for (unsigned i = 0; i < started; i++)
        pthread_join(others[i], NULL);
    double ns = (double)(cop__clock_ns() - begin) / n / b->items / (started + 1);
    report_add(&f->median[INDEPENDENT], ns);
    report_add(&f->mean[INDEPENDENT], ns);
}

/* ---- a foreign process ---- */

static pid_t
start_foreign(void)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    cpu_set_t mask;
    CPU_ZERO(&mask);
    CPU_SET((unsigned)sysconf(_SC_NPROCESSORS_ONLN) - 1, &mask);
    sched_setaffinity(0, sizeof mask, &mask);
    for (;;)
        lanes[0].sum = work(lanes[0].sum, 1000);
}

/* ---- tasks ---- */

static _Atomic unsigned tasks_done;

static void
small_task(void *context)
{
    (void)context;
    atomic_fetch_add_explicit(&tasks_done, 1, memory_order_relaxed);
}

static void
submit_tasks(void *context)
{
    for (unsigned i = 0; i < TASKS; i++)
        if (cop_pool_submit(pool, small_task, context) != COP_OK)
            abort();
}

static double
tasks_ns(void (*submit)(void *))
{
    uint64_t begin = cop__clock_ns();
    atomic_store(&tasks_done, 0);
    submit(NULL);
    while (atomic_load(&tasks_done) < TASKS)
        sched_yield();
    return (double)(cop__clock_ns() - begin) / TASKS;
}

static void
submit_from_a_task(void *context)
{
    if (cop_pool_submit(pool, submit_tasks, context) != COP_OK)
        abort();
}

static cop_status
sum_indices(void *context, uint64_t begin, uint64_t end)
{
    uint64_t sum = 0;
    for (uint64_t i = begin; i < end; i++)
        sum += work(i, 1);
    atomic_fetch_add((_Atomic uint64_t *)context, sum);
    return COP_OK;
}

static double
loop_ns(cop_pool *on)
{
    _Atomic uint64_t sum = 0;
    uint64_t begin = cop__clock_ns();
    if (cop_parallel_for(on, INDICES, sum_indices, &sum, NULL) != COP_OK)
        abort();
    return (double)(cop__clock_ns() - begin) / INDICES;
}

static void
round_of_tasks(report_samples samples[4])
{
    report_add(&samples[0], tasks_ns(submit_tasks));
    report_add(&samples[1], tasks_ns(submit_from_a_task));
    report_add(&samples[2], loop_ns(NULL));
    report_add(&samples[3], loop_ns(pool));
}

/* ---- output ---- */

static void
row(bool json, const char *name, const char *system, const char *unit,
    const report_samples *samples, double against)
{
    char fields[128], number[32];
    double median = report_median(samples);
    if (json) {
        report_row r = {"pool", name, system, unit, fields, samples};
        int n = snprintf(fields, sizeof fields, ",\"threads\":%u", threads + 1);
        if (against > 0)
            snprintf(fields + n, sizeof fields - (size_t)n, ",\"speedup\":%.4g", against / median);
        report_json(&r);
    } else {
        printf("%-28s %-20s %8s ±%3.0f%% %-8s", name, system,
               report_number(median, number, sizeof number), report_spread(samples) * 100, unit);
        if (against > 0)
            printf(" %7.2fx", against / median);
        printf("\n");
    }
}

static void
print_waves(bool json, const figures *f, const char *prefix)
{
    char name[64];
    for (int b = 0; b < BODIES; b++) {
        for (int s = 0; s < SYSTEMS; s++) {
            if (f[b].median[s].n == 0)
                continue;
            snprintf(name, sizeof name, "%s%s_median", prefix, bodies[b].name);
            row(json, name, system_names[s], "ns/item", &f[b].median[s],
                report_median(&f[b].median[ONE_THREAD]));
            if (s == INDEPENDENT)
                continue;
            snprintf(name, sizeof name, "%s%s_mean", prefix, bodies[b].name);
            row(json, name, system_names[s], "ns/item", &f[b].mean[s],
                report_median(&f[b].mean[ONE_THREAD]));
        }
    }
}

static void
print_tasks(bool json, const report_samples samples[4])
{
    row(json, "submit_and_run", "from outside", "ns/task", &samples[0], 0);
    row(json, "submit_and_run", "from a task", "ns/task", &samples[1], 0);
    row(json, "parallel_for_trivial", "one thread", "ns/index", &samples[2],
        report_median(&samples[2]));
    row(json, "parallel_for_trivial", "pool", "ns/index", &samples[3], report_median(&samples[2]));
}

/* True when nothing was lost. */
static bool
print_resize(bool json, const resize_figures *f)
{
    static const char *const names[RESIZE_PHASES] = {"before", "ten changes", "after"};
    double before = report_median(&f->unit_ns[RESIZE_BEFORE]), lost = 0;
    for (int i = 0; i < RESIZE_PHASES; i++)
        row(json, "resize", names[i], "ns/unit", &f->unit_ns[i], before);
    row(json, "resize_call", "longest", "us", &f->call_us, 0);
    row(json, "resize_lost", "all", "units", &f->lost, 0);
    for (unsigned i = 0; i < f->lost.n; i++)
        lost += f->lost.value[i];
    if (lost > 0)
        report_note("resize: %.0f units LOST", lost);
    return lost == 0;
}

static void
measure_waves(figures *f, unsigned rounds, bool independent)
{
    for (unsigned round = 0; round < rounds; round++) {
        for (int b = 0; b < BODIES; b++) {
            int first = round % 2 ? REGION : ONE_THREAD; /* they take turns to go first */
            round_of_waves(&bodies[b], first, &f[b]);
            round_of_waves(&bodies[b], first == REGION ? ONE_THREAD : REGION, &f[b]);
            if (independent)
                round_of_independent(&bodies[b], &f[b]);
        }
    }
}

static void
open_pool(unsigned wanted)
{
    cop_pool_options options = COP_POOL_OPTIONS_INIT;
    cop_error error = COP_ERROR_INIT;
    options.threads = wanted ? wanted : COP_POOL_AUTO;
    if (cop_pool_open(&options, &pool, &error) != COP_OK) {
        report_note("cop_pool_open: %s", error.message);
        exit(1);
    }
    region = cop__region_open(pool);
    threads = cop__region_lanes(region) - 1;
    if (threads == 0)
        report_note("one CPU: there is nothing to share with");
}

enum { WAVES = 1, TASKS_ALONE = 2, RESIZE = 4 };

static unsigned
cases_named(const char *name)
{
    if (strcmp(name, "waves") == 0)
        return WAVES;
    if (strcmp(name, "tasks") == 0)
        return TASKS_ALONE;
    if (strcmp(name, "resize") == 0)
        return RESIZE;
    report_note("--only: there is no case %s: waves, tasks, resize", name);
    exit(2);
}

static void
bench_waves(bool json, unsigned rounds)
{
    static figures quiet[BODIES], busy[BODIES];
    for (int b = 0; b < BODIES; b++)
        calibrate(&bodies[b]);
    measure_waves(quiet, rounds, true);
    pid_t foreign = start_foreign();
    measure_waves(busy, rounds, false);
    if (foreign > 0) {
        kill(foreign, SIGKILL);
        waitpid(foreign, NULL, 0);
    }
    print_waves(json, quiet, "");
    print_waves(json, busy, "busy_");
}

static void
bench_tasks(bool json, unsigned rounds)
{
    static report_samples tasks[4];
    for (unsigned round = 0; round < rounds && threads > 0; round++)
        round_of_tasks(tasks);
    if (threads > 0)
        print_tasks(json, tasks);
}

static bool
bench_resize(bool json, unsigned rounds)
{
    static resize_figures resize;
    bool ok = true;
    for (unsigned round = 0; round < rounds && ok; round++)
        ok = resize_round(threads, &resize);
    return print_resize(json, &resize) && ok;
}

static void
tell_counts(void)
{
    cop_pool_stats stats;
    cop_pool_stats_take(pool, &stats);
    report_note("%llu runs shared, %llu chunks by workers, %llu stalls, %llu wakes, %llu parks",
                (unsigned long long)stats.regions, (unsigned long long)stats.chunks_by_workers,
                (unsigned long long)stats.stalls, (unsigned long long)stats.wakes,
                (unsigned long long)stats.parks);
}

int
main(int argc, char **argv)
{
    uint32_t rounds = 7, wanted = 0;
    unsigned cases = WAVES | TASKS_ALONE | RESIZE;
    const char *only = NULL;
    bool json = false, ok = true;
    const bench_argument table[] = {BENCH_FLAG("json", json),
                                    BENCH_NUMBER("rounds", rounds, 1, REPORT_ROUNDS_MAX),
                                    BENCH_NUMBER("threads", wanted, 1, LANES_MAX - 2),
                                    BENCH_WORD("only", "waves|tasks|resize", only), BENCH_END};
    bench_arguments(argc, argv, table);
    if (only != NULL)
        cases = cases_named(only);
    open_pool(wanted);
    if (cases & WAVES)
        bench_waves(json, rounds);
    if (cases & TASKS_ALONE)
        bench_tasks(json, rounds);
    if (cases & RESIZE)
        ok = bench_resize(json, rounds);
    if (cases & WAVES)
        tell_counts();
    cop__region_close(region);
    cop_pool_close(pool);
    return ok ? 0 : 1;
}

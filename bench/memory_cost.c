/* SPDX-License-Identifier: MIT */
/* The same atoms, the same transactions: what differs is memory.limit_bytes alone. */
#include "bench/memory_cost.h"

#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/clock.h"
#include "bench/memory_run.h"
#include "bench/memory_sample.h"
#include "bench/need.h"
#include "bench/report.h"

enum { COST_ATOMS = 50000, WARM = 20000, SLICES = 40, PATIENCE_MS = 5000, OVER_MS = 1000 };
#define NEVER_NEAR ((uint64_t)64 << 30)

enum { FAR, NEAR, SIDES };
static memory_load loads[SIDES];

static cop_stats
stats_now(const memory_load *load)
{
    cop_stats stats = COP_STATS_INIT;
    need(cop_stats_take(load->store, &stats), "stats");
    return stats;
}

static void
open_load(memory_load *load, uint32_t atoms)
{
    memory_settings settings = {
        .limit = NEVER_NEAR, .atoms = atoms, .writers = 1, .no_clock = true};
    need(memory_load_prepare(load, &settings) ? COP_OK : COP_E_MEMORY, "tables");
    need(memory_load_open(load), "open");
}

static void
limit_set(memory_load *load, uint64_t limit)
{
    cop_options options = COP_OPTIONS_INIT;
    need(cop_store_options(load->store, &options), "options");
    options.memory_limit_bytes = limit;
    need(cop_store_reconfigure(load->store, &options, COP_FOREVER, NULL), "limit");
}

/* Warmed up first: what is held then is what the load needs. */
static memory_load *
open_for_cost(unsigned side)
{
    memory_load *load = &loads[side];
    open_load(load, COST_ATOMS);
    memory_load_run(load, WARM);
    limit_set(load, side == NEAR ? stats_now(load).bytes_held / 10 * 13 : NEVER_NEAR);
    return load;
}

/* --- pairs ---------------------------------------------------------------------------------------
 */

typedef struct cost {
    double far_ns, near_ns;     /* of processor time, for each transaction */
    double cpu_more, wall_more; /* of near against far, in %: the median of the slices */
    double refused;
    bool done;
} cost;

typedef struct slice {
    double cpu_ns, wall_ns;
} slice;

static slice
run_slice(memory_load *load, uint32_t transactions)
{
    uint64_t cpu = bench_cpu_ns(), wall = bench_wall_ns();
    memory_load_run(load, transactions);
    return (slice){(double)(bench_cpu_ns() - cpu) / transactions,
                   (double)(bench_wall_ns() - wall) / transactions};
}

/* Two stores of one process, a slice of each in turns: what else the machine does falls on both.
 * Which is opened first matters by a percent or two, so that a pair of processes has both orders.
 */
static void
measure(cost *c, unsigned first, uint32_t transactions)
{
    report_samples far = {0}, near = {0}, cpu = {0}, wall = {0};
    open_for_cost(first);
    open_for_cost(!first);
    for (unsigned i = 0; i < SLICES; i++) {
        slice of[SIDES];
        for (unsigned k = 0; k < SIDES; k++) {
            unsigned side = (k + i + first) % SIDES;
            of[side] = run_slice(&loads[side], transactions / SLICES);
        }
        report_add(&far, of[FAR].cpu_ns);
        report_add(&near, of[NEAR].cpu_ns);
        report_add(&cpu, 100 * (of[NEAR].cpu_ns / of[FAR].cpu_ns - 1));
        report_add(&wall, 100 * (of[NEAR].wall_ns / of[FAR].wall_ns - 1));
    }
    *c = (cost){.far_ns = report_median(&far),
                .near_ns = report_median(&near),
                .cpu_more = report_median(&cpu),
                .wall_more = report_median(&wall),
                .refused = (double)memory_load_totals(&loads[NEAR]).refused,
                .done = true};
}

static bool
measure_in_child(cost *c, unsigned first, uint32_t transactions)
{
    cost *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return false;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        measure(shared, first, transactions);
        _exit(0);
    }
    if (pid > 0)
        waitpid(pid, NULL, 0);
    *c = *shared;
    munmap(shared, sizeof *shared);
    return c->done;
}

static void
report_one(const char *name, const char *unit, const report_samples *samples, bool json)
{
    char fields[96], number[32];
    double low, high;
    report_interval(samples, &low, &high);
    snprintf(fields, sizeof fields, ",\"atoms\":%d,\"ci_low\":%.5g,\"ci_high\":%.5g", COST_ATOMS,
             low, high);
    report_row row = {"memory", name, "coppice", unit, fields, samples};
    if (json)
        report_json(&row);
    else
        printf("%-22s %10s %-8s [%.4g, %.4g]\n", name,
               report_number(report_median(samples), number, sizeof number), unit, low, high);
}

static double
mean(double a, double b)
{
    return (a + b) / 2;
}

bool
memory_cost(unsigned pairs, uint32_t transactions, bool json)
{
    static report_samples near, far, cpu, wall, refused;
    for (unsigned pair = 0; pair < pairs; pair++) {
        cost c[SIDES];
        for (unsigned k = 0; k < SIDES; k++)
            if (!measure_in_child(&c[k], (k + pair) % SIDES, transactions)) {
                report_note("a run of --cost failed");
                return false;
            }
        report_add(&far, mean(c[0].far_ns, c[1].far_ns));
        report_add(&near, mean(c[0].near_ns, c[1].near_ns));
        report_add(&cpu, mean(c[0].cpu_more, c[1].cpu_more));
        report_add(&wall, mean(c[0].wall_more, c[1].wall_more));
        report_add(&refused, c[0].refused + c[1].refused);
    }
    if (!json)
        printf("\none writer, %u atoms, %u transactions of each in %u slices, %u processes; the "
               "limit 30 %% "
               "above what is\nheld, or never near: median [95 %%]\n",
               COST_ATOMS, transactions, SLICES, pairs);
    report_one("cost_cpu_far", "ns/txn", &far, json);
    report_one("cost_cpu_near", "ns/txn", &near, json);
    report_one("cost_cpu_more", "%", &cpu, json);
    report_one("cost_wall_more", "%", &wall, json);
    report_one("cost_refused", "count", &refused, json);
    return true;
}

/* --- instructions --------------------------------------------------------------------------------
 */

__attribute__((noinline)) void
memory_cost_counted(struct memory_load *load, uint32_t transactions)
{
    memory_load_run(load, transactions);
}

bool
memory_cost_instructions(uint32_t transactions, bool near)
{
    memory_load *load = open_for_cost(near ? NEAR : FAR);
    memory_cost_counted(load, transactions);
    memory_totals totals = memory_load_totals(load);
    printf("%llu accepted, %llu refused\n", (unsigned long long)totals.accepted,
           (unsigned long long)totals.refused);
    memory_load_close(load);
    return true;
}

/* --- the last snapshot is dropped ----------------------------------------------------------------
 */

enum { NOBODY, POLLED, WORKER, WAYS };
static const char *const ways[WAYS] = {"nobody", "polled", "worker"};

static uint64_t
in_use(const cop_stats *stats)
{
    return stats->pages * 512 + stats->value_bytes + stats->name_bytes;
}

typedef struct drop {
    uint64_t used, used_kept, used_after; /* before the snapshot, with it, 1 s after its drop */
    uint64_t held, held_kept, held_after; /* bytes_held */
    uint64_t resident, resident_kept, resident_after;
    double used_ms, held_ms; /* until all but 1 % is back; < 0: not within 5 s */
} drop;

static void
note_state(const memory_load *load, uint64_t *used, uint64_t *held, uint64_t *resident)
{
    cop_stats stats = stats_now(load);
    *used = in_use(&stats);
    *held = stats.bytes_held;
    *resident = memory_resident();
}

static void
wait_for_bytes(memory_load *load, drop *d, uint64_t began, bool polled)
{
    uint64_t now = began;
    bool told = false;
    d->used_ms = d->held_ms = -1;
    for (; now - began < PATIENCE_MS * UINT64_C(1000000); now = bench_wall_ns()) {
        cop_stats stats = stats_now(load);
        double ms = (double)(bench_wall_ns() - began) / 1e6;
        if (d->used_ms < 0 && in_use(&stats) <= d->used + (d->used_kept - d->used) / 100)
            d->used_ms = ms;
        if (d->held_ms < 0 && stats.bytes_held <= d->held + (d->held_kept - d->held) / 100)
            d->held_ms = ms;
        if (!told && ms >= OVER_MS) {
            note_state(load, &d->used_after, &d->held_after, &d->resident_after);
            told = true;
        }
        if (told && d->used_ms >= 0 && d->held_ms >= 0)
            return;
        if (polled)
            need(cop_store_poll(load->store), "poll");
        memory_sleep_ms(1);
    }
}

static void
drop_once(drop *d, int way, uint32_t atoms)
{
    cop_pool_options options = COP_POOL_OPTIONS_INIT;
    const cop_snapshot *snapshot;
    cop_pool *pool = NULL;
    memory_load *load = &loads[FAR];
    open_load(load, atoms);
    options.threads = 1;
    if (way == WORKER) {
        need(cop_pool_open(&options, &pool, NULL), "pool");
        need(cop_store_set_pool(load->store, pool), "set_pool");
    }
    note_state(load, &d->used, &d->held, &d->resident);
    need(cop_snapshot_take(load->store, &snapshot), "snapshot");
    need(memory_load_rewrite(load), "rewrite");
    note_state(load, &d->used_kept, &d->held_kept, &d->resident_kept);
    uint64_t began = bench_wall_ns();
    cop_snapshot_drop(snapshot);
    wait_for_bytes(load, d, began, way == POLLED);
    memory_load_close(load);
    cop_pool_close(pool);
}

static void
drop_json(const drop *d, int way, uint32_t atoms)
{
    char fields[512];
    snprintf(fields, sizeof fields,
             ",\"helper\":\"%s\",\"atoms\":%u,\"used\":%llu,\"used_kept\":%llu,\"used_after\":%llu,"
             "\"held\":%llu,\"held_kept\":%llu,\"held_after\":%llu,\"resident\":%llu,"
             "\"resident_kept\":%llu,\"resident_after\":%llu",
             ways[way], atoms, (unsigned long long)d->used, (unsigned long long)d->used_kept,
             (unsigned long long)d->used_after, (unsigned long long)d->held,
             (unsigned long long)d->held_kept, (unsigned long long)d->held_after,
             (unsigned long long)d->resident, (unsigned long long)d->resident_kept,
             (unsigned long long)d->resident_after);
    report_samples used = {1, {d->used_ms}}, held = {1, {d->held_ms}};
    report_json(&(report_row){"memory", "drop_used", "coppice", "ms", fields, &used});
    report_json(&(report_row){"memory", "drop_held", "coppice", "ms", fields, &held});
}

static void
drop_print(const drop *d, int way)
{
    const double mib = (double)MIB;
    printf(
        "%-8s in use %.1f, %.1f with it, %.1f after 1 s, back in %.0f ms; held %.1f, %.1f, %.1f, "
        "%.0f ms; resident %.1f, %.1f, %.1f\n",
        ways[way], (double)d->used / mib, (double)d->used_kept / mib, (double)d->used_after / mib,
        d->used_ms, (double)d->held / mib, (double)d->held_kept / mib, (double)d->held_after / mib,
        d->held_ms, (double)d->resident / mib, (double)d->resident_kept / mib,
        (double)d->resident_after / mib);
}

/* Each way in a process of its own, so that what is resident is what this way holds. */
bool
memory_drop(uint32_t atoms, bool json)
{
    if (!json)
        printf(
            "\n%u atoms, all rewritten under a snapshot that is then dropped, nobody writes; MiB "
            "(-1 ms: not within %d s)\n",
            atoms, PATIENCE_MS / 1000);
    for (int way = 0; way < WAYS; way++) {
        drop *d = mmap(NULL, sizeof *d, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        int status = 1;
        if (d == MAP_FAILED)
            return false;
        fflush(stdout);
        pid_t pid = fork();
        if (pid == 0) {
            drop_once(d, way, atoms);
            _exit(0);
        }
        if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
            return false;
        if (json)
            drop_json(d, way, atoms);
        else
            drop_print(d, way);
        munmap(d, sizeof *d);
    }
    return true;
}

/* SPDX-License-Identifier: MIT */
/*
 * Recording a commit, and choosing which commits are measured.
 *
 * Measuring one costs seven readings of the clock and two dozen additions: some hundred ns, as much
 * as a small commit itself. So commits are all measured only while that is a small part of what
 * they take on average, and else one of MEAN_GAP, at random lest the choice fall into step with
 * what commits do. A rarer choice than one in a hundred leaves the 99th percentile where it is.
 */
#include "monitor/record.h"

#include <time.h>

#include "base/probes.h"

#define COST_SHARE 32u /* all are measured while this times the cost is less than a commit */
#define MEAN_GAP 1024u
#define MEAN_SHIFT 4u /* the moving mean's memory: 16 measured commits */
#define CALIBRATION_ROUNDS 64u
_Static_assert(COP_MONITOR_PARTS == COP_OVERRUN_PARTS, "an overrun tells all parts");

#define WAVE_GAP 256u    /* measured commits to one whose runs are timed */
#define ARMED_COMMITS 4u /* and as many after one that was slow for its runs */

static cop__monitor_block *
section_begin(cop__monitor *monitor, int64_t *ticket)
{
    *ticket = cop__phaser_enter(&monitor->phaser);
    return monitor->block[cop__phaser_side(*ticket)];
}

/* ---- waiting in the queue ---- */

uint64_t
cop__monitor_queued(cop__monitor *monitor)
{
    uint32_t stamp = cop__load_relaxed(&monitor->stamp);
    if (stamp == COP_STAMP_NONE)
        return 0;
    if (stamp == COP_STAMP_NEXT) /* two that see it both say when: no harm */
        cop__store_relaxed(&monitor->stamp, (uint32_t)COP_STAMP_NONE);
    return cop__clock_ns();
}

void
cop__monitor_waited(cop__monitor *monitor, cop__monitor_waits *waits, uint64_t queued_ns)
{
    monitor->taken++;
    if (queued_ns == 0)
        return;
    if (waits->block == NULL) {
        waits->now = cop__clock_ns();
        waits->block = section_begin(monitor, &waits->ticket);
    }
    uint64_t waited = waits->now > queued_ns ? waits->now - queued_ns : 0;
    cop__histogram_add_owned(&waits->block->of[COP_MEASURE_QUEUE_WAIT], waited, monitor->taken);
    monitor->taken = 0;
}

void
cop__monitor_waits_end(cop__monitor *monitor, cop__monitor_waits *waits)
{
    if (waits->block != NULL)
        cop__phaser_leave(&monitor->phaser, waits->ticket);
}

/* ---- a commit ---- */

/* How far the clock of the day is ahead of the one that is never set; coarse, both of the same tick
 * but for luck. */
static uint64_t
clocks_apart(void)
{
    struct timespec steady = {0, 0};
    clock_gettime(CLOCK_MONOTONIC_COARSE, &steady);
    return cop__realtime_ns() -
           ((uint64_t)steady.tv_sec * UINT64_C(1000000000) + (uint64_t)steady.tv_nsec);
}

/* A measured commit: are its runs timed too? */
static void
choose_timing(cop__monitor *monitor)
{
    monitor->timing = monitor->armed > 0 || --monitor->untimed == 0;
    monitor->armed -= monitor->armed > 0;
    if (monitor->untimed == 0)
        monitor->untimed = WAVE_GAP;
    monitor->wave->count = 0;
    monitor->wave->timing.most = COP_TIMED_RUNS;
    if (monitor->timing)
        memset(monitor->wave->write, 0, sizeof monitor->wave->write);
}

void
cop__monitor_begin(cop__monitor *monitor, uint64_t transactions, uint64_t operations)
{
    cop__monitor_commit *commit = &monitor->commit;
    commit->transactions = transactions;
    commit->operations = operations;
    monitor->passed++;
    if (cop__unlikely(cop__trace_on(monitor->trace)))
        monitor->countdown = monitor->armed = 1;
    monitor->timing = false;
    monitor->measuring = --monitor->countdown == 0;
    if (!monitor->measuring) {
        commit->began = cop__realtime_ns();
        return;
    }
    commit->weight = monitor->passed;
    monitor->passed = 0;
    memset(commit->spent, 0, sizeof commit->spent);
    choose_timing(monitor);
    commit->began = commit->last = cop__clock_ns();
}

void
cop__monitor_mark(cop__monitor *monitor, cop_measure part)
{
    cop__monitor_commit *commit = &monitor->commit;
    uint64_t now = cop__clock_ns();
    commit->spent[part] += now - commit->last;
    if (cop__unlikely(cop__trace_on(monitor->trace)))
        cop__trace_add(monitor->trace, (int)part, (cop_atom){0, 0}, commit->last, now);
    commit->last = now;
}

static void
commit_record(cop__monitor *monitor, uint64_t took)
{
    const cop__monitor_commit *commit = &monitor->commit;
    int64_t ticket;
    cop__monitor_block *block = section_begin(monitor, &ticket);
    for (unsigned part = 0; part < COP_MONITOR_PARTS; part++)
        cop__histogram_add_owned(&block->of[part], commit->spent[part], commit->weight);
    cop__histogram_add_owned(&block->of[COP_MEASURE_COMMIT], took, commit->weight);
    cop__histogram_add_owned(&block->of[COP_MEASURE_BATCH], commit->transactions, commit->weight);
    cop__histogram_add_owned(&block->of[COP_MEASURE_OPERATIONS], commit->operations,
                             commit->weight);
    cop__phaser_leave(&monitor->phaser, ticket);
}

/* xorshift64 */
static uint64_t
random_gap(cop__monitor *monitor)
{
    monitor->random ^= monitor->random << 13;
    monitor->random ^= monitor->random >> 7;
    monitor->random ^= monitor->random << 17;
    return 1 + monitor->random % (2 * MEAN_GAP - 1);
}

static void
choose_next(cop__monitor *monitor, uint64_t took)
{
    uint64_t mean = monitor->mean_ns;
    mean = mean == 0 ? took : mean - (mean >> MEAN_SHIFT) + (took >> MEAN_SHIFT);
    monitor->mean_ns = mean;
    monitor->countdown = monitor->every;
    if (monitor->every == 0)
        monitor->countdown = mean >= COST_SHARE * monitor->cost_ns ? 1 : random_gap(monitor);
    uint32_t stamp = monitor->countdown == 1 ? COP_STAMP_ALL : COP_STAMP_NEXT;
    if (cop__load_relaxed(&monitor->stamp) != stamp)
        cop__store_relaxed(&monitor->stamp, stamp);
}

/* ---- writes ---- */

/* Where two atoms share a slot, the one that is written more often comes to have it. */
void
cop__monitor_wrote(cop__monitor *monitor, cop_atom atom)
{
    uint32_t at = atom.id * UINT32_C(0x9e3779b1) >> 24;
    cop__monitor_write *write = &monitor->wave->write[at];
    if (write->count == 0)
        write->atom = atom;
    if (write->atom.id == atom.id && write->atom.generation == atom.generation)
        write->count++;
    else
        write->count--;
}

static void
writes_judge(cop__monitor *monitor)
{
    for (unsigned i = 0; i < COP_WRITE_SLOTS; i++)
        if (monitor->wave->write[i].count > 1)
            cop__written_add(monitor->budgets, monitor->wave->write[i].atom,
                             monitor->wave->write[i].count);
}

/* ---- budgets ---- */

static void
run_timed(cop__wave_timing *timing, cop_atom atom, uint64_t ns, bool same, bool relisted)
{
    cop__monitor_wave *wave = (cop__monitor_wave *)(void *)timing;
    if (cop__unlikely(cop__trace_on(wave->trace))) {
        uint64_t now = cop__clock_ns();
        cop__trace_add(wave->trace, COP_TRACE_RUN, atom, now - ns, now);
    }
    if (wave->count < COP_TIMED_RUNS)
        wave->run[wave->count++] = (cop__timed_run){atom, ns, same, relisted};
}

static void
runs_judge(cop__monitor *monitor, uint64_t version)
{
    const cop__monitor_wave *wave = monitor->wave;
    uint64_t limit = cop__load_relaxed(&monitor->budgets->limit_ns[COP_OVERRUN_COMPUTED]);
    cop__hot_add(monitor->budgets, wave->run, wave->count);
    for (uint32_t i = 0; i < wave->count; i++) {
        if (cop__likely(wave->run[i].ns <= limit))
            continue;
        cop_overrun overrun = {.kind = COP_OVERRUN_COMPUTED, .atom = wave->run[i].atom};
        overrun.version = version;
        overrun.took_ns = wave->run[i].ns;
        overrun.budget_ns = limit;
        overrun.worst_part = COP_MEASURE_PROPAGATE;
        overrun.time_ns = cop__realtime_ns();
        cop__overrun(monitor->budgets, &overrun);
    }
}

static cop_atom
slowest_run(const cop__monitor_wave *wave)
{
    cop_atom atom = {0, 0};
    uint64_t most = 0;
    for (uint32_t i = 0; i < wave->count; i++) {
        if (wave->run[i].ns <= most)
            continue;
        most = wave->run[i].ns;
        atom = wave->run[i].atom;
    }
    return atom;
}

static cop_measure
worst_part(const uint64_t *spent)
{
    unsigned worst = 0;
    for (unsigned part = 1; part < COP_MONITOR_PARTS; part++)
        if (spent[part] > spent[worst])
            worst = part;
    return (cop_measure)worst;
}

static void
commit_overrun(cop__monitor *monitor, uint64_t took, uint64_t version)
{
    const cop__monitor_commit *commit = &monitor->commit;
    cop_overrun overrun = {.kind = COP_OVERRUN_COMMIT, .worst_part = COP_MEASURE_COMMIT};
    if (monitor->measuring) {
        memcpy(overrun.part_ns, commit->spent, sizeof overrun.part_ns);
        overrun.worst_part = worst_part(commit->spent);
    }
    if (monitor->timing)
        overrun.atom = slowest_run(monitor->wave);
    else if (overrun.worst_part == COP_MEASURE_PROPAGATE || !monitor->measuring)
        monitor->armed = ARMED_COMMITS;
    overrun.version = version;
    overrun.took_ns = took;
    overrun.budget_ns = monitor->budget_ns;
    overrun.transactions = commit->transactions;
    overrun.operations = commit->operations;
    overrun.time_ns = cop__realtime_ns();
    cop__overrun(monitor->budgets, &overrun);
    COP_PROBE3(stall, version, took, monitor->budget_ns);
}

/* One that was not measured: of it there is the tick at which it began, and the one at which it
 * made its version, which is noted there anyway. Between them it may have taken a tick less than it
 * seems. */
static void
unmeasured_end(cop__monitor *monitor, uint64_t version, uint64_t published_ns)
{
    uint64_t took = published_ns - monitor->commit.began; /* negative when it published nothing */
    if (cop__likely((int64_t)took <= monitor->seeming_ns))
        return;
    uint64_t apart = clocks_apart(), moved = apart - monitor->apart_ns;
    monitor->apart_ns = apart;
    if (moved + 2 * monitor->tick_ns > 4 * monitor->tick_ns)
        return; /* somebody has set the clock */
    commit_overrun(monitor, took, version);
    if (monitor->every == 0)
        choose_next(monitor, took); /* such commits are worth measuring */
}

void
cop__monitor_end(cop__monitor *monitor, uint64_t version, uint64_t published_ns)
{
    if (!monitor->measuring) {
        unmeasured_end(monitor, version, published_ns);
        return;
    }
    cop__monitor_mark(monitor, COP_MEASURE_RECLAIM); /* the last part goes up to here */
    uint64_t took = monitor->commit.last - monitor->commit.began;
    commit_record(monitor, took);
    if (cop__unlikely(cop__trace_on(monitor->trace)))
        cop__trace_add(monitor->trace, COP_MEASURE_COMMIT, (cop_atom){0, 0}, monitor->commit.began,
                       monitor->commit.last);
    if (monitor->timing) {
        runs_judge(monitor, version);
        writes_judge(monitor);
    }
    if (cop__unlikely(took > monitor->budget_ns))
        commit_overrun(monitor, took, version);
    choose_next(monitor, took);
}

/* ---- others ---- */

void
cop__monitor_add(cop__monitor *monitor, cop_measure measure, uint64_t value)
{
    int64_t ticket;
    COP_ASSERT(measure >= COP_MEASURE_SHARED);
    cop__monitor_block *block = section_begin(monitor, &ticket);
    cop__histogram_add_shared(&block->of[measure], value);
    cop__phaser_leave(&monitor->phaser, ticket);
    if (cop__unlikely(cop__trace_on(monitor->trace))) {
        uint64_t now = cop__clock_ns();
        cop__trace_add(monitor->trace, (int)measure, (cop_atom){0, 0}, now - value, now);
    }
}

/* ---- the beginning ---- */

/* What may seem to have taken no longer is within the budget, perhaps. */
static int64_t
seeming(const cop__monitor *monitor)
{
    uint64_t room = (uint64_t)INT64_MAX - monitor->tick_ns;
    uint64_t budget = monitor->budget_ns < room ? monitor->budget_ns : room;
    return (int64_t)(budget + monitor->tick_ns);
}

void
cop__monitor_calibrate(cop__monitor *monitor, uint64_t every)
{
    uint64_t least = UINT64_MAX;
    struct timespec tick = {0, 4000000};
    clock_getres(CLOCK_MONOTONIC_COARSE, &tick);
    monitor->tick_ns = (uint64_t)tick.tv_nsec;
    monitor->apart_ns = clocks_apart();
    monitor->budget_ns = UINT64_MAX;
    monitor->armed = 0;
    monitor->wave->timing.ran = run_timed;
    for (unsigned round = 0; round < CALIBRATION_ROUNDS; round++) {
        monitor->countdown = 1;
        uint64_t began = cop__clock_ns();
        cop__monitor_begin(monitor, 1, 1);
        for (unsigned part = 0; part < COP_MONITOR_PARTS; part++)
            cop__monitor_mark(monitor, (cop_measure)part);
        cop__monitor_end(monitor, 0, 0);
        uint64_t took = cop__clock_ns() - began;
        least = took < least ? took : least;
    }
    monitor->cost_ns = least;
    monitor->untimed = WAVE_GAP;
    monitor->budget_ns = cop__load_relaxed(&monitor->budgets->limit_ns[COP_OVERRUN_COMMIT]);
    monitor->seeming_ns = seeming(monitor);
    monitor->every = every;
    monitor->mean_ns = monitor->passed = monitor->taken = 0;
    monitor->countdown = every > 0 ? every : 1;
    monitor->random = cop__random_seed() | 1;
    cop__store_relaxed(&monitor->stamp, (uint32_t)(every > 1 ? COP_STAMP_NEXT : COP_STAMP_ALL));
}

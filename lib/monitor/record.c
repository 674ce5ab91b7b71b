/* SPDX-License-Identifier: MIT */
/*
 * Recording a commit, and choosing which commits are measured.
 *
 * Measuring one costs seven readings of the clock and two dozen additions: some hundred ns, as much as
 * a small commit itself. So commits are all measured only while that is a small part of what they take
 * on average, and else one of MEAN_GAP, at random lest the choice fall into step with what commits do.
 * A rarer choice than one in a hundred leaves the 99th percentile where it is.
 */
#include "monitor/record.h"

#define COST_SHARE 32u /* all are measured while this times the cost is less than a commit */
#define MEAN_GAP 1024u
#define MEAN_SHIFT 4u /* the moving mean's memory: 16 measured commits */
#define CALIBRATION_ROUNDS 64u

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

void
cop__monitor_begin(cop__monitor *monitor, uint64_t transactions, uint64_t operations)
{
    cop__monitor_commit *commit = &monitor->commit;
    monitor->passed++;
    monitor->measuring = --monitor->countdown == 0;
    if (!monitor->measuring)
        return;
    commit->transactions = transactions;
    commit->operations = operations;
    commit->weight = monitor->passed;
    monitor->passed = 0;
    memset(commit->spent, 0, sizeof commit->spent);
    commit->began = commit->last = cop__clock_ns();
}

void
cop__monitor_mark(cop__monitor *monitor, cop_measure part)
{
    cop__monitor_commit *commit = &monitor->commit;
    uint64_t now = cop__clock_ns();
    commit->spent[part] += now - commit->last;
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

void
cop__monitor_end(cop__monitor *monitor)
{
    if (!monitor->measuring)
        return;
    cop__monitor_mark(monitor, COP_MEASURE_RECLAIM); /* the last part goes up to here */
    uint64_t took = monitor->commit.last - monitor->commit.began;
    commit_record(monitor, took);
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
}

/* ---- the beginning ---- */

void
cop__monitor_calibrate(cop__monitor *monitor, uint64_t every)
{
    uint64_t least = UINT64_MAX;
    for (unsigned round = 0; round < CALIBRATION_ROUNDS; round++) {
        monitor->countdown = 1;
        uint64_t began = cop__clock_ns();
        cop__monitor_begin(monitor, 1, 1);
        for (unsigned part = 0; part < COP_MONITOR_PARTS; part++)
            cop__monitor_mark(monitor, (cop_measure)part);
        cop__monitor_end(monitor);
        uint64_t took = cop__clock_ns() - began;
        least = took < least ? took : least;
    }
    monitor->cost_ns = least;
    monitor->every = every;
    monitor->mean_ns = monitor->passed = monitor->taken = 0;
    monitor->countdown = every > 0 ? every : 1;
    monitor->random = cop__random_seed() | 1;
    cop__store_relaxed(&monitor->stamp, (uint32_t)(every > 1 ? COP_STAMP_NEXT : COP_STAMP_ALL));
}

/* SPDX-License-Identifier: MIT */
/*
 * Recording: the side of the monitor that commits and others write to. It knows no store.
 *
 * All histograms lie in a block, of which there are two. Whoever records enters the phaser once for
 * everything that belongs together (a section), adds to the block of its side, and leaves. So what
 * is read is whole sections; the argument is in phaser.h. Times are gathered while a commit runs
 * and recorded at its end, so that a section is a few additions long and never contains the commit
 * itself.
 *
 * Who adds: measures before COP_MEASURE_SHARED belong to the holder of the commit right, so their
 * additions need no atomic operation: holders are ordered by the right, and a reader empties a
 * block only while no section is on it. The others are anybody's.
 */
#ifndef COP_MONITOR_RECORD_H
#define COP_MONITOR_RECORD_H

#include <coppice/monitor.h>

#include "graph/graph.h"
#include "monitor/budget.h"
#include "monitor/histogram.h"
#include "monitor/phaser.h"
#include "monitor/trace.h"

#define COP_MEASURE_SHARED COP_MEASURE_NOTIFY
#define COP_MONITOR_PARTS (COP_MEASURE_RECLAIM + 1) /* of a commit, that add up to it */

typedef struct cop__monitor_block {
    cop__histogram of[COP_MEASURES];
} cop__monitor_block;

/* The commit that is being measured: owned by the holder of the commit right. */
typedef struct cop__monitor_commit {
    uint64_t began, last;
    uint64_t spent[COP_MONITOR_PARTS];
    uint64_t transactions, operations;
    uint64_t weight; /* commits it stands for */
} cop__monitor_commit;

#define COP_TIMED_RUNS 512u
#define COP_WRITE_SLOTS 256u /* a power of two */

/* A write of the batch that is looked at, by a hash of its atom. */
typedef struct cop__monitor_write {
    cop_atom atom;
    uint32_t count;
} cop__monitor_write;

/* The runs of a commit that are timed one by one. */
typedef struct cop__monitor_wave {
    cop__wave_timing timing; /* first */
    cop__trace *trace;
    uint32_t count;
    cop__timed_run run[COP_TIMED_RUNS];
    cop__monitor_write write[COP_WRITE_SLOTS];
} cop__monitor_wave;

/* Which submitted transaction is to say when it was. */
enum cop__stamp { COP_STAMP_NONE, COP_STAMP_NEXT, COP_STAMP_ALL };

typedef struct cop__monitor {
    cop__phaser phaser;
    cop__monitor_block *block[2];

    /* enum cop__stamp; submitters take a NEXT away */
    _Alignas(COP_CACHE_LINE) _Atomic uint32_t stamp;

    /* the holder of the right's */
    _Alignas(COP_CACHE_LINE) cop__monitor_commit commit;
    bool measuring;     /* this commit */
    bool timing;        /* and its runs */
    uint32_t armed;     /* commits whose runs are to be timed */
    uint32_t untimed;   /* measured commits until the runs of one are timed */
    uint64_t budget_ns; /* of a commit */
    uint64_t tick_ns;   /* of the coarse clock */
    int64_t seeming_ns; /* the longest that one within its budget seems to take by that clock */
    uint64_t apart_ns;  /* how far the clock of the day was ahead of the steady one */
    uint64_t countdown; /* commits until one is measured */
    uint64_t passed;    /* commits since one was, itself counted */
    uint64_t taken;     /* queued transactions taken since one told its waiting */
    uint64_t every;     /* 0: chosen by cost */
    uint64_t cost_ns;   /* of measuring one commit */
    uint64_t mean_ns;   /* of the commits measured, moving */
    uint64_t random;

    cop__monitor_wave *wave;
    cop__budgets *budgets;
    cop__trace *trace;
    struct cop__monitor_reader *reader;
} cop__monitor;

/* ---- for commits: the holder of the right ---- */

/* The queued transactions of a batch, told one by one. Zeroed to begin with. */
typedef struct cop__monitor_waits {
    cop__monitor_block *block; /* of the section that is open, or NULL */
    int64_t ticket;
    uint64_t now;
} cop__monitor_waits;

/* queued_ns: 0, or when it was submitted. */
void cop__monitor_waited(cop__monitor *monitor, cop__monitor_waits *waits, uint64_t queued_ns);
void cop__monitor_waits_end(cop__monitor *monitor, cop__monitor_waits *waits);

/* Counts a commit. When it is to be measured, monitor->measuring is set and its time has begun. */
void cop__monitor_begin(cop__monitor *monitor, uint64_t transactions, uint64_t operations);
/* A part of the measured commit ends here. */
void cop__monitor_mark(cop__monitor *monitor, cop_measure part);
/* An operation of a batch whose runs are timed wrote this atom. */
void cop__monitor_wrote(cop__monitor *monitor, cop_atom atom);
/* Ends a commit: records it if it was measured, looks at its budget, and decides which one is
 * measured next. The newest version, and when it was made (CLOCK_REALTIME_COARSE). */
void cop__monitor_end(cop__monitor *monitor, uint64_t version, uint64_t published_ns);
/* Before a monitor is live: finds out what measuring costs, and begins with nothing. */
void cop__monitor_calibrate(cop__monitor *monitor, uint64_t every);

/* ---- for anybody ---- */

/* When a transaction is submitted: the time, if somebody wants to know, else 0. Wait-free. */
uint64_t cop__monitor_queued(cop__monitor *monitor);
/* Records a shared measure. Lock-free. */
void cop__monitor_add(cop__monitor *monitor, cop_measure measure, uint64_t value);

#endif

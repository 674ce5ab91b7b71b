/* SPDX-License-Identifier: MIT */
/*
 * The figures of one key and value size: a row for each case, a column for each system, in each
 * cell one figure for every round. Coppice's cells know the line to beat and their ratio to the
 * best peer that has snapshots and to the best that has none.
 */
#ifndef COPPICE_BENCH_STORE_TABLE_H
#define COPPICE_BENCH_STORE_TABLE_H

#include "bench/report.h"
#include "bench/store_child.h"

enum { TABLE_COLUMNS = 6, TABLE_ROWS = 64, TABLE_OWN_COLUMNS = 2 /* the first ones are coppice */ };

typedef struct table_cell {
    report_samples samples;
    char fields[640]; /* members of its own, ",\"batch\":1" */
} table_cell;

typedef struct table_row {
    char name[24], label[24], unit[12];
    table_cell cell[TABLE_COLUMNS];
} table_row;

typedef struct bench_table {
    const bench_work *work;
    const bench_process *process; /* TABLE_COLUMNS of them */
    unsigned rows;
    table_row row[TABLE_ROWS];
} bench_table;

/* Adds one round's figure. label tells rows of one case apart ("batch 10"); fields may be "". */
void table_add(bench_table *table, unsigned column, const char *name, const char *label,
               const char *unit, double value, const char *fields);

/* One JSON line for each cell, or the whole for people. */
void table_json(const bench_table *table);
void table_print(const bench_table *table);

#endif

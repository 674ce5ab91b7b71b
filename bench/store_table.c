/* SPDX-License-Identifier: MIT */
/* Rows, columns, ratios, and the lines to beat. */
#include "bench/store_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The lines to beat, for the machine that they were set on: membarrier and huge pages on (column
 * 0), or both off (column 1). */
typedef struct line_to_beat {
    const char *name, *label, *unit;
    int by_name;          /* -1: both kinds of key */
    uint32_t value_bytes; /* 0: both sizes */
    unsigned column;
    double line;
} line_to_beat;

static const line_to_beat lines[] = {
    {"lookup", "", "ns/op", 0, 0, 0, 20},
    {"lookup", "", "ns/op", 0, 0, 1, 28},
    {"lookup", "", "ns/op", 1, 0, 0, 100},
    {"pin_lookup", "", "ns/op", 0, 0, 0, 35},
    {"pin", "", "ns/op", -1, 0, 0, 2.5},
    {"pin", "", "ns/op", -1, 0, 1, 5},
    {"scan", "", "ns/key", 0, 0, 0, 8},
    {"update_1", "", "ns/op", 0, 0, 0, 400},
    {"update_10", "", "ns/op", 0, 0, 0, 280},
    {"update_1000", "", "ns/op", 0, 0, 0, 180},
    {"bytes_per_atom", "kind all", "bytes/key", 0, 64, 0, 95},
    {"bytes_per_atom", "kind all", "bytes/key", 0, 16, 0, 24},
    {"bytes_per_atom", "part tree", "bytes/atom", 1, 16, 0, 24},
    {"bytes_per_atom", "part naming", "bytes/atom", 1, 16, 0, 64},
    {"read_beside_writer", "batch 1", "x alone", -1, 0, 0, 2},
    {"read_beside_writer", "batch 1000", "x alone", -1, 0, 0, 2},
    {"stall_growth_bytes", "batch 1", "x tree", -1, 0, 0, 1},
    {"stall_growth_bytes", "batch 1000", "x tree", -1, 0, 0, 1},
    {"counter", "txn_add", "ops/s", -1, 0, 0, 1e6},
    {"counter", "transact", "ops/s", -1, 0, 0, 1e5},
    {"counter", "txn_add", "least share", -1, 0, 0, 0.1},
    {"counter", "transact", "least share", -1, 0, 0, 0.1},
};

static double
line_of(const bench_table *table, const table_row *row, unsigned column)
{
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        const line_to_beat *l = &lines[i];
        if (l->column == column && strcmp(l->name, row->name) == 0 &&
            strcmp(l->label, row->label) == 0 && strcmp(l->unit, row->unit) == 0 &&
            (l->by_name < 0 || l->by_name == table->work->by_name) &&
            (l->value_bytes == 0 || l->value_bytes == table->work->value_bytes))
            return l->line;
    }
    return 0;
}

static bool
more_is_better(const table_row *row)
{
    return strcmp(row->unit, "ops/s") == 0 || strcmp(row->unit, "least share") == 0;
}

static table_row *
row_of(bench_table *table, const char *name, const char *label, const char *unit)
{
    table_row *row;
    for (unsigned i = 0; i < table->rows; i++) {
        row = &table->row[i];
        if (strcmp(row->name, name) == 0 && strcmp(row->label, label) == 0 &&
            strcmp(row->unit, unit) == 0)
            return row;
    }
    if (table->rows == TABLE_ROWS)
        return NULL;
    row = &table->row[table->rows++];
    memset(row, 0, sizeof *row);
    snprintf(row->name, sizeof row->name, "%s", name);
    snprintf(row->label, sizeof row->label, "%s", label);
    snprintf(row->unit, sizeof row->unit, "%s", unit);
    return row;
}

void
table_add(bench_table *table, unsigned column, const char *name, const char *label,
          const char *unit, double value, const char *fields)
{
    table_row *row = row_of(table, name, label, unit);
    if (!row) {
        report_note("no room for a row of %s", name);
        return;
    }
    report_add(&row->cell[column].samples, value);
    snprintf(row->cell[column].fields, sizeof row->cell[column].fields, "%s", fields);
}

/* Units that are themselves a ratio to the system's own figures, and the time to free what others
 * never free, say nothing when divided by a peer's. */
static bool
comparable(const table_row *row)
{
    static const char *const own[] = {"x alone", "x alone cpu", "x tree", "least share", "ms"};
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        if (strcmp(row->unit, own[i]) == 0)
            return false;
    return true;
}

/* A peer whose writer stands still while a reader holds its lock does not grow: no measure. */
static bool
measures(const bench_system *system, const table_row *row)
{
    return strcmp(row->name, "stall_growth_bytes") != 0 || strcmp(system->barrier, "lock") != 0;
}

/* The column of the best peer with snapshots, or without; -1 when there is none. */
static int
best_peer(const bench_table *table, const table_row *row, bool snapshots)
{
    int best = -1;
    double best_value = 0;
    for (int c = TABLE_OWN_COLUMNS; comparable(row) && c < TABLE_COLUMNS; c++) {
        const bench_system *system = table->process[c].system;
        double value = report_median(&row->cell[c].samples);
        if (value <= 0 || system->snapshots != snapshots || !measures(system, row))
            continue;
        if (best < 0 || (more_is_better(row) ? value > best_value : value < best_value)) {
            best = c;
            best_value = value;
        }
    }
    return best;
}

static void
json_ratios(const bench_table *table, const table_row *row, unsigned column, char *out, size_t n)
{
    static const char *const names[2] = {"without", "with"};
    double value = report_median(&row->cell[column].samples);
    out[0] = 0;
    for (int snapshots = 1; snapshots >= 0; snapshots--) {
        int peer = best_peer(table, row, snapshots);
        size_t used = strlen(out);
        if (peer >= 0)
            snprintf(out + used, n - used,
                     ",\"best_%s_snapshots\":\"%s\",\"ratio_%s_snapshots\":%.4g", names[snapshots],
                     table->process[peer].system->name, names[snapshots],
                     value / report_median(&row->cell[peer].samples));
    }
}

static bool
beats(const table_row *row, unsigned column, double line)
{
    double value = report_median(&row->cell[column].samples);
    return more_is_better(row) ? value >= line : value <= line;
}

static void
json_line(const bench_table *table, const table_row *row, unsigned column, char *out, size_t n)
{
    double line = line_of(table, row, column);
    out[0] = 0;
    if (line > 0)
        snprintf(out, n, ",\"line\":%g,\"beats_line\":%s", line,
                 beats(row, column, line) ? "true" : "false");
}

static void
json_cell(const bench_table *table, const table_row *row, unsigned column)
{
    const bench_process *process = &table->process[column];
    const bench_system *system = process->system;
    char fields[1400], ratios[320] = "", line[64] = "";
    report_row out = {"store",   row->name, system->name,
                      row->unit, fields,    &row->cell[column].samples};
    const char *barrier = system->barrier;
    if (!barrier)
        barrier = process->config.membarrier ? "membarrier" : "fence";
    if (column < TABLE_OWN_COLUMNS) {
        json_ratios(table, row, column, ratios, sizeof ratios);
        json_line(table, row, column, line, sizeof line);
    }
    snprintf(fields, sizeof fields,
             ",\"keys\":%u,\"key\":\"%s\",\"value_bytes\":%u,\"snapshots\":%s,\"barrier\":\"%s\","
             "\"huge_pages\":%s%s%s%s",
             table->work->keys, table->work->by_name ? "str24" : "int8", table->work->value_bytes,
             system->snapshots ? "true" : "false", barrier,
             process->config.huge_pages ? "true" : "false", row->cell[column].fields, ratios, line);
    report_json(&out);
}

void
table_json(const bench_table *table)
{
    for (unsigned r = 0; r < table->rows; r++)
        for (unsigned c = 0; c < TABLE_COLUMNS; c++)
            if (table->row[r].cell[c].samples.n)
                json_cell(table, &table->row[r], c);
}

static void
print_ratio(const bench_table *table, const table_row *row, bool snapshots)
{
    int peer = best_peer(table, row, snapshots);
    const report_samples *own = &row->cell[0].samples;
    if (peer < 0 || own->n == 0)
        printf(" %10s", "");
    else
        printf(" %9.3fx", report_median(own) / report_median(&row->cell[peer].samples));
}

static void
print_cell(const table_row *row, unsigned column)
{
    const report_samples *samples = &row->cell[column].samples;
    char text[32];
    if (samples->n == 0)
        printf(" %13s", "-");
    else
        printf(" %8s ±%2.0f%%", report_number(report_median(samples), text, sizeof text),
               report_spread(samples) * 100);
}

static void
print_row(const bench_table *table, const table_row *row)
{
    char what[64], text[32];
    double line = line_of(table, row, 0);
    snprintf(what, sizeof what, "%s%s%s", row->name, row->label[0] ? ", " : "", row->label);
    printf("%-36s %-11s", what, row->unit);
    for (unsigned c = 0; c < TABLE_COLUMNS; c++)
        if (table->process[c].system)
            print_cell(row, c);
    print_ratio(table, row, true);
    print_ratio(table, row, false);
    if (line > 0 && row->cell[0].samples.n)
        printf("  %s %s", report_number(line, text, sizeof text),
               beats(row, 0, line) ? "met" : "MISSED");
    line = line_of(table, row, 1);
    if (line > 0 && row->cell[1].samples.n)
        printf("; both off: %s %s", report_number(line, text, sizeof text),
               beats(row, 1, line) ? "met" : "MISSED");
    printf("\n");
}

void
table_print(const bench_table *table)
{
    printf("\n%s keys, %u-byte values%s, %u keys\n", table->work->by_name ? "str24" : "int8",
           table->work->value_bytes, table->work->value_bytes <= 16 ? " (inline)" : "",
           table->work->keys);
    printf("%-36s %-11s", "case", "unit");
    for (unsigned c = 0; c < TABLE_COLUMNS; c++)
        if (table->process[c].system)
            printf(" %13s", c == 1 ? "mb+hp off" : table->process[c].system->name);
    printf(" %10s %10s  %s\n", "/snapshots", "/without", "line");
    for (unsigned r = 0; r < table->rows; r++)
        print_row(table, &table->row[r]);
    fflush(stdout);
}

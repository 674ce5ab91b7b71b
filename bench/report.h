/* SPDX-License-Identifier: MIT */
/* What all benchmarks print: one JSON object a line on standard output, or tables for people. */
#ifndef COPPICE_BENCH_REPORT_H
#define COPPICE_BENCH_REPORT_H

#include <stddef.h>

#define REPORT_ROUNDS_MAX 64

/* The figures of one row, one for each round. */
typedef struct report_samples {
    unsigned n;
    double value[REPORT_ROUNDS_MAX];
} report_samples;

typedef struct report_row {
    const char *bench;  /* "store" */
    const char *name;   /* the case: "lookup" */
    const char *system; /* "coppice" */
    const char *unit;   /* "ns/op" */
    const char *fields; /* more members, each with a comma before it: ",\"keys\":1000000"; or "" */
    const report_samples *samples;
} report_row;

/* Adds a figure; more than REPORT_ROUNDS_MAX are dropped. */
void report_add(report_samples *samples, double value);

/* Least first. */
void report_sort(double *values, size_t n);

/* 0 when there is none. */
double report_median(const report_samples *samples);

/* Half of (greatest - least), as a part of the median: 0.05 is +-5 %. */
double report_spread(const report_samples *samples);

/* The 95 % interval of the median, from ranks: normal approximation of the binomial. */
void report_interval(const report_samples *samples, double *low, double *high);

/* One line: the median as "value", with "low", "high" and "rounds". */
void report_json(const report_row *row);

/* The value with as many digits as mean something: 0.65, 16.2, 1435, 1.2M. */
const char *report_number(double value, char *buffer, size_t capacity);

/* A line on standard error, with the program's name before it. */
void report_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif

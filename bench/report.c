/* SPDX-License-Identifier: MIT */
/* Medians of rounds and the two forms of output. */
#include "bench/report.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void
report_add(report_samples *samples, double value)
{
    if (samples->n < REPORT_ROUNDS_MAX)
        samples->value[samples->n++] = value;
}

static int
compare_doubles(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

void
report_sort(double *values, size_t n)
{
    qsort(values, n, sizeof *values, compare_doubles);
}

static report_samples
sorted(const report_samples *samples)
{
    report_samples copy = *samples;
    report_sort(copy.value, copy.n);
    return copy;
}

double
report_median(const report_samples *samples)
{
    report_samples s = sorted(samples);
    if (s.n == 0)
        return 0;
    return s.n % 2 ? s.value[s.n / 2] : (s.value[s.n / 2 - 1] + s.value[s.n / 2]) / 2;
}

double
report_spread(const report_samples *samples)
{
    report_samples s = sorted(samples);
    double median = report_median(samples);
    if (s.n < 2 || median == 0)
        return 0;
    return fabs((s.value[s.n - 1] - s.value[0]) / 2 / median);
}

void
report_interval(const report_samples *samples, double *low, double *high)
{
    report_samples s = sorted(samples);
    unsigned rank = s.n > 0 ? (unsigned)fmax(0, (s.n - 1.96 * sqrt((double)s.n)) / 2) : 0;
    *low = s.n > 0 ? s.value[rank] : 0;
    *high = s.n > 0 ? s.value[s.n - 1 - rank] : 0;
}

void
report_json(const report_row *row)
{
    report_samples s = sorted(row->samples);
    if (s.n == 0)
        return;
    printf("{\"bench\":\"%s\",\"case\":\"%s\",\"system\":\"%s\",\"value\":%.10g,\"unit\":\"%s\"%s,"
           "\"low\":%.10g,\"high\":%.10g,\"rounds\":%u}\n",
           row->bench, row->name, row->system, report_median(&s), row->unit, row->fields,
           s.value[0], s.value[s.n - 1], s.n);
    fflush(stdout);
}

const char *
report_number(double value, char *buffer, size_t capacity)
{
    double size = fabs(value);
    if (size >= 1e9)
        snprintf(buffer, capacity, "%.2fG", value / 1e9);
    else if (size >= 1e6)
        snprintf(buffer, capacity, "%.2fM", value / 1e6);
    else if (size >= 1e5)
        snprintf(buffer, capacity, "%.0fk", value / 1e3);
    else if (size >= 100)
        snprintf(buffer, capacity, "%.0f", value);
    else if (size >= 10)
        snprintf(buffer, capacity, "%.1f", value);
    else
        snprintf(buffer, capacity, "%.2f", value);
    return buffer;
}

void
report_note(const char *format, ...)
{
    va_list arguments;
    fflush(stdout);
    fprintf(stderr, "%s: ", program_invocation_short_name);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

/* SPDX-License-Identifier: MIT */
/*
 * The page of `coppice top`. It is written whole into memory and then line by line to the terminal,
 * each cut to its width: what comes from paths may be of any length, and must not move the cursor.
 */
#include "tools/top.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define USUAL_WIDTH 80
#define TABLE_ROWS 20
#define LISTED 10
#define INDENT 4
#define ROOMY 50 /* rows from which there is room for advice */

struct paper {
    FILE *text;
    size_t width;  /* to break lines at */
    size_t column; /* of a flow */
    size_t listed; /* rows of each list */
    bool short_of_room;
};

static const struct {
    const char *measure, *label;
    bool time;
} phases[] = {
    {"commit", "commit", true},         {"apply", "  apply", true},
    {"propagate", "  propagate", true}, {"publish", "  publish", true},
    {"tell", "  tell", true},           {"reclaim", "  reclaim", true},
    {"queue_wait", "queue wait", true}, {"window_wait", "window wait", true},
    {"notify", "notify", true},         {"serialize", "serialize", true},
    {"batch", "transactions", false},   {"operations", "operations", false},
};

/* ---- lines ---- */

/* Items one behind the other, as many as fit in a line. */
static void __attribute__((format(printf, 2, 3))) flow(struct paper *p, const char *format, ...)
{
    char item[160];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(item, sizeof item, format, arguments);
    va_end(arguments);
    size_t length = strlen(item);
    if (p->column > 0 && p->column + 3 + length > p->width) {
        fputc('\n', p->text);
        p->column = 0;
    }
    fprintf(p->text, "%s%s", p->column ? "   " : "", item);
    p->column += length + (p->column ? 3 : 0);
}

static void
flow_end(struct paper *p)
{
    fputc('\n', p->text);
    p->column = 0;
}

/* Words, broken at the width; lines but the first begin at INDENT. */
static void
wrap(struct paper *p, size_t column, const char *words)
{
    fprintf(p->text, "%*s", (int)column, "");
    while (*words) {
        size_t length = strcspn(words, " ");
        if (column > INDENT && column + length > p->width)
            column = (size_t)fprintf(p->text, "\n%*s", INDENT, "") - 1;
        fprintf(p->text, "%.*s ", (int)length, words);
        column += length + 1;
        words += length;
        words += strspn(words, " ");
    }
    fputc('\n', p->text);
}

static void __attribute__((format(printf, 3, 4)))
put_words(struct paper *p, size_t column, const char *format, ...)
{
    char words[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(words, sizeof words, format, arguments);
    va_end(arguments);
    wrap(p, column, words);
}

static const char *
duration(uint64_t ns, char text[16])
{
    static const char *const units[] = {"ns", "us", "ms", "s"};
    double value = (double)ns;
    unsigned unit = 0;
    for (; value >= 999.5 && unit < 3; unit++)
        value /= 1000;
    int digits = unit == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
    snprintf(text, 16, "%.*f %s", digits, value, units[unit]);
    return text;
}

static uint64_t
member(const json_t *json, const char *name)
{
    return (uint64_t)json_integer_value(json_object_get(json, name));
}

static const char *
text_of(const json_t *json, const char *name)
{
    const char *text = json_string_value(json_object_get(json, name));
    return text ? text : "";
}

/* ---- what there is ---- */

static void
put_state(struct paper *p, const json_t *stats)
{
    char age[16];
    long long held = top_number(stats, "held_versions");
    long long oldest = top_number(stats, "oldest_held_version");
    flow(p, "version %lld", top_number(stats, "version"));
    flow(p, "atoms %lld", top_number(stats, "atoms"));
    flow(p, "memory %.1f of %.0f MiB", (double)top_number(stats, "bytes_held") / 1048576,
         (double)top_number(stats, "bytes_limit") / 1048576);
    flow(p, "queued %lld", top_number(stats, "queued"));
    flow(p, "threads %lld", top_number(stats, "workers.threads"));
    flow_end(p);
    flow(p, "held versions %lld", held);
    if (held > 0 && oldest < top_number(stats, "version"))
        flow(p, "the oldest %lld of %s ago", oldest,
             duration((uint64_t)top_number(stats, "oldest_held_age") * 1000000u, age));
    flow(p, "by snapshots %lld", top_number(stats, "snapshots"));
    flow(p, "by pins %lld", top_number(stats, "pins"));
    flow(p, "leases %lld", top_number(stats, "http.leases"));
    flow(p, "watchers %lld", top_number(stats, "watchers"));
    flow_end(p);
}

static void
put_rates(struct paper *p, const struct top_page *page, const struct top_page *before)
{
    double seconds = page->time_s - before->time_s;
    fprintf(p->text, before->stats ? "\na second:\n" : "\nsince the start:\n");
    for (const struct top_row *row = top_rates; row->path; row++)
        if (before->stats)
            flow(p, "%s %.1f", row->label, (double)top_grown(page, before, row->path) / seconds);
        else
            flow(p, "%s %lld", row->label, top_grown(page, before, row->path));
    flow_end(p);
}

/* ---- what was measured ---- */

/* Columns in their order; where there is no room, those of the highest rank are left out. */
enum { COLUMNS = 6 };
static const struct {
    const char *name;
    unsigned rank;
} columns[COLUMNS] = {{"p50", 0}, {"p90", 4}, {"p99", 1}, {"p99.9", 2}, {"max", 3}, {"count", 5}};

static bool
has_column(const struct paper *p, unsigned i)
{
    return 12 + 10 * (columns[i].rank + 1) <= p->width;
}

static void
put_phase(struct paper *p, const char *name, const struct top_distribution *d, bool time)
{
    const uint64_t value[COLUMNS] = {d->p50, d->p90, d->p99, d->p999, d->greatest, d->count};
    char text[16];
    fprintf(p->text, "%-12s", name);
    for (unsigned i = 0; i < COLUMNS; i++)
        if (!has_column(p, i))
            continue;
        else if (!d->count)
            fprintf(p->text, " %9s", "-");
        else if (time && i < COLUMNS - 1)
            fprintf(p->text, " %9s", duration(value[i], text));
        else
            fprintf(p->text, " %9llu", (unsigned long long)value[i]);
    fputc('\n', p->text);
}

/* What has never happened since the monitor was started is left out. */
static void
put_phases(struct paper *p, const struct top_page *page, const struct top_page *before)
{
    static const struct top_page none;
    fprintf(p->text, "\n%-12s", "took up to");
    for (unsigned i = 0; i < COLUMNS; i++)
        if (has_column(p, i))
            fprintf(p->text, " %9s", columns[i].name);
    fputc('\n', p->text);
    for (size_t i = 0; i < sizeof phases / sizeof *phases; i++) {
        struct top_distribution d = top_between(page, before, phases[i].measure);
        if (top_between(page, &none, phases[i].measure).count)
            put_phase(p, phases[i].label, &d, phases[i].time);
    }
}

static void
put_overruns(struct paper *p, const json_t *overruns)
{
    const char *kind;
    json_t *of;
    char took[16], budget[16];
    json_object_foreach((json_t *)(uintptr_t)overruns, kind, of)
    {
        const json_t *worst = json_array_get(json_object_get(of, "worst"), 0);
        if (worst)
            put_words(p, 0, "over budget: %s, %llu times; the worst %s of %s, version %llu%s%s",
                      kind, (unsigned long long)member(of, "count"),
                      duration(member(worst, "took_ns"), took),
                      duration(member(worst, "budget_ns"), budget),
                      (unsigned long long)member(worst, "version"),
                      *text_of(worst, "path") ? ", " : "", text_of(worst, "path"));
    }
}

static void
put_hottest(struct paper *p, const json_t *hottest)
{
    size_t i;
    json_t *hot;
    char total[16], mean[16], longest[16];
    if (!json_array_size(hottest))
        return;
    fprintf(p->text, "\n%9s %9s %9s %6s  hottest computed, of runs that were timed\n", "time",
            "mean", "max", "same");
    json_array_foreach((json_t *)(uintptr_t)hottest, i, hot)
    {
        uint64_t runs = member(hot, "runs");
        if (i >= p->listed)
            break;
        fprintf(p->text, "%9s %9s %9s %4.0f %%  %s\n", duration(member(hot, "total_ns"), total),
                duration(member(hot, "total_ns") / (runs ? runs : 1), mean),
                duration(member(hot, "greatest_ns"), longest),
                runs ? 100.0 * (double)member(hot, "same") / (double)runs : 0.0,
                text_of(hot, "path"));
    }
}

static void
put_monitor(struct paper *p, const struct top_page *page, const struct top_page *before)
{
    bool running = json_is_true(json_object_get(page->monitor, "running"));
    if (!running) {
        fputc('\n', p->text);
        put_words(p, 0, "The monitor is off: no percentiles, nothing hot. To switch it on:");
        fprintf(p->text, "    coppice options set performance.monitor=true\n");
        return;
    }
    put_phases(p, page, before);
    put_overruns(p, json_object_get(page->monitor, "overruns"));
}

/* ---- the rest ---- */

static void
put_warnings(struct paper *p, const struct top_page *page, const struct top_page *before)
{
    size_t i;
    json_t *warning;
    fputc('\n', p->text);
    for (const struct top_row *row = top_failures; row->path; row++)
        if (top_grown(page, before, row->path) > 0)
            fprintf(p->text, "warning: %s: %lld\n", row->label, top_grown(page, before, row->path));
    json_array_foreach(json_object_get(page->monitor, "warnings"), i, warning)
    {
        const char *path = text_of(warning, "path");
        if (i >= p->listed)
            break;
        put_words(p, 0, "warning: %s%s%s: %s", text_of(warning, "name"), *path ? ": " : "", path,
                  text_of(warning, "text"));
        if (!p->short_of_room)
            put_words(p, INDENT, "%s", text_of(warning, "advice"));
    }
}

static void
put_branches(struct paper *p, const json_t *monitor)
{
    const json_t *branches = json_object_get(monitor, "branches");
    size_t i;
    json_t *branch;
    if (!json_array_size(branches))
        return;
    bool whole = json_is_true(json_object_get(monitor, "branches_complete"));
    fprintf(p->text, "\n%9s  biggest branches%s\n", "atoms",
            whole ? "" : ", at least: too many to count");
    json_array_foreach((json_t *)(uintptr_t)branches, i, branch)
    {
        if (i >= p->listed)
            break;
        fprintf(p->text, "%9llu  %s\n", (unsigned long long)member(branch, "atoms"),
                text_of(branch, "path"));
    }
}

/* ---- the page ---- */

/* One line, cut at a character, without what a terminal would obey. */
static void
print_line(const char *line, size_t length, size_t width)
{
    size_t column = 0;
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)line[i];
        column += (c & 0xc0) != 0x80;
        if (width && column > width)
            break;
        putchar(c < 0x20 || c == 0x7f ? '?' : c);
    }
}

/* A section without a line leaves nothing behind. */
static void
print_text(const char *text, bool terminal, size_t width, size_t height)
{
    size_t rows = 0, blank = 0;
    if (terminal)
        printf("\033[H");
    while (*text && (!height || rows + 1 < height)) {
        size_t length = strcspn(text, "\n"), shown = length;
        while (shown > 0 && text[shown - 1] == ' ')
            shown--;
        blank = shown ? 0 : blank + 1;
        if (blank < 2) {
            print_line(text, shown, width);
            printf(terminal ? "\033[K\n" : "\n");
            rows++;
        }
        text += length + (text[length] == '\n');
    }
    printf(terminal ? "\033[J" : "\n");
}

/* The lists share what the table leaves. */
static size_t
rows_listed(size_t height)
{
    size_t left = height > TABLE_ROWS ? (height - TABLE_ROWS) / 3 : 0;
    return !height || left > LISTED ? LISTED : left < 2 ? 2 : left;
}

bool
top_print(const struct top_page *page, const struct top_page *before, bool terminal, size_t width,
          size_t height)
{
    char *text = NULL;
    size_t size;
    struct paper p = {.text = open_memstream(&text, &size),
                      .width = width ? width : USUAL_WIDTH,
                      .listed = rows_listed(height),
                      .short_of_room = height && height < ROOMY};
    if (!p.text)
        return false;
    put_state(&p, page->stats);
    put_rates(&p, page, before);
    put_monitor(&p, page, before);
    put_warnings(&p, page, before);
    if (json_is_true(json_object_get(page->monitor, "running")))
        put_hottest(&p, json_object_get(page->monitor, "hottest"));
    put_branches(&p, page->monitor);
    bool good = fclose(p.text) == 0;
    if (good)
        print_text(text, terminal, width, height);
    free(text);
    return good && fflush(stdout) == 0;
}

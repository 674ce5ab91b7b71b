/* SPDX-License-Identifier: MIT */
/*
 * `coppice top`: a page of a server's rates, percentiles and warnings, written anew while it runs.
 * What happened since the page before is told, on the first page since the server began.
 */
#include "tools/client.h"
#include "tools/commands.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BUCKETS_MAX = 64 };

static const char *const phases[] = {"commit", "queue_wait", "apply",  "propagate", "publish",
                                     "tell",   "reclaim",    "notify", "serialize"};
enum { PHASES = sizeof phases / sizeof *phases };

/* X(path in /v1/stats, "label"): what only grows */
#define TOP_RATES(X)                      \
    X("commits", "commits")               \
    X("transactions", "transactions")     \
    X("operations", "operations")         \
    X("graph.runs", "functions run")      \
    X("graph.cutoffs", "of them cut off") \
    X("http.requests", "requests")
/* These too, but they should not. */
#define TOP_WARNINGS(X)                                                  \
    X("transactions_failed", "transactions failed")                      \
    X("transactions_conflict", "transactions found their reads changed") \
    X("batches_abandoned", "batches were abandoned")                     \
    X("effects_failed", "effects failed")                                \
    X("effects_cut", "effects were cut off")                             \
    X("pins_leaked", "pins were leaked")                                 \
    X("graph.errors", "functions gave an error value")                   \
    X("graph.cycles", "circles of computed atoms")                       \
    X("http.refused", "requests were refused")                           \
    X("http.deadlines_passed", "requests passed their deadline")

struct row {
    const char *path, *label;
};
#define TOP_ROW(path, label) {path, label},
static const struct row rates[] = {TOP_RATES(TOP_ROW)}, warnings[] = {TOP_WARNINGS(TOP_ROW)};
#undef TOP_ROW
enum { RATES = sizeof rates / sizeof *rates, WARNINGS = sizeof warnings / sizeof *warnings };

/* Cumulated counts of a histogram, and the bounds that they are up to. */
struct phase {
    unsigned buckets;
    double bound_s[BUCKETS_MAX]; /* the last is infinite */
    uint64_t count[BUCKETS_MAX];
};

struct page {
    double time_s;
    json_t *stats;
    struct phase phase[PHASES];
};

static bool
call(const char *server, const char *target, struct http_answer *answer)
{
    const struct http_request request = {.server = server, .method = "GET", .target = target};
    return client_call(&request, target, answer);
}

/* coppice_duration_seconds_bucket{of="commit",le="0.001"} 17 */
static void
take_sample(struct page *page, const char *line)
{
    char of[32], bound[32];
    unsigned long long count;
    if (sscanf(line, "coppice_duration_seconds_bucket{of=\"%31[^\"]\",le=\"%31[^\"]\"} %llu", of,
               bound, &count) != 3)
        return;
    for (unsigned i = 0; i < PHASES; i++) {
        struct phase *phase = &page->phase[i];
        if (strcmp(of, phases[i]) != 0 || phase->buckets == BUCKETS_MAX)
            continue;
        phase->bound_s[phase->buckets] = strtod(bound, NULL); /* "+Inf" too */
        phase->count[phase->buckets++] = count;
    }
}

static bool
take_metrics(const char *server, struct page *page)
{
    struct http_answer answer;
    if (!call(server, "/metrics", &answer))
        return false;
    char *rest = answer.body;
    for (char *line; (line = strsep(&rest, "\n"));)
        take_sample(page, line);
    free(answer.body);
    return true;
}

static bool
take_page(const char *server, struct page *page)
{
    struct http_answer answer;
    struct timespec t;
    memset(page, 0, sizeof *page);
    if (!call(server, "/v1/stats", &answer))
        return false;
    clock_gettime(CLOCK_MONOTONIC, &t);
    page->time_s = (double)t.tv_sec + (double)t.tv_nsec / 1e9;
    page->stats = json_loadb(answer.body, answer.length, 0, NULL);
    free(answer.body);
    if (!page->stats)
        complain("the server's answer is no JSON");
    return page->stats && take_metrics(server, page);
}

/* A number by its name, with a dot where it is in a group; 0 when there is none. */
static long long
number(const json_t *stats, const char *path)
{
    char group[32];
    const char *dot = strchr(path, '.');
    if (!dot)
        return json_integer_value(json_object_get(stats, path));
    snprintf(group, sizeof group, "%.*s", (int)(dot - path), path);
    return json_integer_value(json_object_get(json_object_get(stats, group), dot + 1));
}

static long long
grown(const struct page *page, const struct page *before, const char *path)
{
    return number(page->stats, path) - number(before->stats, path);
}

static uint64_t
count_since(const struct phase *now, const struct phase *before, unsigned bucket)
{
    return now->count[bucket] - (bucket < before->buckets ? before->count[bucket] : 0);
}

/* The bound of the bucket in which the quantile of what came since is; -1 when nothing came. */
static double
quantile(const struct phase *now, const struct phase *before, double share)
{
    uint64_t all = now->buckets ? count_since(now, before, now->buckets - 1) : 0;
    unsigned i = 0;
    if (!all)
        return -1;
    while (i + 1 < now->buckets && (double)count_since(now, before, i) < share * (double)all)
        i++;
    return now->bound_s[i];
}

static void
print_bound(double bound_s)
{
    if (bound_s < 0)
        printf(" %12s", "-");
    else
        printf(" %12.3f", bound_s * 1e3);
}

static void
print_phases(const struct page *page, const struct page *before, const char *line_end)
{
    printf("%-12s %12s %12s %12s%s", "phase", "p50 <= ms", "p99 <= ms", "p99.9 <= ms", line_end);
    for (unsigned i = 0; i < PHASES; i++) {
        const struct phase *now = &page->phase[i], *then = &before->phase[i];
        printf("%-12s", phases[i]);
        print_bound(quantile(now, then, 0.5));
        print_bound(quantile(now, then, 0.99));
        print_bound(quantile(now, then, 0.999));
        printf("%s", line_end);
    }
    if (!page->phase[0].buckets)
        printf("(performance.monitor is off)%s", line_end);
}

static void
print_warnings(const struct page *page, const struct page *before, const char *line_end)
{
    const json_t *stats = page->stats;
    long long limit = number(stats, "bytes_limit");
    for (unsigned i = 0; i < WARNINGS; i++) {
        long long n = grown(page, before, warnings[i].path);
        if (n > 0)
            printf("warning: %lld %s%s", n, warnings[i].label, line_end);
    }
    if (limit > 0 && (double)number(stats, "bytes_held") > 0.9 * (double)limit)
        printf("warning: more than 90 %% of memory.limit_bytes is held%s", line_end);
}

static void
print_page(const struct page *page, const struct page *before, bool terminal)
{
    const char *line_end = terminal ? "\033[K\n" : "\n"; /* clears what was there before */
    const json_t *stats = page->stats;
    double seconds = page->time_s - before->time_s;
    if (terminal)
        printf("\033[H");
    printf("version %lld  atoms %lld  %.1f MiB  held versions %lld, oldest %lld  queued %lld%s%s",
           number(stats, "version"), number(stats, "atoms"),
           (double)number(stats, "bytes_held") / 1048576, number(stats, "held_versions"),
           number(stats, "oldest_held_version"), number(stats, "queued"), line_end, line_end);
    for (unsigned i = 0; i < RATES; i++)
        if (before->stats)
            printf("%-18s %12.1f /s%s", rates[i].label,
                   (double)grown(page, before, rates[i].path) / seconds, line_end);
        else
            printf("%-18s %12lld%s", rates[i].label, number(stats, rates[i].path), line_end);
    printf("%s", line_end);
    print_phases(page, before, line_end);
    printf("%s", line_end);
    print_warnings(page, before, line_end);
    if (terminal)
        printf("\033[J");
    else
        printf("\n");
    fflush(stdout);
}

static bool
show_pages(const char *server, uint64_t interval_ms, uint64_t pages)
{
    const struct timespec interval = {.tv_sec = (time_t)(interval_ms / 1000),
                                      .tv_nsec = (long)(interval_ms % 1000) * 1000000};
    static struct page page, before;
    bool good = true, terminal = isatty(STDOUT_FILENO);
    if (terminal)
        printf("\033[2J");
    for (uint64_t i = 0; good && (!pages || i < pages); i++) {
        if (i)
            nanosleep(&interval, NULL);
        good = take_page(server, &page) && !ferror(stdout);
        if (good)
            print_page(&page, &before, terminal);
        json_decref(before.stats);
        before = page;
    }
    json_decref(before.stats);
    return good;
}

int
run_top(const struct command *command, int argc, char **argv)
{
    const char *server = client_server();
    uint64_t interval_ms = 1000, pages = 0;
    int code;
    const struct arg args[] = {
        {"server", ARG_TEXT, &server, 0, 0, "URL",
         "the server (COPPICE_SERVER, else http://127.0.0.1:7227)"},
        {"interval-ms", ARG_U64, &interval_ms, 50, 3600000, "MS", "between two pages (1000)"},
        {"pages", ARG_U64, &pages, 0, UINT64_MAX, "N", "how many; 0: until it is interrupted (0)"},
        {NULL, ARG_FLAG, NULL, 0, 0, NULL, NULL},
    };
    if (!args_parse(command, args, argc, argv, &argc, &code))
        return code;
    if (argc)
        return usage_error(command, "top takes no argument");
    return show_pages(server, interval_ms, pages) ? EXIT_DONE : EXIT_FAILED;
}

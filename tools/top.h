/* SPDX-License-Identifier: MIT */
/* What the files of `coppice top` share: two answers of a server, and what is told from them. */
#ifndef COP_TOOLS_TOP_H
#define COP_TOOLS_TOP_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What was asked for at one moment. */
struct top_page {
    double time_s;
    json_t *stats;   /* of /v1/stats; NULL: no page yet */
    json_t *monitor; /* of /v1/monitor?buckets */
};

/* X(path in /v1/stats, "label"): what only grows */
#define TOP_RATES(X)                           \
    X("commits", "commits")                    \
    X("transactions", "transactions")          \
    X("operations", "operations")              \
    X("graph.runs", "functions run")           \
    X("graph.cutoffs", "of them cut off")      \
    X("watch_tellings", "watchers told")       \
    X("http.watch_events", "events sent")      \
    X("http.requests", "requests")
/* These too, but they should not. */
#define TOP_FAILURES(X)                                                  \
    X("transactions_failed", "transactions failed")                      \
    X("transactions_conflict", "transactions found their reads changed") \
    X("batches_abandoned", "batches abandoned")                          \
    X("effects_failed", "effects failed")                                \
    X("effects_cut", "effects cut off")                                  \
    X("pins_leaked", "pins leaked")                                      \
    X("watch_gaps", "gaps told to watchers")                             \
    X("graph.errors", "functions gave an error value")                   \
    X("graph.cycles", "circles of computed atoms")                       \
    X("http.refused", "requests refused")                                \
    X("http.deadlines_passed", "requests passed their deadline")

struct top_row {
    const char *path, *label;
};
extern const struct top_row top_rates[], top_failures[]; /* end with a row without a path */

/* A number by its path, with a dot where it is in a group; 0 when there is none. */
long long top_number(const json_t *stats, const char *path);
/* By how much it has grown since the page before; since the server's start without one. */
long long top_grown(const struct top_page *page, const struct top_page *before, const char *path);

/* How a measure was distributed: between two pages, by bounds that exceed what they are of by 6 % at
 * most; or, on the first page, since the monitor was started, as the server told it. */
struct top_distribution {
    uint64_t count, p50, p90, p99, p999, greatest;
};
struct top_distribution top_between(const struct top_page *page, const struct top_page *before,
                                    const char *measure);

/* Prints the page, in lines of that width at most and not more than height; 0: no bound. */
bool top_print(const struct top_page *page, const struct top_page *before, bool terminal,
               size_t width, size_t height);
/* The same as one line of JSON. */
bool top_print_json(const struct top_page *page, const struct top_page *before);

#endif

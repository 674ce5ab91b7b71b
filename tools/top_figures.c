/* SPDX-License-Identifier: MIT */
/* Figures of `coppice top`: what came between two pages. */
#include "tools/top.h"

#include <stdio.h>
#include <string.h>

#define TOP_ROW(path, label) {path, label},
const struct top_row top_rates[] = {TOP_RATES(TOP_ROW){NULL, NULL}};
const struct top_row top_failures[] = {TOP_FAILURES(TOP_ROW){NULL, NULL}};
#undef TOP_ROW

long long
top_number(const json_t *stats, const char *path)
{
    char group[32];
    const char *dot = strchr(path, '.');
    if (!dot)
        return json_integer_value(json_object_get(stats, path));
    snprintf(group, sizeof group, "%.*s", (int)(dot - path), path);
    return json_integer_value(json_object_get(json_object_get(stats, group), dot + 1));
}

long long
top_grown(const struct top_page *page, const struct top_page *before, const char *path)
{
    return top_number(page->stats, path) - top_number(before->stats, path);
}

/* ---- distributions ---- */

static const json_t *
measure_of(const struct top_page *page, const char *name)
{
    return json_object_get(json_object_get(page->monitor, "measures"), name);
}

static uint64_t
member(const json_t *measure, const char *name)
{
    return (uint64_t)json_integer_value(json_object_get(measure, name));
}

static uint64_t
count_of(const json_t *measure)
{
    return member(measure, "count");
}

/* One side of a difference: [bound, count up to it], in order of bounds. */
struct counts {
    const json_t *buckets;
    size_t next;
    uint64_t up_to; /* of all before next */
};

static struct counts
counts_of(const json_t *measure)
{
    return (struct counts){json_object_get(measure, "buckets"), 0, 0};
}

static bool
counts_next(struct counts *counts, uint64_t most, uint64_t *bound)
{
    const json_t *pair = json_array_get(counts->buckets, counts->next);
    if (!pair || (uint64_t)json_integer_value(json_array_get(pair, 0)) > most)
        return false;
    *bound = (uint64_t)json_integer_value(json_array_get(pair, 0));
    counts->up_to = (uint64_t)json_integer_value(json_array_get(pair, 1));
    counts->next++;
    return true;
}

/* The first bound up to which `share` of what came since is. */
static uint64_t
quantile(const json_t *now, const json_t *before, double share)
{
    struct counts all = counts_of(now), old = counts_of(before);
    double wanted = share * (double)(count_of(now) - count_of(before));
    uint64_t bound = 0, ignored;
    while (counts_next(&all, UINT64_MAX, &bound)) {
        while (counts_next(&old, bound, &ignored))
            continue;
        if ((double)(all.up_to - old.up_to) >= wanted)
            break;
    }
    return bound;
}

static struct top_distribution
exact(const json_t *now)
{
    return (struct top_distribution){
        count_of(now),      member(now, "p50"),  member(now, "p90"),
        member(now, "p99"), member(now, "p999"), member(now, "greatest"),
    };
}

struct top_distribution
top_between(const struct top_page *page, const struct top_page *before, const char *measure)
{
    const json_t *now = measure_of(page, measure), *old = measure_of(before, measure);
    struct top_distribution d = {0};
    if (!count_of(old) ||
        count_of(old) > count_of(now)) /* first, or the monitor was started anew */
        return exact(now);
    d.count = count_of(now) - count_of(old);
    if (!d.count)
        return d;
    d.p50 = quantile(now, old, 0.5);
    d.p90 = quantile(now, old, 0.9);
    d.p99 = quantile(now, old, 0.99);
    d.p999 = quantile(now, old, 0.999);
    d.greatest = quantile(now, old, 1);
    return d;
}

/* ---- as JSON ---- */

static json_t *
describe_rates(const struct top_page *page, const struct top_page *before, double seconds)
{
    json_t *rates = json_object();
    for (const struct top_row *row = top_rates; row->path; row++)
        json_object_set_new(rates, row->path,
                            json_real((double)top_grown(page, before, row->path) / seconds));
    return rates;
}

static json_t *
describe_interval(const struct top_page *page, const struct top_page *before)
{
    json_t *interval = json_object();
    const char *name;
    json_t *measure;
    json_object_foreach(json_object_get(page->monitor, "measures"), name, measure)
    {
        struct top_distribution d = top_between(page, before, name);
        json_object_set_new(interval, name,
                            json_pack("{s:O,s:I,s:I,s:I,s:I,s:I,s:I}", "unit",
                                      json_object_get(measure, "unit"), "count",
                                      (json_int_t)d.count, "p50", (json_int_t)d.p50, "p90",
                                      (json_int_t)d.p90, "p99", (json_int_t)d.p99, "p999",
                                      (json_int_t)d.p999, "greatest", (json_int_t)d.greatest));
    }
    return interval;
}

/* Without the buckets, which have been made use of. */
static json_t *
describe_monitor(const json_t *monitor)
{
    json_t *copy = json_deep_copy(monitor), *measure;
    const char *name;
    json_object_foreach(json_object_get(copy, "measures"), name, measure)
        json_object_del(measure, "buckets");
    return copy;
}

bool
top_print_json(const struct top_page *page, const struct top_page *before)
{
    double seconds = page->time_s - before->time_s;
    json_t *json = json_object();
    if (before->stats) {
        json_object_set_new(json, "seconds", json_real(seconds));
        json_object_set_new(json, "rates", describe_rates(page, before, seconds));
    }
    json_object_set_new(json, "interval", describe_interval(page, before));
    json_object_set(json, "stats", page->stats);
    json_object_set_new(json, "monitor", describe_monitor(page->monitor));
    int result = json_dumpf(json, stdout, JSON_COMPACT);
    json_decref(json);
    printf("\n");
    return result == 0 && fflush(stdout) == 0;
}

/* SPDX-License-Identifier: MIT */
/*
 * GET /v1/monitor: what the monitor has measured, the hottest computed atoms, the biggest branches,
 * and warnings with their advice, as `coppice top` shows them. Numbers are since the monitor was
 * started; `buckets` lets a client that asks again tell what came in between.
 */
#include "http/branches.h"
#include "http/internal.h"

#include <jansson.h>
#include <string.h>

#define DEADLINE_MS 1000
#define LISTED 10
#define LISTED_MAX COP_HOTTEST_MAX
#define OCTAVES 44 /* beyond the greatest value that is told apart: 73 minutes */
#define STEPS 16   /* of an octave: a bound exceeds what it is of by 6 % at most */

struct query {
    uint64_t hottest, branches, worst;
    bool buckets, good;
};

static enum MHD_Result
take_argument(void *context, enum MHD_ValueKind kind, const char *key, const char *value)
{
    struct query *q = context;
    (void)kind;
    if (strcmp(key, "hottest") == 0)
        q->good = cop__http_number(value, LISTED_MAX, &q->hottest);
    else if (strcmp(key, "branches") == 0)
        q->good = cop__http_number(value, LISTED_MAX, &q->branches);
    else if (strcmp(key, "worst") == 0)
        q->good = cop__http_number(value, COP_WORST_MAX, &q->worst);
    else if (strcmp(key, "buckets") == 0)
        q->buckets = true;
    else
        q->good = strcmp(key, "pretty") == 0;
    return q->good ? MHD_YES : MHD_NO;
}

static bool
parse_query(struct cop__http_request *r, struct query *q)
{
    *q = (struct query){.hottest = LISTED, .branches = LISTED, .worst = 1, .good = true};
    MHD_get_connection_values(r->connection, MHD_GET_ARGUMENT_KIND, take_argument, q);
    return q->good || cop__problem_set(&r->problem, COP_PROBLEM_REQUEST,
                                       "the query is hottest=N, branches=N (0 to %u), worst=N (0 "
                                       "to %u), buckets and pretty",
                                       LISTED_MAX, COP_WORST_MAX);
}

static void
set_number(json_t *json, const char *name, uint64_t n)
{
    json_object_set_new(json, name, json_integer((json_int_t)n));
}

static void
set_text(json_t *json, const char *name, const char *text)
{
    json_object_set_new(json, name, cop__json_text(text, strlen(text)));
}

/* ---- what was measured ---- */

/* 0 to STEPS, then STEPS bounds in each octave. */
static uint64_t
bound_at(unsigned i)
{
    return i < STEPS ? i : (uint64_t)(STEPS + i % STEPS) << (i / STEPS - 1);
}

/* Counts up to bounds, of which those are left out that add nothing to the one before. */
static json_t *
describe_buckets(const cop_measurements *m, cop_measure measure, uint64_t all)
{
    json_t *list = json_array();
    uint64_t told = 0;
    for (unsigned i = 0; i < OCTAVES * STEPS && told < all; i++) {
        uint64_t bound = bound_at(i);
        uint64_t count = cop_measurements_at_most(m, measure, bound);
        if (count == told)
            continue;
        json_array_append_new(list, json_pack("[I,I]", (json_int_t)bound, (json_int_t)count));
        told = count;
    }
    return list;
}

static const char *
unit_of(cop_measure measure)
{
    static const char *const units[] = {
#define MEASURE_UNIT(name, text, unit, help) unit,
        COP_MEASURE_MAP(MEASURE_UNIT)
#undef MEASURE_UNIT
    };
    return units[measure];
}

static json_t *
describe_measure(const cop_measurements *m, cop_measure measure, bool buckets)
{
    cop_distribution d = COP_DISTRIBUTION_INIT;
    json_t *json = json_object();
    (void)cop_measurements_of(m, measure, &d);
    set_text(json, "unit", unit_of(measure));
    set_number(json, "count", d.count);
    set_number(json, "sum", d.sum);
    set_number(json, "p50", d.p50);
    set_number(json, "p90", d.p90);
    set_number(json, "p99", d.p99);
    set_number(json, "p999", d.p999);
    set_number(json, "greatest", d.greatest);
    if (buckets)
        json_object_set_new(json, "buckets", describe_buckets(m, measure, d.count));
    return json;
}

static json_t *
describe_overrun(const cop_overrun *overrun)
{
    json_t *json = json_object();
    set_text(json, "path", overrun->path);
    set_number(json, "version", overrun->version);
    set_number(json, "time_ns", overrun->time_ns);
    set_number(json, "took_ns", overrun->took_ns);
    set_number(json, "budget_ns", overrun->budget_ns);
    if (overrun->kind != COP_OVERRUN_COMMIT)
        return json;
    json_t *parts = json_object();
    for (int i = 0; i < (int)COP_OVERRUN_PARTS; i++)
        set_number(parts, cop_measure_name((cop_measure)i), overrun->part_ns[i]);
    json_object_set_new(json, "parts", parts);
    set_number(json, "transactions", overrun->transactions);
    set_number(json, "operations", overrun->operations);
    return json;
}

static json_t *
describe_overruns(const cop_measurements *m, cop_overrun_kind kind, uint64_t most)
{
    json_t *worst = json_array();
    cop_overrun overrun;
    for (size_t i = 0; i < most && cop_measurements_worst(m, kind, i, &overrun); i++)
        json_array_append_new(worst, describe_overrun(&overrun));
    return json_pack("{s:I,s:o}", "count", (json_int_t)cop_measurements_overruns(m, kind), "worst",
                     worst);
}

static json_t *
describe_hottest(const cop_measurements *m, uint64_t most)
{
    json_t *list = json_array();
    cop_hot hot;
    for (size_t i = 0; i < most && cop_measurements_hottest(m, i, &hot); i++) {
        json_t *json = json_object();
        set_text(json, "path", hot.path);
        set_number(json, "runs", hot.runs);
        set_number(json, "same", hot.same);
        set_number(json, "relisted", hot.relisted);
        set_number(json, "total_ns", hot.total_ns);
        set_number(json, "greatest_ns", hot.greatest_ns);
        json_array_append_new(list, json);
    }
    return list;
}

static void
add_measured(json_t *json, const cop_measurements *m, const struct query *q)
{
    static const char *const kinds[COP_OVERRUNS] = {"commit", "computed", "notify"};
    json_t *measures = json_object(), *overruns = json_object();
    for (int i = 0; i < COP_MEASURES; i++)
        json_object_set_new(measures, cop_measure_name((cop_measure)i),
                            describe_measure(m, (cop_measure)i, q->buckets));
    for (int i = 0; i < COP_OVERRUNS; i++)
        json_object_set_new(overruns, kinds[i],
                            describe_overruns(m, (cop_overrun_kind)i, q->worst));
    json_object_set_new(json, "measures", measures);
    json_object_set_new(json, "overruns", overruns);
    json_object_set_new(json, "hottest", describe_hottest(m, q->hottest));
}

/* ---- what is there ---- */

static json_t *
describe_branch(const cop_snapshot *snapshot, const struct cop__branch *branch)
{
    char path[COP_PATH_MAX + 1];
    size_t length = 0;
    json_t *json = json_object();
    if (cop_atom_path(snapshot, branch->atom, path, sizeof path, &length) == COP_OK)
        json_object_set_new(json, "path", cop__json_text(path, length));
    set_number(json, "atoms", branch->atoms);
    return json;
}

/* Left out when they cannot be had. */
static void
add_branches(json_t *json, cop_store *store, uint64_t most)
{
    struct cop__branch biggest[LISTED_MAX];
    bool whole = true;
    cop_pin_t pin = cop_pin(store);
    size_t n = pin.snapshot ? cop__branches_biggest(pin.snapshot, biggest, most, &whole) : SIZE_MAX;
    if (n != SIZE_MAX) {
        json_t *list = json_array();
        for (size_t i = 0; i < n; i++)
            json_array_append_new(list, describe_branch(pin.snapshot, &biggest[i]));
        json_object_set_new(json, "branches", list);
        json_object_set_new(json, "branches_complete", json_boolean(whole));
    }
    cop_unpin(pin);
}

static int
add_warning(void *context, const cop_warning *warning)
{
    json_t *json = json_object();
    set_text(json, "name", warning->name);
    set_text(json, "path", warning->path);
    set_text(json, "text", warning->text);
    set_number(json, "figure", warning->figure);
    set_number(json, "limit", warning->limit);
    set_text(json, "advice", warning->advice);
    return json_array_append_new(context, json);
}

/* Left out when the commit right is not to be had soon. */
static void
add_warnings(json_t *json, cop_store *store)
{
    json_t *list = json_array();
    if (cop_warnings_each(store, NULL, cop_deadline_in_ms(DEADLINE_MS), add_warning, list) ==
        COP_OK)
        json_object_set(json, "warnings", list);
    json_decref(list);
}

enum MHD_Result
cop__http_monitor(struct cop__http_request *r)
{
    struct query q;
    cop_store *store = r->server->store;
    cop_measurements *m = NULL;
    if (!parse_query(r, &q))
        return cop__http_reply_problem(r, &r->problem);
    cop_status status = cop_monitor_take(store, cop_deadline_in_ms(DEADLINE_MS), &m);
    if (status != COP_OK && status != COP_E_STATE) { /* never started */
        cop__problem_status(&r->problem, status, NULL);
        return cop__http_reply_problem(r, &r->problem);
    }
    json_t *json = json_object();
    json_object_set_new(json, "running", json_boolean(cop_monitor_running(store)));
    if (m)
        add_measured(json, m, &q);
    cop_measurements_free(m);
    if (q.branches)
        add_branches(json, store, q.branches);
    add_warnings(json, store);
    return cop__http_reply_json(r, MHD_HTTP_OK, json, NULL);
}

/* SPDX-License-Identifier: MIT */
/*
 * Processes by state, by user and by program, and the ten greatest.
 *
 * The reducers at host/totals follow the processes, at the cost of those that changed; the
 * functions here put together what reducers say: a few dozen names and ten processes a run.
 */
#include "tools/sources/derived.h"
#include "tools/sources/derived_read.h"

#include <stdio.h>
#include <string.h>

#define TOP 10
#define PROCESSES "host/procs/"

/* ---- the reducers ---- */

static const struct {
    const char *path;
    const char *key;   /* groups by this member; NULL: the ten greatest */
    const char *value; /* what is counted, summed, compared */
    cop_reduction reduction;
    const char *label;
} totals[] = {
    {"host/totals/states", "state", "state", COP_REDUCE_COUNT, "processes by state"},
    {"host/totals/users/processes", "user", "user", COP_REDUCE_COUNT, "processes by user"},
    {"host/totals/users/rss_bytes", "user", "rss_bytes", COP_REDUCE_SUM, "memory by user"},
    {"host/totals/users/recent_ticks", "user", "recent_ticks", COP_REDUCE_SUM, "CPU by user"},
    {"host/totals/programs/processes", "name", "name", COP_REDUCE_COUNT, "processes by program"},
    {"host/totals/programs/rss_bytes", "name", "rss_bytes", COP_REDUCE_SUM, "memory by program"},
    {"host/totals/programs/recent_ticks", "name", "recent_ticks", COP_REDUCE_SUM, "CPU by program"},
    {"host/totals/top_memory", NULL, "rss_bytes", COP_REDUCE_TOP, "processes with most memory"},
    {"host/totals/top_cpu", NULL, "recent_ticks", COP_REDUCE_TOP, "processes with most CPU"},
};

static cop_status
define_total(cop_store *store, size_t i, cop_error *error)
{
    cop_reduce_options options = COP_REDUCE_OPTIONS_INIT;
    const size_t length = strlen(totals[i].path);
    char pattern[64];
    int n = snprintf(pattern, sizeof pattern, PROCESSES "*/%s", totals[i].value);
    options.label = totals[i].label;
    options.k = TOP;
    if (totals[i].key)
        return cop_group_define(store, totals[i].path, length, PROCESSES "*", strlen(PROCESSES "*"),
                                totals[i].key, totals[i].value, totals[i].reduction, &options, NULL,
                                error);
    return cop_reduce_define(store, totals[i].path, length, pattern, (size_t)n, totals[i].reduction,
                             &options, NULL, error);
}

cop_status
derived_totals(cop_store *store, cop_error *error)
{
    cop_status status = COP_OK;
    cop_atom atom;
    for (size_t i = 0; i < sizeof totals / sizeof *totals && status == COP_OK; i++)
        if (cop_atom_find(store, totals[i].path, strlen(totals[i].path), &atom) == COP_E_ABSENT)
            status = define_total(store, i, error);
    return status;
}

/* ---- reading them ---- */

/* The children of a branch; COP_OK also when it is not there yet. */
static cop_status
each(cop_evaluation *e, const char *path, cop_each_function function, void *context)
{
    cop_atom branch;
    cop_status status = derived_branch(e, path, &branch);
    if (status == COP_OK)
        status = cop_read_each(e, branch, function, context, NULL);
    return status == COP_E_ABSENT ? COP_OK : status;
}

/* Ticks of a whole CPU between the two samples; 0 when there is one only. */
static cop_status
ticks_between(cop_evaluation *e, double *ticks)
{
    cop_atom atom;
    int64_t per_second = 0;
    double seconds;
    cop_status status = derived_seconds(e, &seconds);
    if (status == COP_OK)
        status = derived_branch(e, "host/ticks_per_second", &atom);
    if (status == COP_OK)
        status = cop_read_i64(e, atom, &per_second);
    *ticks = seconds * (double)per_second;
    return status == COP_E_ABSENT ? COP_OK : status;
}

/* ---- by state ---- */

static const char *const states[][2] = {
    {"R", "running"}, {"S", "sleeping"}, {"D", "waiting"}, {"T", "stopped"}, {"t", "traced"},
    {"Z", "zombie"},  {"I", "idle"},     {"X", "dead"},    {"", "other"},
};

#define STATES (sizeof states / sizeof *states)

static int
take_state(void *context, const cop_child *child)
{
    int64_t *counts = context, count = cop_value_i64(&child->value);
    size_t i = 0;
    while (i < STATES - 1 && (child->key_length != 1 || *child->key != *states[i][0]))
        i++;
    counts[i] += count;
    counts[STATES] += count;
    return 0;
}

cop_status
derived_states(cop_evaluation *e, void *context, cop_value *result)
{
    int64_t counts[STATES + 1] = {0};
    (void)context;
    (void)result;
    cop_status status = each(e, "host/totals/states", take_state, counts);
    cop_value value = cop_i64(counts[STATES]);
    if (status == COP_OK)
        status = cop_emit(e, "total", 5, &value);
    for (size_t i = 0; i < STATES && status == COP_OK; i++) {
        value = cop_i64(counts[i]);
        status = cop_emit(e, states[i][1], strlen(states[i][1]), &value);
    }
    return status;
}

/* ---- by user, by program ---- */

struct told {
    cop_evaluation *evaluation;
    const char *key;
    bool share; /* of the whole, in place of the figure itself */
    double whole;
    cop_status status;
};

static int
tell_total(void *context, const cop_child *child)
{
    struct told *t = context;
    cop_value value = child->value;
    if (t->share)
        value = derived_ratio((double)cop_value_i64(&value), t->whole);
    t->status = derived_emit(t->evaluation, child->key, child->key_length, t->key, &value);
    return t->status != COP_OK;
}

/* NAME/key for every name of a group. */
static cop_status
tell_totals(struct told *t, const char *group, const char *total)
{
    char path[64];
    t->status = COP_OK;
    snprintf(path, sizeof path, "host/totals/%s/%s", group, total);
    cop_status status = each(t->evaluation, path, tell_total, t);
    return status == COP_OK ? t->status : status;
}

static cop_status
by_name(cop_evaluation *e, const char *group)
{
    struct told processes = {.evaluation = e, .key = "processes"};
    struct told rss = {.evaluation = e, .key = "rss_bytes"};
    struct told cpu = {.evaluation = e, .key = "cpu_share", .share = true};
    cop_status status = ticks_between(e, &cpu.whole);
    if (status == COP_OK)
        status = tell_totals(&processes, group, "processes");
    if (status == COP_OK)
        status = tell_totals(&rss, group, "rss_bytes");
    return status == COP_OK ? tell_totals(&cpu, group, "recent_ticks") : status;
}

cop_status
derived_users(cop_evaluation *e, void *context, cop_value *result)
{
    (void)context;
    (void)result;
    return by_name(e, "users");
}

cop_status
derived_programs(cop_evaluation *e, void *context, cop_value *result)
{
    (void)context;
    (void)result;
    return by_name(e, "programs");
}

/* ---- the ten greatest ---- */

/* One of a top: `path` and `value`. */
static int
take_entry(void *context, const cop_child *child)
{
    cop_value *entry = context;
    entry[child->value.type == COP_STRING ? 0 : 1] = child->value;
    return 0;
}

/* A member of the process, if it is there, as one of the entry's. */
static cop_status
tell_member(cop_evaluation *e, const cop_child *place, const char *process, size_t length,
            const char *member)
{
    char path[64];
    cop_value value;
    int n = snprintf(path, sizeof path, PROCESSES "%.*s/%s", (int)length, process, member);
    if (n < 0 || (size_t)n >= sizeof path)
        return COP_E_LIMIT;
    cop_status status = cop_read_at(e, path, (size_t)n, &value);
    if (status == COP_OK)
        return derived_emit(e, place->key, place->key_length, member, &value);
    return status == COP_E_ABSENT ? COP_OK : status;
}

static cop_status
tell_process(const struct told *t, const cop_child *place, const cop_value *entry)
{
    const char *process = cop_value_data(&entry[0]) + strlen(PROCESSES);
    int64_t pid = 0;
    size_t n = 0;
    for (; process[n] >= '0' && process[n] <= '9'; n++) /* up to the member's name */
        pid = pid * 10 + (process[n] - '0');
    const cop_value number = cop_i64(pid);
    const cop_value value =
        t->share ? derived_ratio((double)cop_value_i64(&entry[1]), t->whole) : entry[1];
    cop_status status = derived_emit(t->evaluation, place->key, place->key_length, "pid", &number);
    if (status == COP_OK)
        status = tell_member(t->evaluation, place, process, n, "name");
    if (status == COP_OK)
        status = tell_member(t->evaluation, place, process, n, "user");
    if (status == COP_OK)
        status = derived_emit(t->evaluation, place->key, place->key_length, t->key, &value);
    return status;
}

static int
tell_place(void *context, const cop_child *place)
{
    struct told *t = context;
    cop_value entry[2] = {cop_null(), cop_null()};
    t->status = cop_read_each(t->evaluation, place->atom, take_entry, entry, NULL);
    if (t->status == COP_OK)
        t->status = tell_process(t, place, entry);
    return t->status != COP_OK;
}

static cop_status
top(struct told *t, const char *path)
{
    cop_status status = each(t->evaluation, path, tell_place, t);
    return status == COP_OK ? t->status : status;
}

cop_status
derived_top_memory(cop_evaluation *e, void *context, cop_value *result)
{
    struct told t = {.evaluation = e, .key = "rss_bytes"};
    (void)context;
    (void)result;
    return top(&t, "host/totals/top_memory");
}

cop_status
derived_top_cpu(cop_evaluation *e, void *context, cop_value *result)
{
    struct told t = {.evaluation = e, .key = "cpu_share", .share = true};
    (void)context;
    (void)result;
    cop_status status = ticks_between(e, &t.whole);
    return status == COP_OK ? top(&t, "host/totals/top_cpu") : status;
}

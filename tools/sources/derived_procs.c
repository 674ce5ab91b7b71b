/* SPDX-License-Identifier: MIT */
/*
 * Processes by state, by user and by program, and the ten greatest.
 *
 * A process has its members in the order in which they are wanted here: state, name, user,
 * rss_bytes, ticks. Reading stops at the last that is wanted, so that the number of processes by
 * state depends on states alone.
 */
#include "tools/sources/derived_read.h"

#include <coppice/path.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOP 10
#define SEGMENT 200 /* bytes of an escaped name: names have at most 79 */

enum member { STATE, NAME, USER, RSS, TICKS, MEMBERS };

static const char *const members[MEMBERS] = {"state", "name", "user", "rss_bytes", "ticks"};

struct row {
    const char *pid; /* as it stands in the path */
    size_t pid_length;
    cop_value value[MEMBERS];
    int64_t previous; /* ticks; 0: it has begun since */
};

struct table {
    cop_evaluation *evaluation;
    enum member last;
    struct row *rows;
    uint32_t count, capacity;
    uint32_t *slots; /* of rows + 1 by pid, of groups + 1 by name */
    uint32_t slot_count;
    cop_status status;
};

/* ---- tables ---- */

static uint32_t
hash_of(const char *text, size_t n)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ (unsigned char)text[i]) * 16777619u;
    return hash ^ hash >> 15;
}

static bool
table_make(struct table *t, uint32_t rows)
{
    t->capacity = rows;
    for (t->slot_count = 16; t->slot_count < 2 * rows; t->slot_count *= 2)
        ;
    t->rows = cop_scratch(t->evaluation, (rows + 1) * sizeof *t->rows);
    t->slots = cop_scratch(t->evaluation, t->slot_count * sizeof *t->slots);
    if (t->slots)
        memset(t->slots, 0, t->slot_count * sizeof *t->slots);
    return t->rows && t->slots;
}

static uint32_t *
slot_of_pid(const struct table *t, const char *pid, size_t n)
{
    uint32_t i = hash_of(pid, n) & (t->slot_count - 1);
    for (; t->slots[i]; i = (i + 1) & (t->slot_count - 1)) {
        const struct row *row = &t->rows[t->slots[i] - 1];
        if (row->pid_length == n && memcmp(row->pid, pid, n) == 0)
            break;
    }
    return &t->slots[i];
}

/* ---- reading ---- */

static int
take_member(void *context, const cop_child *child)
{
    struct table *t = context;
    struct row *row = &t->rows[t->count];
    for (unsigned i = 0; i <= (unsigned)t->last; i++)
        if (strlen(members[i]) == child->key_length &&
            memcmp(members[i], child->key, child->key_length) == 0)
            row->value[i] = child->value;
    return row->value[t->last].type != COP_NONE;
}

static int
take_process(void *context, const cop_child *child)
{
    struct table *t = context;
    struct row *row = &t->rows[t->count];
    if (child->value.type != COP_OBJECT || t->count == t->capacity)
        return 0;
    memset(row, 0, sizeof *row);
    row->pid = child->key;
    row->pid_length = child->key_length;
    t->status = cop_read_each(t->evaluation, child->atom, take_member, t, NULL);
    if (t->status != COP_OK)
        return 1;
    *slot_of_pid(t, row->pid, row->pid_length) = ++t->count;
    return 0;
}

static cop_status
read_processes(struct table *t, cop_evaluation *e, enum member last)
{
    cop_atom branch;
    uint32_t count = 0;
    *t = (struct table){.evaluation = e, .last = last};
    cop_status status = derived_branch(e, "host/procs", &branch);
    if (status == COP_OK)
        status = cop_read_count(e, branch, &count);
    if (status != COP_OK && status != COP_E_ABSENT)
        return status;
    if (!table_make(t, count))
        return COP_E_MEMORY;
    if (status == COP_OK)
        status = cop_read_each(e, branch, take_process, t, NULL);
    return status == COP_OK ? t->status : status == COP_E_ABSENT ? COP_OK : status;
}

static int
take_previous(void *context, const cop_child *child)
{
    struct table *t = context;
    uint32_t n = *slot_of_pid(t, child->key, child->key_length);
    if (n && child->value.type == COP_I64)
        t->rows[n - 1].previous = cop_value_i64(&child->value);
    return 0;
}

/* Ticks of a whole CPU between the two samples; 0 when there is one only. */
static cop_status
read_previous(struct table *t, double *ticks)
{
    cop_atom atom;
    int64_t per_second = 0;
    double seconds;
    cop_status status = derived_seconds(t->evaluation, &seconds);
    if (status == COP_OK)
        status = derived_branch(t->evaluation, "host/ticks_per_second", &atom);
    if (status == COP_OK)
        status = cop_read_i64(t->evaluation, atom, &per_second);
    if (status == COP_OK)
        status = derived_branch(t->evaluation, "host/previous/procs", &atom);
    if (status == COP_OK)
        status = cop_read_each(t->evaluation, atom, take_previous, t, NULL);
    *ticks = status == COP_OK ? seconds * (double)per_second : 0;
    return status == COP_E_ABSENT ? COP_OK : status;
}

static int64_t
number(const struct row *row, enum member member)
{
    return row->value[member].type == COP_I64 ? cop_value_i64(&row->value[member]) : 0;
}

static int64_t
ticks_since(const struct row *row)
{
    int64_t ticks = number(row, TICKS) - row->previous;
    return ticks > 0 ? ticks : 0;
}

/* ---- by state ---- */

static const char *
state_name(const cop_value *state)
{
    static const char *const names[][2] = {
        {"R", "running"}, {"S", "sleeping"}, {"D", "waiting"}, {"T", "stopped"},
        {"t", "traced"},  {"Z", "zombie"},   {"I", "idle"},    {"X", "dead"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (state->type == COP_STRING && cop_value_length(state) == 1 &&
            *(const char *)cop_value_data(state) == names[i][0][0])
            return names[i][1];
    return "other";
}

cop_status
derived_states(cop_evaluation *e, void *context, cop_value *result)
{
    static const char *const names[] = {"running", "sleeping", "waiting", "stopped", "traced",
                                        "zombie",  "idle",     "dead",    "other"};
    int64_t counts[sizeof names / sizeof *names] = {0};
    struct table t;
    (void)context;
    (void)result;
    cop_status status = read_processes(&t, e, STATE);
    if (status != COP_OK)
        return status;
    for (uint32_t i = 0; i < t.count; i++)
        for (size_t k = 0; k < sizeof names / sizeof *names; k++)
            counts[k] += strcmp(names[k], state_name(&t.rows[i].value[STATE])) == 0;
    cop_value value = cop_i64(t.count);
    status = cop_emit(e, "total", 5, &value);
    for (size_t k = 0; k < sizeof names / sizeof *names && status == COP_OK; k++) {
        value = cop_i64(counts[k]);
        status = cop_emit(e, names[k], strlen(names[k]), &value);
    }
    return status;
}

/* ---- by user, by program ---- */

struct group {
    const cop_value *name;
    int64_t processes, rss, ticks;
};

static bool
same_text(const cop_value *a, const cop_value *b)
{
    return cop_value_length(a) == cop_value_length(b) &&
           memcmp(cop_value_data(a), cop_value_data(b), cop_value_length(a)) == 0;
}

static uint32_t
group_of(struct table *t, struct group *groups, uint32_t *count, const cop_value *name)
{
    uint32_t i = hash_of(cop_value_data(name), cop_value_length(name)) & (t->slot_count - 1);
    for (; t->slots[i]; i = (i + 1) & (t->slot_count - 1))
        if (same_text(groups[t->slots[i] - 1].name, name))
            return t->slots[i] - 1;
    groups[*count] = (struct group){.name = name};
    t->slots[i] = ++*count;
    return *count - 1;
}

static cop_status
emit_group(cop_evaluation *e, const struct group *group, double ticks)
{
    char segment[SEGMENT];
    size_t n = 0;
    if (cop_path_escape(cop_value_data(group->name), cop_value_length(group->name), segment,
                        sizeof segment, &n, NULL) != COP_OK)
        return COP_OK; /* no name that can stand in a path */
    const cop_value processes = cop_i64(group->processes), rss = cop_i64(group->rss);
    const cop_value share = derived_ratio((double)group->ticks, ticks);
    cop_status status = derived_emit(e, segment, n, "processes", &processes);
    if (status == COP_OK)
        status = derived_emit(e, segment, n, "rss_bytes", &rss);
    return status == COP_OK ? derived_emit(e, segment, n, "cpu_share", &share) : status;
}

static cop_status
by_name(cop_evaluation *e, enum member member)
{
    struct table t;
    double ticks;
    uint32_t count = 0;
    cop_status status = read_processes(&t, e, TICKS);
    if (status == COP_OK)
        status = read_previous(&t, &ticks);
    if (status != COP_OK)
        return status;
    struct group *groups = cop_scratch(e, (t.count + 1) * sizeof *groups);
    if (!groups)
        return COP_E_MEMORY;
    memset(t.slots, 0, t.slot_count * sizeof *t.slots);
    for (uint32_t i = 0; i < t.count; i++) {
        const struct row *row = &t.rows[i];
        if (row->value[member].type != COP_STRING)
            continue;
        struct group *group = &groups[group_of(&t, groups, &count, &row->value[member])];
        group->processes++;
        group->rss += number(row, RSS);
        group->ticks += ticks_since(row);
    }
    for (uint32_t i = 0; i < count && status == COP_OK; i++)
        status = emit_group(e, &groups[i], ticks);
    return status;
}

cop_status
derived_users(cop_evaluation *e, void *context, cop_value *result)
{
    (void)context;
    (void)result;
    return by_name(e, USER);
}

cop_status
derived_programs(cop_evaluation *e, void *context, cop_value *result)
{
    (void)context;
    (void)result;
    return by_name(e, NAME);
}

/* ---- the ten greatest ---- */

static int64_t
measure(const struct row *row, enum member by)
{
    return by == TICKS ? ticks_since(row) : number(row, by);
}

/* The greater first; of equal ones the lower number. */
static bool
goes_before(const struct row *a, const struct row *b, enum member by)
{
    int64_t x = measure(a, by), y = measure(b, by);
    if (x != y)
        return x > y;
    return a->pid_length != b->pid_length ? a->pid_length < b->pid_length
                                          : memcmp(a->pid, b->pid, a->pid_length) < 0;
}

static uint32_t
choose(const struct table *t, enum member by, const struct row **chosen)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->count; i++) {
        const struct row *row = &t->rows[i];
        uint32_t at = n;
        while (at > 0 && goes_before(row, chosen[at - 1], by))
            at--;
        if (at == TOP)
            continue;
        uint32_t kept = n < TOP ? n : TOP - 1;
        memmove(chosen + at + 1, chosen + at, (kept - at) * sizeof *chosen);
        chosen[at] = row;
        n = kept + 1;
    }
    return n;
}

/* A key is not terminated. */
static int64_t
pid_of(const struct row *row)
{
    int64_t pid = 0;
    for (size_t i = 0; i < row->pid_length; i++)
        pid = pid * 10 + (row->pid[i] - '0');
    return pid;
}

static cop_status
emit_chosen(cop_evaluation *e, uint32_t place, const struct row *row, const char *key,
            const cop_value *value)
{
    char at[16];
    size_t n = (size_t)snprintf(at, sizeof at, "%u", place);
    const cop_value pid = cop_i64(pid_of(row));
    cop_status status = derived_emit(e, at, n, "pid", &pid);
    if (status == COP_OK && row->value[NAME].type == COP_STRING)
        status = derived_emit(e, at, n, "name", &row->value[NAME]);
    if (status == COP_OK && row->value[USER].type == COP_STRING)
        status = derived_emit(e, at, n, "user", &row->value[USER]);
    return status == COP_OK ? derived_emit(e, at, n, key, value) : status;
}

static cop_status
top(cop_evaluation *e, enum member by)
{
    const struct row *chosen[TOP];
    struct table t;
    double ticks = 0;
    cop_status status = read_processes(&t, e, by);
    if (status == COP_OK && by == TICKS)
        status = read_previous(&t, &ticks);
    if (status != COP_OK)
        return status;
    uint32_t n = choose(&t, by, chosen);
    for (uint32_t i = 0; i < n && status == COP_OK; i++) {
        cop_value value = by == TICKS ? derived_ratio((double)ticks_since(chosen[i]), ticks)
                                      : cop_i64(number(chosen[i], RSS));
        status = emit_chosen(e, i, chosen[i], by == TICKS ? "cpu_share" : "rss_bytes", &value);
    }
    return status;
}

cop_status
derived_top_memory(cop_evaluation *e, void *context, cop_value *result)
{
    (void)context;
    (void)result;
    return top(e, RSS);
}

cop_status
derived_top_cpu(cop_evaluation *e, void *context, cop_value *result)
{
    (void)context;
    (void)result;
    return top(e, TICKS);
}

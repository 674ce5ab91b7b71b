/* SPDX-License-Identifier: MIT */
/*
 * What follows children that come, go and change: a sum and a maximum of all accounts, and the
 * points of each team, of which the members come, change sides, and go. And a lazy atom, which is
 * run by whoever reads it.
 */
#include "tools/stress/load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const team_names[TEAMS] = {"red", "green", "blue"};

static cop_status
define_lazy(struct stress *s)
{
    struct node *lazy = &s->derived.lazy;
    cop_computed_options o = COP_COMPUTED_OPTIONS_INIT;
    o.kind = COP_LAZY;
    lazy->count = LAZY_READS;
    lazy->inputs = calloc(lazy->count, sizeof *lazy->inputs);
    if (!lazy->inputs)
        return COP_E_MEMORY;
    for (uint64_t i = 0; i < lazy->count; i++)
        lazy->inputs[i] = s->accounts[i % s->config->atoms];
    return cop_computed_define(s->store, NULL, 0, stress_node_function, lazy, &o, &lazy->atom,
                               NULL);
}

cop_status
stress_derived_define(struct stress *s)
{
    struct derived *d = &s->derived;
    cop_status status = cop_atom_find(s->store, "r", 1, &d->members);
    if (status == COP_OK)
        status =
            cop_reduce_define(s->store, NULL, 0, "a/*", 3, COP_REDUCE_SUM, NULL, &d->sum, NULL);
    if (status == COP_OK)
        status =
            cop_reduce_define(s->store, NULL, 0, "a/*", 3, COP_REDUCE_MAX, NULL, &d->most, NULL);
    if (status == COP_OK)
        status = cop_group_define(s->store, "teams", 5, "r/*", 3, "team", "points", COP_REDUCE_SUM,
                                  NULL, &d->teams, NULL);
    return status == COP_OK ? define_lazy(s) : status;
}

/* ---- members ---- */

static int
member_path(const struct stress_thread *self, unsigned slot, const char *below, char *path)
{
    return sprintf(path, "r/%u-%u%s", self->number, slot, below);
}

void
stress_member_set(struct stress_thread *self, cop_txn *txn, unsigned slot)
{
    const char *name = team_names[stress_random(self, TEAMS)];
    const cop_value team = cop_string(name, strlen(name)),
                    points = cop_i64((int64_t)stress_random(self, 1000));
    char path[48];
    int n = member_path(self, slot, "/team", path);
    STRESS_CALL(self, cop_txn_set_at, txn, path, (size_t)n, &team, NULL);
    n = member_path(self, slot, "/points", path);
    STRESS_CALL(self, cop_txn_set_at, txn, path, (size_t)n, &points, NULL);
}

void
stress_member_erase(struct stress_thread *self, cop_txn *txn, unsigned slot)
{
    char path[48];
    int n = member_path(self, slot, "", path);
    STRESS_CALL(self, cop_txn_erase_at, txn, path, (size_t)n, NULL);
}

/* ---- checks in one version ---- */

struct teams {
    int64_t points[TEAMS];
    unsigned members[TEAMS];
};

static void
count_member(struct stress_thread *self, const cop_snapshot *snapshot, cop_atom member,
             struct teams *teams)
{
    cop_atom team, points;
    cop_value name;
    int64_t n = 0;
    if (!STRESS_CALL(self, cop_child_named, snapshot, member, "team", 4, &team) ||
        !STRESS_CALL(self, cop_child_named, snapshot, member, "points", 6, &points) ||
        !STRESS_CALL(self, cop_get, snapshot, team, &name) ||
        !STRESS_CALL(self, cop_get_i64, snapshot, points, &n))
        return;
    for (unsigned i = 0; i < TEAMS; i++)
        if (cop_value_length(&name) == strlen(team_names[i]) &&
            memcmp(cop_value_data(&name), team_names[i], strlen(team_names[i])) == 0) {
            teams->points[i] += n;
            teams->members[i]++;
        }
}

static void
check_team(struct stress_thread *self, const cop_snapshot *snapshot, const struct teams *teams,
           unsigned i)
{
    char path[24];
    int n = sprintf(path, "teams/%s", team_names[i]);
    cop_atom team;
    int64_t is = 0;
    bool there = cop_find(snapshot, path, (size_t)n, &team) == COP_OK;
    if (there)
        STRESS_CALL(self, cop_get_i64, snapshot, team, &is);
    stress_check(self, PROMISE_REDUCED, there == (teams->members[i] > 0) && is == teams->points[i],
                 "team %s is %s with %lld points, of %u members with %lld, in version %llu",
                 team_names[i], there ? "there" : "not there", (long long)is, teams->members[i],
                 (long long)teams->points[i], (unsigned long long)cop_snapshot_version(snapshot));
}

static void
check_teams(struct stress_thread *self, const cop_snapshot *snapshot)
{
    struct teams teams = {{0}, {0}};
    cop_cursor cursor;
    cop_child child;
    if (!STRESS_CALL(self, cop_cursor_open, snapshot, self->stress->derived.members, &cursor))
        return;
    while (cop_cursor_next(&cursor, &child))
        count_member(self, snapshot, child.atom, &teams);
    for (unsigned i = 0; i < TEAMS; i++)
        check_team(self, snapshot, &teams, i);
}

static void
check_lazy(struct stress_thread *self, const cop_snapshot *snapshot)
{
    const struct node *lazy = &self->stress->derived.lazy;
    uint64_t wanted = 0;
    int64_t is = 0, n;
    for (uint64_t i = 0; i < lazy->count; i++) {
        n = 0;
        STRESS_CALL(self, cop_get_i64, snapshot, lazy->inputs[i], &n);
        wanted += (i + 1) * (uint64_t)n;
    }
    STRESS_CALL(self, cop_get_i64, snapshot, lazy->atom, &is);
    stress_check(self, PROMISE_LAZY, (uint64_t)is == wanted,
                 "it is %lld, not %lld, in version %llu", (long long)is, (long long)wanted,
                 (unsigned long long)cop_snapshot_version(snapshot));
}

void
stress_derived_check(struct stress_thread *self, const cop_snapshot *snapshot, int64_t sum,
                     int64_t most)
{
    const struct derived *d = &self->stress->derived;
    int64_t is_sum = 0, is_most = 0;
    STRESS_CALL(self, cop_get_i64, snapshot, d->sum, &is_sum);
    STRESS_CALL(self, cop_get_i64, snapshot, d->most, &is_most);
    stress_check(self, PROMISE_REDUCED, is_sum == sum && is_most == most,
                 "sum and maximum are %lld and %lld, not %lld and %lld, in version %llu",
                 (long long)is_sum, (long long)is_most, (long long)sum, (long long)most,
                 (unsigned long long)cop_snapshot_version(snapshot));
    check_lazy(self, snapshot);
    check_teams(self, snapshot);
}

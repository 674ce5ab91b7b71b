/* SPDX-License-Identifier: MIT */
/*
 * ./dev bench memory: peaks of counted and of resident bytes against the limit, under writers at
 * full speed and readers, snapshots, watchers and a history that make the store keep what it would
 * free; the same of liburcu's call_rcu and of LMDB at 128 MiB. Nothing that was accepted may be
 * lost. Ends with 1 when a promise was broken.
 *
 * Without arguments: each scenario at each limit, the peers, three minutes of all at once at
 * 128 MiB, what the manager costs, and how soon bytes come back; where snapshots are forgotten,
 * first without and then with snapshots.max_age_ms. About 20 minutes. Each part by itself:
 *   --scenario NAME,NAME, --peers, --all-at-once SECONDS, --cost, --drop, --instructions N
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/arguments.h"
#include "bench/memory_cost.h"
#include "bench/memory_run.h"
#include "bench/memory_table.h"
#include "bench/memory_trouble.h"
#include "bench/report.h"

enum {
    LIMITS_MAX = 8,
    PEER_LIMIT_MIB = 128,
    DROP_ATOMS = 200000,
    COST_TRANSACTIONS = 60000,
    MAX_AGE_MS = 2000
};

static const struct {
    const char *name;
    unsigned kinds;
} scenarios[] = {
    {"none", 0},
    {"pin", TROUBLE_PIN},
    {"pinning", TROUBLE_PINNING},
    {"snapshots", TROUBLE_SNAPSHOTS},
    {"watcher", TROUBLE_WATCHER},
    {"history", TROUBLE_HISTORY},
    {"all", TROUBLE_ALL},
};
enum { SCENARIOS = sizeof scenarios / sizeof scenarios[0], ALL = SCENARIOS - 1 };

static uint32_t seconds = 20, all_seconds, live = 50, writers = 2, pairs = 21, instructions;
static uint32_t transactions = COST_TRANSACTIONS, max_age;
static const char *limits_text = "32,128,512", *asked, *on_limit = "fail", *near = "near";
static bool json, cost, drop, peers, whole, broken;

/* --max-age is of snapshots, and there are some in these scenarios only. */
static memory_case
case_of(const char *system, unsigned i, unsigned limit_mib)
{
    return (memory_case){.system = system,
                         .scenario = scenarios[i].name,
                         .kinds = scenarios[i].kinds,
                         .limit = limit_mib * MIB,
                         .seconds = seconds,
                         .writers = writers,
                         .live_percent = live,
                         .max_age_ms = scenarios[i].kinds & TROUBLE_SNAPSHOTS ? max_age : 0,
                         .wait = strcmp(on_limit, "wait") == 0};
}

static void
run(const memory_case *c)
{
    static memory_figures figures;
    char ended[64];
    bool well = memory_run(c, &figures, ended);
    broken = !memory_table_row(c, &figures, well ? NULL : ended, json) || broken;
}

/* The whole set has it both ways, with revoking as asked for by --max-age. */
static void
run_both(memory_case c)
{
    if (whole && (c.kinds & TROUBLE_SNAPSHOTS)) {
        c.max_age_ms = 0;
        run(&c);
        c.max_age_ms = max_age > 0 ? max_age : MAX_AGE_MS;
    }
    run(&c);
}

/* Whether a list of names, with commas between them, has this one. */
static bool
in_list(const char *list, const char *name, size_t length)
{
    for (;;) {
        size_t n = strcspn(list, ",");
        if (n == length && memcmp(list, name, n) == 0)
            return true;
        if (list[n] == '\0')
            return false;
        list += n + 1;
    }
}

static bool
chosen(unsigned i)
{
    const char *name = scenarios[i].name;
    return asked != NULL ? in_list(asked, name, strlen(name)) : i != ALL;
}

static void
run_at(unsigned limit_mib)
{
    memory_case head = case_of("coppice", 0, limit_mib);
    if (!json)
        memory_table_head(&head);
    for (unsigned i = 0; i < SCENARIOS; i++)
        if (chosen(i))
            run_both(case_of("coppice", i, limit_mib));
}

static void
run_peers(void)
{
    static const char *const systems[] = {"coppice", "urcu_call_rcu", "lmdb"};
    memory_case head = case_of("coppice", 0, PEER_LIMIT_MIB);
    if (!json)
        memory_table_head(&head);
    for (int k = 0; k < 3; k++) {
        if (k > 0 && !memory_peer_there(systems[k])) {
            report_note("%s is left out: it was not there when this was configured", systems[k]);
            continue;
        }
        for (unsigned i = 0; i < ALL; i++) {
            memory_case c = case_of(systems[k], i, PEER_LIMIT_MIB);
            if (memory_peer_can(k > 0 ? systems[k] : "lmdb", c.kinds))
                run(&c);
        }
    }
}

static void
run_all_at_once(unsigned for_seconds)
{
    memory_case c = case_of("coppice", ALL, PEER_LIMIT_MIB);
    c.seconds = for_seconds;
    if (!json)
        memory_table_head(&c);
    run_both(c);
}

/* "32,128" into MiB; false: not a list of numbers from 4 to 65536. */
static unsigned
limits_read(unsigned *limits)
{
    unsigned n = 0;
    for (const char *at = limits_text;; at++) {
        char *end;
        unsigned long limit = strtoul(at, &end, 10);
        if (*at < '0' || *at > '9' || limit < 4 || limit > 65536 || n == LIMITS_MAX)
            return 0;
        limits[n++] = (unsigned)limit;
        if (*end == '\0')
            return n;
        if (*end != ',')
            return 0;
        at = end;
    }
}

static bool
one_of(const char *word, const char *a, const char *b)
{
    return strcmp(word, a) == 0 || strcmp(word, b) == 0;
}

static bool
scenarios_known(void)
{
    char all[128] = "";
    for (unsigned i = 0; i < SCENARIOS; i++) {
        size_t used = strlen(all);
        (void)snprintf(all + used, sizeof all - used, "%s%s", i > 0 ? "," : "", scenarios[i].name);
    }
    for (const char *name = asked; name != NULL; name = strchr(name, ',')) {
        name += *name == ',';
        if (!in_list(all, name, strcspn(name, ",")))
            return false;
    }
    return true;
}

static int
run_asked(void)
{
    unsigned limits[LIMITS_MAX], n = limits_read(limits);
    whole = asked == NULL && all_seconds == 0 && !cost && !drop && !peers;
    if (whole || asked != NULL)
        for (unsigned i = 0; i < n; i++)
            run_at(limits[i]);
    if (whole || peers)
        run_peers();
    if (whole || all_seconds > 0)
        run_all_at_once(all_seconds > 0 ? all_seconds : 180);
    if (whole || cost)
        broken = !memory_cost(pairs, transactions, json) || broken;
    if (whole || drop)
        broken = !memory_drop(DROP_ATOMS, json) || broken;
    return broken ? 1 : 0;
}

int
main(int argc, char **argv)
{
    unsigned limits[LIMITS_MAX];
    const bench_argument table[] = {
        BENCH_FLAG("json", json),
        BENCH_NUMBER("seconds", seconds, 2, 3600),
        BENCH_WORD("limits", "MIB,MIB", limits_text),
        BENCH_WORD("scenario", "none|pin|pinning|snapshots|watcher|history|all,...", asked),
        BENCH_NUMBER("max-age", max_age, 0, UINT32_MAX),
        BENCH_NUMBER("all-at-once", all_seconds, 2, 86400),
        BENCH_FLAG("peers", peers),
        BENCH_WORD("on-limit", "wait|fail", on_limit),
        BENCH_NUMBER("live", live, 5, 90),
        BENCH_NUMBER("writers", writers, 1, MEMORY_WRITERS),
        BENCH_FLAG("cost", cost),
        BENCH_NUMBER("pairs", pairs, 1, REPORT_ROUNDS_MAX),
        BENCH_NUMBER("transactions", transactions, 100, UINT32_MAX),
        BENCH_FLAG("drop", drop),
        BENCH_NUMBER("instructions", instructions, 1, UINT32_MAX),
        BENCH_WORD("limit", "near|far", near),
        BENCH_END};
    bench_arguments(argc, argv, table);
    if (!one_of(on_limit, "wait", "fail") || !one_of(near, "near", "far") || !scenarios_known() ||
        limits_read(limits) == 0)
        bench_usage(2, table);
    if (instructions > 0)
        return memory_cost_instructions(instructions, strcmp(near, "near") == 0) ? 0 : 1;
    return run_asked();
}

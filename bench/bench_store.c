/* SPDX-License-Identifier: MIT */
/*
 * ./dev bench store: workload A for coppice and its peers, in one run. docs/benchmarks.md says what
 * each case is.
 *
 * For each kind of key and size of value every system is loaded once, in a process of its own;
 * then, case by case and round by round, each of them is measured in its turn.
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/store_table.h"

#define KEYS_MAX 1000000 /* six digits in a str24 key */

typedef struct settings {
    bool json, quick;
    const char *only_case, *only_system, *only_key;
    uint32_t only_value_bytes, keys;
    unsigned rounds;
} settings;

/* One thing to measure in every system. */
typedef struct plan_entry {
    const char *name; /* the case, or the first of two measured at once */
    const char *second;
    bench_command command;
    bool own_variants; /* coppice with membarrier and huge pages off, too */
    bool first_table_only;
    enum { SHORT, LONG, STALL } length;
} plan_entry;

#define UPDATE(n)                                                            \
    {                                                                        \
        "update_" #n, NULL, {STEP_UPDATE, n, 1, 0, 0.25}, true, false, SHORT \
    }
#define BESIDE(n)                                                                               \
    {                                                                                           \
        "read_beside_writer", "write_beside_reader", {STEP_BESIDE, n, 2, 0, 0.3}, false, false, \
            LONG                                                                                \
    }
#define COUNT(way)                                                          \
    {                                                                       \
        "counter", NULL, {STEP_COUNTER, 1, 4, way, 0.4}, false, true, SHORT \
    }

static const plan_entry plan[] = {
    {"lookup", NULL, {STEP_LOOKUP, 0, 1, 0, 0}, true, false, SHORT},
    {"pin_lookup", NULL, {STEP_PIN_LOOKUP, 0, 1, 0, 0}, true, false, SHORT},
    {"pin", NULL, {STEP_PIN, 0, 1, 0, 0}, true, false, SHORT},
    {"scan", NULL, {STEP_SCAN, 0, 1, 0, 0}, true, false, SHORT},
    {"lookup_threads", NULL, {STEP_THREADS, 0, 0 /* 1 .. CPUs */, 0, 0}, false, false, LONG},
    UPDATE(1),
    UPDATE(10),
    UPDATE(1000),
    BESIDE(1),
    BESIDE(1000),
    COUNT(BENCH_ADD),
    COUNT(BENCH_ADD_SUBMIT),
    COUNT(BENCH_TRANSACT),
    {"stall_growth_bytes", NULL, {STEP_STALL, 1000, 2, 0, 5}, false, false, STALL},
    {"stall_growth_bytes", NULL, {STEP_STALL, 1, 2, 0, 5}, false, true, STALL},
};

static const char *const ways[BENCH_COUNTERS] = {"txn_add", "txn_add_submit", "transact"};

/* --- from answers to figures ----------------------------------------------------------------- */

/* What each byte goes to: for each atom, and for each key, which with its branch is two atoms. */
static void
add_parts(bench_table *table, unsigned column, const bench_answer *answer)
{
    char label[32], fields[96];
    for (unsigned i = 0; i < answer->parts; i++) {
        snprintf(label, sizeof label, "part %s", answer->part[i].name);
        snprintf(fields, sizeof fields, ",\"counted\":\"allocator\",\"part\":\"%s\",\"atoms\":%llu",
                 answer->part[i].name, (unsigned long long)answer->atoms);
        table_add(table, column, "bytes_per_atom", label, "bytes/key",
                  answer->part[i].bytes / table->work->keys, fields);
        table_add(table, column, "bytes_per_atom", label, "bytes/atom",
                  answer->part[i].bytes / (double)answer->atoms, fields);
    }
}

static void
add_load(bench_table *table, unsigned column, const bench_answer *answer)
{
    char label[32], fields[64];
    double keys = table->work->keys;
    table_add(table, column, "bytes_per_atom", "rss", "bytes/key", answer->figure[LOAD_RSS],
              ",\"counted\":\"rss\"");
    table_add(table, column, "bytes_per_atom", "kind all", "bytes/key", answer->figure[LOAD_OWN],
              ",\"counted\":\"allocator\",\"kind\":\"all\"");
    for (unsigned i = 0; i < answer->kinds; i++) {
        snprintf(label, sizeof label, "kind %s", answer->kind[i].name);
        snprintf(fields, sizeof fields, ",\"counted\":\"allocator\",\"kind\":\"%s\"",
                 answer->kind[i].name);
        table_add(table, column, "bytes_per_atom", label, "bytes/key", answer->kind[i].bytes / keys,
                  fields);
    }
    add_parts(table, column, answer);
    table_add(table, column, "load", "", "ns/key", answer->figure[LOAD_NS], "");
}

/* The figures of the reader or of the writer begin at `at`. */
static void
add_beside_one(bench_table *table, unsigned column, const char *name, unsigned batch,
               const double *figure, int at)
{
    char label[32], fields[160];
    double beside = figure[at], alone = figure[at + 1];
    double cpu = figure[at + BESIDE_CPU], cpu_alone = figure[at + 1 + BESIDE_CPU];
    snprintf(label, sizeof label, "batch %u", batch);
    snprintf(fields, sizeof fields,
             ",\"batch\":%u,\"threads\":2,\"alone\":%.4g,\"cpu_ns\":%.4g,\"cpu_ns_alone\":%.4g",
             batch, alone, cpu, cpu_alone);
    table_add(table, column, name, label, "ns/op", beside, fields);
    if (alone > 0 && cpu_alone > 0) {
        table_add(table, column, name, label, "x alone", beside / alone, fields);
        table_add(table, column, name, label, "x alone cpu", cpu / cpu_alone, fields);
    }
}

static void
add_beside(bench_table *table, unsigned column, const plan_entry *entry, const bench_answer *answer)
{
    unsigned batch = entry->command.batch;
    add_beside_one(table, column, entry->name, batch, answer->figure, BESIDE_READ_NS);
    add_beside_one(table, column, entry->second, batch, answer->figure, BESIDE_WRITE_NS);
}

static void
stall_fields(const bench_command *command, const bench_answer *answer, char *out, size_t n)
{
    const double *f = answer->figure;
    int used = snprintf(out, n,
                        ",\"batch\":%u,\"updates\":%.0f,\"seconds\":%.3g,\"capped\":%s,"
                        "\"tree_bytes\":%.0f,\"release_ms\":%.4g,\"growth_after_release\":%.0f,"
                        "\"sample_seconds\":%.3g,\"samples\":[",
                        command->batch, f[STALL_UPDATES], f[STALL_SECONDS],
                        f[STALL_OWN] >= STALL_CAP_BYTES ? "true" : "false", f[STALL_TREE],
                        f[STALL_RELEASE_MS], f[STALL_OWN_AFTER], command->seconds / STALL_SAMPLES);
    for (unsigned i = 0; i < answer->samples && used > 0 && (size_t)used < n; i++)
        used += snprintf(out + used, n - (size_t)used, "%s%.0f", i ? "," : "", answer->sample[i]);
    if (used > 0 && (size_t)used < n)
        snprintf(out + used, n - (size_t)used, "]");
}

static void
add_stall(bench_table *table, unsigned column, const bench_command *command,
          const bench_answer *answer)
{
    char label[32], fields[600], counted[640];
    const double *f = answer->figure;
    snprintf(label, sizeof label, "batch %u", command->batch);
    stall_fields(command, answer, fields, sizeof fields);
    snprintf(counted, sizeof counted, ",\"counted\":\"allocator\"%s", fields);
    table_add(table, column, "stall_growth_bytes", label, "bytes", f[STALL_OWN], counted);
    if (f[STALL_TREE] > 0)
        table_add(table, column, "stall_growth_bytes", label, "x tree",
                  f[STALL_OWN] / f[STALL_TREE], counted);
    table_add(table, column, "stall_release", label, "ms", f[STALL_RELEASE_MS], counted);
    snprintf(counted, sizeof counted, ",\"counted\":\"rss\"%s", fields);
    snprintf(label, sizeof label, "batch %u, rss", command->batch);
    table_add(table, column, "stall_growth_bytes", label, "bytes", f[STALL_RSS], counted);
}

static void
add_counter(bench_table *table, unsigned column, const bench_command *command,
            const bench_answer *answer)
{
    char fields[64];
    const char *way = ways[command->way];
    snprintf(fields, sizeof fields, ",\"operation\":\"%s\",\"threads\":%u", way, command->threads);
    table_add(table, column, "counter", way, "ops/s", answer->figure[COUNTER_PER_SECOND], fields);
    table_add(table, column, "counter", way, "least share", answer->figure[COUNTER_LEAST_SHARE],
              fields);
}

static void
add_answer(bench_table *table, unsigned column, const plan_entry *entry,
           const bench_command *command, const bench_answer *answer)
{
    char label[32], fields[64];
    switch (command->step) {
    case STEP_BESIDE:
        add_beside(table, column, entry, answer);
        break;
    case STEP_STALL:
        add_stall(table, column, command, answer);
        break;
    case STEP_COUNTER:
        add_counter(table, column, command, answer);
        break;
    case STEP_THREADS:
        snprintf(label, sizeof label, "%u threads", command->threads);
        snprintf(fields, sizeof fields, ",\"threads\":%u,\"ns_per_op\":%.4g", command->threads,
                 answer->figure[THREADS_NS]);
        table_add(table, column, "lookup_threads", label, "ops/s",
                  answer->figure[THREADS_PER_SECOND], fields);
        break;
    default:
        table_add(table, column, entry->name, "", command->step == STEP_SCAN ? "ns/key" : "ns/op",
                  answer->figure[LOOKUP_NS], ",\"threads\":1");
    }
}

/* --- rounds ---------------------------------------------------------------------------------- */

static bool
wanted(const settings *s, const plan_entry *entry)
{
    return !s->only_case || strcmp(s->only_case, entry->name) == 0 ||
           (entry->second && strcmp(s->only_case, entry->second) == 0);
}

/* A stall takes 5 s: the peers, whose growth is a straight line, have one, at 64 bytes. */
static unsigned
rounds_of(const settings *s, const bench_table *table, const plan_entry *entry, unsigned column)
{
    unsigned few = s->rounds < 3 ? s->rounds : 3;
    if (entry->length == SHORT)
        return s->rounds;
    if (entry->length != STALL || (column == 0 && entry->command.batch > 1))
        return few;
    return column == 0 || table->work->value_bytes == 64 || s->only_value_bytes ? 1 : 0;
}

static void
run_entry(const settings *s, bench_table *table, bench_process *processes, const plan_entry *entry,
          const bench_command *command)
{
    bench_answer answer;
    for (unsigned round = 0; round < s->rounds; round++) {
        for (unsigned c = 0; c < TABLE_COLUMNS; c++) {
            if (!processes[c].system || (c == 1 && !entry->own_variants) ||
                round >= rounds_of(s, table, entry, c) ||
                !bench_step_applies(processes[c].system, command))
                continue;
            if (bench_process_run(&processes[c], command, &answer))
                add_answer(table, c, entry, command, &answer);
        }
    }
}

static void
run_plan(const settings *s, bench_table *table, bench_process *processes, bool first_table)
{
    for (size_t i = 0; i < sizeof plan / sizeof plan[0]; i++) {
        bench_command command = plan[i].command;
        if (!wanted(s, &plan[i]) || (plan[i].first_table_only && !first_table))
            continue;
        if (s->quick)
            command.seconds /= 5;
        if (command.step != STEP_THREADS) {
            run_entry(s, table, processes, &plan[i], &command);
            continue;
        }
        for (command.threads = 1; command.threads <= bench_cpus(); command.threads *= 2)
            run_entry(s, table, processes, &plan[i], &command);
    }
}

/* --- systems --------------------------------------------------------------------------------- */

static void
start_all(const settings *s, bench_table *table, bench_process *processes)
{
    const bench_system *systems[TABLE_COLUMNS] = {bench_coppice, bench_coppice, bench_urcu,
                                                  bench_ck,      bench_lmdb,    bench_rwlock};
    bench_config on = {true, true}, off = {false, false};
    bench_answer answer;
    for (unsigned c = 0; c < TABLE_COLUMNS; c++) {
        processes[c] = (bench_process){0};
        if (!systems[c] || (s->only_system && strcmp(s->only_system, systems[c]->name) != 0))
            continue;
        if (bench_process_start(&processes[c], systems[c], c == 1 ? &off : &on, table->work,
                                &answer)) {
            if (c >= TABLE_OWN_COLUMNS)
                processes[c].config.huge_pages = false;
            if (!s->only_case || strcmp(s->only_case, "bytes_per_atom") == 0)
                add_load(table, c, &answer);
        }
    }
}

/* False when a system failed; the others' figures are told all the same. */
static bool
run_table(const settings *s, bool by_name, uint32_t value_bytes, bool first_table)
{
    bool ok = true;
    static bench_process processes[TABLE_COLUMNS];
    bench_table *table = calloc(1, sizeof *table);
    bench_work work;
    if (!table || !bench_work_init(&work, by_name, s->keys, value_bytes)) {
        free(table);
        report_note("out of memory");
        return false;
    }
    table->work = &work;
    table->process = processes;
    start_all(s, table, processes);
    run_plan(s, table, processes, first_table);
    for (unsigned c = 0; c < TABLE_COLUMNS; c++) {
        ok = ok && (!processes[c].system || processes[c].pid);
        bench_process_end(&processes[c]);
    }
    if (s->json)
        table_json(table);
    else
        table_print(table);
    bench_work_free(&work);
    free(table);
    return ok;
}

static void
note_missing(const settings *s)
{
    const bench_system *systems[] = {bench_urcu, bench_ck, bench_lmdb, bench_rwlock};
    const char *names[] = {"urcu_lfht", "ck_epoch", "lmdb", "rwlock_hash"};
    const char *libraries[] = {"liburcu", "concurrencykit", "lmdb", "glib-2.0"};
    for (int i = 0; i < 4; i++)
        if (!systems[i] && (!s->only_system || strcmp(s->only_system, names[i]) == 0))
            report_note("%s is left out: %s was not there when this was configured", names[i],
                        libraries[i]);
}

static _Noreturn void
usage(int status)
{
    fprintf(status ? stderr : stdout,
            "bench_store [--json] [--case NAME] [--system NAME] [--key int8|str24]\n"
            "            [--value-bytes 64|16] [--keys N] [--rounds N] [--quick]\n"
            "cases: bytes_per_atom lookup pin_lookup pin scan lookup_threads update_1 update_10\n"
            "       update_1000 read_beside_writer write_beside_reader counter\n"
            "       stall_growth_bytes\n"
            "systems: coppice urcu_lfht ck_epoch lmdb rwlock_hash\n"
            "--value-bytes 16 is the inline case; --quick: 100,000 keys, one short round\n");
    exit(status);
}

static uint32_t
number(const char *text, uint32_t least, uint32_t most)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || n < least || n > most) {
        report_note("%s is not a number from %u to %u", text, least, most);
        usage(2);
    }
    return (uint32_t)n;
}

static settings
parse(int argc, char **argv)
{
    static const struct option options[] = {{"json", no_argument, NULL, 'j'},
                                            {"case", required_argument, NULL, 'c'},
                                            {"system", required_argument, NULL, 's'},
                                            {"key", required_argument, NULL, 'k'},
                                            {"value-bytes", required_argument, NULL, 'v'},
                                            {"keys", required_argument, NULL, 'n'},
                                            {"rounds", required_argument, NULL, 'r'},
                                            {"quick", no_argument, NULL, 'q'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    settings s = {.rounds = 0, .keys = 0};
    int c;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 'j':
            s.json = true;
            break;
        case 'c':
            s.only_case = optarg;
            break;
        case 's':
            s.only_system = optarg;
            break;
        case 'k':
            s.only_key = optarg;
            break;
        case 'v':
            s.only_value_bytes = number(optarg, 12, 64) > 16 ? 64 : 16;
            break;
        case 'n':
            s.keys = number(optarg, 1000, KEYS_MAX);
            break;
        case 'r':
            s.rounds = number(optarg, 1, REPORT_ROUNDS_MAX);
            break;
        case 'q':
            s.quick = true;
            break;
        default:
            usage(c == 'h' ? 0 : 2);
        }
    }
    if (optind != argc)
        usage(2);
    if (!s.keys)
        s.keys = s.quick ? 100000 : 1000000;
    if (!s.rounds)
        s.rounds = s.quick ? 1 : 5;
    return s;
}

int
main(int argc, char **argv)
{
    static const uint32_t sizes[] = {64, 16};
    settings s = parse(argc, argv);
    bool first = true, ok = true;
    signal(SIGPIPE, SIG_IGN);
    note_missing(&s);
    for (int by_name = 0; by_name <= 1; by_name++) {
        if (s.only_key && strcmp(s.only_key, by_name ? "str24" : "int8") != 0)
            continue;
        for (int i = 0; i < 2; i++) {
            if (s.only_value_bytes && s.only_value_bytes != sizes[i])
                continue;
            ok = run_table(&s, by_name, sizes[i], first) && ok;
            first = false;
        }
    }
    if (first)
        usage(2);
    return ok ? 0 : 1;
}

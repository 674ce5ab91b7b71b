/* SPDX-License-Identifier: MIT */
/*
 * ./dev bench graph: computed atoms beside what the same graphs cost when written by hand in C, and
 * beside oneTBB and signal libraries. docs/benchmarks.md says what each case is.
 *
 * Case by case every system makes the graph in a process of its own; then they take turns, round by
 * round. The first round of each is warming up and not counted.
 */
#include <getopt.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/graph_child.h"
#include "bench/graph_table.h"
#include "bench/store_work.h"

#define CALIBRATION 2000000 /* multiplications */
#define CHILDREN (GRAPH_SYSTEMS * GRAPH_THREADS)

typedef struct settings {
    bool json;
    const char *only_case;
    unsigned systems; /* 1 << graph_system */
    unsigned rounds;
    graph_programs programs;
    double burn_ns; /* of one multiplication of a body */
} settings;

static unsigned
burn_of(const settings *s, unsigned body_ns)
{
    return (unsigned)(body_ns / s->burn_ns);
}

/* The least of several: the pace of an undisturbed CPU. */
static double
measure_burn(void)
{
    double least = 1e9;
    for (int i = 0; i < 9; i++) {
        double begin = graph_clock_ns(CLOCK_THREAD_CPUTIME_ID), took;
        volatile int64_t sink = graph_burn(i, CALIBRATION);
        (void)sink;
        took = (graph_clock_ns(CLOCK_THREAD_CPUTIME_ID) - begin) / CALIBRATION;
        least = took < least ? took : least;
    }
    return least;
}

/* --- one case -------------------------------------------------------------------------------- */

static bool
take_part(const settings *s, const graph_case *c, graph_system system)
{
    return (s->systems & c->systems & 1u << system) != 0;
}

static bool
start_all(const settings *s, const graph_case *c, graph_child *children, unsigned *n)
{
    *n = 0;
    for (graph_system system = 0; system < GRAPH_SYSTEMS; system++) {
        for (unsigned threads = 1; threads <= (c->parallel ? GRAPH_THREADS : 1); threads++) {
            if (!take_part(s, c, system))
                continue;
            if (!graph_child_start(&children[*n], &s->programs, system, c, threads,
                                   burn_of(s, c->body_ns)))
                return false;
            ++*n;
        }
    }
    return true;
}

static bool
one_round(graph_child *child, graph_result *result, bool counts)
{
    graph_cell *cell = &result->cell[child->system][child->threads - 1];
    graph_answer answer;
    json_t *row;
    if (!child->pid)
        return true;
    answer = graph_child_round(child, &row);
    if (answer != GRAPH_ROW)
        return answer == GRAPH_LEFT_OUT;
    if (counts) {
        double value = json_number_value(json_object_get(row, "value"));
        const json_t *of_steps = json_object_get(row, "mean");
        report_add(&cell->samples, value);
        report_add(&cell->means, of_steps ? json_number_value(of_steps) : value);
    }
    json_decref(row);
    return true;
}

/* Making a graph needs no warming up that the first step would not need as well. */
static bool
run_case(const settings *s, const graph_case *c, graph_result *result)
{
    graph_child children[CHILDREN] = {0};
    unsigned n = 0, rounds = s->rounds, warm = c->measure == GRAPH_STEPS ? 1 : 0;
    pid_t foreign = result->foreign ? graph_foreign_start() : 0;
    bool ok = foreign >= 0 && start_all(s, c, children, &n);
    if (c->rounds_max && rounds > c->rounds_max)
        rounds = c->rounds_max;
    for (unsigned round = 0; ok && round < rounds + warm; round++)
        for (unsigned i = 0; i < n; i++)
            ok = one_round(&children[i], result, round >= warm) && ok;
    for (unsigned i = 0; i < CHILDREN; i++)
        graph_child_end(&children[i]);
    graph_foreign_end(foreign);
    return ok;
}

/* The systems that have a column in the table of the cases that are parallel, or not. */
static unsigned
columns(const settings *s, bool parallel)
{
    unsigned systems = 0;
    for (unsigned i = 0; i < graph_case_count; i++)
        if (graph_cases[i].parallel == parallel)
            systems |= graph_cases[i].systems;
    return systems & s->systems;
}

static bool
wanted(const settings *s, const graph_case *c)
{
    return (!s->only_case || strcmp(s->only_case, c->name) == 0) &&
           (c->systems & s->systems & ~(1u << GRAPH_INDEPENDENT)) != 0;
}

static bool
run_and_tell(const settings *s, const graph_case *c, bool foreign)
{
    static graph_result result;
    result = (graph_result){.c = c, .foreign = foreign};
    bool ok = run_case(s, c, &result);
    if (s->json)
        graph_result_json(&result);
    else
        graph_result_print(&result, columns(s, c->parallel));
    return ok;
}

static bool
run_all(const settings *s)
{
    bool ok = true, any = false;
    int heading = -1;
    for (unsigned i = 0; i < graph_case_count; i++) {
        const graph_case *c = &graph_cases[i];
        if (!wanted(s, c))
            continue;
        any = true;
        if (!s->json && heading != c->parallel)
            graph_heading_print(c->parallel, columns(s, c->parallel));
        heading = c->parallel;
        for (int foreign = 0; foreign <= c->parallel; foreign++)
            ok = run_and_tell(s, c, foreign) && ok;
    }
    if (!any)
        report_note("none of the systems has such a case");
    return ok && any;
}

/* --- what is there --------------------------------------------------------------------------- */

static void
leave_out(settings *s, unsigned systems, const char *names, const char *why)
{
    if (s->systems & systems)
        report_note("%s left out: %s", names, why);
    s->systems &= ~systems;
}

/* Those that have a case which was asked for. */
static unsigned
systems_asked(const settings *s)
{
    unsigned systems = 0;
    for (unsigned i = 0; i < graph_case_count; i++)
        if (!s->only_case || strcmp(s->only_case, graph_cases[i].name) == 0)
            systems |= graph_cases[i].systems;
    return systems;
}

static void
find_programs(settings *s)
{
    static char tbb[PATH_MAX + 16];
    char own[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", own, sizeof own - 1);
    own[n > 0 ? n : 0] = 0;
    snprintf(tbb, sizeof tbb, "%s/graph_tbb", dirname(own));
    s->programs.tbb = tbb;
    s->systems &= systems_asked(s);
    if (!graph_coppice)
        leave_out(s, 1u << GRAPH_COPPICE, "coppice is", "built without computed atoms");
    if (access(tbb, X_OK) != 0)
        leave_out(s, 1u << GRAPH_TBB_FLOW | 1u << GRAPH_TBB_FOR, "tbb_flow and tbb_for are",
                  "oneTBB or a C++ compiler was not there when this was built");
    if (!s->programs.signals)
        leave_out(s, 1u << GRAPH_ALIEN | 1u << GRAPH_PREACT, "alien_signals and preact_signals are",
                  "no --signals FILE (./dev bench graph installs them where node, npm and a "
                  "network are)");
}

/* --- the command line ------------------------------------------------------------------------ */

static _Noreturn void
usage(int status)
{
    FILE *out = status ? stderr : stdout;
    fprintf(out, "bench_graph [--json] [--only CASE] [--systems NAME,...] [--rounds N]\n"
                 "            [--signals FILE]\ncases:");
    for (unsigned i = 0; i < graph_case_count; i++)
        if (i == 0 || strcmp(graph_cases[i].name, graph_cases[i - 1].name) != 0)
            fprintf(out, " %s", graph_cases[i].name);
    fprintf(out, "\nsystems:");
    for (graph_system system = 0; system < GRAPH_INDEPENDENT; system++)
        fprintf(out, " %s", graph_system_names[system]);
    fprintf(out, "\n--signals: graph_signals.mjs, in a folder that has its node_modules\n");
    exit(status);
}

static unsigned
systems_named(char *list)
{
    unsigned systems = 1u << GRAPH_INDEPENDENT;
    char *rest;
    for (char *name = strtok_r(list, ",", &rest); name; name = strtok_r(NULL, ",", &rest)) {
        graph_system system = 0;
        while (system < GRAPH_INDEPENDENT && strcmp(name, graph_system_names[system]) != 0)
            system++;
        if (system == GRAPH_INDEPENDENT) {
            report_note("there is no system %s", name);
            usage(2);
        }
        systems |= 1u << system;
    }
    return systems;
}

static const char *
case_named(const char *name)
{
    for (unsigned i = 0; i < graph_case_count; i++)
        if (strcmp(graph_cases[i].name, name) == 0)
            return name;
    report_note("there is no case %s", name);
    usage(2);
}

static unsigned
rounds_of(const char *text)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || n < 1 || n > REPORT_ROUNDS_MAX) {
        report_note("%s is not a number from 1 to %u", text, REPORT_ROUNDS_MAX);
        usage(2);
    }
    return (unsigned)n;
}

static settings
parse(int argc, char **argv)
{
    static const struct option options[] = {{"json", no_argument, NULL, 'j'},
                                            {"only", required_argument, NULL, 'o'},
                                            {"systems", required_argument, NULL, 's'},
                                            {"rounds", required_argument, NULL, 'r'},
                                            {"signals", required_argument, NULL, 'n'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    settings s = {.systems = (1u << GRAPH_SYSTEMS) - 1, .rounds = 7};
    int c;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 'j':
            s.json = true;
            break;
        case 'o':
            s.only_case = case_named(optarg);
            break;
        case 's':
            s.systems = systems_named(optarg);
            break;
        case 'r':
            s.rounds = rounds_of(optarg);
            break;
        case 'n':
            s.programs.signals = optarg;
            break;
        default:
            usage(c == 'h' ? 0 : 2);
        }
    }
    if (optind != argc)
        usage(2);
    return s;
}

int
main(int argc, char **argv)
{
    settings s = parse(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    bench_cpus(); /* before anything is tied to one of them */
    find_programs(&s);
    s.burn_ns = measure_burn();
    return run_all(&s) ? 0 : 1;
}

/* SPDX-License-Identifier: MIT */
/*
 * `coppice tune`: the load of `coppice stress` over worker threads and batch windows. Each setting
 * is run several times, in turns with the others, so that a slow moment of the machine does not
 * count against one of them; medians are compared, and a difference that is smaller than that
 * between runs of one setting is none.
 */
#include "tools/commands.h"
#include "tools/stress/arguments.h"
#include "tools/stress/stress.h"

#include <coppice/coppice.h>

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SETTINGS_MAX = 64, REPEAT_MAX = 32, WINDOWS = 4, NEAR_PERCENT = 5, RESTLESS_PERCENT = 25 };

static const uint64_t windows[WINDOWS] = {0, 1, 4, 16};

struct figures {
    double writes, reads; /* a second: transactions decided, and pins of 8 values */
    double commit_p99_ns, ticket_p99_ns;
};

struct setting {
    uint64_t threads, window_ms;
    struct figures run[REPEAT_MAX], median;
    double spread; /* of the writes: (most - least) / median */
};

struct tune {
    struct stress_config load;
    uint64_t repeat, most_threads;
    const char *output;
    bool json;
    struct setting setting[SETTINGS_MAX];
    unsigned count, best, chosen; /* best: most writes */
};

static void
make_settings(struct tune *t)
{
    for (uint64_t threads = 1;;
         threads = threads * 2 < t->most_threads ? threads * 2 : t->most_threads) {
        for (unsigned i = 0; i < WINDOWS; i++)
            t->setting[t->count++] = (struct setting){.threads = threads, .window_ms = windows[i]};
        if (threads == t->most_threads)
            return;
    }
}

static int
by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Of one member of the runs' figures; their spread too, if wanted. */
static double
median_of(const struct setting *setting, uint64_t repeat, size_t member, double *spread)
{
    double value[REPEAT_MAX];
    for (uint64_t i = 0; i < repeat; i++)
        memcpy(&value[i], (const char *)&setting->run[i] + member, sizeof *value);
    qsort(value, repeat, sizeof *value, by_value);
    double median = (value[(repeat - 1) / 2] + value[repeat / 2]) / 2;
    if (spread)
        *spread = median > 0 ? (value[repeat - 1] - value[0]) / median : 0;
    return median;
}

static void
take_medians(struct tune *t)
{
    for (unsigned i = 0; i < t->count; i++) {
        struct setting *s = &t->setting[i];
        s->median.writes = median_of(s, t->repeat, offsetof(struct figures, writes), &s->spread);
        s->median.reads = median_of(s, t->repeat, offsetof(struct figures, reads), NULL);
        s->median.commit_p99_ns =
            median_of(s, t->repeat, offsetof(struct figures, commit_p99_ns), NULL);
        s->median.ticket_p99_ns =
            median_of(s, t->repeat, offsetof(struct figures, ticket_p99_ns), NULL);
    }
}

static bool
measure(const struct tune *t, struct setting *setting, uint64_t round, struct stress_result *result)
{
    struct stress_config config = t->load;
    config.threads = setting->threads;
    config.window_ms = setting->window_ms;
    config.seed += round;
    if (!stress_run(&config, result))
        return false;
    if (result->broken >= 0) {
        complain("broken promise '%s': %s: %s", stress_promise_names[result->broken],
                 stress_promise_texts[result->broken], result->detail);
        return false;
    }
    const struct latency *l = result->latency;
    setting->run[round] = (struct figures){
        (double)(l[OPERATION_COMMIT].count + l[OPERATION_TICKET].count + l[OPERATION_CHURN].count) /
            result->seconds,
        (double)l[OPERATION_READ].count / result->seconds,
        (double)latency_quantile(&l[OPERATION_COMMIT], 0.99),
        (double)latency_quantile(&l[OPERATION_TICKET], 0.99)};
    return true;
}

static bool
measure_all(struct tune *t)
{
    bool good = true, terminal = isatty(STDERR_FILENO);
    struct stress_result *result = malloc(sizeof *result);
    if (!result)
        complain("out of memory");
    for (uint64_t round = 0; good && result && round < t->repeat; round++)
        for (unsigned i = 0; good && i < t->count; i++) {
            if (terminal)
                fprintf(stderr, "\rrun %llu of %llu\033[K",
                        (unsigned long long)(round * t->count + i + 1),
                        (unsigned long long)(t->repeat * t->count));
            good = measure(t, &t->setting[round % 2 ? t->count - 1 - i : i], round, result);
        }
    if (terminal)
        fprintf(stderr, "\r\033[K");
    good = good && result;
    free(result);
    return good;
}

/* How much fewer writes than the best a setting may have and still count as equal. */
static double
tolerance(const struct tune *t)
{
    double near = NEAR_PERCENT / 100.0, spread = t->setting[t->best].spread;
    return spread > near ? spread : near;
}

/* Of the settings with as many writes as the best, the first: fewest threads, then the least
 * window. */
static void
choose(struct tune *t)
{
    for (unsigned i = 1; i < t->count; i++)
        if (t->setting[i].median.writes > t->setting[t->best].median.writes)
            t->best = i;
    double least = t->setting[t->best].median.writes * (1 - tolerance(t));
    while (t->setting[t->chosen].median.writes < least)
        t->chosen++;
}

static void
explain(const struct tune *t, char *text, size_t size)
{
    const struct setting *best = &t->setting[t->best], *chosen = &t->setting[t->chosen];
    double percent = tolerance(t) * 100;
    int n =
        snprintf(text, size,
                 "Chosen: workers.threads %llu and batch.window_ms %llu, with %.0f writes a second",
                 (unsigned long long)chosen->threads, (unsigned long long)chosen->window_ms,
                 chosen->median.writes);
    if (best == chosen)
        n += snprintf(text + n, size - (size_t)n, ", the most.");
    else
        n += snprintf(
            text + n, size - (size_t)n,
            ". The most, %.0f with %llu and %llu, is within %.0f %% of that, the greater of "
            "%d %% and what its runs differ by: fewer threads and a lesser window win.",
            best->median.writes, (unsigned long long)best->threads,
            (unsigned long long)best->window_ms, percent, NEAR_PERCENT);
    if (best->spread * 100 > RESTLESS_PERCENT)
        snprintf(
            text + n, size - (size_t)n,
            " Runs of the same setting differ by %.0f %%, so this rests on little: run it again "
            "while the machine does nothing else, longer and more often (--seconds, --repeat).",
            best->spread * 100);
}

static void
print_table(const struct tune *t, const char *reason)
{
    printf("%7s %9s %12s %8s %12s %13s %13s\n", "threads", "window ms", "writes/s", "spread",
           "reads/s", "commit p99 us", "ticket p99 us");
    for (unsigned i = 0; i < t->count; i++) {
        const struct setting *s = &t->setting[i];
        printf("%7llu %9llu %12.0f %6.0f %% %12.0f %13.1f %13.1f%s\n",
               (unsigned long long)s->threads, (unsigned long long)s->window_ms, s->median.writes,
               s->spread * 100, s->median.reads, s->median.commit_p99_ns / 1e3,
               s->median.ticket_p99_ns / 1e3, i == t->chosen ? "  <" : "");
    }
    printf("\n%s\n", reason);
}

static void
print_json(const struct tune *t, const char *reason)
{
    json_t *settings = json_array();
    for (unsigned i = 0; i < t->count; i++) {
        const struct setting *s = &t->setting[i];
        json_array_append_new(
            settings,
            json_pack("{s:I,s:I,s:f,s:f,s:f,s:f,s:f}", "threads", (json_int_t)s->threads,
                      "window_ms", (json_int_t)s->window_ms, "writes_per_second", s->median.writes,
                      "spread", s->spread, "reads_per_second", s->median.reads, "commit_p99_ns",
                      s->median.commit_p99_ns, "ticket_p99_ns", s->median.ticket_p99_ns));
    }
    const struct setting *chosen = &t->setting[t->chosen];
    json_t *all = json_pack("{s:o,s:{s:I,s:I},s:s}", "settings", settings, "chosen", "threads",
                            (json_int_t)chosen->threads, "window_ms", (json_int_t)chosen->window_ms,
                            "reason", reason);
    json_dumpf(all, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(all);
}

static void
write_fragment(const struct tune *t, FILE *to)
{
    const struct setting *chosen = &t->setting[t->chosen];
    fprintf(to,
            "# by coppice tune\nworkers = { threads = %llu; };\nbatch = { window_ms = %llu; };\n",
            (unsigned long long)chosen->threads, (unsigned long long)chosen->window_ms);
}

static int
write_output(const struct tune *t)
{
    if (!t->output)
        return EXIT_DONE;
    FILE *to = fopen(t->output, "w");
    bool good = to != NULL;
    if (good) {
        write_fragment(t, to);
        good = !ferror(to);
        good = fclose(to) == 0 && good;
    }
    if (!good)
        complain("%s: %s", t->output, strerror(errno));
    return good ? EXIT_DONE : EXIT_FAILED;
}

static int
tune(struct tune *t)
{
    char reason[512];
    t->load.progress = false;
    make_settings(t);
    if (!measure_all(t))
        return EXIT_FAILED;
    take_medians(t);
    choose(t);
    explain(t, reason, sizeof reason);
    if (t->json) {
        print_json(t, reason);
    } else {
        print_table(t, reason);
        if (!t->output) {
            putchar('\n');
            write_fragment(t, stdout);
        }
    }
    return write_output(t);
}

int
run_tune(const struct command *command, int argc, char **argv)
{
    static struct tune t; /* the runs of all settings: too much for a stack */
    int code;
    t.load = (struct stress_config)STRESS_CONFIG_INIT;
    t.load.seconds = 0.5;
    t.repeat = 3;
    t.most_threads = cop_cpus_usable();
    if (t.most_threads > 1024)
        t.most_threads = 1024;
    const struct arg args[] = {
        {"seconds", ARG_NUMBER, &t.load.seconds, 0, 3600, "S", "of each run (0.5)"},
        {"repeat", ARG_U64, &t.repeat, 1, REPEAT_MAX, "N", "runs of each setting (3)"},
        {"max-threads", ARG_U64, &t.most_threads, 1, 1024, "N",
         "worker threads tried: 1, 2, 4 .. N (CPUs)"},
        {"output", ARG_TEXT, &t.output, 0, 0, "FILE", "write the configuration there"},
        STRESS_LOAD_ARGS(&t.load),
        {"json", ARG_FLAG, &t.json, 0, 0, NULL, "as JSON"},
        {NULL, ARG_FLAG, NULL, 0, 0, NULL, NULL},
    };
    if (!args_parse(command, args, argc, argv, &argc, &code))
        return code;
    if (argc)
        return usage_error(command, "tune takes no argument");
    return tune(&t);
}

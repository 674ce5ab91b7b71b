/* SPDX-License-Identifier: MIT */
/*
 * `coppice tune`: the load of `coppice stress` over worker threads and batch windows. Each setting
 * is run several times, in turns with the others, so that a slow moment of the machine does not
 * count against one of them. A setting is compared with the best one round by round: what counts is
 * the median of the ratios and the interval that it lies in, whatever the distribution, with a
 * probability of 95 % (order statistics). Where that interval reaches the best, or the median
 * nearly does, there is no difference, and the smaller setting wins.
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
enum { REPEAT = 7, PROBABLE_PERCENT = 95 };

static const uint64_t windows[WINDOWS] = {0, 1, 4, 16};

struct figures {
    double writes, reads; /* a second: transactions decided, and pins of 8 values */
    double commit_p99_ns, ticket_p99_ns;
};

struct setting {
    uint64_t threads, window_ms;
    struct figures run[REPEAT_MAX], median;
    struct ratio {
        double low, median, high; /* of the best setting's writes in the same round */
    } ratio;
};

struct tune {
    struct stress_config load;
    uint64_t repeat, most_threads;
    const char *output;
    bool json;
    struct setting setting[SETTINGS_MAX];
    unsigned count, best, chosen; /* best: most writes */
    double probability;           /* of the ratios' intervals */
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

static double
middle(const double *sorted, uint64_t n)
{
    return (sorted[(n - 1) / 2] + sorted[n / 2]) / 2;
}

/* Of one member of the runs' figures. */
static double
median_of(const struct setting *setting, uint64_t repeat, size_t member)
{
    double value[REPEAT_MAX];
    for (uint64_t i = 0; i < repeat; i++)
        memcpy(&value[i], (const char *)&setting->run[i] + member, sizeof *value);
    qsort(value, repeat, sizeof *value, by_value);
    return middle(value, repeat);
}

static void
take_medians(struct tune *t)
{
    for (unsigned i = 0; i < t->count; i++) {
        struct setting *s = &t->setting[i];
        s->median.writes = median_of(s, t->repeat, offsetof(struct figures, writes));
        s->median.reads = median_of(s, t->repeat, offsetof(struct figures, reads));
        s->median.commit_p99_ns = median_of(s, t->repeat, offsetof(struct figures, commit_p99_ns));
        s->median.ticket_p99_ns = median_of(s, t->repeat, offsetof(struct figures, ticket_p99_ns));
        if (s->median.writes > t->setting[t->best].median.writes)
            t->best = i;
    }
}

/* The median lies between the skip-th value from below and from above, unless as few as skip of n
 * fair coins fall on one side. The most that can be skipped; with few runs none, and less
 * probability. */
static uint64_t
values_to_skip(uint64_t n, double *probability)
{
    double each = 1, outside; /* of 2^n throws: with `skip` heads; with as few, or as few tails */
    uint64_t skip = 0;
    for (uint64_t i = 0; i < n; i++)
        each /= 2;
    for (outside = 2 * each;; skip++) {
        each = each * (double)(n - skip) / (double)(skip + 1);
        if (outside + 2 * each > 1 - PROBABLE_PERCENT / 100.0)
            break;
        outside += 2 * each;
    }
    *probability = n > 1 ? 1 - outside : 0;
    return skip;
}

static void
take_ratios(struct tune *t)
{
    uint64_t skip = values_to_skip(t->repeat, &t->probability);
    const struct setting *best = &t->setting[t->best];
    for (unsigned i = 0; i < t->count; i++) {
        double ratio[REPEAT_MAX];
        for (uint64_t k = 0; k < t->repeat; k++)
            ratio[k] =
                best->run[k].writes > 0 ? t->setting[i].run[k].writes / best->run[k].writes : 1;
        qsort(ratio, t->repeat, sizeof *ratio, by_value);
        t->setting[i].ratio =
            (struct ratio){ratio[skip], middle(ratio, t->repeat), ratio[t->repeat - 1 - skip]};
    }
}

static bool
measure(const struct tune *t, struct setting *setting, uint64_t round, struct stress_result *result)
{
    struct stress_config config = t->load;
    config.threads = setting->threads;
    config.window_ms = setting->window_ms;
    config.seed += round;
    config.load_only = true;
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

/* Nothing says that the best is better by more than a little. */
static bool
is_as_good(const struct ratio *ratio)
{
    return ratio->high >= 1 || ratio->median >= 1 - NEAR_PERCENT / 100.0;
}

/* Of the settings that are as good as the best, the first: fewest threads, then the least window.
 */
static void
choose(struct tune *t)
{
    while (t->chosen != t->best && !is_as_good(&t->setting[t->chosen].ratio))
        t->chosen++;
}

static double
widest(const struct tune *t)
{
    double most = 0;
    for (unsigned i = 0; i < t->count; i++) {
        const struct ratio *r = &t->setting[i].ratio;
        most = r->high - r->low > most ? r->high - r->low : most;
    }
    return most;
}

static void
explain(const struct tune *t, char *text, size_t size)
{
    const struct setting *best = &t->setting[t->best], *chosen = &t->setting[t->chosen];
    int n =
        snprintf(text, size,
                 "Chosen: workers.threads %llu and batch.window_ms %llu, with %.0f writes a second",
                 (unsigned long long)chosen->threads, (unsigned long long)chosen->window_ms,
                 chosen->median.writes);
    if (best == chosen)
        n += snprintf(text + n, size - (size_t)n, "%s",
                      t->chosen ? ", the most; no smaller setting is as good."
                                : ", the most, and the smallest setting.");
    else
        n += snprintf(text + n, size - (size_t)n,
                      ". The most, %.0f with %llu and %llu, is no difference that shows: round by "
                      "round the chosen had %.2f of its writes (%.2f to %.2f at %.0f %%), and %s; "
                      "fewer threads and a lesser window win.",
                      best->median.writes, (unsigned long long)best->threads,
                      (unsigned long long)best->window_ms, chosen->ratio.median, chosen->ratio.low,
                      chosen->ratio.high, t->probability * 100,
                      chosen->ratio.high >= 1 ? "that reaches 1" : "5 % less is near enough");
    if (widest(t) * 100 > RESTLESS_PERCENT || t->probability * 100 < PROBABLE_PERCENT)
        snprintf(
            text + n, size - (size_t)n,
            " Intervals are as wide as %.2f at %.0f %%, so this rests on little: run it again "
            "while the machine does nothing else, longer and more often (--seconds, --repeat).",
            widest(t), t->probability * 100);
}

static void
print_table(const struct tune *t, const char *reason)
{
    printf("%7s %9s %12s %18s %12s %13s %13s\n", "threads", "window ms", "writes/s", "of the best",
           "reads/s", "commit p99 us", "ticket p99 us");
    for (unsigned i = 0; i < t->count; i++) {
        const struct setting *s = &t->setting[i];
        char ratio[32];
        snprintf(ratio, sizeof ratio, "%.2f (%.2f-%.2f)", s->ratio.median, s->ratio.low,
                 s->ratio.high);
        printf("%7llu %9llu %12.0f %18s %12.0f %13.1f %13.1f%s\n", (unsigned long long)s->threads,
               (unsigned long long)s->window_ms, s->median.writes, ratio, s->median.reads,
               s->median.commit_p99_ns / 1e3, s->median.ticket_p99_ns / 1e3,
               i == t->chosen ? "  <" : "");
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
            settings, json_pack("{s:I,s:I,s:f,s:{s:f,s:f,s:f},s:f,s:f,s:f}", "threads",
                                (json_int_t)s->threads, "window_ms", (json_int_t)s->window_ms,
                                "writes_per_second", s->median.writes, "of_best", "low",
                                s->ratio.low, "median", s->ratio.median, "high", s->ratio.high,
                                "reads_per_second", s->median.reads, "commit_p99_ns",
                                s->median.commit_p99_ns, "ticket_p99_ns", s->median.ticket_p99_ns));
    }
    const struct setting *chosen = &t->setting[t->chosen];
    json_t *all = json_pack("{s:o,s:f,s:{s:I,s:I},s:s}", "settings", settings, "probability",
                            t->probability, "chosen", "threads", (json_int_t)chosen->threads,
                            "window_ms", (json_int_t)chosen->window_ms, "reason", reason);
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
    char reason[768];
    t->load.progress = false;
    make_settings(t);
    if (!measure_all(t))
        return EXIT_FAILED;
    take_medians(t);
    take_ratios(t);
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
    t.load.seconds = 0.3;
    t.repeat = REPEAT;
    t.most_threads = cop_cpus_usable();
    if (t.most_threads > 1024)
        t.most_threads = 1024;
    const struct arg args[] = {
        {"seconds", ARG_NUMBER, &t.load.seconds, 0, 3600, "S", "of each run (0.3)"},
        {"repeat", ARG_U64, &t.repeat, 1, REPEAT_MAX, "N", "runs of each setting (7)"},
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

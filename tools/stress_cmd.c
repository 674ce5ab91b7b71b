/* SPDX-License-Identifier: MIT */
/* `coppice stress`: a load, its figures, and the promise that it found broken, if any. */
#include "tools/commands.h"
#include "tools/stress/arguments.h"
#include "tools/stress/stress.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void
print_table(const struct stress_result *result)
{
    uint64_t checks = 0;
    printf("%-10s %12s %12s %10s %10s %10s %10s\n", "operation", "count", "per second", "p50 us",
           "p99 us", "p99.9 us", "max us");
    for (unsigned i = 0; i < OPERATIONS; i++) {
        const struct latency *l = &result->latency[i];
        if (l->count)
            printf("%-10s %12llu %12.0f %10.1f %10.1f %10.1f %10.1f\n", stress_operation_names[i],
                   (unsigned long long)l->count, (double)l->count / result->seconds,
                   (double)latency_quantile(l, 0.5) / 1e3, (double)latency_quantile(l, 0.99) / 1e3,
                   (double)latency_quantile(l, 0.999) / 1e3, (double)l->greatest / 1e3);
    }
    for (unsigned i = 0; i < PROMISES; i++)
        checks += result->checks[i];
    printf("%.1f s, version %llu, %llu checks\n", result->seconds,
           (unsigned long long)result->version, (unsigned long long)checks);
}

static json_t *
describe_latency(const struct latency *l, double seconds)
{
    return json_pack("{s:I,s:f,s:I,s:I,s:I,s:I}", "count", (json_int_t)l->count, "per_second",
                     seconds > 0 ? (double)l->count / seconds : 0, "p50_ns",
                     (json_int_t)latency_quantile(l, 0.5), "p99_ns",
                     (json_int_t)latency_quantile(l, 0.99), "p999_ns",
                     (json_int_t)latency_quantile(l, 0.999), "max_ns", (json_int_t)l->greatest);
}

static json_t *
describe_config(const struct stress_config *c)
{
    return json_pack("{s:s?,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:f,s:I,s:I,s:I,s:I,s:I,s:b}", "server",
                     c->server, "atoms", (json_int_t)c->atoms, "depth", (json_int_t)c->depth,
                     "computed", (json_int_t)c->computed, "fan_out", (json_int_t)c->fan_out,
                     "writers", (json_int_t)c->writers, "readers", (json_int_t)c->readers,
                     "watchers", (json_int_t)c->watchers, "value_bytes", (json_int_t)c->value_bytes,
                     "skew", c->skew, "churn", (json_int_t)c->churn, "threads",
                     (json_int_t)c->threads, "window_ms", (json_int_t)c->window_ms, "seed",
                     (json_int_t)c->seed, "patience_ms", (json_int_t)c->patience_ms, "load_only",
                     c->load_only);
}

static void
print_json(const struct stress_config *config, const struct stress_result *result)
{
    json_t *operations = json_object(), *checks = json_object();
    for (unsigned i = 0; i < OPERATIONS; i++)
        json_object_set_new(operations, stress_operation_names[i],
                            describe_latency(&result->latency[i], result->seconds));
    for (unsigned i = 0; i < PROMISES; i++)
        json_object_set_new(checks, stress_promise_names[i],
                            json_integer((json_int_t)result->checks[i]));
    json_t *broken = result->broken < 0
                         ? json_null()
                         : json_pack("{s:s,s:s}", "promise", stress_promise_names[result->broken],
                                     "detail", result->detail);
    json_t *all = json_pack("{s:o,s:f,s:I,s:o,s:o,s:o}", "config", describe_config(config),
                            "seconds", result->seconds, "version", (json_int_t)result->version,
                            "operations", operations, "checks", checks, "broken", broken);
    json_dumpf(all, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(all);
}

static int
report(const struct stress_config *config, const struct stress_result *result, bool json)
{
    if (json)
        print_json(config, result);
    else
        print_table(result);
    if (result->broken < 0)
        return EXIT_DONE;
    complain("broken promise '%s': %s: %s", stress_promise_names[result->broken],
             stress_promise_texts[result->broken], result->detail);
    return EXIT_FAILED;
}

int
run_stress(const struct command *command, int argc, char **argv)
{
    struct stress_config config = STRESS_CONFIG_INIT;
    struct stress_result *result;
    bool json = false, quiet = false;
    int code;
    const struct arg args[] = {
        {"server", ARG_TEXT, &config.server, 0, 0, "URL",
         "the load on a running server, http://HOST[:PORT], instead of a store of its own"},
        {"seconds", ARG_NUMBER, &config.seconds, 0, 86400, "S", "how long (5)"},
        STRESS_LOAD_ARGS(&config),
        {"threads", ARG_U64, &config.threads, 0, 1024, "N",
         "worker threads of the pool; 0: no pool (1)"},
        {"window-ms", ARG_U64, &config.window_ms, 0, 60000, "MS",
         "batch.window_ms of the store; with --server of the watchers (0)"},
        {"patience-ms", ARG_U64, &config.patience_ms, 100, 600000, "MS",
         "a call or a wait that takes longer is broken (10000)"},
        {"load-only", ARG_FLAG, &config.load_only, 0, 0, NULL,
         "without probers and the second store: for figures"},
        {"quiet", ARG_FLAG, &quiet, 0, 0, NULL, "no progress bar"},
        {"json", ARG_FLAG, &json, 0, 0, NULL, "as JSON"},
        {NULL, ARG_FLAG, NULL, 0, 0, NULL, NULL},
    };
    if (!args_parse(command, args, argc, argv, &argc, &code))
        return code;
    if (argc)
        return usage_error(command, "stress takes no argument");
    config.progress = !quiet && isatty(STDERR_FILENO);
    result = malloc(sizeof *result);
    if (!result || !stress_run(&config, result)) {
        free(result);
        return EXIT_FAILED;
    }
    code = report(&config, result, json);
    free(result);
    return code;
}

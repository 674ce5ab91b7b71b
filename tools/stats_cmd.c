/* SPDX-License-Identifier: MIT */
/* `coppice stats`: the store's counters and gauges, with their units and what they mean. */
#include <coppice/stats.h>

#include "tools/client.h"
#include "tools/commands.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

static void
print_row(const json_t *stats, const char *name, const char *unit, const char *help)
{
    const json_t *value = json_object_get(stats, name);
    if (value)
        printf("%-24s %16lld %-13s %s\n", name, (long long)json_integer_value(value), unit, help);
}

static void
print_group(json_t *stats, const char *group, const char *unit)
{
    const char *name;
    json_t *value;
    char full[96];
    json_object_foreach(json_object_get(stats, group), name, value)
    {
        snprintf(full, sizeof full, "%s.%s", group, name);
        printf("%-24s %16lld %s\n", full, (long long)json_integer_value(value), unit);
    }
}

static bool
print_table(const struct http_answer *answer)
{
    json_t *stats = json_loadb(answer->body, answer->length, 0, NULL);
    if (!stats) {
        complain("the server's answer is no JSON");
        return false;
    }
#define COP_STATS_ROW(name, unit, help) print_row(stats, #name, unit, help);
    COP_STATS_MAP(COP_STATS_ROW)
#undef COP_STATS_ROW
    print_group(stats, "bytes_by_kind", "bytes");
    print_group(stats, "graph", "");
    print_group(stats, "workers", "");
    print_group(stats, "http", "");
    json_decref(stats);
    return true;
}

int
run_stats(const struct command *command, int argc, char **argv)
{
    const char *server = client_server();
    bool json = false;
    int code;
    const struct arg args[] = {
        {"server", ARG_TEXT, &server, 0, 0, "URL",
         "the server (COPPICE_SERVER, else http://127.0.0.1:7227)"},
        {"json", ARG_FLAG, &json, 0, 0, NULL, "as JSON"},
        {NULL, ARG_FLAG, NULL, 0, 0, NULL, NULL},
    };
    if (!args_parse(command, args, argc, argv, &argc, &code))
        return code;
    if (argc)
        return usage_error(command, "stats takes no argument");
    const struct http_request request = {.server = server, .method = "GET", .target = "/v1/stats"};
    struct http_answer answer;
    if (!client_call(&request, "stats", &answer))
        return EXIT_FAILED;
    bool good = true;
    if (json)
        printf("%s\n", answer.body);
    else
        good = print_table(&answer);
    free(answer.body);
    return good ? EXIT_DONE : EXIT_FAILED;
}

/* SPDX-License-Identifier: MIT */
/* `coppice why`: what a computed atom depends on, when and why it last ran, what cut it off. */
#include "tools/client.h"
#include "tools/commands.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIST_MAX 20

static const char *
text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static long long
number_of(const json_t *object, const char *key)
{
    return (long long)json_integer_value(json_object_get(object, key));
}

/* "-" for what is not there. */
static void
print_value(const json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    char *text = value ? json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9)) : NULL;
    printf("%s", text ? text : "-");
    free(text);
}

static void
print_time(const char *what, long long ns)
{
    if (ns < 10000)
        printf("%s%lld ns", what, ns);
    else if (ns < 10000000)
        printf("%s%.1f us", what, (double)ns / 1e3);
    else
        printf("%s%.1f ms", what, (double)ns / 1e6);
}

static const char *
name_of(const json_t *dependency)
{
    const char *path = text_of(dependency, "path");
    return *path ? path : *text_of(dependency, "id") ? text_of(dependency, "id") : "gone";
}

/* ---- causes ---- */

static void
print_cause(const json_t *cause)
{
    const char *on = text_of(cause, "on");
    printf("    %s", name_of(cause));
    if (strcmp(on, "value") != 0)
        printf(" (%s)", on);
    printf("  ");
    print_value(cause, "before");
    printf(" -> ");
    print_value(cause, "value");
    putchar('\n');
}

static void
print_causes(const json_t *why)
{
    size_t i;
    json_t *cause;
    const json_t *causes = json_object_get(why, "causes");
    long long total = number_of(why, "causes_total");
    if (strcmp(text_of(why, "cause"), "defined") == 0)
        printf("because it was defined\n");
    else if (strcmp(text_of(why, "cause"), "repeated") == 0)
        printf("because a commit was abandoned, or it had to wait for something\n");
    else if (total == 0)
        printf("because something that matches its pattern changed\n");
    else
        printf("because %lld of what it had read changed\n", total);
    json_array_foreach(causes, i, cause)
    {
        if (i == LIST_MAX)
            break;
        print_cause(cause);
    }
    if (total > LIST_MAX)
        printf("    ... and %lld more\n", total - LIST_MAX);
}

/* ---- the run ---- */

static void
print_run(const json_t *why)
{
    static const char *const said[][2] = {
        {"changed", "changed: what reads it ran too"},
        {"same", "the same: cut off here, what reads it did not run for it"},
        {"equal", "equal by its own measure: cut off here"},
    };
    const char *outcome = text_of(why, "outcome");
    printf("ran at %s in version %lld", text_of(why, "time"), number_of(why, "version"));
    print_time(", for ", number_of(why, "duration_ns"));
    if (number_of(why, "runs") > 1) {
        printf(" (%lld runs", number_of(why, "runs"));
        print_time(", mean ", number_of(why, "mean_ns"));
        print_time(", longest ", number_of(why, "longest_ns"));
        printf(", %lld cut off)", number_of(why, "cutoffs"));
    }
    if (number_of(why, "discarded"))
        printf(", after %lld runs that had to wait", number_of(why, "discarded"));
    putchar('\n');
    print_causes(why);
    if (strcmp(text_of(why, "kind"), "branch") == 0) {
        printf("its children are");
    } else {
        printf("gave ");
        print_value(why, "before");
        printf(" -> ");
        print_value(why, "after");
    }
    for (size_t i = 0; i < sizeof said / sizeof *said; i++)
        if (strcmp(outcome, said[i][0]) == 0)
            printf("  %s", said[i][1]);
    putchar('\n');
}

/* ---- dependencies ---- */

static void
print_dependency(const json_t *d)
{
    const char *on = text_of(d, "on"), *outcome = text_of(d, "outcome");
    printf("    %s", name_of(d));
    if (strcmp(on, "value") != 0)
        printf(" (%s)", on);
    printf(" = ");
    print_value(d, "value");
    if (json_object_get(d, "changed_version"))
        printf("  changed in version %lld", number_of(d, "changed_version"));
    else if (json_object_get(d, "unchanged_since"))
        printf("  not after version %lld", number_of(d, "unchanged_since"));
    if (*outcome)
        printf("  ran in version %lld: %s", number_of(d, "ran_version"),
               strcmp(outcome, "changed") == 0 ? "changed" : "cut off");
    putchar('\n');
}

static void
print_dependencies(const json_t *why, bool all)
{
    size_t i;
    json_t *d;
    long long total = number_of(why, "dependencies_total");
    printf("reads %lld\n", total);
    json_array_foreach(json_object_get(why, "dependencies"), i, d)
    {
        if (!all && i == LIST_MAX)
            break;
        print_dependency(d);
    }
    if (total > (long long)i)
        printf("    ... and %lld more%s\n", total - (long long)i, all ? "" : " (--all)");
}

static void
print_why(const json_t *why, const char *path, uint64_t wait_ms, bool all)
{
    const char *named = text_of(why, "path"), *label = text_of(why, "label");
    printf("%s = ", *named ? named : path);
    print_value(why, "value");
    printf("  in version %lld\n", number_of(why, "value_version"));
    if (*label)
        printf("%s\n", label);
    printf("%s, height %lld, read by %lld%s\n", text_of(why, "kind"), number_of(why, "height"),
           number_of(why, "dependents"),
           json_is_true(json_object_get(why, "cycle")) ? ", in a circle" : "");
    if (json_is_true(json_object_get(why, "ran")))
        print_run(why);
    else
        printf("did not run within %llu ms: nothing that it reads has changed\n",
               (unsigned long long)wait_ms);
    print_dependencies(why, all);
}

/* ---- the command ---- */

static bool
print_answer(const struct http_answer *answer, bool json, const char *path, uint64_t wait_ms,
             bool all)
{
    json_t *why = json ? NULL : json_loadb(answer->body, answer->length, 0, NULL);
    if (json)
        printf("%s\n", answer->body);
    else if (why)
        print_why(why, path, wait_ms, all);
    else
        complain("the server's answer is no JSON");
    json_decref(why);
    return json || why;
}

int
run_why(const struct command *command, int argc, char **argv)
{
    const char *server = client_server();
    bool json = false, all = false;
    uint64_t wait_ms = 1000;
    int code;
    const struct arg args[] = {
        {"server", ARG_TEXT, &server, 0, 0, "URL",
         "the server (COPPICE_SERVER, else http://127.0.0.1:7227)"},
        {"wait", ARG_U64, &wait_ms, 0, 60000, "MS", "how long to wait for its next run (1000)"},
        {"all", ARG_FLAG, &all, 0, 0, NULL, "every dependency, not the first 20"},
        {"json", ARG_FLAG, &json, 0, 0, NULL, "as JSON"},
        {NULL, ARG_FLAG, NULL, 0, 0, NULL, NULL},
    };
    if (!args_parse(command, args, argc, argv, &argc, &code))
        return code;
    if (argc != 1)
        return usage_error(command, "why wants a path");
    char *target = malloc(3 * strlen(argv[0]) + 96);
    struct http_answer answer;
    if (!target) {
        complain("out of memory");
        return EXIT_FAILED;
    }
    int n = sprintf(target, "/v1/graph/why?wait_ms=%llu&path=", (unsigned long long)wait_ms);
    http_encode_path(argv[0], target + n);
    const struct http_request request = {.server = server, .method = "GET", .target = target};
    bool good = client_call(&request, argv[0], &answer);
    free(target);
    if (!good)
        return EXIT_FAILED;
    good = print_answer(&answer, json, argv[0], wait_ms, all);
    free(answer.body);
    return good ? EXIT_DONE : EXIT_FAILED;
}

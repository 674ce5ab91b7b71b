/* SPDX-License-Identifier: MIT */
/* `coppice options set` and `get`: options of a running server, changed all or nothing. */
#include "tools/client.h"
#include "tools/commands.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Values go as texts: the server reads them as every other place does, units included. */
static bool
add_setting(json_t *patch, const char *setting)
{
    const char *equals = strchr(setting, '=');
    json_t *value = json_string(equals + 1);
    char *name = strndup(setting, (size_t)(equals - setting));
    bool good = name && value && json_object_set(patch, name, value) == 0;
    json_decref(value);
    free(name);
    return good;
}

static char *
patch_of(int argc, char **argv)
{
    json_t *patch = json_object();
    char *text = NULL;
    int i = 0;
    while (i < argc && add_setting(patch, argv[i]))
        i++;
    if (i == argc)
        text = json_dumps(patch, JSON_COMPACT);
    json_decref(patch);
    return text;
}

static int
change(const char *server, int argc, char **argv, bool json)
{
    struct http_answer answer;
    char *patch = patch_of(argc, argv);
    if (!patch) {
        complain("a name or value is not UTF-8");
        return EXIT_FAILED;
    }
    const struct http_request request = {.server = server,
                                         .method = "PATCH",
                                         .target = "/v1/options",
                                         .type = "application/merge-patch+json",
                                         .body = patch,
                                         .length = strlen(patch)};
    bool good = client_call(&request, "options set", &answer);
    free(patch);
    if (!good)
        return EXIT_FAILED;
    if (json)
        printf("%s\n", answer.body);
    free(answer.body);
    return EXIT_DONE;
}

int
run_options_set(int argc, char **argv)
{
    static const struct command command = {
        "options set", "[OPTION...] NAME=VALUE...",
        "Changes live options of the running server, together or not at all", NULL,
        "'coppice options' says which are live. Values are checked together before any is taken;\n"
        "what is set holds until the server ends, or reads its file again (SIGHUP).\n"};
    const char *server = client_server();
    bool json = false;
    int code;
    const struct arg args[] = {
        {"server", ARG_TEXT, &server, 0, 0, "URL",
         "the server (COPPICE_SERVER, else http://127.0.0.1:7227)"},
        {"json", ARG_FLAG, &json, 0, 0, NULL, "print all options as they are then"},
        {NULL, ARG_FLAG, NULL, 0, 0, NULL, NULL},
    };
    if (!args_parse(&command, args, argc, argv, &argc, &code))
        return code;
    if (argc == 0)
        return usage_error(&command, "options set wants NAME=VALUE, one or more");
    for (int i = 0; i < argc; i++)
        if (!strchr(argv[i], '='))
            return usage_error(&command, "'%s' is not NAME=VALUE", argv[i]);
    return change(server, argc, argv, json);
}

/* ---- get ---- */

static void
print_option(const char *name, const json_t *value)
{
    if (json_is_string(value))
        printf("%s=%s\n", name, json_string_value(value));
    else if (json_is_boolean(value))
        printf("%s=%s\n", name, json_is_true(value) ? "true" : "false");
    else
        printf("%s=%lld\n", name, (long long)json_integer_value(value));
}

/* Those that are named, or all: in the form that `set` takes. */
static int
print_options(json_t *options, int argc, char **argv)
{
    const char *name;
    json_t *value;
    for (int i = 0; i < argc; i++) {
        value = json_object_get(options, argv[i]);
        if (!value) {
            complain("%s: there is no such option", argv[i]);
            return EXIT_FAILED;
        }
        print_option(argv[i], value);
    }
    if (argc > 0)
        return EXIT_DONE;
    json_object_foreach(options, name, value)
    {
        print_option(name, value);
    }
    return EXIT_DONE;
}

int
run_options_get(int argc, char **argv)
{
    static const struct command command = {
        "options get", "[OPTION...] [NAME...]", "Prints options of the running server", NULL,
        "Lines of NAME=VALUE, as 'coppice options set' takes them; without NAME: all.\n"};
    const char *server = client_server();
    int code;
    const struct arg args[] = {
        {"server", ARG_TEXT, &server, 0, 0, "URL",
         "the server (COPPICE_SERVER, else http://127.0.0.1:7227)"},
        {NULL, ARG_FLAG, NULL, 0, 0, NULL, NULL},
    };
    if (!args_parse(&command, args, argc, argv, &argc, &code))
        return code;
    const struct http_request request = {
        .server = server, .method = "GET", .target = "/v1/options"};
    struct http_answer answer;
    if (!client_call(&request, "options get", &answer))
        return EXIT_FAILED;
    json_t *options = json_loadb(answer.body, answer.length, 0, NULL);
    free(answer.body);
    if (!options) {
        complain("the server's answer is no JSON");
        return EXIT_FAILED;
    }
    code = print_options(options, argc, argv);
    json_decref(options);
    return code;
}

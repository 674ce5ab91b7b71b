/* SPDX-License-Identifier: MIT */
/* `coppice get`, `set`, `erase` and `load`: one request each to a running server. */
#include "tools/client.h"
#include "tools/commands.h"
#include "tools/file.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SERVER_ARG(server)                                            \
    {                                                                 \
        "server", ARG_TEXT, server, 0, 0, "URL",                      \
            "the server (COPPICE_SERVER, else http://127.0.0.1:7227)" \
    }
#define END_ARG                                \
    {                                          \
        NULL, ARG_FLAG, NULL, 0, 0, NULL, NULL \
    }

const char *
client_server(void)
{
    const char *server = getenv("COPPICE_SERVER");
    return server && *server ? server : "http://127.0.0.1:7227";
}

void
client_complain(const struct http_answer *answer, const char *subject)
{
    json_t *problem = json_loadb(answer->body, answer->length, 0, NULL);
    const char *title = json_string_value(json_object_get(problem, "title"));
    const char *detail = json_string_value(json_object_get(problem, "detail"));
    const json_t *line = json_object_get(problem, "line");
    char place[64] = "";
    if (line)
        snprintf(place, sizeof place, ":%lld:%lld", (long long)json_integer_value(line),
                 (long long)json_integer_value(json_object_get(problem, "column")));
    if (detail || title)
        complain("%s%s: %s", *subject ? subject : "/", place, detail ? detail : title);
    else
        complain("%s: the server answered %d", *subject ? subject : "/", answer->status);
    json_decref(problem);
}

bool
client_call(const struct http_request *request, const char *subject, struct http_answer *answer)
{
    if (!http_exchange(request, answer))
        return false;
    if (answer->status >= 200 && answer->status < 300)
        return true;
    client_complain(answer, subject);
    free(answer->body);
    answer->body = NULL;
    return false;
}

/* /v1/state/PATH and room for a query; NULL when there is no memory. */
static char *
state_target(const char *path)
{
    static const char prefix[] = "/v1/state/";
    char *target = malloc(sizeof prefix + 3 * strlen(path) + 96);
    if (!target)
        return NULL;
    memcpy(target, prefix, sizeof prefix);
    http_encode_path(path, target + sizeof prefix - 1);
    return target;
}

static int
state_call(const char *server, const char *method, const char *path, const char *body,
           size_t length, const char *subject)
{
    struct http_answer answer;
    char *target = state_target(path);
    if (!target) {
        complain("out of memory");
        return EXIT_FAILED;
    }
    const struct http_request request = {server, method, target, body ? "application/json" : NULL,
                                         body,   length};
    bool good = client_call(&request, subject, &answer);
    free(target);
    if (good)
        free(answer.body);
    return good ? EXIT_DONE : EXIT_FAILED;
}

/* A string without its quotes; everything else as the server wrote it. */
static void
print_value(const struct http_answer *answer, bool json)
{
    json_t *value =
        json || answer->body[0] != '"'
            ? NULL
            : json_loadb(answer->body, answer->length, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    if (value)
        fwrite(json_string_value(value), 1, json_string_length(value), stdout);
    else
        fwrite(answer->body, 1, answer->length, stdout);
    if (value || !answer->length || answer->body[answer->length - 1] != '\n')
        putchar('\n');
    json_decref(value);
}

int
run_get(const struct command *command, int argc, char **argv)
{
    const char *server = client_server();
    uint64_t depth = 0, version = UINT64_MAX;
    bool json = false;
    int code;
    const struct arg args[] = {
        SERVER_ARG(&server),
        {"depth", ARG_U64, &depth, 1, 512, "N", "at most N levels of children"},
        {"version", ARG_U64, &version, 0, UINT64_MAX - 1, "N",
         "a version held by POST /v1/snapshots"},
        {"json", ARG_FLAG, &json, 0, 0, NULL, "compact JSON on one line, strings quoted"},
        END_ARG,
    };
    if (!args_parse(command, args, argc, argv, &argc, &code))
        return code;
    if (argc > 1)
        return usage_error(command, "get takes one path");
    const char *path = argc ? argv[0] : "";
    char *target = state_target(path);
    struct http_answer answer;
    if (!target) {
        complain("out of memory");
        return EXIT_FAILED;
    }
    char *query = target + strlen(target);
    query += sprintf(query, "?pretty=%d", !json);
    if (depth)
        query += sprintf(query, "&depth=%llu", (unsigned long long)depth);
    if (version != UINT64_MAX)
        sprintf(query, "&version=%llu", (unsigned long long)version);
    const struct http_request request = {.server = server, .method = "GET", .target = target};
    bool good = client_call(&request, path, &answer);
    free(target);
    if (!good)
        return EXIT_FAILED;
    print_value(&answer, json);
    free(answer.body);
    return EXIT_DONE;
}

/* Text that is not JSON means itself. */
static char *
as_json(const char *text, size_t length, bool string)
{
    json_t *value =
        string ? NULL
               : json_loadb(text, length, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES,
                            NULL);
    char *json = NULL;
    if (value) {
        json = strndup(text, length); /* as it was written: numbers and order are the server's */
    } else if ((value = json_stringn(text, length))) {
        json = json_dumps(value, JSON_ENCODE_ANY);
    }
    json_decref(value);
    return json;
}

static int
set_value(const char *server, const char *path, const char *text, size_t length, bool string,
          bool json)
{
    char *body = json ? strndup(text, length) : as_json(text, length, string);
    if (!body) {
        complain("%s: the value is not UTF-8", path);
        return EXIT_FAILED;
    }
    int code = state_call(server, "PUT", path, body, strlen(body), path);
    free(body);
    return code;
}

int
run_set(const struct command *command, int argc, char **argv)
{
    const char *server = client_server();
    bool string = false, json = false;
    int code;
    const struct arg args[] = {
        SERVER_ARG(&server),
        {"string", ARG_FLAG, &string, 0, 0, NULL, "VALUE is a string, whatever it looks like"},
        {"json", ARG_FLAG, &json, 0, 0, NULL, "VALUE is JSON; anything else is refused"},
        END_ARG,
    };
    if (!args_parse(command, args, argc, argv, &argc, &code))
        return code;
    if (argc != 2)
        return usage_error(command, "set wants a path and a value");
    if (string && json)
        return usage_error(command, "--string and --json exclude each other");
    if (strcmp(argv[1], "-") != 0)
        return set_value(server, argv[0], argv[1], strlen(argv[1]), string, json);
    struct file_text text;
    if (!file_read("-", &text))
        return EXIT_FAILED;
    code = set_value(server, argv[0], text.bytes, text.length, string, json);
    free(text.bytes);
    return code;
}

int
run_erase(const struct command *command, int argc, char **argv)
{
    const char *server = client_server();
    int code;
    const struct arg args[] = {SERVER_ARG(&server), END_ARG};
    if (!args_parse(command, args, argc, argv, &argc, &code))
        return code;
    if (argc != 1)
        return usage_error(command, "erase wants a path");
    return state_call(server, "DELETE", argv[0], NULL, 0, argv[0]);
}

int
run_load(const struct command *command, int argc, char **argv)
{
    const char *server = client_server();
    struct file_text text;
    int code;
    const struct arg args[] = {SERVER_ARG(&server), END_ARG};
    if (!args_parse(command, args, argc, argv, &argc, &code))
        return code;
    if (argc < 1 || argc > 2)
        return usage_error(command, "load wants a file, and perhaps a path");
    if (!file_read(argv[0], &text))
        return EXIT_FAILED;
    code = state_call(server, "PUT", argc == 2 ? argv[1] : "", text.bytes, text.length, argv[0]);
    free(text.bytes);
    return code;
}

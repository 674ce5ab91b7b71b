/* SPDX-License-Identifier: MIT */
/* `coppice history`, `restore`, `export` and `import`: the versions that a server's store keeps. */
#include "tools/client.h"
#include "tools/commands.h"
#include "tools/file.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SERVER_ARG(server)                                            \
    {                                                                 \
        "server", ARG_TEXT, server, 0, 0, "URL",                      \
            "the server (COPPICE_SERVER, else http://127.0.0.1:7227)" \
    }
#define END_ARG                                \
    {                                          \
        NULL, ARG_FLAG, NULL, 0, 0, NULL, NULL \
    }

static bool
is_number(const char *text)
{
    return *text && text[strspn(text, "0123456789")] == '\0';
}

/* Sends a document (taken; NULL: none) and gives the one that is answered; NULL: complained of. */
static json_t *
call(const char *server, const char *method, const char *target, json_t *document)
{
    char *body = document ? json_dumps(document, 0) : NULL;
    struct http_request request = {.server = server,
                                   .method = method,
                                   .target = target,
                                   .type = body ? "application/json" : NULL,
                                   .body = body,
                                   .length = body ? strlen(body) : 0};
    struct http_answer answer;
    json_t *json = NULL;
    if (client_call(&request, "history", &answer)) {
        json = json_loadb(answer.body, answer.length, 0, NULL);
        if (!json)
            complain("the server's answer is not understood");
        free(answer.body);
    }
    free(body);
    json_decref(document);
    return json;
}

/* ---- the list ---- */

static void
print_version(const json_t *version)
{
    const char *label = json_string_value(json_object_get(version, "label"));
    time_t seconds = (time_t)(json_integer_value(json_object_get(version, "time_ms")) / 1000);
    struct tm tm;
    char when[32] = "?";
    if (gmtime_r(&seconds, &tm))
        strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
    printf("%10lld  %s  %12lld  %s  %s\n",
           (long long)json_integer_value(json_object_get(version, "version")), when,
           (long long)json_integer_value(json_object_get(version, "bytes")),
           json_is_true(json_object_get(version, "pinned")) ? "pinned" : "      ",
           label ? label : "");
}

static int
print_list(const char *server)
{
    json_t *list = call(server, "GET", "/v1/history", NULL), *version;
    size_t i;
    if (!list)
        return EXIT_FAILED;
    printf("%10s  %-20s  %12s  %-6s  %s\n", "version", "published", "bytes", "", "label");
    json_array_foreach(json_object_get(list, "versions"), i, version)
        print_version(version);
    json_decref(list);
    return EXIT_DONE;
}

/* ---- one version ---- */

struct wish {
    const char *label;
    bool keep, pin, unpin, drop;
};

static int
change(const char *server, const char *version, const struct wish *wish)
{
    char target[64];
    json_t *body = wish->drop ? NULL : json_object();
    snprintf(target, sizeof target, "/v1/history%s%s", version ? "/" : "", version ? version : "");
    if (!wish->drop && wish->label)
        json_object_set_new(body, "label", json_string(wish->label));
    if (!wish->drop && (wish->pin || wish->unpin))
        json_object_set_new(body, "pinned", json_boolean(wish->pin));
    json_t *answer = call(server, wish->drop ? "DELETE" : "POST", target, body);
    if (answer && !wish->drop)
        print_version(answer);
    json_decref(answer);
    return answer ? EXIT_DONE : EXIT_FAILED;
}

int
run_history(const struct command *command, int argc, char **argv)
{
    const char *server = client_server();
    struct wish wish = {.label = NULL};
    int code;
    const struct arg args[] = {
        SERVER_ARG(&server),
        {"keep", ARG_FLAG, &wish.keep, 0, 0, NULL, "keep the newest version"},
        {"label", ARG_TEXT, &wish.label, 0, 0, "TEXT", "under this label; '' takes one away"},
        {"pin", ARG_FLAG, &wish.pin, 0, 0, NULL, "until it is unpinned or dropped"},
        {"unpin", ARG_FLAG, &wish.unpin, 0, 0, NULL, "it may go when others are needed more"},
        {"drop", ARG_FLAG, &wish.drop, 0, 0, NULL, "do not keep it any more"},
        END_ARG,
    };
    if (!args_parse(command, args, argc, argv, &argc, &code))
        return code;
    bool changes = wish.label || wish.pin || wish.unpin || wish.drop;
    bool good = argc == 0 ? wish.keep || !changes : argc == 1 && is_number(argv[0]) && changes;
    if (!good || (wish.keep && (argc || wish.drop || wish.unpin)) || wish.pin + wish.unpin + wish.drop > 1 ||
        (wish.drop && wish.label))
        return usage_error(command, "give nothing, --keep, or a version and what is to become of it");
    return argc || wish.keep ? change(server, argc ? argv[0] : NULL, &wish) : print_list(server);
}

int
run_restore(const struct command *command, int argc, char **argv)
{
    const char *server = client_server();
    int code;
    const struct arg args[] = {SERVER_ARG(&server), END_ARG};
    if (!args_parse(command, args, argc, argv, &argc, &code))
        return code;
    if (argc != 1)
        return usage_error(command, "give one version or label");
    json_t *body = is_number(argv[0])
                       ? json_pack("{s:I}", "version", (json_int_t)strtoll(argv[0], NULL, 10))
                       : json_pack("{s:s}", "label", argv[0]);
    json_t *answer = call(server, "POST", "/v1/history/restore", body);
    if (!answer)
        return EXIT_FAILED;
    printf("version %lld is as version %lld was: %lld edits\n",
           (long long)json_integer_value(json_object_get(answer, "version")),
           (long long)json_integer_value(json_object_get(answer, "restored")),
           (long long)json_integer_value(json_object_get(answer, "edits")));
    json_decref(answer);
    return EXIT_DONE;
}

/* ---- files ---- */

static bool
write_out(const struct http_answer *answer, const char *name)
{
    bool to_file = strcmp(name, "-") != 0;
    FILE *file = to_file ? fopen(name, "wb") : stdout;
    bool good = file && fwrite(answer->body, 1, answer->length, file) == answer->length;
    if (file)
        good = (to_file ? fclose(file) : fflush(file)) == 0 && good;
    if (!good)
        complain("%s: cannot be written", name);
    return good;
}

int
run_export(const struct command *command, int argc, char **argv)
{
    const char *server = client_server();
    int code;
    const struct arg args[] = {SERVER_ARG(&server), END_ARG};
    if (!args_parse(command, args, argc, argv, &argc, &code))
        return code;
    if (argc != 1)
        return usage_error(command, "give one file, or '-'");
    const struct http_request request = {
        .server = server, .method = "GET", .target = "/v1/history/export"};
    struct http_answer answer;
    if (!client_call(&request, "export", &answer))
        return EXIT_FAILED;
    bool good = write_out(&answer, argv[0]);
    free(answer.body);
    return good ? EXIT_DONE : EXIT_FAILED;
}

int
run_import(const struct command *command, int argc, char **argv)
{
    const char *server = client_server();
    int code;
    const struct arg args[] = {SERVER_ARG(&server), END_ARG};
    struct file_text file;
    struct http_answer answer;
    if (!args_parse(command, args, argc, argv, &argc, &code))
        return code;
    if (argc != 1)
        return usage_error(command, "give one file, or '-'");
    if (!file_read(argv[0], &file))
        return EXIT_FAILED;
    const struct http_request request = {.server = server,
                                         .method = "POST",
                                         .target = "/v1/history/import",
                                         .type = "application/octet-stream",
                                         .body = file.bytes,
                                         .length = file.length};
    bool good = client_call(&request, argv[0], &answer);
    if (good) {
        json_t *told = json_loadb(answer.body, answer.length, 0, NULL);
        printf("%lld versions, from %lld to %lld\n",
               (long long)json_integer_value(json_object_get(told, "versions")),
               (long long)json_integer_value(json_object_get(told, "first")),
               (long long)json_integer_value(json_object_get(told, "last")));
        json_decref(told);
        free(answer.body);
    }
    free(file.bytes);
    return good ? EXIT_DONE : EXIT_FAILED;
}

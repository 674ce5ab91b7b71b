/* SPDX-License-Identifier: MIT */
/* `coppice diff` and `coppice patch`: what changed between two versions, and making a change. */
#include "tools/client.h"
#include "tools/commands.h"
#include "tools/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SERVER_HELP "the server (COPPICE_SERVER, else http://127.0.0.1:7227)"

static bool
is_version(const char *text)
{
    bool number = *text && strspn(text, "0123456789") == strlen(text) && strlen(text) <= 20;
    return number || strcmp(text, "newest") == 0;
}

static void
add_argument(char *target, const char *name, const char *value)
{
    char *end = target + strlen(target);
    end += sprintf(end, "%s=", name);
    http_encode_path(value, end);
}

/* The query; NULL when there is no memory. */
static char *
diff_target(const char *from, const char *to, const char *path, const char *format)
{
    char *target = malloc(3 * (strlen(from) + strlen(to) + strlen(path) + strlen(format)) + 128);
    if (!target)
        return NULL;
    strcpy(target, "/v1/diff");
    add_argument(target, is_version(from) ? "?from" : "?from_label", from);
    add_argument(target, is_version(to) ? "&to" : "&to_label", to);
    add_argument(target, "&format", format);
    add_argument(target, "&branch", path);
    return target;
}

static bool
print_patch(const char *server, const char *target, const char *path, bool binary)
{
    struct http_answer answer;
    const struct http_request request = {
        .server = server, .method = "GET", .target = target, .headers = "Accept: */*\r\n"};
    if (!client_call(&request, path, &answer))
        return false;
    fwrite(answer.body, 1, answer.length, stdout);
    if (!binary)
        putchar('\n');
    free(answer.body);
    return true;
}

int
run_diff(const struct command *command, int argc, char **argv)
{
    const char *server = client_server(), *format = "json-patch";
    int code;
    const struct arg args[] = {
        {"server", ARG_TEXT, &server, 0, 0, "URL", SERVER_HELP},
        {"format", ARG_TEXT, &format, 0, 0, "FORMAT", "json-patch, merge-patch or binary"},
        {NULL, ARG_FLAG, NULL, 0, 0, NULL, NULL},
    };
    if (!args_parse(command, args, argc, argv, &argc, &code))
        return code;
    if (argc < 2 || argc > 3 || !*argv[0] || !*argv[1])
        return usage_error(command, "diff wants two versions or labels, and perhaps a path");
    const char *path = argc == 3 ? argv[2] : "";
    char *target = diff_target(argv[0], argv[1], path, format);
    if (!target) {
        complain("out of memory");
        return EXIT_FAILED;
    }
    bool good = print_patch(server, target, path, strcmp(format, "binary") == 0);
    free(target);
    return good ? EXIT_DONE : EXIT_FAILED;
}

static bool
send_patch(const char *server, const char *path, const struct file_text *text, bool merge,
           const char *subject)
{
    static const char prefix[] = "/v1/state/";
    char *target = malloc(sizeof prefix + 3 * strlen(path) + 1);
    struct http_answer answer;
    if (!target) {
        complain("out of memory");
        return false;
    }
    memcpy(target, prefix, sizeof prefix);
    http_encode_path(path, target + sizeof prefix - 1);
    const struct http_request request = {.server = server,
                                         .method = "PATCH",
                                         .target = target,
                                         .type = merge ? "application/merge-patch+json"
                                                       : "application/json-patch+json",
                                         .body = text->bytes,
                                         .length = text->length};
    bool good = client_call(&request, subject, &answer);
    free(target);
    if (good)
        free(answer.body);
    return good;
}

int
run_patch(const struct command *command, int argc, char **argv)
{
    const char *server = client_server();
    bool merge = false;
    struct file_text text;
    int code;
    const struct arg args[] = {
        {"server", ARG_TEXT, &server, 0, 0, "URL", SERVER_HELP},
        {"merge", ARG_FLAG, &merge, 0, 0, NULL, "FILE is a merge patch (RFC 7396)"},
        {NULL, ARG_FLAG, NULL, 0, 0, NULL, NULL},
    };
    if (!args_parse(command, args, argc, argv, &argc, &code))
        return code;
    if (argc < 1 || argc > 2)
        return usage_error(command, "patch wants a file, and perhaps a path");
    if (!file_read(argv[0], &text))
        return EXIT_FAILED;
    bool good = send_patch(server, argc == 2 ? argv[1] : "", &text, merge, argv[0]);
    free(text.bytes);
    return good ? EXIT_DONE : EXIT_FAILED;
}

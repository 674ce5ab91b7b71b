/* SPDX-License-Identifier: MIT */
/* `coppice set-option`: changes live options of a running server, all or nothing. */
#include "tools/client.h"
#include "tools/commands.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Values go as texts: the server reads them as every other place does, units included. */
static char *
patch_of(int argc, char **argv)
{
    json_t *patch = json_object();
    for (int i = 0; i < argc; i += 2)
        if (json_object_set_new(patch, argv[i], json_string(argv[i + 1])) != 0) {
            json_decref(patch);
            return NULL;
        }
    char *text = json_dumps(patch, JSON_COMPACT);
    json_decref(patch);
    return text;
}

int
run_set_option(const struct command *command, int argc, char **argv)
{
    const char *server = client_server();
    bool json = false;
    int code;
    const struct arg args[] = {
        {"server", ARG_TEXT, &server, 0, 0, "URL",
         "the server (COPPICE_SERVER, else http://127.0.0.1:7227)"},
        {"json", ARG_FLAG, &json, 0, 0, NULL, "print all options as they are then"},
        {NULL, ARG_FLAG, NULL, 0, 0, NULL, NULL},
    };
    if (!args_parse(command, args, argc, argv, &argc, &code))
        return code;
    if (argc == 0 || argc % 2 != 0)
        return usage_error(command, "set-option wants a name and a value, and so on");
    char *patch = patch_of(argc, argv);
    struct http_answer answer;
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
    bool good = client_call(&request, "set-option", &answer);
    free(patch);
    if (!good)
        return EXIT_FAILED;
    if (json)
        printf("%s\n", answer.body);
    free(answer.body);
    return EXIT_DONE;
}

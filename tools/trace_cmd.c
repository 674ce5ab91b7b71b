/* SPDX-License-Identifier: MIT */
/* `coppice trace`: what the server's store does for some seconds, as a Chrome trace-event file. */
#include "tools/client.h"
#include "tools/commands.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Until a signal, which from now on ends the waiting only. */
static void
wait_seconds(uint64_t seconds)
{
    struct timespec most = {(time_t)seconds, 0};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    (void)sigtimedwait(&set, NULL, &most);
}

static bool
call(const char *server, const char *method, const char *target, struct http_answer *answer)
{
    const bool post = method[0] == 'P';
    const struct http_request request = {.server = server,
                                         .method = method,
                                         .target = target,
                                         .type = post ? "application/json" : NULL,
                                         .body = post ? "" : NULL};
    return client_call(&request, "trace", answer);
}

/* For what answers nothing. */
static bool
tell(const char *server, const char *method, const char *target)
{
    struct http_answer answer;
    if (!call(server, method, target, &answer))
        return false;
    free(answer.body);
    return true;
}

static bool
record(const char *server, uint64_t seconds, uint64_t spans, struct http_answer *answer)
{
    char target[64];
    snprintf(target, sizeof target, "/v1/trace?spans=%llu", (unsigned long long)spans);
    if (!tell(server, "POST", target))
        return false;
    wait_seconds(seconds);
    return tell(server, "DELETE", "/v1/trace") && call(server, "GET", "/v1/trace", answer);
}

static bool
write_out(const struct http_answer *answer, const char *output)
{
    FILE *file = output ? fopen(output, "w") : stdout;
    if (!file) {
        complain("%s: cannot be written", output);
        return false;
    }
    bool good = fwrite(answer->body, 1, answer->length, file) == answer->length;
    good = (output ? fclose(file) : fflush(file)) == 0 && good;
    if (!good)
        complain("%s: cannot be written", output ? output : "standard output");
    return good;
}

int
run_trace(const struct command *command, int argc, char **argv)
{
    const char *server = client_server(), *output = NULL;
    uint64_t seconds = 5, spans = 262144;
    int code;
    const struct arg args[] = {
        {"server", ARG_TEXT, &server, 0, 0, "URL",
         "the server (COPPICE_SERVER, else http://127.0.0.1:7227)"},
        {"seconds", ARG_U64, &seconds, 1, 3600, "N", "how long, or until SIGINT (5)"},
        {"spans", ARG_U64, &spans, 1, 16777216, "N", "what is kept, the newest of it (262144)"},
        {"output", ARG_TEXT, &output, 0, 0, "FILE", "not to standard output"},
        {NULL, ARG_FLAG, NULL, 0, 0, NULL, NULL},
    };
    struct http_answer answer;
    if (!args_parse(command, args, argc, argv, &argc, &code))
        return code;
    if (argc)
        return usage_error(command, "trace takes no argument");
    if (!record(server, seconds, spans, &answer))
        return EXIT_FAILED;
    bool good = write_out(&answer, output);
    free(answer.body);
    return good ? EXIT_DONE : EXIT_FAILED;
}

/* SPDX-License-Identifier: MIT */
/*
 * `coppice watch`: one line for each change, until SIGINT or SIGTERM. A stream that is cut is begun
 * again where it ended; the first one must succeed.
 */
#include "tools/client.h"
#include "tools/commands.h"
#include "tools/event_stream.h"

#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AGAIN_MS 1000
#define HEARTBEAT_MS 15000

struct watch {
    const char *server, *path;
    char *target;
    uint64_t window_ms; /* UINT64_MAX: the server's */
    bool json;
    char *id; /* of the last event; NULL: none yet */
};

/* ---- printing ---- */

static void
print_json(const char *before, const json_t *value)
{
    char *text = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    if (text)
        printf("%s%s", before, text);
    free(text);
}

/* kind: "reset", or the change's own. */
static void
print_change(const struct watch *w, long long version, const char *kind, const json_t *change)
{
    const json_t *path = json_object_get(change, "path");
    if (w->json) {
        printf("{\"version\":%lld,\"kind\":\"%s\"", version, kind);
        print_json(",\"path\":", path);
        print_json(",\"value\":", json_object_get(change, "value"));
        print_json(",\"old\":", json_object_get(change, "old"));
        printf("}\n");
        return;
    }
    printf("%lld %s %s", version, kind, json_string_length(path) ? json_string_value(path) : "/");
    print_json(" ", json_object_get(change, "value"));
    print_json(" was ", json_object_get(change, "old"));
    printf("\n");
}

static bool
print_event(const struct watch *w, const struct event_stream *s)
{
    json_t *event = json_loadb(s->data.text, s->data.length, JSON_ALLOW_NUL, NULL);
    const json_t *changes = json_object_get(event, "changes"), *change;
    long long version = json_integer_value(json_object_get(event, "to"));
    size_t i;
    if (!event) {
        complain("%s: an event that is no JSON", w->path);
        return false;
    }
    if (strcmp(s->event.text, "reset") == 0)
        print_change(w, version, "reset", event);
    json_array_foreach((json_t *)(uintptr_t)changes, i, change)
    {
        const char *kind = json_string_value(json_object_get(change, "kind"));
        print_change(w, version, kind ? kind : "changed", change);
    }
    json_decref(event);
    return fflush(stdout) == 0 && !ferror(stdout); /* the program says it when it ends */
}

/* ---- one stream ---- */

/* All events of a stream. False: nothing more can be printed. */
static bool
read_events(struct watch *w, struct event_stream *s)
{
    bool good = true;
    while (good && event_stream_next(s)) {
        good = print_event(w, s);
        free(w->id);
        w->id = strdup(s->id.text ? s->id.text : "");
    }
    return good;
}

static int
begin(const struct watch *w, struct event_stream *s, bool again)
{
    char headers[160] = "Accept: text/event-stream\r\n";
    if (w->id)
        snprintf(headers, sizeof headers, "Accept: text/event-stream\r\nLast-Event-ID: %.80s\r\n",
                 w->id);
    const struct http_request request = {
        .server = w->server, .method = "GET", .target = w->target, .headers = headers};
    return event_stream_open(s, &request, again);
}

enum after { AGAIN, FAILED };

/* again: it has been there before, so that what passes is waited for. */
static enum after
one_stream(struct watch *w, bool again)
{
    struct event_stream s;
    int status = begin(w, &s, again);
    enum after after = again ? AGAIN : FAILED;
    if (status == 200) {
        after = read_events(w, &s) ? AGAIN : FAILED;
        if (after == AGAIN && event_stream_pause(0))
            complain("the stream ended; trying again");
    } else if (!status && !again && s.fd >= 0) {
        complain("no whole answer");
    } else if (status && (!again || status / 100 == 4)) {
        const struct http_answer answer = {
            .status = status, .body = s.data.text, .length = s.data.length};
        client_complain(&answer, w->path);
        after = FAILED;
    }
    event_stream_close(&s);
    return after;
}

static int
watch(struct watch *w)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    enum after after = one_stream(w, false);
    while (after == AGAIN && event_stream_pause(AGAIN_MS))
        after = one_stream(w, true);
    return after == AGAIN || !event_stream_pause(0) ? EXIT_DONE : EXIT_FAILED;
}

static char *
target_of(const struct watch *w)
{
    static const char prefix[] = "/v1/watch/";
    char *target = malloc(sizeof prefix + 3 * strlen(w->path) + 96);
    if (!target)
        return NULL;
    memcpy(target, prefix, sizeof prefix);
    http_encode_path(w->path, target + sizeof prefix - 1);
    char *query = target + strlen(target);
    query += sprintf(query, "?heartbeat_ms=%d", HEARTBEAT_MS);
    if (w->window_ms != UINT64_MAX)
        sprintf(query, "&window_ms=%llu", (unsigned long long)w->window_ms);
    return target;
}

int
run_watch(const struct command *command, int argc, char **argv)
{
    struct watch w = {.server = client_server(), .path = "", .window_ms = UINT64_MAX};
    int code;
    const struct arg args[] = {
        {"server", ARG_TEXT, &w.server, 0, 0, "URL",
         "the server (COPPICE_SERVER, else http://127.0.0.1:7227)"},
        {"window", ARG_U64, &w.window_ms, 0, 60000, "MS", "told at most once in it (the server's)"},
        {"json", ARG_FLAG, &w.json, 0, 0, NULL, "each change as JSON"},
        {NULL, ARG_FLAG, NULL, 0, 0, NULL, NULL},
    };
    if (!args_parse(command, args, argc, argv, &argc, &code))
        return code;
    if (argc > 1)
        return usage_error(command, "watch takes one path");
    if (argc)
        w.path = argv[0];
    w.target = target_of(&w);
    code = EXIT_FAILED;
    if (w.target)
        code = watch(&w);
    else
        complain("out of memory");
    free(w.target);
    free(w.id);
    return code;
}

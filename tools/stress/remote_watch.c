/* SPDX-License-Identifier: MIT */
/* Watchers of a server: each has a model of the accounts that only what it is told changes. */
#include "tools/stress/remote.h"

#include "tools/event_stream.h"

#include <stdio.h>
#include <string.h>

struct remote_watcher {
    struct stress_thread *self;
    struct event_stream stream;
    json_t *model; /* NULL: nothing was told yet */
    uint64_t told;
    bool ended; /* it was told the last change */
};

static void
check_model(struct remote_watcher *w)
{
    int64_t sum = stress_remote_sum(w->model),
            wanted = (int64_t)w->self->stress->config->atoms * ACCOUNT_BEGIN;
    stress_check(w->self, PROMISE_MODEL, sum == wanted,
                 "what a watcher was told up to version %llu adds up to %lld, not %lld",
                 (unsigned long long)w->told, (long long)sum, (long long)wanted);
}

static void
take_change(struct remote_watcher *w, const json_t *change)
{
    const char *path = json_string_value(json_object_get(change, "path"));
    const char *name = path ? strrchr(path, '/') : NULL;
    json_t *value = json_object_get(change, "value"), *old = json_object_get(change, "old");
    if (!name || !json_is_integer(value))
        return; /* the branch itself */
    const json_t *known = json_object_get(w->model, name + 1);
    stress_check(w->self, PROMISE_MODEL, !old || json_equal(old, known),
                 "a watcher knows %s as %lld and is told that it was %lld", path,
                 (long long)json_integer_value(known), (long long)json_integer_value(old));
    json_object_set(w->model, name + 1, value);
}

/* Events adjoin; a reset begins anew, and is a gap that is marked. */
static void
take_event(struct remote_watcher *w, const json_t *event)
{
    uint64_t from = (uint64_t)json_integer_value(json_object_get(event, "from")),
             to = (uint64_t)json_integer_value(json_object_get(event, "to"));
    const json_t *changes = json_object_get(event, "changes"), *change;
    bool reset = strcmp(w->stream.event.text, "reset") == 0;
    size_t i;
    stress_check(w->self, PROMISE_INTERVAL,
                 (reset || (w->model && from == w->told)) && to > w->told,
                 "a watcher told up to %llu is told (%llu, %llu]", (unsigned long long)w->told,
                 (unsigned long long)from, (unsigned long long)to);
    if (reset) {
        json_decref(w->model);
        w->model = json_deep_copy(json_object_get(event, "value"));
    }
    json_array_foreach((json_t *)(uintptr_t)changes, i, change) take_change(w, change);
    w->told = to;
    w->ended = json_object_get(w->model, "end") != NULL;
    stress_saw(w->self, to);
    check_model(w);
}

/* When its last version was begun, unless its writer does not know yet that it was committed. */
static void
measure_event(struct remote_watcher *w)
{
    const struct recent *recent = &w->self->stress->remote->recent[w->told % RECENT];
    uint64_t began_ns = recent->began_ns;
    if (recent->version == w->told)
        stress_done(w->self, OPERATION_TOLD, began_ns);
}

static bool
next_event(struct remote_watcher *w)
{
    bool good = event_stream_next(&w->stream);
    json_t *event = good ? json_loadb(w->stream.data.text, w->stream.data.length, 0, NULL) : NULL;
    if (!event && !event_stream_pause(0))
        return false; /* a signal */
    if (stress_check(w->self, PROMISE_TOLD, event != NULL, "a stream ended after version %llu",
                     (unsigned long long)w->told)) {
        take_event(w, event);
        measure_event(w);
    }
    json_decref(event);
    return event != NULL;
}

void
stress_remote_watch(struct stress_thread *self)
{
    struct stress *s = self->stress;
    struct remote_watcher w = {.self = self};
    char target[160];
    snprintf(target, sizeof target, "/v1/watch/%s/a?window_ms=%llu&heartbeat_ms=1000",
             s->remote->branch, (unsigned long long)s->config->window_ms);
    const struct http_request request = {.server = s->config->server,
                                         .method = "GET",
                                         .target = target,
                                         .headers = "Accept: text/event-stream\r\n"};
    int status = event_stream_open(&w.stream, &request, true);
    bool good = status != 0 || event_stream_pause(0); /* no answer: it may be a signal's doing */
    good = good && stress_check(self, PROMISE_STATUS, status == 200, "GET %s was answered %d",
                                target, status);
    while (good && !w.ended && s->broken < 0)
        good = next_event(&w);
    event_stream_close(&w.stream);
    json_decref(w.model);
}

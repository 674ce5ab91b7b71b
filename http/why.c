/* SPDX-License-Identifier: MIT */
/*
 * GET /v1/graph/why: waits for the next run of a computed atom, and tells about it.
 *
 * The waiting is done by a thread of its own while the connection is suspended, so that the thread
 * that serves it can serve others. Such threads are few (WAITING_MAX), and wait in slices so that a
 * server that closes is not kept.
 */
#include "http/internal.h"

#include <coppice/graph.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WAITING_MAX 32
#define WAIT_MS 1000
#define WAIT_MS_MAX 60000
#define SLICE_MS 100

struct cop__http_why {
    struct cop_http_server *server;
    struct MHD_Connection *connection;
    char path[COP_PATH_MAX + 1];
    size_t length;
    bool has_path, good;
    uint64_t wait_ms;
    struct cop__problem *problem;
    cop_atom atom;
    cop_status status;
    cop_explanation *explanation;
};

void
cop__http_why_free(struct cop__http_why *why)
{
    if (!why)
        return;
    cop_explanation_free(why->explanation);
    free(why);
}

/* ---- the answer ---- */

static void
set_value(json_t *json, const char *key, const cop_value *value)
{
    json_t *told = cop__http_value_json(value);
    if (told)
        json_object_set_new(json, key, told);
}

static void
set_number(json_t *json, const char *key, uint64_t n)
{
    json_object_set_new(json, key, json_integer((json_int_t)n));
}

static void
set_text(json_t *json, const char *key, const char *text)
{
    if (*text)
        json_object_set_new(json, key, cop__json_text(text, strlen(text)));
}

static void
set_atom(json_t *json, cop_atom atom, const char *path)
{
    char id[32];
    snprintf(id, sizeof id, "%u.%u", atom.id, atom.generation);
    if (atom.generation)
        json_object_set_new(json, "id", json_string(id));
    set_text(json, "path", path);
}

static json_t *
describe_dependency(const cop_explained *d)
{
    json_t *json = json_object();
    set_atom(json, d->atom, d->path);
    json_object_set_new(json, "on", json_string(cop_depends_name(d->what)));
    json_object_set_new(json, "computed", json_boolean(d->computed));
    json_object_set_new(json, "changed", json_boolean(d->changed));
    set_value(json, "value", &d->value);
    if (d->changed)
        set_value(json, "before", &d->before);
    if (d->changed_version)
        set_number(json, "changed_version", d->changed_version);
    if (d->unchanged_since)
        set_number(json, "unchanged_since", d->unchanged_since);
    if (d->outcome != COP_RUN_NONE) {
        json_object_set_new(json, "outcome", json_string(cop_run_outcome_name(d->outcome)));
        set_number(json, "ran_version", d->ran_version);
    }
    return json;
}

static json_t *
describe_list(const cop_explained *list, size_t count)
{
    json_t *json = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(json, describe_dependency(&list[i]));
    return json;
}

static json_t *
time_json(uint64_t ns)
{
    char text[40], day[24];
    time_t seconds = (time_t)(ns / 1000000000u);
    struct tm utc;
    gmtime_r(&seconds, &utc);
    strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(text, sizeof text, "%s.%06uZ", day, (unsigned)(ns % 1000000000u / 1000u));
    return json_string(text);
}

static void
describe_run(json_t *json, const cop_explanation *e)
{
    set_number(json, "version", e->version);
    json_object_set_new(json, "time", time_json(e->time_ns));
    set_number(json, "duration_ns", e->duration_ns);
    set_number(json, "discarded", e->discarded);
    json_object_set_new(json, "cause", json_string(cop_run_cause_name(e->cause)));
    json_object_set_new(json, "causes", describe_list(e->causes, e->cause_count));
    set_number(json, "causes_total", e->cause_total);
    json_object_set_new(json, "outcome", json_string(cop_run_outcome_name(e->outcome)));
    set_value(json, "before", &e->before);
    set_value(json, "after", &e->after);
    set_number(json, "runs", e->runs);
    set_number(json, "cutoffs", e->cutoffs);
    set_number(json, "mean_ns", e->runs ? e->total_ns / e->runs : 0);
    set_number(json, "longest_ns", e->longest_ns);
}

static json_t *
describe(const cop_explanation *e)
{
    json_t *json = json_object();
    set_atom(json, e->atom, e->path);
    set_text(json, "label", e->label);
    json_object_set_new(json, "kind", json_string(cop_graph_kind_name(e->kind)));
    set_number(json, "height", e->height);
    json_object_set_new(json, "cycle", json_boolean(e->cycle));
    set_number(json, "dependents", e->dependents);
    set_value(json, "value", &e->value);
    set_number(json, "value_version", e->value_version);
    json_object_set_new(json, "ran", json_boolean(e->ran));
    if (e->ran)
        describe_run(json, e);
    json_object_set_new(json, "dependencies", describe_list(e->dependencies, e->dependency_count));
    set_number(json, "dependencies_total", e->dependency_total);
    return json;
}

static enum MHD_Result
reply(struct cop__http_request *r, const struct cop__http_why *why)
{
    if (why->explanation)
        return cop__http_reply_json(r, MHD_HTTP_OK, describe(why->explanation), NULL);
    if (why->status == COP_E_STATE)
        cop__problem_set(&r->problem, COP_PROBLEM_STATE, "this atom is not computed");
    else
        cop__problem_reading(&r->problem, why->status, NULL);
    return cop__http_reply_problem(r, &r->problem);
}

/* ---- waiting ---- */

static bool
is_ending(struct cop_http_server *server)
{
    return atomic_load_explicit(&server->ending, memory_order_acquire);
}

static void
ask(struct cop__http_why *why)
{
    cop_store *store = why->server->store;
    uint64_t end = cop_deadline_in_ms(why->wait_ms);
    do {
        uint64_t slice = cop_deadline_in_ms(SLICE_MS);
        cop_explanation_free(why->explanation);
        why->status =
            cop_graph_explain(store, why->atom, slice < end ? slice : end, &why->explanation);
    } while (why->status == COP_E_TIMEOUT && !(why->explanation && why->explanation->ran) &&
             cop__http_now_ns() < end && !is_ending(why->server));
}

static void
leave_place(struct cop_http_server *server)
{
    pthread_mutex_lock(&server->mutex);
    server->waiting--;
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->mutex);
}

static void *
run(void *context)
{
    struct cop__http_why *why = context;
    struct cop_http_server *server = why->server;
    why->status = cop_atom_find(server->store, why->path, why->length, &why->atom);
    if (why->status == COP_OK)
        ask(why);
    MHD_resume_connection(why->connection); /* why is not ours any more */
    leave_place(server);
    return NULL;
}

static bool
take_place(struct cop_http_server *server)
{
    pthread_mutex_lock(&server->mutex);
    bool room = server->waiting < WAITING_MAX && !is_ending(server);
    server->waiting += room;
    pthread_mutex_unlock(&server->mutex);
    return room;
}

/* From here on the connection is suspended until there is an answer. */
static void
start(struct cop__http_request *r)
{
    struct cop_http_server *server = r->server;
    pthread_t thread;
    pthread_attr_t detached;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    MHD_suspend_connection(r->connection);
    if (pthread_create(&thread, &detached, run, r->why) != 0) {
        r->why->status = COP_E_LIMIT;
        MHD_resume_connection(r->connection);
        leave_place(server);
    }
    pthread_attr_destroy(&detached);
}

void
cop__http_waits_end(struct cop_http_server *server)
{
    pthread_mutex_lock(&server->mutex);
    atomic_store_explicit(&server->ending, true, memory_order_release);
    while (server->waiting > 0)
        pthread_cond_wait(&server->changed, &server->mutex);
    pthread_mutex_unlock(&server->mutex);
}

/* ---- the question ---- */

static enum MHD_Result
take_argument(void *context, enum MHD_ValueKind kind, const char *key, const char *value)
{
    struct cop__http_why *why = context;
    (void)kind;
    if (strcmp(key, "path") == 0)
        why->good = why->has_path =
            cop__http_path_argument(value ? value : "", why->path, &why->length, why->problem);
    else if (strcmp(key, "wait_ms") == 0)
        why->good = cop__http_number(value, WAIT_MS_MAX, &why->wait_ms);
    else
        why->good = strcmp(key, "pretty") == 0;
    return why->good ? MHD_YES : MHD_NO;
}

static bool
parse(struct cop__http_request *r)
{
    struct cop__http_why *why = calloc(1, sizeof *why);
    if (!why)
        return cop__problem_set(&r->problem, COP_PROBLEM_BUSY, "no memory");
    r->why = why;
    why->server = r->server;
    why->connection = r->connection;
    why->problem = &r->problem;
    why->wait_ms = WAIT_MS;
    why->good = true;
    MHD_get_connection_values(r->connection, MHD_GET_ARGUMENT_KIND, take_argument, why);
    uint64_t most = (uint64_t)r->server->options.request_deadline_ms / 4 * 3;
    why->wait_ms =
        why->wait_ms < most ? why->wait_ms : most; /* or the answer would come too late */
    if (why->good && why->has_path)
        return true;
    if (r->problem.kind == COP_PROBLEM_NONE)
        cop__problem_set(&r->problem, COP_PROBLEM_REQUEST,
                         "the query is path=PATH, wait_ms=N (0 to %d) and pretty", WAIT_MS_MAX);
    return false;
}

enum MHD_Result
cop__http_why(struct cop__http_request *r)
{
    if (r->why)
        return reply(r, r->why); /* resumed */
    if (!parse(r))
        return cop__http_reply_problem(r, &r->problem);
    cop__http_count(&r->server->waits);
    if (take_place(r->server)) {
        start(r);
        return MHD_YES;
    }
    cop__problem_set(&r->problem, COP_PROBLEM_BUSY, "%d questions are being waited for at once",
                     WAITING_MAX);
    return cop__http_reply_problem(r, &r->problem);
}

/* SPDX-License-Identifier: MIT */
/*
 * The way of a request: route, checks, body, answer.
 *
 * A request that is refused early still has its body read and thrown away, so that the client gets
 * to read the refusal instead of a reset connection; a body that is too large is answered at once.
 */
#include "http/internal.h"

#include <stdlib.h>
#include <string.h>

static const struct cop__http_route routes[] = {
    {COP_HTTP_STATE, true, COP_HTTP_GET, cop__http_state, NULL},
    {COP_HTTP_STATE, true, COP_HTTP_PUT | COP_HTTP_PATCH | COP_HTTP_DELETE, cop__http_state_write, NULL},
    {"/v1/transaction", false, COP_HTTP_POST, cop__http_transaction, NULL},
    {COP_HTTP_SNAPSHOTS, true, COP_HTTP_GET | COP_HTTP_POST | COP_HTTP_DELETE, cop__http_snapshots, NULL},
    {COP_HTTP_HISTORY "/export", false, COP_HTTP_GET, cop__http_history_export, NULL},
    {COP_HTTP_HISTORY "/import", false, COP_HTTP_POST, cop__http_history_import, COP_HTTP_HISTORY_TYPE},
    {COP_HTTP_HISTORY, true, COP_HTTP_GET | COP_HTTP_POST | COP_HTTP_DELETE, cop__http_history, NULL},
    {"/v1/options", false, COP_HTTP_GET, cop__http_options_get, NULL},
    {"/v1/options", false, COP_HTTP_PATCH, cop__http_options_patch, NULL},
    {"/v1/watch", true, COP_HTTP_GET, cop__http_watch, NULL},
    {"/v1/diff", false, COP_HTTP_GET, cop__http_diff, NULL},
    {"/v1/graph", false, COP_HTTP_GET, cop__http_graph, NULL},
    {"/v1/graph/why", false, COP_HTTP_GET, cop__http_why, NULL},
    {"/v1/memory", false, COP_HTTP_GET, cop__http_memory, NULL},
    {"/v1/memory/trim", false, COP_HTTP_POST, cop__http_memory_trim, NULL},
    {"/v1/monitor", false, COP_HTTP_GET, cop__http_monitor, NULL},
    {"/v1/stats", false, COP_HTTP_GET, cop__http_stats, NULL},
    {"/v1/trace", false, COP_HTTP_GET | COP_HTTP_POST | COP_HTTP_DELETE, cop__http_trace, NULL},
    {"/metrics", false, COP_HTTP_GET, cop__http_metrics, NULL},
    {"/healthz", false, COP_HTTP_GET, cop__http_health, NULL},
    {"/problems", true, COP_HTTP_GET, cop__http_problems, NULL},
};

static const char *
rest_of(const struct cop__http_route *route, const char *url)
{
    size_t n = strlen(route->path);
    if (strncmp(url, route->path, n) != 0)
        return NULL;
    if (url[n] == '\0' || (route->below && url[n] == '/'))
        return url + n;
    return NULL;
}

/* The route of the URL and method; the last one of the URL when it has none for the method. */
static void
find_route(struct cop__http_request *r, const char *url)
{
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        const char *rest = rest_of(&routes[i], url);
        if (!rest)
            continue;
        r->route = &routes[i];
        r->rest = rest;
        if (routes[i].methods & r->method)
            return;
    }
}

/* 0 for a method that no route has. */
static enum cop__http_method
method_of(const char *name)
{
    static const struct {
        const char *name;
        enum cop__http_method method;
    } methods[] = {
        {"GET", COP_HTTP_GET},   {"HEAD", COP_HTTP_GET},    {"PUT", COP_HTTP_PUT},
        {"POST", COP_HTTP_POST}, {"PATCH", COP_HTTP_PATCH}, {"DELETE", COP_HTTP_DELETE},
    };
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (strcmp(methods[i].name, name) == 0)
            return methods[i].method;
    return 0;
}

void *
cop__http_on_uri(void *context, const char *uri, struct MHD_Connection *connection)
{
    (void)uri;
    cop__http_deadline_begin(context, connection);
    return NULL;
}

/* The first call, after the headers. */
static enum MHD_Result
begin(struct cop_http_server *server, struct MHD_Connection *connection, const char *url,
      const char *method, void **own)
{
    struct cop__http_request *r = calloc(1, sizeof *r);
    if (!r)
        return MHD_NO;
    *own = r;
    r->server = server;
    r->connection = connection;
    r->method = method_of(method);
    r->head = strcmp(method, MHD_HTTP_METHOD_HEAD) == 0;
    r->body.budget = &server->budget;
    find_route(r, url);
    cop__http_count(&server->requests);
    if (cop__http_check(r, &r->problem) || r->problem.kind != COP_PROBLEM_TOO_LARGE)
        return MHD_YES;
    return cop__http_reply_problem(r, &r->problem);
}

/* One part of the body. A client that goes on sending what was refused is cut in the end. */
static enum MHD_Result
take_body(struct cop__http_request *r, const char *upload, size_t n)
{
    const cop_http_options *o = &r->server->options;
    if (r->problem.kind == COP_PROBLEM_NONE && n > o->max_body_bytes - r->body.length)
        cop__problem_set(&r->problem, COP_PROBLEM_TOO_LARGE, "a body has at most %llu bytes",
                         (unsigned long long)o->max_body_bytes);
    else if (r->problem.kind == COP_PROBLEM_NONE && !cop__buffer_add(&r->body, upload, n))
        cop__problem_set(&r->problem, COP_PROBLEM_BUSY,
                         "too many bytes of requests and answers are held at once");
    if (r->problem.kind == COP_PROBLEM_NONE)
        return MHD_YES;
    cop__buffer_free(&r->body);
    r->discarded += n;
    return r->discarded <= o->max_body_bytes * 2 ? MHD_YES : MHD_NO;
}

enum MHD_Result
cop__http_on_request(void *context, struct MHD_Connection *connection, const char *url,
                     const char *method, const char *version, const char *upload,
                     size_t *upload_size, void **own)
{
    struct cop__http_request *r = *own;
    (void)version;
    if (!r)
        return begin(context, connection, url, method, own);
    if (*upload_size) {
        enum MHD_Result result = take_body(r, upload, *upload_size);
        *upload_size = 0;
        return result;
    }
    if (r->problem.kind != COP_PROBLEM_NONE)
        return cop__http_reply_problem(r, &r->problem);
    r->rest = rest_of(r->route, url); /* url may have moved since the first call */
    return r->route->handler(r);
}

void
cop__http_on_completed(void *context, struct MHD_Connection *connection, void **own,
                       enum MHD_RequestTerminationCode code)
{
    struct cop__http_request *r = *own;
    cop__http_deadline_end(context, connection, code == MHD_REQUEST_TERMINATED_TIMEOUT_REACHED);
    if (!r)
        return;
    cop__buffer_free(&r->body);
    cop__http_why_free(r->why);
    cop__http_watch_free(r->watch);
    free(r);
    *own = NULL;
}

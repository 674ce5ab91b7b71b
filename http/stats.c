/* SPDX-License-Identifier: MIT */
/* GET /v1/stats, /healthz and /problems/NAME. */
#include "http/internal.h"

#include <coppice/graph.h>
#include <jansson.h>
#include <string.h>

#define GRAPH_MS 1000

static uint64_t
relaxed(_Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

struct cop__http_gauges
cop__http_gauges(struct cop_http_server *server)
{
    struct cop__http_gauges gauges;
    pthread_mutex_lock(&server->mutex);
    gauges.connections = server->connections_count;
    pthread_mutex_unlock(&server->mutex);
    pthread_mutex_lock(&server->leases_mutex);
    gauges.leases = server->leases_count;
    pthread_mutex_unlock(&server->leases_mutex);
    gauges.watchers = cop__http_watchers(server);
    gauges.buffered_bytes = relaxed(&server->budget.used);
    return gauges;
}

static json_t *
describe_server(struct cop_http_server *server)
{
    json_t *json = json_object();
#define COP_HTTP_COUNTER_MEMBER(name, help) \
    json_object_set_new(json, #name, json_integer((json_int_t)relaxed(&server->name)));
    COP_HTTP_COUNTERS(COP_HTTP_COUNTER_MEMBER)
#undef COP_HTTP_COUNTER_MEMBER
    const struct cop__http_gauges gauges = cop__http_gauges(server);
#define COP_HTTP_GAUGE_MEMBER(name, help) \
    json_object_set_new(json, #name, json_integer((json_int_t)gauges.name));
    COP_HTTP_GAUGES(COP_HTTP_GAUGE_MEMBER)
#undef COP_HTTP_GAUGE_MEMBER
    return json;
}

static json_t *
describe_store(const cop_stats *stats)
{
    json_t *json = json_object();
    json_t *kinds = json_object();
#define COP_STATS_MEMBER(name, unit, help) \
    json_object_set_new(json, #name, json_integer((json_int_t)stats->name));
    COP_STATS_MAP(COP_STATS_MEMBER)
#undef COP_STATS_MEMBER
    for (int kind = 0; kind < COP_MEMORY_KINDS; kind++)
        json_object_set_new(kinds, cop_memory_kind_name((cop_memory_kind)kind),
                            json_integer((json_int_t)stats->bytes_by_kind[kind]));
    json_object_set_new(json, "bytes_by_kind", kinds);
    return json;
}

/* Left out when the commit right is not to be had soon. */
static void
add_graph(json_t *json, struct cop_http_server *server)
{
    cop_graph_counts counts = COP_GRAPH_COUNTS_INIT;
    if (cop_graph_stats(server->store, cop_deadline_in_ms(GRAPH_MS), &counts) != COP_OK)
        return;
    json_t *graph = json_object();
#define COP_GRAPH_STATS_MEMBER(name, unit, help) \
    json_object_set_new(graph, #name, json_integer((json_int_t)counts.name));
    COP_GRAPH_STATS_MAP(COP_GRAPH_STATS_MEMBER)
#undef COP_GRAPH_STATS_MEMBER
    json_object_set_new(json, "graph", graph);
}

enum MHD_Result
cop__http_stats(struct cop__http_request *r)
{
    cop_stats stats = COP_STATS_INIT;
    cop_status status = cop_stats_take(r->server->store, &stats);
    if (status != COP_OK) {
        cop__problem_status(&r->problem, status, NULL);
        return cop__http_reply_problem(r, &r->problem);
    }
    json_t *json = describe_store(&stats);
    add_graph(json, r->server);
    json_object_set_new(
        json, "workers",
        json_pack("{s:I}", "threads", (json_int_t)cop_pool_threads(r->server->options.pool)));
    json_object_set_new(json, "http", describe_server(r->server));
    return cop__http_reply_json(r, MHD_HTTP_OK, json, NULL);
}

enum MHD_Result
cop__http_health(struct cop__http_request *r)
{
    json_int_t version = (json_int_t)cop_store_version(r->server->store);
    return cop__http_reply_json(r, MHD_HTTP_OK,
                                json_pack("{s:s,s:I}", "status", "ok", "version", version), NULL);
}

enum MHD_Result
cop__http_problems(struct cop__http_request *r)
{
    const char *text = r->rest[0] == '/' ? cop__problem_explanation(r->rest + 1) : NULL;
    if (text)
        return cop__http_reply_text(r, text);
    cop__problem_set(&r->problem, COP_PROBLEM_ROUTE, "no problem has this name");
    return cop__http_reply_problem(r, &r->problem);
}

/* SPDX-License-Identifier: MIT */
/* GET /metrics: the store's metrics and the server's own, for Prometheus and its like. */
#include "http/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define METRICS_MS 1000
#define OPEN_TYPE "application/openmetrics-text"

static bool
put_single(struct cop__buffer *buffer, bool open, const char *name, bool counter, const char *help,
           uint64_t value)
{
    char text[512];
    const char *total = counter ? "_total" : "", *family = open ? "" : total;
    int n = snprintf(text, sizeof text,
                     "# HELP coppice_%s%s %s\n"
                     "# TYPE coppice_%s%s %s\n"
                     "coppice_%s%s %" PRIu64 "\n",
                     name, family, help, name, family, counter ? "counter" : "gauge", name, total,
                     value);
    return cop__buffer_add(buffer, text, (size_t)n);
}

static bool
put_server(struct cop_http_server *server, bool open, struct cop__buffer *buffer)
{
    const struct cop__http_gauges gauges = cop__http_gauges(server);
    bool fine = put_single(buffer, open, "workers_threads", false, "worker threads that run",
                           cop_pool_threads(server->options.pool));
#define PUT_COUNTER(name, help)                                        \
    fine = fine && put_single(buffer, open, "http_" #name, true, help, \
                              atomic_load_explicit(&server->name, memory_order_relaxed));
    COP_HTTP_COUNTERS(PUT_COUNTER)
#undef PUT_COUNTER
#define PUT_GAUGE(name, help) \
    fine = fine && put_single(buffer, open, "http_" #name, false, help, gauges.name);
    COP_HTTP_GAUGES(PUT_GAUGE)
#undef PUT_GAUGE
    return fine;
}

enum MHD_Result
cop__http_metrics(struct cop__http_request *r)
{
    struct cop__buffer buffer = {.budget = &r->server->budget};
    const char *accept =
        MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_ACCEPT);
    bool open = accept != NULL && strstr(accept, OPEN_TYPE) != NULL;
    cop_status status = COP_E_MEMORY;
    if (put_server(r->server, open, &buffer))
        status = cop_metrics_write(r->server->store,
                                   open ? COP_METRICS_OPENMETRICS : COP_METRICS_PROMETHEUS,
                                   cop_deadline_in_ms(METRICS_MS), cop__buffer_sink, &buffer);
    if (status == COP_OK)
        return cop__http_reply_typed(r, &buffer,
                                     open ? OPEN_TYPE "; version=1.0.0; charset=utf-8"
                                          : "text/plain; version=0.0.4; charset=utf-8");
    cop__buffer_free(&buffer);
    cop__problem_status(&r->problem, status == COP_E_IO ? COP_E_MEMORY : status, NULL);
    return cop__http_reply_problem(r, &r->problem);
}

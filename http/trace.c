/* SPDX-License-Identifier: MIT */
/* /v1/trace: POST begins to record what commits do, DELETE ends it, GET answers what was recorded. */
#include "http/internal.h"

#define SPANS_MAX 16777216

static enum MHD_Result
refuse(struct cop__http_request *r, cop_status status, const char *state)
{
    if (status == COP_E_STATE)
        cop__problem_set(&r->problem, COP_PROBLEM_STATE, "%s", state);
    else
        cop__problem_status(&r->problem, status, NULL);
    return cop__http_reply_problem(r, &r->problem);
}

static enum MHD_Result
begin(struct cop__http_request *r)
{
    const char *text = MHD_lookup_connection_value(r->connection, MHD_GET_ARGUMENT_KIND, "spans");
    uint64_t spans = 0;
    if (text && (!cop__http_number(text, SPANS_MAX, &spans) || spans == 0)) {
        cop__problem_set(&r->problem, COP_PROBLEM_REQUEST, "spans is 1 to %d", SPANS_MAX);
        return cop__http_reply_problem(r, &r->problem);
    }
    cop_status status = cop_trace_start(r->server->store, spans);
    if (status != COP_OK)
        return refuse(r, status, "the monitor is off: set the option performance.monitor");
    return cop__http_reply_empty(r, MHD_HTTP_NO_CONTENT, NULL, 0);
}

static enum MHD_Result
end(struct cop__http_request *r)
{
    cop_status status = cop_trace_stop(r->server->store);
    if (status != COP_OK)
        return refuse(r, status, "");
    return cop__http_reply_empty(r, MHD_HTTP_NO_CONTENT, NULL, 0);
}

static enum MHD_Result
answer(struct cop__http_request *r)
{
    struct cop__buffer buffer = {.budget = &r->server->budget};
    cop_status status = cop_trace_write(r->server->store, cop__buffer_sink, &buffer);
    if (status == COP_OK)
        return cop__http_reply_typed(r, &buffer, "application/json");
    cop__buffer_free(&buffer);
    return refuse(r, status == COP_E_IO ? COP_E_MEMORY : status,
                  "nothing was recorded, or it still is: POST begins it, DELETE ends it");
}

enum MHD_Result
cop__http_trace(struct cop__http_request *r)
{
    if (r->method == COP_HTTP_POST)
        return begin(r);
    return r->method == COP_HTTP_DELETE ? end(r) : answer(r);
}

/* SPDX-License-Identifier: MIT */
/* GET /v1/history/export and POST /v1/history/import: the kept versions as one file. */
#include "http/internal.h"

#include <jansson.h>

enum MHD_Result
cop__http_history_export(struct cop__http_request *r)
{
    struct cop__buffer buffer = {.budget = &r->server->budget};
    cop_error error = COP_ERROR_INIT;
    cop_status status =
        cop_history_export(r->server->store, cop__buffer_sink, &buffer, NULL, &error);
    if (status == COP_OK)
        return cop__http_reply_typed(r, &buffer, COP_HTTP_HISTORY_TYPE);
    cop__buffer_free(&buffer);
    if (status == COP_E_IO)
        cop__problem_set(&r->problem, COP_PROBLEM_BUSY,
                         "too many bytes of requests and answers are held at once");
    else
        cop__problem_reading(&r->problem, status, &error);
    return cop__http_reply_problem(r, &r->problem);
}

enum MHD_Result
cop__http_history_import(struct cop__http_request *r)
{
    cop_history_imported told;
    cop_error error = COP_ERROR_INIT;
    cop_status status =
        cop_history_import(r->server->store, r->body.data, r->body.length, &told, &error);
    if (status == COP_OK)
        return cop__http_reply_json(r, MHD_HTTP_OK,
                                    json_pack("{s:I,s:I,s:I}", "versions",
                                              (json_int_t)told.versions, "first",
                                              (json_int_t)told.first, "last",
                                              (json_int_t)told.last),
                                    NULL);
    if (status == COP_E_SYNTAX)
        cop__problem_set(&r->problem, COP_PROBLEM_REQUEST, "%s", error.message);
    else if (status == COP_E_STATE)
        cop__problem_set(&r->problem, COP_PROBLEM_STATE, "%s", error.message);
    else if (status == COP_E_CONFLICT)
        cop__problem_set(&r->problem, COP_PROBLEM_CONTENTION,
                         "others wrote meanwhile: %llu versions were made",
                         (unsigned long long)told.versions);
    else
        cop__problem_status(&r->problem, status, &error);
    return cop__http_reply_problem(r, &r->problem);
}

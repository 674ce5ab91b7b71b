/* SPDX-License-Identifier: MIT */
/* Answers: the headers that all have, and one function for each kind of body. */
#include "http/internal.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JSON_TYPE "application/json"

/* No site may read what another site's page fetched from here, nor guess at its type. */
static void
add_common(struct MHD_Response *response)
{
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(response, "Cross-Origin-Resource-Policy", "same-origin");
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-cache");
}

enum MHD_Result
cop__http_queue(struct cop__http_request *r, unsigned status, struct MHD_Response *response,
                const char *etag)
{
    if (!response)
        return MHD_NO;
    add_common(response);
    if (etag)
        MHD_add_response_header(response, MHD_HTTP_HEADER_ETAG, etag);
    enum MHD_Result result = MHD_queue_response(r->connection, status, response);
    MHD_destroy_response(response);
    return result;
}

void
cop__http_add_version(struct MHD_Response *response, uint64_t version)
{
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)version);
    MHD_add_response_header(response, "Coppice-Version", text);
}

static void
release_buffer(void *context)
{
    struct cop__buffer *buffer = context;
    cop__buffer_free(buffer);
    free(buffer);
}

/* The response takes the bytes and gives them back to the budget when they have been sent. */
static struct MHD_Response *
response_of(struct cop__buffer *buffer)
{
    struct cop__buffer *held = malloc(sizeof *held);
    if (!held)
        return NULL;
    struct MHD_Response *response = MHD_create_response_from_buffer_with_free_callback_cls(
        buffer->length, buffer->data, release_buffer, held);
    if (!response) {
        free(held);
        return NULL;
    }
    *held = *buffer;
    *buffer = (struct cop__buffer){.budget = buffer->budget};
    return response;
}

enum MHD_Result
cop__http_reply_buffer(struct cop__http_request *r, unsigned status, struct cop__buffer *buffer,
                       const char *etag, uint64_t version)
{
    struct MHD_Response *response = response_of(buffer);
    cop__buffer_free(buffer);
    if (!response)
        return MHD_NO;
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, JSON_TYPE);
    cop__http_add_version(response, version);
    return cop__http_queue(r, status, response, etag);
}

enum MHD_Result
cop__http_reply_typed(struct cop__http_request *r, struct cop__buffer *buffer, const char *type)
{
    struct MHD_Response *response = response_of(buffer);
    cop__buffer_free(buffer);
    if (!response)
        return MHD_NO;
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    return cop__http_queue(r, MHD_HTTP_OK, response, NULL);
}

static struct MHD_Response *
response_of_text(char *text)
{
    struct MHD_Response *response =
        text ? MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE) : NULL;
    if (!response)
        free(text);
    return response;
}

enum MHD_Result
cop__http_reply_json(struct cop__http_request *r, unsigned status, json_t *document,
                     const char *location)
{
    const char *value; /* NULL too when it has none: ?pretty */
    bool pretty = MHD_lookup_connection_value_n(r->connection, MHD_GET_ARGUMENT_KIND, "pretty", 6,
                                                &value, NULL) == MHD_YES;
    char *text = document ? json_dumps(document, pretty ? JSON_INDENT(2) : JSON_COMPACT) : NULL;
    json_decref(document);
    struct MHD_Response *response = response_of_text(text);
    if (!response)
        return MHD_NO;
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, JSON_TYPE);
    if (location)
        MHD_add_response_header(response, MHD_HTTP_HEADER_LOCATION, location);
    return cop__http_queue(r, status, response, NULL);
}

enum MHD_Result
cop__http_reply_text(struct cop__http_request *r, const char *text)
{
    struct MHD_Response *response = response_of_text(strdup(text));
    if (!response)
        return MHD_NO;
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "text/plain; charset=utf-8");
    return cop__http_queue(r, MHD_HTTP_OK, response, NULL);
}

enum MHD_Result
cop__http_reply_empty(struct cop__http_request *r, unsigned status, const char *etag,
                      uint64_t version)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    if (!response)
        return MHD_NO;
    cop__http_add_version(response, version);
    return cop__http_queue(r, status, response, etag);
}

static void
add_allow(struct MHD_Response *response, unsigned methods)
{
    char allow[64];
    snprintf(allow, sizeof allow, "%s%s%s%s%s", methods & COP_HTTP_GET ? "GET, HEAD, " : "",
             methods & COP_HTTP_PUT ? "PUT, " : "", methods & COP_HTTP_POST ? "POST, " : "",
             methods & COP_HTTP_PATCH ? "PATCH, " : "",
             methods & COP_HTTP_DELETE ? "DELETE, " : "");
    size_t n = strlen(allow);
    if (n >= 2 && allow[n - 1] == ' ')
        allow[n - 2] = '\0';
    MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, allow);
}

/* What is allowed at a path of the state is the sum of two routes. */
static unsigned
allowed(const struct cop__http_request *r, const struct cop__problem *problem)
{
    if (r->route && strcmp(r->route->path, COP_HTTP_STATE) == 0)
        return COP_HTTP_GET | COP_HTTP_PUT | COP_HTTP_PATCH | COP_HTTP_DELETE;
    if (r->route && strcmp(r->route->path, "/v1/options") == 0)
        return COP_HTTP_GET | COP_HTTP_PATCH;
    return problem->allow;
}

static void
add_problem_headers(struct cop__http_request *r, struct MHD_Response *response,
                    const struct cop__problem *problem)
{
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "application/problem+json");
    if (problem->kind == COP_PROBLEM_METHOD)
        add_allow(response, allowed(r, problem));
    if (problem->kind == COP_PROBLEM_BUSY || problem->kind == COP_PROBLEM_MEMORY)
        MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, "1");
    if (problem->kind == COP_PROBLEM_MEDIA_TYPE && r->method == COP_HTTP_PATCH)
        MHD_add_response_header(response, "Accept-Patch",
                                r->route && strcmp(r->route->path, COP_HTTP_STATE) == 0
                                    ? "application/merge-patch+json, application/json-patch+json"
                                    : "application/merge-patch+json");
}

enum MHD_Result
cop__http_reply_problem(struct cop__http_request *r, const struct cop__problem *problem)
{
    json_t *document = cop__problem_document(problem);
    char *text = document ? json_dumps(document, JSON_INDENT(2)) : NULL;
    json_decref(document);
    struct MHD_Response *response = response_of_text(text);
    if (!response)
        return MHD_NO;
    cop__http_count(&r->server->refused);
    add_problem_headers(r, response, problem);
    return cop__http_queue(r, cop__problem_http_status(problem->kind), response, NULL);
}

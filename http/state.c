/* SPDX-License-Identifier: MIT */
/*
 * GET and HEAD of /v1/state/PATH: one version, read under a pin, from a version held for a client,
 * or from one that the history keeps. Short answers are made in memory and have a length; what does
 * not fit is streamed from a snapshot that is held until its last byte has been sent: libmicrohttpd
 * pulls, and a stream is written as far as it asks.
 */
#include "http/etag.h"

#include <stdlib.h>
#include <string.h>

#define STREAM_BLOCK 32768

struct query {
    struct cop__etag_form form;
    bool has_version;
    uint64_t version;
    const char *label; /* of a kept version; NULL: none */
    struct cop__problem *problem;
    bool good;
};

static bool
parse_flag(const char *value, bool *flag)
{
    bool on = !value || !*value || !strcmp(value, "1") || !strcmp(value, "true");
    *flag = on;
    return on || !strcmp(value, "0") || !strcmp(value, "false");
}

static enum MHD_Result
take_argument(void *context, enum MHD_ValueKind kind, const char *key, const char *value)
{
    struct query *q = context;
    uint64_t depth = 0;
    (void)kind;
    if (strcmp(key, "pretty") == 0) {
        q->good = parse_flag(value, &q->form.pretty);
    } else if (strcmp(key, "depth") == 0) {
        q->good = cop__http_number(value, COP_DEPTH_MAX, &depth) && depth >= 1;
        q->form.depth = (uint32_t)depth;
    } else if (strcmp(key, "version") == 0) {
        q->good = q->has_version = cop__http_number(value, UINT64_MAX, &q->version);
    } else if (strcmp(key, "label") == 0) {
        q->label = value;
        q->good = value && *value;
    } else {
        q->good = false;
    }
    return q->good ? MHD_YES : MHD_NO;
}

static bool
parse_query(struct cop__http_request *r, struct query *q)
{
    q->good = true;
    MHD_get_connection_values(r->connection, MHD_GET_ARGUMENT_KIND, take_argument, q);
    if (q->good && !(q->label && q->has_version))
        return true;
    return cop__problem_set(q->problem, COP_PROBLEM_REQUEST,
                            "the query is pretty, depth=N (1 to %u) and version=N or label=TEXT",
                            COP_DEPTH_MAX);
}

static bool
unchanged(struct cop__http_request *r, const char *etag)
{
    const char *list =
        MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_IF_NONE_MATCH);
    return list && cop__etag_listed(list, etag);
}

/* An answer that is written while it is sent. */
struct streamed {
    cop_json_stream *stream;
    bool more;    /* of the document */
    bool newline; /* behind it */
};

static ssize_t
pull(void *context, uint64_t position, char *bytes, size_t n)
{
    struct streamed *s = context;
    size_t written = 0;
    (void)position;
    while (s->more && written == 0) /* a step over lazy members may write nothing */
        if (cop_json_stream_next(s->stream, bytes, n, &written, &s->more) != COP_OK)
            return MHD_CONTENT_READER_END_WITH_ERROR;
    if (written == 0 && s->newline) {
        s->newline = false;
        bytes[written++] = '\n';
    }
    return written > 0 ? (ssize_t)written : MHD_CONTENT_READER_END_OF_STREAM;
}

static void
end_stream(void *context)
{
    struct streamed *s = context;
    cop_json_stream_close(s->stream);
    free(s);
}

static struct MHD_Response *
response_of_stream(const cop_snapshot *snapshot, cop_atom atom,
                   const cop_json_write_options *options)
{
    struct streamed *s = malloc(sizeof *s);
    if (!s)
        return NULL;
    *s = (struct streamed){NULL, true, options->indent > 0};
    struct MHD_Response *response = NULL;
    if (cop_json_stream_open(snapshot, atom, options, &s->stream) == COP_OK)
        response =
            MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK, pull, s, end_stream);
    if (!response)
        end_stream(s);
    return response;
}

static enum MHD_Result
reply_stream(struct cop__http_request *r, const cop_snapshot *snapshot, cop_atom atom,
             const cop_json_write_options *options, const char *etag)
{
    struct MHD_Response *response = response_of_stream(snapshot, atom, options);
    if (!response) {
        cop__problem_set(&r->problem, COP_PROBLEM_BUSY, "no snapshot can be held for the answer");
        return cop__http_reply_problem(r, &r->problem);
    }
    cop__http_count(&r->server->streamed);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json");
    cop__http_add_version(response, cop_snapshot_version(snapshot));
    return cop__http_queue(r, MHD_HTTP_OK, response, etag);
}

struct bounded {
    struct cop__buffer buffer;
    bool full;
};

static int
take_bytes(void *context, const char *bytes, size_t n)
{
    struct bounded *b = context;
    b->full =
        n > COP_HTTP_BUFFERED_MAX - b->buffer.length || !cop__buffer_add(&b->buffer, bytes, n);
    return b->full;
}

static enum MHD_Result
reply_document(struct cop__http_request *r, const cop_snapshot *snapshot, cop_atom atom,
               const struct query *q, const char *etag)
{
    cop_json_write_options options = COP_JSON_WRITE_OPTIONS_INIT;
    struct bounded b = {.buffer.budget = &r->server->budget};
    options.indent = q->form.pretty ? 2 : 0;
    options.depth = q->form.depth;
    cop_status status = cop_json_write(snapshot, atom, &options, take_bytes, &b);
    if (status == COP_OK && q->form.pretty)
        take_bytes(&b, "\n", 1);
    if (status == COP_OK && !b.full)
        return cop__http_reply_buffer(r, MHD_HTTP_OK, &b.buffer, etag,
                                      cop_snapshot_version(snapshot));
    cop__buffer_free(&b.buffer);
    if (b.full)
        return reply_stream(r, snapshot, atom, &options, etag);
    cop__problem_status(&r->problem, status, NULL);
    return cop__http_reply_problem(r, &r->problem);
}

static enum MHD_Result
reply_atom(struct cop__http_request *r, const cop_snapshot *snapshot, cop_atom atom,
           const struct query *q)
{
    char etag[COP_HTTP_ETAG_MAX];
    uint64_t changed;
    cop_value value;
    if (cop_changed(snapshot, atom, &changed) == COP_OK) {
        cop__etag_branch(r->server, changed, &q->form, etag);
    } else {
        cop_status status = cop_get(snapshot, atom, &value);
        if (status != COP_OK) {
            cop__problem_status(&r->problem, status, NULL);
            return cop__http_reply_problem(r, &r->problem);
        }
        cop__etag_value(r->server, &value, etag);
    }
    if (unchanged(r, etag))
        return cop__http_reply_empty(r, MHD_HTTP_NOT_MODIFIED, etag,
                                     cop_snapshot_version(snapshot));
    return reply_document(r, snapshot, atom, q, etag);
}

static enum MHD_Result
reply_path(struct cop__http_request *r, const cop_snapshot *snapshot, const char *path,
           size_t length, const struct query *q)
{
    cop_atom atom;
    cop_status status = cop_find(snapshot, path, length, &atom);
    if (status == COP_OK)
        return reply_atom(r, snapshot, atom, q);
    cop__problem_status(&r->problem, status, NULL);
    return cop__http_reply_problem(r, &r->problem);
}

static enum MHD_Result
reply_newest(struct cop__http_request *r, const char *path, size_t length, const struct query *q)
{
    cop_pin_t pin = cop_pin(r->server->store);
    if (!pin.snapshot) {
        cop__problem_reading(&r->problem, cop_pin_status(), NULL);
        return cop__http_reply_problem(r, &r->problem);
    }
    enum MHD_Result result = reply_path(r, pin.snapshot, path, length, q);
    cop_unpin(pin);
    return result;
}

static enum MHD_Result
reply_held(struct cop__http_request *r, const char *path, size_t length, const struct query *q)
{
    const cop_snapshot *snapshot = cop__http_held(r->server, q->version);
    cop_status status =
        snapshot ? COP_OK : cop_history_take(r->server->store, q->version, &snapshot);
    if (status == COP_E_ABSENT) {
        cop__problem_set(&r->problem, COP_PROBLEM_SNAPSHOT, "version %llu is neither kept nor held",
                         (unsigned long long)q->version);
        return cop__http_reply_problem(r, &r->problem);
    }
    if (status != COP_OK) {
        cop__problem_reading(&r->problem, status, NULL);
        return cop__http_reply_problem(r, &r->problem);
    }
    enum MHD_Result result = reply_path(r, snapshot, path, length, q);
    cop_snapshot_drop(snapshot);
    return result;
}

enum MHD_Result
cop__http_state(struct cop__http_request *r)
{
    struct query q = {.problem = &r->problem};
    char path[COP_PATH_MAX + 1];
    size_t length = 0;
    if (!parse_query(r, &q) || !cop__http_path(r->rest, path, &length, &r->problem))
        return cop__http_reply_problem(r, &r->problem);
    if (q.label && !cop__http_labelled(r, q.label, &q.version))
        return cop__http_reply_problem(r, &r->problem);
    return q.has_version || q.label ? reply_held(r, path, length, &q)
                                    : reply_newest(r, path, length, &q);
}

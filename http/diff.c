/* SPDX-License-Identifier: MIT */
/* GET /v1/diff: the patch between two versions that are held, or from one to the newest. */
#include "http/internal.h"

#include <coppice/patch.h>
#include <string.h>

static const struct format {
    const char *name, *type;
} formats[] = {
    [COP_PATCH_JSON] = {"json-patch", "application/json-patch+json"},
    [COP_PATCH_MERGE] = {"merge-patch", "application/merge-patch+json"},
    [COP_PATCH_BINARY] = {"binary", "application/octet-stream"},
};

struct query {
    char path[COP_PATH_MAX + 1];
    size_t length;
    bool good, has_from;
    struct version {
        bool newest;
        const char *label; /* NULL: none */
        uint64_t number;
    } from, to;
    cop_patch_format format;
    struct cop__problem *problem;
};

static bool
parse_format(const char *value, cop_patch_format *format)
{
    for (size_t i = 0; value && i < sizeof formats / sizeof *formats; i++)
        if (strcmp(value, formats[i].name) == 0) {
            *format = (cop_patch_format)i;
            return true;
        }
    return false;
}

static bool
parse_version(const char *value, struct version *version)
{
    version->newest = value && strcmp(value, "newest") == 0;
    version->label = NULL;
    return version->newest || cop__http_number(value, UINT64_MAX, &version->number);
}

static bool
parse_label(const char *value, struct version *version)
{
    *version = (struct version){.label = value};
    return value != NULL;
}

static enum MHD_Result
take_argument(void *context, enum MHD_ValueKind kind, const char *key, const char *value)
{
    struct query *q = context;
    (void)kind;
    if (strcmp(key, "from") == 0)
        q->good = q->has_from = parse_version(value, &q->from);
    else if (strcmp(key, "from_label") == 0)
        q->good = q->has_from = parse_label(value, &q->from);
    else if (strcmp(key, "to") == 0)
        q->good = parse_version(value, &q->to);
    else if (strcmp(key, "to_label") == 0)
        q->good = parse_label(value, &q->to);
    else if (strcmp(key, "format") == 0)
        q->good = parse_format(value, &q->format);
    else if (strcmp(key, "branch") == 0)
        q->good = cop__http_path_argument(value ? value : "", q->path, &q->length, q->problem);
    else
        q->good = false;
    return q->good ? MHD_YES : MHD_NO;
}

static bool
parse_query(struct cop__http_request *r, struct query *q)
{
    q->good = true;
    q->problem = &r->problem;
    MHD_get_connection_values(r->connection, MHD_GET_ARGUMENT_KIND, take_argument, q);
    if (q->good && q->has_from)
        return true;
    if (r->problem.kind != COP_PROBLEM_NONE)
        return false;
    return cop__problem_set(
        &r->problem, COP_PROBLEM_REQUEST,
        "the query is from=N, to=N (or newest), from_label=TEXT, to_label=TEXT, "
        "branch=PATH and format=json-patch, merge-patch or binary");
}

/* A hold on a version: one that a client has a lease on, that the history keeps, or the newest. */
static const cop_snapshot *
hold(struct cop__http_request *r, struct version version)
{
    bool newest = version.newest;
    if (version.label && !cop__http_labelled(r, version.label, &version.number))
        return NULL;
    const cop_snapshot *snapshot = newest ? NULL : cop__http_held(r->server, version.number);
    if (snapshot ||
        (!newest && cop_history_take(r->server->store, version.number, &snapshot) == COP_OK))
        return snapshot;
    cop_status status = cop_snapshot_take(r->server->store, &snapshot);
    if (status != COP_OK) {
        cop__problem_reading(&r->problem, status, NULL);
        return NULL;
    }
    if (newest || cop_snapshot_version(snapshot) == version.number)
        return snapshot;
    cop_snapshot_drop(snapshot);
    cop__problem_set(&r->problem, COP_PROBLEM_SNAPSHOT,
                     "version %llu is neither kept nor held: POST /v1/snapshots holds the newest "
                     "one, history.keep keeps them",
                     (unsigned long long)version.number);
    return NULL;
}

static int
take_bytes(void *context, const char *bytes, size_t n)
{
    return !cop__buffer_add(context, bytes, n);
}

static enum MHD_Result
reply_patch(struct cop__http_request *r, const struct query *q, const cop_snapshot *from,
            const cop_snapshot *to)
{
    struct cop__buffer buffer = {.budget = &r->server->budget};
    cop_error error = COP_ERROR_INIT;
    cop_status status =
        cop_patch_write(from, to, q->path, q->length, q->format, NULL, take_bytes, &buffer, &error);
    if (status == COP_OK)
        return cop__http_reply_typed(r, &buffer, formats[q->format].type);
    cop__buffer_free(&buffer);
    if (status == COP_E_UNSUPPORTED)
        cop__problem_set(&r->problem, COP_PROBLEM_FORMAT, "%s", error.message);
    else if (status == COP_E_IO)
        cop__problem_set(&r->problem, COP_PROBLEM_BUSY, "no room for a patch this long");
    else
        cop__problem_status(&r->problem, status, &error);
    return cop__http_reply_problem(r, &r->problem);
}

enum MHD_Result
cop__http_diff(struct cop__http_request *r)
{
    struct query q = {.format = COP_PATCH_JSON, .to.newest = true};
    const cop_snapshot *from = parse_query(r, &q) ? hold(r, q.from) : NULL;
    const cop_snapshot *to = from ? hold(r, q.to) : NULL;
    enum MHD_Result result =
        to ? reply_patch(r, &q, from, to) : cop__http_reply_problem(r, &r->problem);
    cop_snapshot_drop(from);
    cop_snapshot_drop(to);
    return result;
}

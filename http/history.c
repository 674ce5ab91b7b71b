/* SPDX-License-Identifier: MIT */
/*
 * /v1/history: the versions that the store keeps.
 *
 *   GET     /v1/history             all of them
 *   GET     /v1/history/compare     counts of what differs between two versions
 *   GET     /v1/history/N           one of them
 *   POST    /v1/history             keeps the newest one
 *   POST    /v1/history/N           labels, pins
 *   POST    /v1/history/restore     goes back
 *   DELETE  /v1/history[/N]         drops those that are not pinned; one
 */
#include "http/internal.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#define RESTORE_MS 10000
#define BODY_RULE "the body is {\"label\": TEXT, \"pinned\": BOOL}, each may be missing"

/* ---- telling ---- */

static json_t *
describe(const cop_history_entry *entry)
{
    char state[64];
    snprintf(state, sizeof state, COP_HTTP_STATE "?version=%" PRIu64, entry->version);
    json_t *json = json_pack("{s:I,s:I,s:I,s:b,s:s}", "version", (json_int_t)entry->version,
                             "time_ms", (json_int_t)(entry->time_ns / 1000000), "bytes",
                             (json_int_t)entry->bytes, "pinned", entry->pinned, "state", state);
    if (entry->label_length > 0)
        json_object_set_new(json, "label", json_stringn(entry->label, entry->label_length));
    if (entry->used_ns > 0)
        json_object_set_new(json, "used_ms", json_integer((json_int_t)(entry->used_ns / 1000000)));
    return json;
}

static enum MHD_Result
refuse(struct cop__http_request *r, cop_status status, const cop_error *error)
{
    switch (status) {
    case COP_E_ABSENT:
        cop__problem_set(&r->problem, COP_PROBLEM_VERSION,
                         "no such version is kept: GET /v1/history lists those that are");
        break;
    case COP_E_INVALID:
        cop__problem_set(&r->problem, COP_PROBLEM_REQUEST, "%s", error->message);
        break;
    case COP_E_STATE:
        cop__problem_set(&r->problem, COP_PROBLEM_STATE, "the option history.keep is off");
        break;
    case COP_E_TIMEOUT:
        cop__problem_set(&r->problem, COP_PROBLEM_BUSY, "others did not let the commit through");
        break;
    default:
        cop__problem_reading(&r->problem, status, error);
    }
    return cop__http_reply_problem(r, &r->problem);
}

static enum MHD_Result
reply_entry(struct cop__http_request *r, unsigned code, uint64_t version)
{
    cop_history_entry entry;
    char location[64];
    cop_status status = cop_history_find(r->server->store, version, &entry);
    if (status != COP_OK)
        return refuse(r, status, NULL);
    snprintf(location, sizeof location, COP_HTTP_HISTORY "/%" PRIu64, version);
    return cop__http_reply_json(r, code, describe(&entry),
                                code == MHD_HTTP_CREATED ? location : NULL);
}

static enum MHD_Result
list(struct cop__http_request *r)
{
    cop_store *store = r->server->store;
    json_t *versions = json_array();
    cop_history_entry entry;
    cop_stats stats = COP_STATS_INIT;
    cop_status status = cop_stats_take(store, &stats);
    if (status != COP_OK) {
        json_decref(versions);
        return refuse(r, status, NULL);
    }
    for (uint64_t v = 0; cop_history_next(store, v, &entry) == COP_OK; v = entry.version + 1)
        json_array_append_new(versions, describe(&entry));
    return cop__http_reply_json(r, MHD_HTTP_OK,
                                json_pack("{s:o,s:I,s:I,s:I}", "versions", versions, "bytes",
                                          (json_int_t)stats.history_bytes, "pruned",
                                          (json_int_t)stats.history_pruned, "lost",
                                          (json_int_t)stats.history_lost),
                                NULL);
}

/* ---- keeping, labels, pins ---- */

struct wish {
    const char *label; /* of the body; NULL: not named */
    size_t length;
    int pinned; /* -1: not named */
    uint64_t version;
    bool has_version;
    json_t *body;
};

/* The body; empty counts as {}. False: *problem says why. */
static bool
body_read(struct cop__http_request *r, json_t **body)
{
    json_error_t error;
    *body = r->body.length
                ? json_loadb(r->body.data, r->body.length, JSON_REJECT_DUPLICATES, &error)
                : json_object();
    if (!*body) {
        cop__problem_set(&r->problem, COP_PROBLEM_JSON, "%s", error.text);
        r->problem.error.line = (uint32_t)error.line;
        r->problem.error.column = (uint32_t)error.column;
    }
    return *body != NULL;
}

/* False: no such body. What it gives lives as long as wish->body. */
static bool
wish_take(struct wish *wish)
{
    const json_t *label = json_object_get(wish->body, "label");
    const json_t *pinned = json_object_get(wish->body, "pinned");
    const json_t *version = json_object_get(wish->body, "version");
    wish->pinned = pinned ? json_is_true(pinned) : -1;
    wish->label = label ? json_string_value(label) : NULL;
    wish->length = label ? json_string_length(label) : 0;
    wish->has_version = version != NULL;
    wish->version = (uint64_t)json_integer_value(version);
    return json_is_object(wish->body) && (!label || json_is_string(label)) &&
           (!pinned || json_is_boolean(pinned)) &&
           (!version || (json_is_integer(version) && json_integer_value(version) >= 0)) &&
           json_object_size(wish->body) ==
               (size_t)((label != NULL) + (pinned != NULL) + (version != NULL));
}

static cop_status
pin(cop_store *store, uint64_t version, int pinned)
{
    if (pinned < 0)
        return COP_OK;
    return pinned ? cop_history_pin(store, version) : cop_history_unpin(store, version);
}

static enum MHD_Result
keep(struct cop__http_request *r, const struct wish *wish)
{
    cop_error error = COP_ERROR_INIT;
    uint64_t version = 0;
    cop_store *store = r->server->store;
    cop_status status = cop_history_keep(store, wish->label, wish->length, &version, &error);
    if (status == COP_OK)
        status = pin(store, version, wish->pinned);
    return status == COP_OK ? reply_entry(r, MHD_HTTP_CREATED, version) : refuse(r, status, &error);
}

static enum MHD_Result
change(struct cop__http_request *r, const struct wish *wish, uint64_t version)
{
    cop_error error = COP_ERROR_INIT;
    cop_store *store = r->server->store;
    cop_status status = COP_OK;
    if (wish->label)
        status = cop_history_label(store, version, wish->label, wish->length, &error);
    if (status == COP_OK)
        status = pin(store, version, wish->pinned);
    return status == COP_OK ? reply_entry(r, MHD_HTTP_OK, version) : refuse(r, status, &error);
}

/* ---- finding by label ---- */

bool
cop__http_labelled(struct cop__http_request *r, const char *argument, uint64_t *version)
{
    cop_history_entry entry;
    char label[COP_PATH_MAX + 1];
    size_t n;
    if (!cop__http_argument(argument, label, &n, &r->problem))
        return false;
    if (cop_history_find_label(r->server->store, label, n, &entry) != COP_OK)
        return cop__problem_set(&r->problem, COP_PROBLEM_VERSION, "no kept version has this label");
    *version = entry.version;
    return true;
}

/* ---- going back ---- */

static enum MHD_Result
restore(struct cop__http_request *r, const struct wish *wish)
{
    cop_store *store = r->server->store;
    cop_history_entry entry = {.version = wish->version};
    cop_history_restored told;
    cop_error error = COP_ERROR_INIT;
    cop_status status = COP_OK;
    if (wish->label)
        status = cop_history_find_label(store, wish->label, wish->length, &entry);
    if (status == COP_OK)
        status = cop_history_restore(store, entry.version, cop_deadline_in_ms(RESTORE_MS), &told,
                                     &error);
    if (status != COP_OK)
        return refuse(r, status, &error);
    cop__http_count(&r->server->writes);
    return cop__http_reply_json(
        r, MHD_HTTP_OK,
        json_pack("{s:I,s:I,s:I,s:I,s:I}", "restored", (json_int_t)entry.version, "version",
                  (json_int_t)told.version, "from", (json_int_t)told.from, "edits",
                  (json_int_t)told.edits, "left", (json_int_t)told.left),
        NULL);
}

/* What a POST is for. */
static enum MHD_Result
post_wish(struct cop__http_request *r, const struct wish *wish)
{
    uint64_t version;
    if (strcmp(r->rest, "/restore") == 0) {
        if (wish->pinned < 0 && wish->has_version != (wish->label != NULL))
            return restore(r, wish);
        cop__problem_set(&r->problem, COP_PROBLEM_REQUEST,
                         "the body is {\"version\": N} or {\"label\": TEXT}");
    } else if (wish->has_version) {
        cop__problem_set(&r->problem, COP_PROBLEM_REQUEST, BODY_RULE);
    } else if (r->rest[0] == '\0' || r->rest[1] == '\0') {
        return keep(r, wish);
    } else if (cop__http_number(r->rest + 1, UINT64_MAX, &version)) {
        return change(r, wish, version);
    } else {
        cop__problem_set(&r->problem, COP_PROBLEM_ROUTE, "a version is a number");
    }
    return cop__http_reply_problem(r, &r->problem);
}

static enum MHD_Result
post(struct cop__http_request *r)
{
    struct wish wish = {.body = NULL};
    if (!body_read(r, &wish.body))
        return cop__http_reply_problem(r, &r->problem);
    enum MHD_Result result;
    if (wish_take(&wish)) {
        result = post_wish(r, &wish);
    } else {
        cop__problem_set(&r->problem, COP_PROBLEM_REQUEST, BODY_RULE);
        result = cop__http_reply_problem(r, &r->problem);
    }
    json_decref(wish.body);
    return result;
}

/* ---- comparing, dropping ---- */

static bool
version_argument(struct cop__http_request *r, const char *name, uint64_t *version)
{
    const char *text = MHD_lookup_connection_value(r->connection, MHD_GET_ARGUMENT_KIND, name);
    if (text && cop__http_number(text, UINT64_MAX, version))
        return true;
    return cop__problem_set(&r->problem, COP_PROBLEM_REQUEST,
                            "the query is from=N and to=N, both versions");
}

static enum MHD_Result
compare(struct cop__http_request *r)
{
    uint64_t from, to;
    cop_history_difference d;
    if (!version_argument(r, "from", &from) || !version_argument(r, "to", &to))
        return cop__http_reply_problem(r, &r->problem);
    cop_status status = cop_history_compare(r->server->store, from, to, &d);
    if (status != COP_OK)
        return refuse(r, status, NULL);
    return cop__http_reply_json(r, MHD_HTTP_OK,
                                json_pack("{s:I,s:I,s:I,s:I,s:I,s:I}", "from", (json_int_t)from,
                                          "to", (json_int_t)to, "created", (json_int_t)d.created,
                                          "changed", (json_int_t)d.changed, "erased",
                                          (json_int_t)d.erased, "arrays", (json_int_t)d.arrays),
                                NULL);
}

static enum MHD_Result
drop(struct cop__http_request *r, bool one, uint64_t version)
{
    uint64_t dropped = 1;
    cop_status status = one ? cop_history_drop(r->server->store, version)
                            : cop_history_clear(r->server->store, &dropped);
    if (status != COP_OK)
        return refuse(r, status, NULL);
    return cop__http_reply_json(r, MHD_HTTP_OK, json_pack("{s:I}", "dropped", (json_int_t)dropped),
                                NULL);
}

enum MHD_Result
cop__http_history(struct cop__http_request *r)
{
    uint64_t version = 0;
    bool one = r->rest[0] == '/' && r->rest[1];
    if (r->method == COP_HTTP_POST)
        return post(r);
    if (r->method == COP_HTTP_GET && strcmp(r->rest, "/compare") == 0)
        return compare(r);
    if (one && !cop__http_number(r->rest + 1, UINT64_MAX, &version)) {
        cop__problem_set(&r->problem, COP_PROBLEM_ROUTE, "a version is a number");
        return cop__http_reply_problem(r, &r->problem);
    }
    if (r->method == COP_HTTP_DELETE)
        return drop(r, one, version);
    return one ? reply_entry(r, MHD_HTTP_OK, version) : list(r);
}

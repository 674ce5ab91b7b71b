/* SPDX-License-Identifier: MIT */
/*
 * PUT, PATCH and DELETE of /v1/state/PATH, with If-Match and If-None-Match.
 *
 * The preconditions are looked at inside the transaction and stay as its conditions, so that they
 * hold in the version that the write makes, not only a moment before. When another writer comes
 * between, the transaction is built again; a precondition that fails then is a 412.
 */
#include "http/etag.h"

#include <coppice/patch.h>
#include <jansson.h>
#include <string.h>

#define TRIES 64

struct write {
    struct cop__http_request *request;
    char path[COP_PATH_MAX + 1];
    size_t length;
    const char *if_match, *if_none_match;
    bool created;
};

cop_status
cop__http_commit(struct cop_http_server *server, cop__http_build build, void *context,
                 uint64_t *version, struct cop__problem *problem)
{
    cop_status status = COP_E_CONFLICT;
    for (int i = 0; i < TRIES && status == COP_E_CONFLICT; i++) {
        cop_txn *txn;
        cop_error error = COP_ERROR_INIT;
        status = cop_txn_begin(server->store, &txn);
        if (status == COP_OK) {
            status = build(txn, context, problem);
            if (status != COP_OK) {
                cop_txn_cancel(txn);
                return status;
            }
            status = cop_txn_commit(txn, version, &error);
        }
        if (status != COP_OK)
            cop__problem_status(problem, status, &error);
    }
    if (status == COP_OK)
        cop__http_count(&server->writes);
    return status;
}

static cop_status
not_so(struct cop__problem *problem, const char *what)
{
    cop__problem_set(problem, COP_PROBLEM_PRECONDITION, "%s", what);
    return COP_E_STATE;
}

static cop_status
failed(struct cop__problem *problem, cop_status status, const cop_error *error)
{
    cop__problem_status(problem, status, error);
    return status;
}

static cop_status
unreadable(struct cop__problem *problem, cop_status status, const cop_error *error)
{
    cop__problem_reading(problem, status, error);
    return status;
}

/* The tag of the atom's state, which becomes a condition of the transaction. */
static cop_status
tag_of(cop_txn *txn, const struct cop_http_server *server, cop_atom atom,
       char etag[COP_HTTP_ETAG_MAX])
{
    const cop_snapshot *snapshot;
    uint64_t changed;
    cop_value value;
    cop_status status = cop_txn_snapshot(txn, &snapshot);
    if (status != COP_OK)
        return status;
    if (cop_changed(snapshot, atom, &changed) == COP_OK) {
        cop__etag_branch(server, changed, NULL, etag);
        return cop_txn_require_unchanged(txn, atom, changed);
    }
    status = cop_txn_get(txn, atom, &value);
    if (status == COP_OK)
        cop__etag_value(server, &value, etag);
    return status;
}

static cop_status
check_present(cop_txn *txn, struct write *w, cop_atom atom, struct cop__problem *problem)
{
    char etag[COP_HTTP_ETAG_MAX];
    if (!w->if_match && !w->if_none_match)
        return COP_OK;
    cop_status status = tag_of(txn, w->request->server, atom, etag);
    if (status != COP_OK)
        return unreadable(problem, status, NULL);
    if (w->if_match && !cop__etag_listed_state(w->if_match, etag))
        return not_so(problem, "If-Match: the state is another one");
    if (w->if_none_match && cop__etag_listed_state(w->if_none_match, etag))
        return not_so(problem, "If-None-Match: there is such a state");
    return COP_OK;
}

static cop_status
check_conditions(cop_txn *txn, struct write *w, struct cop__problem *problem)
{
    cop_atom atom;
    cop_error error = COP_ERROR_INIT;
    cop_status status = cop_txn_find(txn, w->path, w->length, &atom, &error);
    w->created = status == COP_E_ABSENT;
    if (status == COP_OK)
        return check_present(txn, w, atom, problem);
    if (status != COP_E_ABSENT)
        return unreadable(problem, status, &error);
    if (w->if_match)
        return not_so(problem, "If-Match: nothing is at this path");
    return COP_OK;
}

static cop_status
add_document(cop_txn *txn, struct write *w, struct cop__problem *problem)
{
    const struct cop__http_request *r = w->request;
    cop_json_read_options options = COP_JSON_READ_OPTIONS_INIT;
    cop_error error = COP_ERROR_INIT;
    options.merge_patch = r->method == COP_HTTP_PATCH;
    options.max_bytes = r->server->options.max_body_bytes;
    const char *text = r->body.data ? r->body.data : "";
    cop_status status = r->json_patch
                            ? cop_patch_apply(txn, w->path, w->length, COP_PATCH_JSON, text,
                                              r->body.length, &error)
                            : cop_json_read(txn, w->path, w->length, text, r->body.length,
                                            &options, &error);
    return status == COP_OK ? COP_OK : failed(problem, status, &error);
}

static cop_status
add_erasure(cop_txn *txn, struct write *w, struct cop__problem *problem)
{
    cop_error error = COP_ERROR_INIT;
    cop_status status = cop_txn_erase_at(txn, w->path, w->length, &error);
    return status == COP_OK ? COP_OK : failed(problem, status, &error);
}

static cop_status
build_write(cop_txn *txn, void *context, struct cop__problem *problem)
{
    struct write *w = context;
    cop_status status = check_conditions(txn, w, problem);
    if (status != COP_OK)
        return status;
    if (w->request->method == COP_HTTP_DELETE)
        return add_erasure(txn, w, problem);
    return add_document(txn, w, problem);
}

static bool
prepare(struct cop__http_request *r, struct write *w)
{
    w->request = r;
    w->if_match =
        MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_IF_MATCH);
    w->if_none_match =
        MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_IF_NONE_MATCH);
    if (!cop__http_path(r->rest, w->path, &w->length, &r->problem))
        return false;
    if (r->method == COP_HTTP_DELETE && w->length == 0)
        return cop__problem_set(&r->problem, COP_PROBLEM_STATE,
                                "the root cannot be erased: PUT {} empties it");
    return true;
}

enum MHD_Result
cop__http_state_write(struct cop__http_request *r)
{
    struct write w = {0};
    uint64_t version = 0;
    if (!prepare(r, &w) ||
        cop__http_commit(r->server, build_write, &w, &version, &r->problem) != COP_OK)
        return cop__http_reply_problem(r, &r->problem);
    bool created = w.created && r->method != COP_HTTP_DELETE;
    return cop__http_reply_json(r, created ? MHD_HTTP_CREATED : MHD_HTTP_OK,
                                json_pack("{s:I}", "version", (json_int_t)version), NULL);
}

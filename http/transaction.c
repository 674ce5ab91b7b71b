/* SPDX-License-Identifier: MIT */
/*
 * POST /v1/transaction: {"operations": [...], "preconditions": [...]}, all or nothing. The answer
 * is
 * {"version": N, "applied": [...]} with one entry for each operation: true, but for a compare_set
 * that found another value.
 */
#include "http/internal.h"
#include "http/operations.h"

#include <stdlib.h>
#include <string.h>

struct batch {
    const json_t *operations;    /* an array */
    const json_t *preconditions; /* an array, or NULL */
    bool *applied;
};

/* Tells which of a list the problem is in. */
static cop_status
at(struct cop__problem *problem, const char *list, size_t index, cop_status status)
{
    problem->list = list;
    problem->index = (int)index;
    return status;
}

static cop_status
build_batch(cop_txn *txn, void *context, struct cop__problem *problem)
{
    struct batch *b = context;
    size_t count = json_array_size(b->operations);
    for (size_t i = 0; i < json_array_size(b->preconditions); i++) {
        cop_status status =
            cop__precondition_add(txn, json_array_get(b->preconditions, i), problem);
        if (status != COP_OK)
            return at(problem, "precondition", i, status);
    }
    for (size_t i = 0; i < count; i++) {
        b->applied[i] = true;
        cop_status status =
            cop__operation_add(txn, json_array_get(b->operations, i), &b->applied[i], problem);
        if (status != COP_OK)
            return at(problem, "operation", i, status);
    }
    return COP_OK;
}

static json_t *
parse_body(struct cop__http_request *r)
{
    json_error_t error;
    json_t *body = json_loadb(r->body.data ? r->body.data : "", r->body.length,
                              JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (body)
        return body;
    cop__problem_set(&r->problem, COP_PROBLEM_JSON, "%s", error.text);
    r->problem.error.line = error.line > 0 ? (uint32_t)error.line : 0;
    r->problem.error.column = error.column > 0 ? (uint32_t)error.column : 0;
    return NULL;
}

static bool
check_shape(const json_t *body, struct batch *b, struct cop__problem *problem)
{
    static const char *const members[] = {"operations", "preconditions", NULL};
    b->operations = json_object_get(body, "operations");
    b->preconditions = json_object_get(body, "preconditions");
    if (!json_is_array(b->operations) || (b->preconditions && !json_is_array(b->preconditions)))
        return cop__problem_set(problem, COP_PROBLEM_REQUEST,
                                "an object with the array \"operations\" is wanted, and perhaps "
                                "the array \"preconditions\"");
    return cop__members_known(body, members, problem);
}

static json_t *
answer(const struct batch *b, uint64_t version)
{
    json_t *applied = json_array();
    for (size_t i = 0; i < json_array_size(b->operations); i++)
        json_array_append_new(applied, json_boolean(b->applied[i]));
    return json_pack("{s:I,s:o}", "version", (json_int_t)version, "applied", applied);
}

static enum MHD_Result
run_batch(struct cop__http_request *r, struct batch *b)
{
    uint64_t version = 0;
    size_t count = json_array_size(b->operations);
    b->applied = calloc(count ? count : 1, sizeof *b->applied);
    if (!b->applied)
        return MHD_NO;
    cop_status status = cop__http_commit(r->server, build_batch, b, &version, &r->problem);
    enum MHD_Result result = status == COP_OK
                                 ? cop__http_reply_json(r, MHD_HTTP_OK, answer(b, version), NULL)
                                 : cop__http_reply_problem(r, &r->problem);
    free(b->applied);
    return result;
}

enum MHD_Result
cop__http_transaction(struct cop__http_request *r)
{
    struct batch b = {0};
    json_t *body = parse_body(r);
    bool good = body && check_shape(body, &b, &r->problem);
    enum MHD_Result result = good ? run_batch(r, &b) : cop__http_reply_problem(r, &r->problem);
    json_decref(body);
    return result;
}

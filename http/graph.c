/* SPDX-License-Identifier: MIT */
/* GET /v1/graph: nodes and edges of the graph of computed atoms, all or around one. */
#include "http/internal.h"

#include <coppice/graph.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#define DEPTH_MAX 64
#define MOST 10000
#define MOST_MAX 1000000
#define DEADLINE_MS 5000

json_t *
cop__http_value_json(const cop_value *value)
{
    switch ((cop_type)value->type) {
    case COP_NULL:
        return json_null();
    case COP_BOOL:
        return json_boolean(cop_value_bool(value));
    case COP_I64:
        return json_integer(cop_value_i64(value));
    case COP_F64:
        return json_real(cop_value_f64(value));
    case COP_STRING:
        return cop__json_text(cop_value_data(value), cop_value_length(value));
    case COP_BYTES:
        return json_pack("{s:I}", "$bytes_length", (json_int_t)cop_value_length(value));
    case COP_ERROR:
        return json_pack("{s:o}", "$error",
                         cop__json_text(cop_value_data(value), cop_value_length(value)));
    default:
        return NULL;
    }
}

struct query {
    char path[COP_PATH_MAX + 1];
    size_t length;
    bool around, good;
    uint64_t depth, most;
    struct cop__problem *problem;
};

static enum MHD_Result
take_argument(void *context, enum MHD_ValueKind kind, const char *key, const char *value)
{
    struct query *q = context;
    (void)kind;
    if (strcmp(key, "around") == 0)
        q->good = q->around =
            cop__http_path_argument(value ? value : "", q->path, &q->length, q->problem);
    else if (strcmp(key, "depth") == 0)
        q->good = cop__http_number(value, DEPTH_MAX, &q->depth);
    else if (strcmp(key, "most") == 0)
        q->good = cop__http_number(value, MOST_MAX, &q->most) && q->most > 0;
    else
        q->good = strcmp(key, "pretty") == 0;
    return q->good ? MHD_YES : MHD_NO;
}

static bool
parse_query(struct cop__http_request *r, struct query *q)
{
    q->good = true;
    q->problem = &r->problem;
    q->depth = 1;
    q->most = MOST;
    MHD_get_connection_values(r->connection, MHD_GET_ARGUMENT_KIND, take_argument, q);
    if (q->good)
        return true;
    if (r->problem.kind == COP_PROBLEM_NONE)
        cop__problem_set(&r->problem, COP_PROBLEM_REQUEST,
                         "the query is around=PATH, depth=N (0 to %d), most=N (1 to %d) and pretty",
                         DEPTH_MAX, MOST_MAX);
    return false;
}

struct document {
    json_t *nodes, *edges;
};

/* Nodes are told apart by their atoms, and effects by their order. */
static json_t *
id_of(cop_atom atom, const char *nowhere, size_t number)
{
    char text[32];
    if (atom.generation == 0 && nowhere)
        return json_sprintf("absent:%s", nowhere);
    if (atom.generation == 0)
        snprintf(text, sizeof text, "effect:%zu", number);
    else
        snprintf(text, sizeof text, "%u.%u", atom.id, atom.generation);
    return json_string(text);
}

static void
add_edge(struct document *d, const json_t *to, const cop_graph_edge *edge)
{
    json_t *json = json_object();
    json_object_set_new(json, "from", id_of(edge->atom, edge->path, 0));
    json_object_set(json, "to", (json_t *)(uintptr_t)to);
    json_object_set_new(json, "on", json_string(cop_depends_name(edge->what)));
    json_object_set_new(json, "reads", json_integer(edge->reads));
    if (edge->path)
        json_object_set_new(json, "path", cop__json_text(edge->path, strlen(edge->path)));
    json_array_append_new(d->edges, json);
}

static int
add_node(void *context, const cop_graph_node *node)
{
    struct document *d = context;
    json_t *json = json_object(), *id = id_of(node->atom, NULL, json_array_size(d->nodes));
    json_object_set_new(json, "id", id);
    if (*node->path)
        json_object_set_new(json, "path", cop__json_text(node->path, strlen(node->path)));
    if (*node->label)
        json_object_set_new(json, "label", cop__json_text(node->label, strlen(node->label)));
    json_object_set_new(json, "kind", json_string(cop_graph_kind_name(node->kind)));
    json_object_set_new(json, "height", json_integer(node->height));
    json_object_set_new(json, "distance", json_integer(node->distance));
    json_object_set_new(json, "dependents", json_integer(node->dependents));
    json_object_set_new(json, "cycle", json_boolean(node->cycle));
    json_object_set_new(json, "looked", json_boolean(node->looked));
    json_array_append_new(d->nodes, json);
    for (size_t i = 0; i < node->edge_count; i++)
        add_edge(d, id, &node->edges[i]);
    return 0;
}

enum MHD_Result
cop__http_graph(struct cop__http_request *r)
{
    struct query q = {0};
    cop_graph_query query = COP_GRAPH_QUERY_INIT;
    cop_atom atom;
    cop_status status = COP_OK;
    if (!parse_query(r, &q))
        return cop__http_reply_problem(r, &r->problem);
    if (q.around) {
        status = cop_atom_find(r->server->store, q.path, q.length, &atom);
        query.around = &atom;
    }
    query.depth = (uint32_t)q.depth;
    query.most = (uint32_t)q.most;
    query.deadline = cop_deadline_in_ms(DEADLINE_MS);
    struct document d = {json_array(), json_array()};
    if (status == COP_OK)
        status = cop_graph_each(r->server->store, &query, add_node, &d, NULL);
    json_t *json = json_pack("{s:b,s:o,s:o}", "complete", status == COP_OK, "nodes", d.nodes, "edges",
                             d.edges);
    if (status == COP_OK || status == COP_E_LIMIT)
        return cop__http_reply_json(r, MHD_HTTP_OK, json, NULL);
    json_decref(json);
    cop__problem_reading(&r->problem, status, NULL);
    return cop__http_reply_problem(r, &r->problem);
}

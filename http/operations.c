/* SPDX-License-Identifier: MIT */
/*
 * Operations of a transaction from their JSON. A value goes to the store as JSON text again, so
 * that there is one meaning of JSON: cop_json_read's.
 */
#include "http/operations.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct operation {
    cop_txn *txn;
    const json_t *json;
    const char *path;
    size_t length;
    bool *applied;
    struct cop__problem *problem;
};

static cop_status
failed(struct cop__problem *problem, cop_status status, const cop_error *error)
{
    cop__problem_status(problem, status, error);
    return status;
}

bool
cop__member_path(const json_t *object, const char *name, const char **path, size_t *length,
                 struct cop__problem *problem)
{
    const json_t *text = json_object_get(object, name);
    cop_error error = COP_ERROR_INIT;
    if (!json_is_string(text))
        return cop__problem_set(problem, COP_PROBLEM_REQUEST, "\"%s\" must be a string", name);
    *path = json_string_value(text);
    *length = json_string_length(text);
    cop_status status = cop_path_check(*path, *length, &error);
    return status == COP_OK ||
           (cop__problem_status(problem, COP_E_PATH, &error), /* LIMIT too is the path's fault */
            false);
}

bool
cop__members_known(const json_t *object, const char *const *names, struct cop__problem *problem)
{
    for (void *at = json_object_iter((json_t *)object); at;
         at = json_object_iter_next((json_t *)object, at)) {
        const char *const *name = names;
        while (*name && strcmp(*name, json_object_iter_key(at)) != 0)
            name++;
        if (!*name)
            return cop__problem_set(problem, COP_PROBLEM_REQUEST, "unknown member \"%.64s\"",
                                    json_object_iter_key(at));
    }
    return true;
}

static char *
text_of(const json_t *json)
{
    return json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY);
}

/* Line and column would be of a text that the client has not seen. */
static cop_status
failed_inside(struct cop__problem *problem, cop_status status, cop_error *error)
{
    error->line = 0;
    error->column = 0;
    error->position = SIZE_MAX;
    return failed(problem, status, error);
}

bool
cop__scalar_of(const json_t *json, cop_value *value, struct cop__problem *problem)
{
    cop_error error = COP_ERROR_INIT;
    char *text = text_of(json);
    cop_status status = text ? cop_json_scalar(text, strlen(text), value, &error) : COP_E_MEMORY;
    free(text);
    if (status == COP_E_TYPE)
        return cop__problem_set(problem, COP_PROBLEM_REQUEST,
                                "a plain value is wanted here, no object or array");
    if (status != COP_OK)
        failed_inside(problem, status, &error);
    return status == COP_OK;
}

static cop_status
read_value(const struct operation *o, const json_t *value, const char *path, size_t length)
{
    cop_error error = COP_ERROR_INIT;
    char *text = text_of(value);
    cop_status status =
        text ? cop_json_read(o->txn, path, length, text, strlen(text), NULL, &error) : COP_E_MEMORY;
    free(text);
    return status == COP_OK ? COP_OK : failed_inside(o->problem, status, &error);
}

static cop_status
malformed(const struct operation *o, const char *what)
{
    cop__problem_set(o->problem, COP_PROBLEM_REQUEST, "%s", what);
    return COP_E_INVALID;
}

static cop_status
find(const struct operation *o, cop_atom *atom)
{
    cop_error error = COP_ERROR_INIT;
    cop_status status = cop_txn_find(o->txn, o->path, o->length, atom, &error);
    if (status != COP_OK)
        cop__problem_reading(o->problem, status, &error);
    return status;
}

static cop_status
apply_set(const struct operation *o)
{
    return read_value(o, json_object_get(o->json, "value"), o->path, o->length);
}

static cop_status
apply_erase(const struct operation *o)
{
    cop_error error = COP_ERROR_INIT;
    cop_status status = cop_txn_erase_at(o->txn, o->path, o->length, &error);
    return status == COP_OK ? COP_OK : failed(o->problem, status, &error);
}

static cop_status
apply_clear(const struct operation *o)
{
    cop_error error = COP_ERROR_INIT;
    cop_status status = cop_txn_clear_at(o->txn, o->path, o->length, &error);
    return status == COP_OK ? COP_OK : failed(o->problem, status, &error);
}

static cop_status
apply_number(const struct operation *o,
             cop_status (*add)(cop_txn *txn, cop_atom atom, const cop_value *value))
{
    cop_atom atom;
    cop_value value;
    cop_status status = find(o, &atom);
    if (status != COP_OK)
        return status;
    if (!cop__scalar_of(json_object_get(o->json, "value"), &value, o->problem))
        return COP_E_INVALID;
    status = add(o->txn, atom, &value);
    cop_value_free(&value);
    return status == COP_OK ? COP_OK : failed(o->problem, status, NULL);
}

static cop_status
apply_add(const struct operation *o)
{
    return apply_number(o, cop_txn_add);
}

static cop_status
apply_max(const struct operation *o)
{
    return apply_number(o, cop_txn_max);
}

static cop_status
apply_compare_set(const struct operation *o)
{
    cop_atom atom;
    cop_value expected, desired;
    cop_status status = find(o, &atom);
    if (status != COP_OK)
        return status;
    if (!cop__scalar_of(json_object_get(o->json, "expected"), &expected, o->problem))
        return COP_E_INVALID;
    if (!cop__scalar_of(json_object_get(o->json, "value"), &desired, o->problem)) {
        cop_value_free(&expected);
        return COP_E_INVALID;
    }
    status = cop_txn_compare_set(o->txn, atom, &expected, &desired, o->applied);
    cop_value_free(&expected);
    cop_value_free(&desired);
    return status == COP_OK ? COP_OK : failed(o->problem, status, NULL);
}

/* That the atom is an array becomes a condition: below an object "-" would be a name. */
static cop_status
find_array(const struct operation *o, cop_atom *array)
{
    cop_value value;
    cop_status status = find(o, array);
    if (status == COP_OK && (status = cop_txn_get(o->txn, *array, &value)) != COP_OK)
        return failed(o->problem, status, NULL);
    if (status == COP_OK && cop_value_type(&value) != COP_ARRAY) {
        cop__problem_set(o->problem, COP_PROBLEM_STATE, "insert: no array at this path");
        status = COP_E_NOT_BRANCH;
    }
    return status;
}

/* A place is made first, and the value, which may be a whole document, read into it by path. */
static cop_status
apply_insert(const struct operation *o)
{
    const json_t *index = json_object_get(o->json, "index");
    char path[COP_PATH_MAX + 16], place[16] = "-";
    const cop_value null = cop_null();
    cop_atom array;
    if (index && (!json_is_integer(index) || json_integer_value(index) < 0 ||
                  json_integer_value(index) >= UINT32_MAX))
        return malformed(o, "\"index\" must be a position, or left out to append");
    cop_status status = find_array(o, &array);
    if (status != COP_OK)
        return status;
    if (index) {
        uint32_t position = (uint32_t)json_integer_value(index);
        snprintf(place, sizeof place, "%u", position);
        status = cop_txn_insert(o->txn, array, position, &null, NULL);
        if (status != COP_OK)
            return failed(o->problem, status, NULL);
    }
    int n = snprintf(path, sizeof path, "%s%s%s", o->path, o->length ? "/" : "", place);
    return read_value(o, json_object_get(o->json, "value"), path, (size_t)n);
}

static const struct kind {
    const char *name;
    const char *members[6]; /* that it may have; those before NULL it must have, index apart */
    cop_status (*apply)(const struct operation *operation);
} kinds[] = {
    {"set", {"op", "path", "value", NULL}, apply_set},
    {"erase", {"op", "path", NULL}, apply_erase},
    {"clear", {"op", "path", NULL}, apply_clear},
    {"add", {"op", "path", "value", NULL}, apply_add},
    {"max", {"op", "path", "value", NULL}, apply_max},
    {"compare_set", {"op", "path", "value", "expected", NULL}, apply_compare_set},
    {"insert", {"op", "path", "value", "index", NULL}, apply_insert},
};

static const struct kind *
kind_of(const char *name)
{
    for (size_t i = 0; name && i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i].name, name) == 0)
            return &kinds[i];
    return NULL;
}

static bool
check_members(const struct operation *o, const struct kind *kind)
{
    for (const char *const *name = kind->members; *name; name++)
        if (strcmp(*name, "index") != 0 && !json_object_get(o->json, *name))
            return cop__problem_set(o->problem, COP_PROBLEM_REQUEST, "%s wants \"%s\"", kind->name,
                                    *name);
    return cop__members_known(o->json, kind->members, o->problem);
}

cop_status
cop__operation_add(cop_txn *txn, const json_t *json, bool *applied, struct cop__problem *problem)
{
    struct operation o = {txn, json, NULL, 0, applied, problem};
    const struct kind *kind = kind_of(json_string_value(json_object_get(json, "op")));
    if (!kind)
        return malformed(&o, "\"op\" is set, erase, clear, add, max, compare_set or insert");
    if (!check_members(&o, kind) || !cop__member_path(json, "path", &o.path, &o.length, problem))
        return COP_E_INVALID;
    return kind->apply(&o);
}

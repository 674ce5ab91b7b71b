/* SPDX-License-Identifier: MIT */
/*
 * GET and PATCH of /v1/options: the store's options as one flat object, and a merge patch of it.
 * Only live options can be changed, all or nothing; null brings back an option's default.
 *
 * Everything is checked before anything is changed. What may fail after that is the resizing of the
 * pool; then the store's options are put back.
 */
#include "http/internal.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#define DEADLINE_MS 10000
#define THREADS "workers.threads"

/* ---- telling ---- */

static const cop_option_info *
info_of(const char *name)
{
    for (size_t i = 0; i < cop_options_count(); i++)
        if (strcmp(cop_options_info(i)->name, name) == 0)
            return cop_options_info(i);
    return NULL;
}

/* A number that JSON readers may not keep exact is a string. */
static json_t *
number_json(uint64_t n)
{
    char text[24];
    if (n <= INT64_MAX)
        return json_integer((json_int_t)n);
    snprintf(text, sizeof text, "%llu", (unsigned long long)n);
    return json_string(text);
}

static json_t *
value_json(const cop_options *options, const cop_option_info *info)
{
    char text[64];
    cop_options_get(options, info->name, text, sizeof text);
    if (info->kind == COP_OPTION_ENUM)
        return json_string(text);
    if (info->kind == COP_OPTION_BOOL)
        return json_boolean(strcmp(text, "true") == 0);
    return number_json(strtoull(text, NULL, 10));
}

static json_t *
describe(const cop_options *options, const cop_option_info *info)
{
    static const char *const types[] = {"bool", "number", "choice"};
    cop_options defaults;
    cop_options_init(&defaults);
    json_t *json = json_object();
    json_object_set_new(json, "value", value_json(options, info));
    json_object_set_new(json, "default", value_json(&defaults, info));
    json_object_set_new(json, "live", json_boolean(info->live));
    json_object_set_new(json, "type", json_string(types[info->kind]));
    if (info->kind == COP_OPTION_U64) {
        json_object_set_new(json, "minimum", number_json(info->minimum));
        json_object_set_new(json, "maximum", number_json(info->maximum));
    }
    if (info->kind == COP_OPTION_ENUM) {
        json_t *choices = json_array();
        for (uint64_t i = 0; i <= info->maximum; i++)
            json_array_append_new(choices, json_string(info->choices[i]));
        json_object_set_new(json, "choices", choices);
    }
    json_object_set_new(json, "environment", json_string(info->environment));
    json_object_set_new(json, "help", json_string(info->help));
    return json;
}

static enum MHD_Result
reply_options(struct cop__http_request *r, const cop_options *options, bool details)
{
    json_t *json = json_object();
    for (size_t i = 0; i < cop_options_count(); i++) {
        const cop_option_info *info = cop_options_info(i);
        json_object_set_new(json, info->name,
                            details ? describe(options, info) : value_json(options, info));
    }
    return cop__http_reply_json(r, MHD_HTTP_OK, json, NULL);
}

static bool
read_options(struct cop__http_request *r, cop_options *options)
{
    cop_options_init(options);
    cop_status status = cop_store_options(r->server->store, options);
    return status == COP_OK || cop__problem_status(&r->problem, status, NULL);
}

struct query {
    bool details, good;
};

static enum MHD_Result
take_argument(void *context, enum MHD_ValueKind kind, const char *key, const char *value)
{
    struct query *q = context;
    (void)kind;
    (void)value;
    if (strcmp(key, "details") == 0)
        q->details = true;
    else if (strcmp(key, "pretty") != 0)
        q->good = false;
    return q->good ? MHD_YES : MHD_NO;
}

enum MHD_Result
cop__http_options_get(struct cop__http_request *r)
{
    cop_options options;
    struct query q = {.good = true};
    MHD_get_connection_values(r->connection, MHD_GET_ARGUMENT_KIND, take_argument, &q);
    if (!q.good)
        cop__problem_set(&r->problem, COP_PROBLEM_REQUEST, "the query is pretty and details");
    else if (read_options(r, &options))
        return reply_options(r, &options, q.details);
    return cop__http_reply_problem(r, &r->problem);
}

/* ---- changing ---- */

static bool
refuse(struct cop__problem *problem, cop__problem_kind kind, const char *name, const char *detail)
{
    bool named = strncmp(detail, name, strlen(name)) == 0;
    cop__problem_set(problem, kind, "%.60s%s%s; nothing has changed", named ? "" : name,
                     named ? "" : ": ", detail);
    snprintf(problem->option, sizeof problem->option, "%.60s", name);
    return false;
}

/* The text that cop_options_set reads; false for what no option is. */
static bool
text_of(const json_t *value, const cop_option_info *info, char *text, size_t size)
{
    cop_options defaults;
    cop_options_init(&defaults);
    if (json_is_null(value))
        return cop_options_get(&defaults, info->name, text, size) == COP_OK;
    if (json_is_boolean(value))
        return snprintf(text, size, "%s", json_is_true(value) ? "true" : "false") > 0;
    if (json_is_integer(value))
        return snprintf(text, size, "%lld", (long long)json_integer_value(value)) > 0;
    return json_is_string(value) && strlen(json_string_value(value)) == json_string_length(value) &&
           (size_t)snprintf(text, size, "%s", json_string_value(value)) < size;
}

static bool
take_member(struct cop__http_request *r, cop_options *options, const char *name,
            const json_t *value)
{
    char text[96];
    const cop_option_info *info = info_of(name);
    cop_options before = *options;
    cop_error error = COP_ERROR_INIT;
    if (!info)
        return refuse(&r->problem, COP_PROBLEM_OPTION, name, "there is no such option");
    if (!text_of(value, info, text, sizeof text))
        return refuse(&r->problem, COP_PROBLEM_OPTION, name,
                      "a number, true, false, a string or null is wanted");
    if (cop_options_set(options, name, text, &error) != COP_OK)
        return refuse(&r->problem, COP_PROBLEM_OPTION, name, error.message);
    if (!info->live && memcmp(&before, options, sizeof before) != 0)
        return refuse(&r->problem, COP_PROBLEM_OPTION_FIXED, name,
                      "this option is fixed when the store is opened");
    return true;
}

static bool
take_patch(struct cop__http_request *r, const json_t *patch, cop_options *options)
{
    const char *name;
    json_t *value;
    if (!json_is_object(patch))
        return cop__problem_set(&r->problem, COP_PROBLEM_REQUEST,
                                "an object of options by name is wanted");
    json_object_foreach((json_t *)(uintptr_t)patch, name, value)
    {
        if (!take_member(r, options, name, value))
            return false;
    }
    return true;
}

static cop_status
resize(struct cop_http_server *server, const cop_options *options)
{
    uint64_t threads = options->workers_threads;
    if (threads == 0)
        threads = cop_cpus_usable() - 1; /* one does what this process does besides */
    return cop_pool_resize(server->options.pool, (uint32_t)threads);
}

static cop_status
fail_threads(cop_error *error, cop_status status, const char *why)
{
    if (!error)
        return status;
    *error = (cop_error)COP_ERROR_INIT;
    error->status = status;
    snprintf(error->message, sizeof error->message, THREADS ": %s", why);
    return status;
}

/* The pool, once the store agrees; both as before when that fails. Needs the mutex. */
static cop_status
apply(struct cop_http_server *server, const cop_options *before, const cop_options *next,
      cop_error *error)
{
    bool threads = before->workers_threads != next->workers_threads;
    if (threads && !server->options.pool)
        return fail_threads(error, COP_E_STATE, "this server was opened without a pool");
    uint64_t deadline = cop_deadline_in_ms(DEADLINE_MS);
    cop_status status = cop_store_reconfigure(server->store, next, deadline, error);
    if (status != COP_OK || !threads)
        return status;
    status = resize(server, next);
    if (status == COP_OK)
        return COP_OK;
    (void)resize(server, before);
    (void)cop_store_reconfigure(server->store, before, deadline, NULL);
    return fail_threads(error, status, cop_status_message(status));
}

cop_status
cop_http_reconfigure(cop_http_server *server, const cop_options *options, cop_error *error)
{
    cop_options before;
    cop_status status = cop_options_check(options, error);
    if (status != COP_OK)
        return status;
    cop_options_init(&before);
    pthread_mutex_lock(&server->options_mutex);
    (void)cop_store_options(server->store, &before); /* it is open while it is served */
    status = apply(server, &before, options, error);
    pthread_mutex_unlock(&server->options_mutex);
    return status;
}

/* Of what is left to refuse only the threads are of one option. */
static bool
refuse_change(struct cop__problem *problem, cop_status status, const cop_error *error)
{
    bool threads = strncmp(error->message, THREADS ": ", sizeof THREADS + 1) == 0;
    if (threads && status == COP_E_STATE)
        return refuse(problem, COP_PROBLEM_OPTION_FIXED, THREADS, error->message);
    cop__problem_status(problem, status, error);
    if (threads)
        snprintf(problem->option, sizeof problem->option, THREADS);
    return false;
}

static bool
change(struct cop__http_request *r, const json_t *patch, cop_options *options)
{
    cop_options before;
    cop_error error = COP_ERROR_INIT;
    if (!read_options(r, &before))
        return false;
    *options = before;
    if (!take_patch(r, patch, options))
        return false;
    cop_status status = apply(r->server, &before, options, &error);
    return status == COP_OK ? read_options(r, options) : refuse_change(&r->problem, status, &error);
}

enum MHD_Result
cop__http_options_patch(struct cop__http_request *r)
{
    json_error_t fault;
    cop_options options;
    json_t *patch = json_loadb(r->body.data ? r->body.data : "", r->body.length,
                               JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &fault);
    bool good = false;
    if (patch) {
        pthread_mutex_lock(&r->server->options_mutex);
        good = change(r, patch, &options);
        pthread_mutex_unlock(&r->server->options_mutex);
        json_decref(patch);
    } else {
        cop__problem_set(&r->problem, COP_PROBLEM_JSON, "%s", fault.text);
        r->problem.error.line = fault.line > 0 ? (uint32_t)fault.line : 0;
        r->problem.error.column = fault.column > 0 ? (uint32_t)fault.column : 0;
    }
    return good ? reply_options(r, &options, false) : cop__http_reply_problem(r, &r->problem);
}

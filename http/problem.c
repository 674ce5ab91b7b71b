/* SPDX-License-Identifier: MIT */
/* RFC 9457 documents from the table in problem.h. */
#include "http/problem.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    unsigned status;
    const char *title;
    const char *explanation;
} problems[COP_PROBLEM_KINDS] = {
#define COP_PROBLEM_ROW(name, text, status, title, explanation) \
    [COP_PROBLEM_##name] = {text, status, title, explanation},
    COP_PROBLEM_MAP(COP_PROBLEM_ROW)
#undef COP_PROBLEM_ROW
};

bool
cop__problem_set(struct cop__problem *problem, cop__problem_kind kind, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    problem->kind = kind;
    problem->index = -1;
    problem->option[0] = '\0';
    problem->error = (cop_error)COP_ERROR_INIT;
    vsnprintf(problem->detail, sizeof problem->detail, format, arguments);
    va_end(arguments);
    return false;
}

static cop__problem_kind
kind_of(cop_status status)
{
    switch (status) {
    case COP_E_ABSENT:
    case COP_E_GONE:
    case COP_E_EXPIRED:
        return COP_PROBLEM_ABSENT;
    case COP_E_PATH:
        return COP_PROBLEM_PATH;
    case COP_E_SYNTAX:
        return COP_PROBLEM_JSON;
    case COP_E_LIMIT:
        return COP_PROBLEM_TOO_LARGE;
    case COP_E_MEMORY:
        return COP_PROBLEM_MEMORY;
    case COP_E_CLOSING:
    case COP_E_FORKED:
        return COP_PROBLEM_CLOSING;
    case COP_E_CONFLICT:
    case COP_E_TIMEOUT:
        return COP_PROBLEM_CONTENTION;
    case COP_E_STATE:
    case COP_E_COMPUTED:
    case COP_E_TYPE:
    case COP_E_BRANCH:
    case COP_E_NOT_BRANCH:
    case COP_E_RANGE:
        return COP_PROBLEM_STATE;
    case COP_E_INVALID:
        return COP_PROBLEM_REQUEST;
    default:
        return COP_PROBLEM_INTERNAL;
    }
}

bool
cop__problem_status(struct cop__problem *problem, cop_status status, const cop_error *error)
{
    bool told = error && error->message[0];
    cop__problem_set(problem, kind_of(status), "%s",
                     told ? error->message : cop_status_message(status));
    if (error)
        problem->error = *error;
    return false;
}

bool
cop__problem_reading(struct cop__problem *problem, cop_status status, const cop_error *error)
{
    cop__problem_status(problem, status, error);
    if (status == COP_E_LIMIT)
        problem->kind = COP_PROBLEM_BUSY;
    return false;
}

unsigned
cop__problem_http_status(cop__problem_kind kind)
{
    return problems[kind].status;
}

json_t *
cop__json_text(const char *text, size_t n)
{
    json_t *json = json_stringn(text, n);
    if (json)
        return json;
    char *plain = malloc(n ? n : 1);
    if (!plain)
        return NULL;
    for (size_t i = 0; i < n; i++)
        plain[i] = (unsigned char)text[i] < 0x80 ? text[i] : '?';
    json = json_stringn(plain, n);
    free(plain);
    return json;
}

static void
add_place(json_t *document, const struct cop__problem *problem)
{
    const cop_error *error = &problem->error;
    if (problem->index >= 0)
        json_object_set_new(document, problem->list, json_integer(problem->index));
    if (problem->option[0])
        json_object_set_new(document, "option",
                            cop__json_text(problem->option, strlen(problem->option)));
    if (error->line) {
        json_object_set_new(document, "line", json_integer(error->line));
        json_object_set_new(document, "column", json_integer(error->column));
    }
    if (error->position != SIZE_MAX)
        json_object_set_new(document, "position", json_integer((json_int_t)error->position));
    if (error->status != COP_OK)
        json_object_set_new(document, "code", json_string(cop_status_name(error->status)));
}

json_t *
cop__problem_document(const struct cop__problem *problem)
{
    char type[64];
    snprintf(type, sizeof type, "/problems/%s", problems[problem->kind].name);
    json_t *document = json_object();
    if (!document)
        return NULL;
    json_object_set_new(document, "type", json_string(type));
    json_object_set_new(document, "title", json_string(problems[problem->kind].title));
    json_object_set_new(document, "status", json_integer(problems[problem->kind].status));
    json_object_set_new(document, "detail",
                        cop__json_text(problem->detail, strlen(problem->detail)));
    add_place(document, problem);
    return document;
}

const char *
cop__problem_explanation(const char *name)
{
    for (size_t i = 1; i < COP_PROBLEM_KINDS; i++)
        if (strcmp(problems[i].name, name) == 0)
            return problems[i].explanation;
    return NULL;
}

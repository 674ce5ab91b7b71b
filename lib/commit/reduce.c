/* SPDX-License-Identifier: MIT */
/* Defining reducers and groups. */
#include "commit/define.h"

#include <coppice/reduce.h>

#include "commit/combiner.h"
#include "store/log.h"

static const cop_reduce_options defaults = COP_REDUCE_OPTIONS_INIT;

/* What the caller asked for, before it is in a transaction. */
typedef struct reduce_request {
    const char *path, *pattern, *key, *value; /* key NULL: no groups */
    size_t length, pattern_length;
    cop_reduction reduction;
    cop_reduce_options options;
} reduce_request;

static cop__reduce_rule
rule_of(const reduce_request *request)
{
    const cop_reduce_options *options = &request->options;
    return (cop__reduce_rule){.kind = request->reduction,
                              .k = options->k,
                              .zero = options->zero,
                              .combine = options->combine,
                              .inverse = options->inverse,
                              .context = options->context};
}

static cop_status
options_take(const cop_reduce_options *given, cop_reduce_options *options, cop_error *error)
{
    *options = defaults;
    if (given == NULL)
        return COP_OK;
    if (given->size < sizeof given->size || given->size > sizeof *options)
        return cop__fail(error, COP_E_INVALID, "options.size is %zu, expected %zu", given->size,
                         sizeof *options);
    memcpy(options, given, given->size);
    return COP_OK;
}

static cop_status
rule_check(const reduce_request *request, cop_error *error)
{
    cop__reduce_rule rule = rule_of(request);
    if ((unsigned)rule.kind > COP_REDUCE_CUSTOM)
        return cop__fail(error, COP_E_INVALID, "the reduction is %u, expected 0 to %u",
                         (unsigned)rule.kind, (unsigned)COP_REDUCE_CUSTOM);
    if (rule.kind == COP_REDUCE_TOP && rule.k == 0)
        return cop__fail(error, COP_E_INVALID, "options.k is 0: the top of none");
    if (rule.kind == COP_REDUCE_CUSTOM && rule.combine == NULL)
        return cop__fail(error, COP_E_INVALID, "a custom reduction needs options.combine");
    if (cop__reduce_rule_check(&rule) != COP_OK)
        return cop__fail(error, COP_E_INVALID, "options.zero is no number, bool or short string");
    return COP_OK;
}

static bool
owns_branch(const reduce_request *request)
{
    return request->key != NULL || request->reduction == COP_REDUCE_TOP;
}

static cop_status
path_check(const reduce_request *request, cop_error *error)
{
    if (request->path == NULL)
        return owns_branch(request)
                   ? cop__fail(error, COP_E_INVALID, "an owner of a branch needs a path")
                   : COP_OK;
    if (request->length == 0)
        return cop__fail(error, COP_E_INVALID, "the root cannot be computed");
    return cop_path_check(request->path, request->length, error);
}

/* A key as a segment, into the arena; the pattern that ends with it must not be too long. */
static cop_status
key_take(cop_txn *txn, const reduce_request *request, const char *key, const char **segment,
         size_t *segment_length, cop_error *error)
{
    char text[COP_PATH_MAX];
    cop_status status =
        cop_path_escape(key, strlen(key), text, sizeof text, segment_length, error);
    if (status == COP_E_RANGE || (status == COP_OK && request->pattern_length + 1 + *segment_length >
                                                          COP_PATH_MAX))
        return cop__fail(error, COP_E_LIMIT, "pattern and key have more than %u bytes", COP_PATH_MAX);
    if (status != COP_OK)
        return status;
    *segment = cop__definition_keep(txn, text, *segment_length);
    return *segment != NULL ? COP_OK : cop__fail(error, COP_E_MEMORY, "%s",
                                                 cop_status_message(COP_E_MEMORY));
}

static cop_status
add(cop_txn *txn, const reduce_request *request, cop_atom *atom, cop_error *error)
{
    const cop_reduce_options *options = &request->options;
    cop_computed_options computed = COP_COMPUTED_OPTIONS_INIT;
    computed.branch = owns_branch(request);
    computed.label = options->label;
    computed.destroy = options->destroy;
    cop__reduce_definition *reduce = cop__txn_bytes(txn, sizeof *reduce);
    cop__definition *definition =
        cop__definition_make(txn, request->path, request->length, &computed);
    const char *pattern =
        cop__definition_keep(txn, request->pattern, request->pattern_length);
    if (reduce == NULL || definition == NULL || pattern == NULL)
        return cop__fail(error, COP_E_MEMORY, "%s", cop_status_message(COP_E_MEMORY));
    *reduce = (cop__reduce_definition){.pattern = pattern,
                                       .length = request->pattern_length,
                                       .rule = rule_of(request)};
    cop_status status = COP_OK;
    if (request->key != NULL)
        status = key_take(txn, request, request->key, &reduce->key, &reduce->key_length, error);
    if (request->key != NULL && status == COP_OK)
        status = key_take(txn, request, request->value, &reduce->value, &reduce->value_length, error);
    if (status != COP_OK)
        return status;
    definition->context = options->context;
    definition->reduce = reduce;
    return cop__definition_add(txn, definition, options->scope, atom, error);
}

static cop_status
define(cop_store *store, const reduce_request *request, cop_atom *atom, cop_error *error)
{
    cop_txn *txn;
    cop_atom made = {0, 0};
    cop_status status = rule_check(request, error);
    if (status == COP_OK)
        status = path_check(request, error);
    if (status == COP_OK)
        status = cop__pattern_check(request->pattern, request->pattern_length, error);
    if (status != COP_OK)
        return status;
    status = cop_txn_begin(store, &txn);
    if (status != COP_OK)
        return cop__fail(error, status, "%s", cop_status_message(status));
    status = add(txn, request, &made, error);
    if (status != COP_OK) {
        cop_txn_cancel(txn);
        return status;
    }
    status = cop_txn_commit(txn, NULL, error);
    if (status == COP_OK && atom != NULL)
        *atom = made;
    return status;
}

cop_status
cop_reduce_define(cop_store *store, const char *path, size_t length, const char *pattern,
                  size_t pattern_length, cop_reduction reduction,
                  const cop_reduce_options *options, cop_atom *atom, cop_error *error)
{
    reduce_request request = {.path = path,
                       .length = length,
                       .pattern = pattern,
                       .pattern_length = pattern_length,
                       .reduction = reduction};
    if (atom != NULL)
        *atom = (cop_atom){0, 0};
    cop_status status = options_take(options, &request.options, error);
    return status == COP_OK ? define(store, &request, atom, error) : status;
}

cop_status
cop_group_define(cop_store *store, const char *path, size_t length, const char *pattern,
                 size_t pattern_length, const char *key, const char *value,
                 cop_reduction reduction, const cop_reduce_options *options, cop_atom *atom,
                 cop_error *error)
{
    reduce_request request = {.path = path,
                       .length = length,
                       .pattern = pattern,
                       .pattern_length = pattern_length,
                       .key = key,
                       .value = value,
                       .reduction = reduction};
    if (atom != NULL)
        *atom = (cop_atom){0, 0};
    if (key == NULL || value == NULL)
        return cop__fail(error, COP_E_INVALID, "a group needs the names of its key and value");
    cop_status status = options_take(options, &request.options, error);
    return status == COP_OK ? define(store, &request, atom, error) : status;
}

/* SPDX-License-Identifier: MIT */
/* Defining and disposing of computed atoms: operations of transactions like others. */
#include "commit/define.h"

#include "commit/combiner.h"
#include "effect/scope_define.h"
#include "graph/graph.h"
#include "reclaim/gate.h"
#include "store/log.h"

static const cop_computed_options defaults = COP_COMPUTED_OPTIONS_INIT;

static cop_status
options_take(const cop_computed_options *given, cop_computed_options *options, cop_error *error)
{
    *options = defaults;
    if (given == NULL)
        return COP_OK;
    if (given->size < sizeof given->size || given->size > sizeof *options)
        return cop__fail(error, COP_E_INVALID, "options.size is %zu, expected %zu", given->size,
                         sizeof *options);
    memcpy(options, given, given->size);
    if ((unsigned)options->kind > COP_BACKGROUND)
        return cop__fail(error, COP_E_INVALID, "options.kind is %u, expected 0 to 2",
                         (unsigned)options->kind);
    return COP_OK;
}

char *
cop__definition_keep(cop_txn *txn, const char *text, size_t length)
{
    char *kept = cop__txn_bytes(txn, length + 1);
    if (kept != NULL) {
        memcpy(kept, text, length);
        kept[length] = 0;
    }
    return kept;
}

cop__definition *
cop__definition_make(cop_txn *txn, const char *path, size_t length,
                     const cop_computed_options *options)
{
    cop__definition *definition = cop__txn_bytes(txn, sizeof *definition);
    if (definition == NULL)
        return NULL;
    memset(definition, 0, sizeof *definition);
    if (path != NULL) {
        definition->path = cop__definition_keep(txn, path, length);
        definition->length = length;
        if (definition->path == NULL)
            return NULL;
    }
    if (options->label != NULL) {
        definition->label_length = strlen(options->label);
        definition->label = cop__definition_keep(txn, options->label, definition->label_length);
        if (definition->label == NULL)
            return NULL;
    }
    definition->equal = options->equal;
    definition->destroy = options->destroy;
    definition->kind = (uint8_t)options->kind;
    definition->branch = options->branch;
    return definition;
}

cop_status
cop__definition_add(cop_txn *txn, cop__definition *definition, cop_scope *scope, cop_atom *atom,
                    cop_error *error)
{
    definition->out = atom;
    cop__op op = {.code = COP_OP_DEFINE,
                  .text = definition,
                  .value = definition->branch ? cop_object() : cop_null()};
    cop_status status = cop__op_add(txn, &op, NULL);
    if (status != COP_OK)
        return cop__fail(error, status, "%s", cop_status_message(status));
    if (scope != NULL) {
        status = cop__scoped_add(scope, txn->store, &txn->scoped);
        if (status != COP_OK) {
            txn->op_count--;
            return cop__fail(error, status, "options.scope: %s",
                             status == COP_E_STATE ? "it is disposed" : cop_status_message(status));
        }
        definition->scoped = txn->scoped;
    }
    if (atom != NULL)
        *atom = (cop_atom){(uint32_t)txn->op_count - 1, COP_PROVISIONAL};
    return COP_OK;
}

cop_status
cop_txn_define(cop_txn *txn, const char *path, size_t length, cop_computed_function function,
               void *context, const cop_computed_options *given, cop_atom *atom, cop_error *error)
{
    cop_computed_options options;
    if (function == NULL)
        return cop__fail(error, COP_E_INVALID, "a computed atom needs a function");
    cop_status status = options_take(given, &options, error);
    if (status == COP_OK && path != NULL)
        status = cop_path_check(path, length, error);
    if (status != COP_OK)
        return status;
    if (path != NULL && length == 0)
        return cop__fail(error, COP_E_INVALID, "the root cannot be computed");
    if (options.branch && (path == NULL || options.kind != COP_EAGER))
        return cop__fail(error, COP_E_INVALID, "only an eager atom with a path can own a branch");
    cop__definition *definition = cop__definition_make(txn, path, length, &options);
    if (definition == NULL)
        return cop__fail(error, COP_E_MEMORY, "%s", cop_status_message(COP_E_MEMORY));
    definition->function = function;
    definition->context = context;
    return cop__definition_add(txn, definition, options.scope, atom, error);
}

cop_status
cop_computed_define(cop_store *store, const char *path, size_t length,
                    cop_computed_function function, void *context,
                    const cop_computed_options *options, cop_atom *atom, cop_error *error)
{
    cop_txn *txn;
    cop_atom made = {0, 0};
    if (atom != NULL)
        *atom = made;
    cop_status status = cop_txn_begin(store, &txn);
    if (status != COP_OK)
        return cop__fail(error, status, "%s", cop_status_message(status));
    status = cop_txn_define(txn, path, length, function, context, options, &made, error);
    if (status != COP_OK) {
        cop_txn_cancel(txn);
        return status;
    }
    status = cop_txn_commit(txn, NULL, error);
    if (status == COP_OK && atom != NULL)
        *atom = made;
    return status;
}

/* ---- disposing ---- */

/* Inside an evaluation the transaction is left to the thread that evaluates, for when it is done. */
static cop_status
dispose_later(cop_store *store, cop_atom atom)
{
    cop_txn *txn;
    cop__evaluating = false;
    cop_status status = cop_txn_begin(store, &txn);
    if (status == COP_OK)
        status = cop_txn_erase(txn, atom);
    if (status == COP_OK)
        status = cop_txn_submit(txn, NULL);
    else if (txn != NULL)
        cop_txn_cancel(txn);
    cop__evaluating = true;
    if (status == COP_OK)
        cop__store_seq_cst(&store->graph.disposed, true);
    return status;
}

static cop_status
dispose_now(cop_store *store, cop_atom atom)
{
    cop_txn *txn;
    cop_status status = cop_txn_begin(store, &txn);
    if (status != COP_OK)
        return status;
    status = cop_txn_erase(txn, atom);
    if (status != COP_OK) {
        cop_txn_cancel(txn);
        return status;
    }
    status = cop_txn_commit(txn, NULL, NULL);
    return status == COP_E_GONE ? COP_OK : status;
}

cop_status
cop_computed_dispose(cop_store *store, cop_atom atom)
{
    return cop__evaluating ? dispose_later(store, atom) : dispose_now(store, atom);
}

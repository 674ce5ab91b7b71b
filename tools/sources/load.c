/* SPDX-License-Identifier: MIT */
/* --load FILE: the state becomes equal to the document. */
#include "tools/sources/source.h"

#include <coppice/coppice.h>

#include "tools/args.h"
#include "tools/file.h"

#include <stdlib.h>

static cop_status
load_text(cop_store *store, const struct file_text *text, cop_error *error)
{
    cop_txn *txn;
    cop_status status = cop_txn_begin(store, &txn);
    if (status != COP_OK)
        return status;
    status = cop_json_read(txn, "", 0, text->bytes, text->length, NULL, error);
    if (status != COP_OK) {
        cop_txn_cancel(txn);
        return status;
    }
    return cop_txn_commit(txn, NULL, error);
}

bool
source_load(cop_store *store, const char *file)
{
    struct file_text text;
    cop_error error = COP_ERROR_INIT;
    if (!file_read(file, &text))
        return false;
    cop_status status = load_text(store, &text, &error);
    free(text.bytes);
    const char *message = error.message[0] ? error.message : cop_status_message(status);
    if (status != COP_OK && error.line)
        complain("%s:%u:%u: %s", file, error.line, error.column, message);
    else if (status != COP_OK)
        complain("%s: %s", file, message);
    return status == COP_OK;
}

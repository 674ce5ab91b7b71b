/* SPDX-License-Identifier: MIT */
/*
 * A file of kept versions into a store. The format is in file.h.
 *
 * NOTHING IS TOUCHED BEFORE ALL IS KNOWN TO BE GOOD. First the frame is checked: lengths, and the
 * checksum of each record and of the file. Then the whole file is imported into a store of its own,
 * which finds everything that a well-summed file may still have wrong: edits that do not fit. Only
 * then it is done again in the store that was asked for, one commit for each version.
 *
 * The first one clears what source atoms there are. Each commit is on condition that nothing has
 * changed since the one before.
 */
#include "history/use.h"

#include "commit/txn_internal.h"
#include "history/file_read.h"
#include "reclaim/gate.h"

/* ---- one version ---- */

typedef struct importing {
    cop_store *store;
    uint64_t number; /* of the record, from 1 */
    uint64_t last;   /* the version that the one before made */
    cop_history_imported *told;
    cop_error *error;
} importing;

static cop_status
fail_record(const importing *i, const cop__file_record *record, size_t at, const char *what)
{
    return cop__fail_at(i->error, COP_E_SYNTAX, at, "record %llu (version %llu), byte %zu: %s",
                        (unsigned long long)i->number, (unsigned long long)record->version, at,
                        what);
}

/* ---- what the first version is not to find ---- */

typedef struct clearing {
    cop_txn *txn;
    const cop_snapshot *newest;
} clearing;

static int
clear_source(void *context, const cop_child *child)
{
    clearing *c = context;
    const cop__slot *slot = cop__root_atom(c->newest, child->atom);
    if (slot == NULL || (slot->type & COP_SLOT_COMPUTED) != 0 || cop__slot_is_lazy(slot))
        return 0;
    return cop_txn_erase(c->txn, child->atom);
}

static cop_status
clear_first(cop_txn *txn)
{
    clearing c = {txn, NULL};
    int stopped = 0;
    cop_status status = cop__txn_snapshot_root(txn, &c.newest);
    if (status == COP_OK)
        status = cop_txn_require_unchanged(txn, cop_root(), cop_snapshot_version(c.newest));
    if (status == COP_OK)
        status = cop_each(c.newest, cop_root(), clear_source, &c, &stopped);
    return status == COP_OK ? (cop_status)stopped : status;
}

/* ---- making it, and keeping it ---- */

/* These say nothing of the file. */
static bool
is_of_store(cop_status status)
{
    return status == COP_E_MEMORY || status == COP_E_CLOSING || status == COP_E_CONFLICT;
}

/* What has to hold before the record's edits. */
static cop_status
version_begin(const importing *i, cop_txn **txn)
{
    cop_status status = cop_txn_begin(i->store, txn);
    if (status == COP_OK)
        status = i->number == 1 ? clear_first(*txn)
                                : cop_txn_require_unchanged(*txn, cop_root(), i->last);
    return status;
}

static cop_status
version_make(const importing *i, cop__file_record *record, cop_txn **made)
{
    cop_status status = version_begin(i, made);
    cop_txn *txn = *made;
    cop__file_reader *r = &record->edits;
    if (status != COP_OK)
        return cop__fail(i->error, status, "%s", cop_status_message(status));
    cop__txn_end_version(txn);
    while (status == COP_OK && r->at < r->end)
        status = cop__file_edit_read(txn, r);
    if (r->wrong != NULL)
        return fail_record(i, record, r->wrong_at, r->wrong);
    if (status != COP_OK && !is_of_store(status))
        return fail_record(i, record, r->at, cop_status_message(status));
    return status == COP_OK ? COP_OK
                            : cop__fail(i->error, status, "%s", cop_status_message(status));
}

static cop_status
version_keep(importing *i, const cop__file_record *record, uint64_t version)
{
    cop__kept as = {.pinned = record->pinned,
                    .label_length = record->label_length,
                    .imported_version = record->version,
                    .imported_ns = record->time_ns};
    cop_status status = cop__history_keep_import(i->store, version, record->label, &as);
    if (status == COP_E_INVALID)
        return fail_record(i, record, record->edits.at, "its label is none");
    return status == COP_OK ? COP_OK
                            : cop__fail(i->error, status, "%s", cop_status_message(status));
}

static cop_status
version_import(importing *i, cop__file_record *record)
{
    cop_txn *txn;
    uint64_t version = 0;
    cop_error error = COP_ERROR_INIT;
    cop_status status = version_make(i, record, &txn);
    if (status != COP_OK) {
        cop_txn_cancel(txn);
        return status;
    }
    status = cop_txn_commit(txn, &version, &error);
    if (is_of_store(status))
        return cop__fail(i->error, status, "%s", cop_status_message(status));
    if (status != COP_OK)
        return fail_record(i, record, record->edits.end, error.message);
    i->last = version;
    if (i->told->versions++ == 0)
        i->told->first = version;
    i->told->last = version;
    return version_keep(i, record, version);
}

/* ---- the file ---- */

static cop_status
records_import(cop__file_reader file, cop_store *store, cop_history_imported *told,
               cop_error *error)
{
    importing i = {.store = store, .told = told, .error = error};
    cop__file_reader r = cop__file_records(file);
    cop_status status = COP_OK;
    while (status == COP_OK && r.at < r.end) {
        cop__file_record record;
        i.number++;
        status = cop__file_record_take(&r, &record, error);
        if (status == COP_OK)
            status = version_import(&i, &record);
    }
    return status;
}

/* In a store of its own. */
static cop_status
rehearse(cop_store *store, cop__file_reader file, cop_error *error)
{
    cop_options options = COP_OPTIONS_INIT;
    cop_history_imported told = {0};
    cop_store *scratch;
    uint64_t held = cop__load_relaxed(&store->memory->held);
    uint64_t limit = cop__load_relaxed(&store->memory->limit);
    options.history_max_snapshots = 1;
    options.memory_huge_pages = false;
    options.batch_window_ms = 0;
    options.memory_limit_bytes = held < limit ? limit - held : 1;
    cop_status status = cop_store_open(&options, &scratch, error);
    if (status != COP_OK)
        return status;
    status = records_import(file, scratch, &told, error);
    cop_store_close(scratch);
    return status;
}

cop_status
cop_history_import(cop_store *store, const void *bytes, size_t length,
                   cop_history_imported *imported, cop_error *error)
{
    cop_history_imported told = {0};
    cop__file_reader file = {bytes, 0, length, NULL, 0};
    cop_status status = cop__store_may_wait(store);
    if (imported != NULL)
        *imported = told;
    if (status != COP_OK)
        return cop__fail(error, status, "%s", cop_status_message(status));
    status = cop__file_check(file, error);
    if (status != COP_OK)
        return status;
    cop__gate_use(store->gate);
    cop_options options = COP_OPTIONS_INIT;
    status = cop_store_options(store, &options);
    if (status == COP_OK && options.history_keep == COP_KEEP_OFF)
        status = cop__fail(error, COP_E_STATE, "history.keep is off");
    if (status == COP_OK)
        status = rehearse(store, file, error);
    if (status == COP_OK)
        status = records_import(file, store, &told, error);
    if (imported != NULL)
        *imported = told;
    cop__gate_end_use(store->gate);
    return status;
}

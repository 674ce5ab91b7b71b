/* SPDX-License-Identifier: MIT */
/*
 * A file of kept versions into a store. The format is in file.h.
 *
 * NOTHING IS TOUCHED BEFORE ALL IS KNOWN TO BE GOOD. First the frame is checked: lengths, and the
 * checksum of each record and of the file. Then the whole file is imported into a store of its own,
 * which finds everything that a well-summed file may still have wrong: edits that do not fit. Only then
 * it is done again in the store that was asked for, one commit for each version.
 *
 * The first one clears what source atoms there are. Each commit is on condition that nothing has changed
 * since the one before.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "history/use.h"

#include "commit/txn_internal.h"
#include "history/file.h"
#include "reclaim/gate.h"
#include "store/log.h"
#include "tree/path.h"

typedef struct reader {
    const uint8_t *bytes;
    size_t at, end;
    const char *wrong; /* NULL: nothing yet */
    size_t wrong_at;
} reader;

typedef struct file_record {
    uint64_t version, time_ns;
    bool pinned;
    const char *label;
    size_t label_length;
    reader edits;
} file_record;

typedef struct text {
    const char *bytes;
    size_t length;
} text;

/* ---- bytes ---- */

static void
wrong(reader *r, const char *what)
{
    if (r->wrong == NULL) {
        r->wrong = what;
        r->wrong_at = r->at;
    }
    r->at = r->end;
}

/* n bytes, or NULL. */
static const uint8_t *
take(reader *r, uint64_t n)
{
    if (n > r->end - r->at || r->wrong != NULL) {
        wrong(r, "it ends in the middle");
        return NULL;
    }
    const uint8_t *p = r->bytes + r->at;
    r->at += (size_t)n;
    return p;
}

static uint8_t
take_byte(reader *r)
{
    const uint8_t *p = take(r, 1);
    return p != NULL ? *p : 0;
}

static uint64_t
take_number(reader *r, unsigned bytes)
{
    const uint8_t *p = take(r, bytes);
    uint64_t n = 0;
    for (unsigned i = 0; p != NULL && i < bytes; i++)
        n |= (uint64_t)p[i] << (8 * i);
    return n;
}

static uint64_t
take_size(reader *r)
{
    uint64_t n = 0;
    for (unsigned shift = 0; shift < 63; shift += 7) {
        uint8_t byte = take_byte(r);
        n |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0)
            return n;
    }
    wrong(r, "a size is too long");
    return 0;
}

static uint32_t
take_position(reader *r)
{
    uint64_t n = take_size(r);
    if (n >= UINT32_MAX)
        wrong(r, "a position is too large");
    return n < UINT32_MAX ? (uint32_t)n : 0;
}

static text
take_text(reader *r)
{
    uint64_t n = take_size(r);
    const uint8_t *p = take(r, n);
    return (text){p != NULL ? (const char *)p : "", p != NULL ? (size_t)n : 0};
}

/* An escaped segment of a path. */
static text
take_key(reader *r)
{
    text key = take_text(r);
    if (memchr(key.bytes, '/', key.length) != NULL ||
        cop_path_check(key.bytes, key.length, NULL) != COP_OK || key.length == 0)
        wrong(r, "a key is malformed");
    return key;
}

static text
take_path(reader *r)
{
    text path = take_text(r);
    if (path.length > 0 && cop_path_check(path.bytes, path.length, NULL) != COP_OK)
        wrong(r, "a path is malformed");
    return path;
}

/* ---- nodes ---- */

static cop_value
take_text_value(reader *r, cop_type type)
{
    text t = take_text(r);
    size_t fault;
    if (t.length > INT32_MAX)
        wrong(r, "a text is too long");
    if (type != COP_BYTES && !cop__utf8_valid(t.bytes, t.length, &fault))
        wrong(r, "a text is not UTF-8");
    return r->wrong == NULL ? cop_text(type, t.bytes, t.length) : cop_null();
}

static cop_value
take_value(reader *r)
{
    uint8_t type = take_byte(r);
    uint64_t bits;
    double number;
    switch (type) {
    case COP_NULL:
        return cop_null();
    case COP_BOOL:
        return cop_bool(take_byte(r) != 0);
    case COP_I64:
        return cop_i64((int64_t)take_number(r, 8));
    case COP_F64:
        bits = take_number(r, 8);
        memcpy(&number, &bits, sizeof number);
        return cop_f64(number);
    case COP_STRING:
    case COP_BYTES:
    case COP_ERROR:
        return take_text_value(r, (cop_type)type);
    case COP_OBJECT:
        return cop_object();
    case COP_ARRAY:
        return cop_array();
    default:
        wrong(r, "there is no such type");
        return cop_null();
    }
}

/* A branch whose children are being read. */
typedef struct level {
    cop_atom atom;
    bool object;
} level;

/* One child of the last level, or the end of its list. */
static cop_status
read_child(cop_txn *txn, reader *r, level *levels, uint32_t *depth)
{
    level *branch = &levels[*depth - 1];
    cop_atom made;
    text key = {"", 0};
    if (take_byte(r) == 0) {
        (*depth)--;
        return COP_OK;
    }
    if (branch->object)
        key = take_key(r);
    cop_value value = take_value(r);
    if (r->wrong != NULL)
        return COP_E_SYNTAX;
    cop_status status =
        branch->object
            ? cop__txn_make_child(txn, branch->atom, key.bytes, key.length, &value, &made)
            : cop__txn_make_element(txn, branch->atom, &value, &made);
    if (status != COP_OK || value.type < COP_OBJECT)
        return status;
    if (*depth == COP_DEPTH_MAX) {
        wrong(r, "it is too deep");
        return COP_E_SYNTAX;
    }
    levels[(*depth)++] = (level){made, value.type == COP_OBJECT};
    return COP_OK;
}

/* What is below a branch that was just made of this value; nothing if it is none. */
static cop_status
read_below(cop_txn *txn, reader *r, cop_atom atom, const cop_value *value)
{
    level levels[COP_DEPTH_MAX];
    uint32_t depth = 1;
    cop_status status = r->wrong == NULL ? COP_OK : COP_E_SYNTAX;
    if (value->type < COP_OBJECT)
        return status;
    levels[0] = (level){atom, value->type == COP_OBJECT};
    while (status == COP_OK && depth > 0)
        status = read_child(txn, r, levels, &depth);
    return status;
}

/* ---- edits ---- */

/* A path and one segment more. False: too long. */
static bool
join(text path, text key, char joined[COP_PATH_MAX + 1], size_t *length)
{
    size_t slash = path.length > 0;
    *length = path.length + slash + key.length;
    if (*length > COP_PATH_MAX)
        return false;
    memcpy(joined, path.bytes, path.length);
    if (slash)
        joined[path.length] = '/';
    memcpy(joined + path.length + slash, key.bytes, key.length);
    return true;
}

/* A text for a position, in buffer. */
static text
digits(uint32_t position, char buffer[16])
{
    char *end = buffer + 16, *p = end;
    do
        *--p = (char)('0' + position % 10);
    while ((position /= 10) > 0);
    return (text){p, (size_t)(end - p)};
}

static cop_status
find_child(cop_txn *txn, text path, text key, cop_atom *atom)
{
    char joined[COP_PATH_MAX + 1];
    size_t length;
    if (!join(path, key, joined, &length))
        return COP_E_PATH;
    return cop__txn_at(txn, joined, length, atom);
}

static cop_status
erase_child(cop_txn *txn, text path, text key)
{
    char joined[COP_PATH_MAX + 1];
    size_t length;
    if (!join(path, key, joined, &length))
        return COP_E_PATH;
    return cop_txn_erase_at(txn, joined, length, NULL);
}

/* Behind the sibling that the file names next, or before all. */
static cop_status
place_before(cop_txn *txn, reader *r, text path, cop_atom child)
{
    cop_atom sibling;
    if (take_byte(r) == 0)
        return cop__txn_place(txn, child, NULL);
    text key = take_key(r);
    cop_status status = r->wrong == NULL ? find_child(txn, path, key, &sibling) : COP_E_SYNTAX;
    return status == COP_OK ? cop__txn_place(txn, child, &sibling) : status;
}

static cop_status
read_move(cop_txn *txn, reader *r, text path)
{
    text key = take_key(r);
    cop_atom child;
    cop_status status = r->wrong == NULL ? find_child(txn, path, key, &child) : COP_E_SYNTAX;
    return status == COP_OK ? place_before(txn, r, path, child) : status;
}

static cop_status
read_move_at(cop_txn *txn, reader *r, text path)
{
    uint32_t from = take_position(r), to = take_position(r);
    char buffer[16];
    cop_atom child, sibling;
    cop_status status = r->wrong == NULL ? find_child(txn, path, digits(from, buffer), &child)
                                         : COP_E_SYNTAX;
    if (status != COP_OK || to == 0)
        return status == COP_OK ? cop__txn_place(txn, child, NULL) : status;
    to -= to - 1 < from; /* the one before it, as long as it stands where it was */
    status = find_child(txn, path, digits(to, buffer), &sibling);
    return status == COP_OK ? cop__txn_place(txn, child, &sibling) : status;
}

/* `before` comes ahead of the node, but can be used when the child has been made only. */
static cop_status
read_add(cop_txn *txn, reader *r, text path)
{
    text key = take_key(r);
    reader before = *r;
    cop_atom branch, child;
    if (take_byte(r) != 0)
        (void)take_key(r);
    cop_value value = take_value(r);
    cop_status status = r->wrong == NULL ? cop__txn_at(txn, path.bytes, path.length, &branch)
                                         : COP_E_SYNTAX;
    if (status == COP_OK)
        status = cop__txn_make_child(txn, branch, key.bytes, key.length, &value, &child);
    if (status == COP_OK)
        status = place_before(txn, &before, path, child);
    return status == COP_OK ? read_below(txn, r, child, &value) : status;
}

static cop_status
read_add_at(cop_txn *txn, reader *r, text path)
{
    uint32_t position = take_position(r);
    cop_value value = take_value(r);
    cop_atom array, child;
    cop_status status = r->wrong == NULL ? cop__txn_at(txn, path.bytes, path.length, &array)
                                         : COP_E_SYNTAX;
    if (status == COP_OK)
        status = cop__txn_make_element_at(txn, array, position, &value, &child);
    return status == COP_OK ? read_below(txn, r, child, &value) : status;
}

static cop_status
read_set(cop_txn *txn, reader *r, text path)
{
    cop_value value = take_value(r);
    cop_atom atom;
    if (r->wrong != NULL)
        return COP_E_SYNTAX;
    cop_status status = cop__txn_put_at(txn, path.bytes, path.length, &value, &atom, NULL);
    return status == COP_OK ? read_below(txn, r, atom, &value) : status;
}

static cop_status
read_edit(cop_txn *txn, reader *r)
{
    uint8_t edit = take_byte(r);
    text path = take_path(r);
    char buffer[16];
    if (r->wrong != NULL)
        return COP_E_SYNTAX;
    switch (edit) {
    case COP_FILE_REMOVE: {
        text key = take_key(r);
        return r->wrong == NULL ? erase_child(txn, path, key) : COP_E_SYNTAX;
    }
    case COP_FILE_REMOVE_AT: {
        uint32_t position = take_position(r);
        return r->wrong == NULL ? erase_child(txn, path, digits(position, buffer)) : COP_E_SYNTAX;
    }
    case COP_FILE_MOVE:
        return read_move(txn, r, path);
    case COP_FILE_MOVE_AT:
        return read_move_at(txn, r, path);
    case COP_FILE_ADD:
        return read_add(txn, r, path);
    case COP_FILE_ADD_AT:
        return read_add_at(txn, r, path);
    case COP_FILE_SET:
        return read_set(txn, r, path);
    default:
        wrong(r, "there is no such edit");
        return COP_E_SYNTAX;
    }
}

/* ---- one version ---- */

typedef struct importing {
    cop_store *store;
    uint64_t number; /* of the record, from 1 */
    uint64_t last;   /* the version that the one before made */
    cop_history_imported *told;
    cop_error *error;
} importing;

static cop_status
fail_record(const importing *i, const file_record *record, size_t at, const char *what)
{
    return cop__fail_at(i->error, COP_E_SYNTAX, at, "record %llu (version %llu), byte %zu: %s",
                        (unsigned long long)i->number, (unsigned long long)record->version, at, what);
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
    cop_status status = cop_txn_snapshot(txn, &c.newest);
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

static cop_status
version_make(const importing *i, file_record *record, cop_txn *txn)
{
    cop_status status = i->number == 1 ? clear_first(txn)
                                       : cop_txn_require_unchanged(txn, cop_root(), i->last);
    reader *r = &record->edits;
    if (status != COP_OK)
        return cop__fail(i->error, status, "%s", cop_status_message(status));
    cop__txn_end_version(txn);
    while (status == COP_OK && r->at < r->end)
        status = read_edit(txn, r);
    if (r->wrong != NULL)
        return fail_record(i, record, r->wrong_at, r->wrong);
    if (status != COP_OK && !is_of_store(status))
        return fail_record(i, record, r->at, cop_status_message(status));
    return status == COP_OK ? COP_OK : cop__fail(i->error, status, "%s", cop_status_message(status));
}

static cop_status
version_keep(importing *i, const file_record *record, uint64_t version)
{
    cop__kept as = {.pinned = record->pinned,
                    .label_length = record->label_length,
                    .imported_version = record->version,
                    .imported_ns = record->time_ns};
    cop_status status = cop__history_keep_import(i->store, version, record->label, &as);
    if (status == COP_E_INVALID)
        return fail_record(i, record, record->edits.at, "its label is none");
    return status == COP_OK ? COP_OK : cop__fail(i->error, status, "%s", cop_status_message(status));
}

static cop_status
version_import(importing *i, file_record *record)
{
    cop_txn *txn;
    uint64_t version = 0;
    cop_error error = COP_ERROR_INIT;
    cop_status status = cop_txn_begin(i->store, &txn);
    if (status != COP_OK)
        return cop__fail(i->error, status, "%s", cop_status_message(status));
    status = version_make(i, record, txn);
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
fail_file(cop_error *error, size_t at, const char *what)
{
    return cop__fail_at(error, COP_E_SYNTAX, at, "byte %zu: %s", at, what);
}

/* A record whose bytes are there and add up. */
static cop_status
record_take(reader *r, file_record *record, cop_error *error)
{
    size_t begins = r->at;
    const uint8_t *magic = take(r, 4);
    uint64_t n = take_number(r, 8);
    size_t from = r->at;
    const uint8_t *payload = take(r, n);
    uint64_t sum = take_number(r, 8);
    if (r->wrong != NULL)
        return fail_file(error, begins, "the record that begins here is cut off");
    if (memcmp(magic, COP_FILE_RECORD, 4) != 0)
        return fail_file(error, begins, "no record begins here");
    if (XXH3_64bits(payload, (size_t)n) != sum)
        return fail_file(error, begins, "the record that begins here is damaged: its checksum differs");
    *record = (file_record){.edits = {r->bytes, from, from + (size_t)n, NULL, 0}};
    reader *p = &record->edits;
    record->version = take_number(p, 8);
    record->time_ns = take_number(p, 8);
    record->pinned = take_byte(p) != 0;
    record->label_length = take_byte(p);
    record->label = (const char *)take(p, record->label_length);
    if (p->wrong != NULL)
        return fail_file(error, p->wrong_at, "the record is too short");
    return COP_OK;
}

/* Imports into this store; NULL: only looks at the frame. */
static cop_status
records_walk(reader file, cop_store *store, cop_history_imported *told, cop_error *error)
{
    importing i = {.store = store, .told = told, .error = error};
    cop_status status = COP_OK;
    reader r = {file.bytes, COP_FILE_HEAD, file.end - COP_FILE_ENDING, NULL, 0};
    while (status == COP_OK && r.at < r.end) {
        file_record record;
        i.number++;
        status = record_take(&r, &record, error);
        if (status == COP_OK && store != NULL)
            status = version_import(&i, &record);
    }
    reader ending = {file.bytes, r.end + 4, file.end, NULL, 0};
    if (status == COP_OK && take_number(&ending, 8) != i.number)
        return fail_file(error, r.end, "the number of records is another one");
    return status;
}

static cop_status
frame_check(reader file, cop_error *error)
{
    if (file.end < COP_FILE_HEAD + COP_FILE_ENDING || memcmp(file.bytes, COP_FILE_MAGIC, 8) != 0)
        return fail_file(error, 0, "this is no file of a history");
    reader head = {file.bytes, 8, COP_FILE_HEAD, NULL, 0};
    if (take_number(&head, 4) != COP_FILE_FORMAT)
        return fail_file(error, 8, "the file is of a format that this version does not know");
    cop_status status = records_walk(file, NULL, NULL, error); /* says where, so it comes first */
    size_t at = file.end - COP_FILE_ENDING;
    if (status != COP_OK)
        return status;
    if (memcmp(file.bytes + at, COP_FILE_END, 4) != 0)
        return fail_file(error, at, "the end of the file is missing");
    reader sum = {file.bytes, at + 12, file.end, NULL, 0};
    if (take_number(&sum, 8) != XXH3_64bits(file.bytes, at + 12))
        return fail_file(error, at + 12, "the file is damaged: its checksum differs");
    return COP_OK;
}

/* In a store of its own. */
static cop_status
rehearse(cop_store *store, reader file, cop_error *error)
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
    status = records_walk(file, scratch, &told, error);
    cop_store_close(scratch);
    return status;
}

cop_status
cop_history_import(cop_store *store, const void *bytes, size_t length,
                   cop_history_imported *imported, cop_error *error)
{
    cop_history_imported told = {0};
    reader file = {bytes, 0, length, NULL, 0};
    cop_status status = cop__store_usable(store);
    if (imported != NULL)
        *imported = told;
    if (status == COP_OK && cop__evaluating)
        status = COP_E_IN_EVALUATION;
    if (status != COP_OK)
        return cop__fail(error, status, "%s", cop_status_message(status));
    status = frame_check(file, error);
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
        status = records_walk(file, store, &told, error);
    if (imported != NULL)
        *imported = told;
    cop__gate_end_use(store->gate);
    return status;
}

/* SPDX-License-Identifier: MIT */
/* The edits of a record as operations of a transaction. The format is in file.h. */
#include "history/file_read.h"

#include "commit/txn_internal.h"
#include "tree/path.h"

/* ---- nodes ---- */

/* A branch whose children are being read. */
typedef struct level {
    cop_atom atom;
    bool object;
} level;

/* One child of the last level, or the end of its list. */
static cop_status
read_child(cop_txn *txn, cop__file_reader *r, level *levels, uint32_t *depth)
{
    level *branch = &levels[*depth - 1];
    cop_atom made;
    cop__file_text key = {"", 0};
    if (cop__file_byte(r) == 0) {
        (*depth)--;
        return COP_OK;
    }
    if (branch->object)
        key = cop__file_key(r);
    cop_value value = cop__file_value(r);
    if (r->wrong != NULL)
        return COP_E_SYNTAX;
    cop_status status = branch->object ? cop__txn_make_child(txn, branch->atom, key.bytes,
                                                             key.length, &value, &made)
                                       : cop__txn_make_element(txn, branch->atom, &value, &made);
    if (status != COP_OK || value.type < COP_OBJECT)
        return status;
    if (*depth == COP_DEPTH_MAX) {
        cop__file_wrong(r, "it is too deep");
        return COP_E_SYNTAX;
    }
    levels[(*depth)++] = (level){made, value.type == COP_OBJECT};
    return COP_OK;
}

/* What is below a branch that was just made of this value; nothing if it is none. */
static cop_status
read_below(cop_txn *txn, cop__file_reader *r, cop_atom atom, const cop_value *value)
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
join(cop__file_text path, cop__file_text key, char joined[COP_PATH_MAX + 1], size_t *length)
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
static cop__file_text
digits(uint32_t position, char buffer[16])
{
    char *end = buffer + 16, *p = end;
    do
        *--p = (char)('0' + position % 10);
    while ((position /= 10) > 0);
    return (cop__file_text){p, (size_t)(end - p)};
}

static cop_status
find_child(cop_txn *txn, cop__file_text path, cop__file_text key, cop_atom *atom)
{
    char joined[COP_PATH_MAX + 1];
    size_t length;
    if (!join(path, key, joined, &length))
        return COP_E_PATH;
    return cop__txn_at(txn, joined, length, atom);
}

static cop_status
erase_child(cop_txn *txn, cop__file_text path, cop__file_text key)
{
    char joined[COP_PATH_MAX + 1];
    size_t length;
    if (!join(path, key, joined, &length))
        return COP_E_PATH;
    return cop_txn_erase_at(txn, joined, length, NULL);
}

/* Behind the sibling that the file names next, or before all. */
static cop_status
place_before(cop_txn *txn, cop__file_reader *r, cop__file_text path, cop_atom child)
{
    cop_atom sibling;
    if (cop__file_byte(r) == 0)
        return cop__txn_place(txn, child, NULL);
    cop__file_text key = cop__file_key(r);
    cop_status status = r->wrong == NULL ? find_child(txn, path, key, &sibling) : COP_E_SYNTAX;
    return status == COP_OK ? cop__txn_place(txn, child, &sibling) : status;
}

static cop_status
read_move(cop_txn *txn, cop__file_reader *r, cop__file_text path)
{
    cop__file_text key = cop__file_key(r);
    cop_atom child;
    cop_status status = r->wrong == NULL ? find_child(txn, path, key, &child) : COP_E_SYNTAX;
    return status == COP_OK ? place_before(txn, r, path, child) : status;
}

static cop_status
read_move_at(cop_txn *txn, cop__file_reader *r, cop__file_text path)
{
    uint32_t from = cop__file_position(r), to = cop__file_position(r);
    char buffer[16];
    cop_atom child, sibling;
    cop_status status =
        r->wrong == NULL ? find_child(txn, path, digits(from, buffer), &child) : COP_E_SYNTAX;
    if (status != COP_OK || to == 0)
        return status == COP_OK ? cop__txn_place(txn, child, NULL) : status;
    to -= to - 1 < from; /* the one before it, as long as it stands where it was */
    status = find_child(txn, path, digits(to, buffer), &sibling);
    return status == COP_OK ? cop__txn_place(txn, child, &sibling) : status;
}

/* `before` comes ahead of the node, but can be used when the child has been made only. */
static cop_status
read_add(cop_txn *txn, cop__file_reader *r, cop__file_text path)
{
    cop__file_text key = cop__file_key(r);
    cop__file_reader before = *r;
    cop_atom branch, child;
    if (cop__file_byte(r) != 0)
        (void)cop__file_key(r);
    cop_value value = cop__file_value(r);
    cop_status status =
        r->wrong == NULL ? cop__txn_at(txn, path.bytes, path.length, &branch) : COP_E_SYNTAX;
    if (status == COP_OK)
        status = cop__txn_make_child(txn, branch, key.bytes, key.length, &value, &child);
    if (status == COP_OK)
        status = place_before(txn, &before, path, child);
    return status == COP_OK ? read_below(txn, r, child, &value) : status;
}

static cop_status
read_add_at(cop_txn *txn, cop__file_reader *r, cop__file_text path)
{
    uint32_t position = cop__file_position(r);
    cop_value value = cop__file_value(r);
    cop_atom array, child;
    cop_status status =
        r->wrong == NULL ? cop__txn_at(txn, path.bytes, path.length, &array) : COP_E_SYNTAX;
    if (status == COP_OK)
        status = cop__txn_make_element_at(txn, array, position, &value, &child);
    return status == COP_OK ? read_below(txn, r, child, &value) : status;
}

static cop_status
read_set(cop_txn *txn, cop__file_reader *r, cop__file_text path)
{
    cop_value value = cop__file_value(r);
    cop_atom atom;
    if (r->wrong != NULL)
        return COP_E_SYNTAX;
    cop_status status = cop__txn_put_at(txn, path.bytes, path.length, &value, &atom, NULL);
    return status == COP_OK ? read_below(txn, r, atom, &value) : status;
}

cop_status
cop__file_edit_read(cop_txn *txn, cop__file_reader *r)
{
    uint8_t edit = cop__file_byte(r);
    cop__file_text path = cop__file_path(r);
    char buffer[16];
    if (r->wrong != NULL)
        return COP_E_SYNTAX;
    switch (edit) {
    case COP_FILE_REMOVE: {
        cop__file_text key = cop__file_key(r);
        return r->wrong == NULL ? erase_child(txn, path, key) : COP_E_SYNTAX;
    }
    case COP_FILE_REMOVE_AT: {
        uint32_t position = cop__file_position(r);
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
        cop__file_wrong(r, "there is no such edit");
        return COP_E_SYNTAX;
    }
}

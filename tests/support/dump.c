/* SPDX-License-Identifier: MIT */
#include "tests/support/dump.h"

#include <inttypes.h>
#include <stdlib.h>

#define PATH_ROOM (2 * COP_PATH_MAX)

typedef struct walk {
    const cop_snapshot *snapshot;
    FILE *out;
    unsigned flags;
    unsigned depth;
    uint64_t hash;
    cop_status status;
    const char *wrong;
    uint64_t listed;
} walk;

uint64_t
dump_fnv(uint64_t hash, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;

    for (size_t i = 0; i < n; i++)
        hash = (hash ^ p[i]) * UINT64_C(0x100000001b3);
    return hash;
}

static void
dump_text(FILE *out, const cop_value *value)
{
    const char *data = cop_value_data(value);
    size_t n = cop_value_length(value);

    fprintf(out, " %zu:%016" PRIx64, n, dump_fnv(DUMP_FNV_INIT, data, n));
    if (n <= 16)
        fprintf(out, ":%.*s", (int)n, data);
}

static void
dump_value(FILE *out, const cop_value *value)
{
    uint64_t bits;

    fprintf(out, " %s", cop_type_name(cop_value_type(value)));
    switch (cop_value_type(value)) {
    case COP_BOOL:
    case COP_I64:
        fprintf(out, " %" PRId64, cop_value_i64(value));
        break;
    case COP_F64:
        bits = (uint64_t)cop_value_i64(value);
        fprintf(out, " %016" PRIx64, bits);
        break;
    case COP_STRING:
    case COP_BYTES:
    case COP_ERROR:
        dump_text(out, value);
        break;
    default:
        break;
    }
}

void
dump_line(FILE *out, unsigned depth, const char *key, size_t key_length, const cop_value *value)
{
    fprintf(out, "%*s", (int)(2 * depth), "");
    if (key != NULL)
        fprintf(out, "'%.*s'", (int)key_length, key);
    else
        fputc('-', out);
    dump_value(out, value);
}

static bool
is_branch(const cop_value *value)
{
    return value->type == COP_OBJECT || value->type == COP_ARRAY;
}

static void
dump_extras(walk *w, cop_atom atom, const cop_value *value)
{
    uint64_t changed = 0;

    if (w->flags & DUMP_HANDLES)
        fprintf(w->out, " #%" PRIu32 ".%" PRIu32, atom.id, atom.generation);
    if ((w->flags & DUMP_CHANGED) && is_branch(value)) {
        cop_status status = cop_changed(w->snapshot, atom, &changed);
        if (status != COP_OK)
            w->status = status;
        fprintf(w->out, " @%" PRIu64, changed);
    }
    fputc('\n', w->out);
}

static int
dump_child(void *context, const cop_child *child)
{
    walk *w = context;
    cop_status status;

    dump_line(w->out, w->depth, child->key, child->key_length, &child->value);
    dump_extras(w, child->atom, &child->value);
    if (is_branch(&child->value)) {
        w->depth++;
        status = cop_each(w->snapshot, child->atom, dump_child, w, NULL);
        w->depth--;
        if (status != COP_OK)
            w->status = status;
    }
    return w->status != COP_OK;
}

static int
dump_anonymous(void *context, const cop_atom *atoms, const cop_value *values, size_t n)
{
    walk *w = context;
    cop_atom parent;

    for (size_t i = 0; i < n; i++) {
        if (atoms[i].id == cop_root().id)
            continue;
        if (cop_parent(w->snapshot, atoms[i], &parent) != COP_E_ABSENT)
            continue;
        fprintf(w->out, "anonymous ");
        dump_line(w->out, 0, NULL, 0, &values[i]);
        dump_extras(w, atoms[i], &values[i]);
    }
    return 0;
}

static cop_status
dump_all(walk *w)
{
    cop_value root = cop_null();
    cop_status status = cop_get(w->snapshot, cop_root(), &root);

    if (status != COP_OK)
        return status;
    dump_line(w->out, 0, "", 0, &root);
    dump_extras(w, cop_root(), &root);
    w->depth = 1;
    status = cop_each(w->snapshot, cop_root(), dump_child, w, NULL);
    if (status == COP_OK)
        status = w->status;
    if (status == COP_OK)
        status = cop_scan(w->snapshot, dump_anonymous, w);
    return status;
}

char *
dump_tree(const cop_snapshot *snapshot, unsigned flags)
{
    char *text = NULL;
    size_t size = 0;
    walk w = {.snapshot = snapshot, .flags = flags};

    w.out = open_memstream(&text, &size);
    if (w.out == NULL)
        return NULL;
    w.status = dump_all(&w);
    fclose(w.out);
    if (w.status == COP_OK)
        return text;
    fprintf(stderr, "dump: a reading function answers %s\n", cop_status_name(w.status));
    free(text);
    return NULL;
}

static uint64_t
hash_value(uint64_t hash, const cop_value *value)
{
    if (cop_value_is_text(value)) {
        hash = dump_fnv(hash, &value->type, 1);
        return dump_fnv(hash, cop_value_data(value), cop_value_length(value));
    }
    return dump_fnv(hash, value, sizeof *value);
}

static int
hash_child(void *context, const cop_child *child)
{
    walk *w = context;
    cop_status status;

    w->hash = dump_fnv(w->hash, &child->atom, sizeof child->atom);
    if (child->key != NULL)
        w->hash = dump_fnv(w->hash, child->key, child->key_length);
    w->hash = hash_value(w->hash, &child->value);
    if (is_branch(&child->value)) {
        status = cop_each(w->snapshot, child->atom, hash_child, w, NULL);
        if (status != COP_OK)
            w->status = status;
    }
    return w->status != COP_OK;
}

uint64_t
dump_hash(const cop_snapshot *snapshot)
{
    walk w = {.snapshot = snapshot, .hash = DUMP_FNV_INIT};
    cop_status status = cop_each(snapshot, cop_root(), hash_child, &w, NULL);

    if (status != COP_OK || w.status != COP_OK)
        return 0;
    return w.hash;
}

/* --- agreement of the reading functions -------------------------------------- */

static bool
same_atom(cop_atom a, cop_atom b)
{
    return a.id == b.id && a.generation == b.generation;
}

static const char *
check_paths(const walk *w, const cop_child *child)
{
    static _Thread_local char path[PATH_ROOM];
    size_t length = 0;
    cop_atom found;
    cop_value value;

    if (cop_atom_path(w->snapshot, child->atom, path, sizeof path, &length) != COP_OK)
        return "cop_atom_path fails on a listed child";
    if (length >= sizeof path || path[length] != '\0')
        return "cop_atom_path does not terminate";
    if (cop_find(w->snapshot, path, length, &found) != COP_OK || !same_atom(found, child->atom))
        return "cop_find of cop_atom_path is another atom";
    if (cop_get_at(w->snapshot, path, length, &value) != COP_OK ||
        !cop_value_equal(&value, &child->value))
        return "cop_get_at differs from the listing";
    return NULL;
}

static const char *
check_named(const walk *w, cop_atom branch, const cop_child *child)
{
    char key[COP_PATH_MAX];
    size_t length = 0;
    cop_atom found;

    if (child->key == NULL)
        return NULL;
    if (cop_path_unescape(child->key, child->key_length, key, sizeof key, &length, NULL) != COP_OK)
        return "a listed key cannot be unescaped";
    if (cop_child_named(w->snapshot, branch, key, length, &found) != COP_OK ||
        !same_atom(found, child->atom))
        return "cop_child_named is another atom";
    return NULL;
}

static const char *
check_child(const walk *w, cop_atom branch, const cop_child *child, uint32_t index)
{
    const char *wrong;
    cop_atom atom;
    cop_value value;

    if (child->index != index)
        return "the index of a listed child is not its place";
    if (cop_child_at(w->snapshot, branch, index, &atom) != COP_OK || !same_atom(atom, child->atom))
        return "cop_child_at is another atom";
    if (cop_parent(w->snapshot, child->atom, &atom) != COP_OK || !same_atom(atom, branch))
        return "cop_parent is another atom";
    if (cop_get(w->snapshot, child->atom, &value) != COP_OK ||
        !cop_value_equal(&value, &child->value))
        return "cop_get differs from the listing";
    wrong = check_named(w, branch, child);
    return wrong != NULL ? wrong : check_paths(w, child);
}

static const char *
check_branch(walk *w, cop_atom branch)
{
    cop_cursor cursor;
    cop_child child;
    cop_atom past;
    uint32_t n = 0, count = 0;
    const char *wrong;

    if (cop_cursor_open(w->snapshot, branch, &cursor) != COP_OK)
        return "cop_cursor_open fails on a branch";
    for (; cop_cursor_next(&cursor, &child); n++) {
        wrong = check_child(w, branch, &child, n);
        if (wrong == NULL && is_branch(&child.value))
            wrong = check_branch(w, child.atom);
        if (wrong != NULL)
            return wrong;
    }
    w->listed += n;
    if (cop_count(w->snapshot, branch, &count) != COP_OK || count != n)
        return "cop_count is not the number of children";
    if (cop_child_at(w->snapshot, branch, n, &past) != COP_E_RANGE)
        return "cop_child_at past the end is not COP_E_RANGE";
    return NULL;
}

static int
scan_count(void *context, const cop_atom *atoms, const cop_value *values, size_t n)
{
    walk *w = context;
    cop_atom parent;
    cop_value value;

    for (size_t i = 0; i < n; i++) {
        if (atoms[i].id == cop_root().id)
            continue;
        if (cop_get(w->snapshot, atoms[i], &value) != COP_OK ||
            !cop_value_equal(&value, &values[i]))
            w->wrong = "cop_scan and cop_get differ";
        if (cop_parent(w->snapshot, atoms[i], &parent) == COP_E_ABSENT)
            w->listed++;
        w->hash++;
    }
    return 0;
}

const char *
dump_disagreement(const cop_snapshot *snapshot)
{
    walk w = {.snapshot = snapshot};
    const char *wrong = check_branch(&w, cop_root());

    if (wrong != NULL)
        return wrong;
    if (cop_scan(snapshot, scan_count, &w) != COP_OK)
        return "cop_scan fails";
    if (w.wrong != NULL)
        return w.wrong;
    if (w.hash != w.listed)
        return "cop_scan does not see each atom once";
    if (cop_snapshot_atoms(snapshot) != w.listed)
        return "cop_snapshot_atoms is not the number of atoms";
    return NULL;
}

/* SPDX-License-Identifier: MIT */
/*
 * JSON to operations of a transaction.
 *
 * Three passes: the scan (json_scan.c) refuses what is over a limit before anything is allocated;
 * jansson parses; a walk turns its tree into puts. The walk keeps its own stack: one frame for each
 * container on the way down. A container's members are all put before the first of them is entered,
 * so that siblings get neighbouring ids, then arranged, which makes the branch exactly the
 * document: other children go, the order is the document's. In a merge patch objects are not
 * arranged.
 *
 * A fault that the walk finds has no place in jansson's tree; the positions in the frames name it,
 * and a second scan of the text finds its line and column.
 */
#include <coppice/json.h>

#include <jansson.h>
#include <stdio.h>

#include "commit/txn_internal.h"
#include "serialize/json_internal.h"
#include "store/log.h"
#include "tree/path.h"

/* A container that has been put, and is to be entered. */
struct branch {
    json_t *node;
    cop_atom atom;
    uint32_t position;   /* in its parent */
    uint32_t path_bytes; /* of its path, as the limit counts them */
};

struct frame {
    struct branch branch;
    void *iterator;    /* of an object: the member at `position` */
    uint32_t position; /* the member being put or entered */
    uint32_t count;
    size_t first, next; /* its branches, and the next of them to enter, in walk.branches */
    bool merge;
};

struct walk {
    cop_txn *txn;
    const char *text;
    size_t length;
    cop_error *error;
    struct frame *frames;
    uint32_t depth;    /* frames in use */
    uint32_t segments; /* of the document's path */
    struct branch *branches;
    size_t used, branches_capacity;
    cop_atom *handles; /* of the members of one container */
    size_t handles_capacity;
    cop__json_bytes bytes;
};

static const cop_json_read_options defaults = COP_JSON_READ_OPTIONS_INIT;

/* --- options, parsing ---------------------------------------------------------------------- */

static cop_status
take_options(const cop_json_read_options *options, cop_json_read_options *taken, cop_error *error)
{
    *taken = defaults;
    if (options && !cop__json_options_copy(taken, sizeof *taken, options))
        return cop__fail(error, COP_E_INVALID, "cop_json_read_options of an unknown size");
    if (taken->max_depth > COP_DEPTH_MAX)
        return cop__fail(error, COP_E_INVALID, "max_depth is at most %u", COP_DEPTH_MAX);
    if (!taken->max_depth)
        taken->max_depth = defaults.max_depth;
    if (!taken->max_bytes)
        taken->max_bytes = defaults.max_bytes;
    if (!taken->max_atoms)
        taken->max_atoms = defaults.max_atoms;
    /* Positions are 32 bits. */
    taken->max_atoms = taken->max_atoms < UINT32_MAX - 1 ? taken->max_atoms : UINT32_MAX - 1;
    return COP_OK;
}

static bool
begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* jansson tells how far it had read. Answers where the fault is, and whether the token there is a
 * whole string. */
static size_t
fault_offset(const char *text, size_t length, const json_error_t *fault, bool *whole_string)
{
    size_t read = fault->position > 0 ? (size_t)fault->position : 0;
    enum json_error_code code = json_error_code(fault);
    *whole_string = false;
    if (read == 0 || code == json_error_invalid_utf8)
        return read;
    /* A NUL byte is an empty token to jansson, which it takes for the end. */
    if (code == json_error_premature_end_of_input && text[read - 1] != '\0')
        return read;
    size_t end, begin = cop__json_token_at(text, length, read - 1, &end);
    if (begin >= length || text[begin] != '"')
        return begin;
    if (end != read) /* inside a string: a bad escape was read, a control character was put back */
        return begins(fault->text, "invalid escape") ? read - 1 : read;
    *whole_string = true;
    return begin;
}

static cop_status
parse_fault(const char *text, size_t length, const json_error_t *fault, cop_error *error)
{
    bool whole_string;
    char message[JSON_ERROR_TEXT_LENGTH + 16];
    if (!fault->text[0] || json_error_code(fault) == json_error_out_of_memory)
        return cop__fail(error, COP_E_MEMORY, "out of memory while parsing JSON");
    size_t offset = fault_offset(text, length, fault, &whole_string);
    /* jansson says this of a good string too when it found no memory for it. */
    bool called_bad = begins(fault->text, "invalid token") || begins(fault->text, "string or '}'");
    if (whole_string && called_bad)
        return cop__fail(error, COP_E_MEMORY, "out of memory while parsing JSON");
    snprintf(message, sizeof message, "malformed JSON: %s", fault->text);
    return cop__json_fail_at(error, COP_E_SYNTAX, text, length, offset, message);
}

/* jansson's lexer goes on with a damaged string when its buffer, doubled each time, cannot grow.
 * Asking for that much first makes a string that does not fit an ordinary failure. */
static bool
room_for_string(size_t longest)
{
    if (longest < 65536)
        return true;
    void *volatile probe = malloc(4 * longest); /* volatile: or the compiler takes it away */
    free(probe);
    return probe != NULL;
}

json_t *
cop__json_parse(const char *text, size_t length, const cop_json_read_options *limits,
                cop__json_counts *counts, cop_status *status, cop_error *error)
{
    json_error_t fault;
    json_t *document;
    text = text ? text : "";
    *status = cop__json_scan(text, length, limits, counts, error);
    if (*status)
        return NULL;
    if (!room_for_string(counts->longest)) {
        *status = cop__fail(error, COP_E_MEMORY, "no memory for a string this long");
        return NULL;
    }
    document =
        json_loadb(text, length, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &fault);
    if (!document)
        *status = parse_fault(text, length, &fault, error);
    return document;
}

/* --- values -------------------------------------------------------------------------------- */

/* `old`, or what it has moved to, with room for n > 0 elements; NULL when refused: old stays. */
static void *
grown(void *old, size_t *capacity, size_t n, size_t element)
{
    if (n <= *capacity)
        return old;
    size_t wanted = 2 * *capacity > n ? 2 * *capacity : n;
    void *moved = realloc(old, wanted * element);
    if (moved)
        *capacity = wanted;
    return moved;
}

/* An object with the one member "$bytes" or "$error": true when it stands for a value. The bytes
 * live until the next call. */
static bool
tagged_value(cop__json_bytes *room, json_t *object, cop_value *value, cop_status *status)
{
    if (json_object_size(object) != 1)
        return false;
    void *member = json_object_iter(object);
    const char *key = json_object_iter_key(member);
    json_t *content = json_object_iter_value(member);
    if (key[0] != '$' || !json_is_string(content))
        return false;
    const char *text = json_string_value(content);
    size_t length = json_string_length(content);
    if (strcmp(key, "$error") == 0) {
        *value = cop_error_value(text, length);
        return true;
    }
    if (strcmp(key, "$bytes") != 0)
        return false;
    void *bytes = grown(room->at, &room->capacity, length / 4 * 3 + 1, 1);
    if (!bytes) {
        *status = COP_E_MEMORY;
        return true;
    }
    room->at = bytes;
    if (!cop__json_base64_decode(text, length, room->at, &length))
        return false;
    *value = cop_bytes(room->at, length);
    return true;
}

static cop_status
value_of(struct walk *w, json_t *node, cop_value *value)
{
    return cop__json_node_value(node, &w->bytes, value);
}

cop_status
cop__json_node_value(json_t *node, cop__json_bytes *bytes, cop_value *value)
{
    cop_status status = COP_OK;
    switch (json_typeof(node)) {
    case JSON_OBJECT:
        if (!tagged_value(bytes, node, value, &status))
            *value = cop_object();
        break;
    case JSON_ARRAY:
        *value = cop_array();
        break;
    case JSON_STRING:
        *value = cop_string(json_string_value(node), json_string_length(node));
        break;
    case JSON_INTEGER:
        *value = cop_i64(json_integer_value(node));
        break;
    case JSON_REAL:
        *value = cop_f64(json_real_value(node));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        *value = cop_bool(json_is_true(node));
        break;
    case JSON_NULL:
        *value = cop_null();
        break;
    }
    bool too_long = !status && value->type == COP_NONE; /* than COP_VALUE_MAX */
    return too_long ? COP_E_LIMIT : status;
}

static bool
is_branch(const cop_value *value)
{
    return value->type == COP_OBJECT || value->type == COP_ARRAY;
}

/* --- the walk ------------------------------------------------------------------------------ */

/* A fault at the member that the innermost frame stands at; without frames, at the document. */
static cop_status
fail_here(struct walk *w, cop_status status, const char *message)
{
    uint32_t index[COP_DEPTH_MAX + 2];
    if (status == COP_E_MEMORY)
        return cop__fail(w->error, status, "%s", message);
    for (uint32_t i = 0; i < w->depth; i++)
        index[i] = w->frames[i].position;
    return cop__json_fail_at(w->error, status, w->text, w->length,
                             cop__json_member_at(w->text, w->length, index, w->depth), message);
}

static cop_status
report(struct walk *w, cop_status status)
{
    return status ? fail_here(w, status, cop_status_message(status)) : COP_OK;
}

/* Bytes of a key as a segment of a path. */
static size_t
segment_bytes(const char *key, size_t length)
{
    size_t bytes = length ? length : 2;
    for (const char *c = key; *c; c++)
        bytes += *c == '~' || *c == '/' || *c == '*';
    return bytes;
}

/* Notes a member to be entered later. path_bytes is 0 below an array: the limit starts anew. */
static cop_status
remember_branch(struct walk *w, const struct frame *f, json_t *node, cop_atom atom,
                size_t path_bytes)
{
    struct branch *branches =
        grown(w->branches, &w->branches_capacity, w->used + 1, sizeof *branches);
    if (!branches)
        return report(w, COP_E_MEMORY);
    w->branches = branches;
    branches[w->used++] = (struct branch){node, atom, f->position, (uint32_t)path_bytes};
    return COP_OK;
}

static cop_status
put_element(struct walk *w, struct frame *f)
{
    cop_value value;
    json_t *node = json_array_get(f->branch.node, f->position);
    cop_atom *handle = &w->handles[f->position];
    cop_status status = value_of(w, node, &value);
    if (!status)
        status = cop__txn_put_element(w->txn, f->branch.atom, f->position, &value, handle);
    if (status)
        return report(w, status);
    return is_branch(&value) ? remember_branch(w, f, node, *handle, 0) : COP_OK;
}

static cop_status
put_child(struct walk *w, struct frame *f)
{
    cop_value value;
    json_t *node = json_object_iter_value(f->iterator);
    cop_atom *handle = &w->handles[f->position];
    const char *key = json_object_iter_key(f->iterator);
    size_t length = strlen(key);
    if (f->merge && json_is_null(node))
        return report(w, cop__txn_erase_child(w->txn, f->branch.atom, key, length));
    size_t above = f->branch.path_bytes;
    size_t path_bytes = above + (above > 0) + segment_bytes(key, length);
    if (path_bytes > COP_PATH_MAX)
        return fail_here(w, COP_E_LIMIT, "this key makes the path too long");
    cop_status status = value_of(w, node, &value);
    if (!status)
        status = cop__txn_put_child(w->txn, f->branch.atom, key, length, &value, handle);
    if (status)
        return report(w, status);
    return is_branch(&value) ? remember_branch(w, f, node, *handle, path_bytes) : COP_OK;
}

static cop_status
put_elements(struct walk *w, struct frame *f)
{
    cop_status status = COP_OK;
    for (; !status && f->position < f->count; f->position += !status)
        status = put_element(w, f);
    return status;
}

static cop_status
put_children(struct walk *w, struct frame *f)
{
    cop_status status = COP_OK;
    f->iterator = json_object_iter(f->branch.node);
    for (; !status && f->position < f->count; f->position += !status) {
        status = put_child(w, f);
        if (!status)
            f->iterator = json_object_iter_next(f->branch.node, f->iterator);
    }
    return status;
}

/* Puts and arranges what is in a container; the containers in it are entered later. */
static cop_status
enter(struct walk *w, struct branch branch, bool merge)
{
    bool array = json_is_array(branch.node);
    size_t count = array ? json_array_size(branch.node) : json_object_size(branch.node);
    struct frame *f = &w->frames[w->depth++];
    *f = (struct frame){.branch = branch, .count = (uint32_t)count, .merge = merge && !array};
    f->first = f->next = w->used;
    if (count && w->segments + w->depth > COP_DEPTH_MAX)
        return fail_here(w, COP_E_LIMIT, "nested deeper than a path may be");
    cop_atom *handles = grown(w->handles, &w->handles_capacity, count + 1, sizeof *handles);
    if (!handles)
        return report(w, COP_E_MEMORY);
    w->handles = handles;
    cop_status status = array ? put_elements(w, f) : put_children(w, f);
    if (status || f->merge)
        return status;
    status = cop__txn_arrange(w->txn, branch.atom, w->handles, f->count);
    f->position = 0; /* a failure is told at the first member */
    return report(w, status);
}

/* Enters all that is to be entered below the outermost frame. */
static cop_status
descend(struct walk *w)
{
    cop_status status = COP_OK;
    while (!status && w->depth) {
        struct frame *f = &w->frames[w->depth - 1];
        if (f->next == w->used) {
            w->used = f->first;
            w->depth--;
            continue;
        }
        struct branch branch = w->branches[f->next++];
        f->position = branch.position;
        status = enter(w, branch, f->merge);
    }
    return status;
}

/* --- the document -------------------------------------------------------------------------- */

/* The segments of a path, and its bytes as the limit on paths below it counts them: from the last
 * segment that can be a position in an array (only the commit knows whether it is). */
static void
measure_path(const char *path, size_t length, uint32_t *segments, uint32_t *bytes)
{
    cop__path_walk walk = cop__path_walk_open(path, length);
    const char *segment;
    size_t n;
    *segments = *bytes = 0;
    while (cop__segment_next(&walk, &segment, &n)) {
        uint32_t position;
        bool element = cop__segment_index(segment, n, &position) || (n == 1 && *segment == '-');
        *bytes = element ? 0 : *bytes + (*bytes > 0) + (uint32_t)n;
        ++*segments;
    }
}

static cop_status
put_document(struct walk *w, const char *path, size_t length, json_t *document, bool merge)
{
    cop_value value;
    struct branch branch = {.node = document};
    measure_path(path, length, &w->segments, &branch.path_bytes);
    if (merge && json_is_null(document))
        return cop_txn_erase_at(w->txn, path, length, w->error);
    cop_status status = value_of(w, document, &value);
    if (status)
        return report(w, status);
    if (!length && !is_branch(&value))
        return fail_here(w, COP_E_INVALID, "the root is an object or an array");
    status = cop__txn_put_at(w->txn, path, length, &value, &branch.atom, w->error);
    if (status || !is_branch(&value))
        return status;
    status = enter(w, branch, merge);
    return status ? status : descend(w);
}

static void
end_walk(struct walk *w)
{
    free(w->frames);
    free(w->branches);
    free(w->handles);
    free(w->bytes.at);
}

/* The walk; a failure takes back what it added. */
static cop_status
add_document(struct walk *w, const char *path, size_t length, json_t *document,
             const cop__json_counts *counts, bool merge)
{
    /* One frame more for an object that only looks like {"$bytes":...} to the scan. */
    w->frames = malloc((counts->depth + 2) * sizeof *w->frames);
    if (!w->frames)
        return report(w, COP_E_MEMORY);
    cop__txn_mark mark = cop__txn_mark_here(w->txn);
    cop_status status = put_document(w, path, length, document, merge);
    if (status)
        cop__txn_rewind(w->txn, mark);
    return status;
}

cop_status
cop_json_read(cop_txn *txn, const char *path, size_t path_length, const char *text, size_t length,
              const cop_json_read_options *options, cop_error *error)
{
    cop_json_read_options limits;
    cop__json_counts counts;
    if (!txn || (!path && path_length) || (!text && length))
        return cop__fail(error, COP_E_INVALID, "no transaction, no path or no text");
    cop_status status = take_options(options, &limits, error);
    if (!status)
        status = cop_path_check(path, path_length, error);
    json_t *document =
        status ? NULL : cop__json_parse(text, length, &limits, &counts, &status, error);
    if (!document)
        return status;
    struct walk w = {.txn = txn, .text = text, .length = length, .error = error};
    status = add_document(&w, path, path_length, document, &counts, limits.merge_patch);
    end_walk(&w);
    json_decref(document);
    return status;
}

cop_status
cop_json_scalar(const char *text, size_t length, cop_value *value, cop_error *error)
{
    cop__json_counts counts;
    cop_value borrowed;
    cop_status status;
    if (!value || (!text && length))
        return cop__fail(error, COP_E_INVALID, "no text, or no place for the value");
    memset(value, 0, sizeof *value);
    json_t *document = cop__json_parse(text, length, &defaults, &counts, &status, error);
    if (!document)
        return status;
    struct walk w = {.text = text, .length = length, .error = error};
    status = value_of(&w, document, &borrowed);
    if (!status && is_branch(&borrowed))
        status = COP_E_TYPE;
    if (!status)
        status = cop_value_copy(&borrowed, value);
    if (status)
        report(&w, status);
    end_walk(&w);
    json_decref(document);
    return status;
}

/* SPDX-License-Identifier: MIT */
/* The public functions, and what the formats share: see patch.h. */
#include "patch/patch.h"

#include "commit/txn.h"
#include "serialize/json_internal.h"
#include "serialize/json_text.h"
#include "store/log.h"

/* ---- writing ---- */

/* Room for a path is asked for as cop_atom_path wants it. */
static cop_status
path_of(cop__bytes *path, const cop_snapshot *root, cop_atom atom, size_t *length)
{
    for (;;) {
        cop_status status = cop_atom_path(root, atom, path->at, path->capacity, length);
        if (status != COP_E_RANGE)
            return status;
        size_t more = *length + 64;
        char *at =
            cop__memory_realloc(path->memory, COP_MEMORY_OTHER, path->at, path->capacity, more);
        if (at == NULL)
            return COP_E_MEMORY;
        path->at = at;
        path->capacity = more;
    }
}

cop_status
cop__patch_path(cop__patch_writer *w, cop_atom atom, const char **at, size_t *length)
{
    size_t whole;
    cop_status status = path_of(&w->path, w->pair.now, atom, &whole);
    if (status != COP_OK)
        return status;
    size_t skip = w->base + (w->base > 0 && whole > w->base);
    *at = w->path.at + skip;
    *length = whole - skip;
    return COP_OK;
}

const char *
cop__patch_key(const cop_snapshot *root, uint32_t id, size_t *length)
{
    const cop__name *name = cop__info_name(cop__root_info(root, id));
    *length = cop__name_length(name);
    return cop__name_segment(name);
}

cop_status
cop__patch_put_json(cop__patch_writer *w, cop_atom atom)
{
    const cop__slot *slot = cop__root_slot(w->pair.now, atom.id);
    char buffer[256];
    if (cop__slot_is_branch(slot) || cop__slot_is_lazy(slot))
        return cop_json_write(w->pair.now, atom, NULL, cop__bytes_sink, &w->out);
    cop__json_out text = cop__json_out_to(buffer, sizeof buffer, cop__bytes_sink, &w->out);
    cop_value value = cop__slot_value(slot);
    cop__json_value_text(&text, &value, 0, 0);
    cop__json_flush(&text);
    return w->out.status;
}

bool
cop__patch_same_atom(const cop__patch_writer *w)
{
    return w->before.id == w->now.id && w->before.generation == w->now.generation;
}

/* The document's atom in one of the versions; generation 0 when there is none. */
static cop_status
find_document(const cop_snapshot *root, const char *path, size_t length, cop_atom *atom)
{
    cop_status status = cop_find(root, path, length, atom);
    return status == COP_E_ABSENT ? COP_OK : status;
}

static bool
exists(cop_atom atom)
{
    return atom.generation != 0;
}

static cop_status
write_format(cop__patch_writer *w, cop_patch_format format)
{
    switch (format) {
    case COP_PATCH_JSON:
        return cop__patch_write_json(w);
    case COP_PATCH_MERGE:
        return cop__patch_write_merge(w);
    default:
        return cop__patch_write_binary(w);
    }
}

static cop_status
write_document(cop__patch_writer *w, cop_patch_format format)
{
    cop_status status = COP_OK;
    if (exists(w->now))
        status = path_of(&w->path, w->pair.now, w->now, &w->base);
    if (status == COP_OK)
        status = write_format(w, format);
    return status == COP_OK ? cop__bytes_flush(&w->out) : status;
}

static cop_status
check_write(const cop_snapshot *before, const cop_snapshot *now, cop_patch_format format,
            const cop_patch_options *options, cop_sink_function sink, cop_patch_options *taken)
{
    *taken = (cop_patch_options)COP_PATCH_OPTIONS_INIT;
    if (before == NULL || now == NULL || sink == NULL || (unsigned)format > COP_PATCH_BINARY)
        return COP_E_INVALID;
    if (before->store == NULL || now->store == NULL)
        return COP_E_FORKED;
    if (before->store != now->store)
        return COP_E_INVALID;
    bool known = options == NULL || cop__json_options_copy(taken, sizeof *taken, options);
    return known ? COP_OK : COP_E_INVALID;
}

/* Between two records of one store. */
static cop_status
write_between(const cop_snapshot *before, const cop_snapshot *now, const char *path,
              size_t path_length, cop_patch_format format, uint64_t max_bytes,
              cop_sink_function sink, void *context, cop_error *error)
{
    cop__memory *memory = cop__store_memory(now->store);
    cop__patch_writer w = {.memory = memory, .pair = {before, now}, .error = error};
    w.out = (cop__bytes){.memory = memory, .sink = sink, .context = context, .limit = max_bytes};
    w.path.memory = memory;
    cop_status status = find_document(before, path, path_length, &w.before);
    if (status == COP_OK)
        status = find_document(now, path, path_length, &w.now);
    if (status == COP_OK && !exists(w.before) && !exists(w.now))
        status = COP_E_ABSENT;
    if (status == COP_OK)
        status = write_document(&w, format);
    cop__bytes_end(&w.out);
    cop__bytes_end(&w.path);
    return status;
}

cop_status
cop_patch_write(const cop_snapshot *before, const cop_snapshot *now, const char *path,
                size_t path_length, cop_patch_format format, const cop_patch_options *options,
                cop_sink_function sink, void *context, cop_error *error)
{
    cop_patch_options taken;
    cop_error own = COP_ERROR_INIT;
    cop__entered first, second;
    cop_status status = check_write(before, now, format, options, sink, &taken);
    if (status == COP_OK && (status = cop_path_check(path, path_length, error)) != COP_OK)
        return status;
    if (status == COP_OK && (status = cop__snapshot_enter(before, &first)) == COP_OK) {
        status = cop__snapshot_enter(now, &second);
        if (status == COP_OK) {
            status = write_between(first.root, second.root, path, path_length, format,
                                   taken.max_bytes, sink, context, &own);
            cop__snapshot_leave(&second);
        }
        cop__snapshot_leave(&first);
    }
    if (status != COP_OK && own.status == COP_OK)
        (void)cop__fail(&own, status, "%s", cop_status_message(status));
    if (error != NULL && status != COP_OK)
        *error = own;
    return status;
}

/* ---- reading ---- */

cop__item *
cop__patch_item(cop__patch_reader *r)
{
    if (!cop__memory_grow(r->memory, COP_MEMORY_OTHER, &r->item, &r->capacity, r->count + 1,
                          sizeof *r->item))
        return NULL;
    return &r->item[r->count++];
}

char *
cop__patch_keep(cop__patch_reader *r, const char *text, size_t n)
{
    char *kept = cop__txn_bytes(r->txn, n > 0 ? n : 1);
    if (kept != NULL && n > 0)
        memcpy(kept, text, n);
    return kept;
}

cop_status
cop__patch_refuse(cop__patch_reader *r, cop_status status, const char *why)
{
    return cop__fail(r->error, status, "operation %u of the patch: %s", r->index, why);
}

static cop_status
keep_path(cop__patch_reader *r, const cop__bytes *path, const char **at, size_t *length)
{
    cop_error error = COP_ERROR_INIT;
    if (path->status != COP_OK)
        return cop__patch_refuse(r, path->status, cop_status_message(path->status));
    cop_status status = cop_path_check(path->at, path->used, &error);
    if (status != COP_OK)
        return cop__patch_refuse(r, status, error.message);
    *at = cop__patch_keep(r, path->at, path->used);
    *length = path->used;
    return *at != NULL ? COP_OK : cop__patch_refuse(r, COP_E_MEMORY, "out of memory");
}

static bool
is_inside(const cop__doc_step *step)
{
    return step->length > step->from_length &&
           memcmp(step->path, step->from, step->from_length) == 0 &&
           (step->from_length == 0 || step->path[step->from_length] == '/');
}

/* What no state would allow. */
static cop_status
check_step(cop__patch_reader *r, const cop__doc_step *step)
{
    bool takes_out = step->what == COP_DOC_REMOVE
                         ? step->length == 0
                         : step->what == COP_DOC_MOVE && step->from_length == 0;
    if (takes_out)
        return cop__patch_refuse(r, COP_E_INVALID, "the root cannot be removed");
    if (step->what == COP_DOC_MOVE && is_inside(step))
        return cop__patch_refuse(r, COP_E_INVALID, "what is moved cannot go into itself");
    if (step->item != NULL && step->length == 0 && step->what != COP_DOC_TEST &&
        step->item->value.type < COP_OBJECT)
        return cop__patch_refuse(r, COP_E_INVALID, "the root is an object or an array");
    return COP_OK;
}

cop_status
cop__patch_step(cop__patch_reader *r, cop__doc_step_what what, uint32_t position)
{
    cop__doc_step step = {
        .what = what, .index = r->index, .position = position, .copied = r->copied};
    cop_status status = keep_path(r, &r->path, &step.path, &step.length);
    if (status == COP_OK && (what == COP_DOC_MOVE || what == COP_DOC_COPY))
        status = keep_path(r, &r->from, &step.from, &step.from_length);
    if (status == COP_OK && r->count > 0) {
        step.item = (const cop__item *)(void *)cop__patch_keep(r, (const char *)r->item,
                                                               r->count * sizeof *r->item);
        if (step.item == NULL)
            status = cop__patch_refuse(r, COP_E_MEMORY, "out of memory");
    }
    if (status == COP_OK)
        status = check_step(r, &step);
    if (status == COP_OK && (status = cop__txn_step(r->txn, &step)) != COP_OK)
        return cop__patch_refuse(r, status, cop_status_message(status));
    r->index++;
    return status;
}

static cop_status
read_steps(cop_txn *txn, const char *path, size_t path_length, cop_patch_format format,
           const char *text, size_t length, cop_error *error)
{
    cop__patch_reader r = {.txn = txn,
                           .memory = cop__store_memory(txn->store),
                           .base = path,
                           .base_length = path_length,
                           .text = text,
                           .length = length,
                           .error = error};
    r.path.memory = r.from.memory = r.memory;
    r.copied = cop__txn_bytes(txn, sizeof *r.copied);
    if (r.copied == NULL)
        return cop__fail(error, COP_E_MEMORY, "%s", cop_status_message(COP_E_MEMORY));
    *r.copied = 0;
    cop__txn_mark mark = cop__txn_mark_here(txn);
    cop_status status =
        format == COP_PATCH_JSON ? cop__patch_read_json(&r) : cop__patch_read_binary(&r);
    if (status != COP_OK)
        cop__txn_rewind(txn, mark);
    cop__memory_free(r.memory, COP_MEMORY_OTHER, r.item, r.capacity * sizeof *r.item, 16);
    cop__bytes_end(&r.path);
    cop__bytes_end(&r.from);
    return status;
}

cop_status
cop_patch_apply(cop_txn *txn, const char *path, size_t path_length, cop_patch_format format,
                const char *text, size_t length, cop_error *error)
{
    if (txn == NULL || (path == NULL && path_length > 0) || (text == NULL && length > 0) ||
        (unsigned)format > COP_PATCH_BINARY)
        return cop__fail(error, COP_E_INVALID, "no transaction, path, text or format");
    cop_status status = cop__txn_building(txn);
    if (status != COP_OK)
        return cop__fail(error, status, "%s", cop_status_message(status));
    status = cop_path_check(path, path_length, error);
    if (status != COP_OK)
        return status;
    if (format == COP_PATCH_MERGE) {
        cop_json_read_options options = COP_JSON_READ_OPTIONS_INIT;
        options.merge_patch = true;
        return cop_json_read(txn, path, path_length, text, length, &options, error);
    }
    return read_steps(txn, path, path_length, format, text != NULL ? text : "", length, error);
}

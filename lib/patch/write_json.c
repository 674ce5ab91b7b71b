/* SPDX-License-Identifier: MIT */
/* A JSON Patch (RFC 6902) from the edits between two versions, written as they come. */
#include "patch/patch.h"
#include "patch/pointer.h"

typedef struct json_writer {
    cop__patch_writer *w;
    cop__bytes pointer; /* of the branch of the last edit, as it stands in a JSON string */
    cop_atom branch;
    bool any, has_branch;
} json_writer;

static void
begin(json_writer *j, const char *what)
{
    cop__bytes *out = &j->w->out;
    cop__bytes_text(out, j->any ? ",{\"op\":\"" : "[{\"op\":\"");
    cop__bytes_text(out, what);
    j->any = true;
}

static cop_status
find_pointer(json_writer *j, cop_atom atom)
{
    const char *path;
    size_t length;
    if (j->has_branch && j->branch.id == atom.id)
        return COP_OK;
    cop_status status = cop__patch_path(j->w, atom, &path, &length);
    if (status != COP_OK)
        return status;
    j->pointer.used = 0;
    cop__pointer_of(&j->pointer, path, length);
    j->branch = atom;
    j->has_branch = true;
    return j->pointer.status;
}

static void
put_pointer(json_writer *j, const char *name)
{
    cop__bytes_text(&j->w->out, "\",\"");
    cop__bytes_text(&j->w->out, name);
    cop__bytes_text(&j->w->out, "\":\"");
    cop__bytes_put(&j->w->out, j->pointer.at, j->pointer.used);
}

static void
put_place(json_writer *j, const char *name, uint32_t position)
{
    put_pointer(j, name);
    cop__bytes_text(&j->w->out, "/");
    cop__bytes_number(&j->w->out, position);
}

static void
put_member(json_writer *j, const cop_snapshot *root, uint32_t id)
{
    size_t length;
    const char *key = cop__patch_key(root, id, &length);
    put_pointer(j, "path");
    cop__bytes_text(&j->w->out, "/");
    cop__pointer_token(&j->w->out, key, length);
}

static cop_status
put_value(json_writer *j, cop_atom atom, bool null)
{
    cop__bytes *out = &j->w->out;
    cop_status status = COP_OK;
    cop__bytes_text(out, "\",\"value\":");
    if (null)
        cop__bytes_text(out, "null");
    else
        status = cop__patch_put_json(j->w, atom);
    cop__bytes_text(out, "}");
    return out->status != COP_OK ? out->status : status;
}

static cop_status
end_without_value(json_writer *j)
{
    cop__bytes_text(&j->w->out, "\"}");
    return j->w->out.status;
}

/* ---- edits ---- */

static cop_status
tell_element(json_writer *j, const cop__edit *edit)
{
    switch (edit->kind) {
    case COP_EDIT_REMOVE:
        begin(j, "remove");
        put_place(j, "path", edit->from);
        return end_without_value(j);
    case COP_EDIT_MOVE:
        begin(j, "move");
        put_place(j, "from", edit->from);
        put_place(j, "path", edit->position);
        return end_without_value(j);
    default:
        begin(j, "add");
        put_place(j, "path", edit->position);
        return put_value(j, edit->atom, cop__edit_is_lazy(edit->now));
    }
}

/* Members are in no order here, and lazy ones are not there. */
static cop_status
tell_member(json_writer *j, const cop__edit *edit)
{
    if (edit->kind == COP_EDIT_MOVE || cop__edit_is_lazy(edit->now) ||
        cop__edit_is_lazy(edit->before))
        return COP_OK;
    if (edit->kind == COP_EDIT_REMOVE) {
        begin(j, "remove");
        put_member(j, j->w->pair.before, edit->atom.id);
        return end_without_value(j);
    }
    begin(j, "add");
    put_member(j, j->w->pair.now, edit->atom.id);
    return put_value(j, edit->atom, false);
}

static cop_status
tell_value(json_writer *j, const cop__edit *edit)
{
    bool member = cop__info_name(cop__root_info(j->w->pair.now, edit->atom.id)) != NULL;
    bool lazy = cop__edit_is_lazy(edit->now), was_lazy = cop__edit_is_lazy(edit->before);
    begin(j, !member ? "replace" : lazy ? "remove" : was_lazy ? "add" : "replace");
    put_pointer(j, "path");
    return member && lazy ? end_without_value(j) : put_value(j, edit->atom, lazy);
}

static cop_status
tell(void *context, const cop__edit *edit)
{
    json_writer *j = context;
    cop_status status = find_pointer(j, edit->branch);
    if (status != COP_OK)
        return status;
    if (edit->kind == COP_EDIT_REPLACE)
        return tell_value(j, edit);
    const cop__slot *branch = cop__root_slot(j->w->pair.now, edit->branch.id);
    return cop__slot_type(branch) == COP_ARRAY ? tell_element(j, edit) : tell_member(j, edit);
}

/* The document is another atom, or in one version only. */
static cop_status
tell_whole(json_writer *j)
{
    cop__patch_writer *w = j->w;
    const cop__slot *now = cop__root_atom(w->pair.now, w->now);
    const cop__slot *before = cop__root_atom(w->pair.before, w->before);
    if (now == NULL || cop__slot_is_lazy(now)) {
        if (before == NULL || cop__slot_is_lazy(before))
            return COP_OK;
        begin(j, "remove");
        put_pointer(j, "path");
        return end_without_value(j);
    }
    begin(j, before == NULL || cop__slot_is_lazy(before) ? "add" : "replace");
    put_pointer(j, "path");
    return put_value(j, w->now, false);
}

cop_status
cop__patch_write_json(cop__patch_writer *w)
{
    json_writer j = {.w = w};
    j.pointer.memory = w->memory;
    cop_status status = cop__patch_same_atom(w)
                            ? cop__tree_edits(w->memory, w->pair, w->now, tell, &j)
                            : tell_whole(&j);
    cop__bytes_text(&w->out, j.any ? "]" : "[]");
    cop__bytes_end(&j.pointer);
    return status;
}

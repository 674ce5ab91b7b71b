/* SPDX-License-Identifier: MIT */
/* A JSON Patch (RFC 6902), read into steps. */
#include "patch/patch.h"
#include "patch/pointer.h"
#include "serialize/json_internal.h"
#include "store/log.h"

/* ---- values ---- */

struct level {
    json_t *node;
    void *member; /* of an object, the next one */
    size_t next;
};

static json_t *
next_child(struct level *top, const char **key)
{
    *key = NULL;
    if (json_is_array(top->node))
        return json_array_get(top->node, top->next++);
    if (top->member == NULL)
        return NULL;
    *key = json_object_iter_key(top->member);
    json_t *child = json_object_iter_value(top->member);
    top->member = json_object_iter_next(top->node, top->member);
    return child;
}

static cop_status
escape_key(cop__patch_reader *r, cop__item *item, const char *key)
{
    char segment[COP_PATH_MAX];
    size_t written;
    cop_status status = cop_path_escape(key, strlen(key), segment, sizeof segment, &written, NULL);
    if (status != COP_OK)
        return status == COP_E_RANGE ? COP_E_LIMIT : status;
    item->key = cop__patch_keep(r, segment, written);
    item->key_length = (uint32_t)written;
    return item->key != NULL ? COP_OK : COP_E_MEMORY;
}

/* Long texts live as long as the transaction: bytes are decoded to a place that is used again. */
static cop_status
keep_text(cop__patch_reader *r, cop_value *value)
{
    if (!cop_value_is_text(value) || value->inlined != COP_VALUE_OUTSIDE)
        return COP_OK;
    const char *kept = cop__patch_keep(r, cop_value_data(value), cop_value_length(value));
    if (kept == NULL)
        return COP_E_MEMORY;
    memcpy(&value->small.words[1], &kept, sizeof kept);
    return COP_OK;
}

static cop_status
read_item(cop__patch_reader *r, cop__json_scratch *bytes, json_t *node, const char *key)
{
    cop__item *item = cop__patch_item(r);
    if (item == NULL)
        return COP_E_MEMORY;
    *item = (cop__item){.count = 0};
    cop_status status = cop__json_node_value(node, bytes, &item->value);
    if (status == COP_OK && item->value.type >= COP_OBJECT)
        item->count =
            (uint32_t)(json_is_array(node) ? json_array_size(node) : json_object_size(node));
    if (status == COP_OK)
        status = keep_text(r, &item->value);
    return status == COP_OK && key != NULL ? escape_key(r, item, key) : status;
}

/* The scan has kept the limit on nesting, of the patch as a whole. */
static cop_status
read_items(cop__patch_reader *r, cop__json_scratch *bytes, json_t *value)
{
    struct level levels[COP_DEPTH_MAX + 2];
    uint32_t depth = 0;
    const char *key = NULL;
    cop_status status = COP_OK;
    for (json_t *node = value; status == COP_OK; node = next_child(&levels[depth - 1], &key)) {
        if (node == NULL) {
            if (--depth == 0)
                return COP_OK;
            continue;
        }
        status = read_item(r, bytes, node, key);
        if (status == COP_OK && r->item[r->count - 1].value.type >= COP_OBJECT) {
            COP_ASSERT(depth <= COP_DEPTH_MAX);
            levels[depth++] = (struct level){node, json_object_iter(node), 0};
        }
        if (depth == 0)
            return status;
    }
    return status;
}

/* ---- operations ---- */

static const struct form {
    const char *name;
    cop__doc_step_what what;
    bool value, from;
} forms[] = {
    {"add", COP_DOC_ADD, true, false},         {"remove", COP_DOC_REMOVE, false, false},
    {"replace", COP_DOC_REPLACE, true, false}, {"move", COP_DOC_MOVE, false, true},
    {"copy", COP_DOC_COPY, false, true},       {"test", COP_DOC_TEST, true, false},
};

static const struct form *
form_of(const char *name)
{
    for (size_t i = 0; name != NULL && i < sizeof forms / sizeof *forms; i++)
        if (strcmp(forms[i].name, name) == 0)
            return &forms[i];
    return NULL;
}

/* The pointer in a member, behind the document's path. */
static cop_status
read_pointer(cop__patch_reader *r, const json_t *operation, const char *name, cop__bytes *path)
{
    const json_t *pointer = json_object_get(operation, name);
    path->used = 0;
    cop__bytes_put(path, r->base, r->base_length);
    if (!json_is_string(pointer))
        return cop__fail(r->error, COP_E_INVALID,
                         "operation %u of the patch: \"%s\" must be a string", r->index, name);
    cop_status status =
        cop__pointer_append(path, json_string_value(pointer), json_string_length(pointer));
    if (status == COP_OK)
        return COP_OK;
    return cop__fail(r->error, status, "operation %u of the patch: \"%s\" is no JSON pointer",
                     r->index, name);
}

static cop_status
read_operation(cop__patch_reader *r, cop__json_scratch *bytes, const json_t *operation)
{
    const struct form *form = form_of(json_string_value(json_object_get(operation, "op")));
    json_t *value = json_object_get(operation, "value");
    r->count = 0;
    if (form == NULL)
        return cop__patch_refuse(r, COP_E_INVALID,
                                 "\"op\" is add, remove, replace, move, copy or test");
    cop_status status = read_pointer(r, operation, "path", &r->path);
    if (status == COP_OK && form->from)
        status = read_pointer(r, operation, "from", &r->from);
    if (status != COP_OK)
        return status;
    if (form->value && value == NULL)
        return cop__patch_refuse(r, COP_E_INVALID, "\"value\" is missing");
    if (form->value && (status = read_items(r, bytes, value)) != COP_OK)
        return cop__patch_refuse(r, status, cop_status_message(status));
    return cop__patch_step(r, form->what, COP_AT_END);
}

cop_status
cop__patch_read_json(cop__patch_reader *r)
{
    cop_json_read_options limits = COP_JSON_READ_OPTIONS_INIT;
    cop__json_counts counts;
    cop__json_scratch bytes = {0};
    cop_status status;
    json_t *patch = cop__json_parse(r->text, r->length, &limits, &counts, &status, r->error);
    if (patch == NULL)
        return status;
    if (!json_is_array(patch))
        status = cop__fail(r->error, COP_E_INVALID, "a JSON Patch is an array of operations");
    for (size_t i = 0; status == COP_OK && i < json_array_size(patch); i++)
        status = read_operation(r, &bytes, json_array_get(patch, i));
    free(bytes.at);
    json_decref(patch);
    return status;
}

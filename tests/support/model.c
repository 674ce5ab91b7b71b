/* SPDX-License-Identifier: MIT */
#include "tests/support/model.h"

#include <inttypes.h>
#include <stdlib.h>

#include "tests/support/dump.h"

static void *
need(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

static bool
is_branch(const model_node *node)
{
    return node->value.type == COP_OBJECT || node->value.type == COP_ARRAY;
}

static void
put_value(model_node *node, const cop_value *value)
{
    cop_value copy;

    if (cop_value_copy(value, &copy) != COP_OK)
        abort();
    cop_value_free(&node->value);
    node->value = copy;
}

/* --- nodes --------------------------------------------------------------------- */

static model_node *
node_new(model *m, const char *key, size_t length, const cop_value *value)
{
    model_node *node = need(calloc(1, sizeof *node));

    node->uid = m->next_uid++;
    if (key != NULL) {
        node->key = need(malloc(length + 1));
        memcpy(node->key, key, length);
        node->key[length] = '\0';
        node->key_length = length;
    }
    put_value(node, value);
    return node;
}

static void
node_free(model_node *node)
{
    if (node == NULL)
        return;
    for (uint32_t i = 0; i < node->count; i++)
        node_free(node->children[i]);
    cop_value_free(&node->value);
    free(node->children);
    free(node->key);
    free(node);
}

static void
node_link(model_node *parent, uint32_t index, model_node *child)
{
    if (parent->count == parent->capacity) {
        parent->capacity = parent->capacity ? 2 * parent->capacity : 4;
        parent->children =
            need(realloc(parent->children, parent->capacity * sizeof *parent->children));
    }
    memmove(parent->children + index + 1, parent->children + index,
            (parent->count - index) * sizeof *parent->children);
    parent->children[index] = child;
    parent->count++;
    child->parent = parent;
}

static uint32_t
node_index(const model_node *node)
{
    uint32_t i = 0;

    while (node->parent->children[i] != node)
        i++;
    return i;
}

static void
node_unlink(model_node *node)
{
    model_node *parent = node->parent;
    uint32_t i = node_index(node);

    parent->count--;
    memmove(parent->children + i, parent->children + i + 1,
            (parent->count - i) * sizeof *parent->children);
}

static model_node *
node_clone(const model_node *node)
{
    model_node *copy = need(malloc(sizeof *copy));

    *copy = *node;
    copy->children = NULL;
    copy->count = copy->capacity = 0;
    memset(&copy->value, 0, sizeof copy->value);
    put_value(copy, &node->value);
    if (node->key != NULL) {
        copy->key = need(malloc(node->key_length + 1));
        memcpy(copy->key, node->key, node->key_length + 1);
    }
    for (uint32_t i = 0; i < node->count; i++)
        node_link(copy, i, node_clone(node->children[i]));
    return copy;
}

/* --- transactions ---------------------------------------------------------------- */

void
model_init(model *m)
{
    cop_value object = cop_object();

    memset(m, 0, sizeof *m);
    m->root = node_new(m, NULL, 0, &object);
    m->root->atom = cop_root();
    m->anonymous = node_new(m, NULL, 0, &object);
}

void
model_free(model *m)
{
    node_free(m->root);
    node_free(m->anonymous);
    node_free(m->saved_root);
    node_free(m->saved_anonymous);
}

void
model_begin(model *m)
{
    m->saved_root = node_clone(m->root);
    m->saved_anonymous = node_clone(m->anonymous);
}

void
model_rollback(model *m)
{
    node_free(m->root);
    node_free(m->anonymous);
    m->root = m->saved_root;
    m->anonymous = m->saved_anonymous;
    m->saved_root = m->saved_anonymous = NULL;
}

static void
index_nodes(model_node *node, model_node **by_uid)
{
    by_uid[node->uid] = node;
    for (uint32_t i = 0; i < node->count; i++)
        index_nodes(node->children[i], by_uid);
}

/* Compares a node with what it was, and the same below it; true when there is a difference that
 * its parent sees. */
static bool
settle(model_node *node, model_node **old, uint64_t version)
{
    const model_node *was = old[node->uid];
    bool changed = was == NULL || !cop_value_equal(&node->value, &was->value);

    if (was != NULL && was->count != node->count)
        changed = true;
    for (uint32_t i = 0; i < node->count; i++) {
        if (!changed && was->children[i]->uid != node->children[i]->uid)
            changed = true;
        if (settle(node->children[i], old, version))
            changed = true;
    }
    if (changed && is_branch(node))
        node->changed = version;
    return changed;
}

bool
model_commit(model *m)
{
    model_node **old = need(calloc(m->next_uid, sizeof *old));
    bool changed, anonymous_changed;

    index_nodes(m->saved_root, old);
    index_nodes(m->saved_anonymous, old);
    changed = settle(m->root, old, m->version + 1);
    anonymous_changed = settle(m->anonymous, old, m->version + 1);
    free(old);
    node_free(m->saved_root);
    node_free(m->saved_anonymous);
    m->saved_root = m->saved_anonymous = NULL;
    if (changed || anonymous_changed)
        m->version++;
    return changed || anonymous_changed;
}

/* --- operations ------------------------------------------------------------------ */

cop_status
model_set(model *m, model_node *node, const cop_value *value)
{
    bool branch = value->type == COP_OBJECT || value->type == COP_ARRAY;

    if (branch && node->parent == m->anonymous)
        return COP_E_INVALID;
    if (is_branch(node) && node->value.type == value->type)
        return COP_OK;
    if (node->count > 0)
        return COP_E_BRANCH;
    put_value(node, value);
    return COP_OK;
}

model_node *
model_child(const model_node *object, const char *key, size_t length)
{
    for (uint32_t i = 0; i < object->count; i++) {
        model_node *child = object->children[i];
        if (child->key_length == length && memcmp(child->key, key, length) == 0)
            return child;
    }
    return NULL;
}

cop_status
model_set_child(model *m, model_node *object, const char *key, size_t length,
                const cop_value *value, model_node **out)
{
    model_node *child;

    *out = NULL;
    if (object->value.type != COP_OBJECT)
        return COP_E_NOT_BRANCH;
    *out = child = model_child(object, key, length);
    if (child != NULL)
        return model_set(m, child, value);
    *out = child = node_new(m, key, length, value);
    node_link(object, object->count, child);
    return COP_OK;
}

cop_status
model_insert(model *m, model_node *array, uint32_t index, const cop_value *value, model_node **out)
{
    *out = NULL;
    if (array->value.type != COP_ARRAY)
        return COP_E_NOT_BRANCH;
    if (index == COP_AT_END)
        index = array->count;
    if (index > array->count)
        return COP_E_RANGE;
    *out = node_new(m, NULL, 0, value);
    node_link(array, index, *out);
    return COP_OK;
}

model_node *
model_create(model *m, const cop_value *value)
{
    model_node *node = node_new(m, NULL, 0, value);

    node_link(m->anonymous, m->anonymous->count, node);
    return node;
}

cop_status
model_erase(model *m, model_node *node)
{
    if (node == m->root)
        return COP_E_INVALID;
    node_unlink(node);
    node_free(node);
    return COP_OK;
}

cop_status
model_clear(model *m, model_node *node)
{
    (void)m;
    for (uint32_t i = 0; i < node->count; i++)
        node_free(node->children[i]);
    node->count = 0;
    return COP_OK;
}

cop_status
model_add(model *m, model_node *node, const cop_value *delta)
{
    cop_value sum;
    int64_t i;

    (void)m;
    if (node->value.type == COP_I64 && delta->type == COP_I64) {
        if (__builtin_add_overflow(cop_value_i64(&node->value), cop_value_i64(delta), &i))
            return COP_E_RANGE;
        sum = cop_i64(i);
    } else if (node->value.type == COP_I64 || node->value.type == COP_F64) {
        double a = node->value.type == COP_I64 ? (double)cop_value_i64(&node->value)
                                               : cop_value_f64(&node->value);
        double b =
            delta->type == COP_I64 ? (double)cop_value_i64(delta) : cop_value_f64(delta);
        sum = cop_f64(a + b);
    } else {
        return COP_E_TYPE;
    }
    put_value(node, &sum);
    return COP_OK;
}

/* --- looking ---------------------------------------------------------------------- */

static uint64_t
count_nodes(const model_node *node)
{
    uint64_t n = 1;

    for (uint32_t i = 0; i < node->count; i++)
        n += count_nodes(node->children[i]);
    return n;
}

uint64_t
model_count(const model *m)
{
    return count_nodes(m->root) - 1 + m->anonymous->count;
}

static model_node *
pick(model_node *node, uint64_t *left)
{
    if ((*left)-- == 0)
        return node;
    for (uint32_t i = 0; i < node->count; i++) {
        model_node *found = pick(node->children[i], left);
        if (found != NULL)
            return found;
    }
    return NULL;
}

model_node *
model_pick(model *m, uint64_t random, bool anonymous)
{
    uint64_t left = random % (count_nodes(m->root) + (anonymous ? m->anonymous->count : 0));
    model_node *found = pick(m->root, &left);

    return found != NULL ? found : m->anonymous->children[left];
}

static bool
learn_one(model_node *node, cop_atom atom)
{
    bool same = node->atom.id == atom.id && node->atom.generation == atom.generation;

    if (node->known && !same)
        return false;
    node->known = true;
    node->atom = atom;
    return true;
}

static bool
learn(model_node *node, const cop_snapshot *snapshot)
{
    cop_cursor cursor;
    cop_child child;

    if (!is_branch(node))
        return true;
    if (cop_cursor_open(snapshot, node->atom, &cursor) != COP_OK)
        return false;
    for (uint32_t i = 0; i < node->count; i++) {
        if (!cop_cursor_next(&cursor, &child) || !learn_one(node->children[i], child.atom) ||
            !learn(node->children[i], snapshot))
            return false;
    }
    return !cop_cursor_next(&cursor, &child);
}

bool
model_learn(model *m, const cop_snapshot *snapshot)
{
    return learn(m->root, snapshot);
}

static void
escaped(const model_node *node, char *out, size_t capacity, size_t *length)
{
    if (cop_path_escape(node->key, node->key_length, out, capacity, length, NULL) != COP_OK)
        abort();
}

void
model_path(const model_node *node, char *buffer, size_t capacity)
{
    size_t used, length;

    buffer[0] = '\0';
    if (node->parent == NULL)
        return;
    model_path(node->parent, buffer, capacity);
    used = strlen(buffer);
    if (used > 0)
        buffer[used++] = '/';
    if (node->key == NULL) {
        snprintf(buffer + used, capacity - used, "%" PRIu32, node_index(node));
        return;
    }
    escaped(node, buffer + used, capacity - used - 1, &length);
    buffer[used + length] = '\0';
}

static void
dump_extras(FILE *out, const model_node *node, unsigned flags)
{
    if (flags & DUMP_HANDLES)
        fprintf(out, " #%" PRIu32 ".%" PRIu32, node->atom.id, node->atom.generation);
    if ((flags & DUMP_CHANGED) && is_branch(node))
        fprintf(out, " @%" PRIu64, node->changed);
    fputc('\n', out);
}

static void
dump_node(FILE *out, const model_node *node, unsigned depth, unsigned flags)
{
    char key[COP_PATH_MAX];
    size_t length = 0;

    if (node->key != NULL)
        escaped(node, key, sizeof key, &length);
    dump_line(out, depth, node->key != NULL ? key : NULL, length, &node->value);
    dump_extras(out, node, flags);
    for (uint32_t i = 0; i < node->count; i++)
        dump_node(out, node->children[i], depth + 1, flags);
}

static int
by_id(const void *a, const void *b)
{
    uint32_t x = (*(model_node *const *)a)->atom.id, y = (*(model_node *const *)b)->atom.id;

    return x < y ? -1 : x > y;
}

static void
dump_anonymous(FILE *out, const model_node *list, unsigned flags)
{
    model_node **sorted = need(malloc((list->count + 1) * sizeof *sorted));

    for (uint32_t i = 0; i < list->count; i++)
        sorted[i] = list->children[i];
    qsort(sorted, list->count, sizeof *sorted, by_id);
    for (uint32_t i = 0; i < list->count; i++) {
        fprintf(out, "anonymous ");
        dump_line(out, 0, NULL, 0, &sorted[i]->value);
        dump_extras(out, sorted[i], flags);
    }
    free(sorted);
}

char *
model_dump(const model *m, unsigned flags)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = need(open_memstream(&text, &size));

    dump_line(out, 0, "", 0, &m->root->value);
    dump_extras(out, m->root, flags);
    for (uint32_t i = 0; i < m->root->count; i++)
        dump_node(out, m->root->children[i], 1, flags);
    dump_anonymous(out, m->anonymous, flags);
    fclose(out);
    return text;
}

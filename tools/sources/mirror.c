/* SPDX-License-Identifier: MIT */
/*
 * Nodes in a tree, each with a table of its children by key. Handles of new atoms are provisional
 * until the commit has written the real ones into the nodes; so nodes never move.
 */
#include "tools/sources/mirror.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY_MAX 80

struct mirror_node {
    struct mirror_node *next;     /* in its parent's bucket */
    struct mirror_node **buckets; /* children; a power of two of them, or NULL */
    uint32_t buckets_count, children;
    cop_atom atom;
    bool branch;
    uint64_t identity; /* of a branch; of a value: what was written last, see fingerprint() */
    uint64_t sweep;    /* that found it last */
    char key[KEY_MAX];
};

struct mirror {
    cop_store *store;
    cop_txn *txn;
    struct mirror_node *top;
    bool anew;                   /* top was made in this sweep */
    struct mirror_node *removed; /* freed after the commit, which may yet write their handles */
    uint64_t sweep;
    uint64_t operations;
    cop_status status; /* of the first operation of this sweep that was refused */
    char key[KEY_MAX];
};

static uint64_t
hash_bytes(const void *bytes, size_t n, uint64_t hash)
{
    const unsigned char *p = bytes;
    for (; n; n--)
        hash = (hash ^ *p++) * 0x100000001b3u;
    return hash ^ (hash >> 29);
}

static uint64_t
hash_key(const char *key)
{
    return hash_bytes(key, strlen(key), 0xcbf29ce484222325u);
}

static void
note(struct mirror *m, cop_status status)
{
    m->operations++;
    if (m->status == COP_OK)
        m->status = status;
}

/* --- nodes ---------------------------------------------------------------------------------- */

static void
free_node(struct mirror_node *node)
{
    for (uint32_t i = 0; i < node->buckets_count; i++)
        for (struct mirror_node *child = node->buckets[i], *next; child; child = next) {
            next = child->next;
            free_node(child);
        }
    free(node->buckets);
    free(node);
}

static bool
grow(struct mirror_node *parent)
{
    uint32_t count = parent->buckets_count ? parent->buckets_count * 2 : 8;
    struct mirror_node **buckets = calloc(count, sizeof *buckets);
    if (!buckets)
        return false;
    for (uint32_t i = 0; i < parent->buckets_count; i++)
        for (struct mirror_node *child = parent->buckets[i], *next; child; child = next) {
            struct mirror_node **to = &buckets[hash_key(child->key) & (count - 1)];
            next = child->next;
            child->next = *to;
            *to = child;
        }
    free(parent->buckets);
    parent->buckets = buckets;
    parent->buckets_count = count;
    return true;
}

static struct mirror_node *
find_child(const struct mirror_node *parent, const char *key)
{
    if (!parent->buckets_count)
        return NULL;
    struct mirror_node *child = parent->buckets[hash_key(key) & (parent->buckets_count - 1)];
    while (child && strcmp(child->key, key) != 0)
        child = child->next;
    return child;
}

static struct mirror_node *
new_node(const char *key)
{
    struct mirror_node *node = calloc(1, sizeof *node);
    if (node)
        snprintf(node->key, sizeof node->key, "%s", key);
    return node;
}

/* Makes the atom too. */
static struct mirror_node *
add_child(struct mirror *m, struct mirror_node *parent, const char *key, const cop_value *value)
{
    if (strlen(key) >= KEY_MAX)
        return NULL;
    if (parent->children >= parent->buckets_count && !grow(parent))
        return NULL;
    struct mirror_node *child = new_node(key);
    if (!child)
        return NULL;
    struct mirror_node **bucket = &parent->buckets[hash_key(key) & (parent->buckets_count - 1)];
    child->next = *bucket;
    *bucket = child;
    parent->children++;
    note(m, cop_txn_set_child(m->txn, parent->atom, key, strlen(key), value, &child->atom));
    return child;
}

static void
remove_child(struct mirror *m, struct mirror_node *parent, struct mirror_node **link)
{
    struct mirror_node *child = *link;
    *link = child->next;
    parent->children--;
    note(m, cop_txn_erase(m->txn, child->atom));
    child->next = m->removed;
    m->removed = child;
}

/* Erases what this sweep has not found. */
static void
prune(struct mirror *m, struct mirror_node *parent)
{
    for (uint32_t i = 0; i < parent->buckets_count; i++) {
        struct mirror_node **link = &parent->buckets[i];
        while (*link) {
            if ((*link)->sweep != m->sweep) {
                remove_child(m, parent, link);
                continue;
            }
            prune(m, *link);
            link = &(*link)->next;
        }
    }
}

/* --- sweeps --------------------------------------------------------------------------------- */

struct mirror *
mirror_new(cop_store *store, const char *key)
{
    struct mirror *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    m->store = store;
    snprintf(m->key, sizeof m->key, "%s", key);
    return m;
}

static void
forget(struct mirror *m)
{
    if (m->top)
        free_node(m->top);
    m->top = NULL;
}

static void
free_removed(struct mirror *m)
{
    for (struct mirror_node *node; (node = m->removed);) {
        m->removed = node->next;
        free_node(node);
    }
}

void
mirror_free(struct mirror *m)
{
    if (!m)
        return;
    forget(m);
    free(m);
}

/* The first sweep, or the first after a failure: whatever is there goes. */
static void
make_top(struct mirror *m)
{
    const cop_value object = cop_object();
    cop_atom old;
    m->top = new_node(m->key);
    if (!m->top)
        return;
    m->top->branch = true;
    if (cop_atom_find(m->store, m->key, strlen(m->key), &old) == COP_OK)
        note(m, cop_txn_erase(m->txn, old));
    note(m, cop_txn_set_child(m->txn, cop_root(), m->key, strlen(m->key), &object, &m->top->atom));
}

struct mirror_node *
mirror_begin(struct mirror *m)
{
    m->sweep++;
    m->operations = 0;
    m->status = cop_txn_begin(m->store, &m->txn);
    if (m->status != COP_OK) {
        m->txn = NULL;
        return NULL;
    }
    m->anew = m->top == NULL;
    if (m->anew)
        make_top(m);
    if (!m->top)
        m->status = COP_E_MEMORY;
    return m->top;
}

bool
mirror_anew(const struct mirror *m)
{
    return m->anew;
}

cop_txn *
mirror_txn(struct mirror *m)
{
    return m->txn;
}

void
mirror_added(struct mirror *m, cop_status status, uint64_t operations)
{
    m->operations += operations;
    if (m->status == COP_OK)
        m->status = status;
}

cop_status
mirror_end(struct mirror *m, cop_error *error)
{
    cop_status status = m->status;
    if (!m->txn)
        return status;
    if (status == COP_OK && m->top)
        prune(m, m->top);
    status = m->status;
    if (status != COP_OK || m->operations == 0)
        cop_txn_cancel(m->txn);
    else
        status = cop_txn_commit(m->txn, NULL, error);
    m->txn = NULL;
    free_removed(m);
    if (status != COP_OK)
        forget(m); /* the nodes tell what was to be, not what is */
    return status;
}

struct mirror_node *
mirror_branch(struct mirror *m, struct mirror_node *parent, const char *key, uint64_t identity)
{
    const cop_value object = cop_object();
    struct mirror_node *node = parent ? find_child(parent, key) : NULL;
    if (!parent)
        return NULL;
    if (node && node->identity != identity) {
        struct mirror_node **link = &parent->buckets[hash_key(key) & (parent->buckets_count - 1)];
        while (*link != node)
            link = &(*link)->next;
        remove_child(m, parent, link);
        node = NULL;
    }
    if (!node)
        node = add_child(m, parent, key, &object);
    if (!node)
        return NULL;
    node->branch = true;
    node->identity = identity;
    node->sweep = m->sweep;
    return node;
}

/* Tells values apart: numbers exactly, texts by a 64-bit hash. */
static uint64_t
fingerprint(const cop_value *value)
{
    if (cop_value_is_text(value))
        return hash_bytes(cop_value_data(value), cop_value_length(value), 0xcbf29ce484222325u);
    return (uint64_t)cop_value_i64(value);
}

static void
set_value(struct mirror *m, struct mirror_node *parent, const char *key, const cop_value *value)
{
    if (!parent)
        return;
    uint64_t print = fingerprint(value);
    struct mirror_node *node = find_child(parent, key);
    if (!node)
        node = add_child(m, parent, key, value);
    else if (node->identity != print)
        note(m, cop_txn_set(m->txn, node->atom, value));
    if (!node)
        return;
    node->identity = print;
    node->sweep = m->sweep;
}

void
mirror_i64(struct mirror *m, struct mirror_node *parent, const char *key, uint64_t value)
{
    const cop_value v = cop_i64(value > INT64_MAX ? INT64_MAX : (int64_t)value);
    set_value(m, parent, key, &v);
}

void
mirror_f64(struct mirror *m, struct mirror_node *parent, const char *key, double value)
{
    const cop_value v = cop_f64(value);
    set_value(m, parent, key, &v);
}

void
mirror_text(struct mirror *m, struct mirror_node *parent, const char *key, const char *text,
            size_t length)
{
    char plain[KEY_MAX];
    size_t n = length < sizeof plain ? length : sizeof plain;
    for (size_t i = 0; i < n; i++)
        plain[i] = (unsigned char)text[i] < 0x80 && text[i] ? text[i] : '?';
    const cop_value v = cop_string(plain, n);
    set_value(m, parent, key, &v);
}

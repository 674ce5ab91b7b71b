/* SPDX-License-Identifier: MIT */
/*
 * From a changed atom to the targets that it concerns.
 *
 * Paths and patterns are one trie. A changed atom's path walks it with the set of nodes that it may
 * be at: from each on to the child of its next segment, and to the child `*`. A node has up to two
 * targets: one of the path itself, met where the path ends, and one of all that is below too, met
 * on the way. Most paths leave the trie at their first segments; none costs more than its segments
 * times the nodes of one depth that match. Children are found by a hash of (parent, segment).
 *
 * Handles are found by a hash of the id; those with what is below, by going up from the changed
 * atom, which is done only as long as there is one.
 *
 * All needs the room's lock.
 */
#include "watch/watch.h"

#include "graph/pattern.h"
#include "tree/directory.h"
#include "tree/path.h"

void
cop__watch_index_init(cop__watch_index *index, cop__memory *memory, uint64_t seed)
{
    memset(index, 0, sizeof *index);
    index->memory = memory;
    index->seed = seed;
}

static void
node_free(cop__watch_index *index, cop__watch_node *node)
{
    cop__memory_free(index->memory, COP_MEMORY_WATCH, node, sizeof *node + node->length, 16);
}

void
cop__watch_index_end(cop__watch_index *index)
{
    if (index->root != NULL)
        node_free(index, index->root);
    cop__memory_free(index->memory, COP_MEMORY_WATCH, index->bucket,
                     index->buckets * sizeof(cop__watch_node *), 16);
    cop__memory_free(index->memory, COP_MEMORY_WATCH, index->handle,
                     index->handle_buckets * sizeof(cop__watch_target *), 16);
    cop__memory_free(index->memory, COP_MEMORY_WATCH, index->set,
                     index->set_capacity * sizeof(cop__watch_node *), 16);
}

/* ---- the trie ---- */

static cop__watch_node **
bucket_of(const cop__watch_index *index, const cop__watch_node *parent, const char *segment,
          size_t length)
{
    uint64_t hash = cop__path_hash(index->seed, parent->number, segment, length);
    return &index->bucket[hash & (index->buckets - 1)];
}

static cop__watch_node *
child_find(const cop__watch_index *index, const cop__watch_node *parent, const char *segment,
           size_t length)
{
    cop__watch_node *node = *bucket_of(index, parent, segment, length);
    while (node != NULL && !(node->parent == parent && node->length == length &&
                             memcmp(node->segment, segment, length) == 0))
        node = node->chain;
    return node;
}

static void
chain_in(cop__watch_index *index, cop__watch_node *node)
{
    cop__watch_node **head = bucket_of(index, node->parent, node->segment, node->length);
    node->chain = *head;
    *head = node;
}

/* As many buckets as nodes, or more; and two sets of all nodes. */
static bool
nodes_room(cop__watch_index *index)
{
    size_t had = index->buckets, wide = had > 0 ? had * 2 : COP_WATCH_BUCKETS;
    if (!cop__watch_grow(index->memory, &index->set, &index->set_capacity, 2 * (index->nodes + 2),
                         sizeof(cop__watch_node *)))
        return false;
    if (index->nodes < had)
        return true;
    cop__watch_node **old = index->bucket;
    cop__watch_node **bucket =
        cop__memory_zalloc(index->memory, COP_MEMORY_WATCH, wide * sizeof(cop__watch_node *), 16);
    if (bucket == NULL)
        return false;
    index->bucket = bucket;
    index->buckets = wide;
    for (size_t i = 0; i < had; i++)
        for (cop__watch_node *node = old[i], *next; node != NULL; node = next) {
            next = node->chain;
            chain_in(index, node);
        }
    cop__memory_free(index->memory, COP_MEMORY_WATCH, old, had * sizeof(cop__watch_node *), 16);
    return true;
}

static cop__watch_node *
node_make(cop__watch_index *index, cop__watch_node *parent, const char *segment, size_t length)
{
    if (!nodes_room(index))
        return NULL;
    cop__watch_node *node =
        cop__memory_zalloc(index->memory, COP_MEMORY_WATCH, sizeof *node + length, 16);
    if (node == NULL)
        return NULL;
    node->parent = parent;
    node->number = ++index->numbered;
    node->length = (uint32_t)length;
    if (length > 0)
        memcpy(node->segment, segment, length);
    index->nodes++;
    if (parent == NULL)
        return node;
    parent->children++;
    if (cop__pattern_is_star(segment, length))
        parent->star = node;
    chain_in(index, node);
    return node;
}

/* Nodes that lead to no target go, upwards; the root stays. */
static void
prune(cop__watch_index *index, cop__watch_node *node)
{
    while (node->parent != NULL && node->children == 0 && node->target[0] == NULL &&
           node->target[1] == NULL) {
        cop__watch_node *parent = node->parent;
        cop__watch_node **at = bucket_of(index, parent, node->segment, node->length);
        while (*at != node)
            at = &(*at)->chain;
        *at = node->chain;
        parent->children--;
        if (parent->star == node)
            parent->star = NULL;
        index->nodes--;
        node_free(index, node);
        node = parent;
    }
}

/* The node where a pattern ends, made if need be; NULL: out of memory. */
static cop__watch_node *
descend(cop__watch_index *index, const char *text, size_t length)
{
    cop__path_walk walk = cop__path_walk_open(text, length);
    const char *segment;
    size_t bytes;
    if (index->root == NULL)
        index->root = node_make(index, NULL, NULL, 0);
    cop__watch_node *at = index->root;
    while (at != NULL && cop__segment_next(&walk, &segment, &bytes)) {
        cop__watch_node *next = child_find(index, at, segment, bytes);
        if (next == NULL)
            next = node_make(index, at, segment, bytes);
        if (next == NULL)
            prune(index, at);
        at = next;
    }
    return at;
}

/* ---- targets ---- */

static bool
has_stars(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (text[i] == '*') /* unescaped, so a segment of its own */
            return true;
    return false;
}

static cop__watch_target *
target_new(cop__watch_index *index, const char *text, size_t length, bool below)
{
    cop__watch_target *target =
        cop__memory_zalloc(index->memory, COP_MEMORY_WATCH, sizeof *target + length, 16);
    if (target == NULL)
        return NULL;
    target->below = below;
    target->length = (uint32_t)length;
    if (length > 0)
        memcpy(target->text, text, length);
    return target;
}

cop__watch_target *
cop__watch_target_at(cop__watch_index *index, const char *text, size_t length, bool below)
{
    cop__watch_node *node = descend(index, text, length);
    if (node == NULL || node->target[below] != NULL)
        return node != NULL ? node->target[below] : NULL;
    cop__watch_target *target = target_new(index, text, length, below);
    if (target == NULL) {
        prune(index, node);
        return NULL;
    }
    target->node = node;
    target->stars = has_stars(text, length);
    node->target[below] = target;
    return target;
}

static cop__watch_target **
handle_bucket(const cop__watch_index *index, uint32_t id)
{
    return &index->handle[(id * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (index->handle_buckets - 1)];
}

static bool
handles_room(cop__watch_index *index)
{
    size_t had = index->handle_buckets, wide = had > 0 ? had * 2 : COP_WATCH_BUCKETS;
    if (index->handles < had)
        return true;
    cop__watch_target **old = index->handle;
    cop__watch_target **handle =
        cop__memory_zalloc(index->memory, COP_MEMORY_WATCH, wide * sizeof(cop__watch_target *), 16);
    if (handle == NULL)
        return false;
    index->handle = handle;
    index->handle_buckets = wide;
    for (size_t i = 0; i < had; i++)
        for (cop__watch_target *target = old[i], *next; target != NULL; target = next) {
            next = target->chain;
            cop__watch_target **head = handle_bucket(index, target->atom.id);
            target->chain = *head;
            *head = target;
        }
    cop__memory_free(index->memory, COP_MEMORY_WATCH, old, had * sizeof(cop__watch_target *), 16);
    return true;
}

cop__watch_target *
cop__watch_target_of(cop__watch_index *index, cop_atom atom, bool below)
{
    if (!handles_room(index))
        return NULL;
    cop__watch_target **head = handle_bucket(index, atom.id), *target = *head;
    while (target != NULL && !(target->atom.id == atom.id && target->below == below &&
                               target->atom.generation == atom.generation))
        target = target->chain;
    if (target != NULL)
        return target;
    target = target_new(index, NULL, 0, below);
    if (target == NULL)
        return NULL;
    target->atom = atom;
    target->chain = *head;
    *head = target;
    index->handles++;
    index->branches += below;
    return target;
}

void
cop__watch_target_free(cop__watch_index *index, cop__watch_target *target)
{
    if (target->node != NULL) {
        target->node->target[target->below] = NULL;
        prune(index, target->node);
    } else {
        cop__watch_target **at = handle_bucket(index, target->atom.id);
        while (*at != target)
            at = &(*at)->chain;
        *at = target->chain;
        index->handles--;
        index->branches -= target->below;
    }
    cop__watch_list_drop(target->list);
    cop__memory_free(index->memory, COP_MEMORY_WATCH, target, sizeof *target + target->length, 16);
}

/* ---- matching ---- */

static void
match_path(cop__watch_index *index, const cop__watch_found *found,
           cop__watch_match_function function, void *context)
{
    cop__path_walk walk = cop__path_walk_open(found->path.text, found->path.length);
    cop__watch_node **set = index->set, **other = index->set + index->set_capacity / 2;
    const char *segment;
    size_t bytes, n = 0;
    set[n++] = index->root;
    while (n > 0) {
        bool end = cop__path_walk_ended(&walk);
        for (size_t i = 0; i < n; i++) {
            if (set[i]->target[true] != NULL)
                function(context, set[i]->target[true]);
            if (end && set[i]->target[false] != NULL)
                function(context, set[i]->target[false]);
        }
        if (!cop__segment_next(&walk, &segment, &bytes))
            return;
        size_t more = 0;
        for (size_t i = 0; i < n; i++) {
            cop__watch_node *child =
                set[i]->children > 0 ? child_find(index, set[i], segment, bytes) : NULL;
            if (child != NULL)
                other[more++] = child;
            if (set[i]->star != NULL)
                other[more++] = set[i]->star;
        }
        cop__watch_node **had = set;
        set = other;
        other = had;
        n = more;
    }
}

static void
match_handle(const cop__watch_index *index, cop_atom atom, bool itself,
             cop__watch_match_function function, void *context)
{
    for (cop__watch_target *target = *handle_bucket(index, atom.id); target != NULL;
         target = target->chain)
        if (target->atom.id == atom.id && target->atom.generation == atom.generation &&
            (itself || target->below))
            function(context, target);
}

static bool
parent_of(const cop_snapshot *root, cop_atom *atom)
{
    uint32_t parent = cop__info_parent((cop__view){root, NULL}, cop__root_info(root, atom->id));
    if (parent == UINT32_MAX)
        return false;
    *atom = (cop_atom){parent, cop__root_slot(root, parent)->reserved};
    return true;
}

void
cop__watch_index_match(cop__watch_index *index, const cop__watch_found *found,
                       cop__watch_match_function function, void *context)
{
    if (index->nodes > 0 && found->path.text != NULL)
        match_path(index, found, function, context);
    if (index->handles == 0)
        return;
    cop_atom atom = found->atom;
    match_handle(index, atom, true, function, context);
    while (index->branches > 0 && parent_of(found->root, &atom))
        match_handle(index, atom, false, function, context);
}

static bool
matches_handle(const cop__watch_target *target, const cop__watch_found *found)
{
    cop_atom atom = found->atom;
    do {
        if (atom.id == target->atom.id && atom.generation == target->atom.generation)
            return true;
    } while (target->below && parent_of(found->root, &atom));
    return false;
}

static bool
matches_stars(const cop__watch_target *target, const cop__watch_path *path)
{
    cop__path_walk want = cop__path_walk_open(target->text, target->length);
    cop__path_walk have = cop__path_walk_open(path->text, path->length);
    const char *w, *h;
    size_t wn, hn;
    while (cop__segment_next(&want, &w, &wn))
        if (!cop__segment_next(&have, &h, &hn) ||
            (!cop__pattern_is_star(w, wn) && (wn != hn || memcmp(w, h, wn) != 0)))
            return false;
    return target->below || cop__path_walk_ended(&have);
}

bool
cop__watch_target_matches(const cop__watch_target *target, const cop__watch_found *found)
{
    const cop__watch_path *path = &found->path;
    if (target->node == NULL)
        return matches_handle(target, found);
    if (path->text == NULL)
        return false;
    if (target->stars)
        return matches_stars(target, path);
    if (path->length < target->length || memcmp(path->text, target->text, target->length) != 0)
        return false;
    if (path->length == target->length)
        return true;
    return target->below && (target->length == 0 || path->text[target->length] == '/');
}

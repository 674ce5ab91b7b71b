/* SPDX-License-Identifier: MIT */
/* Treaps with parent links: a new leaf is rotated up to its place, a node to be removed down to
 * one. */
#include "reduce/treap.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <coppice/path.h>

#include "reduce/number.h"

#define SEED UINT64_C(0x636f707069636521)

void
cop__treap_node_name(cop__treap_node *node, uint32_t id, const cop__name *name)
{
    char path[COP_PATH_MAX];
    size_t length = cop__name_path(name, path, sizeof path);
    node->id = id;
    node->name = name;
    node->dirty = 0;
    node->priority = (uint32_t)XXH3_64bits_withSeed(path, length, SEED);
}

static int
compare_paths(const cop__treap_node *a, const cop__treap_node *b)
{
    int order = cop__name_compare(a->name, b->name);
    return order != 0 ? order : (a->id > b->id) - (a->id < b->id);
}

int
cop__treap_node_compare(const cop__treap_node *a, const cop__treap_node *b, cop__treap_order order)
{
    int numbers = order == COP_BY_NUMBER ? cop__number_compare(&b->value, &a->value) : 0;
    return numbers != 0 ? numbers : compare_paths(a, b);
}

/* True when a belongs above b. */
static bool
is_above(const cop__treap_node *a, const cop__treap_node *b)
{
    return a->priority != b->priority ? a->priority > b->priority : compare_paths(a, b) < 0;
}

void
cop__treap_mark(const cop__records *nodes, uint32_t number)
{
    while (number != 0) {
        cop__treap_node *node = cop__treap_node_at(nodes, number);
        if (node->dirty)
            return;
        node->dirty = 1;
        number = node->parent;
    }
}

/* Where a tree or subtree hangs: the link that leads to `number`. */
static uint32_t *
link_to(cop__treap *treap, const cop__records *nodes, uint32_t number, uint32_t parent)
{
    if (parent == 0)
        return &treap->root;
    cop__treap_node *above = cop__treap_node_at(nodes, parent);
    return above->left == number ? &above->left : &above->right;
}

/* Lifts a node over its parent. */
static void
rotate_up(cop__treap *treap, const cop__records *nodes, uint32_t number)
{
    cop__treap_node *node = cop__treap_node_at(nodes, number);
    uint32_t over = node->parent;
    cop__treap_node *parent = cop__treap_node_at(nodes, over);
    uint32_t *link = link_to(treap, nodes, over, parent->parent);
    bool is_left = parent->left == number;
    uint32_t moved = is_left ? node->right : node->left;
    if (is_left) {
        parent->left = moved;
        node->right = over;
    } else {
        parent->right = moved;
        node->left = over;
    }
    if (moved != 0)
        cop__treap_node_at(nodes, moved)->parent = over;
    node->parent = parent->parent;
    parent->parent = number;
    *link = number;
}

static void
hang_leaf(cop__treap *treap, const cop__records *nodes, uint32_t number)
{
    cop__treap_node *node = cop__treap_node_at(nodes, number);
    uint32_t *link = &treap->root, parent = 0;
    while (*link != 0) {
        parent = *link;
        cop__treap_node *at = cop__treap_node_at(nodes, parent);
        link = cop__treap_node_compare(node, at, (cop__treap_order)treap->order) < 0 ? &at->left
                                                                                     : &at->right;
    }
    *link = number;
    node->parent = parent;
    node->left = node->right = 0;
    node->dirty = 0;
}

/* All that are rotated under the new node were above it, hence dirty already. */
void
cop__treap_insert(cop__treap *treap, const cop__records *nodes, uint32_t number)
{
    cop__treap_node *node = cop__treap_node_at(nodes, number);
    hang_leaf(treap, nodes, number);
    if (treap->folds)
        cop__treap_mark(nodes, number);
    while (node->parent != 0 && is_above(node, cop__treap_node_at(nodes, node->parent)))
        rotate_up(treap, nodes, number);
}

/* The child that belongs above the other; 0: none. */
static uint32_t
higher_child(const cop__records *nodes, const cop__treap_node *node)
{
    if (node->left == 0 || node->right == 0)
        return node->left + node->right;
    return is_above(cop__treap_node_at(nodes, node->left), cop__treap_node_at(nodes, node->right))
               ? node->left
               : node->right;
}

/* A child lifted over the dirty node is changed below, and has a dirty parent. */
void
cop__treap_remove(cop__treap *treap, const cop__records *nodes, uint32_t number)
{
    cop__treap_node *node = cop__treap_node_at(nodes, number);
    uint32_t child;
    if (treap->folds)
        cop__treap_mark(nodes, number);
    while (node->left != 0 && node->right != 0) {
        child = higher_child(nodes, node);
        rotate_up(treap, nodes, child);
        cop__treap_node_at(nodes, child)->dirty = treap->folds;
    }
    child = higher_child(nodes, node);
    *link_to(treap, nodes, number, node->parent) = child;
    if (child != 0)
        cop__treap_node_at(nodes, child)->parent = node->parent;
    node->left = node->right = node->parent = 0;
}

static uint32_t
leftmost(const cop__records *nodes, uint32_t number)
{
    for (uint32_t left = number; left != 0; left = cop__treap_node_at(nodes, left)->left)
        number = left;
    return number;
}

uint32_t
cop__treap_first(const cop__treap *treap, const cop__records *nodes)
{
    return leftmost(nodes, treap->root);
}

uint32_t
cop__treap_next(const cop__records *nodes, uint32_t number)
{
    const cop__treap_node *node = cop__treap_node_at(nodes, number);
    if (node->right != 0)
        return leftmost(nodes, node->right);
    for (;;) {
        uint32_t above = node->parent;
        if (above == 0)
            return 0;
        node = cop__treap_node_at(nodes, above);
        if (node->left == number)
            return above;
        number = above;
    }
}

/* SPDX-License-Identifier: MIT */
/*
 * The biggest branches of a version, by atoms below them.
 *
 * Counting all atoms would cost as much as reading all, so effort has a bound. Branches are looked
 * at level by level, each for at most half of what is left of the effort, so that none keeps the
 * others from being seen. How many children a branch has is known without looking at them: what is
 * told is exact where everything was looked at, and else at least that.
 */
#include "http/branches.h"

#include <stdlib.h>
#include <string.h>

#define STEPS 100000
#define BRANCHES 16384

struct walk {
    const cop_snapshot *snapshot;
    struct cop__branch *branch; /* parents before children */
    size_t count;
    uint64_t left; /* steps */
    bool whole;
};

static bool
is_branch(const cop_child *child)
{
    return child->value.type == COP_OBJECT || child->value.type == COP_ARRAY;
}

/* Counts the children of one, and notes those that are branches. */
static void
look(struct walk *w, size_t index)
{
    cop_cursor cursor;
    cop_child child;
    uint32_t children = 0, seen = 0;
    uint64_t most = w->left / 2;
    if (cop_count(w->snapshot, w->branch[index].atom, &children) != COP_OK ||
        cop_cursor_open(w->snapshot, w->branch[index].atom, &cursor) != COP_OK)
        return; /* not of this version: a lazy one */
    w->branch[index].atoms = children;
    for (; seen < most && cop_cursor_next(&cursor, &child); seen++) {
        if (!is_branch(&child))
            continue;
        if (w->count < BRANCHES)
            w->branch[w->count++] =
                (struct cop__branch){.atom = child.atom, .parent = (uint32_t)index};
        else
            w->whole = false;
    }
    w->left -= seen;
    w->whole = w->whole && seen == children;
}

/* The first one of the biggest that is not taken yet; 0: none. */
static size_t
find_biggest(const struct walk *w)
{
    size_t biggest = 0;
    for (size_t i = 1; i < w->count; i++)
        if (w->branch[i].atoms > (biggest ? w->branch[biggest].atoms : 0))
            biggest = i;
    return biggest;
}

size_t
cop__branches_biggest(const cop_snapshot *snapshot, struct cop__branch *biggest, size_t most,
                      bool *whole)
{
    struct walk w = {.snapshot = snapshot, .left = STEPS, .whole = true, .count = 1};
    size_t taken = 0;
    w.branch = calloc(BRANCHES, sizeof *w.branch);
    if (!w.branch)
        return SIZE_MAX;
    w.branch[0].atom = cop_root();
    for (size_t i = 0; i < w.count; i++)
        look(&w, i);
    for (size_t i = w.count - 1; i > 0; i--)
        w.branch[w.branch[i].parent].atoms += w.branch[i].atoms;
    for (size_t i; taken < most && (i = find_biggest(&w)) > 0; w.branch[i].atoms = 0)
        biggest[taken++] = w.branch[i];
    *whole = w.whole;
    free(w.branch);
    return taken;
}

/* SPDX-License-Identifier: MIT */
/* Child lists: a child goes to another place among its siblings. O(log n) but for what the edits
 * copy. */
#include "tree/list.h"

static const cop__slot *
branch_slot(const cop__tree *tree, uint32_t branch)
{
    return cop__draft_slot(tree, branch);
}

static uint32_t
position_of(const cop__tree *tree, uint32_t branch, uint32_t id)
{
    cop__view view = {NULL, tree};
    if (cop__slot_list(branch_slot(tree, branch)) == COP_LIST_PAGES)
        return cop__list_position(view, cop__list_leaf(tree, branch, id), id);
    const cop__child_block *block = cop__slot_child_block(branch_slot(tree, branch));
    uint32_t position = 0;
    while (block->id[position] != id)
        position++;
    return position;
}

bool
cop__list_place(cop__tree *tree, uint32_t branch, uint32_t id, uint32_t after)
{
    uint32_t at = position_of(tree, branch, id);
    uint32_t to = after == COP_LIST_FIRST ? 0 : position_of(tree, branch, after) + 1;
    if (at == to)
        return true;
    to -= at < to;
    return cop__list_remove(tree, branch, id) && cop__list_insert(tree, branch, to, id) &&
           cop__list_touch(tree, branch);
}

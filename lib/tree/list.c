/* SPDX-License-Identifier: MIT */
/* Child lists: reading. The structure is described in list.h; changes are in list_edit.c. */
#include "tree/list.h"

static const cop__list_page *
list_page(cop__view view, uint32_t number)
{
    return cop__view_page(view, COP_SPACE_LISTS, number);
}

uint32_t
cop__list_count(cop__view view, const cop__slot *branch)
{
    switch (cop__slot_list(branch)) {
    case COP_LIST_BLOCK:
        return cop__slot_child_block(branch)->count;
    case COP_LIST_PAGES:
        return list_page(view, branch->small.words[0])->total;
    default:
        return 0;
    }
}

uint64_t
cop__list_changed(cop__view view, const cop__slot *branch)
{
    switch (cop__slot_list(branch)) {
    case COP_LIST_BLOCK:
        return cop__slot_child_block(branch)->changed;
    case COP_LIST_PAGES:
        return list_page(view, branch->small.words[0])->changed;
    default:
        return cop__slot_changed(branch);
    }
}

uint32_t
cop__list_at(cop__view view, const cop__slot *branch, uint32_t position)
{
    if (cop__slot_list(branch) == COP_LIST_BLOCK)
        return cop__slot_child_block(branch)->id[position];
    const cop__list_page *page = list_page(view, branch->small.words[0]);
    while (page->kind == COP_LIST_IS_INNER) {
        unsigned i = 0;
        while (position >= page->child[i].count)
            position -= page->child[i++].count;
        page = list_page(view, page->child[i].page);
    }
    return page->id[position];
}

uint32_t
cop__list_leaf_start(cop__view view, uint32_t leaf)
{
    const cop__list_page *page = list_page(view, leaf);
    uint32_t position = 0;
    for (uint32_t number = leaf; page->parent != 0; number = page->parent, page = list_page(view, number)) {
        const cop__list_page *parent = list_page(view, page->parent);
        for (unsigned i = 0; parent->child[i].page != number; i++)
            position += parent->child[i].count;
    }
    return position;
}

uint32_t
cop__list_position(cop__view view, uint32_t leaf, uint32_t id)
{
    const cop__list_page *page = list_page(view, leaf);
    uint32_t place = 0;
    while (place < page->count && page->id[place] != id)
        place++;
    return cop__list_leaf_start(view, leaf) + place;
}

uint32_t
cop__list_owner(cop__view view, uint32_t number)
{
    const cop__list_page *page = list_page(view, number);
    while (page->parent != 0)
        page = list_page(view, page->parent);
    return page->owner;
}

uint32_t
cop__info_parent(cop__view view, cop__info info)
{
    const cop__name *name = cop__info_name(info);
    if (name != NULL)
        return name->parent;
    switch (info & 3) {
    case 1:
        return cop__list_owner(view, (uint32_t)(info >> 2));
    case 3:
        return (uint32_t)(info >> 2);
    default:
        return UINT32_MAX;
    }
}

void
cop__list_walk_begin(cop__view view, const cop__slot *branch, cop__list_walk *walk)
{
    *walk = (cop__list_walk){0};
    if (cop__slot_list(branch) == COP_LIST_BLOCK) {
        const cop__child_block *block = cop__slot_child_block(branch);
        walk->id = block->id;
        walk->count = block->count;
    } else if (cop__slot_list(branch) == COP_LIST_PAGES) {
        const cop__list_page *page = list_page(view, branch->small.words[0]);
        uint32_t number = branch->small.words[0];
        while (page->kind == COP_LIST_IS_INNER) {
            number = page->child[0].page;
            page = list_page(view, number);
        }
        walk->next_leaf = number;
    }
}

bool
cop__list_walk_next(cop__view view, cop__list_walk *walk, uint32_t *id)
{
    while (walk->place == walk->count) {
        if (walk->next_leaf == 0)
            return false;
        const cop__list_page *page = list_page(view, walk->next_leaf);
        walk->id = page->id;
        walk->place = 0;
        walk->count = page->count;
        walk->next_leaf = page->next;
    }
    *id = walk->id[walk->place++];
    return true;
}

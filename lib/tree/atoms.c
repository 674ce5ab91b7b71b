/* SPDX-License-Identifier: MIT */
/* Atoms in the draft: slots, creation, writing. Erasing is in erase.c. */
#include "tree/atoms.h"

#include <coppice/path.h>
#include <coppice/txn.h>

cop__slot *
cop__slot_edit(cop__tree *tree, uint32_t id)
{
    uint32_t number = id >> COP_SLOT_BITS;
    cop__slot *page = cop__draft_edit(tree, COP_SPACE_VALUES, number);
    if (page == NULL)
        return NULL;
    tree->space[COP_SPACE_VALUES].entry[number].touched |= UINT32_C(1) << (id & (COP_SLOTS - 1));
    return &page[id & (COP_SLOTS - 1)];
}

bool
cop__info_edit(cop__tree *tree, uint32_t id, cop__info info)
{
    uint32_t number = id >> COP_INFO_BITS;
    cop__info *page = cop__draft_edit(tree, COP_SPACE_INFO, number);
    if (page == NULL)
        return false;
    cop__info *word = &page[id & (COP_INFOS - 1)];
    cop__page_entry *entry = &tree->space[COP_SPACE_INFO].entry[number];
    entry->live = (uint16_t)(entry->live + (info != 0) - (*word != 0));
    *word = info;
    return true;
}

/* ---- values ---- */

/* Writes a value into a slot; a long text goes to a block of the draft. On failure the slot is as
 * it was, or, in a wave, has an error value that needs no block. As two words in registers, see
 * cop__slot_read: what was written byte by byte and is then read whole waits for all stores before
 * it, the copy of the page among them. */
static bool
slot_fill(cop__tree *tree, cop__slot *slot, uint8_t named, const cop_value *value)
{
    uint64_t word[2];
    memcpy(word, value, sizeof word);
    if (value->type >= COP_OBJECT) { /* a branch without children */
        word[0] &= UINT32_MAX;
        word[1] = tree->version;
    } else if (cop__slot_is_long(value)) {
        size_t length = value->small.words[0];
        uint64_t *block = cop__pool_block(&tree->pool, &tree->pool.values, sizeof *block + length);
        if (block == NULL && !tree->lenient) {
            tree->failed = COP_E_MEMORY;
            return false;
        }
        if (block == NULL) {
            cop_value unfit = cop__unfit_value();
            memcpy(word, &unfit, sizeof word);
            tree->unfit = true;
        } else {
            *block = tree->stamp;
            memcpy(block + 1, cop_value_data(value), length);
            word[1] = (uint64_t)(uintptr_t)(block + 1);
        }
    }
    word[0] = cop__slot_public_word(word[0]) | (uint64_t)slot->reserved << 16 | named;
    memcpy(slot, word, sizeof word);
    return true;
}

/* Frees what the slot owns if this draft made it; what is older, finishing retires. */
static void
slot_release_draft(cop__tree *tree, const cop__slot *slot)
{
    size_t bytes;
    uint64_t *block = cop__slot_block(slot, &bytes);
    if (block != NULL && *block == tree->stamp)
        cop__pool_block_free(&tree->pool, &tree->pool.values, block, bytes);
}

/* The slot of this atom as published, if the draft's page replaced that page. */
static const cop__slot *
slot_before(const cop__tree *tree, uint32_t id)
{
    const cop__page_entry *entry = &tree->space[COP_SPACE_VALUES].entry[id >> COP_SLOT_BITS];
    if (entry->birth != tree->stamp || entry->before == NULL)
        return NULL;
    return &((const cop__slot *)entry->before)[id & (COP_SLOTS - 1)];
}

/* Two long texts of one length: comparing them waits for the old one's bytes to come from memory.
 */
static inline bool
compare_waits(const cop__slot *now, const cop_value *value)
{
    return cop__slot_is_long(now) && value->inlined == COP_VALUE_OUTSIDE &&
           value->small.words[0] == now->small.words[0];
}

/* There and back: the value that the published slot has. Its bytes serve again. */
static bool
is_back(const cop__slot *before, const cop__slot *now, const cop_value *value)
{
    return before != NULL && before->reserved == now->reserved && cop__slot_holds(before, value) &&
           (!cop__slot_is_branch(before) || cop__slot_list(before) == COP_LIST_NONE);
}

/* The page is brought into the draft while the bytes to compare are awaited; if they turn out
 * equal, the copy is dropped with nothing changed. A slot that this draft has not touched is as
 * published: there is nothing to go back to, and what it owns is not the draft's to free. */
bool
cop__atom_write(cop__tree *tree, uint32_t id, const cop_value *value)
{
    const cop__slot *now = cop__draft_slot(tree, id);
    bool waits = compare_waits(now, value);
    if (waits) {
        __builtin_prefetch(cop_value_data(now) - sizeof(uint64_t));
        __builtin_prefetch(cop_value_data(now) + sizeof(uint64_t) * 7);
    } else if (cop__slot_holds(now, value)) {
        return true;
    }
    cop__slot *page = cop__draft_edit(tree, COP_SPACE_VALUES, id >> COP_SLOT_BITS);
    if (page == NULL)
        return false;
    cop__slot *slot = &page[id & (COP_SLOTS - 1)], old = *slot;
    if (waits && cop__slot_holds(slot, value))
        return true;
    uint32_t *touched = &tree->space[COP_SPACE_VALUES].entry[id >> COP_SLOT_BITS].touched;
    uint32_t bit = UINT32_C(1) << (id & (COP_SLOTS - 1));
    if ((*touched & bit) && is_back(slot_before(tree, id), slot, value))
        *slot = *slot_before(tree, id);
    else if (!slot_fill(tree, slot, slot->type & (COP_SLOT_NAMED | COP_SLOT_COMPUTED), value))
        return false;
    if (*touched & bit)
        slot_release_draft(tree, &old);
    *touched |= bit;
    return true;
}

bool
cop__atom_published(const cop__tree *tree, uint32_t id)
{
    const cop__page_entry *entry = &tree->space[COP_SPACE_VALUES].entry[id >> COP_SLOT_BITS];
    if (entry->birth != tree->stamp)
        return true;
    const cop__slot *before = slot_before(tree, id), *now = cop__draft_slot(tree, id);
    return before != NULL && cop__slot_alive(before) && before->reserved == now->reserved;
}

/* ---- creation ---- */

/* Makes the atom in a fresh id's slot. */
static bool
slot_create(cop__tree *tree, uint32_t id, const cop_value *value, uint8_t named)
{
    cop__slot *slot = cop__slot_edit(tree, id);
    if (slot == NULL)
        return false;
    COP_ASSERT(!cop__slot_alive(slot) && slot->reserved > 0);
    if (!slot_fill(tree, slot, named, value))
        return false;
    cop__page_entry *entry = &tree->space[COP_SPACE_VALUES].entry[id >> COP_SLOT_BITS];
    entry->live++;
    if (entry->generation < slot->reserved)
        entry->generation = slot->reserved;
    tree->now.atoms++;
    return true;
}

bool
cop__atom_create(cop__tree *tree, const cop_value *value, uint32_t *id)
{
    return cop__id_take(tree, &tree->now.run, id) && slot_create(tree, *id, value, 0);
}

bool
cop__name_fits(const cop__tree *tree, uint32_t branch, size_t segment_length)
{
    cop__prefix prefix = cop__prefix_of((cop__view){NULL, tree}, branch);
    return cop__prefix_length(prefix) + segment_length <= COP_PATH_MAX;
}

/* Whether a new child of the branch, whose name this is, holds its segment, too: see name.h. */
static bool
joins(const cop__tree *tree, uint32_t branch, const cop__name *parent, size_t length)
{
    if (parent == NULL)
        return false;
    size_t prefix = cop__name_length(parent) + 1;
    const cop__slot *slot = cop__draft_slot(tree, branch);
    return prefix <= COP_JOINED_PREFIX && prefix + length <= COP_JOINED_TEXT &&
           cop__list_count((cop__view){NULL, tree}, slot) < COP_JOINED_SIBLINGS;
}

static void
join(const cop__tree *tree, cop__name *name, const cop__name *parent, uint16_t generation,
     const char *segment, size_t length)
{
    size_t above = cop__name_length(parent);
    const cop__name *next = cop__info_name(cop__draft_info(tree, parent->parent));
    name->above = cop__name_way_up(next, parent->parent, generation);
    name->shape = (uint16_t)(COP_NAME_JOINED | (above + 1) << 8 | (above + 1 + length));
    memcpy(name->text, cop__name_segment(parent), above);
    name->text[above] = '/';
    memcpy(name->text + above + 1, segment, length);
}

/* The name of the atom that was made in the slot of this id, and is not in the branch's list yet.
 */
static cop__name *
name_new(cop__tree *tree, uint32_t branch, uint32_t id, const char *segment, size_t length)
{
    const cop__name *parent = cop__info_name(cop__draft_info(tree, branch));
    uint16_t generation = cop__draft_slot(tree, id)->reserved;
    bool joined = joins(tree, branch, parent, length);
    size_t text = joined ? cop__name_length(parent) + 1 + length : length;
    cop__name *name =
        cop__pool_block(&tree->pool, &tree->pool.names, cop__name_bytes_for(text, joined));
    if (name == NULL) {
        tree->failed = COP_E_MEMORY;
        return NULL;
    }
    name->header = tree->stamp; /* the directory adds to it */
    name->parent = branch;
    if (joined) {
        join(tree, name, parent, generation, segment, length);
        return name;
    }
    name->above = cop__name_way_up(parent, branch, generation);
    name->shape = (uint16_t)length;
    memcpy(name->text, segment, length);
    cop__name_set_leaf(name, 0);
    return name;
}

bool
cop__atom_create_child_at(cop__tree *tree, uint32_t branch, uint32_t position, const char *segment,
                          size_t length, const cop_value *value, uint32_t *id)
{
    if (!cop__list_take_id(tree, branch, id) || !slot_create(tree, *id, value, COP_SLOT_NAMED))
        return false;
    cop__name *name = name_new(tree, branch, *id, segment, length);
    if (name == NULL)
        return false;
    if (!cop__info_edit(tree, *id, (cop__info)(uintptr_t)name)) {
        cop__pool_block_free(&tree->pool, &tree->pool.names, name, cop__name_bytes(name));
        return false;
    }
    return cop__directory_add(tree, *id, name) && cop__list_insert(tree, branch, position, *id);
}

bool
cop__atom_create_child(cop__tree *tree, uint32_t branch, const char *segment, size_t length,
                       const cop_value *value, uint32_t *id)
{
    return cop__atom_create_child_at(tree, branch, COP_AT_END, segment, length, value, id);
}

bool
cop__atom_insert(cop__tree *tree, uint32_t array, uint32_t position, const cop_value *value,
                 uint32_t *id)
{
    return cop__list_take_id(tree, array, id) && slot_create(tree, *id, value, COP_SLOT_NAMED) &&
           cop__list_insert(tree, array, position, *id);
}

/* ---- above ---- */

bool
cop__mark_above(cop__tree *tree, uint32_t id)
{
    cop__view view = {NULL, tree};
    for (;;) {
        uint32_t parent = cop__info_parent(view, cop__draft_info(tree, id));
        if (parent == UINT32_MAX ||
            cop__slot_changed(cop__draft_slot(tree, parent)) == tree->version)
            return true;
        cop__slot *page = cop__draft_edit(tree, COP_SPACE_VALUES, parent >> COP_SLOT_BITS);
        if (page == NULL)
            return false;
        cop__slot_set_changed(&page[parent & (COP_SLOTS - 1)], tree->version);
        id = parent;
    }
}

/* SPDX-License-Identifier: MIT */
/* Values written down flat: see items.h. Texts move while they are gathered, so until the end their
 * offsets stand where their addresses will. */
#include "tree/items.h"

typedef struct level {
    cop__list_walk walk;
    size_t item;
} level;

static const cop__slot *
slot_at(cop__view view, uint32_t id)
{
    return view.root != NULL ? cop__root_slot(view.root, id) : cop__draft_slot(view.tree, id);
}

static const cop__name *
name_at(cop__view view, uint32_t id)
{
    return cop__info_name(view.root != NULL ? cop__root_info(view.root, id)
                                            : cop__draft_info(view.tree, id));
}

static bool
grow(cop__items *items, void *vector, size_t *capacity, size_t need, size_t element)
{
    return cop__memory_grow(items->memory, COP_MEMORY_OTHER, vector, capacity, need, element);
}

/* The offset of a copy, as an address; room was made. */
static const char *
keep(cop__items *items, const char *text, size_t length)
{
    size_t at = items->text_used;
    memcpy(items->text + at, text, length);
    items->text_used += length;
    return (const char *)(uintptr_t)at;
}

static bool
append(cop__items *items, cop__view view, uint32_t id, bool member)
{
    const cop__slot *slot = slot_at(view, id);
    const cop__name *name = member ? name_at(view, id) : NULL;
    cop_value value = cop__slot_is_lazy(slot) ? cop_null() : cop__slot_value(slot);
    size_t length = cop__slot_is_long(slot) ? cop_value_length(&value) : 0;
    size_t need = items->text_used + length + (name != NULL ? cop__name_length(name) : 0) + 1;
    if (!grow(items, &items->item, &items->capacity, items->count + 1, sizeof *items->item) ||
        !grow(items, &items->text, &items->text_capacity, need, 1))
        return false;
    cop__item *item = &items->item[items->count++];
    *item = (cop__item){.value = value};
    if (length > 0) {
        const char *at = keep(items, cop_value_data(&value), length);
        memcpy(&item->value.small.words[1], &at, sizeof at);
    }
    if (name != NULL) {
        item->key_length = (uint32_t)cop__name_length(name);
        item->key = keep(items, cop__name_segment(name), item->key_length);
    }
    return true;
}

static void
fix_addresses(cop__items *items)
{
    for (size_t i = 0; i < items->count; i++) {
        cop__item *item = &items->item[i];
        if (cop__slot_is_long(&item->value)) {
            const char *at = items->text + (uintptr_t)cop_value_data(&item->value);
            memcpy(&item->value.small.words[1], &at, sizeof at);
        }
        if (item->key_length > 0)
            item->key = items->text + (uintptr_t)item->key;
    }
}

/* The item just written is a branch: what is in it comes next. */
static void
enter(const cop__items *items, cop__view view, uint32_t id, level *at)
{
    at->item = items->count - 1;
    cop__list_walk_begin(view, slot_at(view, id), &at->walk);
}

static cop_status
gather(cop__items *items, cop__view view, uint32_t id, size_t limit)
{
    level levels[COP_DEPTH_MAX + 1];
    uint32_t depth = 0;
    if (!append(items, view, id, false))
        return COP_E_MEMORY;
    if (cop__slot_is_branch(slot_at(view, id)))
        enter(items, view, id, &levels[depth++]);
    while (depth > 0) {
        level *top = &levels[depth - 1];
        if (!cop__list_walk_next(view, &top->walk, &id)) {
            depth--;
            continue;
        }
        bool member = items->item[top->item].value.type == COP_OBJECT;
        if (member && cop__slot_is_lazy(slot_at(view, id)))
            continue;
        if (items->count >= limit)
            return COP_E_LIMIT;
        if (!append(items, view, id, member))
            return COP_E_MEMORY;
        items->item[top->item].count++;
        if (cop__slot_is_branch(slot_at(view, id))) {
            if (depth > COP_DEPTH_MAX) /* made by handles: paths do not lead there */
                return COP_E_LIMIT;
            enter(items, view, id, &levels[depth++]);
        }
    }
    return COP_OK;
}

cop_status
cop__items_take(cop__items *items, cop__view view, uint32_t id, size_t limit)
{
    items->count = items->text_used = 0;
    cop_status status = gather(items, view, id, limit);
    if (status == COP_OK)
        fix_addresses(items);
    return status;
}

void
cop__items_end(cop__items *items)
{
    cop__memory_free(items->memory, COP_MEMORY_OTHER, items->item,
                     items->capacity * sizeof *items->item, 16);
    cop__memory_free(items->memory, COP_MEMORY_OTHER, items->text, items->text_capacity, 16);
}

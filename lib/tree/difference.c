/* SPDX-License-Identifier: MIT */
/*
 * The structured difference of two versions: see difference.h.
 *
 * A slot that is not the same says that an atom's value is another one, or that the list of its
 * children may be. A branch's list is compared with the one it was, so what went and came below it
 * is found there, and only when the branch itself was there before and after: the top-most ones
 * alone. Which of a long list's pages changed is found once for all lists, by the difference of the
 * space that they are pages of.
 */
#include "tree/difference.h"

#include "tree/difference_list.h"
#include "tree/list.h"

typedef struct branch_at {
    uint32_t depth, id;
} branch_at;

/* An atom whose value is another one, as the difference found it. */
typedef struct value_at {
    uint32_t id;
    const cop__slot *before, *now;
} value_at;

/* A leaf that is not the same one, and whose list it is a part of. */
typedef struct leaf_of {
    uint32_t owner, number;
} leaf_of;

typedef struct collector {
    cop__memory *memory;
    cop__diff_pair pair;
    uint32_t below;
    cop__edit_vector branch; /* branch_at: their lists may have changed */
    cop__edit_vector value;  /* value_at: anywhere in the store */
    cop__edit_vector reborn; /* uint32_t: ids that are another atom's, rising */
    cop__edit_vector leaf[COP_EDIT_SIDES], number[COP_EDIT_SIDES];
    bool paged, refused;
} collector;

static void *
append(collector *c, cop__edit_vector *vector, size_t element)
{
    char *at = cop__edit_room(c->memory, vector, vector->count + 1, element);
    c->refused |= at == NULL;
    return at != NULL ? at + (vector->count - 1) * element : NULL;
}

/* ---- collecting ---- */

/* Levels between an atom of `now` and the one below which changes are wanted; UINT32_MAX: it is not
 * below it. */
static uint32_t
depth_of(const collector *c, uint32_t id)
{
    cop__view now = {c->pair.now, NULL};
    uint32_t depth = 0;
    for (; id != c->below; depth++) {
        if (id == 0 || id == UINT32_MAX)
            return UINT32_MAX;
        id = cop__info_parent(now, cop__root_info(c->pair.now, id));
    }
    return depth;
}

static bool
list_may_differ(const collector *c, const cop__slot *before, const cop__slot *now)
{
    return cop__list_changed((cop__view){c->pair.before, NULL}, before) !=
           cop__list_changed((cop__view){c->pair.now, NULL}, now);
}

static void
collect_branch(collector *c, uint32_t id, const cop__slot *before, const cop__slot *now)
{
    uint32_t depth = list_may_differ(c, before, now) ? depth_of(c, id) : UINT32_MAX;
    branch_at *at = depth != UINT32_MAX ? append(c, &c->branch, sizeof *at) : NULL;
    if (at == NULL)
        return;
    *at = (branch_at){depth, id};
    c->paged |= cop__slot_list(before) == COP_LIST_PAGES && cop__slot_list(now) == COP_LIST_PAGES;
}

static void
collect(void *context, uint32_t id, const cop__slot *before, const cop__slot *now)
{
    collector *c = context;
    cop__difference what[2];
    if (!cop__slot_alive(before) || !cop__slot_alive(now))
        return;
    if (before->reserved != now->reserved) {
        uint32_t *at = append(c, &c->reborn, sizeof *at);
        if (at != NULL)
            *at = id;
        return;
    }
    if (cop__slot_is_branch(now) && cop__slot_type(before) == cop__slot_type(now)) {
        collect_branch(c, id, before, now);
        return;
    }
    if (cop__diff_meaning(c->pair, before, now, what) == 0)
        return;
    value_at *at = append(c, &c->value, sizeof *at);
    if (at != NULL)
        *at = (value_at){id, before, now};
}

static void
collect_leaf(collector *c, unsigned side, uint32_t number, const cop__list_page *page)
{
    cop__view view = {side == COP_EDIT_BEFORE ? c->pair.before : c->pair.now, NULL};
    if (page == NULL || page->kind != COP_LIST_IS_LEAF)
        return;
    leaf_of *at = append(c, &c->leaf[side], sizeof *at);
    if (at != NULL)
        *at = (leaf_of){cop__list_owner(view, number), number};
}

static void
collect_leaves(void *context, uint32_t number, const void *before, const void *now)
{
    collect_leaf(context, COP_EDIT_BEFORE, number, before);
    collect_leaf(context, COP_EDIT_NOW, number, now);
}

/* ---- order ---- */

static int
compare(uint32_t a, uint32_t b)
{
    return a < b ? -1 : a > b;
}

static int
by_depth(const void *a, const void *b)
{
    const branch_at *x = a, *y = b;
    return x->depth != y->depth ? compare(x->depth, y->depth) : compare(x->id, y->id);
}

static int
by_owner(const void *a, const void *b)
{
    const leaf_of *x = a, *y = b;
    return x->owner != y->owner ? compare(x->owner, y->owner) : compare(x->number, y->number);
}

/* Sorted by owner, and their numbers alone beside it; room for one more, so that none are no
 * failure. */
static void
order_leaves(collector *c, unsigned side)
{
    const cop__edit_vector *leaves = &c->leaf[side];
    uint32_t *number =
        cop__edit_room(c->memory, &c->number[side], leaves->count + 1, sizeof *number);
    if (number == NULL) {
        c->refused = true;
        return;
    }
    leaf_of *leaf = leaves->at;
    if (leaves->count > 1)
        qsort(leaf, leaves->count, sizeof *leaf, by_owner);
    for (size_t i = 0; i < leaves->count; i++)
        number[i] = leaf[i].number;
}

static cop_status
gather(collector *c)
{
    cop__tree_diff(c->pair.before, c->pair.now, collect, c);
    if (c->branch.count > 1)
        qsort(c->branch.at, c->branch.count, sizeof(branch_at), by_depth);
    if (!c->paged)
        return c->refused ? COP_E_MEMORY : COP_OK;
    cop__tree_diff_pages(c->pair.before, c->pair.now, COP_SPACE_LISTS, collect_leaves, c);
    for (unsigned side = 0; side < COP_EDIT_SIDES; side++)
        order_leaves(c, side);
    return c->refused ? COP_E_MEMORY : COP_OK;
}

/* ---- telling ---- */

static size_t
first_of(const collector *c, unsigned side, uint32_t owner)
{
    const leaf_of *leaf = c->leaf[side].at;
    size_t low = 0, high = c->leaf[side].count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (leaf[middle].owner < owner)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static cop__edit_leaves
leaves_of(const collector *c, unsigned side, uint32_t owner)
{
    const leaf_of *leaf = c->leaf[side].at;
    size_t first = first_of(c, side, owner), end = first;
    while (end < c->leaf[side].count && leaf[end].owner == owner)
        end++;
    const uint32_t *number = c->number[side].at;
    return (cop__edit_leaves){number != NULL ? number + first : NULL, end - first};
}

static cop_status
tell_lists(const collector *c, cop__edit_list *list)
{
    const branch_at *branch = c->branch.at;
    cop_status status = COP_OK;
    for (size_t i = 0; i < c->branch.count && status == COP_OK; i++) {
        cop__edit_leaves leaves[COP_EDIT_SIDES];
        for (unsigned side = 0; side < COP_EDIT_SIDES; side++)
            leaves[side] = leaves_of(c, side, branch[i].id);
        status = cop__edit_list_tell(list, branch[i].id, leaves);
    }
    return status;
}

/* The values changed lie anywhere, and to say where each hangs is a chain of loads: the node of the
 * info space, the info word, the name. So each step of the chain is asked for some atoms ahead. */
static void
prefetch_names(const collector *c, size_t i)
{
    enum { NODE = 24, INFO = 16, NAME = 8 };
    const value_at *value = c->value.at;
    const cop__space_root *infos = &c->pair.now->space[COP_SPACE_INFO];
    size_t n = c->value.count;
    if (i + NODE < n)
        cop__space_prefetch_way(infos, value[i + NODE].id >> COP_INFO_BITS);
    if (i + INFO < n) {
        uint32_t id = value[i + INFO].id;
        const cop__info *page = cop__space_page(infos, id >> COP_INFO_BITS);
        __builtin_prefetch(page + (id & (COP_INFOS - 1)));
    }
    if (i + NAME < n) {
        const char *name =
            (const char *)cop__info_name(cop__root_info(c->pair.now, value[i + NAME].id));
        __builtin_prefetch(name);
        __builtin_prefetch(name + COP_CACHE_LINE - 1);
    }
}

static cop_status
tell_values(const collector *c, cop__edit_function function, void *context)
{
    const value_at *value = c->value.at;
    cop_status status = COP_OK;
    for (size_t i = 0; i < c->value.count && status == COP_OK; i++) {
        cop_atom atom = {value[i].id, value[i].now->reserved};
        cop__edit edit = {.kind = COP_EDIT_REPLACE,
                          .branch = atom,
                          .atom = atom,
                          .before = value[i].before,
                          .now = value[i].now};
        prefetch_names(c, i);
        if (depth_of(c, atom.id) != UINT32_MAX)
            status = function(context, &edit);
    }
    return status;
}

cop_status
cop__tree_edits(cop__memory *memory, cop__diff_pair pair, cop_atom below,
                cop__edit_function function, void *context)
{
    collector c = {.memory = memory, .pair = pair, .below = below.id};
    cop__edit_list list = {
        .memory = memory, .pair = pair, .function = function, .context = context};
    if (cop__root_atom(pair.before, below) == NULL || cop__root_atom(pair.now, below) == NULL)
        return COP_E_GONE;
    cop_status status = gather(&c);
    list.reborn = c.reborn;
    if (status == COP_OK)
        status = tell_lists(&c, &list);
    if (status == COP_OK)
        status = tell_values(&c, function, context);
    cop__edit_list_end(&list);
    cop__edit_free(memory, &c.branch, sizeof(branch_at));
    cop__edit_free(memory, &c.value, sizeof(value_at));
    cop__edit_free(memory, &c.reborn, sizeof(uint32_t));
    for (unsigned side = 0; side < COP_EDIT_SIDES; side++) {
        cop__edit_free(memory, &c.leaf[side], sizeof(leaf_of));
        cop__edit_free(memory, &c.number[side], sizeof(uint32_t));
    }
    return status;
}

/* SPDX-License-Identifier: MIT */
/* The draft: path copying, undo, publication. See tree.h and space.h. */
#include "tree/atoms.h"

static bool
grow32(cop__tree *tree, void *vector, uint32_t *capacity, uint32_t need, size_t element)
{
    size_t wide = *capacity;
    if (!cop__tree_grow(tree, vector, &wide, need, element))
        return false;
    *capacity = (uint32_t)wide;
    return true;
}

/* One edit touches a page and a node a level, and may add every level anew. */
#define EDIT_RECORDS (2 * COP_LEVELS + 2)

static bool
edit_reserve(cop__tree *tree)
{
    size_t need = tree->undo_count + EDIT_RECORDS;
    return (cop__likely(need <= tree->undo_capacity) ||
            cop__tree_grow(tree, &tree->undo, &tree->undo_capacity, need, sizeof *tree->undo)) &&
           cop__dead_reserve(&tree->dead, EDIT_RECORDS);
}

static void
undo_push_page(cop__tree *tree, unsigned space, uint32_t number, const cop__page_entry *entry)
{
    tree->edited |= 1u << space;
    tree->undo[tree->undo_count++] = (cop__undo){.page = entry->page,
                                                 .birth = entry->birth,
                                                 .number = number,
                                                 .generation = entry->generation,
                                                 .live = (uint8_t)entry->live,
                                                 .space = space & 15};
}

static void
undo_push_node(cop__tree *tree, unsigned space, unsigned level, uint32_t number,
               const cop__node_entry *entry)
{
    tree->edited |= 1u << space;
    tree->undo[tree->undo_count++] = (cop__undo){.page = entry->node,
                                                 .birth = entry->birth,
                                                 .number = number,
                                                 .space = space & 15,
                                                 .level = (level + 1) & 15};
}

/* ---- the radix nodes above a page ---- */

/* Stands where a value page was taken out, so that readers need not ask: all its slots are dead. */
static void *
cop__nothing_page(void)
{
    static const _Alignas(COP_PAGE_BYTES) cop__slot nothing[COP_SLOTS];
    return (void *)(uintptr_t)nothing;
}

/* A node that is not in the draft yet. */
static inline void **
node_copy(cop__tree *tree, unsigned space, unsigned level, uint32_t index)
{
    cop__node_entry *entry = &tree->space[space].level[level][index];
    void **node = cop__pool_page(&tree->pool);
    if (cop__unlikely(node == NULL)) {
        tree->failed = COP_E_MEMORY;
        return NULL;
    }
    undo_push_node(tree, space, level, index, entry);
    if (cop__likely(entry->node != NULL)) {
        cop__page_copy(node, entry->node);
        cop__dead_page(&tree->dead, entry->node, entry->birth, tree->stamp, false);
    } else {
        memset(node, 0, COP_PAGE_BYTES);
    }
    entry->node = node;
    entry->birth = tree->stamp;
    return node;
}

/* Hangs a page or NULL into the radix tree, copying the nodes above it. */
static bool
link_page(cop__tree *tree, unsigned space, uint32_t number, void *page)
{
    cop__space *s = &tree->space[space];
    void *child = page == NULL && space == COP_SPACE_VALUES ? cop__nothing_page() : page;
    uint32_t index = number;
    for (unsigned level = 0; level < s->levels; level++) {
        uint32_t place = index & (COP_FANOUT - 1);
        index >>= COP_FANOUT_BITS;
        const cop__node_entry *entry = &s->level[level][index];
        if (entry->birth == tree->stamp) {
            entry->node[place] = child;
            return true; /* the nodes above lead here already */
        }
        void **node = node_copy(tree, space, level, index);
        if (cop__unlikely(node == NULL))
            return false;
        node[place] = child;
        child = node;
    }
    return true;
}

/* ---- growing a space by one page number ---- */

static bool
levels_reserve(cop__tree *tree, cop__space *s, uint32_t count)
{
    uint32_t need = count;
    for (unsigned k = 0; k < COP_LEVELS; k++) {
        need = (need + COP_FANOUT - 1) >> COP_FANOUT_BITS;
        uint32_t had = s->level_capacity[k];
        if (!grow32(tree, &s->level[k], &s->level_capacity[k], need, sizeof(cop__node_entry)))
            return false;
        if (s->level_capacity[k] > had)
            memset(&s->level[k][had], 0, (s->level_capacity[k] - had) * sizeof(cop__node_entry));
    }
    return true;
}

/* A new top node over the old one. */
static bool
add_level(cop__tree *tree, unsigned space)
{
    cop__space *s = &tree->space[space];
    unsigned level = s->levels;
    COP_ALWAYS(level < COP_LEVELS);
    s->levels++;
    if (level == 0)
        return true;
    const cop__node_entry *entry = &s->level[level][0];
    void **node = entry->birth == tree->stamp ? entry->node : node_copy(tree, space, level, 0);
    if (node == NULL)
        return false;
    node[0] = s->level[level - 1][0].node;
    return true;
}

static bool
space_grow(cop__tree *tree, unsigned space)
{
    cop__space *s = &tree->space[space];
    uint32_t had = s->capacity;
    if (!(tree->grown >> space & 1)) {
        s->count_before = s->count;
        s->levels_before = s->levels;
        tree->grown |= 1u << space;
    }
    if (!grow32(tree, &s->entry, &s->capacity, s->count + 1, sizeof *s->entry))
        return false;
    if (s->capacity > had)
        memset(&s->entry[had], 0, (s->capacity - had) * sizeof *s->entry);
    if (!levels_reserve(tree, s, s->count + 1))
        return false;
    s->count++;
    if (s->levels == 0 || (s->count - 1) >> (COP_FANOUT_BITS * s->levels) != 0)
        return add_level(tree, space);
    return true;
}

/* ---- pages ---- */

/* A page that comes into being, maybe again: then every slot's next generation must be above all
 * that its atoms ever had, and every slot may differ from the page before. */
static void
page_clear(unsigned space, cop__page_entry *entry, void *page)
{
    memset(page, 0, COP_PAGE_BYTES);
    if (space != COP_SPACE_VALUES)
        return;
    cop__slot *slot = page;
    for (unsigned i = 0; i < COP_SLOTS; i++)
        slot[i].reserved = (uint16_t)(entry->generation + 1);
    entry->touched = entry->before != NULL ? UINT32_MAX : 0;
}

/* The first touch of a page by this draft. */
void *
cop__draft_edit_slow(cop__tree *tree, unsigned space, uint32_t number)
{
    cop__space *s = &tree->space[space];
    if (COP_FAULT(published_page_changed) && number < s->count && s->entry[number].page != NULL)
        return s->entry[number].page;
    if (!edit_reserve(tree))
        goto refused;
    while (number >= s->count)
        if (!space_grow(tree, space))
            goto refused;
    cop__page_entry *entry = &s->entry[number];
    void *page = cop__pool_page(&tree->pool);
    if (page == NULL)
        goto refused;
    if (entry->birth != tree->stamp) {
        undo_push_page(tree, space, number, entry);
        entry->before = entry->page;
        entry->touched = 0;
        if (entry->page != NULL)
            cop__dead_page(&tree->dead, entry->page, entry->birth, tree->stamp, false);
    }
    if (entry->page != NULL)
        cop__page_copy(page, entry->page);
    else
        page_clear(space, entry, page);
    entry->page = page;
    entry->birth = tree->stamp;
    if (!link_page(tree, space, number, page))
        goto refused;
    return page;
refused:
    tree->failed = COP_E_MEMORY;
    return NULL;
}

bool
cop__draft_adopt(cop__tree *tree, uint32_t number)
{
    cop__page_entry *entry = &tree->space[COP_SPACE_VALUES].entry[number];
    void *copy = entry->page;
    entry->page = entry->before;
    if (!edit_reserve(tree)) {
        cop__pool_page_free(&tree->pool, copy);
        tree->failed = COP_E_MEMORY;
        return false;
    }
    undo_push_page(tree, COP_SPACE_VALUES, number, entry);
    cop__dead_page(&tree->dead, entry->page, entry->birth, tree->stamp, false);
    entry->page = copy;
    entry->birth = tree->stamp;
    return link_page(tree, COP_SPACE_VALUES, number, copy);
}

bool
cop__draft_relink(cop__tree *tree, unsigned space, uint32_t number)
{
    if (edit_reserve(tree) &&
        link_page(tree, space, number, tree->space[space].entry[number].page))
        return true;
    tree->failed = COP_E_MEMORY;
    return false;
}

bool
cop__draft_drop(cop__tree *tree, unsigned space, uint32_t number, cop__fate fate)
{
    cop__page_entry *entry = &tree->space[space].entry[number];
    if (!edit_reserve(tree)) {
        tree->failed = COP_E_MEMORY;
        return false;
    }
    void *page = entry->page;
    if (entry->birth == tree->stamp) {
        cop__pool_page_free(&tree->pool, page);
    } else {
        undo_push_page(tree, space, number, entry);
        cop__dead_page(&tree->dead, page, entry->birth, tree->stamp, fate == COP_FATE_DIES_WHOLE);
        entry->before = fate == COP_FATE_DIES ? page : NULL;
        entry->touched = 0;
        entry->birth = tree->stamp;
    }
    entry->page = NULL;
    return link_page(tree, space, number, NULL);
}

uint32_t
cop__draft_new_list_page(cop__tree *tree)
{
    uint32_t number = tree->space[COP_SPACE_LISTS].count;
    if (tree->now.spare_lists > 0)
        number = tree->spare_list[tree->now.spare_lists - 1];
    if (cop__draft_edit(tree, COP_SPACE_LISTS, number) == NULL)
        return 0;
    if (tree->now.spare_lists > 0)
        tree->now.spare_lists--;
    return number;
}

bool
cop__draft_drop_list_page(cop__tree *tree, uint32_t number)
{
    size_t need = tree->sparing_count + 1;
    if (!cop__tree_grow(tree, &tree->sparing, &tree->sparing_capacity, need, sizeof(uint32_t)) ||
        !cop__tree_grow(tree, &tree->spare_list, &tree->spare_list_capacity,
                        tree->now.spare_lists + need, sizeof(uint32_t)))
        return false;
    tree->sparing[tree->sparing_count++] = number;
    return cop__draft_drop(tree, COP_SPACE_LISTS, number, COP_FATE_DIES);
}

/* ---- life of a draft ---- */

void
cop__draft_begin(cop__tree *tree)
{
    tree->stamp = tree->root->stamp + 1;
    tree->version = tree->root->version + 1;
    tree->failed = COP_OK;
    tree->undo_count = 0;
    tree->before = tree->now; /* first: a copy right behind stores of a part waits for them */
    tree->now.structure = tree->before.structure = false;
    tree->now.made = tree->before.made = 0;
    tree->limbo_before = tree->dead.limbo_count;
    tree->freeing_count = 0;
    tree->sparing_count = 0;
    tree->edited = tree->grown = 0;
}

/* Frees the blocks that the draft made for slots of one page. */
static void
free_draft_blocks(cop__tree *tree, const cop__page_entry *entry)
{
    const cop__slot *page = entry->page;
    for (uint32_t left = entry->touched; left != 0; left &= left - 1) {
        const cop__slot *slot = &page[__builtin_ctz(left)];
        size_t bytes;
        uint64_t *block = cop__slot_block(slot, &bytes);
        if (block != NULL && *block == tree->stamp)
            cop__pool_block_free(&tree->pool, &tree->pool.values, block, bytes);
    }
}

static void
free_draft_names(cop__tree *tree, const cop__info *page)
{
    for (unsigned i = 0; i < COP_INFOS; i++) {
        const cop__name *name = cop__info_name(page[i]);
        if (name != NULL && cop__name_birth(name) == tree->stamp)
            cop__pool_block_free(&tree->pool, &tree->pool.names, (void *)(uintptr_t)page[i],
                                 cop__name_bytes(name));
    }
}

static void
undo_page(cop__tree *tree, const cop__undo *undo)
{
    cop__page_entry *entry = &tree->space[undo->space].entry[undo->number];
    if (entry->page != NULL && undo->space == COP_SPACE_VALUES)
        free_draft_blocks(tree, entry);
    if (entry->page != NULL && undo->space == COP_SPACE_INFO)
        free_draft_names(tree, entry->page);
    if (entry->page != NULL)
        cop__pool_page_free(&tree->pool, entry->page);
    *entry = (cop__page_entry){.page = undo->page,
                               .birth = undo->birth,
                               .live = undo->live,
                               .generation = undo->generation};
}

static void
undo_node(cop__tree *tree, const cop__undo *undo)
{
    cop__node_entry *entry = &tree->space[undo->space].level[undo->level - 1][undo->number];
    cop__pool_page_free(&tree->pool, entry->node);
    *entry = (cop__node_entry){undo->page, undo->birth};
}

/* Names remember the list page that lists them; pages that came back say it anew. */
static void
undo_leaves(cop__tree *tree)
{
    for (size_t i = 0; i < tree->undo_count; i++)
        if (tree->undo[i].level == 0 && tree->undo[i].space == COP_SPACE_LISTS &&
            tree->undo[i].page != NULL)
            cop__list_claim(tree, tree->undo[i].number);
}

/* Names that the draft made and took out again. */
static void
free_unborn_names(cop__tree *tree)
{
    while (tree->names_unborn != NULL) {
        cop__name *name = tree->names_unborn;
        tree->names_unborn = (cop__name *)(uintptr_t)name->header;
        cop__pool_block_free(&tree->pool, &tree->pool.names, name, cop__name_bytes(name));
    }
}

void
cop__draft_abandon(cop__tree *tree)
{
    for (size_t i = tree->undo_count; i-- > 0;) {
        const cop__undo *undo = &tree->undo[i];
        if (undo->level == 0)
            undo_page(tree, undo);
        else
            undo_node(tree, undo);
    }
    for (unsigned i = 0; i < COP_SPACES; i++) {
        if (!(tree->grown >> i & 1))
            continue;
        tree->space[i].count = tree->space[i].count_before;
        tree->space[i].levels = tree->space[i].levels_before;
    }
    undo_leaves(tree);
    free_unborn_names(tree);
    tree->undo_count = 0;
    tree->dead.limbo_count = tree->limbo_before;
    tree->freeing_count = 0;
    tree->sparing_count = 0;
    tree->now = tree->before;
}

/* ---- finishing ---- */

/* A block that a published slot owned dies with this draft. */
static inline bool
block_dies(cop__tree *tree, const cop__slot *before, const cop__slot *now)
{
    size_t bytes, ignored;
    void *block = cop__slot_block(before, &bytes);
    if (block == NULL || (now != NULL && cop__slot_block(now, &ignored) == block))
        return true;
    if (!cop__dead_reserve(&tree->dead, 1)) {
        tree->failed = COP_E_MEMORY;
        return false;
    }
    cop__dead_block(&tree->dead, block, bytes, tree->stamp);
    return true;
}

/* A published value page that this draft first copied and then dropped. */
static bool
dropped_page_finish(cop__tree *tree, const cop__slot *before)
{
    for (unsigned i = 0; i < COP_SLOTS; i++)
        if (!block_dies(tree, &before[i], NULL))
            return false;
    return true;
}

/* Whether a reader could tell. What was erased has been marked when it was; an atom that came and
 * went within the draft never was. A branch changes when its children do. */
static bool
slot_changed(const cop__slot *before, const cop__slot *now)
{
    if (!cop__slot_alive(now))
        return false;
    if (before == NULL || !cop__slot_alive(before) || before->reserved != now->reserved)
        return true;
    return !cop__slot_is_branch(now) || cop__slot_type(before) != cop__slot_type(now);
}

static bool
slot_finish(cop__tree *tree, uint32_t id, const cop__slot *before, const cop__slot *now,
            bool *changed)
{
    if (before != NULL && cop__slot_same(before, now))
        return true;
    if (before != NULL && !block_dies(tree, before, now))
        return false;
    if (!slot_changed(before, now))
        return true;
    *changed = true;
    return (now->type & COP_SLOT_NAMED) == 0 || cop__mark_above(tree, id);
}

/* An atom that has another value, and had and has none that owns a block. */
static inline bool
plain_changed(const cop__slot *before, const cop__slot *now)
{
    uint64_t was[2], is[2];
    memcpy(was, before, sizeof was);
    memcpy(is, now, sizeof is);
    return (was[0] & COP_SLOT_TYPE) - COP_NULL <= COP_F64 - COP_NULL &&
           (is[0] & COP_SLOT_TYPE) - COP_NULL <= COP_F64 - COP_NULL &&
           (was[0] != is[0] || was[1] != is[1]);
}

static bool
value_page_finish(cop__tree *tree, uint32_t number, bool *changed)
{
    const cop__page_entry *entry = &tree->space[COP_SPACE_VALUES].entry[number];
    const cop__slot *before = entry->before, *now = entry->page;
    if (now == NULL)
        return before == NULL || dropped_page_finish(tree, before);
    for (uint32_t left = entry->touched; left != 0; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctz(left);
        if (before != NULL && plain_changed(&before[i], &now[i])) {
            *changed = true;
            if ((now[i].type & COP_SLOT_NAMED) &&
                !cop__mark_above(tree, (number << COP_SLOT_BITS) + i))
                return false;
            continue;
        }
        if (!slot_finish(tree, (number << COP_SLOT_BITS) + i, before != NULL ? &before[i] : NULL,
                         &now[i], changed))
            return false;
    }
    return true;
}

bool
cop__draft_finish(cop__tree *tree)
{
    bool changed = tree->now.structure;
    for (size_t i = 0; i < tree->undo_count; i++) {
        const cop__undo *undo = &tree->undo[i];
        if (undo->level == 0 && undo->space == COP_SPACE_VALUES &&
            !value_page_finish(tree, undo->number, &changed))
            return false;
    }
    return changed && tree->failed == COP_OK;
}

cop_snapshot *
cop__draft_root(cop__tree *tree)
{
    cop_snapshot *root = cop__dead_reserve(&tree->dead, 1) ? cop__pool_root(&tree->pool) : NULL;
    if (root == NULL) {
        tree->failed = COP_E_MEMORY;
        return NULL;
    }
    root->header = 0;
    memcpy(root->space, tree->root->space, sizeof root->space);
    for (uint32_t left = tree->edited; left != 0; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctz(left);
        const cop__space *s = &tree->space[i];
        root->space[i].top = s->level[s->levels - 1][0].node;
        root->space[i].count = s->count;
        root->space[i].shift = COP_FANOUT_BITS * (s->levels - 1);
    }
    root->holds = 0;
    root->seen = root->handle = false;
    root->kept = 0;
    root->for_handles = root->for_watchers = root->for_texts = root->for_library = 0;
    root->replaced_ns = root->held_ns = 0;
    root->held_site = NULL;
    root->held_thread = 0;
    root->next_kept = NULL;
    cop__store_relaxed(&root->alone, UINT64_C(0));
    root->previous_held = root->next_held = NULL;
    root->store = tree->root->store;
    root->hash_seed = tree->hash_seed;
    root->stamp = tree->stamp;
    root->version = tree->version;
    root->atoms = tree->now.atoms;
    root->buckets = tree->now.buckets;
    root->time_ns = cop__realtime_ns();
    return root;
}

void
cop__draft_published(cop__tree *tree, cop_snapshot *root)
{
    cop__dead_root(&tree->dead, tree->root, tree->root->stamp, root->stamp);
    tree->root->replaced_ns = root->time_ns;
    tree->root = root;
    tree->undo_count = 0;
    free_unborn_names(tree);
    cop__id_publish(tree);
    for (size_t i = 0; i < tree->sparing_count; i++)
        tree->spare_list[tree->now.spare_lists++] = tree->sparing[i];
    tree->sparing_count = 0;
}

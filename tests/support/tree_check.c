/* SPDX-License-Identifier: MIT */
#include "tests/support/tree_check.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/dump.h"
#include "tests/support/pool_bytes.h"
#include "tree/directory.h"
#include "tree/list.h"

typedef struct check {
    const cop__tree *tree;
    cop__view view; /* the draft's tables */
    const char *wrong;
    uint64_t alive, named, listed, names, stale;
    uint64_t pages, value_bytes, name_bytes;
    uint8_t *list_use; /* for each number of the lists space: times used */
    uint8_t *id_use;   /* for each id: places where it is free */
    uint8_t *parent;   /* for each id: times listed */
} check;

static char complaint[160];

static bool __attribute__((format(printf, 3, 4)))
hold(check *c, bool holds, const char *format, ...)
{
    va_list list;

    if (holds || c->wrong != NULL)
        return holds;
    va_start(list, format);
    vsnprintf(complaint, sizeof complaint, format, list);
    va_end(list);
    c->wrong = complaint;
    return false;
}

/* --- spaces ----------------------------------------------------------------------- */

static void
check_nodes(check *c, unsigned space)
{
    const cop__space *s = &c->tree->space[space];
    uint32_t nodes = s->count;

    for (unsigned k = 0; k < COP_LEVELS; k++) {
        nodes = (nodes + COP_FANOUT - 1) / COP_FANOUT;
        for (uint32_t i = 0; i < s->level_capacity[k]; i++) {
            const cop__node_entry *entry = &s->level[k][i];
            bool wanted = k < s->levels && i < nodes;
            hold(c, wanted || entry->node == NULL, "space %u has a node %u too many, level %u",
                 space, i, k);
            hold(c, entry->birth <= c->tree->root->stamp, "a node of space %u is from the future",
                 space);
            c->pages += entry->node != NULL;
        }
    }
}

static void
check_space(check *c, unsigned space)
{
    const cop__space *s = &c->tree->space[space];
    const cop__space_root *root = &c->tree->root->space[space];

    if (s->count > 0 &&
        (!hold(c, root->count == s->count, "space %u: another count is published", space) ||
         !hold(c, root->shift == COP_FANOUT_BITS * (s->levels - 1), "space %u: shift", space)))
        return;
    for (uint32_t i = 0; i < s->count; i++) {
        const cop__page_entry *entry = &s->entry[i];
        const cop__slot *seen = cop__space_page(root, i);
        c->pages += entry->page != NULL;
        hold(c, entry->birth <= c->tree->root->stamp, "page %u of space %u is from the future", i,
             space);
        if (entry->page != NULL || space != COP_SPACE_VALUES) {
            hold(c, seen == entry->page, "page %u of space %u is published otherwise", i, space);
            continue;
        }
        hold(c, entry->live == 0, "value page %u is gone with atoms", i);
        if (!hold(c, seen != NULL, "readers find nothing for value page %u", i))
            return;
        for (unsigned k = 0; k < COP_SLOTS; k++)
            hold(c, !cop__slot_alive(&seen[k]), "readers see atoms in value page %u, gone", i);
    }
    for (uint32_t i = s->count; i < s->capacity; i++)
        hold(c,
             s->entry[i].page == NULL && s->entry[i].birth == 0 && s->entry[i].generation == 0 &&
                 s->entry[i].live == 0,
             "space %u has a page %u beyond its count", space, i);
    hold(c, s->count == 0 || cop__space_page(root, s->count) == NULL, "a page beyond is found");
    check_nodes(c, space);
}

/* --- atoms ------------------------------------------------------------------------ */

static const cop__slot *
living(const check *c, uint32_t id)
{
    const cop__slot *slot = cop__draft_slot(c->tree, id);

    return slot != NULL && cop__slot_alive(slot) ? slot : NULL;
}

static void
check_slot(check *c, uint32_t id, const cop__slot *slot, unsigned generation)
{
    size_t bytes;
    uint64_t *block = cop__slot_block(slot, &bytes);
    cop__info info = cop__draft_info(c->tree, id);

    if (!cop__slot_alive(slot)) {
        hold(c, slot->reserved <= generation + 1, "dead atom %u: generation", id);
        hold(c, info == 0, "dead atom %u is named", id);
        return;
    }
    c->alive++;
    c->named += (slot->type & COP_SLOT_NAMED) != 0;
    hold(c, slot->reserved > 0 && slot->reserved <= generation, "atom %u: generation", id);
    hold(c, ((slot->type & COP_SLOT_NAMED) != 0) == (info != 0), "atom %u: named or not", id);
    if (block == NULL)
        return;
    hold(c, *block > 0 && *block <= c->tree->root->stamp, "atom %u: birth of its block", id);
    c->value_bytes += pool_block_bytes(bytes);
}

static void
check_values(check *c)
{
    const cop__space *s = &c->tree->space[COP_SPACE_VALUES];

    for (uint32_t i = 0; i < s->count; i++) {
        const cop__slot *page = s->entry[i].page;
        uint64_t before = c->alive;
        for (uint32_t k = 0; page != NULL && k < COP_SLOTS; k++)
            check_slot(c, i * COP_SLOTS + k, &page[k], s->entry[i].generation);
        hold(c, s->entry[i].live == c->alive - before, "value page %u: counts %u atoms, has %u", i,
             s->entry[i].live, (unsigned)(c->alive - before));
        hold(c,
             page == NULL || s->entry[i].live > 0 || s->entry[i].generation == COP_GENERATION_MAX,
             "value page %u is empty", i);
    }
    hold(c, c->alive == c->tree->now.atoms + 1, "%" PRIu64 " atoms counted, %" PRIu64 " alive",
         c->tree->now.atoms, c->alive);
    hold(c, c->tree->root->atoms == c->tree->now.atoms, "another number of atoms is published");
}

/* A joined name begins with the segment of its parent, and leads to what is above that. */
static void
check_way_up(check *c, uint32_t id, const cop__name *name, const cop__name *parent)
{
    size_t prefix = cop__name_prefix(name);

    if (prefix == 0) {
        hold(c, cop__name_above(name) == parent, "name of %u: way up", id);
        return;
    }
    if (!hold(c, parent != NULL && prefix == cop__name_length(parent) + 1, "name of %u: prefix",
              id))
        return;
    hold(c,
         memcmp(name->text, cop__name_segment(parent), prefix - 1) == 0 &&
             name->text[prefix - 1] == '/',
         "name of %u: the prefix is another's", id);
    hold(c, cop__name_above(name) == cop__prefix_of(c->view, parent->parent).name,
         "joined name of %u: way up", id);
}

/* The name of a child of an object leads to the parent's, or says that the parent is the anchor. */
static void
check_name(check *c, uint32_t id, const cop__name *name)
{
    uint32_t above = name->parent;
    const cop__slot *parent = living(c, above), *slot = living(c, id);
    char path[COP_PATH_MAX];
    cop__prefix prefix;
    size_t length;

    hold(c, slot != NULL && cop__name_generation(name) == slot->reserved,
         "the name of atom %u is another's", id);
    hold(c, cop__name_birth(name) > 0 && cop__name_birth(name) <= c->tree->root->stamp,
         "name of %u: birth", id);
    if (!hold(c, parent != NULL && cop__slot_type(parent) == COP_OBJECT,
              "atom %u has no object above it", id))
        return;
    prefix = cop__prefix_of(c->view, above);
    check_way_up(c, id, name, prefix.name);
    hold(c, cop__name_anchor(name) == prefix.anchor, "name of %u: anchor", id);
    length = cop__name_path(name, path, sizeof(path));
    hold(c, length == cop__prefix_length(prefix) + cop__name_length(name), "name of %u: length",
         id);
    hold(c,
         memcmp(path + length - cop__name_length(name), cop__name_segment(name),
                cop__name_length(name)) == 0,
         "name of %u: path", id);
    hold(c, cop__directory_find(c->view, prefix.anchor, path, length).name == name,
         "name of %u is not found", id);
}

static void
check_infos(check *c)
{
    const cop__space *s = &c->tree->space[COP_SPACE_INFO];
    uint64_t words = 0;

    for (uint32_t i = 0; i < s->count; i++) {
        const cop__info *page = s->entry[i].page;
        uint64_t before = words;
        for (uint32_t k = 0; page != NULL && k < COP_INFOS; k++) {
            uint32_t id = i * COP_INFOS + k;
            if (page[k] == 0)
                continue;
            words++;
            if (!hold(c, living(c, id) != NULL, "atom %u is dead and named", id))
                return;
            if (cop__info_name(page[k]) != NULL)
                check_name(c, id, cop__info_name(page[k]));
        }
        hold(c, s->entry[i].live == words - before, "info page %u: count", i);
    }
    hold(c, words == c->named, "%" PRIu64 " info words, %" PRIu64 " named atoms", words, c->named);
}

/* --- lists ------------------------------------------------------------------------ */

/* A free run of ids that somebody keeps. */
static void
note_run(check *c, cop__run run)
{
    for (uint32_t id = run.next; id < run.end; id++)
        if (hold(c, id >> COP_SLOT_BITS < c->tree->space[COP_SPACE_VALUES].count, "a run has id %u",
                 id))
            c->id_use[id]++;
}

static void
check_child(check *c, uint32_t branch, uint32_t leaf, uint32_t id)
{
    cop__info info = cop__draft_info(c->tree, id);
    const cop__name *name = cop__info_name(info);

    c->listed++;
    if (!hold(c, living(c, id) != NULL, "branch %u lists dead atom %u", branch, id))
        return;
    hold(c, c->parent[id]++ == 0, "atom %u is listed twice", id);
    hold(c, cop__info_parent(c->view, info) == branch, "atom %u has another parent", id);
    /* A draft that made pages of a block and was abandoned leaves its mark in the names. */
    if (name != NULL)
        hold(c, leaf == 0 || cop__name_joined(name) || cop__name_leaf(name) == leaf,
             "atom %u: name says leaf %u, not %u", id, cop__name_leaf(name), leaf);
    else
        hold(c, info == (leaf != 0 ? (cop__info)leaf << 2 | 1 : (cop__info)branch << 2 | 3),
             "atom %u: info word", id);
}

static const cop__list_page *
list_page(check *c, uint32_t number)
{
    const cop__list_page *page = NULL;

    if (number < c->tree->space[COP_SPACE_LISTS].count)
        page = cop__draft_page(c->tree, COP_SPACE_LISTS, number);
    if (hold(c, number != 0 && page != NULL, "list page %u does not exist", number))
        c->list_use[number]++;
    return page;
}

typedef struct leaves { /* as they come from left to right */
    uint32_t branch, last, next_of_last;
} leaves;

/* The ids below a page. */
static uint32_t
check_list_page(check *c, leaves *state, uint32_t number, uint32_t parent, unsigned depth)
{
    const cop__list_page *page = list_page(c, number);
    uint32_t total = 0;

    if (page == NULL || !hold(c, depth < 6, "a list of branch %u is too deep", state->branch))
        return 0;
    hold(c, page->parent == parent, "list page %u: parent", number);
    hold(c, page->count > 0 || parent != 0, "list page %u is empty", number);
    if (page->kind == COP_LIST_IS_LEAF) {
        if (!hold(c, page->count <= COP_LIST_LEAF_IDS, "leaf %u: count", number))
            return 0;
        hold(c, page->count > 0, "leaf %u is empty", number);
        hold(c, page->previous == state->last, "leaf %u: previous", number);
        hold(c, state->last == 0 || state->next_of_last == number, "leaf %u: next", state->last);
        state->last = number;
        state->next_of_last = page->next;
        for (uint32_t i = 0; i < page->count; i++)
            check_child(c, state->branch, number, page->id[i]);
        return page->count;
    }
    if (!hold(c,
              page->kind == COP_LIST_IS_INNER && page->count <= COP_LIST_INNER && page->count > 0,
              "list page %u: kind", number))
        return 0;
    for (uint32_t i = 0; i < page->count && c->wrong == NULL; i++) {
        uint32_t below = check_list_page(c, state, page->child[i].page, number, depth + 1);
        hold(c, page->child[i].count == below, "list page %u: child %u counts %u, has %u", number,
             i, page->child[i].count, below);
        total += below;
    }
    return total;
}

static void
check_pages_list(check *c, uint32_t branch, uint32_t number)
{
    leaves state = {.branch = branch};
    const cop__list_page *root;
    uint32_t total = check_list_page(c, &state, number, 0, 0);

    root = cop__draft_page(c->tree, COP_SPACE_LISTS, number);
    if (c->wrong != NULL)
        return;
    hold(c, state.next_of_last == 0, "the last leaf of %u has a next", branch);
    hold(c, root->total == total && total > 0, "list of %u: total %u, has %u", branch, root->total,
         total);
    hold(c, root->owner == branch, "list of %u: owner", branch);
    hold(c, root->changed <= c->tree->root->version, "list of %u: changed", branch);
    hold(c, root->kind == COP_LIST_IS_LEAF || root->count > 1, "list of %u: one child", branch);
    note_run(c, root->run);
}

static void
check_branch(check *c, uint32_t id, const cop__slot *slot)
{
    const cop__child_block *block;

    hold(c, cop__slot_changed(slot) <= c->tree->root->version, "branch %u: changed later", id);
    switch (cop__slot_list(slot)) {
    case COP_LIST_BLOCK:
        block = cop__slot_child_block(slot);
        if (!hold(c,
                  block->count > 0 && block->count <= block->capacity &&
                      block->capacity <= COP_BLOCK_CHILDREN,
                  "branch %u: block of %u for %u", id, block->count, block->capacity))
            return;
        hold(c, block->changed <= c->tree->root->version, "branch %u: list changed later", id);
        for (uint32_t i = 0; i < block->count; i++)
            check_child(c, id, 0, block->id[i]);
        break;
    case COP_LIST_PAGES:
        check_pages_list(c, id, slot->small.words[0]);
        break;
    default:
        hold(c, cop__slot_list(slot) == COP_LIST_NONE, "branch %u: list", id);
    }
}

static void
check_lists(check *c)
{
    uint32_t ids = c->tree->space[COP_SPACE_VALUES].count * COP_SLOTS;

    for (uint32_t id = 0; id < ids && c->wrong == NULL; id++)
        if (living(c, id) != NULL && cop__slot_is_branch(living(c, id)))
            check_branch(c, id, living(c, id));
    hold(c, c->listed == c->named, "%" PRIu64 " atoms listed, %" PRIu64 " named", c->listed,
         c->named);
}

/* --- the directory ---------------------------------------------------------------- */

static uint32_t
bucket_of(uint32_t hash, uint32_t buckets)
{
    uint32_t size = 1;

    while (size * 2 <= buckets)
        size *= 2;
    return hash % (2 * size) < buckets ? hash % (2 * size) : hash % size;
}

static void
check_hash(check *c, uint32_t bucket, uint64_t word)
{
    const cop__name *name = cop__directory_name(word);
    char path[COP_PATH_MAX];
    size_t length = cop__name_path(name, path, sizeof(path));
    uint32_t anchor = cop__name_anchor(name);
    uint64_t hash = cop__path_hash(c->tree->hash_seed, anchor, path, length);

    hold(c, (name->header >> 48) == (hash & UINT16_MAX), "a name's part of its hash");
    hold(c, word >> 48 == ((hash >> 15 & UINT16_MAX) | 1), "a word's part of its hash");
    hold(c, bucket_of((uint32_t)hash, c->tree->now.buckets) == bucket, "a name in bucket %u",
         bucket);
}

/* What is above a stale name may be gone. */
static void
check_bucket_page(check *c, uint32_t bucket, const void *page)
{
    for (unsigned i = 0; i < COP_DIRECTORY_WORDS; i++) {
        uint64_t word = cop__directory_word(page, i);
        const cop__name *name = cop__directory_name(word);
        cop_atom atom;
        bool stale;
        if (word == 0)
            continue;
        atom = (cop_atom){cop__directory_id(page, i), cop__name_generation(name)};
        stale = cop__draft_atom(c->tree, atom) == NULL;
        hold(c, stale || cop__info_name(cop__draft_info(c->tree, atom.id)) == name,
             "the directory says %u of another's name", atom.id);
        if (!stale)
            check_hash(c, bucket, word);
        c->names++;
        c->stale += stale;
        c->name_bytes += pool_block_bytes(cop__name_bytes(name));
    }
}

static void
check_directory(check *c)
{
    const cop__space *s = &c->tree->space[COP_SPACE_NAMES];
    const cop__counts *now = &c->tree->now;

    for (uint32_t i = 0; i < s->count && c->wrong == NULL; i++) {
        const void *page = s->entry[i].page;
        hold(c, page == NULL || i < now->buckets * COP_BUCKET_PAGES, "page %u is one too many", i);
        while (page != NULL) {
            uint32_t next = cop__directory_overflow(page);
            check_bucket_page(c, i / COP_BUCKET_PAGES, page);
            page = next != 0 ? list_page(c, next) : NULL;
        }
    }
    hold(c, c->names == now->names && c->stale == now->stale,
         "%" PRIu64 " names, %" PRIu64 " stale; counted %" PRIu64 ", %" PRIu64, c->names, c->stale,
         now->names, now->stale);
    hold(c, now->names <= (uint64_t)now->buckets * COP_BUCKET_FILL, "too few buckets");
    hold(c, c->tree->root->buckets == now->buckets, "another number of buckets is published");
}

/* --- ids and page numbers --------------------------------------------------------- */

static void
note_ring(check *c)
{
    const cop__tree *tree = c->tree;

    for (uint64_t i = tree->now.freed_head; i != tree->freed_tail; i++) {
        cop__freed freed = tree->freed[i & (tree->freed_capacity - 1)];
        if (i == tree->now.freed_head && tree->now.freed_head_mask != 0) {
            hold(c, (tree->now.freed_head_mask & ~freed.mask) == 0, "ids at the ring's head");
            freed.mask = tree->now.freed_head_mask;
        }
        if (!hold(c, freed.mask != 0 && freed.page < tree->space[COP_SPACE_VALUES].count,
                  "the ring of ids"))
            return;
        for (uint32_t k = 0; k < COP_SLOTS; k++)
            if (freed.mask >> k & 1)
                c->id_use[freed.page * COP_SLOTS + k]++;
    }
}

static void
check_ids(check *c)
{
    const cop__space *s = &c->tree->space[COP_SPACE_VALUES];

    note_run(c, c->tree->now.run);
    note_ring(c);
    for (uint32_t id = 0; id < s->count * COP_SLOTS && c->wrong == NULL; id++) {
        const cop__page_entry *entry = &s->entry[id >> COP_SLOT_BITS];
        const cop__slot *slot = cop__draft_slot(c->tree, id);
        bool used_up = slot == NULL && entry->generation == COP_GENERATION_MAX;
        if (living(c, id) != NULL || (slot != NULL && slot->reserved == 0))
            hold(c, c->id_use[id] == 0, "id %u is alive or used up, and free", id);
        else
            hold(c, c->id_use[id] == 1 || (used_up && c->id_use[id] == 0),
                 "id %u is free in %u places", id, c->id_use[id]);
    }
}

static void
check_list_numbers(check *c)
{
    const cop__tree *tree = c->tree;
    const cop__space *s = &tree->space[COP_SPACE_LISTS];

    for (uint32_t i = 0; i < tree->now.spare_lists; i++) {
        uint32_t number = tree->spare_list[i];
        if (!hold(c, number > 0 && number < s->count, "spare list page %u", number))
            return;
        hold(c, s->entry[number].page == NULL, "spare list page %u exists", number);
        c->list_use[number]++;
    }
    for (uint32_t i = 1; i < s->count; i++)
        hold(c, c->list_use[i] == 1, "list page %u has %u uses", i, c->list_use[i]);
}

/* --- memory ----------------------------------------------------------------------- */

static void
check_memory(check *c)
{
    const cop__tree *tree = c->tree;

    if (tree->dead.limbo_count != 0 || tree->dead.blocks_dead + tree->dead.pages_dead != 0)
        return;
    hold(c, tree->pool.pages_used == c->pages,
         "the pool counts %" PRIu64 " pages, used are %" PRIu64, tree->pool.pages_used, c->pages);
    hold(c, tree->pool.values.bytes_used == c->value_bytes,
         "the pool counts %" PRIu64 " bytes of values, used are %" PRIu64,
         tree->pool.values.bytes_used, c->value_bytes);
    hold(c, tree->pool.names.bytes_used == c->name_bytes,
         "the pool counts %" PRIu64 " bytes of names, used are %" PRIu64,
         tree->pool.names.bytes_used, c->name_bytes);
}

const char *
tree_check(const cop__tree *tree)
{
    check c = {.tree = tree, .view = {NULL, tree}};

    c.list_use = calloc(tree->space[COP_SPACE_LISTS].count + 1, 1);
    c.id_use = calloc((size_t)tree->space[COP_SPACE_VALUES].count + 1, COP_SLOTS);
    c.parent = calloc((size_t)tree->space[COP_SPACE_VALUES].count + 1, COP_SLOTS);
    if (c.list_use == NULL || c.id_use == NULL || c.parent == NULL)
        abort();
    static void (*const parts[])(check *) = {check_values,    check_lists, check_infos,
                                             check_directory, check_ids,   check_list_numbers};
    for (unsigned i = 0; i < COP_SPACES && c.wrong == NULL; i++)
        check_space(&c, i);
    for (unsigned i = 0; i < sizeof parts / sizeof *parts && c.wrong == NULL; i++)
        parts[i](&c);
    if (c.wrong == NULL)
        check_memory(&c);
    free(c.list_use);
    free(c.id_use);
    free(c.parent);
    return c.wrong;
}

/* --- the digest ------------------------------------------------------------------- */

#define ADD(field) hash = dump_fnv(hash, &(field), sizeof(field))

static uint64_t
digest_page(uint64_t hash, unsigned space, const void *page)
{
    const cop__info *info = page;

    hash = dump_fnv(hash, page, COP_PAGE_BYTES);
    for (unsigned i = 0; space == COP_SPACE_INFO && i < COP_INFOS; i++) {
        const cop__name *name = cop__info_name(info[i]);
        if (name == NULL)
            continue;
        hash = dump_fnv(hash, name, offsetof(cop__name, text) + cop__name_text_length(name));
    }
    return hash;
}

static uint64_t
digest_space(uint64_t hash, const cop__tree *tree, unsigned space)
{
    const cop__space *s = &tree->space[space];

    ADD(s->count);
    ADD(s->levels);
    for (uint32_t i = 0; i < s->count; i++) {
        ADD(s->entry[i].page);
        ADD(s->entry[i].birth);
        ADD(s->entry[i].live);
        ADD(s->entry[i].generation);
        if (s->entry[i].page != NULL)
            hash = digest_page(hash, space, s->entry[i].page);
    }
    uint32_t nodes = s->count;
    for (unsigned k = 0; k < s->levels; k++) {
        nodes = (nodes + COP_FANOUT - 1) / COP_FANOUT;
        for (uint32_t i = 0; i < nodes; i++) {
            ADD(s->level[k][i].node);
            ADD(s->level[k][i].birth);
            if (s->level[k][i].node != NULL)
                hash = dump_fnv(hash, s->level[k][i].node, COP_PAGE_BYTES);
        }
    }
    return hash;
}

uint64_t
tree_digest(const cop__tree *tree)
{
    uint64_t hash = DUMP_FNV_INIT;
    const cop__counts *now = &tree->now;

    for (unsigned i = 0; i < COP_SPACES; i++)
        hash = digest_space(hash, tree, i);
    ADD(tree->root);
    ADD(now->atoms);
    ADD(now->names);
    ADD(now->stale);
    ADD(now->buckets);
    ADD(now->run);
    ADD(now->freed_head);
    ADD(now->freed_head_mask);
    ADD(now->spare_lists);
    ADD(now->sweep);
    ADD(tree->freed_tail);
    for (uint64_t i = now->freed_head; i != tree->freed_tail; i++)
        ADD(tree->freed[i & (tree->freed_capacity - 1)]);
    for (uint32_t i = 0; i < now->spare_lists; i++)
        ADD(tree->spare_list[i]);
    ADD(tree->dead.limbo_count);
    for (size_t i = 0; i < tree->dead.limbo_count; i++)
        ADD(tree->dead.limbo[i]);
    ADD(tree->pool.pages_used);
    ADD(tree->pool.values.bytes_used);
    ADD(tree->pool.names.bytes_used);
    return hash;
}

/* SPDX-License-Identifier: MIT */
/* The tree's beginning and end. See tree.h. */
#include <coppice/path.h>

#include "tree/atoms.h"

/* What dies with a value page: the block of every slot. */
static void
open_value_page(void *page, cop__dead_emit emit, void *context)
{
    const cop__slot *slot = page;
    for (unsigned i = 0; i < COP_SLOTS; i++) {
        size_t bytes;
        void *block = cop__slot_block(&slot[i], &bytes);
        if (block != NULL)
            emit(context, block, bytes);
    }
}

/* The first draft makes the root atom, id 0, and leaves list page 0 unused: it means "none". */
static bool
first_draft(cop__tree *tree)
{
    uint32_t id;
    cop_value object = cop_object();
    cop__draft_begin(tree);
    tree->version = 0;
    if (!cop__atom_create(tree, &object, &id) ||
        cop__draft_edit(tree, COP_SPACE_LISTS, 0) == NULL ||
        cop__draft_edit(tree, COP_SPACE_NAMES, 0) == NULL || /* the first bucket */
        cop__draft_edit(tree, COP_SPACE_NAMES, 1) == NULL || !cop__draft_finish(tree))
        return false;
    COP_ALWAYS(id == 0 && cop__draft_atom(tree, cop_root()) != NULL);
    tree->now.atoms = 0; /* the root does not count */
    return true;
}

cop_status
cop__tree_init(cop__tree *tree, cop__memory *memory, size_t chunk_bytes, bool huge_pages,
               cop_store *store)
{
    cop_snapshot nothing = {.store = store};
    memset(tree, 0, sizeof *tree);
    tree->memory = memory;
    cop__pool_init(&tree->pool, memory, chunk_bytes, huge_pages);
    cop__dead_init(&tree->dead, &tree->pool, open_value_page);
    tree->hash_seed = cop__random_seed();
    tree->now.buckets = 1;
    tree->root = &nothing;
    cop_snapshot *root = first_draft(tree) ? cop__draft_root(tree) : NULL;
    if (root == NULL) {
        cop__draft_abandon(tree);
        tree->root = NULL;
        return COP_E_MEMORY;
    }
    tree->undo_count = 0;
    tree->root = root;
    return COP_OK;
}

static void
vector_free(cop__tree *tree, void *vector, size_t bytes)
{
    cop__memory_table_free(tree->memory, COP_MEMORY_TABLES, vector, bytes);
}

_Static_assert(offsetof(cop__name, text) + COP_PATH_MAX + sizeof(uint32_t) <= COP_MIDDLE_MAX,
               "no name is a large block");

/* Frees the blocks that are not in size classes; all else goes with the chunks. */
static void
free_large_blocks(cop__tree *tree)
{
    const cop__space *s = &tree->space[COP_SPACE_VALUES];
    for (uint32_t i = 0; i < s->count; i++) {
        const cop__slot *slot = s->entry[i].page;
        for (unsigned k = 0; slot != NULL && k < COP_SLOTS; k++) {
            size_t bytes;
            void *block = cop__slot_block(&slot[k], &bytes);
            if (block != NULL && cop__pool_class(bytes) >= COP_CLASSES)
                cop__pool_block_free(&tree->pool, &tree->pool.values, block, bytes);
        }
    }
}

void
cop__tree_end(cop__tree *tree)
{
    if (tree->memory == NULL)
        return;
    cop__dead_end(&tree->dead);
    free_large_blocks(tree);
    for (unsigned i = 0; i < COP_SPACES; i++) {
        cop__space *s = &tree->space[i];
        vector_free(tree, s->entry, s->capacity * sizeof *s->entry);
        for (unsigned k = 0; k < COP_LEVELS; k++)
            vector_free(tree, s->level[k], s->level_capacity[k] * sizeof *s->level[k]);
    }
    vector_free(tree, tree->undo, tree->undo_capacity * sizeof *tree->undo);
    cop__memory_free(tree->memory, COP_MEMORY_TABLES, tree->freed,
                     tree->freed_capacity * sizeof *tree->freed, 16);
    vector_free(tree, tree->freeing, tree->freeing_capacity * sizeof *tree->freeing);
    vector_free(tree, tree->spare_list, tree->spare_list_capacity * sizeof *tree->spare_list);
    vector_free(tree, tree->sparing, tree->sparing_capacity * sizeof *tree->sparing);
    vector_free(tree, tree->scratch, tree->scratch_capacity * sizeof *tree->scratch);
    cop__pool_end(&tree->pool);
    memset(tree, 0, sizeof *tree);
}

/* Large tables grow by an eighth: what is not used yet is memory like any other. */
#define FEW 1024

bool
cop__tree_grow(cop__tree *tree, void *vector, size_t *capacity, size_t need, size_t element)
{
    void **p = vector;
    if (cop__likely(need <= *capacity))
        return true;
    size_t more = *capacity + *capacity / (*capacity < FEW ? 2 : 8);
    if (more < need)
        more = need < 64 ? 64 : need;
    void *grown = cop__memory_table(tree->memory, COP_MEMORY_TABLES, *p, *capacity * element,
                                    more * element);
    if (grown == NULL) {
        tree->failed = COP_E_MEMORY;
        return false;
    }
    *p = grown;
    *capacity = more;
    return true;
}

#define LONG_BYTES ((size_t)64 * 1024)

static void
vector_shrink(cop__tree *tree, void *vector, size_t *capacity, size_t used, size_t element)
{
    void **p = vector;
    size_t less = used * 2 < 64 ? 64 : used * 2;
    if (*capacity * element <= LONG_BYTES || less > *capacity / 2)
        return;
    void *cut = cop__memory_table(tree->memory, COP_MEMORY_TABLES, *p, *capacity * element,
                                  less * element);
    if (cut == NULL)
        return;
    *p = cut;
    *capacity = less;
}

void
cop__tree_shrink(cop__tree *tree)
{
    vector_shrink(tree, &tree->undo, &tree->undo_capacity, tree->undo_count, sizeof *tree->undo);
    vector_shrink(tree, &tree->freeing, &tree->freeing_capacity, 0, sizeof *tree->freeing);
    vector_shrink(tree, &tree->sparing, &tree->sparing_capacity, 0, sizeof *tree->sparing);
    vector_shrink(tree, &tree->scratch, &tree->scratch_capacity, 0, sizeof *tree->scratch);
    vector_shrink(tree, &tree->spare_list, &tree->spare_list_capacity, tree->now.spare_lists,
                  sizeof *tree->spare_list);
    cop__dead_shrink(&tree->dead);
}

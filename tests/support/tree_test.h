/* SPDX-License-Identifier: MIT */
/* A tree without a store around it, for the unit tests of what is below commits. One at a time. */
#ifndef COP_TESTS_TREE_TEST_H
#define COP_TESTS_TREE_TEST_H

#include "tests/support/store_test.h"
#include "tests/support/tree_check.h"
#include "tree/atoms.h"

static cop__tree tree;
static cop__memory *tree_memory;
static uint64_t tree_random_state;

static inline uint64_t
tree_random(uint64_t n)
{
    uint64_t x = tree_random_state += UINT64_C(0x9e3779b97f4a7c15);

    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (x ^ (x >> 31)) % n;
}

/* Reading functions only ask whether a root record has a store. */
static inline cop_store *
tree_no_store(void)
{
    static _Alignas(128) char nothing[128];

    return (cop_store *)(void *)nothing;
}

static inline void
tree_setup(void)
{
    cop_allocator allocator;

    fault_alloc_init(&t_faults);
    allocator = fault_alloc_table(&t_faults);
    tree_memory = cop__memory_new(&allocator, UINT64_MAX);
    ck_assert_ptr_nonnull(tree_memory);
    CHECK_OK(cop__tree_init(&tree, tree_memory, 1 << 20, false, tree_no_store()));
    tree_random_state = 1;
}

static inline void
tree_is_right(void)
{
    const char *wrong = tree_check(&tree);

    ck_assert_msg(wrong == NULL, "%s", wrong);
}

static inline void
tree_teardown(void)
{
    tree_is_right();
    cop__tree_end(&tree);
    cop__memory_unref(tree_memory);
    t_all_released();
}

static inline cop__view
tree_view(void)
{
    return (cop__view){NULL, &tree};
}

/* Ends the draft as a commit does; false (and abandoned) when nothing changed. */
static inline bool
tree_publish(void)
{
    cop_snapshot *root = cop__draft_finish(&tree) ? cop__draft_root(&tree) : NULL;

    ck_assert_int_eq(tree.failed, COP_OK);
    if (root == NULL)
        cop__draft_abandon(&tree);
    else
        cop__draft_published(&tree, root);
    return root != NULL;
}

/* Frees all that died; no version but the newest is held. */
static inline void
tree_reclaim(void)
{
    ck_assert(cop__dead_scan(&tree.dead, &tree.root->stamp, 1));
    ck_assert_uint_eq(cop__dead_free(&tree.dead, SIZE_MAX), 0);
}

/* Publishes a change, frees what died, and checks everything. */
static inline void
tree_commit(void)
{
    ck_assert(tree_publish());
    tree_reclaim();
    tree_is_right();
}

static inline uint32_t
tree_child(uint32_t object, const char *segment, cop_value value)
{
    uint32_t id = UINT32_MAX;

    ck_assert(cop__atom_create_child(&tree, object, segment, strlen(segment), &value, &id));
    return id;
}

static inline uint32_t
tree_insert(uint32_t array, uint32_t position, cop_value value)
{
    uint32_t id = UINT32_MAX;

    ck_assert(cop__atom_insert(&tree, array, position, &value, &id));
    return id;
}

static inline uint32_t
tree_count(uint32_t branch)
{
    return cop__list_count(tree_view(), cop__draft_slot(&tree, branch));
}

#endif

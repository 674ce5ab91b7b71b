/* SPDX-License-Identifier: MIT */
/*
 * The tree below commits: random drafts, finished, abandoned and run out of memory, with versions
 * held meanwhile. After each the invariants of tree_check.h hold; an abandoned draft leaves no
 * trace; a held version reads as on its first day.
 */
#include "tests/support/tree_test.h"

enum { KEYS = 700, HELD = 6 };

typedef struct held {
    const cop_snapshot *root;
    uint64_t hash;
} held;

static held versions[HELD];
static size_t versions_count;

/* --- random operations: each false when memory ran out ---------------------------- */

static bool
is_living(uint32_t id)
{
    const cop__slot *slot = cop__draft_slot(&tree, id);

    return slot != NULL && cop__slot_alive(slot);
}

static uint32_t
pick(void)
{
    uint32_t ids = tree.space[COP_SPACE_VALUES].count * COP_SLOTS;

    for (int i = 0; i < 200; i++) {
        uint32_t id = (uint32_t)tree_random(ids);
        if (is_living(id))
            return id;
    }
    return 0;
}

static uint32_t
pick_branch(cop_type type)
{
    for (int i = 0; i < 60; i++) {
        uint32_t id = pick();
        if (cop__slot_type(cop__draft_slot(&tree, id)) == type)
            return id;
    }
    return 0;
}

static cop_value
some_scalar(void)
{
    static const char text[3000] = {'t', 'e', 'x', 't'};

    switch (tree_random(8)) {
    case 0:
        return cop_null();
    case 1:
        return cop_string(text, 13 + tree_random(60));
    case 2:
        return cop_bytes(text + tree_random(2), tree_random(40));
    case 3:
        return tree_random(8) == 0 ? cop_error_value(text, 1000 + tree_random(1900))
                                   : cop_f64((double)tree_random(4));
    default:
        return cop_i64((int64_t)tree_random(5));
    }
}

static cop_value
some_value(void)
{
    switch (tree_random(8)) {
    case 0:
    case 1:
        return cop_object();
    case 2:
        return cop_array();
    default:
        return some_scalar();
    }
}

static bool
op_write(void)
{
    uint32_t id = pick();
    const cop__slot *slot = cop__draft_slot(&tree, id);
    cop_value value = some_value();

    if (cop__slot_is_branch(slot) && cop__slot_list(slot) != COP_LIST_NONE)
        return true;
    if (id == 0)
        value = cop_object();
    else if (!(slot->type & COP_SLOT_NAMED))
        value = some_scalar();
    return cop__atom_write(&tree, id, &value);
}

static bool
op_create(void)
{
    cop_value value = some_scalar();
    uint32_t id;

    return cop__atom_create(&tree, &value, &id);
}

static bool
op_child(void)
{
    uint32_t object = tree_random(3) == 0 ? 0 : pick_branch(COP_OBJECT), id;
    cop_value value = some_value();
    char segment[64];
    size_t n = (size_t)snprintf(segment, sizeof segment, "%s%u",
                                tree_random(5) ? "" : "quite-a-long-segment-of-a-name-",
                                (unsigned)tree_random(KEYS));

    if (cop__slot_type(cop__draft_slot(&tree, object)) != COP_OBJECT ||
        cop__child_find(tree_view(), object, segment, n).name != NULL ||
        !cop__name_fits(&tree, object, n))
        return true;
    return cop__atom_create_child(&tree, object, segment, n, &value, &id);
}

static bool
op_insert(void)
{
    uint32_t array = pick_branch(COP_ARRAY), id;
    cop_value value = some_value();

    if (cop__slot_type(cop__draft_slot(&tree, array)) != COP_ARRAY)
        return true;
    return cop__atom_insert(&tree, array, (uint32_t)tree_random(tree_count(array) + 1), &value,
                            &id);
}

static bool
op_erase(void)
{
    uint32_t id = pick();

    if (id == 0 || tree_count(id) > tree_random(400))
        return true;
    return cop__atom_erase(&tree, id);
}

static bool
op_clear(void)
{
    uint32_t id = pick_branch(tree_random(2) ? COP_OBJECT : COP_ARRAY);

    return tree_count(id) > tree_random(300) || cop__atom_clear(&tree, id);
}

static bool
op_reorder(void)
{
    uint32_t id = pick_branch(tree_random(2) ? COP_OBJECT : COP_ARRAY), n = tree_count(id);
    uint32_t *ids = malloc((n + 1) * sizeof *ids);
    bool done;

    ck_assert_ptr_nonnull(ids);
    for (uint32_t i = 0; i < n; i++)
        ids[i] = cop__list_at(tree_view(), cop__draft_slot(&tree, id), i);
    for (uint32_t i = 0; i + 1 < n; i++) {
        uint32_t k = i + (uint32_t)tree_random(n - i), kept = ids[i];
        ids[i] = ids[k];
        ids[k] = kept;
    }
    done = cop__list_reorder(&tree, id, ids, n);
    for (uint32_t i = 0; done && i < n; i++)
        ck_assert_uint_eq(cop__list_at(tree_view(), cop__draft_slot(&tree, id), i), ids[i]);
    free(ids);
    return done;
}

/* growth: out of ten, how often an atom is made rather than erased. */
static bool
op_any(unsigned growth)
{
    switch (tree_random(12)) {
    case 0:
        return op_reorder();
    case 1:
        return tree_random(4) ? op_create() : op_clear();
    case 2:
    case 3:
        return op_write();
    default:
        if (tree_random(10) >= growth)
            return op_erase();
        return tree_random(3) ? op_child() : op_insert();
    }
}

/* --- held versions ---------------------------------------------------------------- */

static void
version_hold(void)
{
    if (versions_count < HELD)
        versions[versions_count++] = (held){tree.root, dump_hash(tree.root)};
}

static void
version_let_go(size_t i)
{
    versions_count--;
    memmove(&versions[i], &versions[i + 1], (versions_count - i) * sizeof *versions);
}

static void
scan(size_t quota)
{
    uint64_t stamps[HELD + 1];
    size_t n = 0;

    for (size_t i = 0; i < versions_count; i++)
        if (n == 0 || stamps[n - 1] != versions[i].root->stamp)
            stamps[n++] = versions[i].root->stamp;
    if (n == 0 || stamps[n - 1] != tree.root->stamp)
        stamps[n++] = tree.root->stamp;
    ck_assert(cop__dead_scan(&tree.dead, stamps, n));
    cop__dead_free(&tree.dead, quota);
}

static void
versions_are_whole(void)
{
    for (size_t i = 0; i < versions_count; i++)
        ck_assert_msg(dump_hash(versions[i].root) == versions[i].hash,
                      "version %" PRIu64 " changed", versions[i].root->version);
}

/* --- drafts ----------------------------------------------------------------------- */

/* Makes the k-th request for memory from now fail. */
static void
refuse(int64_t k)
{
    atomic_store(&tree_memory->fail_countdown, k);
}

static void
draft(unsigned growth)
{
    bool abandon = tree_random(4) == 0, starve = tree_random(5) == 0, done = true;
    unsigned n = 1 + (unsigned)tree_random(tree_random(4) ? 30 : 300);
    uint64_t digest;
    cop_snapshot *root = NULL;

    cop__draft_begin(&tree);
    digest = tree_digest(&tree);
    if (starve)
        refuse((int64_t)tree_random(tree_random(2) ? 40 : 400));
    for (unsigned i = 0; i < n && done; i++)
        done = op_any(growth);
    ck_assert_int_eq(tree.failed, done ? COP_OK : COP_E_MEMORY);
    if (done && !abandon && cop__draft_finish(&tree) && cop__directory_sweep(&tree, 2))
        root = cop__draft_root(&tree);
    refuse(-1);
    if (root != NULL) {
        cop__draft_published(&tree, root);
    } else {
        cop__draft_abandon(&tree);
        ck_assert_uint_eq(tree_digest(&tree), digest);
    }
}

static void
drafts(uint64_t seed, unsigned n)
{
    tree_random_state = seed;
    versions_count = 0;
    for (unsigned i = 0; i < n; i++) {
        draft(i % 100 < 60 ? 8 : 3);
        tree_is_right();
        if (tree_random(6) == 0)
            version_hold();
        if (versions_count > 0 && tree_random(6) == 0)
            version_let_go(tree_random(versions_count));
        if (tree_random(3) == 0)
            scan(tree_random(2) ? SIZE_MAX : tree_random(100));
        if (i % 16 == 0) {
            const char *wrong = dump_disagreement(tree.root);
            ck_assert_msg(wrong == NULL, "%s", wrong);
            versions_are_whole();
        }
    }
    versions_are_whole();
    versions_count = 0;
    scan(SIZE_MAX);
    tree_is_right();
}

START_TEST(random_drafts)
{
    drafts((uint64_t)_i * 1000 + 1, 250);
}
END_TEST

/* --- a draft without a net change ------------------------------------------------- */

START_TEST(what_is_undone_within_a_draft_is_no_change)
{
    static const char text[] = "longer than fits into a slot";
    cop_value value = cop_string(text, sizeof text), other = cop_i64(1);
    uint32_t id;
    uint64_t digest;

    cop__draft_begin(&tree);
    id = tree_child(0, "a", value);
    tree_commit();
    cop__draft_begin(&tree);
    digest = tree_digest(&tree);
    ck_assert(cop__atom_write(&tree, id, &other));
    ck_assert(cop__atom_write(&tree, id, &value));
    ck_assert(!tree_publish());
    ck_assert_uint_eq(tree_digest(&tree), digest);
    cop__draft_begin(&tree);
    for (unsigned i = 0; i < 100; i++) {
        uint32_t made = tree_child(0, "b", i % 2 ? value : cop_object());
        ck_assert(!cop__atom_published(&tree, made));
        ck_assert(cop__atom_erase(&tree, made));
    }
    ck_assert(cop__atom_published(&tree, id));
    ck_assert(!tree_publish());
    ck_assert_uint_eq(tree_digest(&tree), digest);
}
END_TEST

/* An abandoned draft's changes do not leak into the next. */
START_TEST(nothing_of_an_abandoned_draft_is_published_later)
{
    uint32_t id;

    for (unsigned i = 0; i < 40; i++) {
        char segment[8];
        snprintf(segment, sizeof segment, "%u", i);
        cop__draft_begin(&tree);
        tree_child(0, segment, cop_object());
        tree_commit();
    }
    cop__draft_begin(&tree);
    ck_assert(cop__atom_clear(&tree, 0));
    cop__draft_abandon(&tree);
    tree_is_right();
    cop__draft_begin(&tree);
    id = tree_child(0, "x", cop_null());
    tree_commit();
    ck_assert_uint_eq(tree_count(0), 41);
    cop__draft_begin(&tree);
    ck_assert(cop__atom_erase(&tree, id));
    tree_commit();
}
END_TEST

/* --- ids
 * ------------------------------------------------------------------------------------------ */

/* Makes every free id of the first pages one whose next atom has this generation. */
static void
age(uint16_t generation)
{
    cop__draft_begin(&tree);
    for (uint32_t number = 0; number < tree.space[COP_SPACE_VALUES].count; number++) {
        ck_assert_ptr_nonnull(cop__draft_edit(&tree, COP_SPACE_VALUES, number));
        for (uint32_t id = number * COP_SLOTS; id < (number + 1) * COP_SLOTS; id++)
            if (!is_living(id))
                cop__slot_edit(&tree, id)->reserved = generation;
        tree.space[COP_SPACE_VALUES].entry[number].generation = generation;
    }
    tree.now.structure = true;
    ck_assert(tree_publish());
}

START_TEST(ids_whose_generations_are_used_up_retire)
{
    uint32_t ids[100], pages;
    unsigned reused = 0;

    cop__draft_begin(&tree);
    for (unsigned i = 0; i < 100; i++)
        ck_assert(cop__atom_create(&tree, &(cop_value){.type = COP_NULL}, &ids[i]));
    tree_commit();
    cop__draft_begin(&tree);
    for (unsigned i = 0; i < 100; i += 2)
        ck_assert(cop__atom_erase(&tree, ids[i]));
    tree_commit();
    age(COP_GENERATION_MAX - 1);
    tree_reclaim();
    pages = tree.space[COP_SPACE_VALUES].count;
    for (unsigned round = 0; round < 4; round++) {
        cop__draft_begin(&tree);
        for (unsigned i = 0; i < 100; i += 2) {
            ck_assert(cop__atom_create(&tree, &(cop_value){.type = COP_NULL}, &ids[i]));
            ck_assert_uint_gt(cop__draft_slot(&tree, ids[i])->reserved, 0);
            reused += ids[i] < pages * COP_SLOTS;
        }
        tree_commit();
        cop__draft_begin(&tree);
        for (unsigned i = 0; i < 100; i += 2)
            ck_assert(cop__atom_erase(&tree, ids[i]));
        tree_commit();
    }
    /* two generations for each of what was free; the last page was not full to begin with */
    ck_assert_uint_ge(reused, 100);
    ck_assert_uint_le(reused, 2 * (50 + COP_SLOTS));
}
END_TEST

/* A page whose atoms all go comes back with generations above every one that was given out. */
START_TEST(generations_go_on_when_a_page_comes_back)
{
    uint16_t generation[4 * COP_SLOTS + 1] = {0};
    uint32_t ids[COP_SLOTS];

    for (unsigned round = 0; round < 20; round++) {
        cop__draft_begin(&tree);
        for (unsigned i = 0; i < COP_SLOTS; i++) {
            uint16_t got;
            ck_assert(cop__atom_create(&tree, &(cop_value){.type = COP_NULL}, &ids[i]));
            got = cop__draft_slot(&tree, ids[i])->reserved;
            if (ids[i] < sizeof generation / sizeof *generation) {
                ck_assert_uint_gt(got, generation[ids[i]]);
                generation[ids[i]] = got;
            }
        }
        tree_commit();
        cop__draft_begin(&tree);
        for (unsigned i = 0; i < COP_SLOTS; i++)
            ck_assert(cop__atom_erase(&tree, ids[(i * 7) % COP_SLOTS]));
        tree_commit();
    }
    ck_assert_uint_le(tree.space[COP_SPACE_VALUES].count, 4);
}
END_TEST

START_TEST(freed_ids_are_used_oldest_first)
{
    uint32_t ids[3000], id;

    cop__draft_begin(&tree);
    for (unsigned i = 0; i < 3000; i++)
        ck_assert(cop__atom_create(&tree, &(cop_value){.type = COP_NULL}, &ids[i]));
    while (tree.now.run.next < tree.now.run.end)
        ck_assert(cop__atom_create(&tree, &(cop_value){.type = COP_NULL}, &id));
    tree_commit();
    for (unsigned i = 0; i < 3000; i += 100) {
        cop__draft_begin(&tree);
        for (unsigned k = 0; k < 100; k += 3)
            ck_assert(cop__atom_erase(&tree, ids[i + k]));
        tree_commit();
    }
    for (unsigned i = 0; i < 3000; i++) {
        if (i % 100 % 3 != 0)
            continue;
        if (i % 100 == 0)
            cop__draft_begin(&tree);
        ck_assert(cop__atom_create(&tree, &(cop_value){.type = COP_NULL}, &id));
        ck_assert_uint_eq(id, ids[i]);
        if (i % 100 == 99)
            tree_commit();
    }
}
END_TEST

/* --- growth
 * --------------------------------------------------------------------------------------- */

/* Enough value pages for a third level of nodes. */
START_TEST(spaces_grow_by_levels)
{
    uint32_t wanted = COP_FANOUT * COP_FANOUT + 70, count, id;
    uint64_t digest;

    for (unsigned part = 0; part < 2; part++) {
        cop__draft_begin(&tree);
        digest = tree_digest(&tree);
        count = tree.space[COP_SPACE_VALUES].count;
        while (tree.space[COP_SPACE_VALUES].count < wanted - (part == 0 ? 200 : 0))
            ck_assert(cop__atom_create(&tree, &(cop_value){.type = COP_NULL}, &id));
        if (part == 1) {
            cop__draft_abandon(&tree);
            ck_assert_uint_eq(tree_digest(&tree), digest);
            ck_assert_uint_eq(tree.space[COP_SPACE_VALUES].levels, 2);
            ck_assert_uint_eq(tree.space[COP_SPACE_VALUES].count, count);
            tree_is_right();
            cop__draft_begin(&tree);
            while (tree.space[COP_SPACE_VALUES].count < wanted)
                ck_assert(cop__atom_create(&tree, &(cop_value){.type = COP_NULL}, &id));
        }
        tree_commit();
    }
    ck_assert_uint_eq(tree.space[COP_SPACE_VALUES].levels, 3);
    ck_assert_ptr_eq(cop__root_slot(tree.root, id), cop__draft_slot(&tree, id));
}
END_TEST

/* Every request for memory of one large draft refused in turn. */
START_TEST(out_of_memory_at_every_request)
{
    for (unsigned i = 0; i < 60; i++) {
        char segment[16];
        snprintf(segment, sizeof segment, "%u", i);
        cop__draft_begin(&tree);
        tree_child(0, segment, i % 3 ? cop_array() : cop_object());
        tree_commit();
    }
    for (int64_t k = 0;; k++) {
        bool done = true;
        cop_snapshot *root = NULL;
        uint64_t digest;
        cop__draft_begin(&tree);
        digest = tree_digest(&tree);
        tree_random_state = 77;
        refuse(k);
        for (unsigned i = 0; i < 120 && done; i++)
            done = op_any(i < 90 ? 9 : 2);
        if (done && cop__draft_finish(&tree) && cop__directory_sweep(&tree, 4))
            root = cop__draft_root(&tree);
        if (root != NULL) {
            refuse(-1);
            cop__draft_published(&tree, root);
            break;
        }
        refuse(-1);
        ck_assert_int_eq(tree.failed, COP_E_MEMORY);
        cop__draft_abandon(&tree);
        ck_assert_uint_eq(tree_digest(&tree), digest);
        tree_is_right();
    }
    tree_reclaim();
}
END_TEST

/* Finishing a draft retires what was replaced, which wants room. */
START_TEST(out_of_memory_when_finishing)
{
    enum { ATOMS = 3000 };
    static const char text[100];
    static uint32_t ids[ATOMS];
    int64_t refused = 0;

    cop__draft_begin(&tree);
    for (unsigned i = 0; i < ATOMS; i++)
        ck_assert(cop__atom_create(&tree, &(cop_value){.type = COP_NULL}, &ids[i]));
    tree_commit();
    for (int64_t k = 0;; k++) {
        cop_value value = cop_string(text, 20 + (size_t)refused % 50);
        uint64_t digest;
        bool done = true;
        for (unsigned part = 0; part < 2; part++) {
            cop__draft_begin(&tree);
            digest = tree_digest(&tree);
            for (unsigned i = 0; i < ATOMS; i++)
                ck_assert(cop__atom_write(&tree, ids[i], &value));
            value = cop_string(text, 80);
            if (part == 0)
                tree_commit();
        }
        refuse(k);
        done = cop__draft_finish(&tree);
        refuse(-1);
        ck_assert_int_eq(tree.failed, done ? COP_OK : COP_E_MEMORY);
        cop__draft_abandon(&tree);
        ck_assert_uint_eq(tree_digest(&tree), digest);
        tree_is_right();
        if (done)
            break;
        refused++;
    }
    ck_assert_int_gt(refused, 0);
}
END_TEST

START_TEST(a_tree_that_gets_no_memory_is_none)
{
    for (int64_t k = 0; k < 100; k++) {
        cop__tree other;
        cop_status status;
        refuse(k);
        status = cop__tree_init(&other, tree_memory, 1 << 20, false, tree_no_store());
        refuse(-1);
        if (status == COP_OK) {
            ck_assert_int_gt(k, 3);
            cop__tree_end(&other);
            return;
        }
        ck_assert_int_eq(status, COP_E_MEMORY);
        ck_assert_ptr_null(other.root);
        cop__tree_end(&other);
        cop__tree_end(&other); /* legal once more */
    }
    ck_abort_msg("a hundred requests for an empty tree");
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_checked_fixture(tests, tree_setup, tree_teardown);
    tcase_add_loop_test(tests, random_drafts, 0, 6);
    tcase_add_test(tests, what_is_undone_within_a_draft_is_no_change);
    tcase_add_test(tests, nothing_of_an_abandoned_draft_is_published_later);
    tcase_add_test(tests, ids_whose_generations_are_used_up_retire);
    tcase_add_test(tests, generations_go_on_when_a_page_comes_back);
    tcase_add_test(tests, freed_ids_are_used_oldest_first);
    tcase_add_test(tests, spaces_grow_by_levels);
    tcase_add_test(tests, out_of_memory_at_every_request);
    tcase_add_test(tests, out_of_memory_when_finishing);
    tcase_add_test(tests, a_tree_that_gets_no_memory_is_none);
}

int
main(void)
{
    return t_run("tree", add);
}

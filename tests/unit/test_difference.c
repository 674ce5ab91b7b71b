/* SPDX-License-Identifier: MIT */
/*
 * The structured difference: its edits are applied one after the other to a model of the older
 * version, and give the newer one; between many versions of a tree that is changed at random.
 */
#include "tests/support/tree_test.h"
#include "tree/difference.h"

enum { VERSIONS = 10, IDS = 1 << 16, KEYS = 40, LONG_LIST = 700 };

typedef struct node {
    struct node *parent, **child;
    size_t count, capacity;
    cop_atom atom;
    cop_value value;
} node;

static node *by_id[IDS];
static cop__diff_pair pair;
static unsigned told[4];
static uint32_t last_depth;
static bool fails;

/* ---- the model ---- */

static void
put(node *branch, node *n, size_t position)
{
    ck_assert_uint_le(position, branch->count);
    if (branch->count == branch->capacity) {
        branch->capacity = branch->capacity * 2 + 4;
        branch->child = realloc(branch->child, branch->capacity * sizeof(node *));
        ck_assert_ptr_nonnull(branch->child);
    }
    memmove(&branch->child[position + 1], &branch->child[position],
            (branch->count - position) * sizeof(node *));
    branch->child[position] = n;
    branch->count++;
    n->parent = branch;
}

static node *
take(node *branch, size_t position)
{
    ck_assert_uint_lt(position, branch->count);
    node *n = branch->child[position];

    branch->count--;
    memmove(&branch->child[position], &branch->child[position + 1],
            (branch->count - position) * sizeof(node *));
    return n;
}

static node *
node_new(const cop_snapshot *root, cop_atom atom)
{
    node *n = calloc(1, sizeof *n);

    ck_assert_ptr_nonnull(n);
    ck_assert_uint_lt(atom.id, IDS);
    n->atom = atom;
    CHECK_OK(cop_get(root, atom, &n->value));
    by_id[atom.id] = n;
    return n;
}

/* With all that is below it; trees in these tests are not deep. */
static node *
grow(const cop_snapshot *root, cop_atom atom)
{
    node *n = node_new(root, atom);
    cop_cursor cursor;
    cop_child child;

    if (n->value.type != COP_OBJECT && n->value.type != COP_ARRAY)
        return n;
    CHECK_OK(cop_cursor_open(root, atom, &cursor));
    while (cop_cursor_next(&cursor, &child))
        put(n, grow(root, child.atom), n->count);
    return n;
}

static void
fell(node *n)
{
    while (n->count > 0)
        fell(take(n, n->count - 1));
    if (by_id[n->atom.id] == n)
        by_id[n->atom.id] = NULL;
    free(n->child);
    free(n);
}

static void
same(const node *a, const node *b)
{
    ck_assert_uint_eq(a->atom.id, b->atom.id);
    ck_assert_uint_eq(a->atom.generation, b->atom.generation);
    ck_assert(cop_value_equal(&a->value, &b->value));
    ck_assert_uint_eq(a->count, b->count);
    for (size_t i = 0; i < a->count; i++)
        same(a->child[i], b->child[i]);
}

/* ---- applying ---- */

static size_t
place_of(const node *n)
{
    size_t i = 0;

    while (n->parent->child[i] != n)
        i++;
    return i;
}

/* Where it is in the model is where it is in `now`. */
static uint32_t
check_place(const node *n)
{
    uint32_t depth = 0;

    for (; n->parent != NULL; n = n->parent, depth++) {
        cop_atom there;
        if (n->parent->value.type != COP_ARRAY)
            continue;
        CHECK_OK(cop_child_at(pair.now, n->parent->atom, (uint32_t)place_of(n), &there));
        ck_assert_uint_eq(there.id, n->atom.id);
    }
    return depth;
}

static void
apply_list(const cop__edit *edit)
{
    node *branch = by_id[edit->branch.id], *n;

    ck_assert_ptr_nonnull(branch);
    ck_assert_uint_eq(branch->atom.generation, edit->branch.generation);
    uint32_t depth = check_place(branch);
    ck_assert_uint_ge(depth, last_depth);
    last_depth = depth;
    if (edit->kind == COP_EDIT_ADD) {
        n = grow(pair.now, edit->atom);
        ck_assert_ptr_null(edit->before);
    } else {
        n = take(branch, edit->from);
        ck_assert_uint_eq(n->atom.id, edit->atom.id);
        ck_assert_uint_eq(n->atom.generation, edit->atom.generation);
    }
    if (edit->kind == COP_EDIT_REMOVE) {
        ck_assert_ptr_null(edit->now);
        fell(n);
    } else {
        ck_assert(edit->kind == COP_EDIT_ADD || edit->from != edit->position);
        put(branch, n, edit->position);
    }
}

static void
apply_value(const cop__edit *edit)
{
    node *n = by_id[edit->atom.id], *other;

    ck_assert_ptr_nonnull(n);
    (void)check_place(n);
    last_depth = UINT32_MAX;
    ck_assert_ptr_nonnull(edit->before);
    ck_assert_ptr_nonnull(edit->now);
    if (n->parent == NULL) {
        while (n->count > 0)
            fell(take(n, n->count - 1));
        CHECK_OK(cop_get(pair.now, n->atom, &n->value));
        return;
    }
    size_t place = place_of(n);
    node *parent = n->parent;
    fell(take(parent, place));
    other = grow(pair.now, edit->atom);
    put(parent, other, place);
}

static cop_status
apply(void *context, const cop__edit *edit)
{
    ck_assert_ptr_eq(context, told);
    told[edit->kind]++;
    if (fails)
        return COP_E_IO;
    ck_assert(!cop__edit_is_computed(edit) && !cop__edit_is_lazy(edit->now));
    if (edit->kind == COP_EDIT_REPLACE)
        apply_value(edit);
    else
        apply_list(edit);
    return COP_OK;
}

/* The number of edits. */
static unsigned
check_edits(const cop_snapshot *before, const cop_snapshot *now, cop_atom below)
{
    memset(told, 0, sizeof told);
    last_depth = 0;
    pair = (cop__diff_pair){before, now};
    node *model = grow(before, below);
    CHECK_OK(cop__tree_edits(tree_memory, pair, below, apply, told));
    node *wanted = grow(now, below);
    same(model, wanted);
    fell(model);
    fell(wanted);
    return told[0] + told[1] + told[2] + told[3];
}

/* ---- changes at random ---- */

static uint32_t
some_atom(void)
{
    uint32_t id = 0;

    for (;;) {
        const cop__slot *slot = cop__draft_slot(&tree, id);
        uint32_t n = cop__slot_is_branch(slot) ? cop__list_count(tree_view(), slot) : 0;
        if (n == 0 || tree_random(5) == 0)
            return id;
        id = cop__list_at(tree_view(), slot, (uint32_t)tree_random(n));
    }
}

static cop_value
some_value(void)
{
    static const char text[80] =
        "some text that is longer than what fits inside of a value of ours";

    switch (tree_random(6)) {
    case 0:
        return cop_object();
    case 1:
        return cop_array();
    case 2:
        return cop_string(text, (size_t)tree_random(60));
    default:
        return cop_i64((int64_t)tree_random(9));
    }
}

static void
add_below(uint32_t id)
{
    cop_value value = some_value();
    uint32_t n = tree_count(id), made;
    uint32_t position = tree_random(3) == 0 ? COP_AT_END : (uint32_t)tree_random(n + 1);
    char name[16];

    if (cop__slot_type(cop__draft_slot(&tree, id)) == COP_ARRAY) {
        (void)tree_insert(id, position, value);
        return;
    }
    int length = snprintf(name, sizeof name, "k%u", (unsigned)tree_random(KEYS));
    if (cop__child_find(tree_view(), id, name, (size_t)length).name == NULL)
        ck_assert(
            cop__atom_create_child_at(&tree, id, position, name, (size_t)length, &value, &made));
}

/* Some of the children change places, near or far. */
static void
shuffle(uint32_t id)
{
    uint32_t n = tree_count(id), *ids = calloc(n + 1, sizeof *ids);
    const cop__slot *slot = cop__draft_slot(&tree, id);

    ck_assert_ptr_nonnull(ids);
    for (uint32_t i = 0; i < n; i++)
        ids[i] = cop__list_at(tree_view(), slot, i);
    for (uint64_t k = tree_random(4) == 0 ? n : tree_random(4); n > 1 && k > 0; k--) {
        uint32_t a = (uint32_t)tree_random(n), b = (uint32_t)tree_random(n), swap = ids[a];
        ids[a] = ids[b];
        ids[b] = swap;
    }
    ck_assert(cop__list_reorder(&tree, id, ids, n));
    free(ids);
}

static void
change_branch(uint32_t id)
{
    switch (tree_random(40)) {
    case 0:
        for (uint64_t k = tree_random(LONG_LIST); k > 0; k--)
            add_below(id);
        break;
    case 1:
        ck_assert(cop__atom_clear(&tree, id));
        break;
    case 2:
    case 3:
        shuffle(id);
        break;
    default:
        add_below(id);
    }
}

static void
change(void)
{
    uint32_t id = some_atom();

    if (cop__slot_is_branch(cop__draft_slot(&tree, id)) && tree_random(4) != 0) {
        change_branch(id);
        return;
    }
    if (id == 0)
        return;
    if (tree_random(3) == 0) {
        ck_assert(cop__atom_erase(&tree, id));
        return;
    }
    cop_value value = some_value();
    ck_assert(cop__atom_clear(&tree, id));
    ck_assert(cop__atom_write(&tree, id, &value));
}

static void
change_some(uint64_t changes)
{
    do {
        cop__draft_begin(&tree);
        for (uint64_t i = 0; i <= changes; i++)
            change();
    } while (!tree_publish());
}

START_TEST(all_pairs)
{
    const cop_snapshot *root[VERSIONS];
    unsigned edits = 0;

    tree_setup();
    tree_random_state = (uint64_t)_i * 77 + 1;
    change_some(400);
    root[0] = tree.root;
    for (int v = 1; v < VERSIONS; v++) {
        change_some(tree_random(v % 3 == 0 ? 400 : 6));
        root[v] = tree.root;
    }
    for (int i = 0; i < VERSIONS; i++)
        for (int k = 0; k < VERSIONS; k++)
            edits +=
                check_edits(root[i], root[k], (cop_atom){0, cop__root_slot(root[i], 0)->reserved});
    ck_assert_uint_gt(edits, VERSIONS);
    tree_reclaim();
    tree_teardown();
}
END_TEST

/* ---- what is told, and what is not looked at ---- */

static uint32_t list, ids[LONG_LIST];

static const cop_snapshot *
with_long_list(void)
{
    tree_setup();
    cop__draft_begin(&tree);
    list = tree_child(0, "list", cop_array());
    for (unsigned i = 0; i < LONG_LIST; i++)
        ids[i] = tree_insert(list, COP_AT_END, cop_i64((int64_t)i));
    ck_assert(tree_publish());
    return tree.root;
}

static cop_atom
root_atom(void)
{
    return (cop_atom){0, cop__root_slot(tree.root, 0)->reserved};
}

static void
check_told(const cop_snapshot *before, unsigned removed, unsigned moved, unsigned added,
           unsigned replaced)
{
    (void)check_edits(before, tree.root, root_atom());
    ck_assert_uint_eq(told[COP_EDIT_REMOVE], removed);
    ck_assert_uint_eq(told[COP_EDIT_MOVE], moved);
    ck_assert_uint_eq(told[COP_EDIT_ADD], added);
    ck_assert_uint_eq(told[COP_EDIT_REPLACE], replaced);
}

static void
move_in_list(uint32_t from, uint32_t to)
{
    uint32_t id = ids[from];

    if (from < to)
        memmove(&ids[from], &ids[from + 1], (to - from) * sizeof *ids);
    else
        memmove(&ids[to + 1], &ids[to], (from - to) * sizeof *ids);
    ids[to] = id;
}

START_TEST(few_are_moved)
{
    static const uint32_t moves[][2] = {{3, 5}, {5, 3}, {10, 690}, {690, 10}, {350, 0}, {0, 699}};
    const cop_snapshot *before = with_long_list();

    cop__draft_begin(&tree);
    move_in_list(moves[_i][0], moves[_i][1]);
    ck_assert(cop__list_reorder(&tree, list, ids, LONG_LIST));
    ck_assert(tree_publish());
    check_told(before, 0, 1, 0, 0);
    cop__draft_begin(&tree);
    ck_assert(cop__atom_erase(&tree, ids[300]));
    (void)tree_insert(list, 200, cop_null());
    (void)tree_insert(list, 500, cop_array());
    cop_value value = cop_bool(true);
    ck_assert(cop__atom_write(&tree, ids[400], &value));
    ck_assert(tree_publish());
    check_told(before, 1, 1, 2, 1);
    tree_reclaim();
    tree_teardown();
}
END_TEST

/* Moves within one page and another one of those that the versions do not share. */
START_TEST(moved_in_two_gaps)
{
    const cop_snapshot *before = with_long_list();

    cop__draft_begin(&tree);
    for (uint32_t i = 0; i < 3; i++) {
        ck_assert(cop__list_remove(&tree, list, ids[2 + i * 340]));
        ck_assert(cop__list_insert(&tree, list, 4 + i * 340, ids[2 + i * 340]));
    }
    ck_assert(tree_publish());
    check_told(before, 0, 3, 0, 0);
    tree_reclaim();
    tree_teardown();
}
END_TEST

/* From one page into another one of which nothing else has changed; both have their ends in common.
 */
START_TEST(moved_far)
{
    static const uint32_t moves[][2] = {{10, 400}, {400, 10},  {0, 699},
                                        {699, 0},  {118, 500}, {500, 117}};
    const cop_snapshot *before = with_long_list();

    cop__draft_begin(&tree);
    ck_assert(cop__list_remove(&tree, list, ids[moves[_i][0]]));
    ck_assert(cop__list_insert(&tree, list, moves[_i][1], ids[moves[_i][0]]));
    ck_assert(tree_publish());
    check_told(before, 0, 1, 0, 0);
    tree_reclaim();
    tree_teardown();
}
END_TEST

/* An id that is another atom's by now, in the same place of the same list, is not the same child.
 */
START_TEST(id_again)
{
    const cop_snapshot *before = with_long_list();
    uint32_t first = ids[300], id = first;

    for (int tries = 0; tries == 0 || (id != first && tries < 5000); tries++) {
        cop__draft_begin(&tree);
        ck_assert(cop__atom_erase(&tree, id));
        ck_assert(tree_publish());
        cop__draft_begin(&tree);
        id = tree_insert(list, 300, cop_i64(tries));
        ck_assert(tree_publish());
    }
    ck_assert_uint_eq(id, first);
    check_told(before, 1, 0, 1, 0);
    tree_reclaim();
    tree_teardown();
}
END_TEST

/* Many of them; and a long one that was another one in between is no change. */
START_TEST(values)
{
    static const char text[] = "longer than what fits into a slot";
    cop_value there = cop_string(text, 30), other = cop_string(text, 20);
    const cop_snapshot *before = with_long_list();

    cop__draft_begin(&tree);
    for (unsigned i = 0; i < LONG_LIST; i++)
        ck_assert(cop__atom_write(&tree, ids[i], &there));
    ck_assert(tree_publish());
    check_told(before, 0, 0, 0, LONG_LIST);
    before = tree.root;
    cop__draft_begin(&tree);
    ck_assert(cop__atom_write(&tree, ids[7], &other));
    ck_assert(cop__atom_write(&tree, ids[8], &other));
    ck_assert(tree_publish());
    cop__draft_begin(&tree);
    ck_assert(cop__atom_write(&tree, ids[7], &there));
    ck_assert(tree_publish());
    check_told(before, 0, 0, 0, 1);
    tree_reclaim();
    tree_teardown();
}
END_TEST

START_TEST(topmost_only)
{
    const cop_snapshot *before = with_long_list();
    cop_value scalar = cop_i64(1), object = cop_object();
    uint32_t branch, made;

    cop__draft_begin(&tree);
    ck_assert(cop__atom_erase(&tree, list));
    ck_assert(tree_publish());
    check_told(before, 1, 0, 0, 0);
    before = tree.root;
    cop__draft_begin(&tree);
    branch = tree_child(0, "branch", cop_object());
    (void)tree_child(branch, "leaf", cop_i64(1));
    ck_assert(tree_publish());
    check_told(before, 0, 0, 1, 0);
    before = tree.root;
    cop__draft_begin(&tree);
    ck_assert(cop__atom_clear(&tree, branch));
    ck_assert(cop__atom_write(&tree, branch, &scalar));
    ck_assert(tree_publish());
    check_told(before, 0, 0, 0, 1);
    before = tree.root;
    cop__draft_begin(&tree);
    ck_assert(cop__atom_write(&tree, branch, &object));
    (void)tree_child(branch, "other", cop_i64(1));
    ck_assert(tree_publish());
    check_told(before, 0, 0, 0, 1);
    before = tree.root;
    cop__draft_begin(&tree); /* the same name, another atom */
    ck_assert(cop__atom_erase(&tree, branch));
    (void)tree_child(0, "branch", cop_i64(1));
    ck_assert(tree_publish());
    check_told(before, 1, 0, 1, 0);
    before = tree.root;
    cop__draft_begin(&tree);
    ck_assert(cop__atom_create(&tree, &scalar, &made));
    ck_assert(tree_publish());
    check_told(before, 0, 0, 0, 0); /* anonymous */
    before = tree.root;
    scalar = cop_i64(2);
    cop__draft_begin(&tree);
    ck_assert(cop__atom_write(&tree, made, &scalar));
    ck_assert(tree_publish());
    check_told(before, 0, 0, 0, 0);
    tree_reclaim();
    tree_teardown();
}
END_TEST

START_TEST(below_a_branch)
{
    const cop_snapshot *before = with_long_list();
    cop_value value = cop_i64(-1);
    uint32_t inner, leaf;

    cop__draft_begin(&tree);
    inner = tree_child(0, "inner", cop_object());
    leaf = tree_child(inner, "leaf", cop_i64(1));
    ck_assert(tree_publish());
    const cop_snapshot *with_inner = tree.root;
    cop__draft_begin(&tree);
    ck_assert(cop__atom_write(&tree, leaf, &value));
    (void)tree_child(inner, "more", cop_i64(1));
    ck_assert(cop__atom_write(&tree, ids[7], &value));
    (void)tree_insert(list, 0, cop_i64(1));
    ck_assert(tree_publish());
    cop_atom branch = {inner, cop__root_slot(tree.root, inner)->reserved};
    cop_atom one = {leaf, cop__root_slot(tree.root, leaf)->reserved};
    ck_assert_uint_eq(check_edits(with_inner, tree.root, root_atom()), 4);
    ck_assert_uint_eq(check_edits(with_inner, tree.root, branch), 2);
    ck_assert_uint_eq(check_edits(with_inner, tree.root, one), 1);
    pair = (cop__diff_pair){before, tree.root};
    ck_assert_int_eq(cop__tree_edits(tree_memory, pair, branch, apply, told), COP_E_GONE);
    pair = (cop__diff_pair){tree.root, before};
    ck_assert_int_eq(cop__tree_edits(tree_memory, pair, branch, apply, told), COP_E_GONE);
    tree_reclaim();
    tree_teardown();
}
END_TEST

static cop_status
look_on(void *context, const cop__edit *edit)
{
    (void)context;
    (void)edit;
    return COP_OK;
}

/* Whoever is told may end it; and memory that is refused is no harm, whichever it is. */
START_TEST(refused)
{
    const cop_snapshot *before = with_long_list();
    cop_value value = cop_i64(-1);
    uint64_t refusals = 0;

    cop__draft_begin(&tree);
    move_in_list(3, 600);
    ck_assert(cop__list_reorder(&tree, list, ids, LONG_LIST));
    (void)tree_child(0, "more", cop_i64(1));
    ck_assert(cop__atom_write(&tree, ids[7], &value));
    ck_assert(tree_publish());
    pair = (cop__diff_pair){before, tree.root};
    memset(told, 0, sizeof told);
    fails = true;
    ck_assert_int_eq(cop__tree_edits(tree_memory, pair, root_atom(), apply, told), COP_E_IO);
    ck_assert_uint_eq(told[0] + told[1] + told[2] + told[3], 1);
    fails = false;
    for (int64_t k = 0; k < 100; k++) {
        atomic_store(&tree_memory->fail_countdown, k);
        cop_status status = cop__tree_edits(tree_memory, pair, root_atom(), look_on, NULL);
        atomic_store(&tree_memory->fail_countdown, -1);
        refusals += status == COP_E_MEMORY;
        if (status == COP_OK)
            break;
    }
    ck_assert_uint_gt(refusals, 10);
    ck_assert_uint_lt(refusals, 100);
    tree_reclaim();
    tree_teardown();
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("difference");
    TCase *tcase = tcase_create("difference");

    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, all_pairs, 0, 12);
    tcase_add_loop_test(tcase, few_are_moved, 0, 6);
    tcase_add_test(tcase, moved_in_two_gaps);
    tcase_add_loop_test(tcase, moved_far, 0, 6);
    tcase_add_test(tcase, id_again);
    tcase_add_test(tcase, values);
    tcase_add_test(tcase, topmost_only);
    tcase_add_test(tcase, below_a_branch);
    tcase_add_test(tcase, refused);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}

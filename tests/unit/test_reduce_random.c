/* SPDX-License-Identifier: MIT */
/*
 * Random changes to a reduction and a grouping, some refused for lack of memory, some taken back.
 * After each step both are compared with a plain table of what should be there, and now and then
 * their results, bit for bit, with a reduction built afresh from the table in another order, and
 * with folding or sorting the table. Treaps are checked for order, priorities and links.
 */
#include <math.h>

#include "reduce/group.h"
#include "reduce/index.h"
#include "reduce/reduction.h"
#include "tests/support/reduce_functions.h"
#include "tests/support/path_names.h"
#include "tests/support/tree_test.h"

enum { IDS = 120, KEYS = 7, STEPS = 1500 };

typedef struct child {
    bool is_in;
    char path[12];
    cop_value value, key;
} child;

typedef struct text_of {
    char bytes[2][COP_REDUCER_TEXT];
} text_of;

static cop__memory *memory;
static cop__reduce_rule rule;
static child now[IDS], kept[IDS];
static text_of room;
static bool grouped;

static void
setup(void)
{
    cop_allocator allocator;

    fault_alloc_init(&t_faults);
    allocator = fault_alloc_table(&t_faults);
    memory = cop__memory_new(&allocator, UINT64_MAX);
    ck_assert_ptr_nonnull(memory);
}

static void
teardown(void)
{
    path_names_free();
    ck_assert_uint_eq(memory->by_kind[COP_MEMORY_GRAPH], 0);
    cop__memory_unref(memory);
    t_all_released();
}

/* --- one thing that is either a reduction or a grouping ----------------------------------- */

typedef struct subject {
    cop__reduction *reduction;
    cop__grouping *grouping;
} subject;

static subject
open_subject(void)
{
    subject s = {NULL, NULL};
    if (grouped)
        CHECK_OK(cop__grouping_open(memory, &rule, &s.grouping));
    else
        CHECK_OK(cop__reduction_open(memory, &rule, &s.reduction));
    return s;
}

static void
close_subject(subject s)
{
    cop__reduction_close(s.reduction);
    cop__grouping_close(s.grouping);
}

static cop_status
insert(subject s, uint32_t id, const child *c)
{
    const cop__name *name = path_name(c->path, strlen(c->path));
    return grouped ? cop__grouping_insert(s.grouping, id, name, &c->key, &c->value)
                   : cop__reduction_insert(s.reduction, id, name, &c->value);
}

static cop_status
change(subject s, uint32_t id, const cop_value *v)
{
    return grouped ? cop__grouping_change_value(s.grouping, id, v)
                   : cop__reduction_change(s.reduction, id, v);
}

static cop_status
take(subject s, uint32_t id)
{
    return grouped ? cop__grouping_remove(s.grouping, id) : cop__reduction_remove(s.reduction, id);
}

/* --- results as text, so that they can be compared ------------------------------------------- */

static size_t
print_value(char *out, size_t n, const cop_value *v)
{
    size_t at = (size_t)snprintf(out, n, "%s:", cop_type_name(cop_value_type(v)));
    if (!cop_value_is_text(v))
        return at + (size_t)snprintf(out + at, n - at, "%" PRIx64, (uint64_t)cop_value_i64(v));
    for (size_t i = 0; i < cop_value_length(v); i++)
        at += (size_t)snprintf(out + at, n - at, "%02x", (unsigned char)cop_value_data(v)[i]);
    return at;
}

static size_t
print_top(char *out, size_t n, cop__top_walk *walk)
{
    const cop__treap_node *node;
    size_t at = 0;
    while ((node = cop__top_next(walk)) != NULL) {
        char path[64];
        int length = (int)cop__name_path(node->name, path, sizeof path);
        at += (size_t)snprintf(out + at, n - at, " %.*s=", length, path);
        at += print_value(out + at, n - at, &node->value);
    }
    return at;
}

static void
print_groups(char *out, size_t n, cop__grouping *g)
{
    static char message[COP_REDUCER_TEXT];
    size_t at = 0;
    *out = 0;
    for (uint32_t i = cop__grouping_first(g); i; i = cop__grouping_next(g, i)) {
        cop__top_walk walk;
        cop_value v;
        size_t length;
        const char *name = cop__group_name(g, i, &length);
        cop__group_result(g, i, message, sizeof message, &v);
        at += (size_t)snprintf(out + at, n - at, "\n%.*s %u ", (int)length, name,
                               cop__group_size(g, i));
        at += print_value(out + at, n - at, &v);
        cop__group_top(g, i, &walk);
        at += print_top(out + at, n - at, &walk);
    }
}

static void
print_subject(char *out, size_t n, subject s)
{
    static char message[COP_REDUCER_TEXT];
    cop__top_walk walk;
    cop_value v;
    if (grouped) {
        print_groups(out, n, s.grouping);
        return;
    }
    cop__reduction_result(s.reduction, message, sizeof message, &v);
    size_t at = print_value(out, n, &v);
    cop__reduction_top(s.reduction, &walk);
    print_top(out + at, n - at, &walk);
}

/* --- oracles ------------------------------------------------------------------------------------
 */

static void
compare_with_fresh(subject s)
{
    subject fresh = open_subject();
    uint32_t first = (uint32_t)tree_random(IDS), step = tree_random(2) ? 1 : IDS - 1;
    for (uint32_t i = 0, id = first; i < IDS; i++, id = (id + step) % IDS) {
        if (now[id].is_in)
            CHECK_OK(insert(fresh, id, &now[id]));
    }
    print_subject(room.bytes[0], sizeof room.bytes[0], s);
    print_subject(room.bytes[1], sizeof room.bytes[1], fresh);
    ck_assert_str_eq(room.bytes[0], room.bytes[1]);
    close_subject(fresh);
}

static int
by_path(const void *a, const void *b)
{
    return strcmp((*(const child *const *)a)->path, (*(const child *const *)b)->path);
}

static unsigned
in_order(const child **sorted)
{
    unsigned n = 0;
    for (unsigned i = 0; i < IDS; i++) {
        if (now[i].is_in)
            sorted[n++] = &now[i];
    }
    qsort(sorted, n, sizeof *sorted, by_path);
    return n;
}

/* Custom rules without errors: a fold from the left over the table. */
static void
compare_with_fold(subject s)
{
    const child *sorted[IDS];
    unsigned n = in_order(sorted);
    cop_value total = rule.zero, got;
    for (unsigned i = 0; i < n; i++) {
        const cop_value *v = &sorted[i]->value;
        if (v->type == COP_NULL)
            continue;
        if (!cop__fold_takes(v))
            return;
        if (total.type == COP_NONE)
            total = *v;
        else if (rule.combine(rule.context, &total, v) != COP_OK)
            return;
    }
    cop__reduction_result(s.reduction, room.bytes[0], sizeof room.bytes[0], &got);
    if (total.type == COP_NONE)
        total = cop_null();
    ck_assert(cop_value_equal(&got, &total));
}

static void
compare(subject s)
{
    compare_with_fresh(s);
    if (!grouped && rule.kind == COP_REDUCE_CUSTOM)
        compare_with_fold(s);
}

/* --- steps
 * ----------------------------------------------------------------------------------------- */

static cop_value
random_double(void)
{
    uint64_t bits = tree_random(UINT64_MAX);
    double f;
    if (tree_random(3) == 0)
        return cop_f64(ldexp((double)tree_random(9) - 4, (int)tree_random(2200) - 1100));
    memcpy(&f, &bits, sizeof f); /* now and then a NaN or an infinity */
    return cop_f64(f);
}

static cop_value
random_value(void)
{
    static const char letters[] = "abcdefghijklmnop";
    if (rule.combine == reduce_letters)
        return cop_string(letters, tree_random(8) ? 0 : tree_random(14));
    switch (tree_random(12)) {
    case 0:
        return cop_null();
    case 1:
        return tree_random(4) ? cop_i64(0) : cop_string(letters, tree_random(16));
    case 2:
    case 3:
    case 4:
    case 5:
        return cop_i64((int64_t)(tree_random(UINT64_MAX) >> tree_random(64)) - 1);
    default:
        return random_double();
    }
}

static cop_value
random_key(void)
{
    static const char *const names[KEYS] = {"a", "b", "c", "the longest of all the names",
                                            "1", "",  "d"};
    uint64_t i = tree_random(KEYS + 2);
    if (i >= KEYS)
        return i == KEYS ? cop_null() : cop_i64(1);
    return cop_string(names[i], strlen(names[i]));
}

/* What was refused has changed nothing, and is asked for again now and then. */
static cop_status
step_of(subject s, uint32_t id, child *c)
{
    child to = *c;
    cop_status status;
    to.value = random_value();
    to.key = random_key();
    if (!c->is_in) {
        to.is_in = true;
        status = insert(s, id, &to);
    } else if (tree_random(3) == 0) {
        to.is_in = false;
        status = take(s, id);
    } else if (grouped && tree_random(3) == 0) {
        to.value = c->value;
        status = cop__grouping_change_key(s.grouping, id, &to.key);
    } else {
        to.key = c->key;
        status = change(s, id, &to.value);
    }
    if (status == COP_OK)
        *c = to;
    return status;
}

static void
mark_or_end(subject s, bool *marked)
{
    bool back = tree_random(2);
    if (!*marked) {
        memcpy(kept, now, sizeof now);
        grouped ? cop__grouping_mark(s.grouping) : cop__reduction_mark(s.reduction);
    } else if (back) {
        memcpy(now, kept, sizeof now);
        grouped ? cop__grouping_rollback(s.grouping) : cop__reduction_rollback(s.reduction);
    } else {
        grouped ? cop__grouping_commit(s.grouping) : cop__reduction_commit(s.reduction);
    }
    *marked = !*marked;
}

static void
begin(int i)
{
    tree_random_state = (uint64_t)i + 1;
    grouped = i % 2;
    ck_assert(reduce_rule(reduce_rule_names[i / 2 % REDUCE_RULES], &rule));
    memset(now, 0, sizeof now);
    for (uint32_t id = 0; id < IDS; id++)
        snprintf(now[id].path, sizeof now[id].path, "p/%" PRIu64 "/%u", tree_random(20), id);
}

START_TEST(random_changes)
{
    begin(_i);
    subject s = open_subject();
    bool marked = false;
    for (unsigned step = 0; step < STEPS; step++) {
        uint32_t id = (uint32_t)tree_random(step % 400 < 200 ? IDS : 5);
        if (tree_random(3) == 0)
            atomic_store(&memory->fail_countdown, (int64_t)tree_random(3));
        cop_status status = step_of(s, id, &now[id]);
        atomic_store(&memory->fail_countdown, -1);
        ck_assert(status == COP_OK || status == COP_E_MEMORY);
        if (tree_random(20) == 0)
            mark_or_end(s, &marked);
        if (tree_random(8) == 0)
            compare(s);
    }
    compare(s);
    close_subject(s);
}
END_TEST

/* Every request of one run of changes is refused once, and the run goes on. */
START_TEST(each_request_refused)
{
    int64_t k = 0;
    bool refused = true;

    for (; refused; k++) {
        begin(_i);
        refused = false;
        subject s = open_subject();
        bool marked = false;
        atomic_store(&memory->fail_countdown, k);
        for (unsigned step = 0; step < 300; step++) {
            uint32_t id = (uint32_t)tree_random(IDS);
            refused |= step_of(s, id, &now[id]) != COP_OK;
            if (step % 50 == 25)
                mark_or_end(s, &marked);
        }
        atomic_store(&memory->fail_countdown, -1);
        compare(s);
        close_subject(s);
    }
    ck_assert_int_ge(k, 8);
}
END_TEST

/* --- treaps and tables from inside
 * --------------------------------------------------------------------- */

static unsigned
check_treap(const cop__treap *treap, const cop__records *nodes)
{
    unsigned n = 0;
    uint32_t before = 0;
    for (uint32_t i = cop__treap_first(treap, nodes); i; i = cop__treap_next(nodes, i), n++) {
        const cop__treap_node *node = cop__treap_node_at(nodes, i);
        if (before)
            ck_assert_int_lt(cop__treap_node_compare(cop__treap_node_at(nodes, before), node,
                                                     (cop__treap_order)treap->order),
                             0);
        if (node->parent) {
            const cop__treap_node *parent = cop__treap_node_at(nodes, node->parent);
            ck_assert_uint_ge(parent->priority, node->priority);
            ck_assert(parent->left == i || parent->right == i);
            ck_assert(!treap->folds || !node->dirty || parent->dirty);
        } else {
            ck_assert_uint_eq(treap->root, i);
        }
        before = i;
    }
    return n;
}

START_TEST(treaps_hold_together)
{
    char path[12];
    cop__records nodes;
    cop__treap treap = {.order = (uint8_t)(_i & 1), .folds = _i >= 2};
    uint32_t number[500] = {0};
    unsigned n = 0;

    tree_random_state = 9;
    cop__records_init(&nodes, memory, sizeof(cop__treap_node));
    for (unsigned step = 0; step < 4000; step++) {
        unsigned i = (unsigned)tree_random(500);
        if (number[i]) {
            cop__treap_remove(&treap, &nodes, number[i]);
            cop__records_give(&nodes, number[i]);
            number[i] = 0;
            n--;
        } else {
            number[i] = cop__records_take(&nodes);
            snprintf(path, sizeof path, "%u", i / 2); /* every path twice */
            cop__treap_node_name(cop__treap_node_at(&nodes, number[i]), i,
                                 path_name(path, strlen(path)));
            cop__treap_node_at(&nodes, number[i])->value = cop_i64((int64_t)tree_random(20));
            cop__treap_insert(&treap, &nodes, number[i]);
            n++;
        }
        if (step % 10 == 0)
            ck_assert_uint_eq(check_treap(&treap, &nodes), n);
    }
    cop__records_end(&nodes);
}
END_TEST

/* Entries with few different hashes: long runs, over the end of the table too. */
START_TEST(index_with_long_runs)
{
    cop__record_index index;
    bool is_in[300] = {false};

    tree_random_state = 4;
    cop__record_index_init(&index, memory);
    for (unsigned step = 0; step < 20000; step++) {
        uint32_t i = 1 + (uint32_t)tree_random(299),
                 hash = UINT32_MAX - i % 5 * (_i ? 1 : 0x20000000u);
        ck_assert(cop__record_index_reserve(&index));
        if (is_in[i])
            cop__record_index_remove(&index, hash, i);
        else
            cop__record_index_insert(&index, hash, i);
        is_in[i] = !is_in[i];
        i = 1 + (uint32_t)tree_random(299);
        hash = UINT32_MAX - i % 5 * (_i ? 1 : 0x20000000u);
        uint32_t place = cop__record_index_home(&index, hash), found, times = 0;
        while ((found = cop__record_index_next(&index, hash, &place)) != 0)
            times += found == i;
        ck_assert_uint_eq(times, is_in[i]);
    }
    cop__record_index_end(&index);
}
END_TEST

static void
add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, random_changes, 0, 6 * (int)REDUCE_RULES);
    tcase_add_loop_test(tests, each_request_refused, 0, 2 * (int)REDUCE_RULES);
    tcase_add_loop_test(tests, treaps_hold_together, 0, 4);
    tcase_add_loop_test(tests, index_with_long_runs, 0, 2);
}

int
main(void)
{
    return t_run("reduce_random", add_tests);
}

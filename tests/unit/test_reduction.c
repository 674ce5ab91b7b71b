/* SPDX-License-Identifier: MIT */
/* Reductions: the rules of coppice/reduce.h one by one, undo, refusals, and what a child costs. */
#include <math.h>

#include "reduce/reduction.h"
#include "tests/support/reduce_functions.h"
#include "tests/support/path_names.h"
#include "tests/support/tree_test.h"

static cop__memory *memory;
static cop__reduction *reduction;
static char text[COP_REDUCER_TEXT];

static void
setup(void)
{
    cop_allocator allocator;

    fault_alloc_init(&t_faults);
    allocator = fault_alloc_table(&t_faults);
    memory = cop__memory_new(&allocator, UINT64_MAX);
    ck_assert_ptr_nonnull(memory);
    reduction = NULL;
    tree_random_state = 1;
}

static void
teardown(void)
{
    cop__reduction_close(reduction);
    path_names_free();
    ck_assert_uint_eq(memory->by_kind[COP_MEMORY_GRAPH], 0);
    cop__memory_unref(memory);
    t_all_released();
}

static void
begin(const char *name)
{
    cop__reduce_rule rule;

    cop__reduction_close(reduction);
    ck_assert(reduce_rule(name, &rule));
    CHECK_OK(cop__reduction_open(memory, &rule, &reduction));
}

static void
put(uint32_t id, const char *path, cop_value v)
{
    CHECK_OK(cop__reduction_insert(reduction, id, path_name(path, strlen(path)), &v));
}

static void
change(uint32_t id, cop_value v)
{
    CHECK_OK(cop__reduction_change(reduction, id, &v));
}

static void
drop(uint32_t id)
{
    CHECK_OK(cop__reduction_remove(reduction, id));
}

static cop_value
result(void)
{
    cop_value v;

    cop__reduction_result(reduction, text, sizeof text, &v);
    return v;
}

static void
is(cop_value want)
{
    cop_value got = result();
    ck_assert_msg(cop_value_equal(&got, &want), "%s %" PRId64 ", should be %s %" PRId64,
                  cop_type_name(cop_value_type(&got)), cop_value_i64(&got),
                  cop_type_name(cop_value_type(&want)), cop_value_i64(&want));
}

static void
fails(const char *message)
{
    cop_value got = result();

    ck_assert_int_eq(got.type, COP_ERROR);
    ck_assert_msg(cop_value_length(&got) == strlen(message) &&
                      memcmp(cop_value_data(&got), message, strlen(message)) == 0,
                  "%.*s, should be %s", (int)cop_value_length(&got), cop_value_data(&got), message);
}

/* "path path ": the rows of a top. */
static void
rows_are(const char *want)
{
    char all[256] = "";
    cop__top_walk walk;
    const cop__treap_node *node;

    cop__reduction_top(reduction, &walk);
    while ((node = cop__top_next(&walk)) != NULL) {
        size_t used = strlen(all);
        used += cop__name_path(node->name, all + used, sizeof all - used - 2);
        memcpy(all + used, " ", 2);
    }
    ck_assert_str_eq(all, want);
}

/* --- rules -------------------------------------------------------------------------------- */

START_TEST(no_children)
{
    begin("sum");
    is(cop_i64(0));
    begin("count");
    is(cop_i64(0));
    begin("mean");
    fails("the mean of no children");
    begin("min");
    is(cop_null());
    begin("max");
    is(cop_null());
    begin("top");
    is(cop_array());
    rows_are("");
    begin("maps"); /* no zero */
    is(cop_null());
    begin("letters");
    is(cop_string(">", 1));
    begin("wrap");
    is(cop_i64(100));
}
END_TEST

START_TEST(sums_are_i64_or_f64)
{
    begin("sum");
    put(1, "a", cop_i64(INT64_MAX));
    put(2, "b", cop_i64(2));
    fails("the sum does not fit in an i64");
    put(3, "c", cop_f64(-0.0));
    is(cop_f64(0x1p63));
    change(3, cop_i64(-2));
    is(cop_i64(INT64_MAX));
    change(1, cop_f64(0.5));
    is(cop_f64(0.5));
    change(1, cop_f64(INFINITY));
    is(cop_f64(INFINITY));
    change(1, cop_i64(7));
    is(cop_i64(7));
}
END_TEST

START_TEST(counts_take_all_but_null_and_branches)
{
    begin("count");
    put(1, "a", cop_null());
    put(2, "b", cop_object());
    put(3, "c", cop_array());
    put(4, "d", (cop_value){0});
    is(cop_i64(0));
    put(5, "e", cop_string("x", 1));
    put(6, "f", cop_error_value("x", 1));
    put(7, "g", cop_bool(false));
    put(8, "h", cop_f64(NAN));
    is(cop_i64(4));
    change(1, cop_i64(0));
    change(5, cop_null());
    is(cop_i64(4));
    drop(8);
    is(cop_i64(3));
    ck_assert_uint_eq(cop__reduction_size(reduction), 7);
}
END_TEST

START_TEST(least_and_greatest)
{
    cop_value first = cop_f64(-0.0), second = cop_i64(0);

    begin(_i ? "max" : "min");
    put(1, "b", second);
    put(2, "a", first);
    put(3, "c", cop_f64(0.0));
    is(first); /* of equal ones the first in order of path */
    put(4, "d", cop_f64(NAN));
    is(first);
    drop(2);
    is(second);
    put(5, "e", _i ? cop_i64(9007199254740993) : cop_i64(-9007199254740993));
    put(6, "A", _i ? cop_f64(0x1p53) : cop_f64(-0x1p53));
    is(_i ? cop_i64(9007199254740993) : cop_i64(-9007199254740993));
    change(6, _i ? cop_f64(INFINITY) : cop_f64(-INFINITY));
    is(_i ? cop_f64(INFINITY) : cop_f64(-INFINITY));
    change(6, cop_f64(NAN));
    change(5, cop_null());
    change(1, cop_f64(NAN));
    change(3, cop_null());
    is(cop_null());
}
END_TEST

START_TEST(the_greatest_in_order)
{
    begin("top"); /* of three */
    put(1, "a", cop_i64(5));
    put(2, "b", cop_f64(5.5));
    rows_are("b a ");
    put(3, "d", cop_f64(5.0));
    put(4, "c", cop_i64(5));
    rows_are("b a c ");
    change(2, cop_f64(NAN));
    rows_are("a c d ");
    change(3, cop_f64(INFINITY));
    rows_are("d a c ");
    change(1, cop_string("no", 2));
    rows_are("");
    fails("a: string in place of a number");
    drop(1);
    is(cop_array());
    rows_are("d c ");
}
END_TEST

START_TEST(the_first_of_the_others_is_named)
{
    static const char *const kinds[] = {"sum", "mean", "min", "max", "top"};

    begin(kinds[_i]);
    put(1, "host/b", cop_string("a text of more than 12 bytes", 28));
    put(2, "host/c", cop_i64(1));
    fails("host/b: string in place of a number");
    put(3, "host/a", cop_error_value("e", 1));
    fails("host/a: error in place of a number");
    put(4, "host", cop_bool(true));
    fails("host: bool in place of a number");
    put(5, "g", cop_null());
    put(6, "h", cop_object());
    fails("host: bool in place of a number");
    change(4, cop_i64(1));
    drop(3);
    change(1, cop_bytes("", 0));
    fails("host/b: bytes in place of a number");
    drop(1);
    ck_assert_int_ne(result().type, COP_ERROR);
}
END_TEST

/* Paths of one atom and its successor, in one wave. */
START_TEST(one_path_twice)
{
    begin("max");
    put(2, "same", cop_i64(5));
    put(1, "same", cop_f64(5));
    is(cop_f64(5)); /* the lesser id comes first */
    drop(1);
    is(cop_i64(5));
}
END_TEST

/* Not part of the caller: there the compiler takes the value for a short one, as it was before. */
static __attribute__((noinline)) bool
has_at(const cop_value *value, size_t at, const char *expected, size_t length)
{
    return cop_value_length(value) >= at + length &&
           memcmp(cop_value_data(value) + at, expected, length) == 0;
}

START_TEST(long_paths_are_cut)
{
    char path[200], room[80];
    cop_value v = cop_bool(true);

    memset(path, 'p', sizeof path);
    memcpy(path + 22, "\xc3\xa9", 2);
    begin("sum");
    CHECK_OK(cop__reduction_insert(reduction, 1, path_name(path, sizeof path), &v));
    cop__reduction_result(reduction, room, sizeof room, &v);
    ck_assert_int_eq(v.type, COP_ERROR);
    ck_assert(has_at(&v, 0, path, 24));
    ck_assert(has_at(&v, 24, "...: bool in", 12));
    memcpy(path + 22, "p\xc3\xa9", 3); /* the cut would go through it */
    begin("sum");
    v = cop_bool(true);
    CHECK_OK(cop__reduction_insert(reduction, 1, path_name(path, sizeof path), &v));
    cop__reduction_result(reduction, room, sizeof room, &v);
    ck_assert(has_at(&v, 0, path, 23));
    ck_assert(has_at(&v, 23, "...: bool in", 12));
    ck_assert_uint_le(cop_value_length(&v), sizeof room);
}
END_TEST

/* --- custom ----------------------------------------------------------------------------------- */

START_TEST(custom_folds_in_order_of_path)
{
    begin("letters");
    put(1, "c", cop_string("3", 1));
    put(2, "a", cop_string("1", 1));
    put(3, "b", cop_string("22", 2));
    put(4, "bb", cop_null());
    is(cop_string(">1223", 5));
    change(3, cop_string("", 0));
    is(cop_string(">13", 3));
    drop(2);
    is(cop_string(">3", 2));
    change(1, cop_string("0123456789ab", 12));
    fails("out of range");
    change(1, cop_string("0123456789a", 11));
    is(cop_string(">0123456789a", 12));
    change(3, cop_i64(1));
    fails("the value has another type");
    change(3, cop_string("more than twelve", 16));
    fails("b: string of more than 12 bytes");
    change(3, cop_bytes("x", 1));
    fails("b: bytes, which cannot be combined");
}
END_TEST

static cop_status
into_null(void *context, cop_value *accumulator, const cop_value *value)
{
    (void)context;
    (void)value;
    *accumulator = cop_null();
    return COP_OK;
}

START_TEST(custom_results_are_checked)
{
    cop__reduce_rule rule = {.kind = COP_REDUCE_CUSTOM, .combine = into_null};

    CHECK_OK(cop__reduction_open(memory, &rule, &reduction));
    put(1, "a", cop_i64(1));
    is(cop_i64(1));
    put(2, "b", cop_i64(1));
    put(3, "c", cop_i64(1));
    fails("the value has another type");
    drop(2);
    drop(3);
    is(cop_i64(1));
}
END_TEST

static unsigned combined, fail_at;
static bool fail_all;

static cop_status
counting_wrap(void *context, cop_value *accumulator, const cop_value *value)
{
    if (++combined == fail_at || fail_all)
        return COP_E_LIMIT;
    return reduce_wrap(context, accumulator, value);
}

START_TEST(a_change_combines_along_one_path)
{
    static char paths[4096][8];
    cop__reduce_rule rule = {.kind = COP_REDUCE_CUSTOM, .combine = counting_wrap};

    fail_at = 0;
    CHECK_OK(cop__reduction_open(memory, &rule, &reduction));
    for (uint32_t i = 0; i < 4096; i++) {
        snprintf(paths[i], sizeof paths[i], "%u", i);
        put(i, paths[i], cop_i64(i));
    }
    combined = 0;
    is(cop_i64(4096 * 4095 / 2));
    ck_assert_uint_eq(combined, 4095); /* once for each link of the tree */
    is(cop_i64(4096 * 4095 / 2));
    ck_assert_uint_eq(combined, 4095);
    combined = 0;
    for (uint32_t i = 0; i < 100; i++) {
        change(i * 40, cop_i64(0));
        result();
    }
    ck_assert_uint_lt(combined, 100 * 60);
}
END_TEST

/* With an inverse: two calls a change, and a fold anew once one has failed. */
START_TEST(running_totals)
{
    cop__reduce_rule rule = {
        .kind = COP_REDUCE_CUSTOM, .combine = counting_wrap, .inverse = reduce_unwrap};

    fail_at = combined = 0;
    CHECK_OK(cop__reduction_open(memory, &rule, &reduction));
    put(1, "a", cop_i64(1));
    put(2, "b", cop_i64(2));
    put(3, "c", cop_i64(4));
    is(cop_i64(7));
    ck_assert_uint_eq(combined, 2);
    change(2, cop_i64(16));
    is(cop_i64(21));
    ck_assert_uint_eq(combined, 3);
    fail_at = 4;
    change(2, cop_i64(32)); /* fails, but the fold that the result asks for does not */
    is(cop_i64(37));
    ck_assert_uint_eq(combined, 6);
    drop(3);
    fail_all = true;
    change(1, cop_i64(3));
    fails("a documented limit is exceeded");
    ck_assert_uint_eq(combined, 8);
    change(1, cop_i64(5)); /* the total is not trusted: nothing is called */
    ck_assert_uint_eq(combined, 8);
    fail_all = false;
    is(cop_i64(37));
    drop(2);
    is(cop_i64(5));
    change(1, cop_i64(6));
    is(cop_i64(6));
    drop(1);
    is(cop_null());
    put(1, "a", cop_i64(9));
    is(cop_i64(9));
}
END_TEST

/* --- refusals --------------------------------------------------------------------------------- */

START_TEST(rules_that_are_refused)
{
    cop__reduce_rule rule = {.kind = COP_REDUCE_TOP};

    CHECK_STATUS(cop__reduction_open(memory, &rule, &reduction), COP_E_INVALID);
    ck_assert_ptr_null(reduction);
    rule.kind = COP_REDUCE_CUSTOM;
    CHECK_STATUS(cop__reduction_open(memory, &rule, &reduction), COP_E_INVALID);
    rule.combine = reduce_wrap;
    rule.zero = cop_null();
    CHECK_STATUS(cop__reduction_open(memory, &rule, &reduction), COP_E_INVALID);
    rule.zero = cop_string("more than twelve", 16);
    CHECK_STATUS(cop__reduction_open(memory, &rule, &reduction), COP_E_INVALID);
    rule.kind = (cop_reduction)(COP_REDUCE_CUSTOM + 1);
    CHECK_STATUS(cop__reduction_open(memory, &rule, &reduction), COP_E_INVALID);
    rule.kind = COP_REDUCE_SUM;
    fault_alloc_arm(&t_faults, 1, false);
    CHECK_STATUS(cop__reduction_open(memory, &rule, &reduction), COP_E_MEMORY);
}
END_TEST

START_TEST(ids_that_are_refused)
{
    cop_value v = cop_i64(1);

    begin("sum");
    CHECK_STATUS(cop__reduction_change(reduction, 1, &v), COP_E_ABSENT);
    CHECK_STATUS(cop__reduction_remove(reduction, 1), COP_E_ABSENT);
    put(1, "a", v);
    CHECK_STATUS(cop__reduction_insert(reduction, 1, path_name("b", 1), &v), COP_E_STATE);
    ck_assert(cop__reduction_has(reduction, 1));
    ck_assert(!cop__reduction_has(reduction, 2));
    is(cop_i64(1));
}
END_TEST

/* --- undo, memory ------------------------------------------------------------------------------
 */

START_TEST(taking_back)
{
    begin(_i ? "wrap" : "sum");
    int64_t zero = _i ? 100 : 0;
    put(1, "a", cop_i64(1));
    put(2, "b", cop_i64(2));
    cop__reduction_mark(reduction);
    change(1, cop_i64(10));
    drop(1);
    put(3, "c", cop_i64(30));
    put(1, "z", cop_i64(5));
    drop(2);
    drop(1);
    drop(3);
    is(cop_i64(zero));
    cop__reduction_rollback(reduction);
    is(cop_i64(zero + 3));
    cop__reduction_mark(reduction);
    drop(1);
    cop__reduction_commit(reduction);
    is(cop_i64(zero + 2));
    cop__reduction_mark(reduction);
    cop__reduction_rollback(reduction);
    is(cop_i64(zero + 2));
}
END_TEST

/* Taking back asks for no memory, even for a double's digits that nothing needed meanwhile. */
START_TEST(taking_back_needs_no_memory)
{
    static char paths[1000][8];

    begin(reduce_rule_names[_i]);
    for (uint32_t i = 0; i < 1000; i++) {
        snprintf(paths[i], sizeof paths[i], "%u", i);
        put(i, paths[i], _i == 7 ? cop_string("", 0) : cop_f64(i + 0.5));
    }
    cop_value before = result();
    cop__reduction_mark(reduction);
    for (uint32_t i = 0; i < 1000; i++)
        drop(i);
    result();
    for (uint32_t i = 0; i < 700; i++)
        put(i + 5000, paths[i], cop_i64(1));
    for (uint32_t i = 0; i < 700; i++)
        drop(i + 5000);
    fault_alloc_arm(&t_faults, 1, true);
    cop__reduction_rollback(reduction);
    fault_alloc_disarm(&t_faults);
    is(before);
    for (uint32_t i = 0; i < 1000; i++)
        drop(i);
    /* Nothing but the reduction itself, and a log of 256 lines at most, is left. */
    ck_assert_uint_lt(memory->by_kind[COP_MEMORY_GRAPH], 1024);
}
END_TEST

START_TEST(bytes_for_a_child)
{
    enum { CHILDREN = 20000 };
    static char paths[CHILDREN][8];
    const char *name = reduce_rule_names[_i];
    bool folds = strchr(name, 'm') == name ? strcmp(name, "mean") != 0 : _i == 7 || _i == 9;

    begin(name);
    for (uint32_t i = 0; i < CHILDREN; i++) {
        snprintf(paths[i], sizeof paths[i], "%u", i);
        put(i, paths[i], cop_i64(i));
        if (i > 1000)
            ck_assert_uint_le(memory->by_kind[COP_MEMORY_GRAPH], i * (folds ? 80 : 64) + 6144);
    }
}
END_TEST

static void
add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, no_children);
    tcase_add_test(tests, sums_are_i64_or_f64);
    tcase_add_test(tests, counts_take_all_but_null_and_branches);
    tcase_add_loop_test(tests, least_and_greatest, 0, 2);
    tcase_add_test(tests, the_greatest_in_order);
    tcase_add_loop_test(tests, the_first_of_the_others_is_named, 0, 5);
    tcase_add_test(tests, one_path_twice);
    tcase_add_test(tests, long_paths_are_cut);
    tcase_add_test(tests, custom_folds_in_order_of_path);
    tcase_add_test(tests, custom_results_are_checked);
    tcase_add_test(tests, a_change_combines_along_one_path);
    tcase_add_test(tests, running_totals);
    tcase_add_test(tests, rules_that_are_refused);
    tcase_add_test(tests, ids_that_are_refused);
    tcase_add_loop_test(tests, taking_back, 0, 2);
    tcase_add_loop_test(tests, taking_back_needs_no_memory, 0, REDUCE_RULES);
    tcase_add_loop_test(tests, bytes_for_a_child, 0, REDUCE_RULES);
}

int
main(void)
{
    return t_run("reduction", add_tests);
}

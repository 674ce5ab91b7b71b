/* SPDX-License-Identifier: MIT */
/* Groupings: names, order, members that move, undo, refusals. */
#include <math.h>

#include "reduce/group.h"
#include "tests/support/reduce_functions.h"
#include "tests/support/path_names.h"
#include "tests/support/tree_test.h"

static cop__memory *memory;
static cop__grouping *grouping;

static void
setup(void)
{
    cop_allocator allocator;

    fault_alloc_init(&t_faults);
    allocator = fault_alloc_table(&t_faults);
    memory = cop__memory_new(&allocator, UINT64_MAX);
    ck_assert_ptr_nonnull(memory);
    grouping = NULL;
    tree_random_state = 1;
}

static void
teardown(void)
{
    cop__grouping_close(grouping);
    path_names_free();
    ck_assert_uint_eq(memory->by_kind[COP_MEMORY_GRAPH], 0);
    cop__memory_unref(memory);
    t_all_released();
}

static void
begin(const char *name)
{
    cop__reduce_rule rule;

    ck_assert(reduce_rule(name, &rule));
    CHECK_OK(cop__grouping_open(memory, &rule, &grouping));
}

static cop_value
key_of(const char *name)
{
    return name ? cop_string(name, strlen(name)) : cop_null();
}

static void
put(uint32_t id, const char *path, const char *name, cop_value v)
{
    cop_value key = key_of(name);
    CHECK_OK(cop__grouping_insert(grouping, id, path_name(path, strlen(path)), &key, &v));
}

static void
move(uint32_t id, const char *name)
{
    cop_value key = key_of(name);
    CHECK_OK(cop__grouping_change_key(grouping, id, &key));
}

static void
change(uint32_t id, cop_value v)
{
    CHECK_OK(cop__grouping_change_value(grouping, id, &v));
}

static void
drop(uint32_t id)
{
    CHECK_OK(cop__grouping_remove(grouping, id));
}

static void
append_value(char *all, const cop_value *v)
{
    char one[64];

    if (v->type == COP_I64)
        snprintf(one, sizeof one, "%" PRId64, cop_value_i64(v));
    else if (v->type == COP_F64)
        snprintf(one, sizeof one, "%g", cop_value_f64(v));
    else if (v->type == COP_ERROR)
        snprintf(one, sizeof one, "!%.*s", (int)cop_value_length(v), cop_value_data(v));
    else
        snprintf(one, sizeof one, "%s", cop_type_name(cop_value_type(v)));
    strcat(all, one);
}

/* "name/members=result " for each group. */
static void
groups_are(const char *want)
{
    char all[1024] = "", one[64], text[COP_REDUCER_TEXT];

    for (uint32_t i = cop__grouping_first(grouping); i; i = cop__grouping_next(grouping, i)) {
        size_t length;
        cop_value v;
        const char *name = cop__group_name(grouping, i, &length);
        cop__group_result(grouping, i, text, sizeof text, &v);
        snprintf(one, sizeof one, "%.*s/%u=", (int)length, name, cop__group_size(grouping, i));
        strcat(all, one);
        append_value(all, &v);
        strcat(all, " ");
    }
    ck_assert_str_eq(all, want);
}

START_TEST(members_come_move_and_go)
{
    begin("sum");
    groups_are("");
    put(1, "p/3", "x", cop_i64(1));
    put(2, "p/2", "y", cop_i64(2));
    put(3, "p/1", "x", cop_i64(4));
    groups_are("x/2=5 y/1=2 ");
    drop(3); /* x begins at p/3 now */
    groups_are("y/1=2 x/1=1 ");
    move(2, "x");
    groups_are("x/2=3 ");
    move(2, "x");
    groups_are("x/2=3 ");
    move(1, "y");
    groups_are("x/1=2 y/1=1 ");
    change(1, cop_f64(2.5));
    groups_are("x/1=2 y/1=2.5 ");
    change(1, cop_string("s", 1));
    groups_are("x/1=2 y/1=!p/3: string in place of a number ");
    change(1, (cop_value){0}); /* a member without a value */
    groups_are("x/1=2 y/1=0 ");
    drop(2);
    drop(1);
    groups_are("");
    ck_assert_uint_eq(cop__grouping_size(grouping), 0);
    ck_assert_uint_lt(memory->by_kind[COP_MEMORY_GRAPH], 512);
}
END_TEST

START_TEST(objects_without_a_key_wait)
{
    begin("max");
    put(1, "a", NULL, cop_i64(1));
    groups_are("");
    ck_assert_uint_eq(cop__grouping_size(grouping), 1);
    change(1, cop_i64(7));
    move(1, NULL);
    groups_are("");
    move(1, "here");
    groups_are("here/1=7 ");
    move(1, NULL);
    groups_are("");
    drop(1);
    ck_assert(!cop__grouping_has(grouping, 1));
}
END_TEST

START_TEST(texts_of_keys)
{
    static const char long_name[] = "a name of more than twelve bytes";
    const cop_value key[] = {cop_string("1", 1),
                             cop_i64(1),
                             cop_f64(1),
                             cop_bool(true),
                             cop_bool(false),
                             cop_i64(INT64_MIN),
                             cop_f64(-0.0),
                             cop_f64(1e300),
                             cop_f64(NAN),
                             cop_f64(INFINITY),
                             cop_f64(-INFINITY),
                             cop_string("", 0),
                             cop_string(long_name, sizeof long_name - 1),
                             cop_string("true", 4)};
    const cop_value no_key[] = {{0},         cop_null(),        cop_object(),
                                cop_array(), cop_bytes("1", 1), cop_error_value("1", 1)};
    char path[4];
    cop_value v = cop_i64(1);

    begin("count");
    for (uint32_t i = 0; i < sizeof key / sizeof *key; i++) {
        snprintf(path, sizeof path, "%02u", i);
        CHECK_OK(cop__grouping_insert(grouping, i, path_name(path, 2), &key[i], &v));
    }
    for (uint32_t i = 0; i < sizeof no_key / sizeof *no_key; i++)
        CHECK_OK(cop__grouping_insert(grouping, 100 + i, path_name("x", 1), &no_key[i], &v));
    groups_are("1/2=2 1.0/1=1 true/2=2 false/1=1 -9223372036854775808/1=1 -0.0/1=1 1e+300/1=1 "
               "NaN/1=1 Infinity/1=1 -Infinity/1=1 /1=1 a name of more than twelve bytes/1=1 ");
}
END_TEST

START_TEST(tops_of_groups)
{
    cop__top_walk walk;

    begin("top");
    put(1, "a", "x", cop_i64(1));
    put(2, "b", "x", cop_i64(2));
    put(3, "c", "y", cop_i64(3));
    cop__group_top(grouping, cop__grouping_first(grouping), &walk);
    ck_assert_uint_eq(cop__top_next(&walk)->id, 2);
    ck_assert_uint_eq(cop__top_next(&walk)->id, 1);
    ck_assert_ptr_null(cop__top_next(&walk));
}
END_TEST

START_TEST(taking_back)
{
    const char *before = _i ? "x/2=103 y/1=104 " : "x/2=2.5 y/1=4 ";

    begin(_i ? "wrap" : "sum");
    put(1, "a", "x", _i ? cop_i64(1) : cop_f64(0.5));
    put(2, "b", "x", cop_i64(2));
    put(3, "c", "y", cop_i64(4));
    groups_are(before);
    cop__grouping_mark(grouping);
    drop(1);
    move(2, "z");
    change(3, cop_i64(5));
    put(4, "A", "new", cop_i64(1));
    put(1, "0", "x", cop_i64(6));
    groups_are(_i ? "x/1=106 new/1=101 z/1=102 y/1=105 " : "x/1=6 new/1=1 z/1=2 y/1=5 ");
    drop(3);
    drop(1);
    fault_alloc_arm(&t_faults, 1, true);
    cop__grouping_rollback(grouping);
    fault_alloc_disarm(&t_faults);
    groups_are(before);
    cop__grouping_mark(grouping);
    drop(1);
    drop(2);
    put(5, "d", "w", cop_i64(1));
    drop(5);
    cop__grouping_commit(grouping);
    groups_are(_i ? "y/1=104 " : "y/1=4 ");
}
END_TEST

START_TEST(refusals)
{
    cop__reduce_rule rule = {.kind = COP_REDUCE_TOP};
    cop_value v = cop_i64(1);

    CHECK_STATUS(cop__grouping_open(memory, &rule, &grouping), COP_E_INVALID);
    rule.kind = COP_REDUCE_COUNT;
    fault_alloc_arm(&t_faults, 1, false);
    CHECK_STATUS(cop__grouping_open(memory, &rule, &grouping), COP_E_MEMORY);
    ck_assert_ptr_null(grouping);
    begin("sum");
    CHECK_STATUS(cop__grouping_remove(grouping, 1), COP_E_ABSENT);
    CHECK_STATUS(cop__grouping_change_key(grouping, 1, &v), COP_E_ABSENT);
    CHECK_STATUS(cop__grouping_change_value(grouping, 1, &v), COP_E_ABSENT);
    put(1, "a", "x", v);
    CHECK_STATUS(cop__grouping_insert(grouping, 1, path_name("b", 1), &v, &v), COP_E_STATE);
    groups_are("x/1=1 ");
}
END_TEST

/* One comes to a group that is not there yet, as a member (0) or from another one (1): the k-th
 * request is refused, and there is no such group. */
START_TEST(without_memory_no_group_comes)
{
    enum { MOST = 100 };
    cop_value key = key_of("new"), huge = cop_f64(1e300);
    cop_status status = COP_E_MEMORY;
    int64_t k = 0;

    while (status != COP_OK && ++k < MOST) {
        cop__grouping_close(grouping);
        begin("sum");
        put(1, "a", "x", huge);
        put(2, "b", "x", huge);
        fault_alloc_arm(&t_faults, k, false);
        status = _i == 0 ? cop__grouping_insert(grouping, 3, path_name("c", 1), &key, &huge)
                         : cop__grouping_change_key(grouping, 2, &key);
        fault_alloc_disarm(&t_faults);
        ck_assert(status == COP_OK || status == COP_E_MEMORY);
        ck_assert(fault_alloc_fired(&t_faults) == (status == COP_E_MEMORY));
        if (status == COP_OK)
            break;
        groups_are("x/2=2e+300 ");
        put(4, "d", "other", cop_i64(1)); /* in the place of the one that did not come */
        groups_are("x/2=2e+300 other/1=1 ");
        uint32_t first = cop__grouping_first(grouping);
        ck_assert_uint_eq(cop__grouping_next(grouping, first), first + 1);
    }
    ck_assert_int_gt(k, 1);
    groups_are(_i == 0 ? "x/2=2e+300 new/1=1e+300 " : "x/1=1e+300 new/1=1e+300 ");
}
END_TEST

/* Many small groups share tables: each costs its own record, name and window. */
START_TEST(bytes_for_groups)
{
    enum { GROUPS = 20000 };
    static char paths[2 * GROUPS][8];
    char name[16];

    begin("sum");
    for (uint32_t i = 0; i < 2 * GROUPS; i++) {
        snprintf(name, sizeof name, "%u", i / 2);
        snprintf(paths[i], sizeof paths[i], "%u", i);
        put(i, paths[i], name, cop_i64(i));
    }
    ck_assert_uint_le(memory->by_kind[COP_MEMORY_GRAPH],
                      (uint64_t)GROUPS * (2 * (96 + 14) + 208 + 6 + 14) + 40000);
    for (uint32_t i = 0; i < 2 * GROUPS; i++)
        drop(i);
    ck_assert_uint_lt(memory->by_kind[COP_MEMORY_GRAPH], 512);
}
END_TEST

static void
add_tests(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, members_come_move_and_go);
    tcase_add_test(tests, objects_without_a_key_wait);
    tcase_add_test(tests, texts_of_keys);
    tcase_add_test(tests, tops_of_groups);
    tcase_add_loop_test(tests, taking_back, 0, 2);
    tcase_add_test(tests, refusals);
    tcase_add_loop_test(tests, without_memory_no_group_comes, 0, 2);
    tcase_add_test(tests, bytes_for_groups);
}

int
main(void)
{
    return t_run("group", add_tests);
}

/* SPDX-License-Identifier: MIT */
/* Reducers and groups in a store: the contract of coppice/reduce.h. */
#include "store/store_internal.h"
#include "tests/support/store_test.h"

#include <coppice/effect.h>
#include <coppice/reduce.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- short ways ---- */

static cop_atom
define(cop_store *store, const char *path, const char *pattern, cop_reduction reduction)
{
    cop_error error = COP_ERROR_INIT;
    cop_atom atom;
    cop_status status = cop_reduce_define(store, path, path != NULL ? strlen(path) : 0, P(pattern),
                                          reduction, NULL, &atom, &error);
    ck_assert_msg(status == COP_OK, "%s: %s", pattern, error.message);
    return atom;
}

static cop_atom
define_top(cop_store *store, const char *path, const char *pattern, uint32_t k)
{
    cop_reduce_options options = COP_REDUCE_OPTIONS_INIT;
    cop_atom atom;
    options.k = k;
    CHECK_OK(cop_reduce_define(store, P(path), P(pattern), COP_REDUCE_TOP, &options, &atom, NULL));
    return atom;
}

static cop_atom
define_group(cop_store *store, const char *path, const char *pattern, cop_reduction reduction)
{
    cop_atom atom;
    CHECK_OK(cop_group_define(store, P(path), P(pattern), "key", "value", reduction, NULL, &atom,
                              NULL));
    return atom;
}

static cop_value
value_now(cop_store *store, cop_atom atom, char *text, size_t room)
{
    cop_pin_t pin = cop_pin(store);
    cop_value value;
    CHECK_OK(cop_get(pin.snapshot, atom, &value));
    if (cop_value_is_text(&value)) {
        size_t n = cop_value_length(&value) < room ? cop_value_length(&value) : room - 1;
        memcpy(text, cop_value_data(&value), n);
        text[n] = 0;
    }
    cop_unpin(pin);
    return value;
}

static void
is_value(cop_store *store, cop_atom atom, cop_value expected)
{
    char text[256];
    cop_value value = value_now(store, atom, text, sizeof text);
    ck_assert_msg(cop_value_equal(&value, &expected), "is %s %lld, should be %s %lld",
                  value.type == COP_ERROR ? text : cop_type_name((cop_type)value.type),
                  (long long)cop_value_i64(&value), cop_type_name((cop_type)expected.type),
                  (long long)cop_value_i64(&expected));
}

static void
is_error(cop_store *store, cop_atom atom, const char *part)
{
    char text[512];
    cop_value value = value_now(store, atom, text, sizeof text);
    ck_assert_msg(value.type == COP_ERROR, "is %s", cop_type_name((cop_type)value.type));
    ck_assert_msg(strstr(text, part) != NULL, "says %s, not %s", text, part);
}

static void
is_path(cop_store *store, const char *path, cop_value expected)
{
    is_value(store, t_find(store, path), expected);
}

static void
is_absent(cop_store *store, const char *path)
{
    cop_atom atom;
    CHECK_STATUS(cop_atom_find(store, P(path), &atom), COP_E_ABSENT);
}

/* ---- computed children ---- */

typedef struct twice {
    cop_atom of;
} twice;

static cop_status
twice_function(cop_evaluation *evaluation, void *context, cop_value *result)
{
    const twice *t = context;
    int64_t value;
    cop_status status = cop_read_i64(evaluation, t->of, &value);
    if (status == COP_OK)
        *result = cop_i64(2 * value);
    return status;
}

static cop_atom
define_twice(cop_store *store, const char *path, twice *t, cop_atom of)
{
    cop_atom atom;
    t->of = of;
    CHECK_OK(cop_computed_define(store, path, path != NULL ? strlen(path) : 0, twice_function, t,
                                 NULL, &atom, NULL));
    return atom;
}

/* ---- each reduction ---- */

START_TEST(sum_follows_children)
{
    cop_store *store = t_open();
    cop_atom a = t_make(store, "in/a", cop_i64(1));
    t_make(store, "in/b", cop_i64(2));
    cop_atom sum = define(store, "sum", "in/*", COP_REDUCE_SUM);
    is_value(store, sum, cop_i64(3));
    t_set(store, a, cop_i64(10));
    is_value(store, sum, cop_i64(12));
    t_set_at(store, "in/c", cop_i64(5));
    is_value(store, sum, cop_i64(17));
    t_erase_at(store, "in/b");
    is_value(store, sum, cop_i64(15));
    t_erase_at(store, "in");
    is_value(store, sum, cop_i64(0));
    t_set_at(store, "in/z", cop_f64(0.5));
    is_value(store, sum, cop_f64(0.5));
    t_set_at(store, "other/z", cop_i64(100));
    t_set_at(store, "in/deep/z", cop_i64(100));
    is_value(store, sum, cop_f64(0.5));
    t_verify(store);
    t_close(store);
}
END_TEST

START_TEST(all_numbers_by_name)
{
    cop_store *store = t_open();
    cop_atom count = define(store, "r/count", "in/*/x", COP_REDUCE_COUNT);
    cop_atom mean = define(store, "r/mean", "in/*/x", COP_REDUCE_MEAN);
    cop_atom least = define(store, "r/min", "in/*/x", COP_REDUCE_MIN);
    cop_atom most = define(store, "r/max", "in/*/x", COP_REDUCE_MAX);
    is_value(store, count, cop_i64(0));
    is_error(store, mean, "");
    is_value(store, least, cop_null());
    is_value(store, most, cop_null());
    t_set_at(store, "in/p/x", cop_i64(3));
    t_set_at(store, "in/q/x", cop_f64(-1.5));
    t_set_at(store, "in/r/x", cop_i64(9));
    t_set_at(store, "in/r/y", cop_i64(1000));
    is_value(store, count, cop_i64(3));
    is_value(store, mean, cop_f64(3.5));
    is_value(store, least, cop_f64(-1.5));
    is_value(store, most, cop_i64(9));
    t_erase_at(store, "in/q");
    t_set_at(store, "in/r/x", cop_null());
    is_value(store, count, cop_i64(1));
    is_value(store, least, cop_i64(3));
    is_value(store, most, cop_i64(3));
    t_close(store);
}
END_TEST

START_TEST(sums_overflow_and_recover)
{
    cop_store *store = t_open();
    cop_atom sum = define(store, NULL, "in/*", COP_REDUCE_SUM);
    t_set_at(store, "in/a", cop_i64(INT64_MAX));
    t_set_at(store, "in/b", cop_i64(1));
    is_error(store, sum, "");
    t_set_at(store, "in/c", cop_i64(-2));
    is_value(store, sum, cop_i64(INT64_MAX - 1));
    t_close(store);
}
END_TEST

START_TEST(no_numbers_are_named_and_go_away)
{
    cop_store *store = t_open();
    cop_atom sum = define(store, "sum", "in/*", COP_REDUCE_SUM);
    t_set_at(store, "in/a", cop_i64(1));
    t_set_at(store, "in/c", cop_string("text", 4));
    is_error(store, sum, "in/c");
    t_set_at(store, "in/b", cop_bool(true));
    is_error(store, sum, "in/b");
    t_erase_at(store, "in/b");
    is_error(store, sum, "in/c");
    t_set_at(store, "in/c", cop_null());
    is_value(store, sum, cop_i64(1));
    t_set_at(store, "in/c", cop_i64(4));
    is_value(store, sum, cop_i64(5));
    cop_txn *txn = t_begin(store); /* a number becomes a branch, and is passed over */
    cop_value object = cop_object();
    CHECK_OK(cop_txn_set_at(txn, P("in/c"), &object, NULL));
    t_commit(txn);
    is_value(store, sum, cop_i64(1));
    t_close(store);
}
END_TEST

START_TEST(not_finite_come_and_go)
{
    cop_store *store = t_open();
    cop_atom sum = define(store, "sum", "in/*", COP_REDUCE_SUM);
    cop_atom most = define(store, "max", "in/*", COP_REDUCE_MAX);
    t_set_at(store, "in/a", cop_f64(0.1));
    t_set_at(store, "in/b", cop_f64(0.2));
    double before = 0.1 + 0.2;
    is_value(store, sum, cop_f64(before));
    t_set_at(store, "in/c", cop_f64((double)INFINITY));
    is_error(store, sum, "finite");
    is_error(store, most, "finite");
    t_set_at(store, "in/d", cop_f64((double)NAN));
    t_erase_at(store, "in/c");
    is_error(store, sum, "finite");
    is_value(store, most, cop_f64(0.2));
    t_erase_at(store, "in/d");
    is_value(store, sum, cop_f64(before));
    t_close(store);
}
END_TEST

START_TEST(order_and_history_do_not_matter)
{
    cop_store *store = t_open();
    static const double part[] = {1e300, 1.0, -1e300, 1e-300, 3.5, -0.1};
    char path[32];
    cop_atom first = define(store, "first", "in/*", COP_REDUCE_SUM);
    for (unsigned i = 0; i < 6; i++) {
        (void)snprintf(path, sizeof path, "in/%u", i);
        t_set_at(store, path, cop_f64(part[i]));
    }
    for (unsigned i = 6; i-- > 0;) {
        (void)snprintf(path, sizeof path, "in/%u", i);
        t_erase_at(store, path);
        t_set_at(store, path, cop_f64(part[i]));
    }
    cop_atom second = define(store, "second", "in/*", COP_REDUCE_SUM);
    char text[64];
    is_value(store, first, value_now(store, second, text, sizeof text));
    t_close(store);
}
END_TEST

/* ---- custom ---- */

static cop_status
join(void *context, cop_value *accumulator, const cop_value *value)
{
    char text[64];
    size_t a = cop_value_length(accumulator), b = cop_value_length(value);
    (void)context;
    if (a + b > COP_INLINE_MAX)
        return COP_E_LIMIT;
    memcpy(text, cop_value_data(accumulator), a);
    memcpy(text + a, cop_value_data(value), b);
    *accumulator = cop_string(text, a + b);
    return COP_OK;
}

static unsigned destroyed;

static void
destroy(void *context)
{
    (void)context;
    destroyed++;
}

static cop_status
plus(void *context, cop_value *accumulator, const cop_value *value)
{
    (void)context;
    *accumulator = cop_i64(cop_value_i64(accumulator) + cop_value_i64(value));
    return COP_OK;
}

static cop_status
minus(void *context, cop_value *accumulator, const cop_value *value)
{
    (void)context;
    *accumulator = cop_i64(cop_value_i64(accumulator) - cop_value_i64(value));
    return COP_OK;
}

START_TEST(custom_folds_in_order_of_path)
{
    cop_store *store = t_open();
    cop_reduce_options options = COP_REDUCE_OPTIONS_INIT;
    cop_atom folded, counted;
    options.combine = join;
    options.destroy = destroy;
    options.label = "joined";
    destroyed = 0;
    t_set_at(store, "in/b", cop_string("B", 1));
    CHECK_OK(cop_reduce_define(store, P("joined"), P("in/*"), COP_REDUCE_CUSTOM, &options, &folded,
                               NULL));
    is_value(store, folded, cop_string("B", 1));
    t_set_at(store, "in/a", cop_string("A", 1));
    t_set_at(store, "in/c", cop_string("C", 1));
    is_value(store, folded, cop_string("ABC", 3));
    t_set_at(store, "in/d", cop_string("0123456789", 10));
    is_error(store, folded, "");
    t_erase_at(store, "in/d");
    t_erase_at(store, "in/b");
    is_value(store, folded, cop_string("AC", 2));
    options = (cop_reduce_options)COP_REDUCE_OPTIONS_INIT;
    options.combine = plus;
    options.inverse = minus;
    options.zero = cop_i64(100);
    CHECK_OK(cop_reduce_define(store, NULL, 0, P("number/*"), COP_REDUCE_CUSTOM, &options, &counted,
                               NULL));
    is_value(store, counted, cop_i64(100));
    t_set_at(store, "number/a", cop_i64(5));
    t_set_at(store, "number/b", cop_i64(6));
    t_set_at(store, "number/a", cop_i64(1));
    is_value(store, counted, cop_i64(107));
    ck_assert_uint_eq(destroyed, 0);
    CHECK_OK(cop_computed_dispose(store, folded));
    ck_assert_uint_eq(destroyed, 1);
    t_close(store);
    ck_assert_uint_eq(destroyed, 1);
}
END_TEST

/* ---- who may be a child ---- */

START_TEST(children_may_be_computed)
{
    cop_store *store = t_open();
    twice t[4];
    cop_atom source = t_make(store, "source", cop_i64(1));
    cop_atom a = define_twice(store, "in/a", &t[0], source);
    cop_atom sum = define(store, "sum", "in/*", COP_REDUCE_SUM);
    cop_atom above = define_twice(store, "above", &t[1], sum);
    is_value(store, sum, cop_i64(2));
    cop_atom b = define_twice(store, "in/b", &t[2], a); /* higher than the reducer stood */
    is_value(store, sum, cop_i64(6));
    is_value(store, above, cop_i64(12));
    t_set(store, source, cop_i64(10));
    is_value(store, sum, cop_i64(60));
    is_value(store, above, cop_i64(120));
    CHECK_OK(cop_computed_dispose(store, b));
    is_value(store, sum, cop_i64(20));
    CHECK_OK(cop_computed_dispose(store, a));
    is_value(store, sum, cop_i64(0));
    is_value(store, above, cop_i64(0));
    t_close(store);
}
END_TEST

START_TEST(lazy_children_become_eager)
{
    cop_store *store = t_open();
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    twice t[4];
    cop_atom source = t_make(store, "source", cop_i64(1));
    options.kind = COP_LAZY;
    for (unsigned i = 0; i < 4; i++)
        t[i].of = source;
    CHECK_OK(cop_computed_define(store, P("in/a"), twice_function, &t[0], &options, NULL, NULL));
    CHECK_OK(cop_computed_define(store, P("in/b"), twice_function, &t[1], &options, NULL, NULL));
    cop_atom sum = define(store, "sum", "in/*", COP_REDUCE_SUM);
    is_value(store, sum, cop_i64(4));
    define_group(store, "groups", "in/*", COP_REDUCE_SUM);
    CHECK_OK(cop_computed_define(store, P("in/o/key"), twice_function, &t[2], &options, NULL, NULL));
    CHECK_OK(cop_computed_define(store, P("in/o/value"), twice_function, &t[3], &options, NULL, NULL));
    is_path(store, "groups/2", cop_i64(2));
    CHECK_OK(cop_computed_define(store, P("in/c"), twice_function, &t[0], &options, NULL, NULL));
    is_value(store, sum, cop_i64(6));
    t_set(store, source, cop_i64(5));
    is_value(store, sum, cop_i64(30));
    is_path(store, "groups/10", cop_i64(10));
    t_close(store);
}
END_TEST

START_TEST(reducers_of_reducers)
{
    cop_store *store = t_open();
    cop_atom total = define(store, "total", "sum/*", COP_REDUCE_SUM);
    define(store, "sum/a", "in/a/*", COP_REDUCE_SUM);
    define(store, "sum/b", "in/b/*", COP_REDUCE_SUM);
    cop_txn *txn = t_begin(store);
    cop_value one = cop_i64(1), two = cop_i64(2);
    CHECK_OK(cop_txn_set_at(txn, P("in/a/x"), &one, NULL));
    CHECK_OK(cop_txn_set_at(txn, P("in/b/x"), &two, NULL));
    CHECK_OK(cop_txn_set_at(txn, P("in/b/y"), &two, NULL));
    t_commit(txn);
    is_value(store, total, cop_i64(5));
    t_erase_at(store, "in/b");
    is_value(store, total, cop_i64(1));
    t_close(store);
}
END_TEST

START_TEST(no_child_of_itself)
{
    cop_store *store = t_open();
    t_set_at(store, "in/a", cop_i64(1));
    cop_atom count = define(store, "in/count", "in/*", COP_REDUCE_COUNT);
    is_value(store, count, cop_i64(1));
    define_top(store, "top/top", "top/*/value", 2);
    t_set_at(store, "top/a/value", cop_i64(7));
    is_path(store, "top/top/0/value", cop_i64(7));
    is_absent(store, "top/top/1");
    t_close(store);
}
END_TEST

START_TEST(circles_are_errors_until_broken)
{
    cop_store *store = t_open();
    twice t;
    cop_atom a = t_make(store, "in/a", cop_i64(1));
    cop_atom sum = define(store, "sum", "in/*", COP_REDUCE_SUM);
    cop_atom self = define_twice(store, "in/self", &t, sum);
    is_error(store, sum, "cycle");
    is_error(store, self, "cycle");
    t_set(store, a, cop_i64(2));
    is_error(store, sum, "cycle");
    CHECK_OK(cop_computed_dispose(store, self));
    is_value(store, sum, cop_i64(2));
    cop_atom other = define(store, "in/other", "*", COP_REDUCE_COUNT); /* each counts the other */
    is_error(store, other, "cycle");
    is_error(store, sum, "cycle");
    CHECK_OK(cop_computed_dispose(store, sum));
    is_value(store, other, cop_i64(0));
    t_close(store);
}
END_TEST

START_TEST(names_with_asterisks)
{
    cop_store *store = t_open();
    cop_error error = COP_ERROR_INIT;
    cop_atom atom;
    t_set_at(store, "in/~2/x", cop_i64(1));
    t_set_at(store, "in/b/x", cop_i64(2));
    cop_atom star = define(store, NULL, "in/~2/x", COP_REDUCE_SUM);
    cop_atom all = define(store, NULL, "*/*/x", COP_REDUCE_SUM);
    cop_atom both = define(store, NULL, "in/*/*", COP_REDUCE_SUM);
    is_value(store, star, cop_i64(1));
    is_value(store, all, cop_i64(3));
    t_set_at(store, "in/~2/x", cop_i64(5));
    t_set_at(store, "out/b/x", cop_i64(10));
    t_set_at(store, "in/b/y", cop_i64(100));
    is_value(store, star, cop_i64(5));
    is_value(store, all, cop_i64(17));
    is_value(store, both, cop_i64(107));
    CHECK_STATUS(cop_reduce_define(store, NULL, 0, P("in/a*"), COP_REDUCE_SUM, NULL, &atom, &error),
                 COP_E_PATH);
    ck_assert_uint_eq(error.position, 4);
    CHECK_STATUS(cop_reduce_define(store, NULL, 0, P(""), COP_REDUCE_SUM, NULL, &atom, &error),
                 COP_E_PATH);
    CHECK_STATUS(cop_reduce_define(store, NULL, 0, P("a//b"), COP_REDUCE_SUM, NULL, &atom, &error),
                 COP_E_PATH);
    ck_assert_uint_eq(atom.generation, 0);
    t_close(store);
}
END_TEST

START_TEST(elements_of_arrays_match_none)
{
    cop_store *store = t_open();
    cop_value array = cop_array(), one = cop_i64(1);
    cop_txn *txn = t_begin(store);
    CHECK_OK(cop_txn_set_at(txn, P("list"), &array, NULL));
    CHECK_OK(cop_txn_set_at(txn, P("list/-"), &one, NULL));
    t_commit(txn);
    cop_atom count = define(store, NULL, "list/*", COP_REDUCE_COUNT);
    is_value(store, count, cop_i64(0));
    t_set_at(store, "list/-", cop_i64(2));
    is_value(store, count, cop_i64(0));
    t_close(store);
}
END_TEST

START_TEST(erased_and_made_again_in_one_commit)
{
    cop_store *store = t_open();
    cop_atom sum = define(store, NULL, "in/*", COP_REDUCE_SUM);
    cop_atom groups = define_group(store, "groups", "in/*", COP_REDUCE_SUM);
    cop_value three = cop_i64(3), key = cop_string("g", 1);
    (void)groups;
    t_set_at(store, "in/a", cop_i64(1));
    for (unsigned i = 0; i < 3; i++) {
        cop_txn *txn = t_begin(store);
        CHECK_OK(cop_txn_erase_at(txn, P("in/a"), NULL));
        CHECK_OK(cop_txn_set_at(txn, P("in/a"), &three, NULL));
        t_commit(txn);
        is_value(store, sum, cop_i64(3));
    }
    t_set_at(store, "in/o/key", key);
    t_set_at(store, "in/o/value", three);
    is_path(store, "groups/g", cop_i64(3));
    cop_txn *txn = t_begin(store); /* the children, then the object */
    CHECK_OK(cop_txn_erase_at(txn, P("in/o/key"), NULL));
    CHECK_OK(cop_txn_set_at(txn, P("in/o/key"), &three, NULL));
    t_commit(txn);
    is_path(store, "groups/3", cop_i64(3));
    is_absent(store, "groups/g");
    txn = t_begin(store);
    CHECK_OK(cop_txn_erase_at(txn, P("in/o"), NULL));
    CHECK_OK(cop_txn_set_at(txn, P("in/o/key"), &key, NULL));
    CHECK_OK(cop_txn_set_at(txn, P("in/o/value"), &three, NULL));
    t_commit(txn);
    is_path(store, "groups/g", cop_i64(3));
    is_absent(store, "groups/3");
    t_close(store);
}
END_TEST

/* ---- owned branches ---- */

typedef struct emitter {
    cop_atom count;
} emitter;

static cop_status
emit_function(cop_evaluation *evaluation, void *context, cop_value *result)
{
    const emitter *e = context;
    int64_t count;
    cop_status status = cop_read_i64(evaluation, e->count, &count);
    (void)result;
    for (int64_t i = 0; status == COP_OK && i < count; i++) {
        char path[32];
        cop_value value = cop_i64(i + 1);
        int n = snprintf(path, sizeof path, "c%d/x", (int)i);
        status = cop_emit(evaluation, path, (size_t)n, &value);
    }
    return status;
}

START_TEST(children_in_owned_branches)
{
    cop_store *store = t_open();
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    emitter e = {t_make(store, "count", cop_i64(2))};
    cop_atom before = define(store, "before", "out/*/x", COP_REDUCE_SUM);
    options.branch = true;
    CHECK_OK(cop_computed_define(store, P("out"), emit_function, &e, &options, NULL, NULL));
    cop_atom after = define(store, "after", "out/*/x", COP_REDUCE_SUM);
    is_value(store, before, cop_i64(3));
    is_value(store, after, cop_i64(3));
    t_set(store, e.count, cop_i64(4));
    is_value(store, before, cop_i64(10));
    is_value(store, after, cop_i64(10));
    t_set(store, e.count, cop_i64(1));
    is_value(store, before, cop_i64(1));
    t_set(store, e.count, cop_string("x", 1)); /* the owner fails: an error in place of its branch */
    is_value(store, before, cop_i64(0));
    t_set(store, e.count, cop_i64(3));
    is_value(store, before, cop_i64(6));
    is_value(store, after, cop_i64(6));
    t_erase_at(store, "out");
    is_value(store, before, cop_i64(0));
    is_value(store, after, cop_i64(0));
    t_close(store);
}
END_TEST

/* ---- top ---- */

START_TEST(top_owns_a_branch)
{
    cop_store *store = t_open();
    define_top(store, "top", "in/*", 2);
    cop_atom top = t_find(store, "top");
    ck_assert_str_eq(t_list_now(store, top), "");
    t_set_at(store, "in/a", cop_i64(1));
    t_set_at(store, "in/b", cop_f64(2.5));
    t_set_at(store, "in/c", cop_i64(2));
    ck_assert_str_eq(t_list_now(store, top), "0 1");
    is_path(store, "top/0/path", cop_string("in/b", 4));
    is_path(store, "top/0/value", cop_f64(2.5));
    is_path(store, "top/1/path", cop_string("in/c", 4));
    t_set_at(store, "in/a", cop_i64(100));
    is_path(store, "top/0/path", cop_string("in/a", 4));
    is_path(store, "top/1/path", cop_string("in/b", 4));
    t_set_at(store, "in/text", cop_string("text", 4));
    is_error(store, top, "in/text");
    t_erase_at(store, "in/text");
    is_path(store, "top/0/value", cop_i64(100));
    t_erase_at(store, "in/b");
    t_erase_at(store, "in/a");
    ck_assert_str_eq(t_list_now(store, top), "0");
    cop_txn *txn = t_begin(store);
    cop_value one = cop_i64(1);
    CHECK_OK(cop_txn_set_at(txn, P("top/0/value"), &one, NULL));
    t_commit_fails(store, txn, COP_E_COMPUTED);
    CHECK_OK(cop_computed_dispose(store, top));
    is_absent(store, "top");
    t_verify(store);
    t_close(store);
}
END_TEST

/* ---- groups ---- */

static void
object(cop_store *store, const char *path, cop_value key, cop_value value)
{
    char text[64];
    cop_txn *txn = t_begin(store);
    (void)snprintf(text, sizeof text, "%s/key", path);
    CHECK_OK(cop_txn_set_at(txn, P(text), &key, NULL));
    (void)snprintf(text, sizeof text, "%s/value", path);
    CHECK_OK(cop_txn_set_at(txn, P(text), &value, NULL));
    t_commit(txn);
}

START_TEST(groups_follow_keys_and_values)
{
    cop_store *store = t_open();
    object(store, "in/b", cop_string("red", 3), cop_i64(1));
    cop_atom groups = define_group(store, "groups", "in/*", COP_REDUCE_SUM);
    ck_assert_str_eq(t_list_now(store, groups), "red");
    object(store, "in/c", cop_string("blue", 4), cop_i64(2));
    object(store, "in/d", cop_string("red", 3), cop_i64(3));
    ck_assert_str_eq(t_list_now(store, groups), "red blue");
    is_path(store, "groups/red", cop_i64(4));
    is_path(store, "groups/blue", cop_i64(2));
    object(store, "in/a", cop_string("blue", 4), cop_i64(10)); /* the first in path order now */
    ck_assert_str_eq(t_list_now(store, groups), "blue red");
    is_path(store, "groups/blue", cop_i64(12));
    t_set_at(store, "in/b/key", cop_i64(7));
    is_path(store, "groups/7", cop_i64(1));
    is_path(store, "groups/red", cop_i64(3));
    t_erase_at(store, "in/b/key");
    is_absent(store, "groups/7");
    t_set_at(store, "in/b/key", cop_bool(true));
    is_path(store, "groups/true", cop_i64(1));
    t_erase_at(store, "in/b/value");
    is_path(store, "groups/true", cop_i64(0));
    t_erase_at(store, "in/b");
    is_absent(store, "groups/true");
    t_set_at(store, "in/d/key", cop_string("a/b*~", 5));
    is_path(store, "groups/a~1b~2~0", cop_i64(3));
    t_set_at(store, "in/d/key", cop_string("", 0));
    is_path(store, "groups/~3", cop_i64(3));
    t_set_at(store, "in/d/key", cop_string("a\0b", 3));
    is_error(store, groups, "group");
    t_set_at(store, "in/d/key", cop_string("d", 1));
    ck_assert_str_eq(t_list_now(store, groups), "blue d");
    t_erase_at(store, "in");
    ck_assert_str_eq(t_list_now(store, groups), "");
    t_verify(store);
    t_close(store);
}
END_TEST

/* What the owner of the groups said in the last wave, itself included. */
static size_t
groups_said(cop_store *store)
{
    return store->graph.own.entry_count;
}

START_TEST(a_change_within_a_group_looks_at_no_other)
{
    enum { GROUPS = 500 };
    cop_store *store = t_open();
    cop_atom groups = define_group(store, "groups", "in/*", COP_REDUCE_SUM);
    cop_value one = cop_i64(1), key;
    char path[32];
    bool refused = false;
    for (int i = 0; i < 2 * GROUPS; i++) {
        (void)snprintf(path, sizeof path, "in/%04d", i);
        object(store, path, cop_i64(i % GROUPS), one);
    }
    ck_assert_uint_eq(groups_said(store), 2);
    t_set_at(store, "in/0007/value", cop_i64(5));
    ck_assert_uint_eq(groups_said(store), 2);
    is_path(store, "groups/7", cop_i64(6));
    key = cop_i64(8); /* into another one, in which it is not the first */
    t_set_at(store, "in/0507/key", key);
    ck_assert_uint_eq(groups_said(store), 3);
    is_path(store, "groups/7", cop_i64(5));
    is_path(store, "groups/8", cop_i64(3));
    atomic_store(&store->memory->fail_for_ever, true); /* then nothing counts as said */
    for (int k = 0; k < 200; k++) {
        cop_txn *txn;
        cop_value value = cop_i64(k);
        if (cop_txn_begin(store, &txn) != COP_OK)
            continue;
        atomic_store(&store->memory->fail_countdown, k);
        cop_status status = cop_txn_set_at(txn, P("in/0007/value"), &value, NULL);
        status = status == COP_OK ? cop_txn_commit(txn, NULL, NULL) : (cop_txn_cancel(txn), status);
        atomic_store(&store->memory->fail_countdown, -1);
        refused |= status == COP_E_MEMORY;
        t_set_at(store, "in/0009/value", value);
        t_set_at(store, "in/0007/value", value);
        is_path(store, "groups/7", value);
        is_path(store, "groups/9", cop_i64(k + 1));
        if (status == COP_OK)
            break;
        CHECK_STATUS(status, COP_E_MEMORY);
    }
    ck_assert(refused);
    t_erase_at(store, "in/0000"); /* its group goes behind the others */
    t_erase_at(store, "in/0003/key");
    t_erase_at(store, "in/0503/key");
    is_absent(store, "groups/3");
    is_path(store, "groups/0", one);
    ck_assert_uint_gt(groups_said(store), GROUPS - 2);
    ck_assert_int_eq(strncmp(t_list_now(store, groups), "1 2 4 ", 6), 0);
    t_verify(store);
    t_close(store);
}
END_TEST

START_TEST(groups_of_computed_children)
{
    cop_store *store = t_open();
    twice t[2];
    cop_atom source = t_make(store, "source", cop_i64(1));
    cop_atom groups = define_group(store, "groups", "in/*", COP_REDUCE_SUM);
    define_twice(store, "in/a/key", &t[0], source);
    define_twice(store, "in/a/value", &t[1], t_find(store, "in/a/key"));
    is_path(store, "groups/2", cop_i64(4));
    t_set(store, source, cop_i64(5));
    is_path(store, "groups/10", cop_i64(20));
    ck_assert_str_eq(t_list_now(store, groups), "10");
    t_close(store);
}
END_TEST

START_TEST(tops_within_groups)
{
    cop_store *store = t_open();
    cop_reduce_options options = COP_REDUCE_OPTIONS_INIT;
    options.k = 1;
    object(store, "in/a", cop_string("g", 1), cop_i64(1));
    object(store, "in/b", cop_string("g", 1), cop_i64(2));
    object(store, "in/c", cop_string("h", 1), cop_null());
    CHECK_OK(cop_group_define(store, P("groups"), P("in/*"), "key", "value", COP_REDUCE_TOP,
                              &options, NULL, NULL));
    is_path(store, "groups/g/0/value", cop_i64(2));
    is_absent(store, "groups/g/1");
    is_path(store, "groups/h", cop_object());
    object(store, "in/c", cop_string("h", 1), cop_i64(5));
    is_path(store, "groups/h/0/value", cop_i64(5));
    t_close(store);
}
END_TEST

/* ---- refusals ---- */

START_TEST(what_is_refused)
{
    cop_store *store = t_open();
    cop_reduce_options options = COP_REDUCE_OPTIONS_INIT;
    cop_error error = COP_ERROR_INIT;
    cop_atom atom = {1, 1};
    CHECK_STATUS(cop_reduce_define(store, NULL, 0, P("in/*"), COP_REDUCE_TOP, &options, &atom, &error),
                 COP_E_INVALID);
    ck_assert_uint_eq(atom.generation, 0);
    CHECK_STATUS(cop_reduce_define(store, P("t"), P("in/*"), COP_REDUCE_TOP, NULL, &atom, &error),
                 COP_E_INVALID);
    options.k = 1;
    CHECK_STATUS(cop_reduce_define(store, NULL, 0, P("in/*"), COP_REDUCE_TOP, &options, &atom, &error),
                 COP_E_INVALID);
    CHECK_STATUS(cop_reduce_define(store, P("t"), P("in/*"), COP_REDUCE_CUSTOM, &options, NULL, &error),
                 COP_E_INVALID);
    CHECK_STATUS(cop_reduce_define(store, P("t"), P("in/*"), (cop_reduction)7, NULL, NULL, &error),
                 COP_E_INVALID);
    CHECK_STATUS(cop_reduce_define(store, P(""), P("in/*"), COP_REDUCE_SUM, NULL, NULL, &error),
                 COP_E_INVALID);
    CHECK_STATUS(cop_reduce_define(store, P("a//b"), P("in/*"), COP_REDUCE_SUM, NULL, NULL, &error),
                 COP_E_PATH);
    options.combine = plus;
    options.zero = cop_string("longer than fits inside", 23);
    CHECK_STATUS(cop_reduce_define(store, P("t"), P("in/*"), COP_REDUCE_CUSTOM, &options, NULL, &error),
                 COP_E_INVALID);
    options.size = 4;
    CHECK_STATUS(cop_reduce_define(store, P("t"), P("in/*"), COP_REDUCE_SUM, &options, NULL, &error),
                 COP_E_INVALID);
    CHECK_STATUS(cop_group_define(store, NULL, 0, P("in/*"), "k", "v", COP_REDUCE_SUM, NULL, NULL,
                                  &error),
                 COP_E_INVALID);
    for (int i = 0; i < 2; i++) {
        atom = (cop_atom){1, 1};
        CHECK_STATUS(cop_group_define(store, P("g"), P("in/*"), i ? "k" : NULL, i ? NULL : "v",
                                      COP_REDUCE_SUM, NULL, &atom, &error),
                     COP_E_INVALID);
        ck_assert(atom.id == 0 && atom.generation == 0);
        ck_assert_str_eq(error.message, "a group needs the names of its key and value");
    }
    char *pattern = t_bytes(COP_PATH_MAX, 1);
    CHECK_STATUS(cop_group_define(store, P("g"), pattern, COP_PATH_MAX - 2, "k", "vv", COP_REDUCE_SUM,
                                  NULL, NULL, &error),
                 COP_E_LIMIT);
    CHECK_STATUS(cop_reduce_define(store, P("t"), pattern, COP_PATH_MAX + 1, COP_REDUCE_SUM, NULL,
                                   NULL, &error),
                 COP_E_LIMIT);
    CHECK_OK(cop_reduce_define(store, P("t"), pattern, COP_PATH_MAX, COP_REDUCE_SUM, NULL, NULL,
                               &error));
    free(pattern);
    CHECK_STATUS(cop_reduce_define(store, P("t"), P("in/*"), COP_REDUCE_SUM, NULL, NULL, &error),
                 COP_E_STATE);
    t_close(store);
}
END_TEST

START_TEST(disposal_and_what_is_left)
{
    cop_store *store = t_open();
    cop_atom reducer[8];
    char path[32];
    t_set_at(store, "in/a", cop_i64(1));
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 8; i++) {
            (void)snprintf(path, sizeof path, "r/%u", i);
            reducer[i] = define(store, path, i % 2 ? "in/*" : "*/a", COP_REDUCE_SUM);
        }
        t_set_at(store, "in/a", cop_i64(2 + (int64_t)round));
        for (unsigned i = 0; i < 8; i++) {
            is_value(store, reducer[i], cop_i64(2 + (int64_t)round));
            CHECK_OK(cop_computed_dispose(store, reducer[i]));
            CHECK_OK(cop_computed_dispose(store, reducer[i]));
        }
        t_set_at(store, "in/b", cop_i64(1));
        t_erase_at(store, "in/b");
    }
    cop_atom last = define(store, NULL, "in/*", COP_REDUCE_COUNT);
    cop_txn *txn = t_begin(store); /* with all its children at once */
    CHECK_OK(cop_txn_erase_at(txn, P("in"), NULL));
    CHECK_OK(cop_txn_erase(txn, last));
    t_commit(txn);
    CHECK_STATUS(t_status(store, last), COP_E_GONE);
    t_close(store);
}
END_TEST

/* ---- memory ---- */

typedef struct world {
    cop_store *store;
    cop_atom source, sum, most, groups, top;
    twice t[2];
} world;

static void
world_open(world *w)
{
    w->store = t_open();
    w->source = t_make(w->store, "source", cop_i64(1));
    object(w->store, "in/a", cop_string("g", 1), cop_i64(1));
    object(w->store, "in/b", cop_string("h", 1), cop_i64(2));
    w->sum = define(w->store, "sum", "in/*/value", COP_REDUCE_SUM);
    w->most = define(w->store, "max", "in/*/value", COP_REDUCE_MAX);
    w->groups = define_group(w->store, "groups", "in/*", COP_REDUCE_SUM);
    w->top = define_top(w->store, "top", "in/*/value", 2);
    define_twice(w->store, "in/c/value", &w->t[0], w->source);
}

/* A commit that touches all of it; may be refused. */
static cop_status
world_change(world *w)
{
    cop_txn *txn = t_begin(w->store);
    cop_value i = cop_i64(0), key = cop_string("h", 1);
    char path[32];
    cop_status status = COP_OK;
    for (unsigned n = 0; status == COP_OK && n < 40; n++) {
        (void)snprintf(path, sizeof path, "in/n%u/value", n);
        i = cop_i64((int64_t)n);
        status = cop_txn_set_at(txn, P(path), &i, NULL);
        (void)snprintf(path, sizeof path, "in/n%u/key", n);
        if (status == COP_OK)
            status = cop_txn_set_at(txn, P(path), n % 2 ? &i : &key, NULL);
    }
    if (status == COP_OK)
        status = cop_txn_erase_at(txn, P("in/a"), NULL);
    if (status == COP_OK)
        status = cop_txn_set_at(txn, P("in/b/key"), &i, NULL);
    if (status == COP_OK)
        status = cop_txn_set(txn, w->source, &i);
    if (status != COP_OK) {
        cop_txn_cancel(txn);
        return status;
    }
    return cop_txn_commit(txn, NULL, NULL);
}

static void
world_is(world *w, bool changed)
{
    is_value(w->store, w->sum, cop_i64(changed ? 780 + 2 + 78 : 5));
    is_value(w->store, w->most, cop_i64(changed ? 78 : 2));
    is_path(w->store, "top/0/value", cop_i64(changed ? 78 : 2));
    is_path(w->store, "groups/h", cop_i64(changed ? 380 : 2));
    if (!changed)
        is_path(w->store, "groups/g", cop_i64(1));
    else
        is_absent(w->store, "groups/g");
    is_path(w->store, "top/0/path",
            changed ? cop_string("in/c/value", 10) : cop_string("in/b/value", 10));
    t_graph_holds(w->store, 1000, changed);
}

START_TEST(refused_memory_leaves_all_as_it_was)
{
    world w;
    bool fired = true;
    for (int64_t k = 1; fired; k++) {
        world_open(&w);
        fault_alloc_arm(&t_faults, k, false);
        cop_status status = world_change(&w);
        fired = fault_alloc_fired(&t_faults);
        fault_alloc_disarm(&t_faults);
        world_is(&w, status == COP_OK);
        if (status != COP_OK) {
            ck_assert_int_eq(status, COP_E_MEMORY);
            CHECK_OK(world_change(&w));
            world_is(&w, true);
        }
        t_verify(w.store);
        t_close(w.store);
    }
}
END_TEST

START_TEST(refused_definitions_leave_nothing)
{
    bool by_hook = _i == 1, fired = true; /* which sees the requests that need no allocator too */
    for (int64_t k = 1; fired; k++) {
        cop_store *store = t_open();
        cop__memory *memory = cop__store_memory(store);
        cop_atom a, b;
        object(store, "in/a", cop_string("g", 1), cop_i64(1));
        object(store, "in/b", cop_string("h", 1), cop_i64(2));
        if (by_hook)
            atomic_store(&memory->fail_countdown, k - 1);
        else
            fault_alloc_arm(&t_faults, k, false);
        cop_status one = cop_reduce_define(store, P("sum"), P("in/*/value"), COP_REDUCE_SUM, NULL, &a,
                                           NULL);
        cop_status two = cop_group_define(store, P("groups"), P("in/*"), "key", "value",
                                          COP_REDUCE_SUM, NULL, &b, NULL);
        fired = by_hook ? atomic_exchange(&memory->fail_countdown, -1) < 0
                        : fault_alloc_fired(&t_faults);
        fault_alloc_disarm(&t_faults);
        t_graph_holds(store, 1000, false);
        if (one != COP_OK)
            CHECK_OK(cop_reduce_define(store, P("sum"), P("in/*/value"), COP_REDUCE_SUM, NULL, &a,
                                       NULL));
        if (two != COP_OK)
            CHECK_OK(cop_group_define(store, P("groups"), P("in/*"), "key", "value", COP_REDUCE_SUM,
                                      NULL, &b, NULL));
        t_set_at(store, "in/b/value", cop_i64(5));
        is_value(store, a, cop_i64(6));
        is_path(store, "groups/h", cop_i64(5));
        t_close(store);
    }
}
END_TEST

/* A conflict abandons the draft after the wave has not yet run, a bad operation before. */
START_TEST(failed_transactions_leave_all_as_it_was)
{
    world w;
    world_open(&w);
    cop_txn *txn = t_begin(w.store);
    cop_value one = cop_i64(1);
    CHECK_OK(cop_txn_set_at(txn, P("in/z/value"), &one, NULL));
    CHECK_OK(cop_txn_set_at(txn, P("sum"), &one, NULL));
    t_commit_fails(w.store, txn, COP_E_COMPUTED);
    world_is(&w, false);
    CHECK_OK(world_change(&w));
    world_is(&w, true);
    t_close(w.store);
}
END_TEST

/* ---- beside others ---- */

START_TEST(many_computed_children_on_a_pool)
{
    enum { N = 4000 };
    cop_store *store = t_open();
    cop_pool_options options = COP_POOL_OPTIONS_INIT;
    cop_pool *pool;
    twice *t = calloc(N, sizeof *t);
    options.threads = 2;
    CHECK_OK(cop_pool_open(&options, &pool, NULL));
    CHECK_OK(cop_store_set_pool(store, pool));
    cop_atom source = t_make(store, "source", cop_i64(1));
    cop_atom sum = define(store, NULL, "in/*", COP_REDUCE_SUM);
    cop_txn *txn = t_begin(store);
    for (unsigned i = 0; i < N; i++) {
        char path[32];
        (void)snprintf(path, sizeof path, "in/%u", i);
        t[i].of = source;
        CHECK_OK(cop_txn_define(txn, P(path), twice_function, &t[i], NULL, NULL, NULL));
    }
    t_commit(txn);
    for (int64_t i = 1; i < 200; i++) {
        t_set(store, source, cop_i64(i));
        is_value(store, sum, cop_i64(2 * N * i));
    }
    t_close(store);
    cop_pool_close(pool);
    free(t);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_test(tests, sum_follows_children);
    tcase_add_test(tests, all_numbers_by_name);
    tcase_add_test(tests, sums_overflow_and_recover);
    tcase_add_test(tests, no_numbers_are_named_and_go_away);
    tcase_add_test(tests, not_finite_come_and_go);
    tcase_add_test(tests, order_and_history_do_not_matter);
    tcase_add_test(tests, custom_folds_in_order_of_path);
    tcase_add_test(tests, children_may_be_computed);
    tcase_add_test(tests, lazy_children_become_eager);
    tcase_add_test(tests, reducers_of_reducers);
    tcase_add_test(tests, no_child_of_itself);
    tcase_add_test(tests, circles_are_errors_until_broken);
    tcase_add_test(tests, names_with_asterisks);
    tcase_add_test(tests, elements_of_arrays_match_none);
    tcase_add_test(tests, erased_and_made_again_in_one_commit);
    tcase_add_test(tests, children_in_owned_branches);
    tcase_add_test(tests, top_owns_a_branch);
    tcase_add_test(tests, groups_follow_keys_and_values);
    tcase_add_test(tests, a_change_within_a_group_looks_at_no_other);
    tcase_add_test(tests, groups_of_computed_children);
    tcase_add_test(tests, tops_within_groups);
    tcase_add_test(tests, what_is_refused);
    tcase_add_test(tests, disposal_and_what_is_left);
    tcase_add_test(tests, refused_memory_leaves_all_as_it_was);
    tcase_add_loop_test(tests, refused_definitions_leave_nothing, 0, 2);
    tcase_add_test(tests, failed_transactions_leave_all_as_it_was);
    tcase_add_test(tests, many_computed_children_on_a_pool);
}

int
main(void)
{
    return t_run("reduce", add);
}

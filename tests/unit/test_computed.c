/* SPDX-License-Identifier: MIT */
/* What computed.h says, rule by rule. */
#include <math.h>
#include <pthread.h>

#include <coppice/computed.h>

#include "reclaim/memory.h"
#include "store/store_internal.h"
#include "tests/support/store_test.h"

/* A function with what it reads, and what happened to it. */
typedef struct node node;
struct node {
    cop_store *store;
    cop_atom a, b, self;
    const char *path;
    unsigned runs, destroyed;
    cop_status seen[32];
};

static cop_atom
define_with(cop_store *store, const char *path, cop_computed_function function, void *context,
            const cop_computed_options *options)
{
    cop_atom atom = COP_ATOM_NONE_INIT;
    cop_error error = COP_ERROR_INIT;

    ck_assert_msg(cop_computed_define(store, path, path != NULL ? strlen(path) : 0, function,
                                      context, options, &atom, &error) == COP_OK,
                  "define: %s", error.message);
    return atom;
}

static cop_atom
define(cop_store *store, const char *path, cop_computed_function function, void *context)
{
    return define_with(store, path, function, context, NULL);
}

/* The newest value, as text. Static. */
static const char *
now(cop_store *store, cop_atom atom)
{
    static char text[2000];
    cop_pin_t pin = cop_pin(store);
    cop_value v;
    cop_status status = cop_get(pin.snapshot, atom, &v);

    if (status != COP_OK)
        snprintf(text, sizeof text, "%s", cop_status_name(status));
    else if (cop_value_is_text(&v))
        snprintf(text, sizeof text, "%s: %.*s", cop_type_name((cop_type)v.type),
                 (int)cop_value_length(&v), cop_value_data(&v));
    else if (v.type == COP_F64)
        snprintf(text, sizeof text, "%g", cop_value_f64(&v));
    else
        snprintf(text, sizeof text, "%" PRId64, cop_value_i64(&v));
    cop_unpin(pin);
    return text;
}

#define IS(atom, expected) ck_assert_str_eq(now(store, atom), expected)

/* a + 1 */
static cop_status
plus_one(cop_evaluation *e, void *context, cop_value *result)
{
    node *n = context;
    int64_t a;
    cop_status status = cop_read_i64(e, n->a, &a);

    n->runs++;
    if (status == COP_OK)
        *result = cop_i64(a + 1);
    return status;
}

static cop_status
sum(cop_evaluation *e, void *context, cop_value *result)
{
    node *n = context;
    int64_t a, b = 0;
    cop_status status = cop_read_i64(e, n->a, &a);

    n->runs++;
    if (status == COP_OK)
        status = cop_read_i64(e, n->b, &b);
    if (status == COP_OK)
        *result = cop_i64(a + b);
    return status;
}

/* What is at a path, plus one; -1 when nothing is. */
static cop_status
at_path(cop_evaluation *e, void *context, cop_value *result)
{
    node *n = context;
    cop_value v;
    cop_status status = cop_read_at(e, n->path, strlen(n->path), &v);

    n->runs++;
    if (status == COP_E_ABSENT) {
        *result = cop_i64(-1);
        return COP_OK;
    }
    if (status != COP_OK)
        return status;
    if (v.type == COP_ERROR)
        return COP_E_FAILED;
    *result = cop_i64(v.type == COP_I64 ? cop_value_i64(&v) + 1 : v.type);
    return COP_OK;
}

static cop_status
sign(cop_evaluation *e, void *context, cop_value *result)
{
    node *n = context;
    int64_t a;
    cop_status status = cop_read_i64(e, n->a, &a);

    n->runs++;
    if (status == COP_OK)
        *result = cop_bool(a < 0);
    return status;
}

/* --- what runs ------------------------------------------------------------------------ */

START_TEST(a_change_runs_what_read_it)
{
    cop_store *store = t_open();
    node x = {.a = t_make(store, "s", cop_i64(1))};
    cop_atom atom = define(store, "x", plus_one, &x);

    IS(atom, "2");
    ck_assert_uint_eq(x.runs, 1);
    t_set(store, x.a, cop_i64(5));
    IS(atom, "6");
    ck_assert_uint_eq(x.runs, 2);
    t_set(store, x.a, cop_i64(5));
    t_set_at(store, "other", cop_i64(5));
    ck_assert_uint_eq(x.runs, 2);
    t_close(store);
}
END_TEST

START_TEST(an_equal_value_stops_there)
{
    cop_store *store = t_open();
    node s = {.a = t_make(store, "s", cop_i64(1))}, after = {0};

    after.a = define(store, "sign", sign, &s);
    after.path = "sign";
    define(store, "after", at_path, &after);
    t_set(store, s.a, cop_i64(7));
    ck_assert_uint_eq(s.runs, 2);
    ck_assert_uint_eq(after.runs, 1);
    t_set(store, s.a, cop_i64(-7));
    ck_assert_uint_eq(after.runs, 2);
    t_close(store);
}
END_TEST

START_TEST(a_diamond_runs_once)
{
    cop_store *store = t_open();
    node left = {.a = t_make(store, "s", cop_i64(1))}, right = left, far = {0}, join = {0};
    cop_atom atom;

    join.a = define(store, "left", plus_one, &left);
    far.a = define(store, "right", plus_one, &right);
    join.b = define(store, "far", plus_one, &far);
    atom = define(store, "join", sum, &join);
    IS(atom, "5");
    t_set(store, left.a, cop_i64(10));
    IS(atom, "23");
    ck_assert_uint_eq(join.runs, 2);
    ck_assert_uint_eq(far.runs, 2);
    t_close(store);
}
END_TEST

/* a when it is not negative, else b. */
static cop_status
choose(cop_evaluation *e, void *context, cop_value *result)
{
    node *n = context;
    int64_t a;
    cop_status status = cop_read_i64(e, n->a, &a);

    n->runs++;
    if (status == COP_OK && a < 0)
        return cop_read(e, n->b, result);
    *result = cop_i64(a);
    return status;
}

START_TEST(dependencies_are_what_was_read)
{
    cop_store *store = t_open();
    node x = {.a = t_make(store, "a", cop_i64(1)), .b = t_make(store, "b", cop_i64(2))};
    cop_atom atom = define(store, "x", choose, &x);

    t_set(store, x.b, cop_i64(3));
    ck_assert_uint_eq(x.runs, 1);
    t_set(store, x.a, cop_i64(-1));
    IS(atom, "3");
    t_set(store, x.b, cop_i64(4));
    IS(atom, "4");
    ck_assert_uint_eq(x.runs, 3);
    t_set(store, x.a, cop_i64(9));
    t_set(store, x.b, cop_i64(5));
    ck_assert_uint_eq(x.runs, 4);
    t_close(store);
}
END_TEST

static cop_status
peek(cop_evaluation *e, void *context, cop_value *result)
{
    node *n = context;
    cop_value v;
    cop_status status = cop_read(e, n->a, &v);

    n->runs++;
    return status == COP_OK ? cop_read_untracked(e, n->b, result) : status;
}

START_TEST(untracked_reads_depend_on_nothing)
{
    cop_store *store = t_open();
    node x = {.a = t_make(store, "a", cop_i64(1)), .b = t_make(store, "b", cop_i64(2))};
    cop_atom atom = define(store, "x", peek, &x);

    t_set(store, x.b, cop_i64(3));
    IS(atom, "2");
    ck_assert_uint_eq(x.runs, 1);
    t_set(store, x.a, cop_i64(2));
    IS(atom, "3");
    t_close(store);
}
END_TEST

START_TEST(written_back_runs_nothing)
{
    cop_store *store = t_open();
    node x = {.a = t_make(store, "s", cop_i64(1))};
    uint64_t version;
    cop_value two = cop_i64(2), one = cop_i64(1);
    cop_txn *txn;

    define(store, "x", plus_one, &x);
    version = cop_store_version(store);
    txn = t_begin(store);
    CHECK_OK(cop_txn_set(txn, x.a, &two));
    CHECK_OK(cop_txn_set(txn, x.a, &one));
    ck_assert_uint_eq(t_commit(txn), version);
    ck_assert_uint_eq(x.runs, 1);
    t_close(store);
}
END_TEST

static bool
near(void *context, const cop_value *before, const cop_value *after)
{
    node *n = context;

    n->destroyed += 100; /* counts the calls */
    return llabs(cop_value_i64(before) - cop_value_i64(after)) < 10;
}

START_TEST(an_equality_of_ones_own)
{
    cop_store *store = t_open();
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    node x = {.a = t_make(store, "s", cop_i64(1))}, y = {0};
    cop_atom atom;

    options.equal = near;
    y.a = define_with(store, "x", plus_one, &x, &options);
    atom = define(store, "y", plus_one, &y);
    t_set(store, x.a, cop_i64(8));
    IS(y.a, "2");
    ck_assert_uint_eq(y.runs, 1);
    t_set(store, x.a, cop_i64(30));
    IS(y.a, "31");
    IS(atom, "32");
    t_close(store);
}
END_TEST

/* --- missing atoms, paths, lists --------------------------------------------------------- */

START_TEST(paths_that_lead_nowhere_yet)
{
    cop_store *store = t_open();
    node x = {.path = "later/on"};
    cop_atom atom = define(store, "x", at_path, &x);

    IS(atom, "-1");
    t_set_at(store, "later/off", cop_i64(4));
    ck_assert_uint_eq(x.runs, 1);
    t_set_at(store, "later/on", cop_i64(4));
    IS(atom, "5");
    t_set_at(store, "later/on", cop_i64(5));
    IS(atom, "6");
    t_erase_at(store, "later");
    IS(atom, "-1");
    t_set_at(store, "later/on", cop_i64(7));
    IS(atom, "8");
    t_close(store);
}
END_TEST

START_TEST(what_is_gone_is_told)
{
    cop_store *store = t_open();
    node x = {.a = t_make(store, "s", cop_i64(1))};
    cop_atom atom = define(store, "x", plus_one, &x);

    t_erase(store, x.a);
    IS(atom, "error: the atom has been erased");
    t_set_at(store, "s", cop_i64(1));
    IS(atom, "error: the atom has been erased");
    t_close(store);
}
END_TEST

START_TEST(paths_below_a_value_and_malformed_ones)
{
    cop_store *store = t_open();
    node x = {.a = t_make(store, "s", cop_i64(1))}, below = {.path = "x/deep"}, own = {.path = "own/x"},
         bad = {.path = "a//b"};
    cop_atom atom;

    define(store, "x", plus_one, &x);
    atom = define(store, "below", at_path, &below);
    IS(atom, "-1");
    t_set(store, x.a, cop_i64(2)); /* a value will never have children */
    ck_assert_uint_eq(below.runs, 1);
    atom = define(store, "own", at_path, &own);
    IS(atom, "-1");
    atom = define(store, "bad", at_path, &bad);
    IS(atom, "error: malformed path");
    t_close(store);
}
END_TEST

START_TEST(positions_in_an_array)
{
    cop_store *store = t_open();
    node x = {.path = "list/1"};
    cop_value array = cop_array(), one = cop_i64(1), two = cop_i64(2);
    cop_txn *txn = t_begin(store);
    cop_atom list, atom;

    CHECK_OK(cop_txn_set_child(txn, cop_root(), P("list"), &array, &list));
    CHECK_OK(cop_txn_insert(txn, list, 0, &one, NULL));
    t_commit(txn);
    atom = define(store, "x", at_path, &x);
    IS(atom, "-1");
    txn = t_begin(store);
    CHECK_OK(cop_txn_insert(txn, list, 0, &two, NULL));
    t_commit(txn);
    IS(atom, "2");
    t_erase_at(store, "list/0");
    IS(atom, "-1");
    t_close(store);
}
END_TEST

static int
add_child(void *context, const cop_child *child)
{
    *(int64_t *)context += child->value.type == COP_I64 ? cop_value_i64(&child->value) : 1000;
    return 0;
}

static cop_status
total(cop_evaluation *e, void *context, cop_value *result)
{
    node *n = context;
    int64_t all = 0;
    int stopped;
    cop_status status = cop_read_each(e, n->a, add_child, &all, &stopped);

    n->runs++;
    *result = cop_i64(all);
    return status;
}

static cop_status
count(cop_evaluation *e, void *context, cop_value *result)
{
    node *n = context;
    uint32_t children;
    cop_status status = cop_read_count(e, n->a, &children);

    n->runs++;
    *result = cop_i64(children);
    return status;
}

/* Of few children and of many: lists are kept in two ways. */
START_TEST(children_of_a_branch)
{
    cop_store *store = t_open();
    node all = {0}, number = {0};
    cop_atom a, b;

    t_set_at(store, "o/first", cop_i64(1));
    all.a = number.a = t_find(store, "o");
    a = define(store, "all", total, &all);
    b = define(store, "number", count, &number);
    for (int i = 2; i < 100; i++) {
        char path[32];
        snprintf(path, sizeof path, "o/k%d", i);
        t_set_at(store, path, cop_i64(1));
        ck_assert_int_eq(atoi(now(store, a)), i);
        ck_assert_int_eq(atoi(now(store, b)), i);
    }
    ck_assert_uint_eq(number.runs, 99);
    t_set_at(store, "o/first", cop_i64(2));
    ck_assert_uint_eq(number.runs, 99); /* the list only */
    IS(a, "100");
    t_erase_at(store, "o/k7");
    IS(a, "99");
    IS(b, "98");
    t_erase_at(store, "o");
    IS(b, "error: the atom has been erased");
    t_close(store);
}
END_TEST

/* --- errors --------------------------------------------------------------------------------- */

static cop_status
fails(cop_evaluation *e, void *context, cop_value *result)
{
    node *n = context;
    int64_t a;
    cop_status status = cop_read_i64(e, n->a, &a);

    n->runs++;
    if (status != COP_OK)
        return status;
    switch (a) {
    case 1: return cop_fail(e, "one is %s", "bad");
    case 2: return COP_E_RANGE;
    case 3: *result = cop_f64(NAN); return COP_OK;
    case 4: *result = cop_object(); return COP_OK;
    case 5: (void)cop_fail(e, "never mind"); break;
    case 6: return COP_E_FAILED;
    case 7: return (cop_status)7;
    case 8: return cop_fail(e, "%s", "");
    default: break;
    }
    *result = cop_i64(a);
    return COP_OK;
}

START_TEST(errors_and_recovery)
{
    cop_store *store = t_open();
    node x = {.a = t_make(store, "s", cop_i64(0))}, y = {.path = "x"}, z = {.a = x.a};
    cop_atom a = define(store, "x", fails, &x), b = define(store, "y", at_path, &y);
    node typed = {.a = a};
    cop_atom c = define(store, "typed", plus_one, &typed), d = define(store, "z", plus_one, &z);
    static const char *const texts[] = {"error: one is bad", "error: out of range",
                                        "error: the result is not a finite number",
                                        "error: the result is no value"};

    for (int i = 1; i <= 4; i++) {
        t_set(store, x.a, cop_i64(i));
        IS(a, texts[i - 1]);
        IS(b, texts[i - 1]);
        IS(c, texts[i - 1]);
    }
    t_set(store, x.a, cop_i64(5));
    IS(a, "5");
    IS(c, "6");
    t_set(store, x.a, cop_i64(6));
    IS(a, "error: the function of a computed atom failed"); /* not what another run said */
    IS(c, "error: the function of a computed atom failed");
    t_set(store, x.a, cop_i64(7));
    IS(a, "error: the function of a computed atom failed");
    t_set(store, x.a, cop_i64(8));
    IS(a, "error: failed");
    t_set(store, x.a, cop_string("text", 4));
    IS(d, "error: expected i64, found string");
    IS(a, "error: expected i64, found string");
    t_set(store, x.a, cop_i64(9));
    IS(b, "10");
    IS(d, "10");
    t_close(store);
}
END_TEST

static cop_status
long_text(cop_evaluation *e, void *context, cop_value *result)
{
    node *n = context;
    int64_t a;
    cop_status status = cop_read_i64(e, n->a, &a);

    if (status != COP_OK)
        return status;
    char *text = cop_scratch(e, (size_t)a);
    if (text == NULL)
        return COP_E_MEMORY;
    memset(text, 'x', (size_t)a);
    *result = cop_string(text, (size_t)a);
    return COP_OK;
}

START_TEST(scratch_lives_until_the_result_is_taken)
{
    cop_store *store = t_open();
    node x = {.a = t_make(store, "s", cop_i64(100))};
    cop_atom atom = define(store, "x", long_text, &x);

    ck_assert_uint_eq(strlen(now(store, atom)), 8 + 100);
    t_set(store, x.a, cop_i64(1500));
    ck_assert_uint_eq(strlen(now(store, atom)), 8 + 1500);
    t_close(store);
}
END_TEST

/* --- circles --------------------------------------------------------------------------------- */

START_TEST(a_circle_names_its_path_and_heals)
{
    cop_store *store = t_open();
    node x = {.path = "y"}, y = {.path = "z"}, z = {.path = "x"}, outside = {.path = "y"};
    cop_atom a = define(store, "x", at_path, &x), b = define(store, "y", at_path, &y), c, d;

    d = define(store, "outside", at_path, &outside);
    IS(a, "0");
    c = define(store, "z", at_path, &z);
    IS(a, "error: cycle: x -> y -> z -> x");
    IS(b, "error: cycle: x -> y -> z -> x");
    IS(c, "error: cycle: x -> y -> z -> x");
    IS(d, "error: cycle: x -> y -> z -> x");
    CHECK_OK(cop_computed_dispose(store, c));
    IS(b, "-1");
    IS(a, "0");
    IS(d, "0");
    t_set_at(store, "z", cop_i64(10));
    IS(a, "12");
    IS(d, "12");
    t_close(store);
}
END_TEST

START_TEST(a_circle_by_a_changing_dependency)
{
    cop_store *store = t_open();
    node x = {.a = t_make(store, "s", cop_i64(1))}, y = {0}, own = {.path = "own"};
    cop_value minus = cop_i64(-1);
    cop_atom a, b;

    a = define(store, "x", choose, &x);
    y.a = a;
    b = x.b = define(store, "y", plus_one, &y);
    IS(b, "2");
    t_set(store, x.a, minus);
    IS(a, "error: cycle: x -> y -> x");
    IS(b, "error: cycle: x -> y -> x");
    t_set(store, x.a, cop_i64(4));
    IS(a, "4");
    IS(b, "5");
    a = define(store, "own", at_path, &own);
    IS(a, "error: cycle: own -> own");
    t_close(store);
}
END_TEST

/* Names too long for the message are left out, and counted. */
START_TEST(a_circle_of_long_names)
{
    cop_store *store = t_open();
    char *name[3];
    node n[3] = {{0}, {0}, {0}};
    cop_atom atom[3];

    for (unsigned i = 0; i < 3; i++) {
        name[i] = t_bytes(1015 + 1000 * i, i);
        n[i].path = name[i];
    }
    for (unsigned i = 0; i < 3; i++) {
        n[i].path = name[(i + 1) % 3];
        atom[i] = define(store, name[i], at_path, &n[i]);
    }
    for (unsigned i = 0; i < 3; i++)
        ck_assert_msg(strncmp(now(store, atom[i]), "error: cycle: ", 14) == 0, "%s",
                      now(store, atom[i]));
    t_close(store);
    for (unsigned i = 0; i < 3; i++)
        free(name[i]);
}
END_TEST

/* --- definitions ------------------------------------------------------------------------------ */

static void
destroyed(void *context)
{
    ((node *)context)->destroyed++;
}

static cop_status
reads_itself_known(cop_evaluation *e, void *context, cop_value *result)
{
    node *n = context;

    (void)e;
    n->runs++;
    *result = cop_bool(n->self.generation != 0 && n->self.generation < UINT16_MAX);
    return COP_OK;
}

START_TEST(a_definition_in_a_transaction)
{
    cop_store *store = t_open();
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    node x = {0}, y = {.a = t_make(store, "s", cop_i64(1))}, z = {.path = "y"};
    cop_txn *txn = t_begin(store);

    options.destroy = destroyed;
    CHECK_OK(cop_txn_define(txn, P("z"), at_path, &z, NULL, &z.self, NULL));
    CHECK_OK(cop_txn_define(txn, NULL, 0, reads_itself_known, &x, NULL, &x.self, NULL));
    CHECK_OK(cop_txn_define(txn, P("y"), plus_one, &y, &options, &y.self, NULL));
    t_commit(txn);
    IS(x.self, "1"); /* the handle was there before the first run */
    IS(y.self, "2");
    IS(z.self, "3");
    txn = t_begin(store); /* fails as a whole */
    CHECK_OK(cop_txn_define(txn, P("w"), plus_one, &x, &options, NULL, NULL));
    CHECK_OK(cop_txn_define(txn, P("y"), plus_one, &x, &options, NULL, NULL));
    t_commit_fails(store, txn, COP_E_STATE);
    ck_assert_uint_eq(x.runs, 1);
    ck_assert_uint_eq(x.destroyed, 0);
    txn = t_begin(store); /* made and erased */
    CHECK_OK(cop_txn_define(txn, P("w"), plus_one, &x, &options, &x.b, NULL));
    CHECK_OK(cop_txn_erase(txn, x.b));
    t_commit(txn);
    ck_assert_uint_eq(x.runs, 1);
    ck_assert_uint_eq(x.destroyed, 1);
    t_set_at(store, "w", cop_i64(3));
    t_close(store);
    ck_assert_uint_eq(y.destroyed, 1);
}
END_TEST

START_TEST(definitions_that_are_refused)
{
    cop_store *store = t_open();
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    cop_error error = COP_ERROR_INIT;
    node x = {0};
    cop_atom atom;

    options.destroy = destroyed;
    t_set_at(store, "s", cop_i64(1));
    CHECK_STATUS(cop_computed_define(store, P("s"), plus_one, &x, &options, &atom, &error), COP_E_STATE);
    CHECK_STATUS(cop_computed_define(store, P("s/x"), plus_one, &x, &options, &atom, &error),
                 COP_E_NOT_BRANCH);
    CHECK_STATUS(cop_computed_define(store, P("a//b"), plus_one, &x, &options, &atom, &error),
                 COP_E_PATH);
    CHECK_STATUS(cop_computed_define(store, P(""), plus_one, &x, &options, &atom, &error),
                 COP_E_INVALID);
    CHECK_STATUS(cop_computed_define(store, P("x"), NULL, &x, &options, &atom, &error),
                 COP_E_INVALID);
    options.kind = (cop_computed_kind)9;
    CHECK_STATUS(cop_computed_define(store, P("x"), plus_one, &x, &options, &atom, &error),
                 COP_E_INVALID);
    options.kind = COP_EAGER;
    options.size = sizeof options + 1;
    CHECK_STATUS(cop_computed_define(store, P("x"), plus_one, &x, &options, &atom, &error),
                 COP_E_INVALID);
    ck_assert_uint_eq(x.runs + x.destroyed, 0);
    t_verify(store);
    t_close(store);
}
END_TEST

/* --- disposal ---------------------------------------------------------------------------------- */

START_TEST(disposal_tells_readers_and_destroys_once)
{
    cop_store *store = t_open();
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    node x = {.a = t_make(store, "s", cop_i64(1))}, y = {0}, z = {.path = "x"};
    cop_atom b, c;
    const cop_snapshot *before;

    options.destroy = destroyed;
    y.a = define_with(store, "x", plus_one, &x, &options);
    b = define(store, "y", plus_one, &y);
    c = define(store, "z", at_path, &z);
    before = t_take(store);
    CHECK_OK(cop_computed_dispose(store, y.a));
    CHECK_OK(cop_computed_dispose(store, y.a));
    IS(y.a, "COP_E_GONE");
    IS(b, "error: the atom has been erased");
    IS(c, "-1");
    ck_assert_uint_eq(x.destroyed, 1);
    t_set(store, x.a, cop_i64(2));
    ck_assert_uint_eq(x.runs, 1);
    cop_snapshot_drop(before);
    y.a = define_with(store, "x", plus_one, &x, &options);
    IS(c, "4");
    t_erase_at(store, "x"); /* the same */
    ck_assert_uint_eq(x.destroyed, 2);
    define_with(store, "x", plus_one, &x, &options);
    t_close(store);
    ck_assert_uint_eq(x.destroyed, 3);
}
END_TEST

static cop_status
ends_itself(cop_evaluation *e, void *context, cop_value *result)
{
    node *n = context;
    int64_t a;
    cop_status status = cop_read_i64(e, n->a, &a);

    n->runs++;
    if (status == COP_OK && a == 2)
        CHECK_OK(cop_computed_dispose(n->store, n->self));
    *result = cop_i64(a);
    return status;
}

START_TEST(disposal_inside_its_own_function)
{
    cop_store *store = t_open();
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    node x = {.store = store, .a = t_make(store, "s", cop_i64(1))}, y = {0}, z = x;

    options.destroy = destroyed;
    y.a = x.self = define_with(store, "x", ends_itself, &x, &options);
    y.self = define(store, "y", plus_one, &y);
    t_set(store, x.a, cop_i64(2));
    IS(x.self, "COP_E_GONE");
    IS(y.self, "error: the atom has been erased");
    ck_assert_uint_eq(x.destroyed, 1);
    ck_assert_uint_eq(x.runs, 2);
    cop_txn *txn = t_begin(store); /* in its first run */
    CHECK_OK(cop_txn_define(txn, P("z"), ends_itself, &z, &options, &z.self, NULL));
    t_commit(txn);
    IS(z.self, "COP_E_GONE");
    ck_assert_uint_eq(z.destroyed, 1);
    t_close(store);
}
END_TEST

/* --- what is refused ----------------------------------------------------------------------------- */

START_TEST(writes_are_refused)
{
    cop_store *store = t_open();
    node x = {.a = t_make(store, "s", cop_i64(1))};
    cop_atom atom = define(store, "x", plus_one, &x);
    cop_value one = cop_i64(1), object = cop_object();
    uint64_t version = cop_store_version(store);

    for (int i = 0; i < 10; i++) {
        cop_txn *txn = t_begin(store);
        switch (i) {
        case 0: CHECK_OK(cop_txn_set(txn, atom, &one)); break;
        case 1: CHECK_OK(cop_txn_set_at(txn, P("x"), &one, NULL)); break;
        case 2: CHECK_OK(cop_txn_set_child(txn, cop_root(), P("x"), &one, NULL)); break;
        case 3: CHECK_OK(cop_txn_add(txn, atom, &one)); break;
        case 4: CHECK_OK(cop_txn_max(txn, atom, &one)); break;
        case 5: CHECK_OK(cop_txn_compare_set(txn, atom, &one, &one, NULL)); break;
        case 6: CHECK_OK(cop_txn_clear(txn, atom)); break;
        case 7: CHECK_OK(cop_txn_clear_at(txn, P("x"), NULL)); break;
        case 8: CHECK_OK(cop_txn_set_at(txn, P("x/below"), &one, NULL)); break;
        default: CHECK_OK(cop_txn_set(txn, atom, &object));
        }
        t_commit_fails(store, txn, COP_E_COMPUTED);
    }
    ck_assert_uint_eq(cop_store_version(store), version);
    ck_assert_uint_eq(x.runs, 1);
    IS(atom, "2");
    t_close(store);
}
END_TEST

static cop_status
transact_nothing(cop_txn *txn, void *context)
{
    (void)txn;
    (void)context;
    return COP_OK;
}

static cop_status
calls_everything(cop_evaluation *e, void *context, cop_value *result)
{
    node *n = context;
    cop_store *s = n->store;
    cop_txn *txn;
    cop_atom atom;
    cop_value v;
    unsigned i = 0;
    cop_status status = cop_read(e, n->a, &v);

    n->runs++;
    n->seen[i++] = cop_txn_begin(s, &txn);
    n->seen[i++] = cop_transact(s, transact_nothing, NULL, COP_FOREVER, NULL);
    n->seen[i++] = cop_flush(s, COP_FOREVER);
    n->seen[i++] = cop_atom_at(s, P("new"), &atom, NULL);
    n->seen[i++] = cop_computed_define(s, P("new"), plus_one, n, NULL, &atom, NULL);
    n->seen[i++] = cop_store_poll(s);
    n->runs = i;
    *result = v;
    return status;
}

START_TEST(calls_inside_an_evaluation_are_refused)
{
    cop_store *store = t_open();
    node x = {.store = store, .a = t_make(store, "s", cop_i64(1))};
    cop_atom atom = define(store, "x", calls_everything, &x);

    for (unsigned i = 0; i < x.runs; i++)
        ck_assert_msg(x.seen[i] == COP_E_IN_EVALUATION, "call %u: %s", i, cop_status_name(x.seen[i]));
    IS(atom, "1");
    t_close(store);
}
END_TEST

/* --- a long chain, with little stack ------------------------------------------------------- */

/* Slow builds, and those run for many a mutant, have a shorter one. */
#if defined(COP_PERTURB) || defined(COP_PLANTED_FAULTS) || defined(__SANITIZE_THREAD__)
enum { CHAIN = 20000 };
#else
enum { CHAIN = 1000000 };
#endif

typedef struct chain_link {
    const struct chain_link *before; /* NULL: reads the source, or a path */
    cop_atom self;
    char path[16];
} chain_link;

static cop_status
next_link(cop_evaluation *e, void *context, cop_value *result)
{
    const chain_link *l = context;
    cop_value v;
    cop_status status = l->before == NULL ? cop_read_at(e, l->path, strlen(l->path), &v)
                                          : cop_read(e, l->before->self, &v);

    if (status == COP_OK)
        *result = cop_i64(cop_value_i64(&v) + 1);
    return status;
}

/* Forward by handles; in reverse by paths, each new one missing what it reads. */
static void *
chain(void *context)
{
    bool reverse = *(const bool *)context;
    cop_store *store = t_open();
    chain_link *links = calloc(CHAIN, sizeof *links);
    char path[16], expected[16];
    cop_txn *txn;

    ck_assert_ptr_nonnull(links);
    t_set_at(store, "s", cop_i64(0));
    txn = t_begin(store);
    for (unsigned k = 0; k < CHAIN; k++) {
        unsigned i = reverse ? CHAIN - 1 - k : k;
        snprintf(path, sizeof path, "c%u", i);
        snprintf(links[i].path, sizeof links[i].path, i > 0 ? "c%u" : "s", i - 1);
        links[i].before = reverse || i == 0 ? NULL : &links[i - 1];
        CHECK_OK(cop_txn_define(txn, reverse ? path : NULL, reverse ? strlen(path) : 0, next_link,
                                &links[i], NULL, &links[i].self, NULL));
    }
    t_commit(txn);
    snprintf(expected, sizeof expected, "%d", CHAIN);
    IS(links[CHAIN - 1].self, expected);
    t_set_at(store, "s", cop_i64(100));
    snprintf(expected, sizeof expected, "%d", CHAIN + 100);
    IS(links[CHAIN - 1].self, expected);
    t_close(store);
    free(links);
    return NULL;
}

static void
with_little_stack(bool reverse)
{
    pthread_attr_t attributes;
    pthread_t thread;

    ck_assert_int_eq(pthread_attr_init(&attributes), 0);
    ck_assert_int_eq(pthread_attr_setstacksize(&attributes, 65536), 0);
    ck_assert_int_eq(pthread_create(&thread, &attributes, chain, &reverse), 0);
    pthread_join(thread, NULL);
    pthread_attr_destroy(&attributes);
}

START_TEST(a_long_chain)
{
    with_little_stack(_i != 0);
}
END_TEST

/* --- out of memory ------------------------------------------------------------------------- */

enum { FOR_EVER = 1, BY_HOOK = 2, WAYS = 4, NODES = 40 };

typedef struct scene {
    cop_store *store;
    cop_atom source, atom[NODES + 1];
    node nodes[NODES + 1];
} scene;

static void
scene_make(scene *s)
{
    static char path[NODES][16];
    cop_options options = COP_OPTIONS_INIT;
    cop_computed_options computed = COP_COMPUTED_OPTIONS_INIT;

    memset(s, 0, sizeof *s);
    fault_alloc_init(&t_faults);
    options.allocator = fault_alloc_table(&t_faults);
    options.memory_chunk_bytes = 4096;
    options.memory_huge_pages = false;
    options.memory_on_limit = 1;
    options.memory_wait_ms = 0;
    CHECK_OK(cop_store_open(&options, &s->store, NULL));
    s->source = t_make(s->store, "s", cop_i64(3));
    t_set_at(s->store, "o/p", cop_i64(3));
    computed.destroy = destroyed;
    for (unsigned i = 0; i < NODES; i++)
        snprintf(path[i], sizeof path[i], "o/n%u", i);
    for (unsigned i = 0; i < NODES; i++) {
        static const cop_computed_function functions[] = {plus_one, choose, at_path, long_text, total};
        node *n = &s->nodes[i];
        *n = (node){.a = s->source, .b = i > 0 ? s->atom[i - 1] : s->source,
                    .path = i % 3 ? path[(i + 7) % NODES] : "o/p"};
        if (i % 5 == 4)
            n->a = t_find(s->store, i % 2 ? "o" : "");
        s->atom[i] = define_with(s->store, path[i], functions[i % 5], n, &computed);
    }
    s->nodes[NODES] = (node){.a = s->source, .path = "o/n1"};
}

static char *
scene_text(const scene *s)
{
    const cop_snapshot *snapshot = t_take(s->store);
    char *text = dump_tree(snapshot, DUMP_HANDLES);

    cop_snapshot_drop(snapshot);
    return text;
}

static cop_status
do_define(scene *s)
{
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;

    options.destroy = destroyed;
    options.label = "a label";
    return cop_computed_define(s->store, P("o/new"), at_path, &s->nodes[NODES], &options,
                               &s->atom[NODES], NULL);
}

static cop_status
do_wave(scene *s)
{
    cop_value value = cop_i64(-50);
    cop_txn *txn = NULL;
    cop_status status = cop_txn_begin(s->store, &txn);

    if (status == COP_OK)
        status = cop_txn_set(txn, s->source, &value);
    if (status == COP_OK)
        return cop_txn_commit(txn, NULL, NULL);
    cop_txn_cancel(txn);
    return status;
}

static cop_status
do_erase(scene *s)
{
    cop_txn *txn = NULL;
    cop_status status = cop_txn_begin(s->store, &txn);

    if (status == COP_OK)
        status = cop_txn_erase(txn, s->atom[1]);
    if (status == COP_OK)
        status = cop_txn_erase(txn, s->source);
    if (status == COP_OK)
        return cop_txn_commit(txn, NULL, NULL);
    cop_txn_cancel(txn);
    return status;
}

static cop_status (*const operations[])(scene *) = {do_define, do_wave, do_erase};
enum { OPERATIONS = sizeof operations / sizeof *operations };

/* What the operation, and then a change of all sources, give when memory does not run out. */
static void
undisturbed(int operation, char **after, char **later)
{
    scene s;

    scene_make(&s);
    CHECK_OK(operations[operation](&s));
    *after = scene_text(&s);
    t_set_at(s.store, "o/p", cop_i64(77));
    t_set_at(s.store, "s", cop_i64(8));
    *later = scene_text(&s);
    t_close(s.store);
}

/* The first line in which two texts differ. Static. */
static const char *
difference(const char *a, const char *b)
{
    static char text[400];

    while (*a != 0 && *b != 0) {
        size_t n = strcspn(a, "\n"), m = strcspn(b, "\n");
        if (n != m || memcmp(a, b, n) != 0)
            break;
        a += n + (a[n] != 0);
        b += m + (b[m] != 0);
    }
    snprintf(text, sizeof text, "%.*s, should be %.*s", (int)strcspn(b, "\n"), b,
             (int)strcspn(a, "\n"), a);
    return text;
}

static bool
refuse_one(int operation, int way, int64_t k, const char *expected, const char *later)
{
    scene s;
    cop__memory *memory;
    char *before, *text;
    unsigned ended = 0;
    bool untouched;
    cop_status status;

    scene_make(&s);
    memory = cop__store_memory(s.store);
    before = scene_text(&s);
    if (way & BY_HOOK) {
        atomic_store(&memory->fail_for_ever, (way & FOR_EVER) != 0);
        atomic_store(&memory->fail_countdown, k - 1);
    } else {
        fault_alloc_arm(&t_faults, k, (way & FOR_EVER) != 0);
    }
    status = operations[operation](&s);
    if (way & BY_HOOK) {
        int64_t left = atomic_exchange(&memory->fail_countdown, -1);
        untouched = way & FOR_EVER ? left > 0 : left >= 0;
    } else {
        fault_alloc_disarm(&t_faults);
        untouched = !fault_alloc_fired(&t_faults);
    }
    t_graph_holds(s.store, 1000, false);
    if (status != COP_OK) {
        ck_assert_msg(status == COP_E_MEMORY, "operation %d, way %d, k %" PRId64 ": %s", operation,
                      way, k, cop_status_name(status));
        text = scene_text(&s);
        ck_assert_msg(strcmp(before, text) == 0, "operation %d, way %d, k %" PRId64, operation, way, k);
        free(text);
        for (unsigned i = 0; i <= NODES; i++)
            ck_assert_uint_eq(s.nodes[i].destroyed, 0);
        CHECK_OK(operations[operation](&s));
    }
    text = scene_text(&s);
    /* A result that did not fit is an error value, until the next wave. */
    ck_assert_msg(strcmp(expected, text) == 0 || (!untouched && strstr(text, "no memory") != NULL),
                  "operation %d, way %d, k %" PRId64 ": %s", operation, way, k,
                  difference(expected, text));
    free(text);
    t_set_at(s.store, "o/p", cop_i64(77));
    t_set_at(s.store, "s", cop_i64(8));
    text = scene_text(&s);
    ck_assert_msg(strcmp(later, text) == 0, "later: operation %d, way %d, k %" PRId64 ": %s", operation,
                  way, k, difference(later, text));
    free(text);
    free(before);
    t_close(s.store);
    for (unsigned i = 0; i <= NODES; i++)
        ended += s.nodes[i].destroyed;
    ck_assert_uint_eq(ended, operation == 0 ? NODES + 1 : NODES);
    return untouched;
}

START_TEST(every_request_refused)
{
    int operation = _i / WAYS, way = _i % WAYS;
    char *after, *later;
    int64_t k = 1;

    undisturbed(operation, &after, &later);
    while (!refuse_one(operation, way, k, after, later)) {
        k++;
        ck_assert_int_lt(k, 5000);
    }
    if (way & BY_HOOK)
        ck_assert_int_gt(k, 5);
    free(after);
    free(later);
}
END_TEST

/* Whether a path leads anywhere: a run that reads nothing else, and so keeps its list. */
static cop_status
whether(cop_evaluation *evaluation, void *context, cop_value *result)
{
    cop_atom atom;
    cop_status status = cop_read_find(evaluation, P("list/0"), &atom);
    (void)context;
    *result = cop_i64(status == COP_OK);
    return status == COP_OK || status == COP_E_ABSENT ? COP_OK : status;
}

static cop_status
whether_text(cop_evaluation *evaluation, void *context, cop_value *result)
{
    static char text[400];
    int64_t found;
    cop_status status = cop_read_i64(evaluation, *(cop_atom *)context, &found);
    memset(text, found ? 'y' : 'n', sizeof text);
    *result = cop_string(text, sizeof text);
    return status;
}

static cop_status
append(cop_store *store, cop_atom list)
{
    cop_txn *txn = t_begin(store);
    cop_value value = cop_i64(1);
    cop_status status = cop_txn_insert(txn, list, COP_AT_END, &value, NULL);
    if (status == COP_OK)
        return cop_txn_commit(txn, NULL, NULL);
    cop_txn_cancel(txn);
    return status;
}

START_TEST(a_path_into_an_array_leads_where_it_led_when_a_wave_is_abandoned)
{
    bool refused = true;
    for (int64_t k = 0; refused; k++) {
        cop_store *store = t_open();
        t_set_at(store, "list", cop_array());
        cop_atom list = t_find(store, "list"), found, text;
        CHECK_OK(cop_computed_define(store, P("found"), whether, NULL, NULL, &found, NULL));
        CHECK_OK(cop_computed_define(store, P("text"), whether_text, &found, NULL, &text, NULL));
        atomic_store(&cop__store_memory(store)->fail_countdown, k);
        cop_status status = append(store, list);
        atomic_store(&cop__store_memory(store)->fail_countdown, -1);
        refused = status == COP_E_MEMORY;
        if (refused) {
            t_is_i64(store, found, 0);
            CHECK_OK(append(store, list));
        }
        t_is_i64(store, found, 1);
        t_close(store);
        ck_assert_int_lt(k, 1000);
    }
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_test(tests, a_change_runs_what_read_it);
    tcase_add_test(tests, an_equal_value_stops_there);
    tcase_add_test(tests, a_diamond_runs_once);
    tcase_add_test(tests, dependencies_are_what_was_read);
    tcase_add_test(tests, untracked_reads_depend_on_nothing);
    tcase_add_test(tests, written_back_runs_nothing);
    tcase_add_test(tests, an_equality_of_ones_own);
    tcase_add_test(tests, paths_that_lead_nowhere_yet);
    tcase_add_test(tests, what_is_gone_is_told);
    tcase_add_test(tests, paths_below_a_value_and_malformed_ones);
    tcase_add_test(tests, positions_in_an_array);
    tcase_add_test(tests, children_of_a_branch);
    tcase_add_test(tests, errors_and_recovery);
    tcase_add_test(tests, scratch_lives_until_the_result_is_taken);
    tcase_add_test(tests, a_circle_names_its_path_and_heals);
    tcase_add_test(tests, a_circle_by_a_changing_dependency);
    tcase_add_test(tests, a_circle_of_long_names);
    tcase_add_test(tests, a_definition_in_a_transaction);
    tcase_add_test(tests, definitions_that_are_refused);
    tcase_add_test(tests, disposal_tells_readers_and_destroys_once);
    tcase_add_test(tests, disposal_inside_its_own_function);
    tcase_add_test(tests, writes_are_refused);
    tcase_add_test(tests, calls_inside_an_evaluation_are_refused);
    tcase_add_loop_test(tests, a_long_chain, 0, 2);
    tcase_add_loop_test(tests, every_request_refused, 0, OPERATIONS * WAYS);
    tcase_add_test(tests, a_path_into_an_array_leads_where_it_led_when_a_wave_is_abandoned);
}

int
main(void)
{
    return t_run("computed", add);
}

/* SPDX-License-Identifier: MIT */
/* Definitions that are refused: what each says, that the handle is none and the store as it was,
 * and that no request for memory is missed. */
#include <coppice/computed.h>
#include <coppice/effect.h>
#include <coppice/reduce.h>

#include "store/store_internal.h"
#include "tests/support/store_test.h"

static cop_store *store;
static cop_atom source;

static void
setup(void)
{
    store = t_open();
    source = t_make(store, "source", cop_i64(1));
    t_set_at(store, "in/a/key", cop_string(P("k")));
    t_set_at(store, "in/a/value", cop_i64(3));
}

static void
teardown(void)
{
    t_close(store);
}

static cop_status
copies(cop_evaluation *evaluation, void *context, cop_value *result)
{
    (void)context;
    return cop_read(evaluation, source, result);
}

static cop_status
combine(void *context, cop_value *sum, const cop_value *value)
{
    (void)context;
    (void)sum;
    (void)value;
    return COP_OK;
}

/* --- what is said ------------------------------------------------------------------------------
 */

typedef struct refusal {
    const char *path, *message;
    cop_computed_kind kind;
    cop_status status;
    bool branch, no_function;
    long size; /* to be added to the options' */
} refusal;

static const refusal refusals[] = {
    {"x", "a computed atom needs a function", COP_EAGER, COP_E_INVALID, .no_function = true},
    {"", "the root cannot be computed", COP_EAGER, COP_E_INVALID, false, false, 0},
    {NULL, "only an eager atom with a path can own a branch", COP_EAGER, COP_E_INVALID,
     .branch = true},
    {"x", "only an eager atom with a path can own a branch", COP_LAZY, COP_E_INVALID,
     .branch = true},
    {"x", "only an eager atom with a path can own a branch", COP_BACKGROUND, COP_E_INVALID,
     .branch = true},
    {"x", "options.kind is 3, expected 0 to 2", (cop_computed_kind)3, COP_E_INVALID, false, false,
     0},
    {"x", "options.size is ", COP_EAGER, COP_E_INVALID, .size = 1},
    {"x", "options.size is ", COP_EAGER, COP_E_INVALID, .size = 1 - (long)sizeof(size_t)},
    {"a//b", "", COP_EAGER, COP_E_PATH, false, false, 0},
};

static void
refused(cop_status status, cop_status expected, const cop_error *error, const char *message,
        cop_atom atom, uint64_t version)
{
    CHECK_STATUS(status, expected);
    CHECK_STATUS(error->status, expected);
    ck_assert_str_ne(error->message, "");
    ck_assert_msg(strncmp(error->message, message, strlen(message)) == 0, "%s", error->message);
    ck_assert(atom.id == 0 && atom.generation == 0);
    ck_assert_uint_eq(cop_store_version(store), version);
}

START_TEST(each_says_why)
{
    const refusal *r = &refusals[_i];
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    uint64_t version = cop_store_version(store);
    cop_error error = COP_ERROR_INIT;
    cop_atom atom = {7, 7};

    options.kind = r->kind;
    options.branch = r->branch;
    options.size = r->size < 0 ? sizeof options.size - 1 : options.size + (size_t)r->size;
    cop_status status =
        cop_computed_define(store, r->path, r->path ? strlen(r->path) : 0,
                            r->no_function ? NULL : copies, NULL, &options, &atom, &error);
    refused(status, r->status, &error, r->message, atom, version);
}
END_TEST

typedef struct reduce_refusal {
    const char *path, *pattern, *key, *value, *message;
    cop_reduction reduction;
    cop_status status;
    uint32_t k;
    bool combines, long_zero;
} reduce_refusal;

static const reduce_refusal reduce_refusals[] = {
    {"x", "in/*", NULL, NULL, "the reduction is 7, expected 0 to ", (cop_reduction)7, COP_E_INVALID,
     0, 0, 0},
    {"x", "in/*", NULL, NULL, "options.k is 0: the top of none", COP_REDUCE_TOP, COP_E_INVALID, 0,
     0, 0},
    {"x", "in/*", NULL, NULL, "a custom reduction needs options.combine", COP_REDUCE_CUSTOM,
     COP_E_INVALID, 0, 0, 0},
    {"x", "in/*", NULL, NULL, "options.zero is no number, bool or short string", COP_REDUCE_CUSTOM,
     COP_E_INVALID, 0, true, true},
    {NULL, "in/*", NULL, NULL, "an owner of a branch needs a path", COP_REDUCE_TOP, COP_E_INVALID,
     1, 0, 0},
    {NULL, "in/*", "key", "value", "an owner of a branch needs a path", COP_REDUCE_SUM,
     COP_E_INVALID, 0, 0, 0},
    {"", "in/*", NULL, NULL, "the root cannot be computed", COP_REDUCE_SUM, COP_E_INVALID, 0, 0, 0},
    {"a//b", "in/*", NULL, NULL, "", COP_REDUCE_SUM, COP_E_PATH, 0, 0, 0},
    {"x", "", NULL, NULL, "a pattern has at least one segment", COP_REDUCE_SUM, COP_E_PATH, 0, 0,
     0},
    {"x", "in//*", NULL, NULL, "", COP_REDUCE_SUM, COP_E_PATH, 0, 0, 0},
};

START_TEST(each_reducer_says_why)
{
    const reduce_refusal *r = &reduce_refusals[_i];
    cop_reduce_options options = COP_REDUCE_OPTIONS_INIT;
    uint64_t version = cop_store_version(store);
    cop_error error = COP_ERROR_INIT;
    cop_atom atom = {7, 7};
    size_t length = r->path != NULL ? strlen(r->path) : 0;
    cop_status status;

    options.k = r->k;
    options.combine = r->combines ? combine : NULL;
    options.zero = r->long_zero ? cop_string(P("longer than fits inside")) : cop_i64(0);
    if (r->key != NULL)
        status = cop_group_define(store, r->path, length, P(r->pattern), r->key, r->value,
                                  r->reduction, &options, &atom, &error);
    else
        status = cop_reduce_define(store, r->path, length, P(r->pattern), r->reduction, &options,
                                   &atom, &error);
    refused(status, r->status, &error, r->message, atom, version);
}
END_TEST

/* Pattern and key, or value, are a path of at most COP_PATH_MAX bytes together. */
START_TEST(the_longest_key)
{
    char *pattern = t_bytes(COP_PATH_MAX, 1);
    cop_error error = COP_ERROR_INIT;
    cop_atom atom = {7, 7};

    for (size_t i = 0; i < COP_PATH_MAX; i += 50)
        pattern[i] = i > 0 ? '/' : 'x';
    for (int value = 0; value < 2; value++)
        refused(cop_group_define(store, P("g"), pattern, COP_PATH_MAX - 3, value ? "k" : "kkk",
                                 value ? "vvv" : "v", COP_REDUCE_SUM, NULL, &atom, &error),
                COP_E_LIMIT, &error, "pattern and key have more than ", atom,
                cop_store_version(store));
    CHECK_OK(cop_group_define(store, P("g"), pattern, COP_PATH_MAX - 3, "kk", "vv", COP_REDUCE_SUM,
                              NULL, &atom, &error));
    free(pattern);
}
END_TEST

/* --- memory ------------------------------------------------------------------------------------
 */

static cop_scope *scope;

static cop_status
define_any(int what, cop_atom *atom, cop_error *error)
{
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    cop_reduce_options reduce = COP_REDUCE_OPTIONS_INIT;

    options.label = reduce.label = "a label of some length, that takes memory of its own";
    options.scope = reduce.scope = what & 1 ? scope : NULL;
    switch (what / 2) {
    case 3:
        return cop_reduce_define(store, P("made"), P("in/*/value"), COP_REDUCE_SUM, &reduce, atom,
                                 error);
    case 4:
        return cop_group_define(store, P("made"), P("in/*"), "key", "value", COP_REDUCE_SUM,
                                &reduce, atom, error);
    default:
        options.kind = (cop_computed_kind)(what / 2);
        return cop_computed_define(store, P("made"), copies, NULL, &options, atom, error);
    }
}

static void
refuse(int64_t k, bool for_ever)
{
    atomic_store(&store->memory->fail_for_ever, for_ever);
    atomic_store(&store->memory->fail_countdown, k);
}

START_TEST(every_request_refused)
{
    cop_status status = COP_E_MEMORY;

    CHECK_OK(cop_scope_open(NULL, &scope));
    for (int64_t k = 0; status != COP_OK; k++) {
        ck_assert_int_lt(k, 100);
        for (int for_ever = 1; for_ever >= 0; for_ever--) {
            cop_error error = COP_ERROR_INIT;
            cop_atom atom = {7, 7};
            uint64_t version = cop_store_version(store);
            refuse(k, for_ever);
            status = define_any(_i, &atom, &error);
            refuse(-1, false);
            t_graph_holds(store, 1000, false);
            if (status == COP_OK)
                break;
            refused(status, COP_E_MEMORY, &error, "out of memory", atom, version);
        }
    }
    CHECK_OK(t_status(store, t_find(store, "made")));
    cop_scope_dispose(scope);
    CHECK_OK(cop_flush(store, COP_FOREVER));
    cop_atom made;
    CHECK_STATUS(cop_atom_find(store, P("made"), &made), _i & 1 ? COP_E_ABSENT : COP_OK);
}
END_TEST

/* --- disposal without memory --------------------------------------------------------------------
 */

static cop_atom victim;
static cop_status disposed[2];
static int64_t refused_at;

static cop_status
disposes(cop_evaluation *evaluation, void *context, cop_value *result)
{
    (void)context;
    refuse(refused_at, true);
    disposed[0] = cop_computed_dispose(store, victim);
    refuse(-1, false);
    return cop_read(evaluation, source, result);
}

/* It is refused, or done; never half. */
START_TEST(disposals_refused)
{
    int done = 0;

    for (int64_t k = 0; done < 2; k++) {
        ck_assert_int_lt(k, 50);
        done = 0;
        for (int inside = 0; inside < 2; inside++) {
            cop_atom who = {0, 0};
            CHECK_OK(cop_computed_define(store, NULL, 0, copies, NULL, NULL, &victim, NULL));
            refused_at = k;
            if (inside)
                CHECK_OK(cop_computed_define(store, NULL, 0, disposes, NULL, NULL, &who, NULL));
            refuse(k, true);
            if (!inside)
                disposed[0] = cop_computed_dispose(store, victim);
            refuse(-1, false);
            CHECK_OK(cop_flush(store, COP_FOREVER));
            ck_assert(disposed[0] == COP_OK || disposed[0] == COP_E_MEMORY);
            CHECK_STATUS(t_status(store, victim), disposed[0] == COP_OK ? COP_E_GONE : COP_OK);
            done += disposed[0] == COP_OK;
            CHECK_OK(cop_computed_dispose(store, victim));
            if (inside)
                CHECK_OK(cop_computed_dispose(store, who));
            t_graph_holds(store, 1000, false);
        }
    }
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, each_says_why, 0, (int)(sizeof refusals / sizeof *refusals));
    tcase_add_loop_test(tests, each_reducer_says_why, 0,
                        (int)(sizeof reduce_refusals / sizeof *reduce_refusals));
    tcase_add_test(tests, the_longest_key);
    tcase_add_loop_test(tests, every_request_refused, 0, 10);
    tcase_add_test(tests, disposals_refused);
}

int
main(void)
{
    return t_run("define rules", add);
}

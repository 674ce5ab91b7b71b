/* SPDX-License-Identifier: MIT */
/* Heights rise along dependencies, also after a wave that ran out of memory while it raised some.
 */
#include <coppice/computed.h>
#include <coppice/graph.h>
#include <coppice/reduce.h>

#include "reclaim/memory.h"
#include "store/store_internal.h"
#include "tests/support/store_test.h"

enum { CHAIN = 70, READERS = 70 };

typedef struct scene {
    cop_store *store;
    cop_atom s, t, which, loop, far[CHAIN], x, reader[READERS], total, last;
} scene;

static cop_status
plus_one(cop_evaluation *e, void *context, cop_value *result)
{
    int64_t value = 0;
    cop_status status = cop_read_i64(e, *(cop_atom *)context, &value);
    *result = cop_i64(value + 1);
    return status;
}

/* The chain's beginning: s + 1, or what comes of it in the end. */
static cop_status
begin_or_end(cop_evaluation *e, void *context, cop_value *result)
{
    scene *a = context;
    int64_t loop, value = 0;
    cop_status status = cop_read_i64(e, a->loop, &loop);
    if (status == COP_OK)
        status = cop_read_i64(e, loop ? a->last : a->s, &value);
    *result = cop_i64(value + 1);
    return status;
}

/* s, or the end of the chain that starts there. */
static cop_status
near_or_far(cop_evaluation *e, void *context, cop_value *result)
{
    scene *a = context;
    int64_t far, value = 0;
    cop_status status = cop_read_i64(e, a->which, &far);
    if (status == COP_OK)
        status = cop_read_i64(e, far ? a->far[CHAIN - 1] : a->s, &value);
    *result = cop_i64(value);
    return status;
}

/* t + x: dirty before x is when both change. */
static cop_status
t_and_x(cop_evaluation *e, void *context, cop_value *result)
{
    scene *a = context;
    int64_t t = 0, x = 0;
    cop_status status = cop_read_i64(e, a->t, &t);
    if (status == COP_OK)
        status = cop_read_i64(e, a->x, &x);
    *result = cop_i64(t + x);
    return status;
}

static cop_atom
source(cop_store *store, const char *path, int64_t value)
{
    t_set_at(store, path, cop_i64(value));
    return t_find(store, path);
}

static cop_atom
define(cop_store *store, const char *path, cop_computed_function function, void *context)
{
    cop_atom atom;
    CHECK_OK(cop_computed_define(store, P(path), function, context, NULL, &atom, NULL));
    return atom;
}

static void
scene_open(scene *a)
{
    char path[40];
    a->store = t_open();
    a->s = source(a->store, "s", 1);
    a->t = source(a->store, "t", 1);
    a->which = source(a->store, "which", 0);
    a->loop = source(a->store, "loop", 0);
    for (unsigned i = 0; i < CHAIN; i++) {
        snprintf(path, sizeof path, "far/%u", i);
        a->far[i] = i > 0 ? define(a->store, path, plus_one, &a->far[i - 1])
                          : define(a->store, path, begin_or_end, a);
    }
    a->x = define(a->store, "x", near_or_far, a);
    for (unsigned i = 0; i < READERS; i++) {
        snprintf(path, sizeof path, "reader/%u", i);
        a->reader[i] = define(a->store, path, t_and_x, a);
    }
    CHECK_OK(cop_reduce_define(a->store, P("total"), P("reader/*"), COP_REDUCE_SUM, NULL, &a->total,
                               NULL));
    a->last = define(a->store, "last", plus_one, &a->total);
}

static cop_status
change(scene *a, int64_t s, int64_t t, int64_t which)
{
    cop_value value[] = {cop_i64(s), cop_i64(t), cop_i64(which)};
    cop_atom atom[] = {a->s, a->t, a->which};
    cop_txn *txn = t_begin(a->store);
    cop_status status = COP_OK;
    for (unsigned i = 0; i < 3 && status == COP_OK; i++)
        status = cop_txn_set(txn, atom[i], &value[i]);
    if (status == COP_OK)
        return cop_txn_commit(txn, NULL, NULL);
    cop_txn_cancel(txn);
    return status;
}

static int64_t
now(scene *a, cop_atom atom)
{
    cop_pin_t pin = cop_pin(a->store);
    int64_t value;
    CHECK_OK(cop_get_i64(pin.snapshot, atom, &value));
    cop_unpin(pin);
    return value;
}

static uint64_t
runs(scene *a)
{
    cop_graph_counts counts = COP_GRAPH_COUNTS_INIT;
    CHECK_OK(cop_graph_stats(a->store, COP_FOREVER, &counts));
    return counts.runs;
}

/* Everything there is changes, once. */
static void
all_run_once(scene *a, int64_t s, int64_t t, int64_t which, int64_t k)
{
    uint64_t before = runs(a);
    int64_t x = which ? s + CHAIN : s;
    CHECK_OK(change(a, s, t, which));
    ck_assert_msg(runs(a) - before == CHAIN + 1 + READERS + 2, "%" PRIu64 " runs after %" PRId64,
                  runs(a) - before, k);
    ck_assert_int_eq(now(a, a->x), x);
    ck_assert_int_eq(now(a, a->reader[READERS / 2]), t + x);
    ck_assert_int_eq(now(a, a->last), READERS * (t + x) + 1);
}

/* One circle of nearly all, and out of it again. */
static void
circle(scene *a)
{
    cop_value value;
    cop_pin_t pin;
    const cop_value one = cop_i64(1);
    cop_txn *txn = t_begin(a->store);

    CHECK_OK(cop_txn_set(txn, a->which, &one));
    CHECK_OK(cop_txn_set(txn, a->loop, &one));
    t_commit(txn);
    pin = cop_pin(a->store);
    CHECK_OK(cop_get(pin.snapshot, a->x, &value));
    ck_assert_int_eq(value.type, COP_ERROR);
    cop_unpin(pin);
    t_set(a->store, a->loop, cop_i64(0));
    ck_assert_int_eq(now(a, a->last), READERS * (2 + 2 + CHAIN) + 1);
}

START_TEST(a_node_runs_once_after_it_was_not_raised)
{
    bool fired = true;
    for (int64_t k = 0; fired; k++) {
        scene a;
        scene_open(&a);
        cop__memory *memory = cop__store_memory(a.store);
        all_run_once(&a, 2, 2, 0, k);
        atomic_store(&memory->fail_countdown, k);
        cop_status status = change(&a, 2, 2, 1);
        fired = atomic_exchange(&memory->fail_countdown, -1) < 0;
        if (fired && status != COP_OK)
            ck_assert_int_eq(status, COP_E_MEMORY);
        if (_i == 0)
            all_run_once(&a, 3, 3, status == COP_OK, k);
        else
            circle(&a);
        all_run_once(&a, 4, 4, 1, k);
        all_run_once(&a, 5, 5, 0, k);
        ck_assert_int_lt(k, 1000);
        t_close(a.store);
    }
}
END_TEST

static void
add(TCase *tests)
{
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, a_node_runs_once_after_it_was_not_raised, 0, 2);
}

int
main(void)
{
    return t_run("heights", add);
}

/* SPDX-License-Identifier: MIT */
/*
 * Ropes when memory is refused: each request of each way of writing, one after the other, once and for ever.
 * The rope asked for is whole or there is none, and the next one is right.
 */
#include <coppice/pool.h>

#include "serialize/fragments.h"
#include "serialize/serializer.h"
#include "store/store_internal.h"
#include "tests/support/json_test.h"
#include "tests/support/rope_check.h"

typedef struct scene {
    const char *name, *path; /* what is asked for */
    void (*prepare)(cop_store *store);
    uint64_t strategy;
    bool workers;
    cop_rope *held; /* by a client */
} scene;

static scene *now;

/* An array of n numbers of seven digits. */
static void
load_numbers(cop_store *store, const char *path, unsigned n)
{
    char *text = malloc(n * 12 + 16);
    size_t at = 0;
    for (unsigned i = 0; i < n; i++)
        at += (size_t)sprintf(text + at, "%c%u", i ? ',' : '[', 1000000 + i);
    strcpy(text + at, "]");
    j_load(store, path, text);
    free(text);
}

/* Every kind of record: a nested branch first, a text longer than a buffer, one nested too deeply, owners. */
static void
prepare_first(cop_store *store)
{
    static char text[20100];
    size_t n = (size_t)sprintf(text, "{\"a\":[1,{\"b\":2}],\"deep\":");
    for (unsigned i = 0; i < 40; i++)
        text[n++] = '[';
    for (unsigned i = 0; i < 40; i++)
        text[n++] = ']';
    n += (size_t)sprintf(text + n, ",\"long\":\"");
    memset(text + n, 'x', 17000);
    strcpy(text + n + 17000, "\",\"numbers\":[]}");
    j_load(store, "", text);
    load_numbers(store, "numbers", 700);
}

/* As many names as there are pages of places, so that some are made while the rope is written. */
static void
prepare_more(cop_store *store)
{
    load_numbers(store, "a", 300);
    cop_rope_drop(rope_of(store, ""));
    load_numbers(store, "numbers", 1500);
}

static void
insert(cop_store *store, const char *path, uint32_t position)
{
    cop_txn *txn = t_begin(store);
    cop_value value = cop_string("an element that was inserted", 28);
    CHECK_OK(cop_txn_insert(txn, t_find(store, path), position, &value, NULL));
    t_commit(txn);
}

static void
prepare_step(cop_store *store)
{
    load_numbers(store, "numbers", 3500);
    cop_rope_drop(rope_of(store, "numbers"));
    insert(store, "numbers", 2000);
    t_erase_at(store, "numbers/3000");
}

/* A small fragment is the last one, and is written again with what comes behind it. */
static void
prepare_append(cop_store *store)
{
    load_numbers(store, "numbers", 400);
    cop_rope_drop(rope_of(store, "numbers"));
    insert(store, "numbers", COP_AT_END);
    cop_rope_drop(rope_of(store, "numbers"));
    insert(store, "numbers", COP_AT_END);
}

static void
prepare_splice(cop_store *store)
{
    load_numbers(store, "numbers", 2000);
    now->held = rope_of(store, "");
    t_set_at(store, "numbers/10", cop_i64(7));
    t_set_at(store, "numbers/700", cop_string("longer than the one before", 26));
}

/* A branch within a fragment gets another child. */
static void
prepare_whole(cop_store *store)
{
    load_numbers(store, "o/numbers", 400);
    j_load(store, "o/small", "[1,[2,3]]");
    load_numbers(store, "o/others", 400);
    cop_rope_drop(rope_of(store, ""));
    t_set_at(store, "o/small/1/-", cop_i64(4));
}

/* A branch that was within a fragment outgrows it. */
static void
prepare_outgrown(cop_store *store)
{
    load_numbers(store, "o/numbers", 400);
    j_load(store, "o/small", "[1,[2,3]]");
    cop_rope_drop(rope_of(store, ""));
    load_numbers(store, "o/small/1", 400);
}

static void
prepare_both(cop_store *store)
{
    load_numbers(store, "a", 500);
    load_numbers(store, "b", 500);
    cop_rope_drop(rope_of(store, "a"));
    cop_rope_drop(rope_of(store, "b"));
    insert(store, "b", 300);
    t_set_at(store, "a/1", cop_i64(3));
}

/* An owner of which nothing is left but its closing. */
static void
prepare_emptied(cop_store *store)
{
    load_numbers(store, "numbers", 400);
    cop_rope_drop(rope_of(store, "numbers"));
    cop_txn *txn = t_begin(store);
    CHECK_OK(cop_txn_clear(txn, t_find(store, "numbers")));
    t_commit(txn);
}

/* More parts than a list of them begins with. */
static void
prepare_parts(cop_store *store)
{
    char path[16];
    for (unsigned i = 0; i < 9; i++) {
        snprintf(path, sizeof path, "o/%u", i);
        load_numbers(store, path, 200);
    }
    cop_rope_drop(rope_of(store, ""));
    t_set_at(store, "o/3/5", cop_i64(2));
}

static void
prepare_plain(cop_store *store)
{
    char *text = t_bytes(400000, 1);
    t_set_at(store, "text", cop_string(text, 400000));
    free(text);
}

static void
prepare_shared(cop_store *store)
{
    cop_value value = cop_string("much longer than the number that was there", 42);
    load_numbers(store, "numbers", 7000);
    cop_rope_drop(rope_of(store, "numbers"));
    cop_atom array = t_find(store, "numbers"), child;
    cop_txn *txn = t_begin(store);
    cop_pin_t pin = cop_pin(store);
    for (uint32_t i = 0; i < 7000; i++) {
        CHECK_OK(cop_child_at(pin.snapshot, array, i, &child));
        CHECK_OK(cop_txn_set(txn, child, &value));
    }
    cop_unpin(pin);
    t_commit(txn);
}

static cop_store *
open_scene(cop_pool *pool)
{
    cop_options options = COP_OPTIONS_INIT;
    cop_store *store;
    fault_alloc_init(&t_faults);
    options.allocator = fault_alloc_table(&t_faults);
    options.batch_window_ms = 0;
    options.serialization_strategy = now->strategy;
    CHECK_OK(cop_store_open(&options, &store, NULL));
    if (now->workers)
        CHECK_OK(cop_store_set_pool(store, pool));
    now->prepare(store);
    return store;
}

/* False: request k was not made any more. */
static bool
refuse(cop_pool *pool, int64_t k, bool for_ever)
{
    static x_world w;
    cop_store *store = open_scene(pool);
    const cop_snapshot *snapshot = t_take(store);
    cop_atom atom = t_find(store, now->path);
    cop_rope *rope = NULL;
    fault_alloc_arm(&t_faults, k, for_ever);
    cop_status status = cop_json_rope(snapshot, atom, &rope);
    bool fired = fault_alloc_fired(&t_faults);
    fault_alloc_disarm(&t_faults);
    ck_assert_msg(status == COP_OK || (status == COP_E_MEMORY && fired), "%s, request %d: %s", now->name,
                  (int)k, cop_status_name(status));
    ck_assert((status == COP_OK) == (rope != NULL));
    if (rope != NULL) {
        x_bytes expected = {NULL, 0, 0};
        CHECK_OK(cop_json_write(snapshot, atom, NULL, x_take, &expected));
        ck_assert_msg(x_rope_is(&w, rope, &expected), "%s, request %d", now->name, (int)k);
        free(expected.at);
    }
    cop_rope_drop(rope);
    ck_assert_msg(x_same(&w, snapshot, cop_root()), "%s, after request %d", now->name, (int)k);
    cop_rope_drop(now->held);
    now->held = NULL;
    cop_snapshot_drop(snapshot);
    t_close(store);
    return fired;
}

static scene scenes[] = {
    {"first", "", prepare_first, 0, false, NULL},
    {"more", "", prepare_more, 0, false, NULL},
    {"step", "numbers", prepare_step, 0, false, NULL},
    {"append", "numbers", prepare_append, 0, false, NULL},
    {"splice", "", prepare_splice, 0, false, NULL},
    {"splice below", "numbers", prepare_splice, 0, false, NULL},
    {"whole", "", prepare_whole, 0, false, NULL},
    {"outgrown", "", prepare_outgrown, 0, false, NULL},
    {"both", "a", prepare_both, 2, false, NULL},
    {"emptied", "numbers", prepare_emptied, 0, false, NULL},
    {"parts", "", prepare_parts, 0, false, NULL},
    {"plain", "", prepare_plain, 1, false, NULL},
    {"slices", "numbers", prepare_first, 0, true, NULL},
    {"shared", "numbers", prepare_shared, 0, true, NULL},
};

START_TEST(each_request)
{
    cop_pool *pool;
    cop_pool_options options = COP_POOL_OPTIONS_INIT;
    options.threads = 2;
    CHECK_OK(cop_pool_open(&options, &pool, NULL));
    now = &scenes[_i];
    for (unsigned for_ever = 0; for_ever < 2; for_ever++) {
        int64_t k = 1;
        while (k < 100000 && refuse(pool, k, for_ever))
            k += k < 40 ? 1 : k / 4;
        ck_assert_int_gt(k, 2);
        ck_assert_int_lt(k, 100000);
    }
    cop_pool_close(pool);
}
END_TEST

/* ---- by hand ---- */

START_TEST(parts)
{
    fault_alloc_init(&t_faults);
    cop_allocator allocator = fault_alloc_table(&t_faults);
    cop__memory *memory = cop__memory_new(&allocator, UINT64_MAX);
    ck_assert_ptr_null(cop__leaf_new(memory, 0, (size_t)UINT32_MAX + 1));
    cop__part_drop(memory, NULL);
    cop__memory_unref(memory);
    t_all_released();
}
END_TEST

/* Memory ran short while somebody wrote: what is kept goes when he is done. */
START_TEST(pressed_while_written)
{
    cop_store *store = t_open();
    cop_stats stats = COP_STATS_INIT;
    load_numbers(store, "numbers", 3000);
    cop_rope_drop(rope_of(store, "numbers"));
    cop__serializer *s = store->serializer;
    pthread_mutex_lock(&s->lock);
    ck_assert(!cop__serializer_press(s));
    pthread_mutex_unlock(&s->lock);
    ck_assert_ptr_nonnull(s->owners);
    cop_rope_drop(rope_of(store, "numbers"));
    ck_assert_ptr_null(s->owners);
    CHECK_OK(cop_stats_take(store, &stats));
    ck_assert_uint_eq(stats.fragments_dropped, 1);
    cop_rope_drop(rope_of(store, "numbers"));
    ck_assert_ptr_nonnull(s->owners);
    t_close(store);
}
END_TEST

/* Fragments go first, and only when there is none to drop the version that they are of. */
START_TEST(fragments_then_version)
{
    cop_store *store = t_open();
    cop_stats stats = COP_STATS_INIT;
    load_numbers(store, "numbers", 3000);
    cop_rope_drop(rope_of(store, "numbers"));
    cop__serializer *s = store->serializer;
    int64_t had = atomic_load(&s->bytes);
    ck_assert_int_gt(had, 10000);
    ck_assert_uint_ge(cop__serializer_give_way(s, 10000), 10000);
    ck_assert_ptr_nonnull(s->base);
    ck_assert_int_le(atomic_load(&s->bytes), had - 10000);
    pthread_mutex_lock(&s->lock);
    ck_assert_uint_eq(cop__serializer_give_way(s, 1), 0); /* somebody else is at it */
    pthread_mutex_unlock(&s->lock);
    ck_assert_uint_gt(cop__serializer_give_way(s, 0), 0);
    ck_assert_ptr_null(s->base);
    ck_assert_ptr_null(s->owners);
    ck_assert_uint_eq(cop__serializer_give_way(s, 0), 0);
    ck_assert_uint_eq(cop__serializer_give_way(NULL, 1), 0);
    t_set_at(store, "other", cop_i64(1));
    CHECK_OK(cop_stats_take(store, &stats));
    ck_assert_uint_eq(stats.held_versions, 0);
    t_close(store);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_loop_test(tests, each_request, 0, (int)(sizeof scenes / sizeof *scenes));
    tcase_add_test(tests, parts);
    tcase_add_test(tests, pressed_while_written);
    tcase_add_test(tests, fragments_then_version);
}

int
main(void)
{
    return t_run("rope_memory", add);
}

/* SPDX-License-Identifier: MIT */
/* Texts: whatever is changed between one and the next, they are what cop_json_write says. */
#include "tests/support/json_test.h"
#include "tests/support/rope_check.h"

static void
check_rope(x_world *w, const cop_snapshot *snapshot, cop_atom atom)
{
    ck_assert_msg(x_same(w, snapshot, atom), "the text of atom %u of version %llu differs", atom.id,
                  (unsigned long long)cop_snapshot_version(snapshot));
}

/* Every way of writing was taken. */
static void
check_used(cop_store *store)
{
    cop_stats stats = COP_STATS_INIT;
    CHECK_OK(cop_stats_take(store, &stats));
    ck_assert_uint_gt(stats.fragments_hits, 0);
    ck_assert_uint_gt(stats.fragments_writes, 0);
    ck_assert_uint_gt(stats.fragments_plain, 0);
    ck_assert_uint_gt(stats.fragments_spliced, 0);
    ck_assert_uint_gt(stats.fragments_formatted, 0);
    ck_assert_uint_eq(stats.fragments_dropped, 0);
}

/* Some branches, in some versions, now and then one that is older. */
static void
run_world(uint64_t seed, uint32_t wide, unsigned commits)
{
    static x_world w;
    w = (x_world){.store = t_open(), .seed = seed, .wide = wide};
    const cop_snapshot *older = NULL;
    for (unsigned i = 0; i < commits; i++) {
        x_commit(&w, 1 + x_below(&w, x_below(&w, 10) ? 5 : 200));
        const cop_snapshot *snapshot = t_take(w.store);
        for (uint32_t asks = x_below(&w, 4); asks > 0; asks--)
            check_rope(&w, snapshot, x_below(&w, 2) ? cop_root() : x_branch(&w, snapshot));
        if (older == NULL || x_below(&w, 10) == 0) {
            cop_snapshot_drop(older);
            older = snapshot;
        } else {
            cop_snapshot_drop(snapshot);
            if (x_below(&w, 5) == 0)
                check_rope(&w, older, cop_root());
        }
    }
    cop_snapshot_drop(older);
    check_used(w.store);
    t_close(w.store);
}

START_TEST(narrow_worlds)
{
    for (uint64_t seed = 1; seed <= 10; seed++)
        run_world(seed, 0, 300);
}
END_TEST

START_TEST(wide_worlds)
{
    for (uint64_t seed = 1; seed <= 6; seed++)
        run_world(seed, 700, 150);
}
END_TEST

/* ---- edges ---- */

static void
expect(cop_store *store, const char *path, const char *expected)
{
    cop_rope *rope;
    char text[256];
    cop_pin_t pin = cop_pin(store);
    cop_atom atom;
    CHECK_OK(cop_find(pin.snapshot, P(path), &atom));
    CHECK_OK(cop_json_rope(pin.snapshot, atom, &rope));
    cop_unpin(pin);
    size_t n = cop_rope_copy(rope, 0, text, sizeof text - 1);
    text[n] = '\0';
    ck_assert_str_eq(text, expected);
    ck_assert_uint_eq(cop_rope_length(rope), n);
    cop_rope_drop(rope);
}

START_TEST(small_ones)
{
    cop_store *store = t_open();
    expect(store, "", "{}");
    j_load(store, "", "{\"a\":1,\"b\":[],\"c\":{\"d\":[true]},\"e\":\"x\"}");
    expect(store, "", "{\"a\":1,\"b\":[],\"c\":{\"d\":[true]},\"e\":\"x\"}");
    expect(store, "a", "1");
    expect(store, "b", "[]");
    expect(store, "c", "{\"d\":[true]}");
    expect(store, "e", "\"x\"");
    t_close(store);
}
END_TEST

START_TEST(refused)
{
    cop_store *store = t_open();
    cop_rope *rope = (cop_rope *)1;
    cop_atom gone = t_make(store, "gone", cop_i64(1));
    t_erase(store, gone);
    cop_pin_t pin = cop_pin(store);
    CHECK_STATUS(cop_json_rope(NULL, cop_root(), &rope), COP_E_INVALID);
    ck_assert_ptr_null(rope);
    CHECK_STATUS(cop_json_rope(pin.snapshot, cop_root(), NULL), COP_E_INVALID);
    CHECK_STATUS(cop_json_rope(pin.snapshot, gone, &rope), COP_E_GONE);
    ck_assert_ptr_null(rope);
    cop_rope_drop(NULL);
    cop_unpin(pin);
    t_close(store);
}
END_TEST

/* An array of numbers from `first` on, long enough for some fragments. */
static void
load_numbers(cop_store *store, unsigned n, unsigned first)
{
    char *text = malloc(n * 12 + 16);
    size_t at = 0;
    for (unsigned i = 0; i < n; i++)
        at += (size_t)sprintf(text + at, "%c%u", i ? ',' : '[', first + i);
    strcpy(text + at, "]");
    j_load(store, "numbers", text);
    free(text);
}

START_TEST(same_rope_while_unchanged)
{
    cop_store *store = t_open();
    load_numbers(store, 2000, 1000000);
    cop_rope *first = rope_of(store, "numbers"), *second = rope_of(store, "numbers");
    ck_assert_ptr_eq(first, second);
    t_set_at(store, "elsewhere", cop_i64(1));
    cop_rope *third = rope_of(store, "numbers");
    ck_assert_ptr_eq(first, third);
    t_set_at(store, "numbers/7", cop_i64(1));
    cop_rope *fourth = rope_of(store, "numbers");
    ck_assert_ptr_ne(first, fourth);
    cop_rope_drop(first);
    cop_rope_drop(second);
    cop_rope_drop(third);
    cop_rope_drop(fourth);
    t_close(store);
}
END_TEST

/* One value of thousands: one fragment is spliced, and the length is right. */
START_TEST(one_value_is_spliced)
{
    cop_store *store = t_open();
    cop_stats before = COP_STATS_INIT, after = COP_STATS_INIT;
    load_numbers(store, 5000, 1000000);
    cop_rope_drop(rope_of(store, "numbers"));
    CHECK_OK(cop_stats_take(store, &before));
    t_set_at(store, "numbers/4321", cop_string("a longer one than before", 24));
    cop_rope *rope = rope_of(store, "numbers");
    CHECK_OK(cop_stats_take(store, &after));
    ck_assert_uint_eq(after.fragments_spliced - before.fragments_spliced, 1);
    ck_assert_uint_eq(after.fragments_formatted, before.fragments_formatted);
    ck_assert_uint_eq(cop_rope_length(rope), 5000 * 8 + 1 + 26 - 7);
    cop_rope_drop(rope);
    t_close(store);
}
END_TEST

/* Elements that come one by one do not leave a fragment each. */
START_TEST(appending_keeps_fragments_large)
{
    cop_store *store = t_open();
    load_numbers(store, 400, 1000000);
    for (unsigned i = 0; i < 300; i++) {
        t_set_at(store, "numbers/-", cop_i64(2000000 + i));
        cop_rope_drop(rope_of(store, "numbers"));
    }
    cop_rope *rope = rope_of(store, "numbers");
    struct iovec ranges[64];
    size_t n = cop_rope_ranges(rope, 0, ranges, 64);
    ck_assert_uint_gt(n, 1);
    ck_assert_uint_lt(n, 20);
    cop_rope_drop(rope);
    t_close(store);
}
END_TEST

START_TEST(rope_outlives_store)
{
    cop_store *store = t_open();
    load_numbers(store, 3000, 1000000);
    cop_rope *rope = cop_rope_keep(rope_of(store, "numbers"));
    char text[17];
    cop_store_close(store);
    ck_assert_uint_eq(cop_rope_copy(rope, 8 * 2999, text, sizeof text), 9);
    ck_assert_int_eq(memcmp(text, ",1002999]", 9), 0);
    ck_assert_uint_eq(cop_rope_copy(rope, cop_rope_length(rope), text, 1), 0);
    cop_rope_drop(rope);
    cop_rope_drop(rope);
    t_all_released();
}
END_TEST

/* A held snapshot may be asked about while its store closes, for the first time too; neither keeps
 * the store from ending. */
static void
ask_while_closing(bool before)
{
    cop_store *store = t_open();
    load_numbers(store, 3000, 1000000);
    if (before)
        cop_rope_drop(rope_of(store, "numbers"));
    const cop_snapshot *snapshot = t_take(store);
    cop_store_close(store);
    cop_rope *rope;
    CHECK_OK(cop_json_rope(snapshot, cop_root(), &rope));
    cop_snapshot_drop(snapshot);
    ck_assert_uint_eq(cop_rope_length(rope), 3000 * 8 + 1 + 12);
    cop_rope_drop(rope);
    t_all_released();
}

START_TEST(asked_while_closing)
{
    ask_while_closing(true);
    ask_while_closing(false);
}
END_TEST

static uint64_t
fragment_bytes(cop_store *store)
{
    cop_stats stats = COP_STATS_INIT;
    CHECK_OK(cop_stats_take(store, &stats));
    return stats.bytes_by_kind[COP_MEMORY_FRAGMENTS];
}

START_TEST(kept_within_the_bound)
{
    cop_store *store = t_open();
    cop_options options = COP_OPTIONS_INIT;
    cop_stats stats = COP_STATS_INIT;
    CHECK_OK(cop_store_options(store, &options));
    options.serialization_cache_bytes = 100000;
    CHECK_OK(cop_store_reconfigure(store, &options, COP_FOREVER, NULL));
    ck_assert_uint_eq(fragment_bytes(store), 0); /* nobody asked: nothing is kept */
    for (unsigned i = 0; i < 30; i++) {
        x_bytes expected = {NULL, 0, 0};
        cop_pin_t pin;
        load_numbers(store, 2000, 1000000 + i);
        cop_rope *rope = rope_of(store, "numbers");
        pin = cop_pin(store);
        CHECK_OK(cop_json_write(pin.snapshot, t_find(store, "numbers"), NULL, x_take, &expected));
        cop_unpin(pin);
        static x_world w;
        ck_assert(x_rope_is(&w, rope, &expected));
        cop_rope_drop(rope);
        free(expected.at);
        ck_assert_uint_lt(fragment_bytes(store), 150000);
        options.serialization_cache_bytes = i % 2 ? 100000 : 1;
        CHECK_OK(cop_store_reconfigure(store, &options, COP_FOREVER, NULL));
    }
    CHECK_OK(cop_stats_take(store, &stats));
    ck_assert_uint_gt(stats.fragments_evicted, 0);
    t_close(store);
}
END_TEST

static void
bound_to(cop_store *store, uint64_t bytes)
{
    cop_options options = COP_OPTIONS_INIT;
    CHECK_OK(cop_store_options(store, &options));
    options.serialization_cache_bytes = bytes;
    CHECK_OK(cop_store_reconfigure(store, &options, COP_FOREVER, NULL));
}

/* Rows of numbers, each enough for a record of its own. */
static void
load_rows(cop_store *store, const char *path)
{
    static char text[60000];
    size_t at = 0;
    for (unsigned i = 0; i < 4000; i++)
        at += (size_t)sprintf(text + at, "%s%u", i % 1000 ? "," : i ? "],[" : "[[", 1000000 + i);
    strcpy(text + at, "]]");
    j_load(store, path, text);
}

/* The bound has room for two of these: the one that is asked for again and again stays, whatever
 * else is asked for in between, and wherever it stands among the others. */
static void
what_is_used_stays(unsigned hot)
{
    static const char *const names[] = {"a", "b", "c", "d"};
    cop_stats before = COP_STATS_INIT, after = COP_STATS_INIT;
    cop_store *store = t_open();
    for (unsigned i = 0; i < 4; i++)
        load_rows(store, names[i]);
    cop_rope_drop(rope_of(store, names[0]));
    uint64_t one = fragment_bytes(store);
    for (unsigned i = 1; i < 4; i++)
        cop_rope_drop(rope_of(store, names[i]));
    bound_to(store, one * 5 / 2);
    for (unsigned i = 0; i < 60; i++) {
        CHECK_OK(cop_stats_take(store, &before));
        cop_rope_drop(rope_of(store, names[hot]));
        CHECK_OK(cop_stats_take(store, &after));
        if (i > 3)
            ck_assert_uint_eq(after.fragments_hits, before.fragments_hits + 1);
        cop_rope_drop(rope_of(store, names[(hot + 1 + i % 3) % 4]));
    }
    CHECK_OK(cop_stats_take(store, &after));
    ck_assert_uint_gt(after.fragments_evicted, 50);
    t_close(store);
}

START_TEST(used_ones_stay)
{
    for (unsigned hot = 0; hot < 4; hot++)
        what_is_used_stays(hot);
}
END_TEST

static void
limit_to(cop_store *store, uint64_t more)
{
    cop_options options = COP_OPTIONS_INIT;
    cop_stats stats = COP_STATS_INIT;
    CHECK_OK(cop_stats_take(store, &stats));
    CHECK_OK(cop_store_options(store, &options));
    options.memory_limit_bytes = stats.bytes_held + more;
    CHECK_OK(cop_store_reconfigure(store, &options, COP_FOREVER, NULL));
}

/* What can be written again gives way to what cannot. */
START_TEST(commits_before_texts)
{
    cop_store *store = t_open();
    cop_stats stats = COP_STATS_INIT;
    char *text = t_bytes(500000, 1);
    cop_value small = cop_i64(1), large = cop_string(text, 500000);
    load_numbers(store, 60000, 1000000);
    cop_rope_drop(rope_of(store, "numbers"));
    ck_assert_uint_gt(fragment_bytes(store), 1000000);
    cop_txn *txn = t_begin(store);
    CHECK_OK(cop_txn_set_at(txn, "before", 6, &small, NULL));
    CHECK_OK(cop_txn_set_at(txn, "large", 5, &large, NULL));
    limit_to(store, 100000);
    t_commit(txn);
    CHECK_OK(cop_stats_take(store, &stats));
    ck_assert_uint_gt(stats.gave_fragments, 300000);
    expect(store, "before", "1");
    free(text);
    t_close(store);
}
END_TEST

/* Whatever request is refused: a rope is whole, or there is none and the next one is right. */
START_TEST(without_memory)
{
    unsigned refusals = 0;
    static x_world w;
    w = (x_world){.store = t_open(), .seed = 3, .wide = 300};
    for (unsigned i = 0; i < 20; i++)
        x_commit(&w, 50);
    for (int64_t k = 1; k < 400; k += k < 60 ? 1 : 17) {
        x_commit(&w, 3);
        const cop_snapshot *snapshot = t_take(w.store);
        cop_rope *rope = NULL;
        fault_alloc_arm(&t_faults, k, k % 2);
        cop_status status = cop_json_rope(snapshot, cop_root(), &rope);
        fault_alloc_disarm(&t_faults);
        ck_assert((status == COP_OK) == (rope != NULL));
        refusals += status == COP_E_MEMORY;
        ck_assert(status == COP_OK || status == COP_E_MEMORY);
        cop_rope_drop(rope);
        check_rope(&w, snapshot, cop_root());
        cop_snapshot_drop(snapshot);
    }
    ck_assert_uint_gt(refusals, 0);
    t_close(w.store);
}
END_TEST

static cop_status
twice(cop_evaluation *evaluation, void *context, cop_value *out)
{
    (void)context;
    cop_value value;
    cop_status status = cop_read_at(evaluation, P("source"), &value);
    *out = cop_i64(2 * cop_value_i64(&value));
    return status;
}

/* A lazy atom is left out of an object; it has a place all the same, for when it becomes a value.
 */
START_TEST(lazy_atoms)
{
    cop_store *store = t_open();
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    static x_world w;
    char path[32];
    cop_atom lazy[40];
    w = (x_world){.store = store};
    t_set_at(store, "source", cop_i64(4));
    options.kind = COP_LAZY;
    for (unsigned i = 0; i < 400; i++) {
        int n = snprintf(path, sizeof path, "o/k%03u", i);
        if (i % 10 == 0) {
            CHECK_OK(cop_computed_define(store, path, (size_t)n, twice, NULL, &options,
                                         &lazy[i / 10], NULL));
        } else {
            t_set_at(store, path, cop_string("some text to fill fragments", 27));
        }
    }
    for (unsigned i = 0; i < 40; i++) {
        const cop_snapshot *snapshot = t_take(store);
        check_rope(&w, snapshot, t_find(store, "o"));
        x_bytes pretty = {NULL, 0, 0};
        cop_json_write_options indented = COP_JSON_WRITE_OPTIONS_INIT;
        indented.indent = 1;
        CHECK_OK(cop_json_write(snapshot, t_find(store, "o"), &indented, x_take, &pretty));
        ck_assert_uint_gt(pretty.n, 360 * 37);
        ck_assert_uint_le(pretty.n, 400 * 38);
        free(pretty.at);
        cop_snapshot_drop(snapshot);
        if (i % 2) {
            CHECK_OK(cop_computed_dispose(store, lazy[i]));
            t_set_at(store, "source", cop_i64(i));
        } else {
            t_erase(store, lazy[i]);
        }
    }
    t_close(store);
}
END_TEST

/* A branch that was asked for by itself goes with what is below it. */
START_TEST(asked_for_and_gone)
{
    cop_store *store = t_open();
    load_numbers(store, 300, 1000000);
    cop_rope_drop(rope_of(store, ""));
    load_rows(store, "rows");
    cop_rope_drop(rope_of(store, "rows"));
    uint64_t kept = fragment_bytes(store);
    t_erase_at(store, "rows");
    cop_rope_drop(rope_of(store, "numbers"));
    ck_assert_uint_lt(fragment_bytes(store), kept - 4000 * 8);
    load_rows(store, "rows");
    cop_rope *rope = rope_of(store, "rows");
    ck_assert_uint_eq(cop_rope_length(rope), 4000 * 8 + 4 + 5);
    cop_rope_drop(rope);
    t_close(store);
}
END_TEST

/* Children come and go amid a long array: those beside them stay as they are. */
START_TEST(amid_others)
{
    static x_world w;
    cop_store *store = t_open();
    w = (x_world){.store = store};
    load_numbers(store, 3000, 1000000);
    cop_rope_drop(rope_of(store, ""));
    for (uint32_t i = 0; i < 40; i++) {
        cop_stats before = COP_STATS_INIT, after = COP_STATS_INIT;
        cop_value value = cop_i64(i);
        cop_txn *txn = t_begin(store);
        CHECK_OK(cop_txn_insert(txn, t_find(store, "numbers"), 50 + 70 * i, &value, NULL));
        t_commit(txn);
        if (i % 3 == 0)
            t_erase_at(store, "numbers/2950");
        const cop_snapshot *snapshot = t_take(store);
        CHECK_OK(cop_stats_take(store, &before));
        check_rope(&w, snapshot, cop_root());
        CHECK_OK(cop_stats_take(store, &after));
        ck_assert_uint_eq(after.fragments_plain, before.fragments_plain);
        cop_snapshot_drop(snapshot);
    }
    t_close(store);
}
END_TEST

/* The strategies say the same. */
static void
run_strategy(uint64_t strategy)
{
    cop_options options = COP_OPTIONS_INIT;
    static x_world w;
    fault_alloc_init(&t_faults);
    options.allocator = fault_alloc_table(&t_faults);
    options.batch_window_ms = 0;
    options.serialization_strategy = strategy;
    w = (x_world){.seed = 11 + strategy, .wide = 200};
    CHECK_OK(cop_store_open(&options, &w.store, NULL));
    for (unsigned i = 0; i < 100; i++) {
        x_commit(&w, 5);
        const cop_snapshot *snapshot = t_take(w.store);
        check_rope(&w, snapshot, x_branch(&w, snapshot));
        check_rope(&w, snapshot, cop_root());
        cop_snapshot_drop(snapshot);
    }
    ck_assert((fragment_bytes(w.store) == 0) == (strategy == 1));
    t_close(w.store);
}

START_TEST(strategies)
{
    run_strategy(1);
    run_strategy(2);
}
END_TEST

/* The workers of a pool write the same. */
START_TEST(with_workers)
{
    cop_pool *pool;
    cop_pool_options options = COP_POOL_OPTIONS_INIT;
    static x_world w;
    options.threads = 3;
    CHECK_OK(cop_pool_open(&options, &pool, NULL));
    w = (x_world){.store = t_open(), .seed = 5, .wide = 3000};
    CHECK_OK(cop_store_set_pool(w.store, pool));
    load_numbers(w.store, 30000, 1000000);
    for (unsigned i = 0; i < 60; i++) {
        x_commit(&w, i % 10 ? 20 : 3000);
        const cop_snapshot *snapshot = t_take(w.store);
        check_rope(&w, snapshot, cop_root());
        cop_snapshot_drop(snapshot);
    }
    t_close(w.store);
    cop_pool_close(pool);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_test(tests, narrow_worlds);
    tcase_add_test(tests, wide_worlds);
    tcase_add_test(tests, small_ones);
    tcase_add_test(tests, refused);
    tcase_add_test(tests, same_rope_while_unchanged);
    tcase_add_test(tests, one_value_is_spliced);
    tcase_add_test(tests, appending_keeps_fragments_large);
    tcase_add_test(tests, rope_outlives_store);
    tcase_add_test(tests, asked_while_closing);
    tcase_add_test(tests, kept_within_the_bound);
    tcase_add_test(tests, used_ones_stay);
    tcase_add_test(tests, commits_before_texts);
    tcase_add_test(tests, without_memory);
    tcase_add_test(tests, lazy_atoms);
    tcase_add_test(tests, asked_for_and_gone);
    tcase_add_test(tests, amid_others);
    tcase_add_test(tests, strategies);
    tcase_add_test(tests, with_workers);
}

int
main(void)
{
    return t_run("rope", add);
}

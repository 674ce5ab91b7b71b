/* SPDX-License-Identifier: MIT */
/* Options of an open store. */
#include <pthread.h>
#include <stdio.h>

#include "tests/support/store_test.h"

static cop_options
now(cop_store *store)
{
    cop_options options = COP_OPTIONS_INIT;
    CHECK_OK(cop_store_options(store, &options));
    return options;
}

static cop_status
change(cop_store *store, const cop_options *options, cop_error *error)
{
    *error = (cop_error)COP_ERROR_INIT;
    return cop_store_reconfigure(store, options, COP_FOREVER, error);
}

START_TEST(live_options_change)
{
    cop_store *store = t_open();
    cop_options options = now(store);
    cop_error error;

    ck_assert_uint_gt(options.memory_limit_bytes, 0);
    ck_assert(options.allocator.allocate == NULL && options.log == NULL);
    options.workers_threads = 7;
    options.batch_updates = 0;
    options.memory_limit_bytes = 1 << 26;
    CHECK_OK(change(store, &options, &error));
    ck_assert_uint_eq(now(store).workers_threads, 7);
    ck_assert_uint_eq(now(store).batch_updates, 0);
    cop_stats stats = COP_STATS_INIT;
    CHECK_OK(cop_stats_take(store, &stats));
    ck_assert_uint_eq(stats.bytes_limit, 1 << 26);
    t_set_at(store, "a", cop_i64(1));
    options.memory_limit_bytes = 0; /* worked out anew */
    CHECK_OK(change(store, &options, &error));
    ck_assert_uint_gt(now(store).memory_limit_bytes, 1 << 26);
    t_close(store);
}
END_TEST

START_TEST(all_or_nothing)
{
    cop_store *store = t_open();
    cop_options options = now(store);
    cop_error error;

    options.workers_threads = 3;
    options.readers_max--;
    CHECK_STATUS(change(store, &options, &error), COP_E_STATE);
    ck_assert_ptr_nonnull(strstr(error.message, "readers.max"));
    ck_assert_uint_eq(now(store).workers_threads, 0);
    options = now(store);
    options.workers_threads = 3;
    options.snapshots_max = 0;
    CHECK_STATUS(change(store, &options, &error), COP_E_RANGE);
    ck_assert_ptr_nonnull(strstr(error.message, "snapshots.max"));
    ck_assert_uint_eq(now(store).workers_threads, 0);
    options.size--;
    CHECK_STATUS(change(store, &options, &error), COP_E_INVALID);
    CHECK_STATUS(cop_store_options(store, &options), COP_E_INVALID);
    CHECK_STATUS(cop_store_options(store, NULL), COP_E_INVALID);
    CHECK_STATUS(cop_store_reconfigure(store, NULL, COP_FOREVER, NULL), COP_E_INVALID);
    t_close(store);
}
END_TEST

static void
no_log(void *context, cop_log_level level, const char *message)
{
    (void)context;
    (void)level;
    (void)message;
}

static void
count_destroyed(void *context)
{
    ++*(unsigned *)context;
}

/* What a store was given when it was opened is its own: it is not in its options, and they leave it
 * as it is. */
START_TEST(a_log_is_not_shown)
{
    cop_options options = COP_OPTIONS_INIT;
    cop_store *store = NULL;
    unsigned destroyed = 0;
    cop_error error;

    options.log = no_log;
    options.log_context = &destroyed;
    options.log_destroy = count_destroyed;
    CHECK_OK(cop_store_open(&options, &store, NULL));
    options = now(store);
    ck_assert(options.log == NULL && options.log_context == NULL && options.log_destroy == NULL);
    ck_assert(options.allocator.allocate == NULL && options.allocator.release == NULL);
    CHECK_OK(change(store, &options, &error));
    ck_assert_uint_eq(destroyed, 0);
    cop_store_close(store);
    ck_assert_uint_eq(destroyed, 1);
}
END_TEST

START_TEST(limits_are_in_force)
{
    cop_store *store = t_open();
    cop_options options = now(store);
    const cop_snapshot *one = t_take(store), *two;
    cop_error error;
    char *text = t_bytes(1 << 20, 1);
    const cop_value big = cop_string(text, 1 << 20);
    cop_txn *txn;

    options.snapshots_max = 1;
    CHECK_OK(change(store, &options, &error));
    CHECK_STATUS(cop_snapshot_take(store, &two), COP_E_LIMIT);
    options.snapshots_max = 2;
    options.memory_limit_bytes = 1; /* below what is held */
    CHECK_OK(change(store, &options, &error));
    CHECK_OK(cop_snapshot_take(store, &two));
    cop_snapshot_drop(one);
    cop_snapshot_drop(two);
    cop_status status = cop_txn_begin(store, &txn);
    if (status == COP_OK)
        status = cop_txn_set_at(txn, P("big"), &big, NULL);
    if (status == COP_OK)
        status = cop_txn_commit(txn, NULL, NULL);
    else
        cop_txn_cancel(txn);
    CHECK_STATUS(status, COP_E_MEMORY);
    options.memory_limit_bytes = 1 << 28;
    CHECK_OK(change(store, &options, &error));
    t_set_at(store, "big", big);
    free(text);
    t_close(store);
}
END_TEST

typedef struct heard {
    cop_memory_level level;
    unsigned calls;
} heard;

static void
hear(void *context, cop_store *store, cop_memory_level level, uint64_t used, uint64_t limit)
{
    (void)store;
    (void)used;
    (void)limit;
    *(heard *)context = (heard){level, ((heard *)context)->calls + 1};
}

static cop_stats
stats(cop_store *store)
{
    cop_stats stats = COP_STATS_INIT;
    CHECK_OK(cop_stats_take(store, &stats));
    return stats;
}

static void
limit_to(cop_store *store, uint64_t limit)
{
    cop_options options = now(store);
    cop_error error;
    options.memory_limit_bytes = limit;
    CHECK_OK(change(store, &options, &error));
}

/* The store is idle but for this: nobody commits, and nobody polls. */
START_TEST(levels_follow_the_limit)
{
    cop_store *store = t_open();
    heard ear = {COP_MEMORY_NORMAL, 0};
    char *text = t_bytes(1 << 20, 1);

    for (unsigned i = 0; i < 8; i++) {
        char path[] = {'a', '/', (char)('0' + i), '\0'};
        t_set_at(store, path, cop_string(text, 1 << 20));
    }
    CHECK_OK(cop_memory_tell(store, hear, &ear, NULL));
    cop_stats s = stats(store);
    uint64_t used = s.bytes_held - s.chunk_free;
    const struct {
        uint64_t percent; /* of what is used */
        cop_memory_level level;
    } limit[] = {{200, COP_MEMORY_NORMAL}, {110, COP_MEMORY_SOFT},   {90, COP_MEMORY_FULL},
                 {10, COP_MEMORY_FULL},    {200, COP_MEMORY_NORMAL}, {90, COP_MEMORY_FULL},
                 {115, COP_MEMORY_SOFT},   {6400, COP_MEMORY_NORMAL}};
    for (size_t i = 0, calls = 0; i < sizeof limit / sizeof *limit; i++) {
        calls += limit[i].level != ear.level;
        limit_to(store, used * limit[i].percent / 100);
        ck_assert_int_eq(cop_memory_level_now(store), limit[i].level);
        ck_assert_int_eq(ear.level, limit[i].level);
        ck_assert_uint_eq(ear.calls, calls);
    }
    t_set_at(store, "a/0", cop_i64(1));
    ck_assert_int_eq(cop_memory_level_now(store), COP_MEMORY_NORMAL);
    free(text);
    t_close(store);
}
END_TEST

static cop_store *
open_with_small_chunks(void)
{
    cop_options options = COP_OPTIONS_INIT;
    cop_store *store;
    fault_alloc_init(&t_faults);
    options.memory_chunk_bytes = 32768;
    options.memory_huge_pages = 0;
    options.allocator = fault_alloc_table(&t_faults);
    CHECK_OK(cop_store_open(&options, &store, NULL));
    return store;
}

/* More is held than the limit, but not used. */
START_TEST(what_lies_free_goes_at_once)
{
    enum { ATOMS = 60000, BYTES = 250 };
    cop_store *store = open_with_small_chunks();
    cop_txn *txn;
    char *text = t_bytes(BYTES, 1);

    CHECK_OK(cop_txn_begin(store, &txn));
    for (unsigned i = 0; i < ATOMS; i++) {
        char path[24];
        cop_value value = cop_string(text, BYTES);
        int n = snprintf(path, sizeof path, "%s/%u", i < ATOMS / 5 * 4 ? "stays" : "goes", i);
        CHECK_OK(cop_txn_set_at(txn, path, (size_t)n, &value, NULL));
    }
    CHECK_OK(cop_txn_commit(txn, NULL, NULL));
    CHECK_OK(cop_txn_begin(store, &txn));
    CHECK_OK(cop_txn_erase_at(txn, P("goes"), NULL));
    CHECK_OK(cop_txn_commit(txn, NULL, NULL));
    CHECK_OK(cop_store_poll(store)); /* frees what is dead; too little to give chunks back */
    cop_stats s = stats(store);
    uint64_t limit = s.bytes_held - s.chunk_free / 2;
    limit_to(store, limit);
    ck_assert_uint_gt(s.chunk_free, 2 << 20);
    ck_assert_uint_le(stats(store).bytes_held, limit);
    free(text);
    t_close(store);
}
END_TEST

/* One thread commits, others change what the commits look at. */
static _Atomic bool stop;

static void *
keep_changing(void *context)
{
    for (uint64_t n = 0; !atomic_load(&stop); n++) {
        cop_options options = now(context);
        options.batch_updates = n & 1;
        options.snapshots_max = 10 + n % 10;
        CHECK_OK(cop_store_reconfigure(context, &options, COP_FOREVER, NULL));
    }
    return NULL;
}

START_TEST(beside_commits)
{
    cop_store *store = t_open();
    pthread_t threads[2];

    atomic_init(&stop, false);
    for (size_t i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, keep_changing, store), 0);
    for (int64_t i = 1; i <= 2000; i++)
        ck_assert_uint_eq(t_set_at(store, "n", cop_i64(i)), (uint64_t)i);
    atomic_store(&stop, true);
    for (size_t i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    t_close(store);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_test(tests, live_options_change);
    tcase_add_test(tests, all_or_nothing);
    tcase_add_test(tests, a_log_is_not_shown);
    tcase_add_test(tests, limits_are_in_force);
    tcase_add_test(tests, levels_follow_the_limit);
    tcase_add_test(tests, what_lies_free_goes_at_once);
    tcase_add_test(tests, beside_commits);
}

int
main(void)
{
    return t_run("reconfigure", add);
}

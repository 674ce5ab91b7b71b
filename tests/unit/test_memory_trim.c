/* SPDX-License-Identifier: MIT */
/*
 * Memory given back by a store: by hand and by itself, with versions held and readers at work, with memory
 * refused, and with jemalloc's arenas.
 */
#include <pthread.h>

#include "commit/combiner.h"
#include "commit/trim.h"
#include "reclaim/jemalloc.h"
#include "tests/support/dump.h"
#include "tests/support/resident.h"
#include "tests/support/store_test.h"
#include "tests/support/tree_check.h"

enum { STEADY = 2000, PEAK = 60000, IN_TXN = 1000 };

static cop_atom steady[STEADY];
static unsigned written[STEADY];

static cop_stats
stats(cop_store *store)
{
    cop_stats s = COP_STATS_INIT;

    CHECK_OK(cop_stats_take(store, &s));
    return s;
}

static cop_store *
open_small(void)
{
    cop_options options = COP_OPTIONS_INIT;
    cop_store *store;

    options.memory_chunk_bytes = 65536;
    CHECK_OK(cop_store_open(&options, &store, NULL));
    return store;
}

static void
is_right(cop_store *store)
{
    const char *wrong = tree_check(&store->tree);

    ck_assert_msg(wrong == NULL, "%s", wrong);
}

static void
set_steady(cop_txn *txn, unsigned i, unsigned round)
{
    char *text = t_bytes(40 + i % 60, round);
    cop_value value = cop_string(text, 40 + i % 60);

    CHECK_OK(cop_txn_set(txn, steady[i], &value));
    written[i] = round;
    free(text);
}

static void
make_steady(cop_store *store)
{
    cop_txn *txn;
    char path[32];

    for (unsigned i = 0; i < STEADY; i++) {
        int n = snprintf(path, sizeof path, "steady%u/atom%u", i % 100, i);
        CHECK_OK(cop_atom_at(store, path, (size_t)n, &steady[i], NULL));
    }
    CHECK_OK(cop_txn_begin(store, &txn));
    for (unsigned i = 0; i < STEADY; i++)
        set_steady(txn, i, 0);
    CHECK_OK(cop_txn_commit(txn, NULL, NULL));
}

/* Atoms come and go; beside each transaction some of the steady ones are written. */
static void
peak(cop_store *store, bool up)
{
    cop_value text = cop_string("a text that is longer than a slot has room for", 46);
    char path[48];

    for (unsigned i = 0; i < PEAK;) {
        cop_txn *txn;
        CHECK_OK(cop_txn_begin(store, &txn));
        int n = snprintf(path, sizeof path, "peak%u", i);
        if (!up)
            CHECK_OK(cop_txn_erase_at(txn, path, (size_t)n, NULL));
        for (unsigned k = 0; k < IN_TXN; k++, i++) {
            if (!up)
                continue;
            n = snprintf(path, sizeof path, "peak%u/atom%u", i - k, k);
            CHECK_OK(cop_txn_set_at(txn, path, (size_t)n, &text, NULL));
        }
        for (unsigned k = 0; k < 30; k++)
            set_steady(txn, (i * 7 + k * 131) % STEADY, i + k);
        CHECK_OK(cop_txn_commit(txn, NULL, NULL));
    }
}

static void
check_steady(cop_store *store)
{
    cop_pin_t pin = cop_pin(store);

    for (unsigned i = 0; i < STEADY; i++) {
        char *text = t_bytes(40 + i % 60, written[i]);
        cop_value value;
        CHECK_OK(cop_get(pin.snapshot, steady[i], &value));
        ck_assert_uint_eq(cop_value_length(&value), 40 + i % 60);
        ck_assert_int_eq(memcmp(cop_value_data(&value), text, 40 + i % 60), 0);
        free(text);
    }
    ck_assert_ptr_null(dump_disagreement(pin.snapshot));
    cop_unpin(pin);
}

START_TEST(by_hand)
{
    cop_store *store = open_small();
    uint64_t before, given = 1, version;
    cop_stats s;

    make_steady(store);
    CHECK_OK(cop_memory_trim(store, &given));
    before = stats(store).bytes_held;
    peak(store, true);
    ck_assert_uint_gt(stats(store).bytes_held, 5 * before);
    peak(store, false);
    version = cop_store_version(store);
    CHECK_OK(cop_memory_trim(store, &given));
    s = stats(store);
    ck_assert_uint_le(s.chunk_given_back, s.bytes_peak * 20); /* whoever did it */
    ck_assert_uint_ge(s.chunk_given_back, given);
    ck_assert_uint_lt(s.bytes_held, before * 2); /* of thirty times: what is known of every id stays */
    ck_assert_uint_lt(s.chunk_free, s.chunk_bytes / 2);
    ck_assert_uint_gt(s.chunks, 0);
    ck_assert_uint_eq(cop_store_version(store), version); /* the same version all the time */
    is_right(store);
    check_steady(store);
    CHECK_OK(cop_memory_trim(store, NULL));
    cop_store_close(store);
}
END_TEST

/* No pass is begun while less than half of what is used and 4 MiB lie free; used is as much as before and
 * what is known of ids, which is less (by_hand). */
static uint64_t
left_by_itself(uint64_t before)
{
    return before * 3 + (4 << 20) + 65536;
}

/* Small commits, or polls, and nothing else. */
START_TEST(by_itself)
{
    cop_store *store = open_small();
    uint64_t before, deadline;

    make_steady(store);
    CHECK_OK(cop_memory_trim(store, NULL));
    before = stats(store).bytes_held;
    peak(store, true);
    ck_assert_uint_gt(stats(store).bytes_held, left_by_itself(before) * 3 / 2);
    peak(store, false);
    deadline = cop_deadline_in_ms(20000);
    while (stats(store).bytes_held > left_by_itself(before) && cop__clock_ns() < deadline) {
        cop_txn *txn;
        if (_i == 0) {
            CHECK_OK(cop_store_poll(store));
            continue;
        }
        CHECK_OK(cop_txn_begin(store, &txn));
        for (unsigned k = 0; k < 100; k++)
            set_steady(txn, k * 19 % STEADY, (unsigned)cop_store_version(store));
        CHECK_OK(cop_txn_commit(txn, NULL, NULL));
    }
    ck_assert_uint_le(stats(store).bytes_held, left_by_itself(before));
    is_right(store);
    check_steady(store);
    cop_store_close(store);
}
END_TEST

/* Nobody commits or polls: who drops the snapshot does it. */
START_TEST(by_dropping)
{
    cop_store *store = open_small();
    const cop_snapshot *snapshot;
    uint64_t before;

    make_steady(store);
    CHECK_OK(cop_memory_trim(store, NULL));
    before = stats(store).bytes_held;
    peak(store, true);
    CHECK_OK(cop_snapshot_take(store, &snapshot));
    peak(store, false);
    ck_assert_uint_gt(stats(store).bytes_held, left_by_itself(before) * 3 / 2);
    cop_snapshot_drop(snapshot);
    ck_assert_uint_le(stats(store).bytes_held, left_by_itself(before));
    is_right(store);
    check_steady(store);
    cop_store_close(store);
}
END_TEST

/* A snapshot goes on showing what it showed. */
START_TEST(held_versions)
{
    cop_store *store = open_small();
    const cop_snapshot *snapshot, *late;
    uint64_t hash, late_hash;

    make_steady(store);
    peak(store, true);
    CHECK_OK(cop_snapshot_take(store, &snapshot));
    hash = dump_hash(snapshot);
    peak(store, false);
    CHECK_OK(cop_snapshot_take(store, &late));
    late_hash = dump_hash(late);
    for (unsigned i = 0; i < 3; i++) {
        CHECK_OK(cop_memory_trim(store, NULL));
        ck_assert_uint_eq(dump_hash(snapshot), hash);
        ck_assert_uint_eq(dump_hash(late), late_hash);
        is_right(store);
    }
    cop_snapshot_drop(snapshot);
    CHECK_OK(cop_memory_trim(store, NULL));
    ck_assert_uint_eq(dump_hash(late), late_hash);
    cop_snapshot_drop(late);
    CHECK_OK(cop_memory_trim(store, NULL));
    ck_assert_uint_lt(stats(store).chunk_free, stats(store).chunk_bytes / 2);
    check_steady(store);
    cop_store_close(store);
}
END_TEST

static _Atomic bool readers_stop;

static void *
read_on(void *context)
{
    cop_store *store = context;
    uint64_t wrong = 0;

    while (!atomic_load(&readers_stop)) {
        cop_pin_t pin = cop_pin(store);
        for (unsigned i = 0; i < STEADY; i += 7) {
            cop_value value;
            if (cop_get(pin.snapshot, steady[i], &value) != COP_OK)
                wrong++;
            else
                for (size_t k = 1; k < cop_value_length(&value); k++)
                    wrong += (unsigned char)(cop_value_data(&value)[k] - 'a') >= 26;
        }
        cop_unpin(pin);
    }
    return (void *)(uintptr_t)wrong;
}

/* Pins come and go while all moves. */
START_TEST(readers_beside_it)
{
    cop_store *store = open_small();
    pthread_t reader;
    void *wrong = NULL;

    make_steady(store);
    atomic_store(&readers_stop, false);
    ck_assert_int_eq(pthread_create(&reader, NULL, read_on, store), 0);
    for (unsigned i = 0; i < 2; i++) {
        peak(store, true);
        peak(store, false);
        CHECK_OK(cop_memory_trim(store, NULL));
    }
    atomic_store(&readers_stop, true);
    pthread_join(reader, &wrong);
    ck_assert_ptr_null(wrong);
    is_right(store);
    check_steady(store);
    cop_store_close(store);
}
END_TEST

/* Whatever is refused, nothing is lost. */
START_TEST(refused)
{
    cop_store *store = open_small();
    cop__memory *memory = cop__store_memory(store);

    make_steady(store);
    peak(store, true);
    peak(store, false);
    for (int64_t k = 0; k < 400; k += 1 + k / 4) {
        atomic_store(&memory->fail_countdown, k);
        atomic_store(&memory->fail_for_ever, k % 2 == 0);
        (void)cop_memory_trim(store, NULL);
        atomic_store(&memory->fail_countdown, -1);
        is_right(store);
    }
    check_steady(store);
    CHECK_OK(cop_memory_trim(store, NULL));
    cop_store_close(store);
}
END_TEST

static cop_status
trim_inside(cop_txn *txn, void *context)
{
    (void)txn;
    return cop_memory_trim(context, NULL);
}

START_TEST(where_it_may_not)
{
    cop_store *store = open_small();
    uint64_t given = 7;

    make_steady(store);
    cop__evaluating = true;
    ck_assert_int_eq(cop_memory_trim(store, &given), COP_E_IN_EVALUATION);
    cop__evaluating = false;
    ck_assert_uint_eq(given, 0);
    (void)cop_transact(store, trim_inside, store, COP_FOREVER, NULL);
    cop_store_close(store);
}
END_TEST

/* ---- large values ---- */

static void *
take(void *context, size_t size, size_t alignment)
{
    (void)context;
    return cop_allocator_libc().allocate(NULL, size, alignment);
}

static void
give(void *context, void *memory, size_t size, size_t alignment)
{
    (void)context;
    cop_allocator_libc().release(NULL, memory, size, alignment);
}

static void
purge(void *context)
{
    ++*(unsigned *)context;
}

/* Large values "large/from" ... "large/to - 1": set to so many bytes each, or erased. */
static void
large_values(cop_store *store, unsigned from, unsigned to, size_t bytes)
{
    char *text = t_bytes(bytes, 1), path[32];
    cop_value value = cop_string(text, bytes);
    cop_txn *txn;

    CHECK_OK(cop_txn_begin(store, &txn));
    for (unsigned i = from; i < to; i++) {
        int n = snprintf(path, sizeof path, "large/%u", i);
        CHECK_OK(bytes > 0 ? cop_txn_set_at(txn, path, (size_t)n, &value, NULL)
                           : cop_txn_erase_at(txn, path, (size_t)n, NULL));
    }
    CHECK_OK(cop_txn_commit(txn, NULL, NULL));
    free(text);
}

/* When most of them are gone the allocator is asked to give back what it keeps: once for each time. */
START_TEST(many_large_values_gone)
{
    enum { BYTES = 300000, COUNT = 30 };
    unsigned purged = 0;
    cop_options options = COP_OPTIONS_INIT;
    cop_store *store;

    options.allocator = (cop_allocator){take, give, NULL, &purged, purge};
    CHECK_OK(cop_store_open(&options, &store, NULL));
    for (unsigned round = 1; round < 3; round++) {
        large_values(store, 0, COUNT, BYTES);
        large_values(store, 0, 10, 0);
        for (unsigned i = 0; i < 10; i++)
            CHECK_OK(cop_store_poll(store));
        ck_assert_uint_eq(purged, round - 1); /* a third of them */
        large_values(store, 10, COUNT, 0);
        for (unsigned i = 0; i < 10; i++)
            CHECK_OK(cop_store_poll(store));
        ck_assert_uint_eq(purged, round);
    }
    CHECK_OK(cop_memory_trim(store, NULL));
    ck_assert_uint_eq(purged, 3);
    cop_store_close(store);
}
END_TEST

/* ---- effects ---- */

typedef struct looking {
    cop_store *store;
    unsigned atom;
    unsigned runs;
    const char *before; /* where the text was when it was read */
} looking;

/* The first run moves what it has read, before anybody knows that it has read it. */
static cop_status
look(cop_evaluation *evaluation, void *context)
{
    looking *l = context;
    cop_value value;

    CHECK_OK(cop_read(evaluation, steady[l->atom], &value));
    ck_assert_uint_eq(cop_value_length(&value), 40 + l->atom % 60);
    if (l->runs++ == 0) {
        l->before = cop_value_data(&value);
        CHECK_OK(cop_memory_trim(l->store, NULL));
    }
    return COP_OK;
}

/* A pass that has chosen what to move: what is pinned from now on does not hinder it. */
static void
begin_compacting(cop_store *store)
{
    CHECK_OK(cop__right_wait(store, COP_FOREVER));
    for (unsigned i = 0; i < 10000 && store->trim.phase != COP_TRIM_COMPACT; i++)
        ck_assert(cop__trim_step(store));
    ck_assert_int_eq(store->trim.phase, COP_TRIM_COMPACT);
    store->trim.next_ns = UINT64_MAX; /* the rest is for look() */
    cop__right_leave(store);
}

static unsigned
one_that_moves(cop_store *store)
{
    for (unsigned i = 0; i < STEADY; i++)
        if (cop__carver_evacuated(&store->tree.pool.values.carver,
                                  cop_value_data(cop__draft_slot(&store->tree, steady[i].id))))
            return i;
    ck_abort_msg("no text is in a sparse chunk");
    return 0;
}

/* A text that has moved is no change. */
START_TEST(moved_texts_run_no_effect)
{
    cop_store *store = open_small();
    looking l = {.store = store};
    cop_effect effect;
    cop_value value;
    cop_txn *txn;

    make_steady(store);
    store->trim.next_ns = UINT64_MAX; /* not by itself */
    peak(store, true);
    peak(store, false);
    begin_compacting(store);
    l.atom = one_that_moves(store);
    t_set_at(store, "something", cop_i64(1)); /* the effect pins a version that is newer than the pass */
    CHECK_OK(cop_effect_open(store, look, &l, NULL, &effect, NULL));
    CHECK_OK(cop_effects_settle(store, cop_deadline_in_ms(20000)));
    cop_pin_t pin = cop_pin(store);
    CHECK_OK(cop_get(pin.snapshot, steady[l.atom], &value));
    ck_assert_ptr_ne(cop_value_data(&value), l.before);
    cop_unpin(pin);
    ck_assert_uint_eq(l.runs, 1);
    CHECK_OK(cop_txn_begin(store, &txn));
    set_steady(txn, l.atom, written[l.atom] + 1);
    CHECK_OK(cop_txn_commit(txn, NULL, NULL));
    CHECK_OK(cop_effects_settle(store, cop_deadline_in_ms(20000)));
    ck_assert_uint_eq(l.runs, 2);
    check_steady(store);
    cop_store_close(store);
}
END_TEST

/* ---- jemalloc ---- */

START_TEST(arenas)
{
    cop_options options = COP_OPTIONS_INIT;
    cop_store *store;
    cop_status status = cop_allocator_jemalloc(&options.allocator);
    uint64_t given, before, after;

    if (status == COP_E_UNSUPPORTED)
        return;
    CHECK_OK(status);
    CHECK_OK(cop_store_open(&options, &store, NULL));
    make_steady(store);
    before = resident_bytes();
    peak(store, true);
    peak(store, false);
    CHECK_OK(cop_memory_trim(store, &given));
    after = resident_bytes();
    ck_assert_uint_lt(after, before + (8 << 20));
    check_steady(store);
    cop_store_close(store);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_set_timeout(tests, 240);
    tcase_add_test(tests, by_hand);
    tcase_add_loop_test(tests, by_itself, 0, 2);
    tcase_add_test(tests, by_dropping);
    tcase_add_test(tests, held_versions);
    tcase_add_test(tests, readers_beside_it);
    tcase_add_test(tests, refused);
    tcase_add_test(tests, where_it_may_not);
    tcase_add_test(tests, many_large_values_gone);
    tcase_add_test(tests, moved_texts_run_no_effect);
    tcase_add_test(tests, arenas);
}

int
main(void)
{
    return t_run("memory_trim", add);
}

/* SPDX-License-Identifier: MIT */
/*
 * The pin core: each case of a scan, made by hand in the slot; and readers beside a committer that
 * frees, on real threads, with membarrier where there is one and with fences.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef __linux__
#include <linux/membarrier.h>
#endif

#include "base/atomic.h"
#include "base/base.h"
#include "reclaim/pin.h"
#include "tests/support/quick_check.h"

/* --- one thread ------------------------------------------------------------------------------- */

struct record {
    uint64_t version;
    unsigned reported;
};

static struct record records[8];
static struct cop__pin_slot slot, other;
static struct cop__pin_slot *const both[] = {&slot, &other};
static _Atomic(void *) root;
static unsigned reports;
static unsigned heavies;
static void (*at_second)(void); /* what the reader does between P2 and P3 */

static void
start(void)
{
    memset(records, 0, sizeof records);
    memset(&slot, 0, sizeof slot);
    memset(&other, 0, sizeof other);
    atomic_store(&root, &records[0]);
    at_second = NULL;
}

static void
count_heavy(void *context)
{
    ck_assert_ptr_eq(context, &reports);
    if (++heavies == 2 && at_second)
        at_second();
}

static void
count_held(void *context, void *record)
{
    ck_assert_ptr_eq(context, &reports);
    ((struct record *)record)->reported++;
    reports++;
}

/* Scans with record `current`; returns how many pending pins were bound. */
static size_t
scan(unsigned current)
{
    size_t resolved = 99;

    for (size_t i = 0; i < sizeof records / sizeof *records; i++)
        records[i].reported = 0;
    reports = heavies = 0;
    atomic_store(&root, &records[current]);
    cop__pin_collect(both, 2, &records[current], count_heavy, &reports, count_held, false,
                     &resolved);
    return resolved;
}

/* Nothing but these was reported; -1 for fewer. */
static void
expect_held(int a, int b)
{
    unsigned seen = 0;

    for (int i = 0; i < 8; i++)
        if (records[i].reported > 0) {
            ck_assert_msg(i == a || i == b, "record %d was reported", i);
            seen++;
        }
    ck_assert_uint_eq(seen, (unsigned)(a >= 0) + (unsigned)(b >= 0));
}

static void
set_state(uint64_t state)
{
    cop__store_release(&slot.state[0], state);
}

static uint64_t
address(unsigned record)
{
    return (uint64_t)(uintptr_t)&records[record];
}

/* S and W1. */
static uint64_t
become_pending(void)
{
    uint64_t sequence = cop__load_relaxed(&slot.sequence[0]) + 1;

    cop__store_release(&slot.sequence[0], sequence);
    set_state(sequence << 1 | 1);
    return sequence;
}

START_TEST(layout)
{
    ck_assert_uint_eq(sizeof(struct cop__pin_slot), 3 * COP_CACHE_LINE);
    ck_assert_uint_eq(_Alignof(struct cop__pin_slot), COP_CACHE_LINE);
    ck_assert_uint_lt(offsetof(struct cop__pin_slot, sequence), COP_CACHE_LINE);
    ck_assert_uint_eq(offsetof(struct cop__pin_slot, help_sequence), COP_CACHE_LINE);
    ck_assert_uint_eq(offsetof(struct cop__pin_slot, fate), 2 * COP_CACHE_LINE);
}
END_TEST

START_TEST(free_slots_hold_nothing)
{
    size_t resolved = 99;

    start();
    ck_assert_uint_eq(scan(1), 0);
    expect_held(-1, -1);
    ck_assert_uint_eq(heavies, 1);
    cop__pin_collect(NULL, 0, &records[0], count_heavy, &reports, count_held, false, &resolved);
    ck_assert_uint_eq(resolved, 0);
    cop__pin_collect(both, 2, &records[0], count_heavy, &reports, count_held, false, NULL);
}
END_TEST

START_TEST(a_pin_holds_what_it_read)
{
    bool fence = _i != 0;

    start();
    ck_assert_ptr_eq(cop__pin_begin(&slot, 0, &root, fence), &records[0]);
    ck_assert_uint_eq(scan(1), 0);
    expect_held(0, -1);
    ck_assert_uint_eq(heavies, 1);
    cop__pin_end(&slot, 0);
    scan(2);
    expect_held(-1, -1);
}
END_TEST

START_TEST(nested_pins_are_independent)
{
    start();
    for (unsigned i = 0; i < COP__PIN_NESTED; i++) {
        atomic_store(&root, &records[i]);
        ck_assert_ptr_eq(cop__pin_begin(&slot, i, &root, false), &records[i]);
        ck_assert_ptr_eq(cop__pin_begin(&other, i, &root, true), &records[i]);
    }
    cop__pin_end(&slot, 1);
    cop__pin_end(&other, 1);
    scan(7);
    ck_assert_uint_eq(reports, 6);
    ck_assert_uint_eq(records[0].reported, 2);
    ck_assert_uint_eq(records[1].reported, 0);
    ck_assert_uint_eq(records[2].reported, 2);
    ck_assert_uint_eq(records[3].reported, 2);
}
END_TEST

START_TEST(a_scan_with_fences_needs_no_heavy)
{
    size_t resolved = 99;

    start();
    become_pending();
    cop__pin_collect(both, 2, &records[0], NULL, &reports, count_held, true, &resolved);
    ck_assert_uint_eq(resolved, 1);
    ck_assert_uint_eq(records[0].reported, 1);
}
END_TEST

/* Arguments 6 and 7: bound at the first scan, and to that version for good. */
START_TEST(a_pending_pin_is_bound)
{
    uint64_t sequence;

    start();
    sequence = become_pending();
    ck_assert_uint_eq(scan(1), 1);
    expect_held(1, -1);
    ck_assert_uint_eq(heavies, 2);
    ck_assert_uint_eq(slot.help_sequence[0], sequence);
    ck_assert_uint_eq(scan(2), 0); /* it is bound already */
    expect_held(1, -1);
    ck_assert_uint_eq(heavies, 1);
    set_state(address(0)); /* W2 of what it read long ago: not reported */
    scan(3);
    expect_held(1, -1);
    ck_assert_ptr_eq(cop__pin_adopt(&slot, 0), &records[1]);
    scan(4);
    expect_held(1, -1);
    scan(5);
    expect_held(1, -1);
    cop__pin_end(&slot, 0);
    scan(6);
    expect_held(-1, -1);
}
END_TEST

START_TEST(a_bound_pin_may_end_unseen)
{
    start();
    become_pending();
    scan(1);
    cop__pin_end(&slot, 0);
    ck_assert_ptr_eq(cop__pin_begin(&slot, 0, &root, false), &records[1]);
    atomic_store(&root, &records[2]);
    cop__pin_end(&slot, 0);
    ck_assert_ptr_eq(cop__pin_begin(&slot, 0, &root, false), &records[2]);
    scan(3);
    expect_held(2, -1);
    become_pending(); /* the next pin is posted to anew */
    ck_assert_uint_eq(scan(4), 1);
    expect_held(4, -1);
}
END_TEST

/* The reader's own code adopts: what it reads as the root is not what it returns. */
START_TEST(begin_adopts_the_posting)
{
    bool fence = _i != 0;

    start();
    slot.help_sequence[0] = 1; /* as posted to its first pin */
    atomic_store(&slot.help_root[0], &records[5]);
    ck_assert_ptr_eq(cop__pin_begin(&slot, 0, &root, fence), &records[5]);
    ck_assert_uint_eq(slot.state[0], address(5));
    cop__pin_end(&slot, 0);
    ck_assert_ptr_eq(cop__pin_begin(&slot, 0, &root, fence), &records[0]);
}
END_TEST

static void
become_exact_old(void)
{
    set_state(address(0));
}

static void
become_exact_current(void)
{
    set_state(address(1));
}

static void
end_pin(void)
{
    cop__pin_end(&slot, 0);
}

static void
end_and_begin(void)
{
    cop__pin_end(&slot, 0);
    cop__pin_begin(&slot, 0, &root, false);
}

static void
end_and_become_pending(void)
{
    cop__pin_end(&slot, 0);
    become_pending();
}

START_TEST(exact_at_the_second_look_counts_both)
{
    bool adopts = _i != 0;

    start();
    become_pending();
    at_second = become_exact_old;
    ck_assert_uint_eq(scan(1), 0);
    expect_held(0, 1);
    scan(2);
    expect_held(0, 1);
    if (adopts) {
        cop__pin_adopt(&slot, 0);
        scan(3);
        expect_held(1, -1);
        scan(4);
        expect_held(1, -1);
    }
    cop__pin_end(&slot, 0);
    scan(5);
    expect_held(-1, -1);
}
END_TEST

START_TEST(exact_and_current_counts_once)
{
    start();
    become_pending();
    at_second = become_exact_current;
    ck_assert_uint_eq(scan(1), 0);
    expect_held(1, -1);
    scan(2);
    expect_held(1, -1);
}
END_TEST

/* Argument 8. */
START_TEST(pins_that_are_over_at_the_second_look)
{
    static void (*const ends[])(void) = {end_pin, end_and_begin, end_and_become_pending};

    start();
    become_pending();
    at_second = ends[_i];
    ck_assert_uint_eq(scan(1), 0);
    expect_held(-1, -1);
    at_second = NULL;
    ck_assert_uint_eq(scan(2), _i == 2 ? 1 : 0);
    expect_held(_i == 0 ? -1 : _i, -1); /* the new pin has read record 1, or is bound to 2 */
}
END_TEST

/* --- real threads ----------------------------------------------------------------------------- */

#define THREADS 3
#define RACE_POOL (2 + 2 * THREADS * 2)
#define PUBLICATIONS 20000
#define POISON UINT64_C(0xdeaddeaddeaddead)

/* Plain fields, so that the thread sanitizer checks the order that the pins give. */
struct race_record {
    uint64_t version;
    uint64_t twice;
    bool live; /* the committer's */
    bool kept;
};

static struct race {
    struct race_record records[RACE_POOL];
    struct cop__pin_slot slots[THREADS];
    _Atomic(void *) root;
    _Atomic bool stop;
    _Atomic unsigned wrong;
    bool fence;
} race;

static void
race_check(const struct race_record *record, uint64_t *last)
{
    uint64_t version = record->version;

    if (record->twice != 2 * version || version < *last)
        atomic_fetch_add(&race.wrong, 1);
    *last = version;
}

static void *
race_reader(void *context)
{
    struct cop__pin_slot *own = context;
    uint64_t last = 0;

    while (!atomic_load_explicit(&race.stop, memory_order_relaxed)) {
        race_check(cop__pin_begin(own, 0, &race.root, race.fence), &last);
        race_check(cop__pin_begin(own, 1, &race.root, race.fence), &last);
        cop__pin_end(own, 0);
        cop__pin_end(own, 1);
    }
    return NULL;
}

static void
race_heavy(void *context)
{
    (void)context;
#ifdef MEMBARRIER_CMD_PRIVATE_EXPEDITED
    syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0);
#endif
}

static bool
have_membarrier(void)
{
#ifdef MEMBARRIER_CMD_PRIVATE_EXPEDITED
    return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0) == 0;
#else
    return false;
#endif
}

static void
race_held(void *context, void *reported)
{
    struct race_record *record = reported;

    (void)context;
    if (!record->live)
        atomic_fetch_add(&race.wrong, 1);
    record->kept = true;
}

static void
race_publish(uint64_t version)
{
    struct race_record *record;
    unsigned i = 0;

    while (i < RACE_POOL && race.records[i].live)
        i++;
    ck_assert_uint_lt(i, RACE_POOL); /* more would be held than two for each pin */
    record = &race.records[i];
    record->version = version;
    record->twice = 2 * version;
    record->live = true;
    cop__store_release(&race.root, record);
}

static void
race_free(void)
{
    struct cop__pin_slot *list[THREADS];
    struct race_record *current = cop__load_relaxed(&race.root);

    for (unsigned i = 0; i < THREADS; i++)
        list[i] = &race.slots[i];
    cop__pin_collect(list, THREADS, current, race_heavy, NULL, race_held, race.fence, NULL);
    for (unsigned i = 0; i < RACE_POOL; i++) {
        struct race_record *record = &race.records[i];

        if (record->live && !record->kept && record != current) {
            record->live = false;
            record->version = POISON;
            record->twice = 0;
        }
        record->kept = false;
    }
}

START_TEST(readers_beside_a_committer)
{
    pthread_t threads[THREADS];

    memset(&race, 0, sizeof race);
    race.fence = _i != 0 || !have_membarrier();
    race_publish(1);
    for (unsigned i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, race_reader, &race.slots[i]), 0);
    for (uint64_t version = 2; version < PUBLICATIONS; version++) {
        race_publish(version);
        race_free();
    }
    atomic_store(&race.stop, true);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_eq(race.wrong, 0);
    race_free();
    for (unsigned i = 0; i < RACE_POOL; i++)
        ck_assert(race.records[i].live == (&race.records[i] == race.root));
}
END_TEST

static Suite *
pin_suite(void)
{
    Suite *suite = suite_create("pin");
    TCase *scans = tcase_create("scans");
    TCase *threads = tcase_create("threads");

    tcase_set_timeout(scans, 120);
    tcase_set_timeout(threads, 120);
    tcase_add_test(scans, layout);
    tcase_add_test(scans, free_slots_hold_nothing);
    tcase_add_loop_test(scans, a_pin_holds_what_it_read, 0, 2);
    tcase_add_test(scans, nested_pins_are_independent);
    tcase_add_test(scans, a_scan_with_fences_needs_no_heavy);
    tcase_add_test(scans, a_pending_pin_is_bound);
    tcase_add_test(scans, a_bound_pin_may_end_unseen);
    tcase_add_loop_test(scans, begin_adopts_the_posting, 0, 2);
    tcase_add_loop_test(scans, exact_at_the_second_look_counts_both, 0, 2);
    tcase_add_test(scans, exact_and_current_counts_once);
    tcase_add_loop_test(scans, pins_that_are_over_at_the_second_look, 0, 3);
    tcase_add_loop_test(threads, readers_beside_a_committer, 0, 2);
    suite_add_tcase(suite, scans);
    suite_add_tcase(suite, threads);
    return suite;
}

int
main(void)
{
    SRunner *runner = srunner_create(pin_suite());
    int failed;

    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

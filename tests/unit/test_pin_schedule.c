/* SPDX-License-Identifier: MIT */
/*
 * The code of the pin core under a seeded scheduler, on a simulated TSO processor.
 *
 * pin.h and pin.c are compiled into this program with other atomic helpers: each access is a step
 * of the scheduler, and each thread's stores wait in a buffer of its own, which an actor drains
 * when the schedule lets it; exchanges, fences and the heavy barrier drain it at once. Records come
 * from a small pool; a freed one is poisoned and soon used again.
 *
 * A failing seed is printed. COP_SCHEDULE_SEED=N runs that seed alone, COP_SCHEDULE_SEEDS=N changes
 * how many are tried. Both planted faults are switched on from inside, in every build; COP_FAULT in
 * a build with planted faults makes the program fail, as it should.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "base/base.h"
#include "tests/support/quick_check.h"
#include "tests/support/schedule.h"

/* --- the simulated processor ------------------------------------------------------------------ */

#define READERS 2
#include "tests/support/tso.h"

/* The first reader stops before the access with this number. */
static unsigned accesses;
static unsigned stop_at;
#define NEVER_STOP UINT32_MAX

static void committer_point(void);

static void
sim_access(const char *where)
{
    schedule_step(where);
    if (own == committer_buffer)
        committer_point();
    if (own == &buffers[0] && accesses++ == stop_at)
        schedule_stop();
}

#include "reclaim/pin.c" /* NOLINT(bugprone-suspicious-include) */

/* --- the world: records, readers, a committer ------------------------------------------------- */

#define NESTED 2
#define POOL 2048 /* far more than the stopped readers need: a freed record stays freed a while */
#define POISON UINT64_C(0xdead)

struct record {
    uint64_t version; /* POISON when free */
    bool reported;
};

struct reader {
    struct cop__pin_slot *slot;
    struct buffer *buffer;
    unsigned rounds;
};

static struct record records[POOL];
static struct record *free_records[POOL];
static unsigned pool;
static unsigned free_count;
static uint64_t latest;
static _Atomic(void *) root;
static struct cop__pin_slot slots[READERS];
static struct cop__pin_slot *const slot_list[READERS] = {&slots[0], &slots[1]};
static struct reader readers[READERS];
static bool fence;
static char failure[128];

/* The points of a scan at which the first reader may be moved on, counted from the start of each
 * heavy barrier: before it drains, after, and before each access of the committer's. */
enum point { POINT_NONE, BEFORE_DRAIN, AFTER_DRAIN, BEFORE_FIRST_LOAD, BEFORE_SECOND_LOAD };

#define NUDGES 2
static struct nudge {
    unsigned heavy; /* which heavy barrier of the run, from 1; 0: none */
    enum point point;
    unsigned stop_at;
} nudges[NUDGES];
static unsigned heavies;
static unsigned points;

static void
broken(const char *what, uint64_t got, uint64_t wanted)
{
    if (!*failure)
        snprintf(failure, sizeof failure, "%s: version %llx, expected %llu", what,
                 (unsigned long long)got, (unsigned long long)wanted);
}

static struct record *
current_record(void)
{
    return (struct record *)(uintptr_t)peek(&root);
}

static void
world_init(unsigned pool_size, bool with_fence)
{
    pool = pool_size;
    fence = with_fence;
    memset(slots, 0, sizeof slots);
    memset(buffers, 0, sizeof buffers);
    memset(nudges, 0, sizeof nudges);
    failure[0] = '\0';
    heavies = 0;
    points = 0;
    hold_drains = false;
    accesses = 0;
    stop_at = NEVER_STOP;
    latest = 1;
    records[0] = (struct record){.version = latest};
    poke(&root, (uint64_t)(uintptr_t)&records[0]);
    free_count = 0;
    for (unsigned i = 1; i < pool; i++) {
        records[i] = (struct record){.version = POISON};
        free_records[free_count++] = &records[i];
    }
}

/* --- readers ---------------------------------------------------------------------------------- */

static struct record *
begin_pin(struct reader *reader, unsigned i, uint64_t *version)
{
    uint64_t began = current_record()->version;
    struct record *record = cop__pin_begin(reader->slot, i, &root, fence);

    *version = record->version;
    if (*version == POISON || *version < began)
        broken("a pin got a freed or an old record", *version, began);
    return record;
}

static void
use_record(const struct record *record, uint64_t version)
{
    schedule_step("use");
    if (record->version != version)
        broken("a pinned record was freed or used again", record->version, version);
}

static void
reader_body(void *context)
{
    struct reader *reader = context;
    struct record *outer, *inner;
    uint64_t outer_version, inner_version;

    own = reader->buffer;
    for (unsigned round = 0; round < reader->rounds && !*failure; round++) {
        outer = begin_pin(reader, 0, &outer_version);
        if (round % 2 == 1) {
            inner = begin_pin(reader, 1, &inner_version);
            use_record(inner, inner_version);
            cop__pin_end(reader->slot, 1);
        }
        use_record(outer, outer_version);
        cop__pin_end(reader->slot, 0);
    }
}

/* --- the committer ---------------------------------------------------------------------------- */

static void
committer_point(void)
{
    points++;
    for (unsigned i = 0; i < NUDGES; i++) {
        if (nudges[i].heavy != heavies || nudges[i].point != (enum point)points)
            continue;
        stop_at = nudges[i].stop_at;
        schedule_resume(&schedule, 0);
        schedule_yield();
    }
}

static void
heavy(void *context)
{
    (void)context;
    heavies++;
    points = 0;
    schedule_step("heavy");
    drain_all(committer_buffer);
    committer_point();
    for (unsigned i = 0; i < READERS; i++) {
        schedule_step("heavy");
        drain_all(&buffers[i]);
    }
    committer_point();
}

static void
held(void *context, void *reported)
{
    struct record *record = reported;

    (void)context;
    if (record->version == POISON)
        broken("the scan reported a freed record", record->version, latest);
    record->reported = true;
}

static void
publish(void)
{
    struct record *record;
    unsigned i;

    if (free_count == 0) {
        broken("every record is held", latest, latest);
        return;
    }
    i = (unsigned)(schedule_random(&schedule) % free_count);
    record = free_records[i];
    free_records[i] = free_records[--free_count];
    record->version = ++latest;
    cop__store_release(&root, record);
}

/* Frees what no pin holds; returns how many records besides the current one stay. */
static unsigned
scan_and_free(void)
{
    struct record *current = cop__load_relaxed(&root);
    unsigned kept = 0;

    cop__pin_collect(slot_list, READERS, current, heavy, NULL, held, fence, NULL);
    for (unsigned i = 0; i < pool; i++) {
        if (records[i].version == POISON || &records[i] == current) {
            records[i].reported = false;
        } else if (records[i].reported) {
            records[i].reported = false;
            kept++;
        } else {
            records[i].version = POISON;
            free_records[free_count++] = &records[i];
        }
    }
    return kept;
}

static void
committer_body(void *context)
{
    unsigned publications = *(unsigned *)context;

    own = committer_buffer;
    for (unsigned i = 0; i < publications && !*failure; i++) {
        publish();
        scan_and_free();
    }
    drain_all(own);
}

/* --- seeds ------------------------------------------------------------------------------------ */

static void
add_reader(unsigned i, unsigned rounds)
{
    readers[i] = (struct reader){.slot = &slots[i], .buffer = &buffers[i], .rounds = rounds};
    schedule_thread(&schedule, reader_body, &readers[i]);
}

static void
add_drains(void)
{
    for (unsigned i = 0; i <= READERS; i++)
        schedule_passive(&schedule, drain_ready, drain_one, &buffers[i]);
}

/* Turns are slow under the thread sanitizer, which has little to find in threads that take turns.
 */
#ifdef __SANITIZE_THREAD__
#define SEEDS 2000
#define COMMITS 100000u
#else
#define SEEDS 12000
#define COMMITS 1000000u
#endif

/* About how many steps a run takes. */
#define LENGTH_SMALL 160
#define LENGTH_FULL 400

/* Runs one seed; false when it found something, which is then in `failure`. Of four seeds, two are
 * PCT and two walk at random; one of each has a single reader. */
static bool
run_seed(uint64_t seed, bool with_fence)
{
    bool small = seed % 4 < 2;
    unsigned publications = small ? 6 : 8;

    /* Current, next, and two for each pin that can be open. */
    world_init(2 + 2 * READERS * NESTED, with_fence);
    schedule_init(&schedule, seed, 1 + (unsigned)(seed / 4 % SCHEDULE_CHANGES),
                  small ? LENGTH_SMALL : LENGTH_FULL);
    if (seed % 2 == 1)
        schedule_walk(&schedule, 2 + (unsigned)(seed / 4 % 15));
    for (unsigned i = 0; i < (small ? 1 : READERS); i++)
        add_reader(i, small ? 6 : 4);
    schedule_thread(&schedule, committer_body, &publications);
    add_drains();
    schedule_run(&schedule);
    return !*failure;
}

static uint64_t
from_environment(const char *name, uint64_t fallback)
{
    const char *text = getenv(name);

    return text && *text ? strtoull(text, NULL, 0) : fallback;
}

/* The first seed that finds something, or 0. */
static uint64_t
first_failing_seed(bool with_fence)
{
    uint64_t only = from_environment("COP_SCHEDULE_SEED", 0);
    uint64_t last = only ? only : from_environment("COP_SCHEDULE_SEEDS", SEEDS);

    for (uint64_t seed = only ? only : 1; seed <= last; seed++)
        if (!run_seed(seed, with_fence))
            return seed;
    return 0;
}

static void
expect_no_failing_seed(bool with_fence)
{
    uint64_t seed = first_failing_seed(with_fence);

    ck_assert_msg(seed == 0, "seed %llu (COP_SCHEDULE_SEED replays it): %s",
                  (unsigned long long)seed, failure);
}

START_TEST(no_seed_breaks_the_pins)
{
    expect_no_failing_seed(false);
}
END_TEST

START_TEST(no_seed_breaks_fenced_pins)
{
    expect_no_failing_seed(true);
}
END_TEST

START_TEST(a_seed_replays_exactly)
{
    uint64_t trace, steps;

    run_seed(7, false);
    trace = schedule_trace(&schedule);
    steps = schedule.steps;
    ck_assert_uint_gt(steps, LENGTH_FULL / 3);
    for (unsigned i = 0; i < 20; i++) {
        run_seed(7, false);
        ck_assert_uint_eq(schedule_trace(&schedule), trace);
        ck_assert_uint_eq(schedule.steps, steps);
    }
    run_seed(8, false);
    ck_assert_uint_ne(schedule_trace(&schedule), trace);
}
END_TEST

static void
expect_caught(enum cop__fault fault, const char *name, bool with_fence)
{
    char found[sizeof failure];
    uint64_t seed, trace;

    planted = fault;
    seed = first_failing_seed(with_fence);
    ck_assert_msg(seed != 0, "%s was not caught", name);
    memcpy(found, failure, sizeof found);
    trace = schedule_trace(&schedule);
    printf("%s%s: caught by seed %llu: %s\n", name, with_fence ? " (fenced)" : "",
           (unsigned long long)seed, found);
    for (unsigned i = 0; i < 20; i++) {
        ck_assert(!run_seed(seed, with_fence));
        ck_assert_str_eq(failure, found);
        ck_assert_uint_eq(schedule_trace(&schedule), trace);
    }
    planted = COP_FAULTS;
}

START_TEST(pending_ignored_is_caught)
{
    expect_caught(COP_FAULT_pending_ignored, "pending_ignored", _i != 0);
}
END_TEST

START_TEST(help_without_barrier_is_caught)
{
    expect_caught(COP_FAULT_help_without_barrier, "help_without_barrier", _i != 0);
}
END_TEST

/* --- stopped readers -------------------------------------------------------------------------- */

#define SCAN_EVERY 256u

/* The accesses of a pin in the order of its program; a reader stops before one of them. A pin that
 * is helped has two more, so the next one begins at NEXT_PIN. */
enum place { AT_LOAD, AT_S, AT_W1, AT_R1, AT_W2, AT_R2, AT_U, PLACES, NEXT_PIN = AT_U + 3 };

static unsigned most_kept, least_kept;
static uint64_t long_seed = 1; /* decides which records are used again */

/* Yielding lets everything else run until it stops, ends or is drained. */
static void
long_committer_body(void *context)
{
    unsigned kept;

    (void)context;
    own = committer_buffer;
    schedule_yield();
    for (unsigned i = 1; i <= COMMITS && !*failure; i++) {
        publish();
        if (i % SCAN_EVERY != 0)
            continue;
        kept = scan_and_free();
        if (i == SCAN_EVERY)
            continue; /* what it holds may be the current version still */
        most_kept = kept > most_kept ? kept : most_kept;
        least_kept = kept < least_kept ? kept : least_kept;
    }
    hold_drains = false;
    schedule_resume(&schedule, 0);
    schedule_yield();
    if (scan_and_free() != 0)
        broken("records are held after the last pin", latest, latest);
}

/* Stops the reader at a place, moves it on twice if asked to, and lets it finish after COMMITS. */
static void
stop_reader(enum place place, bool with_fence, bool hold, struct nudge first, struct nudge second)
{
    world_init(POOL, with_fence);
    stop_at = (unsigned)place;
    hold_drains = hold;
    nudges[0] = first;
    nudges[1] = second;
    most_kept = 0;
    least_kept = UINT32_MAX;
    schedule_init(&schedule, long_seed, 0, 1);
    add_reader(0, 2);
    schedule_thread(&schedule, long_committer_body, NULL);
    add_drains();
    schedule_run(&schedule);
    ck_assert_msg(!*failure, "%s", failure);
}

#define NO_NUDGE ((struct nudge){0})

/* Between W1 and W2 the reader has no record yet, and still holds one version and not all later
 * ones. Before W1 it holds nothing. */
START_TEST(stopped_reader_holds_one_version)
{
    enum place place = (enum place)(_i % PLACES);
    bool with_fence = _i / PLACES == 2;
    bool hold = _i / PLACES == 1;

    stop_reader(place, with_fence, hold, NO_NUDGE, NO_NUDGE);
    ck_assert_uint_eq(most_kept, place > AT_W1 ? 1 : 0);
    ck_assert_uint_eq(least_kept, most_kept);
}
END_TEST

/* Seen pending, then exact: the reader is stopped before it looks for the posting. */
START_TEST(reader_stopped_in_the_race_holds_two)
{
    stop_reader(AT_W2, false, false, (struct nudge){2, BEFORE_DRAIN, AT_R2}, NO_NUDGE);
    ck_assert_uint_eq(most_kept, 2);
    ck_assert_uint_eq(least_kept, 2);
}
END_TEST

/* The other way: it has looked before the posting was there, and its W2 was still buffered. */
START_TEST(reader_past_the_race_holds_two)
{
    stop_reader(AT_W2, false, true, (struct nudge){1, AFTER_DRAIN, AT_U}, NO_NUDGE);
    ck_assert_uint_eq(most_kept, 2);
    ck_assert_uint_eq(least_kept, 2);
}
END_TEST

/* A bound pin, its stale address stored, ends and the next begins between the two loads of a look
 * (argument 3): the address must not be taken for the next pin's record. */
START_TEST(pin_that_ends_within_a_look)
{
    long_seed = (uint64_t)_i;
    stop_reader(AT_W2, false, false, (struct nudge){3, BEFORE_DRAIN, AT_R2},
                (struct nudge){4, BEFORE_SECOND_LOAD, NEXT_PIN + AT_W1});
    ck_assert_uint_eq(most_kept, 1);
    ck_assert_uint_eq(least_kept, 0);
}
END_TEST

/* A bound pin has been seen to end and what was posted to it is freed: the next pin, exact when it
 * is first seen, must not be taken for it. */
START_TEST(posting_is_forgotten_with_its_pin)
{
    long_seed = (uint64_t)_i;
    stop_reader(AT_W2, false, false, (struct nudge){3, BEFORE_DRAIN, NEXT_PIN},
                (struct nudge){4, BEFORE_FIRST_LOAD, NEXT_PIN + AT_R2});
    ck_assert_uint_eq(most_kept, 1);
    ck_assert_uint_eq(least_kept, 0);
}
END_TEST

static Suite *
pin_schedule_suite(void)
{
    Suite *suite = suite_create("pin_schedule");
    TCase *seeds = tcase_create("seeds");
    TCase *faults = tcase_create("faults");
    TCase *stopped = tcase_create("stopped");

    tcase_set_timeout(seeds, 120);
    tcase_set_timeout(faults, 120);
    tcase_set_timeout(stopped, 120);
    tcase_add_test(seeds, no_seed_breaks_the_pins);
    tcase_add_test(seeds, no_seed_breaks_fenced_pins);
    tcase_add_test(seeds, a_seed_replays_exactly);
    tcase_add_loop_test(faults, pending_ignored_is_caught, 0, 2);
    tcase_add_test(faults, help_without_barrier_is_caught);
    tcase_add_loop_test(stopped, stopped_reader_holds_one_version, 0, 3 * PLACES);
    tcase_add_test(stopped, reader_stopped_in_the_race_holds_two);
    tcase_add_test(stopped, reader_past_the_race_holds_two);
    tcase_add_loop_test(stopped, pin_that_ends_within_a_look, 1, 4);
    tcase_add_loop_test(stopped, posting_is_forgotten_with_its_pin, 1, 4);
    suite_add_tcase(suite, seeds);
    suite_add_tcase(suite, faults);
    suite_add_tcase(suite, stopped);
    return suite;
}

int
main(void)
{
    SRunner *runner = srunner_create(pin_schedule_suite());
    int failed;

    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* SPDX-License-Identifier: MIT */
/*
 * The code by which revoked snapshots are let go, under a seeded scheduler, on a simulated TSO processor.
 *
 * handle_pin.h and the pin core are compiled into this program. Readers come through handles, with and without
 * a slot, and pin the newest record in between, in the same words; the committer publishes, gives, revokes,
 * scans, lets go and frees; handles are dropped and given again as soon as nobody uses them.
 *
 * A failing seed is printed. COP_SCHEDULE_SEED=N runs that seed alone, COP_SCHEDULE_SEEDS=N changes how many
 * are tried.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "base/base.h"
#include "tests/support/quick_check.h"
#include "tests/support/schedule.h"

#define READERS 2
#include "tests/support/tso.h"

static void
sim_access(const char *where)
{
    schedule_step(where);
}

#include "reclaim/pin.c" /* NOLINT(bugprone-suspicious-include) */

#include "reclaim/handle_pin.h"

/* --- the world -------------------------------------------------------------------------------- */

#define HANDLES 3
#define POOL 16
#define POISON UINT64_C(0xdead)

struct record {
    uint64_t version; /* POISON when free */
    bool reported;
};

/* `of` is read by readers; the rest is the user's and the committer's own, and handed on with the turns. */
struct handle {
    _Alignas(64) struct cop__handle_pins pins;
    _Atomic(void *) of;
    enum life { FREE, LIVE, REVOKED, EMPTY } life;
    struct record *record; /* held */
    uint64_t version;
    unsigned users;
};

struct reader {
    struct cop__pin_slot *slot;
    unsigned number, rounds;
};

static struct record records[POOL];
static struct handle handles[HANDLES];
static uint64_t latest, scan_number;
static _Atomic(void *) root;
static struct cop__pin_slot slots[READERS];
static struct cop__pin_slot *const slot_list[READERS] = {&slots[0], &slots[1]};
static struct reader readers[READERS];
static bool fence, without_barrier;
static unsigned expired, right;
static char failure[128];

static void
broken(const char *what, uint64_t got, uint64_t wanted)
{
    if (!*failure)
        snprintf(failure, sizeof failure, "%s: version %llx, expected %llu", what,
                 (unsigned long long)got, (unsigned long long)wanted);
}

static void
world_init(bool with_fence)
{
    fence = with_fence;
    memset(slots, 0, sizeof slots);
    memset(buffers, 0, sizeof buffers);
    memset(handles, 0, sizeof handles);
    failure[0] = '\0';
    hold_drains = false;
    scan_number = 0;
    latest = 1;
    for (unsigned i = 0; i < POOL; i++)
        records[i] = (struct record){.version = POISON};
    records[0].version = latest;
    poke(&root, (uint64_t)(uintptr_t)&records[0]);
}

static void
use_record(const struct record *record, uint64_t version)
{
    for (unsigned i = 0; i < 2; i++) {
        if (record == NULL || record->version != version) {
            broken("what is read was let go", record != NULL ? record->version : 0, version);
            return;
        }
        schedule_step("use");
    }
}

/* --- readers ---------------------------------------------------------------------------------- */

/* One call through a handle: word i of the slot, or none for i == NONE. */
#define NONE 9u
static void
call(struct reader *reader, struct handle *handle, unsigned i)
{
    bool begun = i == NONE ? cop__handle_begin_other(&handle->pins)
                           : cop__handle_begin(reader->slot, i, &handle->pins, fence);

    if (!begun) {
        expired++;
        return;
    }
    use_record(LOAD(&handle->of), handle->version);
    right++;
    if (i == NONE)
        cop__handle_end_other(&handle->pins);
    else
        cop__pin_end(reader->slot, i);
}

/* The user hands a handle to a thread, and learns that the thread has done with it: what was stored
 * before is seen then. */
static struct handle *
handle_get(unsigned i)
{
    if (handles[i].life == FREE)
        return NULL;
    handles[i].users++;
    return &handles[i];
}

static void
handle_return(struct handle *handle)
{
    drain_all(own);
    handle->users--;
}

static void
pin_once(struct reader *reader, unsigned i)
{
    struct record *record = cop__pin_begin(reader->slot, i, &root, fence);

    use_record(record, record->version == POISON ? 0 : record->version);
    cop__pin_end(reader->slot, i);
}

static void
reader_body(void *context)
{
    struct reader *reader = context;

    own = &buffers[reader->number];
    for (unsigned round = 0; round < reader->rounds && !*failure; round++) {
        unsigned word = round % 4 == 3 ? NONE : round % 2;
        struct handle *handle =
            handle_get((unsigned)(schedule_random(&schedule) % HANDLES));
        if (handle != NULL) {
            call(reader, handle, word);
            call(reader, handle, word);
            handle_return(handle);
        }
        if (round % 3 == 1)
            pin_once(reader, 0);
        schedule_step("round");
    }
    drain_all(own);
}

/* --- the committer ---------------------------------------------------------------------------- */

static void
heavy(void *context)
{
    (void)context;
    schedule_step("heavy");
    if (without_barrier)
        return;
    drain_all(committer_buffer);
    for (unsigned i = 0; i < READERS; i++) {
        schedule_step("heavy");
        drain_all(&buffers[i]);
    }
}

static void
held(void *context, void *reported)
{
    struct cop__handle_pins *named = cop__handle_named(reported);

    (void)context;
    if (named != NULL) {
        named->named = scan_number;
        return;
    }
    if (((struct record *)reported)->version == POISON)
        broken("the scan reported a freed record", POISON, latest);
    ((struct record *)reported)->reported = true;
}

static void
publish(void)
{
    for (unsigned i = 0; i < POOL; i++)
        if (records[i].version == POISON) {
            records[i].version = ++latest;
            cop__store_release(&root, &records[i]);
            return;
        }
    broken("every record is held", latest, latest);
}

static void
let_go(struct handle *handle, enum life life)
{
    handle->life = life;
    handle->record = NULL;
    cop__store_relaxed(&handle->of, NULL);
    drain_all(own); /* under a lock, as the user's drop and take are */
}

static void
give(struct handle *handle)
{
    handle->record = cop__load_relaxed(&root);
    handle->version = handle->record->version;
    cop__store_relaxed(&handle->of, handle->record);
    cop__store_relaxed(&handle->pins.revoked, 0);
    drain_all(own);
    handle->life = LIVE;
}

static void
change_handles(bool revoke_all)
{
    for (unsigned i = 0; i < HANDLES; i++) {
        struct handle *handle = &handles[i];
        bool changes = schedule_random(&schedule) % 2 == 0;
        if (handle->life == LIVE && (changes || revoke_all)) {
            cop__handle_revoke(&handle->pins);
            handle->life = REVOKED;
        } else if (handle->life != FREE && handle->users == 0 && changes) {
            let_go(handle, FREE);
        } else if (handle->life == FREE && !revoke_all) {
            give(handle);
        }
    }
}

/* How many records besides the newest stay. */
static unsigned
scan_and_free(void)
{
    struct record *current = cop__load_relaxed(&root);
    unsigned kept = 0;

    scan_number++;
    cop__pin_collect(slot_list, READERS, current, heavy, NULL, held, fence, NULL);
    for (unsigned i = 0; i < HANDLES; i++) {
        if (handles[i].life == REVOKED && cop__handle_unread(&handles[i].pins, scan_number))
            let_go(&handles[i], EMPTY);
        if (handles[i].record != NULL)
            handles[i].record->reported = true;
    }
    for (unsigned i = 0; i < POOL; i++) {
        if (&records[i] != current && !records[i].reported)
            records[i].version = POISON;
        kept += &records[i] != current && records[i].reported;
        records[i].reported = false;
    }
    return kept;
}

static bool
readers_done(void)
{
    for (unsigned i = 0; i < READERS; i++)
        if (!schedule.actors[i].finished)
            return false;
    return true;
}

static void
committer_body(void *context)
{
    unsigned publications = *(unsigned *)context;

    own = committer_buffer;
    for (unsigned i = 0; i < publications && !*failure; i++) {
        publish();
        change_handles(false);
        if (schedule_random(&schedule) % 4 != 0)
            scan_and_free();
    }
    while (!readers_done() && !*failure)
        schedule_yield();
    change_handles(true);
    change_handles(true);
    if (scan_and_free() != 0)
        broken("something is held when all is over", latest, latest);
    drain_all(own);
}

/* --- seeds ------------------------------------------------------------------------------------ */

#ifdef __SANITIZE_THREAD__
#define SEEDS 1500
#else
#define SEEDS 10000
#endif
#define LENGTH 400

static bool
run_seed(uint64_t seed, bool with_fence)
{
    unsigned publications = 6;

    world_init(with_fence);
    schedule_init(&schedule, seed, 1 + (unsigned)(seed / 4 % SCHEDULE_CHANGES), LENGTH);
    if (seed % 2 == 1)
        schedule_walk(&schedule, 2 + (unsigned)(seed / 4 % 15));
    for (unsigned i = 0; i < READERS; i++) {
        readers[i] = (struct reader){&slots[i], i, 5};
        schedule_thread(&schedule, reader_body, &readers[i]);
    }
    schedule_thread(&schedule, committer_body, &publications);
    for (unsigned i = 0; i <= READERS; i++)
        schedule_passive(&schedule, drain_ready, drain_one, &buffers[i]);
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

START_TEST(no_seed_reads_what_was_let_go)
{
    uint64_t seed;

    expired = right = 0;
    seed = first_failing_seed(_i != 0);
    ck_assert_msg(seed == 0, "seed %llu (COP_SCHEDULE_SEED replays it): %s",
                  (unsigned long long)seed, failure);
    ck_assert_uint_gt(expired, SEEDS / 10);
    ck_assert_uint_gt(right, SEEDS / 10);
}
END_TEST

static void
expect_caught(const char *name, bool with_fence)
{
    uint64_t seed = first_failing_seed(with_fence);
    char found[sizeof failure];

    ck_assert_msg(seed != 0, "%s was not caught", name);
    memcpy(found, failure, sizeof found);
    printf("%s%s: caught by seed %llu: %s\n", name, with_fence ? " (fenced)" : "",
           (unsigned long long)seed, found);
    ck_assert(!run_seed(seed, with_fence));
    ck_assert_str_eq(failure, found);
}

START_TEST(revoked_early_is_caught)
{
    planted = COP_FAULT_revoked_early;
    expect_caught("revoked_early", _i != 0);
    planted = COP_FAULTS;
}
END_TEST

START_TEST(the_barrier_is_needed)
{
    without_barrier = true;
    expect_caught("no heavy barrier", false);
    without_barrier = false;
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("handle_schedule");
    TCase *seeds = tcase_create("seeds");
    SRunner *runner;
    int failed;

    tcase_set_timeout(seeds, 240);
    tcase_add_loop_test(seeds, no_seed_reads_what_was_let_go, 0, 2);
    tcase_add_loop_test(seeds, revoked_early_is_caught, 0, 2);
    tcase_add_test(seeds, the_barrier_is_needed);
    suite_add_tcase(suite, seeds);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* SPDX-License-Identifier: MIT */
/*
 * The code of the deque, the event count, the injection queue and the regions under a seeded
 * scheduler, on a simulated TSO processor.
 *
 * They are compiled into this program with other atomic helpers: each access is a step of the
 * scheduler, stores wait in a buffer of their thread that an actor drains, read-modify-writes drain
 * it at once; what sleeps on a futex is stopped. An actor that can act only when everybody sleeps
 * tells when a wake-up was lost.
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

#define THREADS 5
#define BUFFER 12

struct buffer {
    struct {
        void *word;
        uint64_t value;
        size_t size;
    } stores[BUFFER];
    unsigned count;
};

static struct schedule schedule;
static struct buffer buffers[THREADS];
static _Thread_local struct buffer *own;
static _Thread_local unsigned self; /* the number of the actor, and of the buffer */

static bool
drain_ready(void *context)
{
    return ((struct buffer *)context)->count > 0;
}

static void
drain_one(void *context)
{
    struct buffer *buffer = context;

    memcpy(buffer->stores[0].word, &buffer->stores[0].value, buffer->stores[0].size);
    buffer->count--;
    memmove(buffer->stores, buffer->stores + 1, buffer->count * sizeof *buffer->stores);
}

static void
drain_all(struct buffer *buffer)
{
    while (buffer->count > 0)
        drain_one(buffer);
}

/* Words are little-endian; none is read with another size than it was written with. */
static uint64_t
sim_load(const void *word, size_t size)
{
    uint64_t value = 0;

    schedule_step("load");
    for (unsigned i = own->count; i-- > 0;)
        if (own->stores[i].word == word)
            return own->stores[i].value;
    memcpy(&value, word, size);
    return value;
}

static void
sim_store(void *word, size_t size, uint64_t value)
{
    schedule_step("store");
    if (own->count == BUFFER)
        drain_one(own);
    own->stores[own->count].word = word;
    own->stores[own->count].size = size;
    own->stores[own->count++].value = value;
}

/* What a read-modify-write finds; nobody else runs before it is complete. */
static uint64_t
sim_find(const void *word, size_t size)
{
    uint64_t value = 0;

    schedule_step("rmw");
    drain_all(own);
    memcpy(&value, word, size);
    return value;
}

static uint64_t
sim_swap(void *word, size_t size, uint64_t value)
{
    uint64_t old = sim_find(word, size);

    memcpy(word, &value, size);
    return old;
}

static uint64_t
sim_add(void *word, size_t size, uint64_t value)
{
    uint64_t old = sim_find(word, size), sum = old + value;

    memcpy(word, &sum, size);
    return old;
}

static bool
sim_cas(void *word, size_t size, void *expected, uint64_t value)
{
    uint64_t old = sim_find(word, size);
    bool equal = memcmp(&old, expected, size) == 0;

    memcpy(equal ? word : expected, equal ? &value : &old, size);
    return equal;
}

#define VALUE_OF(p) __typeof__(atomic_load_explicit((p), memory_order_relaxed))
#define BITS(v) ((uint64_t)(uintptr_t)(v))
#define LOAD(p) ((VALUE_OF(p))(uintptr_t)sim_load((const void *)(p), sizeof *(p)))
#define STORE(p, v) sim_store((void *)(p), sizeof *(p), BITS(v))
#define SWAP(p, v) ((VALUE_OF(p))(uintptr_t)sim_swap((void *)(p), sizeof *(p), BITS(v)))
#define ADD(p, v) sim_add((void *)(p), sizeof *(p), BITS(v))

#undef cop__load_relaxed
#undef cop__load_acquire
#undef cop__load_seq_cst
#undef cop__store_relaxed
#undef cop__store_release
#undef cop__swap_seq_cst
#undef cop__add_seq_cst
#undef cop__cas_seq_cst
#define cop__load_relaxed(p) LOAD(p)
#define cop__load_acquire(p) LOAD(p)
#define cop__load_seq_cst(p) LOAD(p)
#define cop__store_relaxed(p, v) STORE(p, v)
#define cop__store_release(p, v) STORE(p, v)
#define cop__swap_seq_cst(p, v) SWAP(p, v)
#define cop__add_seq_cst(p, v) ADD(p, v)
#define cop__cas_seq_cst(p, expected, v) sim_cas((void *)(p), sizeof *(p), (expected), BITS(v))

/* --- simulated futexes ------------------------------------------------------------------------ */

static const void *asleep_on[THREADS];

static void
sim_futex_wait(_Atomic uint32_t *word, uint32_t value, uint64_t deadline)
{
    (void)deadline;
    if ((uint32_t)sim_find(word, sizeof value) != value)
        return;
    asleep_on[self] = word;
    schedule_stop();
}

static void
sim_futex_wake(_Atomic uint32_t *word, int threads)
{
    schedule_step("wake");
    drain_all(own);
    for (unsigned i = 0; i < THREADS && threads > 0; i++) {
        if (asleep_on[i] != word)
            continue;
        asleep_on[i] = NULL;
        schedule_resume(&schedule, i);
        threads--;
    }
}

static uint64_t clock_now;

/* Far ahead with each look, so that spinning soon ends. */
static uint64_t
sim_clock(void)
{
    return clock_now += 20000;
}

#define cop__clock_ns sim_clock
#define cop__futex_wait sim_futex_wait
#define cop__futex_wake sim_futex_wake

#ifdef COP_PLANTED_FAULTS
#define FAULT_BY_ENVIRONMENT(name) cop__fault_live(COP_FAULT_##name)
#else
#define FAULT_BY_ENVIRONMENT(name) false
#endif
static enum cop__fault planted = COP_FAULTS;
#undef COP_FAULT
#define COP_FAULT(name) (planted == COP_FAULT_##name || FAULT_BY_ENVIRONMENT(name))

#include "workers/deque.c"       /* NOLINT(bugprone-suspicious-include) */
#include "workers/event_count.c" /* NOLINT(bugprone-suspicious-include) */
#include "workers/inject.h"
#include "workers/region.c" /* NOLINT(bugprone-suspicious-include) */

/* --- what all runs share ---------------------------------------------------------------------- */

#define ITEMS_MAX 400

static unsigned got[ITEMS_MAX]; /* times item i was handed out */
static char failure[128];

static void
broken(const char *what, uint64_t detail)
{
    if (!*failure)
        snprintf(failure, sizeof failure, "%s (%llu)", what, (unsigned long long)detail);
}

static void
world_init(uint64_t seed)
{
    memset(buffers, 0, sizeof buffers);
    memset(asleep_on, 0, sizeof asleep_on);
    memset(got, 0, sizeof got);
    failure[0] = '\0';
    schedule_init(&schedule, seed, (unsigned)(seed % 4) + 1, 300);
    if (seed % 3 == 0)
        schedule_walk(&schedule, 1 + (unsigned)(seed / 3 % 4));
}

static void
thread_begins(unsigned number)
{
    self = number;
    own = &buffers[number];
}

static void
add_drains(unsigned threads)
{
    for (unsigned i = 0; i < threads; i++)
        schedule_passive(&schedule, drain_ready, drain_one, &buffers[i]);
}

static void
each_item_once(unsigned items)
{
    for (unsigned i = 0; i < items; i++)
        if (got[i] != 1)
            broken(got[i] ? "an item was handed out twice" : "an item was lost", i);
}

/* --- the deque: an owner and thieves ---------------------------------------------------------- */

#define THIEVES 2

static cop__deque deque;
static unsigned deque_items, deque_burst;
static bool owner_done;
static char items[ITEMS_MAX]; /* their addresses are what is pushed */

static void
got_item(const void *item)
{
    got[(const char *)item - items]++;
}

static void
owner_body(void *context)
{
    unsigned pushed = 0;
    void *item;

    (void)context;
    thread_begins(0);
    while (pushed < deque_items) {
        unsigned burst = (unsigned)(schedule_random(&schedule) % deque_burst) + 1;
        for (; burst > 0 && pushed < deque_items; burst--)
            if (!cop__deque_push(&deque, &items[pushed++]))
                abort();
        for (unsigned takes = (unsigned)(schedule_random(&schedule) % deque_burst) + 1; takes > 0;
             takes--)
            if ((item = cop__deque_take(&deque)) != NULL)
                got_item(item);
    }
    while ((item = cop__deque_take(&deque)) != NULL)
        got_item(item);
    drain_all(own);
    owner_done = true;
}

static void
thief_body(void *context)
{
    void *item;

    thread_begins((unsigned)(uintptr_t)context);
    for (;;) {
        bool last = owner_done;
        if ((item = cop__deque_steal(&deque)) != NULL)
            got_item(item);
        else if (last)
            break;
        else
            schedule_yield();
    }
    if (!cop__deque_empty(&deque))
        broken("a deque is not empty after its end", 0);
}

static void
run_deque(uint64_t seed, unsigned count, unsigned burst)
{
    world_init(seed);
    deque_items = count;
    deque_burst = burst;
    owner_done = false;
    own = &buffers[0];
    if (!cop__deque_init(&deque))
        abort();
    schedule_thread(&schedule, owner_body, NULL);
    for (uintptr_t i = 1; i <= THIEVES; i++)
        schedule_thread(&schedule, thief_body, (void *)i);
    add_drains(1 + THIEVES);
    schedule_run(&schedule);
    own = &buffers[0];
    cop__deque_end(&deque);
    each_item_once(count);
}

static void
run_small_deque(uint64_t seed)
{
    run_deque(seed, 8, 2);
}

/* Grows twice while it is stolen from. */
static void
run_growing_deque(uint64_t seed)
{
    run_deque(seed, 300, 200);
}

/* --- parking: producers, and workers that sleep ----------------------------------------------- */

#define PRODUCERS 2
#define WORKERS 3
#define NODES_EACH 3
#define NODES (PRODUCERS * NODES_EACH)

static cop__event_count events;
static cop__inject inject;
static cop__queue_node nodes[NODES];
static unsigned consumed, producers_done, workers_done;
static bool leave, lost;
static bool one_asked, one_left; /* of the workers, the first */

static void
producer_body(void *context)
{
    unsigned number = (unsigned)(uintptr_t)context;

    thread_begins(number);
    for (unsigned i = 0; i < NODES_EACH; i++) {
        cop__inject_push(&inject, &nodes[number * NODES_EACH + i]);
        if (schedule_random(&schedule) % 4 == 0)
            (void)cop__event_notify(&events, 1);
        else
            (void)cop__event_post(&events);
    }
    drain_all(own);
    producers_done++;
    if (number != 0)
        return;
    one_asked = true;
    cop__event_stir(&events);
    while (!one_left && !lost)
        schedule_yield();
}

static void
consume(cop__queue_node *const *taken, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        got[taken[i] - nodes]++;
    consumed += n;
    if (cop__inject_pending(&inject) > 0)
        (void)cop__event_post(&events);
    if (consumed < NODES)
        return;
    leave = true;
    cop__event_stir(&events);
}

static bool
must_leave(void)
{
    return leave || lost || (one_asked && self == PRODUCERS);
}

/* As in worker.c. */
static void
worker_body(void *context)
{
    cop__queue_node *taken[2];
    bool searching = false;
    uint32_t n, epoch;

    thread_begins((unsigned)(uintptr_t)context);
    while (!must_leave()) {
        n = cop__inject_take(&inject, taken, 2);
        if (n > 0) {
            if (searching && cop__event_search_end(&events) && cop__inject_pending(&inject) > 0)
                (void)cop__event_post(&events);
            searching = false;
            consume(taken, n);
            continue;
        }
        if (!searching && schedule_random(&schedule) % 2)
            searching = cop__event_search_begin(&events, 1);
        if (searching && schedule_random(&schedule) % 3)
            continue;
        epoch = cop__event_prepare(&events, searching);
        searching = false;
        n = must_leave() ? 0 : cop__inject_take(&inject, taken, 2);
        if (n > 0 || must_leave()) {
            cop__event_cancel(&events);
            if (n > 0)
                consume(taken, n);
            continue;
        }
        while (!(searching = cop__event_wait(&events, &epoch)) && !must_leave())
            ;
        if (!searching)
            cop__event_cancel(&events);
    }
    if (searching)
        (void)cop__event_search_end(&events);
    (void)cop__event_post(&events);
    drain_all(own);
    if (self == PRODUCERS)
        one_left = true;
    workers_done++;
}

static bool
all_asleep(void *context)
{
    unsigned asleep = 0;

    (void)context;
    for (unsigned i = 0; i < THREADS; i++)
        asleep += asleep_on[i] != NULL;
    return asleep > 0 && producers_done == PRODUCERS && asleep + workers_done == WORKERS;
}

/* Ends the run: as a stir does, and then all leave. */
static void
tell_them(void *context)
{
    (void)context;
    broken("every worker sleeps", NODES - consumed);
    lost = true;
    atomic_fetch_add(&events.epoch, 1);
    for (unsigned i = 0; i < THREADS; i++) {
        if (!asleep_on[i])
            continue;
        asleep_on[i] = NULL;
        schedule_resume(&schedule, i);
    }
}

static void
run_parking(uint64_t seed)
{
    world_init(seed);
    cop__event_init(&events);
    cop__inject_init(&inject);
    consumed = producers_done = workers_done = 0;
    leave = lost = one_asked = one_left = false;
    for (uintptr_t i = 0; i < PRODUCERS; i++)
        schedule_thread(&schedule, producer_body, (void *)i);
    for (uintptr_t i = 0; i < WORKERS; i++)
        schedule_thread(&schedule, worker_body, (void *)(PRODUCERS + i));
    add_drains(THREADS);
    schedule_passive(&schedule, all_asleep, tell_them, NULL);
    schedule_run(&schedule);
    each_item_once(NODES);
}

/* --- regions: an owner, and workers that come by ---------------------------------------------- */

#define HELPERS 2
#define RUNS 4
#define RUN_ITEMS 6

static cop_pool region_pool;
static cop__region *region;
static unsigned run_items[RUNS];
static unsigned current_run, in_lane[HELPERS + 1];
static bool runs_over;

/* A region wakes nobody here: the workers never sleep. */
void
cop__pool_notify(cop_pool *pool, uint32_t n)
{
    (void)pool;
    (void)n;
}

static void
handle(void *context, unsigned lane, uint32_t begin, uint32_t end)
{
    unsigned run = (unsigned)((unsigned *)context - run_items);

    if (run != current_run || begin >= end || end > run_items[run])
        broken("a chunk of another run", run);
    if (lane > HELPERS || in_lane[lane]++ != 0)
        broken("a lane is used twice at once", lane);
    for (uint32_t i = begin; i < end; i++) {
        schedule_step("item");
        got[run * RUN_ITEMS + i]++;
    }
    in_lane[lane]--;
}

static void
region_owner_body(void *context)
{
    (void)context;
    thread_begins(0);
    for (current_run = 0; current_run < RUNS; current_run++) {
        uint32_t items_now = run_items[current_run];
        cop__region_run(region, items_now, (uint32_t)(schedule_random(&schedule) % 3), handle,
                        &run_items[current_run]);
        for (uint32_t i = 0; i < items_now; i++)
            if (got[current_run * RUN_ITEMS + i] != 1)
                broken("a run ended before an item was done", i);
    }
    drain_all(own);
    runs_over = true;
}

static void
helper_body(void *context)
{
    unsigned lane = (unsigned)(uintptr_t)context;
    cop__chunk chunk;

    thread_begins(lane);
    while (!runs_over) {
        if (cop__region_claim(region, lane, &chunk))
            cop__region_work(&chunk, lane);
        else
            schedule_yield();
    }
}

static void
region_begin(void)
{
    static _Atomic uint64_t alive = 1;

    memset(&region_pool, 0, sizeof region_pool);
    pthread_mutex_init(&region_pool.lock, NULL);
    region_pool.alive = &alive;
    region_pool.cpus = 2;
    atomic_init(&region_pool.threads, HELPERS);
    own = &buffers[0];
    region = cop__region_open(&region_pool);
    if (!region || cop__region_lanes(region) != HELPERS + 1)
        abort();
    drain_all(own);
}

static void
run_region(uint64_t seed)
{
    world_init(seed);
    region_begin();
    runs_over = false;
    memset(in_lane, 0, sizeof in_lane);
    for (unsigned i = 0; i < RUNS; i++)
        run_items[i] = (unsigned)(schedule_random(&schedule) % (RUN_ITEMS - 1)) + 2;
    if (seed % 2) /* runs alike: their words are, too */
        for (unsigned i = 1; i < RUNS; i++)
            run_items[i] = run_items[0];
    schedule_thread(&schedule, region_owner_body, NULL);
    for (uintptr_t i = 1; i <= HELPERS; i++)
        schedule_thread(&schedule, helper_body, (void *)i);
    add_drains(1 + HELPERS);
    schedule_run(&schedule);
    for (unsigned i = 0; i < RUNS; i++)
        for (unsigned k = 0; k < RUN_ITEMS; k++)
            if (got[i * RUN_ITEMS + k] != (k < run_items[i]))
                broken("an item was handled another number of times than once", k);
    cop__region_free(region);
    pthread_mutex_destroy(&region_pool.lock);
}

/* --- seeds ------------------------------------------------------------------------------------ */

/* Turns are slow under the thread sanitizer, which has little to find in threads that take turns.
 */
#if defined(__SANITIZE_THREAD__)
#define SEEDS 1000
#else
#define SEEDS 4000
#endif

static uint64_t
from_environment(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text ? strtoull(text, NULL, 0) : otherwise;
}

/* The first seed that fails, 0 when none does. */
static uint64_t
try_seeds(void (*run)(uint64_t seed), uint64_t seeds)
{
    uint64_t only = from_environment("COP_SCHEDULE_SEED", 0);

    seeds = from_environment("COP_SCHEDULE_SEEDS", seeds);
    for (uint64_t seed = only ? only : 1; seed <= (only ? only : seeds); seed++) {
        run(seed);
        if (*failure)
            return seed;
    }
    return 0;
}

static void
none_fails(void (*run)(uint64_t seed), uint64_t seeds)
{
    uint64_t seed = try_seeds(run, seeds);

    ck_assert_msg(seed == 0, "seed %llu: %s", (unsigned long long)seed, failure);
}

START_TEST(no_seed_breaks_the_deque)
{
    none_fails(run_small_deque, SEEDS);
}
END_TEST

START_TEST(no_seed_breaks_a_growing_deque)
{
    none_fails(run_growing_deque, SEEDS / 40);
}
END_TEST

START_TEST(no_seed_loses_a_wake)
{
    none_fails(run_parking, SEEDS);
}
END_TEST

START_TEST(no_seed_breaks_a_region)
{
    none_fails(run_region, SEEDS);
}
END_TEST

START_TEST(a_seed_replays_exactly)
{
    uint64_t trace;

    for (uint64_t seed = 1; seed < 30; seed++) {
        run_parking(seed);
        trace = schedule_trace(&schedule);
        run_parking(seed);
        ck_assert_uint_eq(schedule_trace(&schedule), trace);
    }
}
END_TEST

static void
expect_caught(enum cop__fault fault, const char *name, void (*run)(uint64_t seed))
{
    uint64_t seed;

    planted = fault;
    seed = try_seeds(run, SEEDS);
    planted = COP_FAULTS;
    ck_assert_msg(seed != 0, "%s was not caught", name);
    printf("%s: caught by seed %llu: %s\n", name, (unsigned long long)seed, failure);
}

START_TEST(deque_item_twice_is_caught)
{
    expect_caught(COP_FAULT_deque_item_twice, "deque_item_twice", run_small_deque);
}
END_TEST

START_TEST(wake_lost_is_caught)
{
    expect_caught(COP_FAULT_wake_lost, "wake_lost", run_parking);
}
END_TEST

static Suite *
workers_schedule_suite(void)
{
    Suite *suite = suite_create("workers_schedule");
    TCase *tests = tcase_create("seeds");

    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, no_seed_breaks_the_deque);
    tcase_add_test(tests, no_seed_breaks_a_growing_deque);
    tcase_add_test(tests, no_seed_loses_a_wake);
    tcase_add_test(tests, no_seed_breaks_a_region);
    tcase_add_test(tests, a_seed_replays_exactly);
    tcase_add_test(tests, deque_item_twice_is_caught);
    tcase_add_test(tests, wake_lost_is_caught);
    suite_add_tcase(suite, tests);
    return suite;
}

int
main(void)
{
    SRunner *runner = srunner_create(workers_schedule_suite());
    int failed;

    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

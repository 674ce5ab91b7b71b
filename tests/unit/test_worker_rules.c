/* SPDX-License-Identifier: MIT */
/*
 * The rules of a worker one by one, on one thread: where it looks for work and in which order, whom
 * it wakes, when it goes on searching and when it lingers. The code of workers is compiled into
 * this program with a clock that the tests tell and wakes that they count.
 */
#include <sched.h>
#include <signal.h>
#include <stdio.h>

#include "tests/support/workers_test.h"
#include "workers/cpus.h"
#include "workers/pool_internal.h"

static uint64_t clock_now;
static unsigned clock_looks, posts, pauses;
static uint32_t runs_ahead; /* of a region: chunks that are still to be had */
static uint32_t claims;
static cop__event_count *wake_at_claim; /* where it looks last before it sleeps */

static uint64_t
told_clock(void)
{
    clock_looks++;
    return clock_now;
}

static void
told_post(cop_pool *pool)
{
    (void)pool;
    posts++;
}

static void
told_pause(void)
{
    pauses++;
}

static bool
told_claim(cop__region *region, unsigned lane, cop__chunk *chunk)
{
    ck_assert_uint_eq(lane, 2);
    claims++;
    if (wake_at_claim)
        ck_assert_uint_eq(cop__event_notify(wake_at_claim, 1), 1);
    wake_at_claim = NULL;
    if (runs_ahead == 0)
        return false;
    runs_ahead--;
    chunk->region = region;
    return true;
}

static uint32_t
told_work(cop__chunk *chunk, unsigned lane)
{
    ck_assert_ptr_nonnull(chunk->region);
    ck_assert_uint_eq(lane, 2);
    return 3; /* chunks */
}

static bool refuse; /* room on a deque, a thread, a CPU */
static cop__worker *started;
static unsigned waits, wakes;
static char called[17], logged[80];
static uint32_t cpu_numbers[2000], cpu_count; /* that the process may use */
static uint32_t bound_to, bind_calls;

static bool
told_push(cop__deque *deque, void *item)
{
    return !refuse && cop__deque_push(deque, item);
}

static bool
is_blocked(int sig)
{
    sigset_t blocked;

    pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    return sigismember(&blocked, sig) == 1;
}

static int
told_create(pthread_t *thread, const pthread_attr_t *with, void *(*body)(void *), void *context)
{
    (void)thread;
    (void)with;
    (void)body;
    started = context;
    ck_assert(is_blocked(SIGUSR1)); /* the new thread inherits it */
    return refuse;
}

static void
told_wait(_Atomic uint32_t *word, uint32_t value, uint64_t deadline)
{
    ck_assert_ptr_eq(word, &started->running);
    ck_assert_uint_eq(value, 0);
    ck_assert_uint_eq(deadline, UINT64_MAX);
    ck_assert_uint_lt(waits, 10);
    if (++waits % 2 == 0) /* the first is a spurious return */
        atomic_store(word, 1);
}

static void
told_wake(_Atomic uint32_t *word, int n)
{
    ck_assert_uint_eq(atomic_load(word), 1);
    ck_assert_int_eq(n, 1);
    wakes++;
}

static int
told_name(pthread_t thread, const char *text)
{
    (void)thread;
    snprintf(called, sizeof called, "%s", text);
    return 0;
}

static uint32_t
told_cpus(uint32_t *list, uint32_t most)
{
    ck_assert_uint_eq(most, 1025);
    memcpy(list, cpu_numbers, (cpu_count < most ? cpu_count : most) * sizeof *list);
    return cpu_count;
}

static int
told_bind(pthread_t thread, size_t size, const cpu_set_t *mask)
{
    (void)thread;
    bind_calls++;
    ck_assert_int_eq(CPU_COUNT_S(size, mask), 1);
    for (bound_to = 0; !CPU_ISSET_S(bound_to, size, mask); bound_to++)
        ;
    ck_assert_uint_eq(size, CPU_ALLOC_SIZE(bound_to + 1));
    return refuse;
}

static void *
told_alloc(size_t alignment, size_t bytes)
{
    void *memory = (aligned_alloc)(alignment, bytes);

    ck_assert_ptr_nonnull(memory);
    return memset(memory, 0xff, bytes);
}

static void
note_log(void *context, cop_log_level level, const char *message)
{
    (void)context;
    ck_assert_int_eq(level, COP_LOG_WARNING);
    snprintf(logged, sizeof logged, "%s", message);
}

#define cop__deque_push told_push
#define aligned_alloc told_alloc
#define pthread_create told_create
#define cop__futex_wait told_wait
#define cop__futex_wake told_wake
#define pthread_setname_np told_name
#define cop__cpus_of_mask told_cpus
#define pthread_setaffinity_np told_bind
#define cop__clock_ns told_clock
#define cop__pool_post told_post
#define cop__pause told_pause
#define cop__region_claim told_claim
#define cop__region_work told_work
#include "workers/worker.c" /* NOLINT(bugprone-suspicious-include) */

/* --- a pool without threads ----------------------------------------------------------------------
 */

enum { WORKERS = 4, TASKS = 100 };

static cop_pool pool;
static _Atomic uint64_t alive = 1;
static cop__worker *worker; /* the second of four */
static unsigned ran[TASKS + 1], ran_count;
static unsigned numbers[TASKS + 1];

static void
begin(uint32_t cpus)
{
    memset(&pool, 0, sizeof pool);
    pool.alive = &alive;
    pool.cpus = cpus;
    pool.searchers = 1;
    pool.spin_ns = COP_POOL_SPIN_NS;
    cop__event_init(&pool.events);
    cop__inject_init(&pool.inject);
    cop__timers_init(&pool.alarms);
    atomic_init(&pool.threads, WORKERS);
    for (uint32_t i = 0; i < WORKERS; i++)
        atomic_init(&pool.workers[i], cop__worker_new(&pool, i));
    atomic_init(&pool.workers_made, WORKERS);
    worker = pool.workers[1];
    clock_now = 1000;
    clock_looks = posts = pauses = claims = ran_count = 0;
    waits = wakes = bind_calls = 0;
    refuse = false;
    logged[0] = '\0';
    runs_ahead = 0;
}

static void
end(void)
{
    for (uint32_t i = 0; i < WORKERS; i++)
        cop__worker_free(pool.workers[i]);
    cop__timers_end(&pool.alarms);
}

static void
note_run(void *context)
{
    ran[ran_count++] = *(unsigned *)context;
}

static cop__task *
task(unsigned number)
{
    cop__task *made = calloc(1, sizeof *made);

    numbers[number] = number;
    made->function = note_run;
    made->context = &numbers[number];
    return made;
}

static void
inject(unsigned first, unsigned last)
{
    for (unsigned i = first; i <= last; i++)
        cop__inject_push(&pool.inject, &task(i)->node);
}

static void
put_on(unsigned index, unsigned first, unsigned last)
{
    for (unsigned i = first; i <= last; i++)
        ck_assert(cop__deque_push(&pool.workers[index]->deque, task(i)));
}

/* What it finds is the task of that number; 0: nothing. */
static void
finds(unsigned number)
{
    found f;

    ck_assert(find(worker, &f) == (number > 0));
    if (number == 0)
        return;
    ck_assert_ptr_null(f.chunk.region);
    ran_count = 0;
    uint64_t before = worker->counts.tasks;
    run_task(worker, f.task);
    ck_assert_uint_eq(ran_count, 1);
    ck_assert_uint_eq(ran[0], number);
    ck_assert_uint_eq(worker->counts.tasks, before + 1);
}

/* --- looking ------------------------------------------------------------------------------------
 */

/* Regions first, then the own deque, the newest of it first, then what was submitted, then what
 * others have, the oldest first. */
START_TEST(where_work_is_looked_for)
{
    static char places[2];
    found f;

    begin(2);
    put_on(1, 1, 2);
    inject(3, 3);
    put_on(3, 4, 5);
    atomic_store(&pool.regions[0], (cop__region *)(void *)&places[0]);
    atomic_store(&pool.regions[1], (cop__region *)(void *)&places[1]);
    atomic_store(&pool.regions_made, 2);
    runs_ahead = 1;
    ck_assert(find(worker, &f));
    ck_assert_ptr_eq(f.chunk.region, &places[0]);
    ck_assert_uint_eq(claims, 1);
    finds(2);
    ck_assert_uint_eq(claims, 3); /* both were asked */
    finds(1);
    finds(3);
    ck_assert_uint_eq(worker->counts.steals, 0);
    finds(4);
    finds(5);
    ck_assert_uint_eq(worker->counts.steals, 2);
    finds(0);
    ck_assert_uint_eq(posts, 0);
    end();
}
END_TEST

/* A share of what was submitted, in the order that it came; it tells of what others can have. */
START_TEST(a_handful_of_what_was_submitted)
{
    begin(2);
    inject(1, 1);
    finds(1);
    ck_assert_uint_eq(posts, 0); /* nothing is left */
    inject(1, 12);               /* 12 among the 5 threads, with the caller's: 3 at a time */
    finds(1);
    ck_assert_uint_eq(posts, 1);
    ck_assert_uint_eq(cop__inject_pending(&pool.inject), 9);
    finds(2);
    finds(3);
    ck_assert_uint_eq(posts, 1);
    finds(4); /* and one more */
    ck_assert_uint_eq(posts, 2);
    ck_assert_uint_eq(cop__inject_pending(&pool.inject), 7);
    for (unsigned i = 5; i <= 12; i++)
        finds(i);
    finds(0);
    atomic_store(&pool.threads, 1);
    inject(1, 100); /* more than it can carry */
    finds(1);
    ck_assert_uint_eq(cop__inject_pending(&pool.inject), 100 - HANDFUL);
    for (unsigned i = 2; i <= 100; i++)
        finds(i);
    atomic_store(&pool.threads, 0);
    posts = 0;
    inject(1, 2); /* it takes both, and tells of the one on its deque */
    finds(1);
    ck_assert_uint_eq(posts, 1);
    finds(2);
    refuse = true; /* no memory for a longer deque: back they go */
    inject(1, 2);
    finds(1);
    ck_assert(cop__deque_empty(&worker->deque));
    ck_assert_uint_eq(cop__inject_pending(&pool.inject), 1);
    finds(2);
    refuse = false;
    atomic_store(&pool.threads, 9);
    posts = 0;
    inject(1, 1);
    atomic_store(&pool.inject.right, COP_INJECT_TAKEN); /* another has it, who will tell */
    finds(0);
    ck_assert_uint_eq(posts, 0);
    atomic_store(&pool.inject.right, COP_INJECT_FREE);
    finds(1);
    inject(1, 2); /* it takes one, and tells of the other */
    finds(1);
    ck_assert_uint_eq(posts, 1);
    finds(2);
    ck_assert_uint_eq(posts, 1);
    end();
}
END_TEST

/* Whom it has stolen from it asks first the next time, and then the ones after him. */
START_TEST(who_is_stolen_from)
{
    begin(2);
    put_on(0, 10, 11);
    put_on(3, 30, 31);
    finds(30); /* from the one after itself on */
    put_on(2, 20, 20);
    finds(31);
    finds(10);
    finds(11);
    finds(20);
    finds(0);
    ck_assert_uint_eq(worker->counts.steals, 5);
    end();
}
END_TEST

/* --- searching ----------------------------------------------------------------------------------
 */

/* The last one that searches tells of work that it has seen and does not take. */
static void
check_search_ends(unsigned expected)
{
    ck_assert(search_on(worker, 1));
    posts = 0;
    stop_searching(worker);
    ck_assert_uint_eq(posts, expected);
    ck_assert(!worker->searching);
    stop_searching(worker); /* who does not search tells nothing */
    ck_assert_uint_eq(posts, expected);
}

START_TEST(the_last_to_search_tells_of_work)
{
    begin(2);
    check_search_ends(0);
    inject(1, 1);
    check_search_ends(1);
    finds(1);
    for (unsigned i = 0; i < WORKERS; i++) {
        put_on(i, 1, 1);
        check_search_ends(1);
        finds(1);
    }
    check_search_ends(0);
    end();
}
END_TEST

/* For spin_ns since it first looked at the clock, which it does at every 16th look; not while
 * another searches, and not at all on one CPU. */
START_TEST(how_long_it_searches)
{
    begin(2);
    for (uint32_t looks = 0; looks < 16; looks++)
        ck_assert(search_on(worker, looks));
    ck_assert(worker->searching);
    ck_assert_uint_eq(clock_looks, 1);
    clock_now += COP_POOL_SPIN_NS - 1;
    ck_assert(search_on(worker, 16));
    clock_now++;
    ck_assert(search_on(worker, 17));
    ck_assert(!search_on(worker, 32));
    stop_searching(worker);
    worker->idle_since = 0;
    ck_assert(search_on(worker, 0)); /* from now on again */
    stop_searching(worker);
    ck_assert(cop__event_search_begin(&pool.events, 1));
    ck_assert(!search_on(worker, 1));
    ck_assert(!worker->searching);
    (void)cop__event_search_end(&pool.events);
    pool.spin_ns = 0;
    ck_assert(!search_on(worker, 1));
    ck_assert(!worker->searching);
    end();
}
END_TEST

/* --- working ------------------------------------------------------------------------------------
 */

static void
check_lingers(bool lingers)
{
    static char place;
    found f = {{(cop__region *)(void *)&place, NULL, NULL, 0, 1}, NULL};
    uint64_t before = worker->counts.chunks;

    runs_ahead = 2;
    pauses = claims = 0;
    worker->idle_since = 7;
    work(worker, &f);
    ck_assert_uint_eq(worker->idle_since, 0);
    ck_assert_uint_eq(worker->counts.chunks - before, lingers ? 9 : 3);
    ck_assert_uint_eq(claims, lingers ? 2 + LINGER : 0);
    ck_assert_uint_eq(pauses, claims);
}

/* After a region's run it waits a moment for the next one, unless there is something else to do. */
START_TEST(when_it_lingers)
{
    begin(2);
    check_lingers(true);
    pool.cpus = 1;
    check_lingers(false);
    pool.cpus = 2;
    inject(1, 1);
    check_lingers(false);
    finds(1);
    put_on(1, 1, 1);
    check_lingers(false);
    finds(1);
    put_on(2, 1, 1); /* another's may stay */
    check_lingers(true);
    finds(1);
    atomic_store(&worker->leave, true);
    check_lingers(false);
    end();
}
END_TEST

/* Who works does not search. */
START_TEST(working_ends_searching)
{
    begin(2);
    ck_assert(search_on(worker, 1));
    worker->idle_since = 7;
    found f = {.task = task(5)};
    work(worker, &f);
    ck_assert_uint_eq(ran[0], 5);
    ck_assert(!worker->searching);
    ck_assert_uint_eq(worker->idle_since, 0);
    ck_assert(cop__event_search_begin(&pool.events, 1));
    end();
}
END_TEST

/* --- parking and leaving ------------------------------------------------------------------------
 */

/* Having registered it looks again: what it finds then it does, and is not parked. */
START_TEST(a_last_look_before_it_parks)
{
    begin(2);
    ck_assert(search_on(worker, 0));
    inject(7, 7);
    park(worker);
    ck_assert_uint_eq(ran_count, 1);
    ck_assert_uint_eq(ran[0], 7);
    ck_assert_uint_eq(worker->counts.parks, 0);
    ck_assert_uint_eq(cop__event_parked(&pool.events), 0);
    ck_assert(!worker->searching);
    ck_assert_uint_eq(worker->idle_since, 0);
    inject(8, 8);
    worker->idle_since = 7;
    atomic_store(&worker->leave, true); /* it is for others */
    park(worker);
    ck_assert_uint_eq(ran_count, 1);
    ck_assert_uint_eq(worker->idle_since, 0);
    ck_assert_uint_eq(cop__event_parked(&pool.events), 0);
    finds(8);
    end();
}
END_TEST

/* Who is woken searches. */
START_TEST(it_parks_and_is_woken)
{
    static char place;

    begin(2);
    atomic_store(&pool.regions[0], (cop__region *)(void *)&place);
    atomic_store(&pool.regions_made, 1);
    worker->idle_since = 7;
    wake_at_claim = &pool.events;
    park(worker);
    ck_assert(worker->searching);
    ck_assert_uint_eq(worker->idle_since, 0);
    ck_assert_uint_eq(worker->counts.parks, 1);
    ck_assert_uint_eq(cop__event_parked(&pool.events), 0);
    stop_searching(worker);
    ck_assert(cop__event_search_begin(&pool.events, 1));
    end();
}
END_TEST

/* A wake makes a searcher of it; who is to leave is none. */
START_TEST(what_a_wake_makes_of_it)
{
    begin(2);
    uint32_t epoch = cop__event_prepare(&pool.events, false);
    ck_assert_uint_eq(cop__event_parked(&pool.events), 1);
    ck_assert_uint_eq(cop__event_notify(&pool.events, 1), 1);
    ck_assert(sleep_until_needed(worker, epoch));
    ck_assert(!cop__event_search_begin(&pool.events, 1)); /* it searches */
    (void)cop__event_search_end(&pool.events);
    epoch = cop__event_prepare(&pool.events, false);
    atomic_store(&worker->leave, true);
    cop__event_stir(&pool.events);
    ck_assert(!sleep_until_needed(worker, epoch));
    ck_assert_uint_eq(cop__event_parked(&pool.events), 0);
    ck_assert(cop__event_search_begin(&pool.events, 1));
    end();
}
END_TEST

/* Who leaves gives away what it has, searches no more, and tells of it even when it had nothing. */
START_TEST(what_is_handed_over)
{
    begin(2);
    hand_over(worker);
    ck_assert_uint_eq(posts, 1);
    put_on(1, 1, 3);
    ck_assert(search_on(worker, 1));
    posts = 0;
    hand_over(worker);
    ck_assert_uint_eq(posts, 2); /* also as the last that searched */
    ck_assert(!worker->searching);
    ck_assert_uint_eq(cop__inject_pending(&pool.inject), 3);
    ck_assert(cop__deque_empty(&worker->deque));
    finds(3);
    finds(2);
    finds(1);
    end();
}
END_TEST

/* At once, but from a pool that closes only when nothing is left to do. */
START_TEST(when_it_may_leave)
{
    begin(2);
    ck_assert(!may_leave(worker, false));
    ck_assert(!may_leave(worker, true));
    atomic_store(&worker->leave, true);
    ck_assert(may_leave(worker, false));
    ck_assert(may_leave(worker, true));
    atomic_store(&pool.closing, true);
    ck_assert(!may_leave(worker, false));
    ck_assert(may_leave(worker, true));
    atomic_store(&worker->leave, false);
    ck_assert(!may_leave(worker, true));
    end();
}
END_TEST

/* --- a thread's life ----------------------------------------------------------------------------
 */

static void
note_where(void *context)
{
    cop_pool another;

    ck_assert_ptr_eq(cop__worker_here(&pool), worker);
    ck_assert_ptr_null(cop__worker_here(&another));
    note_run(context);
}

/* Its thread says that it runs; in a pool that closes it does what there is, and goes. */
START_TEST(from_its_beginning_to_its_end)
{
    begin(2);
    atomic_store(&worker->leave, true);
    atomic_store(&pool.closing, true);
    inject(1, 3);
    cop__task *last = task(4);
    last->function = note_where;
    cop__inject_push(&pool.inject, &last->node);
    posts = 0;
    ck_assert_ptr_null(worker_main(worker));
    ck_assert_uint_eq(ran_count, 4);
    ck_assert_uint_eq(atomic_load(&worker->running), 1);
    ck_assert_uint_eq(wakes, 1);
    ck_assert_ptr_null(cop__worker_here(&pool));
    atomic_store(&pool.closing, false);
    inject(5, 5); /* for those who stay */
    put_on(1, 6, 6);
    posts = 0;
    ck_assert_ptr_null(worker_main(worker));
    ck_assert_uint_eq(ran_count, 4);
    ck_assert_uint_eq(posts, 1);
    ck_assert_uint_eq(cop__inject_pending(&pool.inject), 2);
    atomic_store(&pool.threads, WORKERS);
    finds(5);
    finds(6);
    end();
}
END_TEST

/* Who starts it waits until it runs, each time. */
START_TEST(starting)
{
    begin(2);
    atomic_store(&worker->leave, true);
    worker->searching = true;
    worker->idle_since = 7;
    for (unsigned i = 1; i <= 2; i++) {
        ck_assert(cop__worker_start(worker));
        ck_assert_ptr_eq(started, worker);
        ck_assert_uint_eq(waits, 2 * i);
        ck_assert(!is_blocked(SIGUSR1));
    }
    ck_assert(!worker->searching && !worker->leave);
    ck_assert_uint_eq(worker->idle_since, 0);
    refuse = true;
    ck_assert(!cop__worker_start(worker));
    ck_assert_uint_eq(waits, 4);
    end();
}
END_TEST

static void
check_bound(uint32_t index, const char *as, uint32_t cpu)
{
    bind_calls = 0;
    worker->index = index;
    dress(worker);
    ck_assert_str_eq(called, as);
    ck_assert_uint_eq(bind_calls, 1);
    ck_assert_uint_eq(bound_to, cpu);
}

/* The second CPU is the first worker's, and so on, and round again. */
START_TEST(names_and_cpus)
{
    static const uint32_t some[] = {3, 63, 64, 700};

    begin(2);
    snprintf(pool.name, sizeof pool.name, "tenletters");
    dress(worker);
    ck_assert_str_eq(called, "tenletters-1");
    ck_assert_uint_eq(bind_calls, 0);
    pool.affinity = true;
    cpu_count = 0;
    dress(worker);
    ck_assert_uint_eq(bind_calls, 0);
    memcpy(cpu_numbers, some, sizeof some);
    cpu_count = 4;
    check_bound(0, "tenletters-0", 63);
    check_bound(1, "tenletters-1", 64);
    check_bound(2, "tenletters-2", 700);
    check_bound(3, "tenletters-3", 3);
    check_bound(1023, "tenletters-1023", 3);
    cpu_count = 2000; /* of which as many are known as there can be threads, and a caller */
    cpu_numbers[1024] = 5;
    check_bound(1023, "tenletters-1023", 5);
    ck_assert_str_eq(logged, "");
    refuse = true;
    pool.log.function = note_log;
    check_bound(1, "tenletters-1", 64);
    ck_assert_str_eq(logged, "tenletters-1: cannot be bound to CPU 64");
    end();
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_test(tests, where_work_is_looked_for);
    tcase_add_test(tests, a_handful_of_what_was_submitted);
    tcase_add_test(tests, who_is_stolen_from);
    tcase_add_test(tests, the_last_to_search_tells_of_work);
    tcase_add_test(tests, how_long_it_searches);
    tcase_add_test(tests, when_it_lingers);
    tcase_add_test(tests, working_ends_searching);
    tcase_add_test(tests, a_last_look_before_it_parks);
    tcase_add_test(tests, it_parks_and_is_woken);
    tcase_add_test(tests, what_a_wake_makes_of_it);
    tcase_add_test(tests, what_is_handed_over);
    tcase_add_test(tests, when_it_may_leave);
    tcase_add_test(tests, from_its_beginning_to_its_end);
    tcase_add_test(tests, starting);
    tcase_add_test(tests, names_and_cpus);
}

int
main(void)
{
    return run_suite("worker rules", add);
}

/* SPDX-License-Identifier: MIT */
/*
 * Where threads meet: committing, waiting, dropping and closing at once, in orders drawn from
 * seeds.
 *
 * The files in which threads meet are compiled into this program, with every shared access, lock,
 * sleep, read and write a step of the scheduler (tests/support/schedule.h), which lets one thread
 * run at a time. So a seed is an order of steps, and replays it. Time is simulated: it passes when
 * it is read, and when a sleep with an end is not woken. What fails a run:
 *
 *   - a property of the scenario does not hold when all threads have ended;
 *   - memory is touched that was given back: it is out of reach until the end of the run;
 *   - a thread sleeps without end and nobody is left to wake it, or threads only wait for another;
 *   - of a store that was closed and is not held any more something is left.
 *
 * The failing seed is printed. COP_SCHEDULE_SEED=N runs that seed alone, COP_SCHEDULE_SEEDS=N
 * changes how many are tried.
 */
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/base.h"
#include "tests/support/schedule.h"
#include "tests/support/store_test.h"

/* --- threads and steps ------------------------------------------------------------------------ */

#define SEEDS 600
#define THREADS 4
#define RUN_STEPS_MAX 2000000u /* of a run that does not end */
#define STEPS_IN_A_ROW 500u    /* a loop that waits for another thread lets it run after so many */
#define STEP_NS UINT64_C(1000)

typedef struct actor {
    void (*body)(void);
    unsigned number;
    _Atomic uint32_t *asleep_on;
    bool sleeps_for_ever;
    bool alone; /* nobody else runs */
    enum { NOWHERE, BEFORE_PUSH, IN_PUSH, IN_PUSH_SWAPPED } stops;
    unsigned in_a_row;
} actor;

static struct schedule schedule;
static actor actors[THREADS];
static actor *latest;
static _Thread_local actor *me;
static unsigned run_steps;
static uint64_t now_ns;
static char doing[96];        /* scenario and seed */
static bool (*awaited)(void); /* for which an actor is stopped */
static unsigned awaiting;
static unsigned late;
static bool sleeps_are_long; /* without end, whatever their deadline */
static unsigned running;     /* bodies that have not ended */

static void
die(const char *what)
{
    fprintf(stderr, "%s\n", what);
    abort();
}

static void
look_who_awaits(void)
{
    if (awaited == NULL || !awaited())
        return;
    awaited = NULL;
    schedule_resume(&schedule, awaiting);
}

static void
race_yield(void)
{
    if (me != NULL)
        me->in_a_row = 0;
    schedule_yield();
}

/* Stops the caller until another thread has made it true, or has nothing more to do. */
static void
await(bool (*condition)(void))
{
    if (condition() || running == 1)
        return;
    awaited = condition;
    awaiting = me->number;
    schedule_stop();
}

static bool
is_late(void)
{
    return run_steps >= late;
}

/* A submission stops before it pushes, for some steps of others, or between the two steps of a
 * push, until it is resumed. */
static void
stop_in_push(const char *where)
{
    bool swap = strcmp(where, "swap") == 0;

    if (me->stops == BEFORE_PUSH && swap) {
        me->stops = NOWHERE;
        await(is_late);
    } else if (me->stops == IN_PUSH && swap) {
        me->stops = IN_PUSH_SWAPPED;
    } else if (me->stops == IN_PUSH_SWAPPED && strcmp(where, "store") == 0) {
        me->stops = NOWHERE;
        schedule_stop();
    }
}

static void
race_step(const char *where)
{
    if (me == NULL || me->alone)
        return;
    if (++run_steps > RUN_STEPS_MAX)
        die("a run without end");
    look_who_awaits();
    me->in_a_row = latest == me ? me->in_a_row + 1 : 0;
    latest = me;
    if (me->in_a_row > STEPS_IN_A_ROW)
        race_yield();
    else
        schedule_step(where);
    if (me->stops != NOWHERE)
        stop_in_push(where);
}

static void
race_lock(pthread_mutex_t *mutex)
{
    race_step("lock");
    while (pthread_mutex_trylock(mutex) != 0)
        race_yield();
}

static uint64_t
race_clock_ns(void)
{
    race_step("clock");
    return now_ns += STEP_NS;
}

static void
race_futex_wait(_Atomic uint32_t *word, uint32_t value, uint64_t deadline)
{
    race_step("sleep");
    if (atomic_load(word) != value || deadline <= now_ns)
        return;
    me->asleep_on = word;
    me->sleeps_for_ever = deadline == COP_FOREVER || sleeps_are_long;
    look_who_awaits();
    if (me->sleeps_for_ever)
        schedule_stop();
    else
        race_yield();
    if (me->asleep_on != NULL && now_ns < deadline)
        now_ns = deadline;
    me->asleep_on = NULL;
}

static void
race_futex_wake(_Atomic uint32_t *word, int threads)
{
    race_step("wake");
    for (unsigned i = 0; i < THREADS && threads > 0; i++) {
        if (actors[i].asleep_on != word)
            continue;
        actors[i].asleep_on = NULL;
        if (actors[i].sleeps_for_ever)
            schedule_resume(&schedule, i);
        threads--;
    }
}

/* --- the library, in steps ----------------------------------------------------------------------
 */

#undef COP_STEP
#define COP_STEP(where) race_step(where)

#undef atomic_fetch_sub_explicit
#undef atomic_fetch_or_explicit
#ifdef __clang__
#define atomic_fetch_sub_explicit(p, v, order) \
    (race_step("sub"), __c11_atomic_fetch_sub((p), (v), (order)))
#define atomic_fetch_or_explicit(p, v, order) \
    (race_step("or"), __c11_atomic_fetch_or((p), (v), (order)))
#else
#define atomic_fetch_sub_explicit(p, v, order) \
    (race_step("sub"), __atomic_fetch_sub((p), (v), (order)))
#define atomic_fetch_or_explicit(p, v, order) \
    (race_step("or"), __atomic_fetch_or((p), (v), (order)))
#endif

#define pthread_mutex_lock(mutex) race_lock(mutex)
#define sched_yield() race_yield()
#define __builtin_ia32_pause() race_yield() /* NOLINT(bugprone-reserved-identifier) */
#define cop__clock_ns() race_clock_ns()
#define cop__futex_wait(word, value, deadline) race_futex_wait((word), (value), (deadline))
#define cop__futex_wake(word, threads) race_futex_wake((word), (threads))
#define read(fd, to, n) (race_step("read"), read((fd), (to), (n)))
#define write(fd, from, n) (race_step("write"), write((fd), (from), (n)))

#include "reclaim/gate.h"
/* Few slots to look through, so that most steps are of something else. */
#undef COP_SLAB_BYTES
#define COP_SLAB_BYTES ((size_t)4096)

/* NOLINTBEGIN(bugprone-suspicious-include) */
#include "commit/batch.c"
#include "commit/combiner.c"
#include "commit/end.c"
#include "commit/ticket_done.c"
#include "commit/txn.c"
#include "commit/update_batcher.c"
#include "reclaim/pin.c"
#include "reclaim/reader.c"
#include "reclaim/snapshot.c"
#include "store/store.c"
/* NOLINTEND(bugprone-suspicious-include) */

#undef pthread_mutex_lock
#undef sched_yield
#undef read
#undef write

/* --- memory that is out of reach when it was given back -----------------------------------------
 */

#define ARENA_BYTES ((size_t)8 << 20)
#define PAGE ((size_t)4096)

static struct {
    char *at;
    size_t used;
    int blocks;
    unsigned destroyed;
} arena;

static size_t
pages(size_t size)
{
    return (size + PAGE - 1) & ~(PAGE - 1);
}

static void *
arena_allocate(void *context, size_t size, size_t alignment)
{
    (void)context;
    (void)alignment;
    if (pages(size) > ARENA_BYTES - arena.used)
        die("the arena of the test is too small");
    char *p = arena.at + arena.used;
    arena.used += pages(size);
    arena.blocks++;
    memset(p, 0xa5, size);
    return p;
}

static void
arena_release(void *context, void *p, size_t size, size_t alignment)
{
    (void)context;
    (void)alignment;
    if (mprotect(p, pages(size), PROT_NONE) != 0)
        die("mprotect");
    arena.blocks--;
}

static void
arena_destroy(void *context)
{
    (void)context;
    arena.destroyed++;
}

static void
arena_begin(void)
{
    if (arena.at == NULL)
        arena.at = mmap(NULL, ARENA_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (arena.at == MAP_FAILED || mprotect(arena.at, ARENA_BYTES, PROT_READ | PROT_WRITE) != 0)
        die("no arena");
    arena.used = 0;
    arena.blocks = 0;
    arena.destroyed = 0;
}

/* --- a scenario ---------------------------------------------------------------------------------
 */

typedef struct scenario {
    const char *name;
    void (*setup)(void);
    void (*bodies[THREADS])(void);
    void (*finish)(void); /* nothing runs any more; the store is open unless a body closed it */
    unsigned steps;       /* that a run takes, about */
} scenario;

static cop_store *store;
static uint64_t window_ms; /* in which what is submitted is gathered */
static uint64_t dice; /* of the seed: which variant of a scenario */
static bool closed;
static unsigned freed; /* times the store was */
static char failure[160];

static void __attribute__((format(printf, 1, 2))) broken(const char *format, ...)
{
    va_list list;

    if (failure[0] != '\0')
        return;
    va_start(list, format);
    vsnprintf(failure, sizeof failure, format, list);
    va_end(list);
}

static void
expect(cop_status status, cop_status wanted, const char *what)
{
    if (status != wanted)
        broken("%s: is %s, should be %s", what, cop_status_name(status), cop_status_name(wanted));
}

static void
either(cop_status status, cop_status other, const char *what)
{
    if (status != COP_OK)
        expect(status, other, what);
}

/* All end together: a thread's exit would do what the end of its last use should have done. */
static void
bodies_end(void)
{
    if (--running > 0) {
        if (awaited != NULL)
            schedule_resume(&schedule, awaiting);
        awaited = NULL;
        schedule_stop();
        return;
    }
    if (closed && freed != 1)
        broken("the store is still there when its last use has ended");
    for (unsigned i = 0; i < schedule.count; i++)
        schedule_resume(&schedule, i);
}

static void
actor_main(void *context)
{
    me = context;
    me->body();
    bodies_end();
    thread_exits(NULL); /* else it would run outside the schedule */
    me = NULL;
}

static void
say_seed(int sig)
{
    if (write(STDERR_FILENO, doing, strlen(doing)) >= 0)
        signal(sig, SIG_DFL);
    raise(sig);
}

static void
count_freed(void *context)
{
    (void)context;
    freed++;
}

static void
open_store(void)
{
    cop_options options = COP_OPTIONS_INIT;

    options.batch_window_ms = window_ms;
    options.allocator = (cop_allocator){arena_allocate, arena_release, arena_destroy, NULL, NULL};
    options.memory_chunk_bytes = 131072;
    options.log_destroy = count_freed;
    options.readers_membarrier = dice % 4 != 3;
    expect(cop_store_open(&options, &store, NULL), COP_OK, "open");
}

/* Mostly one change of thread, at each step in turn, or two near each other; sometimes three, or a
 * walk. */
static void
draw_schedule(const scenario *s, uint64_t seed)
{
    unsigned kind = seed % 8;

    schedule_init(&schedule, seed, kind < 6 ? 1 + kind % 2 : 3, s->steps);
    if (kind < 6)
        schedule.change[0] = 1 + seed / 2 % s->steps;
    if (kind < 6 && kind % 2)
        schedule.change[1] = schedule.change[0] + 1 + schedule_random(&schedule) % 60;
    if (kind == 7)
        schedule_walk(&schedule, 4u << schedule_random(&schedule) % 5);
    dice = schedule_random(&schedule) >> 32;
}

static void
actors_begin(const scenario *s)
{
    running = 0;
    for (unsigned i = 0; i < THREADS; i++) {
        actors[i] = (actor){.body = s->bodies[i], .number = i};
        if (s->bodies[i] == NULL)
            continue;
        (void)schedule_thread(&schedule, actor_main, &actors[i]);
        running++;
    }
}

static void
run_seed(const scenario *s, uint64_t seed)
{
    snprintf(doing, sizeof doing, "races: %s, COP_SCHEDULE_SEED=%" PRIu64 "\n", s->name, seed);
    failure[0] = '\0';
    closed = sleeps_are_long = false;
    freed = run_steps = 0;
    latest = NULL;
    awaited = NULL;
    now_ns = UINT64_C(1000000000);
    arena_begin();
    draw_schedule(s, seed);
    open_store();
    s->setup();
    thread_exits(NULL); /* no reader of this thread keeps anything */
    actors_begin(s);
    schedule_run(&schedule);
    s->finish();
    if (!closed)
        cop_store_close(store);
    thread_exits(NULL);
    if (arena.destroyed != 1 || arena.blocks != 0)
        broken("%d blocks are left, %u allocators destroyed", arena.blocks, arena.destroyed);
    ck_assert_msg(failure[0] == '\0', "%s%s", doing, failure);
}

static uint64_t
from_environment(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text != NULL && *text != '\0' ? strtoull(text, NULL, 10) : otherwise;
}

static void
run(const scenario *s)
{
    uint64_t only = from_environment("COP_SCHEDULE_SEED", 0);
    uint64_t last = only ? only : from_environment("COP_SCHEDULE_SEEDS", SEEDS);

    signal(SIGSEGV, say_seed);
    signal(SIGABRT, say_seed);
    for (uint64_t seed = only ? only : 1; seed <= last; seed++)
        run_seed(s, seed);
}

/* --- what bodies do
 * ------------------------------------------------------------------------------- */

static void
nothing(void)
{
}

static void
close_store(void)
{
    cop_store_close(store);
    closed = true;
}

static cop_txn *
begin_set(const char *path, int64_t i)
{
    cop_txn *txn = NULL;
    cop_value value = cop_i64(i);

    expect(cop_txn_begin(store, &txn), COP_OK, "begin");
    expect(cop_txn_set_at(txn, P(path), &value, NULL), COP_OK, "set");
    return txn;
}

static void
set_now(const char *path, int64_t i)
{
    expect(cop_txn_commit(begin_set(path, i), NULL, NULL), COP_OK, "commit");
}

/* --- windows ------------------------------------------------------------------------------------
 */

static void
setup_window(void)
{
    int fd;

    set_now("a", 0);
    expect(cop_store_fd(store, &fd), COP_OK, "fd");
}

static void
submit_two(void)
{
    expect(cop_txn_submit(begin_set("b", 1), NULL), COP_OK, "submit");
    expect(cop_txn_submit(begin_set("b", 2), NULL), COP_OK, "submit");
}

static void
submit_one_more(void)
{
    expect(cop_txn_submit(begin_set("c", 1), NULL), COP_OK, "submit");
}

static void
take_and_poll(void)
{
    if (dice & 1)
        expect(cop_flush(store, COP_FOREVER), COP_OK, "flush");
    else
        set_now("d", 1);
    expect(cop_store_poll(store), COP_OK, "poll");
}

static void
flush_or_give_up(void)
{
    either(cop_flush(store, dice & 2 ? 0 : COP_FOREVER), COP_E_TIMEOUT, "flush");
}

/* What is still queued is due some time, and who polls is told: the descriptor's time is one of the
 * simulated clock, long past. */
static void
nothing_is_forgotten(void)
{
    struct pollfd event = {.fd = atomic_load(&store->batcher.fd), .events = POLLIN};
    uint64_t due = atomic_load(&store->batcher.due);

    if (atomic_load(&store->queued) > 0 && due == COP_BATCH_NONE)
        broken("a transaction was submitted at the window's edge and is not due");
    if (due != COP_BATCH_NONE && poll(&event, 1, 0) != 1)
        broken("a window is open and the descriptor has no time");
    if (atomic_load(&store->batcher.waiters) != 0)
        broken("somebody waits");
}

START_TEST(submissions_at_the_edge_of_a_window)
{
    static const scenario s = {"window",
                               setup_window,
                               {submit_two, take_and_poll, submit_one_more},
                               nothing_is_forgotten,
                               250};

    window_ms = 1;
    run(&s);
    window_ms = 0;
}
END_TEST

START_TEST(flushes_that_give_up_at_the_edge_of_a_window)
{
    static const scenario s = {"given up",
                               setup_window,
                               {submit_two, take_and_poll, flush_or_give_up},
                               nothing_is_forgotten,
                               250};

    window_ms = 1;
    run(&s);
    window_ms = 0;
}
END_TEST

static cop_ticket *of_frame, *awaiting_call;
static unsigned calls_made;

static void
call_made(void *context, cop_status status, uint64_t version)
{
    (void)context;
    (void)version;
    calls_made++;
    either(status, COP_E_TIMEOUT, "call");
}

static void
setup_tickets_of_a_window(void)
{
    calls_made = 0;
    expect(cop_txn_submit(begin_set("b", 1), &of_frame), COP_OK, "submit");
    expect(cop_txn_submit(begin_set("c", 1), &awaiting_call), COP_OK, "submit");
}

static void
wait_for_the_frame(void)
{
    expect(cop_ticket_wait(of_frame, COP_FOREVER, NULL, NULL), COP_OK, "wait");
    cop_ticket_release(of_frame);
}

static void
ask_to_be_called(void)
{
    uint64_t deadline = dice & 2 ? COP_FOREVER : dice & 4 ? 1 : UINT64_C(1) << 40;

    expect(cop_ticket_on_done(awaiting_call, call_made, NULL, NULL, deadline), COP_OK, "on_done");
    cop_ticket_release(awaiting_call);
}

static void
called_once(void)
{
    expect(cop_flush(store, COP_FOREVER), COP_OK, "flush");
    expect(cop_store_poll(store), COP_OK, "poll");
    if (calls_made != 1)
        broken("a ticket's function was called %u times", calls_made);
    if (atomic_load(&store->batcher.waiters) != 0)
        broken("somebody waits");
}

START_TEST(tickets_waited_for_and_called_in_a_window)
{
    static const scenario s = {"calls",
                               setup_tickets_of_a_window,
                               {wait_for_the_frame, ask_to_be_called, take_and_poll},
                               called_once,
                               300};

    window_ms = 1;
    run(&s);
    window_ms = 0;
}
END_TEST

/* --- closing, and whoever ends last --------------------------------------------------------------
 */

static const cop_snapshot *snapshots[2];

static void
setup_snapshots(void)
{
    for (int i = 0; i < 2; i++) {
        set_now("a", i);
        expect(cop_snapshot_take(store, &snapshots[i]), COP_OK, "take");
    }
    set_now("b", 1);
    if (dice & 1)
        expect(cop_store_poll(store), COP_OK, "poll"); /* a scan sees them */
}

static void
drop_first(void)
{
    cop_snapshot_drop(snapshots[0]);
}

static void
drop_second(void)
{
    cop_snapshot_drop(snapshots[1]);
}

START_TEST(snapshots_dropped_while_the_store_closes)
{
    static const scenario s = {
        "drops", setup_snapshots, {close_store, drop_first, drop_second}, nothing, 307};

    run(&s);
}
END_TEST

static cop_reader *readers[2];
static cop_pin_t pins[2][2];

static void
setup_pins(void)
{
    set_now("a", 0);
    for (int i = 0; i < 2; i++) {
        expect(cop_reader_open(store, &readers[i]), COP_OK, "reader");
        for (int k = 0; k < 2; k++)
            pins[i][k] = cop_reader_pin(readers[i]);
    }
}

static void
read_and_unpin(cop_pin_t pin)
{
    cop_value value;

    race_step("read");
    expect(cop_get_at(pin.snapshot, P("a"), &value), COP_OK, "read");
    cop_unpin(pin);
}

static void
unpin_first(void)
{
    read_and_unpin(pins[0][0]);
    read_and_unpin(pins[0][1]);
}

static void
unpin_second(void)
{
    const cop_snapshot *snapshot = pins[1][1].snapshot;

    read_and_unpin(pins[1][0]);
    if (dice & 8) { /* a snapshot takes over from the pin */
        expect(cop_snapshot_keep(snapshot), COP_OK, "keep");
        read_and_unpin(pins[1][1]);
        cop_snapshot_drop(snapshot);
    } else {
        read_and_unpin(pins[1][1]);
    }
}

static void
readers_end(void)
{
    cop_reader_close(readers[0]);
    cop_reader_close(readers[1]);
}

START_TEST(pins_ended_while_the_store_closes)
{
    static const scenario s = {
        "pins", setup_pins, {close_store, unpin_first, unpin_second}, readers_end, 307};

    run(&s);
}
END_TEST

static void
setup_value(void)
{
    set_now("a", 0);
}

static bool
two_use_it(void)
{
    return atomic_load(&store->gate->users) >= 2;
}

static void
wait_for_no_version(void)
{
    expect(cop_wait_version(store, 1000, COP_FOREVER), COP_E_CLOSING, "wait_version");
}

static void
close_when_waiting(void)
{
    await(two_use_it);
    close_store();
}

START_TEST(waits_for_a_version_end_when_the_store_closes)
{
    static const scenario s = {"waits",
                               setup_value,
                               {close_when_waiting, wait_for_no_version, wait_for_no_version},
                               nothing,
                               307};

    run(&s);
}
END_TEST

static cop_ticket *tickets[3];
static cop_txn *prepared[2];

static void
setup_transactions(void)
{
    prepared[0] = begin_set("a", 1);
    prepared[1] = begin_set("b", 1);
    tickets[0] = NULL;
}

static void
submit_and_forget(void)
{
    either(cop_txn_submit(prepared[0], NULL), COP_E_CLOSING, "submit");
}

static void
submit_and_wait(void)
{
    cop_ticket *ticket;
    cop_status status = cop_txn_submit(prepared[1], &ticket);

    either(status, COP_E_CLOSING, "submit");
    if (status != COP_OK)
        return;
    if (dice & 1)
        either(cop_ticket_wait(ticket, COP_FOREVER, NULL, NULL), COP_E_CLOSING, "wait");
    cop_ticket_release(ticket);
}

static void
setup_transaction(void)
{
    prepared[0] = begin_set("a", 1);
}

START_TEST(a_submission_while_the_store_closes)
{
    static const scenario s = {
        "submission", setup_transaction, {close_store, submit_and_forget}, nothing, 149};

    run(&s);
}
END_TEST

/* Counted, but not pushed, while the closer comes anywhere. */
static void
submit_late(void)
{
    late = run_steps + 10 + (unsigned)dice % 200;
    me->stops = BEFORE_PUSH;
    submit_and_forget();
}

START_TEST(a_push_that_comes_late_while_the_store_closes)
{
    static const scenario s = {
        "late push", setup_transaction, {close_store, submit_late}, nothing, 149};

    run(&s);
}
END_TEST

START_TEST(submissions_while_the_store_closes)
{
    static const scenario s = {"submissions",
                               setup_transactions,
                               {close_store, submit_and_forget, submit_and_wait},
                               nothing,
                               307};

    run(&s);
}
END_TEST

static void
commit_first(void)
{
    either(cop_txn_commit(prepared[0], NULL, NULL), COP_E_CLOSING, "commit");
}

static void
commit_or_cancel(void)
{
    if (dice & 1)
        either(cop_txn_commit(prepared[1], NULL, NULL), COP_E_CLOSING, "commit");
    else
        cop_txn_cancel(prepared[1]);
}

START_TEST(commits_while_the_store_closes)
{
    static const scenario s = {
        "commits", setup_transactions, {close_store, commit_first, commit_or_cancel}, nothing, 307};

    run(&s);
}
END_TEST

/* Uses that threads count beside their readers: ended by the thread that began them or by another,
 * also when the thread that began them has gone, or another has its slot. */
static unsigned begun, passed;

static void
setup_uses(void)
{
    begun = passed = 0;
}

static bool
all_have_begun(void)
{
    return begun == 2;
}

static void
close_in_use(void)
{
    while (!all_have_begun()) { /* the end of a body ends a wait, too */
        await(all_have_begun);
        race_yield();
    }
    close_store();
}

static void
end_use(cop_txn *txn, uint64_t how)
{
    cop_ticket *ticket = NULL;

    switch (how % 4) {
    case 0:
        cop_txn_cancel(txn);
        break;
    case 1:
        either(cop_txn_commit(txn, NULL, NULL), COP_E_CLOSING, "commit");
        break;
    case 2:
        either(cop_txn_submit(txn, NULL), COP_E_CLOSING, "submit");
        break;
    default:
        either(cop_txn_submit(txn, &ticket), COP_E_CLOSING, "submit");
        cop_ticket_release(ticket);
    }
}

/* Begins one, and ends the one that was begun last: its own or the other's. */
static void
use_and_pass(uint64_t how)
{
    cop_txn *own, *more = NULL;

    expect(cop_reader_register(store), COP_OK, "register");
    own = begin_set("a", 1);
    begun++;
    race_step("begun");
    prepared[passed++] = own;
    if (how & 1)
        thread_exits(NULL);
    race_step("passed");
    own = prepared[--passed];
    if (how & 2)
        either(cop_txn_begin(store, &more), COP_E_CLOSING, "begin more");
    end_use(own, how >> 2);
    race_step("more"); /* which has kept the store from then on */
    cop_txn_cancel(more);
}

static void
first_use(void)
{
    use_and_pass(dice >> 2);
}

static void
second_use(void)
{
    use_and_pass(dice >> 12);
}

START_TEST(transactions_in_use_while_the_store_closes)
{
    static const scenario s = {
        "uses", setup_uses, {close_in_use, first_use, second_use}, nothing, 401};

    run(&s);
}
END_TEST

static unsigned tries;

/* Somebody else writes what was read, as long as that is allowed. */
static cop_status
meddled_with(cop_txn *txn, void *context)
{
    cop_value value, more = cop_i64(++tries);
    cop_txn *other;
    cop_atom atom;

    (void)context;
    cop_status status = cop_txn_find(txn, P("a"), &atom, NULL);
    if (status == COP_OK)
        status = cop_txn_get(txn, atom, &value);
    if (status == COP_OK && cop_txn_begin(store, &other) == COP_OK) {
        (void)cop_txn_set(other, atom, &more);
        (void)cop_txn_commit(other, NULL, NULL);
    }
    value = cop_i64(1000);
    return status == COP_OK ? cop_txn_set(txn, atom, &value) : status;
}

static void
transact_meddled_with(void)
{
    either(cop_transact(store, meddled_with, NULL, COP_FOREVER, NULL), COP_E_CLOSING, "transact");
}

static void
setup_tries(void)
{
    set_now("a", 0);
    tries = 0;
}

static bool
tried_enough(void)
{
    return tries >= (dice & 8 ? 9 : dice % 9 + 1);
}

static void
close_after_some_tries(void)
{
    await(tried_enough);
    close_store();
}

START_TEST(a_transact_while_the_store_closes)
{
    static const scenario s = {
        "transact", setup_tries, {close_after_some_tries, transact_meddled_with}, nothing, 601};

    run(&s);
}
END_TEST

/* --- tickets
 * -------------------------------------------------------------------------------------- */

static bool taken_back;
static cop_status waited;

static void
setup_ticket(void)
{
    set_now("a", 0);
    for (int i = 0; i < 2; i++)
        expect(cop_txn_submit(begin_set(i ? "b" : "a", i + 1), &tickets[i]), COP_OK, "submit");
}

static void
wait_for_second(void)
{
    waited = cop_ticket_wait(tickets[1], COP_FOREVER, NULL, NULL);
}

static void
take_second_back(void)
{
    taken_back = cop_ticket_cancel(tickets[1]) == COP_OK;
}

static void
flush(void)
{
    expect(cop_flush(store, COP_FOREVER), COP_OK, "flush");
}

static void
one_outcome(void)
{
    expect(waited, taken_back ? COP_E_CANCELLED : COP_OK,
           "the wait for what was taken back or not");
    expect(cop_ticket_poll(tickets[1], NULL), waited, "its ticket");
    expect(cop_ticket_poll(tickets[0], NULL), COP_OK, "the other ticket");
    cop_ticket_release(tickets[0]);
    cop_ticket_release(tickets[1]);
    if (atomic_load(&store->sleepers) != 0 || atomic_load(&store->claimants) != 0 ||
        atomic_load(&store->queued) != 0)
        broken("counted as waiting when nobody is");
}

START_TEST(a_ticket_has_one_outcome)
{
    static const scenario s = {
        "tickets", setup_ticket, {wait_for_second, take_second_back, flush}, one_outcome, 127};

    run(&s);
}
END_TEST

/* A producer stays where it is for longer than others are ready to wait. */
static bool
is_pushing(void)
{
    return schedule.actors[0].stopped;
}

static void
submit_slowly(void)
{
    cop_txn *txn = begin_set("a", 1);

    me->stops = IN_PUSH;
    expect(cop_txn_submit(txn, NULL), COP_OK, "submit");
}

static void
flush_with_a_deadline(void)
{
    uint64_t begin, end;

    while (!is_pushing())
        race_yield();
    begin = cop_deadline_in_ms(0);
    expect(cop_flush(store, cop_deadline_in_ms(50)), COP_E_TIMEOUT, "flush");
    end = cop_deadline_in_ms(0);
    if (end - begin < 50000000 || end - begin > 60000000)
        broken("a wait of 50 ms took %" PRIu64 " ns", end - begin);
    schedule_resume(&schedule, 0);
    flush();
}

static void
is_flushed(void)
{
    if (cop_store_version(store) != 1 || atomic_load(&store->queued) != 0)
        broken("version %" PRIu64 " after flushing", cop_store_version(store));
}

START_TEST(a_deadline_holds_while_a_push_is_under_way)
{
    static const scenario s = {
        "push", nothing, {submit_slowly, flush_with_a_deadline}, is_flushed, 5953};

    run(&s);
}
END_TEST

static void
commit_two(void)
{
    set_now("a", 1);
    set_now("a", 2);
}

static void
wait_for_two(void)
{
    expect(cop_wait_version(store, dice & 1 ? 3 : 2, COP_FOREVER), COP_OK, "wait_version");
}

START_TEST(a_wait_sees_its_version)
{
    static const scenario s = {
        "versions", setup_value, {wait_for_two, commit_two, wait_for_two}, nothing, 127};

    run(&s);
}
END_TEST

/* Sleeps are short, so that a missed wake is a short delay. Without an end, they show that who was
 * asleep before is woken. */
static void
setup_sleepers(void)
{
    for (int i = 0; i < 2; i++)
        expect(cop_txn_submit(begin_set(i ? "b" : "a", i + 1), &tickets[i]), COP_OK, "submit");
    if (!cop__right_try(store)) /* a right is no thread's */
        broken("the right is not free");
    sleeps_are_long = true;
}

static bool
all_others_sleep(void)
{
    for (unsigned i = 1; i < schedule.count; i++)
        if (actors[i].asleep_on == NULL)
            return false;
    return true;
}

static void
leave_to_sleepers(void)
{
    await(all_others_sleep);
    me->alone = true;
    if (dice & 1)
        cop__combine(store, 1);
    cop__right_leave(store);
    me->alone = false;
}

static void
sleep_for_first(void)
{
    expect(cop_ticket_wait(tickets[0], COP_FOREVER, NULL, NULL), COP_OK, "wait");
}

static void
sleep_for_second(void)
{
    expect(cop_ticket_wait(tickets[1], COP_FOREVER, NULL, NULL), COP_OK, "wait");
}

static void
sleep_for_right(void)
{
    expect(cop__right_wait(store, COP_FOREVER), COP_OK, "wait for the right");
    cop__right_leave(store);
}

static void
release_tickets(void)
{
    cop_ticket_release(tickets[0]);
    cop_ticket_release(tickets[1]);
}

START_TEST(sleepers_are_woken)
{
    static const scenario s = {"sleepers",
                               setup_sleepers,
                               {leave_to_sleepers, sleep_for_first, sleep_for_second},
                               release_tickets,
                               1009};

    run(&s);
}
END_TEST

START_TEST(who_claims_the_right_is_woken)
{
    static const scenario s = {
        "claimant", setup_sleepers, {leave_to_sleepers, sleep_for_right}, release_tickets, 503};

    run(&s);
}
END_TEST

/* --- the descriptor
 * ------------------------------------------------------------------------------- */

static int fd;

static bool
readable(void)
{
    struct pollfd p = {fd, POLLIN, 0};

    return poll(&p, 1, 0) == 1;
}

static void
setup_descriptor(void)
{
    expect(cop_store_fd(store, &fd), COP_OK, "fd");
    expect(cop_txn_submit(begin_set("a", 1), &tickets[0]), COP_OK, "submit");
    tickets[1] = tickets[2] = NULL;
    if (!readable())
        broken("not readable after a submission");
}

static void
poll_store(void)
{
    expect(cop_store_poll(store), COP_OK, "poll");
}

static void
submit_second(void)
{
    expect(cop_txn_submit(begin_set("a", 2), &tickets[1]), COP_OK, "submit");
}

static void
commit_third(void)
{
    set_now("b", 3);
}

/* As a host's loop, which polls when it is told to. A push that was under way during the poll may
 * have kept even the first transaction from it. */
static void
descriptor_tells(void)
{
    for (int i = 0; i < 4 && readable(); i++)
        poll_store();
    expect(cop_ticket_poll(tickets[0], NULL), COP_OK, "the first");
    expect(cop_ticket_poll(tickets[1], NULL), COP_OK, "the second");
    if (readable())
        broken("readable when nothing waits");
    expect(cop_txn_submit(begin_set("a", 3), &tickets[2]), COP_OK, "submit");
    if (!readable())
        broken("not readable after a later submission");
    for (int i = 0; i < 3; i++)
        cop_ticket_release(tickets[i]);
}

START_TEST(the_descriptor_tells_what_waits)
{
    static const scenario s = {
        "descriptor", setup_descriptor, {poll_store, submit_second}, descriptor_tells, 67};

    run(&s);
}
END_TEST

START_TEST(the_descriptor_tells_what_a_busy_committer_left)
{
    static const scenario s = {"descriptor, busy",
                               setup_descriptor,
                               {poll_store, submit_second, commit_third},
                               descriptor_tells,
                               307};

    run(&s);
}
END_TEST

/* --- reclaiming
 * ------------------------------------------------------------------------------------- */

static void
setup_held(void)
{
    static char text[500];
    cop_value value = cop_string(text, sizeof text);
    cop_txn *txn = NULL;

    expect(cop_txn_begin(store, &txn), COP_OK, "begin");
    for (char c = 'a'; c < 'f'; c++)
        expect(cop_txn_set_at(txn, &c, 1, &value, NULL), COP_OK, "set");
    expect(cop_txn_commit(txn, NULL, NULL), COP_OK, "commit");
    expect(cop_snapshot_take(store, &snapshots[0]), COP_OK, "take");
    if (dice & 1)
        poll_store();
}

static void
setup_held_by_two(void)
{
    setup_held();
    snapshots[1] = snapshots[0];
    expect(cop_snapshot_keep(snapshots[1]), COP_OK, "keep");
}

static void
erase_and_poll(void)
{
    cop_txn *txn = NULL;

    expect(cop_txn_begin(store, &txn), COP_OK, "begin");
    for (char c = 'a'; c < 'f'; c++)
        expect(cop_txn_erase_at(txn, &c, 1, NULL), COP_OK, "erase");
    expect(cop_txn_commit(txn, NULL, NULL), COP_OK, "commit");
    poll_store();
}

/* Asking for statistics would take the right, and free it. */
static void
nothing_is_dead(void)
{
    const cop__dead *dead = &store->tree.dead;
    uint64_t bytes = store->tree.pool.values.bytes_used;

    if (bytes != 0 || dead->blocks_dead != 0 || dead->pages_dead != 0)
        broken("%zu bytes, %zu blocks, %zu pages are held by nobody", (size_t)bytes,
               (size_t)dead->blocks_dead, (size_t)dead->pages_dead);
}

START_TEST(what_a_dropped_snapshot_held_is_freed)
{
    static const scenario s = {
        "freed", setup_held, {drop_first, erase_and_poll}, nothing_is_dead, 173};

    run(&s);
}
END_TEST

START_TEST(what_two_held_is_freed_when_both_dropped_it)
{
    static const scenario s = {"freed by two",
                               setup_held_by_two,
                               {drop_first, erase_and_poll, drop_second},
                               nothing_is_dead,
                               211};

    run(&s);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_test(tests, snapshots_dropped_while_the_store_closes);
    tcase_add_test(tests, pins_ended_while_the_store_closes);
    tcase_add_test(tests, waits_for_a_version_end_when_the_store_closes);
    tcase_add_test(tests, a_submission_while_the_store_closes);
    tcase_add_test(tests, a_push_that_comes_late_while_the_store_closes);
    tcase_add_test(tests, submissions_while_the_store_closes);
    tcase_add_test(tests, commits_while_the_store_closes);
    tcase_add_test(tests, transactions_in_use_while_the_store_closes);
    tcase_add_test(tests, a_transact_while_the_store_closes);
    tcase_add_test(tests, a_ticket_has_one_outcome);
    tcase_add_test(tests, a_deadline_holds_while_a_push_is_under_way);
    tcase_add_test(tests, a_wait_sees_its_version);
    tcase_add_test(tests, sleepers_are_woken);
    tcase_add_test(tests, who_claims_the_right_is_woken);
    tcase_add_test(tests, the_descriptor_tells_what_waits);
    tcase_add_test(tests, the_descriptor_tells_what_a_busy_committer_left);
    tcase_add_test(tests, what_a_dropped_snapshot_held_is_freed);
    tcase_add_test(tests, what_two_held_is_freed_when_both_dropped_it);
    tcase_add_test(tests, submissions_at_the_edge_of_a_window);
    tcase_add_test(tests, flushes_that_give_up_at_the_edge_of_a_window);
    tcase_add_test(tests, tickets_waited_for_and_called_in_a_window);
}

int
main(void)
{
    return t_run("races", add);
}

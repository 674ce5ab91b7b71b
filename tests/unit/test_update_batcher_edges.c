/* SPDX-License-Identifier: MIT */
/*
 * What happens at the edges of a window: between two steps of a submission, without memory, in a call of
 * a ticket, in a forked child. Other threads' steps are taken by this one, within the system calls that
 * it makes at that point.
 */
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <coppice/effect.h>
#include <coppice/pool.h>

#include "commit/combiner.h"
#include "tests/support/store_test.h"
#include "workers/pool_internal.h"

#define LONG_MS 60000u /* a window that does not end within a test, but in one of many thousand */
#define PATIENCE_MS 10000u

static cop_store *store;

/* ---- steps of others ---- */

static _Thread_local void (*at_clock)(void), (*at_timer)(void), (*at_yield)(void);
static unsigned refusals; /* of the next calls of epoll_ctl */

static void
come(void (**step)(void))
{
    void (*now)(void) = *step;
    *step = NULL;
    if (now != NULL)
        now();
}

int
clock_gettime(clockid_t clock, struct timespec *time)
{
    come(&at_clock);
    return (int)syscall(SYS_clock_gettime, clock, time);
}

int
timerfd_settime(int fd, int flags, const struct itimerspec *when, struct itimerspec *before)
{
    come(&at_timer);
    return (int)syscall(SYS_timerfd_settime, fd, flags, when, before);
}

int
sched_yield(void)
{
    come(&at_yield);
    return (int)syscall(SYS_sched_yield);
}

int
epoll_ctl(int set, int operation, int fd, struct epoll_event *event)
{
    if (refusals > 0) {
        refusals--;
        return -1;
    }
    return (int)syscall(SYS_epoll_ctl, set, operation, fd, event);
}

/* ---- short ways ---- */

static void
nap(unsigned ms)
{
    struct timespec time = {ms / 1000, (long)(ms % 1000) * 1000000};
    nanosleep(&time, NULL);
}

static void
reconfigure(uint64_t window_ms, uint64_t most)
{
    cop_options options = COP_OPTIONS_INIT;
    CHECK_OK(cop_store_options(store, &options));
    options.batch_window_ms = window_ms;
    options.batch_max_transactions = most;
    CHECK_OK(cop_store_reconfigure(store, &options, COP_FOREVER, NULL));
}

static cop_ticket *
submit_at(const char *path, int64_t i)
{
    cop_txn *txn = t_begin(store);
    cop_value value = cop_i64(i);
    cop_ticket *ticket = NULL;
    CHECK_OK(cop_txn_set_at(txn, P(path), &value, NULL));
    CHECK_OK(cop_txn_submit(txn, &ticket));
    return ticket;
}

static uint64_t
version_of(cop_ticket *ticket)
{
    uint64_t version = 0;
    CHECK_OK(cop_ticket_poll(ticket, &version));
    cop_ticket_release(ticket);
    return version;
}

static bool
readable(unsigned ms)
{
    int fd = -1;
    CHECK_OK(cop_store_fd(store, &fd));
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, (int)ms) == 1;
}

static cop_pool *
pool_of(uint32_t threads)
{
    cop_pool_options options = COP_POOL_OPTIONS_INIT;
    cop_pool *pool = NULL;
    options.threads = threads;
    CHECK_OK(cop_pool_open(&options, &pool, NULL));
    return pool;
}

/* ---- between two steps ---- */

static void
end_gathering(void)
{
    reconfigure(0, 1024);
}

/* A submission that has looked at the window's length, but not opened it, when that changes. */
START_TEST(a_window_of_a_length_that_is_no_more)
{
    store = t_open_window(LONG_MS);
    ck_assert(!readable(0));
    at_clock = end_gathering;
    cop_ticket *ticket = submit_at("a", 1);
    CHECK_STATUS(cop_ticket_poll(ticket, NULL), COP_OK);
    cop_ticket_release(ticket);
    ticket = submit_at("a", 2);
    ck_assert(readable(PATIENCE_MS));
    CHECK_OK(cop_store_poll(store));
    ck_assert_uint_eq(version_of(ticket), 2);
    ck_assert(!readable(0));
    t_close(store);
}
END_TEST

static cop_ticket *filler;

static void
fill(void)
{
    filler = submit_at("b", 1);
}

/* Who opens sets the descriptor after who fills the bound. */
START_TEST(a_full_bound_is_shown_although_it_was_overtaken)
{
    store = t_open_window(LONG_MS);
    reconfigure(LONG_MS, 2);
    ck_assert(!readable(0));
    at_timer = fill;
    cop_ticket *ticket = submit_at("a", 1);
    ck_assert(readable(0));
    CHECK_OK(cop_store_poll(store));
    ck_assert_uint_eq(version_of(ticket), 1);
    ck_assert_uint_eq(version_of(filler), 1);
    t_close(store);
}
END_TEST

/* Both find the bound full and no window, and the second one is the first to open one. */
START_TEST(two_fill_the_bound_at_once)
{
    store = t_open_window(LONG_MS);
    reconfigure(LONG_MS, 1);
    ck_assert(!readable(0));
    at_clock = fill;
    cop_ticket *ticket = submit_at("a", 1);
    ck_assert(readable(0));
    CHECK_OK(cop_store_poll(store));
    uint64_t last = version_of(ticket);
    ck_assert_uint_eq(last + version_of(filler), 3); /* one after the other */
    ck_assert(!readable(0));
    t_close(store);
}
END_TEST

/* Nobody has come for a window that is over: what is in it need not wait any longer. */
START_TEST(a_window_that_is_over_gathers_nothing)
{
    store = t_open_window(LONG_MS);
    ck_assert(!cop__batcher_gathering(store));
    cop_ticket *ticket = submit_at("a", 1);
    ck_assert(cop__batcher_gathering(store));
    atomic_store(&store->batcher.due, cop_deadline_in_ms(0));
    ck_assert(!cop__batcher_gathering(store));
    CHECK_OK(cop_flush(store, COP_FOREVER));
    ck_assert_uint_eq(version_of(ticket), 1);
    t_close(store);
}
END_TEST

START_TEST(a_descriptor_that_was_refused_comes_later)
{
    int fd = -1;
    store = t_open_window(5);
    for (unsigned i = 1; i <= 3; i++) { /* of the three that are put together */
        refusals = i;
        CHECK_STATUS(cop_store_fd(store, &fd), COP_E_IO);
        ck_assert_int_eq(fd, -1);
        refusals = 0;
    }
    cop_ticket *ticket = submit_at("a", 1);
    ck_assert(readable(PATIENCE_MS));
    CHECK_OK(cop_store_poll(store));
    ck_assert_uint_eq(version_of(ticket), 1);
    t_close(store);
}
END_TEST

START_TEST(an_alarm_of_an_older_window_is_set_anew)
{
    store = t_open_window(LONG_MS);
    cop_ticket *ticket = submit_at("a", 1);
    uint64_t due = cop__load_seq_cst(&store->batcher.due);
    store->batcher.alarm.function(store->batcher.alarm.context);
    ck_assert(cop__timers_earliest(&store->timers) == due || cop__clock_ns() >= due);
    CHECK_OK(cop_flush(store, COP_FOREVER));
    cop_ticket_release(ticket);
    t_close(store);
}
END_TEST

START_TEST(an_alarm_without_a_window_does_nothing)
{
    cop_stats stats = COP_STATS_INIT;
    store = t_open_window(LONG_MS);
    store->batcher.alarm.function(store->batcher.alarm.context);
    CHECK_OK(cop_stats_take(store, &stats));
    ck_assert_uint_eq(stats.batches, 0);
    ck_assert_uint_eq(cop__timers_earliest(&store->timers), COP_TIMER_NEVER);
    t_close(store);
}
END_TEST

static void *
wait_for(void *ticket)
{
    cop_status status = cop_ticket_wait(ticket, cop_deadline_in_ms(PATIENCE_MS), NULL, NULL);
    return (void *)(intptr_t)status;
}

START_TEST(who_waits_for_one_taken_back_is_woken)
{
    pthread_t thread;
    void *status = NULL;
    store = t_open_window(LONG_MS);
    cop_ticket *ticket = submit_at("a", 1);
    CHECK_OK(cop_ticket_cancel(ticket));
    ck_assert_int_eq(pthread_create(&thread, NULL, wait_for, ticket), 0);
    while (cop__load_seq_cst(&store->batcher.waiters) == 0)
        nap(1);
    nap(20); /* it sleeps */
    uint64_t before = cop__clock_ns();
    CHECK_OK(cop__right_wait(store, COP_FOREVER));
    cop__combine(store, 1);
    cop__right_leave(store);
    pthread_join(thread, &status);
    CHECK_STATUS((cop_status)(intptr_t)status, COP_E_CANCELLED);
    ck_assert_uint_lt(cop__clock_ns() - before, UINT64_C(5000000000));
    cop_ticket_release(ticket);
    t_close(store);
}
END_TEST

/* ---- within a batch ---- */

START_TEST(a_condition_that_fails_leaves_the_others)
{
    store = t_open_window(LONG_MS);
    cop_atom a = t_make(store, "a", cop_i64(0)), b = t_make(store, "b", cop_i64(0));
    cop_value zero = cop_i64(0), one = cop_i64(1);
    uint64_t before = cop_store_version(store);
    cop_ticket *first = submit_at("a", 1), *failed = NULL, *held = NULL;
    cop_txn *txn = t_begin(store);
    CHECK_OK(cop_txn_require_value(txn, a, &zero)); /* true when it was submitted */
    CHECK_OK(cop_txn_set(txn, b, &one));
    CHECK_OK(cop_txn_submit(txn, &failed));
    txn = t_begin(store);
    CHECK_OK(cop_txn_require_value(txn, a, &one)); /* true only within the batch */
    CHECK_OK(cop_txn_set_at(txn, P("c"), &one, NULL));
    CHECK_OK(cop_txn_submit(txn, &held));
    CHECK_OK(cop_flush(store, COP_FOREVER));
    ck_assert_uint_eq(version_of(first), before + 1);
    ck_assert_uint_eq(version_of(held), before + 1);
    CHECK_STATUS(cop_ticket_poll(failed, NULL), COP_E_CONFLICT);
    cop_ticket_release(failed);
    ck_assert_uint_eq(cop_store_version(store), before + 1);
    t_is_i64(store, b, 0);
    t_close(store);
}
END_TEST

static unsigned
refused_at(int64_t k, cop_atom counter)
{
    enum { N = 4, BYTES = 500000 };
    cop_ticket *ticket[N];
    char path[32], *text = t_bytes(BYTES, (unsigned)k);
    unsigned refused = 0;
    uint64_t version = 0, before = cop_store_version(store);
    for (int i = 0; i < N; i++) {
        cop_txn *txn = t_begin(store);
        cop_value one = cop_i64(1), large = cop_string(text, BYTES);
        snprintf(path, sizeof path, "k%d/%d", (int)k, i);
        CHECK_OK(cop_txn_add(txn, counter, &one));
        CHECK_OK(cop_txn_set_at(txn, P(path), &large, NULL));
        CHECK_OK(cop_txn_submit(txn, &ticket[i]));
    }
    fault_alloc_arm(&t_faults, k, true);
    CHECK_OK(cop__right_wait(store, COP_FOREVER));
    cop__combine(store, 1);
    cop__right_leave(store);
    fault_alloc_disarm(&t_faults);
    for (int i = 0; i < N; i++) {
        cop_status status = cop_ticket_poll(ticket[i], &version);
        ck_assert_msg(status == COP_OK || status == COP_E_MEMORY, "%s", cop_status_name(status));
        refused += status != COP_OK;
        if (status == COP_OK)
            ck_assert_uint_gt(version, before);
        cop_ticket_release(ticket[i]);
    }
    free(text);
    ck_assert_uint_eq(cop__load_seq_cst(&store->batcher.bytes), 0);
    ck_assert_uint_eq(cop__load_seq_cst(&store->batcher.due), COP_BATCH_NONE);
    ck_assert_uint_eq(cop__load_seq_cst(&store->queued), 0);
    return N - refused;
}

/* Each of a batch is done whole or refused, whatever allocation is the first to fail. */
START_TEST(without_memory_half_way_nothing_is_half_done)
{
    int64_t stands = 0;
    bool refused = false, done = false;
    store = t_open_window(LONG_MS);
    cop_atom counter = t_make(store, "counter", cop_i64(0));
    for (int64_t k = 1; k <= 40 && !(refused && done); k++) {
        unsigned ok = refused_at(k, counter);
        stands += ok;
        t_is_i64(store, counter, stands);
        refused |= ok < 4;
        done |= ok == 4 && refused;
    }
    ck_assert(refused);
    t_close(store);
}
END_TEST

/* ---- calls ---- */

typedef struct call {
    _Atomic unsigned calls;
    cop_status outcome;
    uint64_t version;
} call;

static void
called(void *context, cop_status outcome, uint64_t version)
{
    call *c = context;
    c->outcome = outcome;
    c->version = version;
    atomic_fetch_add(&c->calls, 1);
}

/* The deadline comes between the decision and who is to tell it. */
START_TEST(what_is_decided_is_not_told_as_late)
{
    call c = {0};
    store = t_open_window(LONG_MS);
    cop_ticket *ticket = submit_at("a", 1);
    CHECK_OK(cop_ticket_on_done(ticket, called, &c, NULL, 1));
    CHECK_OK(cop__right_wait(store, COP_FOREVER));
    cop__combine(store, 1);
    cop__timers_run(&store->timers, cop__clock_ns());
    ck_assert_uint_eq(c.calls, 1);
    CHECK_STATUS(c.outcome, COP_OK);
    ck_assert_uint_eq(c.version, 1);
    cop__right_leave(store);
    CHECK_OK(cop_store_poll(store));
    ck_assert_uint_eq(c.calls, 1);
    cop_ticket_release(ticket);
    t_close(store);
}
END_TEST

static void
flush_and_close(void *context, cop_status outcome, uint64_t version)
{
    cop_ticket *ticket = submit_at("b", 1);
    CHECK_OK(cop_flush(store, COP_FOREVER));
    ck_assert_uint_eq(version_of(ticket), version + 1);
    ck_assert_uint_eq(t_set_at(store, "c", cop_i64(1)), version + 2);
    cop_store_close(store);
    called(context, outcome, version);
}

START_TEST(a_call_may_flush_and_close_the_store)
{
    call c = {0}, other = {0};
    store = t_open_window(LONG_MS);
    cop_ticket *ticket = submit_at("a", 1), *second = submit_at("d", 1);
    CHECK_OK(cop_ticket_on_done(ticket, flush_and_close, &c, NULL, cop_deadline_in_ms(LONG_MS)));
    CHECK_OK(cop_ticket_on_done(second, called, &other, NULL, cop_deadline_in_ms(LONG_MS)));
    cop_ticket_release(ticket);
    cop_ticket_release(second);
    CHECK_OK(cop_flush(store, COP_FOREVER));
    CHECK_OK(cop_store_poll(store));
    ck_assert_uint_eq(c.calls, 1);
    ck_assert_uint_eq(other.calls, 1);
    t_all_released();
}
END_TEST

static void *
closed_by_the_pool(void *pool)
{
    call c = {0};
    store = t_open_window(5);
    CHECK_OK(cop_store_set_pool(store, pool));
    cop_ticket *ticket = submit_at("a", 1);
    CHECK_OK(cop_ticket_on_done(ticket, flush_and_close, &c, NULL, COP_FOREVER));
    cop_ticket_release(ticket);
    for (unsigned i = 0; i < PATIENCE_MS && c.calls == 0; i++)
        nap(1);
    ck_assert_uint_eq(c.calls, 1);
    CHECK_STATUS(c.outcome, COP_OK);
    return NULL;
}

/* On a thread of its own: it leaves the store, which it did not close itself, when it ends. */
START_TEST(a_call_on_the_pool_may_flush_and_close_the_store)
{
    cop_pool *pool = pool_of(1);
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, closed_by_the_pool, pool), 0);
    pthread_join(thread, NULL);
    cop_pool_close(pool);
    t_all_released();
}
END_TEST

/* ---- another pool ---- */

static void
alarm_comes(void *context)
{
    (void)context;
}

static cop_pool *former, *next;

/* Another thread that was asking sets an alarm, and is done. The store's is in the hands of the former
 * pool, under whose lock alone it may be changed. */
static void
set_sooner(void)
{
    static cop__alarm alarm = {.function = alarm_comes};
    cop__timer_set(&store->timers, &alarm, cop_deadline_in_ms(LONG_MS / 2));
    ck_assert_ptr_eq(former->alarms.top, &store->alarm.timer);
    ck_assert_ptr_null(next->alarms.top);
    cop__sub_seq_cst(&store->effects.asking, 1u);
}

/* The alarm of a store is set in one pool at a time, also while it gets another. */
START_TEST(an_alarm_moves_to_another_pool)
{
    call c = {0};
    former = pool_of(0);
    next = pool_of(0);
    store = t_open_window(LONG_MS);
    CHECK_OK(cop_store_set_pool(store, former));
    cop_ticket *ticket = submit_at("a", 1);
    CHECK_OK(cop_ticket_on_done(ticket, called, &c, NULL, cop_deadline_in_ms(LONG_MS)));
    cop_ticket_release(ticket);
    ck_assert_ptr_eq(former->alarms.top, &store->alarm.timer);
    cop__add_seq_cst(&store->effects.asking, 1u);
    at_yield = set_sooner;
    CHECK_OK(cop_store_set_pool(store, next));
    ck_assert_ptr_null(former->alarms.top);
    ck_assert_ptr_eq(next->alarms.top, &store->alarm.timer);
    ck_assert_uint_eq(store->alarm.timer.due, cop__timers_earliest(&store->timers));
    ck_assert_uint_le(store->alarm.timer.due, cop_deadline_in_ms(LONG_MS / 2));
    cop_store_close(store);
    cop_pool_close(former);
    cop_pool_close(next);
    ck_assert_uint_eq(c.calls, 1);
    t_all_released();
}
END_TEST

/* ---- closing and forking ---- */

static _Atomic bool blocked, blocking;

static void
block(void *context)
{
    (void)context;
    atomic_store(&blocking, true);
    while (atomic_load(&blocked))
        nap(1);
}

/* A pool whose only worker is kept from everything else. */
static cop_pool *
pool_blocked(void)
{
    cop_pool *pool = pool_of(1);
    atomic_store(&blocked, true);
    atomic_store(&blocking, false);
    CHECK_OK(cop_pool_submit(pool, block, NULL));
    while (!atomic_load(&blocking))
        nap(1);
    return pool;
}

/* One task is asked for, however often the window changes before it begins. */
START_TEST(a_bound_is_filled_before_a_worker_learns_of_its_window)
{
    cop_pool *pool = pool_blocked();
    store = t_open_window(LONG_MS);
    reconfigure(LONG_MS, 2);
    CHECK_OK(cop_store_set_pool(store, pool));
    cop_ticket *ticket = submit_at("a", 1);
    ck_assert(cop__load_seq_cst(&store->batcher.asked));
    fill();
    ck_assert_uint_eq(cop__load_seq_cst(&store->batcher.due), COP_BATCH_NOW);
    CHECK_STATUS(cop_ticket_poll(ticket, NULL), COP_E_PENDING);
    atomic_store(&blocked, false);
    CHECK_OK(cop_ticket_wait(ticket, cop_deadline_in_ms(PATIENCE_MS), NULL, NULL));
    ck_assert_uint_eq(version_of(ticket), 1);
    ck_assert_uint_eq(version_of(filler), 1);
    cop_store_close(store);
    cop_pool_close(pool);
    t_all_released();
}
END_TEST

START_TEST(a_store_may_close_before_a_worker_learns_of_its_window)
{
    call c = {0};
    cop_pool *pool = pool_blocked();
    store = t_open_window(LONG_MS);
    CHECK_OK(cop_store_set_pool(store, pool));
    cop_ticket *ticket = submit_at("a", 1);
    ck_assert(cop__load_seq_cst(&store->batcher.asked));
    CHECK_OK(cop_ticket_on_done(ticket, called, &c, NULL, COP_FOREVER));
    cop_store_close(store);
    ck_assert_uint_eq(c.calls, 1);
    ck_assert_uint_eq(version_of(ticket), 1);
    atomic_store(&blocked, false);
    cop_pool_close(pool);
    t_all_released();
}
END_TEST

static int
child_of(cop_ticket *ticket)
{
    call c = {0};
    bool forked = cop_ticket_poll(ticket, NULL) == COP_E_FORKED &&
                  cop_ticket_wait(ticket, COP_FOREVER, NULL, NULL) == COP_E_FORKED &&
                  cop_ticket_on_done(ticket, called, &c, NULL, 0) == COP_E_FORKED &&
                  cop_ticket_cancel(ticket) == COP_E_FORKED &&
                  cop_flush(store, COP_FOREVER) == COP_E_FORKED;
    cop_store_close(store);
    return forked && c.calls == 0 ? 0 : 1;
}

START_TEST(a_child_has_no_part_in_what_is_gathered)
{
    int status = -1;
    store = t_open_window(LONG_MS);
    cop_ticket *ticket = submit_at("a", 1);
    pid_t child = fork();
    if (child == 0)
        t_exit_child(child_of(ticket));
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    CHECK_STATUS(cop_ticket_poll(ticket, NULL), COP_E_PENDING);
    CHECK_OK(cop_flush(store, COP_FOREVER));
    ck_assert_uint_eq(version_of(ticket), 1);
    t_close(store);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_test(tests, a_window_of_a_length_that_is_no_more);
    tcase_add_test(tests, a_full_bound_is_shown_although_it_was_overtaken);
    tcase_add_test(tests, two_fill_the_bound_at_once);
    tcase_add_test(tests, a_window_that_is_over_gathers_nothing);
    tcase_add_test(tests, a_descriptor_that_was_refused_comes_later);
    tcase_add_test(tests, an_alarm_of_an_older_window_is_set_anew);
    tcase_add_test(tests, an_alarm_without_a_window_does_nothing);
    tcase_add_test(tests, who_waits_for_one_taken_back_is_woken);
    tcase_add_test(tests, a_condition_that_fails_leaves_the_others);
    tcase_add_test(tests, without_memory_half_way_nothing_is_half_done);
    tcase_add_test(tests, what_is_decided_is_not_told_as_late);
    tcase_add_test(tests, a_call_may_flush_and_close_the_store);
    tcase_add_test(tests, a_call_on_the_pool_may_flush_and_close_the_store);
    tcase_add_test(tests, an_alarm_moves_to_another_pool);
    tcase_add_test(tests, a_bound_is_filled_before_a_worker_learns_of_its_window);
    tcase_add_test(tests, a_store_may_close_before_a_worker_learns_of_its_window);
    tcase_add_test(tests, a_child_has_no_part_in_what_is_gathered);
}

int
main(void)
{
    return t_run("update_batcher_edges", add);
}

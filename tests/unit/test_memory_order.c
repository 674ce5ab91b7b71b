/* SPDX-License-Identifier: MIT */
/* A store at its memory limit: the order of those that wait, who keeps the store, and what the
 * reserve is for. */
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include <coppice/coppice.h>

#include "commit/txn.h"
#include "reclaim/gate.h"
#include "tests/support/store_test.h"

#define MIB (UINT64_C(1) << 20)

enum { LONG = 200000 };

static cop_store *store;

static void
open_limited(uint64_t limit, uint64_t max_age_ms)
{
    cop_options options = COP_OPTIONS_INIT;
    cop_error error = COP_ERROR_INIT;
    fault_alloc_init(&t_faults);
    options.batch_window_ms = 0;
    options.memory_limit_bytes = limit;
    options.memory_chunk_bytes = 32768;
    options.memory_huge_pages = 0;
    options.memory_wait_ms = 60000;
    options.snapshots_max_age_ms = max_age_ms;
    options.allocator = fault_alloc_table(&t_faults);
    ck_assert_msg(cop_store_open(&options, &store, &error) == COP_OK, "%s", error.message);
}

/* So that there is this much left, the reserve not counted. */
static void
leave(uint64_t left)
{
    uint64_t most = cop__load_relaxed(&store->memory->held) + left;
    cop__memory_set_limit(store->memory, most / 63 * 64 + 64);
}

static void
set_long(cop_txn *txn, const char *path)
{
    char *bytes = t_bytes(LONG, 3);
    cop_value value = cop_bytes(bytes, LONG);
    CHECK_OK(cop_txn_set_at(txn, path, strlen(path), &value, NULL));
    free(bytes);
}

static void
set_number(cop_txn *txn, const char *path, int64_t n)
{
    cop_value value = cop_i64(n);
    CHECK_OK(cop_txn_set_at(txn, path, strlen(path), &value, NULL));
}

static void
poll_some(unsigned times)
{
    while (times-- > 0) {
        CHECK_OK(cop_store_poll(store));
        usleep(5000);
    }
}

static void
both_pending(cop_ticket *const ticket[2])
{
    for (unsigned i = 0; i < 2; i++)
        CHECK_STATUS(cop_ticket_poll(ticket[i], NULL), COP_E_PENDING);
}

static void
both_pass_in_order(cop_ticket *const ticket[2])
{
    uint64_t version[2];
    leave(4 * MIB);
    for (unsigned i = 0; i < 2; i++) {
        CHECK_OK(cop_ticket_wait(ticket[i], cop_deadline_in_ms(30000), &version[i], NULL));
        cop_ticket_release(ticket[i]);
    }
    ck_assert_uint_lt(version[0], version[1]);
}

/* --- those of one thread, in order ------------------------------------------------------ */

/* The second requires what the first one writes, and has read something, too. */
START_TEST(what_is_required_may_be_made_by_who_waits)
{
    cop_ticket *ticket[2];
    open_limited(8 * MIB, 0);
    t_set_at(store, "stays", cop_i64(7));
    t_set_at(store, "flag", cop_i64(0));
    cop_value had, one = cop_i64(1);
    cop_txn *first = t_begin(store), *second = t_begin(store);
    set_long(first, "late");
    set_number(first, "flag", 1);
    CHECK_OK(cop_txn_get(second, t_find(store, "stays"), &had));
    CHECK_OK(cop_txn_require_value(second, t_find(store, "flag"), &one));
    set_number(second, "small", 1);
    CHECK_OK(cop_txn_submit(first, &ticket[0]));
    CHECK_OK(cop_txn_submit(second, &ticket[1]));
    leave(LONG - 50000);
    poll_some(4);
    both_pending(ticket);
    both_pass_in_order(ticket);
    t_close(store);
}
END_TEST

static cop_atom input;

/* Leaves too little for what this transaction has written to be written again, without the scratch.
 */
static cop_status
takes_the_room(cop_evaluation *evaluation, void *context, cop_value *result)
{
    int64_t n;
    cop_status status = cop_read_i64(evaluation, input, &n);
    char *text = status == COP_OK ? cop_scratch(evaluation, LONG) : NULL;
    unsigned *runs = context;
    *result = cop_i64(n);
    if (text == NULL || n == 0)
        return status;
    memset(text, 'a', LONG);
    if ((*runs)++ == 0) {
        uint64_t held = cop__load_relaxed(&store->memory->held);
        cop__memory_set_limit(store->memory, (held - LONG - 60000) / 63 * 64);
    }
    *result = cop_string(text, LONG);
    return COP_OK;
}

/* The first does not fit when its draft ends, which it does before the second one is applied, since
 * that wants a fresh draft. */
START_TEST(a_fresh_draft_waits_behind_what_did_not_fit)
{
    unsigned runs = 0;
    cop_ticket *ticket[2];
    open_limited(8 * MIB, 0);
    t_set_at(store, "input", cop_i64(0));
    t_set_at(store, "other/x", cop_i64(0));
    input = t_find(store, "input");
    CHECK_OK(cop_computed_define(store, P("computed"), takes_the_room, &runs, NULL, NULL, NULL));
    cop_txn *first = t_begin(store), *second = t_begin(store);
    set_long(first, "late");
    set_number(first, "input", 1);
    CHECK_OK(cop_txn_require_unchanged(second, t_find(store, "other"), cop_store_version(store)));
    set_number(second, "other/x", 1);
    CHECK_OK(cop_txn_submit(first, &ticket[0]));
    CHECK_OK(cop_txn_submit(second, &ticket[1]));
    CHECK_OK(cop_store_poll(store));
    ck_assert_uint_ge(runs, 1);
    both_pending(ticket);
    both_pass_in_order(ticket);
    t_close(store);
}
END_TEST

/* The second fails for what the first would have made, after it has changed the draft itself: so
 * the first is published before it, and does not fit. It is cancelled. */
START_TEST(nobody_fails_for_what_did_not_fit)
{
    unsigned runs = 0;
    cop_ticket *ticket[2];
    open_limited(8 * MIB, 0);
    t_set_at(store, "input", cop_i64(0));
    t_set_at(store, "sum", cop_i64(1));
    input = t_find(store, "input");
    CHECK_OK(cop_computed_define(store, P("computed"), takes_the_room, &runs, NULL, NULL, NULL));
    cop_value text = cop_string("no number", 9), one = cop_i64(1);
    cop_txn *first = t_begin(store), *second = t_begin(store);
    set_long(first, "late");
    set_number(first, "input", 1);
    CHECK_OK(cop_txn_set_at(first, P("sum"), &text, NULL));
    set_number(second, "small", 1);
    CHECK_OK(cop_txn_add(second, t_find(store, "sum"), &one));
    CHECK_OK(cop_txn_submit(first, &ticket[0]));
    CHECK_OK(cop_txn_submit(second, &ticket[1]));
    CHECK_OK(cop_store_poll(store));
    ck_assert_uint_ge(runs, 1);
    both_pending(ticket);
    CHECK_OK(cop_ticket_cancel(ticket[0]));
    CHECK_OK(cop_ticket_wait(ticket[1], cop_deadline_in_ms(30000), NULL, NULL));
    t_is_i64(store, t_find(store, "sum"), 2);
    CHECK_STATUS(cop_ticket_poll(ticket[0], NULL), COP_E_CANCELLED);
    cop_ticket_release(ticket[0]);
    cop_ticket_release(ticket[1]);
    t_close(store);
}
END_TEST

static cop_ticket *
submit_long(const char *path)
{
    cop_ticket *ticket;
    cop_txn *txn = t_begin(store);
    set_long(txn, path);
    CHECK_OK(cop_txn_submit(txn, &ticket));
    return ticket;
}

static uint64_t
waiting(void)
{
    cop_stats stats = COP_STATS_INIT;
    CHECK_OK(cop_stats_take(store, &stats));
    return stats.memory_waiting;
}

/* Submits one that does not fit, and cancels it when two more wait. Its memory stays: the ticket is
 * given. */
static void *
stalls_and_gives_up(void *begun)
{
    cop_ticket *ticket = submit_long("other");
    leave(LONG / 2);
    poll_some(2);
    pthread_barrier_wait(begun);
    for (unsigned i = 0; i < 20000 && waiting() < 3; i++)
        usleep(1000);
    CHECK_OK(cop_ticket_cancel(ticket));
    return ticket;
}

/* It is behind another thread's at first; but its own comes before it in the queue, too. */
START_TEST(a_flush_waits_behind_its_own)
{
    pthread_t thread;
    pthread_barrier_t begun;
    void *cancelled;
    open_limited(8 * MIB, 0);
    cop_txn *txn = t_begin(store);
    cop_ticket *ticket;
    set_long(txn, "late");
    pthread_barrier_init(&begun, NULL, 2);
    ck_assert_int_eq(pthread_create(&thread, NULL, stalls_and_gives_up, &begun), 0);
    pthread_barrier_wait(&begun);
    ck_assert_uint_eq(waiting(), 1);
    CHECK_OK(cop_txn_submit(txn, &ticket));
    CHECK_STATUS(cop_flush(store, cop_deadline_in_ms(500)), COP_E_TIMEOUT);
    CHECK_STATUS(cop_ticket_poll(ticket, NULL), COP_E_PENDING);
    ck_assert_int_eq(pthread_join(thread, &cancelled), 0);
    CHECK_STATUS(cop_ticket_poll(cancelled, NULL), COP_E_CANCELLED);
    cop_ticket_release(cancelled);
    leave(4 * MIB);
    CHECK_OK(cop_flush(store, cop_deadline_in_ms(30000)));
    CHECK_OK(cop_ticket_poll(ticket, NULL));
    cop_ticket_release(ticket);
    pthread_barrier_destroy(&begun);
    t_close(store);
}
END_TEST

/* --- who waits though it has priority ------------------------------------------------------ */

/* Conflicts until it has priority. */
static cop_status
large_and_unlucky(cop_txn *txn, void *context)
{
    unsigned *calls = context;
    cop_value had;
    CHECK_OK(cop_txn_get(txn, input, &had));
    if (++*calls <= 8)
        t_set_at(store, "input", cop_i64(*calls));
    else
        set_long(txn, "late");
    if (*calls == 9)
        leave(LONG / 2);
    return COP_OK;
}

static void *
room_for_who_waits(void *unused)
{
    cop_stats stats = COP_STATS_INIT;
    (void)unused;
    for (unsigned i = 0; i < 20000 && stats.memory_waiting == 0; i++) {
        CHECK_OK(cop_stats_take(store, &stats));
        usleep(1000);
    }
    leave(4 * MIB);
    return NULL;
}

START_TEST(priority_does_not_spare_the_wait)
{
    unsigned calls = 0;
    pthread_t thread;
    open_limited(8 * MIB, 0);
    t_set_at(store, "input", cop_i64(0));
    input = t_find(store, "input");
    ck_assert_int_eq(pthread_create(&thread, NULL, room_for_who_waits, NULL), 0);
    CHECK_OK(cop_transact(store, large_and_unlucky, &calls, cop_deadline_in_ms(30000), NULL));
    pthread_join(thread, NULL);
    ck_assert_uint_eq(calls, 10);
    (void)t_find(store, "late");
    t_close(store);
}
END_TEST

/* --- who keeps the store ------------------------------------------------------------------ */

/* All calls are allowed in it. */
static void
close_it(void *context, cop_store *of, cop_memory_level level, uint64_t used, uint64_t limit)
{
    (void)used;
    (void)limit;
    ck_assert_int_ne(level, COP_MEMORY_NORMAL);
    cop_store_close(of);
    *(uint64_t *)context = atomic_load(&t_faults.destroyed);
}

static void
become_soft(void)
{
    cop__store_relaxed(&store->manager.soft, UINT64_C(1));
}

START_TEST(closed_by_who_is_told_while_a_transaction_begins)
{
    uint64_t destroyed = 9;
    cop_txn *txn;
    open_limited(8 * MIB, 0);
    CHECK_OK(cop_memory_tell(store, close_it, &destroyed, NULL));
    become_soft();
    cop__store_relaxed(&store->memory->fail_countdown,
                       INT64_C(0)); /* the first request, which makes others give way */
    CHECK_OK(cop_txn_begin(store, &txn));
    ck_assert_uint_eq(destroyed, 0); /* not while it was being told */
    ck_assert_uint_eq(atomic_load(&t_faults.destroyed), 0);
    CHECK_STATUS(cop_txn_commit(txn, NULL, NULL), COP_E_CLOSING);
    t_all_released();
}
END_TEST

START_TEST(closed_by_who_is_told_when_it_asks_to_be)
{
    uint64_t destroyed = 9;
    open_limited(8 * MIB, 0);
    become_soft();
    t_set_at(store, "a", cop_i64(1));
    ck_assert_int_eq(cop_memory_level_now(store), COP_MEMORY_SOFT);
    CHECK_OK(cop_memory_tell(store, close_it, &destroyed, NULL));
    ck_assert_uint_eq(destroyed, 0);
    t_all_released();
}
END_TEST

/* --- the reserve ------------------------------------------------------------------------------ */

/* Texts that are kept for who read them are not what gets a store out of its plight. */
START_TEST(kept_texts_have_nothing_of_the_reserve)
{
    enum { TEXTS = 200 };
    char path[32], text[1000];
    cop_status status = COP_OK;
    open_limited(8 * MIB, 1000000);
    memset(text, 'x', sizeof text);
    for (unsigned i = 0; i < TEXTS; i++) {
        snprintf(path, sizeof path, "t/%u", i);
        t_set_at(store, path, cop_string(text, sizeof text));
    }
    const cop_snapshot *snapshot = t_take(store);
    leave(50000);
    for (unsigned i = 0; i < TEXTS && status == COP_OK; i++) {
        cop_value value;
        snprintf(path, sizeof path, "t/%u", i);
        status = cop_get_at(snapshot, path, strlen(path), &value);
    }
    CHECK_STATUS(status, COP_E_MEMORY);
    ck_assert_uint_le(cop__load_relaxed(&store->memory->held),
                      cop__load_relaxed(&store->memory->most));
    cop_snapshot_drop(snapshot);
    t_close(store);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_test(tests, what_is_required_may_be_made_by_who_waits);
    tcase_add_test(tests, a_fresh_draft_waits_behind_what_did_not_fit);
    tcase_add_test(tests, nobody_fails_for_what_did_not_fit);
    tcase_add_test(tests, a_flush_waits_behind_its_own);
    tcase_add_test(tests, priority_does_not_spare_the_wait);
    tcase_add_test(tests, closed_by_who_is_told_while_a_transaction_begins);
    tcase_add_test(tests, closed_by_who_is_told_when_it_asks_to_be);
    tcase_add_test(tests, kept_texts_have_nothing_of_the_reserve);
}

int
main(void)
{
    return t_run("memory order", add);
}

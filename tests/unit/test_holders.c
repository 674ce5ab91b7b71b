/* SPDX-License-Identifier: MIT */
/* Who holds versions: what is told of each, and when the log tells by itself. */
#include <poll.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <coppice/holders.h>

#include "commit/combiner.h"
#include "reclaim/gate.h"
#include "reclaim/holders.h"
#include "store/store_internal.h"
#include "tests/support/store_test.h"

enum { MOST = 32 };

static cop_store *store;
static cop_atom n;
static cop_holder seen[MOST];
static unsigned count, stop_after;
static char last_line[512];
static _Atomic unsigned lines;

static void
keep_line(void *context, cop_log_level level, const char *message)
{
    (void)context;
    (void)level;
    snprintf(last_line, sizeof last_line, "%s", message);
    atomic_fetch_add(&lines, 1);
}

static void
setup(void)
{
    cop_options options = COP_OPTIONS_INIT;

    fault_alloc_init(&t_faults);
    atomic_store(&lines, 0);
    options.batch_window_ms = 0;
    options.allocator = fault_alloc_table(&t_faults);
    options.log = keep_line;
    options.memory_stall_ms = 40;
    CHECK_OK(cop_store_open(&options, &store, NULL));
    n = t_make(store, "n", cop_i64(0));
}

static void
teardown(void)
{
    t_close(store);
}

static int
keep(void *context, const cop_holder *holder)
{
    (void)context;
    ck_assert_uint_lt(count, MOST);
    ck_assert_uint_eq(holder->size, sizeof *holder);
    seen[count++] = *holder;
    return count == stop_after;
}

static unsigned
look(void)
{
    count = stop_after = 0;
    CHECK_OK(cop_holders_each(store, COP_FOREVER, keep, NULL));
    return count;
}

static const cop_snapshot *
take_then_change(void)
{
    const cop_snapshot *s = t_take(store);

    t_set(store, n, cop_i64(atomic_fetch_add(&lines, 0) + (int64_t)cop_store_version(store)));
    return s;
}

static void
set_options(uint64_t age_ms, uint64_t stall_ms)
{
    cop_options options;

    cop_options_init(&options);
    CHECK_OK(cop_store_options(store, &options));
    options.snapshots_max_age_ms = age_ms;
    options.memory_stall_ms = stall_ms;
    CHECK_OK(cop_store_reconfigure(store, &options, COP_FOREVER, NULL));
}

static void
sleep_ms(int ms)
{
    (void)poll(NULL, 0, ms);
}

/* --- telling ------------------------------------------------------------------------ */

START_TEST(nobody)
{
    ck_assert_uint_eq(look(), 0);
    CHECK_STATUS(cop_holders_each(store, COP_FOREVER, NULL, NULL), COP_E_INVALID);
}
END_TEST

START_TEST(the_oldest_first)
{
    prctl(PR_SET_NAME, "the holder", 0, 0, 0);
    const cop_snapshot *first = take_then_change(), *second = take_then_change();
    cop_pin_t pin = cop_pin(store);
    t_set(store, n, cop_i64(7));
    const cop_snapshot *newest = t_take(store);
    CHECK_OK(cop_snapshot_keep(second));
    sleep_ms(20);

    ck_assert_uint_eq(look(), 4);
    const cop_snapshot *order[] = {first, second, pin.snapshot, newest};
    for (unsigned i = 0; i < 4; i++) {
        ck_assert_uint_eq(seen[i].version, cop_snapshot_version(order[i]));
        ck_assert_uint_eq(seen[i].kind, i == 2 ? COP_HOLDER_PIN : COP_HOLDER_SNAPSHOT);
        ck_assert_uint_eq(seen[i].holds, i == 1 ? 2 : 1);
        ck_assert_uint_eq(seen[i].others, 0);
        ck_assert_uint_eq(seen[i].thread, cop__thread_id());
        ck_assert_str_eq(seen[i].thread_name, "the holder");
        ck_assert(!seen[i].revocable && !seen[i].revoked);
        ck_assert_uint_eq(seen[i].replaced_ms > 0, i < 3);
        ck_assert_uint_eq(seen[i].bytes > 0, i < 3); /* a page of values at the least */
        ck_assert_str_ne(seen[i].advice, "");
        if (i != 2)
            ck_assert_uint_ge(seen[i].held_ms, 20);
#ifdef COP_PRODUCTION
        ck_assert_uint_eq(seen[i].site[0] == '\0', i == 2);
#else
        ck_assert_str_ne(seen[i].site, "");
#endif
    }
    ck_assert_str_eq(seen[0].name, "snapshot");
    ck_assert_str_eq(seen[2].name, "pin");
    count = 0;
    stop_after = 2;
    CHECK_OK(cop_holders_each(store, COP_FOREVER, keep, NULL));
    ck_assert_uint_eq(count, 2);
    cop_unpin(pin);
    cop_snapshot_drop(first);
    cop_snapshot_drop(second);
    cop_snapshot_drop(second);
    cop_snapshot_drop(newest);
    ck_assert_uint_eq(look(), 0);
}
END_TEST

START_TEST(those_that_can_be_revoked)
{
    set_options(1000000, 0);
    const cop_snapshot *s = take_then_change(), *other = t_take(store);
    cop_pin_t pin;

    CHECK_OK(cop_snapshot_pin(s, &pin));
    ck_assert_uint_eq(look(), 3);
    ck_assert(seen[2].revocable && seen[2].version == cop_snapshot_version(other));
    ck_assert_uint_eq(seen[0].others, 1);
    ck_assert_uint_eq(seen[2].others, 0);
    const cop_holder *pinned = seen[0].kind == COP_HOLDER_PIN ? &seen[0] : &seen[1];
    const cop_holder *held = pinned == &seen[0] ? &seen[1] : &seen[0];
    ck_assert_uint_eq(pinned->kind, COP_HOLDER_PIN);
    ck_assert(held->revocable && !held->revoked && held->kind == COP_HOLDER_SNAPSHOT);
    ck_assert_uint_eq(pinned->thread, cop__thread_id());
#ifndef COP_PRODUCTION
    ck_assert_str_ne(pinned->site, "");
#endif
    CHECK_OK(cop__right_wait(store, COP_FOREVER));
    ck_assert_uint_eq(cop__snapshots_revoke(store, 0), 2);
    cop__right_leave(store);
    ck_assert_uint_eq(look(), 2);
    held = seen[0].kind == COP_HOLDER_PIN ? &seen[1] : &seen[0];
    ck_assert(held->revoked && held->version == cop_snapshot_version(s));
    cop_unpin(pin);
    ck_assert_uint_eq(look(), 0);
    cop_snapshot_drop(s);
    cop_snapshot_drop(other);
}
END_TEST

START_TEST(the_librarys_own)
{
    cop_rope *rope;
    cop_pin_t pin;

    CHECK_OK(cop_history_keep(store, "here", 4, NULL, NULL));
    pin = cop_pin(store);
    CHECK_OK(cop_json_rope(pin.snapshot, cop_root(), &rope));
    cop_unpin(pin);
    cop_rope_drop(rope);
    CHECK_OK(cop__right_wait(store, COP_FOREVER));
    cop__snapshot_hold(store->tree.root, COP_HELD_BY_WATCHERS);
    cop__snapshot_hold(store->tree.root, COP_HELD_BY_LIBRARY);
    const cop_snapshot *root = store->tree.root;
    cop__right_leave(store);
    unsigned kinds = 0;
    for (unsigned i = look(); i-- > 0;) {
        kinds |= 1u << seen[i].kind;
        ck_assert_uint_eq(seen[i].others, count - 1);
        ck_assert_uint_eq(seen[i].thread, 0);
    }
    ck_assert_uint_eq(kinds & (1u << COP_HOLDER_HISTORY | 1u << COP_HOLDER_WATCHERS | 1u << COP_HOLDER_LIBRARY),
                      1u << COP_HOLDER_HISTORY | 1u << COP_HOLDER_WATCHERS | 1u << COP_HOLDER_LIBRARY);
    cop__snapshot_let_go(root, COP_HELD_BY_WATCHERS, false);
    cop__snapshot_let_go(root, COP_HELD_BY_LIBRARY, true);
}
END_TEST

START_TEST(as_text)
{
    cop_holder holder = {.size = sizeof holder, .name = "snapshot", .advice = "drop it", .version = 7,
                         .replaced_ms = 12345, .held_ms = 23456, .bytes = 99};
    char text[COP_HOLDER_TEXT];

    cop_holder_write(&holder, text, sizeof text);
    ck_assert_str_eq(text, "version 7, replaced 12.3 s ago, is held by a snapshot for 23.4 s: 99 bytes "
                           "that nothing newer needs; drop it");
    holder.thread = 5;
    strcpy(holder.thread_name, "name");
    strcpy(holder.site, "main+0x12 (a)");
    holder.revoked = true;
    cop_holder_write(&holder, text, sizeof text);
    ck_assert_str_eq(text, "version 7, replaced 12.3 s ago, is held by a revoked snapshot, thread 5 (name) at "
                           "main+0x12 (a) for 23.4 s: 99 bytes that nothing newer needs; drop it");
    holder.thread_name[0] = '\0';
    cop_holder_write(&holder, text, 70);
    ck_assert_uint_eq(strlen(text), 69);
    text[0] = 'x';
    cop_holder_write(&holder, text, 0);
    ck_assert_int_eq(text[0], 'x');
    cop__thread_name(0x7fffffff, text, sizeof text);
    ck_assert_str_eq(text, "");
}
END_TEST

static void *
exits_holding(void *out)
{
    *(const cop_snapshot **)out = t_take(store);
    return NULL;
}

START_TEST(of_a_thread_that_is_gone)
{
    const cop_snapshot *s;
    pthread_t thread;

    ck_assert_int_eq(pthread_create(&thread, NULL, exits_holding, &s), 0);
    pthread_join(thread, NULL);
    ck_assert_uint_eq(look(), 1);
    ck_assert_uint_ne(seen[0].thread, 0);
    ck_assert_uint_ne(seen[0].thread, cop__thread_id());
    cop_snapshot_drop(s);
}
END_TEST

/* Where it was taken: a function, else a place in a file, else an address. */
START_TEST(the_site)
{
    const cop_snapshot *s = t_take(store);
    cop_snapshot *record = (cop_snapshot *)(uintptr_t)s;

    record->held_site = (const char *)(uintptr_t)&getpid + 1;
    ck_assert_uint_eq(look(), 1);
    ck_assert_msg(strstr(seen[0].site, "getpid+0x1 (libc") != NULL, "%s", seen[0].site);
    record->held_site = (const void *)16;
    ck_assert_uint_eq(look(), 1);
    ck_assert_str_eq(seen[0].site, "0x10");
    record->held_site = NULL;
    ck_assert_uint_eq(look(), 1);
    ck_assert_str_eq(seen[0].site, "");
    cop_snapshot_drop(s);
}
END_TEST

START_TEST(refused)
{
    const cop_snapshot *s = t_take(store);
    bool evaluating = cop__evaluating;

    cop__evaluating = true;
    CHECK_STATUS(cop_holders_each(store, COP_FOREVER, keep, NULL), COP_E_IN_EVALUATION);
    cop__evaluating = evaluating;
    CHECK_OK(cop__right_wait(store, COP_FOREVER));
    CHECK_STATUS(cop_holders_each(store, 0, keep, NULL), COP_E_TIMEOUT);
    cop__right_leave(store);
    store->memory->fail_for_ever = true;
    atomic_store(&store->memory->fail_countdown, 0);
    CHECK_STATUS(cop_holders_each(store, COP_FOREVER, keep, NULL), COP_E_MEMORY);
    atomic_store(&store->memory->fail_countdown, -1);
    cop_snapshot_drop(s);
}
END_TEST

/* --- stalls ------------------------------------------------------------------------- */

static void
scan(void)
{
    cop_stats stats = COP_STATS_INIT;

    CHECK_OK(cop_stats_take(store, &stats));
}

START_TEST(a_stall_is_told_once)
{
    const cop_snapshot *s = take_then_change();

    scan();
    ck_assert_uint_eq(atomic_load(&lines), 0); /* it is young */
    sleep_ms(70);
    scan();
    ck_assert_uint_eq(atomic_load(&lines), 1);
    ck_assert_msg(strstr(last_line, "is held by a snapshot, thread") != NULL, "%s", last_line);
    sleep_ms(70);
    scan();
    ck_assert_uint_eq(atomic_load(&lines), 1);

    const cop_snapshot *next = take_then_change();
    cop_snapshot_drop(s);
    sleep_ms(70);
    scan();
    ck_assert_uint_eq(atomic_load(&lines), 2); /* another holder */
    const cop_snapshot *third = take_then_change();
    sleep_ms(10);
    cop_snapshot_drop(next);
    set_options(0, 5);
    scan();
    ck_assert_uint_eq(atomic_load(&lines), 2); /* it would be the second within so short a time */
    set_options(0, 0);
    sleep_ms(70);
    scan();
    ck_assert_uint_eq(atomic_load(&lines), 2); /* off */
    set_options(0, 5);
    scan();
    ck_assert_uint_eq(atomic_load(&lines), 3);
    cop_snapshot_drop(third);
}
END_TEST

START_TEST(a_stalled_pin_is_told)
{
    cop_pin_t pin = cop_pin(store);

    t_set(store, n, cop_i64(1));
    sleep_ms(70);
    scan();
    ck_assert_uint_eq(atomic_load(&lines), 1);
    ck_assert_msg(strstr(last_line, "is held by a pin, thread") != NULL, "%s", last_line);
    cop_unpin(pin);
}
END_TEST

/* Others that hold a newer version are not taken for it. */
START_TEST(who_holds_the_oldest)
{
    set_options(1000000, 40);
    const cop_snapshot *old = take_then_change(), *newer = take_then_change();
    cop_pin_t pin = cop_pin(store);
    char version[32];

    snprintf(version, sizeof version, "version %" PRIu64 ",", cop_snapshot_version(old));
    t_set(store, n, cop_i64(1));
    sleep_ms(70);
    scan();
    ck_assert_uint_eq(atomic_load(&lines), 1);
    ck_assert_msg(strstr(last_line, "is held by a snapshot, thread") != NULL, "%s", last_line);
    ck_assert_msg(strncmp(last_line, version, strlen(version)) == 0, "%s", last_line);
    cop_unpin(pin);
    cop_snapshot_drop(newer);
    cop_snapshot_drop(old);
}
END_TEST

/* It was let go after the scan that found it. */
START_TEST(nobody_any_more)
{
    const cop_snapshot *s = take_then_change();

    scan();
    sleep_ms(70);
    CHECK_OK(cop__right_wait(store, COP_FOREVER));
    ck_assert_ptr_nonnull(store->stall.oldest);
    cop_snapshot_drop(s);
    cop__stall_look(store);
    cop__right_leave(store);
    ck_assert_uint_eq(atomic_load(&lines), 0);
}
END_TEST

/* The newest version is nobody's stall, and what the history keeps is meant to be old. */
START_TEST(what_is_no_stall)
{
    CHECK_OK(cop_history_keep(store, "old", 3, NULL, NULL));
    t_set(store, n, cop_i64(1));
    const cop_snapshot *newest = t_take(store);
    sleep_ms(70);
    scan();
    ck_assert_uint_eq(atomic_load(&lines), 0);
    cop_snapshot_drop(newest);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, nobody);
    tcase_add_test(tests, the_oldest_first);
    tcase_add_test(tests, those_that_can_be_revoked);
    tcase_add_test(tests, the_librarys_own);
    tcase_add_test(tests, as_text);
    tcase_add_test(tests, of_a_thread_that_is_gone);
    tcase_add_test(tests, the_site);
    tcase_add_test(tests, refused);
    tcase_add_test(tests, a_stall_is_told_once);
    tcase_add_test(tests, a_stalled_pin_is_told);
    tcase_add_test(tests, who_holds_the_oldest);
    tcase_add_test(tests, nobody_any_more);
    tcase_add_test(tests, what_is_no_stall);
}

int
main(void)
{
    return t_run("holders", add);
}

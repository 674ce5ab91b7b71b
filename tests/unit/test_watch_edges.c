/* SPDX-License-Identifier: MIT */
/* Watchers where the system refuses, where the store closes, and where one closes itself. */
#include <errno.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <coppice/watch.h>

#include "commit/combiner.h"
#include "tests/support/store_test.h"
#include "watch/room.h"
#include "watch/watch.h"

static cop_store *store;
static bool refuses;

int
timerfd_create(clockid_t clock, int flags)
{
    if (!refuses)
        return (int)syscall(SYS_timerfd_create, clock, flags);
    errno = EMFILE;
    return -1;
}

static cop_watch *
watch_a(cop_watch_function function, void *context)
{
    cop_watch *watch = NULL;
    CHECK_OK(cop_watch_open(store, P("a"), NULL, function, context, &watch, NULL));
    return watch;
}

START_TEST(a_descriptor_may_be_refused)
{
    int fd = 0;
    store = t_open();
    cop_watch *watch = watch_a(NULL, NULL);
    refuses = true;
    CHECK_STATUS(cop_watch_fd(watch, &fd), COP_E_IO);
    refuses = false;
    CHECK_OK(cop_watch_fd(watch, &fd));
    ck_assert_int_ge(fd, 0);
    cop_watch_close(watch);
    t_close(store);
}
END_TEST

typedef struct told {
    unsigned calls;
    cop_watch *other;
    unsigned changes; /* that the other one was told meanwhile */
} told;

/* The pass that the other one's turn makes finds this one closed, and not gone yet. */
static void
close_itself(void *context, cop_watch *watch, cop_watch_batch *batch)
{
    told *t = context;
    cop_watch_batch other;
    cop_change change;
    (void)batch;
    t->calls++;
    cop_watch_close(watch);
    (void)t_set_at(store, "a", cop_i64(3));
    CHECK_OK(cop_watch_next(t->other, 0, &other));
    while (cop_watch_change(&other, &change))
        t->changes++;
    cop_watch_batch_end(&other);
}

START_TEST(one_that_closed_itself_is_told_no_more)
{
    told t = {0};
    store = t_open();
    (void)t_set_at(store, "a", cop_i64(1));
    t.other = watch_a(NULL, NULL);
    (void)watch_a(close_itself, &t);
    (void)t_set_at(store, "a", cop_i64(2));
    for (int i = 0; i < 3; i++)
        CHECK_OK(cop_store_poll(store));
    ck_assert_uint_eq(t.calls, 1);
    ck_assert_uint_eq(t.changes, 1);
    cop_watch_close(t.other);
    t_close(store);
}
END_TEST

static void
never(void *context, cop_watch *watch, cop_watch_batch *batch)
{
    (void)watch;
    (void)batch;
    (*(unsigned *)context)++;
}

/* Who opens one, and who has published, when the store is just closing. */
START_TEST(a_closing_store_watches_nothing)
{
    unsigned calls = 0;
    cop_watch *another = NULL;
    store = t_open();
    cop_watch *watch = watch_a(never, &calls);
    cop_watch_close(watch); /* the last: the next one begins anew */
    cop__watch_room *room = cop__load_acquire(&store->watch);
    room->closing = true;
    CHECK_STATUS(cop_watch_open(store, P("a"), NULL, never, &calls, &another, NULL),
                 COP_E_CLOSING);
    ck_assert_ptr_null(another);
    room->closing = false;
    watch = watch_a(never, &calls);
    cop_store_close(store);
    cop__watch_signal(room);
    ck_assert_uint_eq(cop__load_seq_cst(&room->asked), 0);
    ck_assert_uint_eq(calls, 0);
    cop_watch_close(watch);
    t_all_released();
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_test(tests, a_descriptor_may_be_refused);
    tcase_add_test(tests, one_that_closed_itself_is_told_no_more);
    tcase_add_test(tests, a_closing_store_watches_nothing);
}

int
main(void)
{
    return t_run("watch_edges", add);
}

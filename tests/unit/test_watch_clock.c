/* SPDX-License-Identifier: MIT */
/* To the nanosecond when a pass and a telling are due, how long who asks sleeps, and who is woken.
 */
#include "tests/support/watch_world.h"

/* ---- windows ---- */

START_TEST(a_grid)
{
    ck_assert_uint_eq(cop__watch_grid(0, 0), 0);
    ck_assert_uint_eq(cop__watch_grid(5, 0), 5);
    ck_assert_uint_eq(cop__watch_grid(0, 10), 10);
    ck_assert_uint_eq(cop__watch_grid(9, 10), 10);
    ck_assert_uint_eq(cop__watch_grid(10, 10), 20);
    ck_assert_uint_eq(cop__watch_grid(7, 1), 8);
    ck_assert_uint_eq(cop__watch_grid(5, UINT64_MAX / 2), UINT64_MAX / 2);
    ck_assert_uint_eq(cop__watch_grid(UINT64_MAX - 1, UINT64_MAX / 2), COP_TIMER_NEVER);
}
END_TEST

/* A pass is made at the end of the least window; each is told at the end of its own. */
START_TEST(windows_end_on_a_grid)
{
    t_text a, b;
    cop_watch *slow = called("a", 100, 0, &a), *quick = called("a", 30, 0, &b);

    set_when(1005, "a", 1);
    ck_assert_uint_eq(world.alarm, 1020);
    set_when(1010, "a", 2);
    ck_assert_uint_eq(world.alarm, 1020);
    poll_when(1019);
    heard(&b, "");
    ck_assert_uint_eq(world.alarm, 1020);
    poll_when(1020);
    heard(&b, "(0,2] +a:2");
    heard(&a, "");
    ck_assert_uint_eq(world.alarm, 1100);
    poll_when(1099);
    heard(&a, "");
    poll_when(1100);
    heard(&a, "(0,2] +a:2");
    heard(&b, "");
    ck_assert_uint_eq(world.alarm, COP_TIMER_NEVER);
    ck_assert_uint_eq(world.signals, 0); /* nobody has to come before an alarm does */
    cop_watch_close(slow);
    cop_watch_close(quick);
}
END_TEST

/* The least window of all, as they come and go. */
START_TEST(the_least_window)
{
    t_text out[5];
    cop_watch *watch[] = {called("a", 100, 0, &out[0]), called("a", 30, 0, &out[1]),
                          called("a", 40, 0, &out[2]), called("a", 30, 0, &out[3]), NULL};

    set_when(1005, "a", 1);
    ck_assert_uint_eq(world.alarm, 1020);
    poll_when(1020);
    cop_watch_close(watch[1]); /* another one has the same */
    poll_when(1100);
    set_when(1101, "a", 2);
    ck_assert_uint_eq(world.alarm, 1110);
    poll_when(1110);
    cop_watch_close(watch[3]);
    poll_when(1200);
    set_when(1201, "a", 3);
    ck_assert_uint_eq(world.alarm, 1240);
    poll_when(1240);
    poll_when(1300);
    cop_watch_close(watch[0]); /* not the least: nothing changes */
    set_when(1301, "a", 4);
    ck_assert_uint_eq(world.alarm, 1320);
    poll_when(1320);
    watch[4] = called("a", 50, 0, &out[4]);
    cop_watch_close(watch[2]);
    set_when(1321, "a", 5);
    ck_assert_uint_eq(world.alarm, 1350);
    poll_when(1350);
    heard(&out[4], "(4,5] =a:4>5");
    cop_watch_close(watch[4]);
    world.alarm = COP_TIMER_NEVER;
    watch[0] = called("a", 0, 0, &out[0]); /* the first one again */
    world.signals = 0;
    set_when(1351, "a", 6);
    ck_assert_uint_eq(world.alarm, COP_TIMER_NEVER);
    ck_assert_uint_eq(world.signals, 1); /* at once */
    poll_when(1351);
    heard(&out[0], "(5,6] =a:5>6");
    cop_watch_close(watch[0]);
}
END_TEST

START_TEST(an_interval)
{
    t_text out;
    cop_watch *watch = called("a", 0, 50, &out);

    set_when(1005, "a", 1);
    poll_when(1005);
    heard(&out, "(0,1] +a:1"); /* the first one at once */
    set_when(1010, "a", 2);
    poll_when(1010);
    heard(&out, "");
    ck_assert_uint_eq(world.alarm, 1050);
    poll_when(1049);
    heard(&out, "");
    poll_when(1050);
    heard(&out, "(1,2] =a:1>2");
    set_when(1060, "a", 3);
    poll_when(1060);
    ck_assert_uint_eq(world.alarm, 1100);
    poll_when(1100);
    heard(&out, "(2,3] =a:2>3");
    set_when(1170, "a", 4); /* longer ago than that */
    poll_when(1170);
    heard(&out, "(3,4] =a:3>4");
    cop_watch_close(watch);
}
END_TEST

/* The clock begins at 0. */
START_TEST(early_times)
{
    t_text out;
    cop_watch *watch = called("a", 0, 50, &out);

    set_when(1, "a", 1);
    poll_when(1);
    heard(&out, "(0,1] +a:1");
    set_when(2, "a", 2);
    poll_when(49);
    heard(&out, "");
    poll_when(50);
    heard(&out, "(1,2] =a:1>2");
    cop_watch_close(watch);
}
END_TEST

/* Of both, the later one. */
START_TEST(an_interval_and_a_window)
{
    t_text out;
    cop_watch *watch = called("a", 40, 100, &out);

    set_when(1005, "a", 1);
    poll_when(1040);
    heard(&out, "(0,1] +a:1");
    set_when(1041, "a", 2);
    poll_when(1080); /* the pass */
    heard(&out, "");
    ck_assert_uint_eq(world.alarm, 1100);
    poll_when(1100);
    heard(&out, "(1,2] =a:1>2");
    set_when(1190, "a", 3);
    ck_assert_uint_eq(world.alarm, 1200);
    poll_when(1200);
    heard(&out, "(2,3] =a:2>3");
    cop_watch_close(watch);
}
END_TEST

/* What turns out to be nothing counts as not told: neither its version nor its time. */
START_TEST(told_nothing)
{
    t_text out;
    cop_watch *watch = called("a", 0, 50, &out), *other = asked("a", 0, 0);

    set_when(1005, "a", 1);
    poll_when(1005);
    heard(&out, "(0,1] +a:1");
    cop_watch_pause(watch);
    set_when(1060, "a", 2);
    ck_assert_str_eq(told_now(other), "(0,2] +a:2");
    set_when(1060, "a", 1);
    ck_assert_str_eq(told_now(other), "(2,3] =a:2>1");
    cop_watch_resume(watch);
    poll_when(1061);
    heard(&out, "");
    ck_assert_uint_eq(cop_watch_told(watch), 1);
    set_when(1062, "a", 3);
    poll_when(1062);
    heard(&out, "(1,4] =a:1>3");
    ck_assert_uint_eq(cop_watch_told(watch), 4);
    cop_watch_close(watch);
    cop_watch_close(other);
}
END_TEST

/* ---- who asks sleeps ---- */

START_TEST(sleeping_until_due)
{
    cop_watch *watch = asked("a", 100, 0);
    cop_watch_batch batch;

    CHECK_STATUS(cop_watch_next(watch, 1005, &batch), COP_E_TIMEOUT);
    CHECK_STATUS(cop_watch_next(watch, 1004, &batch), COP_E_TIMEOUT);
    ck_assert_uint_eq(world.sleeps, 0);
    CHECK_STATUS(cop_watch_next(watch, 1006, &batch), COP_E_TIMEOUT);
    ck_assert_uint_eq(world.sleeps, 1);
    ck_assert_uint_eq(world.now, 1006);
    set("a", 1);
    CHECK_STATUS(cop_watch_next(watch, 1099, &batch), COP_E_TIMEOUT);
    ck_assert_uint_eq(world.sleeps, 2);
    CHECK_OK(cop_watch_next(watch, COP_FOREVER, &batch));
    ck_assert_uint_eq(world.sleeps, 3);
    ck_assert_uint_eq(world.now, 1100);
    ck_assert_uint_eq(batch.to, 1);
    cop_watch_batch_end(&batch);
    set("a", 2);
    CHECK_OK(cop_watch_next(watch, 5000, &batch));
    ck_assert_uint_eq(world.now, 1200);
    cop_watch_batch_end(&batch);
    set("a", 3); /* on the edge of the next window, and due by its end */
    world.now = 1300;
    ck_assert_str_eq(told_now(watch), "(2,3] =a:2>3");
    cop_watch_close(watch);
}
END_TEST

/* Until a pass is due, then until the watcher is. */
START_TEST(sleeping_twice)
{
    cop_watch *watch = asked("a", 100, 0), *other = asked("b", 30, 0);
    cop_watch_batch batch;

    set("a", 1);
    CHECK_OK(cop_watch_next(watch, COP_FOREVER, &batch));
    ck_assert_uint_eq(world.sleeps, 2);
    ck_assert_uint_eq(world.now, 1100);
    cop_watch_batch_end(&batch);
    CHECK_STATUS(cop_watch_next(other, 1100, &batch), COP_E_TIMEOUT);
    cop_watch_close(watch);
    cop_watch_close(other);
}
END_TEST

static void
write_a(void)
{
    uint32_t before = atomic_load(&store->watch->event);

    ck_assert_uint_eq(atomic_load(&store->watch->sleepers), 1);
    set("a", 7);
    ck_assert_uint_gt(atomic_load(&store->watch->event), before);
    ck_assert_uint_gt(world.wakes, 0);
}

/* Only who sleeps is woken. */
START_TEST(waking)
{
    cop_watch *watch = asked("a", 0, 0);
    cop_watch_batch batch;
    uint32_t before = atomic_load(&store->watch->event);

    set("a", 1);
    ck_assert_uint_eq(world.wakes, 0);
    ck_assert_uint_eq(atomic_load(&store->watch->event), before);
    ck_assert_str_eq(told_now(watch), "(0,1] +a:1");
    world.asleep = write_a;
    CHECK_OK(cop_watch_next(watch, COP_FOREVER, &batch));
    ck_assert_uint_eq(world.slept_until, COP_FOREVER);
    ck_assert_uint_eq(batch.to, 2);
    cop_watch_batch_end(&batch);
    ck_assert_uint_eq(atomic_load(&store->watch->sleepers), 0);
    cop_watch_close(watch);
}
END_TEST

static cop_watch *asleep_on;

static void
resume_it(void)
{
    uint32_t before = atomic_load(&store->watch->event);

    world.wakes = 0;
    cop_watch_resume(asleep_on);
    ck_assert_uint_eq(atomic_load(&store->watch->event), before + 1);
    ck_assert_uint_eq(world.wakes, 1);
}

static void
close_it(void)
{
    uint32_t before = atomic_load(&store->watch->event);

    world.wakes = 0;
    cop_watch_close(asleep_on);
    ck_assert_uint_eq(atomic_load(&store->watch->event), before + 1);
    ck_assert_uint_eq(world.wakes, 1);
}

static void
close_store(void)
{
    uint32_t before = atomic_load(&store->watch->event);

    world.wakes = 0;
    cop_store_close(store);
    ck_assert_uint_gt(atomic_load(&store->watch->event), before);
    ck_assert_uint_gt(world.wakes, 0);
}

START_TEST(waking_by_other_means)
{
    cop_watch_batch batch;
    t_text out;

    asleep_on = asked("a", 0, 0);
    cop_watch_pause(asleep_on);
    set("a", 1);
    world.asleep = resume_it;
    CHECK_OK(cop_watch_next(asleep_on, COP_FOREVER, &batch));
    cop_watch_batch_end(&batch);
    world.asleep = close_it;
    CHECK_STATUS(cop_watch_next(asleep_on, COP_FOREVER, &batch), COP_E_STATE);
    asleep_on = asked("a", 0, 0);
    cop_watch *other = called("a", 0, 0, &out);
    world.asleep = close_store;
    CHECK_STATUS(cop_watch_next(asleep_on, COP_FOREVER, &batch), COP_E_CLOSING);
    cop_watch_close(asleep_on);
    cop_watch_close(other);
    t_all_released();
    store = t_open();
}
END_TEST

/* ---- descriptors ---- */

START_TEST(a_descriptor_is_set_to_when_it_is_due)
{
    int fd, other_fd;
    cop_watch *watch = with_descriptor("a", 100, &fd), *other = with_descriptor("b", 0, &other_fd);

    set("a", 1); /* a pass is made by who commits */
    ck_assert_uint_eq(world.armed[fd], 1100);
    ck_assert_uint_eq(world.armed[other_fd], COP_TIMER_NEVER);
    set("b", 1);
    ck_assert_uint_eq(world.armed[other_fd], 1005);
    cop_watch_pause(watch);
    ck_assert_uint_eq(world.armed[fd], COP_TIMER_NEVER);
    cop_watch_resume(watch);
    ck_assert_uint_eq(world.armed[fd], 1100);
    world.now = 1100;
    ck_assert_str_eq(told_now(watch), "(0,2] +a:1");
    ck_assert_uint_eq(world.armed[fd], COP_TIMER_NEVER);
    ck_assert_uint_eq(world.alarm, COP_TIMER_NEVER);
    ck_assert_str_eq(told_now(other), "(0,2] +b:1");
    cop_watch_close(other);
    set("a", 2);
    ck_assert_uint_eq(world.armed[fd], 1200);
    cop_store_close(store);
    ck_assert_uint_eq(world.armed[fd], 0); /* so that its loop learns of it */
    cop_watch_close(watch);
    ck_assert_uint_eq(world.armed[fd], COP_TIMER_NEVER);
    t_all_released();
    store = t_open();
}
END_TEST

/* A descriptor that comes late shows what was published before. */
START_TEST(a_late_descriptor)
{
    int fd, again;
    cop_watch *watch = asked("a", 30, 0);

    set("a", 1);
    CHECK_OK(cop_watch_fd(watch, &fd));
    ck_assert_uint_eq(world.armed[fd], 1020);
    world.armed[fd] = 5;
    CHECK_OK(cop_watch_fd(watch, &again));
    ck_assert_int_eq(again, fd);
    ck_assert_uint_eq(world.armed[fd], 5);
    ck_assert_uint_eq(atomic_load(&store->watch->descriptors), 1);
    cop_watch_close(watch);
    ck_assert_uint_eq(atomic_load(&store->watch->descriptors), 0);
    set("a", 2);
}
END_TEST

/* Who commits leaves a pass to who is at one, who looks again. */
START_TEST(one_pass_at_a_time)
{
    int fd;
    cop_watch *watch = with_descriptor("a", 0, &fd);

    atomic_store(&store->watch->passing, 1);
    set("a", 1);
    ck_assert_uint_eq(world.armed[fd], COP_TIMER_NEVER);
    ck_assert_uint_eq(atomic_load(&store->watch->asked), 1);
    ck_assert_uint_eq(atomic_load(&store->watch->passing), 1);
    atomic_store(&store->watch->passing, 0);
    ck_assert_str_eq(told_now(watch), "(0,1] +a:1");
    set("a", 2);
    ck_assert_uint_eq(world.armed[fd], 1005);
    ck_assert_uint_eq(atomic_load(&store->watch->asked), 0);
    ck_assert_uint_eq(atomic_load(&store->watch->passing), 0);
    cop_watch_close(watch);
}
END_TEST

static void
note_late(void *context, const char *path, size_t length, uint64_t late_ns)
{
    ck_assert(length == 1 && *path == 'a');
    *(uint64_t *)context += late_ns;
}

START_TEST(behind_by_so_much)
{
    cop_watch *watch = asked("a", 100, 0);
    uint64_t late = 0;

    set("a", 1);
    world.now = 1150; /* it was due at 1100 */
    cop__watch_behind(store->watch, 1, note_late, &late);
    ck_assert_uint_eq(late, 0); /* no pass was made: nobody knows of it */
    (void)cop_store_poll(store);
    cop__watch_behind(store->watch, 51, note_late, &late);
    ck_assert_uint_eq(late, 0);
    cop__watch_behind(store->watch, 50, note_late, &late);
    ck_assert_uint_eq(late, 50);
    cop_watch_close(watch);
}
END_TEST

static void
set_b(void)
{
    set("b", 1);
}

/* Another one commits between the pass and its end: who passes looks at that, too. */
START_TEST(a_pass_for_who_came_meanwhile)
{
    int fd;
    cop_watch *watch = with_descriptor("b", 0, &fd);

    world.after_unlock = set_b;
    set("a", 1);
    ck_assert_ptr_null(world.after_unlock);
    ck_assert_uint_eq(world.armed[fd], 1005);
    ck_assert_uint_eq(atomic_load(&store->watch->asked), 0);
    ck_assert_uint_eq(atomic_load(&store->watch->passing), 0);
    ck_assert_str_eq(told_now(watch), "(0,2] +b:1");
    cop_watch_close(watch);
}
END_TEST

static cop_watch *first_one;

static void
open_first(void)
{
    first_one = asked("", 0, 0);
}

/* Two open the first watcher of a store at once: there is one room. */
START_TEST(one_room_for_all)
{
    world.before_lock = open_first;
    cop_watch *watch = asked("a", 0, 0);
    ck_assert_ptr_nonnull(first_one);
    ck_assert_uint_eq(store->watch->count, 2);
    set("a", 1);
    ck_assert_str_eq(told_now(watch), "(0,1] +a:1");
    ck_assert_str_eq(told_now(first_one), "(0,1] +a:1");
    cop_watch_close(watch);
    cop_watch_close(first_one);
}
END_TEST

/* Two that are the first at once: one makes the base, and the other finds it. */
START_TEST(two_come_first)
{
    cop_watch *watch = asked("a", 0, 0);
    cop__watch_room *room = store->watch;
    const cop__watch_frame *base = room->base;

    set("a", 1);
    CHECK_OK(room_enter_first(room));
    ck_assert_ptr_eq(room->base, base);
    ck_assert_uint_eq(room->count, 2);
    ck_assert_uint_eq(atomic_load(&room->asked), 1); /* still */
    room_cancel(room);
    ck_assert_str_eq(told_now(watch), "(0,1] +a:1");
    cop_watch_close(watch);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, a_grid);
    tcase_add_test(tests, windows_end_on_a_grid);
    tcase_add_test(tests, the_least_window);
    tcase_add_test(tests, an_interval);
    tcase_add_test(tests, early_times);
    tcase_add_test(tests, an_interval_and_a_window);
    tcase_add_test(tests, told_nothing);
    tcase_add_test(tests, sleeping_until_due);
    tcase_add_test(tests, sleeping_twice);
    tcase_add_test(tests, waking);
    tcase_add_test(tests, waking_by_other_means);
    tcase_add_test(tests, a_descriptor_is_set_to_when_it_is_due);
    tcase_add_test(tests, a_late_descriptor);
    tcase_add_test(tests, one_pass_at_a_time);
    tcase_add_test(tests, behind_by_so_much);
    tcase_add_test(tests, a_pass_for_who_came_meanwhile);
    tcase_add_test(tests, one_room_for_all);
    tcase_add_test(tests, two_come_first);
}

int
main(void)
{
    return t_run("watchers by the clock", add);
}

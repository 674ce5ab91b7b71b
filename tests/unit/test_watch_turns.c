/* SPDX-License-Identifier: MIT */
/* Whose turn it is: passes that are tried again, bounds, the order in which functions are called,
 * and what a pool is asked to do. */
#include <fcntl.h>

#include "tests/support/watch_world.h"

/* ---- passes without memory ---- */

START_TEST(a_pass_is_tried_again)
{
    t_text out;
    cop_watch *watch = called("a", 0, 0, &out);
    cop__memory *memory = cop__store_memory(store);

    set("a", 1);
    ck_assert_uint_eq(world.signals, 1);
    set("a", 2); /* who polls knows */
    ck_assert_uint_eq(world.signals, 1);
    atomic_store(&memory->fail_for_ever, true);
    atomic_store(&memory->fail_countdown, 0);
    poll_when(1010);
    atomic_store(&memory->fail_countdown, -1);
    atomic_store(&memory->fail_for_ever, false);
    heard(&out, "");
    ck_assert_uint_eq(world.alarm, 1010 + RETRIED_NS);
    set("a", 3); /* who commits does not count on that */
    ck_assert_uint_eq(world.signals, 2);
    set("a", 4);
    ck_assert_uint_eq(world.signals, 3);
    poll_when(1009 + RETRIED_NS);
    heard(&out, "");
    poll_when(1010 + RETRIED_NS);
    heard(&out, "(0,4] +a:4");
    ck_assert_uint_eq(world.alarm, COP_TIMER_NEVER);
    set("a", 5);
    ck_assert_uint_eq(world.signals, 4);
    set("a", 6);
    ck_assert_uint_eq(world.signals, 4);
    poll_when(1010 + RETRIED_NS);
    heard(&out, "(4,6] =a:4>6");
    cop_watch_close(watch);
}
END_TEST

/* In the place of the pool: who commits gives up, and an alarm asks again. */
START_TEST(a_pass_of_who_commits_is_tried_again)
{
    int fd;
    cop_watch *watch = with_descriptor("a", 0, &fd);
    cop__memory *memory = cop__store_memory(store);

    set("a", 1);
    ck_assert_str_eq(told_now(watch), "(0,1] +a:1");
    atomic_store(&store->watch->asked, 1); /* as if something had been published */
    atomic_store(&memory->fail_countdown, 0);
    cop__watch_signal(store->watch);
    ck_assert_uint_eq(atomic_load(&store->watch->passing), 0);
    ck_assert_uint_eq(atomic_load(&store->watch->stale), 1);
    ck_assert_uint_eq(world.alarm, 1005 + RETRIED_NS);
    ck_assert_uint_eq(world.armed[fd], COP_TIMER_NEVER);
    set("a", 2);
    ck_assert_uint_eq(world.armed[fd], 1005 + RETRIED_NS);
    ck_assert_uint_eq(atomic_load(&store->watch->stale), 0);
    cop_watch_close(watch);
}
END_TEST

/* ---- a bound ---- */

START_TEST(a_bound_is_of_changes_not_told)
{
    cop_watch_options options = COP_WATCH_OPTIONS_INIT;
    options.overflow = COP_WATCH_GAP;
    options.bound = 3;
    cop_watch *watch = t_watch_with(store, "a", &options), *other = asked("a", 0, 0);

    for (int64_t i = 1; i <= 3; i++) {
        set("a", i);
        (void)told_now(other);
    }
    ck_assert_uint_eq(watch->noted, 3);
    ck_assert_str_eq(told_now(watch), "(0,3] +a:3");
    for (int64_t i = 4; i <= 7; i++) {
        ck_assert(!watch->gap);
        set("a", i);
        (void)told_now(other);
    }
    ck_assert(watch->gap);
    ck_assert_ptr_null(watch->from);
    ck_assert_uint_eq(watch->target->dirty, 0);
    set("a", 8); /* no version is held, however many follow */
    (void)told_now(other);
    ck_assert_ptr_null(watch->from);
    ck_assert_str_eq(told_now(watch), "(3,8] gap");
    cop_watch_close(watch);
    cop_watch_close(other);
}
END_TEST

/* One that has come back behind counts what comes after. */
START_TEST(a_bound_of_one_that_comes_back)
{
    cop_watch_options options = COP_WATCH_OPTIONS_INIT;
    cop_watch *keeper = asked("", 0, 0);

    set("a", 1);
    (void)told_now(keeper);
    set("a", 2);
    (void)told_now(keeper);
    options.overflow = COP_WATCH_GAP;
    options.bound = 1;
    options.since = 1;
    cop_watch *watch = t_watch_with(store, "a", &options);
    ck_assert_ptr_nonnull(watch->since);
    ck_assert_uint_eq(watch->changed_ns, 1005);
    set("a", 3);
    (void)told_now(keeper);
    ck_assert_str_eq(told_now(watch), "(1,2] =a:?>2 (2,3] =a:2>3");
    cop_watch_close(watch);
    cop_watch_close(keeper);
}
END_TEST

/* ---- the order in which functions are called ---- */

static char calls[32];

static void
sign(void *context, cop_watch *watch, cop_watch_batch *batch)
{
    size_t n = strlen(calls);

    (void)watch;
    (void)batch;
    ck_assert_uint_lt(n + 1, sizeof calls);
    calls[n] = *(const char *)context;
    calls[n + 1] = '\0';
}

static cop_watch *
signing(const char *name, const char *path, uint64_t max_delay_ns)
{
    cop_watch_options options = window(max_delay_ns, 0);
    cop_watch *watch;

    CHECK_OK(cop_watch_open(store, P(path), &options, sign, (void *)(uintptr_t)name, &watch, NULL));
    return watch;
}

static void
signed_as(const char *want)
{
    ck_assert_str_eq(calls, want);
    calls[0] = '\0';
}

/* Those that are due stand in line; what is due again goes to its end. */
START_TEST(first_come_first_served)
{
    cop_watch *a = signing("A", "a", 0), *b = signing("B", "b", 0), *c = signing("C", "c", 0);
    cop_watch *keeper = asked("", 0, 0);

    calls[0] = '\0';
    set("b", 1);
    (void)told_now(keeper);
    set("a", 1);
    (void)told_now(keeper);
    set("b", 2); /* stands in line already */
    (void)told_now(keeper);
    set("c", 1);
    (void)told_now(keeper);
    poll_when(1005);
    signed_as("BAC");
    poll_when(1006);
    signed_as("");
    set("a", 2);
    (void)told_now(keeper);
    cop_watch_pause(a); /* stands in line for nothing */
    set("b", 3);
    poll_when(1006);
    signed_as("B");
    cop_watch_resume(a);
    set("c", 2);
    poll_when(1006);
    signed_as("AC");
    cop_watch_close(a);
    cop_watch_close(b);
    cop_watch_close(c);
    cop_watch_close(keeper);
}
END_TEST

/* By the ends of their windows, whoever was dirty first; a window that is paused has none. */
START_TEST(the_next_window_first)
{
    cop_watch *d = signing("D", "a", 100), *a = signing("A", "a", 30), *c = signing("C", "a", 60),
              *b = signing("B", "a", 40);
    cop_watch *keeper = asked("", 0, 0);

    calls[0] = '\0';
    set_when(1201, "a", 1);
    (void)told_now(keeper);
    ck_assert_uint_eq(world.alarm, 1230);
    cop_watch_pause(b);
    poll_when(1300);
    signed_as("ACD");
    cop_watch_resume(b); /* long due */
    poll_when(1300);
    signed_as("B");
    set_when(1321, "a", 2);
    (void)told_now(keeper);
    poll_when(1360);
    signed_as("AB");
    ck_assert_uint_eq(world.alarm, 1380);
    poll_when(1400);
    signed_as("CD");
    cop_watch_close(a);
    cop_watch_close(b);
    cop_watch_close(c);
    cop_watch_close(d);
    cop_watch_close(keeper);
}
END_TEST

/* ---- the pool ---- */

START_TEST(one_task_at_a_time)
{
    t_text a, b;

    world.threads = 2;
    cop_watch *one = called("a", 0, 0, &a), *two = called("b", 0, 0, &b);
    set("a", 1);
    ck_assert_uint_eq(world.tasks, 1);
    set("b", 1);
    ck_assert_uint_eq(world.tasks, 1);
    work();
    heard(&a, "(0,2] +a:1");
    heard(&b, "(0,2] +b:1");
    ck_assert_uint_eq(world.signals, 0);
    while (world.tasks > 0) /* for what the first one left in line while it called */
        work();
    set("b", 2);
    ck_assert_uint_eq(world.tasks, 1);
    work();
    heard(&b, "(2,3] =b:1>2");
    cop_watch_close(one);
    cop_watch_close(two);
    while (world.tasks > 0)
        work();
}
END_TEST

/* With a pool it is asked when the alarm rings; who polls comes by himself. */
START_TEST(an_alarm)
{
    t_text out;
    cop_watch *watch = called("a", 100, 0, &out);

    set("a", 1);
    ck_assert_uint_eq(world.alarm, 1100);
    cop__watch_timer(store->watch);
    ck_assert_uint_eq(world.tasks, 0);
    ck_assert_uint_eq(world.signals, 0);
    world.threads = 1;
    world.now = 1099;
    cop__watch_timer(store->watch);
    ck_assert_uint_eq(world.tasks, 1);
    work();
    heard(&out, "");
    ck_assert_uint_eq(world.alarm, 1100);
    world.now = 1100;
    cop__watch_timer(store->watch);
    work();
    heard(&out, "(0,1] +a:1");
    world.threads = 0;
    cop_watch_close(watch);
    while (world.tasks > 0)
        work();
}
END_TEST

/* A task that begins when the store has been closed tells nobody and sets no alarm, before the pass
 * is due (0) or after (1). */
START_TEST(a_task_that_comes_too_late)
{
    t_text out;
    cop_watch *watch = called("a", 100, 0, &out);
    cop__watch_room *room = store->watch;

    world.threads = 1;
    set("a", 1);
    world.now = 1099;
    cop__watch_timer(room);
    ck_assert_uint_eq(world.tasks, 1);
    cop_store_close(store);
    world.now += (uint64_t)_i;
    world.alarm = COP_TIMER_NEVER;
    work();
    heard(&out, "");
    ck_assert_uint_eq(world.alarm, COP_TIMER_NEVER);
    ck_assert_uint_eq(atomic_load(&room->asked), _i == 0);
    cop_watch_close(watch);
    t_all_released();
    store = t_open();
}
END_TEST

/* A task that comes to a thread that cannot serve is put off. */
START_TEST(a_task_inside_an_evaluation)
{
    t_text out;

    world.threads = 1;
    cop_watch *watch = called("a", 0, 0, &out);
    set("a", 1);
    cop__evaluating = true;
    work();
    cop__evaluating = false;
    heard(&out, "");
    ck_assert_uint_eq(world.alarm, 1005 + TASK_AGAIN_NS);
    cop__watch_timer(store->watch);
    ck_assert_uint_eq(world.tasks, 1);
    work();
    heard(&out, "(0,1] +a:1");
    cop_watch_close(watch);
    while (world.tasks > 0)
        work();
}
END_TEST

/* While a function is called the pool's other threads do what there is; when there is none, who
 * commits looks after descriptors. */
static unsigned tasks_inside;
static uint64_t armed_inside;
static int fd_inside;

static void
write_b(void *context, cop_watch *watch, cop_watch_batch *batch)
{
    (void)context;
    (void)watch;
    (void)batch;
    ck_assert_uint_eq(atomic_load(&store->watch->calling), 1);
    set("b", 1);
    tasks_inside = world.tasks;
    armed_inside = world.armed[fd_inside];
}

START_TEST(descriptors_while_all_are_busy)
{
    cop_watch *watch, *asks = with_descriptor("b", 0, &fd_inside);

    CHECK_OK(cop_watch_open(store, P("a"), NULL, write_b, NULL, &watch, NULL));
    world.threads = 2; /* another one is there */
    set("a", 1);
    work();
    ck_assert_uint_eq(armed_inside, COP_TIMER_NEVER);
    ck_assert_uint_eq(tasks_inside, 1);
    ck_assert_uint_eq(atomic_load(&store->watch->calling), 0);
    while (world.tasks > 0)
        work();
    ck_assert_uint_eq(world.armed[fd_inside], 1005);
    ck_assert_str_eq(told_now(asks), "(0,2] +b:1");
    t_erase_at(store, "b");
    while (world.tasks > 0)
        work();
    (void)told_now(asks);
    world.threads = 1;
    set("a", 2);
    work();
    ck_assert_uint_eq(armed_inside, 1005);
    while (world.tasks > 0)
        work();
    cop_watch_close(watch);
    cop_watch_close(asks);
    while (world.tasks > 0)
        work();
}
END_TEST

/* A pass that is not due is not made before a call that needs none. */
START_TEST(no_pass_before_its_time)
{
    t_text out;
    cop_watch *watch = called("a", 100, 0, &out);

    set_when(1005, "a", 1);
    poll_when(1100);
    heard(&out, "(0,1] +a:1");
    cop_watch_pause(watch);
    set_when(1105, "a", 2);
    poll_when(1200);
    set_when(1205, "a", 3); /* to be looked at by 1300 */
    cop_watch_resume(watch);
    poll_when(1206);
    heard(&out, "(1,2] =a:1>2");
    ck_assert_uint_eq(store->watch->base->version, 2);
    ck_assert_uint_eq(world.alarm, 1300);
    int fd;
    cop_watch *other = asked("b", 100, 0);
    CHECK_OK(cop_watch_fd(other, &fd)); /* makes one */
    ck_assert_uint_eq(store->watch->base->version, 3);
    cop_watch_close(watch);
    cop_watch_close(other);
}
END_TEST

/* While a function is called nobody may come for what is asked for: it is looked at first, for
 * those with a descriptor. */
START_TEST(a_pass_before_a_call)
{
    t_text out;
    int fd;
    cop_watch *watch = called("a", 100, 0, &out), *other = with_descriptor("b", 100, &fd);

    world.threads = 2; /* nobody commits in the pool's place */
    set_when(1005, "a", 1);
    world.now = 1100;
    cop__watch_timer(store->watch);
    cop_watch_pause(watch);
    work();
    set_when(1105, "b", 1);
    ck_assert_uint_eq(world.armed[fd], COP_TIMER_NEVER);
    cop_watch_resume(watch);
    work();
    heard(&out, "(0,1] +a:1");
    ck_assert_uint_eq(world.armed[fd], 1200);
    ck_assert_uint_eq(store->watch->asked, 0);
    cop_watch_close(watch);
    cop_watch_close(other);
    while (world.tasks > 0)
        work();
}
END_TEST

/* What a pass lists for a target is told to its watchers as it is; one that fell behind makes a
 * list, which is the others' too as long as one may want it. */
START_TEST(lists_are_shared)
{
    cop_watch *one = asked("a", 0, 0), *two = asked("a", 0, 0), *keeper = asked("", 0, 0);
    cop_watch_batch batch, other;

    set("a", 1);
    (void)told_now(keeper);
    const cop__watch_target *target = one->target;
    const cop__watch_list *list = target->list;
    ck_assert_ptr_nonnull(list);
    ck_assert_uint_eq(target->list_from, 0);
    ck_assert_uint_eq(target->list_to, 1);
    ck_assert_uint_eq(target->changes, 1);
    CHECK_OK(cop_watch_next(one, 0, &batch));
    CHECK_OK(cop_watch_next(two, 0, &other));
    ck_assert_ptr_eq(list_of(&batch), list);
    ck_assert_ptr_eq(list_of(&other), list);
    ck_assert_ptr_null(target->list); /* nobody will want it */
    cop_watch_batch_end(&batch);
    ck_assert_uint_eq(list->references, 1);
    cop_watch_batch_end(&other);
    set("a", 2);
    (void)told_now(keeper);
    set("a", 3);
    (void)told_now(keeper); /* the last pass lists less than they missed */
    ck_assert_uint_eq(target->list_from, 2);
    set("b", 3);
    (void)told_now(keeper);
    CHECK_OK(cop_watch_next(one, 0, &batch));
    ck_assert_uint_eq(batch.from, 1);
    ck_assert_uint_eq(batch.to, 4);
    ck_assert_ptr_ne(list_of(&batch), target->list);
    CHECK_OK(cop_watch_next(two, 0, &other));
    ck_assert_uint_eq(other.count, 1);
    ck_assert_ptr_null(target->list);
    cop_watch_batch_end(&batch);
    cop_watch_batch_end(&other);
    cop_watch_close(one);
    cop_watch_close(two);
    cop_watch_close(keeper);
}
END_TEST

/* Zero is a descriptor like any other. */
START_TEST(descriptor_zero)
{
    int kept = dup(0), fd;
    cop_watch *watch = asked("a", 0, 0);

    ck_assert_int_gt(kept, 0);
    close(0);
    CHECK_OK(cop_watch_fd(watch, &fd));
    ck_assert_int_eq(fd, 0);
    CHECK_OK(cop_watch_fd(watch, &fd));
    ck_assert_int_eq(fd, 0);
    set("a", 1);
    ck_assert_uint_eq(world.armed[0], 1005);
    check_room();
    cop_watch_close(watch);
    ck_assert_uint_eq(store->watch->descriptors, 0);
    ck_assert_int_eq(fcntl(0, F_GETFD), -1); /* it was closed */
    ck_assert_int_eq(dup2(kept, 0), 0);
    close(kept);
}
END_TEST

/* Who is in a function of a store serves no other one of it, at any depth. */
static cop_watch *outer;

static void
poll_inside(void *context, cop_watch *watch, cop_watch_batch *batch)
{
    (void)watch;
    (void)batch;
    ck_assert(cop__watch_is_here(outer));
    ck_assert(in_function_of(store));
    ++*(unsigned *)context;
    CHECK_OK(cop_store_poll(store));
}

START_TEST(one_function_at_a_time)
{
    unsigned n = 0;
    t_text out;

    CHECK_OK(cop_watch_open(store, P("a"), NULL, poll_inside, &n, &outer, NULL));
    set("a", 1);
    cop_watch *other = called("a", 0, 0, &out);
    set("a", 2);
    ck_assert(!cop__watch_is_here(outer) && !in_function_of(store));
    poll_when(1005);
    ck_assert_uint_eq(n, 1);
    heard(&out, "(1,2] =a:1>2"); /* after it */
    ck_assert(!cop__watch_is_here(outer) && !in_function_of(store));
    cop_watch_close(outer);
    cop_watch_close(other);
}
END_TEST

/* The pool goes: what it was asked for is asked anew, of whoever is there now. */
START_TEST(another_pool)
{
    t_text out;

    world.threads = 1;
    cop_watch *watch = called("a", 0, 0, &out);
    set("a", 1);
    ck_assert_uint_eq(world.tasks, 1);
    world.threads = 0;
    cop__watch_pool_changed(store->watch);
    ck_assert_uint_eq(world.signals, 1);
    poll_when(1005);
    heard(&out, "(0,1] +a:1");
    work(); /* finds nothing to do */
    heard(&out, "");
    cop__watch_pool_changed(NULL);
    cop_watch_close(watch);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, a_pass_is_tried_again);
    tcase_add_test(tests, a_pass_of_who_commits_is_tried_again);
    tcase_add_test(tests, a_bound_is_of_changes_not_told);
    tcase_add_test(tests, a_bound_of_one_that_comes_back);
    tcase_add_test(tests, first_come_first_served);
    tcase_add_test(tests, the_next_window_first);
    tcase_add_test(tests, one_task_at_a_time);
    tcase_add_test(tests, an_alarm);
    tcase_add_loop_test(tests, a_task_that_comes_too_late, 0, 2);
    tcase_add_test(tests, a_task_inside_an_evaluation);
    tcase_add_test(tests, descriptors_while_all_are_busy);
    tcase_add_test(tests, no_pass_before_its_time);
    tcase_add_test(tests, a_pass_before_a_call);
    tcase_add_test(tests, lists_are_shared);
    tcase_add_test(tests, descriptor_zero);
    tcase_add_test(tests, one_function_at_a_time);
    tcase_add_test(tests, another_pool);
}

int
main(void)
{
    return t_run("watchers' turns", add);
}

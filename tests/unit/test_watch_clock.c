/* SPDX-License-Identifier: MIT */
/*
 * Watchers by a clock that stands until the test moves it: to the nanosecond when a pass and a
 * telling are due, how long is slept, who is woken, and what a pool is asked to do.
 *
 * The room's sources are compiled into this program. Time, sleeping, alarms, descriptors' times and
 * the pool are those of the `world` below; so nothing here depends on how long anything takes.
 */
#include <sys/timerfd.h>
#include <unistd.h>

#include "commit/combiner.h"
#include "graph/pattern.h"
#include "reclaim/gate.h"
#include "tests/support/watch_test.h"
#include "tree/directory.h"
#include "tree/path.h"
#include "watch/room.h"
#include "watch/watch.h"

enum { TASKS = 8, DESCRIPTORS = 64 };

static struct {
    uint64_t now;
    uint64_t alarm; /* the earliest that was set and has not come; COP_TIMER_NEVER: none */
    uint64_t slept_until;
    unsigned sleeps, wakes, signals;
    void (*asleep)(void); /* what happens while somebody sleeps; else the time comes */
    uint32_t threads;     /* of the pool; 0: there is none */
    unsigned tasks;       /* submitted and not begun */
    cop_task_function task[TASKS];
    void *context[TASKS];
    uint64_t armed[DESCRIPTORS];
} world;

static uint64_t
world_clock(void)
{
    return world.now;
}

static void
world_alarm(cop__timers *timers, cop__alarm *alarm, uint64_t due)
{
    (void)timers;
    ck_assert_ptr_eq(alarm->function, cop__watch_timer);
    ck_assert_uint_ne(due, COP_TIMER_NEVER);
    if (due < world.alarm)
        world.alarm = due;
}

static void
world_arm(int fd, uint64_t due)
{
    ck_assert_int_lt(fd, DESCRIPTORS);
    if (fd >= 0)
        world.armed[fd] = due;
}

static void
world_sleep(_Atomic uint32_t *word, uint32_t value, uint64_t deadline)
{
    if (atomic_load(word) != value)
        return;
    world.sleeps++;
    world.slept_until = deadline;
    if (world.asleep != NULL) {
        world.asleep();
    } else {
        ck_assert_uint_gt(deadline, world.now);
        world.now = deadline;
    }
}

static void
world_wake(_Atomic uint32_t *word, int threads)
{
    (void)word;
    ck_assert_int_eq(threads, INT32_MAX);
    world.wakes++;
}

static uint32_t
world_threads(cop_store *store)
{
    (void)store;
    return world.threads;
}

static bool
world_submit(cop_store *store, cop_task_function task, void *context)
{
    if (world.threads == 0)
        return false;
    ck_assert_uint_lt(world.tasks, TASKS);
    cop__gate_use(store->gate);
    world.task[world.tasks] = task;
    world.context[world.tasks++] = context;
    return true;
}

static void
world_signal(cop_store *store)
{
    (void)store;
    world.signals++;
}

#define cop__clock_ns world_clock
#define cop__timer_set world_alarm
#define cop__timer_descriptor_arm world_arm
#define cop__futex_wait world_sleep
#define cop__futex_wake world_wake
#define cop__effects_threads world_threads
#define cop__effects_submit world_submit
#define cop__fd_signal world_signal
/* NOLINTBEGIN(bugprone-suspicious-include) */
#include "watch/ask.c"
#include "watch/index.c"
#include "watch/list.c"
#include "watch/log.c"
#include "watch/pass.c"
#include "watch/tell.c"
#include "watch/watch.c"
/* NOLINTEND(bugprone-suspicious-include) */

#define RETRIED_NS UINT64_C(10000000) /* after how long a pass without memory is tried again */
#define TASK_AGAIN_NS UINT64_C(1000000)

static cop_store *store;

static void
setup(void)
{
    memset(&world, 0, sizeof world);
    world.now = 1005;
    world.alarm = COP_TIMER_NEVER;
    store = t_open();
}

static void
teardown(void)
{
    t_close(store);
    ck_assert_uint_eq(world.tasks, 0);
}

static void
set(const char *path, int64_t value)
{
    t_set_at(store, path, cop_i64(value));
}

static void
set_when(uint64_t now, const char *path, int64_t value)
{
    world.now = now;
    set(path, value);
}

/* It is that time, and somebody polls. */
static void
poll_when(uint64_t now)
{
    world.now = now;
    if (world.alarm <= now)
        world.alarm = COP_TIMER_NEVER;
    CHECK_OK(cop_store_poll(store));
}

/* A worker begins what was submitted first. */
static void
work(void)
{
    ck_assert_uint_gt(world.tasks, 0);
    cop_task_function task = world.task[0];
    void *context = world.context[0];
    world.tasks--;
    memmove(world.task, world.task + 1, world.tasks * sizeof *world.task);
    memmove(world.context, world.context + 1, world.tasks * sizeof *world.context);
    task(context);
}

static cop_watch_options
window(uint64_t max_delay_ns, uint64_t min_interval_ns)
{
    cop_watch_options options = COP_WATCH_OPTIONS_INIT;
    options.max_delay_ns = max_delay_ns;
    options.min_interval_ns = min_interval_ns;
    return options;
}

static cop_watch *
called(const char *path, uint64_t max_delay_ns, uint64_t min_interval_ns, t_text *out)
{
    cop_watch_options options = window(max_delay_ns, min_interval_ns);
    return t_watch_call(store, path, &options, out);
}

static cop_watch *
asked(const char *path, uint64_t max_delay_ns, uint64_t min_interval_ns)
{
    cop_watch_options options = window(max_delay_ns, min_interval_ns);
    return t_watch_with(store, path, &options);
}

static cop_watch *
with_descriptor(const char *path, uint64_t max_delay_ns, int *fd)
{
    cop_watch *watch = asked(path, max_delay_ns, 0);
    CHECK_OK(cop_watch_fd(watch, fd));
    ck_assert_uint_eq(world.armed[*fd], COP_TIMER_NEVER);
    return watch;
}

/* What a watcher is told at once, or "" when it would have to wait. */
static const char *
told_now(cop_watch *watch)
{
    uint64_t sleeps = world.sleeps;
    const char *told = t_told(watch);
    ck_assert_uint_eq(world.sleeps, sleeps);
    return told;
}

/* All that was heard, and nothing more is remembered. */
static void
heard(t_text *out, const char *want)
{
    ck_assert_str_eq(out->text, want);
    out->used = 0;
    out->text[0] = '\0';
}

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

/* Of both, the later one; in nanoseconds from the beginning of time too. */
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
    tcase_add_test(tests, a_grid);
    tcase_add_test(tests, windows_end_on_a_grid);
    tcase_add_test(tests, the_least_window);
    tcase_add_test(tests, an_interval);
    tcase_add_test(tests, an_interval_and_a_window);
    tcase_add_test(tests, told_nothing);
    tcase_add_test(tests, sleeping_until_due);
    tcase_add_test(tests, sleeping_twice);
    tcase_add_test(tests, waking);
    tcase_add_test(tests, waking_by_other_means);
    tcase_add_test(tests, a_descriptor_is_set_to_when_it_is_due);
    tcase_add_test(tests, a_late_descriptor);
    tcase_add_test(tests, one_pass_at_a_time);
    tcase_add_test(tests, a_pass_is_tried_again);
    tcase_add_test(tests, a_pass_of_who_commits_is_tried_again);
    tcase_add_test(tests, a_bound_is_of_changes_not_told);
    tcase_add_test(tests, a_bound_of_one_that_comes_back);
    tcase_add_test(tests, first_come_first_served);
    tcase_add_test(tests, the_next_window_first);
    tcase_add_test(tests, one_task_at_a_time);
    tcase_add_test(tests, an_alarm);
    tcase_add_test(tests, a_task_inside_an_evaluation);
    tcase_add_test(tests, descriptors_while_all_are_busy);
    tcase_add_test(tests, another_pool);
}

int
main(void)
{
    return t_run("watchers by the clock", add);
}

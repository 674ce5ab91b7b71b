/* SPDX-License-Identifier: MIT */
/*
 * The sources of lib/watch compiled into a Check program, with a clock that stands until the test
 * moves it. Time, sleeping, alarms, descriptors' times and the pool are those of the `world` below:
 * nothing depends on how long anything takes.
 */
#ifndef COP_TESTS_WATCH_WORLD_H
#define COP_TESTS_WATCH_WORLD_H

#include <pthread.h>
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
    void (*asleep)(void);       /* what happens while somebody sleeps; else the time comes */
    void (*before_lock)(void);  /* what another thread does there, once */
    void (*after_unlock)(void); /* and there */
    uint32_t threads;           /* of the pool; 0: there is none */
    unsigned tasks;             /* submitted and not begun */
    cop_task_function task[TASKS];
    void *context[TASKS];
    uint64_t armed[DESCRIPTORS];
    pthread_mutex_t *held;
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

static void
world_meets(void (**other)(void))
{
    void (*now)(void) = *other;
    *other = NULL;
    if (now != NULL)
        now();
}

static int
world_lock(pthread_mutex_t *lock)
{
    world_meets(&world.before_lock);
    ck_assert_ptr_null(world.held);
    world.held = lock;
    return pthread_mutex_lock(lock);
}

static int
world_unlock(pthread_mutex_t *lock)
{
    ck_assert_ptr_eq(world.held, lock);
    world.held = NULL;
    int result = pthread_mutex_unlock(lock);
    world_meets(&world.after_unlock);
    return result;
}

#undef COP_WATCH_PASS_LIST
#define COP_WATCH_PASS_LIST 64u /* so that a test can reach it */

#define pthread_mutex_lock world_lock
#define pthread_mutex_unlock world_unlock
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

#undef pthread_mutex_lock
#undef pthread_mutex_unlock

static cop_store *store;

/* ---- what holds in a room whenever nobody is in it ---- */

static inline void
check_watch(const cop_watch *watch)
{
    size_t dirty = 0;

    ck_assert_ptr_eq(*watch->reference, watch);
    ck_assert_ptr_eq(*watch->all_reference, watch);
    ck_assert(!watch->running && !watch->closed);
    ck_assert(!watch->gap || watch->from == NULL);
    ck_assert((watch->since == NULL) == (watch->since_to == NULL));
    for (const cop_watch *other = watch->target->first; other != NULL; other = other->next) {
        ck_assert_ptr_eq(other->target, watch->target);
        dirty += other->from != NULL;
    }
    ck_assert_uint_eq(watch->target->dirty, dirty);
    ck_assert(!watch->target->touched);
}

static inline void
check_watches(const cop__watch_room *room)
{
    uint64_t least = COP_TIMER_NEVER;
    size_t count = 0, gather = 0, functions = 0, descriptors = 0, queued = 0;

    for (const cop_watch *watch = room->all; watch != NULL; watch = watch->all_next) {
        check_watch(watch);
        count++;
        functions += watch->function != NULL;
        descriptors += watch->fd >= 0;
        gather = watch->max_delay_ns < least ? 0 : gather;
        least = watch->max_delay_ns < least ? watch->max_delay_ns : least;
        gather += watch->max_delay_ns == least;
    }
    ck_assert_uint_eq(room->count, count);
    ck_assert_uint_eq(room->functions, functions);
    ck_assert_uint_eq(room->descriptors, descriptors);
    ck_assert_uint_eq(room->gather_ns, least);
    ck_assert_uint_eq(room->gather_count, gather);
    ck_assert((room->base != NULL) == (count > 0));
    for (const cop_watch *watch = room->ready_first; watch != NULL; watch = watch->ready_next) {
        ck_assert(watch->queued && watch->references > 0);
        ck_assert(watch->ready_next != NULL || watch == room->ready_last);
        ck_assert_uint_lt(queued++, 1000);
    }
    ck_assert((room->ready_first == NULL) == (room->ready_last == NULL));
}

static inline void
check_log(const cop__watch_room *room)
{
    size_t bytes = 0;
    const cop__watch_segment *segment = room->log.oldest;

    ck_assert((segment == NULL) == (room->log.newest == NULL));
    for (; segment != NULL; segment = segment->next) {
        bytes += segment->bytes;
        ck_assert_uint_lt(segment->from, segment->to);
        if (segment->next != NULL)
            ck_assert_uint_eq(segment->to, segment->next->from);
        else
            ck_assert_ptr_eq(segment, room->log.newest);
    }
    ck_assert_uint_eq(room->log.bytes, bytes);
    ck_assert_uint_le(bytes, room->log.limit);
    if (room->log.newest != NULL)
        ck_assert_uint_eq(room->log.newest->to, room->base->version);
}

static inline size_t
check_node(const cop__watch_index *index, const cop__watch_node *node)
{
    size_t nodes = 1, children = 0;

    for (size_t i = 0; i < index->buckets; i++)
        for (const cop__watch_node *child = index->bucket[i]; child != NULL; child = child->chain)
            if (child->parent == node) {
                children++;
                nodes += check_node(index, child);
                ck_assert_ptr_eq(child_find(index, node, child->segment, child->length), child);
                ck_assert(cop__pattern_is_star(child->segment, child->length) ==
                          (node->star == child));
            }
    ck_assert_uint_eq(node->children, children);
    ck_assert(node->parent == NULL || children > 0 || node->target[0] != NULL ||
              node->target[1] != NULL);
    return nodes;
}

static inline void
check_index(const cop__watch_index *index)
{
    size_t handles = 0, branches = 0;

    ck_assert_uint_eq(index->nodes, index->root != NULL ? check_node(index, index->root) : 0);
    ck_assert_uint_ge(index->buckets + 1, index->nodes);
    for (size_t i = 0; i < index->handle_buckets; i++)
        for (const cop__watch_target *t = index->handle[i]; t != NULL; t = t->chain) {
            ck_assert_ptr_null(t->node);
            ck_assert_ptr_eq(handle_bucket(index, t->atom.id), &index->handle[i]);
            handles++;
            branches += t->below;
        }
    ck_assert_uint_eq(index->handles, handles);
    ck_assert_uint_eq(index->branches, branches);
    ck_assert_uint_ge(index->handle_buckets, handles);
}

static inline void
check_room(void)
{
    const cop__watch_room *room = store->watch;

    ck_assert_ptr_null(world.held);
    if (room == NULL)
        return;
    ck_assert(room->passing == 0 && room->calling == 0 && room->sleepers == 0);
    ck_assert_ptr_null(room->touched);
    ck_assert_ptr_null(room->doomed);
    check_watches(room);
    check_log(room);
    check_index(&room->index);
}

static void
setup(void)
{
    memset(&world, 0, sizeof world);
    for (size_t i = 0; i < DESCRIPTORS; i++)
        world.armed[i] = COP_TIMER_NEVER;
    world.now = 1005;
    world.alarm = COP_TIMER_NEVER;
    store = t_open();
}

static void
teardown(void)
{
    check_room();
    t_close(store);
    ck_assert_uint_eq(world.tasks, 0);
}

static inline void
set(const char *path, int64_t value)
{
    t_set_at(store, path, cop_i64(value));
}

static inline void
set_when(uint64_t now, const char *path, int64_t value)
{
    world.now = now;
    set(path, value);
}

/* It is that time, and somebody polls. */
static inline void
poll_when(uint64_t now)
{
    world.now = now;
    if (world.alarm <= now)
        world.alarm = COP_TIMER_NEVER;
    CHECK_OK(cop_store_poll(store));
    check_room();
}

/* A worker begins what was submitted first. */
static inline void
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

static inline cop_watch *
called(const char *path, uint64_t max_delay_ns, uint64_t min_interval_ns, t_text *out)
{
    cop_watch_options options = window(max_delay_ns, min_interval_ns);
    return t_watch_call(store, path, &options, out);
}

static inline cop_watch *
asked(const char *path, uint64_t max_delay_ns, uint64_t min_interval_ns)
{
    cop_watch_options options = window(max_delay_ns, min_interval_ns);
    return t_watch_with(store, path, &options);
}

static inline cop_watch *
with_descriptor(const char *path, uint64_t max_delay_ns, int *fd)
{
    cop_watch *watch = asked(path, max_delay_ns, 0);
    CHECK_OK(cop_watch_fd(watch, fd));
    ck_assert_uint_eq(world.armed[*fd], COP_TIMER_NEVER);
    return watch;
}

/* What a watcher is told at once, or "" when it would have to wait. */
static inline const char *
told_now(cop_watch *watch)
{
    uint64_t sleeps = world.sleeps;
    const char *told = t_told(watch);
    ck_assert_uint_eq(world.sleeps, sleeps);
    check_room();
    return told;
}

/* All that was heard, and nothing more is remembered. */
static inline void
heard(t_text *out, const char *want)
{
    ck_assert_str_eq(out->text, want);
    out->used = 0;
    out->text[0] = '\0';
}

#endif

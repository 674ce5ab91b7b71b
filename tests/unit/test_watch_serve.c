/* SPDX-License-Identifier: MIT */
/* Who tells watchers, when, and until when: polls, pools, descriptors, windows, pausing, closing.
 */
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/watch_test.h"

#define HOUR_NS UINT64_C(3600000000000)
#define FRAME_NS UINT64_C(20000000)

static void
set(cop_store *store, const char *path, int64_t value)
{
    t_set_at(store, path, cop_i64(value));
}

/* ---- functions ---- */

START_TEST(by_polling)
{
    cop_store *store = t_open();
    t_text a, b;
    cop_watch *one = t_watch_call(store, "a", NULL, &a), *two = t_watch_call(store, "", NULL, &b);
    cop_watch_batch batch;
    int fd;

    CHECK_STATUS(cop_watch_next(one, 0, &batch), COP_E_INVALID);
    CHECK_STATUS(cop_watch_fd(one, &fd), COP_E_INVALID);
    ck_assert_int_eq(fd, -1);
    set(store, "a", 1);
    ck_assert_str_eq(t_heard(&a), "");
    CHECK_OK(cop_store_poll(store));
    ck_assert_str_eq(t_heard(&a), "(0,1] +a:1");
    ck_assert_str_eq(t_heard(&b), "(0,1] +a:1");
    set(store, "b", 1);
    set(store, "a", 2);
    CHECK_OK(cop_store_poll(store));
    ck_assert_str_eq(t_heard(&a), "(1,3] =a:1>2");
    ck_assert_str_eq(t_heard(&b), "(1,3] =a:1>2 +b:1");
    CHECK_OK(cop_store_poll(store));
    ck_assert_str_eq(t_heard(&a), "(1,3] =a:1>2");
    cop_watch_close(one);
    cop_watch_close(two);
    t_close(store);
}
END_TEST

static bool
is_readable(int fd, int ms)
{
    struct pollfd p = {fd, POLLIN, 0};

    return poll(&p, 1, ms) == 1;
}

/* The host's loop learns of it. */
START_TEST(store_descriptor)
{
    cop_store *store = t_open();
    t_text a;
    cop_watch_options options = COP_WATCH_OPTIONS_INIT;
    cop_watch *now = t_watch_call(store, "a", NULL, &a);
    int fd;

    CHECK_OK(cop_store_fd(store, &fd));
    ck_assert(!is_readable(fd, 0));
    set(store, "a", 1);
    ck_assert(is_readable(fd, 0));
    CHECK_OK(cop_store_poll(store));
    ck_assert_str_eq(t_heard(&a), "(0,1] +a:1");
    CHECK_OK(cop_store_poll(store));
    ck_assert(!is_readable(fd, 0));
    cop_watch_close(now);
    options.max_delay_ns = FRAME_NS;
    cop_watch *later = t_watch_call(store, "a", &options, &a);
    for (int i = 0; i < 5; i++) {
        set(store, "a", 10 + i);
        ck_assert(is_readable(fd, 5000));
        CHECK_OK(cop_store_poll(store));
        CHECK_OK(cop_store_poll(store));
        ck_assert_uint_eq(cop_watch_told(later), cop_store_version(store));
        ck_assert(!is_readable(fd, 0));
    }
    cop_watch_close(later);
    t_close(store);
}
END_TEST

static _Atomic uint32_t heard_count;

static void
count_calls(void *context, cop_watch *watch, cop_watch_batch *batch)
{
    (void)watch;
    atomic_store((_Atomic uint64_t *)context, batch->to);
    atomic_fetch_add(&heard_count, 1);
}

static bool
eventually(_Atomic uint64_t *word, uint64_t value)
{
    uint64_t deadline = cop_deadline_in_ms(20000);

    while (atomic_load(word) < value && cop_deadline_in_ms(0) < deadline)
        sched_yield();
    return atomic_load(word) >= value;
}

static cop_pool *
pool_with(cop_store *store, uint32_t threads)
{
    cop_pool_options options = COP_POOL_OPTIONS_INIT;
    cop_pool *pool;

    options.threads = threads;
    CHECK_OK(cop_pool_open(&options, &pool, NULL));
    CHECK_OK(cop_store_set_pool(store, pool));
    return pool;
}

START_TEST(by_pool)
{
    cop_store *store = t_open();
    cop_pool *pool = pool_with(store, 2);
    _Atomic uint64_t to[50];
    cop_watch *watch[50];

    for (int i = 0; i < 50; i++) {
        atomic_init(&to[i], 0);
        CHECK_OK(cop_watch_open(store, P("a"), NULL, count_calls, &to[i], &watch[i], NULL));
    }
    for (int i = 0; i < 20; i++) {
        set(store, "a", i);
        for (int k = 0; k < 50; k++)
            ck_assert(eventually(&to[k], cop_store_version(store)));
    }
    CHECK_OK(cop_store_set_pool(store, NULL));
    set(store, "a", 100);
    CHECK_OK(cop_store_poll(store));
    for (int i = 0; i < 50; i++) {
        ck_assert_uint_eq(atomic_load(&to[i]), 21);
        cop_watch_close(watch[i]);
    }
    cop_store_close(store);
    cop_pool_close(pool); /* with what it has left of its tasks */
    t_all_released();
}
END_TEST

typedef struct stuck {
    _Atomic uint64_t in, go;
} stuck;

static void
hang(void *context, cop_watch *watch, cop_watch_batch *batch)
{
    stuck *s = context;

    (void)watch;
    (void)batch;
    atomic_fetch_add(&s->in, 1);
    while (atomic_load(&s->go) == 0)
        sched_yield();
}

/* One that hangs keeps one worker; commits and the others go on, and it costs one held version. */
START_TEST(a_stuck_one)
{
    cop_store *store = t_open();
    cop_pool *pool = pool_with(store, 2);
    stuck s = {0, 0};
    _Atomic uint64_t to = 0;
    cop_watch *hangs, *other;

    CHECK_OK(cop_watch_open(store, P(""), NULL, hang, &s, &hangs, NULL));
    CHECK_OK(cop_watch_open(store, P("a"), NULL, count_calls, &to, &other, NULL));
    set(store, "a", 1);
    ck_assert(eventually(&s.in, 1));
    for (int i = 2; i < 300; i++) {
        set(store, "a", i);
        if (i % 10 == 0)
            ck_assert(eventually(&to, (uint64_t)i));
    }
    ck_assert_uint_eq(atomic_load(&s.in), 1);
    atomic_store(&s.go, 1);
    ck_assert(eventually(&s.in, 2));
    cop_watch_close(hangs);
    cop_watch_close(other);
    cop_store_close(store);
    cop_pool_close(pool);
    t_all_released();
}
END_TEST

/* ---- descriptors ---- */

START_TEST(a_descriptor)
{
    cop_store *store = t_open();
    cop_watch *watch = t_watch(store, "a");
    int fd, again;

    set(store, "a", 1); /* before there is one */
    CHECK_OK(cop_watch_fd(watch, &fd));
    CHECK_OK(cop_watch_fd(watch, &again));
    ck_assert_int_eq(fd, again);
    ck_assert(is_readable(fd, 0));
    ck_assert_str_eq(t_told(watch), "(0,1] +a:1");
    ck_assert(!is_readable(fd, 0));
    for (int i = 2; i < 70; i++) {
        set(store, "a", i);
        ck_assert(is_readable(fd, 0)); /* though nobody polls */
        (void)t_told(watch);
        ck_assert(!is_readable(fd, 0));
    }
    set(store, "b", 1);
    ck_assert(!is_readable(fd, 0));
    set(store, "a", 100);
    cop_watch_pause(watch);
    ck_assert(!is_readable(fd, 0));
    cop_watch_resume(watch);
    ck_assert(is_readable(fd, 0));
    cop_watch_close(watch);
    t_close(store);
}
END_TEST

/* One change that is told to many: the first is readable at once, the others soon after. */
START_TEST(many_descriptors)
{
    enum { MANY = 200 };
    static cop_watch *watch[MANY];
    cop_store *store = t_open();
    struct pollfd all[MANY];

    for (int i = 0; i < MANY; i++) {
        watch[i] = t_watch(store, "a");
        CHECK_OK(cop_watch_fd(watch[i], &all[i].fd));
        all[i].events = POLLIN;
    }
    for (int round = 0; round < 3; round++) {
        t_set_at(store, "a", cop_i64(2 * round));
        t_set_at(store, "a", cop_i64(2 * round + 1)); /* those that are due stay so */
        ck_assert_int_gt(poll(all, MANY, 0), 0);
        for (int i = 0; i < MANY; i++) {
            ck_assert(is_readable(all[i].fd, 5000));
            (void)t_told(watch[i]);
            ck_assert(!is_readable(all[i].fd, 0));
        }
    }
    for (int i = 0; i < MANY; i++)
        cop_watch_close(watch[i]);
    t_close(store);
}
END_TEST

START_TEST(a_descriptor_with_a_pool)
{
    cop_store *store = t_open();
    cop_pool *pool = pool_with(store, 1);
    cop_watch *watch = t_watch(store, "a");
    int fd;

    CHECK_OK(cop_watch_fd(watch, &fd));
    for (int i = 1; i < 20; i++) {
        set(store, "a", i);
        ck_assert(is_readable(fd, 10000));
        (void)t_told(watch);
    }
    cop_watch_close(watch);
    cop_store_close(store);
    cop_pool_close(pool);
    t_all_released();
}
END_TEST

/* Nor does one that hangs keep the pool's only thread from the descriptors of others. */
START_TEST(a_stuck_pool)
{
    cop_store *store = t_open();
    cop_pool *pool = pool_with(store, 1);
    stuck s = {0, 0};
    cop_watch *hangs, *other = t_watch(store, "a");
    int fd;

    CHECK_OK(cop_watch_open(store, P("b"), NULL, hang, &s, &hangs, NULL));
    CHECK_OK(cop_watch_fd(other, &fd));
    set(store, "b", 1);
    set(store, "a", 1);
    ck_assert(is_readable(fd, 10000));
    ck_assert(eventually(&s.in, 1));
    (void)t_told(other);
    for (int i = 2; i < 10; i++) {
        set(store, "a", i);
        ck_assert(is_readable(fd, 0));
        (void)t_told(other);
    }
    atomic_store(&s.go, 1);
    cop_watch_close(hangs);
    cop_watch_close(other);
    cop_store_close(store);
    cop_pool_close(pool);
    t_all_released();
}
END_TEST

/* ---- pausing, closing ---- */

START_TEST(pausing)
{
    cop_store *store = t_open();
    t_text out;
    cop_watch_options options = COP_WATCH_OPTIONS_INIT;
    options.paused = true;
    cop_watch *asked = t_watch_with(store, "a", &options);
    cop_watch *called = t_watch_call(store, "a", &options, &out);

    set(store, "a", 1);
    CHECK_OK(cop_store_poll(store));
    ck_assert_str_eq(t_told(asked), "");
    ck_assert_str_eq(t_heard(&out), "");
    set(store, "a", 2);
    cop_watch_resume(called);
    cop_watch_resume(called);
    cop_watch_resume(asked);
    CHECK_OK(cop_store_poll(store));
    ck_assert_str_eq(t_told(asked), "(0,2] +a:2");
    ck_assert_str_eq(t_heard(&out), "(0,2] +a:2");
    set(store, "a", 3);
    cop_watch_pause(called); /* due, but not told yet */
    CHECK_OK(cop_store_poll(store));
    cop_watch_resume(called);
    cop_watch_pause(called);
    CHECK_OK(cop_store_poll(store));
    ck_assert_uint_eq(cop_watch_told(called), 2);
    cop_watch_close(called);
    cop_watch_close(asked);
    t_close(store);
}
END_TEST

typedef struct self {
    t_text out;
    bool close;
    unsigned destroyed;
} self;

static void
self_destroy(void *context)
{
    self *s = context;
    s->destroyed++;
}

static void
pause_or_close(void *context, cop_watch *watch, cop_watch_batch *batch)
{
    self *s = context;

    t_print_batch(&s->out, batch);
    CHECK_OK(cop_store_poll(cop_snapshot_store(batch->now))); /* serves nobody from here */
    if (s->close)
        cop_watch_close(watch);
    else
        cop_watch_pause(watch);
    ck_assert_uint_eq(s->destroyed, 0);
}

START_TEST(from_inside)
{
    cop_store *store = t_open();
    self s = {.close = false};
    cop_watch_options options = COP_WATCH_OPTIONS_INIT;
    options.destroy = self_destroy;
    cop_watch *watch;

    CHECK_OK(cop_watch_open(store, P("a"), &options, pause_or_close, &s, &watch, NULL));
    set(store, "a", 1);
    CHECK_OK(cop_store_poll(store));
    ck_assert_str_eq(t_heard(&s.out), "(0,1] +a:1");
    set(store, "a", 2);
    CHECK_OK(cop_store_poll(store));
    ck_assert_str_eq(t_heard(&s.out), "(0,1] +a:1");
    s.close = true;
    cop_watch_resume(watch);
    CHECK_OK(cop_store_poll(store));
    ck_assert_str_eq(t_heard(&s.out), "(1,2] =a:1>2");
    ck_assert_uint_eq(s.destroyed, 1);
    set(store, "a", 3);
    CHECK_OK(cop_store_poll(store));
    t_close(store);
}
END_TEST

static void *
close_it(void *watch)
{
    cop_watch_close(watch);
    return NULL;
}

/* Closing waits for a call under way, or does not. */
START_TEST(closing_waits)
{
    cop_store *store = t_open();
    cop_pool *pool = pool_with(store, 2);
    stuck s = {0, 0};
    cop_watch_options options = COP_WATCH_OPTIONS_INIT;
    cop_watch *watch;
    pthread_t thread;

    CHECK_OK(cop_watch_open(store, P("a"), NULL, hang, &s, &watch, NULL));
    set(store, "a", 1);
    ck_assert(eventually(&s.in, 1));
    ck_assert_int_eq(pthread_create(&thread, NULL, close_it, watch), 0);
    ck_assert(!is_readable(-1, 20));
    ck_assert_int_ne(pthread_tryjoin_np(thread, NULL), 0);
    atomic_store(&s.go, 1);
    pthread_join(thread, NULL);
    options.close_at_once = true;
    atomic_store(&s.go, 0);
    CHECK_OK(cop_watch_open(store, P("a"), &options, hang, &s, &watch, NULL));
    set(store, "a", 2);
    ck_assert(eventually(&s.in, 2));
    cop_watch_close(watch);
    atomic_store(&s.go, 1);
    CHECK_OK(cop_store_set_pool(store, NULL));
    cop_pool_close(pool); /* with all its tasks */
    t_close(store);
}
END_TEST

typedef struct asker {
    cop_watch *watch;
    cop_status status;
    _Atomic uint64_t in;
} asker;

static void *
ask_for_ever(void *context)
{
    asker *a = context;
    cop_watch_batch batch;

    atomic_store(&a->in, 1);
    a->status = cop_watch_next(a->watch, COP_FOREVER, &batch);
    cop_watch_batch_end(&batch);
    return NULL;
}

static asker
ask_and(cop_store *store, void (*then)(cop_store *, cop_watch *))
{
    asker a = {t_watch(store, "a"), COP_OK, 0};
    pthread_t thread;

    ck_assert_int_eq(pthread_create(&thread, NULL, ask_for_ever, &a), 0);
    ck_assert(eventually(&a.in, 1));
    usleep(20000);
    then(store, a.watch);
    pthread_join(thread, NULL);
    return a;
}

static void
then_close(cop_store *store, cop_watch *watch)
{
    (void)store;
    cop_watch_close(watch);
}

static void
then_write(cop_store *store, cop_watch *watch)
{
    (void)watch;
    set(store, "a", 1);
}

static void
then_close_store(cop_store *store, cop_watch *watch)
{
    (void)watch;
    cop_store_close(store);
}

START_TEST(asking_waits)
{
    cop_store *store = t_open();
    cop_watch_batch batch;

    CHECK_STATUS(ask_and(store, then_close).status, COP_E_STATE);
    asker a = ask_and(store, then_write);
    CHECK_STATUS(a.status, COP_OK);
    uint64_t begin = cop_deadline_in_ms(0);
    CHECK_STATUS(cop_watch_next(a.watch, cop_deadline_in_ms(30), &batch), COP_E_TIMEOUT);
    ck_assert_uint_ge(cop_deadline_in_ms(0), begin + 30000000);
    cop_watch_close(a.watch);
    a = ask_and(store, then_close_store);
    CHECK_STATUS(a.status, COP_E_CLOSING);
    cop_watch_close(a.watch);
    t_all_released();
}
END_TEST

/* ---- windows ---- */

START_TEST(windows)
{
    cop_store *store = t_open();
    cop_watch_options options = COP_WATCH_OPTIONS_INIT;
    options.max_delay_ns = HOUR_NS;
    cop_watch *hourly = t_watch_with(store, "a", &options);
    options.max_delay_ns = UINT64_MAX - 1;
    cop_watch *never = t_watch_with(store, "a", &options);
    options.max_delay_ns = 0;
    options.min_interval_ns = HOUR_NS;
    cop_watch *seldom = t_watch_with(store, "a", &options);
    cop_watch_batch batch;

    set(store, "a", 1);
    ck_assert_str_eq(t_told(seldom), "(0,1] +a:1"); /* the first one at once */
    set(store, "a", 2);
    ck_assert_str_eq(t_told(seldom), "");
    ck_assert_str_eq(t_told(hourly), "");
    ck_assert_str_eq(t_told(never), "");
    options.min_interval_ns = FRAME_NS;
    options.max_delay_ns = FRAME_NS;
    cop_watch *frames = t_watch_with(store, "a", &options);
    uint64_t last = 0;
    for (int i = 10; i < 15; i++) {
        set(store, "a", i);
        CHECK_OK(cop_watch_next(frames, COP_FOREVER, &batch));
        uint64_t frame = cop_deadline_in_ms(0) / FRAME_NS;
        ck_assert_uint_gt(frame, last);
        last = frame;
        cop_watch_batch_end(&batch);
    }
    cop_watch_close(hourly);
    cop_watch_close(never);
    cop_watch_close(seldom);
    set(store, "a", 20);
    CHECK_OK(cop_watch_next(frames, COP_FOREVER, &batch));
    cop_watch_batch_end(&batch);
    cop_watch_close(frames);
    t_close(store);
}
END_TEST

/* A worker wakes by itself when something is due. */
START_TEST(windows_with_a_pool)
{
    cop_store *store = t_open();
    cop_pool *pool = pool_with(store, 2);
    cop_watch_options options = COP_WATCH_OPTIONS_INIT;
    _Atomic uint64_t to = 0;
    cop_watch *watch;

    options.min_interval_ns = FRAME_NS;
    options.max_delay_ns = FRAME_NS;
    CHECK_OK(cop_watch_open(store, P("a"), &options, count_calls, &to, &watch, NULL));
    for (int i = 1; i < 6; i++) {
        set(store, "a", i);
        ck_assert(eventually(&to, (uint64_t)i));
    }
    cop_watch_close(watch);
    cop_store_close(store);
    cop_pool_close(pool);
    t_all_released();
}
END_TEST

/* ---- refusals ---- */

static cop_status
try_inside(cop_evaluation *e, void *context, cop_value *result)
{
    cop_store *store = ((void **)context)[0];
    cop_watch *watch = ((void **)context)[1], *another = watch;
    cop_watch_batch batch;
    int fd;

    (void)e;
    CHECK_STATUS(cop_watch_open(store, P(""), NULL, NULL, NULL, &another, NULL),
                 COP_E_IN_EVALUATION);
    ck_assert_ptr_null(another);
    CHECK_STATUS(cop_watch_next(watch, 0, &batch), COP_E_IN_EVALUATION);
    CHECK_STATUS(cop_watch_fd(watch, &fd), COP_E_IN_EVALUATION);
    cop_watch_close(watch); /* does nothing */
    *result = cop_i64(1);
    return COP_OK;
}

START_TEST(refusals)
{
    cop_store *store = t_open();
    cop_watch_options options = COP_WATCH_OPTIONS_INIT;
    cop_watch *watch;
    cop_watch_batch batch;
    cop_error error = COP_ERROR_INIT;
    int fd;

    CHECK_STATUS(cop_watch_open(store, P("a//b"), NULL, NULL, NULL, &watch, &error), COP_E_PATH);
    ck_assert_ptr_null(watch);
    options.size = 1;
    CHECK_STATUS(cop_watch_open(store, P("a"), &options, NULL, NULL, &watch, &error),
                 COP_E_INVALID);
    options.size = sizeof options + 1;
    CHECK_STATUS(cop_watch_open(store, P("a"), &options, NULL, NULL, &watch, &error),
                 COP_E_INVALID);
    options.size = sizeof options;
    options.overflow = (cop_watch_overflow)7;
    CHECK_STATUS(cop_watch_open(store, P("a"), &options, NULL, NULL, &watch, &error),
                 COP_E_INVALID);
    CHECK_STATUS(cop_watch_open_atom(store, (cop_atom){5, 0}, NULL, NULL, NULL, &watch, &error),
                 COP_E_INVALID);
    CHECK_STATUS(
        cop_watch_open_atom(store, (cop_atom){5, 1 << 16}, NULL, NULL, NULL, &watch, &error),
        COP_E_INVALID);
    cop_watch_close(NULL);
    CHECK_OK(cop_watch_open(store, NULL, 0, NULL, NULL, NULL, &watch, &error));
    void *both[] = {store, watch};
    CHECK_OK(cop_computed_define(store, P("c"), try_inside, both, NULL, NULL, NULL));
    cop_watch *other = t_watch(store, "b");
    CHECK_OK(cop_watch_fd(other, &fd));
    cop_store_close(store);
    ck_assert(is_readable(fd, 0));
    CHECK_STATUS(cop_watch_next(watch, 0, &batch), COP_E_CLOSING);
    CHECK_STATUS(cop_watch_fd(watch, &fd), COP_E_CLOSING);
    cop_watch_pause(watch);
    cop_watch_close(watch);
    cop_watch_close(other);
    t_all_released();
}
END_TEST

/* A store that closes tells nothing more: not what is due, nor what will be. */
START_TEST(closing_the_store)
{
    cop_store *store = t_open();
    cop_watch_options options = COP_WATCH_OPTIONS_INIT;
    self s = {.close = false};
    t_text a, b;
    cop_watch *now = t_watch_call(store, "a", NULL, &a),
              *paused = t_watch_call(store, "a", NULL, &a);
    options.max_delay_ns = HOUR_NS;
    options.destroy = self_destroy;
    cop_watch *later, *idle = t_watch_call(store, "b", NULL, &b);

    CHECK_OK(cop_watch_open(store, P("a"), &options, pause_or_close, &s, &later, NULL));
    set(store, "a", 1);
    cop_watch_pause(paused);
    cop_watch *asked = t_watch(store, ""); /* makes a pass */
    set(store, "a", 2);
    ck_assert_str_eq(t_told(asked), "(1,2] =a:1>2");
    cop_store_close(store);
    ck_assert_str_eq(t_heard(&a), "");
    cop_watch_resume(paused);
    cop_watch_close(now);
    cop_watch_close(later);
    ck_assert_uint_eq(s.destroyed, 1);
    cop_watch_close(paused);
    cop_watch_close(asked);
    ck_assert_uint_eq(atomic_load(&t_faults.destroyed), 0);
    cop_watch_close(idle); /* the last use of the store */
    t_all_released();
}
END_TEST

/* In a child nothing of the parent's can be asked, and nothing is freed. */
START_TEST(forking)
{
    cop_store *store = t_open();
    cop_watch *watch = t_watch(store, ""), *another;
    cop_watch_batch batch, other;
    cop_scope *scope;
    int fd, status;

    CHECK_OK(cop_scope_open(NULL, &scope));
    set(store, "a", 1);
    CHECK_OK(cop_watch_next(watch, 0, &batch));
    pid_t child = fork();
    if (child == 0) {
        bool right =
            cop_watch_open(store, P(""), NULL, NULL, NULL, &another, NULL) == COP_E_FORKED &&
            cop_watch_next(watch, 0, &other) == COP_E_FORKED &&
            cop_watch_fd(watch, &fd) == COP_E_FORKED && cop_watch_told(watch) == 0 &&
            cop_scope_add_watch(scope, watch) == COP_E_FORKED;
        cop_watch_pause(watch);
        cop_watch_batch_end(&batch);
        cop_watch_close(watch);
        t_exit_child(right ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    cop_watch_batch_end(&batch);
    cop_watch_close(watch);
    cop_scope_dispose(scope);
    t_close(store);
}
END_TEST

static void
write_another(void *context, cop_watch *watch, cop_watch_batch *batch)
{
    stuck *s = context;

    (void)watch;
    set(cop_snapshot_store(batch->now), "b", (int64_t)batch->to);
    atomic_store(&s->in, batch->to);
}

START_TEST(writing_inside)
{
    cop_store *store = t_open();
    cop_pool *pool = pool_with(store, 1);
    stuck s = {0, 0};
    _Atomic uint64_t to = 0;
    cop_watch *writes, *other;

    CHECK_OK(cop_watch_open(store, P("a"), NULL, write_another, &s, &writes, NULL));
    CHECK_OK(cop_watch_open(store, P("b"), NULL, count_calls, &to, &other, NULL));
    for (uint64_t i = 1; i < 20; i++) {
        set(store, "a", (int64_t)i);
        ck_assert(eventually(&to, 2 * i));
    }
    cop_watch_close(writes);
    cop_watch_close(other);
    cop_store_close(store);
    cop_pool_close(pool);
    t_all_released();
}
END_TEST

/* One that has been told waits for its next time. */
START_TEST(an_interval)
{
    cop_store *store = t_open();
    t_text out;
    cop_watch_options options = COP_WATCH_OPTIONS_INIT;
    int fd;

    options.min_interval_ns = FRAME_NS;
    cop_watch *watch = t_watch_call(store, "", &options, &out), *asked = t_watch(store, "b");
    CHECK_OK(cop_store_fd(store, &fd));
    for (int i = 1; i < 10; i++) {
        set(store, "a", i);
        for (uint64_t end = cop_deadline_in_ms(20000); cop_watch_told(watch) < (uint64_t)i;) {
            ck_assert(is_readable(fd, 10000) && cop_deadline_in_ms(0) < end);
            CHECK_OK(cop_store_poll(store));
        }
    }
    set(store, "a", 100);
    CHECK_OK(cop_store_poll(store));
    cop_watch_close(watch); /* waits for its time, perhaps */
    set(store, "a", 101);
    cop_watch_close(asked);
    CHECK_OK(cop_store_poll(store)); /* asked for what nobody watches */
    t_close(store);
}
END_TEST

/* A function that polls another store, whose function comes back to the first one. */
typedef struct nested {
    cop_store *store;  /* to poll */
    cop_watch *closes; /* may be NULL */
    unsigned calls;
} nested;

static void
poll_another(void *context, cop_watch *watch, cop_watch_batch *batch)
{
    nested *n = context;

    (void)watch;
    (void)batch;
    n->calls++;
    CHECK_OK(cop_store_poll(n->store));
    cop_watch_close(n->closes);
}

START_TEST(two_stores)
{
    cop_store *outer = t_open(), *inner;
    nested o = {.calls = 0}, i = {.store = outer};
    cop_watch *waits, *second;
    t_text out;

    CHECK_OK(cop_store_open(NULL, &inner, NULL));
    o.store = inner;
    CHECK_OK(cop_watch_open(outer, P("a"), NULL, poll_another, &o, &i.closes, NULL));
    CHECK_OK(cop_watch_open(inner, P("a"), NULL, poll_another, &i, &waits, NULL));
    second = t_watch_call(outer, "a", NULL, &out);
    set(inner, "a", 1);
    set(outer, "a", 1);
    CHECK_OK(cop_store_poll(outer));
    ck_assert_uint_eq(o.calls, 1);
    ck_assert_uint_eq(i.calls, 1);
    ck_assert_str_eq(t_heard(&out), "(0,1] +a:1");
    cop_watch_close(waits);
    cop_watch_close(second);
    cop_store_close(inner);
    t_close(outer);
}
END_TEST

static void
block(void *context)
{
    hang(context, NULL, NULL);
}

static _Atomic uint64_t until_alone_in;

static void
until_alone(void *pool)
{
    atomic_store(&until_alone_in, 1);
    while (cop_pool_threads(pool) > 0)
        sched_yield();
}

static void
write_and_resize(void *context, cop_watch *watch, cop_watch_batch *batch)
{
    (void)watch;
    set(cop_snapshot_store(batch->now), "b", (int64_t)batch->to);
    CHECK_OK(cop_pool_resize(context, 0)); /* and is given what the pool has not begun */
}

/* Who works for the pool in a function may be given the task to serve: it leaves that for later. */
START_TEST(given_the_task)
{
    cop_store *store = t_open();
    cop_pool *pool = pool_with(store, 1);
    _Atomic uint64_t to = 0;
    cop_watch *writes, *other;

    CHECK_OK(cop_pool_submit(pool, until_alone, pool));
    ck_assert(eventually(&until_alone_in, 1));
    CHECK_OK(cop_watch_open(store, P("a"), NULL, write_and_resize, pool, &writes, NULL));
    CHECK_OK(cop_watch_open(store, P("b"), NULL, count_calls, &to, &other, NULL));
    set(store, "a", 1);
    for (uint64_t end = cop_deadline_in_ms(20000);
         atomic_load(&to) < 2 && cop_deadline_in_ms(0) < end;)
        CHECK_OK(cop_store_poll(store));
    ck_assert_uint_eq(atomic_load(&to), 2);
    cop_watch_close(writes);
    cop_watch_close(other);
    cop_store_close(store);
    cop_pool_close(pool);
    t_all_released();
}
END_TEST

/* With one thread elsewhere the other calls both; what the first one writes is not due yet, but who
 * has a descriptor learns of it before the second one is called, which may hang. */
START_TEST(before_a_call)
{
    cop_store *store = t_open();
    cop_pool *pool = pool_with(store, 2);
    stuck elsewhere = {0, 0}, s = {0, 0};
    cop_watch_options options = COP_WATCH_OPTIONS_INIT;
    cop_watch *writes, *hangs, *asked;
    int fd;

    CHECK_OK(cop_pool_submit(pool, block, &elsewhere));
    ck_assert(eventually(&elsewhere.in, 1));
    options.max_delay_ns = 5 * FRAME_NS;
    CHECK_OK(cop_watch_open(store, P("a"), &options, hang, &s, &hangs, NULL));
    stuck w = {0, 0};
    CHECK_OK(cop_watch_open(store, P("a"), &options, write_another, &w, &writes, NULL));
    CHECK_OK(cop_watch_open(store, P("b"), &options, NULL, NULL, &asked, NULL));
    CHECK_OK(cop_watch_fd(asked, &fd));
    set(store, "a", 1);
    ck_assert(eventually(&w.in, 1));
    ck_assert(eventually(&s.in, 1));
    ck_assert(is_readable(fd, 10000));
    atomic_store(&s.go, 1);
    atomic_store(&elsewhere.go, 1);
    cop_watch_close(writes);
    cop_watch_close(hangs);
    cop_watch_close(asked);
    cop_store_close(store);
    cop_pool_close(pool);
    t_all_released();
}
END_TEST

START_TEST(scopes)
{
    cop_store *store = t_open();
    cop_scope *scope;
    self s = {.close = false};
    cop_watch_options options = COP_WATCH_OPTIONS_INIT;
    options.destroy = self_destroy;
    cop_watch *watch;

    CHECK_OK(cop_scope_open(NULL, &scope));
    CHECK_OK(cop_watch_open(store, P("a"), &options, pause_or_close, &s, &watch, NULL));
    CHECK_OK(cop_scope_add_watch(scope, watch));
    set(store, "a", 1);
    cop_scope_dispose(scope);
    ck_assert_uint_eq(s.destroyed, 1);
    CHECK_OK(cop_store_poll(store));
    ck_assert_str_eq(t_heard(&s.out), "");
    t_close(store);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("watch_serve");
    TCase *tcase = tcase_create("watch_serve");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, by_polling);
    tcase_add_test(tcase, store_descriptor);
    tcase_add_test(tcase, by_pool);
    tcase_add_test(tcase, a_stuck_one);
    tcase_add_test(tcase, a_descriptor);
    tcase_add_test(tcase, many_descriptors);
    tcase_add_test(tcase, a_descriptor_with_a_pool);
    tcase_add_test(tcase, pausing);
    tcase_add_test(tcase, from_inside);
    tcase_add_test(tcase, closing_waits);
    tcase_add_test(tcase, asking_waits);
    tcase_add_test(tcase, windows);
    tcase_add_test(tcase, windows_with_a_pool);
    tcase_add_test(tcase, refusals);
    tcase_add_test(tcase, scopes);
    tcase_add_test(tcase, a_stuck_pool);
    tcase_add_test(tcase, closing_the_store);
    tcase_add_test(tcase, forking);
    tcase_add_test(tcase, writing_inside);
    tcase_add_test(tcase, an_interval);
    tcase_add_test(tcase, two_stores);
    tcase_add_test(tcase, given_the_task);
    tcase_add_test(tcase, before_a_call);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}

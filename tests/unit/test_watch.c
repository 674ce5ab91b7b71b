/* SPDX-License-Identifier: MIT */
/* What watchers are told: of atoms, branches, patterns, handles; by asking, by function, by descriptor. */
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include "tests/support/watch_test.h"

static void
set(cop_store *store, const char *path, int64_t value)
{
    t_set_at(store, path, cop_i64(value));
}

START_TEST(an_atom)
{
    cop_store *store = t_open();
    set(store, "a", 1);
    cop_watch *watch = t_watch(store, "a");

    ck_assert_uint_eq(cop_watch_told(watch), 1);
    ck_assert_str_eq(t_told(watch), "");
    set(store, "a", 2);
    ck_assert_str_eq(t_told(watch), "(1,2] =a:1>2");
    ck_assert_str_eq(t_told(watch), "");
    ck_assert_uint_eq(cop_watch_told(watch), 2);
    set(store, "b", 1); /* another one */
    ck_assert_str_eq(t_told(watch), "");
    set(store, "a", 3);
    set(store, "a", 4);
    ck_assert_str_eq(t_told(watch), "(2,5] =a:2>4");
    set(store, "a", 5);
    set(store, "a", 4); /* as it was */
    ck_assert_str_eq(t_told(watch), "");
    t_erase_at(store, "a");
    ck_assert_str_eq(t_told(watch), "(5,8] -a:4");
    set(store, "a", 6);
    ck_assert_str_eq(t_told(watch), "(8,9] +a:6");
    t_erase_at(store, "a");
    set(store, "a", 7); /* another atom of that name */
    ck_assert_str_eq(t_told(watch), "(9,11] -a:6 +a:7");
    cop_watch_close(watch);
    t_close(store);
}
END_TEST

START_TEST(a_branch)
{
    cop_store *store = t_open();
    cop_watch *watch = t_watch(store, "host"), *all = t_watch(store, "");
    cop_watch_options options = COP_WATCH_OPTIONS_INIT;
    options.only_itself = true;
    cop_watch *itself = t_watch_with(store, "host", &options);
    cop_watch *root = t_watch_with(store, "", &options);

    set(store, "host/mem/free", 1); /* branches first, though ids may say otherwise */
    ck_assert_str_eq(t_told(watch), "(0,1] +host:{} +host/mem:{} +host/mem/free:1");
    ck_assert_str_eq(t_told(all), "(0,1] +host:{} +host/mem:{} +host/mem/free:1");
    ck_assert_str_eq(t_told(itself), "(0,1] +host:{}");
    set(store, "host/mem/free", 2);
    set(store, "hosts", 1); /* a name that begins like it */
    ck_assert_str_eq(t_told(watch), "(1,3] =host/mem/free:1>2");
    ck_assert_str_eq(t_told(itself), "");
    t_erase_at(store, "host");
    ck_assert_str_eq(t_told(watch), "(3,4] -host/mem/free:2 -host/mem:{} -host:{}");
    ck_assert_str_eq(t_told(itself), "(1,4] -host:{}");
    ck_assert_str_eq(t_told(all), "(1,4] -host/mem/free:1 -host/mem:{} -host:{} +hosts:1");
    ck_assert_str_eq(t_told(root), "");
    set(store, "host", 5);
    t_set_at(store, "host", cop_object());
    set(store, "host/x", 6);
    ck_assert_str_eq(t_told(watch), "(4,7] +host:{} +host/x:6");
    t_set_at(store, "host/x", cop_array());
    ck_assert_str_eq(t_told(watch), "(7,8] =host/x:6>[]");
    cop_watch_close(watch);
    cop_watch_close(all);
    cop_watch_close(itself);
    cop_watch_close(root);
    t_close(store);
}
END_TEST

START_TEST(a_pattern)
{
    cop_store *store = t_open();
    cop_watch *rss = t_watch(store, "procs/*/rss"), *any = t_watch(store, "*/1");
    cop_watch_options options = COP_WATCH_OPTIONS_INIT;
    options.only_itself = true;
    cop_watch *one = t_watch_with(store, "procs/*", &options);

    set(store, "procs/1/rss", 10);
    set(store, "procs/1/cpu", 11);
    set(store, "procs/2/rss", 20);
    ck_assert_str_eq(t_told(rss), "(0,3] +procs/1/rss:10 +procs/2/rss:20");
    ck_assert_str_eq(t_told(any), "(0,3] +procs/1:{} +procs/1/rss:10 +procs/1/cpu:11");
    ck_assert_str_eq(t_told(one), "(0,3] +procs/1:{} +procs/2:{}");
    set(store, "procs/2/rss", 21);
    t_erase_at(store, "procs/1");
    ck_assert_str_eq(t_told(rss), "(3,5] -procs/1/rss:10 =procs/2/rss:20>21");
    ck_assert_str_eq(t_told(one), "(3,5] -procs/1:{}");
    cop_watch_close(rss);
    cop_watch_close(any);
    cop_watch_close(one);
    t_close(store);
}
END_TEST

#define HOUR_NS UINT64_C(3600000000000)
#define FRAME_NS UINT64_C(20000000)

static cop_atom
element(cop_store *store, const char *path, uint32_t place)
{
    const cop_snapshot *snapshot = t_take(store);
    cop_atom array, atom;

    CHECK_OK(cop_find(snapshot, P(path), &array));
    CHECK_OK(cop_child_at(snapshot, array, place, &atom));
    cop_snapshot_drop(snapshot);
    return atom;
}

static void
insert(cop_store *store, const char *path, uint32_t place, cop_value value)
{
    cop_txn *txn = t_begin(store);
    cop_atom made;

    CHECK_OK(cop_txn_insert(txn, t_find(store, path), place, &value, &made));
    t_commit(txn);
}

/* Paths through arrays are put together: those of what is gone from the version where it was. */
START_TEST(an_array)
{
    cop_store *store = t_open();
    t_set_at(store, "a", cop_array());
    cop_watch *watch = t_watch(store, "a");

    insert(store, "a", 0, cop_i64(1));
    ck_assert_str_eq(t_told(watch), "(1,2] +a/0:1 #a");
    insert(store, "a", 0, cop_object());
    set(store, "a/0/x", 5);
    ck_assert_str_eq(t_told(watch), "(2,4] +a/0:{} +a/0/x:5 #a");
    cop_atom first = element(store, "a", 0), second = element(store, "a", 1);
    cop_watch *moved = NULL, *below = NULL;
    CHECK_OK(cop_watch_open_atom(store, second, NULL, NULL, NULL, &moved, NULL));
    CHECK_OK(cop_watch_open_atom(store, first, NULL, NULL, NULL, &below, NULL));
    insert(store, "a", 0, cop_i64(9));
    ck_assert_str_eq(t_told(watch), "(4,5] +a/0:9 #a");
    t_set(store, second, cop_i64(2));
    set(store, "a/1/x", 6);
    ck_assert_str_eq(t_told(moved), "(4,7] =a/2:1>2");
    ck_assert_str_eq(t_told(below), "(4,7] =a/1/x:5>6");
    t_erase(store, first);
    ck_assert_str_eq(t_told(below), "(7,8] -a/1/x:6 -a/1:{}");
    ck_assert_str_eq(t_told(moved), "");
    ck_assert_str_eq(t_told(watch), "(5,8] -a/1/x:5 -a/1:{} =a/1:1>2 #a");
    cop_watch_close(watch);
    cop_watch_close(moved);
    cop_watch_close(below);
    t_close(store);
}
END_TEST

START_TEST(anonymous)
{
    cop_store *store = t_open();
    cop_txn *txn = t_begin(store);
    cop_atom made;
    cop_value one = cop_i64(1);
    CHECK_OK(cop_txn_create(txn, &one, &made));
    t_commit(txn);
    cop_watch *watch = NULL, *all = t_watch(store, "");
    CHECK_OK(cop_watch_open_atom(store, made, NULL, NULL, NULL, &watch, NULL));
    t_set(store, made, cop_i64(2));
    t_text want = {.used = 0};
    t_print(&want, "(1,2] =(%u):1>2", made.id);
    ck_assert_str_eq(t_told(watch), want.text);
    ck_assert_str_eq(t_told(all), ""); /* it has no place in the tree */
    t_erase(store, made);
    want.used = 0;
    t_print(&want, "(2,3] -(%u):2", made.id);
    ck_assert_str_eq(t_told(watch), want.text);
    cop_watch_close(watch);
    cop_watch_close(all);
    t_close(store);
}
END_TEST

START_TEST(values_of_all_kinds)
{
    cop_store *store = t_open();
    cop_watch *watch = t_watch(store, "a");
    char text[100], more[100];
    memset(text, 'x', sizeof text);
    memset(more, 'y', sizeof more);

    t_set_at(store, "a", cop_string(text, 20));
    ck_assert_str_eq(t_told(watch), "(0,1] +a:'xxxxxxxxxxxxxxxxxxxx'");
    t_set_at(store, "a", cop_string(more, 20));
    t_set_at(store, "a", cop_string(text, 20));
    ck_assert_str_eq(t_told(watch), ""); /* the same bytes elsewhere */
    t_set_at(store, "a", cop_string(more, 20));
    ck_assert_str_eq(t_told(watch), "(1,4] =a:'xxxxxxxxxxxxxxxxxxxx'>'yyyyyyyyyyyyyyyyyyyy'");
    cop_watch_close(watch);
    t_close(store);
}
END_TEST

/* A batch leads to both versions, and outlives the watcher and the store. */
START_TEST(a_batch)
{
    cop_store *store = t_open();
    set(store, "a", 1);
    cop_watch *watch = t_watch(store, "");
    cop_watch_batch batch, none;
    cop_change change;
    cop_value value;

    set(store, "a", 2);
    set(store, "b", 3);
    CHECK_OK(cop_watch_next(watch, COP_FOREVER, &batch));
    CHECK_STATUS(cop_watch_next(watch, 0, &none), COP_E_TIMEOUT);
    ck_assert_ptr_null(none.now);
    ck_assert_uint_eq(none.count, 0);
    set(store, "a", 4);
    cop_watch_close(watch);
    ck_assert_uint_eq(batch.count, 2);
    ck_assert(cop_watch_change(&batch, &change));
    ck_assert_int_eq(change.kind, COP_CHANGE_VALUE);
    ck_assert(cop_watch_change(&batch, &change));
    ck_assert(!cop_watch_change(&batch, &change));
    cop_watch_rewind(&batch);
    ck_assert(cop_watch_change(&batch, &change));
    ck_assert_mem_eq(change.path, "a", change.path_length);
    CHECK_OK(cop_get(batch.before, change.atom, &value));
    ck_assert_int_eq(cop_value_i64(&value), 1);
    cop_store_close(store);
    CHECK_OK(cop_get(batch.now, change.atom, &value));
    ck_assert_int_eq(cop_value_i64(&value), 2);
    cop_watch_batch_end(&batch);
    cop_watch_batch_end(&batch); /* zeroed */
    t_all_released();
}
END_TEST

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

/* ---- falling behind ---- */

START_TEST(overflow)
{
    cop_store *store = t_open();
    cop_watch_options options = COP_WATCH_OPTIONS_INIT;
    options.paused = true;
    cop_watch *net = t_watch_with(store, "", &options);
    options.overflow = COP_WATCH_GAP;
    options.bound = 3;
    cop_watch *gap = t_watch_with(store, "", &options);
    cop_watch *eager = t_watch(store, "");
    cop_watch_batch batch;
    cop_value value;

    for (int i = 1; i <= 3; i++) {
        set(store, "a", i);
        (void)t_told(eager); /* makes a pass */
    }
    cop_watch_resume(gap);
    ck_assert_str_eq(t_told(gap), "(0,3] +a:3");
    cop_watch_pause(gap);
    for (int i = 4; i <= 8; i++) {
        set(store, "a", i);
        (void)t_told(eager);
    }
    cop_watch_resume(gap);
    CHECK_OK(cop_watch_next(gap, 0, &batch));
    ck_assert(batch.gap);
    ck_assert_uint_eq(batch.from, 3);
    ck_assert_uint_eq(batch.to, 8);
    ck_assert_ptr_null(batch.before);
    CHECK_OK(cop_get_at(batch.now, P("a"), &value));
    ck_assert_int_eq(cop_value_i64(&value), 8);
    cop_watch_batch_end(&batch);
    ck_assert_str_eq(t_told(gap), "");
    set(store, "a", 9);
    ck_assert_str_eq(t_told(gap), "(8,9] =a:8>9");
    cop_watch_resume(net);
    ck_assert_str_eq(t_told(net), "(0,9] +a:9");
    cop_watch_close(net);
    cop_watch_close(gap);
    cop_watch_close(eager);
    t_close(store);
}
END_TEST

/* ---- coming back ---- */

static void
resume_writes(cop_store *store, cop_watch *keeper)
{
    set(store, "a/x", 1);
    set(store, "a/y", 1);
    t_set_at(store, "a/l", cop_array());
    (void)t_told(keeper); /* 3 */
    set(store, "a/x", 2);
    set(store, "a/new", 1);
    set(store, "a/short", 1);
    insert(store, "a/l", 0, cop_i64(1));
    (void)t_told(keeper); /* 7 */
    t_erase_at(store, "a/y");
    t_erase_at(store, "a/short");
    set(store, "b", 1);
    (void)t_told(keeper); /* 10 */
}

START_TEST(resuming)
{
    cop_store *store = t_open();
    cop_watch *keeper = t_watch(store, "");

    set(store, "since", 0);
    (void)t_told(keeper);
    resume_writes(store, keeper);
    cop_watch_options options = COP_WATCH_OPTIONS_INIT;
    options.since = 4;
    cop_watch *watch = t_watch_with(store, "a", &options);
    ck_assert_str_eq(t_told(watch), "(4,11] -a/y:? =a/x:?>2 +a/new:1 +a/l/0:1 #a/l");
    set(store, "a/x", 3);
    ck_assert_str_eq(t_told(watch), "(11,12] =a/x:2>3");
    cop_watch_close(watch);
    options.since = 4;
    options.only_itself = true;
    watch = t_watch_with(store, "a/y", &options);
    ck_assert_str_eq(t_told(watch), "(4,12] -a/y:?");
    cop_watch_close(watch);
    watch = t_watch_with(store, "zzz", &options);
    ck_assert_str_eq(t_told(watch), "");
    set(store, "zzz", 1);
    ck_assert_str_eq(t_told(watch), "(4,13] +zzz:1");
    cop_watch_close(watch);
    options.since = 5; /* no boundary of what was told */
    watch = t_watch_with(store, "a/y", &options);
    ck_assert_str_eq(t_told(watch), "(5,13] gap");
    cop_watch_close(watch);
    options.since = 99; /* of another life of the store */
    watch = t_watch_with(store, "a/y", &options);
    ck_assert_str_eq(t_told(watch), "(0,13] gap");
    cop_watch_close(watch);
    options.since = 12;
    CHECK_OK(cop_watch_open_atom(store, t_find(store, "a/x"), &options, NULL, NULL, &watch, NULL));
    ck_assert_str_eq(t_told(watch), "");
    cop_watch_close(watch);
    options.since = 7;
    options.only_itself = false;
    CHECK_OK(cop_watch_open_atom(store, t_find(store, "a"), &options, NULL, NULL, &watch, NULL));
    ck_assert_str_eq(t_told(watch), "(7,13] gap"); /* not known of handles */
    cop_watch_close(watch);
    cop_watch_close(keeper);
    t_close(store);
}
END_TEST

/* What changes before the beginning is told comes after it. */
START_TEST(resuming_late)
{
    cop_store *store = t_open();
    cop_watch *keeper = t_watch(store, "");
    cop_watch_options options = COP_WATCH_OPTIONS_INIT;

    set(store, "a", 1);
    (void)t_told(keeper);
    set(store, "a", 2);
    (void)t_told(keeper);
    options.since = 1;
    cop_watch *watch = t_watch_with(store, "a", &options);
    options.overflow = COP_WATCH_GAP;
    options.paused = true;
    cop_watch *gap = t_watch_with(store, "a", &options);
    set(store, "a", 3);
    (void)t_told(keeper);
    ck_assert_str_eq(t_told(watch), "(1,2] =a:?>2 (2,3] =a:2>3");
    cop_watch_resume(gap);
    ck_assert_str_eq(t_told(gap), "(1,3] gap");
    cop_watch *late = t_watch_with(store, "a", &options);
    cop_watch_close(late); /* with all it was to be told */
    cop_watch_close(watch);
    cop_watch_close(gap);
    cop_watch_close(keeper);
    t_close(store);
}
END_TEST

/* The log is bounded. */
START_TEST(a_long_way_back)
{
    cop_store *store = t_open();
    cop_watch *keeper = t_watch(store, "");
    cop_watch_options options = COP_WATCH_OPTIONS_INIT;

    for (int i = 1; i <= 300; i++) {
        cop_txn *txn = t_begin(store);
        for (int k = 0; k < 300; k++) {
            char path[32];
            snprintf(path, sizeof path, "n/%d", k);
            cop_value value = cop_i64(i);
            CHECK_OK(cop_txn_set_at(txn, P(path), &value, NULL));
        }
        t_commit(txn);
        cop_watch_batch batch;
        CHECK_OK(cop_watch_next(keeper, 0, &batch));
        cop_watch_batch_end(&batch);
    }
    options.since = 10;
    cop_watch *watch = t_watch_with(store, "n/7", &options);
    ck_assert_str_eq(t_told(watch), "(10,300] gap");
    cop_watch_close(watch);
    options.since = 290;
    watch = t_watch_with(store, "n/7", &options);
    ck_assert_str_eq(t_told(watch), "(290,300] =n/7:?>300");
    cop_watch_close(watch);
    cop_watch_close(keeper);
    t_close(store);
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
    CHECK_STATUS(cop_watch_open(store, P("a"), &options, NULL, NULL, &watch, &error), COP_E_INVALID);
    options.size = sizeof options + 1;
    CHECK_STATUS(cop_watch_open(store, P("a"), &options, NULL, NULL, &watch, &error), COP_E_INVALID);
    options.size = sizeof options;
    options.overflow = (cop_watch_overflow)7;
    CHECK_STATUS(cop_watch_open(store, P("a"), &options, NULL, NULL, &watch, &error), COP_E_INVALID);
    CHECK_STATUS(cop_watch_open_atom(store, (cop_atom){5, 0}, NULL, NULL, NULL, &watch, &error),
                 COP_E_INVALID);
    CHECK_STATUS(cop_watch_open_atom(store, (cop_atom){5, 1 << 16}, NULL, NULL, NULL, &watch, &error),
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

/* The internal holds count against no limit, and idle watchers hold one version together. */
START_TEST(held_versions)
{
    cop_store *store;
    cop_options options = COP_OPTIONS_INIT;
    options.snapshots_max = 1;
    CHECK_OK(cop_store_open(&options, &store, NULL));
    cop_watch_options paused = COP_WATCH_OPTIONS_INIT;
    paused.paused = true;
    cop_watch *watch[40];

    for (int i = 0; i < 40; i++) {
        watch[i] = t_watch_with(store, "", &paused);
        set(store, "a", i);
    }
    const cop_snapshot *snapshot = t_take(store), *more;
    CHECK_STATUS(cop_snapshot_take(store, &more), COP_E_LIMIT);
    cop_snapshot_drop(snapshot);
    for (int i = 0; i < 40; i++) {
        cop_watch_resume(watch[i]);
        cop_watch_batch batch;
        CHECK_OK(cop_watch_next(watch[i], 0, &batch));
        ck_assert_uint_eq(batch.from, (uint64_t)i);
        ck_assert_uint_eq(batch.to, 40);
        cop_watch_batch_end(&batch);
        cop_watch_close(watch[i]);
    }
    cop_watch *again = t_watch(store, "a"); /* after all have gone */
    set(store, "a", 100);
    ck_assert_str_eq(t_told(again), "(40,41] =a:39>100");
    cop_watch_close(again);
    cop_store_close(store);
}
END_TEST

/* Many targets: the tables grow and shrink again. */
START_TEST(many)
{
    cop_store *store = t_open();
    cop_watch *watch[400], *handle[400];

    for (int i = 0; i < 400; i++) {
        char path[32];
        snprintf(path, sizeof path, "n%d/x", i);
        cop_atom atom = t_make(store, path, cop_i64(i));
        watch[i] = t_watch(store, path);
        CHECK_OK(cop_watch_open_atom(store, atom, NULL, NULL, NULL, &handle[i], NULL));
    }
    for (int i = 0; i < 400; i += 3) {
        char path[32];
        snprintf(path, sizeof path, "n%d/x", i);
        set(store, path, i + 1);
        t_text want = {.used = 0};
        uint64_t version = cop_store_version(store);
        t_print(&want, "%" PRIu64 "] =%s:%d>%d", version, path, i, i + 1);
        ck_assert_str_eq(strchr(t_told(watch[i]), ',') + 1, want.text);
        ck_assert_str_eq(strchr(t_told(handle[i]), ',') + 1, want.text);
        ck_assert_str_eq(t_told(watch[i + (i < 399)]), "");
    }
    for (int i = 0; i < 400; i++) {
        cop_watch_close(watch[i]);
        cop_watch_close(handle[399 - i]);
    }
    t_close(store);
}
END_TEST

int
main(void)
{
    const struct {
        const char *name;
        const TTest *test;
    } tests[] = {
#define T(name) {#name, name}
        T(an_atom), T(a_branch), T(a_pattern), T(an_array), T(anonymous), T(values_of_all_kinds),
        T(a_batch), T(by_polling), T(store_descriptor), T(by_pool), T(a_stuck_one),
        T(a_descriptor), T(a_descriptor_with_a_pool), T(pausing), T(from_inside), T(closing_waits),
        T(asking_waits), T(windows), T(windows_with_a_pool), T(overflow), T(resuming),
        T(resuming_late), T(a_long_way_back), T(refusals), T(scopes), T(held_versions), T(many),
#undef T
    };
    Suite *suite = suite_create("watch");

    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++) {
        TCase *tcase = tcase_create(tests[i].name);
        tcase_set_timeout(tcase, 60);
        tcase_add_test(tcase, tests[i].test);
        suite_add_tcase(suite, tcase);
    }
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}

/* SPDX-License-Identifier: MIT */
/*
 * Watchers that check what they are told. Each has a model of what it watches: it applies the
 * changes to it, one by one, and compares it with the version that it was told up to. Writers set,
 * create and erase atoms, whole branches and elements of an array. Some watchers are called by a
 * pool of 0 to 2 threads, or by who polls, some ask, some wait for their descriptors; with windows,
 * bounds and delays of all sizes; they are paused, closed (by themselves, too) and opened again
 * where they were. Now and then everything stops: then all must come to know the last version, by
 * themselves.
 */
#include <poll.h>
#include <sched.h>

#include "tests/stress/common.h"

enum { GROUPS = 6, KEYS = 8, ELEMENTS = 20, IDS = 1 << 14, PATH = 64 };
enum { CALLED = 14, ASKING = 5, WAITING = 4, WATCHERS = CALLED + ASKING + WAITING };
enum { WRITERS = 2, HOST = WRITERS, MEDDLER, OWNERS, THREADS = OWNERS + ASKING + WAITING };

enum { ADJOIN, ONCE, BEFORE, MODEL, GAP, ORDER, QUIET, SERIAL };
static const char *const properties[] = {
    "intervals adjoin",
    "what is created was not there, what changes or goes was",
    "the value before is the one that was told last",
    "after a batch the model is what the version holds",
    "a gap is told to those that may have one, and to those that come back",
    "a branch comes before what is below it, and goes after it",
    "when all is quiet everyone comes to know the last version",
    "no two calls of one watcher overlap",
};

typedef struct known {
    uint32_t generation; /* 0: not there */
    uint32_t seen;       /* in this comparison */
    int64_t value;
} known;

typedef struct watcher {
    const char *path;
    cop_watch_options options;
    unsigned slow_us;
    pthread_mutex_t admin; /* of `watch`, for those that are called */
    cop_watch *watch;
    pthread_mutex_t lock; /* of what follows */
    uint64_t told;
    bool resumed; /* a gap may come first */
    uint32_t sight;
    _Atomic int calls;
    stress_random random;
    known known[IDS];
} watcher;

static cop_store *store;
static cop_pool *pool;
static watcher watchers[WATCHERS];
static _Atomic bool quiet, done;
static _Atomic unsigned writing, threads; /* of the pool */

static const char *const paths[] = {"", "t", "t/g1", "t/*/k3", "t/g2/k2", "list", "*/*", "list/*"};

/* ---- what a watcher knows ---- */

static int64_t
number_of(const cop_value *value)
{
    return value->type == COP_I64 ? cop_value_i64(value) : -(int64_t)value->type;
}

static known *
known_of(watcher *w, cop_atom atom)
{
    if (atom.id >= IDS) {
        fprintf(stderr, "more ids than expected\n");
        _exit(1);
    }
    return &w->known[atom.id];
}

/* The pattern, segment by segment, and all below. */
static bool
concerns(const char *pattern, const char *path)
{
    while (*pattern != '\0') {
        size_t n = strcspn(pattern, "/"), m = strcspn(path, "/");
        if (m == 0 || (!(n == 1 && *pattern == '*') && (n != m || memcmp(pattern, path, n) != 0)))
            return false;
        pattern += n + (pattern[n] == '/');
        path += m + (path[m] == '/');
    }
    return true;
}

typedef struct look {
    watcher *w;
    const cop_snapshot *snapshot;
    char path[PATH];
    size_t length;
    bool reset;
    unsigned wrong, count;
} look;

static int look_child(void *context, const cop_child *child);

static void
look_at(look *l, cop_atom atom, const cop_value *value)
{
    if (l->length > 0 && concerns(l->w->path, l->path)) {
        known *k = known_of(l->w, atom);
        if (l->reset)
            *k = (known){atom.generation, 0, number_of(value)};
        l->wrong += k->generation != atom.generation || k->value != number_of(value);
        k->seen = l->w->sight;
        l->count++;
    }
    if (value->type == COP_OBJECT || value->type == COP_ARRAY)
        (void)cop_each(l->snapshot, atom, look_child, l, NULL);
}

static int
look_child(void *context, const cop_child *child)
{
    look *l = context;
    size_t length = l->length;
    char number[16];
    const char *key = child->key;
    size_t n = child->key_length;
    if (key == NULL) {
        n = (size_t)snprintf(number, sizeof number, "%u", child->index);
        key = number;
    }
    l->length += (size_t)snprintf(l->path + length, PATH - length, "%s%.*s", length > 0 ? "/" : "",
                                  (int)n, key);
    look_at(l, child->atom, &child->value);
    l->length = length;
    l->path[length] = '\0';
    return 0;
}

/* Compares the model with a version, or makes it from it; how much is wrong. */
static unsigned
compare(watcher *w, const cop_snapshot *snapshot, bool reset)
{
    look l = {.w = w, .snapshot = snapshot, .reset = reset};
    cop_value root = cop_object();

    w->sight++;
    if (reset)
        memset(w->known, 0, sizeof w->known);
    look_at(&l, cop_root(), &root);
    for (unsigned i = 0; i < IDS; i++)
        l.wrong += w->known[i].generation != 0 && w->known[i].seen != w->sight;
    return l.wrong;
}

/* ---- being told ---- */

static void
apply(watcher *w, const cop_watch_batch *batch, const cop_change *c)
{
    known *k = known_of(w, c->atom);
    bool there = k->generation == c->atom.generation;

    if (c->kind == COP_CHANGE_ELEMENTS) {
        stress_check(ONCE, there, "%s: elements of what is not there", w->path);
        return;
    }
    stress_check(ONCE, there == (c->kind != COP_CHANGE_CREATED),
                 "%s: %.*s (%u) kind %d in (%" PRIu64 ",%" PRIu64 "]", w->path, (int)c->path_length,
                 c->path, c->atom.id, c->kind, batch->from, batch->to);
    if (there && batch->before != NULL)
        stress_check(BEFORE, k->value == number_of(&c->before), "%s: %.*s was %" PRId64, w->path,
                     (int)c->path_length, c->path, number_of(&c->before));
    if (c->kind == COP_CHANGE_ERASED)
        k->generation = 0;
    else
        *k = (known){c->atom.generation, 0, number_of(&c->now)};
}

/* Lengths of paths say whether a branch can be below another. */
static void
apply_all(watcher *w, cop_watch_batch *batch)
{
    cop_change change;
    size_t last = SIZE_MAX;
    cop_change_kind kind = COP_CHANGE_ERASED;

    while (cop_watch_change(batch, &change)) {
        if (change.kind != kind)
            last = change.kind == COP_CHANGE_CREATED ? 0 : SIZE_MAX;
        stress_check(ORDER, change.kind >= kind, "%s: kind %d after %d", w->path, change.kind,
                     kind);
        kind = change.kind;
        if (kind == COP_CHANGE_ERASED)
            stress_check(ORDER, change.path_length <= last, "%s: erased", w->path);
        if (kind == COP_CHANGE_CREATED)
            stress_check(ORDER, change.path_length >= last, "%s: created", w->path);
        last = change.path_length;
        apply(w, batch, &change);
    }
}

static void
be_told(watcher *w, cop_watch_batch *batch)
{
    stress_check(SERIAL, atomic_fetch_add(&w->calls, 1) == 0, "%s", w->path);
    pthread_mutex_lock(&w->lock);
    stress_check(ADJOIN, batch->from == w->told && batch->to > batch->from,
                 "%s: told to %" PRIu64 ", then (%" PRIu64 ",%" PRIu64 "]", w->path, w->told,
                 batch->from, batch->to);
    if (batch->gap)
        stress_check(GAP, w->options.overflow == COP_WATCH_GAP || w->resumed, "%s: not to be",
                     w->path);
    w->resumed = false;
    apply_all(w, batch);
    unsigned wrong = compare(w, batch->now, batch->gap);
    stress_check(MODEL, wrong == 0, "%s: %u wrong after (%" PRIu64 ",%" PRIu64 "]%s", w->path,
                 wrong, batch->from, batch->to, batch->before == NULL ? " (resumed)" : "");
    if (wrong != 0)
        (void)compare(w, batch->now, true);
    w->told = batch->to;
    pthread_mutex_unlock(&w->lock);
    if (w->slow_us > 0)
        stress_sleep_us((unsigned)stress_below(&w->random, w->slow_us));
    atomic_fetch_sub(&w->calls, 1);
    stress_count(1);
}

static void
be_called(void *context, cop_watch *watch, cop_watch_batch *batch)
{
    watcher *w = context;
    be_told(w, batch);
    if (stress_below(&w->random, 40) != 0 || pthread_mutex_trylock(&w->admin) != 0)
        return;
    if (w->watch == watch) {
        w->watch = NULL;
        cop_watch_close(watch);
    }
    pthread_mutex_unlock(&w->admin);
}

/* ---- opening, closing ---- */

static void
reopen(watcher *w, bool called)
{
    pthread_mutex_lock(&w->lock);
    w->options.since = w->told;
    w->resumed = true;
    pthread_mutex_unlock(&w->lock);
    w->options.paused = stress_below(&w->random, 4) == 0;
    stress_need(cop_watch_open(store, w->path, strlen(w->path), &w->options,
                               called ? be_called : NULL, w, &w->watch, NULL),
                "open a watcher");
}

static void
watcher_init(watcher *w, unsigned i, bool called)
{
    const cop_watch_options init = COP_WATCH_OPTIONS_INIT;
    w->random = stress_random_of(100 + i);
    w->path = paths[i % (sizeof paths / sizeof paths[0])];
    w->options = init;
    if (stress_below(&w->random, 2) == 0)
        w->options.max_delay_ns = 1 + stress_below(&w->random, 8000000);
    if (stress_below(&w->random, 2) == 0)
        w->options.min_interval_ns = 1 + stress_below(&w->random, 8000000);
    if (stress_below(&w->random, 3) == 0) {
        w->options.overflow = COP_WATCH_GAP;
        w->options.bound = stress_below(&w->random, 60);
    }
    if (stress_below(&w->random, 3) == 0)
        w->slow_us = 5000;
    pthread_mutex_init(&w->admin, NULL);
    pthread_mutex_init(&w->lock, NULL);
    reopen(w, called);
}

/* ---- the threads ---- */

static cop_status
write_one(cop_txn *txn, stress_random *random)
{
    char path[PATH];
    uint64_t dice = stress_below(random, 100);
    cop_value value = cop_i64((int64_t)stress_below(random, 4));
    cop_atom list, atom;
    uint32_t count = 0;

    if (dice < 75) {
        snprintf(path, PATH, "t/g%d/k%d", (int)stress_below(random, GROUPS),
                 (int)stress_below(random, KEYS));
        return dice < 65 ? cop_txn_set_at(txn, path, strlen(path), &value, NULL)
                         : cop_txn_erase_at(txn, path, strlen(path), NULL);
    }
    if (dice < 80) {
        snprintf(path, PATH, "t/g%d", (int)stress_below(random, GROUPS));
        return cop_txn_erase_at(txn, path, strlen(path), NULL);
    }
    if (dice < 81)
        return cop_txn_erase_at(txn, "t", 1, NULL);
    if (cop_atom_find(store, "list", 4, &list) != COP_OK)
        return COP_OK;
    cop_pin_t pin = cop_pin(store);
    (void)cop_count(pin.snapshot, list, &count);
    cop_status status =
        count > 0 ? cop_child_at(pin.snapshot, list, (uint32_t)stress_below(random, count), &atom)
                  : COP_E_ABSENT;
    cop_unpin(pin);
    if (status == COP_OK && dice < 90)
        return cop_txn_set(txn, atom, &value);
    if (status == COP_OK && (dice < 94 || count > ELEMENTS))
        return cop_txn_erase(txn, atom);
    return cop_txn_insert(txn, list, (uint32_t)stress_below(random, count / 2 + 1), &value, NULL);
}

static void
write_some(stress_random *random)
{
    cop_txn *txn;
    stress_need(cop_txn_begin(store, &txn), "begin");
    for (uint64_t i = 0; i <= stress_below(random, 4); i++)
        (void)write_one(txn, random);
    (void)cop_txn_commit(txn, NULL, NULL); /* what another one erased meanwhile makes it fail */
}

static void
writer(unsigned i)
{
    stress_random random = stress_random_of(i);
    while (!stress_over()) {
        atomic_fetch_add(&writing, 1);
        for (int n = 0; n < 50 && !atomic_load(&quiet); n++) {
            write_some(&random);
            if (stress_below(&random, 8) == 0)
                stress_sleep_us((unsigned)stress_below(&random, 300));
        }
        atomic_fetch_sub(&writing, 1);
        while (atomic_load(&quiet) && !stress_over())
            sched_yield();
    }
}

/* Polls when the descriptor says so, and only then; not at all while there are threads to do it. */
static void
host(void)
{
    struct pollfd p = {.events = POLLIN};
    stress_need(cop_store_fd(store, &p.fd), "descriptor");
    while (!atomic_load(&done))
        if (atomic_load(&threads) == 0 && poll(&p, 1, 10) == 1)
            (void)cop_store_poll(store);
        else
            stress_sleep_us(200);
}

static void
meddle(stress_random *random, watcher *w)
{
    pthread_mutex_lock(&w->admin);
    uint64_t dice = stress_below(random, 10);
    if (w->watch == NULL) {
        reopen(w, true);
    } else if (dice == 0) {
        cop_watch_close(w->watch);
        w->watch = NULL;
    } else if (dice < 4) {
        cop_watch_pause(w->watch);
    } else {
        cop_watch_resume(w->watch);
    }
    pthread_mutex_unlock(&w->admin);
}

static void
change_pool(stress_random *random)
{
    uint32_t n = (uint32_t)stress_below(random, 4);
    atomic_store(&threads, n % 3);
    if (n < 3)
        stress_need(cop_pool_resize(pool, n), "resize");
    stress_need(cop_store_set_pool(store, n < 3 ? pool : NULL), "set_pool");
}

static void
everyone_open(void)
{
    for (unsigned i = 0; i < CALLED; i++) {
        watcher *w = &watchers[i];
        pthread_mutex_lock(&w->admin);
        if (w->watch == NULL)
            reopen(w, true);
        cop_watch_resume(w->watch);
        pthread_mutex_unlock(&w->admin);
    }
}

/* One that closes itself after the last change has to be opened again to know of it. */
static bool
knows(watcher *w, const cop_snapshot *last, uint64_t *told)
{
    bool lost = atomic_load(&stress.property[QUIET].broken) > 0; /* no more patience then */
    uint64_t end = stress_now_ns() + (lost ? 0 : 15 * UINT64_C(1000000000));
    for (;;) {
        pthread_mutex_lock(&w->lock);
        bool right = compare(w, last, false) == 0;
        *told = w->told;
        pthread_mutex_unlock(&w->lock);
        if (right || stress_now_ns() > end)
            return right;
        everyone_open();
        stress_sleep_us(500);
    }
}

static void
quiet_check(void)
{
    const cop_snapshot *last;
    while (atomic_load(&writing) > 0)
        sched_yield();
    everyone_open();
    stress_need(cop_snapshot_take(store, &last), "snapshot");
    for (unsigned i = 0; i < WATCHERS; i++) {
        uint64_t told;
        bool right = knows(&watchers[i], last, &told);
        stress_check(QUIET, right, "%u: %s, told %" PRIu64 " of %" PRIu64, i, watchers[i].path,
                     told, cop_snapshot_version(last));
    }
    cop_snapshot_drop(last);
}

static void
meddler(void)
{
    stress_random random = stress_random_of(50);
    while (!stress_over() && atomic_load(&stress.property[QUIET].broken) == 0) {
        uint64_t end = stress_now_ns() + 150000000;
        change_pool(&random);
        while (!stress_over() && stress_now_ns() < end) {
            meddle(&random, &watchers[stress_below(&random, CALLED)]);
            stress_sleep_us((unsigned)stress_below(&random, 2000));
        }
        atomic_store(&quiet, true);
        quiet_check();
        atomic_store(&quiet, false);
    }
    atomic_store(&done, true);
    atomic_store(&stress.stop, true);
}

static void
asking(watcher *w)
{
    cop_watch_batch batch;
    while (!atomic_load(&done)) {
        uint64_t deadline = stress_now_ns() + stress_below(&w->random, 20000000);
        if (cop_watch_next(w->watch, deadline, &batch) == COP_OK) {
            be_told(w, &batch);
            cop_watch_batch_end(&batch);
        }
        if (stress_below(&w->random, 30) == 0) {
            cop_watch_close(w->watch);
            reopen(w, false);
        }
        if (stress_below(&w->random, 10) == 0)
            cop_watch_resume(w->watch);
    }
}

static void
waiting(watcher *w)
{
    struct pollfd p = {.events = POLLIN};
    cop_watch_batch batch;
    cop_watch_resume(w->watch);
    stress_need(cop_watch_fd(w->watch, &p.fd), "descriptor");
    while (!atomic_load(&done)) {
        if (poll(&p, 1, 10) != 1 || cop_watch_next(w->watch, 0, &batch) != COP_OK)
            continue;
        be_told(w, &batch);
        cop_watch_batch_end(&batch);
        if (stress_below(&w->random, 100) != 0 || atomic_load(&quiet))
            continue;
        cop_watch_close(w->watch);
        reopen(w, false);
        cop_watch_resume(w->watch);
        stress_need(cop_watch_fd(w->watch, &p.fd), "descriptor");
    }
}

static void *
body(void *argument)
{
    unsigned i = (unsigned)(uintptr_t)argument;
    if (i < WRITERS)
        writer(i);
    else if (i == HOST)
        host();
    else if (i == MEDDLER)
        meddler();
    else if (i < OWNERS + ASKING)
        asking(&watchers[CALLED + i - OWNERS]);
    else
        waiting(&watchers[CALLED + i - OWNERS]);
    return NULL;
}

int
main(int argc, char **argv)
{
    cop_pool_options options = COP_POOL_OPTIONS_INIT;
    cop_value array = cop_array();
    cop_txn *txn;

    stress_start(argc, argv, THREADS);
    stress_properties(properties, sizeof properties / sizeof properties[0]);
    options.threads = 2;
    stress_need(cop_pool_open(&options, &pool, NULL), "pool");
    stress_need(cop_store_open(NULL, &store, NULL), "open");
    stress_need(cop_txn_begin(store, &txn), "begin");
    stress_need(cop_txn_set_at(txn, "list", 4, &array, NULL), "list");
    stress_need(cop_txn_commit(txn, NULL, NULL), "commit");
    for (unsigned i = 0; i < WATCHERS; i++)
        watcher_init(&watchers[i], i, i < CALLED);
    stress_run(THREADS, body);
    for (unsigned i = 0; i < WATCHERS; i++)
        cop_watch_close(watchers[i].watch);
    cop_store_close(store);
    cop_pool_close(pool);
    return stress_finish();
}

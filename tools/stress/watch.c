/* SPDX-License-Identifier: MIT */
/*
 * Watchers of the accounts, each with a model that only what it was told changes. One thread asks
 * all of them, when their descriptors say so; it pauses some for a while, and closes some, to go on
 * from the version that they know.
 */
#include "tools/stress/load.h"

#include <poll.h>
#include <stdlib.h>

enum { COMPARE_EVERY = 4, REST_MS = 100, DISTURB_EVERY = 32, BOUND = 64 };

struct watcher {
    struct stress_thread *self;
    cop_watch *watch;
    int64_t *model;
    uint64_t told; /* the version that the model is of */
    uint64_t batches;
    unsigned number;
};

static void
take_all(struct watcher *w, const cop_snapshot *now)
{
    const struct stress *s = w->self->stress;
    for (uint64_t i = 0; i < s->config->atoms; i++)
        STRESS_CALL(w->self, cop_get_i64, now, s->accounts[i], &w->model[i]);
}

/* The first account of which the watcher knows another value; all: none. */
static uint64_t
first_difference(struct watcher *w, const cop_snapshot *now, int64_t *is)
{
    const struct stress *s = w->self->stress;
    uint64_t i = 0;
    for (; i < s->config->atoms; i++) {
        *is = 0;
        STRESS_CALL(w->self, cop_get_i64, now, s->accounts[i], is);
        if (*is != w->model[i])
            break;
    }
    return i;
}

static void
compare_all(struct watcher *w, const cop_snapshot *now, uint64_t version)
{
    int64_t is = 0;
    uint64_t i = first_difference(w, now, &is), all = w->self->stress->config->atoms;
    stress_check(w->self, PROMISE_MODEL, i == all,
                 "a/%llu is %lld in version %llu, a watcher knows %lld", (unsigned long long)i,
                 (long long)is, (unsigned long long)version, i < all ? (long long)w->model[i] : 0);
}

static void
take_change(struct watcher *w, const cop_change *change)
{
    char number[16] = ""; /* "a/123", not terminated */
    if (change->path_length < 3 || change->path_length >= sizeof number ||
        change->now.type != COP_I64)
        return; /* the branch itself */
    memcpy(number, change->path + 2, change->path_length - 2);
    unsigned long i = strtoul(number, NULL, 10);
    if (i >= w->self->stress->config->atoms)
        return;
    stress_check(w->self, PROMISE_MODEL,
                 change->before.type != COP_I64 || cop_value_i64(&change->before) == w->model[i],
                 "a watcher knows a/%lu as %lld and is told that it was %lld", i,
                 (long long)w->model[i], (long long)cop_value_i64(&change->before));
    w->model[i] = cop_value_i64(&change->now);
}

static void
take_batch(struct watcher *w, cop_watch_batch *batch)
{
    cop_change change;
    stress_check(w->self, PROMISE_INTERVAL, batch->from == w->told && batch->to > batch->from,
                 "a watcher told up to %llu is told (%llu, %llu]", (unsigned long long)w->told,
                 (unsigned long long)batch->from, (unsigned long long)batch->to);
    if (batch->gap)
        take_all(w, batch->now);
    while (cop_watch_change(batch, &change))
        take_change(w, &change);
    w->told = batch->to;
    if (w->batches++ % COMPARE_EVERY == 0)
        compare_all(w, batch->now, batch->to);
}

static void
ask(struct watcher *w)
{
    cop_watch_batch batch;
    cop_status status = cop_watch_next(w->watch, 0, &batch);
    if (status == COP_E_TIMEOUT || !stress_ok(w->self, status, "cop_watch_next"))
        return;
    take_batch(w, &batch);
    cop_watch_batch_end(&batch);
}

/* From the version that it was told: 0 begins with a gap, that is with everything. Half of them by
 * a pattern, and at different paces; of four one would rather have a gap than many changes. */
static bool
open_watch(struct watcher *w, struct pollfd *fd)
{
    cop_watch_options o = COP_WATCH_OPTIONS_INIT;
    bool pattern = w->number % 2;
    o.since = w->told;
    o.min_interval_ns = (uint64_t)(w->number % 4) * 2000000;
    o.overflow = w->number % 4 == 2 ? COP_WATCH_GAP : COP_WATCH_COALESCE;
    o.bound = BOUND;
    return STRESS_CALL(w->self, cop_watch_open, w->self->stress->store, pattern ? "a/*" : "a",
                       pattern ? 3 : 1, &o, NULL, NULL, &w->watch, NULL) &&
           STRESS_CALL(w->self, cop_watch_fd, w->watch, &fd->fd);
}

static bool
open_watcher(struct watcher *w, struct stress_thread *self, unsigned number, struct pollfd *fd)
{
    w->self = self;
    w->number = number;
    w->model = calloc(self->stress->config->atoms, sizeof *w->model);
    fd->events = POLLIN;
    return stress_ok(self, w->model ? COP_OK : COP_E_MEMORY, "calloc") && open_watch(w, fd);
}

static bool
reopen(struct watcher *w, struct pollfd *fd)
{
    cop_watch_close(w->watch);
    w->watch = NULL;
    return open_watch(w, fd);
}

/* Now and then one of them. */
static bool
disturb(struct watcher *w, struct pollfd *fd)
{
    switch (stress_random(w->self, DISTURB_EVERY)) {
    case 0:
        return reopen(w, fd);
    case 1:
        cop_watch_pause(w->watch);
        return true;
    case 2:
    case 3:
        cop_watch_resume(w->watch);
        return true;
    default:
        return true;
    }
}

/* False when nobody had anything to tell for the time. */
static bool
ask_ready(struct watcher *watchers, struct pollfd *fds, unsigned count, int timeout_ms)
{
    if (poll(fds, count, timeout_ms) <= 0)
        return false;
    for (unsigned i = 0; i < count; i++)
        if (fds[i].revents)
            ask(&watchers[i]);
    return true;
}

static bool
all_know(struct watcher *watchers, unsigned count, const cop_snapshot *last)
{
    int64_t is;
    for (unsigned i = 0; i < count; i++)
        if (first_difference(&watchers[i], last, &is) < watchers->self->stress->config->atoms)
            return false;
    return true;
}

/* Nobody writes any more: all that there is to tell is told, by the descriptors alone. */
static void
finish(struct stress_thread *self, struct watcher *watchers, struct pollfd *fds, unsigned count)
{
    uint64_t began_ns = stress_now_ns();
    cop_pin_t pin;
    for (unsigned i = 0; i < count; i++)
        cop_watch_resume(watchers[i].watch);
    if (stress_pin(self, self->stress->store, &pin)) {
        while (!all_know(watchers, count, pin.snapshot) && !stress_is_late(self, began_ns))
            ask_ready(watchers, fds, count, REST_MS);
        for (unsigned i = 0; i < count; i++)
            compare_all(&watchers[i], pin.snapshot, cop_snapshot_version(pin.snapshot));
    }
    cop_unpin(pin);
}

void
stress_watch(struct stress_thread *self)
{
    unsigned count = (unsigned)self->stress->config->watchers;
    struct watcher *watchers = calloc(count, sizeof *watchers);
    struct pollfd *fds = calloc(count, sizeof *fds);
    bool good = stress_ok(self, watchers && fds ? COP_OK : COP_E_MEMORY, "calloc");
    for (unsigned i = 0; good && i < count; i++)
        good = open_watcher(&watchers[i], self, i, &fds[i]);
    while (good && !self->stress->quiet) {
        unsigned i = (unsigned)stress_random(self, count);
        ask_ready(watchers, fds, count, 20);
        good = disturb(&watchers[i], &fds[i]);
    }
    if (good && self->stress->broken < 0)
        finish(self, watchers, fds, count);
    for (unsigned i = 0; watchers && i < count; i++) {
        cop_watch_close(watchers[i].watch);
        free(watchers[i].model);
    }
    free(watchers);
    free(fds);
}

/* SPDX-License-Identifier: MIT */
/*
 * Watchers of the accounts, each with a model that only what it was told changes. One thread asks
 * all of them, when their descriptors say so.
 */
#include "tools/stress/load.h"

#include <poll.h>
#include <stdlib.h>

enum { COMPARE_EVERY = 4, REST_MS = 300 };

struct watcher {
    struct stress_thread *self;
    cop_watch *watch;
    int64_t *model;
    uint64_t told; /* the version that the model is of */
    uint64_t batches;
};

static void
take_all(struct watcher *w, const cop_snapshot *now)
{
    const struct stress *s = w->self->stress;
    for (uint64_t i = 0; i < s->config->atoms; i++)
        STRESS_CALL(w->self, cop_get_i64, now, s->accounts[i], &w->model[i]);
}

static void
compare_all(struct watcher *w, const cop_snapshot *now, uint64_t version)
{
    const struct stress *s = w->self->stress;
    for (uint64_t i = 0; i < s->config->atoms; i++) {
        int64_t n = 0;
        STRESS_CALL(w->self, cop_get_i64, now, s->accounts[i], &n);
        if (!stress_check(w->self, PROMISE_MODEL, n == w->model[i],
                          "a/%llu is %lld in version %llu, a watcher knows %lld",
                          (unsigned long long)i, (long long)n, (unsigned long long)version,
                          (long long)w->model[i]))
            return;
    }
}

static void
take_change(struct watcher *w, const cop_change *change)
{
    if (change->path_length < 3 || change->now.type != COP_I64)
        return; /* the branch itself */
    unsigned long i = strtoul(change->path + 2, NULL, 10);
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

/* Half of them by a pattern, and at different paces. */
static bool
open_watcher(struct watcher *w, struct stress_thread *self, unsigned number, int *fd)
{
    struct stress *s = self->stress;
    cop_watch_options o = COP_WATCH_OPTIONS_INIT;
    o.since = 0; /* begins with a gap, that is with everything */
    o.min_interval_ns = (uint64_t)(number % 4) * 2000000;
    w->self = self;
    w->model = calloc(s->config->atoms, sizeof *w->model);
    return stress_ok(self, w->model ? COP_OK : COP_E_MEMORY, "calloc") &&
           STRESS_CALL(self, cop_watch_open, s->store, number % 2 ? "a/*" : "a", number % 2 ? 3 : 1,
                       &o, NULL, NULL, &w->watch, NULL) &&
           STRESS_CALL(self, cop_watch_fd, w->watch, fd);
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

/* Nobody writes any more: all that there is to tell is told, by the descriptors alone. */
static void
finish(struct stress_thread *self, struct watcher *watchers, struct pollfd *fds, unsigned count)
{
    uint64_t end = cop_deadline_in_ms(self->stress->config->patience_ms);
    while (ask_ready(watchers, fds, count, REST_MS) && stress_now_ns() < end)
        ;
    cop_pin_t pin;
    if (stress_pin(self, self->stress->store, &pin))
        for (unsigned i = 0; i < count; i++)
            compare_all(&watchers[i], pin.snapshot, cop_snapshot_version(pin.snapshot));
    cop_unpin(pin);
}

void
stress_watch(struct stress_thread *self)
{
    unsigned count = (unsigned)self->stress->config->watchers;
    struct watcher *watchers = calloc(count, sizeof *watchers);
    struct pollfd *fds = calloc(count, sizeof *fds);
    bool good = stress_ok(self, watchers && fds ? COP_OK : COP_E_MEMORY, "calloc");
    for (unsigned i = 0; good && i < count; i++) {
        fds[i].events = POLLIN;
        good = open_watcher(&watchers[i], self, i, &fds[i].fd);
    }
    while (good && !self->stress->quiet)
        ask_ready(watchers, fds, count, 20);
    if (good && self->stress->broken < 0)
        finish(self, watchers, fds, count);
    for (unsigned i = 0; watchers && i < count; i++) {
        cop_watch_close(watchers[i].watch);
        free(watchers[i].model);
    }
    free(watchers);
    free(fds);
}

/* SPDX-License-Identifier: MIT */
/* --host: a thread that sweeps /proc `rate` times a second, one transaction a sweep. */
#include "tools/sources/derived.h"
#include "tools/sources/proc.h"
#include "tools/sources/source.h"

#include "tools/args.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

struct host {
    cop_store *store;
    struct mirror *mirror;
    struct proc proc;
    pthread_t thread;
    int stop_fd;
    uint64_t period_ns;
    cop_status last; /* how the last sweep ended: a failure is told once, not ten times a second */
};

static uint64_t
now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* What is missing of host/derived: all of it at first, and what others have erased. */
static void
define_derived(struct host *h, cop_error *error)
{
    size_t defined = 0;
    cop_status status =
        derived_define(h->store, mirror_txn(h->mirror), mirror_anew(h->mirror), &defined, error);
    mirror_added(h->mirror, status, defined);
}

static void
sweep(struct host *h)
{
    cop_error error = COP_ERROR_INIT;
    struct mirror *m = h->mirror;
    struct mirror_node *top = mirror_begin(m);
    if (top) {
        define_derived(h, &error);
        history_begin(h->proc.history, m, top, now_ns() / 1000);
        mirror_i64(m, top, "ticks_per_second", (uint64_t)sysconf(_SC_CLK_TCK));
        proc_cpu(&h->proc, m, top);
        proc_memory(&h->proc, m, top);
        proc_load(&h->proc, m, top);
        proc_disks(&h->proc, m, top);
        proc_net(&h->proc, m, top);
        proc_processes(&h->proc, m, top);
    }
    cop_status status = mirror_end(m, &error);
    if (status == COP_OK)
        status = derived_totals(h->store, &error); /* host is there now */
    if (status != COP_OK && status != h->last)
        complain("host: a sweep was not committed: %s",
                 error.message[0] ? error.message : cop_status_message(status));
    h->last = status;
}

/* False when it is time to stop. */
static bool
wait_until(const struct host *h, uint64_t time_ns)
{
    struct pollfd fd = {h->stop_fd, POLLIN, 0};
    for (;;) {
        uint64_t now = now_ns();
        uint64_t left = time_ns > now ? time_ns - now : 0;
        const struct timespec timeout = {.tv_sec = (time_t)(left / 1000000000u),
                                         .tv_nsec = (long)(left % 1000000000u)};
        int n = ppoll(&fd, 1, &timeout, NULL);
        if (n >= 0 || errno != EINTR)
            return n == 0;
    }
}

static void *
run(void *context)
{
    struct host *h = context;
    uint64_t next = now_ns();
    do {
        sweep(h);
        next += h->period_ns;
        if (next < now_ns())
            next = now_ns(); /* a sweep that took longer than its time delays those behind it */
    } while (wait_until(h, next));
    return NULL;
}

static void
free_host(struct host *h)
{
    if (h->stop_fd >= 0)
        close(h->stop_fd);
    proc_close(&h->proc);
    mirror_free(h->mirror);
    free(h);
}

struct host *
host_open(cop_store *store, double rate)
{
    struct host *h = calloc(1, sizeof *h);
    if (!h)
        return NULL;
    h->store = store;
    bool readable = proc_open(&h->proc);
    h->mirror = mirror_new(store, "host");
    h->stop_fd = eventfd(0, EFD_CLOEXEC);
    h->period_ns = (uint64_t)(1e9 / rate);
    if (readable && h->mirror && h->stop_fd >= 0 && pthread_create(&h->thread, NULL, run, h) == 0)
        return h;
    free_host(h);
    return NULL;
}

void
host_close(struct host *h)
{
    if (!h)
        return;
    eventfd_write(h->stop_fd, 1);
    pthread_join(h->thread, NULL);
    free_host(h);
}

/* SPDX-License-Identifier: MIT */
/* The run of a load: its threads, their end, and a process of its own for all of it. */
#include "tools/stress/load.h"

#include "tools/args.h"
#include "tools/event_stream.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- the threads ---- */

static void *
thread_main(void *context)
{
    struct stress_thread *self = context;
    self->body(self);
    self->stress->running--;
    return NULL;
}

static bool
start(struct stress *s, struct stress_thread *t, unsigned number,
      void (*body)(struct stress_thread *))
{
    t->stress = s;
    t->body = body;
    t->number = number;
    t->random = s->config->seed * 1000003 + number;
    s->running++;
    if (pthread_create(&t->thread, NULL, thread_main, t) == 0)
        return true;
    s->running--;
    complain("a thread cannot be started");
    return false;
}

static void
show_bar(const struct stress *s, double seconds)
{
    enum { WIDTH = 30 };
    char bar[WIDTH + 1];
    double share = seconds / s->config->seconds;
    int full = share >= 1 ? WIDTH : (int)(share * WIDTH);
    memset(bar, '.', WIDTH);
    memset(bar, '#', (size_t)full);
    bar[WIDTH] = '\0';
    fprintf(stderr, "\r[%s] %3.0f %%  %.0f operations/s  \033[K", bar,
            share >= 1 ? 100 : share * 100, (double)s->operations / (seconds > 0 ? seconds : 1));
}

/* ---- calls that do not return ---- */

/* Only the first broken promise is told. */
static void
tell_stuck(struct stress *s, const struct stress_thread *t, const char *call)
{
    double seconds = (double)s->config->patience_ms / 1e3;
    pthread_mutex_lock(&s->mutex);
    if (s->broken < 0 && strcmp(call, "cop_txn_commit") == 0) {
        s->broken = PROMISE_TICKET;
        snprintf(s->detail, sizeof s->detail,
                 "transaction %llu of thread %u was accepted, and its commit has not returned for "
                 "%g s",
                 (unsigned long long)t->transactions, t->number, seconds);
    } else if (s->broken < 0) {
        s->broken = PROMISE_PROGRESS;
        snprintf(s->detail, sizeof s->detail, "%s of thread %u has not returned for %g s", call,
                 t->number, seconds);
    }
    pthread_mutex_unlock(&s->mutex);
}

/* Whether one has been in the same call since patience_ms ago, which is told. */
static bool
is_stuck(struct stress *s, struct stress_thread *t, uint64_t now_ns)
{
    uint64_t calls = t->calls;
    const char *call = t->call;
    if (!call || calls != t->watchdog.calls) {
        t->watchdog = (struct watchdog){calls, now_ns};
        return false;
    }
    if (now_ns - t->watchdog.since_ns < s->config->patience_ms * 1000000)
        return false;
    tell_stuck(s, t, call);
    return true;
}

static bool
any_stuck(struct stress *s)
{
    uint64_t now_ns = stress_now_ns();
    for (unsigned i = 0; i < s->thread_count; i++)
        if (is_stuck(s, &s->threads[i], now_ns))
            return true;
    return false;
}

/* For the configured time, or until a promise is broken. The seconds. */
static double
wait_for_end(struct stress *s)
{
    static const struct timespec tick = {0, 20000000};
    uint64_t began_ns = stress_now_ns();
    double seconds = 0;
    for (unsigned i = 0; !s->stop && seconds < s->config->seconds && !any_stuck(s); i++) {
        nanosleep(&tick, NULL);
        seconds = (double)(stress_now_ns() - began_ns) / 1e9;
        if (s->remote && !event_stream_pause(0))
            break; /* a signal: what was made on the server is to be erased */
        if (s->config->progress && i % 5 == 0)
            show_bar(s, seconds);
    }
    if (s->config->progress)
        fprintf(stderr, "\r\033[K");
    s->stop = true;
    return seconds;
}

/* Twice as long as a call may take: threads wait for what they have begun, and say so themselves.
 */
static bool
wait_until_running(struct stress *s, unsigned most)
{
    static const struct timespec tick = {0, 5000000};
    uint64_t end = cop_deadline_in_ms(2 * s->config->patience_ms);
    while (s->running > most && stress_now_ns() < end && !any_stuck(s))
        nanosleep(&tick, NULL);
    return s->running <= most;
}

/* In a process one thread asks all watchers. */
static unsigned
threads_that_watch(const struct stress_config *c)
{
    return c->server ? (unsigned)c->watchers : c->watchers > 0;
}

/* Watchers end after all the others, so that they can be told everything. */
static bool
end_threads(struct stress *s)
{
    bool ended = wait_until_running(s, threads_that_watch(s->config));
    s->quiet = true;
    if (ended && s->remote && s->broken < 0)
        ended = stress_remote_end(s);
    return ended && wait_until_running(s, 0);
}

static void
collect(const struct stress *s, struct stress_result *result)
{
    for (unsigned i = 0; i < s->thread_count; i++) {
        for (unsigned k = 0; k < PROMISES; k++)
            result->checks[k] += s->threads[i].checks[k];
        for (unsigned k = 0; k < OPERATIONS; k++)
            latency_merge(&result->latency[k], &s->threads[i].latency[k]);
    }
    for (unsigned i = 0; i < s->thread_count; i++)
        if (s->threads[i].version > result->version)
            result->version = s->threads[i].version;
    result->broken = s->broken;
    memcpy(result->detail, s->detail, sizeof result->detail);
}

enum { PROBERS = 7 };

static void (*body_of(const struct stress_config *c, unsigned n))(struct stress_thread *)
{
    static void (*const probers[])(struct stress_thread *) = {
        stress_probe,  stress_gather, stress_gather, stress_serve,
        stress_commit, stress_hold,   stress_hold};
    _Static_assert(sizeof probers / sizeof *probers == PROBERS, "as many as are started");
    if (c->server)
        return n < c->writers                ? stress_remote_write
               : n < c->writers + c->readers ? stress_remote_read
                                             : stress_remote_watch;
    if (n < c->writers)
        return stress_write;
    if (n < c->writers + c->readers)
        return stress_read;
    n -= (unsigned)(c->writers + c->readers);
    if (c->watchers && n-- == 0)
        return stress_watch;
    return probers[n];
}

static unsigned
threads_wanted(const struct stress_config *c)
{
    unsigned others = c->load_only || c->server ? 0 : PROBERS;
    return (unsigned)(c->writers + c->readers) + threads_that_watch(c) + others;
}

/* False when not all could be. */
static bool
start_all(struct stress *s, unsigned wanted)
{
    bool good = true;
    while (good && s->thread_count < wanted) {
        unsigned n = s->thread_count;
        good = start(s, &s->threads[n], n, body_of(s->config, n));
        s->thread_count += good;
    }
    return good;
}

/* A thread that hangs cannot be ended, so nothing is freed: the process is about to end. */
static void
tell_hang(struct stress *s, struct stress_result *result)
{
    pthread_mutex_lock(&s->mutex);
    if (s->broken < 0) {
        s->broken = PROMISE_PROGRESS;
        snprintf(s->detail, sizeof s->detail,
                 "%u threads have not ended %g s after they were told to", s->running,
                 (double)s->config->patience_ms / 500);
    }
    result->broken = s->broken;
    memcpy(result->detail, s->detail, sizeof result->detail);
    pthread_mutex_unlock(&s->mutex);
}

static bool
run_threads(struct stress *s, struct stress_result *result, bool *hang)
{
    bool good = start_all(s, threads_wanted(s->config));
    if (good)
        result->seconds = wait_for_end(s);
    s->stop = true;
    *hang = !end_threads(s);
    if (*hang) {
        tell_hang(s, result);
        return true;
    }
    for (unsigned i = 0; i < s->thread_count; i++)
        pthread_join(s->threads[i].thread, NULL);
    collect(s, result);
    return good;
}

static bool
open_all(struct stress *s)
{
    if (s->config->server)
        return stress_remote_open(s);
    return stress_load_open(s) && (s->config->load_only || stress_side_open(s));
}

static void
close_all(struct stress *s)
{
    if (s->config->server) {
        stress_remote_close(s);
    } else {
        stress_side_close(s);
        stress_load_close(s);
    }
}

/* In the process of the load, which a thread that hangs cannot keep from its end. */
static int
run_load_here(const struct stress_config *config, struct stress_result *result)
{
    struct stress *s = calloc(1, sizeof *s);
    struct stress_thread *threads = calloc(threads_wanted(config) + 1, sizeof *threads);
    bool good = s && threads, hang = false;
    if (!good) {
        complain("out of memory");
    } else {
        s->config = config;
        s->threads = threads;
        s->node_count = config->depth * config->computed;
        s->broken = -1;
        pthread_mutex_init(&s->mutex, NULL);
        good = open_all(s) && run_threads(s, result, &hang);
    }
    if (hang)
        _exit(EXIT_DONE);
    if (s)
        close_all(s);
    free(threads);
    free(s);
    return good ? EXIT_DONE : EXIT_FAILED;
}

/* A crash, of an assertion of the library or otherwise, is a broken promise too. */
static bool
judge(int status, struct stress_result *result)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) <= EXIT_FAILED)
        return WEXITSTATUS(status) == EXIT_DONE;
    if (result->broken < 0) {
        result->broken = PROMISE_ALIVE;
        if (WIFSIGNALED(status))
            snprintf(result->detail, sizeof result->detail, "it was ended by the signal %d (%s)",
                     WTERMSIG(status), strsignal(WTERMSIG(status)));
        else
            snprintf(result->detail, sizeof result->detail, "it ended with the code %d",
                     WEXITSTATUS(status));
    }
    return true;
}

/* With a server signals wait until the child looks for them: it takes away what it has made there. */
static pid_t
fork_load(const struct stress_config *config, struct stress_result *shared)
{
    sigset_t ending, before;
    sigemptyset(&ending);
    sigaddset(&ending, SIGINT);
    sigaddset(&ending, SIGTERM);
    if (!config->server)
        sigemptyset(&ending);
    sigprocmask(SIG_BLOCK, &ending, &before);
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        exit(run_load_here(config, shared));
    }
    if (config->server)
        signal(SIGINT, SIG_IGN); /* the child's to heed */
    sigprocmask(SIG_SETMASK, &before, NULL);
    return child;
}

bool
stress_run(const struct stress_config *config, struct stress_result *result)
{
    int status = 0;
    struct stress_result *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        complain("out of memory");
        return false;
    }
    shared->broken = -1;
    fflush(NULL); /* or the child would write it again */
    pid_t child = fork_load(config, shared);
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (child < 0)
        complain("the process of the load cannot be started");
    bool good = child > 0 && judge(status, shared);
    memcpy(result, shared, sizeof *result);
    munmap(shared, sizeof *shared);
    return good;
}

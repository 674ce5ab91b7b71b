/* SPDX-License-Identifier: MIT */
/*
 * `coppice serve`: a store, what feeds it, and the HTTP server; until SIGINT or SIGTERM. SIGHUP has
 * the configuration file read again; without one it is the end of a terminal, and so of the server.
 * The signals are blocked in every thread and taken by the main thread's wait, so that no handler
 * is needed.
 */
#include <coppice/coppice.h>
#include <coppice/effect.h>
#include <coppice/http.h>
#include <coppice/pool.h>

#include "tools/commands.h"
#include "tools/sources/source.h"
#include "tools/status.h"
#include "tools/store_options.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

struct serve {
    const char *config;
    struct arg_list settings, hosts, loads;
    bool host, quiet;
    double rate;
    const char *feed_name;
    const char *address;
    uint64_t port, threads, max_connections, max_header_bytes, max_body_bytes, max_buffered_bytes;
    uint64_t deadline_ms, idle_timeout_s, max_snapshots, lease_ms, max_lease_ms;
    uint64_t max_watchers, window_ms, heartbeat_ms, watch_bytes;

    cop_store *store;
    cop_pool *pool;
    cop_http_server *server;
    struct host *sweeps;
    struct feed *feed;
};

static void
set_defaults(struct serve *s)
{
    const cop_http_options http = COP_HTTP_OPTIONS_INIT;
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    memset(s, 0, sizeof *s);
    s->rate = 10;
    s->port = http.port;
    s->threads = cpus < 1 ? 1 : cpus > 4 ? 4 : (uint64_t)cpus;
    s->max_connections = http.max_connections;
    s->max_header_bytes = http.max_header_bytes;
    s->max_body_bytes = http.max_body_bytes;
    s->max_buffered_bytes = http.max_buffered_bytes;
    s->deadline_ms = http.request_deadline_ms;
    s->idle_timeout_s = http.idle_timeout_s;
    s->max_snapshots = http.max_snapshots;
    s->lease_ms = http.lease_ms;
    s->max_lease_ms = http.max_lease_ms;
    s->max_watchers = http.max_watchers;
    s->window_ms = http.watch_window_ms;
    s->heartbeat_ms = http.heartbeat_ms;
    s->watch_bytes = http.watch_bytes;
}

static int
parse(const struct command *command, struct serve *s, int argc, char **argv, bool *run)
{
    const struct arg args[] = {
        {"host", ARG_FLAG, &s->host, 0, 0, NULL, "feed this machine's /proc to host/"},
        {"rate", ARG_NUMBER, &s->rate, 0, 1000, "HZ", "sweeps of --host a second (10)"},
        {"load", ARG_LIST, &s->loads, 0, 0, "FILE", "begin with the state in a JSON file"},
        {"feed", ARG_TEXT, &s->feed_name, 0, 0, "-", "take lines of JSON from standard input"},
        {"address", ARG_TEXT, &s->address, 0, 0, "ADDRESS", "listen there (127.0.0.1)"},
        {"port", ARG_U64, &s->port, 0, 65535, "PORT", "0: any free one (7227)"},
        {"threads", ARG_U64, &s->threads, 1, 256, "N", "threads that serve (CPUs, at most 4)"},
        {"allow-host", ARG_LIST, &s->hosts, 0, 0, "NAME", "answer to this Host too; repeatable"},
        {"config", ARG_TEXT, &s->config, 0, 0, "FILE",
         "store options from a file; SIGHUP reads it again"},
        {"set", ARG_LIST, &s->settings, 0, 0, "NAME=VALUE", "set a store option; repeatable"},
        {"max-connections", ARG_U64, &s->max_connections, 1, 1000000, "N", "at once (512)"},
        {"max-header-bytes", ARG_U64, &s->max_header_bytes, 1024, 1048576, "N", "(32768)"},
        {"max-body-bytes", ARG_U64, &s->max_body_bytes, 1, 1073741824, "N", "(67108864)"},
        {"max-buffered-bytes", ARG_U64, &s->max_buffered_bytes, 65536, UINT64_MAX / 2, "N",
         "bodies and answers held at once (268435456)"},
        {"deadline-ms", ARG_U64, &s->deadline_ms, 10, 86400000, "N", "of a whole request (30000)"},
        {"idle-timeout-s", ARG_U64, &s->idle_timeout_s, 1, 86400, "N", "of a connection (30)"},
        {"max-snapshots", ARG_U64, &s->max_snapshots, 0, 1000000, "N", "held by clients (64)"},
        {"lease-ms", ARG_U64, &s->lease_ms, 1, 86400000, "N", "of a snapshot (60000)"},
        {"max-lease-ms", ARG_U64, &s->max_lease_ms, 1, 86400000, "N", "(3600000)"},
        {"max-watchers", ARG_U64, &s->max_watchers, 0, 1000000, "N", "clients at once (256)"},
        {"watch-window-ms", ARG_U64, &s->window_ms, 0, 60000, "N", "told once in it (16)"},
        {"heartbeat-ms", ARG_U64, &s->heartbeat_ms, 100, 3600000, "N", "to watchers (15000)"},
        {"watch-bytes", ARG_U64, &s->watch_bytes, 1024, 1073741824, "N",
         "of one event, and unread by a client (262144)"},
        {"quiet", ARG_FLAG, &s->quiet, 0, 0, NULL, "print nothing but complaints"},
        {NULL, ARG_FLAG, NULL, 0, 0, NULL, NULL},
    };
    int code;
    *run = false;
    if (!args_parse(command, args, argc, argv, &argc, &code))
        return code;
    if (argc)
        return usage_error(command, "serve takes no argument '%s'", argv[0]);
    if (s->feed_name && strcmp(s->feed_name, "-") != 0)
        return usage_error(command, "--feed: only '-' (standard input) can be fed");
    if (s->max_connections < s->threads)
        return usage_error(command, "--max-connections must be at least --threads");
    if (s->lease_ms > s->max_lease_ms)
        return usage_error(command, "--lease-ms must not exceed --max-lease-ms");
    *run = true;
    return EXIT_DONE;
}

static void
log_line(void *context, cop_log_level level, const char *message)
{
    (void)context;
    if (level >= COP_LOG_WARNING)
        complain("%s", message);
}

/* The threads that evaluate computed atoms. */
static int
open_pool(struct serve *s, uint64_t threads)
{
    cop_pool_options o = COP_POOL_OPTIONS_INIT;
    cop_error error = COP_ERROR_INIT;
    if (threads)
        o.threads = (uint32_t)threads;
    o.log = log_line;
    if (cop_pool_open(&o, &s->pool, &error) != COP_OK) {
        complain("cannot start the worker threads: %s", error.message);
        return EXIT_FAILED;
    }
    if (cop_store_set_pool(s->store, s->pool) == COP_OK)
        return EXIT_DONE;
    complain("out of memory");
    return EXIT_FAILED;
}

static int
open_store(struct serve *s)
{
    cop_options options;
    cop_error error = COP_ERROR_INIT;
    bool usage;
    if (store_options_load(&options, s->config, &s->settings, &usage) != COP_OK)
        return usage ? EXIT_USAGE : EXIT_FAILED;
    options.log = log_line;
    if (cop_store_open(&options, &s->store, &error) == COP_OK)
        return open_pool(s, options.workers_threads);
    complain("cannot open the store: %s", error.message);
    return EXIT_FAILED;
}

static int
open_server(struct serve *s)
{
    cop_http_options o = COP_HTTP_OPTIONS_INIT;
    cop_error error = COP_ERROR_INIT;
    o.address = s->address;
    o.port = (uint16_t)s->port;
    o.threads = (uint32_t)s->threads;
    o.max_connections = (uint32_t)s->max_connections;
    o.max_header_bytes = (uint32_t)s->max_header_bytes;
    o.max_body_bytes = s->max_body_bytes;
    o.max_buffered_bytes = s->max_buffered_bytes;
    o.request_deadline_ms = (uint32_t)s->deadline_ms;
    o.idle_timeout_s = (uint32_t)s->idle_timeout_s;
    o.max_snapshots = (uint32_t)s->max_snapshots;
    o.lease_ms = (uint32_t)s->lease_ms;
    o.max_lease_ms = (uint32_t)s->max_lease_ms;
    o.max_watchers = (uint32_t)s->max_watchers;
    o.watch_window_ms = (uint32_t)s->window_ms;
    o.heartbeat_ms = (uint32_t)s->heartbeat_ms;
    o.watch_bytes = (uint32_t)s->watch_bytes;
    o.hosts = s->hosts.items;
    o.hosts_count = s->hosts.count;
    o.pool = s->pool;
    if (cop_http_open(s->store, &o, &s->server, &error) == COP_OK)
        return EXIT_DONE;
    complain("cannot serve: %s", error.message);
    return EXIT_FAILED;
}

static int
open_sources(struct serve *s)
{
    if (s->host && !(s->sweeps = host_open(s->store, s->rate))) {
        complain("host: /proc cannot be read");
        return EXIT_FAILED;
    }
    if (s->feed_name && !(s->feed = feed_open(s->store))) {
        complain("feed: no thread can be started");
        return EXIT_FAILED;
    }
    return EXIT_DONE;
}

static void
print_banner(const struct serve *s)
{
    const char *address = s->address ? s->address : "127.0.0.1";
    const char *open = strchr(address, ':') ? "[" : "", *close = *open ? "]" : "";
    char url[128];
    snprintf(url, sizeof url, "http://%s%s%s:%u", open, address, close, cop_http_port(s->server));
    printf("coppice %s serves %s\n\n", cop_library_version(), url);
    if (s->host)
        printf("  curl -s '%s/v1/state/host/derived?pretty'\n"
               "  curl -s '%s/v1/state/host/procs/%ld?pretty'\n",
               url, url, (long)getpid());
    else
        printf("  curl -s '%s/v1/state?pretty'\n"
               "  curl -s -X PUT -H 'Content-Type: application/json' -d '\"world\"' "
               "%s/v1/state/hello\n",
               url, url);
    printf("  curl -s '%s/v1/stats?pretty'\n\n", url);
    fflush(stdout);
}

/* ---- reading the configuration again ---- */

static void
complain_fixed(const struct serve *s, const cop_options *now, const cop_options *next, size_t row)
{
    const char *name = cop_options_info(row)->name;
    char old[64], wanted[64];
    cop_options_get(now, name, old, sizeof old);
    cop_options_get(next, name, wanted, sizeof wanted);
    complain("%s: %s stays %s until a restart, not %s: it is not live", s->config, name, old,
             wanted);
}

static void
keep_fixed(const struct serve *s, const cop_options *now, cop_options *next)
{
    size_t row = cop_options_differ(now, next, 0);
    for (; row < cop_options_count(); row = cop_options_differ(now, next, row + 1)) {
        if (cop_options_info(row)->live)
            continue;
        complain_fixed(s, now, next, row);
        cop_options_copy(next, now, row);
    }
}

static void
print_changes(const struct serve *s, const cop_options *before, const cop_options *now)
{
    char old[64], value[64];
    size_t row = cop_options_differ(before, now, 0), changes = 0;
    for (; row < cop_options_count(); row = cop_options_differ(before, now, row + 1)) {
        const char *name = cop_options_info(row)->name;
        cop_options_get(before, name, old, sizeof old);
        cop_options_get(now, name, value, sizeof value);
        printf("coppice: %s = %s, was %s\n", name, value, old);
        changes++;
    }
    if (!changes)
        printf("coppice: %s was read again, and changes nothing\n", s->config);
    fflush(stdout);
}

/* As if the server were started with the file, the environment and the command line of now; what is
 * not live stays. */
static void
reload(const struct serve *s)
{
    cop_options before, next, now;
    cop_error error = COP_ERROR_INIT;
    bool usage;
    cop_options_init(&before);
    cop_options_init(&now);
    if (store_options_load(&next, s->config, &s->settings, &usage) != COP_OK) {
        complain("%s was read again: nothing has changed", s->config);
        return;
    }
    (void)cop_store_options(s->store, &before); /* it is open */
    keep_fixed(s, &before, &next);
    if (cop_http_reconfigure(s->server, &next, &error) != COP_OK) {
        complain("%s was read again: nothing has changed: %s", s->config, error.message);
        return;
    }
    (void)cop_store_options(s->store, &now);
    status_clear();
    if (!s->quiet)
        print_changes(s, &before, &now);
}

/* ---- until it ends ---- */

/* Until a signal comes that ends it. */
static void
wait_for_end(const struct serve *s, const sigset_t *signals)
{
    unsigned period_ms = status_open(s->store);
    const struct timespec period = {.tv_sec = period_ms / 1000,
                                    .tv_nsec = (long)(period_ms % 1000) * 1000000};
    for (;;) {
        int number = sigtimedwait(signals, NULL, &period);
        if (number == SIGHUP && s->config)
            reload(s);
        else if (number > 0)
            break;
        else if (errno == EAGAIN && !s->quiet)
            status_show();
        cop_store_poll(s->store);
    }
    status_clear();
}

static void
take_signals(const struct serve *s, sigset_t *signals)
{
    sigemptyset(signals);
    sigaddset(signals, SIGINT);
    sigaddset(signals, SIGTERM);
    sigaddset(signals, SIGHUP);
    if (s->config)
        signal(SIGHUP, SIG_DFL);           /* nohup ignores it, which is not meant then */
    sigprocmask(SIG_BLOCK, signals, NULL); /* before there is another thread */
}

/* A client that watches takes two descriptors; the limit that is usual is for programs with few. */
static void
raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit); /* what is refused is said when it is needed */
}

static int
open_all(struct serve *s)
{
    raise_descriptors();
    int code = open_store(s);
    for (size_t i = 0; code == EXIT_DONE && i < s->loads.count; i++)
        code = source_load(s->store, s->loads.items[i]) ? EXIT_DONE : EXIT_FAILED;
    if (code == EXIT_DONE)
        code = open_server(s);
    return code == EXIT_DONE ? open_sources(s) : code;
}

static void
close_all(struct serve *s)
{
    cop_http_close(s->server);
    feed_close(s->feed);
    host_close(s->sweeps);
    if (s->store)
        (void)cop_store_set_pool(s->store, NULL);
    cop_store_close(s->store);
    cop_pool_close(s->pool);
    free(s->settings.items);
    free(s->hosts.items);
    free(s->loads.items);
}

int
run_serve(const struct command *command, int argc, char **argv)
{
    struct serve s;
    sigset_t signals;
    bool run;
    set_defaults(&s);
    int code = parse(command, &s, argc, argv, &run);
    if (run) {
        take_signals(&s, &signals);
        code = open_all(&s);
    }
    if (run && code == EXIT_DONE) {
        if (!s.quiet)
            print_banner(&s);
        wait_for_end(&s, &signals);
        if (!s.quiet)
            printf("coppice: ended\n");
    }
    close_all(&s);
    return code;
}

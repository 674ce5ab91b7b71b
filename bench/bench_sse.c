/* SPDX-License-Identifier: MIT */
/*
 * ./dev bench sse: 500 clients of /v1/watch, of one value that says when it was written.
 *
 *   tick_*    the value is written 20 times a second, each client is told each time
 *   flood_*   written 1000 times a second, clients ask for a window of 50 ms
 *   stuck_*   a synchronous commit beside 20 clients, and one more that never reads: pairs in turn
 *
 * The floor is a thread that sends the same bytes to as many sockets: no HTTP, no state, no
 * windows, all of them in step. Its `tick` is the ratio to look at: CPU of the process an event.
 */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <coppice/coppice.h>
#include <coppice/http.h>

#include "bench/arguments.h"
#include "bench/clock.h"
#include "bench/report.h"
#include "bench/sse_clients.h"

enum { HZ = 20, WINDOW_MS = 50, BESIDE = 20, COMMITS = 3000, CLIENTS_MOST = 4096 };
#define SECOND UINT64_C(1000000000)

enum {
    TICK_EVENTS,
    TICK_P50,
    TICK_P99,
    TICK_CPU,
    TICK_MEMORY,
    FLOOD_EVENTS,
    FLOOD_P50,
    FLOOD_P99,
    FLOOD_CPU,
    FLOOR_EVENTS,
    FLOOR_P50,
    FLOOR_P99,
    FLOOR_CPU,
    RATIO_CPU,
    STUCK_P50,
    STUCK_P99,
    STUCK_SEEN,
    CASES
};
static const struct {
    const char *name, *system, *unit;
} cases[CASES] = {
    {"tick_events", "coppice", "events/s"},     {"tick_delay_p50", "coppice", "ms"},
    {"tick_delay_p99", "coppice", "ms"},        {"tick_cpu", "coppice", "ns/event"},
    {"tick_memory", "coppice", "bytes/client"}, {"flood_events", "coppice", "events/s"},
    {"flood_delay_p50", "coppice", "ms"},       {"flood_delay_p99", "coppice", "ms"},
    {"flood_cpu", "coppice", "ns/event"},       {"tick_events", "floor", "events/s"},
    {"tick_delay_p50", "floor", "ms"},          {"tick_delay_p99", "floor", "ms"},
    {"tick_cpu", "floor", "ns/event"},          {"tick_cpu_to_floor", "coppice", "ratio"},
    {"stuck_commit_p50", "coppice", "ratio"},   {"stuck_commit_p99", "coppice", "ratio"},
    {"stuck_events_seen", "coppice", "ratio"},
};

static int clients_fd;
static cop_store *store;
static cop_http_server *server;
static cop_atom atom;
static report_samples of[CASES];

static void
need(bool fine, const char *what)
{
    if (fine)
        return;
    report_note("%s", what);
    exit(1);
}

static void
set(cop_value value)
{
    cop_txn *txn;
    need(cop_txn_begin(store, &txn) == COP_OK && cop_txn_set(txn, atom, &value) == COP_OK &&
             cop_txn_commit(txn, NULL, NULL) == COP_OK,
         "commit");
}

static uint64_t
resident_bytes(void)
{
    unsigned long size, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file != NULL && fscanf(file, "%lu %lu", &size, &resident) != 2)
        resident = 0;
    if (file != NULL)
        fclose(file);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t
cpu_ns(void)
{
    return bench_clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

typedef struct span {
    uint64_t cpu_ns; /* of the process */
    double seconds;  /* longer than asked for when it could not keep up */
} span;

/* Calls `tick` so many times a second. */
static span
at_rate(unsigned hz, double seconds, void (*tick)(void))
{
    uint64_t begin = bench_wall_ns(), cpu = cpu_ns();
    for (uint64_t i = 0, n = (uint64_t)(hz * seconds); i < n; i++) {
        uint64_t at = begin + i * SECOND / hz;
        struct timespec until = {(time_t)(at / SECOND), (long)(at % SECOND)};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
        tick();
    }
    return (span){cpu_ns() - cpu, (double)(bench_wall_ns() - begin) / 1e9};
}

static void
record(int first, const sse_result *seen, span took)
{
    report_add(&of[first], (double)seen->events / took.seconds);
    report_add(&of[first + 1], seen->delay_p50_ms);
    report_add(&of[first + 2], seen->delay_p99_ms);
    report_add(&of[first + 3], seen->events > 0 ? (double)took.cpu_ns / (double)seen->events : 0);
}

/* ---- coppice ---- */

static void
tick_set(void)
{
    set(cop_i64((int64_t)bench_wall_ns()));
}

static void
watched(uint32_t clients, unsigned hz, uint32_t window_ms, double seconds, int first)
{
    static uint64_t before;
    sse_command command = {cop_http_port(server), clients, 0, window_ms};
    set(cop_i64(0));
    bool measure = before == 0;
    if (measure)
        before = resident_bytes();
    sse_begin(clients_fd, &command);
    span took = at_rate(hz, seconds, tick_set);
    if (measure)
        report_add(&of[TICK_MEMORY], (double)(resident_bytes() - before) / clients);
    sse_result seen = sse_end(clients_fd);
    record(first, &seen, took);
}

/* ---- the floor ---- */

static int listener, *sockets;
static uint32_t socket_count;

static void
tick_send(void)
{
    char text[200];
    int n = snprintf(text, sizeof text,
                     "4f\r\nid: 812-5d1c09ab\nevent: change\ndata: {\"changes\":[{\"path\":\"t\","
                     "\"value\":%llu,\"old\":0}]}\n\n\r\n",
                     (unsigned long long)bench_wall_ns());
    for (uint32_t i = 0; i < socket_count; i++)
        (void)!send(sockets[i], text, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void *
accept_all(void *clients)
{
    static const char first[] = "data: {\"value\":0}\n\n";
    for (socket_count = 0; socket_count < *(uint32_t *)clients; socket_count++) {
        sockets[socket_count] = accept(listener, NULL, NULL);
        (void)!send(sockets[socket_count], first, sizeof first - 1, MSG_NOSIGNAL);
    }
    return NULL;
}

static void
floor_run(uint32_t clients, double seconds)
{
    struct sockaddr_in here = {.sin_family = AF_INET};
    socklen_t length = sizeof here;
    pthread_t thread;
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    need(bind(listener, (struct sockaddr *)&here, length) == 0 && listen(listener, 1024) == 0 &&
             getsockname(listener, (struct sockaddr *)&here, &length) == 0,
         "listen");
    sockets = calloc(clients, sizeof *sockets);
    need(sockets != NULL, "memory");
    need(pthread_create(&thread, NULL, accept_all, &clients) == 0, "thread");
    sse_command command = {ntohs(here.sin_port), clients, 0, 0};
    sse_begin(clients_fd, &command);
    pthread_join(thread, NULL);
    span took = at_rate(HZ, seconds, tick_send);
    sse_result seen = sse_end(clients_fd);
    for (uint32_t i = 0; i < socket_count; i++)
        (void)close(sockets[i]);
    (void)close(listener);
    free(sockets);
    record(FLOOR_EVENTS, &seen, took);
}

/* ---- a client that never reads ---- */

/* Commits of a kilobyte, one each 200 us; before them, until a socket that nobody reads must be
 * full. */
static void
commits(uint32_t stuck, double *p50, double *p99, sse_result *seen)
{
    static double took[COMMITS];
    static char text[1024];
    sse_command command = {cop_http_port(server), BESIDE, stuck, 0};
    memset(text, 'x', sizeof text);
    set(cop_i64(0));
    sse_begin(clients_fd, &command);
    uint64_t start = bench_wall_ns();
    for (int i = -COMMITS / 4; i < COMMITS; i++) {
        uint64_t at = start + (uint64_t)(i + COMMITS / 4) * 200000;
        struct timespec until = {(time_t)(at / SECOND), (long)(at % SECOND)};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
        /* What clients look for is at the beginning; the rest fills sockets. */
        uint64_t begin = bench_wall_ns();
        snprintf(text, sizeof text, "%llu ", (unsigned long long)begin);
        text[strlen(text)] = 'x';
        set(cop_string(text, sizeof text));
        if (i >= 0)
            took[i] = (double)(bench_wall_ns() - begin);
    }
    *seen = sse_end(clients_fd);
    report_sort(took, COMMITS);
    *p50 = took[COMMITS / 2];
    *p99 = took[COMMITS * 99 / 100];
}

static void
stuck_pair(bool stuck_first)
{
    double p50[2], p99[2];
    sse_result seen[2];
    for (unsigned i = 0; i < 2; i++) {
        unsigned stuck = i ^ stuck_first;
        commits(stuck, &p50[stuck], &p99[stuck], &seen[stuck]);
    }
    report_add(&of[STUCK_P50], p50[1] / p50[0]);
    report_add(&of[STUCK_P99], p99[1] / p99[0]);
    if (seen[1].events > 0)
        report_add(&of[STUCK_SEEN], (double)seen[1].stuck_events * BESIDE / (double)seen[1].events);
}

/* ---- all of it ---- */

static void
open_server(void)
{
    cop_http_options options = COP_HTTP_OPTIONS_INIT;
    cop_error error = COP_ERROR_INIT;
    options.port = 0;
    options.max_connections = options.max_watchers = CLIENTS_MOST;
    options.watch_bytes = 4096; /* what one that never reads may have waiting */
    need(cop_store_open(NULL, &store, NULL) == COP_OK &&
             cop_atom_at(store, "t", 1, &atom, NULL) == COP_OK,
         "store");
    if (cop_http_open(store, &options, &server, &error) != COP_OK) {
        report_note("%s", error.message);
        exit(1);
    }
}

static void
print(uint32_t clients, bool json)
{
    char number[32], fields[100];
    for (int i = 0; i < CASES; i++) {
        double low, high;
        report_interval(&of[i], &low, &high);
        snprintf(fields, sizeof fields, ",\"clients\":%u,\"ci_low\":%g,\"ci_high\":%g",
                 i >= STUCK_P50 ? BESIDE : clients, low, high);
        report_row row = {"sse", cases[i].name, cases[i].system, cases[i].unit, fields, &of[i]};
        if (json)
            report_json(&row);
        else
            printf("%-18s %-8s %10s %-12s %g to %g\n", cases[i].name, cases[i].system,
                   report_number(report_median(&of[i]), number, sizeof number), cases[i].unit, low,
                   high);
    }
}

int
main(int argc, char **argv)
{
    struct rlimit files;
    uint32_t clients = 500, rounds = 3, pairs = 15, seconds = 5;
    bool json = false;
    const bench_argument table[] = {BENCH_FLAG("json", json),
                                    BENCH_NUMBER("clients", clients, 1, CLIENTS_MOST - BESIDE),
                                    BENCH_NUMBER("seconds", seconds, 1, 60),
                                    BENCH_NUMBER("rounds", rounds, 0, REPORT_ROUNDS_MAX),
                                    BENCH_NUMBER("pairs", pairs, 0, REPORT_ROUNDS_MAX),
                                    BENCH_END};
    bench_arguments(argc, argv, table);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    clients_fd = sse_fork();
    open_server();
    for (uint32_t i = 0; i < rounds; i++) {
        watched(clients, HZ, 0, seconds, TICK_EVENTS);
        floor_run(clients, seconds);
        watched(clients, 1000, WINDOW_MS, seconds, FLOOD_EVENTS);
        report_add(&of[RATIO_CPU], of[TICK_CPU].value[i] / of[FLOOR_CPU].value[i]);
    }
    for (uint32_t i = 0; i < pairs; i++)
        stuck_pair(i % 2);
    print(clients, json);
    cop_http_close(server);
    cop_store_close(store);
    return 0;
}

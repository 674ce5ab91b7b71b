/* SPDX-License-Identifier: MIT */
/*
 * Clients of a stream of server-sent events, many on one thread, in a process of their own: what the
 * server's process costs is then the server's alone. An event says when its value was written (the
 * value is CLOCK_MONOTONIC, in ns), so each client knows how long it was on its way.
 */
#ifndef COPPICE_BENCH_SSE_CLIENTS_H
#define COPPICE_BENCH_SSE_CLIENTS_H

#include <stdint.h>

typedef struct sse_command {
    uint16_t port;      /* on 127.0.0.1 */
    uint32_t readers;   /* 0: the process ends */
    uint32_t stuck;     /* these read nothing until the end */
    uint32_t window_ms; /* asked for */
} sse_command;

typedef struct sse_result {
    uint64_t events, stuck_events;
    double delay_p50_ms, delay_p99_ms;
} sse_result;

/* Forks; before the process has threads. A descriptor to command it by. */
int sse_fork(void);

/* Connects all of them; when it returns each has had its first event. */
void sse_begin(int fd, const sse_command *command);

/* Lets them read what is on its way for 200 ms, closes them, and tells what they have seen. */
sse_result sse_end(int fd);

#endif

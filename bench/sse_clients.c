/* SPDX-License-Identifier: MIT */
#include "bench/sse_clients.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/clock.h"
#include "bench/report.h"

enum { DELAYS = 4 << 20, KEPT = 64, CHUNK = 65536, ENDING_MS = 200 };

typedef struct client {
    int fd;
    bool begun; /* has had an event */
    unsigned kept;
    char tail[KEPT]; /* of what was read before: a number may be cut */
} client;

static struct {
    sse_command command;
    client *client;
    uint32_t begun;
    uint64_t events, stuck_events, delays;
    uint32_t *delay_us;
} of;

static void
need(bool fine, const char *what)
{
    if (fine)
        return;
    report_note("%s: %s", what, strerror(errno));
    exit(1);
}

/* ---- events ---- */

static void
saw(uint64_t written)
{
    uint64_t now = bench_wall_ns();
    if (written == 0)
        return;
    of.events++;
    if (of.delays < DELAYS)
        of.delay_us[of.delays++] = (uint32_t)((now - written) / 1000);
}

/* Numbers behind `"value":`, in a string too, that are whole; what may be the beginning of one is kept. */
static void
scan(client *c, char *text, size_t length)
{
    static const char key[] = "\"value\":";
    size_t done = 0;
    text[length] = '\0';
    for (char *at = text; (at = memmem(at, length - (size_t)(at - text), key, sizeof key - 1)) != NULL;) {
        char *end, *digits = at + sizeof key - 1;
        uint64_t written = strtoull(digits + (*digits == '"'), &end, 10);
        if (*end == '\0')
            break;
        if (!c->begun)
            of.begun++;
        c->begun = true;
        saw(written);
        at = end;
        done = (size_t)(at - text);
    }
    c->kept = (unsigned)(length - done < KEPT ? length - done : KEPT);
    memcpy(c->tail, text + length - c->kept, c->kept);
}

static bool
read_some(client *c)
{
    static char text[KEPT + CHUNK + 1];
    memcpy(text, c->tail, c->kept);
    ssize_t n = recv(c->fd, text + c->kept, CHUNK, MSG_DONTWAIT);
    if (n > 0)
        scan(c, text, c->kept + (size_t)n);
    return n > 0;
}

/* ---- connections ---- */

static void
connect_one(client *c, int epoll, bool reads)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(of.command.port)};
    char request[200];
    int small = 4096;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    *c = (client){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    need(c->fd >= 0, "socket");
    if (!reads)
        (void)setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    need(connect(c->fd, (struct sockaddr *)&to, sizeof to) == 0, "connect");
    int n = snprintf(request, sizeof request,
                     "GET /v1/watch/t?window_ms=%u HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n\r\n",
                     of.command.window_ms, of.command.port);
    need(send(c->fd, request, (size_t)n, 0) == n, "send");
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (reads)
        need(epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event) == 0, "epoll_ctl");
}

/* True when the command's descriptor has something to say. */
static bool
serve(int epoll, int timeout_ms)
{
    struct epoll_event event[64];
    int n = epoll_wait(epoll, event, 64, timeout_ms);
    bool told = false;
    for (int i = 0; i < n; i++) {
        if (event[i].data.ptr == NULL)
            told = true;
        else if (!read_some(event[i].data.ptr))
            (void)epoll_ctl(epoll, EPOLL_CTL_DEL, ((client *)event[i].data.ptr)->fd, NULL);
    }
    return told;
}

static int
compare_delays(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static sse_result
result(void)
{
    uint64_t seen = of.events;
    qsort(of.delay_us, of.delays, sizeof *of.delay_us, compare_delays);
    for (uint32_t i = 0; i < of.command.stuck; i++)
        while (read_some(&of.client[of.command.readers + i]))
            continue;
    return (sse_result){seen, of.events - seen,
                        of.delays > 0 ? of.delay_us[of.delays / 2] / 1e3 : 0,
                        of.delays > 0 ? of.delay_us[of.delays * 99 / 100] / 1e3 : 0};
}

static void
run_command(int fd)
{
    uint32_t all = of.command.readers + of.command.stuck;
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN};
    need(epoll >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0, "epoll");
    of.client = calloc(all, sizeof *of.client);
    need(of.client != NULL, "memory");
    of.events = of.delays = of.begun = 0;
    for (uint32_t i = 0; i < all; i++)
        connect_one(&of.client[i], epoll, i < of.command.readers);
    while (of.begun < of.command.readers)
        (void)serve(epoll, 100);
    char byte = 0;
    need(write(fd, &byte, 1) == 1, "write");
    while (!serve(epoll, -1))
        continue;
    need(read(fd, &byte, 1) == 1, "read");
    (void)epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL);
    for (uint64_t end = bench_wall_ns() + ENDING_MS * UINT64_C(1000000); bench_wall_ns() < end;)
        (void)serve(epoll, 10);
    sse_result told = result();
    for (uint32_t i = 0; i < all; i++)
        (void)close(of.client[i].fd);
    free(of.client);
    (void)close(epoll);
    need(write(fd, &told, sizeof told) == sizeof told, "write");
}

/* ---- the other side ---- */

int
sse_fork(void)
{
    int fd[2];
    need(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) == 0, "socketpair");
    (void)fflush(NULL);
    pid_t pid = fork();
    need(pid >= 0, "fork");
    if (pid > 0) {
        (void)close(fd[1]);
        return fd[0];
    }
    (void)close(fd[0]);
    of.delay_us = malloc(DELAYS * sizeof *of.delay_us);
    need(of.delay_us != NULL, "memory");
    while (read(fd[1], &of.command, sizeof of.command) == sizeof of.command && of.command.readers > 0)
        run_command(fd[1]);
    exit(0);
}

void
sse_begin(int fd, const sse_command *command)
{
    char byte;
    need(write(fd, command, sizeof *command) == sizeof *command, "write");
    need(read(fd, &byte, 1) == 1, "the clients");
}

sse_result
sse_end(int fd)
{
    sse_result told;
    need(write(fd, "", 1) == 1, "write");
    need(recv(fd, &told, sizeof told, MSG_WAITALL) == sizeof told, "the clients");
    return told;
}

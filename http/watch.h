/* SPDX-License-Identifier: MIT */
/* A client that watches: what watch.c and watch_stream.c share. The argument is in watch.c. */
#ifndef COP_HTTP_WATCH_H
#define COP_HTTP_WATCH_H

#include <coppice/watch.h>

#include "http/internal.h"

struct cop__http_watch {
    struct cop_http_server *server;
    struct MHD_Connection *connection;
    struct cop__problem *problem;
    cop_watch *watch;
    int fd, socket;
    char path[COP_PATH_MAX + 1]; /* or pattern */
    size_t length;
    uint64_t since, window_ns, heartbeat_ns;
    bool good; /* of the query */
    bool patches; /* instead of changes */
    struct cop__buffer piece;
    size_t sent;
    cop_json_stream *stream; /* the document of a reset, behind the piece */
    uint64_t sent_ns;
    /* under the mutex */
    bool placed, suspended, gone;
    uint32_t place, number;
};

static inline bool
cop__http_is_ending(struct cop_http_server *server)
{
    return atomic_load_explicit(&server->ending, memory_order_acquire);
}

#define COP_HTTP_IS_SOCKET 1u /* in what epoll tells */
static inline uint64_t
cop__http_watch_tag(const struct cop__http_watch *w, unsigned socket)
{
    return (uint64_t)w->number << 32 | w->place << 1 | socket;
}

/* libmicrohttpd's question for more bytes. */
ssize_t cop__http_watch_pull(void *watch, uint64_t position, char *bytes, size_t n);

#endif

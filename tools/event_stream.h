/* SPDX-License-Identifier: MIT */
/* Server-sent events, read from a socket. SIGINT and SIGTERM must be blocked: they end the waiting.
 */
#ifndef COP_TOOLS_EVENT_STREAM_H
#define COP_TOOLS_EVENT_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tools/http_client.h"

struct event_text {
    char *text; /* terminated once there is something */
    size_t length, capacity;
};

struct event_stream {
    int fd;
    char bytes[16384];
    size_t at, end;       /* of the bytes */
    bool chunked, closed; /* the latter: it has ended, or failed */
    bool ended;           /* by the server's own will */
    uint64_t left;        /* of the chunk */
    struct event_text line, event, id, data;
};

/* Sends the request. The status that was answered, or 0: no answer (complained of unless quiet), or
 * a signal. When it is not 200, data is the body. To be closed in any case. */
int event_stream_open(struct event_stream *stream, const struct http_request *request, bool quiet);
/* The next event with data; false: there is none any more. id stays until there is another one. */
bool event_stream_next(struct event_stream *stream);
void event_stream_close(struct event_stream *stream);

/* Waits; false: a signal came. */
bool event_stream_pause(unsigned ms);

#endif

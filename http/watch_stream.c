/* SPDX-License-Identifier: MIT */
/* What a client that watches is sent, when libmicrohttpd asks for it. */
#include "http/watch.h"

#include <string.h>
#include <sys/epoll.h>

#include "http/events.h"

#define KEPT_BYTES 4096 /* of a buffer, until the next event */

/* ---- events ---- */

enum next { NEXT_EVENT, NEXT_NONE, NEXT_END, NEXT_FAILED };

struct bounded {
    struct cop__buffer *buffer;
    size_t most;
};

static int
take_bytes(void *context, const char *bytes, size_t n)
{
    struct bounded *b = context;
    return n > b->most || b->buffer->length > b->most - n || !cop__buffer_add(b->buffer, bytes, n);
}

static bool
add_end(struct cop__http_watch *w)
{
    return cop__buffer_add(&w->piece, COP_EVENT_END, sizeof COP_EVENT_END - 1);
}

/* In memory if it is short. */
static bool
add_document(struct cop__http_watch *w, const cop_snapshot *snapshot, cop_atom atom)
{
    const cop_json_write_options options = COP_JSON_WRITE_OPTIONS_INIT;
    struct bounded b = {&w->piece, w->server->options.watch_bytes};
    size_t begin = w->piece.length;
    if (cop_json_write(snapshot, atom, &options, take_bytes, &b) == COP_OK)
        return add_end(w);
    w->piece.length = begin;
    return cop_json_stream_open(snapshot, atom, &options, &w->stream) == COP_OK;
}

static bool
write_reset(struct cop__http_watch *w, const cop_snapshot *snapshot)
{
    cop_atom atom;
    size_t length = cop__event_trunk(w->path, w->length);
    bool exists = cop_find(snapshot, w->path, length, &atom) == COP_OK;
    return cop__event_reset(&w->piece, w->path, length, cop_snapshot_version(snapshot),
                            w->server->instance, exists) &&
           (exists ? add_document(w, snapshot, atom) : add_end(w));
}

static bool
write_changes(struct cop__http_watch *w, cop_watch_batch *batch)
{
    size_t most = w->server->options.watch_bytes;
    if (batch->gap)
        return false;
    if (w->patches)
        return cop__event_patch(&w->piece, batch, w->path, w->length, w->server->instance, most);
    return cop__event_change(&w->piece, batch, w->server->instance, most);
}

static bool
write_batch(struct cop__http_watch *w, cop_watch_batch *batch)
{
    cop__http_count(&w->server->watch_events);
    if (write_changes(w, batch))
        return true;
    cop__http_count(&w->server->watch_resets);
    return write_reset(w, batch->now);
}

static enum next
write_next(struct cop__http_watch *w)
{
    cop_watch_batch batch;
    cop_status status =
        cop__http_is_ending(w->server) ? COP_E_CLOSING : cop_watch_next(w->watch, 0, &batch);
    if (status == COP_OK) {
        bool good = write_batch(w, &batch);
        cop_watch_batch_end(&batch);
        return good ? NEXT_EVENT : NEXT_FAILED;
    }
    if (status == COP_E_TIMEOUT) {
        if (cop__http_now_ns() - w->sent_ns < w->heartbeat_ns)
            return NEXT_NONE;
        return cop__buffer_add(&w->piece, ":\n\n", 3) ? NEXT_EVENT : NEXT_FAILED;
    }
    return status == COP_E_CLOSING || status == COP_E_FORKED ? NEXT_END : NEXT_FAILED;
}

/* The document that is streamed; with its last bytes comes the end of the event. Negative: it failed. */
static ssize_t
send_document(struct cop__http_watch *w, char *bytes, size_t n)
{
    size_t written = 0;
    bool more = true;
    while (more && written == 0) /* a step over lazy members may write nothing */
        if (cop_json_stream_next(w->stream, bytes, n, &written, &more) != COP_OK)
            return -1;
    if (more)
        return (ssize_t)written;
    cop_json_stream_close(w->stream);
    w->stream = NULL;
    w->piece.length = w->sent = 0;
    return add_end(w) ? (ssize_t)written : -1;
}

/* What is left of the event, at most n bytes; 0: nothing; negative: it failed. */
static ssize_t
send_rest(struct cop__http_watch *w, char *bytes, size_t n)
{
    size_t left = w->piece.length - w->sent;
    if (!left && w->stream)
        return send_document(w, bytes, n);
    n = left < n ? left : n;
    if (n)
        memcpy(bytes, w->piece.data + w->sent, n);
    w->sent += n;
    return (ssize_t)n;
}

static void
event_over(struct cop__http_watch *w)
{
    w->piece.length = w->sent = 0;
    if (w->piece.capacity > KEPT_BYTES)
        cop__buffer_free(&w->piece);
}

/* ---- sleeping and waking ---- */

static bool
arm(struct cop__http_watch *w)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT,
                                .data.u64 = cop__http_watch_tag(w, 0)};
    return epoll_ctl(w->server->watched.epoll, EPOLL_CTL_MOD, w->fd, &event) == 0;
}

/* Until there is something to tell; the waker may resume it before this returns. */
static ssize_t
sleep_until_woken(struct cop__http_watch *w)
{
    struct cop_http_server *server = w->server;
    ssize_t result = 0;
    pthread_mutex_lock(&server->watched.mutex);
    if (cop__http_is_ending(server)) {
        result = MHD_CONTENT_READER_END_OF_STREAM;
    } else if (w->gone || !arm(w)) {
        result = MHD_CONTENT_READER_END_WITH_ERROR;
    } else {
        cop__http_deadline_none(w->connection);
        MHD_suspend_connection(w->connection);
        w->suspended = true;
    }
    pthread_mutex_unlock(&server->watched.mutex);
    return result;
}

ssize_t
cop__http_watch_pull(void *context, uint64_t position, char *bytes, size_t n)
{
    struct cop__http_watch *w = context;
    ssize_t got = send_rest(w, bytes, n);
    (void)position;
    if (got == 0) {
        event_over(w);
        enum next next = write_next(w);
        if (next == NEXT_NONE)
            return sleep_until_woken(w);
        if (next == NEXT_END)
            return MHD_CONTENT_READER_END_OF_STREAM;
        cop__http_deadline_begin(w->server, w->connection);
        got = next == NEXT_EVENT ? send_rest(w, bytes, n) : -1;
    }
    w->sent_ns = cop__http_now_ns();
    return got > 0 ? got : MHD_CONTENT_READER_END_WITH_ERROR;
}

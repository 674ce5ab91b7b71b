/* SPDX-License-Identifier: MIT */
/*
 * GET /v1/watch/PATH: server-sent events. What an event looks like is in events.c.
 *
 * PULLED, NOT PUSHED. libmicrohttpd asks for bytes when the socket has taken all that were given
 * before, so only then is the watcher asked (cop_watch_next, without waiting). A client that does
 * not read is not asked for, holds one version and at most one event, and is told the net change
 * when it reads again; an event that is not taken within a request's deadline cuts it. When there
 * is nothing to tell, the connection is suspended and costs nothing.
 *
 * THE WAKER is one thread for all clients, there while somebody watches: it waits for the watchers'
 * descriptors, for sockets that are closed, and for the next heartbeat, and resumes the connection,
 * whose thread does the rest. A descriptor is armed for one event, when the connection is
 * suspended.
 *
 * WHO MAY RESUME: a connection is suspended and resumed under the mutex, and only one that is
 * suspended is resumed. A client is found by place and number, so an event of one that has gone
 * since finds nobody. When the server ends, all are resumed, and none is suspended any more.
 *
 * THE LOG, from which clients are told what they missed, lives as long as there is a watcher: the
 * keeper is one that is never told, opened with the first client and kept for a lease's time after
 * the last one.
 */
#include "http/events.h"
#include "http/internal.h"
#include "http/stream.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define MS ((uint64_t)1000000)
#define WINDOW_MS_MAX 60000
#define HEARTBEAT_MS_MIN 100
#define HEARTBEAT_MS_MAX 3600000
#define KEEPER_DELAY_NS (1000 * MS)
#define END_MS 200                  /* that clients have to be told of the end */
#define BLOCK 4096                  /* that libmicrohttpd asks for, of a client without chunks */
#define KEPT_BYTES 4096             /* of a buffer, until the next event */
#define WOKEN UINT64_MAX            /* what the waker's own descriptor tells */
#define IS_SOCKET 1u                /* in what epoll tells */
#define UNKNOWN (COP_WATCH_NOW - 1) /* a version that never is: a client that knows nothing */

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
    struct cop__buffer piece;
    size_t sent;
    struct cop__stream *stream; /* the document of a reset, behind the piece */
    uint64_t sent_ns;
    /* under the mutex */
    bool placed, suspended, gone;
    uint32_t place, number;
};

static bool
is_ending(struct cop_http_server *server)
{
    return atomic_load_explicit(&server->ending, memory_order_acquire);
}

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
    w->stream = cop__stream_new(snapshot, atom, &options, false);
    return w->stream != NULL;
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
write_batch(struct cop__http_watch *w, cop_watch_batch *batch)
{
    cop__http_count(&w->server->watch_events);
    if (!batch->gap &&
        cop__event_change(&w->piece, batch, w->server->instance, w->server->options.watch_bytes))
        return true;
    cop__http_count(&w->server->watch_resets);
    return write_reset(w, batch->now);
}

static enum next
write_next(struct cop__http_watch *w)
{
    cop_watch_batch batch;
    cop_status status = is_ending(w->server) ? COP_E_CLOSING : cop_watch_next(w->watch, 0, &batch);
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

/* What is left of the event, at most n bytes; 0: nothing; negative: it failed. */
static ssize_t
send_rest(struct cop__http_watch *w, char *bytes, size_t n)
{
    size_t left = w->piece.length - w->sent;
    if (!left && w->stream) {
        long long got = cop__stream_read(w->stream, bytes, n);
        if (got != 0)
            return (ssize_t)got;
        cop__stream_free(w->stream);
        w->stream = NULL;
        w->piece.length = w->sent = 0;
        if (!add_end(w))
            return -1;
        left = w->piece.length;
    }
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

static uint64_t
tag_of(const struct cop__http_watch *w, unsigned socket)
{
    return (uint64_t)w->number << 32 | w->place << 1 | socket;
}

/* Under the mutex. */
static void
wake(struct cop__http_watch *w)
{
    if (!w->suspended)
        return;
    w->suspended = false;
    MHD_resume_connection(w->connection);
}

static bool
arm(struct cop__http_watch *w)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT, .data.u64 = tag_of(w, 0)};
    return epoll_ctl(w->server->watched.epoll, EPOLL_CTL_MOD, w->fd, &event) == 0;
}

/* Until there is something to tell; the waker may resume it before this returns. */
static ssize_t
sleep_until_woken(struct cop__http_watch *w)
{
    struct cop_http_server *server = w->server;
    ssize_t result = 0;
    pthread_mutex_lock(&server->watched.mutex);
    if (is_ending(server)) {
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

/* libmicrohttpd's question for more. */
static ssize_t
pull(void *context, uint64_t position, char *bytes, size_t n)
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

/* ---- the waker ---- */

static uint64_t
sooner(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Wakes those whose heartbeat is due; when the next one will be. Under the mutex. */
static uint64_t
beat(struct cop_http_server *server, uint64_t now)
{
    uint64_t next = UINT64_MAX;
    for (size_t i = 0; i < server->options.max_watchers; i++) {
        struct cop__http_watch *w = server->watched.client[i];
        if (!w)
            continue;
        uint64_t due = (w->suspended ? w->sent_ns : now) + w->heartbeat_ns;
        if (due <= now) {
            wake(w);
            due = now + w->heartbeat_ns;
        }
        next = sooner(next, due);
    }
    return next;
}

/* Under the mutex, which is given up for a moment. The time at which to look again. */
static uint64_t
keeper_look(struct cop_http_server *server, uint64_t now)
{
    struct cop__http_watches *all = &server->watched;
    if (all->count || !all->keeper)
        return UINT64_MAX;
    uint64_t end = all->left_ns + server->options.lease_ms * MS;
    if (now < end)
        return end;
    cop_watch *keeper = all->keeper;
    all->keeper = NULL;
    pthread_mutex_unlock(&all->mutex);
    cop_watch_close(keeper);
    pthread_mutex_lock(&all->mutex);
    return UINT64_MAX;
}

static int
timeout_ms(uint64_t due, uint64_t now)
{
    if (due == UINT64_MAX)
        return -1;
    return due <= now ? 0 : (int)(sooner((due - now) / MS, HEARTBEAT_MS_MAX) + 1);
}

/* Under the mutex. */
static void
take_event(struct cop_http_server *server, uint64_t tag)
{
    eventfd_t count;
    if (tag == WOKEN) {
        (void)eventfd_read(server->watched.event, &count);
        return;
    }
    struct cop__http_watch *w = server->watched.client[(uint32_t)tag >> 1];
    if (!w || w->number != tag >> 32)
        return;
    w->gone |= (tag & IS_SOCKET) != 0;
    wake(w);
}

static void *
run_waker(void *context)
{
    struct cop_http_server *server = context;
    struct cop__http_watches *all = &server->watched;
    struct epoll_event events[64];
    int timeout = 0;
    for (;;) {
        int n = epoll_wait(all->epoll, events, 64, timeout);
        pthread_mutex_lock(&all->mutex);
        for (int i = 0; i < n; i++)
            take_event(server, events[i].data.u64);
        bool ending = is_ending(server);
        uint64_t now = cop__http_now_ns();
        uint64_t due = beat(server, now);
        timeout = timeout_ms(sooner(due, keeper_look(server, now)), now);
        pthread_mutex_unlock(&all->mutex);
        if (ending)
            return NULL;
    }
}

static bool
add_fd(struct cop_http_server *server, int fd, uint32_t events, uint64_t tag)
{
    struct epoll_event event = {.events = events, .data.u64 = tag};
    return epoll_ctl(server->watched.epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

/* The descriptors and the thread, with the first client. Under the mutex. */
static bool
waker_start(struct cop_http_server *server)
{
    struct cop__http_watches *all = &server->watched;
    sigset_t every, before;
    if (all->started)
        return true;
    if (!all->client)
        all->client = calloc(server->options.max_watchers, sizeof *all->client);
    if (all->epoll < 0)
        all->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (all->event < 0 && (all->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) >= 0)
        (void)add_fd(server, all->event, EPOLLIN, WOKEN);
    if (!all->client || all->epoll < 0 || all->event < 0)
        return false;
    sigfillset(&every); /* signals are the host's: none may be delivered to this thread */
    pthread_sigmask(SIG_SETMASK, &every, &before);
    all->started = pthread_create(&all->waker, NULL, run_waker, server) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return all->started;
}

void
cop__http_watches_init(struct cop_http_server *server)
{
    struct cop__http_watches *all = &server->watched;
    pthread_mutex_init(&all->mutex, NULL);
    all->epoll = all->event = -1;
}

static size_t
count_clients(struct cop__http_watches *all)
{
    pthread_mutex_lock(&all->mutex);
    size_t count = all->count;
    pthread_mutex_unlock(&all->mutex);
    return count;
}

size_t
cop__http_watchers(struct cop_http_server *server)
{
    return count_clients(&server->watched);
}

/* Who is reading learns that this is the end; who is not is cut. */
void
cop__http_watches_stop(struct cop_http_server *server)
{
    struct cop__http_watches *all = &server->watched;
    pthread_mutex_lock(&all->mutex);
    for (size_t i = 0; all->client && i < server->options.max_watchers; i++)
        if (all->client[i])
            wake(all->client[i]);
    pthread_mutex_unlock(&all->mutex);
    const struct timespec moment = {0, 1000000};
    for (int i = 0; i < END_MS && count_clients(all) > 0; i++)
        nanosleep(&moment, NULL);
    if (!all->started)
        return;
    (void)eventfd_write(all->event, 1);
    pthread_join(all->waker, NULL);
}

void
cop__http_watches_end(struct cop_http_server *server)
{
    struct cop__http_watches *all = &server->watched;
    cop_watch_close(all->keeper);
    if (all->epoll >= 0)
        close(all->epoll);
    if (all->event >= 0)
        close(all->event);
    free(all->client);
    pthread_mutex_destroy(&all->mutex);
}

/* ---- coming and going ---- */

/* Under the mutex. */
static void
place_take(struct cop__http_watch *w)
{
    struct cop__http_watches *all = &w->server->watched;
    while (all->client[w->place])
        w->place++; /* there is one: it was counted */
    all->client[w->place] = w;
    all->count++;
    w->number = ++all->numbered;
    w->placed = true;
}

static bool
place_find(struct cop__http_watch *w)
{
    struct cop_http_server *server = w->server;
    struct cop__http_watches *all = &server->watched;
    pthread_mutex_lock(&all->mutex);
    if (is_ending(server))
        cop__problem_set(w->problem, COP_PROBLEM_CLOSING, "the server is about to end");
    else if (all->count >= server->options.max_watchers)
        cop__problem_set(w->problem, COP_PROBLEM_BUSY, "%u clients watch already",
                         server->options.max_watchers);
    else if (!waker_start(server))
        cop__problem_set(w->problem, COP_PROBLEM_BUSY, "no descriptors or memory for a watcher");
    else
        place_take(w);
    pthread_mutex_unlock(&all->mutex);
    return w->placed;
}

static void
place_leave(struct cop__http_watch *w)
{
    struct cop__http_watches *all = &w->server->watched;
    pthread_mutex_lock(&all->mutex);
    all->client[w->place] = NULL;
    if (w->socket >= 0)
        (void)epoll_ctl(all->epoll, EPOLL_CTL_DEL, w->socket, NULL);
    if (w->fd >= 0)
        (void)epoll_ctl(all->epoll, EPOLL_CTL_DEL, w->fd, NULL);
    if (--all->count == 0) {
        all->left_ns = cop__http_now_ns();
        (void)eventfd_write(all->event, 1);
    }
    pthread_mutex_unlock(&all->mutex);
}

void
cop__http_watch_free(struct cop__http_watch *w)
{
    if (!w)
        return;
    if (w->placed)
        place_leave(w);
    cop_watch_close(w->watch);
    if (w->stream)
        cop__stream_free(w->stream);
    cop__buffer_free(&w->piece);
    free(w);
}

/* It watches next to nothing, is never told, and is asked about by nobody; its descriptor has
 * passes made. */
static cop_status
keeper_open(struct cop_http_server *server)
{
    cop_watch_options options = COP_WATCH_OPTIONS_INIT;
    cop_watch *keeper = NULL;
    int fd;
    options.paused = options.only_itself = true;
    options.overflow = COP_WATCH_GAP;
    options.max_delay_ns = KEEPER_DELAY_NS;
    cop_status status = cop_watch_open(server->store, "", 0, &options, NULL, NULL, &keeper, NULL);
    if (status == COP_OK && (status = cop_watch_fd(keeper, &fd)) != COP_OK) {
        cop_watch_close(keeper);
        keeper = NULL;
    }
    server->watched.keeper = keeper;
    return status;
}

static cop_status
keeper_need(struct cop_http_server *server)
{
    pthread_mutex_lock(&server->watched.mutex);
    cop_status status = server->watched.keeper ? COP_OK : keeper_open(server);
    pthread_mutex_unlock(&server->watched.mutex);
    return status;
}

static bool
open_watch(struct cop__http_watch *w)
{
    cop_watch_options options = COP_WATCH_OPTIONS_INIT;
    cop_error error = COP_ERROR_INIT;
    options.since = w->since;
    options.max_delay_ns = options.min_interval_ns = w->window_ns;
    cop_status status = cop_watch_open(w->server->store, w->path, w->length, &options, NULL, NULL,
                                       &w->watch, &error);
    if (status == COP_OK)
        status = cop_watch_fd(w->watch, &w->fd);
    if (status == COP_OK)
        status = keeper_need(w->server);
    if (status == COP_OK)
        return true;
    if (status == COP_E_IO)
        return cop__problem_set(w->problem, COP_PROBLEM_BUSY, "no descriptors for a watcher");
    return cop__problem_reading(w->problem, status, &error);
}

/* The descriptors that wake it. The kernel holds no more for a client than an event has. */
static bool
listen_to(struct cop__http_watch *w)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(w->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    int bytes = (int)w->server->options.watch_bytes;
    w->socket = info ? info->connect_fd : -1;
    if (w->socket >= 0)
        (void)setsockopt(w->socket, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    w->sent_ns = cop__http_now_ns();
    if (w->socket >= 0 && add_fd(w->server, w->fd, EPOLLONESHOT, tag_of(w, 0)) &&
        add_fd(w->server, w->socket, EPOLLRDHUP | EPOLLONESHOT, tag_of(w, IS_SOCKET)) &&
        eventfd_write(w->server->watched.event, 1) == 0)
        return true;
    return cop__problem_set(w->problem, COP_PROBLEM_BUSY, "no descriptors for a watcher");
}

/* ---- the question ---- */

/* An id that is not of this server is answered by a reset, as none is. */
static uint64_t
since_of(struct cop_http_server *server, const char *id)
{
    uint64_t version;
    return cop__event_id(id, server->instance, &version) && version < UNKNOWN ? version : UNKNOWN;
}

static enum MHD_Result
take_argument(void *context, enum MHD_ValueKind kind, const char *key, const char *value)
{
    struct cop__http_watch *w = context;
    uint64_t ms = 0;
    (void)kind;
    if (strcmp(key, "window_ms") == 0) {
        w->good = cop__http_number(value, WINDOW_MS_MAX, &ms);
        w->window_ns = ms * MS;
    } else if (strcmp(key, "heartbeat_ms") == 0) {
        w->good = cop__http_number(value, HEARTBEAT_MS_MAX, &ms) && ms >= HEARTBEAT_MS_MIN;
        w->heartbeat_ns = ms * MS;
    } else if (strcmp(key, "last_event_id") == 0) {
        w->since = since_of(w->server, value ? value : "");
    } else {
        w->good = false;
    }
    return w->good ? MHD_YES : MHD_NO;
}

/* The header is what a browser sends when it comes back; it knows more than the query it began
 * with. */
static bool
parse(struct cop__http_request *r, struct cop__http_watch *w)
{
    const char *last = MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, "Last-Event-ID");
    w->good = true;
    w->since = UNKNOWN;
    w->window_ns = r->server->options.watch_window_ms * MS;
    w->heartbeat_ns = r->server->options.heartbeat_ms * MS;
    MHD_get_connection_values(r->connection, MHD_GET_ARGUMENT_KIND, take_argument, w);
    if (!w->good)
        return cop__problem_set(&r->problem, COP_PROBLEM_REQUEST,
                                "the query is window_ms=N (0 to %d), heartbeat_ms=N (%d to %d) and "
                                "last_event_id=ID",
                                WINDOW_MS_MAX, HEARTBEAT_MS_MIN, HEARTBEAT_MS_MAX);
    if (last)
        w->since = since_of(r->server, last);
    return cop__http_pattern(r->rest, w->path, &w->length, &r->problem);
}

static struct cop__http_watch *
watch_new(struct cop__http_request *r)
{
    struct cop__http_watch *w = calloc(1, sizeof *w);
    if (!w) {
        cop__problem_set(&r->problem, COP_PROBLEM_BUSY, "no memory");
        return NULL;
    }
    r->watch = w; /* freed when the request ends */
    w->server = r->server;
    w->connection = r->connection;
    w->problem = &r->problem;
    w->piece.budget = &r->server->budget;
    w->fd = w->socket = -1;
    return parse(r, w) && place_find(w) && open_watch(w) && listen_to(w) ? w : NULL;
}

enum MHD_Result
cop__http_watch(struct cop__http_request *r)
{
    struct cop__http_watch *w = watch_new(r);
    if (!w)
        return cop__http_reply_problem(r, &r->problem);
    cop__http_count(&r->server->watches);
    struct MHD_Response *response =
        r->head ? MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT)
                : MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, pull, w, NULL);
    if (response)
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "text/event-stream");
    return cop__http_queue(r, MHD_HTTP_OK, response, NULL);
}

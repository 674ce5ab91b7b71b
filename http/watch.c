/* SPDX-License-Identifier: MIT */
/*
 * GET /v1/watch/PATH: server-sent events. What an event looks like is in events.c, what is
 * sent in watch_stream.c.
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
#include "http/watch.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/events.h"

#define MS ((uint64_t)1000000)
#define WINDOW_MS_MAX 60000
#define HEARTBEAT_MS_MIN 100
#define HEARTBEAT_MS_MAX 3600000
#define KEEPER_DELAY_NS (1000 * MS)
#define END_MS 200                  /* that clients have to be told of the end */
#define BLOCK 4096                  /* that libmicrohttpd asks for, of a client without chunks */
#define WOKEN UINT64_MAX            /* what the waker's own descriptor tells */
#define UNKNOWN (COP_WATCH_NOW - 1) /* a version that never is: a client that knows nothing */

/* Under the mutex. */
static void
wake(struct cop__http_watch *w)
{
    if (!w->suspended)
        return;
    w->suspended = false;
    MHD_resume_connection(w->connection);
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
take_event(struct cop_http_server *server, uint64_t tag, bool *woken)
{
    eventfd_t count;
    if (tag == WOKEN) {
        (void)eventfd_read(server->watched.event, &count);
        *woken = true;
        return;
    }
    struct cop__http_watch *w = server->watched.client[(uint32_t)tag >> 1];
    if (!w || w->number != tag >> 32)
        return;
    w->gone |= (tag & COP_HTTP_IS_SOCKET) != 0;
    wake(w);
}

static void *
run_waker(void *context)
{
    struct cop_http_server *server = context;
    struct cop__http_watches *all = &server->watched;
    struct epoll_event events[64];
    uint64_t due = 0;
    int timeout = 0;
    for (;;) {
        int n = epoll_wait(all->epoll, events, 64, timeout);
        bool woken = false; /* somebody came, or the last one went */
        pthread_mutex_lock(&all->mutex);
        for (int i = 0; i < n; i++)
            take_event(server, events[i].data.u64, &woken);
        bool ending = cop__http_is_ending(server);
        uint64_t now = cop__http_now_ns();
        if (woken || now >= due)
            due = sooner(beat(server, now), keeper_look(server, now));
        timeout = timeout_ms(due, now);
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
    if (cop__http_is_ending(server))
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
    cop_json_stream_close(w->stream);
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
    if (w->socket >= 0 && add_fd(w->server, w->fd, EPOLLONESHOT, cop__http_watch_tag(w, 0)) &&
        add_fd(w->server, w->socket, EPOLLRDHUP | EPOLLONESHOT,
               cop__http_watch_tag(w, COP_HTTP_IS_SOCKET)) &&
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
    } else if (strcmp(key, "format") == 0) {
        w->good = w->patches = value && strcmp(value, "json-patch") == 0;
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
                                "the query is window_ms=N (0 to %d), heartbeat_ms=N (%d to %d), "
                                "last_event_id=ID and format=json-patch",
                                WINDOW_MS_MAX, HEARTBEAT_MS_MIN, HEARTBEAT_MS_MAX);
    if (last)
        w->since = since_of(r->server, last);
    if (!cop__http_pattern(r->rest, w->path, &w->length, &r->problem))
        return false;
    if (w->patches && memchr(w->path, '*', w->length)) /* what it does not match is not watched */
        return cop__problem_set(&r->problem, COP_PROBLEM_REQUEST,
                                "a patch is of what is at a path, not at a pattern");
    return true;
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
                : MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, cop__http_watch_pull,
                                                    w, NULL);
    if (response)
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "text/event-stream");
    return cop__http_queue(r, MHD_HTTP_OK, response, NULL);
}

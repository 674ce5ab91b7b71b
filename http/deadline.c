/* SPDX-License-Identifier: MIT */
/*
 * Absolute deadlines. libmicrohttpd's own timeout is of idleness only: a client that sends or reads
 * one byte now and then is never cut by it. So each connection carries the time at which it is cut,
 * and one thread, the keeper, shuts down the sockets whose time has come; libmicrohttpd then sees
 * the end of the connection and cleans up.
 *
 * A connection waiting for a request has the idle timeout and a whole request's deadline, so that
 * a client dripping its first line is bounded as well.
 *
 * Why the shutdown can never hit another connection's socket: a connection leaves the list, under
 * the mutex, in the CLOSED notification, which libmicrohttpd sends before it closes the socket;
 * the keeper shuts sockets down under the same mutex and only those it finds in the list.
 *
 * The keeper also ends leases. It sleeps without a timeout while there is nothing to watch.
 */
#include "http/internal.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define MS ((uint64_t)1000000)

static uint64_t
deadline_ns(const struct cop_http_server *server)
{
    return (uint64_t)server->options.request_deadline_ms * MS;
}

static uint64_t
waiting_ns(const struct cop_http_server *server)
{
    return deadline_ns(server) + (uint64_t)server->options.idle_timeout_s * 1000u * MS;
}

static void
set_limit(struct cop__http_connection *connection, uint64_t ns)
{
    atomic_store_explicit(&connection->limit_ns, cop__http_now_ns() + ns, memory_order_relaxed);
}

static struct cop__http_connection *
connection_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

/* When the socket is closed, what was written and not yet read goes too: or a client that reads
 * slowly would keep the kernel's buffers. */
static void
forget_unsent(const struct cop__http_connection *c)
{
    const struct linger none = {.l_onoff = 1, .l_linger = 0};
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
}

void
cop__http_deadline_begin(struct cop_http_server *server, struct MHD_Connection *connection)
{
    struct cop__http_connection *c = connection_of(connection);
    if (c)
        set_limit(c, deadline_ns(server));
}

void
cop__http_deadline_none(struct MHD_Connection *connection)
{
    struct cop__http_connection *c = connection_of(connection);
    if (c)
        atomic_store_explicit(&c->limit_ns, UINT64_MAX, memory_order_relaxed);
}

void
cop__http_deadline_end(struct cop_http_server *server, struct MHD_Connection *connection,
                       bool timed_out)
{
    struct cop__http_connection *c = connection_of(connection);
    if (!c)
        return;
    set_limit(c, waiting_ns(server));
    if (timed_out)
        forget_unsent(c);
}

static void
connection_started(struct cop_http_server *server, struct MHD_Connection *connection, void **own)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct cop__http_connection *c = calloc(1, sizeof *c);
    if (!c || !info) {
        /* Nobody would keep its deadline: end it now. */
        if (info)
            shutdown(info->connect_fd, SHUT_RDWR);
        free(c);
        return;
    }
    c->fd = info->connect_fd;
    set_limit(c, waiting_ns(server));
    pthread_mutex_lock(&server->mutex);
    c->next = server->connections;
    if (c->next)
        c->next->previous = c;
    server->connections = c;
    if (server->connections_count++ == 0)
        pthread_cond_signal(&server->changed);
    pthread_mutex_unlock(&server->mutex);
    *own = c;
}

static void
connection_closed(struct cop_http_server *server, struct cop__http_connection *c)
{
    pthread_mutex_lock(&server->mutex);
    if (c->previous)
        c->previous->next = c->next;
    else
        server->connections = c->next;
    if (c->next)
        c->next->previous = c->previous;
    server->connections_count--;
    pthread_mutex_unlock(&server->mutex);
    free(c);
}

void
cop__http_connection_notify(void *context, struct MHD_Connection *connection, void **own,
                            enum MHD_ConnectionNotificationCode code)
{
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        connection_started(context, connection, own);
    } else if (*own) {
        connection_closed(context, *own);
        *own = NULL;
    }
}

static void
cut(struct cop__http_connection *c)
{
    forget_unsent(c);
    shutdown(c->fd, SHUT_RDWR);
    c->cut = true;
}

/* Under the mutex. */
static void
cut_late_connections(struct cop_http_server *server, uint64_t now_ns)
{
    for (struct cop__http_connection *c = server->connections; c; c = c->next) {
        uint64_t limit = atomic_load_explicit(&c->limit_ns, memory_order_relaxed);
        if (c->cut || limit > now_ns)
            continue;
        cut(c);
        cop__http_count(&server->deadlines_passed);
    }
}

/* An eighth of the deadline, so that a short one is kept well and a long one costs little. */
static uint64_t
tick_ns(const struct cop_http_server *server)
{
    uint64_t tick = deadline_ns(server) / 8;
    return tick < 5 * MS ? 5 * MS : tick > 250 * MS ? 250 * MS : tick;
}

static void
wait_a_tick(struct cop_http_server *server)
{
    uint64_t until = cop__http_now_ns() + tick_ns(server);
    struct timespec t = {.tv_sec = (time_t)(until / 1000000000u),
                         .tv_nsec = (long)(until % 1000000000u)};
    pthread_cond_timedwait(&server->changed, &server->mutex, &t);
}

static bool
anything_to_watch(struct cop_http_server *server)
{
    pthread_mutex_lock(&server->leases_mutex);
    bool any = server->leases_count > 0;
    pthread_mutex_unlock(&server->leases_mutex);
    return any || server->connections_count > 0;
}

static void *
keep(void *context)
{
    struct cop_http_server *server = context;
    pthread_mutex_lock(&server->mutex);
    while (!server->stopping) {
        if (!anything_to_watch(server)) {
            pthread_cond_wait(&server->changed, &server->mutex);
            continue;
        }
        cut_late_connections(server, cop__http_now_ns());
        pthread_mutex_unlock(&server->mutex);
        cop__http_leases_expire(server, cop__http_now_ns());
        pthread_mutex_lock(&server->mutex);
        if (!server->stopping)
            wait_a_tick(server);
    }
    pthread_mutex_unlock(&server->mutex);
    return NULL;
}

cop_status
cop__http_keeper_start(struct cop_http_server *server)
{
    sigset_t all, before;
    sigfillset(&all); /* signals are the host's: none may be delivered to this thread */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&server->keeper, NULL, keep, server);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    server->keeper_started = !failed;
    return failed ? COP_E_MEMORY : COP_OK;
}

void
cop__http_keeper_stop(struct cop_http_server *server)
{
    if (!server->keeper_started)
        return;
    pthread_mutex_lock(&server->mutex);
    server->stopping = true;
    pthread_cond_signal(&server->changed);
    pthread_mutex_unlock(&server->mutex);
    pthread_join(server->keeper, NULL);
    server->keeper_started = false;
}

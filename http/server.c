/* SPDX-License-Identifier: MIT */
/*
 * Opening and closing: the options and their bounds, libmicrohttpd's daemon, the threads. What a
 * request goes through is in request.c.
 */
#include "http/internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* libmicrohttpd keeps a request's header and its reading and writing buffers in one block. */
#define CONNECTION_MEMORY(options) ((size_t)(options)->max_header_bytes * 2 + 16384)

static cop_status
fail(cop_error *error, cop_status status, const char *what)
{
    if (error) {
        *error = (cop_error)COP_ERROR_INIT;
        error->status = status;
        snprintf(error->message, sizeof error->message, "%s", what);
    }
    return status;
}

/* A caller compiled against an earlier header has a shorter struct: the rest stays at default. */
static bool
copy_options(cop_http_options *to, const cop_http_options *from)
{
    if (!from)
        return true;
    if (from->size < offsetof(cop_http_options, address) || from->size > sizeof *to)
        return false;
    memcpy(to, from, from->size);
    to->size = sizeof *to;
    return true;
}

static cop_status
check_options(const cop_http_options *o, cop_error *error)
{
    static const char *const outside[] = {
        "threads: 1 to 256",
        "max_connections: threads to 1,000,000",
        "max_header_bytes: 1,024 to 1,048,576",
        "max_body_bytes: 1 to 1,073,741,824",
        "request_deadline_ms: 10 to 86,400,000",
        "idle_timeout_s: 1 to 86,400",
        "max_snapshots: at most 1,000,000",
        "lease_ms: 1 to max_lease_ms, which is at most a day",
        "max_watchers: at most 1,000,000",
        "watch_bytes: 1,024 to 1,073,741,824",
        "watch_window_ms: at most 60,000",
        "heartbeat_ms: 100 to 3,600,000",
    };
    const bool good[] = {
        o->threads >= 1 && o->threads <= 256,
        o->max_connections >= o->threads && o->max_connections <= 1000000,
        o->max_header_bytes >= 1024 && o->max_header_bytes <= 1048576,
        o->max_body_bytes >= 1 && o->max_body_bytes <= 1073741824,
        o->request_deadline_ms >= 10 && o->request_deadline_ms <= 86400000,
        o->idle_timeout_s >= 1 && o->idle_timeout_s <= 86400,
        o->max_snapshots <= 1000000,
        o->lease_ms >= 1 && o->lease_ms <= o->max_lease_ms && o->max_lease_ms <= 86400000,
        o->max_watchers <= 1000000,
        o->watch_bytes >= 1024 && o->watch_bytes <= 1073741824,
        o->watch_window_ms <= 60000,
        o->heartbeat_ms >= 100 && o->heartbeat_ms <= 3600000,
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (!good[i])
            return fail(error, COP_E_RANGE, outside[i]);
    return COP_OK;
}

static cop_status
parse_address(const cop_http_options *o, struct sockaddr_storage *address, cop_error *error)
{
    const char *text = o->address ? o->address : "127.0.0.1";
    struct sockaddr_in *v4 = (struct sockaddr_in *)address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)address;
    memset(address, 0, sizeof *address);
    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(o->port);
    } else if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(o->port);
    } else {
        return fail(error, COP_E_INVALID, "address: a numeric IPv4 or IPv6 address is wanted");
    }
    return COP_OK;
}

static void __attribute__((format(printf, 2, 0)))
log_line(void *context, const char *format, va_list arguments)
{
    struct cop_http_server *server = context;
    char line[512];
    int n = vsnprintf(line, sizeof line, format, arguments);
    if (!server->options.log || n < 0)
        return;
    line[strcspn(line, "\n")] = '\0';
    server->options.log(server->options.log_context, COP_LOG_WARNING, line);
}

/* Percent-encoding stays as it is: path.c decodes it by segment. */
static size_t
keep_encoded(void *context, struct MHD_Connection *connection, char *text)
{
    (void)context;
    (void)connection;
    return strlen(text);
}

static struct MHD_Daemon *
start_daemon(struct cop_http_server *server, const struct sockaddr *address)
{
    const cop_http_options *o = &server->options;
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_TURBO | MHD_ALLOW_SUSPEND_RESUME;
    struct MHD_OptionItem pool[] = {{MHD_OPTION_END, 0, NULL}, {MHD_OPTION_END, 0, NULL}};
    if (address->sa_family == AF_INET6)
        flags |= MHD_USE_IPv6;
    if (o->log)
        flags |= MHD_USE_ERROR_LOG;
    if (o->threads > 1)
        pool[0] = (struct MHD_OptionItem){MHD_OPTION_THREAD_POOL_SIZE, (intptr_t)o->threads, NULL};
    return MHD_start_daemon(
        flags, o->port, NULL, NULL, cop__http_on_request, server, MHD_OPTION_EXTERNAL_LOGGER,
        log_line, server, /* first, so that it hears of the others */
        MHD_OPTION_SOCK_ADDR, address, MHD_OPTION_CONNECTION_LIMIT, (unsigned)o->max_connections,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)o->idle_timeout_s,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY(o), MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_UNESCAPE_CALLBACK, keep_encoded, server, MHD_OPTION_URI_LOG_CALLBACK,
        cop__http_on_uri, server, MHD_OPTION_NOTIFY_COMPLETED, cop__http_on_completed, server,
        MHD_OPTION_NOTIFY_CONNECTION, cop__http_connection_notify, server, MHD_OPTION_ARRAY, pool,
        MHD_OPTION_END);
}

static cop_status
listen_on(struct cop_http_server *server, const cop_http_options *o, cop_error *error)
{
    struct sockaddr_storage address;
    char what[160];
    cop_status status = parse_address(o, &address, error);
    if (status != COP_OK)
        return status;
    errno = 0;
    server->daemon = start_daemon(server, (const struct sockaddr *)&address);
    if (!server->daemon) {
        int reason = errno;
        snprintf(what, sizeof what, "%s port %u: %s", o->address ? o->address : "127.0.0.1",
                 o->port, reason ? strerror(reason) : "cannot listen");
        return fail(error, COP_E_IO, what);
    }
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_BIND_PORT);
    server->port = info && info->port ? info->port : o->port;
    return COP_OK;
}

static cop_status
set_hosts(struct cop_http_server *server, const cop_http_options *o)
{
    char **hosts = cop__http_hosts_new(o, server->port);
    atomic_store_explicit(&server->hosts, hosts, memory_order_release);
    return hosts ? COP_OK : COP_E_MEMORY;
}

static struct cop_http_server *
server_new(cop_store *store, const cop_http_options *o)
{
    struct cop_http_server *server = calloc(1, sizeof *server);
    pthread_condattr_t monotonic;
    if (!server)
        return NULL;
    server->store = store;
    server->options = *o;
    server->options.hosts = NULL;
    server->options.address = NULL;
    server->port = o->port;
    server->budget.limit = o->max_buffered_bytes;
    if (getrandom(server->hash_key, sizeof server->hash_key, 0) < 0 ||
        getrandom(&server->instance, sizeof server->instance, 0) < 0)
        server->instance = (uint32_t)cop__http_now_ns();
    server->leases = calloc(o->max_snapshots ? o->max_snapshots : 1, sizeof *server->leases);
    pthread_mutex_init(&server->mutex, NULL);
    pthread_mutex_init(&server->leases_mutex, NULL);
    pthread_mutex_init(&server->options_mutex, NULL);
    cop__http_watches_init(server);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&server->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return server;
}

/* The Host values are known before the first request unless the port is chosen by the system. */
static cop_status
start(struct cop_http_server *server, const cop_http_options *o, cop_error *error)
{
    cop_status status = server->leases ? COP_OK : COP_E_MEMORY;
    if (status == COP_OK && o->port)
        status = set_hosts(server, o);
    if (status == COP_OK)
        status = cop__http_keeper_start(server);
    if (status != COP_OK)
        return fail(error, status, cop_status_message(status));
    status = listen_on(server, o, error);
    if (status == COP_OK && !o->port && set_hosts(server, o) != COP_OK)
        status = fail(error, COP_E_MEMORY, cop_status_message(COP_E_MEMORY));
    return status;
}

cop_status
cop_http_open(cop_store *store, const cop_http_options *options, cop_http_server **server,
              cop_error *error)
{
    cop_http_options o = COP_HTTP_OPTIONS_INIT;
    if (!server)
        return fail(error, COP_E_INVALID, "server: must not be NULL");
    *server = NULL;
    if (!store || !copy_options(&o, options))
        return fail(error, COP_E_INVALID, "store: NULL, or options of an unknown size");
    cop_status status = check_options(&o, error);
    if (status != COP_OK)
        return status;
    struct cop_http_server *made = server_new(store, &o);
    if (!made)
        return fail(error, COP_E_MEMORY, cop_status_message(COP_E_MEMORY));
    status = start(made, &o, error);
    if (status != COP_OK) {
        cop_http_close(made);
        return status;
    }
    *server = made;
    return COP_OK;
}

void
cop_http_close(cop_http_server *server)
{
    if (!server)
        return;
    cop__http_waits_end(server);
    cop__http_watches_stop(server);
    if (server->daemon)
        MHD_stop_daemon(server->daemon);
    cop__http_watches_end(server);
    cop__http_keeper_stop(server);
    cop__http_leases_end(server);
    cop__http_hosts_free(atomic_load_explicit(&server->hosts, memory_order_relaxed));
    pthread_cond_destroy(&server->changed);
    pthread_mutex_destroy(&server->mutex);
    pthread_mutex_destroy(&server->leases_mutex);
    pthread_mutex_destroy(&server->options_mutex);
    free(server->leases);
    free(server);
}

uint16_t
cop_http_port(const cop_http_server *server)
{
    return server->port;
}

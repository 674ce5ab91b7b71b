/* SPDX-License-Identifier: MIT */
/*
 * The optional HTTP module (libcoppice-http): one store served over HTTP/1.1. docs/http.md is the
 * protocol.
 *
 * The server has no authentication: whoever reaches its address may read and write. It listens on
 * loopback unless told otherwise, answers only to the Host names it knows, and refuses writes that
 * a browser sends for another site.
 */
#ifndef COPPICE_HTTP_H
#define COPPICE_HTTP_H

#include <coppice/options.h>
#include <coppice/pool.h>
#include <coppice/store.h>

#ifdef __cplusplus
extern "C" {
#endif

#define COP_HTTP_PORT 7227

typedef struct cop_http_server cop_http_server;

typedef struct cop_http_options {
    size_t size;                  /* sizeof(cop_http_options) */
    const char *address;          /* numeric IPv4 or IPv6 address; NULL: 127.0.0.1 */
    uint16_t port;                /* 0: any free one, told by cop_http_port */
    uint32_t threads;             /* 1 .. 256 threads, each serving many connections */
    uint32_t max_connections;     /* at once, at least `threads`; more wait to be accepted */
    uint32_t max_header_bytes;    /* request line and headers; 1 KiB .. 1 MiB */
    uint64_t max_body_bytes;      /* of one request, up to 1 GiB */
    uint64_t max_buffered_bytes;  /* bodies and answers held at once, by all requests together */
    uint32_t request_deadline_ms; /* from a request's first line to its answer's last byte */
    uint32_t idle_timeout_s;      /* a connection on which nothing happens is closed */
    uint32_t max_snapshots;       /* versions held by clients at once */
    uint32_t lease_ms;            /* how long such a version is held when the client does not say */
    uint32_t max_lease_ms;        /* and how long it may ask for */
    const char *const *hosts;     /* further Host values that are answered: "name" or "name:port" */
    size_t hosts_count;
    cop_log_function log; /* what libmicrohttpd complains of; NULL: nothing */
    void *log_context;    /* must outlive the server */
    /* Resized by PATCH /v1/options with workers.threads, which is refused without one. It must outlive
     * the server. */
    cop_pool *pool;
    uint32_t max_watchers;    /* clients of /v1/watch at once; 0: none */
    uint32_t watch_window_ms; /* they are told at most once in it, unless they say; at most 60,000 */
    uint32_t heartbeat_ms;    /* a stream on which nothing happens has a comment; 100 .. 3,600,000 */
    uint32_t watch_bytes;     /* of one change event, larger ones are resets; and of what a client has
                               * not read, twice and in the kernel; 1 KiB .. 1 GiB */
} cop_http_options;

#define COP_HTTP_OPTIONS_INIT                                                                     \
    {                                                                                             \
        sizeof(cop_http_options), NULL, COP_HTTP_PORT, 2, 512, 32768, 67108864, 268435456, 30000, \
            30, 64, 60000, 3600000, NULL, 0, NULL, NULL, NULL, 256, 16, 15000, 262144                  \
    }

/*
 * Starts serving the store: `threads` threads and one that keeps the deadlines; from the first client
 * of /v1/watch on, one that wakes those who watch. options may be NULL
 * (defaults); nothing of it is kept but log_context. The store must stay open until
 * cop_http_close, and nobody else change its live options meanwhile.
 * COP_E_INVALID, COP_E_RANGE (options), COP_E_IO (the address cannot be had: in use, not local),
 * COP_E_MEMORY; *server is NULL then. Thread-safe, blocking.
 */
COP_PUBLIC cop_status cop_http_open(cop_store *store, const cop_http_options *options,
                                    cop_http_server **server, cop_error *error);

/* Changes live options of the served store, and the threads of the pool, as PATCH /v1/options does: all
 * of them or none, one change at a time with the clients'. COP_E_STATE: one that is fixed differs, or
 * workers.threads without a pool; else as cop_store_reconfigure and cop_pool_resize. The message names the
 * option. Thread-safe. Blocking, for at most 10 s. */
COP_PUBLIC cop_status cop_http_reconfigure(cop_http_server *server, const cop_options *options,
                                           cop_error *error);

/* Stops listening, cuts connections that are still open, ends all leases and waits for the threads.
 * Legal for NULL. Blocking, not from a thread of the server. */
COP_PUBLIC void cop_http_close(cop_http_server *server);

/* The port that is listened on. Thread-safe, wait-free. */
COP_PUBLIC uint16_t cop_http_port(const cop_http_server *server);

#ifdef __cplusplus
}
#endif
#endif

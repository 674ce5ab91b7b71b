/* SPDX-License-Identifier: MIT */
/*
 * What the files of the HTTP module share.
 *
 * A request is answered by one of libmicrohttpd's threads from start to end. It is called at least
 * twice: after the headers (checks), for each part of the body, and at its end (the answer). Shared
 * between those threads are only the counters, the list of connections and the leases of snapshots,
 * the last two each under a mutex that is held for a few instructions.
 */
#ifndef COP_HTTP_INTERNAL_H
#define COP_HTTP_INTERNAL_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

#include <coppice/coppice.h>
#include <coppice/http.h>

#include "http/buffer.h"
#include "http/problem.h"

#define COP_HTTP_STATE "/v1/state"
#define COP_HTTP_SNAPSHOTS "/v1/snapshots"
#define COP_HTTP_HISTORY "/v1/history"
#define COP_HTTP_HISTORY_TYPE "application/octet-stream"
#define COP_HTTP_ETAG_MAX 96

/* Answers up to this size are made in memory and sent with a length; longer ones are streamed. */
#define COP_HTTP_BUFFERED_MAX ((size_t)1 << 20)

/* X(name, "help"): what only grows */
#define COP_HTTP_COUNTERS(X)                                                \
    X(requests, "requests")                                                 \
    X(refused, "requests answered by a problem")                            \
    X(writes, "transactions committed for clients")                         \
    X(streamed, "answers that were streamed")                               \
    X(deadlines_passed, "connections cut because a request took too long")  \
    X(waits, "questions to /v1/graph/why")                                  \
    X(watches, "streams of events begun")                                   \
    X(watch_events, "events told")                                          \
    X(watch_resets, "resets among the events told")

/* X(name, "help"): of this moment */
#define COP_HTTP_GAUGES(X)                                    \
    X(connections, "connections open")                        \
    X(leases, "versions held for clients")                    \
    X(watchers, "clients that watch")                         \
    X(buffered_bytes, "bytes of bodies and answers in memory")

struct cop__http_gauges {
#define COP_HTTP_GAUGE_FIELD(name, help) uint64_t name;
    COP_HTTP_GAUGES(COP_HTTP_GAUGE_FIELD)
#undef COP_HTTP_GAUGE_FIELD
};

/* One TCP connection, known to the deadline thread. */
struct cop__http_connection {
    struct cop__http_connection *next, *previous;
    int fd;
    _Atomic uint64_t limit_ns; /* CLOCK_MONOTONIC: when it is cut */
    bool cut;
};

/* A version held for a client. */
struct cop__http_lease {
    uint64_t id;
    const cop_snapshot *snapshot;
    uint64_t expires_ns;
    uint32_t lease_ms;
};

/* The clients that watch: watch.c. */
struct cop__http_watches {
    pthread_mutex_t mutex; /* all but the thread */
    struct cop__http_watch **client; /* options.max_watchers places; NULL until there is one */
    size_t count;
    uint32_t numbered;
    int epoll, event;
    pthread_t waker;
    bool started;
    struct cop_watch *keeper;
    uint64_t left_ns; /* when the last one left */
};

struct cop_http_server {
    cop_store *store;
    cop_http_options options; /* address and hosts are not to be used: see below */
    struct MHD_Daemon *daemon;
    uint16_t port;
    _Atomic(char **) hosts; /* Host values answered, NULL at the end; NULL until they are known */
    uint32_t instance;      /* told in ETags: versions begin anew with each server */
    uint64_t hash_key[2];

    struct cop__budget budget;
#define COP_HTTP_COUNTER_FIELD(name, help) _Atomic uint64_t name;
    COP_HTTP_COUNTERS(COP_HTTP_COUNTER_FIELD)
#undef COP_HTTP_COUNTER_FIELD

    pthread_t keeper; /* the deadline thread */
    bool keeper_started;
    pthread_mutex_t mutex; /* connections, connections_count, stopping */
    pthread_cond_t changed;
    struct cop__http_connection *connections;
    size_t connections_count;
    bool stopping;

    pthread_mutex_t options_mutex; /* one change of options at a time */
    size_t waiting;                /* threads that wait for a computed atom; under mutex */
    _Atomic bool ending;           /* they are to give up */
    struct cop__http_watches watched;

    pthread_mutex_t leases_mutex;
    struct cop__http_lease *leases; /* options.max_snapshots places */
    size_t leases_count;
    uint64_t leases_made;
};

enum cop__http_method {
    COP_HTTP_GET = 1,
    COP_HTTP_PUT = 2,
    COP_HTTP_POST = 4,
    COP_HTTP_PATCH = 8,
    COP_HTTP_DELETE = 16,
};

struct cop__http_request;
typedef enum MHD_Result (*cop__http_handler)(struct cop__http_request *request);

struct cop__http_route {
    const char *path;
    bool below;       /* also answers for what is below the path */
    unsigned methods; /* cop__http_method bits */
    cop__http_handler handler;
    const char *type; /* of a POST's body; NULL: JSON */
};

struct cop__http_request {
    struct cop_http_server *server;
    struct MHD_Connection *connection;
    const struct cop__http_route *route;
    const char *rest;             /* of the URL, behind the route's path; lives for the call */
    enum cop__http_method method; /* GET for HEAD too: libmicrohttpd leaves the body out */
    bool head;
    bool json_patch; /* of PATCH: the body is a JSON Patch, not a merge patch */
    struct cop__problem problem;  /* found early, told when the body has been read */
    struct cop__buffer body;
    uint64_t discarded; /* bytes of a body that nobody wants */
    struct cop__http_why *why; /* a question that is being waited for, or answered */
    struct cop__http_watch *watch; /* a stream of events */
};

static inline uint64_t
cop__http_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline void
cop__http_count(_Atomic uint64_t *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* deadline.c */
cop_status cop__http_keeper_start(struct cop_http_server *server);
void cop__http_keeper_stop(struct cop_http_server *server);
void cop__http_connection_notify(void *context, struct MHD_Connection *connection, void **own,
                                 enum MHD_ConnectionNotificationCode code);
/* The absolute deadline of a request begins, ends. */
void cop__http_deadline_begin(struct cop_http_server *server, struct MHD_Connection *connection);
/* It is waiting for the server, and may. */
void cop__http_deadline_none(struct MHD_Connection *connection);
void cop__http_deadline_end(struct cop_http_server *server, struct MHD_Connection *connection,
                            bool timed_out);

/* request.c: libmicrohttpd's entry points. */
void *cop__http_on_uri(void *context, const char *uri, struct MHD_Connection *connection);
enum MHD_Result cop__http_on_request(void *context, struct MHD_Connection *connection,
                                     const char *url, const char *method, const char *version,
                                     const char *upload, size_t *upload_size, void **own);
void cop__http_on_completed(void *context, struct MHD_Connection *connection, void **own,
                            enum MHD_RequestTerminationCode code);

/* check.c: what is refused before a body is read. False: *problem says why. */
bool cop__http_check(struct cop__http_request *request, struct cop__problem *problem);
/* The Host values that are answered, made once the port is known. */
char **cop__http_hosts_new(const cop_http_options *options, uint16_t port);
void cop__http_hosts_free(char **hosts);
/* A decimal number of digits only, at most maximum. */
bool cop__http_number(const char *text, uint64_t maximum, uint64_t *number);

/* reply.c: answers. Each takes what it is given and queues the response. */
enum MHD_Result cop__http_queue(struct cop__http_request *request, unsigned status,
                                struct MHD_Response *response, const char *etag);
/* Coppice-Version. */
void cop__http_add_version(struct MHD_Response *response, uint64_t version);
/* A JSON document in a buffer; the buffer is emptied. */
enum MHD_Result cop__http_reply_buffer(struct cop__http_request *request, unsigned status,
                                       struct cop__buffer *buffer, const char *etag,
                                       uint64_t version);
/* Bytes of another type, of no version; the buffer is emptied. */
enum MHD_Result cop__http_reply_typed(struct cop__http_request *request, struct cop__buffer *buffer,
                                      const char *type);
/* A JSON document; the reference is taken. location may be NULL. */
struct json_t;
enum MHD_Result cop__http_reply_json(struct cop__http_request *request, unsigned status,
                                     struct json_t *document, const char *location);
enum MHD_Result cop__http_reply_text(struct cop__http_request *request, const char *text);
enum MHD_Result cop__http_reply_empty(struct cop__http_request *request, unsigned status,
                                      const char *etag, uint64_t version);
enum MHD_Result cop__http_reply_problem(struct cop__http_request *request,
                                        const struct cop__problem *problem);

/* path.c: the rest of a URL to a path of the store (no terminator counted in *length). */
bool cop__http_path(const char *rest, char path[COP_PATH_MAX + 1], size_t *length,
                    struct cop__problem *problem);

/* The same for a parameter of the query, in which a separator may be written %2F. */
bool cop__http_path_argument(const char *text, char path[COP_PATH_MAX + 1], size_t *length,
                             struct cop__problem *problem);

/* A parameter of the query that is no path. */
bool cop__http_argument(const char *text, char decoded[COP_PATH_MAX + 1], size_t *length,
                        struct cop__problem *problem);

/* The same as cop__http_path for a pattern, which whoever takes it checks. */
bool cop__http_pattern(const char *rest, char path[COP_PATH_MAX + 1], size_t *length,
                       struct cop__problem *problem);

/* state.c, write.c, transaction.c, snapshots.c, history.c, history_file.c, stats.c, memory.c, monitor.c, metrics.c, options.c, graph.c, why.c,
 * watch.c, trace.c: the routes. */
enum MHD_Result cop__http_state(struct cop__http_request *request);
enum MHD_Result cop__http_state_write(struct cop__http_request *request);
enum MHD_Result cop__http_transaction(struct cop__http_request *request);
enum MHD_Result cop__http_snapshots(struct cop__http_request *request);
enum MHD_Result cop__http_history(struct cop__http_request *request);
enum MHD_Result cop__http_history_export(struct cop__http_request *request);
enum MHD_Result cop__http_history_import(struct cop__http_request *request);
enum MHD_Result cop__http_metrics(struct cop__http_request *request);
enum MHD_Result cop__http_memory(struct cop__http_request *request);
enum MHD_Result cop__http_memory_trim(struct cop__http_request *request);
enum MHD_Result cop__http_monitor(struct cop__http_request *request);
enum MHD_Result cop__http_stats(struct cop__http_request *request);
enum MHD_Result cop__http_health(struct cop__http_request *request);
enum MHD_Result cop__http_options_get(struct cop__http_request *request);
enum MHD_Result cop__http_options_patch(struct cop__http_request *request);
enum MHD_Result cop__http_diff(struct cop__http_request *r);
enum MHD_Result cop__http_graph(struct cop__http_request *request);
enum MHD_Result cop__http_why(struct cop__http_request *request);
enum MHD_Result cop__http_watch(struct cop__http_request *request);
enum MHD_Result cop__http_trace(struct cop__http_request *request);
enum MHD_Result cop__http_problems(struct cop__http_request *request);

/* stats.c */
struct cop__http_gauges cop__http_gauges(struct cop_http_server *server);

/* write.c: builds a transaction and commits it, again while what it read was changed under it.
 * build answers COP_OK, or fills in the problem and answers anything else. */
typedef cop_status (*cop__http_build)(cop_txn *txn, void *context, struct cop__problem *problem);
cop_status cop__http_commit(struct cop_http_server *server, cop__http_build build, void *context,
                            uint64_t *version, struct cop__problem *problem);

/* why.c: gives up what is waited for, and waits for the threads that do. */
void cop__http_waits_end(struct cop_http_server *server);
void cop__http_why_free(struct cop__http_why *why);

/* watch.c: a stream ends. NULL is legal. */
void cop__http_watch_free(struct cop__http_watch *watch);
/* The clients that watch now. */
size_t cop__http_watchers(struct cop_http_server *server);
void cop__http_watches_init(struct cop_http_server *server);
/* Before the daemon is stopped, and after it: ends all streams. server->ending is set. */
void cop__http_watches_stop(struct cop_http_server *server);
void cop__http_watches_end(struct cop_http_server *server);

/* graph.c: a value as JSON; NULL for COP_NONE and branches. Errors as GET /v1/state writes them, bytes by
 * their number. */
struct json_t *cop__http_value_json(const cop_value *value);

/* history.c: the newest kept version with a label, an argument of the query. False: the problem is set. */
bool cop__http_labelled(struct cop__http_request *r, const char *argument, uint64_t *version);

/* snapshots.c: the held version, kept once more for the caller; NULL when it is not held. */
const cop_snapshot *cop__http_held(struct cop_http_server *server, uint64_t version);
void cop__http_leases_expire(struct cop_http_server *server, uint64_t now_ns);
void cop__http_leases_end(struct cop_http_server *server);

#endif

/* SPDX-License-Identifier: MIT */
/* The C API of the HTTP module, and the parts of it that test_http.py cannot see into. */
#include <coppice/http.h>

#include "http/buffer.h"
#include "http/etag.h"
#include "http/siphash.h"
#include "tests/support/store_test.h"

#include <coppice/computed.h>
#include <coppice/effect.h>

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static cop_http_options
any_port(void)
{
    cop_http_options options = COP_HTTP_OPTIONS_INIT;

    options.port = 0;
    return options;
}

/* The status of a request, 0 when there is no answer. */
static int
ask(uint16_t port, const char *method, const char *target, const char *headers, const char *body)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    char text[512];
    int status = 0, fd = socket(AF_INET, SOCK_STREAM, 0);

    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (struct sockaddr *)&at, sizeof at) == 0) {
        int n = snprintf(text, sizeof text,
                         "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nConnection: close\r\n%s\r\n%s",
                         method, target, port, headers, body);
        ck_assert_int_eq(send(fd, text, (size_t)n, 0), n);
        ssize_t got = recv(fd, text, sizeof text - 1, 0);
        text[got > 0 ? got : 0] = '\0';
        sscanf(text, "HTTP/1.1 %d", &status);
    }
    close(fd);
    return status;
}

static int
get(uint16_t port, const char *target)
{
    return ask(port, "GET", target, "", "");
}

static int
patch_options(uint16_t port, const char *body)
{
    char headers[128];

    snprintf(headers, sizeof headers,
             "Content-Type: application/merge-patch+json\r\nContent-Length: %zu\r\n", strlen(body));
    return ask(port, "PATCH", "/v1/options", headers, body);
}

static void
refused(cop_store *store, const cop_http_options *options, cop_status wanted)
{
    cop_http_server *server = (cop_http_server *)store; /* must be set to NULL */
    cop_error error = COP_ERROR_INIT;

    CHECK_STATUS(cop_http_open(store, options, &server, &error), wanted);
    ck_assert_ptr_null(server);
    ck_assert_int_eq(error.status, wanted);
    ck_assert_int_ne(error.message[0], '\0');
    CHECK_STATUS(cop_http_open(store, options, &server, NULL), wanted);
}

START_TEST(opens_and_closes)
{
    cop_store *store = t_open();
    cop_http_options options = any_port();
    cop_http_server *one, *two;

    t_set_at(store, "a", cop_i64(1));
    CHECK_OK(cop_http_open(store, &options, &one, NULL));
    CHECK_OK(cop_http_open(store, &options, &two, NULL));
    ck_assert_uint_ne(cop_http_port(one), 0);
    ck_assert_uint_ne(cop_http_port(one), cop_http_port(two));
    ck_assert_int_eq(get(cop_http_port(one), "/v1/state/a"), 200);
    ck_assert_int_eq(get(cop_http_port(two), "/v1/state/b"), 404);
    cop_http_close(one);
    ck_assert_int_eq(get(cop_http_port(two), "/healthz"), 200);
    cop_http_close(two);
    cop_http_close(NULL);
    t_close(store);
}
END_TEST

START_TEST(default_options_listen_on_the_known_port)
{
    cop_store *store = t_open();
    cop_http_server *server;
    cop_error error = COP_ERROR_INIT;
    cop_status status = cop_http_open(store, NULL, &server, &error);

    if (status == COP_OK)
        ck_assert_uint_eq(cop_http_port(server), COP_HTTP_PORT);
    else /* somebody's server has it */
        CHECK_STATUS(status, COP_E_IO);
    cop_http_close(server);
    t_close(store);
}
END_TEST

START_TEST(a_port_in_use)
{
    cop_store *store = t_open();
    cop_http_options options = any_port();
    cop_http_server *server;
    cop_error error = COP_ERROR_INIT;

    CHECK_OK(cop_http_open(store, &options, &server, NULL));
    options.port = cop_http_port(server);
    refused(store, &options, COP_E_IO);
    ck_assert_int_eq(cop_http_open(store, &options, &(cop_http_server *){NULL}, &error), COP_E_IO);
    ck_assert_ptr_nonnull(strstr(error.message, "in use"));
    cop_http_close(server);
    CHECK_OK(cop_http_open(store, &options, &server, NULL));
    ck_assert_uint_eq(cop_http_port(server), options.port);
    cop_http_close(server);
    t_close(store);
}
END_TEST

START_TEST(arguments)
{
    cop_store *store = t_open();
    cop_http_options options = any_port();
    cop_http_server *server;

    CHECK_STATUS(cop_http_open(store, &options, NULL, NULL), COP_E_INVALID);
    CHECK_STATUS(cop_http_open(NULL, &options, &server, NULL), COP_E_INVALID);
    options.size = 0;
    refused(store, &options, COP_E_INVALID);
    options.size = sizeof options + 8;
    refused(store, &options, COP_E_INVALID);
    options = any_port();
    options.address = "localhost";
    refused(store, &options, COP_E_INVALID);
    options.address = "192.0.2.1";
    refused(store, &options, COP_E_IO);
    t_close(store);
}
END_TEST

START_TEST(bounds)
{
    cop_store *store = t_open();
    cop_http_options options;

#define OUTSIDE(field, value) \
    options = any_port();     \
    options.field = (value);  \
    refused(store, &options, COP_E_RANGE)
    OUTSIDE(threads, 0);
    OUTSIDE(threads, 257);
    OUTSIDE(max_connections, 1); /* fewer than threads */
    OUTSIDE(max_connections, 1000001);
    OUTSIDE(max_header_bytes, 1023);
    OUTSIDE(max_header_bytes, 1048577);
    OUTSIDE(max_body_bytes, 0);
    OUTSIDE(max_body_bytes, 1073741825);
    OUTSIDE(request_deadline_ms, 9);
    OUTSIDE(request_deadline_ms, 86400001);
    OUTSIDE(idle_timeout_s, 0);
    OUTSIDE(idle_timeout_s, 86401);
    OUTSIDE(max_snapshots, 1000001);
    OUTSIDE(lease_ms, 0);
    OUTSIDE(lease_ms, 3600001); /* over max_lease_ms */
    OUTSIDE(max_lease_ms, 86400001);
#undef OUTSIDE
    t_close(store);
}
END_TEST

/* A host compiled against a shorter struct: what it does not know stays at its default. */
START_TEST(shorter_options)
{
    cop_store *store = t_open();
    cop_http_options options = any_port();
    cop_http_server *server;

    options.size = offsetof(cop_http_options, max_header_bytes);
    options.max_header_bytes = 0;
    options.hosts_count = SIZE_MAX;
    CHECK_OK(cop_http_open(store, &options, &server, NULL));
    ck_assert_int_eq(get(cop_http_port(server), "/healthz"), 200);
    cop_http_close(server);
    t_close(store);
}
END_TEST

/* The first vectors of the authors' table: key 00..0f, input 00..n-1. */
/* ---- workers.threads of a store whose waves are wide ---- */

#define WIDE 3000

static cop_atom wide_source;

/* Some microseconds, so that levels are worth sharing. */
static cop_status
mix(cop_evaluation *evaluation, void *context, cop_value *result)
{
    int64_t n = 0;
    cop_status status = cop_read_i64(evaluation, wide_source, &n);
    uint64_t x = (uint64_t)n + (uint64_t)(uintptr_t)context;
    for (int i = 0; i < 2000; i++)
        x = x * UINT64_C(6364136223846793005) + 1442695040888963407u;
    *result = cop_i64((int64_t)(x >> 1));
    return status;
}

static int64_t
mixed(int64_t n, uintptr_t i)
{
    uint64_t x = (uint64_t)n + i;
    for (int k = 0; k < 2000; k++)
        x = x * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (int64_t)(x >> 1);
}

struct resizer {
    uint16_t port;
    _Atomic bool done;
    int statuses[10];
};

static void *
resize_ten_times(void *context)
{
    static const unsigned threads[10] = {4, 0, 1, 16, 2, 64, 3, 1, 8, 2};
    struct resizer *r = context;
    for (size_t i = 0; i < 10; i++) {
        char body[64];
        snprintf(body, sizeof body, "{\"workers.threads\":%u}", threads[i]);
        r->statuses[i] = patch_options(r->port, body);
    }
    atomic_store(&r->done, true);
    return NULL;
}

/* Every commit's wave is whole and right while the pool is resized under it. */
START_TEST(threads_change_under_load)
{
    cop_store *store = t_open();
    cop_http_options options = any_port();
    cop_pool_options of_pool = COP_POOL_OPTIONS_INIT;
    cop_http_server *server;
    cop_pool *pool;
    struct resizer r = {0};
    pthread_t thread;
    static cop_atom atoms[WIDE];
    cop_txn *txn = t_begin(store);
    int64_t n = 0;

    of_pool.threads = 2;
    CHECK_OK(cop_pool_open(&of_pool, &pool, NULL));
    CHECK_OK(cop_store_set_pool(store, pool));
    options.pool = pool;
    CHECK_OK(cop_http_open(store, &options, &server, NULL));
    r.port = cop_http_port(server);
    wide_source = t_make(store, "source", cop_i64(0));
    for (uintptr_t i = 0; i < WIDE; i++)
        CHECK_OK(cop_txn_define(txn, NULL, 0, mix, (void *)i, NULL, &atoms[i], NULL));
    t_commit(txn);
    ck_assert_int_eq(pthread_create(&thread, NULL, resize_ten_times, &r), 0);
    while (!atomic_load(&r.done) || n < 20) {
        t_set(store, wide_source, cop_i64(++n));
        cop_pin_t pin = cop_pin(store);
        for (uintptr_t i = 0; i < WIDE; i += 97) {
            int64_t got = 0;
            CHECK_OK(cop_get_i64(pin.snapshot, atoms[i], &got));
            ck_assert_int_eq(got, mixed(n, i));
        }
        cop_unpin(pin);
    }
    pthread_join(thread, NULL);
    for (size_t i = 0; i < 10; i++)
        ck_assert_int_eq(r.statuses[i], 200);
    ck_assert_uint_eq(cop_pool_threads(pool), 2);
    cop_http_close(server);
    CHECK_OK(cop_store_set_pool(store, NULL));
    cop_pool_close(pool);
    t_close(store);
}
END_TEST

/* ---- answers that are streamed ---- */

static cop_status
three(cop_evaluation *evaluation, void *context, cop_value *result)
{
    (void)evaluation;
    (void)context;
    *result = cop_i64(3);
    return COP_OK;
}

/* The whole answer, as it comes. */
static char *
receive(uint16_t port, const char *target, size_t *length)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    size_t capacity = 8 << 20;
    char request[256], *text = malloc(capacity);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ssize_t got;

    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    int n = snprintf(request, sizeof request,
                     "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nConnection: close\r\n\r\n", target, port);
    ck_assert_int_eq(send(fd, request, (size_t)n, 0), n);
    for (*length = 0; (got = recv(fd, text + *length, capacity - 1 - *length, 0)) > 0;)
        *length += (size_t)got;
    text[*length] = '\0';
    close(fd);
    return text;
}

/* Lazy atoms have the place in a streamed answer that they have in a short one, and it is whole and says of
 * which version it is. More of them follow one another than a step passes over. */
START_TEST(streams_pass_over_lazy_atoms)
{
    enum { TEXT = 3 << 20, LAZY = 40000 };
    cop_store *store = t_open();
    cop_http_options options = any_port();
    cop_computed_options lazy = COP_COMPUTED_OPTIONS_INIT;
    cop_http_server *server;
    char *text = malloc(TEXT), path[32], version[64];
    size_t length;
    cop_txn *txn = t_begin(store);
    cop_atom atom;

    lazy.kind = COP_LAZY;
    memset(text, 'x', TEXT);
    for (unsigned i = 0; i < LAZY; i++) {
        int n = snprintf(path, sizeof path, "o/lazy%u", i);
        CHECK_OK(cop_txn_define(txn, path, (size_t)n, three, NULL, &lazy, &atom, NULL));
    }
    t_commit(txn);
    t_set_at(store, "o/text", cop_string(text, TEXT));
    snprintf(version, sizeof version, "Coppice-Version: %" PRIu64 "\r\n",
             t_set_at(store, "o/last", cop_i64(1)));
    CHECK_OK(cop_http_open(store, &options, &server, NULL));
    char *answer = receive(cop_http_port(server), "/v1/state/o", &length);
    static const char end[] = "x\",\"last\":1}\r\n0\r\n\r\n";
    ck_assert_ptr_nonnull(strstr(answer, version));
    ck_assert_ptr_nonnull(strstr(answer, "{\"text\":\"xxx"));
    ck_assert_uint_gt(length, TEXT);
    ck_assert_str_eq(answer + length - strlen(end), end);
    free(answer);
    free(text);
    cop_http_close(server);
    t_close(store);
}
END_TEST

START_TEST(no_pool_to_resize)
{
    cop_store *store = t_open();
    cop_http_options options = any_port();
    cop_http_server *server;

    CHECK_OK(cop_http_open(store, &options, &server, NULL));
    ck_assert_int_eq(patch_options(cop_http_port(server), "{\"workers.threads\":3}"), 409);
    ck_assert_int_eq(patch_options(cop_http_port(server), "{\"workers.threads\":0}"), 200);
    ck_assert_int_eq(patch_options(cop_http_port(server), "{\"snapshots.max\":3}"), 200);
    cop_http_close(server);
    t_close(store);
}
END_TEST

/* What the host changes, as SIGHUP has it done. */
START_TEST(host_changes_options)
{
    cop_store *store = t_open();
    cop_http_options options = any_port();
    cop_pool_options of_pool = COP_POOL_OPTIONS_INIT;
    cop_http_server *server;
    cop_options next = COP_OPTIONS_INIT;
    cop_error error = COP_ERROR_INIT;
    cop_pool *pool;

    of_pool.threads = 1;
    CHECK_OK(cop_pool_open(&of_pool, &pool, NULL));
    options.pool = pool;
    CHECK_OK(cop_http_open(store, &options, &server, NULL));
    CHECK_OK(cop_store_options(store, &next));
    next.workers_threads = 2;
    next.snapshots_max = 3;
    CHECK_OK(cop_http_reconfigure(server, &next, &error));
    ck_assert_uint_eq(cop_pool_threads(pool), 2);
    next.workers_threads = 1025;
    CHECK_STATUS(cop_http_reconfigure(server, &next, &error), COP_E_RANGE);
    next.workers_threads = 1;
    next.readers_max++;
    CHECK_STATUS(cop_http_reconfigure(server, &next, &error), COP_E_STATE);
    ck_assert_ptr_nonnull(strstr(error.message, "readers.max"));
    CHECK_STATUS(cop_http_reconfigure(server, &next, NULL), COP_E_STATE);
    ck_assert_uint_eq(cop_pool_threads(pool), 2);
    cop_http_close(server);
    cop_pool_close(pool);

    options.pool = NULL;
    CHECK_OK(cop_http_open(store, &options, &server, NULL));
    next.readers_max--;
    CHECK_STATUS(cop_http_reconfigure(server, &next, &error), COP_E_STATE);
    ck_assert_str_eq(error.message, "workers.threads: this server was opened without a pool");
    CHECK_STATUS(cop_http_reconfigure(server, &next, NULL), COP_E_STATE);
    CHECK_OK(cop_store_options(store, &next));
    ck_assert_uint_eq(next.workers_threads, 2);
    ck_assert_uint_eq(next.snapshots_max, 3);
    cop_http_close(server);
    t_close(store);
}
END_TEST

START_TEST(siphash_vectors)
{
    static const uint64_t wanted[] = {
        0x726fdb47dd0e0e31u, 0x74f839c593dc67fdu, 0x0d6c8009d9a94f5au,
        0x85676696d7fb7e2du, 0xcf2794e0277187b7u, 0x18765564cd99a68du,
        0xcbc9466e58fee3ceu, 0xab0200f58b01d137u, 0x93f5f5799a932462u};
    const uint64_t key[2] = {0x0706050403020100u, 0x0f0e0d0c0b0a0908u};
    unsigned char bytes[16];

    for (unsigned i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)i;
    for (size_t n = 0; n < sizeof wanted / sizeof *wanted; n++)
        ck_assert_uint_eq(cop__siphash(key, bytes, n), wanted[n]);
    ck_assert_uint_eq(cop__siphash(key, bytes, 15), 0xa129ca6149be45e5u);
}
END_TEST

START_TEST(etag_lists)
{
    const char *tag = "\"12-00abcdef\"";

    ck_assert(cop__etag_listed("*", tag));
    ck_assert(cop__etag_listed(" * ", tag));
    ck_assert(cop__etag_listed(tag, tag));
    ck_assert(cop__etag_listed("W/\"12-00abcdef\"", tag));
    ck_assert(cop__etag_listed("\"a\",  W/\"b\" ,\"12-00abcdef\"", tag));
    ck_assert(!cop__etag_listed("", tag));
    ck_assert(!cop__etag_listed("**", tag));
    ck_assert(!cop__etag_listed("12-00abcdef", tag));
    ck_assert(!cop__etag_listed("\"12-00abcdef", tag));
    ck_assert(!cop__etag_listed("\"12-00abcdef-p\"", tag));
    ck_assert(cop__etag_listed_state("*", tag));
    ck_assert(cop__etag_listed_state(tag, tag));
    ck_assert(cop__etag_listed_state("\"12-00abcdef-p-d3\"", tag));
    ck_assert(!cop__etag_listed_state("\"12-00abcdef0\"", tag));
    ck_assert(!cop__etag_listed_state("\"12-00abcde\"", tag));
    ck_assert(!cop__etag_listed_state("W/\"12-00abcdef\"", tag));
}
END_TEST

START_TEST(etag_forms)
{
    const struct cop_http_server server = {.instance = 0xabcdef, .hash_key = {1, 2}};
    const struct cop__etag_form form = {true, 7};
    char text[COP_HTTP_ETAG_MAX], bytes[COP_HTTP_ETAG_MAX];
    cop_value value = cop_string("x", 1);

    cop__etag_branch(&server, 12, NULL, text);
    ck_assert_str_eq(text, "\"12-00abcdef\"");
    cop__etag_branch(&server, UINT64_MAX, &form, text);
    ck_assert_str_eq(text, "\"18446744073709551615-00abcdef-p-d7\"");
    cop__etag_value(&server, &value, text);
    value = cop_bytes("x", 1);
    cop__etag_value(&server, &value, bytes);
    ck_assert_str_ne(text, bytes);
}
END_TEST

START_TEST(budget)
{
    struct cop__budget limit = {.limit = 4096};
    struct cop__buffer a = {.budget = &limit}, b = {.budget = &limit};

    ck_assert(cop__buffer_add(&a, "12345", 5));
    ck_assert(cop__buffer_reserve(&b, 2000));
    ck_assert_uint_eq(limit.used, 1024 + 2048);
    ck_assert(!cop__buffer_reserve(&b, 4096)); /* over, and nothing is lost */
    ck_assert_uint_eq(limit.used, 1024 + 2048);
    ck_assert(cop__buffer_add(&b, "", 0));
    cop__buffer_free(&b);
    ck_assert(cop__buffer_reserve(&a, 2000));
    ck_assert_int_eq(memcmp(a.data, "12345", 5), 0);
    cop__buffer_free(&a);
    cop__buffer_free(&a);
    ck_assert_uint_eq(limit.used, 0);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_test(tests, opens_and_closes);
    tcase_add_test(tests, default_options_listen_on_the_known_port);
    tcase_add_test(tests, a_port_in_use);
    tcase_add_test(tests, arguments);
    tcase_add_test(tests, bounds);
    tcase_add_test(tests, shorter_options);
    tcase_add_test(tests, threads_change_under_load);
    tcase_add_test(tests, streams_pass_over_lazy_atoms);
    tcase_add_test(tests, no_pool_to_resize);
    tcase_add_test(tests, host_changes_options);
    tcase_add_test(tests, siphash_vectors);
    tcase_add_test(tests, etag_lists);
    tcase_add_test(tests, etag_forms);
    tcase_add_test(tests, budget);
}

int
main(void)
{
    return t_run("http", add);
}

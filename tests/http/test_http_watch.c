/* SPDX-License-Identifier: MIT */
/* What watch_tests.py cannot see into: events, their bounds, a host without a pool, the server's
 * end.
 */
#include <coppice/computed.h>
#include <coppice/http.h>

#include "http/events.h"
#include "tests/support/watch_test.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- events ---- */

START_TEST(ids)
{
    static const struct {
        const char *text;
        bool good;
        uint64_t version;
    } given[] = {
        {"0-0000abcd", true, 0},
        {"42-0000abcd", true, 42},
        {"42-abcd", true, 42},
        {"42", true, 42},
        {"18446744073709551615", true, UINT64_MAX},
        {"18446744073709551616", false, 0},
        {"42-0000abce", false, 0},
        {"42-", false, 0},
        {"42-0000abcdx", false, 0},
        {"42x", false, 0},
        {"-0000abcd", false, 0},
        {"", false, 0},
        {" 42", false, 0},
    };
    for (size_t i = 0; i < sizeof given / sizeof *given; i++) {
        uint64_t version = 0;
        bool good = cop__event_id(given[i].text, 0xabcd, &version);
        ck_assert_msg(good == given[i].good, "%s", given[i].text);
        if (good)
            ck_assert_uint_eq(version, given[i].version);
    }
}
END_TEST

START_TEST(trunks)
{
    ck_assert_uint_eq(cop__event_trunk(P("")), 0);
    ck_assert_uint_eq(cop__event_trunk(P("a/b")), 3);
    ck_assert_uint_eq(cop__event_trunk(P("*")), 0);
    ck_assert_uint_eq(cop__event_trunk(P("a/*")), 1);
    ck_assert_uint_eq(cop__event_trunk(P("a/b/*/c/*")), 3);
}
END_TEST

/* The batch that a watcher is told now. */
static void
next(cop_watch *watch, cop_watch_batch *batch)
{
    CHECK_OK(cop_watch_next(watch, COP_FOREVER, batch));
}

static void
says(const struct cop__buffer *buffer, const char *wanted)
{
    ck_assert_uint_eq(buffer->length, strlen(wanted));
    ck_assert_msg(memcmp(buffer->data, wanted, buffer->length) == 0, "%.*s", (int)buffer->length,
                  buffer->data);
}

START_TEST(events)
{
    static const char text[] =
        "id: 2-0000000a\nevent: change\ndata: {\"from\":1,\"to\":2,\"changes\":["
        "{\"kind\":\"changed\",\"path\":\"a\\\"b\",\"value\":\"x\\ny\",\"old\":1}]}\n\n";
    cop_store *store = t_open();
    cop_watch_batch batch;
    struct cop__buffer buffer = {0};

    t_set_at(store, "a\"b", cop_i64(1));
    cop_watch *watch = t_watch(store, "");
    t_set_at(store, "a\"b", cop_string("x\ny", 3));
    next(watch, &batch);
    for (size_t most = 0; most < sizeof text - 1; most++) { /* all that is too little */
        ck_assert(!cop__event_change(&buffer, &batch, 10, most));
        ck_assert_uint_eq(buffer.length, 0);
        cop_watch_rewind(&batch);
    }
    ck_assert(cop__event_change(&buffer, &batch, 10, sizeof text - 1));
    says(&buffer, text);
    cop__buffer_free(&buffer);
    struct cop__budget budget = {.limit = 1024};
    struct cop__buffer counted = {.budget = &budget};
    cop_watch_batch_end(&batch);
    char *longer = t_bytes(3000, 1);
    memset(longer, 'y', 3000);
    t_set_at(store, "s", cop_string(longer, 3000));
    next(watch, &batch);
    ck_assert(!cop__event_change(&counted, &batch, 10, SIZE_MAX));
    cop_watch_rewind(&batch);
    ck_assert(!cop__event_change(&buffer, &batch, 10, 3000));
    cop_watch_rewind(&batch);
    ck_assert(cop__event_change(&buffer, &batch, 10, 4000));
    ck_assert_uint_gt(buffer.length, 3000);
    cop__buffer_free(&counted);
    cop__buffer_free(&buffer);
    free(longer);
    cop_watch_batch_end(&batch);
    cop_watch_close(watch);
    t_close(store);
}
END_TEST

static cop_status
tripled(cop_evaluation *evaluation, void *context, cop_value *result)
{
    int64_t n = 0;
    cop_status status = cop_read_i64(evaluation, *(cop_atom *)context, &n);
    *result = cop_i64(n * 3);
    return status;
}

/* Atoms without a name are left out; one that is lazy is evaluated. */
START_TEST(what_has_no_value)
{
    cop_store *store = t_open();
    cop_watch *watch = t_watch(store, "");
    cop_watch_batch batch;
    struct cop__buffer buffer = {0};
    const cop_value nothing = cop_null();
    cop_txn *txn;
    cop_atom source = t_make(store, "x", cop_i64(2)), made;
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;

    options.kind = COP_LAZY;
    CHECK_OK(cop_computed_define(store, P("y"), tripled, &source, &options, &made, NULL));
    CHECK_OK(cop_txn_begin(store, &txn));
    CHECK_OK(cop_txn_create(txn, &nothing, NULL));
    CHECK_OK(cop_txn_commit(txn, NULL, NULL));
    next(watch, &batch);
    ck_assert(cop__event_change(&buffer, &batch, 1, SIZE_MAX));
    ck_assert(cop__buffer_add(&buffer, "", 1));
    ck_assert_ptr_nonnull(strstr(buffer.data, "{\"kind\":\"created\",\"path\":\"y\",\"value\":6}"));
    ck_assert_ptr_null(strstr(buffer.data, ",,"));
    cop__buffer_free(&buffer);
    cop_watch_batch_end(&batch);
    cop_watch_close(watch);
    t_close(store);
}
END_TEST

/* ---- a server in a host ---- */

static int
begin(uint16_t port, const char *target)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    char text[256];
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    int n =
        snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n\r\n", target, port);
    ck_assert_int_eq(send(fd, text, (size_t)n, 0), n);
    return fd;
}

/* Reads until it says so; false: the end comes first. */
static bool
hears(int fd, const char *wanted)
{
    char text[65536];
    size_t used = 0;
    ssize_t got;

    text[0] = '\0';
    while (!strstr(text, wanted) && (got = recv(fd, text + used, sizeof text - used - 1, 0)) > 0) {
        used += (size_t)got;
        text[used] = '\0';
    }
    return strstr(text, wanted) != NULL;
}

/* Nobody polls, there is no pool: commits tell the descriptors. */
START_TEST(without_a_pool)
{
    enum { CLIENTS = 20 };
    cop_store *store = t_open();
    cop_http_options options = COP_HTTP_OPTIONS_INIT;
    cop_http_server *server;
    int fds[CLIENTS];

    options.port = 0;
    options.watch_window_ms = 0;
    CHECK_OK(cop_http_open(store, &options, &server, NULL));
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = begin(cop_http_port(server), "/v1/watch/x");
        ck_assert(hears(fds[i], "event: reset"));
    }
    for (int64_t n = 1; n <= 20; n++) {
        char wanted[32];
        snprintf(wanted, sizeof wanted, "\"value\":%" PRId64, n);
        t_set_at(store, "x", cop_i64(n));
        for (int i = 0; i < CLIENTS; i++)
            ck_assert(hears(fds[i], wanted));
    }
    for (int i = 0; i < CLIENTS / 2; i++) /* these go first */
        close(fds[i]);
    cop_http_close(server);
    for (int i = CLIENTS / 2; i < CLIENTS; i++) {
        ck_assert(hears(fds[i], "0\r\n\r\n"));
        close(fds[i]);
    }
    t_close(store);
}
END_TEST

/* Clients come and go, some without a word, while the server ends. */
START_TEST(ends_under_load)
{
    cop_store *store = t_open();
    cop_http_options options = COP_HTTP_OPTIONS_INIT;
    options.port = 0;
    options.watch_window_ms = 0;
    options.heartbeat_ms = 100;
    for (int round = 0; round < 20; round++) {
        cop_http_server *server;
        int fds[10];
        CHECK_OK(cop_http_open(store, &options, &server, NULL));
        for (int i = 0; i < 10; i++) {
            fds[i] = begin(cop_http_port(server), "/v1/watch");
            t_set_at(store, "x", cop_i64(round * 10 + i));
            if (i % 3 == 0) {
                close(fds[i]);
                fds[i] = -1;
            }
        }
        cop_http_close(server);
        for (int i = 0; i < 10; i++)
            if (fds[i] >= 0)
                close(fds[i]);
    }
    t_close(store);
}
END_TEST

START_TEST(bounds)
{
    cop_store *store = t_open();
    cop_http_options options;
    cop_http_server *server;

#define OUTSIDE(field, value)                          \
    options = (cop_http_options)COP_HTTP_OPTIONS_INIT; \
    options.port = 0;                                  \
    options.field = (value);                           \
    CHECK_STATUS(cop_http_open(store, &options, &server, NULL), COP_E_RANGE)
    OUTSIDE(max_watchers, 1000001);
    OUTSIDE(watch_bytes, 1023);
    OUTSIDE(watch_bytes, 1073741825);
    OUTSIDE(watch_window_ms, 60001);
    OUTSIDE(heartbeat_ms, 99);
    OUTSIDE(heartbeat_ms, 3600001);
#undef OUTSIDE
    t_close(store);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_test(tests, ids);
    tcase_add_test(tests, trunks);
    tcase_add_test(tests, events);
    tcase_add_test(tests, what_has_no_value);
    tcase_add_test(tests, without_a_pool);
    tcase_add_test(tests, ends_under_load);
    tcase_add_test(tests, bounds);
}

int
main(void)
{
    return t_run("http watch", add);
}

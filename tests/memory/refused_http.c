/* SPDX-License-Identifier: MIT */
/* Without memory: opening, changing and closing the HTTP server. What requests are answered without
 * memory is tests/http's. Memory that libmicrohttpd asks for itself is not refused. */
#include "tests/memory/refused.h"

#include <coppice/http.h>

static cop_status
http_open(world *w)
{
    static const char *const hosts[] = {"example.test", "example.test:80"};
    cop_http_options options = COP_HTTP_OPTIONS_INIT;

    options.port = 0;
    options.threads = 1;
    options.max_connections = 4;
    options.hosts = hosts;
    options.hosts_count = 2;
    cop_status status = cop_http_open(w->store, &options, (cop_http_server **)&w->made, NULL);
    REQUIRE((status == COP_OK) == (w->made != NULL));
    return status;
}

static void
ready_server(world *w)
{
    REQUIRE_OK(http_open(w));
}

static cop_status
http_close(world *w)
{
    cop_http_close(w->made);
    w->made = NULL;
    return COP_OK;
}

static void
done_server(world *w)
{
    (void)http_close(w);
}

static cop_status
http_port(world *w)
{
    REQUIRE(cop_http_port(w->made) != 0);
    return COP_OK;
}

static cop_status
http_reconfigure(world *w)
{
    cop_options options = COP_OPTIONS_INIT;

    REQUIRE_OK(cop_store_options(w->store, &options));
    options.batch_max_transactions = 77;
    options.performance_monitor = 1;
    return cop_http_reconfigure(w->made, &options, NULL);
}

static const refused_call calls[] = {
    {"cop_http_open", NULL, http_open, 0, NULL, done_server, 0},
    {"cop_http_port", NULL, http_port, ASKS_NOTHING, ready_server, done_server, 0},
    {"cop_http_reconfigure", NULL, http_reconfigure, 0, ready_server, done_server, 0},
    {"cop_http_close", NULL, http_close, ASKS_NOTHING, ready_server, NULL, 0},
};

int
main(void)
{
    return refused_main(calls, sizeof calls / sizeof *calls);
}

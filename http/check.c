/* SPDX-License-Identifier: MIT */
/*
 * What is refused before a body is read: unknown Host (a foreign name rebound to this machine),
 * headers that are too large, writes sent by another site's page, bodies of the wrong type or size.
 */
#include "http/internal.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* name, name:port, or only name:port when `name` has no port of its own and the port is not 80. */
static bool
hosts_add(char **hosts, size_t *n, const char *name, uint16_t port)
{
    const char *colon = strrchr(name, ':');
    const char *bracket = strrchr(name, ']');
    bool has_port = colon && (!bracket || colon > bracket);
    size_t size = strlen(name) + 8;
    if (has_port || port == 80) {
        if (!(hosts[(*n)++] = strdup(name)))
            return false;
        if (has_port)
            return true;
    }
    char *with_port = malloc(size);
    if (!with_port)
        return false;
    snprintf(with_port, size, "%s:%u", name, port);
    hosts[(*n)++] = with_port;
    return true;
}

/* The address itself, when it is one that a client can name. */
static bool
hosts_add_address(char **hosts, size_t *n, const char *address, uint16_t port)
{
    char name[INET6_ADDRSTRLEN + 2];
    if (!address || !strcmp(address, "0.0.0.0") || !strcmp(address, "::"))
        return true;
    snprintf(name, sizeof name, strchr(address, ':') ? "[%s]" : "%s", address);
    return hosts_add(hosts, n, name, port);
}

char **
cop__http_hosts_new(const cop_http_options *options, uint16_t port)
{
    static const char *const local[] = {"127.0.0.1", "localhost", "[::1]"};
    size_t n = 0;
    char **hosts = calloc((3 + 1 + options->hosts_count) * 2 + 1, sizeof *hosts);
    if (!hosts)
        return NULL;
    bool good = hosts_add_address(hosts, &n, options->address, port);
    for (size_t i = 0; good && i < 3; i++)
        good = hosts_add(hosts, &n, local[i], port);
    for (size_t i = 0; good && i < options->hosts_count; i++)
        good = hosts_add(hosts, &n, options->hosts[i], port);
    if (good)
        return hosts;
    cop__http_hosts_free(hosts);
    return NULL;
}

void
cop__http_hosts_free(char **hosts)
{
    for (char **host = hosts; host && *host; host++)
        free(*host);
    free(hosts);
}

bool
cop__http_number(const char *text, uint64_t maximum, uint64_t *number)
{
    uint64_t n = 0;
    if (!text || !*text)
        return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return false;
        uint64_t digit = (uint64_t)(*text - '0');
        if (n > (UINT64_MAX - digit) / 10)
            return false;
        n = n * 10 + digit;
    }
    *number = n;
    return n <= maximum;
}

static bool
host_known(struct cop_http_server *server, const char *value)
{
    char **host = atomic_load_explicit(&server->hosts, memory_order_acquire);
    for (; host && *host; host++)
        if (strcasecmp(*host, value) == 0)
            return true;
    return false;
}

struct host_count {
    unsigned count;
    const char *value;
};

static enum MHD_Result
count_host(void *context, enum MHD_ValueKind kind, const char *key, const char *value)
{
    struct host_count *hosts = context;
    (void)kind;
    if (strcasecmp(key, "Host") == 0) {
        hosts->count++;
        hosts->value = value;
    }
    return MHD_YES;
}

static bool
check_host(struct cop__http_request *r, struct cop__problem *problem)
{
    struct host_count hosts = {0, NULL};
    MHD_get_connection_values(r->connection, MHD_HEADER_KIND, count_host, &hosts);
    if (hosts.count != 1 || !hosts.value)
        return cop__problem_set(problem, COP_PROBLEM_REQUEST, "one Host header is wanted");
    if (!host_known(r->server, hosts.value))
        return cop__problem_set(problem, COP_PROBLEM_HOST,
                                "this server does not answer to that Host");
    return true;
}

static const char *
header(struct cop__http_request *r, const char *name)
{
    return MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, name);
}

static bool
check_origin(struct cop__http_request *r, struct cop__problem *problem)
{
    const char *origin = header(r, MHD_HTTP_HEADER_ORIGIN);
    const char *site = header(r, "Sec-Fetch-Site");
    if (origin && (strncasecmp(origin, "http://", 7) != 0 || !host_known(r->server, origin + 7)))
        return cop__problem_set(problem, COP_PROBLEM_ORIGIN, "Origin is not this server");
    if (site && strcmp(site, "same-origin") != 0 && strcmp(site, "none") != 0)
        return cop__problem_set(problem, COP_PROBLEM_ORIGIN,
                                "Sec-Fetch-Site is neither same-origin nor none");
    return true;
}

static bool
type_is(const char *value, const char *type)
{
    size_t n = strlen(type);
    if (strncasecmp(value, type, n) != 0)
        return false;
    value += n;
    return value[strspn(value, " \t")] == '\0' || value[strspn(value, " \t")] == ';';
}

static bool
has_body(struct cop__http_request *r)
{
    const char *length = header(r, MHD_HTTP_HEADER_CONTENT_LENGTH);
    return header(r, MHD_HTTP_HEADER_TRANSFER_ENCODING) || (length && strcmp(length, "0") != 0);
}

static bool
check_type(struct cop__http_request *r, struct cop__problem *problem)
{
    const char *wanted =
        r->method == COP_HTTP_PATCH ? "application/merge-patch+json"
        : r->route->type            ? r->route->type
                                    : "application/json";
    const char *value = header(r, MHD_HTTP_HEADER_CONTENT_TYPE);
    const char *encoding = header(r, MHD_HTTP_HEADER_CONTENT_ENCODING);
    r->json_patch = r->method == COP_HTTP_PATCH && strcmp(r->route->path, COP_HTTP_STATE) == 0 &&
                    value && type_is(value, "application/json-patch+json");
    if (!r->json_patch && (!value || !type_is(value, wanted)))
        return cop__problem_set(problem, COP_PROBLEM_MEDIA_TYPE, "Content-Type must be %s", wanted);
    if (encoding && strcasecmp(encoding, "identity") != 0)
        return cop__problem_set(problem, COP_PROBLEM_MEDIA_TYPE, "encoded bodies are not accepted");
    return true;
}

static bool
check_length(struct cop__http_request *r, struct cop__problem *problem)
{
    const char *length = header(r, MHD_HTTP_HEADER_CONTENT_LENGTH);
    uint64_t n = 0;
    if (length && !cop__http_number(length, r->server->options.max_body_bytes, &n))
        return cop__problem_set(problem, COP_PROBLEM_TOO_LARGE, "a body has at most %llu bytes",
                                (unsigned long long)r->server->options.max_body_bytes);
    return true;
}

static bool
check_body(struct cop__http_request *r, struct cop__problem *problem)
{
    if (r->method == COP_HTTP_GET || r->method == COP_HTTP_DELETE) {
        if (has_body(r))
            return cop__problem_set(problem, COP_PROBLEM_REQUEST, "this method takes no body");
        return true;
    }
    return check_type(r, problem) && check_length(r, problem);
}

static bool
check_header_size(struct cop__http_request *r, struct cop__problem *problem)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    if (info && info->header_size > r->server->options.max_header_bytes)
        return cop__problem_set(problem, COP_PROBLEM_HEADER, "a header has at most %u bytes",
                                r->server->options.max_header_bytes);
    return true;
}

static bool
check_method(struct cop__http_request *r, struct cop__problem *problem)
{
    if (!r->route)
        return cop__problem_set(problem, COP_PROBLEM_ROUTE, "try " COP_HTTP_STATE);
    if (r->route->methods & r->method)
        return true;
    cop__problem_set(problem, COP_PROBLEM_METHOD, "see the Allow header");
    problem->allow = r->route->methods;
    return false;
}

bool
cop__http_check(struct cop__http_request *r, struct cop__problem *problem)
{
    return check_header_size(r, problem) && check_host(r, problem) && check_method(r, problem) &&
           (r->method == COP_HTTP_GET || check_origin(r, problem)) && check_body(r, problem);
}

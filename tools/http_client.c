/* SPDX-License-Identifier: MIT */
/*
 * A small HTTP client: "Connection: close", so that the answer ends with the connection; a length
 * that was announced and chunks are checked all the same, so that half an answer is not taken for a
 * whole one. A link keeps its connection, and goes by the length or the last chunk.
 */
#include "tools/http_client.h"
#include "tools/args.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define TIMEOUT_S 60

struct address {
    char host[256];
    char port[16];
};

static bool
parse_server(const char *server, struct address *a)
{
    const char *at = strncmp(server, "http://", 7) == 0 ? server + 7 : server;
    const char *end = at + strcspn(at, "/");
    const char *close = *at == '[' ? memchr(at, ']', (size_t)(end - at)) : NULL;
    const char *colon = memchr(close ? close : at, ':', (size_t)(end - (close ? close : at)));
    const char *host_end = colon ? colon : end;
    if (strstr(server, "://") && at == server)
        return false;
    if (host_end == at || (size_t)(host_end - at) >= sizeof a->host ||
        (*end && strcmp(end, "/") != 0))
        return false;
    snprintf(a->host, sizeof a->host, "%.*s", (int)(host_end - at), at);
    snprintf(a->port, sizeof a->port, "%.*s", colon ? (int)(end - colon - 1) : 4,
             colon ? colon + 1 : "7227");
    return a->port[0] != '\0' && strspn(a->port, "0123456789") == strlen(a->port);
}

static int
connect_one(const struct addrinfo *at)
{
    const struct timeval timeout = {.tv_sec = TIMEOUT_S};
    const int on = 1;
    int fd = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, at->ai_protocol);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* a request is sent in pieces */
    if (connect(fd, at->ai_addr, at->ai_addrlen) == 0)
        return fd;
    int reason = errno;
    close(fd);
    errno = reason;
    return -1;
}

static int
connect_to(const struct address *a, bool quiet)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    char name[256];
    int fd = -1;
    /* getaddrinfo wants an IPv6 address without its brackets. */
    size_t n = strlen(a->host);
    bool bracketed = a->host[0] == '[' && n > 2;
    snprintf(name, sizeof name, "%.*s", (int)(bracketed ? n - 2 : n), a->host + bracketed);
    int failure = getaddrinfo(name, a->port, &hints, &list);
    if (failure) {
        if (!quiet)
            complain("%s: %s", name, gai_strerror(failure));
        return -1;
    }
    for (const struct addrinfo *at = list; at && fd < 0; at = at->ai_next)
        fd = connect_one(at);
    if (fd < 0 && !quiet)
        complain("no server at %s:%s: %s ('coppice serve' starts one)", a->host, a->port,
                 strerror(errno));
    freeaddrinfo(list);
    return fd;
}

static bool
send_all(int fd, const char *bytes, size_t n)
{
    while (n) {
        ssize_t sent = send(fd, bytes, n, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return false;
        bytes += sent;
        n -= (size_t)sent;
    }
    return true;
}

static bool
send_request(int fd, const struct http_request *r, const struct address *a, bool keep)
{
    char *head = NULL;
    int n = asprintf(&head, "%s %s HTTP/1.1\r\nHost: %s:%s\r\n%s%s", r->method, r->target, a->host,
                     a->port, keep ? "" : "Connection: close\r\n",
                     r->headers ? r->headers : "Accept: application/json\r\n");
    bool good = n >= 0 && send_all(fd, head, (size_t)n);
    free(head);
    if (good && r->type) {
        char line[160];
        int m = snprintf(line, sizeof line, "Content-Type: %s\r\nContent-Length: %zu\r\n", r->type,
                         r->length);
        good = send_all(fd, line, (size_t)m);
    }
    return good && send_all(fd, "\r\n", 2) && (!r->type || send_all(fd, r->body, r->length));
}

/* Everything until the end of the connection, terminated; NULL when that failed. */
static char *
receive_all(int fd, size_t *length)
{
    size_t capacity = 65536;
    char *bytes = malloc(capacity);
    *length = 0;
    while (bytes) {
        if (capacity - *length < 32768) {
            char *more = realloc(bytes, capacity *= 2);
            if (!more)
                break;
            bytes = more;
        }
        ssize_t got = recv(fd, bytes + *length, capacity - *length - 1, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && *length == 0)
            break;
        if (got <= 0) { /* a reset behind the answer is for the checks of its length */
            bytes[*length] = '\0';
            return bytes;
        }
        *length += (size_t)got;
    }
    free(bytes);
    return NULL;
}

/* The value of a header, or NULL. The head ends with an empty line. */
static const char *
find_header(const char *head, const char *name)
{
    size_t n = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line; line = strstr(line + 2, "\r\n"))
        if (strncasecmp(line + 2, name, n) == 0 && line[2 + n] == ':')
            return line + 3 + n + strspn(line + 3 + n, " \t");
    return NULL;
}

/* Joins chunks in place. */
static bool
join_chunks(char *body, size_t *length)
{
    char *from = body, *to = body, *end = body + *length;
    for (;;) {
        char *after;
        size_t n = strtoul(from, &after, 16);
        char *line = after > from ? strstr(after, "\r\n") : NULL;
        if (!line || (size_t)(end - line) < n + 2)
            return false;
        memmove(to, line + 2, n);
        to += n;
        if (n == 0)
            break;
        from = line + 2 + n + 2;
        if (from > end)
            return false;
    }
    *to = '\0';
    *length = (size_t)(to - body);
    return true;
}

static bool
parse_answer(char *bytes, size_t length, struct http_answer *answer)
{
    char *head_end = strstr(bytes, "\r\n\r\n");
    if (!head_end || sscanf(bytes, "HTTP/1.%*1d %3d", &answer->status) != 1)
        return false;
    if (answer->status / 100 == 1) /* 100 Continue: the answer follows */
        return parse_answer(head_end + 4, length - (size_t)(head_end + 4 - bytes), answer);
    head_end[2] = '\0';
    char *body = head_end + 4;
    size_t n = length - (size_t)(body - bytes);
    const char *encoding = find_header(bytes, "Transfer-Encoding");
    const char *announced = find_header(bytes, "Content-Length");
    if (encoding && !join_chunks(body, &n))
        return false;
    if (announced && strtoull(announced, NULL, 10) != n)
        return false;
    const char *version = find_header(bytes, "Coppice-Version");
    answer->version = version ? strtoull(version, NULL, 10) : 0;
    answer->length = n;
    answer->body = malloc(n + 1);
    if (answer->body)
        memcpy(answer->body, body, n + 1);
    return answer->body != NULL;
}

int
http_send(const struct http_request *request, bool quiet)
{
    struct address address;
    if (!parse_server(request->server, &address)) {
        complain("'%s' is no server: http://HOST[:PORT] is wanted", request->server);
        return -1;
    }
    int fd = connect_to(&address, quiet);
    if (fd < 0 || send_request(fd, request, &address, false))
        return fd;
    if (!quiet)
        complain("%s:%s: the connection was cut", address.host, address.port);
    close(fd);
    return -1;
}

bool
http_exchange(const struct http_request *request, struct http_answer *answer)
{
    struct address address;
    size_t length = 0;
    *answer = (struct http_answer){.status = 0};
    if (!parse_server(request->server, &address)) {
        complain("'%s' is no server: http://HOST[:PORT] is wanted", request->server);
        return false;
    }
    int fd = connect_to(&address, false);
    if (fd < 0)
        return false;
    /* A server that refuses early may close before it has read all: its answer still counts. */
    bool sent = send_request(fd, request, &address, false);
    char *bytes = receive_all(fd, &length);
    close(fd);
    bool good = bytes && parse_answer(bytes, length, answer);
    free(bytes);
    if (!good)
        complain("%s:%s: %s", address.host, address.port,
                 sent ? "no whole answer" : "the connection was cut");
    return good;
}

/* ---- links ---- */

/* Whether the bytes, which are terminated, are a whole answer to what was no HEAD. */
static bool
is_whole(char *bytes, size_t length)
{
    char *head_end = strstr(bytes, "\r\n\r\n");
    if (!head_end)
        return false;
    head_end[2] = '\0';
    const char *announced = find_header(bytes, "Content-Length");
    bool chunked = find_header(bytes, "Transfer-Encoding") != NULL;
    head_end[2] = '\r';
    const char *body = head_end + 4, *end = bytes + length;
    if (announced)
        return (size_t)(end - body) >= strtoull(announced, NULL, 10);
    /* The documents have no line ends of their own. */
    return !chunked || (end - body >= 7 && memcmp(end - 7, "\r\n0\r\n\r\n", 7) == 0);
}

static bool
receive_whole(struct http_link *link, size_t *length)
{
    *length = 0;
    do {
        if (link->capacity - *length < 32768) {
            char *more = realloc(link->bytes, link->capacity * 2 + 65536);
            if (!more)
                return false;
            link->bytes = more;
            link->capacity = link->capacity * 2 + 65536;
        }
        ssize_t got = recv(link->fd, link->bytes + *length, link->capacity - *length - 1, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        *length += (size_t)got;
        link->bytes[*length] = '\0';
    } while (*length == 0 || !is_whole(link->bytes, *length));
    return true;
}

bool
http_link_call(struct http_link *link, const struct http_request *request,
               struct http_answer *answer)
{
    struct address address;
    size_t length = 0;
    *answer = (struct http_answer){.status = 0};
    if (!parse_server(request->server, &address))
        return false;
    if (link->fd < 0)
        link->fd = connect_to(&address, true);
    if (link->fd >= 0 && send_request(link->fd, request, &address, true) &&
        receive_whole(link, &length) && parse_answer(link->bytes, length, answer))
        return true;
    http_link_close(link);
    return false;
}

void
http_link_close(struct http_link *link)
{
    if (link->fd >= 0)
        close(link->fd);
    free(link->bytes);
    *link = (struct http_link)HTTP_LINK_INIT;
}

void
http_encode_path(const char *path, char *encoded)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/";
    for (; *path; path++) {
        if (strchr(plain, *path))
            *encoded++ = *path;
        else
            encoded += sprintf(encoded, "%%%02X", (unsigned char)*path);
    }
    *encoded = '\0';
}

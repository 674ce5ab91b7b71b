/* SPDX-License-Identifier: MIT */
/* HTTP/1.1 exchanges with a coppice server. */
#ifndef COP_TOOLS_HTTP_CLIENT_H
#define COP_TOOLS_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct http_request {
    const char *server; /* http://HOST[:PORT] */
    const char *method;
    const char *target; /* path and query, encoded */
    const char *type;   /* of the body; NULL: no body */
    const char *body;
    size_t length;
    const char *headers; /* whole lines; NULL: JSON is accepted */
};

struct http_answer {
    int status;
    char *body; /* terminated; free it */
    size_t length;
    uint64_t version; /* Coppice-Version; 0: not told */
};

/* Over a socket of its own. False when there was no whole answer; it has been complained of then.
 */
bool http_exchange(const struct http_request *request, struct http_answer *answer);

/* Sends a request, and leaves the answer to be read from the descriptor; -1: there is no server,
 * which is complained of unless quiet. */
int http_send(const struct http_request *request, bool quiet);

/* A connection that is kept, for one thread at a time. */
struct http_link {
    int fd;
    char *bytes;
    size_t capacity;
};

#define HTTP_LINK_INIT \
    {                  \
        -1, NULL, 0    \
    }

/* Connects if need be. False, and nothing is complained of: no whole answer; the link is closed.
 * Which of the two it was, and whether the server has done what was asked, is not known then. */
bool http_link_call(struct http_link *link, const struct http_request *request,
                    struct http_answer *answer);
/* It may be used again. */
void http_link_close(struct http_link *link);

/* A path of the store as part of a URL; at most 3 bytes for one and a terminator. */
void http_encode_path(const char *path, char *encoded);

#endif

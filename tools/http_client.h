/* SPDX-License-Identifier: MIT */
/* One HTTP/1.1 exchange with a coppice server, over a socket of its own. */
#ifndef COP_TOOLS_HTTP_CLIENT_H
#define COP_TOOLS_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

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
};

/* False when there was no whole answer; it has been complained of then. */
bool http_exchange(const struct http_request *request, struct http_answer *answer);

/* Sends a request, and leaves the answer to be read from the descriptor; -1: there is no server, which
 * is complained of unless quiet. */
int http_send(const struct http_request *request, bool quiet);

/* A path of the store as part of a URL; at most 3 bytes for one and a terminator. */
void http_encode_path(const char *path, char *encoded);

#endif

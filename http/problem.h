/* SPDX-License-Identifier: MIT */
/*
 * Problem documents (RFC 9457): one table of everything the server refuses. The type of a problem
 * is the relative reference /problems/NAME, and the server answers there with its explanation.
 */
#ifndef COP_HTTP_PROBLEM_H
#define COP_HTTP_PROBLEM_H

#include <coppice/status.h>
#include <stdbool.h>
#include <stddef.h>

/* X(ENUM, "name", HTTP status, "title", "explanation") */
#define COP_PROBLEM_MAP(X)                                                                         \
    X(REQUEST, "request", 400, "The request is malformed",                                         \
      "A header, a query parameter or the shape of the body is not what this route takes.")        \
    X(PATH, "path", 400, "The path is malformed",                                                  \
      "Segments are separated by '/'; inside one, ~ is written ~0, / ~1, * ~2, and an empty one "  \
      "~3. Percent-encoding is decoded first, and %2F is refused because it is ambiguous.")        \
    X(JSON, "json", 400, "The body is not acceptable JSON",                                        \
      "RFC 8259, no duplicate keys, no integers beyond 64 bits. line and column say where.")       \
    X(OPTION, "option", 400, "The option cannot be set so",                                        \
      "There is no option of this name, or its value is malformed or out of bounds; option names " \
      "it. GET /v1/options?details lists types and bounds. Nothing was changed.")                  \
    X(ORIGIN, "origin", 403, "The write comes from another site",                                  \
      "A browser said, by Origin or Sec-Fetch-Site, that a page of another site sent this write.") \
    X(ROUTE, "route", 404, "No such resource", "The routes are listed in docs/http.md.")           \
    X(ABSENT, "absent", 404, "Nothing is at this path",                                            \
      "The path is well-formed, and the version that was read has no atom there.")                 \
    X(SNAPSHOT, "snapshot", 404, "This snapshot is not held",                                      \
      "It was never taken, was dropped, or its lease has ended. POST /v1/snapshots takes one.")    \
    X(VERSION, "version", 404, "This version is not kept",                                         \
      "The history has let it go, or never kept it: see the options history.keep and "             \
      "history.max_snapshots.")                                                                    \
    X(FORMAT, "format", 406, "The format cannot express it",                                       \
      "A merge patch cannot say that a value is null, nor that an object gives way to another. "   \
      "Ask for json-patch or binary.")                                                             \
    X(METHOD, "method", 405, "The method is not allowed here",                                     \
      "The Allow header lists those "                                                              \
      "that are.")                                                                                 \
    X(STATE, "state", 409, "The state does not allow this write",                                  \
      "For example a child below a plain value, a sum with a text, an array index too large. "     \
      "Nothing was changed.")                                                                      \
    X(OPTION_FIXED, "option-fixed", 409, "The option cannot be changed while the server runs",     \
      "Only options that are live can; option names the other one. Nothing was changed.")          \
    X(CONTENTION, "contention", 409, "Others kept changing what the write rests on",               \
      "The write was tried several times and did not get through. Nothing was changed.")           \
    X(PRECONDITION, "precondition", 412, "A precondition does not hold",                           \
      "What If-Match, If-None-Match or the transaction asked for is not so. Nothing was changed.") \
    X(TOO_LARGE, "too-large", 413, "The body is too large",                                        \
      "It exceeds a limit on bytes, depth or the number of atoms.")                                \
    X(MEDIA_TYPE, "media-type", 415, "The content type is not accepted",                           \
      "PUT and POST take application/json, PATCH takes application/merge-patch+json, below "       \
      "/v1/state application/json-patch+json too.")                                                \
    X(HOST, "host", 421, "The Host is not one of this server",                                     \
      "Only known Host values are answered, so that a foreign name that is made to point to this " \
      "machine cannot be used to read or write here.")                                             \
    X(HEADER, "header", 431, "The header is too large", "The limit is max_header_bytes.")          \
    X(INTERNAL, "internal", 500, "The server failed",                                              \
      "This is a defect; detail says what is "                                                     \
      "known.")                                                                                    \
    X(BUSY, "busy", 503, "A limit of the server is reached for now",                               \
      "Too many snapshots, readers, watchers or buffered bytes at once. Try again later.")                   \
    X(CLOSING, "closing", 503, "The store is closing", "The server is about to end.")              \
    X(MEMORY, "memory", 507, "The store is at its memory limit",                                   \
      "Nothing was changed. Erase something, let snapshots go, or raise memory.limit_bytes.")

typedef enum cop__problem_kind {
    COP_PROBLEM_NONE,
#define COP_PROBLEM_ENUM(name, text, status, title, explanation) COP_PROBLEM_##name,
    COP_PROBLEM_MAP(COP_PROBLEM_ENUM)
#undef COP_PROBLEM_ENUM
        COP_PROBLEM_KINDS
} cop__problem_kind;

struct cop__problem {
    cop__problem_kind kind;
    unsigned allow;   /* METHOD: what would be allowed */
    int index;        /* of an operation or precondition, -1: none */
    const char *list; /* "operation" or "precondition" */
    cop_error error;  /* place of the fault, where there is one */
    char option[64];  /* that is refused; empty: none */
    char detail[320];
};

/* Fills in a problem; always false, for `return cop__problem_set(...)`. */
bool cop__problem_set(struct cop__problem *problem, cop__problem_kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same from a status of the store; error may be NULL. */
bool cop__problem_status(struct cop__problem *problem, cop_status status, const cop_error *error);

/* The same for a failure to read: a limit is then one on readers or snapshots, and passes. */
bool cop__problem_reading(struct cop__problem *problem, cop_status status, const cop_error *error);

unsigned cop__problem_http_status(cop__problem_kind kind);

/* The document; NULL when there is no memory. */
struct json_t;
struct json_t *cop__problem_document(const struct cop__problem *problem);

/* The explanation of the problem with this name, NULL when there is none. */
const char *cop__problem_explanation(const char *name);

/* n bytes as a JSON string, with '?' for bytes that are not UTF-8. */
struct json_t *cop__json_text(const char *text, size_t n);

#endif

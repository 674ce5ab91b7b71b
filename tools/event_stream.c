/* SPDX-License-Identifier: MIT */
/*
 * The signals are blocked but while this waits (ppoll), so none is missed between looking and
 * waiting. What has come when one arrives is dropped with the stream.
 */
#include "tools/event_stream.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SILENCE_S 60 /* four heartbeats */
#define TEXT_MAX ((size_t)1 << 30)

/* ---- waiting ---- */

static atomic_int signaled; /* the handler may run on any thread */

static void
on_signal(int number)
{
    signaled = number;
}

/* As ppoll, with the signals let in. */
static int
wait_for(struct pollfd *fd, const struct timespec *timeout)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigset_t mask;
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    sigdelset(&mask, SIGINT);
    sigdelset(&mask, SIGTERM);
    return ppoll(fd, fd ? 1 : 0, timeout, &mask);
}

bool
event_stream_pause(unsigned ms)
{
    const struct timespec t = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
    if (!signaled)
        (void)wait_for(NULL, &t);
    return !signaled;
}

/* ---- bytes ---- */

static bool
fill(struct event_stream *s)
{
    const struct timespec silence = {SILENCE_S, 0};
    struct pollfd fd = {s->fd, POLLIN, 0};
    int ready = s->closed ? 0 : wait_for(&fd, &silence);
    ssize_t got = ready > 0 ? recv(s->fd, s->bytes, sizeof s->bytes, 0) : -1;
    s->at = 0;
    s->end = got > 0 ? (size_t)got : 0;
    s->closed = got <= 0;
    return !s->closed;
}

/* -1: there is no more. */
static int
raw_byte(struct event_stream *s)
{
    if (s->at == s->end && !fill(s))
        return -1;
    return (unsigned char)s->bytes[s->at++];
}

static bool
text_add(struct event_text *t, char c)
{
    if (t->capacity - t->length < 2) {
        size_t capacity = t->capacity ? t->capacity * 2 : 256;
        char *text = capacity <= TEXT_MAX ? realloc(t->text, capacity) : NULL;
        if (!text)
            return false;
        t->text = text;
        t->capacity = capacity;
    }
    t->text[t->length++] = c;
    t->text[t->length] = '\0';
    return true;
}

static bool
text_set(struct event_text *t, const char *from)
{
    t->length = 0;
    bool good = text_add(t, '\0');
    for (t->length = 0; good && *from; from++)
        good = text_add(t, *from);
    return good;
}

static int body_byte(struct event_stream *s);

/* Without its end. False: there is no whole one. */
static bool
read_line(struct event_stream *s, int (*next)(struct event_stream *))
{
    int c;
    if (!text_set(&s->line, ""))
        return false;
    while ((c = next(s)) >= 0 && c != '\n')
        if (!text_add(&s->line, (char)c))
            return false;
    if (s->line.length && s->line.text[s->line.length - 1] == '\r')
        s->line.text[--s->line.length] = '\0';
    return c == '\n';
}

/* The line before a chunk. */
static bool
next_chunk(struct event_stream *s)
{
    struct event_text line = s->line; /* one is being read */
    s->line = (struct event_text){NULL, 0, 0};
    bool good = read_line(s, raw_byte);
    if (good && !s->line.length) /* the end of the chunk before */
        good = read_line(s, raw_byte);
    s->left = good ? strtoull(s->line.text, NULL, 16) : 0;
    s->ended = good && s->left == 0;
    free(s->line.text);
    s->line = line;
    return s->left > 0;
}

static int
body_byte(struct event_stream *s)
{
    if (!s->chunked)
        return raw_byte(s);
    if (s->left == 0 && (s->ended || !next_chunk(s)))
        return -1;
    s->left--;
    return raw_byte(s);
}

/* ---- the answer ---- */

static int
read_head(struct event_stream *s)
{
    int status = 0;
    if (!read_line(s, raw_byte) || sscanf(s->line.text, "HTTP/1.%*1d %3d", &status) != 1)
        return 0;
    while (read_line(s, raw_byte)) {
        if (!s->line.length)
            return status;
        if (strncasecmp(s->line.text, "Transfer-Encoding:", 18) == 0)
            s->chunked = true;
    }
    return 0;
}

static bool
read_body(struct event_stream *s)
{
    int c;
    bool good = text_set(&s->data, "");
    while (good && (c = body_byte(s)) >= 0)
        good = text_add(&s->data, (char)c);
    return good;
}

int
event_stream_open(struct event_stream *s, const struct http_request *request, bool quiet)
{
    memset(s, 0, sizeof *s);
    s->fd = http_send(request, quiet);
    int status = s->fd >= 0 ? read_head(s) : 0;
    if (status && status != 200 && !read_body(s))
        return 0;
    return status;
}

static bool
take_line(struct event_stream *s)
{
    char *value = strchr(s->line.text, ':');
    if (!value || value == s->line.text)
        return true; /* a comment, or what we do not know */
    *value++ = '\0';
    value += *value == ' ';
    if (strcmp(s->line.text, "id") == 0)
        return text_set(&s->id, value);
    if (strcmp(s->line.text, "event") == 0)
        return text_set(&s->event, value);
    if (strcmp(s->line.text, "data") == 0)
        return text_set(&s->data, value); /* the server writes one line */
    return true;
}

bool
event_stream_next(struct event_stream *s)
{
    bool good = text_set(&s->event, "") && text_set(&s->data, "");
    while (good && read_line(s, body_byte)) {
        if (s->line.length)
            good = take_line(s);
        else if (s->data.length)
            return true;
    }
    return false;
}

void
event_stream_close(struct event_stream *s)
{
    if (s->fd >= 0)
        close(s->fd);
    free(s->line.text);
    free(s->event.text);
    free(s->id.text);
    free(s->data.text);
    memset(s, 0, sizeof *s);
    s->fd = -1;
}

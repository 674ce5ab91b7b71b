/* SPDX-License-Identifier: MIT */
/*
 * --feed -: each line of standard input is {"path": ..., "value": ...} or {"path": ...,
 * "erase": true}, and a transaction of its own. A line that is malformed or cannot be applied is
 * reported with its number and skipped.
 */
#include "tools/sources/source.h"

#include <coppice/coppice.h>

#include "tools/args.h"

#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define LINE_MAX_BYTES ((size_t)64 << 20)

struct feed {
    cop_store *store;
    pthread_t thread;
    int stop_fd;
    char *line; /* the bytes read and not yet taken, a line's beginning first */
    size_t length, capacity;
    bool skipping; /* the rest of a line that was too long */
    uint64_t lines, bad;
};

static void
bad_line(struct feed *f, const char *what)
{
    f->bad++;
    complain("feed: line %llu: %s", (unsigned long long)f->lines, what);
}

static cop_status
add_value(cop_txn *txn, const char *path, size_t length, const json_t *value, cop_error *error)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    if (!text)
        return COP_E_MEMORY;
    cop_status status = cop_json_read(txn, path, length, text, strlen(text), NULL, error);
    free(text);
    return status;
}

/* value is NULL to erase. */
static cop_status
apply(struct feed *f, const json_t *path, const json_t *value, cop_error *error)
{
    cop_txn *txn;
    const char *text = json_string_value(path);
    size_t length = json_string_length(path);
    cop_status status = cop_txn_begin(f->store, &txn);
    if (status != COP_OK)
        return status;
    status = value ? add_value(txn, text, length, value, error)
                   : cop_txn_erase_at(txn, text, length, error);
    if (status == COP_OK)
        return cop_txn_commit(txn, NULL, error);
    cop_txn_cancel(txn);
    return status;
}

static void
take_object(struct feed *f, const json_t *object)
{
    const json_t *path = json_object_get(object, "path");
    const json_t *value = json_object_get(object, "value");
    bool erase = json_is_true(json_object_get(object, "erase"));
    cop_error error = COP_ERROR_INIT;
    if (!json_is_string(path) || json_object_size(object) != 2 || (!value && !erase)) {
        bad_line(f,
                 "{\"path\": ..., \"value\": ...} or {\"path\": ..., \"erase\": true} is wanted");
        return;
    }
    cop_status status = apply(f, path, value, &error);
    if (status != COP_OK)
        bad_line(f, error.message[0] ? error.message : cop_status_message(status));
}

static void
take_line(struct feed *f, const char *line, size_t length)
{
    json_error_t error;
    f->lines++;
    if (f->skipping) {
        f->skipping = false;
        return;
    }
    if (length == 0 || strspn(line, " \t\r") == length)
        return;
    json_t *object = json_loadb(line, length, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (object)
        take_object(f, object);
    else
        bad_line(f, error.text);
    json_decref(object);
}

static void
take_lines(struct feed *f)
{
    char *at = f->line, *end = f->line + f->length, *newline;
    while ((newline = memchr(at, '\n', (size_t)(end - at)))) {
        *newline = '\0';
        take_line(f, at, (size_t)(newline - at));
        at = newline + 1;
    }
    f->length = (size_t)(end - at);
    memmove(f->line, at, f->length);
}

/* Room for more; a line over the limit is reported now, and its rest skipped. */
static bool
make_room(struct feed *f)
{
    if (f->capacity - f->length > 4096)
        return true;
    if (f->length > LINE_MAX_BYTES) {
        if (!f->skipping) {
            f->lines++;
            bad_line(f, "too long");
            f->lines--;
        }
        f->skipping = true;
        f->length = 0;
        return true;
    }
    size_t capacity = f->capacity ? f->capacity * 2 : 65536;
    char *line = realloc(f->line, capacity);
    if (!line)
        return false;
    f->line = line;
    f->capacity = capacity;
    return true;
}

static bool
wait_for_input(const struct feed *f)
{
    struct pollfd fds[] = {{STDIN_FILENO, POLLIN, 0}, {f->stop_fd, POLLIN, 0}};
    while (poll(fds, 2, -1) < 0)
        if (errno != EINTR)
            return false;
    return !fds[1].revents;
}

static void
end_of_input(struct feed *f)
{
    if (f->length) { /* the last line may lack its newline; make_room leaves a byte for this */
        f->line[f->length] = '\0';
        take_line(f, f->line, f->length);
    }
    complain("feed: end of input, %llu lines, %llu bad", (unsigned long long)f->lines,
             (unsigned long long)f->bad);
}

static void *
run(void *context)
{
    struct feed *f = context;
    while (make_room(f) && wait_for_input(f)) {
        ssize_t got = read(STDIN_FILENO, f->line + f->length, f->capacity - f->length - 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            end_of_input(f);
            break;
        }
        f->length += (size_t)got;
        take_lines(f);
    }
    return NULL;
}

struct feed *
feed_open(cop_store *store)
{
    struct feed *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    f->store = store;
    f->stop_fd = eventfd(0, EFD_CLOEXEC);
    if (f->stop_fd >= 0 && pthread_create(&f->thread, NULL, run, f) == 0)
        return f;
    if (f->stop_fd >= 0)
        close(f->stop_fd);
    free(f);
    return NULL;
}

void
feed_close(struct feed *f)
{
    if (!f)
        return;
    eventfd_write(f->stop_fd, 1);
    pthread_join(f->thread, NULL);
    close(f->stop_fd);
    free(f->line);
    free(f);
}

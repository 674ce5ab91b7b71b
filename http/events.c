/* SPDX-License-Identifier: MIT */
/* Server-sent events from batches. No line break can get into a line: JSON has none between its
 * tokens as it is written here, and writes those of strings as \n. */
#include "http/events.h"

#include <coppice/patch.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct event {
    struct cop__buffer *buffer;
    size_t most;
};

static bool
put(const struct event *e, const char *bytes, size_t n)
{
    return n <= e->most - e->buffer->length && cop__buffer_add(e->buffer, bytes, n);
}

static bool
put_text(const struct event *e, const char *text)
{
    return put(e, text, strlen(text));
}

static int
put_bytes(void *context, const char *bytes, size_t n)
{
    return !put(context, bytes, n);
}

static bool
put_value(const struct event *e, const cop_value *value)
{
    char small[256];
    size_t needed = 0;
    cop_status status = cop_json_value(value, small, sizeof small, &needed);
    if (status == COP_OK)
        return put(e, small, needed);
    if (status != COP_E_RANGE || needed > e->most - e->buffer->length ||
        !cop__buffer_reserve(e->buffer, needed + 1))
        return false;
    status = cop_json_value(value, e->buffer->data + e->buffer->length,
                            e->buffer->capacity - e->buffer->length, &needed);
    e->buffer->length += status == COP_OK ? needed : 0;
    return status == COP_OK;
}

static bool
put_string(const struct event *e, const char *text, size_t n)
{
    cop_value value = cop_string(text, n);
    return put_value(e, &value);
}

static bool
put_member(const struct event *e, const char *name, const cop_value *value)
{
    return cop_value_type(value) == COP_NONE || (put_text(e, name) && put_value(e, value));
}

/* An array whose elements moved is told whole. */
static bool
put_now(const struct event *e, const cop_watch_batch *batch, const cop_change *change)
{
    cop_value now = change->now;
    if (change->kind == COP_CHANGE_ELEMENTS)
        return put_text(e, ",\"value\":") &&
               cop_json_write(batch->now, change->atom, NULL, put_bytes, (void *)(uintptr_t)e) ==
                   COP_OK;
    if (change->kind != COP_CHANGE_ERASED && cop_value_type(&now) == COP_NONE &&
        cop_get(batch->now, change->atom, &now) != COP_OK) /* lazy: it is evaluated */
        return true;
    return put_member(e, ",\"value\":", &now);
}

static bool
put_change(const struct event *e, const cop_watch_batch *batch, const cop_change *change)
{
    static const char *const kinds[] = {"erased", "changed", "created", "elements"};
    return put_text(e, "{\"kind\":\"") && put_text(e, kinds[change->kind]) &&
           put_text(e, "\",\"path\":") && put_string(e, change->path, change->path_length) &&
           put_now(e, batch, change) &&
           (change->kind == COP_CHANGE_ELEMENTS || put_member(e, ",\"old\":", &change->before)) &&
           put_text(e, "}");
}

/* Atoms without a name are for programs that have their handles. */
static bool
put_changes(const struct event *e, cop_watch_batch *batch)
{
    cop_change change;
    bool any = false;
    while (cop_watch_change(batch, &change)) {
        if (!change.path)
            continue;
        if ((any && !put_text(e, ",")) || !put_change(e, batch, &change))
            return false;
        any = true;
    }
    return true;
}

/* id, what it is, and the versions. */
static bool
put_head(const struct event *e, const cop_watch_batch *batch, uint32_t instance, const char *what)
{
    char head[160];
    snprintf(head, sizeof head,
             "id: %" PRIu64 "-%08" PRIx32 "\nevent: %s\ndata: {\"from\":%" PRIu64
             ",\"to\":%" PRIu64,
             batch->to, instance, what, batch->from, batch->to);
    return put_text(e, head);
}

bool
cop__event_patch(struct cop__buffer *buffer, const cop_watch_batch *batch, const char *path,
                 size_t length, uint32_t instance, size_t most)
{
    struct event e = {buffer, most};
    if (batch->before && put_head(&e, batch, instance, "patch") && put_text(&e, ",\"patch\":") &&
        cop_patch_write(batch->before, batch->now, path, length, COP_PATCH_JSON, NULL, put_bytes,
                        &e, NULL) == COP_OK &&
        put_text(&e, COP_EVENT_END))
        return true;
    buffer->length = 0;
    return false;
}

bool
cop__event_change(struct cop__buffer *buffer, cop_watch_batch *batch, uint32_t instance,
                  size_t most)
{
    struct event e = {buffer, most};
    if (put_head(&e, batch, instance, "change") && put_text(&e, ",\"changes\":[") &&
        put_changes(&e, batch) && put_text(&e, "]" COP_EVENT_END))
        return true;
    buffer->length = 0;
    return false;
}

bool
cop__event_reset(struct cop__buffer *buffer, const char *path, size_t length, uint64_t version,
                 uint32_t instance, bool exists)
{
    struct event e = {buffer, SIZE_MAX};
    char head[160];
    snprintf(head, sizeof head,
             "id: %" PRIu64 "-%08" PRIx32 "\nevent: reset\ndata: {\"to\":%" PRIu64 ",\"path\":",
             version, instance, version);
    return put_text(&e, head) && put_string(&e, path, length) &&
           (!exists || put_text(&e, ",\"value\":"));
}

size_t
cop__event_trunk(const char *pattern, size_t length)
{
    const char *star = memchr(pattern, '*', length);
    size_t n = star ? (size_t)(star - pattern) : length;
    return star && n > 0 ? n - 1 : n;
}

bool
cop__event_id(const char *text, uint32_t instance, uint64_t *version)
{
    uint64_t n = 0;
    const char *at = text;
    char *end;
    for (; *at >= '0' && *at <= '9'; at++) {
        if (__builtin_mul_overflow(n, 10, &n) ||
            __builtin_add_overflow(n, (uint64_t)(*at - '0'), &n))
            return false;
    }
    if (at == text || (*at != '\0' && *at != '-'))
        return false;
    *version = n;
    if (*at == '\0')
        return true;
    unsigned long told = strtoul(at + 1, &end, 16);
    return end > at + 1 && *end == '\0' && told == instance;
}

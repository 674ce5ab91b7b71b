/* SPDX-License-Identifier: MIT */
/*
 * What a watcher is told, as server-sent events (docs/http.md, "Watching"). One batch is one event;
 * its id is the version up to which the client has been told, and the server's number, as in ETags:
 * versions begin anew with each server.
 */
#ifndef COP_HTTP_EVENTS_H
#define COP_HTTP_EVENTS_H

#include <coppice/coppice.h>
#include <coppice/watch.h>

#include "http/buffer.h"

/* Adds the event of a batch that is no gap. False, and the buffer is empty: it has more than `most`
 * bytes, or the buffer's budget has no room. */
bool cop__event_change(struct cop__buffer *buffer, cop_watch_batch *batch, uint32_t instance,
                       size_t most);

/* The same as a JSON Patch of what is at a path; false too when the version before is not known, or
 * nothing was and is there. */
bool cop__event_patch(struct cop__buffer *buffer, const cop_watch_batch *batch, const char *path,
                      size_t length, uint32_t instance, size_t most);

/* Adds a reset up to where its document begins; COP_EVENT_END follows behind that. exists: there is
 * a document. */
bool cop__event_reset(struct cop__buffer *buffer, const char *path, size_t length, uint64_t version,
                      uint32_t instance, bool exists);
#define COP_EVENT_END "}\n\n"

/* The bytes of a pattern before its first `*`, as a path. */
size_t cop__event_trunk(const char *pattern, size_t length);

/* The version of an event's id; false: it is none of this server. A number alone is taken for one.
 */
bool cop__event_id(const char *text, uint32_t instance, uint64_t *version);

#endif

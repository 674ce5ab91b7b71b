/* SPDX-License-Identifier: MIT */
/* What the parts of the load on a server share. */
#ifndef COP_TOOLS_STRESS_REMOTE_H
#define COP_TOOLS_STRESS_REMOTE_H

#include "tools/http_client.h"
#include "tools/stress/load.h"

#include <jansson.h>

enum { RECENT = 65536 };

/* The branch stress-ID of the server: a/N are the accounts, counters/N what writer N has done. The
 * last thing that is written is a/end. */
struct remote {
    char branch[40];
    bool made;
    /* When commits were begun, by version; the number of versions may pass RECENT meanwhile. */
    struct recent {
        _Atomic uint64_t version, began_ns;
    } recent[RECENT];
};

/* A request of a thread, whose answer must be there in time and have the status. The document is to
 * be released; NULL: a promise was broken. version (may be NULL): that was answered, or the one in
 * the document. */
json_t *stress_request(struct stress_thread *self, struct http_link *link, const char *method,
                       const char *target, const char *body, int wanted, uint64_t *version);
/* Of an object with numbers: their sum. */
int64_t stress_remote_sum(const json_t *accounts);

#endif

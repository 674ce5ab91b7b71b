/* SPDX-License-Identifier: MIT */
/*
 * Versions held for clients: POST takes the newest one, for a lease; POST on it begins the lease
 * anew; DELETE ends it. Their number is bounded, and the keeper ends what has run out.
 *
 * A lease has an id of its own, so that two clients that hold one version do not end each other's.
 */
#include "http/internal.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#define MS ((uint64_t)1000000)

static const cop_snapshot *
remove_at(struct cop_http_server *server, size_t i)
{
    const cop_snapshot *snapshot = server->leases[i].snapshot;
    server->leases[i] = server->leases[--server->leases_count];
    return snapshot;
}

/* Takes out one lease that has run out; NULL when there is none. */
static const cop_snapshot *
remove_expired(struct cop_http_server *server, uint64_t now_ns)
{
    const cop_snapshot *snapshot = NULL;
    pthread_mutex_lock(&server->leases_mutex);
    for (size_t i = 0; i < server->leases_count && !snapshot; i++)
        if (server->leases[i].expires_ns <= now_ns)
            snapshot = remove_at(server, i);
    pthread_mutex_unlock(&server->leases_mutex);
    return snapshot;
}

/* Dropped outside the mutex: a drop may free a whole version's pages. */
void
cop__http_leases_expire(struct cop_http_server *server, uint64_t now_ns)
{
    const cop_snapshot *snapshot;
    while ((snapshot = remove_expired(server, now_ns)))
        cop_snapshot_drop(snapshot);
}

void
cop__http_leases_end(struct cop_http_server *server)
{
    cop__http_leases_expire(server, UINT64_MAX);
}

const cop_snapshot *
cop__http_held(struct cop_http_server *server, uint64_t version)
{
    const cop_snapshot *found = NULL;
    uint64_t now_ns = cop__http_now_ns();
    pthread_mutex_lock(&server->leases_mutex);
    for (size_t i = 0; i < server->leases_count && !found; i++) {
        const struct cop__http_lease *lease = &server->leases[i];
        if (lease->expires_ns > now_ns && cop_snapshot_version(lease->snapshot) == version &&
            cop_snapshot_keep(lease->snapshot) == COP_OK)
            found = lease->snapshot;
    }
    pthread_mutex_unlock(&server->leases_mutex);
    return found;
}

static json_t *
describe(const struct cop__http_lease *lease, uint64_t version, uint64_t now_ns)
{
    char state[64];
    snprintf(state, sizeof state, COP_HTTP_STATE "?version=%" PRIu64, version);
    return json_pack("{s:I,s:I,s:I,s:I,s:s}", "id", (json_int_t)lease->id, "version",
                     (json_int_t)version, "lease_ms", (json_int_t)lease->lease_ms, "expires_in_ms",
                     (json_int_t)((lease->expires_ns - now_ns) / MS), "state", state);
}

static json_t *
list_leases(struct cop_http_server *server)
{
    json_t *list = json_array();
    uint64_t now_ns = cop__http_now_ns();
    pthread_mutex_lock(&server->leases_mutex);
    for (size_t i = 0; i < server->leases_count; i++) {
        const struct cop__http_lease *lease = &server->leases[i];
        if (lease->expires_ns > now_ns)
            json_array_append_new(list,
                                  describe(lease, cop_snapshot_version(lease->snapshot), now_ns));
    }
    pthread_mutex_unlock(&server->leases_mutex);
    return json_pack("{s:o,s:I}", "snapshots", list, "max",
                     (json_int_t)server->options.max_snapshots);
}

/* The body is empty or {"lease_ms": N}. */
static bool
parse_lease(struct cop__http_request *r, uint32_t *lease_ms)
{
    const cop_http_options *o = &r->server->options;
    json_error_t error;
    *lease_ms = o->lease_ms;
    if (!r->body.length)
        return true;
    json_t *body = json_loadb(r->body.data, r->body.length, JSON_REJECT_DUPLICATES, &error);
    const json_t *wanted = json_object_get(body, "lease_ms");
    json_int_t ms = wanted ? json_integer_value(wanted) : o->lease_ms;
    bool good = json_is_object(body) && json_object_size(body) == (wanted ? 1 : 0) && ms >= 1 &&
                ms <= o->max_lease_ms;
    bool parsed = body != NULL;
    json_decref(body);
    *lease_ms = good ? (uint32_t)ms : 0;
    if (!parsed)
        return cop__problem_set(&r->problem, COP_PROBLEM_JSON, "%s", error.text);
    if (!good)
        return cop__problem_set(&r->problem, COP_PROBLEM_REQUEST,
                                "the body is empty or {\"lease_ms\": N}, N from 1 to %u",
                                o->max_lease_ms);
    return true;
}

/* False when all places are taken. */
static bool
add_lease(struct cop_http_server *server, const cop_snapshot *snapshot, uint32_t lease_ms,
          struct cop__http_lease *made)
{
    pthread_mutex_lock(&server->leases_mutex);
    bool room = server->leases_count < server->options.max_snapshots;
    if (room) {
        *made = (struct cop__http_lease){++server->leases_made, snapshot,
                                         cop__http_now_ns() + (uint64_t)lease_ms * MS, lease_ms};
        server->leases[server->leases_count++] = *made;
    }
    pthread_mutex_unlock(&server->leases_mutex);
    return room;
}

static void
wake_keeper(struct cop_http_server *server)
{
    pthread_mutex_lock(&server->mutex);
    pthread_cond_signal(&server->changed);
    pthread_mutex_unlock(&server->mutex);
}

static enum MHD_Result
take(struct cop__http_request *r, uint32_t lease_ms)
{
    struct cop_http_server *server = r->server;
    const cop_snapshot *snapshot;
    struct cop__http_lease lease;
    char location[64];
    cop__http_leases_expire(server, cop__http_now_ns());
    cop_status status = cop_snapshot_take(server->store, &snapshot);
    if (status != COP_OK) {
        cop__problem_reading(&r->problem, status, NULL);
        return cop__http_reply_problem(r, &r->problem);
    }
    uint64_t version = cop_snapshot_version(snapshot);
    if (!add_lease(server, snapshot, lease_ms, &lease)) {
        cop_snapshot_drop(snapshot);
        cop__problem_set(&r->problem, COP_PROBLEM_BUSY, "%u snapshots are held already",
                         server->options.max_snapshots);
        return cop__http_reply_problem(r, &r->problem);
    }
    wake_keeper(server);
    snprintf(location, sizeof location, COP_HTTP_SNAPSHOTS "/%" PRIu64, lease.id);
    return cop__http_reply_json(r, MHD_HTTP_CREATED, describe(&lease, version, cop__http_now_ns()),
                                location);
}

/* Under the mutex; NULL when it has run out or never was. */
static struct cop__http_lease *
find_lease(struct cop_http_server *server, uint64_t id)
{
    for (size_t i = 0; i < server->leases_count; i++)
        if (server->leases[i].id == id && server->leases[i].expires_ns > cop__http_now_ns())
            return &server->leases[i];
    return NULL;
}

static json_t *
renew(struct cop_http_server *server, uint64_t id, uint32_t lease_ms)
{
    json_t *answer = NULL;
    pthread_mutex_lock(&server->leases_mutex);
    struct cop__http_lease *lease = find_lease(server, id);
    if (lease) {
        uint64_t now_ns = cop__http_now_ns();
        lease->lease_ms = lease_ms;
        lease->expires_ns = now_ns + (uint64_t)lease_ms * MS;
        answer = describe(lease, cop_snapshot_version(lease->snapshot), now_ns);
    }
    pthread_mutex_unlock(&server->leases_mutex);
    return answer;
}

static json_t *
end_lease(struct cop_http_server *server, uint64_t id)
{
    const cop_snapshot *snapshot = NULL;
    pthread_mutex_lock(&server->leases_mutex);
    struct cop__http_lease *lease = find_lease(server, id);
    if (lease)
        snapshot = remove_at(server, (size_t)(lease - server->leases));
    pthread_mutex_unlock(&server->leases_mutex);
    if (!snapshot)
        return NULL;
    json_t *answer = json_pack("{s:I,s:I}", "id", (json_int_t)id, "version",
                               (json_int_t)cop_snapshot_version(snapshot));
    cop_snapshot_drop(snapshot);
    return answer;
}

static enum MHD_Result
one_lease(struct cop__http_request *r, uint32_t lease_ms)
{
    uint64_t id;
    json_t *answer = NULL;
    if (cop__http_number(r->rest + 1, UINT64_MAX, &id))
        answer =
            r->method == COP_HTTP_POST ? renew(r->server, id, lease_ms) : end_lease(r->server, id);
    if (answer)
        return cop__http_reply_json(r, MHD_HTTP_OK, answer, NULL);
    cop__problem_set(&r->problem, COP_PROBLEM_SNAPSHOT, "no lease has this id");
    return cop__http_reply_problem(r, &r->problem);
}

/* The list takes GET and POST, a lease takes POST and DELETE. */
enum MHD_Result
cop__http_snapshots(struct cop__http_request *r)
{
    uint32_t lease_ms = 0;
    bool one = r->rest[0] == '/' && r->rest[1];
    if (r->method == (one ? COP_HTTP_GET : COP_HTTP_DELETE)) {
        cop__problem_set(&r->problem, COP_PROBLEM_METHOD, "see the Allow header");
        r->problem.allow = one ? COP_HTTP_POST | COP_HTTP_DELETE : COP_HTTP_GET | COP_HTTP_POST;
        return cop__http_reply_problem(r, &r->problem);
    }
    if (r->method == COP_HTTP_POST && !parse_lease(r, &lease_ms))
        return cop__http_reply_problem(r, &r->problem);
    if (one)
        return one_lease(r, lease_ms);
    return r->method == COP_HTTP_POST
               ? take(r, lease_ms)
               : cop__http_reply_json(r, MHD_HTTP_OK, list_leases(r->server), NULL);
}

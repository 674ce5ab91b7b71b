/* SPDX-License-Identifier: MIT */
/*
 * The load on a running server, in a branch of its own: the same transfers, over HTTP, and what can
 * be checked from outside.
 */
#include "tools/stress/remote.h"

#include "tools/args.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SNAPSHOT_EVERY = 64, COUNT_EVERY = 8, BODY = 512, TARGET = 160 };

/* ---- requests ---- */

static bool
exchange(struct stress_thread *self, struct http_link *link, const struct http_request *request,
         int wanted, struct http_answer *answer)
{
    stress_enter(self, request->method);
    bool good = http_link_call(link, request, answer);
    atomic_store_explicit(&self->call, NULL, memory_order_relaxed);
    return stress_check(self, PROMISE_STATUS, good && answer->status == wanted,
                        good ? "%s %s was answered %d: %.80s" : "%s %s was not answered",
                        request->method, request->target, answer->status, good ? answer->body : "");
}

json_t *
stress_request(struct stress_thread *self, struct http_link *link, const char *method,
               const char *target, const char *body, int wanted, uint64_t *version)
{
    const struct http_request request = {.server = self->stress->config->server,
                                         .method = method,
                                         .target = target,
                                         .type = body ? "application/json" : NULL,
                                         .body = body,
                                         .length = body ? strlen(body) : 0};
    struct http_answer answer;
    json_t *document = NULL;
    if (exchange(self, link, &request, wanted, &answer)) {
        document = json_loadb(answer.body, answer.length, JSON_DECODE_ANY, NULL);
        stress_check(self, PROMISE_STATUS, document != NULL, "%s %s was answered with no JSON",
                     method, target);
        json_int_t told = json_integer_value(json_object_get(document, "version"));
        if (version)
            *version = told ? (uint64_t)told : answer.version;
    }
    free(answer.body);
    return document;
}

int64_t
stress_remote_sum(const json_t *accounts)
{
    int64_t sum = 0;
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)accounts, name, value) sum +=
        strcmp(name, "end") == 0 ? 0 : json_integer_value(value);
    return sum;
}

/* ---- writers ---- */

/* A version that is committed is in the state from now on; when it was begun is for the watchers.
 */
static void
note_version(struct stress_thread *self, uint64_t version, uint64_t began_ns)
{
    struct recent *recent = &self->stress->remote->recent[version % RECENT];
    stress_saw(self, version);
    recent->version = 0;
    recent->began_ns = began_ns;
    recent->version = version;
}

static void
transfer(struct stress_thread *self, struct http_link *link)
{
    const char *branch = self->stress->remote->branch;
    char body[BODY];
    uint64_t began_ns = stress_now_ns(), version = 0;
    long long amount = (long long)stress_random(self, 100);
    unsigned long long from = stress_pick(self), to = stress_pick(self);
    snprintf(body, sizeof body,
             "{\"operations\":["
             "{\"op\":\"add\",\"path\":\"%s/a/%llu\",\"value\":%lld},"
             "{\"op\":\"add\",\"path\":\"%s/a/%llu\",\"value\":%lld},"
             "{\"op\":\"add\",\"path\":\"%s/counters/%u\",\"value\":1}]}",
             branch, from, -amount, branch, to, amount, branch, self->number);
    json_t *answer = stress_request(self, link, "POST", "/v1/transaction", body, 200, &version);
    if (!answer)
        return;
    stress_done(self, OPERATION_COMMIT, began_ns);
    self->transactions++;
    note_version(self, version, began_ns);
    json_decref(answer);
}

/* What was accepted is there, and nothing else. */
static void
check_count(struct stress_thread *self, struct http_link *link)
{
    char target[TARGET];
    uint64_t began_ns = stress_now_ns(), version = 0;
    snprintf(target, sizeof target, "/v1/state/%s/counters/%u", self->stress->remote->branch,
             self->number);
    json_t *answer = stress_request(self, link, "GET", target, NULL, 200, &version);
    if (!answer)
        return;
    stress_done(self, OPERATION_READ, began_ns);
    stress_saw(self, version);
    stress_check(self, PROMISE_APPLIED, (uint64_t)json_integer_value(answer) == self->transactions,
                 "%llu transactions of thread %u were accepted, %lld are in the state",
                 (unsigned long long)self->transactions, self->number,
                 (long long)json_integer_value(answer));
    json_decref(answer);
}

void
stress_remote_write(struct stress_thread *self)
{
    struct http_link link = HTTP_LINK_INIT;
    for (uint64_t i = 1; !self->stress->stop; i++) {
        transfer(self, &link);
        if (i % COUNT_EVERY == 0 && !self->stress->stop)
            check_count(self, &link);
    }
    if (self->stress->broken < 0)
        check_count(self, &link);
    http_link_close(&link);
}

/* ---- readers ---- */

/* The accounts, whole; of a held version if there is a query. */
static json_t *
read_accounts(struct stress_thread *self, struct http_link *link, const char *query)
{
    char target[TARGET];
    uint64_t began_ns = stress_now_ns(), version = 0;
    int64_t wanted = (int64_t)self->stress->config->atoms * ACCOUNT_BEGIN;
    snprintf(target, sizeof target, "/v1/state/%s/a%s", self->stress->remote->branch, query);
    json_t *accounts = stress_request(self, link, "GET", target, NULL, 200, &version);
    if (!accounts)
        return NULL;
    stress_done(self, OPERATION_SCAN, began_ns);
    if (!*query)
        stress_saw(self, version);
    int64_t sum = stress_remote_sum(accounts);
    stress_check(self, PROMISE_SUM, sum == wanted, "it is %lld, not %lld, in version %llu",
                 (long long)sum, (long long)wanted, (unsigned long long)version);
    return accounts;
}

/* A version that is held for this client is read twice, while others write. */
static void
read_held(struct stress_thread *self, struct http_link *link)
{
    char text[TARGET];
    uint64_t version = 0;
    json_t *lease = stress_request(self, link, "POST", "/v1/snapshots", "{}", 201, &version);
    if (!lease)
        return;
    stress_saw(self, version);
    snprintf(text, sizeof text, "?version=%llu", (unsigned long long)version);
    json_t *first = read_accounts(self, link, text), *second = read_accounts(self, link, text);
    if (first && second)
        stress_check(self, PROMISE_PINNED, json_equal(first, second),
                     "held version %llu was read twice and differed", (unsigned long long)version);
    snprintf(text, sizeof text, "/v1/snapshots/%lld",
             (long long)json_integer_value(json_object_get(lease, "id")));
    json_decref(stress_request(self, link, "DELETE", text, NULL, 200, NULL));
    json_decref(first);
    json_decref(second);
    json_decref(lease);
}

void
stress_remote_read(struct stress_thread *self)
{
    struct http_link link = HTTP_LINK_INIT;
    for (uint64_t i = 1; !self->stress->stop; i++)
        if (i % SNAPSHOT_EVERY == 0)
            read_held(self, &link);
        else
            json_decref(read_accounts(self, &link, ""));
    http_link_close(&link);
}

/* ---- the branch ---- */

static bool
request(struct stress *s, const char *method, const char *below, const char *body)
{
    char target[TARGET];
    struct http_answer answer;
    snprintf(target, sizeof target, "/v1/state/%s%s", s->remote->branch, below);
    const struct http_request request = {.server = s->config->server,
                                         .method = method,
                                         .target = target,
                                         .type = body ? "application/json" : NULL,
                                         .body = body,
                                         .length = body ? strlen(body) : 0};
    if (!http_exchange(&request, &answer))
        return false;
    bool good = answer.status / 100 == 2;
    if (!good)
        complain("%s: the server answered %d: %.200s", target, answer.status, answer.body);
    free(answer.body);
    return good;
}

static char *
first_state(const struct stress_config *c)
{
    json_t *accounts = json_object(), *counters = json_object();
    char name[24];
    for (uint64_t i = 0; i < c->atoms; i++) {
        snprintf(name, sizeof name, "%llu", (unsigned long long)i);
        json_object_set_new(accounts, name, json_integer(ACCOUNT_BEGIN));
    }
    for (uint64_t i = 0; i < c->writers; i++) {
        snprintf(name, sizeof name, "%llu", (unsigned long long)i);
        json_object_set_new(counters, name, json_integer(0));
    }
    json_t *all = json_pack("{s:o,s:o}", "a", accounts, "counters", counters);
    char *text = json_dumps(all, JSON_COMPACT);
    json_decref(all);
    return text;
}

bool
stress_remote_open(struct stress *s)
{
    char *text = first_state(s->config);
    s->remote = calloc(1, sizeof *s->remote);
    if (!text || !s->remote || !stress_make_shares(s)) {
        complain("out of memory");
        free(text);
        return false;
    }
    snprintf(s->remote->branch, sizeof s->remote->branch, "stress-%ld-%llx", (long)getpid(),
             (unsigned long long)stress_now_ns());
    s->remote->made = request(s, "PUT", "", text);
    free(text);
    return s->remote->made;
}

/* The last change that watchers are told. */
bool
stress_remote_end(struct stress *s)
{
    return request(s, "PUT", "/a/end", "1");
}

void
stress_remote_close(struct stress *s)
{
    if (s->remote && s->remote->made)
        (void)request(s, "DELETE", "", NULL);
    free(s->remote);
    free(s->shares);
}

/* SPDX-License-Identifier: MIT */
/*
 * Sessions of a server. Serving a request only counts; what a session's requests come to is
 * computed, totals follow from a reducer and a group, and an effect tells of every change on the
 * event loop. What belongs to a session is in its scope, and goes with it.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <coppice/coppice.h>

#define P(path) (path), strlen(path)
#define MUST(call) \
    ((call) == COP_OK ? (void)0 : (fputs(#call " failed\n", stderr), exit(EXIT_FAILURE)))

enum { SESSIONS = 3, REQUESTS = 300 };

struct session {
    cop_scope *scope;
    cop_atom branch, requests, bytes;
} sessions[SESSIONS];

/* Computed: bytes a request; an error value until there is one. */
static cop_status
mean(cop_evaluation *e, void *context, cop_value *result)
{
    const struct session *s = context;
    double requests, bytes;
    cop_status status = cop_read_f64(e, s->requests, &requests);
    if (status == COP_OK)
        status = cop_read_f64(e, s->bytes, &bytes);
    if (status == COP_OK && requests == 0)
        return cop_fail(e, "no requests yet");
    *result = cop_f64(bytes / requests);
    return status;
}

static void
session_begin(cop_store *store, struct session *s, const char *id, const char *user)
{
    cop_value name = cop_string(user, strlen(user)), none = cop_i64(0), object = cop_object();
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    char path[64];
    cop_txn *txn;
    MUST(cop_atom_at(store, P(id), &s->branch, NULL));
    MUST(cop_txn_begin(store, &txn));
    MUST(cop_txn_set(txn, s->branch, &object));
    MUST(cop_txn_set_child(txn, s->branch, P("user"), &name, NULL));
    MUST(cop_txn_set_child(txn, s->branch, P("requests"), &none, &s->requests));
    MUST(cop_txn_set_child(txn, s->branch, P("bytes"), &none, &s->bytes));
    MUST(cop_txn_commit(txn, NULL, NULL));
    MUST(cop_scope_open(NULL, &s->scope));
    MUST(cop_scope_add_atom(s->scope, store, s->branch)); /* first in, disposed of last */
    options.scope = s->scope;
    snprintf(path, sizeof path, "%s/mean_bytes", id);
    MUST(cop_computed_define(store, P(path), mean, s, &options, NULL, NULL));
}

static void
serve_request(cop_store *store, const struct session *s)
{
    cop_value one = cop_i64(1), size = cop_i64(100);
    cop_txn *txn;
    MUST(cop_txn_begin(store, &txn));
    MUST(cop_txn_add(txn, s->requests, &one));
    MUST(cop_txn_add(txn, s->bytes, &size));
    MUST(cop_txn_submit(txn, NULL)); /* committed by the event loop */
}

/* Effect: runs after a version in which one of the totals that it reads is another. */
static cop_status
show(cop_evaluation *e, void *context)
{
    long *seen = context;
    cop_value bytes, ada;
    cop_status status = cop_read_at(e, P("bytes"), &bytes);
    if (status == COP_OK)
        status = cop_read_at(e, P("by_user/ada"), &ada);
    if (status == COP_OK && cop_value_type(&bytes) == COP_I64 && cop_value_type(&ada) == COP_I64)
        printf("%ld bytes, %ld requests of ada\n", *seen = (long)cop_value_i64(&bytes),
               (long)cop_value_i64(&ada));
    return status == COP_E_ABSENT ? COP_OK : status; /* nobody is here yet */
}

/* The event loop: commits what is handed over and runs the effect, until that has seen so much. */
static void
loop(cop_store *store, cop_effect_queue *queue, const long *seen, long bytes)
{
    struct pollfd events[2] = {{.events = POLLIN}, {.events = POLLIN}};
    MUST(cop_store_fd(store, &events[0].fd));
    MUST(cop_effect_queue_fd(queue, &events[1].fd));
    while (*seen != bytes && poll(events, 2, 5000) > 0) {
        MUST(cop_store_poll(store));
        MUST(cop_effects_run(store, queue, 0, NULL));
    }
}

int
main(void)
{
    cop_effect_options options = COP_EFFECT_OPTIONS_INIT;
    long seen = -1;
    cop_effect effect;
    cop_store *store;

    MUST(cop_store_open(NULL, &store, NULL));
    MUST(cop_reduce_define(store, P("bytes"), P("sessions/*/bytes"), COP_REDUCE_SUM, NULL, NULL,
                           NULL));
    MUST(cop_group_define(store, P("by_user"), P("sessions/*"), "user", "requests", COP_REDUCE_SUM,
                          NULL, NULL, NULL));
    MUST(cop_effect_queue_open(store, &options.queue));
    MUST(cop_effect_open(store, show, &seen, &options, &effect, NULL));
    session_begin(store, &sessions[0], "sessions/a", "ada");
    session_begin(store, &sessions[1], "sessions/b", "bob");
    session_begin(store, &sessions[2], "sessions/c", "ada");
    for (int i = 0; i < REQUESTS; i++)
        serve_request(store, &sessions[i % SESSIONS]);
    loop(store, options.queue, &seen, 100 * REQUESTS);
    cop_scope_dispose(sessions[2].scope); /* ada's total falls */
    loop(store, options.queue, &seen, 100 * REQUESTS * 2 / 3);
    cop_store_close(store);
    cop_effect_queue_close(options.queue);
    return seen == 100 * REQUESTS * 2 / 3 ? EXIT_SUCCESS : EXIT_FAILURE;
}

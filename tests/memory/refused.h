/* SPDX-License-Identifier: MIT */
/*
 * Every public function without memory.
 *
 * A table row is a call on a world: a store with something of everything. For every k, the k-th
 * request for memory during the call is refused: once, and from there on for ever; counted by the
 * store's own hook, which sees what pools hand out too, and counted at malloc, which sees what no
 * store counts. Then:
 *
 *   - a call that failed says COP_E_MEMORY (or the row's other status), and the world is as before:
 * every atom with its handle, the version, what is open, held, kept and looked at, the options, the
 * graph's invariants; the same call succeeds when there is memory again
 *   - after that, or when it succeeded all the same, the world is as it is after a call of which
 * nothing was refused
 *   - closing gives back every byte, of the store and of malloc
 *
 * The loop over k ends with the first call that does not come to its k-th request.
 */
#ifndef COP_TESTS_REFUSED_H
#define COP_TESTS_REFUSED_H

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <coppice/coppice.h>

#define P(text) (text), strlen(text)
#define LONG_TEXT 400

typedef struct world {
    cop_store *store;
    cop_atom number, list, big, tree, text;                /* sources; text: LONG_TEXT bytes */
    cop_atom twice, words, lazy, background, owned, total; /* computed */
    cop_effect effect;
    cop_watch *watch;        /* of everything, asked */
    cop_scope *scope;        /* an atom and an effect are under it */
    const cop_snapshot *old; /* held, of an earlier version */
    cop_pool *pool;          /* NULL, until a row asks for one */
    uint64_t kept;           /* a kept version, labelled "first" */
    char letters[LONG_TEXT + 1];
    /* the row's own */
    cop_txn *txn;
    cop_ticket *ticket;
    void *made;
    cop_atom atom;
    cop_value value;
    cop_status inner; /* what a function that the call ran was answered */
    cop_watch_batch batch;
    uint64_t figure;
    unsigned logged; /* errors */
} world;

enum {
    ASKS_NOTHING = 1, /* it makes no request at all */
    HEALS = 2,        /* a result that did not fit is an error value, until the next commit */
    READY_AGAIN = 4,  /* a failure uses up what `ready` made */
    BY_PARTS = 8,     /* it does several things; those before the one that failed are done */
    OWN_WAY = 16      /* what is held and counted differs; atoms must be the same */
};

typedef struct refused_call {
    const char *name; /* of the public function */
    const char *what; /* NULL, or which of several rows */
    cop_status (*call)(world *w);
    unsigned flags;
    void (*ready)(world *w); /* before, with memory; may be NULL */
    void (*done)(world *w);  /* after the call has succeeded; may be NULL */
    cop_status other;        /* another status that says it; 0: none */
} refused_call;

#define REQUIRE(condition)                               \
    do {                                                 \
        if (!(condition))                                \
            refused_die(__FILE__, __LINE__, #condition); \
    } while (0)
#define REQUIRE_OK(expression)                                      \
    do {                                                            \
        cop_status got_ = (expression);                             \
        if (got_ != COP_OK)                                         \
            refused_die(__FILE__, __LINE__, cop_status_name(got_)); \
    } while (0)

_Noreturn void refused_die(const char *file, int line, const char *what);

/* Runs a table; the main of its program: says how many points there were. */
int refused_main(const refused_call *calls, size_t count);

/* ---- for rows ---- */

/* Gives a new open transaction in w->txn, without one if there is one. */
void ready_txn(world *w);
void done_commit(world *w);
void done_cancel(world *w);
/* Sets "number", in a commit of its own. */
void world_set(world *w, int64_t number);
/* Does what is due, until nothing is. */
void world_rest(world *w);
int refused_sink(void *context, const char *bytes, size_t n);
/* Of open_memstream, whose bytes come from no malloc that is counted. */
void refused_free_text(char *text);
/* Runs on a thread of its own, and waits for it. */
cop_status refused_apart(cop_status (*function)(world *w), world *w);

#endif

/* SPDX-License-Identifier: MIT */
/* A session, and the frames on its stack: for lazy_run.c, which has the idea, and lazy_read.c. */
#ifndef COP_GRAPH_LAZY_SESSION_H
#define COP_GRAPH_LAZY_SESSION_H

#include "graph/lazy.h"
#include "graph/look.h"

typedef struct cop__frame {
    struct cop__frame *below;
    cop__lazy *lazy;
    struct cop__session *session;
    struct cop__frame *next_running; /* of the same record, under its lock */
    cop__memo *candidate[COP_LAZY_MEMOS];
    uint32_t candidates, tried;
    uint64_t at;        /* the next input of the candidate that is being compared */
    size_t kept;        /* what the session keeps from here on is this frame's */
    size_t input, text; /* and what it notes */
    uint32_t discarded; /* runs */
} cop__frame;

typedef struct kept_memo {
    cop__lazy *lazy;
    cop__memo *memo;
} kept_memo;

typedef struct cop__session {
    cop__evaluator run;
    const cop_snapshot *snapshot;
    cop__frame *top, *spare;
    cop__lazy *wants;  /* what is to be ready before the top frame can go on */
    cop__lazy *waits;  /* for another session; under lazies.lock */
    cop__memo *result; /* of the lowest frame */
    cop_value plain;   /* the same, when there was no memory to remember it */
    bool unremembered;
    cop__input *input;
    size_t inputs, input_capacity;
    char *text; /* of paths */
    size_t text_used, text_capacity;
    kept_memo *kept;
    size_t kept_count, kept_capacity;
} cop__session;

static inline uint64_t
cop__session_stamp(const cop__session *session)
{
    return session->snapshot->stamp;
}

static inline cop__memory *
cop__session_memory(const cop__session *session)
{
    return session->run.graph->memory;
}

static inline uint64_t
cop__pack(cop_atom atom)
{
    return (uint64_t)atom.generation << 32 | atom.id;
}

/* A vector of the session's. False: out of memory. */
bool cop__session_grow(const cop__session *session, void *vector, size_t *capacity, size_t need,
                       size_t element);
/* Writes an input of the top frame down. COP_E_MEMORY. */
cop_status cop__session_note(cop__session *session, cop__input input);
/* Room to keep one more memo. */
bool cop__session_keep_room(cop__session *session);
/* The memo of a record at this session's stamp, kept; NULL: not ready, or *status says why. */
cop__memo *cop__session_ready(cop__session *session, cop__lazy *lazy, cop_status *status);
/* Lets what was kept from `first` on go. */
void cop__session_release(cop__session *session, size_t first);
/* Whether an input of a memo holds the same in this version. COP_E_PENDING, COP_E_MEMORY. */
cop_status cop__session_input_same(cop__session *session, const cop__memo *memo,
                                   const cop__input *input, bool *same);

/* ---- lazy_look.c ---- */

/* The top frame's run gave a value: writes down all but the times. */
void cop__lazy_look_ran(const cop__session *session, const cop_value *value, cop__looked_run *run);
/* To who looks at the record, if somebody still does. */
void cop__lazy_look_hand(cop__lazy *lazy, cop__looked_run *run, uint64_t version);

#endif

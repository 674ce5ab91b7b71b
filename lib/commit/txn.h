/* SPDX-License-Identifier: MIT */
/*
 * A transaction's inside: operations, conditions, and the state that tells who has it.
 *
 * STATES. BUILDING is its owner's. Submitted, the word `state` decides:
 *
 *   from        to          by
 *   BUILDING    QUEUED      submit
 *   QUEUED      CANCELLED   cop_ticket_cancel (compare-and-swap)
 *   QUEUED      TAKEN       the combiner (compare-and-swap): cancelling is over
 *   TAKEN       DONE        the combiner (swap, release): result, version, handles may be read
 *   CANCELLED   DONE        the combiner
 *   any but DONE |= SLEEP   a waiter before it sleeps; DONE wakes it
 *
 * MEMORY. Reference-counted: the owner or its ticket holds one, the queue another. Operations,
 * paths and long values lie in an arena that begins inside the struct, so that a small transaction
 * allocates nothing; a reader keeps one spent transaction for the next begin.
 */
#ifndef COP_COMMIT_TXN_H
#define COP_COMMIT_TXN_H

#include "base/queue.h"
#include "commit/txn_internal.h"
#include "store/store_internal.h"
#include "tree/directory.h"

enum cop__txn_state {
    COP_TXN_BUILDING,
    COP_TXN_QUEUED,
    COP_TXN_TAKEN,
    COP_TXN_DONE,
    COP_TXN_CANCELLED,
    COP_TXN_SLEEP = 0x10
};

enum cop__op_code {
    COP_OP_SET,       /* target */
    COP_OP_SET_AT,    /* text: path */
    COP_OP_SET_CHILD, /* target, text: segment */
    COP_OP_INSERT,    /* target, number: position */
    COP_OP_CREATE,
    COP_OP_ERASE,       /* target */
    COP_OP_ERASE_AT,    /* text: path */
    COP_OP_ERASE_CHILD, /* target, text: segment */
    COP_OP_CLEAR,       /* target */
    COP_OP_CLEAR_AT,    /* text: path */
    COP_OP_ADD,
    COP_OP_MAX,
    COP_OP_COMPARE_SET, /* text: a cop_value, the expected one */
    COP_OP_ELEMENT,     /* target, number: position; the one there or a new last one */
    COP_OP_ARRANGE,     /* target, text: operation numbers, number: how many */
    COP_OP_AT,          /* text: path; changes nothing, tells the atom that is there then */
    COP_OP_PLACE,       /* target: a child, text: a cop_atom, its sibling before it; NULL: none */
    COP_OP_DEFINE,      /* text: a cop__definition */
    COP_OP_STEP,        /* text: a cop__doc_step */
    COP_OP_RESULT       /* target: a background atom, text: the version it came from */
};

#define COP_OP_PUT 1u /* flag: replace whatever is there */

typedef struct cop__op {
    uint8_t code;
    uint8_t flags;
    uint8_t told; /* compare_set: it was equal */
    uint8_t unused;
    uint32_t number; /* length of text, or as the code says */
    cop_atom target;
    cop_value value;
    const void *text;
    cop_atom made; /* the real handle of what it created or wrote */
} cop__op;

_Static_assert(sizeof(cop__op) == 48, "an operation is 48 bytes");

/* Provisional handles: generation all ones, id the operation's number. */
#define COP_PROVISIONAL UINT32_MAX

enum cop__condition_code {
    COP_READ_ATOM,      /* atom: same value as in the snapshot */
    COP_READ_PATH,      /* text: path leads to `atom`, or nowhere if its generation is 0 */
    COP_READ_LIST,      /* atom: same children as in the snapshot; the last one that was read */
    COP_IF_UNCHANGED,   /* atom: not changed since `version` */
    COP_IF_VALUE,       /* atom: equal to text, a cop_value */
    COP_IF_PRESENT,     /* text: path leads somewhere */
    COP_IF_ABSENT
};

typedef struct cop__condition {
    uint8_t code;
    uint32_t length;
    cop_atom atom;
    uint64_t version;
    const void *text;
} cop__condition;

/* Where cop_txn_commit writes what an operation made or found. */
typedef struct cop__out {
    uint32_t op;
    cop_atom *atom;
    bool *told;
} cop__out;

struct cop__arena_chunk;

#define COP_TXN_OPS 8
#define COP_TXN_ARENA 640

struct cop_txn {
    cop__queue_node node; /* first: the queue's nodes are transactions */
    cop_store *store;
    struct cop__gate *gate;
    struct cop_reader *user; /* who counts the use of the store; NULL: the gate */
    _Atomic uint32_t state;
    _Atomic uint32_t references;
    cop_status result;
    uint32_t failed_op;
    uint64_t version;
    cop__op *ops;
    size_t op_count, op_capacity;
    cop__condition *conditions;
    size_t condition_count, condition_capacity;
    cop__out *outs;
    size_t out_count, out_capacity;
    const cop_snapshot *snapshot; /* of its reads */
    struct cop__arena_chunk *chunks;
    struct cop__scoped *scoped; /* of atoms that it defines under scopes */
    char *arena_next;
    size_t arena_left, arena_used;
    struct cop_txn *batch_next;
    uint64_t queued_ns; /* when it was submitted, if the monitor asked; else 0 */
    uint64_t gathered_bytes; /* counted by the batcher */
    _Atomic(struct cop__ticket_call *) call; /* who is to be told; set at most once */
    uint32_t round; /* of the effects that its changes make due */
    uintptr_t submitter; /* the same for all that one thread submits */
    cop_status lost; /* stalled: why it cannot be committed any more; COP_OK: it can */
    uint64_t stalled_until; /* 0: it has not been stalled; else when it is refused (scarce.h) */
    bool may_wait; /* alone: its owner will queue it when it does not fit */
    bool alone; /* never queued: its owner commits it and waits for nobody */
    bool ends_version; /* nothing else is to be in the version that it makes */
    bool wants_fresh; /* its conditions can be checked in a fresh draft only */
    cop__op inline_ops[COP_TXN_OPS];
    char inline_arena[COP_TXN_ARENA];
};

/* Whether operations and conditions may be added. */
static inline cop_status
cop__txn_building(const cop_txn *txn)
{
    if (cop__unlikely(atomic_load_explicit(txn->store->alive, memory_order_relaxed) == 0))
        return COP_E_FORKED;
    return cop__likely(atomic_load_explicit(&txn->state, memory_order_relaxed) ==
                       COP_TXN_BUILDING)
               ? COP_OK
               : COP_E_STATE;
}

/* What it counts against batch.max_bytes. */
static inline uint64_t
cop__txn_weight(const cop_txn *txn)
{
    return txn->op_count * sizeof(cop__op) + txn->arena_used;
}

/* A batch: transactions chained by batch_next, in order. */
typedef struct cop__batch {
    cop_txn *first, *last;
    uint64_t transactions, bytes; /* taken for it */
} cop__batch;

/* n bytes, aligned to 8, living as long as the transaction. NULL when refused. */
void *cop__txn_bytes(cop_txn *txn, size_t n);
/* Adds an operation; its value's bytes are copied. COP_E_STATE, COP_E_INVALID, COP_E_LIMIT,
 * COP_E_MEMORY. */
cop_status cop__op_add(cop_txn *txn, const cop__op *op, const cop_value *value);
/* Ends one reference; the last one frees it or keeps it for its thread. */
void cop__txn_unref(cop_txn *txn);
/* A spent one that a reader kept. */
void cop__txn_free_spare(cop_txn *txn, cop__memory *memory);
/* Runs the transaction's conditions against the draft, with the right. COP_E_CONFLICT; COP_E_EXPIRED: the
 * version that it read has been let go. */
cop_status cop__txn_holds(const cop_txn *txn, const cop__tree *tree);
/* If what it read holds in what is published, with no draft under way, it has read the newest version from
 * here on and holds the one that it had read no more. COP_E_CONFLICT, COP_E_EXPIRED: it does not. */
cop_status cop__txn_read_anew(cop_txn *txn);
/* Applies one operation to the draft. On any failure but COP_E_MEMORY nothing was changed by it. */
cop_status cop__txn_apply(cop_txn *txn, size_t op, cop__tree *tree);
/* The same for a step of a patch; what fails may have changed the draft. */
cop_status cop__doc_step_apply(cop_txn *txn, cop__op *op, cop__tree *tree);
/* What set, add, max or compare_set makes of a value. COP_E_TYPE, COP_E_RANGE. result may be now. */
cop_status cop__op_result(const cop__op *op, const cop_value *now, cop_value *result);
/* Writes what its owner asked to be told; after success. */
void cop__txn_tell(cop_txn *txn);

#endif

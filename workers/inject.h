/* SPDX-License-Identifier: MIT */
/*
 * The injection queue of a pool: any thread pushes, any takes, oldest first.
 *
 * It is base/queue.h (many producers, one consumer) with a right to consume. Whoever takes,
 * takes a handful, gives the right back, and looks at `pending`: when more is left it wakes
 * another.
 *
 * ORDERING. Nobody waits for the right, so a worker may come, find it taken, and go to sleep with
 * the queue not empty: the holder looked before the last push was finished, and the notification of
 * that push was used up by the worker that came. So who finds it taken leaves a mark, by an
 * exchange (acquire-release), and a holder that got nothing and then finds the mark, by an exchange
 * too, looks again: it sees what the worker knew of. One that got something notifies somebody in
 * any case. A push that is not finished yet keeps those behind it out of reach; its pusher notifies
 * when it is.
 *
 * PROGRESS. push: wait-free. take: lock-free, and it looks again only when another thread came.
 */
#ifndef COP_WORKERS_INJECT_H
#define COP_WORKERS_INJECT_H

#include "base/queue.h"

enum cop__inject_right { COP_INJECT_FREE, COP_INJECT_TAKEN, COP_INJECT_WANTED };

typedef struct cop__inject {
    cop__queue queue;
    _Alignas(COP_CACHE_LINE) _Atomic uint64_t pending; /* pushes begun less items taken */
    _Atomic uint32_t right;                            /* enum cop__inject_right */
} cop__inject;

static inline void
cop__inject_init(cop__inject *inject)
{
    cop__queue_init(&inject->queue);
    atomic_init(&inject->pending, 0);
    atomic_init(&inject->right, 0);
}

static inline void
cop__inject_push(cop__inject *inject, cop__queue_node *node)
{
    cop__add_seq_cst(&inject->pending, UINT64_C(1));
    cop__queue_push(&inject->queue, node);
}

static inline uint64_t
cop__inject_pending(cop__inject *inject)
{
    return cop__load_seq_cst(&inject->pending);
}

/* False, with the mark left, when another thread has it. */
static inline bool
cop__inject_right_take(cop__inject *inject)
{
    uint32_t right = COP_INJECT_FREE;
    return cop__cas_seq_cst(&inject->right, &right, (uint32_t)COP_INJECT_TAKEN) ||
           cop__swap_seq_cst(&inject->right, (uint32_t)COP_INJECT_WANTED) == COP_INJECT_FREE;
}

/* Up to `most` of the oldest nodes; 0 when there is none, or another thread is taking some. */
static inline uint32_t
cop__inject_take(cop__inject *inject, cop__queue_node **nodes, uint32_t most)
{
    uint32_t n = 0, right;
    do {
        if (cop__inject_pending(inject) == 0 || !cop__inject_right_take(inject))
            return 0;
        while (n < most && (nodes[n] = cop__queue_pop(&inject->queue)) != NULL)
            n++;
        cop__add_seq_cst(&inject->pending, -(uint64_t)n);
        right = cop__swap_seq_cst(&inject->right, (uint32_t)COP_INJECT_FREE);
    } while (n == 0 && right == COP_INJECT_WANTED);
    return n;
}

#endif

/* SPDX-License-Identifier: MIT */
/*
 * The injection queue of a pool: any thread pushes, any takes, oldest first.
 *
 * It is the commit queue (many producers, one consumer) with a right to consume, which is only ever
 * tried for. Whoever takes, takes a handful, gives the right back, and looks at `pending`: when
 * more is left it wakes another.
 *
 * ORDERING. A worker that found the right taken (a sequentially consistent load) may go to sleep
 * with the queue not empty. That right's holder gives it back with a swap and then loads `pending`,
 * both sequentially consistent: it sees every push that the worker could have missed, and wakes
 * somebody. A worker that had the right and found an unfinished push may sleep as well, since the
 * pusher notifies after it.
 *
 * PROGRESS. push: wait-free. take: wait-free for up to `most` items.
 */
#ifndef COP_WORKERS_INJECT_H
#define COP_WORKERS_INJECT_H

#include "commit/queue.h"

typedef struct cop__inject {
    cop__queue queue;
    _Alignas(COP_CACHE_LINE) _Atomic uint64_t pending; /* pushes begun less items taken */
    _Atomic uint32_t right;
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

/* Up to `most` of the oldest nodes; 0 when there is none, or the right is taken. */
static inline uint32_t
cop__inject_take(cop__inject *inject, cop__queue_node **nodes, uint32_t most)
{
    uint32_t free = 0, n = 0;
    if (cop__inject_pending(inject) == 0 || cop__load_seq_cst(&inject->right) != 0 ||
        !cop__cas_seq_cst(&inject->right, &free, 1u))
        return 0;
    while (n < most && (nodes[n] = cop__queue_pop(&inject->queue)) != NULL)
        n++;
    cop__add_seq_cst(&inject->pending, -(uint64_t)n);
    (void)cop__swap_seq_cst(&inject->right, 0u);
    return n;
}

#endif

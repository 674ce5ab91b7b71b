/* SPDX-License-Identifier: MIT */
/*
 * A queue of many producers and one consumer at a time: submitted transactions, whose consumer is the
 * holder of the commit right, and the tasks of a pool (workers/inject.h). Intrusive, after Vyukov's
 * MPSC queue.
 *
 * ORDERING. push swaps the tail, then links the old tail to the node; pop reads the link. All are
 * sequentially consistent: the consumer sees the node whole, and of a producer that looks at something
 * else after its push and a consumer that changes that before its pop, at least one sees the other.
 * (A releasing link could still lie in the producer's store buffer while it looks.) Between a producer's two steps
 * there is a gap: pop then takes the finished prefix and answers NULL, it never waits for the
 * producer.
 *
 * PROGRESS. push: wait-free (one swap, one store). pop: wait-free.
 *
 *   may run at the same time   push   pop
 *   push                       yes    yes
 *   pop                        yes    no: the consumer's right
 */
#ifndef COP_BASE_QUEUE_H
#define COP_BASE_QUEUE_H

#include "base/atomic.h"
#include "base/base.h"

typedef struct cop__queue_node {
    _Atomic(struct cop__queue_node *) next;
} cop__queue_node;

typedef struct cop__queue {
    _Alignas(COP_CACHE_LINE) _Atomic(cop__queue_node *) tail;
    _Alignas(COP_CACHE_LINE) cop__queue_node *head; /* consumer's */
    cop__queue_node stub;
} cop__queue;

static inline void
cop__queue_init(cop__queue *queue)
{
    atomic_init(&queue->stub.next, NULL);
    atomic_init(&queue->tail, &queue->stub);
    queue->head = &queue->stub;
}

static inline void
cop__queue_push(cop__queue *queue, cop__queue_node *node)
{
    cop__store_relaxed(&node->next, (cop__queue_node *)NULL);
    cop__queue_node *before = cop__swap_seq_cst(&queue->tail, node);
    cop__store_seq_cst(&before->next, node);
}

/* True when nothing has been pushed that was not popped; a push under way counts as pushed. */
static inline bool
cop__queue_empty(cop__queue *queue)
{
    return queue->head == &queue->stub && cop__load_seq_cst(&queue->tail) == &queue->stub;
}

/* The oldest finished node, or NULL: empty, or a push under way. */
static inline cop__queue_node *
cop__queue_pop(cop__queue *queue)
{
    cop__queue_node *head = queue->head;
    cop__queue_node *next = cop__load_seq_cst(&head->next);
    if (head == &queue->stub) {
        if (next == NULL)
            return NULL;
        queue->head = head = next;
        next = cop__load_seq_cst(&head->next);
    }
    if (next == NULL) {
        if (cop__load_acquire(&queue->tail) != head)
            return NULL; /* its successor is not linked yet */
        cop__queue_push(queue, &queue->stub);
        next = cop__load_seq_cst(&head->next);
        if (next == NULL)
            return NULL;
    }
    queue->head = next;
    return head;
}

/* The oldest finished node, left where it is. A pop that follows gives it, or NULL as long as a push
 * behind it is under way. The consumer's. */
static inline cop__queue_node *
cop__queue_peek(cop__queue *queue)
{
    cop__queue_node *head = queue->head;
    return head == &queue->stub ? cop__load_seq_cst(&head->next) : head;
}

#endif

/* SPDX-License-Identifier: MIT */
/*
 * A work-stealing deque: one owner pushes and takes at the bottom, any thread steals at the top.
 * After Chase and Lev (2005), with the orders of Lê, Pop, Cohen and Zappa Nardelli (2013); see
 * deque.c for the argument.
 *
 *   may run at the same time   push   take   steal   empty
 *   push, take                 no     no     yes     yes
 *   steal, empty               yes    yes    yes     yes
 */
#ifndef COP_WORKERS_DEQUE_H
#define COP_WORKERS_DEQUE_H

#include "base/atomic.h"
#include "base/base.h"

typedef struct cop__deque_array {
    struct cop__deque_array *smaller; /* outgrown, and freed with the deque: a thief may read it */
    int64_t mask;
    _Atomic(void *) items[];
} cop__deque_array;

typedef struct cop__deque {
    _Alignas(COP_CACHE_LINE) _Atomic int64_t top; /* thieves write it */
    _Alignas(COP_CACHE_LINE) _Atomic int64_t bottom;
    _Atomic(cop__deque_array *) array;
} cop__deque;

/* False when there is no memory for the first array; end is legal then. */
bool cop__deque_init(cop__deque *deque);
/* No thread uses it any more; items left are forgotten. */
void cop__deque_end(cop__deque *deque);

/* Owner. False, with nothing pushed, when it is full and there is no memory to grow. item is not
 * NULL. Lock-free but for malloc. */
bool cop__deque_push(cop__deque *deque, void *item);
/* Owner: the item pushed last, or NULL when it is empty. Wait-free. */
void *cop__deque_take(cop__deque *deque);
/* Anyone: the oldest item, or NULL when it is empty. Lock-free: it starts over when somebody else
 * got that item. */
void *cop__deque_steal(cop__deque *deque);
/* Anyone: whether it was, at some moment of the call. Wait-free. */
bool cop__deque_empty(cop__deque *deque);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * What a store has to do at a certain time, without a thread of its own.
 *
 * Whoever comes by runs what is due (cop__timers_run): cop_store_poll, and the workers of the store's
 * pool, which sleep no longer than until `earliest`. Who polls learns of it by a timerfd, which is
 * readable when the earliest timer is due.
 *
 * LIFE. A timer lies in what it is for, which lives as long as the store. Its function is called
 * without the lock, by one thread at a time or by two at once when it has been set again meanwhile; a
 * timer that is set fires once. ORDERING: what was written before cop__timer_set is seen by the
 * function, through the lock.
 *
 * PROGRESS. All blocking for the length of a short lock; run, for that of the functions too.
 */
#ifndef COP_STORE_TIMERS_H
#define COP_STORE_TIMERS_H

#include <pthread.h>

#include "base/atomic.h"
#include "base/timer_heap.h"

/* The timer has been taken out, and may be set again at once. */
typedef void (*cop__timer_function)(void *context);

typedef struct cop__store_timer {
    cop__timer timer; /* first */
    cop__timer_function function;
    void *context;
} cop__store_timer;

typedef struct cop__timers {
    pthread_mutex_t lock;
    cop__timer *top;
    _Atomic uint64_t earliest; /* COP_TIMER_NEVER: none. Written under the lock. */
    int fd;                    /* timerfd, -1: nobody polls. Under the lock. */
} cop__timers;

void cop__timers_init(cop__timers *timers);
/* No timer is looked at any more. */
void cop__timers_end(cop__timers *timers);

/* Due at this time, or earlier if it was set to be. */
void cop__timer_set(cop__timers *timers, cop__store_timer *timer, uint64_t due);
/* Runs what is due. */
void cop__timers_run(cop__timers *timers, uint64_t now);
/* The timerfd, made if there is none; -1: the system refused. Needs the lock. */
int cop__timers_fd(cop__timers *timers);

/* A timerfd becomes readable at this time, at once if that is past, and not before (COP_TIMER_NEVER: not
 * at all). fd may be -1. */
void cop__timer_descriptor_arm(int fd, uint64_t due);

static inline uint64_t
cop__timers_earliest(cop__timers *timers)
{
    return cop__load_relaxed(&timers->earliest);
}

#endif

/* SPDX-License-Identifier: MIT */
/*
 * What has to be done at a certain time, for who has no thread of its own: a store has these, and a pool.
 *
 * Whoever comes by runs what is due (cop__timers_run): cop_store_poll, and the workers of a pool, of
 * which one sleeps no longer than until `earliest`. Who polls learns of it by a timerfd, which is
 * readable when the earliest is due.
 *
 * LIFE. An alarm lies in what it is for. Its function is called without the lock, once each time it was
 * set, and may still be running when the alarm has been set again. ORDERING: what was written before it
 * was set is seen by the function, through the lock.
 *
 * PROGRESS. All blocking for the length of a short lock; run, for that of the functions too.
 */
#ifndef COP_BASE_TIMERS_H
#define COP_BASE_TIMERS_H

#include <pthread.h>

#include "base/atomic.h"
#include "base/timer_heap.h"

/* The alarm has been taken out, and may be set again at once. */
typedef void (*cop__timer_function)(void *context);

typedef struct cop__alarm {
    cop__timer timer; /* first */
    cop__timer_function function;
    void *context;
} cop__alarm;

typedef struct cop__timers {
    pthread_mutex_t lock;
    cop__timer *top;
    _Atomic uint64_t earliest; /* COP_TIMER_NEVER: none. Written under the lock. */
    int fd;                    /* timerfd, -1: nobody polls. Under the lock. */
    void (*sooner)(void *context); /* the earliest is an earlier one than before; without the lock. NULL:
                                    * nobody asks */
    void *context;
} cop__timers;

void cop__timers_init(cop__timers *timers);
/* No timer is looked at any more. */
void cop__timers_end(cop__timers *timers);

/* Due at this time, or earlier if it was set to be. True when it was not set. */
bool cop__timer_set(cop__timers *timers, cop__alarm *timer, uint64_t due);
/* True when it was set, and will not fire. */
bool cop__timer_remove(cop__timers *timers, cop__alarm *timer);
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

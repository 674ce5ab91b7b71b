/* SPDX-License-Identifier: MIT */
/* What a store has to do at a certain time: see timers.h. */
#include "base/timers.h"

#include <sys/timerfd.h>
#include <unistd.h>

void
cop__timers_init(cop__timers *timers)
{
    pthread_mutex_init(&timers->lock, NULL);
    timers->top = NULL;
    atomic_init(&timers->earliest, COP_TIMER_NEVER);
    timers->fd = -1;
    timers->sooner = NULL;
}

void
cop__timers_end(cop__timers *timers)
{
    if (timers->fd >= 0)
        (void)close(timers->fd);
    pthread_mutex_destroy(&timers->lock);
}

/* Needs the lock. */
static void
earliest_tell(cop__timers *timers)
{
    uint64_t due = cop__timer_heap_due(timers->top);
    if (due == cop__load_relaxed(&timers->earliest))
        return;
    cop__store_seq_cst(&timers->earliest, due);
    cop__timer_descriptor_arm(timers->fd, due);
}

bool
cop__timer_set(cop__timers *timers, cop__alarm *timer, uint64_t due)
{
    pthread_mutex_lock(&timers->lock);
    uint64_t before = cop__timer_heap_due(timers->top);
    bool was = cop__timer_is_set(&timer->timer);
    if (!was || due < timer->timer.due) {
        if (was)
            cop__timer_heap_remove(&timers->top, &timer->timer);
        cop__timer_heap_add(&timers->top, &timer->timer, due);
        earliest_tell(timers);
    }
    pthread_mutex_unlock(&timers->lock);
    if (due < before && timers->sooner != NULL)
        timers->sooner(timers->context);
    return !was;
}

bool
cop__timer_remove(cop__timers *timers, cop__alarm *timer)
{
    pthread_mutex_lock(&timers->lock);
    bool was = cop__timer_is_set(&timer->timer);
    if (was) {
        cop__timer_heap_remove(&timers->top, &timer->timer);
        earliest_tell(timers);
    }
    pthread_mutex_unlock(&timers->lock);
    return was;
}

static cop__alarm *
take_due(cop__timers *timers, uint64_t now)
{
    cop__timer *timer = NULL;
    pthread_mutex_lock(&timers->lock);
    if (cop__timer_heap_due(timers->top) <= now) {
        timer = timers->top;
        cop__timer_heap_remove(&timers->top, timer);
        earliest_tell(timers);
    }
    pthread_mutex_unlock(&timers->lock);
    return (cop__alarm *)(void *)timer;
}

void
cop__timers_run(cop__timers *timers, uint64_t now)
{
    cop__alarm *timer;
    if (cop__likely(cop__load_relaxed(&timers->earliest) > now))
        return;
    while ((timer = take_due(timers, now)) != NULL)
        timer->function(timer->context);
}

int
cop__timers_fd(cop__timers *timers)
{
    if (timers->fd < 0) {
        timers->fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
        cop__timer_descriptor_arm(timers->fd, cop__timer_heap_due(timers->top));
    }
    return timers->fd;
}

void
cop__timer_descriptor_arm(int fd, uint64_t due)
{
    struct itimerspec when = {{0, 0}, {0, 0}};
    if (fd < 0)
        return;
    if (due != COP_TIMER_NEVER) {
        when.it_value.tv_sec = (time_t)(due / 1000000000u);
        when.it_value.tv_nsec = (long)(due % 1000000000u);
        when.it_value.tv_nsec += due == 0; /* zero would disarm it */
    }
    (void)timerfd_settime(fd, TFD_TIMER_ABSTIME, &when, NULL);
}

/* SPDX-License-Identifier: MIT */
/*
 * The turn is `running`. Its owner alone reads and writes the schedule, without the lock; the lock
 * is taken only to pass the turn on, and orders the next owner after this one.
 */
#include "tests/support/schedule.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* More steps than any run should take: a loop waits without schedule_yield. */
#define STEP_LIMIT UINT64_C(100000000)

static _Thread_local struct schedule_actor *self;

uint64_t
schedule_random(struct schedule *s)
{
    uint64_t z = s->random += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

void
schedule_init(struct schedule *s, uint64_t seed, unsigned changes, uint64_t length)
{
    memset(s, 0, sizeof *s);
    pthread_mutex_init(&s->lock, NULL);
    s->random = seed;
    s->trace = UINT64_C(0xcbf29ce484222325);
    s->changes = changes < SCHEDULE_CHANGES ? changes : SCHEDULE_CHANGES;
    for (unsigned i = 0; i < s->changes; i++)
        s->change[i] = 1 + schedule_random(s) % length;
}

void
schedule_walk(struct schedule *s, unsigned one_in)
{
    s->walk = one_in;
}

static struct schedule_actor *
add(struct schedule *s, void *context)
{
    struct schedule_actor *actor = &s->actors[s->count];

    if (s->count == SCHEDULE_ACTORS)
        abort();
    s->count++;
    actor->schedule = s;
    actor->context = context;
    return actor;
}

unsigned
schedule_thread(struct schedule *s, void (*body)(void *context), void *context)
{
    struct schedule_actor *actor = add(s, context);

    actor->body = body;
    pthread_cond_init(&actor->turn, NULL);
    return s->count - 1;
}

unsigned
schedule_passive(struct schedule *s, bool (*ready)(void *context), void (*act)(void *context),
                 void *context)
{
    struct schedule_actor *actor = add(s, context);

    actor->ready = ready;
    actor->act = act;
    return s->count - 1;
}

static bool
can_run(const struct schedule_actor *actor)
{
    return actor->body ? !actor->finished && !actor->stopped : actor->ready(actor->context);
}

static struct schedule_actor *
highest(struct schedule *s)
{
    struct schedule_actor *best = NULL;

    for (unsigned i = 0; i < s->count; i++)
        if ((!best || s->actors[i].priority > best->priority) && can_run(&s->actors[i]))
            best = &s->actors[i];
    return best;
}

static struct schedule_actor *
anyone(struct schedule *s)
{
    struct schedule_actor *able[SCHEDULE_ACTORS];
    unsigned count = 0;

    for (unsigned i = 0; i < s->count; i++)
        if (can_run(&s->actors[i]))
            able[count++] = &s->actors[i];
    return count > 0 ? able[schedule_random(s) % count] : NULL;
}

/* Who makes the next step after `last`. */
static struct schedule_actor *
pick(struct schedule *s, struct schedule_actor *last)
{
    if (s->walk == 0)
        return highest(s);
    if (can_run(last) && schedule_random(s) % s->walk != 0)
        return last;
    return anyone(s);
}

static void
count_step(struct schedule *s, struct schedule_actor *actor)
{
    s->steps++;
    s->trace = (s->trace ^ (uint64_t)(actor - s->actors)) * UINT64_C(0x100000001b3);
    for (unsigned i = 0; i < s->changes; i++)
        if (s->change[i] == s->steps)
            actor->priority = --s->lowest;
    if (s->steps > STEP_LIMIT) {
        fprintf(stderr, "schedule: a run without end\n");
        abort();
    }
}

/* The thread to run after `last`, when the passive actors whose turn it is have acted. NULL: none
 * can. */
static struct schedule_actor *
next_thread(struct schedule *s, struct schedule_actor *last)
{
    while ((last = pick(s, last)) && !last->body) {
        last->act(last->context);
        count_step(s, last);
    }
    return last;
}

static void
wait_for_turn(struct schedule *s, struct schedule_actor *actor)
{
    while (s->running != actor)
        pthread_cond_wait(&actor->turn, &s->lock);
}

static void
pass_turn(struct schedule *s, struct schedule_actor *next)
{
    s->running = next;
    if (next)
        pthread_cond_signal(&next->turn);
}

/* Lets another run, and returns when it is the caller's turn (again). */
static void
reschedule(struct schedule *s)
{
    struct schedule_actor *next = next_thread(s, self);

    if (!next) {
        fprintf(stderr, "schedule: every thread is stopped\n");
        abort();
    }
    if (next == self)
        return;
    pthread_mutex_lock(&s->lock);
    pass_turn(s, next);
    wait_for_turn(s, self);
    pthread_mutex_unlock(&s->lock);
}

void
schedule_step(const char *where)
{
    (void)where;
    if (!self)
        return;
    count_step(self->schedule, self);
    reschedule(self->schedule);
}

void
schedule_yield(void)
{
    if (!self)
        return;
    self->priority = --self->schedule->lowest;
    schedule_step("yield");
}

void
schedule_stop(void)
{
    self->stopped = true;
    schedule_step("stop");
}

void
schedule_resume(struct schedule *s, unsigned actor)
{
    s->actors[actor].stopped = false;
}

uint64_t
schedule_trace(const struct schedule *s)
{
    return s->trace;
}

static bool
all_finished(const struct schedule *s)
{
    for (unsigned i = 0; i < s->count; i++)
        if (s->actors[i].body && !s->actors[i].finished)
            return false;
    return true;
}

static void *
thread_main(void *context)
{
    struct schedule_actor *actor = context;
    struct schedule *s = actor->schedule;
    struct schedule_actor *next;

    pthread_mutex_lock(&s->lock);
    wait_for_turn(s, actor);
    pthread_mutex_unlock(&s->lock);
    self = actor;
    actor->body(actor->context);
    actor->finished = true;
    next = next_thread(s, actor);
    if (!next && !all_finished(s)) {
        fprintf(stderr, "schedule: every thread that is left is stopped\n");
        abort();
    }
    pthread_mutex_lock(&s->lock);
    pass_turn(s, next);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* Priorities 1 to count, shuffled; what falls goes below 0. */
static void
draw_priorities(struct schedule *s)
{
    for (unsigned i = 0; i < s->count; i++) {
        unsigned j = (unsigned)(schedule_random(s) % (i + 1));

        s->actors[i].priority = s->actors[j].priority;
        s->actors[j].priority = (int64_t)i + 1;
    }
}

void
schedule_run(struct schedule *s)
{
    draw_priorities(s);
    for (unsigned i = 0; i < s->count; i++)
        if (s->actors[i].body &&
            pthread_create(&s->actors[i].thread, NULL, thread_main, &s->actors[i]) != 0)
            abort();
    pthread_mutex_lock(&s->lock);
    pass_turn(s, next_thread(s, &s->actors[0]));
    pthread_mutex_unlock(&s->lock);
    for (unsigned i = 0; i < s->count; i++)
        if (s->actors[i].body) {
            pthread_join(s->actors[i].thread, NULL);
            pthread_cond_destroy(&s->actors[i].turn);
        }
    pthread_mutex_destroy(&s->lock);
}

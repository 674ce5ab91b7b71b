/* SPDX-License-Identifier: MIT */
/*
 * A seeded scheduler for tests: real threads that take turns, one at a time, so that a seed stands
 * for one interleaving and replays it exactly.
 *
 * It is PCT (probabilistic concurrency testing, Burckhardt and others, 2010): each thread has a
 * random priority, the highest runs, and at a few random steps the running thread falls below all
 * others. A bug that needs few ordering constraints is found with a known least probability; for
 * those that need several within few steps there is a random walk besides. What is explored is
 * sequentially consistent; a test that wants more makes it an actor, such as one that drains a
 * simulated store buffer.
 *
 * An actor is a thread, which calls schedule_step before every shared access, or a passive one: a
 * function that the scheduler calls, for one step, when it is ready and has the highest priority.
 * All functions but schedule_init, _walk, _thread, _passive and _run are for use inside a run; a
 * call of schedule_step from any other thread does nothing, so that it can serve as the hook of
 * cop__step_install.
 */
#ifndef COP_TESTS_SCHEDULE_H
#define COP_TESTS_SCHEDULE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define SCHEDULE_ACTORS 16
#define SCHEDULE_CHANGES 8

struct schedule;

struct schedule_actor {
    struct schedule *schedule;
    void (*body)(void *context);  /* of a thread */
    bool (*ready)(void *context); /* of a passive actor */
    void (*act)(void *context);
    void *context;
    pthread_t thread;
    pthread_cond_t turn;
    int64_t priority;
    bool finished;
    bool stopped;
};

struct schedule {
    struct schedule_actor actors[SCHEDULE_ACTORS];
    unsigned count;
    pthread_mutex_t lock; /* guards running, and hands everything else on with it */
    struct schedule_actor *running;
    uint64_t random;
    uint64_t change[SCHEDULE_CHANGES];
    unsigned changes;
    unsigned walk; /* 0: PCT */
    int64_t lowest;
    uint64_t steps;
    uint64_t trace;
};

/* length: about how many steps a run takes; the `changes` fall among them. */
void schedule_init(struct schedule *s, uint64_t seed, unsigned changes, uint64_t length);
/* A random walk instead: another actor, drawn from all that can run, after one step in `one_in`. */
void schedule_walk(struct schedule *s, unsigned one_in);
/* Both return the actor's number, counted from 0. */
unsigned schedule_thread(struct schedule *s, void (*body)(void *context), void *context);
unsigned schedule_passive(struct schedule *s, bool (*ready)(void *context),
                          void (*act)(void *context), void *context);
/* Runs until every thread has returned. Aborts when all that are left are stopped. */
void schedule_run(struct schedule *s);

/* Another actor may run here. */
void schedule_step(const char *where);
/* As schedule_step, and the caller falls below all others: for loops that wait. */
void schedule_yield(void);
/* The caller does not run again before schedule_resume of its number. */
void schedule_stop(void);
void schedule_resume(struct schedule *s, unsigned actor);

/* From the seed of the run. */
uint64_t schedule_random(struct schedule *s);
/* A hash over who made each step: equal for equal interleavings. */
uint64_t schedule_trace(const struct schedule *s);

#endif

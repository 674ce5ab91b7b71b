/* SPDX-License-Identifier: MIT */
/*
 * The queue of due effects: who publishes marks effects as due, whoever serves the queue runs them.
 *
 * An effect is an index here, from 0; its queue has a bit for it. Marking one that is due already
 * changes nothing (changes are conflated); one that is marked while it runs is run again after. No
 * two runs of one effect overlap. The argument is at the top of queue.c.
 *
 * ROUNDS. A run that is due because of a change from outside is of round 0; one that is due because
 * an effect of round r wrote something is of round r + 1; of several reasons the least round
 * counts. An effect whose round reaches the bound is cut off: `cut` is called in place of `run`. So
 * effects that keep running each other again come to rest: there are finitely many runs of round 0
 * without changes from outside, each commits finitely often, and so on up to the bound. An effect
 * that many others make due once each is not cut off.
 *
 *   may run at the same time   post, signal   run   admit   retire   wait, fd
 *   post, signal               yes            yes   yes     yes      yes
 *   run                        yes            yes   yes     yes      yes
 *   admit                      yes            yes   yes     not of   yes
 *   retire                     yes            yes   one     yes      yes
 *                                                   index
 */
#ifndef COP_EFFECT_QUEUE_H
#define COP_EFFECT_QUEUE_H

#include <pthread.h>

#include <coppice/status.h>

#include "base/atomic.h"
#include "reclaim/memory.h"

/* What all queues of a store share: whether they are at rest, and who sleeps until something
 * happens. Zeroed: at rest. */
typedef struct cop__effect_rest {
    /* Effects due or running; while a post is under way, perhaps too many. */
    _Alignas(COP_CACHE_LINE) _Atomic uint64_t pending;
    _Atomic uint32_t event;    /* changes whenever a sleeper has to look again */
    _Atomic uint32_t sleepers; /* that wait for rest or for something to run */
    _Atomic uint32_t closers;  /* that wait for a run to end */
} cop__effect_rest;

struct cop__effect_queue;

typedef struct cop__effect_queue_options {
    uint32_t rounds; /* the bound; at least 1 */
    /* Runs an effect. Its writes make effects of round + 1 due. */
    void (*run)(void *context, uint32_t index, uint32_t round);
    /* Called in place of a run that is cut off, under the same guarantees. */
    void (*cut)(void *context, uint32_t index, uint32_t round);
    /* Asks for one more thread to call cop__effect_queue_run; false: it could not be had. Called
     * by whoever signals or runs, so it must not serve the queue itself. NULL: nobody is asked. */
    bool (*serve)(void *context);
    void *context;
    /* All below may be zero. Serves in place of the queue's own loop: claims, runs and releases until
     * no claim is to be had or `most` effects have run; how many, or COP__EFFECT_STOP. */
    uint64_t (*serve_found)(void *context, struct cop__effect_queue *queue, uint64_t most);
    /* An index that was left (cop__effect_queue_leave) is in no claim any more. */
    void (*ended)(void *context, uint32_t index);
    /* A barrier on all threads. NULL: each server pays for a fence at every run. */
    void (*heavy_barrier)(void);
} cop__effect_queue_options;

enum { COP__EFFECT_CHUNKS = 22 };

/* Made for a word once one of its effects is written to by an effect. */
typedef struct cop__effect_rounds {
    _Atomic uint32_t next[64]; /* least round it became due in since its last run; COP__NO_ROUND */
    uint32_t round[64];        /* of its last run; under its running bit */
} cop__effect_rounds;

/* Of 64 effects, but for their due bits. */
typedef struct cop__effect_word {
    _Atomic uint64_t outside;     /* due from outside: round 0 */
    _Atomic uint64_t running;     /* the bit is a lock: who sets it has claimed the effect */
    _Atomic uint64_t open;        /* admitted and not retired */
    _Atomic uint64_t rounded;     /* its rounds are to be looked at */
    _Atomic uint64_t slow;        /* its last run was long: it is claimed by itself */
    _Atomic uint64_t gone;        /* left while it was claimed */
    _Atomic(cop__effect_rounds *) rounds;
    _Atomic uint8_t started[64]; /* its function runs; written by who has claimed it */
} cop__effect_word;

#define COP__NO_ROUND UINT32_MAX

/* Chunk k has COP__EFFECT_FIRST << k words and never moves. */
typedef struct cop__effect_chunk {
    cop__effect_word *words;
    _Atomic uint64_t due[]; /* by themselves: looking for due effects passes over nothing else */
} cop__effect_chunk;

typedef struct cop__effect_queue {
    cop__effect_rest *rest;
    cop__memory *memory;
    cop__effect_queue_options options;
    _Atomic uint32_t words; /* that exist */
    _Atomic uint32_t
        cursor; /* an index: where the next search begins, so that all get their turn */
    _Atomic(cop__effect_chunk *) chunk[COP__EFFECT_CHUNKS];
    pthread_mutex_t grow_lock;
    _Alignas(COP_CACHE_LINE) _Atomic int fd;
    _Atomic uint32_t fd_signalled;
    _Atomic bool nobody;    /* there is nobody to ask, although there is `serve` */
    _Atomic uint32_t asked; /* serve was called, and nobody has come since */
} cop__effect_queue;

/* rest and memory must outlive the queue. */
void cop__effect_queue_init(cop__effect_queue *queue, cop__effect_rest *rest, cop__memory *memory,
                            const cop__effect_queue_options *options);
/* Nobody may use the queue any more. What is due is dropped. */
void cop__effect_queue_end(cop__effect_queue *queue);

/* ---- effects ---- */

/* Makes an index usable: posting to it makes it due. Not while it is in use, nor before the run in
 * which it retired itself has ended. COP_E_MEMORY. Blocking. */
cop_status cop__effect_queue_admit(cop__effect_queue *queue, uint32_t index);
/* No run of it begins after this returns, also if it is posted to. Waits for one under way, unless
 * `inside` says that the caller is in it. Idempotent. Blocking. */
void cop__effect_queue_retire(cop__effect_queue *queue, uint32_t index, bool inside);

/* ---- publishing ---- */

/* Makes the effects 64 * word + (each bit set) due, which must have been admitted once; those
 * retired since are left alone. What was published before is seen by their runs. round: 0 for a
 * change from outside, else one more than the run had that made it. Wait-free in round 0. */
void cop__effect_queue_post(cop__effect_queue *queue, uint32_t word, uint64_t bits, uint32_t round);
/* To be called after the posts of a publication, once: wakes who sleeps, makes the descriptor
 * readable, asks for a thread. Two loads when nobody has to be told. */
void cop__effect_queue_signal(cop__effect_queue *queue);
/* A server stops although something is due, or has to be: the same, but nobody is asked. */
void cop__effect_queue_left(cop__effect_queue *queue);

/* ---- serving ---- */

/* Runs what is due, and what becomes due meanwhile, up to `most` runs (0: no bound); how many. What
 * is due and running on another thread is left to that thread. May be called by a run; the effects
 * that run then are not in its way. */
uint64_t cop__effect_queue_run(cop__effect_queue *queue, uint64_t most);
/* Whether there is an effect to run: due, and not running. */
bool cop__effect_queue_ready(cop__effect_queue *queue);
/* A descriptor that is readable while there is an effect to run; the queue's. COP_E_IO. */
cop_status cop__effect_queue_fd(cop__effect_queue *queue, int *fd);

/* ---- serving, step by step ---- */

#define COP__EFFECT_STOP UINT64_MAX /* of serve_found: it cannot go on */

cop__effect_word *cop__effect_word_at(cop__effect_queue *queue, uint32_t word);

/* Effects of one word that the caller has claimed: nobody else runs them. */
typedef struct cop__effect_claim {
    cop__effect_word *w;
    uint32_t word;
    uint64_t bits;    /* to run */
    uint64_t cut;     /* to cut off */
    uint64_t rounded; /* of both, those whose round may not be 0 */
} cop__effect_claim;

/* Claims due effects from *from on, around the end, and moves *from behind them: all that are due in
 * a word, or one that is slow by itself. `most` bounds the bits to run, those to cut off counted too.
 * False: nothing is due that is not claimed. What was published before the posts is seen by what the
 * caller reads from now on. */
bool cop__effect_queue_claim(cop__effect_queue *queue, uint32_t *from, uint64_t most,
                             cop__effect_claim *claim);
/* The round of a claimed effect. */
uint32_t cop__effect_claim_round(const cop__effect_claim *claim, unsigned bit);
/* Gives claimed effects back; what became due meanwhile is found by the next search. */
void cop__effect_queue_release(cop__effect_queue *queue, cop__effect_word *w, uint32_t word,
                               uint64_t bits);
/* Effects that took long are claimed by themselves from now on, or no longer. */
void cop__effect_queue_slow(cop__effect_word *w, uint64_t bits, bool slow);
/* A retired index, which the caller will not use again: `ended` is called once no claim has it,
 * perhaps at once. */
void cop__effect_queue_leave(cop__effect_queue *queue, uint32_t index);

/* Ordered before what the server loads next. */
static inline void
cop__effect_started(const cop__effect_queue *queue, cop__effect_word *w, unsigned bit, uint8_t is)
{
    if (cop__likely(queue->options.heavy_barrier != NULL)) {
        cop__store_release(&w->started[bit], is);
        cop__light_barrier();
    } else {
        (void)cop__swap_seq_cst(&w->started[bit], is);
    }
}

/* Before and after the function of a claimed effect. False: it was retired, and must not run. */
static inline bool
cop__effect_start(const cop__effect_queue *queue, cop__effect_word *w, unsigned bit)
{
    cop__effect_started(queue, w, bit, 1);
    if (cop__likely(cop__load_seq_cst(&w->open) >> bit & 1))
        return true;
    cop__store_release(&w->started[bit], (uint8_t)0);
    return false;
}

void cop__effect_closers_wake(cop__effect_queue *queue);

static inline void
cop__effect_stop(cop__effect_queue *queue, cop__effect_word *w, unsigned bit)
{
    cop__effect_started(queue, w, bit, 0);
    if (cop__unlikely(cop__load_seq_cst(&queue->rest->closers) > 0))
        cop__effect_closers_wake(queue);
}

/* Waits for the end of a run under way, if there is one. */
void cop__effect_wait_stopped(cop__effect_queue *queue, uint32_t index);

/* ---- waiting ---- */

/* Nothing is due or running on any queue. Wait-free. */
static inline bool
cop__effects_at_rest(cop__effect_rest *rest)
{
    return cop__load_seq_cst(&rest->pending) == 0;
}

/* Sleeps until all queues are at rest (if for_rest) or `queue` (may be NULL) has an effect to run,
 * whichever is first. COP_E_TIMEOUT. Blocking. */
cop_status cop__effects_wait(cop__effect_rest *rest, cop__effect_queue *queue, bool for_rest,
                             uint64_t deadline);

#endif

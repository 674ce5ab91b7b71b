/* SPDX-License-Identifier: MIT */
/*
 * Effects of a store: their records, who runs them, how they read.
 *
 * AN EFFECT is a node of the graph without an atom, so that waves mark it, and a record here, because
 * the graph's memory belongs to the holder of the commit right and runs happen without it. The
 * record's number is the node's place among effects (cop__effect_index). Numbers are made 64 at a
 * time under the right and used again; a free number keeps its node, without dependencies.
 *
 *   record state     from -> to        by
 *   free             -> open           cop_effect_open (took the number off the free stack)
 *   open             -> open|closed    one cop_effect_close (compare-and-swap), or the store's closing
 *   open|closed      -> free           the holder of the right, once no claim of a queue has it
 *                                      (next generation)
 *
 *   table.c    records, making and freeing numbers, what a publication makes due
 *   effect.c   opening, closing, what a running effect may ask for
 *   read.c     how it reads
 *   execute.c  running and relinking
 *   serve.c    queues, pools, settling
 */
#ifndef COP_EFFECT_EFFECTS_H
#define COP_EFFECT_EFFECTS_H

#include <coppice/effect.h>

#include "effect/queue.h"
#include "graph/graph.h"
#include "workers/listen.h"

#define COP_EFFECT_OPEN 1u
#define COP_EFFECT_CLOSED 2u
#define COP_EFFECT_EXTRA 4u    /* `extra` holds, and the function is there */
#define COP_EFFECT_UNLINKED 8u /* its dependencies are not known to the graph, for want of memory */
#define COP_EFFECT_GENERATION 5u /* shift; 27 bits, never 0 */
#define COP_EFFECT_GENERATION_MAX ((1u << 27) - 1)

#define COP_EFFECT_NONE UINT32_MAX

/* What only some effects have. */
typedef struct cop__effect_extra {
    cop_effect_function function;
    cop_effect_queue *queue; /* one reference */
    cop_destructor destroy;
    struct cop__cleanup *cleanups; /* newest first */
    cop_scope *scope;              /* its own */
    size_t bytes;
    char label[]; /* empty: none */
} cop__effect_extra;

/*
 * `list` is what the last run read: none (COP_DEPENDENCY_END), one dependency, or (upper two bits
 * set) the address of a block: capacity << 32 | count, the words, the end. In it a path is
 * COP_DEPENDS_PATH and 61 bits of its hash.
 */
typedef struct cop__effect_record {
    union {
        cop_effect_function function;
        cop__effect_extra *extra;
    };
    void *context;
    uint64_t list;         /* of who has claimed the effect; stored atomically, see free_pop */
    uint32_t node;         /* in the graph */
    _Atomic uint32_t state; /* generation and flags; see above */
} cop__effect_record;

_Static_assert(sizeof(cop__effect_record) == 32, "an effect's record is 32 bytes");

#define COP_EFFECT_CHUNKS 22u
#define COP_EFFECT_FIRST 256u

/* Chunk k has COP_EFFECT_FIRST << k records and never moves. */
typedef struct cop__effect_table {
    _Atomic uint64_t *foreign; /* a bit each: runs on a queue that is not the store's own */
    cop__effect_record record[];
} cop__effect_table;

struct cop_effect_queue {
    cop__effect_queue queue;
    cop_store *store;
    _Atomic uint32_t references; /* the owner's and one an effect; of the store's own: not counted */
    /* of the holder of the right: */
    bool posted;
    cop_effect_queue *next_posted;
};

typedef struct cop__effects {
    _Atomic(cop__effect_table *) table[COP_EFFECT_CHUNKS];
    _Atomic uint64_t free;  /* stack: a count against ABA, then number + 1; linked by `list` */
    _Atomic uint32_t ended; /* stack of numbers + 1 to free, linked by `context` */
    _Atomic uint32_t count; /* records that exist */
    _Atomic uint32_t unlinked;
    /* of the holder of the right: */
    cop_effect_queue *posted; /* queues to be told before the right is given back */
    uint32_t round;           /* of what is being published */
    uint64_t outside;         /* the last version that was not the work of effects alone */
    _Atomic(cop_pool *) pool;
    cop__pool_listener listener; /* of that pool */
    _Atomic uint32_t asking; /* threads that are submitting a task to it */
    _Atomic bool moving;     /* the store's alarm may still be set in the former pool */
    _Atomic uint64_t failed, cut;
    _Atomic bool refused; /* workers came for nothing, and it was logged */
    cop_effect_queue own;
    cop__effect_rest rest;
} cop__effects;

/* What a thread is in, innermost first: runs of effects, and between them service of a queue. */
typedef struct cop__effect_frame {
    struct cop__effect_frame *up;
    cop_store *store;
    const cop_effect_queue *queue; /* that it serves */
    uint32_t index; /* COP_EFFECT_NONE: between two */
    uint32_t round; /* of what it writes: one more than its own */
    bool finish;    /* it closed itself: its end follows its run */
} cop__effect_frame;

extern _Thread_local cop__effect_frame *cop__effect_here __attribute__((visibility("hidden")));

/* The round of what this thread commits now. */
static inline uint32_t
cop__effect_round_now(void)
{
    return cop__likely(cop__effect_here == NULL) ? 0 : cop__effect_here->round;
}

/* ---- table.c ---- */

static inline unsigned
cop__effect_chunk_of(uint32_t index)
{
    return 31u - (unsigned)__builtin_clz(index / COP_EFFECT_FIRST + 1);
}

static inline cop__effect_table *
cop__effect_table_of(cop__effects *effects, uint32_t index, uint32_t *place)
{
    unsigned k = cop__effect_chunk_of(index);
    *place = index - COP_EFFECT_FIRST * ((1u << k) - 1);
    return cop__load_acquire(&effects->table[k]);
}

static inline cop__effect_record *
cop__effect_record_of(cop__effects *effects, uint32_t index)
{
    uint32_t place;
    cop__effect_table *table = cop__effect_table_of(effects, index, &place);
    return &table->record[place];
}

static inline void
cop__effect_list_set(cop__effect_record *record, uint64_t list)
{
    __atomic_store_n(&record->list, list, __ATOMIC_RELAXED);
}

void cop__effects_init(cop_store *store);
/* Nobody uses the store any more. */
void cop__effects_end(cop_store *store);
/* A free number, or COP_EFFECT_NONE when out of memory. Blocking. */
uint32_t cop__effect_number_take(cop_store *store);
/* Of a record that is not open. */
void cop__effect_number_give(cop_store *store, uint32_t index);
/* The number is in no claim and no user code has to run for it any more. */
void cop__effect_ended(void *context, uint32_t index);
/* Frees the numbers that have ended. Needs the right. */
void cop__effects_drain(cop_store *store);
/* The same if the right is free; else its holder does. */
void cop__effects_drain_soon(cop_store *store);
cop_effect_queue *cop__effect_queue_of(cop_store *store, const cop__effect_record *record,
                                       uint32_t state);
/* Marks it as running elsewhere than on the store's own queue. */
void cop__effect_foreign(cop_store *store, uint32_t index, bool foreign);
void cop__effect_list_free(cop_store *store, uint64_t list);
void cop__effect_extra_free(cop_store *store, cop__effect_extra *extra);
/* Effects whose dependencies are not known become due, to run once more: those of a queue that the
 * caller serves, or (NULL) of all, which are told. Blocking. */
void cop__effects_post_unlinked(cop_store *store, cop_effect_queue *only);
/* Tells the queues that were posted to. Needs the right; before it is given back. */
void cop__effects_signal(cop_store *store);

/* ---- effect.c ---- */

/* Runs its cleanups and empties its scope. */
void cop__effect_tidy(cop_store *store, cop__effect_extra *extra);
/* What follows the last run: tidies, then destroys. */
void cop__effect_finish(cop_store *store, cop__effect_record *record);
/* Every effect that is open, for the store's closing. Blocking. */
void cop__effects_close(cop_store *store);

/* ---- execute.c ---- */

typedef struct cop__effect_pending {
    uint32_t index;
    uint32_t count; /* words of its list */
    size_t first, notes;
    uint32_t round; /* of its run */
    bool plain;     /* values only: linked as they were noted */
    bool refused;   /* out of memory while it read */
} cop__effect_pending;

/* A path that was read; its text follows. */
typedef struct cop__effect_note {
    uint64_t length;
    cop_atom atom;
} cop__effect_note;

/* One thread that runs effects of a store. */
typedef struct cop__executor {
    cop__effect_frame frame; /* first */
    cop__evaluator run;
    cop_pin_t pin;
    /* the run at hand: what it is expected to read, what it reads */
    const uint64_t *expect, *had;
    uint64_t few[2];
    uint32_t page_number; /* that was read last */
    const cop__slot *page;
    bool plain;
    /* lists and paths of this run and of those waiting to be linked */
    uint64_t *list;
    size_t list_count, list_capacity, list_first;
    char *notes;
    size_t notes_count, notes_capacity, notes_first;
    cop__effect_pending *pending;
    size_t pending_count, pending_capacity;
    uint64_t *linked; /* scratch of linking */
    size_t linked_capacity;
    uint64_t ran;
    cop_status status;
    uint32_t cut_count; /* cut off; the first ones are named */
    char cut_names[200];
} cop__executor;

/* Runs what is due on a queue. */
cop_status cop__effects_serve(cop_effect_queue *queue, uint64_t most, uint64_t *ran);
uint64_t cop__effects_serve_found(void *context, cop__effect_queue *queue, uint64_t most);
bool cop__executor_room(cop__executor *e, void *vector, size_t *capacity, size_t need,
                        size_t element);

/* ---- read.c ---- */

/* What cop_read and its kin do in an effect. */
cop_status cop__effect_read(cop__executor *e, cop_atom atom, cop_value *value);
cop_status cop__effect_find(cop__executor *e, const char *path, size_t length, cop_atom *atom);
cop_status cop__effect_branch(cop__executor *e, cop_atom branch, const cop__slot **slot);
/* Where cop_read looks when it is to find nothing by itself. */
extern const uint64_t cop__effect_nothing[1] __attribute__((visibility("hidden")));
/* From here on the run's place in its list is e->expect, and no read finds its value by itself. */
static inline void
cop__effect_position(cop__executor *e)
{
    if (e->run.public.cursor_ == cop__effect_nothing)
        return;
    e->had = e->few;
    e->expect = e->run.public.cursor_;
    e->run.public.cursor_ = cop__effect_nothing;
}
/* The run's list is e->list from list_first on. False when out of memory. */
bool cop__effect_list_own(cop__executor *e);

/* ---- serve.c ---- */

bool cop__effects_ask(void *context);
/* The store's pool, which is not taken away until it is returned: who sets another one waits for that, with
 * the commit right. NULL: there is none, nothing to return. */
cop_pool *cop__effects_borrow_pool(cop_store *store);
void cop__effects_return_pool(cop_store *store);
/* Gives a task to the store's pool, if it has one with threads; it is counted as a use of the gate, which
 * it ends. */
bool cop__effects_submit(cop_store *store, cop_task_function task, void *context);
struct cop__task;
/* The same with a task that is its owner's: wait-free but for waking a worker. False when there is no pool
 * with threads. */
bool cop__effects_submit_kept(cop_store *store, struct cop__task *task);
/* Its pool comes to run its timers, if it has one. */
void cop__effects_alarm(void *store);
void cop__effects_alarm_init(cop_store *store);
/* The threads of its pool. */
uint32_t cop__effects_threads(cop_store *store);
/* Ends a reference. */
void cop__effect_queue_drop(cop_effect_queue *queue);
/* The pool has threads again, and is asked for what is due. */
void cop__effects_has_threads(cop_store *store);
/* Needs the right. The pool's listener has its function already. */
void cop__effects_set_pool(cop_store *store, cop_pool *pool);

#endif

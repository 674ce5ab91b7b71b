/* SPDX-License-Identifier: MIT */
/*
 * Opening and closing effects, and what a running one may ask for.
 *
 * OPENING AND THE STORE'S CLOSING. The record says "open", then the opener looks whether the store is
 * closing; the closer says that it is, then looks for open records. One of the two sees the other.
 * Whoever turns "open" into "closed" ends the effect; if that is the closer, opening has succeeded.
 *
 * CLOSING. The closer sets "closed", retires the number on its queue, and runs the effect's end. An
 * effect that closes itself, or is closed by what it calls, has its end run after its run, by the
 * thread that runs it. Once the number has left its queue its record is freed by the next holder of the
 * right, so whoever else closes it looks at the record with the right alone.
 */
#include "effect/effects.h"

#include "commit/combiner.h"
#include "reclaim/gate.h"
#include "store/log.h"

typedef struct cop__cleanup {
    struct cop__cleanup *next;
    cop_destructor function;
    void *context;
} cop__cleanup;

static const cop_effect_options defaults = COP_EFFECT_OPTIONS_INIT;

/* ---- opening ---- */

static cop_status
options_take(const cop_effect_options *given, cop_effect_options *options)
{
    *options = defaults;
    if (given == NULL)
        return COP_OK;
    if (given->size < sizeof given->size || given->size > sizeof *options)
        return COP_E_INVALID;
    memcpy(options, given, given->size);
    return COP_OK;
}

static cop__effect_extra *
extra_make(cop_store *store, cop_effect_function function, const cop_effect_options *options)
{
    size_t label = options->label != NULL ? strlen(options->label) : 0;
    size_t bytes = sizeof(cop__effect_extra) + label + 1;
    cop__effect_extra *extra = cop__memory_zalloc(store->memory, COP_MEMORY_GRAPH, bytes, 16);
    if (extra == NULL)
        return NULL;
    extra->function = function;
    extra->bytes = bytes;
    extra->destroy = options->destroy;
    if (label > 0)
        memcpy(extra->label, options->label, label);
    if (options->queue != NULL && options->queue != &store->effects.own) {
        extra->queue = options->queue;
        cop__add_relaxed(&options->queue->references, 1u);
    }
    return extra;
}

/* Fills the record of a number that was just taken. */
static cop_status
record_fill(cop_store *store, uint32_t index, cop_effect_function function, void *context,
            const cop_effect_options *options)
{
    cop__effect_record *record = cop__effect_record_of(&store->effects, index);
    uint32_t state = cop__load_relaxed(&record->state);
    cop_effect_queue *queue = options->queue != NULL ? options->queue : &store->effects.own;
    cop__effect_extra *extra = NULL;
    if (options->queue != NULL || options->destroy != NULL || options->label != NULL) {
        extra = extra_make(store, function, options);
        if (extra == NULL)
            return COP_E_MEMORY;
    }
    cop_status status = cop__effect_queue_admit(&queue->queue, index);
    if (status != COP_OK) {
        cop__effect_extra_free(store, extra);
        return status;
    }
    record->context = context;
    cop__effect_list_set(record, COP_DEPENDENCY_END);
    if (extra != NULL)
        record->extra = extra;
    else
        record->function = function;
    if (extra != NULL && extra->queue != NULL)
        cop__effect_foreign(store, index, true);
    cop__store_release(&record->state,
                       state | COP_EFFECT_OPEN | (extra != NULL ? COP_EFFECT_EXTRA : 0u));
    return COP_OK;
}

/* True: the caller has closed it, and ends it. */
static bool
record_close(cop__effect_record *record, uint32_t generation, uint32_t *state)
{
    *state = cop__load_acquire(&record->state);
    do {
        if (*state >> COP_EFFECT_GENERATION != generation || !(*state & COP_EFFECT_OPEN) ||
            (*state & COP_EFFECT_CLOSED))
            return false;
    } while (!cop__cas_seq_cst(&record->state, state, *state | COP_EFFECT_CLOSED));
    return true;
}

/* Ends what never became due. False: the store's closing has ended it. */
static bool
take_back(cop_store *store, cop_effect effect)
{
    cop__effect_record *record = cop__effect_record_of(&store->effects, effect.id);
    uint32_t state;
    if (!record_close(record, effect.generation, &state))
        return false;
    cop_effect_queue *queue = cop__effect_queue_of(store, record, state);
    cop__effect_queue_retire(&queue->queue, effect.id, false);
    cop__effect_queue_leave(&queue->queue, effect.id);
    cop__effects_drain_soon(store);
    return true;
}

static cop_status
effect_open(cop_store *store, cop_effect_function function, void *context,
            const cop_effect_options *options, cop_effect *effect)
{
    uint32_t index = cop__effect_number_take(store);
    if (index == COP_EFFECT_NONE)
        return COP_E_MEMORY;
    const cop__effect_record *record = cop__effect_record_of(&store->effects, index);
    cop_effect opened = {index, cop__load_relaxed(&record->state) >> COP_EFFECT_GENERATION};
    cop_status status = record_fill(store, index, function, context, options);
    if (status != COP_OK) {
        cop__effect_number_give(store, index);
        return status;
    }
    if (options->scope != NULL)
        status = cop_scope_add_effect(options->scope, store, opened);
    if (cop__unlikely(status != COP_OK || cop__load_seq_cst(&store->closing))) {
        status = status != COP_OK ? status : COP_E_CLOSING;
        if (take_back(store, opened))
            return status;
    }
    *effect = opened;
    cop_effect_queue *queue = options->queue != NULL ? options->queue : &store->effects.own;
    cop__effect_queue_post(&queue->queue, index / 64, UINT64_C(1) << (index % 64),
                           cop__effect_round_now());
    cop__effect_queue_signal(&queue->queue);
    return COP_OK;
}

cop_status
cop_effect_open(cop_store *store, cop_effect_function function, void *context,
                const cop_effect_options *given, cop_effect *effect, cop_error *error)
{
    cop_effect_options options;
    *effect = (cop_effect){0, 0};
    if (function == NULL)
        return cop__fail(error, COP_E_INVALID, "an effect needs a function");
    if (options_take(given, &options) != COP_OK)
        return cop__fail(error, COP_E_INVALID, "options.size is %zu, expected %zu", given->size,
                         sizeof options);
    cop_status status = cop__store_may_wait(store);
    if (status == COP_OK && options.queue != NULL && options.queue->store != store)
        return cop__fail(error, COP_E_INVALID, "the queue is another store's");
    if (status == COP_OK) {
        struct cop__gate *gate = store->gate;
        cop__gate_use(gate);
        status = effect_open(store, function, context, &options, effect);
        cop__gate_end_use(gate);
    }
    return status == COP_OK ? COP_OK : cop__fail(error, status, "%s", cop_status_message(status));
}

/* ---- closing ---- */

void
cop__effect_tidy(cop_store *store, cop__effect_extra *extra)
{
    while (extra->cleanups != NULL) {
        cop__cleanup *first = extra->cleanups;
        extra->cleanups = first->next;
        cop_destructor function = first->function;
        void *context = first->context;
        cop__memory_free(store->memory, COP_MEMORY_GRAPH, first, sizeof *first, 16);
        function(context);
    }
    if (extra->scope != NULL)
        cop_scope_empty(extra->scope);
}

void
cop__effect_finish(cop_store *store, cop__effect_record *record)
{
    if (!(cop__load_acquire(&record->state) & COP_EFFECT_EXTRA))
        return;
    cop__effect_extra *extra = record->extra;
    cop__effect_tidy(store, extra);
    cop_scope_dispose(extra->scope);
    extra->scope = NULL;
    if (extra->destroy != NULL)
        extra->destroy(record->context);
}

/* The frame in which the calling thread runs it, or NULL. */
static cop__effect_frame *
frame_of(const cop_store *store, uint32_t index)
{
    cop__effect_frame *frame = cop__effect_here;
    while (frame != NULL && (frame->store != store || frame->index != index))
        frame = frame->up;
    return frame;
}

static void
queue_keep(const cop_store *store, cop_effect_queue *queue)
{
    if (queue != &store->effects.own)
        cop__add_relaxed(&queue->references, 1u);
}

static void
queue_drop(const cop_store *store, cop_effect_queue *queue)
{
    if (queue != &store->effects.own)
        cop__effect_queue_drop(queue);
}

/* Another thread closes it: waits for the run under way. Its record may be freed by now, or soon: the
 * right keeps it until the queue is referred to. */
static void
wait_for_closer(cop_store *store, cop_effect effect)
{
    const cop__effect_record *record = cop__effect_record_of(&store->effects, effect.id);
    cop_effect_queue *queue = NULL;
    (void)cop__right_wait(store, COP_FOREVER);
    uint32_t state = cop__load_acquire(&record->state);
    if (state >> COP_EFFECT_GENERATION == effect.generation) {
        queue = cop__effect_queue_of(store, record, state);
        queue_keep(store, queue);
    }
    cop__right_leave(store);
    if (queue == NULL)
        return;
    cop__effect_wait_stopped(&queue->queue, effect.id);
    queue_drop(store, queue);
}

static void
effect_close(cop_store *store, cop_effect effect)
{
    if (effect.id >= cop__load_acquire(&store->effects.count))
        return;
    cop__effect_record *record = cop__effect_record_of(&store->effects, effect.id);
    cop__effect_frame *inside = frame_of(store, effect.id);
    uint32_t state;
    bool first = record_close(record, effect.generation, &state);
    if (!first && (state >> COP_EFFECT_GENERATION != effect.generation ||
                   !(state & COP_EFFECT_OPEN) || inside != NULL))
        return;
    if (!first) {
        wait_for_closer(store, effect);
        return;
    }
    cop_effect_queue *queue = cop__effect_queue_of(store, record, state);
    queue_keep(store, queue); /* the effect's own reference ends with its number */
    cop__effect_queue_retire(&queue->queue, effect.id, inside != NULL);
    if (inside != NULL)
        inside->finish = true;
    else
        cop__effect_finish(store, record);
    cop__effect_queue_leave(&queue->queue, effect.id);
    queue_drop(store, queue);
    cop__effects_drain_soon(store);
}

void
cop_effect_close(cop_store *store, cop_effect effect)
{
    if (atomic_load_explicit(store->alive, memory_order_relaxed) == 0 || cop__evaluating)
        return;
    struct cop__gate *gate = store->gate;
    cop__gate_use(gate);
    effect_close(store, effect);
    cop__gate_end_use(gate);
}

void
cop__effects_close(cop_store *store)
{
    for (uint32_t i = 0; i < cop__load_seq_cst(&store->effects.count); i++) {
        uint32_t state = cop__load_seq_cst(&cop__effect_record_of(&store->effects, i)->state);
        if (state & COP_EFFECT_OPEN)
            effect_close(store, (cop_effect){i, state >> COP_EFFECT_GENERATION});
    }
}

/* ---- inside ---- */

static cop__executor *
executor_of(cop_evaluation *evaluation)
{
    return ((cop__evaluator *)(void *)evaluation)->effect;
}

/* The running effect's extra, made if need be. */
static cop__effect_extra *
extra_of(cop__executor *e)
{
    cop_store *store = e->frame.store;
    cop__effect_record *record = cop__effect_record_of(&store->effects, e->frame.index);
    if (cop__load_relaxed(&record->state) & COP_EFFECT_EXTRA)
        return record->extra;
    cop__effect_extra *extra = extra_make(store, record->function, &defaults);
    if (extra == NULL)
        return NULL;
    record->extra = extra;
    cop__or_seq_cst(&record->state, COP_EFFECT_EXTRA); /* releases it to who closes the effect */
    return extra;
}

const cop_snapshot *
cop_effect_snapshot(cop_evaluation *evaluation)
{
    cop__executor *e = executor_of(evaluation);
    return e != NULL ? e->run.snapshot : NULL;
}

cop_status
cop_effect_on_cleanup(cop_evaluation *evaluation, cop_destructor function, void *context)
{
    cop__executor *e = executor_of(evaluation);
    if (e == NULL || function == NULL)
        return COP_E_INVALID;
    cop__effect_extra *extra = extra_of(e);
    cop__cleanup *cleanup =
        extra != NULL ? cop__memory_alloc(e->frame.store->memory, COP_MEMORY_GRAPH, sizeof *cleanup, 16)
                      : NULL;
    if (cleanup == NULL)
        return COP_E_MEMORY;
    *cleanup = (cop__cleanup){extra->cleanups, function, context};
    extra->cleanups = cleanup;
    return COP_OK;
}

cop_scope *
cop_effect_scope(cop_evaluation *evaluation)
{
    cop__executor *e = executor_of(evaluation);
    cop__effect_extra *extra = e != NULL ? extra_of(e) : NULL;
    if (extra == NULL)
        return NULL;
    if (extra->scope == NULL)
        (void)cop_scope_open(NULL, &extra->scope);
    return extra->scope;
}

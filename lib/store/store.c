/* SPDX-License-Identifier: MIT */
/*
 * Opening and closing: the wiring of the rooms.
 *
 * CLOSING. `closing` is set first, so that new calls are refused, then the closing bit of the gate,
 * then a heavy barrier: whoever ends a pin, hold or use from here on sees it. What was submitted is
 * committed, and the pool is let go, since what is left of the store may outlive it. Then the store
 * is freed by whoever ends its last use: the closer, an unpin, a drop, a released ticket
 * (cop__store_progress, under the gate's lock, exactly once).
 */
#include "store/store_internal.h"

#include <unistd.h>

#include "commit/combiner.h"
#include "commit/scarce.h"
#include "graph/lazy.h"
#include "history/room.h"
#include "monitor/monitor.h"
#include "reclaim/gate.h"
#include "serialize/serializer.h"
#include "store/relieve.h"
#include "watch/room.h"
#include "workers/region.h"

#define ALIVE_BYTES ((size_t)4096)

/* ---- opening ---- */

static cop_status
options_take(const cop_options *given, cop_options *options, cop_error *error)
{
    cop_options_init(options);
    if (given != NULL) {
        cop_status status = cop_options_check(given, error);
        if (status != COP_OK)
            return status;
        *options = *given;
    }
    if (options->memory_limit_bytes == 0)
        options->memory_limit_bytes = cop__memory_default_limit();
    return COP_OK;
}

static bool
alive_map(cop_store *store)
{
    _Atomic uint64_t *alive =
        cop__memory_map(store->memory, COP_MEMORY_READERS, ALIVE_BYTES, true);
    if (alive == NULL)
        return false;
    atomic_store_explicit(alive, 1, memory_order_relaxed);
    store->alive = alive;
    return true;
}

static void
store_init(cop_store *store, const cop_options *options, cop__memory *memory)
{
    memset(store, 0, sizeof *store);
    store->memory = memory;
    store->options = *options;
    store->log = (cop__log){options->log, options->log_context, options->log_destroy};
    store->fd = store->poll_fd = -1;
    store->fence = !options->readers_membarrier || !cop__membarrier_ready();
    pthread_mutex_init(&store->snapshot_lock, NULL);
    cop__timers_init(&store->timers);
    cop__batcher_init(store);
    cop__ticket_calls_init(store);
    cop__handles_init(store);
    cop__queue_init(&store->queue);
    cop__stalled_init(store);
    cop__relieve_init(store);
}

/* Gives back everything; legal at every stage of opening. The gate is the caller's. */
static void
store_end(cop_store *store)
{
    cop__memory *memory = store->memory;
    if (store->graph.lazies != NULL) { /* the last of the graph to be made; effects come behind it */
        cop__graph_end(&store->graph);  /* runs destructors, which may close effects */
        cop__effects_end(store);
    }
    cop__monitor_free(store);
    cop__tree_end(&store->tree);
    cop__memory_table_free(memory, COP_MEMORY_TABLES, store->stamps,
                           store->stamps_capacity * sizeof *store->stamps);
    if (store->alive != NULL)
        cop__memory_unmap(memory, COP_MEMORY_READERS, (void *)(uintptr_t)store->alive, ALIVE_BYTES);
    cop__watch_end(store->watch);
    cop__history_end(store->history);
    cop__serializer_end(cop__load_relaxed(&store->serializer));
    if (store->fd >= 0)
        (void)close(store->fd);
    if (store->poll_fd >= 0)
        (void)close(store->poll_fd);
    cop__handles_end(store);
    cop__batcher_end(store);
    cop__ticket_calls_end(store);
    cop__timers_end(&store->timers);
    cop__relieve_end(store);
    pthread_mutex_destroy(&store->snapshot_lock);
    cop__memory_free(memory, COP_MEMORY_OTHER, store, sizeof *store, _Alignof(cop_store));
}

static bool
store_build(cop_store *store)
{
    if (!alive_map(store))
        return false;
    store->gate = cop__gate_new(store);
    if (store->gate == NULL)
        return false;
    if (cop__tree_init(&store->tree, store->memory, store->options.memory_chunk_bytes,
                       store->options.memory_huge_pages != 0, store) != COP_OK)
        return false;
    store->tree.strict = true;
    cop__graph_init(&store->graph, &store->tree);
    if (!cop__lazies_init(&store->graph))
        return false;
    cop__effects_init(store);
    cop__effects_alarm_init(store);
    store->effects.listener =
        (cop__pool_listener){.has_threads = cop__store_pool_has_threads, .context = store};
    cop__store_release(&store->root, (void *)store->tree.root);
    return cop__history_configure(store, &store->options) == COP_OK &&
           (!store->options.performance_monitor || cop__monitor_switch(store, true) == COP_OK);
}

/* The allocator as long as opening may fail: its destructor must not run then. */
static cop_allocator
without_destructor(const cop_allocator *allocator)
{
    cop_allocator copy = *allocator;
    copy.destroy = NULL;
    return copy;
}

cop_status
cop_store_open(const cop_options *given, cop_store **store, cop_error *error)
{
    cop_options options;
    *store = NULL;
    cop_status status = options_take(given, &options, error);
    if (status != COP_OK)
        return status;
    cop_allocator allocator = without_destructor(&options.allocator);
    cop__memory *memory = cop__memory_new(&allocator, options.memory_limit_bytes);
    cop_store *s = memory != NULL ? cop__memory_alloc(memory, COP_MEMORY_OTHER, sizeof *s,
                                                      _Alignof(cop_store))
                                  : NULL;
    if (s != NULL) {
        store_init(s, &options, memory);
        if (store_build(s)) {
            memory->allocator.destroy = options.allocator.destroy;
            *store = s;
            return COP_OK;
        }
        struct cop__gate *gate = s->gate;
        store_end(s);
        if (gate != NULL)
            cop__gate_unref(gate);
    }
    if (memory != NULL)
        cop__memory_unref(memory);
    return cop__fail(error, COP_E_MEMORY, "no memory for a new store");
}

/* ---- closing ---- */

/* Nothing pins, holds or uses the store. Under the gate's lock. Looks in the direction in which a
 * hold moves: a snapshot is entered before the pin that it was taken under ends, a use begins before
 * the pin or snapshot that it replaces ends, one of the gate before that of a thread. */
static bool
is_unused(cop__gate *gate)
{
    for (size_t i = 0; i < gate->count; i++)
        for (unsigned k = 0; k < COP__PIN_NESTED; k++)
            if (cop__load_seq_cst(&gate->slots[i]->state[k]) != 0)
                return false;
    pthread_mutex_lock(&gate->store->snapshot_lock);
    bool unused = gate->store->holds == 0;
    pthread_mutex_unlock(&gate->store->snapshot_lock);
    for (size_t i = 0; unused && i < gate->count; i++) {
        struct cop_reader *reader = cop__reader_of_slot(gate->slots[i]);
        uint64_t ended =
            cop__load_seq_cst(&reader->ended) + cop__load_seq_cst(&reader->ended_elsewhere);
        unused = cop__load_seq_cst(&reader->begun) == ended;
    }
    return unused && cop__load_seq_cst(&gate->users) == COP_GATE_CLOSING;
}

/* Refuses what slipped into the queue while the store was closing. */
static void
refuse_stragglers(cop_store *store)
{
    /* Looks again after giving the right back: whoever pushed meanwhile found it taken. */
    while (cop__load_seq_cst(&store->queued) > 0 && cop__right_try(store)) {
        cop__combine(store, UINT32_MAX);
        cop__right_leave(store);
    }
}

void
cop__store_progress(cop__gate *gate)
{
    if (!cop__gate_closing(gate))
        return;
    cop__add_relaxed(&gate->references, 1u);
    cop__add_relaxed(&gate->users, UINT64_C(1));
    pthread_mutex_lock(&gate->lock);
    cop_store *store = gate->store;
    pthread_mutex_unlock(&gate->lock);
    if (store != NULL) {
        refuse_stragglers(store);
        cop__ticket_calls_run(store);
    }
    (void)atomic_fetch_sub_explicit(&gate->users, 1, memory_order_seq_cst);
    pthread_mutex_lock(&gate->lock);
    bool last = gate->store != NULL && is_unused(gate);
    if (last) {
        store = gate->store;
        gate->store = NULL;
        for (size_t i = 0; i < gate->count; i++) {
            cop__store_relaxed(&cop__reader_of_slot(gate->slots[i])->store, (cop_store *)NULL);
            cop__store_relaxed(&cop__reader_of_slot(gate->slots[i])->closing, 0u);
        }
    }
    pthread_mutex_unlock(&gate->lock);
    if (last) {
        cop__log log = store->log;
        cop__memory *memory = store->memory;
        store_end(store);
        if (log.destroy != NULL)
            log.destroy(log.context);
        cop__memory_unref(memory);
        cop__gate_unref(gate);
        cop__reader_of_thread_leave(gate);
    }
    cop__gate_unref(gate);
}

void
cop__gate_end_use_closing(cop__gate *gate)
{
    cop__add_relaxed(&gate->references, 1u);
    (void)atomic_fetch_sub_explicit(&gate->users, 1, memory_order_seq_cst);
    cop__store_progress(gate);
    cop__gate_unref(gate);
}

/* Needs the right. */
static void
leave_pool(cop_store *store)
{
    cop__region_close(store->graph.region);
    store->graph.region = NULL;
    cop__effects_set_pool(store, NULL);
}

static void
closing_tell(cop_store *store)
{
    cop__gate *gate = store->gate;
    cop__store_seq_cst(&store->closing, 1u);
    pthread_mutex_lock(&gate->lock);
    for (size_t i = 0; i < gate->count; i++)
        cop__store_seq_cst(&cop__reader_of_slot(gate->slots[i])->closing, 1u);
    pthread_mutex_unlock(&gate->lock);
    (void)atomic_fetch_or_explicit(&gate->users, COP_GATE_CLOSING, memory_order_seq_cst);
    if (!store->fence)
        cop__membarrier();
}

void
cop_store_close(cop_store *store)
{
    if (store == NULL || atomic_load_explicit(store->alive, memory_order_relaxed) == 0)
        return;
    cop__gate *gate = store->gate;
    cop__add_relaxed(&gate->references, 1u);
    cop__gate_use(gate);
    closing_tell(store);
    cop__effects_close(store);
    (void)cop__right_wait(store, COP_FOREVER);
    while (!cop__queue_empty(&store->queue))
        cop__combine(store, UINT32_MAX); /* waits for a push under way */
    cop__stalled_close(store);
    cop__version_event(store); /* who waits for a version learns that none will come */
    cop__look_event(&store->graph);
    leave_pool(store);
    cop__history_stop(store);
    cop__right_leave(store);
    cop__history_closing(store->history);
    cop__watch_closing(store->watch);
    cop__serializer_closing(cop__load_seq_cst(&store->serializer));
    cop__ticket_calls_run(store);
    cop__reader_of_thread_leave(gate);
    cop__gate_end_use_closing(gate);
    cop__gate_unref(gate);
}

/* ---- small questions ---- */

uint64_t
cop_store_version(const cop_store *store)
{
    return cop__load_acquire(&((cop_store *)(uintptr_t)store)->version);
}

cop__memory *
cop__store_memory(cop_store *store)
{
    return store->memory;
}

uint64_t
cop_deadline_in_ms(uint64_t milliseconds)
{
    uint64_t now = cop__clock_ns(), wait;
    if (__builtin_mul_overflow(milliseconds, UINT64_C(1000000), &wait) ||
        __builtin_add_overflow(now, wait, &wait))
        return COP_FOREVER;
    return wait;
}

cop_status
cop_atom_find(cop_store *store, const char *path, size_t length, cop_atom *atom)
{
    *atom = (cop_atom){0, 0};
    cop_pin_t pin = cop_pin(store);
    if (pin.snapshot == NULL)
        return cop_pin_status();
    cop_status status = cop_find(pin.snapshot, path, length, atom);
    cop_unpin(pin);
    return status;
}

/* Makes the atom if it is not there; if another thread made it meanwhile, that one serves. */
static cop_status
atom_at(cop_store *store, const char *path, size_t length, cop_atom *atom, cop_error *error)
{
    const cop_value null = cop_null();
    for (;;) {
        cop_txn *txn = NULL;
        cop_status status = cop_atom_find(store, path, length, atom);
        if (status == COP_E_PATH || status == COP_E_LIMIT)
            return cop_path_check(path, length, error);
        if (status == COP_E_ABSENT)
            status = cop_txn_begin(store, &txn);
        else if (status == COP_OK)
            return COP_OK;
        if (status == COP_OK)
            status = cop_txn_require_path(txn, path, length, false, error);
        if (status == COP_OK)
            status = cop__txn_set_at(txn, path, length, &null, atom, error);
        if (status != COP_OK) {
            cop_txn_cancel(txn);
            return cop__fail(error, status, "%s", cop_status_message(status));
        }
        status = cop_txn_commit(txn, NULL, error);
        if (status != COP_E_CONFLICT)
            return status;
    }
}

cop_status
cop_atom_at(cop_store *store, const char *path, size_t length, cop_atom *atom, cop_error *error)
{
    *atom = (cop_atom){0, 0};
    cop_status status = cop__store_usable(store);
    if (status != COP_OK)
        return cop__fail(error, status, "%s", cop_status_message(status));
    struct cop__gate *gate = store->gate;
    cop__gate_use(gate);
    status = atom_at(store, path, length, atom, error);
    cop__gate_end_use(gate);
    return status;
}

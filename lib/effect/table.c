/* SPDX-License-Identifier: MIT */
/*
 * The records of effects: making numbers, giving them back, and what a publication makes due.
 *
 * ORDERING. A number on the free stack is taken with a compare-and-swap that also counts, so a number
 * that came back meanwhile is noticed; records are never freed while the store lives. A record is
 * filled by the thread that took it, before its state says "open" (release).
 *
 * WHEN A NUMBER IS FREE AGAIN. Closing retires it on its queue (no run begins any more), its user code
 * runs, then the queue says that no claim has it (queue.h), then the holder of the right takes it out
 * of the graph. Only the last makes it free, so neither a claim nor a wave's mark ever reaches the
 * effect that has the number next.
 */
#include "commit/combiner.h"
#include "effect/effects.h"
#include "graph/lazy.h"
#include "reclaim/gate.h"

_Thread_local cop__effect_frame *cop__effect_here;

/* ---- chunks ---- */

static uint32_t
chunk_records(unsigned k)
{
    return COP_EFFECT_FIRST << k;
}

static size_t
chunk_bytes(unsigned k)
{
    return sizeof(cop__effect_table) + chunk_records(k) * sizeof(cop__effect_record);
}

static size_t
foreign_bytes(unsigned k)
{
    return chunk_records(k) / 64 * sizeof(uint64_t);
}

/* Needs the right. */
static bool
chunk_make(cop_store *store, unsigned k)
{
    if (k >= COP_EFFECT_CHUNKS)
        return false;
    if (cop__load_relaxed(&store->effects.table[k]) != NULL)
        return true;
    cop__effect_table *table =
        cop__memory_alloc(store->memory, COP_MEMORY_GRAPH, chunk_bytes(k), COP_CACHE_LINE);
    void *foreign = cop__memory_zalloc(store->memory, COP_MEMORY_GRAPH, foreign_bytes(k), 16);
    if (table == NULL || foreign == NULL) {
        cop__memory_free(store->memory, COP_MEMORY_GRAPH, table, chunk_bytes(k), COP_CACHE_LINE);
        cop__memory_free(store->memory, COP_MEMORY_GRAPH, foreign, foreign_bytes(k), 16);
        return false;
    }
    table->foreign = foreign;
    cop__store_release(&store->effects.table[k], table);
    return true;
}

/* ---- the free stack ---- */

/* Numbers that are linked from `first` to `last`. */
static void
free_push(cop__effects *effects, uint32_t first, uint32_t last)
{
    cop__effect_record *record = cop__effect_record_of(effects, last);
    uint64_t was = cop__load_relaxed(&effects->free), now;
    do {
        cop__effect_list_set(record, was & UINT32_MAX);
        now = ((was >> 32) + 1) << 32 | (first + 1);
    } while (!cop__cas_seq_cst(&effects->free, &was, now));
}

/* The link may be read while another thread has taken the number and writes the record: the count
 * then refuses it. */
static uint32_t
free_pop(cop__effects *effects)
{
    uint64_t was = cop__load_acquire(&effects->free), now;
    do {
        if ((uint32_t)was == 0)
            return COP_EFFECT_NONE;
        uint64_t *link = &cop__effect_record_of(effects, (uint32_t)was - 1)->list;
        now = ((was >> 32) + 1) << 32 | (uint32_t)__atomic_load_n(link, __ATOMIC_RELAXED);
    } while (!cop__cas_seq_cst(&effects->free, &was, now));
    return (uint32_t)was - 1;
}

/* One node and its record. Needs the right. */
static uint32_t
number_make(cop_store *store)
{
    cop__graph *graph = &store->graph;
    uint32_t node = cop__graph_effect_new(graph);
    if (node == 0)
        return COP_EFFECT_NONE;
    uint32_t index = cop__effect_index(&graph->nodes[node]);
    if (!chunk_make(store, cop__effect_chunk_of(index))) {
        cop__graph_effect_end(graph, node);
        return COP_EFFECT_NONE;
    }
    cop__effect_record *record = cop__effect_record_of(&store->effects, index);
    memset(record, 0, sizeof *record);
    record->node = node;
    cop__store_relaxed(&record->state, 1u << COP_EFFECT_GENERATION);
    if (index >= cop__load_relaxed(&store->effects.count))
        cop__store_release(&store->effects.count, index + 1);
    return index;
}

/* Makes up to 64 numbers, the first on top. Needs the right. */
static void
numbers_make(cop_store *store)
{
    uint32_t made[64], n = 0;
    cop_status failed = store->tree.failed;
    while (n < 64) {
        made[n] = number_make(store);
        if (made[n] == COP_EFFECT_NONE)
            break;
        n++;
    }
    store->tree.failed = failed; /* there is no draft to abandon */
    for (uint32_t i = 0; i + 1 < n; i++)
        cop__effect_list_set(cop__effect_record_of(&store->effects, made[i]), made[i + 1] + 1);
    if (n > 0)
        free_push(&store->effects, made[0], made[n - 1]);
}

uint32_t
cop__effect_number_take(cop_store *store)
{
    uint32_t index = free_pop(&store->effects);
    if (cop__likely(index != COP_EFFECT_NONE))
        return index;
    (void)cop__right_wait(store, COP_FOREVER);
    index = free_pop(&store->effects); /* another thread may have made some */
    if (index == COP_EFFECT_NONE) {
        numbers_make(store);
        index = free_pop(&store->effects);
    }
    cop__right_leave(store);
    return index;
}

void
cop__effect_number_give(cop_store *store, uint32_t index)
{
    cop__effect_record *record = cop__effect_record_of(&store->effects, index);
    uint32_t generation = cop__load_relaxed(&record->state) >> COP_EFFECT_GENERATION;
    generation = generation == COP_EFFECT_GENERATION_MAX ? 1 : generation + 1;
    cop__store_release(&record->state, generation << COP_EFFECT_GENERATION);
    free_push(&store->effects, index, index);
}

/* ---- parts of a record ---- */

void
cop__effect_list_free(cop_store *store, uint64_t list)
{
    if (list == COP_DEPENDENCY_END || list >> 62 != 3)
        return;
    uint64_t *block = (uint64_t *)(uintptr_t)(list & ~(UINT64_C(3) << 62));
    cop__memory_free(store->memory, COP_MEMORY_GRAPH, block,
                     ((size_t)(block[0] >> 32) + 2) * sizeof *block, 16);
}

void
cop__effect_extra_free(cop_store *store, cop__effect_extra *extra)
{
    if (extra == NULL)
        return;
    cop_effect_queue *queue = extra->queue;
    cop__memory_free(store->memory, COP_MEMORY_GRAPH, extra, extra->bytes, 16);
    if (queue != NULL)
        cop__effect_queue_drop(queue);
}

cop_effect_queue *
cop__effect_queue_of(cop_store *store, const cop__effect_record *record, uint32_t state)
{
    if (cop__likely(!(state & COP_EFFECT_EXTRA)) || record->extra->queue == NULL)
        return &store->effects.own;
    return record->extra->queue;
}

void
cop__effect_foreign(cop_store *store, uint32_t index, bool foreign)
{
    uint32_t place;
    cop__effect_table *table = cop__effect_table_of(&store->effects, index, &place);
    uint64_t bit = UINT64_C(1) << (place % 64);
    if (foreign)
        cop__or_seq_cst(&table->foreign[place / 64], bit);
    else if (cop__load_relaxed(&table->foreign[place / 64]) & bit)
        cop__and_seq_cst(&table->foreign[place / 64], ~bit);
}

/* ---- ending ---- */

void
cop__effect_ended(void *context, uint32_t index)
{
    cop_store *store = context;
    cop__effect_record *record = cop__effect_record_of(&store->effects, index);
    uint32_t was = cop__load_relaxed(&store->effects.ended);
    do
        record->context = (void *)(uintptr_t)was;
    while (!cop__cas_seq_cst(&store->effects.ended, &was, index + 1));
}

static void
number_end(cop_store *store, uint32_t index)
{
    cop__effect_record *record = cop__effect_record_of(&store->effects, index);
    uint32_t state = cop__load_acquire(&record->state);
    cop__dependencies_end(&store->graph, &store->graph.nodes[record->node]);
    cop__clean_node(&store->graph, &store->graph.nodes[record->node]);
    if (state & COP_EFFECT_UNLINKED)
        cop__sub_seq_cst(&store->effects.unlinked, 1u);
    cop__effect_list_free(store, record->list);
    if (state & COP_EFFECT_EXTRA)
        cop__effect_extra_free(store, record->extra);
    cop__effect_foreign(store, index, false);
    cop__effect_number_give(store, index);
}

void
cop__effects_drain(cop_store *store)
{
    uint32_t next = cop__swap_seq_cst(&store->effects.ended, 0u);
    while (next != 0) {
        uint32_t index = next - 1;
        next = (uint32_t)(uintptr_t)cop__effect_record_of(&store->effects, index)->context;
        number_end(store, index);
    }
}

void
cop__effects_drain_soon(cop_store *store)
{
    if (cop__load_seq_cst(&store->effects.ended) != 0 && cop__right_try(store))
        cop__right_leave(store);
}

/* ---- publication ---- */

static void
post(cop_store *store, cop_effect_queue *queue, uint32_t word, uint64_t bits, uint32_t round)
{
    cop__effect_queue_post(&queue->queue, word, bits, round);
    if (queue->posted)
        return;
    queue->posted = true;
    queue->next_posted = store->effects.posted;
    store->effects.posted = queue;
}

/* Under the right, so that no number is freed meanwhile, nor its queue. */
static void
post_foreign(cop_store *store, uint32_t word, uint64_t bits)
{
    for (; bits != 0; bits &= bits - 1) {
        uint32_t index = word * 64 + (uint32_t)__builtin_ctzll(bits);
        const cop__effect_record *record = cop__effect_record_of(&store->effects, index);
        uint32_t state = cop__load_acquire(&record->state);
        if ((state & (COP_EFFECT_OPEN | COP_EFFECT_CLOSED)) == COP_EFFECT_OPEN)
            post(store, cop__effect_queue_of(store, record, state), word,
                 UINT64_C(1) << (index % 64), store->effects.round);
    }
}

static void
effects_due(void *context, uint32_t word, uint64_t mask)
{
    cop_store *store = context;
    uint32_t place;
    const cop__effect_table *table = cop__effect_table_of(&store->effects, word * 64, &place);
    uint64_t foreign = mask & cop__load_acquire(&table->foreign[place / 64]);
    if (mask != foreign)
        post(store, &store->effects.own, word, mask & ~foreign, store->effects.round);
    if (cop__unlikely(foreign != 0))
        post_foreign(store, word, foreign);
}

/* With the right, so that no number is freed meanwhile. */
void
cop__effects_post_unlinked(cop_store *store, cop_effect_queue *only)
{
    (void)cop__right_wait(store, COP_FOREVER);
    for (uint32_t i = 0; i < cop__load_relaxed(&store->effects.count); i++) {
        const cop__effect_record *record = cop__effect_record_of(&store->effects, i);
        uint32_t state = cop__load_acquire(&record->state);
        if (!(state & COP_EFFECT_UNLINKED) || (state & COP_EFFECT_CLOSED))
            continue;
        cop_effect_queue *queue = cop__effect_queue_of(store, record, state);
        if (only == NULL)
            post(store, queue, i / 64, UINT64_C(1) << (i % 64), 0);
        else if (queue == only)
            cop__effect_queue_post(&queue->queue, i / 64, UINT64_C(1) << (i % 64), 0);
    }
    cop__right_leave(store);
}

void
cop__effects_signal(cop_store *store)
{
    cop_effect_queue *queue = store->effects.posted;
    store->effects.posted = NULL;
    while (queue != NULL) {
        cop_effect_queue *next = queue->next_posted;
        queue->posted = false;
        cop__effect_queue_signal(&queue->queue);
        queue = next;
    }
}

/* ---- life ---- */

void
cop__effects_init(cop_store *store)
{
    store->graph.effects_due = effects_due;
    store->graph.effects_context = store;
    store->graph.lazies->ask = cop__effects_ask;
    store->graph.lazies->ask_context = store;
    cop__effect_queue_options options = {
        .rounds = (uint32_t)store->options.effects_rounds,
        .serve = cop__effects_ask,
        .context = store,
        .serve_found = cop__effects_serve_found,
        .ended = cop__effect_ended,
        .heavy_barrier = store->fence ? NULL : cop__membarrier,
    };
    store->effects.own.store = store;
    cop__effect_queue_init(&store->effects.own.queue, &store->effects.rest, store->memory, &options);
    cop__store_relaxed(&store->effects.own.queue.nobody, true); /* as long as there is no pool */
}

void
cop__effects_end(cop_store *store)
{
    for (uint32_t i = 0; i < cop__load_relaxed(&store->effects.count); i++) {
        cop__effect_record *record = cop__effect_record_of(&store->effects, i);
        uint32_t state = cop__load_relaxed(&record->state);
        if (!(state & COP_EFFECT_OPEN))
            continue;
        cop__effect_list_free(store, record->list);
        if (state & COP_EFFECT_EXTRA)
            cop__effect_extra_free(store, record->extra);
    }
    for (unsigned k = 0; k < COP_EFFECT_CHUNKS; k++) {
        cop__effect_table *table = cop__load_relaxed(&store->effects.table[k]);
        if (table == NULL)
            break;
        cop__memory_free(store->memory, COP_MEMORY_GRAPH, table->foreign, foreign_bytes(k), 16);
        cop__memory_free(store->memory, COP_MEMORY_GRAPH, table, chunk_bytes(k), COP_CACHE_LINE);
    }
    cop__effect_queue_end(&store->effects.own.queue);
}

/* SPDX-License-Identifier: MIT */
/*
 * A level of a wave, shared with a pool.
 *
 * Nodes of one height do not depend on each other, so they run side by side, on LANES: 0 is the
 * holder of the commit right, the others are workers. What they may touch:
 *
 *   read     nodes, records, dependency lists, blocks, the table of pages: nobody changes these
 *   page     pointers in the table of pages: a lane that stores into a page the draft does not have
 *            yet copies it, and swaps the pointer from the published page to its copy (release); the
 *            one that loses keeps its copy for later. Loads of page pointers acquire. A page is the
 *            draft's when the table's stamp says so, or its pointer is not `before` any more, which
 *            is set to the published page before the lanes start. Published pages never change, so
 *            whoever copies one copies the same.
 *   slot     of a node in a page of the draft: the lane that runs the node, nobody else. A lane that
 *            reads a slot of that page reads another one: of a lower height.
 *   dirty    the holder's lane marks blocks as any run of it does; the others write down whom, and
 *            he marks those when all lanes have ended
 *   touched  bits, by an atomic OR
 *   log      what only the holder of the right may do, written down and done when all lanes have
 *            ended: other dependencies, values that are no plain ones or that reducers follow,
 *            waiting, pages to be adopted
 *
 * A region's end orders all that lanes did before what the holder does next. Nobody waits for
 * anybody in between.
 *
 * A level of ten nodes is over in some microseconds, and each cache line that changes CPU takes a
 * tenth of one. So what a lane leaves is in as few lines as can be; the holder only reads them, and
 * not at all if the lane has not come. A lane makes itself ready when it first comes to a level.
 *
 * A node that reads by path or lists children would make interests; it is run alone, afterwards.
 */
#include "graph/graph.h"

#include "workers/region.h"

#define SAMPLE_WAVES 64u /* a wave in so many is timed on one thread */
#define COST_UNIT 16.0   /* cop__level.cost is in sixteenths of a nanosecond */
#define CHUNK_NS 400.0   /* a chunk's least worth */
#define FEW 20u          /* nodes of a narrow level, beside what a lane has to know of it: two lines */

typedef struct mark {
    uint64_t mask;
    uint32_t block;
} mark;

typedef struct cop__lane {
    /* What it leaves. */
    _Alignas(128) uint64_t level; /* that it was last at */
    uint64_t runs, changed, errors;
    size_t log_count;
    uint32_t mark_count, adopted_count;
    void *spare; /* a copy that lost */
    bool refused;
    /* Not changed while lanes run, but for the log when it grows. */
    _Alignas(128) mark *marks;
    uint32_t *mark_of;  /* a block: its place among the marks, if that is of this block */
    uint32_t *adopted;  /* pages copied */
    uint64_t *log;
    size_t mark_capacity, mark_of_capacity, adopted_capacity, log_capacity;
    cop__evaluator run;
} cop__lane;

typedef struct level_job {
    _Alignas(64) cop__graph *graph;
    const uint32_t *item;
    uint64_t level; /* counts them */
    uint32_t height, items;
    double ns;         /* an item's */
    uint32_t few[FEW]; /* items, if there are no more: they come with the rest of it */
    _Alignas(64) _Atomic uint32_t pages; /* left in the stash */
} level_job;

/* A record of the log, followed by the list and by the text. */
typedef struct log_record {
    uint32_t node;
    uint32_t outcome;
    uint32_t count; /* of the list */
    uint64_t text;  /* bytes */
    cop_value value;
} log_record;

#define RECORD_WORDS ((sizeof(log_record) + 7) / 8)

/* ---- lanes ---- */

static bool
lane_grow(cop__lane *lane, void *vector, size_t *capacity, size_t need, size_t element)
{
    return cop__memory_grow(lane->run.graph->memory, COP_MEMORY_GRAPH, vector, capacity, need, element);
}

static cop__lane *
lane_new(cop__graph *graph)
{
    cop__lane *lane =
        cop__memory_zalloc(graph->memory, COP_MEMORY_GRAPH, sizeof *lane, _Alignof(cop__lane));
    if (lane == NULL)
        return NULL;
    cop__run_init(&lane->run, graph);
    lane->run.shared = true;
    return lane;
}

static void
lane_free(cop__graph *graph, cop__lane *lane)
{
    cop__memory *memory = graph->memory;
    cop__run_end(&lane->run);
    cop__memory_free(memory, COP_MEMORY_GRAPH, lane->marks,
                     lane->mark_capacity * sizeof *lane->marks, 16);
    cop__memory_free(memory, COP_MEMORY_GRAPH, lane->mark_of,
                     lane->mark_of_capacity * sizeof *lane->mark_of, 16);
    cop__memory_free(memory, COP_MEMORY_GRAPH, lane->adopted,
                     lane->adopted_capacity * sizeof *lane->adopted, 16);
    cop__memory_free(memory, COP_MEMORY_GRAPH, lane->log, lane->log_capacity * sizeof *lane->log, 16);
    cop__memory_free(memory, COP_MEMORY_GRAPH, lane, sizeof *lane, _Alignof(cop__lane));
}

void
cop__lanes_end(cop__graph *graph)
{
    for (uint32_t i = 0; i < graph->lane_count; i++)
        lane_free(graph, graph->lanes[i]);
    cop__memory_table_free(graph->memory, COP_MEMORY_GRAPH, graph->lanes,
                           graph->lane_capacity * sizeof *graph->lanes);
    cop__memory_table_free(graph->memory, COP_MEMORY_GRAPH, graph->front.item,
                           graph->front.capacity * sizeof *graph->front.item);
    cop__memory_table_free(graph->memory, COP_MEMORY_GRAPH, graph->rest.item,
                           graph->rest.capacity * sizeof *graph->rest.item);
    cop__memory_table_free(graph->memory, COP_MEMORY_GRAPH, graph->front_blocks.item,
                           graph->front_blocks.capacity * sizeof *graph->front_blocks.item);
    cop__memory_table_free(graph->memory, COP_MEMORY_GRAPH, graph->stash,
                           graph->stash_capacity * sizeof *graph->stash);
}

/* Room that lanes must not have to make: for marks of every block, and what they may copy. */
static bool
lane_prepare(cop__lane *lane, uint32_t pages)
{
    size_t blocks = lane->run.graph->block_count, had = lane->mark_of_capacity;
    if (!lane_grow(lane, &lane->marks, &lane->mark_capacity, blocks, sizeof *lane->marks) ||
        !lane_grow(lane, &lane->mark_of, &lane->mark_of_capacity, blocks, sizeof *lane->mark_of) ||
        !lane_grow(lane, &lane->adopted, &lane->adopted_capacity, pages, sizeof *lane->adopted))
        return false;
    memset(lane->mark_of + had, 0, (lane->mark_of_capacity - had) * sizeof *lane->mark_of);
    return true;
}

static bool
lanes_prepare(cop__graph *graph, uint32_t lanes, uint32_t pages)
{
    if (!cop__graph_grow(graph, &graph->lanes, &graph->lane_capacity, lanes, sizeof *graph->lanes))
        return false;
    while (graph->lane_count < lanes) {
        cop__lane *lane = lane_new(graph);
        if (lane == NULL)
            return false;
        graph->lanes[graph->lane_count++] = lane;
    }
    for (uint32_t i = 0; i < lanes; i++)
        if (!lane_prepare(graph->lanes[i], pages))
            return false;
    return true;
}

/* ---- what a lane does ---- */

static inline bool
has_come(const cop__lane *lane, const level_job *job)
{
    return lane->level == job->level;
}

/*
 * Tells the region what the level before, of this wave, has cost. The holder does so when the next
 * has been handed over already: others take longer to begin than this takes.
 */
static void
account(cop__graph *graph, uint32_t items, double ns)
{
    cop__shared *last = &graph->shared;
    uint64_t now = cop__clock_ns();
    if (last->items > 0)
        cop__region_account(graph->region, last->items, last->ns, now - last->begin);
    *last = (cop__shared){last->levels, now, ns, items};
}

/* First at this level. */
static void
lane_begin(cop__lane *lane, const level_job *job)
{
    if (lane == job->graph->lanes[0])
        account(job->graph, job->items, job->ns);
    lane->level = job->level;
    lane->runs = lane->changed = lane->errors = 0;
    lane->log_count = 0;
    lane->mark_count = lane->adopted_count = 0;
    lane->refused = false;
    cop__run_reset(&lane->run);
}

static inline void
lane_mark_mask(cop__lane *lane, uint32_t block, uint64_t mask)
{
    uint32_t i = lane->mark_of[block];
    if (i < lane->mark_count && lane->marks[i].block == block) {
        lane->marks[i].mask |= mask;
        return;
    }
    lane->mark_of[block] = lane->mark_count;
    lane->marks[lane->mark_count++] = (struct mark){mask, block};
}

static void
lane_mark(cop__lane *lane, const cop__dependents *set)
{
    const cop__graph *graph = lane->run.graph;
    if (set->count == 1) {
        uint32_t place = graph->nodes[set->at].place;
        lane_mark_mask(lane, place >> 6, UINT64_C(1) << (place & 63));
        return;
    }
    const uint64_t *pair = &graph->arena.words[set->at] + 1;
    for (uint32_t i = 0; i + 1 < set->count; i++, pair += 2)
        lane_mark_mask(lane, (uint32_t)pair[0], pair[1]);
}

/* The page for writing: the draft's, or a copy that this lane or another one makes it. */
static uint64_t *
lane_own(cop__lane *lane, level_job *job, uint32_t number, cop__page_entry *entry)
{
    void *page = cop__wave_page(entry), *copy = lane->spare;
    if (entry->birth == job->graph->tree->stamp || page != entry->before)
        return page;
    lane->spare = NULL;
    if (copy == NULL)
        copy = job->graph->stash[cop__sub_relaxed(&job->pages, 1u) - 1];
    cop__page_copy(copy, page);
    COP_STEP("page");
    if (__atomic_compare_exchange_n(&entry->page, &page, copy, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE)) {
        lane->adopted[lane->adopted_count++] = number;
        return copy;
    }
    lane->spare = copy;
    return page;
}

/* Stores a plain value and marks the dependents. False: what stands there is no plain value. */
static inline bool
lane_store(cop__lane *lane, level_job *job, const cop__node *node, const uint64_t *word)
{
    cop__graph *graph = job->graph;
    uint32_t number = node->id >> COP_SLOT_BITS, k = node->id & (COP_SLOTS - 1);
    cop__page_entry *entry = &graph->tree->space[COP_SPACE_VALUES].entry[number];
    const uint64_t *now = (const uint64_t *)cop__wave_page(entry) + 2 * (size_t)k;
    uint64_t had = now[0];
    if (((had ^ word[0]) & COP_SLOT_VALUE) == 0 && now[1] == word[1])
        return true;
    if ((had & COP_SLOT_TYPE) > COP_F64)
        return false;
    uint64_t *slot = lane_own(lane, job, number, entry) + 2 * (size_t)k;
    if (had & COP_SLOT_NAMED)
        (void)__atomic_fetch_or(&entry->touched, UINT32_C(1) << k, __ATOMIC_RELAXED);
    slot[0] = (had & ~COP_SLOT_VALUE) | (word[0] & COP_SLOT_VALUE);
    slot[1] = word[1];
    lane->changed++;
    if (lane == graph->lanes[0])
        cop__dependents_mark(graph, &graph->records[node->id].dependents);
    else
        lane_mark(lane, &graph->records[node->id].dependents);
    return true;
}

static bool
lane_room(cop__lane *lane, size_t words)
{
    return lane_grow(lane, &lane->log, &lane->log_capacity, lane->log_count + words,
                     sizeof *lane->log);
}

/* Writes down what the holder of the right has to do. */
static void
lane_log(cop__lane *lane, cop__node *node, enum cop__outcome outcome, const cop_value *value)
{
    cop__evaluator *run = &lane->run;
    bool listed = outcome == COP_RUN_RELISTED;
    bool valued = outcome == COP_RUN_RELISTED || outcome == COP_RUN_DONE;
    bool text = valued && cop_value_is_text(value) && value->inlined == COP_VALUE_OUTSIDE;
    log_record record = {.node = cop__node_number(run->graph, node),
                         .outcome = (uint32_t)outcome,
                         .count = listed ? (uint32_t)run->count : 0,
                         .text = text ? cop_value_length(value) : 0};
    if (valued)
        record.value = *value;
    size_t words = RECORD_WORDS + record.count + (record.text + 7) / 8;
    if (text && !lane_room(lane, words)) {
        words = RECORD_WORDS + record.count;
        record.text = 0;
        record.value = cop__unfit_value();
        text = false;
    }
    if (outcome == COP_RUN_REFUSED || !lane_room(lane, words)) {
        lane->refused = true;
        return;
    }
    uint64_t *to = lane->log + lane->log_count;
    memcpy(to, &record, sizeof record);
    if (record.count > 0)
        memcpy(to + RECORD_WORDS, run->list, record.count * sizeof *to);
    if (text)
        memcpy(to + RECORD_WORDS + record.count, cop_value_data(value), record.text);
    lane->log_count += words;
}

static void
lane_run(cop__lane *lane, level_job *job, cop__node *node)
{
    cop__evaluator *run = &lane->run;
    cop_value value;
    uint64_t word[2];
    cop_status status = cop__run_function(run, node, job->height, &value);
    memcpy(word, &value, sizeof word);
    if (cop__likely(status == COP_OK && *run->public.cursor_ == COP_DEPENDENCY_END &&
                    !(node->flags & (COP_NODE_EQUAL | COP_NODE_FOLLOWED)) &&
                    cop__value_plain(word[0], word[1]) &&
                    lane_store(lane, job, node, word))) {
        lane->runs++;
#if COP_CHECK_WAVES
        cop__node_completes_beside(job->graph, node);
#endif
        return;
    }
    enum cop__outcome outcome = cop__run_finish(run, status, &value);
    lane_log(lane, node, outcome, &value);
    lane->errors += run->errors;
    run->errors = 0;
    cop__run_reset(run);
}

static void
job_run(void *context, unsigned number, uint32_t begin, uint32_t end)
{
    level_job *job = context;
    cop__graph *graph = job->graph;
    cop__lane *lane = graph->lanes[number];
    bool before = cop__evaluating;
    cop__evaluating = true;
    if (!has_come(lane, job))
        lane_begin(lane, job);
    for (uint32_t i = begin; i < end && !lane->refused; i++) {
        if (i + 2 < end)
            __builtin_prefetch(&graph->nodes[job->item[i + 2]]);
        lane_run(lane, job, &graph->nodes[job->item[i]]);
    }
    cop__evaluating = before;
}

/* ---- before and after ---- */

static uint32_t
level_count(const cop__graph *graph, uint32_t height)
{
    uint32_t n = 0;
    for (uint32_t b = graph->levels[height].dirty; b != COP_NODE_NONE; b = graph->blocks[b].next)
        n += (uint32_t)__builtin_popcountll(graph->blocks[b].dirty);
    return n;
}

#define NOT_BESIDE_OTHERS (COP_NODE_FRESH | COP_NODE_CYCLE | COP_NODE_DYING | COP_NODE_BRANCH | \
                           COP_NODE_LOOKED | COP_NODE_ALONE)

/* Makes the table of pages ready for lanes that store into a node's; true when they may copy it. */
static inline bool
open_page(cop__graph *graph, uint32_t number)
{
    cop__page_entry *entry = &graph->tree->space[COP_SPACE_VALUES].entry[number];
    if (entry->birth == graph->tree->stamp)
        return false;
    entry->before = entry->page;
    entry->touched = 0;
    return true;
}

static int
compare_numbers(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* The dirty blocks of a height, ascending: so each lane comes back to the nodes it has run in the wave
 * before, and to those above the ones it has run in this one; what they read is in its cache. */
static void
list_blocks(cop__graph *graph, uint32_t height)
{
    cop__list32 *list = &graph->front_blocks;
    bool ascending = true;
    list->count = 0;
    for (uint32_t b = graph->levels[height].dirty; b != COP_NODE_NONE; b = graph->blocks[b].next) {
        ascending &= list->count == 0 || list->item[list->count - 1] < b;
        list->item[list->count++] = b;
    }
    if (!ascending)
        qsort(list->item, list->count, sizeof *list->item, compare_numbers);
}

/* Takes the dirty nodes off a height: those that run side by side, and the rest, which stays dirty.
 * There is room for all of them. How many pages lanes may copy, at most. */
static uint32_t
collect(cop__graph *graph, uint32_t height)
{
    uint32_t pages = 0, last = UINT32_MAX;
    uint32_t *front = graph->front.item, *rest = graph->rest.item;
    list_blocks(graph, height);
    graph->levels[height].dirty = COP_NODE_NONE;
    graph->level_map[height >> 6] &= ~(UINT64_C(1) << (height & 63));
    for (size_t i = 0; i < graph->front_blocks.count; i++) {
        uint32_t b = graph->front_blocks.item[i];
        cop__block *block = &graph->blocks[b];
        const uint32_t *slots = (const uint32_t *)(const void *)&graph->arena.words[block->slots];
        uint64_t left = block->dirty, stay = 0;
        block->dirty = 0;
        for (; left != 0; left &= left - 1) {
            uint32_t number = slots[__builtin_ctzll(left)];
            const cop__node *node = &graph->nodes[number];
            if (cop__unlikely(node->flags & NOT_BESIDE_OTHERS)) {
                *rest++ = number;
                stay |= left & -left;
                continue;
            }
            *front++ = number;
            if (node->id >> COP_SLOT_BITS == last)
                continue;
            last = node->id >> COP_SLOT_BITS;
            pages += open_page(graph, last);
        }
        if (stay != 0)
            cop__mark_mask(graph, b, stay);
    }
    graph->front.count = (size_t)(front - graph->front.item);
    graph->rest.count = (size_t)(rest - graph->rest.item);
    uint32_t all = graph->tree->space[COP_SPACE_VALUES].count;
    return pages < all ? pages : all;
}

static bool
collect_room(cop__graph *graph, uint32_t n)
{
    return cop__graph_grow(graph, &graph->front.item, &graph->front.capacity, n,
                           sizeof *graph->front.item) &&
           cop__graph_grow(graph, &graph->rest.item, &graph->rest.capacity, n,
                           sizeof *graph->rest.item) &&
           cop__graph_grow(graph, &graph->front_blocks.item, &graph->front_blocks.capacity, n,
                           sizeof *graph->front_blocks.item);
}

static void
give_back(cop__graph *graph, const cop__list32 *list)
{
    for (size_t i = 0; i < list->count; i++)
        cop__mark_node(graph, &graph->nodes[list->item[i]]);
}

/* Pages for copies, kept from level to level and given back at the wave's end. */
static bool
stash_fill(cop__graph *graph, uint32_t need)
{
    if (!cop__graph_grow(graph, &graph->stash, &graph->stash_capacity, need, sizeof *graph->stash))
        return false;
    while (graph->stash_count < need) {
        void *page = cop__pool_page(&graph->tree->pool);
        if (page == NULL)
            return false;
        graph->stash[graph->stash_count++] = page;
    }
    return true;
}

void
cop__shared_end(cop__graph *graph)
{
    if (graph->shared.items > 0)
        account(graph, 0, 0);
    while (graph->stash_count > 0)
        cop__pool_page_free(&graph->tree->pool, graph->stash[--graph->stash_count]);
}

static bool
lane_adopt(cop__graph *graph, cop__lane *lane)
{
    bool fine = true;
    for (uint32_t i = 0; i < lane->adopted_count; i++)
        fine &= cop__draft_adopt(graph->tree, lane->adopted[i]);
    if (lane->spare != NULL) {
        cop__pool_page_free(&graph->tree->pool, lane->spare);
        lane->spare = NULL;
    }
    return fine;
}

static void
lane_merge_marks(cop__graph *graph, const cop__lane *lane)
{
    for (uint32_t i = 0; i < lane->mark_count; i++)
        cop__mark_mask(graph, lane->marks[i].block, lane->marks[i].mask);
    graph->count.runs += lane->runs;
    graph->count.changed += lane->changed;
    graph->count.cutoffs += lane->runs - lane->changed;
    graph->run.errors += lane->errors;
}

static bool
record_do(cop__graph *graph, const log_record *record, const uint64_t *list)
{
    cop__node *node = &graph->nodes[record->node];
    cop_value value = record->value;
    switch ((enum cop__outcome)record->outcome) {
    case COP_RUN_ALONE:
        node->flags |= COP_NODE_ALONE;
        return cop__list_push(graph, &graph->rest, record->node);
    case COP_RUN_AGAIN:
        return cop__list_push(graph, &graph->rest, record->node);
    default:
        break;
    }
    if (record->text > 0)
        value = cop_text((cop_type)value.type, list + record->count, record->text);
    if (record->outcome == COP_RUN_RELISTED && !cop__relink(graph, node, list, record->count))
        return false;
    node->flags &= ~(uint32_t)COP_NODE_POISONED;
    cop__node_completes(graph, node);
    return cop__node_store(graph, node, &value);
}

static bool
lane_do_log(cop__graph *graph, const cop__lane *lane)
{
    bool fine = !lane->refused;
    for (size_t i = 0; i < lane->log_count;) {
        log_record record;
        memcpy(&record, lane->log + i, sizeof record);
        if (!fine || !record_do(graph, &record, lane->log + i + RECORD_WORDS)) {
            cop__mark_node(graph, &graph->nodes[record.node]);
            fine = false;
        }
        i += RECORD_WORDS + record.count + (record.text + 7) / 8;
    }
    return fine;
}

/* Nodes that run alone. Their dirty bits are still there. */
static bool
run_rest(cop__graph *graph)
{
    for (size_t i = 0; i < graph->rest.count; i++) {
        cop__node *node = &graph->nodes[graph->rest.item[i]];
        cop__clean_node(graph, node);
        switch (cop__node_run(graph, node)) {
        case COP_STEP_REFUSED:
            return false;
        case COP_STEP_RESTART:
            for (i++; i < graph->rest.count; i++) /* the sweep comes back to them */
                cop__mark_node(graph, &graph->nodes[graph->rest.item[i]]);
            break;
        default:
            break;
        }
    }
    return true;
}

/* Everything lanes left, in one order whatever they did. */
static bool
job_end(cop__graph *graph, const level_job *job, uint32_t lanes)
{
    bool fine = true;
    for (uint32_t i = 0; i < lanes; i++)
        if (has_come(graph->lanes[i], job))
            fine &= lane_adopt(graph, graph->lanes[i]);
    for (uint32_t i = 0; i < lanes; i++)
        if (has_come(graph->lanes[i], job))
            lane_merge_marks(graph, graph->lanes[i]);
    for (uint32_t i = 0; i < lanes; i++)
        if (has_come(graph->lanes[i], job))
            fine &= lane_do_log(graph, graph->lanes[i]);
    if (!fine)
        graph->tree->failed = COP_E_MEMORY;
    return fine;
}

static bool
run_side_by_side(cop__graph *graph, uint32_t height, uint32_t pages, double cost)
{
    uint32_t lanes = cop__region_lanes(graph->region), n = (uint32_t)graph->front.count;
    uint32_t chunk = cost > 0 && CHUNK_NS / cost > 1 ? (uint32_t)(CHUNK_NS / cost) : 1;
    level_job job = {.graph = graph,
                     .item = graph->front.item,
                     .level = ++graph->shared.levels,
                     .height = height,
                     .items = n,
                     .ns = cost};
    if (n <= FEW)
        job.item = memcpy(job.few, graph->front.item, n * sizeof *job.few);
    pages += lanes; /* each may have a copy that lost */
    if (!lanes_prepare(graph, lanes, pages) || !stash_fill(graph, pages)) {
        graph->tree->failed = COP_E_MEMORY;
        return false;
    }
    cop__store_relaxed(&job.pages, (uint32_t)graph->stash_count);
#if COP_CHECK_WAVES
    cop__node_completes_room(graph);
#endif
    cop__region_run(graph->region, n, chunk, job_run, &job);
    graph->stash_count = cop__load_relaxed(&job.pages);
    return job_end(graph, &job, lanes);
}

/* ---- deciding ---- */

static void
note_cost(cop__graph *graph, uint32_t height, double ns)
{
    cop__level *level = &graph->levels[height];
    double had = level->cost / COST_UNIT, now = had > 0 ? had * 0.75 + ns * 0.25 : ns;
    level->cost = now < 1e8 ? (uint32_t)(now * COST_UNIT) + 1 : UINT32_MAX / 2;
}

/* What is not shared is not to be counted as if it were. */
static bool
not_shared(cop__graph *graph)
{
    if (graph->shared.items > 0)
        account(graph, 0, 0);
    return false;
}

/* On this thread, with a look at the clock. */
static bool
sweep_timed(cop__graph *graph, uint32_t height)
{
    uint64_t runs = graph->count.runs, begin = cop__clock_ns();
    bool fine = cop__sweep_level(graph, height);
    runs = graph->count.runs - runs;
    if (fine && runs > 0)
        note_cost(graph, height, (double)(cop__clock_ns() - begin) / (double)runs);
    return fine;
}

bool
cop__sweep_shared(cop__graph *graph, uint32_t height, bool *fine)
{
    uint32_t n = level_count(graph, height);
    double cost = graph->levels[height].cost / COST_UNIT;
    if (n < 2 || cop__region_lanes(graph->region) < 2)
        return not_shared(graph);
    if ((cost == 0 || graph->count.waves % SAMPLE_WAVES == 0) && !cop__region_always) {
        (void)not_shared(graph);
        *fine = sweep_timed(graph, height);
        return true;
    }
    if (!cop__region_worth(graph->region, n, cost))
        return not_shared(graph);
    *fine = collect_room(graph, n);
    if (!*fine)
        return true;
    uint32_t pages = collect(graph, height);
    if (graph->front.count < 2) {
        give_back(graph, &graph->front);
        return not_shared(graph);
    }
    *fine = run_side_by_side(graph, height, pages, cost) && run_rest(graph);
    if (cop__unlikely(!*fine)) { /* who of them has run nobody knows: all stay dirty */
        give_back(graph, &graph->front);
        give_back(graph, &graph->rest);
    }
    return true;
}

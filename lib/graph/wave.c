/* SPDX-License-Identifier: MIT */
/*
 * The wave: marks what a batch made dirty, then sweeps the dirty nodes in order of height.
 *
 * Why each node completes once: a node runs when no dirty node is below its height; whatever marks it
 * stands below it; so nothing that runs after it can mark it. A run that is discarded (it read at or
 * above its height) leaves the node dirty, above what it waits for.
 */
#include "base/probes.h"
#include "graph/graph.h"


/* ---- marking what the batch changed ---- */

static void
source_gone(cop__graph *graph, uint32_t id, const cop__record *record)
{
    graph->structure = true;
    cop__interest_went(graph, id);
    if (record != NULL)
        cop__dependents_poison(graph, &record->dependents);
}

static void
branch_changed(cop__graph *graph, uint32_t id, const cop__slot *before, const cop__slot *now,
               const cop__record *record)
{
    graph->structure = true;
    if (cop__slot_is_branch(now))
        cop__interest_list_changed(graph, id);
    if (cop__slot_type(before) != cop__slot_type(now) && record != NULL)
        cop__dependents_poison(graph, &record->dependents);
    if (cop__slot_type(before) != cop__slot_type(now))
        cop__follow_changed(graph, id);
}

static void
value_changed(cop__graph *graph, uint32_t id)
{
    cop__follow_changed(graph, id);
    if (id < graph->record_count)
        cop__dependents_mark(graph, &graph->records[id].dependents);
}

/* One slot that the draft touched, and that is not as it was. */
static bool
slot_happened(cop__graph *graph, uint32_t id, const cop__slot *before, const cop__slot *now)
{
    bool was = before != NULL && cop__slot_alive(before), is = now != NULL && cop__slot_alive(now);
    const cop__record *record = cop__record_of(graph, id);
    if (was && is && before->reserved == now->reserved) {
        if (cop__slot_is_branch(before) || cop__slot_is_branch(now))
            branch_changed(graph, id, before, now, record);
        else
            value_changed(graph, id);
        return true;
    }
    if (was) {
        source_gone(graph, id, record);
        if (!cop__graph_dying(graph, id))
            return false;
    }
    if (is) {
        graph->structure = true;
        cop__interest_came(graph, id);
    }
    return true;
}

/* Of a slot's first eight bytes: which atom it is. */
#define WHICH_ATOM UINT64_C(0x00000000ffff0000)

/* Whether two slots' heads are of one living atom with a value in it both times. */
static inline bool
value_both(uint64_t before, uint64_t now)
{
    return ((before ^ now) & WHICH_ATOM) == 0 &&
           (before & COP_SLOT_TYPE) - COP_NULL <= COP_ERROR - COP_NULL &&
           (now & COP_SLOT_TYPE) - COP_NULL <= COP_ERROR - COP_NULL;
}

_Static_assert(COP_NONE == 0 && COP_NULL == 1 && COP_ERROR == COP_OBJECT - 1,
               "values stand between none and the branches");

/* A page that came, went, or was made anew: any of its slots may be another. */
static bool
page_replaced(cop__graph *graph, uint32_t number, const cop__slot *before, const cop__slot *now,
              uint32_t touched)
{
    for (uint32_t left = touched; left != 0; left &= left - 1) {
        unsigned k = (unsigned)__builtin_ctz(left);
        const cop__slot *was = before != NULL ? &before[k] : NULL;
        const cop__slot *is = now != NULL ? &now[k] : NULL;
        if ((was == NULL || is == NULL || !cop__slot_same(was, is)) &&
            !slot_happened(graph, (number << COP_SLOT_BITS) + k, was, is))
            return false;
    }
    return true;
}

static bool
page_marked(cop__graph *graph, const cop__undo *undo)
{
    const cop__page_entry *entry = &graph->tree->space[COP_SPACE_VALUES].entry[undo->number];
    const cop__slot *before = undo->page, *now = entry->page;
    if (cop__unlikely(now == NULL || before == NULL || entry->before == NULL))
        return page_replaced(graph, undo->number, before, now,
                             now != NULL && before == NULL ? entry->touched : UINT32_MAX);
    for (uint32_t left = entry->touched; left != 0; left &= left - 1) {
        unsigned k = (unsigned)__builtin_ctz(left);
        uint64_t was[2], is[2];
        memcpy(was, &before[k], sizeof was);
        memcpy(is, &now[k], sizeof is);
        if (was[0] == is[0] && was[1] == is[1])
            continue;
        if (cop__likely(value_both(was[0], is[0])))
            value_changed(graph, (undo->number << COP_SLOT_BITS) + k);
        else if (!slot_happened(graph, (undo->number << COP_SLOT_BITS) + k, &before[k], &now[k]))
            return false;
    }
    return true;
}

/* The undo log has a record for each page that the draft touched; what the wave itself writes comes
 * behind. */
static bool
mark_sources(cop__graph *graph)
{
    cop__tree *tree = graph->tree;
    if (graph->fresh.count > 0 && !cop__graph_stillborn(graph))
        return false;
    for (size_t i = 0, n = tree->undo_count; i < n; i++) {
        const cop__undo *undo = &tree->undo[i];
        if (undo->level == 0 && undo->space == COP_SPACE_VALUES && !page_marked(graph, undo))
            return false;
    }
    if (graph->structure)
        cop__interest_moved(graph);
    return tree->failed == COP_OK;
}

/* ---- what did not fit ---- */

/* The node that is to answer for an atom which holds the error value of what did not fit; 0: none. */
static uint32_t
unfit_node(const cop__graph *graph, uint32_t id)
{
    const cop_value unfit = cop__unfit_value();
    uint32_t number = graph->records[id].node & ~COP_OWNED_CHILD;
    if (number == 0 ||
        (graph->nodes[number].flags & (COP_NODE_PLACED | COP_NODE_DYING)) != COP_NODE_PLACED)
        return 0;
    return cop__slot_holds(cop__draft_slot(graph->tree, id), &unfit) ? number : 0;
}

/* Want of memory is no property of the inputs: results that did not fit are tried again in every wave until
 * they do. O(records), while there is one. Told by what atoms hold, because that goes back with the
 * draft when a wave is abandoned, and dirty bits do not. */
static void
mark_unfit(cop__graph *graph)
{
    bool any = false;
    for (uint32_t id = 0; id < graph->record_count; id++) {
        uint32_t number = unfit_node(graph, id);
        if (number == 0)
            continue;
        any = true;
        cop__mark_node(graph, &graph->nodes[number]);
        cop__follow_again(&graph->nodes[number]);
    }
    graph->tree->unfit = any;
}

/* ---- one node ---- */

bool
cop__counts_as_same(const cop__graph *graph, const cop__node *node, const cop__slot *slot,
                    const cop_value *value)
{
    if (cop__slot_holds(slot, value))
        return true;
    if (!(node->flags & COP_NODE_EQUAL) || value->type == COP_ERROR || cop__slot_is_lazy(slot) ||
        !cop__atom_published(graph->tree, node->id)) /* there is no value before the first */
        return false;
    cop_value before = cop__slot_value(slot);
    const cop__side *side =
        graph->sides[cop__map_get(&graph->side_of, cop__node_number(graph, node))];
    return before.type != COP_ERROR && side->equal(node->context, &before, value);
}

/* Any value: texts, and what has an equality of its own. */
static bool
store_value(cop__graph *graph, cop__node *node, const cop_value *value)
{
    const cop__slot *slot = cop__draft_slot(graph->tree, node->id);
    const cop_value unfit = cop__unfit_value();
    if (value->type == COP_ERROR && cop_value_equal(value, &unfit))
        graph->tree->unfit = true;
    COP_ASSERT(slot->type & COP_SLOT_COMPUTED);
    if (cop__counts_as_same(graph, node, slot, value)) {
        graph->count.cutoffs++;
        return true;
    }
    if (!cop__atom_write(graph->tree, node->id, value))
        return false;
    graph->count.changed++;
    cop__follow_changed(graph, node->id);
    const cop__record *record = cop__record_of(graph, node->id);
    if (record != NULL)
        cop__dependents_mark(graph, &record->dependents);
    return true;
}

bool
cop__node_wait(cop__graph *graph, cop__node *node, const uint64_t *list, size_t count,
               uint32_t waits_for)
{
    const cop__node *target = &graph->nodes[waits_for];
    graph->count.discarded++;
    if (!cop__relink(graph, node, list, count))
        return false;
    node->flags |= COP_NODE_POISONED; /* the list ends where it was stuck */
    if (target->flags & COP_NODE_FRESH) { /* was lazy until now: has no height yet */
        cop__mark_node(graph, node);
        graph->to_settle = cop__node_number(graph, node);
        return true;
    }
    cop_status status = cop__reaches(graph, node, target);
    cop__mark_node(graph, node);
    if (status == COP_E_CYCLE) /* maybe: settling finds out, once the sweep has put down what it holds */
        graph->to_settle = cop__node_number(graph, node);
    return status == COP_E_CYCLE ||
           (status == COP_OK && cop__raise(graph, node, target->height));
}

/* The slow side of storing: the page enters the draft, or what is there is no plain value. */
static enum cop__step
store_slow(cop__graph *graph, cop__node *node, const uint64_t *word)
{
    cop_value value;
    memcpy(&value, word, sizeof value);
    value.reserved = 0;
    return store_value(graph, node, &value) ? COP_STEP_ON : COP_STEP_REFUSED;
}

/* Stores a plain value. CHANGED: the dependents are still to be marked. */
static inline enum cop__step
store_plain(cop__graph *graph, cop__node *node, const uint64_t *word)
{
    cop__tree *tree = graph->tree;
    cop__page_entry *entry = &tree->space[COP_SPACE_VALUES].entry[node->id >> COP_SLOT_BITS];
    uint64_t *slot = (uint64_t *)entry->page + 2 * (size_t)(node->id & (COP_SLOTS - 1));
    uint64_t had = slot[0];
    if (((had ^ word[0]) & COP_SLOT_VALUE) == 0 && slot[1] == word[1]) {
        graph->count.cutoffs++;
        return COP_STEP_ON;
    }
    if (cop__unlikely(entry->birth != tree->stamp ||
                      (had & (COP_SLOT_TYPE | COP_SLOT_NAMED)) > COP_F64))
        return store_slow(graph, node, word);
    slot[0] = (had & ~COP_SLOT_VALUE) | (word[0] & COP_SLOT_VALUE);
    slot[1] = word[1];
    return COP_STEP_CHANGED;
}

bool
cop__node_store(cop__graph *graph, cop__node *node, const cop_value *value)
{
    uint64_t word[2];
    if (node->flags & COP_NODE_BRANCH)
        return cop__own_store(graph, node, value);
    memcpy(word, value, sizeof word);
    if ((node->flags & COP_NODE_EQUAL) || !cop__value_plain(word[0], word[1]))
        return store_value(graph, node, value);
    enum cop__step step = store_plain(graph, node, word);
    if (step == COP_STEP_CHANGED) {
        graph->count.changed++;
        cop__follow_changed(graph, node->id);
        cop__dependents_mark(graph, &graph->records[node->id].dependents);
    }
    return step != COP_STEP_REFUSED;
}

/* What follows a run that the short way did not end. True: the sweep may go on where it was. */
enum cop__step
cop__node_finish(cop__graph *graph, cop__node *node, cop_status status, cop_value *value)
{
    cop__evaluator *run = &graph->run;
    enum cop__outcome outcome = cop__run_finish(run, status, value);
    enum cop__step step = COP_STEP_ON;
    bool fine = outcome != COP_RUN_REFUSED;
    if (outcome == COP_RUN_STUCK) {
        uint32_t number = cop__node_number(graph, node), below = cop__run_waits_for(run);
        node = &graph->nodes[number];
        step = COP_STEP_RESTART;
        fine = below != 0 && cop__node_wait(graph, node, run->list, run->count, below);
    } else if (fine) {
        fine = (outcome == COP_RUN_DONE || cop__relink(graph, node, run->list, run->count));
        /* What is settled could be read wherever it stands. */
        if (outcome == COP_RUN_RELISTED && graph->settled.count > 0 && fine)
            fine = cop__raise(graph, node, cop__height_over(graph, node) - 1);
        node->flags &= ~(uint32_t)COP_NODE_POISONED;
        cop__node_completes(graph, node);
        fine = fine && cop__node_store(graph, node, value);
        if (cop__unlikely(node->flags & COP_NODE_LOOKED))
            cop__look_ran(graph, node, value);
    }
    cop__run_reset(run);
    if (fine)
        return step;
    graph->tree->failed = COP_E_MEMORY;
    cop__mark_node(graph, node);
    return COP_STEP_REFUSED;
}

enum cop__step
cop__node_run(cop__graph *graph, cop__node *node)
{
    cop_value value;
    if (node->flags & COP_NODE_DYING)
        return COP_STEP_ON;
    if (node->flags & COP_NODE_CYCLE) {
        if (node->flags & COP_NODE_SETTLED) /* marked by what stands behind where its run stops */
            return COP_STEP_ON;
        cop__mark_node(graph, node);
        graph->to_settle = cop__node_number(graph, node);
        return COP_STEP_RESTART;
    }
    cop_status status = node->flags & COP_NODE_LOOKED
                            ? cop__look_run(graph, node, node->height, &value)
                            : cop__run_function(&graph->run, node, node->height, &value);
    return cop__node_finish(graph, node, status, &value);
}

/* ---- sweeping ---- */

/* Runs a node, whose bit has been taken. Nodes with followers do not come to the short way, which
 * tells nobody. ON: done, dependents marked; CHANGED: still to be marked. */
static inline enum cop__step
node_step(cop__graph *graph, cop__evaluator *run, cop__node *node)
{
    const uint64_t *list = node->dependencies.few;
    cop_value value;
    uint64_t word[2];
    if (cop__unlikely(node->flags & COP_NODE_SPECIAL))
        return cop__node_run(graph, node);
    if (node->flags & COP_NODE_MANY)
        list = &graph->arena.words[node->dependencies.many.list];
    run->node = node;
    run->public.cursor_ = list;
    value = cop_null();
    cop_status status = node->function(&run->public, node->context, &value);
    memcpy(word, &value, sizeof word);
    if (cop__unlikely(status != COP_OK || *run->public.cursor_ != COP_DEPENDENCY_END ||
                      !cop__value_plain(word[0], word[1])))
        return cop__node_finish(graph, node, status, &value);
    cop__node_completes(graph, node);
    return store_plain(graph, node, word);
}

/* The dirty bits of a block that have not run, given back. */
static void
give_back(cop__graph *graph, uint32_t block, uint64_t mask)
{
    if (mask != 0)
        cop__mark_mask(graph, block, mask);
}

/* The first dirty block of a level leaves it. Its dirty bits, not 0. */
static inline uint64_t
take_first(cop__graph *graph, uint32_t height)
{
    cop__block *block = &graph->blocks[graph->levels[height].dirty];
    uint64_t mask = block->dirty;
    block->dirty = 0;
    graph->levels[height].dirty = block->next;
    if (block->next == COP_NODE_NONE)
        graph->level_map[height >> 6] &= ~(UINT64_C(1) << (height & 63));
    return mask;
}

/* Runs may move blocks, arena and nodes: looked up anew for each. */
static inline cop__node *
first_of(const cop__graph *graph, uint32_t block, uint64_t mask)
{
    const uint32_t *slots =
        (const uint32_t *)(const void *)&graph->arena.words[graph->blocks[block].slots];
    return &graph->nodes[slots[__builtin_ctzll(mask)]];
}

bool
cop__sweep_level(cop__graph *graph, uint32_t height)
{
    cop__evaluator *run = &graph->run;
    uint32_t number;
    run->limit = height;
    while ((number = graph->levels[height].dirty) != COP_NODE_NONE) {
        uint64_t mask = take_first(graph, height);
        while (mask != 0) {
            cop__node *node = first_of(graph, number, mask);
            mask &= mask - 1;
        go_on:;
            enum cop__step step = node_step(graph, run, node);
            if (step == COP_STEP_ON)
                continue;
            if (cop__unlikely(step != COP_STEP_CHANGED)) {
                give_back(graph, number, mask);
                if (step == COP_STEP_REFUSED)
                    cop__mark_node(graph, node);
                return step == COP_STEP_RESTART;
            }
            graph->count.changed++;
            const cop__dependents *set = &graph->records[node->id].dependents;
            if (set->count != 1) {
                cop__dependents_mark(graph, set);
                continue;
            }
            cop__node *next = &graph->nodes[set->at];
            uint32_t up = next->height;
            if (mask == 0 && up >> 6 == height >> 6 &&
                (graph->level_map[up >> 6] & ((UINT64_C(2) << (up & 63)) - 1)) == 0 &&
                !COP_FAULT(dependent_not_marked)) {
                height = run->limit = graph->lowest = up; /* nothing dirty is below it */
                node = next;
                goto go_on;
            }
            cop__mark_node(graph, next);
        }
    }
    return true;
}

/* One node, timed. */
static enum cop__step
node_step_timed(cop__graph *graph, cop__node *node, cop__wave_timing *timing)
{
    cop_atom atom = {node->id, cop__draft_slot(graph->tree, node->id)->reserved};
    uint32_t number = cop__node_number(graph, node);
    uint64_t cutoffs = graph->count.cutoffs, began = cop__clock_ns();
    bool listed = node->flags & COP_NODE_RELINKED;
    enum cop__step step = cop__node_run(graph, node);
    uint64_t took = cop__clock_ns() - began;
    node = &graph->nodes[number]; /* nodes may have moved */
    if (step == COP_STEP_ON)
        timing->ran(timing, atom, took, graph->count.cutoffs != cutoffs,
                    !listed && (node->flags & COP_NODE_RELINKED));
    return step;
}

/* As cop__sweep_level, but for the chains that it follows. */
static bool
sweep_level_timed(cop__graph *graph, uint32_t height, cop__wave_timing *timing)
{
    uint32_t number;
    graph->run.limit = height;
    while ((number = graph->levels[height].dirty) != COP_NODE_NONE) {
        uint64_t mask = take_first(graph, height);
        for (; mask != 0; mask &= mask - 1) {
            cop__node *node = first_of(graph, number, mask);
            timing->most -= timing->most > 0;
            enum cop__step step = node_step_timed(graph, node, timing);
            if (step != COP_STEP_ON) { /* the node is dirty again */
                give_back(graph, number, mask & (mask - 1));
                return step == COP_STEP_RESTART;
            }
        }
    }
    return true;
}

/* timing is known when this is compiled: NULL leaves nothing. */
static inline __attribute__((always_inline)) bool
sweep(cop__graph *graph, cop__wave_timing *timing)
{
    uint32_t height;
    bool fine = cop__settle_first(graph);
    cop__run_reset(&graph->run);
    while (fine && cop__next_level(graph, &height)) {
        uint32_t number = graph->to_settle;
        graph->to_settle = 0;
        if (number != 0)
            fine = cop__settle_node(graph, number);
        else if (timing != NULL && timing->most > 0)
            fine = sweep_level_timed(graph, height, timing);
        else if (graph->region == NULL || !cop__sweep_shared(graph, height, &fine))
            fine = cop__sweep_level(graph, height);
    }
    cop__shared_end(graph);
    cop__settle_end(graph);
    return fine;
}

static inline __attribute__((always_inline)) bool
wave(cop__graph *graph, cop__wave_timing *timing)
{
    graph->structure = false;
    graph->count.waves++;
    bool before = cop__evaluating;
    cop__evaluating = true; /* marking calls functions of reducers */
    if (cop__unlikely(graph->unordered))
        cop__reorder(graph);
    graph->tree->lenient = !graph->tree->strict;
    bool fine = mark_sources(graph);
    if (cop__unlikely(fine && graph->tree->unfit))
        mark_unfit(graph);
    if (fine && (graph->lowest != COP_HEIGHT_NONE || graph->fresh.count > 0))
        fine = sweep(graph, timing);
    graph->tree->lenient = false;
    cop__evaluating = before;
    COP_PROBE2(wave, graph->count.waves, graph->count.runs);
    if (!fine)
        graph->tree->failed = COP_E_MEMORY; /* else the draft would pass for one without changes */
    graph->unordered |= graph->tree->failed != COP_OK;
#if COP_CHECK_WAVES
    cop__order_check(graph);
#endif
    return graph->tree->failed == COP_OK;
}

bool
cop__graph_wave(cop__graph *graph)
{
    return wave(graph, NULL);
}

bool
cop__graph_wave_timed(cop__graph *graph, cop__wave_timing *timing)
{
    return wave(graph, timing);
}

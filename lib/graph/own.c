/* SPDX-License-Identifier: MIT */
/*
 * Comparing what a run emitted with the branch that its node owns, and writing the difference.
 *
 * A branch's old children and its entries are walked in step while their names are the same. Behind
 * the first difference, old children find their entries by name: those that have none are erased,
 * the others are kept. Of these, a longest run that is in order already stays where it is; the rest
 * is taken out and put in again, or all of the list is written anew if that is less work. Entries
 * are compared in the order in which they were made, so parents come before what is below them, and
 * nothing here is recursive.
 */
#include "graph/graph.h"

#include <coppice/txn.h>

/* A list in which one of so many children moves is written anew. */
#define REORDER_SHARE 16u

static cop__view
draft_view(const cop__graph *graph)
{
    return (cop__view){NULL, graph->tree};
}

static bool
push(cop__graph *graph, uint32_t **item, size_t *capacity, size_t *count, uint32_t value)
{
    if (!cop__graph_grow(graph, item, capacity, *count + 1, sizeof **item))
        return false;
    (*item)[(*count)++] = value;
    return true;
}

/* ---- records ---- */

bool
cop__own_record(cop__graph *graph, uint32_t id, uint32_t node)
{
    cop__own *own = &graph->own;
    cop__record *record = cop__record_make(graph, id);
    if (record == NULL || !cop__graph_grow(graph, &own->log, &own->log_capacity, own->log_count + 2,
                                           sizeof *own->log))
        return false;
    own->log[own->log_count++] = id;
    own->log[own->log_count++] = record->node;
    record->node = node;
    return true;
}

void
cop__own_abandon(cop__graph *graph)
{
    cop__own *own = &graph->own;
    while (own->log_count > 0) {
        own->log_count -= 2;
        graph->records[own->log[own->log_count]].node = own->log[own->log_count + 1];
    }
}

void
cop__own_published(cop__graph *graph)
{
    graph->own.log_count = 0;
}

/* ---- what goes ---- */

static bool
tell_gone(cop__graph *graph, uint32_t id)
{
    cop__interest_went(graph, id);
    cop__dependents_poison(graph, &graph->records[id].dependents);
    return cop__own_record(graph, id, 0);
}

/* Everything below a branch is about to be erased. */
static bool
tell_gone_below(cop__graph *graph, uint32_t branch)
{
    cop__own *own = &graph->own;
    size_t count = 0;
    if (!push(graph, &own->stack, &own->stack_capacity, &count, branch))
        return false;
    while (count > 0) {
        cop__list_walk walk;
        uint32_t id;
        cop__list_walk_begin(draft_view(graph), cop__draft_slot(graph->tree, own->stack[--count]),
                             &walk);
        while (cop__list_walk_next(draft_view(graph), &walk, &id)) {
            if (!tell_gone(graph, id))
                return false;
            if (cop__slot_is_branch(cop__draft_slot(graph->tree, id)) &&
                !push(graph, &own->stack, &own->stack_capacity, &count, id))
                return false;
        }
    }
    return true;
}

static bool
has_children(const cop__graph *graph, uint32_t id)
{
    const cop__slot *slot = cop__draft_slot(graph->tree, id);
    return cop__slot_is_branch(slot) && cop__slot_list(slot) != COP_LIST_NONE;
}

static bool
clear(cop__graph *graph, uint32_t branch)
{
    if (!has_children(graph, branch))
        return true;
    graph->own.moved = true;
    return tell_gone_below(graph, branch) && cop__atom_clear(graph->tree, branch);
}

static bool
erase(cop__graph *graph, uint32_t id)
{
    if (has_children(graph, id) && !tell_gone_below(graph, id))
        return false;
    graph->count.changed++;
    return tell_gone(graph, id) && cop__atom_erase(graph->tree, id);
}

/* ---- what is written ---- */

/* The owner, or something in its branch. */
static bool
write_value(cop__graph *graph, const cop__node *node, uint32_t id, const cop_value *value)
{
    const cop__slot *slot = cop__draft_slot(graph->tree, id);
    bool was = cop__slot_is_branch(slot), becomes = value->type >= COP_OBJECT;
    if (was && becomes)
        return true;
    if (!was && !becomes && cop__counts_as_same(graph, node, slot, value))
        return true;
    if ((was && !clear(graph, id)) || !cop__atom_write(graph->tree, id, value))
        return false;
    graph->count.changed++;
    cop__follow_changed(graph, id);
    const cop__record *record = cop__record_of(graph, id);
    if (record == NULL)
        return true;
    if (was == becomes)
        cop__dependents_mark(graph, &record->dependents);
    else /* what they wrote down of it would not be compared rightly */
        cop__dependents_poison(graph, &record->dependents);
    return true;
}

static bool
create(cop__graph *graph, const cop__node *node, uint32_t branch, uint32_t position,
       const char *segment, size_t length, const cop_value *value, uint32_t *id)
{
    cop__tree *tree = graph->tree;
    if (!cop__atom_create_child_at(tree, branch, position, segment, length, value, id))
        return false;
    cop__slot *slot = cop__slot_edit(tree, *id);
    if (slot == NULL)
        return false;
    slot->type |= COP_SLOT_COMPUTED;
    graph->count.changed++;
    if (!cop__own_record(graph, *id, cop__node_number(graph, node) | COP_OWNED_CHILD))
        return false;
    cop__interest_came(graph, *id);
    return true;
}

/* The wave reads through the table of pages, which may have grown. Atoms below an array element are
 * found by loose paths only. */
static bool
done(cop__graph *graph, const cop__node *node)
{
    graph->run.public.table_ = (const char *)graph->tree->space[COP_SPACE_VALUES].entry;
    if (graph->own.moved) {
        graph->own.moved = false;
        graph->structure = true;
        if (cop__prefix_of(draft_view(graph), node->id).anchor != 0)
            cop__interest_moved(graph);
    }
    return graph->tree->failed == COP_OK;
}

/* ---- order ---- */

/* Entries of a branch behind those in step: the children that are kept, by rank, are searched for a
 * longest ascending run (patience sorting: `best[k]` ends the lowest run of k+1). Marks its
 * members, and counts those that are none. */
static bool
choose_staying(cop__graph *graph, uint32_t first, uint32_t ranks, uint32_t kept, uint32_t *moving)
{
    cop__own *own = &graph->own;
    cop__own_entry *entry = own->entry;
    uint32_t rank = 0, runs = 0;
    bool ordered = true;
    for (uint32_t k = first; k != 0; k = entry[k].next) {
        entry[k].stays = entry[k].id != COP_OWN_NEW;
        ordered &= !entry[k].stays || entry[k].rank > rank;
        rank = entry[k].stays ? entry[k].rank : rank;
    }
    *moving = 0;
    if (ordered)
        return true;
    size_t words = (size_t)kept + ranks + 1; /* best, and what is before each rank in its run */
    if (!cop__graph_grow(graph, &own->stack, &own->stack_capacity, words, sizeof *own->stack))
        return false;
    uint32_t *best = own->stack, *before = own->stack + kept;
    for (uint32_t k = first; k != 0; k = entry[k].next) {
        if (!entry[k].stays)
            continue;
        uint32_t low = 0, high = runs;
        while (low < high) {
            uint32_t middle = low + (high - low) / 2;
            if (entry[best[middle]].rank < entry[k].rank)
                low = middle + 1;
            else
                high = middle;
        }
        before[entry[k].rank] = low > 0 ? best[low - 1] : 0;
        best[low] = k;
        runs += low == runs;
        entry[k].stays = false;
    }
    *moving = kept - runs;
    for (uint32_t k = best[runs - 1]; k != 0; k = before[entry[k].rank])
        entry[k].stays = true;
    return true;
}

/* All children are there, in any order. */
static bool
write_order(cop__graph *graph, const cop__own_entry *branch)
{
    cop__own *own = &graph->own;
    size_t count = 0;
    for (uint32_t k = branch->first; k != 0; k = own->entry[k].next)
        if (!push(graph, &own->stack, &own->stack_capacity, &count, own->entry[k].id))
            return false;
    return cop__list_reorder(graph->tree, branch->id, own->stack, (uint32_t)count);
}

/* Creates what is new and moves what does not stay, from entry `first` at position `at` on. */
static bool
arrange(cop__graph *graph, const cop__node *node, const cop__own_entry *branch, uint32_t first,
        uint32_t at, uint32_t moving)
{
    cop__own *own = &graph->own;
    bool anew = moving > 4 && moving > branch->count / REORDER_SHARE;
    for (uint32_t k = first; k != 0 && moving > 0 && !anew; k = own->entry[k].next)
        if (own->entry[k].id != COP_OWN_NEW && !own->entry[k].stays &&
            !cop__list_remove(graph->tree, branch->id, own->entry[k].id))
            return false;
    for (uint32_t k = first; k != 0; k = own->entry[k].next, at++) {
        cop__own_entry *entry = &own->entry[k];
        if (entry->id == COP_OWN_NEW) {
            cop_value value = cop__own_value(own, entry);
            if (!create(graph, node, branch->id, anew ? COP_AT_END : at, own->text + entry->segment,
                        entry->length, &value, &entry->id))
                return false;
            entry->made = true;
        } else if (!anew && !entry->stays &&
                   !cop__list_insert(graph->tree, branch->id, at, entry->id)) {
            return false;
        }
    }
    return !anew || write_order(graph, branch);
}

/* ---- comparing ---- */

static const cop__name *
name_of(const cop__graph *graph, uint32_t id)
{
    return cop__info_name(cop__draft_info(graph->tree, id));
}

static bool
same_key(const cop__graph *graph, uint32_t id, const cop__own_entry *entry)
{
    const cop__name *name = name_of(graph, id);
    return cop__name_length(name) == entry->length &&
           memcmp(cop__name_segment(name), graph->own.text + entry->segment, entry->length) == 0;
}

/* The old children from `id` on find their entries. Those that have none are left in `rest`;
 * tree->failed says when there is no room for them. */
static void
match_rest(cop__graph *graph, uint32_t branch, uint32_t id, cop__list_walk *walk, uint32_t *ranks,
           uint32_t *kept, size_t *going)
{
    cop__own *own = &graph->own;
    do {
        const cop__name *name = name_of(graph, id);
        uint32_t k = cop__own_find(graph, branch, cop__name_segment(name), cop__name_length(name));
        ++*ranks;
        if (k == 0) {
            (void)push(graph, &own->rest, &own->rest_capacity, going, id);
            continue;
        }
        own->entry[k].id = id;
        own->entry[k].rank = *ranks;
        ++*kept;
    } while (cop__list_walk_next(draft_view(graph), walk, &id));
}

static bool
erase_rest(cop__graph *graph, uint32_t branch, size_t going, bool all)
{
    if (all) {
        graph->count.changed += going;
        return clear(graph, branch);
    }
    for (size_t i = 0; i < going; i++)
        if (!erase(graph, graph->own.rest[i]))
            return false;
    return true;
}

/* The list of children becomes that of the entries. */
static bool
compare_list(cop__graph *graph, const cop__node *node, uint32_t number)
{
    cop__own *own = &graph->own;
    const cop__own_entry *branch = &own->entry[number];
    cop__list_walk walk;
    uint32_t id, k = branch->first, at = 0, ranks = 0, kept = 0, moving = 0;
    size_t going = 0;
    bool more;
    cop__list_walk_begin(draft_view(graph), cop__draft_slot(graph->tree, branch->id), &walk);
    while ((more = cop__list_walk_next(draft_view(graph), &walk, &id)) && k != 0 &&
           same_key(graph, id, &own->entry[k])) {
        own->entry[k].id = id;
        k = own->entry[k].next;
        at++;
    }
    if (!more && k == 0)
        return true;
    own->moved = true;
    if (more)
        match_rest(graph, number, id, &walk, &ranks, &kept, &going);
    if (more && (graph->tree->failed != COP_OK ||
                 !choose_staying(graph, k, ranks, kept, &moving) ||
                 !erase_rest(graph, branch->id, going, at + kept == 0)))
        return false;
    if (!arrange(graph, node, branch, k, at, moving))
        return false;
    cop__interest_list_changed(graph, branch->id);
    return true;
}

bool
cop__own_open(cop__graph *graph, cop__node *node)
{
    const cop_value object = cop_object();
    return write_value(graph, node, node->id, &object);
}

/* Entries from `first` on; the atoms of those below the owner are known, or found on the way. */
static bool
write_entries(cop__graph *graph, const cop__node *node, uint32_t first)
{
    const cop__own *own = &graph->own;
    for (uint32_t i = first; i < own->entry_count; i++) {
        const cop__own_entry *entry = &own->entry[i];
        cop_value value = cop__own_value(own, entry);
        if ((!entry->made && !write_value(graph, node, entry->id, &value)) ||
            (value.type == COP_OBJECT && !compare_list(graph, node, i)))
            return false;
    }
    return done(graph, node);
}

bool
cop__own_end(cop__graph *graph, cop__node *node)
{
    if (!cop__own_root(graph) || !cop__own_open(graph, node))
        return false;
    graph->own.entry[0].id = node->id;
    return write_entries(graph, node, 0);
}

bool
cop__own_patch(cop__graph *graph, cop__node *node)
{
    cop__own *own = &graph->own;
    if (!cop__own_root(graph))
        return false;
    for (uint32_t k = own->entry[0].first; k != 0; k = own->entry[k].next) {
        cop__named child =
            cop__child_find(draft_view(graph), node->id, own->text + own->entry[k].segment,
                            own->entry[k].length);
        COP_ASSERT(child.name != NULL);
        own->entry[k].id = child.id;
    }
    return write_entries(graph, node, 1);
}

/* ---- failures ---- */

/* A circle that goes through a child by its handle would be broken by erasing the child, and the
 * next wave would find none, though no input changed. So there the children say what is wrong. */
static bool
write_below(cop__graph *graph, const cop__node *node, const cop_value *value)
{
    cop__own *own = &graph->own;
    size_t count = 0;
    if (!push(graph, &own->stack, &own->stack_capacity, &count, node->id))
        return false;
    while (count > 0) {
        cop__list_walk walk;
        uint32_t id;
        cop__list_walk_begin(draft_view(graph), cop__draft_slot(graph->tree, own->stack[--count]),
                             &walk);
        while (cop__list_walk_next(draft_view(graph), &walk, &id))
            if (!(cop__slot_is_branch(cop__draft_slot(graph->tree, id))
                      ? push(graph, &own->stack, &own->stack_capacity, &count, id)
                      : write_value(graph, node, id, value)))
                return false;
    }
    return true;
}

bool
cop__own_store(cop__graph *graph, cop__node *node, const cop_value *value)
{
    if (value->type != COP_ERROR) {
        uint64_t changed = graph->count.changed;
        bool fine = graph->own.partial ? cop__own_patch(graph, node) : cop__own_end(graph, node);
        graph->count.cutoffs += fine && graph->count.changed == changed;
        return fine;
    }
    if ((node->flags & COP_NODE_CYCLE) && has_children(graph, node->id))
        return write_below(graph, node, value);
    return write_value(graph, node, node->id, value) && done(graph, node);
}

/* ---- single children ---- */

bool
cop__own_put(cop__graph *graph, cop__node *node, const char *segment, size_t length,
             uint32_t position, const cop_value *value)
{
    cop__named child = cop__child_find(draft_view(graph), node->id, segment, length);
    uint32_t id;
    if (child.name != NULL)
        return write_value(graph, node, child.id, value) && done(graph, node);
    graph->own.moved = true;
    if (!create(graph, node, node->id, position, segment, length, value, &id))
        return false;
    cop__interest_list_changed(graph, node->id);
    return done(graph, node);
}

bool
cop__own_remove(cop__graph *graph, cop__node *node, const char *segment, size_t length)
{
    cop__named child = cop__child_find(draft_view(graph), node->id, segment, length);
    if (child.name == NULL)
        return true;
    graph->own.moved = true;
    if (!erase(graph, child.id))
        return false;
    cop__interest_list_changed(graph, node->id);
    return done(graph, node);
}

/* SPDX-License-Identifier: MIT */
/*
 * One run of a function.
 *
 * A read compares what is asked for with the next entry of last time's list (cop_read, inline). The
 * first read that differs takes the slow way: from there on the run writes its own list down. A run
 * ends with the cursor at the list's end (nothing changed), short of it, or with a list of its own.
 */
#include "graph/graph.h"
#include "graph/lazy.h"

#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include "effect/effects.h"
#include "tree/path.h"

/* What cop_read of computed.h, which is compiled into the host, takes for granted. */
_Static_assert(COP_READ_VALUE_ == COP_SLOT_VALUE && COP_READ_TYPE_ == COP_SLOT_TYPE,
               "a slot is read as a value with the same masks");
_Static_assert(COP_READ_ATOMS_ == COP_SLOTS && sizeof(cop__page_entry) == COP_READ_ATOMS_ &&
                   offsetof(cop__page_entry, page) == 0 && sizeof(cop__slot) == 16,
               "a page's entry is found from an atom's number");

static const uint64_t no_list = COP_DEPENDENCY_END - 1; /* matches no handle: every read is slow */

void
cop__run_init(cop__evaluator *run, cop__graph *graph)
{
    memset(run, 0, sizeof *run);
    run->graph = graph;
}

void
cop__run_scratch_end(cop__evaluator *run)
{
    while (run->scratch != NULL) {
        cop__scratch *next = run->scratch->next;
        cop__memory_free(run->graph->memory, COP_MEMORY_GRAPH, run->scratch, run->scratch->bytes, 16);
        run->scratch = next;
    }
}

void
cop__run_end(cop__evaluator *run)
{
    cop__run_scratch_end(run);
    cop__memory_free(run->graph->memory, COP_MEMORY_GRAPH, run->list,
                     run->capacity * sizeof *run->list, 16);
    run->list = NULL;
    run->count = run->capacity = 0;
}

/* ---- the list ---- */

static bool
list_room(cop__evaluator *run, size_t more)
{
    if (cop__memory_grow(run->graph->memory, COP_MEMORY_GRAPH, &run->list, &run->capacity,
                         run->count + more, sizeof *run->list))
        return true;
    run->stuck = COP_E_MEMORY;
    return false;
}

/* What was read so far becomes the beginning of a new list. */
static bool
slow_begin(cop__evaluator *run)
{
    if (run->slow || run->effect != NULL)
        return true;
    const uint64_t *had = cop__dependencies(run->graph, run->node);
    size_t n = (size_t)(run->public.cursor_ - had);
    run->count = 0;
    if (!list_room(run, n + 2))
        return false;
    for (size_t i = 0; i < n; i++)
        run->list[i] = had[i];
    run->count = n;
    run->slow = true;
    run->public.cursor_ = &no_list;
    return true;
}

static bool
depend(cop__evaluator *run, uint64_t dependency)
{
    if (!list_room(run, 1))
        return false;
    run->list[run->count++] = dependency;
    return true;
}

/* ---- reading ---- */

static cop__evaluator *
run_of(cop_evaluation *evaluation)
{
    return (cop__evaluator *)(void *)evaluation;
}

/* Other lanes may be bringing the page into the draft. */
static const cop__slot *
draft_slot(const cop__evaluator *run, uint32_t id)
{
    const cop__space *values = &run->graph->tree->space[COP_SPACE_VALUES];
    if (id >> COP_SLOT_BITS >= values->count)
        return NULL;
    const cop__slot *page = cop__wave_page(&values->entry[id >> COP_SLOT_BITS]);
    return page != NULL ? &page[id & (COP_SLOTS - 1)] : NULL;
}

static const cop__slot *
atom_slot(const cop__evaluator *run, cop_atom atom)
{
    const cop__slot *slot = draft_slot(run, atom.id);
    return slot != NULL && slot->reserved == atom.generation && cop__slot_alive(slot) ? slot : NULL;
}

/* Ends a run that cannot go on beside others; also if its function goes on as if nothing were. */
static bool
run_apart(cop__evaluator *run, enum cop__outcome how)
{
    run->stuck = COP_E_PENDING;
    run->apart = how;
    run->slow = true;
    run->public.cursor_ = &no_list;
    return true;
}

/* What touches more than the run's own memory is left to the holder of the right alone. */
static bool
must_be_alone(cop__evaluator *run)
{
    return run->shared && run_apart(run, COP_RUN_ALONE);
}

static cop__view
view_of(const cop__evaluator *run)
{
    return (cop__view){run->snapshot, run->graph->tree};
}

cop_status
cop__run_promote(cop__evaluator *run, uint32_t id)
{
    if (must_be_alone(run))
        return run->stuck;
    if (!slow_begin(run)) /* so that the run's end sees that it is stuck */
        return COP_E_MEMORY;
    run->promotes = id;
    run->waits_for = 0;
    run->stuck = COP_E_PENDING;
    return COP_E_PENDING;
}

uint32_t
cop__run_waits_for(cop__evaluator *run)
{
    if (run->waits_for == 0)
        run->waits_for = cop__lazy_promote(run->graph, run->promotes);
    return run->waits_for;
}

/* Reads what is not up to date, in builds that plant this fault; not round in a circle. */
static bool
plant_before_dependency(const cop__evaluator *run, uint32_t number)
{
    cop__graph *graph = run->graph;
    return COP_FAULT(node_before_dependency) && !run->shared &&
           cop__reaches(graph, run->node, &graph->nodes[number]) == COP_OK;
}

/* COP_OK when the node that makes a thing is up to date; else the run is stuck. */
cop_status
cop__run_wait_for(cop__evaluator *run, uint32_t number)
{
    const cop__node *node = &run->graph->nodes[number];
    if (node->flags & COP_NODE_SETTLED)
        return COP_OK;
    if ((node->flags & COP_NODE_PLACED) && !(node->flags & COP_NODE_FRESH) &&
        (node->height < run->limit || plant_before_dependency(run, number)))
        return COP_OK;
    if (!slow_begin(run)) /* so that the run's end sees that it is stuck */
        return COP_E_MEMORY;
    run->waits_for = number;
    run->stuck = COP_E_PENDING;
    return COP_E_PENDING;
}

/* The node that makes an atom; for a child of an owned branch, the owner. */
static cop_status
wait_for_atom(cop__evaluator *run, uint32_t id)
{
    const cop__record *record = cop__record_of(run->graph, id);
    if (record != NULL && record->node != 0)
        return cop__run_wait_for(run, record->node & ~COP_OWNED_CHILD);
    const cop__slot *slot = draft_slot(run, id);
    return cop__unlikely(cop__slot_is_lazy(slot)) ? cop__run_promote(run, id) : COP_OK;
}

/* Behind the end of the list stands the owner of a branch that was read in. */
static bool
stand_above_owner(cop__evaluator *run, uint32_t id)
{
    const cop__record *record = cop__record_of(run->graph, id);
    if (record == NULL || !(record->node & COP_OWNED_CHILD))
        return true;
    const cop__node *owner = &run->graph->nodes[record->node & ~COP_OWNED_CHILD];
    const cop__slot *slot = draft_slot(run, owner->id);
    uint64_t above = COP_DEPENDS_KIND | (uint64_t)slot->reserved << 32 | owner->id;
    if (run->above == above)
        return true;
    run->above = above;
    return depend(run, above);
}

/* Beside others even a look at the slot of a node of this height would be a race: whether the atom is
 * still there is found out later, alone. */
static bool
must_come_again(cop__evaluator *run, uint32_t id)
{
    const cop__record *record = cop__record_of(run->graph, id);
    if (!run->shared || record == NULL || record->node == 0)
        return false;
    const cop__node *node = &run->graph->nodes[record->node & ~COP_OWNED_CHILD];
    return node->height >= run->limit && run_apart(run, COP_RUN_AGAIN);
}

static uint64_t
pack(cop_atom atom)
{
    return (uint64_t)atom.generation << 32 | atom.id;
}

static void
note_failure(cop__evaluator *run, const cop_value *value)
{
    if (value->type == COP_ERROR)
        run->failed = *value;
}

cop_status
cop_read_slow_(cop_evaluation *evaluation, cop_atom atom, cop_value *value)
{
    cop__evaluator *run = run_of(evaluation);
    if (run->effect != NULL)
        return cop__effect_read(run->effect, atom, value);
    memset(value, 0, sizeof *value);
    if (run->session != NULL)
        return cop__session_read(run->session, atom, true, value);
    if (run->stuck != COP_OK)
        return run->stuck;
    if (!slow_begin(run))
        return COP_E_MEMORY;
    if (must_come_again(run, atom.id))
        return run->stuck;
    const cop__slot *slot = atom_slot(run, atom);
    if (slot == NULL)
        return COP_E_GONE;
    bool branch = cop__slot_is_branch(slot);
    if (!stand_above_owner(run, atom.id) ||
        !depend(run, pack(atom) | (branch ? COP_DEPENDS_KIND : COP_DEPENDS_VALUE)))
        return COP_E_MEMORY;
    cop_status status = wait_for_atom(run, atom.id);
    if (status != COP_OK)
        return status;
    cop__slot_read(slot, value);
    note_failure(run, value);
    return COP_OK;
}

cop_status
cop_read_untracked(cop_evaluation *evaluation, cop_atom atom, cop_value *value)
{
    cop__evaluator *run = run_of(evaluation);
    if (run->effect != NULL)
        return cop_get(run->snapshot, atom, value);
    memset(value, 0, sizeof *value);
    if (run->session != NULL)
        return cop__session_read(run->session, atom, false, value);
    if (run->stuck != COP_OK || must_come_again(run, atom.id))
        return run->stuck;
    const cop__slot *slot = atom_slot(run, atom);
    if (slot == NULL)
        return COP_E_GONE;
    cop_status status = wait_for_atom(run, atom.id);
    if (status == COP_OK)
        cop__slot_read(slot, value);
    return status;
}

/* ---- by path ---- */

/* Whether below this atom a node may make something yet. */
static bool
may_make(const cop__graph *graph, uint32_t id)
{
    const cop__record *record = cop__record_of(graph, id);
    if (record == NULL || record->node == 0)
        return false;
    return (record->node & COP_OWNED_CHILD) || (graph->nodes[record->node].flags & COP_NODE_BRANCH);
}

/* The atom that a path leads to or, if nothing is there, its deepest ancestor. */
static cop_status
resolve(cop__evaluator *run, const char *path, size_t length, cop_atom *atom)
{
    *atom = (cop_atom){0, 0};
    cop_status status = cop_path_check(path, length, NULL);
    if (status != COP_OK)
        return status;
    if (!slow_begin(run))
        return COP_E_MEMORY;
    cop__found found = cop__path_resolve(view_of(run), path, length);
    uint32_t id = found.found ? found.id : found.ancestor;
    const cop__slot *slot = cop__draft_slot(run->graph->tree, id);
    if (found.found)
        *atom = (cop_atom){id, slot->reserved};
    const cop__record *record = cop__record_of(run->graph, id);
    bool owned = record != NULL && (record->node & COP_OWNED_CHILD);
    if (owned || (!found.found && may_make(run->graph, id))) { /* its owner may yet erase or make it */
        if (!stand_above_owner(run, id) ||
            (!found.found && !depend(run, COP_DEPENDS_KIND | (uint64_t)slot->reserved << 32 | id)))
            return COP_E_MEMORY;
        status = wait_for_atom(run, id);
        if (status != COP_OK)
            return status;
    }
    return found.found ? COP_OK : COP_E_ABSENT;
}

/* Interests are made by the holder of the right only. */
static cop_status
depend_on_path(cop__evaluator *run, const char *path, size_t length, cop_atom atom)
{
    uint32_t number = cop__interest_path(run->graph, path, length, atom);
    if (number == 0 || !depend(run, COP_DEPENDS_PATH | number)) {
        run->stuck = COP_E_MEMORY;
        return COP_E_MEMORY;
    }
    return COP_OK;
}

cop_status
cop_read_find(cop_evaluation *evaluation, const char *path, size_t length, cop_atom *atom)
{
    cop__evaluator *run = run_of(evaluation);
    if (run->effect != NULL)
        return cop__effect_find(run->effect, path, length, atom);
    *atom = (cop_atom){0, 0};
    if (run->session != NULL)
        return cop__session_find(run->session, path, length, atom);
    if (run->stuck != COP_OK || must_be_alone(run))
        return run->stuck;
    cop_status status = resolve(run, path, length, atom);
    if (status != COP_OK && status != COP_E_ABSENT)
        return status;
    cop_status kept = depend_on_path(run, path, length, *atom);
    return kept == COP_OK ? status : kept;
}

cop_status
cop_read_at(cop_evaluation *evaluation, const char *path, size_t length, cop_value *value)
{
    cop_atom atom;
    memset(value, 0, sizeof *value);
    cop_status status = cop_read_find(evaluation, path, length, &atom);
    return status == COP_OK ? cop_read_slow_(evaluation, atom, value) : status;
}

/* ---- lists of children ---- */

/* An owner that failed hands its error on, like a value. */
static cop_status
no_branch(cop__evaluator *run, const cop__slot *slot)
{
    cop_value value = cop__slot_value(slot);
    note_failure(run, &value);
    return value.type == COP_ERROR ? COP_E_FAILED : COP_E_NOT_BRANCH;
}

/* The branch, once its list may be read; the run depends on the list. */
static cop_status
open_branch(cop__evaluator *run, cop_atom branch, const cop__slot **slot)
{
    if (run->effect != NULL)
        return cop__effect_branch(run->effect, branch, slot);
    if (run->session != NULL) {
        cop_status listed = cop__session_list(run->session, branch, slot);
        return listed == COP_E_NOT_BRANCH ? no_branch(run, *slot) : listed;
    }
    if (run->stuck != COP_OK || must_be_alone(run))
        return run->stuck;
    if (!slow_begin(run))
        return COP_E_MEMORY;
    *slot = atom_slot(run, branch);
    if (*slot == NULL)
        return COP_E_GONE;
    if (!stand_above_owner(run, branch.id) || !depend(run, pack(branch) | COP_DEPENDS_KIND))
        return COP_E_MEMORY;
    cop_status status = wait_for_atom(run, branch.id);
    if (status != COP_OK)
        return status;
    if (!cop__slot_is_branch(*slot))
        return no_branch(run, *slot);
    if (cop__interest_list(run->graph, branch) == 0 ||
        !depend(run, COP_DEPENDS_LIST | pack(branch))) {
        run->stuck = COP_E_MEMORY;
        return COP_E_MEMORY;
    }
    return COP_OK;
}

cop_status
cop_read_count(cop_evaluation *evaluation, cop_atom branch, uint32_t *count)
{
    cop__evaluator *run = run_of(evaluation);
    const cop__slot *slot;
    *count = 0;
    cop_status status = open_branch(run, branch, &slot);
    if (status == COP_OK)
        *count = cop__list_count(view_of(run), slot);
    return status;
}

static cop_status
child_read(cop__evaluator *run, uint32_t id, uint32_t index, cop_child *child)
{
    const cop__slot *slot = run->snapshot != NULL ? cop__root_slot(run->snapshot, id)
                                                  : cop__draft_slot(run->graph->tree, id);
    cop__info info = run->snapshot != NULL ? cop__root_info(run->snapshot, id)
                                           : cop__draft_info(run->graph->tree, id);
    const cop__name *name = cop__info_name(info);
    child->atom = (cop_atom){id, slot->reserved};
    child->index = index;
    child->key = name != NULL ? cop__name_segment(name) : NULL;
    child->key_length = name != NULL ? cop__name_length(name) : 0;
    return cop_read_slow_(&run->public, child->atom, &child->value);
}

cop_status
cop_read_each(cop_evaluation *evaluation, cop_atom branch, cop_each_function function,
              void *context, int *stopped)
{
    cop__evaluator *run = run_of(evaluation);
    const cop__slot *slot;
    int stop = 0;
    cop_status status = open_branch(run, branch, &slot);
    if (stopped != NULL)
        *stopped = 0;
    if (status != COP_OK)
        return status;
    cop__list_walk walk;
    uint32_t id, index = 0;
    cop__list_walk_begin(view_of(run), slot, &walk);
    while (stop == 0 && cop__list_walk_next(view_of(run), &walk, &id)) {
        cop_child child;
        status = child_read(run, id, index++, &child);
        if (status != COP_OK)
            return status;
        stop = function(context, &child);
    }
    if (stopped != NULL)
        *stopped = stop;
    return COP_OK;
}

/* ---- helpers of functions ---- */

/* A number of the wanted type out of a value: an i64 serves as f64. */
static bool
payload_of(const cop_value *value, cop_type wanted, uint64_t *payload)
{
    if (value->type == COP_I64 && wanted == COP_F64) {
        double number = (double)cop_value_i64(value);
        memcpy(payload, &number, sizeof *payload);
        return true;
    }
    memcpy(payload, &value->small.words[1], sizeof *payload);
    return value->type == wanted;
}

/* The slow side of a typed read. word: what was read, NULL: nothing yet. */
cop_status
cop_read_typed_(cop_evaluation *evaluation, cop_atom atom, cop_type wanted, const uint64_t *word,
                uint64_t *payload)
{
    cop__evaluator *run = run_of(evaluation);
    cop_value value;
    cop_status status = COP_OK;
    *payload = 0;
    if (word != NULL)
        cop__slot_read((const cop__slot *)(const void *)word, &value);
    else
        status = cop_read_slow_(evaluation, atom, &value);
    if (status != COP_OK || payload_of(&value, wanted, payload))
        return status;
    *payload = 0;
    if (!slow_begin(run)) /* so that the run's end forgets what is noted here */
        return COP_E_MEMORY;
    note_failure(run, &value);
    if (value.type == COP_ERROR)
        return COP_E_FAILED;
    if (run->message[0] == 0)
        (void)cop_fail(evaluation, "expected %s, found %s", cop_type_name(wanted),
                       cop_type_name((cop_type)value.type));
    return COP_E_TYPE;
}

void *
cop_scratch(cop_evaluation *evaluation, size_t size)
{
    cop__evaluator *run = run_of(evaluation);
    size_t bytes = sizeof(cop__scratch) + size;
    if (bytes < size || (run->stuck == COP_OK && !slow_begin(run))) /* the slow way's end frees it */
        return NULL;
    cop__scratch *scratch = cop__memory_alloc(run->graph->memory, COP_MEMORY_GRAPH, bytes, 16);
    if (scratch == NULL) {
        run->no_scratch = true;
        return NULL;
    }
    *scratch = (cop__scratch){run->scratch, bytes};
    run->scratch = scratch;
    return scratch + 1;
}

cop_status
cop_fail(cop_evaluation *evaluation, const char *format, ...)
{
    cop__evaluator *run = run_of(evaluation);
    va_list arguments;
    if (run->stuck == COP_OK && !slow_begin(run)) /* so that the run's end forgets the message */
        return COP_E_MEMORY;
    va_start(arguments, format);
    (void)vsnprintf(run->message, sizeof run->message, format, arguments);
    va_end(arguments);
    if (run->message[0] == 0)
        memcpy(run->message, "failed", sizeof "failed");
    return COP_E_FAILED;
}

/* ---- results ---- */

static void
result_error(cop_value *result, const char *text)
{
    *result = cop_error_value(text, strlen(text));
}

/* An error value read the short way left no note but its place in the list. */
static void
find_failure(cop__evaluator *run)
{
    const uint64_t *list = run->slow ? run->list : cop__dependencies(run->graph, run->node);
    size_t n = run->slow ? run->count : (size_t)(run->public.cursor_ - list);
    while (n-- > 0 && run->failed.type != COP_ERROR) {
        cop_atom atom = {(uint32_t)list[n], (uint32_t)(list[n] >> 32)};
        const cop__slot *slot =
            (list[n] & COP_DEPENDS_WHAT) == COP_DEPENDS_VALUE ? atom_slot(run, atom) : NULL;
        if (slot != NULL && cop__slot_type(slot) == COP_ERROR)
            cop__slot_read(slot, &run->failed);
    }
}

/* A status becomes an error value: what cop_fail said, else what the function read, else its name. */
static void
result_failed(cop__evaluator *run, cop_status status, cop_value *result)
{
    run->errors++;
    if (status == COP_E_FAILED && run->message[0] == 0)
        find_failure(run);
    if (status == COP_E_FAILED && run->failed.type == COP_ERROR && run->message[0] == 0)
        *result = run->failed;
    else if (status == COP_E_MEMORY && run->no_scratch)
        *result = cop__unfit_value();
    else
        result_error(result, run->message[0] != 0 ? run->message : cop_status_message(status));
}

/* Makes what a function answered a value that may be stored. */
static void
run_result(cop__evaluator *run, cop_status status, cop_value *result)
{
    if (status != COP_OK)
        result_failed(run, status < 0 ? status : COP_E_FAILED, result);
    else if (result->type == COP_F64 && !isfinite(cop_value_f64(result)))
        result_error(result, "the result is not a finite number");
    else if (run->node != NULL && (run->node->flags & COP_NODE_BRANCH)) /* what it emitted is the result */
        *result = result->type == COP_ERROR ? *result : cop_null();
    else if (result->type == COP_NONE || result->type >= COP_OBJECT)
        result_error(result, "the result is no value");
    result->reserved = 0;
}

void
cop__run_reset(cop__evaluator *run)
{
    run->stuck = COP_OK;
    run->apart = COP_RUN_DONE;
    run->slow = false;
    run->no_scratch = false;
    run->above = 0;
    run->count = 0;
    run->failed.type = COP_NONE;
    run->message[0] = 0;
    run->public.table_ = (const char *)run->graph->tree->space[COP_SPACE_VALUES].entry;
    if (run->scratch != NULL)
        cop__run_scratch_end(run);
}

void
cop__run_on_snapshot(cop__evaluator *run, const cop_snapshot *snapshot, struct cop__session *session)
{
    run->snapshot = snapshot;
    run->session = session;
    run->slow = true;
    run->public.cursor_ = &no_list;
}

cop_status
cop__run_function(cop__evaluator *run, cop__node *node, uint32_t limit, cop_value *result)
{
    run->node = node;
    run->limit = limit;
    run->public.cursor_ = cop__dependencies(run->graph, node);
    /* The short way does not ask whether what it reads is final: a sweep knows, pulling does not. */
    if ((node->flags & (COP_NODE_POISONED | COP_NODE_FRESH | COP_NODE_CYCLE)) || limit < node->height) {
        run->slow = true;
        run->public.cursor_ = &no_list;
    }
    if (node->flags & COP_NODE_BRANCH)
        cop__own_begin(run->graph, node);
    *result = cop_null();
    return node->function(&run->public, node->context, result);
}

enum cop__outcome
cop__run_finish(cop__evaluator *run, cop_status status, cop_value *result)
{
    if (run->stuck == COP_E_MEMORY)
        return COP_RUN_REFUSED;
    if (run->apart != COP_RUN_DONE)
        return run->apart;
    if (run->stuck != COP_OK)
        return COP_RUN_STUCK;
    run_result(run, status, result);
    if (!run->slow && *run->public.cursor_ == COP_DEPENDENCY_END)
        return COP_RUN_DONE;
    return slow_begin(run) ? COP_RUN_RELISTED : COP_RUN_REFUSED;
}

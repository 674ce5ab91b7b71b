/* SPDX-License-Identifier: MIT */
/* Ids, undo and memory around one reducer. Each operation first gets all it needs, then cannot
 * fail. */
#include "reduce/reduction.h"

#include "reduce/index.h"
#include "reduce/undo.h"

struct cop__reduction {
    cop__reduce_space space;
    cop__record_index ids;
    cop__reduce_undo undo;
    cop__reducer reducer;
};

cop_status
cop__reduction_open(cop__memory *memory, const cop__reduce_rule *rule, cop__reduction **reduction)
{
    cop_status status = cop__reduce_rule_check(rule);
    *reduction = NULL;
    if (status != COP_OK)
        return status;
    cop__reduction *r = cop__memory_alloc(memory, COP_MEMORY_GRAPH, sizeof *r, 16);
    if (!r)
        return COP_E_MEMORY;
    cop__reduce_space_init(&r->space, memory, rule);
    cop__record_index_init(&r->ids, memory);
    cop__reduce_undo_init(&r->undo, memory);
    cop__reducer_init(&r->reducer, &r->space);
    *reduction = r;
    return COP_OK;
}

void
cop__reduction_close(cop__reduction *r)
{
    if (!r)
        return;
    cop__memory *memory = r->space.memory;
    cop__reducer_end(&r->reducer, &r->space);
    cop__reduce_undo_end(&r->undo);
    cop__record_index_end(&r->ids);
    cop__reduce_space_end(&r->space);
    cop__memory_free(memory, COP_MEMORY_GRAPH, r, sizeof *r, 16);
}

static cop__treap_node *
node_at(const cop__reduction *r, uint32_t number)
{
    return cop__treap_node_at(&r->space.nodes, number);
}

/* Room that only a mark keeps. */
static void
trim(cop__reduction *r)
{
    if (r->undo.open)
        return;
    cop__reducer_trim(&r->reducer, &r->space);
    cop__record_index_trim(&r->ids);
    cop__records_trim(&r->space.nodes);
}

/* --- changes of the content, which are given what they need --------------------------- */

static void
put_in(cop__reduction *r, uint32_t number, uint32_t id, const cop__name *name,
       const cop_value *value)
{
    cop__treap_node *node = node_at(r, number);
    cop__treap_node_name(node, id, name);
    node->value = *value;
    cop__record_index_insert(&r->ids, cop__record_index_mix(id), number);
    cop__reducer_insert(&r->reducer, &r->space, number);
}

static void
take_out(cop__reduction *r, uint32_t number)
{
    uint32_t id = node_at(r, number)->id;
    cop__reducer_remove(&r->reducer, &r->space, number);
    cop__record_index_remove(&r->ids, cop__record_index_mix(id), number);
    cop__records_give(&r->space.nodes, number);
}

static void
remember(cop__reduction *r, cop__reduce_undo_kind kind, uint32_t number)
{
    const cop__treap_node *node = node_at(r, number);
    cop__reduce_undo_note(&r->undo, kind, node, &node->value, 0);
}

/* --- operations ------------------------------------------------------------------------- */

/* 0: out of memory. */
static uint32_t
node_for(cop__reduction *r, const cop_value *value)
{
    if (!cop__reduce_undo_reserve(&r->undo) || !cop__record_index_reserve(&r->ids) ||
        !cop__reducer_reserve(&r->reducer, &r->space, value))
        return 0;
    return cop__records_take(&r->space.nodes);
}

cop_status
cop__reduction_insert(cop__reduction *r, uint32_t id, const cop__name *name,
                      const cop_value *value)
{
    if (cop__reduction_has(r, id))
        return COP_E_STATE;
    cop_value kept = cop__reduce_kept(value);
    uint32_t number = node_for(r, &kept);
    if (number == 0) {
        trim(r);
        return COP_E_MEMORY;
    }
    put_in(r, number, id, name, &kept);
    remember(r, COP_UNDO_INSERT, number);
    return COP_OK;
}

cop_status
cop__reduction_change(cop__reduction *r, uint32_t id, const cop_value *value)
{
    uint32_t number = cop__record_index_find(&r->ids, id);
    if (number == 0)
        return COP_E_ABSENT;
    cop_value kept = cop__reduce_kept(value);
    if (!cop__reduce_undo_reserve(&r->undo) || !cop__reducer_reserve(&r->reducer, &r->space, &kept))
        return COP_E_MEMORY;
    remember(r, COP_UNDO_CHANGE, number);
    cop__reducer_change(&r->reducer, &r->space, number, &kept);
    if (!r->undo.open)
        cop__reducer_trim(&r->reducer, &r->space);
    return COP_OK;
}

cop_status
cop__reduction_remove(cop__reduction *r, uint32_t id)
{
    uint32_t number = cop__record_index_find(&r->ids, id);
    if (number == 0)
        return COP_E_ABSENT;
    if (!cop__reduce_undo_reserve(&r->undo))
        return COP_E_MEMORY;
    remember(r, COP_UNDO_REMOVE, number);
    take_out(r, number);
    trim(r);
    return COP_OK;
}

bool
cop__reduction_has(const cop__reduction *r, uint32_t id)
{
    return cop__record_index_find(&r->ids, id) != 0;
}

uint32_t
cop__reduction_size(const cop__reduction *r)
{
    return r->ids.count;
}

/* --- undo ------------------------------------------------------------------------------- */

void
cop__reduction_mark(cop__reduction *r)
{
    cop__reduce_undo_open(&r->undo);
}

void
cop__reduction_commit(cop__reduction *r)
{
    cop__reduce_undo_close(&r->undo);
    trim(r);
}

static void
take_back(void *content, const cop__reduce_undo_entry *entry)
{
    cop__reduction *r = content;
    uint32_t number = cop__record_index_find(&r->ids, entry->id);
    switch ((cop__reduce_undo_kind)entry->kind) {
    case COP_UNDO_INSERT:
        take_out(r, number);
        break;
    case COP_UNDO_CHANGE:
        cop__reducer_change(&r->reducer, &r->space, number, &entry->value);
        break;
    case COP_UNDO_GROUP:
        break;
    case COP_UNDO_REMOVE:
        number = cop__records_take(&r->space.nodes);
        COP_ALWAYS(number != 0);
        put_in(r, number, entry->id, entry->name, &entry->value);
        break;
    }
}

void
cop__reduction_rollback(cop__reduction *r)
{
    if (cop__reduce_undo_back(&r->undo, take_back, r))
        cop__reducer_distrust(&r->reducer, &r->space);
    trim(r);
}

/* --- results ---------------------------------------------------------------------------- */

void
cop__reduction_result(cop__reduction *r, char *text, size_t capacity, cop_value *result)
{
    cop__reducer_result(&r->reducer, &r->space, text, capacity, result);
}

void
cop__reduction_top(const cop__reduction *r, cop__top_walk *walk)
{
    cop__top_begin(&r->reducer, &r->space, walk);
}

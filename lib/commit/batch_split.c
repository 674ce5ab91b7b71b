/* SPDX-License-Identifier: MIT */
/* Where a full batch is split: see batch_split.h. */
#include "commit/batch_split.h"

#include "commit/step.h"
#include "tree/directory.h"

#define EFFORT 65536u
#define NODE_KEY (UINT64_C(1) << 32)

/* True when there is no more to find out. */
static bool
meet(cop__overlap *o, uint64_t key)
{
    uint32_t place = (uint32_t)((key * UINT64_C(0x9e3779b97f4a7c15)) >> 48);
    uint64_t *word = &o->bits[place / 64], bit = UINT64_C(1) << place % 64;
    if (o->effort == 0)
        return true;
    o->effort--;
    if (!o->look)
        *word |= bit;
    else if (*word & bit)
        o->met = true;
    return o->met;
}

static bool
meet_node(void *context, uint32_t node)
{
    return !meet(context, node | NODE_KEY);
}

static void
meet_atom(cop__overlap *o, const cop__graph *graph, uint32_t id)
{
    if (!meet(o, id) && id < graph->record_count)
        (void)cop__dependents_each(graph, &graph->records[id].dependents, meet_node, o);
}

/* One that is not there yet: known by where it will be. */
static void
meet_text(cop__overlap *o, uint32_t anchor, const char *text, size_t length)
{
    (void)meet(o, cop__path_hash(0, anchor, text, length) | UINT64_C(1) << 63);
}

static void
meet_path(cop__overlap *o, const cop_store *store, const cop__op *op)
{
    cop_atom atom;
    if (cop_find(store->tree.root, op->text, op->number, &atom) == COP_OK)
        meet_atom(o, &store->graph, atom.id);
    else
        meet_text(o, 0, op->text, op->number);
}

static void
meet_child(cop__overlap *o, const cop_store *store, const cop__op *op)
{
    const cop_snapshot *root = store->tree.root;
    const cop__slot *slot = cop__root_atom(root, op->target);
    if (slot == NULL || cop__slot_type(slot) != COP_OBJECT)
        return; /* it cannot be applied */
    cop__view view = {root, NULL};
    cop__named child = cop__child_find(view, op->target.id, op->text, op->number);
    if (child.name != NULL)
        meet_atom(o, &store->graph, child.id);
    else
        meet_text(o, op->target.id, op->text, op->number);
}

static void
meet_operation(cop__overlap *o, const cop_store *store, const cop__op *op)
{
    switch (op->code) {
    case COP_OP_SET_AT:
    case COP_OP_ERASE_AT:
    case COP_OP_CLEAR_AT:
        meet_path(o, store, op);
        break;
    case COP_OP_SET_CHILD:
    case COP_OP_ERASE_CHILD:
        if (op->target.generation != COP_PROVISIONAL)
            meet_child(o, store, op);
        break;
    case COP_OP_CREATE:
    case COP_OP_DEFINE:
        break; /* nobody else can write it, or depends on it */
    default:
        if (op->target.generation != COP_PROVISIONAL)
            meet_atom(o, &store->graph, op->target.id);
        break;
    }
}

static void
meet_transaction(cop__overlap *o, const cop_store *store, const cop_txn *txn, bool look)
{
    o->look = look;
    o->met = false;
    for (size_t i = 0; i < txn->op_count && !o->met && o->effort > 0; i++)
        meet_operation(o, store, &txn->ops[i]);
}

void
cop__overlap_of(cop__overlap *o, cop_store *store, const cop_txn *chain)
{
    memset(o, 0, sizeof *o);
    o->effort = EFFORT;
    for (; chain != NULL; chain = chain->batch_next)
        meet_transaction(o, store, chain, false);
}

bool
cop__overlap_joins(cop__overlap *o, cop_store *store, const cop_txn *txn)
{
    meet_transaction(o, store, txn, true);
    bool joins = o->met;
    if (joins)
        meet_transaction(o, store, txn, false);
    return joins;
}

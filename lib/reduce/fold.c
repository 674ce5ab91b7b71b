/* SPDX-License-Identifier: MIT */
/* Folding over a treap, without recursion: down to the dirty nodes, and up again by parent links.
 */
#include "reduce/fold.h"

#include "reduce/number.h"

bool
cop__fold_takes(const cop_value *value)
{
    return value->type == COP_BOOL || cop__number_is(value) ||
           (value->type == COP_STRING && value->inlined != COP_VALUE_OUTSIDE);
}

cop_value
cop__fold_failure(cop_status status)
{
    return cop_value_of(COP_NONE, (uint64_t)(int64_t)status);
}

cop_status
cop__fold_status(const cop_value *failure)
{
    return (cop_status)cop_value_i64(failure);
}

void
cop__fold_combine(cop_combine_function combine, void *context, cop_value *into,
                  const cop_value *value)
{
    if (into->type == COP_NONE)
        return;
    if (value->type == COP_NONE) {
        *into = *value;
        return;
    }
    cop_status status = combine(context, into, value);
    if (status < 0)
        *into = cop__fold_failure(status);
    else if (!cop__fold_takes(into))
        *into = cop__fold_failure(COP_E_TYPE);
}

static cop__fold_node *
fold_node(const cop__records *nodes, uint32_t number)
{
    return cop__records_at(nodes, number);
}

/* The children are up to date. */
static void
refresh(const cop__records *nodes, cop__fold_node *at, cop_combine_function combine, void *context)
{
    cop_value folded = at->node.value;
    if (at->node.left != 0) {
        folded = fold_node(nodes, at->node.left)->folded;
        cop__fold_combine(combine, context, &folded, &at->node.value);
    }
    if (at->node.right != 0)
        cop__fold_combine(combine, context, &folded, &fold_node(nodes, at->node.right)->folded);
    at->folded = folded;
    at->node.dirty = 0;
}

static bool
is_dirty(const cop__records *nodes, uint32_t number)
{
    return number != 0 && cop__treap_node_at(nodes, number)->dirty;
}

/* Each step either goes down to a dirty node, of which there is a finite number, or cleans one. */
cop_value
cop__fold_result(const cop__treap *treap, const cop__records *nodes, cop_combine_function combine,
                 void *context)
{
    uint32_t at = is_dirty(nodes, treap->root) ? treap->root : 0;
    while (at != 0) {
        cop__fold_node *here = fold_node(nodes, at);
        if (is_dirty(nodes, here->node.left)) {
            at = here->node.left;
        } else if (is_dirty(nodes, here->node.right)) {
            at = here->node.right;
        } else {
            refresh(nodes, here, combine, context);
            at = here->node.parent;
        }
    }
    return fold_node(nodes, treap->root)->folded;
}

cop_status
cop__fold_min(void *context, cop_value *accumulator, const cop_value *value)
{
    (void)context;
    if (cop__number_compare(value, accumulator) < 0)
        *accumulator = *value;
    return COP_OK;
}

cop_status
cop__fold_max(void *context, cop_value *accumulator, const cop_value *value)
{
    (void)context;
    if (cop__number_compare(value, accumulator) > 0)
        *accumulator = *value;
    return COP_OK;
}

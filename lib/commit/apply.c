/* SPDX-License-Identifier: MIT */
/*
 * Applying a transaction's operations to the draft, under the commit right.
 *
 * Every operation first finds out whether it can be done, then does it; only memory can fail it
 * half-way, and then the whole draft is abandoned.
 */
#include "commit/txn.h"
#include "effect/scope_define.h"
#include "graph/lazy.h"
#include "tree/atoms.h"
#include "tree/path.h"

static cop__view
draft_view(const cop__tree *tree)
{
    return (cop__view){NULL, tree};
}

/* COP_OK when done, else out of memory. */
static cop_status
done(bool success)
{
    return success ? COP_OK : COP_E_MEMORY;
}

/* The atom that an operation works on: a handle, or what an earlier operation made. */
static const cop__slot *
target_slot(const cop_txn *txn, cop_atom target, const cop__tree *tree, cop_atom *atom)
{
    *atom = target.generation == COP_PROVISIONAL ? txn->ops[target.id].made : target;
    return cop__draft_atom(tree, *atom);
}

/* The same for an operation on a branch of one kind. */
static cop_status
target_branch(const cop_txn *txn, cop_atom target, const cop__tree *tree, cop_type kind,
              cop_atom *atom, const cop__slot **slot)
{
    *slot = target_slot(txn, target, tree, atom);
    if (*slot == NULL)
        return COP_E_GONE;
    return cop__slot_type(*slot) == kind ? COP_OK : COP_E_NOT_BRANCH;
}

/* ---- arithmetic ---- */

static cop_status
add_numbers(const cop_value *a, const cop_value *b, cop_value *sum)
{
    if (a->type == COP_I64 && b->type == COP_I64) {
        int64_t total;
        if (__builtin_add_overflow(cop_value_i64(a), cop_value_i64(b), &total))
            return COP_E_RANGE;
        *sum = cop_i64(total);
        return COP_OK;
    }
    double x = a->type == COP_I64 ? (double)cop_value_i64(a) : cop_value_f64(a);
    double y = b->type == COP_I64 ? (double)cop_value_i64(b) : cop_value_f64(b);
    *sum = cop_f64(x + y);
    return COP_OK;
}

/* True when b is greater; both are of one type. A NaN is never greater. */
static bool
number_greater(const cop_value *a, const cop_value *b)
{
    if (a->type == COP_I64)
        return cop_value_i64(b) > cop_value_i64(a);
    return cop_value_f64(b) > cop_value_f64(a);
}

cop_status
cop__op_result(const cop__op *op, const cop_value *now, cop_value *result)
{
    switch (op->code) {
    case COP_OP_ADD:
        if (now->type != COP_I64 && now->type != COP_F64)
            return COP_E_TYPE;
        return add_numbers(now, &op->value, result);
    case COP_OP_MAX:
        if (now->type != op->value.type)
            return COP_E_TYPE;
        *result = number_greater(now, &op->value) ? op->value : *now;
        return COP_OK;
    case COP_OP_COMPARE_SET:
        *result = cop_value_equal(now, op->text) ? op->value : *now;
        return COP_OK;
    default:
        *result = op->value;
        return COP_OK;
    }
}

/* ---- writing what exists ---- */

/* Whether a value may be written over a slot: a branch with children gives way to a put only, the
 * root is always a branch, an anonymous atom never. */
static cop_status
writable(const cop__slot *slot, uint32_t id, const cop_value *value, bool put, bool *clear)
{
    *clear = false;
    bool branch = value->type >= COP_OBJECT;
    if (id == 0 ? !branch : branch && !(slot->type & COP_SLOT_NAMED))
        return COP_E_INVALID;
    if (!cop__slot_is_branch(slot) || cop__slot_type(slot) == (cop_type)value->type ||
        cop__slot_list(slot) == COP_LIST_NONE)
        return COP_OK;
    *clear = put;
    return put ? COP_OK : COP_E_BRANCH;
}

/* Written by the graph only. */
static bool
is_computed(const cop__slot *slot)
{
    return (slot->type & COP_SLOT_COMPUTED) != 0;
}

static cop_status
write_slot(cop__tree *tree, cop__op *op, uint32_t id, const cop__slot *slot, const cop_value *value)
{
    bool clear;
    if (is_computed(slot))
        return COP_E_COMPUTED;
    cop_status status = writable(slot, id, value, op->flags & COP_OP_PUT, &clear);
    if (status != COP_OK)
        return status;
    op->made = (cop_atom){id, slot->reserved};
    if (clear && !cop__atom_clear(tree, id))
        return COP_E_MEMORY;
    return done(cop__atom_write(tree, id, value));
}

static cop_status
write_atom(cop__tree *tree, cop__op *op, uint32_t id, const cop_value *value)
{
    return write_slot(tree, op, id, cop__draft_slot(tree, id), value);
}

/* null, bool, i64, f64: of a slot's or value's first bytes, with or without a name. */
static inline bool
is_plain(uint64_t head)
{
    return (head & (0xff & ~(uint64_t)COP_SLOT_NAMED)) - COP_NULL <= COP_F64 - COP_NULL;
}

/* A plain value over a plain one, which is nearly every write: nothing is owned, cleared or refused, and
 * what comes back to the published value is bit for bit what it was. */
static inline cop_status
write_plain(cop__tree *tree, cop__op *op, cop_atom atom, const uint64_t now[2],
            const uint64_t word[2])
{
    uint64_t head = (now[0] & ~COP_SLOT_VALUE) | word[0];
    uint32_t id = atom.id;
    op->made = atom;
    if (now[0] == head && now[1] == word[1])
        return COP_OK;
    cop__slot *page = cop__draft_edit(tree, COP_SPACE_VALUES, id >> COP_SLOT_BITS);
    if (cop__unlikely(page == NULL))
        return COP_E_MEMORY;
    cop__slot *slot = &page[id & (COP_SLOTS - 1)];
    memcpy(slot, &head, sizeof head);
    memcpy(&slot->small.words[1], &word[1], sizeof word[1]);
    tree->space[COP_SPACE_VALUES].entry[id >> COP_SLOT_BITS].touched |=
        UINT32_C(1) << (id & (COP_SLOTS - 1));
    return COP_OK;
}

static cop_status
apply_set(cop_txn *txn, cop__op *op, cop__tree *tree)
{
    cop_atom atom;
    const cop__slot *slot = target_slot(txn, op->target, tree, &atom);
    uint64_t now[2], word[2];
    if (slot == NULL)
        return COP_E_GONE;
    memcpy(now, slot, sizeof now);
    memcpy(word, &op->value, sizeof word);
    if (cop__likely(is_plain(now[0]) && is_plain(word[0])))
        return write_plain(tree, op, atom, now, word);
    return write_slot(tree, op, atom.id, slot, &op->value);
}

static cop_status
apply_change(cop_txn *txn, cop__op *op, cop__tree *tree)
{
    cop_atom atom;
    const cop__slot *slot = target_slot(txn, op->target, tree, &atom);
    if (slot == NULL)
        return COP_E_GONE;
    if (is_computed(slot))
        return COP_E_COMPUTED;
    if (cop__slot_is_branch(slot))
        return COP_E_TYPE;
    cop_value now = cop__slot_value(slot), result;
    if (op->code == COP_OP_COMPARE_SET)
        op->told = cop_value_equal(&now, op->text);
    cop_status status = cop__op_result(op, &now, &result);
    return status == COP_OK ? done(cop__atom_write(tree, atom.id, &result)) : status;
}

/* ---- creating ---- */

static void
made(const cop__tree *tree, cop__op *op, uint32_t id)
{
    op->made = (cop_atom){id, cop__draft_slot(tree, id)->reserved};
}

static cop_status
create_child(cop__tree *tree, cop__op *op, uint32_t object, const char *segment, size_t length,
             const cop_value *value)
{
    uint32_t id;
    if (!cop__atom_create_child(tree, object, segment, length, value, &id))
        return COP_E_MEMORY;
    made(tree, op, id);
    return COP_OK;
}

static cop_status
apply_set_child(cop_txn *txn, cop__op *op, cop__tree *tree)
{
    cop_atom object;
    const cop__slot *slot;
    cop_status status = target_branch(txn, op->target, tree, COP_OBJECT, &object, &slot);
    if (status != COP_OK)
        return status;
    cop__named child = cop__child_find(draft_view(tree), object.id, op->text, op->number);
    if (is_computed(slot))
        return COP_E_COMPUTED;
    if (child.name != NULL)
        return write_atom(tree, op, child.id, &op->value);
    if (!cop__name_fits(tree, object.id, op->number))
        return COP_E_LIMIT;
    return create_child(tree, op, object.id, op->text, op->number, &op->value);
}

static cop_status
insert_element(cop__tree *tree, cop__op *op, uint32_t array, uint32_t position,
               const cop_value *value)
{
    uint32_t id;
    if (!cop__atom_insert(tree, array, position, value, &id))
        return COP_E_MEMORY;
    made(tree, op, id);
    return COP_OK;
}

static cop_status
apply_insert(cop_txn *txn, cop__op *op, cop__tree *tree)
{
    cop_atom array;
    const cop__slot *slot;
    cop_status status = target_branch(txn, op->target, tree, COP_ARRAY, &array, &slot);
    if (status != COP_OK)
        return status;
    uint32_t count = cop__list_count(draft_view(tree), slot);
    uint32_t position = op->number == COP_AT_END ? count : op->number;
    if (is_computed(slot))
        return COP_E_COMPUTED;
    if (position > count)
        return COP_E_RANGE;
    if (op->code == COP_OP_ELEMENT && position < count)
        return write_atom(tree, op, cop__list_at(draft_view(tree), slot, position), &op->value);
    return insert_element(tree, op, array.id, position, &op->value);
}

static cop_status
apply_create(cop_txn *txn, cop__op *op, cop__tree *tree)
{
    uint32_t id;
    (void)txn;
    if (!cop__atom_create(tree, &op->value, &id))
        return COP_E_MEMORY;
    made(tree, op, id);
    return COP_OK;
}

/* The segment of a path that begins at `from`. */
static size_t
segment_end(const char *path, size_t length, size_t from)
{
    const char *slash = memchr(path + from, '/', length - from);
    return slash != NULL ? (size_t)(slash - path) : length;
}

/* Whether what is missing of a path can be made below its deepest ancestor. */
static cop_status
missing_fits(const cop__tree *tree, const char *path, size_t length, const cop__found *found)
{
    const cop__slot *slot = cop__draft_slot(tree, found->ancestor);
    size_t end = segment_end(path, length, found->rest);
    uint32_t index;
    if (is_computed(slot))
        return COP_E_COMPUTED;
    switch (cop__slot_type(slot)) {
    case COP_OBJECT:
        return cop__name_fits(tree, found->ancestor, length - found->rest) ? COP_OK : COP_E_LIMIT;
    case COP_ARRAY:
        if (end - found->rest == 1 && path[found->rest] == '-')
            return COP_OK;
        if (!cop__segment_index(path + found->rest, end - found->rest, &index) ||
            index != cop__list_count(draft_view(tree), slot))
            return COP_E_RANGE;
        return length - end <= COP_PATH_MAX ? COP_OK : COP_E_LIMIT;
    default:
        return COP_E_NOT_BRANCH;
    }
}

/* Makes what is missing of a path, segment by segment: objects, and the value at the end. */
static cop_status
make_missing(cop__tree *tree, cop__op *op, const char *path, size_t length, cop__found found)
{
    const cop_value object = cop_object();
    uint32_t at = found.ancestor;
    cop_status status = COP_OK;
    for (size_t from = found.rest; status == COP_OK && from <= length;) {
        size_t end = segment_end(path, length, from);
        const cop_value *value = end == length ? &op->value : &object;
        if (cop__slot_type(cop__draft_slot(tree, at)) == COP_ARRAY)
            status = insert_element(tree, op, at, COP_AT_END, value);
        else
            status = create_child(tree, op, at, path + from, end - from, value);
        at = op->made.id;
        from = end + 1;
    }
    return status;
}

static cop_status
apply_set_at(cop_txn *txn, cop__op *op, cop__tree *tree)
{
    (void)txn;
    const char *path = op->text;
    cop__found found = cop__path_resolve(draft_view(tree), path, op->number);
    if (found.found)
        return write_atom(tree, op, found.id, &op->value);
    cop_status status = missing_fits(tree, path, op->number, &found);
    return status == COP_OK ? make_missing(tree, op, path, op->number, found) : status;
}

/* ---- defining ---- */

static cop_status
apply_define(cop_txn *txn, cop__op *op, cop__tree *tree)
{
    const cop__definition *definition = op->text;
    cop_status status = COP_OK;
    if (definition->scoped != NULL && !cop__scoped_begin(definition->scoped))
        return COP_E_STATE;
    if (definition->path == NULL) {
        status = apply_create(txn, op, tree);
    } else {
        cop__found found = cop__path_resolve(draft_view(tree), definition->path, definition->length);
        if (found.found)
            return COP_E_STATE;
        status = missing_fits(tree, definition->path, definition->length, &found);
        if (status == COP_OK)
            status = make_missing(tree, op, definition->path, definition->length, found);
    }
    cop__slot *slot = status == COP_OK ? cop__slot_edit(tree, op->made.id) : NULL;
    if (slot == NULL)
        return status != COP_OK ? status : COP_E_MEMORY;
    slot->type |= COP_SLOT_COMPUTED;
    if (definition->out != NULL)
        *definition->out = op->made;
    if (definition->scoped != NULL)
        cop__scoped_made(definition->scoped, op->made);
    if (definition->kind != COP_EAGER)
        return done(cop__lazy_define(&txn->store->graph, definition, op->made, slot));
    return done(cop__graph_define(&txn->store->graph, definition, op->made.id));
}

/* What a background atom's function came to. */
static cop_status
apply_result(cop_txn *txn, cop__op *op, cop__tree *tree)
{
    cop__graph *graph = &txn->store->graph;
    const cop__slot *slot = cop__draft_atom(tree, op->target);
    bool first;
    uint64_t version;
    if (slot == NULL)
        return COP_E_GONE;
    op->made = op->target;
    memcpy(&version, op->text, sizeof version);
    cop__lazy *lazy = cop__lazy_of(graph, op->target);
    if (lazy->origin_count > 0 && cop__slot_holds(slot, &op->value))
        return COP_OK; /* it came from where it came from */
    if (!cop__lazy_origin_add(graph, lazy, version, &first))
        return COP_E_MEMORY;
    tree->now.structure |= first; /* null is a result too: a version tells it from none */
    return done(cop__atom_write(tree, op->target.id, &op->value));
}

/* ---- erasing ---- */

/* In a branch that a computed atom owns: goes with it only. */
static bool
is_owned(const cop__tree *tree, uint32_t id)
{
    uint32_t parent = cop__info_parent(draft_view(tree), cop__draft_info(tree, id));
    return parent != UINT32_MAX && is_computed(cop__draft_slot(tree, parent));
}

static cop_status
apply_erase(cop_txn *txn, cop__op *op, cop__tree *tree)
{
    cop_atom atom;
    if (target_slot(txn, op->target, tree, &atom) == NULL)
        return COP_E_GONE;
    if (atom.id == 0)
        return COP_E_INVALID;
    if (is_owned(tree, atom.id))
        return COP_E_COMPUTED;
    return done(cop__atom_erase(tree, atom.id));
}

static cop_status
apply_clear(cop_txn *txn, cop__op *op, cop__tree *tree)
{
    cop_atom atom;
    const cop__slot *slot = target_slot(txn, op->target, tree, &atom);
    if (slot == NULL)
        return COP_E_GONE;
    if (is_computed(slot))
        return COP_E_COMPUTED;
    return done(cop__atom_clear(tree, atom.id));
}

static cop_status
apply_at(cop_txn *txn, cop__op *op, cop__tree *tree)
{
    (void)txn;
    cop__found found = cop__path_resolve(draft_view(tree), op->text, op->number);
    if (!found.found)
        return COP_E_ABSENT;
    if (is_owned(tree, found.id) ||
        (op->code == COP_OP_CLEAR_AT && is_computed(cop__draft_slot(tree, found.id))))
        return COP_E_COMPUTED;
    return done(op->code == COP_OP_CLEAR_AT ? cop__atom_clear(tree, found.id)
                                            : cop__atom_erase(tree, found.id));
}

static cop_status
apply_erase_child(cop_txn *txn, cop__op *op, cop__tree *tree)
{
    cop_atom object;
    const cop__slot *slot;
    cop_status status = target_branch(txn, op->target, tree, COP_OBJECT, &object, &slot);
    if (status != COP_OK)
        return status;
    if (is_computed(slot))
        return COP_E_COMPUTED;
    cop__named child = cop__child_find(draft_view(tree), object.id, op->text, op->number);
    return done(child.name == NULL || cop__atom_erase(tree, child.id));
}

/* ---- arranging ---- */

static int
compare_ids(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static bool
is_among(const uint32_t *sorted, uint32_t n, uint32_t id)
{
    return bsearch(&id, sorted, n, sizeof id, compare_ids) != NULL;
}

/* Collects the children that are not to stay, then erases them. */
static bool
erase_others(cop__tree *tree, uint32_t branch, const uint32_t *sorted, uint32_t n, uint32_t *others)
{
    cop__list_walk walk;
    uint32_t id, count = 0;
    cop__list_walk_begin(draft_view(tree), cop__draft_slot(tree, branch), &walk);
    while (cop__list_walk_next(draft_view(tree), &walk, &id))
        if (!is_among(sorted, n, id))
            others[count++] = id;
    for (uint32_t i = 0; i < count; i++)
        if (!cop__atom_erase(tree, others[i]))
            return false;
    return true;
}

static cop_status
apply_arrange(cop_txn *txn, cop__op *op, cop__tree *tree)
{
    cop_atom branch;
    const cop__slot *slot = target_slot(txn, op->target, tree, &branch);
    if (slot == NULL)
        return COP_E_GONE;
    if (!cop__slot_is_branch(slot))
        return COP_E_NOT_BRANCH;
    if (is_computed(slot))
        return COP_E_COMPUTED;
    uint32_t n = op->number, have = cop__list_count(draft_view(tree), slot);
    if (n == 0)
        return done(cop__atom_clear(tree, branch.id));
    size_t bytes = ((size_t)n * 2 + have) * sizeof(uint32_t);
    uint32_t *ids = cop__memory_alloc(tree->memory, COP_MEMORY_TABLES, bytes, 16);
    if (ids == NULL)
        return COP_E_MEMORY;
    const uint32_t *ops = op->text;
    for (uint32_t i = 0; i < n; i++)
        ids[i] = ids[n + i] = txn->ops[ops[i]].made.id;
    qsort(ids + n, n, sizeof *ids, compare_ids);
    bool twice = false;
    for (uint32_t i = 1; i < n; i++)
        twice |= ids[n + i] == ids[n + i - 1];
    if (twice) {
        cop__memory_free(tree->memory, COP_MEMORY_TABLES, ids, bytes, 16);
        return COP_E_INVALID;
    }
    bool success = (have == n || erase_others(tree, branch.id, ids + n, n, ids + 2 * (size_t)n)) &&
                   cop__list_reorder(tree, branch.id, ids, n);
    cop__memory_free(tree->memory, COP_MEMORY_TABLES, ids, bytes, 16);
    return done(success);
}

static cop_status
apply_find(cop_txn *txn, cop__op *op, cop__tree *tree)
{
    (void)txn;
    cop__found found = cop__path_resolve(draft_view(tree), op->text, op->number);
    if (!found.found)
        return COP_E_ABSENT;
    made(tree, op, found.id);
    return COP_OK;
}

/* The parent of a living child; NULL: it has none, or is gone. */
static const cop__slot *
parent_slot(const cop_txn *txn, cop_atom target, const cop__tree *tree, cop_atom *child,
            uint32_t *parent)
{
    if (target_slot(txn, target, tree, child) == NULL)
        return NULL;
    *parent = cop__info_parent(draft_view(tree), cop__draft_info(tree, child->id));
    return *parent != UINT32_MAX ? cop__draft_slot(tree, *parent) : NULL;
}

static cop_status
apply_place(cop_txn *txn, cop__op *op, cop__tree *tree)
{
    cop_atom child, before;
    uint32_t branch, other, after = COP_LIST_FIRST;
    const cop__slot *slot = parent_slot(txn, op->target, tree, &child, &branch);
    if (slot == NULL)
        return COP_E_GONE;
    if (is_computed(slot))
        return COP_E_COMPUTED;
    if (op->text != NULL) {
        if (parent_slot(txn, *(const cop_atom *)op->text, tree, &before, &other) != slot)
            return COP_E_GONE;
        after = before.id;
    }
    return done(cop__list_place(tree, branch, child.id, after));
}

/* ---- the table ---- */

typedef cop_status (*apply_function)(cop_txn *txn, cop__op *op, cop__tree *tree);

static const apply_function apply_table[] = {
    [COP_OP_SET] = apply_set,
    [COP_OP_SET_AT] = apply_set_at,
    [COP_OP_SET_CHILD] = apply_set_child,
    [COP_OP_INSERT] = apply_insert,
    [COP_OP_CREATE] = apply_create,
    [COP_OP_ERASE] = apply_erase,
    [COP_OP_ERASE_AT] = apply_at,
    [COP_OP_ERASE_CHILD] = apply_erase_child,
    [COP_OP_CLEAR] = apply_clear,
    [COP_OP_CLEAR_AT] = apply_at,
    [COP_OP_ADD] = apply_change,
    [COP_OP_MAX] = apply_change,
    [COP_OP_COMPARE_SET] = apply_change,
    [COP_OP_ELEMENT] = apply_insert,
    [COP_OP_ARRANGE] = apply_arrange,
    [COP_OP_AT] = apply_find,
    [COP_OP_PLACE] = apply_place,
    [COP_OP_DEFINE] = apply_define,
    [COP_OP_STEP] = cop__doc_step_apply,
    [COP_OP_RESULT] = apply_result,
};

/* Operations between asking for a page's entry and applying: more than the combiner leaves between
 * asking for the page, for which it reads the entry, and applying. */
#define ENTRIES_AHEAD 32u

cop_status
cop__txn_apply(cop_txn *txn, size_t i, cop__tree *tree)
{
    cop__op *op = &txn->ops[i];
    if (i + ENTRIES_AHEAD < txn->op_count)
        cop__draft_prefetch_entry(tree, txn->ops[i + ENTRIES_AHEAD].target.id);
    cop_status status = apply_table[op->code](txn, op, tree);
    return tree->failed != COP_OK ? tree->failed : status;
}

void
cop__txn_tell(cop_txn *txn)
{
    for (size_t i = 0; i < txn->out_count; i++) {
        const cop__op *op = &txn->ops[txn->outs[i].op];
        if (txn->outs[i].atom != NULL)
            *txn->outs[i].atom = op->made;
        if (txn->outs[i].told != NULL)
            *txn->outs[i].told = op->told;
    }
}

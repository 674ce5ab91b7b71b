/* SPDX-License-Identifier: MIT */
/*
 * Applying the steps of patches to the draft, under the commit right: see step.h.
 *
 * A step that fails half-way leaves its beginnings in the draft, which is abandoned then (the
 * combiner does not take a failed step for a clean one).
 */
#include "commit/step.h"

#include "commit/txn.h"
#include "tree/atoms.h"
#include "tree/path.h"

static cop__view
draft_view(const cop__tree *tree)
{
    return (cop__view){NULL, tree};
}

static cop_status
done(bool success)
{
    return success ? COP_OK : COP_E_MEMORY;
}

static bool
is_computed(const cop__tree *tree, uint32_t id)
{
    return (cop__draft_slot(tree, id)->type & COP_SLOT_COMPUTED) != 0;
}

static uint32_t
parent_of(const cop__tree *tree, uint32_t id)
{
    return cop__info_parent(draft_view(tree), cop__draft_info(tree, id));
}

/* ---- writing items ---- */

typedef struct level {
    uint32_t id, left; /* children still to come */
} level;

static cop_status
make_child(cop__tree *tree, uint32_t branch, const cop__item *item, uint32_t *id)
{
    if (item->key == NULL)
        return done(cop__atom_insert(tree, branch, COP_AT_END, &item->value, id));
    if (cop__child_find(draft_view(tree), branch, item->key, item->key_length).name != NULL)
        return COP_E_INVALID; /* twice in one object */
    if (!cop__name_fits(tree, branch, item->key_length))
        return COP_E_LIMIT;
    return done(
        cop__atom_create_child(tree, branch, item->key, item->key_length, &item->value, id));
}

/* What is below item[0] becomes the children of a branch that has none, `segments` below the root.
 */
static cop_status
fill(cop__tree *tree, uint32_t id, const cop__item *item, uint32_t segments)
{
    level levels[COP_DEPTH_MAX + 1];
    uint32_t depth = 0;
    levels[depth++] = (level){id, item->count};
    while (depth > 0) {
        level *top = &levels[depth - 1];
        if (top->left == 0) {
            depth--;
            continue;
        }
        top->left--;
        item++;
        if (segments + depth > COP_DEPTH_MAX)
            return COP_E_LIMIT;
        cop_status status = make_child(tree, top->id, item, &id);
        if (status != COP_OK)
            return status;
        if (item->count > 0)
            levels[depth++] = (level){id, item->count};
    }
    return COP_OK;
}

static uint32_t
segments_of(const char *path, size_t length)
{
    uint32_t n = length > 0;
    for (size_t i = 0; i < length; i++)
        n += path[i] == '/';
    return n;
}

static cop_status
overwrite(cop__tree *tree, const cop__doc_step *step, uint32_t id, const cop__item *item,
          cop_atom *made)
{
    bool branch = item->value.type >= COP_OBJECT;
    if (is_computed(tree, id))
        return COP_E_COMPUTED;
    if (id == 0 && !branch)
        return COP_E_INVALID;
    if (cop__slot_is_branch(cop__draft_slot(tree, id)) && !cop__atom_clear(tree, id))
        return COP_E_MEMORY;
    if (!cop__atom_write(tree, id, &item->value))
        return COP_E_MEMORY;
    *made = (cop_atom){id, cop__draft_slot(tree, id)->reserved};
    return fill(tree, id, item, segments_of(step->path, step->length));
}

/* ---- places ---- */

/* A path that has a last segment, and the branch above it. */
typedef struct place {
    uint32_t branch;
    const char *segment;
    size_t length;
} place;

static size_t
parent_length(const char *path, size_t length)
{
    while (length > 0 && path[length - 1] != '/')
        length--;
    return length > 0 ? length - 1 : 0;
}

static place
place_in(uint32_t branch, const char *path, size_t length)
{
    size_t above = parent_length(path, length);
    size_t skip = length > 0 && path[above] == '/' ? above + 1 : above;
    return (place){branch, path + skip, length - skip};
}

static cop_status
find_place(const cop__tree *tree, const char *path, size_t length, place *p)
{
    cop__found found = cop__path_resolve(draft_view(tree), path, parent_length(path, length));
    if (!found.found)
        return COP_E_ABSENT;
    *p = place_in(found.id, path, length);
    if (!cop__slot_is_branch(cop__draft_slot(tree, found.id)))
        return COP_E_NOT_BRANCH;
    return is_computed(tree, found.id) ? COP_E_COMPUTED : COP_OK;
}

/* The position that a segment names in an array of that many elements. */
static cop_status
array_position(const place *p, uint32_t count, uint32_t *position)
{
    *position = count;
    if (p->length == 1 && *p->segment == '-')
        return COP_OK;
    if (!cop__segment_index(p->segment, p->length, position) || *position > count)
        return COP_E_RANGE;
    return COP_OK;
}

static cop_status
add_member(cop__tree *tree, const cop__doc_step *step, const place *p, const cop__item *item,
           uint32_t *id)
{
    uint32_t count = cop__list_count(draft_view(tree), cop__draft_slot(tree, p->branch));
    uint32_t position = step->position < count ? step->position : COP_AT_END;
    if (!cop__name_fits(tree, p->branch, p->length))
        return COP_E_LIMIT;
    return done(cop__atom_create_child_at(tree, p->branch, position, p->segment, p->length,
                                          &item->value, id));
}

static cop_status
add_element(cop__tree *tree, const place *p, const cop__item *item, uint32_t *id)
{
    uint32_t position;
    uint32_t count = cop__list_count(draft_view(tree), cop__draft_slot(tree, p->branch));
    cop_status status = array_position(p, count, &position);
    return status == COP_OK ? done(cop__atom_insert(tree, p->branch, position, &item->value, id))
                            : status;
}

static cop_status
add(cop__tree *tree, const cop__doc_step *step, const cop__item *item, cop_atom *made)
{
    place p;
    uint32_t id;
    if (step->length == 0)
        return overwrite(tree, step, 0, item, made);
    cop_status status = find_place(tree, step->path, step->length, &p);
    if (status != COP_OK)
        return status;
    if (cop__slot_type(cop__draft_slot(tree, p.branch)) == COP_ARRAY) {
        status = add_element(tree, &p, item, &id);
    } else {
        cop__named child = cop__child_find(draft_view(tree), p.branch, p.segment, p.length);
        if (child.name != NULL)
            return overwrite(tree, step, child.id, item, made);
        status = add_member(tree, step, &p, item, &id);
    }
    if (status != COP_OK)
        return status;
    *made = (cop_atom){id, cop__draft_slot(tree, id)->reserved};
    return fill(tree, id, item, segments_of(step->path, step->length));
}

/* ---- the steps ---- */

static cop_status
apply_add(const cop__doc_step *step, cop__tree *tree, cop_atom *made)
{
    return add(tree, step, step->item, made);
}

static cop_status
find(const cop__tree *tree, const char *path, size_t length, uint32_t *id)
{
    cop__found found = cop__path_resolve(draft_view(tree), path, length);
    *id = found.id;
    return found.found ? COP_OK : COP_E_ABSENT;
}

static cop_status
apply_replace(const cop__doc_step *step, cop__tree *tree, cop_atom *made)
{
    uint32_t id;
    cop_status status = find(tree, step->path, step->length, &id);
    return status == COP_OK ? overwrite(tree, step, id, step->item, made) : status;
}

/* What can be taken out: not what goes with its owner only. The root is no path of such a step. */
static cop_status
find_removable(const cop__tree *tree, const char *path, size_t length, uint32_t *id)
{
    cop_status status = find(tree, path, length, id);
    if (status != COP_OK)
        return status;
    COP_ASSERT(*id != 0);
    return is_computed(tree, parent_of(tree, *id)) ? COP_E_COMPUTED : COP_OK;
}

static cop_status
apply_remove(const cop__doc_step *step, cop__tree *tree, cop_atom *made)
{
    uint32_t id;
    (void)made;
    cop_status status = find_removable(tree, step->path, step->length, &id);
    return status == COP_OK ? done(cop__atom_erase(tree, id)) : status;
}

static cop_status
take_items(const cop__doc_step *step, cop__tree *tree, uint32_t id, cop__items *items)
{
    uint64_t left = COP_DOC_COPIED_MAX - *step->copied;
    cop_status status = cop__items_take(items, draft_view(tree), id, left);
    *step->copied += items->count;
    return status;
}

static cop_status
apply_copy(const cop__doc_step *step, cop__tree *tree, cop_atom *made)
{
    cop__items items = {.memory = tree->memory};
    uint32_t id;
    cop_status status = find(tree, step->from, step->from_length, &id);
    if (status == COP_OK)
        status = take_items(step, tree, id, &items);
    if (status == COP_OK)
        status = add(tree, step, items.item, made);
    cop__items_end(&items);
    return status;
}

/* Among its siblings: it stays the atom that it is. */
static cop_status
reorder(const cop__doc_step *step, cop__tree *tree, uint32_t id, const place *p)
{
    const cop__slot *slot = cop__draft_slot(tree, p->branch);
    uint32_t position = step->position, count = cop__list_count(draft_view(tree), slot) - 1;
    bool by_path = cop__slot_type(slot) == COP_ARRAY && position == COP_AT_END;
    cop_status status = by_path ? array_position(p, count, &position) : COP_OK;
    if (status != COP_OK)
        return status;
    if (position >= count)
        position = COP_AT_END;
    if (count == 0) /* alone: removing it would drop the list */
        return COP_OK;
    return done(cop__list_remove(tree, p->branch, id) &&
                cop__list_insert(tree, p->branch, position, id));
}

static bool
same_text(const char *a, size_t n, const char *b, size_t m)
{
    return n == m && memcmp(a, b, n) == 0;
}

static cop_status
apply_move(const cop__doc_step *step, cop__tree *tree, cop_atom *made)
{
    cop__items items = {.memory = tree->memory};
    uint32_t id;
    bool same = same_text(step->path, step->length, step->from, step->from_length);
    bool siblings =
        step->length > 0 && same_text(step->path, parent_length(step->path, step->length),
                                      step->from, parent_length(step->from, step->from_length));
    cop_status status = find_removable(tree, step->from, step->from_length, &id);
    if (status != COP_OK || (same && step->position == COP_AT_END))
        return status;
    place p = place_in(parent_of(tree, id), step->path, step->length);
    if (siblings && (same || cop__slot_type(cop__draft_slot(tree, p.branch)) == COP_ARRAY))
        return reorder(step, tree, id, &p);
    status = take_items(step, tree, id, &items);
    if (status == COP_OK)
        status = done(cop__atom_erase(tree, id));
    if (status == COP_OK)
        status = add(tree, step, items.item, made);
    cop__items_end(&items);
    return status;
}

/* ---- test ---- */

/* Numbers are equal when they are the same number, as RFC 6902 wants. */
static bool
number_equal(const cop_value *a, const cop_value *b)
{
    int64_t whole = cop_value_i64(a->type == COP_I64 ? a : b);
    double real = cop_value_f64(a->type == COP_F64 ? a : b);
    if (a->type == b->type)
        return a->type == COP_I64 ? whole == cop_value_i64(b) : real == cop_value_f64(b);
    return real >= -0x1p63 && real < 0x1p63 && (double)(int64_t)real == real &&
           (int64_t)real == whole;
}

static bool
is_number(const cop_value *value)
{
    return value->type == COP_I64 || value->type == COP_F64;
}

static bool
value_holds(const cop__tree *tree, uint32_t id, const cop__item *item)
{
    const cop__slot *slot = cop__draft_slot(tree, id);
    cop_value value = cop__slot_value(slot);
    if (cop__slot_is_lazy(slot))
        return false;
    if (is_number(&value) && is_number(&item->value))
        return number_equal(&value, &item->value);
    if (!cop__slot_is_branch(slot))
        return cop_value_equal(&value, &item->value);
    return value.type == item->value.type && cop__list_count(draft_view(tree), slot) == item->count;
}

/* The child of a branch that an item is to be equal to. */
static bool
find_child(const cop__tree *tree, const level *top, uint32_t count, const cop__item *item,
           uint32_t *id)
{
    cop__view view = draft_view(tree);
    if (item->key == NULL) {
        *id = cop__list_at(view, cop__draft_slot(tree, top->id), count - top->left);
        return true;
    }
    cop__named child = cop__child_find(view, top->id, item->key, item->key_length);
    *id = child.name != NULL ? child.id : 0;
    return child.name != NULL;
}

static bool
holds(const cop__tree *tree, uint32_t id, const cop__item *item)
{
    level levels[COP_DEPTH_MAX + 1];
    uint32_t depth = 0;
    if (!value_holds(tree, id, item))
        return false;
    levels[depth++] = (level){id, item->count};
    while (depth > 0) {
        level *top = &levels[depth - 1];
        if (top->left == 0) {
            depth--;
            continue;
        }
        uint32_t count = cop__list_count(draft_view(tree), cop__draft_slot(tree, top->id));
        item++;
        if (!find_child(tree, top, count, item, &id) || !value_holds(tree, id, item))
            return false;
        top->left--;
        if (item->count > 0)
            levels[depth++] = (level){id, item->count};
    }
    return true;
}

static cop_status
apply_test(const cop__doc_step *step, cop__tree *tree, cop_atom *made)
{
    uint32_t id;
    (void)made;
    cop_status status = find(tree, step->path, step->length, &id);
    if (status != COP_OK)
        return status;
    return holds(tree, id, step->item) ? COP_OK : COP_E_STATE;
}

/* ---- the table ---- */

static const struct kind {
    const char *name;
    cop_status (*apply)(const cop__doc_step *step, cop__tree *tree, cop_atom *made);
} kinds[] = {
    [COP_DOC_ADD] = {"add", apply_add},
    [COP_DOC_REMOVE] = {"remove", apply_remove},
    [COP_DOC_REPLACE] = {"replace", apply_replace},
    [COP_DOC_MOVE] = {"move", apply_move},
    [COP_DOC_COPY] = {"copy", apply_copy},
    [COP_DOC_TEST] = {"test", apply_test},
};

const char *
cop__doc_step_name(cop__doc_step_what what)
{
    return kinds[what].name;
}

cop_status
cop__doc_step_apply(cop_txn *txn, cop__op *op, cop__tree *tree)
{
    const cop__doc_step *step = op->text;
    (void)txn;
    if (step->index == 0)
        *step->copied = 0;
    return kinds[step->what].apply(step, tree, &op->made);
}

cop_status
cop__txn_step(cop_txn *txn, const cop__doc_step *step)
{
    cop__doc_step *kept = cop__txn_bytes(txn, sizeof *kept);
    if (kept == NULL)
        return COP_E_MEMORY;
    *kept = *step;
    return cop__op_add(txn, &(cop__op){.code = COP_OP_STEP, .text = kept}, NULL);
}

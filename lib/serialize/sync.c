/* SPDX-License-Identifier: MIT */
/*
 * Bringing an owner into step with the children that its branch has now (fragments.h).
 *
 * The list of children is gone through once. Where it goes on as the fragment of the next child
 * does, that fragment is kept, with its marks, if it is not small and beside what is formatted
 * anyway; so a child that comes or goes costs its neighbours in one fragment, and small fragments
 * do not pile up. Rows whose fragments were all kept are kept too, and with them their bundles.
 *
 * What is made is put together first, which may be refused; then it is exchanged for what was
 * there, which may not.
 */
#include "serialize/json_fast.h"

#include "serialize/fragments.h"

#define SMALL (COP__FRAGMENT_BYTES / 2)
#define RENEWED_MAX (COP__FRAGMENT_BYTES * 4)

/* The elements to be. */
typedef struct plan {
    cop__serializer *s;
    cop__owner *owner;
    cop__element *element;
    size_t n, capacity;
    cop__row *open; /* the row that takes the next fragment */
} plan;

/* ---- going through the children ---- */

/* The list goes on with the children of this fragment; *list is then behind them. */
static bool
follows(const cop_snapshot *base, cop__json_list *list, cop__fragment *f)
{
    cop__json_list ahead = *list;
    const uint32_t *child = cop__fragment_children(f);
    for (uint32_t i = 0; i < f->children; i++)
        if (!cop__json_list_more(base, &ahead) || *ahead.id++ != child[i])
            return false;
    *list = ahead;
    return true;
}

static cop__fragment *
kept_fragment_at(cop__serializer *s, cop__owner *owner, uint32_t id, bool begun)
{
    uintptr_t place = cop__place_of(s, id);
    if (place == 0 || cop__is_owner(place))
        return NULL;
    cop__fragment *f = (cop__fragment *)place;
    bool usable = f->row != NULL && f->row->owner == owner && !f->whole && f->first == !begun;
    return usable && cop__fragment_children(f)[0] == id ? f : NULL;
}

static bool
build_again(cop__builder *b, cop__fragment *f)
{
    const uint32_t *child = cop__fragment_children(f);
    for (uint32_t i = 0; i < f->children; i++)
        if (!cop__build_child(b, child[i]))
            return false;
    return true;
}

static bool
keep_fragment(cop__builder *b, cop__fragment *f)
{
    size_t pending = cop__build_pending(b);
    if (pending > 0 && pending < SMALL && f->leaf->part.bytes < SMALL)
        return build_again(b, f);
    bool begun = cop__build_begun(b);
    return cop__build_flush(b) &&
           cop__build_keep(b, (cop__element)f, begun || f->leaf->part.bytes > 0);
}

/* A child to be formatted; a small fragment before it, that would have been kept, is taken in. */
static bool
build_new(cop__builder *b, uint32_t id)
{
    size_t n;
    const cop__element *built = cop__built(b, &n);
    if (cop__build_pending(b) == 0 && n > 0 && !cop__is_owner(built[n - 1])) {
        cop__fragment *last = (cop__fragment *)built[n - 1];
        if (last->row != NULL && last->leaf->part.bytes < SMALL) {
            cop__build_unkeep(b, !last->first);
            if (!build_again(b, last))
                return false;
        }
    }
    return cop__build_child(b, id);
}

static bool
build_all(cop__serializer *s, cop__owner *owner, cop__builder *b)
{
    bool anew = owner->elements == 0;
    cop__json_list list = cop__json_list_of(s->base, cop__root_slot(s->base, owner->id));
    while (cop__json_list_more(s->base, &list)) {
        uint32_t id = *list.id;
        cop__fragment *f = anew ? NULL : kept_fragment_at(s, owner, id, cop__build_begun(b));
        if (f != NULL && follows(s->base, &list, f)) {
            if (!keep_fragment(b, f))
                return false;
            continue;
        }
        cop__build_look_ahead(b, &list);
        list.id++;
        if (anew ? !cop__build_child(b, id) : !build_new(b, id))
            return false;
    }
    return cop__build_flush(b);
}

/* ---- the plan ---- */

static void
forget_kept(cop__owner *owner)
{
    for (size_t i = 0; i < owner->elements; i++) {
        cop__element e = owner->element[i];
        if (cop__is_owner(e)) {
            cop__to_owner(e)->kept = false;
            continue;
        }
        cop__row *row = (cop__row *)e;
        row->kept = false;
        for (uint32_t k = 0; k < row->n; k++)
            row->fragment[k]->kept = false;
    }
}

/* The first fragments of these are all of an old row. */
static bool
is_whole_row(const cop__element *built, size_t n)
{
    const cop__row *row = ((cop__fragment *)built[0])->row;
    if (row == NULL || row->n > n)
        return false;
    for (uint32_t i = 0; i < row->n; i++)
        if (built[i] != (cop__element)row->fragment[i])
            return false;
    return true;
}

static bool
plan_fragment(plan *p, cop__fragment *f)
{
    if (p->open == NULL || p->open->n == COP__BUNDLE_LEAVES) {
        p->open = cop__record_alloc(p->s, sizeof *p->open);
        if (p->open == NULL)
            return false;
        *p->open = (cop__row){.owner = NULL}; /* so it is known to be new */
        p->element[p->n++] = (cop__element)p->open;
    }
    p->open->fragment[p->open->n++] = f;
    f->kept = true;
    return true;
}

static void
plan_row(plan *p, cop__row *row)
{
    p->open = NULL;
    p->element[p->n++] = (cop__element)row;
    row->kept = true;
    for (uint32_t i = 0; i < row->n; i++)
        row->fragment[i]->kept = true;
}

static bool
plan_owner(plan *p, cop__owner *child, bool first)
{
    p->open = NULL;
    p->element[p->n++] = cop__of_owner(child);
    child->parent = p->owner;
    child->kept = true;
    if (child->open != NULL && child->first == first)
        return true;
    cop__leaf *open = cop__build_open(p->s, child, first);
    if (open == NULL)
        return false;
    if (child->open != NULL) {
        cop__sub_relaxed(&p->s->bytes, (int64_t)cop__leaf_size(child->open));
        cop__part_drop(p->s->memory, &child->open->part);
    }
    child->open = open;
    child->first = first;
    return true;
}

static bool
plan_all(plan *p, const cop__element *built, size_t n, bool *begun)
{
    *begun = false;
    for (size_t i = 0; i < n;) {
        if (cop__is_owner(built[i])) {
            if (!plan_owner(p, cop__to_owner(built[i++]), !*begun))
                return false;
            *begun = true;
            continue;
        }
        cop__fragment *f = (cop__fragment *)built[i];
        uint32_t row_n = is_whole_row(&built[i], n - i) ? f->row->n : 0;
        if (row_n > 0 && (p->open == NULL || p->open->n + row_n > COP__BUNDLE_LEAVES)) {
            plan_row(p, f->row);
        } else {
            if (!plan_fragment(p, f))
                return false;
            row_n = 1;
        }
        for (uint32_t k = 0; k < row_n; k++)
            *begun |= ((cop__fragment *)built[i++])->leaf->part.bytes > 0;
    }
    return true;
}

static void
discard_plan(plan *p)
{
    for (size_t i = 0; i < p->n; i++)
        if (!cop__is_owner(p->element[i]) && ((cop__row *)p->element[i])->owner == NULL)
            cop__row_free(p->s, (cop__row *)p->element[i]);
    cop__record_free(p->s, p->element, p->capacity * sizeof *p->element);
}

/* ---- the exchange ---- */

static void
free_unkept(cop__serializer *s, cop__owner *owner)
{
    for (size_t i = 0; i < owner->elements; i++) {
        cop__element e = owner->element[i];
        if (cop__is_owner(e)) {
            if (!cop__to_owner(e)->kept) {
                cop__to_owner(e)->parent = NULL;
                cop__owner_free(s, cop__to_owner(e));
            }
            continue;
        }
        cop__row *row = (cop__row *)e;
        for (uint32_t k = 0; k < row->n; k++)
            if (!row->fragment[k]->kept)
                cop__fragment_free(s, row->fragment[k]);
        if (!row->kept)
            cop__row_free(s, row);
    }
}

static void
place_fragment(cop__row *row, uint32_t place, cop__fragment *f)
{
    f->row = row;
    f->place = (uint8_t)place;
    if (f->whole || f->dirty > 0)
        row->dirty |= UINT32_C(1) << place;
}

static void
exchange(plan *p, bool begun)
{
    cop__owner *owner = p->owner;
    free_unkept(p->s, owner);
    cop__record_free(p->s, owner->element, owner->capacity * sizeof *owner->element);
    owner->element = p->element;
    owner->elements = p->n;
    owner->capacity = p->capacity;
    owner->begun = begun;
    owner->resync = false;
    for (size_t i = 0; i < p->n; i++) {
        if (cop__is_owner(p->element[i]))
            continue;
        cop__row *row = (cop__row *)p->element[i];
        row->owner = owner;
        for (uint32_t k = 0; k < row->n; k++)
            place_fragment(row, k, row->fragment[k]);
    }
}

bool
cop__owner_sync(cop__serializer *s, cop__owner *owner, bool shared)
{
    bool begun, good = false;
    plan p = {.s = s, .owner = owner};
    cop__builder *b = cop__builder_open(s, owner, false, COP__FRAGMENT_CUT);
    if (b == NULL)
        return false;
    forget_kept(owner);
    bool built_all;
    if (!shared || !cop__share_build(s, owner, b, &built_all))
        built_all = build_all(s, owner, b);
    if (built_all) {
        size_t n;
        const cop__element *built = cop__built(b, &n);
        p.capacity = n;
        p.element = n > 0 ? cop__record_alloc(s, n * sizeof *p.element) : NULL;
        good = (n == 0 || p.element != NULL) && plan_all(&p, built, n, &begun);
    }
    if (good) {
        exchange(&p, begun);
    } else {
        cop__build_discard(b);
        if (p.element != NULL)
            discard_plan(&p);
    }
    cop__builder_close(b);
    return good;
}

/* ---- one fragment ---- */

static void
replace(cop__serializer *s, cop__fragment *f, cop__fragment *by)
{
    f->row->fragment[f->place] = by;
    by->row = f->row;
    by->place = f->place;
    cop__fragment_free(s, f);
}

bool
cop__fragment_renew(cop__serializer *s, cop__fragment *f)
{
    cop__builder *b = cop__builder_open(s, f->row->owner, !f->first, SIZE_MAX);
    if (b == NULL)
        return false;
    bool good = build_again(b, f) && cop__build_flush(b);
    if (good) {
        size_t n;
        const cop__element *built = cop__built(b, &n);
        cop__fragment *made = n == 1 && !cop__is_owner(built[0]) ? (cop__fragment *)built[0] : NULL;
        if (made != NULL && made->leaf->part.bytes <= RENEWED_MAX &&
            (made->leaf->part.bytes > 0) == (f->leaf->part.bytes > 0)) {
            replace(s, f, made);
        } else {
            f->whole = true;
            f->row->owner->resync = true;
            cop__build_discard(b);
        }
    } else {
        cop__build_discard(b);
    }
    cop__builder_close(b);
    return good;
}

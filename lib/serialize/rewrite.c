/* SPDX-License-Identifier: MIT */
/* Writing what is dirty, and putting texts together: see fragments.h. */
#include "serialize/fragments.h"

#define SPLICED_MAX (COP__FRAGMENT_BYTES * 4)
#define AT_ONCE_MAX 8u /* where more has changed there may be more to come */

/* ---- splicing ---- */

/* The leaf's bytes may be changed and there is room for n: itself, or a copy. holders: references
 * that are ours, the fragment's and maybe that of its row's bundle. */
static cop__leaf *
writable(cop__serializer *s, cop__fragment *f, size_t n, uint32_t holders)
{
    cop__leaf *leaf = f->leaf;
    if (n <= leaf->capacity && cop__load_acquire(&leaf->part.references) == holders)
        return leaf;
    size_t capacity = n <= leaf->capacity ? leaf->capacity : n + n / 8 + 32;
    cop__leaf *copy = cop__leaf_new(s->memory, leaf->part.bytes, capacity);
    if (copy == NULL) {
        cop__store_relaxed(&s->refused, true);
        return NULL;
    }
    memcpy(copy->text, leaf->text, leaf->part.bytes);
    cop__add_relaxed(&s->bytes, (int64_t)cop__leaf_size(copy) - (int64_t)cop__leaf_size(leaf));
    if (holders > 1) { /* the bundle is ours alone: it has the copy too */
        cop__part_keep(&copy->part);
        f->row->bundle->leaf[f->place] = copy;
        cop__part_drop(s->memory, &leaf->part);
    }
    cop__part_drop(s->memory, &leaf->part);
    f->leaf = copy;
    return copy;
}

/* n bytes take the place of the token's. */
static bool
splice_token(cop__serializer *s, cop__fragment *f, uint32_t i, const char *bytes, size_t n,
             uint32_t holders)
{
    cop__token *t = &f->token[i];
    size_t had = t->length, bytes_had = f->leaf->part.bytes, total = bytes_had + n - had;
    cop__leaf *leaf = writable(s, f, total > bytes_had ? total : bytes_had, holders);
    if (leaf == NULL)
        return false;
    char *at = leaf->text + t->start;
    if (n != had) {
        memmove(at + n, at + had, leaf->part.bytes - t->start - had);
        leaf->part.bytes = total;
        if (holders > 1)
            f->row->bundle->part.bytes += n - had;
        for (uint32_t k = i + 1; k < f->tokens; k++)
            f->token[k].start = (uint16_t)(f->token[k].start + n - had);
        t->length = (uint16_t)(n & COP__TOKEN_LONG);
    }
    memcpy(at, bytes, n);
    return true;
}

typedef enum splice { SPLICED, NOT_HERE, REFUSED } splice;

/* Formats the changed values alone. Not where a value or the fragment is too long for that. */
static splice
splice_fragment(cop__serializer *s, cop__fragment *f, uint32_t holders)
{
    char text[COP__SPLICE_MAX];
    if (f->leaf->part.bytes > SPLICED_MAX || f->dirty > f->tokens / 4 + 1)
        return NOT_HERE;
    for (uint32_t i = f->from; i < f->tokens && f->dirty > 0; i++) {
        cop__token *t = &f->token[i];
        if (!t->dirty)
            continue;
        size_t n = cop__build_scalar(s->base, t->id, text);
        if (n == 0 || t->start == COP__TOKEN_UNKNOWN || t->length == COP__TOKEN_LONG)
            return NOT_HERE;
        if (!splice_token(s, f, i, text, n, holders))
            return REFUSED;
        t->dirty = 0;
        f->dirty--;
    }
    return SPLICED;
}

/* A bundle that a rope has too is no longer this row's; one that nobody else has is kept, and its
 * leaves changed where they are. Returns the references on a leaf that are ours. */
static uint32_t
own_bundle(cop__serializer *s, cop__row *row)
{
    if (row->bundle != NULL && !cop__part_unique(&row->bundle->part)) {
        cop__part_drop(s->memory, (cop__part *)row->bundle);
        row->bundle = NULL;
    }
    return row->bundle != NULL ? 2 : 1;
}

void
cop__fragment_splice(cop__serializer *s, cop__fragment *f)
{
    cop__row *row = f->row;
    if (f->whole || f->dirty == 0 || f->dirty > AT_ONCE_MAX)
        return;
    if (splice_fragment(s, f, own_bundle(s, row)) != SPLICED)
        return;
    row->dirty &= ~(UINT32_C(1) << f->place);
    cop__add_relaxed(&s->count.spliced, 1u);
}

/* ---- rows ---- */

static bool
fragment_write(cop__serializer *s, cop__fragment *f, uint32_t holders)
{
    if (!f->whole) {
        splice result = splice_fragment(s, f, holders);
        if (result != NOT_HERE) {
            cop__add_relaxed(&s->count.spliced, 1u);
            return result == SPLICED;
        }
    }
    cop__row *row = f->row;
    cop__part_drop(s->memory, (cop__part *)row->bundle); /* to be made anew */
    row->bundle = NULL;
    cop__add_relaxed(&s->count.formatted, 1u);
    return cop__fragment_renew(s, f);
}

/* As for moving: what is scattered is asked for together. */
static void
prefetch_dirty(cop__serializer *s, const cop__row *row)
{
    for (uint32_t left = row->dirty; left != 0; left &= left - 1)
        __builtin_prefetch(row->fragment[__builtin_ctz(left)]);
    for (uint32_t left = row->dirty; left != 0; left &= left - 1) {
        cop__fragment *f = row->fragment[__builtin_ctz(left)];
        __builtin_prefetch(f->leaf);
        __builtin_prefetch(&f->token[f->from]);
    }
    for (uint32_t left = row->dirty; left != 0; left &= left - 1) {
        cop__fragment *f = row->fragment[__builtin_ctz(left)];
        __builtin_prefetch(&f->leaf->text[f->token[f->from].start]);
        __builtin_prefetch(cop__root_slot(s->base, f->token[f->from].id));
    }
}

static bool
make_bundle(cop__serializer *s, cop__row *row)
{
    cop__leaf *leaf[COP__BUNDLE_LEAVES];
    for (uint32_t i = 0; i < row->n; i++)
        leaf[i] = row->fragment[i]->leaf;
    row->bundle = cop__bundle_new(s->memory, leaf, row->n);
    if (row->bundle == NULL)
        cop__store_relaxed(&s->refused, true);
    return row->bundle != NULL;
}

static bool
row_write(cop__serializer *s, cop__row *row)
{
    (void)own_bundle(s, row);
    prefetch_dirty(s, row);
    for (uint32_t left = row->dirty; left != 0; left &= left - 1) {
        cop__fragment *f = row->fragment[__builtin_ctz(left)];
        if (!fragment_write(s, f, row->bundle != NULL ? 2 : 1))
            return false;
    }
    if (row->owner->resync)
        return true; /* it will be here again */
    row->dirty = 0;
    return row->bundle != NULL || make_bundle(s, row);
}

/* ---- owners ---- */

/* Goes on with the elements of an owner that is in step. False: memory was refused. *child: a dirty
 * owner that comes first. Ends early when the owner falls out of step. */
static bool
write_elements(cop__serializer *s, cop__owner *owner, cop__owner **child)
{
    for (; owner->at < owner->elements && !owner->resync; owner->at++) {
        cop__element e = owner->element[owner->at];
        if (cop__is_owner(e) && cop__to_owner(e)->dirty) {
            *child = cop__to_owner(e);
            return true;
        }
        if (!cop__element_write(s, e))
            return false;
    }
    return true;
}

/* All elements, or up to a child that comes first. A fragment is in step again once its owner is,
 * so the loop ends. */
static bool
write_own(cop__serializer *s, cop__owner *owner, bool shared, cop__owner **child)
{
    *child = NULL;
    do {
        if (owner->resync) {
            if (!cop__owner_sync(s, owner, shared))
                return false;
            owner->at = 0;
        }
        if (shared && owner->at == 0 && !cop__share_elements(s, owner))
            return false;
        if (!write_elements(s, owner, child))
            return false;
    } while (owner->resync);
    return true;
}

static bool
write_below(cop__serializer *s, cop__owner *top, bool shared)
{
    cop__owner *owner = top, *child;
    top->at = 0;
    for (;;) {
        if (!write_own(s, owner, shared, &child))
            return false;
        if (child != NULL) {
            child->at = 0;
            owner = child;
            continue;
        }
        owner->dirty = false;
        if (owner == top)
            return true;
        owner = owner->parent;
        owner->at++;
    }
}

bool
cop__element_write(cop__serializer *s, cop__element element)
{
    if (cop__is_owner(element)) {
        cop__owner *owner = cop__to_owner(element);
        return !owner->dirty || write_below(s, owner, false);
    }
    cop__row *row = (cop__row *)element;
    return (row->dirty == 0 && row->bundle != NULL) || row_write(s, row);
}

bool
cop__owner_write(cop__serializer *s, cop__owner *top)
{
    return !top->dirty || write_below(s, top, true);
}

/* ---- texts ---- */

static bool
add_part(cop__parts *p, cop__part *part)
{
    if (!cop__parts_add(p, part))
        return false;
    cop__part_keep(part);
    return true;
}

static bool
gather(cop__serializer *s, cop__parts *p, cop__owner *top)
{
    cop__owner *owner = top;
    top->at = 0;
    for (;;) {
        if (owner->at < owner->elements) {
            cop__element e = owner->element[owner->at++];
            if (!cop__is_owner(e)) {
                if (!add_part(p, &((cop__row *)e)->bundle->part))
                    return false;
                continue;
            }
            owner = cop__to_owner(e);
            owner->at = 0;
            if (!add_part(p, &owner->open->part))
                return false;
            continue;
        }
        if (!add_part(p, &s->close[owner->array][owner->begun]->part))
            return false;
        if (owner == top)
            return true;
        owner = owner->parent;
    }
}

cop_rope *
cop__owner_rope(cop__serializer *s, cop__owner *owner)
{
    if (owner->rope == NULL) {
        cop__parts p = {.memory = s->memory};
        bool good = gather(s, &p, owner);
        owner->rope = cop__parts_end(&p, good);
    }
    if (owner->rope == NULL) {
        cop__store_relaxed(&s->refused, true);
        return NULL;
    }
    return cop_rope_keep(owner->rope);
}

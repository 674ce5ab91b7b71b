/* SPDX-License-Identifier: MIT */
/* The serializer's records, and the table from atom to record: see fragments.h. */
#include "serialize/fragments.h"

#include "store/store_internal.h"

/* ---- bytes ---- */

void *
cop__record_alloc(cop__serializer *s, size_t n)
{
    void *p = cop__memory_alloc(s->memory, COP_MEMORY_FRAGMENTS, n, 16);
    if (p != NULL)
        cop__add_relaxed(&s->bytes, (int64_t)n);
    else
        cop__store_relaxed(&s->refused, true);
    return p;
}

void
cop__record_free(cop__serializer *s, void *p, size_t n)
{
    if (p == NULL)
        return;
    cop__sub_relaxed(&s->bytes, (int64_t)n);
    cop__memory_free(s->memory, COP_MEMORY_FRAGMENTS, p, n, 16);
}

/* ---- places ---- */

#define PAGE_BYTES (COP__PLACES * sizeof(uintptr_t))

bool
cop__places_reach(cop__serializer *s, const cop_snapshot *snapshot)
{
    uint32_t ids = snapshot->space[COP_SPACE_VALUES].count << COP_SLOT_BITS;
    uint32_t need = (ids >> COP__PLACE_BITS) + 1;
    if (need <= s->place_pages)
        return true;
    uint32_t pages = need + need / 4;
    _Atomic(_Atomic(uintptr_t) *) *grown = cop__record_alloc(s, pages * sizeof *grown);
    if (grown == NULL)
        return false;
    for (uint32_t i = 0; i < pages; i++)
        atomic_init(&grown[i], i < s->place_pages ? cop__load_relaxed(&s->place[i]) : NULL);
    cop__record_free(s, s->place, s->place_pages * sizeof *grown);
    s->place = grown;
    s->place_pages = pages;
    return true;
}

void
cop__places_end(cop__serializer *s)
{
    for (uint32_t i = 0; i < s->place_pages; i++)
        cop__record_free(s, cop__load_relaxed(&s->place[i]), PAGE_BYTES);
    cop__record_free(s, s->place, s->place_pages * sizeof *s->place);
    s->place = NULL;
    s->place_pages = 0;
}

/* Workers may make the same page at once: one of them stays. */
static _Atomic(uintptr_t) *
page_make(cop__serializer *s, uint32_t number)
{
    _Atomic(uintptr_t) *expected = NULL, *page = cop__record_alloc(s, PAGE_BYTES);
    if (page == NULL)
        return NULL;
    for (uint32_t i = 0; i < COP__PLACES; i++)
        atomic_init(&page[i], 0);
    if (cop__cas_seq_cst(&s->place[number], &expected, page))
        return page;
    cop__record_free(s, page, PAGE_BYTES);
    return expected;
}

_Atomic(uintptr_t) *
cop__place_page(cop__serializer *s, uint32_t number)
{
    _Atomic(uintptr_t) *page = cop__load_acquire(&s->place[number]);
    return page != NULL ? page : page_make(s, number);
}

bool
cop__place_set(cop__serializer *s, uint32_t id, uintptr_t place)
{
    _Atomic(uintptr_t) *page = cop__place_page(s, id >> COP__PLACE_BITS);
    if (page == NULL)
        return false;
    atomic_store_explicit(&page[id & (COP__PLACES - 1)], place, memory_order_relaxed);
    return true;
}

void
cop__place_clear(cop__serializer *s, uint32_t id, uintptr_t place)
{
    if (cop__place_of(s, id) == place)
        (void)cop__place_set(s, id, 0); /* the page is there */
}

/* ---- records ---- */

/* A rope of another state would keep leaves from being changed in place. */
void
cop__mark_owner(cop__owner *owner)
{
    for (; owner != NULL && !owner->dirty; owner = owner->parent) {
        owner->dirty = true;
        cop_rope_drop(owner->rope);
        owner->rope = NULL;
    }
}

static void
drop_leaf(cop__serializer *s, cop__leaf *leaf)
{
    if (leaf == NULL)
        return;
    cop__sub_relaxed(&s->bytes, (int64_t)cop__leaf_size(leaf));
    cop__part_drop(s->memory, &leaf->part);
}

void
cop__fragment_free(cop__serializer *s, cop__fragment *f)
{
    for (uint32_t i = 0; i < f->tokens; i++)
        cop__place_clear(s, f->token[i].id, (uintptr_t)f);
    drop_leaf(s, f->leaf);
    cop__record_free(s, f,
                     sizeof *f + f->tokens * sizeof *f->token + f->children * sizeof(uint32_t));
}

void
cop__row_free(cop__serializer *s, cop__row *row)
{
    cop__part_drop(s->memory, (cop__part *)row->bundle);
    cop__record_free(s, row, sizeof *row);
}

cop__owner *
cop__owner_new(cop__serializer *s, const cop_snapshot *snapshot, uint32_t id)
{
    const cop__slot *slot = cop__root_slot(snapshot, id);
    cop__owner *owner = cop__record_alloc(s, sizeof *owner);
    if (owner == NULL)
        return NULL;
    *owner = (cop__owner){.id = id,
                          .generation = slot->reserved,
                          .array = cop__slot_type(slot) == COP_ARRAY,
                          .dirty = true,
                          .resync = true};
    if (!cop__place_set(s, id, cop__of_owner(owner))) {
        cop__record_free(s, owner, sizeof *owner);
        return NULL;
    }
    pthread_mutex_lock(&s->owners_lock);
    owner->next = s->owners;
    if (owner->next != NULL)
        owner->next->previous = owner;
    s->owners = owner;
    pthread_mutex_unlock(&s->owners_lock);
    return owner;
}

static void
owner_unlist(cop__serializer *s, cop__owner *owner)
{
    pthread_mutex_lock(&s->owners_lock);
    if (s->hand == owner)
        s->hand = owner->next;
    if (owner->next != NULL)
        owner->next->previous = owner->previous;
    if (owner->previous != NULL)
        owner->previous->next = owner->next;
    else
        s->owners = owner->next;
    pthread_mutex_unlock(&s->owners_lock);
}

/* Itself alone; its elements have gone. */
static void
owner_release(cop__serializer *s, cop__owner *owner)
{
    owner_unlist(s, owner);
    cop__place_clear(s, owner->id, cop__of_owner(owner));
    cop_rope_drop(owner->rope);
    drop_leaf(s, owner->open);
    cop__record_free(s, owner->element, owner->capacity * sizeof *owner->element);
    cop__record_free(s, owner, sizeof *owner);
}

/* Up and down by the parents, since owners may be nested deeply. */
void
cop__owner_empty(cop__serializer *s, cop__owner *top)
{
    cop__owner *owner = top;
    for (;;) {
        if (owner->elements > 0) {
            cop__element e = owner->element[--owner->elements];
            if (cop__is_owner(e)) {
                owner = cop__to_owner(e);
                continue;
            }
            cop__row *row = (cop__row *)e;
            for (uint32_t i = 0; i < row->n; i++)
                cop__fragment_free(s, row->fragment[i]);
            cop__row_free(s, row);
        } else if (owner == top) {
            break;
        } else {
            cop__owner *done = owner;
            owner = owner->parent;
            owner_release(s, done);
        }
    }
    top->resync = true;
    cop__mark_owner(top);
}

void
cop__owner_free(cop__serializer *s, cop__owner *owner)
{
    cop__owner_empty(s, owner);
    owner_release(s, owner);
}

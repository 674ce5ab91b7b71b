/* SPDX-License-Identifier: MIT */
/*
 * Writing with the workers of the store's pool (fragments.h, CONCURRENCY).
 *
 * Two things are shared: the children of an owner that is formatted for the first time, in slices
 * of whole list pages, and the dirty elements of an owner. Both are loops of cop_parallel_for: the
 * thread that has the lock works along, takes what nobody took, and waits only for ranges that are
 * being handled, so it never waits for a worker that does not run. Workers take no lock but those
 * of the records, and never the commit right.
 *
 * A slice but the first begins as if something had been written before it, which is so if the first
 * child of all is no lazy atom.
 */
#include "serialize/json_fast.h"

#include <coppice/pool.h>

#include "effect/effects.h"
#include "serialize/fragments.h"
#include "store/store_internal.h"

#define SLICE_PAGES 3u /* list pages of up to 118 children */
#define LEAST_CHILDREN 512u
#define LEAST_DIRTY 64u /* what one fragment costs is the unit */

typedef struct slice {
    uint32_t page; /* its first list page */
    cop__builder *builder;
    bool good;
} slice;

typedef struct sharing {
    cop__serializer *s;
    cop__owner *owner;
    slice *slices;
    size_t n, capacity;
} sharing;

/* ---- children ---- */

static const cop__list_page *
list_page(const sharing *w, uint32_t number)
{
    return cop__space_page(&w->s->base->space[COP_SPACE_LISTS], number);
}

static bool
build_page(cop__builder *b, const cop__list_page *page)
{
    cop__json_list list = {page->id, page->id + page->count, 0};
    for (; list.id < list.end; list.id++) {
        cop__build_look_ahead(b, &list);
        if (!cop__build_child(b, *list.id))
            return false;
    }
    return true;
}

static void
build_slice(sharing *w, size_t i)
{
    slice *s = &w->slices[i];
    uint32_t number = s->page;
    s->builder = cop__builder_open(w->s, w->owner, i > 0, COP__FRAGMENT_CUT);
    if (s->builder == NULL)
        return;
    bool good = true;
    for (unsigned k = 0; good && k < SLICE_PAGES && number != 0; k++) {
        const cop__list_page *page = list_page(w, number);
        good = build_page(s->builder, page);
        number = page->next;
    }
    s->good = good && cop__build_flush(s->builder);
}

static cop_status
build_slices(void *context, uint64_t begin, uint64_t end)
{
    for (uint64_t i = begin; i < end; i++)
        build_slice(context, i);
    return COP_OK;
}

/* Where the slices begin. */
static bool
cut(sharing *w, uint32_t pages)
{
    cop__json_list list = cop__json_list_of(w->s->base, cop__root_slot(w->s->base, w->owner->id));
    w->capacity = pages / SLICE_PAGES + 1;
    w->slices = cop__record_alloc(w->s, w->capacity * sizeof *w->slices);
    if (w->slices == NULL)
        return false;
    for (uint32_t number = list.next, k = 0; number != 0; number = list_page(w, number)->next, k++)
        if (k % SLICE_PAGES == 0)
            w->slices[w->n++] = (slice){.page = number};
    return true;
}

static uint32_t
count_pages(const sharing *w, const cop__slot *slot)
{
    uint32_t pages = 0;
    cop__json_list list = cop__json_list_of(w->s->base, slot);
    for (uint32_t number = list.next; number != 0; number = list_page(w, number)->next)
        pages++;
    return pages;
}

/* The first child decides whether the others have something before them. */
static bool
begins_at_once(const sharing *w, const cop__slot *slot)
{
    uint32_t first = cop__list_at((cop__view){w->s->base, NULL}, slot, 0);
    return !cop__slot_is_lazy(cop__root_slot(w->s->base, first));
}

static bool
join(sharing *w, cop__builder *b)
{
    bool good = true;
    for (size_t i = 0; i < w->n; i++)
        good = good && w->slices[i].good;
    for (size_t i = 0; i < w->n; i++) {
        if (w->slices[i].builder == NULL)
            continue;
        good = cop__build_join(b, w->slices[i].builder) && good;
        cop__builder_close(w->slices[i].builder);
    }
    cop__record_free(w->s, w->slices, w->capacity * sizeof *w->slices);
    return good;
}

bool
cop__share_build(cop__serializer *s, cop__owner *owner, cop__builder *b, bool *good)
{
    const cop__slot *slot = cop__root_slot(s->base, owner->id);
    sharing w = {.s = s, .owner = owner};
    if (owner->elements > 0 || cop__slot_list(slot) != COP_LIST_PAGES ||
        cop__list_count((cop__view){s->base, NULL}, slot) < LEAST_CHILDREN ||
        !begins_at_once(&w, slot))
        return false;
    cop_pool *pool = cop__effects_borrow_pool(s->store);
    if (pool == NULL)
        return false;
    cop_parallel_options one = COP_PARALLEL_OPTIONS_INIT;
    one.chunk = 1;
    *good = cut(&w, count_pages(&w, slot));
    if (*good) {
        (void)cop_parallel_for(pool, w.n, build_slices, &w, &one); /* each slice says for itself */
        *good = join(&w, b);
    }
    cop__effects_return_pool(s->store);
    return true;
}

/* ---- elements ---- */

static cop_status
write_elements(void *context, uint64_t begin, uint64_t end)
{
    sharing *w = context;
    for (uint64_t i = begin; i < end; i++)
        if (!cop__element_write(w->s, w->owner->element[i]))
            return COP_E_MEMORY;
    return COP_OK;
}

/* Whether there is enough to do. */
static bool
pays(const cop__owner *owner)
{
    uint32_t found = 0;
    for (size_t i = 0; i < owner->elements && found < LEAST_DIRTY; i++) {
        cop__element e = owner->element[i];
        if (!cop__is_owner(e))
            found += (uint32_t)__builtin_popcount(((cop__row *)e)->dirty);
        else if (cop__to_owner(e)->dirty)
            found += cop__to_owner(e)->elements == 0 ? LEAST_DIRTY / 8 : 1;
    }
    return found >= LEAST_DIRTY;
}

bool
cop__share_elements(cop__serializer *s, cop__owner *owner)
{
    if (!pays(owner))
        return true;
    cop_pool *pool = cop__effects_borrow_pool(s->store);
    if (pool == NULL)
        return true;
    sharing w = {.s = s, .owner = owner};
    cop_status status = cop_parallel_for(pool, owner->elements, write_elements, &w, NULL);
    cop__effects_return_pool(s->store);
    return status == COP_OK;
}

/* SPDX-License-Identifier: MIT */
/*
 * The cache's base moves to a newer version: what differs is marked, or spliced at once
 * (fragments.h). Nothing fails here: what memory is refused for stays marked.
 */
#include "serialize/fragments.h"

#include "tree/diff.h"
#include "tree/list.h"

#define GATHERED 32u

typedef struct difference {
    uint32_t id;
    const cop__slot *before, *now;
} difference;

typedef struct mover {
    cop__serializer *s;
    const cop_snapshot *before, *now;
    bool at_once;
    bool top_gone; /* an owner without a parent has */
    uint32_t gathered;
    difference difference[GATHERED];
} mover;

static bool
same_branch(const cop__slot *before, const cop__slot *now)
{
    return cop__slot_is_branch(now) && before->reserved == now->reserved &&
           cop__slot_type(before) == cop__slot_type(now);
}

/* Lists whose last change is the same one are equal, and so is a block that stayed where it was. */
static bool
same_children(const mover *m, const cop__slot *before, const cop__slot *now)
{
    if (cop__slot_list(before) == COP_LIST_BLOCK && cop__slot_list(now) == COP_LIST_BLOCK &&
        cop__slot_child_block(before) == cop__slot_child_block(now))
        return true;
    return cop__list_changed((cop__view){m->before, NULL}, before) ==
           cop__list_changed((cop__view){m->now, NULL}, now);
}

static void
owner_differs(mover *m, cop__owner *owner, const cop__slot *before, const cop__slot *now)
{
    if (same_branch(before, now)) {
        if (same_children(m, before, now))
            return;
        owner->resync = true;
    } else {
        owner->gone = true;
        owner->resync = true;
        if (owner->parent != NULL)
            owner->parent->resync = true;
        else
            m->top_gone = true;
    }
    cop__mark_owner(owner);
}

/* It has one, since the place says so. Ids of a fragment mostly rise by one from token to token. */
static cop__token *
token_of(cop__fragment *f, uint32_t id)
{
    uint32_t guess = id - f->token[0].id;
    if (guess < f->tokens && f->token[guess].id == id)
        return &f->token[guess];
    uint32_t i = 0;
    while (f->token[i].id != id)
        i++;
    COP_ASSERT(i < f->tokens);
    return &f->token[i];
}

static inline bool
is_plain(const cop__slot *slot)
{
    return (slot->type & COP_SLOT_TYPE) - COP_NULL <= COP_ERROR - COP_NULL;
}

static void
fragment_differs(const mover *m, cop__fragment *f, uint32_t id, const cop__slot *before,
                 const cop__slot *now)
{
    if (f->whole)
        return;
    if (is_plain(before) && is_plain(now) && before->reserved == now->reserved) {
        cop__token *token = token_of(f, id);
        if (token->dirty || (COP_FAULT(fragment_stale) && id % 64 == 7))
            return;
        uint32_t i = (uint32_t)(token - f->token);
        f->from = f->dirty > 0 && f->from < i ? f->from : i;
        token->dirty = 1;
        f->dirty++;
    } else if (same_branch(before, now) && same_children(m, before, now)) {
        return;
    } else {
        f->whole = true;
    }
    cop__mark_fragment(f);
}

static void
differs(mover *m, const difference *d)
{
    uintptr_t place = cop__place_of(m->s, d->id);
    if (place == 0)
        return;
    if (cop__is_owner(place))
        owner_differs(m, cop__to_owner(place), d->before, d->now);
    else
        fragment_differs(m, (cop__fragment *)place, d->id, d->before, d->now);
}

static inline const cop__token *
token_guess(const cop__fragment *f, uint32_t id)
{
    uint32_t guess = id - f->token[0].id;
    return &f->token[guess < f->tokens ? guess : 0];
}

/* Place, fragment, token and text of scattered atoms are cache misses that are each needed for the
 * next: many go side by side. */
static void
look_ahead(mover *m, cop__fragment *f[GATHERED])
{
    for (uint32_t i = 0; i < m->gathered; i++)
        cop__place_prefetch(m->s, m->difference[i].id);
    for (uint32_t i = 0; i < m->gathered; i++) {
        uintptr_t place = cop__place_of(m->s, m->difference[i].id);
        f[i] = place == 0 || cop__is_owner(place) ? NULL : (cop__fragment *)place;
        if (f[i] != NULL)
            __builtin_prefetch(f[i]);
    }
    for (uint32_t i = 0; i < m->gathered; i++) {
        if (f[i] == NULL)
            continue;
        __builtin_prefetch(f[i]->row);
        __builtin_prefetch(f[i]->leaf);
        __builtin_prefetch(token_guess(f[i], m->difference[i].id));
    }
    for (uint32_t i = 0; m->at_once && i < m->gathered; i++)
        if (f[i] != NULL)
            __builtin_prefetch(&f[i]->leaf->text[token_guess(f[i], m->difference[i].id)->start]);
}

static void
look_at_gathered(mover *m)
{
    cop__fragment *f[GATHERED];
    look_ahead(m, f);
    for (uint32_t i = 0; i < m->gathered; i++)
        differs(m, &m->difference[i]);
    for (uint32_t i = 0; m->at_once && i < m->gathered; i++)
        if (f[i] != NULL)
            cop__fragment_splice(m->s, f[i]);
    m->gathered = 0;
}

static void
slot_differs(void *context, uint32_t id, const cop__slot *before, const cop__slot *now)
{
    mover *m = context;
    m->difference[m->gathered++] = (difference){id, before, now};
    if (m->gathered == GATHERED)
        look_at_gathered(m);
}

/* Owners that nobody is the parent of are brought into step by nobody. */
static void
drop_gone(cop__serializer *s)
{
    cop__owner *next;
    for (cop__owner *owner = s->owners; owner != NULL; owner = next) {
        next = owner->next;
        if (owner->gone && owner->parent == NULL) {
            cop__owner_free(s, owner);
            next = s->owners; /* what is below it has gone too */
        }
    }
}

const cop_snapshot *
cop__serializer_move(cop__serializer *s, const cop_snapshot *snapshot, bool at_once)
{
    mover m;
    m.s = s;
    m.before = s->base;
    m.now = snapshot;
    m.at_once = at_once;
    m.top_gone = false;
    m.gathered = 0;
    s->base = snapshot;
    if (m.before != NULL && m.before != snapshot)
        cop__tree_diff(m.before, snapshot, slot_differs, &m);
    look_at_gathered(&m);
    if (m.top_gone)
        drop_gone(s);
    cop__add_relaxed(&s->count.moves, 1u);
    return m.before;
}

/* SPDX-License-Identifier: MIT */
/*
 * The serializer: what a store remembers of the JSON of one version, so that the next costs what changed.
 *
 *   owner      a branch with more text than fits a fragment: a list of elements in order, each a row or
 *              another owner. Its text is theirs and a closing bracket.
 *   row        up to COP__BUNDLE_LEAVES fragments, and the bundle of their leaves
 *   fragment   some children of an owner that follow one another, and all that is below them: one leaf,
 *              and of every atom in it the token (id, where its value stands)
 *   places     atom id to the fragment or owner that has its text
 *
 * A child begins with its separator: a comma or, if nothing stands before it, the owner's opening bracket.
 * So a child comes and goes without its neighbours being written.
 *
 * MOVING to a newer version looks at the slots that differ (diff.h) and leaves marks; nothing is formatted:
 *   a plain value changed        its token, its fragment and the owners above are dirty
 *   a branch within a fragment   has other children now, or came, went or is another one: the fragment
 *                                is dirty as a whole
 *   an owner                     has other children now: it is out of step
 *   an atom without a place      is in no text that is kept. Whatever becomes part of a branch changes that
 *                                branch's list, which is seen there.
 * WRITING a branch visits what is dirty at it or below, and nothing else: a dirty fragment is spliced (its
 * changed values alone are formatted), one that is dirty as a whole is formatted from its children, an
 * owner out of step takes over the fragments whose children still follow one another and formats the rest.
 * Marks elsewhere stay for whoever asks there. When all that is kept is asked for, a changed value is
 * spliced in as soon as it is marked, while what it takes is in the caches of the processor; marks are
 * left on what that does not do for.
 *
 * CONCURRENCY. All of this is guarded by one lock: who moves or writes has it, whoever asks meanwhile waits
 * and then mostly finds the text made. The lock is never held while waiting for the commit right, nor for
 * a worker that has not begun. Ropes given out share leaves with the fragments and are immutable: a leaf
 * is changed in place only when the fragment's reference and that of its row's bundle are all there are,
 * and the row's on the bundle is the only one (rope.h). An asker's rope, or one kept for the next asker,
 * holds bundles; the latter are dropped before anything is written. Looking from the top down is enough:
 * a reference on a leaf is only ever taken through a bundle or by the holder of the lock.
 *   Within a parallel write each worker has whole rows or owners, so that no record is touched by two; what
 * is common (bytes, the place table, the list of owners, `resync`) is atomic or has a lock of its own.
 *
 * The base is a version held by the library itself. It is read by nobody but the holder of the lock, and
 * let go when the store closes, before close gives up its own use: so it keeps no store from ending, and
 * what it keeps alive meanwhile is one version (promise 6).
 *
 * PROGRESS. Asking is blocking: it waits for whoever writes. Nothing else of the store waits for this lock:
 * a committer that is short of memory tries it and otherwise leaves a flag for its holder.
 *
 * MEMORY. Any refusal while the cache is changed drops the cache whole: what is left is what a store has
 * that was never asked for a text, and the text asked for is written without it.
 */
#ifndef COP_SERIALIZE_FRAGMENTS_H
#define COP_SERIALIZE_FRAGMENTS_H

#include <pthread.h>

#include "serialize/rope.h"
#include "tree/tree.h"

#define COP__FRAGMENT_BYTES 1024u /* of a leaf, about; what is longer becomes an owner */
#define COP__FRAGMENT_CUT (COP__FRAGMENT_BYTES * 3 / 4) /* from here on one is finished */
#define COP__TOKEN_UNKNOWN 0xffffu

typedef struct cop__token {
    uint32_t id;
    uint16_t start;       /* of the value in the leaf; COP__TOKEN_UNKNOWN: too far */
    uint16_t length : 15; /* COP__TOKEN_LONG: too long to be spliced */
    uint16_t dirty : 1;
} cop__token;

#define COP__TOKEN_LONG 0x7fffu

struct cop__owner;
struct cop__json_list;

typedef struct cop__fragment {
    struct cop__row *row; /* NULL while it is being made */
    cop__leaf *leaf;
    uint32_t tokens, children;
    uint32_t dirty; /* tokens */
    uint32_t from;  /* while some are: none of those before this one */
    uint8_t place;  /* in its row */
    bool whole;         /* to be formatted from its children */
    bool first;         /* nothing stands before it in its owner: it begins with the bracket */
    bool kept;          /* while its owner is brought into step */
    cop__token token[]; /* behind them the ids of the children */
} cop__fragment;

static inline uint32_t *
cop__fragment_children(cop__fragment *f)
{
    return (uint32_t *)&f->token[f->tokens];
}

typedef struct cop__row {
    struct cop__owner *owner;
    cop__bundle *bundle; /* of the leaves as they were written last; NULL: never */
    uint32_t dirty;      /* a bit for each fragment */
    bool kept;           /* as of a fragment */
    uint32_t n;
    cop__fragment *fragment[COP__BUNDLE_LEAVES];
} cop__row;

/* A row or, with the lowest bit set, an owner. Also used for fragments that are in no row yet. */
typedef uintptr_t cop__element;

typedef struct cop__owner {
    struct cop__owner *parent;          /* NULL: it was asked for by itself */
    struct cop__owner *previous, *next; /* of all, in the order of making */
    uint32_t id;
    uint16_t generation;
    bool array;
    bool dirty;      /* something at it or below is */
    _Atomic bool resync; /* its children are others */
    bool gone;       /* its atom is another one, or no branch */
    bool first;      /* `open` begins with the bracket of the parent */
    bool begun;      /* its text has an opening bracket: some child was written */
    bool kept;       /* while the parent is brought into step */
    bool visited;    /* asked for again since the hand went over it */
    cop__leaf *open; /* separator and key, as the parent's text needs them; NULL: to be made */
    cop__element *element;
    size_t elements, capacity;
    size_t at;      /* while writing: the element that is next */
    cop_rope *rope; /* NULL while it is dirty */
} cop__owner;

typedef struct cop__serializer {
    pthread_mutex_t lock;
    cop_store *store;
    cop__memory *memory;
    const cop_snapshot *base; /* NULL: nothing is kept */
    cop__owner *owners;       /* under owners_lock while workers write */
    cop__owner *hand; /* of the bound: looked at next; NULL: the first */
    pthread_mutex_t owners_lock;
    _Atomic(_Atomic(uintptr_t) *) *place; /* a page for each COP__PLACES ids */
    uint32_t place_pages;
    cop__leaf *close[2][2]; /* object, array; with and without an opening bracket before it */
    bool closing;
    _Atomic bool pressed; /* memory ran short while the lock was taken */
    _Atomic bool refused; /* while writing: memory was refused */
    _Atomic int64_t bytes;
    struct {
        _Atomic uint64_t hits, writes, plain, moves, spliced, formatted, evicted, drops;
    } count;
} cop__serializer;

/* ---- places (places.c) ---- */

#define COP__PLACE_BITS 10u
#define COP__PLACES (1u << COP__PLACE_BITS)

/* 0: none; a fragment, or an owner with the lowest bit set. The id is one of the base or of the version
 * that it moves to: for these there is room (cop__places_reach). */
static inline uintptr_t
cop__place_of(const cop__serializer *s, uint32_t id)
{
    uint32_t number = id >> COP__PLACE_BITS;
    COP_ASSERT(number < s->place_pages);
    _Atomic(uintptr_t) *page = atomic_load_explicit(&s->place[number], memory_order_acquire);
    return page != NULL ? atomic_load_explicit(&page[id & (COP__PLACES - 1)], memory_order_relaxed)
                        : 0;
}

/* The place will be looked up some steps later. */
static inline void
cop__place_prefetch(const cop__serializer *s, uint32_t id)
{
    uint32_t number = id >> COP__PLACE_BITS;
    COP_ASSERT(number < s->place_pages);
    _Atomic(uintptr_t) *page = atomic_load_explicit(&s->place[number], memory_order_acquire);
    if (page != NULL)
        __builtin_prefetch((const void *)&page[id & (COP__PLACES - 1)]);
}

/* False when out of memory. Room for the ids was made before. */
bool cop__place_set(cop__serializer *s, uint32_t id, uintptr_t place);
/* The page of ids number << COP__PLACE_BITS and on. */
_Atomic(uintptr_t) *cop__place_page(cop__serializer *s, uint32_t number);
/* Nothing if another one has it now. */
void cop__place_clear(cop__serializer *s, uint32_t id, uintptr_t place);
/* So that every id of the version can have a place. */
bool cop__places_reach(cop__serializer *s, const cop_snapshot *snapshot);
void cop__places_end(cop__serializer *s);

static inline bool
cop__is_owner(uintptr_t element)
{
    return element & 1;
}

static inline cop__owner *
cop__to_owner(uintptr_t element)
{
    return (cop__owner *)(element & ~(uintptr_t)1);
}

static inline uintptr_t
cop__of_owner(cop__owner *owner)
{
    return (uintptr_t)owner | 1;
}

/* ---- records (places.c) ---- */

void *cop__record_alloc(cop__serializer *s, size_t n);
void cop__record_free(cop__serializer *s, void *p, size_t n);
cop__owner *cop__owner_new(cop__serializer *s, const cop_snapshot *snapshot, uint32_t id);
/* With what is below it; out of the table too. */
void cop__owner_free(cop__serializer *s, cop__owner *owner);
void cop__fragment_free(cop__serializer *s, cop__fragment *f);
/* Frees the row, not its fragments. */
void cop__row_free(cop__serializer *s, cop__row *row);
/* Drops what is kept of an owner's text; what is below it is freed. */
void cop__owner_empty(cop__serializer *s, cop__owner *owner);
void cop__mark_owner(cop__owner *owner);

static inline void
cop__mark_fragment(cop__fragment *f)
{
    f->row->dirty |= UINT32_C(1) << f->place;
    if (!f->row->owner->dirty)
        cop__mark_owner(f->row->owner);
}

/* ---- moving (move.c) ---- */

/* The base becomes this version, which the caller holds and which is not older. Returns the former
 * base, to be let go without the lock. at_once: all will be written now. */
const cop_snapshot *cop__serializer_move(cop__serializer *s, const cop_snapshot *snapshot,
                                         bool at_once);

/* ---- formatting (build.c) ---- */

/* Makes fragments and owners of children that follow one another. */
typedef struct cop__builder cop__builder;
cop__builder *cop__builder_open(cop__serializer *s, cop__owner *owner, bool begun, size_t cut);
void cop__builder_close(cop__builder *b);
/* False: memory was refused. */
bool cop__build_child(cop__builder *b, uint32_t id);
/* The child at list->id comes next. */
void cop__build_look_ahead(cop__builder *b, const struct cop__json_list *list);
/* What is there becomes a fragment. */
bool cop__build_flush(cop__builder *b);
/* Bytes that are no fragment yet. */
size_t cop__build_pending(const cop__builder *b);
/* An element that stays as it is. */
bool cop__build_keep(cop__builder *b, cop__element element, bool begun);
/* Fragments (bare pointers) and owners so far. */
cop__element *cop__built(cop__builder *b, size_t *n);
/* Something has been written. */
bool cop__build_begun(const cop__builder *b);
/* Frees the fragments that are new; there are none any more. */
void cop__build_discard(cop__builder *b);
/* What another one has built becomes the last of this one's. */
bool cop__build_join(cop__builder *b, cop__builder *from);
/* The last one is taken back. */
void cop__build_unkeep(cop__builder *b, bool begun);
/* Separator and key of an owner, as its parent's text needs them; NULL: memory was refused. */
cop__leaf *cop__build_open(cop__serializer *s, const cop__owner *owner, bool first);
/* One scalar at out[0..]: its length, or 0 when it is longer than COP__SPLICE_MAX. */
#define COP__SPLICE_MAX 1024u
size_t cop__build_scalar(const cop_snapshot *snapshot, uint32_t id, char out[COP__SPLICE_MAX]);

/* ---- bringing into step (sync.c) ---- */

/* shared: with the workers of the pool. */
bool cop__owner_sync(cop__serializer *s, cop__owner *owner, bool shared);
/* Formats one fragment anew: its successor in its row, or the owner falls out of step. */
bool cop__fragment_renew(cop__serializer *s, cop__fragment *f);

/* ---- writing (rewrite.c) ---- */

/* Nothing at the owner or below is dirty any more; false: memory was refused. */
bool cop__owner_write(cop__serializer *s, cop__owner *owner);
cop_rope *cop__owner_rope(cop__serializer *s, cop__owner *owner);
/* Writes the values of a fragment that are marked, if they are few. */
void cop__fragment_splice(cop__serializer *s, cop__fragment *f);

/* One element with what is below it; not the records above. */
bool cop__element_write(cop__serializer *s, cop__element element);

/* ---- with the workers (share.c) ---- */

/* The children of an owner that had no elements into b. False: that is to be done alone. */
bool cop__share_build(cop__serializer *s, cop__owner *owner, cop__builder *b, bool *good);
/* Writes the elements of an owner that is in step, if they are enough to be shared. False: memory was
 * refused. It may have fallen out of step. */
bool cop__share_elements(cop__serializer *s, cop__owner *owner);

#endif

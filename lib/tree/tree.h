/* SPDX-License-Identifier: MIT */
/*
 * The tree: all versioned data of a store, as pages in four spaces, and the draft of the next
 * version.
 *
 *   values  slot of atom id: page id / 32, place id % 32
 *   info    8 bytes of atom id (page id / 64): how it is named, see cop__info below
 *   lists   pages of child lists (list.h) and overflow pages of the directory
 *   names   buckets of the directory from path to name, two pages each (directory.h)
 *
 * ORDERING. One thread at a time, the holder of the commit right, works on a cop__tree. It writes
 * pages that no reader can reach, then publishes by ONE release store of the root record's address
 * (cop__tree_publish's caller does it); a reader acquires that address while pinned (pin.h) and
 * follows plain pointers from there. The address dependency and the acquire make every page of the
 * version visible whole. Readers never write here.
 *
 * PROGRESS. Readers: wait-free. Everything that takes a cop__tree: blocking by way of the commit
 * right, no waiting of its own.
 *
 * FAILURE. Any draft operation may run out of memory; it then sets tree->failed, returns false or
 * NULL, and the caller abandons the whole draft. Other refusals are found before anything is
 * changed.
 */
#ifndef COP_TREE_TREE_H
#define COP_TREE_TREE_H

#include <coppice/snapshot.h>

#include "reclaim/dead.h"
#include "tree/name.h"
#include "tree/slot.h"
#include "tree/space.h"

enum { COP_SPACE_VALUES, COP_SPACE_INFO, COP_SPACE_LISTS, COP_SPACE_NAMES, COP_SPACES };

#define COP_SLOT_BITS 5u
#define COP_SLOTS 32u /* value slots a page */
#define COP_INFO_BITS 6u
#define COP_INFOS 64u /* info words a page */

/* The root record of one publication, immutable once published but for the header and the fields
 * under the snapshot lock. Its address is what pins hold. Its memory reads as zero in a forked
 * child: no page is found then, and `store` is NULL. */
struct cop_snapshot {
    uint64_t header; /* the dead lists' */
    struct cop_store *store;
    cop__space_root space[COP_SPACES];
    uint64_t stamp;
    uint64_t version;
    uint64_t atoms;
    uint64_t time_ns;
    uint64_t hash_seed;
    uint32_t buckets;
    /* under the store's snapshot lock */
    uint32_t holds;
    bool seen;   /* by a scan: dead things may be filed under it */
    bool handle; /* it is a cop__handle: reclaim/handle.h */
    uint32_t for_handles, for_watchers, for_texts, for_library; /* of the holds */
    uint32_t kept; /* holds of the history's */
    struct cop_snapshot *previous_held, *next_held;
    _Atomic uint64_t alone; /* bytes that only it sees, as the last scan found */
    struct cop_snapshot *next_kept; /* published, and on its way to the history */
    uint64_t replaced_ns; /* time_ns of the next one; 0: it is the newest. With the right */
    /* of the first who holds it: under the snapshot lock */
    uint64_t held_ns; /* CLOCK_MONOTONIC */
    const void *held_site;
    uint32_t held_thread;
};

_Static_assert(sizeof(struct cop_snapshot) <= COP_ROOT_BYTES, "a root record fits its memory");

/*
 * An info word says how an atom hangs in the tree:
 *   0           anonymous
 *   xx00        address of its cop__name (name.h): a child of an object
 *   page << 2 | 1   element of an array, listed in this page of the lists space
 *   id << 2 | 3     element of the array `id`, whose list is a block
 */
typedef uint64_t cop__info;

/* One record a page or node that the draft touched first. */
typedef struct cop__undo {
    void *page; /* what stood there */
    uint64_t birth;
    uint32_t number;
    uint16_t generation;
    uint8_t live;
    uint8_t space : 4;
    uint8_t level : 4; /* 0: a page, k: a node of level k-1 */
} cop__undo;

typedef struct cop__run { /* ids next .. end-1 are free for the taking */
    uint32_t next, end;
} cop__run;

typedef struct cop__freed { /* ids of one value page */
    uint32_t page, mask;
} cop__freed;

/* A name in the directory: see directory.h. */
typedef struct cop__directory_entry {
    uint64_t word;
    uint32_t id;
} cop__directory_entry;

/* What a draft counts, restored when it is abandoned. */
typedef struct cop__counts {
    uint64_t atoms;
    uint64_t names; /* in the directory, stale ones included */
    uint64_t stale; /* names of erased atoms, waiting to leave the directory */
    uint64_t made; /* names that this draft made */
    uint32_t buckets;
    cop__run run;             /* ids for small branches and anonymous atoms */
    uint64_t freed_head;      /* ring position of the oldest freed ids */
    uint32_t freed_head_mask; /* what is left of that entry, 0: all of it */
    uint32_t spare_lists;     /* free page numbers of the lists space, as a stack */
    uint32_t sweep; /* the bucket where looking for stale names goes on */
    bool structure; /* the draft erased something published, or changed an order */
} cop__counts;

/* A pass of compact.h: where it is. */
typedef struct cop__compaction {
    uint32_t space, level; /* level 0: pages, k: nodes of level k-1 */
    uint32_t number;
    bool running;
    bool moved; /* something, in the step under way */
    uint64_t began; /* the stamp published then */
} cop__compaction;

typedef struct cop__tree {
    cop__memory *memory;
    cop__pool pool;
    cop__dead dead;
    cop__space space[COP_SPACES];
    cop_snapshot *root; /* as published */
    uint64_t stamp;     /* of the draft */
    uint64_t version;   /* that the draft will publish */
    cop_status failed;  /* sticky: the draft must be abandoned */
    bool strict;        /* waves are not lenient: something may give way yet */
    bool lenient;       /* a text that does not fit becomes the error value COP_UNFIT, see slot.h */
    bool unfit;         /* one did; the graph takes this back */
    uint32_t edited;    /* a bit a space: the draft has touched pages of it */
    uint32_t grown;     /* and made page numbers */
    uint64_t hash_seed;
    cop__counts now, before;
    cop__undo *undo;
    size_t undo_count, undo_capacity;
    size_t limbo_before;
    cop__freed *freed; /* ring of freed ids, oldest first; capacity a power of two */
    uint64_t freed_tail;
    size_t freed_capacity;
    cop__freed *freeing; /* by this draft */
    size_t freeing_count, freeing_capacity;
    uint32_t *spare_list; /* stack of free numbers in the lists space */
    size_t spare_list_capacity;
    uint32_t *sparing; /* freed by this draft */
    size_t sparing_count, sparing_capacity;
    cop__directory_entry *scratch; /* names of a bucket that is being split or joined */
    size_t scratch_capacity;
    cop__compaction compaction;
    cop__name *names_unborn; /* made and taken out by this draft, linked through their headers */
} cop__tree;

/* An empty tree with a published root (version 0), not yet visible to readers; `store` goes into
 * every root record. */
cop_status cop__tree_init(cop__tree *tree, cop__memory *memory, size_t chunk_bytes, bool huge_pages,
                          cop_store *store);
/* No reader is left. Legal after a failed init. */
void cop__tree_end(cop__tree *tree);
/* Between drafts: scratch vectors that a large draft left much too long are cut short. */
void cop__tree_shrink(cop__tree *tree);

/* ---- the draft ---- */

void cop__draft_begin(cop__tree *tree);
/* As if it had never been. */
void cop__draft_abandon(cop__tree *tree);
/* True when the draft differs from what is published; marks the branches above each change as
 * changed, and retires what was replaced. False with tree->failed set when out of memory. */
bool cop__draft_finish(cop__tree *tree);
/* The new root record, filled in; NULL when refused (the draft is still to be abandoned). The caller
 * makes it visible and then calls cop__draft_published. */
cop_snapshot *cop__draft_root(cop__tree *tree);
void cop__draft_published(cop__tree *tree, cop_snapshot *root);

/* The page to write to, copied if need be; NULL when out of memory. A page that did not exist is
 * zeroed. number may be one past the last. */
void *cop__draft_edit_slow(cop__tree *tree, unsigned space, uint32_t number);
static inline void *
cop__draft_edit(cop__tree *tree, unsigned space, uint32_t number)
{
    const cop__space *s = &tree->space[space];
    if (cop__likely(number < s->count) && s->entry[number].birth == tree->stamp &&
        s->entry[number].page != NULL)
        return s->entry[number].page;
    return cop__draft_edit_slow(tree, space, number);
}
/* Takes into the draft a value page that was copied by somebody else: entry->page is the copy,
 * entry->before what it was copied from. On failure the entry is as before the copy. */
bool cop__draft_adopt(cop__tree *tree, uint32_t number);
/* Copies the nodes above a page, and not the page. False when out of memory. */
bool cop__draft_relink(cop__tree *tree, unsigned space, uint32_t number);
/* Takes a page out; what happens to it if it was published: */
typedef enum cop__fate {
    COP_FATE_DIES,       /* it dies with this draft */
    COP_FATE_DIES_WHOLE /* and the long values in it die with it */
} cop__fate;
bool cop__draft_drop(cop__tree *tree, unsigned space, uint32_t number, cop__fate fate);
/* A fresh page number in the lists space, its page zeroed; 0 when out of memory. */
uint32_t cop__draft_new_list_page(cop__tree *tree);
bool cop__draft_drop_list_page(cop__tree *tree, uint32_t number);

static inline void *
cop__draft_page(const cop__tree *tree, unsigned space, uint32_t number)
{
    const cop__space *s = &tree->space[space];
    return number < s->count ? s->entry[number].page : NULL;
}

/* The slot of an id in the draft, or NULL when its page does not exist. */
static inline const cop__slot *
cop__draft_slot(const cop__tree *tree, uint32_t id)
{
    const cop__slot *page = cop__draft_page(tree, COP_SPACE_VALUES, id >> COP_SLOT_BITS);
    return page != NULL ? &page[id & (COP_SLOTS - 1)] : NULL;
}

/* Asks for the memory of an atom that is about to be written, in three steps some operations apart:
 * its page's entry in the table, its page, its long value. Each step reads what the one before it
 * asked for. */
static inline void
cop__draft_prefetch_entry(const cop__tree *tree, uint32_t id)
{
    const cop__space *s = &tree->space[COP_SPACE_VALUES];
    if (id >> COP_SLOT_BITS < s->count)
        __builtin_prefetch(&s->entry[id >> COP_SLOT_BITS]);
}

static inline void
cop__draft_prefetch_page(const cop__tree *tree, uint32_t id)
{
    const cop__space *s = &tree->space[COP_SPACE_VALUES];
    uint32_t number = id >> COP_SLOT_BITS;
    if (number >= s->count || s->entry[number].page == NULL)
        return;
    const char *page = s->entry[number].page;
    if (s->entry[number].birth == tree->stamp)
        __builtin_prefetch(page + (id & (COP_SLOTS - 1)) * sizeof(cop__slot));
    else
        for (unsigned i = 0; i < COP_PAGE_BYTES; i += COP_CACHE_LINE)
            __builtin_prefetch(page + i);
}

static inline void
cop__draft_prefetch_value(const cop__tree *tree, uint32_t id)
{
    const cop__slot *slot = cop__draft_slot(tree, id);
    if (slot == NULL || !cop__slot_is_long(slot))
        return;
    __builtin_prefetch(cop_value_data(slot) - sizeof(uint64_t));
    __builtin_prefetch(cop_value_data(slot) + sizeof(uint64_t) * 7);
}

static inline const cop__slot *
cop__draft_atom(const cop__tree *tree, cop_atom atom)
{
    const cop__slot *slot = cop__draft_slot(tree, atom.id);
    return slot != NULL && cop__slot_alive(slot) && slot->reserved == atom.generation ? slot : NULL;
}

static inline cop__info
cop__draft_info(const cop__tree *tree, uint32_t id)
{
    const cop__info *page = cop__draft_page(tree, COP_SPACE_INFO, id >> COP_INFO_BITS);
    return page != NULL ? page[id & (COP_INFOS - 1)] : 0;
}

/* ---- the same, as a reader of a root record ---- */

static inline const cop__slot *
cop__root_slot(const cop_snapshot *root, uint32_t id)
{
    const cop__space_root *values = &root->space[COP_SPACE_VALUES];
    if (cop__unlikely(id >> COP_SLOT_BITS >= values->count))
        return NULL;
    const cop__slot *page = cop__space_page_dense(values, id >> COP_SLOT_BITS);
    return &page[id & (COP_SLOTS - 1)];
}

static inline const cop__slot *
cop__root_atom(const cop_snapshot *root, cop_atom atom)
{
    const cop__slot *slot = cop__root_slot(root, atom.id);
    return slot != NULL && slot->reserved == atom.generation && cop__slot_alive(slot) ? slot : NULL;
}

static inline cop__info
cop__root_info(const cop_snapshot *root, uint32_t id)
{
    const cop__info *page = cop__space_page(&root->space[COP_SPACE_INFO], id >> COP_INFO_BITS);
    return page != NULL ? page[id & (COP_INFOS - 1)] : 0;
}

static inline const cop__name *
cop__info_name(cop__info info)
{
    return info != 0 && (info & 3) == 0 ? (const cop__name *)(uintptr_t)info : NULL;
}

/* Grows a vector counted under TABLES to at least `need` elements; it is given back with
 * cop__memory_table_free. False when refused. */
bool cop__tree_grow(cop__tree *tree, void *vector, size_t *capacity, size_t need, size_t element);

#endif

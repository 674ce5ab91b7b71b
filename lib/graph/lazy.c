/* SPDX-License-Identifier: MIT */
/* Records of lazy and background atoms: their life. See lazy.h. */
#include "graph/lazy.h"

/* ---- records ---- */

static uint64_t
key_of(cop_atom atom)
{
    return (uint64_t)atom.generation << 32 | atom.id;
}

/* Under lazies.lock, or by the holder of the right. */
static uint32_t
number_of(const cop__lazies *all, cop_atom atom)
{
    return cop__map_get(&all->of, key_of(atom));
}

cop__lazy *
cop__lazy_of(cop__graph *graph, cop_atom atom)
{
    return graph->lazies->item[number_of(graph->lazies, atom)];
}

static cop__lazy *
lazy_new(cop__graph *graph, const cop__definition *definition, cop_atom atom)
{
    size_t bytes = sizeof(cop__side) + definition->label_length + 1;
    cop__lazy *lazy = cop__memory_zalloc(graph->memory, COP_MEMORY_GRAPH, sizeof *lazy, 16);
    cop__side *side = cop__memory_zalloc(graph->memory, COP_MEMORY_GRAPH, bytes, 16);
    if (lazy == NULL || side == NULL) {
        cop__memory_free(graph->memory, COP_MEMORY_GRAPH, lazy, sizeof *lazy, 16);
        cop__memory_free(graph->memory, COP_MEMORY_GRAPH, side, bytes, 16);
        return NULL;
    }
    side->destroy = definition->destroy;
    side->context = definition->context;
    side->bytes = bytes;
    if (definition->label != NULL)
        memcpy(side->label, definition->label, definition->label_length);
    lazy->head.get = cop__lazy_get;
    lazy->graph = graph;
    lazy->function = definition->function;
    lazy->context = definition->context;
    lazy->equal = definition->equal;
    lazy->side = side;
    lazy->atom = atom;
    lazy->kind = definition->kind;
    lazy->birth = graph->tree->stamp;
    lazy->death = UINT64_MAX;
    for (unsigned i = 0; i < COP_LAZY_FRONTS; i++)
        lazy->front[i].from = 1;
    pthread_mutex_init(&lazy->lock, NULL);
    return lazy;
}

/* told: its destructor is to run. */
static void
lazy_free(cop__graph *graph, cop__lazy *lazy, bool told)
{
    cop__memos_end(lazy);
    cop__memory_free(graph->memory, COP_MEMORY_GRAPH, lazy->origins,
                     lazy->origin_capacity * sizeof *lazy->origins, 16);
    if (told && lazy->side->destroy != NULL) {
        lazy->side->next = graph->dead;
        graph->dead = lazy->side;
    } else {
        cop__memory_free(graph->memory, COP_MEMORY_GRAPH, lazy->side, lazy->side->bytes, 16);
    }
    pthread_mutex_destroy(&lazy->lock);
    cop__memory_free(graph->memory, COP_MEMORY_GRAPH, lazy, sizeof *lazy, 16);
}

static void
background_enter(cop__lazies *all, cop__lazy *lazy)
{
    if (lazy->kind != COP_BACKGROUND)
        return;
    lazy->all_next = all->background;
    if (all->background != NULL)
        all->background->all_previous = lazy;
    all->background = lazy;
    cop__add_relaxed(&all->backgrounds, 1u);
}

static void
background_leave(cop__lazies *all, cop__lazy *lazy)
{
    if (lazy->kind != COP_BACKGROUND)
        return;
    if (all->next_background == lazy)
        all->next_background = lazy->all_next;
    if (lazy->all_previous != NULL)
        lazy->all_previous->all_next = lazy->all_next;
    else
        all->background = lazy->all_next;
    if (lazy->all_next != NULL)
        lazy->all_next->all_previous = lazy->all_previous;
    cop__sub_relaxed(&all->backgrounds, 1u);
}

/* Takes a record out of everything and frees it. */
static void
item_end(cop__graph *graph, uint32_t number, bool told)
{
    cop__lazies *all = graph->lazies;
    cop__lazy *lazy = all->item[number];
    pthread_mutex_lock(&all->lock);
    cop__map_remove(&all->of, key_of(lazy->atom));
    cop__lazy_unlist(all, lazy);
    background_leave(all, lazy);
    for (cop__lazy **link = &all->crowded; *link != NULL; link = &(*link)->crowded_next)
        if (*link == lazy) {
            *link = lazy->crowded_next;
            break;
        }
    pthread_mutex_unlock(&all->lock);
    cop__lazy_look_gone(lazy);
    all->item[number] = NULL;
    all->free_items.item[all->free_items.count++] = number; /* room was made with it */
    all->live--;
    lazy_free(graph, lazy, told);
}

static bool
list_room(cop__graph *graph, cop__list32 *list, size_t need)
{
    return cop__graph_grow(graph, &list->item, &list->capacity, need, sizeof *list->item);
}

/* Room in every list for all records, so that what follows cannot fail. */
static bool
items_room(cop__graph *graph, size_t n)
{
    cop__lazies *all = graph->lazies;
    pthread_mutex_lock(&all->lock); /* readers look at items */
    bool fine = cop__graph_grow(graph, &all->item, &all->item_capacity, n, sizeof *all->item);
    pthread_mutex_unlock(&all->lock);
    return fine && list_room(graph, &all->free_items, n) && list_room(graph, &all->fresh, n) &&
           list_room(graph, &all->dying, n) && list_room(graph, &all->gone, n) &&
           list_room(graph, &all->told, n);
}

static bool
item_enter(cop__graph *graph, cop__lazy *lazy)
{
    cop__lazies *all = graph->lazies;
    bool again = all->free_items.count > 0;
    uint32_t number = again ? all->free_items.item[all->free_items.count - 1] : all->item_count;
    if (!items_room(graph, (size_t)number + 1))
        return false;
    pthread_mutex_lock(&all->lock);
    bool fine = cop__map_put(graph, &all->of, key_of(lazy->atom), number);
    if (fine) {
        all->item[number] = lazy;
        background_enter(all, lazy);
    }
    pthread_mutex_unlock(&all->lock);
    if (!fine)
        return false;
    if (again)
        all->free_items.count--;
    else
        all->item_count++;
    all->fresh.item[all->fresh.count++] = number;
    all->live++;
    return true;
}

bool
cop__lazy_define(cop__graph *graph, const cop__definition *definition, cop_atom atom,
                 cop__slot *slot)
{
    cop__lazy *lazy = lazy_new(graph, definition, atom);
    if (lazy == NULL || !item_enter(graph, lazy)) {
        if (lazy != NULL)
            lazy_free(graph, lazy, false);
        graph->tree->failed = COP_E_MEMORY;
        return false;
    }
    if (lazy->kind == COP_LAZY)
        cop__slot_set_lazy(slot, &lazy->head);
    return true;
}

uint32_t
cop__lazy_promote(cop__graph *graph, uint32_t id)
{
    const cop__slot *slot = cop__draft_slot(graph->tree, id);
    cop__lazy *lazy = (cop__lazy *)(void *)cop__slot_lazy(slot);
    /* The context stays the record's: readers of older versions go on using it. */
    cop__definition definition = {.function = lazy->function,
                                  .context = lazy->context,
                                  .equal = lazy->equal,
                                  .kind = COP_EAGER};
    if (lazy->side->label[0] != 0) {
        definition.label = lazy->side->label;
        definition.label_length = strlen(lazy->side->label);
    }
    if (cop__graph_define(graph, &definition, id)) {
        cop__lazy_look_promoted(lazy, graph->records[id].node);
        cop__follow_promoted(graph, id);
    }
    return graph->tree->failed == COP_OK ? graph->records[id].node : 0;
}

/* ---- drafts ---- */

static bool
draft_has(const cop__tree *tree, const cop__lazy *lazy)
{
    return cop__draft_atom(tree, lazy->atom) != NULL;
}

/* A slot that was published and that the draft touched. */
static void
slot_happened(cop__graph *graph, uint32_t id, const cop__slot *before)
{
    cop__lazies *all = graph->lazies;
    if (!cop__slot_alive(before) || !(before->type & COP_SLOT_COMPUTED))
        return;
    uint32_t number = number_of(all, (cop_atom){id, before->reserved});
    if (number != 0 && !draft_has(graph->tree, all->item[number]))
        all->dying.item[all->dying.count++] = number;
}

static void
page_happened(cop__graph *graph, const cop__undo *undo)
{
    const cop__page_entry *entry = &graph->tree->space[COP_SPACE_VALUES].entry[undo->number];
    const cop__slot *before = undo->page;
    bool dropped =
        entry->page == NULL || (before != NULL && entry->before == NULL); /* maybe made anew */
    uint32_t left = dropped ? UINT32_MAX : entry->touched;
    for (; before != NULL && left != 0; left &= left - 1) {
        unsigned k = (unsigned)__builtin_ctz(left);
        slot_happened(graph, (undo->number << COP_SLOT_BITS) + k, &before[k]);
    }
}

void
cop__lazies_batch(cop__graph *graph)
{
    cop__lazies *all = graph->lazies;
    const cop__tree *tree = graph->tree;
    if (all->live == all->fresh.count || !tree->now.structure)
        return;
    for (size_t i = 0; i < tree->undo_count; i++)
        if (tree->undo[i].level == 0 && tree->undo[i].space == COP_SPACE_VALUES)
            page_happened(graph, &tree->undo[i]);
}

bool
cop__lazy_origin_add(cop__graph *graph, cop__lazy *lazy, uint64_t version, bool *first)
{
    cop__lazies *all = graph->lazies;
    uint64_t stamp = graph->tree->stamp;
    pthread_mutex_lock(&all->lock);
    size_t n = lazy->origin_count;
    bool again = n > 0 && lazy->origins[n - 1].stamp == stamp;
    bool fine = again || cop__graph_grow(graph, &lazy->origins, &lazy->origin_capacity, n + 1,
                                         sizeof *lazy->origins);
    *first = n == 0;
    if (fine) {
        lazy->origins[again ? n - 1 : n] = (cop__origin){stamp, version};
        lazy->origin_count = again ? n : n + 1;
        if (!again)
            all->told.item[all->told.count++] = number_of(all, lazy->atom);
    }
    pthread_mutex_unlock(&all->lock);
    return fine;
}

bool
cop__lazy_origin(cop__graph *graph, const cop_snapshot *snapshot, cop_atom atom, uint64_t *version)
{
    cop__lazies *all = graph->lazies;
    pthread_mutex_lock(&all->lock);
    const cop__lazy *lazy = all->item[number_of(all, atom)];
    bool background = lazy != NULL && lazy->kind == COP_BACKGROUND;
    for (size_t i = 0; background && i < lazy->origin_count; i++)
        if (lazy->origins[i].stamp <= snapshot->stamp)
            *version = lazy->origins[i].version;
    pthread_mutex_unlock(&all->lock);
    return background;
}

/* Origins that this draft wrote down go, unless it was published. */
static void
origins_end(cop__graph *graph)
{
    cop__lazies *all = graph->lazies;
    uint64_t current = graph->tree->root->stamp;
    if (all->told.count == 0)
        return;
    pthread_mutex_lock(&all->lock);
    for (size_t i = 0; i < all->told.count; i++) {
        cop__lazy *lazy = all->item[all->told.item[i]];
        while (lazy != NULL && lazy->origin_count > 0 &&
               lazy->origins[lazy->origin_count - 1].stamp > current)
            lazy->origin_count--;
    }
    pthread_mutex_unlock(&all->lock);
    all->told.count = 0;
}

void
cop__lazies_abandon(cop__graph *graph)
{
    cop__lazies *all = graph->lazies;
    origins_end(graph);
    while (all->fresh.count > 0)
        item_end(graph, all->fresh.item[--all->fresh.count], false);
    all->dying.count = 0;
}

void
cop__lazies_published(cop__graph *graph)
{
    cop__lazies *all = graph->lazies;
    origins_end(graph);
    if (all->fresh.count + all->dying.count == 0)
        return;
    for (size_t i = 0; i < all->fresh.count; i++) /* made and erased: nobody saw it */
        if (!draft_has(graph->tree, all->item[all->fresh.item[i]]))
            item_end(graph, all->fresh.item[i], true);
    all->fresh.count = 0;
    pthread_mutex_lock(&all->lock);
    for (size_t i = 0; i < all->dying.count; i++) {
        cop__lazy *lazy = all->item[all->dying.item[i]];
        lazy->death = graph->tree->root->stamp;
        cop__lazy_look_gone(lazy);
        all->gone.item[all->gone.count++] = all->dying.item[i];
    }
    pthread_mutex_unlock(&all->lock);
    all->scan_due |= all->dying.count > 0;
    all->dying.count = 0;
}

bool
cop__lazies_scan_due(cop__graph *graph)
{
    bool due = graph->lazies->scan_due;
    graph->lazies->scan_due = false;
    return due;
}

/* ---- scans ---- */

/* Origins that no held version can ask for. */
static void
origins_thin(cop__lazy *lazy, const uint64_t *stamps, size_t n, uint64_t current)
{
    size_t kept = 0;
    for (size_t i = 0; i < lazy->origin_count; i++) {
        cop__origin origin = lazy->origins[i];
        bool last = i + 1 == lazy->origin_count;
        uint64_t until = last ? UINT64_MAX : lazy->origins[i + 1].stamp - 1;
        if (last || current <= until || cop__held_between(stamps, n, origin.stamp, until))
            lazy->origins[kept++] = origin;
    }
    lazy->origin_count = kept;
}

void
cop__lazies_scanned(cop__graph *graph, const uint64_t *stamps, size_t n, uint64_t current)
{
    cop__lazies *all = graph->lazies;
    if (all->live == 0)
        return;
    size_t kept = 0;
    for (size_t i = 0; i < all->gone.count; i++) {
        const cop__lazy *lazy = all->item[all->gone.item[i]];
        if (cop__held_between(stamps, n, lazy->birth, lazy->death - 1))
            all->gone.item[kept++] = all->gone.item[i];
        else
            item_end(graph, all->gone.item[i], true);
    }
    all->gone.count = kept;
    pthread_mutex_lock(&all->lock);
    for (cop__lazy **link = &all->crowded; *link != NULL;) {
        cop__lazy *lazy = *link;
        if (cop__memos_thin(lazy, stamps, n, current)) {
            link = &lazy->crowded_next;
            continue;
        }
        *link = lazy->crowded_next;
        lazy->crowded = false;
    }
    for (cop__lazy *lazy = all->background; lazy != NULL; lazy = lazy->all_next)
        if (lazy->origin_count > 1)
            origins_thin(lazy, stamps, n, current);
    pthread_mutex_unlock(&all->lock);
}

/* ---- life ---- */

bool
cop__lazies_init(cop__graph *graph)
{
    cop__lazies *all =
        cop__memory_zalloc(graph->memory, COP_MEMORY_GRAPH, sizeof *all, _Alignof(cop__lazies));
    if (all == NULL)
        return false;
    pthread_mutex_init(&all->lock, NULL);
    graph->lazies = all;
    if (items_room(graph, 1)) {
        all->item[0] = NULL;
        all->item_count = 1;
        return true;
    }
    cop__lazies_end(graph);
    return false;
}

static void
list_end(cop__graph *graph, cop__list32 *list)
{
    cop__memory_free(graph->memory, COP_MEMORY_GRAPH, list->item,
                     list->capacity * sizeof *list->item, 16);
}

void
cop__lazies_end(cop__graph *graph)
{
    cop__lazies *all = graph->lazies;
    if (all == NULL)
        return;
    for (uint32_t i = 1; i < all->item_count; i++)
        if (all->item[i] != NULL)
            item_end(graph, i, true);
    cop__memory_free(graph->memory, COP_MEMORY_GRAPH, all->of.entry,
                     all->of.capacity * sizeof *all->of.entry, 16);
    cop__memory_free(graph->memory, COP_MEMORY_GRAPH, all->item,
                     all->item_capacity * sizeof *all->item, 16);
    list_end(graph, &all->free_items);
    list_end(graph, &all->fresh);
    list_end(graph, &all->dying);
    list_end(graph, &all->gone);
    list_end(graph, &all->told);
    pthread_mutex_destroy(&all->lock);
    cop__memory_free(graph->memory, COP_MEMORY_GRAPH, all, sizeof *all, _Alignof(cop__lazies));
    graph->lazies = NULL;
}

/* SPDX-License-Identifier: MIT */
/*
 * Dependencies that are no atom's value: what a path leads to, which children a branch has.
 *
 * A path is found by its hash when an atom of that name comes or goes. A path one of whose segments
 * looks like a position in an array may lead elsewhere without any name changing; such "loose"
 * paths are resolved anew after a batch that made, erased or moved atoms. Number 0 stands for no
 * interest.
 */
#include "graph/graph.h"

#include "tree/path.h"

/* ---- the map ---- */

static uint32_t
slot_of(const cop__map *map, uint64_t key)
{
    return (uint32_t)((key * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & (map->capacity - 1);
}

static void
map_insert(cop__map *map, uint64_t key, uint32_t value)
{
    uint32_t i = slot_of(map, key);
    while (map->entry[i].value != 0 && map->entry[i].key != key)
        i = (i + 1) & (map->capacity - 1);
    map->count += map->entry[i].value == 0;
    map->entry[i] = (struct cop__map_entry){key, value};
}

void
cop__map_end(cop__graph *graph, cop__map *map)
{
    cop__memory_free(graph->memory, COP_MEMORY_GRAPH, map->entry,
                     map->capacity * sizeof *map->entry, 16);
}

bool
cop__map_put(cop__graph *graph, cop__map *map, uint64_t key, uint32_t value)
{
    if (map->count + 1 > map->capacity / 4 * 3) {
        uint32_t wide = map->capacity ? map->capacity * 2 : 16;
        cop__map grown = {.capacity = wide};
        grown.entry =
            cop__memory_zalloc(graph->memory, COP_MEMORY_GRAPH, wide * sizeof *grown.entry, 16);
        if (grown.entry == NULL) {
            graph->tree->failed = COP_E_MEMORY;
            return false;
        }
        for (uint32_t i = 0; i < map->capacity; i++)
            if (map->entry[i].value != 0)
                map_insert(&grown, map->entry[i].key, map->entry[i].value);
        cop__map_end(graph, map);
        *map = grown;
    }
    map_insert(map, key, value);
    return true;
}

uint32_t
cop__map_get(const cop__map *map, uint64_t key)
{
    if (map->count == 0)
        return 0;
    for (uint32_t i = slot_of(map, key); map->entry[i].value != 0;
         i = (i + 1) & (map->capacity - 1))
        if (map->entry[i].key == key)
            return map->entry[i].value;
    return 0;
}

/* Entries behind the hole move up when their search passes it. */
void
cop__map_remove(cop__map *map, uint64_t key)
{
    if (cop__map_get(map, key) == 0)
        return;
    uint32_t mask = map->capacity - 1, hole = slot_of(map, key);
    while (map->entry[hole].key != key || map->entry[hole].value == 0)
        hole = (hole + 1) & mask;
    for (uint32_t i = (hole + 1) & mask; map->entry[i].value != 0; i = (i + 1) & mask) {
        uint32_t home = slot_of(map, map->entry[i].key);
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            map->entry[hole] = map->entry[i];
            hole = i;
        }
    }
    map->entry[hole].value = 0;
    map->count--;
}

/* ---- interests ---- */

static cop__interest *
interest_new(cop__graph *graph, uint32_t *number)
{
    if (graph->interest_free != 0) {
        *number = graph->interest_free;
        graph->interest_free = graph->interests[*number].atom.id;
        return &graph->interests[*number];
    }
    uint32_t first = graph->interest_count == 0; /* number 0 is kept empty */
    if (!cop__graph_grow(graph, &graph->interests, &graph->interest_capacity,
                         graph->interest_count + 1 + first, sizeof *graph->interests))
        return NULL;
    if (first)
        memset(&graph->interests[graph->interest_count++], 0, sizeof *graph->interests);
    *number = graph->interest_count++;
    return &graph->interests[*number];
}

static void
interest_free(cop__graph *graph, uint32_t number)
{
    cop__interest *interest = &graph->interests[number];
    memset(interest, 0, sizeof *interest);
    interest->atom.id = graph->interest_free;
    graph->interest_free = number;
}

static uint64_t
path_key(const cop__graph *graph, const char *path, size_t length)
{
    return cop__path_hash(graph->tree->hash_seed, 0, path, length) | COP_DEPENDS_PATH;
}

/* Paths of one hash stand at following keys. */
static uint32_t
path_find(const cop__graph *graph, const char *path, size_t length, uint64_t *key)
{
    for (*key = path_key(graph, path, length);; *key = (*key + 1) | COP_DEPENDS_PATH) {
        uint32_t number = cop__map_get(&graph->interest_of, *key);
        if (number == 0)
            return 0;
        const cop__interest *interest = &graph->interests[number];
        if (interest->length == length && memcmp(interest->path, path, length) == 0)
            return number;
    }
}

static bool
looks_loose(const char *path, size_t length)
{
    cop__path_walk walk = cop__path_walk_open(path, length);
    const char *segment;
    size_t bytes;
    uint32_t index;
    while (cop__segment_next(&walk, &segment, &bytes))
        if (cop__segment_index(segment, bytes, &index))
            return true;
    return false;
}

uint32_t
cop__interest_path(cop__graph *graph, const char *path, size_t length, cop_atom leads_to)
{
    uint64_t key;
    uint32_t number = path_find(graph, path, length, &key);
    if (number != 0)
        return number;
    char *copy = cop__memory_alloc(graph->memory, COP_MEMORY_GRAPH, length + 1, 16);
    cop__interest *interest = copy != NULL ? interest_new(graph, &number) : NULL;
    if (interest == NULL || !cop__map_put(graph, &graph->interest_of, key, number)) {
        if (interest != NULL)
            interest_free(graph, number);
        cop__memory_free(graph->memory, COP_MEMORY_GRAPH, copy, length + 1, 16);
        graph->tree->failed = COP_E_MEMORY;
        return 0;
    }
    memcpy(copy, path, length);
    copy[length] = 0;
    *interest = (cop__interest){.path = copy,
                                .length = (uint32_t)length,
                                .atom = leads_to,
                                .loose = looks_loose(path, length)};
    graph->interests_live++;
    graph->interests_loose += interest->loose;
    graph->interests_led = true; /* perhaps to an atom of this draft */
    return number;
}

static uint64_t
list_key(cop_atom branch)
{
    return COP_DEPENDS_LIST | (uint64_t)branch.generation << 32 | branch.id;
}

uint32_t
cop__interest_list(cop__graph *graph, cop_atom branch)
{
    uint32_t number = cop__map_get(&graph->interest_of, list_key(branch));
    if (number != 0)
        return number;
    cop__interest *interest = interest_new(graph, &number);
    if (interest == NULL)
        return 0;
    if (!cop__map_put(graph, &graph->interest_of, list_key(branch), number)) {
        interest_free(graph, number);
        return 0;
    }
    *interest = (cop__interest){.atom = branch};
    graph->interests_live++;
    return number;
}

void
cop__interest_drop(cop__graph *graph, uint32_t number)
{
    cop__interest *interest = &graph->interests[number];
    uint64_t key = list_key(interest->atom);
    if (number == 0)
        return;
    if (interest->path != NULL) {
        uint32_t length = interest->length;
        if (path_find(graph, interest->path, length, &key) != number)
            return;
        graph->interests_loose -= interest->loose;
        cop__memory_free(graph->memory, COP_MEMORY_GRAPH, interest->path, length + 1, 16);
    } else if (cop__map_get(&graph->interest_of, key) != number) {
        return; /* gone already */
    }
    cop__map_remove(&graph->interest_of, key);
    graph->interests_live--;
    interest_free(graph, number);
}

/* Where a path leads, {0, 0}: nowhere. */
static cop_atom
path_leads(cop__view view, const cop__interest *interest)
{
    cop__found found = cop__path_resolve(view, interest->path, interest->length);
    if (!found.found)
        return (cop_atom){0, 0};
    const cop__slot *slot = view.root != NULL ? cop__root_slot(view.root, found.id)
                                              : cop__draft_slot(view.tree, found.id);
    return (cop_atom){found.id, slot->reserved};
}

/* ---- what happened ---- */

static void
path_happened(cop__graph *graph, uint32_t id, const cop__name *name, bool came)
{
    char path[COP_PATH_MAX];
    uint64_t key;
    if (name == NULL || cop__name_anchor(name) != 0)
        return;
    uint32_t number = path_find(graph, path, cop__name_path(name, path, sizeof path), &key);
    if (number == 0)
        return;
    cop__interest *interest = &graph->interests[number];
    graph->interests_led = true;
    if (came)
        interest->atom = (cop_atom){id, cop__name_generation(name)};
    else if (interest->atom.id == id && interest->atom.generation == cop__name_generation(name))
        interest->atom = (cop_atom){0, 0};
    cop__dependents_mark(graph, &interest->dependents);
}

void
cop__interest_came(cop__graph *graph, uint32_t id)
{
    if (graph->patterns.live > 0)
        cop__follow_came(graph, id);
    if (graph->interests_live == 0)
        return;
    cop__info info = cop__draft_info(graph->tree, id);
    uint32_t parent = cop__info_parent((cop__view){NULL, graph->tree}, info);
    path_happened(graph, id, cop__info_name(info), true);
    if (parent != UINT32_MAX) /* a new child alone need not have changed its branch's slot */
        cop__interest_list_changed(graph, parent);
}

void
cop__interest_went(cop__graph *graph, uint32_t id)
{
    cop__follow_went(graph, id);
    if (graph->interests_live > 0)
        path_happened(graph, id, cop__info_name(cop__root_info(graph->tree->root, id)), false);
}

void
cop__interest_list_changed(cop__graph *graph, uint32_t id)
{
    const cop__slot *slot = cop__draft_slot(graph->tree, id);
    if (graph->interests_live == 0 || slot == NULL)
        return;
    cop_atom branch = {id, slot->reserved};
    uint32_t number = cop__map_get(&graph->interest_of, list_key(branch));
    if (number != 0)
        cop__dependents_mark(graph, &graph->interests[number].dependents);
}

void
cop__interest_moved(cop__graph *graph)
{
    if (graph->interests_loose == 0 || !graph->structure)
        return;
    for (uint32_t i = 1; i < graph->interest_count; i++) {
        cop__interest *interest = &graph->interests[i];
        if (interest->path == NULL || !interest->loose)
            continue;
        cop_atom now = path_leads((cop__view){NULL, graph->tree}, interest);
        if (now.id != interest->atom.id || now.generation != interest->atom.generation) {
            interest->atom = now;
            graph->interests_led = true;
            cop__dependents_mark(graph, &interest->dependents);
        }
    }
}

void
cop__interest_abandon(cop__graph *graph)
{
    cop__view published = {graph->tree->root, NULL};
    for (uint32_t i = 1; graph->interests_led && i < graph->interest_count; i++)
        if (graph->interests[i].path != NULL)
            graph->interests[i].atom = path_leads(published, &graph->interests[i]);
    graph->interests_led = false;
}

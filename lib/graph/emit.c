/* SPDX-License-Identifier: MIT */
/* What a run emits, written down. See own.h. */
#include "graph/graph.h"

#include <math.h>

#include "tree/path.h"

/* ---- entries, found by parent and segment ---- */

static uint32_t
home_of(const cop__graph *graph, uint32_t parent, const char *segment, size_t length)
{
    uint64_t hash = cop__path_hash(graph->tree->hash_seed, parent, segment, length);
    return (uint32_t)hash & (uint32_t)(graph->own.table_capacity - 1);
}

static uint32_t
next_place(const cop__own *own, uint32_t place)
{
    return (place + 1) & (uint32_t)(own->table_capacity - 1);
}

/* The entry, or 0 and where it would stand. There is a table. */
static uint32_t
look_up(const cop__graph *graph, uint32_t parent, const char *segment, size_t length,
        uint32_t *place)
{
    const cop__own *own = &graph->own;
    uint32_t i = home_of(graph, parent, segment, length);
    for (; own->table[i] != 0; i = next_place(own, i)) {
        const cop__own_entry *entry = &own->entry[own->table[i]];
        if (entry->parent == parent && entry->length == length &&
            memcmp(own->text + entry->segment, segment, length) == 0)
            break;
    }
    *place = i;
    return own->table[i];
}

uint32_t
cop__own_find(const cop__graph *graph, uint32_t parent, const char *segment, size_t length)
{
    uint32_t place;
    return graph->own.table_capacity > 0 ? look_up(graph, parent, segment, length, &place) : 0;
}

static void
table_put(cop__graph *graph, uint32_t number)
{
    cop__own *own = &graph->own;
    cop__own_entry *entry = &own->entry[number];
    uint32_t i = home_of(graph, entry->parent, own->text + entry->segment, entry->length);
    while (own->table[i] != 0)
        i = next_place(own, i);
    own->table[i] = number;
    entry->place = i;
}

static bool
table_room(cop__graph *graph)
{
    cop__own *own = &graph->own;
    size_t had = own->table_capacity, wide = had != 0 ? had * 2 : 64;
    if (own->entry_count * 2 < had)
        return true;
    uint32_t *table = cop__memory_zalloc(graph->memory, COP_MEMORY_GRAPH, wide * sizeof *table, 16);
    if (table == NULL)
        return false;
    cop__memory_free(graph->memory, COP_MEMORY_GRAPH, own->table, had * sizeof *table, 16);
    own->table = table;
    own->table_capacity = wide;
    for (uint32_t i = 1; i < own->entry_count; i++)
        table_put(graph, i);
    return true;
}

static cop__own_entry *
entry_new(cop__graph *graph)
{
    cop__own *own = &graph->own;
    if (!cop__graph_grow(graph, &own->entry, &own->entry_capacity, own->entry_count + 1,
                         sizeof *own->entry))
        return NULL;
    cop__own_entry *entry = &own->entry[own->entry_count++];
    memset(entry, 0, sizeof *entry);
    entry->id = COP_OWN_NEW;
    return entry;
}

bool
cop__own_root(cop__graph *graph)
{
    if (graph->own.entry_count > 0)
        return true;
    cop__own_entry *root = entry_new(graph);
    if (root != NULL)
        root->value = cop_object();
    return root != NULL;
}

/* Copies bytes; their offset. There is room. */
static uint32_t
text_add(cop__own *own, const void *bytes, size_t length)
{
    size_t at = own->text_bytes;
    if (length > 0)
        memcpy(own->text + at, bytes, length);
    own->text_bytes += length;
    return (uint32_t)at;
}

static bool
is_long(const cop_value *value)
{
    return cop_value_is_text(value) && value->inlined == COP_VALUE_OUTSIDE;
}

/* A new child of an entry, the last one. 0: out of memory. */
static uint32_t
entry_add(cop__graph *graph, uint32_t parent, const char *segment, size_t length, uint32_t place,
          const cop_value *value)
{
    cop__own *own = &graph->own;
    size_t bytes = length + (is_long(value) ? cop_value_length(value) : 0);
    if (!cop__graph_grow(graph, &own->text, &own->text_capacity, own->text_bytes + bytes, 1))
        return 0;
    cop__own_entry *entry = entry_new(graph);
    if (entry == NULL)
        return 0;
    uint32_t number = (uint32_t)own->entry_count - 1;
    cop__own_entry *above = &own->entry[parent];
    entry->parent = parent;
    entry->length = (uint16_t)length;
    entry->segment = text_add(own, segment, length);
    entry->value = *value;
    entry->value.reserved = 0;
    if (is_long(value))
        cop__slot_set_word(&entry->value,
                           text_add(own, cop_value_data(value), cop_value_length(value)));
    if (above->last != 0)
        own->entry[above->last].next = number;
    else
        above->first = number;
    above->last = number;
    above->count++;
    own->table[place] = number;
    entry->place = place;
    return number;
}

cop_value
cop__own_value(const cop__own *own, const cop__own_entry *entry)
{
    cop_value value = entry->value;
    if (is_long(&value))
        cop__slot_set_word(&value, (uint64_t)(uintptr_t)(own->text + cop__slot_word(&value)));
    return value;
}

/* ---- a run ---- */

void
cop__own_begin(cop__graph *graph, const cop__node *node)
{
    cop__own *own = &graph->own;
    for (size_t i = 1; i < own->entry_count; i++)
        own->table[own->entry[i].place] = 0;
    own->entry_count = 0;
    own->text_bytes = 0;
    own->partial = false;
    cop__prefix prefix = cop__prefix_of((cop__view){NULL, graph->tree}, node->id);
    size_t used = cop__prefix_length(prefix);
    own->room = used < COP_PATH_MAX ? COP_PATH_MAX - used : 0;
}

/* What may be emitted, as it will be stored. */
static cop_status
value_take(const cop_value *value, cop_value *taken)
{
    static const char not_finite[] = "the value is not a finite number";
    if (value == NULL || value->type == COP_NONE || value->type > COP_ARRAY)
        return COP_E_INVALID;
    if (value->type == COP_ARRAY)
        return COP_E_UNSUPPORTED;
    *taken = *value;
    if (value->type == COP_F64 && !isfinite(cop_value_f64(value)))
        *taken = cop_error_value(not_finite, sizeof not_finite - 1);
    if (value->type == COP_OBJECT)
        *taken = cop_object();
    return COP_OK;
}

/* The last segment of a path names an entry already. */
static cop_status
emitted_again(cop__own_entry *entry, const cop_value *value)
{
    if (entry->given || entry->value.type != COP_OBJECT || value->type != COP_OBJECT)
        return COP_E_INVALID;
    entry->given = true; /* it was made on the way to something else */
    return COP_OK;
}

/* Goes down the path as far as there are entries, then adds what is missing. */
static cop_status
path_add(cop__graph *graph, const char *path, size_t length, const cop_value *value)
{
    cop__own *own = &graph->own;
    const cop_value object = cop_object();
    cop__path_walk walk = cop__path_walk_open(path, length);
    const char *segment;
    size_t bytes;
    uint32_t at = 0, place;
    while (cop__segment_next(&walk, &segment, &bytes)) {
        bool last = cop__path_walk_ended(&walk);
        if (!table_room(graph))
            return COP_E_MEMORY;
        uint32_t found = look_up(graph, at, segment, bytes, &place);
        if (found != 0 && last)
            return emitted_again(&own->entry[found], value);
        if (found != 0 && own->entry[found].value.type != COP_OBJECT)
            return COP_E_INVALID;
        at = found != 0 ? found
                        : entry_add(graph, at, segment, bytes, place, last ? value : &object);
        if (at == 0)
            return COP_E_MEMORY;
        own->entry[at].given |= last;
    }
    return COP_OK;
}

cop_status
cop__own_child(cop__graph *graph, const char *path, size_t length, const cop_value *value)
{
    cop_value taken;
    cop_status status = length > 0 ? cop_path_check(path, length, NULL) : COP_E_PATH;
    if (status == COP_OK)
        status = value_take(value, &taken);
    if (status != COP_OK)
        return status;
    size_t bytes = length + (is_long(&taken) ? cop_value_length(&taken) : 0);
    if (length > graph->own.room || bytes > UINT32_MAX - graph->own.text_bytes ||
        graph->own.entry_count > UINT32_MAX / 2)
        return COP_E_LIMIT;
    return cop__own_root(graph) ? path_add(graph, path, length, &taken) : COP_E_MEMORY;
}

cop_status
cop_emit(cop_evaluation *evaluation, const char *path, size_t length, const cop_value *value)
{
    cop__evaluator *run = (cop__evaluator *)(void *)evaluation;
    if (run->node == NULL || !(run->node->flags & COP_NODE_BRANCH) || run->shared ||
        run->snapshot != NULL)
        return COP_E_STATE;
    if (run->stuck != COP_OK)
        return run->stuck;
    cop_status status = cop__own_child(run->graph, path, length, value);
    if (status == COP_E_MEMORY)
        run->stuck = status;
    return status;
}

void
cop__own_free(cop__graph *graph)
{
    cop__own *own = &graph->own;
    cop__memory *memory = graph->memory;
    cop__memory_table_free(memory, COP_MEMORY_GRAPH, own->entry,
                           own->entry_capacity * sizeof *own->entry);
    cop__memory_table_free(memory, COP_MEMORY_GRAPH, own->text, own->text_capacity);
    cop__memory_free(memory, COP_MEMORY_GRAPH, own->table, own->table_capacity * sizeof *own->table,
                     16);
    cop__memory_table_free(memory, COP_MEMORY_GRAPH, own->rest,
                           own->rest_capacity * sizeof *own->rest);
    cop__memory_table_free(memory, COP_MEMORY_GRAPH, own->stack,
                           own->stack_capacity * sizeof *own->stack);
    cop__memory_table_free(memory, COP_MEMORY_GRAPH, own->log,
                           own->log_capacity * sizeof *own->log);
}

/* SPDX-License-Identifier: MIT */
/*
 * Groupings. While a mark is open an emptied group stays, with its name and its reducer's room, out
 * of the order but in the table of names: taking back must find it. It is swept at the end of the
 * mark.
 */
#include "reduce/group.h"

#include "reduce/group_name.h"
#include "reduce/index.h"
#include "reduce/undo.h"

typedef struct group {
    cop__treap_node node; /* in the order: path and id are those of the first member */
    cop__treap members;
    uint32_t size;
    uint32_t name_hash;
    size_t name_length;
    char *name;
    uint32_t next_emptied;
    uint32_t next_changed;
    uint64_t change; /* grouping.change: it is in the list */
    bool in_order, is_emptied; /* emptied: to be looked at when the mark ends */
    cop__reducer reducer;
} group;

struct cop__grouping {
    cop__reduce_space space; /* nodes of values */
    cop__records members;    /* nodes of objects; their value holds the numbers below */
    cop__records groups;
    cop__record_index ids;   /* members by object */
    cop__record_index names; /* groups by the hash of their name */
    cop__treap order;
    uint32_t emptied;
    uint32_t changed; /* list of groups that may give another result, since cop__grouping_changed */
    uint64_t change;  /* counts these lists, from 1 */
    bool reordered;   /* meanwhile groups came, went or changed places */
    cop__reduce_undo undo;
};

/* What a member's node has in place of a value. */
enum { WORD_GROUP, WORD_CHILD };

static group *
group_at(const cop__grouping *g, uint32_t number)
{
    return cop__records_at(&g->groups, number);
}

static cop__treap_node *
member_at(const cop__grouping *g, uint32_t number)
{
    return cop__treap_node_at(&g->members, number);
}

static uint32_t *
group_of(const cop__grouping *g, uint32_t member)
{
    return &member_at(g, member)->value.small.words[WORD_GROUP];
}

static uint32_t
child_of(const cop__grouping *g, uint32_t member)
{
    return member_at(g, member)->value.small.words[WORD_CHILD];
}

static cop__treap_node *
child_node(const cop__grouping *g, uint32_t member)
{
    return cop__treap_node_at(&g->space.nodes, child_of(g, member));
}

/* --- opening and closing ---------------------------------------------------------------- */

cop_status
cop__grouping_open(cop__memory *memory, const cop__reduce_rule *rule, cop__grouping **grouping)
{
    cop_status status = cop__reduce_rule_check(rule);
    *grouping = NULL;
    if (status != COP_OK)
        return status;
    cop__grouping *g = cop__memory_zalloc(memory, COP_MEMORY_GRAPH, sizeof *g, 16);
    if (!g)
        return COP_E_MEMORY;
    cop__reduce_space_init(&g->space, memory, rule);
    cop__records_init(&g->members, memory, sizeof(cop__treap_node));
    cop__records_init(&g->groups, memory, sizeof(group));
    cop__record_index_init(&g->ids, memory);
    cop__record_index_init(&g->names, memory);
    cop__reduce_undo_init(&g->undo, memory);
    g->change = 1;
    *grouping = g;
    return COP_OK;
}

static void
free_group(cop__grouping *g, uint32_t number)
{
    group *it = group_at(g, number);
    cop__record_index_remove(&g->names, it->name_hash, number);
    cop__reducer_end(&it->reducer, &g->space);
    cop__memory_free(g->space.memory, COP_MEMORY_GRAPH, it->name, it->name_length + 1, 16);
    cop__records_give(&g->groups, number);
}

static void
free_groups(cop__grouping *g)
{
    for (uint32_t i = 0; i < g->names.capacity;) {
        if (g->names.slot[i].record != 0)
            free_group(g, g->names.slot[i].record); /* may shift another here */
        else
            i++;
    }
}

void
cop__grouping_close(cop__grouping *g)
{
    if (!g)
        return;
    cop__memory *memory = g->space.memory;
    free_groups(g);
    cop__reduce_undo_end(&g->undo);
    cop__record_index_end(&g->names);
    cop__record_index_end(&g->ids);
    cop__records_end(&g->groups);
    cop__records_end(&g->members);
    cop__reduce_space_end(&g->space);
    cop__memory_free(memory, COP_MEMORY_GRAPH, g, sizeof *g, 16);
}

/* --- groups ------------------------------------------------------------------------------- */

static uint32_t
find_group(const cop__grouping *g, const cop__group_text *text)
{
    uint32_t place = cop__record_index_home(&g->names, text->hash), number;
    while ((number = cop__record_index_next(&g->names, text->hash, &place)) != 0) {
        const group *it = group_at(g, number);
        if (it->name_length == text->length && memcmp(it->name, text->bytes, text->length) == 0)
            return number;
    }
    return 0;
}

static uint32_t
make_group(cop__grouping *g, const cop__group_text *text)
{
    if (!cop__record_index_reserve(&g->names))
        return 0;
    char *name = cop__memory_alloc(g->space.memory, COP_MEMORY_GRAPH, text->length + 1, 16);
    uint32_t number = name ? cop__records_take(&g->groups) : 0;
    if (number == 0) {
        cop__memory_free(g->space.memory, COP_MEMORY_GRAPH, name, text->length + 1, 16);
        return 0;
    }
    memcpy(name, text->bytes, text->length);
    group *it = group_at(g, number);
    memset(it, 0, sizeof *it);
    it->name = name;
    it->name_length = text->length;
    it->name_hash = text->hash;
    cop__reducer_init(&it->reducer, &g->space);
    cop__record_index_insert(&g->names, text->hash, number);
    return number;
}

/* Looks after a group that has lost a member or a double, or was made for one that did not come. */
static void
settle(cop__grouping *g, uint32_t number)
{
    group *it = group_at(g, number);
    if (g->undo.open) {
        if (it->size == 0 && !it->is_emptied) {
            it->is_emptied = true;
            it->next_emptied = g->emptied;
            g->emptied = number;
        }
    } else if (it->size == 0) {
        free_group(g, number);
    } else {
        cop__reducer_trim(&it->reducer, &g->space);
    }
}

/* True with *number 0 when the key names no group; false: out of memory. */
static bool
group_for(cop__grouping *g, const cop_value *key, uint32_t *number)
{
    cop__group_text text;
    *number = 0;
    if (!cop__group_text_of(key, &text))
        return true;
    *number = find_group(g, &text);
    if (*number == 0)
        *number = make_group(g, &text);
    return *number != 0;
}

static void
note_change(cop__grouping *g, uint32_t number)
{
    group *it = group_at(g, number);
    if (it->change == g->change)
        return;
    it->change = g->change;
    it->next_changed = g->changed;
    g->changed = number;
}

/* Puts a group where its first member is, after a change of its members. */
static void
reorder(cop__grouping *g, uint32_t number)
{
    group *it = group_at(g, number);
    uint32_t first = cop__treap_first(&it->members, &g->members);
    const cop__treap_node *node = first != 0 ? member_at(g, first) : NULL;
    if (it->in_order && node && node->id == it->node.id && node->name == it->node.name)
        return;
    bool was = it->in_order;
    uint32_t before = was ? cop__treap_next(&g->groups, number) : 0;
    if (was)
        cop__treap_remove(&g->order, &g->groups, number);
    it->in_order = node != NULL;
    if (node) {
        it->node = *node;
        cop__treap_insert(&g->order, &g->groups, number);
    }
    if (!was || !node || cop__treap_next(&g->groups, number) != before)
        g->reordered = true;
}

/* --- members in groups; nothing here can fail ------------------------------------------------ */

static void
enter(cop__grouping *g, uint32_t member, uint32_t number)
{
    *group_of(g, member) = number;
    if (number == 0)
        return;
    group *it = group_at(g, number);
    note_change(g, number);
    it->size++;
    cop__treap_insert(&it->members, &g->members, member);
    cop__reducer_insert(&it->reducer, &g->space, child_of(g, member));
    reorder(g, number);
}

static void
leave(cop__grouping *g, uint32_t member)
{
    uint32_t number = *group_of(g, member);
    if (number == 0)
        return;
    group *it = group_at(g, number);
    note_change(g, number);
    it->size--;
    cop__treap_remove(&it->members, &g->members, member);
    cop__reducer_remove(&it->reducer, &g->space, child_of(g, member));
    reorder(g, number);
    settle(g, number);
}

static void
set_value(cop__grouping *g, uint32_t member, const cop_value *kept)
{
    uint32_t number = *group_of(g, member);
    if (number == 0) {
        child_node(g, member)->value = *kept;
        return;
    }
    note_change(g, number);
    cop__reducer_change(&group_at(g, number)->reducer, &g->space, child_of(g, member), kept);
    settle(g, number);
}

typedef struct object {
    uint32_t id;
    const cop__name *name;
    cop_value value;
    uint32_t group;
} object;

/* The nodes have been taken. */
static void
put_in(cop__grouping *g, uint32_t member, uint32_t child, const object *o)
{
    cop__treap_node *node = member_at(g, member),
                    *value = cop__treap_node_at(&g->space.nodes, child);
    cop__treap_node_name(node, o->id, o->name);
    *value = *node;
    value->value = o->value;
    memset(&node->value, 0, sizeof node->value);
    node->value.small.words[WORD_CHILD] = child;
    cop__record_index_insert(&g->ids, cop__record_index_mix(o->id), member);
    enter(g, member, o->group);
}

static void
take_out(cop__grouping *g, uint32_t member)
{
    uint32_t child = child_of(g, member);
    leave(g, member);
    cop__record_index_remove(&g->ids, cop__record_index_mix(member_at(g, member)->id), member);
    cop__records_give(&g->space.nodes, child);
    cop__records_give(&g->members, member);
}

/* --- operations ------------------------------------------------------------------------------ */

static void
trim(cop__grouping *g)
{
    if (g->undo.open)
        return;
    cop__records_trim(&g->space.nodes);
    cop__records_trim(&g->members);
    cop__records_trim(&g->groups);
    cop__record_index_trim(&g->ids);
    cop__record_index_trim(&g->names);
}

static void
remember(cop__grouping *g, cop__reduce_undo_kind kind, uint32_t member)
{
    cop__reduce_undo_note(&g->undo, kind, member_at(g, member), &child_node(g, member)->value,
                          *group_of(g, member));
}

/* The group of a key, with room for a value and for a line of the log; false: out of memory. */
static bool
prepare(cop__grouping *g, const cop_value *key, const cop_value *kept, uint32_t *number)
{
    if (!cop__reduce_undo_reserve(&g->undo) || !group_for(g, key, number))
        return false;
    if (*number == 0 || cop__reducer_reserve(&group_at(g, *number)->reducer, &g->space, kept))
        return true;
    settle(g, *number);
    return false;
}

static bool
take_nodes(cop__grouping *g, uint32_t *member, uint32_t *child)
{
    if (!cop__record_index_reserve(&g->ids))
        return false;
    *member = cop__records_take(&g->members);
    *child = *member != 0 ? cop__records_take(&g->space.nodes) : 0;
    if (*child != 0)
        return true;
    if (*member != 0)
        cop__records_give(&g->members, *member);
    return false;
}

cop_status
cop__grouping_insert(cop__grouping *g, uint32_t id, const cop__name *name, const cop_value *key,
                     const cop_value *value)
{
    object o = {id, name, cop__reduce_kept(value), 0};
    uint32_t member, child;
    if (cop__grouping_has(g, id))
        return COP_E_STATE;
    bool ready = prepare(g, key, &o.value, &o.group);
    if (ready && !take_nodes(g, &member, &child)) {
        if (o.group != 0)
            settle(g, o.group);
        ready = false;
    }
    if (!ready) {
        trim(g);
        return COP_E_MEMORY;
    }
    put_in(g, member, child, &o);
    remember(g, COP_UNDO_INSERT, member);
    return COP_OK;
}

cop_status
cop__grouping_change_key(cop__grouping *g, uint32_t id, const cop_value *key)
{
    uint32_t member = cop__record_index_find(&g->ids, id), number;
    if (member == 0)
        return COP_E_ABSENT;
    if (!prepare(g, key, &child_node(g, member)->value, &number)) {
        trim(g);
        return COP_E_MEMORY;
    }
    if (number == *group_of(g, member))
        return COP_OK;
    remember(g, COP_UNDO_GROUP, member);
    leave(g, member);
    enter(g, member, number);
    trim(g);
    return COP_OK;
}

cop_status
cop__grouping_change_value(cop__grouping *g, uint32_t id, const cop_value *value)
{
    uint32_t member = cop__record_index_find(&g->ids, id);
    if (member == 0)
        return COP_E_ABSENT;
    cop_value kept = cop__reduce_kept(value);
    uint32_t number = *group_of(g, member);
    if (!cop__reduce_undo_reserve(&g->undo))
        return COP_E_MEMORY;
    if (number != 0 && !cop__reducer_reserve(&group_at(g, number)->reducer, &g->space, &kept))
        return COP_E_MEMORY;
    remember(g, COP_UNDO_CHANGE, member);
    set_value(g, member, &kept);
    return COP_OK;
}

cop_status
cop__grouping_remove(cop__grouping *g, uint32_t id)
{
    uint32_t member = cop__record_index_find(&g->ids, id);
    if (member == 0)
        return COP_E_ABSENT;
    if (!cop__reduce_undo_reserve(&g->undo))
        return COP_E_MEMORY;
    remember(g, COP_UNDO_REMOVE, member);
    take_out(g, member);
    trim(g);
    return COP_OK;
}

bool
cop__grouping_has(const cop__grouping *g, uint32_t id)
{
    return cop__record_index_find(&g->ids, id) != 0;
}

uint32_t
cop__grouping_size(const cop__grouping *g)
{
    return g->ids.count;
}

/* --- undo --------------------------------------------------------------------------------------
 */

void
cop__grouping_mark(cop__grouping *g)
{
    cop__reduce_undo_open(&g->undo);
}

/* Ends the mark: groups that stayed empty go. */
static void
end_mark(cop__grouping *g)
{
    cop__reduce_undo_close(&g->undo);
    while (g->emptied != 0) {
        uint32_t number = g->emptied;
        group *it = group_at(g, number);
        g->emptied = it->next_emptied;
        it->is_emptied = false;
        settle(g, number);
    }
    trim(g);
}

/* What a group gave up shows as the old group of an entry; all of them are still there. */
void
cop__grouping_commit(cop__grouping *g)
{
    for (uint32_t i = 0; i < g->undo.count; i++) {
        uint32_t number = g->undo.entry[i].group;
        if (number != 0)
            cop__reducer_trim(&group_at(g, number)->reducer, &g->space);
    }
    end_mark(g);
}

static void
distrust(cop__grouping *g, uint32_t number)
{
    if (number != 0)
        cop__reducer_distrust(&group_at(g, number)->reducer, &g->space);
}

static void
put_back(cop__grouping *g, const cop__reduce_undo_entry *entry)
{
    object o = {entry->id, entry->name, entry->value, entry->group};
    uint32_t member, child;
    bool taken = take_nodes(g, &member, &child);
    COP_ALWAYS(taken);
    put_in(g, member, child, &o);
}

static void
take_back(void *content, const cop__reduce_undo_entry *entry)
{
    cop__grouping *g = content;
    uint32_t member = cop__record_index_find(&g->ids, entry->id);
    if (member != 0)
        distrust(g, *group_of(g, member));
    switch ((cop__reduce_undo_kind)entry->kind) {
    case COP_UNDO_INSERT:
        take_out(g, member);
        break;
    case COP_UNDO_CHANGE:
        set_value(g, member, &entry->value);
        break;
    case COP_UNDO_GROUP:
        leave(g, member);
        enter(g, member, entry->group);
        break;
    case COP_UNDO_REMOVE:
        put_back(g, entry);
        break;
    }
    distrust(g, entry->group);
}

void
cop__grouping_rollback(cop__grouping *g)
{
    (void)cop__reduce_undo_back(&g->undo, take_back, g);
    end_mark(g);
}

/* --- results ------------------------------------------------------------------------------------
 */

uint32_t
cop__grouping_first(const cop__grouping *g)
{
    return cop__treap_first(&g->order, &g->groups);
}

uint32_t
cop__grouping_next(const cop__grouping *g, uint32_t number)
{
    return cop__treap_next(&g->groups, number);
}

/* A group that has been freed meanwhile has left the order first. */
bool
cop__grouping_changed(cop__grouping *g, uint32_t *first)
{
    bool same = !g->reordered;
    *first = same ? g->changed : 0;
    g->changed = 0;
    g->reordered = false;
    g->change++;
    return same;
}

uint32_t
cop__grouping_changed_next(const cop__grouping *g, uint32_t number)
{
    return group_at(g, number)->next_changed;
}

const char *
cop__group_name(const cop__grouping *g, uint32_t number, size_t *length)
{
    const group *it = group_at(g, number);
    *length = it->name_length;
    return it->name;
}

uint32_t
cop__group_size(const cop__grouping *g, uint32_t number)
{
    return group_at(g, number)->size;
}

void
cop__group_result(cop__grouping *g, uint32_t number, char *text, size_t capacity, cop_value *result)
{
    group *it = group_at(g, number);
    cop__reducer_result(&it->reducer, &g->space, text, capacity, result);
}

void
cop__group_top(const cop__grouping *g, uint32_t number, cop__top_walk *walk)
{
    cop__top_begin(&group_at(g, number)->reducer, &g->space, walk);
}

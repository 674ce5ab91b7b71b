/* SPDX-License-Identifier: MIT */
#include "tests/support/graph_check.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commit/combiner.h"
#include "commit/txn.h"
#include "graph/lazy.h"
#include "graph/look.h"
#include "store/store_internal.h"
#include "tree/directory.h"

typedef struct check {
    cop__graph *graph;
    const cop_snapshot *root;
    const char *wrong;
    bool clean;
    uint64_t edges, members; /* of dependents: found in lists, found in sets */
    uint64_t words;          /* of the arena in use */
    uint64_t effects, sides, circular, followed, followers, looked;
    uint8_t *free_interest;
} check;

static char complaint[160];

static bool __attribute__((format(printf, 3, 4)))
hold(check *c, bool holds, const char *format, ...)
{
    va_list list;

    if (holds || c->wrong != NULL)
        return holds;
    va_start(list, format);
    vsnprintf(complaint, sizeof complaint, format, list);
    va_end(list);
    c->wrong = complaint;
    return false;
}

/* --- blocks ------------------------------------------------------------------------------- */

static uint32_t
check_dirty_list(check *c, const cop__level *level, uint32_t height)
{
    const cop__graph *g = c->graph;
    uint32_t n = 0;

    for (uint32_t b = level->dirty; b != COP_NODE_NONE && n <= g->block_count; n++) {
        if (!hold(c, b < g->block_count && g->blocks[b].height == height && g->blocks[b].dirty != 0,
                  "block %u among the dirty ones of height %u", b, height))
            return n;
        b = g->blocks[b].next;
    }
    return n;
}

static void
check_blocks(check *c)
{
    const cop__graph *g = c->graph;
    uint64_t used = 0, dirty = 0, effects = 0, listed = 0;

    for (uint32_t b = 0; b < g->block_count; b++) {
        const cop__block *block = &g->blocks[b];
        uint32_t room = block->capacity;
        used += (unsigned)__builtin_popcountll(block->used);
        dirty += block->dirty != 0;
        effects += block->height >= COP_HEIGHT_EFFECT;
        c->words += cop__arena_size(room / 2);
        hold(c, (block->dirty & ~block->used) == 0, "block %u: what is not used is dirty", b);
        hold(c, room == 64 || block->used >> room == 0, "block %u: more than %u", b, room);
    }
    hold(c, used == g->live, "%" PRIu64 " places, %u nodes", used, g->live);
    hold(c, effects == g->effect_blocks, "%" PRIu64 " blocks of effects", effects);
    hold(c, g->effect_level.dirty == COP_NODE_NONE, "effects are dirty");
    for (uint32_t h = 0; h < g->level_count; h++) {
        const cop__level *level = &g->levels[h];
        bool mapped = (g->level_map[h >> 6] >> (h & 63)) & 1;
        listed += check_dirty_list(c, level, h);
        hold(c, mapped == (level->dirty != COP_NODE_NONE), "height %u in the map", h);
        hold(c, !mapped || g->lowest <= h, "%u is dirty, below the lowest", h);
        hold(c, level->roomy == COP_NODE_NONE || g->blocks[level->roomy].height == h,
             "height %u has room in a block of another", h);
    }
    hold(c, listed == 0 || !c->clean, "what is dirty was not run");
    hold(c, listed == dirty, "%" PRIu64 " dirty blocks, %" PRIu64 " listed", dirty, listed);
}

/* --- edges -------------------------------------------------------------------------------- */

static bool
has_member(const cop__graph *g, const cop__dependents *set, const cop__node *node)
{
    if (set->count == 1)
        return set->at == cop__node_number(g, node);
    for (uint32_t i = 0; i + 1 < set->count; i++) {
        const uint64_t *pair = &g->arena.words[set->at] + 1 + 2 * (size_t)i;
        if (pair[0] == node->place >> 6)
            return (pair[1] >> (node->place & 63)) & 1;
    }
    return false;
}

static void
check_set(check *c, const cop__dependents *set)
{
    const cop__graph *g = c->graph;
    const uint64_t *table = &g->arena.words[set->at];
    uint64_t before = UINT64_MAX;

    c->members += set->count == 1;
    if (set->count < 2)
        return;
    c->words += cop__arena_size(1 + 2 * (uint32_t)table[0]);
    hold(c, set->count - 1 <= table[0], "a table of dependents is too full");
    for (uint32_t i = 0; i + 1 < set->count; i++) {
        const uint64_t *pair = table + 1 + 2 * (size_t)i;
        if (!hold(c, pair[0] < g->block_count && (i == 0 || pair[0] > before),
                  "blocks of dependents do not ascend"))
            return;
        hold(c, pair[1] != 0 && (pair[1] & ~g->blocks[pair[0]].used) == 0,
             "dependents of which there are none");
        c->members += (unsigned)__builtin_popcountll(pair[1]);
        before = pair[0];
    }
}

/* The set that a dependency stands in; a key that is the same for dependencies that share it. */
static const cop__dependents *
target(const cop__graph *g, uint64_t dependency, uint64_t *key)
{
    uint64_t what = dependency & COP_DEPENDS_WHAT;
    uint32_t number = (uint32_t)dependency;

    if (what == COP_DEPENDS_LIST)
        number = cop__map_get(&g->interest_of, dependency);
    *key = number;
    if (what < COP_DEPENDS_LIST)
        return number < g->record_count ? &g->records[number].dependents : NULL;
    *key |= UINT64_C(1) << 32;
    return number != 0 && number < g->interest_count ? &g->interests[number].dependents : NULL;
}

static int
key_order(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static void
check_list(check *c, const cop__node *node, uint32_t number)
{
    const cop__graph *g = c->graph;
    const uint64_t *list = cop__dependencies(g, node);
    uint32_t n = cop__dependency_count(node);
    bool bound = !(node->flags & (COP_NODE_CYCLE | COP_NODE_EFFECT)) && !cop__node_dirty(g, node);
    uint64_t *key = calloc(n + 1, sizeof *key);

    if (node->flags & COP_NODE_MANY)
        c->words += node->dependencies.many.capacity;
    hold(c, list[n] == COP_DEPENDENCY_END, "node %u: a list without its end", number);
    hold(c, (n > 1) == ((node->flags & COP_NODE_MANY) != 0), "node %u: %u in a list", number, n);
    for (uint32_t i = 0; i < n; i++) {
        const cop__dependents *set = target(g, list[i], &key[i]);
        const cop__node *below = cop__dependency_node(g, list[i]);
        hold(c, set != NULL && has_member(g, set, node), "node %u is not told of %" PRIx64, number,
             list[i]);
        hold(c,
             !bound || below == NULL || (below->flags & COP_NODE_CYCLE) ||
                 below->height < node->height,
             "node %u stands no higher than what it reads", number);
    }
    qsort(key, n, sizeof *key, key_order);
    for (uint32_t i = 0; i < n; i++)
        c->edges += i == 0 || key[i] != key[i - 1];
    free(key);
}

/* --- nodes -------------------------------------------------------------------------------- */

#define OF_A_DRAFT                                                                              \
    (COP_NODE_FRESH | COP_NODE_ACTIVE | COP_NODE_SETTLED | COP_NODE_DYING | COP_NODE_SEEN)

/* One whose list is of a draft that was abandoned runs in the next wave. */
static bool
is_waiting(const cop__graph *g, const cop__node *node, uint32_t number)
{
    for (size_t i = 0; i < g->relinked.count; i++)
        if (g->relinked.item[i] == number)
            return !(node->flags & COP_NODE_PLACED) || cop__node_dirty(g, node);
    return false;
}

static bool
check_place(check *c, const cop__node *node, uint32_t number)
{
    const cop__graph *g = c->graph;
    uint32_t at = node->place >> 6, bit = node->place & 63;

    if (!hold(c, (node->flags & COP_NODE_PLACED) && at < g->block_count, "node %u has no place",
              number))
        return false;
    const cop__block *block = &g->blocks[at];
    const uint32_t *slots = (const uint32_t *)(const void *)&g->arena.words[block->slots];
    return hold(c,
                (block->used >> bit & 1) && slots[bit] == number && block->height == node->height,
                "node %u is not in its place", number);
}

static void
check_live(check *c, const cop__node *node, uint32_t number)
{
    const cop__graph *g = c->graph;
    bool effect = (node->flags & COP_NODE_EFFECT) != 0;

    if (!check_place(c, node, number))
        return;
    hold(c, !(node->flags & OF_A_DRAFT), "node %u is of a draft: %x", number, node->flags);
    hold(c, !(node->flags & COP_NODE_RELINKED) || is_waiting(g, node, number),
         "node %u has a list that was not published, and does not run again", number);
    hold(c, effect == (node->height >= COP_HEIGHT_EFFECT) && node->height > 0, "node %u: height %x",
         number, node->height);
    hold(c, effect || (node->id < g->record_count && g->records[node->id].node == number),
         "node %u is not its atom's", number);
    c->effects += effect;
    c->circular += (node->flags & COP_NODE_CYCLE) != 0;
    c->followed += (node->flags & COP_NODE_FOLLOWED) != 0;
    c->followers += (node->flags & COP_NODE_FOLLOWER) != 0;
    c->looked += (node->flags & COP_NODE_LOOKED) != 0;
    c->sides += (node->flags & COP_NODE_SIDE) != 0;
    if (node->flags & COP_NODE_SIDE)
        hold(c, g->sides[cop__map_get(&g->side_of, number)] != NULL, "node %u: no side", number);
    check_list(c, node, number);
}

static void
check_nodes(check *c)
{
    const cop__graph *g = c->graph;
    uint64_t live = 0, free_nodes = 0, circular = 0;

    for (uint32_t i = 1; i < g->node_count; i++) {
        live += g->nodes[i].flags != 0;
        if (g->nodes[i].flags != 0 && hold(c, g->nodes[i].flags & COP_NODE_LIVE, "node %u", i))
            check_live(c, &g->nodes[i], i);
    }
    for (uint32_t i = g->free_node; i != 0 && free_nodes <= g->node_count; i = g->nodes[i].id)
        free_nodes += g->nodes[i].flags == 0;
    hold(c, live == g->live && live == g->count.nodes, "%" PRIu64 " nodes", live);
    hold(c, g->node_count == 0 || live + free_nodes + 1 == g->node_count, "nodes are lost");
    hold(c, c->sides == g->side_of.count, "%" PRIu64 " sides", c->sides);
    hold(c, g->side_count == 0 || c->sides + g->sides_free.count + 1 == g->side_count,
         "sides are lost");
    for (size_t i = 0; i < g->circular.count; i++)
        circular += (g->nodes[g->circular.item[i]].flags & COP_NODE_CYCLE) != 0;
    hold(c, circular == c->circular, "%" PRIu64 " in circles, %" PRIu64 " listed", c->circular,
         circular);
    hold(c,
         g->fresh.count + g->dying.count + g->settled.count + g->stack.count +
                 g->frames.count + g->own.log_count + g->stash_count ==
             0,
         "a list of a draft is not empty");
    hold(c, !g->pull_all && g->to_settle == 0 && g->follow.touched == NULL,
         "a mark of a draft is left");
}

/* --- records and interests ---------------------------------------------------------------- */

static void
check_record(check *c, uint32_t id)
{
    const cop__graph *g = c->graph;
    const cop__slot *slot = cop__root_slot(c->root, id);
    uint32_t maker = g->records[id].node & ~COP_OWNED_CHILD;
    bool computed = slot != NULL && cop__slot_alive(slot) && (slot->type & COP_SLOT_COMPUTED);
    bool lazy = computed && cop__lazy_of(c->graph, (cop_atom){id, slot->reserved}) != NULL;

    check_set(c, &g->records[id].dependents);
    hold(c, computed ? maker != 0 || lazy : maker == 0, "atom %u: node %u", id, maker);
    if (maker == 0 || !hold(c, maker < g->node_count && (g->nodes[maker].flags & COP_NODE_LIVE),
                            "atom %u is made by none", id))
        return;
    if (g->records[id].node & COP_OWNED_CHILD)
        hold(c, (g->nodes[maker].flags & COP_NODE_BRANCH) && g->nodes[maker].id != id,
             "atom %u is owned by none", id);
    else
        hold(c, g->nodes[maker].id == id, "atom %u has another's node", id);
}

static void
check_interest(check *c, uint32_t number)
{
    const cop__interest *interest = &c->graph->interests[number];
    cop_atom led = {0, 0};

    check_set(c, &interest->dependents);
    hold(c, interest->dependents.count > 0, "interest %u is nobody's", number);
    if (interest->path == NULL)
        return;
    cop__found found =
        cop__path_resolve((cop__view){c->root, NULL}, interest->path, interest->length);
    if (found.found)
        led = (cop_atom){found.id, cop__root_slot(c->root, found.id)->reserved};
    hold(c, led.id == interest->atom.id && led.generation == interest->atom.generation,
         "%.60s leads to %u, not to %u", interest->path, led.id, interest->atom.id);
}

static void
check_interests(check *c)
{
    const cop__graph *g = c->graph;
    const cop__map *map = &g->interest_of;
    uint32_t free_ones = 0, loose = 0;

    c->free_interest = calloc((size_t)g->interest_count + 1, 1);
    for (uint32_t i = g->interest_free; i != 0 && free_ones <= g->interest_count; free_ones++) {
        c->free_interest[i]++;
        i = g->interests[i].atom.id;
    }
    hold(c, g->interest_count == 0 || free_ones + g->interests_live + 1 == g->interest_count,
         "interests are lost");
    for (uint32_t i = 1; i < g->interest_count; i++)
        if (!c->free_interest[i]) {
            check_interest(c, i);
            loose += g->interests[i].loose;
        }
    hold(c, loose == g->interests_loose, "%u loose paths, not %u", loose, g->interests_loose);
    hold(c, map->count == g->interests_live, "%u interests in the map", map->count);
    for (uint32_t i = 0; i < map->capacity; i++)
        if (map->entry[i].value != 0)
            hold(c, !c->free_interest[map->entry[i].value]++, "the map has a free interest");
    free(c->free_interest);
}

static void
check_arena(check *c)
{
    const cop__arena *arena = &c->graph->arena;
    uint64_t free_words = 0;

    for (unsigned k = 0; k < COP_ARENA_CLASSES; k++) {
        uint32_t size = k < COP_ARENA_EXACT ? k + 1 : UINT32_C(32) << (k - COP_ARENA_EXACT);
        for (uint32_t i = arena->free[k]; i != 0 && free_words <= arena->used; free_words += size)
            i = (uint32_t)arena->words[i];
    }
    hold(c, free_words == arena->words_free, "%" PRIu64 " free words, not %" PRIu64, free_words,
         arena->words_free);
    hold(c, arena->used == 0 || c->words + free_words + 1 == arena->used,
         "%" PRIu64 " words in use and %" PRIu64 " free, of %u", c->words, free_words, arena->used);
}

/* --- followers ---------------------------------------------------------------------------- */

static bool
in_chain(const cop__graph *g, uint32_t edge)
{
    uint32_t e = cop__map_get(&g->followed, g->follow.edge[edge].from);

    while (e != 0 && e != edge)
        e = g->follow.edge[e].next;
    return e == edge;
}

static void
check_follower(check *c, uint32_t number, uint64_t *edges, uint64_t *watches)
{
    const cop__graph *g = c->graph;
    const cop__node *node = &g->nodes[number];
    const cop__follower *f = node->context;
    bool bound = !(node->flags & COP_NODE_CYCLE) && !cop__node_dirty(g, node);

    hold(c, f->node == number && !f->born && !f->touched, "follower %u is of a draft", number);
    for (unsigned i = 0; i < 3; i++)
        if (f->watch[i] != 0) {
            const cop__watch *watch = &g->patterns.watch[f->watch[i]];
            hold(c, watch->reader == number && g->patterns.node[watch->at].watch != 0,
                 "follower %u watches nothing", number);
            ++*watches;
        }
    for (size_t i = 0; i < f->edge_count; i++) {
        const cop__follow_edge *edge = &g->follow.edge[f->edge[i]];
        const cop__node *from = &g->nodes[edge->from];
        hold(c,
             edge->to == number && edge->at == i && in_chain(g, f->edge[i]) &&
                 (from->flags & COP_NODE_LIVE) && (from->flags & COP_NODE_FOLLOWED),
             "an edge of follower %u", number);
        hold(c, !bound || (from->flags & COP_NODE_CYCLE) || from->height < node->height,
             "follower %u stands no higher than what it follows", number);
    }
    *edges += f->edge_count;
}

/* A node among the children of the one above it. */
static bool
is_child(const cop__patterns *p, uint32_t number)
{
    const cop__pattern_node *node = &p->node[number];
    uint32_t i = p->node[node->parent].first, before = 0;

    for (; i != 0 && i != number; i = p->node[i].next)
        before = i;
    return i == number && node->previous == before &&
           (p->node[node->parent].star == number) ==
               cop__pattern_is_star(node->segment, node->length);
}

static void
check_pattern(check *c, uint32_t number)
{
    const cop__patterns *p = &c->graph->patterns;
    const cop__pattern_node *node = &p->node[number];

    hold(c, node->first != 0 || node->watch != 0, "a pattern of nobody");
    hold(c, is_child(p, number), "a pattern that the one above it does not know");
    for (uint32_t w = node->watch; w != 0; w = p->watch[w].next)
        hold(c, p->watch[w].at == number, "a watch of another pattern");
}

static void
check_followers(check *c)
{
    const cop__graph *g = c->graph;
    const cop__patterns *p = &g->patterns;
    uint64_t edges = 0, watches = 0, free_edges = 0, free_watches = 0, free_nodes = 0,
             pattern_nodes = 0;

    for (uint32_t i = 1; i < g->node_count; i++)
        if (g->nodes[i].flags & COP_NODE_FOLLOWER)
            check_follower(c, i, &edges, &watches);
    for (uint32_t e = g->follow.edge_free; e != 0; e = g->follow.edge[e].next)
        free_edges++;
    for (uint32_t w = p->watch_free; w != 0; w = p->watch[w].next)
        free_watches++;
    for (uint32_t n = p->node_free; n != 0; n = p->node[n].chain)
        free_nodes++;
    for (uint32_t n = COP_PATTERN_ROOT + 1; n < p->node_count; n++)
        if (p->node[n].segment != NULL) {
            pattern_nodes++;
            check_pattern(c, n);
        }
    hold(c, c->followed == g->followed.count, "%" PRIu64 " are followed", c->followed);
    hold(c, g->follow.edge_count == 0 || edges + free_edges + 1 == g->follow.edge_count,
         "edges to followers are lost");
    hold(c, watches == p->live, "%" PRIu64 " watches, not %u", watches, p->live);
    hold(c, p->watch_count == 0 || watches + free_watches + 1 == p->watch_count,
         "watches are lost");
    hold(c,
         p->node_count == 0 || pattern_nodes + free_nodes + COP_PATTERN_ROOT + 1 == p->node_count,
         "patterns are lost");
}

/* --- lazy ones ---------------------------------------------------------------------------- */

static void
check_front(check *c, const cop__lazy *lazy, const cop__front *front)
{
    const cop__memo *shown = cop__load_relaxed(&front->memo), *memo = lazy->memos;
    uint64_t from = cop__load_relaxed(&front->from), to = cop__load_relaxed(&front->to);
    uint64_t word[2] = {cop__load_relaxed(&front->head), cop__load_relaxed(&front->tail)};

    while (memo != NULL && memo != shown)
        memo = memo->next;
    if (shown == NULL)
        hold(c, from == 1 && to == 0 && word[0] == 0 && word[1] == 0, "an empty front");
    else if (hold(c, memo != NULL, "a front shows what has gone"))
        hold(c,
             memo->low <= from && from <= to && to <= memo->high &&
                 memcmp(word, &memo->value, sizeof word) == 0,
             "a front shows something else");
}

static uint64_t
check_memos(check *c, const cop__lazy *lazy)
{
    uint64_t bytes = 0;
    uint32_t n = 0;

    for (const cop__memo *memo = lazy->memos; memo != NULL; memo = memo->next, n++) {
        bytes += memo->bytes;
        hold(c,
             memo->references >= 1 && memo->spans >= 1 && memo->spans <= COP_MEMO_SPANS &&
                 memo->serial != 0,
             "a memo of nobody");
        for (uint32_t i = 0; i < memo->spans && i < COP_MEMO_SPANS; i++)
            hold(c,
                 memo->low <= memo->span[i].from && memo->span[i].from <= memo->span[i].to &&
                     memo->span[i].to <= memo->high,
                 "spans of a memo");
    }
    hold(c, n == lazy->memo_count, "%u memos, not %u", n, lazy->memo_count);
    hold(c, (cop__load_relaxed(&lazy->sequence) & 1) == 0, "a front is being written");
    for (unsigned i = 0; i < COP_LAZY_FRONTS; i++)
        check_front(c, lazy, &lazy->front[i]);
    return bytes;
}

static void
check_lazy(check *c, cop__lazy *lazy)
{
    const cop__slot *slot = cop__root_atom(c->root, lazy->atom);
    bool alive = lazy->death == UINT64_MAX;
    uint32_t node =
        lazy->atom.id < c->graph->record_count ? c->graph->records[lazy->atom.id].node : 0;

    hold(c, alive == (slot != NULL), "a lazy atom's death");
    hold(c, lazy->birth <= c->root->stamp && (alive || lazy->death <= c->root->stamp),
         "a lazy atom's life");
    if (alive && slot != NULL && node == 0 && lazy->kind == COP_LAZY)
        hold(c, cop__slot_is_lazy(slot) && cop__slot_lazy(slot) == &lazy->head,
             "a slot does not lead to its record");
    hold(c, (lazy->look != NULL) == cop__load_relaxed(&lazy->looked_at),
         "a lazy atom is looked at");
    c->looked += lazy->look != NULL;
    for (size_t i = 0; i < lazy->origin_count; i++)
        hold(c,
             lazy->origins[i].stamp <= c->root->stamp &&
                 (i == 0 || lazy->origins[i].stamp > lazy->origins[i - 1].stamp),
             "origins");
}

/* The lists that records are in. */
static void
check_lazy_lists(check *c, uint64_t in_ring, uint64_t crowded, uint64_t background, uint64_t gone)
{
    const cop__lazies *all = c->graph->lazies;
    uint64_t n = 0;
    bool next_is_one = all->next_background == NULL;

    for (const cop__lazy *lazy = all->hand; lazy != NULL && n <= in_ring;) {
        n++;
        hold(c, lazy->in_ring && lazy->ring_next->ring_previous == lazy, "the ring");
        lazy = lazy->ring_next != all->hand ? lazy->ring_next : NULL;
    }
    hold(c, n == in_ring, "%" PRIu64 " in the ring, not %" PRIu64, n, in_ring);
    n = 0;
    for (const cop__lazy *lazy = all->crowded; lazy != NULL && n <= crowded; n++) {
        hold(c, lazy->crowded, "the crowd");
        lazy = lazy->crowded_next;
    }
    hold(c, n == crowded, "%" PRIu64 " in the crowd, not %" PRIu64, n, crowded);
    n = 0;
    for (const cop__lazy *lazy = all->background, *before = NULL; lazy != NULL && n <= background;
         n++) {
        hold(c, lazy->all_previous == before && lazy->kind == COP_BACKGROUND, "background atoms");
        next_is_one |= lazy == all->next_background;
        before = lazy;
        lazy = lazy->all_next;
    }
    hold(c, n == background && n == cop__load_relaxed(&all->backgrounds) && next_is_one,
         "%" PRIu64 " background atoms, not %" PRIu64, n, background);
    hold(c, gone == all->gone.count, "%" PRIu64 " have gone, not %zu", gone, all->gone.count);
}

static void
check_lazies(check *c)
{
    cop__lazies *all = c->graph->lazies;
    uint64_t live = 0, bytes = 0, in_ring = 0, crowded = 0, background = 0, gone = 0;

    pthread_mutex_lock(&all->lock);
    hold(c, all->fresh.count + all->dying.count + all->told.count == 0,
         "a list of lazy atoms of a draft is not empty");
    for (uint32_t i = 1; i < all->item_count; i++) {
        cop__lazy *lazy = all->item[i];
        if (lazy == NULL)
            continue;
        uint64_t key = (uint64_t)lazy->atom.generation << 32 | lazy->atom.id;
        live++;
        hold(c, cop__map_get(&all->of, key) == i, "lazy atom %u is not found", i);
        pthread_mutex_lock(&lazy->lock);
        bytes += check_memos(c, lazy);
        check_lazy(c, lazy);
        pthread_mutex_unlock(&lazy->lock);
        in_ring += lazy->in_ring;
        crowded += lazy->crowded;
        background += lazy->kind == COP_BACKGROUND;
        gone += lazy->death != UINT64_MAX;
    }
    for (size_t i = 0; i < all->free_items.count; i++)
        hold(c, all->item[all->free_items.item[i]] == NULL, "a free item");
    hold(c,
         live == all->live && live == all->of.count &&
             live + all->free_items.count + 1 == all->item_count,
         "%" PRIu64 " lazy atoms, not %u", live, all->live);
    check_lazy_lists(c, in_ring, crowded, background, gone);
    pthread_mutex_unlock(&all->lock);
    /* Memos that a run has just made are counted before they are linked. Others may run, and forget,
     * while somebody commits. */
    if (!c->clean)
        hold(c, bytes <= cop__load_relaxed(&all->bytes), "memos of %" PRIu64 " bytes", bytes);
}

/* --- looks -------------------------------------------------------------------------------- */

static void
check_looks(check *c)
{
    const cop__graph *g = c->graph;
    uint64_t looks = 0, of_something = 0;

    for (const cop__look *look = g->looks; look != NULL && looks <= g->look_count; looks++) {
        of_something += look->node != 0 || look->lazy != NULL;
        hold(c, look->node == 0 || (g->nodes[look->node].flags & COP_NODE_LOOKED),
             "a look at a node");
        hold(c, look->lazy == NULL || look->lazy->look == look, "a look at a lazy atom");
        hold(c, !look->open && !look->pending, "a look at a draft");
        look = look->next;
    }
    hold(c, looks == g->look_count, "%" PRIu64 " looks, not %u", looks, g->look_count);
    hold(c, of_something == c->looked, "%" PRIu64 " looks at %" PRIu64, of_something, c->looked);
}

static void
check_all(check *c)
{
    check_blocks(c);
    check_nodes(c);
    for (uint32_t id = 0; id < c->graph->record_count; id++)
        check_record(c, id);
    check_interests(c);
    hold(c, c->edges == c->members, "%" PRIu64 " dependencies, %" PRIu64 " dependents", c->edges,
         c->members);
    check_arena(c);
    check_followers(c);
    check_lazies(c);
    check_looks(c);
}

const char *
graph_check(cop_store *store, size_t most, bool clean)
{
    check c = {.graph = &store->graph, .clean = clean};

    if (cop__evaluating || cop__store_usable(store) != COP_OK || !cop__right_try(store))
        return NULL;
    c.root = store->tree.root;
    bool any = c.graph->node_count > 1 || c.graph->lazies->item_count > 1;
    if (any && c.graph->node_count <= most && c.graph->record_count <= 16 * most &&
        c.graph->lazies->item_count <= most)
        check_all(&c);
    cop__right_leave(store);
    return c.wrong;
}

cop_store *
graph_check_store(const cop_txn *txn)
{
    return txn->store;
}

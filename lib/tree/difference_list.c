/* SPDX-License-Identifier: MIT */
/*
 * The edits of one list of children.
 *
 * Only children on pages that the versions do not share are looked at. A GAP is a stretch of such
 * pages between two that are shared, called by the shared page before it (0: the list's beginning).
 * Shared pages follow each other in the same order in both versions and keep their neighbours, so
 * the gaps of both are the same ones: what left its gap has to be moved, and what did not is only
 * compared with the others of it. What a gap begins with in both versions, and what it ends with,
 * is in some longest run of those that keep still, so it counts as shared too, but for the one next
 * to what differs: from that one, positions are told.
 *
 * POSITIONS OF MOVES. All children that stay have a rank among each other in `before` (b) and one
 * in `now` (n). Those of the longest run keep still; the others, the MOVERS, go one by one, by
 * rising n, each behind the one that precedes it in `now`. When it is a mover's turn, those of
 * smaller n are placed. Let e be the b of the last child before it in `now` that keeps still. Then
 *     it is at  b - placed with smaller b + placed whose e is smaller than b
 *     it goes to  n + movers not placed, itself left out, with b smaller than e
 * since the placed ones with e stand right behind e. e rises with n, so those whose e is smaller
 * are a prefix of the placed ones; placed ones by b are counted in a Fenwick tree.
 */
#include "tree/difference_list.h"

#include "tree/list.h"

#define NONE UINT32_MAX

typedef struct child {
    uint32_t id;
    uint32_t position;
    uint32_t gap;
    uint32_t partner; /* its index on the other side, NONE: it is not there */
    uint32_t rank;    /* its position less those before it that have no partner */
    uint32_t link;    /* now: the one before it in the run; before: its index among the movers */
    bool still;
} child;

typedef struct leaf_at {
    uint32_t number, start;
} leaf_at;

void *
cop__edit_room(cop__memory *memory, cop__edit_vector *vector, size_t n, size_t element)
{
    if (!cop__memory_grow(memory, COP_MEMORY_OTHER, &vector->at, &vector->capacity, n, element))
        return NULL;
    vector->count = n;
    return vector->at;
}

void
cop__edit_free(cop__memory *memory, cop__edit_vector *vector, size_t element)
{
    cop__memory_free(memory, COP_MEMORY_OTHER, vector->at, vector->capacity * element, 16);
}

/* One more than fits is asked for, so that a vector without elements is no failure. */
#define ROOM(list, vector, n, type) \
    ((type *)cop__edit_room((list)->memory, &(list)->vector, (size_t)(n) + 1, sizeof(type)))

static const cop_snapshot *
root_of(const cop__edit_list *list, unsigned side)
{
    return side == COP_EDIT_BEFORE ? list->pair.before : list->pair.now;
}

static child *
children(const cop__edit_list *list, unsigned side)
{
    return list->child[side].at;
}

static size_t
count_of(const cop__edit_list *list, unsigned side)
{
    return list->child[side].count - 1;
}

static const cop__slot *
slot_of(const cop__edit_list *list, unsigned side, uint32_t id)
{
    return cop__root_slot(root_of(list, side), id);
}

/* ---- what there is ---- */

static bool
load_whole(cop__edit_list *list, unsigned side)
{
    cop__view view = {root_of(list, side), NULL};
    const cop__slot *slot = slot_of(list, side, list->branch);
    uint32_t n = cop__list_count(view, slot), id;
    child *at = ROOM(list, child[side], n, child);
    if (at == NULL)
        return false;
    cop__list_walk walk;
    cop__list_walk_begin(view, slot, &walk);
    for (uint32_t i = 0; cop__list_walk_next(view, &walk, &id); i++)
        at[i] = (child){.id = id, .position = i, .partner = NONE};
    return true;
}

static int
by_start(const void *a, const void *b)
{
    uint32_t x = ((const leaf_at *)a)->start, y = ((const leaf_at *)b)->start;
    return x < y ? -1 : x > y;
}

/* The leaves in order of the list; the number of children on them. */
static leaf_at *
order_leaves(cop__edit_list *list, cop__view view, cop__edit_leaves leaves, size_t *total)
{
    leaf_at *at = ROOM(list, leaf, leaves.count, leaf_at);
    *total = 0;
    if (at == NULL)
        return NULL;
    for (size_t i = 0; i < leaves.count; i++) {
        const cop__list_page *page = cop__view_page(view, COP_SPACE_LISTS, leaves.number[i]);
        at[i] = (leaf_at){leaves.number[i], cop__list_leaf_start(view, leaves.number[i])};
        *total += page->count;
    }
    qsort(at, leaves.count, sizeof *at, by_start);
    return at;
}

static bool
load_leaves(cop__edit_list *list, unsigned side, cop__edit_leaves leaves)
{
    cop__view view = {root_of(list, side), NULL};
    size_t total, n = 0;
    uint32_t gap = 0, end = NONE;
    const leaf_at *leaf = order_leaves(list, view, leaves, &total);
    child *at = leaf != NULL ? ROOM(list, child[side], total, child) : NULL;
    if (at == NULL)
        return false;
    for (size_t i = 0; i < leaves.count; i++) {
        const cop__list_page *page = cop__view_page(view, COP_SPACE_LISTS, leaf[i].number);
        if (leaf[i].start != end)
            gap = page->previous;
        for (uint32_t k = 0; k < page->count; k++)
            at[n++] = (child){
                .id = page->id[k], .position = leaf[i].start + k, .gap = gap, .partner = NONE};
        end = leaf[i].start + page->count;
    }
    return true;
}

static bool
is_paged(const cop__edit_list *list, unsigned side)
{
    return cop__slot_list(slot_of(list, side, list->branch)) == COP_LIST_PAGES;
}

static bool
load(cop__edit_list *list, const cop__edit_leaves leaves[COP_EDIT_SIDES])
{
    bool paged = is_paged(list, COP_EDIT_BEFORE) && is_paged(list, COP_EDIT_NOW);
    for (unsigned side = 0; side < COP_EDIT_SIDES; side++)
        if (!(paged ? load_leaves(list, side, leaves[side]) : load_whole(list, side)))
            return false;
    return true;
}

/* ---- who is who ---- */

/* An id may be another atom's by now; seldom is any, so slots are not looked at. */
static bool
is_reborn(const cop__edit_list *list, uint32_t id)
{
    const uint32_t *reborn = list->reborn.at;
    size_t low = 0, end = list->reborn.count;
    while (low < end) {
        size_t middle = low + (end - low) / 2;
        if (reborn[middle] < id)
            low = middle + 1;
        else
            end = middle;
    }
    return low < list->reborn.count && reborn[low] == id;
}

static size_t
gap_end(const child *at, size_t begin, size_t n)
{
    size_t end = begin + 1;
    while (end < n && at[end].gap == at[begin].gap)
        end++;
    return end;
}

/* How many children are the same ones in both, at most `least`; by -1 backwards. */
static size_t
alike(const cop__edit_list *list, const child *had, const child *has, size_t least, int by)
{
    size_t n = 0;
    while (n < least && had->id == has->id && !is_reborn(list, has->id)) {
        had += by;
        has += by;
        n++;
    }
    return n;
}

/* Moves children down to where those kept so far end. */
static size_t
keep(child *at, size_t kept, size_t begin, size_t end)
{
    if (kept != begin)
        memmove(&at[kept], &at[begin], (end - begin) * sizeof *at);
    return kept + (end - begin);
}

/* Leaves out what a gap begins and ends with in both versions, all but the innermost. */
static void
trim(cop__edit_list *list)
{
    child *had = children(list, COP_EDIT_BEFORE), *has = children(list, COP_EDIT_NOW);
    size_t old = count_of(list, COP_EDIT_BEFORE), n = count_of(list, COP_EDIT_NOW);
    size_t i = 0, k = 0, kept = 0, kept_old = 0;
    while (i < n && k < old && had[k].gap == has[i].gap) {
        size_t end = gap_end(has, i, n), end_old = gap_end(had, k, old);
        size_t least = end - i < end_old - k ? end - i : end_old - k;
        size_t front = alike(list, &had[k], &has[i], least, 1);
        size_t back = alike(list, &had[end_old - 1], &has[end - 1], least - front, -1);
        front -= front > 0;
        back -= back > 0;
        kept = keep(has, kept, i + front, end - back);
        kept_old = keep(had, kept_old, k + front, end_old - back);
        i = end;
        k = end_old;
    }
    list->child[COP_EDIT_NOW].count = keep(has, kept, i, n) + 1;
    list->child[COP_EDIT_BEFORE].count = keep(had, kept_old, k, old) + 1;
}

static uint32_t
spread(uint32_t id)
{
    return id * UINT32_C(2654435769);
}

/* Open addressing: index + 1 of a child of `before` that has no partner so far. */
static bool
table_fill(cop__edit_list *list, size_t n, uint32_t *mask)
{
    const child *had = children(list, COP_EDIT_BEFORE);
    size_t wide = 16;
    while (wide < n * 2)
        wide *= 2;
    uint32_t *table = ROOM(list, table, wide, uint32_t);
    if (table == NULL)
        return false;
    memset(table, 0, wide * sizeof *table);
    *mask = (uint32_t)(wide - 1);
    for (uint32_t i = 0; i < count_of(list, COP_EDIT_BEFORE); i++) {
        uint32_t place = spread(had[i].id) >> 7 & *mask;
        if (had[i].partner != NONE)
            continue;
        while (table[place] != 0)
            place = (place + 1) & *mask;
        table[place] = i + 1;
    }
    return true;
}

static uint32_t
table_find(const cop__edit_list *list, uint32_t mask, uint32_t id)
{
    const child *had = children(list, COP_EDIT_BEFORE);
    const uint32_t *table = list->table.at;
    for (uint32_t place = spread(id) >> 7 & mask; table[place] != 0; place = (place + 1) & mask)
        if (had[table[place] - 1].id == id)
            return table[place] - 1;
    return NONE;
}

static void
set_ranks(child *at, size_t n)
{
    uint32_t alone = 0;
    for (size_t i = 0; i < n; i++) {
        at[i].rank = at[i].position - alone;
        alone += at[i].partner == NONE;
    }
}

static void
pair_up(const cop__edit_list *list, uint32_t i, uint32_t k)
{
    child *had = children(list, COP_EDIT_BEFORE), *has = children(list, COP_EDIT_NOW);
    if (is_reborn(list, has[i].id))
        return;
    has[i].partner = k;
    had[k].partner = i;
}

#define AHEAD 8u

/* How many of `at` stand before this id, within what is looked at; AHEAD: more, or it is not there.
 */
static uint32_t
ahead(const child *at, size_t n, uint32_t id)
{
    uint32_t d = 0;
    while (d < AHEAD && d < n && at[d].id != id)
        d++;
    return d < n ? d : AHEAD;
}

/* Walks both in step, past a few that came or went: most that stay find their partners here. The
 * number of those of `before` that do not. */
static size_t
walk_in_step(const cop__edit_list *list)
{
    const child *had = children(list, COP_EDIT_BEFORE), *has = children(list, COP_EDIT_NOW);
    size_t old = count_of(list, COP_EDIT_BEFORE), n = count_of(list, COP_EDIT_NOW), paired = 0;
    for (uint32_t i = 0, k = 0; i < n && k < old; i++, k++) {
        if (has[i].id != had[k].id) {
            uint32_t came = ahead(&has[i], n - i, had[k].id);
            uint32_t went = came < AHEAD ? AHEAD : ahead(&had[k], old - k, has[i].id);
            if (came == AHEAD && went == AHEAD)
                continue;
            i += came < AHEAD ? came : 0;
            k += went < AHEAD ? went : 0;
        }
        pair_up(list, i, k);
        paired += has[i].partner != NONE;
    }
    return old - paired;
}

static bool
match(cop__edit_list *list)
{
    child *had = children(list, COP_EDIT_BEFORE), *has = children(list, COP_EDIT_NOW);
    size_t n = count_of(list, COP_EDIT_NOW), left = walk_in_step(list);
    uint32_t mask;
    if (left > 0 && !table_fill(list, left, &mask))
        return false;
    for (uint32_t i = 0; left > 0 && i < n; i++) {
        uint32_t k = has[i].partner == NONE ? table_find(list, mask, has[i].id) : NONE;
        if (k != NONE)
            pair_up(list, i, k);
    }
    set_ranks(had, count_of(list, COP_EDIT_BEFORE));
    set_ranks(has, n);
    return true;
}

/* ---- who keeps still ---- */

/* Where a run that ends in this child goes: behind the runs that end in a smaller one. */
static size_t
run_place(const child *has, const uint32_t *run, size_t length, uint32_t partner)
{
    size_t low = 0;
    if (length > 0 && has[run[length - 1]].partner < partner)
        return length; /* nearly always */
    while (low < length) {
        size_t middle = low + (length - low) / 2;
        if (has[run[middle]].partner < partner)
            low = middle + 1;
        else
            length = middle;
    }
    return low;
}

/* A longest increasing subsequence of those that are in the gap they were in. The number of movers,
 * or NONE when out of memory. */
static uint32_t
keep_still(cop__edit_list *list)
{
    const child *had = children(list, COP_EDIT_BEFORE);
    child *has = children(list, COP_EDIT_NOW);
    size_t n = count_of(list, COP_EDIT_NOW), length = 0;
    uint32_t stay = 0, still = 0;
    uint32_t *run = ROOM(list, run, n, uint32_t);
    if (run == NULL)
        return NONE;
    for (uint32_t i = 0; i < n; i++) {
        stay += has[i].partner != NONE;
        if (has[i].partner == NONE || has[i].gap != had[has[i].partner].gap)
            continue;
        size_t place = run_place(has, run, length, has[i].partner);
        has[i].link = place > 0 ? run[place - 1] : NONE;
        run[place] = i;
        length += place == length;
    }
    for (uint32_t i = length > 0 ? run[length - 1] : NONE; i != NONE; i = has[i].link) {
        has[i].still = true;
        still++;
    }
    return stay - still;
}

/* ---- telling ---- */

static cop_status
tell(const cop__edit_list *list, cop__edit_kind kind, uint32_t id, uint32_t from, uint32_t position)
{
    const cop__slot *branch = slot_of(list, COP_EDIT_NOW, list->branch);
    cop__edit edit = {.kind = kind,
                      .branch = {list->branch, branch->reserved},
                      .from = from,
                      .position = position};
    if (kind != COP_EDIT_ADD)
        edit.before = slot_of(list, COP_EDIT_BEFORE, id);
    if (kind != COP_EDIT_REMOVE)
        edit.now = slot_of(list, COP_EDIT_NOW, id);
    edit.atom = (cop_atom){id, (edit.now != NULL ? edit.now : edit.before)->reserved};
    return list->function(list->context, &edit);
}

static cop_status
tell_removals(const cop__edit_list *list)
{
    const child *had = children(list, COP_EDIT_BEFORE);
    cop_status status = COP_OK;
    for (size_t i = count_of(list, COP_EDIT_BEFORE); i-- > 0 && status == COP_OK;)
        if (had[i].partner == NONE)
            status = tell(list, COP_EDIT_REMOVE, had[i].id, had[i].position, 0);
    return status;
}

static cop_status
tell_additions(const cop__edit_list *list)
{
    const child *has = children(list, COP_EDIT_NOW);
    cop_status status = COP_OK;
    for (size_t i = 0; i < count_of(list, COP_EDIT_NOW) && status == COP_OK; i++)
        if (has[i].partner == NONE)
            status = tell(list, COP_EDIT_ADD, has[i].id, 0, has[i].position);
    return status;
}

/* ---- moves ---- */

typedef struct moves {
    const cop__edit_list *list;
    int64_t *rank;    /* b of the movers, rising */
    int64_t *behind;  /* e of those that are placed, rising */
    uint32_t *placed; /* Fenwick tree over `rank` */
    uint32_t count, done;
} moves;

static uint32_t
below(const int64_t *rising, uint32_t n, int64_t x)
{
    uint32_t low = 0;
    while (low < n) {
        uint32_t middle = low + (n - low) / 2;
        if (rising[middle] < x)
            low = middle + 1;
        else
            n = middle;
    }
    return low;
}

static uint32_t
placed_below(const moves *m, uint32_t index)
{
    uint32_t sum = 0;
    for (uint32_t i = index; i > 0; i &= i - 1)
        sum += m->placed[i];
    return sum;
}

static void
place(moves *m, uint32_t index, int64_t behind)
{
    for (uint32_t i = index + 1; i <= m->count; i += i & (0u - i))
        m->placed[i]++;
    m->behind[m->done++] = behind;
}

static cop_status
tell_move(moves *m, const child *mover, const child *was, int64_t e)
{
    int64_t b = was->rank;
    uint32_t before_e = below(m->rank, m->count, e);
    uint32_t waiting = before_e - placed_below(m, before_e) - (b < e);
    uint32_t from = was->rank - placed_below(m, was->link) + below(m->behind, m->done, b);
    uint32_t to = mover->rank + waiting;
    place(m, was->link, e);
    return from != to ? tell(m->list, COP_EDIT_MOVE, mover->id, from, to) : COP_OK;
}

/* e is at the beginning of a gap the last one before it, of a shared page or left out. */
static cop_status
tell_in_turn(moves *m)
{
    const child *had = children(m->list, COP_EDIT_BEFORE), *has = children(m->list, COP_EDIT_NOW);
    size_t old = count_of(m->list, COP_EDIT_BEFORE), k = 0;
    int64_t e = -1;
    cop_status status = COP_OK;
    for (size_t i = 0; i < count_of(m->list, COP_EDIT_NOW) && status == COP_OK; i++) {
        if (i == 0 || has[i].gap != has[i - 1].gap) {
            while (k < old && had[k].gap != has[i].gap)
                k++;
            COP_ALWAYS(k < old);
            e = (int64_t)had[k].rank - 1;
        }
        if (has[i].still)
            e = had[has[i].partner].rank;
        else if (has[i].partner != NONE)
            status = tell_move(m, &has[i], &had[has[i].partner], e);
    }
    return status;
}

static cop_status
tell_moves(cop__edit_list *list, uint32_t count)
{
    child *had = children(list, COP_EDIT_BEFORE);
    const child *has = children(list, COP_EDIT_NOW);
    moves m = {.list = list, .count = count};
    uint32_t n = 0;
    if (count == 0)
        return COP_OK;
    m.rank = ROOM(list, mover, (size_t)count * 2, int64_t);
    m.placed = ROOM(list, moved, (size_t)count + 1, uint32_t);
    if (m.rank == NULL || m.placed == NULL)
        return COP_E_MEMORY;
    m.behind = m.rank + count;
    memset(m.placed, 0, ((size_t)count + 1) * sizeof *m.placed);
    for (size_t i = 0; i < count_of(list, COP_EDIT_BEFORE); i++)
        if (had[i].partner != NONE && !has[had[i].partner].still) {
            m.rank[n] = had[i].rank;
            had[i].link = n++;
        }
    return tell_in_turn(&m);
}

cop_status
cop__edit_list_tell(cop__edit_list *list, uint32_t branch,
                    const cop__edit_leaves leaves[COP_EDIT_SIDES])
{
    list->branch = branch;
    if (!load(list, leaves))
        return COP_E_MEMORY;
    trim(list);
    if (!match(list))
        return COP_E_MEMORY;
    uint32_t movers = keep_still(list);
    if (movers == NONE)
        return COP_E_MEMORY;
    cop_status status = COP_FAULT(patch_array_order) ? tell_additions(list) : tell_removals(list);
    if (status == COP_OK)
        status = tell_moves(list, movers);
    if (status != COP_OK)
        return status;
    return COP_FAULT(patch_array_order) ? tell_removals(list) : tell_additions(list);
}

void
cop__edit_list_end(cop__edit_list *list)
{
    for (unsigned side = 0; side < COP_EDIT_SIDES; side++)
        cop__edit_free(list->memory, &list->child[side], sizeof(child));
    cop__edit_free(list->memory, &list->table, sizeof(uint32_t));
    cop__edit_free(list->memory, &list->run, sizeof(uint32_t));
    cop__edit_free(list->memory, &list->mover, sizeof(int64_t));
    cop__edit_free(list->memory, &list->moved, sizeof(uint32_t));
    cop__edit_free(list->memory, &list->leaf, sizeof(leaf_at));
}

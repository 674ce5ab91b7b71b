/* SPDX-License-Identifier: MIT */
/* The difference of two versions: see diff.h. */
#include "tree/diff.h"

#include "tree/list.h"

/* Pages that were found are told a few later, when they have come from memory. */
enum { PENDING = 4 };

typedef struct page_pair {
    uint32_t number;
    const void *before, *now;
} page_pair;

typedef struct walk {
    cop__diff_page_function function;
    void *context;
    page_pair pending[PENDING]; /* a ring */
    uint32_t found, told;
} walk;

/* A node of one of the trees, seen from a level that may be above its top: there it is the first of
 * otherwise missing children. */
typedef struct side {
    void *node;
    uint32_t shift;
} side;

static side
side_child(side s, uint32_t shift, uint32_t place)
{
    if (s.node == NULL || (s.shift < shift && place > 0))
        return (side){NULL, 0};
    if (s.shift < shift)
        return s;
    return (side){((void **)s.node)[place], shift - COP_FANOUT_BITS};
}

/* Of a page or a node. */
static inline void
prefetch_page(const void *page)
{
    for (unsigned i = 0; page != NULL && i < COP_PAGE_BYTES; i += COP_CACHE_LINE)
        __builtin_prefetch((const char *)page + i);
}

static void
tell_oldest(walk *w)
{
    const page_pair *pair = &w->pending[w->told++ % PENDING];
    w->function(w->context, pair->number, pair->before, pair->now);
}

static void
tell_later(walk *w, uint32_t number, const void *before, const void *now)
{
    if (w->found - w->told == PENDING)
        tell_oldest(w);
    w->pending[w->found++ % PENDING] = (page_pair){number, before, now};
    prefetch_page(before);
    prefetch_page(now);
}

/* The first place, from this one on, where the children may not be the same. */
static inline uint32_t
next_place(side before, side now, uint32_t shift, uint32_t place)
{
    void *const *b = before.node, *const *n = now.node;
    if (b != NULL && n != NULL && before.shift == shift && now.shift == shift)
        while (place < COP_FANOUT && b[place] == n[place])
            place++;
    return place;
}

/* The next nodes that are not the same, behind this place: they will be walked after this one's. */
static inline void
prefetch_next(side before, side now, uint32_t shift, uint32_t place)
{
    place = next_place(before, now, shift, place + 1);
    if (place < COP_FANOUT) {
        prefetch_page(side_child(before, shift, place).node);
        prefetch_page(side_child(now, shift, place).node);
    }
}

/* The trees are at most COP_LEVELS high. */
static void
diff_node(walk *w, side before, side now, uint32_t shift, uint32_t number)
{
    for (uint32_t place = next_place(before, now, shift, 0); place < COP_FANOUT;
         place = next_place(before, now, shift, place + 1)) {
        uint32_t below = number + (place << shift);
        side b = side_child(before, shift, place), n = side_child(now, shift, place);
        if (b.node == n.node && (b.node == NULL || b.shift == n.shift))
            continue;
        if (COP_FAULT(diff_page_skipped) && shift == 0 && place % 4 == 3)
            continue;
        if (shift == 0) {
            tell_later(w, below, b.node, n.node);
        } else {
            prefetch_next(before, now, shift, place);
            diff_node(w, b, n, shift - COP_FANOUT_BITS, below);
        }
    }
}

void
cop__tree_diff_pages(const cop_snapshot *before, const cop_snapshot *now, unsigned space,
                     cop__diff_page_function function, void *context)
{
    const cop__space_root *b = &before->space[space], *n = &now->space[space];
    walk w = {.function = function, .context = context};
    if (b->top == n->top)
        return;
    diff_node(&w, (side){b->top, b->shift}, (side){n->top, n->shift},
              b->shift > n->shift ? b->shift : n->shift, 0);
    while (w.told != w.found)
        tell_oldest(&w);
}

#define LINE_SLOTS (COP_CACHE_LINE / sizeof(cop__slot))

/* Most lines of a page that differs are the same. */
static inline bool
line_same(const cop__slot *a, const cop__slot *b)
{
    uint64_t x[COP_CACHE_LINE / 8], y[COP_CACHE_LINE / 8], differ = 0;
    memcpy(x, a, sizeof x);
    memcpy(y, b, sizeof y);
    for (unsigned i = 0; i < COP_CACHE_LINE / 8; i++)
        differ |= x[i] ^ y[i];
    return differ == 0;
}

typedef struct slot_walk {
    cop__diff_function function;
    void *context;
} slot_walk;

static void
diff_slots(void *context, uint32_t number, const void *before, const void *now)
{
    static const cop__slot nothing[COP_SLOTS]; /* beyond what a version has */
    const slot_walk *w = context;
    const cop__slot *b = before != NULL ? before : nothing, *n = now != NULL ? now : nothing;
    for (uint32_t line = 0; line < COP_SLOTS; line += LINE_SLOTS) {
        if (line_same(&b[line], &n[line]))
            continue;
        for (uint32_t i = line; i < line + LINE_SLOTS; i++)
            if (!cop__slot_same(&b[i], &n[i]))
                w->function(w->context, (number << COP_SLOT_BITS) + i, &b[i], &n[i]);
    }
}

void
cop__tree_diff(const cop_snapshot *before, const cop_snapshot *now, cop__diff_function function,
               void *context)
{
    slot_walk w = {function, context};
    cop__tree_diff_pages(before, now, COP_SPACE_VALUES, diff_slots, &w);
}

/* ---- what it means ---- */

/* Lists whose last change is the same one are equal; others may be, if what came has gone. */
static bool
list_differs(cop__diff_pair pair, const cop__slot *before, const cop__slot *now)
{
    cop__view b = {pair.before, NULL}, n = {pair.now, NULL};
    if (cop__list_changed(b, before) == cop__list_changed(n, now))
        return false;
    if (cop__list_count(b, before) != cop__list_count(n, now))
        return true;
    cop__list_walk had, has;
    uint32_t x, y;
    cop__list_walk_begin(b, before, &had);
    cop__list_walk_begin(n, now, &has);
    while (cop__list_walk_next(b, &had, &x) && cop__list_walk_next(n, &has, &y)) {
        const cop__slot *was = cop__root_slot(pair.before, x), *is = cop__root_slot(pair.now, y);
        if (x != y || was->reserved != is->reserved)
            return true;
    }
    return false;
}

/* Of two slots of one type. */
static bool
value_differs(const cop__slot *before, const cop__slot *now)
{
    if (cop__slot_is_branch(now) || cop__slot_is_lazy(now))
        return false;
    if (before->inlined != now->inlined)
        return true;
    if (!cop__slot_is_long(now))
        return memcmp(&before->small, &now->small, sizeof now->small) != 0;
    return before->small.words[0] != now->small.words[0] ||
           memcmp(cop_value_data(before), cop_value_data(now), now->small.words[0]) != 0;
}

unsigned
cop__diff_meaning(cop__diff_pair pair, const cop__slot *before, const cop__slot *now,
                  cop__difference what[2])
{
    bool was = cop__slot_alive(before), is = cop__slot_alive(now);
    unsigned n = 0;
    if (was && is && before->reserved == now->reserved) {
        if (cop__slot_type(before) != cop__slot_type(now) || value_differs(before, now))
            what[n++] = COP_DIFF_VALUE;
        else if (cop__slot_type(now) == COP_ARRAY && list_differs(pair, before, now))
            what[n++] = COP_DIFF_ELEMENTS;
        return n;
    }
    if (was)
        what[n++] = COP_DIFF_ERASED;
    if (is)
        what[n++] = COP_DIFF_CREATED;
    return n;
}

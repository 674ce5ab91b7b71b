/* SPDX-License-Identifier: MIT */
/* The difference of two versions: see diff.h. */
#include "tree/diff.h"

#include "tree/list.h"

typedef struct walk {
    cop__diff_page_function function;
    void *context;
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

/* The trees are at most COP_LEVELS high. */
static void
diff_node(const walk *w, side before, side now, uint32_t shift, uint32_t number)
{
    for (uint32_t place = 0; place < COP_FANOUT; place++) {
        uint32_t below = number + (place << shift);
        side b = side_child(before, shift, place), n = side_child(now, shift, place);
        if (b.node == n.node && (b.node == NULL || b.shift == n.shift))
            continue;
        if (COP_FAULT(diff_page_skipped) && shift == 0 && place % 4 == 3)
            continue;
        if (shift == 0)
            w->function(w->context, below, b.node, n.node);
        else
            diff_node(w, b, n, shift - COP_FANOUT_BITS, below);
    }
}

void
cop__tree_diff_pages(const cop_snapshot *before, const cop_snapshot *now, unsigned space,
                     cop__diff_page_function function, void *context)
{
    const cop__space_root *b = &before->space[space], *n = &now->space[space];
    walk w = {function, context};
    if (b->top == n->top)
        return;
    diff_node(&w, (side){b->top, b->shift}, (side){n->top, n->shift},
              b->shift > n->shift ? b->shift : n->shift, 0);
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
    for (uint32_t i = 0; i < COP_SLOTS; i++)
        if (!cop__slot_same(&b[i], &n[i]))
            w->function(w->context, (number << COP_SLOT_BITS) + i, &b[i], &n[i]);
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

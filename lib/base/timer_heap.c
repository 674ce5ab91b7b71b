/* SPDX-License-Identifier: MIT */
/* Timers in the order in which they are due: see timer_heap.h. */
#include "base/timer_heap.h"

static void
link_to(cop__timer **reference, cop__timer *timer)
{
    *reference = timer;
    if (timer != NULL)
        timer->reference = reference;
}

/* Two heaps become one; either may be empty. */
static cop__timer *
meld(cop__timer *a, cop__timer *b)
{
    if (a == NULL || b == NULL)
        return a != NULL ? a : b;
    if (b->due < a->due) {
        cop__timer *c = a;
        a = b;
        b = c;
    }
    link_to(&b->next, a->child);
    link_to(&a->child, b);
    a->next = NULL;
    return a;
}

/* Siblings become one heap: in pairs from the left, then the pairs from the right. */
static cop__timer *
meld_siblings(cop__timer *first)
{
    cop__timer *pairs = NULL, *all = NULL;
    while (first != NULL) {
        cop__timer *a = first, *b = a->next;
        first = b != NULL ? b->next : NULL;
        a->next = NULL;
        if (b != NULL)
            b->next = NULL;
        a = meld(a, b);
        a->next = pairs;
        pairs = a;
    }
    while (pairs != NULL) {
        cop__timer *next = pairs->next;
        pairs->next = NULL;
        all = meld(all, pairs);
        pairs = next;
    }
    return all;
}

void
cop__timer_heap_add(cop__timer **top, cop__timer *timer, uint64_t due)
{
    *timer = (cop__timer){.due = due};
    link_to(top, meld(*top, timer));
}

void
cop__timer_heap_remove(cop__timer **top, cop__timer *timer)
{
    link_to(timer->reference, timer->next);
    cop__timer *below = meld_siblings(timer->child);
    link_to(top, meld(*top, below));
    *timer = (cop__timer){.due = timer->due};
}

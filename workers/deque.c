/* SPDX-License-Identifier: MIT */
/*
 * The deque of deque.h.
 *
 * Items lie at indices top .. bottom-1 of an array used as a ring. top only grows, by one, by a
 * compare-and-swap; bottom is the owner's.
 *
 * ORDERING. Lê and others put a full fence between take's store to bottom and its load of top, and
 * one between steal's loads of top and bottom. Here these four accesses, and the compare-and-swap,
 * are sequentially consistent themselves, which the thread sanitizer understands; on x86 it costs
 * the same (take's store is an exchange).
 *
 * 1. No item is handed out twice by take and steal. Let the owner take index i without a
 *    compare-and-swap: it stored bottom = i, then loaded a top t < i. A thief that gets i has
 *    loaded top = i, which was put there after the owner's load (in the one order S of all these
 *    accesses), and loaded bottom after that. So it saw bottom = i, or a later value, which is
 * above i only when something new was pushed at i. The last item (t = i) is decided by the
 *    compare-and-swap on top, for the owner as for thieves.
 * 2. No item is handed out twice by two thieves: the compare-and-swap again. top never returns to
 *    an earlier value.
 * 3. A thief reads what was pushed. push releases bottom, steal acquires it; the item was written
 *    before. Each later store to bottom by the owner is a release too, so that it does not matter
 *    which of them the thief sees.
 * 4. A slot is not overwritten while a thief may yet succeed with it: push writes index b only
 *    when b - top <= mask, with a top that is at worst too small; slot b & mask was that of index
 *    b - mask - 1 < top, for which every compare-and-swap fails. A thief that read the newer item
 *    from it fails likewise.
 * 5. An outgrown array still holds what it held, and is kept until the deque ends; a thief with an
 *    old array reads the same item at the same index. Arrays double, so those kept are smaller in
 *    sum than the one in use.
 */
#include "workers/deque.h"

#define FIRST_ITEMS 64

static cop__deque_array *
array_new(int64_t items, cop__deque_array *smaller)
{
    cop__deque_array *array = malloc(sizeof *array + (size_t)items * sizeof array->items[0]);
    if (!array)
        return NULL;
    array->smaller = smaller;
    array->mask = items - 1;
    for (int64_t i = 0; i < items; i++)
        atomic_init(&array->items[i], NULL);
    return array;
}

bool
cop__deque_init(cop__deque *deque)
{
    cop__deque_array *array = array_new(FIRST_ITEMS, NULL);
    atomic_init(&deque->top, 0);
    atomic_init(&deque->bottom, 0);
    atomic_init(&deque->array, array);
    return array != NULL;
}

void
cop__deque_end(cop__deque *deque)
{
    cop__deque_array *array = cop__load_relaxed(&deque->array);
    while (array) {
        cop__deque_array *smaller = array->smaller;
        free(array);
        array = smaller;
    }
}

static void
item_put(cop__deque_array *array, int64_t i, void *item)
{
    cop__store_relaxed(&array->items[i & array->mask], item);
}

static void *
item_at(cop__deque_array *array, int64_t i)
{
    return cop__load_relaxed(&array->items[i & array->mask]);
}

static cop__deque_array *
grow(cop__deque *deque, cop__deque_array *array, int64_t top, int64_t bottom)
{
    cop__deque_array *larger = array_new((array->mask + 1) * 2, array);
    if (!larger)
        return NULL;
    for (int64_t i = top; i < bottom; i++)
        item_put(larger, i, item_at(array, i));
    cop__store_release(&deque->array, larger);
    return larger;
}

bool
cop__deque_push(cop__deque *deque, void *item)
{
    int64_t bottom = cop__load_relaxed(&deque->bottom);
    int64_t top = cop__load_acquire(&deque->top); /* acquire: argument 4 */
    cop__deque_array *array = cop__load_relaxed(&deque->array);
    if (cop__unlikely(bottom - top > array->mask)) {
        array = grow(deque, array, top, bottom);
        if (!array)
            return false;
    }
    item_put(array, bottom, item);
    cop__store_release(&deque->bottom, bottom + 1);
    return true;
}

/* The owner against thieves for the last item. */
static void *
take_last(cop__deque *deque, int64_t i, void *item)
{
    int64_t top = i;
    bool won = cop__cas_seq_cst(&deque->top, &top, i + 1) || COP_FAULT(deque_item_twice);
    cop__store_release(&deque->bottom, i + 1);
    return won ? item : NULL;
}

void *
cop__deque_take(cop__deque *deque)
{
    int64_t i = cop__load_relaxed(&deque->bottom) - 1;
    /* A top read too early is too small, so what looks empty is. */
    if (i < cop__load_relaxed(&deque->top))
        return NULL;
    cop__deque_array *array = cop__load_relaxed(&deque->array);
    (void)cop__swap_seq_cst(&deque->bottom, i);
    int64_t top = cop__load_seq_cst(&deque->top);
    if (top > i) {
        cop__store_release(&deque->bottom, i + 1);
        return NULL;
    }
    void *item = item_at(array, i);
    return top < i ? item : take_last(deque, i, item);
}

void *
cop__deque_steal(cop__deque *deque)
{
    for (;;) {
        int64_t top = cop__load_seq_cst(&deque->top);
        if (top >= cop__load_seq_cst(&deque->bottom))
            return NULL;
        void *item = item_at(cop__load_acquire(&deque->array), top);
        if (cop__cas_seq_cst(&deque->top, &top, top + 1))
            return item;
    }
}

bool
cop__deque_empty(cop__deque *deque)
{
    int64_t top = cop__load_seq_cst(&deque->top);
    return top >= cop__load_seq_cst(&deque->bottom);
}

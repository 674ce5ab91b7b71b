/* SPDX-License-Identifier: MIT */
/*
 * The committer's side of the pin core. The protocol, and the numbered argument that comments here
 * refer to, are in pin.h.
 */
#include "reclaim/pin.h"

/* What became of the posting to the pin whose sequence is in help_sequence. */
enum fate {
    FATE_NONE,   /* no posting, or one that has no effect any more */
    FATE_ASKED,  /* posted in this scan */
    FATE_BOUND,  /* seen pending after B2: holds the posted record and nothing else */
    FATE_EITHER, /* seen exact after B2: holds that record or the posted one */
};

struct scan {
    void *current;
    void (*heavy)(void *context);
    void (*held)(void *context, void *root);
    void *context;
    size_t asked;
    size_t bound;
    bool fence;
};

static inline bool
is_pending(uint64_t state)
{
    return (state & 1) != 0;
}

static inline void *
record_of(uint64_t state)
{
    return (void *)(uintptr_t)state;
}

static void
full_fence(void)
{
#ifdef __SANITIZE_THREAD__
    /* gcc's thread sanitizer refuses fences; on x86, where it runs, an exchange is one too. */
    _Atomic uint64_t word = 0;

    (void)cop__swap_seq_cst(&word, UINT64_C(1));
#else
    atomic_thread_fence(memory_order_seq_cst);
#endif
}

static void
barrier(const struct scan *scan)
{
    if (scan->fence)
        full_fence();
    else
        scan->heavy(scan->context);
}

/* Only scans write the posting, one at a time: relaxed loads see it. */
static inline void *
posted_root(struct cop__pin_slot *slot, unsigned i)
{
    return cop__load_relaxed(&slot->help_root[i]);
}

static inline uint64_t
posted_sequence(struct cop__pin_slot *slot, unsigned i)
{
    return cop__load_relaxed(&slot->help_sequence[i]);
}

/* After the load of a state that is not free: whether it is the posted pin's (argument 3). */
static inline bool
is_posted_pin(struct cop__pin_slot *slot, unsigned i)
{
    return cop__load_acquire(&slot->sequence[i]) == posted_sequence(slot, i);
}

static void
post(struct scan *scan, struct cop__pin_slot *slot, unsigned i, uint64_t sequence)
{
    cop__store_relaxed(&slot->help_root[i], scan->current);
    cop__store_release(&slot->help_sequence[i], sequence);
    slot->fate[i] = FATE_ASKED;
    scan->asked++;
}

/* A pin still pending after an earlier posting is bound already, and stays so. */
static void
look_pending(struct scan *scan, struct cop__pin_slot *slot, unsigned i, uint64_t sequence)
{
    if (COP_FAULT(pending_ignored))
        return;
    if (slot->fate[i] == FATE_BOUND && posted_sequence(slot, i) == sequence)
        scan->held(scan->context, posted_root(slot, i));
    else
        post(scan, slot, i, sequence);
}

/* The posted pin, not pending any more. */
static void
look_posted(struct scan *scan, struct cop__pin_slot *slot, unsigned i, void *seen)
{
    void *posted = posted_root(slot, i);

    scan->held(scan->context, posted);
    if (seen == posted)
        slot->fate[i] = FATE_NONE;
    else if (slot->fate[i] == FATE_EITHER)
        scan->held(scan->context, seen);
    /* Bound, and not adopted yet: what is seen may be freed already (argument 6). */
}

static void
first_look(struct scan *scan, struct cop__pin_slot *slot, unsigned i)
{
    uint64_t state = cop__load_acquire(&slot->state[i]);

    if (state != 0 && !is_pending(state) && slot->fate[i] != FATE_NONE) {
        if (is_posted_pin(slot, i)) {
            look_posted(scan, slot, i, record_of(state));
            return;
        }
        slot->fate[i] = FATE_NONE;
        state = cop__load_acquire(&slot->state[i]); /* argument 3 */
    }
    if (is_pending(state))
        look_pending(scan, slot, i, state >> 1);
    else if (state != 0)
        scan->held(scan->context, record_of(state));
}

static void
second_look(struct scan *scan, struct cop__pin_slot *slot, unsigned i)
{
    uint64_t state = cop__load_acquire(&slot->state[i]);

    slot->fate[i] = FATE_NONE;
    if (state == 0 || !is_posted_pin(slot, i))
        return; /* argument 8 */
    scan->held(scan->context, scan->current);
    if (is_pending(state)) {
        slot->fate[i] = FATE_BOUND;
        scan->bound++;
    } else if (record_of(state) != scan->current) {
        slot->fate[i] = FATE_EITHER;
        scan->held(scan->context, record_of(state));
    }
}

static void
look_again(struct scan *scan, struct cop__pin_slot *const *slots, size_t n)
{
    if (!COP_FAULT(help_without_barrier))
        barrier(scan);
    for (size_t k = 0; k < n; k++)
        for (unsigned i = 0; i < COP__PIN_NESTED; i++)
            if (slots[k]->fate[i] == FATE_ASKED)
                second_look(scan, slots[k], i);
}

void
cop__pin_collect(struct cop__pin_slot *const *slots, size_t n, void *current,
                 void (*heavy)(void *context), void *context,
                 void (*held)(void *context, void *root), bool fence, size_t *resolved)
{
    struct scan scan = {
        .current = current, .heavy = heavy, .held = held, .context = context, .fence = fence};

    COP_ASSERT(current != NULL && ((uintptr_t)current & 1) == 0);
    barrier(&scan);
    for (size_t k = 0; k < n; k++)
        for (unsigned i = 0; i < COP__PIN_NESTED; i++)
            first_look(&scan, slots[k], i);
    if (scan.asked > 0)
        look_again(&scan, slots, n);
    if (resolved)
        *resolved = scan.bound;
}

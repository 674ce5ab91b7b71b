/* SPDX-License-Identifier: MIT */
/*
 * The pin core: how a reader holds one version without waiting, and how the committer learns
 * exactly which versions are held.
 *
 * A root record is the immutable description of one published version. Its address, even and never
 * NULL, is stored with release order in an atomic root that only the holder of the commit right
 * changes. A reader has one slot with four independent pins, each a state word:
 *
 *   0                     free
 *   sequence << 1 | 1     pending: the pin `sequence` has begun, its record is not known yet
 *   even and not 0        exact: the address of the record that the pin has read; with bit 1 set
 *                         the name of something else, which is reported as it is (handle_pin.h)
 *
 *   reader                                     committer, for each pin, between publications
 *   S   sequence += 1                          B1  heavy barrier
 *   W1  state = sequence << 1 | 1              P1  look: load state (argument 3)
 *       light barrier                          P2  pending: help_root = current,
 *   R1  r = root                                            help_sequence = sequence
 *   W2  state = r                              B2  heavy barrier, if anything was posted
 *       light barrier                          P3  look again where something was posted
 *   R2  help_sequence == sequence?
 *   W3    then r = help_root; state = r        A pin still pending at P3 is bound to adopt the
 *       r may be used from here on             posted record; one found exact may adopt it or not.
 *   U   state = 0
 *
 * A light barrier stops the compiler alone; a heavy barrier (membarrier) makes every reader execute
 * a full barrier at some point of its program. In fence mode W1 and W2 are sequentially consistent
 * exchanges, R1 and R2 sequentially consistent loads, and the heavy barrier is a fence.
 *
 * Why it is right. C is the current record of a scan; "before" and "after" a barrier mean the place
 * in the reader's program at which it executes its full barrier.
 *
 *  1. A pin whose W1 comes after B1 needs no attention: R1 comes later still and reads C, since the
 *     root does not change during a scan, or a newer record; what is posted to it is C or newer.
 *  2. The stores to sequence and state are releases. Who sees W1 of a pin sees its S; who sees S
 *     sees U of the pin before, and all use of that pin's record is over.
 *  3. Whose state is it? A scan has seen the posted pin pending, so its state is that pin's or a
 *     newer one's. With an exact state the sequence is loaded next. By 2 it is not older than the
 *     state: if it is the posted one, so is the pin. If not, that pin has ended, perhaps between
 *     the two loads, and the state may be its stale W2; by 2 a second load of the state gives a
 *     newer pin's, or 0.
 *  4. A pin that P1 sees exact and that no earlier scan posted to will never adopt: nothing is ever
 *     posted to a pin that has been seen exact. So the address seen is what it holds.
 *  5. A pin that P1 sees pending for the first time had W1 after B1 of the scan before, which would
 *     have posted to it. Its R1 read the current record of that scan or a newer one, and only the
 *     scans decide what is freed: what R1 read is alive until the end of this scan.
 *  6. P3 sees it pending: W2 comes after B2, hence R2 does and finds the posting, which was stored
 *     before B2. It will use C and nothing else. What W2 stores may be freed meanwhile, so that it
 *     is never reported. This stays so ("bound") until W3 or U is seen.
 *  7. P3 sees it exact, with the same sequence: R2 may have come before or after the posting. Both
 *     the address seen, alive by 5, and C are reported ("either") by this scan and the next ones,
 *     until the state equals the posted record (it has adopted) or the pin has ended. This is what
 *     W3 is for; a bound pin would be safe without.
 *  8. P3 sees 0 or another sequence: the pin has ended; a newer one had W1 after P1, case 1.
 *  9. help_root is written when a newer pin has been seen pending: by 2 the reader has done with
 *     the posting before, and it compares sequences, so it never takes a posting for another pin.
 * 10. Once a scan that began after a record was replaced has not reported it, no pin holds it, and
 *     none will: by 1, 6 and 7 what readers can still come to hold was reported.
 *
 * So a reader that is stopped anywhere in a pin holds one record, two at most in the race of 7,
 * however many versions follow.
 *
 * Progress: begin, end and collect are wait-free; collect takes time in proportion to the slots,
 * and two heavy barriers at most.
 *
 *   may run at the same time     begin/end of a slot  begin/end elsewhere  collect
 *   begin/end of a slot          no: one thread       yes                  yes
 *   collect                      yes                  yes                  no: commit right
 *
 * The caller sees to it that
 *  - a slot starts zeroed and is not cleared while in use; who takes over a slot goes on with its
 *    sequence numbers;
 *  - the slot of every reader that may hold a pin is passed to collect. One that is missing was
 *    handed out after the list was taken, so that its first pin sees the current root;
 *  - a record, once published, is freed only after a collect that began when it was no longer
 *    current and did not report it;
 *  - all readers and the committer agree on `fence` from the first pin on.
 */
#ifndef COP_RECLAIM_PIN_H
#define COP_RECLAIM_PIN_H

#include "base/atomic.h"
#include "base/base.h"

#define COP__PIN_NESTED 4

/*
 * The first line is written by the reader alone, the second by the committer when it posts, the
 * third is the committer's own but for the sites of a development build. With 192 bytes the line that the hardware prefetches along with a
 * reader's is never another reader's.
 */
struct cop__pin_slot {
    _Alignas(COP_CACHE_LINE) _Atomic uint64_t state[COP__PIN_NESTED];
    _Atomic uint64_t sequence[COP__PIN_NESTED];
    _Alignas(COP_CACHE_LINE) _Atomic uint64_t help_sequence[COP__PIN_NESTED];
    _Atomic(void *) help_root[COP__PIN_NESTED];
    _Alignas(COP_CACHE_LINE) uint8_t fate[COP__PIN_NESTED]; /* what became of the posting */
    uint32_t thread; /* that registered it: under the gate's lock */
    _Atomic(const void *) site[COP__PIN_NESTED]; /* who pinned last; written in development builds only */
};

/* For who asks where a pin was made: nothing in production builds. */
static inline void
cop__pin_note_site(struct cop__pin_slot *slot, unsigned i, const void *site)
{
#ifdef COP_PRODUCTION
    (void)slot;
    (void)i;
    (void)site;
#else
    atomic_store_explicit(&slot->site[i], site, memory_order_relaxed);
#endif
}

/* S. */
static inline uint64_t
cop__pin_next(struct cop__pin_slot *slot, unsigned i)
{
    uint64_t sequence = cop__load_relaxed(&slot->sequence[i]) + 1;

    cop__store_release(&slot->sequence[i], sequence);
    return sequence;
}

/* W3. The acquire of help_sequence covers help_root, which stays as it is until this pin ends. */
static inline void *
cop__pin_adopt(struct cop__pin_slot *slot, unsigned i)
{
    void *root = cop__load_relaxed(&slot->help_root[i]);

    cop__store_release(&slot->state[i], (uint64_t)(uintptr_t)root);
    return root;
}

static inline void *
cop__pin_begin_light(struct cop__pin_slot *slot, unsigned i, _Atomic(void *) *root)
{
    uint64_t sequence = cop__pin_next(slot, i);
    void *record;

    cop__store_release(&slot->state[i], sequence << 1 | 1);
    cop__light_barrier();
    record = cop__load_acquire(root);
    cop__store_release(&slot->state[i], (uint64_t)(uintptr_t)record);
    cop__light_barrier();
    if (cop__likely(cop__load_acquire(&slot->help_sequence[i]) != sequence))
        return record;
    return cop__pin_adopt(slot, i);
}

/* The loads are sequentially consistent because an exchange alone does not keep a later acquire
 * load from moving before its store part, neither in C11 nor on every processor. */
static inline void *
cop__pin_begin_fenced(struct cop__pin_slot *slot, unsigned i, _Atomic(void *) *root)
{
    uint64_t sequence = cop__pin_next(slot, i);
    void *record;

    (void)cop__swap_seq_cst(&slot->state[i], sequence << 1 | 1);
    record = cop__load_seq_cst(root);
    (void)cop__swap_seq_cst(&slot->state[i], (uint64_t)(uintptr_t)record);
    if (cop__likely(cop__load_seq_cst(&slot->help_sequence[i]) != sequence))
        return record;
    return cop__pin_adopt(slot, i);
}

/* Begins pin i of the slot, which must be free, and returns the record that it holds. Wait-free. */
static inline void *
cop__pin_begin(struct cop__pin_slot *slot, unsigned i, _Atomic(void *) *root, bool fence)
{
    if (cop__unlikely(fence))
        return cop__pin_begin_fenced(slot, i, root);
    return cop__pin_begin_light(slot, i, root);
}

/* Ends pin i: its record must not be used afterwards. Wait-free. The release orders all use of the
 * record before it; no barrier is needed, for a late 0 only holds the record a little longer. */
static inline void
cop__pin_end(struct cop__pin_slot *slot, unsigned i)
{
    cop__store_release(&slot->state[i], UINT64_C(0));
}

/*
 * Runs one scan and calls held(context, record) for every record that a pin holds or may come to
 * hold, `current` excepted where no pin has it; one record may be reported several times, and all
 * that are reported are alive. `current` must be the root throughout. heavy(context) is the heavy
 * barrier; with fence it is not called and may be NULL. *resolved, unless NULL, receives how many
 * pending pins this scan has bound to `current`. Needs the commit right.
 */
void cop__pin_collect(struct cop__pin_slot *const *slots, size_t n, void *current,
                      void (*heavy)(void *context), void *context,
                      void (*held)(void *context, void *root), bool fence, size_t *resolved);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * How a reader uses a version that can be revoked, and how the committer learns that no reader does.
 *
 * A handle leads to the record of a version. A reader that comes through it has the handle's address,
 * marked, in its slot for the length of one call, where a pin (pin.h) has the address of a record:
 *
 *   reader                                     committer, with the right
 *   S   sequence += 1                          V   revoked = 1
 *   W   state = handle | 2                     B1  heavy barrier of the scan
 *       light barrier                          P1  look at every slot: is this handle named?
 *   R   revoked?  yes: state = 0, expired      Q   look at `others`
 *       the record may be used from here on    D   not named and no others: the version is let go
 *   U   state = 0
 *
 * A light barrier stops the compiler alone; a heavy barrier makes every reader execute a full one at some
 * point of its program. In fence mode W is a sequentially consistent exchange, R a sequentially consistent
 * load, and the heavy barrier a fence.
 *
 * Why it is right. "Before" and "after" B1 mean the place in the reader's program at which it executes its
 * full barrier; V, B1, P1 and D are of one scan, or V of an earlier one.
 *
 *  1. W before B1: it is visible at P1. P1 sees it and the handle stays for this scan, or it sees what
 *     the reader has stored there later: then U has come, and the release of U with the acquire of P1
 *     orders all use of the record before D.
 *  2. W after B1: R comes later still and sees V, which was stored before B1. The record is not used.
 *  3. A reader that is in no list of slots yet was registered after the scan took the gate's lock, hence
 *     after V: it sees it.
 *  4. A scan may see the marked address of a reader that is at R, will find the handle revoked and never
 *     use it: it is kept one scan longer, which is no harm. Memory of handles stays mapped and typed as
 *     long as the store, so that a stale name may be followed; a handle that was given to another
 *     holder meanwhile is kept one scan longer, too.
 *  5. S keeps the arguments of pin.h: what was posted to a pin of this slot has an older sequence, so no
 *     scan takes a marked address for a posted pin's record, and a pin's second look passes over it: its W
 *     came after P1.
 *  6. Who has no free slot (all pins in use, no reader to be had, the store closing) counts itself in
 *     `others` instead: addition, then R, against V, then Q, all sequentially consistent: one of the two
 *     sees the other. A scan that sees 0 acquires what the last one out released.
 *  7. Calls nest on one thread (a callback that reads): an inner one that finds its handle named in the
 *     slot already uses that: the outer call ends later.
 *
 * A reader that is stopped within a call holds the version until it goes on, as a pin does; a snapshot
 * that is held and not being read holds nothing once a scan has run after V.
 *
 * Progress: begin and end are wait-free.
 */
#ifndef COP_RECLAIM_HANDLE_PIN_H
#define COP_RECLAIM_HANDLE_PIN_H

#include "reclaim/pin.h"

#define COP__STATE_HANDLE 2u /* in a state: the rest is the address of a handle */

/* Of each handle. */
struct cop__handle_pins {
    _Atomic uint64_t revoked; /* only with the right it becomes 1; 0 again with the next holder */
    _Atomic uint64_t others;  /* readers without a slot */
    uint64_t named;           /* the scan's own: the last one that has seen it in a slot */
};

static inline uint64_t
cop__handle_state(const struct cop__handle_pins *handle)
{
    return (uint64_t)(uintptr_t)handle | COP__STATE_HANDLE;
}

/* The handle that a reported address is the name of, or NULL: it is a record. */
static inline struct cop__handle_pins *
cop__handle_named(void *reported)
{
    uintptr_t state = (uintptr_t)reported;
    return state & COP__STATE_HANDLE
               ? (struct cop__handle_pins *)(state & ~(uintptr_t)COP__STATE_HANDLE)
               : NULL;
}

/* S, W, R: names the handle in word i of the slot, which must be free. False: it is revoked. */
static inline bool
cop__handle_begin(struct cop__pin_slot *slot, unsigned i, struct cop__handle_pins *handle, bool fence)
{
    bool revoked;
    (void)cop__pin_next(slot, i);
    if (fence) {
        (void)cop__swap_seq_cst(&slot->state[i], cop__handle_state(handle));
        revoked = cop__load_seq_cst(&handle->revoked) != 0;
    } else {
        cop__store_release(&slot->state[i], cop__handle_state(handle));
        cop__light_barrier();
        revoked = cop__load_acquire(&handle->revoked) != 0;
    }
    if (revoked)
        cop__pin_end(slot, i);
    return !revoked;
}

static inline void
cop__handle_end_other(struct cop__handle_pins *handle)
{
    (void)cop__sub_seq_cst(&handle->others, UINT64_C(1));
}

/* The same without a slot. */
static inline bool
cop__handle_begin_other(struct cop__handle_pins *handle)
{
    (void)cop__add_seq_cst(&handle->others, UINT64_C(1));
    if (cop__load_seq_cst(&handle->revoked) == 0)
        return true;
    cop__handle_end_other(handle);
    return false;
}

/* V. */
static inline void
cop__handle_revoke(struct cop__handle_pins *handle)
{
    cop__store_seq_cst(&handle->revoked, UINT64_C(1));
}

/* Q and D, behind the looks of scan number `scan`, before which the handle was revoked: nobody reads
 * through it, and nobody will. */
static inline bool
cop__handle_unread(struct cop__handle_pins *handle, uint64_t scan)
{
    if (COP_FAULT(revoked_early))
        return true;
    return handle->named != scan && cop__load_seq_cst(&handle->others) == 0;
}

#endif

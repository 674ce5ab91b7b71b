/* SPDX-License-Identifier: MIT */
/*
 * The gate: what readers and their threads need of a store, and what may outlive it.
 *
 * A reader's slot is written by its thread without asking anyone, so it must stay mapped until that
 * thread is done with it, also when the store is gone. The gate owns the slots; the store, every
 * registered thread and every explicit reader hold one reference to it each.
 */
#ifndef COP_RECLAIM_GATE_H
#define COP_RECLAIM_GATE_H

#include <pthread.h>

#include "reclaim/pin.h"
#include "store/store_internal.h"

/* One reader: a thread's, or an explicit one. Mapped memory that a forked child sees as zero, so
 * that the child's first look at `store` sends it to the slow path. */
struct cop_reader {
    struct cop__pin_slot slot;
    _Alignas(COP_CACHE_LINE) _Atomic(cop_store *) store; /* NULL: unowned, or the store is gone */
    _Atomic uint32_t closing; /* whoever unpins last has the store to free */
    _Atomic uint32_t owned;
    struct cop__gate *gate;
    struct cop_reader *next_of_thread;
    struct cop_txn *spare_txn; /* owner only: kept for the next cop_txn_begin */
    _Atomic uint64_t begun, ended; /* uses of the store: counted by the owner alone */
    _Atomic uint64_t ended_elsewhere; /* those of them that another thread ended */
};

typedef struct cop__gate {
    pthread_mutex_t lock;
    cop_store *store; /* under the lock: NULL once it is freed */
    _Atomic uint32_t references;
    _Atomic uint64_t users; /* transactions, tickets and calls that still need the store */
    cop__memory *memory;
    struct cop__pin_slot **slots; /* of all readers ever made, owned or not */
    size_t count, slots_capacity;
    size_t owned, owned_max;
} cop__gate;

/* Readers are mapped by the slab. */
#define COP_SLAB_BYTES ((size_t)16384)
#define COP_READERS_A_SLAB (COP_SLAB_BYTES / sizeof(struct cop_reader))

static inline struct cop_reader *
cop__reader_of_slot(struct cop__pin_slot *slot)
{
    return (struct cop_reader *)(void *)((char *)slot - offsetof(struct cop_reader, slot));
}

#define COP_GATE_CLOSING (UINT64_C(1) << 63) /* in `users` */

static inline bool
cop__gate_closing(cop__gate *gate)
{
    return (cop__load_seq_cst(&gate->users) & COP_GATE_CLOSING) != 0;
}

/* While a use lasts neither the store nor the gate is freed. Ending it may free the store. */
static inline void
cop__gate_use(cop__gate *gate)
{
    cop__add_seq_cst(&gate->users, UINT64_C(1));
}

/* Ends a use of a store that is closing, which may be the last thing that keeps it. */
void cop__gate_end_use_closing(cop__gate *gate);

/* The closing bit is in the same word, so that a use never ends unnoticed: after the exchange the
 * gate may be gone, and is not touched. */
static inline void
cop__gate_end_use(cop__gate *gate)
{
    uint64_t users = cop__load_relaxed(&gate->users);
    do {
        if (cop__unlikely(users & COP_GATE_CLOSING)) {
            cop__gate_end_use_closing(gate);
            return;
        }
    } while (!cop__cas_seq_cst(&gate->users, &users, users - 1));
}

/* The calling thread's reader, registering it if need be; NULL with *status set. */
struct cop_reader *cop__reader_of_thread(cop_store *store, cop_status *status);
/* The one that the calling thread asked for last, of whatever store. */
extern _Thread_local struct cop_reader *cop__reader_last __attribute__((visibility("hidden")));
struct cop_reader *cop__reader_known_slow(cop_store *store);
/* The calling thread's reader if it has one. Wait-free. */
static inline struct cop_reader *
cop__reader_known(cop_store *store)
{
    struct cop_reader *reader = cop__reader_last;
    if (cop__likely(reader != NULL && cop__load_relaxed(&reader->store) == store))
        return reader;
    return cop__reader_known_slow(store);
}

/*
 * A use by one thread, as a transaction's mostly is, is counted beside its reader, without an atomic
 * addition. It is safe for the reason a pin is: the closing thread sets `closing`, has a barrier
 * executed by all threads, and looks at the counts then. Who begins a use either is seen, or sees
 * `closing` and takes a use of the gate instead; who ends one either is seen, or sees `closing` and
 * looks itself. A use that moves to the gate begins there before it ends here, and the
 * closing thread looks here first.
 */

/* Another thread ends the use. */
void cop__use_end_elsewhere(cop__gate *gate, struct cop_reader *user);

/* Begins a use; own: the thread's reader, or NULL. Returns who counts it, NULL for the gate. */
static inline struct cop_reader *
cop__use_begin(cop_store *store, struct cop_reader *own)
{
    if (cop__likely(own != NULL && !store->fence)) {
        cop__store_release(&own->begun, cop__load_relaxed(&own->begun) + 1);
        cop__light_barrier();
        if (cop__likely(!cop__load_relaxed(&own->closing)))
            return own;
    }
    cop__gate_use(store->gate);
    if (own != NULL && !store->fence)
        cop__store_release(&own->ended, cop__load_relaxed(&own->ended) + 1);
    return NULL;
}

static inline void
cop__use_end(cop__gate *gate, struct cop_reader *user, const struct cop_reader *own)
{
    if (user == NULL) {
        cop__gate_end_use(gate);
        return;
    }
    if (cop__unlikely(user != own)) {
        cop__use_end_elsewhere(gate, user);
        return;
    }
    cop__store_release(&user->ended, cop__load_relaxed(&user->ended) + 1);
    cop__light_barrier();
    if (cop__unlikely(cop__load_relaxed(&user->closing)))
        cop__store_progress(gate);
}

/* Whether this kernel offers the membarrier command; registers the process for it. */
bool cop__membarrier_ready(void);
void cop__membarrier(void);
/* Unregisters the calling thread from this gate, unless it holds pins. */
void cop__reader_of_thread_leave(cop__gate *gate);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * Readers: registration, pins, and the scan that asks what they hold.
 *
 * ORDERING. The pin protocol and its argument are in pin.h. Besides:
 *  - registration and the scan's list of slots are under the gate's lock. A slot that a scan misses
 *    was handed out after the scan took the lock, so its first pin reads the root that is current
 *    in that scan or a newer one.
 *  - closing: the closer sets `closing` in every reader, runs a heavy barrier, then looks at the
 *    states; a reader that unpins stores 0, then loads `closing` (light barrier between). One of
 *    the two sees the other, so the last one out frees the store. Without membarrier both may miss
 *    each other for as long as a store buffer lasts; the store is then freed at the next unpin or
 *    at the thread's exit, whichever is first.
 *
 *  - a slot may name a handle instead of a record: handle_pin.h. Handles are revoked before the scan's
 *    first barrier and let go after its looks, before the list of what is held is read.
 *
 * PROGRESS. A registered thread's pin and unpin: wait-free. Registering: blocking (lock, memory).
 *
 *   may run at the same time    pin/unpin (other reader)  register  scan   close
 *   pin/unpin                   yes                       yes       yes    unpin only
 *   register                    yes                       lock      lock   answers closing
 *   scan                        yes                       lock      right  right
 */
#include "base/probes.h"
#include "commit/txn.h"
#include "graph/lazy.h"
#include "history/room.h"
#include "reclaim/gate.h"
#include "reclaim/holders.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

_Thread_local struct cop_reader *cop__reader_last;
static _Thread_local struct cop_reader *thread_readers;
static _Thread_local cop_status pin_status;
static pthread_key_t thread_key;
static pthread_once_t thread_once = PTHREAD_ONCE_INIT;
static bool thread_key_made;

/* ---- the gate ---- */

cop__gate *
cop__gate_new(cop_store *store)
{
    cop__gate *gate = cop__memory_zalloc(store->memory, COP_MEMORY_READERS, sizeof *gate, 16);
    if (gate == NULL)
        return NULL;
    gate->memory = store->memory;
    gate->owned_max = store->options.readers_max;
    gate->store = store;
    gate->references = 1;
    pthread_mutex_init(&gate->lock, NULL);
    cop__memory_ref(gate->memory);
    return gate;
}

void
cop__gate_unref(cop__gate *gate)
{
    if (cop__sub_acq_rel(&gate->references, 1) != 1)
        return;
    cop__memory *memory = gate->memory;
    for (size_t i = 0; i < gate->count; i += COP_READERS_A_SLAB)
        cop__memory_unmap(memory, COP_MEMORY_READERS,
                          cop__reader_of_slot(gate->slots[i]), COP_SLAB_BYTES);
    cop__memory_free(memory, COP_MEMORY_READERS, gate->slots,
                     gate->slots_capacity * sizeof *gate->slots, 16);
    pthread_mutex_destroy(&gate->lock);
    cop__memory_free(memory, COP_MEMORY_READERS, gate, sizeof *gate, 16);
    cop__memory_unref(memory);
}

/* One more slab of readers. Under the lock. */
static bool
slab_add(cop__gate *gate)
{
    if (gate->count + COP_READERS_A_SLAB > gate->slots_capacity) {
        size_t capacity = gate->slots_capacity ? gate->slots_capacity * 2 : COP_READERS_A_SLAB;
        void *slots = cop__memory_realloc(gate->memory, COP_MEMORY_READERS, gate->slots,
                                          gate->slots_capacity * sizeof *gate->slots,
                                          capacity * sizeof *gate->slots);
        if (slots == NULL)
            return false;
        gate->slots = slots;
        gate->slots_capacity = capacity;
    }
    struct cop_reader *slab =
        cop__memory_map(gate->memory, COP_MEMORY_READERS, COP_SLAB_BYTES, true);
    if (slab == NULL)
        return false;
    for (size_t i = 0; i < COP_READERS_A_SLAB; i++) {
        slab[i].gate = gate;
        gate->slots[gate->count++] = &slab[i].slot;
    }
    return true;
}

static struct cop_reader *
reader_unowned(cop__gate *gate)
{
    for (size_t i = 0; i < gate->count; i++)
        if (!cop__load_acquire(&cop__reader_of_slot(gate->slots[i])->owned))
            return cop__reader_of_slot(gate->slots[i]);
    return NULL;
}

static struct cop_reader *
reader_take(cop_store *store, cop_status *status)
{
    cop__gate *gate = store->gate;
    struct cop_reader *reader = NULL;
    *status = cop__store_usable(store);
    if (*status != COP_OK)
        return NULL;
    pthread_mutex_lock(&gate->lock);
    if (gate->owned >= gate->owned_max) {
        *status = COP_E_LIMIT;
    } else if ((reader = gate->owned < gate->count ? reader_unowned(gate) : NULL) == NULL &&
               (!slab_add(gate) || (reader = reader_unowned(gate)) == NULL)) {
        *status = COP_E_MEMORY;
    } else {
        gate->owned++;
        reader->spare_txn = NULL;
        reader->slot.thread = cop__thread_id();
        cop__store_relaxed(&reader->closing, cop__load_seq_cst(&store->closing));
        cop__store_relaxed(&reader->store, store);
        cop__store_release(&reader->owned, 1u);
        cop__add_relaxed(&gate->references, 1u);
    }
    pthread_mutex_unlock(&gate->lock);
    return reader;
}

/* Owner only. */
static unsigned
pins_held(struct cop_reader *reader)
{
    unsigned held = 0;
    for (unsigned i = 0; i < COP__PIN_NESTED; i++)
        held += cop__load_relaxed(&reader->slot.state[i]) != 0;
    return held;
}

/* Gives a reader back; pins that it still holds are released and counted. */
static void
reader_leave(struct cop_reader *reader)
{
    cop__gate *gate = reader->gate;
    unsigned leaked = pins_held(reader);
    if (reader->spare_txn != NULL)
        cop__txn_free_spare(reader->spare_txn, gate->memory);
    reader->spare_txn = NULL;
    for (unsigned i = 0; i < COP__PIN_NESTED; i++)
        cop__pin_end(&reader->slot, i);
    pthread_mutex_lock(&gate->lock);
    gate->owned--;
    if (leaked > 0 && gate->store != NULL) {
        cop__add_relaxed(&gate->store->count.leaked, leaked);
        cop__log_write(&gate->store->log, COP_LOG_WARNING,
                       "a reader ended while holding %u pin%s; released", leaked,
                       leaked == 1 ? "" : "s");
    }
    cop__store_relaxed(&reader->store, (cop_store *)NULL);
    cop__store_release(&reader->owned, 0u);
    pthread_mutex_unlock(&gate->lock);
    cop__store_progress(gate);
    cop__gate_unref(gate);
}

/* ---- threads ---- */

static void
thread_exits(void *unused)
{
    (void)unused;
    struct cop_reader *reader = thread_readers;
    thread_readers = NULL;
    cop__reader_last = NULL;
    while (reader != NULL) {
        struct cop_reader *next = reader->next_of_thread;
        if (reader->gate != NULL) /* zero in a forked child, whose parent owns the gate */
            reader_leave(reader);
        reader = next;
    }
}

static void
thread_key_make(void)
{
    thread_key_made = pthread_key_create(&thread_key, thread_exits) == 0;
}

/* Takes readers of stores that are gone out of the thread's list, so that it stays short. */
static void
thread_forget_gone(void)
{
    struct cop_reader **link = &thread_readers;
    while (*link != NULL) {
        struct cop_reader *reader = *link;
        if (reader->gate == NULL || cop__load_relaxed(&reader->store) != NULL) {
            link = &reader->next_of_thread;
            continue;
        }
        *link = reader->next_of_thread;
        if (reader->spare_txn != NULL)
            cop__txn_free_spare(reader->spare_txn, reader->gate->memory);
        reader->spare_txn = NULL;
        cop__gate_unref(reader->gate);
    }
}

void
cop__reader_of_thread_leave(cop__gate *gate)
{
    struct cop_reader **link = &thread_readers;
    while (*link != NULL && (*link)->gate != gate)
        link = &(*link)->next_of_thread;
    struct cop_reader *reader = *link;
    if (reader == NULL || pins_held(reader) > 0)
        return;
    *link = reader->next_of_thread;
    if (cop__reader_last == reader)
        cop__reader_last = NULL;
    reader_leave(reader);
}

void
cop__use_end_elsewhere(cop__gate *gate, struct cop_reader *user)
{
    cop__add_relaxed(&gate->references, 1u);
    cop__add_seq_cst(&user->ended_elsewhere, UINT64_C(1));
    cop__store_progress(gate);
    cop__gate_unref(gate);
}

struct cop_reader *
cop__reader_known_slow(cop_store *store)
{
    for (struct cop_reader *reader = thread_readers; reader != NULL;
         reader = reader->next_of_thread)
        if (cop__load_relaxed(&reader->store) == store) {
            cop__reader_last = reader;
            return reader;
        }
    return NULL;
}

struct cop_reader *
cop__reader_of_thread(cop_store *store, cop_status *status)
{
    struct cop_reader *reader = cop__reader_known(store);
    if (cop__likely(reader != NULL))
        return reader;
    pthread_once(&thread_once, thread_key_make);
    *status = COP_E_MEMORY;
    if (!thread_key_made)
        return NULL;
    cop__reader_last = NULL;
    thread_forget_gone();
    reader = reader_take(store, status);
    if (reader == NULL)
        return NULL;
    reader->next_of_thread = thread_readers;
    thread_readers = reader;
    cop__reader_last = reader;
    (void)pthread_setspecific(thread_key, reader); /* non-NULL: the destructor runs */
    return reader;
}

cop_status
cop_reader_register(cop_store *store)
{
    cop_status status = cop__store_usable(store);
    if (status == COP_OK)
        (void)cop__reader_of_thread(store, &status);
    return status;
}

/* ---- pins ---- */

static cop_pin_t
pin_failed(cop_status status)
{
    pin_status = status;
    return (cop_pin_t){NULL, NULL};
}

cop_status
cop_pin_status(void)
{
    return pin_status;
}

static inline cop_pin_t
pin_with(struct cop_reader *reader, cop_store *store, const void *site)
{
    unsigned i = 0;
    while (cop__unlikely(atomic_load_explicit(&reader->slot.state[i], memory_order_relaxed) != 0))
        if (++i == COP_PINS_MAX)
            return pin_failed(COP_E_PINS);
    cop__pin_note_site(&reader->slot, i, site);
    const cop_snapshot *root = cop__pin_begin(&reader->slot, i, &store->root, store->fence);
    /* Readers are aligned to cache lines: the low bits say which pin. */
    return (cop_pin_t){root, (char *)reader + i};
}

static __attribute__((noinline)) cop_pin_t
pin_slow(cop_store *store, const void *site)
{
    cop_status status = cop__store_usable(store);
    struct cop_reader *reader =
        status == COP_OK ? cop__reader_of_thread(store, &status) : NULL;
    return reader != NULL ? pin_with(reader, store, site) : pin_failed(status);
}

cop_pin_t
cop_pin(cop_store *store)
{
    struct cop_reader *reader = cop__reader_last;
    if (cop__unlikely(reader == NULL || cop__load_relaxed(&reader->store) != store))
        return pin_slow(store, __builtin_return_address(0));
    return pin_with(reader, store, __builtin_return_address(0));
}

void
cop_unpin(cop_pin_t pin)
{
    if (cop__unlikely(pin.slot == NULL))
        return;
    uintptr_t tagged = (uintptr_t)pin.slot;
    struct cop_reader *reader = (struct cop_reader *)(tagged & ~(uintptr_t)(COP_CACHE_LINE - 1));
    unsigned i = (unsigned)(tagged & (COP_CACHE_LINE - 1));
    cop__pin_end(&reader->slot, i);
    cop__light_barrier();
    if (cop__unlikely(cop__load_relaxed(&reader->closing)))
        cop__store_progress(reader->gate);
}

cop_status
cop_reader_open(cop_store *store, cop_reader **reader)
{
    cop_status status;
    *reader = reader_take(store, &status);
    return status;
}

cop_pin_t
cop_reader_pin(cop_reader *reader)
{
    cop_store *store = cop__load_relaxed(&reader->store);
    if (cop__unlikely(store == NULL))
        return pin_failed(COP_E_FORKED);
    cop_status status = cop__store_usable(store);
    return cop__likely(status == COP_OK)
               ? pin_with(reader, store, __builtin_return_address(0))
               : pin_failed(status);
}

void
cop_reader_close(cop_reader *reader)
{
    if (reader != NULL && reader->gate != NULL)
        reader_leave(reader);
}

/* ---- the scan ---- */

void
cop__membarrier(void)
{
    COP_STEP("membarrier");
    (void)syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
}

static void
heavy_barrier(void *context)
{
    (void)context;
    cop__membarrier();
}

bool
cop__membarrier_ready(void)
{
    return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0 &&
           syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0;
}

/* What the history keeps is meant to be old. */
static void
note_stalling(cop__stall *stall, const cop_snapshot *snapshot)
{
    if (stall->oldest == NULL || snapshot->stamp < stall->oldest->stamp)
        stall->oldest = snapshot;
}

static void
note_version(cop_store *store, const cop_snapshot *snapshot)
{
    COP_ALWAYS(store->stamps_count < store->stamps_capacity);
    store->stamps[store->stamps_count++] = snapshot->stamp;
    if (snapshot->version < store->oldest_noted) {
        store->oldest_noted = snapshot->version;
        store->oldest_noted_ns = snapshot->time_ns;
    }
}

static void
note_pinned(void *context, void *root)
{
    cop_store *store = context;
    struct cop__handle_pins *handle = cop__handle_named(root);
    if (cop__unlikely(handle != NULL)) { /* what it leads to is in the list of what is held */
        handle->named = store->scan;
        return;
    }
    note_version(store, root);
    note_stalling(&store->stall, root);
}

static bool
stamps_reserve(cop_store *store, size_t need)
{
    return cop__tree_grow(&store->tree, &store->stamps, &store->stamps_capacity, need,
                          sizeof *store->stamps);
}

static int
compare_stamps(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void
stamps_sort(cop_store *store)
{
    if (store->stamps_count < 2)
        return;
    qsort(store->stamps, store->stamps_count, sizeof *store->stamps, compare_stamps);
    size_t n = 1;
    for (size_t i = 1; i < store->stamps_count; i++)
        if (store->stamps[i] != store->stamps[n - 1])
            store->stamps[n++] = store->stamps[i];
    store->stamps_count = n;
}

/* Slots first, snapshots second: a snapshot is entered in its list before the pin that it was taken
 * under ends, so one of the two shows it. */
static bool
held_find(cop_store *store)
{
    cop__gate *gate = store->gate;
    size_t resolved = 0;
    store->stamps_count = 0;
    store->oldest_noted = UINT64_MAX;
    store->stall.oldest = NULL;
    store->scan++;
    cop__handles_before_scan(store);
    pthread_mutex_lock(&gate->lock);
    bool room = stamps_reserve(store, gate->count * COP__PIN_NESTED * 2);
    if (room)
        cop__pin_collect(gate->slots, gate->count, store->tree.root, heavy_barrier, store, note_pinned,
                         store->fence, &resolved);
    pthread_mutex_unlock(&gate->lock);
    if (!room)
        return false;
    cop__store_relaxed(&store->count.pins, store->stamps_count);
    cop__store_relaxed(&store->count.oldest_pin, store->oldest_noted);
    cop__store_relaxed(&store->count.oldest_pin_ns, store->oldest_noted_ns);
    cop__count_add(&store->count.resolved, resolved);
    cop__handles_after_scan(store);
    pthread_mutex_lock(&store->snapshot_lock);
    room = stamps_reserve(store, store->stamps_count + store->held_records);
    for (cop_snapshot *s = store->held_first; room && s != NULL; s = s->next_held) {
        s->seen = true;
        note_version(store, s);
        if (s->kept < s->holds)
            note_stalling(&store->stall, s);
    }
    pthread_mutex_unlock(&store->snapshot_lock);
    stamps_sort(store);
    return room;
}

size_t
cop__reclaim(cop_store *store, bool scan, size_t quota)
{
    cop__dead *dead = &store->tree.dead;
    if (scan && held_find(store)) {
        (void)cop__dead_scan(dead, store->stamps, store->stamps_count);
        cop__lazies_scanned(&store->graph, store->stamps, store->stamps_count,
                            store->tree.root->stamp);
        store->limbo_left = dead->limbo_count;
        if (cop__unlikely(cop__load_relaxed(&store->history) != NULL)) {
            cop__snapshots_weigh(store);
            store->history_posted |= cop__history_heavy(store);
        }
        cop__stall_look(store);
        cop__count_add(&store->count.scans, 1);
    }
    COP_PROBE2(reclaim, scan, quota);
    return cop__dead_doomed(dead) > 0 ? cop__dead_free(dead, quota) : 0;
}

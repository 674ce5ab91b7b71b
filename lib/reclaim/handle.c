/* SPDX-License-Identifier: MIT */
/*
 * Handles: snapshots that can be revoked. What they are and how long they live is in handle.h, why nobody
 * reads a version that was let go in handle_pin.h.
 *
 * ORDERING. Lists, holds and `life` are under snapshot_lock. `of` is written before the handle is given out and
 * again by the scan that has found nobody reading, or by the last drop: nobody loads it then.
 *
 * PROGRESS. enter and leave: wait-free, but for the registration of a thread. give, drop: a short lock.
 *
 *   may run at the same time   enter/leave   give/keep   drop (this one)   before/after scan
 *   enter/leave                yes           yes         no: the caller    yes
 *   drop                       no            lock        no                lock
 *   before/after scan          yes           lock        lock              right
 */
#include "reclaim/handle.h"

#include "commit/combiner.h"
#include "reclaim/gate.h"
#include "reclaim/holders.h"

#define SLAB_BYTES ((size_t)16384)
#define HANDLES_A_SLAB ((SLAB_BYTES - COP_CACHE_LINE) / sizeof(cop__handle))
#define AGAIN_NS UINT64_C(10000000) /* between looks for readers that keep what is revoked */

typedef struct cop__handle_slab {
    _Alignas(COP_CACHE_LINE) struct cop__handle_slab *next;
    cop__handle handle[];
} cop__handle_slab;

_Static_assert(offsetof(cop__handle_slab, handle) + HANDLES_A_SLAB * sizeof(cop__handle) <= SLAB_BYTES,
               "a slab holds its handles");

static cop__handle *
handle_of(const cop_snapshot *snapshot)
{
    return (cop__handle *)(uintptr_t)snapshot; /* the face is its first part */
}

/* NULL is legal, both ways. */
static cop_snapshot *
face_of(cop__handle *handle)
{
    return (cop_snapshot *)(void *)handle;
}

static cop__handle *
next_of(const cop__handle *handle)
{
    return handle_of(handle->face.next_held);
}

/* ---- memory ---- */

void
cop__handles_init(cop_store *store)
{
    atomic_init(&store->handle_due, UINT64_MAX);
    store->handle_alarm.function = cop__handles_alarm;
    store->handle_alarm.context = store;
}

void
cop__handles_end(cop_store *store)
{
    cop__handle_slab *slab = store->handles.slabs;
    while (slab != NULL) {
        cop__handle_slab *next = slab->next;
        for (size_t i = 0; i < HANDLES_A_SLAB; i++)
            pthread_mutex_destroy(&slab->handle[i].lock);
        cop__memory_unmap(store->memory, COP_MEMORY_READERS, slab, SLAB_BYTES);
        slab = next;
    }
}

/* Under the snapshot lock. */
static void
free_push(cop__handles *all, cop__handle *handle)
{
    handle->face.next_held = face_of(all->free);
    all->free = handle;
}

static cop__handle *
free_pop(cop_store *store)
{
    cop__handles *all = &store->handles;
    if (all->free == NULL) {
        cop__handle_slab *slab =
            cop__memory_map(store->memory, COP_MEMORY_READERS, SLAB_BYTES, true);
        if (slab == NULL)
            return NULL;
        slab->next = all->slabs;
        all->slabs = slab;
        for (size_t i = 0; i < HANDLES_A_SLAB; i++) {
            pthread_mutex_init(&slab->handle[i].lock, NULL);
            free_push(all, &slab->handle[i]);
        }
    }
    cop__handle *handle = all->free;
    all->free = next_of(handle);
    return handle;
}

/* ---- the lists, under the snapshot lock ---- */

static void
live_add(cop__handles *all, cop__handle *handle)
{
    handle->life = COP_HANDLE_LIVE;
    handle->face.next_held = NULL;
    handle->face.previous_held = face_of(all->live_last);
    if (all->live_last != NULL)
        all->live_last->face.next_held = &handle->face;
    else
        all->live_first = handle;
    all->live_last = handle;
}

static void
unlink_from(cop__handle **first, cop__handle **last, cop__handle *handle)
{
    cop__handle *next = next_of(handle), *previous = handle_of(handle->face.previous_held);
    if (previous != NULL)
        previous->face.next_held = face_of(next);
    else
        *first = next;
    if (next != NULL)
        next->face.previous_held = face_of(previous);
    else
        *last = previous;
}

static void
revoked_add(cop__handles *all, cop__handle *handle)
{
    handle->life = COP_HANDLE_REVOKED;
    handle->face.previous_held = NULL;
    handle->face.next_held = face_of(all->revoked);
    if (all->revoked != NULL)
        all->revoked->face.previous_held = &handle->face;
    all->revoked = handle;
}

/* Out of whatever list it is in. */
static void
list_leave(cop__handles *all, cop__handle *handle)
{
    cop__handle *unused;
    if (handle->life == COP_HANDLE_LIVE)
        unlink_from(&all->live_first, &all->live_last, handle);
    else if (handle->life == COP_HANDLE_REVOKED)
        unlink_from(&all->revoked, &unused, handle);
}

static uint64_t
age_of(const cop_store *store)
{
    return store->options.snapshots_max_age_ms * UINT64_C(1000000);
}

/* When a scan has something to do for handles. */
static uint64_t
next_due(const cop_store *store, uint64_t now)
{
    const cop__handles *all = &store->handles;
    if (all->revoked != NULL)
        return now + AGAIN_NS;
    return all->live_first != NULL && age_of(store) > 0 ? all->live_first->taken_ns + age_of(store)
                                                        : UINT64_MAX;
}

/* Without the lock. */
static void
alarm_set(cop_store *store, uint64_t due)
{
    if (due != UINT64_MAX)
        (void)cop__timer_set(&store->timers, &store->handle_alarm, due);
}

/* ---- giving and taking back ---- */

static void
fill(cop__handle *handle, const cop_snapshot *root, const void *site)
{
    cop_snapshot *face = &handle->face;
    face->store = root->store;
    face->handle = true;
    face->holds = 1;
    face->stamp = root->stamp;
    face->version = root->version;
    face->atoms = root->atoms;
    face->time_ns = root->time_ns;
    face->held_thread = cop__thread_id();
    face->held_site = site;
    handle->taken_ns = face->held_ns = cop__clock_ns(); /* under the lock: the list is in this order */
    cop__store_relaxed(&handle->of, (cop_snapshot *)(uintptr_t)root);
    cop__store_relaxed(&handle->pins.revoked, UINT64_C(0));
}

static cop_status
give_handle(cop_store *store, const cop_snapshot *root, const void *site,
            const cop_snapshot **snapshot, uint64_t *due)
{
    cop__handle *handle = free_pop(store);
    if (handle == NULL)
        return COP_E_MEMORY;
    fill(handle, root, site);
    cop__held_add(store, (cop_snapshot *)(uintptr_t)root, COP_HELD_BY_HANDLE);
    live_add(&store->handles, handle);
    *snapshot = &handle->face;
    *due = next_due(store, handle->taken_ns);
    if (*due != cop__load_relaxed(&store->handle_due))
        cop__store_relaxed(&store->handle_due, *due);
    else
        *due = UINT64_MAX; /* the alarm is set */
    return COP_OK;
}

/* Under the lock. */
static cop_status
give(cop_store *store, const cop_snapshot *root, const void *site, const cop_snapshot **snapshot,
     uint64_t *due)
{
    cop_status status = COP_OK;
    if (store->holds - store->own_holds >= store->options.snapshots_max)
        return COP_E_LIMIT;
    if (store->options.snapshots_max_age_ms > 0) {
        status = give_handle(store, root, site, snapshot, due);
    } else {
        cop__held_add(store, (cop_snapshot *)(uintptr_t)root, COP_HELD_BY_USER);
        cop__held_note(root, site);
        *snapshot = root;
    }
    store->holds += status == COP_OK;
    return status;
}

cop_status
cop__snapshot_give(cop_store *store, const cop_snapshot *root, const void *site,
                   const cop_snapshot **snapshot)
{
    uint64_t due = UINT64_MAX;
    *snapshot = NULL;
    pthread_mutex_lock(&store->snapshot_lock);
    cop_status status = give(store, root, site, snapshot, &due);
    pthread_mutex_unlock(&store->snapshot_lock);
    alarm_set(store, due);
    return status;
}

/* What is in the list is held, and stays so under the lock. */
static cop_status
give_held(cop_store *store, uint64_t version, const void *site, const cop_snapshot **snapshot)
{
    cop_status status = COP_E_GONE;
    uint64_t due = UINT64_MAX;
    pthread_mutex_lock(&store->snapshot_lock);
    const cop_snapshot *s = store->held_first;
    while (s != NULL && s->version != version)
        s = s->next_held;
    if (s != NULL)
        status = give(store, s, site, snapshot, &due);
    pthread_mutex_unlock(&store->snapshot_lock);
    alarm_set(store, due);
    return status;
}

cop_status
cop_snapshot_take_version(cop_store *store, uint64_t version, const cop_snapshot **snapshot)
{
    *snapshot = NULL;
    cop_status status = cop__store_usable(store);
    if (status != COP_OK)
        return status;
    cop_pin_t pin = cop_pin(store); /* keeps the store, too */
    if (pin.snapshot == NULL)
        return cop_pin_status();
    const void *site = __builtin_return_address(0);
    status = pin.snapshot->version == version
                 ? cop__snapshot_give(store, pin.snapshot, site, snapshot)
                 : give_held(store, version, site, snapshot);
    cop_unpin(pin);
    return status;
}

cop_status
cop__handle_keep(const cop_snapshot *snapshot)
{
    cop_store *store = snapshot->store;
    cop__handle *handle = handle_of(snapshot);
    cop_status status = COP_OK;
    pthread_mutex_lock(&store->snapshot_lock);
    if (handle->life != COP_HANDLE_LIVE)
        status = COP_E_EXPIRED;
    else if (store->holds - store->own_holds >= store->options.snapshots_max)
        status = COP_E_LIMIT;
    handle->face.holds += status == COP_OK;
    store->holds += status == COP_OK;
    pthread_mutex_unlock(&store->snapshot_lock);
    return status;
}

bool
cop__handle_unhold(cop_store *store, const cop_snapshot *snapshot, const cop_snapshot **of)
{
    cop__handle *handle = handle_of(snapshot);
    cop__handle_text *texts = NULL;
    size_t capacity = 0;
    bool last = false;
    *of = NULL;
    pthread_mutex_lock(&store->snapshot_lock);
    COP_ALWAYS(handle->face.holds > 0);
    store->holds--;
    if (--handle->face.holds == 0) {
        cop_snapshot *root = cop__load_relaxed(&handle->of);
        list_leave(&store->handles, handle);
        *of = root;
        last = root != NULL && cop__held_remove(store, root, COP_HELD_BY_HANDLE);
        cop__store_relaxed(&handle->of, (cop_snapshot *)NULL);
        texts = handle->texts;
        capacity = handle->text_capacity;
        handle->texts = NULL;
        handle->text_count = handle->text_capacity = 0;
        free_push(&store->handles, handle);
    }
    pthread_mutex_unlock(&store->snapshot_lock);
    cop__handle_texts_free(store->memory, texts, capacity);
    return last;
}

/* ---- reading ---- */

/* Names the handle in the calling thread's slot, or counts its reader. False: it is revoked. */
static bool
begin(cop_store *store, cop__handle *handle, cop__entered *entered)
{
    cop_status unused;
    struct cop_reader *reader = cop__reader_of_thread(store, &unused);
    unsigned vacant = COP__PIN_NESTED;
    for (unsigned i = 0; reader != NULL && i < COP__PIN_NESTED; i++) {
        uint64_t state = cop__load_relaxed(&reader->slot.state[i]);
        if (state == cop__handle_state(&handle->pins))
            return true;
        if (state == 0 && vacant == COP__PIN_NESTED)
            vacant = i;
    }
    if (vacant == COP__PIN_NESTED) {
        entered->other = true;
        return cop__handle_begin_other(&handle->pins);
    }
    entered->reader = reader;
    entered->pin = vacant;
    cop__pin_note_site(&reader->slot, vacant, NULL);
    return cop__handle_begin(&reader->slot, vacant, &handle->pins, store->fence);
}

cop_status
cop__snapshot_enter_hollow(const cop_snapshot *snapshot, cop__entered *entered)
{
    cop_store *store = snapshot->store;
    if (store == NULL)
        return COP_E_FORKED;
    if (!snapshot->handle)
        return COP_E_GONE; /* in builds that plant a root without pages */
    cop__handle *handle = handle_of(snapshot);
    if (!begin(store, handle, entered))
        return COP_E_EXPIRED;
    entered->handle = handle;
    entered->root = cop__load_relaxed(&handle->of);
    return COP_OK;
}

void
cop__snapshot_leave_handle(cop__entered *entered)
{
    if (entered->other)
        cop__handle_end_other(&entered->handle->pins);
    else if (entered->reader != NULL)
        cop__pin_end(&entered->reader->slot, entered->pin);
}

const cop_snapshot *
cop__snapshot_resolve(const cop_snapshot *snapshot)
{
    return cop__is_handle(snapshot) ? cop__load_relaxed(&handle_of(snapshot)->of) : snapshot;
}

bool
cop_snapshot_expired(const cop_snapshot *snapshot)
{
    return cop__is_handle(snapshot) && cop__load_relaxed(&handle_of(snapshot)->pins.revoked) != 0;
}

/* The pin is the thread's, as one of cop_pin: the slot names the handle until cop_unpin. A record that is held
 * needs nothing: who holds it keeps it as long. */
cop_status
cop_snapshot_pin(const cop_snapshot *snapshot, cop_pin_t *pin)
{
    *pin = (cop_pin_t){NULL, NULL};
    cop_store *store = snapshot->store;
    if (store == NULL)
        return COP_E_FORKED;
    if (!snapshot->handle) {
        pin->snapshot = snapshot;
        return COP_OK;
    }
    cop__handle *handle = handle_of(snapshot);
    cop_status status = COP_E_PINS;
    struct cop_reader *reader = cop__reader_of_thread(store, &status);
    if (reader == NULL)
        return status;
    unsigned i = 0;
    while (cop__load_relaxed(&reader->slot.state[i]) != 0)
        if (++i == COP__PIN_NESTED)
            return COP_E_PINS;
    if (!cop__handle_begin(&reader->slot, i, &handle->pins, store->fence))
        return COP_E_EXPIRED;
    cop__pin_note_site(&reader->slot, i, __builtin_return_address(0));
    pin->snapshot = cop__load_relaxed(&handle->of);
    pin->slot = (char *)reader + i;
    return COP_OK;
}

/* ---- revoking ---- */

typedef struct revocation {
    uint64_t n;
    uint64_t version, held_ns; /* of the oldest */
    uint32_t thread;
} revocation;

/* The oldest ones, as long as they are old enough. Under the lock and the right. */
static revocation
revoke_older(cop_store *store, uint64_t older_than_ns, uint64_t now)
{
    cop__handles *all = &store->handles;
    revocation done = {0};
    cop__handle *handle;
    while ((handle = all->live_first) != NULL && now - handle->taken_ns >= older_than_ns) {
        if (done.n++ == 0) {
            done.version = handle->face.version;
            done.held_ns = now - handle->taken_ns;
            done.thread = handle->face.held_thread;
        }
        cop__handle_revoke(&handle->pins);
        list_leave(all, handle);
        revoked_add(all, handle);
    }
    if (done.n > 0)
        cop__store_relaxed(&store->handle_due, now);
    return done;
}

static uint64_t
revocation_end(cop_store *store, revocation done)
{
    char name[COP_HOLDER_NAME];
    if (done.n == 0)
        return 0;
    cop__count_add(&store->count.revoked, done.n);
    cop__thread_name(done.thread, name, sizeof name);
    cop__log_write(&store->log, COP_LOG_WARNING,
                   "%llu snapshot%s revoked; the oldest, of version %llu, was held for %.3f s, taken "
                   "by thread %u (%s)",
                   (unsigned long long)done.n, done.n == 1 ? "" : "s",
                   (unsigned long long)done.version, (double)done.held_ns / 1e9, done.thread, name);
    return done.n;
}

uint64_t
cop__snapshots_revoke(cop_store *store, uint64_t older_than_ns)
{
    pthread_mutex_lock(&store->snapshot_lock);
    revocation done = revoke_older(store, older_than_ns, cop__clock_ns());
    pthread_mutex_unlock(&store->snapshot_lock);
    return revocation_end(store, done);
}

void
cop__handles_before_scan(cop_store *store)
{
    if (cop__likely(cop__load_relaxed(&store->handle_due) == UINT64_MAX))
        return;
    revocation done = {0};
    pthread_mutex_lock(&store->snapshot_lock);
    if (age_of(store) > 0)
        done = revoke_older(store, age_of(store), cop__clock_ns());
    pthread_mutex_unlock(&store->snapshot_lock);
    (void)revocation_end(store, done);
}

void
cop__handles_after_scan(cop_store *store)
{
    if (cop__likely(cop__load_relaxed(&store->handle_due) == UINT64_MAX))
        return;
    pthread_mutex_lock(&store->snapshot_lock);
    for (cop__handle *handle = store->handles.revoked, *next; handle != NULL; handle = next) {
        next = next_of(handle);
        if (!cop__handle_unread(&handle->pins, store->scan))
            continue;
        list_leave(&store->handles, handle);
        handle->life = COP_HANDLE_EMPTY;
        (void)cop__held_remove(store, cop__load_relaxed(&handle->of), COP_HELD_BY_HANDLE);
        cop__store_relaxed(&handle->of, (cop_snapshot *)NULL);
    }
    uint64_t due = next_due(store, cop__clock_ns());
    cop__store_relaxed(&store->handle_due, due);
    pthread_mutex_unlock(&store->snapshot_lock);
    alarm_set(store, due);
}

void
cop__handles_configure(cop_store *store)
{
    pthread_mutex_lock(&store->snapshot_lock);
    uint64_t due = next_due(store, cop__clock_ns());
    cop__store_relaxed(&store->handle_due, due);
    pthread_mutex_unlock(&store->snapshot_lock);
    alarm_set(store, due);
}

/* The store is kept by whoever runs its alarms. One that rings too early, for a snapshot that was dropped
 * meanwhile, is set again. */
void
cop__handles_alarm(void *context)
{
    cop_store *store = context;
    if (cop__handles_due(&store->handle_due))
        cop__reclaim_soon(store);
    else
        alarm_set(store, cop__load_relaxed(&store->handle_due));
}

/* SPDX-License-Identifier: MIT */
/*
 * Opening and closing watchers, and the room.
 *
 * THE FIRST WATCHER of a store takes the commit right: it makes the base of the newest version, and
 * lets publications be told from then on. What was published before is in the base; what is
 * published later is published by a holder of the right that sees the watcher. When the last one
 * goes nobody is told any more, by the same way.
 *
 * LIFE. A watcher is a use of the store's gate until its last reference goes: its owner's, the
 * ready queue's, and that of each thread in a call. It leaves the room (detach) when it is closed
 * and no call is under way; whoever ends the last call does that, and tells who waits in
 * cop_watch_close.
 */
#include "watch/watch.h"

#include "commit/combiner.h"
#include "graph/pattern.h"
#include "reclaim/gate.h"
#include "watch/room.h"

static cop_status
status_fail(cop_error *error, cop_status status)
{
    return cop__fail(error, status, "%s", cop_status_message(status));
}

/* ---- the room ---- */

static cop__watch_room *
room_new(cop_store *store)
{
    cop__watch_room *room =
        cop__memory_zalloc(store->memory, COP_MEMORY_WATCH, sizeof *room, COP_CACHE_LINE);
    if (room == NULL)
        return NULL;
    room->store = store;
    pthread_mutex_init(&room->lock, NULL);
    atomic_init(&room->gather_ns, COP_TIMER_NEVER);
    room->timer = (cop__alarm){.function = cop__watch_timer, .context = room};
    room->scratch.memory = store->memory;
    room->log.limit = (size_t)store->options.watch_log_bytes;
    cop__watch_index_init(&room->index, store->memory, store->tree.hash_seed);
    return room;
}

static void
room_free(cop__watch_room *room)
{
    cop__memory *memory = room->store->memory;
    cop__watch_index_end(&room->index);
    cop__watch_scratch_end(&room->scratch);
    pthread_mutex_destroy(&room->lock);
    cop__memory_free(memory, COP_MEMORY_WATCH, room, sizeof *room, COP_CACHE_LINE);
}

void
cop__watch_end(cop__watch_room *room)
{
    if (room != NULL)
        room_free(room);
}

/* Made once, and kept. The lock is one that everybody holds for a moment only. */
static cop__watch_room *
room_of(cop_store *store)
{
    cop__watch_room *room = cop__load_acquire(&store->watch);
    if (room != NULL)
        return room;
    pthread_mutex_lock(&store->timers.lock);
    room = cop__load_acquire(&store->watch);
    if (room == NULL) {
        room = room_new(store);
        cop__store_release(&store->watch, room);
    }
    pthread_mutex_unlock(&store->timers.lock);
    return room;
}

/* One watcher more, in a room that has a base; publications are told from it on. */
static cop_status
room_enter_first(cop__watch_room *room)
{
    cop_store *store = room->store;
    cop_status status = COP_OK;
    (void)cop__right_wait(store, COP_FOREVER);
    cop__watch_lock(room);
    if (room->closing)
        status = COP_E_CLOSING;
    else if (room->base == NULL && !cop__watch_base_first(room))
        status = COP_E_MEMORY;
    if (status == COP_OK && room->count++ == 0) {
        cop__store_seq_cst(&room->asked, 0u);
        cop__store_release(&store->watching, room);
    }
    cop__watch_unlock(room);
    cop__right_leave(store);
    return status;
}

static cop_status
room_enter(cop__watch_room *room)
{
    cop__watch_lock(room);
    bool first = room->base == NULL;
    room->count += !first;
    cop__watch_unlock(room);
    return first ? room_enter_first(room) : COP_OK;
}

static void
room_cancel(cop__watch_room *room)
{
    cop__watch_lock(room);
    cop__watch_room_leave(room);
    cop__watch_unlock(room);
}

/* ---- opening ---- */

/* What is to be watched, as it was given. */
typedef struct wish {
    const char *path; /* NULL: by handle */
    size_t length;
    cop_atom atom;
    cop_watch_options options;
    cop_watch_function function;
    void *context;
} wish;

static cop_status
options_take(const cop_watch_options *given, cop_watch_options *options, cop_error *error)
{
    const cop_watch_options init = COP_WATCH_OPTIONS_INIT;
    *options = init;
    if (given == NULL)
        return COP_OK;
    if (given->size < sizeof given->size || given->size > sizeof *options)
        return cop__fail(error, COP_E_INVALID, "the options' size is none that this version knows");
    memcpy(options, given, given->size);
    return COP_OK;
}

static cop_status
wish_check(const wish *w, cop_error *error)
{
    const cop_watch_options *options = &w->options;
    if (options->overflow != COP_WATCH_COALESCE && options->overflow != COP_WATCH_GAP)
        return cop__fail(error, COP_E_INVALID, "no such rule for overflow");
    if (w->path == NULL)
        return w->atom.generation != 0 && w->atom.generation <= UINT16_MAX
                   ? COP_OK
                   : cop__fail(error, COP_E_INVALID, "no such handle");
    return w->length > 0 ? cop__pattern_check(w->path, w->length, error) : COP_OK;
}

static cop_watch *
watch_new(cop_store *store, const wish *w)
{
    cop_watch *watch = cop__memory_zalloc(store->memory, COP_MEMORY_WATCH, sizeof *watch, 16);
    if (watch == NULL)
        return NULL;
    watch->store = store;
    watch->function = w->function;
    watch->context = w->context;
    watch->min_interval_ns = w->options.min_interval_ns;
    watch->max_delay_ns = w->options.max_delay_ns;
    watch->bound = w->options.bound;
    watch->overflow = w->options.overflow;
    watch->close_at_once = w->options.close_at_once;
    watch->weak = w->options.weak;
    watch->paused = w->options.paused;
    watch->fd = -1;
    watch->references = 1;
    return watch;
}

static void
gather_add(cop__watch_room *room, uint64_t delay)
{
    uint64_t least = cop__load_relaxed(&room->gather_ns);
    if (room->all == NULL || delay < least) {
        cop__store_relaxed(&room->gather_ns, delay);
        room->gather_count = 1;
    } else {
        room->gather_count += delay == least;
    }
}

/* Into the room, told as much as its base. Needs the lock. */
static void
watch_link(cop__watch_room *room, cop_watch *watch, cop__watch_target *target)
{
    gather_add(room, watch->max_delay_ns);
    watch->target = target;
    watch->told = room->base->version;
    watch->next = target->first;
    watch->reference = &target->first;
    if (target->first != NULL)
        target->first->reference = &watch->next;
    target->first = watch;
    watch->all_next = room->all;
    watch->all_reference = &room->all;
    if (room->all != NULL)
        room->all->all_reference = &watch->all_next;
    room->all = watch;
    if (watch->function != NULL)
        cop__add_seq_cst(&room->functions, 1u);
}

/* It knows another version than the base: what changed since, if the log has it, else a gap. */
static void
watch_catch_up(cop__watch_room *room, cop_watch *watch, uint64_t since)
{
    uint64_t now = room->base->version;
    if (since == COP_WATCH_NOW || since == now)
        return;
    cop__watch_list *list = cop__watch_log_since(room, watch->target, since);
    watch->told = since < now ? since : 0;
    if (list != NULL && list->count == 0) {
        cop__watch_list_drop(list);
        return;
    }
    watch->changed_ns = cop__clock_ns();
    watch->since = list;
    watch->since_to = list != NULL ? cop__watch_frame_keep(room->base) : NULL;
    watch->gap = list == NULL;
    cop__watch_schedule(room, watch);
}

static cop_status
watch_enter(cop__watch_room *room, cop_watch *watch, const wish *w)
{
    cop__watch_target *target = NULL;
    bool below = !w->options.only_itself;
    cop__watch_lock(room);
    cop_status status = cop__watch_pass(room);
    if (status == COP_OK) {
        target = w->path != NULL ? cop__watch_target_at(&room->index, w->path, w->length, below)
                                 : cop__watch_target_of(&room->index, w->atom, below);
        status = target != NULL ? COP_OK : COP_E_MEMORY;
    }
    if (status == COP_OK) {
        watch_link(room, watch, target);
        watch_catch_up(room, watch, w->options.since);
        watch->destroy = w->options.destroy;
    }
    cop__watch_unlock(room);
    return status;
}

static cop_status
watch_open(cop_store *store, const wish *w, cop_watch **watch)
{
    cop__watch_room *room = room_of(store);
    cop_status status = room != NULL ? room_enter(room) : COP_E_MEMORY;
    if (status != COP_OK)
        return status;
    *watch = watch_new(store, w);
    status = *watch != NULL ? watch_enter(room, *watch, w) : COP_E_MEMORY;
    if (status == COP_OK)
        return COP_OK;
    cop__memory_free(store->memory, COP_MEMORY_WATCH, *watch, sizeof **watch, 16);
    *watch = NULL;
    room_cancel(room);
    return status;
}

/* The use of the gate is the watcher's. */
static cop_status
open_checked(cop_store *store, wish *w, const cop_watch_options *options, cop_watch **watch,
             cop_error *error)
{
    *watch = NULL;
    cop_status status = cop__store_may_wait(store);
    if (status != COP_OK)
        return status_fail(error, status);
    status = options_take(options, &w->options, error);
    if (status == COP_OK)
        status = wish_check(w, error);
    if (status != COP_OK)
        return status;
    struct cop__gate *gate = store->gate;
    cop__gate_use(gate);
    status = watch_open(store, w, watch);
    if (status == COP_OK)
        return COP_OK;
    cop__gate_end_use(gate);
    return status_fail(error, status);
}

cop_status
cop_watch_open(cop_store *store, const char *path, size_t length, const cop_watch_options *options,
               cop_watch_function function, void *context, cop_watch **watch, cop_error *error)
{
    wish w = {.path = path != NULL ? path : "",
              .length = length,
              .function = function,
              .context = context};
    return open_checked(store, &w, options, watch, error);
}

cop_status
cop_watch_open_atom(cop_store *store, cop_atom atom, const cop_watch_options *options,
                    cop_watch_function function, void *context, cop_watch **watch, cop_error *error)
{
    wish w = {.atom = atom, .function = function, .context = context};
    return open_checked(store, &w, options, watch, error);
}

/* ---- closing, pausing ---- */

static bool
forked(const cop_watch *watch)
{
    return atomic_load_explicit(watch->store->alive, memory_order_relaxed) == 0;
}

void
cop_watch_close(cop_watch *watch)
{
    if (watch == NULL || forked(watch) || cop__evaluating)
        return;
    cop__watch_room *room = cop__load_acquire(&watch->store->watch);
    cop__watch_lock(room);
    bool running = watch->running;
    watch->closed = true;
    cop__watch_forget(room, watch);
    cop__watch_schedule(room, watch);
    if (!running)
        cop__watch_detach(room, watch);
    cop__watch_unlock(room);
    if (running && !watch->close_at_once && !cop__watch_is_here(watch))
        while (cop__load_seq_cst(&watch->ended) == 0)
            cop__futex_wait(&watch->ended, 0, COP_FOREVER);
    cop__watch_unref(room, watch);
}

static void
set_paused(cop_watch *watch, bool paused)
{
    if (forked(watch))
        return;
    cop__watch_room *room = cop__load_acquire(&watch->store->watch);
    cop__watch_lock(room);
    watch->paused = paused;
    cop__watch_schedule(room, watch);
    cop__watch_unlock(room);
}

void
cop_watch_pause(cop_watch *watch)
{
    set_paused(watch, true);
}

void
cop_watch_resume(cop_watch *watch)
{
    set_paused(watch, false);
}

uint64_t
cop_watch_told(cop_watch *watch)
{
    if (forked(watch))
        return 0;
    cop__watch_room *room = cop__load_acquire(&watch->store->watch);
    cop__watch_lock(room);
    uint64_t told = watch->told;
    cop__watch_unlock(room);
    return told;
}

void
cop__watch_closing(cop__watch_room *room)
{
    if (room == NULL)
        return;
    cop__watch_lock(room);
    room->closing = true;
    for (cop_watch *watch = room->all; watch != NULL; watch = watch->all_next) {
        cop__watch_forget(room, watch);
        cop__timer_descriptor_arm(watch->fd, 0); /* so that its loop learns of it */
    }
    cop__watch_frame_drop(room, room->base);
    room->base = NULL;
    room->wake = true;
    cop__watch_unlock(room);
    cop__watch_ready_end(room);
}

/* ---- scopes ---- */

static void
watch_dispose(void *watch)
{
    cop_watch_close(watch);
}

cop_status
cop_scope_add_watch(cop_scope *scope, cop_watch *watch)
{
    if (forked(watch))
        return COP_E_FORKED;
    return cop_scope_add(scope, watch_dispose, watch);
}

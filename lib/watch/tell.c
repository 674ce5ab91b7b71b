/* SPDX-License-Identifier: MIT */
/*
 * Telling: when, to whom, and by whom.
 *
 * FUNCTIONS that are due stand in the room's ready queue, those that will be in a heap by time.
 * Whoever serves takes one after the other. Whoever gives up the lock and leaves something in the
 * queue sees to it that somebody comes: that a task is submitted to the pool which has not begun
 * yet (`tasked`), or that who polls is told. So a function that hangs holds up its own thread and
 * no other watcher. A task clears `tasked` before it looks at the queue: who finds it set knows
 * that the queue will be looked at.
 *
 * A thread that is in a function of the store serves no other one: it would hold that function up.
 */
#include "watch/watch.h"

#include <unistd.h>

#include "commit/combiner.h"
#include "monitor/monitor.h"
#include "reclaim/gate.h"
#include "watch/room.h"

#define AGAIN_NS UINT64_C(1000000) /* a task that came to a thread that cannot serve */
#define SOON_NS UINT64_C(50000) /* after which descriptors become readable together */

/* The functions that this thread is in, innermost first. */
typedef struct here {
    struct here *up;
    const cop_watch *watch;
} here;

static _Thread_local here *inside;

bool
cop__watch_is_here(const cop_watch *watch)
{
    const here *h = inside;
    while (h != NULL && h->watch != watch)
        h = h->up;
    return h != NULL;
}

static bool
in_function_of(const cop_store *store)
{
    const here *h = inside;
    while (h != NULL && h->watch->store != store)
        h = h->up;
    return h != NULL;
}

/* ---- state ---- */

static bool
is_dirty(const cop_watch *watch)
{
    return watch->gap || watch->from != NULL || watch->since != NULL;
}

/* On grids, so that watchers with the same windows are due together, right after the same pass. */
static uint64_t
due_of(const cop_watch *watch)
{
    if (!is_dirty(watch) || watch->paused || watch->closed)
        return COP_TIMER_NEVER;
    uint64_t due = cop__watch_grid(watch->changed_ns, watch->max_delay_ns);
    if (watch->told_ns > 0) {
        uint64_t next = cop__watch_grid(watch->told_ns, watch->min_interval_ns);
        due = next > due ? next : due;
    }
    return due;
}

uint64_t
cop__watch_due(const cop_watch *watch)
{
    return watch->running ? COP_TIMER_NEVER : due_of(watch);
}

void
cop__watch_counts(cop__watch_room *room, cop_stats *stats)
{
    stats->watchers = room != NULL ? cop__load_relaxed(&room->count) : 0;
    stats->watch_tellings = room != NULL ? cop__load_relaxed(&room->tellings) : 0;
    stats->watch_gaps = room != NULL ? cop__load_relaxed(&room->gaps) : 0;
}

void
cop__watch_behind(cop__watch_room *room, uint64_t least_ns, cop__watch_behind_function function,
                  void *context)
{
    if (room == NULL)
        return;
    uint64_t now = cop__clock_ns();
    cop__watch_lock(room);
    for (const cop_watch *watch = room->all; watch != NULL; watch = watch->all_next) {
        uint64_t due = due_of(watch); /* of one that runs: of what came since it began */
        if (due < now && now - due >= least_ns)
            function(context, watch->target->text, watch->target->length, now - due);
    }
    cop__watch_unlock(room);
}

static void
ready_push(cop__watch_room *room, cop_watch *watch)
{
    if (watch->queued)
        return;
    watch->queued = true;
    watch->references++;
    watch->ready_next = NULL;
    if (room->ready_last != NULL)
        room->ready_last->ready_next = watch;
    else
        room->ready_first = watch;
    room->ready_last = watch;
}

static void
function_schedule(cop__watch_room *room, cop_watch *watch, uint64_t due)
{
    if (cop__timer_is_set(&watch->timer))
        cop__timer_heap_remove(&room->waiting, &watch->timer);
    if (due == COP_TIMER_NEVER)
        return;
    if (due <= watch->changed_ns || due <= cop__clock_ns()) {
        ready_push(room, watch);
        return;
    }
    cop__timer_heap_add(&room->waiting, &watch->timer, due);
    if (room->waiting == &watch->timer)
        cop__timer_set(&room->store->timers, &room->timer, due);
}

/*
 * When the descriptor of a watcher that is due is to become readable. A timer set to a past time takes an
 * interrupt of its own (some 30 us, on a virtual machine); so only the first one of a pass is, and the
 * others, when one change is told to many, are set to one time soon after. Needs the lock.
 */
static uint64_t
descriptor_due(cop__watch_room *room, uint64_t due)
{
    uint64_t now = cop__clock_ns();
    if (due > now || room->at_once++ == 0)
        return due;
    if (room->soon_ns < now + SOON_NS / 8)
        room->soon_ns = now + SOON_NS;
    return room->soon_ns;
}

static void
schedule(cop__watch_room *room, cop_watch *watch)
{
    uint64_t due = cop__watch_due(watch);
    if (watch->function != NULL) {
        function_schedule(room, watch, due);
        return;
    }
    if (COP_FAULT(watch_wake) && (watch->told & 3) == 1)
        due = COP_TIMER_NEVER;
    if (watch->fd >= 0 && watch->armed_ns != due)
        cop__timer_descriptor_arm(watch->fd, descriptor_due(room, due));
    watch->armed_ns = due;
    room->wake = true;
}

void
cop__watch_schedule(cop__watch_room *room, cop_watch *watch)
{
    room->at_once = 0;
    schedule(room, watch);
}

void
cop__watch_forget(cop__watch_room *room, cop_watch *watch)
{
    if (watch->from != NULL)
        watch->target->dirty--;
    cop__watch_frame_drop(room, watch->from);
    cop__watch_frame_drop(room, watch->since_to);
    cop__watch_list_drop(watch->since);
    watch->from = watch->since_to = NULL;
    watch->since = NULL;
    watch->gap = false;
}

void
cop__watch_mark(cop__watch_room *room, cop_watch *watch, cop__watch_frame *base, size_t changes)
{
    if (watch->closed)
        return;
    if (!is_dirty(watch)) {
        watch->changed_ns = cop__load_relaxed(&room->asked_ns);
        watch->noted = 0;
    }
    if (watch->from == NULL && !watch->gap) {
        watch->from = cop__watch_frame_keep(base);
        watch->target->dirty++;
    }
    watch->noted += changes;
    if (watch->overflow == COP_WATCH_GAP && watch->noted > watch->bound) {
        cop__add_relaxed(&room->gaps, (uint64_t)!watch->gap);
        cop__watch_forget(room, watch);
        watch->gap = true;
    }
    schedule(room, watch);
}

void
cop__watch_room_leave(cop__watch_room *room)
{
    if (--room->count > 0)
        return;
    cop__store_relaxed(&room->store->watching, (cop__watch_room *)NULL);
    cop__watch_frame_drop(room, room->base);
    room->base = NULL;
    cop__watch_log_end(room);
}

static void
gather_forget(cop__watch_room *room, const cop_watch *gone)
{
    uint64_t least = COP_TIMER_NEVER;
    if (gone->max_delay_ns != cop__load_relaxed(&room->gather_ns) || --room->gather_count > 0)
        return;
    for (const cop_watch *watch = room->all; watch != NULL; watch = watch->all_next)
        least = watch->max_delay_ns < least ? watch->max_delay_ns : least;
    for (const cop_watch *watch = room->all; watch != NULL; watch = watch->all_next)
        room->gather_count += watch->max_delay_ns == least;
    cop__store_relaxed(&room->gather_ns, least);
}

void
cop__watch_detach(cop__watch_room *room, cop_watch *watch)
{
    *watch->reference = watch->next;
    if (watch->next != NULL)
        watch->next->reference = watch->reference;
    *watch->all_reference = watch->all_next;
    if (watch->all_next != NULL)
        watch->all_next->all_reference = watch->all_reference;
    if (watch->target->first == NULL)
        cop__watch_target_free(&room->index, watch->target);
    watch->target = NULL;
    gather_forget(room, watch);
    if (watch->function != NULL)
        cop__sub_seq_cst(&room->functions, 1u);
    if (watch->fd >= 0)
        cop__sub_seq_cst(&room->descriptors, 1u);
    cop__watch_room_leave(room);
}

static void
watch_free(cop_watch *watch)
{
    cop_store *store = watch->store;
    if (watch->fd >= 0)
        (void)close(watch->fd);
    if (watch->destroy != NULL)
        watch->destroy(watch->context);
    cop__memory_free(store->memory, COP_MEMORY_WATCH, watch, sizeof *watch, 16);
    cop__gate_end_use(store->gate);
}

void
cop__watch_unref(cop__watch_room *room, cop_watch *watch)
{
    cop_store *store = watch->store;
    struct cop__gate *gate = store->gate;
    cop__gate_use(gate); /* another thread may end the last reference, and the room go with it */
    cop__watch_lock(room);
    bool last = --watch->references == 0;
    cop__watch_unlock(room);
    if (last)
        watch_free(watch);
    cop__gate_end_use(gate);
}

/* ---- one telling ---- */

void
cop__watch_take(cop__watch_room *room, cop_watch *watch, cop__watch_telling *telling)
{
    cop__watch_target *target = watch->target;
    *telling = (cop__watch_telling){
        .watch = watch, .told = watch->told, .told_ns = watch->told_ns, .gap = watch->gap};
    if (watch->since != NULL) {
        telling->list = watch->since;
        telling->to = watch->since_to;
        watch->since = NULL;
        watch->since_to = NULL;
    } else {
        telling->to = cop__watch_frame_keep(room->base);
        telling->from = watch->from;
        target->dirty -= watch->from != NULL;
        watch->from = NULL;
        watch->gap = false;
        if (telling->from != NULL && target->list != NULL &&
            target->list_from == telling->from->version &&
            target->list_to == telling->to->version) {
            telling->list = target->list;
            cop__add_relaxed(&telling->list->references, 1u);
        }
    }
    if (COP_FAULT(watch_edge) && (watch->told & 7) == 5 && telling->from != NULL &&
        telling->list == NULL) { /* as if what came between two passes had been told */
        cop__watch_frame_drop(room, telling->from);
        telling->from = cop__watch_frame_keep(telling->to);
    }
    watch->told = telling->to->version;
    watch->told_ns = cop__clock_ns();
    watch->noted = 0;
    watch->running = true;
    watch->references++;
}

typedef struct builder {
    const cop__watch_target *target;
    cop__watch_list *list;
} builder;

static void
build_one(void *context, const cop__watch_found *found)
{
    builder *b = context;
    if (found->path.refused)
        b->list->refused = true;
    else if (b->target == NULL || cop__watch_target_matches(b->target, found))
        cop__watch_list_add(b->list, found, true);
}

cop__watch_list *
cop__watch_list_between(cop__memory *memory, cop__diff_pair pair, const cop__watch_target *target)
{
    cop__watch_scratch scratch = {memory, NULL, 0};
    builder b = {target, cop__watch_list_new(memory)};
    if (b.list == NULL)
        return NULL;
    cop__watch_find(pair, &scratch, build_one, &b);
    cop__watch_scratch_end(&scratch);
    cop__watch_list_order(b.list);
    if (!b.list->refused)
        return b.list;
    cop__watch_list_drop(b.list);
    return NULL;
}

static cop__watch_list *
list_build(cop__watch_room *room, const cop__watch_telling *telling)
{
    const cop__diff_pair pair = {telling->from->snapshot, telling->to->snapshot};
    return cop__watch_list_between(room->store->memory, pair, telling->watch->target);
}

/* Others of its target may want the same. */
static void
list_share(cop__watch_room *room, const cop__watch_telling *telling)
{
    cop__watch_target *target = telling->watch->target;
    cop__watch_lock(room);
    if (target->dirty > 0 && target->list == NULL) {
        target->list = telling->list;
        target->list_from = telling->from->version;
        target->list_to = telling->to->version;
        cop__add_relaxed(&telling->list->references, 1u);
    }
    cop__watch_unlock(room);
}

static bool
batch_fill(cop__watch_room *room, cop__watch_telling *telling, cop_watch_batch *batch)
{
    *batch = (cop_watch_batch){.from = telling->told,
                               .to = telling->to->version,
                               .gap = telling->gap,
                               .now = telling->to->snapshot,
                               .held_ = {room, telling->from, telling->to, telling->list}};
    if (telling->gap)
        return true;
    batch->before = telling->from != NULL ? telling->from->snapshot : NULL;
    batch->count = telling->list->count;
    return batch->count > 0;
}

bool
cop__watch_fill(cop__watch_room *room, cop__watch_telling *telling, cop_watch_batch *batch)
{
    if (!telling->gap && telling->list == NULL) {
        telling->list = list_build(room, telling);
        telling->gap = telling->list == NULL;
        if (telling->list != NULL)
            list_share(room, telling);
        else
            cop__add_relaxed(&room->gaps, 1u);
    }
    if (batch_fill(room, telling, batch))
        return true;
    cop_watch_batch_end(batch);
    return false;
}

void
cop__watch_told(cop__watch_room *room, cop__watch_telling *telling, bool told)
{
    cop_watch *watch = telling->watch;
    cop__watch_lock(room);
    watch->running = false;
    if (!told || (COP_FAULT(watch_twice) && (watch->told & 31) == 9)) {
        watch->told = telling->told;
        watch->told_ns = telling->told_ns;
    }
    if (told)
        cop__count_add(&room->tellings, 1u);
    if (watch->target->dirty == 0) {
        cop__watch_list_drop(watch->target->list);
        watch->target->list = NULL;
    }
    if (!watch->closed) {
        cop__watch_schedule(room, watch);
    } else {
        cop__watch_detach(room, watch);
        cop__store_seq_cst(&watch->ended, 1u);
        cop__futex_wake(&watch->ended, INT32_MAX);
    }
    cop__watch_unlock(room);
    cop__watch_unref(room, watch);
}

/* ---- serving ---- */

/* The next one that is due; the caller has its reference. Needs the lock. */
static cop_watch *
ready_pop(cop__watch_room *room, uint64_t now)
{
    while (cop__timer_heap_due(room->waiting) <= now) {
        cop_watch *watch = (cop_watch *)(void *)room->waiting;
        cop__timer_heap_remove(&room->waiting, &watch->timer);
        ready_push(room, watch);
    }
    cop_watch *watch = room->ready_first;
    if (watch == NULL)
        return NULL;
    room->ready_first = watch->ready_next;
    if (room->ready_first == NULL)
        room->ready_last = NULL;
    watch->queued = false;
    return watch;
}

void
cop__watch_ready_end(cop__watch_room *room)
{
    cop_watch *watch;
    do {
        cop__watch_lock(room);
        watch = ready_pop(room, 0);
        cop__watch_unlock(room);
        if (watch != NULL)
            cop__watch_unref(room, watch);
    } while (watch != NULL);
}

/* Its target stays while it is running. */
static void
measure(const cop_watch *watch, uint64_t since_ns)
{
    const cop__watch_target *target = watch->target;
    if (cop__unlikely(since_ns != 0))
        cop__monitor_notified(watch->store, target->text, target->length,
                              cop__clock_ns() - since_ns);
}

/* What the monitor is told may call the host, which may close the watcher: that is inside, too. */
static void
call(cop__watch_room *room, cop__watch_telling *telling)
{
    cop_watch *watch = telling->watch;
    cop_watch_batch batch;
    uint64_t began = cop__monitor_clock(watch->store);
    bool told = cop__watch_fill(room, telling, &batch);
    if (told) {
        here frame = {inside, watch};
        inside = &frame;
        watch->function(watch->context, watch, &batch);
        measure(watch, began);
        inside = frame.up;
        cop_watch_batch_end(&batch);
    }
    cop__watch_told(room, telling, told);
}

/* Nobody will look before then. Needs the lock. */
static void
sleep_until_due(cop__watch_room *room)
{
    uint64_t due = cop__watch_pass_due(room), next = cop__timer_heap_due(room->waiting);
    due = next < due ? next : due;
    if (due != COP_TIMER_NEVER && room->base != NULL && !room->closing)
        cop__timer_set(&room->store->timers, &room->timer, due);
}

/* One function, or false: none is due. */
static bool
serve_one(cop__watch_room *room)
{
    cop__watch_telling telling;
    bool take = false;
    cop__watch_lock(room);
    uint64_t now = cop__clock_ns();
    if (cop__watch_pass_due(room) <= now)
        (void)cop__watch_pass(room);
    cop_watch *watch = room->closing ? NULL : ready_pop(room, now);
    if (watch == NULL) {
        sleep_until_due(room);
    } else if (cop__watch_due(watch) <= now) {
        cop__watch_take(room, watch, &telling);
        take = true;
        cop__add_seq_cst(&room->calling, 1u);
        if (cop__load_seq_cst(&room->asked) != 0 && cop__load_seq_cst(&room->descriptors) > 0)
            (void)cop__watch_pass(room); /* nobody may come for it while this one is called */
    } else {
        cop__watch_schedule(room, watch); /* it was told, or paused, or closed meanwhile */
    }
    cop__watch_unlock(room);
    if (take) {
        call(room, &telling);
        cop__sub_seq_cst(&room->calling, 1u);
    }
    if (watch != NULL)
        cop__watch_unref(room, watch);
    return watch != NULL;
}

/* Makes a pass if one is due, and calls the functions that are due. */
static void
serve(cop__watch_room *room)
{
    while (serve_one(room))
        ;
}

static void
serve_task(void *context)
{
    cop__watch_room *room = context;
    cop_store *store = room->store;
    struct cop__gate *gate = store->gate;
    cop__store_seq_cst(&room->tasked, 0u);
    if (!cop__evaluating && !in_function_of(store))
        serve(room);
    else
        cop__timer_set(&store->timers, &room->timer, cop__clock_ns() + AGAIN_NS);
    cop__gate_end_use(gate);
}

void
cop__watch_ask(cop__watch_room *room)
{
    cop_store *store = room->store;
    if (cop__swap_seq_cst(&room->tasked, 1u) != 0)
        return;
    if (cop__effects_submit(store, serve_task, room))
        return;
    cop__store_seq_cst(&room->tasked, 0u);
    cop__fd_signal(store);
}

void
cop__watch_timer(void *context)
{
    cop__watch_room *room = context;
    if (cop__effects_threads(room->store) > 0) /* else it is who polls, and looks next */
        cop__watch_ask(room);
}

void
cop__watch_poll(cop__watch_room *room)
{
    if (room != NULL && !in_function_of(room->store))
        serve(room);
}

void
cop__watch_pool_changed(cop__watch_room *room)
{
    if (room == NULL)
        return;
    cop__store_seq_cst(&room->tasked, 0u); /* nobody may come for it now */
    cop__watch_signal(room);
    cop__watch_lock(room);
    cop__watch_unlock(room);
}

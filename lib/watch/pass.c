/* SPDX-License-Identifier: MIT */
/*
 * Passes: the base goes on to the newest version, and watchers become dirty. And who is asked for
 * one. The argument is in watch.h.
 */
#include "watch/watch.h"

#include "store/store_internal.h"
#include "watch/room.h"

#define RETRY_NS UINT64_C(10000000) /* after a pass that could not be made */

/* ---- the lock and the frames ---- */

void
cop__watch_lock(cop__watch_room *room)
{
    COP_STEP("lock");
    pthread_mutex_lock(&room->lock);
}

/* They count themselves, read the event and then look. */
static void
sleepers_wake(cop__watch_room *room)
{
    if (cop__load_seq_cst(&room->sleepers) == 0)
        return;
    cop__add_seq_cst(&room->event, 1u);
    cop__futex_wake(&room->event, INT32_MAX);
}

void
cop__watch_unlock(cop__watch_room *room)
{
    cop__watch_frame *frame = room->doomed;
    cop__memory *memory = room->store->memory;
    bool ask = room->ready_first != NULL && !room->closing;
    bool wake = room->wake;
    room->doomed = NULL;
    room->wake = false;
    pthread_mutex_unlock(&room->lock);
    if (wake)
        sleepers_wake(room);
    if (ask)
        cop__watch_ask(room);
    while (frame != NULL) { /* the store may go with the last one */
        cop__watch_frame *next = frame->next;
        const cop_snapshot *snapshot = frame->snapshot;
        cop__memory_free(memory, COP_MEMORY_WATCH, frame, sizeof *frame, 16);
        cop__snapshot_let_go(snapshot, COP_HELD_BY_WATCHERS, true);
        frame = next;
    }
}

cop__watch_frame *
cop__watch_frame_keep(cop__watch_frame *frame)
{
    frame->references++;
    return frame;
}

void
cop__watch_frame_drop(cop__watch_room *room, cop__watch_frame *frame)
{
    if (frame == NULL || --frame->references > 0)
        return;
    frame->next = room->doomed;
    room->doomed = frame;
}

/* Takes over the hold on the snapshot. */
static cop__watch_frame *
frame_new(cop__watch_room *room, const cop_snapshot *snapshot)
{
    cop__watch_frame *frame =
        cop__memory_zalloc(room->store->memory, COP_MEMORY_WATCH, sizeof *frame, 16);
    if (frame == NULL)
        return NULL;
    frame->snapshot = snapshot;
    frame->version = cop_snapshot_version(snapshot);
    frame->references = 1;
    return frame;
}

/* The newest version, held. */
static cop_status
newest_hold(cop_store *store, const cop_snapshot **snapshot)
{
    cop_pin_t pin = cop_pin(store);
    *snapshot = pin.snapshot;
    if (pin.snapshot == NULL)
        return cop_pin_status();
    cop__snapshot_hold(pin.snapshot, COP_HELD_BY_WATCHERS);
    cop_unpin(pin);
    return COP_OK;
}

cop_status
cop__watch_frame_newest(cop__watch_room *room, cop__watch_frame **frame)
{
    const cop_snapshot *snapshot;
    cop_status status = newest_hold(room->store, &snapshot);
    if (status != COP_OK)
        return status;
    *frame = frame_new(room, snapshot);
    if (*frame != NULL)
        return COP_OK;
    cop__snapshot_let_go(snapshot, COP_HELD_BY_WATCHERS, false);
    return COP_E_MEMORY;
}

bool
cop__watch_base_first(cop__watch_room *room)
{
    const cop_snapshot *root = room->store->tree.root;
    cop__snapshot_hold(root, COP_HELD_BY_WATCHERS);
    room->base = frame_new(room, root);
    if (room->base == NULL)
        cop__snapshot_let_go(root, COP_HELD_BY_WATCHERS, false);
    return room->base != NULL;
}

/* ---- a pass ---- */

typedef struct pass {
    cop__watch_room *room;
    const cop__watch_found *found;
    cop__watch_list *log; /* NULL: no memory */
    bool refused;
} pass;

static void
touch(void *context, cop__watch_target *target)
{
    pass *p = context;
    cop__watch_room *room = p->room;
    if (!target->touched) {
        target->touched = true;
        target->touched_next = room->touched;
        room->touched = target;
        cop__watch_list_drop(target->list);
        target->list = cop__watch_list_new(room->store->memory);
        target->changes = 0;
    }
    if (++target->changes > COP_WATCH_PASS_LIST) {
        cop__watch_list_drop(target->list);
        target->list = NULL;
    } else if (target->list != NULL) {
        cop__watch_list_add(target->list, p->found, true);
    }
}

/* More than can be kept is not collected. */
static void
log_one(pass *p, const cop__watch_found *one)
{
    if (p->log->count * sizeof *p->log->entry <= p->room->log.limit) {
        cop__watch_list_add(p->log, one, one->what == COP_DIFF_ERASED);
        return;
    }
    cop__watch_list_drop(p->log);
    p->log = NULL;
}

static void
found(void *context, const cop__watch_found *one)
{
    pass *p = context;
    p->found = one;
    if (one->path.refused) {
        p->refused = true;
        return;
    }
    if (p->log != NULL)
        log_one(p, one);
    cop__watch_index_match(&p->room->index, one, touch, p);
}

/* What it lists is told, or (refused) found again when it is asked for. */
static void
target_listed(cop__watch_target *target, uint64_t from, uint64_t to)
{
    target->list_from = from;
    target->list_to = to;
    if (target->list == NULL)
        return;
    cop__watch_list_order(target->list);
    if (target->list->refused) {
        cop__watch_list_drop(target->list);
        target->list = NULL;
    }
}

/* The targets that were touched; with a base, their watchers become dirty from it on. */
static void
touched_end(cop__watch_room *room, cop__watch_frame *base, uint64_t to)
{
    cop__watch_target *target;
    room->at_once = 0;
    while ((target = room->touched) != NULL) {
        room->touched = target->touched_next;
        target->touched = false;
        if (base == NULL) {
            cop__watch_list_drop(target->list);
            target->list = NULL;
            continue;
        }
        target_listed(target, base->version, to);
        for (cop_watch *watch = target->first; watch != NULL; watch = watch->next)
            cop__watch_mark(room, watch, base, target->changes);
    }
}

static bool
pass_between(cop__watch_room *room, cop__watch_frame *base, cop__watch_frame *frame)
{
    pass p = {room, NULL, cop__watch_list_new(room->store->memory), false};
    cop__watch_find((cop__diff_pair){base->snapshot, frame->snapshot}, &room->scratch, found, &p);
    room->base = p.refused ? base : frame;
    touched_end(room, p.refused ? NULL : base, frame->version);
    if (!p.refused)
        cop__watch_log_add(room, p.log, base->version, frame->version);
    cop__watch_list_drop(p.log);
    return !p.refused;
}

static cop_status
pass_make(cop__watch_room *room)
{
    cop__watch_frame *frame = NULL, *base = room->base;
    cop_status status = cop__watch_frame_newest(room, &frame);
    if (status != COP_OK)
        return status;
    if (frame->version == base->version) {
        cop__watch_frame_drop(room, frame);
    } else if (pass_between(room, base, frame)) {
        cop__watch_frame_drop(room, base);
    } else {
        cop__watch_frame_drop(room, frame);
        status = COP_E_MEMORY;
    }
    return status;
}

cop_status
cop__watch_pass(cop__watch_room *room)
{
    bool asked = cop__swap_seq_cst(&room->asked, 0u) != 0;
    if (!asked || room->base == NULL) /* the latter when all have gone, or the store is closing */
        return COP_OK;
    cop_status status = pass_make(room);
    if (cop__unlikely(status != COP_OK)) {
        cop__store_seq_cst(&room->asked_ns, cop__clock_ns() + RETRY_NS);
        cop__store_seq_cst(&room->stale, 1u);
        cop__store_seq_cst(&room->asked, 1u);
        if (status != COP_E_CLOSING)
            cop__timer_set(&room->store->timers, &room->timer, cop__watch_pass_due(room));
    } else {
        cop__store_relaxed(&room->stale, 0u);
    }
    return status;
}

uint64_t
cop__watch_grid(uint64_t t, uint64_t step)
{
    uint64_t end;
    if (step == 0)
        return t;
    return __builtin_mul_overflow(t / step + 1, step, &end) ? COP_TIMER_NEVER : end;
}

uint64_t
cop__watch_pass_due(cop__watch_room *room)
{
    if (cop__load_seq_cst(&room->asked) == 0)
        return COP_TIMER_NEVER;
    return cop__watch_grid(cop__load_seq_cst(&room->asked_ns), cop__load_relaxed(&room->gather_ns));
}

/* ---- who is asked for one ---- */

/* asked_ns first: a pass that follows reads it. The swap orders what was published before it. True:
 * it is to be told (cop__watch_signal): it was not asked for yet, or could not be done. */
bool
cop__watch_published(cop__watch_room *room)
{
    if (cop__load_relaxed(&room->asked) == 0)
        cop__store_seq_cst(&room->asked_ns, cop__clock_ns());
    return cop__swap_seq_cst(&room->asked, 1u) == 0 || cop__load_relaxed(&room->stale) != 0;
}

/* In the place of the pool, so that descriptors become readable though nobody polls. */
static void
pass_here(cop__watch_room *room)
{
    do {
        if (cop__swap_seq_cst(&room->passing, 1u) != 0)
            return; /* who has it looks again */
        cop__watch_lock(room);
        cop_status status = cop__watch_pass(room);
        cop__watch_unlock(room);
        cop__store_seq_cst(&room->passing, 0u);
        if (status != COP_OK)
            return;
    } while (cop__load_seq_cst(&room->asked) != 0);
}

void
cop__watch_signal(cop__watch_room *room)
{
    cop_store *store = room->store;
    if (cop__load_relaxed(&store->closing) != 0)
        return;
    sleepers_wake(room);
    uint32_t descriptors = cop__load_seq_cst(&room->descriptors);
    if (descriptors + cop__load_seq_cst(&room->functions) == 0)
        return;
    /* Each of the pool's threads may be in a function that hangs. Who is about to call one counts
     * itself and then looks whether a pass is asked for. */
    if (descriptors > 0 && cop__load_seq_cst(&room->calling) >= cop__effects_threads(store))
        pass_here(room);
    else if (cop__load_relaxed(&room->gather_ns) == 0)
        cop__watch_ask(room);
    else
        cop__timer_set(&store->timers, &room->timer, cop__watch_pass_due(room));
}

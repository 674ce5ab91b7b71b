/* SPDX-License-Identifier: MIT */
/*
 * Watchers that are asked: cop_watch_next, descriptors; and batches.
 *
 * WAITING. A thread in cop_watch_next counts itself among the sleepers before it looks; who
 * publishes, or makes a watcher dirty, changes `event` after that, if there is a sleeper. So either
 * the one sees what was published, or the other sees the sleeper and changes the word that it is
 * about to sleep on. It sleeps no longer than until a pass or the watcher is due.
 *
 * A DESCRIPTOR is a timerfd, set to when the watcher is due: to a past time it is readable at once (see
 * descriptor_due in tell.c). It is set under the lock whenever that changes, so it always shows what is
 * true, and is never read.
 */
#include "watch/watch.h"

#include <sys/timerfd.h>
#include <unistd.h>

#include "reclaim/gate.h"
#include "watch/room.h"

/* ---- batches ---- */

static cop__watch_list *
list_of(const cop_watch_batch *batch)
{
    return batch->held_[3];
}

static cop_value
value_in(const cop_snapshot *snapshot, const cop__watch_entry *entry)
{
    const cop_value none = {0};
    return snapshot != NULL ? cop__slot_value(cop__root_slot(snapshot, entry->id)) : none;
}

static const char *
path_in(const cop__watch_list *list, const cop__watch_entry *entry)
{
    if (entry->anonymous)
        return NULL;
    return entry->text != 0 ? list->text + entry->text - 1 : "";
}

bool
cop_watch_change(cop_watch_batch *batch, cop_change *change)
{
    if (batch->place_ == batch->count)
        return false;
    const cop__watch_list *list = list_of(batch);
    const cop__watch_entry *entry = &list->entry[batch->place_++];
    bool gone = entry->what == COP_DIFF_ERASED, came = entry->what == COP_DIFF_CREATED;
    *change = (cop_change){
        .kind = (cop_change_kind)entry->what,
        .atom = {entry->id, entry->generation},
        .path = path_in(list, entry),
        .path_length = entry->length,
        .before = value_in(came ? NULL : batch->before, entry),
        .now = value_in(gone ? NULL : batch->now, entry),
    };
    return true;
}

void
cop_watch_rewind(cop_watch_batch *batch)
{
    batch->place_ = 0;
}

void
cop_watch_batch_end(cop_watch_batch *batch)
{
    cop__watch_room *room = batch->held_[0];
    if (room == NULL || batch->now->store == NULL) /* the latter in a forked child */
        return;
    struct cop__gate *gate = room->store->gate;
    cop__gate_use(gate); /* the store may go with the versions */
    cop__watch_list_drop(list_of(batch));
    cop__watch_lock(room);
    cop__watch_frame_drop(room, batch->held_[1]);
    cop__watch_frame_drop(room, batch->held_[2]);
    cop__watch_unlock(room);
    memset(batch, 0, sizeof *batch);
    cop__gate_end_use(gate);
}

/* ---- asking ---- */

static uint64_t
sooner(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* COP_OK: what there is was taken. COP_E_PENDING: not before *until. */
static cop_status
try_take(cop__watch_room *room, cop_watch *watch, cop__watch_telling *telling, uint64_t *until)
{
    uint64_t now = cop__clock_ns();
    cop_status status = cop__store_usable(watch->store);
    cop__watch_lock(room);
    if (watch->closed || room->closing)
        status = watch->closed ? COP_E_STATE : COP_E_CLOSING;
    if (status == COP_OK && cop__watch_pass_due(room) <= now)
        status = cop__watch_pass(room);
    *until = sooner(cop__watch_pass_due(room), cop__watch_due(watch));
    if (status == COP_OK && cop__watch_due(watch) > now)
        status = COP_E_PENDING;
    if (status == COP_OK)
        cop__watch_take(room, watch, telling);
    cop__watch_unlock(room);
    return status;
}

static cop_status
next(cop__watch_room *room, cop_watch *watch, uint64_t deadline, cop_watch_batch *batch)
{
    for (;;) {
        cop__watch_telling telling;
        uint64_t until;
        uint32_t event = cop__load_seq_cst(&room->event);
        cop_status status = try_take(room, watch, &telling, &until);
        if (status == COP_OK) {
            bool told = cop__watch_fill(room, &telling, batch);
            cop__watch_told(room, &telling, told);
            if (told)
                return COP_OK;
            continue;
        }
        if (status != COP_E_PENDING)
            return status;
        if (deadline != COP_FOREVER && cop__clock_ns() >= deadline)
            return COP_E_TIMEOUT;
        cop__futex_wait(&room->event, event, sooner(until, deadline));
    }
}

static cop_status
asked_check(const cop_watch *watch)
{
    cop_status status = cop__store_usable(watch->store);
    if (status == COP_OK && cop__evaluating)
        status = COP_E_IN_EVALUATION;
    if (status == COP_OK && watch->function != NULL)
        status = COP_E_INVALID;
    return status;
}

cop_status
cop_watch_next(cop_watch *watch, uint64_t deadline, cop_watch_batch *batch)
{
    memset(batch, 0, sizeof *batch);
    cop_status status = asked_check(watch);
    if (status != COP_OK)
        return status;
    cop_store *store = watch->store;
    struct cop__gate *gate = store->gate;
    cop__watch_room *room = cop__load_acquire(&store->watch);
    cop__gate_use(gate);
    cop__watch_lock(room);
    watch->references++;
    cop__watch_unlock(room);
    cop__add_seq_cst(&room->sleepers, 1u);
    status = next(room, watch, deadline, batch);
    cop__sub_seq_cst(&room->sleepers, 1u);
    cop__watch_unref(room, watch);
    cop__gate_end_use(gate);
    return status;
}

/* Needs the lock. */
static cop_status
descriptor_make(cop__watch_room *room, cop_watch *watch)
{
    watch->fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (watch->fd < 0)
        return COP_E_IO;
    watch->armed_ns = COP_TIMER_NEVER;
    cop__add_seq_cst(&room->descriptors, 1u);
    (void)cop__watch_pass(room); /* what was published before is looked at here */
    cop__watch_schedule(room, watch);
    return COP_OK;
}

cop_status
cop_watch_fd(cop_watch *watch, int *fd)
{
    *fd = -1;
    cop_status status = asked_check(watch);
    if (status != COP_OK)
        return status;
    cop__watch_room *room = cop__load_acquire(&watch->store->watch);
    cop__watch_lock(room);
    if (watch->fd < 0)
        status = descriptor_make(room, watch);
    *fd = watch->fd;
    cop__watch_unlock(room);
    return status;
}

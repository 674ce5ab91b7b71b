/* SPDX-License-Identifier: MIT */
/*
 * Memory is short: what watchers keep is given up, in the order in which it is missed least. A list of
 * changes can be made again from the versions that a watcher holds; without the log one that comes back
 * is told a gap, and so is one that is behind once its version is gone. What is being told stays.
 */
#include "watch/watch.h"

#include "watch/room.h"

static uint64_t
lists_drop(cop__watch_room *room)
{
    uint64_t given = room->log.bytes;
    cop__watch_log_end(room);
    for (const cop_watch *watch = room->all; watch != NULL; watch = watch->all_next) {
        cop__watch_target *target = watch->target;
        if (target->list == NULL)
            continue;
        given += target->list->capacity * sizeof *target->list->entry;
        cop__watch_list_drop(target->list);
        target->list = NULL;
    }
    return given;
}

/* It will be told a gap, and needs no version for that. */
static void
make_gap(cop__watch_room *room, cop_watch *watch)
{
    if (watch->closed || watch->gap)
        return;
    if (watch->from == NULL && watch->since == NULL) { /* clean */
        watch->changed_ns = cop__clock_ns();
        watch->noted = 0;
    }
    cop__watch_forget(room, watch);
    watch->gap = true;
    cop__add_relaxed(&room->gaps, 1u);
    cop__watch_schedule(room, watch);
}

static bool
is_behind(const cop_watch *watch)
{
    return watch->from != NULL || watch->since != NULL;
}

/* The base becomes the newest version; who was told up to the old one does not learn what came between. */
static bool
base_renew(cop__watch_room *room)
{
    cop__watch_frame *frame = NULL;
    if (room->base == NULL || cop__load_seq_cst(&room->asked) == 0 ||
        cop__watch_frame_newest(room, &frame) != COP_OK)
        return false;
    for (cop_watch *watch = room->all; watch != NULL; watch = watch->all_next)
        make_gap(room, watch);
    cop__watch_frame_drop(room, room->base);
    room->base = frame;
    return true;
}

uint64_t
cop__watch_give_way(cop__watch_room *room, bool all)
{
    if (room == NULL || pthread_mutex_trylock(&room->lock) != 0)
        return 0;
    uint64_t given = lists_drop(room);
    for (cop_watch *watch = room->all; watch != NULL; watch = watch->all_next)
        if (is_behind(watch) && (all || watch->weak)) {
            make_gap(room, watch);
            given++;
        }
    if (all && base_renew(room))
        given++;
    cop__watch_unlock(room);
    return given;
}

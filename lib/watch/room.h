/* SPDX-License-Identifier: MIT */
/* What the store calls of its watchers. The argument is in watch.h. */
#ifndef COP_WATCH_ROOM_H
#define COP_WATCH_ROOM_H

#include <coppice/stats.h>

struct cop__watch_room;

/* A version was published, and there is a watcher. True: signal is to follow. Needs the right. */
bool cop__watch_published(struct cop__watch_room *room);
/* The same, after the right was given back: tells whoever is to look. */
void cop__watch_signal(struct cop__watch_room *room);
/* Tells what is due. NULL is legal. */
void cop__watch_poll(struct cop__watch_room *room);
/* The store has another pool, or none any more. NULL is legal. */
void cop__watch_pool_changed(struct cop__watch_room *room);
typedef void (*cop__watch_behind_function)(void *context, const char *path, size_t length,
                                           uint64_t late_ns);
/* Those that are to be told something since so long that it is late by least_ns or more, their windows
 * left out; not those that are paused. The function is called under the room's lock. NULL is legal. */
void cop__watch_behind(struct cop__watch_room *room, uint64_t least_ns,
                       cop__watch_behind_function function, void *context);
/* Memory is short: the change log and lists that can be made again go, and the versions of watchers that
 * are weak and behind; all: those of all that are behind, and the base if it is not the newest. What
 * must be told then is told as a gap. Bytes given, a version counting for one; 0 also when somebody else is at it,
 * for whom it does not wait. NULL is legal. Needs the right. */
uint64_t cop__watch_give_way(struct cop__watch_room *room, bool all);
/* Its figures. NULL is legal. Lock-free. */
void cop__watch_counts(struct cop__watch_room *room, cop_stats *stats);
/* The store is closing: nothing is told any more, and no version held. NULL is legal. */
void cop__watch_closing(struct cop__watch_room *room);
/* Nobody uses the store any more. NULL is legal. */
void cop__watch_end(struct cop__watch_room *room);

#endif

/* SPDX-License-Identifier: MIT */
/* What the store calls of its history. The argument is in history.h. */
#ifndef COP_HISTORY_ROOM_H
#define COP_HISTORY_ROOM_H

#include <coppice/snapshot.h>
#include <coppice/stats.h>

struct cop__history;

/* A version was published while history.keep keeps some by itself. True: signal is to follow. Needs the
 * right; O(1), asks for no memory. */
bool cop__history_published(struct cop__history *history, const cop_snapshot *root);
/* A scan has weighed more than history.max_bytes: signal is to follow. Needs the right. */
bool cop__history_heavy(cop_store *store);
/* After the right was given back: what was published is taken in, and the bounds are kept. */
void cop__history_signal(struct cop__history *history);
/* Options of this name have come or changed. COP_E_MEMORY: as before. Needs the right. */
cop_status cop__history_configure(cop_store *store, const cop_options *options);
/* Memory is short: lets versions go, those not used for longest first, until about so many bytes will
 * be free after the next scan, or only pinned ones and the newest are left; pinned_too: then the pinned
 * ones, oldest first. About how many will be. When somebody else is at the list it is 0; pinned_too waits for
 * them, as what is refused now is refused for good. NULL is legal. With the right or without. */
uint64_t cop__history_give_way(struct cop__history *history, uint64_t bytes, bool pinned_too);
/* The figures. Lock-free. */
void cop__history_counts(cop_store *store, cop_stats *stats);
/* The store is closing: nothing is kept from here on. Needs the right. */
void cop__history_stop(cop_store *store);
/* And what was kept goes. NULL is legal. */
void cop__history_closing(struct cop__history *history);
/* Nobody uses the store any more. NULL is legal. */
void cop__history_end(struct cop__history *history);

#endif

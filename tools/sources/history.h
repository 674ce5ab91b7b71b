/* SPDX-License-Identifier: MIT */
/*
 * Counters of sweeps of about a second ago, told beside the newest as host/previous: so that rates
 * and shares are pure functions of two samples in one version.
 *
 * Samples are kept at most ten times a second, so that a fast source does not keep many, and its
 * rates are not made of a tick or two. The one told is the newest that is a second old, else the
 * oldest.
 */
#ifndef COP_TOOLS_HISTORY_H
#define COP_TOOLS_HISTORY_H

#include "tools/sources/mirror.h"

#define HISTORY_VALUES 3

struct history;

struct history *history_new(void);
void history_free(struct history *history);

/* A sweep begins: host/time_us, and host/previous with time_us. */
void history_begin(struct history *history, struct mirror *mirror, struct mirror_node *host,
                   uint64_t time_us);
/* Notes counters of this sweep, and tells those of the earlier one with the same identity at
 * host/previous/GROUP/NAME, under these keys. */
void history_note(struct history *history, const char *group, const char *name, uint64_t identity,
                  const char *const *keys, const uint64_t *values, size_t count);
/* Notes one counter; by how much it has grown since the earlier sweep: all of it when it has begun
 * since, 0 when there was no earlier sweep. */
uint64_t history_growth(struct history *history, const char *group, const char *name,
                        uint64_t identity, uint64_t value);

#endif

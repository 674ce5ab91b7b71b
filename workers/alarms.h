/* SPDX-License-Identifier: MIT */
/*
 * Alarms: a pool's workers do something at a certain time, for who has no thread of its own.
 *
 * Workers that are at work look at the earliest alarm between tasks. Of those that are parked one, the
 * KEEPER, sleeps no longer than until then; the others sleep until they are woken.
 *
 * ORDERING. Who sets an earlier alarm stores `earliest` and then looks whether there is a keeper: if
 * not, it nudges one worker, if so, it stirs all. A worker that parks has read the epoch, takes the
 * keeper's place if it is free, and then loads `earliest`. All are sequentially consistent. So either it
 * sees the alarm, or the other sees the keeper and changes the epoch that it sleeps on. A worker that
 * is woken for something else while there is no keeper hands the nudge on. Somebody is late only as
 * long as all are at work.
 *
 * An alarm's function is called without locks, may come late, and still after it was taken back: what
 * it is for must live until then.
 */
#ifndef COP_WORKERS_ALARMS_H
#define COP_WORKERS_ALARMS_H

#include <coppice/pool.h>

#include "base/timers.h"

/* True when it was not set before: it will be run once. */
bool cop__pool_alarm_set(cop_pool *pool, cop__alarm *alarm, uint64_t due);
/* True when it was set: it will not be run. */
bool cop__pool_alarm_remove(cop_pool *pool, cop__alarm *alarm);

/* ---- of the pool's workers ---- */

/* Runs what is due. */
void cop__pool_alarms_run(cop_pool *pool);
/* Whether something is. */
bool cop__pool_alarm_due(cop_pool *pool);
/* The caller is about to sleep: until when. *keeper: whether it is the keeper. */
uint64_t cop__pool_alarm_park(cop_pool *pool, bool *keeper);
/* It was woken; for work: others may have to take its place. */
void cop__pool_alarm_unpark(cop_pool *pool, bool keeper);

#endif

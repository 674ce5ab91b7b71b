/* SPDX-License-Identifier: MIT */
/* Alarms of a pool: see alarms.h. */
#include "workers/alarms.h"

#include "workers/pool_internal.h"

bool
cop__pool_alarm_set(cop_pool *pool, cop__alarm *alarm, uint64_t due)
{
    uint64_t before = cop__timers_earliest(&pool->alarms);
    bool fresh = cop__timer_set(&pool->alarms, alarm, due);
    if (due >= before)
        return fresh;
    if (cop__load_seq_cst(&pool->keeper) != 0)
        cop__event_stir(&pool->events);
    else
        cop__event_nudge(&pool->events);
    return fresh;
}

bool
cop__pool_alarm_remove(cop_pool *pool, cop__alarm *alarm)
{
    return cop__timer_remove(&pool->alarms, alarm);
}

bool
cop__pool_alarm_due(cop_pool *pool)
{
    uint64_t due = cop__timers_earliest(&pool->alarms);
    return cop__unlikely(due != COP_TIMER_NEVER) && due <= cop__clock_ns();
}

void
cop__pool_alarms_run(cop_pool *pool)
{
    if (cop__pool_alarm_due(pool))
        cop__timers_run(&pool->alarms, cop__clock_ns());
}

uint64_t
cop__pool_alarm_park(cop_pool *pool, bool *keeper)
{
    uint32_t nobody = 0;
    if (!*keeper && cop__timers_earliest(&pool->alarms) != COP_TIMER_NEVER)
        *keeper = cop__cas_seq_cst(&pool->keeper, &nobody, 1u);
    return *keeper ? cop__load_seq_cst(&pool->alarms.earliest) : COP_TIMER_NEVER;
}

void
cop__pool_alarm_unpark(cop_pool *pool, bool keeper)
{
    if (keeper)
        cop__store_seq_cst(&pool->keeper, 0u);
    if (cop__unlikely(cop__load_seq_cst(&pool->alarms.earliest) != COP_TIMER_NEVER) &&
        cop__load_seq_cst(&pool->keeper) == 0)
        cop__event_nudge(&pool->events);
}

/* SPDX-License-Identifier: MIT */
/* The memory manager: levels and steps. The idea is in memory_manager.h. */
#include "reclaim/memory_manager.h"

#define SLACK_SHARE 32u                /* of the limit: how far below a mark its level ends */
#define RETRY_SHARE 100u               /* of what is used: growth after which steps are asked again */
#define RETRY_NS UINT64_C(20000000)    /* and the time after which they are */

static uint64_t
limit_of(const cop__memory_manager *manager)
{
    return cop__load_relaxed(&manager->memory->limit);
}

static uint64_t
slack_of(const cop__memory_manager *manager)
{
    return limit_of(manager) / SLACK_SHARE;
}

void
cop__manager_configure(cop__memory_manager *manager, uint64_t soft_percent)
{
    uint64_t most = cop__load_relaxed(&manager->memory->most);
    uint64_t limit = limit_of(manager);
    uint64_t soft = limit / 100 * soft_percent + limit % 100 * soft_percent / 100;
    cop__store_relaxed(&manager->soft, soft < most ? soft : most);
    if (limit > manager->limit)
        manager->full += limit - manager->limit;
    else if (manager->full > limit)
        manager->full = limit;
    manager->limit = limit;
    manager->asked_used = 0;
}

void
cop__manager_init(cop__memory_manager *manager, cop__memory *memory, uint64_t soft_percent)
{
    memset(manager, 0, sizeof *manager);
    manager->memory = memory;
    cop__manager_configure(manager, soft_percent);
}

static void
one_more(_Atomic uint64_t *times)
{
    cop__store_relaxed(times, cop__load_relaxed(times) + 1);
}

/* The level that these used bytes mean, given the one before. */
static cop_memory_level
level_of(cop__memory_manager *manager, uint64_t used)
{
    uint64_t soft = cop__load_relaxed(&manager->soft), slack = slack_of(manager);
    cop_memory_level level = cop__load_relaxed(&manager->level);
    /* full far below the limit, if it was the allocator that refused */
    if (level == COP_MEMORY_FULL && used < manager->full - manager->full / SLACK_SHARE)
        level = COP_MEMORY_SOFT;
    if (level == COP_MEMORY_SOFT && used + slack < soft)
        level = COP_MEMORY_NORMAL;
    if (level == COP_MEMORY_NORMAL && used > soft)
        level = COP_MEMORY_SOFT;
    return level;
}

/* More than the limit is used only when it was lowered. */
bool
cop__manager_look(cop__memory_manager *manager, uint64_t used, bool refused)
{
    bool full = refused || used > manager->limit;
    cop_memory_level before = cop__load_relaxed(&manager->level);
    cop_memory_level level = full ? COP_MEMORY_FULL : level_of(manager, used);
    if (full)
        manager->full = used < manager->limit ? used : manager->limit;
    if (level == before)
        return false;
    if (before == COP_MEMORY_NORMAL)
        one_more(&manager->times_soft);
    if (level == COP_MEMORY_FULL)
        one_more(&manager->times_full);
    cop__store_relaxed(&manager->level, (uint32_t)level);
    manager->asked_used = 0;
    return true;
}

uint64_t
cop__manager_wants(cop__memory_manager *manager, uint64_t used, uint64_t now)
{
    uint64_t soft = cop__load_relaxed(&manager->soft), slack = slack_of(manager);
    if (used <= soft)
        return 0;
    if (manager->asked_used != 0 && used < manager->asked_used + manager->asked_used / RETRY_SHARE &&
        now - manager->asked_ns < RETRY_NS)
        return 0;
    return used - (soft > slack ? soft - slack : 0);
}

uint64_t
cop__manager_note(cop__memory_manager *manager, cop_gave_step step, uint64_t bytes)
{
    cop__store_relaxed(&manager->gave[step], cop__load_relaxed(&manager->gave[step]) + bytes);
    return bytes;
}

uint64_t
cop__manager_soft(cop__memory_manager *manager, uint64_t bytes)
{
    uint64_t given = 0;
    for (unsigned i = 0; i < COP_GAVE_STEPS && given < bytes; i++) {
        const cop__give_step *step = &manager->step[i];
        if (step->soft != NULL)
            given += cop__manager_note(manager, (cop_gave_step)i, step->soft(step->context, bytes - given));
    }
    return given;
}

void
cop__manager_asked(cop__memory_manager *manager, uint64_t used, uint64_t now)
{
    manager->asked_used = used;
    manager->asked_ns = now;
}

uint64_t
cop__manager_full(cop__memory_manager *manager, cop_gave_step step, uint64_t bytes)
{
    const cop__give_step *s = &manager->step[step];
    cop__give_function give = s->full != NULL ? s->full : s->soft;
    return give != NULL ? cop__manager_note(manager, step, give(s->context, bytes)) : 0;
}

/* SPDX-License-Identifier: MIT */
/*
 * Task groups: tasks in the order of adding, each started by whoever claims it first.
 *
 * For each task added, the pool gets a helper that starts the group's next unstarted task,
 * whichever that is. Who waits starts tasks too. Helpers that come late find nothing to start; the
 * group's memory lives until the last has gone. Nobody waits for a task that he could start
 * himself, so groups may be nested.
 *
 * Tasks lie in blocks, each twice as large as the one before, that never move: one that is known to
 * be there is reached without the lock.
 *
 * ORDERING. add writes the task, then stores count (release); claiming loads count (acquire) and
 * takes `next` by compare-and-swap. A task's outcome is written before its state (release) and
 * before ended is added to; both are acquired by who reads outcomes and who waits. Sleeping:
 * sleepers is added to before ended is compared, ended before sleepers is read, all sequentially
 * consistent. Adding and cancelling exclude each other by the lock, so whoever cancels finds every
 * task that was accepted.
 */
#include "workers/pool_internal.h"

#define FIRST_BLOCK_BITS 4
#define BLOCKS (64 - FIRST_BLOCK_BITS)
#define SPINS 2000u

typedef struct group_task {
    cop_task_body body;
    void *context;
    cop_destructor destroy;
    cop_status status;
    void *result;
    _Atomic bool ended;
} group_task;

struct cop_task_group {
    cop_pool *pool;
    pthread_mutex_t lock;
    _Atomic(group_task *) blocks[BLOCKS];
    _Atomic uint64_t count;
    _Atomic bool cancelled;
    _Atomic uint32_t references;
    _Alignas(COP_CACHE_LINE) _Atomic uint64_t next;
    _Atomic uint64_t ended;
    _Atomic uint32_t changes; /* futex: counts ends */
    _Atomic uint32_t sleepers;
};

static bool
forked(const cop_task_group *group)
{
    return group->pool && cop__pool_forked(group->pool);
}

/* ---- places ---- */

/* Index i lies in block b at i + 16 - (16 << b). */
static unsigned
block_of(uint64_t index, uint64_t *place)
{
    uint64_t i = index + (UINT64_C(1) << FIRST_BLOCK_BITS);
    unsigned bit = 63u - (unsigned)__builtin_clzll(i);
    *place = i - (UINT64_C(1) << bit);
    return bit - FIRST_BLOCK_BITS;
}

static group_task *
task_at(cop_task_group *group, uint64_t index)
{
    uint64_t place;
    unsigned block = block_of(index, &place);
    return cop__load_acquire(&group->blocks[block]) + place;
}

/* The place of the next task to add, its block made if need be. Needs the lock. */
static group_task *
place_for(cop_task_group *group, uint64_t index)
{
    uint64_t place;
    unsigned block = block_of(index, &place);
    group_task *tasks = cop__load_relaxed(&group->blocks[block]);
    if (!tasks) {
        tasks = calloc((size_t)1 << (block + FIRST_BLOCK_BITS), sizeof *tasks);
        if (!tasks)
            return NULL;
        cop__store_release(&group->blocks[block], tasks);
    }
    return tasks + place;
}

/* ---- life ---- */

cop_status
cop_task_group_open(cop_pool *pool, cop_task_group **group)
{
    if (!group)
        return COP_E_INVALID;
    *group = NULL;
    if (pool && cop__pool_forked(pool))
        return COP_E_FORKED;
    cop_task_group *made = aligned_alloc(COP_CACHE_LINE, sizeof *made);
    if (!made)
        return COP_E_MEMORY;
    memset(made, 0, sizeof *made);
    made->pool = pool;
    pthread_mutex_init(&made->lock, NULL);
    atomic_init(&made->references, 1);
    *group = made;
    return COP_OK;
}

static void
release(cop_task_group *group)
{
    if (cop__sub_acq_rel(&group->references, 1u) != 1)
        return;
    for (unsigned i = 0; i < BLOCKS; i++)
        free(cop__load_relaxed(&group->blocks[i]));
    pthread_mutex_destroy(&group->lock);
    free(group);
}

/* ---- running ---- */

static group_task *
claim(cop_task_group *group)
{
    uint64_t next = cop__load_relaxed(&group->next);
    do {
        if (next >= cop__load_acquire(&group->count))
            return NULL;
    } while (!cop__cas_seq_cst(&group->next, &next, next + 1));
    return task_at(group, next);
}

static void
end(cop_task_group *group, group_task *task, cop_status status)
{
    task->status = status;
    if (task->destroy)
        task->destroy(task->context);
    cop__store_release(&task->ended, true);
    cop__add_seq_cst(&group->ended, UINT64_C(1));
    cop__add_seq_cst(&group->changes, 1u);
    if (cop__load_seq_cst(&group->sleepers) > 0)
        cop__futex_wake(&group->changes, INT32_MAX);
}

/* False when there is nothing to start. */
static bool
run_next(cop_task_group *group)
{
    group_task *task = claim(group);
    if (!task)
        return false;
    cop_status status = COP_E_CANCELLED;
    if (!cop_task_cancelled(group))
        status = task->body(group, task->context, &task->result);
    end(group, task, status);
    return true;
}

static void
help(void *context)
{
    (void)run_next(context);
    release(context);
}

/* ---- adding ---- */

static cop_status
append(cop_task_group *group, const group_task *task, uint64_t *index)
{
    if (cop_task_cancelled(group))
        return COP_E_CANCELLED;
    *index = cop__load_relaxed(&group->count);
    group_task *place = place_for(group, *index);
    if (!place)
        return COP_E_MEMORY;
    place->body = task->body;
    place->context = task->context;
    place->destroy = task->destroy;
    cop__store_release(&group->count, *index + 1);
    return COP_OK;
}

/* Without a helper (no threads, no memory, a closing pool) the task is started by who waits. */
static void
call_helper(cop_task_group *group)
{
    if (cop_pool_threads(group->pool) == 0)
        return;
    cop__add_relaxed(&group->references, 1u);
    if (cop_pool_submit(group->pool, help, group) != COP_OK)
        release(group);
}

cop_status
cop_task_group_add(cop_task_group *group, cop_task_body body, void *context, cop_destructor destroy,
                   size_t *index)
{
    group_task task = {.body = body, .context = context, .destroy = destroy};
    uint64_t place = 0;
    if (!group || !body)
        return COP_E_INVALID;
    if (forked(group))
        return COP_E_FORKED;
    pthread_mutex_lock(&group->lock);
    cop_status status = append(group, &task, &place);
    pthread_mutex_unlock(&group->lock);
    if (status != COP_OK)
        return status;
    if (index)
        *index = place;
    call_helper(group);
    return COP_OK;
}

/* ---- waiting and cancelling ---- */

static bool
all_ended(cop_task_group *group)
{
    return cop__load_seq_cst(&group->ended) == cop__load_seq_cst(&group->count);
}

static void
sleep_a_while(cop_task_group *group, uint64_t deadline)
{
    cop__add_seq_cst(&group->sleepers, 1u);
    uint32_t changes = cop__load_seq_cst(&group->changes);
    if (!all_ended(group))
        cop__futex_wait(&group->changes, changes, deadline);
    cop__sub_acq_rel(&group->sleepers, 1u);
}

cop_status
cop_task_group_wait(cop_task_group *group, uint64_t deadline)
{
    if (!group)
        return COP_E_INVALID;
    if (forked(group))
        return COP_E_FORKED;
    for (uint32_t spins = 0; !all_ended(group);) {
        if (deadline != UINT64_MAX && cop__clock_ns() >= deadline)
            return COP_E_TIMEOUT;
        if (run_next(group))
            spins = 0;
        else if (spins++ < SPINS)
            cop__pause();
        else
            sleep_a_while(group, deadline);
    }
    return COP_OK;
}

void
cop_task_group_cancel(cop_task_group *group)
{
    if (!group || forked(group))
        return;
    pthread_mutex_lock(&group->lock);
    cop__store_seq_cst(&group->cancelled, true);
    pthread_mutex_unlock(&group->lock);
    while (run_next(group))
        ;
}

bool
cop_task_cancelled(const cop_task_group *group)
{
    return group && cop__load_relaxed(&group->cancelled);
}

size_t
cop_task_group_count(const cop_task_group *group)
{
    return group ? (size_t)cop__load_acquire(&group->count) : 0;
}

cop_status
cop_task_group_outcome(const cop_task_group *group, size_t index, cop_task_outcome *result)
{
    if (!group || !result)
        return COP_E_INVALID;
    if (index >= cop_task_group_count(group))
        return COP_E_RANGE;
    group_task *task = task_at((cop_task_group *)(uintptr_t)group, index);
    bool ended = cop__load_acquire(&task->ended);
    result->status = ended ? task->status : COP_E_PENDING;
    result->result = ended ? task->result : NULL;
    return COP_OK;
}

void
cop_task_group_close(cop_task_group *group)
{
    if (!group || forked(group))
        return;
    cop_task_group_cancel(group);
    (void)cop_task_group_wait(group, UINT64_MAX);
    release(group);
}

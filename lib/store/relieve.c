/* SPDX-License-Identifier: MIT */
/*
 * What gives way when memory becomes short, in which order, and who is told: the memory manager's steps,
 * each a call into the room that keeps the thing. See coppice/pressure.h for what users see of it.
 *
 * At the soft mark no step waits: a room whose lock is taken gives nothing this time. What a step lets go of
 * versions is freed by the settling that follows it.
 */
#include "store/relieve.h"

#include "commit/combiner.h"
#include "commit/trim.h"
#include "graph/lazy.h"
#include "history/room.h"
#include "reclaim/gate.h"
#include "serialize/serializer.h"
#include "watch/room.h"

#define COMMIT_SHARE 32u          /* of the limit: what is to give way for a commit that did not fit */
#define STEP_ITEMS ((size_t)8192) /* freed by one commit after a step let versions go, or parked */
#define FREE_SHARE 8u             /* of the soft mark: what may lie free in chunks when more is held */
#define RIGHT_NS UINT64_C(50000000) /* for which who builds a transaction waits for the right */
#define CHUNKS_NS UINT64_C(20000000) /* between two looks for free chunks: what is parked is slower to take */
#define DEAD_SOFT 512u            /* dead things that make a scan worth while, by level */
#define DEAD_FULL 64u
#define PARK_STEPS 64u            /* of so many items, when a commit did not fit */
#define ROUNDS_MOST 64u           /* of giving way for one thing that does not fit */
#define COMPACT_STEPS 64u         /* about a millisecond each, likewise */

/* ---- the steps ---- */

static uint64_t
give_fragments(void *context, uint64_t bytes)
{
    cop_store *store = context;
    return cop__serializer_give_way(cop__load_acquire(&store->serializer), bytes);
}

static uint64_t
give_all_fragments(void *context, uint64_t bytes)
{
    cop_store *store = context;
    (void)bytes;
    return cop__serializer_press(cop__load_acquire(&store->serializer));
}

static uint64_t
give_lazy(void *context, uint64_t bytes)
{
    cop__graph *graph = &((cop_store *)context)->graph;
    uint64_t before = cop__load_relaxed(&graph->lazies->bytes);
    if (before == 0)
        return 0;
    cop__lazies_evict(graph, before > bytes ? before - bytes : 0);
    uint64_t after = cop__load_relaxed(&graph->lazies->bytes);
    return before > after ? before - after : 0;
}

static uint64_t
give_history(void *context, uint64_t bytes)
{
    cop_store *store = context;
    return cop__history_give_way(cop__load_acquire(&store->history), bytes, false);
}

static uint64_t
give_pinned_history(void *context, uint64_t bytes)
{
    cop_store *store = context;
    return cop__history_give_way(cop__load_acquire(&store->history), bytes, true);
}

/* Chunks that nothing is in any more, as so many steps of parking find out. */
static void
give_free_chunks(cop_store *store, unsigned steps)
{
    cop__pool *pool = &store->tree.pool;
    uint64_t before = cop__pool_given_back(pool);
    while (steps-- > 0 && cop__pool_trim(pool, STEP_ITEMS))
        ;
    (void)cop__manager_note(&store->manager, COP_GAVE_PAGES, cop__pool_given_back(pool) - before);
}

/* And those of which what else is in them has moved elsewhere. */
static uint64_t
give_all_pages(void *context, uint64_t bytes)
{
    cop_store *store = context;
    cop__pool *pool = &store->tree.pool;
    uint64_t before = cop__pool_given_back(pool);
    for (unsigned i = 0; i < COMPACT_STEPS && cop__pool_given_back(pool) - before < bytes &&
                         cop__pool_free_bytes(pool) > 2 * bytes && cop__trim_step(store);
         i++)
        ;
    return cop__pool_given_back(pool) - before;
}

static uint64_t
give_watch(void *context, uint64_t bytes)
{
    cop_store *store = context;
    (void)bytes;
    return cop__watch_give_way(cop__load_acquire(&store->watch), false);
}

static uint64_t
give_all_watch(void *context, uint64_t bytes)
{
    cop_store *store = context;
    (void)bytes;
    return cop__watch_give_way(cop__load_acquire(&store->watch), true);
}

void
cop__relieve_init(cop_store *store)
{
    cop__memory_manager *manager = &store->manager;
    cop__manager_init(manager, store->memory, store->options.memory_soft_percent);
    manager->step[COP_GAVE_FRAGMENTS] = (cop__give_step){give_fragments, give_all_fragments, store};
    manager->step[COP_GAVE_LAZY] = (cop__give_step){give_lazy, NULL, store};
    manager->step[COP_GAVE_HISTORY] = (cop__give_step){give_history, give_pinned_history, store};
    manager->step[COP_GAVE_PAGES] = (cop__give_step){NULL, give_all_pages, store};
    manager->step[COP_GAVE_WATCH] = (cop__give_step){give_watch, give_all_watch, store};
    pthread_mutex_init(&store->levels.lock, NULL);
    pthread_cond_init(&store->levels.ended, NULL);
}

/* ---- giving way ---- */

uint64_t
cop__used_bytes(cop_store *store)
{
    cop__memory *memory = store->memory;
    uint64_t pooled = cop__load_relaxed(&memory->by_kind[COP_MEMORY_PAGES]) +
                      cop__load_relaxed(&memory->by_kind[COP_MEMORY_VALUES]) +
                      cop__load_relaxed(&memory->by_kind[COP_MEMORY_NAMES]);
    uint64_t idle = pooled - cop__pool_used(&store->tree.pool);
    uint64_t held = cop__load_relaxed(&memory->held);
    return held > idle ? held - idle : 0;
}

/* What is dead goes first: it is missed by nobody. */
static __attribute__((noinline)) void
give_way(cop_store *store, uint64_t now)
{
    cop__memory_manager *manager = &store->manager;
    (void)cop__settle(store, STEP_ITEMS);
    uint64_t wants = cop__manager_wants(manager, cop__used_bytes(store), now);
    if (wants > 0 && cop__manager_soft(manager, wants) > 0)
        (void)cop__settle(store, STEP_ITEMS);
    cop__manager_asked(manager, cop__used_bytes(store), now);
}

/* Whether what died and was not looked at since may make a difference. */
static bool
many_died(const cop_store *store, cop_memory_level level)
{
    size_t fresh = store->tree.dead.limbo_count - store->limbo_left;
    /* A scan looks at each held version: it has to be worth that, too. */
    return fresh >= (level == COP_MEMORY_FULL ? DEAD_FULL : DEAD_SOFT) + store->tree.dead.held_count;
}

void
cop__relieve(cop_store *store)
{
    cop__memory_manager *manager = &store->manager;
    uint64_t now = cop__clock_ns();
    if (many_died(store, cop__load_relaxed(&manager->level)))
        (void)cop__settle(store, STEP_ITEMS);
    if (cop__manager_wants(manager, cop__used_bytes(store), now) > 0)
        give_way(store, now);
    else if (cop__pool_free_bytes(&store->tree.pool) > cop__load_relaxed(&manager->soft) / FREE_SHARE &&
             now - store->chunks_given_ns > CHUNKS_NS) {
        store->chunks_given_ns = now;
        give_free_chunks(store, 1);
    }
    store->level_posted |= cop__manager_look(manager, cop__used_bytes(store), false);
}

/* Frees what is dead, and gives back chunks that are free. */
static void
make_room(cop_store *store)
{
    (void)cop__settle(store, SIZE_MAX);
    give_free_chunks(store, PARK_STEPS);
}

/* What is free in chunks, or can be made again, is no reason to hold more than the limit, and nobody might
 * commit for long. The level is looked at when the right is given back. */
void
cop__relieve_limit(cop_store *store)
{
    cop__manager_configure(&store->manager, store->options.memory_soft_percent);
    if (cop__load_relaxed(&store->memory->held) <= cop__load_relaxed(&store->memory->limit))
        return;
    give_way(store, cop__clock_ns());
    make_room(store);
}

/* A step is asked again as long as it gives; pages are moved once. False: none does. */
static bool
next_gives(cop_store *store, cop__relief *relief, uint64_t bytes)
{
    uint64_t given = 0;
    while (given == 0 && relief->step < COP_GAVE_STEPS) {
        given = cop__manager_full(&store->manager, (cop_gave_step)relief->step, bytes);
        relief->step += given == 0 || relief->step == COP_GAVE_PAGES;
    }
    return given > 0;
}

/* Giving way takes a little memory, too. */
bool
cop__relieve_for_commit(cop_store *store, cop__relief *relief)
{
    uint64_t want = cop__load_relaxed(&store->memory->limit) / COMMIT_SHARE;
    if (relief->rounds++ == ROUNDS_MOST)
        return false;
    cop__memory_spend(store->memory);
    bool given = relief->rounds == 1 || next_gives(store, relief, want);
    if (given)
        make_room(store);
    cop__memory_spend(NULL);
    return given;
}

bool
cop__relieve_now(cop_store *store, cop__relief *relief)
{
    /* Not by who has the right already: the function of a transact. */
    if (cop__evaluating || cop__right_wait(store, cop__clock_ns() + RIGHT_NS) != COP_OK)
        return false;
    bool relieved = cop__relieve_for_commit(store, relief);
    cop__right_leave(store);
    return relieved;
}

void
cop__relieve_failed(cop_store *store)
{
    store->level_posted |= cop__manager_look(&store->manager, cop__used_bytes(store), true);
}

/* ---- telling ---- */

/* Until what was told is the level of the moment. A caller that finds another one calling leaves it to that
 * one, which looks again. */
void
cop__relieve_tell(cop_store *store)
{
    pthread_mutex_lock(&store->levels.lock);
    while (!store->levels.calling && store->levels.function != NULL) {
        cop_memory_level level = cop_memory_level_now(store);
        if (level == store->levels.told)
            break;
        store->levels.told = level;
        store->levels.calling = true;
        store->levels.caller = pthread_self();
        pthread_mutex_unlock(&store->levels.lock);
        store->levels.function(store->levels.context, store, level,
                               cop__load_relaxed(&store->memory->held),
                               cop__load_relaxed(&store->memory->limit));
        pthread_mutex_lock(&store->levels.lock);
        store->levels.calling = false;
        pthread_cond_broadcast(&store->levels.ended);
    }
    pthread_mutex_unlock(&store->levels.lock);
}

static bool
called_by_me(const cop_store *store)
{
    return store->levels.calling && pthread_equal(store->levels.caller, pthread_self());
}

cop_status
cop_memory_tell(cop_store *store, cop_memory_function function, void *context, cop_destructor destroy)
{
    cop_status status = cop__store_may_wait(store);
    if (status != COP_OK)
        return status;
    struct cop__gate *gate = store->gate;
    cop__gate_use(gate);
    pthread_mutex_lock(&store->levels.lock);
    while (store->levels.calling && !called_by_me(store))
        pthread_cond_wait(&store->levels.ended, &store->levels.lock);
    cop_destructor ended = store->levels.destroy;
    void *former = store->levels.context;
    store->levels.function = function;
    store->levels.context = context;
    store->levels.destroy = destroy;
    store->levels.told = COP_MEMORY_NORMAL;
    pthread_mutex_unlock(&store->levels.lock);
    if (ended != NULL)
        ended(former);
    cop__relieve_tell(store);
    cop__gate_end_use(gate);
    return COP_OK;
}

void
cop__relieve_end(cop_store *store)
{
    if (store->levels.destroy != NULL)
        store->levels.destroy(store->levels.context);
    pthread_cond_destroy(&store->levels.ended);
    pthread_mutex_destroy(&store->levels.lock);
}

cop_memory_level
cop_memory_level_now(cop_store *store)
{
    return (cop_memory_level)cop__load_relaxed(&store->manager.level);
}

const char *
cop_memory_level_name(cop_memory_level level)
{
    static const char names[][8] = {"normal", "soft", "full"};
    return (unsigned)level <= COP_MEMORY_FULL ? names[level] : "unknown";
}

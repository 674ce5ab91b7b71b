/* SPDX-License-Identifier: MIT */
/* Giving memory back: the idea is in trim.h. */
#include "commit/trim.h"

#include "commit/combiner.h"
#include "reclaim/gate.h"
#include "tree/compact.h"

#define STEP_ITEMS 8192u     /* parked or freed in a step */
#define STEP_PAGES 8192u     /* looked at in a step; see cop__compact_step */
#define STEPS_LEAST 8u
#define ITEM_BYTES 64u       /* about: to bound how many steps parking may take while commits free more */
#define STALE_BYTES 96u      /* about: a name, and its share of a bucket */
#define FREE_LEAST (UINT64_C(4) << 20)
#define LARGE_LEAST (UINT64_C(2) << 20)
#define FREE_MORE (UINT64_C(1) << 20)
#define GAIN_SHARE 16u       /* a pass that gives back less of what is free was in vain */
#define REST_SHARE 4u        /* steps take a fifth of the time when commits make them, */
#define REST_HASTE 1u        /* and half of it while more is free than in use; */
#define STEP_MOST_NS UINT64_C(1000000) /* what a step took beyond that others did, who ran instead */
#define WALKS_MORE 2u        /* after what commits put back into chunks that are evacuated */
#define PASS_REST_NS UINT64_C(50000000)
#define VAIN_REST_NS UINT64_C(5000000000)
#define PASSES 3u            /* of one cop_memory_trim */
#define SETTLE_STEPS 256u

/* ---- the steps of a pass ---- */

static void
enter(cop_store *store, cop__trim_phase phase)
{
    store->trim.phase = phase;
    store->trim.steps =
        STEPS_LEAST + cop__pool_bytes(&store->tree.pool) / (ITEM_BYTES * (uint64_t)STEP_ITEMS);
}

/* False when all that was free is parked, or commits free more than is parked. */
static bool
park(cop_store *store)
{
    if (!cop__pool_trim(&store->tree.pool, STEP_ITEMS) || store->trim.steps == 0)
        return false;
    store->trim.steps--;
    return true;
}

/* Names of erased atoms, and what is only to be freed yet. False when there is nothing of it, or commits
 * make more than is freed. */
static bool
settle_first(cop_store *store)
{
    const cop__tree *tree = &store->tree;
    if ((tree->now.stale == 0 && cop__dead_doomed(&tree->dead) == 0) || store->trim.steps == 0)
        return false;
    store->trim.steps--;
    (void)cop__settle(store, STEP_ITEMS);
    return true;
}

/* What the step replaced is free again before the next one, if no reader stands in the way. */
static void
compact(cop_store *store)
{
    cop__tree *tree = &store->tree;
    cop__housekeep_begin(store);
    bool moved = cop__compact_step(tree, STEP_PAGES);
    bool refused = tree->failed != COP_OK;
    if (!cop__housekeep_end(store, moved) && (moved || refused))
        cop__compact_end(tree); /* for want of memory: not now */
    (void)cop__reclaim(store, true, STEP_ITEMS);
    (void)cop__pool_trim(&tree->pool, STEP_ITEMS);
    if (!tree->compaction.running &&
        (store->trim.walks-- == 0 || !cop__compact_again(tree)))
        enter(store, COP_TRIM_FINISH);
}

static void
finish(cop_store *store)
{
    cop__tree *tree = &store->tree;
    cop__compact_end(tree);
    cop__tree_shrink(tree);
    uint64_t gain = cop__pool_given_back(&tree->pool) - store->trim.given_back;
    store->trim.gained = gain > store->trim.left / GAIN_SHARE;
    store->trim.phase = COP_TRIM_IDLE;
}

static void
step(cop_store *store)
{
    cop__tree *tree = &store->tree;
    switch (store->trim.phase) {
    case COP_TRIM_IDLE:
        store->trim.given_back = cop__pool_given_back(&tree->pool);
        enter(store, COP_TRIM_PARK);
        /* fall through */
    case COP_TRIM_PARK:
        if (settle_first(store) || park(store))
            return;
        store->trim.left = cop__pool_free_bytes(&tree->pool);
        store->trim.walks = WALKS_MORE;
        enter(store, cop__compact_begin(tree) ? COP_TRIM_COMPACT : COP_TRIM_FINISH);
        return;
    case COP_TRIM_COMPACT:
        if (!park(store)) /* else pages would move to where they are to move from */
            compact(store);
        return;
    case COP_TRIM_FINISH:
        (void)cop__reclaim(store, true, STEP_ITEMS);
        if (!park(store))
            finish(store);
        return;
    }
}

static uint64_t
rest_share(const cop_store *store)
{
    const cop__pool *pool = &store->tree.pool;
    return cop__pool_free_bytes(pool) > cop__pool_bytes(pool) / 2 ? REST_HASTE : REST_SHARE;
}

bool
cop__trim_step(cop_store *store)
{
    uint64_t began = cop__clock_ns();
    step(store);
    bool more = store->trim.phase != COP_TRIM_IDLE;
    uint64_t now = cop__clock_ns(), took = now - began < STEP_MOST_NS ? now - began : STEP_MOST_NS;
    store->trim.next_ns = now + (more ? took * rest_share(store) : PASS_REST_NS);
    return more;
}

/* ---- when ---- */

/* Behind a pass in vain: not before more is free, or some time has passed. */
static bool
worth_a_pass(cop_store *store, uint64_t now)
{
    const cop__pool *pool = &store->tree.pool;
    uint64_t free = cop__pool_free_bytes(pool), used = cop__pool_bytes(pool) - free;
    uint64_t stale = store->tree.now.stale * STALE_BYTES; /* in use, and free after a sweep */
    stale = stale < used ? stale : used;
    free += stale;
    used -= stale;
    if (store->trim.gained) /* go on with it */
        return free > used / 16 + FREE_LEAST / 8;
    return free > used / 2 + FREE_LEAST &&
           (free > store->trim.left / 4 * 5 + FREE_MORE ||
            now >= store->trim.next_ns + VAIN_REST_NS);
}

bool
cop__trim_due(cop_store *store)
{
    uint64_t now = cop__clock_ns();
    return now >= store->trim.next_ns &&
           (store->trim.phase != COP_TRIM_IDLE || worth_a_pass(store, now));
}

/* Large values come from the allocator one by one; when many have gone, it is asked to give back what it keeps,
 * by whoever gives the right back. */
static void
note_large(cop_store *store)
{
    const cop__pool *pool = &store->tree.pool;
    uint64_t large = cop__load_relaxed(&pool->values.large_bytes) +
                     cop__load_relaxed(&pool->names.large_bytes);
    cop__trim *trim = &store->trim;
    if (large >= trim->large) {
        trim->large = large;
    } else if (trim->large - large > large / 2 + LARGE_LEAST) {
        trim->large = large;
        trim->purge = true;
    }
}

/* While chunks are evacuated, what this commit freed is parked: else the next one would fill them again. */
void
cop__trim_committed(cop_store *store)
{
    note_large(store);
    if (store->trim.phase >= COP_TRIM_COMPACT)
        (void)cop__pool_trim(&store->tree.pool, STEP_ITEMS);
    if (cop__trim_due(store))
        (void)cop__trim_step(store);
}

void
cop__trim_some(cop_store *store, unsigned steps)
{
    note_large(store);
    while (steps-- > 0 && cop__trim_due(store)) {
        (void)cop__trim_step(store);
        if (store->trim.phase != COP_TRIM_IDLE)
            store->trim.next_ns = 0; /* there is nothing else to do */
        if (!cop__batcher_gathering(store))
            cop__combine(store, 1); /* but for this */
    }
}

/* ---- by hand ---- */

/* One pass, the right given back between its steps. */
static void
pass(cop_store *store)
{
    bool more = true;
    while (more) {
        (void)cop__right_wait(store, COP_FOREVER); /* COP_OK, then */
        more = cop__trim_step(store);
        cop__right_leave(store);
    }
}

static void
settle(cop_store *store)
{
    (void)cop__right_wait(store, COP_FOREVER);
    cop__settle_all(store, SETTLE_STEPS, STEP_ITEMS);
    cop__right_leave(store);
}

cop_status
cop_memory_trim(cop_store *store, uint64_t *given_back)
{
    cop_status status = cop__store_may_wait(store);
    if (given_back != NULL)
        *given_back = 0;
    if (status != COP_OK)
        return status;
    struct cop__gate *gate = store->gate;
    cop__gate_use(gate);
    settle(store);
    uint64_t before = cop__pool_given_back(&store->tree.pool), last, now = before;
    unsigned i = 0;
    do {
        last = now;
        pass(store);
        now = cop__pool_given_back(&store->tree.pool);
    } while (now != last && ++i < PASSES);
    cop__memory_purge(store->memory);
    if (given_back != NULL)
        *given_back = now - before;
    cop__gate_end_use(gate);
    return COP_OK;
}

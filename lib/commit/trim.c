/* SPDX-License-Identifier: MIT */
/* Giving memory back: the idea is in trim.h. */
#include "commit/trim.h"

#include "commit/combiner.h"
#include "reclaim/gate.h"
#include "tree/compact.h"

#define STEP_ITEMS 8192u     /* parked or freed in a step */
#define STEP_PAGES 8192u     /* looked at in a step; see cop__compact_step */
#define ITEM_BYTES 64u       /* about: to bound how many steps parking may take while commits free more */
#define FREE_LEAST (UINT64_C(8) << 20)
#define FREE_MORE (UINT64_C(1) << 20)
#define REST_SHARE 4u        /* steps take a fifth of the time when commits make them */
#define PASS_REST_NS UINT64_C(250000000)
#define SOME_STEPS 8u
#define PASSES 3u            /* of one cop_memory_trim */
#define SETTLE_STEPS 256u

/* ---- the steps of a pass ---- */

static void
enter(cop_store *store, cop__trim_phase phase)
{
    store->trim.phase = phase;
    store->trim.steps =
        4 + cop__pool_free_bytes(&store->tree.pool) / (ITEM_BYTES * (uint64_t)STEP_ITEMS);
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

/* What the step replaced is free again before the next one, if no reader stands in the way. */
static void
compact(cop_store *store)
{
    cop__tree *tree = &store->tree;
    cop__housekeep_begin(store);
    bool moved = cop__compact_step(tree, STEP_PAGES);
    bool refused = tree->failed != COP_OK;
    if (!cop__housekeep_end(store, moved) && (moved || refused))
        tree->compaction.running = false; /* for want of memory: not now */
    (void)cop__reclaim(store, true, STEP_ITEMS);
    if (!tree->compaction.running)
        enter(store, COP_TRIM_FINISH);
}

static void
finish(cop_store *store)
{
    cop__tree *tree = &store->tree;
    cop__compact_end(tree);
    cop__tree_shrink(tree);
    store->trim.phase = COP_TRIM_IDLE;
    store->trim.left = cop__pool_free_bytes(&tree->pool);
}

static void
step(cop_store *store)
{
    cop__tree *tree = &store->tree;
    switch (store->trim.phase) {
    case COP_TRIM_IDLE:
        enter(store, COP_TRIM_PARK);
        /* fall through */
    case COP_TRIM_PARK:
        if (!park(store))
            enter(store, cop__compact_begin(tree) ? COP_TRIM_COMPACT : COP_TRIM_FINISH);
        return;
    case COP_TRIM_COMPACT:
        if (!park(store)) /* else pages would move to where they are to move from */
            compact(store);
        return;
    default:
        (void)cop__reclaim(store, true, STEP_ITEMS);
        if (!park(store))
            finish(store);
        return;
    }
}

bool
cop__trim_step(cop_store *store)
{
    uint64_t began = cop__clock_ns();
    step(store);
    bool more = store->trim.phase != COP_TRIM_IDLE;
    uint64_t now = cop__clock_ns();
    store->trim.next_ns = now + (more ? (now - began) * REST_SHARE : PASS_REST_NS);
    return more;
}

/* ---- when ---- */

bool
cop__trim_due(cop_store *store)
{
    const cop__pool *pool = &store->tree.pool;
    if (store->trim.phase == COP_TRIM_IDLE) {
        uint64_t free = cop__pool_free_bytes(pool), used = cop__pool_bytes(pool) - free;
        if (free < store->trim.left)
            store->trim.left = free;
        if (free < used / 2 + FREE_LEAST || free < store->trim.left / 4 * 5 + FREE_MORE)
            return false;
    }
    return cop__clock_ns() >= store->trim.next_ns;
}

void
cop__trim_some(cop_store *store)
{
    for (unsigned i = 0; i < SOME_STEPS && cop__trim_due(store); i++) {
        (void)cop__trim_step(store);
        if (store->trim.phase != COP_TRIM_IDLE)
            store->trim.next_ns = 0; /* there is nothing else to do */
    }
}

/* ---- by hand ---- */

/* One pass, the right given back between its steps. */
static cop_status
pass(cop_store *store)
{
    bool more = true;
    while (more) {
        cop_status status = cop__right_wait(store, COP_FOREVER);
        if (status != COP_OK)
            return status;
        more = cop__trim_step(store);
        cop__right_leave(store);
    }
    return COP_OK;
}

static cop_status
settle(cop_store *store, uint64_t *given_back)
{
    cop_status status = cop__right_wait(store, COP_FOREVER);
    if (status != COP_OK)
        return status;
    cop__settle_all(store, SETTLE_STEPS, STEP_ITEMS);
    *given_back = cop__pool_given_back(&store->tree.pool);
    cop__right_leave(store);
    return COP_OK;
}

cop_status
cop_memory_trim(cop_store *store, uint64_t *given_back)
{
    uint64_t before = 0, last = 0, now = 0;
    cop_status status = cop__store_usable(store);
    if (status == COP_OK && cop__evaluating)
        status = COP_E_IN_EVALUATION;
    if (given_back != NULL)
        *given_back = 0;
    if (status != COP_OK)
        return status;
    struct cop__gate *gate = store->gate;
    cop__gate_use(gate);
    status = settle(store, &before);
    now = before;
    for (unsigned i = 0; status == COP_OK && i < PASSES; i++) {
        last = now;
        status = pass(store);
        now = cop__pool_given_back(&store->tree.pool);
        if (now == last)
            break;
    }
    cop__memory_purge(store->memory);
    if (given_back != NULL)
        *given_back = now - before;
    cop__gate_end_use(gate);
    return status;
}

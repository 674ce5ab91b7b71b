/* SPDX-License-Identifier: MIT */
/* The pool that helps a store. */
#include <coppice/effect.h>

#include "commit/combiner.h"
#include "reclaim/gate.h"
#include "watch/room.h"
#include "workers/region.h"

void
cop__store_pool_has_threads(void *context)
{
    cop_store *store = context;
    cop__effects_has_threads(store);
    cop__batcher_pool_changed(store, false);
    cop__watch_pool_changed(cop__load_acquire(&store->watch));
}

cop_status
cop_store_set_pool(cop_store *store, cop_pool *pool)
{
    cop_status status = cop__store_may_wait(store);
    if (status != COP_OK)
        return status;
    struct cop__gate *gate = store->gate;
    cop__gate_use(gate);
    cop__region *region = cop__region_open(pool);
    if (region == NULL && pool != NULL)
        status = COP_E_MEMORY;
    if (status == COP_OK) {
        (void)cop__right_wait(store, COP_FOREVER);
        status = cop__store_usable(store); /* else closing has let the pool go already */
        if (status == COP_OK) {
            cop__region *had = store->graph.region;
            store->graph.region = region;
            region = had;
            cop__effects_set_pool(store, pool);
        }
        cop__right_leave(store);
        cop__region_close(region);
        cop__batcher_pool_changed(store, true);
        cop__watch_pool_changed(cop__load_acquire(&store->watch));
    }
    cop__gate_end_use(gate);
    return status;
}

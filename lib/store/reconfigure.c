/* SPDX-License-Identifier: MIT */
/*
 * Options of an open store. They are changed under both the commit right and snapshot_lock, so that
 * the holder of either may read them.
 */
#include "commit/combiner.h"
#include "history/room.h"
#include "monitor/monitor.h"
#include "reclaim/gate.h"
#include "reclaim/memory_limit.h"
#include "store/options_internal.h"
#include "store/relieve.h"

static void
copy_out(cop_store *store, cop_options *options)
{
    pthread_mutex_lock(&store->snapshot_lock);
    *options = store->options;
    pthread_mutex_unlock(&store->snapshot_lock);
    memset(&options->allocator, 0, sizeof options->allocator);
    options->log = NULL;
    options->log_context = NULL;
    options->log_destroy = NULL;
}

cop_status
cop_store_options(cop_store *store, cop_options *options)
{
    cop_status status = cop__options_known(options, NULL);
    if (status == COP_OK)
        status = cop__store_usable(store);
    if (status == COP_OK)
        copy_out(store, options);
    return status;
}

/* Needs the right. */
static cop_status
change(cop_store *store, const cop_options *next, cop_error *error)
{
    cop_options options = *next;
    if (options.memory_limit_bytes == 0)
        options.memory_limit_bytes = cop__memory_default_limit();
    size_t fixed = cop__options_fixed(&store->options, &options);
    if (fixed < cop_options_count())
        return cop__fail(error, COP_E_STATE, "%s cannot be changed while the store is open",
                         cop_options_info(fixed)->name);
    bool measure = options.performance_monitor != 0;
    if (measure != (store->options.performance_monitor != 0) &&
        cop__monitor_switch(store, measure) != COP_OK)
        return cop__fail(error, COP_E_MEMORY, "no memory to measure commits");
    if (cop__history_configure(store, &options) != COP_OK)
        return cop__fail(error, COP_E_MEMORY, "no memory for a history");
    pthread_mutex_lock(&store->snapshot_lock);
    cop__options_copy_live(&store->options, &options);
    pthread_mutex_unlock(&store->snapshot_lock);
    cop__memory_set_limit(store->memory, options.memory_limit_bytes);
    cop__relieve_limit(store);
    cop__monitor_budget(store);
    cop__batcher_configure(store);
    cop__handles_configure(store);
    cop__combine(store, UINT32_MAX); /* what was gathered for another window */
    return COP_OK;
}

cop_status
cop_store_reconfigure(cop_store *store, const cop_options *options, uint64_t deadline,
                      cop_error *error)
{
    cop_status status = cop_options_check(options, error);
    if (status != COP_OK)
        return status;
    status = cop__store_may_wait(store);
    if (status != COP_OK)
        return cop__fail(error, status, "%s", cop_status_message(status));
    struct cop__gate *gate = store->gate;
    cop__gate_use(gate);
    status = cop__right_wait(store, deadline);
    if (status == COP_OK) {
        status = change(store, options, error);
        cop__right_leave(store);
    } else {
        (void)cop__fail(error, status, "%s", cop_status_message(status));
    }
    cop__gate_end_use(gate);
    return status;
}

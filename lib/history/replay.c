/* SPDX-License-Identifier: MIT */
/*
 * Replay: kept versions shown one after the other, at the pace at which they were made or another
 * one.
 *
 * A replay holds the version that it has shown last; the next one is looked for when it is due, so
 * what is pruned meanwhile is passed over, and its changes are part of the next step. The thread
 * that runs it sleeps on `stopped`, a futex word. One thread at a time runs a replay; any may stop
 * it.
 */
#include <math.h>

#include "history/use.h"
#include "reclaim/gate.h"
#include "watch/watch.h"

struct cop_replay {
    cop_store *store;
    struct cop__gate *gate; /* in use until it is closed */
    cop_history_replay_options options;
    const cop_snapshot *shown; /* held; NULL: nothing yet */
    uint64_t next;             /* the version to look for */
    uint64_t began_ns,
        first_ns;      /* CLOCK_MONOTONIC of the first step; CLOCK_REALTIME of its version */
    uint64_t shown_ns; /* of the last step */
    _Atomic uint32_t stopped;
};

/* ---- opening and closing ---- */

static cop_status
options_take(const cop_history_replay_options *given, cop_history_replay_options *options,
             cop_error *error)
{
    const cop_history_replay_options init = COP_HISTORY_REPLAY_OPTIONS_INIT;
    *options = init;
    if (given == NULL)
        return COP_OK;
    if (given->size < sizeof given->size || given->size > sizeof *options)
        return cop__fail(error, COP_E_INVALID, "the options' size is none that this version knows");
    memcpy(options, given, given->size);
    if (!(options->speed >= 0) || isinf(options->speed))
        return cop__fail(error, COP_E_INVALID, "speed is a number, 0 or more");
    return COP_OK;
}

cop_status
cop_history_replay_open(cop_store *store, const cop_history_replay_options *given,
                        cop_replay **replay, cop_error *error)
{
    cop_history_replay_options options;
    *replay = NULL;
    cop_status status = cop__store_usable(store);
    if (status != COP_OK)
        return cop__fail(error, status, "%s", cop_status_message(status));
    status = options_take(given, &options, error);
    if (status != COP_OK)
        return status;
    cop__gate_use(store->gate);
    cop_replay *r = cop__memory_zalloc(store->memory, COP_MEMORY_HISTORY, sizeof *r, 16);
    if (r == NULL) {
        cop__gate_end_use(store->gate);
        return cop__fail(error, COP_E_MEMORY, "%s", cop_status_message(COP_E_MEMORY));
    }
    r->store = store;
    r->gate = store->gate;
    r->options = options;
    r->next = options.from;
    *replay = r;
    return COP_OK;
}

void
cop_history_replay_stop(cop_replay *replay)
{
    cop__store_seq_cst(&replay->stopped, 1u);
    cop__futex_wake(&replay->stopped, INT32_MAX);
}

void
cop_history_replay_close(cop_replay *replay)
{
    if (replay == NULL || cop__store_usable(replay->store) == COP_E_FORKED)
        return;
    struct cop__gate *gate = replay->gate;
    cop__history_let_go(replay->shown);
    cop__memory_free(replay->store->memory, COP_MEMORY_HISTORY, replay, sizeof *replay, 16);
    cop__gate_end_use(gate);
}

/* ---- when ---- */

static uint64_t
due_of(const cop_replay *r, const cop_history_entry *entry)
{
    if (r->shown == NULL)
        return 0;
    if (r->options.interval_ns != 0)
        return r->shown_ns + r->options.interval_ns;
    if (r->options.speed == 0 || entry->time_ns <= r->first_ns)
        return 0;
    double wait = (double)(entry->time_ns - r->first_ns) / r->options.speed;
    return wait < 9e18 ? r->began_ns + (uint64_t)wait : COP_FOREVER;
}

cop_status
cop_history_replay_due(cop_replay *replay, uint64_t *due_ns)
{
    cop_history_entry entry;
    cop_status status = cop_history_next(replay->store, replay->next, &entry);
    if (status == COP_OK && entry.version > replay->options.to)
        status = COP_E_ABSENT;
    *due_ns = status == COP_OK ? due_of(replay, &entry) : COP_FOREVER;
    return status;
}

/* ---- one step ---- */

static int
show(cop_replay *r, const cop_snapshot *now, const cop_history_entry *entry,
     cop_history_replay_function function, void *context)
{
    cop__watch_list *list = NULL;
    if (r->shown != NULL)
        list = cop__watch_list_between(r->store->memory, (cop__diff_pair){r->shown, now}, NULL);
    cop_watch_batch batch = {
        .from = r->shown != NULL ? cop_snapshot_version(r->shown) : 0,
        .to = entry->version,
        .gap = list == NULL,
        .count = list != NULL ? list->count : 0,
        .now = now,
        .before = r->shown,
        .held_ = {NULL, NULL, NULL, list},
    };
    int answer = function(context, entry, &batch);
    cop__watch_list_drop(list);
    return answer;
}

/* Takes over the hold. What the function answers. */
static int
step(cop_replay *r, const cop_history_entry *entry, const cop_snapshot *now,
     cop_history_replay_function function, void *context)
{
    uint64_t time = cop__clock_ns();
    if (r->shown == NULL) {
        r->began_ns = time;
        r->first_ns = entry->time_ns;
    }
    int answer = show(r, now, entry, function, context);
    cop__history_let_go(r->shown);
    r->shown = now;
    r->shown_ns = time;
    r->next = entry->version + 1;
    return answer;
}

/* ---- running ---- */

/* It is not due. COP_E_TIMEOUT: nor before the deadline. */
static cop_status
wait_until(cop_replay *r, uint64_t due, uint64_t now, uint64_t deadline)
{
    if (now >= deadline)
        return COP_E_TIMEOUT;
    cop__futex_wait(&r->stopped, 0u, due < deadline ? due : deadline);
    return COP_OK;
}

static cop_status
run(cop_replay *r, uint64_t deadline, cop_history_replay_function function, void *context)
{
    cop_status status = COP_OK;
    while (status == COP_OK && cop__load_seq_cst(&r->stopped) == 0) {
        cop_history_entry entry;
        const cop_snapshot *next;
        status = cop__history_hold_next(r->store, r->next, r->options.to, &entry, &next);
        if (status != COP_OK)
            return status == COP_E_ABSENT ? COP_OK : status;
        uint64_t due = due_of(r, &entry), now = cop__clock_ns();
        if (due > now) {
            cop__history_let_go(next); /* it may be pruned meanwhile */
            status = wait_until(r, due, now, deadline);
        } else if (step(r, &entry, next, function, context) != 0) {
            status = COP_E_CANCELLED;
        }
    }
    return status == COP_OK ? COP_E_CANCELLED : status;
}

cop_status
cop_history_replay_run(cop_replay *replay, uint64_t deadline, cop_history_replay_function function,
                       void *context)
{
    cop_status status = cop__store_usable(replay->store);
    if (status == COP_OK && cop__evaluating)
        status = COP_E_IN_EVALUATION;
    return status == COP_OK ? run(replay, deadline, function, context) : status;
}

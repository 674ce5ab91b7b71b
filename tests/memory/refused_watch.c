/* SPDX-License-Identifier: MIT */
/* Without memory: watchers and history. */
#include "tests/memory/refused.h"

#include <poll.h>

/* --- watchers ---------------------------------------------------------------------------- */

static cop_status
watch_open(world *w)
{
    return cop_watch_open(w->store, P("big/*/n"), NULL, NULL, NULL, (cop_watch **)&w->made, NULL);
}

static void
told(void *context, cop_watch *watch, cop_watch_batch *batch)
{
    world *w = context;
    cop_change change;

    (void)watch;
    while (cop_watch_change(batch, &change))
        w->figure++;
    if (batch->gap)
        w->figure++;
}

static cop_status
watch_open_function(world *w)
{
    return cop_watch_open(w->store, P("tree/1"), NULL, told, w, (cop_watch **)&w->made, NULL);
}

static cop_status
watch_open_since(world *w)
{
    cop_watch_options options = COP_WATCH_OPTIONS_INIT;

    options.since = 0;
    return cop_watch_open(w->store, P("tree"), &options, NULL, NULL, (cop_watch **)&w->made, NULL);
}

static cop_status
watch_open_atom(world *w)
{
    return cop_watch_open_atom(w->store, w->number, NULL, NULL, NULL, (cop_watch **)&w->made, NULL);
}

static void
ready_watch(world *w)
{
    REQUIRE_OK(watch_open(w));
}

static cop_status
watch_close(world *w)
{
    cop_watch_close(w->made);
    w->made = NULL;
    return COP_OK;
}

static void
done_watch(world *w)
{
    (void)watch_close(w);
}

static void
ready_changes(world *w)
{
    for (int64_t n = 10; n < 14; n++)
        world_set(w, n);
}

/* What there is to tell is told, or a gap, or it is refused and told the next time. */
static cop_status
watch_next(world *w)
{
    cop_watch_batch batch;
    cop_change change;
    unsigned changes = 0;
    cop_status status = cop_watch_next(w->watch, cop_deadline_in_ms(2000), &batch);

    if (status != COP_OK) {
        REQUIRE(batch.count == 0 && batch.now == NULL);
        return status;
    }
    while (cop_watch_change(&batch, &change))
        changes++;
    REQUIRE(batch.gap || changes == batch.count);
    cop_watch_rewind(&batch);
    REQUIRE(batch.gap || cop_watch_change(&batch, &change));
    w->figure = batch.to;
    cop_watch_batch_end(&batch);
    return COP_OK;
}

/* What was not told yet, is. */
static void
done_next(world *w)
{
    REQUIRE(w->figure > 0);
    while (w->figure < cop_store_version(w->store))
        REQUIRE_OK(watch_next(w));
}

/* Told by whoever polls. */
static void
ready_function(world *w)
{
    REQUIRE_OK(watch_open_function(w));
    ready_txn(w);
    REQUIRE_OK(cop_txn_clear_at(w->txn, P("tree"), NULL));
    done_commit(w);
}

static cop_status
told_by_poll(world *w)
{
    return cop_store_poll(w->store);
}

static void
done_told(world *w)
{
    if (w->figure == 0) {
        REQUIRE(poll(NULL, 0, 12) == 0);
        world_rest(w);
    }
    REQUIRE(w->figure > 0);
    done_watch(w);
    world_rest(w);
}

static cop_status
watch_fd(world *w)
{
    int fd;

    return cop_watch_fd(w->made, &fd);
}

static cop_status
watch_switches(world *w)
{
    cop_watch_pause(w->made);
    cop_watch_resume(w->made);
    REQUIRE(cop_watch_told(w->made) > 0);
    return COP_OK;
}

static cop_status
scope_add_watch(world *w)
{
    return cop_scope_add_watch(w->scope, w->made);
}

static void
done_scoped(world *w)
{
    w->made = NULL; /* the scope's */
}

/* --- history ----------------------------------------------------------------------------- */

static cop_status
keep(world *w)
{
    return cop_history_keep(w->store, P("second"), NULL, NULL);
}

static cop_status
label(world *w)
{
    return cop_history_label(w->store, w->kept, P("another name"), NULL);
}

static cop_status
pin(world *w)
{
    return cop_history_pin(w->store, w->kept);
}

static void
ready_pinned(world *w)
{
    REQUIRE_OK(pin(w));
}

static cop_status
unpin(world *w)
{
    return cop_history_unpin(w->store, w->kept);
}

static cop_status
drop(world *w)
{
    return cop_history_drop(w->store, w->kept);
}

static cop_status
clear(world *w)
{
    uint64_t dropped;

    return cop_history_clear(w->store, &dropped);
}

static cop_status
finds(world *w)
{
    cop_history_entry entry;

    REQUIRE_OK(cop_history_next(w->store, 0, &entry));
    REQUIRE_OK(cop_history_find(w->store, w->kept, &entry));
    REQUIRE_OK(cop_history_find_label(w->store, P("first"), &entry));
    return cop_history_find_time(w->store, UINT64_MAX, &entry);
}

static cop_status
take(world *w)
{
    const cop_snapshot *snapshot = NULL;
    cop_status status = cop_history_take(w->store, w->kept, &snapshot);

    w->made = (void *)(uintptr_t)snapshot;
    return status;
}

static void
done_take(world *w)
{
    cop_snapshot_drop(w->made);
    w->made = NULL;
}

static cop_status
compare(world *w)
{
    cop_history_difference difference;

    return cop_history_compare(w->store, w->kept, cop_store_version(w->store), &difference);
}

static void
ready_different(world *w)
{
    ready_txn(w);
    REQUIRE_OK(cop_txn_clear_at(w->txn, P("tree"), NULL));
    REQUIRE_OK(cop_txn_erase_at(w->txn, P("big/item-03"), NULL));
    done_commit(w);
}

static cop_status
restore(world *w)
{
    return cop_history_restore(w->store, w->kept, COP_FOREVER, NULL, NULL);
}

static cop_status export(world *w)
{
    uint64_t versions;

    return cop_history_export(w->store, refused_sink, &w->figure, &versions, NULL);
}

static struct {
    char bytes[32768];
    size_t used;
} file;

static int
gather(void *context, const char *bytes, size_t n)
{
    (void)context;
    REQUIRE(file.used + n <= sizeof file.bytes);
    memcpy(file.bytes + file.used, bytes, n);
    file.used += n;
    return 0;
}

static void
ready_file(world *w)
{
    uint64_t versions;

    ready_different(w);
    REQUIRE_OK(keep(w));
    file.used = 0;
    REQUIRE_OK(cop_history_export(w->store, gather, NULL, &versions, NULL));
    REQUIRE(versions == 2);
}

/* The versions made before there was no memory for more stay, as they are said to. */
static cop_status
import(world *w)
{
    return cop_history_import(w->store, file.bytes, file.used, NULL, NULL);
}

static cop_status
replay_open(world *w)
{
    return cop_history_replay_open(w->store, NULL, (cop_replay **)&w->made, NULL);
}

static int
shown(void *context, const cop_history_entry *entry, cop_watch_batch *batch)
{
    (void)entry;
    *(uint64_t *)context += batch->gap ? 1000 : batch->count;
    return 0;
}

static void
ready_replay(world *w)
{
    cop_history_replay_options options = COP_HISTORY_REPLAY_OPTIONS_INIT;

    ready_different(w);
    REQUIRE_OK(keep(w));
    options.speed = 0;
    REQUIRE_OK(cop_history_replay_open(w->store, &options, (cop_replay **)&w->made, NULL));
}

/* A version for which there is no memory is a gap. */
static cop_status
replay_run(world *w)
{
    w->figure = 0;
    return cop_history_replay_run(w->made, COP_FOREVER, shown, &w->figure);
}

static cop_status
replay_due(world *w)
{
    uint64_t due;

    return cop_history_replay_due(w->made, &due);
}

static cop_status
replay_stop(world *w)
{
    cop_history_replay_stop(w->made);
    return COP_OK;
}

static cop_status
replay_close(world *w)
{
    cop_history_replay_close(w->made);
    w->made = NULL;
    return COP_OK;
}

static void
done_replay(world *w)
{
    (void)replay_close(w);
}

/* Kept with each commit: what it should have kept and could not is counted, and the commit stands.
 */
static void
ready_keeping(world *w)
{
    cop_options options = COP_OPTIONS_INIT;

    REQUIRE_OK(cop_store_options(w->store, &options));
    options.history_keep = 2;
    REQUIRE_OK(cop_store_reconfigure(w->store, &options, COP_FOREVER, NULL));
}

static cop_status
commit_kept(world *w)
{
    cop_value value = cop_i64(70);
    cop_txn *txn;
    cop_status status = cop_txn_begin(w->store, &txn);

    if (status == COP_OK)
        status = cop_txn_set(txn, w->number, &value);
    if (status == COP_OK)
        return cop_txn_commit(txn, NULL, NULL);
    cop_txn_cancel(txn);
    return status;
}

static const refused_call calls[] = {
    {"cop_watch_open", "asked", watch_open, 0, NULL, done_watch, 0},
    {"cop_watch_open", "told", watch_open_function, 0, NULL, done_watch, 0},
    {"cop_watch_open", "since", watch_open_since, 0, NULL, done_watch, 0},
    {"cop_watch_open_atom", NULL, watch_open_atom, 0, NULL, done_watch, 0},
    {"cop_watch_close", NULL, watch_close, ASKS_NOTHING, ready_watch, NULL, 0},
    {"cop_watch_next", NULL, watch_next, OWN_WAY, ready_changes, done_next, 0},
    {"cop_watch_change", NULL, watch_next, OWN_WAY, ready_changes, done_next, 0},
    {"cop_watch_rewind", NULL, watch_next, OWN_WAY, ready_changes, done_next, 0},
    {"cop_watch_batch_end", NULL, watch_next, OWN_WAY, ready_changes, done_next, 0},
    {"cop_store_poll", "a function is told", told_by_poll, BY_PARTS, ready_function, done_told, 0},
    {"cop_watch_fd", NULL, watch_fd, ASKS_NOTHING, ready_watch, done_watch, 0},
    {"cop_watch_pause", NULL, watch_switches, ASKS_NOTHING, ready_watch, done_watch, 0},
    {"cop_watch_resume", NULL, watch_switches, ASKS_NOTHING, ready_watch, done_watch, 0},
    {"cop_watch_told", NULL, watch_switches, ASKS_NOTHING, ready_watch, done_watch, 0},
    {"cop_scope_add_watch", NULL, scope_add_watch, 0, ready_watch, done_scoped, 0},
    {"cop_history_keep", NULL, keep, 0, NULL, NULL, 0},
    {"cop_history_label", NULL, label, 0, NULL, NULL, 0},
    {"cop_history_pin", NULL, pin, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_history_unpin", NULL, unpin, ASKS_NOTHING, ready_pinned, NULL, 0},
    {"cop_history_drop", NULL, drop, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_history_clear", NULL, clear, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_history_next", NULL, finds, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_history_find", NULL, finds, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_history_find_label", NULL, finds, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_history_find_time", NULL, finds, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_history_take", NULL, take, ASKS_NOTHING, NULL, done_take, 0},
    {"cop_history_compare", NULL, compare, ASKS_NOTHING, ready_different, NULL, 0},
    {"cop_history_restore", NULL, restore, HEALS, ready_different, NULL, 0},
    {"cop_history_export", NULL, export, 0, ready_file, NULL, 0},
    {"cop_history_import", NULL, import, HEALS | BY_PARTS | OWN_WAY, ready_file, NULL, 0},
    {"cop_history_replay_open", NULL, replay_open, 0, NULL, done_replay, 0},
    {"cop_history_replay_run", NULL, replay_run, 0, ready_replay, done_replay, 0},
    {"cop_history_replay_due", NULL, replay_due, ASKS_NOTHING, ready_replay, done_replay, 0},
    {"cop_history_replay_stop", NULL, replay_stop, ASKS_NOTHING, ready_replay, done_replay, 0},
    {"cop_history_replay_close", NULL, replay_close, ASKS_NOTHING, ready_replay, NULL, 0},
    {"cop_txn_commit", "that the history keeps", commit_kept, HEALS | OWN_WAY, ready_keeping, NULL,
     0},
};

int
main(void)
{
    return refused_main(calls, sizeof calls / sizeof *calls);
}

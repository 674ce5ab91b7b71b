/* SPDX-License-Identifier: MIT */
/* The kept versions: by version, by last use, and which one goes first. The argument is in history.h. */
#include "history/history.h"

/* ---- by version ---- */

static size_t
count_of(const cop__history *history)
{
    return (size_t)atomic_load_explicit(&((cop__history *)(uintptr_t)history)->count,
                                        memory_order_relaxed);
}

cop__kept *
cop__kept_at(const cop__history *history, size_t place)
{
    return place < count_of(history) ? history->entry[history->first + place] : NULL;
}

size_t
cop__kept_place(const cop__history *history, uint64_t version)
{
    size_t low = 0, high = count_of(history);
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (history->entry[history->first + middle]->version < version)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

cop__kept *
cop__kept_find(const cop__history *history, uint64_t version)
{
    cop__kept *entry = cop__kept_at(history, cop__kept_place(history, version));
    return entry != NULL && entry->version == version ? entry : NULL;
}

/* Room for one more behind the last: what stands there moves to the front when that is half empty. */
static bool
array_reserve(cop__history *history)
{
    size_t count = count_of(history);
    if (history->first + count < history->capacity)
        return true;
    if (history->first > history->capacity / 2) {
        memmove(history->entry, history->entry + history->first, count * sizeof *history->entry);
        history->first = 0;
        return true;
    }
    return cop__memory_grow(history->store->memory, COP_MEMORY_HISTORY, &history->entry,
                            &history->capacity, history->capacity + 1, sizeof *history->entry);
}

/* The shorter side moves. */
static void
array_remove(cop__history *history, size_t place)
{
    cop__kept **entry = history->entry + history->first;
    size_t count = count_of(history);
    if (place < count / 2) {
        memmove(entry + 1, entry, place * sizeof *entry);
        history->first++;
    } else {
        memmove(entry + place, entry + place + 1, (count - place - 1) * sizeof *entry);
    }
    cop__store_relaxed(&history->count, (uint64_t)count - 1);
}

/* ---- by last use: those that are not pinned ---- */

static void
use_unlink(cop__history *history, cop__kept *entry)
{
    if (entry->before != NULL)
        entry->before->after = entry->after;
    else
        history->oldest_use = entry->after;
    if (entry->after != NULL)
        entry->after->before = entry->before;
    else
        history->newest_use = entry->before;
}

/* Behind another one; NULL: as the first. */
static void
use_link(cop__history *history, cop__kept *entry, cop__kept *before)
{
    entry->before = before;
    entry->after = before != NULL ? before->after : history->oldest_use;
    if (before != NULL)
        before->after = entry;
    else
        history->oldest_use = entry;
    if (entry->after != NULL)
        entry->after->before = entry;
    else
        history->newest_use = entry;
}

void
cop__kept_use(cop__history *history, cop__kept *entry)
{
    entry->used_ns = cop__realtime_ns();
    entry->turn = ++history->turns;
    if (entry->pinned)
        return;
    use_unlink(history, entry);
    use_link(history, entry, history->newest_use);
}

/* To where its last use was. */
static void
use_link_again(cop__history *history, cop__kept *entry)
{
    cop__kept *before = history->newest_use;
    while (before != NULL && before->turn > entry->turn)
        before = before->before;
    use_link(history, entry, before);
}

static void
pinned_add(cop__history *history, uint64_t n)
{
    cop__store_relaxed(&history->pinned, cop__load_relaxed(&history->pinned) + n);
}

void
cop__kept_pin(cop__history *history, cop__kept *entry, bool pinned)
{
    if (entry->pinned == pinned)
        return;
    entry->pinned = pinned;
    if (pinned)
        use_unlink(history, entry);
    else
        use_link_again(history, entry);
    pinned_add(history, pinned ? 1 : UINT64_MAX);
}

/* ---- coming and going ---- */

static cop__kept *
entry_new(cop__history *history, const cop_snapshot *snapshot)
{
    if (!array_reserve(history))
        return NULL;
    cop__kept *entry =
        cop__memory_zalloc(history->store->memory, COP_MEMORY_HISTORY, sizeof *entry, 16);
    if (entry == NULL)
        return NULL;
    entry->snapshot = snapshot;
    entry->version = cop_snapshot_version(snapshot);
    return entry;
}

cop__kept *
cop__kept_add(cop__history *history, const cop_snapshot *snapshot)
{
    size_t place = cop__kept_place(history, cop_snapshot_version(snapshot));
    cop__kept *entry = cop__kept_at(history, place);
    if (entry != NULL && entry->version == cop_snapshot_version(snapshot)) {
        /* two publications of one version are the same to a reader */
        (void)cop__snapshot_end_kept(snapshot);
        return entry;
    }
    entry = entry_new(history, snapshot);
    if (entry == NULL)
        return NULL;
    size_t count = count_of(history);
    cop__kept **at = history->entry + history->first + place;
    memmove(at + 1, at, (count - place) * sizeof *at);
    *at = entry;
    cop__store_relaxed(&history->count, (uint64_t)count + 1);
    entry->turn = ++history->turns;
    use_link(history, entry, history->newest_use);
    return entry;
}

void
cop__kept_remove(cop__history *history, cop__kept *entry)
{
    size_t place = cop__kept_place(history, entry->version);
    COP_ALWAYS(cop__kept_at(history, place) == entry);
    if (entry->pinned)
        pinned_add(history, UINT64_MAX);
    else
        use_unlink(history, entry);
    array_remove(history, place);
    entry->after = history->doomed;
    history->doomed = entry;
    history->doomed_bytes += cop__kept_bytes(entry);
}

void
cop__kept_free(cop__history *history, cop__kept *entry)
{
    cop__memory *memory = history->store->memory;
    cop__memory_free(memory, COP_MEMORY_HISTORY, entry->label, entry->label_length, 16);
    cop__memory_free(memory, COP_MEMORY_HISTORY, entry, sizeof *entry, 16);
}

uint64_t
cop__kept_bytes(const cop__kept *entry)
{
    return cop__load_relaxed(&((cop_snapshot *)(uintptr_t)entry->snapshot)->alone);
}

/* ---- bounds ---- */

cop__kept *
cop__kept_least_used(const cop__history *history)
{
    size_t count = count_of(history);
    const cop__kept *newest = count > 0 ? cop__kept_at(history, count - 1) : NULL;
    cop__kept *entry = history->oldest_use;
    return entry != NULL && entry == newest ? entry->after : entry;
}

/* What is thought to go with an entry: its own, and at least its share, since what two versions see goes
 * with the second one. The next scan tells. */
static void
bytes_less(cop__history *history, const cop__kept *entry)
{
    uint64_t less = cop__kept_bytes(entry), share = history->bytes / count_of(history);
    less = less > share ? less : share;
    history->bytes -= less < history->bytes ? less : history->bytes;
}

void
cop__kept_bound(cop__history *history)
{
    uint64_t known = cop__load_relaxed(&history->store->kept_bytes);
    uint64_t most = cop__load_relaxed(&history->max_count);
    uint64_t most_bytes = cop__load_relaxed(&history->max_bytes);
    if (known != history->bytes_known)
        history->bytes = history->bytes_known = known;
    while (count_of(history) > most || history->bytes > most_bytes) {
        cop__kept *entry = cop__kept_least_used(history);
        if (entry == NULL)
            return;
        bytes_less(history, entry);
        cop__kept_remove(history, entry);
        cop__store_relaxed(&history->pruned, cop__load_relaxed(&history->pruned) + 1);
    }
}

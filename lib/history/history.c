/* SPDX-License-Identifier: MIT */
/* What the header offers about kept versions. The argument is in history.h. */
#include "history/history.h"

#include <stdio.h>

#include "commit/combiner.h"
#include "history/use.h"
#include "reclaim/gate.h"
#include "tree/diff.h"
#include "tree/path.h"

/* ---- beginning and ending a call ---- */

cop_status
cop__history_begin(cop_store *store, cop__history **history)
{
    cop_status status = cop__store_usable(store);
    *history = NULL;
    if (status != COP_OK)
        return status;
    cop__gate_use(store->gate);
    *history = cop__load_acquire(&store->history);
    if (*history == NULL) {
        cop__gate_end_use(store->gate);
        return COP_E_ABSENT;
    }
    cop__history_lock(*history);
    return COP_OK;
}

void
cop__history_leave(cop_store *store, cop__history *history)
{
    cop__history_unlock(history);
    if (cop__load_seq_cst(&store->want_reclaim) != 0)
        cop__reclaim_soon(store);
    cop__gate_end_use(store->gate);
}

/* ---- labels ---- */

static cop_status
label_check(const char *label, size_t length, cop_error *error)
{
    size_t fault = 0;
    if (length > COP_HISTORY_LABEL_MAX)
        return cop__fail(error, COP_E_INVALID, "a label is at most %d bytes long",
                         COP_HISTORY_LABEL_MAX);
    if (!cop__utf8_valid(label, length, &fault))
        return cop__fail_at(error, COP_E_INVALID, fault, "a label is UTF-8: byte %zu is not",
                            fault);
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)label[i] < 0x20 || label[i] == 0x7f)
            return cop__fail_at(error, COP_E_INVALID, i, "a label has no control characters");
    return COP_OK;
}

/* The copy that an entry is to own; *copy NULL for none. */
static cop_status
label_copy(cop_store *store, const char *label, size_t length, char **copy)
{
    *copy = NULL;
    if (length == 0)
        return COP_OK;
    *copy = cop__memory_alloc(store->memory, COP_MEMORY_HISTORY, length, 16);
    if (*copy == NULL)
        return COP_E_MEMORY;
    memcpy(*copy, label, length);
    return COP_OK;
}

/* Swaps; the old one is what is left to free. */
static void
label_set(cop__kept *entry, char **label, size_t *length)
{
    char *old = entry->label;
    size_t old_length = entry->label_length;
    entry->label = *label;
    entry->label_length = *length;
    *label = old;
    *length = old_length;
}

static void
label_free(cop_store *store, char *label, size_t length)
{
    cop__memory_free(store->memory, COP_MEMORY_HISTORY, label, length, 16);
}

/* ---- keeping the newest ---- */

static cop_status
newest_hold(cop_store *store, const cop_snapshot **snapshot)
{
    cop_pin_t pin = cop_pin(store);
    *snapshot = pin.snapshot;
    if (pin.snapshot == NULL)
        return cop_pin_status();
    cop__snapshot_hold_kept(pin.snapshot);
    cop_unpin(pin);
    return COP_OK;
}

/* Under the lock. */
static cop_status
keep_newest(cop__history *history, char **label, size_t *length, uint64_t *version)
{
    const cop_snapshot *snapshot;
    if (cop__load_seq_cst(&history->off) != 0)
        return COP_E_STATE;
    cop_status status = newest_hold(history->store, &snapshot);
    if (status != COP_OK)
        return status;
    cop__kept *entry = cop__kept_add(history, snapshot);
    if (entry == NULL) {
        (void)cop__snapshot_end_kept(snapshot);
        return COP_E_MEMORY;
    }
    if (version != NULL)
        *version = entry->version;
    if (*length > 0)
        label_set(entry, label, length);
    cop__kept_use(history, entry);
    return COP_OK;
}

static cop_status
keep(cop_store *store, const char *label, size_t length, uint64_t *version)
{
    cop__history *history;
    char *copy;
    cop_status status = cop__history_of(store, &history);
    if (status != COP_OK)
        return status;
    status = label_copy(store, label, length, &copy);
    if (status != COP_OK)
        return status;
    cop__history_lock(history);
    status = keep_newest(history, &copy, &length, version);
    cop__history_unlock(history);
    label_free(store, copy, length);
    return status;
}

static cop_status
told(cop_error *error, cop_status status)
{
    return status == COP_OK ? COP_OK : cop__fail(error, status, "%s", cop_status_message(status));
}

cop_status
cop_history_keep(cop_store *store, const char *label, size_t length, uint64_t *version,
                 cop_error *error)
{
    cop_status status = cop__store_may_wait(store);
    if (status != COP_OK)
        return told(error, status);
    status = label_check(label, length, error);
    if (status != COP_OK)
        return status;
    cop__gate_use(store->gate);
    status = keep(store, label, length, version);
    cop__gate_end_use(store->gate);
    return status == COP_E_STATE ? cop__fail(error, status, "history.keep is off")
                                 : told(error, status);
}

/* Also an older one than the newest, if it is kept already. Under the lock. */
static cop_status
keep_import(cop__history *history, uint64_t version, cop__kept *as)
{
    cop__kept *entry = cop__kept_find(history, version);
    cop_status status = COP_OK;
    size_t none = 0;
    if (entry == NULL && cop_store_version(history->store) == version) {
        status = keep_newest(history, &as->label, &none, NULL);
        entry = cop__kept_find(history, version);
    }
    if (status != COP_OK || entry == NULL)
        return status; /* the latter: others wrote at once, and it was not to be kept by itself */
    if (as->label_length > 0)
        label_set(entry, &as->label, &as->label_length);
    cop__kept_pin(history, entry, entry->pinned || as->pinned);
    entry->imported_version = as->imported_version;
    entry->imported_ns = as->imported_ns;
    return COP_OK;
}

cop_status
cop__history_keep_import(cop_store *store, uint64_t version, const char *label, cop__kept *as)
{
    cop__history *history;
    cop_status status = label_check(label, as->label_length, NULL);
    if (status == COP_OK)
        status = cop__history_of(store, &history);
    if (status == COP_OK)
        status = label_copy(store, label, as->label_length, &as->label);
    if (status != COP_OK)
        return status;
    cop__history_lock(history);
    status = keep_import(history, version, as);
    cop__history_unlock(history);
    label_free(store, as->label, as->label_length);
    return status;
}

/* ---- one entry ---- */

static cop_status
set_label(cop_store *store, uint64_t version, char **label, size_t *length)
{
    cop__history *history;
    cop_status status = cop__history_begin(store, &history);
    if (status != COP_OK)
        return status;
    cop__kept *entry = cop__kept_find(history, version);
    if (entry != NULL)
        label_set(entry, label, length);
    cop__history_leave(store, history);
    return entry != NULL ? COP_OK : COP_E_ABSENT;
}

cop_status
cop_history_label(cop_store *store, uint64_t version, const char *label, size_t length,
                  cop_error *error)
{
    char *copy;
    cop_status status = cop__store_usable(store);
    if (status != COP_OK)
        return told(error, status);
    status = label_check(label, length, error);
    if (status != COP_OK)
        return status;
    cop__gate_use(store->gate); /* the memory of the labels */
    status = label_copy(store, label, length, &copy);
    if (status == COP_OK)
        status = set_label(store, version, &copy, &length);
    label_free(store, copy, length);
    cop__gate_end_use(store->gate);
    return told(error, status);
}

static cop_status
pin_set(cop_store *store, uint64_t version, bool pinned)
{
    cop__history *history;
    cop_status status = cop__history_begin(store, &history);
    if (status != COP_OK)
        return status;
    cop__kept *entry = cop__kept_find(history, version);
    if (entry != NULL)
        cop__kept_pin(history, entry, pinned);
    cop__history_leave(store, history);
    return entry != NULL ? COP_OK : COP_E_ABSENT;
}

cop_status
cop_history_pin(cop_store *store, uint64_t version)
{
    return pin_set(store, version, true);
}

cop_status
cop_history_unpin(cop_store *store, uint64_t version)
{
    return pin_set(store, version, false);
}

cop_status
cop_history_drop(cop_store *store, uint64_t version)
{
    cop__history *history;
    cop_status status = cop__history_begin(store, &history);
    if (status != COP_OK)
        return status;
    cop__kept *entry = cop__kept_find(history, version);
    if (entry != NULL)
        cop__kept_remove(history, entry);
    cop__history_drop_soon(history);
    cop__history_leave(store, history);
    return entry != NULL ? COP_OK : COP_E_ABSENT;
}

cop_status
cop_history_clear(cop_store *store, uint64_t *dropped)
{
    cop__history *history;
    uint64_t count = 0;
    cop_status status = cop__history_begin(store, &history);
    if (dropped != NULL)
        *dropped = 0;
    if (status != COP_OK)
        return status == COP_E_ABSENT ? COP_OK : status;
    for (size_t place = 0; cop__kept_at(history, place) != NULL;) {
        cop__kept *entry = cop__kept_at(history, place);
        if (entry->pinned) {
            place++;
            continue;
        }
        cop__kept_remove(history, entry);
        count++;
    }
    if (dropped != NULL)
        *dropped = count;
    cop__history_drop_soon(history);
    cop__history_leave(store, history);
    return COP_OK;
}

/* ---- finding ---- */

static void
describe(const cop__kept *kept, cop_history_entry *entry)
{
    *entry = (cop_history_entry){
        .version = kept->version,
        .time_ns = cop_snapshot_time(kept->snapshot),
        .used_ns = kept->used_ns,
        .bytes = cop__kept_bytes(kept),
        .pinned = kept->pinned,
        .imported_version = kept->imported_version,
        .imported_ns = kept->imported_ns,
        .label_length = kept->label_length,
    };
    if (kept->label_length > 0)
        memcpy(entry->label, kept->label, kept->label_length);
}

typedef struct lookup {
    uint64_t number; /* version or time */
    const char *label;
    size_t length;
} lookup;

typedef cop__kept *(*find_function)(const cop__history *history, const lookup *wish);

static cop_status
find(cop_store *store, find_function function, const lookup *wish, bool use,
     cop_history_entry *entry)
{
    cop__history *history;
    cop_status status = cop__history_begin(store, &history);
    if (status != COP_OK)
        return status;
    cop__kept *kept = function(history, wish);
    if (kept != NULL) {
        if (use)
            cop__kept_use(history, kept);
        describe(kept, entry);
    }
    cop__history_leave(store, history);
    return kept != NULL ? COP_OK : COP_E_ABSENT;
}

static cop__kept *
by_place(const cop__history *history, const lookup *wish)
{
    return cop__kept_at(history, cop__kept_place(history, wish->number));
}

static cop__kept *
by_version(const cop__history *history, const lookup *wish)
{
    return cop__kept_find(history, wish->number);
}

static cop__kept *
newest_where(const cop__history *history, bool (*fits)(const cop__kept *, const lookup *),
             const lookup *wish)
{
    for (size_t place = cop__kept_place(history, UINT64_MAX); place > 0; place--) {
        cop__kept *entry = cop__kept_at(history, place - 1);
        if (fits(entry, wish))
            return entry;
    }
    return NULL;
}

static bool
has_label(const cop__kept *entry, const lookup *wish)
{
    return entry->label_length == wish->length && wish->length > 0 &&
           memcmp(entry->label, wish->label, wish->length) == 0;
}

static cop__kept *
by_label(const cop__history *history, const lookup *wish)
{
    return newest_where(history, has_label, wish);
}

static bool
is_as_old(const cop__kept *entry, const lookup *wish)
{
    return cop_snapshot_time(entry->snapshot) <= wish->number;
}

static cop__kept *
by_time(const cop__history *history, const lookup *wish)
{
    return newest_where(history, is_as_old, wish);
}

cop_status
cop_history_next(cop_store *store, uint64_t version, cop_history_entry *entry)
{
    const lookup wish = {version, NULL, 0};
    return find(store, by_place, &wish, false, entry);
}

cop_status
cop_history_find(cop_store *store, uint64_t version, cop_history_entry *entry)
{
    const lookup wish = {version, NULL, 0};
    return find(store, by_version, &wish, true, entry);
}

cop_status
cop_history_find_label(cop_store *store, const char *label, size_t length, cop_history_entry *entry)
{
    const lookup wish = {0, label, length};
    return find(store, by_label, &wish, true, entry);
}

cop_status
cop_history_find_time(cop_store *store, uint64_t time_ns, cop_history_entry *entry)
{
    const lookup wish = {time_ns, NULL, 0};
    return find(store, by_time, &wish, true, entry);
}

cop_status
cop_history_take(cop_store *store, uint64_t version, const cop_snapshot **snapshot)
{
    cop__history *history;
    *snapshot = NULL;
    cop_status status = cop__history_begin(store, &history);
    if (status != COP_OK)
        return status;
    cop__kept *entry = cop__kept_find(history, version);
    if (entry == NULL) {
        status = COP_E_ABSENT;
    } else {
        if (COP_FAULT(history_pruned_used))
            *snapshot = entry->snapshot;
        else
            status = cop__snapshot_give(store, entry->snapshot, __builtin_return_address(0), snapshot);
        cop__kept_use(history, entry);
    }
    cop__history_leave(store, history);
    return status;
}

/* ---- for the room's own ---- */

/* The newest one too, though it is not kept. */
static cop_status
hold_newest(cop_store *store, uint64_t version, const cop_snapshot **snapshot)
{
    cop_pin_t pin = cop_pin(store);
    if (pin.snapshot == NULL)
        return cop_pin_status();
    cop_status status = COP_E_ABSENT;
    if (cop_snapshot_version(pin.snapshot) == version) {
        cop__snapshot_hold(pin.snapshot, COP_HELD_BY_LIBRARY);
        *snapshot = pin.snapshot;
        status = COP_OK;
    }
    cop_unpin(pin);
    return status;
}

cop_status
cop__history_hold(cop_store *store, uint64_t version, const cop_snapshot **snapshot)
{
    cop__history *history;
    *snapshot = NULL;
    cop_status status = cop__history_begin(store, &history);
    if (status == COP_OK) {
        cop__kept *entry = cop__kept_find(history, version);
        if (entry != NULL) {
            cop__snapshot_hold(entry->snapshot, COP_HELD_BY_LIBRARY);
            *snapshot = entry->snapshot;
            cop__kept_use(history, entry);
        }
        cop__history_leave(store, history);
    }
    if (*snapshot != NULL || (status != COP_OK && status != COP_E_ABSENT))
        return status;
    return hold_newest(store, version, snapshot);
}

cop_status
cop__history_hold_next(cop_store *store, uint64_t from, uint64_t to, cop_history_entry *entry,
                       const cop_snapshot **snapshot)
{
    cop__history *history;
    *snapshot = NULL;
    cop_status status = cop__history_begin(store, &history);
    if (status != COP_OK)
        return status;
    cop__kept *kept = cop__kept_at(history, cop__kept_place(history, from));
    if (kept != NULL && kept->version <= to) {
        cop__snapshot_hold(kept->snapshot, COP_HELD_BY_LIBRARY);
        *snapshot = kept->snapshot;
        describe(kept, entry);
        cop__kept_use(history, kept);
    }
    cop__history_leave(store, history);
    return *snapshot != NULL ? COP_OK : COP_E_ABSENT;
}

void
cop__history_let_go(const cop_snapshot *snapshot)
{
    if (snapshot != NULL)
        cop__snapshot_let_go(snapshot, COP_HELD_BY_LIBRARY, true);
}

/* ---- comparing ---- */

typedef struct counting {
    cop__diff_pair pair;
    cop_history_difference *difference;
} counting;

static void
count_one(void *context, uint32_t id, const cop__slot *before, const cop__slot *now)
{
    counting *c = context;
    cop__difference what[2];
    unsigned n = cop__diff_meaning(c->pair, before, now, what);
    (void)id;
    for (unsigned i = 0; i < n; i++) {
        c->difference->created += what[i] == COP_DIFF_CREATED;
        c->difference->changed += what[i] == COP_DIFF_VALUE;
        c->difference->erased += what[i] == COP_DIFF_ERASED;
        c->difference->arrays += what[i] == COP_DIFF_ELEMENTS;
    }
}

cop_status
cop_history_compare(cop_store *store, uint64_t from, uint64_t to,
                    cop_history_difference *difference)
{
    const cop_snapshot *before = NULL, *now = NULL;
    memset(difference, 0, sizeof *difference);
    cop_status status = cop__history_hold(store, from, &before);
    if (status == COP_OK)
        status = cop__history_hold(store, to, &now);
    if (status == COP_OK) {
        counting c = {{before, now}, difference};
        cop__tree_diff(before, now, count_one, &c);
    }
    cop__history_let_go(before);
    cop__history_let_go(now);
    return status;
}

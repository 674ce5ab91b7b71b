/* SPDX-License-Identifier: MIT */
/*
 * The change log: which atoms the last passes found changed, for watchers that come back.
 *
 * A segment is one pass, (from, to]; segments adjoin. It has an entry for each change of the store,
 * without values, and the paths of erased atoms, whose names are gone. The oldest segments go when
 * there are too many bytes; one that cannot be kept takes all before it along, so the log is always
 * an unbroken row that ends at the base. All needs the room's lock.
 */
#include "watch/watch.h"

static void
segment_free(cop__watch_room *room, cop__watch_segment *segment)
{
    cop__memory_free(room->store->memory, COP_MEMORY_WATCH, segment, segment->bytes, 16);
}

static void
oldest_drop(cop__watch_room *room)
{
    cop__watch_log *log = &room->log;
    cop__watch_segment *segment = log->oldest;
    log->oldest = segment->next;
    if (log->oldest == NULL)
        log->newest = NULL;
    log->bytes -= segment->bytes;
    segment_free(room, segment);
}

void
cop__watch_log_end(cop__watch_room *room)
{
    while (room->log.oldest != NULL)
        oldest_drop(room);
}

static char *
segment_text(cop__watch_segment *segment)
{
    return (char *)&segment->entry[segment->count];
}

void
cop__watch_log_add(cop__watch_room *room, const cop__watch_list *list, uint64_t from, uint64_t to)
{
    cop__watch_log *log = &room->log;
    cop__watch_segment *segment = NULL;
    size_t bytes = 0;
    if (list != NULL && !list->refused) {
        bytes = sizeof *segment + list->count * sizeof *list->entry + list->text_used;
        if (bytes <= log->limit)
            segment = cop__memory_alloc(room->store->memory, COP_MEMORY_WATCH, bytes, 16);
    }
    if (segment == NULL) {
        cop__watch_log_end(room);
        return;
    }
    *segment = (cop__watch_segment){
        .from = from, .to = to, .bytes = bytes, .count = list->count, .text_used = list->text_used};
    if (list->count > 0)
        memcpy(segment->entry, list->entry, list->count * sizeof *list->entry);
    if (list->text_used > 0)
        memcpy(segment_text(segment), list->text, list->text_used);
    if (log->newest != NULL)
        log->newest->next = segment;
    else
        log->oldest = segment;
    log->newest = segment;
    log->bytes += bytes;
    while (log->bytes > log->limit)
        oldest_drop(room);
}

/* ---- coming back ---- */

/* An event of an atom. */
typedef struct event {
    const cop__watch_entry *entry;
    const char *text; /* of its segment */
    size_t order;
} event;

static int
event_compare(const void *a, const void *b)
{
    const event *x = a, *y = b;
    if (x->entry->id != y->entry->id)
        return x->entry->id < y->entry->id ? -1 : 1;
    return x->order < y->order ? -1 : 1; /* of one id: the generations come one after the other */
}

static bool
same_atom(const event *a, const event *b)
{
    return a->entry->id == b->entry->id && a->entry->generation == b->entry->generation;
}

static cop__watch_segment *
segment_from(const cop__watch_room *room, uint64_t version)
{
    cop__watch_segment *segment = room->log.oldest;
    while (segment != NULL && segment->from != version)
        segment = segment->next;
    return segment;
}

/* All events of the segments from this one on, by atom. NULL: no memory, or none (*n is 0). */
static event *
events_sorted(cop__watch_room *room, cop__watch_segment *first, size_t *n)
{
    size_t count = 0;
    for (const cop__watch_segment *s = first; s != NULL; s = s->next)
        count += s->count;
    event *events =
        cop__memory_alloc(room->store->memory, COP_MEMORY_WATCH, (count + 1) * sizeof *events, 16);
    *n = 0;
    if (events == NULL)
        return NULL;
    for (cop__watch_segment *s = first; s != NULL; s = s->next)
        for (size_t i = 0; i < s->count; i++, (*n)++)
            events[*n] = (event){&s->entry[i], segment_text(s), *n};
    qsort(events, count, sizeof *events, event_compare);
    return events;
}

/* What the events of one atom come to; false: nothing. */
static bool
net_of(const event *first, const event *last, cop__difference *what)
{
    bool created = first->entry->what == COP_DIFF_CREATED,
         gone = last->entry->what == COP_DIFF_ERASED;
    *what = COP_DIFF_ELEMENTS;
    if (created || gone) {
        *what = gone ? COP_DIFF_ERASED : COP_DIFF_CREATED;
        return !(created && gone);
    }
    for (const event *e = first; e <= last; e++)
        if (e->entry->what == COP_DIFF_VALUE)
            *what = COP_DIFF_VALUE;
    return true;
}

/* The atom's last event tells its path if it is gone, else the base does. */
static cop__watch_path
path_of(cop__watch_room *room, const event *last, cop_atom atom)
{
    const cop__watch_entry *entry = last->entry;
    if (entry->what != COP_DIFF_ERASED)
        return cop__watch_path_of(room->base->snapshot, atom, &room->scratch);
    return (cop__watch_path){entry->anonymous ? NULL : last->text + entry->text - 1, entry->length,
                             false};
}

static void
net_add(cop__watch_room *room, const cop__watch_target *target, cop__watch_list *list,
        const event *first, const event *last)
{
    cop__watch_found found = {.root = room->base->snapshot,
                              .atom = {first->entry->id, first->entry->generation}};
    if (!net_of(first, last, &found.what))
        return;
    found.path = path_of(room, last, found.atom);
    if (found.path.refused)
        list->refused = true;
    else if (cop__watch_target_matches(target, &found))
        cop__watch_list_add(list, &found, true);
}

/* Of a handle with what is below it, what was erased cannot be told. */
cop__watch_list *
cop__watch_log_since(cop__watch_room *room, const cop__watch_target *target, uint64_t version)
{
    cop__watch_segment *first = segment_from(room, version);
    size_t n;
    if (first == NULL || (target->node == NULL && target->below))
        return NULL;
    cop__watch_list *list = cop__watch_list_new(room->store->memory);
    event *events = list != NULL ? events_sorted(room, first, &n) : NULL;
    if (events == NULL) {
        cop__watch_list_drop(list);
        return NULL;
    }
    size_t bytes = sizeof *events;
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && same_atom(&events[i], &events[end]); end++)
            ;
        net_add(room, target, list, &events[i], &events[end - 1]);
    }
    cop__memory_free(room->store->memory, COP_MEMORY_WATCH, events, (n + 1) * bytes, 16);
    cop__watch_list_order(list);
    if (!list->refused)
        return list;
    cop__watch_list_drop(list);
    return NULL;
}

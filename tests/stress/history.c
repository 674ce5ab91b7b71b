/* SPDX-License-Identifier: MIT */
#include "tests/stress/history.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NONE SIZE_MAX

/* A committed write. All are sorted by cell, then version; those of one cell and version are a
 * group, and what the group knows is kept in its first member. */
typedef struct write {
    const history_record *record;
    size_t group; /* index of the first of the group */
    size_t next;  /* index of the first of the cell's next group, or NONE */
    /* of the first of a group: */
    size_t winner; /* the write that reads have shown to be the last of the group */
    uint32_t members;
    uint32_t updates;
} write;

typedef struct checker {
    const history_log *logs;
    size_t threads;
    uint32_t cells;
    uint64_t versions;
    size_t writes;
    write *write;
    size_t *first; /* of each cell: its first write, or NONE */
    size_t *table; /* hash of value to write */
    size_t mask;
    history_verdict *verdict;
} checker;

bool
history_log_init(history_log *log, size_t capacity)
{
    log->records = malloc(capacity * sizeof *log->records);
    log->count = 0;
    log->capacity = capacity;
    return log->records != NULL;
}

void
history_log_free(history_log *log)
{
    free(log->records);
    memset(log, 0, sizeof *log);
}

bool
history_add(history_log *log, history_record record)
{
    if (log->count == log->capacity)
        return false;
    log->records[log->count++] = record;
    return true;
}

static void
fault(checker *c, uint64_t *counter, const char *what, const history_record *r)
{
    ++*counter;
    if (c->verdict->first[0] == '\0')
        snprintf(c->verdict->first, sizeof c->verdict->first,
                 "%s: cell %" PRIu32 ", version %" PRIu64 ", value %" PRIx64 ", seen %" PRIx64,
                 what, r->cell, r->version, r->value, r->seen);
}

static bool
is_write(const history_record *r)
{
    return r->kind == HISTORY_WRITE || r->kind == HISTORY_UPDATE;
}

/* --- writes by cell and version ----------------------------------------------------------- */

static void
measure(checker *c)
{
    for (size_t t = 0; t < c->threads; t++)
        for (size_t i = 0; i < c->logs[t].count; i++) {
            const history_record *r = &c->logs[t].records[i];
            c->verdict->records++;
            c->writes += is_write(r);
            if (r->version > c->versions)
                c->versions = r->version;
        }
    c->verdict->versions = c->versions;
}

static uint64_t
sort_key(const history_record *r, bool by_cell)
{
    return by_cell ? r->cell : r->version;
}

/* One stable counting pass; to and from do not overlap. */
static bool
sort_pass(const checker *c, const history_record **to, const history_record *const *from,
          bool by_cell)
{
    size_t keys = (by_cell ? c->cells : (size_t)c->versions) + 2;
    size_t *place = calloc(keys, sizeof *place);

    if (place == NULL)
        return false;
    for (size_t i = 0; i < c->writes; i++)
        place[sort_key(from[i], by_cell) + 1]++;
    for (size_t k = 1; k < keys; k++)
        place[k] += place[k - 1];
    for (size_t i = 0; i < c->writes; i++)
        to[place[sort_key(from[i], by_cell)]++] = from[i];
    free(place);
    return true;
}

static bool
sort_writes(checker *c)
{
    const history_record **a = malloc((c->writes + 1) * sizeof *a);
    const history_record **b = malloc((c->writes + 1) * sizeof *b);
    size_t n = 0;
    bool ok = a != NULL && b != NULL;

    for (size_t t = 0; ok && t < c->threads; t++)
        for (size_t i = 0; i < c->logs[t].count; i++)
            if (is_write(&c->logs[t].records[i]))
                a[n++] = &c->logs[t].records[i];
    ok = ok && sort_pass(c, b, a, false) && sort_pass(c, a, b, true);
    for (size_t i = 0; ok && i < n; i++)
        c->write[i] = (write){.record = a[i], .next = NONE, .winner = NONE};
    free(a);
    free(b);
    return ok;
}

static void
group_writes(checker *c)
{
    size_t group = 0;

    for (uint32_t cell = 0; cell < c->cells; cell++)
        c->first[cell] = NONE;
    for (size_t i = 0; i < c->writes; i++) {
        const history_record *r = c->write[i].record;
        if (i == 0 || c->write[i - 1].record->cell != r->cell) {
            c->first[r->cell] = group = i;
        } else if (c->write[i - 1].record->version != r->version) {
            for (size_t j = group; j < i; j++)
                c->write[j].next = i;
            group = i;
        }
        c->write[i].group = group;
        c->write[group].members++;
        c->write[group].updates += r->kind == HISTORY_UPDATE;
    }
}

/* --- values to writes ---------------------------------------------------------------------- */

static size_t
slot_of(const checker *c, uint64_t value)
{
    size_t slot = (size_t)((value * UINT64_C(0x9e3779b97f4a7c15)) >> 20) & c->mask;

    while (c->table[slot] != NONE && c->write[c->table[slot]].record->value != value)
        slot = (slot + 1) & c->mask;
    return slot;
}

static bool
index_values(checker *c)
{
    size_t size = 16;

    while (size < 2 * c->writes)
        size *= 2;
    c->mask = size - 1;
    c->table = malloc(size * sizeof *c->table);
    if (c->table == NULL)
        return false;
    for (size_t i = 0; i < size; i++)
        c->table[i] = NONE;
    for (size_t i = 0; i < c->writes; i++)
        c->table[slot_of(c, c->write[i].record->value)] = i;
    return true;
}

/* --- rules 1 to 3 --------------------------------------------------------------------------- */

/* This write was seen after its version was complete: it is the last of its group. */
static bool
wins(checker *c, size_t i)
{
    write *group = &c->write[c->write[i].group];

    if (group->winner == NONE)
        group->winner = i;
    /* A group's update came first, so it cannot also be last when there are others. */
    if (group->members > 1 && c->write[i].record->kind == HISTORY_UPDATE)
        return false;
    return group->winner == i;
}

/* The version in which the cell changed next after holding this value, or UINT64_MAX; false when
 * no such value was ever written to the cell. */
static bool
replaced_in(const checker *c, uint32_t cell, uint64_t value, size_t *i, uint64_t *version)
{
    size_t next;

    *i = value == 0 ? NONE : c->table[slot_of(c, value)];
    if (value != 0 && (*i == NONE || c->write[*i].record->cell != cell))
        return false;
    next = value == 0 ? c->first[cell] : c->write[*i].next;
    *version = next == NONE ? UINT64_MAX : c->write[next].record->version;
    return true;
}

static void
check_read(checker *c, const history_record *r)
{
    size_t i;
    uint64_t until;

    if (!replaced_in(c, r->cell, r->value, &i, &until))
        fault(c, &c->verdict->unwritten, "a value read was never written", r);
    else if (until <= r->version)
        fault(c, &c->verdict->stale, "a read missed a write", r);
    else if (i != NONE && c->write[i].record->version > r->version)
        fault(c, &c->verdict->stale, "a read saw a later version", r);
    else if (i != NONE && !wins(c, i))
        fault(c, &c->verdict->stale, "reads disagree on the last write of a version", r);
}

static void
check_update(checker *c, const history_record *r)
{
    size_t i, self = c->table[slot_of(c, r->value)];
    uint64_t until;

    if (!replaced_in(c, r->cell, r->seen, &i, &until))
        fault(c, &c->verdict->unwritten, "an update saw what was never written", r);
    else if (until != r->version)
        fault(c, &c->verdict->lost, "an update did not see the write before it", r);
    else if (i != NONE && !wins(c, i))
        fault(c, &c->verdict->lost, "an update saw a write that was not the last", r);
    else if (c->write[c->write[self].group].updates != 1)
        fault(c, &c->verdict->lost, "two updates of one version saw the same", r);
}

static void
check_versions(checker *c)
{
    for (size_t t = 0; t < c->threads; t++)
        for (size_t i = 0; i < c->logs[t].count; i++) {
            const history_record *r = &c->logs[t].records[i];
            if (r->kind == HISTORY_UPDATE)
                check_update(c, r);
            else if (!is_write(r))
                check_read(c, r);
        }
}

/* --- rule 4 ------------------------------------------------------------------------------------ */

/* The thread whose next record begins first, or NONE. */
static size_t
earliest(const checker *c, const size_t *at)
{
    size_t found = NONE;

    for (size_t t = 0; t < c->threads; t++)
        if (at[t] < c->logs[t].count &&
            (found == NONE || c->logs[t].records[at[t]].start_ns <
                                  c->logs[found].records[at[found]].start_ns))
            found = t;
    return found;
}

static bool
check_time(checker *c)
{
    size_t *at = calloc(2 * c->threads, sizeof *at), *ended = at + c->threads, t;
    uint64_t greatest = 0; /* among what had ended */

    if (at == NULL)
        return false;
    while ((t = earliest(c, at)) != NONE) {
        const history_record *r = &c->logs[t].records[at[t]++];
        if (r->kind == HISTORY_OLD_READ)
            continue;
        for (size_t u = 0; u < c->threads; u++)
            for (; ended[u] < c->logs[u].count; ended[u]++) {
                const history_record *e = &c->logs[u].records[ended[u]];
                if (e->end_ns >= r->start_ns)
                    break;
                if (e->version > greatest)
                    greatest = e->version;
            }
        if (r->version < greatest || (is_write(r) && r->version == greatest))
            fault(c, &c->verdict->backwards, "an operation is older than one that had ended", r);
    }
    free(at);
    return true;
}

bool
history_check(const history_log *logs, size_t threads, uint32_t cells, history_verdict *verdict)
{
    checker c = {.logs = logs, .threads = threads, .cells = cells, .verdict = verdict};
    bool ok;

    memset(verdict, 0, sizeof *verdict);
    measure(&c);
    c.write = calloc(c.writes + 1, sizeof *c.write);
    c.first = calloc(cells + 1u, sizeof *c.first);
    ok = c.write != NULL && c.first != NULL && sort_writes(&c);
    if (ok) {
        group_writes(&c);
        ok = index_values(&c);
    }
    if (ok) {
        check_versions(&c);
        ok = check_time(&c);
    }
    free(c.write);
    free(c.first);
    free(c.table);
    return ok;
}

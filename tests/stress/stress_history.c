/* SPDX-License-Identifier: MIT */
/*
 * Threads read, write, update and hold versions of a few cells and record all of it; the history
 * checker (history.h) then says whether it can be explained by one order of versions. Rounds of one
 * store each, until the time is over. Histories that are wrong on purpose go first.
 */
#include "tests/stress/common.h"
#include "tests/stress/history.h"

enum { CELLS = 24, HELD = 6, LOG = STRESS_SLOW ? 40000 : 150000, READS = 6 };

enum { UNWRITTEN, STALE, LOST, BACKWARDS, WRONG_FOUND };
static const char *const properties[] = {
    "what was read had been committed",
    "a read sees the last write at or before its version",
    "an update follows what it has read",
    "versions follow real time",
    "the checker finds what is wrong on purpose",
};

static cop_store *store;
static cop_atom cells[CELLS];
static history_log logs[STRESS_THREADS];

typedef struct actor {
    uint64_t index;
    history_log *log;
    stress_random random;
    uint64_t written; /* values so far: each is unlike any other */
    const cop_snapshot *held[HELD];
    bool full;
} actor;

static void
record(actor *a, history_kind kind, uint32_t cell, uint64_t value, uint64_t seen,
       uint64_t version, uint64_t start)
{
    history_record r = {start, stress_now_ns(), version, value, seen, cell, kind};

    if (!history_add(a->log, r))
        stress_need(COP_E_LIMIT, "log");
    /* What is done must be recorded, so the last operation begins while there is room for it. */
    a->full = a->log->capacity - a->log->count < 2 * READS;
}

static uint64_t
new_value(actor *a)
{
    return (a->index + 1) << 40 | ++a->written;
}

static uint32_t
pick(actor *a)
{
    return (uint32_t)stress_below(&a->random, CELLS);
}

static uint64_t
read_cell(const cop_snapshot *snapshot, uint32_t cell)
{
    int64_t value = 0;

    stress_need(cop_get_i64(snapshot, cells[cell], &value), "get");
    return (uint64_t)value;
}

static void
read_some(actor *a, const cop_snapshot *snapshot, history_kind kind, uint64_t start)
{
    uint32_t cell[READS];
    uint64_t value[READS];

    for (unsigned i = 0; i < READS; i++) {
        cell[i] = pick(a);
        value[i] = read_cell(snapshot, cell[i]);
    }
    for (unsigned i = 0; i < READS; i++)
        record(a, kind, cell[i], value[i], 0, cop_snapshot_version(snapshot), start);
}

/* --- operations -------------------------------------------------------------------------- */

static void
do_read(actor *a)
{
    uint64_t start = stress_now_ns();
    cop_pin_t pin = cop_pin(store);

    if (pin.snapshot == NULL)
        stress_need(cop_pin_status(), "pin");
    read_some(a, pin.snapshot, HISTORY_READ, start);
    cop_unpin(pin);
}

static void
do_hold(actor *a)
{
    const cop_snapshot **slot = &a->held[stress_below(&a->random, HELD)];
    uint64_t start = stress_now_ns();

    if (*slot != NULL && stress_below(&a->random, 4) != 0) {
        read_some(a, *slot, HISTORY_OLD_READ, start);
        return;
    }
    cop_snapshot_drop(*slot);
    *slot = NULL;
    start = stress_now_ns();
    stress_need(cop_snapshot_take(store, slot), "snapshot");
    read_some(a, *slot, HISTORY_READ, start);
}

static cop_txn *
begin(void)
{
    cop_txn *txn = NULL;

    stress_need(cop_txn_begin(store, &txn), "begin");
    return txn;
}

static void
set_cell(cop_txn *txn, uint32_t cell, uint64_t value)
{
    cop_value v = cop_i64((int64_t)value);

    stress_need(cop_txn_set(txn, cells[cell], &v), "set");
}

static void
do_write(actor *a)
{
    uint64_t start = stress_now_ns(), version = 0, first = new_value(a), second = new_value(a);
    uint32_t cell = pick(a), other = (cell + 1 + pick(a) % (CELLS - 1)) % CELLS;
    cop_txn *txn = begin();

    set_cell(txn, cell, first);
    set_cell(txn, other, second);
    stress_need(cop_txn_commit(txn, &version, NULL), "commit");
    record(a, HISTORY_WRITE, cell, first, 0, version, start);
    record(a, HISTORY_WRITE, other, second, 0, version, start);
}

static void
do_tickets(actor *a)
{
    enum { BURST = 4 };
    cop_ticket *tickets[BURST];
    uint64_t value[BURST], version = 0, start = stress_now_ns();
    uint32_t cell[BURST];

    for (unsigned i = 0; i < BURST; i++) {
        cop_txn *txn = begin();
        cell[i] = pick(a);
        value[i] = new_value(a);
        set_cell(txn, cell[i], value[i]);
        stress_need(cop_txn_submit(txn, &tickets[i]), "submit");
    }
    for (unsigned i = 0; i < BURST; i++) {
        stress_need(cop_ticket_wait(tickets[i], cop_deadline_in_ms(10000), &version, NULL),
                    "ticket");
        record(a, HISTORY_WRITE, cell[i], value[i], 0, version, start);
        cop_ticket_release(tickets[i]);
    }
}

static void
do_update(actor *a)
{
    uint64_t start = stress_now_ns(), version = 0, value = new_value(a);
    uint32_t cell = pick(a);
    cop_txn *txn = begin();
    cop_value seen;
    cop_status status;

    stress_need(cop_txn_get(txn, cells[cell], &seen), "get");
    set_cell(txn, cell, value);
    status = cop_txn_commit(txn, &version, NULL);
    if (status == COP_OK)
        record(a, HISTORY_UPDATE, cell, value, (uint64_t)cop_value_i64(&seen), version, start);
    else if (status != COP_E_CONFLICT)
        stress_need(status, "commit");
}

typedef struct change {
    uint32_t cell;
    uint64_t value, seen;
} change;

static cop_status
change_cell(cop_txn *txn, void *context)
{
    change *c = context;
    cop_value value;
    cop_status status = cop_txn_get(txn, cells[c->cell], &value);

    if (status != COP_OK)
        return status;
    c->seen = (uint64_t)cop_value_i64(&value);
    value = cop_i64((int64_t)c->value);
    return cop_txn_set(txn, cells[c->cell], &value);
}

static void
do_transact(actor *a)
{
    uint64_t start = stress_now_ns(), version = 0;
    change c = {pick(a), new_value(a), 0};

    stress_need(cop_transact(store, change_cell, &c, COP_FOREVER, &version), "transact");
    record(a, HISTORY_UPDATE, c.cell, c.value, c.seen, version, start);
}

static void *
body(void *context)
{
    static void (*const calls[])(actor *) = {do_read,   do_read,   do_hold,    do_write,
                                             do_update, do_update, do_tickets, do_transact};
    actor a = {.index = (uintptr_t)context, .log = &logs[(uintptr_t)context]};
    uint64_t n = 0;

    a.random = stress_random_of(a.index + stress.operations);
    for (; !a.full && !stress_over(); n++)
        calls[stress_below(&a.random, sizeof calls / sizeof *calls)](&a);
    for (unsigned i = 0; i < HELD; i++)
        cop_snapshot_drop(a.held[i]);
    stress_count(n);
    return NULL;
}

/* --- the checker itself ---------------------------------------------------------------------- */

/* Two threads, two cells; returns the number of faults found. */
static uint64_t
faults_in(const history_record *first, size_t n, const history_record *second, size_t m)
{
    history_log two[2] = {{NULL, n, n}, {NULL, m, m}};
    history_verdict v;

    two[0].records = malloc((n + 1) * sizeof *first);
    two[1].records = malloc((m + 1) * sizeof *second);
    memcpy(two[0].records, first, n * sizeof *first);
    memcpy(two[1].records, second, m * sizeof *second);
    if (!history_check(two, 2, 2, &v))
        stress_need(COP_E_MEMORY, "history");
    history_log_free(&two[0]);
    history_log_free(&two[1]);
    return v.unwritten + v.stale + v.lost + v.backwards;
}

/* {start, end, version, value, seen, cell, kind} */
static const history_record writer_log[] = {
    {10, 20, 1, 100, 0, 0, HISTORY_WRITE},
    {30, 40, 2, 101, 0, 0, HISTORY_WRITE},
    {50, 60, 3, 102, 101, 0, HISTORY_UPDATE},
    {61, 70, 4, 103, 0, 0, HISTORY_WRITE},
};

static const struct {
    const char *name;
    bool wrong;
    history_record record;
} cases[] = {
    {"right", false, {15, 35, 1, 100, 0, 0, HISTORY_READ}},
    {"the empty cell", false, {15, 35, 1, 0, 0, 1, HISTORY_READ}},
    {"a right update", false, {15, 65, 4, 200, 102, 0, HISTORY_UPDATE}},
    {"an old read", false, {80, 90, 2, 101, 0, 0, HISTORY_OLD_READ}},
    {"never written", true, {15, 35, 1, 999, 0, 0, HISTORY_READ}},
    {"written to another cell", true, {15, 35, 1, 100, 0, 1, HISTORY_READ}},
    {"a later version", true, {15, 35, 1, 101, 0, 0, HISTORY_READ}},
    {"a missed write", true, {15, 45, 2, 100, 0, 0, HISTORY_READ}},
    {"a lost first write", true, {15, 35, 1, 0, 0, 0, HISTORY_READ}},
    {"an old version too late", true, {45, 48, 1, 100, 0, 0, HISTORY_READ}},
    {"a write in a version of before", true, {45, 48, 2, 201, 0, 1, HISTORY_WRITE}},
    {"a lost update", true, {35, 65, 3, 200, 101, 0, HISTORY_UPDATE}},
    {"an update of what had been replaced", true, {35, 65, 4, 200, 101, 0, HISTORY_UPDATE}},
};

static void
check_the_checker(void)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t faults = faults_in(writer_log, 4, &cases[i].record, 1);
        stress_check(WRONG_FOUND, (faults > 0) == cases[i].wrong, "%s: %" PRIu64 " faults",
                     cases[i].name, faults);
    }
}

/* --- rounds -------------------------------------------------------------------------------------- */

static void
open_round(void)
{
    cop_txn *txn;
    cop_value zero = cop_i64(0);
    char path[32];

    stress_open(&store, 0);
    txn = begin();
    for (int i = 0; i < CELLS; i++) {
        int n = snprintf(path, sizeof path, "group%d/cell%d", i % 3, i);
        stress_need(cop_txn_set_at(txn, path, (size_t)n, &zero, NULL), "set_at");
    }
    stress_need(cop_txn_commit(txn, NULL, NULL), "commit");
    for (int i = 0; i < CELLS; i++) {
        int n = snprintf(path, sizeof path, "group%d/cell%d", i % 3, i);
        stress_need(cop_atom_find(store, path, (size_t)n, &cells[i]), "find");
    }
    for (unsigned i = 0; i < stress.threads; i++)
        if (!history_log_init(&logs[i], LOG))
            stress_need(COP_E_MEMORY, "log");
}

static void
close_round(void)
{
    history_verdict v;

    cop_store_close(store);
    if (!history_check(logs, stress.threads, CELLS, &v))
        stress_need(COP_E_MEMORY, "history");
    stress_check(UNWRITTEN, v.unwritten == 0, "%" PRIu64 " of them; %s", v.unwritten, v.first);
    stress_check(STALE, v.stale == 0, "%" PRIu64 " of them; %s", v.stale, v.first);
    stress_check(LOST, v.lost == 0, "%" PRIu64 " of them; %s", v.lost, v.first);
    stress_check(BACKWARDS, v.backwards == 0, "%" PRIu64 " of them; %s", v.backwards, v.first);
    printf("round: %" PRIu64 " records, %" PRIu64 " versions\n", v.records, v.versions);
    for (unsigned i = 0; i < stress.threads; i++)
        history_log_free(&logs[i]);
}

int
main(int argc, char **argv)
{
    stress_start(argc, argv, 6);
    stress_properties(properties, sizeof properties / sizeof *properties);
    stress_at_end(UNWRITTEN);
    stress_at_end(STALE);
    stress_at_end(LOST);
    stress_at_end(BACKWARDS);
    check_the_checker();
    do {
        open_round();
        stress_run(stress.threads, body);
        close_round();
    } while (!stress_over());
    return stress_finish();
}

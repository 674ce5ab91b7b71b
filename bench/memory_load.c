/* SPDX-License-Identifier: MIT */
/*
 * Writers that remember what they were promised: memory_load.h says how.
 *
 * Transactions of a thread are decided in its order, so that a writer settles its tickets from the
 * oldest on and a commit's outcome after them. An atom that an undecided transaction creates or
 * erases is left alone until then: what else is done to it rests on the outcome.
 */
#include "bench/memory_load.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "bench/clock.h"

enum { ABSENT_ENOUGH = 32, ABSENT_MANY = 48, PATIENCE_MS = 20000 };

/* --- values --------------------------------------------------------------------------------------
 */

static uint64_t
mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* Half of the atoms are numbers, inside the page; a third has 64 bytes, an eighth 300, and 1 in 32
 * has 4 KiB: with these are two thirds of all bytes. */
size_t
memory_cell_bytes(uint32_t cell)
{
    unsigned by = (unsigned)(mix(cell) & 31);
    return by < 16 ? 0 : by < 27 ? 64 : by < 31 ? 300 : 4096;
}

/* Made by few instructions: they are in what is measured. */
static cop_value
cell_value(unsigned char *bytes, unsigned writer, uint32_t cell, uint32_t stamp)
{
    size_t n = memory_cell_bytes(cell);
    uint64_t word = mix((uint64_t)stamp << 32 | cell) + writer;
    if (n == 0)
        return cop_i64((int64_t)(word >> 1));
    memset(bytes, (int)(word & 255), n);
    memcpy(bytes, &word, sizeof word);
    memcpy(bytes + n - sizeof word, &word, sizeof word);
    return cop_bytes(bytes, n);
}

static uint64_t
random_below(memory_writer *w, uint64_t n)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return (w->random >> 11) % n;
}

/* --- refusals ------------------------------------------------------------------------------------
 */

static void
remember_message(memory_writer *w, const char *call, cop_status status, const char *text)
{
    char line[sizeof w->message[0].text];
    (void)snprintf(line, sizeof line, "%s: %s", call,
                   text != NULL && text[0] != '\0' ? text : cop_status_message(status));
    for (int i = 0; i < MEMORY_MESSAGES; i++) {
        memory_message *m = &w->message[i];
        if (m->times == 0)
            memcpy(m->text, line, sizeof line);
        if (strcmp(m->text, line) == 0) {
            m->times++;
            return;
        }
    }
}

static void
count_one(_Atomic uint64_t *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

static bool
only_erases(const memory_change *change)
{
    return change->effects == 1 && change->effect[0].kind == MEMORY_ERASE && change->added == 0;
}

/* --- from outcomes to promises -------------------------------------------------------------------
 */

static void
absent_remove(memory_writer *w, uint32_t cell)
{
    for (uint32_t i = 0; i < w->absents; i++)
        if (w->absent[i] == cell) {
            w->absent[i] = w->absent[--w->absents];
            return;
        }
}

static void
promise(memory_writer *w, const memory_change *change, const memory_effect *effect)
{
    memory_cell *cell = &w->cells[effect->cell];
    cell->stamp = change->stamp;
    if (effect->kind == MEMORY_CREATE) {
        cell->atom = effect->atom;
        if (change->ticket != NULL)
            (void)cop_ticket_atom(change->ticket, effect->atom, &cell->atom);
        cell->present = true;
        absent_remove(w, effect->cell);
    } else if (effect->kind == MEMORY_ERASE) {
        cell->present = false;
        w->absent[w->absents++] = effect->cell;
    }
}

/* The change is decided, and every one before it is. */
static void
settle(memory_writer *w, memory_change *change, const char *call, cop_status status,
       const char *text)
{
    for (unsigned i = 0; i < change->effects; i++) {
        memory_effect *effect = &change->effect[i];
        if (effect->kind != MEMORY_SET)
            w->cells[effect->cell].busy = false;
        w->erasing -= effect->kind == MEMORY_ERASE;
        if (status == COP_OK)
            promise(w, change, effect);
    }
    if (status == COP_OK) {
        w->added += change->added;
        count_one(&w->accepted);
        return;
    }
    remember_message(w, call, status, text);
    count_one(status == COP_E_MEMORY ? &w->refused : &w->failed);
    if (status == COP_E_MEMORY && only_erases(change))
        count_one(&w->refused_erasures);
}

static void
note_time(memory_writer *w, uint64_t began)
{
    uint64_t took = bench_wall_ns() - began;
    if (took > atomic_load_explicit(&w->longest_ns, memory_order_relaxed))
        atomic_store_explicit(&w->longest_ns, took, memory_order_relaxed);
}

/* Settles what is decided, from the oldest on; at least `must` of them. */
static void
settle_tickets(memory_writer *w, unsigned must)
{
    for (; w->pendings > 0; must -= must > 0) {
        memory_change *change = &w->pending[w->first_pending];
        cop_error error = {.status = COP_OK};
        uint64_t began = bench_wall_ns();
        cop_status status =
            must > 0
                ? cop_ticket_wait(change->ticket, cop_deadline_in_ms(PATIENCE_MS), NULL, &error)
                : cop_ticket_poll(change->ticket, NULL);
        if (must > 0)
            note_time(w, began);
        if (status == COP_E_PENDING)
            return;
        settle(w, change, "ticket", status, error.message);
        cop_ticket_release(change->ticket);
        w->first_pending = (w->first_pending + 1) % MEMORY_TICKETS;
        w->pendings--;
    }
}

/* --- transactions --------------------------------------------------------------------------------
 */

static cop_status
add_create(memory_writer *w, cop_txn *txn, memory_effect *effect, uint32_t stamp)
{
    char name[32];
    int n = snprintf(name, sizeof name, "c%u", w->serial++);
    const cop_value value = cell_value(w->bytes, w->number, effect->cell, stamp);
    return cop_txn_set_child(txn, w->groups[effect->cell / MEMORY_GROUP], name, (size_t)n, &value,
                             &effect->atom);
}

static cop_status
add_effect(memory_writer *w, cop_txn *txn, memory_effect *effect, uint32_t stamp)
{
    if (effect->kind == MEMORY_CREATE)
        return add_create(w, txn, effect, stamp);
    if (effect->kind == MEMORY_ERASE)
        return cop_txn_erase(txn, w->cells[effect->cell].atom);
    const cop_value value = cell_value(w->bytes, w->number, effect->cell, stamp);
    return cop_txn_set(txn, w->cells[effect->cell].atom, &value);
}

/* An atom that is absent, or one that is there, and that nobody is creating or erasing. */
static bool
choose(memory_writer *w, bool present, uint32_t *cell)
{
    for (int tries = 0; tries < 16; tries++) {
        if (present)
            *cell = (uint32_t)random_below(w, w->count);
        else if (w->absents > 0)
            *cell = w->absent[random_below(w, w->absents)];
        else
            return false;
        if (w->cells[*cell].present == present && !w->cells[*cell].busy)
            return true;
    }
    return false;
}

static void
choose_churn(memory_writer *w, memory_change *change)
{
    uint32_t gone = w->absents + w->erasing, cell;
    bool create = gone >= ABSENT_MANY || (gone >= ABSENT_ENOUGH && random_below(w, 2) == 0) ||
                  (gone > 0 && random_below(w, 2) == 0);
    if (!choose(w, !create, &cell))
        return;
    w->cells[cell].busy = true;
    w->erasing += !create;
    change->effect[change->effects++] =
        (memory_effect){create ? MEMORY_CREATE : MEMORY_ERASE, cell, {0, 0}};
}

static void
choose_updates(memory_writer *w, memory_change *change)
{
    unsigned n = 1 + (unsigned)random_below(w, MEMORY_EFFECTS);
    uint32_t cell;
    while (change->effects < n && choose(w, true, &cell))
        change->effect[change->effects++] = (memory_effect){MEMORY_SET, cell, {0, 0}};
    if (random_below(w, 8) == 0 || change->effects == 0)
        change->added = 1 + (int64_t)random_below(w, 9);
}

/* The transaction, or NULL when it was refused on the way; that is settled then. */
static cop_txn *
build(memory_writer *w, memory_change *change)
{
    cop_txn *txn = NULL;
    const char *call = "begin";
    cop_status status = cop_txn_begin(w->load->store, &txn);
    for (unsigned i = 0; i < change->effects && status == COP_OK; i++) {
        call = "operation";
        status = add_effect(w, txn, &change->effect[i], change->stamp);
    }
    if (status == COP_OK && change->added != 0) {
        const cop_value delta = cop_i64(change->added);
        call = "operation";
        status = cop_txn_add(txn, w->load->counter, &delta);
    }
    if (status == COP_OK)
        return txn;
    cop_txn_cancel(txn);
    settle(w, change, call, status, NULL);
    return NULL;
}

static void
commit(memory_writer *w, memory_change *change, cop_txn *txn)
{
    cop_error error = {.status = COP_OK};
    uint64_t began = bench_wall_ns();
    cop_status status = cop_txn_commit(txn, NULL, &error);
    note_time(w, began);
    /* All that this thread submitted before is decided by now. */
    settle_tickets(w, w->pendings);
    settle(w, change, "commit", status, error.message);
}

static void
submit(memory_writer *w, memory_change *change, cop_txn *txn)
{
    cop_status status = cop_txn_submit(txn, &change->ticket);
    if (status != COP_OK) {
        settle_tickets(w, w->pendings);
        settle(w, change, "submit", status, NULL);
        return;
    }
    w->pending[(w->first_pending + w->pendings++) % MEMORY_TICKETS] = *change;
}

static void
one_transaction(memory_writer *w)
{
    memory_change change = {.stamp = ++w->stamp};
    if (w->pendings == MEMORY_TICKETS)
        settle_tickets(w, 1);
    if (random_below(w, 4) == 0)
        choose_churn(w, &change);
    if (change.effects == 0)
        choose_updates(w, &change);
    bool by_ticket = random_below(w, 4) == 0;
    cop_txn *txn = build(w, &change);
    if (txn != NULL && by_ticket)
        submit(w, &change, txn);
    else if (txn != NULL)
        commit(w, &change, txn);
}

static void *
writer_body(void *context)
{
    memory_writer *w = context;
    while (!atomic_load_explicit(&w->load->over, memory_order_relaxed))
        one_transaction(w);
    settle_tickets(w, w->pendings);
    return NULL;
}

cop_status
memory_load_start(memory_load *load)
{
    atomic_store(&load->over, false);
    for (unsigned i = 0; i < load->settings.writers; i++) {
        memory_writer *w = &load->writer[i];
        if (pthread_create(&w->thread, NULL, writer_body, w) != 0) {
            load->settings.writers = i;
            memory_load_stop(load);
            return COP_E_MEMORY;
        }
    }
    return COP_OK;
}

void
memory_load_stop(memory_load *load)
{
    atomic_store(&load->over, true);
    for (unsigned i = 0; i < load->settings.writers; i++)
        pthread_join(load->writer[i].thread, NULL);
}

void
memory_load_run(memory_load *load, uint64_t n)
{
    memory_writer *w = &load->writer[0];
    while (n-- > 0)
        one_transaction(w);
    settle_tickets(w, w->pendings);
}

/* --- the beginning and the end -------------------------------------------------------------------
 */

/* Touched: what reads as zero because nobody wrote to it is not resident. */
static void *
table_map(memory_load *load, size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE,
                   -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    load->tables_bytes += bytes;
    return p;
}

static size_t
groups_max(const memory_settings *settings)
{
    return settings->atoms / settings->writers / MEMORY_GROUP + 1;
}

bool
memory_load_prepare(memory_load *load, const memory_settings *settings)
{
    size_t groups = groups_max(settings);
    memset(load, 0, sizeof *load);
    load->settings = *settings;
    for (unsigned i = 0; i < settings->writers; i++) {
        memory_writer *w = &load->writer[i];
        w->load = load;
        w->number = i;
        w->random = UINT64_C(88172645463325252) + mix(i);
        w->cells = table_map(load, groups * MEMORY_GROUP * sizeof *w->cells);
        w->groups = table_map(load, groups * sizeof *w->groups);
        if (w->cells == NULL || w->groups == NULL)
            return false;
    }
    return true;
}

/* One group of a writer's atoms. */
static cop_status
fill_group(memory_load *load, memory_writer *w)
{
    uint32_t group = w->count / MEMORY_GROUP, first = w->count, stamp = w->stamp + 1;
    const cop_value object = cop_object();
    cop_atom made[MEMORY_GROUP];
    char name[32];
    cop_txn *txn = NULL;
    int n = snprintf(name, sizeof name, "g%u", group);
    cop_status status = cop_txn_begin(load->store, &txn);
    if (status == COP_OK)
        status = cop_txn_set_child(txn, w->branch, name, (size_t)n, &object, &w->groups[group]);
    for (uint32_t i = 0; i < MEMORY_GROUP && status == COP_OK; i++) {
        const cop_value value = cell_value(w->bytes, w->number, first + i, stamp);
        n = snprintf(name, sizeof name, "c%u", w->serial++);
        status = cop_txn_set_child(txn, w->groups[group], name, (size_t)n, &value, &made[i]);
    }
    if (status != COP_OK) {
        cop_txn_cancel(txn);
        return status;
    }
    status = cop_txn_commit(txn, NULL, NULL);
    for (uint32_t i = 0; i < MEMORY_GROUP && status == COP_OK; i++)
        w->cells[first + i] = (memory_cell){made[i], stamp, true, false};
    if (status == COP_OK) {
        w->count += MEMORY_GROUP;
        w->stamp = stamp;
    }
    return status;
}

static bool
full(memory_load *load)
{
    cop_stats stats = COP_STATS_INIT;
    const memory_settings *s = &load->settings;
    return cop_stats_take(load->store, &stats) != COP_OK ||
           (s->live_bytes > 0 && stats.bytes_held >= s->live_bytes);
}

static cop_status
fill(memory_load *load)
{
    size_t groups = groups_max(&load->settings);
    for (size_t g = 0; g < groups && !full(load); g++)
        for (unsigned i = 0; i < load->settings.writers; i++) {
            cop_status status = fill_group(load, &load->writer[i]);
            if (status != COP_OK)
                return status == COP_E_MEMORY && g > 0 ? COP_OK : status;
        }
    return COP_OK;
}

static cop_status
open_branches(memory_load *load)
{
    const cop_value zero = cop_i64(0), object = cop_object();
    cop_txn *txn;
    char name[32];
    cop_status status = cop_txn_begin(load->store, &txn);
    if (status != COP_OK)
        return status;
    status = cop_txn_set_child(txn, cop_root(), "counter", 7, &zero, &load->counter);
    for (unsigned i = 0; i < load->settings.writers && status == COP_OK; i++) {
        int n = snprintf(name, sizeof name, "w%u", i);
        status =
            cop_txn_set_child(txn, cop_root(), name, (size_t)n, &object, &load->writer[i].branch);
    }
    if (status == COP_OK)
        return cop_txn_commit(txn, NULL, NULL);
    cop_txn_cancel(txn);
    return status;
}

cop_status
memory_load_open(memory_load *load)
{
    cop_options options = COP_OPTIONS_INIT;
    options.memory_limit_bytes = load->settings.limit;
    options.memory_on_limit = load->settings.wait ? 0 : 1;
    options.snapshots_max_age_ms = load->settings.max_age_ms;
    options.allocator = load->settings.allocator;
    if (load->settings.no_clock)
        options.batch_window_ms = 0;
    cop_status status = cop_store_open(&options, &load->store, NULL);
    if (status == COP_OK)
        status = open_branches(load);
    return status == COP_OK ? fill(load) : status;
}

cop_status
memory_load_rewrite(memory_load *load)
{
    for (unsigned i = 0; i < load->settings.writers; i++) {
        memory_writer *w = &load->writer[i];
        for (uint32_t at = 0; at < w->count; at += MEMORY_EFFECTS) {
            memory_change change = {.stamp = ++w->stamp};
            for (uint32_t cell = at; cell < at + MEMORY_EFFECTS && cell < w->count; cell++)
                if (w->cells[cell].present)
                    change.effect[change.effects++] = (memory_effect){MEMORY_SET, cell, {0, 0}};
            cop_txn *txn = build(w, &change);
            if (txn == NULL)
                return COP_E_MEMORY;
            uint64_t refused = atomic_load(&w->refused) + atomic_load(&w->failed);
            commit(w, &change, txn);
            if (atomic_load(&w->refused) + atomic_load(&w->failed) != refused)
                return COP_E_MEMORY;
        }
    }
    return COP_OK;
}

void
memory_load_close(memory_load *load)
{
    size_t groups = groups_max(&load->settings);
    cop_store_close(load->store);
    load->store = NULL;
    for (unsigned i = 0; i < load->settings.writers; i++) {
        munmap(load->writer[i].cells, groups * MEMORY_GROUP * sizeof(memory_cell));
        munmap(load->writer[i].groups, groups * sizeof(cop_atom));
    }
}

/* --- what came of it -----------------------------------------------------------------------------
 */

memory_totals
memory_load_totals(memory_load *load)
{
    memory_totals sum = {0, 0, 0, 0, 0};
    for (unsigned i = 0; i < load->settings.writers; i++) {
        memory_writer *w = &load->writer[i];
        uint64_t longest = atomic_load_explicit(&w->longest_ns, memory_order_relaxed);
        sum.accepted += atomic_load_explicit(&w->accepted, memory_order_relaxed);
        sum.refused += atomic_load_explicit(&w->refused, memory_order_relaxed);
        sum.refused_erasures += atomic_load_explicit(&w->refused_erasures, memory_order_relaxed);
        sum.failed += atomic_load_explicit(&w->failed, memory_order_relaxed);
        sum.longest_ns = longest > sum.longest_ns ? longest : sum.longest_ns;
    }
    return sum;
}

static unsigned
message_add(memory_message *messages, unsigned n, unsigned most, const memory_message *m)
{
    for (unsigned i = 0; i < n; i++)
        if (strcmp(messages[i].text, m->text) == 0) {
            messages[i].times += m->times;
            return n;
        }
    if (n < most)
        messages[n++] = *m;
    return n;
}

unsigned
memory_load_messages(const memory_load *load, memory_message *messages, unsigned most)
{
    unsigned n = 0;
    for (unsigned i = 0; i < load->settings.writers; i++)
        for (int k = 0; k < MEMORY_MESSAGES && load->writer[i].message[k].times > 0; k++)
            n = message_add(messages, n, most, &load->writer[i].message[k]);
    for (unsigned i = 1; i < n; i++)
        for (unsigned k = i; k > 0 && messages[k].times > messages[k - 1].times; k--) {
            memory_message m = messages[k];
            messages[k] = messages[k - 1];
            messages[k - 1] = m;
        }
    return n;
}

/* NULL, or what is wrong. */
static const char *
look(const cop_snapshot *snapshot, const memory_writer *w, uint32_t at, unsigned char *bytes)
{
    const memory_cell *cell = &w->cells[at];
    cop_value found;
    cop_status status = cop_get(snapshot, cell->atom, &found);
    if (!cell->present)
        return status == COP_E_GONE ? NULL : "an erased atom is there";
    if (status != COP_OK)
        return "an atom is not there";
    const cop_value expected = cell_value(bytes, w->number, at, cell->stamp);
    return cop_value_equal(&found, &expected) ? NULL : "an atom has another value";
}

static void
wrong(memory_verdict *verdict, const char *what, unsigned writer, uint32_t at, uint32_t stamp)
{
    if (verdict->wrong++ == 0)
        (void)snprintf(verdict->first, sizeof verdict->first, "%s: %u of writer %u, written by %u",
                       what, at, writer, stamp);
}

memory_verdict
memory_load_verify(const memory_load *load, const cop_snapshot *snapshot)
{
    memory_verdict verdict = {0, 0, 0, 0, ""};
    unsigned char bytes[MEMORY_VALUE_BYTES];
    for (unsigned i = 0; i < load->settings.writers; i++) {
        const memory_writer *w = &load->writer[i];
        verdict.added += w->added;
        for (uint32_t at = 0; at < w->count; at++, verdict.compared++) {
            const char *what = look(snapshot, w, at, bytes);
            if (what != NULL)
                wrong(&verdict, what, i, at, w->cells[at].stamp);
        }
    }
    if (cop_get_i64(snapshot, load->counter, &verdict.counter) != COP_OK ||
        verdict.counter != verdict.added)
        wrong(&verdict, "the counter", 0, (uint32_t)verdict.counter, (uint32_t)verdict.added);
    if (cop_snapshot_atoms(snapshot) != memory_load_atoms(load))
        wrong(&verdict, "how many atoms there are", 0, (uint32_t)cop_snapshot_atoms(snapshot),
              (uint32_t)memory_load_atoms(load));
    return verdict;
}

uint64_t
memory_load_atoms(const memory_load *load)
{
    uint64_t atoms = 1;
    for (unsigned i = 0; i < load->settings.writers; i++) {
        const memory_writer *w = &load->writer[i];
        atoms += 1 + w->count / MEMORY_GROUP + w->count - w->absents;
    }
    return atoms;
}

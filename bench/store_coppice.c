/* SPDX-License-Identifier: MIT */
/*
 * Coppice through its public API. int8 keys are anonymous atoms reached by their handles, str24
 * keys are paths: cop_get_at and cop_txn_set_at. A 16-byte ("inline") value is a cop_value with 12
 * bytes inside it.
 */
#include <coppice/coppice.h>

#include <stdlib.h>

#include "bench/report.h"
#include "bench/store_case.h"
#include "bench/store_parts.h"

#define LOAD_TXN 10000 /* atoms made in one transaction */
#define SUBMIT_RUN 64  /* transactions submitted for each wait */
#define DRAIN_MS 10000 /* longest wait for what is dead to be freed */
#define PATH_BYTES (BENCH_NAME_WORDS * 8)

struct bench_reader {
    char none; /* the state is coppice's, in the thread */
};

static const bench_work *work;
static cop_store *store;
static cop_atom *atoms;       /* id -> handle (int8) */
static cop_atom *query_atoms; /* query -> handle (int8) */
static cop_atom counter_atom;

static bool
good(cop_status status, const char *call)
{
    if (status != COP_OK)
        report_note("%s: %s", call, cop_status_name(status));
    return status == COP_OK;
}

typedef cop_pin_t sys_held;

static inline sys_held
sys_pin(bench_reader *reader)
{
    (void)reader;
    return cop_pin(store);
}

static inline void
sys_unpin(bench_reader *reader, sys_held held)
{
    (void)reader;
    cop_unpin(held);
}

static inline uint64_t
first_word(const cop_value *value)
{
    uint64_t word;
    memcpy(&word, cop_value_data(value), sizeof word);
    return word;
}

static inline uint64_t
sys_get(sys_held held, size_t query, bool by_name)
{
    cop_value value;
    if (by_name)
        cop_get_at(held.snapshot, (const char *)bench_query(work, query, true), PATH_BYTES, &value);
    else
        cop_get(held.snapshot, query_atoms[query], &value);
    return first_word(&value);
}

#include "bench/store_loops.h"

static cop_value
value_make(uint64_t *words, uint64_t stamp)
{
    bench_value_make(words, work->value_bytes, stamp);
    return cop_bytes(words, work->value_bytes <= 16 ? COP_INLINE_MAX : work->value_bytes);
}

/* Touches every page, so that the handles do not count as the store's memory. */
static bool
prepare(const bench_work *w)
{
    size_t bytes = w->keys * sizeof *atoms, query_bytes = w->queries * sizeof *query_atoms;
    if (w->by_name)
        return true;
    atoms = malloc(bytes);
    query_atoms = malloc(query_bytes);
    if (!atoms || !query_atoms)
        return false;
    memset(atoms, 0xff, bytes);
    memset(query_atoms, 0xff, query_bytes);
    return true;
}

static bool
load_some(uint32_t from, uint32_t to)
{
    uint64_t words[BENCH_VALUE_WORDS], key[BENCH_NAME_WORDS];
    cop_status status;
    cop_txn *txn;
    if (!good(cop_txn_begin(store, &txn), "cop_txn_begin"))
        return false;
    for (uint32_t id = from; id < to; id++) {
        cop_value value = value_make(words, id);
        bench_key_make(key, id, work->by_name);
        if (work->by_name)
            status = cop_txn_set_at(txn, (const char *)key, PATH_BYTES, &value, NULL);
        else
            status = cop_txn_create(txn, &value, &atoms[id]);
        if (!good(status, "load")) {
            cop_txn_cancel(txn);
            return false;
        }
    }
    return good(cop_txn_commit(txn, NULL, NULL), "load: cop_txn_commit");
}

static bool
open_store(bench_config *config)
{
    cop_options options = COP_OPTIONS_INIT;
    options.batch_window_ms = 0; /* group commit */
    cop_stats stats = COP_STATS_INIT;
    options.readers_membarrier = config->membarrier;
    options.memory_huge_pages = config->huge_pages;
    if (!good(cop_store_open(&options, &store, NULL), "cop_store_open") ||
        !good(cop_stats_take(store, &stats), "cop_stats_take"))
        return false;
    config->membarrier = stats.membarrier;
    config->huge_pages = stats.huge_pages;
    return true;
}

static bool
load(const bench_work *w, bench_config *config)
{
    work = w;
    if (!open_store(config))
        return false;
    for (uint32_t id = 0; id < work->keys; id += LOAD_TXN) {
        uint32_t left = work->keys - id;
        if (!load_some(id, id + (left < LOAD_TXN ? left : LOAD_TXN)))
            return false;
    }
    for (uint32_t i = 0; !work->by_name && i < work->queries; i++)
        query_atoms[i] = atoms[work->query_id[i]];
    return true;
}

static bench_reader *
reader_open(void)
{
    static bench_reader one;
    return good(cop_reader_register(store), "cop_reader_register") ? &one : NULL;
}

static void
reader_close(bench_reader *reader)
{
    (void)reader; /* the thread's slot goes with the thread */
}

typedef struct scan_state {
    uint64_t n, sum;
} scan_state;

/* Below str24 keys every second atom is a branch, "users/000123": it is passed over. */
static int
scan_run(void *context, const cop_atom *handles, const cop_value *values, size_t n)
{
    scan_state *state = context;
    (void)handles;
    for (size_t i = 0; i < n; i++) {
        if (cop_value_type(&values[i]) == COP_BYTES) {
            state->sum += first_word(&values[i]);
            state->n++;
        }
    }
    return 0;
}

static uint64_t
scan(bench_reader *reader)
{
    scan_state state = {0, 0};
    sys_held held = sys_pin(reader);
    good(cop_scan(held.snapshot, scan_run, &state), "cop_scan");
    sys_unpin(reader, held);
    return state.sum ? state.n : 0;
}

static bool
update(size_t from, size_t n, uint64_t stamp)
{
    uint64_t words[BENCH_VALUE_WORDS];
    cop_value value = value_make(words, stamp);
    cop_status status;
    cop_txn *txn;
    if (!good(cop_txn_begin(store, &txn), "cop_txn_begin"))
        return false;
    for (size_t i = from; i < from + n; i++) {
        if (work->by_name)
            status = cop_txn_set_at(txn, (const char *)bench_query(work, i, true), PATH_BYTES,
                                    &value, NULL);
        else
            status = cop_txn_set(txn, query_atoms[i], &value);
        if (!good(status, "update")) {
            cop_txn_cancel(txn);
            return false;
        }
    }
    return good(cop_txn_commit(txn, NULL, NULL), "update: cop_txn_commit");
}

static void
drain(void)
{
    cop_stats stats = COP_STATS_INIT;
    uint64_t end = bench_wall_ns() + DRAIN_MS * 1000000ull;
    do {
        if (!good(cop_store_poll(store), "cop_store_poll") ||
            !good(cop_stats_take(store, &stats), "cop_stats_take"))
            return;
    } while (stats.pages_dead + stats.values_dead + stats.names_dead && bench_wall_ns() < end);
}

static uint64_t
bytes(void)
{
    cop_stats stats = COP_STATS_INIT;
    return good(cop_stats_take(store, &stats), "cop_stats_take") ? stats.bytes_held : 0;
}

static unsigned
kinds(bench_kind *out)
{
    cop_stats stats = COP_STATS_INIT;
    unsigned n = 0;
    if (!good(cop_stats_take(store, &stats), "cop_stats_take"))
        return 0;
    for (int kind = 0; kind < COP_MEMORY_KINDS && n < BENCH_KINDS_MAX; kind++) {
        if (stats.bytes_by_kind[kind] == 0)
            continue;
        strncpy(out[n].name, cop_memory_kind_name((cop_memory_kind)kind), sizeof out[n].name - 1);
        out[n].name[sizeof out[n].name - 1] = 0;
        out[n++].bytes = (double)stats.bytes_by_kind[kind];
    }
    return n;
}

static unsigned
parts(bench_kind *out, uint64_t *made)
{
    cop_stats stats = COP_STATS_INIT;
    if (!good(cop_stats_take(store, &stats), "cop_stats_take"))
        return 0;
    *made = stats.atoms;
    return bench_parts(store, out);
}

static cop_txn *
add_one(void)
{
    cop_value one = cop_i64(1);
    cop_txn *txn;
    if (!good(cop_txn_begin(store, &txn), "cop_txn_begin"))
        return NULL;
    if (good(cop_txn_add(txn, counter_atom, &one), "cop_txn_add"))
        return txn;
    cop_txn_cancel(txn);
    return NULL;
}

static uint64_t
count_add(void)
{
    cop_txn *txn = add_one();
    return txn && good(cop_txn_commit(txn, NULL, NULL), "add: cop_txn_commit") ? 1 : 0;
}

/* Hands over a run of transactions and waits for the last, whose outcome follows the others'. */
static uint64_t
count_submit(void)
{
    cop_ticket *ticket = NULL;
    cop_status status;
    for (unsigned i = 1; i <= SUBMIT_RUN; i++) {
        cop_txn *txn = add_one();
        if (!txn || !good(cop_txn_submit(txn, i == SUBMIT_RUN ? &ticket : NULL), "cop_txn_submit"))
            return 0;
    }
    status = cop_ticket_wait(ticket, COP_FOREVER, NULL, NULL);
    cop_ticket_release(ticket);
    return good(status, "cop_ticket_wait") ? SUBMIT_RUN : 0;
}

static cop_status
increment(cop_txn *txn, void *context)
{
    cop_value value;
    cop_status status = cop_txn_get(txn, counter_atom, &value);
    (void)context;
    if (status != COP_OK)
        return status;
    value = cop_i64(cop_value_i64(&value) + 1);
    return cop_txn_set(txn, counter_atom, &value);
}

static uint64_t
count_transact(void)
{
    return good(cop_transact(store, increment, NULL, COP_FOREVER, NULL), "cop_transact") ? 1 : 0;
}

/* The first call makes the counter, before any thread counts. */
static uint64_t
counter(void)
{
    cop_value value = cop_i64(0);
    int64_t n = 0;
    cop_txn *txn;
    cop_pin_t pin;
    if (counter_atom.generation == 0) {
        if (!good(cop_atom_at(store, "counter", 7, &counter_atom, NULL), "cop_atom_at") ||
            !good(cop_txn_begin(store, &txn), "cop_txn_begin"))
            return 0;
        good(cop_txn_set(txn, counter_atom, &value), "cop_txn_set");
        good(cop_txn_commit(txn, NULL, NULL), "cop_txn_commit");
    }
    pin = cop_pin(store);
    good(cop_get_i64(pin.snapshot, counter_atom, &n), "cop_get_i64");
    cop_unpin(pin);
    return (uint64_t)n;
}

static const bench_system system_coppice = {
    .name = "coppice",
    .snapshots = true,
    .prepare = prepare,
    .load = load,
    .reader_open = reader_open,
    .reader_close = reader_close,
    .lookup = loop_lookup,
    .pin_lookup = loop_pin_lookup,
    .pin = loop_pin,
    .scan = scan,
    .hold = loop_hold,
    .release = loop_release,
    .update = update,
    .drain = drain,
    .bytes = bytes,
    .kinds = kinds,
    .parts = parts,
    .count = {count_add, count_submit, count_transact},
    .counter = counter,
};
const bench_system *const bench_coppice = &system_coppice;

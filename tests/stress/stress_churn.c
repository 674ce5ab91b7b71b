/* SPDX-License-Identifier: MIT */
/*
 * Creating and erasing, millions of times. After a warm-up neither bytes nor ids may grow. Then a
 * branch of 1,000,000 atoms is erased beside a thread that commits all the time: how long that
 * thread was held up is printed, what the erasure allocated is checked, and that the next such branch
 * needs no more.
 *
 * --threads is the number of threads that create and erase, each below a branch of its own.
 */
#include "tests/stress/common.h"
#include "tests/support/fault_alloc.h"

enum {
    BATCH = 200,
    GENERATIONS = 4, /* batches alive at once, of each thread */
    BIG = STRESS_SLOW ? 100000 : 1000000,
    FILL = 20000, /* atoms a transaction while filling */
};

enum {
    BYTES_STEADY,
    IDS_STEADY,
    ATOMS_COUNTED,
    GONE,
    ERASED_WHOLE,
    LITTLE_ALLOCATED,
    FREED,
    USED_AGAIN,
};
static const char *const properties[] = {
    "bytes held do not grow after the warm-up",
    "ids do not grow after the warm-up",
    "the count of atoms is that of the model",
    "erased atoms are gone, also when their ids are used again",
    "a version sees a large branch whole or not at all",
    "erasing allocates at most 5 % of what it frees",
    "pages and values of an erased branch are freed",
    "an erased branch leaves room for the next one",
};

static cop_store *store;
static fault_alloc memory; /* counts what the store holds */
static _Atomic uint32_t greatest_id;
static _Atomic uint64_t cycles, longest_ns;
static _Atomic bool erasing_over;

static cop_txn *
begin(void)
{
    cop_txn *txn = NULL;

    stress_need(cop_txn_begin(store, &txn), "begin");
    return txn;
}

static cop_stats
stats_now(void)
{
    cop_stats stats = COP_STATS_INIT;

    stress_need(cop_stats_take(store, &stats), "stats");
    return stats;
}

/* Lets the store free what nobody needs; what it holds then. */
static cop_stats
settled(void)
{
    uint64_t deadline = stress_now_ns() + UINT64_C(60000000000);
    cop_stats stats = stats_now();

    while (stats.pages_dead + stats.values_dead + stats.names_dead != 0 &&
           stress_now_ns() < deadline) {
        stress_need(cop_store_poll(store), "poll");
        stats = stats_now();
    }
    return stats;
}

/* --- cycles ---------------------------------------------------------------------------------- */

typedef struct churner {
    unsigned index;
    stress_random random;
    uint64_t batches;
    cop_atom anonymous[GENERATIONS][BATCH];
    cop_atom named[GENERATIONS];
} churner;

static int
batch_path(char path[64], unsigned index, uint64_t batch)
{
    return snprintf(path, 64, "churn/%u/%" PRIu64, index, batch);
}

static void
create_batch(churner *c, cop_txn *txn)
{
    cop_atom *anonymous = c->anonymous[c->batches % GENERATIONS];
    unsigned char bytes[64] = {0};
    char path[64];

    for (unsigned i = 0; i < BATCH; i++) {
        size_t n = 16 + i % 48;
        cop_value value = i % 2 ? cop_i64(i) : cop_bytes(bytes, n);
        int used = batch_path(path, c->index, c->batches);
        used += snprintf(path + used, sizeof path - (size_t)used, "/item%u", i);
        stress_need(cop_txn_set_at(txn, path, (size_t)used, &value, NULL), "set_at");
        stress_need(cop_txn_create(txn, &value, &anonymous[i]), "create");
    }
}

static void
erase_batch(churner *c, cop_txn *txn)
{
    const cop_atom *anonymous = c->anonymous[c->batches % GENERATIONS];
    char path[64];
    int n = batch_path(path, c->index, c->batches - GENERATIONS);

    stress_need(cop_txn_erase_at(txn, path, (size_t)n, NULL), "erase_at");
    for (unsigned i = 0; i < BATCH; i++)
        stress_need(cop_txn_erase(txn, anonymous[i]), "erase");
}

static void
note_id(uint32_t id)
{
    uint32_t now = atomic_load(&greatest_id);

    while (now < id && !atomic_compare_exchange_weak(&greatest_id, &now, id))
        continue;
}

static void
check_gone(cop_atom old)
{
    cop_pin_t pin = cop_pin(store);
    cop_value value;
    cop_status status = cop_get(pin.snapshot, old, &value);

    stress_check(GONE, status == COP_E_GONE, "%s", cop_status_name(status));
    cop_unpin(pin);
}

static void
cycle(churner *c)
{
    unsigned slot = (unsigned)(c->batches % GENERATIONS);
    cop_atom old = c->anonymous[slot][stress_below(&c->random, BATCH)], old_named = c->named[slot];
    char path[64];
    cop_txn *txn;
    int n;

    if (c->batches >= GENERATIONS) {
        txn = begin();
        erase_batch(c, txn);
        stress_need(cop_txn_commit(txn, NULL, NULL), "commit");
        check_gone(old);
        check_gone(old_named);
    }
    txn = begin();
    create_batch(c, txn);
    stress_need(cop_txn_commit(txn, NULL, NULL), "commit");
    if (c->batches >= GENERATIONS)
        check_gone(old);
    n = batch_path(path, c->index, c->batches);
    n += snprintf(path + n, sizeof path - (size_t)n, "/item%d", BATCH - 1);
    stress_need(cop_atom_find(store, path, (size_t)n, &c->named[slot]), "find");
    for (unsigned i = 0; i < BATCH; i++)
        note_id(c->anonymous[slot][i].id);
    note_id(c->named[slot].id);
    c->batches++;
    atomic_fetch_add(&cycles, 1);
}

static churner churners[STRESS_THREADS];
static _Atomic uint64_t phase_end_ns;

static void *
churn(void *context)
{
    churner *c = &churners[(uintptr_t)context];
    uint64_t n = 0;

    c->index = (unsigned)(uintptr_t)context;
    c->random = stress_random_of(c->index + c->batches);
    do {
        cycle(c);
        n++;
    } while (stress_now_ns() < atomic_load(&phase_end_ns) || c->batches < 3 * GENERATIONS);
    stress_count(2 * n * BATCH);
    return NULL;
}

static void
churn_for(uint64_t ns)
{
    atomic_store(&phase_end_ns, stress_now_ns() + ns);
    stress_run(stress.threads, churn);
}

static void
churn_steadily(void)
{
    cop_stats warm, last;
    uint32_t ids;
    uint64_t live;

    churn_for(stress.seconds * 150000000u);
    warm = settled();
    ids = atomic_load(&greatest_id);
    churn_for(stress.seconds * 450000000u);
    last = settled();
    live = (uint64_t)stress.threads * (1 + GENERATIONS * (2 * BATCH + 1)) + 1;
    printf("%" PRIu64 " cycles of %d atoms; bytes %" PRIu64 " warm, %" PRIu64
           " at the end; greatest id %u warm, %u at the end\n",
           atomic_load(&cycles), 2 * BATCH, warm.bytes_held, last.bytes_held, ids,
           atomic_load(&greatest_id));
    /* Threads meet differently each time, so that a little more may be alive at once. */
    stress_check(BYTES_STEADY, last.bytes_held <= warm.bytes_held + warm.bytes_held / 4 + (2u << 20),
                 "%" PRIu64 " after %" PRIu64, last.bytes_held, warm.bytes_held);
    stress_check(IDS_STEADY, atomic_load(&greatest_id) <= 2 * ids + 4096, "%u after %u",
                 atomic_load(&greatest_id), ids);
    stress_check(ATOMS_COUNTED, last.atoms == live, "%" PRIu64 ", should be %" PRIu64, last.atoms,
                 live);
}

/* --- one large branch ----------------------------------------------------------------------------- */

static void
fill_big(void)
{
    cop_value object = cop_object();
    cop_atom big = COP_ATOM_NONE_INIT;
    char key[32];

    for (int i = 0; i < BIG;) {
        cop_txn *txn = begin();
        stress_need(cop_txn_set_child(txn, cop_root(), "big", 3, &object, &big), "set_child");
        for (int end = i + FILL < BIG ? i + FILL : BIG; i < end; i++) {
            cop_value value = cop_i64(i);
            int n = snprintf(key, sizeof key, "item-%d", i);
            stress_need(cop_txn_set_child(txn, big, key, (size_t)n, &value, NULL), "set_child");
        }
        stress_need(cop_txn_commit(txn, NULL, NULL), "commit");
    }
}

/* Commits all the time and notes the longest commit. */
static void *
small_commits(void *context)
{
    cop_atom atom;

    (void)context;
    stress_need(cop_atom_at(store, "small", 5, &atom, NULL), "atom_at");
    for (int64_t i = 1; !atomic_load(&erasing_over); i++) {
        uint64_t start = stress_now_ns(), took;
        cop_value value = cop_i64(i);
        cop_txn *txn = begin();
        stress_need(cop_txn_set(txn, atom, &value), "set");
        stress_need(cop_txn_commit(txn, NULL, NULL), "commit");
        took = stress_now_ns() - start;
        if (took > atomic_load(&longest_ns))
            atomic_store(&longest_ns, took);
        stress_count(1);
    }
    return NULL;
}

/* Before, during and after: a pin sees BIG children or no branch. */
static void
check_whole(bool there)
{
    cop_pin_t pin = cop_pin(store);
    cop_atom big;
    uint32_t count = 0;
    cop_status status = cop_find(pin.snapshot, "big", 3, &big);

    if (status == COP_OK)
        status = cop_count(pin.snapshot, big, &count);
    stress_check(ERASED_WHOLE, there ? status == COP_OK && count == BIG : status == COP_E_ABSENT,
                 "%s, %u children", cop_status_name(status), count);
    cop_unpin(pin);
}

static int64_t
in_use(const cop_stats *stats)
{
    return (int64_t)(512 * stats->pages + stats->value_bytes + stats->name_bytes);
}

/* Erases it and lets the store free all of it; what the store grew by meanwhile. */
static int64_t
erase_big(void)
{
    int64_t held;
    uint64_t start;
    cop_txn *txn;

    check_whole(true);
    atomic_store(&longest_ns, 0);
    fault_alloc_reset_peak(&memory);
    held = atomic_load(&memory.bytes);
    start = stress_now_ns();
    txn = begin();
    stress_need(cop_txn_erase_at(txn, "big", 3, NULL), "erase_at");
    stress_need(cop_txn_commit(txn, NULL, NULL), "commit");
    printf("erasing %d atoms: its commit %.2f ms", BIG, (double)(stress_now_ns() - start) / 1e6);
    check_whole(false);
    settled();
    printf(", longest other commit while all is freed %.2f ms\n",
           (double)atomic_load(&longest_ns) / 1e6);
    return atomic_load(&memory.peak) - held;
}

static void
erase_beside_commits(void)
{
    cop_stats before = settled(), after;
    int64_t grown, freed;
    pthread_t other;

    if (pthread_create(&other, NULL, small_commits, NULL) != 0)
        stress_need(COP_E_LIMIT, "pthread_create");
    stress_sleep_us(100000);
    grown = erase_big();
    atomic_store(&erasing_over, true);
    pthread_join(other, NULL);
    after = settled();
    freed = in_use(&before) - in_use(&after);
    printf("bytes: %" PRIu64 " held before, %" PRIu64 " after; %" PRId64 " in use freed, grown by %" PRId64
           " meanwhile\n",
           before.bytes_held, after.bytes_held, freed, grown);
    /* Memory is taken in chunks of up to 2 MiB: of a small branch that is more than 5 %. */
    stress_check(LITTLE_ALLOCATED, 20 * grown <= freed || (STRESS_SLOW && grown <= 2 << 20), "%" PRId64 " of %" PRId64, grown, freed);
    stress_check(FREED, freed > (int64_t)BIG * 32, "%" PRId64 " bytes", freed);
    fill_big();
    after = settled();
    stress_check(USED_AGAIN, after.bytes_held <= before.bytes_held + before.bytes_held / (STRESS_SLOW ? 3 : 20),
                 "%" PRIu64 " bytes, the first time %" PRIu64, after.bytes_held, before.bytes_held);
}

int
main(int argc, char **argv)
{
    cop_options options = COP_OPTIONS_INIT;

    stress_start(argc, argv, 2);
    stress_properties(properties, sizeof properties / sizeof *properties);
    fault_alloc_init(&memory);
    options.allocator = fault_alloc_table(&memory);
    options.memory_chunk_bytes = 65536; /* so that what an erasure allocates is seen finely */
    stress_need(cop_store_open(&options, &store, NULL), "open");
    churn_steadily();
    fill_big();
    erase_beside_commits();
    cop_store_close(store);
    return stress_finish();
}

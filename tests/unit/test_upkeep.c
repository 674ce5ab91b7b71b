/* SPDX-License-Identifier: MIT */
/* What a store does besides commits: readers and their slabs, scans, freeing, sweeping,
 * descriptors, and what a function of cop_transact may do. */
#include <pthread.h>
#include <semaphore.h>
#include <sys/wait.h>
#include <unistd.h>

#include "commit/combiner.h"
#include "reclaim/gate.h"
#include "tests/support/store_test.h"
#include "tests/support/tree_check.h"

static cop_stats
stats(cop_store *store)
{
    cop_stats s = COP_STATS_INIT;

    CHECK_OK(cop_stats_take(store, &s));
    return s;
}

/* Nothing of the store runs at the moment. */
static void
tree_of_store_is_right(cop_store *store)
{
    const char *wrong = tree_check(&store->tree);

    ck_assert_msg(wrong == NULL, "%s", wrong);
}

/* --- readers ---------------------------------------------------------------------- */

/* More readers than a slab has, all at once; those that are closed are used again. */
START_TEST(readers_of_many_slabs)
{
    enum { READERS = (int)(3 * COP_READERS_A_SLAB + 1) };
    static cop_reader *readers[READERS];
    cop_store *store = t_open();
    cop_pin_t pins[READERS];
    uint64_t bytes;

    for (int i = 0; i < READERS; i++) {
        CHECK_OK(cop_reader_open(store, &readers[i]));
        for (int k = 0; k < i; k += 17)
            ck_assert_ptr_ne(readers[i], readers[k]);
        pins[i] = cop_reader_pin(readers[i]);
        ck_assert_ptr_nonnull(pins[i].snapshot);
    }
    bytes = stats(store).bytes_by_kind[COP_MEMORY_READERS];
    ck_assert_uint_ge(bytes, 4 * COP_SLAB_BYTES);
    ck_assert_uint_lt(bytes, 5 * COP_SLAB_BYTES + 16384);
    ck_assert_uint_eq(stats(store).readers, READERS);
    t_set_at(store, "a", cop_i64(1));
    CHECK_OK(cop_store_poll(store));
    ck_assert_uint_ge(stats(store).pins, READERS);
    for (int i = 0; i < READERS; i++) {
        cop_unpin(pins[i]);
        if (i % 2)
            cop_reader_close(readers[i]);
    }
    CHECK_OK(cop_store_poll(store));
    ck_assert_uint_eq(stats(store).pins, 0);
    for (int i = 1; i < READERS; i += 2)
        CHECK_OK(cop_reader_open(store, &readers[i]));
    ck_assert_uint_eq(stats(store).bytes_by_kind[COP_MEMORY_READERS], bytes);
    for (int i = 0; i < READERS; i++)
        cop_reader_close(readers[i]);
    t_close(store);
}
END_TEST

START_TEST(readers_without_memory)
{
    cop_store *store = t_open();
    cop_reader *readers[2 * COP_READERS_A_SLAB];
    uint64_t before = stats(store).readers;
    size_t n = 0, refused = 0;

    while (n < COP_READERS_A_SLAB * 2 - 1) {
        fault_alloc_arm(&t_faults, 1, false);
        atomic_store(&cop__store_memory(store)->fail_countdown, (int64_t)(refused % 2));
        cop_status status = cop_reader_open(store, &readers[n]);
        atomic_store(&cop__store_memory(store)->fail_countdown, -1);
        fault_alloc_disarm(&t_faults);
        if (status == COP_OK) {
            n++;
            continue;
        }
        ck_assert_int_eq(status, COP_E_MEMORY);
        ck_assert_ptr_null(readers[n]);
        ck_assert_uint_eq(stats(store).readers, before + n);
        refused++;
        if (refused % 2 == 0) {
            CHECK_OK(cop_reader_open(store, &readers[n]));
            n++;
        }
    }
    ck_assert_uint_ge(refused, 2);
    while (n-- > 0)
        cop_reader_close(readers[n]);
    t_close(store);
}
END_TEST

/* --- threads and stores ----------------------------------------------------------- */

static cop_store *first, *second;
static sem_t turn[2];

static void *
outlives_a_store(void *unused)
{
    cop_txn *txn = t_begin(first); /* leaves a spare transaction with the thread's reader */

    (void)unused;
    cop_txn_cancel(txn);
    t_is_i64(first, t_find(first, "a"), 1);
    sem_post(&turn[0]);
    sem_wait(&turn[1]); /* the first store is closed meanwhile */
    t_set_at(second, "b", cop_i64(2));
    sem_post(&turn[0]);
    sem_wait(&turn[1]);
    return NULL;
}

/* A thread that read a store keeps nothing of it once it registers with another. */
START_TEST(a_thread_forgets_stores_that_are_gone)
{
    fault_alloc faults;
    cop_options options = COP_OPTIONS_INIT;
    pthread_t thread;

    fault_alloc_init(&faults);
    options.allocator = fault_alloc_table(&faults);
    CHECK_OK(cop_store_open(&options, &first, NULL));
    second = t_open();
    t_set_at(first, "a", cop_i64(1));
    ck_assert(sem_init(&turn[0], 0, 0) == 0 && sem_init(&turn[1], 0, 0) == 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, outlives_a_store, NULL), 0);
    sem_wait(&turn[0]);
    cop_store_close(first);
    ck_assert_int_gt(atomic_load(&faults.blocks), 0);
    sem_post(&turn[1]);
    sem_wait(&turn[0]);
    ck_assert_int_eq(atomic_load(&faults.blocks), 0);
    ck_assert_uint_eq(atomic_load(&faults.destroyed), 1);
    sem_post(&turn[1]);
    pthread_join(thread, NULL);
    t_close(second);
}
END_TEST

/* One thread, several stores in turn: each keeps its own reader. */
START_TEST(a_thread_reads_many_stores)
{
    enum { STORES = 5 };
    cop_store *stores[STORES];
    fault_alloc faults[STORES];

    for (int i = 0; i < STORES; i++) {
        cop_options options = COP_OPTIONS_INIT;
        fault_alloc_init(&faults[i]);
        options.allocator = fault_alloc_table(&faults[i]);
        CHECK_OK(cop_store_open(&options, &stores[i], NULL));
        t_set_at(stores[i], "n", cop_i64(i));
    }
    for (int round = 0; round < 20; round++) {
        int i = round * 3 % STORES;
        t_is_i64(stores[i], t_find(stores[i], "n"), i);
        ck_assert_uint_eq(stats(stores[i]).readers, 1);
    }
    for (int i = 0; i < STORES; i++) {
        int k = i * 2 % STORES;
        cop_store_close(stores[k]);
        ck_assert_int_eq(atomic_load(&faults[k].blocks), 0);
        for (int rest = i + 1; rest < STORES; rest++)
            t_is_i64(stores[rest * 2 % STORES], t_find(stores[rest * 2 % STORES], "n"),
                     rest * 2 % STORES);
    }
}
END_TEST

static char logged[256];

static void
note_log(void *context, cop_log_level level, const char *message)
{
    (void)context;
    if (level == COP_LOG_WARNING)
        snprintf(logged, sizeof logged, "%s", message);
}

static void *
leaves_pins(void *number)
{
    for (intptr_t i = 0; i < (intptr_t)number; i++)
        ck_assert_ptr_nonnull(cop_pin(first).snapshot);
    return NULL;
}

START_TEST(pins_of_threads_that_end_are_released)
{
    cop_options options = COP_OPTIONS_INIT;

    options.log = note_log;
    CHECK_OK(cop_store_open(&options, &first, NULL));
    for (intptr_t n = 0; n <= 3; n++) {
        pthread_t thread;
        uint64_t leaked = stats(first).pins_leaked;
        logged[0] = '\0';
        ck_assert_int_eq(pthread_create(&thread, NULL, leaves_pins, (void *)n), 0);
        pthread_join(thread, NULL);
        ck_assert_uint_eq(stats(first).pins_leaked, leaked + (uint64_t)n);
        ck_assert(n == 0 ? logged[0] == '\0'
                         : strstr(logged, n == 1 ? "1 pin;" : " pins;") != NULL);
        ck_assert_uint_eq(stats(first).readers, 0);
    }
    CHECK_OK(cop_store_poll(first));
    ck_assert_uint_eq(stats(first).pins, 0);
    cop_store_close(first);
}
END_TEST

START_TEST(refused_snapshots_are_null)
{
    cop_store *store = t_open();
    pid_t child = fork();
    int status = 0;

    if (child == 0) {
        const cop_snapshot *snapshot = (const cop_snapshot *)(const void *)&status;
        bool right = cop_snapshot_take(store, &snapshot) == COP_E_FORKED && snapshot == NULL;
        _exit(right ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    t_close(store);
}
END_TEST

/* --- freeing and sweeping --------------------------------------------------------- */

static void
large_branch(cop_store *store, unsigned n)
{
    cop_txn *txn = t_begin(store);
    char path[32];

    for (unsigned i = 0; i < n; i++) {
        cop_value value = cop_string("a text that needs a block", 25);
        snprintf(path, sizeof path, "large/%u", i);
        CHECK_OK(cop_txn_set_at(txn, P(path), &value, NULL));
    }
    t_commit(txn);
}

/* Polling takes the names of an erased branch out without making versions, and frees what died. */
START_TEST(polling_cleans_up)
{
    cop_store *store = t_open();
    uint64_t version;
    cop_stats s;

    large_branch(store, 6000);
    tree_of_store_is_right(store);
    version = t_erase_at(store, "large");
    ck_assert_uint_gt(stats(store).names_dead, 0);
    for (int i = 0; i < 10; i++)
        CHECK_OK(cop_store_poll(store));
    s = stats(store);
    ck_assert_uint_eq(s.names_dead, 0);
    ck_assert_uint_eq(s.names, 0);
    ck_assert_uint_eq(s.name_bytes, 0);
    ck_assert_uint_eq(s.values_dead, 0);
    ck_assert_uint_eq(s.pages_dead, 0);
    ck_assert_uint_eq(s.version, version);
    ck_assert_uint_eq(s.commits, version);
    ck_assert_uint_gt(s.scans, 0);
    tree_of_store_is_right(store);
    t_close(store);
}
END_TEST

/* What only a snapshot needed goes when the snapshot is dropped, without a commit. */
START_TEST(dropping_a_snapshot_frees_what_it_held)
{
    cop_store *store = t_open();
    const cop_snapshot *snapshot;
    uint64_t scans;

    large_branch(store, 3000);
    snapshot = t_take(store);
    t_erase_at(store, "large");
    for (int i = 0; i < 10; i++)
        CHECK_OK(cop_store_poll(store));
    ck_assert_uint_gt(stats(store).values_dead + stats(store).pages_dead, 90);
    ck_assert_uint_gt(stats(store).value_bytes, 3000 * 25);
    ck_assert_uint_eq(stats(store).held_versions, 1);
    scans = stats(store).scans;
    cop_snapshot_drop(snapshot);
    ck_assert_uint_eq(stats(store).values_dead + stats(store).pages_dead, 0);
    ck_assert_uint_eq(stats(store).value_bytes, 0);
    ck_assert_uint_gt(stats(store).scans, scans);
    tree_of_store_is_right(store);
    t_close(store);
}
END_TEST

/* Commits free as much as they replace: no pile of dead pages grows. */
START_TEST(commits_free_as_they_go)
{
    cop_store *store = t_open();
    cop_atom atom = t_make(store, "a", cop_i64(0));
    uint64_t most = 0;

    for (int i = 1; i < 20000; i++) {
        t_set(store, atom, cop_i64(i));
        if (i > 10000 && stats(store).pages > most)
            most = stats(store).pages;
    }
    ck_assert_uint_lt(most, 4000);
    t_close(store);
}
END_TEST

/* Settling takes as many steps as it may, fewer when nothing is left, and gives up after some that
 * got nowhere. A step is a scan. */
START_TEST(settling_ends)
{
    cop_store *store = t_open();
    const cop_snapshot *snapshot;
    uint64_t scans, left;

    large_branch(store, 3000);
    snapshot = t_take(store);
    t_erase_at(store, "large");
    for (int i = 0; i < 10; i++)
        CHECK_OK(cop_store_poll(store));
    ck_assert(cop__right_try(store));
    cop_snapshot_drop(snapshot);
    scans = atomic_load(&store->count.scans);
    cop__settle_all(store, 5, 1);
    ck_assert_uint_eq(atomic_load(&store->count.scans), scans + 5);
    left = store->tree.dead.blocks_dead + store->tree.dead.pages_dead;
    ck_assert_uint_gt(left, 50);
    cop__settle_all(store, 100, 0);
    ck_assert_uint_eq(store->tree.dead.blocks_dead + store->tree.dead.pages_dead, left);
    ck_assert_uint_gt(atomic_load(&store->count.scans), scans + 5 + 2);
    ck_assert_uint_lt(atomic_load(&store->count.scans), scans + 5 + 50);
    cop__settle_all(store, 100, SIZE_MAX);
    ck_assert_uint_eq(store->tree.dead.blocks_dead + store->tree.dead.pages_dead, 0);
    scans = atomic_load(&store->count.scans);
    cop__settle_all(store, 100, 1);
    ck_assert_uint_eq(atomic_load(&store->count.scans), scans + 1);
    cop__settle_all(store, 0, 1);
    ck_assert_uint_eq(atomic_load(&store->count.scans), scans + 1);
    cop__right_leave(store);
    tree_of_store_is_right(store);
    t_close(store);
}
END_TEST

static cop_ticket *
submit_two(cop_store *store, const char *path, const char *missing)
{
    cop_txn *txn = t_begin(store);
    cop_value value = cop_string("a text that needs a block", 25);
    cop_ticket *ticket = NULL;

    CHECK_OK(cop_txn_set_at(txn, P(path), &value, NULL));
    if (missing != NULL)
        CHECK_OK(cop_txn_erase_at(txn, P(missing), NULL));
    CHECK_OK(cop_txn_submit(txn, &ticket));
    return ticket;
}

/* The second of three fails behind a change, so that the batch is undone and the first applied
 * again; from each request for memory on, all are refused. */
START_TEST(undoing_without_memory)
{
    cop_store *store = t_open();
    static const char *const paths[3] = {"first", "second", "third"};
    unsigned refused[3] = {0, 0, 0};
    bool fired = true;

    for (int64_t k = 0; fired; k++) {
        cop_ticket *tickets[3];
        uint64_t before = cop_store_version(store), abandoned = stats(store).batches_abandoned;
        for (int i = 0; i < 3; i++)
            tickets[i] = submit_two(store, paths[i], i == 1 ? "nothing" : NULL);
        atomic_store(&cop__store_memory(store)->fail_for_ever, true);
        atomic_store(&cop__store_memory(store)->fail_countdown, k);
        CHECK_OK(cop_store_poll(store));
        fired = atomic_load(&cop__store_memory(store)->fail_countdown) == 0;
        atomic_store(&cop__store_memory(store)->fail_countdown, -1);
        tree_of_store_is_right(store);
        uint64_t versions = 0;
        for (int i = 0; i < 3; i++) {
            cop_status status = cop_ticket_poll(tickets[i], NULL);
            cop_atom atom;
            bool there = cop_atom_find(store, P(paths[i]), &atom) == COP_OK;
            refused[i] += status == COP_E_MEMORY;
            ck_assert(status == COP_E_MEMORY || status == (i == 1 ? COP_E_ABSENT : COP_OK));
            ck_assert_int_eq(there, status == COP_OK);
            versions += there;
            cop_ticket_release(tickets[i]);
        }
        ck_assert_uint_eq(cop_store_version(store), before + versions);
        ck_assert_uint_ge(stats(store).batches_abandoned, abandoned);
        for (int i = 0; i < 3; i++)
            if (cop_atom_find(store, P(paths[i]), &(cop_atom){0, 0}) == COP_OK)
                t_erase_at(store, paths[i]);
    }
    ck_assert_uint_gt(refused[0] + refused[1] + refused[2], 0);
    t_close(store);
}
END_TEST

/* --- what the host's loop sees ---------------------------------------------------- */

/* Whatever is refused on the way, the atoms are still there and counted. */
START_TEST(erasing_a_branch_without_memory)
{
    enum { CHILDREN = 3000 };
    cop_store *store = t_open();
    cop_status status = COP_E_MEMORY;
    cop_value value = cop_i64(7);
    cop_txn *txn = NULL;
    unsigned refused = 0;
    char path[16];
    for (int i = 0; i < CHILDREN; i++) { /* by few: the log of a draft is still short */
        if (i % 50 == 0)
            txn = t_begin(store);
        snprintf(path, sizeof path, "b/%d", i);
        CHECK_OK(cop_txn_set_at(txn, path, strlen(path), &value, NULL));
        if (i % 50 == 49)
            t_commit(txn);
    }
    for (int64_t k = 0; status == COP_E_MEMORY && k < 2000; k++) {
        txn = t_begin(store);
        CHECK_OK(cop_txn_erase_at(txn, P("b"), NULL));
        atomic_store(&cop__store_memory(store)->fail_for_ever, true);
        atomic_store(&cop__store_memory(store)->fail_countdown, k);
        status = cop_txn_commit(txn, NULL, NULL);
        atomic_store(&cop__store_memory(store)->fail_countdown, -1);
        refused += status == COP_E_MEMORY;
        tree_of_store_is_right(store);
        ck_assert_uint_eq(stats(store).atoms, status == COP_OK ? 0 : CHILDREN + 1);
    }
    CHECK_OK(status);
    ck_assert_uint_gt(refused, 2);
    t_close(store);
}
END_TEST

START_TEST(there_is_one_descriptor)
{
    cop_store *store = t_open();
    cop_value value = cop_i64(1);
    int fd = -2, again = -2;
    uint64_t count = 0;
    cop_txn *txn;

    CHECK_OK(cop_store_fd(store, &fd));
    CHECK_OK(cop_store_fd(store, &again));
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(again, fd);
    fd = store->fd; /* what is behind it */
    ck_assert_int_lt(read(fd, &count, sizeof count), 0);
    for (int i = 0; i < 3; i++) {
        txn = t_begin(store);
        CHECK_OK(cop_txn_set_at(txn, P("a"), &value, NULL));
        CHECK_OK(cop_txn_submit(txn, NULL));
    }
    ck_assert_int_eq(read(fd, &count, sizeof count), sizeof count);
    ck_assert_uint_eq(count, 1); /* signalled once for all that wait */
    CHECK_OK(cop_store_poll(store));
    ck_assert_int_lt(read(fd, &count, sizeof count), 0);
    t_close(store);
}
END_TEST

/* --- transact --------------------------------------------------------------------- */

typedef struct tries {
    cop_store *store;
    int count, refused;
} tries;

/* Somebody else writes what was read, for as long as that is allowed. */
static cop_status
meddle(cop_txn *txn, void *context)
{
    tries *t = context;
    cop_value value;
    cop_txn *other;
    cop_status status = cop_txn_get(txn, t_find(t->store, "a"), &value);

    t->count++;
    if (status != COP_OK)
        return status;
    status = cop_txn_begin(t->store, &other);
    if (status == COP_E_IN_EVALUATION) {
        t->refused++;
    } else {
        ck_assert_int_eq(status, COP_OK);
        value = cop_i64(cop_value_i64(&value) + 1);
        CHECK_OK(cop_txn_set_at(other, P("a"), &value, NULL));
        t_commit(other);
    }
    value = cop_i64(1000);
    return cop_txn_set_at(txn, P("a"), &value, NULL);
}

/* After some conflicts a transaction goes before all others, and its function may commit nothing.
 */
START_TEST(transact_gets_through)
{
    tries t = {.store = t_open()};
    uint64_t version = 0;

    t_set_at(t.store, "a", cop_i64(1));
    CHECK_OK(cop_transact(t.store, meddle, &t, COP_FOREVER, &version));
    ck_assert_int_gt(t.count, 1);
    ck_assert_int_eq(t.refused, 1);
    ck_assert_uint_eq(version, cop_store_version(t.store));
    t_is_i64(t.store, t_find(t.store, "a"), 1000);
    t_set_at(t.store, "a", cop_i64(2)); /* this thread may commit again */
    ck_assert_uint_eq(stats(t.store).transactions_conflict, (uint64_t)t.count - 1);
    tree_of_store_is_right(t.store);
    t_close(t.store);
}
END_TEST

/* --- conditions within one batch -------------------------------------------------- */

/* What an earlier transaction of the batch changed is a change to the later ones. */
START_TEST(a_batch_checks_conditions_against_its_own_changes)
{
    cop_store *store = t_open();
    cop_atom branch = t_make(store, "branch", cop_object());
    uint64_t version = t_set_at(store, "branch/a", cop_i64(1));
    cop_value value = cop_i64(2);
    cop_ticket *tickets[3];
    cop_txn *txn;

    for (int i = 0; i < 3; i++) {
        txn = t_begin(store);
        if (i > 0)
            CHECK_OK(cop_txn_require_unchanged(txn, branch, version));
        CHECK_OK(cop_txn_set_at(txn, i == 1 ? "b" : "branch/a", i == 1 ? 1 : 8, &value, NULL));
        if (i == 2) /* the first changes it; without the first this one could */
            CHECK_OK(cop_txn_set_at(txn, P("c"), &value, NULL));
        CHECK_OK(cop_txn_submit(txn, &tickets[i]));
    }
    CHECK_OK(cop_store_poll(store));
    CHECK_STATUS(cop_ticket_poll(tickets[0], NULL), COP_OK);
    CHECK_STATUS(cop_ticket_poll(tickets[1], NULL), COP_E_CONFLICT);
    CHECK_STATUS(cop_ticket_poll(tickets[2], NULL), COP_E_CONFLICT);
    for (int i = 0; i < 3; i++)
        cop_ticket_release(tickets[i]);
    ck_assert_str_eq(t_list_now(store, cop_root()), "branch");
    t_close(store);
}
END_TEST

/* An atom that came and went in a batch without a net change was never there: no handle of it. */
START_TEST(atoms_never_published_have_no_handles)
{
    cop_store *store = t_open();
    cop_value value = cop_i64(1);
    cop_txn *txn = t_begin(store);
    cop_atom made, told = COP_ATOM_NONE_INIT;
    cop_ticket *ticket;

    CHECK_OK(cop_txn_create(txn, &value, &made));
    CHECK_OK(cop_txn_erase(txn, made));
    CHECK_OK(cop_txn_submit(txn, &ticket));
    CHECK_OK(cop_store_poll(store));
    CHECK_STATUS(cop_ticket_poll(ticket, NULL), COP_OK);
    (void)cop_ticket_atom(ticket, made, &told);
    ck_assert_uint_eq(told.generation, 0);
    cop_ticket_release(ticket);
    ck_assert_uint_eq(cop_store_version(store), 0);
    t_close(store);
}
END_TEST

/* --- transactions from inside
 * --------------------------------------------------------------------- */

START_TEST(bytes_of_a_transaction_are_aligned_and_apart)
{
    cop_store *store = t_open();
    cop_txn *txn = t_begin(store);
    unsigned char *bytes[200];

    for (size_t i = 0; i < 200; i++) {
        size_t n = i % 50 == 49 ? 5000 : i;
        bytes[i] = cop__txn_bytes(txn, n);
        ck_assert_ptr_nonnull(bytes[i]);
        ck_assert_uint_eq((uintptr_t)bytes[i] % 8, 0);
        memset(bytes[i], (int)i, n);
    }
    for (size_t i = 0; i < 200; i++)
        for (size_t k = 0; k < (i % 50 == 49 ? 5000 : i); k++)
            ck_assert_uint_eq(bytes[i][k], i);
    cop_txn_cancel(txn);
    t_close(store);
}
END_TEST

START_TEST(compare_set_wants_values)
{
    cop_store *store = t_open();
    cop_atom atom = t_make(store, "a", cop_i64(1));
    cop_value good = cop_i64(1), none = {.type = COP_NONE}, branch = cop_object();
    cop_txn *txn = t_begin(store);

    CHECK_STATUS(cop_txn_compare_set(txn, atom, &none, &good, NULL), COP_E_INVALID);
    CHECK_STATUS(cop_txn_compare_set(txn, atom, &good, &none, NULL), COP_E_INVALID);
    CHECK_STATUS(cop_txn_compare_set(txn, atom, &good, &branch, NULL), COP_E_INVALID);
    CHECK_OK(cop_txn_compare_set(txn, atom, &branch, &good, NULL)); /* legal, never equal */
    t_commit(txn);
    t_close(store);
}
END_TEST

/* A refusal names the operation and its path, of which a long one is cut. */
START_TEST(an_error_names_the_operation)
{
    cop_store *store = t_open();
    cop_error error = COP_ERROR_INIT;
    cop_value value = cop_i64(1);
    char path[300], expected[200];

    t_set_at(store, "a", cop_i64(1));
    for (size_t n = 120; n <= 140; n++) {
        cop_txn *txn = t_begin(store);
        memset(path, 'p', sizeof path);
        memcpy(path, "a/", 2);
        path[n] = '\0';
        CHECK_OK(cop_txn_set_at(txn, P("b"), &value, NULL));
        CHECK_OK(cop_txn_set_at(txn, path, n, &value, NULL));
        ck_assert_int_ne(cop_txn_commit(txn, NULL, &error), COP_OK);
        snprintf(expected, sizeof expected, " %.*s: ", (int)(n < 128 ? n : 128), path);
        ck_assert_msg(strstr(error.message, expected) != NULL, "%s", error.message);
        ck_assert_msg(strstr(error.message, "operation 1, ") == error.message, "%s", error.message);
    }
    t_close(store);
}
END_TEST

START_TEST(waiting_for_a_version_ends)
{
    cop_store *store = t_open();

    t_set_at(store, "a", cop_i64(1));
    CHECK_OK(cop_wait_version(store, 1, 0));
    CHECK_STATUS(cop_wait_version(store, 2, cop_deadline_in_ms(5)), COP_E_TIMEOUT);
    ck_assert_uint_eq(atomic_load(&store->version_waiters), 0);
    ck_assert_uint_eq(atomic_load(&store->sleepers), 0);
    ck_assert_uint_eq(atomic_load(&store->gate->users), 0);
    t_close(store);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_test(tests, readers_of_many_slabs);
    tcase_add_test(tests, readers_without_memory);
    tcase_add_test(tests, a_thread_forgets_stores_that_are_gone);
    tcase_add_test(tests, a_thread_reads_many_stores);
    tcase_add_test(tests, pins_of_threads_that_end_are_released);
    tcase_add_test(tests, refused_snapshots_are_null);
    tcase_add_test(tests, polling_cleans_up);
    tcase_add_test(tests, dropping_a_snapshot_frees_what_it_held);
    tcase_add_test(tests, commits_free_as_they_go);
    tcase_add_test(tests, settling_ends);
    tcase_add_test(tests, undoing_without_memory);
    tcase_add_test(tests, erasing_a_branch_without_memory);
    tcase_add_test(tests, there_is_one_descriptor);
    tcase_add_test(tests, transact_gets_through);
    tcase_add_test(tests, atoms_never_published_have_no_handles);
    tcase_add_test(tests, bytes_of_a_transaction_are_aligned_and_apart);
    tcase_add_test(tests, compare_set_wants_values);
    tcase_add_test(tests, an_error_names_the_operation);
    tcase_add_test(tests, waiting_for_a_version_ends);
    tcase_add_test(tests, a_batch_checks_conditions_against_its_own_changes);
}

int
main(void)
{
    return t_run("upkeep", add);
}

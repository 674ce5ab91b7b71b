/* SPDX-License-Identifier: MIT */
/* Short ways to say what most unit tests of the store say. For Check programs. */
#ifndef COP_TESTS_STORE_TEST_H
#define COP_TESTS_STORE_TEST_H

#include <inttypes.h>
#include <stdlib.h>

#include <coppice/coppice.h>

#include "tests/support/dump.h"
#include "tests/support/fault_alloc.h"
#include "tests/support/graph_check.h"
#include "tests/support/quick_check.h"

#define CHECK_STATUS(expression, expected)                                              \
    do {                                                                                \
        cop_status got_ = (expression), want_ = (expected);                             \
        ck_assert_msg(got_ == want_, "%s: is %s, should be %s", #expression,            \
                      cop_status_name(got_), cop_status_name(want_));                   \
    } while (0)
#define CHECK_OK(expression) CHECK_STATUS(expression, COP_OK)

#define SAME_ATOM(a, b) ((a).id == (b).id && (a).generation == (b).generation)

/* A path given as a literal or a string variable: pointer and length. */
#define P(path) (path), strlen(path)

/* The allocator of the last t_open; t_close checks that it got everything back. */
static fault_alloc t_faults;

/* Gathers what is submitted in windows; t_open does not. */
static inline cop_store *
t_open_window(uint64_t window_ms)
{
    cop_options options = COP_OPTIONS_INIT;
    cop_error error = COP_ERROR_INIT;
    cop_store *store = NULL;

    fault_alloc_init(&t_faults);
    options.batch_window_ms = window_ms;
    options.memory_on_limit = 1; /* what is refused is told at once */
    options.allocator = fault_alloc_table(&t_faults);
    ck_assert_msg(cop_store_open(&options, &store, &error) == COP_OK, "open: %s", error.message);
    return store;
}

static inline cop_store *
t_open(void)
{
    return t_open_window(0);
}

/* Ends a forked child. What it ran counts in a build with coverage, which _Exit alone would forget. */
#ifdef COP_COVERAGE
extern void __gcov_dump(void);
#endif

static inline _Noreturn void
t_exit_child(int status)
{
#ifdef COP_COVERAGE
    __gcov_dump();
#endif
    _Exit(status);
}

/* Nothing of the store may be left. */
static inline void
t_all_released(void)
{
    ck_assert_int_eq(atomic_load(&t_faults.blocks), 0);
    ck_assert_int_eq(atomic_load(&t_faults.bytes), 0);
    ck_assert_uint_eq(atomic_load(&t_faults.destroyed), 1);
}

/* Of a graph that is not too large to be looked at so often. */
static inline void
t_graph_holds(cop_store *store, size_t most, bool clean)
{
    const char *wrong = graph_check(store, most, clean);

    ck_assert_msg(wrong == NULL, "the graph: %s", wrong);
}

static inline void
t_close(cop_store *store)
{
    t_graph_holds(store, 20000, false);
    cop_store_close(store);
    t_all_released();
}

static inline cop_txn *
t_begin(cop_store *store)
{
    cop_txn *txn = NULL;

    CHECK_OK(cop_txn_begin(store, &txn));
    ck_assert_ptr_nonnull(txn);
    return txn;
}

/* Commits; the version it gave. */
static inline uint64_t
t_commit(cop_txn *txn)
{
    uint64_t version = 0;
    cop_error error = COP_ERROR_INIT;
    cop_store *store = graph_check_store(txn);
    cop_status status = cop_txn_commit(txn, &version, &error);

    ck_assert_msg(status == COP_OK, "commit: %s: %s", cop_status_name(status), error.message);
    t_graph_holds(store, 100, true);
    return version;
}

/* Commits what has to fail with this status and must leave the version as it is. */
static inline void
t_commit_fails(cop_store *store, cop_txn *txn, cop_status status)
{
    cop_error error = COP_ERROR_INIT;
    uint64_t version = cop_store_version(store);

    CHECK_STATUS(cop_txn_commit(txn, NULL, &error), status);
    CHECK_STATUS(error.status, status);
    ck_assert_msg(error.message[0] != '\0', "a failure without a message");
    ck_assert_uint_eq(cop_store_version(store), version);
}

static inline uint64_t
t_set_at(cop_store *store, const char *path, cop_value value)
{
    cop_txn *txn = t_begin(store);

    CHECK_OK(cop_txn_set_at(txn, P(path), &value, NULL));
    return t_commit(txn);
}

static inline uint64_t
t_set(cop_store *store, cop_atom atom, cop_value value)
{
    cop_txn *txn = t_begin(store);

    CHECK_OK(cop_txn_set(txn, atom, &value));
    return t_commit(txn);
}

static inline uint64_t
t_erase(cop_store *store, cop_atom atom)
{
    cop_txn *txn = t_begin(store);

    CHECK_OK(cop_txn_erase(txn, atom));
    return t_commit(txn);
}

static inline uint64_t
t_erase_at(cop_store *store, const char *path)
{
    cop_txn *txn = t_begin(store);

    CHECK_OK(cop_txn_erase_at(txn, P(path), NULL));
    return t_commit(txn);
}

static inline cop_atom
t_find(cop_store *store, const char *path)
{
    cop_atom atom = COP_ATOM_NONE_INIT;
    cop_status status = cop_atom_find(store, P(path), &atom);

    ck_assert_msg(status == COP_OK, "%s: %s", path, cop_status_name(status));
    return atom;
}

/* Sets a value at a path and gives its handle. */
static inline cop_atom
t_make(cop_store *store, const char *path, cop_value value)
{
    t_set_at(store, path, value);
    return t_find(store, path);
}

static inline const cop_snapshot *
t_take(cop_store *store)
{
    const cop_snapshot *snapshot = NULL;

    CHECK_OK(cop_snapshot_take(store, &snapshot));
    ck_assert_ptr_nonnull(snapshot);
    return snapshot;
}

/* The newest value is this integer. */
static inline void
t_is_i64(cop_store *store, cop_atom atom, int64_t expected)
{
    cop_pin_t pin = cop_pin(store);
    int64_t got = 0;

    ck_assert_ptr_nonnull(pin.snapshot);
    CHECK_OK(cop_get_i64(pin.snapshot, atom, &got));
    ck_assert_int_eq(got, expected);
    cop_unpin(pin);
}

/* What cop_get answers in the newest version. */
static inline cop_status
t_status(cop_store *store, cop_atom atom)
{
    cop_pin_t pin = cop_pin(store);
    cop_value value;
    cop_status status;

    ck_assert_ptr_nonnull(pin.snapshot);
    status = cop_get(pin.snapshot, atom, &value);
    cop_unpin(pin);
    return status;
}

/* The keys of a branch in order as "a b c"; elements of an array as their i64 values. Static. */
static inline const char *
t_list(const cop_snapshot *snapshot, cop_atom branch)
{
    static char text[4096];
    size_t used = 0;
    cop_cursor cursor;
    cop_child child;

    text[0] = '\0';
    CHECK_OK(cop_cursor_open(snapshot, branch, &cursor));
    while (cop_cursor_next(&cursor, &child)) {
        const char *gap = used ? " " : "";
        int n = child.key != NULL
                    ? snprintf(text + used, sizeof text - used, "%s%.*s", gap,
                               (int)child.key_length, child.key)
                    : snprintf(text + used, sizeof text - used, "%s%" PRId64, gap,
                               cop_value_i64(&child.value));
        used += (size_t)n;
        ck_assert_uint_lt(used, sizeof text);
    }
    return text;
}

static inline const char *
t_list_now(cop_store *store, cop_atom branch)
{
    cop_pin_t pin = cop_pin(store);
    const char *text = t_list(pin.snapshot, branch);

    cop_unpin(pin);
    return text;
}

/* The reading functions agree about the newest version, and the statistics with them. */
static inline void
t_verify(cop_store *store)
{
    const cop_snapshot *snapshot = t_take(store);
    const char *wrong = dump_disagreement(snapshot);
    cop_stats stats = COP_STATS_INIT;

    ck_assert_msg(wrong == NULL, "%s", wrong);
    t_graph_holds(store, 1000, false);
    CHECK_OK(cop_stats_take(store, &stats));
    ck_assert_uint_eq(stats.atoms, cop_snapshot_atoms(snapshot));
    ck_assert_uint_eq(stats.version, cop_snapshot_version(snapshot));
    cop_snapshot_drop(snapshot);
}

/* n bytes that depend on n and a seed. To be freed. */
static inline char *
t_bytes(size_t n, unsigned seed)
{
    char *bytes = malloc(n + 1);

    ck_assert_ptr_nonnull(bytes);
    for (size_t i = 0; i < n; i++)
        bytes[i] = (char)('a' + (i * 7 + seed * 13 + n) % 26);
    bytes[n] = '\0';
    return bytes;
}

static inline int
t_run(const char *name, void (*add)(TCase *))
{
    Suite *suite = suite_create(name);
    TCase *tests = tcase_create(name);
    SRunner *runner;
    int failed;

    tcase_set_timeout(tests, 120);
    add(tests);
    suite_add_tcase(suite, tests);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif

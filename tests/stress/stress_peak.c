/* SPDX-License-Identifier: MIT */
/*
 * Peaks of ten times the steady size, of several kinds, with updates at random places all the while, so
 * that what stays is scattered over the memory of the peak. One second after a peak, with small commits
 * in it and nothing else, the process must be about as large as before; and at once, when it is asked
 * for (cop_memory_trim).
 *
 * Each kind runs in a process of its own. stress_peak --report [...] takes a larger store, and bounds
 * nothing.
 */
#include <string.h>
#include <sys/wait.h>

#include "tests/stress/common.h"
#include "tests/support/resident.h"

enum {
    GROUPS = 100,
    TIMES = 10,
    IN_TXN = 500,
    UPDATES = 20, /* of steady atoms, beside each such transaction */
    TEXT = 48,
    LARGE_TEXT = 3000,
};

enum { WITHIN, BY_HAND, SAME, COUNTED };
static const char *const properties[] = {
    "a second after a peak the process is within 1.3 times of before",
    "what is trimmed by hand is within 1.3 times of before",
    "what stayed is as it was written",
    "bytes held are within 1.3 times of before",
};
#define BOUND 1.3

static cop_store *store;
static cop_atom *steady;
static unsigned *steady_round;
static size_t steady_count;
static stress_random numbers;
static bool report;

static cop_txn *
begin(void)
{
    cop_txn *txn = NULL;

    stress_need(cop_txn_begin(store, &txn), "begin");
    return txn;
}

static void
commit(cop_txn *txn)
{
    stress_need(cop_txn_commit(txn, NULL, NULL), "commit");
}

static void
text_of(char *text, size_t n, size_t atom, unsigned round)
{
    for (size_t i = 0; i < n; i++)
        text[i] = (char)('a' + (atom * 31 + round * 7 + i) % 26);
}

static void
set_steady(cop_txn *txn, size_t atom, size_t length, unsigned round)
{
    char text[LARGE_TEXT];
    cop_value value;

    text_of(text, length, atom, round);
    value = cop_string(text, length);
    stress_need(cop_txn_set(txn, steady[atom], &value), "set");
    steady_round[atom] = round;
}

static void
update_some(cop_txn *txn, size_t length)
{
    for (unsigned i = 0; i < UPDATES; i++)
        set_steady(txn, stress_below(&numbers, steady_count), length, (unsigned)stress_next(&numbers));
}

static size_t
steady_path(char path[64], size_t atom)
{
    return (size_t)snprintf(path, 64, "group-%zu/atom-%zu", atom % GROUPS, atom);
}

static void
make_steady(void)
{
    cop_value null = cop_null();
    char path[64];

    for (size_t i = 0; i < steady_count;) {
        cop_txn *txn = begin();
        for (size_t end = i + IN_TXN; i < end; i++)
            stress_need(cop_txn_set_at(txn, path, steady_path(path, i), &null, NULL), "set_at");
        commit(txn);
    }
    for (size_t i = 0; i < steady_count; i++)
        stress_need(cop_atom_find(store, path, steady_path(path, i), &steady[i]), "find");
}

/* Every steady value is written, in a random order, with texts of this length. */
static void
write_all(size_t length)
{
    cop_txn *txn = begin();
    size_t step = steady_count / 2 + 1 + stress_below(&numbers, steady_count / 4), at = 0;

    while (step > 1) { /* prime to the count: every atom comes once */
        size_t a = step, b = steady_count;
        while (b != 0) {
            size_t rest = a % b;
            a = b;
            b = rest;
        }
        if (a == 1)
            break;
        step++;
    }
    for (size_t i = 0; i < steady_count; i++, at = (at + step) % steady_count) {
        set_steady(txn, at, length, (unsigned)i);
        if (i % IN_TXN == IN_TXN - 1) {
            commit(txn);
            txn = begin();
        }
    }
    commit(txn);
}

/* ---- kinds of peaks ---- */

/* Ten times as many atoms, made and erased in small transactions. */
static void
peak_atoms(bool up)
{
    cop_value object = cop_object();
    char name[48], text[TEXT];

    for (size_t i = 0; i < steady_count * (TIMES - 1);) {
        cop_txn *txn = begin();
        cop_atom branch = COP_ATOM_NONE_INIT;
        size_t end = i + IN_TXN;
        int n = snprintf(name, sizeof name, "peak-%zu", i / IN_TXN);
        if (up)
            stress_need(cop_txn_set_child(txn, cop_root(), name, (size_t)n, &object, &branch), "peak");
        else
            stress_need(cop_txn_erase_at(txn, name, (size_t)n, NULL), "erase");
        for (; i < end; i++) {
            if (!up)
                continue;
            text_of(text, TEXT, i, 0);
            cop_value value = cop_string(text, TEXT);
            n = snprintf(name, sizeof name, "atom-%zu", i);
            stress_need(cop_txn_set_child(txn, branch, name, (size_t)n, &value, NULL), "child");
        }
        update_some(txn, TEXT);
        commit(txn);
    }
}

static void
peak_values(bool up)
{
    write_all(up ? TEXT * 20 : TEXT);
}

static void
peak_large_values(bool up)
{
    write_all(up ? LARGE_TEXT : TEXT);
}

/* Lists: elements are put behind and before others, and go list by list. */
static void
peak_lists(bool up)
{
    static cop_atom lists[GROUPS];
    size_t count = steady_count * (TIMES - 1);
    cop_value array = cop_array();
    char name[32];

    for (unsigned i = 0; i < GROUPS && up; i++) {
        int n = snprintf(name, sizeof name, "list-%u", i);
        cop_txn *txn = begin();
        stress_need(cop_txn_set_child(txn, cop_root(), name, (size_t)n, &array, NULL), "list");
        commit(txn);
        stress_need(cop_atom_find(store, name, (size_t)n, &lists[i]), "find");
    }
    for (size_t i = 0; i < count && up;) {
        cop_txn *txn = begin();
        for (size_t end = i + IN_TXN; i < end; i++) {
            cop_value value = cop_i64((int64_t)i);
            stress_need(cop_txn_insert(txn, lists[i * 7 % GROUPS], i % 3 ? 0 : COP_AT_END, &value, NULL),
                        "insert");
        }
        update_some(txn, TEXT);
        commit(txn);
    }
    for (unsigned i = 0; i < GROUPS && !up; i++) {
        cop_txn *txn = begin();
        stress_need(cop_txn_clear(txn, lists[i]), "clear");
        update_some(txn, TEXT);
        commit(txn);
    }
}

/* Versions that are held, each with other values. */
static void
peak_versions(bool up)
{
    static const cop_snapshot *held[TIMES * 4];

    for (unsigned i = 0; i < TIMES * 4; i++) {
        if (!up) {
            cop_snapshot_drop(held[i]);
            continue;
        }
        stress_need(cop_snapshot_take(store, &held[i]), "snapshot");
        for (size_t k = 0; k < steady_count / 4; k += IN_TXN) {
            cop_txn *txn = begin();
            for (unsigned n = 0; n < IN_TXN / UPDATES; n++)
                update_some(txn, TEXT);
            commit(txn);
        }
    }
}

static const struct kind {
    const char *name;
    void (*peak)(bool up);
} kinds[] = {
    {"atoms", peak_atoms},
    {"values", peak_values},
    {"large values", peak_large_values},
    {"lists", peak_lists},
    {"versions", peak_versions},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

/* ---- measuring ---- */

typedef struct figures {
    uint64_t before, peak, after, trimmed;
    uint64_t held_before, held_after;
    uint64_t wrong; /* values that are not as they were written */
    uint64_t free, chunks;
} figures;

static uint64_t
held_bytes(figures *f)
{
    cop_stats stats = COP_STATS_INIT;

    stress_need(cop_stats_take(store, &stats), "stats");
    f->free = stats.chunk_free;
    f->chunks = stats.chunk_bytes;
    return stats.bytes_held;
}

static void
small_commits(unsigned ms)
{
    uint64_t end = stress_now_ns() + (uint64_t)ms * 1000000;

    while (stress_now_ns() < end) {
        cop_txn *txn = begin();
        update_some(txn, TEXT);
        commit(txn);
        stress_sleep_us(1000);
    }
}

static uint64_t
wrong_values(void)
{
    char expected[TEXT];
    uint64_t wrong = 0;
    cop_pin_t pin = cop_pin(store);

    for (size_t i = 0; i < steady_count; i++) {
        cop_value value;
        text_of(expected, TEXT, i, steady_round[i]);
        if (cop_get(pin.snapshot, steady[i], &value) != COP_OK ||
            cop_value_length(&value) != TEXT || memcmp(cop_value_data(&value), expected, TEXT) != 0)
            wrong++;
    }
    cop_unpin(pin);
    return wrong;
}

static void
measure(const struct kind *kind, figures *f)
{
    stress_need(cop_store_open(NULL, &store, NULL), "open");
    make_steady();
    write_all(TEXT);
    small_commits(300);
    f->before = resident_bytes();
    f->held_before = held_bytes(f);
    kind->peak(true);
    f->peak = resident_bytes();
    kind->peak(false);
    small_commits(1000);
    f->after = resident_bytes();
    f->held_after = held_bytes(f);
    f->wrong = wrong_values();
    stress_need(cop_memory_trim(store, NULL), "trim");
    f->trimmed = resident_bytes();
    f->wrong += wrong_values();
    cop_store_close(store);
}

/* False when the process of its own failed. */
static bool
measure_apart(const struct kind *kind, figures *f)
{
    int ends[2], status = 1;
    pid_t child;

    (void)fflush(stdout); /* else the child writes it again */
    if (pipe(ends) != 0 || (child = fork()) < 0)
        return false;
    if (child == 0) {
        measure(kind, f);
        _exit(write(ends[1], f, sizeof *f) == (ssize_t)sizeof *f ? 0 : 1);
    }
    close(ends[1]);
    bool got = read(ends[0], f, sizeof *f) == (ssize_t)sizeof *f;
    close(ends[0]);
    return waitpid(child, &status, 0) == child && status == 0 && got;
}

static double
mib(uint64_t bytes)
{
    return (double)bytes / (1 << 20);
}

static void
check(const struct kind *kind, const figures *f)
{
    double after = (double)f->after / (double)f->before;
    double trimmed = (double)f->trimmed / (double)f->before;
    double held = (double)f->held_after / (double)f->held_before;
    /* Of a tree so small as in slow builds, 4 MiB are not looked for. */
    double most = BOUND * (double)f->held_before + (STRESS_SLOW ? 4 << 20 : 0);

    printf("%-13s resident MiB: %7.1f before, %7.1f peak, %7.1f after 1 s (%.3f), %7.1f trimmed (%.3f); held "
           "%.3f; free %.1f of %.1f MiB in chunks\n",
           kind->name, mib(f->before), mib(f->peak), mib(f->after), after, mib(f->trimmed), trimmed,
           held, mib(f->free), mib(f->chunks));
    stress_check(WITHIN, report || STRESS_SLOW || after <= BOUND, "%s: %.3f", kind->name, after);
    stress_check(BY_HAND, report || STRESS_SLOW || trimmed <= BOUND, "%s: %.3f", kind->name, trimmed);
    stress_check(COUNTED, report || (double)f->held_after <= most, "%s: %.3f", kind->name, held);
    stress_check(SAME, f->wrong == 0, "%s: %" PRIu64 " values", kind->name, f->wrong);
}

int
main(int argc, char **argv)
{
    report = argc > 1 && strcmp(argv[1], "--report") == 0;
    stress_start(argc - report, argv + report, 1);
    stress_properties(properties, sizeof properties / sizeof *properties);
    steady_count = STRESS_SLOW ? 5000 : report ? 200000 : 50000;
    steady = calloc(steady_count, sizeof *steady);
    steady_round = calloc(steady_count, sizeof *steady_round);
    numbers = stress_random_of(0);
    for (unsigned i = 0; i < KINDS; i++) {
        figures f = {0};
        if (!measure_apart(&kinds[i], &f))
            stress_need(COP_E_STATE, kinds[i].name);
        check(&kinds[i], &f);
    }
    free(steady);
    free(steady_round);
    return stress_finish();
}

/* SPDX-License-Identifier: MIT */
/*
 * Reducers: random trees, random transactions, some of them refused memory or failing half-way; after
 * each commit every reducer is compared with what an oracle makes of the same version
 * (reduce_oracle.h). Readers compare theirs meanwhile. Children are written, computed at several
 * heights, and made by the owner of a branch; reducers come and go, and for a while there are circles.
 *
 *   --threads N  one commits, the others read
 *   --rounds N   as many commits (without: as the seconds allow)
 */
#include "tests/stress/common.h"
#include "tests/stress/reduce_oracle.h"

#include <coppice/effect.h>

#include <math.h>

#include "tests/support/fault_alloc.h"

enum { HELD, READ, KEPT, RELEASED };
static const char *const properties[] = {
    "every reducer holds what its children in that version reduce to",
    "so says a reader of its own version",
    "a refused or failed transaction leaves every reducer as it was",
    "nothing is held when the store is closed",
};

enum { SOURCES = 4, CHAIN = 4, STORE_COMMITS = 1500 };

static const reduce_spec specs[] = {
    {"r/0", "d/*/*", NULL, NULL, COP_REDUCE_SUM, 0},
    {"r/1", "d/*/*/value", NULL, NULL, COP_REDUCE_SUM, 0},
    {"r/2", "d/a/*", NULL, NULL, COP_REDUCE_MEAN, 0},
    {"r/3", "*/b/*", NULL, NULL, COP_REDUCE_MIN, 0},
    {"r/4", "d/*/c/value", NULL, NULL, COP_REDUCE_MAX, 0},
    {"r/5", "d/*/*/*", NULL, NULL, COP_REDUCE_COUNT, 0},
    {"r/6", "d/*/*/value", NULL, NULL, COP_REDUCE_TOP, 3},
    {"r/7", "d/*/*", "key", "value", COP_REDUCE_SUM, 0},
    {"r/8", "d/*/b", "key", "value", COP_REDUCE_TOP, 2},
    {"r/9", "d/*/*/value", NULL, NULL, COP_REDUCE_CUSTOM, 0},
    {"r/a", "d/own/*", "key", "value", COP_REDUCE_CUSTOM, 0},
    {"r/b", "d/own/*/value", NULL, NULL, COP_REDUCE_MEAN, 0},
    {"r/c", "*/*/*", NULL, NULL, COP_REDUCE_COUNT, 0},
    {"r/d", "*/*", NULL, NULL, COP_REDUCE_COUNT, 0},
    {"r/e", "d/*/*", "key", "key", COP_REDUCE_COUNT, 0},
};
enum { SPECS = sizeof specs / sizeof *specs };

#define LOOP "d/a/loop" /* while it is there, circles make errors that the oracle does not know */

static uint64_t rounds = UINT64_MAX;
static fault_alloc faults;
static cop_store *_Atomic shared; /* of the readers; NULL: none */
static _Atomic unsigned reading;
static struct {
    uint64_t stores, commits, refused, failed, definitions;
} total;

/* ---- values ---- */

static cop_value
random_number(stress_random *r)
{
    switch (stress_below(r, 12)) {
    case 0:
        return cop_i64(INT64_MAX - (int64_t)stress_below(r, 3));
    case 1:
        return cop_i64(INT64_MIN + (int64_t)stress_below(r, 3));
    case 2:
    case 3:
    case 4:
        return cop_f64(((double)stress_below(r, 1u << 30) + 0.5) / 1024 * (stress_below(r, 2) ? 1 : -1));
    default:
        return cop_i64((int64_t)stress_below(r, 1000) - 300);
    }
}

static cop_value
random_value(stress_random *r)
{
    switch (stress_below(r, 40)) {
    case 0:
        return cop_null();
    case 1:
        return cop_string("text", 4);
    case 2:
        return cop_string("a text of some length", 21);
    case 3:
        return cop_bool(true);
    case 4:
        return cop_f64(stress_below(r, 2) ? (double)INFINITY : (double)NAN);
    case 5:
        return cop_object();
    default:
        return random_number(r);
    }
}

static cop_value
random_key(stress_random *r)
{
    static const char *const text[] = {"red", "green", "blue", "7"};
    if (stress_below(r, 8) == 0) { /* the oracle does not write doubles as JSON does */
        cop_value value = random_value(r);
        return value.type == COP_F64 ? cop_null() : value;
    }
    if (stress_below(r, 3) == 0)
        return cop_i64((int64_t)stress_below(r, 8));
    const char *key = text[stress_below(r, 4)];
    return cop_string(key, strlen(key));
}

/* ---- functions ---- */

static cop_atom chain[SOURCES][CHAIN]; /* the first of each is a source */

static cop_status
next_function(cop_evaluation *evaluation, void *context, cop_value *result)
{
    int64_t value;
    cop_status status = cop_read_i64(evaluation, *(const cop_atom *)context, &value);
    if (status == COP_OK)
        *result = cop_i64(value + 1);
    return status;
}

/* Of many kinds, by what it reads. */
static cop_status
leaf_function(cop_evaluation *evaluation, void *context, cop_value *result)
{
    int64_t value;
    cop_status status = cop_read_i64(evaluation, *(const cop_atom *)context, &value);
    if (status != COP_OK)
        return status;
    switch (value % 13) {
    case 5:
        *result = cop_null();
        break;
    case 6:
        *result = cop_string("computed", 8);
        break;
    case 7:
        return cop_fail(evaluation, "seven");
    case 8:
    case 9:
        *result = cop_f64((double)value / 1024);
        break;
    default:
        *result = cop_i64(value / 2);
    }
    return COP_OK;
}

static cop_status
key_function(cop_evaluation *evaluation, void *context, cop_value *result)
{
    cop_status status = leaf_function(evaluation, context, result);
    if (result->type == COP_F64)
        *result = cop_bool(true);
    return status;
}

/* A child of several reducers that reads one of them. */
static cop_status
loop_function(cop_evaluation *evaluation, void *context, cop_value *result)
{
    const char *path = context;
    cop_value value;
    cop_status status = cop_read_at(evaluation, path, strlen(path), &value);
    *result = cop_i64(3);
    return status == COP_E_ABSENT ? COP_OK : status;
}

static cop_status
owner_function(cop_evaluation *evaluation, void *context, cop_value *result)
{
    int64_t value;
    cop_status status = cop_read_i64(evaluation, *(const cop_atom *)context, &value);
    (void)result;
    for (int64_t i = 0; status == COP_OK && i < value % 6; i++) {
        char path[32];
        cop_value v = cop_i64(value * (i + 1)), key = cop_i64(value % (i + 2));
        int n = snprintf(path, sizeof path, "c%d/value", (int)(i + value % 3));
        status = cop_emit(evaluation, path, (size_t)n, &v);
        n = snprintf(path, sizeof path, "c%d/key", (int)(i + value % 3));
        if (status == COP_OK)
            status = cop_emit(evaluation, path, (size_t)n, &key);
    }
    return status == COP_OK && value % 7 == 6 ? COP_E_FAILED : status;
}

/* ---- a store ---- */

static cop_status
define_spec(cop_store *store, const reduce_spec *spec)
{
    cop_reduce_options options = COP_REDUCE_OPTIONS_INIT;
    options.k = spec->k;
    if (spec->reduction == COP_REDUCE_CUSTOM) {
        options.combine = oracle_compose;
        options.zero = cop_i64(1 << 16);
    }
    total.definitions++;
    if (spec->key != NULL)
        return cop_group_define(store, spec->path, strlen(spec->path), spec->pattern,
                                strlen(spec->pattern), spec->key, spec->value, spec->reduction,
                                &options, NULL, NULL);
    return cop_reduce_define(store, spec->path, strlen(spec->path), spec->pattern,
                             strlen(spec->pattern), spec->reduction, &options, NULL, NULL);
}

static cop_store *
open_store(stress_random *r)
{
    cop_options options = COP_OPTIONS_INIT;
    cop_store *store;
    cop_txn *txn;
    fault_alloc_init(&faults);
    options.allocator = fault_alloc_table(&faults);
    stress_need(cop_store_open(&options, &store, NULL), "cop_store_open");
    stress_need(cop_txn_begin(store, &txn), "cop_txn_begin");
    for (unsigned i = 0; i < SOURCES; i++) {
        cop_value value = cop_i64((int64_t)i);
        stress_need(cop_txn_create(txn, &value, &chain[i][0]), "cop_txn_create");
    }
    stress_need(cop_txn_commit(txn, NULL, NULL), "cop_txn_commit");
    for (unsigned i = 0; i < SOURCES; i++)
        for (unsigned k = 1; k < CHAIN; k++)
            stress_need(cop_computed_define(store, NULL, 0, next_function, &chain[i][k - 1], NULL,
                                            &chain[i][k], NULL),
                        "cop_computed_define");
    for (unsigned i = 0; i < SPECS; i++)
        if (stress_below(r, 2))
            stress_need(define_spec(store, &specs[i]), "cop_reduce_define");
    return store;
}

/* ---- one transaction ---- */

static void
random_path(stress_random *r, char *path, bool field)
{
    static const char *const last[] = {"value", "key", "other"};
    int n = sprintf(path, "d/%c/%c", (char)('a' + stress_below(r, 4)), (char)('a' + stress_below(r, 5)));
    if (field)
        (void)sprintf(path + n, "/%s", last[stress_below(r, 8) < 4 ? 0 : stress_below(r, 3)]);
}

static cop_status
define_leaf(cop_txn *txn, const char *path, stress_random *r)
{
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    options.kind = stress_below(r, 4) == 0 ? COP_LAZY : COP_EAGER;
    return cop_txn_define(txn, path, strlen(path), strstr(path, "key") ? key_function : leaf_function,
                          &chain[stress_below(r, SOURCES)][stress_below(r, CHAIN)], &options, NULL,
                          NULL);
}

static cop_status
define_owner(cop_txn *txn, stress_random *r)
{
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    options.branch = true;
    return cop_txn_define(txn, "d/own", 5, owner_function,
                          &chain[stress_below(r, SOURCES)][stress_below(r, CHAIN)], &options, NULL,
                          NULL);
}

/* Closes circles for a while. */
static cop_status
toggle_loop(cop_store *store, stress_random *r)
{
    static char path[SPECS][4];
    unsigned i = (unsigned)stress_below(r, SPECS);
    cop_atom atom;
    if (cop_atom_find(store, LOOP, strlen(LOOP), &atom) == COP_OK)
        return cop_computed_dispose(store, atom);
    memcpy(path[i], specs[i].path, 4);
    return cop_computed_define(store, LOOP, strlen(LOOP), loop_function, path[i], NULL, NULL, NULL);
}

static cop_status
random_operation(cop_txn *txn, stress_random *r)
{
    char path[64];
    cop_value value = random_value(r);
    bool field = stress_below(r, 3) != 0;
    random_path(r, path, field);
    if (field && strcmp(path + 6, "key") == 0)
        value = random_key(r);
    switch (stress_below(r, 24)) {
    case 0:
        return cop_txn_erase_at(txn, path, strlen(path), NULL);
    case 1:
        path[stress_below(r, 12) == 0 ? 1 : 3] = 0; /* d, or d/x */
        return cop_txn_erase_at(txn, path, strlen(path), NULL);
    case 2:
        return define_leaf(txn, path, r);
    case 3:
        (void)cop_txn_erase_at(txn, path, strlen(path), NULL);
        return define_leaf(txn, path, r);
    case 4:
        (void)cop_txn_erase_at(txn, path, strlen(path), NULL);
        return cop_txn_set_at(txn, path, strlen(path), &value, NULL);
    case 5:
        return stress_below(r, 3) ? define_owner(txn, r) : cop_txn_erase_at(txn, "d/own", 5, NULL);
    case 6:
    case 7:
    case 8:
    case 9:
        value = cop_i64((int64_t)stress_below(r, 200));
        return cop_txn_set(txn, chain[stress_below(r, SOURCES)][0], &value);
    default:
        return cop_txn_set_at(txn, path, strlen(path), &value, NULL);
    }
}

static cop_status
random_transaction(cop_store *store, stress_random *r)
{
    cop_txn *txn;
    cop_status status = cop_txn_begin(store, &txn);
    if (status != COP_OK)
        return status;
    for (uint64_t n = 1 + stress_below(r, stress_below(r, 16) ? 3 : 20); status == COP_OK && n > 0; n--)
        status = random_operation(txn, r);
    if (status == COP_OK)
        return cop_txn_commit(txn, NULL, NULL);
    cop_txn_cancel(txn);
    return status;
}

static cop_status
toggle_reducer(cop_store *store, stress_random *r)
{
    const reduce_spec *spec = &specs[stress_below(r, SPECS)];
    cop_atom atom;
    if (cop_atom_find(store, spec->path, strlen(spec->path), &atom) == COP_OK)
        return cop_computed_dispose(store, atom);
    return define_spec(store, spec);
}

/* ---- checking ---- */

static void
check_version(cop_pin_t pin, unsigned property)
{
    char text[1024];
    cop_atom loop;
    if (pin.snapshot == NULL)
        return;
    bool circles = cop_find(pin.snapshot, LOOP, strlen(LOOP), &loop) == COP_OK;
    for (unsigned i = 0; i < SPECS && !circles; i++) {
        const char *wrong = oracle_disagrees(pin.snapshot, &specs[i], text, sizeof text);
        stress_check(property, wrong == NULL, "version %" PRIu64 ": %s",
                     cop_snapshot_version(pin.snapshot), wrong != NULL ? wrong : "");
    }
    cop_unpin(pin);
}

static void
check_all(cop_store *store, unsigned property)
{
    check_version(cop_pin(store), property);
}

/* A thread's own registration would outlive the store, whose memory is counted. */
static void
check_as_reader(cop_store *store)
{
    cop_reader *reader;
    if (cop_reader_open(store, &reader) != COP_OK)
        return;
    check_version(cop_reader_pin(reader), READ);
    cop_reader_close(reader);
}

static void
one_commit(cop_store *store, stress_random *r)
{
    bool refuse = stress_below(r, 4) == 0;
    uint64_t version = cop_store_version(store);
    if (refuse)
        fault_alloc_arm(&faults, 1 + (int64_t)stress_below(r, 1 + stress_below(r, 40)),
                        stress_below(r, 4) == 0);
    cop_status status;
    switch (stress_below(r, 40)) {
    case 0:
    case 1:
        status = toggle_reducer(store, r);
        break;
    case 2:
        status = toggle_loop(store, r);
        break;
    default:
        status = random_transaction(store, r);
        break;
    }
    if (refuse)
        fault_alloc_disarm(&faults);
    total.commits++;
    total.refused += status == COP_E_MEMORY;
    total.failed += status != COP_OK && status != COP_E_MEMORY;
    check_all(store, HELD);
    if (status != COP_OK) {
        stress_check(KEPT, cop_store_version(store) == version, "a failed one made a version");
        check_all(store, KEPT);
    }
}

static void
one_store(uint64_t seed)
{
    stress_random r = {seed};
    cop_store *store = open_store(&r);
    total.stores++;
    atomic_store(&shared, store);
    for (unsigned i = 0; i < STORE_COMMITS && total.commits < rounds && !stress_over(); i++)
        one_commit(store, &r);
    atomic_store(&shared, NULL);
    while (atomic_load(&reading) > 0)
        stress_sleep_us(100);
    cop_store_close(store);
    stress_check(RELEASED, atomic_load(&faults.blocks) == 0, "%" PRId64 " blocks",
                 atomic_load(&faults.blocks));
}

static void *
body(void *number)
{
    if ((uintptr_t)number == 0) {
        for (uint64_t i = 0; !stress_over() && total.commits < rounds; i++)
            one_store(stress.seed + i * 1000003);
        atomic_store(&stress.stop, true);
        return NULL;
    }
    while (!stress_over()) {
        atomic_fetch_add(&reading, 1);
        cop_store *store = atomic_load(&shared);
        if (store != NULL)
            check_as_reader(store);
        atomic_fetch_sub(&reading, 1);
        stress_sleep_us(store != NULL ? 20 : 200);
    }
    return NULL;
}

int
main(int argc, char **argv)
{
    int left = 1;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--rounds") != 0)
            argv[left++] = argv[i];
        else
            rounds = stress_argument("--rounds", i + 1 < argc ? argv[++i] : NULL);
    }
    stress_start(left, argv, 2);
    stress_properties(properties, sizeof properties / sizeof *properties);
    stress_at_end(RELEASED);
    if (stress.threads == 1)
        stress_check(READ, true, "nobody reads");
    stress_run(stress.threads, body);
    stress_count(total.commits);
    printf("%" PRIu64 " stores, %" PRIu64 " commits, %" PRIu64 " refused, %" PRIu64 " failed, %" PRIu64
           " definitions\n",
           total.stores, total.commits, total.refused, total.failed, total.definitions);
    return stress_finish();
}

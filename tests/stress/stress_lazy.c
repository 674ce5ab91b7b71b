/* SPDX-License-Identifier: MIT */
/*
 * Lazy and background atoms. Readers hold versions at random and read lazy atoms there in any order;
 * each value must be what its function makes of the sources in the same version. Meanwhile a thread
 * commits, defines eager readers (which make lazy atoms eager) and takes them away, and disposes of
 * lazy atoms and makes new ones; another one serves background atoms; memos are driven out at random.
 */
#include <coppice/computed.h>

#include "commit/background.h"
#include "graph/lazy.h"
#include "tests/stress/common.h"

enum { SOURCES = 12, LAZIES = 40, TEMPS = 6, HELD = 8, TEXT = 64, STAMPS = 64 };

enum { VALUE, STABLE, TEXTS, ONCE, GONE, ORIGIN, BACKGROUND_LAST, DESTROYED };
static const char *const properties[] = {
    "a lazy atom equals its function in the version that it is read from",
    "read again in one version it is the same",
    "a text stays as it is as long as its version is held",
    "no function runs twice at once at one version",
    "a disposed one is read in old versions and gone in new ones",
    "a background atom's value is that of the version it came from",
    "when all is quiet a background atom is that of the last version",
    "every destructor runs once",
};

/* Lazy atom i: a number or a text made of up to three of what stands before it. */
typedef struct recipe {
    unsigned input[3]; /* below SOURCES: a source, else SOURCES + a lazy atom */
    bool text, counts; /* counts: reads the counter of commits too */
    _Atomic uint32_t running[STAMPS];
} recipe;

static cop_store *store;
static cop_atom source[SOURCES], counter, lazy[LAZIES], background;
static recipe recipes[LAZIES];
static _Atomic uint64_t defined, destroyed;
static _Atomic bool writing;
static cop_atom temps[TEMPS]; /* under the lock */
static pthread_mutex_t temps_lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- the functions, as the library calls them ---- */

static int64_t
mix(const int64_t in[3], int64_t count)
{
    int64_t x = in[0] % 1000 * 3 + in[1] % 1000 * 5 + count % 7;
    return (in[0] & 1 ? x + in[2] % 1000 : x) % 4096;
}

static size_t
number_text(char text[TEXT], int64_t number)
{
    return (size_t)snprintf(text, TEXT, "this is the number %lld, in many words", (long long)number);
}

static cop_status
read_number(cop_evaluation *evaluation, cop_atom atom, int64_t *number)
{
    cop_value value;
    cop_status status = cop_read(evaluation, atom, &value);
    if (status == COP_OK)
        *number = cop_value_is_text(&value) ? strtoll(cop_value_data(&value) + 19, NULL, 10)
                                            : cop_value_i64(&value);
    return status;
}

static cop_atom
input_atom(const recipe *r, unsigned k)
{
    return r->input[k] < SOURCES ? source[r->input[k]] : lazy[r->input[k] - SOURCES];
}

static cop_status
make(cop_evaluation *evaluation, void *context, cop_value *result)
{
    recipe *r = context;
    const cop_snapshot *version = ((cop__evaluator *)(void *)evaluation)->snapshot;
    _Atomic uint32_t *running = &r->running[version != NULL ? version->stamp % STAMPS : 0];
    int64_t in[3] = {0, 0, 0}, count = 0;
    cop_status status = r->counts ? read_number(evaluation, counter, &count) : COP_OK;
    if (version != NULL)
        stress_check(ONCE, atomic_exchange(running, (uint32_t)version->stamp) != version->stamp,
                     "at %llu", (unsigned long long)version->stamp);
    for (unsigned k = 0; k < 3 && status == COP_OK; k++)
        if (k < 2 || (in[0] & 1)) /* the third is not always read */
            status = read_number(evaluation, input_atom(r, k), &in[k]);
    if (version != NULL)
        atomic_store(running, 0);
    if (status != COP_OK)
        return status;
    int64_t number = mix(in, count);
    char *text = r->text ? cop_scratch(evaluation, TEXT) : NULL;
    if (r->text && text == NULL)
        return COP_E_MEMORY;
    *result = r->text ? cop_string(text, number_text(text, number)) : cop_i64(number);
    return COP_OK;
}

static cop_status
copy_number(cop_evaluation *evaluation, void *context, cop_value *result)
{
    int64_t number;
    cop_status status = read_number(evaluation, *(cop_atom *)context, &number);
    *result = cop_i64(number);
    return status;
}

static cop_status
sum_sources(cop_evaluation *evaluation, void *context, cop_value *result)
{
    int64_t sum = 0, number;
    (void)context;
    for (unsigned i = 0; i < SOURCES; i++) {
        cop_status status = read_number(evaluation, source[i], &number);
        if (status != COP_OK)
            return status;
        sum += number;
    }
    *result = cop_i64(sum);
    return COP_OK;
}

static void
count_destroyed(void *context)
{
    (void)context;
    atomic_fetch_add(&destroyed, 1);
}

static cop_atom
define(cop_computed_kind kind, cop_computed_function function, void *context)
{
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    cop_atom atom;
    options.kind = kind;
    options.destroy = count_destroyed;
    stress_need(cop_computed_define(store, NULL, 0, function, context, &options, &atom, NULL),
                "define");
    atomic_fetch_add(&defined, 1);
    return atom;
}

/* ---- the same once more, from the sources of a version ---- */

static int64_t
source_in(const cop_snapshot *snapshot, cop_atom atom)
{
    int64_t number = 0;
    stress_need(cop_get_i64(snapshot, atom, &number), "source");
    return number;
}

static void
oracle(const cop_snapshot *snapshot, int64_t number[LAZIES])
{
    int64_t value[SOURCES], commits = source_in(snapshot, counter);
    for (unsigned i = 0; i < SOURCES; i++)
        value[i] = source_in(snapshot, source[i]);
    for (unsigned i = 0; i < LAZIES; i++) {
        int64_t in[3];
        for (unsigned k = 0; k < 3; k++) {
            unsigned from = recipes[i].input[k];
            in[k] = from < SOURCES ? value[from] : number[from - SOURCES];
        }
        number[i] = mix(in, recipes[i].counts ? commits : 0);
    }
}

/* ---- readers ---- */

typedef struct holding {
    const cop_snapshot *snapshot;
    int64_t expected[LAZIES];
    cop_value text; /* of an atom that was read in it */
    unsigned text_of;
} holding;

static void
check_value(const holding *h, unsigned i, const cop_value *value)
{
    char text[TEXT];
    if (!recipes[i].text) {
        stress_check(VALUE, value->type == COP_I64 && cop_value_i64(value) == h->expected[i],
                     "%u is %lld, should be %lld", i, (long long)cop_value_i64(value),
                     (long long)h->expected[i]);
        return;
    }
    size_t n = number_text(text, h->expected[i]);
    stress_check(VALUE, cop_value_length(value) == n && memcmp(cop_value_data(value), text, n) == 0,
                 "text %u should be %s", i, text);
}

static void
read_one(holding *h, stress_random *random)
{
    unsigned i = (unsigned)stress_below(random, LAZIES);
    cop_value value, again;
    stress_need(cop_get(h->snapshot, lazy[i], &value), "get");
    check_value(h, i, &value);
    if (stress_below(random, 8) == 0) {
        stress_need(cop_get(h->snapshot, lazy[i], &again), "get again");
        stress_check(STABLE, cop_value_equal(&value, &again), "%u", i);
    }
    if (recipes[i].text && h->text.type == COP_NONE) {
        h->text = value;
        h->text_of = i;
    }
}

static void
hold(holding *h)
{
    stress_need(cop_snapshot_take(store, &h->snapshot), "take");
    oracle(h->snapshot, h->expected);
    h->text.type = COP_NONE;
}

static void
let_go(holding *h)
{
    char text[TEXT];
    if (h->snapshot == NULL)
        return;
    if (h->text.type != COP_NONE) {
        size_t n = number_text(text, h->expected[h->text_of]);
        stress_check(TEXTS, memcmp(cop_value_data(&h->text), text, n) == 0, "%u", h->text_of);
    }
    cop_snapshot_drop(h->snapshot);
    h->snapshot = NULL;
}

static void
check_origin(const cop_snapshot *snapshot)
{
    cop_value value;
    uint64_t origin;
    stress_need(cop_get(snapshot, background, &value), "background");
    stress_need(cop_computed_origin(snapshot, background, &origin), "origin");
    stress_check(ORIGIN,
                 origin <= cop_snapshot_version(snapshot) &&
                     (origin == 0 ? value.type == COP_NULL : value.type == COP_I64),
                 "of %llu", (unsigned long long)origin);
}

/* A temporary atom is alive while the lock is held. */
static void
check_temporary(stress_random *random)
{
    unsigned i = (unsigned)stress_below(random, TEMPS);
    const cop_snapshot *snapshot;
    cop_value before, after;
    pthread_mutex_lock(&temps_lock);
    cop_atom atom = temps[i];
    stress_need(cop_snapshot_take(store, &snapshot), "take");
    pthread_mutex_unlock(&temps_lock);
    bool first = stress_below(random, 2) == 0;
    if (first)
        stress_need(cop_get(snapshot, atom, &before), "temporary");
    stress_sleep_us((unsigned)stress_below(random, 300));
    cop_status status = cop_get(snapshot, atom, &after);
    stress_check(GONE, status == COP_OK && (!first || cop_value_equal(&before, &after)),
                 "it is %s in a version that has it", cop_status_name(status));
    cop_snapshot_drop(snapshot);
}

static void *
reader(void *context)
{
    stress_random random = stress_random_of((uintptr_t)context);
    holding held[HELD] = {0};
    while (!stress_over()) {
        holding *h = &held[stress_below(&random, HELD)];
        if (h->snapshot == NULL)
            hold(h);
        for (uint64_t n = stress_below(&random, 20); n > 0; n--)
            read_one(h, &random);
        stress_count(1);
        if (stress_below(&random, 5) == 0)
            let_go(h);
        else if (stress_below(&random, 20) == 0)
            check_origin(h->snapshot);
        if (stress_below(&random, 50) == 0)
            cop__lazies_evict(&store->graph, 0);
        if (stress_below(&random, 20) == 0)
            check_temporary(&random);
    }
    for (unsigned i = 0; i < HELD; i++)
        let_go(&held[i]);
    return NULL;
}

/* ---- who changes things ---- */

static void
commit_some(stress_random *random, int64_t count)
{
    cop_txn *txn;
    cop_value value = cop_i64(count);
    stress_need(cop_txn_begin(store, &txn), "begin");
    stress_need(cop_txn_set(txn, counter, &value), "set");
    for (uint64_t n = stress_below(random, 3); n > 0; n--) {
        value = cop_i64((int64_t)stress_below(random, 8));
        stress_need(cop_txn_set(txn, source[stress_below(random, SOURCES)], &value), "set");
    }
    stress_need(cop_txn_commit(txn, NULL, NULL), "commit");
}

static void
replace_temporary(stress_random *random)
{
    unsigned i = (unsigned)stress_below(random, TEMPS);
    cop_value value;
    cop_atom fresh = define(COP_LAZY, copy_number, &lazy[stress_below(random, LAZIES)]);
    pthread_mutex_lock(&temps_lock);
    cop_atom old = temps[i];
    temps[i] = fresh;
    pthread_mutex_unlock(&temps_lock);
    stress_need(cop_computed_dispose(store, old), "dispose");
    cop_pin_t pin = cop_pin(store);
    stress_check(GONE, cop_get(pin.snapshot, old, &value) == COP_E_GONE, "it is there still");
    cop_unpin(pin);
}

static void *
writer(void *context)
{
    stress_random random = stress_random_of((uintptr_t)context);
    cop_atom eager = {0, 0};
    for (int64_t count = 1; !stress_over(); count++) {
        commit_some(&random, count);
        if (stress_below(&random, 10) == 0)
            replace_temporary(&random);
        if (stress_below(&random, 2000) == 0) { /* what it reads is eager from now on */
            if (eager.generation != 0)
                stress_need(cop_computed_dispose(store, eager), "dispose");
            eager = define(COP_EAGER, copy_number, &lazy[stress_below(&random, LAZIES / 4)]);
        }
        stress_sleep_us((unsigned)stress_below(&random, 200));
    }
    atomic_store(&writing, false);
    return NULL;
}

static void *
server(void *context)
{
    (void)context;
    while (atomic_load(&writing)) {
        stress_need(cop__background_run(store, 0, NULL), "serve");
        stress_sleep_us(500);
    }
    return NULL;
}

static void *
body(void *context)
{
    uintptr_t i = (uintptr_t)context;
    return i == 0 ? writer(context) : i == 1 ? server(context) : reader(context);
}

static void
build(void)
{
    stress_random random = stress_random_of(1000);
    cop_txn *txn;
    cop_value zero = cop_i64(0);
    stress_need(cop_txn_begin(store, &txn), "begin");
    stress_need(cop_txn_create(txn, &zero, &counter), "create");
    for (unsigned i = 0; i < SOURCES; i++)
        stress_need(cop_txn_create(txn, &zero, &source[i]), "create");
    stress_need(cop_txn_commit(txn, NULL, NULL), "commit");
    for (unsigned i = 0; i < LAZIES; i++) {
        for (unsigned k = 0; k < 3; k++)
            recipes[i].input[k] = (unsigned)stress_below(&random, SOURCES + i);
        recipes[i].text = stress_below(&random, 3) == 0;
        recipes[i].counts = stress_below(&random, 6) == 0;
        lazy[i] = define(COP_LAZY, make, &recipes[i]);
    }
    for (unsigned i = 0; i < TEMPS; i++)
        temps[i] = define(COP_LAZY, copy_number, &lazy[i]);
    background = define(COP_BACKGROUND, sum_sources, NULL);
}

static void
check_quiet(void)
{
    const cop_snapshot *snapshot;
    int64_t sum = 0, got = -1;
    stress_need(cop__background_run(store, 0, NULL), "serve");
    stress_need(cop_snapshot_take(store, &snapshot), "take");
    for (unsigned i = 0; i < SOURCES; i++)
        sum += source_in(snapshot, source[i]);
    stress_need(cop_get_i64(snapshot, background, &got), "background");
    stress_check(BACKGROUND_LAST, got == sum, "%lld, should be %lld", (long long)got,
                 (long long)sum);
    cop_snapshot_drop(snapshot);
}

int
main(int argc, char **argv)
{
    stress_start(argc, argv, 5);
    stress_properties(properties, sizeof properties / sizeof *properties);
    stress_at_end(BACKGROUND_LAST);
    stress_at_end(DESTROYED);
    stress_need(cop_store_open(NULL, &store, NULL), "open");
    build();
    atomic_store(&writing, true);
    stress_run(stress.threads < 3 ? 3 : stress.threads, body);
    check_quiet();
    cop_store_close(store);
    stress_check(DESTROYED, atomic_load(&defined) == atomic_load(&destroyed), "%llu of %llu",
                 (unsigned long long)atomic_load(&destroyed),
                 (unsigned long long)atomic_load(&defined));
    return stress_finish();
}

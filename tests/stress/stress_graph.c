/* SPDX-License-Identifier: MIT */
/*
 * Computed atoms: random graphs, random transactions, and after each commit an oracle that evaluates
 * every function anew over the published version (recipe.h). Readers ask theirs meanwhile.
 *
 *   --seeds N    as many graphs (without: as many as the seconds allow)
 *   --first N    the number of the first one; a graph that failed is made again by its number
 *   --readers N  threads that read meanwhile (2)
 *   --workers N  threads of the pool that levels are shared with (without: 0, 1, 2, 8 in turn)
 */
#include "workers/region.h"
#include "tests/stress/common.h"
#include "tests/stress/recipe.h"

enum { PLACES_MAX = 256, LIST_MAX = 24, NEW_MAX = 64, BATCH_MAX = 5 };

enum {
    STORED,
    READ_STORED,
    WRITTEN_BACK,
    CUTOFF,
    ONCE,
    FAILED_CHANGES,
    FAILED_RUNS,
    DISPOSED,
    DESTROYED,
    NEVER_TWICE,
    REFUSED,
    NO_WASTE,
};
static const char *const properties[] = {
    "every computed atom holds what its function gives in that version",
    "so says a reader of its own version",
    "written back within a batch: no function runs, no version is made",
    "a node all of whose inputs kept their values does not run",
    "at most one completed run of a node in a wave",
    "a failed transaction changes nothing",
    "a failed transaction runs no function",
    "what was disposed of inside its function is gone",
    "a destructor runs once, after the last run; none of what was refused",
    "a function of one atom never runs twice at once",
    "a call on the store inside an evaluation is refused",
    "a commit that changes nothing runs no function",
};

static uint64_t first_seed, seeds = UINT64_MAX;
#define EACH_IN_TURN UINT32_MAX
static unsigned readers = 2, workers = EACH_IN_TURN;
static const unsigned worker_counts[] = {0, 1, 2, 8};
static cop_pool *pool;
static struct {
    uint64_t seeds, cyclic, commits, failed, nodes, cutoffs, circles, definitions, disposals;
} total;
static _Atomic uint64_t read_nodes, read_versions, total_runs;

typedef struct place {
    char path[24];
    uint32_t rank;
    cop_atom atom; /* in the newest version; generation 0: nothing is there */
    recipe *what;  /* that computes it */
    bool taken;    /* by a definition since the last look */
} place;

/* What is known of a recipe's atom since the last check. */
typedef struct knowledge {
    bool defined, gone, known, member, is_source_of_pair;
    uint64_t trace, calls;
    cop_value value;
} knowledge;

typedef struct pair {
    cop_atom source;
    recipe *mirror;
} pair;

/* One graph. Reads of what has no lower rank are for graphs with circles. */
typedef struct world {
    uint64_t seed;
    stress_random random;
    cop_store *store;
    recipe_book *book;
    oracle o;
    bool cyclic;
    unsigned size, place_count, element_count, anonymous_count, pair_count, new_count;
    place places[PLACES_MAX], elements[LIST_MAX];
    cop_atom anonymous[16], list;
    recipe *fresh[NEW_MAX]; /* of the transaction being made */
    pair pairs[4];
    knowledge *known;
    uint64_t wave, commits;
    bool loose; /* more than one wave since the last check */
    _Atomic bool over;
} world;

static world *now; /* for the readers */

static uint64_t
below(world *w, uint64_t n)
{
    return stress_below(&w->random, n);
}

static bool
chance(world *w, unsigned percent)
{
    return below(w, 100) < percent;
}

static bool
is_there(cop_atom atom)
{
    return atom.generation != 0;
}

/* --- values -------------------------------------------------------------------------------------- */

static cop_value
random_value(world *w)
{
    static char text[4000];
    size_t n = chance(w, 50) ? below(w, 13) : 13 + below(w, 3000);

    switch (below(w, 16)) {
    case 0: return cop_f64((double)below(w, 3) / 2);
    case 1: return cop_f64(-0.0);
    case 2: return cop_bool(below(w, 2));
    case 3: return cop_null();
    case 4:
    case 5:
        memset(text, 'a' + (int)below(w, 3), n);
        return cop_text(chance(w, 80) ? COP_STRING : COP_BYTES, text, n);
    case 6: return cop_error_value("the source says so", 18);
    case 7: return cop_i64((int64_t)stress_next(&w->random));
    default: return cop_i64((int64_t)below(w, 5));
    }
}

/* --- recipes ------------------------------------------------------------------------------------- */

static place *
place_below(world *w, uint32_t rank)
{
    place *p = &w->places[below(w, w->place_count)];

    if (w->cyclic && !chance(w, 60))
        return p;
    for (unsigned i = 0; i < 4 && p->rank >= rank; i++)
        p = &w->places[below(w, w->place_count)];
    return p->rank < rank ? p : &w->places[0];
}

/* An atom to be read by its handle. */
static void
pick_atom(world *w, recipe_step *step, uint32_t rank)
{
    place *p = place_below(w, rank);
    unsigned way = (unsigned)below(w, 10);

    if (way == 0 && w->anonymous_count > 0) {
        step->atom = w->anonymous[below(w, w->anonymous_count)];
        return;
    }
    if (way == 1 && w->element_count > 0 && rank > 1) {
        step->atom = w->elements[below(w, w->element_count)].atom;
        return;
    }
    if (way <= 3 && w->new_count > 1) {
        recipe *other = w->fresh[below(w, w->new_count)];
        if (w->cyclic || other->rank < rank) {
            step->target = other;
            return;
        }
    }
    if (way <= 5 && w->book->count > 0) {
        recipe *other = w->book->recipes[below(w, w->book->count)];
        if ((w->cyclic || other->rank < rank) && w->known[other->index].defined) {
            step->atom = other->atom; /* gone perhaps */
            return;
        }
    }
    step->atom = is_there(p->atom) ? p->atom : w->places[0].atom;
    if (!is_there(step->atom))
        step->atom = cop_root();
}

static void
pick_path(world *w, recipe_step *step, uint32_t rank)
{
    unsigned way = (unsigned)below(w, 20);

    if (way < 4 && rank > 1)
        snprintf(step->path, sizeof step->path, "list/%u", (unsigned)below(w, w->element_count + 2));
    else if (way == 4)
        snprintf(step->path, sizeof step->path, "%s", chance(w, 50) ? "nowhere/at/all" : "bad//path");
    else if (way == 5 && rank > 1)
        snprintf(step->path, sizeof step->path, "%s", chance(w, 50) ? "list" : "o");
    else if (way == 6)
        snprintf(step->path, sizeof step->path, "s/%u/x", (unsigned)below(w, 4));
    else
        snprintf(step->path, sizeof step->path, "%s", place_below(w, rank)->path);
}

static void
pick_branch(world *w, recipe_step *step, uint32_t rank)
{
    static const char *const branches[] = {"s", "s/0", "list", "o", "n", "m", ""};
    unsigned n = w->cyclic ? 7 : rank > 1 ? 4 : 2;

    snprintf(step->path, sizeof step->path, "%s", branches[below(w, n)]);
}

static void
pick_step(world *w, recipe_step *step, uint32_t rank)
{
    static const uint8_t ops[] = {
        RECIPE_READ,  RECIPE_READ,  RECIPE_READ,      RECIPE_READ, RECIPE_READ, RECIPE_TYPED,
        RECIPE_TYPED, RECIPE_TYPED, RECIPE_AT,        RECIPE_AT,   RECIPE_AT,   RECIPE_FIND,
        RECIPE_EACH,  RECIPE_COUNT, RECIPE_UNTRACKED, RECIPE_SKIP, RECIPE_SKIP, RECIPE_SKIP,
        RECIPE_FAIL,  RECIPE_STATUS};

    step->op = ops[below(w, sizeof ops)];
    step->strict = chance(w, 30);
    step->number = 2 + (uint32_t)below(w, 7);
    pick_atom(w, step, rank);
    pick_path(w, step, rank);
    if (step->op == RECIPE_EACH || step->op == RECIPE_COUNT)
        pick_branch(w, step, rank);
    if (step->op == RECIPE_UNTRACKED) {
        if (w->pair_count == 0 || rank < 1) {
            step->op = RECIPE_READ;
            return;
        }
        const pair *p = &w->pairs[below(w, w->pair_count)];
        step->target = NULL;
        step->atom = p->source;
        step->untracked = p->mirror;
    }
    if (step->op == RECIPE_FAIL || step->op == RECIPE_STATUS)
        step->number += 3;
    if (chance(w, 1)) {
        step->op = chance(w, 60) ? RECIPE_REFUSED : RECIPE_DISPOSE;
        step->number = step->op == RECIPE_REFUSED ? 1 : 12;
    }
}

static recipe *
random_recipe(world *w, uint32_t rank)
{
    static const uint8_t results[] = {RECIPE_SMALL, RECIPE_SMALL, RECIPE_SMALL, RECIPE_SMALL,
                                      RECIPE_SUM,   RECIPE_SUM,   RECIPE_F64,   RECIPE_BOOL,
                                      RECIPE_SHORT, RECIPE_LONG,  RECIPE_LAST,  RECIPE_LAST};
    recipe *made = w->new_count < NEW_MAX ? recipe_new(w->book) : NULL;

    if (made == NULL)
        return NULL;
    made->rank = rank;
    made->own_equality = chance(w, 12);
    made->stubborn = chance(w, 10);
    made->has_destructor = chance(w, 50);
    made->result = chance(w, 94) ? results[below(w, sizeof results)]
                                 : (uint8_t)(RECIPE_NULL + below(w, 7));
    made->range = 1 + (uint32_t)(chance(w, 70) ? below(w, 4) : below(w, 60));
    w->fresh[w->new_count++] = made;
    made->step_count = 1 + (unsigned)below(w, chance(w, 80) ? 4 : RECIPE_STEPS);
    for (unsigned i = 0; i < made->step_count; i++)
        pick_step(w, &made->step[i], rank);
    return made;
}

static void
define(cop_txn *txn, recipe *what, const char *path)
{
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;

    if (what == NULL)
        return;
    options.equal = what->own_equality ? recipe_equal : NULL;
    options.destroy = what->has_destructor ? recipe_destroy : NULL;
    if (path != NULL)
        snprintf(what->path, sizeof what->path, "%s", path);
    stress_need(cop_txn_define(txn, path, path != NULL ? strlen(path) : 0, recipe_function, what,
                               &options, &what->atom, NULL),
                "define");
    total.definitions++;
}

/* --- the newest version --------------------------------------------------------------------------- */

static void
look(const world *w, place *p, cop_atom atom)
{
    p->taken = false;
    p->atom = atom;
    p->what = is_there(atom) ? recipe_of(w->book, atom) : NULL;
}

static void
look_around(world *w, const cop_snapshot *snapshot)
{
    cop_cursor cursor;
    cop_child child;
    cop_atom atom;

    for (unsigned i = 0; i < w->place_count; i++) {
        if (cop_find(snapshot, w->places[i].path, strlen(w->places[i].path), &atom) != COP_OK)
            atom = (cop_atom){0, 0};
        look(w, &w->places[i], atom);
    }
    w->element_count = 0;
    w->list = (cop_atom){0, 0};
    if (cop_find(snapshot, "list", 4, &w->list) != COP_OK ||
        cop_cursor_open(snapshot, w->list, &cursor) != COP_OK)
        return;
    while (w->element_count < LIST_MAX && cop_cursor_next(&cursor, &child))
        look(w, &w->elements[w->element_count++], child.atom);
}

static const char *
shown(const cop_value *value, char *text, size_t room)
{
    if (cop_value_is_text(value))
        snprintf(text, room, "%s (%zu) '%.*s'", cop_type_name((cop_type)value->type),
                 cop_value_length(value), (int)cop_value_length(value), cop_value_data(value));
    else if (value->type == COP_F64)
        snprintf(text, room, "f64 %g", cop_value_f64(value));
    else
        snprintf(text, room, "%s %" PRId64, cop_type_name((cop_type)value->type),
                 cop_value_i64(value));
    return text;
}

/* Of the first that are wrong. */
static void
show_recipe(bool fine, const recipe *what)
{
    static _Atomic unsigned shown_so_far;

    if (!fine && atomic_fetch_add(&shown_so_far, 1) < 3)
        recipe_print(what);
}

static void
check_value(unsigned property, const world *w, const recipe *what, uint64_t version,
            const cop_value *stored, const cop_value *expected)
{
    char a[300], b[300];
    bool same = oracle_same(stored, expected);

    stress_check(property, same, "seed %" PRIu64 " version %" PRIu64 ": recipe %u (#%u %s): %s, not %s",
                 w->seed, version, what->index, what->atom.id, what->path,
                 same ? "" : shown(stored, a, sizeof a), same ? "" : shown(expected, b, sizeof b));
    show_recipe(same, what);
}

/* Of values that count as the same the one that was there stays. */
static cop_value
to_stay(const world *w, const recipe *what, const knowledge *k, const oracle_node *node)
{
    if (!what->own_equality || w->loose)
        return node->value;
    if (k->known && k->value.type != COP_ERROR && node->fresh.type != COP_ERROR &&
        recipe_equal(NULL, &k->value, &node->fresh))
        return k->value;
    return node->fresh;
}

static void
check_recipe(world *w, const cop_snapshot *snapshot, recipe *what)
{
    knowledge *k = &w->known[what->index];
    uint64_t calls = atomic_load(&what->calls);
    const oracle_node *node;
    cop_value stored, expected;

    if (!k->defined || k->gone)
        return;
    if (cop_get(snapshot, what->atom, &stored) != COP_OK) {
        k->gone = true;
        cop_value_free(&k->value);
        return;
    }
    stress_check(DISPOSED, !atomic_load(&what->disposed), "seed %" PRIu64 ": recipe %u lives on",
                 w->seed, what->index);
    stress_check(DESTROYED, atomic_load(&what->destroyed) == 0, "seed %" PRIu64 ": recipe %u",
                 w->seed, what->index);
    node = oracle_ask(&w->o, what);
    expected = to_stay(w, what, k, node);
    check_value(STORED, w, what, cop_snapshot_version(snapshot), &stored, &expected);
    if (k->known && !w->loose && !k->member && !node->member && k->trace == node->trace) {
        total.cutoffs++;
        stress_check(CUTOFF, k->calls == calls,
                     "seed %" PRIu64 " version %" PRIu64 ": recipe %u (#%u %s)", w->seed,
                     cop_snapshot_version(snapshot), what->index, what->atom.id, what->path);
        show_recipe(k->calls == calls, what);
    }
    k->known = true;
    k->member = node->member;
    k->trace = node->trace;
    k->calls = calls;
    total.nodes++;
    if (what->own_equality) {
        cop_value_free(&k->value);
        stress_need(cop_value_copy(&stored, &k->value), "copy");
    }
}

static void
check_version(world *w)
{
    cop_pin_t pin = cop_pin(w->store);

    oracle_begin(&w->o, pin.snapshot);
    for (unsigned i = 0; i < w->book->count; i++)
        check_recipe(w, pin.snapshot, w->book->recipes[i]);
    look_around(w, pin.snapshot);
    oracle_begin(&w->o, NULL);
    cop_unpin(pin);
    stress_check(ONCE, atomic_load(&w->book->twice) == 0, "seed %" PRIu64, w->seed);
    stress_check(NEVER_TWICE, atomic_load(&w->book->overlapped) == 0, "seed %" PRIu64, w->seed);
    stress_check(DESTROYED, atomic_load(&w->book->late) == 0, "seed %" PRIu64 ": run after it",
                 w->seed);
    if (atomic_load(&w->book->refused) > 0)
        stress_check(REFUSED, atomic_load(&w->book->allowed) == 0, "seed %" PRIu64, w->seed);
    w->loose = false;
}

/* --- transactions ----------------------------------------------------------------------------------- */

static cop_txn *
begin(world *w)
{
    cop_txn *txn = NULL;

    stress_need(cop_txn_begin(w->store, &txn), "begin");
    return txn;
}

static bool
is_source(const place *p)
{
    return is_there(p->atom) && p->what == NULL;
}

/* A transaction may hold what cannot be applied: it then fails as a whole. */
static void
set_place(world *w, cop_txn *txn, const place *p)
{
    cop_value value = random_value(w);

    if (p->what != NULL && !chance(w, 1))
        return;
    if (chance(w, 5))
        value = chance(w, 70) ? cop_object() : cop_array();
    if (is_there(p->atom) && chance(w, 70))
        stress_need(cop_txn_set(txn, p->atom, &value), "set");
    else
        stress_need(cop_txn_set_at(txn, p->path, strlen(p->path), &value, NULL), "set_at");
}

static void
change_number(world *w, cop_txn *txn, const place *p)
{
    cop_value one = cop_i64((int64_t)below(w, 3)), two = cop_i64(2);

    if (!is_source(p) || chance(w, 70)) /* most are no numbers */
        return;
    switch (below(w, 3)) {
    case 0: stress_need(cop_txn_add(txn, p->atom, &one), "add"); break;
    case 1: stress_need(cop_txn_max(txn, p->atom, &one), "max"); break;
    default: stress_need(cop_txn_compare_set(txn, p->atom, &one, &two, NULL), "compare_set");
    }
}

static void
erase_place(world *w, cop_txn *txn, const place *p)
{
    cop_value value = random_value(w);

    if (!is_there(p->atom))
        return;
    stress_need(chance(w, 50) ? cop_txn_erase(txn, p->atom)
                              : cop_txn_erase_at(txn, p->path, strlen(p->path), NULL),
                "erase");
    if (chance(w, 30))
        stress_need(cop_txn_set_at(txn, p->path, strlen(p->path), &value, NULL), "set_at");
    else if (chance(w, 50))
        define(txn, random_recipe(w, p->rank), p->path);
}

static void
define_some(world *w, cop_txn *txn)
{
    unsigned n = 1 + (unsigned)below(w, chance(w, 70) ? 3 : 12);

    while (n-- > 0) {
        place *p = &w->places[below(w, w->place_count)];
        char path[24];
        if (chance(w, 20)) {
            define(txn, random_recipe(w, 2 + (uint32_t)below(w, w->size)), NULL);
        } else if (chance(w, 15) && w->element_count < LIST_MAX) {
            snprintf(path, sizeof path, "list/-");
            define(txn, random_recipe(w, w->cyclic ? 2 : 1), path);
        } else if (p->rank > 0 && !is_there(p->atom) && !p->taken) {
            define(txn, random_recipe(w, p->rank), p->path);
            p->taken = true;
        }
    }
}

static void
change_list(world *w, cop_txn *txn)
{
    cop_value value = random_value(w), array = cop_array();

    if (!is_there(w->list)) {
        stress_need(cop_txn_set_at(txn, "list", 4, &array, NULL), "set_at");
        return;
    }
    if (chance(w, 3))
        stress_need(cop_txn_clear(txn, w->list), "clear");
    else if (chance(w, 2))
        stress_need(cop_txn_erase(txn, w->list), "erase");
    else if (w->element_count < LIST_MAX - 4 && chance(w, 60))
        stress_need(cop_txn_insert(txn, w->list, (uint32_t)below(w, w->element_count + 1), &value,
                                   NULL),
                    "insert");
    else if (w->element_count > 0) {
        const place *e = &w->elements[below(w, w->element_count)];
        if (chance(w, 50))
            stress_need(cop_txn_erase(txn, e->atom), "erase");
        else if (e->what == NULL)
            stress_need(cop_txn_set(txn, e->atom, &value), "set");
    }
}

/* What cannot be done, whatever came before. */
static void
spoil(world *w, cop_txn *txn)
{
    cop_value value = cop_i64(1);
    const place *p = &w->places[below(w, w->place_count)];

    if (p->what != NULL && chance(w, 50))
        stress_need(cop_txn_set(txn, p->atom, &value), "set");
    stress_need(cop_txn_erase_at(txn, "nowhere/to/be/found", 19, NULL), "erase_at");
}

static void
fill(world *w, cop_txn *txn)
{
    unsigned n = 1 + (unsigned)below(w, chance(w, 70) ? 3 : 12);

    while (n-- > 0) {
        const place *p = &w->places[below(w, w->place_count)];
        if (chance(w, 50))
            p = &w->places[below(w, 4)]; /* sources that many read */
        switch (below(w, 12)) {
        case 0: define_some(w, txn); break;
        case 1: change_list(w, txn); break;
        case 2: change_number(w, txn, p); break;
        case 3:
            if (chance(w, 60))
                erase_place(w, txn, p);
            break;
        case 4:
            if (w->anonymous_count > 0) {
                cop_value value = random_value(w);
                stress_need(cop_txn_set(txn, w->anonymous[below(w, w->anonymous_count)], &value),
                            "set");
            }
            break;
        case 5:
            if (w->pair_count > 0) {
                cop_value value = cop_i64((int64_t)below(w, 9));
                stress_need(cop_txn_set(txn, w->pairs[below(w, w->pair_count)].source, &value), "set");
            }
            break;
        default:
            if (p->what == NULL && !p->taken && (is_there(p->atom) || chance(w, 30)))
                set_place(w, txn, p);
        }
    }
}

/* Applies only to what is there yet: an earlier operation of the transaction may have taken it away. */
static void
decided(world *w, cop_status status, recipe *const *made, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        w->known[made[i]->index].defined = status == COP_OK;
        if (status != COP_OK)
            stress_check(FAILED_RUNS, atomic_load(&made[i]->calls) == 0,
                         "seed %" PRIu64 ": recipe %u", w->seed, made[i]->index);
    }
    total.commits += status == COP_OK;
    total.failed += status != COP_OK;
    w->commits++;
}

static void
commit_one(world *w)
{
    uint64_t before = cop_store_version(w->store), calls = atomic_load(&w->book->calls);
    uint64_t disposals = atomic_load(&w->book->disposals), version = 0;
    cop_txn *txn = begin(w);
    cop_status status;

    w->new_count = 0;
    fill(w, txn);
    if (chance(w, 8))
        spoil(w, txn);
    atomic_store(&w->book->wave, ++w->wave);
    status = cop_txn_commit(txn, &version, NULL);
    decided(w, status, w->fresh, w->new_count);
    if (status != COP_OK) {
        stress_check(FAILED_CHANGES, cop_store_version(w->store) == before, "seed %" PRIu64, w->seed);
        stress_check(FAILED_RUNS, atomic_load(&w->book->calls) == calls, "seed %" PRIu64, w->seed);
    } else if (version == before && w->new_count == 0) {
        stress_check(NO_WASTE, atomic_load(&w->book->calls) == calls, "seed %" PRIu64, w->seed);
    }
    if (atomic_load(&w->book->disposals) != disposals) {
        w->loose = true;
        atomic_store(&w->book->wave, 0);
    }
}

/* Several transactions, some of which fail, in what is one batch or a few. */
static void
commit_many(world *w)
{
    unsigned n = 2 + (unsigned)below(w, BATCH_MAX - 1), fresh[BATCH_MAX + 1] = {0};
    cop_ticket *tickets[BATCH_MAX];
    recipe *made[NEW_MAX];

    atomic_store(&w->book->wave, 0);
    w->loose = true;
    w->new_count = 0;
    for (unsigned i = 0; i < n; i++) {
        cop_txn *txn = begin(w);
        unsigned from = w->new_count;
        fill(w, txn);
        if (chance(w, 20))
            spoil(w, txn);
        stress_need(cop_txn_submit(txn, &tickets[i]), "submit");
        for (unsigned k = from; k < w->new_count; k++)
            for (unsigned s = 0; s < w->fresh[k]->step_count; s++)
                if (w->fresh[k]->step[s].target != NULL) { /* it may be of one that fails */
                    bool own = false;
                    for (unsigned j = from; j < w->new_count; j++)
                        own |= w->fresh[j] == w->fresh[k]->step[s].target;
                    if (!own) {
                        w->fresh[k]->step[s].target = NULL;
                        w->fresh[k]->step[s].atom = cop_root();
                    }
                }
        fresh[i + 1] = w->new_count;
    }
    memcpy(made, w->fresh, sizeof made);
    stress_need(cop_flush(w->store, COP_FOREVER), "flush");
    for (unsigned i = 0; i < n; i++) {
        cop_status status = cop_ticket_wait(tickets[i], COP_FOREVER, NULL, NULL);
        decided(w, status, made + fresh[i], fresh[i + 1] - fresh[i]);
        cop_ticket_release(tickets[i]);
    }
}

/* Sets sources, and sets them back. */
static void
commit_back(world *w)
{
    uint64_t before = cop_store_version(w->store), calls = atomic_load(&w->book->calls);
    uint64_t version = 0;
    cop_txn *txn = begin(w);
    cop_pin_t pin = cop_pin(w->store);
    cop_atom atoms[6];
    cop_value values[6], value;
    unsigned n = 0;

    for (unsigned i = 0; i < 6; i++) {
        const place *p = &w->places[below(w, w->place_count)];
        if (!is_source(p) || cop_get(pin.snapshot, p->atom, &values[n]) != COP_OK ||
            values[n].type >= COP_OBJECT)
            continue;
        atoms[n++] = p->atom;
        value = random_value(w);
        stress_need(cop_txn_set(txn, p->atom, &value), "set");
    }
    for (unsigned i = n; i-- > 0;)
        stress_need(cop_txn_set(txn, atoms[i], &values[i]), "set");
    cop_unpin(pin);
    stress_need(cop_txn_commit(txn, &version, NULL), "commit");
    stress_check(WRITTEN_BACK, version == before && atomic_load(&w->book->calls) == calls,
                 "seed %" PRIu64 ": version %" PRIu64 " after %" PRIu64 ", %" PRIu64 " runs", w->seed,
                 version, before, atomic_load(&w->book->calls) - calls);
}

static void
dispose_one(world *w)
{
    const place *p = &w->places[below(w, w->place_count)];

    w->new_count = 0;
    if (p->what == NULL)
        return;
    atomic_store(&w->book->wave, ++w->wave);
    stress_need(cop_computed_dispose(w->store, p->atom), "dispose");
    stress_need(cop_computed_dispose(w->store, p->atom), "dispose again");
    atomic_store(&p->what->disposed, true);
    w->loose = true;
}

static void
one_commit(world *w)
{
    switch (below(w, 12)) {
    case 0: commit_back(w); break;
    case 1: dispose_one(w); break;
    case 2:
    case 3: commit_many(w); break;
    default: commit_one(w);
    }
    /* What functions disposed of goes in a commit of its own. */
    stress_need(cop_flush(w->store, COP_FOREVER), "flush");
    check_version(w);
}

/* --- readers ----------------------------------------------------------------------------------------- */

static void
read_version(oracle *o, const cop_snapshot *snapshot)
{
    const recipe_note *note = atomic_load_explicit(&now->book->all, memory_order_acquire);
    uint64_t n = 0;

    oracle_begin(o, snapshot);
    for (; note != NULL && !atomic_load(&now->over); note = note->next_of_all) {
        cop_atom atom = {(uint32_t)note->packed, (uint32_t)(note->packed >> 32)};
        cop_value stored;
        if (cop_get(snapshot, atom, &stored) != COP_OK || recipe_of(now->book, atom) != note->what)
            continue;
        check_value(READ_STORED, now, note->what, cop_snapshot_version(snapshot), &stored,
                    &oracle_ask(o, note->what)->value);
        n++;
    }
    oracle_begin(o, NULL);
    atomic_fetch_add(&read_nodes, n);
    atomic_fetch_add(&read_versions, 1);
}

static void *
reader(void *context)
{
    oracle o;
    const cop_snapshot *held = NULL;

    oracle_open(&o, now->book);
    for (unsigned turn = 0; !atomic_load(&now->over); turn++) {
        cop_pin_t pin = cop_pin(now->store);
        read_version(&o, pin.snapshot);
        cop_unpin(pin);
        if (turn % 8 == 3) {
            if (held != NULL)
                read_version(&o, held); /* an old one */
            cop_snapshot_drop(held);
            stress_need(cop_snapshot_take(now->store, &held), "take");
        }
    }
    cop_snapshot_drop(held);
    oracle_close(&o);
    return context;
}

/* --- a graph ------------------------------------------------------------------------------------------ */

static void
add_place(world *w, uint32_t rank, const char *format, unsigned number)
{
    place *p = &w->places[w->place_count++];

    snprintf(p->path, sizeof p->path, format, number);
    p->rank = rank;
}

static void
make_places(world *w)
{
    unsigned sources = 4 + (unsigned)below(w, 9), keys = (unsigned)below(w, 6);

    for (unsigned i = 0; i < sources; i++)
        add_place(w, 0, "s/%u", i);
    for (unsigned i = 0; i < keys; i++)
        add_place(w, w->cyclic ? 2 : 1, "o/key%u", i);
    for (unsigned i = 0; i < w->size; i++)
        add_place(w, 2 + i, chance(w, 60) ? "n/%u" : "m/k%u", i);
}

static void
make_sources(world *w)
{
    cop_txn *txn = begin(w);
    cop_value value, array = cop_array();

    for (unsigned i = 0; i < w->place_count; i++)
        if (w->places[i].rank == 0 ? chance(w, 80) || i == 0 : chance(w, 5)) {
            value = random_value(w);
            stress_need(cop_txn_set_at(txn, w->places[i].path, strlen(w->places[i].path), &value,
                                       NULL),
                        "set_at");
        }
    stress_need(cop_txn_set_at(txn, "list", 4, &array, NULL), "set_at");
    w->anonymous_count = (unsigned)below(w, 5);
    for (unsigned i = 0; i < w->anonymous_count; i++) {
        value = random_value(w);
        stress_need(cop_txn_create(txn, &value, &w->anonymous[i]), "create");
    }
    w->pair_count = (unsigned)below(w, 4);
    value = cop_i64(1);
    for (unsigned i = 0; i < w->pair_count; i++)
        stress_need(cop_txn_create(txn, &value, &w->pairs[i].source), "create");
    stress_need(cop_txn_commit(txn, NULL, NULL), "commit");
}

/* Chains of functions of one source each, to be read untracked together with it. */
static void
make_mirrors(world *w)
{
    cop_txn *txn = begin(w);

    w->new_count = 0;
    for (unsigned i = 0; i < w->pair_count; i++) {
        recipe *last = NULL;
        for (unsigned n = 1 + (unsigned)below(w, 6); n > 0; n--) {
            recipe *made = recipe_new(w->book);
            made->result = RECIPE_SMALL;
            made->range = 1000;
            made->step_count = 1;
            made->step[0] = (recipe_step){.op = RECIPE_READ, .atom = w->pairs[i].source, .target = last};
            w->fresh[w->new_count++] = made;
            define(txn, made, NULL);
            last = made;
        }
        w->pairs[i].mirror = last;
    }
    atomic_store(&w->book->wave, ++w->wave);
    decided(w, cop_txn_commit(txn, NULL, NULL), w->fresh, w->new_count);
    check_version(w);
}

/* Nodes in random order, a few or many in a transaction. */
static void
make_nodes(world *w)
{
    unsigned left = w->size;

    while (left > 0) {
        unsigned n = 1 + (unsigned)below(w, chance(w, 50) ? 3 : NEW_MAX);
        uint64_t disposals = atomic_load(&w->book->disposals);
        cop_txn *txn = begin(w);
        w->new_count = 0;
        for (n = n < left ? n : left; n > 0; n--, left--) {
            place *p = &w->places[below(w, w->place_count)];
            if (p->rank == 0 || is_there(p->atom) || p->taken)
                continue;
            define(txn, random_recipe(w, p->rank), p->path);
            p->taken = true;
        }
        atomic_store(&w->book->wave, ++w->wave);
        decided(w, cop_txn_commit(txn, NULL, NULL), w->fresh, w->new_count);
        if (atomic_load(&w->book->disposals) != disposals)
            w->loose = true;
        atomic_store(&w->book->wave, 0);
        stress_need(cop_flush(w->store, COP_FOREVER), "flush");
        check_version(w);
    }
}

static void
open_world(world *w, uint64_t seed)
{
    cop_options options = COP_OPTIONS_INIT;
    options.batch_window_ms = 0; /* group commit */

    memset(w, 0, sizeof *w);
    w->seed = seed;
    w->random.state = stress_mix(seed + 1);
    options.memory_chunk_bytes = 65536;
    options.memory_huge_pages = false;
    stress_need(cop_store_open(&options, &w->store, NULL), "open");
    if (workers == EACH_IN_TURN)
        stress_need(cop_pool_resize(pool, worker_counts[seed % 4]), "resize");
    stress_need(cop_store_set_pool(w->store, pool), "set pool");
    w->book = calloc(1, sizeof *w->book);
    w->known = calloc(RECIPES_MAX, sizeof *w->known);
    if (w->book == NULL || w->known == NULL)
        abort();
    w->book->store = w->store;
    oracle_open(&w->o, w->book);
    w->cyclic = chance(w, 40);
    w->size = 3 + (unsigned)below(w, UINT64_C(1) << (2 + below(w, 7)));
    if (w->size > 200)
        w->size = 200;
}

static void
close_world(world *w)
{
    cop_store_close(w->store);
    for (unsigned i = 0; i < w->book->count; i++) {
        const recipe *what = w->book->recipes[i];
        uint32_t runs = w->known[i].defined && what->has_destructor;
        stress_check(DESTROYED, atomic_load(&what->destroyed) == runs,
                     "seed %" PRIu64 ": recipe %u: %u times", w->seed, i,
                     atomic_load(&what->destroyed));
        cop_value_free(&w->known[i].value);
    }
    total.seeds++;
    total.cyclic += w->cyclic;
    total.circles += w->o.circles;
    total.disposals += atomic_load(&w->book->disposals);
    atomic_fetch_add(&total_runs, atomic_load(&w->book->calls));
    stress_count(w->commits);
    oracle_close(&w->o);
    recipe_book_free(w->book);
    free(w->known);
}

static void
one_graph(uint64_t seed)
{
    static world w;
    pthread_t threads[STRESS_THREADS];
    unsigned commits;

    open_world(&w, seed);
    now = &w;
    make_places(&w);
    make_sources(&w);
    check_version(&w);
    make_mirrors(&w);
    for (unsigned i = 0; i < readers; i++)
        if (pthread_create(&threads[i], NULL, reader, NULL) != 0)
            abort();
    make_nodes(&w);
    commits = 10 + (unsigned)below(&w, 100);
    for (unsigned i = 0; i < commits && !stress_over() && w.book->count < RECIPES_MAX - NEW_MAX; i++)
        one_commit(&w);
    atomic_store(&w.over, true);
    for (unsigned i = 0; i < readers; i++)
        pthread_join(threads[i], NULL);
    close_world(&w);
}

/* --- a run --------------------------------------------------------------------------------------------- */

/* Takes this program's own arguments out. */
static int
own_arguments(int argc, char **argv)
{
    int left = 1;

    stress.name = "stress_graph";
    for (int i = 1; i < argc; i++) {
        uint64_t n = 0;
        bool seed = strcmp(argv[i], "--seeds") == 0, first = strcmp(argv[i], "--first") == 0;
        bool readers_n = strcmp(argv[i], "--readers") == 0;
        if (!seed && !first && !readers_n && strcmp(argv[i], "--workers") != 0) {
            argv[left++] = argv[i];
            continue;
        }
        n = stress_argument(argv[i], i + 1 < argc ? argv[i + 1] : NULL);
        i++;
        if (seed)
            seeds = n;
        else if (first)
            first_seed = n;
        else if (readers_n)
            readers = n < STRESS_THREADS ? (unsigned)n : STRESS_THREADS;
        else
            workers = (unsigned)n;
    }
    return left;
}

static bool
any_broken(void)
{
    for (unsigned i = 0; i < stress.properties; i++)
        if (atomic_load(&stress.property[i].broken) != 0)
            return true;
    return false;
}

int
main(int argc, char **argv)
{
    argc = own_arguments(argc, argv);
    stress_start(argc, argv, 1);
    stress_properties(properties, sizeof properties / sizeof *properties);
    cop_pool_options options = COP_POOL_OPTIONS_INIT;
    options.threads = workers == EACH_IN_TURN ? 0 : workers;
    stress_need(cop_pool_open(&options, &pool, NULL), "open a pool");
    cop__region_always = true;
    if (first_seed == 0)
        first_seed = stress.seed >> 16;
    printf("first graph %" PRIu64 ", %u readers\n", first_seed, readers);
    if (readers == 0)
        stress_check(READ_STORED, true, "nobody reads");
    for (uint64_t i = 0; i < seeds && !stress_over() && !any_broken(); i++)
        one_graph(first_seed + i);
    printf("%" PRIu64 " graphs (%" PRIu64 " with circles), %" PRIu64 " commits, %" PRIu64
           " failed ones\n%" PRIu64 " definitions, %" PRIu64 " disposals from inside, %" PRIu64
           " circles\n%" PRIu64 " nodes checked, %" PRIu64 " by readers in %" PRIu64
           " versions, %" PRIu64 " runs\n",
           total.seeds, total.cyclic, total.commits, total.failed, total.definitions,
           total.disposals, total.circles, total.nodes, atomic_load(&read_nodes),
           atomic_load(&read_versions), atomic_load(&total_runs));
    cop_pool_stats stats;
    cop_pool_stats_take(pool, &stats);
    printf("%" PRIu64 " levels shared, %" PRIu64 " chunks of them run by workers\n", stats.regions,
           stats.chunks_by_workers);
    cop_pool_close(pool);
    return stress_finish();
}
